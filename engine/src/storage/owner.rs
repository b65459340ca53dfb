//! Owner, group and mode of new files and folders, taken from the store's folder.
//!
//! | process | files | folders | `LOCK` and other locks |
//! |---|---|---|---|
//! | root, in another user's folder | owner, group and mode of the folder | the same | the same, but only for those who may write |
//! | any other | as the umask says; and as writable for group and others as the folder is | the same | only for those who may write |
//!
//! A command that root runs once (`sudo runlode compact`) must not leave files that the store's user cannot open. If
//! the file system does not let root give files away, nothing is written at all: [`Belonging::prove`].
//!
//! A folder whose sticky bit is set (`/tmp`) does not count as shared: others may add files there, but may not touch
//! ours.
//!
//! Everybody who can open a lock's file, even for reading, can hold the lock. So its mode depends only on who may write
//! the folder; the umask has no part in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmod, chownat, fchmod, fchown, fstat, openat, unlinkat,
};
use rustix::io::Errno;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// Exists only while it is tested whether files can be given away. An open removes `.tmp` files.
const TRIAL_NAME: &str = "owner.tmp";

/// What new files take from a store's folder.
#[derive(Debug, Clone, Copy)]
pub struct Belonging {
    uid: u32,
    gid: u32,
    mode: u32,
    /// This process is root, and the folder belongs to another user.
    give: bool,
}

impl Belonging {
    /// Reads it from a store's folder.
    ///
    /// # Errors
    /// Those of asking the file system.
    pub fn of(folder: impl AsFd) -> io::Result<Self> {
        let Stat { st_uid: uid, st_gid: gid, st_mode: mode, .. } = fstat(folder)?;
        Ok(Self { uid, gid, mode: mode & 0o7777, give: rustix::process::geteuid().is_root() && uid != 0 })
    }

    /// Whether users other than the owner may write: bits of group, bits of others.
    fn shared(&self, group_bits: u32, other_bits: u32) -> u32 {
        let open = |writes: u32, bits: u32| if self.mode & writes != 0 && self.mode & STICKY == 0 { bits } else { 0 };
        open(GROUP_WRITES, group_bits) | open(OTHERS_WRITE, other_bits)
    }

