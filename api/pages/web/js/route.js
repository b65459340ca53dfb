/**
 * The address: which page, and its whole state. `#/runs?e=1&q=...`. Back and links work because pages draw only what
 * the address says.
 */

/** @typedef {{ parts: string[], query: URLSearchParams }} Route */

const listeners = new Set();

let parsedHash = null;
/** @type {Route} */
let parsed = { parts: ["runs"], query: new URLSearchParams() };

/** @returns {Route} */
export function route() {
  // Charts ask often.
  if (parsedHash !== location.hash) {
    parsedHash = location.hash;
    parsed = parse(parsedHash);
  }
  return parsed;
}

function parse(hash) {
  const text = hash.replace(/^#\/?/, "");
  const [path, query] = text.split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean).map(safeDecode);
  return { parts: parts.length ? parts : ["runs"], query: new URLSearchParams(query || "") };
}

function safeDecode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A value of the address; empty if it is not there. */
export function param(name) {
  return route().query.get(name) || "";
}

/** A link to a page. The moment stays the same unless it is given. */
export function href(parts, params = {}) {
  const query = new URLSearchParams();
  const at = "at" in params ? params.at : param("at");
  for (const [name, value] of Object.entries({ ...params, at })) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") {
        query.append(name, String(one));
      }
    }
  }
  const text = query.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Goes to a page. */
export function go(parts, params = {}) {
  location.hash = href(parts, params);
}

/** Changes values of the address; `null` and empty texts remove them. `replace` adds no step to go back. */
export function setParams(changes, replace = false) {
  const { parts } = route();
  const query = new URLSearchParams(route().query);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") {
        query.append(name, String(one));
      }
    }
  }
  const text = query.toString();
  const hash = `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
  if (hash === location.hash) {
    return;
  }
  if (replace) {
    history.replaceState(null, "", hash);
  } else {
    history.pushState(null, "", hash);
  }
  changed();
}

/** Calls a function whenever the address changes. */
export function onRoute(call) {
  listeners.add(call);
}

function changed() {
  for (const call of listeners) {
    call();
  }
}

window.addEventListener("popstate", changed);
window.addEventListener("hashchange", changed);
