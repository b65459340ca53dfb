"""Answers without a row that ask for a name that does not exist: a warning says which names are similar."""

import re
import warnings

# `metrics.loss`, `params."a b"`, tags.`a b`, as in filters.
_NAMED = re.compile(r"\b(metrics?|params?|parameters?|tags?)\.(?:`([^`]*)`|\"([^\"]*)\"|([\w./\-]+))")
_STATS = (".min", ".max", ".first", ".count", ".last")


def metric(run, keys, names):
    """Warns of metrics that a run does not have, where it has similar ones."""
    for key in keys:
        if key not in names:
            _warn(f"run {run} has no metric {key!r}", key, names)


def in_filter(text, columns):
    """Warns of names in a filter that no run has; `columns`: those of a table of runs, such as `metrics.loss`."""
    names = {}
    for column in columns:
        kind, _, name = column.partition(".")
        names.setdefault(kind, []).append(name)
    for found in _NAMED.finditer(text):
        kind = {"m": "metrics", "p": "params", "t": "tags"}[found[1][0]]
        name = next(part for part in found.groups()[1:] if part is not None)
        there = names.get(kind, [])
        base = next((name.removesuffix(stat) for stat in _STATS if name.endswith(stat)), name)
        if name not in there and base not in there:
            _warn(f"no run has a {kind.removesuffix('s')} {name!r}", base, there)


def _warn(what, name, names):
    from ._experiments import similar

    if close := similar(name, names):
        warnings.warn(f"runlode: {what}{close}", UserWarning, stacklevel=3)
