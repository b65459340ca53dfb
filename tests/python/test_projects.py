"""The same project launched by MLflow and by ``runlode run``: what the command gets, how the launch ends, and the run.

MLflow launches in this process (``mlflow run`` is the same call after seconds of imports) and records in a database of its
own. Cases in which we differ on purpose say how.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import launches
from conftest import command

pytestmark = pytest.mark.wire

# Writes what a command was started with.
SCRIPT = """import json, os, sys
names = ("MLFLOW_EXPERIMENT_ID", "VIRTUAL_ENV")
with open(os.environ["SEEN"], "a") as out:
    out.write(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(),
                          "variables": {n: os.environ.get(n) for n in names},
                          "has_run": bool(os.environ.get("MLFLOW_RUN_ID"))}) + "\\n")
"""


def main(parameters="", line="python seen.py", more=""):
    """A project file with one entry point."""
    text = "name: demo\nentry_points:\n  main:\n"
    if parameters:
        text += "    parameters:\n" + "".join(f"      {line}\n" for line in parameters.splitlines())
    return text + f"    command: {line}\n" + more


def values(text):
    """A parameter for each value, in the order of the lines."""
    lines = text.splitlines()
    parameters = "\n".join(f"p{n}: {{default: {value}}}" for n, value in enumerate(lines))
    return main(parameters, json.dumps("python seen.py " + " ".join(f"{{p{n}}}" for n in range(len(lines)))))


# Name: project file (None: there is none), arguments of the launch.
CASES = {
    "numbers": (values("0.10\n1e-5\n1.5e3\n1.0e-5\n0.00006\n010\n0o10\n0x1F\n1_000\n12:30\n1.50\n-0.0\n.5\n+1\n1e400\n0.1e-6"), []),
    "more numbers": (values("0b101\n1__0\n1.\n-1\n00\n08\n1:2:3\n190:20:30.15\n-.inf\n.NaN\n~x\n12345678901234567890123\n1.e+3\n1e3"), []),
    "booleans": (values("yes\nno\non\nOFF\ntrue\nTrue\ny\nn\nYES\n'yes'"), []),
    "dates": (values("2024-01-02\n2024-01-02T03:04:05Z\n2024-01-02 03:04:05.6 +02:00\n'2024-01-02'\n2024-1-2"), []),
    "texts": (values("'it''s'\n\"a\\tb\"\na b\n'$HOME'\n'*'\n'a;b'\n'`id`'\n'a\"b'\n''\n'~'\n'#x'\n\"é\\u263a\""), []),
    "lists": (values("[1, 2]\n[a, 'b c']\n{a: 1}\n[1.0, true, null]\n[[1], {}]\n[2024-01-02]"), []),
    "binary": (values("!!binary aGVsbG8=\n!!str 5\n!!int '7'\n!!float 3"), []),
    "given values": (
        main("a\nb: {default: 5}\nc: string".replace("a\n", "a: float\n"), "python seen.py {a} {b} {c}"),
        ["-P", "a=notafloat", "-P", "c=it's $HOME `id` \"q\" \\ * ?"],
    ),
    "empty value": (main("a: string", "python seen.py {a} end"), ["-P", "a="]),
    "value with =": (main("a: string", "python seen.py {a}"), ["-P", "a=b=c"]),
    "spaces around": (main("a: string", "python seen.py {a}"), ["-P", "a=  x  "]),
    "line break": (main("a: string", "python seen.py {a}"), ["-P", "a=x\ny"]),
    "long value": (main("a: string", "python seen.py {a}"), ["-P", "a=" + "x" * 5000]),
    "extras": (main("a: {default: 1}", "python seen.py {a}"), ["-P", "n=3", "-P", "m=a b", "-P", "k="]),
    "key on": (main("on: {default: 1}", "python seen.py {True}"), []),
    "number as key": (main("1: {default: x}\nq: {default: y}", "python seen.py {q}"), []),
    "dashed name": (main("learning-rate: {default: 0.1}", "python seen.py --lr {learning-rate}"), []),
    "braces": (main("a: {default: 1}", "\"python seen.py {{x}} ${{HOME:+h}} {a} '{{{a}}}'\""), []),
    "same twice": (main("a: {default: 1 2}", "python seen.py {a} {a}"), []),
    "block": (main("a: {default: 1}", "|\n      python seen.py first\n      python seen.py {a}"), []),
    "folded": (main("a: {default: 1}", ">\n      python seen.py\n      {a}\n      --b 2"), []),
    "folded, indented": (main("a: {default: 1}", ">\n      python seen.py x\n        y\n      z"), []),
    "backslash": (main("a: {default: 1}", "|\n      python seen.py \\\n        {a} \\\n        --b 2"), []),
    "plain over lines": (main("a: {default: 1}", "python seen.py\n      {a}\n      last"), []),
    "and": (main("", "python seen.py 1 && python seen.py 2 || python seen.py 3"), []),
    "pipe": (main("", "\"echo x | cat > /dev/null; python seen.py $(echo y)\""), []),
    "python -m": (main("", "python -m seen a"), []),
    "exit code": (main("", "exit 7"), []),
    "missing program": (main("", "no-such-program"), []),
    "killed": (main("", "kill -9 $$"), []),
    "entry point": (main("", "exit 1", "  other:\n    parameters: {x: {default: 2}}\n    command: python seen.py {x}\n"), ["-e", "other"]),
    "no such entry point": (main(), ["-e", "gone"]),
    "missing parameter": (main("a: string\nb: string", "python seen.py {a} {b}"), ["-P", "a=1"]),
    "null default": (main("a: {type: float, default: }", "python seen.py {a}"), []),
    "empty parameters": (main() .replace("    command", "    parameters: {}\n    command"), []),
    "script": (None, ["-e", "seen.py", "-P", "lr=0.1"]),
    "script in a folder": (None, ["-e", "more/seen.py"]),
    "shell script": (None, ["-e", "run.sh", "-P", "a=b c"]),
    "main without a file": (None, []),
    "script beside entry points": (main("", "exit 1"), ["-e", "seen.py"]),
    "lower case file": ("mlproject", ["-P", "a=1"]),
    "path": (main("d: path", "python seen.py {d}"), ["-P", "d=/tmp"]),
    "path that is not there": (main("d: path", "python seen.py {d}"), ["-P", "d=/tmp/no/such"]),
    "path by file URI": (main("d: path", "python seen.py {d}"), ["-P", "d=file:///tmp/"]),
    "path with dots": (main("d: path", "python seen.py {d}"), ["-P", "d=/tmp/../tmp/."]),
    "uri": (main("d: uri", "python seen.py {d}"), ["-P", "d=s3://b/k"]),
    "uri without scheme": (main("d: uri", "python seen.py {d}"), ["-P", "d=b/k"]),
    "undeclared placeholder": (main("a: {default: 1}", "python seen.py {b}"), ["-P", "b=1"]),
    "open brace": (main("a: {default: 1}", "'python seen.py {a'"), []),
    "no command": ("entry_points:\n  main:\n    parameters: {}\n", []),
    "run name": (main(), ["--run-name", "try 1"]),
    "experiment": (main(), ["--experiment-name", "by name"]),
    "comment": (main("a: {default: 1}", "'python seen.py {a} # why'"), []),
    "anchors": ("x: &d {type: float, default: 0.5}\n" + main("a: *d\nb: {<<: *d, default: 2}", "python seen.py {a} {b}"), []),
    "key twice": (main("a: {default: 1}\na: {default: 2}", "python seen.py {a}"), []),
    "quoted key": (main("'a b': {default: 1}\nc: {default: 2}", "python seen.py {a b} {c}"), []),
    "type is a list": (main("a: {type: [x], default: 1}", "python seen.py {a}"), []),
    "unknown keys": ("author: me\n" + main("a: {default: 1, help: x}", "python seen.py {a}"), []),
    "two environments": ("python_env: a.yaml\nconda_env: b.yaml\n" + main(), []),
    "environment file is missing": ("conda_env: no.yaml\n" + main(), []),
    "empty docker_env": ("docker_env: {}\n" + main(), []),
    "bad name of an extra": (main(), ["-P", "a*b=1"]),
}
# What MLflow does in these cases, and we do not: no text of ours is compared.
EXECUTED = {"comment"}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def project(tmp_path):
    return made_project(tmp_path / "project")


def made_project(folder):
    (folder / "more").mkdir(parents=True)
    for name in ("seen.py", "more/seen.py"):
        (folder / name).write_text(SCRIPT)
    (folder / "run.sh").write_text('python seen.py "$@"\n')
    return folder


def seen(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_mlflow(folder, arguments, database, out, monkeypatch):
    """Status, run and what the command saw; None for a run that was not made."""
    import mlflow

    monkeypatch.setenv("SEEN", str(out))
    mlflow.set_tracking_uri(database)
    client = mlflow.MlflowClient()
    options, parameters, rest = {"entry_point": "main", "env_manager": "local"}, {}, iter(arguments)
    names = {"-e": "entry_point", "-v": "version", "--run-name": "run_name", "--experiment-name": "experiment_name"}
    for option in rest:
        if option == "-P":
            name, _, value = next(rest).partition("=")
            parameters[name] = value
        else:
            options[names[option]] = next(rest)
    experiments = [e.experiment_id for e in client.search_experiments()]
    before = {r.info.run_id for r in client.search_runs(experiments)}
    is_success = True
    try:
        mlflow.projects.run(str(folder), parameters=parameters, **options)
    except Exception:
        is_success = False
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = [r for r in client.search_runs(experiments, max_results=1000) if r.info.run_id not in before]
    mlflow.set_tracking_uri(None)
    assert len(runs) < 2
    return is_success, (record(runs[0].data.params, runs[0].data.tags, runs[0].info.status) if runs else None), seen(out)


def record(params, tags, status):
    """What a run says of its launch."""
    tags = {key: value for key, value in tags.items() if key != "mlflow.runName" or value == "try 1"}
    return {"params": params, "tags": tags, "status": status}


def run(*arguments, **variables):
    return subprocess.run(
        command() + ["run", *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def runs_of(store):
    if not Path(store).exists():
        return []
    shown = subprocess.run(command() + ["runs", str(store), "--json"], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)


def by_runlode(folder, arguments, store, out):
    ended = run(folder, "--store", store, "--env-manager", "local", *arguments, SEEN=str(out))
    assert ended.returncode in (0, 1), ended.stderr
    assert "panicked" not in ended.stderr
    runs = runs_of(store)
    assert len(runs) < 2
    made = record(runs[0]["params"], runs[0]["tags"], runs[0]["status"]) if runs else None
    return ended.returncode == 0, made, seen(out), ended.stderr


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    # The Python of this process is the one that both launch.
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")


def same(mine, theirs):
    """The two launches agree. A launch that MLflow begins and cannot go on with leaves its run RUNNING; ours leaves
    none, or a failed one."""
    (my_success, my_run, my_seen, said), (success, their_run, their_seen) = mine, theirs
    assert my_success == success, said
    # Ids of experiments that were made by name are each store's own.
    for one in my_seen + their_seen:
        one["variables"].pop("MLFLOW_EXPERIMENT_ID")
    assert my_seen == their_seen, said
    if their_run is None or their_run["status"] == "RUNNING":
        assert my_run is None or my_run["status"] == "FAILED"
    else:
        assert my_run == their_run, said


@pytest.mark.parametrize("name", CASES)
def test_both_launch_alike(name, project, database, tmp_path, monkeypatch):
    text, arguments = CASES[name]
    if text == "mlproject":
        (project / "mlproject").write_text(main("a: string", "python seen.py {a}"))
    elif text is not None:
        (project / "MLproject").write_text(text)
    theirs = by_mlflow(project, arguments, database, tmp_path / "theirs", monkeypatch)
    mine = by_runlode(project, arguments, tmp_path / "store", tmp_path / "mine")
    same(mine, theirs)
    if name not in ("no such entry point", "missing parameter") and theirs[0]:
        assert theirs[2], "the case compares nothing"


LAUNCHES = os.environ.get("RUNLODE_LAUNCHES", "6")
LAUNCHES_FROM, LAUNCHES_TO = (int(part) for part in (LAUNCHES if ":" in LAUNCHES else f"0:{LAUNCHES}").split(":"))


@pytest.mark.parametrize("first", range(LAUNCHES_FROM, LAUNCHES_TO, 20))
def test_launches_by_chance(first, database, tmp_path, monkeypatch):
    """`RUNLODE_LAUNCHES`: how many, or from:to (knob)."""
    failed = []
    for seed in range(first, min(first + 20, LAUNCHES_TO)):
        text, arguments = launches.Maker(seed).launch()
        folder = tmp_path / str(seed)
        made_project(folder / "project")
        if text is not None:
            (folder / "project" / "MLproject").write_bytes(text.encode())
        theirs = by_mlflow(folder / "project", arguments, database, folder / "theirs", monkeypatch)
        mine = by_runlode(folder / "project", arguments, folder / "store", folder / "mine")
        try:
            same(mine, theirs)
        except AssertionError as error:
            failed.append(f"seed {seed} {arguments}\n{text}\n{str(error)[:3000]}")
        shutil.rmtree(folder)
    assert not failed, f"{len(failed)} differ\n" + "\n\n".join(failed)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]
    made = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return made.stdout.strip()


@pytest.fixture
def repository(project):
    (project / "MLproject").write_text(main("a: {default: 1}", "python seen.py {a}"))
    sub = project / "sub"
    sub.mkdir()
    (sub / "MLproject").write_text(main("", "python ../seen.py sub"))
    git(project, "init", "-q")
    git(project, "remote", "add", "origin", "https://user:secret@example.com/team/p.git")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "one")
    git(project, "tag", "v1")
    git(project, "branch", "side")
    return project


@pytest.mark.parametrize("place", ["{}", "{}#sub", "{}/sub", "file://{}"])
def test_both_record_git_alike(place, repository, database, tmp_path, monkeypatch):
    uri = place.format(repository)
    theirs = by_mlflow(uri, [], database, tmp_path / "theirs", monkeypatch)
    mine = by_runlode(uri, [], tmp_path / "store", tmp_path / "mine")
    if uri.startswith("file:"):
        # MLflow records a path that is none.
        assert mine[1]["tags"].pop("mlflow.source.name") == f"file://{repository}"
        theirs[1]["tags"].pop("mlflow.source.name")
    same(mine, theirs)
    assert theirs[1]["tags"]["mlflow.source.git.repoURL"] == "https://example.com/team/p.git"


@pytest.mark.parametrize("arguments", [[], ["-v", "v1"], ["-v", "side"]])
def test_both_fetch_alike(arguments, repository, database, tmp_path, monkeypatch):
    git(tmp_path, "clone", "-q", "--bare", str(repository), "far.git")
    # A URL that is no local path for either: the user's git knows where it leads.
    settings = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": f"url.{tmp_path}/.insteadOf", "GIT_CONFIG_VALUE_0": "https://far.test/",
                "GIT_CONFIG_KEY_1": "protocol.file.allow", "GIT_CONFIG_VALUE_1": "always"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    uri = "https://far.test/far.git"
    theirs = by_mlflow(uri, arguments, database, tmp_path / "theirs", monkeypatch)
    mine = by_runlode(uri, arguments, tmp_path / "store", tmp_path / "mine")
    for one in mine[2] + theirs[2]:
        # A temporary folder of each.
        one.pop("folder")
    same(mine, theirs)
    assert theirs[0] and theirs[1]["tags"]["mlflow.source.git.commit"]


def test_a_zip_file(repository, database, tmp_path, monkeypatch):
    shutil.make_archive(str(tmp_path / "project"), "zip", repository)
    uri = str(tmp_path / "project.zip")
    theirs = by_mlflow(uri, ["-P", "a=2"], database, tmp_path / "theirs", monkeypatch)
    mine = by_runlode(uri, ["-P", "a=2"], tmp_path / "store", tmp_path / "mine")
    for one in mine[2] + theirs[2]:
        one.pop("folder")
    # The archive holds a .git: MLflow records its commit.
    same(mine, theirs)


def test_a_changed_tree_is_not_recorded_as_its_commit(repository, database, tmp_path, monkeypatch):
    (repository / "run.sh").write_text("changed\n")
    theirs = by_mlflow(repository, [], database, tmp_path / "theirs", monkeypatch)
    mine = by_runlode(repository, [], tmp_path / "store", tmp_path / "mine")
    commit = theirs[1]["tags"].pop("mlflow.source.git.commit")
    assert mine[1]["tags"].pop("mlflow.source.git.commit") == f"{commit}-dirty"
    same(mine, theirs)


def test_the_parent_is_the_run_of_the_launching_command(project, database, tmp_path):
    """A command that launches another project."""
    (project / "MLproject").write_text(main("", "python seen.py child"))
    outer = tmp_path / "outer"
    outer.mkdir()
    line = " ".join(command() + ["run", str(project), "--env-manager", "local"])
    (outer / "MLproject").write_text(main("", json.dumps(line)))
    store = tmp_path / "store"
    ended = run(outer, "--store", store, "--env-manager", "local", SEEN=str(tmp_path / "mine"))
    assert ended.returncode == 0, ended.stderr
    runs = {r["tags"]["mlflow.source.name"]: r for r in runs_of(store)}
    assert runs[str(project)]["tags"]["mlflow.parentRunId"] == runs[str(outer)]["run_id"]


LOGS = """import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5, step=3)
    mlflow.log_param("from", "script")
