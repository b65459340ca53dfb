"""A server for the tests, and a plain HTTP client that knows how MLflow's answers look.

Each module has a server of its own on a store of its own (fixture ``server``; ``api`` speaks to it). The command is
``$RUNLODE_COMMAND``, else the newest ``runlode`` in the target folder. ``$RUNLODE_TEST_URI`` names a server that runs
already instead, to see how another one answers; tests that need a server of their own are then left out. With ``runlode:`` there
is no server: the stores of this process answer (see ``in_process``).
"""

import json
import os
import shlex
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]


def knob(name, default):
    """A number from the environment, for tests that can do more than they do by default."""
    return int(os.environ.get(name, default))


def command():
    """How to call ``runlode``."""
    if text := os.environ.get("RUNLODE_COMMAND"):
        return shlex.split(text)
    built = [ROOT / "target" / profile / "runlode" for profile in ("release", "debug")]
    built = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    assert built, "there is no runlode: cargo build -p runlode-cli"
    return [str(built[-1])]


class Server:
    """``runlode serve`` on a store; started again, it takes the same port."""

    def __init__(self, store, *options, env=None, port=0):
        self.store, self.options, self.port = Path(store), options, port
        self.env = {**os.environ, **(env or {})}
        self.log = self.store.parent / f"{self.store.name}.log"
        self.start()

    def start(self):
        arguments = ["serve", str(self.store), "--port", str(self.port), "--json", *self.options]
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            command() + arguments,
            stdout=subprocess.PIPE,
            stderr=open(self.log, "ab"),
            env=self.env,
            cwd=self.store.parent,
        )
        for line in self.process.stdout:
            if line.startswith(b"{"):
                break
        else:
            raise AssertionError(f"runlode serve did not start: {self.log.read_text()}")
        self.started_s = time.perf_counter() - begin
        address = json.loads(line)["address"]
        self.port = int(address.rsplit(":", 1)[1])
        self.uri = f"http://{address}"

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Ends it as a supervisor does; how long that took, in seconds."""
        begin = time.perf_counter()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
        self.process.stdout.close()
        return time.perf_counter() - begin

    def rss_bytes(self):
        return self._status("VmRSS")

    def peak_bytes(self):
        return self._status("VmHWM")

    def reset_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, name):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)


class External:
    """A server that somebody else runs."""

    def __init__(self, uri):
        self.uri = uri

    def alive(self):
        return True


class Api:
    """MLflow's REST API without MLflow's client. Paths are relative to ``/api/2.0/mlflow`` unless they begin with ``/``."""

    def __new__(cls, uri):
        if uri.startswith("runlode:"):
            from in_process import InProcessApi as cls
        return object.__new__(cls)

    def __init__(self, uri):
        self.uri = uri
        self.session = requests.Session()
        self.session.trust_env = False

    def url(self, path):
        return self.uri + (path if path.startswith("/") else f"/api/2.0/mlflow/{path}")

    def raw(self, method, path, **arguments):
        return self.session.request(method, self.url(path), timeout=120, **arguments)

    def send(self, method, path, fields):
        if method == "GET":
            return self.raw(method, path, params=fields)
        return self.raw(method, path, json=fields)

    def _ok(self, method, path, fields):
        response = self.send(method, path, fields)
        assert response.status_code == 200, f"{method} {path} {fields}: {response.status_code} {response.text[:500]}"
        assert response.headers["content-type"] == "application/json"
        return response.json()

    def get(self, path, /, **fields):
        return self._ok("GET", path, fields)

    def post(self, path, /, **fields):
        return self._ok("POST", path, fields)

    def patch(self, path, /, **fields):
        return self._ok("PATCH", path, fields)

    def delete(self, path, /, **fields):
        return self._ok("DELETE", path, fields)

    def bad(self, method, path, fields, *fragments, status=400, code="INVALID_PARAMETER_VALUE"):
        """The call is refused, in MLflow's shape and with its words."""
        return refused(self.send(method, path, fields), *fragments, status=status, code=code)

    # What most tests need.

    def experiment(self, name=None, **fields):
        return self.post("experiments/create", name=name or unique("experiment"), **fields)["experiment_id"]

    def run(self, experiment=None, **fields):
        run = self.post("runs/create", experiment_id=experiment or "0", **fields)["run"]
        return run["info"]["run_id"]

    def got(self, run):
        return self.get("runs/get", run_id=run)["run"]

    def info(self, run):
        return self.got(run)["info"]

    def tags(self, run):
        return pairs(self.got(run)["data"].get("tags", []))

    def params(self, run):
        return pairs(self.got(run)["data"].get("params", []))

    def latest(self, run):
        return {m["key"]: m["value"] for m in self.got(run)["data"].get("metrics", [])}

    def history(self, run, key, **fields):
        """All points as (timestamp, step, value)."""
        metrics = self.get("metrics/get-history", run_id=run, metric_key=key, **fields).get("metrics", [])
        return [(m["timestamp"], m["step"], m["value"]) for m in metrics]

    def log(self, run, key, value, timestamp=0, step=0, **fields):
        self.post("runs/log-metric", run_id=run, key=key, value=value, timestamp=timestamp, step=step, **fields)

    def batch(self, run, metrics=(), params=(), tags=()):
        """Metrics as (key, value, timestamp, step), params and tags as dicts."""
        names = ("key", "value", "timestamp", "step")
        return self.post(
            "runs/log-batch",
            run_id=run,
            metrics=[dict(zip(names, metric)) for metric in metrics],
            params=listed(dict(params)),
            tags=listed(dict(tags)),
        )

    def model(self, experiment="0", **fields):
        return self.post("logged-models", experiment_id=experiment, **fields)["model"]

    def registered(self, name=None, **fields):
        return self.post("registered-models/create", name=name or unique("model"), **fields)["registered_model"]["name"]

    def version(self, name, source="s3://bucket/model", **fields):
        return self.post("model-versions/create", name=name, source=source, **fields)["model_version"]


