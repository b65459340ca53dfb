/**
 * The frame: navigation, theme, keys, and the page that the address names.
 */

import { get, onceEarly } from "./api.js";
import { comparePage } from "./compare.js";
import { fill, h, iconButton, svg } from "./dom.js";
import { follow, onChange, onLiveState, unfollow } from "./live.js";
import { loggedModelPage, loggedModelsPage } from "./logged.js";
import { modelPage } from "./model.js";
import { modelsPage } from "./models.js";
import { failure } from "./parts.js";
import { askText, notice } from "./popover.js";
import { go, href, onRoute, param, route } from "./route.js";
import { runPage } from "./run.js";
import { runsPage } from "./runs.js";
import { known, readAbout, readExperiments } from "./shared.js";
import { keySheet } from "./sheet.js";
import { switchTheme } from "./theme.js";
import { timeMachine } from "./timemachine.js";

const PAGES = { runs: runsPage, run: runPage, logged: loggedPage, models: modelsPage, model: modelPage, compare: comparePage };

/** The list of logged models, or one of them. */
function loggedPage() {
  return route().parts[1] ? loggedModelPage() : loggedModelsPage();
}

const machine = timeMachine();
const liveDot = h("span", { class: "live-dot", role: "status" });
const nav = h("nav", { class: "nav", "aria-label": "Pages" });
const content = h("main", { id: "content", tabindex: -1 });
let current = null;
let currentName = "";
let experimentsOf = "";

function brandMark() {
  return svg(
    "svg",
    { class: "brand-mark", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("rect", { width: 16, height: 16, rx: 4 }),
    svg("path", { d: "M3 11.5 6 6l3 3.5L13 4" }),
  );
}

function frame() {
  document.body.replaceChildren(
    h("a", { class: "skip", href: "#content", on: { click: (event) => { event.preventDefault(); content.focus(); } } }, "Skip to content"),
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: href(["runs"]), "aria-label": "Runlode" }, brandMark(), h("span", { class: "brand-name" }, "Runlode")),
      nav,
      h("span", { class: "grow" }),
      liveDot,
      iconButton("search", "Go to a run or model (g /)", find),
      machine.button,
      iconButton("sun", "Dark or light (d)", switchTheme),
      iconButton("help", "Keys (?)", keySheet),
    ),
    machine.bar,
    content,
  );
  onLiveState((state) => {
    const text = { live: "Live", lost: "Connecting…", off: "" }[state];
    liveDot.className = `live-dot ${state}`;
    liveDot.textContent = text;
    liveDot.title = { live: "Changes are shown as they come", lost: "The server does not answer; trying again", off: "" }[state];
  });
}

/** Goes to what a text names. */
function find() {
  askText("Go to", "Name or id of a run, experiment or model", "", async (text) => {
    if (!text.trim()) {
      return;
    }
    try {
      const found = await get("find", { text: text.trim(), as_of: "" });
      if (found.kind === "run") {
        go(["run", found.id]);
      } else if (found.kind === "experiment") {
        go(["runs"], { e: found.id });
      } else if (found.kind === "model") {
        go(["model", found.name], found.version ? { version: found.version } : {});
      } else if (found.kind === "logged_model") {
        go(["logged", found.id]);
      } else {
        notice(`Nothing is called ${text.trim()}.`, "bad");
      }
    } catch (error) {
      notice(error.message, "bad");
    }
  }, "Go");
}

function show() {
  const { parts } = route();
  const name = parts[0] in PAGES ? parts[0] : "runs";
  const whole = parts[1] ? `${name}/${parts[1]}` : name;
  fill(
    nav,
    [["runs", "Runs", ["runs", "run", "compare"]], ["logged", ["Logged", h("span", { class: "wide-only" }, " models")], ["logged"]], ["models", "Registry", ["models", "model"]]].map(([page, title, pages]) =>
      h("a", { href: href([String(page)]), "aria-current": /** @type {any} */ (pages).includes(name) ? "page" : null }, title),
    ),
  );
  if (experimentsOf !== param("at") && known.about) {
    // Names of experiments are those of the moment too.
    experimentsOf = param("at");
    readExperiments().then(() => current.update()).catch((error) => notice(error.message, "bad"));
  }
  if (param("at")) {
    unfollow();
  } else if (known.about) {
    follow(known.about.position);
  }
  machine.draw();
  if (whole !== currentName) {
    if (current) {
      current.destroy();
    }
    currentName = whole;
    current = PAGES[name]();
    fill(content, current.element);
  }
  current.update();
}

let before = "";
addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || target.isContentEditable || document.querySelector("dialog[open]")) {
    return;
  }
  const key = event.key;
  const two = before === "g" ? `g ${key}` : key;
  before = key === "g" ? "g" : "";
  const everywhere = {
    "?": keySheet,
    m: () => machine.toggle(),
    d: switchTheme,
    "g r": () => go(["runs"]),
    "g m": () => go(["models"]),
    "g l": () => go(["logged"]),
    "g /": find,
    "[": () => machine.step(-1),
    "]": () => machine.step(1),
  };
  const call = (current && current.keys[two]) || everywhere[two];
  if (call) {
    event.preventDefault();
    call();
  }
});

/** Makes the page anew if anything on it could not be read: the server is back. */
function again() {
  if (content.querySelector(".empty[role=alert]")) {
    currentName = "";
    show();
  }
}

const TRY_AGAIN_MS = 2000;

/** Reads what all pages know. A server that is away is asked until it answers. */
async function readKnown() {
  try {
    experimentsOf = param("at");
    // Names of experiments do not wait for what else there is to know.
    await Promise.all([readAbout().then(show), readExperiments().then(() => current.update())]);
    again();
  } catch (error) {
    if (error.status && error.status < 500) {
      fill(content, failure(error, () => location.reload()));
      return;
    }
    setTimeout(readKnown, TRY_AGAIN_MS);
  }
}

function start() {
  frame();
  onRoute(show);
  // The page does not wait for names of experiments.
  show();
  readKnown();
  let wasLost = false;
  onLiveState((state) => {
    if (state === "live" && wasLost) {
      again();
    }
    wasLost = state === "lost";
  });
  onChange((change) => {
    if (!change || change.experiments) {
      readExperiments().then(show).catch((error) => notice(error.message, "bad"));
    }
  });
}

onceEarly(start);
