"""An unmodified MLflow client, as training scripts use it."""

import json
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import knob, unique

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"

mlflow = pytest.importorskip("mlflow")
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402


@pytest.fixture(scope="module")
def client(server):
    mlflow.set_tracking_uri(server.uri)
    mlflow.set_registry_uri(server.uri)
    yield MlflowClient(server.uri)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def name(client):
    """The name of a fresh experiment that is active."""
    name = unique("client")
    mlflow.set_experiment(name)
    yield name
    while mlflow.active_run():
        mlflow.end_run()


# Runs.

def test_a_run(client, name):
    with mlflow.start_run(run_name="first", tags={"a": "b"}, description="text") as run:
        mlflow.log_param("p", 1)
        mlflow.log_params({"q": None, "r": [1, 2], "long": "x" * 20000})
        mlflow.log_metric("m", 0.5, step=3)
        mlflow.log_metrics({"nan": float("nan"), "inf": float("inf"), "true": True}, step=1)
        mlflow.set_tag("t", 5)
        mlflow.set_tags({"é": "漢", "u": "v"})
        mlflow.set_experiment_tag("kind", "test")
    found = client.get_run(run.info.run_id)
    assert found.info.status == "FINISHED" and found.info.end_time >= found.info.start_time
    assert found.info.run_name == "first"
    assert found.data.params == {"p": "1", "q": "None", "r": "[1, 2]", "long": "x" * 20000}
    metrics = found.data.metrics
    assert (metrics["m"], metrics["true"], metrics["inf"]) == (0.5, 1.0, float("inf"))
    assert metrics["nan"] != metrics["nan"]
    assert found.data.tags["t"] == "5" and found.data.tags["é"] == "漢"
    assert found.data.tags["mlflow.note.content"] == "text"
    assert client.get_experiment_by_name(name).tags["kind"] == "test"


def test_a_run_that_fails(client, name):
    with pytest.raises(ZeroDivisionError):
        with mlflow.start_run() as run:
            1 / 0
    assert client.get_run(run.info.run_id).info.status == "FAILED"
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("again", 1)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_nested_runs(client, name):
    with mlflow.start_run() as parent:
        for i in range(3):
            with mlflow.start_run(nested=True, run_name=f"child-{i}"):
                mlflow.log_metric("m", i)
                with mlflow.start_run(nested=True):
                    pass
    children = mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list"
    )
    assert sorted(run.info.run_name for run in children) == ["child-0", "child-1", "child-2"]
    assert len(mlflow.search_runs(output_format="list")) == 7


def test_parallel_children(client, name):
    errors = []

    def child(parent, i):
        try:
            with mlflow.start_run(run_name=f"child-{i}", nested=True, parent_run_id=parent):
                for step in range(20):
                    mlflow.log_metric("m", step * i, step=step)
                mlflow.log_param("i", i)
        except Exception as error:
            errors.append(error)

    with mlflow.start_run() as parent:
        threads = [threading.Thread(target=child, args=(parent.info.run_id, i)) for i in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not errors
    found = mlflow.search_runs(order_by=["params.i ASC"], filter_string="params.i >= 0", output_format="list")
    assert [run.data.params["i"] for run in found] == [str(i) for i in range(8)]
    for i, run in enumerate(found):
        assert run.data.metrics["m"] == 19 * i
        assert len(client.get_metric_history(run.info.run_id, "m")) == 20


def test_the_low_client(client, name):
    experiment = client.get_experiment_by_name(name).experiment_id
    run = client.create_run(experiment, run_name="x", start_time=5, tags={"a": "1"}).info.run_id
    metrics = [Metric("m", i / 2, i, i) for i in range(900)]
    client.log_batch(run, metrics=metrics, params=[Param("p", "1")], tags=[RunTag("t", "1")])
    history = client.get_metric_history(run, "m")
    assert [(m.step, m.value, m.timestamp) for m in history] == [(i, i / 2, i) for i in range(900)]
    client.log_param(run, "p", "1")
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run, "p", "2")
    with pytest.raises(MlflowException, match="Names may only contain") as info:
        client.log_metric(run, "a|b", 1)
    assert info.value.error_code == "INVALID_PARAMETER_VALUE"
    client.update_run(run, status="KILLED", name="y")
    client.set_terminated(run, "FAILED", 77)
    client.delete_tag(run, "a")
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_metric(run, "m", 1)
    client.restore_run(run)
    found = client.get_run(run)
    assert (found.info.status, found.info.end_time, found.info.run_name) == ("FAILED", 77, "y")
    with pytest.raises(MlflowException) as info:
        client.get_run("0" * 32)
    assert info.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_experiments(client):
    name = unique("e")
    id = client.create_experiment(name, tags={"a": "1"})
    with pytest.raises(MlflowException) as info:
        client.create_experiment(name)
    assert info.value.error_code == "RESOURCE_ALREADY_EXISTS"
    client.rename_experiment(id, name + "-new")
    client.set_experiment_tag(id, "b", "2")
    assert client.get_experiment(id).tags == {"a": "1", "b": "2"}
    assert client.get_experiment_by_name(name) is None
    client.delete_experiment(id)
    found = client.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=f"name = '{name}-new'")
    assert [one.experiment_id for one in found] == [id]
    client.restore_experiment(id)
    assert client.get_experiment(id).lifecycle_stage == "active"
    assert any(one.experiment_id == id for one in mlflow.search_experiments())


