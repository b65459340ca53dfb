//! A model's folder, which anybody may have made: nothing outside it is opened.
//!
//! The kernel keeps every path beneath the folder (`openat2`): a symlink may lead to another place inside, never
//! outside. Only regular files are read, so a pipe in the place of a file makes nobody wait.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Most parts of a path.
const PARTS_MAX: usize = 128;
/// Longest name on the usual file systems.
const PART_BYTES_MAX: usize = 255;
/// How often a path is percent-decoded. One that still changes then is refused: it hides something.
const DECODINGS_MAX: usize = 10;
/// Most files of a model.
pub const FILES_MAX: usize = 100_000;

/// A folder, held open.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

/// A path in a model's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}{}", path.display(), named_by.as_ref().map_or(String::new(), |key| format!(" (MLmodel names it as {key})")))]
pub struct FolderError {
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// The key of the file `MLmodel` that names it.
    pub named_by: Option<&'static str>,
    /// The error of the system, if it is one.
    #[source]
    pub source: Option<io::Error>,
}

impl FolderError {
    fn new(path: PathBuf, reason: impl Into<String>) -> Self {
        Self { path, reason: reason.into(), named_by: None, source: None }
    }

    fn of_system(path: PathBuf, error: Errno) -> Self {
        let reason = match error {
            Errno::XDEV => "it leads out of the model's folder",
            Errno::LOOP => "a link that is not followed",
            Errno::NOENT => "there is no such file",
            _ => "it cannot be opened",
        };
        let error = io::Error::from(error);
        let reason = if reason.starts_with("it cannot") { format!("{reason}: {error}") } else { reason.to_owned() };
        Self { source: Some(error), ..Self::new(path, reason) }
    }

    pub(crate) fn named_by(mut self, key: &'static str) -> Self {
        self.named_by = Some(key);
        self
    }
}

