/**
 * Rows of the table of runs below their parents. A run that others are nested in has a mark; its own are read once it is
 * open.
 *
 *   runs without a parent, as `RunRows` -> the runs of an open one in between, as `NestedRows` of their own
 *
 * Where a filter matches a nested run and not its parent, the nested run stands among the others.
 */

import { get, getColumns } from "./api.js";
import { both, equals, fieldName, oneOf } from "./query.js";
import { RunRows, runsParams } from "./runrows.js";

const PARENT_TAG = "tags.mlflow.parentRunId";
/** Parents that are looked up in a request, and parents outside the table whose runs a request names: addresses have an end. */
const PARENTS_ASKED = 300;
const OUTSIDE_MAX = 300;
const DEPTH_MAX = 12;

export class NestedRows {
  /**
   * @param {any} query as of `RunRows`
   * @param {string[]} columns
   * @param {{ loaded: (first: boolean) => void, failed: (error: any) => void }} calls
   * @param {Set<string>} open ids of runs
   * @param {{ parent: string, depth: number, counts: Map<string, number> } | null} below
   */
  constructor(query, columns, calls, open, below = null) {
    this.query = query;
    this.columns = columns;
    this.calls = calls;
    this.open = open;
    this.below = below;
    this.depth = below ? below.depth : 0;
    /** Nested runs of each run. @type {Map<string, number>} */
    this.counts = below ? below.counts : new Map();
    /** Rows that are on their way. @type {RunRows | null} */
    this.next = null;
    /** @type {RunRows | null} */
    this.roots = below ? this.makeRoots(both(query.filter, equals(PARENT_TAG, below.parent))) : null;
    /** Open runs by id. @type {Map<string, NestedRows>} */
    this.opened = new Map();
    /** Open runs in the order of the table. @type {{ at: number, start: number, rows: NestedRows }[]} */
    this.splices = [];
    this.total = 0;
    this.stopped = new AbortController();
    this.isReading = false;
    this.runsTotal = 0;
    /** Parents outside the table whose runs could not be named. */
    this.leftOut = 0;
  }

  get position() {
    return this.roots ? this.roots.position : 0;
  }

  stop() {
    this.stopped.abort();
    this.roots?.stop();
    this.next?.stop();
    for (const rows of this.opened.values()) {
      rows.stop();
    }
  }

  makeRoots(filter) {
    const { loaded, failed } = this.calls;
    const roots = new RunRows({ ...this.query, filter }, this.columns, {
      loaded: (first) => {
        // Old rows stay until the new ones are here.
        if (this.roots !== roots) {
          this.roots?.stop();
          this.roots = roots;
          this.next = null;
        }
        this.lay();
        loaded(first);
      },
      failed,
    }, this.depth, (row) => {
      row.children = this.counts.get(row.id) || 0;
    });
    return roots;
  }

