"""Runlode's own pages in a browser, and the API below them.

The pages need Chromium (``apt-get install chromium``, or ``$RUNLODE_CHROMIUM``) and the Python package ``playwright``; types and
accessibility are checked where ``npm`` can install ``typescript`` and ``axe-core``. What is not there is skipped by name.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import time
from urllib.parse import quote, unquote

import pytest
from conftest import ROOT, Api, command

WEB = ROOT / "api" / "pages" / "web"
NPM = ROOT / "tests" / "python" / ".npm"
PACKAGES = ["typescript@5.9.3", "axe-core@4.11.0"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RUNLODE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
NOW = int(time.time() * 1000)


# What must never run, and must be shown as it is.
HOSTILE_KEYS = ["a/b c.d-e:f", "val acc"]
HOSTILE_TAGS = ["<script>pwned()</script>", "<img src=x onerror=pwned()>", "javascript:pwned()", "\u202eright to left", "it's \"quoted\" `so`"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="pwned()"><script>pwned()</script><rect width="40" height="40"/></svg>'
WAV = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\x08\0\0\0\0\0\0\0\0\0\0\0"
MLMODEL = b"""flavors:
  python_function:
    loader_module: mlflow.sklearn
mlflow_version: 3.17.2
signature:
  inputs: '[{"type": "double", "name": "width", "required": true}, {"type": "string", "name": "city", "required": false}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]'
  params: null
"""


@pytest.fixture(scope="module")
def npm():
    """A folder with the packages of npm."""
    if not shutil.which("npm"):
        pytest.skip("there is no npm: types and accessibility are not checked")
    stamp = NPM / "packages.json"
    if not (stamp.exists() and json.loads(stamp.read_text()) == PACKAGES):
        NPM.mkdir(exist_ok=True)
        call = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(NPM), *PACKAGES]
        done = subprocess.run(call, capture_output=True, text=True, timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot install {' '.join(PACKAGES)}: {done.stderr.strip()[-200:]}")
        stamp.write_text(json.dumps(PACKAGES))
    return NPM / "node_modules"


@pytest.fixture(scope="module")
def served(make_server):
    server = make_server()
    api = Api(server.uri)
    api.store = server.store
    return api


@pytest.fixture(scope="module")
def known(served):
    """What the pages show: runs with curves, files and a model whose champion moves."""
    experiment = served.experiment("digits")
    runs = [served.run(experiment, run_name=f"trial {i}", start_time=NOW - 60_000) for i in range(3)]
    for at, run in enumerate(runs):
        for part in range(0, 3000, 1000):
            points = [("loss", 9.0 if step == 1234 else 1 / (step + 1), NOW + step, step) for step in range(part, part + 1000)]
            served.batch(run, points)
        served.batch(run, [("acc", 0.5 + at / 10, NOW, 0), ("odd", "NaN", NOW, 0), ("odd", "Infinity", NOW, 1)], {"lr": f"0.{at + 1}"}, {"team": "vision"})
    served.post("runs/set-tag", run_id=runs[0], key="mlflow.note.content", value="# Why\n\nA **note** <img src=x onerror=alert(1)>")
    served.post("runs/update", run_id=runs[0], status="FINISHED", end_time=NOW)
    served.post("runs/update", run_id=runs[2], run_name="<b>بحث</b> " + "long " * 60)
    for child in range(2):
        nested = served.run(experiment, run_name=f"fold {child}", start_time=NOW - 90_000, tags=[{"key": "mlflow.parentRunId", "value": runs[0]}])
        served.batch(nested, [("acc", 0.1, NOW, 0)], {"lr": "0.1"})
    for key in HOSTILE_KEYS:
        served.batch(runs[1], [(key, 0.5, NOW, 0), (key, 0.25, NOW, 1)])
    for at, tag in enumerate(HOSTILE_TAGS):
        served.post("runs/set-tag", run_id=runs[1], key=f"tag{at}", value=tag)
    served.post("runs/log-inputs", run_id=runs[0], datasets=[{"tags": [{"key": "mlflow.data.context", "value": "training"}], "dataset": {"name": "wine", "digest": "abc", "source_type": "code", "source": "{}"}}])
    base = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{runs[0]}/artifacts"
    files = {"table.csv": b'a,b\n1,"x, y"\n', "note.md": b"# Title\n\ntext", "page.html": b"<script>document.title='ran'; fetch('/api/runlode/v1/about').then(() => document.title='escaped').catch(() => document.title='refused')</script><p>shown</p>", "deep/text.json": b'{"a": [1]}', "evil.svg": SVG, "beep.wav": WAV, "empty.txt": b"", **{f"shots/step_{step}.svg": SVG for step in (1, 2, 10)}, **{f"images/s+step+{step}+timestamp+{NOW + step}+{step:032x}.svg": SVG for step in (3, 20)}}
    for name, data in files.items():
        assert served.raw("PUT", f"{base}/{name}", data=data).status_code == 200
    logged = served.model(experiment, name="forest", source_run_id=runs[0], params=[{"key": "depth", "value": "7"}])["info"]["model_id"]
    place = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{logged}/artifacts"
    assert served.raw("PUT", f"{place}/MLmodel", data=MLMODEL).status_code == 200
    served.patch(f"logged-models/{logged}", model_id=logged, status="LOGGED_MODEL_READY")
    model = served.registered("fraud")
    served.version(model, f"runs:/{runs[0]}/model", run_id=runs[0])
    served.version(model, f"models:/{logged}", run_id=runs[1], model_id=logged)
    served.post("registered-models/alias", name=model, alias="champion", version="1")
    before = v1(served, "about")["position"]
    served.post("registered-models/alias", name=model, alias="champion", version="2")
    return {"e": experiment, "r": runs[0], "s": runs[1], "t": runs[2], "m": logged, "before": before}


def v1(api, path, /, **fields):
    response = api.raw("GET", f"/api/runlode/v1/{path}", params=fields)
    assert response.status_code == 200, response.text
    return response.json()


def columns(response):
    """An answer of columns, by docs/api.md."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/vnd.runlode.columns"
    data = response.content
    magic, length = struct.unpack_from("<4sI", data)
    assert magic == b"RLC1" and (8 + length) % 8 == 0
    header, base, out = json.loads(data[8 : 8 + length]), 8 + length, {}
    for head in header["columns"]:
        rows, at = head["rows"], base + head["at"]
        if head["type"] == "text":
            ends = struct.unpack_from(f"<{rows + 1}I", data, at)
            text = data[base + head["text_at"] :]
            values = [text[a:b].decode() for a, b in zip(ends, ends[1:])]
        else:
            values = struct.unpack_from(f"<{rows}{'d' if head['type'] == 'f64' else 'q'}", data, at)
        present = data[base + head["present_at"] :][:rows] if "present_at" in head else b"\1" * rows
        out[head["name"]] = [value if there else None for value, there in zip(values, present)]
    return header, out


