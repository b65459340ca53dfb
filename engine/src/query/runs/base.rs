//! How a search projection is built at the first search of an experiment after an open.
//!
//! ```text
//!  search.snap at P ---+                                        +-> runs on the experiment's list (above L), and
//!                      +-- or --> projection at P or A, and ----+   runs that the log names in (P or A, L]
//!  index at A ---------+                                            are read at the snapshot
//! ```
//! L is where the list begins: the end of the log at the open, or the last position that a projection reached.
//!
//! - `search.snap` is used if it is there, sound, not newer than the snapshot, and has little log between it and L.
//! - Otherwise the index alone is read: that needs no hot state to stay in memory, so writers do not wait.
//! - The frames in between must name every change. Compaction takes points out of frames: if one ran since, every run
//!   is read at the snapshot instead.

use rustc_hash::FxHashSet;

use crate::entity::{EntityKey, EntityState, ExperimentState, touches};
use crate::error::Result;
use crate::event::batch::{SectionKind, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::section::{RowSection, SeriesSection};
use crate::hot::dictionary::Dictionary;
use crate::id::{ExperimentId, Lsn, RunId};
use crate::index::{IndexRead, WantedStats};
use crate::log::FrameKind;
use crate::query::snapshot::Snapshot;
use crate::search::live::{SavedAt, Standing};
use crate::search::saved::SnapFile;
use crate::search::table::Projection;

/// Maximum bytes of log to read to bring a saved projection up to date; beyond that the index is faster.
pub(super) const WAY_BYTES_MAX: u64 = 64 << 20;
/// Maximum bytes of log to read on top of the index. Checkpoints keep it below that, if they run.
const WAY_FROM_INDEX_BYTES_MAX: u64 = 256 << 20;
/// The same limit for small projections. A run takes about 100 bytes in `search.snap`; reading it from the index takes
/// as long as reading this many times those bytes of log.
const WAY_PER_SAVED_BYTE: u64 = 32;

impl Snapshot {
    /// Builds the projection from the saved one or the index. Returns the runs to read at this snapshot besides the
    /// listed ones.
    pub(super) fn find_base(
        &self,
        experiment: ExperimentId,
        state: &ExperimentState,
        standing: &mut Standing,
    ) -> Result<FxHashSet<RunId>> {
        if let Some(changed) = self.load_base(experiment, standing) {
            return Ok(changed);
        }
        let (from, generation) = (self.index.applied(), self.index.generation());
        // An index in memory may be empty, and a replayed one is complete.
        let way_bytes = if self.core.read_only && !self.core.from_index { 0 } else { WAY_FROM_INDEX_BYTES_MAX };
        match self.changed_between(from, standing.listed_above, generation, way_bytes) {
            Some(changed) => {
                let empty = self.empty_projection(experiment)?;
                let (projection, lifecycle_lsn) = read_index(&self.index, &self.core.pipeline.dictionary, empty)?;
                standing.projection = projection;
                standing.lifecycle_lsn = lifecycle_lsn;
                standing.generation = generation;
                standing.position = Some(from);
                Ok(changed)
            }
            None => {
                standing.projection = self.empty_projection(experiment)?;
                standing.lifecycle_lsn = state.lifecycle_lsn;
                for run in self.runs_of(experiment)? {
                    self.upsert(state, run, &mut standing.projection)?;
                }
                Ok(FxHashSet::default())
            }
        }
    }

    /// Bytes that the params and tags of a projection may take: half of what all projections may.
    fn texts_bytes_max(&self) -> usize {
        usize::try_from(self.core.projections.bytes_max() / 2).unwrap_or(usize::MAX)
    }

    fn empty_projection(&self, experiment: ExperimentId) -> Result<Projection> {
        let index = &self.index;
        let many = index.stats_count_estimate()? >= index.runs_count()?.saturating_mul(SERIES_PER_RUN_MANY).max(1);
        let mut empty = if many { Projection::of_asked_metrics(experiment) } else { Projection::new(experiment) };
        empty.bound_texts(self.texts_bytes_max());
        Ok(empty)
    }

    /// Whether an experiment has columns in `search.snap`.
    pub(super) fn has_saved(&self, experiment: ExperimentId) -> bool {
        // One that cannot be read is not there.
        let file = SnapFile::open(&*self.core.storage, self.core.store_id).ok().flatten();
        file.is_some_and(|file| file.part(experiment).is_some_and(|part| part.position <= self.position()))
    }

    /// Loads the projection from `search.snap`. Errors are ignored, because the index has the same data.
    fn load_base(&self, experiment: ExperimentId, standing: &mut Standing) -> Option<FxHashSet<RunId>> {
        if self.core.read_only && !self.core.from_index {
            return None;
        }
        let file = SnapFile::open(&*self.core.storage, self.core.store_id).ok()??;
        let part = file.part(experiment).filter(|part| part.position <= self.position())?;
        let way_bytes = part.len_bytes.saturating_mul(WAY_PER_SAVED_BYTE).min(WAY_BYTES_MAX);
        let log_bytes = self.core.pipeline.log.placed_bytes();
        let changed = self.changed_between(part.position, standing.listed_above, part.generation, way_bytes)?;
        let mut projection = file.load(&part).ok()?;
        projection.bound_texts(self.texts_bytes_max());
        // So many runs changed that the index is faster.
        if changed.len() > 1000.max(projection.len() / 2) {
            return None;
        }
        standing.projection = projection;
        standing.lifecycle_lsn = part.lifecycle_lsn;
        standing.generation = part.generation;
        standing.position = Some(part.position);
        standing.saved = Some(SavedAt { changes: standing.changes, log_bytes });
        Some(changed)
    }

    /// Runs that the log names in `(from, to]`. `None`: unknown, or more than this many bytes would be read.
    /// `generation` is that of the index at `from`.
    fn changed_between(&self, from: Lsn, to: Lsn, generation: u64, bytes_max: u64) -> Option<FxHashSet<RunId>> {
        let mut runs = FxHashSet::default();
        if from >= to {
            return Some(runs);
        }
        let log = &self.core.pipeline.log;
        // Readers that need the frames report damage; here the index is read instead.
        let mut frames = log.read_from(from.next(), to).ok()?;
        let mut bytes = 0;
        while let Some(frame) = frames.next_frame().ok()? {
            bytes += frame.payload.len() as u64;
            if bytes > bytes_max {
                return None;
            }
            if frame.kind != FrameKind::Batch {
                continue;
            }
            for section in sections(frame.payload) {
                let section = section.ok()?;
                match section.kind {
                    kind if kind == SectionKind::Series as u8 => {
                        runs.insert(SeriesSection::read(section.flags, section.body)?.series.run);
                    }
                    kind if kind == SectionKind::Row as u8 => {
                        runs.insert(RowSection::read(section.flags, section.body)?.run);
                    }
                    kind if kind == SectionKind::Event as u8 => {
                        if let Decoded::Known(event) = decode(section.body).ok()? {
                            runs.extend(touches(&event).into_iter().filter_map(|key| match key {
                                EntityKey::Run(run) => Some(run),
                                _ => None,
                            }));
                        }
                    }
                    // An event that this build does not know changed nothing that it shows.
                    _ => {}
                }
            }
        }
        // Check after reading: frames are rewritten next to the old ones first, then named.
        (log.generation() == generation).then_some(runs)
    }
}

/// With this many series per run or more, on average, a search reads only the series that it asks for.
const SERIES_PER_RUN_MANY: u64 = if cfg!(test) { 3 } else { 64 };

/// Reads the runs of a projection's experiment from the index into it. Also returns the position of the lifecycle that it
/// shows then.
fn read_index(index: &IndexRead, dictionary: &Dictionary, mut projection: Projection) -> Result<(Projection, Lsn)> {
    let experiment = projection.experiment();
    let wanted = if projection.asked_metrics().is_none() { WantedStats::All } else { WantedStats::Of(&[]) };
    let state = index.entity(&EntityKey::Experiment(experiment))?;
    let Some(EntityState::Experiment(state)) = state.as_deref() else { return Ok((projection, Lsn::ZERO)) };
    // Read in the order of the tables, then arrange by start time: runs that started together have similar times
    // and texts, and search skips blocks of similar rows.
    let listed = index.runs_of(experiment)?;
    let mut by_id: Vec<(RunId, u32)> = listed.iter().copied().zip(0..).collect();
    by_id.sort_unstable();
    let ids: Vec<RunId> = by_id.iter().map(|(run, _)| *run).collect();
    // The row of the i-th run by start time.
    let mut rows = vec![u32::MAX; listed.len()];
    let mut count = 0;
    index.for_each_run_in(&ids, wanted, |at, row, stats| {
        let (run, place) = by_id[at];
        rows[place as usize] = count;
        count += 1;
        if !dictionary.has_branches() {
            return projection.insert_archived(run, row, state, stats);
        }
        projection.insert_archived(run, row, state, &dictionary.stats_of_branch(row.branch(), stats.to_vec()))
    })?;
    let arranged = rows.iter().zip(0..).all(|(row, place)| *row == place);
    if !arranged {
        rows.retain(|row| *row != u32::MAX);
        projection = projection.arranged(&rows)?;
    }
    Ok((projection, state.lifecycle_lsn))
}
