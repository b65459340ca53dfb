"""A random walk over the tracking store, in orders of calls that nobody thought of."""

import math

from .differential import walk  # First: it skips where there is no MLflow to compare with.

from mlflow.entities import ExperimentTag, LoggedModelInput, LoggedModelParameter, LoggedModelStatus, LoggedModelTag, Metric, Param, RunTag

from .scripts import ABSENT, ACTIVE, ALL, DELETED, dataset

LETTERS = "abc"


def pick(rng, items, other=ABSENT):
    return rng.choice(items) if items and rng.random() < 0.97 else other


def point(rng, models=()):
    key, at, step = rng.choice(LETTERS), rng.choice([0, 1, 2]), rng.choice([-1, 0, 1, 2])
    if models and rng.random() < 0.5:
        # SQL has one point of a model, key, time and step in a run, whatever its value and data set.
        more = {"dataset_name": "de"[at % 2], "dataset_digest": "12"[step % 2]} if key != "a" else {}
        return Metric(key, 1 + at + step / 2, at, step, rng.choice(models), **more)
    # Of 0 and NaN at one step and time MLflow's latest is the one that came first, ours always NaN.
    zero = math.nan if step == 2 else 0
    return Metric(key, rng.choice([zero, 1, -1, 0.5, 1e308, 2**53, math.inf, -math.inf]), at, step)


def some(rng, make, most=4):
    return [make() for _ in range(rng.randrange(most))]


def text(rng):
    return rng.choice(["", "1", "2", "a", "A", "é", "it's", "a%", "x y"])


def clause(rng):
    entity = rng.choice(["metrics.", "params.", "tags.", "tags.mlflow.runName|", "status|", "start_time|", "dataset.name|", "user_id|", "end_time|"])
    name = entity.rstrip("|") if entity.endswith("|") else entity + rng.choice(LETTERS)
    if entity in ("metrics.", "start_time|", "end_time|"):
        return f"{name} {rng.choice(['=', '!=', '<', '<=', '>', '>='])} {rng.choice(['0', '1', '-1', '0.5', '1005', '1e3'])}"
    if entity in ("params.", "tags.") and rng.random() < 0.3:
        return f"{name} IS {rng.choice(['', 'NOT '])}NULL"
    return f"{name} {rng.choice(['=', '!=', 'LIKE', 'ILIKE'])} {rng.choice(['1', 'a', 'A', '%', '_', 'RUNNING', 'd', ''])!r}"


def filters(rng):
    return " AND ".join(clause(rng) for _ in range(rng.randrange(3)))


def orders(rng):
    keys = ["metrics.a", "metrics.b", "params.a", "tags.a", "start_time", "status", "run_name", "end_time"]
    return [f"{key} {rng.choice(['ASC', 'DESC'])}" for key in rng.sample(keys, rng.randrange(3))]


def model_filters(rng):
    one = lambda: rng.choice([  # noqa: E731
        f"name {rng.choice(['=', '!=', 'LIKE'])} {rng.choice('abc')!r}",
        f"metrics.{rng.choice(LETTERS)} {rng.choice(['>', '<=', '='])} {rng.choice([0, 1, -1])}",
        f"params.{rng.choice(LETTERS)} = {rng.choice('12')!r}",
        f"tags.{rng.choice(LETTERS)} != {rng.choice('12')!r}",
        f"model_type = {rng.choice('xy')!r}",
    ])
    return " AND ".join(one() for _ in range(rng.randrange(3)))


def model_orders(rng):
    keys = ["name", "model_type", "metrics.a", "metrics.b", "status", "source_run_id", "creation_timestamp"]
    # Runs have ids of no order.
    keys.remove("source_run_id")
    return [{"field_name": key, "ascending": rng.random() < 0.5} for key in rng.sample(keys, rng.randrange(3))]


def inputs_of(rng):
    tag = [("mlflow.data.context", rng.choice(["train", "eval"]))] if rng.random() < 0.6 else []
    return dataset(rng.choice("de"), rng.choice("12"), tag, source=rng.choice("st"))


RUN_VIEWS = [ACTIVE, ACTIVE, DELETED, ALL]

