/**
 * Rows of the table of runs, read in parts as they come into sight.
 */

import { getColumns } from "./api.js";
import { oneOf } from "./query.js";

/**
 * @typedef {object} RunRow
 * @property {string} id
 * @property {string} name
 * @property {string} status
 * @property {string} liveness
 * @property {boolean} deleted
 * @property {number | null} start
 * @property {number | null} end
 * @property {string} experiment
 * @property {string | null} parent
 * @property {Record<string, any>} cells by column
 * @property {number} depth how many groups or runs it is below
 * @property {number} [children] runs that are nested in it
 */

const PAGE_ROWS = 200;
const PAGES_MAX = 40;
const PARENT = "tags.mlflow.parentRunId";
const FIXED = ["run_id", "run_name", "status", "liveness", "lifecycle", "start_time", "end_time", "experiment_id", PARENT];

/** @returns {RunRow[]} */
export function rowsOf({ header, columns }, asked) {
  const column = (name) => columns.get(name);
  const rows = [];
  for (let at = 0; at < header.rows; at += 1) {
    const of = (name) => (column(name) ? column(name).at(at) : null);
    const cells = {};
    for (const name of asked) {
      cells[name] = of(name);
    }
    rows.push({
      id: of("run_id"),
      name: of("run_name"),
      status: of("status"),
      liveness: of("liveness") || "",
      deleted: of("lifecycle") === "deleted",
      start: of("start_time"),
      end: of("end_time"),
      experiment: of("experiment_id"),
      parent: of(PARENT),
      cells,
      depth: 0,
    });
  }
  return rows;
}

/** Columns that are shown before anybody chooses, besides metrics and params that most runs have. */
export const FIRST_COLUMNS = ["start_time", "duration"];
export const COMMON_METRICS = 4;
export const COMMON_PARAMS = 3;

/** Parameters of a request for runs. Without columns the server chooses the most common ones. */
export function runsParams(query, columns, offset, limit) {
  return {
    experiment_id: query.experiments,
    filter: query.filter,
    order_by: query.order,
    view: query.view,
    column: [...FIXED, ...(columns || [])],
    common_metrics: columns ? undefined : COMMON_METRICS,
    common_params: columns ? undefined : COMMON_PARAMS,
    offset: offset || undefined,
    limit,
  };
}

export class RunRows {
  /**
   * @param {{ experiments: string[], filter: string, order: string[], view: string }} query
   * @param {string[] | null} columns null: the most common ones, which the first answer says
   * @param {{ loaded: (first: boolean) => void, failed: (error: any) => void }} calls
   * @param {number} depth of its rows
   * @param {(row: RunRow) => void} [made] called with each row
   */
  constructor(query, columns, calls, depth = 0, made = () => {}) {
    this.depth = depth;
    this.made = made;
    this.query = query;
    this.columns = columns && columns.filter((name) => !FIXED.includes(name) && name !== "duration");
    /** Metrics and params that the server chose; null if it did not. @type {string[] | null} */
    this.common = null;
    this.calls = calls;
    this.total = 0;
    this.position = 0;
    /** @type {Map<number, RunRow[]>} */
    this.pages = new Map();
    this.reading = new Set();
    this.old = new Set();
    this.stopped = new AbortController();
  }

  stop() {
    this.stopped.abort();
  }

  /** @returns {RunRow | null} */
  row(index) {
    const page = this.pages.get(Math.floor(index / PAGE_ROWS));
    return (page && page[index % PAGE_ROWS]) || null;
  }

  /** Rows from the first one, as far as they are here. */
  first(count) {
    const list = [];
    for (let at = 0; at < Math.min(count, this.total); at += 1) {
      const row = this.row(at);
      if (row) {
        list.push(row);
      }
    }
    return list;
  }

  /** @returns {RunRow | null} */
  byId(id) {
    for (const page of this.pages.values()) {
      const found = page.find((row) => row.id === id);
      if (found) {
        return found;
      }
    }
    return null;
  }

  /** Rows that are here, with their numbers. @returns {Generator<[number, RunRow]>} */
  *loadedRows() {
    for (const [page, rows] of this.pages) {
      for (let at = 0; at < rows.length; at += 1) {
        yield [page * PAGE_ROWS + at, rows[at]];
      }
    }
  }

  /** Number of runs that match. */
  get runsTotal() {
    return this.total;
  }

  /** Reads what is missing of these rows. */
  ensure(first, end) {
    const last = Math.max(0, Math.floor((Math.max(end, 1) - 1) / PAGE_ROWS));
    for (let page = Math.floor(first / PAGE_ROWS); page <= last; page += 1) {
      if ((!this.pages.has(page) || this.old.has(page)) && !this.reading.has(page)) {
        this.read(page);
      }
    }
  }

  /** All rows are read again when they are in sight; until then the old ones are shown. */
  outdate() {
    for (const page of this.pages.keys()) {
      this.old.add(page);
    }
  }

  async read(page) {
    this.reading.add(page);
    this.old.delete(page);
    try {
      const answer = await getColumns("runs", runsParams(this.query, this.columns, page * PAGE_ROWS, PAGE_ROWS), this.stopped.signal);
      const first = this.pages.size === 0;
      this.total = answer.header.total;
      this.position = Math.max(this.position, answer.header.position);
      this.pages.delete(page);
      if (!this.columns) {
        this.columns = this.common = answer.header.common;
      }
      const rows = rowsOf(answer, this.columns);
      for (const row of rows) {
        row.depth = this.depth;
        this.made(row);
      }
      this.pages.set(page, rows);
      while (this.pages.size > PAGES_MAX) {
        this.pages.delete(this.pages.keys().next().value);
      }
      this.calls.loaded(first);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.calls.failed(error);
      }
    } finally {
      this.reading.delete(page);
    }
  }
}

/** These runs, wherever they are. */
export async function runsById(ids, columns = []) {
  const list = [];
  for (let at = 0; at < ids.length; at += 100) {
    const some = ids.slice(at, at + 100);
    const query = { experiments: everyExperiment(), filter: oneOf(some), order: [], view: "ALL" };
    list.push(...rowsOf(await getColumns("runs", runsParams(query, columns, 0, some.length)), columns));
  }
  const place = new Map(ids.map((id, index) => [id, index]));
  return list.sort((a, b) => place.get(a.id) - place.get(b.id));
}

let every = null;

/** Ids of all experiments, deleted ones too; set by the frame. */
export function setExperiments(ids) {
  every = ids;
}

function everyExperiment() {
  return every && every.length <= 200 ? every : [];
}
