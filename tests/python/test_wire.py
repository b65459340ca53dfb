"""JSON and HTTP as MLflow's server really speaks them."""

import gzip
import json
import math
import re

import pytest
import requests
from conftest import Api, refused, unique

JSON = {"Content-Type": "application/json"}
DOCS = "See the API docs for more information about request parameters."


def test_a_fresh_run_is_exactly_this(api, experiment):
    run = api.post("runs/create", experiment_id=experiment, start_time="123")["run"]
    id, name = run["info"]["run_id"], run["info"]["run_name"]
    assert re.fullmatch(r"[0-9a-f]{32}", id)
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", name)
    assert run == {
        "info": {
            "run_uuid": id,
            "run_id": id,
            "experiment_id": experiment,
            "run_name": name,
            "user_id": "",
            "status": "RUNNING",
            "start_time": 123,
            "artifact_uri": f"mlflow-artifacts:/{experiment}/{id}/artifacts",
            "lifecycle_stage": "active",
        },
        "data": {"tags": [{"key": "mlflow.runName", "value": name}]},
        "inputs": {},
    }
    assert api.got(id) == {**run, "outputs": {}}


def test_no_answer_is_an_empty_object(api, run):
    response = api.raw("POST", "runs/set-tag", json={"run_id": run, "key": "k", "value": "v"})
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("sent", [2**53 + 1, str(2**53 + 1), 2**63 - 1, "0", 0])
def test_integers_are_numbers_of_64_bits(api, experiment, sent):
    info = api.info(api.run(experiment, start_time=sent))
    assert info["start_time"] == int(sent)
    assert isinstance(info["start_time"], int)


def test_a_whole_double_is_an_integer(api, run):
    api.post("runs/update", run_id=run, end_time=7.0)
    assert api.info(run)["end_time"] == 7


@pytest.mark.parametrize("value", [2.5, 2**63, -(2**63) - 1, "foo", "", [], {}, True])
def test_other_things_are_no_integers(api, run, value):
    api.bad("POST", "runs/update", {"run_id": run, "end_time": value}, "for parameter 'end_time' supplied")


DOUBLES = [
    (2.5, 2.5),
    ("2.5", 2.5),
    (1, 1.0),
    ("1e-3", 0.001),
    (True, 1.0),
    (1e308, 1e308),
    (5e-324, 5e-324),
    (0.1 + 0.2, 0.1 + 0.2),
    ("NaN", "NaN"),
    ("nan", "NaN"),
    ("Infinity", "Infinity"),
    ("inf", "Infinity"),
    ("-Infinity", "-Infinity"),
    ("-inf", "-Infinity"),
]


@pytest.mark.parametrize("sent, read", DOUBLES)
def test_doubles(api, run, sent, read):
    api.log(run, "m", sent, 11, 1)
    (metric,) = api.got(run)["data"]["metrics"]
    assert metric == {"key": "m", "value": read, "timestamp": 11, "step": 1}
    assert api.history(run, "m") == [(11, 1, read)]


def test_negative_zero_stays(api, run):
    api.log(run, "m", -0.0)
    assert math.copysign(1, api.latest(run)["m"]) == -1


@pytest.mark.parametrize("text, read", [("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity")])
def test_bare_nan_and_infinity_mean_what_they_say(api, run, text, read):
    body = f'{{"run_id": "{run}", "key": "m", "value": {text}, "timestamp": 1, "step": 2}}'
    assert api.raw("POST", "runs/log-metric", data=body, headers=JSON).json() == {}
    assert api.history(run, "m") == [(1, 2, read)]
    body = f'{{"run_id": "{run}", "metrics": [{{"key": "b", "value": {text}, "timestamp": 1}}]}}'
    assert api.raw("POST", "runs/log-batch", data=body, headers=JSON).json() == {}
    assert api.history(run, "b") == [(1, 0, read)]


