"""MLflow on a store that this process holds; every test has its own."""

import logging
import os

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
    os.environ.pop(name, None)


@pytest.fixture
def uri(tmp_path):
    return f"runlode://{tmp_path}/store"


@pytest.fixture
def client(uri):
    import mlflow

    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient()
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def store(client):
    return client._tracking_client.store


@pytest.fixture
def registry(client):
    return client._get_registry_client().store


@pytest.fixture
def experiment(client):
    return client.create_experiment("experiment")


@pytest.fixture
def run(client, experiment):
    return client.create_run(experiment).info.run_id


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty data base of MLflow."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("template")
    SqlAlchemyStore(f"sqlite:///{folder}/empty.db", str(folder / "artifacts"))._dispose_engine()
    return folder / "empty.db"


@pytest.fixture
def sides(tmp_path, template, monkeypatch):
    """MLflow over SQLite and over a store of ours, both empty."""
    from .differential import forget, pair

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRUNCATE_LONG_VALUES", raising=False)
    logging.disable(logging.WARNING)
    yield pair(tmp_path, template)
    forget()
    logging.disable(logging.NOTSET)
