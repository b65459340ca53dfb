"""Artifacts on the native API."""

import json
import os
import pathlib

import pytest
import runlode


def names(run, path=""):
    return [one["path"] for one in run.artifacts(path)]


def test_files_and_folders(run, tmp_path, monkeypatch):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "a.bin").write_bytes(b"\0\1")
    (tmp_path / "model" / "deep" / "b.txt").write_text("b")
    run.log_artifact(tmp_path / "model" / "a.bin")
    run.log_artifact(str(tmp_path / "model" / "a.bin"), "weights/first")
    run.log_artifact(tmp_path / "model")
    run.log_artifacts(tmp_path / "model", "all")
    assert names(run) == ["a.bin", "all", "model", "weights"]
    assert run.artifacts("all") == [
        {"path": "all/a.bin", "is_dir": False, "size_bytes": 2},
        {"path": "all/deep", "is_dir": True, "size_bytes": None},
    ]
    assert run.artifact_path("model/deep/b.txt").read_text() == "b"
    assert run.artifact_path("weights/first/a.bin").read_bytes() == b"\0\1"
    assert run.artifact_path() == pathlib.Path(run.artifact_uri)
    # As often as one likes.
    (tmp_path / "model" / "a.bin").write_bytes(b"again")
    run.log_artifact(tmp_path / "model" / "a.bin")
    assert run.artifact_path("a.bin").read_bytes() == b"again"
    monkeypatch.setenv("HOME", str(tmp_path))
    run.log_artifact("~/model/a.bin", "home")
    assert names(run, "home") == ["home/a.bin"]


def test_a_folder_that_has_the_artifacts_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runlode.open("exp") as store, store.run() as run:
        pathlib.Path("x.txt").write_text("x")
        run.log_text("first", "first.txt")
        run.log_artifacts(run.artifact_uri, "copy")
        assert names(run, "copy") == ["copy/first.txt"]


@pytest.mark.parametrize("place", ["", "/etc/x", "../x", "a/../../x", "s3://x/y", "a\\b", "a\0b"])
def test_paths_that_lead_elsewhere(run, place):
    with pytest.raises(runlode.Invalid, match="no path of an artifact"):
        run.log_text("x", place)
    if place:
        with pytest.raises(runlode.Invalid):
            run.artifact_path(place)
    assert names(run) == []


def test_what_is_not_there(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="nope"):
        run.log_artifact(tmp_path / "nope")
    with pytest.raises(NotADirectoryError, match="nope"):
        run.log_artifacts(tmp_path / "nope")
    run.log_text("x", "notes/a.txt")
    with pytest.raises(runlode.NotFound, match="notes/a.txt"):
        run.artifact_path("notes/b.txt")
    assert run.artifacts("nowhere") == []


def test_texts_and_dicts(run):
    run.log_text("höchst\r\n", "notes/a.txt")
    assert run.artifact_path("notes/a.txt").read_bytes() == "höchst\r\n".encode()
    run.log_dict({"b": [1, 2.5, None], "ü": pathlib.Path("x")}, "config.json")
    assert json.loads(run.artifact_path("config.json").read_text()) == {"b": [1, 2.5, None], "ü": "x"}
    np = pytest.importorskip("numpy")
    run.log_dict({"n": np.float32(0.5), "a": np.arange(3)}, "numpy.json")
    assert json.loads(run.artifact_path("numpy.json").read_text()) == {"n": 0.5, "a": [0, 1, 2]}
    pytest.importorskip("yaml")
    run.log_dict({"b": [1, 2]}, "config.yaml")
    assert run.artifact_path("config.yaml").read_text() == "b:\n- 1\n- 2\n"


def test_a_file_that_fails_leaves_nothing(run):
    class Figure:
        def savefig(self, file, **_):
            open(file, "w").write("half")
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        run.log_figure(Figure(), "a/b.png")
    assert run.artifacts("a") == []
    assert os.listdir(run.artifact_path("a")) == []
    with pytest.raises(TypeError, match="Matplotlib or Plotly"):
        run.log_figure(object(), "a.png")


