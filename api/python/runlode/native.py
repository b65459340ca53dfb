"""Opening a store. The classes are native; their methods for artifacts, experiments and models are written in Python."""

from . import _artifacts, _experiments, _registry, _runlode

Store, Run = _runlode.Store, _runlode.Run


def _extend(native, *parts):
    for part in parts:
        for name, method in vars(part).items():
            if not name.startswith("__"):
                method.__qualname__ = f"{native.__name__}.{name}"
                method.__module__ = "runlode"
                setattr(native, name, method)


_extend(Store, _experiments.Experiments, _experiments.Runs, _registry.Models, _artifacts.OfStore)
_extend(Run, _artifacts.OfRun)


def open(path, *, durability=None, artifacts=None, strict=False, read_only=False):
    """Opens the store in a folder, or creates one. Use it as a context manager, or call its `close`.

    path: a path (`~` is your home folder), or `runlode:///abs/path`, `runlode:rel/path` (with
        `?durability=&artifacts=`; arguments given here win). Other processes may have the store open too. Within a
        process, all opens of a folder share one store.
    durability: of metric points. "buffered" (default): when a call returns, its points survive the death of this
        process, even `kill -9`, and within about 100 ms the death of the machine. "sync": both when it returns.
        Everything else (runs, params, tags, status) is always on the disk.
    artifacts: default artifact root, a path or URI. Default: `artifacts` in the folder.
    strict: whether logging points raises when the disk is full, instead of counting them in `Run.dropped_points`.
    read_only: open an existing store for reading, whoever else has it open: nothing is written to its folder, which may be
        a copy or on a medium that cannot be written. What others write is seen within about a second. Calls that change
        something raise `runlode.ReadOnly`.

        with runlode.open("~/experiments") as store:
            print(store.search(limit=5))
    """
    return Store(path, durability=durability, artifacts=artifacts, strict=strict, read_only=read_only)
