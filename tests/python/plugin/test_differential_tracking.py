"""The tracking store of ``runlode:`` URIs beside MLflow's own SQL store: the same calls, the same answers.

Each scenario below is a script of calls that is run on both; every answer is compared (see ``differential``). Where the
two differ on purpose, the call says why. A random walk over small universes of names and values does the same for orders
of calls that nobody thought of: ``RUNLODE_DIFF_CALLS`` calls with the seed ``RUNLODE_DIFF_SEED``.
"""

import inspect
import json
import math
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

mlflow = pytest.importorskip("mlflow")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import knob  # noqa: E402
from differential import Notes, Side, compare, tick  # noqa: E402
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)

pytest.importorskip("sqlalchemy")
SCENARIOS = []
ACTIVE, DELETED, ALL = ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL
ABSENT = "0" * 32


def scenario(script):
    SCENARIOS.append(script)
    return script


def experiment(s, name, **more):
    tick()
    return s.create_experiment(name, more.pop("artifact_location", None), more.pop("tags", []), **more)


CLOCK = [1000]


def new_run(s, experiment_id, start=None, tags=(), name="run"):
    """A run that begins after all others: ids are random, and break ties."""
    return s.create_run(experiment_id, "ann", start, list(tags), name).info.run_id


def dataset(name="d", digest="1", tags=(), **more):
    fields = {"source_type": "local", "source": "s", **more}
    return DatasetInput(Dataset(name=name, digest=digest, **fields), [InputTag(k, v) for k, v in tags])


# Experiments.


@scenario
def experiments(s):
    s.get_experiment("0")
    id = experiment(s, "plain")
    s.get_experiment(id)
    s.get_experiment(int(id))
    s.get_experiment_by_name("plain")
    s.get_experiment_by_name("nobody")
    s.get_experiment_by_name("")
    s.get_experiment_by_name(None)
    for bad in ("77777", "-1", "1.5", "abc", "", None, "0x1", "9" * 30, [], "+0"):
        s.get_experiment(bad)
    for odd in (" 0 ", 1.0, True, "1_0"):
        s.known("what Python's int() takes besides").get_experiment(odd)
    for bad in ("", None, 5, "x" * 501, ["a"], {}, b"bytes", True, 1.5):
        s.create_experiment(bad, None, None)
        s.rename_experiment(id, bad)
    experiment(s, "x" * 500)
    experiment(s, "é漢字 / : ' \" %00 <b>")
    s.create_experiment(" ", None, None)
    s.create_experiment("plain", None, None)
    s.create_experiment("plain", "/elsewhere", [ExperimentTag("a", "1")])
    s.create_experiment(name="keywords", artifact_location=None, tags=None)
    s.get_experiment_by_name("PLAIN")


@scenario
def experiment_lifecycle(s):
    id, other = experiment(s, "lives"), experiment(s, "other life")
    run, deleted = new_run(s, id, 1), new_run(s, id, 2)
    s.delete_run(deleted)
    s.delete_experiment(id)
    s.get_experiment(id)
    s.get_experiment_by_name("lives")
    s.get_run(run)
    s.get_run(deleted)
    s.delete_experiment(id)
    s.rename_experiment(id, "later")
    s.rename_experiment(id, "")
    s.create_experiment("lives", None, [])
    s.create_run(id, "u", 1, [], None)
    s.create_logged_model(id)
    s.set_experiment_tag(id, ExperimentTag("a", "1"))
    s.delete_experiment_tag(id, "a")
    s.log_metric(run, Metric("m", 1, 1, 1))
    s.log_batch(run, [], [], [])
    s.update_run_info(run, RunStatus.FINISHED, 5, None)
    s.restore_run(run)
    s.get_run(run)
    s.log_metric(run, Metric("m", 1, 1, 1))
    s.restore_experiment(id)
    s.get_experiment(id)
    s.get_run(run)
    s.get_run(deleted)
    s.restore_experiment(id)
    s.rename_experiment(id, "later")
    s.get_experiment(id)
    s.rename_experiment(id, "later")
    s.rename_experiment(id, "other life")
    for call in ("delete_experiment", "restore_experiment"):
        for bad in ("77777", "abc", -1):
            getattr(s, call)(bad)
    for bad in ("77777", "abc"):
        s.rename_experiment(bad, "x")
        s.set_experiment_tag(bad, ExperimentTag("a", "1"))
        s.delete_experiment_tag(bad, "a")


@scenario
def default_experiment(s):
    s.get_experiment_by_name("Default")
    s.delete_experiment("0")
    s.get_experiment("0")
    s.create_run("0", "u", 1, [], "in default")
    s.restore_experiment("0")
    s.rename_experiment("0", "Not Default")
    s.get_experiment_by_name("Default")
    s.rename_experiment("0", "Default")


@scenario
def experiment_tags(s):
    id = experiment(s, "tagged", tags=[ExperimentTag("a", "1"), ExperimentTag("b", "")])
    s.get_experiment(id)
    s.set_experiment_tag(id, ExperimentTag("a", "2"))
    s.set_experiment_tag(int(id), ExperimentTag("c", "é漢字\n"))
    s.set_experiment_tag(id, ExperimentTag("mlflow.note.content", "x" * 20000))
    s.set_experiment_tag(id, ExperimentTag("mlflow.note.content", "x" * 20001))
    s.set_experiment_tag(id, ExperimentTag("k" * 250, "v"))
    for bad in ("k" * 251, "a|b", "", ".", "..", "a//b", "/a", "a/", "../a", None, "a/../b", "a\nb", "é"):
        s.set_experiment_tag(id, ExperimentTag(bad, "v"))
        s.create_experiment(f"bad tag {bad}"[:90], None, [ExperimentTag(bad, "v")])
    s.set_experiment_tag(id, ExperimentTag("long", "x" * 5000))
    s.set_experiment_tag(id, ExperimentTag("long", "x" * 5001))
    s.set_experiment_tag(id, ExperimentTag("long", "x" * 20001))
    s.create_experiment("overlong tag", None, [ExperimentTag("a", "x" * 20001)])
    s.create_experiment("tag twice", None, [ExperimentTag("a", "1"), ExperimentTag("a", "2")])
    for value in ("bogus", "{}", '{"type": "duration", "value": "30d"}', '{"type": "duration", "value": "1"}', "[]"):
        s.set_experiment_tag(id, ExperimentTag("mlflow.trace.archivalRetention", value))
        s.set_experiment_tag(id, ExperimentTag("mlflow.trace.archiveNow", value))
    s.get_experiment(id)
    s.delete_experiment_tag(id, "a")
    s.delete_experiment_tag(id, "a")
    s.delete_experiment_tag(id, "nope")
    s.delete_experiment_tag(int(id), "b")
    s.get_experiment(id)


LOCATIONS = (
    "/abs/place", "rel/place", "./dot", "~/home", "s3://bucket/x", "s3://bucket/x/", "gs://b", "dbfs:/a/b",
    "file:///abs/x", "file:/abs/x", "file:rel", "hdfs://host:80/x?a=1#f", "mlflow-artifacts:/x", "mlflow-artifacts://h/x",
    "http://host/x?y=1", "ftp://u:p@host/x", "models:/m/1", "/with space/x", "/é/%20", "/a/../b", "/a//b/",
    "s3://bucket/a/../b", "wasbs://c@a.blob.core.windows.net/x", "/a#b", "/a?b", "s3://bucket/a#b", "s3://bucket?x=1",
    "/x;y", "", "/" + "x" * 2100, "postgresql+psycopg2://u:p@h/db?x=1", "file:///a b", "file:///a?x#y",
    "s3://bucket/../x", "http://host/%2e%2e/x", "file://host/x", ".", "/",
)


@scenario
def artifact_locations(s):
    for place in LOCATIONS:
        tick()
        id = s.create_experiment(f"at {place}"[:200], place, [])
        if id is None:
            continue
        s.get_experiment(id)
        s.create_run(id, "u", 1, [], "x")
        s.create_logged_model(id, name="x")
    s.known("MLflow refuses it in the handler of REST, we everywhere").create_experiment("at a run", "runs:/abc/x", [])


# Beyond MLflow's grammar.
MORE = "OR, NOT, parentheses, numbers of params and blanks at the ends are ours"


@scenario
def search_experiments(s):
    for i, name in enumerate(["Se a", "Se B", "Se_c", "se%d", "Se 'q'", 'Se "dq"', "Sé"]):
        tags = [ExperimentTag("set", "se"), ExperimentTag("parity", "odd" if i % 2 else "even")]
        if i < 3:
            tags += [ExperimentTag("few key", str(i)), ExperimentTag("dot.ted", "X" if i else "x")]
        experiment(s, name, tags=tags)
    (s_id,) = [s.get_experiment_by_name("Se_c").experiment_id]
    s.delete_experiment(s_id)
    mine = "tags.set = 'se'"
    for view in (ACTIVE, DELETED, ALL):
        s.search_experiments(view, filter_string=mine)
    for bad in (0, 4, -1):
        s.known("a view that there is not is refused").search_experiments(bad, filter_string=mine)
    for clause in EXPERIMENT_FILTERS:
        s.search_experiments(ALL, 1000, f"{clause} AND {mine}" if clause.strip() else clause)
        if "(" in clause or "  " in clause:
            s.search_experiments(ALL, 1000, clause)
    for clause in ("name = 'Se a' OR name = 'Se B'", "(name = 'Se a')", "NOT name = 'Se a'"):
        s.known(MORE).search_experiments(ALL, 1000, clause)
    s.known(MORE).search_experiments(ALL, 1000, mine, [" name "])
    for order in EXPERIMENT_ORDERS:
        s.search_experiments(ALL, 1000, mine, order)
    for most in (1, 2, 6, 7, 8, 0, -1, 50000, 50001, None):
        page = s.search_experiments(ALL, most, mine, ["name"])
        while page is not None and page.token:
            page = s.search_experiments(ALL, most, mine, ["name"], page.token)
    for token in TOKENS:
        s.search_experiments(ALL, 3, mine, ["name"], token)
    s.search_experiments()


