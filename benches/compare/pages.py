"""Measures Runlode's own pages in headless Chromium, and MLflow's on the same data through the same server.

    cargo run --release -p runlode --example pages_data -- STORE runs 100000        # and keys 10000, points 100000000
    runlode serve STORE --port 5000
    python benches/compare/pages.py http://127.0.0.1:5000 [PID of the server]

Needs the Python package ``playwright`` and Chromium. Prints one line for each bar: what, measured, bar, reached or not.
"""

import json
import os
import re
import shutil
import statistics
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

BASE = sys.argv[1].rstrip("/")
SERVER = int(sys.argv[2]) if len(sys.argv) > 2 else None
CHROMIUM = os.environ.get("RUNLODE_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
RESULTS = []

FRAMES = """async (scroll) => {
  const element = document.querySelector(scroll.what), times = [];
  let last = performance.now();
  const end = last + scroll.ms;
  while (last < end) {
    element.scrollTop += scroll.by;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def bar(what, value, limit, unit):
    reached = value <= limit
    RESULTS.append(reached)
    print(f"{what:72} {value:10.1f} {unit:8} bar {limit:g}  {'ok' if reached else 'NOT REACHED'}", flush=True)


def get(path):
    with urllib.request.urlopen(f"{BASE}/api/runlode/v1/{path}") as answer:
        return json.load(answer)


def experiment(name):
    return next((one["experiment_id"] for one in get("experiments")["experiments"] if one["name"] == name), None)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def heap_mb(page):
    client = page.context.new_cdp_session(page)
    client.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]} if client.send("Performance.enable") is not None else {}
    return metrics.get("JSHeapUsedSize", 0) / 1e6


def fresh(browser, path, ready):
    """Opens a page anew; milliseconds from navigation until it is ready. Waiting evaluates texts, which the policy forbids."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}, bypass_csp=True).new_page()
    begin = time.perf_counter()
    page.goto(f"{BASE}{path}", wait_until="commit")
    page.wait_for_function(ready, polling="raf", timeout=120_000)
    return page, (time.perf_counter() - begin) * 1000


def table(browser):
    number = experiment("many runs")
    if number is None:
        return
    ready = "[...document.querySelectorAll('.grid-row:not([hidden])')].filter(row => row.textContent.length > 3).length > 10"
    times = []
    for _ in range(5):
        page, ms = fresh(browser, f"/runlode/#/runs?e={number}", ready)
        times.append(ms)
        page.context.close()
    bar("table of 100,000 runs: first rows", statistics.median(times), 300, "ms")
    page, _ = fresh(browser, f"/runlode/#/runs?e={number}&show=table", ready)
    page.wait_for_timeout(1500)
    frames = page.evaluate(FRAMES, {"what": ".grid", "by": 400, "ms": 5000})
    bar("the same: 95% of frames while scrolling", percentile(frames, 0.95), 20, "ms")
    bar("the same: memory of scripts after it", heap_mb(page), 150, "MB")
    page.context.close()


def curve(browser):
    number = experiment("long")
    if number is None:
        return
    ready = "document.querySelector('.chart')?.getAttribute('aria-label')?.includes('to 9')"
    times = []
    for _ in range(5):
        page, ms = fresh(browser, f"/runlode/#/runs?e={number}", ready)
        times.append(ms)
        page.context.close()
    bar("100 M points: first paint with the spike, from navigation", statistics.median(times), 200, "ms")
    page, _ = fresh(browser, f"/runlode/#/runs?e={number}", ready)
    label = page.locator(".chart").first.get_attribute("aria-label")
    total = int(re.search(r"(\d+) points", label)[1])
    at = int(total * 0.637)
    steps = page.evaluate("""async ({ total, at }) => {
      const chart = document.querySelector('.chart'), times = [];
      let width = total;
      chart.focus();
      while (width > 40) {
        width /= 2;
        const from = Math.max(0, at - width * 0.4), asked = performance.now();
        const before = chart.getAttribute('aria-label');
        history.replaceState(null, '', location.hash.replace(/&zoom=[^&]*/, '') + `&zoom=${from}~${from + width}`);
        dispatchEvent(new PopStateEvent('popstate'));
        while (chart.getAttribute('aria-label') === before && performance.now() - asked < 2000) {
          await new Promise(requestAnimationFrame);
        }
        times.push(performance.now() - asked);
      }
      return times;
    }""", {"total": total, "at": at})
    bar("the same: a zoom step, answered and drawn, 95%", percentile(steps, 0.95), 50, "ms")
    exact = page.locator(".chart").first.get_attribute("aria-label")
    print(f"    at full zoom: {exact}")
    page.context.close()


def live(browser):
    number = experiment("live")
    if number is None:
        return
    page, _ = fresh(browser, f"/runlode/#/runs?e={number}", "document.querySelector('.live-dot.live')")
    ids = page.evaluate("[...document.querySelectorAll('.run-name')].map(link => link.hash.split('/')[2].split('?')[0]).slice(0, 50)")
    page.goto(f"{BASE}/runlode/#/runs?e={number}&sel={','.join(ids)}&show=charts")
    page.wait_for_timeout(4000)
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    received = [0]
    client.send("Network.enable")
    client.on("Network.dataReceived", lambda event: received.__setitem__(0, received[0] + event["encodedDataLength"]))
    task = lambda: {one["name"]: one["value"] for one in client.send("Performance.getMetrics")["metrics"]}["TaskDuration"]  # noqa: E731
    before, server, begin, bytes_before = task(), cpu_s(SERVER) if SERVER else 0, time.perf_counter(), received[0]
    page.wait_for_timeout(20_000)
    seconds = time.perf_counter() - begin
    bar(f"{len(ids)} runs live, a point a second each: a core in the browser", (task() - before) / seconds * 100, 10, "%")
    if SERVER:
        bar("the same: a core in the server", (cpu_s(SERVER) - server) / seconds * 100, 2, "%")
    bar("the same: received", (received[0] - bytes_before) / seconds / 1000, 20, "KB/s")
    page.context.close()


def keys(browser):
    number = experiment("many keys")
    if number is None:
        return
    ready = "[...document.querySelectorAll('.chart')].filter(chart => chart.getAttribute('aria-label')?.includes('curves')).length > 3"
    times = []
    for _ in range(5):
        page, ms = fresh(browser, f"/runlode/#/runs?e={number}", ready)
        times.append(ms)
        page.context.close()
    bar("10,000 keys x 20 runs: first cards", statistics.median(times), 500, "ms")
    page, _ = fresh(browser, f"/runlode/#/runs?e={number}&show=charts", ready)
    page.wait_for_timeout(1000)
    frames = page.evaluate(FRAMES, {"what": ".cards", "by": 40, "ms": 5000})
    bar("the same: longest frame while scrolling", max(frames[2:]), 50, "ms")
    bar("the same: elements of the page", page.evaluate("document.querySelectorAll('*').length"), 3000, "nodes")
    page.context.close()


def theirs(browser):
    """MLflow's pages on the same data: for comparison, without a bar."""
    number = experiment("many runs")
    if number is None or not get("about")["mlflow_pages"]:
        return
    page, ms = fresh(browser, f"/#/experiments/{number}/runs", "document.body.innerText.includes('trial-')")
    print(f"MLflow's pages, first rows of the same table: {ms:.0f} ms; {heap_mb(page):.0f} MB")
    page.context.close()


with sync_playwright() as started:
    browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    for part in (table, curve, live, keys, theirs):
        part(browser)
    browser.close()
print(f"{sum(RESULTS)} of {len(RESULTS)} bars reached")
