"""Logging columns."""

import array

import numpy as np
import pytest
import runlode


def test_columns_of_numpy(store, run):
    n = 20_001
    steps = np.arange(n) * 2 - 100
    times = np.arange(n) + 1_700_000_000_000
    loss = np.random.default_rng(1).normal(size=n)
    acc = loss.astype(np.float32)
    assert run.log_batch({"loss": loss, "acc": acc}, steps=steps, timestamps_ms=times)
    for key, expected in (("loss", loss), ("acc", acc.astype(np.float64))):
        got = store.history(run, key)
        assert np.array_equal(got["value"].view("u8"), expected.view("u8"))
        assert np.array_equal(got["step"], steps)
        assert np.array_equal(got["timestamp"].astype(np.int64), times)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.5, 3.0],
        (1, 2.5, 3),
        np.array([1, 2.5, 3]),
        np.array([1, 2.5, 3], dtype=np.float32),
        np.array([1, 2.5, 3], dtype=np.float16),
        np.array([1, 2.5, 3], dtype=">f8"),
        np.array([1, 0, 2.5, 0, 3, 0])[::2],
        np.array([3, 2.5, 1])[::-1],
        np.array([(1, 1.0), (1, 2.5), (1, 3.0)], dtype=[("pad", "i1"), ("v", "f8")])["v"],
        np.array([[1, 0], [2.5, 0], [3, 0]])[:, 0],
        array.array("d", [1, 2.5, 3]),
        memoryview(array.array("d", [1, 2.5, 3])),
        [np.float32(1), np.float64(2.5), 3],
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_what_a_column_may_be(store, run, values):
    assert run.log_points("v", values, steps=[5, 6, 7], timestamps_ms=9)
    got = store.history(run, "v")
    assert got["value"].tolist() == [1, 2.5, 3]
    assert got["step"].tolist() == [5, 6, 7]
    assert got["timestamp"].astype("int64").tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    "steps",
    [
        [1, 2, 3],
        np.array([1, 2, 3], dtype=np.int32),
        np.array([1, 2, 3], dtype=np.uint8),
        np.array([1, 0, 2, 0, 3])[::2],
        range(1, 4),
    ],
    ids=lambda steps: f"{type(steps).__name__}-{getattr(steps, 'dtype', '')}",
)
def test_what_steps_may_be(store, run, steps):
    assert run.log_points("v", np.ones(3), steps=steps)
    assert store.history(run, "v")["step"].tolist() == [1, 2, 3]


def test_integers_as_values_and_series_of_pandas(store, run):
    pandas = pytest.importorskip("pandas")
    run.log_points("i", np.array([1, 2, 3]))
    run.log_points("b", np.array([True, False, True]))
    run.log_points("s", pandas.Series([1.5, 2.5]), steps=pandas.Series([4, 5]))
    when = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[ns]")
    run.log_points("t", [1.0, 2.0], timestamps_ms=when)
    assert store.history(run, "i")["value"].tolist() == [1, 2, 3]
    assert store.history(run, "b")["value"].tolist() == [1, 0, 1]
    assert store.history(run, "s")["step"].tolist() == [4, 5]
    assert store.history(run, "t")["timestamp"].tolist() == when.astype("datetime64[ms]").tolist()


def test_steps_of_their_own(store, run):
    run.log_points("v", np.zeros(10))
    run.log_points("v", np.ones(5))
    run.log({"v": 2.0})
    assert store.history(run, "v")["step"].tolist() == list(range(16))
    run.log_batch({"a": [1.0, 2.0], "b": [3.0, 4.0]}, steps=[100, 90])
    run.log({"v": 3.0})
    assert store.history(run, "v")["step"].tolist()[-1] == 91


def test_what_is_refused(store, run):
    with pytest.raises(runlode.Invalid, match="'steps' has 2 values, 'a' has 3"):
        run.log_batch({"a": np.zeros(3)}, steps=np.zeros(2, dtype=int))
    with pytest.raises(runlode.Invalid, match="'b' has 2 values, 'a' has 3"):
        run.log_batch({"a": np.zeros(3), "b": np.zeros(2)})
    with pytest.raises(runlode.Invalid, match="one dimension"):
        run.log_points("a", np.zeros((2, 2)))
    with pytest.raises(TypeError, match="metric 'a'"):
        run.log_points("a", np.array(["x"]))
    with pytest.raises(TypeError, match="metric 'a'"):
        run.log_points("a", [1.0, "x"])
    with pytest.raises(TypeError, match="metric 'a'"):
        run.log_points("a", 5)
    with pytest.raises(TypeError, match="steps"):
        run.log_points("a", [1.0], steps=[0.5])
    with pytest.raises(TypeError, match="steps"):
        run.log_points("a", [1.0], steps=np.array([0.5]))
    with pytest.raises(runlode.Invalid, match="negative"):
        run.log_points("a", [1.0], timestamps_ms=-5)
    assert run.log_points("a", [])
    assert run.log_batch({})
    assert len(store.history(run)) == 0


def test_frames_are_columns(store, run):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, None]})
    assert run.log_batch(frame, steps=frame.index)
    run.log_params(frame.iloc[0])
    assert store.history(run, "a")["value"].tolist() == [1, 2]
    assert np.isnan(store.history(run, "b")["value"][1])
    assert store.get_run(run)["params"] == {"a": "1.0", "b": "0.5"}
    for library, make in [("polars", "DataFrame"), ("pyarrow", "table")]:
        try:
            module = __import__(library)
        except ImportError:
            continue
        assert run.log_batch(getattr(module, make)({library: [1.0, 2.0]}))
        assert store.history(run, library)["value"].tolist() == [1, 2]
    for wrong in (object(), [("a", [1.0])], 5, "a"):
        with pytest.raises(TypeError, match="a dict was expected"):
            run.log_batch(wrong)


def test_what_is_masked_is_not_logged(store, run):
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    for given in ({"values": masked}, {"values": [1.0, 2.0], "steps": np.ma.masked_array([1, 2], mask=[True, False])}):
        with pytest.raises(TypeError, match="masked array"):
            run.log_points("a", **given)
    assert run.log_points("a", masked.filled(np.nan))
    assert len(store.history(run, "a")) == 2


def test_many_keys_of_few_points(store, run):
    columns = {f"k{i}": np.full(3, i, dtype=np.float64) for i in range(5000)}
    assert run.log_batch(columns, steps=np.arange(3))
    assert len(store.history(run)) == 15_000
    assert store.history(run, "k4999")["value"].tolist() == [4999] * 3


def test_synced_batches(path):
    with runlode.open(path, durability="sync") as store:
        run = store.run()
        run.log({"a": 1.0})
        assert run.log_points("b", np.arange(20_000.0))
        status = store.status()
        assert status["durable"] == status["published"]
