//! The simulated disk as a [`Storage`]: its files, maps and locks.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::PAGE_BYTES;
use super::fault::{Call, Failure};
use super::state::{Change, Effect, Node};
use super::{Core, SimDisk, crash_error};
use crate::storage::lock::write_lock_text;
use crate::storage::{Entry, FileIdentity, Map, OpenMode, Storage, StorageFile, path_names};

impl SimDisk {
    fn handle(&self, file: usize, path: &str, writable: bool) -> Arc<SimFile> {
        Arc::new(SimFile { core: self.core.clone(), file, path: path.to_owned(), writable })
    }

    fn create(&self, path: &str) -> io::Result<Arc<SimFile>> {
        let mut core = self.core.lock();
        core.begin(Call::Create, path, [0; 2])?;
        let place = match core.place(path) {
            Ok(place) => place,
            Err(error) => return core.refuse(Call::Create, error),
        };
        if core.node(&place).is_some() {
            return core.refuse(Call::Create, io::ErrorKind::AlreadyExists.into());
        }
        if core.free_pages() == 0 {
            return core.refuse(Call::Create, Failure::Full.error());
        }
        let file = core.state.files.len();
        core.finish(Call::Create, &Effect::CreateFile(place));
        drop(core);
        Ok(self.handle(file, path, true))
    }
}

impl Storage for SimDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        if path.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name"));
        }
        path_names(path)?;
        if mode == OpenMode::CreateNew {
            return Ok(self.create(path)?);
        }
        let mut core = self.core.lock();
        core.begin(Call::Open, path, [0; 2])?;
        let file = core.file(path)?;
        drop(core);
        Ok(self.handle(file, path, mode == OpenMode::ReadWrite))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        path_names(from)?;
        path_names(to)?;
        let mut core = self.core.lock();
        core.begin(Call::Rename, to, [u64::from(crc32fast::hash(from.as_bytes())), 0])?;
        let places = (|| {
            core.file(from)?;
            let to = core.place(to)?;
            if matches!(core.node(&to), Some(Node::Dir(_))) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((core.place(from)?, to))
        })();
        match places {
            Ok((from, to)) if from == to => core.finish(Call::Rename, &Effect::Nothing),
            Ok((from, to)) => core.finish(Call::Rename, &Effect::Rename { from, to }),
            Err(error) => return core.refuse(Call::Rename, error),
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        path_names(path)?;
        let mut core = self.core.lock();
        core.begin(Call::Remove, path, [0; 2])?;
        match core.file(path).and_then(|_| core.place(path)) {
            Ok(place) => core.finish(Call::Remove, &Effect::Remove(place)),
            Err(error) => return core.refuse(Call::Remove, error),
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        path_names(dir)?;
        let mut core = self.core.lock();
        core.begin(Call::Remove, dir, [1, 0])?;
        let place = core.dir(dir).and_then(|number| match core.state.dirs[number].visible.is_empty() {
            true => core.place(dir),
            false => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        });
        match place {
            Ok(place) => core.finish(Call::Remove, &Effect::Remove(place)),
            Err(error) => return core.refuse(Call::Remove, error),
        }
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        path_names(dir)?;
        let mut core = self.core.lock();
        core.begin(Call::Look, dir, [0; 2])?;
        let dir = core.dir(dir)?;
        let entry =
            |(name, node): (&Arc<str>, &Node)| Entry { name: name.to_string(), is_dir: matches!(node, Node::Dir(_)) };
        Ok(core.state.dirs[dir].visible.iter().map(entry).collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let names = path_names(dir)?;
        let mut core = self.core.lock();
        if core.crashed {
            return Err(crash_error());
        }
        for count in 1..=names.len() {
            let path = names[..count].join("/");
            let place = core.place(&path)?;
            match core.node(&place) {
                Some(Node::Dir(_)) => continue,
                Some(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {}
            }
            core.begin(Call::CreateDir, &path, [0; 2])?;
            if core.free_pages() == 0 {
                return core.refuse(Call::CreateDir, Failure::Full.error());
            }
            core.finish(Call::CreateDir, &Effect::CreateDir(place));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        path_names(dir)?;
        let mut core = self.core.lock();
        if let Some(failure) = core.begin(Call::SyncDir, dir, [0; 2])? {
            return core.refuse(Call::SyncDir, failure.error());
        }
        match core.dir(dir) {
            Ok(_) if core.lie => core.note(Call::SyncDir, &Effect::Nothing),
            Ok(dir) => core.finish(Call::SyncDir, &Effect::SyncDir { dir }),
            Err(error) => return core.refuse(Call::SyncDir, error),
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let mut core = self.core.lock();
        core.begin(Call::Look, "", [0; 2])?;
        Ok(core.nature.space_bytes.map(|_| core.free_pages() * PAGE_BYTES as u64))
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        path_names(path)?;
        self.core.lock().begin(Call::Lock, path, [0; 2])?;
        let found = self.core.lock().file(path);
        let handle = match found {
            Ok(file) => self.handle(file, path, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path)?,
            Err(error) => return Err(error),
        };
        if !self.core.lock().locked.insert(handle.file) {
            return Ok(None);
        }
        let guard = SimLock { core: self.core.clone(), file: handle.file };
        match write_lock_text(&*handle, text) {
            // The text is for messages only, as on a real disk.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => Ok(Some(Box::new(guard))),
        }
    }

    fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        let mut core = self.core.lock();
        core.begin(Call::Look, path, [0; 2])?;
        let inode = core.file(path)? as u64 + 1;
        Ok(Some(FileIdentity { inode, made_ns: 0, mount: core.nature.mount }))
    }

    fn can_map_writes(&self) -> bool {
        self.core.lock().nature.maps
    }

    fn display_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("simulated:{path}"))
    }
}

/// A held lock; dropping it releases the lock.
struct SimLock {
    core: Arc<Mutex<Core>>,
    file: usize,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.core.lock().locked.remove(&self.file);
    }
}

