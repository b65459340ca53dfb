"""Makes the ONNX models that api/serving is tested with, and what MLflow answers for them.

    python tests/python/onnx_cases.py api/serving/tests/data/onnx

Needs mlflow 3.17.2, onnx, onnxruntime, skl2onnx, scikit-learn and pyarrow. Each model is a folder as `mlflow.onnx.save_model`
writes it, without the environment files, and `cases.json` with inputs and answers of MLflow's ONNX flavor. A case with
`beyond` is one that MLflow refuses; its answer is that of ONNX Runtime fed with what the user means.
"""

import json
import math
import shutil
import sys
import warnings
from pathlib import Path

import mlflow
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import skl2onnx
import skl2onnx.common.data_types as types
from mlflow.models import ModelSignature
from mlflow.onnx import _OnnxModelWrapper
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

warnings.filterwarnings("ignore")
OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(7)


def graph(nodes, inputs, outputs, initializers=()):
    ports = [[helper.make_tensor_value_info(*port) if isinstance(port, tuple) else port for port in ports] for ports in (inputs, outputs)]
    made = helper.make_graph(nodes, "g", *ports, initializer=list(initializers))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return model


def sk(model, initial, **options):
    return skl2onnx.to_onnx(model, initial_types=initial, target_opset={"": 18, "ai.onnx.ml": 3}, **options)


def plain(value):
    if isinstance(value, np.ndarray) or isinstance(value, np.generic):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def array(value):
    value = np.asarray(value)
    dtype = {"U": "str", "O": "object"}.get(value.dtype.kind, str(value.dtype))
    return {"dtype": dtype, "shape": list(value.shape), "values": plain(value.reshape(-1))}


def column(series):
    dtype = "str" if isinstance(series.dtype, pd.StringDtype) else str(series.dtype)
    values = [None if isinstance(value, float) and math.isnan(value) and dtype == "str" else value for value in series.tolist()]
    return {"name": str(series.name), "dtype": dtype, "values": plain(values)}


def given(data):
    if isinstance(data, pd.DataFrame):
        return {"frame": [column(data[name]) for name in data.columns]}
    if isinstance(data, dict):
        return {"tensors": [{"name": name, **array(value)} for name, value in data.items()]}
    return {"tensor": array(data)}


def answered(answer):
    if isinstance(answer, pd.DataFrame):
        return {"frame": [{"name": name, "values": plain(answer[name].tolist())} for name in answer.columns]}
    if all(isinstance(value, np.ndarray) for value in answer.values()):
        return {"arrays": [{"name": name, **array(value)} for name, value in answer.items()]}
    values = {name: plain([one.tolist() if isinstance(one, np.ndarray) else one for one in value]) if isinstance(value, list) else plain(value) for name, value in answer.items()}
    return {"values": values}


def write(name, model, signature, inputs, beyond=()):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.onnx.save_model(model, str(folder), signature=signature)
    for path in list(folder.iterdir()):
        if path.name not in ("MLmodel", "model.onnx"):
            path.unlink()
    wrapper = _OnnxModelWrapper(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    cases = []
    for what, data in inputs.items():
        case = {"what": what, "input": given(data)}
        try:
            case["answer"] = answered(wrapper.predict(data.copy()))
        except Exception as error:
            case["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        cases.append(case)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for what, (data, feeds) in dict(beyond).items():
        try:
            wrapper.predict(data.copy())
            raise SystemExit(f"{name}, {what}: MLflow answers this")
        except Exception:
            pass
        outputs = dict(zip(names, session.run(names, feeds)))
        answer = pd.DataFrame({key: np.asarray(value).reshape(-1) for key, value in outputs.items()})
        cases.append({"what": what, "beyond": True, "input": given(data), "answer": answered(answer)})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(name, len(cases), [case["what"] for case in cases if "error" in case])


def columns(*specs):
    return ModelSignature(inputs=Schema([ColSpec(getattr(DataType, kind), name) for name, kind in specs]))


def tensors(*specs):
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype(kind), shape, name) for name, kind, shape in specs]))


def frame(**values):
    return pd.DataFrame(values)


