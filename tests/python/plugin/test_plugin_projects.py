"""Projects that MLflow launches on a store: the command finds its run, whether or not its environment has our package."""

import os
import sys

import mlflow
import pytest
from runlode.mlflow_plugin._projects import has_package

SCRIPT = """import os
import mlflow
assert os.environ["MLFLOW_TRACKING_URI"].startswith({begin!r}), os.environ["MLFLOW_TRACKING_URI"]
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5, step=3)
    mlflow.log_text("words", "said.txt")
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    return folder


@pytest.mark.parametrize("begin", ["http://127.0.0.1:", "runlode:"])
def test_a_command_reaches_its_run(begin, client, project, monkeypatch):
    if begin.startswith("http"):
        # The package is on the path of this process only.
        monkeypatch.delenv("PYTHONPATH", raising=False)
    (project / "logs.py").write_text(SCRIPT.format(begin=begin))
    launched = mlflow.projects.run(str(project), entry_point="logs.py", env_manager="local")
    run = client.get_run(launched.run_id)
    assert (run.data.metrics, run.info.status) == ({"loss": 0.5}, "FINISHED")
    assert run.data.tags["mlflow.project.entryPoint"] == "logs.py"
    assert [f.path for f in client.list_artifacts(launched.run_id)] == ["said.txt"]


def test_environments_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name, package in (("with", "runlode-1.0.dist-info"), ("without", "other-1.0.dist-info")):
        (tmp_path / f"a {name}" / "lib/python3.12/site-packages" / package).mkdir(parents=True)
        (tmp_path / f"a {name}" / "bin").mkdir()
        (tmp_path / f"a {name}" / "bin/python").write_text("#!/bin/sh\n")
        (tmp_path / f"a {name}" / "bin/python").chmod(0o755)
    assert has_package(f"source '{tmp_path}/a with/bin/activate' && python x.py")
    assert not has_package(f"source '{tmp_path}/a without/bin/activate' && python x.py")
    assert not has_package("source /c/etc/profile.d/conda.sh && conda activate x 1>&2 && python x.py")
    monkeypatch.setenv("PATH", f"{tmp_path}/a with/bin")
    assert has_package("python x.py") and has_package("echo 'open quote")
    monkeypatch.setenv("PATH", f"{tmp_path}/a without/bin")
    assert not has_package("python x.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_package("python x.py")