@pytest.mark.parametrize("field, value, message", [
    ("value", "abc", "Invalid value \"abc\" for parameter 'value' supplied"),
    ("value", None, "Missing value for required parameter 'value'"),
    ("value", [], "Invalid value [] for parameter 'value' supplied:  Hint: Value was of type 'list'."),
    ("run_id", 31, "Invalid value 31 for parameter 'run_id' supplied:  Hint: Value was of type 'int'."),
    ("step", "foo", "Invalid value \"foo\" for parameter 'step' supplied:  Hint: Value was of type 'str'."),
    ("timestamp", 1.5, "Invalid value 1.5 for parameter 'timestamp' supplied"),
    ("timestamp", None, "Missing value for required parameter 'timestamp'"),
    ("key", None, "Missing value for required parameter 'key'"),
    ("key", "", "Missing value for required parameter 'key'"),
    ("key", 5, "Invalid value 5 for parameter 'key' supplied"),
    ("run_id", "", "Missing value for required parameter 'run_id'"),
])
def test_log_metric_names_the_field(api, run, field, value, message):
    fields = {"run_id": run, "key": "m", "value": 1, "timestamp": 0, "step": 0, field: value}
    api.bad("POST", "runs/log-metric", fields, message)
    assert "metrics" not in api.got(run)["data"]


@pytest.mark.parametrize("fields, message", [
    ({"metrics": [{"key": "m"}]}, "Missing value for required parameter 'metrics[0].value'"),
    ({"metrics": [{"value": 1, "timestamp": 1}]}, "Missing value for required parameter 'metrics[0].key'"),
    ({"metrics": [{"key": "m", "value": 1}]}, "Missing value for required parameter 'metrics[0].timestamp'"),
    ({"metrics": [{"key": "a", "value": 1, "timestamp": 1}, {"key": "m"}]}, "'metrics[1].value'"),
    ({"metrics": [{"key": "m", "value": "abc", "timestamp": 1}]}, "'metrics[0].value'"),
    ({"metrics": [{"key": "m", "value": 1, "timestamp": 1.5}]}, "'metrics[0].timestamp'"),
    ({"metrics": "foo"}, "Invalid value \"foo\" for parameter 'metrics' supplied"),
    ({"metrics": {}}, "Invalid value {} for parameter 'metrics' supplied:  Hint: Value was of type 'dict'."),
    ({"metrics": [1]}, "'metrics"),
    ({"params": [{"value": "v"}]}, "Missing value for required parameter 'params[0].key'"),
    ({"params": [{"key": "p", "value": 5}]}, "'params[0].value'"),
    ({"tags": [{"value": "v"}]}, "Missing value for required parameter 'tags[0].key'"),
    ({"tags": 5}, "Invalid value 5 for parameter 'tags' supplied"),
])
def test_log_batch_names_the_field_with_its_place(api, run, fields, message):
    api.bad("POST", "runs/log-batch", {"run_id": run, **fields}, message)
    assert sorted(api.got(run)["data"]) == ["tags"]


@pytest.mark.parametrize("value, text, kind", [
    (123, "123", "int"),
    (1.5, "1.5", "float"),
    (True, "true", "bool"),
    ([1, "a"], '[1,"a"]', "list"),
    ({"b": 1, "a": [2]}, '{"a":[2],"b":1}', "dict"),
])
def test_a_wrong_type_is_shown_as_compact_json(api, value, text, kind):
    message = api.bad("POST", "experiments/create", {"name": value})
    assert message == f"Invalid value {text} for parameter 'name' supplied:  Hint: Value was of type '{kind}'. {DOCS}"


def test_a_missing_field(api):
    message = api.bad("POST", "experiments/create", {})
    assert message == f"Missing value for required parameter 'name'. {DOCS}"
    assert api.bad("POST", "experiments/create", {"name": ""}) == message
    assert api.bad("POST", "experiments/create", {"name": None}) == message


