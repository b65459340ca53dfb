"""Says which glibc a wheel or a binary needs, and checks that the tag of a wheel promises no older one.

    python3 tools/release/glibc.py FILE
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

# What a manylinux system has, and what no release may need beside it.
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}


def needs(binary):
    """The newest glibc of the symbols that a binary takes from it, a symbol of that version, and its libraries."""
    text = subprocess.run(["objdump", "-p", "-T", binary], capture_output=True, text=True, check=True).stdout
    libraries = set(re.findall(r"^\s+NEEDED\s+(\S+)", text, re.MULTILINE))
    newest, symbol = (0, 0), ""
    for line in text.splitlines():
        if "*UND*" in line and (found := re.search(r"\(?GLIBC_(\d+)\.(\d+)(?:\.\d+)?\)?\s+(\S+)", line)):
            version = (int(found[1]), int(found[2]))
            if version > newest:
                newest, symbol = version, found[3]
    return newest, symbol, libraries


def check(name, binary):
    newest, symbol, libraries = needs(binary)
    said = f"{name}: needs glibc {newest[0]}.{newest[1]} or later (for {symbol}), {', '.join(sorted(libraries))}"
    if other := libraries - LIBRARIES:
        sys.exit(f"{said}\nerror: a user's machine may lack {', '.join(sorted(other))}")
    return newest, said


def main(path):
    path = pathlib.Path(path)
    if path.suffix != ".whl":
        print(check(path.name, path)[1])
        return
    tag = re.search(r"-manylinux_(\d+)_(\d+)_", path.name)
    if not tag:
        sys.exit(f"error: {path.name} has no manylinux tag: it would not be accepted by an index")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        for name in wheel.namelist():
            if name.endswith(".so"):
                newest, said = check(name, wheel.extract(name, folder))
                print(said)
                if newest > (int(tag[1]), int(tag[2])):
                    sys.exit(f"error: the tag of {path.name} promises glibc {tag[1]}.{tag[2]}")


if __name__ == "__main__":
    main(sys.argv[1])
