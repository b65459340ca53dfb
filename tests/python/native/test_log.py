"""Logging rows of scalars."""

import decimal
import fractions
import math
import os
import struct
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import runlode


def points(store, run, key):
    table = store.history(run, key).to_numpy()
    return list(zip(table["step"].tolist(), table["value"].tolist()))


def test_a_row_is_there_at_once(store, run):
    assert run.log({"loss": 0.5, "acc": 0.25}, step=3, timestamp_ms=1_700_000_000_000) is True
    table = store.history(run)
    assert table.column_names == ["run_id", "key", "step", "timestamp", "value"]
    columns = table.to_numpy()
    assert columns["key"].tolist() == ["acc", "loss"]
    assert columns["run_id"].tolist() == [run.run_id] * 2
    assert columns["step"].tolist() == [3, 3]
    assert columns["timestamp"].astype("int64").tolist() == [1_700_000_000_000] * 2
    assert columns["value"].tolist() == [0.25, 0.5]


def test_steps_count_on(store, run):
    run.log({"a": 1.0})
    run.log({"a": 2.0})
    run.log({"a": 3.0}, step=10)
    run.log({"a": 4.0})
    assert points(store, run, "a") == [(0, 1.0), (1, 2.0), (10, 3.0), (11, 4.0)]
    run.end()
    again = store.resume(run.run_id)
    assert again.status == "RUNNING"
    again.log({"a": 5.0})
    assert points(store, run, "a")[-1] == (12, 5.0)


class Tensor:
    """Looks like one of torch: no float, but an item."""

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (-(2**53), -(2.0**53)),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.uint64(2**63), 2.0**63),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (Tensor(1.5), 1.5),
        (Tensor(7), 7.0),
        (decimal.Decimal("0.1"), 0.1),
        (fractions.Fraction(1, 8), 0.125),
        (np.longdouble(0.5), 0.5),
    ],
)
def test_numbers(store, run, value, expected):
    assert run.log({"a": value, "b": 1.0}, step=1)
    assert points(store, run, "a") == [(1, expected)]
    assert points(store, run, "b") == [(1, 1.0)]


@pytest.mark.parametrize(
    "value",
    ["0.5", None, [1.0], 1j, np.array([1.0, 2.0]), np.array("1.5"), np.str_("1"), object(), b"1", Tensor("x"), Tensor(None)],
)
def test_what_is_no_number_names_its_key(store, run, value):
    with pytest.raises(TypeError, match="metric 'bad key'"):
        run.log({"good": 1.0, "bad key": value})
    with pytest.raises(OverflowError, match="metric 'bad key': this int"):
        run.log({"good": 1.0, "bad key": 10**400})
    assert len(store.history(run)) == 0


