/**
 * One chart: curves of one key of some runs, with zoom, crosshair and keyboard.
 *
 * Several charts share a context: runs, axis, zoom and the place of the pointer. A chart asks for the curves of the range
 * that it shows at the width that it has; until they come it draws what it has.
 */

import { curveOf } from "./curves.js";
import { eachFrame, h } from "./dom.js";
import { clock, duration, exact, number, wholeTime } from "./format.js";
import { MARGIN, drawPlot, layout, roomy } from "./plot.js";
import { pixel, valueAt } from "./scale.js";
import { colors } from "./theme.js";
import { extent, makeTrace, nearestRow, pairTrace, placesOf } from "./trace.js";

/** @typedef {import("./trace.js").Trace} Trace */

/**
 * What charts share.
 * @typedef {object} ChartContext
 * @property {any[]} runs id, name, color, start (Unix ms), strong
 * @property {"step" | "time" | "relative" | "metric"} axis
 * @property {string} axisKey the metric of the axis
 * @property {boolean} logX
 * @property {boolean} logY
 * @property {number} smooth
 * @property {[number, number] | null} zoom
 * @property {number | null} hover
 * @property {((key: string) => { run: any, curve: import("./curves.js").Curve }[]) | null} extra curves of a key that are drawn faint
 * @property {(range: [number, number] | null) => void} setZoom
 * @property {(x: number | null) => void} setHover
 */

const BUCKETS_MIN = 100;
const WHEEL_ZOOM = 0.0018;
const DRAG_PX = 4;
/** Smaller charts are not drawn. */
const SIZE_MIN_PX = 20;
const TIP_RUNS = 12;

