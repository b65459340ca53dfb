"""Registered models, versions, stages, aliases."""

import time

import pytest
from conftest import listed, pairs, unique

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}
EXISTS = {"status": 400, "code": "RESOURCE_ALREADY_EXISTS"}


def get(api, name):
    return api.get("registered-models/get", name=name)["registered_model"]


def version(api, name, number):
    return api.get("model-versions/get", name=name, version=str(number))["model_version"]


@pytest.fixture
def name(api):
    return api.registered()


# Models.

def test_a_fresh_model_is_exactly_this(api):
    name = unique("model")
    model = api.post("registered-models/create", name=name)["registered_model"]
    created = model["creation_timestamp"]
    assert isinstance(created, int) and created > 10**12
    assert model == {"name": name, "creation_timestamp": created, "last_updated_timestamp": created}
    assert get(api, name) == model


def test_all_fields(api):
    name = unique("model")
    model = api.post(
        "registered-models/create", name=name, description="about", tags=listed({"a": "1", "b": ""})
    )["registered_model"]
    assert model["description"] == "about"
    assert pairs(model["tags"]) == {"a": "1", "b": ""}


@pytest.mark.parametrize("name, message", [
    ("a/b", "Invalid model name 'a/b'. Names cannot contain '/' or ':'."),
    ("a:b", "Invalid model name 'a:b'. Names cannot contain '/' or ':'."),
    (" ", "Missing value for required parameter 'name'"),
    ("..", ""),
    (".", ""),
])
def test_names(api, name, message):
    api.bad("POST", "registered-models/create", {"name": name}, message)
    old = api.registered()
    if name.strip():
        api.bad("POST", "registered-models/rename", {"name": old, "new_name": name})


def test_names_are_free_otherwise(api):
    for name in [unique("é 漢字 | % ' \""), unique("x" * 1000), unique("UPPER"), unique("a.b")]:
        assert get(api, api.registered(name))["name"] == name
    name = unique("case")
    api.registered(name)
    api.registered(name.upper())


def test_a_taken_name(api, name):
    message = f"Registered Model (name={name}) already exists."
    api.bad("POST", "registered-models/create", {"name": name}, message, **EXISTS)
    prompt = unique("prompt")
    is_prompt = listed({"mlflow.prompt.is_prompt": "true"})
    api.registered(prompt, tags=is_prompt)
    fields = {"name": prompt, "tags": is_prompt}
    api.bad("POST", "registered-models/create", fields, f"Prompt (name={prompt}) already exists", **EXISTS)
    message = f"Tried to create a registered model with name '{prompt}'"
    api.bad("POST", "registered-models/create", {"name": prompt}, message, **EXISTS)
    message = f"Tried to create a prompt with name '{name}'"
    api.bad("POST", "registered-models/create", {"name": name, "tags": is_prompt}, message, **EXISTS)


def test_update(api):
    name = api.registered(description="one")
    before = get(api, name)
    model = api.patch("registered-models/update", name=name, description="two")["registered_model"]
    assert model["description"] == "two"
    assert model["last_updated_timestamp"] >= before["last_updated_timestamp"]
    # An absent description clears it.
    assert api.patch("registered-models/update", name=name)["registered_model"].get("description", "") == ""


def test_rename(api, name):
    api.version(name)
    api.version(name)
    api.post("registered-models/set-tag", name=name, key="k", value="v")
    api.post("model-versions/set-tag", name=name, version="1", key="k", value="v")
    api.post("registered-models/alias", name=name, alias="best", version="2")
    new = unique("renamed")
    model = api.post("registered-models/rename", name=name, new_name=new)["registered_model"]
    assert model["name"] == new and pairs(model["tags"]) == {"k": "v"}
    api.bad("GET", "registered-models/get", {"name": name}, f"Registered Model with name={name} not found", **ABSENT)
    versions = [version(api, new, number) for number in (1, 2)]
    assert {v["last_updated_timestamp"] for v in versions} == {model["last_updated_timestamp"]}
    assert pairs(versions[0]["tags"]) == {"k": "v"} and versions[1]["aliases"] == ["best"]
    assert api.get("registered-models/alias", name=new, alias="best")["model_version"]["version"] == "2"
    other = api.registered()
    fields = {"name": new, "new_name": other}
    message = f"Registered Model (name={other}) already exists"
    api.bad("POST", "registered-models/rename", fields, message, **EXISTS)
    api.registered(name)


