#!/bin/sh
# Measures every promise beside its floor or peer: one line each, exit status 1 when any is short.
# Arguments go to the program: --only NAME, --json FILE, --markdown FILE, --list.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cargo build --quiet --release --manifest-path "$here/Cargo.toml" --bin bars
cargo build --quiet --release --manifest-path "$here/../tools/Cargo.toml" --bin runlode
target=${CARGO_TARGET_DIR:-$here/../target}
exec "$target/release/bars" "$@"
