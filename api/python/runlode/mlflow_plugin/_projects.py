"""Projects that MLflow launches on a store: their commands find the run also where their environment lacks this package.

MLflow tells a command the tracking URI of its launcher, ``runlode:``, which only this package can open. Where the
command's environment lacks it, a process of this one serves the store on loopback while the launcher lives
(:mod:`runlode.mlflow_plugin._serve`), and the command is told that address.
"""

import atexit
import contextvars
import glob
import os
import shlex
import shutil
import subprocess
import sys
import threading

_command = contextvars.ContextVar("command", default=None)
_lock = threading.Lock()
# Servers of this process by tracking URI.
_servers = {}


def prepare():
    """Makes MLflow's launches of this process ask here for the variables of a command. Any number of times."""
    local = sys.modules.get("mlflow.projects.backend.local")
    run, variables = (getattr(local, name, None) for name in ("_run_entry_point", "get_run_env_vars"))
    # Another MLflow may have other functions: then its launches are as they would be without us.
    if local is None or run is None or variables is None or hasattr(variables, "_runlode"):
        return

    def run_entry_point(command, *args, **kwargs):
        token = _command.set(command)
        try:
            return run(command, *args, **kwargs)
        finally:
            _command.reset(token)

    def get_run_env_vars(*args, **kwargs):
        found = variables(*args, **kwargs)
        uri, command = found.get("MLFLOW_TRACKING_URI", ""), _command.get()
        if command is not None and uri.startswith("runlode:") and not has_package(command):
            found = {**found, "MLFLOW_TRACKING_URI": served(uri)}
        return found

    get_run_env_vars._runlode = True
    local._run_entry_point, local.get_run_env_vars = run_entry_point, get_run_env_vars


def has_package(command):
    """Whether the environment that a command enters has this package installed."""
    try:
        first = shlex.split(command)[:2]
    except ValueError:
        first = []
    if len(first) == 2 and first[0] in ("source", ".") and first[1].endswith("/bin/activate"):
        return _holds(first[1][: -len("/bin/activate")])
    if "conda activate" in command or first[:1] == ["docker"]:
        # Served in any case, which is slower and always works.
        return False
    python = shutil.which("python")
    if python is None:
        return False
    # A link of a virtual environment is not followed: its packages lie beside it.
    return _holds(os.path.dirname(os.path.dirname(python)))


def _holds(prefix):
    places = glob.glob(os.path.join(glob.escape(prefix), "lib", "python*", "site-packages"))
    places += os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return any(place and glob.glob(os.path.join(glob.escape(place), "runlode-*.dist-info")) for place in places)


def served(uri):
    """The address at which the store of a tracking URI is served."""
    with _lock:
        found = _servers.get(uri)
        if found is None or found[0].poll() is not None:
            found = _servers[uri] = _serve(uri)
        return found[1]


def _serve(uri):
    from mlflow.exceptions import MlflowException

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # It serves, and is no part of a run.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "runlode.mlflow_plugin._serve", uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        # Ctrl-C at a terminal is for the command: the server goes with the launcher.
        start_new_session=True,
    )
    line = process.stdout.readline().decode().strip()
    if not line.startswith("http://"):
        process.stdin.close()
        raise MlflowException(
            f"The environment of the project lacks the package runlode, and {uri} cannot be served for it (the server "
            f"ended with {process.wait()}): install runlode there, or use the tracking URI of a server."
        )
    atexit.register(_end, process)
    return process, line


def _end(process):
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
