"""Runs and histories as Arrow tables."""

import gc
import time

import numpy as np
import pytest
import runlode


@pytest.fixture
def runs(store):
    runs = []
    for i in range(4):
        run = store.run(experiment=f"e{i % 2}", name=f"r{i}", params={"lr": 10.0**-i}, tags={"kind": "ablation"} if i > 1 else None)
        for step in range(3):
            run.log({"loss": i + step / 10, "acc": 1.0 - i / 10}, step=step, timestamp_ms=step)
        runs.append(run)
        # Begun in the same millisecond, runs are in the order of their ids.
        begun = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == begun:
            pass
    runs[3].log({"only": 1.0}, step=0)
    runs[0].end()
    return runs


def test_search_as_a_table(store, runs):
    table = store.search(
        "metrics.loss < 2.5 and (params.lr < 0.5 or tags.kind = 'ablation')",
        order_by="metrics.loss",
        columns=["run_name", "metrics.loss", "params.lr", "tags.kind"],
    )
    assert table.num_rows == len(table) == 2
    columns = table.to_numpy()
    assert list(columns) == ["run_name", "metrics.loss", "params.lr", "tags.kind"] == table.column_names
    assert columns["run_name"].tolist() == ["r1", "r2"]
    assert columns["metrics.loss"].tolist() == [1.2, 2.2]
    assert columns["params.lr"].tolist() == ["0.1", "0.01"]
    assert columns["tags.kind"].tolist() == [None, "ablation"]
    assert "2 rows" in repr(table)


def test_search_has_all_columns_by_default(store, runs):
    table = store.search(order_by=["run_name ASC"])
    names = table.column_names
    assert names[:8] == [
        "run_id", "run_name", "experiment_id", "user_id", "status", "lifecycle", "start_time", "end_time",
    ]  # fmt: skip
    # Where the tests are a working tree of git, its commit is noted as well.
    assert [name for name in names[8:] if ".git." not in name] == [
        "metrics.acc",
        "metrics.loss",
        "metrics.only",
        "params.lr",
        "tags.kind",
        "tags.mlflow.runName",
        "tags.mlflow.source.name",
        "tags.mlflow.source.type",
        "tags.mlflow.user",
    ]
    assert table["status"].tolist() == ["FINISHED", "RUNNING", "RUNNING", "RUNNING"]
    end = table["end_time"]
    assert end.dtype == "datetime64[ms]"
    assert np.isnat(end).tolist() == [False, True, True, True]
    only = table["metrics.only"]
    assert np.isnan(only).tolist() == [True, True, True, False]
    with pytest.raises(KeyError):
        table["nope"]


def test_search_narrows(store, runs):
    assert store.search(experiments="e0")["run_name"].tolist() == ["r2", "r0"]
    assert len(store.search(experiments=["e0", "e1"])) == 4
    assert len(store.search(experiments=[runs[0].experiment_id])) == 2
    assert len(store.search(limit=3)) == 3
    assert len(store.search(deleted=True)) == 0
    assert store.search(columns="metrics.*").column_names == ["metrics.acc", "metrics.loss", "metrics.only"]
    table = store.search(columns=["metrics.loss.min", "metrics.loss.max", "metrics.loss.count"], order_by="run_name ASC")
    assert table["metrics.loss.max"].tolist() == [0.2, 1.2, 2.2, 3.2]
    assert table["metrics.loss.count"].tolist() == [3] * 4
    assert store.search("metrics.none > 1").num_rows == 0
    for wrong in (dict(filter="metrics.loss <"), dict(columns=["nope"]), dict(limit=0), dict(order_by="x.y.z w")):
        with pytest.raises(runlode.Invalid):
            store.search(**wrong)
    with pytest.raises(runlode.NotFound):
        store.search(experiments="none")


def test_history_of_many(store, runs):
    table = store.history(runs[:2], ["loss", "acc"], steps=(1, None))
    columns = table.to_numpy()
    assert columns["run_id"].tolist() == [runs[0].run_id] * 4 + [runs[1].run_id] * 4
    assert columns["key"].tolist() == ["loss", "loss", "acc", "acc"] * 2
    assert columns["step"].tolist() == [1, 2] * 4
    assert len(store.history(runs[3].run_id)) == 7
    assert len(store.history(runs[3], "nope")) == 0
    with pytest.raises(runlode.NotFound):
        store.history("0" * 32, "loss")


def test_downsample_keeps_extremes(store, run):
    values = np.sin(np.arange(100_000) / 1000)
    values[77_777] = 9.0
    values[5] = np.nan
    run.log_points("v", values)
    table = store.downsample(run, "v", 50)
    assert len(table) <= 50
    assert table["max"].max() == 9.0
    assert table["count"].sum() == 100_000
    assert table["nan"].sum() == 1
    assert table["step_last"][-1] == 99_999
    part = store.downsample(run, "v", 3, steps=(0, 9))
    assert part["count"].sum() == 10


def test_memory_lives_as_long_as_its_readers(store, run):
    run.log_points("v", np.arange(100_000.0))
    table = store.history(run, "v")
    value = table["value"]
    assert not value.flags.writeable
    assert value.__array_interface__["data"][0] == table["value"].__array_interface__["data"][0]
    del table
    gc.collect()
    other = [store.history(run, "v") for _ in range(3)]
    assert value.sum() == np.arange(100_000.0).sum()
    del other
    assert value[-1] == 99_999


def test_pyarrow(store, runs):
    pyarrow = pytest.importorskip("pyarrow")
    table = store.history(runs, "loss")
    arrow = pyarrow.table(table)
    arrow.validate(full=True)
    assert arrow.column("value").to_pylist() == table["value"].tolist()
    assert arrow.column("run_id").to_pylist() == table["run_id"].tolist()
    assert arrow.schema.field("timestamp").type == pyarrow.timestamp("ms", "UTC")
    address = arrow.column("value").chunk(0).buffers()[1].address
    assert address == table["value"].__array_interface__["data"][0], "a copy was made"
    assert pyarrow.schema(table) == arrow.schema
    found = pyarrow.table(store.search())
    found.validate(full=True)
    assert found.column("end_time").null_count == 3
    assert pyarrow.table(store.search("metrics.none > 1")).num_rows == 0
    # A stream that is never read is released by its capsule.
    for _ in range(10):
        table.__arrow_c_stream__()
    gc.collect()
    assert table.to_arrow().equals(arrow)


def test_pandas(store, runs):
    pytest.importorskip("pandas")
    frame = store.history(runs, "loss").to_pandas()
    by_run = frame.groupby("run_id", observed=True)["value"].max().to_dict()
    assert by_run == {run.run_id: store.history(run, "loss")["value"].max() for run in runs}
    assert store.search(columns=["run_name", "end_time"]).to_pandas()["end_time"].isna().sum() == 3


def test_polars(store, runs):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(store.history(runs, "loss"))
    assert frame.height == 12
    assert frame["value"].sum() == pytest.approx(store.history(runs, "loss")["value"].sum())
    assert polars.DataFrame(store.search()).height == 4
    assert store.search().to_polars()["end_time"].null_count() == 3


def test_duckdb(store, runs):
    duckdb = pytest.importorskip("duckdb")
    history = store.history(runs, "loss")  # noqa: F841
    rows = duckdb.sql("select count(*), max(value), count(distinct run_id) from history").fetchall()
    assert rows == [(12, 3.2, 4)]
