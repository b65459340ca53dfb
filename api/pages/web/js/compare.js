/**
 * Some runs side by side: what differs first, parallel coordinates, scatter, and how params go with a metric.
 */

import { ROOT, getColumns } from "./api.js";
import { ChartPanel } from "./chartpanel.js";
import { fill, h, icon, soon } from "./dom.js";
import { correlations } from "./correlate.js";
import { count, exact, number, time } from "./format.js";
import { follow, onChange } from "./live.js";
import { empty, failure, loading, runLink, stateDot, tabs } from "./parts.js";
import { parallelView } from "./parallel.js";
import { oneOf } from "./query.js";
import { param, route, setParams } from "./route.js";
import { rowsOf, runsById, runsParams } from "./runrows.js";
import { scatterView } from "./scatter.js";
import { known } from "./shared.js";
import { curveColor } from "./theme.js";

const TABLE_RUNS_MAX = 24;
const ROWS_MAX = 400;
const MANY_MAX = 10000;
/** How soon values that changed are read again. */
const READ_AGAIN_MS = 1500;

export function comparePage() {
  const tabBar = h("div");
  const panel = h("div", { id: "tab-panel", role: "tabpanel", class: "tab-panel" }, loading());
  const mlflowLink = h("a", { class: "tool", title: "The same runs on MLflow's pages" }, "In MLflow", icon("external"));
  mlflowLink.hidden = true;
  const element = h("div", { class: "page compare-page" }, h("header", { class: "page-head" }, h("div", { class: "row wrap" }, h("h1", { class: "grow" }, "Compare runs"), mlflowLink)), tabBar, panel);
  /** @type {any[]} */
  let runs = [];
  let columns = [];
  let readOf = "";
  let charts = null;

  function address() {
    return `${param("runs")}|${param("at")}|${param("q")}|${route().query.getAll("e")}`;
  }

  /** Reads the runs. `again`: those that are shown stay until the new ones are here. */
  async function read(again = false) {
    const mine = (readOf = address());
    if (!again) {
      fill(panel, loading());
    }
    try {
      const ids = param("runs").split(",").filter(Boolean);
      const wanted = ["metrics.*", "params.*"];
      let answer;
      if (ids.length) {
        const filter = oneOf(ids);
        answer = await getColumns("runs", runsParams({ experiments: [], filter, order: [], view: "ALL" }, wanted, 0, ids.length));
      } else {
        answer = await getColumns("runs", runsParams({ experiments: route().query.getAll("e"), filter: param("q"), order: [], view: "ACTIVE_ONLY" }, wanted, 0, MANY_MAX));
      }
      const names = [...answer.columns.keys()].filter((name) => /^(metrics|params)\./.test(name));
      const found = rowsOf(answer, names);
      if (ids.length) {
        const place = new Map(ids.map((id, at) => [id, at]));
        found.sort((a, b) => place.get(a.id) - place.get(b.id));
        if (found.length < ids.length && !param("at")) {
          // Some are of deleted experiments.
          const missing = ids.filter((id) => !found.some((run) => run.id === id));
          found.push(...(await runsById(missing, names)));
        }
      }
      if (mine !== address()) {
        return;
      }
      [runs, columns] = [found, names];
      if (!param("at")) {
        follow(answer.header.position);
      }
      if (!again) {
        draw();
      } else if (!param("tab")) {
        drawTableAgain();
      }
    } catch (error) {
      // What is shown stays while the server is away.
      if (mine === address() && !(again && runs.length)) {
        fill(panel, failure(error, () => read()));
      }
    }
  }

  function draw() {
    document.title = `Compare ${count(runs.length)} runs · Runlode`;
    drawLink();
    const tab = param("tab") || "table";
    const list = [["table", "Table"], ["charts", "Charts"], ["parallel", "Parallel"], ["scatter", "Scatter"], ["correlation", "Correlation"]];
    fill(tabBar, tabs("Ways to compare", list, tab, (name) => setParams({ tab: name === "table" ? null : name })));
    panel.setAttribute("aria-labelledby", `tab-${tab}`);
    if (charts && tab !== "charts") {
      charts.destroy();
      charts = null;
    }
    if (!runs.length) {
      fill(panel, empty("No runs to compare", "Select some in the table of runs."));
    } else if (tab === "charts") {
      if (!charts) {
        charts = new ChartPanel();
        fill(panel, charts.element);
      }
      charts.readRoute();
      charts.setRuns(runs.slice(0, 100));
      charts.setKeys(columns.filter((name) => name.startsWith("metrics.")).map((name) => name.slice(8)));
    } else if (tab === "parallel") {
      fill(panel, parallelView(runs, columns));
    } else if (tab === "scatter") {
      fill(panel, scatterView(runs, columns));
    } else if (tab === "correlation") {
      fill(panel, correlations(runs, columns));
    } else {
      fill(panel, table());
    }
  }

  function drawLink() {
    const ids = runs.slice(0, TABLE_RUNS_MAX).map((run) => run.id);
    const experiments = [...new Set(runs.map((run) => run.experiment))];
    mlflowLink.hidden = !known.about?.mlflow_pages || !param("runs") || !runs.length;
    mlflowLink.href = `${ROOT}#/compare-runs?runs=${encodeURIComponent(JSON.stringify(ids))}&experiments=${encodeURIComponent(JSON.stringify(experiments))}`;
  }

  /** New values in the table, at the place to which it was scrolled. The other tabs show them when they are opened. */
  function drawTableAgain() {
    const before = panel.querySelector(".table-scroll");
    const focused = before && before === document.activeElement;
    const place = before ? [before.scrollLeft, before.scrollTop, panel.scrollTop] : [0, 0, 0];
    draw();
    const now = panel.querySelector(".table-scroll");
    if (now) {
      [now.scrollLeft, now.scrollTop, panel.scrollTop] = place;
      if (focused) {
        now.focus();
      }
    }
  }

  /** Fields as rows, runs as columns; rows whose values differ first. */
  function table() {
    const shown = runs.slice(0, TABLE_RUNS_MAX);
    const rows = columns.map((name) => {
      const values = shown.map((run) => run.cells[name]);
      const there = values.filter((value) => value !== null);
      const differs = there.length !== values.length || there.some((value) => value !== there[0] && !(Number.isNaN(value) && Number.isNaN(there[0])));
      return { name, values, differs };
    });
    const different = rows.filter((row) => row.differs);
    const same = rows.filter((row) => !row.differs);
    const list = param("same") ? [...different, ...same] : different;
    const line = (row) => {
      const [kind, key] = row.name.split(/\.(.*)/s);
      const numbers = row.values.filter((value) => typeof value === "number" && Number.isFinite(value));
      const [least, greatest] = [Math.min(...numbers), Math.max(...numbers)];
      return h(
        "tr",
        { class: row.differs ? "" : "same" },
        h("th", { scope: "row" }, h("span", { class: "muted kind" }, kind === "metrics" ? "metric" : "param"), " ", h("bdi", null, key)),
        row.values.map((value) => {
          if (typeof value !== "number") {
            return h("td", { class: "break" }, value === null ? h("span", { class: "muted" }, "–") : h("bdi", null, value));
          }
          const part = greatest > least ? (value - least) / (greatest - least) : 0;
          return h("td", { class: "right bar-cell", title: exact(value) }, greatest > least ? h("span", { class: "bar", style: { width: `${Math.round(part * 100)}%` }, "aria-hidden": "true" }) : null, h("span", null, number(value)));
        }),
      );
    };
    return h(
      "div",
      null,
      h("div", { class: "row" },
        same.length === 0 ? null : h("label", { class: "choice" }, h("input", { type: "checkbox", ...(param("same") ? { checked: true } : {}), on: { change: (event) => setParams({ same: event.target.checked ? 1 : null }, true) } }), `Show the ${count(same.length)} equal fields too`),
        runs.length > TABLE_RUNS_MAX ? h("span", { class: "muted" }, `The first ${TABLE_RUNS_MAX} of ${count(runs.length)} runs; the other tabs show all.`) : null),
      h(
        "div",
        { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Fields of the runs" },
        h(
          "table",
          { class: "plain-table compare-table" },
          h("thead", null, h("tr", null, h("th", { scope: "col" }, "Field"), shown.map((run, at) => h("th", { scope: "col" }, h("span", { class: "row" }, h("span", { class: "swatch", style: { background: curveColor(at) } }), stateDot(run), h("span", { class: "ellipsis head-name" }, runLink(run.id, run.name)))))),
            h("tr", { class: "muted" }, h("th", { scope: "row" }, "Started"), shown.map((run) => h("td", null, time(run.start))))),
          h("tbody", null, list.slice(0, ROWS_MAX).map(line)),
        ),
      ),
      list.length ? null : empty("Nothing differs"),
      list.length > ROWS_MAX ? h("p", { class: "muted" }, `${count(list.length - ROWS_MAX)} more fields`) : null,
    );
  }

  const readAgain = soon(READ_AGAIN_MS, () => read(true));
  const end = onChange((change) => {
    if (param("at")) {
      return;
    }
    if (charts) {
      charts.change(change);
    }
    // Of the many runs of a filter, parallel axes and points would move under the reader's hand.
    const shown = new Set(param("runs") ? runs.map((run) => run.id) : []);
    const touched = (id) => shown.has(id);
    if (shown.size && (!change || Object.keys(change.runs).some(touched) || change.points.some(([id]) => touched(id)) || change.series.some(([id]) => touched(id)))) {
      readAgain();
    }
  });
  return {
    element,
    update() {
      if (readOf !== address()) {
        read();
      } else if (runs.length) {
        draw();
      }
    },
    destroy() {
      end();
      readAgain.cancel();
      if (charts) {
        charts.destroy();
      }
    },
    keys: {},
  };
}