EXPERIMENT_FILTERS = """\
name = 'Se a'
name != 'Se a'
name = "Se a"
name = 'se a'
name LIKE 'Se%'
name LIKE 'se%'
name like 'Se%'
name ILIKE 'SE%'
name LIKE 'Se_c'
name LIKE '%'
name LIKE ''
name LIKE 'Se \\'q\\''
name = "Se 'q'"
name = 'Se "dq"'
name ILIKE 'SÉ'
attribute.name = 'Se a'
attributes.name = 'Se a'
attr.name = 'Se a'
`name` = 'Se a'
"name" = 'Se a'
attribute.`name` = 'Se a'
name = Se
name = 1
name > 'Se a'
name IN ('Se a')
name IS NULL
name = 'Se a' name = 'Se B'
name == 'Se a'
name <> 'Se a'
name
bogus = 'x'
Name = 'Se a'
NAME = 'Se a'
experiment_id = '1'
experiment_id = 1
experiment_id = 'abc'
experiment_id != '0'
experiment_id IN ('0', '1', '2')
experiment_id NOT IN ('0')
experiment_id in ('0')
experiment_id IN ()
experiment_id IN (1)
experiment_id IN ('a')
experiment_id > '0'
experiment_id LIKE '1%'
creation_time > 0
creation_time > 1.5
creation_time > '0'
creation_time >= 0
creation_time < 0
creation_time != 0
creation_time = 0
creation_time LIKE '1'
creation_time IN (1)
creation_time > -1
last_update_time > 0
last_update_time <= 99999999999999
last_updated_time > 0
artifact_location = 'x'
tag.parity = 'odd'
tags.parity = 'odd'
tags.`parity` = 'odd'
tags."parity" = 'odd'
tags.'parity' = 'odd'
tags.parity != 'odd'
tags.parity LIKE 'o%'
tags.parity LIKE 'O%'
tags.parity ILIKE 'O%'
tags.parity ilike 'O%'
tags.parity like 'o%'
tags.parity = 'odd' AND tags.`few key` = '1'
tags.`few key` = '1'
tags.`few key` != '1'
tags.few key = '1'
tags.`few key` IS NULL
tags.`few key` IS NOT NULL
tags.`few key` is null
tags.`few key` is not null
tags.dot.ted = 'x'
tags.`dot.ted` = 'X'
tags.parity IN ('odd')
tags.parity > 'a'
tags.parity = odd
tags.parity = 1
tags.parity = ''
tags.nope = 'x'
tags.nope != 'x'
Tags.parity = 'odd'
params.p = '1'
metrics.m = 1
'Se a' = name
1 = creation_time
name = 'Se a';
name = 'Se a
name BETWEEN 'a' AND 'b'
name RLIKE 'S.*'
name NOT LIKE 'Se%'
AND name = 'Se a'
  
""".splitlines()

EXPERIMENT_ORDERS = [
    None, [], ["name"], ["name ASC"], ["name DESC"], ["name asc"], ["Name"], ["experiment_id"], ["experiment_id DESC"],
    ["creation_time"], ["creation_time DESC"], ["last_update_time"], ["last_update_time DESC", "name"],
    ["attribute.name DESC"], ["attributes.name"], ["tags.parity"], ["tag.parity"], ["bogus"], ["name FOO"], [""], ["name,"],
    ["name, experiment_id"], ["name ASC ASC"], ["`name` DESC"], ["name", "name"], ["name DESC", "experiment_id"],
    ["name  DESC"], ["lifecycle_stage"], ["params.p"], ["'name'"], ['"name" DESC'], "name", ["name", "name DESC"],
]

TOKENS = [
    "", "eyJvZmZzZXQiOiAyfQ==", b"eyJvZmZzZXQiOiAyfQ==", "garbage!", "e30=", "eyJvZmZzZXQiOiAwfQ==", "W10=", "MQ==",
    "eyJvZmZzZXQiOiAieCJ9", "eyJvZmZzZXQiOiAiMiJ9", "eyJvZmZzZXQiOiA5OTk5OX0=", "abc", "AAAA", 5,
    "eyJvZmZzZXQiOiAyfQ",
]


# Runs.

TEXTS = "values that are no texts become some; None is empty"


@scenario
def runs(s):
    id = experiment(s, "runs")
    s.create_run(id, "user", 10, [RunTag("a", "1"), RunTag("b", "2")], "named")
    s.create_run(id, "user", 10, [], None)
    s.known("what is not given is empty, or 0").create_run(id, None, None, None, None)
    s.create_run(id, "user", 10, [RunTag("mlflow.runName", "from tag")], None)
    s.create_run(id, "user", 10, [RunTag("mlflow.runName", "same")], "same")
    s.create_run(id, "user", 10, [RunTag("mlflow.runName", "one")], "other")
    for name in ("name", None, ""):
        s.known("an empty tag of the name is none").create_run(id, "user", 10, [RunTag("mlflow.runName", "")], name)
    s.create_run(id, "user", 10, [RunTag("a", "1"), RunTag("a", "2")], "twice")
    s.create_run(id, "user", 10, [RunTag("a|b", "1")], "bad key")
    s.create_run(id, "user", 10, [RunTag("long", "x" * 9000)], "long")
    s.known(TEXTS).create_run(id, "user", 10, [RunTag("a", None)], "none")
    s.known(TEXTS).create_run(id, "user", 10, [RunTag("a", 5)], "number")
    s.create_run(int(id), "user", 10, [], "int id")
    s.create_run(id, "u" * 300, 10, [], "n" * 300)
    s.create_run(id, "user", -5, [], "before 1970")
    s.known("a time is an integer").create_run(id, "user", 1.5, [], "half a ms")
    s.known("a time is an integer").create_run(id, "user", "x", [], "text time")
    for bad in ("77777", "abc", "-1", 1.5):
        s.create_run(bad, "user", 10, [], "x")
    s.create_run(experiment_id=id, user_id="u", start_time=5, tags=[], run_name="kw")
    for bad in (ABSENT, "", "abc", None, 5, "A" * 32):
        s.get_run(bad)
        s.delete_run(bad)
        s.restore_run(bad)
        s.update_run_info(bad, RunStatus.FINISHED, 1, None)
        s.log_metric(bad, Metric("m", 1, 1, 1))
        s.log_param(bad, Param("p", "1"))
        s.set_tag(bad, RunTag("t", "1"))
        s.delete_tag(bad, "t")
        s.log_outputs(bad, [])
        if bad is not None and bad != 5:
            s.log_batch(bad, [], [], [])
            s.log_inputs(bad, [], [])
        s.get_metric_history(bad, "m")


@scenario
def run_updates(s):
    run = new_run(s, experiment(s, "updates"), 1)
    for status in (1, 2, 3, 4, 5, RunStatus.KILLED, None):
        s.update_run_info(run, status, None, None)
    for bad in (0, 6, "bogus", -1):
        s.update_run_info(run, bad, None, None)
    s.known("a status may be a name").update_run_info(run, "FINISHED", None, None)
    s.update_run_info(run, RunStatus.KILLED, None, None)
    s.update_run_info(run, None, 55, None)
    s.update_run_info(run, None, 0, "renamed")
    s.update_run_info(run, None, None, "")
    s.update_run_info(run, RunStatus.RUNNING, None, "again")
    s.get_run(run)
    s.set_tag(run, RunTag("mlflow.runName", "by tag"))
    s.get_run(run)
    s.set_tag(run, RunTag("mlflow.runName", ""))
    s.get_run(run)
    s.log_batch(run, [], [], [RunTag("mlflow.runName", "by batch"), RunTag("x", "1")])
    s.get_run(run)
    s.log_batch(run, [], [], [RunTag("mlflow.runName", "first"), RunTag("mlflow.runName", "second")])
    s.get_run(run)
    s.log_batch(run, [], [], [RunTag("mlflow.runName", "kept"), RunTag("mlflow.runName", "")])
    s.get_run(run)
    s.delete_tag(run, "mlflow.runName")
    s.get_run(run)
    s.set_tag(run, RunTag("mlflow.runName", ""))
    s.update_run_info(run, None, None, "back")
    s.get_run(run)
    s.delete_run(run)
    s.get_run(run)
    s.delete_run(run)
    s.update_run_info(run, RunStatus.FINISHED, 9, "no")
    s.set_tag(run, RunTag("mlflow.runName", "no"))
    s.set_tag(run, RunTag("t", "1"))
    s.delete_tag(run, "x")
    s.log_param(run, Param("p", "1"))
    s.log_metric(run, Metric("m", 1, 1, 1))
    s.log_metric(run, Metric("m", 1, 1, 1, model_id="m-" + "1" * 32))
    s.log_batch(run, [], [], [])
    s.log_batch(run, [Metric("m", 1, 1, 1)], [Param("p", "1")], [RunTag("t", "1")])
    s.log_inputs(run, [dataset()], None)
    s.log_outputs(run, [LoggedModelOutput("m-" + "1" * 32, 1)])
    s.restore_run(run)
    s.restore_run(run)
    s.get_run(run)


