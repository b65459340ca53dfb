"""What the integrations share: a store or its path, numbers among what is logged, params that fit.

A training goes on where something cannot be logged: a warning says what is missing.
"""

import re
import warnings

from ._runlode import Run, Store

# The longest value of a param, as MLflow has it.
_VALUE_MAX = 6000
_ODD = re.compile(r"[^\w.\-/ :]", re.ASCII)


def needs(framework, package, cause):
    """The error of a framework that is not installed."""
    return ImportError(f"runlode.{framework} needs {package}: `pip install {package}`", name=cause.name)


def store_of(store):
    """The store: itself, or opened by its path."""
    if isinstance(store, Store):
        return store
    from . import open

    return open(store)


def is_run(value):
    """Whether it is an open run, which its owner ends."""
    return isinstance(value, Run)


def flat(params, prefix=""):
    """Nested dicts and lists of dicts as one dict, with names such as `optimizer/lr`."""
    out = {}
    for key, value in params.items():
        name = f"{prefix}{_ODD.sub('_', str(key)) or '_'}"
        if isinstance(value, dict) and value:
            out.update(flat(value, f"{name}/"))
        else:
            out[name] = value
    return out


def log_params(run, params):
    """Logs params; one that has another value already is left as it is, and a warning says so."""
    texts = {}
    for name, value in flat(params).items():
        text = str(value)
        texts[name] = text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 3]}..."
    before = run.params
    kept = sorted(name for name, text in texts.items() if before.get(name, text) != text)
    if kept:
        shown = ", ".join(kept[:5]) + (", ..." if len(kept) > 5 else "")
        text = f"runlode: run {run.run_id} keeps the first values of params that changed: {shown}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    run.log_params({name: text for name, text in texts.items() if name not in before})


def numbers(metrics, prefix=""):
    """The metrics that are numbers or tensors of one element, by names that a store takes."""
    out = {}
    for key, value in metrics.items():
        if not isinstance(value, (int, float)):
            if isinstance(value, (str, bytes, dict, list, tuple)) or value is None or not hasattr(value, "item"):
                continue
            if getattr(value, "size", None) not in (1, None) and not callable(value.size):
                continue
            if hasattr(value, "numel") and value.numel() != 1:
                continue
            value = value.item()
        out[f"{prefix}{_ODD.sub('_', str(key))}"] = value
    return out