# ---- the API ----


def test_the_table_in_columns_now_and_then(served, known):
    fields = {"experiment_id": known["e"], "column": ["run_id", "run_name", "metrics.loss.max", "params.lr", "liveness"], "order_by": "params.lr", "limit": 2, "filter": "tags.`mlflow.parentRunId` IS NULL"}
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params=fields))
    assert (header["total"], header["rows"]) == (3, 2)
    assert table["run_id"] == [known["r"], known["s"]] and table["params.lr"] == ["0.1", "0.2"] and table["metrics.loss.max"] == [9.0, 9.0]
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "offset": 2}))
    assert table["run_id"] == [known["t"]]
    begin = served.raw("GET", "/api/runlode/v1/history", params={"run_id": known["s"]}).json()["changes"][0]["position"]
    # The same fields as a body, for filters longer than an address.
    assert columns(served.raw("POST", "/api/runlode/v1/runs", json={**fields, "experiment_id": [known["e"]], "order_by": ["params.lr"]}))[1]["run_id"] == [known["r"], known["s"]]
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "as_of": begin, "order_by": "start_time"}))
    assert (header["position"], header["total"]) == (begin, 2)
    assert table["params.lr"] == [None, None] and table["metrics.loss.max"] == [None, None]
    past = {**fields, "as_of": known["before"], "filter": "metrics.acc > 0.55 and params.lr != '0.3'"}
    assert columns(served.raw("GET", "/api/runlode/v1/runs", params=past))[1]["run_id"] == [known["s"]]


def test_the_columns_of_the_most_common_keys_come_with_the_table(served, known):
    fields = {"experiment_id": known["e"], "column": "run_name", "common_metrics": 2, "common_params": 1, "order_by": "name", "filter": "name LIKE 'trial%'"}
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params=fields))
    # `acc` is in five runs, `loss` and `odd` in three.
    assert header["common"] == ["metrics.acc", "metrics.loss", "params.lr"] and [*table] == ["run_name", *header["common"]]
    assert table["params.lr"] == ["0.1", "0.2"] and table["metrics.acc"] == [0.5, 0.6]
    run = served.run(known["e"], run_name="zz")
    served.batch(run, [], {f"p{i}": "1" for i in range(3)})
    header, _ = columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "common_params": 3}))
    assert header["common"][2:] == ["params.lr", "params.p0", "params.p1"], "they are counted again after a change"
    served.post("runs/delete", run_id=run)
    begin = served.raw("GET", "/api/runlode/v1/history", params={"run_id": known["s"]}).json()["changes"][0]["position"]
    assert columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "as_of": begin}))[0]["common"] == []
    assert "common" not in columns(served.raw("GET", "/api/runlode/v1/runs", params={"experiment_id": known["e"]}))[0]
    for wrong in ("-1", "101", "x"):
        assert served.raw("GET", "/api/runlode/v1/runs", params={"common_params": wrong}).status_code == 400


def test_a_wrong_filter_says_where(served):
    answer = served.raw("GET", "/api/runlode/v1/runs", params={"filter": "metrics.loss < wrong"})
    assert answer.status_code == 400 and answer.json()["at"] == 15 and "number" in answer.json()["message"]
    for wrong in ({"as_of": "yesterday"}, {"limit": "0"}, {"offset": "-1"}, {"column": "nope"}, {"view": "SOME"}):
        assert served.raw("GET", "/api/runlode/v1/runs", params=wrong).status_code == 400, wrong


def test_groups_count_runs_and_range_metrics(served, known):
    ask = {"experiment_id": known["e"], "by": ["params.lr", "tags.team"], "column": ["metrics.acc", "metrics.none"]}
    found = v1(served, "groups", **ask)
    assert (found["total"], found["runs"], found["groups_total"]) == (5, 5, 4)
    by = {tuple(group["values"]): (group["runs"], group["metrics"]) for group in found["groups"]}
    assert by["0.1", None] == (2, [{"count": 2, "min": 0.1, "max": 0.1, "mean": 0.1}, {"count": 0}])
    assert by["0.3", "vision"][1][0]["mean"] == 0.7
    parents = v1(served, "groups", experiment_id=known["e"], by="tags.mlflow.parentRunId", filter="params.lr = '0.1'")
    assert sorted((group["values"][0] or "", group["runs"]) for group in parents["groups"]) == [("", 1), (known["r"], 2)]
    begin = served.raw("GET", "/api/runlode/v1/history", params={"run_id": known["s"]}).json()["changes"][0]["position"]
    assert v1(served, "groups", **ask, as_of=begin)["groups"] == [{"values": [None, None], "runs": 2, "metrics": [{"count": 0}, {"count": 0}]}]
    for wrong in ({"by": []}, {"by": "metrics.acc"}, {"by": "params.*"}, {"by": "status", "column": "params.lr"}, {"by": "status", "filter": "x"}):
        assert served.raw("GET", "/api/runlode/v1/groups", params=wrong).status_code == 400, wrong


