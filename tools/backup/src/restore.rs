//! Writes a backup into a new folder: the store as it was at the backup's position.
//!
//! ```text
//! DIR.restoring/RUNLODE-RESTORING                           from the beginning to the end
//! DIR.restoring/store/ (every chunk checked, every file synced)  >  rename to DIR  >  sync of the folder above
//! ```
//! So DIR is there whole or not at all. A killed restore leaves `DIR.restoring`, which the next one removes: it is empty, or
//! has that file, which is removed last.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::blob;
use crate::error::{Error, Result};
use crate::manifest::{BackedFile, Manifest};
use crate::place::{Backups, Progress};

/// The file by which the folder of a restore is known.
const MARK: &str = "RUNLODE-RESTORING";
/// The store in it.
const STORE: &str = "store";

/// Which backup.
///
/// ```
/// use runlode_backup::At;
///
/// assert_eq!("1204".parse::<At>()?, At::Position(1204));
/// assert_eq!("before-the-move".parse::<At>()?, At::Name("before-the-move".into()));
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Newest,
    /// The newest of those that are exact at this position.
    Position(u64),
    /// The one of this name.
    Name(String),
}

impl std::str::FromStr for At {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Position))
    }
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Name of the backup.
    pub name: String,
    /// Its position.
    pub position: u64,
    /// Number of files.
    pub files_count: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Removes the folder of a restore. Its mark goes last, so that whatever is left is known as one.
fn clear(half: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(half)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == MARK) {
            continue;
        }
        // A link is removed, not what it leads to.
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    match fs::remove_file(half.join(MARK)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir(half)
}

impl Backups {
    /// Writes a backup into a folder that does not exist, or is empty. The store in it has the id of the one that was
    /// backed up; its first open makes the index.
    ///
    /// # Errors
    /// [`Error::NoBackup`]; [`Error::NotEmpty`]; [`Error::Damaged`] for a blob that is missing or changed; [`Error::Io`],
    /// [`Error::Target`]. The folder is then as it was.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # runlode::Store::open(dir.path().join("exp"))?.close()?;
    /// use runlode_backup::{At, Backups, MakeOptions};
    ///
    /// let backups = Backups::open(dir.path().join("backups").to_str().expect("a plain path"))?;
    /// let made = backups.make(&dir.path().join("exp"), &MakeOptions::default(), &mut |_| {})?;
    /// let restored = backups.restore(&At::Newest, &dir.path().join("copy"), &mut |_| {})?;
    /// assert_eq!((restored.position, restored.bytes), (made.position, made.bytes));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(&self, at: &At, dir: &Path, tell: &mut dyn FnMut(Progress)) -> Result<Restored> {
        let manifest = self.find(at)?;
        let io = |op, path: &Path, error| Error::io(op, path, error);
        match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::NotEmpty { path: dir.to_owned() });
                }
            }
            Err(error) => return Err(io("list", dir, error)),
        }
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(above).map_err(|error| io("create", above, error))?;
        let mut half = dir.as_os_str().to_owned();
        half.push(".restoring");
        let half = PathBuf::from(half);
        if half.exists() {
            let is_empty = fs::read_dir(&half).is_ok_and(|mut entries| entries.next().is_none());
            if !is_empty && !half.join(MARK).exists() {
                return Err(Error::NotEmpty { path: half });
            }
            clear(&half).map_err(|error| io("remove", &half, error))?;
        }
        fs::create_dir(&half).map_err(|error| io("create", &half, error))?;
        let (mark, store) = (half.join(MARK), half.join(STORE));
        fs::write(&mark, manifest.name.as_bytes()).map_err(|error| io("write", &mark, error))?;
        fs::create_dir(&store).map_err(|error| io("create", &store, error))?;
        let written = self.write(&manifest, &store, tell).and_then(|()| {
            sync_folders(&store)?;
            fs::rename(&store, dir).map_err(|error| io("rename", &store, error))?;
            sync_folder(above)
        });
        // What stays is removed by the next restore.
        let _ = clear(&half);
        written?;
        let Manifest { name, position, files, bytes, .. } = manifest;
        Ok(Restored { name, position, files_count: files.len() as u64, bytes })
    }

    fn find(&self, at: &At) -> Result<Manifest> {
        let wanted = match at {
            At::Name(name) => return self.manifest(name),
            At::Newest => None,
            At::Position(position) => Some(*position),
        };
        let all = self.list()?;
        let found = all.iter().rev().find(|manifest| wanted.is_none_or(|wanted| manifest.position == wanted));
        if let Some(found) = found {
            return Ok(found.clone());
        }
        let there = all.iter().map(|manifest| format!("{} at {}", manifest.name, manifest.position));
        let there = if all.is_empty() { "none".to_owned() } else { there.collect::<Vec<_>>().join(", ") };
        let wanted = match wanted {
            None => "at all".to_owned(),
            Some(position) => format!(
                "at position {position} (restore a later one into DIR, and `runlode replay DIR --into NEW --until \
                 {position}` makes the store of that position)"
            ),
        };
        Err(Error::NoBackup { wanted, there })
    }

    fn write(&self, manifest: &Manifest, half: &Path, tell: &mut dyn FnMut(Progress)) -> Result<()> {
        let mut progress = Progress { done_bytes: 0, total_bytes: manifest.bytes };
        // Links last: no file is written through one.
        let (links, files): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|file| file.link.is_some());
        for file in files.into_iter().chain(links) {
            let path = half.join(&file.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
            }
            match &file.link {
                Some(to) => std::os::unix::fs::symlink(to, &path).map_err(|error| Error::io("link", &path, error))?,
                None => self.write_file(manifest, file, &path, &mut progress, tell)?,
            }
        }
        Ok(())
    }

    fn write_file(
        &self,
        manifest: &Manifest,
        file: &BackedFile,
        path: &Path,
        progress: &mut Progress,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let io = |error| Error::io("write", path, error);
        // New: a link that the backup put there is not followed.
        let mut out = File::create_new(path).map_err(io)?;
        for (at, chunk) in file.chunks.iter().enumerate() {
            let bytes = blob::read(&*self.target, *chunk)?;
            if bytes.len() as u64 != manifest.chunk_len(file, at) {
                return Err(Error::damaged(chunk.path(), format!("chunk {at} of `{}` has another length", file.path)));
            }
            out.write_all(&bytes).map_err(io)?;
            progress.done_bytes += bytes.len() as u64;
            tell(*progress);
        }
        if file.len > file.bytes {
            out.set_len(file.len).map_err(io)?;
        }
        out.sync_all().map_err(io)
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io("sync", folder, error))
}

/// Makes the names in a folder and all below it durable.
fn sync_folders(folder: &Path) -> Result<()> {
    let io = |error| Error::io("list", folder, error);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}
