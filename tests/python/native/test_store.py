"""Stores, runs as entities, the past, the log's tail."""

import asyncio
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time

import pytest
import runlode


def test_a_run_ends_by_itself(store):
    with store.run(experiment="digits", name="trial", params={"lr": 0.01, "n": 3}, tags={"kind": "x"}) as run:
        assert run.status == "RUNNING"
        run.log({"loss": 0.5})
    assert run.status == "FINISHED"
    assert run.name == "trial"
    assert run.params == {"lr": "0.01", "n": "3"}
    assert run.tags["kind"] == "x"
    assert run.metrics == {"loss": 0.5}
    with pytest.raises(KeyError), store.run() as failed:
        raise KeyError("mine")
    assert failed.status == "FAILED"
    got = store.get_run(run)
    assert (got["run_name"], got["status"], got["lifecycle"]) == ("trial", "FINISHED", "active")
    assert got["end_time_ms"] >= got["start_time_ms"] > 1_600_000_000_000


def test_params_and_tags(store, run):
    run.log_params({f"p{i}": i for i in range(250)})
    assert len(run.params) == 250
    run.log_params({"p1": 1})
    with pytest.raises(runlode.Invalid, match="(?i)changing param"):
        run.log_params({"p1": 2})
    run.set_tags({"a": 1, "b": "x"})
    run.set_tags({"a": 2})
    run.delete_tag("b")
    assert run.tags["a"] == "2"
    assert "b" not in run.tags
    with pytest.raises(runlode.NotFound):
        run.delete_tag("b")
    run.end("killed")
    assert run.status == "KILLED"
    with pytest.raises(ValueError, match="status is"):
        run.end("gone")


def test_experiments_are_made_once(store):
    ids = []

    def make():
        ids.append(store.run(experiment="raced").experiment_id)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1
    assert len(ids) == 16


def test_paths_and_arguments(tmp_path):
    for path in (tmp_path / "a", str(tmp_path / "b"), os.fsencode(tmp_path / "c")):
        with runlode.open(path) as store:
            assert isinstance(store.path, pathlib.Path)
            assert store.run().log({"a": 1.0})
    with pytest.raises(ValueError, match="durability"):
        runlode.open(tmp_path / "d", durability="maybe")
    with runlode.open(tmp_path / "e", artifacts=str(tmp_path / "art")) as store:
        assert store.get_run(store.run())["artifact_uri"].startswith(str(tmp_path / "art"))


def test_store_uris(tmp_path):
    pytest.importorskip("runlode._uri")
    with runlode.open(f"runlode://{tmp_path}/with%20space?durability=sync") as store:
        assert store.path == tmp_path / "with space"
    with pytest.raises(ValueError):
        runlode.open("runlode://host/path")


