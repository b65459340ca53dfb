"""A callback for the Trainer of Hugging Face's Transformers.

    from transformers import Trainer
    from runlode.transformers import RunlodeCallback

    trainer = Trainer(model, args, train_dataset=data, callbacks=[RunlodeCallback("exp", "digits")])
"""

import os

from . import _frameworks

try:
    from transformers import TrainerCallback
except ImportError as cause:
    raise _frameworks.needs("transformers", "transformers", cause) from cause


class RunlodeCallback(TrainerCallback):
    """Logs what a Trainer logs, its arguments and the model's configuration to a run.

    store: a `Store`, or the path of one.
    experiment: name; created if it does not exist.
    name: of the run. Default: `run_name` of the training's arguments, else a random one.
    run: a run to continue, instead of a new one: a `Run`, its id, the beginning of its id, or its name. Where training
        resumes from a checkpoint, the run is rewound to the checkpoint's step.
    tags: of a new run.
    log_checkpoints: whether checkpoints become artifacts.

    The run ends with the training; a `Run` that was given is left to its owner, as in

        with store.run("digits") as run:
            Trainer(..., callbacks=[RunlodeCallback(run=run)]).train()

    where an exception marks the run FAILED. In a distributed training, the process of rank 0 logs.
    """

    def __init__(
        self, store="runs", experiment="Default", *, name=None, run=None, tags=None, log_checkpoints=False
    ):
        self._store, self._experiment, self._name = store, experiment, name
        self._given, self._tags, self._log_checkpoints = run, tags, log_checkpoints
        self._is_ours = not _frameworks.is_run(run)
        self._training = False
        self.run = None if self._is_ours else run

    def _begin(self, args, state, model=None):
        """The run of a training, or of an evaluation without one."""
        if self._is_ours:
            self._store = _frameworks.store_of(self._store)
            if self._given is not None:
                self.run = self._store.resume(self._given)
            else:
                name = self._name or getattr(args, "run_name", None)
                if name == getattr(args, "output_dir", None):
                    # Older versions take the folder for a name.
                    name = self._name
                self.run = self._store.run(self._experiment, name, self._tags)
        if self._given is not None and state.global_step:
            self.run.rewind(state.global_step)
        params = args.to_dict()
        config = getattr(model, "config", None)
        if hasattr(config, "to_dict"):
            params["model"] = config.to_dict()
        _frameworks.log_params(self.run, params)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Opens the run."""
        if state.is_world_process_zero:
            self._begin(args, state, model)
            self._training = True

    def on_log(self, args, state, control, logs=None, model=None, **kwargs):
        """Logs the numbers."""
        if not state.is_world_process_zero or not logs:
            return
        if self.run is None:
            self._begin(args, state, model)
        if numbers := _frameworks.numbers(logs):
            self.run.log(numbers, step=state.global_step)

    def on_save(self, args, state, control, **kwargs):
        """Copies the checkpoint, if that is wanted."""
        if self._log_checkpoints and self.run is not None and state.is_world_process_zero:
            name = f"checkpoint-{state.global_step}"
            folder = os.path.join(args.output_dir, name)
            if os.path.isdir(folder):
                self.run.log_artifacts(folder, name)

    def on_train_end(self, args, state, control, **kwargs):
        """Ends the run. Evaluations that follow still log to it."""
        if self._training and self._is_ours and state.is_world_process_zero:
            self.run.end()
            self._training = False
