"""Saves the models that `compare serving` serves, each with 500 rows behind it:

    sklearn   logistic regression of 20 columns of doubles, pickled
    columns   the same as an ONNX graph
    digits    an ONNX graph of 64 pixels, one tensor of float32 in, labels and probabilities out

    python serving.py FOLDER
"""
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import skl2onnx
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression

folder = Path(sys.argv[1])
x, y = make_classification(500, 20, random_state=0)
frame = pd.DataFrame(x, columns=["x%d" % place for place in range(20)])
model = LogisticRegression().fit(frame, y)
signature = infer_signature(frame, y)
mlflow.sklearn.save_model(
    model, folder / "sklearn", signature=signature, serialization_format="cloudpickle", pip_requirements=["scikit-learn"]
)


def graph(model, width):
    types = [("x", FloatTensorType([None, width]))]
    return skl2onnx.to_onnx(model, initial_types=types, options={"zipmap": False})


# Columns take one output: MLflow makes a frame of what the graph answers.
one = skl2onnx.to_onnx(model, initial_types=[("x", FloatTensorType([None, 20]))], options={"zipmap": False, "raw_scores": False})
del one.graph.output[1]
mlflow.onnx.save_model(one, folder / "columns", signature=signature, pip_requirements=["onnxruntime"])

pixels, labels = load_digits(return_X_y=True)
digits = LogisticRegression(max_iter=2000).fit(pixels[:500], labels[:500])
tensors = ModelSignature(inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 64))]))
mlflow.onnx.save_model(graph(digits, 64), folder / "digits", signature=tensors, pip_requirements=["onnxruntime"])
