"""Search of experiments, registered models, versions, logged models and data sets."""

import base64
import json
import time

import pytest
from conftest import listed, unique

AJAX = "/ajax-api/2.0/mlflow"


def token(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def tick():
    """Times of entities are milliseconds: makes the next one later."""
    time.sleep(0.002)


# Experiments.

@pytest.fixture(scope="module")
def experiments(api):
    """Names by short names; created in this order."""
    names = {}
    base = unique("s")
    for short, tags in [("A", {"k": "1", "t.x": "a"}), ("b", {"k": "2"}), ("C", {}), ("gone", {"k": "1"})]:
        names[short] = f"{base}-{short}"
        api.experiment(names[short], tags=listed(tags))
        tick()
    gone = api.get("experiments/get-by-name", experiment_name=names["gone"])["experiment"]["experiment_id"]
    api.post("experiments/delete", experiment_id=gone)
    names["base"] = base
    return names


def found_experiments(api, experiments, filter="", **fields):
    base = experiments["base"]
    filter = f"name LIKE '{base}%' AND {filter}" if filter else f"name LIKE '{base}%'"
    found = api.post("experiments/search", filter=filter, max_results=100, **fields).get("experiments", [])
    return " ".join(one["name"].removeprefix(f"{base}-") for one in found)


@pytest.mark.parametrize("filter, names", [
    ("", "C b A"),
    ("attribute.name LIKE '%A'", "A"),
    ("name ILIKE '%-c'", "C"),
    ("name != 'nobody'", "C b A"),
    ("tags.k = '1'", "A"),
    ("tag.k != '1'", "b"),
    ("tags.`t.x` = 'a'", "A"),
    ("tags.t.x = 'a'", "A"),
    ("tags.k LIKE '%'", "b A"),
    ("tags.k IS NULL", "C"),
    ("tags.k IS NOT NULL", "b A"),
    ("creation_time > 0", "C b A"),
    ("attribute.creation_time < 5", ""),
    ("last_update_time >= 0", "C b A"),
    ("experiment_id != '0'", "C b A"),
    ("experiment_id NOT IN ('0')", "C b A"),
])
def test_filters_of_experiments(api, experiments, filter, names):
    assert found_experiments(api, experiments, filter) == names


@pytest.mark.parametrize("order, names", [
    (["name"], "A C b"),
    (["name DESC"], "b C A"),
    (["attribute.name ASC"], "A C b"),
    (["creation_time"], "A b C"),
    (["last_update_time DESC"], "C b A"),
    (["experiment_id"], "A b C"),
    (["attribute.experiment_id DESC"], "C b A"),
])
def test_orders_of_experiments(api, experiments, order, names):
    assert found_experiments(api, experiments, order_by=order) == names


def test_views_of_experiments(api, experiments):
    assert found_experiments(api, experiments, view_type="DELETED_ONLY") == "gone"
    assert found_experiments(api, experiments, view_type="ALL") == "gone C b A"
    assert found_experiments(api, experiments, view_type=3) == "gone C b A"


@pytest.mark.parametrize("filter, message", [
    ("attributes.name = 'x'", "Invalid entity type"),
    ("params.k = 'x'", "Invalid entity type"),
    ("experiment_id = 15", "Expected a quoted string value"),
    ("name IN ('x')", "comparison with a list"),
    ("lifecycle_stage = 'active'", "Invalid attribute key"),
    ("name > 'x'", ""),
    ("creation_time LIKE '1'", ""),
    ("name", "Invalid clause(s)"),
])
def test_filters_of_experiments_that_are_none(api, filter, message):
    for method in ("GET", "POST"):
        api.bad(method, "experiments/search", {"filter": filter, "max_results": 5}, message)


def test_orders_of_experiments_that_are_none(api):
    for order, message in [("tags.k", "Invalid order_by entity: tag"), ("foo", ""), ("name FOO", "")]:
        api.bad("POST", "experiments/search", {"order_by": [order], "max_results": 5}, message)


def test_pages_of_experiments(api, experiments):
    filter = f"name LIKE '{experiments['base']}%'"
    for method in ("GET", "POST"):
        page = api._ok(method, "experiments/search", {"filter": filter, "max_results": 2})
        assert len(page["experiments"]) == 2
        rest = {"filter": filter, "max_results": 2, "page_token": page["next_page_token"]}
        last = api._ok(method, "experiments/search", rest)
        assert len(last["experiments"]) == 1 and "next_page_token" not in last
    for max_results in (0, -1, 50001):
        api.bad("POST", "experiments/search", {"max_results": max_results})
    api.bad("POST", "experiments/search", {"max_results": 50001}, "It must be at most 50000")
    # Absent is 0.
    api.bad("POST", "experiments/search", {})
    api.bad("GET", "experiments/search", {"max_results": 5, "page_token": "garbage!"}, "Invalid page token")


def test_what_the_pages_ask(api, experiments):
    filter = "tags.`mlflow.experiment.isGateway` IS NULL"
    path = f"{AJAX}/experiments/search"
    found = api.get(path, max_results="25", order_by="last_update_time DESC", filter=filter)
    assert found["experiments"]
    times = [one["last_update_time"] for one in found["experiments"]]
    assert times == sorted(times, reverse=True)


# Registered models.

@pytest.fixture(scope="module")
def models(api):
    base = unique("r")
    for short, tags in [("b", {"k": "1"}), ("A", {"k": "2"}), ("c", {}), ("p", {"mlflow.prompt.is_prompt": "true"})]:
        api.registered(f"{base}-{short}", tags=listed(tags))
        tick()
    return base


def found_models(api, base, filter="", **fields):
    filter = f"name LIKE '{base}%'" + (f" AND {filter}" if filter else "")
    found = api.get("registered-models/search", filter=filter, **fields).get("registered_models", [])
    return " ".join(one["name"].removeprefix(f"{base}-") for one in found)


@pytest.mark.parametrize("filter, names", [
    ("", "A b c"),
    ("attribute.name ILIKE '%-a'", "A"),
    ("name = 'nobody'", ""),
    ("name != 'nobody'", "A b c"),
    ("tags.k = '1'", "b"),
    ("tag.k != '1'", "A"),
    ("tags.`k` LIKE '%'", "A b"),
    ("tags.`mlflow.prompt.is_prompt` = 'true'", "p"),
    ("tags.`mlflow.prompt.is_prompt` != 'false'", "p"),
    ("tags.`mlflow.prompt.is_prompt` = 'false'", "A b c"),
    ("tags.`mlflow.prompt.is_prompt` != 'true'", "A b c"),
])
def test_filters_of_models(api, models, filter, names):
    assert found_models(api, models, filter) == names


def test_names_in_a_list(api, models):
    names = f"'{models}-A', '{models}-c', 'nobody'"
    assert found_models(api, models, f"name IN ({names})") == "A c"
    assert found_models(api, models, f"name NOT IN ({names})") == "b"


@pytest.mark.parametrize("order, names", [
    (["name"], "A b c"),
    (["name DESC"], "c b A"),
    (["timestamp"], "b A c"),
    (["last_updated_timestamp DESC"], "c A b"),
])
def test_orders_of_models(api, models, order, names):
    assert found_models(api, models, order_by=order) == names


@pytest.mark.parametrize("fields, message", [
    ({"filter": "`name` = 'x'"}, "Invalid attribute key"),
    ({"filter": "run_id = 'x'"}, "Invalid attribute key"),
    ({"filter": "params.x = 'x'"}, "Invalid entity type"),
    ({"order_by": ["creation_timestamp"]}, "Invalid order by key"),
    ({"max_results": 1001}, ""),
    ({"max_results": -1}, ""),
    ({"page_token": "garbage!"}, "Invalid page token"),
])
def test_searches_of_models_that_are_none(api, fields, message):
    api.bad("GET", "registered-models/search", fields, message)


def test_pages_of_models(api, models):
    filter = f"name LIKE '{models}%'"
    # As in MLflow: a page of nothing, and the token of the next one.
    assert api.get("registered-models/search", filter=filter, max_results=0) == {"next_page_token": "eyJvZmZzZXQiOiAwfQ=="}
    assert api.get("registered-models/search", filter=f"name = '{models}-nope'", max_results=0) == {}
    page = api.get("registered-models/search", filter=filter, max_results=2)
    assert len(page["registered_models"]) == 2
    rest = api.get("registered-models/search", filter=filter, max_results=2, page_token=page["next_page_token"])
    assert len(rest["registered_models"]) == 1 and "next_page_token" not in rest


# Versions.

@pytest.fixture(scope="module")
def versions(api):
    base = unique("v")
    run = api.run()
    for short, source, more in [
        ("a", "s3://b/1", {"run_id": run, "tags": listed({"k": "1"})}),
        ("a", "s3://b/2", {"tags": listed({"k": "2"})}),
        ("B", "s3://c/1", {}),
    ]:
        name = f"{base}-{short}"
        if api.raw("GET", "registered-models/get", params={"name": name}).status_code == 404:
            api.registered(name)
        api.version(name, source=source, **more)
        tick()
    return base, run


def found_versions(api, base, filter="", **fields):
    filter = f"name LIKE '{base}%'" + (f" AND {filter}" if filter else "")
    found = api.get("model-versions/search", filter=filter, **fields).get("model_versions", [])
    return " ".join(one["name"].removeprefix(f"{base}-") + one["version"] for one in found)


@pytest.mark.parametrize("filter, names", [
    ("", "B1 a2 a1"),
    ("name ILIKE '%-b'", "B1"),
    ("run_id = '<RUN>'", "a1"),
    ("run_id IN ('<RUN>', 'x')", "a1"),
    ("source_path = 's3://b/2'", "a2"),
    ("source_path LIKE 's3://b/%'", "a2 a1"),
    ("version_number = 1", "B1 a1"),
    ("version_number > 1", "a2"),
    ("version_number <= '1'", "B1 a1"),
    ("tags.k = '1'", "a1"),
    ("tag.k != '1'", "a2"),
])
def test_filters_of_versions(api, versions, filter, names):
    base, run = versions
    assert found_versions(api, base, filter.replace("<RUN>", run)) == names


@pytest.mark.parametrize("order, names", [
    (["name"], "B1 a2 a1"),
    (["name DESC"], "a2 a1 B1"),
    (["version_number"], "B1 a1 a2"),
    (["version_number DESC", "name DESC"], "a2 a1 B1"),
    (["creation_timestamp"], "a1 a2 B1"),
    (["last_updated_timestamp DESC"], "B1 a2 a1"),
])
def test_orders_of_versions(api, versions, order, names):
    assert found_versions(api, versions[0], order_by=order) == names


@pytest.mark.parametrize("fields, message", [
    ({"filter": "version = 1"}, "Invalid clause(s)"),
    ({"filter": "source = 'x'"}, "Invalid clause(s)"),
    ({"filter": "alias = 'x'"}, "Invalid clause(s)"),
    ({"filter": "current_stage = 'x'"}, "Invalid attribute key"),
    ({"filter": "creation_timestamp > 1"}, "Invalid attribute key"),
    ({"filter": "version_number = 1.5"}, "Invalid value for numeric attribute"),
    ({"max_results": 200001}, ""),
    ({"max_results": 0}, ""),
    ({"page_token": "garbage!"}, "Invalid page token"),
])
def test_searches_of_versions_that_are_none(api, fields, message):
    api.bad("GET", "model-versions/search", fields, message)


def test_pages_of_versions(api, versions):
    filter = f"name LIKE '{versions[0]}%'"
    page = api.get("model-versions/search", filter=filter, max_results=2)
    assert len(page["model_versions"]) == 2
    rest = api.get("model-versions/search", filter=filter, max_results=2, page_token=page["next_page_token"])
    assert len(rest["model_versions"]) == 1 and "next_page_token" not in rest


# Logged models.

@pytest.fixture(scope="module")
def logged(api):
    experiment = api.experiment()
    run = api.run(experiment)
    ids = {}
    for name, kind, params, tags, metrics in [
        ("A", "x", {"lr": "1", "opt": "SGD"}, {"k": "1"}, [("m", 1, 1, 0, "d"), ("m", 5, 2, 1, None)]),
        ("b", "x", {"lr": "10"}, {"k": "2"}, [("m", 2, 1, 0, "d")]),
        ("C", "y", {}, {}, []),
    ]:
        fields = {"params": listed(params), "tags": listed(tags), "source_run_id": run if name == "A" else ""}
        ids[name] = api.model(experiment, name=name, model_type=kind, **fields)["info"]["model_id"]
        for key, value, timestamp, step, dataset in metrics:
            more = {"dataset_name": dataset, "dataset_digest": "1"} if dataset else {}
            api.log(run, key, value, timestamp, step, model_id=ids[name], **more)
        tick()
    api.patch(f"logged-models/{ids['A']}", model_id=ids["A"], status="LOGGED_MODEL_READY")
    return experiment, ids


def found_logged(api, logged, filter=None, **fields):
    experiment, ids = logged
    if filter:
        fields["filter"] = filter.replace("<A>", ids["A"]).replace("<B>", ids["b"])
    found = api.post("logged-models/search", experiment_ids=[experiment], **fields).get("models", [])
    return " ".join(one["info"]["name"] for one in found)


@pytest.mark.parametrize("filter, names", [
    (None, "C b A"),
    ("name = 'A'", "A"),
    ("attributes.name != 'A'", "C b"),
    ("name LIKE '%'", "C b A"),
    ("name ILIKE 'a'", "A"),
    ("name IN ('A', 'C')", "C A"),
    ("name NOT IN ('A')", "C b"),
    ("model_id = '<A>'", "A"),
    ("attributes.model_id IN ('<A>','<B>')", "b A"),
    ("model_type = 'x'", "b A"),
    ("artifact_location LIKE '%<A>%'", "A"),
    ("attributes.artifact_location ILIKE '%/models/<B>/ARTIFACTS'", "b"),
    ("artifact_location != 'x' AND lifecycle_stage = 'active'", "C b A"),
    ("artifact_location IN ('x', 'y')", ""),
    ("status_message = 'x'", ""),
    ("status = 'LOGGED_MODEL_READY'", "A"),
    ("creation_timestamp > 0", "C b A"),
    ("creation_time > 0 AND last_updated_timestamp > 0", "C b A"),
    ("tags.k = '1'", "A"),
    ('tags.k = "1"', "A"),
    ("tags.k != '1'", "b"),
    ("tags.k LIKE '%'", "b A"),
    ("tags.k IN ('1', '2')", "b A"),
    ("params.lr = '1'", "A"),
    ("params.lr = 10", "b"),
    ("params.opt ILIKE 'sgd'", "A"),
    ("metrics.m > 0", "b A"),
    ("metrics.m >= 5", "A"),
    ("metrics.m = 1", "A"),
    ("metrics.m = 2 AND tags.k = '2'", "b"),
])
def test_filters_of_logged_models(api, logged, filter, names):
    assert found_logged(api, logged, filter) == names


def test_metrics_on_data_sets(api, logged):
    on = {"datasets": [{"dataset_name": "d", "dataset_digest": "1"}]}
    assert found_logged(api, logged, "metrics.m > 0", **on) == "b A"
    assert found_logged(api, logged, "metrics.m >= 5", **on) == ""
    assert found_logged(api, logged, "metrics.m > 1", datasets=[{"dataset_name": "d"}]) == "b"
    assert found_logged(api, logged, "metrics.m > 1", datasets=[{"dataset_name": "no", "dataset_digest": "1"}]) == ""


@pytest.mark.parametrize("order, names", [
    ([{"field_name": "name"}], "A C b"),
    ([{"field_name": "name", "ascending": False}], "b C A"),
    ([{"field_name": "creation_timestamp", "ascending": True}], "A b C"),
    ([{"field_name": "creation_time", "ascending": False}], "C b A"),
    ([{"field_name": "model_type", "ascending": False}, {"field_name": "name"}], "C A b"),
    ([{"field_name": "metrics.m"}], "b A C"),
    ([{"field_name": "metrics.m", "ascending": False}], "A b C"),
    ([{"field_name": "metrics.m", "dataset_name": "d", "dataset_digest": "1"}], "A b C"),
])
def test_orders_of_logged_models(api, logged, order, names):
    assert found_logged(api, logged, order_by=order) == names


@pytest.mark.parametrize("filter, message", [
    ("attribute.name = 'x'", "Invalid entity type"),
    ("param.lr = 'x'", "Invalid entity type"),
    ("params.lr > '1'", "Invalid comparison operator"),
    ("name = 'A' OR name = 'b'", "Invalid filter string"),
    ("(name = 'A')", "Invalid filter string"),
    ("nope = 'x'", ""),
    ("creation_timestamp > 'x'", ""),
])
def test_filters_of_logged_models_that_are_none(api, logged, filter, message):
    fields = {"experiment_ids": [logged[0]], "filter": filter}
    api.bad("POST", "logged-models/search", fields, message)


def test_pages_of_logged_models(api, logged):
    fields = {"experiment_ids": [logged[0]], "max_results": 2}
    page = api.post("logged-models/search", **fields)
    assert [one["info"]["name"] for one in page["models"]] == ["C", "b"]
    fields["page_token"] = page["next_page_token"]
    rest = api.post("logged-models/search", **fields)
    assert [one["info"]["name"] for one in rest["models"]] == ["A"] and "next_page_token" not in rest
    # A token belongs to its search.
    other = api.experiment()
    for more, message in [
        ({"experiment_ids": [other]}, "Experiment IDs in the page token do not match"),
        ({"filter": "name = 'A'"}, "Filter string in"),
        ({"order_by": [{"field_name": "name"}]}, "Order by in"),
        ({"page_token": "garbage!"}, ""),
    ]:
        api.bad("POST", "logged-models/search", {**fields, **more}, message)
    api.bad("POST", "logged-models/search", {"experiment_ids": [logged[0]], "max_results": -1})
    fields = {"experiment_ids": [logged[0]], "datasets": [{"dataset_digest": "1"}]}
    api.bad("POST", "logged-models/search", fields, "dataset_name")


# Data sets.
    # MLflow's server takes 0 as none given.
    assert found_logged(api, logged, max_results=0) == "C b A"


def test_data_sets(api):
    experiment, other = api.experiment(), api.experiment()
    run = api.run(experiment)

    def log(run, name, context):
        tags = listed({"mlflow.data.context": context}) if context else []
        dataset = {"name": name, "digest": "1", "source_type": "t", "source": "s"}
        api.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": tags}])

    log(run, "d", "train")
    log(api.run(experiment), "d", "train")
    log(api.run(experiment), "d", "eval")
    log(run, "e", None)
    log(api.run(other), "f", None)
    path = f"{AJAX}/experiments/search-datasets"
    found = api.post(path, experiment_ids=[experiment])["dataset_summaries"]
    keys = sorted((one["name"], one["digest"], one.get("context", "")) for one in found)
    assert keys == [("d", "1", "eval"), ("d", "1", "train"), ("e", "1", "")]
    assert {one["experiment_id"] for one in found} == {experiment}
    assert len(api.post(path, experiment_ids=[experiment, other])["dataset_summaries"]) == 4
    message = "SearchDatasets request must specify at least one experiment_id."
    api.bad("POST", path, {"experiment_ids": []}, message)
    message = "SearchDatasets request cannot specify more than 20 experiment_ids. Received 21"
    api.bad("POST", path, {"experiment_ids": [experiment] * 21}, message)
