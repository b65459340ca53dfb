"""Runs that go on after their writer died: leases, rewinds, branches."""

import multiprocessing
import os
import signal

import numpy as np
import runlode


def test_a_rewound_run_is_one_clean_curve_and_the_dead_branch_stays(tmp_path):
    with runlode.open(tmp_path / "store") as store:
        run = store.run("digits")
        for step in range(20):
            run.log({"loss": 20.0 - step})
        assert run.rewind(11) == 8
        assert store.history(run, "loss").to_numpy()["step"].tolist() == list(range(12))
        for _ in range(3):
            run.log({"loss": -1.0})
        found = store.history(run, "loss").to_numpy()
        assert found["step"].tolist() == list(range(15))
        assert found["value"].tolist() == [20.0 - step for step in range(12)] + [-1.0] * 3
        assert run.metrics == {"loss": -1.0}
        first, live = run.branches()
        assert (first["branch"], first["from_branch"], live["from_branch"], live["from_step"]) == (0, None, 0, 11)
        assert first["ended_ms"] is not None and live["ended_ms"] is None
        assert live["metrics"]["loss"] == {"points": 15, "last_step": 14, "last_value": -1.0}
        dead = run.branch_history(0, "loss")
        np.testing.assert_array_equal(dead["value"], 20.0 - np.arange(20))
        assert run.rewind(100) == 0


def _train(path, told):
    store = runlode.open(path)
    run = store.run("digits")
    run.log({"loss": 1.0}, step=0)
    told.send(run.run_id)
    signal.pause()


def test_a_run_whose_writer_died_is_lost_until_it_is_resumed(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    with runlode.open(tmp_path / "store") as store:
        trainer = context.Process(target=_train, args=(tmp_path / "store", theirs))
        trainer.start()
        run_id = ours.recv()
        table = store.search(columns=["run_id", "status"]).to_numpy()
        assert list(table["run_id"]) == [run_id]
        os.kill(trainer.pid, signal.SIGKILL)
        trainer.join()
        assert store.get_run(run_id)["status"] == "RUNNING"
        assert [event["event"] for event in store.changes(run_id)].count("RunLeased") == 1
        resumed = store.resume(run_id)
        assert resumed.liveness == "alive"
        assert [event["event"] for event in store.changes(run_id)].count("RunLeased") == 2
        resumed.log({"loss": 0.5})
        assert store.history(run_id, "loss").to_numpy()["step"].tolist() == [0, 1]
        resumed.end()
        assert resumed.liveness == "finished"


def test_a_lost_run_says_so(tmp_path):
    with runlode.open(tmp_path / "store") as store:
        run = store.run("digits")
        if not (child := os.fork()):
            # A store of its own to this child, which ends without a word.
            mine = runlode.open(tmp_path / "store")
            lost = mine.run("digits", name="lost")
            lost.log({"loss": 1.0})
            os._exit(0)
        os.waitpid(child, 0)
        table = store.search("attributes.run_name = 'lost'", columns=["run_id"]).to_numpy()
        [lost_id] = table["run_id"]
        assert store.liveness(lost_id) == "lost"
        assert (run.liveness, store.liveness(run)) == ("alive", "alive")