MISSING = [
    ("GET", "experiments/get", "experiment_id"),
    ("GET", "experiments/get-by-name", "experiment_name"),
    ("POST", "experiments/delete", "experiment_id"),
    ("POST", "experiments/restore", "experiment_id"),
    ("POST", "experiments/update", "experiment_id"),
    ("POST", "experiments/set-experiment-tag", "experiment_id"),
    ("POST", "experiments/delete-experiment-tag", "experiment_id"),
    ("GET", "runs/get", "run_id"),
    ("POST", "runs/update", "run_id"),
    ("POST", "runs/delete", "run_id"),
    ("POST", "runs/restore", "run_id"),
    ("POST", "runs/log-metric", "run_id"),
    ("POST", "runs/log-parameter", "run_id"),
    ("POST", "runs/log-batch", "run_id"),
    ("POST", "runs/set-tag", "run_id"),
    ("POST", "runs/delete-tag", "run_id"),
    ("POST", "runs/log-inputs", "run_id"),
    ("POST", "runs/outputs", "run_id"),
    ("POST", "runs/log-model", "run_id"),
    ("GET", "metrics/get-history", "run_id"),
    ("GET", "artifacts/list", "run_id"),
    ("POST", "logged-models", "experiment_id"),
    ("POST", "logged-models/search", "experiment_ids"),
    ("POST", "registered-models/create", "name"),
    ("POST", "registered-models/rename", "name"),
    ("PATCH", "registered-models/update", "name"),
    ("DELETE", "registered-models/delete", "name"),
    ("GET", "registered-models/get", "name"),
    ("POST", "registered-models/get-latest-versions", "name"),
    ("GET", "registered-models/get-latest-versions", "name"),
    ("POST", "registered-models/set-tag", "name"),
    ("DELETE", "registered-models/delete-tag", "name"),
    ("POST", "registered-models/alias", "name"),
    ("GET", "registered-models/alias", "name"),
    ("DELETE", "registered-models/alias", "name"),
    ("POST", "model-versions/create", "name"),
    ("PATCH", "model-versions/update", "name"),
    ("POST", "model-versions/transition-stage", "name"),
    ("DELETE", "model-versions/delete", "name"),
    ("GET", "model-versions/get", "name"),
    ("GET", "model-versions/get-download-uri", "name"),
    ("POST", "model-versions/set-tag", "name"),
    ("DELETE", "model-versions/delete-tag", "name"),
]


@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"])
@pytest.mark.parametrize("method, path, first", MISSING)
def test_each_endpoint_names_its_first_missing_field(api, prefix, method, path, first):
    api.bad(method, prefix + path, {}, f"Missing value for required parameter '{first}'")


@pytest.mark.parametrize("method, path, fields, second", [
    ("POST", "experiments/update", {"experiment_id": "0"}, "new_name"),
    ("POST", "experiments/set-experiment-tag", {"experiment_id": "0"}, "key"),
    ("POST", "runs/log-metric", {"run_id": "x"}, "key"),
    ("POST", "runs/log-metric", {"run_id": "x", "key": "k"}, "value"),
    ("POST", "runs/log-metric", {"run_id": "x", "key": "k", "value": 1}, "timestamp"),
    ("POST", "runs/log-parameter", {"run_id": "x"}, "key"),
    ("POST", "runs/set-tag", {"run_id": "x"}, "key"),
    ("POST", "runs/delete-tag", {"run_id": "x"}, "key"),
    ("POST", "runs/outputs", {"run_id": "x"}, "models"),
    ("POST", "runs/log-model", {"run_id": "x"}, "model_json"),
    ("GET", "metrics/get-history", {"run_id": "x"}, "metric_key"),
    ("POST", "registered-models/rename", {"name": "x"}, "new_name"),
    ("POST", "registered-models/set-tag", {"name": "x"}, "key"),
    ("POST", "registered-models/alias", {"name": "x"}, "alias"),
    ("POST", "registered-models/alias", {"name": "x", "alias": "a"}, "version"),
    ("GET", "registered-models/alias", {"name": "x"}, "alias"),
    ("POST", "model-versions/create", {"name": "x"}, "source"),
    ("PATCH", "model-versions/update", {"name": "x"}, "version"),
    ("POST", "model-versions/transition-stage", {"name": "x"}, "version"),
    ("POST", "model-versions/transition-stage", {"name": "x", "version": "1"}, "stage"),
    ("GET", "model-versions/get", {"name": "x"}, "version"),
    ("POST", "model-versions/set-tag", {"name": "x", "version": "1"}, "key"),
])
def test_fields_are_checked_in_order(api, method, path, fields, second):
    api.bad(method, path, fields, f"Missing value for required parameter '{second}'")


