//! A target that is a folder: built beside its place under another name, and moved there when it is complete.
//!
//! ```text
//! /srv/.out.unfinished/   runlode-export.json   says what is done     (locked while an export writes there)
//!                         points/, runs/, ...
//! /srv/out/               the same, complete
//! ```
//! Others may write beside the target and in it. No link there is followed, and none is left in a folder that an export
//! writes.
//!
//! Invariants: a folder without a manifest is never touched. The manifest lists a file only when the file is on the
//! disk. A complete target is replaced at once: the two folders change places, and the old one is removed then.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use runlode::beneath;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use crate::error::{Error, Result};
use crate::manifest::Manifest;

/// Name of the manifest in a folder.
const MANIFEST: &str = "runlode-export.json";
/// Its name until it is whole.
const NEW_MANIFEST: &str = "runlode-export.json.new";
/// It has a line for each file: millions of them.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;
/// Extension of a file that is being written.
pub(crate) const UNFINISHED: &str = "unfinished";

/// A folder that is being written.
#[derive(Debug)]
pub(crate) struct Folder {
    target: PathBuf,
    work: PathBuf,
    /// Holds the lock.
    lock: File,
    pub(crate) manifest: Manifest,
    /// Whether it was begun earlier.
    pub(crate) resumed: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Nothing: the target is complete.
    Complete(Box<Manifest>),
    /// To write it.
    Work(Box<Folder>),
}

/// The place beside a target where it is built.
pub(crate) fn work_place(target: &Path) -> Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| {
        Error::Target(format!("{} has no name of its own; give a new folder or file", target.display()))
    })?;
    Ok(target.with_file_name(format!(".{}.unfinished", name.to_string_lossy())))
}

/// Creates a file in place of whatever has its name, and never through a link.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => File::create_new(path),
    }
}

/// Refuses a link in the place where a target is built.
pub(crate) fn refuse_link(work: &Path) -> Result<()> {
    match fs::symlink_metadata(work) {
        Ok(found) if found.is_symlink() => Err(Error::Target(format!(
            "{} is a link, and no export made it; remove it, or give another target",
            work.display()
        ))),
        _ => Ok(()),
    }
}

/// The manifest of a folder; `None` if it has none.
fn read_manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    match beneath::read_small(folder, MANIFEST, MANIFEST_BYTES_MAX) {
        Ok(text) => Manifest::parse(&text, &path.display().to_string()).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// Whether a folder has no files, except for a manifest that was being written first when an export was killed.
fn is_empty(folder: &Path) -> Result<bool> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>();
            let names = names.map_err(|error| Error::io("list", folder, error))?;
            Ok(names.iter().all(|name| name == NEW_MANIFEST))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("list", folder, error)),
    }
}

/// Checks that a target's folder may be written, and returns the manifest that it has.
fn check_target(target: &Path, wanted: &Manifest) -> Result<Option<Manifest>> {
    let place = target.display();
    let Some(found) = read_manifest(target)? else {
        return match is_empty(target)? {
            true => Ok(None),
            false => Err(Error::Target(format!(
                "{place} holds files that no export wrote; give a folder that is new or empty"
            ))),
        };
    };
    if found.kind != wanted.kind {
        return Err(Error::Target(format!("{place} is an export to {}; give another folder", found.kind)));
    }
    if found.store != wanted.store {
        return Err(Error::Target(format!("{place} is an export of another store; give another folder")));
    }
    Ok(Some(found))
}

