//! The connections of a server: how many, for how long, and how they end.
//!
//! - Their number is limited. At the limit, a new connection closes the one that has been idle longest. A connection is
//!   busy from a request's head until the last piece of its answer lies in its output buffer. What lies there is sent
//!   before a connection closes.
//! - A request's head must arrive within [`HEAD_TIMEOUT`]; an idle connection is closed after it. A client that stops
//!   reading its answer is cut off ([`crate::patience`]).
//! - When the server stops, each connection ends after the answer that it is waiting for.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::patience::Patient;

/// How long a request head may take to arrive; also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest head of a request, including its URL; also the size of the output buffer.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// All connections, so that idle ones can be closed and all can be ended.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    open: Mutex<FxHashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// One ended.
    ended: Notify,
}

/// A place among the connections; [`Connection::serve`] fills it and gives it back.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    table: Arc<Connections>,
    /// From a request's head to the last piece of its answer's body.
    busy: AtomicBool,
    /// It was already asked to end; asking again makes no room.
    given_up: AtomicBool,
    used: Mutex<Instant>,
    close: Notify,
}

impl Connections {
    /// A table with room for `most` connections.
    #[must_use]
    pub fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), open: Mutex::default(), next: AtomicU64::new(0), ended: Notify::new() })
    }

    /// A place for a connection that was just accepted. If all are taken, another connection makes room.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Arc<Connection> {
        if self.open.lock().len() >= self.most {
            self.give_up_one();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            table: self.clone(),
            busy: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
            close: Notify::new(),
        });
        self.open.lock().insert(number, connection.clone());
        connection
    }

    /// Ends the connection that has been idle longest; if all are busy, the oldest one, after its answer.
    pub fn give_up_one(&self) {
        let open = self.open.lock();
        let staying = open.values().filter(|one| !one.given_up.load(Ordering::Relaxed));
        let oldest = staying.min_by_key(|one| (one.busy.load(Ordering::Relaxed), *one.used.lock()));
        if let Some(oldest) = oldest {
            oldest.given_up.store(true, Ordering::Relaxed);
            oldest.close.notify_one();
        }
    }

    /// Lets every connection finish its answer. One that has not ended by then has a client that does not read: it is
    /// left to be cut off with the server.
    pub async fn drain(&self, longest: Duration) {
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
}

impl Connection {
    /// Answers the requests of a stream until it ends.
    pub async fn serve<S, H, F, B>(self: Arc<Self>, stream: S, handle: H)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        H: Fn(Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let busy = Busy::new(self.clone());
            let answered = handle(request);
            async move { Ok::<_, Infallible>(answered.await.map(|body| Answering { body, _busy: busy })) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(Patient::new(stream)), service));
        tokio::select! {
            // Errors are the client's: it left, or did not speak HTTP.
            _ = serving.as_mut() => {}
            () = self.close.notified() => {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
        }
        self.table.open.lock().remove(&self.number);
        self.table.ended.notify_waiters();
    }
}

/// Marks a connection as busy until this is dropped.
#[derive(Debug)]
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: Arc<Connection>) -> Self {
        connection.busy.store(true, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.used.lock() = Instant::now();
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The body of an answer: its connection is busy until all of it is taken, or the client has gone.
#[derive(Debug)]
struct Answering<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const PIECE_BYTES: usize = 64 << 10;
    const LARGE_PIECES: usize = 512;

    /// A body with this number of pieces left. A connection takes the next piece when its buffer has room.
    struct Pieces(usize);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or(0);
            Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(&[7; PIECE_BYTES])))))
        }
    }

    /// A served connection, from the client's side; its first request gets a body of `pieces` pieces.
    async fn open(connections: &Arc<Connections>, listener: &TcpListener, pieces: usize) -> TcpStream {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let answer = move |_| async move { Response::new(Pieces(pieces)) };
        tokio::spawn(connections.open().serve(stream, answer));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        client
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        // A test that waits for what never comes fails instead of hanging.
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await }).unwrap();
    }

    #[test]
    fn who_still_reads_an_answer_is_not_idle() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let connections = Connections::of(100);
            let mut reader = open(&connections, &listener, LARGE_PIECES).await;
            let mut head = [0; 1];
            reader.read_exact(&mut head).await.unwrap();
            // The one that reads is the older one, and has its head; the other one has nothing to do.
            let mut idle = open(&connections, &listener, 1).await;
            let mut some = [0; 4096];
            assert!(idle.read(&mut some).await.unwrap() > 0);
            while connections.open.lock().values().filter(|one| one.busy.load(Ordering::Relaxed)).count() != 1 {
                tokio::task::yield_now().await;
            }
            connections.give_up_one();
            while idle.read(&mut some).await.unwrap() != 0 {}
            while connections.open.lock().len() != 1 {
                tokio::task::yield_now().await;
            }
            // All are busy now: the one to close is not cut off.
            connections.give_up_one();
            let mut bytes = head.len();
            loop {
                match reader.read(&mut some).await.unwrap() {
                    0 => break,
                    read => bytes += read,
                }
            }
            assert!(bytes > LARGE_PIECES * PIECE_BYTES, "{bytes}");
        });
    }

    #[test]
    fn a_new_connection_takes_the_place_of_an_idle_one() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let connections = Connections::of(1);
            let mut first = open(&connections, &listener, 1).await;
            let mut some = [0; 4096];
            assert!(first.read(&mut some).await.unwrap() > 0);
            let mut second = open(&connections, &listener, 1).await;
            while first.read(&mut some).await.unwrap() != 0 {}
            assert!(second.read(&mut some).await.unwrap() > 0);
            connections.drain(Duration::from_secs(10)).await;
            assert!(connections.open.lock().is_empty());
        });
    }
}