def test_figures(run):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot([1, 2, 3])
    run.log_figure(figure, "plots/loss.png", dpi=20)
    run.log_figure(figure, "plots/loss.svg")
    pyplot.close(figure)
    assert run.artifact_path("plots/loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in run.artifact_path("plots/loss.svg").read_text()


def test_images(run):
    np = pytest.importorskip("numpy")
    image = pytest.importorskip("PIL.Image")
    rgb = np.zeros((4, 6, 3), dtype=np.uint8)
    rgb[0, 0] = (255, 128, 0)
    run.log_image(rgb, "a.png")
    with image.open(run.artifact_path("a.png")) as read:
        assert (read.size, read.getpixel((0, 0))) == ((6, 4), (255, 128, 0))
    run.log_image(np.full((3, 3), 0.5), "grey.png")
    with image.open(run.artifact_path("grey.png")) as read:
        assert read.getpixel((1, 1)) == 127
    run.log_image([[0, 255], [1, 2]], "list.png")
    run.log_image(image.new("RGB", (2, 2)), "pillow.jpg")
    for step in range(2):
        run.log_image(rgb, key="samples/dog", step=step, timestamp_ms=7)
    found = names(run, "images")
    assert len(found) == 4 and found[0].startswith("images/samples~dog+step+0+timestamp+7+")
    assert sum(name.endswith("+compressed.webp") for name in found) == 2
    assert run.tags["mlflow.loggedImages"] == "True"
    for wrong in (np.zeros((2, 2, 2)), np.full((2, 2), 256), np.full((2, 2), -0.5)):
        with pytest.raises(runlode.Invalid):
            run.log_image(wrong, "x.png")
    with pytest.raises(TypeError):
        run.log_image(np.array([["x"]]), "x.png")
    with pytest.raises(runlode.Invalid, match="either"):
        run.log_image(rgb)
    with pytest.raises(runlode.Invalid, match="either"):
        run.log_image(rgb, "x.png", key="y")
    with pytest.raises(runlode.Invalid, match="letters"):
        run.log_image(rgb, key="a:b")


def test_tables(store, run):
    run.log_table({"x": [1, 2], "y": ["a", float("nan")]}, "eval/t.json")
    run.log_table([{"x": 3}, {"x": 4, "z": True}], "eval/t.json")
    assert json.loads(run.artifact_path("eval/t.json").read_text()) == {
        "columns": ["x", "y", "z"],
        "data": [[1, "a", None], [2, None, None], [3, None, None], [4, None, True]],
    }
    run.log_table({"single": "value"}, "one.json")
    assert json.loads(run.artifact_path("one.json").read_text()) == {"columns": ["single"], "data": [["value"]]}
    run.log_table(store.search(columns=["run_name", "start_time"]), "runs.json")
    assert json.loads(run.artifact_path("runs.json").read_text())["data"][0][0] == "first"
    logged = json.loads(run.tags["mlflow.loggedArtifacts"])
    assert logged == [{"path": name, "type": "table"} for name in ("eval/t.json", "one.json", "runs.json")]
    with pytest.raises(runlode.Invalid, match="one length"):
        run.log_table({"x": [1], "y": [1, 2]}, "t.json")
    with pytest.raises(runlode.Invalid, match=".json"):
        run.log_table({"x": [1]}, "t.csv")
    pandas = pytest.importorskip("pandas")
    run.log_table(pandas.DataFrame({"x": [1.5], "t": [pandas.Timestamp("2026-01-02")]}), "frame.json")
    assert json.loads(run.artifact_path("frame.json").read_text())["data"] == [[1.5, "2026-01-02T00:00:00"]]
    pytest.importorskip("pyarrow")
    for _ in range(2):
        run.log_table({"x": [1, 2]}, "t.parquet")
    assert pandas.read_parquet(run.artifact_path("t.parquet"))["x"].tolist() == [1, 2, 1, 2]


def test_mlflow_sees_them(store, run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    try:
        client = mlflow.MlflowClient(f"runlode://{store.path}")
        client.get_run(run.run_id)
    except mlflow.exceptions.MlflowException as error:
        pytest.skip(f"the package is not installed: {error}")
    run.log_text("x", "notes/a.txt")
    run.log_table({"x": [1, 2]}, "t.json")
    assert [one.path for one in client.list_artifacts(run.run_id)] == ["notes", "t.json"]
    assert client.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"] == '[{"path": "t.json", "type": "table"}]'
    with open(client.download_artifacts(run.run_id, "t.json", str(tmp_path))) as file:
        assert json.load(file) == {"columns": ["x"], "data": [[1], [2]]}
    client.log_text(run.run_id, "y", "from-mlflow.txt")
    assert run.artifact_path("from-mlflow.txt").read_text() == "y"


def test_artifacts_of_runs_that_ended(store, run):
    run.log_text("x", "a.txt")
    run.end()
    assert [one["path"] for one in store.artifacts("first")] == ["a.txt"]
    assert store.artifact_path(run.run_id[:8], "a.txt").read_text() == "x"


def test_roots_elsewhere(tmp_path, monkeypatch):
    with runlode.open(tmp_path / "exp", artifacts=f"file://{tmp_path}/with%20space") as store, store.run() as run:
        run.log_text("x", "a.txt")
        assert list((tmp_path / "with space").rglob("a.txt"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with runlode.open(tmp_path / "home", artifacts="~/art") as store, store.run() as run:
        run.log_text("x", "a.txt")
        assert list((tmp_path / "art").rglob("a.txt"))
