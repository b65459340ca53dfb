/**
 * A table of any length: only rows in sight are elements. Each element shows one row in turn, so scrolling makes none.
 *
 *   body (as high as all rows) -> rows placed by their number; row i is shown by element i modulo their number
 *
 * Keyboard: arrows, page keys, Home and End move the active row; the owner gets the other keys.
 */

import { eachFrame, h } from "./dom.js";

export const ROW_PX = 34;
const SPARE_ROWS = 6;

/**
 * @typedef {object} GridColumn
 * @property {string} id
 * @property {string} label
 * @property {number} width
 * @property {boolean} [right] numbers
 * @property {string} [title]
 * @property {any} [head] an element before its title
 * @property {(cell: any, row: any, index: number) => void} draw
 */

export class Grid {
  /**
   * @param {object} options
   * @param {string} options.label
   * @param {(index: number) => any} options.row the row, or null while it is not here
   * @param {(first: number, end: number) => void} options.seen called with the rows in sight
   * @param {(column: GridColumn, event: any) => void} [options.sort]
   * @param {(row: any, index: number, event: any) => void} [options.open]
   * @param {(key: string, row: any, index: number, event: any) => boolean} [options.key]
   * @param {(element: any, row: any) => void} [options.mark]
   */
  constructor(options) {
    this.options = options;
    /** @type {GridColumn[]} */
    this.columns = [];
    this.total = 0;
    this.active = -1;
    /** @type {{ element: any, cells: any[], index: number }[]} */
    this.pool = [];
    // A row is one to screen readers once it has titles.
    this.head = h("div", { class: "grid-head" });
    this.body = h("div", { class: "grid-body", role: "rowgroup" });
    this.scroller = h(
      "div",
      { class: "grid", role: "grid", tabindex: 0, "aria-label": options.label, on: { scroll: () => this.render(), keydown: (event) => this.keydown(event) } },
      h("div", { class: "grid-head-group", role: "rowgroup" }, this.head),
      this.body,
    );
    this.element = this.scroller;
    /** Room for rows, in pixels: asking the page in each frame would lay it out once more. */
    this.height = 0;
    this.render = eachFrame(() => this.draw());
    new ResizeObserver(() => {
      this.height = this.scroller.clientHeight - this.head.offsetHeight;
      this.draw();
    }).observe(this.scroller);
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("pointerover", (event) => {
      const cell = event.target.closest(".grid-cell");
      if (cell && cell.tip) {
        cell.title = cell.tip();
      }
    });
  }

  /** @param {GridColumn[]} columns */
  setColumns(columns, sorted) {
    this.columns = columns;
    this.head.setAttribute("role", "row");
    this.head.setAttribute("aria-rowindex", "1");
    this.head.replaceChildren(
      ...columns.map((column) => {
        const direction = sorted && sorted.id === column.id ? sorted.direction : "none";
        return h(
          "div",
          {
            class: `grid-cell grid-title${column.right ? " right" : ""}`,
            role: "columnheader",
            "aria-sort": direction,
            title: column.title || column.label,
            style: { width: `${column.width}px` },
          },
          column.head,
          this.options.sort && column.label
            ? h(
                "button",
                { type: "button", class: "plain", on: { click: (event) => this.options.sort(column, event) } },
                h("span", { class: "ellipsis" }, column.label),
                direction === "none" ? null : h("span", { "aria-hidden": "true" }, direction === "ascending" ? " ↑" : " ↓"),
              )
            : column.label || h("span", { class: "visually-hidden" }, column.title || column.id),
        );
      }),
    );
    const width = columns.reduce((sum, column) => sum + column.width, 0);
    this.head.style.width = this.body.style.width = `${width}px`;
    this.scroller.setAttribute("aria-colcount", String(columns.length));
    for (const slot of this.pool) {
      slot.element.remove();
    }
    this.pool = [];
    this.draw();
  }

  setTotal(total) {
    this.total = total;
    this.body.style.height = `${total * ROW_PX}px`;
    this.scroller.setAttribute("aria-rowcount", String(total + 1));
    if (this.active >= total) {
      this.active = total - 1;
    }
    this.render();
  }

