//! A process that does not hold the store: its inbox for points, and its knowledge of the runs that it logs to.
//!
//! On the first use of a run it asks the holder: does the run exist, may it be logged to? After that it only reads the
//! epoch in LOCK, which changes with every delete, restore and purge. So points need no round trip, and no holder that
//! is present or awake. Points logged to a run that has just been deleted are kept with it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;

use super::fault::Fault;
use super::protocol::{ClientId, Hello, Kind, Welcome, finish_frame, new_request, read_answer, read_frame};
use super::socket::{self, Connection};
use super::typed;
use super::wire::Take;
use crate::engine::storage::disk::Disk;
use crate::engine::storage::lock::LockEpoch;
use crate::engine::{InboxWriter, StoreId};
use crate::{Clock, Error, Result, RunId};

/// How long a holder may take to answer that it is awake.
const AWAKE_WAIT: Duration = Duration::from_secs(1);
/// How long that answer is trusted.
const AWAKE_LASTS: Duration = Duration::from_secs(1);
const ASLEEP_LASTS: Duration = Duration::from_secs(10);
/// The longest that points wait for a holder that is awake but does not empty inboxes.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// Questions closer together than this belong to one wait.
const SAME_WAIT: Duration = Duration::from_millis(500);

/// Number of runs remembered; for others the holder is asked again.
const RUNS_MAX: usize = 65_536;

/// This process as a client. It stays the same when the holder changes, until this process itself takes over.
pub(super) struct Client {
    folder: PathBuf,
    store: StoreId,
    holder: AtomicU32,
    clock: Arc<dyn Clock>,
    epoch: LockEpoch,
    known: RwLock<Known>,
    inbox: OnceLock<InboxWriter>,
    /// Locked while the inbox is made or closed.
    inbox_change: Mutex<()>,
    finished: AtomicBool,
    /// Whether some process holds the store and can empty inboxes.
    held: Arc<AtomicBool>,
    id: ClientId,
}

#[derive(Default)]
struct Known {
    epoch: u64,
    runs: FxHashSet<RunId>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("holder", &self.holder).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(folder: &Path, id: ClientId, welcome: Welcome, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self {
            folder: folder.to_path_buf(),
            store: welcome.store,
            holder: AtomicU32::new(welcome.pid),
            clock,
            epoch: LockEpoch::open(&Disk::new(folder))?,
            known: RwLock::default(),
            inbox: OnceLock::new(),
            inbox_change: Mutex::new(()),
            finished: AtomicBool::new(false),
            held: Arc::new(AtomicBool::new(true)),
            id,
        })
    }

    pub(super) fn store(&self) -> StoreId {
        self.store
    }

    pub(super) fn holder_pid(&self) -> u32 {
        self.holder.load(Ordering::Relaxed)
    }

    /// Records that another process holds the store now.
    pub(super) fn set_holder(&self, welcome: Welcome) {
        self.holder.store(welcome.pid, Ordering::Relaxed);
        self.held.store(true, Ordering::Relaxed);
    }

    /// Records that the holder is gone.
    pub(super) fn note_no_holder(&self) {
        self.held.store(false, Ordering::Relaxed);
    }

    /// The current epoch in LOCK.
    #[inline]
    pub(super) fn epoch(&self) -> Result<u64> {
        self.epoch.now().map_err(|error| Error::io("read", self.folder.join("LOCK"), error))
    }

    /// Whether a run is known to accept points.
    #[inline]
    pub(super) fn knows(&self, run: RunId) -> Result<bool> {
        let epoch = self.epoch()?;
        let known = self.known.read();
        Ok(known.epoch == epoch && known.runs.contains(&run))
    }

    /// Records that the holder said a run accepts points; `epoch` was read before it was asked.
    pub(super) fn note_known(&self, run: RunId, epoch: u64) {
        let mut known = self.known.write();
        if known.epoch != epoch || known.runs.len() >= RUNS_MAX {
            known.runs.clear();
            known.epoch = epoch;
        }
        known.runs.insert(run);
    }

    /// The inbox, made at the first point. `Closed`: this process holds the store by now.
    #[inline]
    pub(super) fn inbox(&self) -> Result<&InboxWriter> {
        match self.inbox.get() {
            Some(inbox) => Ok(inbox),
            None => self.make_inbox(),
        }
    }

    #[cold]
    fn make_inbox(&self) -> Result<&InboxWriter> {
        let _change = self.inbox_change.lock();
        if self.finished.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        if let Some(inbox) = self.inbox.get() {
            return Ok(inbox);
        }
        let inbox = InboxWriter::create(&self.folder, self.store, self.clock.clone())?;
        let patience = Patience {
            held: self.held.clone(),
            folder: self.folder.clone(),
            id: self.id,
            state: Mutex::new(Waiting::default()),
        };
        inbox.set_patience(Arc::new(move || patience.is_worth_it()));
        Ok(self.inbox.get_or_init(|| inbox))
    }

    /// The inbox; `None` if no points were logged.
    pub(super) fn made_inbox(&self) -> Option<&InboxWriter> {
        self.inbox.get()
    }

    /// Makes the inbox durable if anything was logged since the last time. A holder that is awake does so by merging
    /// it; a stopped one does not, and without a holder nobody else would.
    pub(super) fn sync_inbox(&self) {
        if let Some(inbox) = self.inbox.get() {
            // A failed sync poisons the inbox, and the next point gets the error; a closed inbox was synced by its
            // close.
            let _ = inbox.flush();
        }
    }

    /// Ends the inbox: later points in it are refused with `Closed`.
    pub(super) fn finish(&self) -> Result<()> {
        let _change = self.inbox_change.lock();
        if self.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.inbox.get().map_or(Ok(()), InboxWriter::close_now)
    }
}

