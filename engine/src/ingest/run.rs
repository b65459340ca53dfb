//! The hot path: a handle that logs points to one run without allocating and without validating entities.
//!
//! A row of 5 keys takes 96 to 112 bytes in the log. Scratch memory (frame, encoder) belongs to the thread or the
//! caller. A row with the keys of the row before, whose series are in hot state, touches one mutex of the store, one of
//! the run, and no other word that several threads write.

use std::cell::RefCell;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::batch::{Batch, Durability};
use super::encode::{Encoder, KeyedPoint, Planned, check_time};
use super::gate::branch_to_log;
use super::look_up::late_before;
use super::pipeline::Pipeline;
use super::prepared::{Prepared, PreparedRow, Refused, RunPoints};
use super::sequencer::RowToAppend;
use crate::error::{Error, Result};
use crate::event::batch::{Definition, SectionKind, put_definition, put_section};
use crate::event::section::{put_row, row_values};
use crate::fork;
use crate::hot::points::RunHot;
use crate::id::{ContextId, KeyId, Lsn, RunId};
use crate::ingest::encode::KEYS_PER_BATCH_MAX;
use crate::log::FrameBuf;
use crate::point::Point;
use crate::time::TimestampMs;

/// Memory reused from row to row, so that a row allocates nothing and looks no key up. It may serve any runs in turn.
#[derive(Debug, Default)]
pub struct RowScratch {
    frame: FrameBuf,
    /// Keys that the frame defines.
    defined: Vec<KeyId>,
    last: LastRow,
}

/// The keys of a row that was logged: the log defines all of them.
#[derive(Debug, Default)]
struct LastRow {
    /// [`Pipeline::number`] of the store that the keys belong to; 0: no row was logged yet.
    pipeline: u64,
    keys: Vec<KeyId>,
}

impl LastRow {
    #[inline]
    fn has_keys_of(&self, pipeline: &Pipeline, row: &[(KeyId, f64)]) -> bool {
        self.pipeline == pipeline.number
            && self.keys.len() == row.len()
            && self.keys.iter().zip(row).all(|(known, (key, _))| known == key)
    }

    #[cold]
    fn set(&mut self, pipeline: &Pipeline, row: &[(KeyId, f64)]) {
        self.pipeline = pipeline.number;
        self.keys.clear();
        self.keys.extend(row.iter().map(|(key, _)| *key));
    }
}

#[derive(Default)]
struct Scratch {
    row: RowScratch,
    encoder: Encoder,
    planned: Planned,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Points of a rewound run, under the keys of its branch.
#[derive(Default)]
struct Own<T> {
    points: Vec<T>,
    /// The metrics' own keys, which are defined together with those of the branch.
    metrics: Vec<KeyId>,
}

/// Logs metric points to one run. Cheap to clone; may be used from several threads.
#[derive(Debug, Clone)]
pub struct RunHandle {
    pipeline: Arc<Pipeline>,
    run: Arc<RunHot>,
    /// The process that made the handle: see [`fork::generation`].
    generation: u64,
}

impl RunHandle {
    pub(crate) fn new(pipeline: Arc<Pipeline>, run: Arc<RunHot>) -> Self {
        Self { pipeline, run, generation: fork::generation() }
    }

    /// Id of the run.
    pub fn id(&self) -> RunId {
        self.run.id
    }

    /// Logs one point of one key.
    ///
    /// # Errors
    /// `Invalid` for a negative time or a key of another store; `Deleted`, `Purged` or `NotFound` for the run;
    /// `StorageFull`, `Poisoned`, `Closed`. After an error nothing is logged.
    pub fn log_point(&self, key: KeyId, point: Point, durability: Durability) -> Result<Lsn> {
        self.log_row(point.step, point.time, &[(key, point.value)], durability)
    }

    /// Logs one step: one value for each of many keys. A key that occurs twice in the row is two points.
    ///
    /// # Errors
    /// As [`RunHandle::log_point`]; also `Invalid` for an empty row, or one of more than 250,000 keys.
    pub fn log_row(&self, step: i64, time: TimestampMs, row: &[(KeyId, f64)], durability: Durability) -> Result<Lsn> {
        SCRATCH.with_borrow_mut(|scratch| self.log_row_with(&mut scratch.row, step, Some(time), row, durability))
    }

    /// As [`RunHandle::log_row`], with the time of the store's clock, which is then read only once.
    ///
    /// # Errors
    /// As [`RunHandle::log_row`].
    pub fn log_row_now(&self, step: i64, row: &[(KeyId, f64)], durability: Durability) -> Result<Lsn> {
        SCRATCH.with_borrow_mut(|scratch| self.log_row_with(&mut scratch.row, step, None, row, durability))
    }

