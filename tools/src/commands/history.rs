//! `runlode history STORE ENTITY`: every change, by whom, when, old and new value.

use std::path::PathBuf;

use clap::Args;
use runlode::{EntityKey, changes};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::find::{self, Target, store_path};
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// A run (id, prefix of the id, or name), models:/NAME, models:/NAME/VERSION or experiment:NAME
    target: String,
}

impl History {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let target = Target::parse(&self.target)?;
        let store = open_to_read(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let model = |name: &str| {
            let found = snapshot.registered_model(name)?;
            Ok::<_, Error>(found.ok_or_else(|| Error::usage(format!("there is no registered model `{name}`")))?.0)
        };
        let key = match &target {
            Target::Run(text) => EntityKey::Run(find::run(&snapshot, text)?),
            Target::Experiment(text) => EntityKey::Experiment(find::experiment(&snapshot, text)?),
            Target::Model(name) => EntityKey::RegisteredModel(model(name)?),
            Target::Version(name, version) => EntityKey::ModelVersion(model(name)?, *version),
        };
        let events = snapshot.events(&key)?;
        let changes = changes::of(&events, format::time);
        if output.is_json() {
            let all = changes.iter().map(|change| {
                json!({
                    "position": change.position,
                    "time_ms": change.time_ms,
                    "actor": change.actor,
                    "event": change.event,
                    "changes": change.changes,
                })
            });
            output.document(&all.collect::<Value>())?;
        } else {
            for change in &changes {
                let who = change.actor.as_deref().unwrap_or("-");
                output.line(format!(
                    "{:>8}  {}  {:10}  {}",
                    change.position,
                    format::time(change.time_ms),
                    format::cut(who, 10),
                    change.event
                ))?;
                for line in &change.changes {
                    output.line(format!("{:>8}    {}", "", format::cut(line, usize::from(output.columns()))))?;
                }
            }
        }
        Ok(Answer::Yes)
    }
}
