/**
 * Charts with their controls: axis, scales, smoothing, zoom, and the keys that are shown. All of it is in the address.
 */

import { Cards } from "./cards.js";
import { addPoints, askNow, forget, onCurveFailure } from "./curves.js";
import { fill, h, icon, later } from "./dom.js";
import { count, duration, exact, number, time } from "./format.js";
import { metricBox } from "./metricbox.js";
import { notice } from "./popover.js";
import { route, setParams } from "./route.js";
import { curveColor, onTheme } from "./theme.js";

/** A metric as axis, in the address; and the choice of one. */
const METRIC_AXIS = "metric:";
const ANOTHER = "another";
/** How often points that arrive are drawn: more often nobody sees. */
const LIVE_DRAW_MS = 1000;

export class ChartPanel {
  /** @param {{ prefix?: string }} options */
  constructor(options = {}) {
    this.keys = [];
    this.isRead = false;
    const panel = this;
    /** @type {import("./chart.js").ChartContext} */
    this.context = {
      runs: [],
      axis: "step",
      axisKey: "",
      logX: false,
      logY: false,
      smooth: 0,
      zoom: null,
      hover: null,
      extra: null,
      setZoom(range) {
        panel.setZoom(range);
      },
      setHover(x) {
        if (x !== this.hover) {
          this.hover = x;
          panel.cards.redrawOver();
        }
      },
    };
    this.options = options;
    this.cards = new Cards(this.context, { enlarge: (key) => setParams({ chart: key }), emphasize: (id) => this.emphasize(id) });
    this.dirty = new Set();
    this.search = h("input", { type: "search", placeholder: "Search charts", "aria-label": "Search charts", on: { input: later(120, () => setParams({ keys: this.search.value }, true)) } });
    this.axis = h(
      "select",
      { "aria-label": "Horizontal axis", class: "axis-select", on: { change: () => this.chooseAxis() } },
      [["step", "Step"], ["time", "Time"], ["relative", "Since start"], [ANOTHER, "Another metric…"]].map(([value, text]) => h("option", { value }, text)),
    );
    this.axisOwn = h("option");
    this.logX = this.toggle("log x", "Logarithmic horizontal axis", "logx");
    this.logY = this.toggle("log y", "Logarithmic vertical axis", "logy");
    this.smooth = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, "aria-label": "Smoothing", on: { input: () => this.setSmooth(Number(this.smooth.value)) } });
    this.smoothText = h("span", { class: "muted mono smooth-text", "aria-hidden": "true" });
    this.zoomText = h("button", { type: "button", class: "chip zoom-chip", title: "Show the whole range (0)", on: { click: () => this.setZoom(null) } });
    this.amount = h("span", { class: "muted" });
    this.element = h(
      "section",
      { class: "chart-panel", "aria-label": "Charts" },
      h(
        "div",
        { class: "chart-tools" },
        h("div", { class: "search-box" }, icon("search"), this.search),
        this.axis,
        this.logX,
        this.logY,
        h("label", { class: "smooth", title: "Smoothing; bands of least and greatest values stay as they are" }, h("span", { class: "muted" }, "Smooth"), this.smooth, this.smoothText),
        this.zoomText,
        h("span", { class: "grow" }),
        this.amount,
      ),
      this.cards.element,
    );
    this.drawLive = () => {
      this.timer = 0;
      const keys = this.dirty;
      this.dirty = new Set();
      this.cards.redraw(keys);
    };
    onTheme(() => this.recolor());
    onCurveFailure((error) => {
      if (this.element.isConnected && error.message !== this.lastFailure) {
        this.lastFailure = error.message;
        notice(`Curves could not be read: ${error.message}`, "bad");
      }
    });
  }

  destroy() {
    clearTimeout(this.timer);
    this.cards.destroy();
  }

  toggle(text, label, name) {
    const button = h("button", { type: "button", class: "chip", "aria-pressed": "false", title: label, on: { click: () => setParams({ [name]: button.getAttribute("aria-pressed") === "true" ? null : 1, ...(name === "logx" ? { zoom: null } : {}) }) } }, text);
    return button;
  }

  chooseAxis() {
    const { value } = this.axis;
    if (value !== ANOTHER) {
      setParams({ x: value === "step" ? null : value, zoom: null });
      return;
    }
    this.showAxis();
    metricBox(this.axis, this.keys, (key) => setParams({ x: METRIC_AXIS + key, zoom: null, logx: null }));
  }

  /** Shows which axis it is. */
  showAxis() {
    const { axis, axisKey } = this.context;
    if (axis === "metric") {
      this.axisOwn.value = METRIC_AXIS + axisKey;
      this.axisOwn.textContent = axisKey;
      this.axis.append(this.axisOwn);
      this.axis.value = this.axisOwn.value;
    } else {
      this.axisOwn.remove();
      this.axis.value = axis;
    }
  }

  setSmooth(value) {
    this.context.smooth = value;
    this.smoothText.textContent = value ? value.toFixed(2) : "off";
    this.cards.redraw();
    setParams({ smooth: value || null }, true);
  }

  setZoom(range) {
    this.context.zoom = range;
    this.showZoom();
    this.askAndDraw();
    const text = { step: (x) => Number(x.toFixed(2)), metric: (x) => Number(x.toPrecision(12)) }[this.context.axis] || Math.round;
    // A step of the wheel is no step to go back to.
    clearTimeout(this.zoomTimer);
    this.zoomTimer = setTimeout(() => setParams({ zoom: range ? range.map(text).join("~") : null }, true), 150);
  }

  /** Draws charts again; the curves that they need are on their way before. */
  askAndDraw() {
    this.cards.ask();
    askNow();
    this.cards.redraw();
  }

  showZoom() {
    const { zoom, axis } = this.context;
    this.zoomText.hidden = !zoom;
    if (zoom) {
      const text = { step: (x) => exact(Math.round(x)), time, relative: duration, metric: number }[axis];
      fill(this.zoomText, `${text(zoom[0])} – ${text(zoom[1])}`, icon("close"));
    }
  }

  /** Takes from the address what it says about charts. */
  readRoute() {
    const { query } = route();
    const { context } = this;
    const axis = query.get("x") || "step";
    context.axis = /** @type {any} */ (axis.startsWith(METRIC_AXIS) ? "metric" : ["time", "relative"].includes(axis) ? axis : "step");
    context.axisKey = context.axis === "metric" ? axis.slice(METRIC_AXIS.length) : "";
    const isNumber = context.axis === "step" || context.axis === "metric";
    context.logX = query.get("logx") === "1" && isNumber;
    context.logY = query.get("logy") === "1";
    const smooth = Number(query.get("smooth"));
    context.smooth = smooth > 0 && smooth < 1 ? smooth : 0;
    const ends = (query.get("zoom") || "").split("~").map(Number);
    context.zoom = ends.length === 2 && ends.every(Number.isFinite) && ends[0] < ends[1] ? [ends[0], ends[1]] : null;
    this.showAxis();
    this.logX.setAttribute("aria-pressed", String(context.logX));
    this.logX.disabled = !isNumber;
    this.logY.setAttribute("aria-pressed", String(context.logY));
    if (document.activeElement !== this.smooth) {
      this.smooth.value = String(context.smooth);
    }
    this.smoothText.textContent = context.smooth ? context.smooth.toFixed(2) : "off";
    if (document.activeElement !== this.search) {
      this.search.value = query.get("keys") || "";
    }
    this.showZoom();
    this.showKeys();
    this.cards.redraw();
    this.cards.showLarge(query.get("chart") || "", (key) => {
      // Closed by hand; where the address closed it, it says so already.
      if (route().query.get("chart") === key) {
        setParams({ chart: null });
      }
    });
  }

  /** @param {string[]} keys */
  setKeys(keys) {
    this.keys = keys;
    this.isRead = true;
    this.showKeys();
  }

  showKeys() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = words.length ? this.keys.filter((key) => words.every((word) => key.toLowerCase().includes(word))) : this.keys;
    this.amount.textContent = words.length ? `${count(shown.length)} of ${count(this.keys.length)}` : `${count(this.keys.length)} ${this.keys.length === 1 ? "chart" : "charts"}`;
    this.cards.setKeys(shown, !this.isRead ? "" : words.length ? "No chart matches" : "Charts of metrics are drawn here");
    askNow();
  }

  /** @param {{ id: string, name: string, start: number | null }[]} runs */
  setRuns(runs) {
    const same = runs.length === this.context.runs.length && runs.every((run, at) => run.id === this.context.runs[at].id && run.name === this.context.runs[at].name);
    if (!same) {
      this.context.runs = runs.map((run, at) => ({ id: run.id, name: run.name || run.id.slice(0, 8), start: run.start, color: curveColor(at), strong: false }));
      this.cards.draw();
      this.askAndDraw();
    }
  }

  recolor() {
    this.context.runs.forEach((run, at) => {
      run.color = curveColor(at);
    });
    this.cards.redraw();
  }

  colorOf(id) {
    const found = this.context.runs.find((run) => run.id === id);
    return found ? found.color : null;
  }

  /** Makes the curves of one run stand out. */
  emphasize(id) {
    let changed = false;
    for (const run of this.context.runs) {
      const strong = run.id === id;
      changed ||= run.strong !== strong;
      run.strong = strong;
    }
    if (changed) {
      this.cards.redraw();
    }
  }

  /** Charts of a metric are drawn again; all of them if it is the axis. */
  touched(key) {
    this.dirty.add(key);
    if (this.context.axisKey === key) {
      this.keys.forEach((one) => this.dirty.add(one));
    }
  }

  /** Takes what the stream brought. @param {import("./live.js").Change | null} change */
  change(change) {
    if (!change) {
      forget("", "");
      this.cards.redraw();
      return;
    }
    for (const [run, key, steps, times, values] of change.points) {
      if (addPoints(run, key, steps, times, values)) {
        this.touched(key);
      }
    }
    for (const [run, key] of change.series) {
      forget(run, key);
      this.touched(key);
    }
    for (const [run, kinds] of Object.entries(change.runs)) {
      if (kinds.some((kind) => /Rewound|Purged/.test(kind))) {
        forget(run, "");
        this.cards.redraw();
      }
    }
    if (this.dirty.size && !this.timer) {
      this.timer = setTimeout(this.drawLive, LIVE_DRAW_MS);
    }
  }
}
