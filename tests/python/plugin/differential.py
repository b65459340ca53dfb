"""Two MLflow set-ups that are told the same and must answer the same: MLflow's own over SQLite, and Runlode's.

A :func:`scenario` is a script of one :class:`Side`, run on each of them. Every call through ``side.store``,
``side.registry``, ``side.client`` or ``side.mlflow`` is recorded with its answer, an entity field for field or a refusal
with class, code and message; the recordings are compared call by call. What must differ is made equal first:

- ids of 32 hex digits become numbers, of the call where they appear first;
- times become the number of the call in which they passed: every call begins in a later millisecond than the last one
  ended, so a time tells its call;
- the URIs of a side, and random names of runs, become words.
"""

import base64
import bisect
import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import time
from collections import Counter
from enum import Enum
from typing import NamedTuple

import pytest
from conftest import knob

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
if tuple(map(int, mlflow.__version__.split(".")[:2])) < (3, 17):
    pytest.skip("answers of 3.17 are compared", allow_module_level=True)
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.store.entities import PagedList  # noqa: E402
from mlflow.tracking import fluent  # noqa: E402

_ID = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d([.,]\d+)?( UTC|Z)?")
_TIMES = re.compile(r"\b1[5-9]\d{11}\b")
_RUN_NAME = re.compile(r"^[a-z]+-[a-z]+-\d{1,3}$")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# What MLflow raises where nobody thought of the case,
_CRASHES = ("TypeError", "AttributeError", "ValueError", "OverflowError", "KeyError", "UnicodeEncodeError", "IndexError", "Error")
# or wraps, with the words of Python or SQL.
_FELL = re.compile(
    r"object has no attribute|object is not |int\(\) argument|^expected string|\((sqlite3|builtins)\.|sqlalche\.me|IN expression list"
    r"|unsupported operand|^Error binding|must be real number|Python int too large"
)
_TOKEN = re.compile(r"\beyJ[\w+/-]{8,}=*")
# What only one side's tokens tell, or each in its own words: where a page ended, and the order with its defaults. No filter may be an empty one.
_TOKENS_OWN = ("at", "order_by")
# Sets are printed in any order, some with a quote too few.
_SET = re.compile(r"'?\{('[^{}]*')\}'?|(?<=Expected one of )\(('[^()]*')\)")
# Behind these words stands how the tokenizer of MLflow cut a text, or what a parser of JSON says.
_CUT = re.compile(
    r"(Invalid clause\(s\) in filter string|Search filter contained multiple expression|but got different type in list"
    r"|Expected 3 tokens found|Invalid order_by clause|Order by in the page token does not match|Invalid page token: ).*",
    re.S,
)
# Fields that SQL answers in any order.
_UNORDERED = {
    "RunData": ["_metric_objs"],
    "RunInputs": ["_dataset_inputs", "_model_inputs"],
    "RunOutputs": ["_model_outputs"],
    "DatasetInput": ["_tags"],
    "LoggedModel": ["_metrics"],
}
# Fields that SQL forgets, and we answer.
_FORGOTTEN = {"ModelVersion": ["_model_id"]}
_GREATEST = 1.7976931348623157e308


class Refusal(NamedTuple):
    """An exception as an answer."""

    kind: str
    code: str | None
    message: str

    def fell(self):
        """Whether who refuses did not mean to, but fell over."""
        return self.kind in _CRASHES or self.code == "INTERNAL_ERROR" or bool(_FELL.search(self.message))


class Recorded(NamedTuple):
    call: str
    answer: object
    unlike: str | None


class _Recorder:
    """Calls of an object, recorded; they answer as ever, or None if they raise."""

    def __init__(self, side, target, title, unlike=None):
        self._side, self._target, self._title, self._unlike = side, target, title, unlike

    def unlike(self, why):
        """For a call whose answers are known to differ. That they do is checked as well."""
        return _Recorder(self._side, self._target, self._title, why)

    def __getattr__(self, name):
        def call(*args, **kwargs):
            answer = lambda: getattr(self._target, name)(*args, **kwargs)  # noqa: E731
            return self._side.do(f"{self._title}.{name}", answer, args, kwargs, self._unlike)

        return call


