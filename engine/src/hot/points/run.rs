//! One run with hot points: whether it may be logged to, its series under their lock, its place on search's list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

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
    /// Not (yet) created.
    Absent = 0,
    /// Active.
    Active = 1,
    /// Deleted.
    Deleted = 2,
    /// Purged.
    Purged = 3,
}

/// One experiment's list of runs that changed since its search projection was brought up to date.
#[derive(Debug, Default)]
pub struct Changed {
    runs: Mutex<Vec<RunId>>,
}

impl Changed {
    /// Takes the list.
    pub fn take(&self) -> Vec<RunId> {
        std::mem::take(&mut self.runs.lock())
    }

    /// Entries of the list; a run may have several.
    pub fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a run.
    pub fn add(&self, run: RunId) {
        self.runs.lock().push(run);
    }
}

/// Instead of a branch: the run is being rewound, and appends of points wait.
const HELD: u32 = u32::MAX;

/// A run with hot points, or with a handle in somebody's hands.
#[derive(Debug)]
pub struct RunHot {
    /// Its id.
    pub id: RunId,
    /// Its experiment.
    pub experiment: ExperimentId,
    gate: AtomicU8,
    /// The branch that is live, or [`HELD`].
    branch: AtomicU32,
    series: Mutex<RunSeries>,
    /// What late points were compared with. Taken before `series`, never after.
    past: Mutex<RunPast>,
    /// [`HotRuns::bytes`].
    bytes: Arc<AtomicUsize>,
    changed: Arc<Changed>,
    /// Whether it is on the experiment's list.
    listed: AtomicBool,
}

impl RunHot {
    /// A run without points; `complete`: nothing of it is in index or files.
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
        }
    }

    /// Whether points may be logged.
    pub fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            1 => Gate::Active,
            2 => Gate::Deleted,
            3 => Gate::Purged,
            _ => Gate::Absent,
        }
    }

    /// Whether it was made for a batch that was to create the run in another experiment than this, and was refused.
    pub(super) fn is_left_over(&self, experiment: ExperimentId) -> bool {
        self.experiment != experiment && self.gate() == Gate::Absent
    }

    /// Opens or closes it; only under the sequencer.
    pub fn set_gate(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    /// The branch that points are logged to; `None` while the run is being rewound.
    #[inline]
    pub fn branch(&self) -> Option<u32> {
        Some(self.branch.load(Ordering::Acquire)).filter(|branch| *branch != HELD)
    }

    /// Sets the live branch; ends a hold. Only under the sequencer, as all that follows.
    pub fn set_branch(&self, branch: u32) {
        self.branch.store(branch, Ordering::Release);
    }

    /// As [`RunHot::set_branch`], but a run that is held stays so.
    pub fn refresh_branch(&self, branch: u32) {
        if self.branch().is_some() {
            self.set_branch(branch);
        }
    }

    /// Makes appends of points wait until a branch is set; the one that was live. `None`: somebody else holds it.
    pub fn hold(&self) -> Option<u32> {
        Some(self.branch.swap(HELD, Ordering::AcqRel)).filter(|branch| *branch != HELD)
    }

    /// The run's series, which have all points.
    pub fn lock(&self) -> MutexGuard<'_, RunSeries> {
        let mut series = self.series.lock();
        let mut grown = 0;
        series.settle(&mut grown);
        if grown > 0 {
            self.bytes.fetch_add(grown, Ordering::Relaxed);
        }
        series
    }

    /// To append a row: the last rows may wait on. Nothing else is to be asked of the series.
    #[inline]
    pub fn lock_for_row(&self) -> MutexGuard<'_, RunSeries> {
        self.series.lock()
    }

    /// Whether no series of the run is anywhere but here, and keys and stats at a position of all series that are.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log.
    pub fn stats_at(&self, at: Lsn) -> Result<(bool, Vec<(KeyId, StatsAt)>)> {
        'again: loop {
            // The rows first: what a base came to cover meanwhile may be dropped, and is not asked for then.
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
    /// evicts. Taken some thousand at a time; an error (`Io`, if wide rows cannot be read from the log) is one item.
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
            if let Some(one) = series.slot(key).and_then(|slot| series.slots.get(slot as usize)) {
                taken.push(key, one.stats_at(at, &series.wide));
            }
        }
        drop(series);
        taken.complete()
    }

    /// Notes that the index has the stats at `at`.
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
    /// that can go. Only for upkeep. Returns how many bytes were freed, less what was taken.
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
            // What they were at a position never changes; who comes meanwhile has all its points above.
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

    /// Which of these points a series has above `sealed`, at most `up_to`: sets their places in `found`. Returns the
    /// position above which all points were looked at: `sealed`, or one before it.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    ///
    /// # Complexity
    /// The first times all points of the series above `sealed`; then those that came since the last time.
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

    /// Points are about to be evicted: forgets what late points were compared with, as far as it is not worth keeping.
    /// How many bytes were freed, less what was taken.
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

    /// Notes that search must look at the run again.
    #[inline]
    pub fn note_changed(&self) {
        if !self.listed.load(Ordering::Relaxed) && !self.listed.swap(true, Ordering::AcqRel) {
            self.changed.add(self.id);
        }
    }

    /// Search looks at the run now: later changes list it again.
    pub fn note_seen(&self) {
        self.listed.store(false, Ordering::Release);
    }

    /// Makes slots for series that are not here, their stats so far read by `base` without any lock held.
    pub fn insert_bases(
        &self,
        keys: &[KeyId],
        base: impl Fn(KeyId) -> Result<Option<Stats>>,
        bytes: &AtomicUsize,
    ) -> Result<()> {
        loop {
            let (missing, evictions): (Vec<KeyId>, u64) = {
                let series = self.lock();
                (keys.iter().copied().filter(|key| series.slot(*key).is_none()).collect(), series.evictions)
            };
            let bases: Vec<_> = missing.iter().map(|&key| Ok((key, base(key)?))).collect::<Result<_>>()?;
            if self.insert(&bases, evictions, bytes) {
                return Ok(());
            }
        }
    }

    /// Whether nothing was dropped since.
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