impl Folder {
    /// Begins an export, or goes on with one that was cut. If no position is `fixed`, the cut one's is kept.
    pub(crate) fn begin(target: &Path, wanted: Manifest, fixed: bool) -> Result<Begun> {
        let work = work_place(target)?;
        let present = check_target(target, &wanted)?;
        if let Some(parent) = target.parent().filter(|parent| *parent != Path::new("")) {
            fs::create_dir_all(parent).map_err(|error| Error::io("make", parent, error))?;
        }
        let mut complete = present.filter(|present| present.finished && present.is_same(&wanted));
        if !work.exists()
            && let Some(complete) = complete.take()
        {
            return Ok(Begun::Complete(Box::new(complete)));
        }
        refuse_link(&work)?;
        fs::create_dir_all(&work).map_err(|error| Error::io("make", &work, error))?;
        let lock = File::open(&work).map_err(|error| Error::io("open", &work, error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Target(format!("another export is writing to {} now", target.display())));
        }
        let left = read_manifest(&work)?;
        if left.is_none() && !is_empty(&work)? {
            return Err(Error::Target(format!(
                "{} holds files that no export wrote; remove it, or give another target",
                work.display()
            )));
        }
        if let Some(complete) = complete {
            // Killed after the folders had changed places: the old one is left.
            remove(&work)?;
            return Ok(Begun::Complete(Box::new(complete)));
        }
        let goes_on = |left: &Manifest| {
            !left.finished
                && if fixed { left.is_same(&wanted) } else { left.is_of(&wanted) && left.position <= wanted.position }
        };
        let (manifest, resumed) = match left {
            Some(left) if goes_on(&left) => (left, true),
            other => {
                if other.is_some() {
                    clear(&work, &|_| false)?;
                }
                (wanted, false)
            }
        };
        let mut folder = Self { target: target.to_path_buf(), work, lock, manifest, resumed };
        folder.clear_unfinished()?;
        folder.save()?;
        Ok(Begun::Work(Box::new(folder)))
    }

    /// Removes files that were being written when an export was cut: those that have no final name yet, and Parquet
    /// files that the manifest does not list.
    fn clear_unfinished(&self) -> Result<()> {
        let listed: HashSet<PathBuf> = self.manifest.files.iter().map(|name| self.work.join(name)).collect();
        let is_unfinished = |path: &Path| path.extension().is_some_and(|extension| extension == UNFINISHED);
        let is_parquet = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
        clear(&self.work, &|path| !is_unfinished(path) && (!is_parquet(path) || listed.contains(path)))
    }

    /// The path of a file while the export goes on.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Makes a subfolder and returns it.
    pub(crate) fn make(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(|error| Error::io("make", &path, error))?;
        Ok(path)
    }

    /// Writes the manifest, so that all of it or nothing of it is there.
    pub(crate) fn save(&mut self) -> Result<()> {
        let new = self.path(NEW_MANIFEST);
        let place = self.path(MANIFEST);
        let text = self.manifest.to_text()?;
        let write = || -> io::Result<()> {
            let mut file = create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &place)?;
            self.lock.sync_all()
        };
        write().map_err(|error| Error::io("write", &place, error))
    }

    /// As [`Folder::save`], after everything written so far is on the disk.
    pub(crate) fn save_after_sync(&mut self) -> Result<()> {
        rustix::fs::syncfs(&self.lock).map_err(|error| Error::io("sync", &self.work, error.into()))?;
        self.save()
    }

    /// Moves the complete export to its place.
    pub(crate) fn finish(mut self) -> Result<Manifest> {
        self.manifest.finished = true;
        self.save_after_sync()?;
        let cannot = |error: io::Error| {
            let doing = format!("move {} to", self.work.display());
            Error::io(&doing, &self.target, error)
        };
        let has_manifest = self.target.join(MANIFEST).exists();
        if has_manifest {
            renameat_with(CWD, &self.work, CWD, &self.target, RenameFlags::EXCHANGE)
                .map_err(|error| cannot(error.into()))?;
            remove(&self.work)?;
        } else {
            fs::rename(&self.work, &self.target).map_err(cannot)?;
        }
        let parent = self.target.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| Error::io("sync", parent, error))?;
        Ok(self.manifest)
    }
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).map_err(|error| Error::io("remove", folder, error))
}

/// Removes all files but the manifest and those to keep, all links, and the folders that are empty then.
fn clear(work: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
    fn below(manifest: &Path, folder: &Path, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                below(manifest, &path, keep)?;
                // Stays if something in it stays.
                let _ = fs::remove_dir(&path);
            } else if kind.is_symlink() || !keep(&path) && path != manifest {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
    below(&work.join(MANIFEST), work, keep).map_err(|error| Error::io("clear", work, error))
}