def test_lists_of_the_past(served, known):
    names = lambda **fields: [one["name"] for one in v1(served, "experiments", **fields)["experiments"]]  # noqa: E731
    assert {"Default", "digits"} <= set(names()) and names(as_of=1) == ["Default"]
    begin = served.raw("GET", "/api/runlode/v1/history", params={"run_id": known["s"]}).json()["changes"][0]["position"]
    keys = v1(served, "keys", experiment_id=known["e"], as_of=begin)
    assert (keys["position"], keys["runs"], keys["metrics"], keys["params"]) == (begin, 2, [], [])
    now = v1(served, "keys", experiment_id=known["e"])
    assert ["acc", 5] in now["metrics"] and ["lr", 5] in now["params"]
    assert v1(served, "keys", experiment_id=known["e"], as_of=now["position"])["metrics"] == now["metrics"]
    assert v1(served, "logged-models", as_of=begin)["models"] == []
    past = v1(served, "logged-model", model_id=known["m"], as_of=known["before"])
    assert (past["model"]["name"], past["model"]["params"]) == ("forest", [["depth", "7"]])
    assert v1(served, "logged-model", model_id=known["m"], as_of=1)["model"] is None


def test_the_past_is_read_once_and_stays_right(served):
    experiment = served.experiment()
    runs = [served.run(experiment, run_name=f"r{i}") for i in range(3)]
    for at, run in enumerate(runs):
        served.batch(run, [("loss", float(at), NOW, 0)], {"lr": str(at)})
    at = v1(served, "about")["position"]
    for run in runs:
        served.batch(run, [("loss", 9.0, NOW + 1, 1)], {"late": "x"}, {"team": "b"})
    served.post("runs/delete", run_id=runs[0])
    ask = {"experiment_id": experiment, "as_of": at, "column": ["run_id", "metrics.loss", "params.late"], "order_by": "metrics.loss DESC"}
    for _ in range(3):
        for offset, limit, expected in [(0, 3, runs[::-1]), (1, 1, [runs[1]]), (2, 5, [runs[0]])]:
            header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params={**ask, "offset": offset, "limit": limit}))
            assert (header["total"], table["run_id"]) == (3, expected)
            assert table["params.late"] == [None] * len(expected)
        found = columns(served.raw("GET", "/api/runlode/v1/runs", params={**ask, "filter": "metrics.loss < 2 and params.lr != '0'"}))[1]
        assert (found["run_id"], found["metrics.loss"]) == ([runs[1]], [1.0])
        now = columns(served.raw("GET", "/api/runlode/v1/runs", params={**ask, "as_of": v1(served, "about")["position"], "order_by": "params.lr"}))
        assert (now[0]["total"], now[1]["run_id"], now[1]["metrics.loss"]) == (2, runs[1:], [9.0, 9.0])


def test_logged_models_with_signature_and_files(served, known):
    (model,) = v1(served, "logged-models", experiment_id=known["e"])["models"]
    assert (model["name"], model["status"], model["run_id"]) == ("forest", "READY", known["r"])
    found = v1(served, "logged-model", model_id=known["m"])
    assert [(version["name"], version["version"]) for version in found["versions"]] == [("fraud", 2)]
    for owner in ({"model_id": known["m"]}, {"name": "fraud", "version": "2"}):
        said = v1(served, "model", **owner)["model"]
        assert said["flavors"] == ["python_function"] and said["signature"]["params"] is None
        assert said["signature"]["inputs"][1] == {"type": "string", "name": "city", "required": False}
        assert said["signature"]["outputs"][0]["tensor-spec"]["shape"] == [-1, 3]
        (file,) = v1(served, "files", **owner)["files"]
        assert (file["path"], file["folder"], file["bytes"]) == ("MLmodel", False, len(MLMODEL)) and abs(file["modified_ms"] - NOW) < 600_000
        assert served.raw("GET", "/api/runlode/v1/file", params={**owner, "path": "MLmodel"}).content == MLMODEL
    none = v1(served, "model", run_id=known["r"], path="deep")
    assert none["model"] is None and none["problem"]
    assert served.raw("GET", "/api/runlode/v1/files", params={"run_id": known["r"], "path": "../.."}).status_code == 400
    assert served.raw("GET", "/api/runlode/v1/file", params={"run_id": known["r"], "path": "/etc/passwd"}).status_code == 400


def test_curves_show_the_spike_in_buckets_and_as_a_point(served, known):
    ask = {"series": [{"run_id": known["r"], "key": "loss"}, {"run_id": known["s"], "key": "none"}], "buckets": 100}
    header, found = columns(served.raw("POST", "/api/runlode/v1/curves", json=ask))
    one, none = header["series"]
    assert (one["bucketed"], one["count"], one["rows"], one["step_last"], none["rows"]) == (True, 3000, 100, 2999, 0)
    assert max(found["bucket.max"]) == 9.0 and sum(found["bucket.count"]) == 3000
    header, found = columns(served.raw("POST", "/api/runlode/v1/curves", json={**ask, "start_step": 1230, "end_step": 1240}))
    assert found["step"] == list(range(1230, 1241)) and found["value"][4] == 9.0 and found["time_ms"][4] == NOW + 1234
    header, past = columns(served.raw("POST", "/api/runlode/v1/curves", json={**ask, "as_of": known["before"]}))
    assert max(past["bucket.max"]) == 9.0 and sum(past["bucket.count"]) == 3000 and header["position"] == known["before"]
    header, thin = columns(served.raw("POST", "/api/runlode/v1/curves", json={**ask, "points": True}))
    assert len(thin["step"]) <= 200 and max(thin["value"]) == 9.0 and not header["series"][0]["bucketed"]
    assert served.raw("POST", "/api/runlode/v1/curves", json={"series": [], "buckets": 0}).status_code == 400
    foreign = {"origin": "https://evil.example", "content-type": "application/json"}
    assert served.raw("POST", "/api/runlode/v1/curves", json=ask, headers=foreign).status_code == 403


