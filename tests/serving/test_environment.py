"""Models in environments of their own, made of what their files list. Needs the package registry; without it, skipped."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import COMMAND, Served

MLMODEL = """flavors:
  python_function:
    loader_module: greets
    code: code
    env: {virtualenv: python_env.yaml}
"""
# Without columns a model needs neither numpy nor pandas.
GREETS = """import sys
import six


class Greets:
    def predict(self, data):
        return {"greeting": "hello " + six.ensure_text(data["prompt"]), "prefix": sys.prefix, "six": six.__version__}


def _load_pyfunc(path):
    return Greets()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment")
    wanted = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder / "wheels"), "six==1.16.0"]
    if subprocess.run(wanted, capture_output=True).returncode != 0:
        pytest.skip("there is no package registry")
    model = folder / "model"
    (model / "code").mkdir(parents=True)
    (model / "MLmodel").write_text(MLMODEL)
    (model / "code" / "greets.py").write_text(GREETS)
    (model / "requirements.txt").write_text("six==1.16.0\n")
    version = ".".join(map(str, sys.version_info[:3]))
    (model / "python_env.yaml").write_text(f"python: {version}\ndependencies:\n- -r requirements.txt\n")
    return model


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNLODE_ENV_ROOT", str(tmp_path / "envs"))
    # The Python of this version may have no name of its own on the search path.
    base = os.path.dirname(os.path.realpath(sys.executable))
    monkeypatch.setenv("PATH", base + os.pathsep + os.environ["PATH"])
    return tmp_path / "envs"


def test_a_model_is_served_in_its_own_environment(model, root):
    for _ in range(2):
        with Served(model, "--env-manager", "virtualenv") as server:
            answer = server.post(json.dumps({"prompt": "x"}))
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert told["greeting"] == "hello x" and told["six"] == "1.16.0"
            assert told["prefix"].startswith(str(root)), told
    # The second server found the first one's.
    assert len([each for each in root.iterdir() if each.is_dir()]) == 1


@pytest.mark.parametrize("manager", ["virtualenv", "uv"])
def test_a_model_is_scored_in_its_own_environment(manager, model, root):
    if manager == "uv" and shutil.which("uv") is None:
        pytest.skip("there is no uv")
    done = subprocess.run(
        [COMMAND, "models", "predict", str(model), "-t", "json", "--env-manager", manager],
        input=json.dumps({"prompt": "x"}), capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["greeting"] == "hello x"


def test_an_environment_that_cannot_be_made_is_an_error_of_the_start(model, root, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "requirements.txt").write_text("six==99.99.99\n")
    with pytest.raises(RuntimeError, match="99.99.99"):
        Served(broken, "--env-manager", "virtualenv")
    (broken / "python_env.yaml").unlink()
    with pytest.raises(RuntimeError, match="there is no such file"):
        Served(broken, "--env-manager", "virtualenv")
    (broken / "MLmodel").write_text(MLMODEL.replace("    env: {virtualenv: python_env.yaml}\n", ""))
    with pytest.raises(RuntimeError, match="--env-manager local"):
        Served(broken, "--env-manager", "virtualenv")
