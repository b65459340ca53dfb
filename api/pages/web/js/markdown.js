/**
 * Markdown as elements: headings, lists, quotes, code, tables, emphasis and links. Markup inside stays text.
 */

import { h } from "./dom.js";

/** Texts with code, emphasis and links. */
function inline(text) {
  const parts = [];
  const form = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\(([^)\s]+)\)/g;
  let last = 0;
  for (const found of text.matchAll(form)) {
    parts.push(text.slice(last, found.index));
    last = found.index + found[0].length;
    if (found[2] !== undefined) {
      parts.push(h("code", null, found[2]));
    } else if (found[3] !== undefined) {
      parts.push(h("strong", null, inline(found[3])));
    } else if (found[4] !== undefined) {
      parts.push(h("em", null, inline(found[4])));
    } else {
      parts.push(/^https?:/i.test(found[6]) ? h("a", { href: found[6], rel: "noopener noreferrer", target: "_blank" }, found[5]) : found[5]);
    }
  }
  parts.push(text.slice(last));
  return parts;
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

/** @returns {any} */
export function markdown(text) {
  const root = h("div", { class: "markdown" });
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  let at = 0;
  const while_ = (test) => {
    const list = [];
    while (at < lines.length && test(lines[at])) {
      list.push(lines[at]);
      at += 1;
    }
    return list;
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^\s*(```|~~~)/.exec(line);
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (fence) {
      at += 1;
      const code = while_((one) => !one.trim().startsWith(fence[1]));
      at += 1;
      root.append(h("pre", null, h("code", null, code.join("\n"))));
    } else if (heading) {
      at += 1;
      // The page has a heading of its own.
      root.append(h(`h${Math.min(6, heading[1].length + 2)}`, null, inline(heading[2].replace(/\s*#+$/, ""))));
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      at += 1;
      root.append(h("hr"));
    } else if (/^\s*>/.test(line)) {
      root.append(h("blockquote", null, inline(while_((one) => /^\s*>/.test(one)).map((one) => one.replace(/^\s*>\s?/, "")).join(" "))));
    } else if (/^\s*([-*+]|\d+[.)])\s+/.test(line)) {
      const ordered = /^\s*\d/.test(line);
      const items = while_((one) => /^\s*([-*+]|\d+[.)])\s+/.test(one) || /^\s{2,}\S/.test(one));
      root.append(h(ordered ? "ol" : "ul", null, items.map((one) => h("li", null, inline(one.replace(/^\s*([-*+]|\d+[.)])\s+/, ""))))));
    } else if (line.includes("|") && /^\s*\|?[\s:|-]+\|[\s:|-]*$/.test(lines[at + 1] || "")) {
      const titles = cells(line);
      at += 2;
      const rows = while_((one) => one.includes("|"));
      root.append(h("table", { class: "plain-table" }, h("thead", null, h("tr", null, titles.map((one) => h("th", { scope: "col" }, inline(one))))), h("tbody", null, rows.map((one) => h("tr", null, cells(one).map((cell) => h("td", null, inline(cell))))))));
    } else if (line.trim() === "") {
      at += 1;
    } else {
      const text_ = while_((one) => one.trim() !== "" && !/^(#{1,6}\s|\s*(```|~~~|>|[-*+]\s))/.test(one));
      if (!text_.length) {
        text_.push(lines[at]);
        at += 1;
      }
      root.append(h("p", null, inline(text_.join(" "))));
    }
  }
  return root;
}
