/**
 * One registered model: its versions, aliases, lineage, history, and two versions side by side. A slider over the changes
 * of the model shows it at any of them.
 */

import { ROOT, get, mlflow } from "./api.js";
import { artifactsPanel } from "./artifacts.js";
import { changesView, readChanges } from "./changes.js";
import { fill, h, icon, soon } from "./dom.js";
import { Kept } from "./kept.js";
import { count, time, wholeTime } from "./format.js";
import { follow, onChange } from "./live.js";
import { lineagePanel } from "./lineage.js";
import { empty, failure, loading, loggedLink, pairsTable, runLink, tabs, when } from "./parts.js";
import { askText, menu, notice } from "./popover.js";
import { href, param, route, setParams } from "./route.js";
import { pairOf } from "./runactions.js";
import { isFixed, known } from "./shared.js";
import { signatureBlock } from "./signature.js";
import { versionDiff } from "./versiondiff.js";

const STAGES = ["None", "Staging", "Production", "Archived"];

function aliasChips(aliases) {
  return aliases.map((alias) => h("span", { class: "alias" }, h("bdi", null, `@${alias}`)));
}

/** One model. */
export function modelPage() {
  const name = route().parts[1] || "";
  const head = h("header", { class: "page-head" });
  const slider = h("div", { class: "moments" });
  const tabBar = h("div");
  const panel = h("div", { id: "tab-panel", role: "tabpanel", class: "tab-panel" }, loading());
  const element = h("div", { class: "page model-page" }, head, slider, tabBar, panel);
  let model = null;
  let versions = [];
  let changes = [];
  let readOf = null;
  let call = 0;
  /** The moment that is shown. */
  let shownOf = null;
  const headParts = new Kept(head);
  const tabParts = new Kept(tabBar);
  const panelParts = new Kept(panel);
  let lineage = null;

  async function read() {
    readOf = param("at");
    const mine = (call += 1);
    try {
      const [answer, all] = await Promise.all([get("models", { name }), changes.length && param("at") ? changes : readChanges({ registered_model: name }, true)]);
      if (mine !== call) {
        return;
      }
      changes = all;
      model = answer.models[0] || null;
      versions = answer.versions;
      if (!param("at")) {
        follow(answer.position);
      }
      draw();
    } catch (error) {
      // What is shown stays while the server is away: it is read again once it is back.
      if (mine === call && (shownOf === null || shownOf !== param("at"))) {
        panelParts.draw([["failure", error.message, () => failure(error, read)]]);
      }
    }
  }

  /** Number of the change that the moment in the address is at; the last one is now. */
  function place() {
    const at = param("at");
    if (!at) {
      return changes.length - 1;
    }
    const within = /^\d+$/.test(at) ? (change) => change.position <= Number(at) : (change) => change.time_ms <= Date.parse(at);
    return changes.filter(within).length - 1;
  }

  function drawSlider() {
    if (changes.length < 2) {
      fill(slider);
      return;
    }
    const at = place();
    let input = slider.querySelector("input");
    if (!input) {
      input = h("input", { type: "range", min: 0, class: "grow", "aria-label": "Moment of the model", on: {
        input: () => {
          const to = Number(input.value);
          setParams({ at: to === changes.length - 1 ? null : changes[to].position }, true);
        },
      } });
      fill(slider, h("span", { class: "muted" }, icon("clock")), input, h("span", { class: "moment-text" }));
    }
    input.max = String(changes.length - 1);
    input.value = String(Math.max(0, at));
    const change = changes[at];
    const text = change ? `${time(change.time_ms)} · ${change.changes[0] || change.event}` : "before the model";
    slider.querySelector(".moment-text").textContent = param("at") ? text : `Now · ${count(changes.length)} changes`;
    input.setAttribute("aria-valuetext", param("at") ? text : "now");
  }

  function draw() {
    document.title = `${name} · Runlode`;
    drawSlider();
    const past = Boolean(param("at"));
    shownOf = param("at");
    const fixed = isFixed();
    if (!model) {
      headParts.draw([["none", name, () => h("h1", null, h("bdi", null, name))]]);
      tabParts.draw([]);
      panelParts.draw([["none", past, () => empty(past ? "The model did not exist yet" : "There is no such model", past ? "Move the slider to a later change." : "")]]);
      return;
    }
    headParts.draw([
      ["crumbs", param("at"), () => h("div", { class: "crumbs" }, h("a", { href: href(["models"]) }, "Models"))],
      ["title", [model.name, model.aliases, fixed, known.about?.mlflow_pages], () => h(
        "div",
        { class: "row wrap" },
        h("h1", { class: "ellipsis" }, h("bdi", null, model.name)),
        h("div", { class: "champions" }, model.aliases.map(([alias, version]) => h("a", { class: "alias big", href: href(["model", model.name], { version }) }, h("bdi", null, `@${alias}`), h("strong", null, ` v${version}`)))),
        h("span", { class: "grow" }),
        known.about?.mlflow_pages ? h("a", { class: "tool", href: `${ROOT}#/models/${encodeURIComponent(model.name)}` }, "In MLflow", icon("external")) : null,
        fixed ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: actions } }, "Actions", icon("down")),
      )],
      model.description && ["description", model.description, () => h("p", { class: "muted" }, h("bdi", null, model.description))],
    ]);
    const list = [["versions", "Versions", versions.length], ["lineage", "Lineage"], ["diff", "Compare versions"], ["history", "History"]];
    const tab = param("tab") || "versions";
    tabParts.draw([["tabs", [list, tab], () => tabs("Parts of the model", list, tab, (to) => setParams({ tab: to === "versions" ? null : to }))]]);
    panel.setAttribute("aria-labelledby", `tab-${tab}`);
    const { query } = route();
    if (tab === "history") {
      const some = changes.slice(0, place() + 1);
      panelParts.draw([["history", [some.length, param("at")], () => changesView(some)]]);
    } else if (tab === "lineage") {
      panelParts.draw([["lineage", name, () => {
        lineage = lineagePanel(name);
        return lineage.element;
      }]]);
      lineage.read();
    } else if (tab === "diff") {
      panelParts.draw([["diff", [versions, query.get("a"), query.get("b"), query.get("same"), param("at")], () => versionDiff(name, versions)]]);
    } else if (!versions.length) {
      panelParts.draw([["none", 0, () => empty("No versions")]]);
    } else {
      const chosen = versions.find((one) => String(one.version) === param("version"));
      panelParts.draw([
        ["versions", [versions, param("version"), param("at")], versionsTable],
        chosen && ["version", [chosen, fixed], () => detail(chosen)],
        model.tags.length > 0 && ["tags", model.tags, () => h("section", { class: "block" }, h("h2", null, "Tags"), pairsTable("Tags", model.tags, (text) => h("bdi", null, text)))],
      ]);
    }
  }

  function versionsTable() {
    const newest = [...versions].reverse();
    return h(
      "div",
      { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Versions" },
      h(
        "table",
        { class: "plain-table wide-table" },
        h("thead", null, h("tr", null, ["Version", "Aliases", "Stage", "Created", "Run", "By", "Source"].map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", null, newest.map((version) =>
          h("tr", { class: param("version") === String(version.version) ? "here" : "" },
            h("th", { scope: "row" }, h("a", { href: href(["model", model.name], { version: version.version }) }, `v${version.version}`)),
            h("td", null, aliasChips(version.aliases)),
            h("td", null, version.stage === "None" ? "" : h("span", { class: `badge stage-${version.stage.toLowerCase()}` }, version.stage)),
            h("td", null, when(version.created_ms)),
            h("td", null, version.run_id ? runLink(version.run_id, "") : ""),
            h("td", null, h("bdi", null, version.user_id || "")),
            h("td", { class: "ellipsis description mono", title: version.source }, h("bdi", null, version.source))))),
      ),
    );
  }

  function detail(version) {
    return h(
      "section",
      { class: "block", "aria-label": `Version ${version.version}` },
      h("div", { class: "row" }, h("h2", { class: "grow" }, `Version ${version.version}`), isFixed() ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: (event) => versionActions(event, version) } }, "Actions", icon("down"))),
      version.description ? h("p", null, h("bdi", null, version.description)) : null,
      signatureBlock({ name: model.name, version: String(version.version) }),
      pairsTable("Fields", [["Created", wholeTime(version.created_ms)], ["Changed", wholeTime(version.updated_ms)], ["Stage", version.stage], ["Source", version.source], ["Logged model", version.model_id ? loggedLink(version.model_id, version.model_id) : ""], ...version.tags.map(([key, value]) => [`tag ${key}`, value])].filter(([, value]) => value), (text) => (text instanceof Node ? text : h("bdi", { class: "break" }, text))),
      version.run_id || version.model_id || version.source ? filesOf(version) : null,
    );
  }

  /** The files of a version, read once somebody asks for them. */
  function filesOf(version) {
    const box = h("div");
    return h("details", { class: "files", on: { toggle: (event) => {
      if (event.currentTarget.open && !box.firstChild) {
        const files = artifactsPanel({ name: model.name, version: String(version.version) });
        fill(box, files.element);
        files.update();
      }
    } } }, h("summary", null, "Files"), box);
  }

  // ---- actions ----

  async function change(method, path, body, done) {
    try {
      await mlflow(method, path, body);
      notice(done);
      changes = [];
      read();
    } catch (error) {
      notice(error.message, "bad");
    }
  }

  function actions(event) {
    menu(event.currentTarget, "Actions", [
      { label: "Describe…", run: () => askText("Describe model", "Description", model.description || "", (text) => change("PATCH", "registered-models/update", { name: model.name, description: text }, "Described")) },
      { label: "Set a tag…", run: () => askText("Set a tag", "key = value", "", (text) => {
        const pair = pairOf(text);
        if (pair) {
          change("POST", "registered-models/set-tag", { name: model.name, ...pair }, "Tagged");
        }
      }) },
    ]);
  }

  function versionActions(event, version) {
    const same = { name: model.name, version: String(version.version) };
    menu(event.currentTarget, "Actions", [
      { label: "Set an alias…", run: () => askText("Set an alias", `Alias that names version ${version.version}`, "champion", (alias) => alias.trim() && change("POST", "registered-models/alias", { ...same, alias: alias.trim() }, `@${alias.trim()} is version ${version.version}`)) },
      ...version.aliases.map((alias) => ({ label: `Remove @${alias}`, run: () => change("DELETE", "registered-models/alias", { name: model.name, alias }, `@${alias} is gone`) })),
      ...STAGES.filter((stage) => stage !== version.stage).map((stage) => ({ label: `Stage ${stage}`, run: () => change("POST", "model-versions/transition-stage", { ...same, stage, archive_existing_versions: false }, `Version ${version.version} is ${stage}`) })),
      { label: "Describe…", run: () => askText("Describe version", "Description", version.description || "", (text) => change("PATCH", "model-versions/update", { ...same, description: text }, "Described")) },
    ]);
  }

  const again = soon(600, () => {
    changes = [];
    read();
  });
  const end = onChange((told) => (!told || told.models) && !param("at") && again());
  return {
    element,
    update() {
      if (readOf !== param("at")) {
        read();
      } else if (model || changes.length) {
        draw();
      }
    },
    destroy() {
      end();
      again.cancel();
    },
    keys: {
      1: () => setParams({ tab: null }),
      2: () => setParams({ tab: "lineage" }),
      3: () => setParams({ tab: "diff" }),
      4: () => setParams({ tab: "history" }),
      "[": () => step(-1),
      "]": () => step(1),
    },
  };

  function step(by) {
    const to = Math.max(0, Math.min(changes.length - 1, place() + by));
    if (changes.length) {
      setParams({ at: to === changes.length - 1 ? null : changes[to].position }, true);
    }
  }
}
