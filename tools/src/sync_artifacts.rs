//! The artifacts of a sync: files of default locations that the target lacks, or has with another size.
//!
//! Neither side is trusted. Another user may write to the source folder (an inbox), and a target server may answer
//! anything:
//!
//! - The kernel opens every path beneath its root, and no symlink is followed ([`runlode::beneath`]). Experiments are
//!   numbers, whatever a server calls them, so a server can ask for no other folder.
//! - Only regular files up to a bound are sent, and pipes are not opened. What is left out is reported.
//! - A copy is written to [`UPLOADS_DIR`] under an unguessable name, synced, and then renamed; then the folder is
//!   synced. So a copy that counts as there survives a power cut. Holes of sparse files stay holes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use runlode::beneath::{self, Links, Opened, PARTS_MAX, UPLOADS_DIR};
use runlode::engine::storage::owner::{Belonging, settle_tree};
use runlode::mlflow::ARTIFACTS_DIR;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::progress::Bar;
use crate::remote::Remote;

/// A longer file that is mostly holes is not sent to a server, because a server gets every byte.
const HOLES_BYTES_MIN: u64 = 1 << 30;
/// Prefix of a sync's files in [`UPLOADS_DIR`].
const PART_PREFIX: &str = "sync-";

/// Where artifacts go.
pub(crate) enum To<'a> {
    /// The folder of a store.
    Store(&'a Path),
    Server(&'a Remote),
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Sends the artifacts of a store. `experiments` are the source's, with the target's names. What is left out is
/// reported.
///
/// # Errors
/// [`Error::Source`] for an experiment that is not a number, and if the server does not answer; [`Error::Io`] if the
/// target's disk fails.
pub(crate) fn send(
    from: &Path,
    to: &To<'_>,
    experiments: &[(String, String)],
    file_bytes_max: u64,
    told: &mut dyn FnMut(String),
) -> Result<Sent> {
    for id in experiments.iter().flat_map(|(theirs, ours)| [theirs, ours]) {
        if !is_number(id) {
            let id: String = id.chars().take(100).collect();
            let text =
                format!("the target asks for artifacts of an experiment `{id}`, which is not a number: no Runlode");
            return Err(Error::Source(text));
        }
    }
    let place = from.join(ARTIFACTS_DIR);
    let Some(root) = open_source(from, &place, told)? else { return Ok(Sent::default()) };
    let mut sending = Sending {
        root,
        place,
        to,
        target: None,
        file_bytes_max,
        told,
        sent: Sent::default(),
        bar: Bar::new("artifacts"),
    };
    for (theirs, ours) in experiments {
        sending.experiment(theirs, ours)?;
    }
    Ok(sending.sent)
}

/// Whether a text is an experiment's id as a store writes it.
fn is_number(id: &str) -> bool {
    id.parse::<u64>().is_ok_and(|number| number.to_string() == id)
}

/// Opens the source's folder of artifacts. A link in its place could lead to any folder of this machine.
fn open_source(from: &Path, place: &Path, told: &mut dyn FnMut(String)) -> Result<Option<OwnedFd>> {
    let cannot = |error: Errno| Error::io(format!("open {}", place.display()), error.into());
    let store = beneath::open_root(from).map_err(cannot)?;
    match beneath::open(store.as_fd(), ARTIFACTS_DIR, OFlags::RDONLY | OFlags::DIRECTORY, Links::Never) {
        Ok(root) => Ok(Some(root)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            told(format!(
                "{} is a link or no folder, so no artifact was sent: links of a source are not followed; mount the \
                 folder there, or sync with --no-artifacts",
                place.display()
            ));
            Ok(None)
        }
        Err(error) => Err(cannot(error)),
    }
}

struct Sending<'a> {
    /// The source's folder of artifacts, and its name.
    root: OwnedFd,
    place: PathBuf,
    to: &'a To<'a>,
    /// The target's folder, once a file goes there.
    target: Option<Target>,
    file_bytes_max: u64,
    told: &'a mut dyn FnMut(String),
    sent: Sent,
    bar: Bar,
}

impl Sending<'_> {
    fn tell(&mut self, path: &str, what: impl std::fmt::Display) {
        (self.told)(format!("{} was left out: {what}", self.place.join(path).display()));
    }

    fn experiment(&mut self, theirs: &str, ours: &str) -> Result<()> {
        let mut folders = vec![theirs.to_owned()];
        while let Some(path) = folders.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let listed = beneath::open(self.root.as_fd(), &path, flags, Links::Never)
                .and_then(|folder| beneath::names(&folder).map(|names| (folder, names)));
            let (folder, mut names) = match listed {
                Ok(listed) => listed,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    self.tell(&path, why(error));
                    continue;
                }
            };
            names.sort();
            let below = |path: &str| format!("{ours}{}", path.strip_prefix(theirs).unwrap_or_default());
            let there: BTreeMap<String, u64> = match self.to {
                To::Server(remote) if !names.is_empty() => remote.artifact_sizes(&below(&path))?.into_iter().collect(),
                _ => BTreeMap::new(),
            };
            for name in names {
                let Some(name) = name.to_str() else {
                    self.tell(&path, format!("the name {name:?} in it is not UTF-8"));
                    continue;
                };
                let file = format!("{path}/{name}");
                let about = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(about) => about,
                    // It has been removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(error) => {
                        self.tell(&file, why(error));
                        continue;
                    }
                };
                match FileType::from_raw_mode(about.st_mode) {
                    FileType::Directory if file.split('/').count() < PARTS_MAX => folders.push(file),
                    FileType::Directory => self.tell(&file, "it is nested too deeply"),
                    FileType::RegularFile if bytes_of(&about) > self.file_bytes_max => {
                        let text = format!(
                            "it has {} bytes, more than --max-artifact-gib allows",
                            crate::format::count(bytes_of(&about))
                        );
                        self.tell(&file, text);
                    }
                    FileType::RegularFile => {
                        if there.get(name) != Some(&bytes_of(&about)) {
                            self.file(&file, &below(&file), &about)?;
                        }
                    }
                    _ => self.tell(&file, "it is a link, pipe, socket or device"),
                }
            }
        }
        Ok(())
    }

    /// Sends a file, unless the target has it.
    fn file(&mut self, path: &str, to: &str, about: &Stat) -> Result<()> {
        if let To::Store(store) = self.to {
            if self.target.is_none() {
                self.target = Some(Target::open(&store.join(ARTIFACTS_DIR))?);
            }
            match self.target.as_ref().map(|target| target.has(to, about)) {
                Some(Ok(true)) => return Ok(()),
                Some(Err(error)) => {
                    self.tell(path, format!("its place in the target cannot be read: {}", why(error)));
                    return Ok(());
                }
                _ => {}
            }
        }
        // It may have been replaced since it was checked.
        let content = match beneath::open_file(self.root.as_fd(), path, Links::Never) {
            Ok(Opened::File(content)) => content,
            Ok(Opened::Folder | Opened::Special) => {
                self.tell(path, "it is no longer a regular file");
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                self.tell(path, why(error));
                return Ok(());
            }
        };
        let cannot = |error| Error::io(format!("read {}", self.place.join(path).display()), error);
        let bytes = content.metadata().map_err(cannot)?.len();
        let holes = matches!(self.to, To::Server(_)) && is_mostly_holes(&content, bytes).map_err(cannot)?;
        if bytes > self.file_bytes_max {
            self.tell(path, "it has grown beyond what --max-artifact-gib allows");
            return Ok(());
        }
        if holes {
            self.tell(path, "it is mostly holes, which would be sent as bytes; sync it into a folder");
            return Ok(());
        }
        let refused = match (self.to, &self.target) {
            (To::Server(remote), _) => {
                remote.put_artifact(content, bytes, to)?.map(|why| format!("the server refuses it: {why}"))
            }
            (To::Store(_), Some(target)) => target.copy(&content, bytes, about, to).map_err(|error| {
                Error::io(
                    format!("copy {} to {}", self.place.join(path).display(), target.place.join(to).display()),
                    error,
                )
            })?,
            (To::Store(_), None) => None,
        };
        match refused {
            Some(why) => self.tell(path, why),
            None => {
                self.sent.files += 1;
                self.sent.bytes += bytes;
                self.bar.set("artifacts", self.sent.files, self.sent.files);
            }
        }
        Ok(())
    }
}

