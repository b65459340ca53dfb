"""Search of runs: the whole grammar, order and paging."""

import base64
import json

import pytest
from conftest import listed


def dataset(name, digest, context=None):
    tags = [] if context is None else [{"key": "mlflow.data.context", "value": context}]
    return {"dataset": {"name": name, "digest": digest, "source_type": "t", "source": "s"}, "tags": tags}


RUNS = {
    "A": {
        "start": 100, "status": "FINISHED", "end": 200, "user": "ann",
        "params": {"lr": "0.1", "opt": "SGD", "p x": "1", "empty": ""},
        "tags": {"kind": "abl", "team.x": "1", "mlflow.note.content": "it's"},
        "metrics": {"loss": 1, "acc": 0.5},
        "datasets": [dataset("d1", "x1", "train"), dataset("d2", "x2", "eval")],
    },
    "B": {
        "start": 200, "status": "FAILED", "end": 300, "user": "bob",
        "params": {"lr": "0.01", "opt": "sgd"}, "tags": {"kind": "Abl"},
        "metrics": {"loss": "NaN", "acc": 0.9}, "datasets": [dataset("d1", "x1", "eval")],
    },
    "C": {
        "start": 300, "status": "RUNNING", "user": "",
        "params": {"lr": "10"}, "tags": {"kind": "other_%"}, "metrics": {"loss": "Infinity"},
    },
    "D": {
        "start": 300, "status": "KILLED", "end": 500, "user": "",
        "metrics": {"loss": -1, "m/x y": 2}, "datasets": [dataset("d3", "x3")],
    },
    "a": {
        "start": 400, "status": "SCHEDULED", "user": "",
        "params": {"opt": "adam"}, "tags": {"kind": ""}, "metrics": {"loss": 0},
    },
}


class World:
    def __init__(self, api):
        self.api, self.experiment = api, api.experiment()
        # C stands before D, which began at the same time: the smaller id comes first.
        self.ids = {}
        for name in RUNS:
            self.ids[name] = self.make(name)
        while self.ids["C"] > self.ids["D"]:
            api.post("runs/delete", run_id=self.ids["D"])
            self.ids["D"] = self.make("D")

    def make(self, name):
        api, facts = self.api, RUNS[name]
        run = api.run(self.experiment, run_name=name, start_time=facts["start"], user_id=facts["user"])
        api.batch(
            run,
            [(key, value, 1, 0) for key, value in facts.get("metrics", {}).items()],
            facts.get("params", {}),
            facts.get("tags", {}),
        )
        if datasets := facts.get("datasets"):
            api.post("runs/log-inputs", run_id=run, datasets=datasets)
        end = {"end_time": facts["end"]} if "end" in facts else {}
        api.post("runs/update", run_id=run, status=facts["status"], **end)
        return run

    def fields(self, filter=None, order=(), **more):
        filter = {} if filter is None else {"filter": filter.replace("<A>", self.ids["A"])}
        return {"experiment_ids": [self.experiment], "order_by": list(order), **filter, **more}

    def names(self, *arguments, **more):
        found = self.api.post("runs/search", **self.fields(*arguments, **more)).get("runs", [])
        return " ".join(run["info"]["run_name"] for run in found)

    def bad(self, *arguments, message):
        return self.api.bad("POST", "runs/search", self.fields(*arguments), message)


@pytest.fixture(scope="module")
def world(api):
    return World(api)


ALL = "a C D B A"

