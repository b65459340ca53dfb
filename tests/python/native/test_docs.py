"""The examples of docs/python.md and docs/integrations.md, and of the docstrings, as they stand there."""

import os
import re
import warnings
from pathlib import Path

import pytest
import runlode

DOCS = Path(__file__).resolve().parents[3] / "docs"


def examples(name):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_the_examples_run(folder, capsys):
    for module in ("pandas", "matplotlib", "PIL"):
        pytest.importorskip(module)
    names = {}
    code = examples("python.md")
    assert len(code) >= 12
    for number, example in enumerate(code):
        exec(compile(example, f"docs/python.md, example {number + 1}", "exec"), names)
    assert os.path.exists(folder / "exp" / "FORMAT")
    assert os.path.exists(folder.parent / "experiments" / "FORMAT")
    names["store"].close()


@pytest.mark.parametrize("framework", ["lightning", "transformers", "optuna"])
def test_the_examples_of_integrations(folder, capsys, framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed: its integration is not tested")
    [example] = [example for example in examples("integrations.md") if f"from runlode.{framework} " in example]
    with warnings.catch_warnings():
        # Those of the frameworks.
        warnings.simplefilter("ignore")
        exec(compile(example, f"docs/integrations.md, {framework}", "exec"), {"__name__": framework})


def docstrings():
    """Examples of methods that are written in Python: the indented ends of their docstrings."""
    for owner in (runlode.Store, runlode.Run):
        for name, method in vars(owner).items():
            if not name.startswith("_") and hasattr(method, "__code__"):
                yield f"{owner.__name__}.{name}", method.__doc__


@pytest.mark.parametrize(("name", "text"), list(docstrings()), ids=lambda value: value if "." in value[:20] else "")
def test_methods_have_examples_that_run(folder, store, name, text):
    for module in ("matplotlib", "PIL"):
        pytest.importorskip(module)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    example = re.search(r"((?:^ {12}.*\n?)+)\s*\Z", text, re.MULTILINE)
    assert example, "no example"
    code = re.sub(r"^ {12}", "", example.group(1), flags=re.MULTILINE)
    (folder / "train.py").write_text("")
    (folder / "checkpoints").mkdir()
    store.create_experiment("digits", tags={"mlflow.note.content": "x"})
    if name != "Store.create_experiment":
        store.create_experiment("characters" if "characters" in code and "rename" not in code else "letters")
    if "restore_experiment" in code:
        store.delete_experiment("characters")
    run = store.run("digits", name="trial-18", tags={"reviewed": 1})
    run.log_text("x", "notes/summary.md")
    if name != "Store.create_model":
        store.create_model("reader" if '"reader"' in code and "rename" not in code else "digits", tags={"owner": "eve"})
    if '"digits"' in code and "model" in name or "stage" in name or "alias" in name:
        if name not in ("Store.create_model", "Store.register_model"):
            store.register_model("digits", run.artifact_uri, run=run, tags={"checked": 1})
            store.set_alias("digits", "champion", 1)
    figure, pixels = pyplot.figure(), [[0, 255], [255, 0]]
    exec(compile(code, f"the docstring of {name}", "exec"), {"store": store, "run": run, "figure": figure, "pixels": pixels})
    pyplot.close(figure)