def test_unknown_fields_are_passed_over(api):
    assert api.post("experiments/create", name=unique("e"), nonsense={"a": [1]}, more=None)["experiment_id"]


def test_both_spellings_are_read(api):
    id = api.post("experiments/create", name=unique("e"), artifactLocation="s3://b/x")["experiment_id"]
    assert api.get("experiments/get", experimentId=id)["experiment"]["artifact_location"] == "s3://b/x"
    run = api.post("runs/create", experimentId=id, startTime=5, runName="x")["run"]["info"]
    assert (run["start_time"], run["run_name"], run["experiment_id"]) == (5, "x", id)
    api.post("runs/log-metric", runId=run["run_id"], key="m", value=1, timestamp=1)
    assert api.history(run["run_id"], "m") == [(1, 0, 1.0)]


def test_both_spellings_at_once(api, run):
    fields = {"name": unique("e"), "artifact_location": "s3://a", "artifactLocation": "s3://b"}
    message = "Request specifies both 'artifact_location' and 'artifactLocation'; provide only one of them."
    api.bad("POST", "experiments/create", fields, message)
    metric = {"key": "m", "value": 1, "timestamp": 1}
    message = "Request specifies both 'run_id' and 'runId'; provide only one of them."
    api.bad("POST", "runs/log-metric", {"run_id": run, "runId": run, **metric}, message)
    api.bad("POST", "runs/log-batch", {"run_id": run, "runId": run, "metrics": [metric]}, message)


def test_enums_come_by_name_or_number(api, run):
    for sent, status in [("FINISHED", "FINISHED"), (1, "RUNNING"), ("4", "FAILED"), (5, "KILLED"), (2, "SCHEDULED")]:
        assert api.post("runs/update", run_id=run, status=sent)["run_info"]["status"] == status
    assert api.post("runs/update", run_id=run, status="BOGUS")["run_info"]["status"] == "SCHEDULED"
    assert api.post("runs/update", run_id=run, status=3)["run_info"]["status"] == "FINISHED"
    api.bad("POST", "runs/update", {"run_id": run, "status": 99}, "for parameter 'status' supplied")


# Bodies that are not what they should be.

@pytest.mark.parametrize("body", ["", "null", "{bad", "{", '{"name": "x"', '"text"', '"{bad"', "nul", "\x00"])
def test_broken_json_is_an_empty_object(api, body):
    response = api.raw("POST", "experiments/create", data=body, headers=JSON)
    refused(response, "Missing value for required parameter 'name'")


@pytest.mark.parametrize("body", [
    b"{bad",
    b'{"experiment_id": "0", "run_name": "half',
    gzip.compress(b'{"experiment_id": "0"}'),
    b'"{bad"',
    b'{"experiment_id": "\xff"}',
], ids=range(5))
@pytest.mark.parametrize("path", ["runs/create", "runs/search", "experiments/search", "/api/3.0/mlflow/x"])
def test_broken_json_is_refused_where_no_field_is_needed_too(api, experiment, path, body):
    if path.startswith("/api"):
        # Other methods read their bodies the same way.
        model = api.model(experiment)["info"]["model_id"]
        refused(api.raw("PATCH", f"logged-models/{model}/tags", data=body), "not valid JSON")
        return
    before = len(api.post("runs/search", experiment_ids=["0"]).get("runs", []))
    refused(api.raw("POST", path, data=body, headers=JSON), "not valid JSON")
    compressed = api.raw("POST", path, data=body, headers={**JSON, "Content-Encoding": "gzip"})
    assert compressed.status_code == 415
    assert "'gzip' is not supported" in compressed.json()["message"]
    assert len(api.post("runs/search", experiment_ids=["0"]).get("runs", [])) == before