def test_tags(api, name):
    before = get(api, name)["last_updated_timestamp"]
    for value in ("1", "2"):
        api.post("registered-models/set-tag", name=name, key="a", value=value)
    api.post("registered-models/set-tag", name=name, key="long", value="v" * 100000)
    assert pairs(get(api, name)["tags"]) == {"a": "2", "long": "v" * 100000}
    assert get(api, name)["last_updated_timestamp"] == before
    for _ in range(2):
        api.delete("registered-models/delete-tag", name=name, key="a")
    assert pairs(get(api, name)["tags"]) == {"long": "v" * 100000}


@pytest.mark.parametrize("kind", ["registered-models", "model-versions"])
@pytest.mark.parametrize("key, value, message", [
    ("a|b", "v", "Invalid value \"a|b\" for parameter 'key' supplied"),
    ("k" * 251, "v", "'key' exceeds the maximum length of 250 characters"),
    ("k", "v" * 100001, "'value' exceeds the maximum length of 100000 characters"),
])
def test_tags_are_checked(api, name, kind, key, value, message):
    api.version(name)
    more = {"version": "1"} if kind == "model-versions" else {}
    api.bad("POST", f"{kind}/set-tag", {"name": name, "key": key, "value": value, **more}, message)


@pytest.mark.parametrize("method, path, fields", [
    ("GET", "registered-models/get", {}),
    ("PATCH", "registered-models/update", {"description": "d"}),
    ("DELETE", "registered-models/delete", {}),
    ("POST", "registered-models/rename", {"new_name": "x"}),
    ("POST", "registered-models/get-latest-versions", {}),
    ("POST", "registered-models/set-tag", {"key": "k", "value": "v"}),
    ("POST", "model-versions/create", {"source": "s3://x/y"}),
])
def test_unknown_models(api, method, path, fields):
    message = "Registered Model with name=nobody not found"
    api.bad(method, path, {"name": "nobody", **fields}, message, **ABSENT)


def test_delete(api, name):
    api.version(name)
    api.version(name)
    api.post("registered-models/alias", name=name, alias="a", version="1")
    assert api.delete("registered-models/delete", name=name) == {}
    api.bad("GET", "registered-models/get", {"name": name}, **ABSENT)
    api.bad("GET", "model-versions/get", {"name": name, "version": "1"}, **ABSENT)
    api.registered(name)
    assert api.version(name)["version"] == "1"
    assert "aliases" not in get(api, name)


# Versions.

@pytest.mark.wire
def test_a_fresh_version_is_exactly_this(api, name):
    made = api.version(name, source="s3://b/m")
    created = made["creation_timestamp"]
    wanted = {
        "name": name,
        "version": "1",
        "creation_timestamp": created,
        "last_updated_timestamp": created,
        "current_stage": "None",
        "description": "",
        "source": "s3://b/m",
        "run_id": "",
        "run_link": "",
        "status": "READY",
    }
    assert made == wanted
    assert version(api, name, 1) == wanted
    assert get(api, name)["last_updated_timestamp"] == created
    assert get(api, name)["latest_versions"] == [wanted]


def test_all_fields_of_a_version(api, name, run):
    made = api.version(name, run_id=run, run_link="http://x", description="d", tags=listed({"a": "1"}))
    assert (made["run_id"], made["run_link"], made["description"]) == (run, "http://x", "d")
    assert pairs(made["tags"]) == {"a": "1"}
    assert not {"user_id", "status_message", "model_id"} & set(made)


def test_numbers_of_versions(api, name):
    assert [api.version(name)["version"] for _ in range(3)] == ["1", "2", "3"]
    api.delete("model-versions/delete", name=name, version="3")
    assert api.version(name)["version"] == "4"
    api.delete("model-versions/delete", name=name, version="2")
    assert api.version(name)["version"] == "5"


