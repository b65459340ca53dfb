"""The examples of docs/python.md, as they stand there."""

import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs" / "python.md"


def examples():
    text = DOCS.read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names = {}
    code = examples()
    assert len(code) >= 2
    for number, example in enumerate(code):
        exec(compile(example, f"docs/python.md, example {number + 1}", "exec"), names)
    assert os.path.exists(tmp_path / "exp" / "FORMAT")
    names["store"].close()
