"""Logged models: the same calls of MLflow's SQL store and of ours, the same answers."""

import math

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

from mlflow.entities import LoggedModelParameter, LoggedModelStatus, LoggedModelTag, Metric

from .scripts import ABSENT, TOKENS, experiment, new_run, pages


@scenario
def test_logged_models(s):
    id = experiment(s, "logged models")
    run = new_run(s, id, 1)
    s.store.create_logged_model(id)
    s.store.create_logged_model(id, name="named")
    s.store.create_logged_model(id, name="named")
    s.store.create_logged_model(int(id), name="int")
    full = s.store.create_logged_model(
        experiment_id=id, name="full", source_run_id=run, model_type="agent",
        tags=[LoggedModelTag("t", "1"), LoggedModelTag("u", "")], params=[LoggedModelParameter("p", "1"), LoggedModelParameter("q", "")],
    )
    for bad in ("", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", " ", 5, "x" * 500, "x" * 501, "é漢字", "a\nb"):
        s.store.create_logged_model(id, name=bad)
    for bad in ("77777", "abc", None, ""):
        s.store.create_logged_model(bad, name="x")
    s.store.unlike("empty and absent are one here").create_logged_model(id, "x", "")
    s.store.create_logged_model(id, "x", ABSENT)
    s.store.unlike("empty and absent are one here").create_logged_model(id, "x", model_type="")
    s.store.create_logged_model(id, "x", model_type="x" * 501)
    s.store.create_logged_model(id, "x", tags=[LoggedModelTag("a", "1"), LoggedModelTag("a", "2")])
    s.store.create_logged_model(id, "x", params=[LoggedModelParameter("a", "1"), LoggedModelParameter("a", "1")])
    s.store.create_logged_model(id, "x", tags=[LoggedModelTag("a|b", "1"), LoggedModelTag("k" * 250, "1")])
    s.store.unlike("keys are not empty").create_logged_model(id, "x", tags=[LoggedModelTag("", "")])
    s.store.create_logged_model(id, "x", params=[LoggedModelParameter("a|b", "x" * 6001)])
    m = full.model_id
    s.store.get_logged_model(m)
    s.store.get_logged_model(model_id=m, allow_deleted=True)
    for status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED, LoggedModelStatus.PENDING, LoggedModelStatus.UNSPECIFIED):
        s.store.finalize_logged_model(m, status)
        s.store.get_logged_model(m)
    s.store.set_logged_model_tags(m, [LoggedModelTag("t", "2"), LoggedModelTag("w", "1"), LoggedModelTag("w", "2")])
    s.store.set_logged_model_tags(m, [])
    s.store.set_logged_model_tags(m, [LoggedModelTag("long", "x" * 9000), LoggedModelTag("a|b", "1")])
    s.store.set_logged_model_tags(m, [LoggedModelTag("n", 5)])
    s.store.log_logged_model_params(m, [LoggedModelParameter("r", "1"), LoggedModelParameter("s", "é" * 6001)])
    s.store.log_logged_model_params(m, [LoggedModelParameter("p", "1")])
    s.store.log_logged_model_params(m, [LoggedModelParameter("p", "2")])
    s.store.log_logged_model_params(m, [LoggedModelParameter("z", "2"), LoggedModelParameter("z", "2")])
    s.store.log_logged_model_params(m, [])
    s.store.get_logged_model(m)
    s.store.delete_logged_model_tag(m, "t")
    s.store.delete_logged_model_tag(m, "t")
    s.store.delete_logged_model_tag(m, "no'pe")
    s.store.get_logged_model(m)
    s.store.set_model_versions_tags("reg", "1", m)
    s.store.set_model_versions_tags("reg", "1", m)
    s.store.set_model_versions_tags("reg", "2", m)
    s.store.get_logged_model(m)
    for bad in ("m-nope", "", None, "m-" + "0" * 32, 5, "it's"):
        s.store.get_logged_model(bad)
        s.store.finalize_logged_model(bad, LoggedModelStatus.READY)
        s.store.set_logged_model_tags(bad, [LoggedModelTag("a", "1")])
        s.store.delete_logged_model_tag(bad, "a")
        s.store.delete_logged_model(bad)
        s.store.log_logged_model_params(bad, [LoggedModelParameter("a", "1")])
        if bad:
            s.store.log_metric(run, Metric("bad", 1, 1, 1, model_id=bad))
    s.store.delete_logged_model(m)
    s.store.get_logged_model(m)
    s.store.get_logged_model(m, allow_deleted=True)
    s.store.delete_logged_model(m)
    s.store.finalize_logged_model(m, LoggedModelStatus.READY)
    s.store.set_logged_model_tags(m, [LoggedModelTag("late", "1")])
    s.store.log_logged_model_params(m, [LoggedModelParameter("late", "1")])
    s.store.delete_logged_model_tag(m, "late")
    s.store.get_logged_model(m, True)
    s.store.log_metric(run, Metric("m", 1, 1, 1, model_id=m))
    s.store.get_logged_model(m, True)
    s.store.delete_run(run)
    s.store.search_logged_models([id], "name = 'int'")