  /** Reads who has nested runs, and which parents the filter leaves out; then the rows. */
  async read() {
    this.isReading = true;
    const { experiments, filter, view } = this.query;
    const { signal } = this.stopped;
    try {
      const answer = await get("groups", { experiment_id: experiments, filter, view, by: [PARENT_TAG] }, signal);
      this.runsTotal = answer.total;
      this.counts.clear();
      for (const { values, runs } of answer.groups) {
        if (values[0] !== null) {
          this.counts.set(values[0], runs);
        }
      }
      const outside = await this.parentsOutside(signal);
      this.leftOut = Math.max(0, outside.length - OUTSIDE_MAX);
      const named = outside.slice(0, OUTSIDE_MAX).map((id) => `'${id}'`).join(", ");
      const top = equals(PARENT_TAG, null) + (named ? ` OR ${fieldName(PARENT_TAG)} IN (${named})` : "");
      const roots = this.makeRoots(both(filter, top));
      this.next?.stop();
      this.next = roots;
      roots.ensure(0, 1);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.calls.failed(error);
      }
    } finally {
      this.isReading = false;
    }
  }

  /** Parents that are no rows of this table: filtered out, deleted, or elsewhere. @returns {Promise<string[]>} */
  async parentsOutside(signal) {
    const parents = [...this.counts.keys()];
    const known = parents.filter((id) => /^[0-9a-f]{32}$/.test(id));
    const inside = new Set();
    for (let at = 0; at < known.length; at += PARENTS_ASKED) {
      const some = known.slice(at, at + PARENTS_ASKED);
      const query = { ...this.query, filter: both(this.query.filter, oneOf(some)), order: [] };
      const { columns } = await getColumns("runs", { ...runsParams(query, [], 0, some.length), column: ["run_id"] }, signal);
      const ids = columns.get("run_id");
      for (let row = 0; row < ids.rows; row += 1) {
        inside.add(ids.at(row));
      }
    }
    return parents.filter((id) => !inside.has(id) && !id.includes("'"));
  }

  setOpen(open) {
    this.open = open;
    for (const rows of this.opened.values()) {
      rows.setOpen(open);
    }
    this.lay();
  }

  /** Lays out the rows: open runs whose row is here have their own below them. */
  lay() {
    this.splices = [];
    if (!this.roots) {
      return;
    }
    const used = new Set();
    for (const [at, row] of this.roots.loadedRows()) {
      if (row.children && this.open.has(row.id) && this.depth < DEPTH_MAX) {
        used.add(row.id);
        this.splices.push({ at, start: 0, rows: this.openedOf(row) });
      }
    }
    this.splices.sort((a, b) => a.at - b.at);
    let more = 0;
    for (const splice of this.splices) {
      splice.start = splice.at + 1 + more;
      more += splice.rows.total;
    }
    this.total = this.roots.total + more;
    for (const [id, rows] of this.opened) {
      // Rows out of sight may have been let go; their own stay for when they come back.
      if (!this.open.has(id)) {
        rows.stop();
        this.opened.delete(id);
      }
    }
  }

  openedOf(row) {
    let rows = this.opened.get(row.id);
    if (!rows) {
      const calls = {
        loaded: () => {
          this.lay();
          this.calls.loaded(false);
        },
        failed: this.calls.failed,
      };
      rows = new NestedRows(this.query, this.columns, calls, this.open, { parent: row.id, depth: this.depth + 1, counts: this.counts });
      rows.total = row.children;
      rows.roots.total = row.children;
      this.opened.set(row.id, rows);
    }
    return rows;
  }

  /** Where a row is: in the runs here, or in those of an open one. */
  place(index) {
    let before = 0;
    for (const splice of this.splices) {
      if (index < splice.start) {
        break;
      }
      if (index < splice.start + splice.rows.total) {
        return { rows: splice.rows, at: index - splice.start };
      }
      before += splice.rows.total;
    }
    return { rows: this.roots, at: index - before };
  }

  row(index) {
    if (!this.roots) {
      return null;
    }
    const { rows, at } = this.place(index);
    return rows.row(at);
  }

  ensure(first, end) {
    if (!this.roots) {
      if (!this.isReading && !this.next) {
        this.read();
      }
      return;
    }
    for (const { start, rows } of this.splices) {
      const [from, to] = [Math.max(0, first - start), Math.min(rows.total, end - start)];
      if (from < to) {
        rows.ensure(from, to);
      }
    }
    const own = (index) => {
      const before = this.splices.filter(({ start, rows }) => start + rows.total <= index).reduce((sum, { rows }) => sum + rows.total, 0);
      return Math.max(0, index - before);
    };
    this.roots.ensure(Math.min(own(first), Math.max(0, this.roots.total - 1)), Math.max(1, Math.min(own(end), this.roots.total || 1)));
  }

  first(count) {
    return this.roots ? this.roots.first(count) : [];
  }

  byId(id) {
    for (const rows of [this.roots, ...this.opened.values()]) {
      const found = rows && rows.byId(id);
      if (found) {
        return found;
      }
    }
    return null;
  }

  outdate() {
    if (!this.below) {
      if (!this.isReading) {
        this.read();
      }
    } else {
      this.roots?.outdate();
    }
    for (const rows of this.opened.values()) {
      rows.outdate();
    }
  }
}
