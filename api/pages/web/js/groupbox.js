/**
 * The box in which the grouping of runs is chosen: nested below parents, or by up to three fields.
 */

import { fill, h, icon } from "./dom.js";
import { closePopover, popover } from "./popover.js";

export const NESTED = "nested";
const FIELDS_MAX = 3;
const GROUP_FIELDS_SHOWN = 200;
const FIELDS = [["status", "Status"], ["user_id", "User"], ["experiment_id", "Experiment"]];

/** The title of what runs are grouped by. */
export function groupLabel(column) {
  return FIELDS.find(([id]) => id === column)?.[1] || column.replace(/^(params|tags)\./, "");
}

/**
 * @param {any} anchor
 * @param {any} keys
 * @param {string[]} chosen
 * @param {(by: string[]) => void} apply
 */
export function groupBox(anchor, keys, chosen, apply) {
  let now = chosen.filter((name) => name !== NESTED);
  const list = h("div", { class: "choices", role: "group", "aria-label": "Group by" });
  const search = h("input", { type: "search", class: "wide", placeholder: "Search params and tags", "aria-label": "Search fields to group by", on: { input: show } });
  const all = [
    ...FIELDS,
    ...keys.params.map(([key]) => [`params.${key}`, key, "param"]),
    ...keys.tags.filter(([key]) => !key.startsWith("mlflow.") || ["mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"].includes(key)).map(([key]) => [`tags.${key}`, key, "tag"]),
  ];
  const whole = (title, by) => h("button", { type: "button", class: "menu-item", "aria-pressed": String(JSON.stringify(by) === JSON.stringify(chosen)), on: { click: () => { closePopover(); apply(by); } } }, h("span", { class: "grow" }, title), JSON.stringify(by) === JSON.stringify(chosen) ? icon("check") : null);
  function show() {
    const low = search.value.toLowerCase();
    const found = all.filter(([id, label]) => !low || id.toLowerCase().includes(low) || label.toLowerCase().includes(low));
    fill(list, found.slice(0, GROUP_FIELDS_SHOWN).map(([id, label, kind]) => {
      const place = now.indexOf(id);
      const box = h("input", { type: "checkbox", on: { change: () => {
        now = box.checked ? [...now, id] : now.filter((one) => one !== id);
        apply(now);
        show();
      } } });
      box.checked = place >= 0;
      box.disabled = place < 0 && now.length >= FIELDS_MAX;
      return h("label", { class: "choice" }, box, h("span", { class: "grow ellipsis", title: id }, h("bdi", null, label)), h("span", { class: "muted" }, place >= 0 ? `level ${place + 1}` : kind || ""));
    }), found.length ? null : h("p", { class: "muted" }, "No such field"));
  }
  show();
  popover(anchor, h("div", { class: "stack group-box" }, whole("No groups", []), whole("Nested below parent runs", [NESTED]), search, list), "Group runs");
}