def test_the_limits_of_a_body(api, experiment):
    deep = '{"experiment_id": "%s", "x": %s1%s}' % (experiment, "[" * 63, "]" * 63)
    assert api.raw("POST", "runs/create", data=deep, headers=JSON).status_code == 200
    deep = '{"experiment_id": "%s", "x": %s1%s}' % (experiment, "[" * 64, "]" * 64)
    refused(api.raw("POST", "runs/create", data=deep, headers=JSON), "deeper than 64 levels")
    for count, status in [(99_998, 200), (99_999, 400)]:
        many = '{"experiment_id": "%s", "x": [%s1]}' % (experiment, "1," * (count - 1))
        assert api.raw("POST", "runs/create", data=many, headers=JSON).status_code == status


@pytest.mark.parametrize("body", ["[1]", "[]", "5", "true", '"[1]"'])
def test_other_json_is_refused(api, body):
    refused(api.raw("POST", "experiments/create", data=body, headers=JSON))


def test_json_in_a_json_text_is_read_again(api):
    name = unique("e")
    body = json.dumps(json.dumps({"name": name}))
    assert api.raw("POST", "experiments/create", data=body, headers=JSON).status_code == 200
    assert api.get("experiments/get-by-name", experiment_name=name)["experiment"]["name"] == name


def test_the_content_type_must_be_json(api):
    message = "Bad Request. Content-Type must be one of ['application/json']."
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json-patch+json"]:
        response = api.raw("POST", "experiments/create", data='{"name": "x"}', headers={"Content-Type": kind})
        assert response.status_code == 400
        assert message in response.text
    response = api.raw("POST", "experiments/create", data=b'{"name": "x"}')
    assert response.status_code == 400
    assert "Bad Request. Content-Type header is missing." in response.text
    for kind in ["application/json; charset=utf-8", "application/json;charset=UTF-8"]:
        body = json.dumps({"name": unique("e")})
        assert api.raw("POST", "experiments/create", data=body, headers={"Content-Type": kind}).status_code == 200


def test_patch_and_delete_need_no_content_type(api):
    name = api.registered()
    body = json.dumps({"name": name, "description": "d"}).encode()
    assert api.raw("PATCH", "registered-models/update", data=body).status_code == 200
    body = json.dumps({"name": name}).encode()
    assert api.raw("DELETE", "registered-models/delete", params={"name": name}).status_code == 400
    assert api.raw("DELETE", "registered-models/delete", data=body).status_code == 200


def test_text_of_every_script(api, run):
    text = "ß 漢字 \U0001f600 \u202e \\ \" ' \n\t"
    api.post("runs/set-tag", run_id=run, key="ключ", value=text)
    assert api.tags(run)["ключ"] == text
    raw = json.dumps({"run_id": run, "key": "é", "value": text}, ensure_ascii=False).encode()
    assert api.raw("POST", "runs/set-tag", data=raw, headers=JSON).status_code == 200
    assert api.tags(run)["é"] == text
    name = unique("é & ü=+%20")
    id = api.experiment(name)
    assert api.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"] == id


# Queries.

def test_queries(api, experiment):
    a, b = api.run(experiment), api.run(experiment)
    for run in (a, b):
        api.log(run, "m", 1)
    found = api.get("/ajax-api/2.0/mlflow/metrics/get-history-bulk", run_id=[a, b], metric_key="m", max_results="9")
    assert sorted(m["run_id"] for m in found["metrics"]) == sorted([a, b])
    model = api.model(experiment)["info"]["model_id"]
    api.delete(f"logged-models/{model}")
    for truth in ["true", "True", "TRUE"]:
        assert api.get(f"logged-models/{model}", allow_deleted=truth)["model"]
    api.bad("GET", f"logged-models/{model}", {"allow_deleted": "FALSE"}, status=404, code="RESOURCE_DOES_NOT_EXIST")
    api.bad("GET", "metrics/get-history", {"run_id": a, "metric_key": "m", "max_results": "x"}, "'max_results'")


