/**
 * The page of one run: overview, charts, artifacts, history.
 */

import { ROOT, get, getColumns, mlflow } from "./api.js";
import { artifactsPanel } from "./artifacts.js";
import { changesPanel } from "./changes.js";
import { ChartPanel } from "./chartpanel.js";
import { fill, h, icon, soon } from "./dom.js";
import { count, duration, exact, number, wholeTime } from "./format.js";
import { Kept } from "./kept.js";
import { launchBlock } from "./launch.js";
import { follow, onChange } from "./live.js";
import { markdown } from "./markdown.js";
import { copyable, empty, failure, loading, loggedLink, modelLink, pairsTable, runLink, stateBadge, tabs, when } from "./parts.js";
import { askText, confirmed, menu, notice } from "./popover.js";
import { href, param, route, setParams } from "./route.js";
import { pairOf } from "./runactions.js";
import { isFixed, known } from "./shared.js";
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
  /** The moment that is shown. */
  let shownOf = null;
  let shown = "";
  let charts = null;
  let artifacts = null;
  let history = null;
  let drawnAbout = null;
  let branchesBox = null;
  const headParts = new Kept(head);
  const tabParts = new Kept(tabBar);
  /** @type {Kept | null} */
  let overviewParts = null;

  async function read() {
    const mine = (readOf = param("at"));
    try {
      const answer = await get("run", { run_id: id });
      if (mine !== param("at")) {
        return;
      }
      run = answer.run;
      shownOf = mine;
      if (!run) {
        headParts.draw([["none", id, () => h("h1", null, id.slice(0, 8))]]);
        tabParts.draw([]);
        drop();
        fill(panel, empty("This run did not exist yet", "Choose a later moment."));
        return;
      }
      if (!param("at")) {
        follow(answer.position);
      }
      draw();
    } catch (error) {
      // What is shown stays while the server is away: it is read again once it is back.
      if (!run || shownOf !== mine) {
        drop();
        fill(panel, failure(error, read));
      }
    }
  }

  /** Nothing of a tab is shown any more. */
  function drop() {
    dropCharts();
    shown = "";
    artifacts = history = overviewParts = null;
  }

  function tag(key) {
    const found = run.tags.find(([name]) => name === key);
    return found ? found[1] : "";
  }

  function draw() {
    document.title = `${run.name} · Runlode`;
    drawnAbout = known.about;
    const parent = tag("mlflow.parentRunId");
    const crumbs = () => h(
      "div",
      { class: "crumbs" },
      h("a", { href: href(["runs"], { e: run.experiment_id }) }, h("bdi", null, run.experiment)),
      parent ? [h("span", { class: "muted" }, " / "), runLink(parent, "parent run")] : null,
    );
    const fixed = isFixed();
    const title = () => h(
      "div",
      { class: "row wrap" },
      h("h1", { class: "ellipsis", title: run.name }, h("bdi", null, run.name)),
      stateBadge({ status: run.status, liveness: run.liveness?.state }),
      run.deleted ? h("span", { class: "badge badge-failed" }, "Deleted") : null,
      h("span", { class: "grow" }),
      h("a", { class: "tool", href: href(["runs"], { e: run.experiment_id, q: `tags.\`mlflow.parentRunId\` = '${id}'` }) }, "Nested runs"),
      known.about?.mlflow_pages ? h("a", { class: "tool", href: `${ROOT}#/experiments/${run.experiment_id}/runs/${id}` }, "In MLflow", icon("external")) : null,
      fixed ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: actionsMenu } }, "Actions", icon("down")),
    );
    headParts.draw([
      ["crumbs", [run.experiment_id, run.experiment, parent, param("at")], crumbs],
      ["title", [run.name, run.status, run.liveness?.state, run.deleted, fixed, known.about?.mlflow_pages, param("at")], title],
    ]);
    const metrics = metricList();
    const list = [["overview", "Overview"], ["charts", "Charts", metrics.length], ["artifacts", "Artifacts"], ["history", "History"]];
    const tab = param("tab") || "overview";
    tabParts.draw([["tabs", [list, tab], () => tabs("Parts of the run", list, tab, (name) => setParams({ tab: name === "overview" ? null : name }))]]);
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
    if (name !== "artifacts") {
      artifacts = null;
    }
    if (name !== "history") {
      history = null;
    }
    if (name !== "overview") {
      overviewParts = null;
    }
    if (name === "charts") {
      drawCharts(same);
      return;
    }
    dropCharts();
    if (name === "artifacts") {
      if (!artifacts) {
        artifacts = artifactsPanel({ run_id: id });
        fill(panel, param("at") ? h("p", { class: "warning" }, "Files are not kept by moment: these are the files of now. Those that were changed later are faint.") : null, artifacts.element);
      }
      artifacts.update();
    } else if (name === "history") {
      if (history) {
        history.read();
      } else {
        history = changesPanel({ run_id: id });
        fill(panel, history.element);
      }
    } else {
      overview();
    }
  }

  // ---- charts, with the branches that were left ----

  function drawCharts(same) {
    if (!charts || !same) {
      dropCharts();
      charts = new ChartPanel();
      const left = leftBranches();
      const box = h("input", { type: "checkbox", on: { change: () => setParams({ branches: box.checked ? 1 : null }, true) } });
      branchesBox = box;
      const show = h("label", { class: "choice" }, box, icon("branch"), `${count(left.length)} ${left.length === 1 ? "branch" : "branches"} that rewinds left, drawn faint`);
      fill(panel, left.length ? h("div", { class: "branches" }, show) : null, charts.element);
    }
    if (branchesBox) {
      branchesBox.checked = param("branches") === "1";
    }
    charts.context.extra = param("branches") === "1" ? branchCurves : null;
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

  function leftBranches() {
    return run.branches.filter((branch) => branch.ended_ms !== null);
  }

  /** Curves of branches by branch and key; null while they are read. */
  const branchesRead = new Map();

  /** The branches that were left, of one key, as far as they are here. */
  function branchCurves(key) {
    const curves = [];
    for (const branch of leftBranches()) {
      if (!branch.metrics.some((metric) => metric.key === key)) {
        continue;
      }
      const name = `${branch.branch}\n${key}`;
      if (!branchesRead.has(name)) {
        branchesRead.set(name, null);
        readBranch(branch.branch, key, name);
      }
      const curve = branchesRead.get(name);
      if (curve) {
        curves.push({ run: { id, name: `branch ${branch.branch}`, color: curveColor(branch.branch + 1), start: run.start_ms }, curve });
      }
    }
    return curves;
  }

  async function readBranch(branch, key, name) {
    try {
      const { columns } = await getColumns("branch", { run_id: id, branch, key });
      branchesRead.set(name, branchCurve(columns));
      charts?.cards.redraw(new Set([key]));
    } catch (error) {
      notice(error.message, "bad");
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
    const about = () => h(
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
    );
    const text = (value) => h("bdi", { class: "break" }, value);
    const metric = (one) => h("a", { class: "metric-value", href: href(["run", id], { tab: "charts", keys: one.key }), title: `${exact(one.value)} at step ${one.step}` }, number(one.value));
    const running = end === null && run.status === "RUNNING" ? Math.floor(Date.now() / 1000) : 0;
    if (!overviewParts) {
      const box = h("div", { class: "overview" });
      overviewParts = new Kept(box);
      fill(panel, box);
    }
    overviewParts.draw([
      lost && ["lost", run.liveness.since_ms, () => lost],
      note && ["note", note, () => h("section", { class: "block note-block" }, markdown(note))],
      ["about", [run.tags, run.start_ms, end, run.status, running, run.liveness, run.user_id, run.artifact_uri], about],
      tag("mlflow.project.entryPoint") && ["launch", run.status, () => launchBlock(id)],
      ["metrics", metrics, () => pairsBlock("Metrics", metrics, metric)],
      ["params", run.params, () => pairsBlock("Params", run.params, text)],
      ["tags", tags, () => pairsBlock("Tags", tags, text)],
      system.length > 0 && ["system", system, () => h("details", { class: "block" }, h("summary", null, `${system.length} of MLflow's own tags`), pairsTable("Own tags", system, text))],
      run.branches.length > 1 && ["branches", run.branches, branchesBlock],
      ["lineage", [run.datasets, run.model_inputs, run.model_outputs, run.versions, run.name, param("at")], () => lineage() || h("span")],
    ]);
  }

  /** A block of keys and values that takes new ones while somebody searches in it. */
  function pairsBlock(title, pairs, draw) {
    const amount = h("span", { class: "muted" }, count(pairs.length));
    const table = pairsTable(title, pairs, draw);
    const block = h("section", { class: "block" }, h("h2", null, `${title} `, amount), table);
    block.renew = (other) => {
      amount.textContent = count(other.length);
      table.renew(other);
    };
    return block;
  }

  /** The branches of a run that was rewound: the last one goes on. */
  function branchesBlock() {
    const last = (branch) => Math.max(...branch.metrics.map((metric) => metric.last_step));
    return h("section", { class: "block" }, h("h2", null, "Branches ", h("span", { class: "muted" }, count(run.branches.length))),
      h("table", { class: "plain-table wide-table" },
        h("thead", null, h("tr", null, ["Branch", "From step", "Last step", "Left"].map((title, at) => h("th", { scope: "col", class: at === 3 ? "" : "right" }, title)))),
        h("tbody", null, run.branches.map((branch) => h("tr", null,
          h("th", { scope: "row", class: "right" }, String(branch.branch)),
          h("td", { class: "right" }, branch.from_step === null ? "beginning" : exact(branch.from_step)),
          h("td", { class: "right" }, branch.metrics.length ? exact(last(branch)) : "no points"),
          h("td", null, branch.ended_ms === null ? "goes on" : when(branch.ended_ms)))))),
      leftBranches().length ? h("p", null, h("a", { href: href(["run", id], { tab: "charts", branches: 1 }) }, "Draw them in the charts")) : null);
  }

  function lineage() {
    const { datasets, model_inputs: inputs, model_outputs: outputs, versions } = run;
    if (!datasets.length && !inputs.length && !outputs.length && !versions.length) {
      return null;
    }
    const context = (dataset) => dataset.tags.find(([key]) => key === "mlflow.data.context")?.[1];
    return h(
      "section",
      { class: "block lineage-block" },
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
        branchesRead.clear();
        drop();
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
