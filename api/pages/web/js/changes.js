/**
 * The history of an entity: who changed what, when, from what to what. A click on a change shows that moment.
 */

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { clock, count, day, wholeTime } from "./format.js";
import { empty, failure, loading } from "./parts.js";
import { param, setParams } from "./route.js";

const CHANGES_SHOWN = 200;

/** Changes of an entity, oldest first, up to the moment in the address. */
export async function readChanges(entity, upToNow = false) {
  const answer = await get("history", { ...entity, as_of: "" });
  const at = param("at");
  if (!at || upToNow) {
    return answer.changes;
  }
  const position = /^\d+$/.test(at) ? Number(at) : Infinity;
  const ms = /^\d+$/.test(at) ? Infinity : Date.parse(at);
  return answer.changes.filter((change) => change.position <= position && change.time_ms <= ms);
}

/** Times are kept as milliseconds; people read dates. */
function value(text, field) {
  if (/_ms$|^(start|end)_time$/.test(field) && /^\d{11,14}$/.test(text ?? "")) {
    return h("span", { class: "change-value", title: text }, wholeTime(Number(text)));
  }
  return text === null ? h("span", { class: "muted" }, "nothing") : h("bdi", { class: "change-value" }, text.length > 200 ? `${text.slice(0, 200)}…` : text);
}

/** @param {any} field */
function fieldLine(field) {
  return h("li", null, h("span", { class: "change-field" }, h("bdi", null, (field.version ? `v${field.version} ` : "") + field.field)), " ", field.from === null ? null : [value(field.from, field.field), h("span", { class: "muted" }, " → ")], value(field.to, field.field));
}

/** A list of changes, newest first. */
export function changesView(changes) {
  let shown = CHANGES_SHOWN;
  const body = h("ol", { class: "changes" });
  const more = h("button", { type: "button", class: "link", on: { click: () => { shown += 1000; draw(); } } });
  const newest = [...changes].reverse();
  function draw() {
    const parts = [];
    let date = "";
    for (const change of newest.slice(0, shown)) {
      const own = day(change.time_ms);
      if (own !== date) {
        date = own;
        parts.push(h("li", { class: "changes-day" }, own));
      }
      const here = param("at") === String(change.position);
      parts.push(
        h(
          "li",
          { class: `change${here ? " here" : ""}` },
          h(
            "div",
            { class: "change-head" },
            h("span", { class: "change-event" }, words(change.event)),
            change.actor ? h("span", { class: "muted" }, "by ", h("bdi", null, change.actor)) : null,
            h("span", { class: "grow" }),
            h("button", { type: "button", class: "link", title: `${wholeTime(change.time_ms)}; show the page as it was after this change`, on: { click: () => setParams({ at: change.position }) } }, clock(change.time_ms)),
          ),
          h("ul", { class: "change-fields" }, change.fields.length ? change.fields.map(fieldLine) : change.changes.map((line) => h("li", null, h("bdi", null, line)))),
        ),
      );
    }
    fill(body, parts);
    more.hidden = newest.length <= shown;
    more.textContent = `${count(newest.length - shown)} earlier changes`;
  }
  draw();
  return changes.length ? h("div", null, body, more) : empty("No changes");
}

/** `RunTagsSet` as words. */
function words(event) {
  const text = event.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

/** The history of an entity as a part of a page; `read` reads it again and shows the old one until then. */
export function changesPanel(entity) {
  const element = h("div", { class: "panel-body" }, loading());
  let shown = "";
  const read = async () => {
    try {
      const changes = await readChanges(entity);
      const text = `${param("at")} ${changes.length ? changes[changes.length - 1].position : ""} ${changes.length}`;
      if (text !== shown) {
        shown = text;
        fill(element, changesView(changes));
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
