/**
 * The registry: all models, and one model with its versions, aliases, lineage and history. A slider over the changes of
 * the model shows it at any of them.
 */

import { ROOT, get, mlflow } from "./api.js";
import { changesView, readChanges } from "./changes.js";
import { fill, h, icon, later } from "./dom.js";
import { count, time, wholeTime } from "./format.js";
import { follow, onChange } from "./live.js";
import { lineageGraph } from "./lineage.js";
import { empty, failure, loading, modelLink, pairsTable, runLink, tabs, when } from "./parts.js";
import { askText, menu, notice } from "./popover.js";
import { href, param, route, setParams } from "./route.js";
import { known } from "./shared.js";

const STAGES = ["None", "Staging", "Production", "Archived"];

function aliasChips(aliases) {
  return aliases.map((alias) => h("span", { class: "alias" }, h("bdi", null, `@${alias}`)));
}

/** All models. */
export function modelsPage() {
  const search = h("input", { type: "search", placeholder: "Search models", "aria-label": "Search models", on: { input: later(120, () => setParams({ q: search.value }, true)) } });
  const body = h("div", { class: "scroll" }, loading());
  const element = h("div", { class: "page" }, h("div", { class: "toolbar" }, h("h1", { class: "toolbar-title" }, "Models"), h("div", { class: "search-box" }, icon("search"), search)), body);
  let models = null;
  let readOf = null;

  async function read() {
    readOf = param("at");
    try {
      const answer = await get("models");
      models = answer.models;
      if (!param("at")) {
        follow(answer.position);
      }
      draw();
    } catch (error) {
      fill(body, failure(error, read));
    }
  }

  function draw() {
    const low = param("q").toLowerCase();
    const found = models.filter((model) => !low || model.name.toLowerCase().includes(low));
    if (!found.length) {
      fill(body, low ? empty("No model matches") : empty(param("at") ? "There were no registered models at this moment" : "No registered models yet", param("at") ? "" : "Register one with mlflow.register_model, or from Rust and Python."));
      return;
    }
    fill(
      body,
      h(
        "table",
        { class: "plain-table wide-table" },
        h("thead", null, h("tr", null, ["Model", "Versions", "Aliases", "Changed", "Description"].map((title) => h("th", { scope: "col", class: title === "Versions" ? "right" : "" }, title)))),
        h("tbody", null, found.slice(0, 1000).map((model) =>
          h("tr", null,
            h("th", { scope: "row" }, modelLink(model.name)),
            h("td", { class: "right" }, count(model.versions)),
            h("td", null, model.aliases.map(([alias, version]) => h("span", { class: "alias" }, h("bdi", null, `@${alias}`), h("span", { class: "muted" }, ` v${version}`)))),
            h("td", null, when(model.updated_ms)),
            h("td", { class: "ellipsis description" }, h("bdi", null, model.description || ""))))),
      ),
      found.length > 1000 ? h("p", { class: "muted" }, `${count(found.length - 1000)} more; search for them`) : null,
    );
  }

  const again = later(500, read);
  const end = onChange((change) => (!change || change.models) && !param("at") && again());
  return {
    element,
    update() {
      document.title = "Models · Runlode";
      if (document.activeElement !== search) {
        search.value = param("q");
      }
      if (readOf !== param("at")) {
        read();
      } else if (models) {
        draw();
      }
    },
    destroy() {
      end();
      again.cancel();
    },
    keys: { "/": () => search.focus() },
  };
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
      if (mine === call) {
        fill(panel, failure(error, read));
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
    if (!model) {
      fill(head, h("h1", null, h("bdi", null, name)));
      fill(tabBar);
      fill(panel, empty(past ? "The model did not exist yet" : "There is no such model", past ? "Move the slider to a later change." : ""));
      return;
    }
    fill(
      head,
      h("div", { class: "crumbs" }, h("a", { href: href(["models"]) }, "Models")),
      h(
        "div",
        { class: "row wrap" },
        h("h1", { class: "ellipsis" }, h("bdi", null, model.name)),
        h("div", { class: "champions" }, model.aliases.map(([alias, version]) => h("span", { class: "alias big" }, h("bdi", null, `@${alias}`), h("strong", null, ` v${version}`)))),
        h("span", { class: "grow" }),
        known.about?.mlflow_pages ? h("a", { class: "tool", href: `${ROOT}#/models/${encodeURIComponent(model.name)}` }, "In MLflow", icon("external")) : null,
        past ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: actions } }, "Actions", icon("down")),
      ),
      model.description ? h("p", { class: "muted" }, h("bdi", null, model.description)) : null,
    );
    const list = [["versions", "Versions", versions.length], ["lineage", "Lineage"], ["diff", "Compare versions"], ["history", "History"]];
    fill(tabBar, tabs("Parts of the model", list, param("tab") || "versions", (tab) => setParams({ tab: tab === "versions" ? null : tab })));
    const tab = param("tab") || "versions";
    panel.setAttribute("aria-labelledby", `tab-${tab}`);
    if (tab === "history") {
      fill(panel, changesView(changes.slice(0, place() + 1)));
    } else if (tab === "lineage") {
      fill(panel, versions.length ? lineageGraph(model, versions) : empty("No versions"));
    } else if (tab === "diff") {
      fill(panel, diff());
    } else {
      fill(panel, versionsTable());
    }
  }

  function versionsTable() {
    if (!versions.length) {
      return empty("No versions");
    }
    const newest = [...versions].reverse();
    return h(
      "div",
      null,
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
      detail(),
      model.tags.length ? h("section", { class: "block" }, h("h2", null, "Tags"), pairsTable("Tags", model.tags, (text) => h("bdi", null, text))) : null,
    );
  }

  function detail() {
    const version = versions.find((one) => String(one.version) === param("version"));
    if (!version) {
      return null;
    }
    const past = Boolean(param("at"));
    return h(
      "section",
      { class: "block", "aria-label": `Version ${version.version}` },
      h("div", { class: "row" }, h("h2", { class: "grow" }, `Version ${version.version}`), past ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: (event) => versionActions(event, version) } }, "Actions", icon("down"))),
      version.description ? h("p", null, h("bdi", null, version.description)) : null,
      pairsTable("Fields", [["Created", wholeTime(version.created_ms)], ["Changed", wholeTime(version.updated_ms)], ["Stage", version.stage], ["Source", version.source], ["Logged model", version.model_id || ""], ...version.tags.map(([key, value]) => [`tag ${key}`, value])].filter(([, value]) => value), (text) => h("bdi", { class: "break" }, text)),
    );
  }

  // ---- two versions side by side ----

  function diff() {
    if (versions.length < 2) {
      return empty("There is one version only");
    }
    const numbers = versions.map((version) => version.version);
    const a = Number(param("a")) || numbers[numbers.length - 2];
    const b = Number(param("b")) || numbers[numbers.length - 1];
    const choose = (which, value) => h("select", { "aria-label": `Version ${which}`, on: { change: (event) => setParams({ [which]: event.target.value }) } }, numbers.map((one) => h("option", { value: one, selected: one === value }, `v${one}`)));
    const box = h("div", null, loading());
    const [left, right] = [a, b].map((one) => versions.find((version) => version.version === one));
    if (left && right) {
      compare(left, right).then((content) => fill(box, content)).catch((error) => fill(box, failure(error)));
    } else {
      fill(box, empty("One of these versions is not there at this moment"));
    }
    return h("div", null, h("div", { class: "row diff-head" }, choose("a", a), h("span", { class: "muted" }, "→"), choose("b", b)), box);
  }

  async function compare(left, right) {
    const [one, two] = await Promise.all([left, right].map((version) => (version.run_id ? get("run", { run_id: version.run_id }).then((answer) => answer.run).catch(() => null) : null)));
    const rows = [];
    const add = (group, field, from, to) => rows.push({ group, field, from, to, same: from === to });
    for (const [field, title] of [["stage", "Stage"], ["source", "Source"], ["description", "Description"], ["user_id", "By"]]) {
      add("Version", title, left[field] || "", right[field] || "");
    }
    add("Version", "Aliases", left.aliases.join(", "), right.aliases.join(", "));
    pairUp("Tag", left.tags, right.tags, add);
    if (one && two) {
      pairUp("Param", one.params, two.params, add);
      pairUp("Metric", one.metrics.map((metric) => [metric.key, String(metric.value)]), two.metrics.map((metric) => [metric.key, String(metric.value)]), add);
    }
    const different = rows.filter((row) => !row.same);
    const shownRows = param("same") ? rows : different;
    return h(
      "div",
      null,
      h("label", { class: "choice" }, h("input", { type: "checkbox", ...(param("same") ? { checked: true } : {}), on: { change: (event) => setParams({ same: event.target.checked ? 1 : null }, true) } }), `Show the ${count(rows.length - different.length)} equal fields too`),
      shownRows.length
        ? h("table", { class: "plain-table wide-table" }, h("thead", null, h("tr", null, ["", "Field", `v${left.version}`, `v${right.version}`].map((title) => h("th", { scope: "col" }, title)))), h("tbody", null, shownRows.map((row) => h("tr", { class: row.same ? "same" : "differs" }, h("td", { class: "muted" }, row.group), h("th", { scope: "row" }, h("bdi", null, row.field)), h("td", { class: "break" }, h("bdi", null, row.from)), h("td", { class: "break" }, h("bdi", null, row.to))))))
        : empty("Nothing differs"),
    );
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
        const [key, value] = text.split(/=(.*)/s).map((part) => part.trim());
        if (key && value !== undefined) {
          change("POST", "registered-models/set-tag", { name: model.name, key, value }, "Tagged");
        } else {
          notice("Write a key, =, and a value.", "bad");
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

  const again = later(500, () => {
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

function pairUp(group, left, right, add) {
  const [one, two] = [new Map(left), new Map(right)];
  for (const key of [...new Set([...one.keys(), ...two.keys()])].sort()) {
    add(group, key, one.get(key) ?? "", two.get(key) ?? "");
  }
}
