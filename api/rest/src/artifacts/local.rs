//! Artifacts in a folder of this machine.
//!
//! - The kernel opens every path beneath the folder (`openat2`): a symlink may lead to another place inside, never
//!   outside. Without that call, no symlink below the folder is followed.
//! - An upload is written to `.runlode-uploads/`, synced, and then renamed; then its folders are synced. So a reader of
//!   a name always gets a whole file, an answered upload survives a power cut, and an interrupted one leaves nothing.
//!   Leftovers of a killed server are removed after a day.
//! - Folders are created when the first file comes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runlode::beneath::{self, Links, Opened, UPLOADS_DIR, make_folders, names};
use runlode::engine::storage::owner::{Belonging, settle_tree};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::paths::{self, ArtifactPath, Entry};

/// Age at which an upload counts as left by a killed server.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);
/// Most unwritten bytes of an upload; keeps the last sync short.
const UNSYNCED_BYTES_MAX: u64 = 128 << 20;
/// Deepest folder that is removed; deeper ones are not made through this server.
const DEPTH_MAX: usize = 512;

/// A folder of artifacts.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    root: PathBuf,
    swept: Once,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct LocalFile {
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
}

impl LocalFolder {
    /// `root` must be absolute. It need not exist yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, swept: Once::new() }
    }

    /// The entries of a folder, by name; empty if it is a file or does not exist.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a path that leads out, `INTERNAL_ERROR` when the disk fails.
    pub(crate) fn list(&self, path: &ArtifactPath) -> ApiResult<Vec<Entry>> {
        let Some(root) = self.open_root(path)? else { return Ok(Vec::new()) };
        let folder = match open_beneath(root.as_fd(), path.as_str(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(failed("list", path, error)),
        };
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for name in names(&folder).map_err(|error| failed("list", path, error))? {
            let text = name.to_string_lossy().into_owned();
            if text == UPLOADS_DIR && path.is_root() {
                continue;
            }
            let stat = match rustix::fs::statat(&folder, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
                // A link counts as its target; one that leads outside or nowhere is not shown.
                Ok(stat) if file_type(&stat) == FileType::Symlink => {
                    let target = ArtifactPath::new(&text).map(|name| path.join(&name)).map_err(|_| Errno::NOENT);
                    let target = target.and_then(|target| open_beneath(root.as_fd(), target.as_str(), OFlags::PATH));
                    let Ok(stat) = target.and_then(rustix::fs::fstat) else { continue };
                    stat
                }
                // It was removed meanwhile.
                Err(Errno::NOENT) => continue,
                other => other.map_err(|error| failed("list", path, error))?,
            };
            let is_folder = file_type(&stat) == FileType::Directory;
            let bytes = if is_folder { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
            let modified_ms = Some(stat.st_mtime.saturating_mul(1_000) + (stat.st_mtime_nsec / 1_000_000) as i64);
            entries.insert(text.clone(), Entry { name: text, is_folder, bytes, modified_ms });
        }
        Ok(entries.into_values().collect())
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for a folder or a path that leads out.
    pub(crate) fn open(&self, path: &ArtifactPath) -> ApiResult<LocalFile> {
        let root = self.open_root(path)?.ok_or_else(|| absent(path))?;
        let file = match beneath::open_file(root.as_fd(), path.as_str(), Links::Inside) {
            Ok(Opened::File(file)) => file,
            Ok(Opened::Folder) => return Err(is_folder(path)),
            Ok(Opened::Special) | Err(Errno::NOENT | Errno::NOTDIR) => return Err(absent(path)),
            Err(error) => return Err(failed("read", path, error)),
        };
        let metadata = file.metadata().map_err(|error| io_failed("read", path, &error))?;
        let modified = metadata.modified().map_err(|error| io_failed("read", path, &error))?;
        let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let etag = format!("\"{nanos:x}-{:x}-{:x}\"", metadata.len(), metadata.ino());
        Ok(LocalFile { file, bytes: metadata.len(), modified, etag })
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// As [`Upload::write`].
    pub(crate) fn begin(&self, path: &ArtifactPath) -> ApiResult<Upload> {
        self.refuse_reserved(path)?;
        let fail = |error: io::Error| io_failed("write", path, &error);
        if !self.root.exists() {
            fs::create_dir_all(&self.root).map_err(fail)?;
            if let Some(parent) = self.root.parent() {
                settle_tree(parent, &self.root).map_err(fail)?;
            }
        }
        let root = self.open_root(path)?.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let belonging = Belonging::of(&root).map_err(fail)?;
        let made = match rustix::fs::mkdirat(&root, UPLOADS_DIR, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed("write", path, error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let uploads = rustix::fs::openat(&root, UPLOADS_DIR, flags, Mode::empty());
        let uploads = uploads.map_err(|error| failed("write", path, error))?;
        if made {
            belonging.give(&uploads).map_err(fail)?;
        }
        self.swept.call_once(|| sweep(&uploads));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{}-{now:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The umask applies, as to any file; other users cannot enter the folder.
        let mode = Mode::from_raw_mode(0o666);
        let file = rustix::fs::openat(&uploads, name.as_str(), flags, mode);
        let file = File::from(file.map_err(|error| failed("write", path, error))?);
        if let Err(error) = belonging.settle_file(&file) {
            // If this fails the sweep removes it.
            let _ = rustix::fs::unlinkat(&uploads, name.as_str(), AtFlags::empty());
            return Err(fail(error));
        }
        Ok(Upload { root, uploads, name, file, path: path.clone(), unsynced_bytes: 0, named: false })
    }

    /// Removes a file, or a folder with its content. A missing one counts as removed.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a path that leads out, `INTERNAL_ERROR` when the disk fails.
    pub(crate) fn remove(&self, path: &ArtifactPath) -> ApiResult<()> {
        self.refuse_reserved(path)?;
        let Some(root) = self.open_root(path)? else { return Ok(()) };
        let fail = |error| failed("remove", path, error);
        let parent = match open_beneath(root.as_fd(), path.parent(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        remove_tree(&parent, OsStr::new(path.name()), 0).map_err(fail)?;
        rustix::fs::fsync(&parent).map_err(fail)
    }

    /// The folder itself, if it exists.
    fn open_root(&self, path: &ArtifactPath) -> ApiResult<Option<OwnedFd>> {
        self.refuse_reserved(path)?;
        match beneath::open_root(&self.root) {
            Ok(root) => Ok(Some(root)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(failed("open the folder of", path, error)),
        }
    }

    fn refuse_reserved(&self, path: &ArtifactPath) -> ApiResult<()> {
        if path.first() == UPLOADS_DIR { Err(paths::invalid()) } else { Ok(()) }
    }
}

/// An unfinished upload. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct Upload {
    root: OwnedFd,
    uploads: OwnedFd,
    name: String,
    file: File,
    path: ArtifactPath,
    unsynced_bytes: u64,
    named: bool,
}

impl Upload {
    /// Writes the next piece.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when the disk is full, `INTERNAL_ERROR` when it fails.
    pub(crate) fn write(&mut self, piece: &[u8]) -> ApiResult<()> {
        let written = self.file.write_all(piece).and_then(|()| {
            self.unsynced_bytes += piece.len() as u64;
            if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
                self.unsynced_bytes = 0;
                self.file.sync_data()?;
            }
            Ok(())
        });
        written.map_err(|error| io_failed("write", &self.path, &error))
    }

    /// Gives the file its name, replacing an older file. Durable when it returns.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` if the name is a folder's, or lies below a file; else as [`Upload::write`].
    pub(crate) fn finish(mut self) -> ApiResult<()> {
        self.file.sync_data().map_err(|error| io_failed("write", &self.path, &error))?;
        // Another client may remove the folder between our opening it and the rename.
        for _ in 0..3 {
            let parent = match make_folders(self.root.as_fd(), self.path.parent(), Links::Inside) {
                Err(Errno::NOENT) => continue,
                parent => parent.map_err(|error| self.unnamed(error))?,
            };
            match self.name_in(&parent) {
                Ok(()) => {
                    self.named = true;
                    return Ok(());
                }
                Err(Errno::NOENT) => {}
                // The folder was opened beneath the root, so the path does not lead outside.
                Err(Errno::XDEV) => return Err(on_other_disk(&self.path)),
                Err(error) => return Err(self.unnamed(error)),
            }
        }
        Err(failed("write", &self.path, Errno::NOENT))
    }

    fn name_in(&self, parent: &OwnedFd) -> Result<(), Errno> {
        rustix::fs::renameat(&self.uploads, self.name.as_str(), parent, self.path.name())?;
        rustix::fs::fsync(parent)
    }

    /// Why the file did not get its name.
    fn unnamed(&self, error: Errno) -> ApiError {
        match error {
            Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => is_folder(&self.path),
            Errno::NOTDIR => {
                let path = self.path.as_str();
                ApiError::invalid(format!(
                    "Invalid artifact path: '{path}'. A part of it is a file, which can hold no other files."
                ))
            }
            error => failed("write", &self.path, error),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.named {
            // If this fails the sweep removes it.
            let _ = rustix::fs::unlinkat(&self.uploads, self.name.as_str(), AtFlags::empty());
        }
    }
}

/// Opens a path without leaving the root; the operator's own links inside it are followed.
fn open_beneath(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    beneath::open(root, path, flags, Links::Inside)
}

/// Removes a file, a link, or a folder with its content; follows no link.
fn remove_tree(parent: &OwnedFd, name: &OsStr, depth: usize) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // For folders, Linux returns the first error, others the second.
        Err(Errno::ISDIR | Errno::PERM) if depth < DEPTH_MAX => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in names(&folder)? {
        remove_tree(&folder, &entry, depth + 1)?;
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes leftovers of killed servers. A folder may have several servers, so young uploads may be in progress. The
/// next start tries again what cannot be removed now.
fn sweep(uploads: &OwnedFd) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for name in names(uploads).unwrap_or_default() {
        let Ok(stat) = rustix::fs::statat(uploads, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let modified = u64::try_from(stat.st_mtime).unwrap_or(0);
        if now.saturating_sub(modified) > LEFT_BEHIND.as_secs() {
            let _ = rustix::fs::unlinkat(uploads, name.as_os_str(), AtFlags::empty());
        }
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The error for a missing file.
pub(crate) fn absent(path: &ArtifactPath) -> ApiError {
    ApiError::absent(format!("No such artifact: '{}'", path.as_str()))
}

/// The error for a folder in place of a file.
pub(crate) fn is_folder(path: &ArtifactPath) -> ApiError {
    ApiError::invalid(format!("Artifact path refers to a directory, not a file: '{}'", path.as_str()))
}

/// The error if a folder below the root is on another file system: no file can be renamed into it.
fn on_other_disk(path: &ArtifactPath) -> ApiError {
    ApiError::invalid(format!(
        "cannot write the artifact '{}': its folder is on another file system than the rest of the artifacts, and files \
         are put in place by a rename. Whoever runs the server can mount all of them together, or make that place an \
         --artifacts-destination of its own.",
        path.as_str()
    ))
}

fn failed(what: &str, path: &ArtifactPath, error: Errno) -> ApiError {
    io_failed(what, path, &error.into())
}

/// An error of the disk, in MLflow's words.
pub(crate) fn io_failed(what: &str, path: &ArtifactPath, error: &io::Error) -> ApiError {
    let place = path.as_str();
    let code = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::XDEV | Errno::LOOP) => {
            return ApiError::invalid("Invalid path: resolved path is outside the artifact directory");
        }
        Some(Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ) => return paths::invalid(),
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorCode::ResourceExhausted,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorCode::PermissionDenied,
        _ => ErrorCode::InternalError,
    };
    ApiError::new(code, format!("cannot {what} the artifact '{place}': {error}"))
}

/// The path below a folder, if the text of a path lies in it.
pub(crate) fn below(folder: &Path, path: &Path) -> Option<ArtifactPath> {
    let rest = path.strip_prefix(folder).ok()?;
    ArtifactPath::new(std::str::from_utf8(rest.as_os_str().as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> ArtifactPath {
        ArtifactPath::new(text).unwrap()
    }

    fn put(folder: &LocalFolder, name: &str, content: &[u8]) -> ApiResult<()> {
        let mut upload = folder.begin(&path(name))?;
        upload.write(content)?;
        upload.finish()
    }

    fn read(folder: &LocalFolder, name: &str) -> ApiResult<Vec<u8>> {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut folder.open(&path(name))?.file, &mut content).unwrap();
        Ok(content)
    }

    #[test]
    fn write_list_read_remove() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::new(dir.path().join("not/there/yet"));
        assert!(folder.list(&path("")).unwrap().is_empty());
        assert_eq!(folder.open(&path("x")).unwrap_err().message, "No such artifact: 'x'");
        folder.remove(&path("x")).unwrap();
        assert!(!dir.path().join("not").exists());

        put(&folder, "1/r/artifacts/a.txt", b"hello").unwrap();
        put(&folder, "1/r/artifacts/a.txt", b"hello world").unwrap();
        put(&folder, "1/r/artifacts/b/empty", b"").unwrap();
        assert_eq!(read(&folder, "1/r/artifacts/a.txt").unwrap(), b"hello world");
        let listed = folder.list(&path("1/r/artifacts")).unwrap();
        let listed: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.is_folder, one.bytes)).collect();
        assert_eq!(listed, [("a.txt", false, 11), ("b", true, 0)]);
        assert_eq!(folder.list(&path("")).unwrap().len(), 1, "uploads are not shown");
        assert!(folder.list(&path("1/r/artifacts/a.txt")).unwrap().is_empty());
        assert_eq!(
            folder.open(&path("1/r")).unwrap_err().message,
            "Artifact path refers to a directory, not a file: '1/r'"
        );
        let text = put(&folder, "1/r", b"x").unwrap_err().message;
        assert_eq!(text, "Artifact path refers to a directory, not a file: '1/r'");
        let text = put(&folder, "1/r/artifacts/a.txt/x", b"x").unwrap_err().message;
        assert!(text.starts_with("Invalid artifact path: "), "{text}");
        assert!(put(&folder, ".runlode-uploads/x", b"").is_err());

        drop(folder.begin(&path("1/broken")).unwrap());
        assert_eq!(folder.open(&path("1/broken")).unwrap_err().code, ErrorCode::ResourceDoesNotExist);
        assert_eq!(fs::read_dir(dir.path().join("not/there/yet").join(UPLOADS_DIR)).unwrap().count(), 0);

        folder.remove(&path("1/r")).unwrap();
        folder.remove(&path("1/r")).unwrap();
        assert!(folder.list(&path("1")).unwrap().is_empty());
    }

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), b"s").unwrap();
        fs::write(root.join("d/f"), b"f").unwrap();
        symlink(&outside, root.join("folder")).unwrap();
        symlink(outside.join("secret"), root.join("file")).unwrap();
        symlink("../out/secret", root.join("relative")).unwrap();
        symlink("d", root.join("inside")).unwrap();
        let folder = LocalFolder::new(root.clone());
        for out in ["folder/secret", "file", "relative"] {
            let refused = folder.open(&path(out)).unwrap_err();
            assert!(refused.message.contains("outside the artifact directory"), "{out}: {refused:?}");
        }
        assert!(folder.list(&path("folder")).is_err());
        assert!(put(&folder, "folder/new", b"x").is_err());
        assert!(folder.remove(&path("folder/secret")).is_err());
        let names: Vec<_> = folder.list(&path("")).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["d", "inside"]);
        // The links themselves are overwritten and removed.
        put(&folder, "file", b"mine").unwrap();
        folder.remove(&path("folder")).unwrap();
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
        let at = File::open(&root).unwrap();
        let found = beneath::open_without_links(at.as_fd(), "d/f", OFlags::RDONLY);
        assert!(found.is_ok());
        for out in ["inside/f", "relative", "folder/secret"] {
            assert!(beneath::open_without_links(at.as_fd(), out, OFlags::RDONLY).is_err(), "{out}");
        }
    }

    #[test]
    fn pipes_and_old_uploads() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalFolder::new(dir.path().to_owned());
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(folder.open(&path("pipe")).unwrap_err().code, ErrorCode::ResourceDoesNotExist);
        fs::create_dir(dir.path().join(UPLOADS_DIR)).unwrap();
        for (name, age_days) in [("old", 2), ("young", 0)] {
            let file = File::create(dir.path().join(UPLOADS_DIR).join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_days * 86_400)).unwrap();
        }
        put(&folder, "x", b"x").unwrap();
        assert!(!dir.path().join(UPLOADS_DIR).join("old").exists());
        assert!(dir.path().join(UPLOADS_DIR).join("young").exists());
    }
}
