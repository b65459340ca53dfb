//! Makes a backup.
//!
//! ```text
//! mark of the place > freeze the store > blobs that are new > settle > manifest > settle
//! ```
//! Invariants: everything that the manifest names is durable before the manifest is put. A file of the last backup that
//! looks unchanged is taken from there without reading it, as long as the target still has all its blobs.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use runlode::beneath::{self, Links, Opened};
use runlode::engine::{Frozen, FrozenFile};
use runlode::{Clock, SystemClock};
use rustix::io::Errno;

use crate::blob::{self, BlobId};
use crate::error::{Error, Result};
use crate::manifest::{self, BackedFile, MARKER, MARKER_TEXT, Manifest, Stamp, VERSION};
use crate::place::{Backups, Progress};

/// Least and greatest size of a chunk.
pub(crate) const CHUNK_BYTES_MIN: u64 = 4 << 10;
pub(crate) const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Default size of a chunk: small beside what a store grows by, large enough that 10 GB are 10,000 blobs.
const CHUNK_BYTES: u64 = 1 << 20;
/// The folder of artifacts in a store.
const ARTIFACTS: &str = "artifacts";
/// Uploads that are under way.
const UPLOADS: &str = ".runlode-uploads";
/// A file that was changed so short ago may change again without looking different.
const SETTLED_AFTER_MS: i64 = 2_000;
/// How often a file is read again that changes while it is read.
const READS_MAX: usize = 3;

/// How to make a backup.
///
/// ```
/// let options = runlode_backup::MakeOptions::default();
/// assert_eq!((options.chunk_bytes, options.reread), (1 << 20, false));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MakeOptions {
    /// Its name. Default: the time in UTC and the position, `20261130T205223Z-1204`.
    pub name: Option<String>,
    /// The folder of artifacts, if a server keeps them elsewhere than in `STORE/artifacts`.
    pub artifacts: Option<PathBuf>,
    /// Whether every file is read, also those that look as they did at the last backup. Default: false.
    pub reread: bool,
    /// Size of chunks, in bytes; a power of two serves best. Default: 1 MiB. Backups with other sizes share no blobs.
    pub chunk_bytes: u64,
}

impl Default for MakeOptions {
    fn default() -> Self {
        Self { name: None, artifacts: None, reread: false, chunk_bytes: CHUNK_BYTES }
    }
}

/// What a backup consists of, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// The position at which it is exact.
    pub position: u64,
    /// Number of files.
    pub files_count: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that were new in the target, the manifest included.
    pub copied_bytes: u64,
    /// Bytes of files that were not read, because they look as they did.
    pub unread_bytes: u64,
    /// Whether points that other processes had in their inboxes were brought into the log first. If not, they are not in
    /// the backup.
    pub inboxes_merged: bool,
    /// Artifacts that are not in the backup, with the reason.
    pub skipped: Vec<String>,
}

/// A backup in the making.
struct Making<'a> {
    backups: &'a Backups,
    chunk_bytes: u64,
    /// Blobs that the target has, with their lengths.
    there: HashMap<BlobId, u64>,
    last: HashMap<String, BackedFile>,
    files: Vec<BackedFile>,
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
    copied_bytes: u64,
    unread_bytes: u64,
    skipped: Vec<String>,
}

