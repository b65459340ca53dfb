"""Runs: life cycle, params, tags, batches, inputs and outputs."""

import json

import pytest
from conftest import Api, listed, unique

ABSENT = {"status": 404, "code": "RESOURCE_DOES_NOT_EXIST"}
NOBODY = "0" * 32
RULES = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
    "slashes (/)."
)


def test_create(api, experiment):
    tags = [{"key": "t", "value": "1"}, {"key": "bad|key", "value": "v" * 9000}, {"key": "k" * 300, "value": ""}]
    run = api.run(experiment, user_id="ann", run_name="first", start_time=5, tags=tags)
    info = api.info(run)
    assert (info["user_id"], info["run_name"], info["start_time"]) == ("ann", "first", 5)
    # Tags given at creation are not checked.
    found = api.tags(run)
    assert found.pop("bad|key") in ("v" * 9000, "v" * 8000)
    assert found == {"t": "1", "k" * 300: "", "mlflow.runName": "first"}


def test_names_at_creation(api, experiment):
    named = [{"key": "mlflow.runName", "value": "x"}]
    assert api.info(api.run(experiment, tags=named))["run_name"] == "x"
    assert api.info(api.run(experiment, tags=named, run_name="x"))["run_name"] == "x"
    message = "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
    api.bad("POST", "runs/create", {"experiment_id": experiment, "tags": named, "run_name": "y"}, message)


def test_without_an_experiment(api):
    assert api.post("runs/create")["run"]["info"]["experiment_id"] == "0"
    assert api.post("runs/create", start_time=1)["run"]["info"]["start_time"] == 1


def test_update(api, run):
    before = api.info(run)
    assert api.post("runs/update", run_id=run)["run_info"] == before
    info = api.post("runs/update", run_id=run, status="FINISHED", end_time=77, run_name="new")["run_info"]
    assert info == {**before, "status": "FINISHED", "end_time": 77, "run_name": "new"}
    assert api.info(run) == info
    assert api.tags(run)["mlflow.runName"] == "new"
    for status in ["RUNNING", "FAILED", "SCHEDULED", "KILLED"]:
        assert api.post("runs/update", run_id=run, status=status)["run_info"]["status"] == status
    assert api.post("runs/update", run_id=run, run_name="")["run_info"]["run_name"] == "new"
    assert api.info(run)["end_time"] == 77


def test_delete_and_restore(api, run):
    state = f"The run {run} must be in the 'active' state. Current state is deleted."
    for _ in range(2):
        api.post("runs/delete", run_id=run)
    assert api.info(run)["lifecycle_stage"] == "deleted"
    metric = {"key": "m", "value": 1, "timestamp": 1}
    pair = {"key": "k", "value": "v"}
    dataset = {"name": "d", "digest": "1", "source_type": "t", "source": "s"}
    for path, fields in [
        ("runs/update", {"status": "FINISHED"}),
        ("runs/log-metric", metric),
        ("runs/log-parameter", pair),
        ("runs/set-tag", pair),
        ("runs/delete-tag", {"key": "mlflow.runName"}),
        ("runs/log-batch", {}),
        ("runs/log-batch", {"metrics": [metric]}),
        ("runs/log-batch", {"params": [pair]}),
        ("runs/log-batch", {"tags": [pair]}),
        ("runs/log-inputs", {"datasets": [{"dataset": dataset}]}),
    ]:
        api.bad("POST", path, {"run_id": run, **fields}, state)
    for _ in range(2):
        api.post("runs/restore", run_id=run)
    assert api.info(run)["lifecycle_stage"] == "active"
    assert sorted(api.got(run)["data"]) == ["tags"]


@pytest.mark.parametrize("id", [NOBODY, "nope"])
@pytest.mark.parametrize("method, path, fields", [
    ("GET", "runs/get", {}),
    ("POST", "runs/update", {"status": "FINISHED"}),
    ("POST", "runs/delete", {}),
    ("POST", "runs/restore", {}),
    ("POST", "runs/log-metric", {"key": "m", "value": 1, "timestamp": 1}),
    ("POST", "runs/log-parameter", {"key": "k", "value": "v"}),
    ("POST", "runs/set-tag", {"key": "k", "value": "v"}),
    ("POST", "runs/delete-tag", {"key": "k"}),
    ("POST", "runs/log-batch", {}),
    ("POST", "runs/log-batch", {"tags": [{"key": "k", "value": "v"}]}),
])
def test_unknown_runs(api, id, method, path, fields):
    api.bad(method, path, {"run_id": id, **fields}, f"Run with id={id} not found", **ABSENT)