NAMES = [
    "a", "a/b", "m/x y", "a.b", "é", "a:b", "a-b", "a_b", "0", "漢字", "x" * 250, "٣", "²", "½", "ª", "\u0301",
    "a|b", "", ".", "..", "a//b", "/a", "a/", "../a", "./a", "a/.", "a/../b", "...a", "x" * 251, "a,b", "a;b", "a'b", 'a"b',
    "a\tb", "a\\b", "a%", "a@b", "a b ", " ", "//a", "é" * 250, "é" * 251, "😀", "a(b)", "a\x00b", "ǅ", "_", "‿",
]


@scenario
def names(s):
    run = new_run(s, experiment(s, "names"), 1)
    for name in NAMES:
        s.log_metric(run, Metric(name, 1, 1, 1))
        s.log_param(run, Param(name, "1"))
        s.set_tag(run, RunTag(name, "1"))
        s.log_batch(run, [Metric("ok", 1, 1, 1), Metric(name, 2, 2, 2)], [], [])
        s.log_batch(run, [], [Param("ok", "1"), Param(name, "1")], [])
        s.log_batch(run, [], [], [RunTag("ok", "1"), RunTag(name, "2")])
    s.get_run(run)
    s.known("a newline at the end slips through MLflow's expression").log_param(run, Param("newline\n", "1"))
    for bad in (None, 5, True, 1.5):
        s.log_metric(run, Metric(bad, 1, 1, 1))
        s.log_param(run, Param(bad, "1"))
        s.set_tag(run, RunTag(bad, "1"))
        s.log_batch(run, [Metric(bad, 1, 1, 1)], [], [])
        s.log_batch(run, [], [Param(bad, "1")], [])
        s.log_batch(run, [], [], [RunTag(bad, "1")])
        s.delete_tag(run, bad)
        s.get_metric_history(run, bad)


@scenario
def params(s):
    run = new_run(s, experiment(s, "params"), 1)
    s.log_param(run, Param("p", "1"))
    s.log_param(run, Param("p", "1"))
    s.log_param(run, Param("p", "2"))
    s.log_batch(run, [], [Param("p", "1"), Param("q", "1")], [])
    s.log_batch(run, [], [Param("p", "2"), Param("q", "it's"), Param("r", "new")], [])
    s.log_batch(run, [], [Param("p", "a'b\"c"), Param("q", "\n\\é")], [])
    s.log_batch(run, [], [Param("d", "1"), Param("d", "1")], [])
    s.log_batch(run, [], [Param("d", "1"), Param("e", "1"), Param("d", "2"), Param("d", "3"), Param("e", "2")], [])
    for value in ("", " ", "é漢字😀", "line\nbreak", "x" * 6000, "None"):
        s.log_param(run, Param(f"v{len(value)}", value))
    s.get_run(run)
    s.log_param(run, Param("none", None))
    s.log_batch(run, [], [Param("none", None)], [])
    for odd in (5, 1.5, True, ["a"], {"a": 1}):
        s.known(TEXTS).log_param(run, Param(f"odd {type(odd).__name__}", odd))
        s.known(TEXTS).log_batch(run, [], [Param(f"odd batch {type(odd).__name__}", odd)], [])


@scenario
def tags(s):
    run = new_run(s, experiment(s, "tags"), 1)
    s.set_tag(run, RunTag("t", "1"))
    s.set_tag(run, RunTag("t", "2"))
    s.log_batch(run, [], [], [RunTag("t", "3"), RunTag("u", "1"), RunTag("t", "4"), RunTag("u", "2")])
    for value in ("", " ", "é漢字😀", "line\nbreak", "x" * 8000):
        s.set_tag(run, RunTag(f"v{len(value)}", value))
    for key in ("mlflow.user", "mlflow.source.name", "mlflow.parentRunId", "mlflow.note.content", "mlflow.bogus", "MLFLOW.x"):
        s.set_tag(run, RunTag(key, "v"))
    s.get_run(run)
    s.delete_tag(run, "t")
    s.delete_tag(run, "t")
    s.delete_tag(run, "nope")
    s.delete_tag(run, "")
    s.get_run(run)
    for odd in (5, 1.5, True, ["a"]):
        s.known(TEXTS).set_tag(run, RunTag(f"odd {type(odd).__name__}", odd))
        s.known(TEXTS).log_batch(run, [], [], [RunTag(f"odd batch {type(odd).__name__}", odd)])
    s.set_tag(run, RunTag("none", None))
    s.known(TEXTS).get_run(run)


@scenario
def long_values(s):
    run = new_run(s, experiment(s, "long values"), 1)
    before = os.environ.get("MLFLOW_TRUNCATE_LONG_VALUES")
    try:
        for setting in ("true", "false", "1", "0", "True", "FALSE"):
            os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] = setting
            for i, size in enumerate((5999, 6001, 8001)):
                s.log_param(run, Param(f"{setting}.{i}", "é" * size))
                s.set_tag(run, RunTag(f"{setting}.{i}", "é" * size))
                s.log_batch(run, [], [Param(f"{setting}.b{i}", "x" * size)], [])
                s.log_batch(run, [], [], [RunTag("ok", "1"), RunTag(f"{setting}.b{i}", "x" * size)])
        s.get_run(run)
    finally:
        os.environ.pop("MLFLOW_TRUNCATE_LONG_VALUES")
        if before is not None:
            os.environ["MLFLOW_TRUNCATE_LONG_VALUES"] = before


@scenario
def metrics(s):
    run = new_run(s, experiment(s, "metrics"), 1)
    values = [0.1, -0.0, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 3, 2**60, 1e16, 123456789.123]
    for i, value in enumerate(values):
        s.log_metric(run, Metric(f"v{i}", value, i, -i))
        s.get_metric_history(run, f"v{i}")
    # Of one step and time the greatest counts; late points of lower steps never do.
    for value, at, step in [(1, 5, 0), (2, 5, 0), (-1, 5, 0), (3, 4, 0), (0, 6, 0), (9, 1, -1), (1, 1, 2), (5, 0, 2), (7, 99, 1)]:
        s.log_metric(run, Metric("m", value, at, step))
        s.get_run(run)
    for value in (-1, math.nan, 0, 3, math.nan):
        s.log_metric(run, Metric("n", value, 1, 1))
        s.get_run(run)
    s.get_metric_history(run, "n")
    for _ in range(2):
        s.log_metric(run, Metric("again", 1, 1, 1))
        s.log_batch(run, [Metric("again", 1, 1, 1), Metric("again", 1, 1, 1), Metric("again", 2, 1, 1)], [], [])
        s.log_batch(run, [Metric("nans", math.nan, 1, 1), Metric("nans", math.nan, 1, 1), Metric("nans", 0, 1, 1)], [], [])
    s.get_metric_history(run, "again")
    s.get_metric_history(run, "nans")
    for bad in BAD_POINTS:
        s.log_metric(run, Metric("bad", *bad))
        s.log_batch(run, [Metric("ok", 1, 1, 1), Metric("bad", *bad)], [], [])
        s.log_batch(run, [Metric("bad", *bad)], [], [])
    s.get_run(run)
    s.get_metric_history(run, "bad")


BAD_POINTS = [
    (None, 1, 1), ("abc", 1, 1), ("1.5", 1, 1), (True, 1, 1), ([], 1, 1), (1, -1, 1), (1.0, -123, 1), (1, None, 1),
    (1, "x", 1), (1, "5", 1), (1, 1, None), (1, 1, "x"), (1, 1, "5"), (1, True, 1), (1, 1, True),
    (math.nan, -1, 1), (math.inf, -1, 1), (1e300, -1, 1), (1, 0, 0), (1j, 1, 1), (1, 2**63, 1), (1, 1, 2**63), (1, 1, -(2**63)),
    ({"a": 1}, 1, 1), (False, 1, 1), (1e-5, -1, 1), (10**400, 1, 1),
]


@scenario
def batches(s):
    run = new_run(s, experiment(s, "batches"), 1)
    points = lambda n: [Metric(f"m{i % 50}", i, i, i) for i in range(n)]  # noqa: E731
    ps = lambda n: [Param(f"p{i}", str(i)) for i in range(n)]  # noqa: E731
    ts = lambda n: [RunTag(f"t{i}", str(i)) for i in range(n)]  # noqa: E731
    for sizes in [(0, 0, 0), (1, 1, 1), (1001, 0, 0), (0, 101, 0), (0, 0, 101), (900, 51, 50), (800, 100, 100), (1000, 0, 0),
                  (1001, 101, 101), (1000, 1, 0)]:
        s.log_batch(run, points(sizes[0]), ps(sizes[1]), ts(sizes[2]))
    s.get_run(run)
    other = new_run(s, experiment(s, "batches 2"), 1)
    s.log_batch(other, [Metric("a", 1, 1, 1), Metric("b|c", 1, 1, 1)], [Param("p", "1")], [RunTag("t", "1")])
    s.log_batch(other, [Metric("a", 1, 1, 1)], [Param("p|", "1")], [RunTag("t", "1")])
    s.log_batch(other, [Metric("a", 1, 1, 1)], [Param("p", "1")], [RunTag("t|", "1")])
    s.log_batch(other, [Metric("a|", 1, 1, 1)] * 1001, ps(101), ts(101))
    s.log_batch(other, [], [Param("p|", "1"), Param("p|", "1")], [])
    s.log_batch(run_id=other, metrics=[Metric("a", 1, 1, 1)], params=[Param("p", "1")], tags=[RunTag("t", "1")])
    s.log_batch(other, [Metric("a", 2, 2, 2)], [Param("p", "2")], [RunTag("t", "2")])
    s.get_run(other)
    for bad in ("a b", "a/b", "-a", "", "é", "x" * 257, "x" * 256, "aé", "_a"):
        s.log_batch(bad, [], [], [])
        s.log_inputs(bad)
    s.log_batch(other, (), (), ())
    s.known("None is an empty list").log_batch(other, None, None, None)


