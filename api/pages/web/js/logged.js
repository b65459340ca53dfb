/**
 * Logged models: a list by experiment, and one with its params, metrics, signature, versions and files.
 */

import { ROOT, get, mlflow } from "./api.js";
import { artifactsPanel } from "./artifacts.js";
import { changesPanel } from "./changes.js";
import { fill, h, icon, later, soon } from "./dom.js";
import { experimentBox } from "./experimentbox.js";
import { count, exact, number, wholeTime } from "./format.js";
import { follow, onChange } from "./live.js";
import { copyable, empty, failure, loading, loggedLink, modelLink, pairsTable, runLink, tabs, when } from "./parts.js";
import { askText, confirmed, menu, notice } from "./popover.js";
import { href, param, route, setParams } from "./route.js";
import { pairOf } from "./runactions.js";
import { experimentName, isFixed, known } from "./shared.js";
import { signatureBlock } from "./signature.js";

const LISTED_METRICS = 3;
const STATUS = { READY: "Ready", PENDING: "Pending", UPLOAD_FAILED: "Upload failed", UNSPECIFIED: "" };

function status(model) {
  const kind = { READY: "finished", PENDING: "running", UPLOAD_FAILED: "failed" }[model.status];
  return kind ? h("span", { class: `badge badge-${kind}` }, h("span", { class: `dot dot-${kind}`, "aria-hidden": "true" }), STATUS[model.status]) : null;
}

/** All logged models, newest first. */
export function loggedModelsPage() {
  const button = h("button", { type: "button", class: "picker", "aria-haspopup": "dialog", "aria-expanded": "false", on: { click: () => experimentBox(button, "logged") } });
  const search = h("input", { type: "search", placeholder: "Search logged models", "aria-label": "Search logged models", on: { input: later(120, () => setParams({ q: search.value }, true)) } });
  const body = h("div", { class: "scroll" }, loading());
  const element = h("div", { class: "page" }, h("div", { class: "toolbar" }, h("h1", { class: "toolbar-title" }, "Logged models"), button, h("div", { class: "search-box" }, icon("search"), search)), body);
  let models = null;
  let more = false;
  let readOf = null;
  let shownOf = null;

  const experiments = () => route().query.getAll("e");
  const wanted = () => `${experiments().join()}|${param("at")}`;

  async function read() {
    const mine = (readOf = wanted());
    try {
      const answer = await get("logged-models", { experiment_id: experiments() });
      if (mine !== readOf) {
        return;
      }
      ({ models, more } = answer);
      if (!param("at")) {
        follow(answer.position);
      }
      shownOf = mine;
      draw();
    } catch (error) {
      // What is shown stays while the server is away.
      if (shownOf !== mine) {
        fill(body, failure(error, read));
      }
    }
  }

  function draw() {
    const low = param("q").toLowerCase();
    const found = models.filter((model) => !low || model.name.toLowerCase().includes(low) || model.model_id.includes(low));
    if (!found.length) {
      fill(body, low ? empty("No model matches") : empty(param("at") ? "There were no logged models at this moment" : "No logged models yet", param("at") ? "" : "A run logs one with mlflow.sklearn.log_model and the like."));
      return;
    }
    const metrics = (model) => model.metrics.slice(0, LISTED_METRICS).map((metric) => h("span", { class: "metric-chip", title: `${metric.key}${metric.dataset ? ` on ${metric.dataset}` : ""}: ${exact(metric.value)}` }, h("bdi", { class: "muted" }, metric.key), ` ${number(metric.value)}`));
    fill(
      body,
      h("table", { class: "plain-table wide-table" },
        h("thead", null, h("tr", null, ["Model", "Status", "Created", "Experiment", "Run", "Type", "Metrics"].map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", null, found.map((model) => h("tr", null,
          h("th", { scope: "row", class: "ellipsis description" }, loggedLink(model.model_id, model.name)),
          h("td", null, status(model)),
          h("td", null, when(model.created_ms)),
          h("td", { class: "ellipsis description" }, h("bdi", null, experimentName(model.experiment_id))),
          h("td", null, model.run_id ? runLink(model.run_id, "") : ""),
          h("td", null, h("bdi", null, model.type)),
          h("td", null, metrics(model)))))),
      more ? h("p", { class: "muted" }, `The newest ${count(models.length)} are shown; choose an experiment for others.`) : null,
    );
  }

  const again = soon(600, read);
  const end = onChange((change) => (!change || change.models) && !param("at") && again());
  return {
    element,
    update() {
      document.title = "Logged models · Runlode";
      const names = experiments();
      fill(button, h("bdi", { class: "ellipsis" }, names.length ? names.map(experimentName).join(", ") : "All experiments"), icon("down"));
      if (document.activeElement !== search) {
        search.value = param("q");
      }
      if (readOf !== wanted()) {
        read();
      } else if (models) {
        draw();
      }
    },
    destroy() {
      end();
      again.cancel();
    },
    keys: { "/": () => search.focus(), e: () => button.click() },
  };
}

