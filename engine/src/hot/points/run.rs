//! One run with hot points: whether it may be logged to, its series under their lock, its place on search's list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;

use super::past::RunPast;
use super::series::{BASE_BYTES, SERIES_BYTES};
use super::slots::{Evict, PIECE_SERIES, RunSeries};
use super::stats::{StatsAt, Taken};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, Lsn, RunId};
use crate::point::{Columns, PointId, Stats};

/// Whether points may be logged to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    /// Not created yet.
    Absent = 0,
    /// The run and its experiment are active: points may be logged.
    Active = 1,
    /// The run or its experiment is deleted.
    Deleted = 2,
    /// The run is purged.
    Purged = 3,
}

/// The runs of one experiment that changed since search last read them.
#[derive(Debug, Default)]
pub struct Changed {
    runs: Mutex<Vec<RunId>>,
}

impl Changed {
    /// Takes all runs off the list.
    pub fn take(&self) -> Vec<RunId> {
        std::mem::take(&mut self.runs.lock())
    }

    /// Number of entries; a run may have several.
    pub fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// Adds a run to the list.
    pub fn add(&self, run: RunId) {
        self.runs.lock().push(run);
    }
}

/// Value of `branch` while the run is being rewound: appends of points wait.
const HELD: u32 = u32::MAX;

/// A run with hot points, or with a handle that a caller holds.
#[derive(Debug)]
pub struct RunHot {
    /// Id of the run.
    pub id: RunId,
    /// Experiment of the run.
    pub experiment: ExperimentId,
    gate: AtomicU8,
    /// The live branch, or [`HELD`].
    branch: AtomicU32,
    series: Mutex<RunSeries>,
    /// Points that late points were compared with. Lock this before `series`, never after.
    past: Mutex<RunPast>,
    /// The counter of [`HotRuns::bytes`].
    bytes: Arc<AtomicUsize>,
    changed: Arc<Changed>,
    /// Whether the run is on its experiment's list of changed runs.
    listed: AtomicBool,
    /// Pauses that the run's next calls owe for its new series; see [`crate::ingest::room`].
    owed_ns: AtomicU64,
}

impl RunHot {
    /// A run without points. `complete`: index and files have nothing of it.
    pub(super) fn new(
        (id, experiment): (RunId, ExperimentId),
        gate: Gate,
        complete: bool,
        bytes: Arc<AtomicUsize>,
        changed: Arc<Changed>,
    ) -> Self {
        Self {
            id,
            experiment,
            gate: AtomicU8::new(gate as u8),
            branch: AtomicU32::new(0),
            series: Mutex::new(RunSeries::new(complete)),
            past: Mutex::default(),
            bytes,
            changed,
            listed: AtomicBool::new(false),
            owed_ns: AtomicU64::new(0),
        }
    }

