"""Makes an MLflow SQLite store of RUNS runs in one experiment, faster than MLflow's own calls would.

    python prefill.py DATABASE RUNS

Each run has 5 params, 5 metrics and 3 tags; the first one also has a history of 100,000 points. MLflow makes the
tables, rows are inserted as MLflow writes them.
"""

import random
import sqlite3
import sys

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def main(database: str, runs: int) -> None:
    store = SqlAlchemyStore(f"sqlite:///{database}", "mlflow-artifacts:/")
    experiment = int(store.create_experiment("compare"))
    store.engine.dispose()
    rng = random.Random(1)
    db = sqlite3.connect(database)
    columns = {row[1] for row in db.execute("PRAGMA table_info(runs)")}
    now = 1_790_000_000_000
    history = []
    for i in range(runs):
        run = f"{i:032x}"
        row = {
            "run_uuid": run,
            "name": f"run-{i}",
            "source_type": "LOCAL",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "ann",
            "status": "FINISHED",
            "start_time": now + i,
            "end_time": now + i + 1000,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
            "experiment_id": experiment,
        }
        row = {name: value for name, value in row.items() if name in columns}
        marks = ",".join("?" * len(row))
        db.execute(f"INSERT INTO runs ({','.join(row)}) VALUES ({marks})", list(row.values()))
        params = [(f"p{k}", str(rng.randrange(10)), run) for k in range(5)]
        db.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", params)
        tags = [("mlflow.runName", f"run-{i}", run)] + [(f"t{k}", f"v{rng.randrange(100)}", run) for k in range(3)]
        db.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", tags)
        metrics = [(f"m{k}", rng.random(), now, run, 0, 0) for k in range(5)]
        if i == 0:
            metrics += [("loss", 1.0 / (step + 1), now + step, run, step, 0) for step in range(100_000)]
        db.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)", metrics
        )
        latest = [(key, value, time, step, nan, owner) for key, value, time, owner, step, nan in metrics[:5]]
        if i == 0:
            key, value, time, owner, step, nan = metrics[-1]
            latest.append((key, value, time, step, nan, owner))
        db.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, ?, ?)",
            latest,
        )
    db.commit()
    db.execute("ANALYZE")
    db.commit()
    db.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
