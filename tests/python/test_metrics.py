"""Metric points: identity, order, latest, pages, bulk reads, samples."""

import math
import random
import time

import pytest

AJAX = "/ajax-api/2.0/mlflow"
INTERVAL = "metrics/get-history-bulk-interval"


@pytest.mark.parametrize("points, latest", [
    # (value, timestamp, step), as they are logged; latest = greatest (step, timestamp, value), NaN counting as 0.
    ([(1, 10, 0), (2, 5, 1)], 2),
    ([(2, 5, 1), (1, 10, 0)], 2),
    ([(1, 10, 0), (2, 5, 0)], 1),
    ([(1, 10, 0), (2, 10, 0)], 2),
    ([(2, 10, 0), (1, 10, 0)], 2),
    ([(-1, 1, 0), ("NaN", 1, 0)], "NaN"),
    ([("NaN", 1, 0), (-1, 1, 0)], "NaN"),
    ([(-1, 1, 0), ("NaN", 1, 0), (3, 1, 0)], 3),
    ([(3, 1, 0), ("NaN", 1, 0)], 3),
    ([("NaN", 1, 0), (3, 1, 0)], 3),
    ([(1, 1, -5), (2, 1, -6)], 1),
    ([("Infinity", 1, 0), (1e308, 1, 0)], "Infinity"),
    ([("-Infinity", 1, 0), (-1e308, 1, 0)], -1e308),
    ([(5, 1, 2**40), (6, 2**40, 1)], 5),
])
@pytest.mark.parametrize("batched", [False, True])
def test_the_latest_point(api, run, points, latest, batched):
    if batched:
        api.batch(run, [("m", *point) for point in points])
    else:
        for point in points:
            api.log(run, "m", *point)
    assert api.latest(run)["m"] == latest


def test_a_late_point_of_a_lower_step_never_becomes_latest(api, run):
    api.batch(run, [("m", step, step, step) for step in range(100)])
    api.log(run, "m", 1000, 10**6, 50)
    assert api.latest(run)["m"] == 99


def test_the_same_point_again_is_one(api, run):
    for value in [1.5, "NaN", "Infinity"]:
        for _ in range(3):
            api.log(run, "m", value, 7, 3)
        api.batch(run, [("m", value, 7, 3), ("m", value, 7, 3)])
    assert api.history(run, "m") == [(7, 3, "NaN"), (7, 3, 1.5), (7, 3, "Infinity")]
    # Another value or time at the same step is another point.
    api.log(run, "m", 1.25, 7, 3)
    api.log(run, "m", 1.5, 8, 3)
    assert len(api.history(run, "m")) == 5


def test_equal_points_that_are_logged_now_are_points(api, run):
    """Rewards of 0 and 1 without steps, within some milliseconds: their number is what counts."""
    # A little ahead, so that a slow machine is in time too.
    now = int(time.time() * 1000) + 60_000
    for _ in range(3):
        api.log(run, "single", 1.0, now, 0)
        api.batch(run, [("batch", 1.0, now, 0)] * 4)
    assert len(api.history(run, "single")) == 3
    assert len(api.history(run, "batch")) == 12
    # A retry that comes later than that is the same request.
    for _ in range(2):
        api.batch(run, [("late", 1.0, now - 65_000, step) for step in (2, 1, 2)])
    assert api.history(run, "late") == [(now - 65_000, 1, 1.0), (now - 65_000, 2, 1.0)]


def test_order_of_a_history(api, run):
    points = [(v, t, s) for v in (2, 1) for t in (9, 3) for s in (4, -4)]
    random.Random(1).shuffle(points)
    api.batch(run, [("m", *point) for point in points])
    assert api.history(run, "m") == sorted((t, s, float(v)) for v, t, s in points)


def test_unknown_runs_and_keys_are_empty(api, run):
    assert "metrics" not in api.get("metrics/get-history", run_id=run, metric_key="nope")
    assert "metrics" not in api.get("metrics/get-history", run_id="0" * 32, metric_key="m")
    assert api.get(f"{AJAX}/metrics/get-history-bulk", run_id=[run], metric_key="nope") == {"metrics": []}
    assert api.get(INTERVAL, run_ids=[run], metric_key="nope").get("metrics", []) == []


def test_times_are_not_negative(api, run):
    message = (
        "Invalid value -1 for parameter 'timestamp' supplied: metric 'm' (value=1.0). "
        "Timestamp must be a nonnegative long (64-bit integer)"
    )
    metric = {"key": "m", "value": 1, "timestamp": -1}
    api.bad("POST", "runs/log-metric", {"run_id": run, **metric}, message)
    api.bad("POST", "runs/log-batch", {"run_id": run, "metrics": [metric]}, "Timestamp must be a nonnegative long")


