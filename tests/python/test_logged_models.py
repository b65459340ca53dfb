"""Logged models: creation, status, tags, params, deletion."""

import re

import pytest
from conftest import listed, pairs

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}


@pytest.fixture
def model(api, experiment):
    return api.model(experiment)["info"]["model_id"]


def get(api, model, **fields):
    return api.get(f"logged-models/{model}", **fields)["model"]


@pytest.mark.wire
def test_a_fresh_model_is_exactly_this(api, experiment):
    model = api.model(experiment)
    info = model["info"]
    assert re.fullmatch(r"m-[0-9a-f]{32}", info["model_id"])
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", info["name"])
    assert info["creation_timestamp_ms"] == info["last_updated_timestamp_ms"] > 10**12
    assert model == {
        "info": {
            "model_id": info["model_id"],
            "experiment_id": experiment,
            "name": info["name"],
            "creation_timestamp_ms": info["creation_timestamp_ms"],
            "last_updated_timestamp_ms": info["last_updated_timestamp_ms"],
            "artifact_uri": f"mlflow-artifacts:/{experiment}/models/{info['model_id']}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            "model_type": "",
            "source_run_id": "",
        },
        "data": {},
    }
    assert get(api, info["model_id"]) == model


def test_all_fields(api, experiment):
    run = api.run(experiment)
    model = api.model(
        experiment,
        name="net",
        model_type="agent",
        source_run_id=run,
        params=listed({"a": "1", "b": ""}),
        tags=listed({"t": "x"}),
    )
    info = model["info"]
    assert (info["name"], info["model_type"], info["source_run_id"]) == ("net", "agent", run)
    assert pairs(info["tags"]) == {"t": "x"}
    assert pairs(model["data"]["params"]) == {"a": "1", "b": ""}
    api.post("runs/delete", run_id=run)
    assert get(api, info["model_id"])["info"]["source_run_id"] == run


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_names(api, experiment, name):
    message = f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain"
    if name == "a'b":
        message = "provided. Model name must be a non-empty string and cannot contain"
    api.bad("POST", "logged-models", {"experiment_id": experiment, "name": name}, message)


def test_unknown_places(api):
    for id in ["987654"]:
        api.bad("POST", "logged-models", {"experiment_id": id}, "No Experiment with id=987654 exists", **ABSENT)
    api.bad("POST", "logged-models", {"experiment_id": "abc"})


@pytest.mark.parametrize("id", ["m-nope", "nope", "m-" + "0" * 32])
def test_unknown_models(api, id):
    message = f"Logged model with ID '{id}' not found."
    for method, path, fields in [
        ("GET", "", {}),
        ("PATCH", "", {"model_id": id, "status": "LOGGED_MODEL_READY"}),
        ("DELETE", "", {}),
        ("PATCH", "/tags", {"model_id": id, "tags": listed({"k": "v"})}),
        ("DELETE", "/tags/k", {}),
        ("POST", "/params", {"model_id": id, "params": listed({"k": "v"})}),
    ]:
        api.bad(method, f"logged-models/{id}{path}", fields, message, **ABSENT)


@pytest.mark.parametrize("sent, status", [
    ("LOGGED_MODEL_READY", "LOGGED_MODEL_READY"),
    (2, "LOGGED_MODEL_READY"),
    ("LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_UPLOAD_FAILED"),
    (3, "LOGGED_MODEL_UPLOAD_FAILED"),
    (1, "LOGGED_MODEL_PENDING"),
])
def test_finalize(api, model, sent, status):
    before = get(api, model)["info"]
    done = api.patch(f"logged-models/{model}", model_id=model, status=sent)["model"]
    assert done["info"]["status"] == status
    assert done["info"]["last_updated_timestamp_ms"] >= before["last_updated_timestamp_ms"]
    assert get(api, model) == done


def test_finalize_needs_a_status(api, model):
    path = f"logged-models/{model}"
    api.bad("PATCH", path, {"model_id": model}, "Missing value for required parameter 'status'")
    api.bad("PATCH", path, {"model_id": model, "status": 99}, "'status'")
    assert get(api, model)["info"]["status"] == "LOGGED_MODEL_PENDING"


def test_tags(api, model):
    path = f"logged-models/{model}"
    before = get(api, model)["info"]["last_updated_timestamp_ms"]
    api.patch(f"{path}/tags", model_id=model, tags=listed({"a": "1", "b": "x"}))
    api.patch(f"{path}/tags", model_id=model, tags=listed({"a": "2", "c/d e": ""}))
    info = get(api, model)["info"]
    assert pairs(info["tags"]) == {"a": "2", "b": "x", "c/d e": ""}
    assert info["last_updated_timestamp_ms"] == before
    api.delete(f"{path}/tags/a")
    assert "a" not in pairs(get(api, model)["info"]["tags"])
    message = f"No tag with key 'u' found for model with ID '{model}'."
    api.bad("DELETE", f"{path}/tags/u", {}, message, **ABSENT)


def test_params_are_only_added(api, model):
    path = f"logged-models/{model}/params"
    api.post(path, model_id=model, params=listed({"a": "1"}))
    api.post(path, model_id=model, params=listed({"b": "2"}))
    assert pairs(get(api, model)["data"]["params"]) == {"a": "1", "b": "2"}
    assert api.send("POST", path, {"model_id": model, "params": listed({"a": "1"})}).status_code == 400
    assert pairs(get(api, model)["data"]["params"]) == {"a": "1", "b": "2"}


def test_deleted_models(api, experiment, model):
    path = f"logged-models/{model}"
    api.delete(path)
    api.bad("GET", path, {}, f"Logged model with ID '{model}' not found.", **ABSENT)
    found = api.post("logged-models/search", experiment_ids=[experiment])
    assert "models" not in found
    # What is already on its way goes on.
    api.patch(f"{path}/tags", model_id=model, tags=listed({"a": "1"}))
    api.delete(f"{path}/tags/a")
    api.patch(path, model_id=model, status="LOGGED_MODEL_READY")
    assert get(api, model, allow_deleted="true")["info"]["status"] == "LOGGED_MODEL_READY"


def test_metrics_are_all_points(api, experiment, model):
    run = api.run(experiment)
    points = [{"key": "m", "value": v, "timestamp": v, "step": v, "model_id": model} for v in range(3)]
    api.post("runs/log-batch", run_id=run, metrics=points)
    metrics = get(api, model)["data"]["metrics"]
    assert sorted(m["value"] for m in metrics) == [0, 1, 2]
    assert all(m["run_id"] == run and m["model_id"] == model for m in metrics)
    assert api.latest(run) == {"m": 2}


@pytest.mark.wire
def test_the_server_remembers_versions_in_a_tag(api, model):
    name = api.registered()
    api.version(name, source=f"models:/{model}", model_id=model)
    assert f'"name": "{name}"' in pairs(get(api, model)["info"]["tags"])["mlflow.modelVersions"]
