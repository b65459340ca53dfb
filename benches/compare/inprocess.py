"""MLflow's stores in process, side by side: the same script, only the URI differs.

    python inprocess.py [--runs 10000] [--json FILE] [--folder FOLDER] [--only NAME,...] [--analyze]

SQLite's planner has no statistics then, as in every store that MLflow wrote: it never makes any. ``--analyze`` gives it
some, which no user has: searches become many times faster there.

Needs MLflow 3.17.2 and runlode in the same Python, and the command ``runlode`` for the import: ``RUNLODE_COMMAND``, else
``target/release/runlode``. Both sides hold the same runs: an SQLite store made by ``prefill.py``, and its import.
Each side runs in a process of its own, does everything once before it is timed, and counts its best round.
Exit status 1 when a bar is short.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What is measured, and how many times faster than SQLite it must be.
BARS = {
    "mlflow.log_metric": 25,
    "MlflowClient.log_metric": 200,
    "MlflowClient.log_batch of 1,000": 25,
    "store.log_batch of 1,000": 100,
    "history of 100,000 points, entities": 25,
    "history of 100,000 points, Arrow": 1000,
    "search, top 100 of filter and order": 200,
    "search, page of 1,000": 20,
    "search, all runs": 20,
    "mlflow.search_runs, data frame": 4,
}
START_MS_MAX = 50
START_ROUNDS = 7
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
}


def best(call, count=1, seconds=1.0, rounds=5):
    """Seconds of one of the ``count`` things that a call does, in the best round. The first call is not counted."""
    call()
    times, begin = [], time.perf_counter()
    while len(times) < 2 or (len(times) < rounds and time.perf_counter() - begin < seconds * 3):
        start = time.perf_counter()
        kept = call()
        times.append(time.perf_counter() - start)
        del kept
    return min(times) / count


def side(uri, only):
    """Everything on one URI."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    store = client._tracking_client.store
    experiment = client.get_experiment_by_name("compare").experiment_id
    mlflow.set_experiment(experiment_id=experiment)
    fast = uri.startswith("runlode:")
    step = iter(range(10**9))
    out = {}

    def measure(name, call, **more):
        if not only or any(part in name for part in only):
            out[name] = best(call, **more)

    count = 2000 if fast else 50
    with mlflow.start_run():
        measure(
            "mlflow.log_metric",
            lambda: [mlflow.log_metric("m", 0.5, step=next(step)) for _ in range(count)] and None,
            count=count,
        )
    run = client.create_run(experiment).info.run_id
    measure(
        "MlflowClient.log_metric",
        lambda: [client.log_metric(run, "m", 0.5, step=next(step)) for _ in range(count)] and None,
        count=count,
    )

    def batch():
        return [Metric(f"m{i % 10}", i * 0.5, 1_790_000_000_000, next(step)) for i in range(1000)]

    def batches(log):
        # The making of the metrics is the caller's, and is not counted.
        log(batch())
        times, begin = [], time.perf_counter()
        while len(times) < 3 or (len(times) < 30 and time.perf_counter() - begin < 3):
            metrics = batch()
            start = time.perf_counter()
            log(metrics)
            times.append(time.perf_counter() - start)
        return min(times)

    for name, log in [
        ("MlflowClient.log_batch of 1,000", lambda metrics: client.log_batch(run, metrics)),
        ("store.log_batch of 1,000", lambda metrics: store.log_batch(run, metrics, [], [])),
    ]:
        if not only or any(part in name for part in only):
            out[name] = batches(log)
    client.set_terminated(run)

    long = "0" * 32
    measure("history of 100,000 points, entities", lambda: client.get_metric_history(long, "loss"))
    where, order = "metrics.m0 > 0.5 and params.p1 != '3'", ["metrics.m1 DESC"]
    measure(
        "search, top 100 of filter and order",
        lambda: client.search_runs([experiment], where, order_by=order, max_results=100),
        rounds=50,
    )
    measure("search, page of 1,000", lambda: client.search_runs([experiment], max_results=1000))
    measure("search, all runs", lambda: client.search_runs([experiment], max_results=50000), rounds=3)
    measure(
        "mlflow.search_runs, data frame",
        lambda: mlflow.search_runs([experiment], max_results=100000),
        rounds=3,
    )
    if fast:
        arrow = arrow_history(uri, long)
        if arrow is not None:
            measure("history of 100,000 points, Arrow", arrow, rounds=50)
    return out