def test_unknown_versions(api, name):
    api.version(name)
    for method, path, fields in [
        ("GET", "model-versions/get", {}),
        ("GET", "model-versions/get-download-uri", {}),
        ("PATCH", "model-versions/update", {"description": "d"}),
        ("POST", "model-versions/transition-stage", {"stage": "Staging"}),
        ("DELETE", "model-versions/delete", {}),
        ("POST", "model-versions/set-tag", {"key": "k", "value": "v"}),
        ("POST", "registered-models/alias", {"alias": "a"}),
    ]:
        message = f"Model Version (name={name}, version=3) not found"
        api.bad(method, path, {"name": name, "version": "3", **fields}, message, **ABSENT)
    message = "Parameter 'version' must be an integer, got 'x'."
    api.bad("GET", "model-versions/get", {"name": name, "version": "x"}, message)
    api.bad("PATCH", "model-versions/update", {"name": name, "version": "x"}, message)
    message = "Invalid value 1 for parameter 'version' supplied"
    api.bad("PATCH", "model-versions/update", {"name": name, "version": 1}, message)


def test_update_a_version(api, name):
    api.version(name, description="one")
    touched = get(api, name)["last_updated_timestamp"]
    made = api.patch("model-versions/update", name=name, version="1", description="two")["model_version"]
    assert made["description"] == "two"
    made = api.patch("model-versions/update", name=name, version="1")["model_version"]
    assert made.get("description", "") == ""
    assert get(api, name)["last_updated_timestamp"] == touched


def test_tags_of_a_version(api, name):
    api.version(name)
    before = version(api, name, 1)["last_updated_timestamp"]
    for value in ("1", "2"):
        api.post("model-versions/set-tag", name=name, version="1", key="a", value=value)
    assert pairs(version(api, name, 1)["tags"]) == {"a": "2"}
    assert version(api, name, 1)["last_updated_timestamp"] == before
    for _ in range(2):
        api.delete("model-versions/delete-tag", name=name, version="1", key="a")
    assert "tags" not in version(api, name, 1)


def test_delete_a_version(api, name):
    api.version(name, description="d", source="s3://bucket/secret")
    api.post("registered-models/alias", name=name, alias="a", version="1")
    before = get(api, name)["last_updated_timestamp"]
    time.sleep(0.002)
    assert api.delete("model-versions/delete", name=name, version="1") == {}
    gone = f"Model Version (name={name}, version=1) not found"
    api.bad("GET", "model-versions/get", {"name": name, "version": "1"}, gone, **ABSENT)
    api.bad("DELETE", "model-versions/delete", {"name": name, "version": "1"}, gone, **ABSENT)
    after = get(api, name)
    assert after["last_updated_timestamp"] > before
    assert "aliases" not in after and "latest_versions" not in after
    api.bad("GET", "registered-models/alias", {"name": name, "alias": "a"}, "Registered model alias a not found.")
    found = api.get("model-versions/search", filter=f"name = '{name}'")
    assert "model_versions" not in found


# Stages.

def move(api, name, number, stage, **fields):
    fields = {"name": name, "version": str(number), "stage": stage, "archive_existing_versions": False, **fields}
    return api.post("model-versions/transition-stage", **fields)["model_version"]


@pytest.mark.parametrize("sent, stage", [
    ("Staging", "Staging"), ("staging", "Staging"), ("PRODUCTION", "Production"), ("archived", "Archived"), ("none", "None"),
])
def test_stages_in_any_case(api, name, sent, stage):
    api.version(name)
    before = get(api, name)["last_updated_timestamp"]
    time.sleep(0.002)
    moved = move(api, name, 1, sent)
    assert moved["current_stage"] == stage
    assert version(api, name, 1)["current_stage"] == stage
    assert get(api, name)["last_updated_timestamp"] == moved["last_updated_timestamp"] > before


def test_stages_that_are_none(api, name):
    api.version(name)
    fields = {"name": name, "version": "1"}
    message = "Invalid Model Version stage: bogus. Value must be one of None, Staging, Production, Archived."
    path = "model-versions/transition-stage"
    api.bad("POST", path, {**fields, "stage": "bogus", "archive_existing_versions": False}, message)
    for stage in ("None", "Archived"):
        message = (
            "Model version transition cannot archive existing model versions because "
            f"'{stage}' is not an Active stage. Valid stages are ['Staging', 'Production']"
        )
        more = {"stage": stage, "archive_existing_versions": True}
        response = api.send("POST", path, {**fields, **more})
        assert response.status_code == 400 and message in response.json()["message"]


