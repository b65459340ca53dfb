"""Answers to requests, beside those of MLflow's scoring server for the same model.

`RUNLODE_SERVING_MODELS`: names of models, comma-separated, instead of all (knob).
"""
import io
import json
import os

import pandas as pd
import pytest
import served
import vectors

KNOB = os.environ.get("RUNLODE_SERVING_MODELS")
NAMES = KNOB.split(",") if KNOB else [*served.SIGNATURES, "sklearn", "hinted"]
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def theirs(saved):
    """MLflow's answer: status and body, or None where its server crashes."""
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    loaded = {}

    def get(name, content_type, body):
        model = loaded.get(name) or loaded.setdefault(name, mlflow.pyfunc.load_model(str(saved(name))))
        try:
            answer = scoring_server.invocations(body, content_type, model, model.metadata.get_input_schema())
            return answer.status, answer.response
        except MlflowException as error:
            return error.get_http_status_code(), error.serialize_as_json()
        except Exception:
            return None

    return get


def difference(ours, theirs):
    """What a client would see differently, or None."""
    if theirs is None:
        is_told = ours.headers["content-type"] == "application/json" and "error_code" in ours.json()
        return None if ours.status_code >= 400 and is_told else "MLflow crashes, and this is no error with a code"
    status, text = theirs
    if ours.status_code != status:
        return "status %d instead of %d" % (ours.status_code, status)
    if status == 200:
        return None if ours.text == text else "%s instead of %s" % (ours.text[:600], text[:600])
    told, expected = ours.json(), json.loads(text)
    for key in ("error_code", "sqlstate", "error_class"):
        if told.get(key) != expected.get(key):
            return "%s %r instead of %r" % (key, told.get(key), expected.get(key))
    return None if set(told) == set(expected) else "keys %s instead of %s" % (sorted(told), sorted(expected))


def compare(server, name, theirs, asked):
    failures, count = [], 0
    for content_type, body in asked:
        count += 1
        ours = server.post(body, content_type)
        expected = theirs(name, content_type, body)
        if what := difference(ours, expected):
            failures.append("%s %s\n   %s\n   ours: %s\n   theirs: %s" % (
                content_type, body[:300], what, ours.text[:300], str(expected)[:300]))
    assert count and not failures, "%d of %d\n" % (len(failures), count) + "\n".join(failures)


@pytest.mark.parametrize("name", NAMES)
def test_requests_are_answered_as_by_mlflow(name, serve, theirs):
    compare(serve(name), name, theirs, vectors.requests(name))


def test_parquet_is_answered_as_by_mlflow(serve, theirs):
    frames = {
        "untyped": [
            pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["p", "q"]),
            pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "c": pd.Categorical(["x", "y"])}),
        ],
        "scalars": [
            pd.DataFrame([vectors.ROW]).astype({"i": "int32", "f": "float32"}),
            pd.DataFrame([vectors.ROW]),
            pd.DataFrame([{**vectors.ROW, "t": pd.Timestamp("2024-01-02"), "bin": b"ab"}]).astype({"i": "int32", "f": "float32"}),
            pd.DataFrame([vectors.ROW]).astype({"i": "int32", "f": "float32", "l": "Int64"}),
        ],
        "unnamed": [pd.DataFrame({"a": [1.0], "b": [2.0]})],
        "sklearn": [pd.DataFrame([vectors.SKLEARN_ROW] * 2)],
    }
    for name, each in frames.items():
        asked = []
        for frame in each:
            file = io.BytesIO()
            frame.to_parquet(file)
            asked.append((PARQUET, file.getvalue()))
        compare(serve(name), name, theirs, [*asked, (PARQUET, b"PAR1"), (PARQUET, asked[0][1][:-20])])


@pytest.mark.parametrize("what", served.ANSWERS)
def test_answers_are_written_as_by_mlflow(what, serve, theirs):
    body = json.dumps({"dataframe_records": [{"what": what}]})
    ours, expected = serve("answering").ask(what), theirs("answering", "application/json", body)
    if what in served.UNENCODABLE:
        assert expected is None
        assert ours.status_code == 500 and ours.json()["error_code"] == "INTERNAL_ERROR", ours.text
    else:
        assert difference(ours, expected) is None


@pytest.mark.parametrize(
    "what",
    ["value", "unknown code", "more", *("code " + code for code in (
        "RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "REQUEST_LIMIT_EXCEEDED",
        "NOT_IMPLEMENTED", "TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"))],
)
def test_errors_of_the_model_are_written_as_by_mlflow(what, serve, theirs):
    body = json.dumps({"dataframe_records": [{"what": what}]})
    ours, expected = serve("failing").ask(what), theirs("failing", "application/json", body)
    assert difference(ours, expected) is None
    told = ours.json()
    if what == "value":
        assert "ValueError: no such value" in told["stack_trace"]
    else:
        assert told["message"].endswith("Error: told so"), told