    /// As [`RunHandle::log_row`], or without a time as [`RunHandle::log_row_now`], with the caller's own scratch
    /// memory.
    ///
    /// # Errors
    /// As [`RunHandle::log_row`].
    #[inline]
    pub fn log_row_with(
        &self,
        scratch: &mut RowScratch,
        step: i64,
        time: Option<TimestampMs>,
        row: &[(KeyId, f64)],
        durability: Durability,
    ) -> Result<Lsn> {
        self.check_process()?;
        let now = self.pipeline.clock.now();
        let time = time.unwrap_or(now);
        check_time(0, time)?;
        let late = time < late_before(now);
        if row.is_empty() || row.len() > KEYS_PER_BATCH_MAX {
            let why = format!("{} keys; between 1 and {KEYS_PER_BATCH_MAX} fit one row", row.len());
            return Err(Error::invalid("row", why));
        }
        let given = row;
        loop {
            let branch = branch_to_log(&self.run);
            let own = self.own(branch, given, |&(key, value), own| (own(key), value))?;
            let row = own.as_ref().map_or(given, |own| &own.points);
            let metrics = own.as_ref().map_or(&[][..], |own| &own.metrics);
            let logged = match durability {
                Durability::Buffered => {
                    let RowScratch { frame, defined, last } = scratch;
                    frame.clear();
                    let is_defined = metrics.is_empty() && last.has_keys_of(&self.pipeline, row);
                    if !is_defined {
                        self.put_row_definitions(frame, row, metrics, defined)?;
                    }
                    let values = self.put_row(frame, step, time, row)?;
                    let to_append = RowToAppend { row, step, time, late, branch, values, now };
                    let lsn = self.pipeline.append_row(&self.run, frame, &to_append);
                    if let Ok(lsn) = lsn
                        && !is_defined
                    {
                        self.note_defined(defined, lsn);
                        last.set(&self.pipeline, row);
                    }
                    lsn
                }
                Durability::Sync => {
                    let mut prepared = Box::<Prepared>::default();
                    let mut defined = Vec::new();
                    self.put_row_definitions(&mut prepared.frame, row, metrics, &mut defined)?;
                    let values = self.put_row(&mut prepared.frame, step, time, row)?;
                    prepared.row = Some(PreparedRow {
                        run: self.run.clone(),
                        branch,
                        step,
                        time,
                        late,
                        context: ContextId(0),
                        row: row.to_vec(),
                        values,
                    });
                    self.pipeline.commit(prepared, durability).inspect(|&lsn| self.note_defined(&defined, lsn))
                }
            };
            if matches!(logged, Err(Refused::LookUp)) {
                let point = |&(key, value): &(KeyId, f64)| KeyedPoint { key, point: Point { step, time, value } };
                return self.look_up(given.iter().map(point), durability);
            }
            if let Some(lsn) = self.again(logged)? {
                return Ok(lsn);
            }
        }
    }

    /// Logs points of which some may be there already.
    #[cold]
    fn look_up(&self, points: impl Iterator<Item = KeyedPoint>, durability: Durability) -> Result<Lsn> {
        let mut batch = Batch::new();
        points.for_each(|KeyedPoint { key, point }| batch.push_point(self.run.id, key, point));
        Ok(self.pipeline.append(&batch, durability)?.lsn)
    }

    /// Logs points of any keys, in the order given, as one batch.
    ///
    /// # Errors
    /// As [`RunHandle::log_point`]; also `Invalid` for no points, or for too many (2,000,000 points, 250,000 keys).
    pub fn log_points(&self, points: &[KeyedPoint], durability: Durability) -> Result<Lsn> {
        self.check_process()?;
        let given = points;
        let now = self.pipeline.clock.now();
        loop {
            let branch = branch_to_log(&self.run);
            let own = self.own(branch, given, |point, own| KeyedPoint { key: own(point.key), point: point.point })?;
            let points = own.as_ref().map_or(given, |own| &own.points);
            let metrics = own.as_ref().map_or(&[][..], |own| &own.metrics);
            let logged = match durability {
                Durability::Buffered => SCRATCH.with_borrow_mut(|scratch| {
                    let Scratch { row: RowScratch { frame, defined, .. }, encoder, planned } = scratch;
                    self.put_points(points, metrics, now, frame, encoder, planned, defined)?;
                    let lsn = self.pipeline.append_points(&self.run, frame, planned, branch, now)?;
                    self.note_defined(defined, lsn);
                    Ok(lsn)
                }),
                Durability::Sync => {
                    let mut prepared = Box::<Prepared>::default();
                    let (mut planned, mut defined) = (Planned::default(), Vec::new());
                    SCRATCH.with_borrow_mut(|scratch| {
                        let encoder = &mut scratch.encoder;
                        self.put_points(points, metrics, now, &mut prepared.frame, encoder, &mut planned, &mut defined)
                    })?;
                    prepared.points.push(RunPoints { run: self.run.clone(), branch, planned });
                    self.pipeline.commit(prepared, durability).inspect(|&lsn| self.note_defined(&defined, lsn))
                }
            };
            if matches!(logged, Err(Refused::LookUp)) {
                return self.look_up(given.iter().copied(), durability);
            }
            if let Some(lsn) = self.again(logged)? {
                return Ok(lsn);
            }
        }
    }