def test_the_registry_as_it_was(served, known):
    alias = lambda **fields: v1(served, "models", name="fraud", **fields)["models"][0]["aliases"]  # noqa: E731
    assert alias() == [["champion", 2]] and alias(as_of=known["before"]) == [["champion", 1]]
    assert len(v1(served, "models", name="fraud")["versions"]) == 2
    assert v1(served, "models", as_of=1)["models"] == []


def test_the_lineage_of_a_model_now_and_then(served, known):
    found = v1(served, "lineage", name="fraud")
    kinds = {node["id"]: node["kind"] for node in found["nodes"]}
    assert found["versions"] == 2 and kinds["version:1"] == "version" and kinds[f"run:{known['r']}"] == "run"
    edges = [tuple(edge) for edge in found["edges"]]
    assert (f"run:{known['r']}", "version:1") in edges and ("version:2", "alias:champion") in edges
    assert (f"run:{known['s']}", f"model:{known['m']}") in edges and (f"model:{known['m']}", "version:2") in edges
    assert ("data:wine:abc", f"run:{known['r']}") in edges, edges
    then = [tuple(edge) for edge in v1(served, "lineage", name="fraud", as_of=known["before"])["edges"]]
    assert ("version:1", "alias:champion") in then and ("version:2", "alias:champion") not in then
    assert v1(served, "lineage", name="fraud", as_of=1)["nodes"] == []
    assert served.raw("GET", "/api/runlode/v1/lineage").status_code == 400
    assert len(v1(served, "lineage", name="fraud", limit=1)["nodes"]) == 4


def events(served, count, last=None, **fields):
    """The next events of the stream: (name, id, data)."""
    headers = {"last-event-id": str(last)} if last else {}
    with served.raw("GET", "/api/runlode/v1/events", params=fields, headers=headers, stream=True) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        got, now = [], {}
        for line in answer.iter_lines(decode_unicode=True):
            if line:
                name, _, value = line.partition(": ")
                now[name] = value
            elif "event" in now:
                got.append((now["event"], int(now["id"]), json.loads(now["data"])))
                now = {}
                if len(got) == count:
                    return got


def test_a_client_that_comes_back_misses_nothing(served, known):
    (begin,) = events(served, 1)
    assert begin[0] == "begin"
    run = served.run(known["e"], run_name="while away")
    served.batch(run, [("loss", 0.25, NOW, 7)], {"a": "b"})
    seen, last = {"kinds": set(), "points": []}, begin[1]
    while not seen["points"]:
        _, (name, last, data) = events(served, 2, last=last)
        assert name == "change" and data["next"] == last
        seen["kinds"].update(data["runs"].get(run, []))
        seen["points"] += [point for point in data["points"] if point[0] == run]
    assert {"RunCreated", "ParamsLogged"} <= seen["kinds"] and seen["points"] == [[run, "loss", [7], [NOW], [0.25]]]
    served.post("runs/delete", run_id=run)


def test_scripts_of_artifacts_stay_in_their_sandbox(served, known):
    page = served.raw("GET", "/api/runlode/v1/artifact-page", params={"run_id": known["r"], "path": "page.html"})
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;") and "allow-same-origin" not in policy and "default-src 'none'" in policy
    other = served.raw("GET", "/api/runlode/v1/artifact-page", params={"run_id": known["r"], "path": "note.md"})
    assert "attachment" in other.headers["content-disposition"]


# ---- the files ----


def test_the_files_are_small_strict_and_cached(served):
    page = served.raw("GET", "/runlode/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    names = re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text)
    assert len(names) == 3, names
    bytes_of_all = 0
    for name in names:
        file = served.raw("GET", f"/runlode/{name}", headers={"accept-encoding": "gzip"}, stream=True)
        bytes_of_all += len(file.raw.read(decode_content=False))
        assert file.headers["content-encoding"] == "gzip" and "immutable" in file.headers["cache-control"]
        again = served.raw("GET", f"/runlode/{name}", headers={"if-none-match": file.headers["etag"]})
        assert again.status_code == 304
    assert 10_000 < bytes_of_all <= 120 * 1024
    assert served.raw("GET", "/runlode", allow_redirects=False).headers["location"] == "/runlode/"
    assert served.raw("GET", "/runlode/assets/app-0.js").status_code == 404


def test_types(npm):
    done = subprocess.run([str(npm / ".bin" / "tsc"), "-p", str(WEB)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="there is no browser: pip install playwright")
    if not CHROMIUM:
        pytest.skip("there is no browser: apt-get install chromium, or set RUNLODE_CHROMIUM")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, served, known):
    """Opens a page; at the end nothing may have failed on any."""
    contexts, faults = [], []

    def open_page(path, width=1400, height=900, theme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        # What the page has asked for; the stream of changes never ends.
        page.asked = set()
        page.on("request", lambda request: "/v1/events" in request.url or page.asked.add(request))
        page.on("requestfinished", lambda request: page.asked.discard(request))
        page.on("requestfailed", lambda request: page.asked.discard(request))
        page.on("pageerror", lambda error: faults.append(f"raised {error}"))
        page.on("console", lambda message: message.type == "error" and "Failed to load resource" not in message.text and "artifact-page" not in message.location["url"] and faults.append(f"printed {message.text}"))
        page.on("request", lambda request: request.url.startswith((served.uri, "data:", "blob:")) or faults.append(f"asked {request.url}"))
        for name, value in known.items():
            path = path.replace(f"{{{name}}}", str(value))
        page.goto(f"{served.uri}/runlode/#{path}")
        page.wait_for_selector("main .page")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults


def until(page, expression, arg=None, seconds=30):
    """Waits until an expression is true. An element that is missing counts as false: the page may be drawing it again.

    Playwright's own way evaluates in the page, which the page's policy forbids.
    """
    from playwright import sync_api

    end = time.monotonic() + seconds
    while True:
        try:
            if page.evaluate(expression, arg):
                return
            fault = None
        except sync_api.Error as error:
            fault = error
        assert time.monotonic() < end, fault or expression
        page.wait_for_timeout(50)


def still(page, seconds=30):
    """Waits until every request is answered and two frames in a row leave nothing to draw."""
    end = time.monotonic() + seconds
    calm = 0
    while calm < 2:
        drawn = page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(!document.querySelector('[aria-busy=true]')))))")
        calm = calm + 1 if drawn and not page.asked else 0
        assert time.monotonic() < end, [request.url for request in page.asked]


