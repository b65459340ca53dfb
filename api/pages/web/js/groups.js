/**
 * Rows of the table of runs in groups: by values of fields, or nested below their parents. Groups that are open have their
 * runs below them; those are read as they come into sight.
 *
 *   groups from the server (short, however many runs) -> tree -> spans: one row for a group, many for the runs of an open one
 *
 * Which groups are open is a set of names, which the address has.
 */

import { get } from "./api.js";
import { equals, both } from "./query.js";
import { RunRows } from "./runrows.js";

/** How groups are named in the address: values with this between them, and this for no value. */
const BETWEEN = "\u001f";
const NO_VALUE = "\u0000";
const GROUP_METRICS_MAX = 20;

/**
 * @typedef {object} Group
 * @property {string} id its name in the address
 * @property {string} column what it is grouped by
 * @property {string | null} value
 * @property {number} depth
 * @property {number} runs
 * @property {Record<string, any>} cells a metric's count, least, greatest and mean, by column
 * @property {string} filter the runs in it
 * @property {Group[]} groups below it; none: its runs are
 * @property {Map<string | null, Group>} [byValue]
 */

/** Numbers by size, then texts by their letters; no value last. */
function compareValues(a, b) {
  if (a === null || b === null) {
    return Number(a === null) - Number(b === null);
  }
  const [x, y] = [Number(a), Number(b)];
  if (a.trim() !== "" && b.trim() !== "" && !Number.isNaN(x) && !Number.isNaN(y)) {
    return x - y;
  }
  return a.localeCompare(b, undefined, { numeric: true });
}

/** Adds what a group's metrics are to that of the group above it. */
function addMetric(into, from) {
  if (!into.count) {
    Object.assign(into, from);
    return;
  }
  const whole = into.count + from.count;
  if (from.mean !== undefined) {
    into.mean = into.mean === undefined ? from.mean : (into.mean * into.count + from.mean * from.count) / whole;
    into.min = Math.min(into.min ?? Infinity, from.min);
    into.max = Math.max(into.max ?? -Infinity, from.max);
  }
  into.count = whole;
}

/**
 * @param {any[]} list groups of the answer
 * @param {string[]} by
 * @param {string[]} metrics
 * @returns {Group[]}
 */
export function groupTree(list, by, metrics) {
  const top = /** @type {Map<string | null, Group>} */ (new Map());
  for (const one of list) {
    let level = top;
    let above = null;
    for (let depth = 0; depth < by.length; depth += 1) {
      const value = one.values[depth];
      let group = level.get(value);
      if (!group) {
        const name = value ?? NO_VALUE;
        group = {
          id: above ? above.id + BETWEEN + name : name, column: by[depth], value, depth, runs: 0, cells: {},
          filter: both(above ? above.filter : "", equals(by[depth], value)), groups: [], byValue: new Map(),
        };
        level.set(value, group);
      }
      group.runs += one.runs;
      metrics.forEach((metric, at) => {
        group.cells[metric] = group.cells[metric] || { count: 0 };
        if (one.metrics[at].count) {
          addMetric(group.cells[metric], one.metrics[at]);
        }
      });
      above = group;
      level = group.byValue;
    }
  }
  const sorted = (level) => [...level.values()].sort((a, b) => compareValues(a.value, b.value)).map((group) => ({ ...group, groups: sorted(group.byValue), byValue: undefined }));
  return sorted(top);
}

export class GroupedRows {
  /**
   * @param {any} query as of `RunRows`
   * @param {string[]} columns
   * @param {{ loaded: (first: boolean) => void, failed: (error: any) => void }} calls
   * @param {string[]} by
   * @param {Set<string>} open
   */
  constructor(query, columns, calls, by, open) {
    this.query = query;
    this.columns = columns;
    this.calls = calls;
    this.by = by;
    this.open = open;
    this.metrics = columns.filter((name) => name.startsWith("metrics.")).slice(0, GROUP_METRICS_MAX);
    this.runsTotal = 0;
    this.total = 0;
    this.position = 0;
    /** @type {Group[]} */
    this.groups = [];
    /** Runs of open groups. @type {Map<string, RunRows>} */
    this.rows = new Map();
    /** @type {{ start: number, group: Group | null, rows: RunRows | null }[]} */
    this.spans = [];
    this.stopped = new AbortController();
    this.isRead = false;
    this.isReading = false;
  }

  stop() {
    this.stopped.abort();
    for (const rows of this.rows.values()) {
      rows.stop();
    }
  }

  async read() {
    this.isReading = true;
    try {
      const { experiments, filter, view } = this.query;
      const answer = await get("groups", { experiment_id: experiments, filter, view, by: this.by, column: this.metrics }, this.stopped.signal);
      const first = !this.isRead;
      this.isRead = true;
      this.position = answer.position;
      this.runsTotal = answer.total;
      this.groups = groupTree(answer.groups, this.by, this.metrics);
      this.lay();
      this.calls.loaded(first);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.calls.failed(error);
      }
    } finally {
      this.isReading = false;
    }
  }

  /** Opens and closes groups. @param {Set<string>} open */
  setOpen(open) {
    this.open = open;
    this.lay();
  }

  /** Lays out the rows. */
  lay() {
    this.spans = [];
    let start = 0;
    const used = new Set();
    const put = (list) => {
      for (const group of list) {
        this.spans.push({ start, group, rows: null });
        start += 1;
        if (!this.open.has(group.id)) {
          continue;
        }
        if (group.groups.length) {
          put(group.groups);
          continue;
        }
        used.add(group.id);
        const rows = this.rowsOf(group);
        this.spans.push({ start, group: null, rows });
        start += rows.total;
      }
    };
    put(this.groups);
    this.total = start;
    for (const [id, rows] of this.rows) {
      if (!used.has(id)) {
        rows.stop();
        this.rows.delete(id);
      }
    }
  }

  rowsOf(group) {
    let rows = this.rows.get(group.id);
    if (!rows) {
      const query = { ...this.query, filter: both(this.query.filter, group.filter) };
      rows = new RunRows(query, this.columns, {
        loaded: () => {
          this.lay();
          this.calls.loaded(false);
        },
        failed: this.calls.failed,
      }, group.depth + 1);
      // Until they are read there are as many as the group counted.
      rows.total = group.runs;
      this.rows.set(group.id, rows);
    }
    return rows;
  }

  spanAt(index) {
    let [low, high] = [0, this.spans.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.spans[middle].start <= index) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return this.spans[low];
  }

  row(index) {
    const span = this.spanAt(index);
    if (!span) {
      return null;
    }
    return span.group ? { group: span.group, depth: span.group.depth } : span.rows.row(index - span.start);
  }

  ensure(first, end) {
    if (!this.isRead) {
      if (!this.isReading) {
        this.read();
      }
      return;
    }
    for (const span of this.spans) {
      const from = Math.max(first - span.start, 0);
      const to = Math.min(end - span.start, span.rows ? span.rows.total : 0);
      if (span.rows && from < to) {
        span.rows.ensure(from, to);
      }
    }
  }

  /** The first runs that are here. */
  first(count) {
    const list = [];
    for (const span of this.spans) {
      if (span.rows && list.length < count) {
        list.push(...span.rows.first(count - list.length));
      }
    }
    return list;
  }

  byId(id) {
    for (const rows of this.rows.values()) {
      const found = rows.byId(id);
      if (found) {
        return found;
      }
    }
    return null;
  }

  outdate() {
    for (const rows of this.rows.values()) {
      rows.outdate();
    }
    if (!this.isReading) {
      this.read();
    }
  }
}
