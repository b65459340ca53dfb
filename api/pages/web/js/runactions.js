/**
 * What can be done with selected runs: rename, tag, delete, restore.
 */

import { mlflow } from "./api.js";
import { count } from "./format.js";
import { askText, confirmed, menu, notice } from "./popover.js";

/** The key and value of `key = value`; null, and a notice, if it is none. */
export function pairOf(text) {
  const [key, value] = text.split(/=(.*)/s).map((part) => part.trim());
  if (!key || value === undefined) {
    notice("Write a key, =, and a value.", "bad");
    return null;
  }
  return { key, value };
}

/**
 * @param {any} anchor
 * @param {string[]} ids
 * @param {(id: string) => any} rowOf
 * @param {() => void} changed called after changes
 */
export function runActions(anchor, ids, rowOf, changed) {
  const words = `${count(ids.length)} ${ids.length === 1 ? "run" : "runs"}`;
  const each = async (path, body, done) => {
    let made = 0;
    try {
      for (const id of ids) {
        await mlflow("POST", path, body(id));
        made += 1;
      }
      notice(`${done} ${words}`);
    } catch (error) {
      notice(made ? `${done} ${count(made)} of ${words}; then: ${error.message}` : error.message, "bad");
    }
    changed();
  };
  const one = ids.length === 1 ? rowOf(ids[0]) : null;
  const restores = ids.every((id) => rowOf(id)?.deleted);
  menu(anchor, "Actions", [
    one && { label: "Rename…", run: () => askText("Rename run", "Name", one.name, (name) => name.trim() && each("runs/update", (id) => ({ run_id: id, run_name: name.trim() }), "Renamed")) },
    { label: "Set a tag…", run: () => askText("Set a tag", "key = value", "", (text) => {
      const pair = pairOf(text);
      if (pair) {
        each("runs/set-tag", (id) => ({ run_id: id, ...pair }), "Tagged");
      }
    }) },
    { label: "Remove a tag…", run: () => askText("Remove a tag", "Key", "", (key) => key.trim() && each("runs/delete-tag", (id) => ({ run_id: id, key: key.trim() }), "Removed the tag of"), "Remove") },
    restores
      ? { label: "Restore", run: () => each("runs/restore", (id) => ({ run_id: id }), "Restored") }
      : { label: "Delete…", run: () => confirmed("Delete runs", `Delete ${words}? They can be restored.`, "Delete", () => each("runs/delete", (id) => ({ run_id: id }), "Deleted")) },
  ]);
}
