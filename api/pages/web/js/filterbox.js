/**
 * The filter: a line of text with completion, and an error under the character that is wrong.
 */

import { h, icon } from "./dom.js";

const ATTRIBUTES = ["name", "status", "start_time", "end_time", "user_id", "run_id", "dataset.name", "dataset.digest", "artifact_uri"];
const STATUSES = ["'RUNNING'", "'FINISHED'", "'FAILED'", "'KILLED'", "'SCHEDULED'"];
const OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "IS NULL", "IS NOT NULL"];
const LIST_MAX = 12;

function quoted(key) {
  return /^[\w./-]+$/.test(key) && !/^\d/.test(key) ? key : `\`${key}\``;
}

/** What may come at a place of a filter: texts, and where the word begins that they replace. */
export function completions(text, caret, keys) {
  const before = text.slice(0, caret);
  const word = /[^\s()=<>!,]*$/.exec(before)[0];
  const start = caret - word.length;
  const previous = before.slice(0, start).trimEnd();
  const last = /(\S+)$/.exec(previous)?.[1] || "";
  const isKey = /^(metrics|params|tags|dataset)\.|^(attributes\.)?(name|status|start_time|end_time|user_id|run_id|artifact_uri)$/.test(last.replace(/^\(+/, ""));
  const ended = previous === "" || /(\(|\band|\bor|\bnot)$/i.test(previous);
  let all = [];
  if (/(=|!=|IN|\()$/i.test(previous) && /status\s*(=|!=|IN\s*\()$/i.test(previous)) {
    all = STATUSES;
  } else if (isKey) {
    all = OPERATORS;
  } else if (ended) {
    const [kind, rest] = word.split(/\.(.*)/s);
    if (rest !== undefined && keys && keys[kind]) {
      const names = keys[kind].map(([name]) => name);
      all = names.map((name) => `${kind}.${quoted(name)}`);
      if (kind === "metrics" && /\.(m|f|c|$)/.test(rest)) {
        const base = rest.replace(/\.[a-z]*$/, "");
        if (names.includes(base)) {
          all.push(...["min", "max", "first", "count"].map((end) => `metrics.${quoted(base)}.${end}`));
        }
      }
    } else {
      all = ["metrics.", "params.", "tags.", ...ATTRIBUTES];
    }
  } else if (word && /^[a-z]+$/i.test(word)) {
    all = ["and", "or"];
  }
  const low = word.toLowerCase();
  const begins = all.filter((one) => one.toLowerCase().startsWith(low) && one !== word);
  const holds = all.filter((one) => !one.toLowerCase().startsWith(low) && low.length > 1 && one.toLowerCase().includes(low.replace(/^(metrics|params|tags)\./, "")));
  return { start, list: [...begins, ...holds].slice(0, LIST_MAX) };
}

/** Makes the box. `apply` gets a filter once it is entered; `setError` shows where the last one is wrong. */
export function filterBox({ value, keys, apply }) {
  const input = h("input", {
    type: "text", class: "filter-input", id: "filter", value, spellcheck: "false", autocomplete: "off", autocapitalize: "off",
    placeholder: "metrics.loss.min < 0.1 and params.lr = '0.01'",
    role: "combobox", "aria-label": "Filter", "aria-expanded": "false", "aria-controls": "filter-list", "aria-autocomplete": "list",
  });
  const list = h("ul", { class: "filter-list", id: "filter-list", role: "listbox", "aria-label": "Completions" });
  list.hidden = true;
  const error = h("div", { class: "filter-error", role: "alert" });
  error.hidden = true;
  const clear = h("button", { type: "button", class: "icon-button filter-clear", "aria-label": "Clear the filter", title: "Clear" }, icon("close"));
  const element = h("div", { class: "filter" }, h("span", { class: "filter-icon" }, icon("search")), input, clear, list, error);
  let chosen = -1;
  let found = { start: 0, list: [] };

  function hide() {
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function suggest() {
    found = completions(input.value, input.selectionStart, keys());
    chosen = -1;
    if (!found.list.length) {
      hide();
      return;
    }
    list.replaceChildren(
      ...found.list.map((text, at) =>
        h("li", { class: "filter-option", role: "option", id: `filter-option-${at}`, "aria-selected": "false", on: { pointerdown: (event) => { event.preventDefault(); take(at); } } }, text),
      ),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }

  function choose(at) {
    chosen = (at + found.list.length) % found.list.length;
    [...list.children].forEach((child, index) => child.setAttribute("aria-selected", String(index === chosen)));
    list.children[chosen].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", `filter-option-${chosen}`);
  }

  function take(at) {
    const text = found.list[at];
    const rest = input.value.slice(input.selectionStart);
    const begun = input.value.slice(0, found.start) + text + (text.endsWith(".") ? "" : " ");
    input.value = begun + rest.trimStart();
    input.setSelectionRange(begun.length, begun.length);
    suggest();
  }

  function enter() {
    hide();
    apply(input.value.trim());
  }

  function shown() {
    clear.hidden = !input.value;
  }

  input.addEventListener("input", () => {
    error.hidden = true;
    input.removeAttribute("aria-invalid");
    shown();
    suggest();
  });
  input.addEventListener("blur", hide);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) {
        suggest();
      }
      if (!list.hidden) {
        choose(chosen < 0 && event.key === "ArrowUp" ? -1 : chosen + (event.key === "ArrowDown" ? 1 : -1));
      }
    } else if (event.key === "Tab" && !list.hidden && !event.shiftKey) {
      event.preventDefault();
      take(Math.max(0, chosen));
    } else if (event.key === "Enter") {
      if (chosen >= 0) {
        take(chosen);
      } else {
        enter();
      }
    } else if (event.key === "Escape") {
      if (list.hidden) {
        input.blur();
      }
      hide();
    }
  });
  clear.addEventListener("click", () => {
    input.value = "";
    shown();
    enter();
    input.focus();
  });
  shown();

  return {
    element,
    input,
    set(text) {
      if (document.activeElement !== input) {
        input.value = text;
        shown();
      }
    },
    /** @param {{ message: string, at?: number } | null} wrong */
    setError(wrong) {
      error.hidden = !wrong;
      if (wrong) {
        input.setAttribute("aria-invalid", "true");
        const mark = wrong.at === undefined ? null : h("span", { class: "filter-mark", "aria-hidden": "true", style: { left: `calc(${wrong.at} * 1ch - ${input.scrollLeft}px)` } }, "^");
        error.replaceChildren(...(mark ? [mark] : []), h("span", { class: "filter-error-text" }, wrong.message));
      } else {
        input.removeAttribute("aria-invalid");
      }
    },
  };
}