PAGES = {
    "/runs": "trial 0",
    "/runs?e={e}&x=time&logy=1&smooth=0.9&zoom=1~2": "trial 0",
    "/run/{r}": "A note",
    "/runs?e={e}&group=params.lr&group=tags.team&open=0.1": "in 3 groups",
    "/runs?e={e}&group=nested&open={r}": "fold 1",
    "/runs?e={e}&x=metric:acc&sel={r}": "trial 0",
    "/run/{r}?tab=charts": "3 charts",
    "/run/{r}?tab=artifacts&file=table.csv": "x, y",
    "/run/{r}?tab=history": "Run created",
    "/run/{t}": "بحث",
    "/compare?runs={r},{s}": "lr",
    "/compare?runs={r},{s},{t}&tab=parallel": "3 runs",
    "/compare?runs={r},{s},{t}&tab=parallel&brush=params.lr%1f0.1%1f0.2": "2 of 3 runs",
    "/compare?runs={r},{s},{t}&tab=scatter": "3 runs",
    "/runs?e={e}&chart=loss": "Greatest",
    "/compare?runs={r},{s},{t}&tab=correlation": "Spearman",
    "/logged": "forest",
    "/logged/{m}": "width",
    "/logged/{m}?tab=files": "MLmodel",
    "/logged/{m}?tab=history": "Logged model created",
    "/models": "fraud",
    "/model/fraud?version=2": "city",
    "/model/fraud": "v2",
    "/model/fraud?tab=lineage": "wine (training)",
    "/model/fraud?tab=diff": "lr",
    "/model/fraud?tab=history": "champion",
    "/model/fraud?at={before}": "As it was",
}


@pytest.mark.parametrize("path, is_early", [("/runs?e={e}", True), ("/runs", True), ("", True), ("/runs?e={e}&q=metrics.loss>0", False), ("/run/{r}", False)])
def test_what_a_page_shows_first_is_asked_for_early_and_once(visit, path, is_early):
    page = visit(path)
    still(page)
    calls = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name).filter((name) => /v1[/](runs|keys)/.test(name))")
    assert len(calls) == len(set(calls)), calls
    # What was asked for early is taken out.
    assert page.evaluate("window.runlodeEarly ? window.runlodeEarly.size : -1") == (0 if is_early else -1), calls


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_and_is_accessible(visit, path, request):
    # Each page in one of the themes: their rules are the same but for contrast.
    theme = ("light", "dark")[list(PAGES).index(path) % 2]
    page = visit(path, theme=theme)
    until(page, "text => document.body.innerText.includes(text)", PAGES[path])
    still(page)
    assert not violations(page, request.getfixturevalue("npm")), theme


RULES = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] })"


def violations(page, npm):
    """What axe-core finds on a page as it is."""
    if not page.evaluate("Boolean(window.axe)"):
        # The page's policy forbids scripts of tags; this is no tag.
        page.evaluate((npm / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate(RULES)["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"][:300]) for one in found]