FILTERS = [
    (None, ALL),
    ("", ALL),
    # Metrics.
    ("metrics.loss < 1", "a D"),
    ("metrics.loss != 1", "a C D B"),
    ("metrics.loss > 1e300", "C"),
    ("metrics.acc = .5", "A"),
    ("metrics.acc = 5e-1", "A"),
    ("metrics.loss = -1", "D"),
    ("metrics.loss <= 0", "a D"),
    ("metrics.loss >= 1", "C A"),
    ('metrics."m/x y" = 2', "D"),
    ("metrics.`m/x y` = 2", "D"),
    ("metrics.'loss' = 0", "a"),
    ("`metrics`.loss = 0", "a"),
    ("metric.loss = 0", "a"),
    ("metrics.nope != 5", ""),
    # Params.
    ('params.lr = "0.1"', "A"),
    ("params.lr != '0.1'", "C B"),
    ("parameter.lr = '10'", "C"),
    ("param.lr = '10'", "C"),
    ("parameters.lr = '10'", "C"),
    ("params.opt LIKE '%gd'", "B"),
    ("params.opt LIKE 'SG_'", "A"),
    ("params.opt ilike 'SGD'", "B A"),
    ("params.opt ILIKE '%D%'", "a B A"),
    ("params.opt is null", "C D"),
    ("params.opt IS NOT NULL", "a B A"),
    ("params.empty IS NOT NULL", "A"),
    ("params.empty = ''", "A"),
    ("params.`p x` = '1'", "A"),
    ("params. lr = '0.1'", ""),
    # Tags.
    ("tags.team.x = '1'", "A"),
    ("tag.kind = 'abl'", "A"),
    ("tags.kind != 'abl'", "a C B"),
    ("tags.kind IS NULL", "D"),
    ("tags.kind LIKE 'other\\_%'", ""),
    ("tags.kind LIKE 'other_%'", "C"),
    ("tags.kind LIKE 'other__'", "C"),
    ("tags.kind LIKE '%'", "a C B A"),
    ("tags.kind ILIKE 'ABL'", "B A"),
    ("tags.kind = ''", "a"),
    ("tags.`mlflow.note.content` = \"it's\"", "A"),
    ("tags.mlflow.note.content = \"it's\"", "A"),
    ("tags.`mlflow.note.content` = 'it''s'", ""),
    # Attributes.
    ("status != 'FINISHED'", "a C D B"),
    ("attributes.status = 'FINISHED'", "A"),
    ("attribute.status = 'FINISHED'", "A"),
    ("attr.status = 'FINISHED'", "A"),
    ("run.status = 'FINISHED'", "A"),
    ("status = 'finished'", ""),
    ("status LIKE 'F%'", "B A"),
    ("run_name ILIKE 'a'", "a A"),
    ("run_name = 'A'", "A"),
    ("`run name` = 'A'", "A"),
    ("attributes.`Run name` = 'A'", "A"),
    ("attributes.\"Run Name\" = 'A'", "A"),
    ("user_id = 'ann'", "A"),
    ("user_id != 'ann'", "a C D B"),
    ("start_time < 250.5", "B A"),
    ("start_time = 300", "C D"),
    ("created >= 300", "a C D"),
    ("Created >= 300", "a C D"),
    ("end_time != 300", "D A"),
    ("end_time > 0", "D B A"),
    ("run_id = '<A>'", "A"),
    ("run_id NOT IN ('<A>')", "a C D B"),
    ("run_id IN ('<A>',)", "A"),
    ("run_id IN ('<A>', 'nope')", "A"),
    ("attributes.run_id in ('<A>')", "A"),
    ("artifact_uri LIKE '%<A>/artifacts'", "A"),
    ("artifact_uri LIKE 'mlflow-artifacts:/%'", ALL),
    # Data sets.
    ("dataset.name = 'd1' AND dataset.context = 'eval'", "B A"),
    ("dataset.name != 'd1'", "D A"),
    ("datasets.digest = 'x3'", "D"),
    ("dataset.name LIKE 'd%'", "D B A"),
    ("dataset.name ILIKE 'D1'", "B A"),
    ("dataset.name IN ('d2', 'd3')", "D A"),
    ("dataset.name NOT IN ('d1')", "D A"),
    ("dataset.context = 'train'", "A"),
    # How clauses are put together.
    ("metrics.loss > -5 metrics.acc > 0", "A"),
    ("AND metrics.loss > -5 AND", "a C D A"),
    ("metrics.loss > -5 AND AND metrics.acc > 0", "A"),
    ("metrics.loss > -5 and params.opt = 'SGD'", "A"),
    ("tags.kind = 'abl' AND tags.kind = 'Abl'", ""),
    ("metrics.loss>-5 AND metrics.acc>0", "A"),
    # Beyond MLflow.
    ("params.lr = '0.1' OR params.lr = '10'", "C A"),
    ("metrics.loss = 0 or metrics.loss = 1", "a A"),
    ("NOT params.lr = '0.1'", "a C D B"),
    ("(metrics.loss = 0 OR metrics.loss = 1) AND params.opt = 'SGD'", "A"),
    ("metrics.loss = 0 OR metrics.loss = 1 AND params.opt = 'SGD'", "a A"),
    ("params.lr < 0.05", "B"),
    ("params.lr = 0.10", "A"),
    ("params.lr >= 0.1", "C A"),
    ("metrics.loss.max < 1", "a D"),
    ("metrics.loss.count = 1 AND metrics.acc.min > 0.6", "B"),
]


@pytest.mark.parametrize("filter, names", FILTERS)
def test_filters(world, filter, names):
    assert world.names(filter) == names


