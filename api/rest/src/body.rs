//! Request bodies, read completely into shared memory.
//!
//! The first [`FREE_BYTES`] of a body are free. The rest takes a share of a budget as it arrives, and keeps it until
//! the request is answered. If the budget is used up, one body at a time may exceed it, so that some body always
//! completes; the others wait, and so do their clients. So at most the budget, one more body and the free beginnings
//! are in memory at a time, however many clients send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use runlode::mlflow::{ApiError, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The beginning of a body that takes no share: its connection may have buffered that much anyway.
const FREE_BYTES: usize = 16 << 10;
/// Unit of the budget.
const STEP_BYTES: usize = 16 << 10;
/// How long the body of a plain request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// When a client that was turned away should try again.
pub(crate) const RETRY_AFTER_S: u32 = 5;

/// The memory that bodies share.
#[derive(Debug)]
pub(crate) struct Bodies {
    steps: Semaphore,
    /// The permit to exceed the budget.
    beyond: Semaphore,
    timeout: Duration,
}

/// A complete body, with its share for as long as the bytes are held.
#[derive(Debug)]
pub(crate) struct Whole<'a> {
    pub(crate) bytes: Bytes,
    _share: Share<'a>,
}

/// A body's share of the budget.
#[derive(Debug)]
struct Share<'a> {
    of: &'a Bodies,
    steps: Option<SemaphorePermit<'a>>,
    beyond: Option<SemaphorePermit<'a>>,
}

impl<'a> Whole<'a> {
    /// For a request without a body.
    pub(crate) fn empty(of: &'a Bodies) -> Self {
        Self { bytes: Bytes::new(), _share: Share::none(of) }
    }
}

impl<'a> Share<'a> {
    fn none(of: &'a Bodies) -> Self {
        Self { of, steps: None, beyond: None }
    }

    /// Waits until a body may have this length. `waits` is set meanwhile.
    async fn grow(&mut self, bytes: usize, waits: &AtomicBool) {
        let held = self.steps.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = bytes.saturating_sub(FREE_BYTES).div_ceil(STEP_BYTES).saturating_sub(held);
        if more == 0 || self.beyond.is_some() {
            return;
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        waits.store(true, Ordering::Relaxed);
        // The semaphores are never closed.
        tokio::select! {
            biased;
            Ok(steps) = self.of.steps.acquire_many(more) => match &mut self.steps {
                Some(held) => held.merge(steps),
                None => self.steps = Some(steps),
            },
            Ok(beyond) = self.of.beyond.acquire() => self.beyond = Some(beyond),
            else => {}
        }
        waits.store(false, Ordering::Relaxed);
    }
}

impl Bodies {
    /// Bodies that hold at most this many bytes together.
    pub(crate) fn of(budget_bytes: usize) -> Self {
        Self::new(budget_bytes, BODY_TIMEOUT)
    }

    fn new(budget_bytes: usize, timeout: Duration) -> Self {
        Self { steps: Semaphore::new(budget_bytes / STEP_BYTES), beyond: Semaphore::new(1), timeout }
    }