def test_what_was_logged_survives_a_kill(path):
    script = (
        "import runlode, sys, os, signal\n"
        "store = runlode.open(sys.argv[1]); run = store.run()\n"
        "for i in range(1000): run.log({'a': float(i)}, step=i)\n"
        "print(run.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=env, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    with runlode.open(path) as store:
        run = store.resume(done.stdout.strip())
        assert len(store.history(run, "a")) == 1000
        run.log({"a": 1.0})
        assert store.history(run, "a")["step"][-1] == 1000


def test_changes_and_the_past(store, run):
    run.log({"loss": 3.0}, step=0)
    before = store.status()["published"]
    time.sleep(0.01)
    then_ms = int(time.time() * 1000)
    time.sleep(0.01)
    run.log({"loss": 5.0}, step=1)
    run.set_tags({"mlflow.runName": "second"})
    changes = store.changes(run)
    assert [change["event"] for change in changes][0] == "RunCreated"
    assert any("first -> second" in line for change in changes for line in change["changes"])
    assert [change["position"] for change in changes] == sorted(change["position"] for change in changes)
    for past in (store.as_of(before), store.as_of(time_ms=then_ms)):
        assert past.position == before
        assert past.run(run)["run_name"] == "first"
        assert past.run(run)["metrics"] == {"loss": 3.0}
        assert past.history(run, "loss")["value"].tolist() == [3.0]
    assert store.as_of(1).run(run) is None
    assert store.changes("experiment:digits")[0]["event"] == "ExperimentCreated"
    with pytest.raises(runlode.NotFound):
        store.changes("models:/nope")
    with pytest.raises(ValueError, match="either"):
        store.as_of()


def test_tail_catches_up_and_ends(store, run):
    for i in range(10):
        run.log({"loss": float(i), "acc": 1.0}, step=i)
    run.log_params({"lr": 0.1})
    store.flush()
    events = list(store.tail(timeout=0))
    assert [event["position"] for event in events] == sorted(event["position"] for event in events)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "ExperimentCreated"
    assert kinds.count("PointsLogged") == 20
    made = next(event for event in events if event["event"] == "RunCreated")
    assert (made["run_id"], made["name"], made["tags"]["mlflow.runName"]) == (run.run_id, "first", "first")
    points = next(event for event in events if event["event"] == "PointsLogged")
    assert (points["key"], points["steps"], points["values"]) == ("loss", [0], [0.0])
    tail = store.tail(timeout=0)
    first = next(tail)
    rest = list(store.tail(tail.position, timeout=0))
    assert [first, *rest] == events
    assert list(store.tail(store.status()["published"] + 1, timeout=0)) == []


def test_tail_goes_on_live(store, run):
    store.flush()
    tail = store.tail(store.status()["durable"] + 1, timeout=10)
    seen = []

    def follow():
        for event in tail:
            seen.append((time.monotonic(), event))
            if event.get("key") == "end":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.2)
    begin = time.monotonic()
    run.log({"live": 1.0}, step=0)
    run.log({"end": 1.0}, step=0)
    thread.join(10)
    assert not thread.is_alive()
    assert [event["key"] for _, event in seen] == ["live", "end"]
    assert seen[-1][0] - begin < 2
    begin = time.monotonic()
    assert list(store.tail(tail.position, timeout=0.3)) == []
    assert 0.25 < time.monotonic() - begin < 2


