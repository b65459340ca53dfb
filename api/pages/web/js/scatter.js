/**
 * One field of many runs against another. Pointing at a point, or moving over the points by keyboard, names its run; a click
 * or Enter opens it.
 */

import { axisLabel, axisNames, axisScale, axisText, fieldChooser, placeOf, varying, wideCanvas } from "./axes.js";
import { eachFrame, h } from "./dom.js";
import { count } from "./format.js";
import { empty } from "./parts.js";
import { go, param, setParams } from "./route.js";
import { colors, curveColor } from "./theme.js";

const SCATTER_PX = 440;
const AROUND = { left: 64, right: 16, top: 14, bottom: 42 };
const REACH_PX = 12;
const MANY = 2000;

export function scatterView(runs, columns) {
  const all = varying(runs, columns);
  if (all.length < 2) {
    return empty("Fewer than two fields differ", "A scatter needs two.");
  }
  const names = all.map((axis) => axis.name);
  const pick = (name, fallback) => all.find((axis) => axis.name === param(name)) || fallback;
  const first = all.find((axis) => axis.name.startsWith("params.") && !axis.texts) || all.find((axis) => axis.name.startsWith("params."));
  const chosenX = pick("sx", first || all[1]);
  const chosenY = pick("sy", all.find((axis) => axis.name.startsWith("metrics.") && axis !== chosenX) || all.find((axis) => axis !== chosenX));
  const logOf = (axis, name) => ({ ...axis, log: !axis.texts && axis.least > 0 && (param(name) ? param(name) === "1" : axis.log) });
  const [x, y] = [logOf(chosenX, "slx"), logOf(chosenY, "sly")];
  const box = h("div", { class: "explore" });
  const plain = `${count(runs.length)} runs`;
  const text = h("span", { class: "muted", role: "status" }, plain);
  /** Places of points, by their x: left, top, run. @type {[number, number, number][]} */
  let places = [];
  let chosen = -1;
  const { canvas, redraw } = wideCanvas(box, SCATTER_PX, (pen, width) => {
    const theme = colors();
    const scaleX = axisScale(x, AROUND.left, width - AROUND.right, 0.04);
    const scaleY = axisScale(y, SCATTER_PX - AROUND.bottom, AROUND.top, 0.04);
    pen.clearRect(0, 0, width, SCATTER_PX);
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.textAlign = "right";
    for (const [value, word] of axisNames(y, scaleY, 8)) {
      const at = Math.round(placeOf(scaleY, value)) + 0.5;
      pen.strokeStyle = theme.grid;
      pen.beginPath();
      pen.moveTo(AROUND.left, at);
      pen.lineTo(width - AROUND.right, at);
      pen.stroke();
      pen.fillStyle = theme.muted;
      pen.fillText(word, AROUND.left - 6, at + 4);
    }
    pen.textAlign = "center";
    for (const [value, word] of axisNames(x, scaleX, width / 110)) {
      pen.fillText(word, placeOf(scaleX, value), SCATTER_PX - AROUND.bottom + 16);
    }
    pen.fillStyle = theme.text;
    pen.fillText(axisLabel(x.name) + (x.log ? " (log)" : ""), (AROUND.left + width) / 2, SCATTER_PX - 8);
    pen.textAlign = "left";
    pen.fillText(axisLabel(y.name) + (y.log ? " (log)" : ""), 8, 12);
    pen.globalAlpha = Math.max(0.25, Math.min(0.85, 300 / runs.length));
    pen.fillStyle = curveColor(0);
    places = [];
    const size = runs.length > MANY ? 4 : 7;
    for (let run = 0; run < runs.length; run += 1) {
      const [left, top] = [placeOf(scaleX, x.values[run]), placeOf(scaleY, y.values[run])];
      if (!Number.isNaN(left + top)) {
        places.push([left, top, run]);
        if (runs.length > MANY) {
          pen.fillRect(left - size / 2, top - size / 2, size, size);
        } else {
          pen.beginPath();
          pen.arc(left, top, size / 2, 0, 2 * Math.PI);
          pen.fill();
        }
      }
    }
    places.sort((a, b) => a[0] - b[0]);
    pen.globalAlpha = 1;
    const mark = places.find((place) => place[2] === chosen);
    if (mark) {
      pen.strokeStyle = theme.text;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(mark[0], mark[1], 7, 0, 2 * Math.PI);
      pen.stroke();
    }
    canvas.setAttribute("aria-label", `${axisLabel(y.name)} against ${axisLabel(x.name)} of ${places.length} runs. Arrow keys move over them.`);
  });
  const later = eachFrame(redraw);
  const choose = (run) => {
    if (run !== chosen) {
      chosen = run;
      canvas.style.cursor = run >= 0 ? "pointer" : "";
      text.textContent = run >= 0 ? `${runs[run].name}: ${axisLabel(x.name)} ${axisText(x, run)}, ${axisLabel(y.name)} ${axisText(y, run)}` : plain;
      later();
    }
  };
  const nearest = (event) => {
    const rect = canvas.getBoundingClientRect();
    const [left, top] = [event.clientX - rect.left, event.clientY - rect.top];
    let [best, least] = [-1, REACH_PX ** 2];
    for (const place of places) {
      const distance = (place[0] - left) ** 2 + (place[1] - top) ** 2;
      if (distance < least) {
        [best, least] = [place[2], distance];
      }
    }
    return best;
  };
  const open = (run) => run >= 0 && go(["run", runs[run].id]);
  canvas.addEventListener("pointermove", (event) => choose(nearest(event)));
  canvas.addEventListener("pointerleave", () => choose(-1));
  canvas.addEventListener("click", (event) => open(nearest(event)));
  canvas.addEventListener("keydown", (event) => {
    const at = places.findIndex((place) => place[2] === chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? places.length - 1 : at - 1, Home: 0, End: places.length - 1 }[event.key];
    if (to !== undefined && places.length) {
      event.preventDefault();
      choose(places[Math.max(0, Math.min(places.length - 1, to))][2]);
    } else if (event.key === "Enter") {
      open(chosen);
    }
  });
  const chip = (words, axis, name) => h("button", { type: "button", class: "chip", "aria-pressed": String(axis.log), disabled: Boolean(axis.texts) || axis.least <= 0, title: "Logarithmic axis", on: { click: () => setParams({ [name]: axis.log ? 0 : 1 }, true) } }, words);
  return h("div", { class: "stack" }, h("div", { class: "row wrap" }, fieldChooser("Vertical", names, y.name, (name) => setParams({ sy: name, sly: null }, true)), chip("log y", y, "sly"), fieldChooser("Horizontal", names, x.name, (name) => setParams({ sx: name, slx: null }, true)), chip("log x", x, "slx"), text), box);
}
