//! How commands open a store, whatever process holds it.
//!
//! - Commands that change something ask the process that holds the store. If there is none they hold it themselves, and
//!   answer other processes meanwhile.
//! - Commands that only read write nothing. They use the store's index and files, and the log above them; a holder
//!   brings these up to date first.

use std::path::Path;

use runlode::{LocalStore, Options, Store};

use crate::error::{Error, Result};
use crate::output::{Output, note};

/// Frames of a log that are read in no time.
const FRAMES_FEW: u64 = 10_000;

/// Opens an existing store for reading, and prints what it lacks.
pub(crate) fn open_to_read(path: &Path, output: &mut Output) -> Result<LocalStore> {
    check_is_store(path)?;
    let store = Store::options(path).open_to_read()?;
    let notes = store.engine().open_notes();
    if let Some(why) = notes.rebuilt.as_ref().filter(|_| notes.replay.frames_count > FRAMES_FEW) {
        let frames = crate::format::count(notes.replay.frames_count);
        note(format!(
            "{}: {why}, so all {frames} batches of the log were read into memory; a command that writes, or a server, makes \
             an index",
            path.display()
        ));
    }
    output.say_missing(&notes.missing);
    Ok(store)
}

/// Opens an existing store for reading, from its log alone; the caller checks its notes.
pub(crate) fn open_read_only(path: &Path) -> Result<LocalStore> {
    check_is_store(path)?;
    Ok(LocalStore::options(path).create(false).read_only(true).whole_log(true).open()?)
}

/// Opens an existing store to change it, in whatever process holds it.
pub(crate) fn to_change(path: &Path) -> Result<Store> {
    check_is_store(path)?;
    Ok(Store::options(path).create(false).serves_others(true).offline(false).open()?)
}

/// Opens a store for a server, as holder or as client of the holder; makes it where there is none. `memory_bytes` is the
/// memory of the store while this process holds it.
pub(crate) fn to_serve(path: &Path, memory_bytes: u64) -> Result<Store> {
    // Clients say who they are, or nobody is named.
    let options = LocalStore::options(path).author(None).memory_bytes(memory_bytes);
    Ok(Options::from(options).serves_others(true).offline(false).open()?)
}

pub(crate) fn check_is_store(path: &Path) -> Result<()> {
    if path.join("FORMAT").exists() {
        return Ok(());
    }
    let is = if path.exists() { "is not a store" } else { "does not exist" };
    let path = path.display();
    Err(Error::usage(format!("{path} {is}; create a store with `runlode import sqlite:///mlflow.db {path}`")))
}