REFUSED = [
    ("\"metrics\".loss = 0", "Invalid entity type"),
    ("METRICS.loss > 0", "Invalid entity type"),
    ("nope.loss > 0", "Invalid entity type"),
    ("metrics.loss = '1'", "Expected numeric value type for metric"),
    ("metrics.loss = abc", "Expected numeric value type for metric"),
    ("metrics.loss == 1", "Invalid comparator"),
    ("metrics.loss <> 1", "Invalid comparator"),
    ("metrics.loss LIKE '1'", ""),
    ("metrics.loss IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
    ("status IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params"),
    ("params.lr > '0.1'", "Invalid comparator"),
    ("params.opt NOT LIKE 'x'", "Invalid comparator"),
    ("params.opt RLIKE 'x'", "Invalid comparator"),
    ("params.opt IN ('SGD')", "Expected a quoted string value"),
    ("params.p x = '1'", "Invalid clause(s)"),
    ("params.lr = '0.1", "Invalid clause(s)"),
    ("params.lr = `0.1`", "either not quoted or unidentified quote types"),
    ("tags.kind = abl", ""),
    ("tags.kind = 5", ""),
    ("tags.kind > 'a'", "Invalid comparator"),
    ("status IN ('FAILED')", "comparison with a list"),
    ("run_name IN ('A')", "comparison with a list"),
    ("start_time = '300'", "Expected numeric value type for numeric attribute"),
    ("start_time LIKE '3'", ""),
    ("lifecycle_stage = 'x'", "Invalid attribute key"),
    ("experiment_id = '1'", "Invalid attribute key"),
    ("run_uuid = 'x'", "Invalid attribute key"),
    ("Status = 'FINISHED'", "Invalid attribute key"),
    ("run_id IN ()", "expected a non-empty list of string values, but got empty list"),
    ("run_id IN (abc)", ""),
    ("run_id IN (,)", "but got ill-formed list"),
    ("run_id IN (5)", ""),
    ("dataset.profile = 'x'", "Invalid dataset key"),
    ("metrics.loss > -5, metrics.acc > 0", "Invalid clause(s)"),
    ("metrics.loss", "Invalid clause(s)"),
    ("metrics.loss > 1;", "Invalid clause(s)"),
    ("metrics.loss > 1; metrics.acc > 0", "Search filter contained multiple expression"),
    ("metrics.loss BETWEEN 0 AND 1", ""),
    ("1 < metrics.loss", "Expected 'Identifier' found"),
    ("metrics.loss > +1", ""),
    ("metrics.loss > 1/2", ""),
    ("metrics.loss > NaN", ""),
    ("  ", "Invalid filter '  '. Could not be parsed."),
    ("(metrics.loss > 1", ""),
    ("metrics.loss > 1)", ""),
    ("OR", ""),
    ("metrics.loss > 1 OR", ""),
    ("NOT", ""),
]


@pytest.mark.parametrize("filter, message", REFUSED)
def test_filters_that_are_none(world, filter, message):
    world.bad(filter, message=message)


ORDERS = [
    (["metrics.loss"], "D a A C B"),
    (["metrics.loss ASC"], "D a A C B"),
    (["metrics.loss DESC"], "C A a D B"),
    (["metric.acc asc"], "A B a C D"),
    (["metrics.`m/x y`"], "D a C B A"),
    (["params.lr DESC"], "C A B a D"),
    (["params.lr"], "B A C a D"),
    (["tags.kind"], "a B A C D"),
    (["tag.kind desc"], "C A B a D"),
    (["attributes.status DESC", "metrics.loss"], "a C D A B"),
    (["end_time DESC"], "D B A a C"),
    (["end_time"], "A B D a C"),
    (["start_time ASC"], "A B C D a"),
    (["attributes.start_time DESC"], "a C D B A"),
    (["run_name"], "A B C D a"),
    (["run_name DESC"], "a D C B A"),
    (["user_id DESC", "run_name"], "B A C D a"),
    (["created ASC", "run_name DESC"], "A B D C a"),
    (["Created"], "A B C D a"),
    (["metrics.nope"], ALL),
]


@pytest.mark.parametrize("order, names", ORDERS)
def test_orders(world, order, names):
    assert world.names(None, order) == names


@pytest.mark.parametrize("order, message", [
    ("run name", "Invalid ordering key in order_by clause"),
    ("metrics.loss FOO", "Invalid ordering key in order_by clause"),
    ("metrics.loss, metrics.acc", "Invalid order_by clause"),
    ("x ASC ASC", "Invalid order_by clause"),
    ("", "Invalid order_by clause"),
    ("foo", "Invalid attribute key"),
    ("experiment_id", "Invalid attribute key"),
    ("duration", "Invalid attribute key"),
    ("dataset.name", "Invalid identifier type 'dataset'"),
])
def test_orders_that_are_none(world, order, message):
    world.bad(None, [order], message=message)


def test_a_key_twice(world):
    world.bad(None, ["metrics.loss", "metrics.loss DESC"], message="`order_by` contains duplicate fields")


def test_orders_by_ids(world):
    ids = sorted(world.ids.values())
    names = {id: name for name, id in world.ids.items()}
    assert world.names(None, ["run_id"]) == " ".join(names[id] for id in ids)
    assert world.names(None, ["attributes.artifact_uri DESC"]) == " ".join(names[id] for id in reversed(ids))


# What is searched.

def test_experiments_to_search(api, world):
    assert api.post("runs/search") == {}
    assert api.post("runs/search", experiment_ids=[]) == {}
    assert api.post("runs/search", experiment_ids=["987654"]) == {}
    other = api.experiment()
    run = api.run(other, start_time=10**15)
    found = api.post("runs/search", experiment_ids=[world.experiment, other])["runs"]
    assert [found[0]["info"]["run_id"], len(found)] == [run, 6]


def test_views(api, experiment):
    kept, gone = api.run(experiment), api.run(experiment)
    api.post("runs/delete", run_id=gone)

    def ids(**fields):
        return {r["info"]["run_id"] for r in api.post("runs/search", experiment_ids=[experiment], **fields).get("runs", [])}

    assert ids() == ids(run_view_type="ACTIVE_ONLY") == ids(run_view_type=1) == {kept}
    assert ids(run_view_type="DELETED_ONLY") == ids(run_view_type=2) == {gone}
    assert ids(run_view_type="ALL") == ids(run_view_type=3) == {kept, gone}
    api.post("experiments/delete", experiment_id=experiment)
    assert ids() == set()
    assert ids(run_view_type="DELETED_ONLY") == {kept, gone}


def test_what_is_found_is_whole(api, world):
    (found,) = api.post("runs/search", **world.fields("run_name = 'A'"))["runs"]
    assert found == api.got(world.ids["A"])


def test_keys_of_a_kind_that_exist_win_over_aggregates(api, experiment):
    one, other = api.run(experiment, run_name="one"), api.run(experiment, run_name="other")
    api.batch(one, [("loss", 5, 1, 0), ("loss", 1, 2, 1), ("loss", 3, 3, 2)])
    api.log(other, "loss", 2)

    def names(filter):
        found = api.post("runs/search", experiment_ids=[experiment], filter=filter).get("runs", [])
        return {r["info"]["run_name"] for r in found}

    assert names("metrics.loss.min < 2") == {"one"}
    assert names("metrics.loss.max > 4") == {"one"}
    assert names("metrics.loss.first = 5") == {"one"}
    assert names("metrics.loss.count = 1") == {"other"}
    assert names("metrics.`loss.min` < 2") == set()
    api.log(other, "loss.min", 1)
    assert names("metrics.loss.min < 2") == {"other"}


# Pages.

@pytest.mark.parametrize("max_results", [0, -1, 50001])
def test_pages_are_bounded(world, api, max_results):
    fields = world.fields(max_results=max_results)
    message = f"Invalid value {max_results} for parameter 'max_results' supplied"
    api.bad("POST", "runs/search", fields, message)


def token(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_tokens(world, api):
    page = api.post("runs/search", **world.fields(max_results=2))
    assert len(page["runs"]) == 2 and page["next_page_token"]
    assert world.names(max_results=2, page_token=page["next_page_token"]) == "D B"
    assert "next_page_token" not in api.post("runs/search", **world.fields(max_results=5))
    # Plain tokens of MLflow are read, and none is bound to its query.
    assert world.names(max_results=2, page_token=token({"offset": 3})) == "B A"
    assert world.names(None, ["start_time ASC"], max_results=2, page_token=page["next_page_token"]) == "C D"
    assert world.names(page_token=token({"offset": 99})) == ""
    for bad, message in [
        ("garbage!", "Invalid page token, could not base64-decode"),
        (token({}), "Invalid page token, parsed value={}"),
        (token({"offset": "x"}), "Invalid page token, not stringable x"),
    ]:
        api.bad("POST", "runs/search", world.fields(page_token=bad), message)


def test_paging_over_5000_runs(api, experiment):
    count = 5200
    for i in range(count):
        api.run(experiment, start_time=i % 97, tags=listed({"n": str(i)}))
    seen, page_token, pages = [], None, 0
    order = ["start_time DESC", "tags.n"]
    while True:
        fields = {"experiment_ids": [experiment], "max_results": 500, "order_by": order}
        page = api.post("runs/search", **fields, **({"page_token": page_token} if page_token else {}))
        seen += [run["info"]["run_id"] for run in page["runs"]]
        pages += 1
        if (page_token := page.get("next_page_token")) is None:
            break
    assert (len(seen), len(set(seen)), pages) == (count, count, 11)
    assert len(api.post("runs/search", experiment_ids=[experiment])["runs"]) == 1000
    assert len(api.post("runs/search", experiment_ids=[experiment], max_results=50000)["runs"]) == count
