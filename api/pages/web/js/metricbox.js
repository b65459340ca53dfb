/**
 * The box in which a metric is chosen.
 */

import { fill, h } from "./dom.js";
import { closePopover, popover } from "./popover.js";

const METRICS_SHOWN = 200;

/** @param {string[]} keys */
export function metricBox(anchor, keys, choose) {
  const choices = h("div", { class: "choices" });
  const search = h("input", { type: "search", class: "wide", placeholder: "Search metrics", "aria-label": "Search metrics", on: { input: show } });
  function show() {
    const low = search.value.toLowerCase();
    const found = keys.filter((key) => !low || key.toLowerCase().includes(low));
    fill(
      choices,
      found.slice(0, METRICS_SHOWN).map((key) => h("button", { type: "button", class: "menu-item", on: { click: () => { closePopover(); choose(key); } } }, h("bdi", { class: "ellipsis" }, key))),
      found.length ? null : h("p", { class: "muted" }, "No such metric"),
      found.length > METRICS_SHOWN ? h("p", { class: "muted" }, `${found.length - METRICS_SHOWN} more; search for them`) : null,
    );
  }
  show();
  popover(anchor, h("div", { class: "stack" }, search, choices), "Metrics");
}
