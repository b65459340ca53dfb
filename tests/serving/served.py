"""The models that are served: each is saved by MLflow, once for a run of the tests."""
import datetime
import pathlib
import sys

import numpy as np
import pandas as pd

import mlflow
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array, ColSpec, Map, Object, Property, TensorSpec


def shown(value):
    """A value with its types, as JSON has it."""
    if isinstance(value, pd.DataFrame):
        columns = [[shown(name), str(series.dtype), [shown(cell) for cell in series.tolist()]] for name, series in value.items()]
        return {"frame": columns, "index": [shown(label) for label in value.index.tolist()]}
    if isinstance(value, np.ndarray):
        dtype = "U" if value.dtype.kind == "U" else "S" if value.dtype.kind == "S" else str(value.dtype)
        return {"array": dtype, "shape": list(value.shape), "cells": [shown(cell) for cell in value.ravel().tolist()]}
    if isinstance(value, dict):
        return {"dict": [[shown(key), shown(each)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [shown(each) for each in value]}
    return [type(value).__name__, repr(value)]


class Echo(PythonModel):
    """Answers what it was handed."""

    def predict(self, context, model_input, params=None):
        return {"input": shown(model_input), "params": shown(params)}


class Failing(PythonModel):
    """Does what its input says."""

    def predict(self, context, model_input, params=None):
        import os
        import signal
        import time

        from mlflow.exceptions import MlflowException
        from mlflow.protos import databricks_pb2

        what = str(model_input["what"].iloc[0])
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            sys.exit(3)
        if what == "_exit":
            os._exit(4)
        if what == "value":
            raise ValueError("no such value")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what.startswith("code "):
            raise MlflowException("told so", error_code=databricks_pb2.ErrorCode.Value(what[5:]))
        if what == "unknown code":
            raise MlflowException("told so", error_code=123456)
        if what == "more":
            raise MlflowException("told so", error_code=databricks_pb2.BAD_REQUEST, why="because")
        if what.startswith("sleep "):
            time.sleep(float(what[6:]))
        if what == "pid":
            return os.getpid()
        return ["done"] * len(model_input)


class Answering(PythonModel):
    """Answers a value of the kind that its input names."""

    def predict(self, context, model_input, params=None):
        return ANSWERS[str(model_input["what"].iloc[0])]()


class Forming(PythonModel):
    """Answers each row by itself, in the form that a parameter names; it takes its time, so that requests wait."""

    def predict(self, context, model_input, params=None):
        import time

        time.sleep(0.02)
        x = model_input["x"]
        return {
            "frame": lambda: pd.DataFrame({"twice": x * 2, "text": x.map(str), "small": x.astype("float32"), "is": x > 1}),
            "series": lambda: x * 2,
            "named": lambda: (x * 2).rename("y"),
            "array": lambda: x.to_numpy() * 2,
            "matrix": lambda: np.stack([x, -x], axis=1).astype("float32"),
            "dict": lambda: {"a": x.to_numpy(), "b": np.stack([x, x], axis=1)},
            "list": lambda: x.tolist(),
            "texts": lambda: np.array([str(each) for each in x]),
        }[params["form"]]()


TEXTS = ["a", "", "ä", "\"\\\n", "\U0001f600"]


def numbers():
    """A hundred floats, each with another number of digits."""
    special = [0.0, -0.0, 1e16, 1e-5, 1e300, 5e-324, float("nan"), float("inf"), float("-inf"), 0.1]
    return np.array([*special, *np.random.default_rng(3).normal(size=90)])


ANSWERS = {
    "array": lambda: np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "int8": lambda: np.array([1, -1], dtype="int8"),
    "float32": lambda: np.array([0.1, 16777217], dtype="float32"),
    "bools": lambda: np.array([True, False]),
    "texts": lambda: np.array(["a", "ä"]),
    "bytes array": lambda: np.array([b"ab", b"c"]),
    "objects": lambda: np.array([1, "x", None, np.float32(0.1), b"ab"], dtype=object),
    "scalar array": lambda: np.array(3),
    "frame": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None], "d": [True, False]}),
    "frame of dates": lambda: pd.DataFrame({"t": pd.to_datetime(["2024-01-02", None])}),
    "nullable": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
    "category": lambda: pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
    "indexed frame": lambda: pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    "series": lambda: pd.Series([1, 2]),
    "named series": lambda: pd.Series([1.5, 2], name="y"),
    "dict of arrays": lambda: {"label": np.array([1, 2]), "p": np.array([[0.1, 0.9]])},
    "dict keys": lambda: {1: "a", 2.5: "b", None: "c", False: "d"},
    "list": lambda: [1, 2.5, "x", None, True, [1], {"a": 1}],
    "tuple": lambda: (1, 2),
    "text": lambda: "tëxt\n\"",
    "none": lambda: None,
    "number": lambda: 1e16,
    "big": lambda: 2**70,
    "numpy numbers": lambda: [np.int64(1), np.float32(0.1), np.bool_(True)],
    "bytes": lambda: bytes(range(100)),
    "date": lambda: datetime.date(2024, 1, 2),
    "datetime": lambda: datetime.datetime(2024, 1, 2, 3, 4, 5),
    "time": lambda: datetime.time(3, 4, 5),
    "timestamp": lambda: pd.Timestamp("2024-01-02T03:04:05.678901234"),
    "not a time": lambda: [pd.NaT],
    "datetime64": lambda: np.datetime64("2024-01-02"),
    "datetime64 ns": lambda: np.array(["2024-01-02"], dtype="M8[ns]"),
    "datetime64 s": lambda: np.array(["2024-01-02"], dtype="M8[s]"),
    # Long ones cross to the server as columns.
    "long array": lambda: numbers().reshape(50, 2),
    "long columns": lambda: np.asfortranarray(numbers().reshape(50, 2)),
    "long slice": lambda: np.arange(1000)[::-7],
    "long cube": lambda: np.arange(120, dtype="uint8").reshape(4, 5, 6),
    "long float32": lambda: numbers().astype("float32"),
    "long float16": lambda: np.linspace(-1, 1, 100).astype("float16"),
    "long uint64": lambda: np.arange(100, dtype="uint64") + 2**63,
    "long bools": lambda: np.arange(100) % 3 == 0,
    "long texts": lambda: np.array(TEXTS * 20),
    "long objects": lambda: np.array([*TEXTS * 20, None], dtype=object),
    "long big-endian": lambda: np.arange(100, dtype=">i4"),
    "long dates": lambda: np.arange(100).astype("M8[s]"),
    "long empty": lambda: np.empty((0, 100)),
    "long rows of nothing": lambda: np.empty((100, 0)),
    "long frame": lambda: pd.DataFrame({"i": range(100), "f": numbers(), "s": TEXTS * 20, "b": np.arange(100) % 2 == 0}),
    "long frame of one type": lambda: pd.DataFrame(numbers().reshape(50, 2), columns=["ä", 7]),
    "long frame of objects": lambda: pd.DataFrame({"o": pd.Series(TEXTS * 20, dtype=object), "m": [1, "x"] * 50}),
    "long frame with gaps": lambda: pd.DataFrame({"s": ["a", None] * 50, "i": pd.array([1, None] * 50, dtype="Int64")}),
    "long frame of dates": lambda: pd.DataFrame({"t": pd.to_datetime(["2024-01-02", None] * 50)}),
    "long frame of small types": lambda: pd.DataFrame({"a": np.arange(100, dtype="int8"), "b": numbers().astype("float32")}),
    "repeated columns": lambda: pd.DataFrame([[1, 2.5], [3, 4.5]], columns=["a", "a"]),
    "alike columns": lambda: pd.DataFrame([[1, 2.5], [3, 4.5]], columns=[0, "0"]),
    "levels of columns": lambda: pd.DataFrame([[1, 2.5]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
    "surrogates": lambda: pd.DataFrame({"s": pd.Series(["\ud800", "x"], dtype=object)}),
    "zero in a text": lambda: pd.DataFrame({"s": ["a\0b", "\x1f\x7f\u2028"]}),
    "no rows": lambda: pd.DataFrame({"a": [], "b": []}),
    "no columns": lambda: pd.DataFrame(index=range(3)),
    "long series": lambda: pd.Series(numbers(), name=3),
    "long series of texts": lambda: pd.Series(TEXTS * 20),
    "long dict of arrays": lambda: {"label": np.arange(100), "p": numbers().reshape(50, 2), "s": np.array(["x", "y"])},
    "masked": lambda: np.ma.masked_array(np.arange(100), np.arange(100) % 2),
    # These end MLflow's request in a crash.
    "set": lambda: {1, 2},
    "generator": lambda: (each for each in [1]),
    "complex": lambda: 1j,
    "decimal": lambda: __import__("decimal").Decimal("1.5"),
    "timedelta": lambda: datetime.timedelta(1),
    "missing in a list": lambda: [pd.NA],
    "frame in a dict": lambda: {"a": pd.DataFrame({"b": [1]})},
    "tuple keys": lambda: {(1, 2): 3},
    "numpy keys": lambda: {np.int64(1): 3},
}
UNENCODABLE = list(ANSWERS)[list(ANSWERS).index("set"):]


def scalars():
    types = {"i": "integer", "l": "long", "f": "float", "d": "double", "b": "boolean", "s": "string"}
    columns = [ColSpec(DataType[kind], name) for name, kind in types.items()]
    columns += [ColSpec(DataType.binary, "bin", required=False), ColSpec(DataType.datetime, "t", required=False)]
    params = [
        ParamSpec("temp", DataType.double, 0.5),
        ParamSpec("n", DataType.integer, 3),
        ParamSpec("stop", DataType.string, ["a"], shape=(-1,)),
        ParamSpec("flag", DataType.boolean, False),
    ]
    return ModelSignature(Schema(columns), params=ParamSchema(params))


def nested():
    obj = Object([Property("x", DataType.double), Property("y", DataType.string, required=False)])
    return ModelSignature(
        Schema(
            [
                ColSpec(DataType.string, "s"),
                ColSpec(Array(DataType.long), "arr"),
                ColSpec(obj, "obj", required=False),
                ColSpec(Map(Array(DataType.string)), "mp", required=False),
                ColSpec(AnyType(), "any", required=False),
            ]
        )
    )


SIGNATURES = {
    "untyped": lambda: None,
    "scalars": scalars,
    "nested": nested,
    "unnamed": lambda: ModelSignature(Schema([ColSpec(DataType.double), ColSpec(DataType.double)])),
    "params only": lambda: ModelSignature(params=ParamSchema([ParamSpec("n", DataType.integer, 3)])),
    "tensors": lambda: ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, 2), "a"), TensorSpec(np.dtype("int64"), (-1,), "b")])
    ),
    "matrix": lambda: ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 3))])),
}


