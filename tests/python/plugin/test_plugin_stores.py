"""What the stores have in process only: types, None, numbers, asynchronous calls, refusals."""

import inspect
import math
import pickle
import threading

import pytest

mlflow = pytest.importorskip("mlflow")
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    Run,
    RunStatus,
    RunTag,
)
from mlflow.entities.metric import MetricWithRunId  # noqa: E402
from mlflow.entities.model_registry import ModelVersion, RegisteredModel, RegisteredModelTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.entities.paged_list import PagedList  # noqa: E402
from mlflow.store.model_registry.abstract_store import AbstractStore as AbstractRegistry  # noqa: E402
from mlflow.store.tracking.abstract_store import AbstractStore  # noqa: E402
from mlflow.utils.async_logging.run_operations import RunOperations  # noqa: E402


def refused(call, *arguments, code="INVALID_PARAMETER_VALUE", match=None, **more):
    with pytest.raises(MlflowException, match=match) as error:
        call(*arguments, **more)
    assert error.value.error_code == code
    return error.value.message


# Entities are what their constructors make.

def as_constructed(entity, cls, **fields):
    assert type(entity) is cls
    assert vars(entity) == vars(cls(**fields))


def test_metrics(store, run):
    store.log_metric(run, Metric("m", 1.5, 7, -2))
    (found,) = store.get_metric_history(run, "m")
    as_constructed(found, Metric, key="m", value=1.5, timestamp=7, step=-2)
    assert found == Metric("m", 1.5, 7, -2) and hash(found) == hash(Metric("m", 1.5, 7, -2))
    (found,) = store.get_metric_history_bulk([run], "m", 10)
    assert type(found) is MetricWithRunId
    assert vars(found) == vars(MetricWithRunId(Metric("m", 1.5, 7, -2), run))
    (found,) = store.get_metric_history_bulk_interval([run], "m", 10, None, None)
    assert (found.run_id, found.to_dict()["step"]) == (run, -2)
    pickle.loads(pickle.dumps(found))


def test_runs(store, experiment):
    made = store.create_run(experiment, "ann", 5, [RunTag("a", "b")], "name")
    id = made.info.run_id
    assert type(made) is Run and made.outputs is None
    store.log_batch(id, [Metric("m", math.inf, 1, 2), Metric("n", 2, 3, 4)], [Param("p", "")], [])
    run = store.get_run(id)
    from mlflow.entities import RunData, RunInfo, RunInputs, RunOutputs

    assert run.info == RunInfo(
        run_id=id,
        experiment_id=experiment,
        user_id="ann",
        status="RUNNING",
        start_time=5,
        end_time=None,
        lifecycle_stage="active",
        artifact_uri=run.info.artifact_uri,
        run_name="name",
    )
    metrics = [Metric("m", math.inf, 1, 2), Metric("n", 2.0, 3, 4)]
    tags = [RunTag("a", "b"), RunTag("mlflow.runName", "name")]
    assert vars(run.data) == vars(RunData(metrics, [Param("p", "")], tags))
    assert vars(run.inputs) == vars(RunInputs([])) and vars(run.outputs) == vars(RunOutputs([]))
    assert sorted(vars(run)) == sorted(vars(Run(run.info, run.data)))
    info = store.update_run_info(id, RunStatus.FAILED, 9, "new")
    assert (info.status, info.end_time, info.run_name) == ("FAILED", 9, "new")
    assert store.update_run_info(run_id=id, run_status=None, end_time=None, run_name=None) == info
    # A run that was not told when it began, began at 0; one without an experiment is of the first one.
    assert store.create_run(experiment, None, None, None, None).info.start_time == 0


