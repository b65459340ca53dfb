/**
 * How a run was launched, from the files that `runlode run` keeps with it: command, place, environment, and how it ended.
 */

import { fileBytes } from "./api.js";
import { fill, h } from "./dom.js";
import { duration, sizeText, wholeTime } from "./format.js";
import { copyable } from "./parts.js";
import { href } from "./route.js";

const LAUNCH_BYTES_MAX = 1 << 20;

async function readJson(run, name) {
  try {
    const bytes = await fileBytes({ run_id: run }, `launch/${name}`, LAUNCH_BYTES_MAX);
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error.status === 404) {
      return null;
    }
    throw error;
  }
}

function endText(end) {
  const how = end.signal ? `signal ${end.signal}` : end.exit_code === null ? "unknown" : `exit code ${end.exit_code}`;
  const memory = end.peak_memory_bytes ? `at most ${sizeText(end.peak_memory_bytes)} of memory` : "";
  return [how, duration(end.duration_ms), memory].filter(Boolean).join(" · ");
}

/** A block that fills itself; it stays empty for a run that was launched otherwise. */
export function launchBlock(run) {
  const box = h("section", { class: "block" });
  box.hidden = true;
  const file = (name, text) => h("a", { href: href(["run", run], { tab: "artifacts", file: `launch/${name}` }) }, text);
  const fact = (title, ...content) => h("div", { class: "fact" }, h("dt", null, title), h("dd", null, content));
  const read = async () => {
    let launch;
    let end;
    try {
      [launch, end] = await Promise.all([readJson(run, "launch.json"), readJson(run, "end.json")]);
    } catch (error) {
      box.hidden = false;
      fill(box, h("h2", null, "Launch"), h("p", { class: "muted" }, `Its files cannot be read: ${error.message}`));
      return;
    }
    if (!launch) {
      return;
    }
    box.hidden = false;
    fill(
      box,
      h("h2", null, "Launch"),
      h("dl", { class: "facts" },
        launch.command ? fact("Command", copyable(launch.command)) : null,
        fact("Project", h("bdi", { class: "break" }, launch.uri || launch.place || "")),
        launch.version ? fact("Version", h("bdi", null, launch.version)) : null,
        fact("Environment", `${launch.environment ?? "none"}${launch.backend && launch.backend !== "local" ? ` on ${launch.backend}` : ""}`),
        fact("Where", `${launch.user} on ${launch.host}`),
        fact("Started", wholeTime(launch.started_ms)),
        end ? fact("Ended", endText(end)) : null,
        launch.rerun_of ? fact("Repeats", h("a", { href: href(["run", launch.rerun_of]) }, launch.rerun_of.slice(0, 8)), ` attempt ${launch.attempt}`) : null,
        fact("Files", file("output.txt", "output"), " · ", file("environment.txt", "environment"), launch.is_dirty ? [" · ", file("changes.patch", "changes since the commit")] : null, " · ", file("launch.json", "launch"))),
    );
  };
  read();
  return box;
}
