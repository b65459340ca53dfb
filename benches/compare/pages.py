"""Measures Runlode's own pages in headless Chromium, and MLflow's on the same data through the same server.

    cargo run --release -p runlode --example pages_data -- STORE runs 100000    # then keys 10000, points 100000000
    runlode serve STORE --port 5000                                             # with mlflow installed: its pages too
    cargo run --release -p runlode --example pages_data -- STORE live 50        # beside it, while this measures
    python benches/compare/pages.py http://127.0.0.1:5000 --server PID [--only table,curve]
    python benches/compare/pages.py STORE --first target/release/runlode        # without a server: it starts one for each visit

Needs the Python package ``playwright`` and Chromium; for accessibility axe-core (``npm install axe-core``, ``$RUNLODE_AXE``).

Prints one line a bar: what, measured, bar, reached or not; ``MLflow`` lines have no bar. Times begin at navigation, in a
new profile without cache, and end after the frame that shows what was waited for. ``wall`` is what a clock says; ``work``
is what the main thread of the page computed (scripts, style, layout, paint calls), from Chromium's trace in thread time: on
a machine that is busy with other things this is the page's own share. ``floor`` is an empty page with one table and one
canvas, of the same server, measured in turns with the page: what Chromium takes before any of our work.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RUNLODE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
AXE = Path(os.environ.get("RUNLODE_AXE", ROOT / "tests" / "python" / ".npm" / "node_modules" / "axe-core" / "axe.min.js"))
TRACED = ["devtools.timeline", "disabled-by-default-devtools.timeline"]
REPEATS = 5
# Of the plot in a chart, in pixels: its margins.
LEFT, RIGHT = 52, 10
SPIKE = 0.637

results = []


def bar(what, value, limit, unit):
    reached = value <= limit
    results.append((what, reached))
    print(f"{what:78} {value:10.1f} {unit:6} bar {limit:<6g} {'ok' if reached else 'NOT REACHED'}", flush=True)


def theirs(what, value, unit):
    print(f"{'MLflow: ' + what:78} {value:10.1f} {unit}", flush=True)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


# ---- the store ----


class Store:
    """What the server answers."""

    def __init__(self, base):
        self.base = base

    def json(self, path):
        with urllib.request.urlopen(f"{self.base}/api/runlode/v1/{path}") as answer:
            return json.load(answer)

    def experiment(self, name):
        """Its id; None, and a line that says so, if it is not there."""
        for one in self.json("experiments")["experiments"]:
            if one["name"] == name:
                return one["experiment_id"]
        print(f"there is no experiment '{name}': nothing is measured on it", flush=True)
        return None

    def run_of(self, experiment):
        """The id of one of its runs."""
        address = f"{self.base}/api/2.0/mlflow/runs/search"
        body = json.dumps({"experiment_ids": [experiment], "max_results": 1}).encode()
        request = urllib.request.Request(address, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["runs"][0]["info"]["run_id"]


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- the browser ----

WATCH = """(() => {
  window.watched = { ready: null, tasks: [] };
  new PerformanceObserver((list) => list.getEntries().forEach((one) => window.watched.tasks.push(one.duration))).observe({ type: 'longtask', buffered: true });
  const look = () => {
    let is = false;
    try { is = Boolean(READY); } catch { is = false; }
    // A task after the frame: it has been drawn.
    if (is) { setTimeout(() => { window.watched.ready = performance.now(); }); } else { requestAnimationFrame(look); }
  };
  requestAnimationFrame(look);
})()"""

# An answer of a few bytes, and what is drawn into it with its first frame: a table of one screen, and one canvas.
FLOOR_PATH = "/health"
FLOOR = """(() => {
  const table = document.createElement('table'), canvas = document.createElement('canvas');
  for (let row = 0; row < 25; row += 1) {
    const cells = table.insertRow();
    for (let at = 0; at < 8; at += 1) cells.insertCell().textContent = `${row * at}`;
  }
  document.body.replaceChildren(table, canvas);
  const pen = canvas.getContext('2d');
  pen.lineTo(300, 150);
  pen.stroke();
  return true;
})()"""

SCROLL = """async (scroll) => {
  const element = document.querySelector(scroll.what), times = [];
  let last = await new Promise(requestAnimationFrame);
  const end = last + scroll.ms;
  while (last < end) {
    element.scrollTop += scroll.by;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}"""


class Browser:
    def __init__(self, browser, base):
        self.browser, self.base = browser, base
        self.processes = browser.new_browser_cdp_session()

    def open(self, path, ready, seconds=60, theme="light"):
        """Opens a page in a new profile; the page, and milliseconds from navigation until it is ready (None: never)."""
        page = self.browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme=theme).new_page()
        page.add_init_script(WATCH.replace("READY", ready))
        page.goto(f"{self.base}{path}", wait_until="commit")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            page.wait_for_timeout(50)
            if ms := page.evaluate("window.watched?.ready"):
                return page, ms
        return page, None

    def median_ms(self, path, ready):
        """Until a page is ready, and until an empty one is: medians, in ms."""
        times = {path: [], FLOOR_PATH: []}
        for _ in range(REPEATS):
            for one, is_ready in ((path, ready), (FLOOR_PATH, FLOOR)):
                page, ms = self.open(one, is_ready)
                assert ms is not None, f"{one} does not get ready"
                times[one].append(ms)
                page.context.close()
        return statistics.median(times[path]), statistics.median(times[FLOOR_PATH])

    def work_ms(self, path, ready, server):
        """What the page's main thread worked until it was ready, and the server for it: medians, in ms."""
        works, served = [], []
        for _ in range(REPEATS):
            used = cpu_s(server) if server else 0
            self.browser.start_tracing(categories=TRACED)
            try:
                page, ms = self.open(path, ready)
            finally:
                trace = json.loads(self.browser.stop_tracing())["traceEvents"]
            assert ms is not None, f"{path} does not get ready"
            served.append((cpu_s(server) - used) * 1000 if server else 0)
            works.append(sum(work_of(trace)[0]))
            page.context.close()
        return statistics.median(works), statistics.median(served)

    def first(self, what, path, ready, limit, server):
        """The lines of what a page shows first."""
        wall, floor = self.median_ms(path, ready)
        bar(f"{what} (wall)", wall, limit, "ms")
        print(f"    floor {floor:.0f} ms", flush=True)
        work, served = self.work_ms(path, ready, server)
        bar(f"{what} (work of page and server)", work + served, limit, "ms")
        print(f"    page {work:.0f} ms, server {served:.0f} ms", flush=True)

    def cpu_s(self):
        """Processor seconds of all of Chromium, and of those the renderers'."""
        infos = self.processes.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(one["cpuTime"] for one in infos), sum(one["cpuTime"] for one in infos if one["type"] == "renderer")

    def memory_mb(self, page):
        """Heap of the page's scripts after a collection, and what its process has for itself."""
        client = page.context.new_cdp_session(page)
        client.send("HeapProfiler.collectGarbage")
        client.send("Performance.enable")
        metrics = {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}
        private = []
        for one in self.processes.send("SystemInfo.getProcessInfo")["processInfo"]:
            if one["type"] == "renderer":
                rollup = Path(f"/proc/{one['id']}/smaps_rollup").read_text()
                private.append(sum(int(kb) for kb in re.findall(r"Private_\w+:\s+(\d+) kB", rollup)) / 1024)
        return metrics["JSHeapUsedSize"] / 1e6, max(private)

    def traced(self, page, act):
        """What an act gives, and what the main thread worked for each frame meanwhile, in ms; and its longest task."""
        self.browser.start_tracing(page=page, categories=TRACED)
        try:
            gave = act()
        finally:
            trace = json.loads(self.browser.stop_tracing())["traceEvents"]
        return gave, *work_of(trace)


def work_of(trace):
    """Milliseconds of work for each frame, and of the longest task, of the main thread that drew most frames."""
    frames, tasks = {}, {}
    for event in trace:
        thread = (event.get("pid"), event.get("tid"))
        if event.get("name") == "FireAnimationFrame":
            frames.setdefault(thread, []).append(event["ts"])
        elif event.get("name") == "RunTask" and event.get("ph") == "X":
            tasks.setdefault(thread, []).append((event["ts"], event.get("tdur", event.get("dur", 0)) / 1000))
    if not frames:
        return [], 0.0
    thread = max(frames, key=lambda one: len(frames[one]))
    begins = sorted(frames[thread])
    work, at = [0.0] * len(begins), 0
    for begin, ms in sorted(tasks.get(thread, [])):
        while at + 1 < len(begins) and begins[at + 1] <= begin:
            at += 1
        work[at] += ms
    return work, max((ms for _, ms in tasks.get(thread, [])), default=0.0)


def scrolled(browser, page, what, by, ms=5000):
    times, work, longest = browser.traced(page, lambda: page.evaluate(SCROLL, {"what": what, "by": by, "ms": ms}))
    return times[2:], work[2:], longest


# ---- the bars ----


def files(browser, store, _):
    page, _ = browser.open("/runlode/", "document.querySelector('main .page')")
    urls = page.evaluate("performance.getEntriesByType('resource').map((one) => [one.name, one.initiatorType])")
    page.context.close()
    loaded = [f"{store.base}/runlode/"] + [url for url, kind in urls if kind in ("script", "link", "css", "img")]
    sizes = 0
    for url in loaded:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"accept-encoding": "gzip"})) as answer:
            sizes += len(answer.read())
    bar("code and style of the pages, compressed", sizes / 1024, 120, "KiB")
    bar("requests of a first load", len(loaded), 4, "")
    print(f"    and {sum(kind in ('fetch', 'xmlhttprequest', 'other') for _, kind in urls)} for data")