impl Backups {
    /// Makes a backup of the store in a folder, which any process may be writing.
    ///
    /// # Errors
    /// [`Error::Store`] if the store is missing or damaged; [`Error::Exists`], [`Error::Name`], [`Error::Chunk`];
    /// [`Error::Io`], [`Error::Target`]. Then there is no such backup, and all others are as before.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # runlode::Store::open(dir.path().join("exp"))?.close()?;
    /// use runlode_backup::{Backups, MakeOptions};
    ///
    /// let backups = Backups::open(dir.path().join("backups").to_str().expect("a plain path"))?;
    /// let first = backups.make(&dir.path().join("exp"), &MakeOptions::default(), &mut |_| {})?;
    /// let mut options = MakeOptions::default();
    /// options.name = Some("second".into());
    /// let second = backups.make(&dir.path().join("exp"), &options, &mut |_| {})?;
    /// assert!(second.copied_bytes < first.copied_bytes, "nothing is new but the manifest");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn make(&self, store: &Path, options: &MakeOptions, tell: &mut dyn FnMut(Progress)) -> Result<Made> {
        if let Some(name) = &options.name {
            manifest::check_name(name)?;
            self.refuse_existing(name)?;
        }
        if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&options.chunk_bytes) {
            let (least, most) = (CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
            return Err(Error::Chunk { bytes: options.chunk_bytes, least, most });
        }
        let made_ms = SystemClock::default().now().0;
        let inboxes_merged = merge_inboxes(store);
        let frozen = Frozen::of(store)?;
        let root = options.artifacts.clone().unwrap_or_else(|| store.join(ARTIFACTS));
        let mut making = self.begin(options, &frozen, tell)?;
        let mut artifacts = Vec::new();
        walk(&root, ARTIFACTS, &mut artifacts, &mut making.skipped)?;
        let of_store: u64 = frozen.files.iter().map(|file| file.content_bytes).sum();
        making.progress.total_bytes = of_store + artifacts.iter().map(|(_, _, found)| found.len()).sum::<u64>();
        for file in &frozen.files {
            making.add_frozen(store, file, made_ms)?;
        }
        for (path, on_disk, found) in &artifacts {
            making.add_artifact(&root, path, on_disk, found, made_ms)?;
        }
        let position = frozen.position.0;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => format!("{}-{position}", time_name(made_ms)),
        };
        self.refuse_existing(&name)?;
        self.target.settle()?;
        let Making { files, mut copied_bytes, unread_bytes, skipped, chunk_bytes, .. } = making;
        let (files_count, bytes) = (files.len() as u64, files.iter().map(|file| file.bytes).sum());
        let store = frozen.store.to_string();
        let manifest = Manifest { version: VERSION, name, store, position, made_ms, chunk_bytes, bytes, files };
        let encoded = manifest.encode()?;
        copied_bytes += encoded.len() as u64;
        self.target.put(&manifest::path(&manifest.name), &encoded)?;
        self.target.settle()?;
        let name = manifest.name;
        Ok(Made { name, position, files_count, bytes, copied_bytes, unread_bytes, inboxes_merged, skipped })
    }

    fn refuse_existing(&self, name: &str) -> Result<()> {
        match self.target.get(&manifest::path(name))? {
            Some(_) => Err(Error::Exists { name: name.to_owned() }),
            None => Ok(()),
        }
    }

    fn begin<'a>(
        &'a self,
        options: &MakeOptions,
        frozen: &Frozen,
        tell: &'a mut dyn FnMut(Progress),
    ) -> Result<Making<'a>> {
        if self.target.get(MARKER)?.is_none() {
            self.target.put(MARKER, MARKER_TEXT.as_bytes())?;
            self.target.settle()?;
        }
        let blobs = self.target.list(blob::FOLDER)?.into_iter();
        let there = blobs.filter_map(|(path, bytes)| Some((BlobId::of_path(&path)?, bytes))).collect();
        let mut last: Option<Manifest> = None;
        if !options.reread {
            for name in self.names()? {
                // A damaged one is none of this backup's business: it only costs reading.
                let Ok(manifest) = self.manifest(&name) else { continue };
                let fits = manifest.store == frozen.store.to_string() && manifest.chunk_bytes == options.chunk_bytes;
                if fits && last.as_ref().is_none_or(|last| last.made_ms <= manifest.made_ms) {
                    last = Some(manifest);
                }
            }
        }
        let files = last.map(|last| last.files).unwrap_or_default().into_iter();
        Ok(Making {
            backups: self,
            chunk_bytes: options.chunk_bytes,
            there,
            last: files.map(|file| (file.path.clone(), file)).collect(),
            files: Vec::new(),
            progress: Progress::default(),
            tell,
            copied_bytes: 0,
            unread_bytes: 0,
            skipped: Vec::new(),
        })
    }
}