def test_inputs_and_outputs(store, run, experiment):
    dataset = Dataset("d", "1", "local", "s", schema="{}", profile=None)
    given = DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])
    store.log_inputs(run, [given], models=[LoggedModelInput("m-" + "1" * 32)])
    store.log_outputs(run, [LoggedModelOutput("m-" + "2" * 32, 3)])
    found = store.get_run(run)
    assert found.inputs.dataset_inputs == [given]
    assert found.inputs.model_inputs == [LoggedModelInput("m-" + "1" * 32)]
    assert found.outputs.model_outputs == [LoggedModelOutput("m-" + "2" * 32, 3)]
    (found,) = store.search_runs([experiment], None, 1)
    assert found.inputs.dataset_inputs == [given] and found.inputs.model_inputs == []
    (summary,) = store._search_datasets([experiment])
    assert summary.to_dict() == {"experiment_id": experiment, "name": "d", "digest": "1", "context": "train"}
    with pytest.raises(TypeError, match="should be a list"):
        store.log_inputs(run, given)


def test_experiments(store):
    id = store.create_experiment("e", None, [ExperimentTag("a", "1")])
    assert isinstance(id, str)
    found = store.get_experiment(id)
    assert type(found) is Experiment and found.tags == {"a": "1"}
    assert isinstance(found.creation_time, int) and found.lifecycle_stage == "active"
    assert vars(store.get_experiment(int(id))) == vars(found) == vars(store.get_experiment_by_name("e"))
    assert store.get_experiment_by_name("nobody") is None
    assert isinstance(store.search_experiments(), PagedList)
    refused(store.create_experiment, None, None, None, match="Invalid experiment name: 'None'")
    refused(store.get_experiment, "77", code="RESOURCE_DOES_NOT_EXIST", match="No Experiment with id=77 exists")


def test_logged_models_have_none_for_what_is_absent(store, experiment, run):
    model = store.create_logged_model(experiment, name="m")
    assert type(model) is LoggedModel
    assert (model.model_type, model.source_run_id, model.metrics) == (None, None, None)
    assert (model.status, model.tags, model.params) == (LoggedModelStatus.PENDING, {}, {})
    other = store.create_logged_model(
        experiment_id=experiment,
        source_run_id=run,
        tags=[LoggedModelTag("t", "1")],
        params=[LoggedModelParameter("p", "2")],
        model_type="agent",
    )
    assert (other.model_type, other.source_run_id, other.tags, other.params) == ("agent", run, {"t": "1"}, {"p": "2"})
    store.log_metric(run, Metric("m", 1, 2, 3, model_id=other.model_id, dataset_name="d", dataset_digest="1"))
    (metric,) = store.get_logged_model(other.model_id).metrics
    wanted = Metric("m", 1.0, 2, 3, other.model_id, "d", "1")
    wanted._run_id = run
    assert metric == wanted
    done = store.finalize_logged_model(other.model_id, LoggedModelStatus.READY)
    assert done.status is LoggedModelStatus.READY
    found = store.search_logged_models([experiment], order_by=[{"field_name": "name", "ascending": True}], max_results=1)
    assert len(found) == 1 and found.token
    (found,) = store.search_logged_models([experiment], datasets=[{"dataset_name": "d"}], filter_string="metrics.m > 0")
    assert found.model_id == other.model_id
    store.delete_logged_model(other.model_id)
    refused(store.get_logged_model, other.model_id, code="RESOURCE_DOES_NOT_EXIST")
    assert store.get_logged_model(other.model_id, allow_deleted=True).model_id == other.model_id


