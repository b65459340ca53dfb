"""Where a version may come from."""

import pytest
from conftest import Api

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}
RELATIVE = (
    "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute "
    "path must be provided without relative path references present."
)
LOCAL = (
    "To use a local path as a model version source, the run_id request parameter has to be specified and the local "
    "path has to be contained within the artifact directory of the run"
)


@pytest.fixture(scope="module")
def name(api):
    return api.registered()


def refuse(api, name, source, *fragments, **fields):
    start = f"Invalid model version source: '{source}'"
    api.bad("POST", "model-versions/create", {"name": name, "source": source, **fields}, start, *fragments)


@pytest.mark.parametrize("source", [
    "runs:/0123456789abcdef0123456789abcdef/model",
    "mlflow-artifacts:/models",
    "mlflow-artifacts://host:9000/models",
    "s3://bucket/path",
    "s3://bucket//path///",
    "gs://bucket/path",
    "http://host/path",
    "https://host/path/",
    "ftp://host/path",
    "dbfs:/path",
    "hdfs://host/path",
    "https://host/a%20b",
    "s3://bucket/a..b/..c",
])
def test_sources_that_are_taken(api, name, source):
    made = api.version(name, source=source)
    assert made["source"] == source
    uri = api.get("model-versions/get-download-uri", name=name, version=made["version"])["artifact_uri"]
    assert uri == source


@pytest.mark.wire
@pytest.mark.parametrize("source", [
    "/abs/path",
    "rel/path",
    "file:///abs/path",
    "file:/abs/path",
    "./models",
    "models",
])
def test_local_paths_need_a_run(api, name, run, source):
    # The message shows the path that was meant.
    for more in ({}, {"run_id": run}):
        start = "Invalid model version source: '"
        api.bad("POST", "model-versions/create", {"name": name, "source": source, **more}, start, LOCAL)


@pytest.mark.wire
def test_local_paths_within_a_run(api, name, tmp_path):
    experiment = api.experiment(artifact_location=str(tmp_path))
    run = api.run(experiment)
    inside = f"{tmp_path}/{run}/artifacts"
    for source in [inside, f"{inside}/model", f"file://{inside}/model", f"file:{inside}//model/"]:
        assert api.version(name, source=source, run_id=run)["source"] == source
    for source in [
        str(tmp_path),
        f"{tmp_path}/{run}",
        f"{inside}x",
        f"{inside}/../artifacts2",
        f"file://{inside}/../../x",
        f"{inside}/%2e%2e/%2e%2e/x",
    ]:
        fields = {"name": name, "source": source, "run_id": run}
        api.bad("POST", "model-versions/create", fields, "Invalid model version source: '")
    link = tmp_path / run / "artifacts"
    link.mkdir(parents=True)
    (link / "out").symlink_to("/etc")
    fields = {"name": name, "source": f"{inside}/out/passwd", "run_id": run}
    api.bad("POST", "model-versions/create", fields, "Invalid model version source: '")


@pytest.mark.wire
def test_local_paths_within_a_logged_model(api, name, tmp_path):
    experiment = api.experiment(artifact_location=str(tmp_path))
    model = api.model(experiment)["info"]
    inside = model["artifact_uri"]
    assert api.version(name, source=f"{inside}/x", model_id=model["model_id"])["source"] == f"{inside}/x"
    refuse(api, name, str(tmp_path), model_id=model["model_id"])


@pytest.mark.wire
@pytest.mark.parametrize("source", ["file://host/path", "file://evil.example/etc/passwd"])
def test_foreign_hosts(api, name, source):
    response = api.send("POST", "model-versions/create", {"name": name, "source": source})
    assert response.status_code == 500
    assert "is not a valid remote uri" in response.json()["message"]


@pytest.mark.wire
@pytest.mark.parametrize("source", [
    "s3://bucket/../x",
    "s3://bucket/a/../../x",
    "http://host/a/../b",
    "https://host/%2e%2e/x",
    "https://host/%252e%252e/x",
    "https://host/%25252e%25252e/x",
    "https://host/..%2fx",
    "mlflow-artifacts:/a/../b",
    "mlflow-artifacts://host/models/../../x",
    "ftp://host/../x",
    "s3://bucket/a%00b",
    "http://host/a%00",
])
def test_relative_references(api, name, source):
    refuse(api, name, source, RELATIVE)


def test_logged_models(api, name):
    experiment = api.experiment()
    run = api.run(experiment)
    model = api.model(experiment, source_run_id=run)["info"]
    made = api.version(name, source=f"models:/{model['model_id']}")
    assert made["run_id"] == run
    uri = api.get("model-versions/get-download-uri", name=name, version=made["version"])["artifact_uri"]
    assert uri == model["artifact_uri"]
    fields = {"name": name, "source": "models:/m-" + "0" * 32}
    api.bad("POST", "model-versions/create", fields, "not found", code="INTERNAL_ERROR")


@pytest.mark.wire
def test_other_versions(api):
    name = api.registered()
    for source in ("s3://a/1", "s3://a/2"):
        api.version(name, source=source)
    api.post("registered-models/alias", name=name, alias="best", version="1")
    api.post("model-versions/transition-stage", name=name, version="1", stage="Staging", archive_existing_versions=False)
    other = api.registered()
    for source, uri in [
        (f"models:/{name}/1", "s3://a/1"),
        (f"models:/{name}@best", "s3://a/1"),
        (f"models:/{name}/latest", "s3://a/2"),
        (f"models:/{name}/Staging", "s3://a/1"),
    ]:
        made = api.version(other, source=source)
        found = api.get("model-versions/get-download-uri", name=other, version=made["version"])["artifact_uri"]
        assert found == uri, source
    for source in [f"models:/{name}/9", "models:/nobody/1"]:
        api.bad("POST", "model-versions/create", {"name": other, "source": source}, **ABSENT)


def test_a_rule_of_the_place(make_server):
    server = make_server(env={"MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": r"^s3://ours/"})
    api = Api(server.uri)
    name = api.registered()
    api.version(name, source="s3://ours/x")
    for source in ["s3://theirs/x", "http://s3://ours/"]:
        api.bad("POST", "model-versions/create", {"name": name, "source": source}, f"Invalid model version source: '{source}'.")
