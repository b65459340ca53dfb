"""MLflow's tracking store in process. The calls themselves are native; see ``runlode._runlode.Tracking``."""

import copy
import json
import logging
from concurrent.futures import Future

from mlflow.entities import ViewType
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.async_logging.run_operations import RunOperations
from runlode import _runlode
from runlode.mlflow_plugin._places import place
from runlode.mlflow_plugin._projects import prepare as prepare_launches
from runlode.mlflow_plugin._unsupported import NotKept, refuse

_logger = logging.getLogger(__name__)
_warned = set()


def _warn_once(text):
    if text not in _warned:
        _warned.add(text)
        _logger.warning(text)


@refuse(AbstractStore)
class RunlodeTrackingStore(_runlode.Tracking, AbstractStore):
    """The tracking store of a folder.

    Points are logged at once, without a queue, so the asynchronous calls just make the plain ones.
    """

    def __new__(cls, store_uri, artifact_uri=None):
        found = place(store_uri, artifact_uri)
        self = super().__new__(cls, found.path, found.durability, found.artifacts, artifact_uri is not None)
        self.store_uri, self.artifact_root_uri = found.uri, found.artifacts
        self._serves = artifact_uri is not None
        return self

    def __init__(self, store_uri, artifact_uri=None):
        super().__init__()
        self._given = (store_uri, artifact_uri)
        _fill_registry_table()
        prepare_launches()

    def __reduce__(self):
        return type(self), self._given

    # Asynchronous logging: done at once. `wait` raises errors, as with MLflow's own stores.

    def log_batch_async(self, run_id, metrics, params, tags):
        return _done(self.log_batch, run_id, metrics, params, tags)

    def log_metric_async(self, run_id, metric):
        return _done(self.log_metric, run_id, metric)

    def log_param_async(self, run_id, param):
        return _done(self.log_param, run_id, param)

    def set_tag_async(self, run_id, tag):
        return _done(self.set_tag, run_id, tag)

    def end_async_logging(self):
        pass

    def flush_async_logging(self):
        pass

    def shut_down_async_logging(self):
        pass

    # Models in the form of MLflow 2.

    def record_logged_model(self, run_id, mlflow_model):
        from mlflow.models import Model

        if not isinstance(mlflow_model, Model):
            raise TypeError(f"Argument 'mlflow_model' should be mlflow.models.Model, got '{type(mlflow_model)}'")
        self._record_logged_model(run_id, json.dumps(mlflow_model.get_tags_dict()))

    # What MLflow's own stores tell of deleted runs.

    def _get_deleted_runs(self, older_than=0):
        if older_than:
            raise NotKept("lists of runs by the age of their deletion (`runlode gc --older-than` has them)")
        experiments = [experiment.experiment_id for experiment in _pages(self.search_experiments, ViewType.ALL, 1000, None, None)]
        runs = _pages(self.search_runs, experiments, "", ViewType.DELETED_ONLY, 1000, None)
        return [run.info.run_id for run in runs]

    # Traces are not kept. MLflow exports them by itself, from autologging too, and that must not disturb a training.

    def start_trace(self, trace_info):
        if self._serves:
            # Clients of a server get a 501, and warn by themselves.
            raise NotKept("traces")
        _warn_once("Traces are not kept by a runlode store; they are dropped.")
        from mlflow.tracing.constant import SpansLocation, TraceTagKey

        # With this tag, MLflow does not look for spans elsewhere.
        dropped = copy.copy(trace_info)
        dropped.tags = {**trace_info.tags, TraceTagKey.SPANS_LOCATION: SpansLocation.TRACKING_STORE.value}
        return dropped

    # The pages of an MLflow server ask for these (see also `_unsupported.LISTED`): an empty answer is better than an error.

    def search_traces(self, *args, **kwargs):
        if self._serves:
            return PagedList([], None), None
        raise NotKept("traces")


def _fill_registry_table():
    """Makes MLflow enter the plugins in its table of registry stores now.

    MLflow publishes the table at its first use, before the plugins are in it: if several threads make that first use at
    once, some find no store for ``runlode:``. MLflow makes tracking stores under a lock, and before registry stores.
    """
    from mlflow.tracking._model_registry import utils

    fill = getattr(utils, "_get_store_registry", None)
    if fill:
        fill()


def _pages(search, *args):
    """All that a search finds; its last argument is the token of a page."""
    token = None
    while True:
        page = search(*args, token)
        yield from page
        token = page.token
        if not token:
            return


def _done(call, *args):
    try:
        call(*args)
    except Exception as error:
        failed = Future()
        failed.set_exception(error)
        return RunOperations([failed])
    return RunOperations([])
