"""MLflow's pages in a browser, each once: no page fails, and none shows an error that an MLflow server would not show.

Needs Chromium (``apt-get install chromium``, or ``$RUNLODE_CHROMIUM``), the Python package ``playwright``, and MLflow's pages.
"""

import os
import re
import shutil
import time

import pytest
from conftest import Api, listed

playwright = pytest.importorskip("playwright.sync_api", reason="there is no browser: pip install playwright")
from test_pages import build  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("RUNLODE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
if not CHROMIUM:
    pytest.skip("there is no browser: apt-get install chromium, or set RUNLODE_CHROMIUM", allow_module_level=True)

# MLflow's own server does not have these either, unless it has users.
NOT_IN_MLFLOW = re.compile(r"/ajax-api/2\.0/mlflow/users/(current|list)$")
# What a page says where a call failed.
RED = re.compile(
    r"NOT_IMPLEMENTED|Runlode does not have|RESOURCE_DOES_NOT_EXIST|ENDPOINT_NOT_FOUND|went wrong|unexpected error"
    r"|error occurred|couldn't load|Could not load|Failed to|Error loading|is not available",
    re.I,
)


@pytest.fixture(scope="module")
def served(make_server):
    return Api(make_server("--ui", str(build())).uri)


@pytest.fixture(scope="module")
def known(served):
    """Ids of what the pages show."""
    experiment = served.experiment("pages")
    runs = [served.run(experiment, run_name=f"run{i}", start_time=int(time.time() * 1000)) for i in range(2)]
    for run in runs:
        metrics = [("loss", 1 / (i + 1), i + 1, i) for i in range(50)]
        served.batch(run, [*metrics, ("acc", 0.5, 1, 0)], {"lr": "0.1"}, {"t": "x"})
        dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
        served.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset}])
        path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/a/b.txt"
        assert served.raw("PUT", path, data=b"hello").status_code == 200
    served.post("runs/update", run_id=runs[0], status="FINISHED", end_time=int(time.time() * 1000))
    logged = served.model(experiment, name="logged", source_run_id=runs[0])["info"]["model_id"]
    served.post("runs/outputs", run_id=runs[0], models=[{"model_id": logged, "step": 0}])
    served.patch(f"logged-models/{logged}", model_id=logged, status="LOGGED_MODEL_READY")
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{logged}/artifacts/MLmodel"
    assert served.raw("PUT", path, data=b"flavors: {}\n").status_code == 200
    model = served.registered("shown")
    served.version(model, f"models:/{logged}", run_id=runs[0])
    served.post("registered-models/alias", name=model, alias="best", version="1")
    is_prompt = {"mlflow.prompt.is_prompt": "true"}
    prompt = served.registered("greeting", tags=listed(is_prompt))
    text = {**is_prompt, "mlflow.prompt.text": "Hello {{name}}", "_mlflow_prompt_type": "text"}
    served.version(prompt, "dummy-source", tags=listed(text))
    return {"e": experiment, "r": runs[0], "s": runs[1], "m": logged, "model": model, "prompt": prompt}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A page, and what went wrong on it."""

    def __init__(self, browser, uri):
        self.uri, self.faults, self.open = uri, [], set()
        self.page = browser.new_page(viewport={"width": 1400, "height": 900})
        # What the pages ask other servers for may never be answered.
        self.page.route(lambda url: not url.startswith(uri), lambda route: route.abort())
        self.page.on("request", self._asked)
        self.page.on("requestfinished", lambda request: self.open.discard(request))
        self.page.on("requestfailed", lambda request: self.open.discard(request))
        self.page.on("response", self._answered)
        self.page.on("console", self._printed)
        self.page.on("pageerror", lambda error: self.faults.append(f"raised {error}"))

    def _asked(self, request):
        # The browser never says that a worker's script has come.
        if not request.url.endswith(".worker.js"):
            self.open.add(request)

    def _answered(self, response):
        url = response.url.partition("?")[0]
        if response.status >= 400 and not NOT_IN_MLFLOW.search(url):
            self.faults.append(f"{response.request.method} {response.url}: {response.status}")

    def _printed(self, message):
        # A call that failed is among the answers.
        if message.type == "error" and not re.search("Failed to load resource|ResizeObserver loop", message.text):
            self.faults.append(f"printed {message.text[:300]}")

    def visit(self, path):
        self.page.goto(f"{self.uri}/#{path}", timeout=60_000)
        self.page.wait_for_function("document.body.innerText.trim().length > 40", timeout=60_000)
        # Done when nothing has been asked for a while: an answer may lead to the next call.
        quiet, deadline = 0, time.monotonic() + 60
        while quiet < 4 and time.monotonic() < deadline:
            self.page.wait_for_timeout(150)
            quiet = 0 if self.open else quiet + 1
        return self.page.inner_text("body")


PAGES = [
    "/", "/experiments", "/models", "/prompts",
    "/settings", "/settings/general", "/settings/llm-connections", "/settings/webhooks",
    "/gateway", "/gateway/usage", "/gateway/budgets", "/gateway/endpoints", "/gateway/api-keys", "/mcp-registry",
    *(f"/experiments/{{e}}{tab}" for tab in (
        "", "/runs", "/runs?compareRunsMode=CHART", "/models", "/traces", "/overview", "/overview/usage", "/overview/quality",
        "/chat-sessions", "/datasets", "/evaluation-runs", "/judges", "/prompts", "/playground", "/review-queue",
    )),
    *(f"/experiments/{{e}}/runs/{{r}}{tab}" for tab in ("", "/model-metrics", "/system-metrics", "/artifacts", "/traces", "/evaluations")),
    *(f"/experiments/{{e}}/models/{{m}}{tab}" for tab in ("", "/artifacts", "/traces")),
    "/models/{model}", "/models/{model}/versions/1", "/prompts/{prompt}", "/experiments/{e}/prompts/{prompt}",
    '/compare-runs?runs=["{r}","{s}"]&experiments=["{e}"]', '/compare-experiments/s?experiments=["{e}","0"]',
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_no_error(browser, served, known, path):
    for name, value in known.items():
        path = path.replace(f"{{{name}}}", value)
    seen = Seen(browser, served.uri)
    text = seen.visit(path)
    red = [line for line in text.splitlines() if RED.search(line)]
    seen.page.close()
    assert not red and not seen.faults, f"{path}: {red} {seen.faults}"


def test_a_run_shows_its_metrics(browser, served, known):
    seen = Seen(browser, served.uri)
    seen.visit(f"/experiments/{known['e']}/runs/{known['r']}/model-metrics")
    seen.page.get_by_text("loss").first.wait_for(timeout=60_000)
    seen.page.close()
