"""Makes sources of imports with MLflow itself, and says what MLflow answers about them.

    python foreign.py make URI     experiments, runs, models and versions in a new store
    python foreign.py more URI     the same store, some time later
    python foreign.py answers URI  what MLflow answers, as JSON
"""

import json
import os
import sys
import tempfile

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    ViewType,
)


def artifact(client, run_id, text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "notes.txt")
        with open(path, "w") as file:
            file.write(text)
        client.log_artifact(run_id, path, "texts")


def make(client, store):
    experiment = client.create_experiment("digits", tags={"team": "a"})
    values = [1.0, 0.5, float("nan"), float("inf"), -0.0, 1e-300]
    for number in range(3):
        run_id = client.create_run(experiment, run_name=f"run {number}", tags={"x/y": "1", "empty": ""}).info.run_id
        metrics = [Metric("loss", value, 1000 + step, step) for step, value in enumerate(values)]
        metrics += [Metric("nested/acc", 0.1 * number, 1000, step // 2) for step in range(4)]
        client.log_batch(run_id, metrics=metrics, params=[Param("lr", "0.1"), Param("a/b", "two\r\nlines")])
        data = Dataset("iris", "d1", "local", "{}", "schema", "profile")
        store.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "train")])])
        model = client.create_logged_model(
            experiment, name=f"m{number}", source_run_id=run_id, params={"p": "1"}, tags={"t": "v"}
        )
        store.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
        if number:
            store.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
        client.log_metric(
            run_id, "acc", 0.9, timestamp=2000, step=7,
            model_id=model.model_id, dataset_name="iris", dataset_digest="d1",
        )  # fmt: skip
        client.finalize_logged_model(model.model_id, "READY")
        artifact(client, run_id, f"of run {number}")
        client.set_terminated(run_id, "FINISHED" if number else "FAILED", end_time=5000)
        if number == 2:
            client.delete_run(run_id)
    gone = client.create_experiment("gone")
    client.log_metric(client.create_run(gone).info.run_id, "m", 1.0)
    client.delete_experiment(gone)
    client.create_registered_model("fraud", tags={"k": "v"}, description="finds it")
    client.create_model_version("fraud", f"runs:/{run_id}/model", run_id, tags={"q": "1"})
    client.create_model_version("fraud", f"models:/{model.model_id}", run_id)
    client.set_registered_model_alias("fraud", "champion", "2")
    client.transition_model_version_stage("fraud", "1", "Staging")
    client.create_model_version("fraud", "runs:/x/y")
    client.delete_model_version("fraud", "3")


def more(client, store):
    experiment = client.get_experiment_by_name("digits").experiment_id
    run_id = client.search_runs([experiment])[0].info.run_id
    client.log_batch(run_id, metrics=[Metric("loss", 0.25, 3000 + step, 10 + step) for step in range(50)])
    client.set_tag(run_id, "late", "yes")
    other = client.create_run(experiment, run_name="late").info.run_id
    client.log_metric(other, "loss", 2.0)


def answers(client, store):
    experiments = client.search_experiments(view_type=ViewType.ALL)
    runs = {}
    for experiment in experiments:
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=10000):
            history = {
                # MLflow reads step 0 where a data set follows, so that metric is told without steps.
                key: sorted(
                    [point.timestamp, 0 if key == "acc" else point.step, repr(float(point.value))]
                    for point in client.get_metric_history(run.info.run_id, key)
                )
                for key in run.data.metrics
            }
            runs[run.info.run_id] = {
                "experiment": experiment.name,
                "name": run.info.run_name,
                "status": run.info.status,
                "lifecycle": run.info.lifecycle_stage,
                "params": run.data.params,
                "tags": run.data.tags,
                "history": history,
            }
    versions = {
        f"{version.name}/{version.version}": [version.current_stage, version.tags, sorted(version.aliases)]
        for version in client.search_model_versions()
    }
    print(json.dumps({"runs": runs, "versions": versions}))


def main():
    what, uri = sys.argv[1:]
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    {"make": make, "more": more, "answers": answers}[what](client, client._tracking_client.store)


main()
