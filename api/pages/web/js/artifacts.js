/**
 * Files of a run, a logged model or a version: folders on the left, the chosen file on the right. Files are shown by what they are; HTML only in
 * a sandbox of its own.
 */

import { fileBytes, filePageUrl, fileUrl, get } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { msOfMoment, sizeText, wholeTime } from "./format.js";
import { markdown } from "./markdown.js";
import { empty, failure, loading } from "./parts.js";
import { param, setParams } from "./route.js";

const TEXT_BYTES_MAX = 1 << 20;
const TABLE_ROWS_MAX = 500;
const IMAGE = /\.(png|jpe?g|gif|webp|avif|bmp|svg|ico)$/i;
const AUDIO = /\.(wav|mp3|ogg|flac|m4a|opus)$/i;
const VIDEO = /\.(mp4|webm|ogv|mov)$/i;
const TABLE = /\.(csv|tsv)$/i;
const DOCUMENT = /\.(md|markdown)$/i;
const PAGE = /\.html?$/i;
const JSON_FILE = /\.(json|geojson)$/i;

function fileOf(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Whether a file was changed after the moment that the page shows. */
function isNewer(file) {
  const at = msOfMoment(param("at"));
  return file.modified !== null && file.modified > at;
}

/** @param {import("./api.js").Owner} owner */
export function artifactsPanel(owner) {
  const tree = h("div", { class: "tree", role: "tree", "aria-label": "Files" });
  const shown = h("div", { class: "artifact" });
  const element = h("div", { class: "artifacts" }, tree, shown);
  const opened = new Map();

  async function listing(folder) {
    const answer = await get("files", { ...owner, path: folder, as_of: "" });
    const files = answer.files.map((file) => ({ path: file.path, folder: file.folder, bytes: file.bytes, modified: file.modified_ms }));
    return files.sort((a, b) => Number(b.folder) - Number(a.folder) || a.path.localeCompare(b.path, undefined, { numeric: true }));
  }

  /** The files beside one. */
  async function filesOf(path) {
    const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
    if (!opened.has(folder)) {
      opened.set(folder, await listing(folder));
    }
    return opened.get(folder);
  }

  async function drawFolder(parent, folder, depth) {
    try {
      const files = await listing(folder);
      opened.set(folder, files);
      if (!files.length && !folder) {
        fill(element, empty("No files", "What is logged as artifact is here."));
        return;
      }
      fill(parent, files.map((file) => item(file, depth)));
      const wanted = param("file");
      if (!folder && !wanted) {
        const first = files.find((file) => !file.folder);
        if (first) {
          show(first.path, first.bytes);
        }
      }
    } catch (error) {
      fill(parent, failure(error, () => drawFolder(parent, folder, depth)));
    }
  }

  function item(file, depth) {
    const children = h("div", { role: "group" });
    const open = file.folder && (param("file") || "").startsWith(`${file.path}/`);
    const button = h(
      "button",
      { type: "button", class: `tree-item${isNewer(file) && !file.folder ? " newer" : ""}`, role: "treeitem", "aria-expanded": file.folder ? String(open) : null, "aria-selected": String(param("file") === file.path), style: { "padding-inline-start": `${8 + depth * 14}px` }, title: file.modified === null ? file.path : `${file.path}, changed ${wholeTime(file.modified)}${isNewer(file) ? ": after the moment that is shown" : ""}`, on: { click: choose } },
      icon(file.folder ? "folder" : "file"),
      h("span", { class: "grow ellipsis" }, h("bdi", null, fileOf(file.path))),
      file.folder ? null : h("span", { class: "muted" }, sizeText(file.bytes)),
    );
    button.dataset.path = file.path;
    function choose() {
      if (!file.folder) {
        setParams({ file: file.path });
        return;
      }
      const now = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(now));
      if (now) {
        drawFolder(children, file.path, depth + 1);
      } else {
        children.replaceChildren();
      }
    }
    if (open) {
      drawFolder(children, file.path, depth + 1);
    }
    return h("div", { role: "none" }, button, file.folder ? children : null);
  }

  async function show(path, size) {
    for (const button of tree.querySelectorAll(".tree-item")) {
      button.setAttribute("aria-selected", String(button.dataset.path === path));
    }
    const head = h("div", { class: "row artifact-head" }, h("strong", { class: "grow ellipsis" }, h("bdi", null, path)), h("a", { class: "tool", href: fileUrl(owner, path), download: fileOf(path) }, icon("download"), "Download"));
    const body = h("div", { class: "artifact-body", tabindex: 0, role: "region", "aria-label": fileOf(path) }, loading());
    fill(shown, head, body);
    try {
      fill(body, await content(path, size));
    } catch (error) {
      fill(body, failure(error, () => show(path, size)));
    }
  }

  async function content(path, size) {
    const url = fileUrl(owner, path);
    if (IMAGE.test(path)) {
      return imageView(path, url, await filesOf(path));
    }
    if (AUDIO.test(path)) {
      return h("audio", { controls: true, src: url, "aria-label": fileOf(path) });
    }
    if (VIDEO.test(path)) {
      return h("video", { controls: true, src: url, class: "wide", "aria-label": fileOf(path) });
    }
    if (PAGE.test(path)) {
      return h("iframe", { class: "artifact-frame", sandbox: "allow-scripts", src: filePageUrl(owner, path), title: fileOf(path), referrerpolicy: "no-referrer" });
    }
    const buffer = await fileBytes(owner, path, TEXT_BYTES_MAX);
    const data = new Uint8Array(buffer);
    if (data.subarray(0, 4096).includes(0)) {
      return empty("This file is not text", `${sizeText(size || data.length)}; download it to look inside.`);
    }
    let text = new TextDecoder().decode(data);
    const cut = data.length >= TEXT_BYTES_MAX;
    const note = cut ? h("p", { class: "muted" }, `The first ${sizeText(TEXT_BYTES_MAX)} are shown.`) : null;
    if (DOCUMENT.test(path)) {
      return [note, markdown(text)];
    }
    if (TABLE.test(path)) {
      return [note, tableView(text, /\.tsv$/i.test(path) ? "\t" : ",")];
    }
    if (JSON_FILE.test(path) && !cut) {
      try {
        const value = JSON.parse(text);
        if (value && Array.isArray(value.columns) && Array.isArray(value.data)) {
          return rowsView(value.columns.map(String), value.data);
        }
        text = JSON.stringify(value, null, 2);
      } catch {
        // Shown as the text that it is.
      }
    }
    return [note, h("pre", { class: "artifact-text" }, text)];
  }

  /** An image; with a slider where the folder has others of the same series. */
  function imageView(path, url, files) {
    const picture = h("img", { src: url, alt: fileOf(path) });
    const series = imageSeries(path);
    const mates = series
      ? files.filter((file) => IMAGE.test(file.path)).map((file) => ({ path: file.path, found: imageSeries(file.path) })).filter(({ found }) => found && found.name === series.name).sort((a, b) => a.found.step - b.found.step || a.found.time - b.found.time)
      : [];
    if (mates.length < 2) {
      return h("div", { class: "artifact-image" }, picture);
    }
    const at = mates.findIndex((mate) => mate.path === path);
    const label = h("span", { class: "mono" }, String(series.step));
    const slider = h("input", { type: "range", min: 0, max: mates.length - 1, value: at, class: "grow", "aria-label": "Step", "aria-valuetext": `step ${series.step}`, on: {
      input: () => {
        const mate = mates[Number(slider.value)];
        picture.src = fileUrl(owner, mate.path);
        picture.alt = fileOf(mate.path);
        label.textContent = String(mate.found.step);
        slider.setAttribute("aria-valuetext", `step ${mate.found.step}`);
        setParams({ file: mate.path }, true);
      },
    } });
    return h("div", { class: "artifact-image" }, h("div", { class: "row" }, h("span", { class: "muted" }, "Step"), slider, label), picture);
  }

  drawFolder(tree, "", 0);
  let current = null;
  return {
    element,
    update() {
      const file = param("file");
      if (file && file !== current && !(current && shown.querySelector("input[type=range]:focus"))) {
        show(file, 0);
      }
      current = file;
    },
  };
}

