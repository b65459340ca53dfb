/**
 * Draws traces with axes: on a canvas, or on anything that has the same calls (`svgpen.js`).
 *
 *   band from the least to the greatest value of each row, then the line; points where there is room for them
 *   values that are not finite: marks at the edge, NaN and -∞ below, +∞ above
 */

import { makeScale, pixel, tickText, ticks, timeTicks } from "./scale.js";
import { rowFrom } from "./trace.js";

export const MARGIN = { left: 52, right: 10, top: 8, bottom: 22 };
const POINTS_PX = 7;
/** So many curves in a chart have lines of one pixel: they are drawn twenty times as fast, and tell more. */
const THIN_FROM = 8;
const EDGE_PX = 3;
const FONT = "11px system-ui, sans-serif";

/**
 * Where things are.
 * @param {{ width: number, height: number, xRange: [number, number], yRange: [number, number], logX: boolean, logY: boolean }} view
 */
export function layout(view) {
  const { width, height, xRange, yRange, logX, logY } = view;
  return {
    x: makeScale(xRange[0], xRange[1], logX, MARGIN.left, width - MARGIN.right),
    y: makeScale(yRange[0], yRange[1], logY, height - MARGIN.bottom, MARGIN.top),
  };
}

/**
 * A range of y with a little room around it.
 * @param {number[]} range
 * @returns {[number, number]}
 */
export function roomy(range, log) {
  const [least, greatest] = range;
  if (log) {
    const part = (greatest / least) ** 0.04 || 1;
    return least === greatest ? [least / 2, greatest * 2] : [least / part, greatest * part];
  }
  if (least === greatest) {
    const part = Math.abs(least) * 0.05 || 1;
    return [least - part, greatest + part];
  }
  const part = (greatest - least) * 0.04;
  return [least - part, greatest + part];
}

/** Draws axes and traces. */
export function drawPlot(pen, view, traces, theme, axis) {
  const { width, height } = view;
  const places = layout(view);
  pen.clearRect(0, 0, width, height);
  drawAxes(pen, view, places, theme, axis);
  pen.save();
  pen.beginPath();
  // A little more than the plot: points at its edges are whole.
  pen.rect(MARGIN.left - EDGE_PX, 0, width - MARGIN.left - MARGIN.right + 2 * EDGE_PX, height - MARGIN.bottom + EDGE_PX);
  pen.clip();
  for (const trace of traces) {
    drawBand(pen, places, trace, traces.length > 4 ? 0.2 : 0.3);
  }
  const thin = traces.length >= THIN_FROM;
  for (const trace of traces) {
    drawLine(pen, places, trace, thin);
  }
  pen.restore();
  for (const trace of traces) {
    drawOdd(pen, places, trace, height);
  }
  return places;
}

function drawAxes(pen, view, { x, y }, theme, axis) {
  const { width, height } = view;
  pen.font = FONT;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of ticks(y, Math.max(2, height / 48))) {
    const at = Math.round(pixel(y, value)) + 0.5;
    pen.strokeStyle = theme.grid;
    pen.beginPath();
    pen.moveTo(MARGIN.left, at);
    pen.lineTo(width - MARGIN.right, at);
    pen.stroke();
    pen.fillStyle = theme.muted;
    pen.fillText(tickText(value), MARGIN.left - 6, at);
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  const most = Math.max(2, width / 90);
  const list = axis === "time" || axis === "relative"
    ? timeTicks(x, most, axis === "relative")
    : ticks(x, most, axis === "step").map((value) => ({ value, text: tickText(value) }));
  pen.fillStyle = theme.muted;
  let free = -Infinity;
  for (const { value, text } of list) {
    const at = pixel(x, value);
    const half = pen.measureText(text).width / 2;
    const middle = Math.max(MARGIN.left - 8 + half, Math.min(width - half - 1, at));
    if (middle - half > free) {
      pen.fillText(text, middle, height - 6);
      free = middle + half + 8;
    }
  }
  pen.strokeStyle = theme.line;
  pen.beginPath();
  pen.moveTo(MARGIN.left, height - MARGIN.bottom + 0.5);
  pen.lineTo(width - MARGIN.right, height - MARGIN.bottom + 0.5);
  pen.stroke();
}

/** The rows of a trace that are in sight, with one more on both sides. */
function inSight(trace, x) {
  if (trace.free) {
    return [0, trace.x.length];
  }
  const first = Math.max(0, rowFrom(trace, x.min) - 1);
  let end = first;
  while (end < trace.x.length && trace.x[end] <= x.max) {
    end += 1;
  }
  return [first, Math.min(trace.x.length, end + 1)];
}

const SEEN_MIN = 1e-9;

/**
 * Bands are filled by whole columns of pixels, each once: that is fourteen times as fast as a path of rectangles, and
 * rows that share a column are not darker there.
 */