def test_tail_of_asyncio(store, run):
    async def follow(tail, ticks):
        out = []
        async for event in tail:
            out.append(event)
            if event.get("key") == "end":
                break
        ticks.append("followed")
        return out

    async def main():
        store.flush()
        ticks = []
        tail = store.tail(store.status()["durable"] + 1)
        task = asyncio.create_task(follow(tail, ticks))
        for _ in range(5):
            await asyncio.sleep(0.02)
            ticks.append("tick")
        run.log({"live": 1.0, "end": 2.0})
        events = await asyncio.wait_for(task, 10)
        # A task that is cancelled leaves the tail usable.
        waiting = asyncio.create_task(anext(aiter(tail)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        run.log({"later": 3.0})
        event = await asyncio.wait_for(anext(aiter(tail)), 10)
        return ticks, events, event

    ticks, events, event = asyncio.run(main())
    assert ticks == ["tick"] * 5 + ["followed"]
    assert [event["key"] for event in events] == ["live", "end"]
    assert event["key"] == "later"


def test_a_tail_that_is_closed_or_whose_store_is(path):
    store = runlode.open(path)
    tail = store.tail()
    tail.close()
    assert list(tail) == []
    other = store.tail(1 << 40)
    store.close()
    with pytest.raises(runlode.Closed):
        next(other)


def test_a_wait_can_be_interrupted(path):
    script = (
        "import faulthandler, runlode, signal, sys, threading, _thread, time\n"
        # Where it hangs, it says so.
        "faulthandler.dump_traceback_later(20, exit=True)\n"
        # A shell starts what it puts into the background with Ctrl-C ignored, and Python leaves that so.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "store = runlode.open(sys.argv[1])\n"
        "threading.Timer(0.3, _thread.interrupt_main).start()\n"
        "begin = time.monotonic()\n"
        "try:\n"
        "    for event in store.tail(1 << 40): pass\n"
        "except KeyboardInterrupt:\n"
        "    assert time.monotonic() - begin < 2; print('interrupted')\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=env, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "interrupted", done.stderr


def test_the_gil_is_free_while_others_wait(store, run):
    import numpy as np

    columns = {f"k{i}": np.random.default_rng(i).normal(size=200_000) for i in range(10)}
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.monotonic()
    run.log_batch(columns)
    end = time.monotonic()
    done.set()
    thread.join()
    inside = [tick for tick in ticks if begin <= tick <= end]
    assert len(inside) >= 3 or end - begin < 0.005


def test_what_does_not_pickle_says_how(store, run):
    for thing, hint in [(run, "run_id"), (store.tail(), "from_position"), (store.as_of(1), "as_of"), (store.search(), "to_dicts")]:
        with pytest.raises(TypeError, match=hint):
            pickle.dumps(thing)


LEFT_AT_WORK = """
import atexit, sys, threading, time
import runlode

store = runlode.open(sys.argv[1])
run = store.run("digits")

def tail():
    for event in store.tail():
        pass

def search():
    while True:
        store.search()

def params():
    for number in range(1 << 60):
        run.log_params({f"p{number}": number})

def log():
    while True:
        run.log_points("m", [1.0] * 1000)

def plugin():
    while True:
        tracking.get_experiment("0")

if sys.argv[2] == "plugin":
    from runlode._runlode import Tracking
    tracking = Tracking(store.path, None, None, False)
    # Imports MLflow's entities.
    tracking.get_experiment("0")

def last_words():
    # On the thread that exits, after the module's own handler.
    run.log_params({"last": "words"})

asked = threading.Event()

def nothing():
    asked.wait()
    for _ in range(3):
        store.search()

def wait_for_threads():
    asked.set()
    for thread in threads:
        thread.join()
    run.set_tags({"waited": True})

threads = [threading.Thread(target=globals()[sys.argv[2]], daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
time.sleep(0.2)
"""


@pytest.mark.parametrize("work", ["tail", "search", "params", "log", "plugin"])
def test_daemon_threads_do_not_disturb_the_exit(path, work):
    """They took the GIL when the interpreter was gone, which ended the process with SIGABRT."""
    if work == "plugin":
        pytest.importorskip("mlflow")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", LEFT_AT_WORK, str(path), work], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("handler", "work"), [("last_words", "search"), ("wait_for_threads", "nothing")])
def test_handlers_at_exit_may_use_stores(path, handler, work):
    """Those that were registered before runlode was imported, and so run after what it registers."""
    script = f"import atexit\natexit.register(lambda: {handler}())\n{LEFT_AT_WORK}"
    done = subprocess.run([sys.executable, "-c", script, str(path), work], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr[-2000:]
    with runlode.open(path) as store:
        [row] = store.search()
        assert row["params.last"] == "words" if handler == "last_words" else row["tags.waited"] == "True"


def test_importing_costs_nothing():
    script = (
        "import sys, time; before = set(sys.modules); begin = time.perf_counter(); import runlode\n"
        "took = time.perf_counter() - begin\n"
        "new = set(sys.modules) - before\n"
        "assert new == {'runlode'}, new\n"
        "assert 'open' in dir(runlode)\n"
        "print(took)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.02


def test_errors_have_their_places():
    assert issubclass(runlode.NotFound, runlode.Error)
    assert issubclass(runlode.NotFound, LookupError)
    assert issubclass(runlode.Invalid, ValueError)
    assert runlode.StorageFull.__module__ == "runlode"
    with pytest.raises(AttributeError):
        runlode.nothing
    assert set(runlode.__all__) <= set(dir(runlode))


def _child(path, run_id, queue):
    try:
        with runlode.open(path) as store:
            run = store.resume(run_id)
            queue.put(run.log({"child": 1.0}))
    except BaseException as error:
        queue.put(repr(error))


def test_a_spawned_child_logs_to_the_same_run(store, run, path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(str(path), run.run_id, queue))
    child.start()
    assert queue.get(timeout=30) is True
    child.join(30)
    assert store.history(run, "child")["value"].tolist() == [1.0]
    assert store.status()["holds"] is True


def _forked(store, run, queue):
    try:
        for step in range(100):
            assert run.log({"forked": float(step), "both": 1.0}, step=step)
        run.log_points("forked_points", [1.0, 2.0])
        queue.put((store.status()["holds"], len(store.history(run, "forked"))))
        store.close()
    except BaseException as error:
        queue.put(repr(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on_with_what_it_has(store, run):
    run.log({"both": 0.5}, step=0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_forked, args=(store, run, queue))
    child.start()
    assert queue.get(timeout=30) == (False, 100)
    child.join(30)
    assert child.exitcode == 0
    run.log({"both": 2.0}, step=1000)
    assert len(store.history(run, "both")) == 102
    assert store.history(run, "forked_points")["value"].tolist() == [1.0, 2.0]


def _files(path):
    return {one: one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def test_a_store_that_is_only_read(store, run, path):
    run.log({"loss": 1.0}, step=0)
    run.set_tags({"a": 1})
    store.create_model("m")
    store.register_model("m", run.artifact_uri, run=run)
    run.log_text("x", "a.txt")
    store.flush()
    with runlode.open(path, read_only=True) as reader:
        assert reader.read_only and not store.read_only and "read only" in repr(reader)
        assert reader.get_run("first")["tags"]["a"] == "1"
        assert reader.history("first", "loss").column("value") == [1.0]
        assert reader.search("metrics.loss = 1").column("run_id") == [run.run_id]
        assert reader.downsample(run, "loss").num_rows == 1
        assert reader.changes(run)[0]["event"] == "RunCreated"
        assert reader.get_experiment("digits")["name"] == "digits"
        assert [one["name"] for one in reader.experiments("name = 'digits'")] == ["digits"]
        assert reader.get_model_version("m")["version"] == 1 and len(reader.models()) == len(reader.model_versions()) == 1
        assert reader.artifact_path("first", "a.txt").read_text() == "x"
        assert reader.liveness(run) in ("alive", "unknown", "silent")
        position = reader.status()["published"]
        assert reader.as_of(position).run(run)["run_name"] == "first"
        assert next(reader.tail(timeout=0))["position"] > 0
        assert reader.status()["holds"] is False
        with pickle.loads(pickle.dumps(reader)) as other:
            assert other.read_only and other.get_run(run)["run_id"] == run.run_id
        for change in (
            lambda: reader.run(),
            lambda: reader.resume(run),
            lambda: reader.create_experiment("x"),
            lambda: reader.delete_run(run),
            lambda: reader.set_tags(run, {"a": 2}),
            lambda: reader.create_model("x"),
            lambda: reader.set_alias("m", "a", 1),
        ):
            with pytest.raises(runlode.ReadOnly, match="read_only=True"):
                change()
        reader.flush()
        # What others write is seen.
        run.log({"loss": 2.0}, step=1)
        second = store.run(name="second")
        store.flush()
        end = time.monotonic() + 30
        while len(reader.search("attributes.run_name = 'second'")) == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert reader.history(run, "loss").column("value") == [1.0, 2.0]
        assert reader.get_run(second)["run_name"] == "second"
    with pytest.raises(runlode.Closed):
        reader.search()


def test_reading_writes_nothing(path, tmp_path):
    with runlode.open(path) as store, store.run("digits", name="first") as run:
        run.log_points("loss", [1.0] * 1000)
    before = _files(path)
    with runlode.open(path, read_only=True) as reader:
        assert len(reader.history("first", "loss")) == 1000
        assert len(reader.search()) == 1
    assert _files(path) == before
    for missing in (tmp_path / "nope", tmp_path):
        with pytest.raises(runlode.Error):
            runlode.open(missing, read_only=True)
    assert not (tmp_path / "nope").exists() and not (tmp_path / "FORMAT").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_on(store, run, path):
    run.log({"loss": 1.0})
    store.flush()
    with runlode.open(path, read_only=True) as reader:
        assert len(reader.history(run, "loss")) == 1
        child = os.fork()
        if not child:
            try:
                os._exit(0 if len(reader.history(run, "loss")) == 1 else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
