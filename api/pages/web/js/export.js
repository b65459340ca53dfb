/**
 * Charts as files: PNG as it is seen, SVG, and CSV of every point that the chart's range holds.
 */

import { postColumns } from "./api.js";
import { readCurves } from "./curves.js";
import { save } from "./dom.js";
import { drawPlot } from "./plot.js";
import { menu, notice } from "./popover.js";
import { SvgPen } from "./svgpen.js";
import { colors } from "./theme.js";

/** More buckets than this no request may ask for; a curve of twice as many points is whole. */
const BUCKETS_MAX = 10000;

export function exportMenu(anchor, chart) {
  menu(anchor, "Export", [
    { label: "PNG image", run: () => png(chart) },
    { label: "SVG drawing", run: () => drawing(chart) },
    { label: "CSV table", run: () => csv(chart).catch((error) => notice(error.message, "bad")) },
  ]);
}

function fileName(chart, end) {
  return `${chart.key.replace(/[^\p{L}\p{N}._-]+/gu, "-")}.${end}`;
}

function png(chart) {
  const { width, height } = chart.canvas;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.fillStyle = colors().surface;
  pen.fillRect(0, 0, width, height);
  pen.drawImage(chart.canvas, 0, 0);
  canvas.toBlob((blob) => save(fileName(chart, "png"), blob), "image/png");
}

function drawing(chart) {
  if (!chart.view) {
    return;
  }
  const pen = new SvgPen(chart.view.width, chart.view.height, colors().surface);
  drawPlot(pen, chart.view, chart.traces, colors(), chart.context.axis);
  save(fileName(chart, "svg"), new Blob([pen.text()], { type: "image/svg+xml" }));
}

/** A cell of CSV. A text that a spreadsheet would take for a formula gets an apostrophe. */
function cell(value) {
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+(e[+-]?\d+)?$/i.test(text) && !/^-Infinity$/.test(text)) {
    text = `'${text}`;
  }
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

async function csv(chart) {
  const { context, key } = chart;
  const zoom = context.axis === "step" && context.zoom;
  const lines = ["run_id,run,key,step,step_last,time,value,min,max,points"];
  for (const run of context.runs) {
    const body = {
      series: [{ run_id: run.id, key }],
      buckets: BUCKETS_MAX,
      start_step: zoom ? Math.floor(zoom[0]) : undefined,
      end_step: zoom ? Math.ceil(zoom[1]) : undefined,
    };
    const [curve] = readCurves(await postColumns("curves", body));
    for (let i = 0; i < curve.n; i += 1) {
      const time = curve.time.length ? new Date(curve.time[i]).toISOString() : "";
      const count = curve.count.length ? curve.count[i] : 1;
      lines.push([run.id, run.name, key, curve.step[i], curve.stepEnd[i], time, curve.mid[i], curve.lo[i], curve.hi[i], count].map(cell).join(","));
    }
    if (curve.bucketed) {
      notice(`${run.name} has ${curve.total} points here: the table has ${curve.n} rows with their means and extremes. Zoom in for single points.`);
    }
  }
  save(fileName(chart, "csv"), new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
}
