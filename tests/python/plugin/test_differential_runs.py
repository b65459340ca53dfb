"""Runs, their params, tags, inputs and outputs: the same calls of MLflow's SQL store and of ours, the same answers."""

import os
from unittest import mock

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

from mlflow.entities import DatasetInput, LoggedModelInput, LoggedModelOutput, Metric, Param, RunStatus, RunTag

from .scripts import ABSENT, ALL, TEXTS, dataset, experiment, new_run


@scenario
def test_runs(s):
    id = experiment(s, "runs")
    s.store.create_run(id, "user", 10, [RunTag("a", "1"), RunTag("b", "2")], "named")
    s.store.create_run(id, "user", 10, [], None)
    s.store.unlike("what is not given is empty, or 0").create_run(id, None, None, None, None)
    s.store.create_run(id, "user", 10, [RunTag("mlflow.runName", "from tag")], None)
    s.store.create_run(id, "user", 10, [RunTag("mlflow.runName", "same")], "same")
    s.store.create_run(id, "user", 10, [RunTag("mlflow.runName", "one")], "other")
    for name in ("name", None, ""):
        s.store.unlike("an empty tag of the name is none").create_run(id, "user", 10, [RunTag("mlflow.runName", "")], name)
    s.store.create_run(id, "user", 10, [RunTag("a", "1"), RunTag("a", "2")], "twice")
    s.store.create_run(id, "user", 10, [RunTag("a|b", "1")], "bad key")
    s.store.create_run(id, "user", 10, [RunTag("long", "x" * 9000)], "long")
    s.store.unlike(TEXTS).create_run(id, "user", 10, [RunTag("a", None)], "none")
    s.store.unlike(TEXTS).create_run(id, "user", 10, [RunTag("a", 5)], "number")
    s.store.create_run(int(id), "user", 10, [], "int id")
    s.store.create_run(id, "u" * 300, 10, [], "n" * 300)
    s.store.create_run(id, "user", -5, [], "before 1970")
    s.store.unlike("a time is an integer").create_run(id, "user", 1.5, [], "half a ms")
    s.store.unlike("a time is an integer").create_run(id, "user", "x", [], "text time")
    for bad in ("77777", "abc", "-1", 1.5):
        s.store.create_run(bad, "user", 10, [], "x")
    s.store.create_run(experiment_id=id, user_id="u", start_time=5, tags=[], run_name="kw")
    for bad in (ABSENT, "", "abc", None, 5, "A" * 32):
        s.store.get_run(bad)
        s.store.delete_run(bad)
        s.store.restore_run(bad)
        s.store.update_run_info(bad, RunStatus.FINISHED, 1, None)
        s.store.log_metric(bad, Metric("m", 1, 1, 1))
        s.store.log_param(bad, Param("p", "1"))
        s.store.set_tag(bad, RunTag("t", "1"))
        s.store.delete_tag(bad, "t")
        s.store.log_outputs(bad, [])
        if bad is not None and bad != 5:
            s.store.log_batch(bad, [], [], [])
            s.store.log_inputs(bad, [], [])
        s.store.get_metric_history(bad, "m")


