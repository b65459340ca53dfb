//! What one handle has in one process: the store as this process has it open, the handle's settings, its connections.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::caller::Caller;
use super::fault::Fault;
use super::holder;
use super::node::{Node, PATIENCE, Role};
use super::offline::Offline;
use super::parts::{own_answer, part_of};
use super::protocol::{Kind, Request, finish_frame, read_answer, read_frame};
use super::socket::Connection;
use super::wire::Take;
use crate::engine::varint::Bytes;
use crate::mlflow::{ApiError, ApiResult, Mlflow, Process, Settings};
use crate::{Error, LocalOptions, Result};

/// Connections kept for later calls; more are closed after use.
const IDLE_MAX: usize = 16;
/// How often a caller whose client may go away looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// The longest that an answer may take while the holder is awake.
const ANSWER_WAIT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) node: Arc<Node>,
    settings: Settings,
    /// The calls on the store while this process holds it, and of which settling that is known.
    mlflow: RwLock<Option<(u64, Option<Mlflow>)>>,
    /// Of which settling, and the connection.
    idle: Mutex<Vec<(u64, Connection)>>,
    left: AtomicBool,
}

/// Why no answer came.
enum Failure {
    /// The connection ended: it may have been done, or not.
    Lost,
    /// The holder does not answer.
    Silent,
    /// Nobody waits for the answer any more.
    Gone,
    /// The caller did not take a part of the answer.
    NotTaken(ApiError),
    Refused(Error),
}

impl Seat {
    /// Opens the store in this process.
    pub(super) fn open(how: LocalOptions, mut settings: Settings, offline: Option<bool>) -> Result<Self> {
        // A forked child is another process than the one that made the settings.
        settings.process = settings.process.and_then(|_| Process::current());
        Self::on(Node::get(how, offline)?, settings)
    }

    /// A handle on a node that is settled.
    pub(super) fn at(node: Arc<Node>, settings: Settings) -> Self {
        Self { node, settings, mlflow: RwLock::new(None), idle: Mutex::default(), left: AtomicBool::new(false) }
    }

    /// On a node.
    pub(super) fn on(node: Arc<Node>, settings: Settings) -> Result<Self> {
        let seat = Self::at(node, settings);
        seat.node.settle(0, Instant::now() + PATIENCE)?;
        Ok(seat)
    }

    /// This handle's end; with the process's last one the store is closed in good order.
    pub(super) fn leave(&self) -> Result<()> {
        if self.left.swap(true, Ordering::Relaxed) { Ok(()) } else { self.node.leave() }
    }

    /// How this handle looks at the store.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What this process has of the store, if it is offline.
    #[inline]
    pub(super) fn offline(&self) -> Result<Option<Arc<Offline>>> {
        if self.node.is_offline() { self.node.offline() } else { Ok(None) }
    }

    /// What a call on the own store of an offline process was refused for.
    #[cold]
    pub(super) fn explained<E: Fault>(&self, error: E) -> E {
        match self.offline() {
            Ok(Some(offline)) => offline.explained(error),
            _ => error,
        }
    }

    /// The calls on the store, if this process holds it; on its own one, if it is offline.
    #[inline]
    pub(super) fn mlflow(&self) -> Result<Option<Mlflow>> {
        if let Some((serial, mlflow)) = &*self.mlflow.read()
            && *serial == self.node.serial()
        {
            return Ok(mlflow.clone());
        }
        self.look_again()
    }

    #[cold]
    fn look_again(&self) -> Result<Option<Mlflow>> {
        // Making a store takes its time: not under the lock.
        let own = match self.offline()? {
            Some(offline) => Some(offline.own()?.clone()),
            None => None,
        };
        let (serial, found) = {
            let role = self.node.role.read();
            let found = match &*role {
                Role::Holder(holder) => Some(Mlflow::new(holder.store.clone(), self.settings.clone())),
                Role::Offline(_) => own.map(|own| Mlflow::new(own, self.settings.clone())),
                Role::Client(_) | Role::Unsettled => None,
                Role::Closed => return Err(Error::Closed),
            };
            (self.node.serial(), found)
        };
        *self.mlflow.write() = Some((serial, found.clone()));
        Ok(found)
    }

    pub(super) fn next_request(&self) -> u64 {
        self.node.next_request()
    }

