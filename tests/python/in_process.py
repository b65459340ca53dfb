"""The suite's HTTP calls, answered by MLflow's stores in this process: the same tests for ``runlode:`` URIs.

``RUNLODE_TEST_URI=runlode:`` runs every test on a store of its module's own, without a server. A call becomes the store
call that MLflow's client would make; what comes back is shown as the wire would show it, by MLflow's own conversion.
What only the wire has (absent fields, wrong types, raw requests, endpoints of ours) is left out.
"""

import json

import pytest
from conftest import Api

ERRORS = {"INVALID_STATE": 400, "INTERNAL_ERROR": 400, "RESOURCE_EXHAUSTED": 507}
FLOATS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def only_wire(why):
    pytest.skip(f"only over HTTP: {why}")


class InProcess:
    """Stands for a server: a store that this process holds."""

    def __init__(self, uri):
        self.uri = uri

    def alive(self):
        return True


class Answer:
    headers = {"content-type": "application/json"}

    def __init__(self, method, path, status, body):
        self.method, self.url, self.status_code, self.body = method, path, status, body
        self.request, self.text = self, json.dumps(body)

    def json(self):
        return self.body


class InProcessApi(Api):
    def __init__(self, uri):
        from mlflow.tracking._model_registry.utils import _get_store as registry_store
        from mlflow.tracking._tracking_service.utils import _get_store as tracking_store

        self.uri = uri
        self.store, self.registry = tracking_store(uri), registry_store(uri)

    def raw(self, method, path, **arguments):
        only_wire(f"{method} {path}")

    def send(self, method, path, fields):
        from mlflow.exceptions import MlflowException

        path = path.removeprefix("/ajax-api/2.0/mlflow/").removeprefix("/api/2.0/mlflow/")
        call, *names = find(method, path)
        try:
            body = call(self, Fields(fields), *names)
        except MlflowException as error:
            status = ERRORS.get(error.error_code, error.get_http_status_code())
            return Answer(method, path, status, {"error_code": error.error_code, "message": error.message})
        return Answer(method, path, 200, body or {})


class Fields(dict):
    """What a request holds; looks for what a handler would refuse before the store."""

    def text(self, name, default=None):
        value = self.get(name, default)
        if value is not None and not isinstance(value, str):
            only_wire(f"{name} is {value!r}")
        return value

    def need(self, name):
        if self.get(name) in (None, ""):
            only_wire(f"{name} is required")
        return self.text(name)

    def integer(self, name, default=None):
        value = self.get(name, default)
        if isinstance(value, str) and value.lstrip("-").isdigit():
            value = int(value)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            only_wire(f"{name} is {value!r}")
        return value

    def list(self, name):
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)):
            value = [value]
        return list(value)

    def items(self, name, cls):
        made = []
        for item in self.list(name):
            if not isinstance(item, dict) or not isinstance(item.get("key"), str) or item["key"] == "":
                only_wire(f"{name} holds {item!r}")
            if not isinstance(item.get("value", ""), str):
                only_wire(f"{name} holds {item!r}")
            made.append(cls(item["key"], item.get("value", "")))
        return made


def number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        only_wire(f"a value is {value!r}")


def metric(item):
    from mlflow.entities import Metric

    if not isinstance(item, dict) or not isinstance(item.get("key"), str) or "value" not in item:
        only_wire(f"a metric is {item!r}")
    item = Fields(item)
    times = item.integer("timestamp"), item.integer("step", 0)
    if times[0] is None or not all(-(2**63) <= time < 2**63 for time in times):
        only_wire(f"a metric is {item!r}")
    contexts = [item.get(name) for name in ("model_id", "dataset_name", "dataset_digest")]
    contexts[0] = contexts[0] or item.get("modelId")
    made = Metric(item["key"], number(item["value"]), *times)
    made._model_id, made._dataset_name, made._dataset_digest = contexts
    return made


def shown(entity):
    """An entity as the wire shows it."""
    from mlflow.utils.proto_json_utils import message_to_json

    return json.loads(message_to_json(entity.to_proto()))


