"""Models of many flavors, logged by MLflow: served and scored with the answers of MLflow.

Flavors whose package is not installed are left out.
"""
import io
import json
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
from test_scoring import PARQUET, compare, theirs  # noqa: F401 (a fixture)

from conftest import COMMAND, Served

ROWS = 120
RANDOM = np.random.default_rng(5)
FRAME = pd.DataFrame({"a": RANDOM.normal(size=ROWS), "b": RANDOM.normal(size=ROWS), "n": RANDOM.integers(0, 5, ROWS)})
TARGET = FRAME["a"] * 2 - FRAME["b"] + FRAME["n"]
LABELS = (TARGET > TARGET.median()).astype(int)
MIXED = FRAME.assign(city=np.array(["Bern", "Zürich", "Genf"])[FRAME["n"] % 3])


def xgboost_classifier(path):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(FRAME, LABELS)
    mlflow.xgboost.save_model(model, path, signature=infer_signature(FRAME, model.predict(FRAME)))


def xgboost_booster(path):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.train({"max_depth": 2}, xgboost.DMatrix(FRAME, TARGET), 5)
    mlflow.xgboost.save_model(model, path, signature=infer_signature(FRAME, model.predict(xgboost.DMatrix(FRAME))))


def lightgbm_booster(path):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.train({"verbose": -1}, lightgbm.Dataset(FRAME, TARGET), 5)
    mlflow.lightgbm.save_model(model, path, signature=infer_signature(FRAME, model.predict(FRAME)))


def lightgbm_classifier(path):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(FRAME, LABELS)
    mlflow.lightgbm.save_model(model, path, signature=infer_signature(FRAME, model.predict(FRAME)))


def catboost_regressor(path):
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostRegressor(iterations=5, depth=2, verbose=False, allow_writing_files=False).fit(FRAME, TARGET)
    mlflow.catboost.save_model(model, path, signature=infer_signature(FRAME, model.predict(FRAME)))


def catboost_texts(path):
    """Answers texts, from a column of categories."""
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostClassifier(iterations=5, depth=2, verbose=False, allow_writing_files=False, cat_features=["city"])
    model.fit(MIXED, np.where(LABELS, "yes", "no"))
    mlflow.catboost.save_model(model, path, signature=infer_signature(MIXED, model.predict(MIXED)))


def statsmodels_ols(path):
    api = pytest.importorskip("statsmodels.api")
    model = api.OLS(TARGET, FRAME).fit()
    mlflow.statsmodels.save_model(model, path, signature=infer_signature(FRAME, model.predict(FRAME)))


def sklearn_pipeline(path):
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    model = make_pipeline(encoder, RandomForestRegressor(5, max_depth=3, random_state=0)).fit(MIXED, TARGET)
    mlflow.sklearn.save_model(model, path, signature=infer_signature(MIXED, TARGET), serialization_format="cloudpickle")


def sklearn_probabilities(path):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(FRAME, LABELS)
    mlflow.sklearn.save_model(
        model, path, signature=infer_signature(FRAME, model.predict_proba(FRAME)), pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
    )


def sklearn_without_signature(path):
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(FRAME, np.array(["no", "yes"])[LABELS])
    mlflow.sklearn.save_model(model, path, serialization_format="cloudpickle")


class Table(PythonModel):
    """A frame with a cell of each kind for each row."""

    def predict(self, context, model_input, params=None):
        rows = len(model_input)
        return pd.DataFrame({
            "sum": model_input["a"] + model_input["b"],
            "small": model_input["a"].to_numpy(dtype="float32"),
            "n": model_input["n"],
            "is": model_input["n"] > 1,
            "name": ["row %d" % row for row in range(rows)],
            "gap": [None if row % 2 else "x" for row in range(rows)],
            "list": [[row, row + 0.5] for row in range(rows)],
            "when": pd.date_range("2024-01-02", periods=rows),
        })


def pyfunc_table(path):
    mlflow.pyfunc.save_model(path, python_model=Table(), signature=infer_signature(FRAME))


class Scaled(PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["a"] * params["by"]).tolist()


def pyfunc_with_params(path):
    signature = infer_signature(FRAME, [0.5], params={"by": 2.0, "names": ["x"]})
    mlflow.pyfunc.save_model(path, python_model=Scaled(), signature=signature)