@scenario
def test_logged_model_metrics(s):
    id = experiment(s, "model metrics")
    run, other = new_run(s, id, 1), new_run(s, id, 2)
    m = s.store.create_logged_model(id, "m", run).model_id
    n = s.store.create_logged_model(id, "n", run).model_id
    point = lambda key, value, at, step, **more: Metric(key, value, at, step, **more)  # noqa: E731
    s.store.log_metric(run, point("a", 1, 1, 1, model_id=m))
    s.store.log_metric(run, point("a", 1, 1, 1, model_id=m))
    s.store.log_metric(run, point("a", 2, 2, 2, model_id=m, dataset_name="d", dataset_digest="1"))
    s.store.log_metric(other, point("a", 3, 3, 3, model_id=m))
    s.store.log_batch(run, [point("a", 4, 4, 4, model_id=m), point("b", 5, 5, 5, model_id=n), point("c", 6, 6, 6)], [], [])
    s.store.log_batch(run, [point("a", 4, 4, 4, model_id=m), point("a", 4, 4, 4, model_id=m)], [], [])
    s.store.log_batch(run, [point("b", 6, 8, 7, model_id=n), point("b", math.inf, 8, 8, model_id=n)], [], [])
    # One point of the run is one of each model, and of each data set.
    s.store.log_batch(run, [point("same", 1, 1, 1, model_id=one) for one in (m, n, m)], [], [])
    s.store.log_metric(run, point("same", 1, 1, 1))
    s.store.log_metric(run, point("same", 1, 1, 1, model_id=n))
    s.store.log_metric(other, point("same", 1, 1, 1, model_id=n, dataset_name="d", dataset_digest="1"))
    s.store.log_metric(run, point("d", 1, 1, 1, dataset_name="d", dataset_digest="1"))
    s.store.log_metric(run, point("bad|", 1, 1, 1, model_id=m))
    s.store.log_metric(run, point("g", 1, 1, 1, model_id="m-" + "0" * 32))
    s.store.log_metric(ABSENT, point("g", 1, 1, 1, model_id=m))
    s.store.get_logged_model(m)
    s.store.get_logged_model(n)
    s.store.get_run(run)
    s.store.get_run(other)
    for key in [*"abcdefg", "same"]:
        s.store.get_metric_history(run, key)
    s.store.log_metric(run, point("nan", math.nan, 1, 1, model_id=n))
    s.store.unlike("SQL makes 0 of a model's NaN").get_logged_model(n)


