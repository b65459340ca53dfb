"""Models with signatures by chance, asked by chance: each answer beside that of MLflow's scoring server.

The signatures and requests are those of `tests/python/models/enforcement.py`, which compares what a model is handed; here
all of a request's way is compared. `RUNLODE_SERVING_MANY`: models x requests of each, such as 40x100 (knob).
"""
import json
import os
import pathlib
import sys

import pytest
import served
import vectors
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, Schema
from test_scoring import compare, theirs  # noqa: F401 (a fixture)

from conftest import Served

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "python" / "models"))
import enforcement  # noqa: E402

MODELS, REQUESTS = (int(part) for part in os.environ.get("RUNLODE_SERVING_MANY", "4x60").split("x"))


def signature(maker, seed):
    """The inputs of a signature, and its params."""
    kind = ["columns", "nested", "tensors", "columns", "none"][seed % 5]
    if kind == "none":
        return None, None
    inputs = maker.tensors() if kind == "tensors" else maker.columns(kind == "nested")
    return inputs, maker.params()[0] if seed % 2 else None


def requests(maker, inputs, specs):
    columns = inputs or maker.columns(True)
    for _ in range(REQUESTS):
        if columns[0]["type"] != "tensor" and maker.chance(0.15):
            yield vectors.CSV, maker.csv(columns).encode()
            continue
        asked = maker.body(columns)
        if maker.chance(0.3):
            given = maker.params()[1]
            # Mostly params that the model has.
            names = [spec["name"] for spec in specs or []]
            asked["params"] = dict(zip(names, given.values())) if maker.chance(0.7) else given
        yield vectors.JSON, json.dumps(asked).encode()


@pytest.mark.parametrize("seed", range(MODELS))
def test_models_by_chance_are_served_as_by_mlflow(seed, saved, theirs, tmp_path):  # noqa: F811
    maker = enforcement.Maker(1000 + seed)
    inputs, specs = signature(maker, seed)
    name = f"by chance {seed}"
    schema = Schema.from_json(json.dumps(inputs)) if inputs else None
    params = ParamSchema.from_json(json.dumps(specs)) if specs else None
    served.BY_CHANCE[name] = ModelSignature(inputs=schema, params=params) if schema or params else None
    with Served(saved(name)) as server:
        compare(server, name, theirs, list(requests(maker, inputs, specs)))


FORMS = ["frame", "series", "named", "array", "matrix", "dict", "list", "texts"]


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_are_predicted_together_are_answered_as_alone(form, serve):
    import threading

    alone, together = serve("forming"), serve("forming", "--batch", "--threads", "1")
    bodies = [
        json.dumps({"inputs": {"x": [number / 7, number * 1e10][: 1 + number % 2]}, "params": {"form": form}})
        for number in range(24)
    ]
    expected = [alone.post(body).text for body in bodies]
    before, answers = together.metric("batches_total"), {}

    def ask(number):
        import requests

        headers = {"Content-Type": "application/json"}
        answers[number] = requests.post(together.url + "/invocations", data=bodies[number], headers=headers).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(bodies))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [answers[number] for number in range(len(bodies))] == expected
    assert together.metric("batches_total") > before