fn bytes_of(about: &Stat) -> u64 {
    u64::try_from(about.st_size).unwrap_or(u64::MAX)
}

fn why(error: Errno) -> String {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => "a part of its path is a link or not a folder".to_owned(),
        error => io::Error::from(error).to_string(),
    }
}

/// The artifacts of a target store.
struct Target {
    root: OwnedFd,
    place: PathBuf,
    /// Where copies are written before they get their names.
    parts: OwnedFd,
}

impl Target {
    fn open(place: &Path) -> Result<Self> {
        let cannot = |error: io::Error| Error::io(format!("make {}", place.display()), error);
        let open = || -> io::Result<Self> {
            if !place.is_dir() {
                std::fs::create_dir_all(place)?;
                if let Some(store) = place.parent() {
                    settle_tree(store, place)?;
                    File::open(store)?.sync_all()?;
                }
            }
            let root = beneath::open_root(place)?;
            let made = match rustix::fs::mkdirat(&root, UPLOADS_DIR, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let parts = beneath::open(root.as_fd(), UPLOADS_DIR, flags, Links::Never)?;
            if made {
                Belonging::of(&root)?.give(&parts)?;
            }
            sweep(&parts);
            Ok(Self { root, place: place.to_owned(), parts })
        };
        open().map_err(cannot)
    }

    /// Whether the target has the file: of the same size, and not older.
    fn has(&self, path: &str, about: &Stat) -> Result<bool, Errno> {
        let found = beneath::open(self.root.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW, Links::Never);
        let there = match found.and_then(rustix::fs::fstat) {
            Ok(there) => there,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        let modified = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        Ok(FileType::from_raw_mode(there.st_mode) == FileType::RegularFile
            && there.st_size == about.st_size
            && modified(&there) >= modified(about))
    }

    /// Copies a file. It is durable under its name when this returns `None`; after a failure it is not there at all. A
    /// text says why the target cannot have it.
    fn copy(&self, from: &File, bytes: u64, about: &Stat, to: &str) -> io::Result<Option<String>> {
        // Executable and private as the original, but never with another user's rights.
        let mode = Mode::from_raw_mode(about.st_mode & 0o777) | Mode::RUSR | Mode::WUSR;
        let part = Part::new(&self.parts, mode)?;
        if !copy_data(from, &part.file, bytes)? {
            return Ok(Some("it became shorter while it was copied; the next sync brings it".to_owned()));
        }
        part.file.sync_all()?;
        let (parent, name) = to.rsplit_once('/').unwrap_or(("", to));
        let named = beneath::make_folders(self.root.as_fd(), parent, Links::Never).and_then(|parent| {
            rustix::fs::renameat(&self.parts, part.name.as_str(), &parent, name)?;
            rustix::fs::fsync(&parent)
        });
        match named {
            Ok(()) => Ok(None),
            Err(
                error @ (Errno::LOOP
                | Errno::NOTDIR
                | Errno::XDEV
                | Errno::ISDIR
                | Errno::EXIST
                | Errno::NOTEMPTY
                | Errno::NAMETOOLONG),
            ) => Ok(Some(format!(
                "the target has something else at {}, or on the way there: {}",
                self.place.join(to).display(),
                io::Error::from(error)
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

/// An unfinished copy. It is locked while it is written, and removed unless it gets its name.
struct Part<'t> {
    folder: &'t OwnedFd,
    name: String,
    file: File,
}

impl<'t> Part<'t> {
    fn new(folder: &'t OwnedFd, mode: Mode) -> io::Result<Self> {
        loop {
            let random = runlode::new_run_id().map_err(|error| io::Error::other(error.to_string()))?;
            let name = format!("{PART_PREFIX}{random}");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(folder, name.as_str(), flags, mode)?);
            let part = Self { folder, name, file };
            // Files that root copies belong to the owner of the store.
            Belonging::of(folder)?.settle_file(&part.file)?;
            match rustix::fs::flock(&part.file, FlockOperation::LockExclusive) {
                // Without locks, the server's sweep removes files that are a day old.
                Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            // Another sync may have removed it between the two.
            if rustix::fs::fstat(&part.file)?.st_nlink > 0 {
                return Ok(part);
            }
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // Does nothing if it has its name.
        let _ = rustix::fs::unlinkat(self.folder, self.name.as_str(), AtFlags::empty());
    }
}

/// Removes copies that killed syncs left. The next sync tries again what cannot be removed now.
fn sweep(parts: &OwnedFd) {
    for name in beneath::names(parts).unwrap_or_default() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PART_PREFIX)) else { continue };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(part) = rustix::fs::openat(parts, name, flags, Mode::empty()) else { continue };
        if rustix::fs::flock(&part, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = rustix::fs::unlinkat(parts, name, AtFlags::empty());
        }
    }
}

/// Copies the first `bytes` of a file, and only the data of a sparse one. False: the file was shorter.
fn copy_data(mut from: &File, mut to: &File, bytes: u64) -> io::Result<bool> {
    let mut at = 0;
    while let Some((begin, end)) = next_data(from, at, bytes)? {
        from.seek(io::SeekFrom::Start(begin))?;
        to.seek(io::SeekFrom::Start(begin))?;
        if io::copy(&mut from.take(end - begin), &mut to)? < end - begin {
            return Ok(false);
        }
        at = end;
    }
    to.set_len(bytes)?;
    Ok(from.metadata()?.len() >= bytes)
}

/// Whether a large file has less than half of its length allocated.
fn is_mostly_holes(file: &File, bytes: u64) -> io::Result<bool> {
    let (mut at, mut data) = (0, 0);
    while bytes >= HOLES_BYTES_MIN && data < bytes / 2 {
        let Some((begin, end)) = next_data(file, at, bytes)? else { return Ok(true) };
        (at, data) = (end, data + (end - begin));
    }
    // It is sent from the current position.
    (&*file).rewind()?;
    Ok(false)
}

/// The next part of a file that is not a hole.
#[cfg(target_os = "linux")]
fn next_data(file: &File, at: u64, bytes: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    if at >= bytes {
        return Ok(None);
    }
    let begin = match seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        // The file system does not report holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, bytes))),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(begin))?;
    Ok((begin < bytes).then_some((begin, end.min(bytes))))
}

#[cfg(not(target_os = "linux"))]
fn next_data(_: &File, at: u64, bytes: u64) -> io::Result<Option<(u64, u64)>> {
    Ok((at < bytes).then_some((at, bytes)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    struct Stores {
        dir: tempfile::TempDir,
        from: PathBuf,
        to: PathBuf,
    }

    impl Stores {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            fs::create_dir_all(from.join("artifacts/1/r")).unwrap();
            fs::create_dir(&to).unwrap();
            Self { dir, from, to }
        }

        fn send(&self, experiments: &[(&str, &str)], file_bytes_max: u64) -> (Result<Sent>, Vec<String>) {
            let experiments: Vec<_> =
                experiments.iter().map(|(theirs, ours)| ((*theirs).to_owned(), (*ours).to_owned())).collect();
            let mut told = Vec::new();
            let mut tell = |text| told.push(text);
            let sent = send(&self.from, &To::Store(&self.to), &experiments, file_bytes_max, &mut tell);
            (sent, told)
        }

        /// No unfinished copy is left.
        fn assert_swept(&self) {
            let left = fs::read_dir(self.to.join("artifacts").join(UPLOADS_DIR)).unwrap();
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn files_are_copied_once() {
        let stores = Stores::new();
        fs::create_dir(stores.from.join("artifacts/1/r/d")).unwrap();
        for (name, content) in [("a", "one"), ("d/odd%41#?\\.txt", "two"), ("d/empty", "")] {
            fs::write(stores.from.join("artifacts/1/r").join(name), content).unwrap();
        }
        let (sent, told) = stores.send(&[("1", "7"), ("9", "9")], 100);
        assert_eq!((sent.unwrap().files, told.len()), (3, 0), "{told:?}");
        for (name, content) in [("a", "one"), ("d/odd%41#?\\.txt", "two"), ("d/empty", "")] {
            assert_eq!(fs::read_to_string(stores.to.join("artifacts/7/r").join(name)).unwrap(), content);
        }
        assert_eq!(stores.send(&[("1", "7")], 100).0.unwrap().files, 0);
        fs::write(stores.from.join("artifacts/1/r/a"), "longer").unwrap();
        assert_eq!(stores.send(&[("1", "7")], 100).0.unwrap().files, 1);
        assert_eq!(fs::read_to_string(stores.to.join("artifacts/7/r/a")).unwrap(), "longer");
        stores.assert_swept();
    }

    #[test]
    fn a_target_can_ask_for_experiments_only() {
        let stores = Stores::new();
        fs::write(stores.dir.path().join("secret"), "s").unwrap();
        fs::create_dir(stores.from.join("private")).unwrap();
        for asked in ["/etc", "..", "../private", "1/../../private", "", ".", "1/", "01", "+1", "-1", "1\0", "x"] {
            for pair in [(asked, "1"), ("1", asked)] {
                let (sent, _) = stores.send(&[pair], 100);
                assert!(matches!(sent, Err(Error::Source(_))), "{asked:?}");
            }
        }
        assert!(!stores.to.join("artifacts").exists());
    }

    #[test]
    fn links_pipes_and_large_files_are_reported_and_left_out() {
        let stores = Stores::new();
        let (source, secrets) = (stores.from.join("artifacts"), stores.dir.path().join("secrets"));
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("key"), "s").unwrap();
        symlink(&secrets, source.join("2")).unwrap();
        symlink(&secrets, source.join("1/r/folder")).unwrap();
        symlink(secrets.join("key"), source.join("1/r/file")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, source.join("1/r/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        File::create(source.join("1/r/large")).unwrap().set_len(101).unwrap();
        fs::write(source.join("1/r/good"), "g").unwrap();
        let (sent, told) = stores.send(&[("1", "1"), ("2", "2")], 100);
        assert_eq!((sent.unwrap().files, told.len()), (1, 5), "{told:?}");
        assert_eq!(fs::read_dir(stores.to.join("artifacts/1/r")).unwrap().count(), 1);
        assert!(!stores.to.join("artifacts/2").exists());

        fs::rename(&source, stores.dir.path().join("moved")).unwrap();
        symlink(stores.dir.path().join("moved"), &source).unwrap();
        let (sent, told) = stores.send(&[("1", "1")], 100);
        assert_eq!((sent.unwrap().files, told.len()), (0, 1), "{told:?}");
    }

    #[test]
    fn links_in_a_target_are_not_followed() {
        let stores = Stores::new();
        let (target, outside) = (stores.to.join("artifacts"), stores.dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "operator's").unwrap();
        fs::create_dir_all(target.join("1")).unwrap();
        symlink(&outside, target.join("1/r")).unwrap();
        symlink(&outside, target.join("2")).unwrap();
        fs::create_dir_all(target.join("3/r/folder")).unwrap();
        symlink(outside.join("file"), target.join("3/r/file")).unwrap();
        symlink(outside.join("new"), target.join("3/r/dangling")).unwrap();
        for experiment in ["1", "2", "3"] {
            fs::create_dir_all(stores.from.join("artifacts").join(experiment).join("r")).unwrap();
            for name in ["file", "folder", "dangling"] {
                fs::write(stores.from.join("artifacts").join(experiment).join("r").join(name), "mine").unwrap();
            }
        }
        let (sent, told) = stores.send(&[("1", "1"), ("2", "2"), ("3", "3")], 100);
        // The two links in the place of files are replaced; nothing is written through them.
        assert_eq!((sent.unwrap().files, told.len()), (2, 7), "{told:?}");
        assert_eq!(fs::read_to_string(target.join("3/r/file")).unwrap(), "mine");
        assert!(fs::symlink_metadata(target.join("3/r/dangling")).unwrap().is_file());
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "operator's");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        stores.assert_swept();
        // A link in place of this folder would redirect unfinished copies.
        fs::remove_dir(target.join(UPLOADS_DIR)).unwrap();
        symlink(&outside, target.join(UPLOADS_DIR)).unwrap();
        fs::write(stores.from.join("artifacts/3/r/more"), "mine").unwrap();
        assert!(stores.send(&[("3", "3")], 100).0.is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn holes_stay_holes() {
        let stores = Stores::new();
        let (source, size) = (stores.from.join("artifacts/1/r/sparse"), 1 << 36);
        let mut file = File::create(&source).unwrap();
        io::Write::write_all(&mut file, b"begin").unwrap();
        file.seek(io::SeekFrom::Start(size / 2)).unwrap();
        io::Write::write_all(&mut file, b"middle").unwrap();
        file.set_len(size).unwrap();
        let (sent, told) = stores.send(&[("1", "1")], size);
        assert_eq!((sent.unwrap().bytes, told.len()), (size, 0), "{told:?}");
        let copy = File::open(stores.to.join("artifacts/1/r/sparse")).unwrap();
        let about = copy.metadata().unwrap();
        assert_eq!(about.len(), size);
        assert!(about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
        let mut middle = [0; 6];
        std::os::unix::fs::FileExt::read_exact_at(&copy, &mut middle, size / 2).unwrap();
        assert_eq!(&middle, b"middle");
        assert_eq!(stores.send(&[("1", "1")], size - 1).1.len(), 1);
        assert!(is_mostly_holes(&copy, size).unwrap());
        assert!(!is_mostly_holes(&copy, 5).unwrap());
    }

    #[test]
    fn leftover_copies_are_removed_and_unfinished_ones_stay() {
        let stores = Stores::new();
        fs::write(stores.from.join("artifacts/1/r/a"), "a").unwrap();
        let parts = stores.to.join("artifacts").join(UPLOADS_DIR);
        fs::create_dir_all(&parts).unwrap();
        fs::write(parts.join("sync-left"), "half").unwrap();
        fs::write(parts.join("1-2-3"), "a server's").unwrap();
        let others = Target::open(&stores.to.join("artifacts")).unwrap();
        let under_way = Part::new(&others.parts, Mode::RWXU).unwrap();
        assert_eq!(stores.send(&[("1", "1")], 100).0.unwrap().files, 1);
        let mut left: Vec<_> = fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["1-2-3", under_way.name.as_str()]);
        drop(under_way);
        assert_eq!(fs::read_dir(&parts).unwrap().count(), 1);
    }
}