@scenario
def test_search_logged_models(s):
    id, elsewhere = experiment(s, "search models"), experiment(s, "search models 2")
    run = new_run(s, id, 1)
    made = []
    for i, name in enumerate(["alpha", "Beta", "gamma", "alpha"]):
        made.append(
            s.store.create_logged_model(
                id if i != 3 else elsewhere, name, run if i % 2 else None, model_type=["agent", "Agent", None, "x"][i],
                tags=[LoggedModelTag("t", str(i)), LoggedModelTag("dot.ted", "x")][: 2 if i else 1],
                params=[LoggedModelParameter("lr", "0.1" if i < 2 else "0.01")][: 1 if i < 3 else 0],
            ).model_id
        )
    s.store.finalize_logged_model(made[1], LoggedModelStatus.READY)
    for m, key, value, at, step, name, digest in [
        (0, "acc", 0.5, 1, 1, "d1", "x"), (0, "acc", 0.9, 2, 2, "d2", "y"), (1, "acc", 0.7, 1, 1, "d1", "x"),
        (2, "acc", -1, 1, 1, None, None), (0, "loss", 1, 1, 1, None, None), (1, "loss", 1, 1, 1, "d1", "z"),
    ]:
        s.store.log_metric(run, Metric(key, value, at, step, made[m], name, digest))
    both = [id, elsewhere]
    for ids in ([id], both, [], ["77777"], ["abc"], [int(id)], [id, id]):
        s.store.search_logged_models(ids)
    s.store.search_logged_models(experiment_ids=both, filter_string="", datasets=[], max_results=None, order_by=[], page_token=None)
    for clause in MODEL_FILTERS:
        s.store.search_logged_models(both, clause)
        if "metrics" in clause:
            s.store.search_logged_models(both, clause, datasets=[{"dataset_name": "d1"}])
    for clause in ('name = "alpha"', "status = 'READY'"):
        s.store.unlike("either quotes, and names of a status").search_logged_models(both, clause)
    for sets in MODEL_DATASETS:
        s.store.search_logged_models(both, datasets=sets)
        s.store.search_logged_models(both, "metrics.acc > 0.6", datasets=sets)
    s.store.unlike("no digest is any").search_logged_models(both, datasets=[{"dataset_name": "d1", "dataset_digest": None}])
    for name in ("lifecycle_stage", "status_message"):
        s.store.search_logged_models(both, order_by=[{"field_name": name}])
    for clause in (
        "artifact_location LIKE '%/models/%'", "attributes.artifact_location ILIKE '%/MODELS/%'", "artifact_location = 'x'",
        "artifact_location != 'x'", "artifact_location IN ('x')", "artifact_location NOT IN ('x', 'y')", "artifact_location > 'x'",
        "lifecycle_stage = 'active'", "lifecycle_stage = 'deleted'", "lifecycle_stage != 'deleted'", "status_message = 'x'",
        "status_message != 'x'",
    ):  # fmt: skip
        s.store.search_logged_models(both, clause)
    for order in MODEL_ORDERS:
        s.store.search_logged_models(both, order_by=order)
    for most in (1, 2, 3, 4, 5, 0, 100, 10**6):
        pages(s.store.search_logged_models, both, max_results=most, order_by=[{"field_name": "name"}])
    page = s.store.search_logged_models(both, max_results=1)
    token = page.token
    s.store.search_logged_models([id], max_results=1, page_token=token)
    s.store.search_logged_models(both, "name = 'alpha'", max_results=1, page_token=token)
    s.store.search_logged_models(both, max_results=1, order_by=[{"field_name": "name"}], page_token=token)
    s.store.search_logged_models(both, max_results=2, page_token=token)
    for token in TOKENS:
        s.store.search_logged_models(both, max_results=1, page_token=token)
    s.store.delete_logged_model(made[0])
    s.store.search_logged_models(both)
    s.store.delete_experiment(elsewhere)
    s.store.search_logged_models(both)

