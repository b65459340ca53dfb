//! The memory that requests share, and how they wait for it.
//!
//! ```text
//! a third    bodies as they arrive (crate::body)
//! a third    what calls build from bodies: a large one waits for its share, one larger than all of it gets it alone
//! a sixth    answers that are ready and not yet taken; without room they go to a file (crate::long)
//! a sixth    pieces of files and of such answers in transit: the more readers, the smaller the pieces
//! ```
//!
//! An answer whose size the client chooses takes its share of the memory for work while it is made; without room it is
//! refused, and one that is larger than twice that memory always.
//!
//! Small bodies and answers take no share: there are only as many of them as calls that run and connections that are
//! open. Only a few large reads run at a time, since each holds the data it works on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runlode::mlflow::{ApiError, ErrorCode, Waiting};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Minimum memory for requests: room for one body of the usual limit and for what is parsed from it.
const BYTES_MIN: u64 = 48 << 20;
/// Calls that may wait for the disk at a time: enough for one sync to serve many.
const SLOW_CALLS_MAX: usize = 64;
/// Large reads that may run at a time.
const READS_MAX: usize = 4;
/// Memory that a call may build from its body without a share.
const FREE_BYTES: usize = 64 << 10;
/// Unit of the memory for work.
const STEP_BYTES: usize = 4 << 10;
/// Most memory for the members of an object (`json::MEMBERS_MAX` of them) and the values made of them.
const MEMBERS_BYTES_MAX: usize = 12 << 20;
/// How long a call waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// A call with this much memory makes the server return freed memory to the system, at most once per interval.
const TRIM_AT_BYTES: usize = 1 << 20;
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// Smallest and largest piece of a file in transit.
const PIECE_BYTES: (usize, usize) = (16 << 10, 256 << 10);
/// Minimum of limits that depend on memory: a chunk of a sync with the largest batch.
const CHUNK_BYTES_MIN: usize = 66 << 20;
/// Memory of a connection for its head and its output buffer.
const CONNECTION_BYTES: u64 = 48 << 10;

/// The queue that a call waits in before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// The queue of calls that wait for the disk.
    Slow,
    /// The queue of large reads.
    Read,
}

/// The memory of requests.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: u64,
    work: Semaphore,
    work_steps: usize,
    slow: Semaphore,
    reads: Semaphore,
    /// Whether a read goes on without a share.
    overdrawn: AtomicBool,
    readers: Arc<AtomicUsize>,
    timeout: Duration,
    trimmed: Mutex<Option<Instant>>,
}

/// Permission for a call to run, with its share of memory, until this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    memory: &'a Memory,
    bytes: usize,
    work: Option<SemaphorePermit<'a>>,
    _turn: Option<SemaphorePermit<'a>>,
}

