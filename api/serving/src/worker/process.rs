//! One process of a model: its start, its connections, its end.
//!
//! ```text
//! supervisor                                  process (python)
//!   control ------- program, model --------->   loads
//!           <------ loaded, or why not ------
//!           ------- a connection's end ----->   a thread for it          (as many as there are requests at a time)
//!   connection ---- request ---------------->   predict
//!              <--- answer ------------------
//! ```
//!
//! - A connection carries one request at a time, and is used again if its answer was read whole.
//! - When the process has ended, all its connections are shut down: a child that the model forked may hold their other
//!   ends open.
//! - The process ends when `control` does, so it never outlives the server.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_buffer::{Buffer, MutableBuffer};
use parking_lot::{Condvar, Mutex};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value as Json, json};

use super::wire::{Kind, Part, Request};

/// The first lines of the program; they receive the rest.
const BOOT: &str = include_str!("python/boot.py");
/// The program's modules, each after those that it imports.
const MODULES: [(&str, &str); 4] = [
    ("runlode_worker_inputs", include_str!("python/inputs.py")),
    ("runlode_worker_columns", include_str!("python/columns.py")),
    ("runlode_worker_answers", include_str!("python/answers.py")),
    ("runlode_worker_main", include_str!("python/main.py")),
];
/// How long a caller whose request was lost waits for the cause.
const CAUSE_WAIT: Duration = Duration::from_secs(1);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 4 << 30;

/// How a process is started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The interpreter of the model's environment.
    pub(super) python: PathBuf,
    /// Variables besides those of this process.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// What to load: see `Model` in the program.
    pub(super) model: Json,
}

/// A process that has loaded the model.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    control: UnixStream,
    connections: Mutex<Connections>,
    /// How it ended; none while it lives.
    ended: Mutex<Option<String>>,
    has_ended: Condvar,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Arc<UnixStream>>,
    idle: Vec<(u64, Arc<UnixStream>)>,
    are_shut: bool,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The process had ended before it had the whole request.
    Unsent,
    /// The process had the request, and ended; how.
    Lost(String),
    /// This process has no means to ask it: no file handles, for one.
    Failed(io::Error),
}

/// A process whose model could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct LoadError {
    /// What failed.
    pub reason: String,
    /// Python's traceback; empty if the process did not get so far.
    pub trace: String,
}

impl Launch {
    /// Starts a process and waits until it has loaded the model.
    pub(super) fn start(&self) -> Result<(Arc<Process>, Child), LoadError> {
        let failed =
            |what: &str, error: io::Error| LoadError { reason: format!("{what}: {error}"), trace: String::new() };
        let (control, theirs) = UnixStream::pair().map_err(|error| failed("cannot make a socket", error))?;
        let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(|error| failed("cannot share stderr", error))?;
        let mut child = Command::new(&self.python)
            .args(["-u", "-c", BOOT])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(theirs))
            // What a model prints is no data of ours.
            .stdout(Stdio::from(stderr))
            // Ctrl-C ends the server first, which lets open requests end.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&format!("cannot start {}", self.python.display()), error))?;
        let first = json!({ "modules": MODULES, "model": self.model }).to_string();
        let said = write_message(&control, first.as_bytes()).and_then(|()| read_message(&control));
        let answer: Json = match said.map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                end(&mut child);
                return Err(failed("the model's process spoke no JSON", error.into()));
            }
            Err(_) => {
                let how = end(&mut child);
                let reason = format!("the model's process ended while it loaded the model ({how})");
                return Err(LoadError { reason, trace: String::new() });
            }
        };
        if let Some(reason) = answer["failed"].as_str() {
            end(&mut child);
            let trace = answer["trace"].as_str().unwrap_or_default().to_owned();
            return Err(LoadError { reason: reason.to_owned(), trace });
        }
        let process = Process {
            pid: Pid::from_child(&child),
            control,
            connections: Mutex::default(),
            ended: Mutex::new(None),
            has_ended: Condvar::new(),
        };
        Ok((Arc::new(process), child))
    }
}

