"""Experiments: life cycle, tags, names, artifact places."""

import os

import pytest
from conftest import Api, pairs, refused, unique

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}
EXISTS = {"status": 400, "code": "RESOURCE_ALREADY_EXISTS"}


def get(api, id):
    return api.get("experiments/get", experiment_id=id)["experiment"]


@pytest.mark.wire
def test_a_new_store_holds_default(api):
    default = get(api, "0")
    assert (default["name"], default["lifecycle_stage"]) == ("Default", "active")
    assert default["artifact_location"] == "mlflow-artifacts:/0"


def test_ids_count_up(api):
    first, second = api.experiment(), api.experiment()
    assert int(second) == int(first) + 1


@pytest.mark.wire
def test_fields(api):
    name = unique("e")
    id = api.experiment(name, tags=[{"key": "a", "value": "1"}])
    found = get(api, id)
    created = found["creation_time"]
    assert isinstance(created, int) and created == found["last_update_time"]
    found.pop("workspace", None)
    assert found == {
        "experiment_id": id,
        "name": name,
        "artifact_location": f"mlflow-artifacts:/{id}",
        "lifecycle_stage": "active",
        "creation_time": created,
        "last_update_time": created,
        "tags": [{"key": "a", "value": "1"}],
    }
    assert "tags" not in get(api, api.experiment())
    assert api.get("experiments/get-by-name", experiment_name=name)["experiment"] == get(api, id)


def test_a_taken_name(api):
    name = unique("e")
    id = api.experiment(name)
    for _ in range(2):
        api.bad("POST", "experiments/create", {"name": name}, f"Experiment(name={name}) already exists.", **EXISTS)
    api.post("experiments/delete", experiment_id=id)
    api.bad("POST", "experiments/create", {"name": name}, f"Experiment(name={name}) already exists.", **EXISTS)


@pytest.mark.wire
def test_a_lost_creation_race_is_answered_with_the_winner(server):
    name = unique("race")
    clients = [Api(server.uri) for _ in range(3)]
    for client in clients:
        client.bad("GET", "experiments/get-by-name", {"experiment_name": name}, **ABSENT)
    ids = [client.experiment(name) for client in clients]
    assert len(set(ids)) == 1
    # One credit for each 404, used once.
    clients[0].bad("POST", "experiments/create", {"name": name}, **EXISTS)


def test_a_race_with_tags_or_a_place_of_its_own_is_refused(api):
    name = unique("race")
    for _ in range(4):
        api.bad("GET", "experiments/get-by-name", {"experiment_name": name}, **ABSENT)
    api.experiment(name)
    for more in [{"artifact_location": "s3://b"}, {"tags": [{"key": "a", "value": "b"}]}]:
        api.bad("POST", "experiments/create", {"name": name, **more}, **EXISTS)


def test_the_deleted_do_not_win_a_race(api):
    name = unique("race")
    api.bad("GET", "experiments/get-by-name", {"experiment_name": name}, **ABSENT)
    id = api.experiment(name)
    api.post("experiments/delete", experiment_id=id)
    api.bad("POST", "experiments/create", {"name": name}, **EXISTS)


def test_names(api):
    api.bad("POST", "experiments/create", {"name": "x" * 501}, "'name' exceeds the maximum length of 500 characters")
    assert len(get(api, api.experiment(unique("é") + "é" * 480))["name"]) > 480
    full = unique("é").ljust(500, "é")
    assert get(api, api.experiment(full))["name"] == full
    id = api.experiment()
    api.bad("POST", "experiments/update", {"experiment_id": id, "new_name": full + "x"}, "'name' exceeds")
    for odd in ["a/b", " ", "a|b", "..", "'\""]:
        assert api.experiment(odd + unique(odd))


def test_rename(api):
    id, name, other = api.experiment(), unique("new"), unique("other")
    before = get(api, id)
    api.post("experiments/update", experiment_id=id, new_name=name)
    after = get(api, id)
    assert after["name"] == name
    assert after["last_update_time"] >= before["last_update_time"]
    assert after["creation_time"] == before["creation_time"]
    api.bad("GET", "experiments/get-by-name", {"experiment_name": before["name"]}, **ABSENT)
    api.experiment(before["name"])
    api.experiment(other)
    api.bad("POST", "experiments/update", {"experiment_id": id, "new_name": other}, **EXISTS)
    api.post("experiments/delete", experiment_id=id)
    fields = {"experiment_id": id, "new_name": unique("x")}
    api.bad("POST", "experiments/update", fields, "Cannot rename a non-active experiment.", code="INVALID_STATE")


