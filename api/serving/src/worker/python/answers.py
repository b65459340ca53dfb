"""Writes what the model answers as MLflow's scoring server does, and its exceptions as errors.

Types are recognised by the modules that are already imported: an answer cannot hold a type of one that is not.
"""
import base64
import datetime
import json
import sys
import traceback

import runlode_worker_columns as columns

ANSWER, ERROR, LOST, UNENCODABLE, REFUSED, UNSPLIT, COLUMNS = range(7)


class Encoder(json.JSONEncoder):
    def default(self, given):
        made, is_known = plain(given)
        return made if is_known else super().default(given)


ENCODER = Encoder()


def plain(given):
    """A value that JSON has for one that it lacks; whether there is one."""
    numpy, pandas, pydantic = (sys.modules.get(name) for name in ("numpy", "pandas", "pydantic"))
    if numpy is not None:
        if isinstance(given, numpy.ndarray):
            if given.dtype == object:
                return [plain(each)[0] for each in given.tolist()], True
            return given.tolist(), True
        if isinstance(given, numpy.generic):
            return given.item(), True
    if isinstance(given, (bytes, bytearray)):
        # Lines of 76 characters, the last one ended as well.
        return base64.encodebytes(given).decode("ascii"), True
    if isinstance(given, (datetime.date, datetime.datetime, datetime.time)):
        return given.isoformat(), True
    if pandas is not None and isinstance(given, pandas.Timestamp):
        return given.isoformat(), True
    if pydantic is not None and isinstance(given, pydantic.BaseModel):
        return given.model_dump(), True
    return given, False


def whole(given):
    """The form in which an answer as a whole is written."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(given, numpy.ndarray):
        return given.tolist()
    if pandas is not None:
        if isinstance(given, pandas.Series):
            given = pandas.DataFrame(given)
        if isinstance(given, pandas.DataFrame):
            return given.to_dict(orient="records")
    return given


def made(given, header):
    """The parts of an answer: the kind, the status and the bytes of each, or pieces of bytes."""
    rows_each, by_rows = header.get("rows_each"), header.get("by_rows", False)
    pieces = columns.packed(given, by_rows, rows_each is not None, ENCODER.encode)
    if pieces is not None:
        return [(COLUMNS, 200, pieces)]
    if rows_each is not None:
        return parts(given, rows_each) or [(UNSPLIT, 200, b"")]
    return [encoded(given)]


def encoded(given):
    """One answer as JSON."""
    try:
        return ANSWER, 200, ENCODER.encode(whole(given)).encode("ascii")
    except Exception as error:
        return UNENCODABLE, 500, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "replace")


def parts(given, rows_each):
    """The answer to several requests that were predicted together, cut into those of each; None if it can't be."""
    rows = sum(rows_each)
    cut = cutter(given, rows)
    if cut is None:
        return None
    made, start = [], 0
    for count in rows_each:
        made.append(encoded(cut(start, start + count)))
        start += count
    return made


def cutter(given, rows):
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pandas is not None and isinstance(given, (pandas.DataFrame, pandas.Series)):
        return (lambda start, end: given.iloc[start:end]) if len(given) == rows else None
    if numpy is not None and isinstance(given, numpy.ndarray):
        return (lambda start, end: given[start:end]) if given.ndim and len(given) == rows else None
    if isinstance(given, (list, tuple)):
        return (lambda start, end: given[start:end]) if len(given) == rows else None
    if isinstance(given, dict) and given:
        cuts = {key: cutter(each, rows) for key, each in given.items()}
        if all(cuts.values()):
            return lambda start, end: {key: cut(start, end) for key, cut in cuts.items()}
    return None


def failed(error, data):
    """The error of a model that raised."""
    if not isinstance(error, Exception):
        # SystemExit ends a program, but not this one.
        return LOST, 503, ("the model raised %s(%s)" % (type(error).__name__, error)).encode("utf-8", "replace")
    if any(base.__name__ == "MlflowException" for base in type(error).__mro__):
        try:
            error.message = "Failed to predict data '%s'. \nError: %s" % (data, error.message)
            return ERROR, int(error.get_http_status_code()), error.serialize_as_json().encode("utf-8", "replace")
        except Exception:
            pass  # Not MLflow's class, but one of its name: an exception like others.
    message = (
        "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is"
        " compatible with the model for inference."
    )
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return ERROR, 400, bad_request(message, trace)


def bad_request(message, trace=None):
    body = {"error_code": "BAD_REQUEST", "message": message, "sqlstate": "KAM00"}
    body["error_class"] = "INVALID_PARAMETER_VALUE"
    if trace is not None:
        body["stack_trace"] = trace
    return json.dumps(body).encode("ascii")