@scenario
def test_run_updates(s):
    run = new_run(s, experiment(s, "updates"), 1)
    for status in (1, 2, 3, 4, 5, RunStatus.KILLED, None):
        s.store.update_run_info(run, status, None, None)
    for bad in (0, 6, "bogus", -1):
        s.store.update_run_info(run, bad, None, None)
    s.store.unlike("a status may be a name").update_run_info(run, "FINISHED", None, None)
    s.store.update_run_info(run, RunStatus.KILLED, None, None)
    s.store.update_run_info(run, None, 55, None)
    s.store.update_run_info(run, None, 0, "renamed")
    s.store.update_run_info(run, None, None, "")
    s.store.update_run_info(run, RunStatus.RUNNING, None, "again")
    s.store.get_run(run)
    s.store.set_tag(run, RunTag("mlflow.runName", "by tag"))
    s.store.get_run(run)
    s.store.set_tag(run, RunTag("mlflow.runName", ""))
    s.store.get_run(run)
    s.store.log_batch(run, [], [], [RunTag("mlflow.runName", "by batch"), RunTag("x", "1")])
    s.store.get_run(run)
    s.store.log_batch(run, [], [], [RunTag("mlflow.runName", "first"), RunTag("mlflow.runName", "second")])
    s.store.get_run(run)
    s.store.log_batch(run, [], [], [RunTag("mlflow.runName", "kept"), RunTag("mlflow.runName", "")])
    s.store.get_run(run)
    s.store.delete_tag(run, "mlflow.runName")
    s.store.get_run(run)
    s.store.set_tag(run, RunTag("mlflow.runName", ""))
    s.store.update_run_info(run, None, None, "back")
    s.store.get_run(run)
    s.store.delete_run(run)
    s.store.get_run(run)
    s.store.delete_run(run)
    s.store.update_run_info(run, RunStatus.FINISHED, 9, "no")
    s.store.set_tag(run, RunTag("mlflow.runName", "no"))
    s.store.set_tag(run, RunTag("t", "1"))
    s.store.delete_tag(run, "x")
    s.store.log_param(run, Param("p", "1"))
    s.store.log_metric(run, Metric("m", 1, 1, 1))
    s.store.log_metric(run, Metric("m", 1, 1, 1, model_id="m-" + "1" * 32))
    s.store.log_batch(run, [], [], [])
    s.store.log_batch(run, [Metric("m", 1, 1, 1)], [Param("p", "1")], [RunTag("t", "1")])
    s.store.log_inputs(run, [dataset()], None)
    s.store.log_outputs(run, [LoggedModelOutput("m-" + "1" * 32, 1)])
    s.store.restore_run(run)
    s.store.restore_run(run)
    s.store.get_run(run)


NAMES = [
    "a", "a/b", "m/x y", "a.b", "é", "a:b", "a-b", "a_b", "0", "漢字", "x" * 250, "٣", "²", "½", "ª", "\u0301",
    "a|b", "", ".", "..", "a//b", "/a", "a/", "../a", "./a", "a/.", "a/../b", "...a", "x" * 251, "a,b", "a;b", "a'b", 'a"b',
    "a\tb", "a\\b", "a%", "a@b", "a b ", " ", "//a", "é" * 250, "é" * 251, "😀", "a(b)", "a\x00b", "ǅ", "_", "‿",
]


@scenario
def test_names(s):
    run = new_run(s, experiment(s, "names"), 1)
    for name in NAMES:
        s.store.log_metric(run, Metric(name, 1, 1, 1))
        s.store.log_param(run, Param(name, "1"))
        s.store.set_tag(run, RunTag(name, "1"))
        s.store.log_batch(run, [Metric("ok", 1, 1, 1), Metric(name, 2, 2, 2)], [], [])
        s.store.log_batch(run, [], [Param("ok", "1"), Param(name, "1")], [])
        s.store.log_batch(run, [], [], [RunTag("ok", "1"), RunTag(name, "2")])
    s.store.get_run(run)
    s.store.unlike("a newline at the end slips through MLflow's expression").log_param(run, Param("newline\n", "1"))
    for bad in (None, 5, True, 1.5):
        s.store.log_metric(run, Metric(bad, 1, 1, 1))
        s.store.log_param(run, Param(bad, "1"))
        s.store.set_tag(run, RunTag(bad, "1"))
        s.store.log_batch(run, [Metric(bad, 1, 1, 1)], [], [])
        s.store.log_batch(run, [], [Param(bad, "1")], [])
        s.store.log_batch(run, [], [], [RunTag(bad, "1")])
        s.store.delete_tag(run, bad)
        s.store.get_metric_history(run, bad)


