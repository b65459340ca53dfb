//! `runlode history STORE ENTITY`: every change, by whom, when, old and new value.

use std::path::PathBuf;

use clap::Args;
use runlode::find::Named;
use runlode::{EntityKey, changes};
use serde_json::{Value, json};

use crate::error::Result;
use crate::find::store_path;
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format};

/// Most characters of an author.
const WHO_MAX: usize = 16;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// A run, experiment or model: name, id, beginning of an id, models:/NAME, models:/NAME/VERSION, models:/NAME@ALIAS
    target: String,
}

impl History {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let key = match runlode::find::entity(&snapshot, &self.target)? {
            Named::Run(id) => EntityKey::Run(id),
            Named::Experiment(id) => EntityKey::Experiment(id),
            Named::LoggedModel(id) => EntityKey::LoggedModel(id),
            Named::RegisteredModel(id, _) => EntityKey::RegisteredModel(id),
            Named::Version(id, _, version) => EntityKey::ModelVersion(id, version),
        };
        let events = snapshot.events(&key)?;
        let time = if output.is_json() { format::time_utc } else { format::time };
        let changes = changes::of(&events, time);
        if output.is_json() {
            let all = changes.iter().map(|change| {
                let fields = change.fields.iter().map(|field| {
                    json!({ "field": field.field, "version": field.version, "from": field.from, "to": field.to })
                });
                json!({
                    "position": change.position,
                    "time_ms": change.time_ms,
                    "actor": change.actor,
                    "event": change.event,
                    "changes": change.changes,
                    "fields": fields.collect::<Vec<_>>(),
                })
            });
            output.document(&all.collect::<Value>())?;
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
        Ok(Answer::Yes)
    }
}
