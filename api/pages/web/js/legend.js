/**
 * The runs of a large chart in a table: value at the cursor (the last one while there is none), least and greatest value
 * in the range that is shown. Pointing at a row makes its curve stand out.
 */

import { h } from "./dom.js";
import { exact, number } from "./format.js";
import { href } from "./route.js";
import { rowFrom } from "./trace.js";

/** @typedef {import("./trace.js").Trace} Trace */

/** Least, greatest and last value of a trace in a range. @param {Trace} trace @param {[number, number]} range */
function rangeOf(trace, range) {
  let [least, greatest, last] = [Infinity, -Infinity, -1];
  for (let i = rowFrom(trace, range[0]); i < trace.x.length && (trace.free || trace.x[i] <= range[1]); i += 1) {
    least = trace.lo[i] < least ? trace.lo[i] : least;
    greatest = trace.hi[i] > greatest ? trace.hi[i] : greatest;
    last = i;
  }
  return { least, greatest, last };
}

/** @param {import("./chart.js").Chart} chart @param {(id: string) => void} emphasize */
export function legendOf(chart, emphasize) {
  const place = h("th", { scope: "col", class: "right" }, "Last");
  const body = h("tbody");
  const rows = new Map();
  const element = h(
    "div",
    { class: "legend table-scroll", tabindex: 0, role: "region", "aria-label": "Values of the runs", on: { pointerleave: () => emphasize("") } },
    h("table", { class: "plain-table wide-table" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Run"), place, ["Least", "Greatest"].map((title) => h("th", { scope: "col", class: "right" }, title)))), body),
  );

  function rowOf(trace) {
    const id = trace.run.id + trace.run.name;
    let row = rows.get(id);
    if (!row) {
      const cells = [0, 1, 2].map(() => h("td", { class: "right" }));
      const swatch = h("span", { class: "swatch" });
      const line = h("tr", { on: { pointerenter: () => emphasize(trace.run.id) } }, h("th", { scope: "row" }, h("span", { class: "row" }, swatch, h("a", { class: "ellipsis", href: href(["run", trace.run.id]) }, h("bdi", null, trace.run.name)))), cells);
      row = { line, cells, swatch };
      rows.set(id, row);
    }
    row.swatch.style.background = trace.run.color;
    return row;
  }

  function draw() {
    const range = chart.view ? chart.view.xRange : null;
    const at = chart.context.hover;
    const here = new Map(range && at !== null ? chart.valuesAt(at).map(({ trace, value }) => [trace, value]) : []);
    const head = here.size ? "At the cursor" : "Last";
    if (place.textContent !== head) {
      place.textContent = head;
    }
    const lines = [];
    for (const trace of range ? chart.traces : []) {
      const { line, cells } = rowOf(trace);
      const { least, greatest, last } = rangeOf(trace, range);
      const value = here.size ? here.get(trace) : last < 0 ? undefined : trace.mid[last];
      [value, least, greatest].forEach((one, i) => {
        const text = one === undefined || (i > 0 && least > greatest) ? "" : number(one);
        if (cells[i].textContent !== text) {
          cells[i].textContent = text;
          cells[i].title = text ? exact(one) : "";
        }
      });
      lines.push(line);
    }
    if (lines.length !== body.childElementCount || lines.some((line, i) => body.children[i] !== line)) {
      body.replaceChildren(...lines);
    }
  }

  return { element, draw };
}
