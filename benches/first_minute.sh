#!/usr/bin/env bash
# The first minutes of a new user, timed from a clone: what README.md says, and nothing else.
#
#   benches/first_minute.sh [--json]
#
#   clone -> the wheel by pip -> ten lines of Python -> the command -> a page of the server, in a browser if there is one
#
# FIRST_MINUTE_TARGET names a target folder to build in: with the dependencies of an earlier build in it, only the project's
# own crates are compiled. FIRST_MINUTE_CHROMIUM names the browser, by default `chromium`. Exit status 1: a step failed.
set -euo pipefail
json=${1:-}
here=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
server=
finish() {
  [[ -n $server ]] && kill "$server" 2>/dev/null
  rm -rf "$place"
}
trap finish EXIT
steps=()
begun=$EPOCHREALTIME
step() {
  local now=$EPOCHREALTIME
  steps+=("$1 $(awk -v a="$begun" -v b="$now" 'BEGIN { printf "%.1f", b - a }')")
  [[ $json == --json ]] || echo "${steps[-1]} s"
  begun=$EPOCHREALTIME
}

cd "$place"
git clone --quiet "$here" runlode
cd runlode
step clone

export CARGO_TARGET_DIR=${FIRST_MINUTE_TARGET:-$place/target}
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check ./api/python
step wheel

# The script of README.md, as it stands there.
sed -n '/^import runlode$/,/^```$/p' README.md | sed '$d' >"$place/train.py"
grep -q 'store.run(' "$place/train.py"
(cd "$place" && env/bin/python train.py >train.out)
step script

cargo build --quiet --release --bin runlode
step command

"$CARGO_TARGET_DIR/release/runlode" serve "$place/exp" --port 0 --json >"$place/address" &
server=$!
until [[ -s $place/address ]]; do
  kill -0 "$server"
  sleep 0.02
done
address=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$place/address")
page=http://$address/
chromium=${FIRST_MINUTE_CHROMIUM:-chromium}
if command -v "$chromium" >/dev/null; then
  # No virtual time: it waits for requests to end, and the stream of changes never does.
  "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$place/profile" --timeout=10000 --dump-dom "$page" \
    >"$place/page" 2>/dev/null
  step 'page in a browser'
else
  python3 -c 'import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())' "$page" >"$place/page"
  step 'page without a browser'
fi
grep -qi '<html' "$place/page"
if [[ $json == --json ]]; then
  printf '%s\n' "${steps[@]}" | python3 -c '
import json, sys
steps = [line.rsplit(" ", 1) for line in sys.stdin.read().splitlines()]
print(json.dumps({name: float(seconds) for name, seconds in steps}))'
fi