/// One open file of a [`SimDisk`].
#[derive(Debug)]
struct SimFile {
    core: Arc<Mutex<Core>>,
    file: usize,
    path: String,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut core = self.core.lock();
        let effect = match core.begin(Call::Sync, &self.path, [0; 2])? {
            Some(Failure::LostSync { drop_pages }) => {
                let seed = core.rng.next();
                let lost = Effect::FailedSync { file: self.file, drop_pages, seed };
                core.finish(Call::Sync, &lost);
                return Err(Failure::Io.error());
            }
            _ if core.lie => Effect::Nothing,
            _ => Effect::Sync { file: self.file },
        };
        core.finish(Call::Sync, &effect);
        Ok(())
    }
}

impl StorageFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut core = self.core.lock();
        let failure = core.begin(Call::Read, &self.path, [offset, buf.len() as u64])?;
        let wanted = core.roughen(buf.len())?;
        let count = core.state.files[self.file].visible.read(offset, &mut buf[..wanted]);
        if failure == Some(Failure::WrongBit) && count > 0 {
            let bit = core.rng.below(count as u64 * 8);
            buf[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let mut core = self.core.lock();
        if core.crashed {
            return Err(crash_error());
        }
        if buf.is_empty() {
            return Ok(0);
        }
        let wanted = core.roughen(buf.len())?;
        let free_pages = core.free_pages();
        let fits = core.state.files[self.file].visible.bytes_that_fit(offset, wanted, free_pages);
        if fits == 0 {
            core.begin(Call::Write, &self.path, [offset, 0])?;
            return core.refuse(Call::Write, Failure::Full.error());
        }
        let change = Change::Write { offset, data: buf[..fits].into() };
        core.change(Call::Write, self.file, &self.path, change)?;
        Ok(fits)
    }

    fn len(&self) -> io::Result<u64> {
        let mut core = self.core.lock();
        core.begin(Call::Look, &self.path, [0; 2])?;
        Ok(core.state.files[self.file].visible.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.core.lock().change(Call::SetLen, self.file, &self.path, Change::SetLen(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut core = self.core.lock();
        let free_pages = core.free_pages();
        let wanted = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if !core.crashed && core.state.files[self.file].visible.bytes_that_fit(0, wanted, free_pages) < wanted {
            core.begin(Call::Allocate, &self.path, [len, 0])?;
            return core.refuse(Call::Allocate, Failure::Full.error());
        }
        core.change(Call::Allocate, self.file, &self.path, Change::Allocate(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn map(&self, len: u64, writable: bool) -> io::Result<Option<Arc<dyn Map>>> {
        if writable {
            self.check_writable()?;
        }
        let mut core = self.core.lock();
        core.begin(Call::Map, &self.path, [len, 0])?;
        if !core.nature.maps {
            return Ok(None);
        }
        if len > core.state.files[self.file].visible.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Arc::new(SimMap { core: self.core.clone(), file: self.file, path: self.path.clone(), len, writable })))
    }
}

/// A mapping of a file's first bytes.
#[derive(Debug)]
struct SimMap {
    core: Arc<Mutex<Core>>,
    file: usize,
    path: String,
    len: u64,
    writable: bool,
}

impl SimMap {
    fn check(&self, core: &Core, offset: u64, count: usize) {
        let end = offset.checked_add(count as u64).expect("an offset in a map");
        assert!(end <= self.len, "{count} bytes at {offset} are outside a map of {} bytes", self.len);
        let file_len = core.state.files[self.file].visible.len();
        assert!(end <= file_len, "SIGBUS: {} was cut to {file_len} bytes while mapped", self.path);
    }
}

impl Map for SimMap {
    fn len(&self) -> u64 {
        self.len
    }

    fn copy_at(&self, offset: u64, out: &mut [u8]) {
        let core = self.core.lock();
        self.check(&core, offset, out.len());
        core.state.files[self.file].visible.read(offset, out);
    }

    fn store_at(&self, offset: u64, bytes: &[u8]) {
        assert!(self.writable, "this map is read-only");
        let mut core = self.core.lock();
        if core.crashed || bytes.is_empty() {
            return;
        }
        self.check(&core, offset, bytes.len());
        let free_pages = core.free_pages();
        let fits = core.state.files[self.file].visible.bytes_that_fit(offset, bytes.len(), free_pages);
        assert!(fits == bytes.len(), "SIGBUS: a store into a hole of {} on a full disk", self.path);
        let change = Change::Write { offset, data: bytes.into() };
        // A store has no way to report a fault, so it never fails; the next call reports a crash.
        let _ = core.change(Call::Store, self.file, &self.path, change);
    }
}
