"""See launch.sh. Arguments: the command runlode, a Python with MLflow, rounds."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# From the command to the first line of the child, in milliseconds.
BAR_MS = 100

FILE = """name: demo
python_env: python_env.yaml
entry_points:
  main:
    parameters: {lr: {type: float, default: 0.1}}
    command: echo first {lr}
"""


def first_line_ms(command, environment):
    """Time until the child's line comes, then waits for the end."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in process.stdout:
        if line.startswith(b"first"):
            break
    took = (time.perf_counter() - begin) * 1000
    process.stdout.read()
    assert process.wait() == 0, command
    return took


def main(runlode, python, rounds):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        project = folder / "project"
        project.mkdir()
        (project / "MLproject").write_text(FILE)
        version = ".".join(map(str, sys.version_info[:3]))
        (project / "python_env.yaml").write_text(f"python: '{version}'\n")
        environment = {**os.environ, "RUNLODE_ENV_ROOT": str(folder / "ours"), "MLFLOW_ENV_ROOT": str(folder / "theirs")}
        # A Python of this version may have no name of its own on the search path.
        environment["PATH"] = os.path.dirname(os.path.realpath(sys.executable)) + os.pathsep + environment["PATH"]
        ours = [runlode, "run", str(project), "--store", str(folder / "store")]
        theirs = [str(Path(python).parent / "mlflow"), "run", str(project), "--env-manager", "virtualenv"]
        peer = {**environment, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        # Make the environments and the stores.
        first_line_ms(ours, environment)
        has_peer = subprocess.run(theirs, env=peer, capture_output=True).returncode == 0
        times = {"runlode run": [], "mlflow run": []}
        for _ in range(rounds):
            times["runlode run"].append(first_line_ms(ours, environment))
            if has_peer:
                times["mlflow run"].append(first_line_ms(theirs, peer))
    for name, taken in times.items():
        if taken:
            print(f"{name:12} first line after {statistics.median(taken):8.1f} ms (best {min(taken):.1f}, {len(taken)} launches)")
    if not has_peer:
        print("mlflow run   does not run here (it needs pyenv)")
    is_short = statistics.median(times["runlode run"]) > BAR_MS
    print(f"bar {BAR_MS} ms: {'short' if is_short else 'reached'}")
    return 1 if is_short else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