# Signatures that a test has made, by the name of their model.
BY_CHANCE = {}
# What saves other models that a test has, by name.
OTHERS = {}


def hinted():
    """A model whose signature comes from its code."""

    class Hinted(PythonModel):
        def predict(self, model_input: list[str], params=None) -> list[str]:
            return [text.upper() for text in model_input]

    return Hinted()


def sklearn_model():
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    x, y = make_classification(200, 20, random_state=0)
    frame = pd.DataFrame(x, columns=["x%d" % place for place in range(20)])
    return LogisticRegression().fit(frame, y), frame, y


def save(name, path):
    """Saves a model of one of the names in `NAMES`."""
    if name in OTHERS:
        OTHERS[name](pathlib.Path(path))
    elif name == "sklearn":
        model, frame, labels = sklearn_model()
        signature = mlflow.models.infer_signature(frame, labels)
        mlflow.sklearn.save_model(model, path, signature=signature, serialization_format="cloudpickle")
    elif name == "hinted":
        mlflow.pyfunc.save_model(path, python_model=hinted())
    elif name == "forming":
        params = ParamSchema([ParamSpec("form", DataType.string, "array")])
        signature = ModelSignature(Schema([ColSpec(DataType.double, "x")]), params=params)
        mlflow.pyfunc.save_model(path, python_model=Forming(), signature=signature, code_paths=[__file__])
    elif name in ("failing", "answering"):
        signature = ModelSignature(Schema([ColSpec(DataType.string, "what")]))
        model = Failing() if name == "failing" else Answering()
        mlflow.pyfunc.save_model(path, python_model=model, signature=signature, code_paths=[__file__])
    else:
        signature = BY_CHANCE[name] if name in BY_CHANCE else SIGNATURES[name]()
        mlflow.pyfunc.save_model(path, python_model=Echo(), signature=signature, code_paths=[__file__])


NAMES = [*SIGNATURES, "sklearn", "hinted", "failing", "answering", "forming"]