def refused(response, *fragments, status=400, code="INVALID_PARAMETER_VALUE"):
    about = f"{response.request.method} {response.url}: {response.status_code} {response.text[:500]}"
    assert response.status_code == status, about
    body = response.json()
    if "RUNLODE_TEST_URI" not in os.environ:
        assert sorted(body) == ["error_code", "message"], about
    assert body["error_code"] == code, about
    for fragment in fragments:
        assert fragment in body["message"], f"no {fragment!r} in {about}"
    return body["message"]


def pytest_collection_modifyitems(items):
    if os.environ.get("RUNLODE_TEST_URI", "").startswith("runlode:"):
        for item in items:
            if item.get_closest_marker("wire"):
                item.add_marker(pytest.mark.skip(reason="only over HTTP"))


FACTS = []


def fact(text):
    """Something measured, printed at the end."""
    FACTS.append(text)


def pytest_terminal_summary(terminalreporter):
    for text in FACTS:
        terminalreporter.write_line(text)


def pairs(items):
    return {item["key"]: item["value"] for item in items}


def listed(fields):
    return [{"key": key, "value": value} for key, value in fields.items()]


def unique(what):
    return f"{what}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def make_server(tmp_path_factory):
    """Starts servers that end with the module: ``make_server(*options, store=, env=)``."""
    if "RUNLODE_TEST_URI" in os.environ:
        pytest.skip("needs a server of its own")
    made = []

    def make(*options, store=None, **more):
        server = Server(store or tmp_path_factory.mktemp("served") / "store", *options, **more)
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    if uri := os.environ.get("RUNLODE_TEST_URI"):
        if uri == "runlode:":
            from in_process import InProcess

            return InProcess(f"runlode://{tmp_path_factory.mktemp('held') / 'store'}")
        return External(uri)
    return request.getfixturevalue("make_server")()


@pytest.fixture(scope="module")
def api(server):
    return Api(server.uri)


@pytest.fixture
def experiment(api):
    return api.experiment()


@pytest.fixture
def run(api, experiment):
    return api.run(experiment)
