"""Programs as users write them, on MLflow's SQL store and on ours: automatic logging, evaluation, frames of runs, models
that are active, prompts of runs. The same answers, call by call.
"""

import os
import pathlib
import time
import warnings

from .differential import mlflow, scenario  # First: it skips where there is no MLflow to compare with.

import pytest
from mlflow.entities import LoggedModelStatus, Metric, ViewType

from .scripts import ABSENT

# Metrics that say how long something took, or how busy the machine was.
_MEASURED = ("system/", "time")


def records(frame):
    """The cells of a frame of runs, without times and what a side's folder is called."""
    left_out = [column for column in frame.columns if "time" in column or column.endswith("_uri")]
    frame = frame.drop(columns=left_out).sort_index(axis=1)
    return [list(frame.columns), [str(kind) for kind in frame.dtypes], frame.astype(str).values.tolist()]


def files(uri):
    """The paths of all artifacts of a run."""
    found = []

    def walk(path):
        for file in mlflow.artifacts.list_artifacts(artifact_uri=uri, artifact_path=path):
            found.append(file.path)
            if file.is_dir:
                walk(file.path)

    walk(None)
    return sorted(found)


def logged(run_id):
    """What automatic logging left in a run: names, values that do not depend on the machine, files."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    data = run.data
    metrics = {key: value for key, value in data.metrics.items() if not any(word in key for word in _MEASURED)}
    tags = {key: value for key, value in data.tags.items() if key not in ("mlflow.runName", "mlflow.log-model.history")}
    inputs = sorted((item.dataset.name, item.dataset.source_type, len(item.tags)) for item in run.inputs.dataset_inputs)
    models = [client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    kinds = [(model.name, model.model_type, str(model.status), sorted(model.params.items())) for model in models]
    histories = {key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)] for key in metrics}
    return run.info.status, data.params, tags, metrics, histories, inputs, sorted(kinds), files(run.info.artifact_uri)


@scenario
def test_autolog_of_sklearn(s):
    pytest.importorskip("sklearn")
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    x, y = numpy.array([[0.0], [1.0], [2.0], [3.0]] * 5), numpy.array([0, 0, 1, 1] * 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.autolog(silent=True, log_models=True, pos_label=1)
        try:
            s.mlflow.set_experiment("automatic")
            with mlflow.start_run() as run:
                model = LogisticRegression().fit(x, y)
                model.score(x, y)
            s.do("of a fit", lambda: logged(run.info.run_id))
            search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2)
            with mlflow.start_run() as parent:
                search.fit(x, y)
            s.do("of a search", lambda: logged(parent.info.run_id)[1:3])
            children = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
            order = ["metrics.mean_test_score DESC", "params.C"]
            frame = mlflow.search_runs(experiment_names=["automatic"], filter_string=children, order_by=order)
            s.value("children", [list(frame["params.C"]), [float(value) for value in frame["metrics.mean_test_score"]]])
            uri = f"runs:/{parent.info.run_id}/best_estimator"
            s.do("loaded", lambda: mlflow.sklearn.load_model(uri).predict(x).tolist())
        finally:
            mlflow.sklearn.autolog(disable=True, silent=True)


@scenario
def test_autolog_of_boosting(s):
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    import numpy

    x = numpy.arange(40, dtype=float).reshape(20, 2)
    y = numpy.array([0, 1] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.xgboost.autolog(silent=True)
        mlflow.lightgbm.autolog(silent=True)
        try:
            s.mlflow.set_experiment("boosted")
            data = xgboost.DMatrix(x, label=y)
            with mlflow.start_run() as run:
                xgboost.train({"max_depth": 2, "nthread": 1}, data, 4, evals=[(data, "train")], verbose_eval=False)
            s.do("of xgboost", lambda: logged(run.info.run_id))
            data = lightgbm.Dataset(x, label=y)
            with mlflow.start_run() as run:
                options = {"num_leaves": 3, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 2}
                lightgbm.train(options, data, 4, valid_sets=[data])
            s.do("of lightgbm", lambda: logged(run.info.run_id))
        finally:
            mlflow.xgboost.autolog(disable=True, silent=True)
            mlflow.lightgbm.autolog(disable=True, silent=True)


@scenario
def test_a_model_gets_the_metrics_of_its_run(s):
    """However soon it is logged after them, they stay the points that they are."""

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    s.mlflow.set_experiment("logged at once")
    with s.mlflow.start_run() as run:
        for step in range(3):
            s.mlflow.log_metrics({"acc": step / 2, "loss": 1.0}, step=step)
        for name in ("first", "second"):
            found = mlflow.pyfunc.log_model(name=name, python_model=Echo(), pip_requirements=[], step=2)
            metrics = mlflow.get_logged_model(found.model_id).metrics
            s.value(name, sorted((point.key, point.step, point.value) for point in metrics))
        s.mlflow.end_run()
    for key in ("acc", "loss"):
        s.client.get_metric_history(run.info.run_id, key)
    # The same batch again, and points of the run and of a model in any order.
    model = s.store.create_logged_model("0", "m").model_id
    for contexts in [(None, model), (model, model)]:
        other = s.client.create_run("0").info.run_id
        now = int(time.time() * 1000) + 1
        for context in contexts:
            if context is None:
                mlflow.MlflowClient().log_metric(other, "a", 1.0, timestamp=now, step=1)
            else:
                mlflow.MlflowClient().log_batch(other, [Metric("a", 1.0, now, 1, context), Metric("a", 1.0, now, 1, context)])
        s.value(f"{contexts}", len(mlflow.MlflowClient().get_metric_history(other, "a")))
        s.value("of the model", sum(point._run_id == other for point in mlflow.get_logged_model(model).metrics))


@scenario
def test_evaluation(s):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("sklearn")
    frame = pandas.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [0, 0, 1, 1], "found": [0, 1, 1, 1]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s.mlflow.set_experiment("judged")
        with mlflow.start_run() as run:
            data = mlflow.data.from_pandas(frame, predictions="found", targets="y", name="small")
            options = {"log_explainer": False, "log_model_explainability": False}
            found = mlflow.models.evaluate(data=data, model_type="classifier", evaluator_config=options)
        s.value("metrics", {key: value for key, value in found.metrics.items()})
        s.do("left", lambda: logged(run.info.run_id))


@scenario
def test_frames_of_runs(s):
    s.mlflow.set_experiment("frames")
    for number in range(5):
        s.mlflow.start_run(run_name=f"run {number}", tags={"half": str(number % 2)})
        s.mlflow.log_params({"lr": number / 10, "only": "x"} if number else {"lr": "none"})
        s.mlflow.log_metrics({"loss": float("nan") if number == 3 else -number, "acc": number}, step=number)
        s.mlflow.end_run()
    names = ["frames"]
    for more in [
        {}, {"filter_string": "metrics.loss < 0"}, {"filter_string": "tags.half = '1'", "order_by": ["params.lr DESC"]},
        {"order_by": ["metrics.loss ASC"]}, {"order_by": ["metrics.loss DESC", "attributes.start_time ASC"]}, {"max_results": 2},
        {"run_view_type": ViewType.DELETED_ONLY}, {"filter_string": "metrics.nothing > 1"}, {"max_results": 0},
        {"filter_string": "tags.mlflow.runName LIKE 'run%' and params.lr != '0.1'", "max_results": 3},
    ]:  # fmt: skip
        s.do(f"search_runs {more}", lambda more=more: records(mlflow.search_runs(experiment_names=names, **more)))
        s.mlflow.search_runs(experiment_names=names, output_format="list", **more)
    for wrong in [
        {"experiment_names": ["none"]}, {"experiment_ids": ["77"]}, {"experiment_ids": ["1"], "experiment_names": names},
        {"experiment_names": names, "output_format": "text"}, {"experiment_names": names, "filter_string": "loss <"},
        {"experiment_ids": [], "search_all_experiments": True}, {"experiment_names": names, "order_by": ["foo"]},
    ]:  # fmt: skip
        s.do(f"search_runs {wrong}", lambda wrong=wrong: records(mlflow.search_runs(**wrong)) if "text" not in str(wrong) else mlflow.search_runs(**wrong))


@scenario
def test_models_that_are_active(s):
    m, c = s.mlflow, s.client
    m.set_experiment("models")
    m.set_active_model(name="assistant")
    first = mlflow.get_active_model_id()
    s.value("active", first)
    m.set_active_model(model_id="m-" + ABSENT)
    m.clear_active_model(), m.get_active_model_id()
    m.set_active_model(name="assistant"), m.set_active_model()
    s.value("again the same", mlflow.get_active_model_id() == first)
    m.clear_active_model()
    made = m.create_external_model(name="outside", params={"a": "1"}, tags={"t": "u"}, model_type="agent")
    begun = m.initialize_logged_model(name="begun", params={"a": 1, "b": None}, tags={"k": 2})
    m.log_model_params({"later": "2"}, model_id=begun.model_id)
    m.log_model_params({"later": "3"}, model_id=begun.model_id)
    m.finalize_logged_model(begun.model_id, "READY"), m.finalize_logged_model(begun.model_id, "bogus")
    m.get_logged_model(begun.model_id), m.last_logged_model(), m.get_logged_model("m-" + ABSENT)
    m.set_logged_model_tags(begun.model_id, {"a": 1}), m.delete_logged_model_tag(begun.model_id, "a"), m.delete_logged_model_tag(begun.model_id, "a")
    with m.start_run() as run:
        m.log_metric("of both", 1, step=3, timestamp=5, model_id=made.model_id)
        m.log_metrics({"a": 1, "b": 2}, step=4, timestamp=6, model_id=begun.model_id)
        m.log_outputs(models=[mlflow.entities.LoggedModelOutput(begun.model_id, 4)])
        m.log_inputs(models=[mlflow.entities.LoggedModelInput(made.model_id)]), m.end_run()
    s.store.get_run(run.info.run_id)
    m.get_logged_model(begun.model_id), m.get_logged_model(made.model_id)
    for more in [{}, {"filter_string": "metrics.a > 0"}, {"order_by": [{"field_name": "metrics.a", "ascending": False}]}, {"max_results": 1}]:
        m.search_logged_models(output_format="list", **more)
        s.do(f"frame {more}", lambda more=more: sorted(mlflow.search_logged_models(**more).columns))
    m.search_logged_models(experiment_ids=["77"], output_format="list"), m.search_logged_models(output_format="text")
    pathlib.Path("weights").mkdir(exist_ok=True), pathlib.Path("weights/a.bin").write_bytes(b"abc"), pathlib.Path("note.txt").write_text("x")
    c.log_model_artifact(begun.model_id, "note.txt"), c.log_model_artifacts(begun.model_id, "weights")
    c.list_logged_model_artifacts(begun.model_id), c.list_logged_model_artifacts(begun.model_id, "none"), c.list_logged_model_artifacts("m-" + ABSENT)
    c.log_model_params(begun.model_id, {"more": "1"})
    s.do("a file", lambda: pathlib.Path(mlflow.artifacts.download_artifacts(f"models:/{begun.model_id}/note.txt")).read_text())
    c.create_logged_model("77"), c.create_logged_model("1", name="a/b"), c.finalize_logged_model("m-" + ABSENT, LoggedModelStatus.READY)
    c.delete_logged_model(made.model_id), m.get_logged_model(made.model_id), m.search_logged_models(output_format="list")


@scenario
def test_prompts_of_runs(s):
    g, c = s.over(mlflow.genai, "genai"), s.client
    s.mlflow.set_experiment("prompts")
    g.register_prompt("p", "say {{word}}", model_config={"model_name": "x", "temperature": 0.5})
    g.register_prompt("p", "shout {{word}}", commit_message="louder", tags={"mood": "loud"})
    g.set_prompt_model_config("p", 2, {"model_name": "y"}), g.delete_prompt_model_config("p", 1)
    g.set_prompt_alias("p", "calm", 1), g.set_prompt_alias("p", "calm", 2), g.set_prompt_alias("p", "latest", 1), g.set_prompt_alias("x", "calm", 1)
    for uri in ["prompts:/p/1", "prompts:/p@calm", "prompts:/p@latest", "prompts:/p@none", "prompts:/p/7"]:
        g.load_prompt(uri, link_to_model=False), g.load_prompt(uri, allow_missing=True, link_to_model=False)
    run = c.create_run("0").info.run_id
    model = c.create_logged_model("0", name="m").model_id
    for version in (1, "2", 9):
        c.link_prompt_version_to_run(run, f"prompts:/p/{version}"), c.link_prompt_version_to_model("p", str(version), model)
    c.list_logged_prompts(run), c.detach_prompt_from_run(run, "prompts:/p/1"), c.detach_prompt_from_run(run, "prompts:/p/1"), c.list_logged_prompts(run)
    c.get_run(run), c.get_logged_model(model)
    c.link_prompt_version_to_run(ABSENT, "prompts:/p/1"), c.link_prompt_version_to_model("p", "1", "m-" + ABSENT)
    for text in ["prompts:/p/1", "prompts:/p@calm", "prompts:/", "models:/p/1", "p"]:
        c.parse_prompt_uri(text)
    with s.mlflow.start_run():
        g.load_prompt("prompts:/p/2"), s.mlflow.end_run()
    for more in [{}, {"max_results": 1}, {"filter_string": "name ILIKE 'P'"}, {"filter_string": "tags.mood = 'loud'"}, {"filter_string": "bad"}]:
        g.search_prompts(**more)
    c.search_prompt_versions("p", max_results=1), c.search_prompt_versions("none"), c.get_prompt_version("p", "2"), c.get_prompt_version_by_alias("p", "calm"), c.get_prompt_version_by_alias("p", "none")
    c.delete_prompt("p"), c.delete_prompt_version("p", "1"), c.delete_prompt_version("p", "2"), c.delete_prompt_alias("p", "calm"), c.delete_prompt("p"), g.load_prompt("prompts:/p/1"), g.search_prompts()
    c.get_registered_model("p"), c.search_registered_models()


@scenario
def test_files_and_streams(s):
    import io

    s.mlflow.set_experiment("files")
    c = s.client
    with s.mlflow.start_run() as run:
        id = run.info.run_id
        s.mlflow.log_stream(io.BytesIO(b"streamed"), "in/stream.bin"), s.mlflow.log_stream(io.StringIO("text"), "in/text.txt")
        s.mlflow.log_dict({"a": [1, {"b": None}]}, "d.json"), s.mlflow.log_dict({"a": 1}, "d.yaml"), s.mlflow.log_dict({"é": "漢"}, "odd")
        s.mlflow.log_text("", "empty.txt"), s.mlflow.log_text("é", "deep/er/é.txt"), s.mlflow.log_text("x", "a b/c%20d.txt"), s.mlflow.log_text("x", "../up"), s.mlflow.log_text("x", "/root"), s.mlflow.log_text("x", "a/../../up")
        s.mlflow.log_table({"q": ["a", "b"], "n": [1, 2]}, "t.json"), s.mlflow.log_table({"q": ["c"], "n": [3]}, "t.json"), s.mlflow.log_table({"q": ["c"]}, "t.csv")
        s.do("table", lambda: mlflow.load_table("t.json", run_ids=[id]).to_dict())
        s.mlflow.load_table("none.json", run_ids=[id])
        pathlib.Path("folder/deep").mkdir(parents=True, exist_ok=True), pathlib.Path("folder/deep/f.bin").write_bytes(bytes(range(256))), pathlib.Path("folder/empty").mkdir(exist_ok=True)
        s.mlflow.log_artifacts("folder"), s.mlflow.log_artifacts("folder", "under/it"), s.mlflow.log_artifact("folder"), s.mlflow.log_artifact("none.txt"), s.mlflow.log_artifact("folder/deep/f.bin", "x/y"), s.mlflow.end_run()
    c.log_text(id, "after the end", "late.txt"), c.log_text(ABSENT, "x", "x.txt")
    for path in (None, "", "in", "under/it", "deep", "deep/er", "none", "d.json", "folder", "a b", "in/"):
        c.list_artifacts(id, path)
    s.do("all", lambda: files(mlflow.get_run(id).info.artifact_uri))
    for path in ("in/stream.bin", "deep/er/é.txt", "a b/c%20d.txt", "folder/deep/f.bin", "empty.txt", "d.yaml", "odd"):
        s.do(f"read {path}", lambda path=path: pathlib.Path(c_download(id, path)).read_bytes().hex())
        s.do(f"read runs:/{path}", lambda path=path: pathlib.Path(mlflow.artifacts.download_artifacts(f"runs:/{id}/{path}")).read_bytes().hex())
    for path in ("none", "deep/none.txt", "../up"):
        s.do(f"read {path}", lambda path=path: c_download(id, path))
    s.do("a folder", lambda: sorted(os.listdir(c_download(id, "under"))))
    s.do("everything", lambda: sorted(os.listdir(c_download(id, ""))))
    s.do("load_text", lambda: mlflow.artifacts.load_text(f"runs:/{id}/late.txt"))
    s.do("load_dict", lambda: mlflow.artifacts.load_dict(f"runs:/{id}/d.json"))
    c.delete_run(id), c.list_artifacts(id), c.log_text(id, "x", "deleted.txt")


def c_download(run_id, path):
    return mlflow.MlflowClient().download_artifacts(run_id, path)


@scenario
def test_what_is_fluent_and_rare(s):
    m = s.mlflow
    m.set_experiment("rare"), m.set_experiment_tags({"a": 1, "b": "c"}), m.set_experiment_tag("d", None)
    m.get_experiment_by_name("rare")
    with m.start_run(tags={"x": "1"}, description="what it is") as run:
        m.log_metric("one", "1.5", step=1, timestamp=1), m.log_metric("two", None), m.log_metric("a//b", 1)
        m.log_metrics({}), m.log_params({}), m.set_tags({}), m.log_metrics({"x": 1, "y": "bad"}, timestamp=1)
        m.log_params({f"p{i}": i for i in range(250)}), m.set_tags({f"t{i}": i for i in range(250)}), m.log_metrics({f"m{i}": i for i in range(2500)}, step=1, timestamp=1)
        m.log_param("long", "x" * 6000), m.log_param("key" * 100, 1), m.set_tag("long", "x" * 8000)
        m.get_artifact_uri(), m.get_artifact_uri("a/b"), m.end_run()
    m.get_run(run.info.run_id)
    m.start_run(run_id=run.info.run_id, experiment_id="0"), m.end_run()
    m.start_run(run_id=run.info.run_id, run_name="other name"), m.end_run("KILLED"), m.get_run(run.info.run_id)
    m.start_run(parent_run_id=run.info.run_id, run_name="a child"), m.end_run(), m.start_run(parent_run_id=ABSENT), m.end_run()
    s.client.get_parent_run(run.info.run_id)
    m.delete_experiment("0"), m.start_run(experiment_id="0"), m.restore_experiment("0"), m.restore_experiment("0")
    m.search_experiments(filter_string="tags.a = '1'"), m.search_experiments(order_by=["name DESC"], max_results=1), m.search_experiments(view_type=ViewType.ALL), m.search_experiments(filter_string="oops")
    m.register_model("runs:/x", "n"), m.register_model("models:/none/1", "n"), m.search_model_versions(filter_string="name = 'n'")
    store = s.store
    store.filter_active_experiment_ids(["0", "1", "77"])
    store.log_batch(run.info.run_id, [Metric("late", 1, 1, 1)], [], []), store.get_metric_history(run.info.run_id, "late")