    /// A complete body, or why there is none.
    pub(crate) async fn read(&self, body: Body, headers: &HeaderMap, bytes_max: usize) -> Result<Whole<'_>, ApiError> {
        let too_large = || {
            ApiError::invalid(format!(
                "The request body is larger than {} MiB; split it into several requests.",
                bytes_max >> 20
            ))
            .with_status(StatusCode::PAYLOAD_TOO_LARGE.as_u16())
        };
        let length = headers.get(header::CONTENT_LENGTH);
        let announced = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large());
        }
        let waits = AtomicBool::new(false);
        let collected = self.collect(Limited::new(body, bytes_max), announced.unwrap_or(bytes_max), &waits);
        match tokio::time::timeout(self.timeout, collected).await {
            Ok(Ok(whole)) => Ok(whole),
            Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
            Ok(Err(error)) => {
                Err(ApiError::new(ErrorCode::BadRequest, format!("The request body was cut off: {error}")))
            }
            Err(_) if waits.load(Ordering::Relaxed) => {
                let message = "Too many large requests are being read; send this one again later.";
                Err(ApiError::new(ErrorCode::TemporarilyUnavailable, message))
            }
            // Clients would repeat after a 408; a slow one has to speed up.
            Err(_) => Err(ApiError::new(ErrorCode::BadRequest, "The request body took too long to arrive.")),
        }
    }

    /// `expected` is its maximum length. Nothing is allocated before it has arrived.
    async fn collect(
        &self,
        mut body: Limited<Body>,
        expected: usize,
        waits: &AtomicBool,
    ) -> Result<Whole<'_>, axum::BoxError> {
        let mut share = Share::none(self);
        let mut first = Bytes::new();
        let mut all: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if first.is_empty() && all.is_empty() {
                // Most bodies arrive in one piece, and are not copied.
                first = data;
                share.grow(first.len(), waits).await;
                continue;
            }
            let length = first.len() + all.len() + data.len();
            share.grow(length, waits).await;
            if length > all.capacity() {
                // Rarely, because each growth is a copy; but no more than the body needs.
                let capacity = (all.capacity() * 2).min(expected).max(length).max(STEP_BYTES);
                all.reserve_exact(capacity - all.len());
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
        let bytes = if all.is_empty() { first } else { all.into() };
        Ok(Whole { bytes, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::stream;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// A body made of numbered frames of [`STEP_BYTES`]; `sent` counts the bytes that its reader has asked for.
    fn body(frames: usize, sent: Arc<AtomicUsize>) -> Body {
        Body::from_stream(stream::iter((0..frames).map(move |number| {
            sent.fetch_add(STEP_BYTES, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![number as u8; STEP_BYTES]))
        })))
    }

    #[test]
    fn many_large_bodies_all_come_through_within_the_budget() {
        const BODIES: usize = 32;
        const FRAMES: usize = 40;
        let budget_bytes = 100 * STEP_BYTES;
        let bodies = Arc::new(Bodies::new(budget_bytes, Duration::from_secs(60)));
        let (sent, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let most = Arc::new(AtomicUsize::new(0));
        runtime().block_on(async {
            let reads = (0..BODIES).map(|_| {
                let (bodies, sent, done, most) = (bodies.clone(), sent.clone(), done.clone(), most.clone());
                tokio::spawn(async move {
                    let whole = bodies.read(body(FRAMES, sent.clone()), &HeaderMap::new(), 16 << 20).await.unwrap();
                    assert_eq!(whole.bytes.len(), FRAMES * STEP_BYTES);
                    let numbers = whole.bytes.chunks(STEP_BYTES).enumerate();
                    numbers.for_each(|(number, chunk)| assert!(chunk.iter().all(|byte| *byte == number as u8)));
                    let held = sent.load(Ordering::Relaxed) - done.load(Ordering::Relaxed);
                    most.fetch_max(held, Ordering::Relaxed);
                    // It is being handled, and the others go on.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    done.fetch_add(whole.bytes.len(), Ordering::Relaxed);
                })
            });
            for read in reads.collect::<Vec<_>>() {
                read.await.unwrap();
            }
        });
        // The budget, one body beyond it, and of each its free beginning and the frame that waits for room.
        let bound = budget_bytes + FRAMES * STEP_BYTES + 2 * BODIES * STEP_BYTES;
        let most = most.load(Ordering::Relaxed);
        assert!(most <= bound && most > budget_bytes / 2, "{most} of {bound}");
        assert_eq!((bodies.steps.available_permits(), bodies.beyond.available_permits()), (100, 1));
    }

    #[test]
    fn who_finds_no_room_is_told_to_come_again_and_a_small_body_always_finds_some() {
        let bodies = Bodies::new(4 * STEP_BYTES, Duration::from_millis(50));
        let headers = HeaderMap::new();
        let read = |frames| bodies.read(body(frames, Arc::default()), &headers, 16 << 20);
        runtime().block_on(async {
            let within = read(5).await.unwrap();
            let beyond = read(20).await.unwrap();
            let refused = read(2).await.unwrap_err();
            assert_eq!((refused.code, refused.status()), (ErrorCode::TemporarilyUnavailable, 503));
            assert_eq!(read(1).await.unwrap().bytes.len(), STEP_BYTES);
            drop(beyond);
            assert_eq!(read(2).await.unwrap().bytes.len(), 2 * STEP_BYTES);
            drop(within);
            let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let slow = bodies.read(never, &HeaderMap::new(), 16 << 20).await.unwrap_err();
            assert_eq!(slow.code, ErrorCode::BadRequest);
            let long = read(1025).await.unwrap_err();
            assert_eq!(long.status(), 413);
        });
        assert_eq!((bodies.steps.available_permits(), bodies.beyond.available_permits()), (4, 1));
    }

    #[test]
    fn bodies_are_what_was_sent() {
        let bodies = Bodies::of(1 << 20);
        runtime().block_on(async {
            for parts in [vec![], vec![""], vec!["a"], vec!["", "a", "", "bc"], vec!["abc", "d", ""]] {
                let frames = parts.iter().map(|part| Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes())));
                let body = Body::from_stream(stream::iter(frames.collect::<Vec<_>>()));
                let whole = bodies.read(body, &HeaderMap::new(), 5).await.unwrap();
                assert_eq!(whole.bytes, parts.concat());
            }
        });
    }
}