def test_versions_are_numbers(registry):
    model = registry.create_registered_model("m", [RegisteredModelTag("a", "1")])
    assert type(model) is RegisteredModel
    assert (model.description, model.latest_versions, model.aliases, model.tags) == (None, [], {}, {"a": "1"})
    version = registry.create_model_version("m", "s3://b/1")
    assert type(version) is ModelVersion and version.version == 1
    assert (version.run_id, version.run_link, version.description) == (None, None, None)
    assert (version.current_stage, version.status, version.user_id) == ("None", "READY", None)
    assert registry.create_model_version("m", "s3://b/2", run_link="l", description="").version == 2
    for number in (1, "1"):
        assert registry.get_model_version("m", number).source == "s3://b/1"
    registry.set_registered_model_alias("m", "best", 1)
    assert registry.get_model_version_by_alias("m", "best").version == 1
    assert registry.get_registered_model("m").aliases == {"best": 1}
    assert [v.version for v in registry.get_latest_versions("m")] == [2]
    assert [v.version for v in registry.search_model_versions("name = 'm'")] == [2, 1]
    refused(registry.get_model_version, "m", "x", match="must be an integer")
    refused(registry.create_registered_model, None, match="Missing value for required parameter")
    refused(registry.create_registered_model, "m", code="RESOURCE_ALREADY_EXISTS")
    assert isinstance(registry.list_webhooks_by_event(None), PagedList)
    assert registry.search_registered_models().token is None


def test_models_in_the_same_store(store, registry, experiment, run):
    model = store.create_logged_model(experiment, source_run_id=run)
    registry.create_registered_model("m")
    made = registry.create_model_version("m", f"models:/{model.model_id}", model_id=model.model_id)
    assert (made.run_id, made.model_id) == (run, model.model_id)
    assert registry.get_model_version_download_uri("m", 1) == model.artifact_location
    copy = registry.copy_model_version(made, "other")
    assert (copy.version, copy.run_id, copy.source) == (1, run, "models:/m/1")


# Values.

@pytest.mark.parametrize("value", [0.1, -0.0, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 3, 2**60])
def test_values_stay(client, store, run, value):
    client.log_metric(run, "m", value, timestamp=1)
    store.log_batch(run, [Metric("n", value, 1, 0)], [], [])
    for key in "mn":
        (found,) = store.get_metric_history(run, key)
        assert type(found.value) is float
        assert found.value.hex() == float(value).hex()


def test_numbers_of_other_kinds(store, run):
    numpy = pytest.importorskip("numpy")
    from decimal import Decimal
    from fractions import Fraction

    values = [numpy.float32(1.5), numpy.int64(2), numpy.float64(2.5), Decimal("0.25"), Fraction(1, 8)]
    store.log_batch(run, [Metric("m", v, numpy.int64(9), numpy.int32(i)) for i, v in enumerate(values)], [], [])
    assert [m.value for m in store.get_metric_history(run, "m")] == [1.5, 2.0, 2.5, 0.25, 0.125]
    store.log_metric(run, Metric("t", 1.0, 9.75, 2.0))
    assert [(m.timestamp, m.step) for m in store.get_metric_history(run, "t")] == [(9, 2)]


@pytest.mark.parametrize("metric, message", [
    (Metric("m", None, 1, 0), "Missing value for required parameter '{}value'"),
    (Metric(None, 1, 1, 0), "Invalid value null for parameter '{}name' supplied: Metric name cannot be None"),
    (Metric(5, 1, 1, 0), "Invalid value 5 for parameter '{}name' supplied"),
    (Metric("m", "abc", 7, 0), r"""Invalid value "abc" for parameter '{}value' supplied: \(timestamp=7\). Please specify """
     r"value as a valid double \(64-bit floating point\)"),
    (Metric("m", True, 7, 0), "Invalid value true for parameter '{}value' supplied"),
    (Metric("m", 1.0, -1, 0), r"Invalid value -1 for parameter '{}timestamp' supplied: metric 'm' \(value=1.0\). "
     r"Timestamp must be a nonnegative long \(64-bit integer\) "),
    (Metric("m", 1, "x", 0), "Invalid value \"x\" for parameter '{}timestamp' supplied"),
    (Metric("m", 1, 1, "x"), "Invalid value \"x\" for parameter '{}step' supplied"),
    (Metric("m", 1, 2**63, 0), "Invalid value 9223372036854775808 for parameter '{}timestamp' supplied"),
    (Metric("a//b", 1, 1, 0), "for parameter '{}name' supplied"),
])
def test_metrics_that_are_refused(store, run, metric, message):
    refused(store.log_metric, run, metric, match=message.format(""))
    good = Metric("good", 1, 1, 1)
    refused(store.log_batch, run, [good, metric], [], [], match=message.format(r"metrics\[1\]."))
    assert store.get_run(run).data.metrics == {}