    /// Whether points may be logged to the run.
    pub fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            1 => Gate::Active,
            2 => Gate::Deleted,
            3 => Gate::Purged,
            _ => Gate::Absent,
        }
    }

    /// Whether this was made for a refused batch that would have created the run in another experiment than
    /// `experiment`.
    pub(super) fn is_left_over(&self, experiment: ExperimentId) -> bool {
        self.experiment != experiment && self.gate() == Gate::Absent
    }

    /// Opens or closes the run for points; only under the sequencer.
    pub fn set_gate(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    /// The branch that points are logged to; `None` while the run is being rewound.
    #[inline]
    pub fn branch(&self) -> Option<u32> {
        Some(self.branch.load(Ordering::Acquire)).filter(|branch| *branch != HELD)
    }

    /// Sets the live branch and ends a hold. Only under the sequencer, like the calls below.
    pub fn set_branch(&self, branch: u32) {
        self.branch.store(branch, Ordering::Release);
    }

    /// As [`RunHot::set_branch`], but a held run stays held.
    pub fn refresh_branch(&self, branch: u32) {
        if self.branch().is_some() {
            self.set_branch(branch);
        }
    }

    /// Makes appends of points wait until a branch is set. Returns the branch that was live; `None`: the run is held
    /// already.
    pub fn hold(&self) -> Option<u32> {
        Some(self.branch.swap(HELD, Ordering::AcqRel)).filter(|branch| *branch != HELD)
    }

    /// Locks the run's series, after giving them the last rows: every series then has all its points.
    pub fn lock(&self) -> MutexGuard<'_, RunSeries> {
        let mut series = self.series.lock();
        let mut grown = 0;
        series.settle(&mut grown);
        if grown > 0 {
            self.bytes.fetch_add(grown, Ordering::Relaxed);
        }
        series
    }

    /// Locks the run's series to append a row, leaving the last rows unmerged. Do not read the series under this lock.
    #[inline]
    pub fn lock_for_row(&self) -> MutexGuard<'_, RunSeries> {
        self.series.lock()
    }

    /// Whether all series of the run are in memory, and the keys and stats at a position of those that are.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log.
    pub fn stats_at(&self, at: Lsn) -> Result<(bool, Vec<(KeyId, StatsAt)>)> {
        'again: loop {
            // Take the rows first: rows that a new base covers meanwhile may be dropped, and are then not needed.
            let (rows, evictions) = {
                let series = self.lock();
                (series.wide.between(Lsn::ZERO, at), series.evictions)
            };
            let mut taken = Taken::new(rows);
            for piece in 0.. {
                let series = self.lock();
                if series.evictions != evictions {
                    continue 'again;
                }
                let some = series.piece(piece);
                if some.is_empty() {
                    let complete = series.complete;
                    drop(series);
                    return Ok((complete, taken.complete()?));
                }
                some.iter().for_each(|one| taken.push(one.key, one.stats_at(at, &series.wide)));
            }
        }
    }

    /// Stats of one series at a position.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log.
    pub fn series_stats_at(&self, key: KeyId, at: Lsn) -> Result<StatsAt> {
        let series = self.lock();
        let Some(one) = series.slot(key).and_then(|slot| series.slots.get(slot as usize)) else {
            return Ok(StatsAt::Index);
        };
        match one.stats_at(at, &series.wide) {
            Ok(stats) => Ok(stats),
            Err(pending) => {
                let rows = series.wide.between(pending.after, at);
                drop(series);
                Ok(pending.add(rows.block(&[key])?.points(0)))
            }
        }
    }

    /// Keys of series that have, or had, points above `after`, ascending.
    pub fn keys_above(&self, after: Lsn) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> = {
            let series = self.lock();
            series.slots.iter().filter(|one| one.last_lsn > after).map(|one| one.key).collect()
        };
        keys.sort_unstable();
        keys
    }

    /// Stats at `at` of all series touched since [`Self::checkpointed`], ascending by key. Only for upkeep, which alone
    /// evicts. Some thousand series are read at a time; an error (`Io` if wide rows cannot be read from the log) is one
    /// item.
    pub fn touched(run: &Arc<Self>, at: Lsn) -> impl Iterator<Item = Result<(KeyId, Stats)>> + use<> {
        let run = run.clone();
        let mut keys: Vec<KeyId> = {
            let series = run.lock();
            series.slots.iter().filter(|one| one.last_lsn > one.checkpointed).map(|one| one.key).collect()
        };
        keys.sort_unstable();
        (0..keys.len()).step_by(PIECE_SERIES).flat_map(move |start| {
            let end = (start + PIECE_SERIES).min(keys.len());
            let (found, failed) = match run.stats_of(keys.get(start..end).unwrap_or_default(), at) {
                Ok(found) => (found, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let known = found.into_iter().filter_map(|(key, at)| at.known().map(|stats| Ok((key, stats))));
            known.chain(failed)
        })
    }

    fn stats_of(&self, keys: &[KeyId], at: Lsn) -> Result<Vec<(KeyId, StatsAt)>> {
        let series = self.lock();
        let mut taken = Taken::new(series.wide.between(Lsn::ZERO, at));
        for &key in keys {
            let one = series.slot(key).and_then(|slot| series.slots.get(slot as usize));
            debug_assert!(one.is_some(), "only upkeep evicts, and it is computing statistics");
            if let Some(one) = one {
                taken.push(key, one.stats_at(at, &series.wide));
            }
        }
        drop(series);
        taken.complete()
    }

    /// Records that the index has the stats at `at`.
    pub fn checkpointed(&self, at: Lsn) {
        for piece in 0.. {
            let mut series = self.lock();
            let some = series.piece_mut(piece);
            if some.is_empty() {
                break;
            }
            some.iter_mut().for_each(|one| one.checkpointed = one.checkpointed.max(at));
        }
    }

    /// Makes the stats at `sealed` the bases of all series, and drops the wide rows up to there and all other points
    /// that are within the bounds. Only for upkeep. Returns the bytes freed, less those newly used.
    pub(super) fn evict_rows(&self, bounds: &Evict) -> Result<isize> {
        let mut freed = 0isize;
        for piece in 0.. {
            let mut taken;
            {
                let series = self.lock();
                taken = Taken::new(series.wide.between(Lsn::ZERO, bounds.sealed));
                let some = series.piece(piece);
                if some.is_empty() {
                    break;
                }
                some.iter().for_each(|one| taken.push(one.key, one.stats_at(bounds.sealed, &series.wide)));
            }
            // Stats at a position never change; series made meanwhile have all their points above it.
            let stats = taken.complete()?;
            let mut series = self.lock();
            let stats = stats.into_iter().map(|(_, at)| at).chain(std::iter::repeat(StatsAt::Index));
            for (one, at) in series.piece_mut(piece).iter_mut().zip(stats) {
                let before = one.bytes();
                one.evict(bounds.sealed, bounds.tight, Some(at));
                freed += before as isize - one.bytes() as isize;
            }
        }
        let mut series = self.lock();
        let before = series.wide.bytes();
        series.wide.drop_to(bounds.sealed);
        Ok(freed + before as isize - series.wide.bytes() as isize)
    }

    /// Finds which of these points a series has above `sealed` and at most `up_to`, and sets their places in `found`.
    /// Returns the position above which all points were compared: `sealed` or a lower one.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    ///
    /// # Complexity
    /// The first calls read all points of the series above `sealed`; later calls only those logged since.
    pub fn find_points(
        &self,
        key: KeyId,
        (sealed, up_to): (Lsn, Lsn),
        asked: &[PointId],
        found: &mut [bool],
    ) -> Result<Lsn> {
        let mut columns = Columns::default();
        let mut past = self.past.lock();
        if !past.series.contains_key(&key) && self.lock().points(key, sealed, up_to).is_empty() {
            return Ok(sealed);
        }
        let evicted = past.evicted;
        let one = past.series.entry(key).or_default();
        let before = one.bytes();
        let from = match one.set_above(sealed, evicted) {
            Some((from, to, set)) => {
                let points = self.lock().points(key, *to, up_to);
                points.decode(&mut columns)?;
                set.extend((0..columns.len()).flat_map(|index| columns.ids(index)));
                *to = up_to.max(*to);
                for (found, id) in found.iter_mut().zip(asked) {
                    *found |= set.contains(id);
                }
                *from
            }
            None => {
                let points = self.lock().points(key, sealed, up_to);
                points.decode(&mut columns)?;
                let mut places: FxHashMap<PointId, usize> = FxHashMap::default();
                places.extend(asked.iter().copied().zip(0..));
                for index in 0..columns.len() {
                    for id in columns.ids(index) {
                        if let Some(found) = places.get(&id).and_then(|place| found.get_mut(*place)) {
                            *found = true;
                        }
                    }
                }
                sealed
            }
        };
        let grown = one.bytes().saturating_sub(before);
        past.counted += grown;
        self.bytes.fetch_add(grown, Ordering::Relaxed);
        Ok(from)
    }

    /// Called before points are evicted: forgets the sets for late points that are not worth keeping. Returns the bytes
    /// freed, less those newly used.
    pub(super) fn forget_past(&self, bounds: &Evict) -> isize {
        let mut past = self.past.lock();
        past.evicted = past.evicted.max(bounds.sealed);
        past.forget(bounds.tight, |key, to, set| {
            let mut columns = Columns::default();
            let points = self.lock().points(key, *to, Lsn::MAX);
            let decoded = points.decode(&mut columns).is_ok();
            set.extend((0..columns.len()).flat_map(|index| columns.ids(index)));
            *to = columns.lsns.last().map_or(*to, |last| Lsn(*last)).max(*to).max(bounds.sealed);
            decoded
        });
        let bytes = past.bytes();
        let freed = past.counted as isize - bytes as isize;
        past.counted = bytes;
        freed
    }

    /// Puts the run on the list of runs that search must read again.
    #[inline]
    pub fn note_changed(&self) {
        if !self.listed.load(Ordering::Relaxed) && !self.listed.swap(true, Ordering::AcqRel) {
            self.changed.add(self.id);
        }
    }

    /// Search is about to read the run: later changes list it again.
    pub fn note_seen(&self) {
        self.listed.store(false, Ordering::Release);
    }

    /// Pauses that the run's next calls owe, in nanoseconds.
    #[inline]
    pub(crate) fn owed_ns(&self) -> u64 {
        self.owed_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn set_owed_ns(&self, owed: u64) {
        self.owed_ns.store(owed, Ordering::Relaxed);
    }

    /// Makes slots for series that are not in memory, with their stats read by `bases` without any lock held. Returns
    /// how many it made.
    pub fn insert_bases(
        &self,
        keys: &[KeyId],
        bases: impl Fn(&[KeyId]) -> Result<Vec<Option<Stats>>>,
        bytes: &AtomicUsize,
    ) -> Result<usize> {
        loop {
            let (missing, evictions): (Vec<KeyId>, u64) = {
                let series = self.lock();
                (keys.iter().copied().filter(|key| series.slot(*key).is_none()).collect(), series.evictions)
            };
            let found = bases(&missing)?;
            debug_assert_eq!(found.len(), missing.len());
            let bases: Vec<_> = missing.into_iter().zip(found).collect();
            if self.insert(&bases, evictions, bytes) {
                return Ok(bases.len());
            }
        }
    }

    /// Inserts the bases unless series were dropped since `evictions` was read; returns whether it did.
    fn insert(&self, bases: &[(KeyId, Option<Stats>)], evictions: u64, bytes: &AtomicUsize) -> bool {
        for piece in bases.chunks(PIECE_SERIES) {
            let mut series = self.lock();
            // A series that was made, logged to and dropped meanwhile has a newer row in the index: read again.
            if series.evictions != evictions {
                return false;
            }
            series.reserve(piece.len());
            for &(key, base) in piece {
                series.insert(key, base);
                bytes.fetch_add(SERIES_BYTES + base.map_or(0, |_| BASE_BYTES), Ordering::Relaxed);
            }
        }
        true
    }
}