"""


def document(text):
    """The summary after what the command wrote."""
    return json.loads(text[text.rindex("{") :])


def test_a_launch_in_a_server(server, api, project):
    """The record, the files of the launch and what the command logs with MLflow's client all go through the server."""
    (project / "MLproject").write_text(main("a: {default: 1}", "python logs.py {a}"))
    (project / "logs.py").write_text(LOGS)
    ended = run(project, "--env-manager", "local", "--json", MLFLOW_TRACKING_URI=server.uri, SEEN="")
    assert ended.returncode == 0, ended.stderr
    made = document(ended.stdout)["run_id"]
    found = api.got(made)
    assert found["info"]["status"] == "FINISHED"
    assert api.params(made) == {"a": "1", "from": "script"}
    assert api.tags(made)["mlflow.source.type"] == "PROJECT"
    assert api.latest(made) == {"loss": 0.5}
    kept = {f["path"] for f in api.get("artifacts/list", run_id=made, path="launch")["files"]}
    assert {"launch/launch.json", "launch/output.txt", "launch/end.json"} <= kept
    again = subprocess.run(
        command() + ["rerun", made, "-P", "a=2", "--json"],
        env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert api.params(document(again.stdout)["run_id"])["a"] == "2"
    # A launch that fails there is failed there.
    failed = run(project, "--env-manager", "local", "-P", "a*b=1", MLFLOW_TRACKING_URI=server.uri)
    assert failed.returncode == 1
    runs = api.post("runs/search", experiment_ids=["0"])["runs"]
    assert "RUNNING" not in {r["info"]["status"] for r in runs}
