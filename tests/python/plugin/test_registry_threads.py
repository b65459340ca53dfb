"""The first call of the registry, from several threads at once."""

import subprocess
import sys

import pytest

pytest.importorskip("mlflow")

# MLflow publishes its table of registry stores before plugins are in it. A process of its own: the table is global.
SCRIPT = """
import sys, threading
import mlflow
from mlflow.tracking._model_registry import utils

uri, first = sys.argv[1:]  # other tests use the same store: models are named after the case
mlflow.set_tracking_uri(uri)
if first == "tracking":
    mlflow.set_experiment("threads")
entered = threading.Event()
register = utils.ModelRegistryStoreRegistry.register_entrypoints

def slowly(self):
    # The other threads come while the table lacks the plugins.
    entered.wait(0.2)
    register(self)

utils.ModelRegistryStoreRegistry.register_entrypoints = slowly
failed, barrier = [], threading.Barrier(8)

def work(number):
    barrier.wait()
    try:
        mlflow.MlflowClient().create_registered_model(f"threads-{first}-{number}")
    except Exception as error:
        failed.append(repr(error))

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failed, failed
assert len(mlflow.MlflowClient().search_registered_models(f"name LIKE 'threads-{first}-%'")) == 8
"""


@pytest.mark.parametrize("first", ["tracking", "registry"])
def test_the_first_use_of_the_registry_by_many_threads(uri, first):
    done = subprocess.run([sys.executable, "-c", SCRIPT, uri, first], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
