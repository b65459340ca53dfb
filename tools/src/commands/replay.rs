//! `runlode replay STORE --into DIR|TARGET [--until POSITION|TIME]`

use std::path::PathBuf;

use clap::Args;
use runlode_export::{Only, Target};
use serde_json::json;

use crate::commands::export::{part, target, write};
use crate::error::{Error, Result};
use crate::find::{folder_path, store_path};
use crate::open::open_read_only;
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Folder of the new store, which must not exist; or parquet:DIR, sqlite:///back.db, tensorboard:DIR, as `export`
    #[arg(long, value_name = "DIR|TARGET", value_parser = into)]
    into: Into,
    /// Up to a position, or a time ("2026-03-03 09:00"); default: everything
    #[arg(long, value_name = "POSITION|TIME")]
    until: Option<String>,
    /// Of a target that is no store, only this part: experiment:NAME, run:ID or models:/NAME; may be repeated
    #[arg(long, value_name = "PART", value_parser = part)]
    only: Vec<Only>,
}

/// Where to.
#[derive(Debug, Clone)]
enum Into {
    Store(PathBuf),
    Target(Target),
}

fn into(text: &str) -> Result<Into, String> {
    if Target::is_one(text) { target(text).map(Into::Target) } else { folder_path(text).map(Into::Store) }
}

impl Replay {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let into = match self.into {
            Into::Target(target) => return write(&self.store, &target, self.until.as_deref(), self.only, output),
            Into::Store(folder) => folder,
        };
        if !self.only.is_empty() {
            return Err(Error::usage(
                "--only is for parquet:, sqlite: and tensorboard: targets; a store is replayed whole",
            ));
        }
        let until = self.until.as_deref().map(format::as_of).transpose()?;
        let store = open_read_only(&self.store)?;
        output.say_missing(store.missing());
        if into.join("FORMAT").exists() {
            return Err(Error::usage(format!("{} is a store already; give a new folder", into.display())));
        }
        let report = store.engine().replay_into(&into, until)?;
        if output.is_json() {
            output.document(&json!({
                "position": report.position.0, "frames": report.frames_count, "events": report.events_count, "points": report.points_count,
                "unknown_events": report.unknown.iter().map(|(tag, count)| json!({ "tag": tag, "count": count })).collect::<Vec<_>>(),
            }))?;
        } else {
            output.line(format!(
                "Replayed {} batches, {} events and {} points into {}.",
                format::count(report.frames_count),
                format::count(report.events_count),
                format::count(report.points_count),
                into.display()
            ))?;
            for (tag, count) in &report.unknown {
                output.line(format!("  note: {count} events of kind {tag}, which this version does not know"))?;
            }
        }
        Ok(Answer::Yes)
    }
}
