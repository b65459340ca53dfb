/**
 * The page of one run: overview, charts, artifacts, history.
 */

import { ROOT, get, getColumns, mlflow } from "./api.js";
import { artifactsPanel } from "./artifacts.js";
import { changesPanel } from "./changes.js";
import { ChartPanel } from "./chartpanel.js";
import { fill, h, icon, soon } from "./dom.js";
import { count, duration, exact, number, wholeTime } from "./format.js";
import { follow, onChange } from "./live.js";
import { markdown } from "./markdown.js";
import { copyable, empty, failure, loading, loggedLink, modelLink, pairsTable, runLink, stateBadge, tabs, when } from "./parts.js";
import { askText, confirmed, menu, notice } from "./popover.js";
import { href, param, route, setParams } from "./route.js";
import { pairOf } from "./runactions.js";
import { known } from "./shared.js";
import { curveColor } from "./theme.js";

const NOTE = "mlflow.note.content";
const FACTS = [
  ["mlflow.user", "User"], ["mlflow.source.name", "Source"], ["mlflow.source.type", "Source type"], ["mlflow.source.git.commit", "Commit"], ["mlflow.source.git.branch", "Branch"],
  ["mlflow.source.git.repoURL", "Repository"], ["mlflow.project.entryPoint", "Entry point"], ["mlflow.project.env", "Environment"], ["mlflow.docker.image.uri", "Image"],
];