# The experiments, and when their page shows what it should.
READY = {
    "many runs": "[...document.querySelectorAll('.grid-row:not([hidden]) .run-name')].filter((name) => name.textContent).length > 10",
    "long": "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('to 9')",
    "many keys": "[...document.querySelectorAll('.chart')].filter((chart) => chart.getAttribute('aria-label')?.includes('curves')).length > 3",
}
FIRST_VISITS = 9
# People are not faster: a browser has to start.
BEFORE_VISIT_S = 0.6


def first_visits(chromium, store, runlode):
    """First visits, each of a server that has just been started."""
    for name, limit in (("many runs", 300), ("long", 200), ("many keys", 500)):
        for wait in (BEFORE_VISIT_S, 0):
            times = []
            for _ in range(FIRST_VISITS):
                serve = subprocess.Popen([runlode, "serve", store, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                base = f"http://{json.loads(serve.stdout.readline())['address']}"
                time.sleep(wait)
                page, ms = Browser(chromium, base).open(f"/runlode/#/runs?e={quote(name)}", READY[name])
                assert ms is not None, f"{name} does not get ready"
                times.append(ms)
                page.context.close()
                serve.terminate()
                serve.wait()
            bar(f"{name}: a first visit {wait} s after the start of the server, median of {FIRST_VISITS} (wall)", statistics.median(times), limit, "ms")


def table(browser, store, server):
    number = store.experiment("many runs")
    if number is None:
        return
    ready = READY["many runs"]
    browser.first("many runs: first rows", f"/runlode/#/runs?e={number}", ready, 300, server)
    page, _ = browser.open(f"/runlode/#/runs?e={number}&show=table", ready)
    page.wait_for_timeout(1500)
    for by, name in ((120, "slowly"), (2000, "in leaps")):
        times, work, longest = scrolled(browser, page, ".grid", by)
        bar(f"many runs: 95% of frames while scrolling {name} (wall)", percentile(times, 0.95), 20, "ms")
        bar(f"many runs: 95% of frames while scrolling {name} (work)", percentile(work, 0.95), 20, "ms")
        print(f"    {len(times)} frames, longest {max(times):.0f} ms; longest task {longest:.1f} ms")
    heap, private = browser.memory_mb(page)
    bar("many runs: memory of the page's process after that", private, 150, "MB")
    print(f"    of these, heap of scripts {heap:.1f} MB")
    page.context.close()
    if not store.json("about")["mlflow_pages"]:
        return
    page, ms = browser.open(f"/#/experiments/{number}/runs", "document.body.innerText.includes('trial-')")
    theirs("first rows of the same table (wall)", ms or float("nan"), "ms")
    if page.query_selector(".ag-body-viewport"):
        times, work, _ = scrolled(browser, page, ".ag-body-viewport", 120)
        theirs("95% of frames while scrolling its first 100 rows (wall)", percentile(times, 0.95), "ms")
        theirs("the same (work)", percentile(work, 0.95), "ms")
    theirs("memory of its process", browser.memory_mb(page)[1], "MB")
    page.context.close()


STEP = """() => new Promise((done) => {
  const chart = document.querySelector('.chart');
  addEventListener('pointerup', (event) => {
    const begin = event.timeStamp;
    const look = () => (chart.getAttribute('aria-busy') === 'true' || chart.getAttribute('aria-label') === window.labelBefore ? requestAnimationFrame(look) : setTimeout(() => done(performance.now() - begin)));
    requestAnimationFrame(look);
  }, { once: true, capture: true });
  window.labelBefore = chart.getAttribute('aria-label');
})"""

# Whether a chart's canvas has ink above most of the curve, at a part of its width.
INK = """(part) => {
  const canvas = document.querySelector('.chart canvas'), ratio = canvas.width / canvas.clientWidth;
  const x = Math.round((52 + (canvas.clientWidth - 62) * part) * ratio);
  const data = canvas.getContext('2d').getImageData(x - 2, Math.round(10 * ratio), 5, Math.round(canvas.height * 0.25)).data;
  let ink = 0;
  for (let i = 0; i < data.length; i += 4) ink += data[i + 3] > 60 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 40 ? 1 : 0;
  return ink;
}"""


def curve(browser, store, server):
    number = store.experiment("long")
    if number is None:
        return
    ready = READY["long"]
    browser.first("long curve: first paint, with the spike, from navigation", f"/runlode/#/runs?e={number}", ready, 200, server)
    page, _ = browser.open(f"/runlode/#/runs?e={number}", ready)
    chart = page.locator(".chart").first
    total = int(re.search(r"(\d+) points", chart.get_attribute("aria-label"))[1])
    at = int(total * SPIKE)
    ink = page.evaluate(INK, SPIKE)
    bar("long curve: the spike is not seen at full zoom-out", 0 if ink > 5 else 1, 0, "")
    box = chart.bounding_box()
    width = box["width"] - LEFT - RIGHT
    times = []
    for _ in range(3):
        low, high = 0.0, total - 1.0
        while high - low > 12:
            x = box["x"] + LEFT + width * (at - low) / (high - low)
            ends = [max(box["x"] + LEFT + 1, x - width * 0.2), min(box["x"] + LEFT + width - 1, x + width * 0.2)]
            page.evaluate(f"() => {{ window.stepDone = ({STEP})(); }}")
            page.mouse.move(ends[0], box["y"] + 90)
            page.mouse.down()
            page.mouse.move(ends[1], box["y"] + 90, steps=2)
            page.mouse.up()
            times.append(page.evaluate("window.stepDone"))
            # The address has the range that was reached.
            page.wait_for_timeout(250)
            low, high = (float(end) for end in re.search(r"zoom=([^&]+)", unquote(page.url))[1].split("~"))
        exact = chart.get_attribute("aria-label")
        page.mouse.dblclick(box["x"] + LEFT + width / 2, box["y"] + 90)
        page.wait_for_timeout(400)
    bar(f"long curve: a zoom step, asked, answered and drawn, 95% of {len(times)} (wall)", percentile(times, 0.95), 50, "ms")
    print(f"    median {statistics.median(times):.1f} ms, longest {max(times):.1f} ms; at full zoom-in: {exact}")
    bar("long curve: the spike is not exact at full zoom-in", 0 if " to 9. " in exact else 1, 0, "")
    page.context.close()
    if not store.json("about")["mlflow_pages"]:
        return
    run = store.run_of(number)
    drawn = "document.querySelector('.js-plotly-plot .scatterlayer path')"
    page, ms = browser.open(f"/#/experiments/{number}/runs/{run}/model-metrics", drawn)
    theirs("first paint of the same curve (wall)", ms or float("nan"), "ms")
    if ms:
        rows = page.evaluate("document.querySelector('.js-plotly-plot').data.map((one) => [one.y.length, Math.max(...one.y.filter((value) => value !== null))])")
        print(f"    it shows {sum(row[0] for row in rows)} points; greatest value {max(row[1] for row in rows):.3f} (the spike is 9)")
    page.context.close()


def live(browser, store, server):
    number = store.experiment("live")
    if number is None:
        return
    page, _ = browser.open(f"/runlode/#/runs?e={number}", "document.querySelector('.live-dot.live') && document.querySelector('.grid-row .run-name')?.textContent")
    page.wait_for_timeout(500)
    ids = page.evaluate("[...document.querySelectorAll('.grid-row:not([hidden]) .run-name')].map((link) => link.hash.split('/')[2].split('?')[0])")
    names = json.loads(urllib.request.urlopen(urllib.request.Request(f"{store.base}/api/2.0/mlflow/runs/search", json.dumps({"experiment_ids": [number], "max_results": 50}).encode(), {"content-type": "application/json"})).read())
    ids = [run["info"]["run_id"] for run in names["runs"]] or ids
    page.context.close()
    idle = cpu_s(server) if server else 0
    time.sleep(10)
    idle = (cpu_s(server) - idle) / 10 * 100 if server else 0
    page, _ = browser.open(f"/runlode/#/runs?e={number}&sel={','.join(ids)}", f"document.querySelector('.chart')?.getAttribute('aria-label')?.includes('{len(ids)} curves')")
    page.wait_for_timeout(4000)
    client = page.context.new_cdp_session(page)
    received = [0]
    client.send("Network.enable")
    client.on("Network.dataReceived", lambda event: received.__setitem__(0, received[0] + max(event["encodedDataLength"], event["dataLength"])))
    label = page.locator(".chart").first.get_attribute("aria-label")
    (all_before, page_before), used, begin = browser.cpu_s(), cpu_s(server) if server else 0, time.perf_counter()
    page.wait_for_timeout(30_000)
    seconds = time.perf_counter() - begin
    (all_after, page_after) = browser.cpu_s()
    if page.locator(".chart").first.get_attribute("aria-label") == label:
        print("nothing came: is the example 'pages_data live' running?")
    bar(f"{len(ids)} runs live, a point a second each: of a core, the page's process", (page_after - page_before) / seconds * 100, 10, "%")
    bar("live: of a core, all of Chromium (draws without a graphics card)", (all_after - all_before) / seconds * 100, 10, "%")
    if server:
        bar("live: of a core, the server", (cpu_s(server) - used) / seconds * 100, 2, "%")
        print(f"    {idle:.1f} % of it without any page")
    bar("live: received", received[0] / seconds / 1000, 20, "KB/s")
    page.context.close()


def keys(browser, store, server):
    number = store.experiment("many keys")
    if number is None:
        return
    ready = READY["many keys"]
    browser.first("many keys x 20 runs: first cards", f"/runlode/#/runs?e={number}", ready, 500, server)
    page, _ = browser.open(f"/runlode/#/runs?e={number}&show=charts", ready)
    page.wait_for_timeout(1000)
    times, work, longest = scrolled(browser, page, ".cards", 40)
    bar("many keys: longest frame while scrolling (wall)", max(times), 50, "ms")
    bar("many keys: longest frame while scrolling (work)", max(work), 50, "ms")
    print(f"    95% of frames {percentile(times, 0.95):.1f} ms, work {percentile(work, 0.95):.1f} ms; longest task {longest:.1f} ms")
    bar("many keys: elements of the page", page.evaluate("document.querySelectorAll('*').length"), 3000, "nodes")
    page.context.close()
    if not store.json("about")["mlflow_pages"]:
        return
    run = store.run_of(number)
    page, ms = browser.open(f"/#/experiments/{number}/runs/{run}/model-metrics", "document.querySelectorAll('.js-plotly-plot .scatterlayer, .js-plotly-plot .barlayer').length > 3", seconds=90)
    theirs("first cards of one run with these keys (wall)", ms or float("nan"), "ms")
    theirs("elements of that page", page.evaluate("document.querySelectorAll('*').length"), "nodes")
    theirs("longest task until then", max(page.evaluate("window.watched.tasks") or [0]), "ms")
    page.context.close()


def access(browser, store, _):
    """Violations of WCAG's levels A and AA that axe-core finds."""
    if not AXE.exists():
        print(f"there is no {AXE}: accessibility is not checked")
        return
    number = store.experiment("many runs") or "0"
    run = store.run_of(number)
    pages = [f"/runs?e={number}", f"/runs?e={number}&group=params.optimizer", f"/run/{run}", f"/run/{run}?tab=charts", f"/run/{run}?tab=artifacts", f"/run/{run}?tab=history", f"/compare?e={number}&tab=parallel", f"/compare?e={number}&tab=scatter", f"/compare?e={number}&tab=correlation", "/models", "/logged"]
    script, found = AXE.read_text(), []
    for theme in ("light", "dark"):
        for path in pages:
            page, _ = browser.open(f"/runlode/#{path}", "document.querySelector('main .page')", theme=theme)
            page.wait_for_timeout(1500)
            page.evaluate(script)
            for one in page.evaluate(RULES)["violations"]:
                found.append(one["id"])
                print(f"    {theme} {path}: {one['id']}: {one['nodes'][0]['target']}")
            page.context.close()
    bar(f"violations that axe-core finds on {len(pages)} pages in two themes", len(found), 0, "")
    if store.json("about")["mlflow_pages"]:
        page, _ = browser.open(f"/#/experiments/{number}/runs", "document.body.innerText.includes('trial-')")
        page.evaluate(script)
        theirs("violations on its table of runs", len(page.evaluate(RULES)["violations"]), "")
        page.context.close()


RULES = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] })"
PARTS = {"files": files, "table": table, "curve": curve, "keys": keys, "live": live, "access": access}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="address of the server; with --first the store's path")
    parser.add_argument("--first", metavar="RUNLODE", help="measures first visits, of servers that it starts with this command")
    parser.add_argument("--server", type=int, help="its process, for the processor time that it takes")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas: " + ", ".join(PARTS))
    asked = parser.parse_args()
    if asked.first:
        with sync_playwright() as started:
            first_visits(started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]), asked.base, asked.first)
        print(f"{sum(reached for _, reached in results)} of {len(results)} lines reached their bars")
        return
    store = Store(asked.base.rstrip("/"))
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        browser = Browser(chromium, store.base)
        print(f"Chromium {chromium.version}, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores", flush=True)
        for name in asked.only.split(","):
            PARTS[name](browser, store, asked.server)
        chromium.close()
    print(f"{sum(reached for _, reached in results)} of {len(results)} lines reached their bars")


if __name__ == "__main__":
    main()
