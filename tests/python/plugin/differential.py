"""Two MLflow set-ups that are told the same and must answer the same.

A script is a function of one ``Side``. It runs on each side; every call through ``side.registry``, ``side.store``,
``side.client`` or ``side.mlflow`` is recorded with its answer or its exception, and the recordings are compared call by
call. What must differ is made equal first:

- ids of 32 hex digits become numbers, in the order of their first appearance;
- times become the number of the call in which they passed: every call begins in a later millisecond than the last one
  ended, so a time tells its call;
- folders and URIs of a side, and random names of runs, become words.
"""

import re
import shutil
import time

import mlflow
from mlflow.exceptions import MlflowException

_ID = re.compile(r"[0-9a-f]{32}")
_RUN_NAME = re.compile(r"^[a-z]+-[a-z]+-\d{1,3}$")
# SQL's own words in a message are no interface.
_SQL = re.compile(r"\s*(Error: )?\((raised as a result of Query-invoked|sqlite3\.)[\s\S]*$")
_PLAIN = (type(None), bool, int, float, str)


class Refused:
    """An exception as an answer."""

    def __init__(self, error):
        self.kind = type(error).__name__
        self.code = getattr(error, "error_code", None)
        self.message = str(error) if isinstance(error, MlflowException) else ""
        self.text = str(error)

    def shown(self, side):
        return ("raised", self.kind, self.code, side.normal(_SQL.sub("", self.message)))


class _Recorder:
    def __init__(self, side, target, title, unlike=None):
        self._side, self._target, self._title, self._unlike = side, target, title, unlike

    def __getattr__(self, name):
        target = getattr(self._target, name)

        def call(*args, **kwargs):
            return self._side.record(f"{self._title}.{name}", target, args, kwargs, self._unlike)

        return call


class Side:
    """One of the two set-ups, by its tracking URI."""

    def __init__(self, uri, words=()):
        self.uri = uri
        self.recorded = []
        self._words = [(uri, "<uri>"), *((str(text), word) for text, word in words)]
        self._ids, self._windows = {}, []
        self._after_ms = 0
        mlflow.set_tracking_uri(uri)
        self._client = mlflow.MlflowClient(uri, uri)
        self.raw_registry = self._client._get_registry_client().store
        self.raw_store = self._client._tracking_client.store
        self._over(None)

    def _over(self, unlike):
        self.registry = _Recorder(self, self.raw_registry, "registry", unlike)
        self.store = _Recorder(self, self.raw_store, "store", unlike)
        self.client = _Recorder(self, self._client, "client", unlike)
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
        self._windows.append((begin, self._after_ms))
        shown = ", ".join([*map(_short, args), *(f"{key}={_short(value)}" for key, value in kwargs.items())])
        self.recorded.append((f"{title}({shown})", self.normal(answer), unlike))
        return answer

    def value(self, title, value):
        """Notes a value that a script made itself."""
        return self.record(title, lambda: value, (), {})

    def normal(self, value):
        """A value of which the like from the other side is equal."""
        if isinstance(value, Refused):
            return value.shown(self)
        if isinstance(value, str):
            for text, word in self._words:
                value = value.replace(text, word)
            if _RUN_NAME.match(value):
                return "<run name>"
            return _ID.sub(lambda found: f"<id {self._ids.setdefault(found[0], len(self._ids))}>", value)
        if isinstance(value, int) and value > 1 << 40:
            return next((f"<call {i}>" for i, (a, b) in enumerate(self._windows) if a <= value <= b), value)
        if isinstance(value, float) and value != value:
            return "<nan>"
        if isinstance(value, _PLAIN):
            # True is no 1, and 1 is no 1.0.
            return value if type(value) in (str, type(None)) else (type(value).__name__, value)
        if isinstance(value, dict):
            return {self.normal(key): self.normal(item) for key, item in sorted(value.items(), key=str)}
        if isinstance(value, (list, tuple, set, frozenset)):
            items = [self.normal(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
            token = getattr(value, "token", None)
            return (type(value).__name__, items, self.normal(token)) if hasattr(value, "token") else items
        fields = getattr(value, "__dict__", None)
        return (type(value).__name__, self.normal(fields) if fields is not None else str(value))


def _short(value):
    text = repr(value)
    return text if len(text) < 120 else f"{text[:100]}...({len(text)})"


def _now_ms():
    return int(time.time() * 1000)


def differences(left, right, since=0):
    """Calls that were answered otherwise, as texts."""
    told = []
    if len(left.recorded) != len(right.recorded):
        told.append(f"{len(left.recorded)} calls on one side, {len(right.recorded)} on the other")
    for i, (mine, other) in enumerate(zip(left.recorded[since:], right.recorded[since:]), since):
        same = mine[1] == other[1]
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
    """SQLite's side (from an empty data base, which is slow to make) and ours."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "sqlite.db"
    shutil.copy(template, database)
    sql = Side(f"sqlite:///{database}", [(folder, "<folder>")])
    ours = Side(f"runlode://{folder}/store", [(folder, "<folder>")])
    return sql, ours


def compare(script, sides, *args):
    """Runs a script on both sides; ends with the differences, if there are any."""
    for side in sides:
        script(side, *args)
    told = differences(*sides)
    assert not told, f"{len(told)} differences (SQLite's answer first):\n" + "\n".join(told)
