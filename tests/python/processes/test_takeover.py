"""Processes that share a store: holders are killed while others write, and many create the same experiment.

RUNLODE_TAKEOVER_ROUNDS kills (4; 50 for a campaign), RUNLODE_RACERS processes (64). ``takeover.py`` prints its seed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("takeover.py")
ROUNDS = int(os.environ.get("RUNLODE_TAKEOVER_ROUNDS", 4))
RACERS = int(os.environ.get("RUNLODE_RACERS", 64))

pytestmark = pytest.mark.skipif(
    not os.environ.get("RUNLODE_TEST_URI", "").startswith("runlode:"), reason="of stores in process"
)


def test_holders_are_killed_while_others_write(tmp_path):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "store"), "--rounds", str(ROUNDS)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 + 10 * ROUNDS, check=False
    )
    assert ended.returncode == 0, ended.stdout


RACE = """
import os, sys
import mlflow
uri, ready, go, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for _ in range(count):
    if not os.fork():
        try:
            os.write(ready, b"r")
            os.read(go, 1)
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment("the same name")
            with mlflow.start_run() as run:
                mlflow.log_metric("m", 1.0)
            said = run.info.experiment_id
        except BaseException as error:
            said = f"{type(error).__name__}: {error}".replace(chr(10), " ")
        os.write(1, (said + chr(10)).encode())
        os._exit(0)
for _ in range(count):
    os.wait()
"""


def test_many_processes_create_the_same_experiment_on_an_empty_store(tmp_path):
    """No error, and no run in Default."""
    (ready, told), (go, release) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", RACE, f"runlode://{tmp_path}/store", str(told), str(go), str(RACERS)]
    racers = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(told, go), text=True)
    os.close(told)
    os.close(go)
    waiting = 0
    while waiting < RACERS:
        more = os.read(ready, RACERS)
        assert more, "the racers died before the start"
        waiting += len(more)
    os.write(release, b"g" * RACERS)
    said = racers.communicate(timeout=180)[0].splitlines()
    os.close(ready)
    os.close(release)
    assert said == ["1"] * RACERS
