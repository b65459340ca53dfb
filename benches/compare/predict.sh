#!/bin/sh
# `runlode models predict` beside bare loops in Python: 5 M rows of 20 columns through two models, as ONNX and in scikit-learn.
# One line each, exit status 1 when a bar is short. Needs a Python with MLflow 3.17.2, onnxruntime and skl2onnx.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo build --quiet --release --manifest-path "$here/../../Cargo.toml" -p runlode-cli -p runlode-compare
target=${CARGO_TARGET_DIR:-$here/../../target}
python=${MLFLOW_PYTHON:-$here/../../tests/python/.venv/bin/python}
exec "$target/release/compare" predict --runlode "$target/release/runlode" --python "$python" --predict "$here/predict.py" \
    --points 5000000 "$@"
