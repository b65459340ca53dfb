"""MLflow's client, functions and commands over both stores: the same answers."""

import math
import os
import pathlib
import re

from .differential import scenario  # First: it skips where there is no MLflow to compare with.

import mlflow
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag

from .scripts import ABSENT, ALL, PROMPT, dataset, state


@scenario
def test_client_calls(s):
    c = s.client
    id = c.create_experiment("client", tags={"a": "1", "b": "2"})
    c.get_experiment(id)
    c.get_experiment_by_name("client")
    run = c.create_run(id, start_time=5, tags={"t": "1"}, run_name="r").info.run_id
    for value in (1, 2.5, True, math.nan, math.inf, "3", "x", None):
        c.log_metric(run, f"m {type(value).__name__}", value, timestamp=1, step=0)
    for value in (1, 2.5, True, None, "", [1], {"a": 1}):
        c.log_param(run, f"p {type(value).__name__}", value)
        c.set_tag(run, f"t {type(value).__name__}", value)
    c.log_param(run, "p int", 1)
    c.log_param(run, "p int", 2)
    c.log_batch(run, [Metric("b", 1, 1, 1)], [Param("b", "1")], [RunTag("b", "1")])
    c.log_batch(run)
    c.set_terminated(run, "FAILED", 77)
    c.set_terminated(run, "bogus", 77)
    c.get_run(run)
    c.update_run(run, "RUNNING", "renamed")
    c.update_run(run, name="only the name")
    c.update_run(run, status="bogus")
    c.get_metric_history(run, "m int")
    c.search_runs([id], "params.b = '1'")
    c.search_runs(id)
    c.search_runs([id], max_results=0)
    c.search_runs([id], order_by=["metrics.b"], run_view_type=ALL)
    c.search_experiments(filter_string="name = 'client'")
    c.set_experiment_tag(id, "k", 5)
    c.delete_experiment_tag(id, "k")
    c.delete_experiment_tag(id, "k")
    c.delete_tag(run, "b")
    c.delete_tag(run, "b")
    c.log_inputs(run, [dataset()])
    c.log_dict(run, {"a": 1}, "d/a.json")
    c.list_artifacts(run)
    c.list_artifacts(run, "d")
    model = c.create_logged_model(id, name="m", source_run_id=run, tags={"a": "1"}, params={"p": "1"})
    c.log_outputs(run, [LoggedModelOutput(model.model_id, 1)])
    c.log_metric(run, "of a model", 1, timestamp=1, step=0, model_id=model.model_id)
    c.finalize_logged_model(model.model_id, "READY")
    c.get_logged_model(model.model_id)
    c.set_logged_model_tags(model.model_id, {"b": "2"})
    c.delete_logged_model_tag(model.model_id, "b")
    c.delete_logged_model_tag(model.model_id, "b")
    c.search_logged_models([id], filter_string="name = 'm'")
    c.delete_logged_model(model.model_id)
    c.get_logged_model(model.model_id)
    c.log_param(run, "later", 1, synchronous=False).wait()
    c.log_metric(run, "later", 1, timestamp=1, step=0, synchronous=False).wait()
    c.set_tag(run, "later", 1, synchronous=False).wait()
    c.log_batch(run, [Metric("much later", 1, 1, 1)], synchronous=False).wait()
    failing = s.raw_client.log_param(run, "later", 2, synchronous=False)
    s.do("a wait", failing.wait)
    c.get_run(run)
    c.rename_experiment(id, "client 2")
    c.delete_run(run)
    c.restore_run(run)
    c.delete_experiment(id)
    c.restore_experiment(id)
    c.get_parent_run(run)
    for bad in (ABSENT, "x"):
        c.get_run(bad)
        c.get_parent_run(bad)
        c.log_metric(bad, "m", 1)
        c.list_artifacts(bad)


