"""Two MLflow set-ups that are told the same and must answer the same.

A script is a function of one ``Side``. It runs on each side; every call through ``side.registry``, ``side.store``,
``side.client`` or ``side.mlflow`` is recorded with its answer or its exception, and the recordings are compared call by
call. What must differ is made equal first:

- ids of 32 hex digits become numbers, in the order of their first appearance;
- times become the number of the call in which they passed: every call begins in a later millisecond than the last one
  ended, so a time tells its call;
- folders and URIs of a side, and random names of runs, become words.
"""

import bisect
import os
import re
import shutil
import time

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

_ID = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d([.,]\d+)?( UTC|Z)?")
_TIMES = re.compile(r"\b1[5-9]\d{11}\b")
_RUN_NAME = re.compile(r"^[a-z]+-[a-z]+-\d{1,3}$")
# SQL's own words in a message are no interface.
_SQL = re.compile(r"\s*(Error: )?\((raised as a result of Query-invoked|sqlite3\.)[\s\S]*$")
# MLflow's stores wrap what goes wrong in them, with the words of Python or SQL.
_FELL = re.compile(r"object has no attribute|object is not |int\(\) argument|^expected string|^\((sqlite3|builtins)\.|unsupported operand|^Error binding|must be real number|Python int too large")
ACCIDENT = ("fell over",)
# Sets are printed in any order.
_SET = re.compile(r"\{'[^{}]*'\}")
# Behind these words stands how the tokenizer of MLflow cut a text.
_CUT = re.compile(r"(Invalid clause\(s\) in filter string|Search filter contained multiple expression|but got different type in list|Expected 3 tokens found|Invalid order_by clause).*", re.S)
_PLAIN = (type(None), bool, int, float, str)


class Refused:
    """An exception as an answer."""

    def __init__(self, error):
        self.kind = type(error).__name__
        self.code = getattr(error, "error_code", None)
        self.message = str(error) if isinstance(error, MlflowException) else ""
        self.text = str(error)

    def accident(self):
        """Whether the store did not mean to refuse, but fell over."""
        return self.kind != "MlflowException" or bool(_FELL.search(self.text))

    def shown(self, side):
        if self.accident():
            return ACCIDENT
        return ("raised", self.kind, self.code, side.normal(_CUT.sub(r"\1", _SQL.sub("", self.message))))


class _Recorder:
    def __init__(self, side, target, title, unlike=None):
        self._side, self._target, self._title, self._unlike = side, target, title, unlike

    def __getattr__(self, name):
        target = getattr(self._target, name)

        def call(*args, **kwargs):
            return self._side.record(f"{self._title}.{name}", target, args, kwargs, self._unlike)

        return call


class Side:
    """One of the two set-ups, by its URIs."""

    def __init__(self, uri, words=(), registry_uri=None):
        self.uri = uri
        self.recorded = []
        self._words = [(uri, "<uri>"), *((str(text), word) for text, word in words)]
        self._ids, self._begins, self._ends = {}, [], []
        self._after_ms = 0
        mlflow.set_tracking_uri(uri)
        self.raw_client = mlflow.MlflowClient(uri, registry_uri or uri)
        self.raw_registry = self.raw_client._get_registry_client().store
        self.raw_store = self.raw_client._tracking_client.store
        self._over(None)

    def _over(self, unlike):
        self.registry = _Recorder(self, self.raw_registry, "registry", unlike)
        self.store = _Recorder(self, self.raw_store, "store", unlike)
        self.client = _Recorder(self, self.raw_client, "client", unlike)
        self.mlflow = _Recorder(self, mlflow, "mlflow", unlike)

    def unlike(self, why):
        """This side for one call whose answers are known to differ. That they do is checked as well."""
        other = object.__new__(Side)
        other.__dict__ = self.__dict__.copy()
        other.record = lambda *call: self.record(*call[:4], why)
        other._over(why)
        return other

    def record(self, title, call, args, kwargs, unlike=None):
        """Calls, notes the answer and returns it."""
        mlflow.set_tracking_uri(self.uri)
        while (begin := _now_ms()) <= self._after_ms:
            time.sleep(0.0002)
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            answer = Refused(error)
        self._after_ms = _now_ms()
        self._begins.append(begin)
        self._ends.append(self._after_ms)
        shown = ", ".join([*map(_short, args), *(f"{key}={_short(value)}" for key, value in kwargs.items())])
        self.recorded.append((self.normal(f"{title}({shown})"), self.normal(answer), unlike))
        return answer

    def value(self, title, value):
        """Notes a value that a script made itself."""
        return self.record(title, lambda: value, (), {})

    def _call_at(self, time_ms):
        """The call in which a time passed; or the time, if it is no such."""
        at = bisect.bisect_right(self._begins, time_ms) - 1
        if at < 0:
            # Set-ups are as old as they are.
            return "<before>" if time_ms > 1_500_000_000_000 else time_ms
        return f"<call {at}>" if time_ms <= self._ends[at] else time_ms

    def normal(self, value):
        """A value of which the like from the other side is equal."""
        if isinstance(value, Refused):
            return value.shown(self)
        if isinstance(value, bytes):
            # Page tokens of MLflow, which over HTTP are texts.
            return self.normal(value.decode())
        if isinstance(value, str):
            for text, word in self._words:
                value = value.replace(text, word)
            if _RUN_NAME.match(value):
                return "<run name>"
            value = _DATE.sub("<date>", value)
            value = _TIMES.sub(lambda found: str(self._call_at(int(found[0]))), value)
            value = _SET.sub(lambda found: "{" + ", ".join(sorted(found[0][1:-1].split(", "))) + "}", value)
            return _ID.sub(lambda found: f"<id {self._ids.setdefault(found[0], len(self._ids))}>", value)
        if isinstance(value, int) and value > 1 << 40:
            return self._call_at(value)
        if isinstance(value, float) and value != value:
            return "<nan>"
        if isinstance(value, _PLAIN):
            # True is no 1, and 1 is no 1.0.
            return value if type(value) in (str, type(None)) else (type(value).__name__, value)
        if isinstance(value, dict):
            return {self.normal(key): self.normal(item) for key, item in sorted(value.items(), key=str)}
        if isinstance(value, (list, tuple, set, frozenset)):
            if isinstance(value, (set, frozenset)):
                value = sorted(value, key=str)
            elif isinstance(value, list) and not hasattr(value, "token") and value and isinstance(value[0], ModelVersion):
                # Latest versions of stages: SQL has no order for them.
                value = sorted(value, key=lambda found: found.version)
            items = [self.normal(item) for item in value]
            token = getattr(value, "token", None)
            return (type(value).__name__, items, self.normal(token)) if hasattr(value, "token") else items
        fields = getattr(value, "__dict__", None)
        if isinstance(value, ModelVersion):
            # SQL forgets the logged model; we answer it.
            fields = {key: item for key, item in fields.items() if key != "_model_id"}
        return (type(value).__name__, self.normal(fields) if fields is not None else str(value))


