/**
 * On MLflow's pages: one link to what they show, on Runlode's pages. The server adds this script to MLflow's own page; it
 * reads the address, and touches nothing of theirs.
 */
(() => {
  "use strict";
  const link = document.createElement("a");
  link.textContent = "Open in Runlode";
  link.id = "runlode-link";
  Object.assign(link.style, {
    position: "fixed", right: "14px", bottom: "14px", zIndex: "999", padding: "5px 11px", borderRadius: "14px",
    background: "#3b5bdb", color: "#fff", font: "500 12px/1.4 system-ui, sans-serif", textDecoration: "none",
    boxShadow: "0 2px 8px rgb(0 0 0 / 25%)",
  });

  const decoded = (text) => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };

  /** Ids of runs that MLflow's comparison names: a list as JSON. */
  const compared = (query) => {
    try {
      return JSON.parse(query.get("runs") || "[]").filter((id) => typeof id === "string");
    } catch {
      return [];
    }
  };

  const target = () => {
    const [path, rest] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const [page, id, part, inner] = path.split("/").map(decoded);
    const query = new URLSearchParams(rest || "");
    const part_of = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
    if (page === "compare-runs" && compared(query).length) {
      return `#/compare?runs=${compared(query).map(encodeURIComponent).join(",")}`;
    }
    if (page === "experiments" && id) {
      if (part === "runs" && inner) {
        return part_of("run", inner);
      }
      if (part === "models" && inner) {
        return part_of("logged", inner);
      }
      return `#/runs?e=${encodeURIComponent(id)}`;
    }
    if (page === "models") {
      const version = part === "versions" && inner ? `?version=${encodeURIComponent(inner)}` : "";
      return id ? part_of("model", id) + version : "#/models";
    }
    return "#/runs";
  };

  const show = () => {
    // Below a prefix of paths as well: this page is at its root.
    link.href = `runlode/${target()}`;
  };
  for (const event of ["hashchange", "popstate"]) {
    addEventListener(event, show);
  }
  // Their router changes the address without an event.
  link.addEventListener("pointerenter", show);
  link.addEventListener("focus", show);
  show();
  document.body.append(link);
})();
