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
 * @property {boolean} [free] rows stand in the order of steps and not in that of x
 */

/** The rows of a curve, with the points that came since. @param {Curve} curve */
export function wholeRows(curve) {
  const { tail } = curve;
  const { step, stepEnd, time, lo, hi, mid } = curve;
  if (!tail.length) {
    return { step, stepEnd, time, lo, hi, mid };
  }
  const values = tail.map((point) => point[2]);
  const steps = tail.map((point) => point[0]);
  return {
    step: joined(step, steps), stepEnd: joined(stepEnd, steps), lo: joined(lo, values), hi: joined(hi, values), mid: joined(mid, values),
    time: curve.bucketed ? time : joined(time, tail.map((point) => point[1])),
  };
}

/**
 * @param {Curve} curve
 * @param {"step" | "time" | "relative" | "metric"} axis
 * @returns {Trace}
 */
export function makeTrace(run, curve, axis, weight) {
  const { step, stepEnd, time, lo, hi, mid } = wholeRows(curve);
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

/**
 * A curve over another metric of its run: each row stands at the value that the other metric had at its step. Rows before
 * the other one began have no place.
 * @param {Curve} curve
 * @param {Curve} other
 * @returns {Trace}
 */
export function pairTrace(run, curve, other, weight) {
  const { step, stepEnd, lo, hi, mid } = wholeRows(curve);
  const over = wholeRows(other);
  const x = new Float64Array(step.length).fill(NaN);
  let at = -1;
  for (let i = 0; i < step.length; i += 1) {
    while (at + 1 < over.step.length && over.step[at + 1] <= stepEnd[i]) {
      at += 1;
    }
    if (at >= 0) {
      x[i] = over.mid[at];
    }
  }
  return { run, curve, x, xEnd: x, lo, hi, mid, line: smoothed(mid, weight), smooth: weight > 0, free: true };
}

/** Least and greatest place of a trace. @param {Trace} trace @returns {[number, number]} */
export function placesOf(trace) {
  const n = trace.x.length;
  if (!trace.free) {
    return n ? [trace.x[0], trace.xEnd[n - 1]] : [Infinity, -Infinity];
  }
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = 0; i < n; i += 1) {
    if (Number.isFinite(trace.x[i])) {
      least = Math.min(least, trace.x[i]);
      greatest = Math.max(greatest, trace.x[i]);
    }
  }
  return [least, greatest];
}

/** The first row whose end is at or after a place. */
export function rowFrom(trace, place) {
  if (trace.free) {
    return 0;
  }
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
  if (trace.free) {
    let best = -1;
    for (let i = 0; i < n; i += 1) {
      if (Number.isFinite(trace.x[i]) && (best < 0 || Math.abs(trace.x[i] - place) <= Math.abs(trace.x[best] - place))) {
        best = i;
      }
    }
    return best;
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
    for (let i = Math.max(0, rowFrom(trace, from)); i < end && (trace.free || trace.x[i] <= to); i += 1) {
      if (trace.free && !(trace.x[i] >= from && trace.x[i] <= to)) {
        continue;
      }
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
