"""Runlode's own Python API: what a call costs beside a call that does nothing, batches, histories as Arrow.

    cargo build --profile wheel -p runlode-python
    cp target/wheel/lib_runlode.so api/python/runlode/_runlode.abi3.so
    PYTHONPATH=api/python python benches/compare/native.py [--dir DIR] [--only row,batch,history,search,gil]

Every ratio's two sides alternate in short slices of the same run; a number is the median slice. MLflow on SQLite is the
peer of the histories, where it is installed.
"""

import argparse
import gc
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time

import numpy as np
import runlode
from runlode import _runlode

ROW = {"loss": 0.125, "acc": 0.9, "lr": 1e-3, "grad_norm": 2.5, "memory": 77.0}


def slices(calls, count, warm=2):
    """Median ns of each call, in slices that alternate."""
    took = [[] for _ in calls]
    for number in range(count + warm):
        for call, times in zip(calls, took):
            begin = time.perf_counter_ns()
            call()
            if number >= warm:
                times.append(time.perf_counter_ns() - begin)
    return [statistics.median(times) for times in took]


def row(folder):
    """One call with a dict of five floats."""
    store = runlode.open(folder / "row")
    run = store.run()
    calls = 2000
    steps = iter(range(0, 1 << 60, calls))

    def slice_of(function):
        def loop():
            begin = next(steps)
            for step in range(begin, begin + calls):
                function(ROW, step=step)

        return loop

    def nothing():
        for _ in range(calls):
            pass

    functions = [_runlode._bare, _runlode._bare_read, _runlode._bare_typed, run.log]
    loop, bare, read, typed, log = (
        ns / calls for ns in slices([nothing, *map(slice_of, functions)], count=150, warm=20)
    )
    print(f"row of 5 scalars, Buffered            {log:8.1f} ns a call (loop {loop:.1f} ns included in all)")
    print(f"  a call that ignores the dict        {bare:8.1f} ns   x {log / bare:.2f}")
    print(f"  a call that reads the dict          {read:8.1f} ns   x {log / read:.2f}")
    print(f"  a call that takes it as a HashMap   {typed:8.1f} ns   x {log / typed:.2f}")
    single = [lambda: [run.log({"loss": 0.5}) for _ in range(calls)]]
    print(f"row of 1 scalar, own step             {slices(single, 50)[0] / calls:8.1f} ns")
    mixed = {key: np.float32(value) for key, value in ROW.items()}
    print(f"row of 5 NumPy float32                {slices([lambda: [run.log(mixed) for _ in range(calls)]], 50)[0] / calls:8.1f} ns")
    store.close()


def batch(folder):
    """A million points in one call."""
    store = runlode.open(folder / "batch")
    n = 1_000_000
    rng = np.random.default_rng(1)
    for keys in (1, 10):
        run = store.run()
        columns = {f"k{i}": rng.normal(size=n // keys).astype(np.float32).astype(np.float64) for i in range(keys)}
        doubles = {f"d{i}": rng.normal(size=n // keys) for i in range(keys)}
        steps = np.arange(n // keys)
        for name, data in (("f32 noise", columns), ("f64 noise", doubles)):
            times = []
            for _ in range(9):
                begin = time.perf_counter()
                assert run.log_batch(data, steps=steps)
                times.append(time.perf_counter() - begin)
                steps = steps + n
                store.flush()
            middle = statistics.median(times)
            print(f"1 M points, {keys:2} keys, {name}       {n / middle / 1e6:8.1f} M points/s   (worst {n / max(times) / 1e6:.1f})")
    store.close()


def history(folder):
    """100,000 points of one metric as Arrow, beside MLflow on SQLite."""
    n = 100_000
    store = runlode.open(folder / "history")
    run = store.run()
    values = np.random.default_rng(1).normal(size=n)
    stamps = 1_700_000_000_000 + np.arange(n) * 100
    run.log_points("loss", values, steps=np.arange(n), timestamps_ms=stamps)

    def read():
        return store.history(run, "loss")

    def arrow():
        import pyarrow

        return pyarrow.table(store.history(run, "loss"))

    for when in ("just logged", "after reopen"):
        gc.collect()
        table, as_arrow = slices([read, arrow], 200)
        print(f"history of 100,000, {when:12}      {table / 1e6:8.3f} ms as Table, {as_arrow / 1e6:.3f} ms as pyarrow.Table")
        store.close()
        if when == "just logged":
            store = runlode.open(folder / "history")
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric
    except ImportError:
        return
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    peer = client.create_run("0").info.run_id
    for at in range(0, n, 1000):
        points = [Metric("loss", float(values[i]), int(stamps[i]), i) for i in range(at, at + 1000)]
        client.log_batch(peer, metrics=points)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        assert len(client.get_metric_history(peer, "loss")) == n
        times.append(time.perf_counter() - begin)
    middle = statistics.median(times)
    print(f"MLflow get_metric_history, SQLite     {middle * 1e3:8.1f} ms   x {middle * 1e9 / as_arrow:.0f} (pyarrow.Table)")


def search(folder):
    """10,000 runs: the best 100, and all of them."""
    store = runlode.open(folder / "search")
    made = time.perf_counter()
    runs = 10_000
    rng = np.random.default_rng(2)
    for number in range(runs):
        run = store.run(experiment="many", name=f"r{number}", params={"lr": rng.random(), "layers": number % 7})
        run.log({"loss": rng.random(), "acc": rng.random()}, step=number)
    print(f"10,000 runs made                      {(time.perf_counter() - made) / runs * 1e6:8.1f} us a run")
    top = lambda: store.search("metrics.loss < 0.5 and params.layers = '3'", order_by="metrics.acc DESC", limit=100)  # noqa: E731
    few = lambda: store.search("metrics.loss < 0.5", columns=["run_id", "metrics.loss"])  # noqa: E731
    everything = lambda: store.search()  # noqa: E731
    for name, call, count in (("top 100, all columns", top, 50), ("5,000, two columns", few, 20), ("10,000, all columns", everything, 10)):
        print(f"search: {name:22}        {slices([call], count)[0] / 1e6:8.2f} ms")
    store.close()


def gil(folder):
    """How long other threads stand still while a batch is logged."""
    store = runlode.open(folder / "gil")
    run = store.run()
    columns = {f"k{i}": np.random.default_rng(i).normal(size=200_000) for i in range(10)}
    gaps, stop = [], threading.Event()

    def tick():
        last = time.perf_counter()
        while not stop.is_set():
            time.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    for _ in range(5):
        run.log_batch(columns)
    stop.set()
    thread.join()
    print(f"longest stop of another thread        {max(gaps) * 1e3:8.2f} ms while 2 M points are logged")
    store.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=None, help="where scratch stores lie")
    parser.add_argument("--only", default="row,batch,history,search,gil")
    arguments = parser.parse_args()
    from pathlib import Path

    folder = Path(tempfile.mkdtemp(prefix="runlode-native-", dir=arguments.dir))
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores")
    try:
        for name in arguments.only.split(","):
            globals()[name](folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
