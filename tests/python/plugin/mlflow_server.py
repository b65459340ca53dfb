"""MLflow's own server in a process that is given one data base after the other, because it takes seconds to start.

``python mlflow_server.py`` prints its port. ``POST /begin?folder=PATH`` makes it the server of ``PATH/mlflow.db``, which works
in that folder.
"""

import os
import socket

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Read where MLflow's modules are loaded.
os.environ["_MLFLOW_SERVER_FILE_STORE"] = "sqlite://"
os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"

import uvicorn  # noqa: E402
from mlflow.server import constants, handlers  # noqa: E402
from mlflow.server.fastapi_app import app  # noqa: E402


def begin(folder: str):
    os.chdir(folder)
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/mlflow.db"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/mlartifacts"
    handlers._tracking_store = handlers._model_registry_store = handlers._artifact_repo = None
    return {}


def main():
    app.add_api_route("/begin", begin, methods=["POST"])
    # Before MLflow's routes, of which the last one takes every path.
    app.router.routes.insert(0, app.router.routes.pop())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off")).run(sockets=[listening])


if __name__ == "__main__":
    main()