  /** Draws all rows in sight again, with the next frame. */
  refresh() {
    for (const slot of this.pool) {
      slot.index = -1;
    }
    this.render();
  }

  draw() {
    const { height } = this;
    if (height <= 0 || !this.columns.length) {
      return;
    }
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS);
    const end = Math.min(this.total, Math.ceil((top + height) / ROW_PX) + SPARE_ROWS);
    const needed = Math.ceil(height / ROW_PX) + 2 * SPARE_ROWS + 1;
    while (this.pool.length < needed) {
      this.pool.push(this.makeRow());
    }
    const size = this.pool.length;
    this.options.seen(first, end);
    for (const slot of this.pool) {
      if (slot.index >= 0 && (slot.index < first || slot.index >= end)) {
        slot.index = -1;
      }
    }
    const used = new Set();
    for (let index = first; index < end; index += 1) {
      const slot = this.pool[index % size];
      used.add(slot);
      if (slot.index !== index) {
        this.show(slot, index);
      }
    }
    for (const slot of this.pool) {
      if (!used.has(slot) && !slot.element.hidden) {
        slot.element.hidden = true;
        slot.index = -1;
      }
    }
  }

  makeRow() {
    const cells = this.columns.map((column, at) =>
      h("div", { class: `grid-cell${column.right ? " right" : ""}`, role: "gridcell", "aria-colindex": at + 1, style: { width: `${column.width}px` } }),
    );
    const element = h("div", { class: "grid-row", role: "row" }, cells);
    element.hidden = true;
    this.body.append(element);
    return { element, cells, index: -1 };
  }

  show(slot, index) {
    const row = this.options.row(index);
    const { element, cells } = slot;
    element.hidden = false;
    element.style.transform = `translateY(${index * ROW_PX}px)`;
    element.setAttribute("aria-rowindex", String(index + 2));
    element.id = `row-${index}`;
    element.classList.toggle("active", index === this.active);
    element.classList.toggle("waiting", !row);
    // A row that comes later is drawn then.
    slot.index = row ? index : -1;
    element.dataset.index = String(index);
    // Cells of a row that is not here yet are not seen; they keep their parts for the next one.
    for (let at = 0; row && at < cells.length; at += 1) {
      this.columns[at].draw(cells[at], row, index);
    }
    if (row && this.options.mark) {
      this.options.mark(element, row);
    }
  }

  /** The number of a row in sight; -1 if there is none. */
  indexOf(test) {
    const slot = this.pool.find((one) => one.index >= 0 && !one.element.hidden && test(this.options.row(one.index)));
    return slot ? slot.index : -1;
  }

  click(event) {
    const element = event.target.closest(".grid-row");
    if (!element || event.target.closest("a, button, input")) {
      return;
    }
    const index = Number(element.dataset.index);
    this.setActive(index, false);
    const row = this.options.row(index);
    if (row && this.options.open) {
      this.options.open(row, index, event);
    }
  }

  setActive(index, scroll = true) {
    this.active = Math.max(0, Math.min(this.total - 1, index));
    if (scroll) {
      const top = this.active * ROW_PX;
      const { height } = this;
      if (top < this.scroller.scrollTop) {
        this.scroller.scrollTop = top;
      } else if (top + ROW_PX > this.scroller.scrollTop + height) {
        this.scroller.scrollTop = top + ROW_PX - height;
      }
    }
    this.draw();
    for (const slot of this.pool) {
      slot.element.classList.toggle("active", slot.index === this.active && !slot.element.hidden);
    }
    this.scroller.setAttribute("aria-activedescendant", `row-${this.active}`);
  }

  keydown(event) {
    if (event.target !== this.scroller || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_PX) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, j: 1, k: -1 };
    if (event.key in moves) {
      this.setActive(this.active + moves[event.key]);
    } else if (event.key === "Home") {
      this.setActive(0);
    } else if (event.key === "End") {
      this.setActive(this.total - 1);
    } else {
      const row = this.active >= 0 ? this.options.row(this.active) : null;
      if (!row || !this.options.key || !this.options.key(event.key, row, this.active, event)) {
        return;
      }
    }
    event.preventDefault();
  }
}
