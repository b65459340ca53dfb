//! `runlode replay STORE --into DIR [--until POSITION|TIME]`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

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
    /// Folder of the new store; it must not exist
    #[arg(long, value_name = "DIR", value_parser = folder_path)]
    into: PathBuf,
    /// Up to a position, or a time ("2026-03-03 09:00"); default: everything
    #[arg(long, value_name = "POSITION|TIME")]
    until: Option<String>,
}

impl Replay {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let until = self.until.as_deref().map(format::as_of).transpose()?;
        let store = open_read_only(&self.store)?;
        output.say_missing(store.missing());
        if self.into.join("FORMAT").exists() {
            return Err(Error::usage(format!("{} is a store already; give a new folder", self.into.display())));
        }
        let report = store.engine().replay_into(&self.into, until)?;
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
                self.into.display()
            ))?;
            for (tag, count) in &report.unknown {
                output.line(format!("  note: {count} events of kind {tag}, which this version does not know"))?;
            }
        }
        Ok(Answer::Yes)
    }
}
