"""Methods of `Store` and `Run` for experiments and for the life of runs."""

from ._errors import Invalid, NotFound


def listed(value):
    """Names of one or several things, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def similar(text, names):
    """`. Similar: ...`, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(text, list(names), 3, 0.6)
    return f". Similar: {', '.join(map(repr, close))}" if close else ""


def found(calls, experiment):
    """An experiment that is given as a dict, by its name, by its id, or by the beginning of its name."""
    if isinstance(experiment, dict):
        experiment = experiment["experiment_id"]
    elif isinstance(experiment, int) and not isinstance(experiment, bool):
        return calls.experiment(str(experiment))
    elif not isinstance(experiment, str):
        raise Invalid(f"an experiment's name or id was expected, not {type(experiment).__name__}")
    if by_name := calls.experiment_by_name(experiment):
        return by_name
    if experiment.isascii() and experiment.isdigit():
        return calls.experiment(experiment)
    names = {other["name"]: other for other in calls.search_experiments("", [], False, 10_000)}
    begin = [name for name in names if experiment and name.startswith(experiment)]
    if len(begin) == 1:
        return names[begin[0]]
    if begin:
        raise Invalid(f"{experiment!r} fits several experiments: {', '.join(map(repr, begin[:5]))}")
    raise NotFound(
        f"There is no experiment {experiment!r}: neither a name nor an id{similar(experiment, names)}"
    )


def ids(calls, experiments):
    """The ids of experiments, each given as `found` takes it."""
    return [found(calls, experiment)["experiment_id"] for experiment in experiments]


class Experiments:
    def experiments(self, filter="", *, order_by=None, limit=1000, deleted=False):
        """The experiments, last created first: list of dicts as of `get_experiment`.

        filter: as in MLflow: `name LIKE 'digits%' AND tags.team = 'vision'`.
        order_by: `name`, `creation_time DESC`, `last_update_time`; one or several.
        limit: maximum number of experiments.
        deleted: show deleted experiments instead of active ones.

            for experiment in store.experiments("name LIKE 'dig%'"):
                print(experiment["name"], experiment["tags"])
        """
        return self._calls.search_experiments(filter, listed(order_by), deleted, limit)

    def get_experiment(self, experiment):
        """An experiment: dict with experiment_id, name, artifact_location, lifecycle ("active" or "deleted"),
        creation_time_ms, last_update_time_ms, and the dict tags.

        experiment: name, unambiguous beginning of a name, or id. Raises NotFound, with similar names.

            store.get_experiment("digits")["experiment_id"]
        """
        return found(self._calls, experiment)

    def create_experiment(self, name, *, artifact_location=None, tags=None):
        """Creates an experiment; a dict as of `get_experiment`. Raises AlreadyExists if the name is taken, also by a
        deleted experiment. `Store.run` creates missing experiments by itself.

        artifact_location: root of its artifacts, a path or URI. Default: below the store's artifact root.
        tags: dict of str to anything, stored as its `str`.

            store.create_experiment("letters", tags={"team": "vision"})
        """
        if artifact_location is not None:
            import os

            from ._place import expanded, scheme

            artifact_location = os.fspath(artifact_location)
            if not scheme(artifact_location):
                artifact_location = os.path.abspath(expanded(artifact_location))
        return self._calls.create_experiment(name, artifact_location, tags)

    def rename_experiment(self, experiment, name):
        """Renames an experiment.

            store.rename_experiment("letters", "characters")
        """
        self._calls.rename_experiment(found(self._calls, experiment)["experiment_id"], name)

    def delete_experiment(self, experiment):
        """Deletes an experiment and hides its runs. `restore_experiment` brings all of it back.

            store.delete_experiment("characters")
        """
        self._calls.delete_experiment(found(self._calls, experiment)["experiment_id"])

    def restore_experiment(self, experiment):
        """Restores a deleted experiment with its runs.

            store.restore_experiment("characters")
        """
        self._calls.restore_experiment(found(self._calls, experiment)["experiment_id"])

    def set_experiment_tags(self, experiment, tags):
        """Sets tags of an experiment: dict of str to anything, stored as its `str`.

            store.set_experiment_tags("digits", {"mlflow.note.content": "baseline"})
        """
        self._calls.set_experiment_tags(found(self._calls, experiment)["experiment_id"], tags)

    def delete_experiment_tag(self, experiment, key):
        """Deletes a tag of an experiment. Raises NotFound if there is none.

            store.delete_experiment_tag("digits", "mlflow.note.content")
        """
        self._calls.delete_experiment_tag(found(self._calls, experiment)["experiment_id"], key)


class Runs:
    def delete_run(self, run):
        """Deletes a run: searches no longer show it. `restore_run` brings it back; `runlode compact` removes it for good.

            store.delete_run("trial-18")
        """
        self._calls.delete_run(self._run_id(run))

    def restore_run(self, run):
        """Restores a deleted run.

            store.restore_run("trial-18")
        """
        self._calls.restore_run(self._run_id(run))

    def rename_run(self, run, name):
        """Renames a run.

            store.rename_run("trial-18", "baseline")
        """
        self._calls.rename_run(self._run_id(run), name)

    def set_tags(self, run, tags):
        """Sets tags of a run, also of one that has ended: dict of str to anything, stored as its `str`.

            store.set_tags("trial-18", {"reviewed": True})
        """
        self._calls.set_run_tags(self._run_id(run), tags)

    def delete_tag(self, run, key):
        """Deletes a tag of a run. Raises NotFound if there is none.

            store.delete_tag("trial-18", "reviewed")
        """
        self._calls.delete_run_tag(self._run_id(run), key)

