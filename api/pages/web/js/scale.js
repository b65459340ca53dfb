/**
 * Places of values on an axis, and the values that an axis names.
 */

import { clock, day, duration, short } from "./format.js";

/**
 * @typedef {object} Scale
 * @property {number} min
 * @property {number} max
 * @property {boolean} log
 * @property {number} from first pixel
 * @property {number} to last pixel
 */

/** @returns {Scale} */
export function makeScale(min, max, log, from, to) {
  return { min, max, log, from, to };
}

/** The pixel of a value; NaN for a value that a logarithmic axis does not have. */
export function pixel(scale, value) {
  if (scale.log) {
    if (value <= 0) {
      return NaN;
    }
    const [least, greatest] = [Math.log(scale.min), Math.log(scale.max)];
    return scale.from + ((Math.log(value) - least) / (greatest - least || 1)) * (scale.to - scale.from);
  }
  return scale.from + ((value - scale.min) / (scale.max - scale.min || 1)) * (scale.to - scale.from);
}

/** The value at a pixel. */
export function valueAt(scale, place) {
  const part = (place - scale.from) / (scale.to - scale.from || 1);
  if (scale.log) {
    const [least, greatest] = [Math.log(scale.min), Math.log(scale.max)];
    return Math.exp(least + part * (greatest - least));
  }
  return scale.min + part * (scale.max - scale.min);
}

/** A round step of about this size. */
function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const part = rough / power;
  return (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10) * power;
}

/** Values that an axis names, at most about `most`. */
export function ticks(scale, most, integers = false) {
  const { min, max } = scale;
  if (!(max > min) || !Number.isFinite(max - min)) {
    return Number.isFinite(min) ? [min] : [];
  }
  if (scale.log && max / min >= 30) {
    return logTicks(min, max, most);
  }
  let step = roundStep((max - min) / Math.max(1, most));
  if (integers) {
    step = Math.max(1, step);
  }
  const list = [];
  const first = Math.ceil(min / step - 1e-9);
  for (let i = first; i * step <= max + step * 1e-9 && list.length < 50; i += 1) {
    // Products of whole numbers and decimal steps end in ...0001.
    list.push(Number((i * step).toPrecision(12)));
  }
  return list;
}

function logTicks(min, max, most) {
  const [low, high] = [Math.ceil(Math.log10(min) - 1e-9), Math.floor(Math.log10(max) + 1e-9)];
  const every = Math.max(1, Math.ceil((high - low + 1) / most));
  const list = [];
  for (let power = low; power <= high; power += every) {
    list.push(10 ** power);
  }
  return list;
}

const SECOND = 1000;
const TIME_STEPS = [1, 5, 10, 100, 500, SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, 60 * SECOND, 300 * SECOND, 900 * SECOND, 1800 * SECOND, 3600 * SECOND, 10800 * SECOND, 21600 * SECOND, 43200 * SECOND, 86400 * SECOND];

function timeStep(span, most) {
  const rough = span / Math.max(1, most);
  return TIME_STEPS.find((step) => step >= rough) || roundStep(rough / 86400000) * 86400000;
}

/** Times that an axis names, with their texts. `relative`: lengths of time instead of moments. */
export function timeTicks(scale, most, relative) {
  const step = timeStep(scale.max - scale.min, most);
  // Days begin at the reader's midnight.
  const shift = relative ? 0 : new Date(scale.min).getTimezoneOffset() * 60000;
  const list = [];
  for (let at = Math.ceil((scale.min - shift) / step) * step + shift; at <= scale.max && list.length < 40; at += step) {
    list.push({ value: at, text: relative ? duration(at) || "0" : step >= 86400000 ? day(at) : clock(at) });
  }
  return list;
}

/** The text of a value on an axis. */
export function tickText(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e12) ? value.toExponential().replace("e+", "e").replace("-", "−") : short(value);
}
