//! The child that is killed: it appends without end, and prints what was acknowledged.
//!
//! A line `B n` or `S n` says that all points of steps below n are acknowledged, the last ones as `Buffered` or `Sync`.
//! It is printed after the call returned, so these points must be in the store after the kill.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use runlode::engine::KeyedPoint;
use runlode::{Durability, LocalStore, Point, RunId, TimestampMs};

use crate::Answer;
use crate::error::Result;
use crate::output::Output;

/// Points in a `Buffered` batch.
const BATCH: i64 = 500;
/// One batch in this many is `Sync`.
const SYNC_EVERY: i64 = 40;

/// Arguments of the hidden command `demo-writer`.
#[derive(Debug, Args)]
pub struct DemoWriter {
    store: PathBuf,
    run: RunId,
}

/// The value at a step, so that a reader can tell whether it is the one that was written.
pub(crate) fn value_at(step: i64) -> f64 {
    let mixed = (step.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 40;
    1.0 / (1.0 + step as f64 / 1000.0) + mixed as f64 / f64::from(1 << 28)
}

impl DemoWriter {
    pub(crate) fn run(self, _: &mut Output) -> Result<Answer> {
        let store = LocalStore::options(&self.store).create(false).open()?;
        let run = store.run(self.run)?;
        let key = store.engine().metric_key("loss")?;
        let mut out = io::stdout().lock();
        let mut points = Vec::new();
        let mut step = 0;
        for batch in 1.. {
            points.clear();
            points.extend((step..step + BATCH).map(|step| {
                let time = TimestampMs(1_760_000_000_000 + step);
                KeyedPoint { key, point: Point { step, time, value: value_at(step) } }
            }));
            let sync = batch % SYNC_EVERY == 0;
            let durability = if sync { Durability::Sync } else { Durability::Buffered };
            run.handle().log_points(&points, durability)?;
            step += BATCH;
            writeln!(out, "{} {step}", if sync { 'S' } else { 'B' })?;
            out.flush()?;
        }
        Ok(Answer::Yes)
    }
}
