//! The connections of a server: how many, for how long, and how they end.
//!
//! - At most so many at a time. If all are taken, a new one closes the one that has been idle longest.
//! - A request's head must arrive within [`HEAD_TIMEOUT`]; an idle connection is closed after it. A client that stops
//!   reading its answer is closed after [`STUCK_TIMEOUT`].
//! - When the server stops, each connection ends after the answer that it is waiting for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use super::answer::Answer;

/// How long a request head may take to arrive; also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may read nothing although its answer is waiting.
const STUCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    ended: Notify,
}

#[derive(Debug)]
struct Connection {
    busy: AtomicBool,
    given_up: AtomicBool,
    used: Mutex<Instant>,
    close: Notify,
}

impl Connections {
    pub(super) fn of(most: usize) -> Self {
        Self { most: most.max(1), open: Mutex::default(), next: AtomicU64::new(0), ended: Notify::new() }
    }

    fn open(&self) -> (u64, Arc<Connection>) {
        if self.open.lock().len() >= self.most {
            self.give_up_one();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            busy: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
            close: Notify::new(),
        });
        self.open.lock().insert(number, connection.clone());
        (number, connection)
    }

    /// Ends the connection that has been idle longest; if all are busy, the oldest one after its answer.
    pub(super) fn give_up_one(&self) {
        let open = self.open.lock();
        let staying = open.values().filter(|one| !one.given_up.load(Ordering::Relaxed));
        let oldest = staying.min_by_key(|one| (one.busy.load(Ordering::Relaxed), *one.used.lock()));
        if let Some(oldest) = oldest {
            oldest.given_up.store(true, Ordering::Relaxed);
            oldest.close.notify_one();
        }
    }

    /// Lets every connection finish its answer; cuts off those that take longer.
    pub(super) async fn drain(&self, longest: Duration) {
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                {
                    let open = self.open.lock();
                    if open.is_empty() {
                        return;
                    }
                    open.values().for_each(|connection| connection.close.notify_one());
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(longest, all_ended).await;
    }

    /// Serves one connection until it ends.
    pub(super) async fn serve<H, F>(self: Arc<Self>, stream: TcpStream, handle: H)
    where
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Answer>,
    {
        let (number, connection) = self.open();
        let service = service_fn(|request: Request<Incoming>| {
            connection.busy.store(true, Ordering::Relaxed);
            let answered = handle(request);
            let connection = &connection;
            async move {
                let answer = answered.await;
                *connection.used.lock() = Instant::now();
                connection.busy.store(false, Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(Patient::new(stream)), service));
        tokio::select! {
            // Errors are the client's: it left, or did not speak HTTP.
            _ = serving.as_mut() => {}
            () = connection.close.notified() => {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
        self.open.lock().remove(&number);
        self.ended.notify_waiters();
    }
}

/// A stream whose writes fail if the client stops reading.
struct Patient<S> {
    stream: S,
    stuck: Pin<Box<Sleep>>,
    waits: bool,
}

impl<S> Patient<S> {
    fn new(stream: S) -> Self {
        Self { stream, stuck: Box::pin(sleep(STUCK_TIMEOUT)), waits: false }
    }

    fn waited<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waits = false;
            return polled;
        }
        if !self.waits {
            self.waits = true;
            self.stuck.as_mut().reset(tokio::time::Instant::now() + STUCK_TIMEOUT);
        }
        ready!(self.stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.waited(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.waited(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