@scenario
def histories(s):
    id = experiment(s, "histories")
    run, other = new_run(s, id, 1), new_run(s, id, 2)
    s.log_batch(run, [Metric("m", i % 7, i // 3, (i * 7) % 11 - 3) for i in range(40)], [], [])
    s.log_batch(other, [Metric("m", i, 5, 0) for i in range(9)], [], [])
    s.log_metric(other, Metric("m", math.nan, 5, 0))
    s.log_metric(other, Metric("one", 1, 1, 1))
    s.get_metric_history(run, "m")
    s.get_metric_history(run_id=other, metric_key="m")
    s.get_metric_history(run, "nope")
    s.get_metric_history(run, "")
    for most in (0, -1):
        s.known("a page holds something").get_metric_history(run, "m", max_results=most)
    for most in (1, 7, 39, 40, 41, 10**9):
        page = s.get_metric_history(run, "m", max_results=most)
        for _ in range(50):
            if page is None or not page.token:
                break
            page = s.get_metric_history(run, "m", max_results=most, page_token=page.token)
    for token in TOKENS:
        s.get_metric_history(run, "m", max_results=5, page_token=token)
        s.get_metric_history(run, "m", page_token=token)
    for ids in ([run], [other, run], [], [ABSENT], ["bad id"], [run, run], [run, ABSENT]):
        for most in (3, 20, 1000):
            found = s.get_metric_history_bulk(ids, "m", most)
            if found is not None and len(ids) > 1:
                # Ordered by ids, which are random.
                s._notes.calls[-1].answer = [s._notes.plain(one) for one in sorted(found, key=lambda m: (m.run_id == run, m.timestamp, m.step, m.value))] if most == 1000 else len(found)
    for ids in ([run], [other, run], [run, other], [], [ABSENT], [run, run]):
        for most in (1, 2, 3, 5, 10, 39, 40, 41, 320, 2500, 2501, 0, -1):
            s.get_metric_history_bulk_interval(ids, "m", most, None, None)
            s.get_metric_history_bulk_interval(ids, "m", most, 0, 5)
        s.get_metric_history_bulk_interval(ids, "m", 10, 5, 0)
        s.get_metric_history_bulk_interval(ids, "m", 10, -100, -50)
        s.get_metric_history_bulk_interval(ids, "m", 10, 1, None)
        s.get_metric_history_bulk_interval(ids, "m", 10, None, 1)
        s.get_metric_history_bulk_interval(ids, "nope", 10, None, None)
    s.get_metric_history_bulk_interval(run_ids=[run] * 101, metric_key="m", max_results=5, start_step=0, end_step=1)
    s.get_metric_history_bulk([run] * 101, "m", 5)
    for one in (run, other, ABSENT):
        for most in (1, 5, 1000):
            s.get_metric_history_bulk_interval_from_steps(one, "m", [0, 1, -3, 99], most)
    s.delete_run(run)
    s.get_metric_history(run, "m")
    s.get_metric_history_bulk([run], "m", 5)


@scenario
def numpy_values(s):
    numpy = pytest.importorskip("numpy")
    from decimal import Decimal
    from fractions import Fraction

    run = new_run(s, experiment(s, "numpy"), 1)
    for i, value in enumerate([numpy.float64(2.5), Decimal("0.25"), Fraction(1, 8), numpy.float32(0.1), numpy.int64(3)]):
        s.log_metric(run, Metric(f"n{i}", value, 1, 1))
    s.log_metric(run, Metric("steps", 1.0, numpy.int64(5), numpy.int32(6)))
    s.get_metric_history(run, "n0")
    s.get_metric_history(run, "n3")


# Data sets, inputs, outputs.


@scenario
def inputs(s):
    id, elsewhere = experiment(s, "inputs"), experiment(s, "inputs elsewhere")
    run, other, third = new_run(s, id, 1), new_run(s, id, 2), new_run(s, elsewhere, 3)
    s.log_inputs(run)
    s.log_inputs(run, [], [])
    s.log_inputs(run, None, None)
    s.log_inputs(run, datasets=[dataset("d", "1", [("mlflow.data.context", "train"), ("x", "y")], schema="{}", profile="p")])
    s.get_run(run)
    # The first description of a data set stays, and so do its first tags.
    s.log_inputs(run, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    s.log_inputs(other, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    s.log_inputs(third, [dataset("d", "1", [("mlflow.data.context", "eval")], source="other", schema="[]")])
    for one in (run, other, third):
        s.get_run(one)
    s.log_inputs(run, [dataset("d", "2"), dataset("e", "1"), dataset("d", "2", [("a", "b")])])
    s.log_inputs(run, [], [LoggedModelInput("m-" + "1" * 32), LoggedModelInput("anything")])
    s.log_inputs(run, None, [LoggedModelInput("m-" + "1" * 32)])
    s.log_outputs(run, [LoggedModelOutput("m-" + "2" * 32, 3), LoggedModelOutput("m-" + "3" * 32, 0)])
    s.log_outputs(run, [])
    s.get_run(run)
    s.search_runs([id], "", ALL, 10)
    for more in DATASET_FIELDS:
        s.log_inputs(other, [dataset(**more)])
    s.log_inputs(other, [dataset("tagged", "1", [("k" * 256, "v")])])
    s.log_inputs(other, [dataset("tagged", "2", [("k", "v" * 501)])])
    s.log_inputs(other, [dataset("tagged", "3", [("k" * 255, "v" * 500)])])
    s.log_inputs(other, [dataset("tagged", "4", [("a|b", "v"), ("x", "")])])
    s.log_inputs(other, [DatasetInput(dataset("tagged", "5").dataset, [InputTag(None, "v")])])
    s.log_inputs(other, [DatasetInput(dataset("tagged", "6").dataset, [InputTag("k", None)])])
    s.log_inputs(other, [DatasetInput(None, [])])
    s.log_inputs(other, dataset())
    s.log_inputs(other, (dataset("tuple"),))
    s.log_inputs(other, {"a": 1})
    s.log_inputs(other, "abc")
    s.log_inputs(ABSENT, [dataset()])
    s.log_inputs(other, [dataset(f"n{i}") for i in range(40)])
    s.get_run(other)
    # Summaries: one of each context.
    for ids in ([id], [id, elsewhere], [], ["77777"], ["abc"], [int(id)]):
        found = s._search_datasets(ids)
        if found is not None:
            key = lambda one: (one.experiment_id, one.name, one.digest, str(one.context))  # noqa: E731
            s._notes.calls[-1].answer = [s._notes.plain(one) for one in sorted(found, key=key)]
    for clause in DATASET_FILTERS:
        s.search_runs([id, elsewhere], clause, ALL, 10)
    for odd in (dataset(""), dataset("d", ""), dataset("d", "9", [("", "")])):
        s.known("names are not empty").log_inputs(other, [odd])
    twice = [("mlflow.data.context", "train"), ("mlflow.data.context", "eval")]
    s.known("SQL has a key once").log_inputs(run, [dataset("e", "2", twice)])
    s.known("SQL has an output once").log_outputs(run, [LoggedModelOutput("m-" + "2" * 32, 4)])


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
def recorded_models(s):
    from mlflow.models import Model

    run = new_run(s, experiment(s, "recorded"), 1)
    model = Model(artifact_path="model/path", run_id=run, flavors={"tf": "flavor body"}, utc_time_created="2020-01-01", model_uuid="u")
    other = Model(artifact_path="model/é", run_id=run, flavors={"a": {"b": 'quote " \\ \n'}}, utc_time_created="2020-01-01", model_uuid="v")
    for one in (model, other, model):
        s.record_logged_model(run, one)
        s.get_run(run)
    for bad in ({"a": 1}, None, "x", 5, object):
        s.record_logged_model(run, bad)
    s.record_logged_model(ABSENT, model)
    broken = new_run(s, experiment(s, "recorded broken"), 2)
    for before in ("[]", "[1]", "[ ]"):
        s.set_tag(broken, RunTag("mlflow.log-model.history", before))
        s.record_logged_model(broken, model)
        s.get_run(broken)
    for before in ("{}", "bogus"):
        s.set_tag(broken, RunTag("mlflow.log-model.history", before))
        s.record_logged_model(broken, model)
    s.set_tag(broken, RunTag("mlflow.log-model.history", ""))
    s.known("an empty tag is no list with something in it").record_logged_model(broken, model)
    big = Model(artifact_path="x" * 5000, run_id=run, flavors={"a": {}}, utc_time_created="2020-01-01", model_uuid="v")
    for _ in range(3):
        s.record_logged_model(run, big)
    s.delete_run(run)
    s.record_logged_model(run, model)


# Logged models.


@scenario
def logged_models(s):
    id = experiment(s, "logged models")
    run = new_run(s, id, 1)
    s.create_logged_model(id)
    s.create_logged_model(id, name="named")
    s.create_logged_model(id, name="named")
    s.create_logged_model(int(id), name="int")
    full = s.create_logged_model(
        experiment_id=id, name="full", source_run_id=run, model_type="agent",
        tags=[LoggedModelTag("t", "1"), LoggedModelTag("u", "")], params=[LoggedModelParameter("p", "1"), LoggedModelParameter("q", "")],
    )
    for bad in ("", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", " ", 5, "x" * 500, "x" * 501, "é漢字", "a\nb"):
        s.create_logged_model(id, name=bad)
    for bad in ("77777", "abc", None, ""):
        s.create_logged_model(bad, name="x")
    s.known("empty and absent are one here").create_logged_model(id, "x", "")
    s.create_logged_model(id, "x", ABSENT)
    s.known("empty and absent are one here").create_logged_model(id, "x", model_type="")
    s.create_logged_model(id, "x", model_type="x" * 501)
    s.create_logged_model(id, "x", tags=[LoggedModelTag("a", "1"), LoggedModelTag("a", "2")])
    s.create_logged_model(id, "x", params=[LoggedModelParameter("a", "1"), LoggedModelParameter("a", "1")])
    s.create_logged_model(id, "x", tags=[LoggedModelTag("a|b", "1"), LoggedModelTag("k" * 250, "1")])
    s.known("keys are not empty").create_logged_model(id, "x", tags=[LoggedModelTag("", "")])
    s.create_logged_model(id, "x", params=[LoggedModelParameter("a|b", "x" * 6001)])
    m = full.model_id
    s.get_logged_model(m)
    s.get_logged_model(model_id=m, allow_deleted=True)
    for status in (LoggedModelStatus.READY, LoggedModelStatus.FAILED, LoggedModelStatus.PENDING, LoggedModelStatus.UNSPECIFIED):
        tick()
        s.finalize_logged_model(m, status)
        s.get_logged_model(m)
    s.set_logged_model_tags(m, [LoggedModelTag("t", "2"), LoggedModelTag("w", "1"), LoggedModelTag("w", "2")])
    s.set_logged_model_tags(m, [])
    s.set_logged_model_tags(m, [LoggedModelTag("long", "x" * 9000), LoggedModelTag("a|b", "1")])
    s.set_logged_model_tags(m, [LoggedModelTag("n", 5)])
    s.log_logged_model_params(m, [LoggedModelParameter("r", "1"), LoggedModelParameter("s", "é" * 6001)])
    s.log_logged_model_params(m, [LoggedModelParameter("p", "1")])
    s.log_logged_model_params(m, [LoggedModelParameter("p", "2")])
    s.log_logged_model_params(m, [LoggedModelParameter("z", "2"), LoggedModelParameter("z", "2")])
    s.log_logged_model_params(m, [])
    s.get_logged_model(m)
    s.delete_logged_model_tag(m, "t")
    s.delete_logged_model_tag(m, "t")
    s.delete_logged_model_tag(m, "no'pe")
    s.get_logged_model(m)
    s.set_model_versions_tags("reg", "1", m)
    s.set_model_versions_tags("reg", "1", m)
    s.set_model_versions_tags("reg", "2", m)
    s.get_logged_model(m)
    for bad in ("m-nope", "", None, "m-" + "0" * 32, 5, "it's"):
        s.get_logged_model(bad)
        s.finalize_logged_model(bad, LoggedModelStatus.READY)
        s.set_logged_model_tags(bad, [LoggedModelTag("a", "1")])
        s.delete_logged_model_tag(bad, "a")
        s.delete_logged_model(bad)
        s.log_logged_model_params(bad, [LoggedModelParameter("a", "1")])
        if bad:
            s.log_metric(run, Metric("bad", 1, 1, 1, model_id=bad))
    s.delete_logged_model(m)
    s.get_logged_model(m)
    s.get_logged_model(m, allow_deleted=True)
    s.delete_logged_model(m)
    s.finalize_logged_model(m, LoggedModelStatus.READY)
    s.set_logged_model_tags(m, [LoggedModelTag("late", "1")])
    s.log_logged_model_params(m, [LoggedModelParameter("late", "1")])
    s.delete_logged_model_tag(m, "late")
    s.get_logged_model(m, True)
    s.log_metric(run, Metric("m", 1, 1, 1, model_id=m))
    s.get_logged_model(m, True)
    s.delete_run(run)
    s.search_logged_models([id], "name = 'int'")


@scenario
def logged_model_metrics(s):
    id = experiment(s, "model metrics")
    run, other = new_run(s, id, 1), new_run(s, id, 2)
    m = s.create_logged_model(id, "m", run).model_id
    n = s.create_logged_model(id, "n", run).model_id
    point = lambda key, value, at, step, **more: Metric(key, value, at, step, **more)  # noqa: E731
    s.log_metric(run, point("a", 1, 1, 1, model_id=m))
    s.log_metric(run, point("a", 1, 1, 1, model_id=m))
    s.log_metric(run, point("a", 2, 2, 2, model_id=m, dataset_name="d", dataset_digest="1"))
    s.log_metric(other, point("a", 3, 3, 3, model_id=m))
    s.log_batch(run, [point("a", 4, 4, 4, model_id=m), point("b", 5, 5, 5, model_id=n), point("c", 6, 6, 6)], [], [])
    s.log_batch(run, [point("a", 4, 4, 4, model_id=m), point("a", 4, 4, 4, model_id=m)], [], [])
    s.log_batch(run, [point("b", 6, 8, 7, model_id=n), point("b", math.inf, 8, 8, model_id=n)], [], [])
    # One point of the run is one of each model, and of each data set.
    s.log_batch(run, [point("same", 1, 1, 1, model_id=one) for one in (m, n, m)], [], [])
    s.log_metric(run, point("same", 1, 1, 1))
    s.log_metric(run, point("same", 1, 1, 1, model_id=n))
    s.log_metric(other, point("same", 1, 1, 1, model_id=n, dataset_name="d", dataset_digest="1"))
    s.log_metric(run, point("d", 1, 1, 1, dataset_name="d", dataset_digest="1"))
    s.log_metric(run, point("bad|", 1, 1, 1, model_id=m))
    s.log_metric(run, point("g", 1, 1, 1, model_id="m-" + "0" * 32))
    s.log_metric(ABSENT, point("g", 1, 1, 1, model_id=m))
    s.get_logged_model(m)
    s.get_logged_model(n)
    s.get_run(run)
    s.get_run(other)
    for key in [*"abcdefg", "same"]:
        s.get_metric_history(run, key)
    s.log_metric(run, point("nan", math.nan, 1, 1, model_id=n))
    s.known("SQL makes 0 of a model's NaN").get_logged_model(n)


@scenario
def search_logged_models(s):
    id, elsewhere = experiment(s, "search models"), experiment(s, "search models 2")
    run = new_run(s, id, 1)
    made = []
    for i, name in enumerate(["alpha", "Beta", "gamma", "alpha"]):
        tick()
        made.append(
            s.create_logged_model(
                id if i != 3 else elsewhere, name, run if i % 2 else None, model_type=["agent", "Agent", None, "x"][i],
                tags=[LoggedModelTag("t", str(i)), LoggedModelTag("dot.ted", "x")][: 2 if i else 1],
                params=[LoggedModelParameter("lr", "0.1" if i < 2 else "0.01")][: 1 if i < 3 else 0],
            ).model_id
        )
    tick()
    s.finalize_logged_model(made[1], LoggedModelStatus.READY)
    for m, key, value, at, step, name, digest in [
        (0, "acc", 0.5, 1, 1, "d1", "x"), (0, "acc", 0.9, 2, 2, "d2", "y"), (1, "acc", 0.7, 1, 1, "d1", "x"),
        (2, "acc", -1, 1, 1, None, None), (0, "loss", 1, 1, 1, None, None), (1, "loss", 1, 1, 1, "d1", "z"),
    ]:
        s.log_metric(run, Metric(key, value, at, step, made[m], name, digest))
    both = [id, elsewhere]
    for ids in ([id], both, [], ["77777"], ["abc"], [int(id)], [id, id]):
        s.search_logged_models(ids)
    s.search_logged_models(experiment_ids=both, filter_string="", datasets=[], max_results=None, order_by=[], page_token=None)
    for clause in MODEL_FILTERS:
        s.search_logged_models(both, clause)
        if "metrics" in clause:
            s.search_logged_models(both, clause, datasets=[{"dataset_name": "d1"}])
    for clause in ('name = "alpha"', "status = 'READY'"):
        s.known("either quotes, and names of a status").search_logged_models(both, clause)
    for sets in MODEL_DATASETS:
        s.search_logged_models(both, datasets=sets)
        s.search_logged_models(both, "metrics.acc > 0.6", datasets=sets)
    s.known("no digest is any").search_logged_models(both, datasets=[{"dataset_name": "d1", "dataset_digest": None}])
    for name in ("artifact_location", "lifecycle_stage"):
        s.known("every column of SQL's table").search_logged_models(both, order_by=[{"field_name": name}])
    for order in MODEL_ORDERS:
        s.search_logged_models(both, order_by=order)
    for most in (1, 2, 3, 4, 5, 0, 100, 10**6):
        page = s.search_logged_models(both, max_results=most, order_by=[{"field_name": "name"}])
        while page is not None and page.token:
            page = s.search_logged_models(both, max_results=most, order_by=[{"field_name": "name"}], page_token=page.token)
    page = s.search_logged_models(both, max_results=1)
    token = page.token
    s.search_logged_models([id], max_results=1, page_token=token)
    s.search_logged_models(both, "name = 'alpha'", max_results=1, page_token=token)
    s.search_logged_models(both, max_results=1, order_by=[{"field_name": "name"}], page_token=token)
    s.search_logged_models(both, max_results=2, page_token=token)
    for token in TOKENS:
        s.search_logged_models(both, max_results=1, page_token=token)
    s.delete_logged_model(made[0])
    s.search_logged_models(both)
    s.delete_experiment(elsewhere)
    s.search_logged_models(both)


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


# Search of runs.


def searched(s, name):
    id = experiment(s, name)
    rows = {
        "A": (100, "FINISHED", 200, {"lr": "0.1", "opt": "SGD", "p x": "1", "empty": ""},
              {"kind": "abl", "team.x": "1", "mlflow.note.content": "it's"}, {"loss": 1, "acc": 0.5}),
        "B": (200, "FAILED", 300, {"lr": "0.01", "opt": "sgd"}, {"kind": "Abl"}, {"loss": math.nan, "acc": 0.9}),
        "C": (300, "RUNNING", None, {"lr": "10"}, {"kind": "other_%"}, {"loss": math.inf}),
        "D": (301, "KILLED", 500, {}, {}, {"loss": -1, "m/x y": 2}),
        "a": (400, "SCHEDULED", None, {"opt": "adam"}, {"kind": ""}, {"loss": 0}),
        "é'": (50, "RUNNING", 0, {"opt": "É"}, {"kind": "É"}, {"loss": -math.inf, "acc": 0.5}),
    }
    ids = {}
    for name, (start, status, end, ps, ts, ms) in rows.items():
        run = s.create_run(id, {"A": "ann", "B": "bob"}.get(name, ""), start, [], name).info.run_id
        s.log_batch(run, [Metric(k, v, 1, 1) for k, v in ms.items()], [Param(*p) for p in ps.items()], [RunTag(*t) for t in ts.items()])
        s.update_run_info(run, getattr(RunStatus, status), end, None)
        ids[name] = run
    s.log_inputs(ids["A"], [dataset("d1", "x1", [("mlflow.data.context", "train")]), dataset("d2", "x2", [("mlflow.data.context", "eval")])])
    s.log_inputs(ids["B"], [dataset("d1", "x1", [("mlflow.data.context", "eval")])])
    return id, ids


@scenario
def search_runs(s):
    id, ids = searched(s, "search")
    other = experiment(s, "search elsewhere")
    new_run(s, other, 5, name="elsewhere")
    for clause in RUN_FILTERS:
        s.search_runs([id], clause, ALL, 100)
    for clause in ("run_id = '{A}'", "run_id != '{A}'", "attributes.run_id IN ('{A}', '{B}')", "run_id NOT IN ('{A}')", "run_id IN ('{A}',)",
                   "run_id LIKE '{A}'", "run_id in ('{C}')", "run_id ILIKE '{A}'", 'run_id IN ("{A}")'):
        s.search_runs([id], clause.format(**ids), ALL, 100)
    for clause in ODD_FILTERS:
        s.known("SQL's words").search_runs([id], clause, ALL, 100)
    for order in ODD_ORDERS:
        s.known("SQL's words").search_runs([id], "", ALL, 100, [order])
    for clause in ("params.lr = 0.1", "NOT status = 'FAILED'", "status = 'FAILED' OR status = 'KILLED'", "(metrics.loss > 0)"):
        s.known(MORE).search_runs([id], clause, ALL, 100)
    for order in RUN_ORDERS:
        s.search_runs([id], "", ALL, 100, order)
    for experiments in ([id, other], [other], [], ["77777"], ["abc"], [int(id)], [id, id], [None], id):
        s.search_runs(experiments, "", ALL, 100)
    s.delete_run(ids["A"])
    for view in (ACTIVE, DELETED, ALL):
        s.search_runs([id], "", view, 100)
    s.known("a view that there is not is refused").search_runs([id], "", 4, 100)
    for most in (1, 2, 5, 6, 7, 0, -1, 50000, 50001, None):
        page = s.search_runs([id], "", ALL, most)
        while page is not None and page.token:
            page = s.search_runs([id], "", ALL, most, None, page.token)
    for token in TOKENS:
        s.search_runs([id], "", ALL, 2, None, token)
    s.search_runs(experiment_ids=[id], filter_string=None, run_view_type=ACTIVE, max_results=1, order_by=None, page_token=None)
    s.do("_search_runs", lambda: s._target._search_runs([id], None, ACTIVE, 2, None, None)[0])
    s.delete_experiment(id)
    for view in (ACTIVE, DELETED, ALL):
        s.search_runs([id], "", view, 100)
    s.restore_experiment(id)


RUN_FILTERS = """\
metrics.loss < 1
metrics.loss != 1
metrics.loss > 1e300
metrics.loss <= -1
metrics.loss >= 0
metrics.loss = 1
metrics.loss = 1.0
metrics.loss = 1e0
metrics.acc = .5
metrics.loss > -5
metrics.loss > +5
metrics."m/x y" = 2
metrics.`m/x y` = 2
metrics.'loss' = 0
metric.loss = 0
`metrics`.loss = 0
"metrics".loss = 0
METRICS.loss > 0
Metrics.loss > 0
metrics.loss = '1'
metrics.loss = "1"
metrics.loss = abc
metrics.loss == 1
metrics.loss <> 1
metrics.loss IS NULL
metrics.loss IS NOT NULL
metrics.loss LIKE '1'
metrics.loss IN (1)
metrics.loss = NaN
metrics.loss = nan
metrics.loss = inf
metrics.loss = -1
metrics.nope = 1
metrics.nope != 1
params.lr = "0.1"
params.lr = '0.1'
param.lr = '0.1'
parameter.lr = '0.1'
parameters.lr = '0.1'
params.lr != '0.1'
params.lr > '0.1'
params.lr NOT LIKE '0.1'
params.lr RLIKE '0.1'
params.opt LIKE '%gd'
params.opt LIKE 's_d'
params.opt ilike 'SGD'
params.opt ILIKE 'é'
params.opt like 'SGD'
params.opt is null
params.opt IS NULL
params.opt IS NOT NULL
params.opt Is Not Null
params.opt IN ('SGD')
params.empty = ''
params.empty IS NOT NULL
params.p x = '1'
params.`p x` = '1'
params."p x" = '1'
params.'p x' = '1'
params.lr = '0.1
params. lr = '0.1'
params .lr = '0.1'
params.lr = `0.1`
params.lr='0.1'
params.lr  =  '0.1'
params.LR = '0.1'
params.nope = '1'
params.nope != '1'
tags.team.x = '1'
tags.`team.x` = '1'
tags.kind = 'abl'
tags.kind != 'abl'
tags.kind IS NULL
tags.kind IS NOT NULL
tags.kind LIKE 'other\\_%'
tags.kind LIKE 'other__'
tags.kind ILIKE 'ABL'
tags.kind = ''
tags.kind LIKE ''
tags.kind LIKE '%'
tag.kind = 'abl'
tags.`mlflow.note.content` = "it's"
tags.`mlflow.note.content` = 'it''s'
tags.mlflow.note.content LIKE "it%"
tags.mlflow.runName = 'A'
tags.`mlflow.runName` != 'A'
status = 'FINISHED'
status != 'FINISHED'
status = 'finished'
status LIKE 'F%'
status ILIKE 'f%'
status = 3
status > 'A'
status IN ('FAILED')
status IS NULL
attributes.status = 'FINISHED'
attribute.status = 'FINISHED'
attr.status = 'FINISHED'
run.status = 'FINISHED'
`attributes`.status = 'FINISHED'
attributes.`status` = 'FINISHED'
"status" = 'FINISHED'
`status` = 'FINISHED'
'status' = 'FINISHED'
Status = 'FINISHED'
run_name = 'A'
run_name != 'A'
run_name ILIKE 'a'
run_name LIKE '%'
run_name IN ('A')
`run name` = 'A'
attributes.`run name` = 'A'
attributes.`Run name` = 'A'
attributes.`Run Name` = 'A'
attributes.`RUN NAME` = 'A'
run_name = "é'"
run name = 'A'
user_id = 'ann'
user_id = ''
user_id != 'ann'
user_id LIKE 'a%'
artifact_uri LIKE '%artifacts'
artifact_uri = 'x'
start_time < 250.5
start_time = 300
start_time >= 300
start_time = '300'
start_time != 300
start_time > -1
start_time LIKE '3'
start_time IN (300)
start_time = abc
attributes.created >= 300
created < 300
Created < 300
end_time != 300
end_time > 0
end_time >= 0
end_time = 0
end_time < 1000
end_time IS NULL
duration > 0
lifecycle_stage = 'x'
experiment_id = '1'
run_uuid = 'x'
source_name = 'x'
bogus = 'x'
run_id IN ()
run_id IN (abc)
run_id IN (1)
run_id IN (,)
run_id IN ('x'
run_id IN 'x'
run_id > 'x'
run_id = x
run_id NOT IN ()
run_id NOT IN ('x')
run_id IN ('x', 'y',)
dataset.name = 'd1' AND dataset.context = 'eval'
dataset.name != 'd1'
dataset.profile = 'x'
metrics.loss > -5 metrics.acc > 0
AND metrics.loss > -5 AND
metrics.loss > -5 AND AND metrics.acc > 0
metrics.loss > -5, metrics.acc > 0
metrics.loss > -5 and metrics.acc > 0
metrics.loss > -5 And params.opt = 'SGD' AND tags.kind = 'abl' AND status = 'FINISHED'
metrics.loss
metrics.loss >
metrics.loss > 1;
metrics.loss > 1; metrics.acc > 1
metrics.loss > 1 -- comment
metrics.loss > 1 /* comment */
metrics.loss BETWEEN 0 AND 1
1 < metrics.loss
tags.kind = 'abl' AND tags.kind = 'Abl'
tags.kind != 'abl' AND tags.kind != 'Abl'
metrics.acc > metrics.loss
params.opt = params.lr
foo.bar = 'x'
.loss = 1
metrics = 1
SELECT * FROM x
random_string
'x'
1
=
metrics.loss = 1 AND ()
metrics.loss = 1 AND x
tags.a b c = 'x'
tags.select = 'x'
tags.timestamp = 'x'
metrics.order > 1
tags.`a`b` = 'x'
tags.kind = 'abl' AND tags.kind IS NOT NULL
tags.kind IS NOT NULL AND params.lr IS NULL
   
""".splitlines()

RUN_ORDERS = [
    None, [], ["metrics.loss"], ["metrics.loss DESC"], ["metrics.loss ASC"], ["metric.acc asc"], ["metrics.acc desc", "metrics.loss"],
    ["params.lr"], ["params.lr DESC"], ["param.opt"], ["tags.kind"], ["tags.kind DESC"], ["tag.`team.x`"], ["attributes.status DESC", "metrics.loss"],
    ["end_time"], ["end_time DESC"], ["start_time"], ["start_time ASC"], ["attributes.start_time DESC"], ["created"], ["attributes.Created DESC"],
    ["status"], ["run_name"], ["run_name DESC"], ["user_id", "start_time"], ["metrics.`m/x y`"], ['metrics."m/x y" DESC'],
    ["metrics.nope"], ["metrics.nope DESC", "run_name"], ["run name"], ["`run name`"], ["attributes.`Run Name`"], ["metrics.loss FOO"],
    ["metrics.loss, metrics.acc"], ["metrics.loss ASC ASC"], [""], ["foo"], ["experiment_id"], ["duration"], ["dataset.name"], ["metrics.loss", "metrics.loss"],
    ["metrics.loss", "metrics.loss DESC"], ["start_time", "created"], ["METRICS.loss"], ["metrics.loss ASC;"], ["metrics.loss  DESC"],
    ["foo.bar"], ["lifecycle_stage"], ["run_uuid"], ["timestamp"], ["timestamp DESC"], ["params.`p x`"], ["tags.mlflow.runName"], "run_name",
    ["metrics.loss NULLS FIRST"], ["1"], ["'run_name'"], ["attributes.'run_name'"], ["source_name"], ["`metrics`.loss"],
]

# Texts that MLflow's tokenizer, which is one of SQL, takes in its own way.
ODD_FILTERS = [
    "metrics.loss = 1/2", "metrics.loss = 0x1", "metrics.loss > -5 && metrics.acc > 0", "metrics. = 1", "timestamp = 1",
    "params.from = 'x'", "run_id IN ('a' 'b')",
]
ODD_ORDERS = [" metrics.loss ", "metrics.", "DESC", "metrics.loss desc "]


@scenario
def ties(s):
    """Of equal keys the run id decides, and that is seen on each side for itself."""
    id = experiment(s, "ties")
    for i in range(12):
        s.create_run(id, "u", 7, [RunTag("g", str(i % 3))], f"t{i % 2}")
    for order in (None, ["start_time"], ["start_time DESC"], ["tags.g"], ["tags.g DESC"], ["run_name", "tags.g DESC"], ["metrics.none"]):
        found = s.search_runs([id], "", ALL, 100, order)
        s._notes.calls.pop()
        ids = [run.info.run_id for run in found]
        groups = {}
        for run in found:
            groups.setdefault((run.data.tags["g"] if order and "tags.g" in order[-1] else 0, run.info.run_name if order and order[0] == "run_name" else 0), []).append(run.info.run_id)
        s.do("ties", lambda: [list(groups), all(group == sorted(group) for group in groups.values()), len(set(ids))])


# Clients, and what MLflow's module does with them.


@scenario
def client_calls(s):
    c = client_of(s)
    id = c.create_experiment("client", tags={"a": "1", "b": "2"})
    c.get_experiment(id)
    c.get_experiment_by_name("client")
    run = c.create_run(id, start_time=5, tags={"t": "1"}, run_name="r").info.run_id
    for value in (1, 2.5, True, math.nan, math.inf, "3", "x", None):
        c.log_metric(run, f"m {type(value).__name__}", value, timestamp=1, step=0)
    for value in (1, 2.5, True, None, "", [1], {"a": 1}):
        c.log_param(run, f"p {type(value).__name__}", value)
        c.set_tag(run, f"t {type(value).__name__}", value)
    c.log_param(run, "p int", 1)
    c.log_param(run, "p int", 2)
    c.log_batch(run, [Metric("b", 1, 1, 1)], [Param("b", "1")], [RunTag("b", "1")])
    c.log_batch(run)
    c.set_terminated(run, "FAILED", 77)
    c.set_terminated(run, "bogus", 77)
    c.get_run(run)
    c.update_run(run, "RUNNING", "renamed")
    c.update_run(run, name="only the name")
    c.update_run(run, status="bogus")
    c.get_metric_history(run, "m int")
    c.search_runs([id], "params.b = '1'")
    c.search_runs(id)
    c.search_runs([id], max_results=0)
    c.search_runs([id], order_by=["metrics.b"], run_view_type=ALL)
    c.search_experiments(filter_string="name = 'client'")
    c.set_experiment_tag(id, "k", 5)
    c.delete_experiment_tag(id, "k")
    c.delete_experiment_tag(id, "k")
    c.delete_tag(run, "b")
    c.delete_tag(run, "b")
    c.log_inputs(run, [dataset()])
    c.log_dict(run, {"a": 1}, "d/a.json")
    c.list_artifacts(run)
    c.list_artifacts(run, "d")
    model = c.create_logged_model(id, name="m", source_run_id=run, tags={"a": "1"}, params={"p": "1"})
    c.log_outputs(run, [LoggedModelOutput(model.model_id, 1)])
    c.log_metric(run, "of a model", 1, timestamp=1, step=0, model_id=model.model_id)
    c.finalize_logged_model(model.model_id, "READY")
    c.get_logged_model(model.model_id)
    c.set_logged_model_tags(model.model_id, {"b": "2"})
    c.delete_logged_model_tag(model.model_id, "b")
    c.delete_logged_model_tag(model.model_id, "b")
    c.search_logged_models([id], filter_string="name = 'm'")
    c.delete_logged_model(model.model_id)
    c.get_logged_model(model.model_id)
    c.log_param(run, "later", 1, synchronous=False).wait()
    c.log_metric(run, "later", 1, timestamp=1, step=0, synchronous=False).wait()
    c.set_tag(run, "later", 1, synchronous=False).wait()
    c.log_batch(run, [Metric("much later", 1, 1, 1)], synchronous=False).wait()
    failing = c._target.log_param(run, "later", 2, synchronous=False)
    c.do("a wait", failing.wait)
    c.get_run(run)
    c.rename_experiment(id, "client 2")
    c.delete_run(run)
    c.restore_run(run)
    c.delete_experiment(id)
    c.restore_experiment(id)
    c.get_parent_run(run)
    for bad in (ABSENT, "x"):
        c.get_run(bad)
        c.get_parent_run(bad)
        c.log_metric(bad, "m", 1)
        c.list_artifacts(bad)


@scenario
def module_calls(s):
    m = Side(mlflow, s._notes)
    mlflow.set_tracking_uri(uri_of(s))
    try:
        m.set_experiment("module")
        m.set_experiment(experiment_id="777")
        m.set_experiment("")
        made = m.create_experiment("by module", tags={"a": "1"})
        m.create_experiment("by module")
        m.set_experiment(experiment_id=made)
        m.get_experiment_by_name("nobody")
        tick()
        with mlflow.start_run(run_name="first", tags={"x": "1"}, description="d", log_system_metrics=False) as run:
            first = run.info.run_id
            s._notes.learn(run)
            m.log_metric("a", 1.5, step=3, timestamp=9)
            m.log_metrics({"b": 1, "c": 2}, step=1, timestamp=9)
            m.log_params({"p": 1, "q": None})
            m.log_param("p", 2)
            m.set_tags({"t": 1})
            m.set_tag("mlflow.runName", "renamed")
            m.delete_tag("t")
            m.log_text("hello", "a/b.txt")
            m.set_experiment("other")
            m.start_run()
            m.set_experiment(experiment_id=made)
            with mlflow.start_run(nested=True, run_name="inner") as inner:
                s._notes.learn(inner)
                m.log_metric("n", 1, step=0, timestamp=1)
        plain = lambda id: {**s._target.get_run(id).data.params, **s._target.get_run(id).data.metrics}  # noqa: E731
        s.do("a run", lambda: plain(first))
        s.do("its state", lambda: [s._target.get_run(first).info.status, s._target.get_run(first).info.run_name])
        s.do("a parent", lambda: s._target.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"])
        try:
            with mlflow.start_run(run_name="failing") as run:
                raise RuntimeError
        except RuntimeError:
            s.do("failed", lambda: s._target.get_run(run.info.run_id).info.status)
        m.set_experiment(experiment_id=made)
        with mlflow.start_run(run_id=first):
            m.log_metric("again", 1, step=0, timestamp=1)
        m.start_run(run_id=ABSENT)
        m.delete_run(first)
        m.start_run(run_id=first)
        m.delete_experiment(made)
        m.set_experiment(experiment_id=made)
        m.set_experiment("by module")
        m.do("search_runs", lambda: sorted(mlflow.search_runs(search_all_experiments=True, run_view_type=ALL).columns))
        m.do("search_runs", lambda: len(mlflow.search_runs(["0"], output_format="list")))
        m.last_active_run()
    finally:
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)
        mlflow.tracking.fluent._active_experiment_id = None


# A walk in no order that anybody thought of.

LETTERS = "abc"


def walk(sides, rng, calls):
    """Random calls with few names and values, on both; the differences, of which the first is told."""
    theirs, ours = sides
    ids = {"runs": [], "models": [], "experiments": ["0"]}
    clock = [1000]
    for number in range(calls):
        if number % 50 == 0:
            # Small worlds meet more often, and are compared whole.
            tick()
            made = [side.create_experiment(f"walk {number}", None, []) for side in sides]
            assert made[0] == made[1]
            ids = {"runs": [], "models": [], "experiments": [made[0]], "all": ids.get("all", []) + made[:1]}
        name, make = rng.choice(WALK)
        clock[0] += 1
        state = rng.getstate()
        results = []
        for at, side in enumerate(sides):
            rng.setstate(state)
            mine = {key: [pair[at] for pair in pairs] if key in ("runs", "models") else pairs for key, pairs in ids.items()}
            args, more = make(rng, mine, clock[0])
            results.append(getattr(side, name)(*args, **more))
        if name == "create_run" and all(results):
            ids["runs"].append([result.info.run_id for result in results])
        if name == "create_logged_model" and all(results):
            tick()
            ids["models"].append([result.model_id for result in results])
        differences = compare(theirs._notes, ours._notes)
        if differences:
            return differences
        for side in sides:
            side._notes.calls.clear()
            side._notes.base += 1
    return []


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


def call(name, make, weight=1):
    return [(name, make)] * weight


RUN_VIEWS = [ACTIVE, ACTIVE, DELETED, ALL]
WALK = [
    *call("create_run", lambda r, i, t: ((pick(r, i["experiments"], "777"), r.choice(["", "ann"]), t, some(r, lambda: RunTag(r.choice(LETTERS), text(r)), 2), r.choice(["a", "b", "c"])), {}), 4),
    *call("log_metric", lambda r, i, t: ((pick(r, i["runs"]), point(r, i["models"])), {}), 6),
    *call("log_param", lambda r, i, t: ((pick(r, i["runs"]), Param(r.choice(LETTERS), text(r))), {}), 3),
    *call("set_tag", lambda r, i, t: ((pick(r, i["runs"]), RunTag(r.choice([*LETTERS, "mlflow.runName"]), text(r))), {}), 3),
    *call("delete_tag", lambda r, i, t: ((pick(r, i["runs"]), r.choice([*LETTERS, "mlflow.runName"])), {}), 2),
    *call("log_batch", lambda r, i, t: ((pick(r, i["runs"]), some(r, lambda: point(r, i["models"])), some(r, lambda: Param(r.choice(LETTERS), text(r)), 2), some(r, lambda: RunTag(r.choice([*LETTERS, "mlflow.runName"]), text(r)))), {}), 5),
    *call("update_run_info", lambda r, i, t: ((pick(r, i["runs"]), r.choice([None, 1, 3, 4]), r.choice([None, 0, t]), r.choice([None, "", "b"])), {}), 2),
    *call("delete_run", lambda r, i, t: ((pick(r, i["runs"]),), {})),
    *call("restore_run", lambda r, i, t: ((pick(r, i["runs"]),), {})),
    *call("delete_experiment", lambda r, i, t: ((pick(r, i["experiments"], "777"),), {})),
    *call("restore_experiment", lambda r, i, t: ((pick(r, i["experiments"], "777"),), {}), 2),
    *call("set_experiment_tag", lambda r, i, t: ((pick(r, i["experiments"], "777"), ExperimentTag(r.choice(LETTERS), text(r))), {})),
    *call("delete_experiment_tag", lambda r, i, t: ((pick(r, i["experiments"], "777"), r.choice(LETTERS)), {})),
    *call("rename_experiment", lambda r, i, t: ((pick(r, i["experiments"], "777"), f"walked {i['experiments'][0]} {r.choice('ab')}"), {})),
    *call("get_experiment", lambda r, i, t: ((pick(r, i["experiments"], "777"),), {})),
    *call("search_experiments", lambda r, i, t: ((r.choice(RUN_VIEWS), r.choice([1, 3, 100]), f"tags.a {r.choice(['=', '!=', 'LIKE'])} '1'", [r.choice(["name", "experiment_id DESC", "creation_time"])]), {})),
    *call("get_run", lambda r, i, t: ((pick(r, i["runs"]),), {}), 4),
    *call("get_metric_history", lambda r, i, t: ((pick(r, i["runs"]), r.choice(LETTERS), r.choice([None, 1, 3])), {}), 3),
    *call("get_metric_history_bulk_interval", lambda r, i, t: ((r.sample(i["runs"], min(2, len(i["runs"]))), r.choice(LETTERS), r.choice([1, 2, 3, 5]), *r.choice([(None, None), (0, 1), (-1, 2)])), {}), 2),
    *call("search_runs", lambda r, i, t: ((i["experiments"], filters(r), r.choice(RUN_VIEWS), r.choice([1, 2, 100]), orders(r), r.choice([None, None, "eyJvZmZzZXQiOiAxfQ=="])), {}), 8),
    *call("log_inputs", lambda r, i, t: ((pick(r, i["runs"]), some(r, lambda: inputs_of(r), 3), [LoggedModelInput(m) for m in i["models"][:1]]), {}), 2),
    *call("create_logged_model", lambda r, i, t: ((pick(r, i["experiments"], "777"), r.choice("abc"), pick(r, i["runs"], None), some(r, lambda: LoggedModelTag(r.choice(LETTERS), r.choice("12")), 2), some(r, lambda: LoggedModelParameter(r.choice(LETTERS), r.choice("12")), 2), r.choice([None, "x", "y"])), {}), 2),
    *call("finalize_logged_model", lambda r, i, t: ((pick(r, i["models"], "m-nope"), r.choice([LoggedModelStatus.READY, LoggedModelStatus.FAILED])), {})),
    *call("set_logged_model_tags", lambda r, i, t: ((pick(r, i["models"], "m-nope"), some(r, lambda: LoggedModelTag(r.choice(LETTERS), r.choice("12")))), {})),
    *call("delete_logged_model_tag", lambda r, i, t: ((pick(r, i["models"], "m-nope"), r.choice(LETTERS)), {})),
    *call("log_logged_model_params", lambda r, i, t: ((pick(r, i["models"], "m-nope"), some(r, lambda: LoggedModelParameter(r.choice(LETTERS), r.choice("12")), 2)), {})),
    *call("delete_logged_model", lambda r, i, t: ((pick(r, i["models"], "m-nope"),), {})),
    *call("get_logged_model", lambda r, i, t: ((pick(r, i["models"], "m-nope"), r.random() < 0.5), {}), 3),
    *call("search_logged_models", lambda r, i, t: ((i["experiments"], model_filters(r), r.choice([None, None, [{"dataset_name": "d"}], [{"dataset_name": "d", "dataset_digest": "1"}]]), r.choice([None, 1, 2]), model_orders(r)), {}), 5),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A function that makes both stores, fresh: ``pair() -> (theirs, ours)``, each with its root."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from runlode.mlflow_plugin import tracking_store

    template = tmp_path_factory.mktemp("template") / "a.db"
    SqlAlchemyStore(f"sqlite:///{template}", "/nowhere").engine.dispose()

    def make():
        tmp = tmp_path_factory.mktemp("pair")
        sides = []
        for name in ("mlflow", "runlode"):
            root = tmp / name
            root.mkdir()
            if name == "mlflow":
                shutil.copy(template, root / "a.db")
                store = SqlAlchemyStore(f"sqlite:///{root}/a.db", str(root / "artifacts"))
                # The template's first experiment is of another root.
                with store.ManagedSessionMaker(read_only=False) as session:
                    from mlflow.store.tracking.dbmodels.models import SqlExperiment

                    session.query(SqlExperiment).one().artifact_location = str(root / "artifacts/0")
            else:
                store = tracking_store(f"runlode://{root}/store?artifacts={root}/artifacts")
            sides.append(Side(store, Notes(name, root)))
        return sides

    return make


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRUNCATE_LONG_VALUES", raising=False)
    monkeypatch.chdir(os.getcwd())
    import logging

    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def uri_of(s):
    root = s._notes.root
    # SQL's artifacts go below the working directory.
    os.chdir(root)
    return f"sqlite:///{root}/a.db" if s._notes.name == "mlflow" else f"runlode://{root}/store?artifacts={root}/mlruns"


def client_of(s):
    return Side(mlflow.MlflowClient(uri_of(s)), s._notes)


def told(differences):
    assert not differences, f"{len(differences)} differences\n" + "\n".join(differences)


def test_random_walk(pair):
    calls, seed = knob("RUNLODE_DIFF_CALLS", 400), knob("RUNLODE_DIFF_SEED", random.randrange(10**6))
    print(f"RUNLODE_DIFF_SEED={seed}")
    differences = walk(pair(), random.Random(seed), calls)
    assert not differences, f"RUNLODE_DIFF_SEED={seed}\n" + "\n".join(differences)


def test_what_is_not_kept_is_said(pair):
    """Every other method of MLflow's store says so, and never answers nothing."""
    ours = pair()[1]._target
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.abstract_store import AbstractStore

    refusing = 0
    for name, method in inspect.getmembers(AbstractStore, inspect.isfunction):
        if "NotKept" not in (getattr(type(ours), name).__doc__ or ""):
            continue
        refusing += 1
        found = getattr(ours, name)
        if inspect.iscoroutinefunction(found):
            found = lambda call=found: call().send(None)  # noqa: E731
        with pytest.raises(NotImplementedError, match="A runlode store keeps experiments") as error:
            found()
        assert isinstance(error.value, MlflowException) and error.value.error_code == "NOT_IMPLEMENTED", name
    assert refusing > 100
    # Of what is left nothing is as MLflow left it open.
    left = [
        name
        for name, method in inspect.getmembers(AbstractStore, inspect.isfunction)
        if getattr(type(ours), name) is method and "raise NotImplementedError" in inspect.getsource(method)
    ]
    assert left in ([], ["_delete_traces"]), left


@pytest.mark.parametrize("script", SCENARIOS, ids=lambda script: script.__name__)
def test_scenario(script, pair):
    sides = pair()
    for side in sides:
        script(side)
    told(compare(*(side._notes for side in sides)))