def test_metrics_of_other_classes(store, run):
    class Mine(Metric):
        @property
        def value(self):
            return 7.0

    store.log_metric(run, Mine("m", 1.0, 1, 0))
    store.log_batch(run, [Mine("m", 1.0, 2, 0)], [], [])
    assert [m.value for m in store.get_metric_history(run, "m")] == [7.0, 7.0]


def test_params_and_tags(store, run):
    store.log_param(run, Param("p", "1"))
    store.log_param(run, Param("p", "1"))
    message = refused(store.log_param, run, Param("p", "2"))
    assert message.startswith("Changing param values is not allowed. Param with key='p' was already logged with value='1'")
    message = refused(store.log_batch, run, [], [Param("p", "2")], [])
    assert "[{'key': 'p', 'old_value': '1', 'new_value': '2'}]" in message
    store.set_tag(run, RunTag("t", 5))
    assert store.get_run(run).data.tags["t"] == "5"
    refused(store.set_tag, run, RunTag(None, "x"), match="Missing value for required parameter 'key'")
    refused(store.log_param, run, Param(None, "x"), match="for parameter 'key' supplied: A key name must be provided")
    refused(store.log_param, run, Param("none", None), match="'value'", code="BAD_REQUEST")
    refused(store.log_batch, run, [], [], [RunTag(None, "x")], match=r"'tags\[0\].key'")
    store.delete_tag(run, "t")
    refused(store.delete_tag, run, "t", code="RESOURCE_DOES_NOT_EXIST", match="No tag with name: t")


def test_surrogates_are_an_error_and_not_a_crash(store, run):
    for call in (lambda: store.set_tag(run, RunTag("k", "\ud800")), lambda: store.log_metric(run, Metric("\ud800", 1, 1, 0))):
        with pytest.raises((MlflowException, UnicodeError)):
            call()


# Pages.

def test_pages(store, experiment):
    ids = [store.create_run(experiment, "", i, [], None).info.run_id for i in range(5)]
    page = store.search_runs([experiment], "", 1, max_results=2)
    assert isinstance(page, PagedList) and page.token
    rest = store.search_runs([experiment], "", 1, max_results=50, page_token=page.token)
    assert rest.token is None
    assert [run.info.run_id for run in page + rest] == ids[::-1]
    everything = store.search_runs([experiment], None, 3, max_results=None)
    assert len(everything) == 5 and everything.token is None
    runs, token = store._search_runs([experiment], None, 1, 3, ["attributes.start_time"], None)
    assert [run.info.run_id for run in runs] == ids[:3] and token
    refused(store.search_runs, [experiment], "", 1, max_results=50001)


def test_histories(store, run):
    for start in range(0, 3000, 1000):
        store.log_batch(run, [Metric("m", i * 0.5, 1000 + i, i) for i in range(start, start + 1000)], [], [])
    found = store.get_metric_history(run, "m")
    assert isinstance(found, PagedList) and found.token is None
    assert [(m.step, m.timestamp, m.value) for m in found] == [(i, 1000 + i, i * 0.5) for i in range(3000)]
    page = store.get_metric_history(run, "m", max_results=2500)
    rest = store.get_metric_history(run, "m", max_results=2500, page_token=page.token)
    assert len(page) == 2500 and list(page) + list(rest) == list(found)
    assert store.get_metric_history(run, "nope") == [] == store.get_metric_history("0" * 32, "m")
    few = store.get_metric_history_bulk_interval(
        run_ids=[run], metric_key="m", max_results=10, start_step=0, end_step=1000
    )
    assert isinstance(few, list) and few[0].step == 0 and few[-1].step == 1000 and len(few) == 10
    refused(store.get_metric_history_bulk_interval, [run], "m", 10, 1, None, match="must be specified together")


