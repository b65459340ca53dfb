//! `runlode history STORE ENTITY`: every change, by whom, when, old and new value.

use clap::Args;
use runlode::changes::{Change, FieldChange};
use runlode::find::Named;
use runlode::{EntityKey, changes};
use serde_json::{Value, json};

use super::there::There;
use crate::error::{Error, Result};
use crate::list::{Cell, csv_line};
use crate::moment::Moment;
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, format};

/// Most characters of an author.
const WHO_MAX: usize = 16;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    store: Source,
    /// A run, experiment or model: name, id, beginning of an id, models:/NAME, models:/NAME/VERSION, models:/NAME@ALIAS
    target: String,
    /// Print CSV, a row for each field that changed: times in UTC
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    moment: Moment,
}

/// Columns of CSV.
const COLUMNS: [&str; 8] = ["position", "time", "actor", "event", "field", "version", "from", "to"];

impl History {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if self.csv && output.is_json() {
            return Err(Error::usage("--csv and --json exclude each other; give one of them"));
        }
        if let Some(url) = self.store.server() {
            let documents = There::new(url, &self.moment, output)?.changes(&self.target)?;
            if output.is_json() {
                output.document(&documents)?;
            } else {
                let changes = documents.iter().map(read).collect::<Option<Vec<_>>>();
                let unclear = || Error::Source(format!("{url} is no Runlode server of this version"));
                self.print(&changes.ok_or_else(unclear)?, output)?;
            }
            return Ok(Answer::Yes);
        }
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        let view = self.moment.of(&snapshot)?;
        let key = match view.find(&self.target)? {
            Named::Run(id) => EntityKey::Run(id),
            Named::Experiment(id) => EntityKey::Experiment(id),
            Named::LoggedModel(id) => EntityKey::LoggedModel(id),
            Named::RegisteredModel(id, _) => EntityKey::RegisteredModel(id),
            Named::Version(id, _, version) => EntityKey::ModelVersion(id, version),
        };
        let events = view.events(&key)?;
        if events.is_empty() && view.is_past() {
            return Err(view.absent(&self.target));
        }
        view.say(output);
        let time = if self.csv || output.is_json() { format::time_utc } else { format::time };
        let changes = changes::of(&events, time);
        if output.is_json() {
            let all = changes.iter().map(|change| {
                let fields = change.fields.iter().map(|field| {
                    json!({ "field": field.field, "version": field.version, "from": field.from, "to": field.to })
                });
                let mut change = json!({
                    "position": change.position,
                    "time_ms": change.time_ms,
                    "actor": change.actor,
                    "event": change.event,
                    "changes": change.changes,
                    "fields": fields.collect::<Vec<_>>(),
                });
                view.mark(&mut change);
                change
            });
            output.document(&all.collect::<Value>())?;
        } else {
            self.print(&changes, output)?;
        }
        Ok(Answer::Yes)
    }

    fn print(&self, changes: &[Change], output: &mut Output) -> Result<()> {
        if self.csv {
            output.raw_line(&COLUMNS.join(","))?;
            changes.iter().flat_map(rows).try_for_each(|row| output.raw_line(&csv_line(&row)))?;
        } else {
            let whos = changes.iter().map(|change| format::cut(change.actor.as_deref().unwrap_or("-"), WHO_MAX));
            let whos: Vec<String> = whos.collect();
            let width = whos.iter().map(|who| format::width(who)).max().unwrap_or(0);
            for (change, who) in changes.iter().zip(whos) {
                let pad = " ".repeat(width.saturating_sub(format::width(&who)));
                let time = format::time(change.time_ms);
                output.line(format!("{:>8}  {time}  {who}{pad}  {}", change.position, change.event))?;
                for line in &change.changes {
                    output.line(format::cut(&format!("{:>8}    {line}", ""), output.line_columns()))?;
                }
            }
        }
        Ok(())
    }
}

/// A change as a server tells it.
fn read(change: &Value) -> Option<Change> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let field = |field: &Value| {
        Some(FieldChange {
            field: text(&field["field"])?,
            version: field["version"].as_u64().and_then(|version| u32::try_from(version).ok()),
            from: text(&field["from"]),
            to: text(&field["to"]),
        })
    };
    Some(Change {
        position: change["position"].as_u64()?,
        time_ms: change["time_ms"].as_i64()?,
        actor: text(&change["actor"]),
        event: text(&change["event"])?,
        changes: change["changes"].as_array()?.iter().map(text).collect::<Option<_>>()?,
        fields: change["fields"].as_array()?.iter().map(field).collect::<Option<_>>()?,
    })
}

/// The rows of [`COLUMNS`] of one change: one for each field, and one without a field if it changed none.
fn rows(change: &Change) -> Vec<[Cell; 8]> {
    let row = |field: [Cell; 4]| {
        let [name, version, from, to] = field;
        let (position, time) = (Cell::Count(change.position), Cell::Time(change.time_ms));
        [position, time, Cell::text(change.actor.as_deref()), Cell::text(Some(&change.event)), name, version, from, to]
    };
    if change.fields.is_empty() {
        return vec![row([Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing])];
    }
    let fields = change.fields.iter().map(|field| {
        let version = field.version.map_or(Cell::Nothing, |version| Cell::Count(version.into()));
        let (from, to) = (Cell::text(field.from.as_deref()), Cell::text(field.to.as_deref()));
        row([Cell::text(Some(&field.field)), version, from, to])
    });
    fields.collect()
}