    #[inline]
    fn check_process(&self) -> Result<()> {
        if self.generation == fork::generation() { Ok(()) } else { Err(Error::Forked) }
    }

    /// The points under the keys of a branch. `None` for the first branch: its keys are the metrics' own.
    #[inline]
    fn own<T>(
        &self,
        branch: u32,
        points: &[T],
        each: impl Fn(&T, &mut dyn FnMut(KeyId) -> KeyId) -> T,
    ) -> Result<Option<Own<T>>> {
        if branch == 0 { Ok(None) } else { self.own_of_branch(branch, points, each).map(Some) }
    }

    fn own_of_branch<T>(
        &self,
        branch: u32,
        points: &[T],
        each: impl Fn(&T, &mut dyn FnMut(KeyId) -> KeyId) -> T,
    ) -> Result<Own<T>> {
        let mut metrics = Vec::new();
        let mut failed = Ok(());
        let mut of_key: FxHashMap<KeyId, KeyId> = FxHashMap::default();
        let mut own = |key: KeyId| {
            *of_key.entry(key).or_insert_with(|| {
                metrics.push(key);
                self.pipeline.own_key(key, branch).unwrap_or_else(|error| {
                    failed = Err(error);
                    key
                })
            })
        };
        let points = points.iter().map(|point| each(point, &mut own)).collect();
        failed?;
        Ok(Own { points, metrics })
    }

    /// Handles a refusal. `None`: try again.
    #[inline]
    fn again(&self, logged: Result<Lsn, Refused>) -> Result<Option<Lsn>> {
        match logged {
            Ok(lsn) => Ok(Some(lsn)),
            // Late points were looked up before.
            Err(Refused::Stale | Refused::LookUp) => Ok(None),
            Err(Refused::Bases(run, keys)) => self.pipeline.read_bases_to_append(&run, &keys).map(|()| None),
            Err(Refused::Repeated(lsn) | Refused::There(lsn)) => Ok(Some(lsn)),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    #[inline]
    fn note_defined(&self, defined: &[KeyId], lsn: Lsn) {
        if !defined.is_empty() {
            self.pipeline.dictionary.published_keys(defined, lsn);
        }
    }

    #[cold]
    fn put_row_definitions(
        &self,
        frame: &mut FrameBuf,
        row: &[(KeyId, f64)],
        metrics: &[KeyId],
        defined: &mut Vec<KeyId>,
    ) -> Result<()> {
        let keys = metrics.iter().copied().chain(row.iter().map(|(key, _)| *key));
        self.put_definitions(frame.payload_mut(), keys, defined)
    }

    /// Writes a row into a frame. Returns the offset of the values, and whether they are f32.
    #[inline]
    fn put_row(&self, frame: &mut FrameBuf, step: i64, time: TimestampMs, row: &[(KeyId, f64)]) -> Result<(u64, bool)> {
        let bytes = frame.payload_mut();
        let mut flags = 0;
        put_section(bytes, SectionKind::Row, |out| {
            flags = put_row(out, self.run.id, ContextId(0), step, time, row);
            flags
        });
        let values = row_values(flags, bytes.len(), row.len());
        frame.seal()?;
        Ok(values)
    }

    #[expect(clippy::too_many_arguments, reason = "scratch of the caller's; a struct would only rename it")]
    fn put_points(
        &self,
        points: &[KeyedPoint],
        metrics: &[KeyId],
        now: TimestampMs,
        frame: &mut FrameBuf,
        encoder: &mut Encoder,
        planned: &mut Planned,
        defined: &mut Vec<KeyId>,
    ) -> Result<()> {
        frame.clear();
        planned.clear();
        let bytes = frame.payload_mut();
        encoder.encode_at(self.run.id, points, late_before(now), bytes, planned)?;
        // Definitions may come after the points: a reader takes a frame as a whole.
        let keys = planned.series.iter().map(|series| series.key);
        self.put_definitions(bytes, metrics.iter().copied().chain(keys), defined)?;
        frame.seal()
    }

    /// Writes definitions of keys that no published frame defines yet, and adds their numbers to `defined`.
    fn put_definitions(
        &self,
        bytes: &mut Vec<u8>,
        keys: impl Iterator<Item = KeyId>,
        defined: &mut Vec<KeyId>,
    ) -> Result<()> {
        defined.clear();
        let mut section: Vec<u8> = Vec::new();
        let known = self.pipeline.dictionary.unpublished(keys, std::iter::empty(), |definition| {
            put_definition(&mut section, &definition);
            if let Definition::Key(id, _) = definition {
                defined.push(id);
            }
        });
        if !known {
            return Err(Error::invalid("metric key", "its number is not one of this store"));
        }
        if !section.is_empty() {
            put_section(bytes, SectionKind::Dictionary, |out| {
                out.extend_from_slice(&section);
                0
            });
        }
        Ok(())
    }
}
