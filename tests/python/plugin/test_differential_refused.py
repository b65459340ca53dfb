"""What a store does not keep is refused in words."""

import inspect

import pytest

pytest.importorskip("mlflow")
from mlflow.exceptions import MlflowException  # noqa: E402


def test_what_is_not_kept_is_said(store):
    """Every other method of MLflow's store says so, and never answers nothing."""
    from mlflow.store.tracking.abstract_store import AbstractStore

    refusing = 0
    for name, method in inspect.getmembers(AbstractStore, inspect.isfunction):
        if "NotKept" not in (getattr(type(store), name).__doc__ or ""):
            continue
        refusing += 1
        found = getattr(store, name)
        if inspect.iscoroutinefunction(found):
            found = lambda call=found: call().send(None)  # noqa: E731
        with pytest.raises(NotImplementedError, match="A runlode store keeps experiments") as error:
            found()
        assert isinstance(error.value, MlflowException) and error.value.error_code == "NOT_IMPLEMENTED", name
    assert refusing > 100
    # Of what is left nothing is as MLflow left it open.
    left = [
        name
        for name, method in inspect.getmembers(AbstractStore, inspect.isfunction)
        if getattr(type(store), name) is method and "raise NotImplementedError" in inspect.getsource(method)
    ]
    assert left in ([], ["_delete_traces"]), left


def test_webhooks_are_refused_in_words(registry):
    for call, args in [(registry.create_webhook, ("n", "https://example.com", [])), (registry.list_webhooks, ()), (registry.get_webhook, ("1",))]:
        with pytest.raises(MlflowException, match="not webhooks") as refused:
            call(*args)
        assert refused.value.error_code == "NOT_IMPLEMENTED" and isinstance(refused.value, NotImplementedError)
    assert registry.list_webhooks_by_event(None) == []
