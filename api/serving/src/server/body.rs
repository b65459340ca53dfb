//! Request bodies, read whole.
//!
//! All bodies together take a bounded amount of memory. A body that finds no room is refused with the advice to come
//! again; the first [`FREE_BYTES`] of a body always find some, so small requests go on beside large ones. A refused body
//! is still read, within limits: if the client were still sending when the answer comes, it would see a broken
//! connection instead of the reason.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Fault;

/// The part of a body that takes no share of the memory.
const FREE_BYTES: usize = 64 << 10;
/// Unit of the shared memory.
const STEP_BYTES: usize = 64 << 10;
/// How much of an unwanted body is read, and for how long.
const UNWANTED_BYTES_MAX: usize = 256 << 20;
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory that bodies share.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    steps: Arc<Semaphore>,
    bytes_max: usize,
}

/// A body, with its share of the memory for as long as this lives.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _share: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn of(budget_bytes: usize, bytes_max: usize) -> Self {
        Self { steps: Arc::new(Semaphore::new(budget_bytes.max(bytes_max) / STEP_BYTES + 1)), bytes_max }
    }

    /// The whole body, or why there is none.
    pub(super) async fn read(&self, mut body: Incoming) -> Result<Whole, Fault> {
        let expected = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        if expected.is_some_and(|bytes| bytes > self.bytes_max) {
            drain(body).await;
            return Err(Fault::too_large(self.bytes_max));
        }
        let mut share = Vec::new();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::bad_request(format!("The request was cut off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = first.len() + all.len() + data.len();
            if length > self.bytes_max {
                drain(body).await;
                return Err(Fault::too_large(self.bytes_max));
            }
            while length > FREE_BYTES + share.len() * STEP_BYTES {
                let Ok(step) = self.steps.clone().try_acquire_owned() else {
                    drain(body).await;
                    return Err(Fault::busy("Too many large requests are being read; send this one again later."));
                };
                share.push(step);
            }
            if first.is_empty() && all.is_empty() {
                // Most bodies come in one piece, and are not copied.
                first = data;
                continue;
            }
            if all.is_empty() {
                all.reserve(expected.unwrap_or(length * 2).min(self.bytes_max).min(length * 4));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(Whole { bytes, _share: share })
    }
}

/// Reads what nobody wants.
pub(super) async fn drain(mut body: Incoming) {
    let mut left = UNWANTED_BYTES_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // A client that still sends afterwards loses its connection.
    let _ = tokio::time::timeout(UNWANTED_TIMEOUT, reading).await;
}
