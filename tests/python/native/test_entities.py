"""Experiments, the life of runs, parents, the registry; names where ids are taken."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import runlode


def test_experiments(store):
    made = store.create_experiment("letters", tags={"team": "vision", "n": 1})
    assert (made["name"], made["lifecycle"], made["tags"]) == ("letters", "active", {"team": "vision", "n": "1"})
    for given in ("letters", "lett", made, made["experiment_id"], int(made["experiment_id"])):
        assert store.get_experiment(given) == made
    with pytest.raises(runlode.AlreadyExists):
        store.create_experiment("letters")
    store.create_experiment("digits")
    assert [one["name"] for one in store.experiments(order_by="name ASC")] == ["Default", "digits", "letters"]
    assert [one["name"] for one in store.experiments("name LIKE 'd%'")] == ["digits"]
    assert [one["name"] for one in store.experiments("tags.team = 'vision'", limit=1)] == ["letters"]
    store.set_experiment_tags("letters", {"note": "x"})
    store.delete_experiment_tag("letters", "team")
    assert store.get_experiment("letters")["tags"] == {"n": "1", "note": "x"}
    store.rename_experiment("letters", "characters")
    run = store.run("characters")
    store.delete_experiment("characters")
    assert [one["name"] for one in store.experiments(deleted=True)] == ["characters"]
    assert len(store.search()) == 0
    with pytest.raises(runlode.Error, match="characters|deleted"):
        store.run("characters")
    store.restore_experiment("characters")
    assert store.search()[0]["run_id"] == run.run_id


def test_many_experiments(store):
    for at in range(30):
        store.create_experiment(f"e{at:02}")
    assert len(store.experiments()) == 30 + len(store.experiments("name = 'Default'"))
    assert [one["name"] for one in store.experiments("name LIKE 'e%'", order_by=["name DESC"], limit=3)] == [
        "e29",
        "e28",
        "e27",
    ]
    assert store.experiments(limit=0) == []


def test_artifact_locations(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store.create_experiment("a", artifact_location="here")["artifact_location"] == str(tmp_path / "here")
    assert store.create_experiment("b", artifact_location="s3://x/y")["artifact_location"] == "s3://x/y"
    assert store.run("a").artifact_uri.startswith(str(tmp_path / "here"))


def test_a_run_in_an_experiment_that_is_named_by_number(store):
    made = store.create_experiment("digits")
    assert store.run(made["experiment_id"]).experiment_id == made["experiment_id"]
    assert store.run(made).experiment_id == made["experiment_id"]
    assert store.get_experiment(store.run("2026").experiment_id)["name"] == "2026"
    assert store.get_experiment(store.run("2026").experiment_id)["name"] == "2026"
    with pytest.raises(runlode.Invalid, match="experiment"):
        store.run(3.5)


@pytest.mark.parametrize("given", ["first", "prefix", "id", "dict", "run"])
def test_what_a_run_may_be_given_as(store, run, given):
    run.log({"loss": 1.0})
    one = {
        "first": "first",
        "prefix": run.run_id[:9],
        "id": run.run_id,
        "dict": store.get_run(run),
        "run": run,
    }[given]
    assert store.get_run(one)["run_id"] == run.run_id
    assert store.liveness(one) == "alive"
    assert len(store.history(one, "loss")) == len(store.history([one, one], "loss")) / 2 == 1
    assert len(store.downsample(one, "loss")) == 1
    assert store.changes(one)[0]["event"] == "RunCreated"
    past = store.as_of(store.status()["published"])
    assert past.run(one)["run_id"] == run.run_id
    assert len(past.history(one, "loss")) == 1
    store.set_tags(one, {"a": 1})
    store.delete_tag(one, "a")
    store.rename_run(one, "first")
    assert store.resume(one).run_id == run.run_id
    assert store.artifacts(one) == []
    store.delete_run(one)
    assert store.get_run(one)["lifecycle"] == "deleted"
    store.restore_run(one)
    assert store.search(parent=one)[:].num_rows == 0
    assert store.run(parent=one).tags["mlflow.parentRunId"] == run.run_id


def test_names_that_fit_nothing_or_too_much(store, run):
    other = store.run(name="trial-18")
    for call in (store.get_run, store.resume, store.history, store.liveness, store.changes, store.delete_run):
        with pytest.raises(runlode.NotFound, match="trial-81.*trial-18"):
            call("trial-81")
    store.run(name="trial-18")
    with pytest.raises(runlode.Invalid, match=f"'trial-18' fits several runs.*{other.run_id}"):
        store.get_run("trial-18")
    assert store.get_run(other.run_id[:8])["run_id"] == other.run_id
    # Too short for the beginning of an id, and what would be syntax in a filter.
    for text in ("", run.run_id[:3], "' OR 'a' = 'a", "it's \"quoted\"", "100%", "____"):
        with pytest.raises(runlode.NotFound):
            store.get_run(text)
    odd = store.run(name="it's")
    assert store.get_run("it's")["run_id"] == odd.run_id
    with pytest.raises(runlode.Invalid, match="a run, its id or its name was expected, not int"):
        store.get_run(5)
    with pytest.raises(runlode.NotFound, match="Similar: 'digits'"):
        store.get_experiment("digist")
    with pytest.raises(runlode.NotFound):
        store.get_experiment("999")
    store.create_experiment("digits-2")
    store.create_experiment("letters-1")
    store.create_experiment("letters-2")
    with pytest.raises(runlode.Invalid, match="'letters' fits several"):
        store.get_experiment("letters")


def test_runs_come_and_go(store, run):
    store.delete_run(run)
    assert len(store.search()) == 0 and len(store.search(deleted=True)) == 1
    store.restore_run("first")
    assert len(store.search()) == 1
    store.rename_run(run, "second")
    assert store.get_run("second")["run_name"] == store.get_run(run)["tags"]["mlflow.runName"] == "second"
    run.end()
    store.set_tags("second", {f"t{at}": at for at in range(150)})
    assert store.get_run(run)["status"] == "FINISHED"
    assert store.get_run(run)["tags"]["t149"] == "149"
    with pytest.raises(runlode.NotFound):
        store.delete_tag(run, "nope")


def test_parents(store):
    with store.run("digits", name="sweep") as sweep:
        with sweep.child("fold-1", params={"fold": 1}, tags={"kind": "fold"}) as fold:
            assert fold.log({"loss": 0.5})
            assert fold.experiment_id == sweep.experiment_id
            assert fold.tags["mlflow.parentRunId"] == sweep.run_id
        with store.run(parent=sweep, name="fold-2") as second:
            assert second.experiment_id == sweep.experiment_id
        elsewhere = store.run("other", parent="sweep")
        assert elsewhere.experiment_id != sweep.experiment_id
    assert set(store.search(parent=sweep).column("run_name")) == {"fold-1", "fold-2", elsewhere.name}
    assert store.search("params.fold = '1' OR params.fold = '2'", parent="sweep").column("run_name") == ["fold-1"]
    with pytest.raises(runlode.NotFound):
        store.run(parent="0" * 32)


def test_the_registry(store, run):
    made = store.create_model("digits", tags={"task": "ocr"}, description="reads digits")
    assert (made["description"], made["tags"], made["aliases"], made["latest_versions"]) == (
        "reads digits",
        {"task": "ocr"},
        {},
        [],
    )
    with pytest.raises(runlode.AlreadyExists):
        store.create_model("digits")
    with pytest.raises(runlode.NotFound, match="no versions"):
        store.get_model_version("digits")
    first = store.create_model_version("digits", run.artifact_uri + "/model", run=run, tags={"data": "a"})
    assert (first["version"], first["stage"], first["run_id"], first["tags"]) == (1, "None", run.run_id, {"data": "a"})
    second = store.register_model("digits", run.artifact_uri + "/model", run="first", description="better")
    assert (second["version"], second["description"]) == (2, "better")
    assert store.register_model("new", run.artifact_uri)["version"] == 1
    assert [model["name"] for model in store.models(order_by="name")] == ["digits", "new"]
    assert [model["name"] for model in store.models("tags.task = 'ocr'")] == ["digits"]

    store.set_alias("digits", "champion", 1)
    assert store.get_model("digits")["aliases"] == {"champion": 1}
    store.set_stage("digits", 1, "Production")
    assert store.set_stage("digits", "2", "Production", archive_existing=True)["stage"] == "Production"
    assert store.get_model_version("digits", 1)["stage"] == "Archived"
    for given, number in [
        (("digits", 1), 1),
        (("digits", "2"), 2),
        (("digits",), 2),
        (("models:/digits/1",), 1),
        (("models:/digits@champion",), 1),
        (("models:/digits/Production",), 2),
        (("models:/digits/latest",), 2),
        (("models:/digits",), 2),
    ]:
        assert store.get_model_version(*given)["version"] == number, given
    assert store.get_model_version("digits", alias="champion")["aliases"] == ["champion"]
    assert store.get_model_version("digits", stage="Archived")["version"] == 1
    assert [(one["version"], one["aliases"]) for one in store.model_versions("digits", order_by="version_number ASC")] == [
        (1, ["champion"]),
        (2, []),
    ]
    assert [one["version"] for one in store.model_versions("digits", filter="tags.data = 'a'")] == [1]
    assert len(store.model_versions()) == 3
    assert store.changes("models:/digits@champion")[0]["event"] == "ModelVersionCreated"

    store.update_model("digits", description="x")
    store.set_model_tags("digits", {"owner": "ada"})
    store.delete_model_tag("digits", "task")
    assert (store.get_model("digits")["description"], store.get_model("digits")["tags"]) == ("x", {"owner": "ada"})
    store.update_model_version("digits", 1, description="first")
    store.set_model_version_tags("digits", 1, {"checked": True})
    store.delete_model_version_tag("digits", 1, "data")
    version = store.get_model_version("digits", 1)
    assert (version["description"], version["tags"]) == ("first", {"checked": "True"})
    store.delete_alias("digits", "champion")
    store.delete_model_version("digits", 1)
    with pytest.raises(runlode.NotFound):
        store.get_model_version("digits", 1)
    store.rename_model("digits", "reader")
    assert store.get_model_version("reader")["version"] == 2
    store.delete_model("reader")
    assert [model["name"] for model in store.models()] == ["new"]


def test_models_that_are_not_there(store):
    store.create_model("digits")
    for call in (
        lambda: store.get_model("digit"),
        lambda: store.get_model_version("digit", 1),
        lambda: store.get_model_version("models:/digit@x"),
        lambda: store.create_model_version("digit", "/x"),
        lambda: store.set_alias("digit", "x", 1),
        lambda: store.set_model_tags("digit", {"a": 1}),
        lambda: store.model_versions("digit"),
        lambda: store.delete_model("digit"),
    ):
        with pytest.raises(runlode.NotFound, match="Similar: 'digits'"):
            call()
    with pytest.raises(runlode.NotFound) as error:
        store.get_model_version("digits", 9)
    assert "Similar" not in str(error.value)
    for wrong in ("champion", "1.0", True, None, 1.5):
        with pytest.raises(runlode.Invalid):
            store.set_alias("digits", "x", wrong)
    with pytest.raises(runlode.Invalid, match="one of"):
        store.get_model_version("digits", 1, alias="x")
    with pytest.raises(runlode.Invalid, match="already says"):
        store.get_model_version("models:/digits/1", 2)
    with pytest.raises(runlode.Invalid):
        store.set_stage("digits", 1, "Shelf")


def _git(folder, *arguments):
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


SCRIPT = """
import sys, runlode
with runlode.open(sys.argv[1]) as store, store.run(tags={"mine": 1}) as run:
    print(repr((run.tags, store.get_run(run)["user_id"])))
