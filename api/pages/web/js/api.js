/**
 * Calls of the server. All reads are of the moment in the address.
 */

import { readColumns } from "./columns.js";
import { param } from "./route.js";

const meta = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="runlode-api"]'));
const API = new URL(meta.content, document.baseURI).href;
/** Address of the server below which all its paths are. */
export const ROOT = API.replace(/api\/runlode\/v1\/$/, "");

/** A refusal of the server, or no answer. */
export class Refused extends Error {
  constructor(message, status, details = {}) {
    super(message);
    this.status = status;
    /** Where a filter is wrong, in characters. */
    this.at = details.at;
    this.code = details.error_code;
  }
}

function address(base, path, params = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") {
        url.searchParams.append(name, String(one));
      }
    }
  }
  return url;
}

async function answered(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Refused("The server does not answer. It may have been stopped.", 0);
  }
  if (!response.ok) {
    const details = await response.json().catch(() => ({}));
    throw new Refused(details.message || `The server answered ${response.status}.`, response.status, details);
  }
  return response;
}

function moment(params) {
  return { as_of: param("at"), ...params };
}

/** A read that answers JSON. */
export async function get(path, params = {}, signal = undefined) {
  const response = await answered(address(API, path, moment(params)), { signal });
  return response.json();
}

/** A read that answers columns. */
export async function getColumns(path, params = {}, signal = undefined) {
  const response = await answered(address(API, path, moment(params)), { signal });
  return readColumns(await response.arrayBuffer());
}

/** The same, with a body. */
export async function postColumns(path, body, signal = undefined) {
  const as_of = param("at");
  const text = JSON.stringify(as_of ? { ...body, as_of } : body);
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: text, signal };
  const response = await answered(address(API, path), options);
  return readColumns(await response.arrayBuffer());
}

/** A call of MLflow's API: what changes something. */
export async function mlflow(method, path, body) {
  const url = address(ROOT, `api/2.0/mlflow/${path}`, method === "GET" ? body : {});
  const options = method === "GET" ? {} : { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await answered(url, options);
  return response.json();
}

/** Address of a file of a run. */
export function artifactUrl(run, path) {
  return address(ROOT, "get-artifact", { run_id: run, path }).href;
}

/** Address of an HTML file of a run, shown alone in its sandbox. */
export function artifactPageUrl(run, path) {
  return address(API, "artifact-page", { run_id: run, path }).href;
}

/** The first bytes of a file of a run. */
export async function artifactBytes(run, path, bytesMax) {
  const headers = { range: `bytes=0-${bytesMax - 1}` };
  const response = await answered(artifactUrl(run, path), { headers });
  return response.arrayBuffer();
}

/** Address of the stream of changes. */
export function eventsUrl(from) {
  return address(API, "events", { from }).href;
}
