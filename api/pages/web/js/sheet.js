/**
 * The sheet of keys.
 */

import { h } from "./dom.js";
import { dialog } from "./popover.js";

/** @type {[string, [string, string][]][]} */
const GROUPS = [
  ["Everywhere", [["?", "This sheet"], ["g r", "Runs"], ["g l", "Logged models"], ["g m", "Registry"], ["g /", "Go to a run, experiment or model by name or id"], ["m", "Time machine"], ["[ ]", "One change back or on (model), a hundredth of the time (elsewhere)"], ["d", "Dark or light"], ["Esc", "Close"]]],
  ["Runs", [["/", "Filter"], ["e", "Experiments"], ["c", "Columns"], ["b", "Groups"], ["← →", "Close and open a group"], ["t", "Table"], ["↑ ↓ j k", "Move in the table"], ["Space", "Select the run"], ["Enter", "Open the run"], ["a", "Select the first runs, or none"], ["0", "Whole range of the charts"]]],
  ["A chart that has the focus", [["← →", "Next point"], ["Shift ← →", "Move the range"], ["+ −", "Zoom"], ["0", "Whole range"], ["Home End", "First and last point"]]],
  ["A run or model", [["1 2 3 4", "Its tabs"]]],
];

export function keySheet() {
  dialog(
    "Keys",
    h("div", { class: "sheet" }, GROUPS.map(([title, keys]) => h("section", null, h("h3", null, title), h("dl", null, keys.map(([key, text]) => h("div", { class: "sheet-row" }, h("dt", null, key.split(" ").map((one) => h("kbd", null, one))), h("dd", null, text))))))),
    "wide-dialog",
  );
}
