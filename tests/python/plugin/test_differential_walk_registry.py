"""A random walk over the model registry, in orders of calls that nobody thought of."""

from .differential import walk  # First: it skips where there is no MLflow to compare with.

from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

from .scripts import PROMPT

WORLD = {
    "name": ["m", "n", "M", "p", "m n", "a/b"],
    "alias": ["a", "b", "A", "latest", "v1", "c d"],
    "key": ["k", "l", "k.l", PROMPT, "a|"],
    "value": ["v", "w", "V", "true", "false", ""],
    "version": [1, 2, 3, "1", "4", 9, "x"],
    "stage": ["None", "Staging", "production", "Archived", "Bogus"],
    "description": [None, "", "d", "e"],
    "source": ["s3://b/p", "p", "models:/m/1", "models:/n/2", "models:/M/1"],
    "run": [None, "", "r1", "r2"],
}


def random_filter(rng):
    def clause():
        if rng.random() < 0.5:
            key, value = rng.choice(WORLD["key"][:4]), rng.choice(WORLD["value"])
            return f"tags.`{key}` {rng.choice(['=', '!=', 'LIKE', 'ILIKE'])} '{value[:1]}%'" if rng.random() < 0.3 else f"tags.`{key}` {rng.choice(['=', '!='])} '{value}'"
        field = rng.choice(["name", "name", "run_id", "version_number", "source_path"])
        if field == "version_number":
            return f"version_number {rng.choice(['=', '!=', '<', '<=', '>', '>='])} {rng.randint(0, 4)}"
        some = rng.sample(WORLD["name"] + ["r1", "p"], 2)
        how = rng.randrange(3)
        if how == 0:
            return f"{field} {rng.choice(['=', '!='])} '{some[0]}'"
        if how == 1:
            return f"{field} {rng.choice(['LIKE', 'ILIKE'])} '{some[0][:1]}%'"
        return f"{field} {rng.choice(['IN', 'NOT IN'])} ('{some[0]}', '{some[1]}')"

    return rng.choice([" AND ", " and "]).join(clause() for _ in range(rng.randrange(4)))


def random_order(rng, keys):
    return [f"{key}{rng.choice(['', ' ASC', ' DESC', ' desc'])}" for key in rng.sample(keys, rng.randrange(3))]


def step(rng):
    """A call of the store: its name, arguments, keywords."""
    w = {what: rng.choice(some) for what, some in WORLD.items()}
    name, number = w["name"], w["version"]

    def some_tags(cls):
        return [cls(rng.choice(keys[cls]), rng.choice(WORLD["value"])) for _ in range(rng.randrange(3))]

    # MLflow hides all versions of a model of which a deleted one was a prompt: this walk makes no such.
    keys = {RegisteredModelTag: WORLD["key"], ModelVersionTag: [key for key in WORLD["key"] if key != PROMPT]}
    page = dict(max_results=rng.choice([1, 2, 3, 100]), page_token=rng.choice([None, None, "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAyfQ=="]))
    steps = {
        "create_registered_model": (4, lambda: ((name, some_tags(RegisteredModelTag), w["description"]), {})),
        "create_model_version": (9, lambda: ((name, w["source"], w["run"], some_tags(ModelVersionTag), None, w["description"]), {})),
        "update_registered_model": (1, lambda: ((name, w["description"]), {})),
        "rename_registered_model": (2, lambda: ((name, rng.choice(WORLD["name"])), {})),
        "delete_registered_model": (1, lambda: ((name,), {})),
        "set_registered_model_tag": (3, lambda: ((name, RegisteredModelTag(w["key"], w["value"])), {})),
        "delete_registered_model_tag": (2, lambda: ((name, w["key"]), {})),
        "update_model_version": (2, lambda: ((name, number, w["description"]), {})),
        "transition_model_version_stage": (4, lambda: ((name, number, w["stage"], rng.random() < 0.4), {})),
        "delete_model_version": (2, lambda: ((name, number), {})),
        "set_model_version_tag": (3, lambda: ((name, number, ModelVersionTag(rng.choice(keys[ModelVersionTag]), w["value"])), {})),
        "delete_model_version_tag": (2, lambda: ((name, number, w["key"]), {})),
        "set_registered_model_alias": (4, lambda: ((name, w["alias"], number), {})),
        "delete_registered_model_alias": (2, lambda: ((name, w["alias"]), {})),
        "get_model_version_by_alias": (2, lambda: ((name, w["alias"]), {})),
        "get_registered_model": (1, lambda: ((name,), {})),
        "get_model_version": (2, lambda: ((name, number), {})),
        "get_model_version_download_uri": (2, lambda: ((name, number), {})),
        "get_latest_versions": (2, lambda: ((name, rng.choice([None, [], [w["stage"]]])), {})),
        "search_registered_models": (4, lambda: ((random_filter(rng),), {"order_by": random_order(rng, ["name", "timestamp", "last_updated_timestamp"]), **page})),
        "search_model_versions": (4, lambda: ((random_filter(rng),), {"order_by": random_order(rng, ["name", "version_number", "creation_timestamp", "last_updated_timestamp"]), **page})),
        "search_prompts": (1, lambda: ((rng.choice([None, "name LIKE 'p%'"]),), {})),
    }
    (chosen,) = rng.choices(list(steps), [weight for weight, _ in steps.values()])
    args, kwargs = steps[chosen][1]()
    return chosen, args, kwargs


def test_random_walk(sides):
    def look(side, rng, _):
        name, args, kwargs = step(rng)
        getattr(side.registry, name)(*args, **kwargs)
        side.registry.search_registered_models(None, 1000)
        side.registry.search_model_versions()

    walk(sides, look, 300)