@scenario
def test_module_calls(s):
    m = s.mlflow
    state_of = lambda run: [s.raw_store.get_run(run).info.status, s.raw_store.get_run(run).info.run_name]  # noqa: E731
    m.set_experiment("module")
    m.set_experiment(experiment_id="777")
    m.set_experiment("")
    made = m.create_experiment("by module", tags={"a": "1"})
    m.create_experiment("by module")
    m.set_experiment(experiment_id=made)
    m.get_experiment_by_name("nobody")
    first = m.start_run(run_name="first", tags={"x": "1"}, description="d", log_system_metrics=False).info.run_id
    m.log_metric("a", 1.5, step=3, timestamp=9)
    m.log_metrics({"b": 1, "c": 2}, step=1, timestamp=9)
    m.log_params({"p": 1, "q": None})
    m.log_param("p", 2)
    m.set_tags({"t": 1})
    m.set_tag("mlflow.runName", "renamed")
    m.delete_tag("t")
    m.log_text("hello", "a/b.txt")
    m.set_experiment("other")
    m.start_run()
    m.set_experiment(experiment_id=made)
    inner = m.start_run(nested=True, run_name="inner").info.run_id
    m.log_metric("n", 1, step=0, timestamp=1)
    m.end_run()
    m.end_run()
    for run in (first, inner):
        s.store.get_run(run)

    def failing():
        with mlflow.start_run(run_name="failing"):
            raise RuntimeError

    s.do("failing", failing)
    s.do("failed", lambda: state_of(mlflow.last_active_run().info.run_id))
    m.set_experiment(experiment_id=made)
    m.start_run(run_id=first)
    m.log_metric("again", 1, step=0, timestamp=1)
    m.end_run()
    m.start_run(run_id=ABSENT)
    m.delete_run(first)
    m.start_run(run_id=first)
    m.delete_experiment(made)
    m.set_experiment(experiment_id=made)
    m.set_experiment("by module")
    s.do("search_runs", lambda: sorted(mlflow.search_runs(search_all_experiments=True, run_view_type=ALL).columns))
    s.do("search_runs", lambda: len(mlflow.search_runs(["0"], output_format="list")))
    m.last_active_run()


def lines(text):
    """Cells of a table, whose widths depend on URIs."""
    return [re.split(r"\s{2,}|-{3,}", line.strip()) for line in text.splitlines()]


