"""Models of a registry: looked up, followed, and recorded."""
import json
import subprocess
import time

import pytest
import tls

from conftest import COMMAND, Served


@pytest.fixture(scope="module")
def registry(saved, tmp_path_factory):
    """A store behind a server, MLflow's client of it, and a registered model with two versions."""
    import mlflow
    from mlflow import MlflowClient

    store = tmp_path_factory.mktemp("registry") / "store"
    process = subprocess.Popen(
        [COMMAND, "serve", str(store), "-p", "0", "--json", "--no-ui"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = "http://" + json.loads(process.stdout.readline())["address"]
        client = MlflowClient(address)
        mlflow.set_tracking_uri(address)
        client.create_registered_model("fraud")
        run = client.create_run(client.create_experiment("models")).info.run_id
        # A source is the place of the files, or a URI of the run's.
        root = client.get_run(run).info.artifact_uri
        for name, source in [("failing", root + "/failing"), ("answering", "runs:/%s/answering" % run)]:
            client.log_artifacts(run, str(saved(name)), name)
            client.create_model_version("fraud", source, run)
        client.set_registered_model_alias("fraud", "champion", 1)
        yield store, client
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serving(client, version, address):
    tag = client.get_model_version("fraud", version).tags.get("runlode.serving." + address)
    return tag and json.loads(tag)


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_version_is_served_and_that_is_recorded(registry):
    store, client = registry
    with Served("models:/fraud/1", "--store", str(store)) as server:
        assert server.ask("x").json() == {"predictions": ["done"]}
        until(lambda: serving(client, "1", server.address))
        told = serving(client, "1", server.address)
        assert told["state"] == "serving" and told["uri"] == "models:/fraud/1" and told["pid"] == server.process.pid
    told = serving(client, "1", server.address)
    assert told["state"] == "ended" and told["end_ms"] >= told["start_ms"]


def test_a_version_of_a_server_is_served(registry, tmp_path, monkeypatch):
    _, client = registry
    monkeypatch.setenv("RUNLODE_CACHE", str(tmp_path))
    with Served("models:/fraud@champion", "--store", client.tracking_uri) as server:
        assert server.ask("x").json() == {"predictions": ["done"]}
        until(lambda: serving(client, "1", server.address))
    assert serving(client, "1", server.address)["state"] == "ended"


def test_a_version_behind_https_is_served(registry, tmp_path, monkeypatch):
    _, client = registry
    files = tls.certificate(tmp_path)
    monkeypatch.setenv("RUNLODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with tls.Front(client.tracking_uri, files) as front:
        with pytest.raises(RuntimeError, match="certificate"):
            Served("models:/fraud@champion", "--store", front.url)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(files[0]))
        with Served("models:/fraud/1", "--store", front.url) as server:
            assert server.ask("x").json() == {"predictions": ["done"]}
            until(lambda: serving(client, "1", server.address))
        assert serving(client, "1", server.address)["state"] == "ended"
        with pytest.raises(RuntimeError, match="nobody"):
            Served("models:/nobody/1", "--store", front.url)
    assert front.logins == {"Bearer secret"}


def test_an_alias_is_followed_without_a_failed_request(registry):
    store, client = registry
    with Served("models:/fraud@champion", "--store", str(store), "--follow") as server:
        assert server.ask("number").json() == {"predictions": ["done"]}
        client.set_registered_model_alias("fraud", "champion", 2)
        end, answers = time.monotonic() + 30, []
        while time.monotonic() < end and (not answers or answers[-1].json() != {"predictions": 1e16}):
            answers.append(server.ask("number"))
        assert all(answer.status_code == 200 for answer in answers)
        assert answers[-1].json() == {"predictions": 1e16}
        assert server.metric("reloads_total") == 1
        until(lambda: (serving(client, "1", server.address) or {}).get("state") == "ended")
        until(lambda: (serving(client, "2", server.address) or {}).get("state") == "serving")
    assert serving(client, "2", server.address)["state"] == "ended"


def test_a_model_that_cannot_be_loaded_is_not_followed(registry):
    store, client = registry
    client.set_registered_model_alias("fraud", "next", 1)
    run = client.get_model_version("fraud", 1).run_id
    client.log_text(run, "no model", "broken/notes.txt")
    broken = client.create_model_version("fraud", client.get_run(run).info.artifact_uri + "/broken", run)
    with Served("models:/fraud@next", "--store", str(store), "--follow") as server:
        client.set_registered_model_alias("fraud", "next", broken.version)
        until(lambda: any("the one before stays" in line for line in server.log))
        # Said once, however often the alias is looked at.
        time.sleep(2.5)
        assert sum("the one before stays" in line for line in server.log) == 1
        assert server.ask("x").json() == {"predictions": ["done"]}
        client.set_registered_model_alias("fraud", "next", 2)
        until(lambda: server.ask("number").json() == {"predictions": 1e16})


def test_what_was_served_is_logged_into_a_run(registry, saved):
    store, client = registry
    run = client.create_run(client.create_experiment("serving")).info.run_id
    for place in (str(store), client.tracking_uri):
        with Served(saved("sklearn"), "--store", place, "--log-to", run, "--log-every", "1") as server:
            rows = [{"x%d" % column: row + column for column in range(20)} for row in range(3)]
            assert server.post(json.dumps({"dataframe_records": rows})).status_code == 200
            assert server.post("{").status_code == 400
        metrics = client.get_run(run).data.metrics
        assert metrics["serving/rows"] == 3 and metrics["serving/input/x1/mean"] == 2
        assert metrics["serving/input/x1/max"] == 3 and metrics["serving/latency_p50_ms"] > 0
    assert sum(point.value for point in client.get_metric_history(run, "serving/errors")) == 2
    # The second server goes on behind the first one.
    steps = [point.step for point in client.get_metric_history(run, "serving/requests")]
    assert len(steps) >= 2 and steps == list(range(len(steps)))


def test_what_cannot_be_served_is_refused(registry, saved, tmp_path):
    store, _ = registry
    for uri, arguments, why in [
        ("models:/fraud/9", ["--store", str(store)], "9"),
        ("models:/nobody/1", ["--store", str(store)], "nobody"),
        ("models:/fraud", ["--store", str(store)], "fraud.* not found"),
        (str(tmp_path), [], "MLmodel"),
        (str(saved("failing")), ["--follow"], "never leads to another model"),
    ]:
        with pytest.raises(RuntimeError, match=why):
            Served(uri, *arguments)
