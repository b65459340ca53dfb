"""The package where NumPy and its like are not installed, and tables as plain Python."""

import os
import subprocess
import sys
from datetime import datetime, timezone

import pytest
import runlode

# No library of others is to be had.
WITHOUT = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "pandas", "polars", "pyarrow", "matplotlib", "PIL", "yaml", "mlflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
"""

PLAIN = (
    WITHOUT
    + """
import array
import runlode

def refused(call, *words):
    try:
        call()
    except ImportError as error:
        assert all(word in str(error) for word in words), str(error)
    else:
        raise AssertionError("it was not refused")

with runlode.open(sys.argv[1]) as store:
    with store.run("digits", name="first", params={"lr": 0.1}) as run:
        for step in range(3):
            assert run.log({"loss": 1 / (step + 1), "n": step})
        assert run.log_points("list", [1.0, 2.5], steps=[5, 6])
        assert run.log_points("array", array.array("d", [1.0, 2.5]), steps=range(2), timestamps_ms=7)
        assert run.log_batch({"a": (1, 2), "b": memoryview(array.array("f", [0.5, 1.5]))})
        run.log_text("hello", "notes/a.txt")
        run.log_dict({"a": 1}, "a.json")
        run.log_table({"x": [1, 2]}, "t.json")
        refused(lambda: run.log_image([[0]], "x.png"), "Run.log_image", "pip install pillow")
        refused(lambda: run.log_dict({}, "x.yaml"), "pip install pyyaml")
    history = store.history(run, "loss")
    assert [row["value"] for row in history] == [1.0, 0.5, 1 / 3]
    assert history[0]["step"] == 0 and history[-1]["step"] == 2
    assert history.column("value") == [1.0, 0.5, 1 / 3]
    assert store.history(run, "array").column("value") == [1.0, 2.5]
    assert store.history(run, "b").column("value") == [0.5, 1.5]
    assert store.search()[0]["metrics.list"] == 2.5
    assert store.downsample(run, "loss", 2).to_dict()["count"] == [2, 1]
    assert "first" in repr(store.search()) and "first" in store.search()._repr_html_()
    assert run.branch_history(0, "n").column("value") == [0, 1, 2]
    assert store.as_of(store.status()["published"]).history(run, "n").column("value") == [0, 1, 2]
    refused(lambda: history["value"], "table[\\"value\\"]", "pip install numpy", "table.column(\\"value\\")")
    refused(history.to_numpy, "pip install numpy", "Table.to_dict")
    refused(history.to_pandas, "Table.to_pandas", "pip install pandas")
    refused(history.to_polars, "pip install polars")
    refused(history.to_arrow, "pip install pyarrow")
    # What is a wrong name is not one that needs a library.
    try:
        history["nope"]
    except KeyError as error:
        assert "run_id, key, step, timestamp, value" in str(error)
    assert not {"numpy", "mlflow"} & set(sys.modules)
    print("plain")
"""
)


def test_all_of_it_works_without_other_libraries(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PLAIN, str(tmp_path / "exp")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "plain", done.stderr


@pytest.fixture
def table(store):
    for at in range(30):
        with store.run(name=f"run-{at:02}") as run:
            run.log({"loss": float(at), "nan": float("nan")} if at % 2 else {"acc": 0.5})
    return store.search(order_by="attributes.run_name", columns=["run_name", "start_time", "end_time", "metrics.*"])


def test_rows_are_dicts_of_plain_values(table):
    rows = list(table)
    assert len(rows) == len(table) == 30
    # NaN is no NaN's equal.
    assert repr(rows) == repr(table.to_dicts())
    assert [type(value) for value in rows[1].values()] == [str, datetime, datetime, type(None), float, float]
    assert rows[0]["metrics.loss"] is None and rows[1]["metrics.loss"] == 1.0
    assert rows[0]["end_time"].tzinfo is timezone.utc
    assert abs(rows[0]["end_time"].timestamp() - datetime.now().timestamp()) < 600
    assert table.to_dict()["run_name"] == table.column("run_name") == [row["run_name"] for row in rows]
    assert repr((table[0], table[-1], table[29])) == repr((rows[0], rows[-1], rows[29]))
    assert "run_name" in table and "nope" not in table and 3 not in table
    for outside in (30, -31):
        with pytest.raises(IndexError, match="30 rows"):
            table[outside]
    with pytest.raises(TypeError, match="a row number or a slice"):
        table[1.5]


def test_slices_are_tables(table):
    rows = list(table)
    for part in (slice(2, 5), slice(None, 3), slice(-3, None), slice(5, 2), slice(0, 0), slice(100, 200), slice(None)):
        assert isinstance(table[part], runlode.Table)
        assert repr(list(table[part])) == repr(rows[part])
    assert table[5:8]["run_name"].tolist() == ["run-05", "run-06", "run-07"]
    assert table[5:8]["metrics.loss"].tolist()[0] == 5.0
    with pytest.raises(ValueError, match="goes up by 1"):
        table[::2]


def test_many_rows_one_by_one(store, run):
    run.log_points("v", list(range(1000)))
    table = store.history(run, "v")
    first, second = iter(table), iter(table)
    assert next(first)["value"] == next(second)["value"] == 0.0
    assert [row["value"] for row in first] == list(range(1, 1000))
    assert [row["step"] for row in second] == list(range(1, 1000))
    assert next(first, None) is None
    assert list(store.history(run, "w")) == []


def test_times_beyond_datetimes_stay_numbers(store, run):
    run.log({"v": 1.0}, timestamp_ms=2**62)
    assert store.history(run, "v")[0]["timestamp"] == 2**62


def test_a_table_prints_its_first_rows(table, store):
    text = repr(table)
    lines = text.splitlines()
    assert lines[0] == "<runlode.Table: 30 rows, 6 columns>"
    assert lines[1].split() == table.column_names
    assert lines[2].split()[0] == "run-00" and lines[3].split()[-2:] == ["1", "nan"]
    assert lines[-1] == "... and 20 more rows"
    assert max(map(len, lines)) <= 120
    html = table._repr_html_()
    assert html.count("<tr>") == 11 and "run-09" in html and "run-10" not in html
    assert "30 rows, 6 columns; the first 10 rows" in html
    assert repr(store.search("metrics.loss > 99")).startswith("<runlode.Table: 0 rows, ")


def test_what_does_not_fit_is_named(store):
    store.run(name="<b>\x1b[31m", params={f"param_{at:02}": "x" * 100 for at in range(20)}).end()
    table = store.search()
    text = repr(table)
    assert "\x1b" not in text and "..." in text
    assert "more columns: " in text.splitlines()[-1] and "params.param_" in text.splitlines()[-1]
    assert max(len(line) for line in text.splitlines()[:-1]) <= 120
    assert "<b>" not in table._repr_html_() and "&lt;b&gt;" in table._repr_html_()


def test_a_column_that_is_not_there_is_named_with_its_like(table):
    with pytest.raises(KeyError, match="Similar: 'run_name'"):
        table.column("run_nam")
    with pytest.raises(KeyError, match="the columns are run_name, start_time"):
        table["qqqq"]