"""


def _noted(script, *arguments, **env):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env}
    env.pop("MLFLOW_TRACKING_USERNAME", None)
    done = subprocess.run([sys.executable, *script, *arguments], env=env, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


def test_user_source_and_commit(tmp_path):
    tree = tmp_path / "tree"
    (tree / "src").mkdir(parents=True)
    script = tree / "src" / "train.py"
    script.write_text(SCRIPT)
    try:
        _git(tree, "init", "--initial-branch", "trunk")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git here")
    path = str(tmp_path / "exp")
    tags, user = _noted([str(script)], path, LOGNAME="ada")
    assert user == tags["mlflow.user"] == "ada"
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"], tags["mine"]) == (str(script), "LOCAL", "1")
    assert not any("git" in key for key in tags), "there is no commit yet"
    _git(tree, "add", ".")
    _git(tree, "commit", "-m", "first")
    _git(tree, "remote", "add", "origin", "https://ada:secret@example.com/x.git")
    commit = _git(tree, "rev-parse", "HEAD")

    def of_git(script=script):
        tags, _ = _noted([str(script)], path)
        return [tags.get(f"mlflow.source.git.{name}") for name in ("commit", "branch", "repoURL")]

    assert of_git() == [commit, "trunk", "https://example.com/x.git"]
    _git(tree, "pack-refs", "--all")
    assert of_git() == [commit, "trunk", "https://example.com/x.git"]
    _git(tree, "checkout", "--detach")
    assert of_git() == [commit, None, "https://example.com/x.git"]
    _git(tree, "worktree", "add", "-b", "other", str(tmp_path / "second"))
    assert of_git(tmp_path / "second" / "src" / "train.py") == [commit, "other", "https://example.com/x.git"]
    (tree / ".gitignore").write_text("ignored\n")
    (tree / "ignored").mkdir()
    (tree / "ignored" / "train.py").write_text(SCRIPT)
    assert of_git(tree / "ignored" / "train.py") == [None] * 3


def test_context_as_mlflow_has_it(tmp_path):
    pytest.importorskip("mlflow.tracking.context.registry")
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, runlode, mlflow.tracking.context.registry as registry\n"
        "with runlode.open(sys.argv[1]) as store, store.run() as run:\n"
        "    mine = {key: value for key, value in run.tags.items() if key != 'mlflow.runName'}\n"
        "    print(repr((mine, registry.resolve_tags())))\n"
    )
    mine, theirs = _noted([str(script)], str(tmp_path / "exp"))
    assert mine == theirs
    mine, theirs = _noted(["-c", script.read_text()], str(tmp_path / "exp"), LOGNAME="eve")
    assert mine == theirs and mine["mlflow.user"] == "eve" and mine["mlflow.source.name"] == "-c"


def test_own_tags_win(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"launcher": "x", "mlflow.source.type": "JOB"}')
    run = store.run(tags={"mlflow.user": "bob", "mlflow.source.name": "mine.py"})
    assert store.get_run(run)["user_id"] == "bob"
    assert run.tags["mlflow.source.name"] == "mine.py"
    assert (run.tags["launcher"], run.tags["mlflow.source.type"]) == ("x", "JOB")


def test_notebooks(store, monkeypatch):
    class ZMQInteractiveShell:
        user_ns = {}

    module = type(sys)("IPython")
    module.get_ipython = ZMQInteractiveShell
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ada/work/Digits.ipynb")
    tags = store.run().tags
    assert (tags["mlflow.source.type"], tags["mlflow.source.name"]) == ("NOTEBOOK", "Digits.ipynb")


def test_homes_and_schemes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/exp", b"~/exp", "runlode:~/exp", tmp_path / "exp"):
        with runlode.open(path) as store:
            assert store.path == tmp_path / "exp", path
    assert not (tmp_path / "~").exists()
    for path, words in {
        "file:///data/exp": "give its path",
        "http://127.0.0.1:5000": "set_tracking_uri",
        "https://x.y": "set_tracking_uri",
        "sqlite:///mlflow.db": "runlode import sqlite:///mlflow.db",
        "s3://bucket/x": "artifacts='s3://bucket/x'",
        "hdfs://x/y": "local folder",
        "HTTP://x": "set_tracking_uri",
        "data:1": "./data:1",
    }.items():
        for opened in (runlode.open, runlode.Store):
            with pytest.raises(runlode.Invalid, match=words):
                opened(path)
    for path in ("", "a\0b", "~nobody-of-this-name/x", "runlode://host/x", "runlode:///x?nope=1"):
        with pytest.raises(runlode.Invalid):
            runlode.open(path)
    assert os.listdir(tmp_path) == ["exp"]
    with runlode.open("./a:b") as store:
        assert store.path == tmp_path / "a:b"


def test_a_store_pickles_as_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with runlode.open("exp", durability="sync", strict=True) as store:
        run = store.run()
        monkeypatch.chdir("/")
        with pickle.loads(pickle.dumps(store)) as other:
            assert other.path == tmp_path / "exp"
            assert other.get_run(run)["run_id"] == run.run_id
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            assert list(pool.map(_log_in_worker, [store] * 4, [run.run_id] * 4, range(4))) == [True] * 4
        assert sorted(store.history(run, "loss").column("step")) == [0, 1, 2, 3]


def _log_in_worker(store, run_id, step):
    return store.resume(run_id).log({"loss": 1.0}, step=step)


def test_a_block_that_fails_marks_its_run(store):
    for error in (KeyError("x"), KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), store.run() as run:
            with run.child() as child:
                raise error
        assert (run.status, child.status) == ("FAILED", "FAILED")


def test_a_search_takes_experiments_as_other_calls_do(store):
    run = store.run("digits")
    made = store.get_experiment("digits")
    for given in ("digits", "dig", made, made["experiment_id"], ["dig", "Default"], [made, "dig"]):
        assert store.search(experiments=given).column("run_id") == [run.run_id], given
    with pytest.raises(runlode.NotFound, match="Similar: 'digits'"):
        store.search(experiments="digist")
    with pytest.raises(runlode.Invalid, match="name of an experiment"):
        store.search(experiments=[3.5])


def test_names_that_are_nearly_right_are_warned_of(store, run, recwarn):
    run.log({"loss": 1.0, "val/acc": 2.0})
    run.log_params({"learning_rate": 0.1})
    with pytest.warns(UserWarning, match=f"run {run.run_id} has no metric 'los'. Similar: 'loss'") as caught:
        assert len(store.history(run, "los")) == 0
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="Similar: 'loss'"):
        assert len(store.downsample(run, "losss")) == 0
    for filter, words in {
        "metrics.los < 1": "no run has a metric 'los'. Similar: 'loss'",
        "metrics.los.min < 1 and params.learning_rate = '1'": "Similar: 'loss'",
        "metrics.`val/ac` > 1": "Similar: 'val/acc'",
        "params.lerning_rate = '0.1'": "no run has a param 'lerning_rate'. Similar: 'learning_rate'",
        "tags.mlflow.usr = 'x'": "Similar: 'mlflow.user'",
    }.items():
        with pytest.warns(UserWarning, match=words):
            assert len(store.search(filter)) == 0
    recwarn.clear()
    # Nothing to be warned of: the name is right, or nothing is like it.
    store.search("metrics.loss > 5")
    store.search("metrics.loss.max > 5")
    store.search("metrics.entirely_different > 5")
    store.search("attributes.run_name = 'loss.los'")
    store.history(run, "entirely_different")
    store.history(run, ["loss", "los"])
    assert not recwarn.list, [str(one.message) for one in recwarn.list]