def test_data_sets(client, name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [3.0, 4.0]})
    with mlflow.start_run() as run:
        for context in ("train", "eval"):
            dataset = mlflow.data.from_pandas(frame, name=context, targets="b")
            mlflow.log_input(dataset, context=context, tags={"k": "v"})
        mlflow.log_metric("m", 1, dataset=dataset)
    found = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert sorted(one.dataset.name for one in found) == ["eval", "train"]
    assert json.loads(found[0].dataset.profile)["num_rows"] == 2
    assert len(mlflow.search_runs(filter_string="dataset.context = 'train'")) == 1


def test_async_logging(client, name):
    with mlflow.start_run() as run:
        waits = [mlflow.log_metric("m", i, step=i, synchronous=False) for i in range(300)]
        waits.append(mlflow.log_params({f"p{i}": i for i in range(50)}, synchronous=False))
        waits.append(mlflow.set_tag("t", "v", synchronous=False))
        [wait.wait() for wait in waits]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "m")] == list(range(300))
    found = client.get_run(run.info.run_id).data
    assert len(found.params) == 50 and found.tags["t"] == "v"


def test_paging(client, name):
    """``RUNLODE_CLIENT_RUNS`` sets how many runs."""
    experiment = client.get_experiment_by_name(name).experiment_id

    with ThreadPoolExecutor(8) as pool:
        count = knob("RUNLODE_CLIENT_RUNS", 1200)
        list(pool.map(lambda i: client.create_run(experiment, start_time=i), range(1, count + 1)))
    seen, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=100, page_token=token)
        seen += [run.info.start_time for run in page]
        if (token := page.token) is None:
            break
    assert seen == list(range(count, 0, -1))
    assert len(mlflow.search_runs([experiment], max_results=100000)) == count


