"""URIs: which folder they name, what they refuse, what children inherit."""

import os
import subprocess
import sys

import pytest
from runlode import _uri


@pytest.mark.parametrize("uri, path", [
    ("runlode:///data/exp", "/data/exp"),
    ("runlode:/data/exp", "/data/exp"),
    ("RUNLODE:///data/exp", "/data/exp"),
    ("runlode:exp", "exp"),
    ("runlode:./a/exp", "./a/exp"),
    ("runlode:../exp", "../exp"),
    ("runlode:///a%20b/%3Fc%23d%25", "/a b/?c#d%"),
    ("runlode:///%C3%A9/漢字", "/é/漢字"),
    ("runlode:///a+b", "/a+b"),
])
def test_paths(uri, path):
    assert _uri.parse(uri).path == path
    assert _uri.parse(_uri.parse(uri).uri).path == path


def test_options():
    found = _uri.parse("runlode:///x?durability=sync&artifacts=s3://b/x%3Fa%3D1")
    assert (found.path, found.durability, found.artifacts) == ("/x", "sync", "s3://b/x?a=1")
    again = _uri.parse(found.uri)
    assert (again.path, again.durability, again.artifacts) == ("/x", "sync", "s3://b/x?a=1")
    assert _uri.parse("runlode:///x?").durability is None
    assert _uri.resolve("runlode:///x?artifacts=s3://b").artifacts == "s3://b"


def test_a_text_that_is_no_utf8_names_its_bytes(tmp_path):
    found = _uri.parse(f"runlode://{tmp_path}/%FF")
    assert os.fsencode(found.path).endswith(b"/\xff")
    assert _uri.parse(found.uri).path == found.path


@pytest.mark.parametrize("uri, words", [
    ("runlode://data/x", "Did you mean 'runlode:///data/x'"),
    ("runlode://data/x?durability=sync", "Did you mean 'runlode:///data/x'"),
    ("runlode://host", "Did you mean 'runlode:///host'"),
    ("runlode://localhost:5000/x", "names a host"),
    ("runlode:", "names no folder"),
    ("runlode://", "names no folder"),
    ("runlode:?durability=sync", "names no folder"),
    ("runlode:///x?durabilty=sync", "unknown option 'durabilty'"),
    ("runlode:///x?durability=always", "one of buffered, sync"),
    ("runlode:///x?durability=sync&durability=sync", "twice"),
    ("runlode:///x?sync", "key=value"),
    ("runlode:///x?artifacts=", "not empty"),
    ("runlode:///x#y", "%23"),
    ("runlode:///x%00", "NUL"),
    ("sqlite:///x", "begins with runlode:"),
    ("/data/x", "begins with runlode:"),
])
def test_what_is_refused(uri, words):
    with pytest.raises(ValueError, match="(?s)" + words.replace("?", r"\?")):
        _uri.parse(uri)


def test_mlflow_refuses_with_the_spelling_that_was_meant():
    import mlflow
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="Did you mean 'runlode:///data/x'") as refused:
        mlflow.MlflowClient("runlode://data/x").search_experiments()
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_relative_uri_stays_the_folder_of_its_first_open(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.chdir(tmp_path)
    uri = "runlode:rel%20ative"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        id = mlflow.create_experiment("here")
        assert (tmp_path / "rel ative").is_dir()
        # Children inherit the absolute form.
        absolute = f"runlode://{tmp_path}/rel%20ative"
        assert os.environ["MLFLOW_TRACKING_URI"] == absolute
        assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == (absolute, absolute)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        assert mlflow.MlflowClient(uri).get_experiment(id).name == "here"
        assert mlflow.get_experiment(id).name == "here"
        assert list(elsewhere.iterdir()) == []
        mlflow.MlflowClient(uri).create_registered_model("m")
        assert mlflow.MlflowClient(absolute).get_registered_model("m").name == "m"
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


def test_one_store_by_many_paths(tmp_path, client):
    link = tmp_path / "link"
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real")
    import mlflow

    one = mlflow.MlflowClient(f"runlode://{tmp_path}/real/s")
    id = one.create_experiment("x")
    assert mlflow.MlflowClient(f"runlode://{link}/s").get_experiment(id).name == "x"
    assert mlflow.MlflowClient(f"runlode:{tmp_path}/real/../real/s").get_experiment(id).name == "x"


def test_artifacts_and_durability_are_options(tmp_path):
    import mlflow

    client = mlflow.MlflowClient(f"runlode://{tmp_path}/s?durability=sync&artifacts={tmp_path}/elsewhere")
    run = client.create_run("0")
    assert run.info.artifact_uri == f"{tmp_path}/elsewhere/0/{run.info.run_id}/artifacts"
    client.log_text(run.info.run_id, "hello", "a.txt")
    assert (tmp_path / "elsewhere/0" / run.info.run_id / "artifacts/a.txt").read_text() == "hello"
    for step in range(3):
        client.log_metric(run.info.run_id, "m", step, step=step)
    assert [m.value for m in client.get_metric_history(run.info.run_id, "m")] == [0, 1, 2]


# Loading.

def python(code):
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_entry_points_load_nothing():
    python("""if True:
        import sys, time
        import importlib.metadata as metadata
        found = [point for group in ("mlflow.tracking_store", "mlflow.model_registry_store")
                 for point in metadata.entry_points(group=group) if point.name == "runlode"]
        assert len(found) == 2, found
        before = set(sys.modules)
        begin = time.perf_counter()
        builders = [point.load() for point in found]
        took = time.perf_counter() - begin
        loaded = set(sys.modules) - before
        assert not any(name.startswith("mlflow") or name == "runlode._runlode" for name in loaded), loaded
        assert took < 0.05, took
        import inspect
        assert list(inspect.signature(builders[0]).parameters) == ["store_uri", "artifact_uri"]
        assert list(inspect.signature(builders[1]).parameters) == ["store_uri", "tracking_uri"]
    """)


def test_other_users_do_not_load_it(tmp_path):
    python(f"""if True:
        import sys, mlflow
        mlflow.set_tracking_uri("file:{tmp_path}/mlruns")
        import os; os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        try:
            mlflow.search_experiments()
        except mlflow.exceptions.MlflowException:
            pass
        assert "runlode._runlode" not in sys.modules
    """)
