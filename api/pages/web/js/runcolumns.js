/**
 * Columns of the table of runs: what they show, and the box in which they are chosen.
 */

import { h, icon } from "./dom.js";
import { count, duration, exact, number, time, wholeTime } from "./format.js";
import { groupLabel } from "./groupbox.js";
import { stateOf } from "./parts.js";
import { popover } from "./popover.js";
import { href } from "./route.js";
import { COMMON_METRICS, COMMON_PARAMS, FIRST_COLUMNS } from "./runrows.js";
import { experimentName } from "./shared.js";

const CHOICES_MAX = 300;
const ENDS = [["", "last"], [".min", "min"], [".max", "max"], [".first", "first"]];

/** Columns that are shown before anybody chooses, of these keys: for rows that do not come with them. */
export function defaultColumns(keys) {
  const most = (list, count) =>
    [...list].filter(([key]) => !key.startsWith("system/")).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, count).map(([key]) => key);
  return [
    ...FIRST_COLUMNS,
    ...most(keys.metrics, COMMON_METRICS).map((key) => `metrics.${key}`),
    ...most(keys.params, COMMON_PARAMS).map((key) => `params.${key}`),
  ];
}

const LABELS = { start_time: "Started", duration: "Duration", user_id: "User", experiment_id: "Experiment", end_time: "Ended", run_id: "Run id", status: "Status" };

/** The title of a column. `common` are columns that are whole keys, though they may end as one of a metric's values does. */
export function columnLabel(id, keys, common = []) {
  if (LABELS[id]) {
    return LABELS[id];
  }
  const [kind, key] = id.split(/\.(.*)/s);
  if (kind === "metrics" && !common.includes(id) && !keys.metrics.some(([known]) => known === key)) {
    const end = /^(.*)\.(min|max|first|count)$/.exec(key);
    return end ? `${end[1]} (${end[2]})` : key;
  }
  return key || id;
}

function isNumber(id) {
  return id.startsWith("metrics.") || id === "duration";
}

/** Shows a text. The tip is made when somebody points at the cell: rows change sixty times a second. */
function setText(cell, text, tip = null) {
  if (cell.shown !== text) {
    cell.shown = text;
    cell.textContent = text;
  }
  cell.tip = tip;
  if (cell.title) {
    cell.title = "";
  }
}

/**
 * @param {string[]} ids
 * @param {any} keys
 * @param {{ isShown: (id: string) => string | null, isSelected: (id: string) => boolean, isOpen: (id: string) => boolean, toggle: (row: any, event: any) => void, head: any, toggleOpen: (row: any) => void }} marks
 * @param {string[]} common
 * @returns {import("./grid.js").GridColumn[]}
 */
