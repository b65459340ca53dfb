"""The folder that `runlode.open` is given: a path, or a `runlode:` URI."""

import os

from ._errors import Invalid

# What to do with places that other tools take.
_MEANT = {
    "file": "give its path instead, without `file:`",
    "http": "that is a server: use MLflow's client, `mlflow.set_tracking_uri({text!r})`",
    "https": "that is a server: use MLflow's client, `mlflow.set_tracking_uri({text!r})`",
    "sqlite": "that is a database of MLflow: `runlode import {text} ./store` makes a store of it, then open `./store`",
    "postgresql": "that is a database: Runlode imports SQLite databases of MLflow (`runlode import sqlite:///mlflow.db ./store`)",
    "mysql": "that is a database: Runlode imports SQLite databases of MLflow (`runlode import sqlite:///mlflow.db ./store`)",
    "s3": "a store is a local folder; artifacts may be there: `runlode.open('exp', artifacts={text!r})`",
    "gs": "a store is a local folder; artifacts may be there: `runlode.open('exp', artifacts={text!r})`",
}


def resolve(path, durability=None, artifacts=None):
    """Folder, durability and artifact root of an open. Arguments win over the options of a URI."""
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text:
        raise Invalid("the path of a store is empty: give a folder, for example runlode.open('exp')")
    if "\0" in text:
        raise Invalid(f"{text!r} has a NUL in it, which no path has")
    head = scheme(text)
    if head == "runlode":
        from ._uri import resolve as resolve_uri

        try:
            given = resolve_uri(text)
        except ValueError as error:
            raise Invalid(str(error)) from None
        text, durability, artifacts = given.path, durability or given.durability, artifacts or given.artifacts
    elif head:
        # A folder may have such a name, but hardly anybody means that.
        what = _MEANT.get(head, "a store is a local folder").format(text=text)
        raise Invalid(f"{text!r} begins like a URI, not like a folder: {what}. A folder of this name is './{text}'")
    if artifacts is not None:
        artifacts = os.fspath(artifacts)
        if not scheme(artifacts):
            artifacts = os.path.abspath(expanded(artifacts))
    # Absolute: the working directory may change while the store is open.
    return os.path.abspath(expanded(text)), durability or "buffered", artifacts


def scheme(text):
    """The scheme that a text begins with, in small letters; empty if it is a path. One letter is a drive."""
    head, colon, _ = text.partition(":")
    if colon and len(head) > 1 and head.isascii() and head[0].isalpha() and all(c.isalnum() or c in "+-." for c in head):
        return head.lower()
    return ""


def expanded(path):
    """The path with the home folder for `~` and `~user`."""
    home = os.path.expanduser(path)
    if home.startswith("~"):
        raise Invalid(f"{path!r}: there is no home folder for {home.split('/')[0]!r}; a folder of this name is './{path}'")
    return home


def reopen(path, durability, artifacts, strict, read_only):
    """Opens a store in the process that unpickles it."""
    from . import open

    return open(path, durability=durability, artifacts=artifacts, strict=strict, read_only=read_only)