def page(fields, name, found):
    body = {name: [shown(item) for item in found]} if found else {}
    return {**body, "next_page_token": found.token} if found.token else body


VIEWS = {"ACTIVE_ONLY": 1, "DELETED_ONLY": 2, "ALL": 3}


def view(fields, name):
    given = fields.get(name, 1)
    number = VIEWS.get(given, given)
    if number not in (1, 2, 3, "1", "2", "3"):
        only_wire(f"{name} is {given!r}")
    return int(number)


def search_arguments(fields, default):
    """Filter, most, order, token."""
    for order in fields.list("order_by"):
        if not isinstance(order, str):
            only_wire(f"order_by holds {order!r}")
    most = fields.integer("max_results", default)
    if "mlflow-artifacts:" in (fields.text("filter") or ""):
        only_wire("where artifacts lie")
    return {
        "filter_string": fields.text("filter"),
        "max_results": most,
        "order_by": fields.list("order_by"),
        "page_token": fields.text("page_token"),
    }


CALLS = []


def on(method, path):
    def add(call):
        for one in method.split():
            CALLS.append((one, path.split("/"), call))
        return call

    return add


def find(method, path):
    parts = path.strip("/").split("/")
    for known, pattern, call in CALLS:
        if known == method and len(pattern) == len(parts):
            if all(p == "*" or p == q for p, q in zip(pattern, parts)):
                return call, *[q for p, q in zip(pattern, parts) if p == "*"]
    only_wire(f"{method} {path}")


# Experiments.


@on("POST", "experiments/create")
def _(api, f):
    from mlflow.entities import ExperimentTag

    if not isinstance(f.get("name"), str):
        only_wire("name is required")
    return {
        "experiment_id": api.store.create_experiment(
            f.text("name"), f.text("artifact_location"), f.items("tags", ExperimentTag)
        )
    }


@on("GET", "experiments/get")
def _(api, f):
    return {"experiment": shown(api.store.get_experiment(f.need("experiment_id")))}


@on("GET", "experiments/get-by-name")
def _(api, f):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    found = api.store.get_experiment_by_name(f.need("experiment_name"))
    if found is None:
        name = f["experiment_name"]
        raise MlflowException(f"Could not find experiment with name '{name}'", RESOURCE_DOES_NOT_EXIST)
    return {"experiment": shown(found)}


@on("GET POST", "experiments/search")
def _(api, f):
    if "max_results" not in f:
        only_wire("max_results is required")
    found = api.store.search_experiments(view_type=view(f, "view_type"), **search_arguments(f, None))
    return page(f, "experiments", found)


@on("POST", "experiments/delete")
def _(api, f):
    api.store.delete_experiment(f.need("experiment_id"))


@on("POST", "experiments/restore")
def _(api, f):
    api.store.restore_experiment(f.need("experiment_id"))


@on("POST", "experiments/update")
def _(api, f):
    api.store.rename_experiment(f.need("experiment_id"), f.need("new_name"))


@on("POST", "experiments/set-experiment-tag")
def _(api, f):
    from mlflow.entities import ExperimentTag

    tag = ExperimentTag(f.need("key"), f.text("value", ""))
    api.store.set_experiment_tag(f.need("experiment_id"), tag)


@on("POST", "experiments/delete-experiment-tag")
def _(api, f):
    api.store.delete_experiment_tag(f.need("experiment_id"), f.need("key"))


@on("POST", "experiments/search-datasets")
def _(api, f):
    ids = f.list("experiment_ids")
    if not 1 <= len(ids) <= 20:
        only_wire("how many experiments")
    found = [summary.to_dict() for summary in api.store._search_datasets(ids)]
    return {"dataset_summaries": [{**summary, "context": summary["context"] or ""} for summary in found]}


# Runs.


@on("POST", "runs/create")
def _(api, f):
    from mlflow.entities import RunTag

    made = api.store.create_run(
        experiment_id=f.text("experiment_id"),
        user_id=f.text("user_id", ""),
        start_time=f.integer("start_time", 0),
        tags=f.items("tags", RunTag),
        run_name=f.text("run_name"),
    )
    return {"run": shown(made)}