@scenario
def test_params(s):
    run = new_run(s, experiment(s, "params"), 1)
    s.store.log_param(run, Param("p", "1"))
    s.store.log_param(run, Param("p", "1"))
    s.store.log_param(run, Param("p", "2"))
    s.store.log_batch(run, [], [Param("p", "1"), Param("q", "1")], [])
    s.store.log_batch(run, [], [Param("p", "2"), Param("q", "it's"), Param("r", "new")], [])
    s.store.log_batch(run, [], [Param("p", "a'b\"c"), Param("q", "\n\\é")], [])
    s.store.log_batch(run, [], [Param("d", "1"), Param("d", "1")], [])
    s.store.log_batch(run, [], [Param("d", "1"), Param("e", "1"), Param("d", "2"), Param("d", "3"), Param("e", "2")], [])
    for value in ("", " ", "é漢字😀", "line\nbreak", "x" * 6000, "None"):
        s.store.log_param(run, Param(f"v{len(value)}", value))
    s.store.get_run(run)
    s.store.log_param(run, Param("none", None))
    s.store.log_batch(run, [], [Param("none", None)], [])
    for odd in (5, 1.5, True, ["a"], {"a": 1}):
        s.store.unlike(TEXTS).log_param(run, Param(f"odd {type(odd).__name__}", odd))
        s.store.unlike(TEXTS).log_batch(run, [], [Param(f"odd batch {type(odd).__name__}", odd)], [])


@scenario
def test_tags(s):
    run = new_run(s, experiment(s, "tags"), 1)
    s.store.set_tag(run, RunTag("t", "1"))
    s.store.set_tag(run, RunTag("t", "2"))
    s.store.log_batch(run, [], [], [RunTag("t", "3"), RunTag("u", "1"), RunTag("t", "4"), RunTag("u", "2")])
    for value in ("", " ", "é漢字😀", "line\nbreak", "x" * 8000):
        s.store.set_tag(run, RunTag(f"v{len(value)}", value))
    for key in ("mlflow.user", "mlflow.source.name", "mlflow.parentRunId", "mlflow.note.content", "mlflow.bogus", "MLFLOW.x"):
        s.store.set_tag(run, RunTag(key, "v"))
    s.store.get_run(run)
    s.store.delete_tag(run, "t")
    s.store.delete_tag(run, "t")
    s.store.delete_tag(run, "nope")
    s.store.delete_tag(run, "")
    s.store.get_run(run)
    for odd in (5, 1.5, True, ["a"]):
        s.store.unlike(TEXTS).set_tag(run, RunTag(f"odd {type(odd).__name__}", odd))
        s.store.unlike(TEXTS).log_batch(run, [], [], [RunTag(f"odd batch {type(odd).__name__}", odd)])
    s.store.set_tag(run, RunTag("none", None))
    s.store.unlike(TEXTS).get_run(run)


@scenario
def test_long_values(s):
    run = new_run(s, experiment(s, "long values"), 1)
    for setting in ("true", "false", "1", "0", "True", "FALSE"):
        with mock.patch.dict(os.environ, MLFLOW_TRUNCATE_LONG_VALUES=setting):
            for i, size in enumerate((5999, 6001, 8001)):
                s.store.log_param(run, Param(f"{setting}.{i}", "é" * size))
                s.store.set_tag(run, RunTag(f"{setting}.{i}", "é" * size))
                s.store.log_batch(run, [], [Param(f"{setting}.b{i}", "x" * size)], [])
                s.store.log_batch(run, [], [], [RunTag("ok", "1"), RunTag(f"{setting}.b{i}", "x" * size)])
    s.store.get_run(run)


