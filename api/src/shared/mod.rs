//! A store shared by several processes: one holds it, the others are its clients; callers see one handle.
//!
//! ```text
//!   Store (typed calls)      MlflowCalls      Logger (points)
//!            \                   |               /
//!             v                  v              v
//!   Shared: holder   LocalStore                        LOCK is ours; merges inboxes, answers on STORE/sock
//!           client   decisions and reads: the holder   over STORE/sock
//!                    points: inbox/WRITER              no round trip
//!           offline  LocalStore                        a store of its own, inbox/ID: no holder is in reach
//! ```
//!
//! With every call a process may change between the first two roles: when a holder is gone, one of its clients takes
//! over.
//!
//! - `node`: the store in this process, and how it is settled who holds it; `seat`: one handle in one process.
//! - `holder` serves; `client` knows runs and has the inbox. `calls` is the table of MLflow's calls (with `hidden`
//!   and `mlflow_calls`), `typed` that of typed ones; their values go by `wire`, `protocol` and `socket`, their
//!   errors by `fault`; by `request` a holder knows what is asked twice, and `again` and `typed_again` answer it.
//! - `offline`: the store of a process that can reach no holder. `follower` reads a log as it grows, whoever holds it.
//! - A forked child reopens the store by itself, at its first call: `per_process`.

mod again;
mod caller;
mod calls;
mod client;
mod fault;
mod follower;
mod hidden;
mod holder;
mod logger;
mod mlflow_calls;
mod node;
mod offline;
mod parts;
mod per_process;
mod protocol;
pub(crate) mod raw;
mod raw_bytes;
#[cfg(test)]
mod repeat_tests;
mod request;
mod seat;
mod socket;
#[cfg(test)]
mod tests;
mod typed;
mod typed_again;
mod wire;
mod wire_native;
mod wire_typed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use calls::MlflowCalls;
pub use follower::Follower;
pub(crate) use logger::FixedRow;
pub use logger::{Logger, RowLogger};
pub use offline::{OFFLINE_VARIABLE, closed_position, is_offline_store};
pub(crate) use typed::{Asks, RunsSearch};

use crate::engine::storage::disk::Disk;
use crate::engine::storage::lock::{LOCK_PATH, holder_name};
use crate::engine::{InboxWriter, WriterId};
use crate::local::cached;
use crate::mlflow::{Process, Settings, working_directory};
use crate::{Cached, Durability, Error, LocalOptions, LocalStore, Result, RunId};
use node::{Node, Role};
use per_process::PerProcess;
use seat::Seat;

/// Options for opening a shared store.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    /// Durability of metric points if a call names none. Default: [`Durability::Buffered`].
    pub metric_durability: Option<Durability>,
    /// Root of default artifact locations: a URI or an absolute path. Default: `artifacts` below the store.
    pub artifact_root: Option<String>,
    /// Whether runs belong to other processes, as a server's do: then this process takes no leases of them. Default:
    /// no.
    pub serves_others: bool,
    /// Whether this process logs into a store of its own, which `runlode merge` merges later. Default: the variable
    /// [`OFFLINE_VARIABLE`] (1, 0); if unset, offline if the store is on a network file system, or another host holds
    /// it.
    pub offline: Option<bool>,
}

/// A store that other processes may have open too. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    how: LocalOptions,
    settings: Settings,
    /// `None`: offline only if another host holds the store.
    offline: Option<bool>,
    serves_others: bool,
    seat: PerProcess<Seat>,
}

/// The current role of a process at a store.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let status = store.status()?;
/// assert!(status.holds && !status.offline);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The store's folder, absolute.
    pub folder: PathBuf,
    /// Whether this process holds the store.
    pub holds: bool,
    /// The process that holds it, as far as this one knows.
    pub holder_pid: Option<u32>,
    /// Number of connections that this process serves, as holder.
    pub connections_count: usize,
    /// Whether other processes can reach this one, as holder. Some file systems have no sockets.
    pub serving: bool,
    /// Why other processes cannot reach it.
    pub serving_problem: Option<String>,
    /// The inbox of this process, if it is a client that has logged points.
    pub writer: Option<WriterId>,
    /// Size of the inboxes of all processes, in bytes on disk.
    pub inbox_bytes: u64,
    /// Whether this process is offline.
    pub offline: bool,
    /// The own store into which it logs offline; `None` until the first write.
    pub own_store: Option<PathBuf>,
}

impl Shared {
    /// Opens a store, or creates it. A process has one seat at a store, however often it opens it.
    pub(crate) fn open(how: LocalOptions, options: &How) -> Result<Self> {
        let (how, settings, offline) = Self::prepare(how, options)?;
        let seat = PerProcess::new(Seat::open(how.clone(), settings.clone(), offline)?);
        let serves_others = options.serves_others;
        Ok(Self { inner: Arc::new(Inner { how, settings, offline, serves_others, seat }) })
    }