export function gridColumns(ids, keys, marks, common = []) {
  const name = {
    id: "run_name",
    label: "Run",
    head: marks.head,
    width: 240,
    draw(cell, row) {
      const color = row.group ? null : marks.isShown(row.id);
      let parts = cell.parts;
      if (!parts) {
        const box = h("button", { type: "button", class: "mark", role: "checkbox", on: { click: (event) => { event.stopPropagation(); marks.toggle(cell.row, event); } } });
        const link = h("a", { class: "run-name ellipsis" });
        const dot = h("span", { class: "cell-dot" }, h("span", { role: "img" }));
        const opener = h("button", { type: "button", class: "opener", tabindex: -1, on: { click: (event) => { event.stopPropagation(); marks.toggleOpen(cell.row); } } }, icon("right"));
        const text = h("span", { class: "group-title ellipsis" });
        const nested = h("span", { class: "muted", title: "Nested run" }, "↳ ");
        const words = h("bdi");
        const lost = h("span", { class: "lost-word" });
        link.append(nested, words);
        cell.replaceChildren(box, opener, dot, link, lost, text);
        parts = cell.parts = { box, link, dot, opener, text, nested, words, lost, was: {} };
      }
      cell.row = row;
      const opens = row.group || row.children;
      const isOpen = Boolean(opens) && marks.isOpen(row.group ? row.group.id : row.id);
      parts.opener.hidden = !opens;
      if (opens) {
        parts.opener.classList.toggle("open", isOpen);
        parts.opener.setAttribute("aria-label", `${isOpen ? "Close" : "Open"} ${row.group ? "the group" : `the runs in ${row.name}`}`);
      }
      parts.dot.hidden = parts.link.hidden = parts.lost.hidden = Boolean(row.group);
      parts.text.hidden = !row.group;
      const indent = row.depth ? `${10 + row.depth * 18}px` : "";
      if (cell.style.paddingInlineStart !== indent) {
        cell.style.paddingInlineStart = indent;
      }
      if (row.group) {
        const { group } = row;
        parts.was = {};
        parts.box.style.background = "transparent";
        parts.box.style.borderColor = "";
        parts.box.setAttribute("aria-checked", "false");
        parts.box.setAttribute("aria-label", "Select the runs of the group");
        cell.tip = () => `${group.column} ${group.value === null ? "has no value" : `= ${group.value}`}`;
        parts.text.replaceChildren(h("span", { class: "muted" }, `${groupLabel(group.column)} `), group.value === null ? h("em", { class: "muted" }, "none") : h("bdi", null, group.value === "" ? "(empty)" : group.column === "experiment_id" ? experimentName(group.value) : group.value), h("span", { class: "muted" }, ` ${count(group.runs)}`));
        return;
      }
      const { word, kind } = stateOf(row);
      const name = row.name || "(no name)";
      const { was } = parts;
      const selected = String(Boolean(marks.isSelected(row.id)));
      cell.tip = () => row.name;
      if (cell.title) {
        cell.title = "";
      }
      // Rows change sixty times a second: only what is another is set.
      if (was.color !== color) {
        was.color = color;
        parts.box.style.background = color || "transparent";
        parts.box.style.borderColor = color || "";
      }
      if (was.selected !== selected) {
        was.selected = selected;
        parts.box.setAttribute("aria-checked", selected);
      }
      if (was.name !== name) {
        was.name = name;
        parts.box.setAttribute("aria-label", `Select ${name}`);
        parts.words.textContent = name;
      }
      const address = href(["run", row.id]);
      if (was.address !== address) {
        was.address = address;
        parts.link.href = address;
      }
      parts.nested.hidden = !row.parent || Boolean(row.depth);
      if (was.word !== word) {
        was.word = word;
        const dot = parts.dot.firstChild;
        dot.className = `dot dot-${kind}`;
        dot.title = word;
        dot.setAttribute("aria-label", word);
      }
      // A colour alone would not say that nobody logs to it any more.
      const lost = kind === "lost" ? word : "";
      if (was.lost !== lost) {
        was.lost = lost;
        parts.lost.textContent = lost;
      }
    },
  };
  const others = ids.map((id) => {
    const right = isNumber(id);
    const kind = id.split(".")[0];
    return {
      id,
      label: columnLabel(id, keys, common),
      title: id,
      right,
      width: id === "start_time" || id === "end_time" ? 134 : kind === "metrics" ? 106 : id === "duration" ? 96 : 120,
      draw(cell, row) {
        if (row.group) {
          const of = row.group.cells[id];
          setText(cell, of && of.mean !== undefined ? number(of.mean) : "", of && of.mean !== undefined ? () => `mean of ${of.count}: ${exact(of.mean)}, from ${exact(of.min)} to ${exact(of.max)}` : null);
        } else if (id === "start_time" || id === "end_time") {
          const ms = id === "start_time" ? row.start : row.end;
          setText(cell, time(ms), () => wholeTime(ms));
        } else if (id === "duration") {
          const end = row.end ?? (row.status === "RUNNING" && row.liveness !== "lost" ? Date.now() : null);
          setText(cell, row.start !== null && end !== null ? duration(end - row.start) : "");
        } else {
          const value = id in row.cells ? row.cells[id] : row[{ run_id: "id", status: "status", experiment_id: "experiment" }[id]];
          if (typeof value === "number") {
            setText(cell, number(value), () => exact(value));
          } else {
            setText(cell, value ?? "", () => value ?? "");
          }
        }
      },
    };
  });
  return [name, ...others];
}

/** The box in which columns are chosen. */
export function columnsBox(anchor, keys, chosen, apply) {
  const all = [
    ...["start_time", "duration", "end_time", "user_id", "experiment_id", "status", "run_id"].map((id) => [id, LABELS[id], ""]),
    ...keys.metrics.map(([key, runs]) => [`metrics.${key}`, key, runs]),
    ...keys.params.map(([key, runs]) => [`params.${key}`, key, runs]),
    ...keys.tags.map(([key, runs]) => [`tags.${key}`, key, runs]),
  ];
  let now = [...chosen];
  const list = h("div", { class: "choices", role: "group", "aria-label": "Columns" });
  const search = h("input", { type: "search", class: "wide", placeholder: "Search metrics, params, tags", "aria-label": "Search columns", on: { input: show } });
  function set(id, on) {
    now = on ? [...now, id] : now.filter((one) => one !== id);
    apply(now);
  }
  function choice(id, label, note) {
    const box = h("input", { type: "checkbox", on: { change: (event) => set(id, event.target.checked) } });
    box.checked = now.includes(id);
    return h("label", { class: "choice" }, box, h("span", { class: "grow ellipsis", title: id }, h("bdi", null, label)), h("span", { class: "muted" }, note));
  }
  function show() {
    const low = search.value.toLowerCase();
    const found = all.filter(([id]) => !low || id.toLowerCase().includes(low));
    const parts = [];
    let kind = "";
    for (const [id, label, runs] of found.slice(0, CHOICES_MAX)) {
      const own = id.includes(".") ? id.split(".")[0] : "attributes";
      if (own !== kind) {
        kind = own;
        parts.push(h("div", { class: "choices-title" }, own[0].toUpperCase() + own.slice(1)));
      }
      if (own === "metrics") {
        const ends = ENDS.map(([end, word]) => {
          const column = id + end;
          const button = h("button", { type: "button", class: "chip", "aria-pressed": String(now.includes(column)), on: { click: () => { set(column, !now.includes(column)); button.setAttribute("aria-pressed", String(now.includes(column))); } } }, word);
          return button;
        });
        parts.push(h("div", { class: "choice" }, h("span", { class: "grow ellipsis", title: id }, h("bdi", null, label)), ends));
      } else {
        parts.push(choice(id, label, runs));
      }
    }
    if (found.length > CHOICES_MAX) {
      parts.push(h("p", { class: "muted" }, `${found.length - CHOICES_MAX} more; search for them`));
    }
    list.replaceChildren(...parts);
  }
  show();
  popover(anchor, h("div", { class: "stack columns-box" }, h("div", { class: "row" }, icon("search"), search), list), "Columns");
}
