/**
 * The page of runs: a table, and charts of the runs that are selected in it, or of its first ones.
 */

import { ROOT, get, getColumns } from "./api.js";
import { ChartPanel } from "./chartpanel.js";
import { announce, fill, h, icon, iconButton, soon } from "./dom.js";
import { experimentBox } from "./experimentbox.js";
import { filterBox } from "./filterbox.js";
import { count } from "./format.js";
import { Grid } from "./grid.js";
import { NESTED, groupBox, groupLabel } from "./groupbox.js";
import { GroupedRows } from "./groups.js";
import { onChange, follow } from "./live.js";
import { NestedRows } from "./nested.js";
import { empty, failure } from "./parts.js";
import { notice } from "./popover.js";
import { both, fieldName } from "./query.js";
import { go, href, param, route, setParams } from "./route.js";
import { runActions } from "./runactions.js";
import { columnsBox, defaultColumns, gridColumns } from "./runcolumns.js";
import { FIRST_COLUMNS, RunRows, rowsOf, runsById, runsParams } from "./runrows.js";
import { experimentName, isFixed, known } from "./shared.js";
import { makeDivider } from "./split.js";

const SHOWN_MAX = 100;
const SHOWN = 10;
/** Runs that a group selects at a time. */
const GROUP_SELECTED_MAX = 100;
/** How often rows of running runs are read again, for those whose process is gone. */
const LOOK_AGAIN_MS = 15_000;
const SHOWN_STATES = ["RUNNING", "SCHEDULED"];
/** Asking for the width of the window would lay out the page. */
const NARROW = matchMedia("(max-width: 799px)");
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
  let keyNames = new Set();
  /** The columns of `rows`. @type {string[]} */
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
    open: (row, _index, event) => (row.group ? toggleOpen(row) : event.detail > 1 ? go(["run", row.id]) : panel.emphasize(row.id)),
    key: rowKey,
    mark: markRow,
  });
  const experimentButton = h("button", { type: "button", class: "picker", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => experimentBox(experimentButton, "runs") } });
  const amount = h("span", { class: "muted amount", role: "status" });
  const note = h("div", { class: "grid-note" });
  const actions = h("div", { class: "actions" });
  const columnsButton = h("button", { type: "button", class: "tool", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => columnsBox(columnsButton, keys, columns, (ids) => setParams({ cols: ids.length ? ids.join("\u001f") : null }, true)) } }, icon("columns"), "Columns");
  const groupButton = h("button", { type: "button", class: "tool", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => groupBox(groupButton, keys, list("group"), (by) => setParams({ group: by.length ? by : null, open: null }, true)) } });
  const view = h(
    "select",
    { "aria-label": "Which runs", on: { change: () => setParams({ view: view.value === "ACTIVE_ONLY" ? null : view.value }) } },
    [["ACTIVE_ONLY", "Active"], ["DELETED_ONLY", "Deleted"], ["ALL", "All"]].map(([value, text]) => h("option", { value }, text)),
  );
  const allMark = h("button", { type: "button", class: "mark", role: "checkbox", "aria-checked": "false", on: { click: () => selectAll() } });
  const side = h("div", { class: "segmented", role: "group", "aria-label": "Show" }, [["both", "Both"], ["table", "Table"], ["charts", "Charts"]].map(([value, text]) => h("button", { type: "button", "data-side": value, on: { click: () => setParams({ show: value === "both" ? null : value }, true) } }, text)));
  const mlflowLink = h("a", { class: "tool", title: "The same on MLflow's pages" }, "In MLflow", icon("external"));
  mlflowLink.hidden = true;
  const table = h("section", { class: "table-panel", "aria-label": "Table of runs" }, h("div", { class: "table-tools" }, amount, actions, h("span", { class: "grow" }), view, groupButton, columnsButton, mlflowLink), note, grid.element);
  const split = h("div", { class: "split" }, table);
  split.append(makeDivider(split), panel.element);
  const element = h("div", { class: "page runs-page" }, h("div", { class: "toolbar" }, experimentButton, filter.element, side), split);

  // ---- the table ----

  function experiments() {
    return list("e");
  }

  function selected() {
    return param("sel").split(",").filter(Boolean);
  }

  let setOf = "";
  let set = new Set();
  function selectedSet() {
    if (setOf !== param("sel")) {
      setOf = param("sel");
      set = new Set(selected());
    }
    return set;
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
    const key = now.id === "run_name" ? "name" : fieldName(now.id);
    return [now.direction === "descending" ? `${key} DESC` : key];
  }

  /** Columns that were asked for; null: the most common ones. @type {string[] | null} */
  let askedColumns = null;

  function readTable() {
    if (next) {
      next.stop();
    }
    const query = { experiments: experiments(), filter: param("q"), order: order(), view: param("view") || "ACTIVE_ONLY" };
    amount.classList.add("waiting");
    // Old rows stay until the new ones are here.
    const calls = { loaded: (first) => loaded(mine, first), failed };
    const by = list("group");
    const open = new Set(list("open"));
    const wantedColumns = askedColumns || [];
    const mine = by.includes(NESTED) ? new NestedRows(query, wantedColumns, calls, open) : by.length ? new GroupedRows(query, wantedColumns, calls, by, open) : new RunRows(query, askedColumns, calls);
    next = mine;
    mine.ensure(0, 1);
  }

  /** Opens or closes a group, or the runs that are nested in one. */
  function toggleOpen(row, to = undefined) {
    const id = row.group ? row.group.id : row.id;
    const open = new Set(list("open"));
    if (to ?? !open.has(id)) {
      open.add(id);
    } else {
      open.delete(id);
    }
    setParams({ open: [...open] }, true);
  }

  function markRow(element, row) {
    const opens = Boolean(row.group || row.children);
    element.classList.toggle("deleted", Boolean(row.deleted));
    element.classList.toggle("group", Boolean(row.group));
    if (list("group").length) {
      element.setAttribute("aria-level", String(row.depth + 1));
    } else {
      element.removeAttribute("aria-level");
    }
    if (opens) {
      element.setAttribute("aria-expanded", String(rows.open.has(row.group ? row.group.id : row.id)));
    } else {
      element.removeAttribute("aria-expanded");
    }
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
      const common = rows.common || [];
      columns = askedColumns || [...FIRST_COLUMNS, ...common];
      // Cells are made for the columns of these rows.
      const marks = { isShown: (id) => panel.colorOf(id), isSelected: (id) => selectedSet().has(id), isOpen: (id) => Boolean(rows.open?.has(id)), toggle, head: allMark, toggleOpen };
      grid.element.setAttribute("role", list("group").length ? "treegrid" : "grid");
      grid.setColumns(gridColumns(columns, keys, marks, common), sorted());
    }
    filter.setError(null);
    fill(note);
    amount.classList.remove("waiting");
    const groups = rows.groups ? ` in ${count(rows.groups.length)} ${rows.groups.length === 1 ? "group" : "groups"}` : "";
    amount.textContent = `${count(rows.runsTotal)} ${rows.runsTotal === 1 ? "run" : "runs"}${groups}`;
    amount.title = rows.leftOut ? `Runs nested in ${count(rows.leftOut)} more parents, which are not in this table, are left out` : "";
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

  let firstOf = "";
  let firstRead = [];
  /** The first runs; where the table shows closed groups only, those that it would begin with. */
  async function firstRuns() {
    const here = rows ? rows.first(SHOWN) : [];
    if (here.length || !rows?.groups || !rows.total || firstOf === last) {
      return here.length ? here : firstRead;
    }
    firstOf = last;
    firstRead = [];
    try {
      firstRead = rowsOf(await getColumns("runs", runsParams(rows.query, [], 0, SHOWN)), []);
    } catch (error) {
      notice(error.message, "bad");
    }
    return firstRead;
  }

  /** Which runs the charts show: the selected ones, else the first of the table. */
  async function showRuns() {
    const ids = selected().slice(0, SHOWN_MAX);
    if (!ids.length) {
      const first = await firstRuns();
      if (!param("sel")) {
        panel.setRuns(first);
        grid.refresh();
      }
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
    if (row.group) {
      selectGroup(row.group);
      return;
    }
    let ids = selected();
    if (event && event.shiftKey && grid.active >= 0) {
      const to = grid.indexOf((other) => other && other.id === row.id);
      if (to >= 0) {
        const [a, b] = [Math.min(grid.active, to), Math.max(grid.active, to)];
        for (let at = a; at <= b; at += 1) {
          const one = rows.row(at);
          if (one && one.id && !ids.includes(one.id)) {
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

  /** Selects the first runs of the table, or none if any is selected. */
  async function selectAll() {
    if (selected().length) {
      setParams({ sel: null }, true);
      return;
    }
    try {
      const query = { experiments: experiments(), filter: param("q"), order: order(), view: param("view") || "ACTIVE_ONLY" };
      const found = rowsOf(await getColumns("runs", runsParams(query, [], 0, SHOWN_MAX)), []);
      found.forEach((row) => shownById.set(row.id, row));
      setParams({ sel: found.map((row) => row.id).join(",") }, true);
      if (rows && rows.runsTotal > found.length) {
        notice(`The first ${found.length} of ${count(rows.runsTotal)} runs are selected: charts show no more at a time.`);
      }
    } catch (error) {
      notice(error.message, "bad");
    }
  }

  /** Selects the first runs of a group too, or none of them if all are selected. */
  async function selectGroup(group) {
    try {
      const query = { experiments: experiments(), filter: both(param("q"), group.filter), order: order(), view: param("view") || "ACTIVE_ONLY" };
      const found = rowsOf(await getColumns("runs", runsParams(query, [], 0, GROUP_SELECTED_MAX)), []);
      const ids = selected();
      const missing = found.filter((row) => !ids.includes(row.id));
      const mine = new Set(found.map((row) => row.id));
      found.forEach((row) => shownById.set(row.id, row));
      setParams({ sel: (missing.length ? [...ids, ...missing.map((row) => row.id)] : ids.filter((id) => !mine.has(id))).join(",") }, true);
      if (group.runs > found.length) {
        notice(`The first ${found.length} of ${count(group.runs)} runs are selected.`);
      }
    } catch (error) {
      notice(error.message, "bad");
    }
  }

  function rowKey(key, row) {
    if (key === " " || key === "x") {
      toggle(row);
    } else if ((key === "ArrowRight" || key === "ArrowLeft") && (row.group || row.children)) {
      toggleOpen(row, key === "ArrowRight");
    } else if (key === "Enter" || key === "o") {
      if (row.group) {
        toggleOpen(row);
      } else {
        go(["run", row.id]);
      }
    } else {
      return false;
    }
    return true;
  }

  // ---- what can be done with the selected runs ----

  function drawActions() {
    const ids = selected();
    const all = ids.length ? "Select none" : `Select the first ${SHOWN_MAX} runs`;
    allMark.setAttribute("aria-checked", ids.length ? "mixed" : "false");
    allMark.setAttribute("aria-label", all);
    allMark.title = all;
    if (!ids.length) {
      const these = { e: experiments(), q: param("q"), tab: "parallel" };
      fill(actions, h("a", { class: "tool", href: href(["compare"], these), title: "Parallel coordinates, scatter and correlation of all these runs" }, "Explore"));
      return;
    }
    const fixed = isFixed();
    fill(
      actions,
      h("span", { class: "chip plain-chip" }, `${count(ids.length)} selected`, iconButton("close", "Select none", () => setParams({ sel: null }, true))),
      ids.length > 1 ? h("a", { class: "tool", href: href(["compare"], { runs: ids.join(",") }) }, "Compare") : null,
      fixed ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: (event) => runActions(event.currentTarget, ids, (id) => rows?.byId(id) || shownById.get(id), () => { shownById = new Map(); readTable(); }) } }, "Actions", icon("down")),
    );
  }

  // ---- address and stream ----

  let last = "";
  async function readKeys(again = false) {
    const of = `${experiments().join()}|${param("at")}`;
    if (!again && keysOf === of) {
      return;
    }
    keysOf = of;
    try {
      const answer = await get("keys", { experiment_id: experiments() });
      if (keysOf !== of) {
        return;
      }
      keys = answer;
    } catch (error) {
      // Those that are known stay while the server is away; the change that comes then asks again.
      if (again) {
        newKeys();
        return;
      }
      keys = NO_KEYS;
      notice(error.message, "bad");
    }
    keyNames = new Set(keys.metrics.map(([key]) => key));
    panel.setKeys([...keyNames]);
  }

  async function update() {
    // The requests first: while they are on their way the page is made.
    const reading = readKeys();
    if (chosenColumns() || !list("group").length) {
      // The table does not wait for the keys: with it comes which columns there are, as long as nobody has chosen any.
      readIfChanged(chosenColumns());
    }
    drawTools();
    await reading;
    if (list("group").length) {
      readIfChanged(chosenColumns() || defaultColumns(keys));
    }
    showRuns();
  }

  function drawTools() {
    const names = experiments();
    const shownNames = names.length ? names.map(experimentName).join(", ") : "All experiments";
    fill(experimentButton, h("bdi", { class: "ellipsis" }, shownNames), icon("down"));
    document.title = `${names.length ? shownNames : "Runs"} · Runlode`;
    filter.set(param("q"));
    mlflowLink.hidden = !known.about?.mlflow_pages;
    const only = names.length === 1 ? known.experiments.find((one) => one.experiment_id === names[0] || one.name === names[0]) : null;
    mlflowLink.href = `${ROOT}#/experiments${only ? `/${only.experiment_id}/runs` : ""}`;
    view.value = param("view") || "ACTIVE_ONLY";
    const show = param("show") || (NARROW.matches ? "table" : "both");
    element.dataset.show = show;
    side.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.side === show)));
    const by = list("group");
    fill(groupButton, icon("group"), by.length ? h("span", { class: "ellipsis group-name" }, by.includes(NESTED) ? "Nested" : by.map(groupLabel).join(", ")) : "Group");
    groupButton.classList.toggle("on", by.length > 0);
    panel.readRoute();
    drawActions();
    openGroups();
  }

  function chosenColumns() {
    return param("cols") ? param("cols").split("\u001f") : null;
  }

  let opened = "";
  function openGroups() {
    const now = list("open").join("\n");
    if (now !== opened) {
      opened = now;
      for (const one of new Set([rows, next])) {
        one?.setOpen?.(new Set(list("open")));
      }
      if (rows) {
        grid.setTotal(rows.total);
        grid.refresh();
      }
    }
  }

  function readIfChanged(ids) {
    askedColumns = ids;
    const now = JSON.stringify([experiments(), param("q"), param("sort"), param("view"), param("at"), list("group"), ids]);
    if (now !== last) {
      last = now;
      readTable();
    }
  }

  const outdated = soon(600, () => {
    if (rows) {
      rows.outdate();
      grid.draw();
      rows.ensure(0, 1);
    }
  });
  const newKeys = soon(2000, () => readKeys(true));
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
    const sort = param("sort");
    for (const [run, key, , , values] of change.points) {
      const row = rows && rows.byId(run);
      const column = `metrics.${key}`;
      if (row && column in row.cells && values.length) {
        const value = values[values.length - 1];
        row.cells[column] = typeof value === "number" ? value : Number(value);
        drawn = true;
      }
      if (!keyNames.has(key)) {
        newKeys();
      }
      if (sort.startsWith(column)) {
        // Its place in the order may be another one.
        outdated();
      }
    }
    if (drawn) {
      grid.refresh();
    }
  });

  // Nobody tells that a process is gone.
  const looks = setInterval(() => {
    if (!document.hidden && !param("at") && rows && SHOWN_STATES.some((state) => rows.first(GROUP_SELECTED_MAX).some((row) => row.status === state))) {
      outdated();
    }
  }, LOOK_AGAIN_MS);

  return {
    element,
    update,
    destroy() {
      end();
      clearInterval(looks);
      outdated.cancel();
      newKeys.cancel();
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
      b: () => groupButton.click(),
      e: () => experimentButton.click(),
      0: () => panel.setZoom(null),
      t: () => grid.element.focus(),
      a: () => selectAll(),
    },
  };
}
