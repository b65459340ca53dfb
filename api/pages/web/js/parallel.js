/**
 * Parallel coordinates: a line for each run over axes. A range drawn along an axis keeps the runs within it; ranges are in the
 * address, and can be typed.
 */

import { axisLabel, axisNames, axisScale, axisText, haloText, placeOf, varying, wideCanvas } from "./axes.js";
import { eachFrame, h } from "./dom.js";
import { count, number } from "./format.js";
import { empty } from "./parts.js";
import { go, href, param, route, setParams } from "./route.js";
import { valueAt } from "./scale.js";
import { colors } from "./theme.js";

const AXES_MAX = 8;
const PARALLEL_PX = 440;
const PAD = { left: 44, right: 96, top: 40, bottom: 20 };
const RANGE_PX = 4;
const NEAR_PX = 6;
const FIELD_BREAK = "\u001f";
/** Runs that a link selects in the table. */
const SELECT_MAX = 100;

/** From dark blue over green to yellow: the same in both themes, and to eyes that see few colours. */
function scaleColor(part) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const at = Math.max(0, Math.min(0.9999, part)) * (stops.length - 1);
  const [low, rest] = [Math.floor(at), at % 1];
  return `rgb(${stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * rest)).join(",")})`;
}

/** The axes that the address names; else some params, then metrics. */
function chosenAxes(all) {
  const named = param("axes").split(FIELD_BREAK).filter(Boolean);
  const of = (kind) => all.filter((axis) => axis.name.startsWith(kind));
  const [params, metrics] = [of("params."), of("metrics.")];
  const found = named.map((name) => all.find((axis) => axis.name === name)).filter(Boolean);
  return found.length > 1 ? found : [...params.slice(0, AXES_MAX - 2), ...metrics.slice(0, Math.max(2, AXES_MAX - params.length))].slice(0, AXES_MAX);
}

/** Ranges of the address by axis. */
function chosenRanges(axes) {
  const ranges = new Map();
  for (const text of route().query.getAll("brush")) {
    const [name, low, high] = text.split(FIELD_BREAK);
    const axis = axes.find((one) => one.name === name);
    if (axis && Number.isFinite(Number(low)) && Number.isFinite(Number(high))) {
      ranges.set(axis, [Number(low), Number(high)]);
    }
  }
  return ranges;
}