function drawBand(pen, { x, y }, trace, alpha) {
  if (!trace.curve.bucketed) {
    return;
  }
  const [first, end] = inSight(trace, x);
  const ratio = devicePixelRatio || 1;
  const snap = (place) => Math.round(place * ratio) / ratio;
  const floor = y.log ? y.from : NaN;
  pen.globalAlpha = trace.faint ? alpha / 3 : alpha;
  pen.fillStyle = trace.run.color;
  let [left, right, top, bottom] = [0, -Infinity, 0, 0];
  const put = () => right > left && pen.fillRect(left, snap(top), right - left, Math.max(1, snap(bottom) - snap(top)));
  for (let i = first; i < end; i += 1) {
    const [from, to] = [pixel(x, trace.x[i]), pixel(x, trace.xEnd[i])];
    let [high, low] = [pixel(y, trace.hi[i]), pixel(y, trace.lo[i])];
    if (Number.isNaN(low) && !Number.isNaN(high)) {
      low = floor;
    }
    if (Number.isNaN(high) || Number.isNaN(low) || Number.isNaN(from)) {
      continue;
    }
    high = Math.max(-1e4, Math.min(1e4, high)) - 0.5;
    low = Math.max(-1e4, Math.min(1e4, low)) + 0.5;
    const begin = snap(Math.max(from, x.from - 2));
    const over = Math.max(begin + 1 / ratio, snap(Math.min(to, x.to + 2)));
    if (!trace.free && begin < right) {
      // Nothing of it is beside the column that is being gathered, or only its end.
      if (over <= right) {
        [top, bottom] = [Math.min(top, high), Math.max(bottom, low)];
        continue;
      }
      if (begin <= left) {
        [top, bottom, right] = [Math.min(top, high), Math.max(bottom, low), over];
        continue;
      }
    }
    put();
    [left, right, top, bottom] = [trace.free ? begin : Math.max(begin, right), over, high, low];
  }
  put();
  pen.globalAlpha = 1;
}

function path(pen, { x, y }, trace, values, first, end) {
  pen.beginPath();
  let down = false;
  for (let i = first; i < end; i += 1) {
    const middle = trace.x === trace.xEnd ? trace.x[i] : (trace.x[i] + trace.xEnd[i]) / 2;
    const [left, top] = [pixel(x, middle), pixel(y, values[i])];
    if (Number.isNaN(top) || Number.isNaN(left) || !Number.isFinite(values[i])) {
      down = false;
    } else if (down) {
      pen.lineTo(left, Math.max(-1e4, Math.min(1e4, top)));
    } else {
      pen.moveTo(left, Math.max(-1e4, Math.min(1e4, top)));
      down = true;
    }
  }
}

function drawLine(pen, places, trace, thin) {
  const [first, end] = inSight(trace, places.x);
  pen.strokeStyle = trace.run.color;
  pen.lineJoin = "round";
  if (trace.smooth && !trace.curve.bucketed) {
    // The values themselves stay in sight.
    pen.globalAlpha = 0.28;
    pen.lineWidth = 1;
    path(pen, places, trace, trace.mid, first, end);
    pen.stroke();
  }
  pen.globalAlpha = trace.faint ? 0.35 : 1;
  pen.lineWidth = trace.run.strong ? 2.5 : thin ? 1 : 1.5;
  path(pen, places, trace, trace.line, first, end);
  pen.stroke();
  const room = (places.x.to - places.x.from) / Math.max(1, end - first);
  if (room >= POINTS_PX || end - first <= 2) {
    pen.fillStyle = trace.run.color;
    for (let i = first; i < end; i += 1) {
      const [left, top] = [pixel(places.x, trace.x[i]), pixel(places.y, trace.mid[i])];
      if (!Number.isNaN(left + top) && Number.isFinite(trace.mid[i]) && left >= places.x.from - SEEN_MIN - 2 && left <= places.x.to + 2) {
        pen.beginPath();
        pen.arc(left, top, 2.4, 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }
  pen.globalAlpha = 1;
}

function drawOdd(pen, { x }, trace, height) {
  const [first, end] = inSight(trace, x);
  const { odd } = trace.curve;
  pen.fillStyle = trace.run.color;
  let drawn = -Infinity;
  for (let i = first; i < end; i += 1) {
    const value = trace.mid[i];
    const is = odd.length ? i < odd.length && odd[i] > 0 : !Number.isFinite(value);
    const left = pixel(x, trace.x[i]);
    if (!is || left < x.from || left > x.to || left - drawn < 3) {
      continue;
    }
    drawn = left;
    const up = trace.hi[i] === Infinity;
    const base = up ? 1 : height - MARGIN.bottom - 1;
    const tip = up ? 7 : base - 6;
    pen.beginPath();
    pen.moveTo(left - 3.5, up ? tip : base);
    pen.lineTo(left + 3.5, up ? tip : base);
    pen.lineTo(left, up ? base : tip);
    pen.fill();
  }
}
