//! `runlode runs STORE [FILTER]`

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runlode::engine::search::{SearchQuery, View};
use runlode::filter;
use runlode::mlflow::{Liveness, Watch};
use runlode::{ExperimentId, ExperimentState, RunId, RunState, Stats};

use super::launches;
pub(crate) use super::liveness::{look, status};
use super::there::{RunsThere, There};
use crate::error::{Error, Result};
use crate::find;
use crate::list::{self, Cell, Column, Form};
use crate::moment::{Moment, View as Then};
use crate::open::Source;
use crate::output::{Output, note};
use crate::{Answer, json};

/// Metric and param columns of a table for people, each.
const COLUMNS_MAX: usize = 6;
/// Characters of an id in such a table.
const SHORT_ID: usize = 8;

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct Runs {
    #[command(flatten)]
    store: Source,
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
    /// Only runs that launches of projects made, with what is known of each launch
    #[arg(long, conflicts_with = "as_of")]
    launch: bool,
    #[command(flatten)]
    moment: Moment,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lifecycle {
    Active,
    Deleted,
    All,
}

impl Runs {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if let Some(url) = self.store.server() {
            return self.there(&There::new(url, &self.moment, output)?, output);
        }
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        let then = self.moment.of(&snapshot)?;
        let experiments = match self.experiment.as_slice() {
            [] => then.experiments()?.into_iter().map(|(id, _)| id).collect(),
            names => names.iter().map(|name| then.find_experiment(name)).collect::<Result<_>>()?,
        };
        let mut text = self.filter.join(" ");
        if self.launch {
            text = if text.trim().is_empty() {
                launches::FILTER.to_owned()
            } else {
                format!("{} and ({text})", launches::FILTER)
            };
        }
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
        let page = then.search(&query)?;
        then.say(output);
        if page.runs.is_empty() {
            find::note_unknown(&snapshot, query.filter.as_ref(), &query.order)?;
        } else {
            find::note_unknown(&snapshot, None, &query.order)?;
        }
        let watch = Watch::here(store.now().0);
        match self.launch {
            true => launches::print(&store, &snapshot, &page.runs, &watch, &self.form, output)?,
            false => print(&then, &page.runs, &watch, &self.form, output)?,
        }
        if page.next.is_some() && self.form.is_csv() {
            note(format!("the first {} runs only; more with --limit", self.limit));
        } else if page.next.is_some() && !output.is_json() {
            output.line(format!("(the first {}; more with --limit)", self.limit))?;
        }
        Ok(Answer::Yes)
    }
}

impl Runs {
    /// The runs of a server.
    fn there(&self, server: &There, output: &mut Output) -> Result<Answer> {
        if self.launch {
            return Err(Error::usage(
                "--launch reads folders, not servers; search for tags.`mlflow.project.entryPoint`",
            ));
        }
        let (filter, asked) = (self.filter.join(" "), self.form.asked());
        let search = RunsThere {
            filter: &filter,
            order: &self.order,
            experiments: &self.experiment,
            view: match self.view {
                Lifecycle::Active => "ACTIVE_ONLY",
                Lifecycle::Deleted => "DELETED_ONLY",
                Lifecycle::All => "ALL",
            },
            limit: self.limit,
            columns: asked.as_deref(),
        };
        let (columns, rows, more) = server.runs(&search, !output.is_json() && !self.form.is_csv())?;
        if rows == 0 && !output.is_json() && !self.form.is_csv() {
            output.line("No run matches.")?;
            return Ok(Answer::Yes);
        }
        list::print(&columns, rows, &self.form, output)?;
        if more && self.form.is_csv() {
            note(format!("the first {} runs only; more with --limit", self.limit));
        } else if more && !output.is_json() {
            output.line(format!("(the first {}; more with --limit)", self.limit))?;
        }
        Ok(Answer::Yes)
    }
}