/** Lines over axes. */
export function parallelView(runs, columns) {
  const all = varying(runs, columns);
  if (all.length < 2) {
    return empty("Fewer than two fields differ", "Parallel coordinates need two.");
  }
  const axes = chosenAxes(all);
  const colored = axes[axes.length - 1];
  const ranges = chosenRanges(axes);
  const scales = axes.map((axis) => axisScale(axis, PARALLEL_PX - PAD.bottom, PAD.top));
  const colorScale = axisScale(colored, 0, 1);
  const lineColors = colored.values.map((value) => (Number.isFinite(value) ? scaleColor(placeOf(colorScale, value)) : ""));
  const places = axes.map((axis, at) => Float64Array.from(axis.values, (value) => placeOf(scales[at], value)));
  const box = h("div", { class: "explore" });
  const note = h("span", { class: "muted", role: "status" });
  const select = h("a", { class: "tool" });
  const clear = h("button", { type: "button", class: "tool", on: { click: () => { ranges.clear(); kept(); } } }, "All runs");
  let wide = 0;
  let near = -1;
  const xOf = (at) => PAD.left + (at / (axes.length - 1)) * (wide - PAD.left - PAD.right);
  const isWithin = (run) => [...ranges].every(([axis, [low, high]]) => axis.values[run] >= low && axis.values[run] <= high);

  function trail(pen, run) {
    let isDown = false;
    for (let at = 0; at < axes.length; at += 1) {
      const y = places[at][run];
      if (Number.isNaN(y)) {
        isDown = false;
      } else if (isDown) {
        pen.lineTo(xOf(at), y);
      } else {
        pen.moveTo(xOf(at), y);
        isDown = true;
      }
    }
  }

  /** Lines of all runs, which a range does not change: drawn once for a width and a theme. */
  let faint = null;
  let faintOf = "";
  function faintLines(theme) {
    const ratio = devicePixelRatio || 1;
    const name = `${wide} ${theme.muted} ${ratio}`;
    if (faintOf !== name) {
      faintOf = name;
      faint = document.createElement("canvas");
      [faint.width, faint.height] = [Math.round(wide * ratio), Math.round(PARALLEL_PX * ratio)];
      const pen = faint.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.globalAlpha = Math.max(0.03, Math.min(0.2, 20 / runs.length));
      pen.strokeStyle = theme.muted;
      pen.lineWidth = 1;
      for (let run = 0; run < runs.length; run += 1) {
        pen.beginPath();
        trail(pen, run);
        pen.stroke();
      }
    }
    return faint;
  }

  const { canvas, redraw } = wideCanvas(box, PARALLEL_PX, (pen, width) => {
    wide = width;
    const theme = colors();
    pen.clearRect(0, 0, width, PARALLEL_PX);
    if (ranges.size) {
      pen.drawImage(faintLines(theme), 0, 0, width, PARALLEL_PX);
    }
    const inside = [];
    for (let run = 0; run < runs.length; run += 1) {
      if (isWithin(run)) {
        inside.push(run);
      }
    }
    // Lines of one pixel are drawn many times as fast as wider ones.
    pen.lineWidth = inside.length > 100 ? 1 : 1.5;
    pen.globalAlpha = Math.max(0.1, Math.min(0.9, 120 / inside.length));
    for (const run of inside) {
      pen.strokeStyle = lineColors[run] || theme.muted;
      pen.beginPath();
      trail(pen, run);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    if (near >= 0) {
      pen.strokeStyle = theme.text;
      pen.lineWidth = 2.5;
      pen.beginPath();
      trail(pen, near);
      pen.stroke();
    }
    axes.forEach((axis, at) => drawAxis(pen, theme, axis, at, width));
    say(inside);
  });

  function drawAxis(pen, theme, axis, at, width) {
    const x = Math.round(xOf(at)) + 0.5;
    pen.strokeStyle = theme.muted;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, PAD.top);
    pen.lineTo(x, PARALLEL_PX - PAD.bottom);
    pen.stroke();
    const range = ranges.get(axis);
    if (range) {
      const inPlot = (y) => Math.max(PAD.top, Math.min(PARALLEL_PX - PAD.bottom, Number.isNaN(y) ? PARALLEL_PX : y));
      const [top, bottom] = [inPlot(placeOf(scales[at], range[1])), inPlot(placeOf(scales[at], range[0]))];
      pen.globalAlpha = 0.35;
      pen.fillStyle = theme.accent;
      pen.fillRect(x - 7, top, 14, Math.max(2, bottom - top));
      pen.globalAlpha = 1;
    }
    const isLast = at === axes.length - 1;
    pen.font = "600 11px system-ui, sans-serif";
    pen.fillStyle = theme.text;
    pen.textAlign = isLast ? "right" : at ? "center" : "left";
    const name = axisLabel(axis.name) + (axis.log ? " (log)" : "");
    haloText(pen, name.length > 24 ? `${name.slice(0, 23)}…` : name, isLast ? width - 6 : at ? x : 6, 16 + (at % 2) * 13, theme);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = theme.muted;
    pen.textAlign = "left";
    for (const [value, text] of axisNames(axis, scales[at], 6)) {
      haloText(pen, text, x + 5, placeOf(scales[at], value) + 4, theme);
    }
  }

  function say(inside) {
    if (near >= 0) {
      note.textContent = `${runs[near].name}: ${axes.map((axis) => `${axisLabel(axis.name)} ${axisText(axis, near)}`).join(", ")}`;
    } else {
      note.textContent = ranges.size ? `${count(inside.length)} of ${count(runs.length)} runs` : `${count(runs.length)} runs; drag along an axis to keep a range`;
    }
    clear.hidden = select.hidden = !ranges.size;
    const some = inside.slice(0, SELECT_MAX);
    select.textContent = inside.length > SELECT_MAX ? `Select the first ${SELECT_MAX} in the table` : `Select ${inside.length === 1 ? "it" : `these ${inside.length}`} in the table`;
    select.href = href(["runs"], { e: route().query.getAll("e"), q: param("q"), sel: some.map((run) => runs[run].id).join(",") });
    canvas.setAttribute("aria-label", `Parallel coordinates of ${runs.length} runs over ${axes.map((axis) => axisLabel(axis.name)).join(", ")}; ${inside.length} within the ranges`);
  }

  /** Ranges go to the address once they stand. */
  function kept() {
    setParams({ brush: [...ranges].map(([axis, [low, high]]) => [axis.name, low, high].join(FIELD_BREAK)) }, true);
  }

  /** The run whose line is nearest to a place. */
  function nearest(x, y) {
    const part = ((x - PAD.left) / (wide - PAD.left - PAD.right)) * (axes.length - 1);
    const at = Math.max(0, Math.min(axes.length - 2, Math.floor(part)));
    const rest = part - at;
    let [best, least] = [-1, NEAR_PX];
    for (let run = 0; run < runs.length; run += 1) {
      const distance = Math.abs(places[at][run] + (places[at + 1][run] - places[at][run]) * rest - y);
      if (distance < least && isWithin(run)) {
        [best, least] = [run, distance];
      }
    }
    return best;
  }

  const later = eachFrame(redraw);
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    const rect = canvas.getBoundingClientRect();
    const x = event.clientX - rect.left;
    const at = axes.reduce((best, _, i) => (Math.abs(xOf(i) - x) < Math.abs(xOf(best) - x) ? i : best), 0);
    drag = { at, from: event.clientY - rect.top, isRange: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const rect = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - rect.left, event.clientY - rect.top];
    if (drag) {
      if (Math.abs(y - drag.from) > RANGE_PX) {
        drag.isRange = true;
        near = -1;
        const ends = [drag.from, y].map((place) => valueAt(scales[drag.at], Math.max(PAD.top, Math.min(PARALLEL_PX - PAD.bottom, place))));
        ranges.set(axes[drag.at], ends.sort((a, b) => a - b));
        later();
      }
      return;
    }
    const found = nearest(x, y);
    canvas.style.cursor = found >= 0 ? "pointer" : "";
    if (found !== near) {
      near = found;
      later();
    }
  });
  canvas.addEventListener("pointerleave", () => {
    near = -1;
    later();
  });
  canvas.addEventListener("pointerup", () => {
    if (!drag) {
      return;
    }
    const { at, isRange } = drag;
    drag = null;
    if (isRange) {
      kept();
    } else if (near >= 0) {
      go(["run", runs[near].id]);
    } else if (ranges.delete(axes[at])) {
      kept();
    }
  });

  return h(
    "div",
    { class: "stack" },
    h("div", { class: "row wrap" }, note, h("span", { class: "grow" }), select, clear, h("span", { class: "muted" }, `Colour: ${axisLabel(colored.name)}`)),
    box,
    axesBox(all, axes, ranges, kept),
  );
}