    /// Tests, before anything is written, whether new files can be given to the folder's owner. Leaves nothing.
    ///
    /// # Errors
    /// `PermissionDenied`, or another error of the file system, if they cannot.
    pub fn prove(&self, folder: impl AsFd) -> io::Result<()> {
        if !self.give {
            return Ok(());
        }
        let mode = Mode::RUSR | Mode::WUSR;
        match openat(&folder, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(trial) => return self.give_away(&trial),
            // Not every file system has unnamed files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
            // Later writes will fail too, with a better message.
            Err(_) => return Ok(()),
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let Ok(trial) = openat(&folder, TRIAL_NAME, flags, mode) else { return Ok(()) };
        let given = self.give_away(&trial);
        unlinkat(&folder, TRIAL_NAME, AtFlags::empty())?;
        given
    }

    /// Reads it from a store's folder, by path.
    ///
    /// # Errors
    /// As [`Belonging::of`].
    pub fn of_path(folder: &Path) -> io::Result<Self> {
        Self::of(openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The user that the folder belongs to.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Gives a new file or folder to the folder's owner, if this process is root; its mode stays.
    ///
    /// # Errors
    /// If root cannot give it away: the caller removes it.
    pub fn give(&self, file: impl AsFd) -> io::Result<()> {
        if self.give { self.give_away(file) } else { Ok(()) }
    }

    fn give_away(&self, file: impl AsFd) -> io::Result<()> {
        let given = fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        given.map_err(|error| {
            let error = io::Error::from(error);
            let Self { uid, gid, .. } = self;
            let why = format!(
                "root cannot give new files to the user {uid} and group {gid} of the store's folder ({error}); run this \
                 as that user"
            );
            io::Error::new(error.kind(), why)
        })
    }

    /// Sets owner, group and mode of a new file.
    ///
    /// # Errors
    /// If root cannot give it away: the caller removes it.
    pub fn settle_file(&self, file: impl AsFd) -> io::Result<()> {
        self.settle(file, 0o666, (0o060, 0o006))
    }

    /// Sets owner, group and mode of a new folder.
    ///
    /// # Errors
    /// If root cannot give it away: the caller removes it.
    pub fn settle_dir(&self, dir: impl AsFd) -> io::Result<()> {
        self.settle(dir, 0o2777, (0o070, 0o007))
    }

    fn settle(&self, file: impl AsFd, mask: u32, (group_bits, other_bits): (u32, u32)) -> io::Result<()> {
        if self.give {
            self.give_away(&file)?;
            return Ok(fchmod(&file, Mode::from_raw_mode(self.mode & mask))?);
        }
        let bits = self.shared(group_bits, other_bits);
        if bits == 0 {
            return Ok(());
        }
        let found = fstat(&file)?;
        let wanted = (found.st_mode & 0o7777) | self.with_group(&file, &found, bits);
        if wanted != found.st_mode & 0o7777 {
            // A file system without modes (FAT, some network ones) has nothing to share by them.
            let _ = fchmod(&file, Mode::from_raw_mode(wanted));
        }
        Ok(())
    }

    /// Bits of a mode, without those of the group if the file cannot get the folder's group.
    fn with_group(&self, file: impl AsFd, found: &Stat, bits: u32) -> u32 {
        let belongs =
            bits & 0o070 == 0 || found.st_gid == self.gid || fchown(file, None, Some(Gid::from_raw(self.gid))).is_ok();
        if belongs { bits } else { bits & !0o070 }
    }

    /// Sets owner and mode of a lock's file, new or old: users who cannot write the store must not be able to hold its
    /// lock.
    ///
    /// # Errors
    /// If root cannot give it away.
    pub fn settle_lock(&self, file: impl AsFd) -> io::Result<()> {
        let found = fstat(&file)?;
        let own = rustix::process::geteuid();
        if self.give && (found.st_uid, found.st_gid) != (self.uid, self.gid) {
            self.give_away(&file)?;
        } else if !own.is_root() && found.st_uid != own.as_raw() {
            // Only its owner can change it.
            return Ok(());
        }
        let found = fstat(&file)?;
        let wanted = 0o600 | self.with_group(&file, &found, self.shared(0o060, 0o006));
        if wanted != found.st_mode & 0o7777 {
            let _ = fchmod(&file, Mode::from_raw_mode(wanted));
        }
        Ok(())
    }

    /// Sets owner and mode of a socket that was just bound: users who may write the folder may connect. Returns whether
    /// users other than the owner may.
    ///
    /// # Errors
    /// If its mode cannot be set, or root cannot give it away: the caller removes it.
    pub fn settle_socket(&self, folder: impl AsFd, name: &str) -> io::Result<bool> {
        // By name, no call changes a socket's mode without following a link in its place.
        let socket = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no socket any more")));
        }
        if self.give {
            let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
            chownat(&socket, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        let mut bits = 0;
        bits |= if self.mode & GROUP_WRITES != 0 { 0o060 } else { 0 };
        bits |= if self.mode & OTHERS_WRITE != 0 { 0o006 } else { 0 };
        chmod(format!("/proc/self/fd/{}", socket.as_raw_fd()), Mode::from_raw_mode(0o600 | bits))?;
        Ok(bits != 0)
    }
}

/// Gives files and folders that root just created in a store to the store's user: `made`, everything below it, and the
/// folders between the store's and it, if they are root's. Does nothing in other processes. For commands that copy
/// files into a store by path.
///
/// # Errors
/// If they cannot be given away.
pub fn settle_tree(store: &Path, made: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let belonging = Belonging::of_path(store)?;
    let Ok(names) = made.strip_prefix(store) else { return Ok(()) };
    if !belonging.give {
        return Ok(());
    }
    let mut at = openat(CWD, store, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in names {
        at = openat(&at, name, flags, Mode::empty())?;
        settle_one(&belonging, &at)?;
    }
    let mut folders = vec![at];
    while let Some(folder) = folders.pop() {
        if FileType::from_raw_mode(fstat(&folder)?.st_mode) != FileType::Directory {
            continue;
        }
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            match openat(&folder, entry.file_name(), flags, Mode::empty()) {
                Ok(found) => {
                    settle_one(&belonging, &found)?;
                    folders.push(found);
                }
                // Links and sockets are not ours.
                Err(Errno::LOOP | Errno::NXIO | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn settle_one(belonging: &Belonging, made: &OwnedFd) -> io::Result<()> {
    let found = fstat(made)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory if found.st_uid == 0 => belonging.settle_dir(made),
        FileType::RegularFile if found.st_uid == 0 => belonging.settle_file(made),
        _ => Ok(()),
    }
}