/** One logged model. */
export function loggedModelPage() {
  const id = route().parts[1] || "";
  const head = h("header", { class: "page-head" });
  const tabBar = h("div");
  const panel = h("div", { id: "tab-panel", role: "tabpanel", class: "tab-panel" }, loading());
  const element = h("div", { class: "page" }, head, tabBar, panel);
  let model = null;
  let versions = [];
  let readOf = null;
  let shown = "";
  let shownData = "";
  let files = null;

  async function read() {
    const mine = (readOf = param("at"));
    try {
      const answer = await get("logged-model", { model_id: id });
      if (mine !== readOf) {
        return;
      }
      const data = JSON.stringify([answer.model, answer.versions, mine]);
      if (data === shownData) {
        return;
      }
      shownData = data;
      ({ model, versions } = answer);
      if (!param("at")) {
        follow(answer.position);
      }
      shown = "";
      draw();
    } catch (error) {
      if (!shownData || mine !== JSON.parse(shownData)[2]) {
        shownData = "";
        fill(panel, failure(error, read));
      }
    }
  }

  function draw() {
    if (!model) {
      fill(head, h("h1", null, id));
      fill(tabBar);
      fill(panel, empty("This model did not exist yet", "Choose a later moment."));
      return;
    }
    document.title = `${model.name} · Runlode`;
    const fixed = isFixed();
    fill(
      head,
      h("div", { class: "crumbs" }, h("a", { href: href(["logged"], { e: model.experiment_id }) }, h("bdi", null, experimentName(model.experiment_id))), model.run_id ? [h("span", { class: "muted" }, " / "), runLink(model.run_id, "run")] : null),
      h("div", { class: "row wrap" },
        h("h1", { class: "ellipsis", title: model.name }, h("bdi", null, model.name)),
        status(model),
        h("span", { class: "grow" }),
        known.about?.mlflow_pages ? h("a", { class: "tool", href: `${ROOT}#/experiments/${encodeURIComponent(model.experiment_id)}/models/${id}` }, "In MLflow", icon("external")) : null,
        fixed ? null : h("button", { type: "button", class: "tool", "aria-haspopup": "menu", on: { click: actions } }, "Actions", icon("down"))),
    );
    const tab = param("tab") || "overview";
    fill(tabBar, tabs("Parts of the model", [["overview", "Overview"], ["files", "Files"], ["history", "History"]], tab, (name) => setParams({ tab: name === "overview" ? null : name })));
    panel.setAttribute("aria-labelledby", `tab-${tab}`);
    if (tab === "files") {
      if (!files || shown !== tab) {
        files = artifactsPanel({ model_id: id });
        fill(panel, param("at") ? h("p", { class: "warning" }, "Files are not kept by moment: these are the files of now. Those that were changed later are faint.") : null, files.element);
      }
      files.update();
    } else if (shown !== tab) {
      fill(panel, tab === "history" ? changesPanel({ logged_model_id: id }).element : overview());
    }
    shown = tab;
  }

  function overview() {
    const fact = (title, ...content) => h("div", { class: "fact" }, h("dt", null, title), h("dd", null, content));
    const metrics = model.metrics.map((metric) => [metric.dataset ? `${metric.key} on ${metric.dataset}` : metric.key, metric]);
    const text = (value) => h("bdi", { class: "break" }, value);
    return h("div", { class: "overview" },
      model.status_message ? h("p", { class: "warning" }, model.status_message) : null,
      h("section", { class: "block" }, h("h2", null, "About"), h("dl", { class: "facts" },
        fact("Model id", copyable(id)),
        fact("Created", when(model.created_ms), h("span", { class: "muted" }, ` ${wholeTime(model.created_ms)}`)),
        model.type ? fact("Type", h("bdi", null, model.type)) : null,
        fact("Run", model.run_id ? runLink(model.run_id, "") : "none"),
        fact("Versions", versions.length ? versions.map((version) => h("span", { class: "alias" }, modelLink(version.name, version.version))) : h("span", { class: "muted" }, "Not registered")),
        fact("Files", h("bdi", { class: "mono break" }, model.artifact_uri)))),
      signatureBlock({ model_id: id }),
      h("section", { class: "block" }, h("h2", null, "Metrics ", h("span", { class: "muted" }, count(metrics.length))), pairsTable("Metrics", metrics, (metric) => h("span", { class: "metric-value", title: `${exact(metric.value)} at step ${metric.step}` }, number(metric.value)))),
      h("section", { class: "block" }, h("h2", null, "Params ", h("span", { class: "muted" }, count(model.params.length))), pairsTable("Params", model.params, text)),
      h("section", { class: "block" }, h("h2", null, "Tags ", h("span", { class: "muted" }, count(model.tags.length))), pairsTable("Tags", model.tags, text)));
  }

  function actions(event) {
    const call = async (method, path, body, done) => {
      try {
        await mlflow(method, path, body);
        notice(done);
        read();
      } catch (error) {
        notice(error.message, "bad");
      }
    };
    menu(event.currentTarget, "Actions", [
      { label: "Set a tag…", run: () => askText("Set a tag", "key = value", "", (text) => {
        const pair = pairOf(text);
        if (pair) {
          call("PATCH", `logged-models/${id}/tags`, { tags: [pair] }, "Tagged");
        }
      }) },
      { label: "Delete…", run: () => confirmed("Delete model", `Delete ${model.name}? Its files stay.`, "Delete", () => call("DELETE", `logged-models/${id}`, {}, "Deleted")) },
    ]);
  }

  const again = soon(600, read);
  const end = onChange((change) => (!change || change.models) && !param("at") && again());
  return {
    element,
    update() {
      if (readOf !== param("at")) {
        read();
      } else if (model) {
        draw();
      }
    },
    destroy() {
      end();
      again.cancel();
    },
    keys: { 1: () => setParams({ tab: null }), 2: () => setParams({ tab: "files" }), 3: () => setParams({ tab: "history" }) },
  };
}
