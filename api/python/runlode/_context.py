"""Who makes a run, and from what: the tags that MLflow's client sets by itself, by the same rules."""

import os
import sys

_PARENT = "mlflow.parentRunId"
_USER = "mlflow.user"
_SOURCE = "mlflow.source.name"
_KIND = "mlflow.source.type"
_COMMIT = "mlflow.source.git.commit"
_BRANCH = "mlflow.source.git.branch"
_REPOSITORY = "mlflow.source.git.repoURL"

# Folders that were looked at, and the git folders that they belong to (None: to none).
_git_folders = {}


def tags(given, parent):
    """The tags of a new run: those of the context, then `given`. `parent`: the id of the run that it is part of."""
    found = {_USER: user(), _SOURCE: _main_file() or "<console>", _KIND: "LOCAL"}
    found.update(_of_git())
    found.update(_of_notebook())
    found.update(_of_environment())
    if parent:
        found[_PARENT] = parent
    if given is not None:
        found.update(given)
    return found


def user():
    """The name of the user, as MLflow takes it."""
    if name := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return name
    import getpass

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may run under a number that has no name.
        return "unknown"


def _main_file():
    return sys.argv[0] if getattr(sys, "argv", None) and sys.argv[0] else None


def _of_environment():
    """Tags of the variable that MLflow's launchers set."""
    if not (text := os.environ.get("MLFLOW_RUN_CONTEXT")):
        return {}
    import json

    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_notebook():
    """The type and name of a Jupyter notebook, if this is one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is None or not (type(shell).__name__ == "ZMQInteractiveShell" or hasattr(shell, "kernel")):
        return {}
    found = {_KIND: "NOTEBOOK"}
    places = [getattr(shell, "user_ns", {}).get("__vsc_ipynb_file__")]
    places += [os.environ.get(name) for name in ("__vsc_ipynb_file__", "IPYNB_FILE", "JPY_SESSION_NAME")]
    if path := next((path for path in places if path), None):
        found[_SOURCE] = os.path.basename(path)
    return found


def _of_git():
    """Commit, branch and remote of the repository that the main file is in."""
    path = _main_file()
    if path is None:
        return {}
    folder = os.path.dirname(os.path.abspath(path)) if os.path.isfile(path) else os.path.abspath(path)
    try:
        if folder not in _git_folders:
            _git_folders[folder] = _git_folder(folder)
        git = _git_folders[folder]
        return _at_head(*git) if git else {}
    except (OSError, ValueError):
        return {}


def _git_folder(folder):
    """The git folder of a working tree, and the one that it shares with other trees of the repository."""
    if not os.path.isdir(folder):
        return None
    at = folder
    while not os.path.exists(os.path.join(at, ".git")):
        at, below = os.path.dirname(at), at
        if at == below:
            return None
    git = os.path.join(at, ".git")
    if os.path.isfile(git):
        # A further working tree, or a submodule.
        kind, _, place = _text(git).partition(":")
        if kind != "gitdir":
            return None
        git = os.path.join(at, place.strip())
    common = os.path.join(git, "commondir")
    common = os.path.join(git, _text(common)) if os.path.isfile(common) else git
    return None if _is_ignored(at, folder) else (git, common)


def _is_ignored(tree, folder):
    """Whether git ignores the folder, as it does with environments that have scripts."""
    import subprocess

    command = ["git", "-C", tree, "check-ignore", "--quiet", folder]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _at_head(git, common):
    head = _text(os.path.join(git, "HEAD"))
    found = {}
    if head.startswith("ref: "):
        name = head[5:]
        commit = _ref(git, common, name)
        if name.startswith("refs/heads/"):
            found[_BRANCH] = name.removeprefix("refs/heads/")
    else:
        commit = head
    if not commit:
        return {}
    found[_COMMIT] = commit
    if url := _remote(os.path.join(common, "config")):
        found[_REPOSITORY] = url
    return found


def _ref(git, common, name):
    for folder in (git, common):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return _text(path)
    packed = os.path.join(common, "packed-refs")
    if os.path.isfile(packed):
        for line in _text(packed).splitlines():
            commit, _, of = line.partition(" ")
            if of == name:
                return commit
    return None


def _remote(config):
    """The URL of the first remote, without a password."""
    inside = False
    for line in _text(config).splitlines() if os.path.isfile(config) else ():
        line = line.strip()
        if line.startswith("["):
            inside = line.startswith('[remote "')
        elif inside and line.partition("=")[0].strip() == "url":
            url = line.partition("=")[2].strip()
            scheme, slashes, rest = url.partition("://")
            host, slash, path = rest.partition("/")
            return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" if slashes else url
    return None


def _text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