def test_old_clients_say_run_uuid(api, run):
    metric = {"key": "m", "value": 1, "timestamp": 1}
    api.post("runs/log-metric", run_uuid=run, **metric)
    api.post("runs/log-parameter", run_uuid=run, key="p", value="v")
    api.post("runs/set-tag", run_uuid=run, key="t", value="v")
    api.post("runs/update", run_uuid=run, status="FINISHED")
    got = api.get("runs/get", run_uuid=run)["run"]
    assert got["info"]["status"] == "FINISHED"
    assert api.get("metrics/get-history", run_uuid=run, metric_key="m")["metrics"]
    assert api.get("artifacts/list", run_uuid=run)["root_uri"] == got["info"]["artifact_uri"]
    assert api.get("runs/get", run_uuid=run, run_id=run)["run"] == got


# Paths.

@pytest.mark.parametrize("method, path, status", [
    ("GET", "/api/2.0/mlflow/nope", 404),
    ("GET", "/nope", 404),
    ("POST", "/api/2.0/mlflow/runs/create/", 404),
    ("GET", "/api/2.0/mlflow/runs/get/", 404),
    ("GET", "/api/3.0/mlflow/runs/get", 404),
    ("GET", "/api/2.0/mlflow/metrics/get-history-bulk", 404),
    ("POST", "/api/2.0/mlflow/experiments/search-datasets", 404),
    ("GET", "/api/2.0/mlflow/runs/create", 405),
    ("DELETE", "/api/2.0/mlflow/runs/get", 405),
    ("PUT", "/api/2.0/mlflow/runs/log-metric", 405),
    ("POST", "/api/2.0/mlflow/registered-models/update", 405),
])
def test_what_is_not_there(api, method, path, status):
    response = api.raw(method, path, headers=JSON, data=None if method == "GET" else "{}")
    refused(response, status=status, code="ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize("path", [
    "//api/2.0/mlflow/experiments/get",
    "/api//2.0///mlflow/experiments//get",
    "/ajax-api/2.0/mlflow//experiments/get",
])
def test_doubled_slashes(api, path):
    response = requests.get(api.uri + path, params={"experiment_id": "0"})
    assert response.json()["experiment"]["name"] == "Default"


def test_health_and_version(api):
    for path, text in [("/health", "OK"), ("/version", "3.17.2")]:
        response = api.raw("GET", path)
        assert (response.status_code, response.text) == (200, text)
        assert response.headers["content-type"].startswith("text/")


@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
def test_server_info(api, prefix):
    info = api.get(f"{prefix}/3.0/mlflow/server-info")
    assert info.get("store_type") is None
    for name in [
        "workspaces_enabled",
        "trace_archival_enabled",
        "multipart_uploads_enabled",
        "multipart_downloads_enabled",
        "presigned_upload_run_id_supported",
        "presigned_upload_model_id_supported",
    ]:
        assert info[name] is False, name
    assert info["features_enabled"] == {"gateway": False}


def test_workspaces_are_not_there(api):
    for headers, status in [({"X-MLFLOW-WORKSPACE": "w"}, 501), ({"X-MLFLOW-WORKSPACE": ""}, 200)]:
        response = api.raw("GET", "experiments/get", params={"experiment_id": "0"}, headers=headers)
        assert response.status_code == status
    refused(
        api.raw("POST", "experiments/create", json={"name": "w"}, headers={"X-MLFLOW-WORKSPACE": "w"}),
        status=501,
        code="FEATURE_DISABLED",
    )