def arrow_history(uri, run):
    """A call that reads the history as Arrow, by the native API; None where that is not there."""
    import runlode

    if not hasattr(runlode, "open"):
        return None
    store = runlode.open(uri)
    read = getattr(store, "history_arrow", None) or getattr(store, "history", None)
    return read and (lambda: read(run, "loss"))


# The first metric of a process. `null:` is a store that does nothing: what MLflow itself takes.
START = """
import sys, time
begin = time.perf_counter()
import mlflow
if sys.argv[1].startswith("null:"):
    from mlflow.entities import Run, RunData, RunInfo
    from mlflow.store.tracking.abstract_store import AbstractStore
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry
    class Null(AbstractStore):
        def create_run(self, experiment_id, user_id, start_time, tags, run_name):
            return Run(RunInfo("0" * 32, "0", "", "RUNNING", 0, None, "active", "", ""), RunData())
        def log_metric(self, run_id, metric):
            pass
    _tracking_store_registry.register("null", lambda store_uri, artifact_uri: Null())
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
run = client.create_run("0").info.run_id
client.log_metric(run, "m", 1.0)
print((time.perf_counter() - begin) * 1e3)
"""


def start_ms(uri):
    out = subprocess.run(
        [sys.executable, "-c", START, uri], stdout=subprocess.PIPE, check=True, env={**os.environ, **QUIET}
    )
    return float(out.stdout.split()[-1])


def run_side(uri, only, folder):
    file = folder / "side.json"
    command = [sys.executable, __file__, "--side", uri, "--json", str(file), "--only", ",".join(only)]
    subprocess.run(command, check=True, env={**os.environ, **QUIET}, stdout=subprocess.DEVNULL, cwd=folder)
    return json.loads(file.read_text())


def shown(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where the stores are, or are made; kept")
    parser.add_argument("--only", default="")
    parser.add_argument("--analyze", action="store_true", help="give SQLite statistics")
    parser.add_argument("--prepare", action="store_true", help="make the stores, measure nothing")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    only = [part for part in given.only.split(",") if part]
    if given.side:
        given.json.write_text(json.dumps(side(given.side, only)))
        return 0
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="inprocess-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    database, store = folder / "mlflow.db", folder / "store"
    if not database.exists():
        subprocess.run([sys.executable, HERE / "prefill.py", database, str(given.runs)], check=True)
    with sqlite3.connect(database) as db:
        db.execute("ANALYZE" if given.analyze else "DELETE FROM sqlite_stat1")
    if not store.exists():
        command = os.environ.get("RUNLODE_COMMAND", str(ROOT / "target/release/runlode"))
        subprocess.run([command, "import", str(database), str(store)], check=True)
    if given.prepare:
        return 0
    # Alternately, so that neither has the quieter machine.
    uris = {"sqlite": f"sqlite:///{database}", "runlode": f"runlode://{store}"}
    sides = {name: run_side(uri, only, folder) for name, uri in uris.items()}
    rows, short = [], False
    for name, bar in BARS.items():
        base = sides["sqlite"].get(name.replace("Arrow", "entities"))
        ours = sides["runlode"].get(name)
        if base is None or ours is None:
            continue
        ratio = base / ours
        short |= ratio < bar
        rows.append({"what": name, "sqlite_s": base, "runlode_s": ours, "times": ratio, "bar": bar})
        print(f"{name:38} {shown(base):>9} {shown(ours):>9} {ratio:8.1f}x  bar {bar}x{'  SHORT' if ratio < bar else ''}")
    if not only or "start" in only:
        times = {"null": [], "runlode": []}
        for i in range(START_ROUNDS):
            times["null"].append(start_ms("null:"))
            times["runlode"].append(start_ms(f"runlode://{folder}/first-{i}"))
        added = statistics.median(times["runlode"]) - statistics.median(times["null"])
        short |= added > START_MS_MAX
        rows.append({"what": "start", "null_ms": times["null"], "runlode_ms": times["runlode"], "added_ms": added})
        print(
            f"{'import mlflow and the first metric':38} {statistics.median(times['null']):6.0f} ms of MLflow's own, "
            f"{added:+.1f} ms  bar {START_MS_MAX} ms{'  SHORT' if added > START_MS_MAX else ''}"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
