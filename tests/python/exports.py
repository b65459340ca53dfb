"""Reads the exports of MLflow's own database by the tools that people read them with, and compares the answers.

python exports.py DATA SQLITE PARQUET TENSORBOARD

- SQLITE: MLflow's client says of it what it says of DATA/mlflow.db, and what DATA/expected.json says. Its tables are
  those that MLflow makes, and opening it migrates nothing.
- PARQUET: DuckDB answers as expected.json.
- TENSORBOARD: TensorBoard's reader has every point of every active run, bit for bit.
"""

import json
import math
import os
import re
import shutil
import sqlite3
import struct
import sys
import tempfile

os.environ["MLFLOW_ENABLE_TELEMETRY"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import duckdb
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def main():
    data, sqlite, parquet, tensorboard = sys.argv[1:]
    with open(os.path.join(data, "expected.json")) as file:
        expected = json.load(file)
    with tempfile.TemporaryDirectory() as scratch:
        original = os.path.join(scratch, "mlflow.db")
        shutil.copy(os.path.join(data, "mlflow.db"), original)
        check_schema(sqlite, scratch)
        check_mlflow(original, sqlite, expected)
        check_tensorboard(original, tensorboard, expected)
    check_duckdb(parquet, expected)
    print("ok")


def same(what, wanted, found):
    if wanted != found:
        if isinstance(wanted, list) and isinstance(found, list):
            # The first that differs says more.
            pairs = [pair for pair in zip(wanted, found) if pair[0] != pair[1]]
            wanted, found = pairs[0] if pairs else (len(wanted), len(found))
        raise SystemExit(f"{what} differ:\n  expected {str(wanted)[:2000]}\n  found    {str(found)[:2000]}")


# ---- MLflow ---------------------------------------------------------------------------------------------------------


def schema(path):
    """The tables, indexes and triggers of a database, and its schema version.

    White space does not count, nor does the order of `IN (...)` and of constraints: MLflow writes those of Python sets,
    which change from process to process.
    """

    def normal(sql):
        sql = re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", sql or "")).strip()
        sql = re.sub(r" IN\(([^()]*)\)", lambda found: f" IN({','.join(sorted(found[1].split(',')))})", sql)
        head, bracket, body = sql.partition("(")
        if not head.startswith("CREATE TABLE") or not body.endswith(")"):
            return sql
        parts, depth = [""], 0
        for c in body[:-1]:
            depth += (c == "(") - (c == ")")
            if c == "," and depth == 0:
                parts.append("")
            else:
                parts[-1] += c
        # Constraints of a table come in the order of a set as well; columns do not.
        rules = [part for part in parts if part.startswith(("CONSTRAINT", "CHECK", "FOREIGN", "PRIMARY", "UNIQUE"))]
        columns = [part for part in parts if part not in rules]
        return f"{head}({','.join(columns + sorted(rules))})"

    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name <> 'runlode_export'")
        parts = sorted((kind, name, table, normal(sql)) for kind, name, table, sql in rows)
        version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        seeded = connection.execute("SELECT * FROM workspaces").fetchall()
    return {"version": version, "workspaces": seeded, "parts": parts}


def check_schema(sqlite, scratch):
    fresh = os.path.join(scratch, "fresh.db")
    SqlAlchemyStore(f"sqlite:///{fresh}", scratch)
    wanted, found = schema(fresh), schema(sqlite)
    for name in wanted:
        same(name, wanted[name], found[name])


def place(text):
    """An artifact place without the root, which an import moves."""
    return text and re.sub(r"^.*?/(?=\d+(/|$))", "", text)


def metric(metric):
    value = "nan" if math.isnan(metric.value) else metric.value
    return (metric.key, value, metric.timestamp, metric.step)


def answers(path):
    """Everything that MLflow's client says of a database."""
    client = MlflowClient(f"sqlite:///{path}")
    out = {"experiments": {}, "runs": {}, "logged_models": {}, "models": {}, "versions": {}}
    experiments = client.search_experiments(view_type=ViewType.ALL)
    for e in experiments:
        out["experiments"][e.experiment_id] = (
            e.name,
            e.lifecycle_stage,
            e.creation_time,
            e.last_update_time,
            sorted(e.tags.items()),
        )
    ids = [e.experiment_id for e in experiments]
    for run in client.search_runs(ids, run_view_type=ViewType.ALL, max_results=1000):
        run = client.get_run(run.info.run_id)
        info = run.info
        inputs, outputs = run.inputs, run.outputs
        history = {key: sorted(map(repr, map(metric, client.get_metric_history(info.run_id, key)))) for key in run.data.metrics}
        out["runs"][info.run_id] = {
            "info": (info.run_name, info.experiment_id, info.status, info.start_time, info.end_time, info.user_id),
            "lifecycle": info.lifecycle_stage,
            "place": place(info.artifact_uri),
            "params": sorted(run.data.params.items()),
            "tags": sorted(run.data.tags.items()),
            "metrics": sorted((key, repr(value)) for key, value in run.data.metrics.items()),
            "history": history,
            "datasets": sorted(
                (d.dataset.name, d.dataset.digest, d.dataset.source, d.dataset.schema, d.dataset.profile, sorted((t.key, t.value) for t in d.tags))
                for d in inputs.dataset_inputs
            ),
            "model_inputs": sorted(m.model_id for m in inputs.model_inputs),
            "model_outputs": sorted((m.model_id, m.step) for m in outputs.model_outputs) if outputs else [],
        }
    for model in client.search_logged_models(ids, max_results=100):
        model = client.get_logged_model(model.model_id)
        points = [metric(m) + (m.run_id, m.dataset_name, m.dataset_digest) for m in model.metrics or []]
        out["logged_models"][model.model_id] = (
            (model.experiment_id, model.name, str(model.status), model.model_type or None, model.source_run_id),
            (model.creation_timestamp, model.last_updated_timestamp, place(model.artifact_location)),
            sorted(model.tags.items()),
            sorted(model.params.items()),
            sorted(map(repr, points)),
        )
    for model in client.search_registered_models():
        model = client.get_registered_model(model.name)
        times = (model.creation_timestamp, model.last_updated_timestamp)
        out["models"][model.name] = (times, model.description, sorted(model.tags.items()), sorted(model.aliases.items()))
        for v in client.search_model_versions(f"name = '{model.name}'"):
            v = client.get_model_version(v.name, v.version)
            out["versions"][f"{v.name}/{v.version}"] = (
                (v.creation_timestamp, v.last_updated_timestamp, v.description, v.current_stage, v.source, v.run_id),
                (v.status, v.run_link or None, v.user_id or None, sorted(v.tags.items()), sorted(v.aliases)),
                place(client.get_model_version_download_uri(v.name, v.version)),
            )
    return out


def check_mlflow(original, sqlite, expected):
    before = schema(sqlite)
    wanted, found = answers(original), answers(sqlite)
    for kind in wanted:
        same(f"ids of {kind}", sorted(wanted[kind]), sorted(found[kind]))
        for name in wanted[kind]:
            same(f"{kind} {name}", wanted[kind][name], found[kind][name])
    same("the schema after opening it", before, schema(sqlite))
    client = MlflowClient(f"sqlite:///{sqlite}")
    same("runs", sorted(expected["runs"]), sorted(found["runs"]))
    points = 0
    for id, run in expected["runs"].items():
        mine = found["runs"][id]
        same(f"params of {id}", sorted(run["params"].items()), mine["params"])
        same(f"metrics of {id}", {k: float(v) for k, v in run["metrics"].items()}, {k: float(v) for k, v in mine["metrics"]})
        same(f"lengths of {id}", run["history_lengths"], {key: len(points) for key, points in mine["history"].items()})
        same(f"run {id}", (run["name"], run["experiment_id"], run["status"]), mine["info"][:3])
        same(f"lifecycle of {id}", run["lifecycle"], mine["lifecycle"])
        points += sum(run["history_lengths"].values())
    same("points", expected["points"], points)
    ids = list(expected["experiments"])
    hits = client.search_runs(ids, "metrics.`val/acc` > 0.9 and params.lr = '0.1'")
    same("hits", sorted(expected["search_val_acc_gt_0.9_lr_0.1"]), sorted(run.info.run_id for run in hits))
    # It is a database to work with, not only to read.
    run = client.create_run(ids[1])
    client.log_metric(run.info.run_id, "loss", 0.5)
    same("a new point", 0.5, client.get_run(run.info.run_id).data.metrics["loss"])


# ---- DuckDB ---------------------------------------------------------------------------------------------------------


def check_duckdb(parquet, expected):
    def rows(sql):
        return duckdb.sql(sql.replace("@", parquet)).fetchall()

    same(
        "experiments",
        sorted((id, e["name"], e["lifecycle"]) for id, e in expected["experiments"].items()),
        rows("SELECT experiment_id, name, lifecycle FROM '@/experiments/*.parquet' ORDER BY 1"),
    )
    found = rows("SELECT run_id, name, experiment_id, status, lifecycle, params, metrics FROM '@/runs/*.parquet' ORDER BY 1")
    same("runs", sorted(expected["runs"]), [row[0] for row in found])
    lengths = {}
    latest = {}
    for run, key, count, value in rows(
        """SELECT run_id, key, count(*),
                  max_by(value, (step, timestamp_ms, CASE WHEN isnan(value) THEN 0.0 ELSE value END))
           FROM '@/points/*.parquet' WHERE live GROUP BY ALL"""
    ):
        lengths.setdefault(run, {})[key] = count
        latest.setdefault(run, {})[key] = value
    for id, name, experiment, status, lifecycle, params, metrics in found:
        run = expected["runs"][id]
        same(f"run {id}", (run["name"], run["experiment_id"], run["status"], run["lifecycle"]), (name, experiment, status, lifecycle))
        same(f"params of {id}", run["params"], params)
        wanted = {key: float(value) for key, value in run["metrics"].items()}
        same(f"metrics of {id}", wanted, metrics)
        same(f"latest points of {id}", wanted, latest.get(id, {}))
        same(f"lengths of {id}", run["history_lengths"], lengths.get(id, {}))
    same("points", [(expected["points"],)], rows("SELECT count(*) FROM '@/points/*.parquet'"))
    order = rows("SELECT run_id, key, step FROM '@/points/*.parquet'")
    same("the order of points", sorted(order), order)
    hits = rows("SELECT run_id FROM '@/runs/*.parquet' WHERE metrics['val/acc'] > 0.9 AND params['lr'] = '0.1' AND lifecycle = 'active'")
    same("hits", sorted(expected["search_val_acc_gt_0.9_lr_0.1"]), sorted(run for run, in hits))
    for name, model in expected["registry"].items():
        found = rows(f"SELECT version, stage, source, run_id, tags, aliases, description FROM '@/registry/*.parquet' WHERE name = '{name}' ORDER BY version NULLS FIRST")
        same(f"description of {name}", model["description"], found[0][6])
        versions = {str(v): {"stage": stage, "source": source, "run_id": run, "tags": tags} for v, stage, source, run, tags, _, _ in found[1:]}
        same(f"versions of {name}", model["versions"], versions)
        aliases = {alias: version for version, *_, aliases, _ in found[1:] for alias in aliases}
        same(f"aliases of {name}", model["aliases"], aliases)
    made = rows("SELECT count(*) FROM '@/events/*.parquet' WHERE kind = 'RunCreated'")
    same("creations in the history", [(len(expected["runs"]),)], made)
    models = rows("SELECT count(*) FROM '@/logged_models/*.parquet'")
    same("logged models", [(6,)], models)
    # What a reader of one curve does: other row groups are not read.
    run = sorted(expected["runs"])[0]
    plan = duckdb.sql(f"EXPLAIN ANALYZE SELECT count(*) FROM '{parquet}/points/*.parquet' WHERE run_id = '{run}'").fetchall()
    assert plan


# ---- TensorBoard ----------------------------------------------------------------------------------------------------


def check_tensorboard(original, folder, expected):
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util.tensor_util import make_ndarray

    def bits(value):
        return struct.pack("<d", 0.0 if math.isnan(value) else value)

    places = {}
    for at, _, files in os.walk(folder):
        for file in files:
            if "tfevents" in file:
                places[file.rsplit("-", 1)[1]] = at
    active = {id for id, run in expected["runs"].items() if run["lifecycle"] == "active"}
    same("runs", sorted(active), sorted(places))
    connection = sqlite3.connect(f"file:{original}?mode=ro", uri=True)
    points = 0
    for id in sorted(active):
        reader = EventAccumulator(places[id], size_guidance={TENSORS: 0})
        reader.Reload()
        tags = set(reader.Tags()["tensors"])
        wanted = {}
        for key, step, time, value in connection.execute("SELECT key, step, timestamp, value FROM metrics WHERE run_uuid = ?", [id]):
            wanted.setdefault(key, []).append((step, time, bits(value)))
        same(f"tags of {id}", set(wanted), {tag for tag in tags if not tag.startswith("_hparams_")})
        for key, list in wanted.items():
            found = [(e.step, round(e.wall_time * 1000), bits(make_ndarray(e.tensor_proto).item())) for e in reader.Tensors(key)]
            same(f"points of {id} {key}", sorted(list), sorted(found))
            same(f"steps of {id} {key}", sorted(step for step, _, _ in found), [step for step, _, _ in found])
            points += len(found)
            metadata = reader.SummaryMetadata(key)
            same(f"plugin of {id} {key}", "scalars", metadata.plugin_data.plugin_name)
        content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        found = {key: value.WhichOneof("kind") for key, value in info.hparams.items()}
        same(f"names of params of {id}", sorted(expected["runs"][id]["params"]), sorted(found))
        for key, text in expected["runs"][id]["params"].items():
            value = info.hparams[key]
            if value.WhichOneof("kind") == "number_value":
                same(f"param {key} of {id}", float(text), value.number_value)
            else:
                same(f"param {key} of {id}", text, value.string_value)
        if expected["runs"][id]["status"] == "FINISHED":
            content = reader.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
            end = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
            same(f"end of {id}", 1, end.status)
    wanted = sum(sum(run["history_lengths"].values()) for id, run in expected["runs"].items() if id in active)
    same("points in all", wanted, points)


main()
