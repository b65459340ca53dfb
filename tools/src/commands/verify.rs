//! `runlode verify STORE`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::Result;
use crate::find::{open_to_read, store_path};
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
}

impl Verify {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store)?;
        let report = store.verify()?;
        let sound = report.is_sound();
        let problems: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        if output.is_json() {
            output.document(&json!({
                "ok": sound,
                "position": report.position.0,
                "sound_up_to": report.sound_up_to.0,
                "frames": report.frames_count,
                "events": report.events_count,
                "points_in_log": report.frame_points_count,
                "points_in_series_files": report.chunk_points_count,
                "entities_compared": report.entities_count,
                "series_compared": report.series_count,
                "problems": problems,
                "problems_left_out": report.findings_left_out,
            }))?;
        } else if sound {
            output.line(format!(
                "Sound up to position {}: {} frames, {} events, {} points in the log and {} in series files read; \
                 {} entities and {} series compared with what the log says.",
                format::count(report.position.0),
                format::count(report.frames_count),
                format::count(report.events_count),
                format::count(report.frame_points_count),
                format::count(report.chunk_points_count),
                format::count(report.entities_count),
                format::count(report.series_count)
            ))?;
        } else {
            for problem in &problems {
                output.line(problem)?;
            }
            let count = problems.len() as u64 + report.findings_left_out;
            output.line(format!(
                "{} problems. Sound up to position {}; restore the files named above from a copy.",
                format::count(count),
                format::count(report.sound_up_to.0)
            ))?;
        }
        for (tag, count) in &report.unknown {
            if !output.is_json() {
                output.line(format!("note: {count} events of kind {tag}, which this version does not know"))?;
            }
        }
        Ok(if sound { Answer::Yes } else { Answer::No })
    }
}
