//! Where the artifacts of a run or logged model go in the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runlode::engine::storage::owner::settle_tree;
use rustix::io::Errno;

use super::beneath::Folder;
use super::report::Report;
use crate::error::{Error, Result};

/// Where a store keeps artifacts.
pub(super) const ROOT: &str = "artifacts";
/// The name of a file that is not complete yet.
pub(super) const UNFINISHED: &str = ".runlode-import.part";

/// The place of one run or model: `artifacts/EXPERIMENT/RUN/artifacts` below the store's folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home<'h> {
    store: &'h Path,
    home: &'h str,
}

/// A path of two parts, each of which may be empty.
pub(super) fn join(folder: &str, rest: &str) -> String {
    match (folder, rest) {
        ("", rest) => rest.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, rest) => format!("{folder}/{rest}"),
    }
}

impl<'h> Home<'h> {
    pub(super) fn new(store: &'h Path, home: &'h str) -> Self {
        Self { store, home }
    }

    /// The path of something below it.
    pub(super) fn place(&self, below: &str) -> PathBuf {
        self.store.join(self.home).join(below)
    }

    /// The same below the store's folder of artifacts.
    pub(super) fn below_root(&self, below: &str) -> String {
        let home = self.home.strip_prefix(ROOT).unwrap_or(self.home);
        join(home.trim_start_matches('/'), below)
    }

    /// Opens a folder below it, and makes what is missing. The store's own `artifacts` may be a link, if its owner wants
    /// that; below it no link is followed.
    pub(super) fn folder(&self, below: &str) -> Result<Folder> {
        let root = self.store.join(ROOT);
        let make = || {
            fs::create_dir_all(&root)?;
            Folder::open(&root)?.make(&self.below_root(below)).map_err(io::Error::from)
        };
        make().map_err(|error| {
            Error::io(format!("cannot make {} (run the import again to go on)", self.place(below).display()), error)
        })
    }

    /// Makes the names in a folder of it durable.
    pub(super) fn sync(&self, folder: &Folder, below: &str) -> Result<()> {
        let cannot = |error: Errno| Error::io(format!("cannot sync {}", self.place(below).display()), error.into());
        folder.sync().map_err(cannot)
    }

    /// Counts the files that have arrived, and gives them to the store's owner: root may run an import for another user.
    pub(super) fn settle(&self, files: &[(String, u64)], report: &mut Report) -> Result<()> {
        let to = self.place("");
        if to.exists() {
            settle_tree(self.store, &to)
                .map_err(|error| Error::io(format!("cannot give {} away", to.display()), error))?;
        }
        report.imported.artifact_files += files.len() as u64;
        report.imported.artifact_bytes += files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        Ok(())
    }
}
