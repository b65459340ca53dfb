/**
 * Light or dark, and the colours of curves.
 */

const LIGHT = ["#3b5bdb", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0c8599", "#a66908", "#5f3dc4", "#5c940d", "#495057", "#1971c2", "#e03131"];
const DARK = ["#91a7ff", "#ff922b", "#69db7c", "#da77f2", "#f783ac", "#3bc9db", "#ffd43b", "#b197fc", "#a9e34b", "#ced4da", "#74c0fc", "#ff8787"];

const changes = new Set();
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  try {
    return localStorage.getItem("runlode-theme") || "";
  } catch {
    return "";
  }
}

export function isDark() {
  return chosen() ? chosen() === "dark" : system.matches;
}

function apply() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  cached = null;
  for (const call of changes) {
    call();
  }
}

/** The other one. */
export function switchTheme() {
  try {
    localStorage.setItem("runlode-theme", isDark() ? "light" : "dark");
  } catch {
    // Nothing remembers it then.
  }
  apply();
}

/** Calls a function when colours change. */
export function onTheme(call) {
  changes.add(call);
}

let cached = null;

/** Colours of the style sheet, for canvases. */
export function colors() {
  if (!cached) {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    cached = { text: of("--text"), muted: of("--muted"), line: of("--line"), grid: of("--grid"), surface: of("--surface"), accent: of("--accent"), bad: of("--bad") };
  }
  return cached;
}

/** The colour of the n-th curve. */
export function curveColor(n) {
  const list = isDark() ? DARK : LIGHT;
  return list[n % list.length];
}

system.addEventListener("change", apply);
apply();
