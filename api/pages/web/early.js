/**
 * Asks for what the first page shows while style and script of the pages are on their way: the rows and keys of a table that
 * nobody has filtered, sorted or grouped. `api.js` takes the answers where it asks for the same addresses.
 */

(() => {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const params = new URLSearchParams(query || "");
  if (!/^(runs\/?)?$/.test(path) || ["at", "q", "sort", "view", "cols", "group"].some((name) => params.has(name))) {
    return;
  }
  const meta = /** @type {HTMLMetaElement} */ (document.querySelector('meta[name="runlode-api"]'));
  const experiments = params.getAll("e").filter(Boolean).map((id) => ["experiment_id", id]);
  const columns = ["run_id", "run_name", "status", "liveness", "lifecycle", "start_time", "end_time", "experiment_id", "tags.mlflow.parentRunId"];
  const begin = (what, fields) => {
    const url = new URL(what, new URL(meta.content, document.baseURI));
    fields.forEach(([name, value]) => url.searchParams.append(name, value));
    const answer = fetch(url).then(async (response) => {
      if (response.ok) {
        const bytes = await response.arrayBuffer();
        response.arrayBuffer = async () => bytes;
        response.json = async () => JSON.parse(new TextDecoder().decode(bytes));
      }
      return response;
    });
    // Who takes it is told what went wrong.
    answer.catch(() => {});
    return [url.href, answer];
  };
  const rows = begin("runs", [
    ...experiments,
    ["view", "ACTIVE_ONLY"],
    ...columns.map((column) => ["column", column]),
    ["common_metrics", "4"],
    ["common_params", "3"],
    ["limit", "200"],
  ]);
  Object.assign(window, { runlodeEarly: new Map(/** @type {any} */ ([rows, begin("keys", experiments)])) });
})();