class Side:
    """One of the two set-ups, by its URIs; ``words`` stand for what only this side knows."""

    def __init__(self, uri, words=(), registry_uri=None):
        self.uri = uri
        self.recorded = []
        self._words = [(uri, "<uri>"), *((str(text), word) for text, word in words)]
        self._ids, self._met, self._begins, self._ends = {}, Counter(), [], []
        self._after_ms = 0
        mlflow.set_tracking_uri(uri)
        self.raw_client = mlflow.MlflowClient(uri, registry_uri or uri)
        self.raw_registry = self.raw_client._get_registry_client().store
        self.raw_store = self.raw_client._tracking_client.store
        self.registry = self.over(self.raw_registry, "registry")
        self.store = self.over(self.raw_store, "store")
        self.client = self.over(self.raw_client, "client")
        self.mlflow = self.over(mlflow, "mlflow")

    def over(self, target, title):
        return _Recorder(self, target, title)

    def do(self, title, call, args=(), kwargs=None, unlike=None):
        """Calls, records the answer and returns it; None if it raises."""
        mlflow.set_tracking_uri(self.uri)
        while (begin := _now_ms()) <= self._after_ms:
            time.sleep(0.0002)
        found = error = None
        try:
            found = call()
        except Exception as raised:
            error = raised
        self._after_ms = _now_ms()
        self._begins.append(begin)
        self._ends.append(self._after_ms)
        shown = [*map(self._short, args), *(f"{key}={self._short(value)}" for key, value in (kwargs or {}).items())]
        answer = self.normal(found) if error is None else self._refusal(error)
        self.recorded.append(Recorded(f"{self.normal(title)}({', '.join(shown)})", answer, unlike))
        return found

    def value(self, title, value):
        """Records a value that a script made itself."""
        return self.do(title, lambda: value)

    def _refusal(self, error):
        message = _CUT.sub(r"\1", str(getattr(error, "message", None) or error))
        return Refusal(type(error).__name__, getattr(error, "error_code", None), self.normal(message))

    def _short(self, value):
        value = value.decode() if isinstance(value, bytes) else value
        text = f"version {value.version} of {value.name}" if isinstance(value, ModelVersion) else repr(value)
        text = self.normal(_ADDRESS.sub("", text))
        return text if len(text) < 200 else f"{text[:180]}...({len(text)})"

    def _call_at(self, time_ms):
        """The call in which a time passed; or the time, if it is no such."""
        at = bisect.bisect_right(self._begins, time_ms) - 1
        if at < 0:
            # Set-ups are as old as they are.
            return "<before>" if time_ms > 1_500_000_000_000 else time_ms
        return f"<call {at}>" if time_ms <= self._ends[at] else time_ms

    def normal(self, value):
        """A value of which the like from the other side is equal."""
        if value is None:
            return None
        if isinstance(value, Enum):
            return str(value)
        if isinstance(value, bytes):
            # Page tokens of MLflow, which over HTTP are texts.
            return self.normal(value.decode())
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (bool, int, float)):
            # True is no 1, and 1 is no 1.0.
            return (type(value).__name__, self._number(value))
        if isinstance(value, dict):
            return {self.normal(key): self.normal(item) for key, item in sorted(value.items(), key=str)}
        if isinstance(value, (list, tuple, set, frozenset)):
            items = value
            if isinstance(value, (set, frozenset)):
                items = sorted(value, key=str)
            elif type(value) is list and value and isinstance(value[0], ModelVersion):
                # Latest versions of stages: SQL has no order for them.
                items = sorted(value, key=lambda found: found.version)
            items = [self.normal(item) for item in items]
            return ("PagedList", items, self.normal(value.token)) if isinstance(value, PagedList) else items
        kind = type(value).__name__
        if kind == "RunOperations":
            return kind
        if not hasattr(value, "__dict__"):
            return (kind, str(value))
        fields = self.normal({key: item for key, item in vars(value).items() if key not in _FORGOTTEN.get(kind, ())})
        for name in _UNORDERED.get(kind, ()):
            fields[name] = fields[name] and sorted(fields[name], key=str)
        return (kind, fields)

    def _text(self, text):
        if len(text) > 1 << 20:
            # Nothing of that size has a name for anything.
            return text
        for own, word in self._words:
            text = text.replace(own, word)
        if _RUN_NAME.match(text):
            return "<run name>"
        text = _DATE.sub("<date>", text)
        text = _TIMES.sub(lambda found: str(self._call_at(int(found[0]))), text)
        text = _SET.sub(lambda found: "{" + ", ".join(sorted((found[1] or found[2]).split(", "))) + "}", text)
        text = _TOKEN.sub(_token, text)
        return _ID.sub(self._id, text)

    def _id(self, found):
        if found[0] not in self._ids:
            # By call, so that one call which is known to differ does not count for those that follow.
            call = len(self.recorded)
            self._ids[found[0]] = f"<id {call}.{self._met[call]}>"
            self._met[call] += 1
        return self._ids[found[0]]

    def _number(self, number):
        if isinstance(number, float):
            # SQL has no infinity. NaN is not equal to itself.
            if abs(number) == _GREATEST:
                return number * 2
            return "<nan>" if number != number else number
        return self._call_at(number) if number > 1 << 40 else number


