/**
 * Calls of the server. All reads are of the moment in the address.
 */

import { readColumns } from "./columns.js";
import { param } from "./route.js";

const meta = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="runlode-api"]'));
const API = new URL(meta.content, document.baseURI).href;
/** Address of the server below which all its paths are. */
export const ROOT = API.replace(/api\/runlode\/v1\/$/, "");

/** Reads that take their fields as a body too. */
const LONG = new Set(["runs", "groups"]);

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

/** The requests that `early.js` made, by address; each is taken once. @type {Map<string, Promise<Response>>} */
const early = /** @type {any} */ (window).runlodeEarly || new Map();
/** Most time that a page waits to be made together with what is on its way. */
const EARLY_WAIT_MS = 100;

/** Calls a function once the first request of `early.js` is answered, but soon: a page that has its rows is laid out once. */
export function onceEarly(call) {
  const [rows] = early.values();
  if (!rows) {
    call();
    return;
  }
  const soon = new Promise((resolve) => setTimeout(resolve, EARLY_WAIT_MS));
  Promise.race([rows.catch(() => {}), soon]).then(call);
}

/** The answer to a read that is on its way already, if it is. */
function begun(url, options) {
  const answer = options.method ? undefined : early.get(String(url));
  early.delete(String(url));
  return answer;
}

async function answered(url, options = {}) {
  let response;
  try {
    response = await (begun(url, options) || fetch(url, options));
    options.signal?.throwIfAborted();
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

/** Positions of moments that are times: looked up once each, so that all reads of a page are of one position. */
const positions = new Map();
const POSITIONS_MAX = 64;
/** Longer addresses are sent as a body. */
const ADDRESS_MAX = 6000;

/** The position of a moment in the address; now, and positions, are as they are. */
function positionOf(at) {
  if (!at || /^\d+$/.test(at)) {
    return at;
  }
  let found = positions.get(at);
  if (!found) {
    found = answered(address(API, "moment", { as_of: at })).then((response) => response.json()).then((answer) => String(answer.position));
    found.catch(() => positions.delete(at));
    positions.set(at, found);
    if (positions.size > POSITIONS_MAX) {
      positions.delete(positions.keys().next().value);
    }
  }
  return found;
}

async function atMoment(params) {
  return "as_of" in params ? params : { as_of: await positionOf(param("at")), ...params };
}

async function read(path, params, signal) {
  const all = await atMoment(params);
  const url = address(API, path, all);
  if (url.href.length <= ADDRESS_MAX || !LONG.has(path)) {
    return answered(url, { signal });
  }
  const body = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== null && value !== ""));
  return answered(address(API, path), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
}

/** A read that answers JSON. */
export async function get(path, params = {}, signal = undefined) {
  const response = await read(path, params, signal);
  return response.json();
}

/** A read that answers columns. */
export async function getColumns(path, params = {}, signal = undefined) {
  const response = await read(path, params, signal);
  return readColumns(await response.arrayBuffer());
}

/** The same, with a body. */
export async function postColumns(path, body, signal = undefined) {
  const as_of = await positionOf(param("at"));
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

/**
 * Whose files they are: of a run, a logged model, or a version.
 * @typedef {{ run_id: string } | { model_id: string } | { name: string, version: string }} Owner
 */

/** Address of a file. @param {Owner} owner */
export function fileUrl(owner, path) {
  return address(API, "file", { ...owner, path }).href;
}

/** Address of an HTML file, shown alone in its sandbox. @param {Owner} owner */
export function filePageUrl(owner, path) {
  return address(API, "artifact-page", { ...owner, path }).href;
}

/** The first bytes of a file. @param {Owner} owner */
export async function fileBytes(owner, path, bytesMax) {
  // An empty file has no first byte.
  try {
    const response = await answered(fileUrl(owner, path), { headers: { range: `bytes=0-${bytesMax - 1}` } });
    return await response.arrayBuffer();
  } catch (error) {
    if (error.status === 416) {
      return new ArrayBuffer(0);
    }
    throw error;
  }
}

/** Address of the stream of changes. */
export function eventsUrl(from) {
  return address(API, "events", { from }).href;
}
