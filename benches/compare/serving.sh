#!/bin/sh
# A model served by Runlode beside `mlflow models serve` in the same run: one line each, exit status 1 when a bar is short.
# Needs a Python with MLflow 3.17.2 and scikit-learn: MLFLOW_PYTHON, or the virtual environment that the tests make.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo build --quiet --release --manifest-path "$here/../../Cargo.toml" -p runlode-cli -p runlode-compare
target=${CARGO_TARGET_DIR:-$here/../../target}
python=${MLFLOW_PYTHON:-$here/../../tests/python/.venv/bin/python}
exec "$target/release/compare" serving --runlode "$target/release/runlode" --python "$python" --prefill "$here/prefill.py" "$@"
