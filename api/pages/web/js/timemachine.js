/**
 * The time machine: one control, on every page, that sets the moment that all pages show. The moment is in the address,
 * as a time or as a position of the log.
 */

import { fill, h, icon, iconButton, later } from "./dom.js";
import { msOfMoment, time, wholeTime } from "./format.js";
import { param, setParams } from "./route.js";
import { known } from "./shared.js";

const STEPS = 1000;

/** The text of a date for its input, in the reader's zone. */
function localText(ms) {
  const date = new Date(ms);
  return new Date(ms - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

export function timeMachine() {
  const button = h("button", { type: "button", class: "tool time-button", "aria-expanded": "false", "aria-controls": "time-bar", title: "Time machine (m)", on: { click: () => toggle() } });
  const slider = h("input", { type: "range", min: 0, max: STEPS, step: 1, class: "grow", "aria-label": "Moment", on: { input: () => drag(), change: () => drag() } });
  // Its fields for date and time take long to make: they are made when the bar is opened.
  const input = h("input", { type: "text", step: 1, "aria-label": "Date and time", on: { change: () => input.value && set(new Date(input.value).getTime()) } });
  const text = h("span", { class: "time-text", role: "status" });
  const back = h("button", { type: "button", class: "primary", on: { click: () => now() } }, "Back to now");
  const bar = h("div", { class: "time-bar", id: "time-bar", role: "region", "aria-label": "Time machine" }, h("span", { class: "muted" }, icon("clock")), slider, input, text, back, iconButton("close", "Close the time machine", () => { now(); toggle(false); }));
  bar.hidden = true;

  function range() {
    const last = Date.now();
    const first = known.about?.first_ms ?? last - 86400000;
    return [Math.min(first, last - 1000), last];
  }

  function toggle(on = bar.hidden) {
    bar.hidden = !on;
    button.setAttribute("aria-expanded", String(on));
    if (on) {
      draw();
      slider.focus();
    }
  }

  function now() {
    setParams({ at: null });
  }

  function set(ms) {
    const [first, last] = range();
    if (ms >= last - 500) {
      now();
    } else {
      setParams({ at: new Date(Math.max(first, ms)).toISOString() }, Boolean(param("at")));
    }
  }

  const apply = later(120, () => {
    const [first, last] = range();
    set(first + (Number(slider.value) / STEPS) * (last - first));
  });

  function drag() {
    const [first, last] = range();
    const ms = first + (Number(slider.value) / STEPS) * (last - first);
    text.textContent = Number(slider.value) === STEPS ? "Now" : wholeTime(ms);
    apply();
  }

  function draw() {
    const at = param("at");
    const ms = msOfMoment(at);
    document.body.classList.toggle("past", Boolean(at));
    fill(button, icon("clock"), h("span", { class: "button-text" }, at ? (Number.isNaN(ms) ? `Position ${at}` : time(ms)) : "Now"));
    button.classList.toggle("on", Boolean(at));
    if (at) {
      bar.hidden = false;
      button.setAttribute("aria-expanded", "true");
    }
    if (bar.hidden) {
      return;
    }
    input.type = "datetime-local";
    const [first, last] = range();
    if (document.activeElement !== slider) {
      slider.value = String(at ? (Number.isNaN(ms) ? STEPS : ((ms - first) / (last - first)) * STEPS) : STEPS);
    }
    if (document.activeElement !== input) {
      input.min = localText(first);
      input.value = localText(at && !Number.isNaN(ms) ? ms : last);
    }
    // The model's own slider goes over positions; a position has no place on this one.
    slider.hidden = input.hidden = Boolean(at) && Number.isNaN(ms);
    text.textContent = at ? (Number.isNaN(ms) ? `As it was at position ${at}` : `As it was on ${wholeTime(ms)}`) : "Now: drag to go back";
    slider.setAttribute("aria-valuetext", text.textContent);
    back.hidden = !at;
  }

  return { button, bar, draw, toggle, step(by) {
    const [first, last] = range();
    const at = param("at");
    const from = at && !Number.isNaN(msOfMoment(at)) ? msOfMoment(at) : last;
    set(from + by * ((last - first) / 100));
  } };
}