def _token(found):
    """A page token, opened."""
    try:
        said = json.loads(base64.urlsafe_b64decode(found[0]))
    except ValueError:
        return found[0]
    return json.dumps({key: item or None for key, item in said.items() if key not in _TOKENS_OWN}, sort_keys=True)


def _now_ms():
    return int(time.time() * 1000)


def _alike(theirs, ours):
    if isinstance(theirs, Refusal) and isinstance(ours, Refusal) and theirs.fell():
        # The words of who falls over are no answer.
        return ours.kind in ("MlflowException", theirs.kind)
    return theirs == ours


def differences(theirs, ours, since=0):
    """Calls that were answered otherwise, as texts."""
    told = []
    if len(theirs.recorded) != len(ours.recorded):
        told.append(f"{len(theirs.recorded)} calls on one side, {len(ours.recorded)} on the other")
    for i, (a, b) in enumerate(zip(theirs.recorded[since:], ours.recorded[since:]), since):
        if a.call != b.call:
            told.append(f"call {i} {a.call}\n  is {b.call} on the other side")
            break
        alike = _alike(a.answer, b.answer)
        if alike and a.unlike:
            told.append(f"call {i} {a.call}\n  does not differ any more: {a.unlike}")
        elif not alike and not a.unlike:
            told.append(f"call {i} {a.call}\n" + _apart(a.answer, b.answer))
    return told


def _apart(a, b, path=""):
    """Where two normal values differ."""
    if type(a) is type(b) and not isinstance(a, Refusal):
        if isinstance(a, dict) and a.keys() == b.keys():
            return "".join(_apart(a[key], b[key], f"{path}.{key}") for key in a if a[key] != b[key])
        if isinstance(a, (list, tuple)) and len(a) == len(b):
            return "".join(_apart(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b)) if x != y)
    return f"  at {path or '.'}\n    mlflow : {str(a)[:1500]}\n    runlode: {str(b)[:1500]}\n"


def pair(folder, template):
    """SQLite's side (a copy of an empty data base, which is slow to make) and ours. ``folder`` is the working directory,
    where MLflow keeps the artifacts of a local data base."""
    database = folder / "sqlite.db"
    shutil.copy(template, database)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (f"{folder}/mlruns/0",))
    words = [(folder, "<folder>")]
    return Side(f"sqlite:///{database}", words), Side(f"runlode://{folder}/store?artifacts={folder}/mlruns", words)


def forget():
    """Ends what MLflow keeps for a process: active runs and experiments, URIs."""
    while mlflow.active_run():
        mlflow.end_run()
    fluent._active_experiment_id = None
    fluent._last_active_run_id.set(None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    mlflow.set_tracking_uri(None)


def compare(script, sides):
    """Runs a script on both sides; fails with the differences, if there are any."""
    for side in sides:
        script(side)
        forget()
    told = differences(*sides)
    assert not told, f"{len(told)} differences\n" + "\n".join(told)


def scenario(script):
    """The test that runs a script on a fresh pair."""

    def test(sides):
        compare(script, sides)

    test.__name__, test.__doc__, test.__module__ = script.__name__, script.__doc__, script.__module__
    test.script = script
    return test


def walk(sides, step, calls):
    """Random calls: ``step(side, rng, number)`` makes some on a side, and the same on the other. ``RUNLODE_DIFF_CALLS``
    is how often (else ``calls``), ``RUNLODE_DIFF_SEED`` the seed."""
    calls, seed = knob("RUNLODE_DIFF_CALLS", calls), knob("RUNLODE_DIFF_SEED", random.randrange(1 << 32))
    print(f"RUNLODE_DIFF_SEED={seed}")
    for number in range(calls):
        at = len(sides[0].recorded)
        for side in sides:
            step(side, random.Random(f"{seed}.{number}"), number)
        told = differences(*sides, since=at)
        assert not told, f"RUNLODE_DIFF_SEED={seed}, step {number}\n" + "\n".join(told)
