//! Checks backups without their store: every byte of every blob and manifest.

use std::collections::{BTreeMap, BTreeSet};

use crate::blob::{self, BlobId};
use crate::error::{Error, Result};
use crate::manifest::{self, MARKER, MARKER_TEXT};
use crate::place::{Backups, Progress};

/// Damage in a place of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a name in the target.
    pub path: String,
    /// What is wrong.
    pub why: String,
    /// The backups that need it; empty for a blob that none of those checked names.
    pub backups: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Backups that were checked.
    pub backups_count: u64,
    /// Blobs that were read.
    pub blobs_count: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Blobs that no backup names: an interrupted backup left them.
    pub unnamed_count: u64,
    /// All damage.
    pub problems: Vec<Problem>,
}

impl Backups {
    /// Reads every byte of backups, of all if no names are given (then blobs that none of them names too), and reports
    /// everything that is missing or changed. Damage is not an error.
    ///
    /// # Errors
    /// [`Error::NoBackup`] for an unknown name; [`Error::Io`], [`Error::Target`] if the target does not answer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # runlode::Store::open(dir.path().join("exp"))?.close()?;
    /// use runlode_backup::{Backups, MakeOptions};
    ///
    /// let backups = Backups::open(dir.path().join("backups").to_str().expect("a plain path"))?;
    /// backups.make(&dir.path().join("exp"), &MakeOptions::default(), &mut |_| {})?;
    /// let report = backups.check(&[], &mut |_| {})?;
    /// assert_eq!((report.backups_count, report.problems.len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, names: &[String], tell: &mut dyn FnMut(Progress)) -> Result<CheckReport> {
        let all = names.is_empty();
        let mut report = CheckReport::default();
        let problem = |path: String, why: String, backups: Vec<String>| Problem { path, why, backups };
        match self.target.get(MARKER)? {
            Some(text) if text == MARKER_TEXT.as_bytes() => {}
            Some(_) => report.problems.push(problem(MARKER.into(), "it has other bytes".into(), Vec::new())),
            None => report.problems.push(problem(MARKER.into(), "it is missing".into(), Vec::new())),
        }
        // What each blob is needed for, and its length.
        let mut needed: BTreeMap<BlobId, (u64, BTreeSet<String>)> = BTreeMap::new();
        let names = if all { self.names()? } else { names.to_vec() };
        for name in names {
            let manifest = match self.manifest(&name) {
                Err(Error::Damaged { path, why }) => {
                    report.problems.push(problem(path, why, vec![name]));
                    continue;
                }
                manifest => manifest?,
            };
            report.backups_count += 1;
            for file in &manifest.files {
                for (at, chunk) in file.chunks.iter().enumerate() {
                    let of = needed.entry(*chunk).or_insert((manifest.chunk_len(file, at), BTreeSet::new()));
                    if of.0 != manifest.chunk_len(file, at) {
                        let why = format!("chunk {at} of `{}` has another length than its blob", file.path);
                        report.problems.push(problem(manifest::path(&name), why, vec![name.clone()]));
                    }
                    of.1.insert(name.clone());
                }
            }
        }
        let mut listed = self.target.list(blob::FOLDER)?;
        let mut progress = Progress::default();
        if all {
            for (path, bytes) in std::mem::take(&mut listed) {
                match BlobId::of_path(&path) {
                    Some(id) if !needed.contains_key(&id) => {
                        report.unnamed_count += 1;
                        needed.insert(id, (bytes, BTreeSet::new()));
                    }
                    Some(_) => {}
                    None => report.problems.push(problem(path, "it is no blob's name".into(), Vec::new())),
                }
            }
        }
        progress.total_bytes = needed.values().map(|(bytes, _)| bytes).sum();
        for (id, (bytes, of)) in needed {
            match blob::read(&*self.target, id) {
                Ok(found) if found.len() as u64 == bytes => {}
                Ok(found) => {
                    let why = format!("it has {} bytes, not {bytes}", found.len());
                    report.problems.push(problem(id.path(), why, of.into_iter().collect()));
                }
                Err(Error::Damaged { path, why }) => {
                    report.problems.push(problem(path, why, of.into_iter().collect()));
                }
                Err(error) => return Err(error),
            }
            report.blobs_count += 1;
            report.bytes += bytes;
            progress.done_bytes += bytes;
            tell(progress);
        }
        Ok(report)
    }
}
