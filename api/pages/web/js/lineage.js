/**
 * Where the versions of a model come from, as a graph: data sets and models that were read, runs, logged models, versions,
 * aliases. Within each column nodes stand near those that they come from, so that lines cross little.
 */

import { get } from "./api.js";
import { fill, h, svg } from "./dom.js";
import { empty, failure, loading } from "./parts.js";
import { href, param } from "./route.js";

const GRAPH_ROW_PX = 46;
const BOX_PX = 32;
const BOX_WIDTH_PX = 188;
const COLUMN_GAP_PX = 66;
const TEXT_MAX = 25;
/** @type {[string, string[]][]} */
const COLUMNS = [["Reads", ["data", "read"]], ["Runs", ["run"]], ["Models", ["model"]], ["Versions", ["version"]], ["Aliases", ["alias"]]];

function textOf(node) {
  switch (node.kind) {
    case "data":
      return node.name + (node.context ? ` (${node.context})` : "");
    case "run":
      return node.name || node.run_id.slice(0, 8);
    case "version":
      return `v${node.version}${node.stage === "None" ? "" : ` · ${node.stage}`}`;
    case "alias":
      return `@${node.name}`;
    default:
      return node.name || `${node.model_id.slice(0, 14)}…`;
  }
}

function tipOf(node) {
  switch (node.kind) {
    case "data":
      return `Data set ${node.name}, digest ${node.digest}`;
    case "run":
      return `Run ${node.run_id}${node.deleted ? ", deleted" : ""}${node.commit ? `, commit ${node.commit}` : ""}`;
    case "version":
      return `Version ${node.version}`;
    case "alias":
      return `Alias ${node.name}`;
    default:
      return `${node.kind === "read" ? "Model that was read: " : "Logged model "}${node.name ? `${node.name}, ` : ""}${node.model_id}`;
  }
}

function linkOf(model, node) {
  switch (node.kind) {
    case "run":
      return href(["run", node.run_id]);
    case "model":
    case "read":
      return href(["logged", node.model_id]);
    case "version":
      return href(["model", model], { version: node.version });
    default:
      return null;
  }
}

/**
 * Nodes in columns, each with its row. A node wants the mean row of those before it.
 * @param {any[]} nodes @param {[string, string][]} edges
 */
export function layers(nodes, edges) {
  const before = new Map();
  for (const [from, to] of edges) {
    before.set(to, [...(before.get(to) || []), from]);
  }
  // Versions, newest first, give the order: what they come from stands beside them.
  const versions = nodes.filter((node) => node.kind === "version").sort((a, b) => b.version - a.version);
  const wish = new Map(versions.map((node, at) => [node.id, at]));
  const back = (id, at) => {
    for (const one of before.get(id) || []) {
      if (!wish.has(one)) {
        wish.set(one, at);
        back(one, at);
      }
    }
  };
  versions.forEach((node, at) => back(node.id, at));
  for (const [from, to] of edges) {
    if (!wish.has(to)) {
      wish.set(to, wish.get(from) ?? 0);
    }
  }
  return COLUMNS.map(([title, kinds]) => ({ title, nodes: nodes.filter((node) => kinds.includes(node.kind)).sort((a, b) => (wish.get(a.id) ?? 0) - (wish.get(b.id) ?? 0)) })).filter((column) => column.nodes.length);
}

