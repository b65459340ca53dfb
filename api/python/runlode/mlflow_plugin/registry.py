"""MLflow's model registry store in process. The calls themselves are native; see ``runlode._runlode.Registry``."""

from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore
from runlode import _runlode
from runlode.mlflow_plugin._places import is_served, place
from runlode.mlflow_plugin._unsupported import refuse


@refuse(AbstractStore)
class RunlodeModelRegistryStore(_runlode.Registry, AbstractStore):
    """The model registry of a folder. Prompts and copies are MLflow's own code on top of these calls."""

    def __new__(cls, store_uri, tracking_uri=None):
        found = place(store_uri)
        self = super().__new__(cls, found.path, found.durability, found.artifacts)
        self.store_uri = found.uri
        self._path = found.path
        return self

    def __init__(self, store_uri, tracking_uri=None):
        super().__init__(store_uri, tracking_uri)
        self._given = (store_uri, tracking_uri)

    def __reduce__(self):
        return type(self), self._given

    @property
    def _serves(self):
        # MLflow tells only the tracking store, which may be made later.
        return is_served(self._path)

    def create_model_version(
        self,
        name,
        source,
        run_id=None,
        tags=None,
        run_link=None,
        description=None,
        local_model_path=None,
        model_id=None,
    ):
        try:
            return super().create_model_version(
                name, source, run_id, tags, run_link, description, local_model_path, model_id
            )
        except MlflowException:
            # Tracking may be in another store, which then has the logged model.
            found = _logged_elsewhere(source, None if run_id else model_id)
            if not found:
                raise
            place, source_run = found
            return self._create_model_version_of_another_store(
                name, source, run_id or source_run, tags, run_link, description, model_id, place
            )

    # MLflow's own method asks the tracking store.
    link_prompts_to_trace = AbstractStore.link_prompts_to_trace

    def list_webhooks_by_event(self, event, max_results=None, page_token=None):
        # There are none. A server asks at every write, and would log a NotKept each time.
        return PagedList([], None)


def _logged_elsewhere(source, model_id):
    """Location and run, in the tracking store, of the logged model that a version refers to."""
    from mlflow.store.artifact.utils.models import _parse_model_uri
    from mlflow.tracking import is_tracking_uri_set
    from mlflow.tracking.client import MlflowClient

    if not is_tracking_uri_set():
        # Otherwise MLflow would create an empty database in the working directory.
        return None
    try:
        logged = _parse_model_uri(source).model_id if str(source).startswith("models:") else None
        if not (logged or model_id):
            return None
        found = MlflowClient().get_logged_model(logged or model_id)
    except Exception:
        # The caller raises the registry's own error.
        return None
    return found.artifact_location if logged else source, found.source_run_id
