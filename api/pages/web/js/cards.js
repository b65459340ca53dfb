/**
 * Cards of charts, one a key: only those in sight are elements, however many keys there are.
 */

import { Chart } from "./chart.js";
import { askNow } from "./curves.js";
import { eachFrame, h, iconButton } from "./dom.js";
import { exportMenu } from "./export.js";
import { legendOf } from "./legend.js";
import { dialog } from "./popover.js";

const CARD_MIN_PX = 300;
const CARD_MAX_PX = 900;
const CARD_HEIGHT_PX = 232;
const CARD_HEIGHT_MAX_PX = 380;
/** As the style sheet says. */
const CARD_BORDER_PX = 1;
const CARD_HEAD_PX = 34;
const GAP_PX = 12;
const SPARE_PX = 200;

export class Cards {
  /**
   * @param {import("./chart.js").ChartContext} context
   * @param {{ enlarge: (key: string) => void, emphasize: (id: string) => void }} calls
   */
  constructor(context, { enlarge, emphasize }) {
    this.context = context;
    this.enlarge = enlarge;
    this.emphasize = emphasize;
    this.largeBox = null;
    /** @type {string[]} */
    this.keys = [];
    /** @type {Map<string, { chart: Chart, element: any }>} */
    this.cards = new Map();
    /** The chart in the large view. @type {Chart | null} */
    this.large = null;
    this.body = h("div", { class: "cards-body", role: "list", "aria-label": "Charts" });
    this.none = h("p", { class: "empty muted" });
    this.none.hidden = true;
    this.element = h("div", { class: "cards", tabindex: -1, on: { scroll: eachFrame(() => this.draw()) } }, this.none, this.body);
    /** Room for cards, in pixels: asking the page would lay it out before it is whole. */
    this.width = 0;
    this.height = 0;
    this.sizes = new ResizeObserver(() => {
      this.measure();
      this.draw();
      // Before this frame is painted.
      askNow();
    });
    this.sizes.observe(this.element);
  }

  destroy() {
    this.sizes.disconnect();
    if (this.large) {
      this.largeBox.close();
    }
    for (const { chart } of this.cards.values()) {
      chart.destroy();
    }
  }

  measure() {
    this.width = this.element.clientWidth;
    this.height = this.element.clientHeight;
  }

  /** @param {string[]} keys @param {string} none what is said where there are none */
  setKeys(keys, none) {
    this.keys = keys;
    this.none.textContent = none;
    this.none.hidden = keys.length > 0;
    this.body.hidden = !keys.length;
    this.draw();
  }

  /** Charts that are in sight. */
  *charts() {
    for (const { chart } of this.cards.values()) {
      yield chart;
    }
    if (this.large) {
      yield this.large;
    }
  }

  /** Asks for the curves that charts will need for their next drawing. */
  ask() {
    for (const chart of this.charts()) {
      chart.ask();
    }
  }

  /** Draws charts again. Without a key: all. */
  redraw(keys = null) {
    for (const chart of this.charts()) {
      if (!keys || keys.has(chart.key)) {
        chart.render();
      }
    }
  }

  redrawOver() {
    for (const chart of this.charts()) {
      chart.drawOver();
    }
  }

  draw() {
    if (!this.width && this.keys.length && this.context.runs.length) {
      // All is there: the page is laid out a little earlier, and the curves are on their way meanwhile.
      this.measure();
    }
    const width = this.width - 2 * GAP_PX;
    if (width <= 0) {
      return;
    }
    const room = Math.max(1, Math.floor((width + GAP_PX) / (CARD_MIN_PX + GAP_PX)));
    // Few charts are large ones.
    const columns = Math.max(1, Math.min(room, this.keys.length));
    const cardWidth = Math.min(Math.max(CARD_MAX_PX, width / 2), (width - (columns - 1) * GAP_PX) / columns);
    const cardHeight = columns < room ? Math.min(CARD_HEIGHT_MAX_PX, Math.max(CARD_HEIGHT_PX, cardWidth * 0.5)) : CARD_HEIGHT_PX;
    const pitch = cardHeight + GAP_PX;
    const rows = Math.ceil(this.keys.length / columns);
    this.body.style.height = `${rows * pitch + GAP_PX}px`;
    const { scrollTop } = this.element;
    const top = scrollTop - SPARE_PX;
    const bottom = scrollTop + this.height + SPARE_PX;
    const first = Math.max(0, Math.floor(top / pitch)) * columns;
    const end = Math.min(this.keys.length, Math.ceil(bottom / pitch) * columns);
    const wanted = new Set(this.keys.slice(first, end));
    for (const [key, card] of this.cards) {
      if (!wanted.has(key)) {
        card.chart.destroy();
        card.element.remove();
        this.cards.delete(key);
      }
    }
    for (let i = first; i < end; i += 1) {
      const key = this.keys[i];
      const card = this.cards.get(key) || this.make(key, cardWidth, cardHeight);
      const { style } = card.element;
      style.width = `${cardWidth}px`;
      style.height = `${cardHeight}px`;
      style.transform = `translate(${GAP_PX + (i % columns) * (cardWidth + GAP_PX)}px, ${GAP_PX + Math.floor(i / columns) * pitch}px)`;
      card.element.setAttribute("aria-posinset", String(i + 1));
      card.element.setAttribute("aria-setsize", String(this.keys.length));
    }
  }

  make(key, width, height) {
    const chart = new Chart(this.context, key);
    // As large as it will be: so its curves are asked for before it is laid out.
    chart.width = width - 2 * CARD_BORDER_PX;
    chart.height = height - 2 * CARD_BORDER_PX - CARD_HEAD_PX;
    chart.ask();
    const element = h(
      "section",
      { class: "card", role: "listitem" },
      h(
        "div",
        { class: "card-head" },
        h("h3", { class: "card-title ellipsis", title: key }, h("bdi", null, key)),
        h(
          "div",
          { class: "card-tools" },
          iconButton("download", `Export ${key}`, (event) => exportMenu(event.currentTarget, chart), { "aria-haspopup": "menu" }),
          iconButton("expand", `Enlarge ${key}`, () => this.enlarge(key)),
        ),
      ),
      chart.element,
    );
    this.body.append(element);
    const card = { chart, element };
    this.cards.set(key, card);
    return card;
  }

  /** Shows a chart large, or none. What is shown is in the address; `closed` is called when somebody closes it. */
  showLarge(key, closed) {
    if (this.large && this.large.key !== key) {
      this.largeBox.close();
    }
    if (!key || this.large) {
      return;
    }
    const chart = new Chart(this.context, key);
    this.large = chart;
    const legend = legendOf(chart, this.emphasize);
    chart.drawn = eachFrame(() => legend.draw());
    const tools = h("div", { class: "row end" }, h("span", { class: "muted grow" }, "Drag or scroll to zoom, double-click for the whole; + − 0 ← →"), iconButton("download", "Export", (event) => exportMenu(event.currentTarget, chart), { "aria-haspopup": "menu" }));
    this.largeBox = dialog(key, h("div", { class: "large-chart" }, chart.element, tools, legend.element), "wide-dialog");
    chart.element.focus();
    this.largeBox.addEventListener("close", () => {
      chart.destroy();
      this.large = null;
      closed(key);
    });
  }
}
