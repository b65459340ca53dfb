from collections.abc import Mapping
from os import PathLike

from transformers import TrainerCallback

from . import Run, RunDict, Store

class RunlodeCallback(TrainerCallback):
    run: Run | None
    def __init__(
        self,
        store: Store | str | PathLike[str] = "runs",
        experiment: str = "Default",
        *,
        name: str | None = None,
        run: Run | str | RunDict | None = None,
        tags: Mapping[str, object] | None = None,
        log_checkpoints: bool = False,
    ) -> None: ...
