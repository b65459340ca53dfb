"""What was answered is there: after kill -9, after SIGTERM, under load from many clients.

``RUNLODE_CLIENTS`` and ``RUNLODE_SECONDS`` set how many clients log for how long (64 and 60 is the full measure).
"""

import random
import subprocess
import threading
import time

import pytest
import requests
from conftest import Api, Server, command, fact, knob, unique

CLIENTS = knob("RUNLODE_CLIENTS", 8)
SECONDS = knob("RUNLODE_SECONDS", 6)


class Client(threading.Thread):
    """Logs to a run of its own, one number after the other, and remembers what was acknowledged."""

    def __init__(self, uri, run, stop):
        super().__init__(daemon=True)
        self.uri, self.run_id, self.stopped = uri, run, stop
        self.metrics, self.batches, self.tags, self.runs, self.wrong = [], [], [], [], []

    def call(self, session, path, fields):
        """True when it was acknowledged; asks again while the server is down."""
        while not self.stopped.is_set():
            try:
                response = session.post(f"{self.uri}/api/2.0/mlflow/{path}", json=fields, timeout=20)
            except requests.RequestException:
                time.sleep(0.01)
                continue
            if response.status_code == 200:
                return response
            self.wrong.append((path, response.status_code, response.text[:200]))
            return None
        return None

    def run(self):
        session = requests.Session()
        session.trust_env = False
        number = 0
        while not self.stopped.is_set():
            number += 1
            metric = {"key": "m", "value": number, "timestamp": number, "step": number}
            if self.call(session, "runs/log-metric", {"run_id": self.run_id, **metric}):
                self.metrics.append(number)
            if number % 3 == 0:
                batch = {
                    "metrics": [{**metric, "key": "b"}, {**metric, "key": "c"}],
                    "params": [{"key": f"p{number}", "value": str(number)}],
                    "tags": [{"key": f"t{number}", "value": str(number)}],
                }
                if self.call(session, "runs/log-batch", {"run_id": self.run_id, **batch}):
                    self.batches.append(number)
            if number % 5 == 0:
                tag = {"key": f"s{number}", "value": str(number)}
                if self.call(session, "runs/set-tag", {"run_id": self.run_id, **tag}):
                    self.tags.append(number)
            if number % 20 == 0:
                made = self.call(session, "runs/create", {"experiment_id": "0", "run_name": unique("made")})
                if made is not None:
                    self.runs.append(made.json()["run"]["info"]["run_id"])

    def check(self, api):
        """Every acknowledged write is there; a batch is there whole, or not at all."""
        assert not self.wrong, self.wrong[:3]
        steps = [step for _, step, value in api.history(self.run_id, "m") if step == value]
        assert len(steps) == len(set(steps))
        assert set(self.metrics) <= set(steps)
        got = api.got(self.run_id)["data"]
        tags = {tag["key"] for tag in got.get("tags", [])}
        params = {int(param["key"][1:]) for param in got.get("params", [])}
        assert {f"s{number}" for number in self.tags} <= tags
        in_batches = {int(tag[1:]) for tag in tags if tag[0] == "t"}
        both = [{step for _, step, _ in api.history(self.run_id, key)} for key in "bc"]
        assert both[0] == both[1] == params == in_batches
        assert set(self.batches) <= in_batches
        for run in self.runs:
            assert api.info(run)["run_id"] == run
        return len(self.metrics) + len(self.batches) + len(self.tags) + len(self.runs)


def load(server, count):
    api = Api(server.uri)
    stop = threading.Event()
    clients = [Client(server.uri, api.run(), stop) for _ in range(count)]
    [client.start() for client in clients]
    return clients, stop


def verified(store):
    checked = subprocess.run([*command(), "verify", str(store)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def owned(tmp_path):
    server = Server(tmp_path / "store")
    yield server
    if server.alive():
        server.stop()


def test_kill_9(owned):
    chance = random.Random(7)
    clients, stop = load(owned, CLIENTS)
    end = time.monotonic() + SECONDS
    kills = 0
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.2, 1.2))
        owned.kill()
        owned.start()
        kills += 1
    stop.set()
    [client.join(30) for client in clients]
    # Once more, with nothing in flight.
    owned.kill()
    owned.start()
    api = Api(owned.uri)
    writes = sum(client.check(api) for client in clients)
    owned.stop()
    verified(owned.store)
    fact(f"{CLIENTS} clients, {SECONDS} s, {kills} kills: {writes} acknowledged writes, all there")
    assert writes > CLIENTS * SECONDS


def test_sigterm(owned):
    for _ in range(3):
        clients, stop = load(owned, CLIENTS)
        time.sleep(0.5)
        took = owned.stop()
        assert took < 10
        assert owned.process.returncode == 0
        # What comes after the end is nobody's fault.
        stop.set()
        [client.join(30) for client in clients]
        owned.start()
        api = Api(owned.uri)
        assert sum(client.check(api) for client in clients) > CLIENTS
    fact(f"SIGTERM under load: {took * 1000:.0f} ms")


def test_sigterm_with_clients_that_hold_on(owned):
    """Idle connections and half requests do not keep the process."""
    import socket

    host, port = owned.uri.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(50)]
    held[0].sendall(b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    api = Api(owned.uri)
    run = api.run()
    assert owned.stop() < 10
    [connection.close() for connection in held]
    owned.start()
    assert Api(owned.uri).info(run)["run_id"] == run


def test_start(owned):
    """Printed, not judged: the bar is for release builds."""
    api = Api(owned.uri)
    run = api.run()
    for start in range(0, 100_000, 1000):
        api.batch(run, [("m", i, i, i) for i in range(start, start + 1000)])
    owned.stop()
    begin = time.perf_counter()
    owned.start()
    assert Api(owned.uri).get("runs/get", run_id=run)
    fact(f"start to the first answer: {(time.perf_counter() - begin) * 1000:.0f} ms; idle: {owned.rss_bytes() >> 20} MiB")


def test_retries_are_no_second_write(owned):
    """A POST may come twice: the same key, the same answer."""
    api = Api(owned.uri)
    key = {"Idempotency-Key": unique("key")}
    body = {"experiment_id": "0", "run_name": "once"}
    first = api.raw("POST", "runs/create", json=body, headers=key)
    again = api.raw("POST", "runs/create", json=body, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["run"]["info"]["run_id"] == again.json()["run"]["info"]["run_id"]
    owned.kill()
    owned.start()
    again = Api(owned.uri).raw("POST", "runs/create", json=body, headers=key)
    assert first.json()["run"]["info"]["run_id"] == again.json()["run"]["info"]["run_id"]
