//! The unit in which batches are sent from store to store.
//! ```text
//! +---------+---------+----------------------------------------+-------+
//! | RLSYNC  | version | postcard: a `Chunk`                    | crc32 |
//! | 6 bytes | u16     | (events as the log has them)           | u32   |
//! +---------+---------+----------------------------------------+-------+
//! ```
//! Little endian; the crc covers everything before it. Version 2: each batch says which store decided it, and at which
//! position. Version 1 lacked that, and is refused. Names of metrics are written once a chunk.

use serde::{Deserialize, Serialize};

use crate::engine::StoreId;
use crate::engine::checksum::Crc32;
use crate::engine::event::batch::POSITION_MAX;
use crate::{Error, MetricContext, Result};

/// A chunk is cut when it is about this large.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;

const MAGIC: &[u8; 6] = b"RLSYNC";
const VERSION: u16 = 2;

/// The batch that decided something: the store that appended it first, and its position there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) store: [u8; 16],
    pub(super) position: u64,
}

/// Some batches of a source, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The store that they come from.
    pub(super) source: [u8; 16],
    /// Once the chunk is applied, the target has everything of the source up to this position. 0: not said.
    pub(super) through: u64,
    /// Metric keys; points refer to them by index.
    pub(super) keys: Vec<String>,
    /// What the source has seen of other stores.
    pub(super) seen: Vec<Version>,
    /// Experiments that the batches mention.
    pub(super) experiments: Vec<SyncExperiment>,
    /// Runs that have points here, and the batches that created them.
    pub(super) runs: Vec<([u8; 16], Version)>,
    pub(super) batches: Vec<SyncBatch>,
}

/// An experiment of the source, with the ids that other stores know it by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncExperiment {
    pub(super) id: u64,
    pub(super) also: Vec<([u8; 16], u64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncBatch {
    /// The store that decided it, with its first and last position there. If they differ, it holds only points, and of
    /// each series the same number for every position.
    pub(super) store: [u8; 16],
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) time_ms: i64,
    pub(super) actor: Option<String>,
    pub(super) events: Vec<SyncEvent>,
    pub(super) points: Vec<SyncPoints>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncEvent {
    /// As `event::payload` writes it.
    pub(super) bytes: Vec<u8>,
    /// When it was decided; later than everything that it replaced.
    pub(super) stamp: i64,
    /// For a decision of the registry: the one that it replaced.
    pub(super) replaced: Option<Version>,
    /// For a model version: identifies its content, whatever its number.
    pub(super) print: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncPoints {
    pub(super) run: [u8; 16],
    pub(super) key: u32,
    /// Models and data sets, as [`MetricContext::encode`] writes them.
    pub(super) context: Option<Vec<u8>>,
    pub(super) steps: Vec<i64>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

impl SyncPoints {
    /// The context of the points.
    /// # Errors
    /// [`Error::Invalid`] for malformed bytes.
    pub(super) fn metric_context(&self) -> Result<Option<MetricContext>> {
        let decode = |bytes: &Vec<u8>| {
            MetricContext::decode(bytes).ok_or_else(|| Error::invalid("sync chunk", "a context of points that is none"))
        };
        self.context.as_ref().map(decode).transpose()
    }
}

impl SyncBatch {
    /// The batch that decided it.
    pub(super) fn version(&self) -> Version {
        Version { store: self.store, position: self.last }
    }

    fn is_sound(&self) -> bool {
        let count = self.last.wrapping_sub(self.first).wrapping_add(1);
        let divides = |points: &SyncPoints| (points.steps.len() as u64).is_multiple_of(count);
        let bounded = self.first > 0 && self.first <= self.last && self.last <= POSITION_MAX;
        bounded && (count == 1 || self.events.is_empty() && self.points.iter().all(divides))
    }

    /// Leaves out positions up to `seen`.
    pub(super) fn drop_seen(&mut self, seen: u64) {
        if seen < self.first || seen >= self.last {
            return;
        }
        let (all, gone) = (self.last - self.first + 1, seen - self.first + 1);
        for points in &mut self.points {
            let count = (points.steps.len() as u64 / all * gone) as usize;
            points.steps.drain(..count);
            points.times.drain(..count);
            points.values.drain(..count);
        }
        self.first = seen + 1;
    }
}

impl Chunk {
    /// Encodes the chunk.
    /// # Errors
    /// [`Error::Internal`] if it cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        let mut out =
            postcard::to_extend(self, out).map_err(|error| Error::Internal(format!("a sync chunk: {error}")))?;
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        Ok(out)
    }

    /// Decodes a chunk.
    /// # Errors
    /// [`Error::Invalid`] for bytes that are not a chunk, are damaged, or are of an unknown version.
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
        if chunk.through > POSITION_MAX || !chunk.batches.iter().all(SyncBatch::is_sound) {
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

    /// The store that it comes from.
    pub fn source_id(&self) -> StoreId {
        StoreId(self.source)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.through == 0
    }

    /// Points in it.
    pub fn points_count(&self) -> u64 {
        self.batches.iter().flat_map(|batch| &batch.points).map(|points| points.steps.len() as u64).sum()
    }

    /// The position of the source that is reached with it, if given.
    pub fn through(&self) -> Option<u64> {
        (self.through > 0).then_some(self.through)
    }
}
