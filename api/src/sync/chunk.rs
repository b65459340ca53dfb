//! The unit in which batches are sent from store to store.
//!
//! ```text
//! +---------+---------+----------------------------------------+-------+
//! | RLSYNC  | version | a `Chunk`, by `crate::wire`              | crc32 |
//! | 6 bytes | u16     | (events as the log has them)           | u32   |
//! +---------+---------+----------------------------------------+-------+
//! ```
//!
//! Little endian; the crc covers everything before it. Version 2: each batch says which store decided it, and at which
//! position. Version 1 lacked that, and is refused. Names of metrics are written once a chunk.

use crate::engine::StoreId;
use crate::engine::checksum::Crc32;
use crate::engine::event::batch::POSITION_MAX;
use crate::engine::varint::Bytes;
use crate::wire::{Put, Take, structs};
use crate::{Error, MetricContext, Result};

/// A chunk is cut when it is about this large.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;

const MAGIC: &[u8; 6] = b"RLSYNC";
const VERSION: u16 = 2;

/// The batch that decided something: the store that appended it first, and its position there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Version {
    pub(super) store: [u8; 16],
    pub(super) position: u64,
}

/// Some batches of a source, in order.
///
/// ```
/// use runlode::Lsn;
/// use runlode::sync::{Chunk, Source};
///
/// # let dir = tempfile::tempdir()?;
/// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
/// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
/// here.create_experiment("digits")?;
/// let mut source = Source::new(&here, Lsn(0), there.engine().id())?;
/// let chunk = source.next_chunk()?.expect("the experiments");
/// assert_eq!(Chunk::decode(&chunk.encode())?, chunk);
/// assert_eq!((chunk.source_id(), chunk.points_count(), chunk.is_empty()), (here.engine().id(), 0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
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
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SyncExperiment {
    pub(super) id: u64,
    pub(super) also: Vec<([u8; 16], u64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
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

#[derive(Debug, Clone, Default, PartialEq)]
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

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SyncPoints {
    pub(super) run: [u8; 16],
    pub(super) key: u32,
    /// Models and data sets, as [`MetricContext::encode`] writes them.
    pub(super) context: Option<Vec<u8>>,
    pub(super) steps: Vec<i64>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

structs! {
    Version { store, position }
    Chunk { source, through, keys, seen, experiments, runs, batches }
    SyncExperiment { id, also }
    SyncBatch { store, first, last, time_ms, actor, events, points }
    SyncEvent { bytes, stamp, replaced, print }
    SyncPoints { run, key, context, steps, times, values }
}

impl SyncPoints {
    /// The context of the points.
    ///
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

    /// Whether its positions are possible, and each may have an equal part of every series.
    pub(super) fn is_sound(&self) -> bool {
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

    /// The batches of which this one was joined, each with its part of the points.
    pub(super) fn apart(&self) -> Vec<Self> {
        let (mut rest, mut parts) = (self.clone(), Vec::new());
        while rest.first < rest.last {
            let count = rest.last - rest.first + 1;
            let mut part = rest.clone();
            for points in &mut part.points {
                let of_one = (points.steps.len() as u64 / count) as usize;
                points.steps.truncate(of_one);
                points.times.truncate(of_one);
                points.values.truncate(of_one);
            }
            part.last = rest.first;
            rest.drop_seen(part.last);
            parts.push(part);
        }
        parts.push(rest);
        parts
    }
}

impl Chunk {
    /// Encodes the chunk.
    ///
    /// ```
    /// use runlode::Lsn;
    /// use runlode::sync::{CHUNK_BYTES_MAX, Source};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut source = Source::new(&here, Lsn(0), there.engine().id())?;
    /// while let Some(chunk) = source.next_chunk()? {
    ///     let bytes = chunk.encode(); // to be sent over any transport
    ///     assert!(bytes.len() <= CHUNK_BYTES_MAX);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        self.put(&mut out);
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        out
    }

    /// Decodes a chunk.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bytes that are not a chunk, are damaged, or are of an unknown version.
    ///
    /// ```
    /// assert!(runlode::sync::Chunk::decode(b"something else").is_err());
    /// ```
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
        let mut from = Bytes::new(rest);
        let chunk = Self::take(&mut from).ok_or_else(|| bad("what is in it is no chunk"))?;
        if !from.is_empty() {
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
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// let chunk = source.next_chunk()?.expect("the experiment `Default`");
    /// assert_eq!(chunk.source_id(), here.engine().id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn source_id(&self) -> StoreId {
        StoreId(self.source)
    }

    /// Whether it holds nothing.
    ///
    /// ```
    /// assert!(runlode::sync::Chunk::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.through == 0
    }

    /// Points in it.
    ///
    /// ```
    /// use runlode::{Lsn, RunSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// here.create_run(here.get_or_create_experiment("digits")?, RunSpec::new())?.log_metrics(0, &[("loss", 2.3)])?;
    /// here.flush()?;
    /// let mut source = runlode::sync::Source::new(&here, Lsn(0), there.engine().id())?;
    /// assert_eq!(source.next_chunk()?.expect("the run").points_count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn points_count(&self) -> u64 {
        self.batches.iter().flat_map(|batch| &batch.points).map(|points| points.steps.len() as u64).sum()
    }

    /// The position of the source that is reached with it, if given.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// let mut reached = None;
    /// while let Some(chunk) = source.next_chunk()? {
    ///     reached = chunk.through().or(reached);
    /// }
    /// assert_eq!(reached, Some(source.end().0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn through(&self) -> Option<u64> {
        (self.through > 0).then_some(self.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::origins::Extra;

    fn version(store: u8, position: u64) -> Version {
        Version { store: [store; 16], position }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes that builds of version 2 have always written: servers and clients of different builds meet.
    #[test]
    fn version_2_keeps_its_bytes() {
        const CONTENT: &str = "01010101010101010101010101010101ac0202046c6f7373076772c3b6c39f650102020202020202020202\
            0202020202028080808080804001070103030303030303030303030303030303c801010404040404040404040404040404040401\
            0101010101010101010101010101010502010101010101010101010101010101010909010103616e6e010300ff80ffffffffffff\
            ffffff010102020202020202020202020202020202800101ffffffffffffffffff01000202020202020202020202020202020201\
            0280a0abfef9620000010404040404040404040404040404040401010209c80201800102feffffffffffffffff01000200000000\
            0000e03f010000000000f87f";
        let chunk = Chunk {
            source: [1; 16],
            through: 300,
            keys: vec!["loss".into(), "größe".into()],
            seen: vec![version(2, 1 << 48)],
            experiments: vec![SyncExperiment { id: 7, also: vec![([3; 16], 200)] }],
            runs: vec![([4; 16], version(1, 5))],
            batches: vec![
                SyncBatch {
                    store: [1; 16],
                    first: 9,
                    last: 9,
                    time_ms: -1,
                    actor: Some("ann".into()),
                    events: vec![SyncEvent {
                        bytes: vec![0, 255, 128],
                        stamp: i64::MIN,
                        replaced: Some(version(2, 128)),
                        print: Some(u64::MAX),
                    }],
                    points: vec![],
                },
                SyncBatch {
                    store: [2; 16],
                    first: 1,
                    last: 2,
                    time_ms: 1_700_000_000_000,
                    actor: None,
                    events: vec![],
                    points: vec![SyncPoints {
                        run: [4; 16],
                        key: 1,
                        context: Some(vec![9, 200]),
                        steps: vec![-1, 64],
                        times: vec![i64::MAX, 0],
                        values: vec![0.5, f64::from_bits(0x7ff8_0000_0000_0001)],
                    }],
                },
            ],
        };
        let bytes = chunk.encode();
        let content = bytes.get(8..bytes.len() - 4).unwrap();
        assert_eq!(hex(content), CONTENT);
        // Compared by their bytes: one value is not a number.
        assert_eq!(Chunk::decode(&bytes).unwrap().encode(), bytes);
        for end in 0..content.len() {
            assert!(Chunk::take(&mut Bytes::new(&content[..end])).is_none(), "cut at {end}");
        }
    }

    /// What is beside an event in the log of a store that takes others in.
    #[test]
    fn what_logs_hold_keeps_its_bytes() {
        const EXTRA: &str = "020003ffff03feffffffffffffffff0101ac0205050505050505050505050505050505f0a204";
        let extra = Extra { stamps: vec![(0, -2), (u16::MAX, i64::MAX)], replaced: vec![(300, version(5, 70_000))] };
        assert_eq!(hex(&extra.encode()), EXTRA);
        assert_eq!(Extra::read(&extra.encode()), extra);
        assert_eq!((Extra::default().encode(), Extra::read(&[])), (Vec::new(), Extra::default()));
        assert_eq!(Extra::read(&[1, 2]), Extra::default());
    }
}
