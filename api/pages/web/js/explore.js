/**
 * Many runs at once, on canvases: parallel coordinates, scatter, and correlation of params and metrics with a metric.
 */

import { fill, h } from "./dom.js";
import { number } from "./format.js";
import { empty } from "./parts.js";
import { go, param, setParams } from "./route.js";
import { colors, curveColor } from "./theme.js";
import { tickText, ticks, makeScale, pixel } from "./scale.js";

const AXES_MAX = 8;
const HEIGHT_PX = 440;

/** A column as numbers: texts that are numbers are; other texts have their place in the order of texts. */
function axisOf(name, runs) {
  const raw = runs.map((run) => run.cells[name]);
  const parsed = raw.map((value) => (value === null || value === undefined ? NaN : typeof value === "number" ? value : value.trim() === "" ? NaN : Number(value)));
  const numeric = raw.every((value, at) => value === null || !Number.isNaN(parsed[at]) || typeof value === "number");
  let values = parsed;
  let texts = null;
  if (!numeric) {
    texts = [...new Set(raw.filter((value) => value !== null))].sort();
    const place = new Map(texts.map((text, at) => [text, at]));
    values = raw.map((value) => (value === null ? NaN : place.get(value)));
  }
  const finite = values.filter(Number.isFinite);
  let [least, greatest] = [Infinity, -Infinity];
  for (const value of finite) {
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
  }
  return { name, values, texts, least, greatest, varies: finite.length > 1 && greatest > least };
}

function label(name) {
  return name.replace(/^(metrics|params)\./, "");
}

/** From dark blue over green to yellow: the same in both themes, and to eyes that see few colours. */
function scaleColor(part) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const at = Math.max(0, Math.min(0.9999, part)) * (stops.length - 1);
  const [low, rest] = [Math.floor(at), at % 1];
  return `rgb(${stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * rest)).join(",")})`;
}

function canvasOf(element, draw) {
  const canvas = h("canvas", { class: "explore-canvas", role: "img" });
  element.append(canvas);
  const redraw = () => {
    const width = element.clientWidth;
    if (width > 0) {
      const ratio = devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(HEIGHT_PX * ratio);
      canvas.style.height = `${HEIGHT_PX}px`;
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      draw(pen, width);
    }
  };
  new ResizeObserver(redraw).observe(element);
  return { canvas, redraw };
}

function chooser(title, names, value, done) {
  return h("label", { class: "row" }, h("span", { class: "muted" }, title), h("select", { "aria-label": title, on: { change: (event) => done(event.target.value) } }, names.map((name) => h("option", { value: name, selected: name === value }, label(name)))));
}

function varying(runs, columns) {
  return columns.map((name) => axisOf(name, runs)).filter((axis) => axis.varies);
}