/** Something for drawing that is as sharp as the screen. */
function sharp(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [w, y] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== y) {
    canvas.width = w;
    canvas.height = y;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

export class Chart {
  /**
   * @param {ChartContext} context
   * @param {string} key
   */
  constructor(context, key) {
    this.context = context;
    this.key = key;
    this.width = 0;
    this.height = 0;
    /** @type {Trace[]} */
    this.traces = [];
    this.view = null;
    /** What was drawn last. @type {any[] | null} */
    this.drawnOf = null;
    this.drag = null;
    this.cursor = null;
    /** Called after each drawing. */
    this.drawn = () => {};
    this.canvas = h("canvas", { class: "chart-canvas", "aria-hidden": "true" });
    this.over = h("canvas", { class: "chart-canvas chart-over", "aria-hidden": "true" });
    this.over.hidden = true;
    this.tip = h("div", { class: "chart-tip", "aria-hidden": "true" });
    this.tip.hidden = true;
    this.note = h("div", { class: "chart-note" });
    this.element = h(
      "div",
      { class: "chart", tabindex: 0, role: "img", "aria-label": `${key}: no curve yet` },
      this.canvas,
      this.over,
      this.note,
      this.tip,
    );
    this.render = eachFrame(() => this.draw());
    this.listen();
    this.resizes = new ResizeObserver((entries) => {
      const { width, height } = entries[0].contentRect;
      this.width = width;
      this.height = height;
      this.draw();
    });
    this.resizes.observe(this.element);
  }

  destroy() {
    this.resizes.disconnect();
    this.gone = true;
  }

  /** The curve of a run over the metric of the axis; null until both are here. @returns {Trace | null} */
  pairOf(run, from, to) {
    const { axisKey, smooth } = this.context;
    const ask = { from, to, buckets: this.buckets(), points: false };
    const [curve, other] = [this.key, axisKey].map((key) => curveOf(run.id, key, ask, this.render));
    return curve && other ? pairTrace(run, curve, other, smooth) : null;
  }

  /** The same in the range that is shown: of the steps whose places are within it. */
  pairIn(run, range) {
    const whole = this.pairOf(run, null, null);
    if (!whole || !range || !whole.curve.bucketed) {
      return whole;
    }
    let [from, to] = [Infinity, -Infinity];
    for (let i = 0; i < whole.x.length; i += 1) {
      if (whole.x[i] >= range[0] && whole.x[i] <= range[1]) {
        from = Math.min(from, whole.curve.step[i] ?? Infinity);
        to = Math.max(to, whole.curve.stepEnd[i] ?? -Infinity);
      }
    }
    return (from <= to && this.pairOf(run, from, to)) || whole;
  }

  /** The steps that a range of the axis needs; null: all. */
  stepsOf(run, range) {
    if (!range) {
      return [null, null];
    }
    if (this.context.axis === "step") {
      return [Math.floor(range[0]), Math.ceil(range[1])];
    }
    // Times are in no index: the whole curve says which steps surround the range.
    const whole = curveOf(run.id, this.key, { from: null, to: null, buckets: this.buckets(), points: true }, this.render);
    if (!whole || !whole.n) {
      return [null, null];
    }
    const trace = makeTrace(run, whole, this.context.axis, 0);
    let [from, to] = [whole.stepFirst, whole.stepLast];
    for (let i = 0; i < trace.x.length; i += 1) {
      if (trace.x[i] < range[0]) {
        from = trace.curve.step[i] ?? from;
      }
      if (trace.x[i] > range[1]) {
        to = trace.curve.step[i] ?? to;
        break;
      }
    }
    return from <= to ? [from, to] : [null, null];
  }

  buckets() {
    const pixels = Math.max(BUCKETS_MIN, Math.round(this.width - MARGIN.left - MARGIN.right));
    // Sizes in steps, so that a slightly other width finds what is kept.
    return Math.ceil(pixels / 100) * 100;
  }

  /** Asks for the curves that the next drawing needs. */
  ask() {
    if (this.width >= SIZE_MIN_PX) {
      this.read();
    }
  }

  read() {
    const { context } = this;
    const traces = [];
    let missing = 0;
    for (const run of context.axis === "metric" ? context.runs : []) {
      const trace = this.pairIn(run, context.zoom) || this.traces.find((one) => one.run.id === run.id && one.free);
      missing += trace ? 0 : 1;
      if (trace && trace.x.length) {
        traces.push({ ...trace, run });
      }
    }
    for (const run of context.axis === "metric" ? [] : context.runs) {
      const [from, to] = this.stepsOf(run, context.zoom);
      const points = context.axis !== "step";
      const ask = { from, to, buckets: this.buckets(), points };
      let curve = curveOf(run.id, this.key, ask, this.render);
      if (!curve) {
        missing += 1;
        // Something coarser is better than nothing.
        const old = this.traces.find((trace) => trace.run.id === run.id && !trace.faint && !trace.free);
        curve = old ? old.curve : null;
      }
      if (curve && (curve.n || curve.tail.length)) {
        traces.push(makeTrace(run, curve, context.axis, context.smooth));
      }
    }
    for (const one of context.axis === "metric" || !context.extra ? [] : context.extra(this.key)) {
      traces.unshift({ ...makeTrace(one.run, one.curve, context.axis, context.smooth), faint: true });
    }
    this.missing = missing;
    this.traces = traces;
  }

  /**
   * The range of the x axis that is shown.
   * @returns {[number, number]}
   */
  xRange() {
    const { zoom, logX } = this.context;
    if (zoom) {
      return logX && zoom[0] <= 0 ? [Math.min(1, zoom[1] / 2), zoom[1]] : zoom;
    }
    let [least, greatest] = [Infinity, -Infinity];
    for (const trace of this.traces) {
      const [first, last] = placesOf(trace);
      greatest = Math.max(greatest, last);
      if (!logX || first > 0) {
        least = Math.min(least, first);
        continue;
      }
      // A logarithmic axis begins at the first place above 0.
      for (let i = 0; i < trace.x.length; i += 1) {
        if (trace.x[i] > 0) {
          least = Math.min(least, trace.x[i]);
        }
      }
    }
    if (!(least < greatest)) {
      const at = Number.isFinite(least) ? least : 0;
      return logX ? [Math.max(at, 1e-9) / 2, Math.max(at, 1e-9) * 2] : [at - 1, at + 1];
    }
    return [least, greatest];
  }

  /** Whether anything that is drawn is another than at the last drawing. */
  isChanged(theme) {
    const { context, width, height, traces } = this;
    const now = [width, height, devicePixelRatio, theme, context.axis, context.axisKey, context.logX, context.logY, context.smooth, context.zoom?.[0], context.zoom?.[1], context.runs.length, this.missing > 0];
    for (const { run, curve, faint, free, x } of traces) {
      // Curves over another metric are put together anew each time.
      now.push(run.id, run.name, run.color, run.strong, curve, curve.tail.length, faint, free ? x : null);
    }
    const before = this.drawnOf;
    this.drawnOf = now;
    return !before || before.length !== now.length || now.some((one, at) => one !== before[at]);
  }

  draw() {
    if (this.gone || this.width < SIZE_MIN_PX || this.height < SIZE_MIN_PX) {
      return;
    }
    this.read();
    this.element.setAttribute("aria-busy", String(this.missing > 0));
    const { context, width, height } = this;
    const theme = colors();
    if (!this.isChanged(theme)) {
      return;
    }
    const pen = sharp(this.canvas, width, height);
    if (!this.traces.length) {
      pen.clearRect(0, 0, width, height);
      this.view = null;
      this.note.textContent = this.missing ? "" : context.runs.length ? "No points" : "No runs are shown";
      this.note.hidden = Boolean(this.missing);
      this.drawOver();
      return;
    }
    this.note.hidden = true;
    const xRange = this.xRange();
    const found = extent(this.traces, xRange[0], xRange[1], context.logY);
    const yRange = roomy(found || (context.logY ? [0.1, 1] : [0, 1]), context.logY && Boolean(found));
    this.view = { width, height, xRange, yRange, logX: context.logX, logY: context.logY };
    drawPlot(pen, this.view, this.traces, theme, context.axis);
    const total = this.traces.reduce((sum, trace) => sum + trace.curve.total, 0);
    this.element.setAttribute(
      "aria-label",
      `${this.key}: ${this.traces.length} ${this.traces.length === 1 ? "curve" : "curves"}, ${total} points, from ${number(found?.[0] ?? NaN)} to ${number(found?.[1] ?? NaN)}. Arrow keys move along it.`,
    );
    this.drawOver();
  }

  /** Crosshair, the values there, and the range that is dragged. */
  drawOver() {
    // A canvas that nobody needs costs in every frame.
    this.over.hidden = !this.view || (!this.drag && this.context.hover === null);
    this.drawn();
    if (this.over.hidden) {
      this.tip.hidden = true;
      return;
    }
    const pen = sharp(this.over, this.width, this.height);
    pen.clearRect(0, 0, this.width, this.height);
    const theme = colors();
    const { x, y } = layout(this.view);
    if (this.drag && Math.abs(this.drag.to - this.drag.from) >= DRAG_PX) {
      const [from, to] = [Math.min(this.drag.from, this.drag.to), Math.max(this.drag.from, this.drag.to)];
      pen.globalAlpha = 0.15;
      pen.fillStyle = theme.accent;
      pen.fillRect(from, MARGIN.top, to - from, this.height - MARGIN.bottom - MARGIN.top);
      pen.globalAlpha = 1;
    }
    const { hover } = this.context;
    if (hover === null || hover < x.min || hover > x.max) {
      this.tip.hidden = true;
      return;
    }
    const at = Math.round(pixel(x, hover)) + 0.5;
    pen.strokeStyle = theme.muted;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    pen.beginPath();
    pen.moveTo(at, MARGIN.top);
    pen.lineTo(at, this.height - MARGIN.bottom);
    pen.stroke();
    pen.setLineDash([]);
    for (const { trace, row } of this.valuesAt(hover)) {
      const place = pixel(y, trace.line[row]);
      if (!Number.isNaN(place)) {
        pen.fillStyle = trace.run.color;
        pen.strokeStyle = theme.surface;
        pen.lineWidth = 1.5;
        pen.beginPath();
        pen.arc(pixel(x, (trace.x[row] + trace.xEnd[row]) / 2), place, 3.5, 0, 2 * Math.PI);
        pen.fill();
        pen.stroke();
      }
    }
    this.showTip(at);
  }

  /** The rows at a place, best value first as people read a chart: from above. */
  valuesAt(place) {
    const list = [];
    for (const trace of this.traces) {
      const row = nearestRow(trace, place);
      // A curve that is elsewhere has no value here.
      const near = (this.view.xRange[1] - this.view.xRange[0]) * 0.02;
      const [first, last] = placesOf(trace);
      if (row >= 0 && place >= first - near && place <= last + near) {
        list.push({ trace, row, value: trace.mid[row] });
      }
    }
    return list.sort((a, b) => (Number.isNaN(a.value) ? 1 : Number.isNaN(b.value) ? -1 : b.value - a.value));
  }

  xText(trace, row) {
    if (this.context.axis === "time") {
      return wholeTime(trace.x[row]);
    }
    if (this.context.axis === "relative") {
      return duration(trace.x[row]);
    }
    if (trace.free) {
      const step = trace.curve.step[row];
      return `${this.context.axisKey} ${number(trace.x[row])}${step === undefined ? "" : ` · step ${exact(step)}`}`;
    }
    const [from, to] = [trace.x[row], trace.xEnd[row]];
    return from === to ? `step ${exact(from)}` : `steps ${exact(from)} to ${exact(to)}`;
  }

  showTip(at) {
    if (!this.pointed && document.activeElement !== this.element) {
      this.tip.hidden = true;
      return;
    }
    const list = this.valuesAt(this.context.hover);
    if (!list.length) {
      this.tip.hidden = true;
      return;
    }
    const rows = list.slice(0, TIP_RUNS).map(({ trace, row }) => {
      const odd = trace.curve.odd[row] > 0 ? ` · ${trace.curve.odd[row]} not finite` : "";
      const count = trace.curve.count[row];
      const range = count > 1 ? `${number(trace.lo[row])} … ${number(trace.hi[row])}${odd}` : "";
      const shown = count > 1 || trace.smooth ? number(trace.mid[row]) : exact(trace.mid[row]);
      return h(
        "div",
        { class: "tip-row" },
        h("span", { class: "swatch", style: { background: trace.run.color } }),
        h("span", { class: "tip-name ellipsis" }, h("bdi", null, trace.run.name)),
        h("span", { class: "tip-value" }, shown),
        range ? h("span", { class: "tip-range" }, range) : null,
      );
    });
    const more = list.length > TIP_RUNS ? h("div", { class: "muted" }, `and ${list.length - TIP_RUNS} more`) : null;
    const when = list[0].trace.curve.time.length ? list[0].trace.curve.time[list[0].row] : undefined;
    const head = this.xText(list[0].trace, list[0].row) + (when && this.context.axis === "step" ? ` · ${clock(when)}` : "");
    this.tip.replaceChildren(h("div", { class: "tip-head" }, head), ...rows, ...(more ? [more] : []));
    this.tip.hidden = false;
    const width = this.tip.offsetWidth;
    const left = at + 14 + width > this.width ? Math.max(0, at - 14 - width) : at + 14;
    this.tip.style.transform = `translate(${left}px, ${MARGIN.top}px)`;
    if (document.activeElement === this.element && this.cursor !== null) {
      this.element.setAttribute("aria-description", `${head}: ${list.slice(0, 5).map(({ trace, value }) => `${trace.run.name} ${number(value)}`).join(", ")}`);
    }
  }

  // ---- what people do ----

  listen() {
    const { element } = this;
    const place = (event) => event.clientX - this.canvas.getBoundingClientRect().left;
    element.addEventListener("pointermove", (event) => {
      if (!this.view) {
        return;
      }
      this.pointed = true;
      if (this.drag) {
        this.drag.to = Math.max(MARGIN.left, Math.min(this.width - MARGIN.right, place(event)));
      }
      const { x } = layout(this.view);
      const at = place(event);
      this.context.setHover(at < MARGIN.left || at > this.width - MARGIN.right ? null : valueAt(x, at));
    });
    element.addEventListener("pointerleave", () => {
      this.pointed = false;
      if (!this.drag) {
        this.context.setHover(null);
      }
    });
    element.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && this.view && event.pointerType !== "touch") {
        element.setPointerCapture(event.pointerId);
        this.drag = { from: Math.max(MARGIN.left, place(event)), to: place(event) };
      }
    });
    element.addEventListener("pointerup", () => {
      const { drag } = this;
      this.drag = null;
      if (drag && this.view && Math.abs(drag.to - drag.from) >= DRAG_PX) {
        const { x } = layout(this.view);
        const ends = [valueAt(x, drag.from), valueAt(x, drag.to)].sort((a, b) => a - b);
        this.zoomTo(ends[0], ends[1]);
      } else {
        this.drawOver();
      }
    });
    element.addEventListener("dblclick", () => this.context.setZoom(null));
    element.addEventListener(
      "wheel",
      (event) => {
        // Without a key the wheel scrolls the page, except over the chart that people work with.
        if (!this.view || !(event.ctrlKey || event.metaKey || document.activeElement === element)) {
          return;
        }
        event.preventDefault();
        const { x } = layout(this.view);
        if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
          const by = ((event.deltaX || event.deltaY) / (x.to - x.from)) * (x.max - x.min);
          this.zoomTo(x.min + by, x.max + by);
        } else {
          this.zoomBy(Math.exp(event.deltaY * WHEEL_ZOOM), valueAt(x, place(event)));
        }
      },
      { passive: false },
    );
    element.addEventListener("keydown", (event) => this.keydown(event));
    element.addEventListener("blur", () => {
      this.cursor = null;
      this.context.setHover(null);
    });
  }

  zoomBy(factor, around) {
    const [from, to] = this.view.xRange;
    this.zoomTo(around - (around - from) * factor, around + (to - around) * factor);
  }

  /** Zooms to a range, at least one step wide and at most the whole. */
  zoomTo(from, to) {
    const [first, last] = this.whole();
    const least = { step: 2, metric: (last - first) * 1e-9 }[this.context.axis] ?? 1;
    if (to - from < least) {
      const middle = (from + to) / 2;
      [from, to] = [middle - least / 2, middle + least / 2];
    }
    const width = to - from;
    if (width >= (last - first) * 0.999) {
      this.context.setZoom(null);
      return;
    }
    from = Math.max(first, Math.min(last - width, from));
    this.context.setZoom([from, from + width]);
  }

  /** The whole range of the axis. */
  whole() {
    let [first, last] = [Infinity, -Infinity];
    for (const { curve, run } of this.traces) {
      if (this.context.axis === "step") {
        first = Math.min(first, curve.stepFirst);
        last = Math.max(last, curve.stepLast);
        continue;
      }
      if (this.context.axis === "metric") {
        const pair = this.pairOf(run, null, null);
        const [from, to] = pair ? placesOf(pair) : [Infinity, -Infinity];
        first = Math.min(first, from);
        last = Math.max(last, to);
        continue;
      }
      const all = curveOf(run.id, this.key, { from: null, to: null, buckets: this.buckets(), points: true }, this.render) || curve;
      const trace = makeTrace(run, all, this.context.axis, 0);
      first = Math.min(first, trace.x[0] ?? first);
      last = Math.max(last, trace.x[trace.x.length - 1] ?? last);
    }
    return [first, last];
  }

  keydown(event) {
    if (!this.view || event.altKey) {
      return;
    }
    const [from, to] = this.view.xRange;
    const middle = this.context.hover ?? (from + to) / 2;
    const width = to - from;
    const keys = {
      "+": () => this.zoomBy(0.5, middle),
      "=": () => this.zoomBy(0.5, middle),
      "-": () => this.zoomBy(2, middle),
      "0": () => this.context.setZoom(null),
      Home: () => this.moveTo(from),
      End: () => this.moveTo(to),
      ArrowLeft: () => (event.shiftKey ? this.zoomTo(from - width / 4, to - width / 4) : this.step(-1)),
      ArrowRight: () => (event.shiftKey ? this.zoomTo(from + width / 4, to + width / 4) : this.step(1)),
    };
    if (event.key in keys) {
      event.preventDefault();
      event.stopPropagation();
      keys[event.key]();
    }
  }

  moveTo(x) {
    this.cursor = x;
    this.context.setHover(x);
  }

  /** Moves the crosshair to the next row of the curve that has most. */
  step(by) {
    const trace = this.traces.reduce((best, one) => (one.x.length > best.x.length ? one : best), this.traces[0]);
    if (!trace) {
      return;
    }
    const now = this.context.hover;
    const at = now === null ? (by > 0 ? -1 : trace.x.length) : nearestRow(trace, now);
    const row = trace.free ? neighbour(trace, now, by) : Math.max(0, Math.min(trace.x.length - 1, at + by));
    const x = (trace.x[row] + trace.xEnd[row]) / 2;
    if (x < this.view.xRange[0] || x > this.view.xRange[1]) {
      const width = this.view.xRange[1] - this.view.xRange[0];
      this.zoomTo(x - width / 2, x + width / 2);
    }
    this.moveTo(x);
  }
}

/** The row whose place comes next after another place, to the right or left. */
function neighbour(trace, place, by) {
  let best = -1;
  for (let i = 0; i < trace.x.length; i += 1) {
    const beyond = place === null || (by > 0 ? trace.x[i] > place : trace.x[i] < place);
    if (beyond && (best < 0 || (by > 0 ? trace.x[i] < trace.x[best] : trace.x[i] > trace.x[best]))) {
      best = i;
    }
  }
  return best < 0 ? nearestRow(trace, place) : best;
}
