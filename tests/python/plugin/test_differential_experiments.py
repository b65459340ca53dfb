"""Experiments: the same calls of MLflow's SQL store and of ours, the same answers."""

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

from mlflow.entities import ExperimentTag, Metric, RunStatus

from .scripts import ACTIVE, ALL, DELETED, MORE, TOKENS, experiment, new_run, pages


@scenario
def test_experiments(s):
    s.store.get_experiment("0")
    id = experiment(s, "plain")
    s.store.get_experiment(id)
    s.store.get_experiment(int(id))
    s.store.get_experiment_by_name("plain")
    s.store.get_experiment_by_name("nobody")
    s.store.get_experiment_by_name("")
    s.store.get_experiment_by_name(None)
    for bad in ("77777", "-1", "1.5", "abc", "", None, "0x1", "9" * 30, [], "+0"):
        s.store.get_experiment(bad)
    for odd in (" 0 ", 1.0, True, "1_0"):
        s.store.unlike("what Python's int() takes besides").get_experiment(odd)
    for bad in ("", None, 5, "x" * 501, ["a"], {}, b"bytes", True, 1.5):
        s.store.create_experiment(bad, None, None)
        s.store.rename_experiment(id, bad)
    experiment(s, "x" * 500)
    experiment(s, "é漢字 / : ' \" %00 <b>")
    s.store.create_experiment(" ", None, None)
    s.store.create_experiment("plain", None, None)
    s.store.create_experiment("plain", "/elsewhere", [ExperimentTag("a", "1")])
    s.store.create_experiment(name="keywords", artifact_location=None, tags=None)
    s.store.get_experiment_by_name("PLAIN")


@scenario
def test_experiment_lifecycle(s):
    id, other = experiment(s, "lives"), experiment(s, "other life")
    run, deleted = new_run(s, id, 1), new_run(s, id, 2)
    s.store.delete_run(deleted)
    s.store.delete_experiment(id)
    s.store.get_experiment(id)
    s.store.get_experiment_by_name("lives")
    s.store.get_run(run)
    s.store.get_run(deleted)
    s.store.delete_experiment(id)
    s.store.rename_experiment(id, "later")
    s.store.rename_experiment(id, "")
    s.store.create_experiment("lives", None, [])
    s.store.create_run(id, "u", 1, [], None)
    s.store.create_logged_model(id)
    s.store.set_experiment_tag(id, ExperimentTag("a", "1"))
    s.store.delete_experiment_tag(id, "a")
    s.store.log_metric(run, Metric("m", 1, 1, 1))
    s.store.log_batch(run, [], [], [])
    s.store.update_run_info(run, RunStatus.FINISHED, 5, None)
    s.store.restore_run(run)
    s.store.get_run(run)
    s.store.log_metric(run, Metric("m", 1, 1, 1))
    s.store.restore_experiment(id)
    s.store.get_experiment(id)
    s.store.get_run(run)
    s.store.get_run(deleted)
    s.store.restore_experiment(id)
    s.store.rename_experiment(id, "later")
    s.store.get_experiment(id)
    s.store.rename_experiment(id, "later")
    s.store.rename_experiment(id, "other life")
    for call in ("delete_experiment", "restore_experiment"):
        for bad in ("77777", "abc", -1):
            getattr(s.store, call)(bad)
    for bad in ("77777", "abc"):
        s.store.rename_experiment(bad, "x")
        s.store.set_experiment_tag(bad, ExperimentTag("a", "1"))
        s.store.delete_experiment_tag(bad, "a")


@scenario
def test_default_experiment(s):
    s.store.get_experiment_by_name("Default")
    s.store.delete_experiment("0")
    s.store.get_experiment("0")
    s.store.create_run("0", "u", 1, [], "in default")
    s.store.restore_experiment("0")
    s.store.rename_experiment("0", "Not Default")
    s.store.get_experiment_by_name("Default")
    s.store.rename_experiment("0", "Default")