/// A connection to the holder after the greeting. The inner error is a refusal.
pub(super) fn greet(
    folder: &Path,
    hello: &Hello,
    timeout: Duration,
) -> io::Result<(Connection, Result<Welcome, String>)> {
    let connection = socket::connect(folder, timeout)?;
    hello.write(&mut &*connection)?;
    let welcome = Welcome::read(&mut &*connection)?;
    Ok((connection, welcome))
}

/// How long a reader waits for a holder before it reads without its help.
const READER_WAIT: Duration = Duration::from_secs(2);

/// Asks the process that holds a store, if there is one, to bring index and files up to date for a reader. One that does
/// not answer soon is left alone: the reader then replays more.
pub(super) fn settle_for_reader(folder: &Path) -> io::Result<()> {
    let Some(mut guest) = Guest::arrive(folder, READER_WAIT)? else { return Ok(()) };
    guest.exchange(typed::SETTLE_FOR_READERS, |_| {}).map(drop)
}

/// A reader at the process that holds a store. It asks, but has no part in the store: it has no inbox, and does not take
/// over when the holder goes.
#[derive(Debug)]
pub(super) struct Guest {
    connection: Connection,
    asked_count: u64,
}

impl Guest {
    /// Connects; `None` if the holder refuses. `wait` is the longest wait for each answer.
    pub(super) fn arrive(folder: &Path, wait: Duration) -> io::Result<Option<Self>> {
        let settings = crate::mlflow::Settings::with_root("", "/");
        let hello = Hello { kind: Kind::Calls, client: ClientId([0; 16]), settings };
        let (connection, welcome) = greet(folder, &hello, wait)?;
        Ok(welcome.is_ok().then_some(Self { connection, asked_count: 0 }))
    }

    /// Makes a call that only reads.
    ///
    /// # Errors
    /// The outer one: no answer came. Then this connection is of no use any more.
    pub(super) fn ask<T: for<'a> Take<'a>, E: Fault>(
        &mut self,
        call: u16,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<Result<T, E>> {
        self.exchange(call, put).map(|answer| read_answer(&answer))
    }

    fn exchange(&mut self, call: u16, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<Vec<u8>> {
        self.asked_count += 1;
        let mut request = new_request(self.asked_count, call);
        put(&mut request);
        finish_frame(&mut request)?;
        (&mut &*self.connection).write_all(&request)?;
        read_frame(&mut &*self.connection)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Whether the holder exists and is awake.
pub(super) fn is_awake(folder: &Path, id: ClientId) -> bool {
    let hello = Hello { kind: Kind::Watch, client: id, settings: crate::mlflow::Settings::with_root("", "/") };
    matches!(greet(folder, &hello, AWAKE_WAIT), Ok((_, Ok(_))))
}

/// Whether points that have filled their share of the disk wait for the holder to merge some: only while it is awake,
/// and only for a while. Filling the disk is better than stopping a training for a stopped holder.
struct Patience {
    held: Arc<AtomicBool>,
    folder: PathBuf,
    id: ClientId,
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    began: Option<Instant>,
    asked: Option<Instant>,
    /// The last result, and until when it is trusted.
    found: Option<(bool, Instant)>,
}

impl Patience {
    fn is_worth_it(&self) -> bool {
        if !self.held.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.asked.is_none_or(|asked| now.duration_since(asked) > SAME_WAIT) {
            state.began = Some(now);
        }
        let awake = match state.found {
            Some((found, until)) if now < until => found,
            _ => {
                let found = is_awake(&self.folder, self.id);
                let lasts = if found { AWAKE_LASTS } else { ASLEEP_LASTS };
                state.found = Some((found, Instant::now() + lasts));
                found
            }
        };
        state.asked = Some(Instant::now());
        awake && state.began.is_none_or(|began| now.duration_since(began) < DRAIN_WAIT)
    }
}