impl Making<'_> {
    /// A file of the store.
    fn add_frozen(&mut self, store: &Path, file: &FrozenFile, now_ms: i64) -> Result<()> {
        // A compaction may have unlinked it.
        let found = fs::symlink_metadata(store.join(&file.path)).ok().filter(|_| file.sealed);
        let stamp = found.and_then(|found| stamp(&found, now_ms));
        if self.take_unchanged(&file.path, file.len_bytes, stamp) {
            return Ok(());
        }
        let mut chunks = Vec::new();
        let mut piece = Vec::new();
        let mut at = 0;
        while at < file.content_bytes {
            let count = (file.content_bytes - at).min(self.chunk_bytes);
            piece.resize(count as usize, 0);
            file.read_at(&mut piece, at)?;
            chunks.push(self.put(&piece)?);
            at += count;
        }
        let (path, bytes, len) = (file.path.clone(), file.content_bytes, file.len_bytes);
        self.files.push(BackedFile { path, bytes, len, link: None, stamp, chunks });
        Ok(())
    }

    /// An artifact; one that was removed since it was listed is left out.
    fn add_artifact(&mut self, root: &Path, path: &str, on_disk: &Path, found: &Metadata, now_ms: i64) -> Result<()> {
        let io = |error: io::Error| Error::io("read", on_disk, error);
        if found.is_symlink() {
            match fs::read_link(on_disk) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Ok(to) => match to.into_os_string().into_string() {
                    Ok(to) => {
                        let (path, link) = (path.to_owned(), Some(to));
                        self.files.push(BackedFile { path, bytes: 0, len: 0, link, stamp: None, chunks: Vec::new() });
                    }
                    Err(_) => self.skipped.push(format!("{path}: the text of this link is not UTF-8")),
                },
                Err(error) => return Err(io(error)),
            }
            return Ok(());
        }
        if self.take_unchanged(path, found.len(), stamp(found, now_ms)) {
            return Ok(());
        }
        for attempt in 1..=READS_MAX {
            // Since it was listed, somebody may have put a link or a pipe in its place, or in that of a folder above.
            let below = path.strip_prefix(ARTIFACTS).unwrap_or(path).trim_start_matches('/');
            let opened =
                beneath::open_root(root).and_then(|root| beneath::open_file(root.as_fd(), below, Links::Never));
            let mut file = match opened {
                Err(Errno::NOENT) => return Ok(()),
                Ok(Opened::File(file)) => file,
                Ok(Opened::Folder | Opened::Special) | Err(Errno::LOOP | Errno::NOTDIR) => {
                    self.skipped.push(format!("{path}: it was replaced by something else while the backup was made"));
                    return Ok(());
                }
                Err(error) => return Err(io(error.into())),
            };
            let before = file.metadata().map_err(io)?;
            let (mut chunks, mut bytes) = (Vec::new(), 0);
            loop {
                let mut piece = Vec::new();
                Read::by_ref(&mut file).take(self.chunk_bytes).read_to_end(&mut piece).map_err(io)?;
                if piece.is_empty() {
                    break;
                }
                bytes += piece.len() as u64;
                chunks.push(self.put(&piece)?);
            }
            let after = file.metadata().map_err(io)?;
            let same = exact_stamp(&before) == exact_stamp(&after) && bytes == after.len();
            if same || attempt == READS_MAX {
                if !same {
                    self.skipped.push(format!("{path}: it was written while it was read; what was read is kept"));
                }
                let stamp = if same { stamp(&before, now_ms) } else { None };
                self.files.push(BackedFile { path: path.to_owned(), bytes, len: bytes, link: None, stamp, chunks });
                break;
            }
        }
        Ok(())
    }

    /// Takes a file from the last backup, if it looks as it did then and the target has its blobs.
    fn take_unchanged(&mut self, path: &str, len_bytes: u64, stamp: Option<Stamp>) -> bool {
        let Some(last) = self.last.get(path) else { return false };
        let same = stamp.is_some() && last.stamp == stamp && last.len == len_bytes && last.link.is_none();
        if !same || !last.chunks.iter().all(|chunk| self.there.contains_key(chunk)) {
            return false;
        }
        self.unread_bytes += last.bytes;
        self.progress.done_bytes += last.bytes;
        self.files.push(last.clone());
        (self.tell)(self.progress);
        true
    }

    /// Puts a chunk, unless it is there.
    fn put(&mut self, piece: &[u8]) -> Result<BlobId> {
        let id = BlobId::of(piece);
        // One of another length is what a full disk or a lost upload left.
        if self.there.get(&id) != Some(&(piece.len() as u64)) {
            self.backups.target.put(&id.path(), piece)?;
            self.there.insert(id, piece.len() as u64);
            self.copied_bytes += piece.len() as u64;
        }
        self.progress.done_bytes += piece.len() as u64;
        (self.tell)(self.progress);
        Ok(id)
    }
}

/// Brings points of other processes' inboxes into the log. `false`: no process may write the store, or its holder does
/// not answer.
fn merge_inboxes(store: &Path) -> bool {
    let opened = runlode::Store::options(store).create(false).serves_others(true).offline(false).open();
    let merged = opened.and_then(|store| {
        store.experiments()?;
        store.close()
    });
    merged.is_ok()
}

/// The time as the beginning of a name: `20261130T205223Z`.
fn time_name(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn exact_stamp(found: &Metadata) -> Stamp {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    let mtime_ns = ns(found.mtime(), found.mtime_nsec());
    Stamp { mtime_ns, ctime_ns: ns(found.ctime(), found.ctime_nsec()), inode: found.ino() }
}

/// What a file looks like; `None` if it was changed so short ago that this says nothing.
fn stamp(found: &Metadata, now_ms: i64) -> Option<Stamp> {
    let stamp = exact_stamp(found);
    let changed_ms = stamp.mtime_ns.max(stamp.ctime_ns) / 1_000_000;
    (changed_ms + SETTLED_AFTER_MS < now_ms).then_some(stamp)
}

/// Files and links below a folder, by path; links are not followed.
fn walk(
    folder: &Path,
    below: &str,
    out: &mut Vec<(String, PathBuf, Metadata)>,
    skipped: &mut Vec<String>,
) -> Result<()> {
    let io = |error| Error::io("list", folder, error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    let mut names = entries.map(|entry| Ok(entry.map_err(io)?.file_name())).collect::<Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let on_disk = folder.join(&name);
        let Some(name) = name.to_str() else {
            skipped.push(format!("{below}/{}: its name is not UTF-8", name.to_string_lossy()));
            continue;
        };
        if name == UPLOADS {
            continue;
        }
        let path = format!("{below}/{name}");
        let found = match fs::symlink_metadata(&on_disk) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.map_err(|error| Error::io("look at", &on_disk, error))?,
        };
        if found.is_dir() {
            walk(&on_disk, &path, out, skipped)?;
        } else if found.is_file() || found.is_symlink() {
            out.push((path, on_disk, found));
        } else {
            skipped.push(format!("{path}: it is neither a file nor a link"));
        }
    }
    Ok(())
}
