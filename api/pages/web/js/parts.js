/**
 * Small parts that several pages show.
 */

import { fill, h, icon } from "./dom.js";
import { ago, count, wholeTime } from "./format.js";
import { href } from "./route.js";

const WORDS = {
  RUNNING: "Running",
  FINISHED: "Finished",
  FAILED: "Failed",
  KILLED: "Killed",
  SCHEDULED: "Scheduled",
};

/** The state of a run in a word: a run without a process is lost. */
export function stateOf(run) {
  const lost = run.status === "RUNNING" && (run.liveness === "lost" || run.liveness === "silent");
  return { word: lost ? (run.liveness === "lost" ? "Lost" : "Silent") : WORDS[run.status] || run.status, kind: lost ? "lost" : String(run.status).toLowerCase() };
}

/** A dot with the state of a run. */
export function stateDot(run) {
  const { word, kind } = stateOf(run);
  return h("span", { class: `dot dot-${kind}`, title: word, role: "img", "aria-label": word });
}

export function stateBadge(run) {
  const { word, kind } = stateOf(run);
  return h("span", { class: `badge badge-${kind}` }, h("span", { class: `dot dot-${kind}`, "aria-hidden": "true" }), word);
}

/** A time as how long ago, with the whole time at hand. */
export function when(ms) {
  return h("time", { datetime: Number.isFinite(ms) ? new Date(ms).toISOString() : null, title: wholeTime(ms) }, ago(ms));
}

/** What a page shows where there is nothing. */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), ...more.map((one) => (one instanceof Node ? one : h("p", { class: "muted" }, one))));
}

/** A failure, with a button to try again. */
export function failure(error, again) {
  return h("div", { class: "empty", role: "alert" }, h("p", { class: "empty-title" }, "This could not be read"), h("p", { class: "muted" }, error.message), again ? h("button", { type: "button", on: { click: again } }, "Try again") : null);
}

export function loading() {
  return h("div", { class: "empty muted", role: "status" }, "Reading…");
}

export function runLink(id, name, params = {}) {
  return h("a", { href: href(["run", id], params) }, h("bdi", null, name || id.slice(0, 8)));
}

export function modelLink(name, version) {
  return h("a", { href: href(["model", name], version ? { version } : {}) }, h("bdi", null, version ? `${name} v${version}` : name));
}

/** A link to a logged model. */
export function loggedLink(id, name = "") {
  return h("a", { href: href(["logged", id]) }, h("bdi", null, name || `${id.slice(0, 10)}…`));
}

/** Tabs. `select` gets the name of the chosen one. */
export function tabs(label, list, current, select) {
  const buttons = list.map(([name, title, amount]) =>
    h(
      "button",
      { type: "button", role: "tab", class: "tab", id: `tab-${name}`, "aria-selected": String(name === current), tabindex: name === current ? 0 : -1, "aria-controls": "tab-panel", on: { click: () => select(name) } },
      title,
      amount === undefined ? null : h("span", { class: "tab-count" }, count(amount)),
    ),
  );
  return h("div", { class: "tabs", role: "tablist", "aria-label": label, on: {
    keydown: (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (move) {
        event.preventDefault();
        const at = list.findIndex(([name]) => name === current);
        select(list[(at + move + list.length) % list.length][0]);
        document.getElementById(`tab-${list[(at + move + list.length) % list.length][0]}`)?.focus();
      }
    },
  } }, buttons);
}

/** A table of keys and values with a search; long ones are shown in parts. Its `renew` takes other pairs. */
export function pairsTable(label, pairs, draw = (value) => value) {
  const ROWS = 200;
  const SEARCHED_FROM = 12;
  let shown = ROWS;
  let now = pairs;
  const body = h("tbody");
  const more = h("button", { type: "button", class: "link", on: { click: () => { shown += 1000; show(); } } });
  const search = h("input", { type: "search", class: "wide", "aria-label": `Search ${label.toLowerCase()}`, on: { input: () => { shown = ROWS; show(); } } });
  const table = h("table", { class: "pairs-table", "aria-label": label }, body);
  const none = h("p", { class: "muted" }, "None");
  function show() {
    const low = search.value.toLowerCase();
    const found = now.filter(([key, value]) => !low || String(key).toLowerCase().includes(low) || String(value).toLowerCase().includes(low));
    fill(body, found.slice(0, shown).map(([key, ...values]) => h("tr", null, h("th", { scope: "row" }, h("bdi", null, key)), values.map((value) => h("td", null, draw(value))))));
    more.hidden = found.length <= shown;
    more.textContent = `${count(found.length - shown)} more`;
    search.placeholder = `Search ${count(now.length)} ${label.toLowerCase()}`;
    search.hidden = now.length <= SEARCHED_FROM;
    table.hidden = !now.length;
    none.hidden = now.length > 0;
  }
  show();
  const element = h("div", { class: "pairs" }, search, table, none, more);
  element.renew = (other) => {
    now = other;
    show();
  };
  return element;
}

/** A text that can be copied. */
export function copyable(text) {
  const button = h("button", { type: "button", class: "copy", title: "Copy", on: {
    click: () => {
      navigator.clipboard?.writeText(text).then(() => {
        button.classList.add("done");
        setTimeout(() => button.classList.remove("done"), 1200);
      });
    },
  } }, h("code", null, text), icon("check"));
  return button;
}
