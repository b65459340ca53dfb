//! How commands open a store, whatever process holds it.
//!
//! - Commands that change something ask the process that holds the store. If there is none they hold it themselves, and
//!   answer other processes meanwhile.
//! - Commands that only read write nothing. They use the store's index and files, and the log above them; a holder
//!   brings these up to date first.

use std::path::{Path, PathBuf};

use clap::Args;
use runlode::{Cached, Follower, LocalStore, Options, Store};

use crate::error::{Error, Result};
use crate::find::folder_path;
use crate::format;
use crate::output::{Output, note};
use crate::v1::{Where, place};

/// Frames of a log that are read in no time.
const FRAMES_FEW: u64 = 10_000;

/// The store that a command reads.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Folder of the store; some commands also take http(s)://HOST:PORT of a Runlode server
    #[arg(value_name = "STORE", value_parser = place)]
    place: Where,
    #[command(flatten)]
    cache: Cache,
}

/// Where its index may be kept.
#[derive(Debug, Args)]
pub(crate) struct Cache {
    /// Folder that keeps an index for a store without one: a copy, or one on read-only media. The first command makes it
    #[arg(long, value_name = "DIR", value_parser = folder_path)]
    cache: Option<PathBuf>,
}

impl Source {
    /// A store whose path a command read by itself.
    pub(crate) fn at(place: Where, cache: Cache) -> Self {
        Self { place, cache }
    }

    /// The address of the server that has the store, if none of this machine's folders does.
    pub(crate) fn server(&self) -> Option<&str> {
        match &self.place {
            Where::Server(url) => Some(url),
            Where::Folder(_) => None,
        }
    }

    /// The folder of the store.
    ///
    /// # Errors
    /// It is behind a server.
    fn folder(&self) -> Result<&Path> {
        match &self.place {
            Where::Folder(path) => Ok(path),
            Where::Server(url) => Err(Error::usage(format!(
                "this command reads the folder of a store, not {url}; run it where the folder is, or copy the store first: \
                 runlode import {url} ./copy"
            ))),
        }
    }

    /// Opens the store, which must exist, for reading, and prints what it lacks.
    pub(crate) fn open(&self, output: &mut Output) -> Result<LocalStore> {
        let path = self.folder()?;
        let Some(cache) = &self.cache.cache else { return open_to_read(path, output) };
        check_is_store(path)?;
        let begun = std::time::Instant::now();
        match Store::options(path).open_to_read_cached(cache) {
            Ok((store, cached)) => {
                if let Cached::Made { why, batches, bytes } = cached {
                    note(format!(
                        "{}: {why}; read all {} batches of the log in {:.1} s, and made an index in {}, which takes {}",
                        path.display(),
                        format::count(batches),
                        begun.elapsed().as_secs_f64(),
                        cache.display(),
                        format::bytes(bytes)
                    ));
                }
                output.say_missing(&store.engine().open_notes().missing);
                Ok(store)
            }
            // What is missing is told by an open that goes on without it.
            Err(
                error @ (runlode::Error::MissingFile { .. }
                | runlode::Error::Corrupt(_)
                | runlode::Error::Unavailable { .. }),
            ) => {
                note(format!("no index is kept in {}: {error}", cache.display()));
                open_to_read(path, output)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Source::open`], to read the log as it grows.
    pub(crate) fn follow(&self, output: &mut Output) -> Result<Follower> {
        if self.cache.cache.is_some() {
            return Err(Error::usage("--cache is for stores that nobody writes; leave it out with --follow"));
        }
        let path = self.folder()?;
        check_is_store(path)?;
        let follower = Follower::open(path)?;
        say_notes(path, follower.view(), output);
        Ok(follower)
    }
}

/// Opens an existing store for reading, and prints what it lacks.
pub(crate) fn open_to_read(path: &Path, output: &mut Output) -> Result<LocalStore> {
    check_is_store(path)?;
    let store = Store::options(path).open_to_read()?;
    say_notes(path, &store, output);
    Ok(store)
}

/// Prints what an open for reading cost, and what the store lacks.
fn say_notes(path: &Path, store: &LocalStore, output: &mut Output) {
    let notes = store.engine().open_notes();
    if let Some(why) = notes.rebuilt.as_ref().filter(|_| notes.replay.frames_count > FRAMES_FEW) {
        let frames = format::count(notes.replay.frames_count);
        note(format!(
            "{}: {why}, so all {frames} batches of the log were read into memory; a command that writes, or a server, makes \
             an index, and so does --cache DIR beside a store that must not be written",
            path.display()
        ));
    }
    output.say_missing(&notes.missing);
}

/// Opens an existing store for reading, from its log alone; the caller checks its notes.
pub(crate) fn open_read_only(path: &Path) -> Result<LocalStore> {
    check_is_store(path)?;
    Ok(LocalStore::options(path).create(false).read_only(true).whole_log(true).open()?)
}

/// Opens an existing store to change it, in whatever process holds it.
pub(crate) fn to_change(path: &Path) -> Result<Store> {
    check_is_store(path)?;
    let store = Store::options(path).create(false).serves_others(true).offline(false).open()?;
    say_inboxes(&store);
    Ok(store)
}

/// Prints what keeps inboxes of other processes from being read to their ends, if this process holds the store.
fn say_inboxes(store: &Store) {
    let Ok(local) = store.local() else { return };
    // An error of a merge comes again with the first read.
    let Ok(report) = local.engine().merge_inboxes() else { return };
    for problem in report.problems {
        note(format!("an inbox is not read to its end: {problem}"));
    }
}

/// Opens a store to import into, in whatever process holds it; makes it where there is none.
pub(crate) fn to_import(path: &Path) -> Result<Store> {
    // The experiments of the source come first: its experiment 0 may be another one.
    let options = LocalStore::options(path).default_experiment(false);
    Ok(Options::from(options).serves_others(true).offline(false).open()?)
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
