"""Saves the model that `compare serving` serves: scikit-learn on 20 columns.

    python serving.py FOLDER
"""
import sys

import mlflow
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

x, y = make_classification(500, 20, random_state=0)
frame = pd.DataFrame(x, columns=["x%d" % place for place in range(20)])
model = LogisticRegression().fit(frame, y)
signature = mlflow.models.infer_signature(frame, y)
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, serialization_format="cloudpickle")
