/**
 * Where the versions of a model come from, as a graph: runs on the left, versions in the middle, aliases on the right.
 */

import { h, svg } from "./dom.js";
import { href } from "./route.js";

const GRAPH_ROW_PX = 44;
const BOX_PX = 30;
const COLUMNS = [10, 260, 510];
const WIDTHS = [180, 180, 160];
const VERSIONS_MAX = 60;

export function lineageGraph(model, versions) {
  const shown = [...versions].reverse().slice(0, VERSIONS_MAX);
  const runs = [...new Set(shown.map((version) => version.run_id).filter(Boolean))];
  const aliases = model.aliases.filter(([, version]) => shown.some((one) => one.version === version));
  const rows = Math.max(shown.length, runs.length, aliases.length, 1);
  const height = rows * GRAPH_ROW_PX + 12;
  const middle = (count, at) => ((rows - count) / 2 + at) * GRAPH_ROW_PX + GRAPH_ROW_PX / 2 + 6;
  const parts = [];
  const places = { run: new Map(), version: new Map() };
  runs.forEach((run, at) => places.run.set(run, middle(runs.length, at)));
  shown.forEach((version, at) => places.version.set(version.version, middle(shown.length, at)));
  const line = (column, from, to, kind) => {
    const [x1, x2] = [COLUMNS[column] + WIDTHS[column], COLUMNS[column + 1]];
    const half = (x1 + x2) / 2;
    parts.push(svg("path", { class: `edge ${kind}`, d: `M${x1} ${from}C${half} ${from} ${half} ${to} ${x2} ${to}` }));
  };
  for (const version of shown) {
    if (version.run_id) {
      line(0, places.run.get(version.run_id), places.version.get(version.version), "");
    }
  }
  aliases.forEach(([, version], at) => line(1, places.version.get(version), middle(aliases.length, at), "strong"));
  const box = (column, y, text, link, kind) => {
    const content = [svg("rect", { x: COLUMNS[column], y: y - BOX_PX / 2, width: WIDTHS[column], height: BOX_PX, rx: 6 }), svg("text", { x: COLUMNS[column] + 12, y: y + 4 }, text.length > 24 ? `${text.slice(0, 23)}…` : text)];
    parts.push(link ? svg("a", { href: link, class: `graph-node ${kind}`, "aria-label": text }, content) : svg("g", { class: `graph-node ${kind}` }, content));
  };
  for (const run of runs) {
    box(0, places.run.get(run), `run ${run.slice(0, 8)}`, href(["run", run]), "");
  }
  for (const version of shown) {
    box(1, places.version.get(version.version), `v${version.version}${version.stage === "None" ? "" : ` · ${version.stage}`}`, href(["model", model.name], { version: version.version }), "version");
  }
  aliases.forEach(([alias], at) => box(2, middle(aliases.length, at), `@${alias}`, null, "strong"));
  return h(
    "div",
    { class: "graph-scroll", tabindex: 0, role: "region", "aria-label": "Lineage" },
    svg("svg", { class: "graph", width: 690, height, viewBox: `0 0 690 ${height}`, role: "group", "aria-label": `${runs.length} runs made ${shown.length} versions` }, parts),
    versions.length > VERSIONS_MAX ? h("p", { class: "muted" }, `The newest ${VERSIONS_MAX} versions are drawn.`) : null,
  );
}
