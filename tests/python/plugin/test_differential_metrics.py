"""Metrics and their histories: the same calls of MLflow's SQL store and of ours, the same answers."""

import math

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

import pytest
from mlflow.entities import Metric

from .scripts import ABSENT, TOKENS, experiment, new_run, pages


@scenario
def test_metrics(s):
    run = new_run(s, experiment(s, "metrics"), 1)
    values = [0.1, -0.0, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 3, 2**60, 1e16, 123456789.123]
    for i, value in enumerate(values):
        s.store.log_metric(run, Metric(f"v{i}", value, i, -i))
        s.store.get_metric_history(run, f"v{i}")
    # Of one step and time the greatest counts; late points of lower steps never do.
    for value, at, step in [(1, 5, 0), (2, 5, 0), (-1, 5, 0), (3, 4, 0), (0, 6, 0), (9, 1, -1), (1, 1, 2), (5, 0, 2), (7, 99, 1)]:
        s.store.log_metric(run, Metric("m", value, at, step))
        s.store.get_run(run)
    for value in (-1, math.nan, 0, 3, math.nan):
        s.store.log_metric(run, Metric("n", value, 1, 1))
        s.store.get_run(run)
    s.store.get_metric_history(run, "n")
    for _ in range(2):
        s.store.log_metric(run, Metric("again", 1, 1, 1))
        s.store.log_batch(run, [Metric("again", 1, 1, 1), Metric("again", 1, 1, 1), Metric("again", 2, 1, 1)], [], [])
        s.store.log_batch(run, [Metric("nans", math.nan, 1, 1), Metric("nans", math.nan, 1, 1), Metric("nans", 0, 1, 1)], [], [])
    s.store.get_metric_history(run, "again")
    s.store.get_metric_history(run, "nans")
    for bad in BAD_POINTS:
        s.store.log_metric(run, Metric("bad", *bad))
        s.store.log_batch(run, [Metric("ok", 1, 1, 1), Metric("bad", *bad)], [], [])
        s.store.log_batch(run, [Metric("bad", *bad)], [], [])
    s.store.get_run(run)
    s.store.get_metric_history(run, "bad")

BAD_POINTS = [
    (None, 1, 1), ("abc", 1, 1), ("1.5", 1, 1), (True, 1, 1), ([], 1, 1), (1, -1, 1), (1.0, -123, 1), (1, None, 1),
    (1, "x", 1), (1, "5", 1), (1, 1, None), (1, 1, "x"), (1, 1, "5"), (1, True, 1), (1, 1, True),
    (math.nan, -1, 1), (math.inf, -1, 1), (1e300, -1, 1), (1, 0, 0), (1j, 1, 1), (1, 2**63, 1), (1, 1, 2**63), (1, 1, -(2**63)),
    ({"a": 1}, 1, 1), (False, 1, 1), (1e-5, -1, 1), (10**400, 1, 1),
]


@scenario
def test_histories(s):
    id = experiment(s, "histories")
    run, other = new_run(s, id, 1), new_run(s, id, 2)
    s.store.log_batch(run, [Metric("m", i % 7, i // 3, (i * 7) % 11 - 3) for i in range(40)], [], [])
    s.store.log_batch(other, [Metric("m", i, 5, 0) for i in range(9)], [], [])
    s.store.log_metric(other, Metric("m", math.nan, 5, 0))
    s.store.log_metric(other, Metric("one", 1, 1, 1))
    s.store.get_metric_history(run, "m")
    s.store.get_metric_history(run_id=other, metric_key="m")
    s.store.get_metric_history(run, "nope")
    s.store.get_metric_history(run, "")
    s.store.get_metric_history(run, "m", max_results=0)
    s.store.get_metric_history(run, "nope", max_results=0)
    s.store.unlike("a page holds something").get_metric_history(run, "m", max_results=-1)
    for most in (1, 7, 39, 40, 41, 10**9):
        pages(s.store.get_metric_history, run, "m", max_results=most)
    for token in TOKENS:
        s.store.get_metric_history(run, "m", max_results=5, page_token=token)
        s.store.get_metric_history(run, "m", page_token=token)
    for ids in ([run], [other, run], [], [ABSENT], ["bad id"], [run, run], [run, ABSENT]):
        for most in (3, 20, 1000):
            if len(ids) == 1 or not ids:
                s.store.get_metric_history_bulk(ids, "m", most)
            # Ordered by ids, which are random.
            bulk = lambda: s.raw_store.get_metric_history_bulk(ids, "m", most)  # noqa: E731
            order = lambda m: (m.run_id == run, m.timestamp, m.step, m.value)  # noqa: E731
            s.do("bulk", lambda: sorted(bulk(), key=order) if most == 1000 else len(bulk()))
    for ids in ([run], [other, run], [run, other], [], [ABSENT], [run, run]):
        for most in (1, 2, 3, 40, 41, 320, 2500, 2501, 0, -1):
            s.store.get_metric_history_bulk_interval(ids, "m", most, None, None)
            s.store.get_metric_history_bulk_interval(ids, "m", most, 0, 5)
        for most in (5, 10):
            # Of the other run, whose values rise, the answer is the same.
            store = s.store.unlike("the extremes are among them") if run in ids else s.store
            store.get_metric_history_bulk_interval(ids, "m", most, None, None)
        s.store.get_metric_history_bulk_interval(ids, "m", 10, 5, 0)
        s.store.get_metric_history_bulk_interval(ids, "m", 10, -100, -50)
        s.store.get_metric_history_bulk_interval(ids, "m", 10, 1, None)
        s.store.get_metric_history_bulk_interval(ids, "m", 10, None, 1)
        s.store.get_metric_history_bulk_interval(ids, "nope", 10, None, None)
    s.store.get_metric_history_bulk_interval(run_ids=[run] * 101, metric_key="m", max_results=5, start_step=0, end_step=1)
    s.store.get_metric_history_bulk([run] * 101, "m", 5)
    for one in (run, other, ABSENT):
        for most in (1, 5, 1000):
            s.store.get_metric_history_bulk_interval_from_steps(one, "m", [0, 1, -3, 99], most)
    s.store.delete_run(run)
    s.store.get_metric_history(run, "m")
    s.store.get_metric_history_bulk([run], "m", 5)


@scenario
def test_numpy_values(s):
    numpy = pytest.importorskip("numpy")
    from decimal import Decimal
    from fractions import Fraction

    run = new_run(s, experiment(s, "numpy"), 1)
    for i, value in enumerate([numpy.float64(2.5), Decimal("0.25"), Fraction(1, 8), numpy.float32(0.1), numpy.int64(3)]):
        s.store.log_metric(run, Metric(f"n{i}", value, 1, 1))
    s.store.log_metric(run, Metric("steps", 1.0, numpy.int64(5), numpy.int32(6)))
    s.store.get_metric_history(run, "n0")
    s.store.get_metric_history(run, "n3")
