"""Search of runs: the same calls of MLflow's SQL store and of ours, the same answers."""

import math

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

from mlflow.entities import Metric, Param, RunStatus, RunTag

from .scripts import ACTIVE, ALL, DELETED, MORE, TOKENS, dataset, experiment, new_run, pages


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
        run = s.store.create_run(id, {"A": "ann", "B": "bob"}.get(name, ""), start, [], name).info.run_id
        s.store.log_batch(run, [Metric(k, v, 1, 1) for k, v in ms.items()], [Param(*p) for p in ps.items()], [RunTag(*t) for t in ts.items()])
        s.store.update_run_info(run, getattr(RunStatus, status), end, None)
        ids[name] = run
    s.store.log_inputs(ids["A"], [dataset("d1", "x1", [("mlflow.data.context", "train")]), dataset("d2", "x2", [("mlflow.data.context", "eval")])])
    s.store.log_inputs(ids["B"], [dataset("d1", "x1", [("mlflow.data.context", "eval")])])
    return id, ids


@scenario
def test_search_runs(s):
    id, ids = searched(s, "search")
    other = experiment(s, "search elsewhere")
    new_run(s, other, 5, name="elsewhere")
    for clause in RUN_FILTERS:
        s.store.search_runs([id], clause, ALL, 100)
    for clause in ("run_id = '{A}'", "run_id != '{A}'", "attributes.run_id IN ('{A}', '{B}')", "run_id NOT IN ('{A}')", "run_id IN ('{A}',)",
                   "run_id LIKE '{A}'", "run_id in ('{C}')", "run_id ILIKE '{A}'", 'run_id IN ("{A}")'):
        s.store.search_runs([id], clause.format(**ids), ALL, 100)
    for clause in ODD_FILTERS:
        s.store.unlike("SQL's words").search_runs([id], clause, ALL, 100)
    for order in ODD_ORDERS:
        s.store.unlike("SQL's words").search_runs([id], "", ALL, 100, [order])
    for clause in ("params.lr = 0.1", "NOT status = 'FAILED'", "status = 'FAILED' OR status = 'KILLED'", "(metrics.loss > 0)"):
        s.store.unlike(MORE).search_runs([id], clause, ALL, 100)
    for order in RUN_ORDERS:
        s.store.search_runs([id], "", ALL, 100, order)
    for experiments in ([id, other], [other], [], ["77777"], ["abc"], [int(id)], [id, id], [None], id):
        s.store.search_runs(experiments, "", ALL, 100)
    s.store.delete_run(ids["A"])
    for view in (ACTIVE, DELETED, ALL):
        s.store.search_runs([id], "", view, 100)
    s.store.unlike("a view that there is not is refused").search_runs([id], "", 4, 100)
    for most in (1, 2, 5, 6, 7, 0, -1, 50000, 50001, None):
        pages(s.store.search_runs, [id], "", ALL, most)
    for token in TOKENS:
        s.store.search_runs([id], "", ALL, 2, None, token)
    s.store.search_runs(experiment_ids=[id], filter_string=None, run_view_type=ACTIVE, max_results=1, order_by=None, page_token=None)
    s.do("_search_runs", lambda: s.raw_store._search_runs([id], None, ACTIVE, 2, None, None)[0])
    s.store.delete_experiment(id)
    for view in (ACTIVE, DELETED, ALL):
        s.store.search_runs([id], "", view, 100)
    s.store.restore_experiment(id)

RUN_FILTERS = """\
metrics.loss = 1/2
metrics.loss > -5 && metrics.acc > 0
metrics. = 1
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
    None, [], ["metrics."], ["metrics.loss"], ["metrics.loss DESC"], ["metrics.loss ASC"], ["metric.acc asc"], ["metrics.acc desc", "metrics.loss"],
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
    "metrics.loss = 0x1", "timestamp = 1",
    "params.from = 'x'", "run_id IN ('a' 'b')",
]

ODD_ORDERS = [" metrics.loss ", "DESC", "metrics.loss desc "]


@scenario
def test_ties(s):
    """Of equal keys the run id decides, and that is seen on each side for itself."""
    id = experiment(s, "ties")
    for i in range(12):
        s.store.create_run(id, "u", 7, [RunTag("g", str(i % 3))], f"t{i % 2}")
    for order in (None, ["start_time"], ["start_time DESC"], ["tags.g"], ["tags.g DESC"], ["run_name", "tags.g DESC"], ["metrics.none"]):
        found = s.raw_store.search_runs([id], "", ALL, 100, order)
        ids = [run.info.run_id for run in found]
        groups = {}
        for run in found:
            groups.setdefault((run.data.tags["g"] if order and "tags.g" in order[-1] else 0, run.info.run_name if order and order[0] == "run_name" else 0), []).append(run.info.run_id)
        s.do("ties", lambda: [list(groups), all(group == sorted(group) for group in groups.values()), len(set(ids))])