def test_a_static_prefix_stands_before_everything(make_server):
    server = make_server("--static-prefix", "/ml/flow")
    for path in ["/ml/flow/api/2.0/mlflow/experiments/get", "/ml/flow/ajax-api/2.0/mlflow/experiments/get"]:
        assert Api(server.uri).get(path, experiment_id="0")["experiment"]["name"] == "Default"
    for path in ["/ml/flow/health", "/ml/flow/version"]:
        assert requests.get(server.uri + path).status_code == 200
    for path in ["/api/2.0/mlflow/experiments/get", "/ml/flowapi/2.0/mlflow/experiments/get"]:
        assert requests.get(server.uri + path, params={"experiment_id": "0"}).status_code == 404


# Reads whose fields are in a body: MLflow's server takes them there if the URL has no query.

def test_a_get_may_have_its_fields_in_a_json_body(api, experiment):
    run, model = api.run(experiment), api.registered()
    api.log(run, "m", 1.5)
    name = api.get("experiments/get", experiment_id=experiment)["experiment"]["name"]
    for path, fields in [
        ("experiments/get", {"experiment_id": experiment}),
        ("experiments/get-by-name", {"experiment_name": name}),
        ("experiments/search", {"max_results": 5, "order_by": ["name DESC"], "filter": f"name = '{name}'"}),
        ("runs/get", {"run_id": run}),
        ("metrics/get-history", {"run_id": run, "metric_key": "m", "max_results": 1}),
        ("metrics/get-history-bulk-interval", {"run_ids": [run], "metric_key": "m", "max_results": 7}),
        ("artifacts/list", {"run_id": run}),
        ("registered-models/get", {"name": model}),
        ("registered-models/search", {"filter": f"name = '{model}'", "max_results": 3}),
        ("registered-models/get-latest-versions", {"name": model, "stages": ["None"]}),
        ("model-versions/search", {"filter": f"name = '{model}'", "max_results": 3}),
    ]:
        asked = api.get(path, **fields)
        for more in ({"json": fields}, {"data": json.dumps(fields)}, {"data": json.dumps(json.dumps(fields)), "headers": JSON}):
            response = api.raw("GET", path, **more)
            assert (response.status_code, response.json()) == (200, asked), path
    # A query comes first, and a body that is none is empty.
    assert api.raw("GET", "runs/get", params={"run_id": run}, json={"run_id": "x"}).status_code == 200
    missing = "Missing value for required parameter 'run_id'"
    for more in ({"params": {"x": "1"}, "json": {"run_id": run}}, {"data": "{bad"}, {"data": f"run_id={run}"}, {"json": {}}):
        refused(api.raw("GET", "runs/get", **more), missing)
    refused(api.raw("GET", "runs/get", json={"run_id": 5}), "Invalid value 5 for parameter 'run_id' supplied")
    assert api.raw("GET", "registered-models/search", data="{bad").status_code == 200


@pytest.mark.parametrize("number", ["1e400", "-1e309", "9" * 400])
def test_a_number_that_no_double_holds_is_named(api, run, number):
    def send(path, text):
        return api.raw("POST", path, data=text.replace("RUN", run), headers=JSON)

    one = send("runs/log-metric", f'{{"run_id": "RUN", "key": "m", "value": {number}, "timestamp": 1}}')
    refused(one, f"Invalid value {number} for parameter 'value' supplied: it is beyond the range of a double")
    batch = send("runs/log-batch", f'{{"run_id": "RUN", "metrics": [{{"key": "m", "value": {number}, "timestamp": 1}}]}}')
    refused(batch, f"Invalid value {number} for parameter 'metrics[0].value' supplied: it is beyond the range")
    for name in ("timestamp", "step"):
        fields = f'"run_id": "RUN", "key": "m", "value": 1, "timestamp": 1, "{name}": {number}'
        refused(send("runs/log-metric", f"{{{fields}}}"), f"Invalid value {number} for parameter '{name}' supplied")
    assert api.latest(run) == {}
    # An unknown field may hold anything.
    assert send("runs/set-tag", f'{{"run_id": "RUN", "key": "k", "value": "v", "other": {number}}}').status_code == 200