def numbers():
    x = RANDOM.normal(size=(60, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.25
    model = sk(LinearRegression().fit(x, y), [("x", types.FloatTensorType([None, 3]))])
    signature = columns(("a", "double"), ("b", "double"), ("c", "double"))
    good = frame(a=[1.0, 2.0, -3.5], b=[0.5, 0.25, 1e6], c=[3.0, -1.0, 0.0])
    write("regression_columns", model, signature, {
        "float64": good,
        "float32": good.astype("float32"),
        "an integer column beside floats": frame(a=[1, 2], b=[0.5, 0.25], c=[3.0, -1.0]),
        "int16 beside float32": frame(a=np.array([1, 2], "int16"), b=np.array([1, 2], "float32"), c=np.array([1, 2], "float32")),
        "uint64 beside int64": frame(a=np.array([1, 2], "uint64"), b=np.array([1, 2], "int64"), c=np.array([1, 2], "int64")),
        "NaN": frame(a=[1.0, np.nan], b=[0.5, 0.25], c=[3.0, -1.0]),
        "no rows": good.iloc[:0],
        "all integers": frame(a=[1, 2], b=[3, 4], c=[5, 6]),
        "float16": good.iloc[:1].astype("float16"),
        "a boolean column": frame(a=[True, False], b=[0.5, 0.25], c=[3.0, -1.0]),
        "texts": frame(a=["1", "2"], b=["1", "2"], c=["1", "2"]),
        "a column too few": good[["a", "b"]],
        "array": good.to_numpy(),
        "array of one dimension": np.array([1.0, 2.0, 3.0]),
        "array of integers": np.array([[1, 2, 3]]),
        "by name": {"x": good.to_numpy()},
        "unknown name": {"x": good.to_numpy(), "z": np.array([1.0])},
        "wrong name": {"z": good.to_numpy()},
    })
    model = sk(LinearRegression().fit(x, y), [("x", types.DoubleTensorType([None, 3]))])
    write("regression_double", model, signature, {"float64": good, "float32": good.astype("float32"), "array": good.to_numpy(), "array of float32": good.to_numpy("float32")})


def trees():
    x = RANDOM.integers(0, 10, size=(200, 4))
    y = (x[:, 0] + x[:, 1] > x[:, 2] + x[:, 3]).astype(int) + (x[:, 0] > 7)
    tree = DecisionTreeClassifier(max_depth=5, random_state=0).fit(x, y)
    names = ["a", "b", "c", "d"]
    ints = pd.DataFrame(x[:5], columns=names)
    inputs = {
        "int64": ints,
        "int32": ints.astype("int32"),
        "int32 beside int64": ints.astype({"a": "int32"}),
        "float64": ints.astype("float64"),
        "array": ints.to_numpy(),
        "array of int32": ints.to_numpy("int32"),
    }
    signature = columns(*[(name, "long") for name in names])
    write("classifier_int64", sk(tree, [("x", types.Int64TensorType([None, 4]))], options={"zipmap": False}), signature, inputs)
    write("classifier_zipmap", sk(tree, [("x", types.Int64TensorType([None, 4]))], options={"zipmap": True}), signature, inputs)
    write("classifier_zipmap_text", sk(DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, np.array(["no", "yes", "both"])[y]), [("x", types.FloatTensorType([None, 4]))], options={"zipmap": True}), columns(*[(name, "double") for name in names]), {
        "float64": ints.astype("float64"), "array": ints.to_numpy("float32")})
    boosted = GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=0).fit(x, y)
    write("boosted_tensor", sk(boosted, [("x", types.FloatTensorType([None, 4]))], options={"zipmap": False}), tensors((None, "float32", (-1, 4))), {
        "float32": ints.to_numpy("float32"), "float64": ints.to_numpy("float64"), "one row": ints.to_numpy("float32")[:1], "no rows": ints.to_numpy("float32")[:0]})
    forest = IsolationForest(n_estimators=6, max_samples=32, random_state=0).fit(x)
    write("isolation_forest", skl2onnx.to_onnx(forest, initial_types=[("x", types.FloatTensorType([None, 4]))], target_opset={"": 18, "ai.onnx.ml": 3}), columns(*[(name, "double") for name in names]), {
        "float64": ints.astype("float64"), "array": ints.to_numpy("float32")})
    means = KMeans(n_clusters=3, n_init=1, random_state=0).fit(x)
    write("kmeans", sk(means, [("x", types.FloatTensorType([None, 4]))]), columns(*[(name, "float") for name in names]), {
        "float32": ints.astype("float32"), "array": ints.to_numpy("float32")})


