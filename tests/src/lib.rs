//! Shared by the tests across crates: a generator of work ([`work`], a [`write`](mod@write)
//! at a time), a naive store in memory with the right answers
//! ([`model`]), and all answers of a store as lines of text ([`facts`]). So a store, a replay of it and the model are
//! compared by one `==`.

// In tests, a panic is a failure.
#![allow(clippy::unwrap_used)]

pub mod create;
pub mod facts;
pub mod fuzz;
pub mod fuzz_foreign;
pub mod fuzz_models;
pub mod model;
pub mod python;
pub mod scoring;
pub mod sim;
pub mod work;
pub mod write;

use std::sync::Arc;

use runlode_engine::storage::Storage;
use runlode_engine::{ManualClock, Options, Store, TimestampMs};

/// A number from the environment, for tests that can run longer than by default.
pub fn knob(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`; a whole number is expected")),
        Err(_) => default,
    }
}

/// A clock that the test moves.
pub fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)))
}

/// Options for simulations: no threads, a manual clock, small segments so that new ones are started often.
pub fn sim_options(storage: Arc<dyn Storage>, clock: Arc<ManualClock>, seed: u64) -> Options {
    Store::options("simulated")
        .storage(storage)
        .background(false)
        .clock(clock)
        .seed(seed)
        .memory_bytes(16 << 20)
        .segment_bytes(8 << 10, 32 << 10)
        .search_snap_runs_min(1)
}

/// The first line in which two lists of facts differ, with its neighbours; `None` if they are equal.
pub fn difference(expected: &[String], found: &[String]) -> Option<String> {
    let at = (0..expected.len().max(found.len())).find(|&at| expected.get(at) != found.get(at))?;
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "(no more lines)".into());
    Some(format!("fact {at}:\n  expected {}\n  found    {}", line(expected), line(found)))
}
