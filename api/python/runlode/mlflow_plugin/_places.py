"""The folder that the two stores of a URI open, and its artifact root."""

from mlflow.exceptions import MlflowException
from runlode import _uri

# Artifact roots of servers that run in this process, by folder. A server passes its root to the tracking store only, but
# the registry must name the same locations.
_roots = {}


def place(store_uri, artifact_uri=None):
    """The :class:`runlode._uri.StoreUri` for a URI from MLflow."""
    try:
        found = _uri.resolve(store_uri)
    except ValueError as error:
        raise MlflowException.invalid_parameter_value(str(error)) from None
    if artifact_uri:
        _roots[found.path] = _uri.absolute_place(str(artifact_uri))
    root = _roots.get(found.path)
    return _uri.StoreUri(found.path, found.durability, root) if root else found


def is_served(path):
    """Whether an MLflow server in this process serves the store in this folder."""
    return path in _roots