def several():
    ages = RANDOM.normal(40, 10, 100)
    cities = RANDOM.choice(["Bern", "Oslo", "Rome"], 100)
    y = (ages > 40) ^ (cities == "Oslo")
    data = frame(age=ages, city=cities.astype(object))
    pipeline = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]), LogisticRegression()).fit(data, y.astype(int))
    model = sk(pipeline, [("age", types.FloatTensorType([None, 1])), ("city", types.StringTensorType([None, 1]))], options={"zipmap": False})
    rows = data.iloc[:6]
    arrays = {"age": rows[["age"]].to_numpy("float32"), "city": rows[["city"]].to_numpy(object)}
    # The answer to columns needs outputs of one length, so only the label is asked for.
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    del kept.graph.output[1:]
    write("several_upright", kept, columns(("age", "double"), ("city", "string")), {
        "by name": arrays,
        "texts as str": {"age": arrays["age"], "city": arrays["city"].astype(str)},
        "one is missing": {"age": arrays["age"]},
        "an array": arrays["age"],
    }, beyond={"columns": (rows.assign(city=rows["city"].astype(object)), arrays), "columns of str": (rows.assign(city=rows["city"].astype("str")), arrays)})
    write("several_outputs", model, columns(("age", "double"), ("city", "string")), {"by name": arrays})
    flat = graph(
        [helper.make_node("Mul", ["price", "count"], ["total"]), helper.make_node("Identity", ["label"], ["label_out"])],
        [("price", T.FLOAT, [None]), ("count", T.FLOAT, [None]), ("label", T.STRING, [None])],
        [("total", T.FLOAT, [None]), ("label_out", T.STRING, [None])],
    )
    rows = frame(label=np.array(["a", "b", "ä"], object), count=[1.0, 2.0, 3.0], price=[0.5, 0.25, 2.0])
    feeds = {"label": rows["label"].to_numpy(object), "count": rows["count"].to_numpy("float32"), "price": rows["price"].to_numpy("float32")}
    write("several_flat", flat, columns(("price", "double"), ("count", "double"), ("label", "string")), {
        "by name": feeds,
        "a column is missing": rows[["label", "count"]],
        "integers": rows.assign(count=[1, 2, 3]),
    }, beyond={"columns": (rows, feeds), "columns of str": (rows.assign(label=rows["label"].astype("str")), feeds)})