def test_bits_are_kept(store, run):
    odd_nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    values = [math.nan, odd_nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    for step, value in enumerate(values):
        run.log({"v": value}, step=step, timestamp_ms=step)
    bits = store.history(run, "v")["value"].view("u8").tolist()
    assert bits == [struct.unpack("<Q", struct.pack("<d", value))[0] for value in values]


def test_keys_may_be_other_objects_and_another_order(store, run):
    for step in range(5):
        run.log({f"k{i}_{''.join(['x'])}": float(i) for i in range(3)}, step=step)
    run.log({"k2_x": 20.0, "k0_x": 0.5}, step=5)
    run.log({"k1_x": 10.0, "new": 1.0, "k0_x": 0.75, "k2_x": 30.0}, step=6)
    assert points(store, run, "k0_x") == [(s, 0.0) for s in range(5)] + [(5, 0.5), (6, 0.75)]
    assert points(store, run, "k1_x")[-1] == (6, 10.0)
    assert points(store, run, "k2_x")[-2:] == [(5, 20.0), (6, 30.0)]
    assert points(store, run, "new") == [(6, 1.0)]


def test_other_mappings_and_nothing(store, run):
    from collections import OrderedDict
    from types import MappingProxyType

    class Own(dict):
        pass

    assert run.log({})
    assert run.log(OrderedDict(a=1.0), step=0)
    assert run.log(MappingProxyType({"a": 2.0}), step=1)
    assert run.log(Own(a=3.0), step=2)
    assert points(store, run, "a") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    with pytest.raises(TypeError):
        run.log([("a", 1.0)])
    with pytest.raises(TypeError, match="key is a str"):
        run.log({1: 1.0})


def test_what_cannot_be_is_refused(store, run):
    for wrong in [{"": 1.0}, {"x" * 70_000: 1.0}]:
        with pytest.raises(runlode.Invalid):
            run.log(wrong)
    with pytest.raises(runlode.Invalid, match="negative"):
        run.log({"a": 1.0}, timestamp_ms=-1)
    with pytest.raises((TypeError, OverflowError)):
        run.log({"a": 1.0}, step=2**70)
    with pytest.raises(TypeError):
        run.log({"a": 1.0}, step=0.5)
    assert run.log({"a": 1.0}, step=np.int64(7))
    assert points(store, run, "a") == [(7, 1.0)]


def test_values_that_run_code_while_they_are_read(store, run):
    class Nested:
        def item(self):
            run.log({"inner": 1.0}, step=0)
            return 2.0

    row = {"outer": Nested(), "other": 3.0}

    class Changing:
        def item(self):
            row["more"] = 1.0
            return 4.0

    assert run.log(row, step=1)
    row["outer"] = Changing()
    assert run.log(row, step=2)
    assert points(store, run, "inner") == [(0, 1.0)]
    assert points(store, run, "outer") == [(1, 2.0), (2, 4.0)]


def test_threads_share_a_run(store, run):
    def work(number):
        for step in range(2000):
            value = step if step % 7 else np.float32(step)
            run.log({f"t{number}": value, "shared": float(number)}, step=step, timestamp_ms=step)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert store.history(run, f"t{number}")["value"].tolist() == list(range(2000))
    assert len(store.history(run, "shared")) == 8000
    assert run.dropped_points == 0


def test_a_closed_store_says_so(path):
    store = runlode.open(path)
    run = store.run()
    store.close()
    store.close()
    with pytest.raises(runlode.Closed):
        run.log({"a": 1.0})
    with pytest.raises(runlode.Closed):
        run.log_points("a", [1.0])
    with pytest.raises(runlode.Closed):
        store.search()
    with pytest.raises(runlode.Closed):
        run.end()
    # Although the run is still there, the store is free.
    script = "import runlode, sys\nwith runlode.open(sys.argv[1]) as s: print(s.status()['holds'])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
    with runlode.open(path) as again:
        assert again.resume(run.run_id).log({"a": 1.0})


def test_subclasses_with_code_of_their_own(store, run):
    class Key(str):
        def __del__(self):
            run.log({"deleted": 1.0}, step=0)

    class Whole(int):
        def __float__(self):
            run.log({"asked": 1.0}, step=0)
            return 5.0

    class Real(float):
        pass

    for step in range(3):
        run.log({Key("k"): Whole(7), "r": Real(0.5)}, step=step)
    assert [value for _, value in points(store, run, "k")] == [5.0] * 3
    assert [value for _, value in points(store, run, "r")] == [0.5] * 3


def test_a_deleted_run_is_refused_for_good_reasons(store):
    with pytest.raises(runlode.NotFound):
        store.resume("0" * 32)
    with pytest.raises(runlode.NotFound):
        store.get_run("nonsense")


FULL_DISK = """
import resource, signal, sys, warnings
import runlode

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    store = runlode.open(sys.argv[1])
    run = store.run()
    values = [0.5] * 100_000
    assert run.log_points("before", values)
    # No file may grow any more, as on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    lost = 0
    for _ in range(2000):
        if not run.log_points("after", values):
            lost += 1
            if lost == 3:
                break
    assert lost == 3, "the disk was never full"
    assert run.dropped_points > 0
    assert run.log({"row": 1.0}) in (True, False)
    ours = [w for w in caught if issubclass(w.category, RuntimeWarning) and "cannot log" in str(w.message)]
    assert len(ours) == 1, [str(w.message) for w in caught]
    try:
        for _ in range(1000):
            run.log_points("after", values, strict=True)
        raise SystemExit("strict did not raise")
    except runlode.Error as error:
        print(type(error).__name__, run.dropped_points, flush=True)
import os
os._exit(0)
"""


def test_a_full_disk_does_not_stop_a_training(path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] in ("StorageFull", "Unavailable", "Error"), done.stdout
    # What was acknowledged is there.
    with runlode.open(path) as store:
        run_id = store.search(columns="run_id")["run_id"][0]
        assert len(store.history(run_id, "before")) == 100_000


def test_warnings_that_are_errors_do_not_stop_it_either(store, run):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.log({"a": 1.0})


BEYOND = 2**63 + 5


@pytest.mark.parametrize(
    "steps",
    [
        np.array([BEYOND], dtype=np.uint64),
        np.array([1, BEYOND], dtype=np.uint64)[1:],
        np.uint64(BEYOND),
        np.array(BEYOND, dtype=np.uint64),
        memoryview(np.array([BEYOND], dtype=np.uint64)),
        np.array([BEYOND], dtype=object),
        [np.uint64(BEYOND)],
        [BEYOND],
        (-(2**63) - 1,),
        BEYOND,
    ],
)
def test_steps_and_times_beyond_int64_are_refused(store, run, steps):
    """They wrapped around to negative steps."""
    for name in ("steps", "timestamps_ms"):
        with pytest.raises(OverflowError, match=name):
            run.log_points("a", [1.0], **{name: steps})
        with pytest.raises(OverflowError, match=name):
            run.log_batch({"a": [1.0]}, **{name: steps})
    assert len(store.history(run, "a")) == 0
    assert run.log_points("a", [1.0], steps=np.array([2**63 - 1], dtype=np.uint64))
    assert points(store, run, "a") == [(2**63 - 1, 1.0)]


def test_columns_of_other_libraries_beyond_int64_are_refused(store, run):
    for library, make in [
        ("pandas", lambda m: [m.Series([BEYOND], dtype="uint64"), m.Series([BEYOND], dtype="UInt64")]),
        ("pyarrow", lambda m: [m.array([BEYOND], m.uint64()), m.chunked_array([m.array([BEYOND], m.uint64())])]),
    ]:
        module = pytest.importorskip(library)
        for steps in make(module):
            with pytest.raises(OverflowError):
                run.log_points("a", [1.0], steps=steps)


@pytest.mark.parametrize("step", [np.uint64(BEYOND), BEYOND, -(2**63) - 1])
def test_one_step_beyond_int64_is_refused(store, run, step):
    with pytest.raises(OverflowError, match="step"):
        run.log({"a": 1.0}, step=step)
    with pytest.raises(OverflowError, match="timestamp_ms"):
        run.log({"a": 1.0}, timestamp_ms=step)
    assert len(store.history(run, "a")) == 0


NO_STEPS = [
    True,
    np.True_,
    1.5,
    np.float64(1.0),
    np.datetime64("2024-01-01"),
    np.timedelta64(5, "s"),
    "1",
]


@pytest.mark.parametrize("step", NO_STEPS)
def test_what_is_no_step_is_refused(store, run, step):
    with pytest.raises(TypeError, match="step"):
        run.log({"a": 1.0}, step=step)
    for steps in ([step], np.array([step]), step):
        with pytest.raises(TypeError, match="steps"):
            run.log_points("a", [1.0], steps=steps)
    assert len(store.history(run, "a")) == 0


def test_datetimes_are_times_and_no_steps(store, run):
    import datetime

    with pytest.raises(TypeError):
        run.log({"a": 1.0}, step=datetime.datetime.now())
    days = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]")
    assert run.log_points("a", [1.0, 2.0], steps=[1, 2], timestamps_ms=days)
    assert run.log_points("a", [3.0], steps=[3], timestamps_ms=days[1])
    times = store.history(run, "a").to_numpy()["timestamp"].astype("int64").tolist()
    assert times == [1_704_067_200_000, 1_704_153_600_000, 1_704_153_600_000]
    with pytest.raises(ValueError, match="NaT"):
        run.log_points("a", [1.0], timestamps_ms=np.array(["NaT"], dtype="datetime64[ms]"))
    for durations in (np.array([1], dtype="timedelta64[s]"), [np.timedelta64(1, "s")]):
        with pytest.raises(TypeError):
            run.log_points("a", [1.0], timestamps_ms=durations)


