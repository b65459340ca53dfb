//! A store as one process has it open: once, however many handles there are; as its holder or as a client.
//!
//! ```text
//!             the lock is free                         the holder's connection ends, the lock is free
//!   unsettled -----------------> holder   client ----------------------------------------------------> holder
//!       \                                 ^    \
//!        `-- somebody serves on sock -----'     `-- somebody else was faster: the same client, another holder
//! ```
//!
//! A process that is offline is so from the beginning, and stays it: [`super::offline`].
//!
//! `settle` is the one place where this is decided: it takes the lock or finds who has it, again and again for at most
//! ten seconds. Every change gets a number, so that of many threads whose calls fail together one settles and the
//! others see that it is done. A thread of its own waits on a connection that carries nothing: its end is the news that
//! the holder has gone, also for a process that asks nothing. The same thread syncs this process's inbox.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::client::{self, Client};
use super::holder::Holder;
use super::offline::Offline;
use super::protocol::{ClientId, Hello, Kind, Welcome};
use super::socket::Connection;
use crate::engine::fork;
use crate::engine::storage::disk::Disk;
use crate::engine::storage::lock::{LOCK_PATH, holder_name};
use crate::mlflow::{Creations, Settings};
use crate::random::random_bytes;
use crate::{Error, LocalOptions, LocalStore, Result};

/// How long a decision waits for a process to hold the store and answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The first wait between two tries to settle; doubled up to the most.
const RETRY_AFTER: Duration = Duration::from_micros(500);
const RETRY_AFTER_MAX: Duration = Duration::from_millis(25);
/// A client syncs what it has logged at most this long after it was logged, as a holder does.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// How long a client that follows a holder tries at a time, between two syncs.
const FOLLOW_WAIT: Duration = Duration::from_secs(1);

/// Nodes of this process by device and inode; one list for each generation of processes, because a list may have been
/// locked during the fork.
static NODES: [Mutex<Vec<Entry>>; 64] = [const { Mutex::new(Vec::new()) }; 64];

struct Entry {
    folder: (u64, u64),
    offline: Option<bool>,
    node: Weak<Node>,
}

fn nodes() -> &'static Mutex<Vec<Entry>> {
    &NODES[(fork::generation() % NODES.len() as u64) as usize]
}

/// What this process is to the store.
#[derive(Debug)]
pub(super) enum Role {
    Unsettled,
    Holder(Arc<Holder>),
    Client(Arc<Client>),
    Offline(Arc<Offline>),
    Closed,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) folder: PathBuf,
    pub(super) role: RwLock<Role>,
    /// Changes with every settling.
    serial: AtomicU64,
    pub(super) creations: Creations,
    /// With the number of a request the idempotency key of what it asks for.
    pub(super) id: ClientId,
    requests: AtomicU64,
    how: LocalOptions,
    /// `None`: if another host holds the store.
    wants_offline: Option<bool>,
    /// Whether the role is `Offline`, or was.
    is_offline: AtomicBool,
    settling: Mutex<()>,
    watch: Mutex<Option<Arc<Connection>>>,
    /// Handles of this process; changed under the lock of the list of nodes.
    handles_count: AtomicUsize,
}