export function runPage() {
  const id = route().parts[1] || "";
  const head = h("header", { class: "page-head" });
  const tabBar = h("div");
  const panel = h("div", { id: "tab-panel", role: "tabpanel", class: "tab-panel" }, loading());
  const element = h("div", { class: "page run-page" }, head, tabBar, panel);
  let run = null;
  let readOf = null;
  let shown = "";
  let charts = null;
  let artifacts = null;
  let drawnAbout = null;

  async function read() {
    readOf = param("at");
    try {
      const answer = await get("run", { run_id: id });
      run = answer.run;
      if (!run) {
        fill(head, h("h1", null, id.slice(0, 8)));
        fill(tabBar);
        fill(panel, empty("This run did not exist yet", "Choose a later moment."));
        return;
      }
      if (!param("at")) {
        follow(answer.position);
      }
      draw();
    } catch (error) {
      fill(panel, failure(error, read));
    }
  }

  function tag(key) {
    const found = run.tags.find(([name]) => name === key);
    return found ? found[1] : "";
  }

  function draw() {
    document.title = `${run.name} · Runlode`;
    drawnAbout = known.about;
    const past = Boolean(param("at"));
    const parent = tag("mlflow.parentRunId");
    fill(
      head,
      h(
        "div",
        { class: "crumbs" },
        h("a", { href: href(["runs"], { e: run.experiment_id }) }, h("bdi", null, run.experiment)),
        parent ? [h("span", { class: "muted" }, " / "), runLink(parent, "parent run")] : null,
      ),
      h(
        "div",
        { class: "row wrap" },
        h("h1", { class: "ellipsis", title: run.name }, h("bdi", null, run.name)),
        stateBadge({ status: run.status, liveness: run.liveness?.state }),
        run.deleted ? h("span", { class: "badge badge-failed" }, "Deleted") : null,
        h("span", { class: "grow" }),
        h("a", { class: "tool", href: href(["runs"], { e: run.experiment_id, q: `tags.\`mlflow.parentRunId\` = '${id}'` }) }, "Nested runs"),
        known.about?.mlflow_pages ? h("a", { class: "tool", href: `${ROOT}#/experiments/${run.experiment_id}/runs/${id}` }, "In MLflow", icon("external")) : null,
        past || known.about?.read_only ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: actionsMenu } }, "Actions", icon("down")),
      ),
    );
    const metrics = metricList();
    fill(tabBar, tabs("Parts of the run", [["overview", "Overview"], ["charts", "Charts", metrics.length], ["artifacts", "Artifacts"], ["history", "History"]], param("tab") || "overview", (name) => setParams({ tab: name === "overview" ? null : name })));
    drawTab(true);
  }

  function drawTab(again) {
    const name = param("tab") || "overview";
    if (!again && name === shown) {
      return;
    }
    const same = name === shown;
    shown = name;
    panel.setAttribute("aria-labelledby", `tab-${name}`);
    if (name === "charts") {
      drawCharts(same);
    } else {
      dropCharts();
      if (name === "artifacts") {
        if (!(same && artifacts)) {
          artifacts = artifactsPanel({ run_id: id });
          fill(panel, param("at") ? h("p", { class: "warning" }, "Files are not kept by moment: these are the files of now. Those that were changed later are faint.") : null, artifacts.element);
        }
        artifacts.update();
      } else if (name === "history") {
        fill(panel, changesPanel({ run_id: id }));
      } else {
        fill(panel, overview());
      }
    }
    if (name !== "artifacts") {
      artifacts = null;
    }
  }

  // ---- charts, with the branches that were left ----

  function drawCharts(same) {
    if (!charts || !same) {
      dropCharts();
      charts = new ChartPanel();
      const left = run.branches.filter((branch) => branch.ended_ms !== null);
      const show = h("label", { class: "choice" }, h("input", { type: "checkbox", id: "branches", on: { change: showBranches } }), icon("branch"), `${count(left.length)} ${left.length === 1 ? "branch" : "branches"} that rewinds left`);
      fill(panel, left.length ? h("div", { class: "branches" }, show) : null, charts.element);
    }
    charts.readRoute();
    charts.setRuns([{ id, name: run.name, start: run.start_ms }]);
    charts.setKeys(metricList().map((metric) => metric.key));
  }

  function dropCharts() {
    if (charts) {
      charts.destroy();
      charts = null;
    }
  }

  async function showBranches(event) {
    const on = event.target.checked;
    for (const chart of charts.cards.charts()) {
      chart.extra = [];
      if (on) {
        for (const branch of run.branches) {
          if (branch.ended_ms !== null && branch.metrics.some((metric) => metric.key === chart.key)) {
            try {
              const { columns } = await getColumns("branch", { run_id: id, branch: branch.branch, key: chart.key });
              chart.extra.push({ run: { id, name: `branch ${branch.branch}`, color: curveColor(branch.branch + 1), start: run.start_ms }, curve: branchCurve(columns) });
            } catch (error) {
              notice(error.message, "bad");
            }
          }
        }
      }
      chart.render();
    }
  }

  // ---- overview ----

  function metricList() {
    // A metric may be there once for each model that it was measured on; the last one is the newest.
    const byKey = new Map();
    for (const metric of run.metrics) {
      byKey.set(metric.key, metric);
    }
    return [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  function fact(title, ...content) {
    return h("div", { class: "fact" }, h("dt", null, title), h("dd", null, content));
  }

  function overview() {
    const note = tag(NOTE);
    const end = run.end_ms ?? null;
    const tags = run.tags.filter(([key]) => !key.startsWith("mlflow."));
    const system = run.tags.filter(([key]) => key.startsWith("mlflow.") && key !== NOTE && !FACTS.some(([name]) => name === key));
    const metrics = metricList().map((metric) => [metric.key, metric]);
    const lost = run.liveness?.state === "lost" ? h("p", { class: "warning" }, "The process that logged to this run is gone, and nobody ended the run. Last sign ", when(run.liveness.since_ms), ".") : null;
    return h(
      "div",
      { class: "overview" },
      lost,
      note ? h("section", { class: "block note-block" }, markdown(note)) : null,
      h(
        "section",
        { class: "block" },
        h("h2", null, "About"),
        h(
          "dl",
          { class: "facts" },
          fact("Run id", copyable(id)),
          fact("Started", when(run.start_ms), h("span", { class: "muted" }, ` ${wholeTime(run.start_ms)}`)),
          fact("Duration", end !== null ? duration(end - run.start_ms) : run.status === "RUNNING" ? `${duration(Date.now() - run.start_ms)} so far` : "unknown"),
          run.liveness?.host ? fact("Process", `${run.liveness.pid} on ${run.liveness.host}`) : null,
          FACTS.filter(([key]) => tag(key)).map(([key, title]) => fact(title, key === "mlflow.source.git.commit" ? copyable(tag(key)) : h("bdi", null, tag(key)))),
          run.user_id && run.user_id !== tag("mlflow.user") ? fact("Logged by", h("bdi", null, run.user_id)) : null,
          fact("Artifacts", h("bdi", { class: "mono break" }, run.artifact_uri)),
        ),
      ),
      h("section", { class: "block" }, h("h2", null, "Metrics ", h("span", { class: "muted" }, count(metrics.length))), pairsTable("Metrics", metrics, (metric) => h("a", { class: "metric-value", href: href(["run", id], { tab: "charts", keys: metric.key }), title: `${exact(metric.value)} at step ${metric.step}` }, number(metric.value)))),
      h("section", { class: "block" }, h("h2", null, "Params ", h("span", { class: "muted" }, count(run.params.length))), pairsTable("Params", run.params, (text) => h("bdi", { class: "break" }, text))),
      h("section", { class: "block" }, h("h2", null, "Tags ", h("span", { class: "muted" }, count(tags.length))), pairsTable("Tags", tags, (text) => h("bdi", { class: "break" }, text)), system.length ? h("details", null, h("summary", null, `${system.length} of MLflow's own`), pairsTable("Own tags", system, (text) => h("bdi", { class: "break" }, text))) : null),
      lineage(),
    );
  }

  function lineage() {
    const { datasets, model_inputs: inputs, model_outputs: outputs, versions } = run;
    if (!datasets.length && !inputs.length && !outputs.length && !versions.length) {
      return null;
    }
    const context = (dataset) => dataset.tags.find(([key]) => key === "mlflow.data.context")?.[1];
    return h(
      "section",
      { class: "block" },
      h("h2", null, "Lineage"),
      h(
        "div",
        { class: "lineage" },
        h("div", { class: "lineage-side" }, h("h3", null, "Reads"),
          datasets.map((dataset) => h("div", { class: "node" }, h("strong", null, h("bdi", null, dataset.name)), h("span", { class: "muted" }, [context(dataset), dataset.source_type, dataset.digest].filter(Boolean).join(" · ")))),
          inputs.map((model) => h("div", { class: "node" }, h("strong", null, "Model"), loggedLink(model))),
          datasets.length || inputs.length ? null : h("p", { class: "muted" }, "Nothing known")),
        h("div", { class: "lineage-arrow", "aria-hidden": "true" }, "→"),
        h("div", { class: "lineage-side" }, h("h3", null, "Run"), h("div", { class: "node node-self" }, h("bdi", null, run.name))),
        h("div", { class: "lineage-arrow", "aria-hidden": "true" }, "→"),
        h("div", { class: "lineage-side" }, h("h3", null, "Makes"),
          outputs.map(([model, step]) => h("div", { class: "node" }, h("strong", null, "Model"), loggedLink(model), h("span", { class: "muted" }, `step ${step}`))),
          versions.map((version) => h("div", { class: "node" }, h("strong", null, "Version"), modelLink(version.name, version.version))),
          outputs.length || versions.length ? null : h("p", { class: "muted" }, "Nothing yet")),
      ),
    );
  }

  // ---- actions ----

  function actionsMenu(event) {
    const call = async (path, body, done) => {
      try {
        await mlflow("POST", path, { run_id: id, ...body });
        notice(done);
        read();
      } catch (error) {
        notice(error.message, "bad");
      }
    };
    menu(event.currentTarget, "Actions", [
      { label: "Rename…", run: () => askText("Rename run", "Name", run.name, (name) => name.trim() && call("runs/update", { run_name: name.trim() }, "Renamed")) },
      { label: "Describe…", run: () => askText("Describe run", "Description (Markdown)", tag(NOTE), (text) => call("runs/set-tag", { key: NOTE, value: text }, "Described")) },
      { label: "Set a tag…", run: () => askText("Set a tag", "key = value", "", (text) => {
        const pair = pairOf(text);
        if (pair) {
          call("runs/set-tag", pair, "Tagged");
        }
      }) },
      { label: "Remove a tag…", run: () => askText("Remove a tag", "Key", "", (key) => key.trim() && call("runs/delete-tag", { key: key.trim() }, "Removed"), "Remove") },
      run.deleted ? { label: "Restore", run: () => call("runs/restore", {}, "Restored") } : { label: "Delete…", run: () => confirmed("Delete run", `Delete ${run.name}? It can be restored.`, "Delete", () => call("runs/delete", {}, "Deleted")) },
    ]);
  }

  const again = soon(600, read);
  // Nobody tells that a process is gone.
  const looks = setInterval(() => !document.hidden && !param("at") && run?.status === "RUNNING" && (param("tab") || "overview") === "overview" && again(), 15_000);
  const end = onChange((change) => {
    if (param("at")) {
      return;
    }
    if (charts) {
      charts.change(change);
    }
    if (!change || change.runs[id] || (shown === "overview" && change.points.some(([one]) => one === id))) {
      again();
    }
  });

  return {
    element,
    update() {
      if (readOf !== param("at")) {
        dropCharts();
        shown = "";
        read();
        return;
      }
      if (run && drawnAbout !== known.about) {
        draw();
      } else if (run) {
        const current = param("tab") || "overview";
        tabBar.querySelectorAll(".tab").forEach((tab) => {
          const on = tab.id === `tab-${current}`;
          tab.setAttribute("aria-selected", String(on));
          tab.tabIndex = on ? 0 : -1;
        });
        drawTab(current === "charts" || current === "artifacts" || current === "history");
      }
    },
    destroy() {
      end();
      clearInterval(looks);
      again.cancel();
      dropCharts();
    },
    keys: {
      1: () => setParams({ tab: null }),
      2: () => setParams({ tab: "charts" }),
      3: () => setParams({ tab: "artifacts" }),
      4: () => setParams({ tab: "history" }),
      0: () => charts && charts.setZoom(null),
    },
  };
}

/** The curve of a branch as charts draw it. */
function branchCurve(columns) {
  const [step, time, value] = ["step", "time_ms", "value"].map((name) => columns.get(name).values);
  const none = new Float64Array(0);
  return { n: step.length, bucketed: false, step, stepEnd: step, time, lo: value, hi: value, mid: value, count: none, odd: none, total: step.length, stepFirst: step[0], stepLast: step[step.length - 1], tail: [], stale: false };
}
