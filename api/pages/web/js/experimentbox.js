/**
 * The box in which experiments are chosen: a name shows one, marks show several together.
 */

import { fill, h } from "./dom.js";
import { closePopover, popover } from "./popover.js";
import { go, route, setParams } from "./route.js";
import { known } from "./shared.js";

const EXPERIMENTS_SHOWN = 300;

/** @param {string} page where a choice leads */
export function experimentBox(anchor, page) {
  const search = h("input", { type: "search", class: "wide", placeholder: "Search experiments", "aria-label": "Search experiments", on: { input: show } });
  const choices = h("div", { class: "choices" });
  const choose = (ids) => {
    closePopover();
    go([page], { e: ids });
  };
  /** Shows one more experiment, or one less. */
  const mark = (experiment, on) => {
    const others = route().query.getAll("e").filter((one) => one !== experiment.experiment_id && one !== experiment.name);
    setParams({ e: on ? [...others, experiment.experiment_id] : others });
  };
  function show() {
    const chosen = route().query.getAll("e");
    const low = search.value.toLowerCase();
    const found = known.experiments.filter((experiment) => !low || experiment.name.toLowerCase().includes(low) || experiment.experiment_id === low);
    fill(
      choices,
      low ? null : h("button", { type: "button", class: "menu-item", on: { click: () => choose([]) } }, "All experiments"),
      found.slice(0, EXPERIMENTS_SHOWN).map((experiment) =>
        h(
          "div",
          { class: "row" },
          h("input", { type: "checkbox", "aria-label": `Show ${experiment.name} too`, checked: chosen.includes(experiment.experiment_id) || chosen.includes(experiment.name), on: { change: (event) => mark(experiment, event.target.checked) } }),
          h(
            "button",
            { type: "button", class: "menu-item row grow", on: { click: () => choose([experiment.experiment_id]) } },
            h("span", { class: `grow ellipsis${experiment.deleted ? " struck" : ""}` }, h("bdi", null, experiment.name)),
            h("span", { class: "muted mono" }, experiment.experiment_id),
          ),
        ),
      ),
      found.length > EXPERIMENTS_SHOWN ? h("p", { class: "muted" }, `${found.length - EXPERIMENTS_SHOWN} more; search for them`) : null,
    );
  }
  show();
  popover(anchor, h("div", { class: "stack experiment-box" }, search, choices), "Experiments");
}
