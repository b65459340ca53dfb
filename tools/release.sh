#!/usr/bin/env bash
# Builds everything that a release publishes, from this checkout:
#
#   tools/release.sh               the Python wheel and the command, for this machine's kind of processor
#   tools/release.sh wheel         only the wheel
#   tools/release.sh binary        only the command
#   tools/release.sh --out DIR     into DIR, default dist/
#
#   dist/runlode-VERSION-cp310-abi3-manylinux_X_Y_ARCH.whl        for every Python from 3.10 on; its tag is checked
#   dist/runlode-VERSION-ARCH-linux.tar.gz                        the command, stripped, with LICENSE and README
#   dist/*.cdx.json                                               what is in each (CycloneDX)
#   dist/SHA256SUMS
#
# Needs Rust (the version in Cargo.toml), a C compiler with its binutils, and Python 3.10 or later with `venv`. Maturin is
# installed into target/release-env. At the end, wheel and command are tried as a user would.
set -euo pipefail
cd "$(dirname "$0")/.."

MATURIN=1.16.0
# Another profile (`dev`) is for trying this script without the time that optimising takes. The command is built as
# `cargo build --release` builds it: optimising it as a whole would take half an hour.
profile=${RUNLODE_RELEASE_PROFILE:-wheel}
tool_profile=${RUNLODE_RELEASE_PROFILE:-release}
out=dist
what=()
while (($#)); do
  case "$1" in
    --out) out=${2:?--out needs a folder}; shift ;;
    wheel | binary) what+=("$1") ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tools/release.sh: unknown argument $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
((${#what[@]})) || what=(wheel binary)
has() { [[ " ${what[*]} " == *" $1 "* ]]; }

for command in cargo cc objdump strip python3 sha256sum; do
  command -v "$command" >/dev/null || { echo "tools/release.sh needs $command" >&2; exit 1; }
done
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
arch=$(uname -m)
# The same inputs give the same archives.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 315532800)
export SOURCE_DATE_EPOCH
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$out" "$target"
out=$(cd "$out" && pwd)
target=$(cd "$target" && pwd)
if [[ -n $(git status --porcelain --untracked-files=no 2>/dev/null) ]]; then
  echo "note: this checkout has changes that are not committed"
fi

if has wheel; then
  began=$SECONDS
  env=$target/release-env
  if [[ $("$env/bin/maturin" --version 2>/dev/null) != "maturin $MATURIN" ]]; then
    python3 -m venv --clear "$env"
    "$env/bin/pip" install --quiet --disable-pip-version-check "maturin==$MATURIN"
  fi
  rm -f "$out"/runlode-*.whl
  # Maturin takes the oldest tag whose symbols and libraries suffice; a wheel that fits none is refused.
  "$env/bin/maturin" build --manifest-path api/python/Cargo.toml --profile "$profile" --locked --auditwheel check --out "$out"
  wheel=$(echo "$out"/runlode-"$version"-*.whl)
  python3 tools/release/glibc.py "$wheel"
  python3 tools/release/sbom.py runlode-python "$out/runlode-$version-wheel.cdx.json"
  echo "wheel: $((SECONDS - began)) s, $(du -h "$wheel" | cut -f1)"
fi

if has binary; then
  began=$SECONDS
  cargo build --locked --profile "$tool_profile" --package runlode-cli --bin runlode
  name=runlode-$version-$arch-linux
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  mkdir "$stage/$name"
  folder=$tool_profile
  [[ $tool_profile == dev ]] && folder=debug
  cp "$target/$folder/runlode" LICENSE README.md "$stage/$name/"
  strip "$stage/$name/runlode"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$stage" -cf - "$name" |
    gzip -n9 >"$out/$name.tar.gz"
  python3 tools/release/glibc.py "$stage/$name/runlode"
  python3 tools/release/sbom.py runlode-cli "$out/$name.cdx.json"
  echo "binary: $((SECONDS - began)) s, $(du -h "$stage/$name/runlode" | cut -f1), archive $(du -h "$out/$name.tar.gz" | cut -f1)"
fi

(cd "$out" && sha256sum -- *.whl *.tar.gz *.cdx.json 2>/dev/null >SHA256SUMS || true)
(cd "$out" && sha256sum --quiet --check SHA256SUMS)
bash tools/release/try.sh "$out" "${what[@]}"
echo
(cd "$out" && ls -l)