def test_delete_and_restore_take_all_runs_along(api):
    id = api.experiment()
    one, other = api.run(id), api.run(id)
    api.post("runs/delete", run_id=one)
    before = get(api, id)
    api.post("experiments/delete", experiment_id=id)
    assert get(api, id)["lifecycle_stage"] == "deleted"
    assert get(api, id)["last_update_time"] >= before["last_update_time"]
    found = api.get("experiments/get-by-name", experiment_name=before["name"])["experiment"]
    assert found["lifecycle_stage"] == "deleted"
    assert [api.info(run)["lifecycle_stage"] for run in (one, other)] == ["deleted", "deleted"]
    gone = f"No Experiment with id={id} exists"
    api.bad("POST", "experiments/delete", {"experiment_id": id}, gone, **ABSENT)
    state = f"The experiment {id} must be in the 'active' state. Current state is deleted."
    api.bad("POST", "runs/create", {"experiment_id": id}, state)
    api.bad("POST", "experiments/set-experiment-tag", {"experiment_id": id, "key": "k", "value": "v"}, state)
    api.bad("POST", "experiments/delete-experiment-tag", {"experiment_id": id, "key": "k"}, state)
    api.post("experiments/restore", experiment_id=id)
    assert [api.info(run)["lifecycle_stage"] for run in (one, other)] == ["active", "active"]
    api.bad("POST", "experiments/restore", {"experiment_id": id}, gone, **ABSENT)


@pytest.mark.parametrize("method, path, more", [
    ("GET", "experiments/get", {}),
    ("POST", "experiments/delete", {}),
    ("POST", "experiments/restore", {}),
    ("POST", "experiments/update", {"new_name": "x"}),
    ("POST", "experiments/set-experiment-tag", {"key": "k", "value": "v"}),
    ("POST", "experiments/delete-experiment-tag", {"key": "k"}),
    ("POST", "runs/create", {}),
])
def test_unknown_ids(api, method, path, more):
    unknown = "No Experiment with id=987654 exists"
    api.bad(method, path, {"experiment_id": "987654", **more}, unknown, **ABSENT)
    message = "Invalid experiment ID 'abc'. Experiment ID must be a valid integer."
    api.bad(method, path, {"experiment_id": "abc", **more}, message)


def test_an_unknown_name(api):
    name = unique("nobody")
    message = f"Could not find experiment with name '{name}'"
    api.bad("GET", "experiments/get-by-name", {"experiment_name": name}, message, **ABSENT)


def test_tags(api):
    id = api.experiment()
    before = get(api, id)["last_update_time"]

    def put(key, value):
        api.post("experiments/set-experiment-tag", experiment_id=id, key=key, value=value)

    put("a", "1")
    put("a", "2")
    put("mlflow.note.content", "n" * 20000)
    put("b", "")
    assert pairs(get(api, id)["tags"]) == {"a": "2", "b": "", "mlflow.note.content": "n" * 20000}
    assert get(api, id)["last_update_time"] == before
    api.post("experiments/delete-experiment-tag", experiment_id=id, key="a")
    assert "a" not in pairs(get(api, id)["tags"])
    message = f"No tag with name: zz in experiment with id {id}"
    api.bad("POST", "experiments/delete-experiment-tag", {"experiment_id": id, "key": "zz"}, message, **ABSENT)


@pytest.mark.parametrize("key, value, message", [
    ("a|b", "v", "Invalid value \"a|b\" for parameter 'key' supplied: Names may only contain alphanumerics"),
    ("a//b", "v", "must not resolve to other names when treated as such. This name would resolve to 'a/b'"),
    ("k" * 251, "v", "'key' exceeds the maximum length of 250 characters"),
    ("k", "v" * 20001, "'value' exceeds the maximum length of 20000 characters"),
    ("mlflow.k", "v" * 20001, "'value' exceeds the maximum length of 20000 characters"),
])
def test_tags_are_checked(api, experiment, key, value, message):
    fields = {"experiment_id": experiment, "key": key, "value": value}
    api.bad("POST", "experiments/set-experiment-tag", fields, message)
    api.bad("POST", "experiments/create", {"name": unique("e"), "tags": [{"key": key, "value": value}]})
    assert "tags" not in get(api, experiment)


