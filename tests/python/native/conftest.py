"""The package under test: the one that is installed (RUNLODE_INSTALLED=1), else `api/python` with the extension that
was built last (`cargo build --release -p runlode-python`)."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "api" / "python" / "runlode"


def _take_newest_extension():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "lib_runlode.so" for profile in ("wheel", "release", "debug")]
    built = sorted((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    taken = PACKAGE / "_runlode.abi3.so"
    if built and (not taken.exists() or taken.stat().st_mtime < built[-1].stat().st_mtime):
        # Beside it and then over it: a process may have the old one loaded.
        beside = taken.with_suffix(f".{os.getpid()}")
        shutil.copy(built[-1], beside)
        os.replace(beside, taken)


if os.environ.get("RUNLODE_INSTALLED") != "1":
    _take_newest_extension()
    sys.path.insert(0, str(PACKAGE.parent))

import runlode  # noqa: E402


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exp"


@pytest.fixture
def store(path):
    with runlode.open(path) as store:
        yield store


@pytest.fixture
def run(store):
    return store.run(experiment="digits", name="first")