/// A reader that gets a file piece by piece.
#[derive(Debug)]
pub(crate) struct Reader {
    readers: Arc<AtomicUsize>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = bytes.max(BYTES_MIN);
        let work_steps = (bytes / 3) as usize / STEP_BYTES;
        Self {
            bytes,
            work: Semaphore::new(work_steps),
            work_steps,
            slow: Semaphore::new(SLOW_CALLS_MAX),
            reads: Semaphore::new(READS_MAX),
            overdrawn: AtomicBool::new(false),
            readers: Arc::default(),
            timeout: TURN_TIMEOUT,
            trimmed: Mutex::new(None),
        }
    }

    /// Memory for bodies.
    pub(crate) fn bodies_bytes(&self) -> usize {
        (self.bytes / 3) as usize
    }

    /// The limit for bodies that may be large. A sync never cuts a batch, so its chunks have a limit of their own.
    pub(crate) fn body_bytes_max(&self, bytes: usize) -> usize {
        let least = if bytes > CHUNK_BYTES_MIN { CHUNK_BYTES_MIN } else { 0 };
        bytes.min(self.bodies_bytes().max(least))
    }

    /// Memory for answers.
    pub(crate) fn answers_bytes(&self) -> usize {
        (self.bytes / 6) as usize
    }

    /// The limit for open connections.
    pub(crate) fn connections_max(&self, most: usize) -> usize {
        ((self.bytes / CONNECTION_BYTES) as usize).min(most)
    }

    /// Waits until a call with a body of this length may run.
    ///
    /// # Errors
    /// `TEMPORARILY_UNAVAILABLE` when its turn does not come.
    pub(crate) async fn turn(&self, body_bytes: usize, turn: Turn) -> Result<Running<'_>, ApiError> {
        // The text itself may be copied, and each member takes a place. For short members that is more than ten times
        // their length.
        let bytes = (12 * body_bytes).min(2 * body_bytes + MEMBERS_BYTES_MAX);
        let steps = if bytes > FREE_BYTES { bytes.div_ceil(STEP_BYTES).min(self.work_steps) } else { 0 };
        let acquired = async {
            let work = match u32::try_from(steps).unwrap_or(u32::MAX) {
                0 => None,
                // The semaphores are never closed.
                steps => self.work.acquire_many(steps).await.ok(),
            };
            let turn = match turn {
                Turn::None => None,
                Turn::Slow => self.slow.acquire().await.ok(),
                Turn::Read => self.reads.acquire().await.ok(),
            };
            (work, turn)
        };
        match tokio::time::timeout(self.timeout, acquired).await {
            Ok((work, turn)) => Ok(Running { memory: self, bytes, work, _turn: turn }),
            Err(_) => {
                let message = "Too many requests are in progress; send this one again later.";
                Err(ApiError::new(ErrorCode::TemporarilyUnavailable, message))
            }
        }
    }

    /// Changes what a read holds of the memory for work to `bytes`; `held` is what it has besides
    /// the share of its body. Never waits: the
    /// read already holds a part.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` while other calls hold the memory; `INVALID_PARAMETER_VALUE` for more than there is at all.
    fn hold(&self, held: &mut Held, of_body: usize, bytes: usize) -> Result<(), ApiError> {
        let most = 2 * self.work_steps * STEP_BYTES;
        if bytes > most {
            let message = format!(
                "The answer takes more than the {} MiB that this server has for one; ask for fewer rows, columns, curves or \
                 buckets at a time.",
                most >> 20
            );
            return Err(ApiError::invalid(message));
        }
        let steps = if bytes > FREE_BYTES { bytes.div_ceil(STEP_BYTES).min(self.work_steps) } else { 0 };
        let steps = steps.saturating_sub(of_body);
        if held.overdraws {
            return Ok(());
        }
        if steps < held.steps {
            self.work.add_permits(held.steps - steps);
        } else if let Some(more) = u32::try_from(steps - held.steps).ok().filter(|more| *more > 0) {
            match self.work.try_acquire_many(more) {
                Ok(permit) => permit.forget(),
                // One of them goes on all the same, or large ones that grow side by side would all be refused.
                Err(_) if !self.overdrawn.swap(true, Ordering::AcqRel) => {
                    held.overdraws = true;
                    return Ok(());
                }
                Err(_) => {
                    let message = "Other calls use the memory of this server; send this one again later.";
                    return Err(ApiError::new(ErrorCode::ResourceExhausted, message).with_status(429));
                }
            }
        }
        held.steps = steps;
        Ok(())
    }

    /// Registers a reader of a file, which determines the size of its pieces.
    pub(crate) fn reader(&self) -> Reader {
        let count = self.readers.fetch_add(1, Ordering::Relaxed) + 1;
        let (least, most) = PIECE_BYTES;
        Reader { readers: self.readers.clone(), bytes: ((self.bytes / 6) as usize / count).clamp(least, most) }
    }

    /// Whether to return freed memory to the system: after a call that used much, once in a while.
    fn wants_trim(&self) -> bool {
        let mut trimmed = self.trimmed.lock();
        let due = trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY);
        if due {
            *trimmed = Some(Instant::now());
        }
        due
    }
}

/// A read of a client that may go away, with its share of the memory for work, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reading<M: AsRef<Memory>> {
    memory: M,
    client: Arc<dyn Waiting>,
    /// Steps that the call has for its body: what is made of a body is small by the time that the answer is large.
    of_body: usize,
    held: Mutex<Held>,
}

/// What a read holds of the memory for work.
#[derive(Debug, Default)]
struct Held {
    steps: usize,
    /// Whether it is the one that goes on without a share.
    overdraws: bool,
}

