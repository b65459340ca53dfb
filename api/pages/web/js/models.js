/**
 * The registry: all registered models.
 */

import { get } from "./api.js";
import { fill, h, icon, later, soon } from "./dom.js";
import { count } from "./format.js";
import { follow, onChange } from "./live.js";
import { empty, failure, loading, modelLink, when } from "./parts.js";
import { param, setParams } from "./route.js";

/** All models. */
export function modelsPage() {
  const search = h("input", { type: "search", placeholder: "Search models", "aria-label": "Search models", on: { input: later(120, () => setParams({ q: search.value }, true)) } });
  const body = h("div", { class: "scroll" }, loading());
  const element = h("div", { class: "page" }, h("div", { class: "toolbar" }, h("h1", { class: "toolbar-title" }, "Models"), h("div", { class: "search-box" }, icon("search"), search)), body);
  let models = null;
  let readOf = null;

  let shownOf = null;

  async function read() {
    const mine = (readOf = param("at"));
    try {
      const answer = await get("models");
      if (mine !== param("at")) {
        return;
      }
      shownOf = mine;
      models = answer.models;
      if (!param("at")) {
        follow(answer.position);
      }
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

  const again = soon(600, read);
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
