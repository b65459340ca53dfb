//! Batches on their way from store to store.
//!
//! ```text
//! +---------+---------+----------------------------------------+-------+
//! | RLSYNC  | version | postcard: source, keys, batches        | crc32 |
//! | 6 bytes | u16     | (events as the log has them)           | u32   |
//! +---------+---------+----------------------------------------+-------+
//! ```
//!
//! Little endian; the crc is of everything before it. Version 1. Names of metrics are written once a chunk.

use serde::{Deserialize, Serialize};

use crate::engine::StoreId;
use crate::engine::checksum::Crc32;
use crate::{Error, MetricContext, Result};

/// A chunk is cut when it is about this large.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;

const MAGIC: &[u8; 6] = b"RLSYNC";
const VERSION: u16 = 1;
/// Behind it a store could not go on.
const POSITION_MAX: u64 = u64::MAX >> 1;

/// Some batches of a source, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Store that they are of.
    pub(super) source: [u8; 16],
    /// Metric keys by the numbers that points name them by.
    pub(super) keys: Vec<String>,
    pub(super) batches: Vec<SyncBatch>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncBatch {
    /// Everything of the source up to this position is with the target once this batch is. 0: says nothing of it.
    pub(super) through: u64,
    pub(super) time_ms: i64,
    pub(super) actor: Option<String>,
    /// As `event::payload` writes them.
    pub(super) events: Vec<Vec<u8>>,
    pub(super) points: Vec<SyncPoints>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncPoints {
    pub(super) run: [u8; 16],
    pub(super) key: u32,
    /// Model, data set's name, its digest.
    pub(super) context: Option<(Option<String>, Option<String>, Option<String>)>,
    pub(super) steps: Vec<i64>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

impl SyncPoints {
    pub(super) fn metric_context(&self) -> Option<MetricContext> {
        let (model_id, dataset_name, dataset_digest) = self.context.clone()?;
        Some(MetricContext { model_id, dataset_name, dataset_digest })
    }
}

impl Chunk {
    /// As it travels.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        let mut out =
            postcard::to_extend(self, out).map_err(|error| Error::Internal(format!("a sync chunk: {error}")))?;
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        Ok(out)
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bytes that are none, are damaged, or are of a version that this build does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::invalid("sync chunk", why);
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(bad("it is cut")) };
        let Some((head, rest)) = body.split_first_chunk::<8>() else { return Err(bad("it is cut")) };
        if head[..6] != *MAGIC {
            return Err(bad("it does not begin as one"));
        }
        let version = u16::from_le_bytes([head[6], head[7]]);
        if version != VERSION {
            return Err(bad(&format!("version {version}; this build knows {VERSION}: update the older side")));
        }
        if Crc32::of(body).0 != u32::from_le_bytes(*crc) {
            return Err(bad("its checksum is wrong: it was damaged on the way; send it again"));
        }
        let (chunk, rest): (Self, _) = postcard::take_from_bytes(rest).map_err(|error| bad(&error.to_string()))?;
        if !rest.is_empty() {
            return Err(bad("bytes behind its end"));
        }
        if chunk.batches.iter().any(|batch| batch.through > POSITION_MAX) {
            return Err(bad("a position that no store has"));
        }
        for points in chunk.batches.iter().flat_map(|batch| &batch.points) {
            let count = points.steps.len();
            if points.times.len() != count || points.values.len() != count {
                return Err(bad("columns of different lengths"));
            }
            if points.key as usize >= chunk.keys.len() {
                return Err(bad("a point of a key that it does not name"));
            }
        }
        Ok(chunk)
    }

    /// The store that it is of.
    pub fn source_id(&self) -> StoreId {
        StoreId(self.source)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Points in it.
    pub fn points_count(&self) -> u64 {
        self.batches.iter().flat_map(|batch| &batch.points).map(|points| points.steps.len() as u64).sum()
    }

    /// The position of the source that is reached with it, if it says.
    pub fn through(&self) -> Option<u64> {
        self.batches.iter().rev().map(|batch| batch.through).find(|through| *through > 0)
    }
}