def test_bad_run_ids(api):
    message = "Invalid value \"bad id!\" for parameter 'run_id' supplied"
    dataset = {"dataset": {"name": "d", "digest": "1", "source_type": "t", "source": "s"}}
    api.bad("POST", "runs/log-batch", {"run_id": "bad id!"}, message)
    api.bad("POST", "runs/log-inputs", {"run_id": "bad id!", "datasets": [dataset]}, message)


# Keys.

BAD_KEYS = [
    ("a|b", RULES),
    ("a$", RULES),
    ("a\nb", RULES),
    ("a//b", "must not resolve to other names when treated as such. This name would resolve to 'a/b'"),
    ("a/../b", "This name would resolve to 'b'"),
    ("a/", "This name would resolve to 'a'"),
    ("./a", "This name would resolve to 'a'"),
    (".", "must not resolve to other names"),
    ("..", "must not resolve to other names"),
    ("../a", "must not resolve to other names"),
    ("/a", "must not resolve to other names"),
]
GOOD_KEYS = ["a", "A-b_c.d/e f:g", "é漢字٣", "a/b/c", " a", "-", "a..b", ".a", "x" * 250, "é" * 250]


@pytest.mark.parametrize("key, message", BAD_KEYS)
def test_bad_keys(api, run, key, message):
    shown = json.dumps(key)
    metric = {"key": key, "value": 1, "timestamp": 1}
    pair = {"key": key, "value": "v"}
    for path, fields, name in [
        ("runs/log-metric", metric, "name"),
        ("runs/log-parameter", pair, "key"),
        ("runs/set-tag", pair, "key"),
        ("runs/log-batch", {"metrics": [{**metric, "key": "ok"}, metric]}, "metrics[1].name"),
        ("runs/log-batch", {"params": [pair]}, "params[0].key"),
        ("runs/log-batch", {"tags": [pair]}, "tags[0].key"),
    ]:
        start = f"Invalid value {shown} for parameter '{name}' supplied: "
        api.bad("POST", path, {"run_id": run, **fields}, start, message)
    assert sorted(api.got(run)["data"]) == ["tags"]


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_good_keys(api, run, key):
    api.log(run, key, 1)
    api.post("runs/log-parameter", run_id=run, key=key, value="v")
    api.post("runs/set-tag", run_id=run, key=key, value="v")
    api.batch(run, [(key, 2, 1, 1)], {key: "v"}, {key: "w"})
    assert (api.latest(run)[key], api.params(run)[key], api.tags(run)[key]) == (2, "v", "w")


def test_long_keys(api, run):
    key = "k" * 251
    metric, pair = {"key": key, "value": 1, "timestamp": 1}, {"key": key, "value": "v"}
    exceeds = "exceeds the maximum length of 250 characters"
    for path, fields, name in [
        ("runs/log-metric", metric, "'Metric name'"),
        ("runs/log-parameter", pair, "'Param key'"),
        ("runs/set-tag", pair, "'key'"),
        ("runs/log-batch", {"metrics": [metric]}, "'Metric name'"),
        ("runs/log-batch", {"params": [pair]}, "'Param key'"),
        ("runs/log-batch", {"tags": [pair]}, "'tags[0].key'"),
    ]:
        api.bad("POST", path, {"run_id": run, **fields}, f"{name} {exceeds}")


# Tags.

def test_tags(api, run):
    for value in ["1", "2", "", "2"]:
        api.post("runs/set-tag", run_id=run, key="t", value=value)
        assert api.tags(run)["t"] == value
    api.post("runs/delete-tag", run_id=run, key="t")
    assert "t" not in api.tags(run)
    api.bad("POST", "runs/delete-tag", {"run_id": run, "key": "t"}, f"No tag with name: t in run with id {run}", **ABSENT)


