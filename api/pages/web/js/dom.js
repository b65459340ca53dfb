/**
 * Elements from plain calls. Texts become text nodes and never markup.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element. Properties: `class`, `on` (listeners by name), `style` (CSS properties by name), anything else is an
 * attribute; `true` is an empty one, `null` and `false` leave it out.
 * @param {string} tag
 * @param {Record<string, any> | null} [properties]
 * @param {...any} children
 * @returns {any}
 */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  setAll(element, properties || {});
  append(element, children);
  return element;
}

/**
 * As `h`, for SVG.
 * @returns {any}
 */
export function svg(tag, properties, ...children) {
  const element = document.createElementNS(SVG, tag);
  setAll(element, properties || {});
  append(element, children);
  return element;
}

function setAll(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name === "class") {
      element.setAttribute("class", value);
    } else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else if (name === "style") {
      for (const [property, text] of Object.entries(value)) {
        element.style.setProperty(property, String(text));
      }
    } else if (name === "value") {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

const ICONS = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14",
  close: "M4 4l8 8M12 4l-8 8",
  down: "M4 6l4 4 4-4",
  columns: "M2 3h12v10H2zM6.5 3v10M10.5 3v10",
  expand: "M9 3h4v4M7 13H3V9M13 3 9 7M3 13l4-4",
  download: "M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M3 13l1.1-1.1M11.9 4.1 13 3",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.8V8l2.2 1.6",
  left: "M10 4 6 8l4 4",
  right: "M6 4l4 4-4 4",
  folder: "M2 4h4.5L8 5.5h6V13H2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  external: "M6 3H3v10h10v-3M9 3h4v4M13 3 7 9",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  check: "M3 8.5 6.5 12 13 4.5",
  branch: "M5 3v7a3 3 0 0 0 3 3h3M5 3 3 5M5 3l2 2",
  group: "M2 4h12M5 8h9M8 12h6",
  help: "M6 6a2 2 0 1 1 2.7 1.9c-.5.2-.7.6-.7 1.1v.5M8 12h.01",
};

/** A small drawing; it says nothing to screen readers. */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, path);
}

/** A button with a drawing and a label that screen readers and tooltips say. */
export function iconButton(name, label, onClick, extra = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: onClick }, ...extra }, icon(name));
}

/** Calls a function once no call has come for a while. */
export function later(ms, call) {
  let timer = 0;
  const run = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), ms);
  };
  run.cancel = () => clearTimeout(timer);
  return run;
}

/** Calls a function soon after a call, and at most once in that time however many come. */
export function soon(ms, call) {
  let timer = 0;
  const run = () => {
    if (!timer) {
      timer = setTimeout(() => {
        timer = 0;
        call();
      }, ms);
    }
  };
  run.cancel = () => {
    clearTimeout(timer);
    timer = 0;
  };
  return run;
}

/** Calls a function at most once a frame. */
export function eachFrame(call) {
  let asked = false;
  return () => {
    if (!asked) {
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        call();
      });
    }
  };
}

/** Says something to screen readers. */
export function announce(text) {
  let live = document.getElementById("announcer");
  if (!live) {
    live = h("div", { id: "announcer", class: "visually-hidden", role: "status", "aria-live": "polite" });
    document.body.append(live);
  }
  live.textContent = text;
}

/** Hands a file to the user. */
export function save(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