/** Which axes there are, in their order, and their ranges: all of it by keyboard too. */
function axesBox(all, axes, ranges, kept) {
  const names = axes.map((axis) => axis.name);
  const set = (list) => setParams({ axes: list.join(FIELD_BREAK) }, true);
  const end = (axis, which) => {
    const range = ranges.get(axis);
    return h("input", { type: "text", class: "range-end", inputmode: "decimal", "aria-label": `${which ? "To" : "From"}, ${axisLabel(axis.name)}`, placeholder: number(which ? axis.greatest : axis.least), value: range ? String(Number(range[which].toPrecision(6))) : "", on: {
      change: (event) => {
        const now = ranges.get(axis) || [axis.least, axis.greatest];
        const value = event.target.value.trim() === "" ? [axis.least, axis.greatest][which] : Number(event.target.value.replace("−", "-"));
        if (Number.isFinite(value)) {
          now[which] = value;
          ranges.set(axis, now[0] <= now[1] ? now : [now[1], now[0]]);
          kept();
        }
      },
    } });
  };
  const move = (name, by) => {
    const list = [...names];
    const at = list.indexOf(name);
    list.splice(at, 1);
    list.splice(at + by, 0, name);
    set(list);
  };
  const line = (axis, at) => h("tr", null,
    h("th", { scope: "row" }, h("label", { class: "row" }, h("input", { type: "checkbox", checked: true, disabled: names.length < 3, on: { change: () => set(names.filter((name) => name !== axis.name)) } }), h("bdi", null, axisLabel(axis.name)))),
    h("td", null, axis.texts ? h("span", { class: "muted" }, `${axis.texts.length} texts`) : h("span", { class: "row" }, end(axis, 0), "–", end(axis, 1))),
    h("td", null, h("button", { type: "button", class: "chip", disabled: at === 0, "aria-label": `Move ${axisLabel(axis.name)} to the left`, on: { click: () => move(axis.name, -1) } }, "←"), " ", h("button", { type: "button", class: "chip", disabled: at === axes.length - 1, "aria-label": `Move ${axisLabel(axis.name)} to the right`, on: { click: () => move(axis.name, 1) } }, "→")));
  const others = all.filter((axis) => !names.includes(axis.name));
  const more = others.length ? h("select", { "aria-label": "Add an axis", on: { change: (event) => event.target.value && set([...names, event.target.value]) } }, h("option", { value: "" }, "Add an axis…"), others.slice(0, 500).map((axis) => h("option", { value: axis.name }, axisLabel(axis.name)))) : null;
  return h("details", { open: Boolean(param("axes")) || ranges.size > 0 }, h("summary", null, "Axes and ranges"), h("div", { class: "stack" }, h("table", { class: "plain-table", "aria-label": "Axes" }, h("tbody", null, axes.map(line))), h("div", null, more)));
}
