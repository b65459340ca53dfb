//! `runlode runs --launch`: runs that launches made, with what is known of each launch.
//!
//! Facts come from the run's tags, which `mlflow run` sets too, and from the files that `runlode run` keeps with the run
//! (`launch/launch.json`, `launch/end.json`), if those are on this machine.

use std::collections::HashMap;
use std::path::Path;

use runlode::mlflow::{Liveness, Settings, Watch};
use runlode::{LocalStore, RunId, RunState, Snapshot, Stats};
use serde_json::Value;

use super::liveness::{look, status};
use crate::error::{Error, Result};
use crate::list::{self, Cell, Column, Form};
use crate::output::Output;
use crate::{artifacts, json};

/// The filter that such runs match.
pub(crate) const FILTER: &str = "tags.`mlflow.source.type` = 'PROJECT'";
/// Files of a launch larger than this are not read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Characters of an id or commit in a table.
const SHORT: usize = 8;

/// A run and its launch.
struct Launch {
    id: RunId,
    state: std::sync::Arc<RunState>,
    metrics: Vec<(std::sync::Arc<str>, Stats)>,
    liveness: Liveness,
    launch: Value,
    end: Value,
}

impl Launch {
    fn tag(&self, key: &str) -> Cell {
        Cell::text(self.state.tags.iter().find(|(of, _)| of == key).map(|(_, value)| value.as_str()))
    }

    fn text(of: &Value) -> Cell {
        of.as_str().map_or(Cell::Nothing, |text| Cell::Text(text.to_owned()))
    }

    fn count(of: &Value) -> Cell {
        of.as_u64().map_or(Cell::Nothing, Cell::Count)
    }
}

/// A file of a launch, as JSON. Null if there is none here, or if it is not what a launch writes.
fn file(folder: &Path, name: &str) -> Value {
    let path = folder.join("launch").join(name);
    let is_small = std::fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= FILE_BYTES_MAX);
    let bytes = if is_small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Prints the launches among these runs.
pub(crate) fn print(
    store: &LocalStore,
    snapshot: &Snapshot,
    runs: &[RunId],
    watch: &Watch,
    form: &Form,
    output: &mut Output,
) -> Result<()> {
    let places = Settings::in_process(store).places;
    let mut found = Vec::new();
    let mut roots = HashMap::new();
    for id in runs {
        let Some(state) = snapshot.run(*id)? else { continue };
        let metrics = snapshot.latest(*id)?;
        let root = match roots.get(&state.experiment) {
            Some(root) => root,
            None => {
                let experiment = snapshot.experiment(state.experiment)?;
                let root = experiment.and_then(|experiment| experiment.artifact_location.clone());
                roots.entry(state.experiment).or_insert(root)
            }
        };
        let own = state.artifact_location.as_deref();
        let place = places.run(&state.experiment.to_string(), root.as_deref(), &id.to_string(), own);
        let folder = artifacts::folder_of(store.path(), &place);
        let read = |name: &str| folder.as_deref().map_or(Value::Null, |folder| file(folder, name));
        let (launch, end) = (read("launch.json"), read("end.json"));
        let liveness = look(watch, &state, &metrics);
        found.push(Launch { id: *id, state, metrics, liveness, launch, end });
    }
    if output.is_json() && form.asked().is_none() && !form.is_csv() {
        return output.document(&documents(snapshot, found)?);
    }
    if found.is_empty() && !form.is_csv() && !output.is_json() {
        return output.line("No launch matches.");
    }
    let all = columns(&found);
    let chosen = match form.asked() {
        None => all,
        Some(names) => {
            let known: Vec<_> = all.iter().map(|column| column.name.clone()).collect();
            let mut rest: Vec<_> = all.into_iter().map(Some).collect();
            let mut chosen = Vec::new();
            for name in names {
                let column = rest.iter_mut().find(|column| column.as_ref().is_some_and(|column| column.name == name));
                chosen.push(column.and_then(Option::take).ok_or_else(|| {
                    Error::usage(format!("there is no column `{name}` of launches; there are {}", known.join(", ")))
                })?);
            }
            chosen
        }
    };
    list::print(&chosen, found.len(), form, output)
}

fn documents(snapshot: &Snapshot, found: Vec<Launch>) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for Launch { id, state, metrics, liveness, launch, end } in found {
        let lifecycle = snapshot.lifecycle(&state)?;
        let metrics = metrics.iter().map(|(key, stats)| (&**key, stats));
        let mut run = json::run(id, &state, lifecycle, Some(&liveness), metrics);
        run["launch"] = launch;
        run["launch_end"] = end;
        documents.push(run);
    }
    Ok(documents)
}

fn columns(found: &[Launch]) -> Vec<Column> {
    let column = |name: &str, head: &str, width: usize, cell: &dyn Fn(&Launch) -> Cell| {
        Column::new(name, found.iter().map(cell).collect()).shown_as(head, width)
    };
    vec![
        column("run_id", "run", SHORT, &|launch| Cell::Text(launch.id.to_string())),
        column("run_name", "name", 24, &|launch| Cell::Text(launch.state.name.clone())),
        column("status", "status", 12, &|launch| Cell::Text(status(&launch.state, Some(&launch.liveness)))),
        column("entry_point", "entry", 16, &|launch| launch.tag("mlflow.project.entryPoint")),
        column("start_time", "started", 24, &|launch| Cell::Time(launch.state.start_time_ms)),
        column("duration", "took", 12, &|launch| {
            let ended = launch.state.end_time_ms;
            ended.map_or(Cell::Nothing, |end| Cell::Span(launch.state.start_time_ms, end))
        }),
        column("exit_code", "exit", 6, &|launch| match &launch.end["signal"] {
            Value::Null => Launch::count(&launch.end["exit_code"]),
            signal => Cell::Text(format!("signal {signal}")),
        }),
        column("commit", "commit", SHORT, &|launch| launch.tag("mlflow.source.git.commit")),
        column("environment", "env", 10, &|launch| launch.tag("mlflow.project.env")),
        column("project", "project", 40, &|launch| launch.tag("mlflow.source.name")),
        column("backend", "backend", 0, &|launch| launch.tag("mlflow.project.backend")),
        column("host", "host", 0, &|launch| Launch::text(&launch.launch["host"])),
        column("attempt", "attempt", 0, &|launch| Launch::count(&launch.launch["attempt"])),
        column("rerun_of", "rerun of", 0, &|launch| Launch::text(&launch.launch["rerun_of"])),
        column("peak_memory_bytes", "memory", 0, &|launch| Launch::count(&launch.end["peak_memory_bytes"])),
        column("command", "command", 0, &|launch| Launch::text(&launch.launch["command"])),
    ]
}
