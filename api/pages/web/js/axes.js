/**
 * Fields of many runs as axes: numbers, logarithmic where they go over decades, and texts by their place in their order.
 */

import { h } from "./dom.js";
import { number } from "./format.js";
import { makeScale, pixel, tickText, ticks } from "./scale.js";

/** Values over two decades, half of them in the lowest part of their range, are on a logarithmic axis. */
const LOG_FROM = 100;
const CROWDED = 0.15;
const TEXTS_NAMED = 20;
const TEXT_NAMED_MAX = 14;

/**
 * @typedef {object} Axis
 * @property {string} name
 * @property {number[]} values of each run; NaN: none
 * @property {string[] | null} texts in their order, if the values are places of them
 * @property {number} least
 * @property {number} greatest
 * @property {boolean} log
 * @property {boolean} varies
 */

/** A column as numbers: texts that are numbers are; other texts have their place in the order of texts. @returns {Axis} */
function axisOf(name, runs) {
  const raw = runs.map((run) => run.cells[name]);
  const parsed = raw.map((value) => (value === null || value === undefined ? NaN : typeof value === "number" ? value : value.trim() === "" ? NaN : Number(value)));
  const isNumeric = raw.every((value, at) => value === null || !Number.isNaN(parsed[at]) || typeof value === "number");
  let values = parsed;
  let texts = null;
  if (!isNumeric) {
    texts = [...new Set(raw.filter((value) => value !== null))].sort();
    const place = new Map(texts.map((text, at) => [text, at]));
    values = raw.map((value) => (value === null ? NaN : place.get(value)));
  }
  let [least, greatest, finite] = [Infinity, -Infinity, 0];
  for (const value of values) {
    if (Number.isFinite(value)) {
      least = Math.min(least, value);
      greatest = Math.max(greatest, value);
      finite += 1;
    }
  }
  const log = !texts && least > 0 && greatest / least >= LOG_FROM && middle(values) - least < (greatest - least) * CROWDED;
  return { name, values, texts, least, greatest, log, varies: finite > 1 && greatest > least };
}

function middle(values) {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort();
  return sorted[sorted.length >> 1];
}

/** The fields whose values differ. @returns {Axis[]} */
export function varying(runs, columns) {
  return columns.map((name) => axisOf(name, runs)).filter((axis) => axis.varies);
}

/** A field as people call it. */
export function axisLabel(name) {
  return name.replace(/^(metrics|params)\./, "");
}

/** The scale of an axis between two pixels, with a little room if `pad`. @param {Axis} axis */
export function axisScale(axis, from, to, pad = 0) {
  if (axis.log) {
    const part = (axis.greatest / axis.least) ** pad;
    return makeScale(axis.least / part, axis.greatest * part, true, from, to);
  }
  const room = (axis.greatest - axis.least) * pad;
  return makeScale(axis.least - room, axis.greatest + room, false, from, to);
}

/** Values that an axis names, with their texts. @param {Axis} axis @returns {[number, string][]} */
export function axisNames(axis, scale, most) {
  if (!axis.texts) {
    return ticks(scale, most).map((value) => [value, tickText(value)]);
  }
  const every = Math.max(1, Math.ceil(axis.texts.length / Math.min(most * 2, TEXTS_NAMED)));
  return axis.texts.map((text, at) => /** @type {[number, string]} */ ([at, text.length > TEXT_NAMED_MAX ? `${text.slice(0, TEXT_NAMED_MAX - 1)}…` : text])).filter(([at]) => at % every === 0);
}

/** The value of a run on an axis, as text. @param {Axis} axis */
export function axisText(axis, run) {
  return axis.texts ? axis.texts[axis.values[run]] ?? "" : number(axis.values[run]);
}

/** A canvas as wide as its box, drawn anew with each width. */
export function wideCanvas(box, height, draw) {
  const canvas = h("canvas", { class: "explore-canvas", role: "img", tabindex: 0 });
  box.append(canvas);
  const redraw = () => {
    const width = box.clientWidth;
    if (width > 0) {
      const ratio = devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      draw(pen, width);
    }
  };
  new ResizeObserver(redraw).observe(box);
  return { canvas, redraw };
}

/** A text over lines: a rim of the surface's colour keeps it readable. */
export function haloText(pen, text, x, y, theme) {
  pen.lineJoin = "round";
  pen.lineWidth = 3;
  pen.strokeStyle = theme.surface;
  pen.strokeText(text, x, y);
  pen.fillText(text, x, y);
}

/** Where a pixel of a scale is, as `pixel`, with NaN for values that are not finite. */
export function placeOf(scale, value) {
  return Number.isFinite(value) ? pixel(scale, value) : NaN;
}

/** A box in which a field is chosen. */
export function fieldChooser(title, names, value, done) {
  return h("label", { class: "row" }, h("span", { class: "muted" }, title), h("select", { "aria-label": title, on: { change: (event) => done(event.target.value) } }, names.map((name) => h("option", { value: name, selected: name === value }, axisLabel(name)))));
}