def hand_made():
    texts = graph([helper.make_node("Identity", ["x"], ["y"])], [("x", T.STRING, [None, 2])], [("y", T.STRING, [None, 2])])
    write("texts", texts, columns(("a", "string"), ("b", "string")), {
        "str": frame(a=["1", "x"], b=["3", ""]),
        "a missing text": frame(a=["1", None], b=["3", "4"]),
        "objects": frame(a=np.array(["1", None], object), b=np.array([3, 4.5], object)),
        "beside integers": frame(a=["1", "2"], b=[3, 4]),
        "beside floats": frame(a=["1", "2"], b=[3.0, 1e16]),
        "integers": frame(a=[1, 2], b=[3, 4]),
        "array": np.array([["a", "ä"]]),
        "array of objects": np.array([["a", None]], object),
    })
    logic = graph([helper.make_node("And", ["x", "y"], ["both"]), helper.make_node("Or", ["x", "y"], ["any"])], [("x", T.BOOL, [None]), ("y", T.BOOL, [None])], [("both", T.BOOL, [None]), ("any", T.BOOL, [None])])
    write("booleans", logic, columns(("x", "boolean"), ("y", "boolean")), {
        "columns": frame(x=[True, False, True], y=[True, True, False]),
        "by name": {"x": np.array([True, False]), "y": np.array([True, True])},
        "integers": frame(x=[1, 0], y=[1, 1]),
    })
    kernel = numpy_helper.from_array(RANDOM.normal(size=(2, 1, 3, 3)).astype("float32"), "w")
    image = graph([helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["y"])], [("x", T.FLOAT, [None, 1, 5, 5])], [("y", T.FLOAT, [None, 2, 1, 1])], [kernel])
    pictures = RANDOM.normal(size=(3, 1, 5, 5)).astype("float32")
    write("image", image, tensors((None, "float32", (-1, 1, 5, 5))), {"float32": pictures, "float64": pictures.astype("float64"), "wrong size": pictures[:, :, :4], "rank 2": pictures.reshape(3, 25)})
    half = graph([helper.make_node("Add", ["x", "x"], ["y"])], [("x", T.FLOAT16, [None, 2])], [("y", T.FLOAT16, [None, 2])])
    write("half", half, tensors((None, "float16", (-1, 2))), {"float16": np.array([[1.5, -2]], "float16"), "float32": np.array([[1.5, -2]], "float32"), "float64": np.array([[1.5, -2]])})
    kinds = [("i8", T.INT8, "int8"), ("i16", T.INT16, "int16"), ("i32", T.INT32, "int32"), ("u8", T.UINT8, "uint8"), ("u16", T.UINT16, "uint16"), ("u32", T.UINT32, "uint32"), ("u64", T.UINT64, "uint64"), ("f64", T.DOUBLE, "float64")]
    small = graph([helper.make_node("Identity", [name], [f"{name}_out"]) for name, _, _ in kinds], [(name, kind, [None]) for name, kind, _ in kinds], [(f"{name}_out", kind, [None]) for name, kind, _ in kinds])
    limits = {name: np.array([np.iinfo(kind).min, np.iinfo(kind).max] if kind != "float64" else [-1e300, 1e-300], kind) for name, _, kind in kinds}
    write("numbers", small, tensors(*[(name, kind, (-1,)) for name, _, kind in kinds]), {"limits": limits, "wrong type": {**limits, "i8": limits["i16"]}, "wrong rank": {**limits, "i8": np.zeros((1, 2), "int8")}})
    uneven = graph([helper.make_node("Identity", ["x"], ["y"]), helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0)], [("x", T.FLOAT, [None, 2])], [("y", T.FLOAT, [None, 2]), ("s", T.FLOAT, [])])
    write("uneven", uneven, columns(("a", "double"), ("b", "double")), {"columns": frame(a=[1.0, 2.0], b=[3.0, 4.0]), "array": np.array([[1.0, 2.0]])})
    total = graph([helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0)], [("x", T.FLOAT, [None, 2])], [("s", T.FLOAT, [])])
    write("scalar", total, columns(("a", "double"), ("b", "double")), {"columns": frame(a=[1.0, 2.0], b=[3.0, 4.0]), "array": np.array([[1.0, 2.0]])})
    sequence = helper.make_tensor_sequence_value_info("y", T.FLOAT, None)
    parts = graph([helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)], [("x", T.FLOAT, [None, 2])], [sequence])
    write("sequence", parts, columns(("a", "double"), ("b", "double")), {"columns": frame(a=[1.0, 2.0], b=[3.0, 4.0]), "array": np.array([[1.0, 2.0], [3.0, 4.0]])})


def digits(folder):
    """The digits that the shared model is compared on, and MLflow's answers."""
    x = load_digits().data[:500].astype("float32")
    answer = mlflow.pyfunc.load_model(str(folder)).predict(x)
    table = pa.table({f"p{at}": x[:, at] for at in range(64)})
    pq.write_table(table, OUT / "digits.parquet", compression="zstd")
    rows = pa.FixedSizeListArray.from_arrays(pa.array(answer["probabilities"].reshape(-1)), 10)
    pq.write_table(pa.table({"label": answer["label"], "probabilities": rows}), OUT / "digits_answers.parquet", compression="zstd")


OUT.mkdir(parents=True, exist_ok=True)
numbers()
trees()
several()
hand_made()
digits(Path(__file__).parents[1] / "data/artifacts/2/models/m-b8d64ce3819f492fb8b680a969d1401d/artifacts")