def test_a_time_may_be_a_datetime(store, run):
    import datetime

    utc = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_999, datetime.timezone.utc)
    ms, east = 1_767_323_045_678, datetime.timezone(datetime.timedelta(hours=9))
    local = datetime.datetime.fromtimestamp(1_767_323_045)
    times = [utc, utc.astimezone(east), np.datetime64("2026-01-02T03:04:05.678"), np.datetime64("2026-01-02T03:04:05.678999", "ns")]
    pandas = pytest.importorskip("pandas")
    times += [pandas.Timestamp(utc), pandas.Timestamp("2026-01-02 03:04:05.678")]
    for step, time in enumerate(times):
        wanted = ms if time is not times[-1] else int(times[-1].to_pydatetime().astimezone().timestamp() * 1000)
        assert run.log({"a": 1.0}, step=step, timestamp_ms=time)
        assert run.log_points("b", [1.0], steps=[step], timestamps_ms=time)
        assert run.log_points("c", [1.0], steps=[step], timestamps_ms=[time])
        for key in "abc":
            found = store.history(run, key, steps=(step, step))["timestamp"].astype("int64").tolist()
            assert found == [wanted], (key, time)
    run.log({"local": 1.0}, timestamp_ms=local)
    assert store.history(run, "local")["timestamp"].astype("int64").tolist() == [1_767_323_045_000]
    zoned = pandas.Series([pandas.Timestamp(utc)] * 2)
    assert run.log_points("zoned", [1.0, 2.0], timestamps_ms=zoned)
    assert store.history(run, "zoned")["timestamp"].astype("int64").tolist() == [ms] * 2
    for wrong in (pandas.NaT, np.datetime64("NaT")):
        with pytest.raises(ValueError, match="NaT"):
            run.log({"a": 1.0}, timestamp_ms=wrong)
        with pytest.raises(ValueError, match="NaT"):
            run.log_points("a", [1.0], timestamps_ms=[wrong])
    for wrong in (datetime.date.today(), datetime.timedelta(1), datetime.time(1), "2026-01-01"):
        with pytest.raises(TypeError, match="^argument 'timestamp_ms': a whole number was expected"):
            run.log({"a": 1.0}, timestamp_ms=wrong)


