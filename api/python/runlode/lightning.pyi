from argparse import Namespace
from collections.abc import Mapping
from os import PathLike
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from . import Run, RunDict, Store

class RunlodeLogger(Logger):
    def __init__(
        self,
        store: Store | str | PathLike[str] = "runs",
        experiment: str = "Default",
        *,
        name: str | None = None,
        run: Run | str | RunDict | None = None,
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        prefix: str = "",
        log_checkpoints: bool = False,
    ) -> None: ...
    @property
    def experiment(self) -> Run: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def save_dir(self) -> None: ...
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None: ...
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None: ...
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None: ...
    def finalize(self, status: str) -> None: ...