/** Lines over axes; a range drawn on an axis keeps the runs within it. */
export function parallelView(runs, columns) {
  const all = varying(runs, columns);
  if (all.length < 2) {
    return empty("Fewer than two fields differ", "Parallel coordinates need two.");
  }
  const metrics = all.filter((axis) => axis.name.startsWith("metrics."));
  const params = all.filter((axis) => axis.name.startsWith("params."));
  const chosen = param("axes") ? param("axes").split("\u001f") : [...params.slice(0, AXES_MAX - 2), ...metrics.slice(0, Math.max(2, AXES_MAX - params.length))].slice(0, AXES_MAX).map((axis) => axis.name);
  const axes = chosen.map((name) => all.find((axis) => axis.name === name)).filter(Boolean);
  const colored = axes[axes.length - 1] || all[0];
  const ranges = new Map();
  const box = h("div", { class: "explore" });
  const note = h("span", { class: "muted", role: "status" });
  const margin = { left: 40, right: 90, top: 34, bottom: 24 };
  let width_ = 0;
  const xOf = (at) => margin.left + (at / Math.max(1, axes.length - 1)) * (width_ - margin.left - margin.right);
  const yOf = (axis, value) => HEIGHT_PX - margin.bottom - ((value - axis.least) / (axis.greatest - axis.least)) * (HEIGHT_PX - margin.top - margin.bottom);
  const within = (at) => [...ranges].every(([axis, [low, high]]) => axis.values[at] >= low && axis.values[at] <= high);
  const { canvas, redraw } = canvasOf(box, (pen, width) => {
    width_ = width;
    const theme = colors();
    pen.clearRect(0, 0, width, HEIGHT_PX);
    pen.lineWidth = runs.length > 500 ? 0.7 : 1.3;
    let kept = 0;
    for (const inside of [false, true]) {
      for (let run = 0; run < runs.length; run += 1) {
        if (within(run) !== inside) {
          continue;
        }
        kept += inside ? 1 : 0;
        pen.globalAlpha = inside ? Math.max(0.12, Math.min(0.9, 60 / runs.length)) : 0.06;
        const part = (colored.values[run] - colored.least) / (colored.greatest - colored.least);
        pen.strokeStyle = inside && Number.isFinite(part) ? scaleColor(part) : theme.muted;
        pen.beginPath();
        let down = false;
        axes.forEach((axis, at) => {
          const value = axis.values[run];
          if (Number.isFinite(value)) {
            pen[down ? "lineTo" : "moveTo"](xOf(at), yOf(axis, value));
            down = true;
          } else {
            down = false;
          }
        });
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    pen.font = "11px system-ui, sans-serif";
    axes.forEach((axis, at) => {
      const x = Math.round(xOf(at)) + 0.5;
      pen.strokeStyle = theme.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, margin.top);
      pen.lineTo(x, HEIGHT_PX - margin.bottom);
      pen.stroke();
      pen.fillStyle = theme.text;
      pen.textAlign = at === axes.length - 1 ? "right" : at ? "center" : "left";
      const name = label(axis.name);
      pen.fillText(name.length > 20 ? `${name.slice(0, 19)}…` : name, at === axes.length - 1 ? width - 4 : at ? x : 4, 16 + (at % 2) * 12);
      pen.fillStyle = theme.muted;
      pen.textAlign = "left";
      const list = axis.texts ? axis.texts.slice(0, 12).map((text, place) => [place, text]) : ticks(makeScale(axis.least, axis.greatest, false, 0, 1), 5).map((value) => [value, tickText(value)]);
      for (const [value, text] of list) {
        pen.fillText(String(text).slice(0, 14), x + 4, yOf(axis, Number(value)) + 4);
      }
      const range = ranges.get(axis);
      if (range) {
        pen.globalAlpha = 0.3;
        pen.fillStyle = theme.accent;
        pen.fillRect(x - 7, yOf(axis, range[1]), 14, yOf(axis, range[0]) - yOf(axis, range[1]));
        pen.globalAlpha = 1;
      }
    });
    note.textContent = ranges.size ? `${kept} of ${runs.length} runs` : `${runs.length} runs; drag along an axis to keep a range, click it to let go`;
    canvas.setAttribute("aria-label", `Parallel coordinates of ${runs.length} runs over ${axes.map((axis) => label(axis.name)).join(", ")}`);
  });
  canvas.addEventListener("pointerdown", (event) => {
    const rect = canvas.getBoundingClientRect();
    const at = axes.map((_, i) => Math.abs(xOf(i) - (event.clientX - rect.left))).reduce((best, distance, i, list) => (distance < list[best] ? i : best), 0);
    const axis = axes[at];
    const value = (y) => axis.least + ((HEIGHT_PX - margin.bottom - y) / (HEIGHT_PX - margin.top - margin.bottom)) * (axis.greatest - axis.least);
    const from = event.clientY - rect.top;
    canvas.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const to = moved.clientY - rect.top;
      if (Math.abs(to - from) > 3) {
        ranges.set(axis, [value(from), value(to)].sort((a, b) => a - b));
        redraw();
      }
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", (up) => {
      canvas.removeEventListener("pointermove", move);
      if (Math.abs(up.clientY - rect.top - from) <= 3) {
        ranges.delete(axis);
        redraw();
      }
    }, { once: true });
  });
  const boxes = h("details", null, h("summary", null, "Axes"), h("div", { class: "axis-choices" }, all.map((axis) => {
    const input = h("input", { type: "checkbox", on: { change: () => setParams({ axes: input.checked ? [...chosen, axis.name].join("\u001f") : chosen.filter((name) => name !== axis.name).join("\u001f") }, true) } });
    input.checked = chosen.includes(axis.name);
    return h("label", { class: "choice" }, input, label(axis.name));
  })));
  return h("div", { class: "stack" }, h("div", { class: "row" }, note, h("span", { class: "grow" }), h("span", { class: "muted" }, `Colour: ${label(colored.name)}`)), box, boxes);
}