@scenario
def test_experiment_tags(s):
    id = experiment(s, "tagged", tags=[ExperimentTag("a", "1"), ExperimentTag("b", "")])
    s.store.get_experiment(id)
    s.store.set_experiment_tag(id, ExperimentTag("a", "2"))
    s.store.set_experiment_tag(int(id), ExperimentTag("c", "é漢字\n"))
    s.store.set_experiment_tag(id, ExperimentTag("mlflow.note.content", "x" * 20000))
    s.store.set_experiment_tag(id, ExperimentTag("mlflow.note.content", "x" * 20001))
    s.store.set_experiment_tag(id, ExperimentTag("k" * 250, "v"))
    for bad in ("k" * 251, "a|b", "", ".", "..", "a//b", "/a", "a/", "../a", None, "a/../b", "a\nb", "é"):
        s.store.set_experiment_tag(id, ExperimentTag(bad, "v"))
        s.store.create_experiment(f"bad tag {bad}"[:90], None, [ExperimentTag(bad, "v")])
    s.store.set_experiment_tag(id, ExperimentTag("long", "x" * 5000))
    s.store.set_experiment_tag(id, ExperimentTag("long", "x" * 5001))
    s.store.set_experiment_tag(id, ExperimentTag("long", "x" * 20001))
    s.store.create_experiment("overlong tag", None, [ExperimentTag("a", "x" * 20001)])
    s.store.create_experiment("tag twice", None, [ExperimentTag("a", "1"), ExperimentTag("a", "2")])
    for value in ("bogus", "{}", '{"type": "duration", "value": "30d"}', '{"type": "duration", "value": "1"}', "[]"):
        s.store.set_experiment_tag(id, ExperimentTag("mlflow.trace.archivalRetention", value))
        s.store.set_experiment_tag(id, ExperimentTag("mlflow.trace.archiveNow", value))
    s.store.get_experiment(id)
    s.store.delete_experiment_tag(id, "a")
    s.store.delete_experiment_tag(id, "a")
    s.store.delete_experiment_tag(id, "nope")
    s.store.delete_experiment_tag(int(id), "b")
    s.store.get_experiment(id)

LOCATIONS = (
    "/abs/place", "rel/place", "./dot", "~/home", "s3://bucket/x", "s3://bucket/x/", "gs://b", "dbfs:/a/b",
    "file:///abs/x", "file:/abs/x", "file:rel", "hdfs://host:80/x?a=1#f", "mlflow-artifacts:/x", "mlflow-artifacts://h/x",
    "http://host/x?y=1", "ftp://u:p@host/x", "models:/m/1", "/with space/x", "/é/%20", "/a/../b", "/a//b/",
    "s3://bucket/a/../b", "wasbs://c@a.blob.core.windows.net/x", "/a#b", "/a?b", "s3://bucket/a#b", "s3://bucket?x=1",
    "/x;y", "", "/" + "x" * 2100, "postgresql+psycopg2://u:p@h/db?x=1", "file:///a b", "file:///a?x#y",
    "s3://bucket/../x", "http://host/%2e%2e/x", "file://host/x", ".", "/",
)


@scenario
def test_artifact_locations(s):
    for place in LOCATIONS:
        id = s.store.create_experiment(f"at {place}"[:200], place, [])
        if id is None:
            continue
        s.store.get_experiment(id)
        s.store.create_run(id, "u", 1, [], "x")
        s.store.create_logged_model(id, name="x")
    s.store.unlike("MLflow refuses it in the handler of REST, we everywhere").create_experiment("at a run", "runs:/abc/x", [])


@scenario
def test_search_experiments(s):
    for i, name in enumerate(["Se a", "Se B", "Se_c", "se%d", "Se 'q'", 'Se "dq"', "Sé"]):
        tags = [ExperimentTag("set", "se"), ExperimentTag("parity", "odd" if i % 2 else "even")]
        if i < 3:
            tags += [ExperimentTag("few key", str(i)), ExperimentTag("dot.ted", "X" if i else "x")]
        experiment(s, name, tags=tags)
    (s_id,) = [s.store.get_experiment_by_name("Se_c").experiment_id]
    s.store.delete_experiment(s_id)
    mine = "tags.set = 'se'"
    for view in (ACTIVE, DELETED, ALL):
        s.store.search_experiments(view, filter_string=mine)
    for bad in (0, 4, -1):
        s.store.unlike("a view that there is not is refused").search_experiments(bad, filter_string=mine)
    for clause in EXPERIMENT_FILTERS:
        s.store.search_experiments(ALL, 1000, f"{clause} AND {mine}" if clause.strip() else clause)
        if "(" in clause or "  " in clause:
            s.store.search_experiments(ALL, 1000, clause)
    for clause in ("name = 'Se a' OR name = 'Se B'", "(name = 'Se a')", "NOT name = 'Se a'"):
        s.store.unlike(MORE).search_experiments(ALL, 1000, clause)
    s.store.unlike(MORE).search_experiments(ALL, 1000, mine, [" name "])
    for order in EXPERIMENT_ORDERS:
        s.store.search_experiments(ALL, 1000, mine, order)
    for most in (1, 2, 6, 7, 8, 0, -1, 50000, 50001, None):
        pages(s.store.search_experiments, ALL, most, mine, ["name"])
    for token in TOKENS:
        s.store.search_experiments(ALL, 3, mine, ["name"], token)
    s.store.search_experiments()

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