/// Prints runs as a table, as CSV or as a JSON array.
pub(crate) fn print(view: &Then<'_>, runs: &[RunId], watch: &Watch, form: &Form, output: &mut Output) -> Result<()> {
    let mut found: Vec<Found> = Vec::new();
    let mut lives: HashMap<RunId, Liveness> = HashMap::new();
    for id in runs {
        if let Some(state) = view.run(*id)? {
            let metrics = view.metrics(*id)?;
            // Whether a process is alive is known for now only.
            if !view.is_past() {
                lives.insert(*id, look(watch, &state, &metrics));
            }
            found.push((*id, state, metrics));
        }
    }
    if output.is_json() && form.asked().is_none() && !form.is_csv() {
        let mut list = Vec::new();
        for (id, state, metrics) in &found {
            let metrics = metrics.iter().map(|(key, stats)| (&**key, stats));
            let mut run = json::run(*id, state, view.lifecycle(state)?, lives.get(id), metrics);
            view.mark(&mut run);
            list.push(run);
        }
        return output.document(&list);
    }
    if found.is_empty() && !form.is_csv() && !output.is_json() {
        return output.line("No run matches.");
    }
    let mut experiments = BTreeMap::new();
    for (_, state, _) in &found {
        if let Entry::Vacant(vacant) = experiments.entry(state.experiment) {
            vacant.insert(view.experiment(state.experiment)?);
        }
    }
    let mut lifecycles = HashMap::new();
    for (id, state, _) in &found {
        lifecycles.insert(*id, view.lifecycle(state)?);
    }
    let table = Table { found: &found, lives: &lives, experiments: &experiments, lifecycles: &lifecycles };
    let columns = match form.asked() {
        Some(names) => {
            let columns = table.asked(&names)?;
            // A key that no listed run has may be one that no run has.
            let empty = columns.iter().filter(|column| column.cells.iter().all(|cell| *cell == Cell::Nothing));
            let keys = empty.filter_map(|column| filter::parse_order(&quoted_key(&column.name)).ok());
            find::note_unknown(view.now(), None, &keys.collect::<Vec<_>>())?;
            columns
        }
        None if form.is_csv() => table.asked(&ALL.map(str::to_owned))?,
        None => table.usual(),
    };
    list::print(&columns, found.len(), form, output)
}

/// The runs of a list, with all that its columns show.
struct Table<'a> {
    found: &'a [Found],
    lives: &'a HashMap<RunId, Liveness>,
    experiments: &'a BTreeMap<ExperimentId, Option<Arc<ExperimentState>>>,
    lifecycles: &'a HashMap<RunId, runlode::Lifecycle>,
}

/// Columns of CSV.
const ALL: [&str; 11] = [
    "run_id",
    "run_name",
    "experiment",
    "status",
    "user_id",
    "start_time",
    "end_time",
    "lifecycle",
    "metrics.*",
    "params.*",
    "tags.*",
];

