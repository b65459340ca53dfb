/**
 * A box below a button, and a dialog over the page. Both end with Escape and give the focus back.
 */

import { h, iconButton } from "./dom.js";

let open = null;

/** Closes the box that is open. */
export function closePopover() {
  if (open) {
    const { box, anchor, end } = open;
    open = null;
    box.remove();
    anchor.setAttribute("aria-expanded", "false");
    end();
  }
}

/** Shows a box below a button, or closes it if it is there. */
export function popover(anchor, content, label) {
  if (open && open.anchor === anchor) {
    closePopover();
    anchor.focus();
    return null;
  }
  closePopover();
  const box = h("div", { class: "popover", role: "dialog", "aria-label": label }, content);
  // A dialog hides everything outside it.
  (anchor.closest("dialog") || document.body).append(box);
  const place = () => {
    const at = anchor.getBoundingClientRect();
    box.style.top = `${Math.min(at.bottom + 4, innerHeight - 120)}px`;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.offsetWidth - 8))}px`;
    box.style.maxHeight = `${innerHeight - box.getBoundingClientRect().top - 8}px`;
  };
  const outside = (event) => {
    if (!box.contains(event.target) && !anchor.contains(event.target)) {
      closePopover();
    }
  };
  const keys = (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      closePopover();
      anchor.focus();
    }
  };
  document.addEventListener("pointerdown", outside);
  box.addEventListener("keydown", keys);
  addEventListener("resize", closePopover);
  anchor.setAttribute("aria-expanded", "true");
  open = {
    box,
    anchor,
    end: () => {
      document.removeEventListener("pointerdown", outside);
      removeEventListener("resize", closePopover);
    },
  };
  place();
  const first = /** @type {HTMLElement | null} */ (box.querySelector("input, button, select, a"));
  if (first) {
    first.focus();
  }
  return box;
}

/** Shows a list of actions below a button. */
export function menu(anchor, label, items) {
  const buttons = items.filter(Boolean).map((item) =>
    item.href
      ? h("a", { class: "menu-item", role: "menuitem", href: item.href }, item.label)
      : h("button", { type: "button", class: "menu-item", role: "menuitem", on: { click: () => { closePopover(); item.run(); } } }, item.label),
  );
  const list = h("div", { class: "menu", role: "menu", "aria-label": label, on: {
    keydown: (event) => {
      const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (move) {
        event.preventDefault();
        const at = buttons.indexOf(document.activeElement);
        buttons[(at + move + buttons.length) % buttons.length].focus();
      }
    },
  } }, buttons);
  popover(anchor, list, label);
}

/** Shows a dialog. Returns its element. */
export function dialog(title, content, extra = "") {
  const box = h("dialog", { class: `dialog ${extra}`, "aria-label": title });
  const close = () => box.close();
  box.append(h("div", { class: "dialog-head" }, h("h2", null, title), iconButton("close", "Close", close)), content);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => {
    if (event.target === box) {
      box.close();
    }
  });
  document.body.append(box);
  box.showModal();
  return box;
}

/** Asks for a text. Calls `done` with it unless it was given up. */
export function askText(title, label, value, done, action = "Save") {
  const input = h("input", { type: "text", value, "aria-label": label, class: "wide" });
  const form = h(
    "form",
    { method: "dialog", class: "stack", on: { submit: () => done(input.value) } },
    h("label", { class: "stack" }, h("span", { class: "muted" }, label), input),
    h("div", { class: "row end" }, h("button", { type: "submit", class: "primary" }, action)),
  );
  dialog(title, form);
  input.select();
}

/** Asks before something is done. */
export function confirmed(title, text, action, done) {
  const form = h(
    "form",
    { method: "dialog", class: "stack", on: { submit: () => done() } },
    h("p", null, text),
    h("div", { class: "row end" }, h("button", { type: "submit", class: "primary" }, action)),
  );
  dialog(title, form);
}

/** A sentence at the bottom that goes away. */
export function notice(text, kind = "") {
  const box = h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, text);
  (document.querySelector("dialog[open]") || document.body).append(box);
  setTimeout(() => box.remove(), kind === "bad" ? 8000 : 4000);
}
