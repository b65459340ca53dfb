//! The lock of a store: advisory, exclusive, held as long as the store is open.
//!
//! The lock itself is the kernel's (`flock`) or the simulated disk's. An existing LOCK file means nothing; only a held
//! lock counts. The file is never cut, because other processes may have it mapped. Every process that can open the file
//! can lock it, so its mode lets only those open it who may write the store: see [`crate::storage::owner`].
//!
//! ```text
//! LOCK, little endian
//!    0  text of the last holder (`pid 4711 on host`), a zero byte, when that process began (`start N`, field 22 of
//!       /proc/PID/stat), padded with zeros; for messages only
//! 1024  the epoch u64
//! 1032  inode of this file u64; 0: not marked
//! 1040  when this file was made u64, Unix ns; 0: the file system does not tell
//! ```
//!
//! The epoch is raised after every batch that deletes, restores or purges runs or experiments, before that batch is
//! acknowledged. A client that learned that a run accepts points asks again once the epoch has changed: see
//! [`LockEpoch`].
//!
//! The last two fields are the file's mark. A copy of a store has a new lock file that carries the mark of the old one;
//! so the copy is recognised until it is opened for writing for the first time. That matters because a copy of a store
//! in use may hold places that were read before they were written. A move within a file system, a snapshot of a volume
//! and a crash keep the mark.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::fork::Guarded;
use crate::storage::{Map, OpenMode, Storage, StorageFile, read_exact_at, write_all_at};

/// Where a store's lock file is.
pub const LOCK_PATH: &str = "LOCK";
/// Bytes at the beginning of a lock file that belong to its text.
pub const LOCK_TEXT_BYTES: usize = 1_024;
/// Where the epoch ends.
const EPOCH_END: u64 = LOCK_TEXT_BYTES as u64 + 8;
/// Length of a mark, after the epoch.
const MARK_BYTES: usize = 16;

/// A held lock of a real file; dropping it releases the lock. A forked child closes its copy.
#[derive(Debug)]
pub struct FileLock {
    file: Guarded<File>,
}

impl FileLock {
    /// Takes the lock of an open file. `None`: another open of the file holds it, in this process or another one.
    pub(crate) fn take(file: Guarded<File>) -> io::Result<Option<Self>> {
        match flock(&*file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The lock belongs to the open file, and a child that is being forked may still share it: so it is released
        // explicitly. But a child that drops its copy must not unlock its parent's. An error needs no answer: the close
        // that follows releases the lock too.
        if self.file.is_own() {
            let _ = flock(&*self.file, FlockOperation::Unlock);
        }
    }
}

/// Writes the text of a new holder over that of the last one. Cut at [`LOCK_TEXT_BYTES`].
pub(crate) fn write_lock_text(file: &dyn StorageFile, text: &str) -> io::Result<()> {
    let mut bytes = [0; LOCK_TEXT_BYTES];
    let count = text.floor_char_boundary(LOCK_TEXT_BYTES);
    bytes[..count].copy_from_slice(&text.as_bytes()[..count]);
    write_all_at(file, &bytes, 0)?;
    // So that the epoch can be mapped.
    if file.len()? < EPOCH_END { write_all_at(file, &[0; 8], LOCK_TEXT_BYTES as u64) } else { Ok(()) }
}

/// Changes the epoch of a lock file. Only the lock's holder does.
///
/// Two changes at the same time may count as one: each caller published its change before it read the epoch, so a
/// reader that sees either new value sees both changes.
pub(crate) fn raise_epoch(file: &dyn StorageFile) -> io::Result<()> {
    let next = read_epoch(file)?.wrapping_add(1);
    write_all_at(file, &next.to_le_bytes(), LOCK_TEXT_BYTES as u64)
}

fn read_epoch(file: &dyn StorageFile) -> io::Result<u64> {
    let mut bytes = [0; 8];
    if file.len()? < EPOCH_END {
        return Ok(0);
    }
    read_exact_at(file, &mut bytes, LOCK_TEXT_BYTES as u64)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The mark of a file: its inode, and its creation time, because other file systems have the same inodes.
fn mark_of(file: &Metadata) -> [u8; MARK_BYTES] {
    let since = file.created().ok().and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    let made_ns = since.map_or(0, |since| since.as_nanos() as u64);
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&file.ino().to_le_bytes());
    mark[8..].copy_from_slice(&made_ns.to_le_bytes());
    mark
}

/// The mark in a lock file; `None`: it has none.
fn read_mark(file: &dyn StorageFile) -> io::Result<Option<[u8; MARK_BYTES]>> {
    let mut mark = [0; MARK_BYTES];
    if file.len()? < EPOCH_END + MARK_BYTES as u64 {
        return Ok(None);
    }
    read_exact_at(file, &mut mark, EPOCH_END)?;
    Ok((mark != [0; MARK_BYTES]).then_some(mark))
}

/// Whether a lock file has the mark of another file.
pub(crate) fn is_copied(file: &dyn StorageFile, about: &Metadata) -> io::Result<bool> {
    Ok(read_mark(file)?.is_some_and(|mark| mark != mark_of(about)))
}

/// Marks a lock file, durably. Only the lock's holder does.
pub(crate) fn mark(file: &dyn StorageFile, about: &Metadata) -> io::Result<()> {
    let mark = mark_of(about);
    if read_mark(file)? == Some(mark) {
        return Ok(());
    }
    write_all_at(file, &mark, EPOCH_END)?;
    file.sync_all()
}

/// The epoch of a store's lock file, for processes that do not hold the lock.
#[derive(Debug)]
pub struct LockEpoch {
    file: Arc<dyn StorageFile>,
    /// `None` where files are not mapped.
    map: Option<Arc<dyn Map>>,
}

impl LockEpoch {
    /// The epoch of a store that must have been opened before.
    ///
    /// # Errors
    /// If the file does not exist or cannot be read.
    pub fn open(store: &dyn Storage) -> io::Result<Self> {
        let file = store.open(LOCK_PATH, OpenMode::Read)?;
        let map = if file.len()? >= EPOCH_END { file.map(EPOCH_END, false)? } else { None };
        Ok(Self { file, map })
    }

