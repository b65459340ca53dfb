/**
 * What all pages know: the store, and its experiments.
 */

import { get } from "./api.js";
import { param } from "./route.js";
import { setExperiments } from "./runrows.js";

/** @type {{ about: any, experiments: any[] }} */
export const known = { about: null, experiments: [] };

export async function readAbout() {
  known.about = await get("about", { as_of: "" });
  return known.about;
}

export async function readExperiments() {
  const answer = await get("experiments");
  known.experiments = answer.experiments;
  setExperiments(known.experiments.map((experiment) => experiment.experiment_id));
  return known.experiments;
}

export function experimentName(id) {
  const found = known.experiments.find((experiment) => experiment.experiment_id === id);
  return found ? found.name : id;
}

/** Whether nothing can be changed: at a moment of the past, by a server that only reads, and until it is known. */
export function isFixed() {
  return Boolean(param("at")) || !known.about || known.about.read_only;
}