def test_the_name_is_a_tag(api, run):
    api.post("runs/set-tag", run_id=run, key="mlflow.runName", value="x")
    assert (api.info(run)["run_name"], api.tags(run)["mlflow.runName"]) == ("x", "x")
    api.post("runs/set-tag", run_id=run, key="mlflow.runName", value="")
    assert (api.info(run)["run_name"], api.tags(run)["mlflow.runName"]) == ("x", "x")
    api.batch(run, tags={"mlflow.runName": "y"})
    assert api.info(run)["run_name"] == "y"
    api.post("runs/delete-tag", run_id=run, key="mlflow.runName")
    assert api.info(run)["run_name"] == "y"


# Params.

def test_params_do_not_change(api, run):
    api.post("runs/log-parameter", run_id=run, key="p", value="1")
    api.post("runs/log-parameter", run_id=run, key="p", value="1")
    api.post("runs/log-parameter", run_id=run, key="empty", value="")
    api.post("runs/log-parameter", run_id=run, key="absent")
    assert api.params(run) == {"p": "1", "empty": "", "absent": ""}
    api.bad(
        "POST",
        "runs/log-parameter",
        {"run_id": run, "key": "p", "value": "2"},
        "Changing param values is not allowed. Param with key='p' was already logged with value='1' for run "
        f"ID='{run}'. Attempted logging new value '2'.",
    )
    api.bad(
        "POST",
        "runs/log-batch",
        {"run_id": run, "params": listed({"new": "n", "p": "2"}), "tags": listed({"t": "t"})},
        "Changing param values is not allowed. Params were already logged='[{'key': 'p', 'old_value': '1', "
        f"'new_value': '2'}}]' for run ID='{run}'.",
    )
    assert api.params(run) == {"p": "1", "empty": "", "absent": ""}
    assert "t" not in api.tags(run)


def test_long_values_are_kept(api, run):
    api.post("runs/log-parameter", run_id=run, key="p", value="é" * 20000)
    api.batch(run, params={"q": "x" * 65536}, tags={"t": "y" * 65536})
    api.post("runs/set-tag", run_id=run, key="s", value="y" * 20000)
    assert api.params(run) == {"p": "é" * 20000, "q": "x" * 65536}
    assert (api.tags(run)["t"], api.tags(run)["s"]) == ("y" * 65536, "y" * 20000)


@pytest.mark.parametrize("cut", ["true", "false"])
def test_long_values_as_mlflow_has_them(make_server, cut):
    api = Api(make_server(env={"MLFLOW_TRUNCATE_LONG_VALUES": cut}).uri)
    run = api.run()
    long, longer = "p" * 6001, "t" * 8001
    if cut == "true":
        api.post("runs/log-parameter", run_id=run, key="p", value=long)
        api.post("runs/set-tag", run_id=run, key="t", value=longer)
        api.batch(run, params={"q": long}, tags={"s": longer})
        assert api.params(run) == {"p": "p" * 6000, "q": "p" * 6000}
        assert (api.tags(run)["t"], api.tags(run)["s"]) == ("t" * 8000, "t" * 8000)
    else:
        pair = {"key": "k", "value": long}
        exceeds = "exceeds the maximum length of 6000 characters"
        api.bad("POST", "runs/log-parameter", {"run_id": run, **pair}, exceeds)
        api.bad("POST", "runs/log-batch", {"run_id": run, "params": [pair]}, exceeds)
        pair["value"] = longer
        exceeds = "exceeds the maximum length of 8000 characters"
        api.bad("POST", "runs/set-tag", {"run_id": run, **pair}, exceeds)
        api.bad("POST", "runs/log-batch", {"run_id": run, "tags": [pair]}, exceeds)
    api.batch(run, params={"full": "p" * 6000}, tags={"full": "t" * 8000})
    assert (api.params(run)["full"], api.tags(run)["full"]) == ("p" * 6000, "t" * 8000)


# Batches.

