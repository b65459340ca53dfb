"""How a store is opened."""

import os

from . import _runlode


def open(path, *, durability=None, artifacts=None, strict=False):
    """Opens the store in a folder, or makes one. Use it as a context manager, or call its `close`.

    path: a path, or `runlode:///abs/path`, `runlode:rel/path` (with `?durability=&artifacts=`; arguments given here
        win). Other processes may have the store open too; a process has one, however often it is opened.
    durability: of metric points. "buffered" (default): they outlive this process when the call returns, even if it is
        killed at once, and the machine within about 100 ms. "sync": they outlive the machine when it returns.
        Everything else (runs, params, tags, status) always does.
    artifacts: where default artifact places lie, a URI or an absolute path. Default: `artifacts` in the folder.
    strict: whether logging points raises when the disk is full, instead of counting them in `Run.dropped_points`.
    """
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if path.startswith("runlode:"):
        from ._uri import resolve

        given = resolve(path)
        path = given.path
        durability = durability or given.durability
        artifacts = artifacts or given.artifacts
    return _runlode.Store(path, durability=durability or "buffered", artifacts=artifacts, strict=strict)
