//! The processes of a model: so many at a time, each started again when it ends.
//!
//! ```text
//!            +-- slot 0 -- thread: start, publish, wait for the end, start again
//! predict -> +-- slot 1 -- ...
//!   the ready process with the fewest requests, of several the next in turn; without one the caller waits
//! ```
//!
//! - The first start of all processes is waited for: a model that cannot be loaded is an error of the start.
//! - A process that ended is started again at once. If that fails the next try comes after a pause that doubles.
//! - A request that a process had read is lost with it. One that it had not read goes to the next process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::process::{CallError, Launch, LoadError, Process};
use super::wire::{Part, Request};
use crate::engine::PredictError;

/// Pause after a failed start, and the longest one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long processes may take to end by themselves.
const END_WAIT: Duration = Duration::from_secs(6);

/// The processes of one model.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    launch: Launch,
    slots: Mutex<Vec<Slot>>,
    /// A slot changed, or all are to stop.
    changed: Condvar,
    restarts: AtomicUsize,
    /// The slot whose turn it is.
    turn: AtomicUsize,
    /// How long a caller waits for a process.
    ready_wait: Duration,
}

#[derive(Debug, Default)]
struct Slot {
    process: Option<Arc<Process>>,
    requests: usize,
    /// Why it has none.
    failure: Option<LoadError>,
    stops: bool,
}

impl Supervisor {
    /// Starts `count` processes, and waits until all have loaded the model.
    pub(super) fn start(launch: Launch, count: usize, ready_wait: Duration) -> Result<Self, LoadError> {
        let slots = (0..count.max(1)).map(|_| Slot::default()).collect();
        let shared = Arc::new(Shared {
            launch,
            slots: Mutex::new(slots),
            changed: Condvar::new(),
            restarts: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            ready_wait,
        });
        let this = Self { shared: shared.clone(), threads: Mutex::default() };
        for number in 0..count.max(1) {
            let shared = shared.clone();
            let thread = Builder::new().name(format!("model-{number}")).spawn(move || shared.keep(number));
            let thread = thread.map_err(|error| LoadError {
                reason: format!("cannot start a thread: {error}"),
                trace: String::new(),
            })?;
            this.threads.lock().push(thread);
        }
        let mut slots = shared.slots.lock();
        loop {
            if let Some(failure) = slots.iter().find_map(|slot| slot.failure.clone()) {
                return Err(failure);
            }
            if slots.iter().all(|slot| slot.process.is_some()) {
                break;
            }
            shared.changed.wait(&mut slots);
        }
        drop(slots);
        Ok(this)
    }

    /// Sends a request to a process and waits for its answer.
    pub(super) fn call(&self, request: &Request) -> Result<Vec<Part>, PredictError> {
        let until = Instant::now() + self.shared.ready_wait;
        loop {
            let (number, process) = self.shared.take(until)?;
            let answered = process.call(request);
            let mut slots = self.shared.slots.lock();
            slots[number].requests -= 1;
            match answered {
                Ok(parts) => return Ok(parts),
                Err(CallError::Lost(reason)) => return Err(PredictError::Lost { reason }),
                Err(CallError::Failed(error)) => return Err(PredictError::NotReady { reason: error.to_string() }),
                Err(CallError::Unsent) => {
                    // If it lives, it takes no requests any more. Its thread will see its end and start another one;
                    // until then nobody else should try it.
                    process.kill();
                    if slots[number].process.as_ref().is_some_and(|held| Arc::ptr_eq(held, &process)) {
                        slots[number].process = None;
                    }
                }
            }
        }
    }

    /// Process ids of the processes that are ready.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.shared.slots.lock().iter().filter_map(|slot| slot.process.as_ref()).map(|process| process.pid()).collect()
    }

    /// How many processes were started in the place of one that ended.
    pub(super) fn restarts(&self) -> usize {
        self.shared.restarts.load(Ordering::Relaxed)
    }
}

impl Drop for Supervisor {
    /// Ends all processes, and waits for them.
    fn drop(&mut self) {
        {
            let mut slots = self.shared.slots.lock();
            for slot in slots.iter_mut() {
                slot.stops = true;
                if let Some(process) = &slot.process {
                    process.stop();
                }
            }
            self.shared.changed.notify_all();
            let until = Instant::now() + END_WAIT;
            while slots.iter().any(|slot| slot.process.is_some()) {
                if self.shared.changed.wait_until(&mut slots, until).timed_out() {
                    slots.iter().filter_map(|slot| slot.process.as_ref()).for_each(|process| process.kill());
                    break;
                }
            }
        }
        // A thread that still waits for a model to load ends with the load.
        self.threads.lock().drain(..).filter(JoinHandle::is_finished).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    /// Keeps a process in a slot.
    fn keep(&self, number: usize) {
        let mut pause = PAUSE;
        loop {
            match self.launch.start() {
                Ok((process, child)) => {
                    pause = PAUSE;
                    if !self.publish(number, &process) {
                        process.stop();
                    }
                    process.watch(child);
                    self.change(number, |slot| slot.process = None);
                }
                Err(failure) => {
                    self.change(number, |slot| slot.failure = Some(failure));
                    let mut slots = self.slots.lock();
                    let until = Instant::now() + pause;
                    while !slots[number].stops && !self.changed.wait_until(&mut slots, until).timed_out() {}
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            if self.slots.lock()[number].stops {
                return;
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a process into its slot, unless all are to stop.
    fn publish(&self, number: usize, process: &Arc<Process>) -> bool {
        let mut slots = self.slots.lock();
        if !slots[number].stops {
            slots[number].process = Some(process.clone());
            slots[number].failure = None;
        }
        self.changed.notify_all();
        !slots[number].stops
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.lock();
        change(&mut slots[number]);
        self.changed.notify_all();
    }

    /// The ready process with the fewest requests, counted as one of them.
    fn take(&self, until: Instant) -> Result<(usize, Arc<Process>), PredictError> {
        let mut slots = self.slots.lock();
        let (count, turn) = (slots.len(), self.turn.fetch_add(1, Ordering::Relaxed));
        loop {
            let ready = slots
                .iter_mut()
                .enumerate()
                .filter(|(_, slot)| slot.process.as_ref().is_some_and(|process| !process.has_ended()) && !slot.stops);
            let by_turn = |number: usize| (number + count - turn % count) % count;
            if let Some((number, slot)) = ready.min_by_key(|(number, slot)| (slot.requests, by_turn(*number)))
                && let Some(process) = slot.process.clone()
            {
                slot.requests += 1;
                return Ok((number, process));
            }
            let not_ready = |slots: &[Slot]| {
                let failure = slots.iter().find_map(|slot| slot.failure.as_ref().map(|failure| failure.reason.clone()));
                let reason = failure.unwrap_or_else(|| "it is being started".to_owned());
                PredictError::NotReady { reason }
            };
            if slots.iter().any(|slot| slot.stops) {
                return Err(PredictError::NotReady { reason: "the server is stopping".to_owned() });
            }
            // A model that cannot be loaded any more will hardly be loadable within the wait.
            if slots.iter().all(|slot| slot.failure.is_some()) {
                return Err(not_ready(&slots));
            }
            if self.changed.wait_until(&mut slots, until).timed_out() {
                return Err(not_ready(&slots));
            }
        }
    }
}