@scenario
def test_batches(s):
    run = new_run(s, experiment(s, "batches"), 1)
    points = lambda n: [Metric(f"m{i % 50}", i, i, i) for i in range(n)]  # noqa: E731
    ps = lambda n: [Param(f"p{i}", str(i)) for i in range(n)]  # noqa: E731
    ts = lambda n: [RunTag(f"t{i}", str(i)) for i in range(n)]  # noqa: E731
    for sizes in [(0, 0, 0), (1, 1, 1), (1001, 0, 0), (0, 101, 0), (0, 0, 101), (900, 51, 50), (800, 100, 100), (1000, 0, 0),
                  (1001, 101, 101), (1000, 1, 0)]:
        s.store.log_batch(run, points(sizes[0]), ps(sizes[1]), ts(sizes[2]))
    s.store.get_run(run)
    other = new_run(s, experiment(s, "batches 2"), 1)
    s.store.log_batch(other, [Metric("a", 1, 1, 1), Metric("b|c", 1, 1, 1)], [Param("p", "1")], [RunTag("t", "1")])
    s.store.log_batch(other, [Metric("a", 1, 1, 1)], [Param("p|", "1")], [RunTag("t", "1")])
    s.store.log_batch(other, [Metric("a", 1, 1, 1)], [Param("p", "1")], [RunTag("t|", "1")])
    s.store.log_batch(other, [Metric("a|", 1, 1, 1)] * 1001, ps(101), ts(101))
    s.store.log_batch(other, [], [Param("p|", "1"), Param("p|", "1")], [])
    s.store.log_batch(run_id=other, metrics=[Metric("a", 1, 1, 1)], params=[Param("p", "1")], tags=[RunTag("t", "1")])
    s.store.log_batch(other, [Metric("a", 2, 2, 2)], [Param("p", "2")], [RunTag("t", "2")])
    s.store.get_run(other)
    for bad in ("a b", "a/b", "-a", "", "é", "x" * 257, "x" * 256, "aé", "_a"):
        s.store.log_batch(bad, [], [], [])
        s.store.log_inputs(bad)
    s.store.log_batch(other, (), (), ())
    s.store.unlike("None is an empty list").log_batch(other, None, None, None)


