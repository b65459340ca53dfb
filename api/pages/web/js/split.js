/**
 * The border between table and charts, which can be moved.
 */

const TABLE_PERCENT = 46;

export function makeDivider(split) {
  const divider = document.createElement("div");
  for (const [name, value] of Object.entries({ class: "divider", role: "separator", tabindex: 0, "aria-orientation": "vertical", "aria-label": "Width of the table", "aria-valuemin": 15, "aria-valuemax": 85 })) {
    divider.setAttribute(name, String(value));
  }
  const set = (part) => {
    const percent = Math.max(15, Math.min(85, part));
    split.style.setProperty("--table", `${percent}%`);
    divider.setAttribute("aria-valuenow", String(Math.round(percent)));
    try {
      localStorage.setItem("runlode-split", String(percent));
    } catch {
      // Nothing remembers it then.
    }
  };
  try {
    set(Number(localStorage.getItem("runlode-split")) || TABLE_PERCENT);
  } catch {
    set(TABLE_PERCENT);
  }
  divider.addEventListener("pointerdown", (event) => {
    divider.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const box = split.getBoundingClientRect();
      set(((moved.clientX - box.left) / box.width) * 100);
    };
    divider.addEventListener("pointermove", move);
    divider.addEventListener("pointerup", () => divider.removeEventListener("pointermove", move), { once: true });
  });
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (by) {
      event.preventDefault();
      set(Number(divider.getAttribute("aria-valuenow")) + by);
    }
  });
  return divider;
}