# How often a call is made, its name, and its arguments of a random source, a world and a time.
WALK = [
    (4, "create_run", lambda r, w, t: (pick(r, w["experiments"], "777"), r.choice(["", "ann"]), t, some(r, lambda: RunTag(r.choice(LETTERS), text(r)), 2), r.choice(["a", "b", "c"]))),
    (6, "log_metric", lambda r, w, t: (pick(r, w["runs"]), point(r, w["models"]))),
    (3, "log_param", lambda r, w, t: (pick(r, w["runs"]), Param(r.choice(LETTERS), text(r)))),
    (3, "set_tag", lambda r, w, t: (pick(r, w["runs"]), RunTag(r.choice([*LETTERS, "mlflow.runName"]), text(r)))),
    (2, "delete_tag", lambda r, w, t: (pick(r, w["runs"]), r.choice([*LETTERS, "mlflow.runName"]))),
    (5, "log_batch", lambda r, w, t: (pick(r, w["runs"]), some(r, lambda: point(r, w["models"])), some(r, lambda: Param(r.choice(LETTERS), text(r)), 2), some(r, lambda: RunTag(r.choice([*LETTERS, "mlflow.runName"]), text(r))))),
    (2, "update_run_info", lambda r, w, t: (pick(r, w["runs"]), r.choice([None, 1, 3, 4]), r.choice([None, 0, t]), r.choice([None, "", "b"]))),
    (1, "delete_run", lambda r, w, t: (pick(r, w["runs"]),)),
    (1, "restore_run", lambda r, w, t: (pick(r, w["runs"]),)),
    (1, "delete_experiment", lambda r, w, t: (pick(r, w["experiments"], "777"),)),
    (2, "restore_experiment", lambda r, w, t: (pick(r, w["experiments"], "777"),)),
    (1, "set_experiment_tag", lambda r, w, t: (pick(r, w["experiments"], "777"), ExperimentTag(r.choice(LETTERS), text(r)))),
    (1, "delete_experiment_tag", lambda r, w, t: (pick(r, w["experiments"], "777"), r.choice(LETTERS))),
    (1, "rename_experiment", lambda r, w, t: (pick(r, w["experiments"], "777"), f"walked {w['experiments'][0]} {r.choice('ab')}")),
    (1, "get_experiment", lambda r, w, t: (pick(r, w["experiments"], "777"),)),
    (1, "search_experiments", lambda r, w, t: (r.choice(RUN_VIEWS), r.choice([1, 3, 100]), f"tags.a {r.choice(['=', '!=', 'LIKE'])} '1'", [r.choice(["name", "experiment_id DESC", "creation_time"])])),
    (4, "get_run", lambda r, w, t: (pick(r, w["runs"]),)),
    (3, "get_metric_history", lambda r, w, t: (pick(r, w["runs"]), r.choice(LETTERS), r.choice([None, 1, 3]))),
    (2, "get_metric_history_bulk_interval", lambda r, w, t: (r.sample(w["runs"], min(2, len(w["runs"]))), r.choice(LETTERS), r.choice([1, 2, 3, 1000]), *r.choice([(None, None), (0, 1), (-1, 2)]))),
    (8, "search_runs", lambda r, w, t: (w["experiments"], filters(r), r.choice(RUN_VIEWS), r.choice([1, 2, 100]), orders(r), r.choice([None, None, "eyJvZmZzZXQiOiAxfQ=="]))),
    (2, "log_inputs", lambda r, w, t: (pick(r, w["runs"]), some(r, lambda: inputs_of(r), 3), [LoggedModelInput(m) for m in w["models"][:1]])),
    (2, "create_logged_model", lambda r, w, t: (pick(r, w["experiments"], "777"), r.choice("abc"), pick(r, w["runs"], None), some(r, lambda: LoggedModelTag(r.choice(LETTERS), r.choice("12")), 2), some(r, lambda: LoggedModelParameter(r.choice(LETTERS), r.choice("12")), 2), r.choice([None, "x", "y"]))),
    (1, "finalize_logged_model", lambda r, w, t: (pick(r, w["models"], "m-nope"), r.choice([LoggedModelStatus.READY, LoggedModelStatus.FAILED]))),
    (1, "set_logged_model_tags", lambda r, w, t: (pick(r, w["models"], "m-nope"), some(r, lambda: LoggedModelTag(r.choice(LETTERS), r.choice("12"))))),
    (1, "delete_logged_model_tag", lambda r, w, t: (pick(r, w["models"], "m-nope"), r.choice(LETTERS))),
    (1, "log_logged_model_params", lambda r, w, t: (pick(r, w["models"], "m-nope"), some(r, lambda: LoggedModelParameter(r.choice(LETTERS), r.choice("12")), 2))),
    (1, "delete_logged_model", lambda r, w, t: (pick(r, w["models"], "m-nope"),)),
    (3, "get_logged_model", lambda r, w, t: (pick(r, w["models"], "m-nope"), r.random() < 0.5)),
    (5, "search_logged_models", lambda r, w, t: (w["experiments"], model_filters(r), r.choice([None, None, [{"dataset_name": "d"}], [{"dataset_name": "d", "dataset_digest": "1"}]]), r.choice([None, 1, 2]), model_orders(r))),
]


def test_random_walk(sides):
    worlds = {}

    def step(side, rng, number):
        if number % 50 == 0:
            # Small worlds meet more often, and are compared whole.
            worlds[side] = {"runs": [], "models": [], "experiments": [side.store.create_experiment(f"walk {number}", None, [])]}
        world = worlds[side]
        ((_, name, make),) = rng.choices(WALK, [weight for weight, _, _ in WALK])
        found = getattr(side.store, name)(*make(rng, world, 1001 + number))
        if found is not None and name == "create_run":
            world["runs"].append(found.info.run_id)
        if found is not None and name == "create_logged_model":
            world["models"].append(found.model_id)

    walk(sides, step, 400)
