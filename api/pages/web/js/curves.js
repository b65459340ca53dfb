/**
 * Curves as charts draw them, read in few requests and kept as long as they may be asked for again.
 *
 *   charts ask for (run, key, range) -> what is asked within a frame becomes one request -> curves -> charts draw
 *   the stream brings points          -> added to whole curves at once; after many, the curve is read again
 */

import { postColumns } from "./api.js";
import { param } from "./route.js";

/**
 * A curve in a range of steps. Row `i` is a point (`lo`, `hi`, `mid` are its value), or a bucket of points.
 * @typedef {object} Curve
 * @property {number} n
 * @property {boolean} bucketed
 * @property {ArrayLike<number>} step first step of each row
 * @property {ArrayLike<number>} stepEnd last step
 * @property {ArrayLike<number>} time Unix ms; empty for buckets
 * @property {ArrayLike<number>} lo
 * @property {ArrayLike<number>} hi
 * @property {ArrayLike<number>} mid
 * @property {ArrayLike<number>} count points of each row; empty for points
 * @property {ArrayLike<number>} odd values of each row that are not finite; empty for points
 * @property {number} total points in the range
 * @property {number} stepFirst of the whole series
 * @property {number} stepLast
 * @property {number[][]} tail points that came since: [step, time, value]
 * @property {boolean} stale
 */

/** Rows of all kept curves: some 64 bytes each. */
const KEPT_ROWS_MAX = 500_000;
const ASK_AGAIN_MS = 3000;
const TAIL_MAX = 400;
const SERIES_MAX = 2000;
const NONE = new Float64Array(0);

/** @type {Map<string, Curve>} */
const kept = new Map();
/** Names of what is kept of each run and key. @type {Map<string, Set<string>>} */
const keptOf = new Map();
let keptRows = 0;
/** @type {Map<string, { key: string, run: string, ask: any, charts: Set<() => void> }>} */
let asked = new Map();
let scheduled = false;
/** @type {Set<string>} */
const pending = new Set();
const watchers = new Set();

function nameOf(run, key, ask) {
  return `${run}\n${key}\n${ask.from ?? ""}\n${ask.to ?? ""}\n${ask.buckets}\n${ask.points ? 1 : 0}\n${param("at")}`;
}

/**
 * The curve if it is here, else the closest older one, and asks for it. `done` is called once it has come.
 * @param {{ from: number | null, to: number | null, buckets: number, points: boolean }} ask
 * @returns {Curve | null}
 */
export function curveOf(run, key, ask, done) {
  const name = nameOf(run, key, ask);
  const found = kept.get(name);
  if (found && !found.stale) {
    kept.delete(name);
    kept.set(name, found);
    return found;
  }
  if (!pending.has(name)) {
    const one = asked.get(name) || { key, run, ask, charts: new Set() };
    one.charts.add(done);
    asked.set(name, one);
    if (!scheduled) {
      scheduled = true;
      queueMicrotask(() => setTimeout(send, 0));
    }
  } else {
    watchers.add(done);
  }
  return found || null;
}

/** Whether anything is on its way. */
export function isReading() {
  return scheduled || pending.size > 0;
}

/** Sends what was asked for at once, instead of when this task ends. */
export function askNow() {
  if (asked.size) {
    send();
  }
}

async function send() {
  scheduled = false;
  if (!asked.size) {
    return;
  }
  const groups = new Map();
  for (const [name, one] of asked) {
    const { from, to, buckets, points } = one.ask;
    const group = `${from}|${to}|${buckets}|${points}`;
    if (!groups.has(group)) {
      groups.set(group, []);
    }
    groups.get(group).push([name, one]);
    pending.add(name);
  }
  asked = new Map();
  const all = [];
  for (const list of groups.values()) {
    for (let at = 0; at < list.length; at += SERIES_MAX) {
      all.push(request(list.slice(at, at + SERIES_MAX)));
    }
  }
  await Promise.all(all);
}

async function request(list) {
  const { from, to, buckets, points } = list[0][1].ask;
  const body = {
    series: list.map(([, one]) => ({ run_id: one.run, key: one.key })),
    start_step: from ?? undefined,
    end_step: to ?? undefined,
    buckets,
    points: points || undefined,
  };
  try {
    const curves = readCurves(await postColumns("curves", body));
    list.forEach(([name], at) => keep(name, curves[at]));
  } catch (error) {
    for (const call of failures) {
      call(error);
    }
    if (!error.status || error.status >= 500) {
      // A server that is away comes back; charts ask for what they still need.
      setTimeout(() => waiting(list).forEach((call) => call()), ASK_AGAIN_MS);
    }
    return;
  } finally {
    for (const [name] of list) {
      pending.delete(name);
    }
  }
  waiting(list).forEach((call) => call());
}