MODEL_FILTERS = """\
name = 'alpha'
name != 'alpha'
name LIKE 'al%'
name ILIKE 'BE%'
name like 'al%'
name IN ('alpha', 'Beta')
name NOT IN ('alpha')
name in ('alpha')
name = alpha
name > 'a'
attributes.name = 'alpha'
attribute.name = 'alpha'
`name` = 'alpha'
attributes.`name` = 'alpha'
model_id = 'm-nope'
model_id != 'm-nope'
model_type = 'agent'
model_type ILIKE 'agent'
model_type != 'agent'
source_run_id = 'x'
source_run_id != 'x'
status = '2'
status = 2
status != 1
creation_timestamp > 0
creation_time > 0
creation_timestamp_ms > 0
creation_timestamp > '0'
creation_timestamp = abc
creation_timestamp LIKE '1'
last_updated_timestamp > 0
last_updated_timestamp_ms < 0
experiment_id = '1'
bogus = 'x'
metrics.acc > 0.6
metrics.acc >= 0.9
metrics.acc = 0.7
metrics.acc != 0.7
metrics.acc < 0.6
metrics.acc <= 0.5
metrics.`acc` > 0.6
metrics.acc > '0.6'
metrics.acc > abc
metrics.acc LIKE '1'
metrics.nope > 0
metrics.loss = 1
metrics.loss = 1 AND metrics.acc > 0.8
metrics.loss >= 1 and name = 'alpha'
metric.acc > 0
params.lr = '0.1'
params.lr = 0.1
params.lr != '0.1'
params.lr LIKE '0.%'
params.lr IN ('0.1')
params.lr > '0'
params.`lr` = '0.1'
param.lr = '0.1'
tags.t = '1'
tags.t != '1'
tags.t LIKE '%'
tags.dot.ted = 'x'
tags.`dot.ted` = 'x'
tags.t IN ('0', '2')
tags.t NOT IN ('0')
tags.nope = 'x'
tags.nope != 'x'
name = 'alpha' OR name = 'Beta'
(name = 'alpha')
name
name = 'alpha';
name = 'alpha' AND
AND name = 'alpha'
name = 'alpha' name != 'x'
name = 'alpha
NAME = 'alpha'
name == 'alpha'
name <> 'alpha'
name IN ()
name IN (1)
name IN ('alpha'
  
""".splitlines()

MODEL_DATASETS = [
    [{"dataset_name": "d1"}], [{"dataset_name": "d1", "dataset_digest": "x"}], [{"dataset_name": "d1", "dataset_digest": "z"}],
    [{"dataset_name": "d2"}, {"dataset_name": "d1", "dataset_digest": "z"}], [{"dataset_name": "nope"}], [{}], [{"dataset_name": ""}],
    [{"dataset_name": None}], [{"dataset_digest": "x"}],
]

MODEL_ORDERS = [
    None, [{"field_name": "name"}], [{"field_name": "name", "ascending": False}], [{"field_name": "model_type"}],
    [{"field_name": "model_type", "ascending": False}], [{"field_name": "creation_timestamp"}], [{"field_name": "creation_time"}],
    [{"field_name": "creation_timestamp_ms", "ascending": True}], [{"field_name": "last_updated_timestamp"}],
    [{"field_name": "last_updated_timestamp", "ascending": False}], [{"field_name": "status"}, {"field_name": "name"}],
    [{"field_name": "metrics.acc"}], [{"field_name": "metrics.acc", "ascending": False}], [{"field_name": "metrics.nope"}],
    [{"field_name": "metrics.acc", "dataset_name": "d1"}], [{"field_name": "metrics.acc", "dataset_name": "d1", "ascending": False}],
    [{"field_name": "metrics.acc", "dataset_name": "d1", "dataset_digest": "x"}], [{"field_name": "metrics.acc", "dataset_digest": "y"}],
    [{"field_name": "metrics.loss"}, {"field_name": "metrics.acc"}], [{"field_name": "params.lr"}], [{"field_name": "tags.t"}],
    [{"field_name": "bogus"}], [{"field_name": "attributes.name"}], [{"field_name": ""}], [{}], [{"field_name": "experiment_id"}, {"field_name": "name"}],
    [{"field_name": "source_run_id"}], [{"field_name": "Name"}], [{"field_name": "name"}, {"field_name": "name"}],
    [{"field_name": "metrics.loss"}, {"field_name": "creation_timestamp", "ascending": True}],
]
