//! Tells whether a client is still connected while its request is processed.
//!
//! A handler occupies the thread of its connection's task, so nothing reads from the socket meanwhile and hyper cannot
//! see that the client has gone. The handler checks by itself now and then: the connection shares the socket with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use runlode::mlflow::Waiting;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How often the socket is checked; handlers ask much more often.
const LOOK_EVERY_MS: u64 = 10;

/// A connection's stream, which its handlers can check.
#[derive(Debug)]
pub(crate) struct Stream {
    read: OwnedReadHalf,
    write: Arc<Mutex<OwnedWriteHalf>>,
}

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Arc<Mutex<OwnedWriteHalf>>,
    begun: Instant,
    looked_ms: AtomicU64,
    gone: AtomicBool,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream) -> (Self, Arc<Client>) {
        let (read, write) = stream.into_split();
        let write = Arc::new(Mutex::new(write));
        let client = Client {
            stream: write.clone(),
            begun: Instant::now(),
            looked_ms: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        };
        (Self { read, write }, Arc::new(client))
    }
}

impl Client {
    /// Whether it has closed its side. A client that closes only its sending side and waits for the answer counts as
    /// gone, as for hyper between two requests.
    fn has_closed(&self) -> bool {
        #[cfg(target_os = "linux")]
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        #[cfg(not(target_os = "linux"))]
        let closed = PollFlags::HUP | PollFlags::ERR;
        let stream = self.stream.lock();
        let mut looked = [PollFd::new(stream.as_ref(), closed)];
        match poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => looked[0].revents().intersects(closed),
            // Interrupted: the next check will tell.
            Err(_) => false,
        }
    }
}

impl Waiting for Client {
    fn is_waiting(&self) -> bool {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms.saturating_sub(self.looked_ms.load(Ordering::Relaxed)) >= LOOK_EVERY_MS {
            self.looked_ms.store(now_ms, Ordering::Relaxed);
            if self.has_closed() {
                self.gone.store(true, Ordering::Relaxed);
            }
        }
        !self.gone.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.write.lock()).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.write.lock()).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.write.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.write.lock()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_client_that_closes_is_gone_whatever_it_sent() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut near, client) = Stream::new(listener.accept().await.unwrap().0);
            far.write_all(b"one").await.unwrap();
            let mut some = [0; 3];
            near.read_exact(&mut some).await.unwrap();
            near.write_all(b"two").await.unwrap();
            far.read_exact(&mut some).await.unwrap();
            assert!(client.is_waiting() && !client.has_closed());
            // The next request is in the socket, unread.
            far.write_all(b"three").await.unwrap();
            assert!(!client.has_closed());
            drop(far);
            while client.is_waiting() {
                tokio::task::yield_now().await;
            }
            assert!(client.has_closed() && !client.is_waiting());
        });
    }
}
