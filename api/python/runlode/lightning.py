"""A logger for Lightning (`lightning` or `pytorch_lightning`).

    from lightning.pytorch import Trainer
    from runlode.lightning import RunlodeLogger

    trainer = Trainer(logger=RunlodeLogger("exp", "digits"))
"""

import os
from argparse import Namespace

from . import _frameworks

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities.rank_zero import rank_zero_only
except ImportError:
    try:
        from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
        from pytorch_lightning.utilities.rank_zero import rank_zero_only
    except ImportError as cause:
        raise _frameworks.needs("lightning", "lightning", cause) from cause

_ENDS = {"success": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class RunlodeLogger(Logger):
    """Logs metrics and hyperparameters of a Lightning training to a run.

    store: a `Store`, or the path of one.
    experiment: name; created if it does not exist.
    name: of the run. Default: a random one.
    run: a run to continue, instead of a new one: a `Run`, its id, the beginning of its id, or its name.
    tags, params: of a new run, as of `Store.run`.
    prefix: for the names of metrics: `train` gives `train/loss`.
    log_checkpoints: whether the best and the last checkpoint become artifacts when the training ends.

    The run is created when it is first used, by the process of rank 0. It ends with the training: FINISHED, FAILED by an
    exception, KILLED by Ctrl-C. A `Run` that was given is left to its owner. `logger.experiment` is the run:
    `logger.experiment.log_figure(...)`.
    """

    LOGGER_JOIN_CHAR = "/"

    def __init__(
        self,
        store="runs",
        experiment="Default",
        *,
        name=None,
        run=None,
        tags=None,
        params=None,
        prefix="",
        log_checkpoints=False,
    ):
        super().__init__()
        self._store, self._experiment_name, self._name = store, experiment, name
        self._given, self._tags, self._params = run, tags, params
        self._prefix = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""
        self._log_checkpoints, self._checkpoints = log_checkpoints, None
        self._run = run if _frameworks.is_run(run) else None
        self._is_ours, self._has_ended = self._run is None, False

    @property
    @rank_zero_experiment
    def experiment(self):
        """The run, a `runlode.Run`; created at its first use."""
        if self._run is None or (self._has_ended and self._is_ours):
            store = _frameworks.store_of(self._store)
            if self._run is not None or self._given is not None:
                self._run = store.resume(self._given if self._run is None else self._run)
            else:
                self._run = store.run(self._experiment_name, self._name, self._tags, self._params)
            self._store, self._has_ended = store, False
        return self._run

    @property
    def name(self):
        """The experiment's name."""
        return self._experiment_name

    @property
    def version(self):
        """The run's id."""
        return self.experiment.run_id

    @property
    def save_dir(self):
        """None: checkpoints are below the trainer's `default_root_dir`."""
        return None

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        """Logs numbers at a step."""
        if numbers := _frameworks.numbers(metrics, self._prefix):
            self.experiment.log(numbers, step=step)

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        """Logs hyperparameters as params; nested ones get names such as `optimizer/lr`."""
        params = vars(params) if isinstance(params, Namespace) else dict(params or {})
        _frameworks.log_params(self.experiment, params)

    def after_save_checkpoint(self, checkpoint_callback):
        """Remembers where the checkpoints are."""
        self._checkpoints = checkpoint_callback

    @rank_zero_only
    def finalize(self, status):
        """Ends the run."""
        super().finalize(status)
        if self._run is None or self._has_ended:
            return
        if self._log_checkpoints and self._checkpoints is not None:
            files = (getattr(self._checkpoints, name, None) for name in ("best_model_path", "last_model_path"))
            for file in dict.fromkeys(files):
                if file and os.path.exists(file):
                    self._run.log_artifact(file, "checkpoints")
        if self._is_ours:
            self._run.end(_ENDS.get(status, "FINISHED"))
            self._has_ended = True

    def __getstate__(self):
        # A spawned process opens the store and the run itself.
        state = {**self.__dict__, "_checkpoints": None}
        if self._run is not None:
            state["_given"], state["_run"] = self._run.run_id, None
        elif _frameworks.is_run(self._given):
            state["_given"] = self._given.run_id
        return state
