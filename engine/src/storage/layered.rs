//! A folder whose changes go to another folder: the one below is read, never written.
//!
//! ```text
//!   read    above, if it has the file; else below, unless it was removed
//!   write   above; a file that is only below is copied there first (its data, not its holes)
//!   remove  above, and noted in `above/removed`, one path a line, if below has it
//!   list    both, without what was removed
//! ```
//! For an index, and files, of a store that cannot be written or should not be: a copy, or read-only media. The folder
//! below must not change meanwhile. Locks are taken above, so they do not keep anybody from the folder below.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{Entry, FileIdentity, OpenMode, Storage, StorageFile, read_exact_at, write_all_at};

/// Paths of files below that were removed.
const REMOVED: &str = "removed";
/// It is replaced by a rename.
const REMOVED_TMP: &str = "removed.tmp";
/// Files are copied in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A folder with changes in another one.
#[derive(Debug)]
pub struct Layered {
    below: Arc<dyn Storage>,
    above: Arc<dyn Storage>,
    removed: Mutex<BTreeSet<String>>,
}

impl Layered {
    /// The folder `below` with the changes that are in `above`.
    ///
    /// # Errors
    /// `above` cannot be read.
    pub fn new(below: Arc<dyn Storage>, above: Arc<dyn Storage>) -> io::Result<Self> {
        let removed = match above.open(REMOVED, OpenMode::Read) {
            Ok(file) => read_removed(&*file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { below, above, removed: Mutex::new(removed) })
    }

    /// Whether the folder below shows a file or folder.
    fn is_below(&self, path: &str) -> io::Result<bool> {
        if self.is_removed(path) {
            return Ok(false);
        }
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.below.list(dir) {
            Ok(entries) => Ok(entries.iter().any(|entry| entry.name == name)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A file is removed with each folder that it is in.
    fn is_removed(&self, path: &str) -> bool {
        let removed = self.removed.lock();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.into_iter().any(|end| removed.contains(&path[..end]))
    }

    /// Notes that a path of the folder below is gone, durably before anything is removed above.
    fn note_removed(&self, path: &str) -> io::Result<()> {
        let mut removed = self.removed.lock();
        if !removed.insert(path.to_owned()) {
            return Ok(());
        }
        let text: String = removed.iter().flat_map(|path| [path.as_str(), "\n"]).collect();
        match self.above.remove(REMOVED_TMP) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.above.open(REMOVED_TMP, OpenMode::CreateNew)?;
        write_all_at(&*file, text.as_bytes(), 0)?;
        file.sync_data()?;
        self.above.rename(REMOVED_TMP, REMOVED)?;
        self.above.sync_dir("")
    }

    /// Makes the folder of a path above, if it is below.
    fn make_parent(&self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((dir, _)) if self.below.list(dir).is_ok() => self.above.create_dir(dir),
            _ => Ok(()),
        }
    }

    /// Copies a file from below, unless it is above already.
    fn bring_up(&self, path: &str) -> io::Result<()> {
        match self.above.open(path, OpenMode::Read) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if self.is_removed(path) {
            return Err(ErrorKind::NotFound.into());
        }
        let from = self.below.open(path, OpenMode::Read)?;
        self.make_parent(path)?;
        let unfinished = format!("{path}.tmp");
        match self.above.remove(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let to = self.above.open(&unfinished, OpenMode::CreateNew)?;
        to.set_len(from.len()?)?;
        let mut at = 0;
        let mut piece = Vec::new();
        while let Some((start, end)) = from.next_data(at)? {
            at = start;
            while at < end {
                piece.resize((end - at).min(PIECE_BYTES as u64) as usize, 0);
                read_exact_at(&*from, &mut piece, at)?;
                write_all_at(&*to, &piece, at)?;
                at += piece.len() as u64;
            }
        }
        to.sync_all()?;
        self.above.rename(&unfinished, path)
    }
}

fn read_removed(file: &dyn StorageFile) -> io::Result<BTreeSet<String>> {
    let mut bytes = vec![0; file.len()? as usize];
    read_exact_at(file, &mut bytes, 0)?;
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(text.lines().map(str::to_owned).collect())
}

impl Storage for Layered {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        match mode {
            OpenMode::Read => match self.above.open(path, mode) {
                Err(error) if error.kind() == ErrorKind::NotFound && !self.is_removed(path) => {
                    self.below.open(path, mode)
                }
                opened => opened,
            },
            OpenMode::ReadWrite => {
                self.bring_up(path)?;
                self.above.open(path, mode)
            }
            OpenMode::CreateNew => {
                if self.is_below(path)? {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.make_parent(path)?;
                self.above.open(path, mode)
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.bring_up(from)?;
        self.make_parent(to)?;
        self.above.rename(from, to)?;
        if self.is_below(from)? { self.note_removed(from) } else { Ok(()) }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let is_below = self.is_below(path)?;
        if is_below {
            self.note_removed(path)?;
        }
        match self.above.remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && is_below => Ok(()),
            result => result,
        }
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let is_below = self.is_below(dir)?;
        if is_below {
            self.note_removed(dir)?;
        }
        match self.above.remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound && is_below => Ok(()),
            result => result,
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let of = |path: &str| if dir.is_empty() { path.to_owned() } else { format!("{dir}/{path}") };
        let above = self.above.list(dir);
        let below = match self.is_removed(dir) {
            true => Err(ErrorKind::NotFound.into()),
            false => self.below.list(dir),
        };
        let mut entries = match (above, below) {
            (Err(error), Err(_)) => return Err(error),
            (Err(error), _) if error.kind() != ErrorKind::NotFound => return Err(error),
            (_, Err(error)) if error.kind() != ErrorKind::NotFound => return Err(error),
            (above, below) => {
                let mut below = below.unwrap_or_default();
                below.retain(|entry| !self.is_removed(&of(&entry.name)));
                let mut entries = above.unwrap_or_default();
                entries.retain(|entry| !dir.is_empty() || (entry.name != REMOVED && entry.name != REMOVED_TMP));
                below.retain(|entry| entries.iter().all(|other| other.name != entry.name));
                entries.append(&mut below);
                entries
            }
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.above.create_dir(dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self.above.sync_dir(dir) {
            // Nothing was changed in it.
            Err(error) if error.kind() == ErrorKind::NotFound && self.below.list(dir).is_ok() => Ok(()),
            result => result,
        }
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        self.above.free_bytes()
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.above.lock(path, text)
    }

    fn raise_epoch(&self, path: &str) -> io::Result<()> {
        self.above.raise_epoch(path)
    }

    fn is_copied(&self, path: &str) -> io::Result<bool> {
        Ok(self.above.is_copied(path)? || self.below.is_copied(path)?)
    }

    fn mark(&self, path: &str) -> io::Result<()> {
        self.above.mark(path)
    }

    fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        match self.above.identity(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.below.identity(path),
            found => found,
        }
    }

    fn can_map_writes(&self) -> bool {
        self.above.can_map_writes()
    }

    fn display_path(&self, path: &str) -> PathBuf {
        let above = self.above.open(path, OpenMode::Read).is_ok();
        if above { self.above.display_path(path) } else { self.below.display_path(path) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::memory::Memory;

    #[derive(Debug, Clone)]
    enum Op {
        Create(u8, u8),
        Write(u8, u8),
        Read(u8),
        Rename(u8, u8),
        Remove(u8),
        Reopen,
    }

    fn op() -> impl Strategy<Value = Op> {
        let path = || 0..6u8;
        prop_oneof![
            (path(), any::<u8>()).prop_map(|(path, byte)| Op::Create(path, byte)),
            (path(), any::<u8>()).prop_map(|(path, byte)| Op::Write(path, byte)),
            path().prop_map(Op::Read),
            (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
            path().prop_map(Op::Remove),
            Just(Op::Reopen),
        ]
    }

    fn path(number: u8) -> String {
        if number.is_multiple_of(2) { format!("f{number}") } else { format!("d/f{number}") }
    }

    fn put(storage: &dyn Storage, path: &str, mode: OpenMode, byte: u8) -> Result<(), ErrorKind> {
        let file = storage.open(path, mode).map_err(|error| error.kind())?;
        write_all_at(&*file, &[byte; 3], u64::from(byte % 4)).map_err(|error| error.kind())
    }

    fn read(storage: &dyn Storage, path: &str) -> Result<Vec<u8>, ErrorKind> {
        let file = storage.open(path, OpenMode::Read).map_err(|error| error.kind())?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        read_exact_at(&*file, &mut bytes, 0).unwrap();
        Ok(bytes)
    }

    fn everything(storage: &dyn Storage) -> Vec<(String, Result<Vec<u8>, ErrorKind>)> {
        let mut out = Vec::new();
        for dir in ["", "d"] {
            for entry in storage.list(dir).unwrap().into_iter().filter(|entry| !entry.is_dir) {
                let path = if dir.is_empty() { entry.name } else { format!("{dir}/{}", entry.name) };
                let bytes = read(storage, &path);
                out.push((path, bytes));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn layers_are_like_a_copy_of_the_folder(ops in prop::collection::vec(op(), 1..60)) {
            let (below, copy): (Arc<dyn Storage>, Arc<dyn Storage>) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
            for storage in [&below, &copy] {
                storage.create_dir("d").unwrap();
                (0..4).for_each(|number| put(&**storage, &path(number), OpenMode::CreateNew, number).unwrap());
            }
            let before = everything(&*below);
            let above: Arc<dyn Storage> = Arc::new(Memory::new());
            let mut layered = Layered::new(below.clone(), above.clone()).unwrap();
            for op in ops {
                let each = |storage: &dyn Storage| match &op {
                    Op::Create(number, byte) => put(storage, &path(*number), OpenMode::CreateNew, *byte),
                    Op::Write(number, byte) => put(storage, &path(*number), OpenMode::ReadWrite, *byte),
                    Op::Read(number) => read(storage, &path(*number)).map(drop),
                    Op::Rename(from, to) => storage.rename(&path(*from), &path(*to)).map_err(|error| error.kind()),
                    Op::Remove(number) => storage.remove(&path(*number)).map_err(|error| error.kind()),
                    Op::Reopen => Ok(()),
                };
                // A rename onto itself leaves the file.
                if matches!(op, Op::Rename(from, to) if from == to) {
                    continue;
                }
                prop_assert_eq!(each(&layered), each(&*copy), "{:?}", op);
                if matches!(op, Op::Reopen) {
                    layered = Layered::new(below.clone(), above.clone()).unwrap();
                }
                prop_assert_eq!(everything(&layered), everything(&*copy), "{:?}", op);
            }
            prop_assert_eq!(everything(&*below), before);
        }
    }
}
