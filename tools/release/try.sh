#!/usr/bin/env bash
# Tries a release as a user would: try.sh DIR [wheel] [binary]. The wheel is installed into a fresh environment that has no
# other package and no index; the command comes out of its archive.
set -euo pipefail
out=$(cd "$1" && pwd)
shift
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

for what in "$@"; do
  case "$what" in
    wheel)
      python3 -m venv env
      env/bin/pip install --quiet --disable-pip-version-check --no-index "$out"/runlode-*.whl
      cat >train.py <<'PYTHON'
import runlode

with runlode.open("exp") as store:
    with store.run("digits", name="first", params={"lr": 0.01}) as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1)}, step=step)
        run.log_text("it converged", "notes.md")
    print(store.search("metrics.loss < 0.1"))
    assert [point["value"] for point in store.history(run, "loss")][-1] == 0.01
PYTHON
      env/bin/python train.py
      env/bin/python -c 'import importlib.util as u; assert not u.find_spec("numpy") and not u.find_spec("mlflow")'
      env/bin/python -c 'import importlib.metadata as m; e = m.entry_points(group="mlflow.tracking_store"); assert [p.name for p in e] == ["runlode"]'
      echo "wheel: installed and used without any other package"
      ;;
    binary)
      tar -xzf "$out"/runlode-*-linux.tar.gz
      ./runlode-*-linux/runlode --version
      if [[ -d exp ]]; then
        ./runlode-*-linux/runlode runs exp
        ./runlode-*-linux/runlode verify exp >/dev/null
      fi
      echo "binary: unpacked and used"
      ;;
  esac
done
