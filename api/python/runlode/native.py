"""Opening a store."""

import os

from . import _runlode


def open(path, *, durability=None, artifacts=None, strict=False):
    """Opens the store in a folder, or creates one. Use it as a context manager, or call its `close`.

    path: a path, or `runlode:///abs/path`, `runlode:rel/path` (with `?durability=&artifacts=`; arguments given here
        win). Other processes may have the store open too. Within a process, all opens of a folder share one store.
    durability: of metric points. "buffered" (default): when a call returns, its points survive the death of this
        process, even `kill -9`, and within about 100 ms the death of the machine. "sync": both when it returns.
        Everything else (runs, params, tags, status) is always on the disk.
    artifacts: default artifact root, a URI or an absolute path. Default: `artifacts` in the folder.
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
