//! How each promise is measured, one file a theme.

pub mod asof;
pub mod compact;
pub mod enforce;
pub mod events;
pub mod export;
pub mod hundred;
pub mod import;
pub mod ingest;
pub mod many;
pub mod memory;
pub mod read;
pub mod search;
pub mod shell;
pub mod single;
pub mod size;
pub mod sqlite;
pub mod sync;

use crate::Result;

/// Work of a process that is there to be killed.
///
/// # Errors
/// Of the work; also for words that name none.
pub fn child(words: &[String]) -> Result {
    match words {
        [name, store, points] if name == "unsealed" => hundred::log_until_killed(store.as_ref(), points.parse()?),
        _ => Err(format!("no such work: {}", words.join(" ")).into()),
    }
}
