"""Two stores, one script: MLflow's own SQL store and ours are called alike, and answer alike.

A :class:`Side` stands before a store (or a client) and notes each call with its answer, an entity field for field or a
refusal with class, code and message. What no two stores have in common is named instead: ids, folders, random names,
times of now. :func:`compare` reads two such notes side by side.
"""

import base64
import json
import math
import re
import time
from enum import Enum
from types import SimpleNamespace

RANDOM_NAME = re.compile(r"\b[a-z]+-[a-z]+-\d{1,3}\b")
NOW_MS = 1_500_000_000_000
# What MLflow raises where nobody thought of the case.
CRASHES = ("TypeError", "AttributeError", "ValueError", "OverflowError", "KeyError", "UnicodeEncodeError", "IndexError", "Error")
SQL = ("sqlite3.", "sqlalche.me", "IN expression list")


class Differs(AssertionError):
    pass


class Notes:
    """Calls and answers of one side, and the names of what only this side knows."""

    def __init__(self, name, root):
        self.name, self.root, self.calls, self.ids, self.base = name, str(root), [], {}, 0

    def name_id(self, kind, id):
        # By the call that made it, which is the same one on both sides.
        if isinstance(id, str) and id and id not in self.ids:
            self.ids[id] = f"<{kind} of #{self.base + len(self.calls)}>"

    def learn(self, thing):
        """Ids of what was made."""
        kind = type(thing).__name__
        if kind in ("Run", "ActiveRun"):
            self.name_id("run", thing.info.run_id)
        elif kind == "LoggedModel":
            self.name_id("model", thing.model_id)
        elif kind in ("PagedList", "list", "tuple"):
            for one in thing:
                self.learn(one)

    def text(self, text):
        text = text.replace(self.root, "<root>")
        for id in re.findall(r"(?:m-)?[0-9a-f]{32}", text):
            if id in self.ids:
                text = text.replace(id, self.ids[id])
        text = RANDOM_NAME.sub("<random>", text)
        return text

    def plain(self, thing):
        kind = type(thing).__name__
        if isinstance(thing, Enum):
            return f"{kind}.{thing.name}"
        if thing is None or isinstance(thing, bool):
            return thing
        if isinstance(thing, str):
            return self.text(thing)
        if isinstance(thing, bytes):
            return self.text(thing.decode())
        if isinstance(thing, float):
            # MLflow's SQL stores have no infinity, and no negative zero.
            if abs(thing) == 1.7976931348623157e308:
                thing = math.copysign(math.inf, thing)
            return repr(thing + 0.0)
        if isinstance(thing, int):
            return "<now>" if NOW_MS < thing < 2 * NOW_MS else thing
        if kind == "PagedList":
            return {"items": [self.plain(one) for one in thing], "token": offset(thing.token)}
        if isinstance(thing, (list, tuple)):
            return [self.plain(one) for one in thing]
        if isinstance(thing, (set, frozenset)):
            return sorted(map(repr, thing))
        if isinstance(thing, dict):
            return {self.plain(key): self.plain(thing[key]) for key in sorted(thing, key=str)}
        if isinstance(thing, BaseException):
            code = getattr(thing, "error_code", None)
            return {"raises": kind, "code": code, "message": self.text(getattr(thing, "message", None) or str(thing))}
        if not hasattr(thing, "__dict__") or kind == "RunOperations":
            return kind
        fields = {name: self.plain(value) for name, value in sorted(vars(thing).items())}
        for name in UNORDERED.get(kind, ()):
            if isinstance(fields.get(name), list):
                fields[name] = sorted(fields[name], key=str)
        return {"": kind, **fields}


UNORDERED = {
    "RunData": ["_metric_objs"],
    "RunInputs": ["_dataset_inputs", "_model_inputs"],
    "RunOutputs": ["_model_outputs"],
    "DatasetInput": ["_tags"],
    "LoggedModel": ["_metrics"],
}


def offset(token):
    """What a page token says; ours may hold more than MLflow's."""
    if not token:
        return None
    try:
        return json.loads(base64.b64decode(token))["offset"]
    except ValueError:
        return "unreadable"


class Side:
    """Calls of an object, noted. ``known="why"`` marks the next call as one that is known to differ."""

    def __init__(self, target, notes):
        self._target, self._notes, self._known = target, notes, None

    def __getattr__(self, name):
        def call(*args, **more):
            return self.do(name, lambda: getattr(self._target, name)(*args, **more), args, more)

        return call

    def known(self, why):
        self._known = why
        return self

    def do(self, name, call, args=(), more=None):
        """Notes a call; its answer, or None if it raises."""
        found, known = None, self._known
        self._known = None
        try:
            found = call()
            self._notes.learn(found)
            answer = self._notes.plain(found)
        except Exception as error:
            answer = self._notes.plain(error)
        asked = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in (more or {}).items())])
        self._notes.calls.append(SimpleNamespace(call=f"{name}({asked})"[:400], answer=answer, known=known))
        return found


# Messages of which only the beginning is a fact: what follows quotes the tokens of SQL or of JSON.
BEGINNINGS = ("Invalid clause(s) in filter string", "Order by in the page token does not match", "Invalid page token: ")


def tick():
    """So that what comes next has a later time."""
    time.sleep(0.0015)


def forgive(theirs, ours):
    """What of an answer need not be the same: words of crashes and of SQL, and sets, which have no order."""
    if not all(isinstance(side, dict) and "raises" in side for side in (theirs, ours)):
        return False
    if theirs["raises"] in CRASHES or theirs["code"] == "INTERNAL_ERROR" or any(w in theirs["message"] for w in SQL):
        return ours["raises"] == "MlflowException" or ours["raises"] == theirs["raises"]
    if {**theirs, "message": ""} != {**ours, "message": ""}:
        return False
    messages = [theirs["message"], ours["message"]]
    if any(all(text.startswith(words) for text in messages) for words in BEGINNINGS):
        return True
    words = [sorted(filter(None, re.split(r"[\s,{}()\[\]']+", text))) for text in messages]
    return words[0] == words[1]


def compare(theirs, ours):
    """Every difference of two notes, as text."""
    out = []
    assert len(theirs.calls) == len(ours.calls), "the script took another way"
    for i, (a, b) in enumerate(zip(theirs.calls, ours.calls)):
        same = a.answer == b.answer or forgive(a.answer, b.answer)
        if same and a.known:
            out.append(f"#{i} {b.call}\n    no difference, though one is noted: {a.known}")
        if not same and not a.known:
            out.append(f"#{i} {b.call}\n" + difference(a.answer, b.answer))
    return out


def difference(a, b, path=""):
    """The fields that differ."""
    if isinstance(a, dict) and isinstance(b, dict) and "raises" not in a and "raises" not in b:
        keys = sorted({*a, *b}, key=str)
        missing = "<absent>"
        return "".join(
            difference(a.get(k, missing), b.get(k, missing), f"{path}.{k}")
            for k in keys
            if a.get(k, missing) != b.get(k, missing)
        )
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return "".join(difference(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b)) if x != y)
    return f"    {path or 'answer'}\n      mlflow : {str(a)[:1500]}\n      runlode: {str(b)[:1500]}\n"
