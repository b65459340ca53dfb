/**
 * The page of runs: a table, and charts of the runs that are selected in it, or of its first ones.
 */

import { ROOT, get, mlflow } from "./api.js";
import { ChartPanel } from "./chartpanel.js";
import { announce, fill, h, icon, iconButton, later } from "./dom.js";
import { filterBox } from "./filterbox.js";
import { count } from "./format.js";
import { Grid } from "./grid.js";
import { onChange, follow } from "./live.js";
import { empty, failure } from "./parts.js";
import { askText, closePopover, confirmed, menu, notice, popover } from "./popover.js";
import { go, href, param, route, setParams } from "./route.js";
import { columnsBox, defaultColumns, gridColumns, orderKey } from "./runcolumns.js";
import { RunRows, runsById } from "./runrows.js";
import { experimentName, known } from "./shared.js";

const SHOWN_MAX = 100;
const SHOWN = 10;
const NO_KEYS = { metrics: [], params: [], tags: [], complete: true };

function list(name) {
  return route().query.getAll(name);
}

/** @returns {{ element: any, update: () => void, destroy: () => void, keys: any }} */
export function runsPage() {
  /** @type {any} */
  let rows = null;
  /** Rows that were asked for and are not here yet, or `rows`. @type {any} */
  let next = null;
  let keys = NO_KEYS;
  let keysOf = null;
  let columns = [];
  let shownById = new Map();
  let wanted = "";
  const panel = new ChartPanel();
  const filter = filterBox({ value: param("q"), keys: () => keys, apply: (text) => setParams({ q: text }) });
  const grid = new Grid({
    label: "Runs",
    row: (index) => (rows ? rows.row(index) : null),
    seen: (first, end) => rows && rows.total && rows.ensure(first, end),
    sort: (column) => sort(column.id),
    open: (row, _index, event) => (event.detail > 1 ? go(["run", row.id]) : panel.emphasize(row.id)),
    key: rowKey,
    mark: (element, row) => element.classList.toggle("deleted", row.deleted),
  });
  const experimentButton = h("button", { type: "button", class: "picker", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: pickExperiment } });
  const amount = h("span", { class: "muted amount", role: "status" });
  const note = h("div", { class: "grid-note" });
  const actions = h("div", { class: "actions" });
  const columnsButton = h("button", { type: "button", class: "tool", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => columnsBox(columnsButton, keys, columns, (ids) => setParams({ cols: ids.length ? ids.join("\u001f") : null }, true)) } }, icon("columns"), "Columns");
  const view = h(
    "select",
    { "aria-label": "Which runs", on: { change: () => setParams({ view: view.value === "ACTIVE_ONLY" ? null : view.value }) } },
    [["ACTIVE_ONLY", "Active"], ["DELETED_ONLY", "Deleted"], ["ALL", "All"]].map(([value, text]) => h("option", { value }, text)),
  );
  const side = h("div", { class: "segmented", role: "group", "aria-label": "Show" }, [["both", "Both"], ["table", "Table"], ["charts", "Charts"]].map(([value, text]) => h("button", { type: "button", "data-side": value, on: { click: () => setParams({ show: value === "both" ? null : value }, true) } }, text)));
  const table = h("section", { class: "table-panel", "aria-label": "Table of runs" }, h("div", { class: "table-tools" }, amount, actions, h("span", { class: "grow" }), view, columnsButton), note, grid.element);
  const divider = h("div", { class: "divider", role: "separator", tabindex: 0, "aria-orientation": "vertical", "aria-label": "Width of the table", "aria-valuenow": 50, "aria-valuemin": 15, "aria-valuemax": 85 });
  const split = h("div", { class: "split" }, table, divider, panel.element);
  const element = h("div", { class: "page runs-page" }, h("div", { class: "toolbar" }, experimentButton, filter.element, side), split);
  makeDivider(divider, split);

  // ---- the table ----

  function experiments() {
    return list("e");
  }

  function selected() {
    return param("sel").split(",").filter(Boolean);
  }

  function sort(id) {
    if (id === "duration") {
      return;
    }
    const now = param("sort");
    const numbers = /^(metrics\.|start_time|end_time)/.test(id);
    const [first, second] = numbers ? [`${id} desc`, id] : [id, `${id} desc`];
    setParams({ sort: now === first ? second : now === second ? null : first });
  }

  function sorted() {
    const now = param("sort");
    if (!now) {
      return null;
    }
    const id = now.replace(/ desc$/, "");
    return { id, direction: now.endsWith(" desc") ? "descending" : "ascending" };
  }

  function order() {
    const now = sorted();
    if (!now) {
      return [];
    }
    const key = now.id === "run_name" ? "name" : orderKey(now.id);
    return [now.direction === "descending" ? `${key} DESC` : key];
  }

  function readTable() {
    if (next) {
      next.stop();
    }
    const query = { experiments: experiments(), filter: param("q"), order: order(), view: param("view") || "ACTIVE_ONLY" };
    amount.classList.add("waiting");
    // Old rows stay until the new ones are here.
    const mine = new RunRows(query, columns, { loaded: (first) => loaded(mine, first), failed });
    next = mine;
    mine.ensure(0, 1);
  }

  function loaded(from, first) {
    if (from !== next && from !== rows) {
      return;
    }
    if (from === next && rows !== next) {
      if (rows) {
        rows.stop();
        grid.element.scrollTop = 0;
      }
      rows = next;
      // Cells are made for the columns of these rows.
      grid.setColumns(gridColumns(columns, keys, { isShown: (id) => panel.colorOf(id), isSelected: (id) => selected().includes(id), toggle }), sorted());
    }
    filter.setError(null);
    fill(note);
    amount.classList.remove("waiting");
    amount.textContent = `${count(rows.total)} ${rows.total === 1 ? "run" : "runs"}`;
    grid.setTotal(rows.total);
    grid.refresh();
    if (first) {
      if (!param("at")) {
        follow(rows.position);
      }
      announce(amount.textContent);
      if (!rows.total) {
        fill(note, nothing());
      }
    }
    showRuns();
  }

  function nothing() {
    if (param("q")) {
      return empty("No run matches", "Change the filter, or look at another experiment.");
    }
    if (param("at")) {
      return empty("There were no runs at this moment");
    }
    return empty(
      "No runs yet",
      "Log the first one:",
      h("pre", null, `export MLFLOW_TRACKING_URI=${ROOT.replace(/\/$/, "")}\npython train.py`),
    );
  }

  function failed(error) {
    amount.classList.remove("waiting");
    if (error.at !== undefined || (param("q") && error.status === 400)) {
      filter.setError(error);
    } else {
      fill(note, failure(error, readTable));
    }
  }

  /** Which runs the charts show: the selected ones, else the first of the table. */
  async function showRuns() {
    const ids = selected().slice(0, SHOWN_MAX);
    if (!ids.length) {
      panel.setRuns(rows ? rows.first(SHOWN) : []);
      grid.refresh();
      return;
    }
    const missing = [];
    const found = ids.map((id) => {
      const row = (rows && rows.byId(id)) || shownById.get(id);
      if (row) {
        shownById.set(id, row);
      } else {
        missing.push(id);
      }
      return row;
    });
    panel.setRuns(found.filter(Boolean));
    grid.refresh();
    if (missing.length) {
      const mine = (wanted = ids.join());
      try {
        for (const row of await runsById(missing)) {
          shownById.set(row.id, row);
        }
      } catch (error) {
        notice(error.message, "bad");
      }
      if (mine === wanted) {
        panel.setRuns(ids.map((id) => shownById.get(id)).filter(Boolean));
        grid.refresh();
      }
    }
  }

  function toggle(row, event) {
    let ids = selected();
    if (event && event.shiftKey && grid.active >= 0) {
      const to = [...Array(rows.total).keys()].find((at) => rows.row(at) && rows.row(at).id === row.id);
      if (to !== undefined) {
        const [a, b] = [Math.min(grid.active, to), Math.max(grid.active, to)];
        for (let at = a; at <= b; at += 1) {
          const one = rows.row(at);
          if (one && !ids.includes(one.id)) {
            ids.push(one.id);
          }
        }
        setParams({ sel: ids.join(",") }, true);
        return;
      }
    }
    ids = ids.includes(row.id) ? ids.filter((id) => id !== row.id) : [...ids, row.id];
    shownById.set(row.id, row);
    setParams({ sel: ids.join(",") }, true);
  }

  function rowKey(key, row) {
    if (key === " " || key === "x") {
      toggle(row);
    } else if (key === "Enter" || key === "o") {
      go(["run", row.id]);
    } else {
      return false;
    }
    return true;
  }

  // ---- what can be done with the selected runs ----

  function drawActions() {
    const ids = selected();
    if (!ids.length) {
      const all = { e: experiments(), q: param("q"), tab: "parallel" };
      fill(actions, h("a", { class: "tool", href: href(["compare"], all), title: "Parallel coordinates, scatter and correlation of all these runs" }, "Explore"));
      return;
    }
    const past = Boolean(param("at"));
    fill(
      actions,
      h("span", { class: "chip plain-chip" }, `${count(ids.length)} selected`, iconButton("close", "Select none", () => setParams({ sel: null }, true))),
      ids.length > 1 ? h("a", { class: "tool", href: href(["compare"], { runs: ids.join(",") }) }, "Compare") : null,
      past ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: (event) => actionMenu(event.currentTarget, ids) } }, "Actions", icon("down")),
    );
  }

  function actionMenu(anchor, ids) {
    const one = ids.length === 1 ? rows.byId(ids[0]) || shownById.get(ids[0]) : null;
    const restores = ids.every((id) => (rows.byId(id) || shownById.get(id))?.deleted);
    menu(anchor, "Actions", [
      one && { label: "Rename…", run: () => askText("Rename run", "Name", one.name, (name) => name.trim() && each(ids, "runs/update", (id) => ({ run_id: id, run_name: name.trim() }), "Renamed")) },
      { label: "Set a tag…", run: () => askText("Set a tag", "key = value", "", (text) => setTag(ids, text)) },
      restores
        ? { label: "Restore", run: () => each(ids, "runs/restore", (id) => ({ run_id: id }), "Restored") }
        : { label: "Delete…", run: () => confirmed("Delete runs", `Delete ${count(ids.length)} ${ids.length === 1 ? "run" : "runs"}? They can be restored.`, "Delete", () => each(ids, "runs/delete", (id) => ({ run_id: id }), "Deleted")) },
    ]);
  }

  function setTag(ids, text) {
    const [key, value] = text.split(/=(.*)/s).map((part) => part.trim());
    if (!key || value === undefined) {
      notice("Write a key, =, and a value.", "bad");
      return;
    }
    each(ids, "runs/set-tag", (id) => ({ run_id: id, key, value }), "Tagged");
  }

  async function each(ids, path, body, done) {
    try {
      for (const id of ids) {
        await mlflow("POST", path, body(id));
      }
      notice(`${done} ${count(ids.length)} ${ids.length === 1 ? "run" : "runs"}`);
    } catch (error) {
      notice(error.message, "bad");
    }
    shownById = new Map();
    readTable();
  }

  // ---- experiments ----

  function pickExperiment() {
    const search = h("input", { type: "search", class: "wide", placeholder: "Search experiments", "aria-label": "Search experiments", on: { input: show } });
    const choices = h("div", { class: "choices" });
    const choose = (ids) => {
      closePopover();
      go(["runs"], { e: ids });
    };
    function show() {
      const low = search.value.toLowerCase();
      const found = known.experiments.filter((experiment) => !low || experiment.name.toLowerCase().includes(low) || experiment.experiment_id === low);
      fill(
        choices,
        low ? null : h("button", { type: "button", class: "menu-item", on: { click: () => choose([]) } }, "All experiments"),
        found.slice(0, 300).map((experiment) =>
          h(
            "button",
            { type: "button", class: "menu-item row", on: { click: () => choose([experiment.experiment_id]) } },
            h("span", { class: `grow ellipsis${experiment.deleted ? " struck" : ""}` }, h("bdi", null, experiment.name)),
            h("span", { class: "muted mono" }, experiment.experiment_id),
          ),
        ),
      );
    }
    show();
    popover(experimentButton, h("div", { class: "stack experiment-box" }, search, choices), "Experiments");
  }

  // ---- address and stream ----

  let last = "";
  async function readKeys(again = false) {
    const of = `${experiments().join()}|${param("at") ? "past" : ""}`;
    if (!again && keysOf === of) {
      return;
    }
    keysOf = of;
    try {
      keys = await get("keys", { experiment_id: experiments(), as_of: "" });
    } catch (error) {
      keys = NO_KEYS;
      notice(error.message, "bad");
    }
    panel.setKeys(sortedKeys(keys.metrics));
  }

  function sortedKeys(metrics) {
    return metrics.map(([key]) => key);
  }

  async function update() {
    const names = experiments();
    const shownNames = names.length ? names.map(experimentName).join(", ") : "All experiments";
    fill(experimentButton, h("bdi", { class: "ellipsis" }, shownNames), icon("down"));
    document.title = `${names.length ? shownNames : "Runs"} · Runlode`;
    filter.set(param("q"));
    view.value = param("view") || "ACTIVE_ONLY";
    const show = param("show") || (innerWidth < 800 ? "table" : "both");
    element.dataset.show = show;
    side.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.side === show)));
    panel.readRoute();
    drawActions();
    const reading = readKeys();
    if (!param("cols") && keys === NO_KEYS) {
      // Columns depend on the keys only while nobody has chosen any; the table does not wait for them.
      readIfChanged([]);
    }
    await reading;
    readIfChanged(param("cols") ? param("cols").split("\u001f") : defaultColumns(keys));
    showRuns();
  }

  function readIfChanged(ids) {
    columns = ids;
    const now = JSON.stringify([experiments(), param("q"), param("sort"), param("view"), param("at"), ids]);
    if (now !== last) {
      last = now;
      readTable();
    }
  }

  const outdated = later(400, () => {
    if (rows) {
      rows.outdate();
      grid.draw();
      rows.ensure(0, 1);
    }
  });
  const newKeys = later(2000, () => readKeys(true));
  const end = onChange((change) => {
    if (param("at")) {
      return;
    }
    panel.change(change);
    if (!change || change.more || Object.keys(change.runs).length) {
      outdated();
    }
    if (!change) {
      newKeys();
      return;
    }
    let drawn = false;
    for (const [run, key, , , values] of change.points) {
      const row = rows && rows.byId(run);
      const column = `metrics.${key}`;
      if (row && column in row.cells && values.length) {
        const value = values[values.length - 1];
        row.cells[column] = typeof value === "number" ? value : Number(value);
        drawn = true;
      }
      if (!keys.metrics.some(([name]) => name === key)) {
        newKeys();
      }
    }
    if (drawn) {
      grid.refresh();
    }
  });

  return {
    element,
    update,
    destroy() {
      end();
      if (rows) {
        rows.stop();
      }
      if (next) {
        next.stop();
      }
      panel.destroy();
    },
    keys: {
      "/": () => filter.input.focus(),
      c: () => columnsButton.click(),
      e: () => experimentButton.click(),
      0: () => panel.setZoom(null),
      t: () => grid.element.focus(),
    },
  };
}

/** Lets the border between table and charts be moved. */
function makeDivider(divider, split) {
  const set = (part) => {
    const percent = Math.max(15, Math.min(85, part));
    split.style.setProperty("--table", `${percent}%`);
    divider.setAttribute("aria-valuenow", String(Math.round(percent)));
    try {
      localStorage.setItem("runlode-split", String(percent));
    } catch {
      // Nothing remembers it then.
    }
  };
  try {
    set(Number(localStorage.getItem("runlode-split")) || 46);
  } catch {
    set(46);
  }
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const box = split.getBoundingClientRect();
      set(((moved.clientX - box.left) / box.width) * 100);
    };
    divider.addEventListener("pointermove", move);
    divider.addEventListener("pointerup", () => divider.removeEventListener("pointermove", move), { once: true });
  });
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (by) {
      event.preventDefault();
      set(Number(divider.getAttribute("aria-valuenow")) + by);
    }
  });
}