def run_id(f):
    return f.get("run_id") or f.need("run_uuid")


@on("GET", "runs/get")
def _(api, f):
    return {"run": shown(api.store.get_run(run_id(f)))}


@on("POST", "runs/update")
def _(api, f):
    from mlflow.entities import RunStatus

    status = f.get("status")
    if isinstance(status, str):
        if status not in RunStatus._STRING_TO_STATUS:
            only_wire(f"status is {status!r}")
        status = RunStatus.from_string(status)
    info = api.store.update_run_info(run_id(f), status, f.integer("end_time"), f.text("run_name"))
    return {"run_info": shown(info)}


@on("POST", "runs/delete")
def _(api, f):
    api.store.delete_run(run_id(f))


@on("POST", "runs/restore")
def _(api, f):
    api.store.restore_run(run_id(f))


@on("POST", "runs/log-metric")
def _(api, f):
    if "timestamp" not in f:
        only_wire("timestamp is required")
    api.store.log_metric(run_id(f), metric(f))


@on("POST", "runs/log-parameter")
def _(api, f):
    from mlflow.entities import Param

    api.store.log_param(run_id(f), Param(f.need("key"), f.text("value", "")))


@on("POST", "runs/set-tag")
def _(api, f):
    from mlflow.entities import RunTag

    api.store.set_tag(run_id(f), RunTag(f.need("key"), f.text("value", "")))


@on("POST", "runs/delete-tag")
def _(api, f):
    api.store.delete_tag(run_id(f), f.need("key"))


@on("POST", "runs/log-batch")
def _(api, f):
    from mlflow.entities import Param, RunTag

    metrics = [metric(item) for item in f.list("metrics")]
    api.store.log_batch(run_id(f), metrics, f.items("params", Param), f.items("tags", RunTag))


@on("POST", "runs/log-inputs")
def _(api, f):
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

    inputs = []
    for item in f.list("datasets"):
        if not isinstance(item, dict):
            only_wire(f"datasets holds {item!r}")
        data = item.get("dataset") or {}
        if any(not data.get(name) for name in ("name", "digest", "source_type", "source")):
            only_wire("a data set lacks something")
        inputs.append(DatasetInput(Dataset(**data), Fields(item).items("tags", InputTag)))
    models = [LoggedModelInput(model["model_id"]) for model in f.list("models")]
    api.store.log_inputs(run_id(f), inputs, models=models)


@on("POST", "runs/outputs")
def _(api, f):
    from mlflow.entities import LoggedModelOutput

    if not f.get("models"):
        only_wire("models is required")
    models = [LoggedModelOutput(model["model_id"], int(model.get("step", 0))) for model in f["models"]]
    api.store.log_outputs(run_id(f), models)


@on("POST", "runs/log-model")
def _(api, f):
    from mlflow.models import Model

    try:
        given = json.loads(f.need("model_json"))
        model = Model.from_dict(given)
    except Exception:
        only_wire("a malformed model")
    if {"artifact_path", "flavors", "utc_time_created", "run_id"} - set(given):
        only_wire("a model that lacks something")
    api.store.record_logged_model(run_id(f), model)


@on("POST", "runs/search")
def _(api, f):
    if not f.list("experiment_ids"):
        return {}
    if any(not isinstance(id, str) for id in f.list("experiment_ids")):
        only_wire("an experiment id that is no text")
    arguments = search_arguments(f, 1000)
    return page(f, "runs", api.store.search_runs(f.list("experiment_ids"), run_view_type=view(f, "run_view_type"), **arguments))


# Metrics.


@on("GET", "metrics/get-history")
def _(api, f):
    found = api.store.get_metric_history(
        run_id(f), f.need("metric_key"), max_results=f.integer("max_results"), page_token=f.text("page_token")
    )
    return page(f, "metrics", found)


def points(found):
    kept = []
    for point in found:
        point = point.to_dict()
        point["value"] = FLOATS.get(str(point["value"]), point["value"])
        kept.append(point)
    return {"metrics": kept}


