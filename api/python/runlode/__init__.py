"""Runlode: experiment tracking on an event-sourced store, in this process.

    import runlode

    store = runlode.open("exp")
    with store.run(experiment="digits", params={"lr": 0.01}) as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1), "acc": 0.9}, step=step)
    best = store.search("metrics.loss < 0.1", columns=["run_id", "metrics.loss"])
    curve = store.history(run, "loss").to_pandas()

Modules are loaded when they are first used: `import runlode` takes microseconds, with or without MLflow.
"""

# The module of each name; `__getattr__` imports it at its first use.
_HOMES = {
    "open": "native",
    "Store": "native",
    "Run": "native",
    "Past": "_runlode",
    "Table": "_runlode",
    "__version__": "_runlode",
    "Tail": "_tail",
    "Error": "_errors",
    "Invalid": "_errors",
    "NotFound": "_errors",
    "AlreadyExists": "_errors",
    "Conflict": "_errors",
    "ReadOnly": "_errors",
    "StorageFull": "_errors",
    "Unavailable": "_errors",
    "Closed": "_errors",
}

__all__ = sorted(name for name in _HOMES if name != "__version__")


def __getattr__(name):
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runlode' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"runlode.{home}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