    /// Asks the holder, whoever it is by then: also this process itself.
    pub(super) fn ask<T: for<'a> Take<'a>, E: Fault>(&self, caller: &Caller, mut request: Vec<u8>) -> Result<T, E> {
        finish_frame(&mut request).map_err(|error| Error::invalid("call", error.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let serial = self.node.serial();
            if let Some(mlflow) = self.mlflow()? {
                let parsed = request.get(4..).and_then(Request::parse);
                let mlflow = caller.on(mlflow);
                let answer = parsed.and_then(|parsed| holder::answer(&mlflow, self.node.id, parsed, &mut |_| Ok(())));
                return read_answer(answer.as_deref().and_then(|answer| answer.get(4..)).unwrap_or_default());
            }
            match self.exchange(caller, &request, serial, deadline, &mut |_| Ok(())) {
                Ok(answer) => return read_answer(&answer),
                Err(Failure::Lost) => self.node.settle(serial, deadline)?,
                Err(failure) => return Err(self.failed(failure).into()),
            }
        }
    }

    /// As [`Seat::ask`], for an answer with parts.
    pub(super) fn ask_for_parts<P: for<'a> Take<'a>, T: for<'a> Take<'a>>(
        &self,
        caller: &Caller,
        mut request: Vec<u8>,
        each: &mut dyn FnMut(P) -> ApiResult<()>,
    ) -> ApiResult<T> {
        finish_frame(&mut request).map_err(|error| Error::invalid("call", error.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        let given = Cell::new(false);
        let mut take = |mut part: Bytes<'_>| {
            given.set(true);
            let taken = P::take(&mut part).filter(|_| part.is_empty());
            let why = "a part of the holder's answer cannot be read; use one version of Runlode";
            each(taken.ok_or_else(|| Error::Refused { why: why.to_owned() })?)
        };
        loop {
            let serial = self.node.serial();
            if let Some(mlflow) = self.mlflow()? {
                let mlflow = caller.on(mlflow);
                let parsed = request.get(4..).and_then(Request::parse);
                let mut own = |part: Vec<u8>| match part.get(4..).and_then(part_of) {
                    Some(part) => take(part),
                    None => Ok(()),
                };
                return own_answer(parsed.and_then(|parsed| holder::answer(&mlflow, self.node.id, parsed, &mut own)));
            }
            match self.exchange(caller, &request, serial, deadline, &mut take) {
                Ok(answer) => return read_answer(&answer),
                Err(Failure::Lost) => {
                    self.node.settle(serial, deadline)?;
                    if given.get() {
                        return Err(ApiError::cut_short());
                    }
                }
                Err(Failure::NotTaken(error)) => return Err(error),
                Err(failure) => return Err(self.failed(failure).into()),
            }
        }
    }

    /// The error for an answer that did not come.
    fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Gone => Error::Unavailable { why: "the client has gone".to_owned() },
            Failure::NotTaken(error) => Error::Refused { why: error.message },
            Failure::Silent | Failure::Lost => self.node.no_answer(),
        }
    }

    /// Sends a request; its answer. Parts that come before are handed to `parts`.
    fn exchange(
        &self,
        caller: &Caller,
        request: &[u8],
        serial: u64,
        deadline: Instant,
        parts: &mut dyn FnMut(Bytes<'_>) -> ApiResult<()>,
    ) -> Result<Vec<u8>, Failure> {
        let connection = self.connection(serial, deadline)?;
        match (&mut &*connection).write_all(request) {
            Ok(()) => {}
            Err(error) if is_timeout(&error) => return Err(Failure::Silent),
            Err(_) => return Err(Failure::Lost),
        }
        loop {
            self.wait_for_answer(caller, &connection)?;
            let frame = match read_frame(&mut &*connection) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(Failure::Lost),
                Err(error) if is_timeout(&error) => return Err(Failure::Silent),
                Err(_) => return Err(Failure::Lost),
            };
            if let Some(part) = part_of(&frame) {
                // The connection is dropped: the holder stops.
                parts(part).map_err(Failure::NotTaken)?;
                continue;
            }
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_MAX {
                idle.push((serial, connection));
            }
            return Ok(frame);
        }
    }

    fn connection(&self, serial: u64, deadline: Instant) -> Result<Connection, Failure> {
        {
            let mut idle = self.idle.lock();
            while let Some((of, connection)) = idle.pop() {
                if of == serial {
                    return Ok(connection);
                }
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self.node.connect(Kind::Calls, self.settings.clone(), left) {
            Ok(Some((connection, _))) => {
                connection.set_read_timeout(Some(PATIENCE)).map_err(|_| Failure::Lost)?;
                connection.set_write_timeout(Some(PATIENCE)).map_err(|_| Failure::Lost)?;
                Ok(connection)
            }
            Ok(None) if Instant::now() >= deadline => Err(Failure::Silent),
            Ok(None) => Err(Failure::Lost),
            Err(error) => Err(Failure::Refused(error)),
        }
    }

    /// Waits for the first byte of an answer: for long only while the holder is awake.
    fn wait_for_answer(&self, caller: &Caller, connection: &Connection) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut until = begun + PATIENCE;
        let slice = if caller.waiting.is_some() { LOOK_EVERY } else { PATIENCE };
        loop {
            if !caller.is_waiting() {
                return Err(Failure::Gone);
            }
            let left = until.saturating_duration_since(Instant::now()).min(slice);
            let timeout = rustix::time::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&**connection, PollFlags::IN)], Some(&timeout)) {
                Ok(1..) => return Ok(()),
                Ok(0) if until <= Instant::now() => {
                    if begun.elapsed() > ANSWER_WAIT || !self.node.holder_answers() {
                        return Err(Failure::Silent);
                    }
                    until = Instant::now() + PATIENCE;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Failure::Lost),
            }
        }
    }

    /// Whether an error of the engine says that this process has become the holder, or a client, meanwhile.
    pub(super) fn has_moved(&self, serial: u64) -> bool {
        self.node.serial() != serial
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Who wants to know calls `leave` before.
        let _ = self.leave();
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
