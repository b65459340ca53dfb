"""MLflow's model registry store in process. The calls themselves are native; see ``runlode._runlode.Registry``."""

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore
from runlode import _runlode
from runlode.mlflow_plugin._places import place
from runlode.mlflow_plugin._unsupported import refuse


@refuse(AbstractStore)
class RunlodeModelRegistryStore(_runlode.Registry, AbstractStore):
    """The model registry of a folder. Prompts and copies are MLflow's own code over these calls."""

    def __new__(cls, store_uri, tracking_uri=None):
        found = place(store_uri)
        self = super().__new__(cls, found.path, found.durability, found.artifacts)
        self.store_uri = found.uri
        return self

    def __init__(self, store_uri, tracking_uri=None):
        super().__init__(store_uri, tracking_uri)
        self._given = (store_uri, tracking_uri)

    def __reduce__(self):
        return type(self), self._given

    # It asks the tracking store, whose answer it is.
    link_prompts_to_trace = AbstractStore.link_prompts_to_trace

    def list_webhooks_by_event(self, event, max_results=None, page_token=None):
        # There are none. A server asks at every write, and would log a refusal each time.
        return PagedList([], None)
