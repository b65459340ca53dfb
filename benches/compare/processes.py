"""Eight processes that log single points into one store for ten seconds, and a thousand that log nothing much.

    python processes.py --out DIR [--seconds 10] [--processes 8] [--json FILE]

Ways, each with a fresh store: MLflow's SQLite store by the fluent API and by MlflowClient, Runlode's by both and by its
own API. Prints accepted points a second in total, errors, how long after the end all of them are visible, and the most
that the inbox took on the disk; and the bars that hold (see RESULTS.md). Exit status 1 when one is short.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

KEY = "loss"


def disk_bytes(folder):
    """What the files below a folder take on the disk; files may go while they are looked at."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def fluent(uri, start, seconds):
    import mlflow

    mlflow.set_tracking_uri(uri)
    run = mlflow.start_run()
    mlflow.log_metric(KEY, -1.0, step=-1)
    log = mlflow.log_metric
    yield run.info.run_id
    start.wait()
    end, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        log(KEY, 1.0, step=step)
        step += 1
    yield step
    mlflow.end_run()
    yield None


def client(uri, start, seconds):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run = client.create_run("0").info.run_id
    client.log_metric(run, KEY, -1.0, step=-1)
    yield run
    start.wait()
    end, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        client.log_metric(run, KEY, 1.0, step=step)
        step += 1
    yield step
    client.set_terminated(run)
    yield None


def native(uri, start, seconds):
    import runlode

    with runlode.open(uri) as store:
        run = store.run("Default")
        run.log({KEY: -1.0}, step=-1)
        yield run.id
        start.wait()
        end, step, log = time.perf_counter() + seconds, 0, run.log
        while time.perf_counter() < end:
            # The clock is looked at once in a hundred: it costs as much as a point.
            for step in range(step + 1, step + 101):
                if not log({KEY: 1.0}, step=step):
                    raise RuntimeError(f"point {step} was dropped")
        yield step
        run.end()
        yield None


WAYS = {"fluent": fluent, "client": client, "native": native}


def worker(way, uri, barrier, seconds, answers):
    try:
        steps = WAYS[way](uri, barrier, seconds)
        run = next(steps)
        count = next(steps)
        answers.put((run, count, time.time(), None))
        # The last process to leave is not to be the one that is measured.
        barrier.wait()
        next(steps)
    except BaseException as error:  # noqa: BLE001 - an error of any kind is what is counted
        answers.put((None, 0, time.time(), f"{type(error).__name__}: {error}"))
        barrier.abort()


def visible(uri, runs):
    """How many points of these runs are there, counted by another process's eyes."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return sum(len(client.get_metric_history(run, KEY)) - 1 for run in runs)


def visible_native(uri, runs):
    import runlode

    with runlode.open(uri) as store:
        return store.history(runs, KEY).num_rows - len(runs)


def measure(way, uri, folder, processes, seconds):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes + 1), context.Queue()
    workers = [context.Process(target=worker, args=(way, uri, barrier, seconds, answers)) for _ in range(processes)]
    for process in workers:
        process.start()
    peak, done = 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, disk_bytes(folder / "inbox"))

    watcher = threading.Thread(target=watch)
    try:
        barrier.wait(300)
    except threading.BrokenBarrierError:
        pass
    watcher.start()
    got = [answers.get(timeout=seconds + 300) for _ in workers]
    errors = [error for *_, error in got if error]
    runs, total, ended = [run for run, *_ in got if run], sum(count for _, count, *_ in got), max(at for *_, at, _ in got)
    late = None
    if not errors:
        see = visible_native if way == "native" else visible
        while (seen := see(uri, runs)) < total and time.time() < ended + 60:
            time.sleep(0.05)
        late = time.time() - ended
        if seen != total:
            errors.append(f"{seen} of {total} points are visible")
        barrier.wait(300)
    done.set()
    watcher.join()
    for process in workers:
        process.join(60)
        if process.exitcode is None:
            process.kill()
    return {
        "points_per_s": total / seconds,
        "points": total,
        "errors": errors,
        "visible_after_s": late,
        "inbox_peak_bytes": peak,
    }


def idle_writer(uri, ready, leave):
    import runlode

    store = runlode.open(uri)
    run = store.run("Default")
    run.log({KEY: 1.0}, step=0)
    ready.release()
    leave.wait()
    os._exit(0)


def idle(folder, count):
    """Disk that many writers take that log one point each and stay."""
    import runlode

    context = multiprocessing.get_context("fork")
    uri = f"runlode://{folder}"
    holder = context.Process(target=idle_writer, args=(uri, ready := context.Semaphore(0), leave := context.Event()))
    holder.start()
    ready.acquire()
    before = disk_bytes(folder)
    del runlode
    writers = [context.Process(target=idle_writer, args=(uri, ready, leave)) for _ in range(count)]
    for writer in writers:
        writer.start()
    for _ in writers:
        ready.acquire()
    taken = disk_bytes(folder) - before
    leave.set()
    for process in [holder, *writers]:
        process.join(120)
    return {"writers": count, "disk_bytes_per_writer": taken / count}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--writers", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="ways, e.g. runlode-native,idle")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="processes-"))
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    wanted = options.only.split(",") if options.only else None

    def is_wanted(name):
        return wanted is None or name in wanted

    for store in ("sqlite", "runlode"):
        for way in ("fluent", "client", "native"):
            name = f"{store}-{way}"
            if (store == "sqlite" and way == "native") or not is_wanted(name):
                continue
            folder = out / name
            uri = f"sqlite:///{folder}.db" if store == "sqlite" else f"runlode://{folder}"
            if store == "sqlite":
                # The tables are made before anybody is measured.
                from mlflow import MlflowClient

                MlflowClient(uri).search_experiments()
            results[name] = measure(way, uri, folder, options.processes, options.seconds)
            print(name, json.dumps(results[name]), flush=True)
    if is_wanted("idle"):
        results["idle"] = idle(out / "idle", options.writers)
        print("idle", json.dumps(results["idle"]), flush=True)
    bars = []
    for way, times in (("fluent", 50), ("client", 300)):
        ours, theirs = results.get(f"runlode-{way}"), results.get(f"sqlite-{way}")
        if ours and theirs and theirs["points_per_s"]:
            bars.append((f"{way}, times SQLite's total", ours["points_per_s"] / theirs["points_per_s"], times, True))
    if ours := results.get("runlode-native"):
        bars.append(("native, points/s in total", ours["points_per_s"], 1_000_000, True))
        bars.append(("native, inbox on the disk, MiB", ours["inbox_peak_bytes"] / 2**20, 1024, False))
    for name, result in results.items():
        if name.startswith("runlode"):
            bars.append((f"{name}: errors", len(result["errors"]), 0, False))
            if result["visible_after_s"] is not None:
                bars.append((f"{name}: all visible after s", result["visible_after_s"], 2, False))
    if idle_result := results.get("idle"):
        bars.append(("disk of an idle writer, KiB", idle_result["disk_bytes_per_writer"] / 1024, 64, False))
    short = 0
    for what, value, bar, at_least in bars:
        reached = value >= bar if at_least else value <= bar
        short += not reached
        print(f"{'ok   ' if reached else 'SHORT'} {what}: {value:,.2f} (bar: {'at least' if at_least else 'at most'} {bar:,})")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
