"""Store URIs: the folder of a store, and options for opening it.

==========================  =====================================================================
``runlode:///data/exp``     the folder ``/data/exp``; ``runlode:/data/exp`` is the same
``runlode:~/exp``           ``exp`` in the home folder
``runlode:exp``             ``exp`` below the working directory at the first open; it stays that folder
``%20``, ``%3F``, ``%23``   a space, ``?``, ``#`` in a path
``?durability=sync``        metric points are on the disk when a call returns; default ``buffered``
``?artifacts=s3://b/x``     default artifact root; default ``artifacts`` below the store
==========================  =====================================================================

Child processes inherit the absolute form, so their working directory does not matter.
"""

import os
import sys
from urllib.parse import parse_qsl, quote, unquote_to_bytes

SCHEME = "runlode"
KEYS = ("artifacts", "durability")
DURABILITIES = ("buffered", "sync")
# Variables in which MLflow passes URIs to the processes that it starts.
INHERITED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE")

# Relative URIs that were opened, and their absolute forms.
_opened = {}


class StoreUri:
    """A folder and the options to open it with. ``uri`` is the same as text, absolute if ``path`` is."""

    __slots__ = ("artifacts", "durability", "path", "uri")

    def __init__(self, path, durability=None, artifacts=None):
        self.path, self.durability, self.artifacts = path, durability, artifacts
        query = [("durability", durability), ("artifacts", artifacts)]
        query = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in query if value)
        start = f"{SCHEME}://" if os.path.isabs(path) else f"{SCHEME}:"
        self.uri = start + quote(os.fsencode(path)) + (f"?{query}" if query else "")

    def __repr__(self):
        return f"StoreUri({self.uri!r})"


def parse(uri):
    """The folder that a URI names. A relative one is neither made absolute nor remembered here.

    Raises ValueError, with the spelling that was probably meant.
    """
    text = os.fspath(uri)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != SCHEME:
        raise ValueError(f"{text!r} is not a store URI: one begins with {SCHEME}:, for example {SCHEME}:///data/exp")
    if "#" in rest:
        raise ValueError(f"{text!r} has a fragment: write a # in a path as %23")
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
    path = os.path.expanduser(os.fsdecode(unquote_to_bytes(place)))
    if not path:
        raise ValueError(f"{text!r} names no folder: write for example {SCHEME}:///data/exp")
    if "\0" in path:
        raise ValueError(f"{text!r} has a NUL in its path")
    options = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError(f"the options of {text!r} are not key=value pairs") from None
    for key, value in pairs:
        if key not in KEYS:
            raise ValueError(f"{text!r} has an unknown option {key!r}: use {', '.join(KEYS)}")
        if key in options:
            raise ValueError(f"{text!r} has the option {key!r} twice")
        options[key] = value
    durability = options.get("durability")
    if durability is not None and durability not in DURABILITIES:
        raise ValueError(f"{text!r}: durability must be one of {', '.join(DURABILITIES)}, not {durability!r}")
    artifacts = options.get("artifacts")
    if artifacts == "":
        raise ValueError(f"{text!r}: artifacts must be a URI or a path, not empty")
    return StoreUri(path, durability, artifacts)


def resolve(uri):
    """As :func:`parse`, with absolute paths. A relative URI means the same folder as long as the process lives, and
    child processes inherit the absolute form."""
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
    """An artifact location: URIs unchanged, local paths and relative ``file:`` URIs absolute."""
    head, colon, rest = place.partition(":")
    if head.lower() == "file" and colon and not rest.startswith("/"):
        path, mark, more = _path_of(rest)
        return f"file://{os.path.abspath(os.fsdecode(unquote_to_bytes(path)))}{mark}{more}"
    if colon and head.isascii() and head[:1].isalpha() and all(c.isalnum() or c in "+-." for c in head):
        return place
    return os.path.abspath(os.path.expanduser(place))


def _path_of(rest):
    """The path of a URI without scheme and host, the sign that ends it, and what follows."""
    end = min((at for at in map(rest.find, "?#") if at >= 0), default=len(rest))
    return rest[:end], rest[end : end + 1], rest[end + 1 :]


def _hand_down(relative, absolute):
    for name in INHERITED:
        if os.environ.get(name) == relative:
            os.environ[name] = absolute
    # The arguments of `mlflow.set_tracking_uri` and `set_registry_uri`. Only looked up: MLflow is not imported for it.
    for module, name in (
        ("mlflow.tracking._tracking_service.utils", "_tracking_uri"),
        ("mlflow.tracking._model_registry.utils", "_registry_uri"),
    ):
        module = sys.modules.get(module)
        if getattr(module, name, None) == relative:
            setattr(module, name, absolute)


__all__ = ["SCHEME", "StoreUri", "absolute_place", "parse", "resolve"]
