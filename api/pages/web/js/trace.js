/**
 * A curve with its places on the x axis: of one run, ready to be drawn and to be asked for the value at a place.
 */

import { smoothed } from "./smooth.js";

/** @typedef {import("./curves.js").Curve} Curve */

/**
 * @typedef {object} Trace
 * @property {any} run id, name, color
 * @property {Curve} curve
 * @property {ArrayLike<number>} x
 * @property {ArrayLike<number>} xEnd
 * @property {ArrayLike<number>} lo
 * @property {ArrayLike<number>} hi
 * @property {ArrayLike<number>} mid
 * @property {ArrayLike<number>} line what is drawn as the line: smoothed, or `mid`
 * @property {boolean} smooth
 * @property {boolean} [faint] a branch that was left
 */

/**
 * @param {Curve} curve
 * @param {"step" | "time" | "relative"} axis
 * @returns {Trace}
 */
export function makeTrace(run, curve, axis, weight) {
  const { tail } = curve;
  let { step, stepEnd, time, lo, hi, mid } = curve;
  if (tail.length) {
    const values = tail.map((point) => point[2]);
    const steps = tail.map((point) => point[0]);
    step = joined(step, steps);
    stepEnd = joined(stepEnd, steps);
    time = curve.bucketed ? time : joined(time, tail.map((point) => point[1]));
    lo = joined(lo, values);
    hi = joined(hi, values);
    mid = joined(mid, values);
  }
  let [x, xEnd] = [step, stepEnd];
  if (axis !== "step") {
    x = axis === "time" ? time : shifted(time, run.start ?? (time.length ? time[0] : 0));
    xEnd = x;
  }
  return { run, curve, x, xEnd, lo, hi, mid, line: smoothed(mid, weight), smooth: weight > 0 };
}

function joined(a, b) {
  const out = new Float64Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function shifted(values, by) {
  const out = new Float64Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    out[i] = values[i] - by;
  }
  return out;
}

/** The first row whose end is at or after a place. */
export function rowFrom(trace, place) {
  let [low, high] = [0, trace.x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (trace.xEnd[middle] < place) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** The row that is nearest to a place; -1 if there is none. */
export function nearestRow(trace, place) {
  const n = trace.x.length;
  if (!n) {
    return -1;
  }
  const at = Math.min(n - 1, rowFrom(trace, place));
  if (at > 0 && trace.x[at] > place && place - trace.xEnd[at - 1] < trace.x[at] - place) {
    return at - 1;
  }
  return at;
}

/** Least and greatest finite value of traces within a range of x. */
export function extent(traces, from, to, positive) {
  let [least, greatest] = [Infinity, -Infinity];
  for (const trace of traces) {
    const end = trace.x.length;
    for (let i = Math.max(0, rowFrom(trace, from)); i < end && trace.x[i] <= to; i += 1) {
      const [lo, hi] = [trace.lo[i], trace.hi[i]];
      if (Number.isFinite(lo) && lo < least && (!positive || lo > 0)) {
        least = lo;
      }
      if (Number.isFinite(hi) && hi > greatest && (!positive || hi > 0)) {
        greatest = hi;
      }
      if (positive && !(lo > 0) && hi > 0 && hi < least) {
        least = hi;
      }
    }
  }
  return least <= greatest ? [least, greatest] : null;
}
