//! `runlode runs STORE [FILTER]`

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runlode::engine::search::{SearchQuery, View};
use runlode::filter;
use runlode::mlflow::{Liveness, Watch};
use runlode::{RunId, RunState, Snapshot, Stats};

use crate::error::Result;
use crate::find::{self, store_path};
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format, json};

/// Metric and param columns of the table.
const COLUMNS_MAX: usize = 6;

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct Runs {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Filter, e.g. "metrics.val_acc.max > 0.9 and (params.lr < 0.01 or tags.kind = 'ablation')"
    filter: Vec<String>,
    /// Only runs of this experiment, by name or id; may be repeated
    #[arg(long, short)]
    experiment: Vec<String>,
    /// Sort key, e.g. "metrics.loss" or "metrics.acc desc"; may be repeated
    #[arg(long, short)]
    order: Vec<String>,
    /// Maximum number of runs
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Active runs, deleted runs or all
    #[arg(long, value_enum, default_value_t = Lifecycle::Active)]
    view: Lifecycle,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lifecycle {
    Active,
    Deleted,
    All,
}

impl Runs {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let experiments = match self.experiment.as_slice() {
            [] => snapshot.experiments()?.into_iter().map(|(id, _)| id).collect(),
            names => names.iter().map(|name| find::experiment(&snapshot, name)).collect::<Result<_>>()?,
        };
        let text = self.filter.join(" ");
        let query = SearchQuery {
            experiments,
            filter: if text.trim().is_empty() { None } else { Some(filter::parse(&text)?) },
            order: self.order.iter().map(|order| filter::parse_order(order)).collect::<Result<_, _>>()?,
            view: match self.view {
                Lifecycle::Active => View::ActiveOnly,
                Lifecycle::Deleted => View::DeletedOnly,
                Lifecycle::All => View::All,
            },
            limit: self.limit as usize,
            after: None,
        };
        let page = snapshot.search(&query)?;
        print(&snapshot, &page.runs, &Watch::here(store.now().0), output)?;
        if page.next.is_some() && !output.is_json() {
            output.line(format!("(the first {}; more with --limit)", self.limit))?;
        }
        Ok(Answer::Yes)
    }
}

/// Prints runs as a table, or as a JSON array.
pub(crate) fn print(snapshot: &Snapshot, runs: &[RunId], watch: &Watch, output: &mut Output) -> Result<()> {
    let mut found: Vec<Found> = Vec::new();
    let mut lives: HashMap<RunId, Liveness> = HashMap::new();
    for id in runs {
        if let Some(state) = snapshot.run(*id)? {
            let metrics = snapshot.latest(*id)?;
            lives.insert(*id, look(watch, &state, &metrics));
            found.push((*id, state, metrics));
        }
    }
    if output.is_json() {
        let mut list = Vec::new();
        for (id, state, metrics) in &found {
            let metrics = metrics.iter().map(|(key, stats)| (&**key, stats));
            list.push(json::run(*id, state, snapshot.lifecycle(state)?, lives.get(id), metrics));
        }
        return output.document(&list);
    }
    if found.is_empty() {
        return output.line("No run matches.");
    }
    let mut columns = vec![
        Column::new("run", &found, |id, _, _| id.to_string().chars().take(8).collect()),
        Column::new("name", &found, |_, state, _| format::cut(&state.name, 24)),
    ];
    let mut names = BTreeMap::new();
    for (_, state, _) in &found {
        if let Entry::Vacant(vacant) = names.entry(state.experiment) {
            let experiment = snapshot.experiment(state.experiment)?;
            vacant.insert(experiment.map_or_else(String::new, |experiment| format::cut(&experiment.name, 20)));
        }
    }
    columns.extend([
        Column::new("experiment", &found, |_, state, _| names.get(&state.experiment).cloned().unwrap_or_default()),
        Column::new("status", &found, |id, state, _| status(state, lives.get(id))),
        Column::new("started", &found, |_, state, _| format::time(state.start_time_ms)),
        Column::new(">took", &found, |_, state, _| {
            state.end_time_ms.map_or_else(|| "-".to_owned(), |end| format::duration(state.start_time_ms, end))
        }),
    ]);
    for metric in most_used(found.iter().flat_map(|(_, _, metrics)| metrics.iter().map(|(key, _)| &**key))) {
        columns.push(Column::new(&format!(">{}", format::cut(&metric, 14)), &found, |_, _, metrics| {
            let stats = metrics.iter().find(|(key, _)| **key == *metric);
            stats.map_or_else(String::new, |(_, stats)| format::value(stats.last_value))
        }));
    }
    for param in most_used(found.iter().flat_map(|(_, state, _)| state.params.iter().map(|(key, _)| key.as_str()))) {
        columns.push(Column::new(&format!("{}=", format::cut(&param, 12)), &found, |_, state, _| {
            let value = state.params.iter().find(|(key, _)| *key == param);
            value.map_or_else(String::new, |(_, value)| format::cut(value, 12))
        }));
    }
    // Columns that do not fit are left out, from the right; `show` and `--json` have them.
    let mut room = usize::from(output.columns());
    columns.retain(|column| {
        let fits = column.width <= room;
        room = room.saturating_sub(column.width + 2);
        fits
    });
    let heads: Vec<&str> = columns.iter().map(|column| column.head.as_str()).collect();
    let rows = (0..found.len())
        .map(|row| columns.iter().map(|column| column.cells.get(row).cloned().unwrap_or_default()).collect());
    output.table(&heads, rows.collect())
}

/// Whether a process still logs to a run.
pub(crate) fn look(watch: &Watch, state: &RunState, metrics: &[(Arc<str>, Stats)]) -> Liveness {
    let last_point_ms = || Ok::<_, Infallible>(metrics.iter().map(|(_, stats)| stats.time_max_ms).max());
    let Ok(liveness) = watch.look(state, last_point_ms);
    liveness
}

/// The status to print: a RUNNING run without a live process is `lost` or `silent`.
pub(crate) fn status(state: &RunState, liveness: Option<&Liveness>) -> String {
    match liveness {
        Some(Liveness::Lost { .. }) => "lost".to_owned(),
        Some(Liveness::Silent { .. }) => "silent".to_owned(),
        _ => <&str>::from(state.status).to_owned(),
    }
}

type Found = (RunId, Arc<RunState>, Vec<(Arc<str>, Stats)>);

/// A column of the table.
struct Column {
    head: String,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn new(head: &str, runs: &[Found], cell: impl Fn(&RunId, &RunState, &[(Arc<str>, Stats)]) -> String) -> Self {
        let cells: Vec<String> = runs.iter().map(|(id, state, metrics)| cell(id, state, metrics)).collect();
        let widths = cells.iter().map(|cell| cell.chars().count());
        let width = widths.chain([head.trim_start_matches('>').chars().count()]).max().unwrap_or(0);
        Self { head: head.to_owned(), cells, width }
    }
}

/// The keys that most runs have; ties are sorted by name.
fn most_used<'k>(keys: impl Iterator<Item = &'k str>) -> Vec<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(COLUMNS_MAX).map(|(key, _)| key.to_owned()).collect()
}
