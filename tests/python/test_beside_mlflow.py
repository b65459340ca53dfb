"""MLflow's own server and ours, each with MLflow's client: the scripts of ``plugin/`` that compare stores in process, over
HTTP. ``RUNLODE_BESIDE=all`` runs every script, which takes some minutes; else those that are most like users' programs.
"""

import contextlib
import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from conftest import Server

if os.environ.get("RUNLODE_TEST_URI"):
    pytest.skip("needs servers of its own", allow_module_level=True)
from plugin import differential  # noqa: E402
from plugin.conftest import template  # noqa: E402, F401

PLUGIN = Path(__file__).with_name("plugin")
USUAL = ("test_client_calls", "test_prompts", "test_search_logged_models", "test_inputs", "test_what_is_fluent_and_rare")
# Calls that are answered otherwise over HTTP, by script and what they begin with, and why.
OTHERWISE = {
    "test_search_logged_models": [
        ("datasets=[{'dataset_name': 'd", "MLflow's server takes a digest that is not given for an empty one"),
        ("\"model_type != 'agent'\"", "absent and empty are one here"),
        ("\"source_run_id != 'x'\"", "absent and empty are one here"),
        ("order_by=[{'field_name': 'model_type'", "absent and empty are one here"),
        ("order_by=[{'field_name': 'source_run_id'", "absent and empty are one here"),
    ],
    "test_logged_models": [("''", "paths that no endpoint answers are refused as JSON")],
    "test_long_values": [("get_run", "kept whole: the server's environment says nothing")],
    "test_recorded_models": [("get_run", "the same JSON, otherwise spaced")],
    "test_commands": [("runs create", "names are random")],
    # Section "Sources": versions of MLflow differ, and the older ones' rule holds.
    "test_versions": [("'p/q'", "sources are checked as by MLflow 3.11")],
}
# Scripts that are about a rule of which ours differs; a comparison of them would say nothing.
LEFT_OUT = {
    "experiments.test_artifact_locations": "MLflow refuses hosts that its server would connect to",
    "registry.test_sources": "sources are checked as by MLflow 3.11",
    "registry.test_logged_models": "sources are checked as by MLflow 3.11",
}
# Texts of versions that only Python takes for numbers.
NO_NUMBERS = ("1_0", "０１", "１")


def scripts():
    found = {}
    for file in sorted(PLUGIN.glob("test_differential_*.py")):
        for name, test in vars(importlib.import_module(f"plugin.{file.stem}")).items():
            if script := getattr(test, "script", None):
                found[f"{file.stem.removeprefix('test_differential_')}.{name}"] = script
    assert found.keys() >= LEFT_OUT.keys(), LEFT_OUT.keys() - found.keys()
    return {name: script for name, script in found.items() if name not in LEFT_OUT}


def is_otherwise(script, told):
    """Whether a difference is a known one."""
    call = told.partition("\n")[0]
    if any(text in call for text in NO_NUMBERS) or "too many 500 error" in told:
        return True
    return any(begin in call for begin, _ in OTHERWISE.get(script, ()))


@pytest.fixture(scope="module")
def mlflows():
    """MLflow's server, which takes seconds to start."""
    command = [sys.executable, "-W", "ignore", PLUGIN / "mlflow_server.py"]
    # Its crashes, which are answers here, come with tracebacks.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = process.stdout.readline().strip()
        assert port, "MLflow's server does not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def sides(tmp_path, template, mlflows, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRUNCATE_LONG_VALUES", raising=False)
    # A crash of MLflow's server is an answer here.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    database = shutil.copy(template, tmp_path / "mlflow.db")
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
    requests.post(f"{mlflows}/begin", params={"folder": str(tmp_path)}, timeout=60).raise_for_status()
    ours = Server(tmp_path / "store", "--no-ui")
    words = [(tmp_path, "<folder>")]
    yield differential.Side(mlflows, words), differential.Side(ours.uri, words)
    differential.forget()
    ours.stop()


ALL = scripts()


@pytest.mark.parametrize("name", [name for name in ALL if os.environ.get("RUNLODE_BESIDE") == "all" or name.partition(".")[2] in USUAL])
def test_answers_are_those_of_mlflows_server(sides, name):
    for side in sides:
        ALL[name](side)
        differential.forget()
    told = [text for text in differential.differences(*sides) if "does not differ any more" not in text]
    told = [text for text in told if not is_otherwise(name.partition(".")[2], text)]
    assert not told, f"{len(told)} differences\n" + "\n".join(told)