/// A path in a folder: relative, without empty parts and `.`; the empty text is the folder itself. `None` for `..`,
/// absolute paths, drive letters, backslashes and control characters, even if only further decoding would make them.
#[must_use]
pub fn plain_path(text: &str) -> Option<String> {
    let mut form = text.as_bytes().to_vec();
    for decoding in 0.. {
        if is_trick(&form) || decoding > DECODINGS_MAX {
            return None;
        }
        let next: Vec<u8> = percent_decode(&form).collect();
        if next == form {
            break;
        }
        form = next;
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let is_short = parts.len() <= PARTS_MAX && parts.iter().all(|part| part.len() <= PART_BYTES_MAX);
    is_short.then(|| parts.join("/"))
}

fn is_trick(form: &[u8]) -> bool {
    let drive = matches!(form, [letter, b':', rest @ ..]
        if letter.is_ascii_alphabetic() && matches!(rest.first(), None | Some(b'/' | b'\\')));
    drive
        || form.first() == Some(&b'/')
        || form.iter().any(|byte| *byte < 0x20 || *byte == 0x7f || *byte == b'\\')
        || form.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// The line of a file in the list whose digest is that of a folder.
pub(crate) fn line_of(digest: &str, bytes: u64, path: &str) -> String {
    format!("{digest} {bytes} {path}\n")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest and the size of what is read.
pub(crate) fn hash_of(from: &mut dyn Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((hex(&hash.finalize()), bytes)),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// A file below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl Folder {
    /// Opens a folder. A link in its place is followed: the user named it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| FolderError::of_system(path.to_owned(), error))?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, path: &str, flags: OFlags) -> Result<OwnedFd, FolderError> {
        let full = || self.path.join(path);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let name = if path.is_empty() { "." } else { path };
        for _ in 0..16 {
            match rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename happened meanwhile, so the kernel could not be sure.
                Err(Errno::AGAIN) => {}
                // An old kernel, or a sandbox without this call.
                Err(Errno::NOSYS | Errno::PERM) => {
                    return self.without_links(name, flags).map_err(|error| FolderError::of_system(full(), error));
                }
                other => return other.map_err(|error| FolderError::of_system(full(), error)),
            }
        }
        Err(FolderError::of_system(full(), Errno::AGAIN))
    }

    /// Opens a path part by part, following no link.
    fn without_links(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = rustix::fs::openat(&self.root, ".", through, Mode::empty())?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in parents.split('/').filter(|part| !part.is_empty()).chain([name]) {
            if part == ".." {
                return Err(Errno::XDEV);
            }
        }
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            folder = rustix::fs::openat(&folder, part, through, Mode::empty())?;
        }
        rustix::fs::openat(&folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// [`FolderError`] if the path leads out of the folder, is no file, or the disk fails.
    pub fn open_file(&self, path: &str) -> Result<File, FolderError> {
        let plain = plain_path(path).filter(|path| !path.is_empty());
        let plain = plain.ok_or_else(|| FolderError::new(self.path.join(path), "it is no path inside the folder"))?;
        let full = || self.path.join(&plain);
        let file = self.at(&plain, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| FolderError::of_system(full(), error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FolderError::new(full(), "it is no regular file"));
        }
        Ok(File::from(file))
    }

    /// The text of a file that is not too large.
    ///
    /// # Errors
    /// As [`Folder::open_file`]; more bytes than `bytes_max`, or no UTF-8.
    pub fn read_text(&self, path: &str, bytes_max: u64) -> Result<String, FolderError> {
        let full = || self.path.join(path);
        let mut bytes = Vec::new();
        let read = self.open_file(path)?.take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(|error| FolderError { source: Some(error), ..FolderError::new(full(), "it cannot be read") })?;
        if bytes.len() as u64 > bytes_max {
            return Err(FolderError::new(full(), format!("it has more than {bytes_max} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| FolderError::new(full(), "it is no UTF-8 text"))
    }

    /// Checks that a file or folder is there, inside the folder.
    ///
    /// # Errors
    /// As [`Folder::open_file`]; a folder is let through.
    pub fn check(&self, path: &str) -> Result<(), FolderError> {
        let plain = plain_path(path)
            .ok_or_else(|| FolderError::new(self.path.join(path), "it is no path inside the folder"))?;
        let file = self.at(&plain, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| FolderError::of_system(self.path.join(&plain), error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => Ok(()),
            _ => Err(FolderError::new(self.path.join(&plain), "it is neither a file nor a folder")),
        }
    }

    /// The SHA-256 of the list of all files with their own digests and sizes: the digest by which copies are kept.
    ///
    /// # Errors
    /// As [`Folder::files`] and [`Folder::open_file`].
    pub fn digest(&self) -> Result<String, FolderError> {
        let mut list = String::new();
        for entry in self.files()? {
            let mut content = self.open_file(&entry.path)?;
            let read = hash_of(&mut content).map_err(|error| FolderError {
                source: Some(error),
                ..FolderError::new(self.path.join(&entry.path), "it cannot be read")
            });
            let (digest, bytes) = read?;
            list.push_str(&line_of(&digest, bytes, &entry.path));
        }
        Ok(hex(&Sha256::digest(&list)))
    }

    /// All regular files below, by path. Links count as what they lead to, if that is a file inside; linked folders are
    /// not entered.
    ///
    /// # Errors
    /// Those of the disk; more than [`FILES_MAX`] files.
    pub fn files(&self) -> Result<Vec<Entry>, FolderError> {
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let fd = self.at(&folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let full = |name: &str| self.path.join(&folder).join(name);
            let failed = |error| FolderError::of_system(self.path.join(&folder), error);
            for entry in Dir::read_from(&fd).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let Ok(name) = name.to_str() else {
                    return Err(FolderError::new(full(&name.to_string_lossy()), "its name is no UTF-8"));
                };
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                let stat = rustix::fs::statat(fd.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| FolderError::of_system(full(name), error))?;
                let bytes = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory if path.matches('/').count() < PARTS_MAX => {
                        folders.push(path);
                        continue;
                    }
                    FileType::RegularFile => stat.st_size,
                    FileType::Symlink => match self.open_file(&path).map(|file| file.metadata()) {
                        Ok(Ok(metadata)) => i64::try_from(metadata.len()).unwrap_or(i64::MAX),
                        _ => continue,
                    },
                    _ => continue,
                };
                if files.len() >= FILES_MAX {
                    return Err(FolderError::new(self.path.clone(), format!("it has more than {FILES_MAX} files")));
                }
                files.push(Entry { path, bytes: u64::try_from(bytes).unwrap_or_default() });
            }
        }
        files.sort_by(|one, two| one.path.cmp(&two.path));
        Ok(files)
    }
}