def test_the_garbage_collector_goes_on(store, run):
    import gc

    store.log_batch(run, [Metric("m", i, i, i) for i in range(1000)], [], [])
    assert gc.isenabled()
    store.get_metric_history(run, "m")
    assert gc.isenabled()
    gc.disable()
    try:
        store.get_metric_history(run, "m")
        assert not gc.isenabled()
    finally:
        gc.enable()


# Asynchronous logging is done when the call returns.

def test_async_calls_are_done_at_once(client, store, run):
    done = [
        store.log_metric_async(run, Metric("m", 1, 1, 0)),
        store.log_param_async(run, Param("p", "1")),
        store.set_tag_async(run, RunTag("t", "1")),
        store.log_batch_async(run, [Metric("n", 1, 1, 0)], [], []),
        client.log_metric(run, "k", 2.0, synchronous=False),
    ]
    assert all(isinstance(one, RunOperations) for one in done)
    data = store.get_run(run).data
    assert (data.metrics, data.params) == ({"m": 1.0, "n": 1.0, "k": 2.0}, {"p": "1"})
    [one.wait() for one in done]
    failed = store.log_param_async(run, Param("p", "2"))
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        failed.wait()
    threads = threading.active_count()
    mlflow.config.enable_async_logging()
    try:
        with mlflow.start_run(run_id=run):
            for step in range(100):
                mlflow.log_metric("fluent", step, step=step)
            assert len(store.get_metric_history(run, "fluent")) == 100
            mlflow.flush_async_logging()
    finally:
        mlflow.config.enable_async_logging(False)
    store.end_async_logging()
    store.flush_async_logging()
    store.shut_down_async_logging()
    assert threading.active_count() == threads


