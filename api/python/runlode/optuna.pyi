from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TypeVar

from optuna import Study, Trial
from optuna.trial import FrozenTrial

from . import Run, RunDict, Store

_Value = TypeVar("_Value", bound=float | Sequence[float])

class RunlodeCallback:
    def __init__(
        self,
        store: Store | str | PathLike[str] = "runs",
        experiment: str | None = None,
        *,
        parent: Run | str | RunDict | None = None,
        metric_names: str | Sequence[str] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None: ...
    def track(self, objective: Callable[[Trial, Run], _Value]) -> Callable[[Trial], _Value]: ...
    def __call__(self, study: Study, trial: FrozenTrial) -> None: ...