/** One field against another; a click opens the run. */
export function scatterView(runs, columns) {
  const all = varying(runs, columns);
  if (all.length < 2) {
    return empty("Fewer than two fields differ", "A scatter needs two.");
  }
  const names = all.map((axis) => axis.name);
  const pick = (name, fallback) => all.find((axis) => axis.name === param(name)) || fallback;
  const firstParam = all.find((axis) => axis.name.startsWith("params."));
  const x = pick("sx", firstParam || all[1]);
  const y = pick("sy", all.find((axis) => axis.name.startsWith("metrics.") && axis !== x) || all.find((axis) => axis !== x));
  const box = h("div", { class: "explore" });
  const text = h("span", { class: "muted", role: "status" }, `${runs.length} runs`);
  const margin = { left: 60, right: 16, top: 12, bottom: 36 };
  let places = [];
  const { canvas, redraw } = canvasOf(box, (pen, width) => {
    const theme = colors();
    const pad = (axis) => (axis.greatest - axis.least) * 0.04;
    const scaleX = makeScale(x.least - pad(x), x.greatest + pad(x), false, margin.left, width - margin.right);
    const scaleY = makeScale(y.least - pad(y), y.greatest + pad(y), false, HEIGHT_PX - margin.bottom, margin.top);
    pen.clearRect(0, 0, width, HEIGHT_PX);
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    for (const [value, word] of names_(y, scaleY, 8)) {
      const at = Math.round(pixel(scaleY, value)) + 0.5;
      pen.strokeStyle = theme.grid;
      pen.beginPath();
      pen.moveTo(margin.left, at);
      pen.lineTo(width - margin.right, at);
      pen.stroke();
      pen.fillStyle = theme.muted;
      pen.textAlign = "right";
      pen.fillText(word, margin.left - 6, at + 4);
    }
    pen.textAlign = "center";
    for (const [value, word] of names_(x, scaleX, width / 110)) {
      pen.fillText(word, pixel(scaleX, value), HEIGHT_PX - margin.bottom + 16);
    }
    pen.fillStyle = theme.text;
    pen.fillText(label(x.name), (margin.left + width) / 2, HEIGHT_PX - 4);
    pen.globalAlpha = Math.max(0.25, Math.min(0.85, 300 / runs.length));
    pen.fillStyle = curveColor(0);
    places = [];
    for (let run = 0; run < runs.length; run += 1) {
      const [left, top] = [pixel(scaleX, x.values[run]), pixel(scaleY, y.values[run])];
      if (Number.isFinite(left) && Number.isFinite(top)) {
        places.push([left, top, run]);
        pen.beginPath();
        pen.arc(left, top, runs.length > 2000 ? 2 : 3.5, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    canvas.setAttribute("aria-label", `${label(y.name)} against ${label(x.name)} of ${places.length} runs`);
  });
  const nearest = (event) => {
    const rect = canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - rect.left, event.clientY - rect.top];
    let best = null;
    let least = 144;
    for (const place of places) {
      const distance = (place[0] - left) ** 2 + (place[1] - top) ** 2;
      if (distance < least) {
        [best, least] = [place, distance];
      }
    }
    return best ? best[2] : -1;
  };
  canvas.addEventListener("pointermove", (event) => {
    const run = nearest(event);
    canvas.style.cursor = run >= 0 ? "pointer" : "";
    text.textContent = run >= 0 ? `${runs[run].name}: ${label(x.name)} ${shown(x, run)}, ${label(y.name)} ${shown(y, run)}` : `${runs.length} runs`;
  });
  canvas.addEventListener("click", (event) => {
    const run = nearest(event);
    if (run >= 0) {
      go(["run", runs[run].id]);
    }
  });
  void redraw;
  return h("div", { class: "stack" }, h("div", { class: "row wrap" }, chooser("Vertical", names, y.name, (name) => setParams({ sy: name }, true)), chooser("Horizontal", names, x.name, (name) => setParams({ sx: name }, true)), text), box);
}

function names_(axis, scale, most) {
  return axis.texts ? axis.texts.slice(0, 20).map((text, at) => [at, text.slice(0, 14)]) : ticks(scale, most).map((value) => [value, tickText(value)]);
}

function shown(axis, run) {
  return axis.texts ? axis.texts[axis.values[run]] : number(axis.values[run]);
}

/** Ranks, equal values sharing theirs. */
function ranks(values) {
  const order = values.map((_, at) => at).sort((a, b) => values[a] - values[b]);
  const out = new Array(values.length);
  for (let at = 0; at < order.length; ) {
    let end = at;
    while (end < order.length && values[order[end]] === values[order[at]]) {
      end += 1;
    }
    for (let i = at; i < end; i += 1) {
      out[order[i]] = (at + end - 1) / 2;
    }
    at = end;
  }
  return out;
}

/** Spearman's rank correlation of two fields over the runs that have both; null for fewer than three. */
export function correlation(a, b) {
  const both = a.map((_, at) => at).filter((at) => Number.isFinite(a[at]) && Number.isFinite(b[at]));
  if (both.length < 3) {
    return null;
  }
  const [x, y] = [ranks(both.map((at) => a[at])), ranks(both.map((at) => b[at]))];
  const mean = (both.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i += 1) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) ** 2;
    yy += (y[i] - mean) ** 2;
  }
  return xx && yy ? { value: xy / Math.sqrt(xx * yy), runs: both.length } : null;
}

