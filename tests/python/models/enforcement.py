"""Cases of signature enforcement, and what MLflow makes of each: one line of JSON a case on standard output.

    enforcement.py SEED COUNT

A case is a signature and an input (the body of a request, or a typed frame for a library call). MLflow's own scoring
server parses it and its PyFuncModel enforces it; a model that notes what it is handed stands in the place of a real one.
"""

import datetime
import json
import logging
import math
import random
import sys
import warnings

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types import ParamSchema, Schema
from tables import table

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

SCALARS = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
MISSING = object()


class Noting:
    """A model that keeps what it is handed."""

    def __init__(self):
        self.seen = None

    def predict(self, data, params=None):
        self.seen = (data, params)
        return []


def cell(value):
    """A value as a text that both sides can write."""
    if value is None:
        return "None"
    if value is pd.NaT:
        return "NaT"
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return f"{dtype_name(value.dtype)}({cell(value.item())})"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else "f:" + repr(value)
    if isinstance(value, str):
        return "s:" + value
    if isinstance(value, (bytes, bytearray)):
        return "b:" + bytes(value).hex()
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[ns]")
        return "NaT" if np.isnat(value) else "t:" + str(value.astype("int64"))
    if isinstance(value, pd.Timestamp):
        return "t:" + str(value.value)
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return "array(" + cell(plain(value[()])) + ")"
        return "array[" + ", ".join(cell(plain(item)) for item in value) + "]"
    if isinstance(value, list):
        return "[" + ", ".join(cell(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {cell(item)}" for key, item in value.items()) + "}"
    if isinstance(value, datetime.datetime):
        return "t:" + str(pd.Timestamp(value).as_unit("ns").value)
    if isinstance(value, datetime.date):
        return "d:" + value.isoformat()
    return "?" + repr(value)


def dtype_name(dtype):
    if isinstance(dtype, pd.StringDtype):
        return "str"
    return {"U": "str", "S": "bytes", "O": "object"}.get(dtype.kind, str(dtype))


def plain(element):
    """An element of an array of one type as Python has it."""
    return element.item() if isinstance(element, np.generic) and not isinstance(element, np.datetime64) else element


def tensor(array):
    cells = [cell(x if array.dtype == object else plain(x)) for x in array.reshape(-1)]
    return {"shape": list(array.shape), "dtype": dtype_name(array.dtype), "cells": cells}


def column(cells):
    return [cell(x if cells.dtype == object else plain(x)) for x in cells]


def shown(data):
    """What the model was handed."""
    if isinstance(data, pd.DataFrame):
        columns = [
            {"name": str(name), "dtype": dtype_name(data.iloc[:, at].dtype), "cells": column(data.iloc[:, at])}
            for at, name in enumerate(data.columns)
        ]
        shown = {"frame": columns, "rows": len(data)}
        if not (data.index.dtype == "int64" and data.index.equals(pd.RangeIndex(len(data)))) and len(data):
            # A label of several levels is a list of them.
            shown["index"] = [cell(list(label) if isinstance(label, tuple) else label) for label in data.index.tolist()]
        return shown
    if isinstance(data, np.ndarray):
        return {"tensor": tensor(data)}
    if isinstance(data, dict) and data and all(isinstance(x, np.ndarray) for x in data.values()):
        return {"tensors": [[name, tensor(x)] for name, x in data.items()]}
    return {"value": cell(data)}


def outcome(call, model):
    model.seen = None
    try:
        call()
    except MlflowException as error:
        failed = getattr(error, "error_class", None) == "SCHEMA_ENFORCEMENT_FAILED"
        code = {"BAD_REQUEST": "BR", "INVALID_PARAMETER_VALUE": "SE" if failed else "IP"}
        return {"refused": code.get(error.error_code, error.error_code), "why": str(error.message)[-200:]}
    except Exception as error:
        return {"refused": "crash", "why": repr(error)[:200]}
    data, params = model.seen
    answer = shown(data)
    if params:
        answer["params"] = [[name, cell(value)] for name, value in params.items()]
    return answer


# What cells hold: mostly what the type takes, and what it should not.
GOOD = {
    "boolean": [True, False],
    "integer": [0, 1, -5, 2147483647],
    "long": [0, 1, 7, -(2**63), 9007199254740993],
    "float": [0.5, 1.5, -0.25, 3],
    "double": [0.5, 1e300, -0.0, 2, 0.1],
    "string": ["a", "", "x y", "é"],
    "binary": ["AQID", "", "AQ=="],
    "datetime": ["2024-01-02", "2024-01-02T03:04:05", "2024-12-31T23:59:59.123456"],
}
NASTY = [
    None, True, False, 0, 1, -1, 5, 256, 2147483648, -2147483649, 2**63, 2**64, -(2**63) - 1, 1.0, 1.5, -1.9, 1e300,
    float("nan"), float("inf"), "7", "1.5", "x", "", " 7 ", "1_0", "NaN", "inf", "false", "0", "2024-01-02",
    "2024-01-02T03:04:05Z", "01/02/2024", "AQI", "ä", [], [1], ["a"], {}, {"k": 1}, [1, [2]],
]
KINDS = {
    "float32": [0.5, 1, -2.25], "float64": [0.5, 1e300, 3], "int32": [1, -2, 3], "int64": [1, -2, 2**40],
    "uint8": [0, 1, 255], "bool": [True, False], "str": ["a", "bc"], "float16": [0.5, 1], "int8": [1, -3],
}


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def pick(self, items):
        return self.random.choice(items)

    # Types and their values.

    def data_type(self, depth=0):
        form = self.pick(["scalar"] * 6 + ["array", "object", "map", "any"]) if depth < 2 else "scalar"
        if form == "scalar":
            return {"type": self.pick(SCALARS)}
        if form == "array":
            return {"type": "array", "items": self.data_type(depth + 1)}
        if form == "map":
            return {"type": "map", "values": self.data_type(depth + 1)}
        if form == "any":
            return {"type": "any"}
        properties = {}
        for name in self.random.sample("xyz", self.random.randint(1, 2)):
            properties[name] = {**self.data_type(depth + 1), "required": self.chance(0.7)}
        return {"type": "object", "properties": dict(sorted(properties.items()))}

    def value(self, kind, nasty=0.1):
        if self.chance(nasty):
            return self.pick(NASTY)
        form = kind["type"]
        if form in GOOD:
            return self.pick(GOOD[form])
        if form == "array":
            return [self.value(kind["items"], nasty / 2) for _ in range(self.random.randint(0, 3))]
        if form == "map":
            return {key: self.value(kind["values"], nasty / 2) for key in self.random.sample("klm", self.random.randint(0, 2))}
        if form == "any":
            return self.pick(NASTY)
        return {
            name: self.value(of, nasty / 2)
            for name, of in kind["properties"].items()
            if of["required"] or self.chance(0.5)
        }

    def columns(self, nested):
        count = self.random.randint(1, 3)
        named = self.chance(0.85)
        out = []
        for at in range(count):
            kind = self.data_type() if nested else {"type": self.pick(SCALARS)}
            if named:
                out.append({**kind, "name": "abc"[at], "required": self.chance(0.8)})
            else:
                out.append({**kind, "required": True})
        return out

    def tensors(self):
        count = self.pick([1, 1, 2])
        out = []
        for at in range(count):
            shape = self.pick([[-1], [-1, 2], [-1, 1], [2, 2], [-1, 2, 2], [-1, -1], [-1, 3]])
            spec = {"type": "tensor", "tensor-spec": {"dtype": self.pick(list(KINDS)), "shape": shape}}
            if count > 1 or self.chance(0.4):
                spec = {"name": "ab"[at], **spec}
            out.append(spec)
        return out

    def array(self, kind, shape, rows, nasty=0.05):
        def build(dimensions):
            if not dimensions:
                return self.pick(NASTY) if self.chance(nasty) else self.pick(KINDS[kind])
            length = rows if dimensions[0] == -1 else dimensions[0]
            if self.chance(0.03):
                length += 1
            return [build(dimensions[1:]) for _ in range(length)]

        return build(shape)

    # Bodies.

    def records(self, columns):
        names = [column.get("name", "abc"[at]) for at, column in enumerate(columns)]
        rows = []
        nasty = self.pick([0.0, 0.1, 0.4])
        for _ in range(self.random.randint(1, 3)):
            row = {}
            for name, column in zip(names, columns):
                if not self.chance(0.04 if column.get("required", True) else 0.15):
                    row[name] = self.value(column, nasty)
            if self.chance(0.1):
                row["extra"] = self.pick(NASTY)
            rows.append(row)
        return rows

    def split(self, columns):
        rows = self.records(columns)
        names = list(dict.fromkeys(name for row in rows for name in row))
        data = [[row.get(name) for name in names] for row in rows]
        split = {"columns": names, "data": data}
        if self.chance(0.1):
            del split["columns"]
        if self.chance(0.2):
            split["index"] = [f"r{at}" for at in range(len(rows))]
        if self.chance(0.05):
            split["data"] = []
        return self.mapped(split, rows, names) if self.chance(0.2) else split

    def mapped(self, split, rows, names):
        """Data as pandas takes it besides: maps of columns, and a scalar."""
        labels = split.get("index") or ([f"r{at}" for at in range(len(rows))] if self.chance(0.3) else list(range(len(rows))))
        form = self.pick(["lists", "lists", "scalars", "mixed", "maps", "scalar", "none", "levels"])
        cells = {name: [row.get(name) for row in rows] for name in names}
        if form == "scalar":
            split["data"] = self.pick(NASTY)
        elif form == "levels":
            split["index"] = [labels, [self.pick([1, "x", None, 2.5]) for _ in labels]]
        elif form == "none":
            split["data"] = self.pick([None, {}, []])
        else:
            data = {}
            for name, column in cells.items():
                if form == "scalars" or (form == "mixed" and self.chance(0.5)):
                    data[name] = column[0]
                else:
                    data[name] = dict(zip(map(str, labels), column)) if form == "maps" else column
            split["data"] = data
        if self.chance(0.5) and form != "levels":
            split["index"] = labels
        if self.chance(0.3):
            split["columns"] = self.pick([names[:1], [*names, "absent"], names[::-1], names * 2])
        return split

    def body(self, columns):
        form = self.pick(["dataframe_records", "dataframe_records", "dataframe_split", "inputs", "instances"])
        if columns and columns[0]["type"] == "tensor":
            return self.tensor_body(columns)
        if form == "dataframe_records":
            return {form: self.records(columns)}
        if form == "dataframe_split":
            return {form: self.split(columns)}
        rows = self.records(columns)
        shape = self.pick(["rows", "columns", "row", "lists", "one"])
        if shape == "rows":
            return {form: rows}
        if shape == "row":
            return {form: rows[0]}
        if shape == "columns":
            names = list(dict.fromkeys(name for row in rows for name in row))
            return {form: {name: [row[name] for row in rows if name in row] for name in names}}
        if shape == "lists":
            return {form: [list(row.values()) for row in rows]}
        return {form: next(iter(rows[0].values()), 5)}

    def tensor_body(self, tensors):
        rows = self.random.randint(1, 3)
        named = "name" in tensors[0]
        arrays = [self.array(t["tensor-spec"]["dtype"], t["tensor-spec"]["shape"], rows) for t in tensors]
        form = self.pick(["inputs", "inputs", "instances", "dataframe_split", "dataframe_records"])
        names = [t.get("name") for t in tensors]
        if form in ("inputs", "instances"):
            if not named:
                return {form: arrays[0]}
            if form == "instances" and self.chance(0.6):
                return {form: [{n: a[at] for n, a in zip(names, arrays) if at < len(a)} for at in range(rows)]}
            if len(names) == 1 and self.chance(0.3):
                return {form: arrays[0]}
            return {form: dict(zip(names, arrays))}
        if named:
            data = [[a[at] if at < len(a) else None for a in arrays] for at in range(rows)]
        else:
            data = [row if isinstance(row, list) and self.chance(0.9) else [row] for row in arrays[0]]
        if form == "dataframe_split":
            return {form: {"data": data, **({"columns": names} if named else {})}}
        width = max((len(row) for row in data if isinstance(row, list)), default=0)
        keys = names if named else [f"p{at}" for at in range(width)]
        return {form: [dict(zip(keys, row)) for row in data]}

    def csv(self, columns):
        return table(self, columns) if self.chance(0.6) else self.plain_csv(columns)

    def plain_csv(self, columns):
        names = [column.get("name", "abc"[at]) for at, column in enumerate(columns)]
        pool = ["1", "0", "1.0", "1.5", "", "NA", "true", "False", "x", "a b", "1e3", " 1", "-7", "2147483648", "0.1",
                "NaN", "inf", "1_000", "0x10", "3.14159265358979", "1e-5", "-0.24836162209524854", "9007199254740993", "AQID", "None"]
        fields = {
            "boolean": ["true", "False", "1", "0"], "integer": ["1", "-7", "1.0"], "long": ["1", "12345678901"],
            "float": ["0.5", "1"], "double": ["0.1", "1e300", "2.5"], "string": ["a", "b c", "5"],
            "binary": ["AQID"], "datetime": ["2024-01-02"],
        }
        lines = [",".join(names)]
        nasty = self.pick([0.0, 0.2, 0.5])
        for _ in range(self.random.randint(1, 3)):
            row = [self.pick(pool) if self.chance(nasty) or c["type"] not in fields else self.pick(fields[c["type"]])
                   for c in columns]
            lines.append(",".join(row))
        return "\n".join(lines) + "\n"

    def frame(self, columns):
        """A typed frame for a library call."""
        rows = self.random.randint(1, 3)
        pools = {
            "bool": [True, False], "int8": [1, -3], "int16": [1, -300], "int32": [1, -70000], "int64": [0, 1, 2**40],
            "uint8": [0, 255], "uint16": [0, 65535], "uint32": [0, 2**32 - 1], "uint64": [0, 2**64 - 1],
            "float16": [0.5, None], "float32": [0.1, None], "float64": [0.1, 1e300, None], "str": ["a", None],
            "object": [None, True, 1, 0.5, "a", [1], {"k": "v"}], "datetime64[ns]": [0, 1700000000000000000, None],
        }
        out = []
        for at, column in enumerate(columns):
            dtype = self.pick(list(pools))
            out.append([column.get("name", "abc"[at]), dtype, [self.pick(pools[dtype]) for _ in range(rows)]])
        if self.chance(0.1):
            out.pop()
        if self.chance(0.1):
            out.append(["extra", "int64", [1] * rows])
        self.random.shuffle(out)
        return out

    def params(self):
        specs, given = [], {}
        pool = [1, 1.0, True, "a", None, [1, 2], ["a"], [], {"x": 1}, 2**70, "2024-05-06", 1e300, [1.5, None], [[1]], float("nan")]
        kinds = {"integer": [3], "long": [3], "float": [0.5], "double": [0.5], "string": ["a"], "boolean": [True],
                 "datetime": ["2024-05-06T01:02:03"]}
        for name in self.random.sample("tuv", self.random.randint(1, 3)):
            kind = self.pick(list(kinds))
            shape = self.pick([None, None, [-1]])
            default = self.pick(kinds[kind])
            specs.append({"name": name, "type": kind, "default": [default] if shape else default, "shape": shape})
            if self.chance(0.7):
                good = self.pick(kinds[kind])
                given[name] = self.pick(pool) if self.chance(0.4) else ([good] if shape else good)
        if self.chance(0.1):
            given["zzz"] = 1
        return specs, given

    def case(self):
        form = self.pick(["json"] * 8 + ["nested"] * 4 + ["tensor"] * 5 + ["none"] * 3 + ["csv"] * 3 + ["frame"] * 4 + ["params"] * 2)
        if form == "none":
            return {"inputs": None, "body": self.body(self.columns(True))}
        if form == "params":
            specs, given = self.params()
            return {"inputs": None, "params": specs, "body": {"inputs": [1], "params": given}}
        if form == "tensor":
            tensors = self.tensors()
            return {"inputs": tensors, "body": self.body(tensors)}
        columns = self.columns(form == "nested")
        if form == "csv":
            return {"inputs": columns if self.chance(0.8) else None, "csv": self.csv(columns)}
        if form == "frame":
            return {"inputs": columns, "frame": self.frame(columns)}
        return {"inputs": columns, "body": self.body(columns)}


def series(dtype, cells):
    if dtype == "object":
        return pd.Series(cells, dtype=object)
    if dtype == "str":
        return pd.Series(cells, dtype="str")
    if dtype == "datetime64[ns]":
        return pd.Series(pd.to_datetime(pd.Series([pd.NaT if x is None else pd.Timestamp(x) for x in cells]))).dt.as_unit("ns")
    return pd.Series(np.array([float("nan") if x is None else x for x in cells], dtype=dtype))


def measure(case):
    inputs = case["inputs"]
    schema = Schema.from_json(json.dumps(inputs)) if inputs else None
    params = ParamSchema.from_json(json.dumps(case["params"])) if case.get("params") else None
    signature = ModelSignature(inputs=schema, params=params) if schema or params else None
    noting = Noting()
    model = mlflow.pyfunc.PyFuncModel(Model(signature=signature, flavors={"python_function": {"loader_module": "x"}}), noting)
    if "frame" in case:
        frame = pd.DataFrame({name: series(dtype, cells) for name, dtype, cells in case["frame"]})
        return outcome(lambda: model.predict(frame), noting)
    if "csv" in case:
        return outcome(lambda: scoring_server.invocations(case["csv"].encode(), "text/csv", model, schema), noting)
    body = json.dumps(case["body"]).encode()
    return outcome(lambda: scoring_server.invocations(body, "application/json", model, schema), noting)


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    maker = Maker(seed)
    for _ in range(count):
        case = maker.case()
        case["mlflow"] = measure(case)
        sys.stdout.write(json.dumps(case) + "\n")


if __name__ == "__main__":
    main()
