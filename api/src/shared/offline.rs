//! Offline processes: a process that cannot reach the holder logs into a store of its own, below the main store's inbox.
//!
//! ```text
//! STORE/                     the main store; may not be there yet
//!   artifacts/               files of offline runs too: they need not be moved
//!   inbox/ID/                the own store, whole: FORMAT, LOCK, log/ ...; ID 32 hex digits, random
//!     OFFLINE                whose it is: `open`, or `closed N`: in good order, at position N, nothing comes any more
//! ```
//!
//! Only one process ever writes to an own store, and nobody opens it for writing again. So everything published in it may
//! be merged, durable or not, even if that process was killed.
//!
//! `runlode merge STORE` copies what these stores have into the main one, any number of times, also while they grow.
//!
//! - The first write creates the own store. Until then, reads and searches use the main store, opened for reading, in a
//!   view that is at most [`VIEW_FOR`] old. After that they use the own store; what is asked for by id or name and is not
//!   there still comes from the main one.
//! - Writes only go to entities of the own store. Before a write to an experiment of the main store, the experiment is
//!   copied, with its id, its name and a tag that names the original; the merge finds it by that tag even if it was
//!   renamed meanwhile. Runs and models of the main store are not copied: changing them needs its holder, and so does
//!   every change of the registry.
//! - New experiments get random ids. If two stores create the same name, the first one merged keeps it, and the id of the
//!   other one becomes an alias.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fault::Fault;
use crate::engine::storage::disk::Disk;
use crate::engine::storage::lock::{LOCK_PATH, read_lock_text};
use crate::engine::storage::owner::settle_tree;
use crate::engine::storage::{OpenMode, Storage, write_all_at};
use crate::experiment::{SEQUENTIAL_END, experiment_of_alias, source_tag};
use crate::mlflow::{Mlflow, Settings};
use crate::random::random_bytes;
use crate::{
    Batch, Durability, Error, ExperimentId, ExperimentSpec, Lifecycle, LocalOptions, LocalStore, Lsn, Result, RunId,
};

/// Environment variable that sets for a whole process whether it is offline.
pub const OFFLINE_VARIABLE: &str = "RUNLODE_OFFLINE";
/// Folder of the own stores.
const INBOX_DIR: &str = "inbox";
/// File that marks an own store, and its clean close.
const MARK_NAME: &str = "OFFLINE";
/// Maximum length of that file.
const MARK_BYTES_MAX: u64 = 64;
/// Maximum age of a view of the main store.
const VIEW_FOR: Duration = Duration::from_secs(3);

/// File systems that several hosts may have mounted, where neither sockets nor mapped memory reach the other host:
/// magic numbers of statfs(2). FUSE and 9p are not among them: as often as not they are one host's (containers, virtual
/// machines), and there processes find each other; where not, [`OFFLINE_VARIABLE`] says so.
#[cfg(target_os = "linux")]
const NETWORK_FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x00c3_6400, "CephFS"),
    (0x5346_414f, "AFS"),
    (0xaad7_aaea, "PanFS"),
];

/// Whether a process is offline, as far as this is known before the store is opened: by its settings, its environment,
/// the file system. `None`: only if another host holds the store.
pub(super) fn decide(folder: &Path, wanted: Option<bool>) -> Result<Option<bool>> {
    if wanted.is_some() {
        return Ok(wanted);
    }
    match std::env::var(OFFLINE_VARIABLE).as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("") => {}
        Ok("1" | "true" | "True" | "TRUE") => return Ok(Some(true)),
        Ok("0" | "false" | "False" | "FALSE") => return Ok(Some(false)),
        other => {
            let given = other.unwrap_or("something that is no text");
            return Err(Error::invalid(OFFLINE_VARIABLE, format!("1 or 0, not {given}")));
        }
    }
    let there = folder.ancestors().find(|folder| folder.exists());
    Ok(there.is_some_and(|folder| network_file_system(folder).is_some()).then_some(true))
}

/// The network file system of a folder; `None` if it is on a disk.
#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    // On an error assume a disk: the open that follows reports what is wrong.
    let found = rustix::fs::statfs(folder).ok()?;
    named_file_system(found.f_type as u64 as u32)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_folder: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn named_file_system(magic: u32) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

/// The other host whose process took the lock last; also `None` if that cannot be read, because the open that follows
/// reports what is wrong. It does not tell whether the lock is still held.
pub(super) fn other_host(folder: &Path) -> Option<String> {
    let text = read_lock_text(&Disk::read_only(folder), LOCK_PATH).ok().flatten()?;
    let (_, host) = text.trim().split_once(" on ")?;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    (host != own.trim() && host != "this host" && !own.trim().is_empty()).then(|| host.to_owned())
}