def test_a_batch(api, run):
    assert api.batch(run) == {}
    api.batch(run, [("m", 1.5, 10, 3), ("n", "NaN", 11, -4)], {"p": "1"}, {"t": "2"})
    got = api.got(run)["data"]
    metrics = {m["key"]: m for m in got["metrics"]}
    assert metrics["m"] == {"key": "m", "value": 1.5, "timestamp": 10, "step": 3}
    assert metrics["n"] == {"key": "n", "value": "NaN", "timestamp": 11, "step": -4}
    assert (api.params(run), api.tags(run)["t"]) == ({"p": "1"}, "2")


@pytest.mark.parametrize("metrics, params, tags, what", [
    (1001, 0, 0, "1000 metrics. Got 1001 metrics."),
    (0, 101, 0, "100 params. Got 101 params."),
    (0, 0, 101, "100 tags. Got 101 tags."),
    (900, 51, 50, "1000 metrics, params, and tags. Got 1001 metrics, params, and tags."),
    (1000, 0, 0, None),
    (800, 100, 100, None),
])
def test_batches_are_bounded(api, run, metrics, params, tags, what):
    fields = {
        "run_id": run,
        "metrics": [{"key": f"m{i}", "value": i, "timestamp": 1} for i in range(metrics)],
        "params": [{"key": f"p{i}", "value": "v"} for i in range(params)],
        "tags": [{"key": f"t{i}", "value": "v"} for i in range(tags)],
    }
    if what is None:
        api.post("runs/log-batch", **fields)
        assert len(api.got(run)["data"].get("metrics", [])) == metrics
    else:
        message = f"A batch logging request can contain at most {what} Please split up"
        api.bad("POST", "runs/log-batch", fields, message)
        assert sorted(api.got(run)["data"]) == ["tags"]


def test_keys_twice_in_a_batch(api, run):
    twice = [{"key": "d", "value": "1"}, {"key": "d", "value": "1"}]
    message = "Duplicate parameter keys have been submitted: ['d']."
    api.bad("POST", "runs/log-batch", {"run_id": run, "params": twice}, message)
    tags = [{"key": "t", "value": "1"}, {"key": "t", "value": "2"}]
    api.post("runs/log-batch", run_id=run, tags=tags)
    assert api.tags(run)["t"] == "2"
    assert api.params(run) == {}


@pytest.mark.parametrize("bad", [
    {"metrics": [{"key": "bad|", "value": 1, "timestamp": 1}]},
    {"metrics": [{"key": "m", "value": 1, "timestamp": -1}]},
    {"metrics": [{"key": "m", "value": 1, "timestamp": 1, "model_id": "m-" + NOBODY}]},
    {"params": [{"key": "bad|", "value": "v"}]},
    {"params": [{"key": "old", "value": "other"}]},
    {"tags": [{"key": "bad|", "value": "v"}]},
])
def test_a_batch_is_all_or_nothing(api, run, bad):
    api.batch(run, params={"old": "1"})
    good = {
        "metrics": [{"key": "good", "value": 1, "timestamp": 1}],
        "params": [{"key": "good", "value": "v"}],
        "tags": [{"key": "good", "value": "v"}],
    }
    fields = {name: good[name] + bad.get(name, []) for name in good}
    api.bad("POST", "runs/log-batch", {"run_id": run, **fields})
    assert "metrics" not in api.got(run)["data"]
    assert api.params(run) == {"old": "1"}
    assert "good" not in api.tags(run)


# Inputs and outputs.

def dataset(name, digest="1", context=None, **more):
    tags = [] if context is None else [{"key": "mlflow.data.context", "value": context}]
    fields = {"name": name, "digest": digest, "source_type": "local", "source": "{}", **more}
    return {"dataset": fields, "tags": tags}


def test_inputs(api, experiment):
    run, other = api.run(experiment), api.run(experiment)
    one = dataset("d", "1", "train", schema="s", profile="p")
    api.post("runs/log-inputs", run_id=run, datasets=[one, dataset("e")])
    found = api.got(run)["inputs"]["dataset_inputs"]
    assert sorted(found, key=lambda i: i["dataset"]["name"])[0] == one
    # The first of an identity stays, and so do its tags.
    again = dataset("d", "1", "eval", schema="other")
    api.post("runs/log-inputs", run_id=run, datasets=[again])
    assert len(api.got(run)["inputs"]["dataset_inputs"]) == 2
    api.post("runs/log-inputs", run_id=other, datasets=[again])
    assert api.got(other)["inputs"]["dataset_inputs"] == [{**again, "dataset": one["dataset"]}]
    assert [i for i in api.got(run)["inputs"]["dataset_inputs"] if i["dataset"]["name"] == "d"] == [one]
    assert api.post("runs/log-inputs", run_id=run) == {}