def command(s, *words, answer=lines):
    from click.testing import CliRunner
    from mlflow.cli import cli

    def run():
        # Commands that make runs leave their experiment there.
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        done = CliRunner().invoke(cli, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, answer(s.normal(done.output))

    return s.do("mlflow " + " ".join(words), run)


@scenario
def test_commands(s):
    def ids(text):
        return re.findall(r"<id \d+>", text)

    for words in ["create -n e", "create -n e", "create -n f -l /tmp/place", "create -n", "create -n e|f", "search", "search --view all", "search -v deleted_only", "search -v bogus",
                  "get -x 1", "get -n f", "get -x 9", "get -n none", "rename -x 1 -n g", "rename -x 1 -n f", "rename -x 9 -n g", "delete -x 1", "delete -x 1", "delete -x 9", "search --view deleted_only", "restore -x 1", "restore -x 1", "restore -x 9",
                  "csv -x 1", "csv -x 9", "delete -x 0", "restore -x 0"]:  # fmt: skip
        command(s, "experiments", *words.split())
    run = s.client.create_run("1", 5, {"a": "b"}, "named").info.run_id
    other = s.client.create_run("1", 6, run_name="other").info.run_id
    s.raw_client.log_metric(run, "m", 1.5, 7, 8)
    s.raw_client.log_param(run, "p", "q")
    s.client.set_terminated(run, "FINISHED", 9)
    for words in [f"list --experiment-id 1", "list --experiment-id 9", "list --experiment-id 1 --view all", f"describe --run-id {run}", f"describe --run-id {'0' * 32}", f"delete --run-id {other}", f"delete --run-id {other}", "list --experiment-id 1 -v deleted_only",
                  f"restore --run-id {other}", f"restore --run-id {other}", f"delete --run-id {'0' * 32}", "list", "create --experiment-id 1 --run-name made --tags x=y", "list --experiment-id 1", "create --experiment-id 9", "create --experiment-name new", "list --experiment-id 3"]:  # fmt: skip
        command(s, "runs", *words.split())
    command(s, "experiments", "csv", "-x", "1", answer=lambda text: len(text.splitlines()))
    file = pathlib.Path("file.txt")
    file.write_text("text")
    for words in [f"log-artifact -l file.txt -r {run}", f"log-artifact -l file.txt -r {run} -a sub", f"log-artifact -l file.txt -r {'0' * 32}", f"list -r {run}", f"list -r {run} -a sub", f"download -r {run} -a sub/file.txt", f"download -r {run} -a none", f"list -r {'0' * 32}"]:
        command(s, "artifacts", *words.split(), answer=lambda text: "" if "/tmp" in text else text)


@scenario
def test_registering(s):
    class Adder(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [row + 1 for row in model_input]

    log = dict(python_model=Adder(), pip_requirements=[], input_example=None)
    s.mlflow.set_experiment("e")
    with mlflow.start_run() as run:
        s.value("run", run.info.run_id)
        for more in ({"registered_model_name": "added"}, {"registered_model_name": "added"}, {"registered_model_name": "a/b"}, {}):
            def log_model(more=more):
                found = mlflow.pyfunc.log_model(name="model", **log, **more)
                return found.model_uri, found.model_id, found.registered_model_version

            found = s.do(f"log_model {more}", log_model)
    uri = found[0]
    for args, more in [((uri, "m"), {}), ((uri, "m"), {"tags": {"a": "b"}}), ((uri, "m"), {"await_registration_for": 0}), ((f"runs:/{run.info.run_id}/model", "m"), {}), (("models:/m/1", "n"), {}), ((uri, "a/b"), {}), (("runs:/" + "0" * 32 + "/model", "m"), {}), (("models:/m-" + "0" * 32, "m"), {}), (("models:/x/1", "n"), {}), ((uri, None), {})]:
        s.mlflow.register_model(*args, **more)
    s.client.set_registered_model_alias("m", "best", "2")
    s.client.set_registered_model_alias("m", "best", 1)
    s.client.transition_model_version_stage("m", 3, "Staging")
    for uri in ["models:/m/1", "models:/m@best", "models:/m/latest", "models:/m@latest", "models:/m/Staging", "models:/m/Production", "models:/m/9", "models:/m@none", "models:/x/1", "models:/n/1", uri, f"runs:/{run.info.run_id}/model", "models:/m"]:
        s.do(f"load {uri}", lambda uri=uri: mlflow.pyfunc.load_model(uri).predict([1, 2]))
        s.do(f"info {uri}", lambda uri=uri: mlflow.models.get_model_info(uri).run_id)
        s.do(f"files {uri}", lambda uri=uri: sorted(found.path for found in mlflow.artifacts.list_artifacts(uri)))
    state(s)


@scenario
def test_client_of_the_registry(s):
    c = s.client
    c.create_registered_model("m", {"a": 1, "b": None}, "d")
    c.create_registered_model("m")
    c.create_registered_model("p", {PROMPT: "true"})
    c.get_registered_model("p")
    c.get_registered_model("m")
    c.update_registered_model("m", "e")
    c.update_registered_model("m", None)
    c.rename_registered_model("m", "n")
    c.create_model_version("n", "s3://b", None, {"a": 1}, None, "d", 0)
    c.create_model_version("n", "s3://b", await_creation_for=None)
    c.create_model_version("n", "s3://b", run_id="0" * 32)
    c.create_model_version("x", "s3://b")
    c.update_model_version("n", "1", "e"), c.update_model_version("n", 1), c.update_model_version("n", 9, "e")
    c.transition_model_version_stage("n", 1, "staging"), c.transition_model_version_stage("n", "2", "Staging", archive_existing_versions=True), c.transition_model_version_stage("n", 2, "x")
    c.get_latest_versions("n"), c.get_latest_versions("n", ["Archived"]), c.get_latest_versions("x")
    c.get_model_version_stages("n", "1")
    for key, value in [("k", "v"), ("k", 5), ("k", None), ("a|", "v")]:
        c.set_registered_model_tag("n", key, value)
        c.set_model_version_tag("n", "1", key, value)
        c.set_model_version_tag("n", key=key, value=value, stage="Staging")
    c.set_model_version_tag("n", "1", "k", "v", "Staging"), c.set_model_version_tag("n", key="k", value="v"), c.set_model_version_tag("n", key="k", value="v", stage="Production")
    c.delete_registered_model_tag("n", "k"), c.delete_model_version_tag("n", "1", "k"), c.delete_model_version_tag("n", key="k", stage="Staging"), c.delete_model_version_tag("n", None, "k")
    c.set_registered_model_alias("n", "a", "1"), c.set_registered_model_alias("n", "latest", "1"), c.set_registered_model_alias("n", "a b", "1")
    c.get_model_version_by_alias("n", "a"), c.get_model_version_by_alias("n", "b"), c.delete_registered_model_alias("n", "a")
    c.search_registered_models("name = 'n'"), c.search_registered_models(max_results=1), c.search_model_versions("name='n'", 1), c.search_model_versions("x = 1")
    s.mlflow.search_registered_models(), s.mlflow.search_registered_models(1, "name LIKE 'n%'", ["name DESC"])
    s.mlflow.search_model_versions(), s.mlflow.search_model_versions(1, "name = 'n'", ["version_number ASC"]), s.mlflow.search_model_versions(filter_string="foo = 1")
    c.get_model_version_download_uri("n", "1"), c.get_model_version("n", "1"), c.delete_model_version("n", "1"), c.get_model_version("n", "1"), c.delete_registered_model("n"), c.delete_registered_model("n")
    state(s)


@scenario
def test_prompts(s):
    g = s.over(mlflow.genai, "genai")
    g.register_prompt("p", "hi {{name}}", commit_message="first", tags={"a": "b"})
    g.register_prompt("p", [{"role": "user", "content": "{{x}}"}], response_format={"type": "object"})
    g.register_prompt("bad/name", "x"), g.register_prompt("p", "x" * 100_001)
    s.client.create_registered_model("m")
    g.register_prompt("m", "x")
    for uri in ["prompts:/p/1", "prompts:/p@best", "prompts:/p/9", "prompts:/p@latest", "prompts:/x/1", "prompts:/m/1", "p", "prompts:/p"]:
        g.load_prompt(uri), g.load_prompt(uri, allow_missing=True)
    g.set_prompt_alias("p", "best", 1), g.load_prompt("prompts:/p@best"), g.delete_prompt_alias("p", "best"), g.set_prompt_alias("p", "best", 9), g.load_prompt("p", 1), g.load_prompt("p", version=2)
    g.set_prompt_tag("p", "k", "v"), g.get_prompt_tags("p"), g.delete_prompt_tag("p", "k"), g.set_prompt_version_tag("p", 1, "k", "v"), g.delete_prompt_version_tag("p", 1, "k")
    g.search_prompts(), g.search_prompts("name = 'p'"), g.search_prompts("name LIKE 'x%'"), s.client.search_prompt_versions("p"), s.client.get_prompt("p"), s.client.get_prompt_version("p", "1")
    s.client.create_model_version("p", "x"), s.client.get_registered_model("p"), s.client.delete_prompt("p"), s.client.delete_prompt_version("p", "1"), s.client.delete_prompt_version("p", "2"), s.client.delete_prompt("p"), s.client.delete_registered_model("p")
    g.search_prompts()
    state(s)


@scenario
def test_fluent(s):
    import numpy

    s.mlflow.set_experiment("e")
    s.mlflow.set_experiment(experiment_id="9")
    s.mlflow.set_experiment("e|f")
    outer = s.mlflow.start_run(run_name="outer")
    inner = s.mlflow.start_run(nested=True, run_name="inner")
    s.mlflow.log_metrics({"a": 1, "b": numpy.float32(0.5)}, step=3)
    s.mlflow.log_params({"p": 1, "q": None})
    s.mlflow.log_param("p", 2)
    s.mlflow.set_tags({"t": 1})
    s.do("log_input", lambda: mlflow.log_input(mlflow.data.from_numpy(numpy.array([1, 2]), name="d"), "train", {"x": "y"}))
    s.mlflow.log_dict({"a": 1}, "d/a.json"), s.mlflow.log_text("t", "t.txt"), s.mlflow.log_text("t", "../t.txt")
    s.value("loaded", mlflow.artifacts.load_dict(f"runs:/{inner.info.run_id}/d/a.json"))
    s.mlflow.end_run(), s.mlflow.start_run(run_name="not nested"), s.mlflow.end_run("FAILED")
    s.mlflow.get_run(inner.info.run_id), s.mlflow.get_parent_run(inner.info.run_id), s.mlflow.get_parent_run(outer.info.run_id), s.mlflow.last_active_run()
    found = mlflow.search_runs(experiment_names=["e"], order_by=["attributes.run_name"])
    columns = sorted(column for column in found.columns if "time" not in column)
    s.value("columns", columns), s.value("rows", found[columns].astype(str).values.tolist())
    s.mlflow.search_experiments(), s.mlflow.get_experiment_by_name("e"), s.mlflow.get_experiment_by_name("none"), s.mlflow.delete_experiment("1"), s.mlflow.set_experiment("e"), s.mlflow.create_experiment("e")
    s.mlflow.start_run(run_id=inner.info.run_id), s.mlflow.start_run(experiment_id="9"), s.mlflow.delete_run(outer.info.run_id), s.mlflow.start_run(run_id="0" * 32), s.mlflow.end_run()
