"""The entry points for MLflow: stores for ``runlode:`` URIs.

MLflow loads them at the first tracking call of every user, even of users without such a store, so nothing is imported
here.
"""


def tracking_store(store_uri, artifact_uri=None):
    """The tracking store of a URI. ``artifact_uri`` is the artifact root of an MLflow server."""
    from runlode.mlflow_plugin.tracking import RunlodeTrackingStore

    return RunlodeTrackingStore(store_uri, artifact_uri)


def model_registry_store(store_uri, tracking_uri=None):
    """The model registry store of a URI."""
    from runlode.mlflow_plugin.registry import RunlodeModelRegistryStore

    return RunlodeModelRegistryStore(store_uri, tracking_uri)
