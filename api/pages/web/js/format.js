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
    return minus(grouped(value));
  }
  if (size >= 1e9 || size < 1e-4) {
    return minus(value.toExponential(3).replace("e+", "e").replace(/\.?0+e/, "e"));
  }
  return minus(String(Number(value.toPrecision(6))));
}

/** Digits in groups of three. */
function grouped(value) {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
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
  return grouped(value);
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

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** Formats with the zone's name; made when they are needed first, since loading its data takes longer than a table does. */
let whole = null;

function valid(ms) {
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15;
}

function padded(number) {
  return String(number).padStart(2, "0");
}

/** A time in the reader's zone; without the year if it is this one. */
export function time(ms) {
  if (!valid(ms)) {
    return "";
  }
  const date = new Date(ms);
  const year = date.getFullYear() === new Date().getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${MONTHS[date.getMonth()]}${year}, ${padded(date.getHours())}:${padded(date.getMinutes())}`;
}

export function wholeTime(ms) {
  if (!valid(ms)) {
    return "";
  }
  whole = whole || new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
  return whole.format(ms);
}

export function clock(ms) {
  if (!valid(ms)) {
    return "";
  }
  const date = new Date(ms);
  return `${padded(date.getHours())}:${padded(date.getMinutes())}:${padded(date.getSeconds())}`;
}

export function day(ms) {
  if (!valid(ms)) {
    return "";
  }
  const date = new Date(ms);
  return `${date.getDate()} ${MONTHS[date.getMonth()]} ${date.getFullYear()}`;
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
