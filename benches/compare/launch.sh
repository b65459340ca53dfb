#!/usr/bin/env bash
# From the command to the first line of the project's own command, with an environment that exists: `runlode run` beside
# `mlflow run`, in turns. Prints medians; exit status 1 if `runlode run` takes longer than the bar.
#
#   benches/compare/launch.sh [ROUNDS]        RUNLODE: the command; MLFLOW_PYTHON: a Python with MLflow
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
runlode=${RUNLODE:-${CARGO_TARGET_DIR:-$here/../../target}/release/runlode}
python=${MLFLOW_PYTHON:-$here/../../tests/python/.venv/bin/python}
exec "$python" "$here/launch.py" "$runlode" "$python" "${1:-5}"
