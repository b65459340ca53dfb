//! `runlode experiments`, `models`, `logged-models`: what a store holds.

use clap::Args;
use runlode::{Lifecycle, LocalStore, Snapshot};
use serde_json::Value;

use super::there::There;
use crate::error::{Error, Result};
use crate::list::{self, Cell, Column, Form};
use crate::moment::{Moment, View};
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, json};

/// Arguments that all lists have.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    store: Source,
    /// Show deleted ones too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    moment: Moment,
}

/// Arguments of `experiments`.
#[derive(Debug, Args)]
pub struct Experiments {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct Models {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `logged-models`.
#[derive(Debug, Args)]
pub struct LoggedModels {
    #[command(flatten)]
    which: Which,
    /// Only models of this experiment, by name or id; may be repeated
    #[arg(long, short)]
    experiment: Vec<String>,
}

/// A list in the making: its columns, and what JSON has of each entity.
struct Listing {
    what: &'static str,
    columns: Vec<Column>,
    documents: Vec<Value>,
}

/// A list's columns: name, head, width.
type Columns = [(&'static str, &'static str, usize)];

const EXPERIMENTS: &Columns = &[
    ("experiment_id", "id", 20),
    ("name", "name", 40),
    ("runs", "runs", 12),
    ("lifecycle", "lifecycle", 10),
    ("created", "created", 24),
    ("tags", "tags", 40),
    ("artifact_location", "artifact_location", 60),
];

const MODELS: &Columns = &[
    ("name", "name", 40),
    ("versions", "versions", 12),
    ("latest", "latest", 12),
    ("aliases", "aliases", 40),
    ("updated", "updated", 24),
    ("created", "created", 24),
    ("description", "description", 60),
    ("tags", "tags", 40),
];

const LOGGED_MODELS: &Columns = &[
    ("model_id", "id", 40),
    ("name", "name", 30),
    ("experiment", "experiment", 20),
    ("model_type", "type", 16),
    ("status", "status", 12),
    ("source_run_id", "run", 32),
    ("created", "created", 24),
    ("lifecycle", "lifecycle", 10),
];

impl Listing {
    fn new(what: &'static str, columns: &Columns) -> Self {
        Self::without(&[], what, columns)
    }

    /// A list that lacks some columns: those that a server does not have.
    fn without(absent: &[&str], what: &'static str, columns: &Columns) -> Self {
        let shown = columns.iter().filter(|(name, ..)| !absent.contains(name));
        let columns = shown.map(|(name, head, width)| Column::new(*name, Vec::new()).shown_as(*head, *width));
        Self { what, columns: columns.collect(), documents: Vec::new() }
    }

    fn push(&mut self, document: Value, cells: impl IntoIterator<Item = Cell>) {
        self.documents.push(document);
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.cells.push(cell);
        }
    }

    fn print_rows(
        mut self,
        rows: Vec<(Value, impl IntoIterator<Item = Cell>)>,
        form: &Form,
        output: &mut Output,
    ) -> Result<Answer> {
        rows.into_iter().for_each(|(document, cells)| self.push(document, cells));
        self.print(form, output)
    }

    fn print(mut self, form: &Form, output: &mut Output) -> Result<Answer> {
        if output.is_json() && form.asked().is_none() && !form.is_csv() {
            output.document(&self.documents)?;
            return Ok(Answer::Yes);
        }
        if let Some(names) = form.asked() {
            let mut asked = Vec::new();
            for name in &names {
                let at = self.columns.iter().position(|column| column.name == *name || column.head == *name);
                let Some(at) = at else {
                    let there = self.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(Error::usage(format!("there is no column `{name}`; there are {there}")));
                };
                let column = &self.columns[at];
                asked.push(Column::new(column.name.clone(), column.cells.clone()).shown_as(&column.head, column.width));
            }
            self.columns = asked;
        }
        if self.documents.is_empty() && !output.is_json() && !form.is_csv() {
            output.line(format!("There are no {}.", self.what))?;
            return Ok(Answer::Yes);
        }
        list::print(&self.columns, self.documents.len(), form, output)?;
        Ok(Answer::Yes)
    }
}

fn open(which: &Which, output: &mut Output) -> Result<(LocalStore, Snapshot)> {
    let store = which.store.open(output)?;
    let snapshot = store.snapshot()?;
    Ok((store, snapshot))
}

/// A document of an entity, with the position that is shown.
fn marked(mut document: Value, view: &View<'_>) -> Value {
    view.mark(&mut document);
    document
}

fn pairs(tags: &[(String, String)]) -> Cell {
    let own = tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key));
    let pairs: Vec<String> = own.map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { Cell::Nothing } else { Cell::Text(pairs.join(" ")) }
}

