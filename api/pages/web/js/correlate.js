/**
 * How params and metrics of many runs go with a metric: Spearman's rank correlation, which asks for no straight line.
 */

import { axisLabel, fieldChooser, varying } from "./axes.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { empty } from "./parts.js";
import { href, param, route, setParams } from "./route.js";

const CORRELATED_SHOWN = 300;

/** Ranks, equal values sharing theirs. */
function ranks(values) {
  const order = values.map((_, at) => at).sort((a, b) => values[a] - values[b]);
  const out = new Array(values.length);
  for (let at = 0; at < order.length; ) {
    let end = at;
    while (end < order.length && values[order[end]] === values[order[at]]) {
      end += 1;
    }
    for (let i = at; i < end; i += 1) {
      out[order[i]] = (at + end - 1) / 2;
    }
    at = end;
  }
  return out;
}

/** The correlation of two fields over the runs that have both; null for fewer than three. */
export function correlation(a, b) {
  const both = a.map((_, at) => at).filter((at) => Number.isFinite(a[at]) && Number.isFinite(b[at]));
  if (both.length < 3) {
    return null;
  }
  const [x, y] = [ranks(both.map((at) => a[at])), ranks(both.map((at) => b[at]))];
  const mean = (both.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i += 1) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xx && yy ? { value: xy / Math.sqrt(xx * yy), runs: both.length } : null;
}

/** How each field goes with a metric. A field leads to its scatter. */
export function correlations(runs, columns) {
  const all = varying(runs, columns).filter((axis) => !axis.texts);
  const metrics = all.filter((axis) => axis.name.startsWith("metrics."));
  if (!metrics.length || all.length < 2) {
    return empty("No metric differs", "Correlation needs a metric and another number that differ.");
  }
  const target = metrics.find((axis) => axis.name === param("target")) || metrics[0];
  const rows = all
    .filter((axis) => axis !== target)
    .map((axis) => ({ axis, found: correlation(axis.values, target.values) }))
    .filter(({ found }) => found)
    .sort((a, b) => Math.abs(b.found.value) - Math.abs(a.found.value));
  const link = (name) => href(["compare"], { ...Object.fromEntries([...route().query].filter(([key]) => key !== "e")), e: route().query.getAll("e"), tab: "scatter", sx: name, sy: target.name });
  const line = ({ axis, found }) => h("tr", null,
    h("th", { scope: "row" }, h("span", { class: "muted kind" }, axis.name.startsWith("metrics.") ? "metric" : "param"), " ", h("a", { href: link(axis.name) }, h("bdi", null, axisLabel(axis.name)))),
    h("td", { class: "right" }, found.value.toFixed(3).replace("-", "−")),
    h("td", { class: "signed" }, h("span", { class: `signed-bar ${found.value < 0 ? "negative" : ""}`, style: { width: `${Math.abs(found.value) * 50}%` }, "aria-hidden": "true" })),
    h("td", { class: "right muted" }, count(found.runs)));
  return h(
    "div",
    { class: "stack" },
    h("div", { class: "row" }, fieldChooser("With", metrics.map((axis) => axis.name), target.name, (name) => setParams({ target: name }, true)), h("span", { class: "muted" }, "Rank correlation (Spearman)")),
    h("table", { class: "plain-table correlation-table" },
      h("thead", null, h("tr", null, [["Field", ""], ["Correlation", "right"], ["", ""], ["Runs", "right"]].map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      h("tbody", null, rows.slice(0, CORRELATED_SHOWN).map(line))),
    rows.length > CORRELATED_SHOWN ? h("p", { class: "muted" }, `${count(rows.length - CORRELATED_SHOWN)} fields go less with it.`) : null,
  );
}
