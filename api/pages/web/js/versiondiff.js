/**
 * Two versions of a registered model side by side, with their signatures and the params and metrics of their runs; what
 * differs first.
 */

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { count, exact, number } from "./format.js";
import { empty, failure, loading } from "./parts.js";
import { param, setParams } from "./route.js";
import { schemaLines } from "./signature.js";

/** @typedef {{ group: string, field: string, from: any, to: any, isSame: boolean }} DiffRow */

/** @param {string} name @param {any[]} versions */
export function versionDiff(name, versions) {
  if (versions.length < 2) {
    return empty("There is one version only");
  }
  const numbers = versions.map((version) => version.version);
  const a = Number(param("a")) || numbers[numbers.length - 2];
  const b = Number(param("b")) || numbers[numbers.length - 1];
  const choose = (which, value) => h("select", { "aria-label": which === "a" ? "Version on the left" : "Version on the right", on: { change: (event) => setParams({ [which]: event.target.value }) } }, [...numbers].reverse().map((one) => h("option", { value: one, selected: one === value }, versionText(versions.find((version) => version.version === one)))));
  const box = h("div", null, loading());
  const [left, right] = [a, b].map((one) => versions.find((version) => version.version === one));
  if (left && right) {
    compareVersions(name, left, right).then((content) => fill(box, content)).catch((error) => fill(box, failure(error)));
  } else {
    fill(box, empty("One of these versions is not there at this moment"));
  }
  const swap = h("button", { type: "button", class: "tool", title: "Swap", "aria-label": "Swap the versions", on: { click: () => setParams({ a: b, b: a }) } }, "⇄");
  return h("div", null, h("div", { class: "row diff-head" }, choose("a", a), swap, choose("b", b)), box);
}

function versionText(version) {
  const names = [...version.aliases.map((alias) => `@${alias}`), ...(version.stage === "None" ? [] : [version.stage])];
  return `v${version.version}${names.length ? ` (${names.join(", ")})` : ""}`;
}

async function compareVersions(name, left, right) {
  const runOf = (version) => (version.run_id ? get("run", { run_id: version.run_id }).then((answer) => answer.run).catch(() => null) : null);
  const modelOf = (version) => get("model", { name, version: String(version.version), as_of: "" }).then((answer) => answer.model).catch(() => null);
  const [one, two, first, second] = await Promise.all([runOf(left), runOf(right), modelOf(left), modelOf(right)]);
  /** @type {DiffRow[]} */
  const rows = [];
  const add = (group, field, from, to) => rows.push({ group, field, from, to, isSame: from === to });
  for (const [field, title] of [["stage", "Stage"], ["source", "Source"], ["description", "Description"], ["user_id", "By"]]) {
    add("Version", title, left[field] || "", right[field] || "");
  }
  add("Version", "Aliases", left.aliases.join(", "), right.aliases.join(", "));
  pairUp("Tag", left.tags, right.tags, add);
  if (first && second) {
    for (const part of ["inputs", "outputs", "params"]) {
      pairUp(`Signature, ${part}`, schemaLines(first.signature?.[part]), schemaLines(second.signature?.[part]), add);
    }
    add("Model", "Flavors", first.flavors.join(", "), second.flavors.join(", "));
    add("Model", "MLflow", first.mlflow_version || "", second.mlflow_version || "");
  }
  if (one && two) {
    pairUp("Param", one.params, two.params, add);
    const metrics = (run) => run.metrics.map((metric) => [metric.key, metric.value]);
    pairUp("Metric", metrics(one), metrics(two), add);
  }
  const different = rows.filter((row) => !row.isSame);
  const equal = rows.length - different.length;
  const shownRows = param("same") ? [...different, ...rows.filter((row) => row.isSame)] : different;
  const unread = !first || !second ? h("p", { class: "muted" }, "The MLmodel file of one of them cannot be read: signatures are not compared.") : null;
  return h(
    "div",
    { class: "stack" },
    equal ? h("label", { class: "choice" }, h("input", { type: "checkbox", ...(param("same") ? { checked: true } : {}), on: { change: (event) => setParams({ same: event.target.checked ? 1 : null }, true) } }), `Show the ${count(equal)} equal fields too`) : null,
    shownRows.length ? h("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Differences" }, table(left, right, shownRows)) : empty("Nothing differs"),
    unread,
  );
}

function table(left, right, rows) {
  let group = "";
  const body = rows.flatMap((row) => {
    const head = row.group === group ? [] : [h("tr", { class: "group-line" }, h("th", { colspan: 4, scope: "colgroup" }, row.group))];
    group = row.group;
    const isNumber = typeof row.from === "number" && typeof row.to === "number";
    const cell = (value) => (typeof value === "number" ? h("td", { class: "right", title: exact(value) }, number(value)) : h("td", { class: "break" }, value === "" ? h("span", { class: "muted" }, "–") : h("bdi", null, value)));
    return [...head, h("tr", { class: row.isSame ? "same" : "" }, h("th", { scope: "row" }, h("bdi", null, row.field)), cell(row.from), cell(row.to), h("td", { class: "right muted" }, isNumber && !row.isSame ? changeText(row.from, row.to) : ""))];
  });
  return h("table", { class: "plain-table wide-table diff-table" }, h("thead", null, h("tr", null, ["Field", `v${left.version}`, `v${right.version}`, "Change"].map((title, at) => h("th", { scope: "col", class: at === 3 ? "right" : "" }, title)))), h("tbody", null, body));
}

/** By how much a number changed, and by what part. */
function changeText(from, to) {
  const by = to - from;
  const part = from !== 0 && Number.isFinite(by / from) ? ` (${by > 0 ? "+" : "−"}${Number(Math.abs((by / from) * 100).toPrecision(3))} %)` : "";
  return `${by > 0 ? "+" : ""}${number(by)}${part}`;
}

function pairUp(group, left, right, add) {
  const [one, two] = [new Map(left), new Map(right)];
  for (const key of [...new Set([...one.keys(), ...two.keys()])].sort()) {
    add(group, key, one.get(key) ?? "", two.get(key) ?? "");
  }
}