@on("GET", "metrics/get-history-bulk")
def _(api, f):
    if not f.list("run_id") or "metric_key" not in f:
        only_wire("what is required")
    most = f.integer("max_results", 25000)
    return points(api.store.get_metric_history_bulk(f.list("run_id"), f["metric_key"], most))


@on("GET", "metrics/get-history-bulk-interval")
def _(api, f):
    if not f.list("run_ids"):
        only_wire("run_ids is required")
    start, end = f.integer("start_step"), f.integer("end_step")
    if (start is None) != (end is None):
        only_wire("other words for half a range")
    found = api.store.get_metric_history_bulk_interval(
        run_ids=f.list("run_ids"),
        metric_key=f.need("metric_key"),
        max_results=f.integer("max_results", 2500),
        start_step=start,
        end_step=end,
    )
    body = points(found)
    return body if body["metrics"] else {}


# Logged models.


@on("POST", "logged-models")
def _(api, f):
    from mlflow.entities import LoggedModelParameter, LoggedModelTag

    made = api.store.create_logged_model(
        experiment_id=f.need("experiment_id"),
        name=f.text("name"),
        source_run_id=f.text("source_run_id"),
        tags=f.items("tags", LoggedModelTag),
        params=f.items("params", LoggedModelParameter),
        model_type=f.text("model_type"),
    )
    return {"model": logged(made)}


def logged(model):
    body = shown(model)
    # In process what is absent is None.
    for name in ("model_type", "source_run_id"):
        assert getattr(model, name) != ""
        body["info"].setdefault(name, "")
    return {"data": {}, **body}


@on("POST", "logged-models/search")
def _(api, f):
    ids = f.list("experiment_ids")
    if not ids:
        only_wire("experiment_ids is required")
    if f.get("max_results") == 0:
        only_wire("0 is no limit in process")
    for order in f.list("order_by"):
        if not isinstance(order, dict) or not isinstance(order.get("field_name"), str):
            only_wire(f"order_by holds {order!r}")
    found = api.store.search_logged_models(
        experiment_ids=ids,
        filter_string=f.text("filter"),
        datasets=f.list("datasets"),
        max_results=f.integer("max_results", 50),
        order_by=f.list("order_by"),
        page_token=f.text("page_token"),
    )
    body = {"models": [logged(item) for item in found]} if found else {}
    return {**body, "next_page_token": found.token} if found.token else body


@on("GET", "logged-models/*")
def _(api, f, id):
    return {"model": logged(api.store.get_logged_model(id, allow_deleted=f.get("allow_deleted") in (True, "true")))}


@on("PATCH", "logged-models/*")
def _(api, f, id):
    from mlflow.entities import LoggedModelStatus

    numbers = {
        "LOGGED_MODEL_STATUS_UNSPECIFIED": 0,
        "LOGGED_MODEL_PENDING": 1,
        "LOGGED_MODEL_READY": 2,
        "LOGGED_MODEL_UPLOAD_FAILED": 3,
    }
    status = numbers.get(f.get("status"), f.get("status"))
    if status not in numbers.values():
        only_wire(f"status is {status!r}")
    return {"model": logged(api.store.finalize_logged_model(id, LoggedModelStatus.from_int(status)))}


@on("DELETE", "logged-models/*")
def _(api, f, id):
    api.store.delete_logged_model(id)


@on("POST", "logged-models/*/params")
def _(api, f, id):
    from mlflow.entities import LoggedModelParameter

    api.store.log_logged_model_params(id, f.items("params", LoggedModelParameter))


@on("PATCH", "logged-models/*/tags")
def _(api, f, id):
    from mlflow.entities import LoggedModelTag

    api.store.set_logged_model_tags(id, f.items("tags", LoggedModelTag))


@on("DELETE", "logged-models/*/tags/*")
def _(api, f, id, key):
    api.store.delete_logged_model_tag(id, key)


# The registry.