fn count(count: usize) -> Cell {
    Cell::Count(count as u64)
}

impl Experiments {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let Self { which } = self;
        if let Some(url) = which.store.server() {
            let listing = Listing::without(&["runs", "artifact_location"], "experiments", EXPERIMENTS);
            let rows = There::new(url, &which.moment, output)?.experiments(which.all)?;
            return listing.print_rows(rows, &which.form, output);
        }
        let (_store, snapshot) = open(&which, output)?;
        let view = which.moment.of(&snapshot)?;
        view.say(output);
        let mut listing = Listing::new("experiments", EXPERIMENTS);
        for (id, state) in view.experiments()? {
            if state.lifecycle != Lifecycle::Active && !which.all {
                continue;
            }
            let runs = view.runs_count(id)?;
            let mut document = json::experiment(id, &state);
            if let Some(fields) = document.as_object_mut() {
                fields.insert("runs".to_owned(), runs.into());
            }
            listing.push(
                marked(document, &view),
                [
                    Cell::Text(id.to_string()),
                    Cell::Text(state.name.clone()),
                    count(runs),
                    Cell::text(Some(json::lifecycle(state.lifecycle))),
                    Cell::Time(state.creation_time_ms),
                    pairs(&state.tags),
                    Cell::text(state.artifact_location.as_deref()),
                ],
            );
        }
        listing.print(&which.form, output)
    }
}

impl Models {
    /// The list of a store.
    pub(super) fn of(store: Source, all: bool, form: Form, moment: Moment) -> Self {
        Self { which: Which { store, all, form, moment } }
    }

    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let Self { which } = self;
        if let Some(url) = which.store.server() {
            let listing = Listing::without(&["latest"], "registered models", MODELS);
            let rows = There::new(url, &which.moment, output)?.models()?;
            return listing.print_rows(rows, &which.form, output);
        }
        let (_store, snapshot) = open(&which, output)?;
        let view = which.moment.of(&snapshot)?;
        view.say(output);
        let mut listing = Listing::new("registered models", MODELS);
        for (id, state) in view.registered_models()? {
            let mut versions = Vec::new();
            for number in &state.versions {
                if let Some(version) = view.model_version(id, *number)?
                    && (which.all || !version.deleted)
                {
                    versions.push((*number, json::model_version(*number, &version)));
                }
            }
            let aliases: Vec<String> =
                state.aliases.iter().map(|(alias, version)| format!("@{alias}={version}")).collect();
            let cells = [
                Cell::Text(state.name.clone()),
                count(versions.len()),
                versions.iter().map(|(number, _)| *number).max().map_or(Cell::Nothing, |latest| count(latest as usize)),
                if aliases.is_empty() { Cell::Nothing } else { Cell::Text(aliases.join(" ")) },
                Cell::Time(state.last_updated_time_ms),
                Cell::Time(state.creation_time_ms),
                Cell::text(state.description.as_deref()),
                pairs(&state.tags),
            ];
            let versions = versions.into_iter().map(|(_, version)| version).collect();
            listing.push(marked(json::registered_model(&state, versions), &view), cells);
        }
        listing.print(&which.form, output)
    }
}

impl LoggedModels {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let Self { which, experiment } = self;
        if let Some(url) = which.store.server() {
            if which.all {
                return Err(Error::usage(
                    "a server lists no deleted logged models; leave --all out, or read the store's folder",
                ));
            }
            let listing = Listing::without(&["lifecycle"], "logged models", LOGGED_MODELS);
            let rows = There::new(url, &which.moment, output)?.logged_models(&experiment)?;
            return listing.print_rows(rows, &which.form, output);
        }
        let (_store, snapshot) = open(&which, output)?;
        let view = which.moment.of(&snapshot)?;
        view.say(output);
        let mut listing = Listing::new("logged models", LOGGED_MODELS);
        let named = experiment.iter().map(|name| view.find_experiment(name)).collect::<Result<Vec<_>>>()?;
        for (id, experiment) in view.experiments()? {
            if !named.is_empty() && !named.contains(&id) {
                continue;
            }
            for (model, state) in view.logged_models_of(id)? {
                if state.lifecycle != Lifecycle::Active && !which.all {
                    continue;
                }
                listing.push(
                    marked(json::logged_model(model, &state), &view),
                    [
                        Cell::Text(model.to_string()),
                        Cell::Text(state.name.clone()),
                        Cell::Text(experiment.name.clone()),
                        Cell::Text(state.model_type.clone()),
                        Cell::text(Some(json::model_status(state.status))),
                        Cell::Text(state.source_run.clone()),
                        Cell::Time(state.creation_time_ms),
                        Cell::text(Some(json::lifecycle(state.lifecycle))),
                    ],
                );
            }
        }
        listing.print(&which.form, output)
    }
}