def test_threads(store, run):
    def log(name):
        for step in range(200):
            store.log_metric(run, Metric(name, step, step, step))
            if step % 50 == 0:
                store.set_tag(run, RunTag(name, str(step)))

    threads = [threading.Thread(target=log, args=(f"m{i}",)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(len(store.get_metric_history(run, f"m{i}")) == 200 for i in range(8))


def test_a_lost_creation_race_is_told_the_winner(store):
    """As `mlflow.set_experiment` does it: ask, then create. Another thread is faster in between."""
    assert store.get_experiment_by_name("race") is None
    made = []
    other = threading.Thread(target=lambda: made.append(store.create_experiment("race", None, [])))
    other.start()
    other.join()
    assert [store.create_experiment("race", None, [])] == made
    # Who was not told that the name is free is refused as ever.
    refused(store.create_experiment, "race", None, [], code="RESOURCE_ALREADY_EXISTS")
    assert store.get_experiment_by_name("deleted") is None
    store.delete_experiment(store.create_experiment("deleted", None, []))
    assert store.get_experiment_by_name("deleted").lifecycle_stage == "deleted"
    refused(store.create_experiment, "deleted", None, [], code="RESOURCE_ALREADY_EXISTS")


# The classes.

@pytest.mark.parametrize("base, fixture", [(AbstractStore, "store"), (AbstractRegistry, "registry")])
def test_arguments_are_those_of_mlflow(base, fixture, request):
    """Handlers call by keyword."""
    ours = type(request.getfixturevalue(fixture))
    for name, method in inspect.getmembers(base, inspect.isfunction):
        mine = getattr(ours, name)
        if name.startswith("__") or mine is method or "NotKept" in (mine.__doc__ or ""):
            continue
        wanted = [p for p in inspect.signature(method).parameters if p != "self"]
        found = inspect.signature(mine).parameters
        if any(p.kind is p.VAR_POSITIONAL for p in found.values()):
            continue
        assert [p for p in found if p != "self"][: len(wanted)] == wanted, name


def test_every_abstract_method_is_there(store, registry):
    for found, base in [(store, AbstractStore), (registry, AbstractRegistry)]:
        for name, method in inspect.getmembers(base, inspect.isfunction):
            if getattr(method, "__isabstractmethod__", False):
                assert getattr(type(found), name) is not method, name


def test_stores_can_be_sent_to_other_processes(store, registry, experiment):
    for one in (store, registry):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and again.store_uri == one.store_uri
    assert pickle.loads(pickle.dumps(store)).get_experiment(experiment).name == "experiment"


# What is not kept.

def test_what_is_not_kept_is_said(store, run):
    for call in [
        lambda: store.search_traces(["0"]),
        lambda: store.get_trace_info("tr-1"),
        lambda: store.link_traces_to_run(["tr-1"], run),
        lambda: store.log_spans("0", []),
        lambda: store.search_datasets(),
        lambda: store.register_scorer("0", "s", "{}"),
    ]:
        with pytest.raises(NotImplementedError, match="A runlode store keeps experiments") as error:
            call()
        assert isinstance(error.value, MlflowException) and error.value.error_code == "NOT_IMPLEMENTED"
        pickle.loads(pickle.dumps(error.value))


def test_traces_warn_once(client, experiment, caplog):
    from runlode.mlflow_plugin import tracking

    tracking._warned.clear()
    mlflow.set_experiment(experiment_id=experiment)

    @mlflow.trace
    def traced(x):
        with mlflow.start_span("inner"):
            return x + 1

    # MLflow's loggers hand nothing on by default.
    import logging

    logging.getLogger("mlflow").propagate = True
    with caplog.at_level("WARNING"):
        with mlflow.start_run():
            assert [traced(i) for i in range(5)] == [1, 2, 3, 4, 5]
        mlflow.flush_trace_async_logging(terminate=False)
    said = [record.getMessage() for record in caplog.records if "race" in record.getMessage()]
    assert said == ["Traces are not kept by a runlode store; they are dropped."]


# Under a server.

def test_a_server_gives_the_artifact_root(tmp_path):
    from mlflow.tracking._model_registry.utils import _get_store as registry_store
    from runlode.mlflow_plugin import model_registry_store, tracking_store

    uri = f"runlode://{tmp_path}/s"
    store = tracking_store(store_uri=uri, artifact_uri="mlflow-artifacts:/")
    assert store.get_experiment("0").artifact_location == "mlflow-artifacts:/0"
    model = store.create_logged_model("0")
    assert model.artifact_location == f"mlflow-artifacts:/0/models/{model.model_id}/artifacts"
    registry = model_registry_store(store_uri=uri, tracking_uri=uri)
    registry.create_registered_model("m")
    registry.create_model_version("m", f"models:/{model.model_id}")
    assert registry.get_model_version_download_uri("m", "1") == model.artifact_location
    # Pages ask for traces: there are none. Clients that send some are told.
    assert store.search_traces(experiment_ids=["0"]) == ([], None)
    with pytest.raises(MlflowException, match="keeps experiments"):
        store.start_trace(None)
    assert registry_store is not None


def test_artifacts(client, run, tmp_path):
    assert client.get_run(run).info.artifact_uri.startswith(f"{tmp_path}/store/artifacts/")
    client.log_text(run, "hello", "d/a.txt")
    assert [file.path for file in client.list_artifacts(run, "d")] == ["d/a.txt"]
    assert open(client.download_artifacts(run, "d/a.txt")).read() == "hello"


def test_deleted_runs_are_listed_as_by_mlflows_own_stores(store, experiment):
    kept, gone, hidden = (store.create_run(experiment, "", 0, [], name).info.run_id for name in ("kept", "gone", "hidden"))
    assert store._get_deleted_runs() == []
    store.delete_run(gone)
    assert store._get_deleted_runs() == [gone]
    store.delete_experiment(experiment)
    assert set(store._get_deleted_runs()) == {kept, gone, hidden}
    with pytest.raises(MlflowException, match="gc --older-than"):
        store._get_deleted_runs(older_than=1000)
