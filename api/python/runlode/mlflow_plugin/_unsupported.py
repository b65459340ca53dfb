"""Refuses calls for things that a store does not keep: traces and what is built on them."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED
from mlflow.store.entities.paged_list import PagedList

NAMES = {
    "webhooks": "create_webhook get_webhook list_webhooks update_webhook delete_webhook test_webhook",
    "traces": (
        "delete_traces get_trace_info get_trace batch_get_traces batch_get_trace_infos archive_traces "
        "get_online_trace_details search_traces find_completed_sessions query_trace_metrics set_trace_tag "
        "delete_trace_tag log_spans log_spans_async link_traces_to_run unlink_traces_from_run link_prompts_to_trace "
        "calculate_trace_filter_correlation start_trace_v3 deprecated_start_trace_v2 deprecated_end_trace_v2"
    ),
    "assessments": "get_assessment create_assessment update_assessment delete_assessment",
    "issues": "create_issue get_issue update_issue search_issues",
    "evaluation datasets": (
        "create_dataset get_dataset delete_dataset search_datasets upsert_dataset_records delete_dataset_records "
        "set_dataset_tags delete_dataset_tag get_dataset_experiment_ids _load_dataset_records "
        "add_dataset_to_experiments remove_dataset_from_experiments"
    ),
    "scorers": (
        "register_scorer list_scorers get_scorer list_scorer_versions delete_scorer upsert_online_scoring_config "
        "get_online_scoring_configs get_active_online_scorers"
    ),
    "label schemas": (
        "create_label_schema get_label_schema get_label_schema_by_name list_label_schemas update_label_schema "
        "delete_label_schema"
    ),
    "review queues": (
        "create_review_queue get_or_create_user_queue get_review_queue get_review_queue_by_name list_review_queues "
        "update_review_queue delete_review_queue add_items_to_review_queue remove_items_from_review_queue "
        "list_review_queue_items set_review_queue_item_status"
    ),
}


# Lists that the pages of an MLflow server ask for: empty there, because an error would fill the page with red.
LISTED = frozenset(
    (
        "query_trace_metrics search_datasets search_issues list_webhooks list_scorers get_online_scoring_configs "
        "list_label_schemas list_review_queues list_review_queue_items list_secret_infos "
        "list_gateway_endpoints list_gateway_model_definitions list_endpoint_bindings list_budget_policies "
        "list_gateway_guardrails list_endpoint_guardrail_configs search_mcp_servers search_mcp_server_versions "
        "search_mcp_access_endpoints batch_get_traces batch_get_trace_infos"
    ).split()
)

# Mixins of MLflow's base class, to be refused completely.
MIXINS = {"GatewayStoreMixin": "gateway endpoints", "MCPServerRegistryMixin": "MCP servers"}


class NotKept(MlflowException, NotImplementedError):
    """The store does not keep such things. MLflow checks for either base class, depending on the place."""

    def __init__(self, what):
        super().__init__(
            f"A runlode store keeps experiments, runs, models and the model registry, but not {what}: use another "
            "tracking URI for them.",
            error_code=NOT_IMPLEMENTED,
        )
        self.what = what

    def __reduce__(self):
        return NotKept, (self.what,)


def refuse(base):
    """A class decorator: methods that ``base`` has and the class lacks raise NotKept."""

    def decorate(cls):
        for what, names in NAMES.items():
            for name in names.split():
                if hasattr(base, name) and name not in vars(cls):
                    setattr(cls, name, _refusing(name, what, getattr(base, name)))
        for mixin in base.__mro__:
            if what := MIXINS.get(mixin.__name__):
                for name, original in vars(mixin).items():
                    if callable(original) and not name.startswith("_") and name not in vars(cls):
                        setattr(cls, name, _refusing(name, what, original))
        return cls

    return decorate


def _refusing(name, what, original):
    def method(self, *args, **kwargs):
        if name in LISTED and self._serves:
            return PagedList([], None)
        raise NotKept(what)

    async def async_method(self, *args, **kwargs):
        raise NotKept(what)

    made = async_method if name.endswith("_async") else method
    made.__name__ = name
    made.__qualname__ = getattr(original, "__qualname__", name)
    made.__doc__ = f"Raises NotKept: a runlode store keeps no {what}."
    if name in LISTED:
        made.__doc__ += " For a server's pages: an empty list."
    return made