def test_steps_that_count_on_end_at_the_last_one(store, run):
    run.log({"a": 1.0}, step=2**63 - 1)
    run.log({"a": 2.0})
    run.log({"a": 3.0})
    assert {step for step, _ in points(store, run, "a")} == {2**63 - 1}
    with pytest.raises(OverflowError):
        run.log_points("a", [1.0, 2.0])


def test_a_run_keeps_its_first_end(store):
    run = store.run(experiment="ends")
    assert run.end() == "FINISHED"
    assert run.end("FAILED") == "FINISHED"
    with pytest.raises(RuntimeError):
        with store.run(experiment="ends") as run:
            run.end()
            raise RuntimeError
    assert run.status == "FINISHED"
    with store.run(experiment="ends") as run:
        run.end("KILLED")
    assert run.status == "KILLED"
    again = store.resume(run.run_id)
    assert (again.status, again.end("FAILED")) == ("RUNNING", "FAILED")


@pytest.mark.parametrize(
    "given",
    [
        {"params": {"a|b": 1}},
        {"params": {"": 1}},
        {"params": {"ok": 1, "x" * 251: 1}},
        {"params": {"ok": "v" * 70_000}},
        {"params": {1: "a", "1": "b"}},
        {"params": {**{f"p{i}": i for i in range(150)}, "a//b": 1}},
        {"tags": {"": "x"}},
        {"tags": {"mlflow.runName": "a"}, "name": "b"},
    ],
)
def test_a_run_that_cannot_be_made_leaves_nothing(store, given):
    with pytest.raises(runlode.Invalid):
        store.run(experiment="left", **given)
    for deleted in (False, True):
        assert len(store.search(deleted=deleted, experiments=None)) == 0


@pytest.mark.parametrize("name", ["", "a|b", "a//b", "../x", "/x", "x/", "x" * 251, "ключ!"])
def test_metric_names_have_one_rule(store, run, name):
    with pytest.raises(runlode.Invalid):
        run.log({name: 1.0})
    with pytest.raises(runlode.Invalid):
        run.log({"ok": 1.0, name: 1.0})
    with pytest.raises(runlode.Invalid):
        run.log_points(name, [1.0])
    with pytest.raises(runlode.Invalid):
        run.log_batch({name: [1.0]})
    assert len(store.history(run)) == 0
    assert run.log({"a b/c.d-e_f:g": 1.0})


def test_equal_points_are_as_many_as_were_logged(store, run):
    for i in range(1000):
        run.log({"hit": float(i % 5 != 0)}, step=0)
    values = store.history(run, "hit").to_numpy()["value"]
    assert (len(values), values.mean()) == (1000, 0.8)
    # What is sent again later is the same.
    old = {"steps": [0, 0, 1], "timestamps_ms": [5, 5, 6]}
    for _ in range(2):
        run.log_points("old", [1.0, 1.0, 2.0], **old)
        run.log({"old": 1.0}, step=0, timestamp_ms=5)
    assert points(store, run, "old") == [(0, 1.0), (1, 2.0)]
