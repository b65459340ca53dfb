#!/bin/sh
# What an idle server costs: memory with 10,000 runs, time from start to the first answers, also with 100 M points.
# One line each, exit status 1 when any bar is short. Needs nothing but the workspace; about 1 GB of disk.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo build --quiet --release --manifest-path "$here/../../Cargo.toml" -p runlode-cli -p runlode-compare
target=${CARGO_TARGET_DIR:-$here/../../target}
exec "$target/release/compare" start --runlode "$target/release/runlode" "$@"