def test_archive_the_others(api, name):
    for _ in range(4):
        api.version(name)
    for number in (1, 3):
        move(api, name, number, "Staging")
    move(api, name, 2, "Production")
    time.sleep(0.002)
    moved = move(api, name, 4, "Staging", archive_existing_versions=True)
    stages = [version(api, name, number)["current_stage"] for number in (1, 2, 3, 4)]
    assert stages == ["Archived", "Production", "Archived", "Staging"]
    times = {version(api, name, number)["last_updated_timestamp"] for number in (1, 3, 4)}
    assert times == {moved["last_updated_timestamp"]}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_latest_versions(api, name, method):
    for _ in range(6):
        api.version(name)
    for number, stage in [(1, "Staging"), (2, "Staging"), (3, "Production"), (6, "Archived")]:
        move(api, name, number, stage)
    api.post("registered-models/alias", name=name, alias="a", version="5")

    def latest(**fields):
        found = api._ok(method, "registered-models/get-latest-versions", {"name": name, **fields})
        return found.get("model_versions", [])

    assert sorted((v["version"], v["current_stage"]) for v in latest()) == [
        ("2", "Staging"), ("3", "Production"), ("5", "None"), ("6", "Archived")
    ]
    numbers = [int(v["version"]) for v in latest()]
    assert numbers == sorted(numbers)
    assert [v["version"] for v in latest(stages=["Staging"])] == ["2"]
    assert [v["version"] for v in latest(stages=["staging", "PRODUCTION"])] == ["2", "3"]
    assert [v.get("aliases") for v in latest(stages=["None"])] == [["a"]]
    assert [v.get("aliases") for v in get(api, name)["latest_versions"]] == [None] * 4
    api.bad(method, "registered-models/get-latest-versions", {"name": name, "stages": ["bogus"]}, "Invalid Model Version stage")


# Aliases.

def test_aliases(api, name):
    for _ in range(2):
        api.version(name)
    before = get(api, name)["last_updated_timestamp"]
    api.post("registered-models/alias", name=name, alias="best", version="1")
    api.post("registered-models/alias", name=name, alias="best", version="2")
    api.post("registered-models/alias", name=name, alias="Best", version="1")
    aliases = {a["alias"]: a["version"] for a in get(api, name)["aliases"]}
    assert aliases == {"best": "2", "Best": "1"}
    assert version(api, name, 2)["aliases"] == ["best"]
    found = api.get("registered-models/alias", name=name, alias="best")["model_version"]
    assert found == version(api, name, 2)
    assert get(api, name)["last_updated_timestamp"] == before
    assert api.get("registered-models/alias", name=name, alias="latest")["model_version"]["version"] == "2"
    for _ in range(2):
        api.delete("registered-models/alias", name=name, alias="best")
    message = "Registered model alias best not found."
    api.bad("GET", "registered-models/alias", {"name": name, "alias": "best"}, message)
    found = api.get("model-versions/search", filter=f"name = '{name}'")["model_versions"]
    assert all("aliases" not in one for one in found)


@pytest.mark.parametrize("alias, message", [
    ("a b", "Invalid alias name: 'a b'."),
    ("a/b", "Invalid alias name: 'a/b'."),
    ("latest", "'latest' alias name (case insensitive) is reserved."),
    ("LaTest", "'latest' alias name (case insensitive) is reserved."),
    ("v3", "Version alias name 'v3' is reserved."),
    ("V30", "Version alias name 'V30' is reserved."),
    ("a" * 256, "'Registered model alias name' exceeds"),
])
def test_bad_aliases(api, name, alias, message):
    api.version(name)
    api.bad("POST", "registered-models/alias", {"name": name, "alias": alias, "version": "1"}, message)
    assert "aliases" not in get(api, name)


@pytest.mark.parametrize("alias", ["a", "A-b_c", "é", "v", "v3x", "3", "latest1", "a" * 255])
def test_good_aliases(api, name, alias):
    api.version(name)
    api.post("registered-models/alias", name=name, alias=alias, version="1")
    assert api.get("registered-models/alias", name=name, alias=alias)["model_version"]["version"] == "1"