impl Table<'_> {
    fn column(&self, name: impl Into<String>, cell: impl Fn(&Found) -> Cell) -> Column {
        Column::new(name, self.found.iter().map(cell).collect())
    }

    /// An attribute of runs, by the name that Python's tables have for it, or by its head in a table.
    fn attribute(&self, name: &str) -> Option<Column> {
        let experiment = |id: &ExperimentId| self.experiments.get(id).and_then(Option::as_ref);
        Some(match name {
            "run_id" | "run" => self.column("run_id", |(id, ..)| Cell::Text(id.to_string())),
            "run_name" | "name" => self.column("run_name", |(_, state, _)| Cell::Text(state.name.clone())),
            "experiment" => self.column(name, |(_, state, _)| {
                Cell::text(experiment(&state.experiment).map(|experiment| experiment.name.as_str()))
            }),
            "experiment_id" => self.column(name, |(_, state, _)| Cell::Text(state.experiment.to_string())),
            "status" => self.column(name, |(id, state, _)| Cell::Text(status(state, self.lives.get(id)))),
            "user_id" | "user" => self.column("user_id", |(_, state, _)| Cell::Text(state.user_id.clone())),
            "start_time" | "started" => self.column("start_time", |(_, state, _)| Cell::Time(state.start_time_ms)),
            "end_time" | "ended" => {
                self.column("end_time", |(_, state, _)| state.end_time_ms.map_or(Cell::Nothing, Cell::Time))
            }
            "duration" | "took" => self.column("duration", |(_, state, _)| {
                state.end_time_ms.map_or(Cell::Nothing, |end| Cell::Span(state.start_time_ms, end))
            }),
            "lifecycle" => self.column(name, |(id, ..)| {
                Cell::text(self.lifecycles.get(id).map(|lifecycle| json::lifecycle(*lifecycle)))
            }),
            "artifact_uri" | "artifact_location" => {
                self.column("artifact_uri", |(_, state, _)| Cell::text(state.artifact_location.as_deref()))
            }
            _ => return None,
        })
    }

    /// The latest value of a metric, or another number of it: `loss`, `loss.min`.
    fn metric(&self, key: &str) -> Column {
        let has = |key: &str| self.found.iter().any(|(_, _, metrics)| metrics.iter().any(|(of, _)| **of == *key));
        let number: fn(&Stats) -> Cell = match key.rsplit_once('.').filter(|_| !has(key)) {
            Some((_, "min")) => |stats| Cell::Number(stats.min),
            Some((_, "max")) => |stats| Cell::Number(stats.max),
            Some((_, "first")) => |stats| Cell::Number(stats.first_value),
            Some((_, "count")) => |stats| Cell::Count(stats.count_raw),
            _ => |stats| Cell::Number(stats.last_value),
        };
        let of = match key.rsplit_once('.') {
            Some((of, "min" | "max" | "first" | "count")) if !has(key) => of,
            _ => key,
        };
        self.column(format!("metrics.{key}"), |(_, _, metrics)| {
            metrics.iter().find(|(key, _)| **key == *of).map_or(Cell::Nothing, |(_, stats)| number(stats))
        })
    }

    fn pair<'s>(&'s self, kind: &str, key: &str, pairs: fn(&RunState) -> &[(String, String)]) -> Column {
        let value =
            |state: &'s RunState| pairs(state).iter().find(|(of, _)| of == key).map(|(_, value)| value.as_str());
        Column::new(format!("{kind}.{key}"), self.found.iter().map(|(_, state, _)| Cell::text(value(state))).collect())
    }

    fn metric_keys(&self) -> Vec<String> {
        most_used(self.found.iter().flat_map(|(_, _, metrics)| metrics.iter().map(|(key, _)| &**key)))
    }

    fn keys_of(&self, pairs: fn(&RunState) -> &[(String, String)]) -> Vec<String> {
        most_used(self.found.iter().flat_map(|(_, state, _)| pairs(state).iter().map(|(key, _)| key.as_str())))
    }

    /// The columns of a table for people: most metrics and params only if there is room.
    fn usual(&self) -> Vec<Column> {
        let short = |(id, ..): &Found| Cell::Text(id.to_string().chars().take(SHORT_ID).collect());
        let mut columns = vec![self.column("run_id", short).shown_as("run", SHORT_ID)];
        let attributes = [("run_name", "name", 24), ("experiment", "experiment", 20), ("status", "status", 12)];
        for (name, head, width) in
            attributes.into_iter().chain([("start_time", "started", 24), ("duration", "took", 12)])
        {
            columns.extend(self.attribute(name).map(|column| column.shown_as(head, width)));
        }
        let width = |number: usize| if number < COLUMNS_MAX { 14 } else { 0 };
        for (number, key) in self.metric_keys().iter().enumerate() {
            columns.push(self.metric(key).shown_as(key, width(number)));
        }
        for (number, key) in self.keys_of(|state| &state.params).iter().enumerate() {
            columns.push(self.pair("params", key, |state| &state.params).shown_as(format!("{key}="), width(number)));
        }
        columns
    }

    /// The columns with these names.
    fn asked(&self, names: &[String]) -> Result<Vec<Column>> {
        let mut columns = Vec::new();
        for name in names {
            match name.split_once('.') {
                Some(("metrics", "*")) => {
                    let mut keys = self.metric_keys();
                    keys.sort_unstable();
                    columns.extend(keys.iter().map(|key| self.metric(key)));
                }
                Some(("metrics", key)) => columns.push(self.metric(key)),
                Some((kind @ ("params" | "tags"), key)) => {
                    let pairs: fn(&RunState) -> &[(String, String)] =
                        if kind == "params" { |state| &state.params } else { |state| &state.tags };
                    let mut keys = if key == "*" { self.keys_of(pairs) } else { vec![key.to_owned()] };
                    keys.sort_unstable();
                    columns.extend(keys.iter().map(|key| self.pair(kind, key, pairs)));
                }
                _ => columns.push(self.attribute(name).ok_or_else(|| {
                    Error::usage(format!(
                        "there is no column `{name}`; there are run_id, run_name, experiment, experiment_id, status, \
                         user_id, start_time, end_time, duration, lifecycle, artifact_uri, metrics.KEY (and .min, .max, \
                         .first, .count), params.KEY and tags.KEY"
                    ))
                })?),
            }
        }
        Ok(columns)
    }
}

type Found = (RunId, Arc<RunState>, Vec<(Arc<str>, Stats)>);

/// The name of a column as the filter grammar has it.
fn quoted_key(name: &str) -> String {
    let number = |key: &str| matches!(key.rsplit_once('.'), Some((_, "min" | "max" | "first" | "count")));
    match name.split_once('.') {
        Some(("metrics", key)) if number(key) => {
            let (key, number) = key.rsplit_once('.').unwrap_or((key, "latest"));
            format!("metrics.`{key}`.{number}")
        }
        Some((kind, key)) => format!("{kind}.`{key}`"),
        None => name.to_owned(),
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
    counts.into_iter().map(|(key, _)| key.to_owned()).collect()
}
