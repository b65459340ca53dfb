"""Methods of `Store` for the model registry."""

from ._errors import Invalid, NotFound
from ._experiments import listed, similar

_STAGES = ("None", "Staging", "Production", "Archived")


def _number(version):
    """A version's number as a text."""
    if isinstance(version, bool) or not isinstance(version, (int, str)):
        raise Invalid(f"a version's number was expected, not {type(version).__name__}")
    text = str(version)
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{text!r} is no number of a version: use get_model_version(name, alias=...) for an alias")
    return text


def _explained(calls, name, call):
    """The answer of a call; if there is no such model, with similar names."""
    try:
        return call()
    except NotFound as error:
        names = {model["name"] for model in calls.search_models("", [], 10_000)}
        if name in names:
            raise
        raise NotFound(f"{error}{similar(name, names)}") from None


class Models:
    def models(self, filter="", *, order_by=None, limit=1000):
        """The registered models: list of dicts as of `get_model`.

        filter: as in MLflow: `name LIKE 'digits%' AND tags.task = 'ocr'`.
        order_by: `name`, `creation_timestamp`, `last_updated_timestamp`, each with ` ASC` or ` DESC`; one or several.

            for model in store.models():
                print(model["name"], model["aliases"])
        """
        return self._calls.search_models(filter, listed(order_by), limit)

    def get_model(self, name):
        """A registered model: dict with name, description, creation_time_ms, last_update_time_ms, the dicts tags and
        aliases (alias to version), and latest_versions (the newest of each stage).

            store.get_model("digits")["aliases"]
        """
        return _explained(self._calls, name, lambda: self._calls.model(name))

    def create_model(self, name, *, tags=None, description=None):
        """Creates a registered model without versions. Raises AlreadyExists.

            store.create_model("digits", tags={"task": "ocr"}, description="reads digits")
        """
        return self._calls.create_model(name, tags, description)

    def update_model(self, name, *, description):
        """Sets the description of a model.

            store.update_model("digits", description="reads digits and letters")
        """
        _explained(self._calls, name, lambda: self._calls.describe_model(name, description))

    def rename_model(self, name, new_name):
        """Renames a model; its versions go with it.

            store.rename_model("digits", "reader")
        """
        _explained(self._calls, name, lambda: self._calls.rename_model(name, new_name))

    def delete_model(self, name):
        """Deletes a model with all its versions.

            store.delete_model("reader")
        """
        _explained(self._calls, name, lambda: self._calls.delete_model(name))

    def set_model_tags(self, name, tags):
        """Sets tags of a model: dict of str to anything, stored as its `str`.

            store.set_model_tags("digits", {"owner": "ada"})
        """
        _explained(self._calls, name, lambda: self._calls.set_model_tags(name, tags))

    def delete_model_tag(self, name, key):
        """Deletes a tag of a model.

            store.delete_model_tag("digits", "owner")
        """
        _explained(self._calls, name, lambda: self._calls.delete_model_tag(name, key))

    def register_model(self, name, source, *, run=None, tags=None, description=None):
        """Creates a version of a model, and the model if it does not exist; arguments and result as of
        `create_model_version`.

            version = store.register_model("digits", run.artifact_uri + "/model", run=run)
        """
        from ._errors import AlreadyExists

        try:
            self._calls.create_model(name, None, None)
        except AlreadyExists:
            pass
        return self.create_model_version(name, source, run=run, tags=tags, description=description)

    def create_model_version(self, name, source, *, run=None, tags=None, description=None):
        """Creates the next version of a model; a dict as of `get_model_version`.

        source: location of its files, a path or URI: an artifact of a run (`run.artifact_uri + "/model"`), or another
            model (`models:/NAME/VERSION`).
        run: the run that made it.

            store.create_model_version("digits", run.artifact_uri + "/model", run=run, tags={"data": "2026-11"})
        """
        run_id = None if run is None else self._run_id(run)

        def create():
            return self._calls.create_version(name, str(source), run_id, tags, description)

        return _explained(self._calls, name, create)

    def get_model_version(self, name, version=None, *, alias=None, stage=None):
        """A version of a model: dict with name, version (int), stage, aliases (list), description, source, run_id (or
        None), status, creation_time_ms, last_update_time_ms, and the dict tags.

        name: of the model; or all in one: `models:/digits/3`, `models:/digits@champion`, `models:/digits/Production`.
        version: number. alias: instead of it. stage: the newest version of this stage. Default: the newest version.

            store.get_model_version("digits", 1)
            store.get_model_version("digits", alias="champion")
        """
        calls = self._calls
        if name.startswith("models:/"):
            name, version, alias, stage = _parsed(name, version, alias, stage)
        if sum(given is not None for given in (version, alias, stage)) > 1:
            raise Invalid("give one of version, alias and stage")
        if alias is not None:
            return _explained(calls, name, lambda: calls.version_by_alias(name, alias))
        if version is not None:
            return _explained(calls, name, lambda: calls.version(name, _number(version)))
        stages = list(_STAGES) if stage is None else [stage]
        versions = _explained(calls, name, lambda: calls.latest_versions(name, stages))
        if not versions:
            what = "no versions" if stage is None else f"no version of stage {stage}"
            raise NotFound(f"The model {name!r} has {what}")
        newest = max(versions, key=lambda version: version["version"])
        return calls.version(name, str(newest["version"]))

    def model_versions(self, name=None, *, filter="", order_by=None, limit=1000):
        """Versions of a model, or of all models: list of dicts as of `get_model_version`.

        filter: as in MLflow: `tags.data = '2026-11'`, `run_id = '...'`.
        order_by: `version_number DESC`, `creation_timestamp`, `last_updated_timestamp`, `name`; one or several.

            for version in store.model_versions("digits"):
                print(version["version"], version["stage"], version["aliases"])
        """
        if name is not None:
            self.get_model(name)
            quote = '"' if "'" in name else "'"
            of_model = f"name = {quote}{name}{quote}"
            filter = f"{of_model} AND {filter}" if filter.strip() else of_model
        return self._calls.search_versions(filter, listed(order_by), limit)

    def update_model_version(self, name, version, *, description):
        """Sets the description of a version.

            store.update_model_version("digits", 1, description="first")
        """
        _explained(self._calls, name, lambda: self._calls.describe_version(name, _number(version), description))

    def delete_model_version(self, name, version):
        """Deletes a version. Its number is not used again.

            store.delete_model_version("digits", 1)
        """
        _explained(self._calls, name, lambda: self._calls.delete_version(name, _number(version)))

    def set_model_version_tags(self, name, version, tags):
        """Sets tags of a version: dict of str to anything, stored as its `str`.

            store.set_model_version_tags("digits", 1, {"checked": True})
        """
        _explained(self._calls, name, lambda: self._calls.set_version_tags(name, _number(version), tags))

    def delete_model_version_tag(self, name, version, key):
        """Deletes a tag of a version.

            store.delete_model_version_tag("digits", 1, "checked")
        """
        _explained(self._calls, name, lambda: self._calls.delete_version_tag(name, _number(version), key))

    def set_stage(self, name, version, stage, *, archive_existing=False):
        """Moves a version to a stage: "None", "Staging", "Production" or "Archived"; the version as it is then.

        archive_existing: also move the versions that have this stage now to "Archived".

            store.set_stage("digits", 1, "Production", archive_existing=True)
        """
        number = _number(version)
        return _explained(
            self._calls, name, lambda: self._calls.set_stage(name, number, stage, archive_existing)
        )

    def set_alias(self, name, alias, version):
        """Makes an alias point to a version; an alias points to one version at a time.

            store.set_alias("digits", "champion", 1)
        """
        _explained(self._calls, name, lambda: self._calls.set_alias(name, alias, _number(version)))

    def delete_alias(self, name, alias):
        """Deletes an alias. The version stays.

            store.delete_alias("digits", "champion")
        """
        _explained(self._calls, name, lambda: self._calls.delete_alias(name, alias))


def _parsed(uri, *given):
    """Name, version, alias and stage of `models:/NAME/VERSION` and its like."""
    if any(value is not None for value in given):
        raise Invalid(f"{uri!r} already says which version: give no version, alias or stage beside it")
    rest = uri.removeprefix("models:/")
    if "@" in rest and "/" not in rest:
        name, _, alias = rest.rpartition("@")
        return name, None, alias, None
    name, slash, which = rest.partition("/")
    if not slash or which.lower() == "latest":
        return name, None, None, None
    if which.isdigit():
        return name, which, None, None
    return name, None, None, which