    /// The current epoch: a copy out of the mapping.
    ///
    /// # Errors
    /// If the file is not mapped, those of reading it.
    #[inline]
    pub fn now(&self) -> io::Result<u64> {
        match &self.map {
            Some(map) => {
                let mut bytes = [0; 8];
                map.copy_at(LOCK_TEXT_BYTES as u64, &mut bytes);
                Ok(u64::from_le_bytes(bytes))
            }
            None => read_epoch(&*self.file),
        }
    }
}

/// The text of the last holder of a lock, for messages. It does not show whether the lock is held now. `None` if there
/// is no such file.
pub fn read_lock_text(storage: &dyn Storage, path: &str) -> io::Result<Option<String>> {
    Ok(read_texts(storage, path)?.map(|(text, _)| text))
}

/// The holder of a lock that is held, for messages. A process that has ended is never named: the text may be old, and
/// its pid may belong to another process by now.
///
/// The kernel's list of locks names the holder. Where that fails (other hosts, some file systems), the text counts if
/// its process lives.
pub fn holder_name(storage: &dyn Storage, path: &str) -> String {
    let somebody = || "another process".to_owned();
    let Ok(Some((text, start))) = read_texts(storage, path) else { return somebody() };
    let text = text.trim();
    if text.is_empty() {
        return somebody();
    }
    // A text that does not name a process is used as it is.
    let Some(named) = Named::parse(text) else { return text.to_owned() };
    if !named.is_here {
        return text.to_owned();
    }
    let lives = begin_of(named.pid).is_some_and(|begin| start.is_none_or(|start| start == begin));
    match kernel_holder(&storage.display_path(path)) {
        Some(pid) if !lives || pid != named.pid => format!("pid {pid}"),
        Some(_) => text.to_owned(),
        None if lives => text.to_owned(),
        None => somebody(),
    }
}

/// The process that a lock's text names.
struct Named {
    pid: u32,
    /// Whether it is one of this host.
    is_here: bool,
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        let (pid, host) = text.strip_prefix("pid ")?.split_once(" on ")?;
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Some(Self { pid: pid.parse().ok()?, is_here: host == "this host" || host == own.trim() })
    }
}

/// When a process began, in clock ticks since the machine booted. `None`: it has ended, or its start is unknown.
fn begin_of(pid: u32) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

/// The process that holds the `flock` of a file, according to the kernel.
fn kernel_holder(path: &Path) -> Option<u32> {
    let about = std::fs::symlink_metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(about.dev()), rustix::fs::minor(about.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", about.ino());
    // 1: FLOCK  ADVISORY  WRITE 1234 08:01:56789 0 EOF
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_held = fields.next() == Some("FLOCK");
        let pid = fields.nth(2)?.parse().ok()?;
        (is_held && fields.next() == Some(wanted.as_str()) && pid > 0).then_some(pid)
    })
}