def test_a_tag_twice_at_creation(api):
    tags = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]
    api.bad("POST", "experiments/create", {"name": unique("e"), "tags": tags})
    api.bad("POST", "runs/create", {"experiment_id": "0", "tags": tags})


# Artifact places.

@pytest.mark.parametrize("given, kept", [
    ("s3://bucket/x", "s3://bucket/x"),
    ("file:///abs/x", "file:///abs/x"),
    ("/abs/x", "/abs/x"),
    ("mlflow-artifacts:/x", "mlflow-artifacts:/x"),
    ("gs://b/x?k=v", "gs://b/x?k=v"),
])
def test_places_stay_as_given(api, given, kept):
    id = api.experiment(artifact_location=given)
    assert get(api, id)["artifact_location"] == kept
    run = api.info(api.run(id))
    head, _, query = kept.partition("?")
    assert run["artifact_uri"] == f"{head}/{run['run_id']}/artifacts" + (query and f"?{query}")
    model = api.model(id)["info"]
    assert model["artifact_uri"] == f"{head}/models/{model['model_id']}/artifacts" + (query and f"?{query}")


def test_relative_places_become_absolute(api, server):
    directory = server.store.parent if hasattr(server, "store") else os.getcwd()
    id = api.experiment(artifact_location="some/where")
    assert get(api, id)["artifact_location"] == f"{directory}/some/where"
    for given, kept in [
        ("file:some/where", f"file://{directory}/some/where"),
        ("file:./some//where/", f"file://{directory}/some/where"),
        ("file:some/where?param=value", f"file://{directory}/some/where?param=value"),
        ("file:?x=1", f"file://{directory}?x=1"),
        ("some/where?param=value", f"{directory}/some/where?param=value"),
    ]:
        id = api.experiment(artifact_location=given)
        assert get(api, id)["artifact_location"] == kept
        run = api.info(api.run(id))
        head, _, query = kept.partition("?") if given.startswith("file:") else (kept, "", "")
        assert run["artifact_uri"] == f"{head}/{run['run_id']}/artifacts" + (query and f"?{query}")


@pytest.mark.wire
def test_places_without_fragments_and_ways_up(api):
    for location in ("file:x#part", "s3://b/x#part", "x;part", "http://h/x;part"):
        fields = {"name": unique("e"), "artifact_location": location}
        message = "'artifact_location' URL can't include fragments or params."
        api.bad("POST", "experiments/create", fields, message)
    fields = {"name": unique("e"), "artifact_location": "s3://b/x?y=..%2F.."}
    api.bad("POST", "experiments/create", fields, "Invalid query string")


def test_runs_uris_are_no_places(api):
    fields = {"name": unique("e"), "artifact_location": "runs:/x/y"}
    message = "Artifact location cannot be a runs:/ URI. Given: 'runs:/x/y'"
    api.bad("POST", "experiments/create", fields, message)


def test_the_root_is_an_option(make_server, tmp_path):
    for root in [f"file://{tmp_path}/root", f"{tmp_path}/root", "mlflow-artifacts:/root"]:
        api = Api(make_server("--default-artifact-root", root).uri)
        id = api.experiment()
        assert get(api, id)["artifact_location"] == f"{root}/{id}"
        assert api.info(api.run("0"))["artifact_uri"].startswith(f"{root}/0/")
    api = Api(make_server("--no-serve-artifacts", "--artifacts-destination", str(tmp_path)).uri)
    assert get(api, "0")["artifact_location"] == f"{tmp_path}/0"
    response = api.raw("GET", "/api/2.0/mlflow-artifacts/artifacts")
    assert response.status_code == 503


def test_a_store_that_was_moved_finds_its_artifacts(make_server, tmp_path):
    server = make_server(store=tmp_path / "old")
    api = Api(server.uri)
    run = api.run()
    uri = api.info(run)["artifact_uri"]
    path = "/api/2.0/mlflow-artifacts/artifacts/" + uri.removeprefix("mlflow-artifacts:/") + "/a.txt"
    assert api.raw("PUT", path, data=b"hello").status_code == 200
    server.stop()
    (tmp_path / "old").rename(tmp_path / "new")
    api = Api(make_server(store=tmp_path / "new").uri)
    assert api.info(run)["artifact_uri"] == uri
    assert api.raw("GET", path).content == b"hello"
    refused(api.raw("GET", path + "x"), "No such artifact", **ABSENT)
