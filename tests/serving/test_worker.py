"""The model's process: its death, its exits, bad requests."""
import json
import os
import random
import signal
import threading
import time

import pytest
import requests

from conftest import Served


def pid(server):
    return server.ask("pid").json()["predictions"]


@pytest.mark.parametrize("what", ["kill", "_exit"])
def test_a_model_that_dies_costs_its_request(what, saved):
    with Served(saved("failing")) as server:
        before = pid(server)
        answer = server.ask(what)
        assert answer.status_code == 503 and answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE", answer.text
        assert ("signal 9" if what == "kill" else "exit status 4") in answer.json()["message"]
        # It waits for the next process.
        assert server.ask("x").json() == {"predictions": ["done"]}
        assert pid(server) != before and server.metric("worker_restarts_total") == 1


@pytest.mark.parametrize("what", ["exit", "interrupt"])
def test_a_model_that_exits_costs_its_request_and_no_process(what, serve):
    server = serve("failing")
    before = pid(server)
    answer = server.ask(what)
    assert answer.status_code == 503, answer.text
    assert ("SystemExit(3)" if what == "exit" else "KeyboardInterrupt") in answer.json()["message"]
    assert pid(server) == before


def test_kill_9_in_mid_request(saved):
    with Served(saved("failing")) as server:
        process, answers = pid(server), []
        thread = threading.Thread(target=lambda: answers.append(server.ask("sleep 30")))
        thread.start()
        while server.metric("predicting") != 1:
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        thread.join()
        assert answers[0].status_code == 503 and "not repeated" in answers[0].json()["message"]
        assert server.ask("x").json() == {"predictions": ["done"]}


def test_several_processes_share_the_requests(saved):
    with Served(saved("failing"), "-w", "2") as server:
        pids = {pid(server) for _ in range(4)}
        assert len(pids) == 2
        # One goes; the other one answers meanwhile.
        os.kill(min(pids), signal.SIGKILL)
        while server.metric("worker_restarts_total") != 1:
            time.sleep(0.005)
        assert pid(server) == max(pids)


def test_requests_run_side_by_side_in_one_process(saved):
    with Served(saved("failing")) as server:
        begin = time.monotonic()
        threads = [
            threading.Thread(
                target=requests.post,
                args=(server.url + "/invocations",),
                kwargs={"json": {"dataframe_records": [{"what": "sleep 1"}]}},
            )
            for _ in range(4)
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert time.monotonic() - begin < 3.5


def test_no_process_stays_behind(saved):
    server = Served(saved("failing"))
    process = pid(server)
    server.process.kill()
    server.process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the model's process outlives the server")


def test_a_model_that_cannot_be_loaded_is_an_error_of_the_start(saved, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(saved("failing"), folder)
    (folder / "python_model.pkl").write_bytes(b"no pickle")
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        Served(folder)


def resident_kib(process):
    with open("/proc/%d/status" % process) as file:
        return int(next(line for line in file if line.startswith("VmRSS:")).split()[1])


def test_bad_requests_leave_nothing_behind(serve):
    """`RUNLODE_SERVING_BAD`: how many requests (knob)."""
    server, draw = serve("scalars"), random.Random(7)
    good = {"i": 1, "l": 2, "f": 0.5, "d": 1.5, "b": True, "s": "x"}
    text = json.dumps({"dataframe_records": [good]}).encode()
    kinds = ["application/json", "text/csv", "application/vnd.apache.parquet"]

    def bad():
        which = draw.randrange(8)
        if which == 0:
            place = draw.randrange(len(text))
            return kinds[0], text[:place] + bytes([draw.randrange(256)]) + text[place + draw.randrange(2):]
        if which == 1:
            return kinds[0], text[: draw.randrange(len(text))]
        if which == 2:
            return draw.choice(kinds), draw.randbytes(draw.randrange(2000))
        if which == 3:
            return kinds[0], b"[" * 100_000
        if which == 4:
            return kinds[0], b'{"inputs": ' + b"9" * 5000 + b"}"
        if which == 5:
            return draw.choice(["", "text/plain", "application/json; x=y"]), text
        if which == 6:
            column, value = draw.choice(list(good)), draw.choice([None, [], {}, "x", 1e999, -1, [[1]], "\ud800"])
            return kinds[0], json.dumps({draw.choice(["inputs", "instances", "dataframe_records"]): [{**good, column: value}]}).encode()
        return kinds[0], json.dumps({"dataframe_split": draw.choice([{}, [], 1, {"data": 5}, {"data": [[1]], "columns": ["i"] * 3}])}).encode()

    before = None
    count = int(os.environ.get("RUNLODE_SERVING_BAD", "1000"))
    for number in range(count):
        kind, body = bad()
        answer = server.post(body, kind)
        assert answer.status_code in (200, 400, 413, 415), (kind, body[:200], answer.status_code, answer.text[:300])
        if number == count // 2:
            before = resident_kib(server.process.pid)
    assert server.post(text).status_code == 200
    assert resident_kib(server.process.pid) < before + (16 << 10)
    assert server.metric("waiting") == 0 and server.metric("predicting") == 0
    assert server.metric("worker_restarts_total") == 0


def handles(process):
    return len(os.listdir("/proc/%d/fd" % process))


def test_a_load_leaves_nothing_behind(saved):
    """`RUNLODE_SERVING_LOAD_S`: seconds of the load (knob)."""
    seconds = float(os.environ.get("RUNLODE_SERVING_LOAD_S", "4"))
    row = {"x%d" % place: place / 7 for place in range(20)}
    good = json.dumps({"dataframe_records": [row] * 3})
    long = json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())] * 300}})
    asked = [(good, 200), (long, 200), ("{", 400), (json.dumps({"dataframe_records": [{"x0": 1.0}]}), 400)]
    with Served(saved("sklearn"), "--batch") as server:
        worker = children(server.process.pid)[0]
        end, wrong, counts = time.monotonic() + seconds, [], []

        def ask(share):
            session, count = requests.Session(), 0
            while time.monotonic() < end:
                body, status = asked[(count + share) % len(asked)]
                answer = session.post(
                    server.url + "/invocations", data=body, headers={"Content-Type": "application/json"}
                )
                if answer.status_code != status:
                    wrong.append((answer.status_code, answer.text[:300]))
                count += 1
            session.close()
            counts.append(count)

        threads = [threading.Thread(target=ask, args=(share,)) for share in range(16)]
        [thread.start() for thread in threads]
        time.sleep(seconds / 2)
        before = {process: resident_kib(process) for process in (server.process.pid, worker)}
        [thread.join() for thread in threads]
        assert not wrong, wrong[:3]
        assert sum(counts) > 100, "no load"
        for process, kib in before.items():
            assert resident_kib(process) < kib + (24 << 10), (kib, resident_kib(process))
        # The connections of the clients are closed, those to the model kept.
        until = time.monotonic() + 10
        while handles(server.process.pid) > 100 and time.monotonic() < until:
            time.sleep(0.05)
        assert handles(server.process.pid) <= 100
        assert server.metric("waiting") == 0 and server.metric("predicting") == 0
        assert server.metric("worker_restarts_total") == 0


def children(process):
    """The processes below one."""
    found = []
    for task in os.listdir("/proc/%d/task" % process):
        with open("/proc/%d/task/%s/children" % (process, task)) as file:
            found += map(int, file.read().split())
    return found