/// Ends a process that is of no use; how it ended.
fn end(child: &mut Child) -> String {
    // Most have ended by themselves, and their own status says more.
    let until = Instant::now() + CAUSE_WAIT;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return cause(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _gone_already = child.kill();
    child.wait().map_or_else(|error| error.to_string(), cause)
}

fn cause(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit status {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for its end, and tells everybody who waits for an answer.
    pub(super) fn watch(&self, mut child: Child) -> String {
        // The process stays a zombie, and its number its own, until `ended` is locked: `kill` hits nobody else.
        while let Err(rustix::io::Errno::INTR) =
            waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        {}
        let mut ended = self.ended.lock();
        let how = child.wait().map_or_else(|error| error.to_string(), cause);
        *ended = Some(how.clone());
        self.has_ended.notify_all();
        drop(ended);
        let mut connections = self.connections.lock();
        connections.are_shut = true;
        connections.idle.clear();
        for connection in connections.open.values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        how
    }

    /// Asks it to end; it does once its exit handlers have run.
    pub(super) fn stop(&self) {
        let _ = self.control.shutdown(Shutdown::Both);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        let ended = self.ended.lock();
        if ended.is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call(&self, request: &Request) -> Result<Vec<Part>, CallError> {
        let (number, connection) = self.connection().map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => CallError::Unsent,
            _ => CallError::Failed(error),
        })?;
        // A request of which a byte is missing is never predicted on.
        let answered = match request.send(&mut &*connection) {
            Ok(()) => read_answer(&connection).map_err(|error| CallError::Lost(self.cause(&error))),
            Err(_) => Err(CallError::Unsent),
        };
        let mut connections = self.connections.lock();
        if answered.is_ok() && !connections.are_shut {
            connections.idle.push((number, connection));
        } else {
            connections.open.remove(&number);
        }
        answered
    }

    fn connection(&self) -> io::Result<(u64, Arc<UnixStream>)> {
        let mut connections = self.connections.lock();
        if connections.are_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(idle) = connections.idle.pop() {
            return Ok(idle);
        }
        let (ours, theirs) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let handles = [theirs.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&handles));
        sendmsg(&self.control, &[IoSlice::new(b"c")], &mut ancillary, SendFlags::NOSIGNAL)?;
        let (number, ours) = (connections.next, Arc::new(ours));
        connections.next += 1;
        connections.open.insert(number, ours.clone());
        Ok((number, ours))
    }

    /// How it ended; the connection's error if it goes on.
    fn cause(&self, error: &io::Error) -> String {
        let mut ended = self.ended.lock();
        if ended.is_none() {
            self.has_ended.wait_for(&mut ended, CAUSE_WAIT);
        }
        ended.clone().unwrap_or_else(|| format!("its connection failed: {error}"))
    }
}

fn write_message(mut stream: &UnixStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(&(text.len() as u64).to_le_bytes())?;
    stream.write_all(text)
}

fn read_message(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = bounded(u64::from_le_bytes(length))?;
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(text)
}

fn read_answer(connection: &UnixStream) -> io::Result<Vec<Part>> {
    // One read has the whole of most answers.
    let mut stream = io::BufReader::with_capacity(16 << 10, connection);
    let mut count = [0; 4];
    stream.read_exact(&mut count)?;
    let mut heads = Vec::new();
    for _ in 0..u32::from_le_bytes(count) {
        let mut head = [0; 11];
        stream.read_exact(&mut head)?;
        let kind = Kind::of(head[0]).ok_or(io::ErrorKind::InvalidData)?;
        let status = u16::from_le_bytes([head[1], head[2]]);
        let [_, _, _, length @ ..] = head;
        heads.push((kind, status, bounded(u64::from_le_bytes(length))?));
    }
    let part = |(kind, status, length)| {
        // At the boundary that columns need.
        let mut bytes = MutableBuffer::from_len_zeroed(length);
        stream.read_exact(&mut bytes)?;
        Ok(Part { kind, status, bytes: Buffer::from(bytes) })
    };
    heads.into_iter().map(part).collect()
}

fn bounded(length: u64) -> io::Result<usize> {
    match usize::try_from(length) {
        Ok(bytes) if length <= ANSWER_BYTES_MAX => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes"))),
    }
}
