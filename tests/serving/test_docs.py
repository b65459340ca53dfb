"""docs/models.md and docs/serving.md: every command in them runs, as it stands there."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from conftest import COMMAND

DOCS = pathlib.Path(__file__).parents[2] / "docs"
# A model without MLflow: the page's example asks it for {"x": 1.5}.
MLMODEL = """flavors:
  python_function: {loader_module: doubles, code: code, env: {virtualenv: python_env.yaml}, python_version: "3.11"}
signature:
  inputs: '[{"type": "double", "name": "x"}]'
  outputs: '[{"type": "double"}]'
"""
DOUBLES = """class Doubles:
    def predict(self, data, params=None):
        return data["x"] * 2


def _load_pyfunc(path):
    return Doubles()
"""


def blocks(page):
    """The lines of each shell block, without their comments."""
    text = (DOCS / page).read_text()
    found = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [[re.sub(r"\s+# .*", "", line) for line in block.splitlines()] for block in found]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the commands name: a model, a store with runs and versions, the command itself."""
    import mlflow
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("docs")
    (folder / "model" / "code").mkdir(parents=True)
    (folder / "model" / "MLmodel").write_text(MLMODEL)
    (folder / "model" / "python_env.yaml").write_text("python: 3.11.7\n")
    (folder / "model" / "code" / "doubles.py").write_text(DOUBLES)
    (folder / "bin").mkdir()
    (folder / "bin" / "runlode").symlink_to(shutil.which(COMMAND))
    process = subprocess.Popen(
        [COMMAND, "serve", str(folder / "store"), "-p", "0", "--json", "--no-ui"], stdout=subprocess.PIPE, text=True
    )
    try:
        client = MlflowClient("http://" + json.loads(process.stdout.readline())["address"])
        mlflow.set_tracking_uri(client.tracking_uri)
        client.create_registered_model("fraud")
        run = client.create_run(client.create_experiment("fraud"))
        client.log_metric(run.info.run_id, "auc", 0.9)
        client.log_artifacts(run.info.run_id, str(folder / "model"), "model")
        model = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run.info.run_id)
        client.log_model_artifacts(model.model_id, str(folder / "model"))
        client.finalize_logged_model(model.model_id, "READY")
        for _ in range(7):
            client.create_model_version("fraud", f"models:/{model.model_id}", run.info.run_id, model_id=model.model_id)
        client.set_registered_model_alias("fraud", "champion", "7")
        yield folder, client, run.info.run_id, model.model_id
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def run(place, line):
    """A command of a page: its exit status and what it wrote."""
    folder, _, run_id, model_id = place
    # Names of the page that stand for what the reader has.
    line = line.replace("models:/m-0123...", "models:/" + model_id).replace("RUN", run_id)
    path = f"{folder / 'bin'}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": "runlode://" + str(folder / "store")}
    if "models serve" not in line:
        done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr
    return subprocess.Popen(
        ["sh", "-c", "exec " + line], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )


def test_commands_of_the_page_on_models(place):
    told = {}
    for line in [line for block in blocks("models.md") for line in block]:
        status, out, err = run(place, line)
        # Versions of one model do not differ.
        assert status == 0, (line, out, err)
        told[line.split("models ")[-1].split()[0] if "lineage" not in line else "lineage"] = out
    assert {"inspect", "diff", "register", "describe", "alias", "stage", "wait", "lineage"} <= set(told)
    folder, client, run_id, model_id = place
    version = client.get_model_version("fraud", "7")
    assert (version.description, version.current_stage) == ("trained on May", "Production")
    assert client.get_model_version("fraud", "8").tags["team"] == "risk"
    assert run_id in told["lineage"] and model_id in told["lineage"], told["lineage"]


def test_commands_of_the_page_on_serving(place):
    count = 0
    for block in blocks("serving.md"):
        first, *rest = block
        assert "models serve" in first, block
        server = run(place, first.replace("-p 5000", "-p 0") if "-p " in first else first + " -p 0")
        try:
            said = server.stdout.readline()
            found = re.search(r"on http://(\S+?)/invocations", said)
            assert found, (first, said)
            for line in rest:
                status, out, err = run(place, line.replace("127.0.0.1:5000", found[1]))
                assert (status, out) == (0, '{"predictions": [{"x": 3.0}]}'), (line, out, err)
                count += 1
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0, first
            server.stdout.close()
    assert count >= 1
