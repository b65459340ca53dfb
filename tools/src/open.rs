//! How commands open a store.

use std::path::Path;

use runlode::LocalStore;

use crate::error::{Error, Result};
use crate::output::Output;

/// Opens an existing store for reading, and prints what it lacks.
pub(crate) fn open_to_read(path: &Path, output: &mut Output) -> Result<LocalStore> {
    let store = open_read_only(path)?;
    output.say_missing(&store.engine().open_notes().missing);
    Ok(store)
}

/// Opens an existing store for reading; the caller checks its notes.
pub(crate) fn open_read_only(path: &Path) -> Result<LocalStore> {
    check_is_store(path)?;
    Ok(LocalStore::options(path).create(false).read_only(true).open()?)
}

/// Opens an existing store for writing.
pub(crate) fn open_to_write(path: &Path) -> Result<LocalStore> {
    check_is_store(path)?;
    Ok(LocalStore::options(path).create(false).open()?)
}

pub(crate) fn check_is_store(path: &Path) -> Result<()> {
    if path.join("FORMAT").exists() {
        return Ok(());
    }
    let is = if path.exists() { "is not a store" } else { "does not exist" };
    let path = path.display();
    Err(Error::usage(format!("{path} {is}; create a store with `runlode import sqlite:///mlflow.db {path}`")))
}