/** Who waits for these curves. */
function waiting(list) {
  const calls = new Set(watchers);
  watchers.clear();
  for (const [, one] of list) {
    for (const chart of one.charts) {
      calls.add(chart);
    }
  }
  return calls;
}

const failures = new Set();

/** Calls a function with the error of a request that failed. */
export function onCurveFailure(call) {
  failures.add(call);
}

function seriesOf(name) {
  const [run, key] = name.split("\n", 2);
  return `${run}\n${key}`;
}

function drop(name) {
  keptRows -= kept.get(name).n;
  kept.delete(name);
  const series = seriesOf(name);
  const names = keptOf.get(series);
  names.delete(name);
  if (!names.size) {
    keptOf.delete(series);
  }
}

function keep(name, curve) {
  if (kept.has(name)) {
    drop(name);
  }
  kept.set(name, curve);
  keptRows += curve.n;
  const series = seriesOf(name);
  keptOf.set(series, (keptOf.get(series) || new Set()).add(name));
  while (keptRows > KEPT_ROWS_MAX && kept.size > 1) {
    drop(kept.keys().next().value);
  }
}

/** The curves of an answer. */
export function readCurves({ header, columns }) {
  const of = (name) => columns.get(name).values;
  const [step, time, value] = ["step", "time_ms", "value"].map(of);
  const [first, last, count, min, max, mean, odd] = ["step_first", "step_last", "count", "min", "max", "mean", "non_finite"].map((name) => of(`bucket.${name}`));
  let [point, bucket] = [0, 0];
  return header.series.map((head) => {
    const same = { n: head.rows, bucketed: head.bucketed, total: head.count, stepFirst: head.step_first, stepLast: head.step_last, tail: [], stale: false };
    if (head.bucketed) {
      bucket += head.rows;
      const end = bucket;
      const part = (list) => list.subarray(end - head.rows, end);
      return { ...same, step: part(first), stepEnd: part(last), time: NONE, lo: part(min), hi: part(max), mid: part(mean), count: part(count), odd: part(odd) };
    }
    point += head.rows;
    const end = point;
    const part = (list) => list.subarray(end - head.rows, end);
    const values = part(value);
    return { ...same, step: part(step), stepEnd: part(step), time: part(time), lo: values, hi: values, mid: values, count: NONE, odd: NONE };
  });
}

/** Adds points that the stream brought to whole curves. Returns whether any curve is kept for them. */
export function addPoints(run, key, steps, times, values) {
  let any = false;
  for (const name of keptOf.get(`${run}\n${key}`) || []) {
    const curve = kept.get(name);
    // Of the past nothing changes.
    if (!name.endsWith("\n")) {
      continue;
    }
    const [, , from, to] = name.split("\n");
    any = true;
    if (from !== "" || to !== "") {
      // Zoomed: points within the range are read when it is shown.
      const end = Number(to);
      if (steps.some((step) => step <= end)) {
        curve.stale = true;
      }
      continue;
    }
    for (let i = 0; i < steps.length; i += 1) {
      if (curve.stepLast > steps[i]) {
        // Not at the end: drawn in order only once it is read again.
        curve.stale = true;
      }
      curve.tail.push([steps[i], times[i], numberOf(values[i])]);
      curve.stepLast = Math.max(curve.stepLast, steps[i]);
    }
    curve.total += steps.length;
    if (curve.tail.length > TAIL_MAX) {
      curve.stale = true;
    }
  }
  return any;
}

function numberOf(value) {
  return typeof value === "number" ? value : value === "Infinity" ? Infinity : value === "-Infinity" ? -Infinity : NaN;
}

/** Marks the curves of a run, of one key or of all, as changed. Without a run: all. */
export function forget(run, key) {
  const begin = run ? (key ? `${run}\n${key}\n` : `${run}\n`) : "";
  for (const [name, curve] of kept) {
    if (name.startsWith(begin)) {
      curve.stale = true;
    }
  }
}
