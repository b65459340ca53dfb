//! Opens files below a folder, and never outside it: for the server and for syncs, which get names from others.
//!
//! - [`plain_path`] is the rule for paths that come as text: relative, and without tricks even after further decoding.
//! - [`open`] lets the kernel ensure that a path stays beneath the root (`openat2`). Without that call, the path is
//!   opened part by part, and no symlink is followed.
//! - [`open_file`] opens regular files only and never waits: a pipe is refused.
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use runlode::beneath::{self, Links, Opened};
//! use rustix::fs::OFlags;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path();
//! assert_eq!(beneath::plain_path("plots//./roc.png").as_deref(), Some("plots/roc.png"));
//! assert_eq!(beneath::plain_path("../secret"), None);
//!
//! let root = beneath::open_root(path)?;
//! let plots = beneath::make_folders(root.as_fd(), "plots", Links::Never)?;
//! std::fs::write(path.join("plots/roc.svg"), "<svg/>")?;
//! assert_eq!(beneath::names(&plots)?, ["roc.svg"]);
//! assert_eq!(beneath::read_small(&path.join("plots"), "roc.svg", 100)?, "<svg/>");
//! assert!(matches!(beneath::open_file(root.as_fd(), "plots/roc.svg", Links::Never)?, Opened::File(_)));
//! assert!(beneath::open(root.as_fd(), "../secret", OFlags::RDONLY, Links::Inside).is_err());
//! assert!(beneath::open_without_links(root.as_fd(), "plots", OFlags::RDONLY).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use percent_encoding::percent_decode;
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::storage::owner::Belonging;

/// Folder for unfinished files below a root of artifacts. Only the writer's user can enter it.
pub const UPLOADS_DIR: &str = ".runlode-uploads";

/// After at most this many decodings a path must no longer change.
const DECODINGS_MAX: usize = 10;
/// Most parts of a path.
pub const PARTS_MAX: usize = 128;
/// Longest name on the usual file systems.
const PART_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 3072;

/// How to treat symlinks below a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Follow those that lead to another place beneath the root. For the operator's own folders.
    Inside,
    /// Follow none. For folders that other users write to.
    Never,
}

/// Cleans a path from a client: removes empty parts and `.`; the empty text is the folder itself. `None` for tricks:
/// `..` as a part, absolute paths, drive letters, `file:`, backslashes, NUL and `#`, even if only further decoding
/// would produce one; control characters; more parts or bytes than file systems accept.
#[must_use]
pub fn plain_path(text: &str) -> Option<String> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) || text.len() > PATH_BYTES_MAX {
        return None;
    }
    let mut form: Cow<'_, [u8]> = Cow::Borrowed(text.as_bytes());
    for decoding in 0.. {
        if is_trick(&form) || decoding > DECODINGS_MAX {
            return None;
        }
        let next: Vec<u8> = percent_decode(&form).collect();
        if next == *form {
            break;
        }
        form = Cow::Owned(next);
    }
    let mut path = String::with_capacity(text.len());
    let mut parts = 0;
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        parts += 1;
        if parts > PARTS_MAX || part.len() > PART_BYTES_MAX {
            return None;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    Some(path)
}

fn is_trick(form: &[u8]) -> bool {
    let slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let drive = matches!(form, [letter, b':', rest @ ..]
        if letter.is_ascii_alphabetic() && rest.first().is_none_or(&slash));
    let file_uri = form.len() >= 5 && form[..5].eq_ignore_ascii_case(b"file:");
    drive
        || file_uri
        || form.first().is_some_and(&slash)
        || form.iter().any(|byte| matches!(byte, b'\\' | b'#' | 0))
        || form.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// Opens a root. A link in its place is followed, because the user who named the folder meant its target.
///
/// # Errors
/// Those of the disk; `NOENT` and `NOTDIR` if it is not a folder.
pub fn open_root(folder: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a path without ever leaving the root. An empty path is the root.
///
/// # Errors
/// Those of the disk; `XDEV` for a path that leaves the root, `LOOP` for a link that is not followed.
pub fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Never {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        for _ in 0..16 {
            match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename happened meanwhile, so the kernel could not be sure.
                Err(Errno::AGAIN) => {}
                // An old kernel, or a sandbox without this call.
                Err(Errno::NOSYS | Errno::PERM) => return open_without_links(root, path, flags),
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = links;
        open_without_links(root, path, flags)
    }
}

/// As [`open`], part by part, following no symlink.
///
/// # Errors
/// As [`open`].
pub fn open_without_links(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = |at: BorrowedFd<'_>, part: &str, flags: OFlags| {
        if part == ".." || part.is_empty() {
            return Err(Errno::XDEV);
        }
        rustix::fs::openat(at, part, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    };
    let Some((parent, name)) = path.rsplit_once('/') else { return open(root, path, flags) };
    let through = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(root, ".", through)?;
    for part in parent.split('/') {
        folder = open(folder.as_fd(), part, through)?;
    }
    open(folder.as_fd(), name, flags)
}

/// What a path names.
#[derive(Debug)]
pub enum Opened {
    /// A regular file.
    File(File),
    /// A folder.
    Folder,
    /// A pipe, socket or device; nothing of it was read.
    Special,
}

/// Opens a file for reading. Never waits, not even for the writer of a pipe.
///
/// # Errors
/// As [`open`].
pub fn open_file(root: BorrowedFd<'_>, path: &str, links: Links) -> Result<Opened, Errno> {
    let file = match open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, links) {
        // A socket, or a device without a driver.
        Err(Errno::NXIO) => return Ok(Opened::Special),
        file => file?,
    };
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Opened::File(File::from(file)),
        FileType::Directory => Opened::Folder,
        _ => Opened::Special,
    })
}

