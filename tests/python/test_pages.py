"""What MLflow's web pages ask for: GraphQL, their own endpoints, their files."""

import re

import pytest
from conftest import Api, listed, refused, unique

AJAX = "/ajax-api/2.0/mlflow"
AJAX3 = "/ajax-api/3.0/mlflow"

GET_EXPERIMENT = """
query MlflowGetExperimentQuery($input: MlflowGetExperimentInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetExperiment(input: $input) {
    apiError { code message __typename }
    experiment {
      artifactLocation creationTime experimentId lastUpdateTime lifecycleStage name
      tags { key value __typename }
      __typename
    }
    __typename
  }
}
"""

GET_RUN = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    apiError { helpUrl code message __typename }
    run {
      info { runName status runUuid experimentId artifactUri endTime lifecycleStage startTime userId __typename }
      experiment { experimentId name tags { key value __typename } artifactLocation lifecycleStage lastUpdateTime __typename }
      modelVersions { status version name source __typename }
      ...Data
      __typename
    }
    __typename
  }
}
fragment Data on MlflowRunExtension {
  data {
    metrics { key value step timestamp __typename }
    params { key value __typename }
    tags { key value __typename }
    __typename
  }
  inputs { datasetInputs { dataset { digest name profile schema source sourceType __typename } tags { key value __typename } __typename } __typename }
}
"""


def ask(api, query, variables=None, **more):
    response = api.raw("POST", "/graphql", json={"query": query, "variables": variables or {}, **more})
    assert response.status_code == 200, response.text
    body = response.json()
    assert sorted(body) == ["data", "errors"]
    return body


def test_an_experiment(api):
    name = unique("e")
    id = api.experiment(name, tags=listed({"k": "v"}))
    body = ask(api, GET_EXPERIMENT, {"input": {"experimentId": id}}, operationName="MlflowGetExperimentQuery")
    assert body["errors"] is None
    found = body["data"]["mlflowGetExperiment"]
    assert found["apiError"] is None and found["__typename"] == "MlflowGetExperimentResponse"
    experiment = found["experiment"]
    assert (experiment["name"], experiment["experimentId"], experiment["lifecycleStage"]) == (name, id, "active")
    assert re.fullmatch(r"\d{13}", experiment["creationTime"])
    assert experiment["tags"] == [{"key": "k", "value": "v", "__typename": "MlflowExperimentTag"}]
    assert experiment["__typename"] == "MlflowExperiment"


def test_a_fresh_run(api, experiment):
    run = api.run(experiment, start_time=5)
    body = ask(api, GET_RUN, {"data": {"runId": run}}, operationName="GetRun")
    assert body["errors"] is None
    found = body["data"]["mlflowGetRun"]["run"]
    info = found["info"]
    assert (info["endTime"], info["startTime"], info["userId"], info["status"]) == ("0", "5", "", "RUNNING")
    assert found["modelVersions"] == []
    assert found["data"]["metrics"] == [] and found["data"]["params"] == []
    assert found["__typename"] == "MlflowRunExtension"
    assert found["experiment"]["experimentId"] == experiment


def test_a_full_run(api, experiment):
    run = api.run(experiment)
    api.batch(run, [("m", 1.5, 7, 3), ("nan", "NaN", 1, 0), ("inf", "Infinity", 1, 0)], {"p": "1"})
    name = api.registered()
    api.version(name, source="s3://b/x", run_id=run)
    dataset = {"name": "d", "digest": "1", "source_type": "t", "source": "s"}
    api.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": listed({"c": "v"})}])
    found = ask(api, GET_RUN, {"data": {"runId": run}})["data"]["mlflowGetRun"]["run"]
    metrics = {m["key"]: m for m in found["data"]["metrics"]}
    m = metrics["m"]
    assert (m["value"], m["timestamp"], m["step"], m["__typename"]) == (1.5, "7", "3", "MlflowMetricExtension")
    assert metrics["nan"]["value"] is None and metrics["inf"]["value"] is None
    (version,) = found["modelVersions"]
    assert (version["name"], version["version"], version["status"]) == (name, "1", "READY")
    (given,) = found["inputs"]["datasetInputs"]
    assert given["dataset"]["name"] == "d" and given["tags"][0]["key"] == "c"


def test_other_queries(api, experiment):
    run = api.run(experiment)
    api.batch(run, [("m", i, i, i) for i in range(3)])
    query = """
    query Q($runs: MlflowSearchRunsInput!, $metrics: MlflowGetMetricHistoryBulkIntervalInput!, $files: MlflowListArtifactsInput!) {
      a: mlflowSearchRuns(input: $runs) { runs { info { runId } } nextPageToken }
      b: mlflowGetMetricHistoryBulkInterval(input: $metrics) { metrics { key value step timestamp runId __typename } }
      c: mlflowListArtifacts(input: $files) { rootUri files { path isDir fileSize } nextPageToken }
      d: mlflowSearchModelVersions(input: {filter: "run_id='nobody'"}) { modelVersions { name } }
      test(inputString: "hello") { output }
    }
    """
    variables = {
        "runs": {"experimentIds": [experiment]},
        "metrics": {"runIds": [run], "metricKey": "m", "maxResults": 10},
        "files": {"runId": run},
    }
    body = ask(api, query, variables)
    assert body["errors"] is None
    data = body["data"]
    assert data["a"]["runs"] == [{"info": {"runId": run}}]
    points = [(m["step"], m["timestamp"], m["value"], m["runId"]) for m in data["b"]["metrics"]]
    assert points == [(str(i), str(i), i, run) for i in range(3)]
    assert data["c"]["files"] == [] and data["c"]["rootUri"].endswith(f"{run}/artifacts")
    assert data["d"]["modelVersions"] == []
    assert data["test"]["output"] == "hello"


def test_mutations(api, experiment):
    run = api.run(experiment)
    query = "mutation M($i: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $i) { runs { info { runId } } } }"
    body = ask(api, query, {"i": {"experimentIds": [experiment]}})
    assert body["data"]["mlflowSearchRuns"]["runs"] == [{"info": {"runId": run}}]
    query = "mutation M($i: MlflowSearchDatasetsInput!) { mlflowSearchDatasets(input: $i) { datasetSummaries { name } } }"
    assert ask(api, query, {"i": {"experimentIds": [experiment]}})["data"]["mlflowSearchDatasets"]


def test_what_is_not_there_is_null(api):
    query = "{ mlflowGetRun(input: {runId: \"nope\"}) { run { info { runId } } } test(inputString: \"x\") { output } }"
    body = ask(api, query)
    assert body["data"] == {"mlflowGetRun": None, "test": {"output": "x"}}
    assert "Run with id=nope not found" in str(body["errors"])
    body = ask(api, GET_EXPERIMENT, {"input": {"experimentId": "987654"}})
    assert body["data"] == {"mlflowGetExperiment": None} and body["errors"]


@pytest.mark.parametrize("query, message", [
    ("{ " + " ".join(f'a{i}: test(inputString: "x") {{ output }}' for i in range(12)) + " }",
     "GraphQL queries should have at most 10 root fields, got 12 root fields."),
    ("{ a" * 30 + " }" * 30, "depth"),
    ("{ nope }", "nope"),
    ("{ test(", ""),
])
def test_queries_are_bounded(api, query, message):
    body = ask(api, query)
    assert body["data"] is None
    assert message in str(body["errors"])


# The pages' own endpoints.

def test_small_answers(api):
    assert api.get(f"{AJAX}/gateway-proxy") == {"endpoints": []}
    telemetry = {"disable_ui_telemetry": True, "disable_ui_events": [], "ui_rollout_percentage": 0}
    assert api.get(f"{AJAX3}/ui-telemetry") == telemetry
    assert api.post(f"{AJAX3}/ui-telemetry", records=[]) == {"status": "disabled"}
    assert api.get(f"{AJAX3}/server-info")["features_enabled"] == {"gateway": False}


def test_what_comes_later(api):
    for prefix in ("/api/3.0/mlflow", AJAX3):
        assert api.post(f"{prefix}/traces/search", locations=[]) == {}
        assert api.post(f"{prefix}/datasets/search", experiment_ids=["0"]) == {}
        assert api.post(f"{prefix}/traces/metrics", experiment_ids=["0"]) == {"data_points": []}
    # As MLflow's server answers where nobody has made anything.
    v3 = "/api/3.0/mlflow"
    for path, empty in [
        (f"{AJAX}/webhooks", {}),
        (f"{AJAX}/webhooks?max_results=10", {}),
        (f"{AJAX}/traces?experiment_ids=0", {}),
        (f"{AJAX3}/scorers/list?experiment_id=0", {}),
        (f"{AJAX3}/scorers/online-configs?scorer_ids=x", {"configs": []}),
        *((f"{AJAX3}/gateway/{what}/list", {}) for what in ("endpoints", "endpoints/bindings", "secrets", "guardrails", "budgets")),
        (f"{v3}/gateway/model-definitions/list", {}),
        (f"{AJAX3}/gateway/budgets/windows", {}),
        (f"{AJAX3}/gateway/supported-providers", {"providers": []}),
        (f"{AJAX3}/label-schemas/list?experiment_id=0", {}),
        (f"{AJAX3}/review-queues/list?experiment_id=0", {}),
        (f"{AJAX3}/mcp-servers", {"mcp_servers": [], "next_page_token": None}),
        (f"{AJAX3}/assistant/config", {"providers": {}, "projects": {}, "remote_access_allowed": False}),
        (f"{AJAX3}/assistant/providers", {"providers": []}),
    ]:
        assert api.get(path) == empty, path
    assert api.post(f"{AJAX3}/issues/search", experiment_id="0") == {"next_page_token": ""}
    # Of pages only: a client would take the answer for a queue.
    assert api.post(f"{AJAX3}/review-queues/get-or-create-user", experiment_id="0", user="ann") == {}
    # What is asked for by its id is not there.
    for path in [
        f"{AJAX}/webhooks/x",
        f"{AJAX3}/traces/x",
        f"{AJAX3}/datasets/x",
        f"{AJAX3}/gateway/endpoints/get?endpoint_id=x",
        f"{AJAX3}/scorers/get?experiment_id=0&name=x",
        f"{v3}/issues/x",
        f"{AJAX3}/assistant/providers/x/health",
    ]:
        refused(api.raw("GET", path), status=404, code="RESOURCE_DOES_NOT_EXIST")
    assert api.raw("GET", f"{AJAX}/users/current").status_code == 404
    for method, path in [
        ("POST", "/api/3.0/mlflow/traces"),
        ("POST", "/v1/traces"),
        ("POST", "/api/3.0/mlflow/scorers/register"),
        ("POST", "/api/3.0/mlflow/scorers/list"),
        ("PUT", f"{AJAX3}/assistant/config"),
        ("POST", f"{AJAX3}/assistant/message"),
        ("POST", f"{AJAX3}/gateway/secrets/create"),
        ("DELETE", f"{AJAX3}/gateway/secrets/delete"),
        ("POST", "/api/3.0/mlflow/gateway/endpoints/create"),
        ("POST", "/api/3.0/mlflow/datasets/create"),
        ("POST", "/api/3.0/mlflow/review-queues/get-or-create-user"),
        ("POST", f"{AJAX3}/review-queues/create"),
        ("POST", "/api/2.0/mlflow/webhooks"),
        ("DELETE", "/api/2.0/mlflow/webhooks/x"),
        ("POST", "/api/2.0/mlflow/webhooks/x/test"),
        ("POST", f"{AJAX}/runs/create-promptlab-run"),
        ("GET", "/api/3.0/mlflow/workspaces"),
    ]:
        response = api.send(method, path, {"a": 1})
        refused(response, status=501, code="NOT_IMPLEMENTED")


# Their files.

def build():
    try:
        import mlflow
    except ImportError:
        pytest.skip("there is no mlflow")
    from pathlib import Path

    path = Path(mlflow.__file__).parent / "server" / "js" / "build"
    if not path.exists():
        pytest.skip("this mlflow has no pages")
    return path


def without_link(response):
    text, count = re.subn(r'<script defer src="runlode/assets/mlflow-[0-9a-f]{16}\.js"></script>', "", response.text)
    assert count == 1
    return text


def test_the_pages(make_server):
    folder = build()
    api = Api(make_server("--ui", str(folder)).uri)
    response = api.raw("GET", "/")
    # One script of ours is added: a link to Runlode's own pages.
    assert response.status_code == 200 and without_link(response) == (folder / "index.html").read_text()
    assert response.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="(?:\./)?(static-files/[^"]+)"', response.text)
    assert links
    for link in links:
        response = api.raw("GET", f"/{link}")
        assert response.status_code == 200, link
        assert response.headers["cache-control"] == "public, max-age=2419200"
        assert response.content == (folder / link.removeprefix("static-files/")).read_bytes()
    assert "javascript" in api.raw("GET", "/" + next(link for link in links if link.endswith(".js"))).headers["content-type"]
    for path in ["/nope", "/experiments/0", "/static-files/nope", "/static-files/", "/index.html"]:
        assert api.raw("GET", path).status_code == 404, path
    for path in ["/static-files/../../handlers.py", "/static-files/%2e%2e/%2e%2e/handlers.py", "/static-files//etc/passwd"]:
        import http.client

        connection = http.client.HTTPConnection(api.uri.removeprefix("http://"))
        connection.request("GET", path)
        assert connection.getresponse().status in (400, 404), path


def test_the_pages_below_a_prefix(make_server):
    folder = build()
    api = Api(make_server("--ui", str(folder), "--static-prefix", "/ml").uri)
    assert without_link(api.raw("GET", "/ml/")) == (folder / "index.html").read_text()
    assert api.raw("GET", "/ml/static-files/manifest.json").status_code == 200
    assert api.raw("GET", "/").status_code == 404


def test_no_pages(make_server):
    api = Api(make_server("--no-ui").uri)
    assert "static-files" not in api.raw("GET", "/").text
    assert api.raw("GET", "/static-files/index.html").status_code == 404


def test_without_mlflow(make_server, tmp_path):
    """Runlode's own pages are there instead."""
    (tmp_path / "bin").mkdir()
    env = {"PATH": str(tmp_path / "bin"), "VIRTUAL_ENV": "", "CONDA_PREFIX": ""}
    response = Api(make_server(env=env).uri).raw("GET", "/")
    assert response.status_code == 200
    assert "<title>Runlode</title>" in response.text and "<noscript>" in response.text