function graphOf(model, { nodes, edges, versions }) {
  const columns = layers(nodes, edges);
  const rows = Math.max(...columns.map((column) => column.nodes.length));
  const width = columns.length * BOX_WIDTH_PX + (columns.length - 1) * COLUMN_GAP_PX + 4;
  const height = rows * GRAPH_ROW_PX + 34;
  const places = new Map();
  columns.forEach((column, x) => column.nodes.forEach((node, at) => {
    const y = 28 + ((rows - column.nodes.length) / 2 + at) * GRAPH_ROW_PX + GRAPH_ROW_PX / 2;
    places.set(node.id, { x: 2 + x * (BOX_WIDTH_PX + COLUMN_GAP_PX), y });
  }));
  const lines = edges.filter(([from, to]) => places.has(from) && places.has(to)).map(([from, to]) => {
    const [a, b] = [places.get(from), places.get(to)];
    const [x1, x2] = [a.x + BOX_WIDTH_PX, b.x];
    const half = (x1 + x2) / 2;
    return svg("path", { class: `edge${to.startsWith("alias:") ? " strong" : ""}`, "data-from": from, "data-to": to, d: `M${x1} ${a.y}C${half} ${a.y} ${half} ${b.y} ${x2} ${b.y}` });
  });
  const boxes = columns.flatMap((column) => column.nodes).map((node) => {
    const { x, y } = places.get(node.id);
    const text = textOf(node);
    const link = linkOf(model, node);
    const content = [
      svg("title", null, tipOf(node)),
      svg("rect", { x, y: y - BOX_PX / 2, width: BOX_WIDTH_PX, height: BOX_PX, rx: 7 }),
      svg("text", { x: x + 12, y: y + 4 }, text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX - 1)}…` : text),
    ];
    const kind = `graph-node kind-${node.kind}${node.deleted ? " gone" : ""}${node.kind === "alias" ? " strong" : ""}`;
    const element = link ? svg("a", { href: link, class: kind, "aria-label": tipOf(node) }, content) : svg("g", { class: kind }, content);
    element.dataset.id = node.id;
    return element;
  });
  const titles = columns.map((column, at) => svg("text", { class: "graph-title", x: 2 + at * (BOX_WIDTH_PX + COLUMN_GAP_PX), y: 14 }, column.title));
  const graph = svg("svg", { class: "graph", width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Lineage of ${model}: ${nodes.length} nodes` }, lines, boxes, titles);
  lightWays(graph, edges);
  return h("div", null,
    h("div", { class: "graph-scroll", tabindex: 0, role: "region", "aria-label": "Lineage" }, graph),
    versions > nodes.filter((node) => node.kind === "version").length ? h("p", { class: "muted" }, "The newest versions are drawn.") : null);
}

/** Pointing at a node, or the focus, shows everything that it comes from and leads to. */
function lightWays(graph, edges) {
  const reach = (id, from, to) => {
    const found = new Set([id]);
    for (let grown = true; grown; ) {
      grown = false;
      for (const edge of edges) {
        if (found.has(edge[from]) && !found.has(edge[to])) {
          found.add(edge[to]);
          grown = true;
        }
      }
    }
    return found;
  };
  const light = (id) => {
    graph.classList.toggle("lit", Boolean(id));
    const found = id ? new Set([...reach(id, 0, 1), ...reach(id, 1, 0)]) : new Set();
    graph.querySelectorAll(".graph-node").forEach((node) => node.classList.toggle("on-way", found.has(node.dataset.id)));
    graph.querySelectorAll(".edge").forEach((edge) => edge.classList.toggle("on-way", found.has(edge.dataset.from) && found.has(edge.dataset.to)));
  };
  for (const [event, out] of [["pointerover", false], ["focusin", false], ["pointerout", true], ["focusout", true]]) {
    graph.addEventListener(String(event), (told) => light(out ? "" : told.target.closest(".graph-node")?.dataset.id ?? ""));
  }
}

/** The graph of a model, which is read again at another moment; the old one stays until then. */
export function lineagePanel(model) {
  const element = h("div", null, loading());
  let shown = "";
  const read = async () => {
    const at = param("at");
    try {
      const found = await get("lineage", { name: model });
      const text = JSON.stringify([found.nodes, found.edges, at]);
      if (at === param("at") && text !== shown) {
        shown = text;
        fill(element, found.nodes.length ? graphOf(model, found) : empty("No versions"));
      }
    } catch (error) {
      if (!shown) {
        fill(element, failure(error, read));
      }
    }
  };
  read();
  return { element, read };
}