# What opens over the page of runs: the keys to press or elements to click, and the element that must then be there.
BOXES = {
    "the sheet of keys": (["?"], "dialog .sheet"),
    "columns": (["c"], ".columns-box .choice"),
    "groups": (["b"], ".group-box .choice"),
    "experiments": (["e"], ".experiment-box .menu-item"),
    "completions": (["/", "m", "ArrowDown"], ".filter-option[aria-selected=true]"),
    "a wrong filter": (["/", "Control+a", "x", "Enter"], ".filter-error-text"),
    "actions": (["click .actions button:has-text('Actions')"], ".menu-item"),
    "a question": (["click .actions button:has-text('Actions')", "click .menu-item:has-text('Set a tag')"], "dialog input"),
    "exports": (["click button[aria-label='Export loss']"], ".menu-item"),
    "a large chart": (["click button[aria-label='Enlarge loss']"], "dialog .legend tbody tr"),
    "the way to anything": (["g", "/"], "dialog input"),
    "a notice": (["g", "/", "x", "Enter"], ".notice"),
    "the time machine": (["m"], "#time-bar:not([hidden]) input"),
    "a crosshair": (["hover .chart"], ".tip-head"),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_opens_over_a_page_is_accessible(visit, request, theme):
    npm = request.getfixturevalue("npm")
    for name, (steps, there) in list(BOXES.items())[("light", "dark").index(theme) :: 2]:
        page = visit("/runs?e={e}&sel={r},{s}", theme=theme)
        page.wait_for_selector(".plain-chip")
        page.wait_for_selector("button[aria-label='Export loss']")
        still(page)
        for step in steps:
            how, _, what = step.partition(" ")
            if how in ("click", "hover"):
                page.locator(what).first.click() if how == "click" else page.locator(what).first.hover()
            else:
                page.keyboard.press(step)
        page.wait_for_selector(there)
        still(page)
        assert not violations(page, npm), (name, theme)
        page.context.close()


@pytest.mark.parametrize("path", ["/runs", "/run/{r}", "/run/{t}", "/logged", "/logged/{m}", "/model/fraud?version=2", "/models", "/compare?runs={r},{s}"])
def test_a_phone_shows_it_without_scrolling_sideways(visit, path):
    page = visit(path, width=360, height=740)
    still(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = "[...document.querySelectorAll('.page-head, .toolbar, .tabs, .top')].filter(e => e.getBoundingClientRect().right > 361).map(e => e.className)"
    assert page.evaluate(wide) == []


def test_zoom_finds_the_single_point(visit):
    page = visit("/runs?e={e}&sel={r}&keys=loss")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('to 9')")
    chart = page.locator(".chart").first
    box = chart.bounding_box()
    # The spike is at step 1234 of 3000; the plot has margins of 52 and 10 pixels.
    x = box["x"] + 52 + (box["width"] - 62) * 1234 / 2999
    for _ in range(6):
        before = page.evaluate("location.hash")
        page.mouse.move(x - 40, box["y"] + 80)
        page.mouse.down()
        page.mouse.move(x + 40, box["y"] + 80, steps=4)
        page.mouse.up()
        until(page, "before => location.hash !== before", before)
        zoom = [float(end) for end in re.search(r"zoom=([^&]+)", unquote(page.url))[1].split("~")]
        assert zoom[0] <= 1234 <= zoom[1]
        if zoom[1] - zoom[0] < 12:
            break
        x = box["x"] + 52 + (box["width"] - 62) * (1234 - zoom[0]) / (zoom[1] - zoom[0])
    page.mouse.move(box["x"] + 52 + (box["width"] - 62) * (1234 - zoom[0]) / (zoom[1] - zoom[0]), box["y"] + 60)
    page.wait_for_selector(".tip-head:has-text('step 1234')")
    assert page.inner_text(".tip-value") == "9"
    page.mouse.dblclick(x, box["y"] + 80)
    until(page, "!location.hash.includes('zoom=')")


def test_keys_move_along_a_chart_and_back_works(visit):
    page = visit("/runs?e={e}&sel={r}&keys=loss")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('to 9')")
    page.locator(".chart").first.focus()
    for key in ["End", "+", "+", "ArrowLeft", "ArrowLeft"]:
        page.keyboard.press(key)
    page.wait_for_selector(".tip-head")
    until(page, "location.hash.includes('zoom=')")
    page.keyboard.press("0")
    until(page, "!location.hash.includes('zoom=')")
    page.locator(".grid").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".run-page h1")
    page.go_back()
    page.wait_for_selector(".runs-page .grid-row")
    page.keyboard.press("?")
    page.wait_for_selector("dialog:has-text('Keys')")


def test_a_wrong_filter_is_marked_and_a_right_one_filters(visit):
    page = visit("/runs?e={e}")
    page.wait_for_selector(".grid-row")
    page.keyboard.press("/")
    page.keyboard.type("metrics.lo")
    page.wait_for_selector(".filter-option:has-text('metrics.loss')")
    page.keyboard.press("Tab")
    page.keyboard.type("< wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector(".filter-error-text")
    page.fill("#filter", "params.lr = '0.2'")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.amount').textContent === '1 run'")
    assert page.locator(".filter-error").is_hidden()


def test_points_come_by_themselves_and_zoom_stays(visit, served, known):
    page = visit("/runs?e={e}&sel={s}&keys=acc&cols=metrics.acc")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('1 points')")
    page.wait_for_selector(".live-dot.live")
    served.batch(known["s"], [("acc", 0.875, NOW + 1, 1)])
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('2 points')")
    until(page, "[...document.querySelectorAll('.grid-cell')].some(cell => cell.textContent === '0.875')")


def test_what_comes_live_leaves_a_search_and_the_focus_alone(visit, served, known):
    run = served.run(known["e"], run_name="searched")
    served.batch(run, [("loss", 1.0, NOW, 0)], {f"p{i}": str(i) for i in range(20)})
    try:
        page = visit(f"/run/{run}")
        page.fill("input[aria-label='Search params']", "p1")
        page.wait_for_selector(".live-dot.live")
        served.batch(run, [("loss", 0.125, NOW + 1, 1)])
        page.wait_for_selector(".metric-value:has-text('0.125')")
        found = "[document.activeElement.getAttribute('aria-label'), document.activeElement.value, document.querySelectorAll('[aria-label=Params] tr').length]"
        assert page.evaluate(found) == ["Search params", "p1", 11]
    finally:
        served.post("runs/delete", run_id=run)


def test_a_large_chart_has_the_values_of_all_runs_and_exports(visit):
    page = visit("/runs?e={e}&sel={r},{s}&keys=loss")
    page.click("button[aria-label='Enlarge loss']")
    page.wait_for_selector("dialog .legend tr:has-text('trial 1')")
    assert page.locator("dialog .legend tbody tr").count() == 2 and "chart=loss" in page.url
    page.click("dialog button[aria-label='Export']")
    with page.expect_download() as download:
        page.click("dialog .menu-item:has-text('SVG')")
    assert download.value.path().read_bytes().startswith(b"<svg")
    page.go_back()
    page.wait_for_selector("dialog", state="detached")


def test_all_runs_are_selected_at_once(visit):
    page = visit("/runs?e={e}")
    page.wait_for_selector(".grid-row .run-name")
    page.click(".grid-head .mark")
    page.wait_for_selector(".plain-chip:has-text('selected')")
    page.click(".grid-head .mark")
    page.wait_for_selector(".plain-chip", state="detached")


def test_branches_of_a_rewound_run_are_drawn_faint(visit, served, known):
    run = served.run(known["e"], run_name="rewound")
    served.batch(run, [("loss", 1.0 + step, NOW + step, step) for step in range(10)])
    done = subprocess.run([*command(), "rewind", str(served.store), run, "--to-step", "4"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    served.batch(run, [("loss", 0.5, NOW + 20, 5)])
    try:
        page = visit(f"/run/{run}")
        page.click("text=Draw them in the charts")
        until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('2 curves')")
        page.uncheck(".branches input")
        until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('1 curve,')")
    finally:
        served.post("runs/delete", run_id=run)


def test_the_champion_moves_with_the_moment(visit, known):
    page = visit("/model/fraud")
    page.wait_for_selector(".alias.big:has-text('v2')")
    page.keyboard.press("[")
    page.wait_for_selector(".alias.big:has-text('v1')")
    assert "at=" in page.evaluate("location.hash")
    page.click("text=Back to now")
    page.wait_for_selector(".alias.big:has-text('v2')")


def test_an_html_artifact_runs_alone(visit):
    page = visit("/run/{r}?tab=artifacts&file=page.html")
    frame = page.frame_locator("iframe.artifact-frame")
    frame.locator("text=shown").wait_for()
    inner = next(frame for frame in page.frames if "artifact-page" in frame.url)
    until(inner, "document.title !== '' && document.title !== 'ran'")
    assert inner.title() == "refused", "it reached the server"
    until(page, "document.querySelector('iframe').getAttribute('sandbox') === 'allow-scripts'")


def test_groups_open_and_close_by_keyboard(visit):
    page = visit("/runs?e={e}&group=params.lr")
    page.wait_for_selector(".grid-row.group")
    rows = "[...document.querySelectorAll('.grid-row:not([hidden])')].map(row => [row.getAttribute('aria-level'), row.getAttribute('aria-expanded')])"
    until(page, f"JSON.stringify({rows}) === '[[\"1\",\"false\"],[\"1\",\"false\"],[\"1\",\"false\"]]'")
    page.locator(".grid").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    until(page, f"JSON.stringify({rows}.slice(0, 4).map(row => row[0])) === '[\"1\",\"2\",\"2\",\"2\"]'")
    assert "open=0.1" in page.url
    page.keyboard.press("Space")
    until(page, "document.querySelector('.plain-chip')?.textContent === '3 selected'")
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelectorAll('.grid-row:not([hidden])').length === 3")


def test_nested_runs_stand_below_their_parent(visit):
    page = visit("/runs?e={e}&group=nested")
    page.wait_for_selector(".opener:not([hidden])")
    assert "fold" not in page.inner_text(".grid")
    page.click(".opener:not([hidden])")
    page.wait_for_selector(".grid-row[aria-level='2'] >> text=fold 0")
    # Where the filter leaves out the parent, its runs are there all the same.
    page = visit("/runs?e={e}&group=nested&q=name%20LIKE%20'fold%25'")
    until(page, "document.querySelector('.amount').textContent === '2 runs' && document.querySelector('.grid').innerText.includes('fold 1')")


def test_another_metric_is_an_axis(visit, served, known):
    run = served.run(known["e"], run_name="over")
    served.batch(run, [point for step in range(20) for point in (("epoch", step / 10, NOW + step, step), ("err", 1.0 - step / 100, NOW + step, step))])
    try:
        page = visit(f"/runs?e={{e}}&sel={run}&keys=err")
        page.wait_for_selector(".axis-select")
        page.select_option(".axis-select", "another")
        page.click(".popover .menu-item:has-text('epoch')")
        until(page, "decodeURIComponent(location.hash).includes('x=metric:epoch')")
        until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('1 curve')")
        page.locator(".chart").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".tip-head:has-text('epoch 0.1 · step 1')")
        assert page.inner_text(".tip-value") == "0.99"
    finally:
        served.post("runs/delete", run_id=run)


def test_hostile_texts_stay_texts(visit):
    for path in ("/runs?e={e}&cols=params.lr%1ftags.tag0%1ftags.tag1", "/runs?e={e}&group=tags.tag0&group=tags.tag4", "/run/{s}", "/run/{s}?tab=charts", "/run/{r}?tab=artifacts&file=evil.svg", "/run/{r}", "/compare?runs={r},{s},{t}"):
        page = visit(path)
        # A function as a result would be called.
        page.evaluate("void (window.pwned = () => { window.hit = true; })")
        still(page)
        made = "[...document.querySelectorAll('main script, main b, img[onerror]')].map(element => element.outerHTML)"
        assert page.evaluate(f"[window.hit ?? false, {made}]") == [False, []], path
    page = visit("/run/{s}")
    text = page.inner_text("main")
    assert all(key in text for key in HOSTILE_KEYS) and HOSTILE_TAGS[0] in text


def test_files_are_shown_by_what_they_are(visit):
    page = visit("/run/{r}?tab=artifacts&file=shots/step_1.svg")
    page.wait_for_selector(".artifact-image input[type=range]")
    until(page, "document.querySelector('.artifact-image input').max === '2'")
    page.locator(".artifact-image input").focus()
    page.keyboard.press("End")
    until(page, "document.querySelector('.artifact-image img').alt === 'step_10.svg' && document.querySelector('.artifact-image img').naturalWidth === 40")
    page = visit(f"/run/{{r}}?tab=artifacts&file=images/{quote(f's+step+3+timestamp+{NOW + 3}+{3:032x}.svg')}")
    page.wait_for_selector(".artifact-image input[type=range]")
    page.locator(".artifact-image input").focus()
    page.keyboard.press("End")
    until(page, "document.querySelector('.artifact-image .mono').textContent === '20'")
    for file, shown in {"beep.wav": "audio", "note.md": ".markdown h3", "deep/text.json": ".artifact-text", "table.csv": "td", "empty.txt": ".artifact-text"}.items():
        page = visit(f"/run/{{r}}?tab=artifacts&file={file}")
        page.wait_for_selector(f".artifact-body {shown}", state="attached")


def test_charts_are_exported(visit):
    page = visit("/runs?e={e}&sel={r}&keys=loss")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('to 9')")
    for item, begin in {"PNG": b"\x89PNG", "SVG": b"<svg", "CSV": b"run_id,run,key,step"}.items():
        page.click("button[aria-label='Export loss']")
        with page.expect_download() as download:
            page.click(f".menu-item:has-text('{item}')")
        data = download.value.path().read_bytes()
        assert data.startswith(begin) and len(data) > 1000, item
    lines = data.decode().splitlines()
    assert len(lines) == 3001 and ",1234,1234," in lines[1235] and ",9,9,9,1" in lines[1235]


def test_a_run_is_renamed_tagged_deleted_and_restored(visit, served, known):
    run = served.run(known["e"], run_name="to change")
    page = visit(f"/run/{run}")

    def act(name, text=None):
        page.click("button:has-text('Actions')")
        page.click(f".menu-item:has-text('{name}')")
        if text is not None:
            page.fill("dialog input", text)
        if page.query_selector("dialog[open]"):
            page.click("dialog .primary")

    page.wait_for_selector("h1:has-text('to change')")
    act("Rename", "changed")
    page.wait_for_selector("h1:has-text('changed')")
    act("Set a tag", "why = it's <b>bold</b>")
    page.wait_for_selector("text=it's <b>bold</b>")
    assert served.tags(run)["why"] == "it's <b>bold</b>"
    act("Remove a tag", "why")
    page.wait_for_selector("text=it's <b>bold</b>", state="detached")
    act("Delete")
    page.wait_for_selector(".badge:has-text('Deleted')")
    act("Restore")
    page.wait_for_selector(".badge:has-text('Deleted')", state="detached")
    # Deleted by somebody else while it is shown.
    served.post("runs/delete", run_id=run)
    page.wait_for_selector(".badge:has-text('Deleted')")


def test_a_server_that_starts_again_under_the_page_misses_nothing(make_server, browser):
    server = make_server()
    api = Api(server.uri)
    experiment = api.experiment("restarted")
    run = api.run(experiment, run_name="goes on")
    api.batch(run, [("loss", 1.0, NOW, 0)])
    page = browser.new_page()
    page.goto(f"{server.uri}/runlode/#/runs?e={experiment}&sel={run}&cols=metrics.loss")
    page.wait_for_selector(".live-dot.live")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('1 points')")
    server.kill()
    page.wait_for_selector(".live-dot.lost")
    server.start()
    api.batch(run, [("loss", 0.5, NOW + 1, 1)])
    other = api.run(experiment, run_name="came meanwhile")
    page.wait_for_selector(".live-dot.live")
    until(page, "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('2 points')")
    until(page, "document.querySelector('.grid').innerText.includes('came meanwhile')")
    until(page, "run => [...document.querySelectorAll('.run-name')].some(link => link.hash.includes(run))", other)
    page.context.close()


def test_an_empty_store_says_what_to_do(make_server, browser):
    server = make_server()
    page = browser.new_page()
    for path, text in {"/runs": "MLFLOW_TRACKING_URI", "/models": "No registered models yet", "/logged": "No logged models yet", "/compare": "No runs to compare", "/run/none": "could not be read"}.items():
        page.goto(f"{server.uri}/runlode/#{path}")
        until(page, "text => document.querySelector('main').innerText.includes(text)", text)
    page.context.close()


def test_pages_only_to_read_follow_a_store_that_others_write(make_server, browser, tmp_path):
    server = make_server()
    api = Api(server.uri)
    experiment = api.experiment("held")
    run = api.run(experiment, run_name="first")
    call = [*command(), "ui", str(server.store), "--read-only", "--no-browser", "--json"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, cwd=tmp_path) as ui:
        try:
            said = json.loads(ui.stdout.readline())
            assert said["read_only"]
            reader = Api(f"http://{said['address']}")
            assert v1(reader, "about")["read_only"]
            refused = reader.raw("POST", "runs/set-tag", json={"run_id": run, "key": "a", "value": "b"})
            assert refused.status_code >= 400 and "read" in refused.json()["message"], refused.text
            page = browser.new_page()
            page.goto(f"{said['page']}#/runs?e={experiment}&sel={run}")
            page.wait_for_selector(".plain-chip")
            assert page.locator("button:has-text('Actions')").count() == 0
            second = api.run(experiment, run_name="second")
            api.batch(second, [("loss", 0.5, NOW, 0)])
            until(page, "document.querySelector('.grid').innerText.includes('second')")
            page.context.close()
        finally:
            ui.terminate()
    assert "a" not in api.tags(run)


def test_each_of_the_pages_links_to_the_other(make_server, browser):
    from test_pages import build

    server = make_server("--ui", str(build()))
    api = Api(server.uri)
    run = api.run(api.experiment("linked"), run_name="linked")
    experiment = api.info(run)["experiment_id"]
    page = browser.new_page()
    page.goto(f"{server.uri}/#/experiments/{experiment}/runs/{run}")
    # Theirs takes long to stand still.
    page.click("#runlode-link", timeout=120_000)
    page.wait_for_selector(".run-page h1:has-text('linked')")
    page.click("text=In MLflow")
    until(page, f"location.pathname === '/' && location.hash.includes('/experiments/{experiment}/runs/{run}')")
    page.context.close()
