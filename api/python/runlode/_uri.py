"""Store URIs: which folder, and how it is opened.

==========================  =====================================================================
``runlode:///data/exp``     the folder ``/data/exp``; ``runlode:/data/exp`` is the same
``runlode:exp``             ``exp`` below the working directory at the first open; it stays that folder
``%20``, ``%3F``, ``%23``   a space, ``?``, ``#`` in a path
``?durability=sync``        metric points are on the disk when a call returns; default ``buffered``
``?artifacts=s3://b/x``     root of artifact places that nobody chose; default ``artifacts`` below the store
==========================  =====================================================================

Child processes inherit the absolute form, whatever directory they work in.
"""

import os
import sys
from urllib.parse import parse_qsl, quote, unquote_to_bytes

SCHEME = "runlode"
KEYS = ("artifacts", "durability")
DURABILITIES = ("buffered", "sync")
# Where MLflow keeps URIs for the processes that it starts.
INHERITED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE")

# Relative URIs that were opened, and what became of them.
_opened = {}


class StoreUri:
    """A folder and the options to open it with. ``uri`` is the absolute form of the text it came from."""

    __slots__ = ("artifacts", "durability", "path", "uri")

    def __init__(self, path, durability=None, artifacts=None):
        self.path, self.durability, self.artifacts = path, durability, artifacts
        query = [("durability", durability), ("artifacts", artifacts)]
        query = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in query if value)
        self.uri = f"{SCHEME}://{quote(os.fsencode(path))}" + (f"?{query}" if query else "")

    def __repr__(self):
        return f"StoreUri({self.uri!r})"


def parse(uri):
    """The folder that a URI names; a relative one is not made absolute here, and is not remembered.

    Raises ValueError, with the spelling that was probably meant.
    """
    text = os.fspath(uri)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != SCHEME:
        raise ValueError(f"{text!r} is no store URI: it begins with {SCHEME}:, as {SCHEME}:///data/exp does")
    if "#" in rest:
        raise ValueError(f"{text!r} has a fragment: a # in a path is written %23")
    place, _, query = rest.partition("?")
    if place.startswith("//"):
        host, slash, below = place[2:].partition("/")
        if host:
            meant = f"{SCHEME}:///{host}{slash}{below}"
            raise ValueError(
                f"{text!r} names a host, {host!r}: a store is a folder of this machine. Did you mean {meant!r}, "
                f"or {SCHEME}:{host}{slash}{below} below the working directory? A server has an http: URI."
            )
        place = f"/{below}" if slash else ""
    path = os.fsdecode(unquote_to_bytes(place))
    if not path:
        raise ValueError(f"{text!r} names no folder: {SCHEME}:///data/exp does")
    if "\0" in path:
        raise ValueError(f"{text!r} has a NUL in its path")
    options = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError(f"the options of {text!r} are no key=value pairs") from None
    for key, value in pairs:
        if key not in KEYS:
            raise ValueError(f"{text!r} has an unknown option {key!r}: there are {', '.join(KEYS)}")
        if key in options:
            raise ValueError(f"{text!r} has the option {key!r} twice")
        options[key] = value
    durability = options.get("durability")
    if durability is not None and durability not in DURABILITIES:
        raise ValueError(f"{text!r}: durability is one of {', '.join(DURABILITIES)}, not {durability!r}")
    artifacts = options.get("artifacts")
    if artifacts == "":
        raise ValueError(f"{text!r}: artifacts is a URI or a path, not empty")
    return StoreUri(path, durability, artifacts)


def resolve(uri):
    """As :func:`parse`, with absolute paths. The same relative URI is the same folder as long as the process lives,
    and child processes inherit the absolute one."""
    text = os.fspath(uri)
    if text in _opened:
        return _opened[text]
    found = parse(text)
    artifacts = absolute_place(found.artifacts) if found.artifacts else None
    if os.path.isabs(found.path) and artifacts == found.artifacts:
        return found
    found = _opened.setdefault(text, StoreUri(os.path.abspath(found.path), found.durability, artifacts))
    _hand_down(text, found.uri)
    return found


def absolute_place(place):
    """An artifact place: URIs as they are, local paths absolute."""
    head, colon, _ = place.partition(":")
    if colon and head.isascii() and head[:1].isalpha() and all(c.isalnum() or c in "+-." for c in head):
        return place
    return os.path.abspath(place)


def _hand_down(relative, absolute):
    for name in INHERITED:
        if os.environ.get(name) == relative:
            os.environ[name] = absolute
    # What `mlflow.set_tracking_uri` and `set_registry_uri` were given. Looked up only: MLflow is not imported for it.
    for module, name in (
        ("mlflow.tracking._tracking_service.utils", "_tracking_uri"),
        ("mlflow.tracking._model_registry.utils", "_registry_uri"),
    ):
        module = sys.modules.get(module)
        if getattr(module, name, None) == relative:
            setattr(module, name, absolute)


__all__ = ["SCHEME", "StoreUri", "absolute_place", "parse", "resolve"]