def pyfunc_of_a_file(path):
    """A model of code, not of a pickle."""
    file = path.parent / "model_code.py"
    file.write_text(
        "import mlflow\nfrom mlflow.pyfunc import PythonModel\n\n\nclass Coded(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return {'rows': [len(model_input)], 'columns': list(map(str, model_input.columns))}\n\n\n"
        "mlflow.models.set_model(Coded())\n"
    )
    mlflow.pyfunc.save_model(path, python_model=str(file), signature=infer_signature(FRAME))


MODELS = {
    function.__name__: function
    for function in [
        xgboost_classifier, xgboost_booster, lightgbm_booster, lightgbm_classifier, catboost_regressor, catboost_texts,
        statsmodels_ols, sklearn_pipeline, sklearn_probabilities, sklearn_without_signature, pyfunc_table,
        pyfunc_with_params, pyfunc_of_a_file,
    ]
}
OF_MIXED = {"catboost_texts", "sklearn_pipeline"}
# Their answer is not a cell for each row.
NOT_BY_ROWS = {"pyfunc_of_a_file"}


def asked(frame):
    """Requests in all forms."""
    few, split = frame[:3], frame[:100].to_dict(orient="split")
    records = few.to_dict(orient="records")
    parquet = io.BytesIO()
    few.to_parquet(parquet)
    json_type = "application/json"
    return [
        (json_type, json.dumps({"dataframe_records": records}).encode()),
        (json_type, json.dumps({"dataframe_split": split}).encode()),
        (json_type, json.dumps({"instances": records}).encode()),
        (json_type, json.dumps({"inputs": few.to_dict(orient="list")}).encode()),
        (json_type, json.dumps({"inputs": few.to_numpy().tolist()}).encode()),
        (json_type, json.dumps({"dataframe_records": [{**records[0], "a": None}]}).encode()),
        (json_type, json.dumps({"dataframe_records": [{**records[0], "more": 1}]}).encode()),
        (json_type, json.dumps({"dataframe_records": [{"a": 1.0}]}).encode()),
        (json_type, json.dumps({"dataframe_records": records, "params": {"by": 3}}).encode()),
        (json_type, json.dumps({"dataframe_records": [dict(reversed(records[0].items()))]}).encode()),
        ("text/csv", few.to_csv(index=False).encode()),
        (PARQUET, parquet.getvalue()),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_flavor_is_served_and_scored_as_by_mlflow(name, saved, theirs, tmp_path, tmp_path_factory):  # noqa: F811
    import served

    served.OTHERS[name] = MODELS[name]
    folder, frame = saved(name), MIXED if name in OF_MIXED else FRAME
    with Served(folder) as server:
        compare(server, name, theirs, asked(frame))
    if name in NOT_BY_ROWS:
        return
    # Rows of a file.
    rows, answers = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    frame.to_parquet(rows)
    command = [COMMAND, "models", "predict", str(folder), "-i", str(rows), "-o", str(answers), "--batch-rows", "50"]
    done = subprocess.run(
        [*command, "--env-manager", "local", "--python", sys.executable], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = mlflow.pyfunc.load_model(str(folder))
    batches = [model.predict(frame[start:start + 50].reset_index(drop=True)) for start in range(0, ROWS, 50)]
    is_table = isinstance(batches[0], (pd.Series, pd.DataFrame))
    same(pd.read_parquet(answers), pd.concat(batches, ignore_index=True) if is_table else np.concatenate(batches))


def same(found, expected):
    """A file's columns hold the answer, with its types where a file has them."""
    if isinstance(expected, pd.Series):
        expected = pd.DataFrame(expected).rename(columns=str)
    if isinstance(expected, pd.DataFrame):
        expected = {str(name): expected[name].to_numpy() for name in expected}
    else:
        expected = {"predictions": np.asarray(expected)}
    assert list(found) == list(expected)
    for name, cells in expected.items():
        cells = cells[:, 0] if cells.ndim == 2 and cells.shape[1] == 1 else cells
        if cells.dtype.kind in "biufM":
            given = found[name].to_numpy() if cells.ndim == 1 else np.stack(found[name])
            assert given.dtype == cells.dtype or cells.dtype.kind == "M", (name, given.dtype, cells.dtype)
            # Sums over other numbers of rows may be rounded otherwise.
            if cells.dtype.kind == "M":
                close = given == cells
            else:
                close = np.isclose(given.astype("f8"), cells.astype("f8"), rtol=1e-12, atol=0, equal_nan=True)
            assert close.all(), (name, given[~close][:3], cells[~close][:3])
        else:
            assert len(found) == len(cells)
            for one, other in zip(found[name], cells):
                one = json.loads(one) if isinstance(other, list) else one
                assert one == other or (pd.isna(one) and pd.isna(other)), (name, one, other)
