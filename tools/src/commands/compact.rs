//! `runlode compact STORE`

use std::path::PathBuf;

use clap::Args;
use runlode::CompactOptions;
use serde_json::json;

use crate::error::Result;
use crate::find::store_path;
use crate::output::Output;
use crate::{Answer, disk, format, open};

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct Compact {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
}

impl Compact {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let before = disk::bytes_of(&self.store)?;
        let store = open::to_change(&self.store)?;
        let report = store.compact(&CompactOptions::default())?;
        store.close()?;
        let after = disk::bytes_of(&self.store)?;
        if output.is_json() {
            output.document(&json!({
                "bytes_before": before, "bytes_after": after, "pinned_bytes": report.pinned_bytes,
                "segments": report.segments_after, "series_files": report.series_files_after,
                "runs_purged": report.runs_purged, "points_purged": report.points_purged,
            }))?;
        } else {
            output.line(format!("{} before, {} after.", format::bytes(before), format::bytes(after)))?;
            if report.runs_purged > 0 {
                let points = format::count(report.points_purged);
                output.line(format!("{} purged runs left the disk, {points} points.", report.runs_purged))?;
            }
        }
        Ok(Answer::Yes)
    }
}
