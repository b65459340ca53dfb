//! The process that holds the store: answers the others on `STORE/sock`.
//!
//! A thread for each connection: clients are few, and a thread that waits costs nothing but its stack. Requests on one
//! connection are answered in turn. Before each one, what every process was acknowledged is merged.

use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;
use rustix::event::{PollFd, PollFlags, poll};

use super::calls;
use super::parts::{self, Parts, has_parts};
use super::protocol::{ClientId, Hello, Kind, Request, VERSION, Welcome, finish_frame, read_frame, refused};
use super::socket::{Connection, Listener};
use crate::LocalStore;
use crate::mlflow::{ApiError, Call, ErrorCode, Mlflow, Waiting};

/// How long a close waits for answers that are being made.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a client may take over its greeting.
const GREETING_WAIT: Duration = Duration::from_secs(10);
/// Every how many questions of a read the connection is looked at.
const LOOK_EVERY_CALLS: u32 = 64;
/// Stack of a connection's thread: filters and searches are parsed on it.
const STACK_BYTES: usize = 2 << 20;

/// A store that this process holds, and those it serves.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) store: LocalStore,
    /// Or why there is none.
    service: Result<Arc<Service>, String>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Whether the store ends with this.
    closes: bool,
}

#[derive(Debug)]
struct Service {
    store: LocalStore,
    listener: Listener,
    connections: Mutex<Connections>,
    all_gone: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct Connections {
    open: FxHashMap<u64, Arc<Connection>>,
    next: u64,
}

impl Holder {
    /// Serves a store that was just opened. Where there can be no socket (some file systems have none) the store is
    /// held all the same: others are told who has it.
    pub(super) fn start(store: LocalStore, folder: &Path) -> Self {
        match Service::start(&store, folder) {
            Ok((service, accepting)) => {
                Self { store, service: Ok(service), accepting: Mutex::new(Some(accepting)), closes: true }
            }
            Err(error) => Self { store, service: Err(error.to_string()), accepting: Mutex::new(None), closes: true },
        }
    }

    /// A store that somebody else opened, for this process alone. It stays open when this ends.
    pub(super) fn alone(store: LocalStore) -> Self {
        let why = "this store was opened for one process".to_owned();
        Self { store, service: Err(why), accepting: Mutex::new(None), closes: false }
    }

    /// Why other processes cannot reach it, if they cannot.
    pub(super) fn serving_problem(&self) -> Option<&str> {
        self.service.as_ref().err().map(String::as_str)
    }

    /// Processes that are connected, by connections.
    pub(super) fn connections_count(&self) -> usize {
        self.service.as_ref().map_or(0, |service| service.connections.lock().open.len())
    }

