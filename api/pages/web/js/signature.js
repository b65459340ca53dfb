/**
 * What a model takes and gives: the signature in its `MLmodel`, and how it is loaded.
 */

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { sizeText } from "./format.js";
import { failure, loading } from "./parts.js";

/** The type of a column, a tensor or a nested type, in words. */
function typeText(item) {
  switch (item.type) {
    case "tensor":
      return `${item["tensor-spec"]?.dtype ?? "tensor"} (${(item["tensor-spec"]?.shape ?? []).map((size) => (size === -1 ? "any" : size)).join(" × ")})`;
    case "array":
      return `list of ${typeText(item.items ?? {})}`;
    case "map":
      return `map to ${typeText(item.values ?? {})}`;
    case "object":
      return `{ ${Object.entries(item.properties ?? {}).map(([name, inner]) => `${name}${inner.required === false ? "?" : ""}: ${typeText(inner)}`).join(", ")} }`;
    default:
      return String(item.type ?? "any");
  }
}

/** A schema as lines of name and type, to compare it. @returns {[string, string][]} */
export function schemaLines(items) {
  if (items === null || items === undefined) {
    return [];
  }
  if (!Array.isArray(items)) {
    return [["all", String(items)]];
  }
  return items.map((item, at) => [String(item.name ?? at + 1), typeText(item) + (item.required === false ? ", optional" : "") + ("default" in item ? `, default ${JSON.stringify(item.default)}` : "")]);
}

function schemaTable(title, items) {
  if (items === null || items === undefined) {
    return null;
  }
  const list = Array.isArray(items) ? items : null;
  const isParams = title === "Params";
  const row = (item, at) =>
    h("tr", null,
      h("th", { scope: "row" }, item.name === undefined ? h("span", { class: "muted" }, `${at + 1}`) : h("bdi", null, String(item.name))),
      h("td", null, h("code", null, typeText(item) + (item.shape ? " list" : ""))),
      h("td", { class: "muted" }, isParams ? `default ${JSON.stringify(item.default)}` : item.required === false ? "optional" : ""));
  return h("div", { class: "schema" }, h("h3", null, title), list ? h("table", { class: "plain-table", "aria-label": title }, h("tbody", null, list.map(row))) : h("pre", null, String(items)));
}

/** @param {import("./api.js").Owner} owner @param {string} path of the model below its files */
export function signatureBlock(owner, path = "") {
  const box = h("section", { class: "block" }, h("h2", null, "Signature"), loading());
  const read = async () => {
    try {
      const { model, problem } = await get("model", { ...owner, path, as_of: "" });
      const signature = model?.signature;
      fill(
        box,
        h("h2", null, "Signature"),
        !model
          ? h("p", { class: "muted" }, `The file MLmodel cannot be read: ${problem}`)
          : signature
            ? h("div", { class: "schemas" }, schemaTable("Inputs", signature.inputs), schemaTable("Outputs", signature.outputs), schemaTable("Params", signature.params))
            : h("p", { class: "muted" }, "The model has no signature."),
        model ? h("p", { class: "muted" }, [`Flavors: ${model.flavors.join(", ") || "none"}`, model.mlflow_version ? `MLflow ${model.mlflow_version}` : "", model.bytes ? sizeText(model.bytes) : ""].filter(Boolean).join(" · ")) : null,
      );
    } catch (error) {
      fill(box, h("h2", null, "Signature"), failure(error, read));
    }
  };
  read();
  return box;
}
