"""A callback for studies of Optuna: each trial becomes a run.

    import optuna
    from runlode.optuna import RunlodeCallback

    tracked = RunlodeCallback("exp", "search")

    @tracked.track
    def objective(trial, run):
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        for step in range(10):
            run.log({"loss": lr / (step + 1)}, step=step)
        return lr

    optuna.create_study().optimize(objective, n_trials=20, callbacks=[tracked])

`track` may be left out: the callback alone makes a run of each finished trial, with its intermediate values.
"""

import functools
import threading

from . import _frameworks

_ENDS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


class RunlodeCallback:
    """Makes a run of each trial: its params, values, intermediate values, and its state as tags.

    store: a `Store`, or the path of one.
    experiment: name; created if it does not exist. Default: the name of the study.
    parent: a run that the trials' runs are parts of. Its experiment is the default then.
    metric_names: of the values that a trial returns. Default: those of the study (`set_metric_names`), else `value`, or
        `value_0`, `value_1`, ...
    tags: of every run.

    It may be used by several threads (`n_jobs`) and processes of one study.
    """

    def __init__(self, store="runs", experiment=None, *, parent=None, metric_names=None, tags=None):
        self._store, self._experiment, self._parent, self._tags = store, experiment, parent, tags
        self._metric_names = [metric_names] if isinstance(metric_names, str) else metric_names
        self._lock = threading.Lock()
        # Runs of trials that `track` began, by study and number.
        self._runs = {}

    def _new(self, study_name, number):
        with self._lock:
            self._store = store = _frameworks.store_of(self._store)
        experiment = self._experiment or (None if self._parent is not None else study_name)
        tags = {**(self._tags or {}), "optuna.study": study_name, "optuna.trial": number}
        return store.run(experiment, f"trial-{number}", tags, parent=self._parent)

    def track(self, objective):
        """A decorator of an objective of two arguments, the trial and its run: metrics can be logged while it runs."""

        @functools.wraps(objective)
        def tracked(trial):
            run = self._new(trial.study.study_name, trial.number)
            with self._lock:
                self._runs[trial.study.study_name, trial.number] = run
            try:
                return objective(trial, run)
            except BaseException as error:
                if type(error).__name__ == "TrialPruned":
                    # The callback ends it.
                    raise
                _note(run, trial.params, {"optuna.state": "FAIL"})
                run.end("FAILED")
                raise

        return tracked

    def __call__(self, study, trial):
        """Completes the run of a finished trial. Optuna calls it."""
        with self._lock:
            run = self._runs.pop((study.study_name, trial.number), None)
        if run is None:
            run = self._new(study.study_name, trial.number)
        for step, value in sorted(trial.intermediate_values.items()):
            run.log({"intermediate_value": value}, step=step)
        if trial.values is not None:
            run.log(dict(zip(self._names(study, len(trial.values)), trial.values)), step=0)
        tags = {"optuna.state": trial.state.name, "optuna.direction": _directions(study)}
        tags |= {f"optuna.user.{key}": value for key, value in trial.user_attrs.items()}
        _note(run, trial.params, tags)
        run.end(_ENDS.get(trial.state.name, "FINISHED"))

    def _names(self, study, count):
        names = self._metric_names or getattr(study, "metric_names", None)
        if names is None:
            return ["value"] if count == 1 else [f"value_{at}" for at in range(count)]
        if len(names) != count:
            raise ValueError(f"metric_names has {len(names)} names, but the objective returns {count} values")
        return names

    def __getstate__(self):
        # Processes of a study open the store themselves.
        parent = self._parent.run_id if _frameworks.is_run(self._parent) else self._parent
        return {**self.__dict__, "_lock": None, "_runs": {}, "_parent": parent}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _directions(study):
    return ",".join(direction.name for direction in study.directions)


def _note(run, params, tags):
    _frameworks.log_params(run, params)
    run.set_tags(tags)