def test_models_of_a_run(api, experiment):
    run = api.run(experiment)
    model = api.model(experiment)["info"]["model_id"]
    api.post("runs/log-inputs", run_id=run, models=[{"model_id": model}, {"model_id": "m-unknown"}])
    for step in (1, 1, 2):
        api.post("runs/outputs", run_id=run, models=[{"model_id": model, "step": step}])
    got = api.got(run)
    assert {i["model_id"] for i in got["inputs"]["model_inputs"]} == {model, "m-unknown"}
    outputs = got["outputs"]["model_outputs"]
    assert sorted(o["step"] for o in outputs) == [1, 1, 2] and {o["model_id"] for o in outputs} == {model}
    (found,) = api.post("runs/search", experiment_ids=[experiment])["runs"]
    assert found["outputs"] == got["outputs"]
    assert found["inputs"] == {}
    for models in ({}, {"models": []}):
        message = "Missing value for required parameter 'models'"
        api.bad("POST", "runs/outputs", {"run_id": run, **models}, message)


@pytest.mark.parametrize("field, length", [
    ("name", 500), ("digest", 36), ("schema", 1048575), ("source", 65535), ("profile", 16777215),
])
def test_data_sets_are_bounded(api, run, field, length):
    if length < 2_000_000:
        full = dataset(unique("d"), **{"digest": "1", field: "x" * length}) if field != "name" else dataset("x" * 500)
        api.post("runs/log-inputs", run_id=run, datasets=[full])
    over = dataset("over", **{"digest": "1", field: "x" * (length + 1)}) if field != "name" else dataset("x" * 501)
    message = f"'{field}' exceeds the maximum length of {length} characters"
    api.bad("POST", "runs/log-inputs", {"run_id": run, "datasets": [over]}, message)


def test_tags_of_inputs_are_bounded(api, run):
    for key, value, name in [("k" * 256, "v", "key"), ("k", "v" * 501, "value")]:
        given = dataset("d")
        given["tags"] = [{"key": key, "value": value}]
        api.bad("POST", "runs/log-inputs", {"run_id": run, "datasets": [given]}, f"'{name}' exceeds the maximum length")


# The old way of models.

def test_log_model(api, run):
    def model(path):
        return {"artifact_path": path, "flavors": {"f": {"x": 1}}, "utc_time_created": "now", "run_id": run}

    for path in ["a", "b"]:
        api.post("runs/log-model", run_id=run, model_json=json.dumps(model(path)))
    history = json.loads(api.tags(run)["mlflow.log-model.history"])
    assert [one["artifact_path"] for one in history] == ["a", "b"]
    api.bad("POST", "runs/log-model", {"run_id": run, "model_json": "{bad"}, "Malformed model info.")
    message = "Model json is missing mandatory fields: {"
    for lacking in ["artifact_path", "flavors", "utc_time_created", "run_id"]:
        given = model("c")
        del given[lacking]
        fields = {"run_id": run, "model_json": json.dumps(given)}
        api.bad("POST", "runs/log-model", fields, message, f"'{lacking}'")


def test_any_number_of_inputs_in_one_call(api, experiment):
    run, model = api.run(experiment), api.model(experiment)["info"]["model_id"]
    datasets = [
        {"dataset": {"name": f"d{i}", "digest": "1", "source_type": "local", "source": "s"}, "tags": listed({"k": "v"})}
        for i in range(3100)
    ]
    models = [{"model_id": model}] * 2500
    api.post("runs/log-inputs", run_id=run, datasets=datasets, models=models)
    inputs = api.got(run)["inputs"]
    assert len(inputs["dataset_inputs"]) == 3100
    assert inputs["model_inputs"] == [{"model_id": model}]
    api.post("runs/outputs", run_id=run, models=[{"model_id": model, "step": i} for i in range(1500)])
    assert len(api.got(run)["outputs"]["model_outputs"]) == 1500