/// The last position of an offline process's store that was closed cleanly. `None`: it was not, or is no such store; a
/// host whose locks are not visible here may still write to it.
///
/// ```
/// use runlode::shared::{closed_position, is_offline_store};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// assert!(!is_offline_store(&dir.path().join("exp")));
/// assert_eq!(closed_position(&dir.path().join("exp")), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn closed_position(store: &Path) -> Option<Lsn> {
    // The writer of the store may have put anything there: a pipe, a link, an endless file.
    let mark = crate::beneath::read_small(store, MARK_NAME, MARK_BYTES_MAX).ok()?;
    mark.trim().strip_prefix("closed ")?.parse().ok().map(Lsn)
}

/// Whether a store belongs to an offline process: see [`Source::to_published`](crate::sync::Source::to_published).
pub fn is_offline_store(store: &Path) -> bool {
    store.join(MARK_NAME).exists()
}

/// Writes the mark, completely or not at all.
fn write_mark(store: &Path, text: &str) -> Result<()> {
    let (disk, beside) = (Disk::new(store), "OFFLINE.tmp");
    let written = (|| {
        match disk.remove(beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(beside, OpenMode::CreateNew)?;
        write_all_at(&*file, text.as_bytes(), 0)?;
        file.sync_all()?;
        disk.rename(beside, MARK_NAME)
    })();
    written.map_err(|error| Error::io("write", store.join(MARK_NAME), error))
}

/// The own store of an offline process, and its view of the main one.
#[derive(Debug)]
pub(super) struct Offline {
    /// Folder of the main store.
    folder: PathBuf,
    how: LocalOptions,
    own: OnceLock<LocalStore>,
    /// Locked while the own store is made; true once everything is closed.
    closed: Mutex<bool>,
    view: Mutex<Option<View>>,
}

#[derive(Debug)]
struct View {
    opened: Instant,
    store: LocalStore,
}

impl Offline {
    /// `how`: settings of the main store.
    pub(super) fn new(how: LocalOptions) -> Self {
        let folder = how.path().to_path_buf();
        Self { folder, how, own: OnceLock::new(), closed: Mutex::new(false), view: Mutex::new(None) }
    }

    /// The own store; `None` if it was not made yet.
    pub(super) fn made(&self) -> Option<&LocalStore> {
        self.own.get()
    }

    /// The own store; made by the first call.
    pub(super) fn own(&self) -> Result<&LocalStore> {
        if let Some(store) = self.own.get() {
            return Ok(store);
        }
        let closed = self.closed.lock();
        if *closed {
            return Err(Error::Closed);
        }
        if let Some(store) = self.own.get() {
            return Ok(store);
        }
        let id: [u8; 16] = random_bytes()?;
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = self.folder.join(INBOX_DIR).join(name);
        let made = std::fs::create_dir_all(&folder).and_then(|()| settle_tree(&self.folder, &folder));
        made.map_err(|error| Error::io("create", &folder, error))?;
        let store = self.how.clone().at(&folder).create(true).random_experiment_ids(true).open()?;
        write_mark(&folder, "open\n")?;
        Ok(self.own.get_or_init(|| store))
    }

    /// The main store as it was at most [`VIEW_FOR`] ago. `None`: it does not exist yet.
    fn main(&self) -> Result<Option<LocalStore>> {
        let mut view = self.view.lock();
        if let Some(view) = &*view
            && view.opened.elapsed() < VIEW_FOR
        {
            return Ok(Some(view.store.clone()));
        }
        // Drop it before the next one is opened: one in memory is enough.
        *view = None;
        if !self.folder.join("FORMAT").exists() {
            return Ok(None);
        }
        let opened = Instant::now();
        let store = self.how.clone().create(false).read_only(true).whole_log(true).background(false).open()?;
        // Callers of these calls would not learn that a part is missing, and take the rest for all.
        store.engine().check_complete(Lsn::MAX)?;
        *view = Some(View { opened, store: store.clone() });
        Ok(Some(store))
    }

    /// MLflow's calls on the main store.
    fn main_calls(&self, settings: &Settings) -> Result<Option<Mlflow>> {
        Ok(self.main()?.map(|store| Mlflow::new(store, settings.clone())))
    }

    fn own_calls(&self, settings: &Settings) -> Result<Mlflow> {
        Ok(Mlflow::new(self.own()?.clone(), settings.clone()))
    }

    /// Reads from the own store, or from the main one if it is not found there.
    pub(super) fn read<T, E: Fault>(
        &self,
        settings: &Settings,
        call: impl Fn(&Mlflow) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(own) = self.made() else { return self.read_main(settings, call) };
        match call(&Mlflow::new(own.clone(), settings.clone())) {
            Err(error) if error.is_absent() => match self.main_calls(settings)? {
                Some(main) => call(&main),
                None => Err(error),
            },
            result => result,
        }
    }

    /// Reads of a run, from the store that has it.
    pub(super) fn read_run<T, E: Fault>(
        &self,
        settings: &Settings,
        run: Option<RunId>,
        call: impl Fn(&Mlflow) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(own) = self.made()
            && let Some(id) = run
            && own.snapshot()?.run(id)?.is_some()
        {
            return call(&Mlflow::new(own.clone(), settings.clone()));
        }
        self.read_main(settings, call)
    }

    /// Reads from the main store, if there is one.
    pub(super) fn read_main<T, E: Fault>(
        &self,
        settings: &Settings,
        call: impl Fn(&Mlflow) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.main_calls(settings)? {
            Some(main) => call(&main),
            None => call(&self.own_calls(settings)?),
        }
    }

    /// The id in the own store of an experiment about to be written to; one of the main store is copied. An unknown id
    /// is returned unchanged, and the call reports it.
    pub(super) fn adopt(&self, text: &str) -> Result<String> {
        match text.parse().ok().map(ExperimentId) {
            Some(id) => self.adopt_id(id).map(|id| id.to_string()),
            None => Ok(text.to_owned()),
        }
    }

    /// As [`Offline::adopt`].
    pub(super) fn adopt_id(&self, given: ExperimentId) -> Result<ExperimentId> {
        let as_it_is = || Ok(given);
        let id = given;
        if self.own()?.snapshot()?.experiment(id)?.is_some() {
            return as_it_is();
        }
        let Some(main) = self.main()? else { return as_it_is() };
        let snapshot = main.snapshot()?;
        let known = snapshot.experiment(id)?.is_some() || id.0 < SEQUENTIAL_END;
        let id = if known { id } else { experiment_of_alias(&snapshot, id)?.unwrap_or(id) };
        let Some(state) = snapshot.experiment(id)? else { return as_it_is() };
        if state.lifecycle != Lifecycle::Active {
            return Err(Error::Deleted { entity: crate::EntityKind::Experiment, id: given.to_string() });
        }
        self.copy(&main, id, &state.name, state.artifact_location.clone())
    }

    /// As [`Offline::adopt`], by name. Returns whether the main store has it deleted. If the main store cannot be read
    /// just now, the experiment counts as missing: the merge joins equal names.
    pub(super) fn adopt_name(&self, name: &str) -> Result<bool> {
        if self.own()?.snapshot()?.experiment_by_name(name)?.is_some() {
            return Ok(false);
        }
        let Ok(Some(main)) = self.main() else { return Ok(false) };
        let Ok(Some((id, state))) = main.snapshot().and_then(|snapshot| snapshot.experiment_by_name(name)) else {
            return Ok(false);
        };
        if state.lifecycle != Lifecycle::Active {
            return Ok(true);
        }
        self.copy(&main, id, name, state.artifact_location.clone())?;
        Ok(false)
    }

    /// Copies an experiment of the main store. Returns its id in the own one, where its name or id may be in use.
    fn copy(&self, main: &LocalStore, id: ExperimentId, name: &str, location: Option<String>) -> Result<ExperimentId> {
        let own = self.own()?;
        loop {
            let snapshot = own.snapshot()?;
            if snapshot.experiment(id)?.is_some() {
                return Ok(id);
            }
            if let Some((id, _)) = snapshot.experiment_by_name(name)? {
                return Ok(id);
            }
            let mut spec = ExperimentSpec::named(name).tag(source_tag(main.engine().id()), id.to_string());
            if let Some(location) = &location {
                spec = spec.artifact_location(location);
            }
            match own.append(Batch::new().event(spec.into_event(id, own.now())), Durability::Sync) {
                Ok(_) => return Ok(id),
                // Another thread was faster: look it up again.
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds to a not-found error that the entity may be in the main store.
    pub(super) fn explained<E: Fault>(&self, error: E) -> E {
        if error.is_absent() {
            return error.with_more(&format!(
                " in the store of this process, which is offline: what others logged to {} is changed only through the \
                 process that holds it",
                self.folder.display()
            ));
        }
        error
    }

    /// The error for writes to the registry.
    pub(super) fn registry_refused(&self) -> Error {
        let why = format!(
            "the model registry cannot be changed offline: run `runlode merge {}`, then register from a process that is \
             not offline",
            self.folder.display()
        );
        Error::Unsupported { why }
    }

    /// Closes the own store cleanly, and records that.
    pub(super) fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock();
        if std::mem::replace(&mut *closed, true) {
            return Ok(());
        }
        *self.view.lock() = None;
        let Some(store) = self.own.get() else { return Ok(()) };
        store.flush()?;
        let position = store.positions().published;
        store.clone().close()?;
        write_mark(store.path(), &format!("closed {}\n", position.0))
    }
}

#[cfg(test)]
mod tests;
