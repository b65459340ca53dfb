"""What `tools/release.sh` says about what it publishes."""

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[3] / "tools" / "release"


@pytest.fixture(scope="module")
def glibc():
    if not (TOOLS / "glibc.py").exists():
        pytest.skip("this is no checkout")
    if not shutil.which("objdump"):
        pytest.skip("there is no objdump")
    spec = importlib.util.spec_from_file_location("glibc", TOOLS / "glibc.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bill_of_materials_has_every_crate(tmp_path):
    if not shutil.which("cargo") or not (TOOLS / "sbom.py").exists():
        pytest.skip("there is no cargo, or no checkout")
    file = tmp_path / "x.cdx.json"
    command = [sys.executable, str(TOOLS / "sbom.py"), "runlode-python", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = json.loads(file.read_text())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.5")
    assert made["metadata"]["component"]["name"] == "runlode-python"
    parts = {part["bom-ref"]: part for part in made["components"]}
    names = {part["name"] for part in parts.values()}
    assert {"runlode", "runlode-engine", "pyo3", "redb", "rkyv"} <= names
    assert not {"proptest", "criterion", "tempfile"} & names, "tests are not published"
    assert not {"syn", "pyo3-macros", "serde_derive"} & names, "macros run in the compiler"
    assert "uuid" not in names, "no crate of this package asks for that feature of rkyv"
    known = {*parts, made["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in made["dependencies"]} == known
    assert all(ref in known for one in made["dependencies"] for ref in one["dependsOn"])
    for part in parts.values():
        assert part["licenses"], part
        assert part["name"].startswith("runlode") or len(part["hashes"][0]["content"]) == 64
    # The same checkout gives the same file.
    before = file.read_bytes()
    subprocess.run(command, check=True, capture_output=True)
    assert file.read_bytes() == before
    missing = subprocess.run([*command[:2], "nope", str(file)], capture_output=True, text=True)
    assert missing.returncode != 0 and "no package nope" in missing.stderr


def test_a_tag_that_promises_too_much_is_refused(glibc, tmp_path):
    import runlode

    built = Path(runlode.__file__).with_name("_runlode.abi3.so")
    newest, symbol, libraries = glibc.needs(built)
    assert newest > (2, 2) and symbol and "libc.so.6" in libraries
    for tag, is_true in ((f"manylinux_{newest[0]}_{newest[1]}", True), ("manylinux_2_99", True), ("manylinux_2_3", False)):
        wheel = tmp_path / f"runlode-1-cp310-abi3-{tag}_x86_64.whl"
        with zipfile.ZipFile(wheel, "w") as out:
            out.write(built, "runlode/_runlode.abi3.so")
        done = subprocess.run([sys.executable, str(TOOLS / "glibc.py"), str(wheel)], capture_output=True, text=True)
        assert (done.returncode == 0) is is_true, done.stderr
    wheel.rename(tmp_path / "runlode-1-cp310-abi3-linux_x86_64.whl")
    command = [sys.executable, str(TOOLS / "glibc.py"), str(tmp_path / "runlode-1-cp310-abi3-linux_x86_64.whl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "manylinux" in done.stderr