@on("POST", "registered-models/create")
def _(api, f):
    from mlflow.entities.model_registry import RegisteredModelTag

    made = api.registry.create_registered_model(f.text("name"), f.items("tags", RegisteredModelTag), f.text("description"))
    return {"registered_model": shown(made)}


@on("GET", "registered-models/get")
def _(api, f):
    return {"registered_model": shown(api.registry.get_registered_model(f.need("name")))}


@on("POST", "registered-models/rename")
def _(api, f):
    return {"registered_model": shown(api.registry.rename_registered_model(f.need("name"), f.need("new_name")))}


@on("PATCH", "registered-models/update")
def _(api, f):
    return {"registered_model": shown(api.registry.update_registered_model(f.need("name"), f.text("description")))}


@on("DELETE", "registered-models/delete")
def _(api, f):
    api.registry.delete_registered_model(f.need("name"))


@on("GET", "registered-models/search")
def _(api, f):
    return page(f, "registered_models", api.registry.search_registered_models(**search_arguments(f, None)))


@on("GET POST", "registered-models/get-latest-versions")
def _(api, f):
    found = api.registry.get_latest_versions(f.need("name"), f.list("stages"))
    return {"model_versions": [shown(version) for version in found]} if found else {}


@on("POST", "registered-models/set-tag")
def _(api, f):
    from mlflow.entities.model_registry import RegisteredModelTag

    api.registry.set_registered_model_tag(f.need("name"), RegisteredModelTag(f.need("key"), f.text("value", "")))


@on("DELETE", "registered-models/delete-tag")
def _(api, f):
    api.registry.delete_registered_model_tag(f.need("name"), f.need("key"))


@on("POST", "registered-models/alias")
def _(api, f):
    api.registry.set_registered_model_alias(f.need("name"), f.need("alias"), f.need("version"))


@on("GET", "registered-models/alias")
def _(api, f):
    return {"model_version": shown(api.registry.get_model_version_by_alias(f.need("name"), f.need("alias")))}


@on("DELETE", "registered-models/alias")
def _(api, f):
    api.registry.delete_registered_model_alias(f.need("name"), f.need("alias"))


@on("POST", "model-versions/create")
def _(api, f):
    from mlflow.entities.model_registry import ModelVersionTag

    made = api.registry.create_model_version(
        name=f.need("name"),
        source=f.need("source"),
        run_id=f.text("run_id"),
        tags=f.items("tags", ModelVersionTag),
        run_link=f.text("run_link"),
        description=f.text("description"),
        model_id=f.text("model_id"),
    )
    return {"model_version": shown(made)}


def named(f):
    return f.need("name"), f.need("version")


@on("GET", "model-versions/get")
def _(api, f):
    found = api.registry.get_model_version(*named(f))
    assert isinstance(found.version, int)
    return {"model_version": shown(found)}


@on("PATCH", "model-versions/update")
def _(api, f):
    return {"model_version": shown(api.registry.update_model_version(*named(f), f.text("description")))}


@on("POST", "model-versions/transition-stage")
def _(api, f):
    archive = f.get("archive_existing_versions", False)
    if not isinstance(archive, bool):
        only_wire("a truth value")
    done = api.registry.transition_model_version_stage(*named(f), f.need("stage"), archive)
    return {"model_version": shown(done)}


@on("DELETE", "model-versions/delete")
def _(api, f):
    api.registry.delete_model_version(*named(f))


@on("GET", "model-versions/get-download-uri")
def _(api, f):
    return {"artifact_uri": api.registry.get_model_version_download_uri(*named(f))}


@on("GET", "model-versions/search")
def _(api, f):
    return page(f, "model_versions", api.registry.search_model_versions(**search_arguments(f, None)))


@on("POST", "model-versions/set-tag")
def _(api, f):
    from mlflow.entities.model_registry import ModelVersionTag

    api.registry.set_model_version_tag(*named(f), ModelVersionTag(f.need("key"), f.text("value", "")))


@on("DELETE", "model-versions/delete-tag")
def _(api, f):
    api.registry.delete_model_version_tag(*named(f), f.need("key"))
