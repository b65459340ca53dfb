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
from urllib.parse import unquote

import pytest
from conftest import ROOT, Api

WEB = ROOT / "api" / "pages" / "web"
NPM = ROOT / "tests" / "python" / ".npm"
PACKAGES = ["typescript@5.9.3", "axe-core@4.11.0"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RUNLODE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
NOW = int(time.time() * 1000)


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
    return Api(make_server().uri)


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
    base = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{runs[0]}/artifacts"
    files = {"table.csv": b'a,b\n1,"x, y"\n', "note.md": b"# Title\n\ntext", "page.html": b"<script>document.title='ran'; fetch('/api/runlode/v1/about').then(() => document.title='escaped').catch(() => 0)</script><p>shown</p>", "deep/text.json": b'{"a": [1]}'}
    for name, data in files.items():
        assert served.raw("PUT", f"{base}/{name}", data=data).status_code == 200
    model = served.registered("fraud")
    for run in runs[:2]:
        served.version(model, f"runs:/{run}/model", run_id=run)
    served.post("registered-models/alias", name=model, alias="champion", version="1")
    before = v1(served, "about")["position"]
    served.post("registered-models/alias", name=model, alias="champion", version="2")
    return {"e": experiment, "r": runs[0], "s": runs[1], "t": runs[2], "before": before}


def v1(api, path, **fields):
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
    fields = {"experiment_id": known["e"], "column": ["run_id", "run_name", "metrics.loss.max", "params.lr", "liveness"], "order_by": "params.lr", "limit": 2}
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params=fields))
    assert (header["total"], header["rows"]) == (3, 2)
    assert table["run_id"] == [known["r"], known["s"]] and table["params.lr"] == ["0.1", "0.2"] and table["metrics.loss.max"] == [9.0, 9.0]
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "offset": 2}))
    assert table["run_id"] == [known["t"]]
    begin = served.raw("GET", "/api/runlode/v1/history", params={"run_id": known["s"]}).json()["changes"][0]["position"]
    header, table = columns(served.raw("GET", "/api/runlode/v1/runs", params={**fields, "as_of": begin, "order_by": "start_time"}))
    assert (header["position"], header["total"]) == (begin, 2)
    assert table["params.lr"] == [None, None] and table["metrics.loss.max"] == [None, None]
    past = {**fields, "as_of": known["before"], "filter": "metrics.acc > 0.55 and params.lr != '0.3'"}
    assert columns(served.raw("GET", "/api/runlode/v1/runs", params=past))[1]["run_id"] == [known["s"]]


def test_a_wrong_filter_says_where(served):
    answer = served.raw("GET", "/api/runlode/v1/runs", params={"filter": "metrics.loss < wrong"})
    assert answer.status_code == 400 and answer.json()["at"] == 15 and "number" in answer.json()["message"]
    for wrong in ({"as_of": "yesterday"}, {"limit": "0"}, {"offset": "-1"}, {"column": "nope"}, {"view": "SOME"}):
        assert served.raw("GET", "/api/runlode/v1/runs", params=wrong).status_code == 400, wrong


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
    assert len(names) == 2, names
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
    """Waits until an expression is true. Playwright's own way evaluates in the page, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


PAGES = {
    "/runs": "trial 0",
    "/runs?e={e}&x=time&logy=1&smooth=0.9&zoom=1~2": "trial 0",
    "/run/{r}": "A note",
    "/run/{r}?tab=charts": "3 charts",
    "/run/{r}?tab=artifacts&file=table.csv": "x, y",
    "/run/{r}?tab=history": "Run created",
    "/run/{t}": "بحث",
    "/compare?runs={r},{s}": "lr",
    "/compare?runs={r},{s},{t}&tab=parallel": "3 runs",
    "/compare?runs={r},{s},{t}&tab=scatter": "3 runs",
    "/compare?runs={r},{s},{t}&tab=correlation": "Spearman",
    "/models": "fraud",
    "/model/fraud": "v2",
    "/model/fraud?tab=lineage": "@champion",
    "/model/fraud?tab=diff": "lr",
    "/model/fraud?tab=history": "champion",
    "/model/fraud?at={before}": "As it was",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_and_is_accessible(visit, path, request):
    # Each page in one of the themes: their rules are the same but for contrast.
    theme = ("light", "dark")[list(PAGES).index(path) % 2]
    page = visit(path, theme=theme)
    until(page, "text => document.body.innerText.includes(text)", PAGES[path])
    page.wait_for_timeout(300)
    axe = request.getfixturevalue("npm") / "axe-core" / "axe.min.js"
    # The page's policy forbids scripts of tags; this is no tag.
    page.evaluate(axe.read_text())
    found = page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] })")
    wrong = [(one["id"], [node["target"] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"][:300]) for one in found["violations"]]
    assert not wrong, (theme, wrong)


@pytest.mark.parametrize("path", ["/runs", "/run/{r}", "/model/fraud", "/models", "/compare?runs={r},{s}"])
def test_a_phone_shows_it_without_scrolling_sideways(visit, path):
    page = visit(path, width=360, height=740)
    page.wait_for_timeout(500)
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
    until(page, "document.querySelector('.chart').getAttribute('aria-label').includes('2 points')")
    until(page, "[...document.querySelectorAll('.grid-cell')].some(cell => cell.textContent === '0.875')")


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
    page.wait_for_timeout(300)
    inner = next(frame for frame in page.frames if "artifact-page" in frame.url)
    assert inner.title() == "ran", "it reached the server"
    assert page.evaluate("document.querySelector('iframe').getAttribute('sandbox')") == "allow-scripts"