@scenario
def test_inputs(s):
    id, elsewhere = experiment(s, "inputs"), experiment(s, "inputs elsewhere")
    run, other, third = new_run(s, id, 1), new_run(s, id, 2), new_run(s, elsewhere, 3)
    s.store.log_inputs(run)
    s.store.log_inputs(run, [], [])
    s.store.log_inputs(run, None, None)
    s.store.log_inputs(run, datasets=[dataset("d", "1", [("mlflow.data.context", "train"), ("x", "y")], schema="{}", profile="p")])
    s.store.get_run(run)
    # The first description of a data set stays, and so do its first tags.
    s.store.log_inputs(run, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    s.store.log_inputs(other, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    s.store.log_inputs(third, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    for one in (run, other, third):
        s.store.get_run(one)
    s.store.log_inputs(run, [dataset("d", "2"), dataset("e", "1"), dataset("d", "2", [("a", "b")])])
    s.store.log_inputs(run, [], [LoggedModelInput("m-" + "1" * 32), LoggedModelInput("anything")])
    s.store.log_inputs(run, None, [LoggedModelInput("m-" + "1" * 32)])
    s.store.log_outputs(run, [LoggedModelOutput("m-" + "2" * 32, 3), LoggedModelOutput("m-" + "3" * 32, 0)])
    s.store.log_outputs(run, [])
    s.store.get_run(run)
    s.store.search_runs([id], "", ALL, 10)
    for more in DATASET_FIELDS:
        s.store.log_inputs(other, [dataset(**more)])
    for number, (key, value) in enumerate([("k" * 256, "v"), ("k", "v" * 501), ("k" * 255, "v" * 500), ("a|b", ""), (None, "v"), ("k", None)]):
        s.store.log_inputs(other, [dataset("tagged", str(number), [("x", ""), (key, value)])])
    for odd in ([DatasetInput(None, [])], dataset(), (dataset("tuple"),), {"a": 1}, "abc"):
        s.store.log_inputs(other, odd)
    s.store.log_inputs(ABSENT, [dataset()])
    s.store.log_inputs(other, [dataset(f"n{i}") for i in range(40)])
    s.store.get_run(other)
    # Summaries: one of each context.
    for ids in ([id], [id, elsewhere], [], ["77777"], ["abc"], [int(id)]):
        s.do("_search_datasets", lambda: sorted(s.raw_store._search_datasets(ids), key=lambda one: str(vars(one))))
    for clause in DATASET_FILTERS:
        s.store.search_runs([id, elsewhere], clause, ALL, 10)
    for odd in (dataset(""), dataset("d", ""), dataset("d", "9", [("", "")])):
        s.store.unlike("names are not empty").log_inputs(other, [odd])
    twice = [("mlflow.data.context", "train"), ("mlflow.data.context", "eval")]
    s.store.unlike("SQL has a key once").log_inputs(run, [dataset("e", "2", twice)])
    s.store.unlike("SQL has an output once").log_outputs(run, [LoggedModelOutput("m-" + "2" * 32, 4)])

DATASET_FIELDS = [
    {"name": "n" * 500}, {"name": "n" * 501}, {"digest": "d" * 36}, {"digest": "d" * 37}, {"source_type": ""}, {"source": ""},
    {"source": "s" * 65535, "name": "big source"}, {"source": "s" * 65536}, {"schema": "s" * 1048575, "name": "big schema"},
    {"schema": "s" * 1048576}, {"profile": "p" * 16777216}, {"name": None}, {"digest": None},
    {"source_type": None}, {"source": None}, {"name": "é漢字", "digest": "é"}, {"name": "s300", "source_type": "s" * 300},
]

DATASET_FILTERS = """\
dataset.name = 'd'
datasets.name = 'd'
dataset.name != 'd'
dataset.name LIKE 'D%'
dataset.name ILIKE 'D%'
dataset.digest = '2'
dataset.name = 'd' AND dataset.digest = '2'
dataset.name = 'd' AND dataset.context = 'eval'
dataset.context = 'train'
dataset.context != 'train'
dataset.context LIKE 'ev%'
dataset.context IN ('train', 'eval')
dataset.name IN ('e')
dataset.name NOT IN ('e')
dataset.digest IN ()
dataset.digest IN (1)
dataset.profile = 'p'
dataset.schema = '{}'
dataset.source = 's'
dataset.name > 'a'
dataset.name = d
dataset.name = 1
dataset.name IS NULL
dataset.`name` = 'd'
dataset.'name' = 'd'
dataset.context = 'train' AND dataset.context = 'eval'
dataset.name = 'nope'
dataset.Name = 'd'
Dataset.name = 'd'
dataset.name.x = 'd'
""".splitlines()


@scenario
def test_recorded_models(s):
    from mlflow.models import Model

    run = new_run(s, experiment(s, "recorded"), 1)
    model = Model(artifact_path="model/path", run_id=run, flavors={"tf": "flavor body"}, utc_time_created="2020-01-01", model_uuid="u")
    other = Model(artifact_path="model/é", run_id=run, flavors={"a": {"b": 'quote " \\ \n'}}, utc_time_created="2020-01-01", model_uuid="v")
    for one in (model, other, model):
        s.store.record_logged_model(run, one)
        s.store.get_run(run)
    for bad in ({"a": 1}, None, "x", 5, object):
        s.store.record_logged_model(run, bad)
    s.store.record_logged_model(ABSENT, model)
    broken = new_run(s, experiment(s, "recorded broken"), 2)
    for before in ("[]", "[1]", "[ ]"):
        s.store.set_tag(broken, RunTag("mlflow.log-model.history", before))
        s.store.record_logged_model(broken, model)
        s.store.get_run(broken)
    for before in ("{}", "bogus"):
        s.store.set_tag(broken, RunTag("mlflow.log-model.history", before))
        s.store.record_logged_model(broken, model)
    s.store.set_tag(broken, RunTag("mlflow.log-model.history", ""))
    s.store.unlike("an empty tag is no list with something in it").record_logged_model(broken, model)
    big = Model(artifact_path="x" * 5000, run_id=run, flavors={"a": {}}, utc_time_created="2020-01-01", model_uuid="v")
    for _ in range(3):
        s.store.record_logged_model(run, big)
    s.store.delete_run(run)
    s.store.record_logged_model(run, model)