/**
 * The series that an image belongs to, and its step: `samples+step+3+timestamp+17+ID.png` as MLflow names the images that
 * are logged with a key, else the last number of the name.
 * @returns {{ name: string, step: number, time: number } | null}
 */
export function imageSeries(path) {
  const logged = /^(.*?)([+%])step\2(\d+)\2timestamp\2(\d+)\2[^+%]*((?:[+%]compressed)?\.\w+)$/.exec(path);
  if (logged) {
    return { name: logged[1] + logged[5], step: Number(logged[3]), time: Number(logged[4]) };
  }
  const numbered = /^(.*?)(\d+)(\D*)$/.exec(path);
  return numbered ? { name: `${numbered[1]}*${numbered[3]}`, step: Number(numbered[2]), time: 0 } : null;
}

/** Cells of a table as text, with quotes. */
export function parseTable(text, separator, rowsMax) {
  const rows = [[]];
  let [cell, quoted] = ["", false];
  for (let at = 0; at < text.length && rows.length <= rowsMax; at += 1) {
    const c = text[at];
    if (quoted) {
      if (c === '"' && text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else if (c === '"') {
        quoted = false;
      } else {
        cell += c;
      }
    } else if (c === '"' && cell === "") {
      quoted = true;
    } else if (c === separator || c === "\n") {
      rows[rows.length - 1].push(cell.replace(/\r$/, ""));
      cell = "";
      if (c === "\n") {
        rows.push([]);
      }
    } else {
      cell += c;
    }
  }
  if (cell || rows[rows.length - 1].length) {
    rows[rows.length - 1].push(cell);
  }
  return rows.filter((row) => row.length);
}

function tableView(text, separator) {
  const [titles, ...rows] = parseTable(text, separator, TABLE_ROWS_MAX + 1);
  return titles ? rowsView(titles, rows) : empty("The table is empty");
}

function rowsView(titles, rows) {
  const isNumber = (value) => typeof value === "number" || (typeof value === "string" && value !== "" && Number.isFinite(Number(value)));
  const text = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? ""));
  return h(
    "div",
    { class: "table-scroll" },
    h(
      "table",
      { class: "plain-table" },
      h("thead", null, h("tr", null, titles.map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", null, rows.slice(0, TABLE_ROWS_MAX).map((row) => h("tr", null, row.map((value) => h("td", { class: isNumber(value) ? "right" : "" }, text(value)))))),
    ),
    rows.length > TABLE_ROWS_MAX ? h("p", { class: "muted" }, `The first ${TABLE_ROWS_MAX} rows are shown.`) : null,
  );
}
