"""What the scripts for both sides share."""

from mlflow.entities import Dataset, DatasetInput, InputTag, ViewType
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

ACTIVE, DELETED, ALL = ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL
ABSENT = "0" * 32
PROMPT = "mlflow.prompt.is_prompt"
# Beyond MLflow's grammar.
MORE = "OR, NOT, parentheses, numbers of params and blanks at the ends are ours"
TEXTS = "values that are no texts become some; None is empty"
TOKENS = [
    "", "eyJvZmZzZXQiOiAyfQ==", b"eyJvZmZzZXQiOiAyfQ==", "garbage!", "e30=", "eyJvZmZzZXQiOiAwfQ==", "W10=", "MQ==",
    "eyJvZmZzZXQiOiAieCJ9", "eyJvZmZzZXQiOiAiMiJ9", "eyJvZmZzZXQiOiA5OTk5OX0=", "abc", "AAAA", 5,
    "eyJvZmZzZXQiOiAyfQ",
]


def experiment(s, name, tags=()):
    return s.store.create_experiment(name, None, list(tags))


def new_run(s, experiment_id, start=None, tags=(), name="run"):
    return s.store.create_run(experiment_id, "ann", start, list(tags), name).info.run_id


def dataset(name="d", digest="1", tags=(), **more):
    fields = {"source_type": "local", "source": "s", **more}
    return DatasetInput(Dataset(name=name, digest=digest, **fields), [InputTag(k, v) for k, v in tags])


def tags(cls, given):
    return None if given is None else [cls(key, value) for key, value in given]


def model(s, name, given=None, **more):
    return s.registry.create_registered_model(name, tags(RegisteredModelTag, given), **more)


def version(s, name, source="s3://b/p", given=None, **more):
    return s.registry.create_model_version(name, source, tags=tags(ModelVersionTag, given), **more)


def pages(call, *args, **kwargs):
    """Asks for one page after the other."""
    token = None
    for _ in range(50):
        page = call(*args, **kwargs, page_token=token)
        if page is None or not (token := page.token):
            break


def state(s):
    """Everything that can be seen."""
    for found in s.registry.search_registered_models(None, 1000):
        s.registry.get_registered_model(found.name)
        s.registry.get_latest_versions(found.name)
    s.registry.search_registered_models(f"tags.`{PROMPT}` = 'true'")
    for found in s.registry.search_model_versions():
        s.registry.get_model_version(found.name, found.version)
        s.registry.get_model_version_download_uri(found.name, found.version)
