/**
 * Two versions of a registered model side by side, with the params and metrics of their runs; what differs first.
 */

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { count } from "./format.js";
import { empty, failure, loading } from "./parts.js";
import { param, setParams } from "./route.js";

/** @param {any[]} versions */
export function versionDiff(versions) {
  if (versions.length < 2) {
    return empty("There is one version only");
  }
  const numbers = versions.map((version) => version.version);
  const a = Number(param("a")) || numbers[numbers.length - 2];
  const b = Number(param("b")) || numbers[numbers.length - 1];
  const choose = (which, value) => h("select", { "aria-label": `Version ${which}`, on: { change: (event) => setParams({ [which]: event.target.value }) } }, numbers.map((one) => h("option", { value: one, selected: one === value }, `v${one}`)));
  const box = h("div", null, loading());
  const [left, right] = [a, b].map((one) => versions.find((version) => version.version === one));
  if (left && right) {
    compareVersions(left, right).then((content) => fill(box, content)).catch((error) => fill(box, failure(error)));
  } else {
    fill(box, empty("One of these versions is not there at this moment"));
  }
  return h("div", null, h("div", { class: "row diff-head" }, choose("a", a), h("span", { class: "muted" }, "→"), choose("b", b)), box);
}

async function compareVersions(left, right) {
  const [one, two] = await Promise.all([left, right].map((version) => (version.run_id ? get("run", { run_id: version.run_id }).then((answer) => answer.run).catch(() => null) : null)));
  const rows = [];
  const add = (group, field, from, to) => rows.push({ group, field, from, to, same: from === to });
  for (const [field, title] of [["stage", "Stage"], ["source", "Source"], ["description", "Description"], ["user_id", "By"]]) {
    add("Version", title, left[field] || "", right[field] || "");
  }
  add("Version", "Aliases", left.aliases.join(", "), right.aliases.join(", "));
  pairUp("Tag", left.tags, right.tags, add);
  if (one && two) {
    pairUp("Param", one.params, two.params, add);
    pairUp("Metric", one.metrics.map((metric) => [metric.key, String(metric.value)]), two.metrics.map((metric) => [metric.key, String(metric.value)]), add);
  }
  const different = rows.filter((row) => !row.same);
  const shownRows = param("same") ? rows : different;
  return h(
    "div",
    null,
    h("label", { class: "choice" }, h("input", { type: "checkbox", ...(param("same") ? { checked: true } : {}), on: { change: (event) => setParams({ same: event.target.checked ? 1 : null }, true) } }), `Show the ${count(rows.length - different.length)} equal fields too`),
    shownRows.length
      ? h("table", { class: "plain-table wide-table" }, h("thead", null, h("tr", null, ["", "Field", `v${left.version}`, `v${right.version}`].map((title) => h("th", { scope: "col" }, title)))), h("tbody", null, shownRows.map((row) => h("tr", { class: row.same ? "same" : "differs" }, h("td", { class: "muted" }, row.group), h("th", { scope: "row" }, h("bdi", null, row.field)), h("td", { class: "break" }, h("bdi", null, row.from)), h("td", { class: "break" }, h("bdi", null, row.to))))))
      : empty("Nothing differs"),
  );
}

function pairUp(group, left, right, add) {
  const [one, two] = [new Map(left), new Map(right)];
  for (const key of [...new Set([...one.keys(), ...two.keys()])].sort()) {
    add(group, key, one.get(key) ?? "", two.get(key) ?? "");
  }
}