def _short(value):
    text = f"version {value.version} of {value.name}" if isinstance(value, ModelVersion) else repr(value)
    if isinstance(value, bytes):
        text = repr(value.decode())
    return text if len(text) < 120 else f"{text[:100]}...({len(text)})"


def _now_ms():
    return int(time.time() * 1000)


def differences(left, right, since=0):
    """Calls that were answered otherwise, as texts."""
    told = []
    if len(left.recorded) != len(right.recorded):
        told.append(f"{len(left.recorded)} calls on one side, {len(right.recorded)} on the other")
    for i, (mine, other) in enumerate(zip(left.recorded[since:], right.recorded[since:]), since):
        if mine[0] != other[0]:
            told.append(f"call {i} {mine[0]}\n  is {other[0]} on the other side")
            break
        # Who falls over has no answer of which the other's could differ.
        same = mine[1] == other[1] or mine[1] == ACCIDENT
        if same and mine[2]:
            told.append(f"call {i} {mine[0]}\n  does not differ any more: {mine[2]}")
        elif not same and not mine[2]:
            told.append(f"call {i} {mine[0]}\n  {_apart(mine[1], other[1])}")
    return told


def _apart(mine, other, path=""):
    """Where two normal values differ first."""
    if type(mine) is type(other):
        if isinstance(mine, dict):
            if mine.keys() != other.keys():
                return f"at {path or '.'}: keys {sorted(mine, key=str)}\n  and {sorted(other, key=str)}"
            for key in mine:
                if mine[key] != other[key]:
                    return _apart(mine[key], other[key], f"{path}.{key}")
        if isinstance(mine, (list, tuple)) and len(mine) == len(other):
            for i, (a, b) in enumerate(zip(mine, other)):
                if a != b:
                    return _apart(a, b, f"{path}[{i}]")
    return f"at {path or '.'}: {mine!r}\n  and {other!r}"


def pair(folder, template):
    """SQLite's side (from an empty data base, which is slow to make) and ours. ``folder`` is the working directory,
    where MLflow keeps the artifacts of a local data base; those of the first experiment are beside the template."""
    artifacts = [template.parent / "artifacts", folder / "mlruns", folder / "store" / "artifacts"]
    words = [*((place, "<artifacts>") for place in artifacts), (folder, "<folder>")]
    database = folder / "sqlite.db"
    shutil.copy(template, database)
    sql = Side(f"sqlite:///{database}", words)
    ours = Side(f"runlode://{folder}/store", words)
    return sql, ours


def forget():
    """Ends what MLflow keeps for a process: active runs and experiments, URIs."""
    while mlflow.active_run():
        mlflow.end_run()
    fluent._active_experiment_id = None
    fluent._last_active_run_id.set(None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    mlflow.set_tracking_uri(None)


def compare(script, sides, *args):
    """Runs a script on both sides; ends with the differences, if there are any."""
    for side in sides:
        script(side, *args)
        forget()
    told = differences(*sides)
    assert not told, f"{len(told)} differences (SQLite's answer first):\n" + "\n".join(told)