/// The text of a small file directly in a folder that other users write to.
///
/// # Errors
/// Those of the disk; `InvalidData` for a link, anything but a regular file, or a longer file.
pub fn read_small(folder: &Path, name: &str, bytes_max: u64) -> io::Result<String> {
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no regular file of {bytes_max} bytes"));
    let root = open_root(folder)?;
    let file = match open_file(root.as_fd(), name, Links::Never) {
        Ok(Opened::File(file)) => file,
        Ok(Opened::Folder | Opened::Special) | Err(Errno::LOOP) => return Err(wrong()),
        Err(error) => return Err(error.into()),
    };
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max { Err(wrong()) } else { Ok(text) }
}

/// Opens a folder below the root, and creates what is missing, durably.
///
/// # Errors
/// As [`open`].
pub fn make_folders(root: BorrowedFd<'_>, path: &str, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match open(root, path, flags, links) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut folder = open(root, "", flags, links)?;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut begin = 0;
    for end in ends {
        let made = match rustix::fs::mkdirat(&folder, &path[begin..end], Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let next = open(root, &path[..end], flags, links)?;
        if made {
            settled(Belonging::of(root).and_then(|belonging| belonging.settle_dir(&next)))?;
            rustix::fs::fsync(&folder)?;
        }
        folder = next;
        begin = end + 1;
    }
    Ok(folder)
}

/// Turns the error of giving a file to the store's owner into one of the disk.
fn settled(result: io::Result<()>) -> Result<(), Errno> {
    result.map_err(|error| error.raw_os_error().map_or(Errno::PERM, Errno::from_raw_os_error))
}

/// The names in a folder.
///
/// # Errors
/// Those of the disk.
pub fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_is_opened_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        fs::write(root.join("d/f"), "f").unwrap();
        symlink("d", root.join("inside")).unwrap();
        symlink("d/f", root.join("file")).unwrap();
        symlink(&outside, root.join("away")).unwrap();
        symlink(outside.join("secret"), root.join("secret")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let at = open_root(&root).unwrap();
        let opened = |path, links| open_file(at.as_fd(), path, links);
        for links in [Links::Inside, Links::Never] {
            assert!(matches!(opened("d/f", links), Ok(Opened::File(_))));
            assert!(matches!(opened("d", links), Ok(Opened::Folder)));
            assert!(matches!(opened("", links), Ok(Opened::Folder)));
            assert!(matches!(opened("pipe", links), Ok(Opened::Special)));
            for out in ["away/secret", "secret", "../out/secret", "d/../../out/secret", "/etc/passwd"] {
                assert!(opened(out, links).is_err(), "{out}");
            }
            assert!(make_folders(at.as_fd(), "away/new", links).is_err());
            assert!(make_folders(at.as_fd(), "d/new/folder", links).is_ok());
        }
        assert!(matches!(opened("inside/f", Links::Inside), Ok(Opened::File(_))));
        assert!(opened("inside/f", Links::Never).is_err());
        assert!(opened("file", Links::Never).is_err());
        assert!(!outside.join("new").exists() && root.join("d/new/folder").is_dir());
        for out in ["inside/f", "../out/secret", "away/secret", "d/../f", "/etc/passwd"] {
            assert!(open_without_links(at.as_fd(), out, OFlags::RDONLY).is_err(), "{out}");
        }
        assert!(open_without_links(at.as_fd(), "d/f", OFlags::RDONLY).is_ok());

        assert_eq!(read_small(&root.join("d"), "f", 1).unwrap(), "f");
        for (folder, name, bytes_max) in [("d", "f", 0), ("", "pipe", 9), ("", "file", 9), ("", "d", 9), ("", "no", 9)]
        {
            assert!(read_small(&root.join(folder), name, bytes_max).is_err(), "{name}");
        }
    }
}