/** How each field goes with a metric. */
export function correlations(runs, columns) {
  const all = varying(runs, columns).filter((axis) => !axis.texts);
  const metrics = all.filter((axis) => axis.name.startsWith("metrics."));
  if (!metrics.length || all.length < 2) {
    return empty("No metric differs", "Correlation needs a metric and another number that differ.");
  }
  const target = metrics.find((axis) => axis.name === param("target")) || metrics[0];
  const rows = all
    .filter((axis) => axis !== target)
    .map((axis) => ({ axis, found: correlation(axis.values, target.values) }))
    .filter(({ found }) => found)
    .sort((a, b) => Math.abs(b.found.value) - Math.abs(a.found.value));
  const body = h("tbody");
  fill(body, rows.slice(0, 300).map(({ axis, found }) => h("tr", null, h("th", { scope: "row" }, h("span", { class: "muted kind" }, axis.name.startsWith("metrics.") ? "metric" : "param"), " ", h("bdi", null, label(axis.name))), h("td", { class: "right" }, found.value.toFixed(3).replace("-", "−")), h("td", { class: "signed" }, h("span", { class: `signed-bar ${found.value < 0 ? "negative" : ""}`, style: { width: `${Math.abs(found.value) * 50}%` }, "aria-hidden": "true" })), h("td", { class: "right muted" }, String(found.runs)))));
  return h("div", { class: "stack" }, h("div", { class: "row" }, chooser("With", metrics.map((axis) => axis.name), target.name, (name) => setParams({ target: name }, true)), h("span", { class: "muted" }, "Rank correlation (Spearman)")), h("table", { class: "plain-table correlation-table" }, h("thead", null, h("tr", null, ["Field", "Correlation", "", "Runs"].map((title) => h("th", { scope: "col" }, title)))), body));
}