/// The text that this process writes as holder; it includes when the process began, for [`holder_name`].
pub(crate) fn own_text(text: &str) -> String {
    match begin_of(std::process::id()) {
        Some(begin) => format!("{text}\0start {begin}"),
        None => text.to_owned(),
    }
}

/// The text of the holder, and when its process began.
fn read_texts(storage: &dyn Storage, path: &str) -> io::Result<Option<(String, Option<u64>)>> {
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; LOCK_TEXT_BYTES];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut texts = bytes[..count].split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let text = texts.next().unwrap_or_default().into_owned();
    let start = texts.next().and_then(|text| text.strip_prefix("start ")?.parse().ok());
    Ok(Some((text, start)))
}

#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;

    #[test]
    fn watchers_see_a_raised_epoch_and_new_holders_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let lock = disk.lock("LOCK", "pid 1").unwrap().unwrap();
        let epoch = LockEpoch::open(&disk).unwrap();
        assert_eq!(epoch.now().unwrap(), 0);
        disk.raise_epoch("LOCK").unwrap();
        assert_eq!(epoch.now().unwrap(), 1);
        drop(lock);
        let _lock = disk.lock("LOCK", "pid 2").unwrap().unwrap();
        disk.raise_epoch("LOCK").unwrap();
        assert_eq!((epoch.now().unwrap(), LockEpoch::open(&disk).unwrap().now().unwrap()), (2, 2));
    }

    #[test]
    fn only_a_living_process_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let write = |text: &str| {
            let file = disk.open("LOCK", OpenMode::ReadWrite).or_else(|_| disk.open("LOCK", OpenMode::CreateNew));
            write_lock_text(&*file.unwrap(), text).unwrap();
        };
        let own = std::process::id();
        let name = || holder_name(&disk, "LOCK");
        assert_eq!(name(), "another process", "there is no file");
        // No process can have this pid.
        write("pid 4194399 on this host");
        assert_eq!(name(), "another process");
        write(&format!("pid {own} on this host"));
        assert_eq!(name(), format!("pid {own} on this host"));
        write(&own_text(&format!("pid {own} on this host")));
        assert_eq!(name(), format!("pid {own} on this host"));
        write(&format!("pid {own} on this host\0start 1"));
        assert_eq!(name(), "another process", "its pid was given to another process");
        write("pid 4194399 on a-host-far-away");
        assert_eq!(name(), "pid 4194399 on a-host-far-away", "nobody here knows");
        write("pid 4194399 on this host");
        let held = File::open(folder.path().join("LOCK")).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let named = name();
        let about = held.metadata().unwrap();
        let listed = std::fs::read_to_string("/proc/locks").unwrap().contains(&format!(":{} ", about.ino()));
        // File systems without a device of their own may be listed with another device number than `stat` shows.
        let known = listed && rustix::fs::major(about.dev()) != 0;
        assert!(named == format!("pid {own}") || !known && named == "another process", "{named}");
    }

    #[test]
    fn a_copy_is_recognised_until_it_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let (disk, copy) = (Disk::new(&a), Disk::new(&b));
        assert!(!disk.is_copied("LOCK").unwrap(), "there is none");
        let _lock = disk.lock("LOCK", "pid 1").unwrap().unwrap();
        assert!(!disk.is_copied("LOCK").unwrap(), "it is not marked");
        disk.mark("LOCK").unwrap();
        disk.mark("LOCK").unwrap();
        disk.raise_epoch("LOCK").unwrap();
        assert!(!disk.is_copied("LOCK").unwrap());
        std::fs::copy(a.join("LOCK"), b.join("LOCK")).unwrap();
        assert!(copy.is_copied("LOCK").unwrap());
        assert!(Disk::read_only(&b).is_copied("LOCK").unwrap());
        let _lock = copy.lock("LOCK", "pid 2").unwrap().unwrap();
        assert!(copy.is_copied("LOCK").unwrap(), "a holder's text is no mark");
        copy.mark("LOCK").unwrap();
        assert!(!copy.is_copied("LOCK").unwrap());
        std::fs::rename(&a, folder.path().join("moved")).unwrap();
        assert!(!Disk::new(folder.path().join("moved")).is_copied("LOCK").unwrap());
    }
}
