//! `runlode tail STORE [--from POSITION]`: prints events from any position on, then follows new ones.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use runlode::Lsn;
use runlode::engine::event::payload::Decoded;
use serde_json::json;

use crate::error::Result;
use crate::find::store_path;
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format};

/// Batches read at once.
const BATCHES: usize = 1000;

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// First position
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Wait for more events after the last one
    #[arg(long, short)]
    follow: bool,
}

impl Tail {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store, output)?;
        let mut tail = store.engine().tail(Lsn(self.from))?;
        loop {
            let wait = if self.follow { Duration::from_secs(1) } else { Duration::ZERO };
            let batches = tail.next(BATCHES, wait)?;
            if batches.is_empty() && !self.follow {
                return Ok(Answer::Yes);
            }
            for batch in &batches {
                let names = batch.events.iter().map(|event| match event {
                    Decoded::Known(event) => event.name().to_owned(),
                    Decoded::Unknown { tag, .. } => format!("unknown event {tag}"),
                });
                let names: Vec<String> = names.collect();
                let points: usize = batch.points.iter().map(|(_, columns)| columns.len()).sum();
                if output.is_json() {
                    output.document_line(&json!({
                        "position": batch.lsn.0, "time_ms": batch.time.0, "actor": batch.actor,
                        "events": names, "points": points,
                    }))?;
                } else {
                    let mut what = names;
                    if points > 0 {
                        what.push(format!("{} points", format::count(points as u64)));
                    }
                    output.line(format!("{:>8}  {}  {}", batch.lsn.0, format::time(batch.time.0), what.join(", ")))?;
                }
            }
            output.flush()?;
        }
    }
}
