"""Kills the holder of a store again and again while others write, and proves that nothing acknowledged was lost.

    python takeover.py STORE [--rounds 5] [--writers 8] [--seed N]

A process that has mlflow imported forks every writer, so that each round costs no import. Writers log points through
MlflowClient and the native API in turn, and now and then set a tag, which needs the holder. Each has two forked children that
sleep, as data loaders do, and so outlive a writer that is killed; they end when this process does. After each acknowledgement a writer notes it in
memory that outlives it. Exit status 0 when every acknowledged point and tag is there and no call failed.
"""

import argparse
import mmap
import os
import random
import re
import signal
import struct
import sys
import time
import traceback
from pathlib import Path

SLOT = struct.Struct("<QQQdddQ")  # steps acknowledged, tags acknowledged, errors, slowest point, slowest tag, heartbeat, pid


class Board:
    """What writers note: a slot each, in shared memory."""

    def __init__(self, slots):
        self.memory = mmap.mmap(-1, SLOT.size * slots)

    def read(self, slot):
        return list(SLOT.unpack_from(self.memory, slot * SLOT.size))

    def write(self, slot, values):
        SLOT.pack_into(self.memory, slot * SLOT.size, *values)


def holder_of(store):
    """Process that holds the store, as its LOCK says."""
    found = re.search(rb"pid (\d+)", (store / "LOCK").read_bytes()[:1024])
    return int(found.group(1)) if found else 0


def sleeper(life):
    """A child as data loaders have them: it never touches the store. It ends when nobody has the other end of `life`."""
    if child := os.fork():
        return child
    # It outlives its parent, but nobody is to wait for its output.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.read(life, 1)
    os._exit(0)


def write(uri, slot, run, board, native, life):
    """Logs until it is told to end by SIGTERM, or killed."""
    ended = False

    def end(*_):
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    noted = board.read(slot)
    noted[3] = noted[4] = 0.0
    noted[6] = os.getpid()
    if native:
        import runlode

        opened = runlode.open(uri)
        handle = opened.resume(run)

        def point(step):
            if not handle.log({"m": float(step)}, step=step):
                raise RuntimeError("a point was dropped")

        def tag(count):
            handle.set_tags({"t": str(count)})
    else:
        from mlflow import MlflowClient

        client = MlflowClient(uri)

        def point(step):
            client.log_metric(run, "m", float(step), step=step)

        def tag(count):
            client.set_tag(run, "t", str(count))

    children = [sleeper(life) for _ in range(2)]
    try:
        while not ended:
            begin = time.perf_counter()
            point(noted[0])
            took = time.perf_counter() - begin
            noted[0] += 1
            noted[3] = max(noted[3], took)
            if noted[0] % 500 == 0:
                begin = time.perf_counter()
                tag(noted[1] + 1)
                noted[4] = max(noted[4], time.perf_counter() - begin)
                noted[1] += 1
            noted[5] = time.time()
            board.write(slot, noted)
            if noted[0] % 50 == 0:
                time.sleep(0.002)
    except BaseException:
        traceback.print_exc()
        noted[2] += 1
        board.write(slot, noted)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if native:
        opened.close()
    sys.stdout.flush()
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    uri = f"runlode://{options.store.resolve()}"
    import mlflow  # noqa: F401 - imported once, for all writers to come
    import runlode  # noqa: F401

    # Runs are made by a process of its own: this one never opens the store, so that it never holds it.
    reader, writer = os.pipe()
    if not (child := os.fork()):
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        runs = [client.create_run("0").info.run_id for _ in range(options.writers)]
        os.write(writer, " ".join(runs).encode())
        os._exit(0)
    os.waitpid(child, 0)
    runs = os.read(reader, 65536).decode().split()
    assert len(runs) == options.writers, "the runs could not be made"
    board = Board(options.writers)
    pids = {}
    # Only this process keeps the end that writes.
    life, alive = os.pipe()

    def start(slot):
        if pid := os.fork():
            pids[slot] = pid
            return
        os.close(alive)
        write(uri, slot, runs[slot], board, slot % 2 == 1, life)

    for slot in range(options.writers):
        start(slot)
    slowest_point = slowest_tag = 0.0
    killed = [0] * options.writers
    failures = []
    for round_number in range(options.rounds):
        time.sleep(chance.uniform(0.3, 0.8))
        deadline = time.time() + 10
        while holder_of(options.store) not in pids.values() and time.time() < deadline:
            time.sleep(0.01)
        victim = holder_of(options.store)
        slots = [slot for slot, pid in pids.items() if pid == victim]
        if not slots:
            failures.append(f"round {round_number}: nobody of ours holds the store, but {victim}")
            break
        slot = slots[0]
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        del pids[slot]
        killed[slot] += 1
        time.sleep(0.25)
        start(slot)
    time.sleep(1.5)
    for slot, pid in pids.items():
        os.kill(pid, signal.SIGTERM)
    for slot, pid in pids.items():
        os.waitpid(pid, 0)
    for slot in range(options.writers):
        noted = board.read(slot)
        slowest_point, slowest_tag = max(slowest_point, noted[3]), max(slowest_tag, noted[4])
        if noted[2]:
            failures.append(f"writer {slot}: {noted[2]} calls failed")
    if slowest_point > 0.25:
        failures.append(f"a point waited {slowest_point:.2f} s")
    if slowest_tag > 1.0:
        failures.append(f"a decision waited {slowest_tag:.2f} s")
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    points = 0
    for slot, run in enumerate(runs):
        steps, tags, *_ = board.read(slot)
        there = [(point.step, point.value) for point in client.get_metric_history(run, "m")]
        points += len(there)
        # A writer that is killed between an acknowledgement and its note logs that step again, at another time.
        distinct = [point for index, point in enumerate(there) if index == 0 or point != there[index - 1]]
        again = len(there) - len(distinct)
        expected = [(step, float(step)) for step in range(len(distinct))]
        if distinct != expected or not steps <= len(distinct) <= steps + 1 or again > killed[slot]:
            failures.append(f"run {slot}: {len(distinct)} points and {again} again, of {steps} acknowledged, or others")
        tag = int(client.get_run(run).data.tags.get("t", 0))
        if not tags <= tag <= tags + 1:
            failures.append(f"run {slot}: tag {tag}, acknowledged {tags}")
    print(
        f"{options.rounds} rounds, {points} points, slowest point {slowest_point * 1000:.1f} ms, "
        f"slowest decision {slowest_tag * 1000:.0f} ms",
        flush=True,
    )
    for failure in failures:
        print("FAILED", failure, flush=True)
    os._exit(1 if failures else 0)


if __name__ == "__main__":
    main()
