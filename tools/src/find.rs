//! Resolves arguments: stores, folders, and entities as [`runlode::find`] finds them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use runlode::engine::search::{Filter, OrderKey};
use runlode::{ExperimentId, RunId, Snapshot};

use crate::error::{Error, Result};
use crate::output::note;

/// The address of this machine that `--host` and `--port` name.
///
/// # Errors
/// The host has no address.
pub(crate) fn address(host: &str, port: u16) -> Result<SocketAddr> {
    let cannot = |why: String| Error::usage(format!("--host {host}: {why}; give an address of this machine"));
    let found = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let mut found = found.map_err(|error| cannot(error.to_string()))?;
    found.next().ok_or_else(|| cannot("it has no address".to_owned()))
}

/// The folder of a store from an argument: a path, or `runlode:///path`.
pub(crate) fn store_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("runlode://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(_) => Err(format!("`{text}` needs three slashes: runlode:///path")),
        None if text.is_empty() => Err("give the folder of a store".to_owned()),
        None => folder_path(text),
    }
}

/// A folder from an argument. What begins like a URI is refused: it would become a folder of this name.
pub(crate) fn folder_path(text: &str) -> Result<PathBuf, String> {
    let in_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    match text.split_once(':') {
        Some(("http" | "https", rest)) if rest.starts_with("//") => Err(format!(
            "this works on the folder of a store, not on a server; run it where the folder is, or copy the store first: \
             runlode import {text} ./copy"
        )),
        Some((scheme, _))
            if scheme.len() > 1 && scheme.starts_with(char::is_alphabetic) && scheme.chars().all(in_scheme) =>
        {
            Err(format!("this takes a folder, not `{scheme}:`; write ./{text} for a folder of that name"))
        }
        _ if text.is_empty() => Err("give a folder".to_owned()),
        _ => Ok(PathBuf::from(text)),
    }
}

/// The run that an argument names.
pub(crate) fn run(snapshot: &Snapshot, text: &str) -> Result<RunId> {
    Ok(runlode::find::run(snapshot, text)?)
}

/// The experiment that an argument names.
pub(crate) fn experiment(snapshot: &Snapshot, text: &str) -> Result<ExperimentId> {
    Ok(runlode::find::experiment(snapshot, text)?)
}

/// Notes on standard error which keys no run has.
pub(crate) fn note_unknown(snapshot: &Snapshot, filter: Option<&Filter>, order: &[OrderKey]) -> Result<()> {
    for unknown in runlode::find::unknown_keys(snapshot, filter, order)? {
        note(unknown);
    }
    Ok(())
}