def test_system_metrics(client, name):
    pytest.importorskip("psutil")
    mlflow.set_system_metrics_sampling_interval(0.2)
    mlflow.set_system_metrics_samples_before_logging(1)
    try:
        with mlflow.start_run(log_system_metrics=True) as run:
            time.sleep(1.2)
    finally:
        mlflow.set_system_metrics_sampling_interval(None)
        mlflow.set_system_metrics_samples_before_logging(None)
    metrics = client.get_run(run.info.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics, metrics


# Artifacts.

def test_artifacts(client, name, tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "a.txt").write_text("one")
    (tmp_path / "d" / "e" / "b é.bin").write_bytes(bytes(1000))
    with mlflow.start_run() as run:
        mlflow.log_artifact(tmp_path / "d" / "a.txt")
        mlflow.log_artifact(tmp_path / "d" / "a.txt", "sub/dir")
        mlflow.log_artifacts(tmp_path / "d", "all")
        mlflow.log_text("hello", "text/x.txt")
        mlflow.log_dict({"a": [1]}, "dict.json")
        mlflow.log_dict({"a": [1]}, "dict.yaml")
    id = run.info.run_id
    assert sorted(f.path for f in client.list_artifacts(id)) == ["a.txt", "all", "dict.json", "dict.yaml", "sub", "text"]
    assert sorted(f.path for f in client.list_artifacts(id, "all")) == ["all/a.txt", "all/e"]
    local = client.download_artifacts(id, "all", str(tmp_path))
    assert open(os.path.join(local, "e", "b é.bin"), "rb").read() == bytes(1000)
    assert mlflow.artifacts.load_text(f"runs:/{id}/text/x.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"runs:/{id}/dict.json") == {"a": [1]}
    everything = mlflow.artifacts.download_artifacts(run_id=id, dst_path=str(tmp_path / "out"))
    assert sorted(os.listdir(everything)) == ["a.txt", "all", "dict.json", "dict.yaml", "sub", "text"]
    with pytest.raises(Exception):
        client.download_artifacts(id, "nope")


def test_pictures_and_tables(client, name):
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    image = numpy.zeros((8, 8, 3), dtype=numpy.uint8)
    frame = pandas.DataFrame({"q": ["a", "b"], "n": [1, 2]})
    with mlflow.start_run() as run:
        for step in range(3):
            mlflow.log_image(image, key="picture", step=step)
        mlflow.log_image(image, "plain.png")
        figure, axes = pyplot.subplots()
        axes.plot([0, 1], [2, 3])
        mlflow.log_figure(figure, "figures/plot.png")
        mlflow.log_table(frame, "table.json")
        mlflow.log_table(frame, "table.json")
        mlflow.flush_artifact_async_logging()
    id = run.info.run_id
    assert len(client.list_artifacts(id, "images")) == 6
    assert mlflow.artifacts.load_image(f"runs:/{id}/plain.png").size == (8, 8)
    assert len(mlflow.load_table("table.json", run_ids=[id])) == 4
    assert [f.path for f in client.list_artifacts(id, "figures")] == ["figures/plot.png"]
    assert "mlflow.loggedArtifacts" in client.get_run(id).data.tags
    assert client.get_run(id).data.tags["mlflow.loggedImages"] == "True"


# Models.

@pytest.fixture(scope="module")
def trained():
    linear = pytest.importorskip("sklearn.linear_model")
    import numpy

    features = numpy.arange(20, dtype=numpy.float64).reshape(10, 2)
    return linear.LinearRegression().fit(features, features.sum(axis=1)), features


def log_sklearn(model, **more):
    return mlflow.sklearn.log_model(model, name="model", pip_requirements=[], **more)


def test_autolog(client, name):
    linear = pytest.importorskip("sklearn.linear_model")
    import numpy

    mlflow.sklearn.autolog(log_datasets=True, silent=True)
    try:
        with mlflow.start_run() as run:
            linear.LogisticRegression(C=2.0).fit(numpy.array([[0.0], [1.0], [2.0], [3.0]]), numpy.array([0, 0, 1, 1]))
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    assert found.data.params["C"] == "2.0"
    assert found.data.metrics["training_accuracy_score"] == 1.0
    assert found.inputs.dataset_inputs
    (model,) = mlflow.search_logged_models(output_format="list")
    assert model.source_run_id == run.info.run_id and model.status.name == "READY"


def test_log_and_load(client, name, trained):
    model, features = trained
    with mlflow.start_run() as run:
        info = log_sklearn(model, params={"depth": 3}, step=2)
        mlflow.log_metric("m", 1.5, model_id=info.model_id)
    assert (mlflow.pyfunc.load_model(info.model_uri).predict(features) == model.predict(features)).all()
    assert (mlflow.sklearn.load_model(f"models:/{info.model_id}").predict(features) == model.predict(features)).all()
    assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model") is not None
    logged = mlflow.get_logged_model(info.model_id)
    assert logged.status.name == "READY" and logged.params["depth"] == "3"
    assert [metric.value for metric in logged.metrics] == [1.5]
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    assert [(output.model_id, output.step) for output in outputs] == [(info.model_id, 2)]
    found = mlflow.search_logged_models(filter_string="metrics.m > 1 AND params.depth = '3'", output_format="list")
    assert [one.model_id for one in found] == [info.model_id]


def test_onnx(client, name):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import numpy
    from onnx import TensorProto, helper

    node = helper.make_node("Add", ["x", "x"], ["y"])
    float2 = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 2]) for n in ("x", "y")]
    graph = helper.make_graph([node], "double", float2[:1], float2[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with mlflow.start_run():
        info = mlflow.onnx.log_model(model, name="double", pip_requirements=[])
    onnx.checker.check_model(mlflow.onnx.load_model(info.model_uri))
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(numpy.ones((3, 2), dtype=numpy.float32))
    assert (answer["y"] == 2).all()


def test_the_life_of_a_registered_model(client, name, trained):
    model, features = trained
    registered = unique("registered")
    with mlflow.start_run() as run:
        info = log_sklearn(model, registered_model_name=registered)
        log_sklearn(model, registered_model_name=registered)
    versions = client.search_model_versions(f"name = '{registered}'")
    assert [int(version.version) for version in versions] == [2, 1]
    first = client.get_model_version(registered, "1")
    assert first.run_id == run.info.run_id and first.status == "READY"
    assert mlflow.get_logged_model(info.model_id).tags["mlflow.modelVersions"]
    for uri in [f"models:/{registered}/1", f"models:/{registered}/latest"]:
        assert (mlflow.pyfunc.load_model(uri).predict(features) == model.predict(features)).all()

    client.set_registered_model_alias(registered, "champion", "1")
    assert int(client.get_model_version_by_alias(registered, "champion").version) == 1
    assert mlflow.sklearn.load_model(f"models:/{registered}@champion") is not None
    client.delete_registered_model_alias(registered, "champion")
    with pytest.raises(MlflowException, match="alias champion not found"):
        client.get_model_version_by_alias(registered, "champion")

    client.transition_model_version_stage(registered, "1", "Staging")
    client.transition_model_version_stage(registered, "2", "Staging", archive_existing_versions=True)
    assert client.get_model_version(registered, "1").current_stage == "Archived"
    assert [int(v.version) for v in client.get_latest_versions(registered, ["Staging"])] == [2]
    assert mlflow.pyfunc.load_model(f"models:/{registered}/Staging") is not None

    client.update_registered_model(registered, description="about")
    client.set_registered_model_tag(registered, "k", "v")
    client.update_model_version(registered, "1", description="one")
    client.set_model_version_tag(registered, "1", "k", "v")
    found = client.get_registered_model(registered)
    assert (found.description, found.tags) == ("about", {"k": "v"})
    assert client.get_model_version(registered, "1").tags == {"k": "v"}
    assert [one.name for one in client.search_registered_models(f"name = '{registered}'")] == [registered]

    other = unique("copy")
    copied = client.copy_model_version(f"models:/{registered}/1", other)
    assert (copied.name, int(copied.version), copied.run_id) == (other, 1, run.info.run_id)
    assert mlflow.pyfunc.load_model(f"models:/{other}/1") is not None

    renamed = registered + "-new"
    client.rename_registered_model(registered, renamed)
    assert client.get_model_version(renamed, "2").current_stage == "Staging"
    client.delete_model_version(renamed, "2")
    client.delete_registered_model(renamed)
    with pytest.raises(MlflowException) as error:
        client.get_registered_model(renamed)
    assert error.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_prompts(client):
    register = getattr(mlflow, "genai", None) and getattr(mlflow.genai, "register_prompt", None)
    if register is None:
        pytest.skip("this client has no prompts")
    name = unique("prompt")
    mlflow.genai.register_prompt(name=name, template="Hello {{who}}", commit_message="first")
    mlflow.genai.register_prompt(name=name, template="Bye {{who}}")
    assert mlflow.genai.load_prompt(f"prompts:/{name}/1").format(who="x") == "Hello x"
    assert client.search_registered_models(f"name = '{name}'") == []


# Races.

def enter(uri, name, count, queue):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    mlflow.set_tracking_uri(uri)
    try:
        for i in range(count):
            mlflow.set_experiment(f"{name}-{i}")
            with mlflow.start_run() as run:
                pass
            queue.put((i, run.info.experiment_id))
    except Exception as error:
        queue.put((-1, repr(error)))


def test_a_creation_race_leaves_no_run_in_default(client, server):
    """Many processes set the same experiments: each run lands where it was meant to."""
    name, count, processes = unique("race"), 5, knob("RUNLODE_RACE_PROCESSES", 6)
    before = len(client.search_runs(["0"], max_results=50000))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=enter, args=(server.uri, name, count, queue)) for _ in range(processes)]
    [worker.start() for worker in workers]
    landed = [queue.get(timeout=120) for _ in range(processes * count)]
    [worker.join() for worker in workers]
    ids = {i: client.get_experiment_by_name(f"{name}-{i}").experiment_id for i in range(count)}
    assert all(ids.get(i) == experiment for i, experiment in landed), landed
    assert len(client.search_runs(["0"], max_results=50000)) == before


def test_traces_only_warn(client, name):
    """Traces are not there yet: the traced code goes on."""

    @mlflow.trace
    def traced(x):
        return x + 1

    assert traced(1) == 2
    mlflow.flush_trace_async_logging(terminate=False)
    assert mlflow.search_runs(output_format="list") == []