def test_extremes(api, run):
    points = [(1.0, 2**63 - 1, 2**63 - 1), (2.0, 0, -(2**63)), (5e-324, 1, 0), (-1.7976931348623157e308, 2, 0)]
    api.batch(run, [("m", *point) for point in points])
    assert api.history(run, "m") == sorted((t, s, v) for v, t, s in points)
    assert api.latest(run)["m"] == 1.0


def test_pages(api, run):
    count = 2500
    for start in range(0, count, 1000):
        api.batch(run, [("m", i / 8, i, i) for i in range(start, min(start + 1000, count))])
    wanted = [(i, i, i / 8) for i in range(count)]
    assert api.history(run, "m") == wanted
    got, token, pages = [], None, 0
    while True:
        fields = {"run_id": run, "metric_key": "m", "max_results": 999, **({"page_token": token} if token else {})}
        page = api.get("metrics/get-history", **fields)
        got += [(m["timestamp"], m["step"], m["value"]) for m in page["metrics"]]
        pages += 1
        if (token := page.get("next_page_token")) is None:
            break
    assert (got, pages) == (wanted, 3)
    assert "next_page_token" not in api.get("metrics/get-history", run_id=run, metric_key="m", max_results=count)


# MLflow's store answers 0 with an empty page; only its server refuses it.
@pytest.mark.parametrize("max_results", [pytest.param(0, marks=pytest.mark.wire), -1])
def test_pages_are_not_empty(api, run, max_results):
    fields = {"run_id": run, "metric_key": "m", "max_results": max_results}
    message = f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer."
    api.bad("GET", "metrics/get-history", fields, message)


def test_a_page_token_that_is_none(api, run):
    api.log(run, "m", 1)
    fields = {"run_id": run, "metric_key": "m", "max_results": 5, "page_token": "garbage!"}
    api.bad("GET", "metrics/get-history", fields, "page token")


def test_a_long_history_in_pages_of_the_client(api, run):
    count = 60_000
    for start in range(0, count, 1000):
        api.batch(run, [("m", i, i, i) for i in range(start, start + 1000)])
    got, token = [], None
    while True:
        fields = {"run_id": run, "metric_key": "m", "max_results": 25000, **({"page_token": token} if token else {})}
        page = api.get("metrics/get-history", **fields)
        got += [m["step"] for m in page["metrics"]]
        if (token := page.get("next_page_token")) is None:
            break
    assert got == list(range(count))
    bulk = api.get(f"{AJAX}/metrics/get-history-bulk", run_id=[run], metric_key="m")["metrics"]
    assert len(bulk) == 25000
    sample = api.get(INTERVAL, run_ids=[run], metric_key="m", max_results=320)["metrics"]
    assert 320 <= len(sample) <= 321 and (sample[0]["step"], sample[-1]["step"]) == (0, count - 1)


# Many runs at once.

def test_bulk(api, experiment):
    runs = sorted(api.run(experiment) for _ in range(3))
    for i, run in enumerate(runs):
        api.batch(run, [("m", v, t, 0) for v, t in [(i, 5), ("NaN", 2), (i, 1)]])
    path = f"{AJAX}/metrics/get-history-bulk"
    found = api.get(path, run_id=list(reversed(runs)), metric_key="m")["metrics"]
    points = [(m["run_id"], m["timestamp"], m["value"]) for m in found]
    assert points == [p for i, run in enumerate(runs) for p in [(run, 1, i), (run, 2, "NaN"), (run, 5, i)]]
    assert sorted(found[0]) == ["key", "run_id", "step", "timestamp", "value"]
    few = api.get(path, run_id=runs, metric_key="m", max_results=4)["metrics"]
    assert few == found[:4]
    assert api.get(path, run_id=["0" * 32], metric_key="m") == {"metrics": []}


def test_bulk_is_bounded(api, run):
    path = f"{AJAX}/metrics/get-history-bulk"
    many = [run] * 101
    name = "GetMetricHistoryBulk request"
    api.bad("GET", path, {"metric_key": "m"}, f"{name} must specify at least one run_id.")
    message = f"{name} cannot specify more than 100 run_ids. Received 101 run_ids."
    api.bad("GET", path, {"run_id": many, "metric_key": "m"}, message)
    api.bad("GET", path, {"run_id": [run]}, f"{name} must specify a metric_key.")


