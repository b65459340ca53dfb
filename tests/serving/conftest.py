"""Servers and models for the tests of `runlode models serve`.

`RUNLODE_COMMAND` is the command `runlode`. Models are saved by MLflow when a test first wants them.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).parent))
COMMAND = os.environ["RUNLODE_COMMAND"]


class Served:
    """A running `runlode models serve`."""

    def __init__(self, uri, *arguments):
        self.log = []
        command = [COMMAND, "models", "serve", str(uri), "-p", "0", "--json"]
        if "--env-manager" not in arguments:
            command += ["--env-manager", "local", "--python", sys.executable]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.reader.join()
            raise RuntimeError("the server did not start: " + "".join(self.log))
        self.address = json.loads(line)["address"]
        self.url = "http://" + self.address
        self.session = requests.Session()

    def post(self, body, content_type="application/json", **more):
        headers = {} if content_type is None else {"Content-Type": content_type}
        return self.session.post(self.url + "/invocations", data=body, headers=headers, **more)

    def ask(self, what):
        return self.post(json.dumps({"dataframe_records": [{"what": what}]}))

    def metric(self, name):
        """The value of a line of /metrics."""
        lines = requests.get(self.url + "/metrics").text.splitlines()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("runlode_serving_" + name + " ")]
        return float(values[0])

    def stop(self):
        """Ends it as a supervisor would; its exit status."""
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a model by its name."""
    import served

    made, root = {}, tmp_path_factory.mktemp("models")

    def get(name):
        if name not in made:
            served.save(name, str(root / name))
            made[name] = root / name
        return made[name]

    return get


@pytest.fixture(scope="session")
def serve(saved):
    """A server of a model by its name; servers with the same arguments are shared by all tests."""
    running = {}

    def get(name, *arguments):
        key = (name, *arguments)
        if key not in running:
            running[key] = Served(saved(name), *arguments)
        return running[key]

    yield get
    statuses = [one.stop() for one in running.values()]
    assert set(statuses) <= {0}, statuses
