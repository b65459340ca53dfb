/**
 * Numbers, times and sizes as people read them.
 */

/** A number in a table: six digits that count, whole numbers whole. */
export function number(value) {
  if (value === null || value === undefined) {
    return "";
  }
  if (typeof value === "string") {
    return value === "Infinity" ? "∞" : value === "-Infinity" ? "−∞" : value;
  }
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  }
  const size = Math.abs(value);
  if (value === 0) {
    return Object.is(value, -0) ? "−0" : "0";
  }
  if (size >= 1e6 && (Number.isInteger(value) ? size < 1e15 : size < 1e9)) {
    return minus(Math.round(value).toLocaleString("en-US").replaceAll(",", "\u202f"));
  }
  if (size >= 1e9 || size < 1e-4) {
    return minus(value.toExponential(3).replace("e+", "e").replace(/\.?0+e/, "e"));
  }
  return minus(String(Number(value.toPrecision(6))));
}

function minus(text) {
  return text.replace("-", "−");
}

/** A number with all its digits. */
export function exact(value) {
  return typeof value === "number" && Number.isFinite(value) ? minus(String(value)) : number(value);
}

/** A count: 12 345. */
export function count(value) {
  return Math.round(value).toLocaleString("en-US").replaceAll(",", "\u202f");
}

/** @type {[string, number][]} */
const UNITS = [["G", 1e9], ["M", 1e6], ["k", 1e3]];

/** A count in few characters: 12.3 k. */
export function short(value) {
  const size = Math.abs(value);
  for (const [unit, factor] of UNITS) {
    if (size >= factor) {
      return minus(`${Number((value / factor).toPrecision(4))}${unit}`);
    }
  }
  return minus(String(Number(value.toPrecision(5))));
}

/** A size in bytes. */
export function sizeText(value) {
  if (value === null || value === undefined) {
    return "";
  }
  let rest = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (rest < 1024) {
      return `${unit === "B" ? rest : Number(rest.toPrecision(3))} ${unit}`;
    }
    rest /= 1024;
  }
  return `${Number(rest.toPrecision(3))} TiB`;
}

const DATE = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const WHOLE = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function valid(ms) {
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15;
}

const NEAR = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** A time in the reader's zone; without the year if it is this one. */
export function time(ms) {
  if (!valid(ms)) {
    return "";
  }
  const date = new Date(ms).getFullYear() === new Date().getFullYear() ? NEAR : DATE;
  return `${date.format(ms)}, ${TIME.format(ms)}`;
}

export function wholeTime(ms) {
  return valid(ms) ? WHOLE.format(ms) : "";
}

export function clock(ms) {
  return valid(ms) ? CLOCK.format(ms) : "";
}

export function day(ms) {
  return valid(ms) ? DATE.format(ms) : "";
}

/** How long ago. */
export function ago(ms, now = Date.now()) {
  if (!valid(ms)) {
    return "";
  }
  const seconds = Math.max(0, (now - ms) / 1000);
  if (seconds < 45) {
    return "just now";
  }
  for (const [unit, length, end] of [["min", 60, 60], ["h", 3600, 36], ["d", 86400, 45]]) {
    if (seconds / Number(length) < Number(end)) {
      return `${Math.max(1, Math.round(seconds / Number(length)))} ${unit} ago`;
    }
  }
  return day(ms);
}

/** A length of time: 3 h 12 min. */
export function duration(ms) {
  if (!Number.isFinite(ms) || ms < 0) {
    return "";
  }
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  const seconds = ms / 1000;
  if (seconds < 60) {
    return `${Number(seconds.toPrecision(3))} s`;
  }
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

/** Milliseconds of a moment: a time, or nothing for a position. */
export function msOfMoment(at) {
  return /^\d+$/.test(at) ? NaN : Date.parse(at);
}