# A sample of steps, over all runs together. (In process the rule is that of the MLflow that is installed there: see
# plugin/test_differential_metrics.py.)

def steps(api, runs, **fields):
    runs = runs if isinstance(runs, list) else [runs]
    return [m["step"] for m in api.get(INTERVAL, run_ids=runs, metric_key="m", **fields).get("metrics", [])]


def thinned(points, most):
    """The points that an interval answers of (step, timestamp, value): the first, the last, the least and greatest of
    equally long parts; what is left of `most` is spread evenly, as MLflow 3.17 spreads all."""
    points = sorted(points)
    n = len(points)
    if n <= most:
        return points
    chosen = {n - 1} if most == 1 else {0, n - 1}
    parts = (most - 2) // 2
    for part in range(parts):
        rows = range(-(-part * n // parts), -(-(part + 1) * n // parts))
        chosen |= {min(rows, key=lambda row: points[row][2]), max(rows, key=lambda row: points[row][2])}
    short, longer = divmod(n, most)
    missing = [row for row in (part * short + min(part, longer) for part in range(most)) if row not in chosen]
    left = min(most - len(chosen), len(missing))
    chosen |= {missing[i * len(missing) // left] for i in range(left)}
    return [points[row] for row in sorted(chosen)]


def interval(api, runs, **fields):
    """Answers of the interval by run: (step, timestamp, value)."""
    found = {run: [] for run in runs}
    for m in api.get(INTERVAL, run_ids=runs, metric_key="m", **fields).get("metrics", []):
        found[m["run_id"]].append((m["step"], m["timestamp"], m["value"]))
    return found


def test_interval_vectors(api, run):
    api.batch(run, [("m", s, s, s) for s in range(10)])
    assert steps(api, run) == list(range(10))
    assert steps(api, run, max_results=10) == list(range(10))
    assert steps(api, run, max_results=5) == [0, 2, 4, 6, 9]
    assert steps(api, run, max_results=1) == [9]
    assert steps(api, run, max_results=2) == [0, 9]
    assert steps(api, run, max_results=3) == [0, 4, 9]
    assert steps(api, run, start_step=2, end_step=5) == [2, 3, 4, 5]
    assert steps(api, run, start_step=2, end_step=9, max_results=2) == [2, 9]
    assert steps(api, run, start_step=100, end_step=200) == []


def test_interval_of_several_runs(api, experiment):
    """Each run is thinned for itself: a short one beside a long one keeps all of its points."""
    runs = [api.run(experiment) for _ in range(4)]
    waves = [[(s, s, (s * 7919 % 101) / 10) for s in range(count)] for count in (2000, 320, 300, 321)]
    for run, wave in zip(runs, waves):
        for start in range(0, len(wave), 1000):
            api.batch(run, [("m", v, t, s) for s, t, v in wave[start : start + 1000]])
    for most in (1, 2, 3, 4, 7, 319, 320):
        found = interval(api, runs, max_results=most)
        for run, wave in zip(runs, waves):
            assert found[run] == thinned(wave, most), (most, len(wave))
    found = api.get(INTERVAL, run_ids=runs, metric_key="m", max_results=7)["metrics"]
    assert [m["run_id"] for m in found] == [run for run in runs for _ in range(7)]
    assert sorted(found[0]) == ["key", "run_id", "step", "timestamp", "value"]
    few = interval(api, runs, max_results=10, start_step=5, end_step=310)
    for run, wave in zip(runs, waves):
        assert few[run] == thinned(wave[5:311], 10)


def test_interval_shows_the_peak_of_a_long_series(api, run):
    values = [math.sin(s / 50) for s in range(30_000)]
    values[12_345], values[23_456] = 1e6, -1e6
    for start in range(0, len(values), 1000):
        api.batch(run, [("m", values[s], s, s) for s in range(start, start + 1000)])
    (found,) = interval(api, [run], max_results=320).values()
    assert len(found) <= 320 and found == sorted(found)
    assert {(12_345, 12_345, 1e6), (23_456, 23_456, -1e6), (0, 0, 0.0), (29_999, 29_999, values[-1])} <= set(found)
    assert all(values[s] == v for s, _, v in found)


def test_interval_of_points_without_steps(api, run):
    """Points of one step are thinned as any others."""
    points = [(0, 1000 + t, float(t * 7919 % 1009)) for t in range(3000)]
    for start in range(0, len(points), 1000):
        api.batch(run, [("m", v, t, s) for s, t, v in points[start : start + 1000]])
    for most in (1, 5, 320, 2500):
        (found,) = interval(api, [run], max_results=most).values()
        assert found == thinned(points, most)


def test_interval_with_values_that_are_no_numbers(api, run):
    api.batch(run, [("m", "NaN" if s % 3 else ("-Infinity" if s == 30 else s), s, s) for s in range(100)])
    found = api.get(INTERVAL, run_ids=[run], metric_key="m", max_results=6)["metrics"]
    assert {m["step"] for m in found} >= {0, 30, 99} and len(found) <= 6
    other = [m for m in found if m["step"] == 30]
    assert other[0]["value"] == "-Infinity"


@pytest.mark.wire
def test_every_point_of_a_step(api, run):
    points = [(v, t, s) for s in range(6) for t in (2, 1) for v in (4, 3)]
    api.batch(run, [("m", *p) for p in points])
    found = api.get(INTERVAL, run_ids=[run], metric_key="m")["metrics"]
    found = [(m["step"], m["timestamp"], m["value"]) for m in found]
    assert found == sorted((s, t, v) for v, t, s in points)


def test_interval_keeps_negative_steps(api, run):
    api.batch(run, [("m", s, s + 10, s) for s in range(-5, 5)])
    assert steps(api, run) == list(range(-5, 5))
    assert steps(api, run, start_step=-3, end_step=-1) == [-3, -2, -1]


@pytest.mark.wire
def test_interval_is_checked(api, run):
    def bad(message, **fields):
        api.bad("GET", INTERVAL, {"run_ids": [run], "metric_key": "m", **fields}, message)

    name = "GetMetricHistoryBulkInterval request"
    bad(f"{name} must specify at most 100 run_ids. Received 101 run_ids.", run_ids=[run] * 101)
    for max_results in (0, -1, 2501):
        bad("max_results must be between 1 and 2500.", max_results=max_results)
    both = "If either start step or end step are specified, both must be specified."
    bad(both, start_step=1)
    bad(both, end_step=1)
    bad("end_step must be greater than start_step. Found start_step=5 and end_step=1.", start_step=5, end_step=1)
    api.bad("GET", INTERVAL, {"metric_key": "m"}, "'run_ids'")
    api.bad("GET", INTERVAL, {"run_ids": [run]}, "'metric_key'")


# Points of models and data sets.

def test_a_point_with_a_model_goes_to_both(api, experiment):
    run = api.run(experiment)
    model = api.model(experiment, source_run_id=run)["info"]["model_id"]
    more = {"model_id": model, "dataset_name": "d", "dataset_digest": "1"}
    api.log(run, "m", 1, 5, 2, **more)
    (metric,) = api.got(run)["data"]["metrics"]
    assert metric["value"] == 1
    (metric,) = api.get(f"logged-models/{model}")["model"]["data"]["metrics"]
    assert metric == {"key": "m", "value": 1.0, "timestamp": 5, "step": 2, "run_id": run, **more}
    api.post("runs/log-batch", run_id=run, metrics=[{"key": "m", "value": 2, "timestamp": 6, "modelId": model}])
    assert len(api.get(f"logged-models/{model}")["model"]["data"]["metrics"]) == 2
    metric = {"key": "n", "value": 1, "timestamp": 1, "model_id": "m-" + "0" * 32}
    api.bad("POST", "runs/log-metric", {"run_id": run, **metric})
    assert "n" not in api.latest(run)


def test_what_is_beyond_mlflow(api, run):
    """The server's own way to a curve: true extremes, every point in one bucket."""
    values = [math.sin(i) for i in range(1000)]
    api.batch(run, [("m", v, i, i) for i, v in enumerate(values)])
    found = api.get("/api/runlode/v1/downsample", run_id=run, metric_key="m", buckets=10)
    assert sum(bucket["count"] for bucket in found["buckets"]) == 1000
    assert min(bucket["min"] for bucket in found["buckets"]) == min(values)
    assert max(bucket["max"] for bucket in found["buckets"]) == max(values)


def test_history_and_the_past(api, run):
    api.post("runs/set-tag", run_id=run, key="t", value="1")
    position = api.get("/api/runlode/v1/positions")["published"]
    api.post("runs/set-tag", run_id=run, key="t", value="2")
    then = api.get("/api/runlode/v1/as-of/run", run_id=run, position=position)["run"]
    assert {"key": "t", "value": "1"} in then["data"]["tags"]
    changes = api.get("/api/runlode/v1/history", run_id=run)["changes"]
    assert len(changes) == 3
    positions = [change["position"] for change in changes]
    assert positions == sorted(positions)
