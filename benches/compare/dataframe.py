"""All points of some runs as one data frame: through an export to Parquet, and by MLflow's own calls.

    dataframe.py TABLES DATABASE [RUNS]

TABLES and DATABASE are exports of one store (`runlode export STORE --to parquet:TABLES` and `--to sqlite:///DATABASE`).
MLflow has no call for the points of many runs: its way is `get_metric_history` for each run and key, then a frame of the
answers. Only the first RUNS runs (default 2) are read, and only once. The best of three readings of the tables counts.
"""

import os
import sys
import time

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def timed(read, rounds):
    best, rows = float("inf"), 0
    for _ in range(rounds):
        begin = time.perf_counter()
        rows = len(read())
        best = min(best, time.perf_counter() - begin)
    return rows, best


def say(what, measured):
    rows, seconds = measured
    print(f"{what}: {rows:,} points in {seconds:.2f} s, {rows / seconds / 1e6:.3f} Mpts/s", flush=True)


def main():
    import duckdb
    import pandas as pd
    import pyarrow.parquet as pq
    from mlflow import MlflowClient

    tables, database = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    points = os.path.join(tables, "points")
    columns = ["run_id", "key", "step", "timestamp_ms", "value"]
    runs = [run for run, in duckdb.sql(f"SELECT run_id FROM '{tables}/runs/*.parquet' ORDER BY 1 LIMIT {count}").fetchall()]

    say("pyarrow, the whole table", timed(lambda: pq.read_table(points, columns=columns).to_pandas(), 3))
    wanted = [("run_id", "in", runs)]
    say(f"pyarrow, {count} runs", timed(lambda: pq.read_table(points, columns=columns, filters=wanted).to_pandas(), 3))
    listed = ", ".join(f"'{run}'" for run in runs)
    query = f"SELECT {', '.join(columns)} FROM '{points}/*.parquet' WHERE run_id IN ({listed})"
    say(f"DuckDB, {count} runs", timed(lambda: duckdb.sql(query).df(), 3))

    client = MlflowClient(f"sqlite:///{database}")

    def by_mlflow():
        rows = []
        for run in runs:
            for key in client.get_run(run).data.metrics:
                rows.extend((run, m.key, m.step, m.timestamp, m.value) for m in client.get_metric_history(run, key))
        return pd.DataFrame(rows, columns=columns)

    say(f"MLflow, {count} runs", timed(by_mlflow, 1))


main()