impl Node {
    /// The node of a store in this process, for a handle that is to [`Node::leave`] it; the folder is made if it is not there.
    pub(super) fn get(how: LocalOptions, offline: Option<bool>) -> Result<Arc<Self>> {
        let path = how.path().to_path_buf();
        if how.creates() {
            std::fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, error))?;
        }
        let absolute = std::path::absolute(&path).map_err(|error| Error::io("find", &path, error))?;
        let found = std::fs::metadata(&absolute).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound { entity: crate::EntityKind::Store, id: path.display().to_string() },
            _ => Error::io("open", &absolute, error),
        })?;
        let folder = (found.dev(), found.ino());
        let mut nodes = nodes().lock();
        nodes.retain(|entry| entry.node.strong_count() > 0);
        let is_it = |entry: &&Entry| entry.folder == folder && entry.offline == offline;
        if let Some(node) = nodes.iter().find(is_it).and_then(|entry| entry.node.upgrade())
            && node.handles_count.load(Ordering::Relaxed) > 0
            && !matches!(*node.role.read(), Role::Closed)
        {
            node.handles_count.fetch_add(1, Ordering::Relaxed);
            return Ok(node);
        }
        let node = Self::apart(how.at(&absolute), offline)?;
        nodes.retain(|entry| entry.folder != folder || entry.offline != offline);
        nodes.push(Entry { folder, offline, node: Arc::downgrade(&node) });
        Ok(node)
    }

    /// A node that nobody else is given; the path of `how` is absolute.
    pub(super) fn apart(how: LocalOptions, offline: Option<bool>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            folder: how.path().to_path_buf(),
            how,
            wants_offline: offline,
            is_offline: AtomicBool::new(false),
            role: RwLock::new(Role::Unsettled),
            serial: AtomicU64::new(0),
            creations: Creations::default(),
            id: ClientId(random_bytes()?),
            requests: AtomicU64::new(0),
            settling: Mutex::new(()),
            watch: Mutex::new(None),
            handles_count: AtomicUsize::new(1),
        }))
    }

    /// A node of an engine that this process opened itself; other processes do not reach it.
    pub(super) fn alone(store: LocalStore) -> Arc<Self> {
        let how = LocalStore::options(store.path());
        Arc::new(Self {
            folder: how.path().to_path_buf(),
            how,
            wants_offline: Some(false),
            is_offline: AtomicBool::new(false),
            role: RwLock::new(Role::Holder(Arc::new(Holder::alone(store)))),
            serial: AtomicU64::new(1),
            creations: Creations::default(),
            id: ClientId([0; 16]),
            requests: AtomicU64::new(0),
            settling: Mutex::new(()),
            watch: Mutex::new(None),
            handles_count: AtomicUsize::new(1),
        })
    }

    /// One more handle of this process.
    pub(super) fn enter(self: &Arc<Self>) -> Arc<Self> {
        let _nodes = nodes().lock();
        self.handles_count.fetch_add(1, Ordering::Relaxed);
        self.clone()
    }

    /// A handle has gone; with the last one the store is closed for this process.
    pub(super) fn leave(&self) -> Result<()> {
        let last = {
            let _nodes = nodes().lock();
            self.handles_count.fetch_sub(1, Ordering::Relaxed) == 1
        };
        if last { self.close() } else { Ok(()) }
    }

    /// Every store that this process has open.
    pub(super) fn all() -> Vec<Arc<Self>> {
        nodes().lock().iter().filter_map(|entry| entry.node.upgrade()).collect()
    }

    #[inline]
    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn is_offline(&self) -> bool {
        self.is_offline.load(Ordering::Acquire)
    }

    /// What this process has of the store, if it is offline.
    pub(super) fn offline(&self) -> Result<Option<Arc<Offline>>> {
        match &*self.role.read() {
            Role::Offline(offline) => Ok(Some(offline.clone())),
            Role::Closed => Err(Error::Closed),
            _ => Ok(None),
        }
    }

    fn go_offline(&self) -> Result<()> {
        if !self.how.creates() && !self.folder.join("FORMAT").exists() {
            return Err(Error::NotFound { entity: crate::EntityKind::Store, id: self.folder.display().to_string() });
        }
        self.is_offline.store(true, Ordering::Release);
        match self.set_role(Role::Offline(Arc::new(Offline::new(self.how.clone())))) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Closed),
        }
    }

    /// The number of a new request.
    pub(super) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Nobody answers.
    pub(super) fn no_answer(&self) -> Error {
        let holder = match &*self.role.read() {
            Role::Client(client) => format!("process {}", client.holder_pid()),
            _ => holder_name(&Disk::read_only(&self.folder), LOCK_PATH),
        };
        let why = format!(
            "{} is held by {holder}, which has not answered for {} s: let it go on, or end it; metric points of known \
             runs are logged meanwhile",
            self.folder.display(),
            PATIENCE.as_secs()
        );
        Error::Unavailable { why }
    }

    /// Becomes holder or client; does nothing if somebody settled since `stale` was read.
    ///
    /// # Errors
    /// `TEMPORARILY_UNAVAILABLE` when the deadline passes; what keeps the store from being opened at all.
    pub(super) fn settle(self: &Arc<Self>, stale: u64, deadline: Instant) -> Result<()> {
        let Some(_settling) = self.settling.try_lock_until(deadline) else { return Err(self.no_answer()) };
        if self.serial() != stale {
            return Ok(());
        }
        match &*self.role.read() {
            Role::Holder(_) | Role::Offline(_) => return Ok(()),
            Role::Closed => return Err(Error::Closed),
            Role::Unsettled | Role::Client(_) => {}
        }
        if self.wants_offline == Some(true) {
            return self.go_offline();
        }
        let mut wait = RETRY_AFTER;
        loop {
            if self.try_hold()? || self.try_join(deadline)? {
                return Ok(());
            }
            let is_new = match &*self.role.read() {
                Role::Client(client) => {
                    client.note_no_holder();
                    false
                }
                _ => true,
            };
            // Who is a client already waits: its runs are the holder's.
            if is_new && self.wants_offline.is_none() && super::offline::other_host(&self.folder).is_some() {
                return self.go_offline();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.no_answer());
            }
            // All whose holder has died try at the same moment.
            let jitter = u32::from(random_bytes::<1>()?[0]);
            std::thread::sleep((wait / 2 + wait * jitter / 255).min(left));
            wait = (wait * 2).min(RETRY_AFTER_MAX);
        }
    }

    /// Changes the role; the one before. `Err` gives it back: closed is closed.
    fn set_role(&self, role: Role) -> Result<Role, Role> {
        let mut place = self.role.write();
        if matches!(*place, Role::Closed) {
            return Err(role);
        }
        // Inside the lock: who reads role and number together reads a pair.
        self.serial.fetch_add(1, Ordering::AcqRel);
        Ok(std::mem::replace(&mut place, role))
    }

    /// Opens the store if nobody has it.
    fn try_hold(self: &Arc<Self>) -> Result<bool> {
        let store = match self.how.clone().open() {
            Ok(store) => store.merging_inboxes(),
            Err(Error::Locked { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let before = match self.set_role(Role::Holder(Arc::new(Holder::start(store.clone(), &self.folder)))) {
            Ok(before) => before,
            Err(refused) => {
                if let Role::Holder(holder) = refused {
                    holder.close()?;
                }
                return Err(Error::Closed);
            }
        };
        self.end_watch();
        if let Role::Client(client) = before {
            // Who is just logging into the inbox gets through, or is told to look again; then all of it comes over.
            client.finish()?;
            store.merge_inboxes()?;
        }
        Ok(true)
    }

    /// Becomes a client of whoever serves.
    fn try_join(self: &Arc<Self>, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Its settings do not matter: nothing is asked on it.
        let Some((watch, welcome)) = self.connect(Kind::Watch, Settings::with_root("", "/"), left)? else {
            return Ok(false);
        };
        let client = match &*self.role.read() {
            Role::Client(client) => {
                if client.store() != welcome.store {
                    let why = format!("{} is another store than it was", self.folder.display());
                    return Err(Error::Unsupported { why });
                }
                client.set_holder(welcome);
                client.clone()
            }
            _ => {
                let client = Client::new(&self.folder, self.id, welcome, self.how.clock_used());
                Arc::new(client.map_err(|error| Error::io("open", self.folder.join(LOCK_PATH), error))?)
            }
        };
        let logs = Arc::downgrade(&client);
        if self.set_role(Role::Client(client)).is_err() {
            return Err(Error::Closed);
        }
        self.watch(watch, logs)?;
        Ok(true)
    }

    /// A greeted connection to the holder. `None`: nobody answers there.
    pub(super) fn connect(
        &self,
        kind: Kind,
        settings: Settings,
        timeout: Duration,
    ) -> Result<Option<(Connection, Welcome)>> {
        let hello = Hello { kind, client: self.id, settings };
        match client::greet(&self.folder, &hello, timeout) {
            Ok((connection, Ok(welcome))) => Ok(Some((connection, welcome))),
            Ok((_, Err(why))) => Err(Error::Unsupported { why }),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let why = format!("what answers on the socket of {} is no Runlode", self.folder.display());
                Err(Error::Refused { why })
            }
            // What this process may not do, or has no descriptor or memory left for.
            Err(error) if error.kind() == ErrorKind::PermissionDenied || is_short_of_means(&error) => {
                Err(Error::io("connect to", self.folder.join("sock"), error))
            }
            // It has gone, or is going: who asks tries again, as long as there is time.
            Err(_) => Ok(None),
        }
    }

    /// Whether the holder is there and awake.
    pub(super) fn holder_answers(&self) -> bool {
        client::is_awake(&self.folder, self.id)
    }

    /// Waits on a connection for the holder's end, on a thread, and syncs what the client logs meanwhile.
    fn watch(self: &Arc<Self>, connection: Connection, client: Weak<Client>) -> Result<()> {
        let timeout = connection.set_read_timeout(Some(SYNC_EVERY));
        timeout.map_err(|error| Error::io("wait on", self.folder.join("sock"), error))?;
        let connection = Arc::new(connection);
        if let Some(before) = self.watch.lock().replace(connection.clone()) {
            // Here and below: one whose other side has gone is ended already.
            let _ = before.shutdown(Shutdown::Both);
        }
        let (node, serial) = (Arc::downgrade(self), self.serial());
        let wait = move || {
            // Nothing ever comes: the wait ends when the holder has gone, or the watch was ended.
            while let Err(error) = (&mut &**connection).read(&mut [0]) {
                match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => sync(&client),
                    ErrorKind::Interrupted => {}
                    _ => break,
                }
            }
            drop(connection);
            take_over(&node, serial, &client);
        };
        // Without the thread this process still sees the holder's end, at its next call.
        let _ = std::thread::Builder::new().name("runlode-watch".into()).stack_size(1 << 20).spawn(wait);
        Ok(())
    }

    fn end_watch(&self) {
        if let Some(watch) = self.watch.lock().take() {
            let _ = watch.shutdown(Shutdown::Both);
        }
    }

    /// Closes the store for this process in good order; handles that are left answer `Closed`.
    pub(super) fn close(&self) -> Result<()> {
        let Ok(before) = self.set_role(Role::Closed) else { return Ok(()) };
        self.end_watch();
        match before {
            Role::Holder(holder) => holder.close(),
            Role::Client(client) => client.finish(),
            Role::Offline(offline) => offline.close(),
            Role::Unsettled | Role::Closed => Ok(()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A child has none of this: it leaks what its parent had.
        let _ = self.close();
    }
}

/// Whether a call failed for something that this process lacks.
fn is_short_of_means(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

fn sync(client: &Weak<Client>) {
    if let Some(client) = client.upgrade() {
        client.sync_inbox();
    }
}

/// Follows a holder that has gone, for as long as this process has the store open.
fn take_over(node: &Weak<Node>, serial: u64, client: &Weak<Client>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        if matches!(*node.role.read(), Role::Closed) {
            return;
        }
        if node.serial() != serial || node.settle(serial, Instant::now() + FOLLOW_WAIT).is_ok() {
            return;
        }
        drop(node);
        sync(client);
        std::thread::sleep(SYNC_EVERY);
    }
}