impl<M: AsRef<Memory>> Reading<M> {
    pub(crate) fn new(memory: M, client: Arc<dyn Waiting>, of_body: usize) -> Self {
        Self { memory, client, of_body, held: Mutex::default() }
    }
}

impl<M: AsRef<Memory> + std::fmt::Debug + Send + Sync> Waiting for Reading<M> {
    fn is_waiting(&self) -> bool {
        self.client.is_waiting()
    }

    fn make_room(&self, bytes: usize) -> Result<(), ApiError> {
        self.memory.as_ref().hold(&mut self.held.lock(), self.of_body, bytes)
    }
}

impl<M: AsRef<Memory>> Drop for Reading<M> {
    fn drop(&mut self) {
        let (memory, held) = (self.memory.as_ref(), self.held.lock());
        memory.work.add_permits(held.steps);
        if held.overdraws {
            memory.overdrawn.store(false, Ordering::Release);
        }
    }
}

impl Reader {
    /// Bytes that it holds at a time.
    pub(crate) fn piece_bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Running<'_> {
    /// Steps of the memory for work that it has.
    pub(crate) fn steps(&self) -> usize {
        self.work.as_ref().map_or(0, SemaphorePermit::num_permits)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if (self.bytes >= TRIM_AT_BYTES) && self.memory.wants_trim() {
            runlode::engine::give_back_freed_memory();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_wait_for_one_another_and_small_ones_do_not() {
        let memory = Memory { timeout: Duration::from_millis(20), ..Memory::new(48 << 20) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let all = memory.turn(16 << 20, Turn::Slow).await.unwrap();
            assert!(memory.turn(1000, Turn::Slow).await.is_ok());
            let refused = memory.turn(1 << 20, Turn::Slow).await.unwrap_err();
            assert_eq!((refused.code, refused.status()), (ErrorCode::TemporarilyUnavailable, 503));
            drop(all);
            let one = memory.turn(512 << 10, Turn::Slow).await.unwrap();
            let another = memory.turn(512 << 10, Turn::Read).await.unwrap();
            drop((one, another));
        });
        assert_eq!(memory.work.available_permits(), memory.work_steps);
    }

    #[test]
    fn a_growing_answer_is_refused_where_there_is_no_room_and_gives_it_back() {
        #[derive(Debug)]
        struct Here;
        impl Waiting for Here {
            fn is_waiting(&self) -> bool {
                true
            }
        }
        struct Shared(Arc<Memory>);
        impl std::fmt::Debug for Shared {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Shared")
            }
        }
        impl AsRef<Memory> for Shared {
            fn as_ref(&self) -> &Memory {
                &self.0
            }
        }
        let memory = Arc::new(Memory::new(48 << 20));
        let reading = || Reading::new(Shared(memory.clone()), Arc::new(Here), 0);
        let (one, other, third) = (reading(), reading(), reading());
        one.make_room(10 << 20).unwrap();
        // One goes on without a share, and no second one.
        other.make_room(10 << 20).unwrap();
        let refused = third.make_room(10 << 20).unwrap_err();
        assert_eq!((refused.code, refused.status()), (ErrorCode::ResourceExhausted, 429));
        third.make_room(1000).unwrap();
        drop(other);
        // A second try holds what it needs now.
        one.make_room(2 << 20).unwrap();
        third.make_room(10 << 20).unwrap();
        assert_eq!(third.make_room(40 << 20).unwrap_err().code, ErrorCode::InvalidParameterValue);
        drop(one);
        third.make_room(30 << 20).unwrap();
        drop(third);
        assert!(!memory.overdrawn.load(Ordering::Acquire));
        assert_eq!(memory.work.available_permits(), memory.work_steps);
    }

    #[test]
    fn pieces_shrink_with_their_number() {
        let memory = Memory::new(96 << 20);
        let readers: Vec<Reader> = (0..1024).map(|_| memory.reader()).collect();
        assert_eq!(readers[0].piece_bytes(), 256 << 10);
        assert_eq!(readers[1023].piece_bytes(), 16 << 10);
        drop(readers);
        assert_eq!(memory.reader().piece_bytes(), 256 << 10);
    }
}
