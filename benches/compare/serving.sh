#!/bin/sh
# A model served by Runlode beside `mlflow models serve` in the same run: one line each, exit status 1 when a bar is short.
# Needs a Python with MLflow 3.17.2, scikit-learn, skl2onnx and onnxruntime: MLFLOW_PYTHON.  --seconds N   --only MODEL
# --tract BINARY (built with `--features tract`)
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
runlode=${RUNLODE:-}
if [ -z "$runlode" ]; then
    cargo build --quiet --release --manifest-path "$here/../../Cargo.toml" -p runlode-cli -p runlode-compare
fi
target=${CARGO_TARGET_DIR:-$here/../../target}
python=${MLFLOW_PYTHON:-$here/../../tests/python/.venv/bin/python}
exec "$target/release/compare" serving --runlode "${runlode:-$target/release/runlode}" --python "$python" --prefill "$here/prefill.py" "$@"
