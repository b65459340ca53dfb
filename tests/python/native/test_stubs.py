"""The typed stubs say what is there, and mypy takes them."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
import runlode

STUB = Path(runlode.__file__).with_name("__init__.pyi")


def stubbed():
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, runlode, node
        elif isinstance(node, ast.ClassDef) and node.name in runlode.__all__:
            for inner in node.body:
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield f"{node.name}.{inner.name}", getattr(runlode, node.name), inner


def test_every_name_has_a_stub_and_the_other_way_round():
    tree = ast.parse(STUB.read_text()).body
    names = {node.name for node in tree if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert set(runlode.__all__) <= names
    for name in ("Store", "Run", "Past", "Table", "Tail"):
        node = next(node for node in tree if getattr(node, "name", None) == name)
        typed = {inner.name for inner in node.body if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))}
        there = {name for name in vars(getattr(runlode, name)) if not name.startswith("_")}
        assert there <= typed, (name, there - typed)


@pytest.mark.parametrize(("name", "owner", "node"), stubbed(), ids=lambda value: value if isinstance(value, str) else "")
def test_arguments_are_those_of_the_stub(name, owner, node):
    thing = inspect.getattr_static(owner, node.name) if owner is not runlode else getattr(owner, node.name)
    if isinstance(thing, (property, type(vars(runlode.Store)["path"]))) or node.name in ("__exit__", "__init__"):
        return
    assert thing.__doc__ or node.name.startswith("_"), "no docstring"
    if node.name.startswith("__"):
        return
    arguments = node.args
    expected = [(a.arg, "plain") for a in arguments.args] + [(a.arg, "keyword") for a in arguments.kwonlyargs]
    expected += [(arguments.kwarg.arg, "plain")] if arguments.kwarg else []
    found = [
        (p.name, "keyword" if p.kind is p.KEYWORD_ONLY else "plain") for p in inspect.signature(thing).parameters.values()
    ]
    assert found == expected


def test_mypy(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "typed.py"
    script.write_text(
        "import runlode\n"
        "async def main() -> None:\n"
        "    with runlode.open('exp', durability='sync') as store, store.run(params={'lr': 0.1}) as run:\n"
        "        ok: bool = run.log({'loss': 1.0, 'n': 3}, step=3)\n"
        "        rows: int = store.search('metrics.loss < 1', columns=['run_id']).num_rows\n"
        "        row: dict[str, object] = store.search()[0]\n"
        "        lr: str = store.get_run(run)['params']['lr']\n"
        "        async for event in store.tail():\n"
        "            print(event['position'], ok, rows, lr)\n"
        "        run.log({'loss': 'x'})  # wrong\n"
        "        runlode.open('exp', durability='maybe')  # wrong\n"
    )
    env = {**os.environ, "MYPYPATH": str(STUB.parents[1])}
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(script)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(wrong) == 2, done.stdout + done.stderr
    assert all(f"typed.py:{number}:" in line for number, line in zip((10, 11), wrong)), wrong


def test_mypy_takes_the_examples(tmp_path):
    pytest.importorskip("mypy")
    from .test_docs import examples

    if not (docs := examples("python.md")):
        pytest.skip("this is no checkout")
    # Names are used again for other things, as one does in a notebook.
    script = tmp_path / "examples.py"
    script.write_text("\n".join(docs))
    env = {**os.environ, "MYPYPATH": str(STUB.parents[1])}
    options = ["--strict", "--allow-redefinition", "--follow-imports=silent", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *options, str(script)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert not wrong, "\n".join(wrong)


def test_mypy_takes_the_integrations(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "integrations.py"
    script.write_text(
        "import runlode\n"
        "from runlode.lightning import RunlodeLogger\n"
        "from runlode.optuna import RunlodeCallback\n"
        "from runlode.transformers import RunlodeCallback as Trained\n"
        "run: runlode.Run = RunlodeLogger('exp', 'digits', log_checkpoints=True).experiment\n"
        "tracked = RunlodeCallback(runlode.open('exp'), parent=run, metric_names=['a'])\n"
        "maybe: runlode.Run | None = Trained('exp', run=run).run\n"
        "RunlodeCallback(3)  # wrong\n"
    )
    env = {**os.environ, "MYPYPATH": str(STUB.parents[1])}
    options = ["--strict", "--follow-imports=silent", "--ignore-missing-imports"]
    command = [sys.executable, "-m", "mypy", *options, str(script)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line and "integrations.py" in line]
    assert len(wrong) == 1 and "integrations.py:8:" in wrong[0], done.stdout + done.stderr