    /// Opens the store as if in another process: nothing is shared with the store that this process has open.
    pub(crate) fn open_apart(how: LocalOptions, options: &How) -> Result<Self> {
        let (how, settings, offline) = Self::prepare(how, options)?;
        let seat = PerProcess::new(Seat::on(Node::apart(how.clone(), offline)?, settings.clone())?);
        let serves_others = options.serves_others;
        Ok(Self { inner: Arc::new(Inner { how, settings, offline, serves_others, seat }) })
    }

    /// An engine that this process opened, for this process alone: other processes do not reach it.
    pub(crate) fn alone(store: LocalStore, settings: Settings) -> Self {
        let how = LocalStore::options(store.path()).create(false);
        let seat = PerProcess::new(Seat::at(Node::alone(store), settings.clone()));
        let inner = Inner { how, settings, offline: Some(false), serves_others: true, seat };
        Self { inner: Arc::new(inner) }
    }

    /// Another handle of this process on the same store, through which it answers its own clients.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub(crate) fn serving(&self, settings: Settings) -> Result<Self> {
        let seat = PerProcess::new(Seat::at(self.seat()?.node.enter(), settings.clone()));
        let (how, offline) = (self.inner.how.clone(), self.inner.offline);
        Ok(Self { inner: Arc::new(Inner { how, settings, offline, serves_others: true, seat }) })
    }

    /// Opens a store for reading in this process. If another process holds it, that one is asked to bring index and
    /// files up to date first.
    pub(crate) fn open_to_read(how: LocalOptions) -> Result<LocalStore> {
        Self::settle_for_reader(&how);
        how.create(false).read_only(true).open()
    }

    /// As [`Shared::open_to_read`]; a store without an index is read by the one that the folder keeps.
    pub(crate) fn open_to_read_cached(how: LocalOptions, cache: &Path) -> Result<(LocalStore, Cached)> {
        Self::settle_for_reader(&how);
        cached::open(how, cache)
    }

    fn settle_for_reader(how: &LocalOptions) {
        if how.path().join("sock").exists() {
            // Without its help the reader replays more.
            let _unhelped = client::settle_for_reader(how.path());
        }
    }

    /// Whether calls are made for clients of this process.
    pub(crate) fn serves_others(&self) -> bool {
        self.inner.serves_others
    }

    fn prepare(how: LocalOptions, options: &How) -> Result<(LocalOptions, Settings, Option<bool>)> {
        if how.is_read_only() {
            let why = "only `LocalStore` opens a store to read it while others change it: use `LocalStore::options`";
            return Err(Error::invalid("read_only", why));
        }
        let folder = std::path::absolute(how.path()).map_err(|error| Error::io("find", how.path(), error))?;
        let mut settings = Settings::in_folder(&folder);
        if let Some(root) = &options.artifact_root {
            settings = Settings::with_root(root, working_directory());
        }
        if !options.serves_others {
            settings.process = Process::current();
        }
        settings.author = how.author_used().map(str::to_owned);
        if let Some(durability) = options.metric_durability {
            settings.metric_durability = durability;
        }
        let offline = offline::decide(&folder, options.offline)?;
        Ok((how.at(&folder), settings, offline))
    }

    /// As [`Shared::open`], for a process that must be the holder, as a server must.
    pub(crate) fn hold(how: LocalOptions, options: &How) -> Result<Self> {
        let options = How { offline: Some(false), ..options.clone() };
        let shared = Self::open(how, &options)?;
        if shared.holds()? {
            return Ok(shared);
        }
        let node = &shared.seat()?.node;
        let folder = node.folder.clone();
        let holder = holder_name(&Disk::read_only(&folder), LOCK_PATH);
        Err(Error::Locked { path: folder, holder })
    }

    /// The seat of this process. A forked child makes its own at its first call.
    #[inline]
    fn seat(&self) -> Result<&Seat> {
        let inner = &*self.inner;
        inner.seat.get(|_| Seat::open(inner.how.clone(), inner.settings.clone(), inner.offline))
    }

    /// Whether this process currently holds the store.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub(crate) fn holds(&self) -> Result<bool> {
        Ok(matches!(&*self.seat()?.node.role.read(), Role::Holder(_)))
    }

    /// The store itself, in the process that holds it. Points acknowledged to other processes are merged before each of
    /// its snapshots.
    pub(crate) fn local(&self) -> Result<LocalStore> {
        let node = &self.seat()?.node;
        match &*node.role.read() {
            Role::Holder(holder) => Ok(holder.store.clone()),
            Role::Client(client) => {
                let holder = format!("process {}", client.holder_pid());
                Err(Error::Locked { path: node.folder.clone(), holder })
            }
            Role::Offline(_) => Err(Error::Unsupported {
                why: format!(
                    "this process is offline: it logs into a store of its own, and {} is another one's; run `runlode \
                     merge` there first, or read it with `LocalStore::options(path).read_only(true)`",
                    node.folder.display()
                ),
            }),
            Role::Unsettled | Role::Closed => Err(Error::Closed),
        }
    }

    /// The store's folder.
    pub(crate) fn path(&self) -> &Path {
        self.inner.how.path()
    }

    /// Settings of this handle.
    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The current role of this process at the store.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    pub(crate) fn status(&self) -> Result<Status> {
        let node = &self.seat()?.node;
        let mut status = Status {
            folder: node.folder.clone(),
            holds: false,
            holder_pid: None,
            connections_count: 0,
            serving: false,
            serving_problem: None,
            writer: None,
            inbox_bytes: bytes_below(&node.folder.join("inbox")),
            offline: false,
            own_store: None,
        };
        match &*node.role.read() {
            Role::Holder(holder) => {
                status.holds = true;
                status.holder_pid = Some(std::process::id());
                status.connections_count = holder.connections_count();
                status.serving_problem = holder.serving_problem().map(str::to_owned);
                status.serving = status.serving_problem.is_none();
            }
            Role::Client(client) => {
                status.holder_pid = Some(client.holder_pid());
                status.writer = client.made_inbox().map(InboxWriter::id);
            }
            Role::Offline(offline) => {
                status.offline = true;
                status.own_store = offline.made().map(|store| store.path().to_path_buf());
            }
            Role::Unsettled | Role::Closed => {}
        }
        Ok(status)
    }

    /// Logs into the inbox. `None`: this process is not a client, or just stopped being one: check its role again.
    #[inline]
    fn with_inbox<T>(
        &self,
        seat: &Seat,
        run: RunId,
        log: impl Fn(RunId, &InboxWriter) -> Result<T>,
    ) -> Result<Option<T>> {
        if let Role::Client(client) = &*seat.node.role.read()
            && client.knows(run)?
        {
            return match client.inbox().and_then(|inbox| log(run, inbox)) {
                Ok(logged) => Ok(Some(logged)),
                Err(Error::Closed) => Ok(None),
                Err(error) => Err(error),
            };
        }
        self.ask_for_run(seat, run)?;
        Ok(None)
    }

    /// Asks the holder whether points may be logged to a run, and remembers the answer.
    #[cold]
    fn ask_for_run(&self, seat: &Seat, run: RunId) -> Result<()> {
        let epoch = match &*seat.node.role.read() {
            Role::Client(client) => client.epoch()?,
            _ => return Ok(()),
        };
        Asks::check_run(self, run)?;
        if let Role::Client(client) = &*seat.node.role.read() {
            client.note_known(run, epoch);
        }
        Ok(())
    }

    /// Waits until everything that this process logged would survive a power cut.
    ///
    /// # Errors
    /// A write or sync failed.
    pub(crate) fn flush(&self) -> Result<()> {
        match &*self.seat()?.node.role.read() {
            Role::Holder(holder) => holder.store.flush().map(drop),
            Role::Client(client) => client.made_inbox().map_or(Ok(()), InboxWriter::flush),
            Role::Offline(offline) => offline.made().map_or(Ok(()), |store| store.flush().map(drop)),
            Role::Unsettled | Role::Closed => Err(Error::Closed),
        }
    }

    /// Closes this handle cleanly; closing the last one of a process passes the store to another process. Clones of
    /// this handle, its loggers, and other handles of the process keep the seat open.
    ///
    /// # Errors
    /// The last writes did not reach the disk.
    pub(crate) fn close(self) -> Result<()> {
        if Arc::strong_count(&self.inner) > 1 {
            return self.flush();
        }
        let Some(mut inner) = Arc::into_inner(self.inner) else { return Ok(()) };
        inner.seat.take().map_or(Ok(()), |seat| seat.leave())
    }

    /// Closes this handle's seat, even if other handles use it.
    #[cfg(test)]
    pub(crate) fn close_seat(&self) -> Result<()> {
        self.seat()?.leave()
    }

    /// Closes every store that this process has open, even if there are other handles: those answer that it is closed.
    /// For the end of a process that cannot wait for its handles to be dropped.
    ///
    /// # Errors
    /// The first error of the closes; all are tried.
    pub(crate) fn close_all() -> Result<()> {
        let mut result = Ok(());
        for node in Node::all() {
            let closed = node.close();
            if result.is_ok() {
                result = closed;
            }
        }
        result
    }
}

/// Bytes on disk of the files below a folder; 0 if there is none. Files of inboxes come and go meanwhile: a file that
/// cannot be read counts as 0.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |found| found.blocks() * 512),
    });
    sizes.sum()
}