    /// Answers what was asked, lets the clients go, and closes the store: one of them takes it over.
    pub(super) fn close(&self) -> crate::Result<()> {
        if let Ok(service) = &self.service {
            service.stop();
        }
        if let Some(accepting) = self.accepting.lock().take() {
            // A panic there ended the serving, no more: what is stored is stored.
            let _ = accepting.join();
        }
        if let Ok(service) = &self.service {
            service.drain();
        }
        if self.closes { self.store.clone().close() } else { self.store.flush().map(drop) }
    }
}

impl Service {
    /// Begins to serve a store whose lock is held.
    fn start(store: &LocalStore, folder: &Path) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let service = Arc::new(Self {
            store: store.clone(),
            listener: Listener::bind(folder)?,
            connections: Mutex::default(),
            all_gone: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let accepting = service.clone();
        match Builder::new().name("runlode-accept".into()).spawn(move || accepting.accept()) {
            Ok(thread) => Ok((service, thread)),
            Err(error) => {
                // A socket on which nobody answers would keep clients waiting.
                service.listener.close();
                Err(error)
            }
        }
    }

    fn accept(self: Arc<Self>) {
        loop {
            let connection = match self.listener.accept() {
                Ok(Some(connection)) if !self.stopping.load(Ordering::Acquire) => Arc::new(connection),
                Ok(_) => return,
                Err(_) => {
                    // No descriptor or memory left just now; clients wait in the queue.
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
            };
            let number = {
                let mut connections = self.connections.lock();
                connections.next += 1;
                let number = connections.next;
                connections.open.insert(number, connection.clone());
                number
            };
            let service = self.clone();
            let work = move || {
                // An error ends the connection, which says all there is to say: the client asks again.
                let _ = service.serve(&connection);
                let _ = connection.shutdown(Shutdown::Both);
                drop(connection);
                let mut connections = service.connections.lock();
                connections.open.remove(&number);
                if connections.open.is_empty() {
                    service.all_gone.notify_all();
                }
            };
            // Where there is no thread for it the connection ends, and the client asks again.
            if Builder::new().name("runlode-client".into()).stack_size(STACK_BYTES).spawn(work).is_err() {
                self.connections.lock().open.remove(&number);
            }
        }
    }

    fn serve(&self, shared: &Arc<Connection>) -> std::io::Result<()> {
        let connection = &**shared;
        connection.set_read_timeout(Some(GREETING_WAIT))?;
        connection.set_write_timeout(Some(GREETING_WAIT))?;
        let mut reader = BufReader::with_capacity(16 << 10, &**connection);
        let welcome = Welcome { pid: std::process::id(), store: self.store.engine().id() };
        let Some(hello) = Hello::read(&mut reader)? else {
            let pid = welcome.pid;
            let refusal = format!(
                "process {pid}, which holds the store, speaks version {VERSION} only; use one version of Runlode"
            );
            return welcome.write(&refusal, &mut &**connection);
        };
        welcome.write("", &mut &**connection)?;
        connection.set_read_timeout(None)?;
        // Nothing is asked on a watch: this waits for its end.
        let caller = Arc::new(Waits { connection: shared.clone(), calls: AtomicU32::new(0) });
        let calls = || Mlflow::new(self.store.clone(), hello.settings).for_waiting(caller);
        let mlflow = (hello.kind == Kind::Calls).then(calls);
        let mut send = |mut part: Vec<u8>| {
            let sent = finish_frame(&mut part).and_then(|()| (&mut &**connection).write_all(&part));
            sent.map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("the answer cannot be sent: {error}")))
        };
        while let Some(frame) = read_frame(&mut reader)? {
            let (Some(mlflow), Some(request)) = (&mlflow, Request::parse(&frame)) else { break };
            let Some(mut answer) = answer(mlflow, hello.client, request, &mut send) else { break };
            finish_frame(&mut answer).or_else(|error| {
                answer =
                    refused(&ApiError::new(ErrorCode::ResourceExhausted, format!("the answer is too long: {error}")));
                finish_frame(&mut answer)
            })?;
            (&mut &**connection).write_all(&answer)?;
        }
        Ok(())
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.listener.close();
    }

    /// Waits until every connection has its last answer.
    fn drain(&self) {
        let until = Instant::now() + CLOSE_WAIT;
        let mut connections = self.connections.lock();
        for connection in connections.open.values() {
            // One that has ended meanwhile cannot be ended.
            let _ = connection.shutdown(Shutdown::Read);
        }
        while !connections.open.is_empty() && !self.all_gone.wait_until(&mut connections, until).timed_out() {}
        for connection in connections.open.values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// The process at the other end of a connection: while it waits, long reads go on.
#[derive(Debug)]
struct Waits {
    connection: Arc<Connection>,
    /// Reads ask much more often than the connection must be looked at.
    calls: AtomicU32,
}

impl Waiting for Waits {
    fn is_waiting(&self) -> bool {
        if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY_CALLS) {
            return true;
        }
        // Not the end of its sending side alone: a holder that closes ends that itself, and still answers.
        let closed = PollFlags::HUP | PollFlags::ERR;
        let mut looked = [PollFd::new(&**self.connection, closed)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        !poll(&mut looked, Some(&now)).is_ok_and(|_| looked[0].revents().intersects(closed))
    }
}

/// The answer to a request, its length still to be filled in; parts before the last go to `parts`. `None`: the request
/// cannot be read.
pub(super) fn answer(mlflow: &Mlflow, client: ClientId, mut request: Request<'_>, parts: Parts<'_>) -> Option<Vec<u8>> {
    // What anybody was told is logged comes before what is decided now.
    match mlflow.store().merge_inboxes() {
        // What needs the points says so by itself; decisions go on, also those that free space.
        Err(error) if !error.is_full() => return Some(calls::refused_for(&request, error)),
        _ => {}
    }
    let named;
    let mlflow = match &request.made_for {
        // Its own key is for the one change that it asks for: `call_of`.
        Some(call) => {
            named = mlflow.in_call(Arc::new(Call { actor: call.actor.clone(), ..Call::default() }));
            &named
        }
        None => mlflow,
    };
    if has_parts(request.call) {
        return parts::dispatch(mlflow, &mut request, parts);
    }
    calls::dispatch(mlflow, client, &mut request)
}
