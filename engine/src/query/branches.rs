//! Reading a run that was rewound: a branch's series, put together from the branches that it continues (see
//! [`crate::branch`]).
//!
//! A metric of a branch is its own series, preceded by the series of the branches that it continues, each up to a step.
//! Chunks wholly within that step are used unchanged; at most one chunk per series is cut. The statistics are those
//! recorded by the rewind, with the branch's own points added: no point is read for them.
//!
//! In a store in which no run was ever rewound, all this costs one check of a flag.

use std::sync::Arc;

use super::branch_series::{BranchSeries, Part};
use super::points::{HistoryPage, HistoryQuery, SeriesSource, Unsealed, history};
use super::snapshot::Snapshot;
use crate::branch::{kept_key, line, own_key};
use crate::entity::{EntityKey, EntityState, ForkedFrom, Rewind};
use crate::error::{EntityKind, Error, Result};
use crate::hot::points::HotPoints;
use crate::id::{KeyId, Lsn, RunId, SeriesId};
use crate::point::{Columns, Stats};
use crate::series::ChunkList;

/// A branch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Number of the branch, from 0.
    pub number: u32,
    /// The branch that it continues, and the last step taken from there. `None` for the first branch.
    pub from: Option<(u32, i64)>,
    /// Position and time (Unix ms) of the rewind that began it. `None` for the first branch.
    pub began: Option<(Lsn, i64)>,
    /// Position, time (Unix ms) and step of the rewind that ended it. `None` for the live branch.
    pub ended: Option<(Lsn, i64, i64)>,
}

impl Snapshot {
    /// The rewinds of a run up to a position at most this snapshot's.
    pub(crate) fn rewinds(&self, run: RunId, at: Lsn) -> Result<Vec<Rewind>> {
        Ok(self.lineage(run, at)?.0)
    }

    /// The rewinds of a run up to a position, and the run that it was forked from.
    fn lineage(&self, run: RunId, at: Lsn) -> Result<(Vec<Rewind>, Option<ForkedFrom>)> {
        if !self.core.pipeline.dictionary.has_branches() {
            return Ok((Vec::new(), None));
        }
        let hot = self.core.pipeline.newest.hot.at(&EntityKey::Run(run), self.position);
        let (mut rewinds, forked) = match hot.as_deref() {
            Some(EntityState::Run(state)) => (state.rewinds.clone(), state.forked),
            _ => self.index.lineage(run)?,
        };
        self.check()?;
        rewinds.retain(|rewind| rewind.lsn <= at);
        Ok((rewinds, forked))
    }

    /// A metric in the branch that was live at a position.
    pub(crate) fn live_series(&self, run: RunId, metric: KeyId, at: Lsn) -> Result<BranchSeries> {
        let lineage = self.lineage(run, at)?;
        let branch = lineage.0.len() as u32;
        self.branch_series(run, metric, lineage, branch)
    }

    fn branch_series(
        &self,
        run: RunId,
        metric: KeyId,
        (rewinds, forked): (Vec<Rewind>, Option<ForkedFrom>),
        branch: u32,
    ) -> Result<BranchSeries> {
        let dictionary = &self.core.pipeline.dictionary;
        let name = if branch == 0 { None } else { dictionary.key_name(metric) };
        let Some(name) = name else {
            return Ok(BranchSeries { run, own: Some(metric), continued: Vec::new(), kept: None });
        };
        let own = dictionary.find_key(&own_key(&name, branch));
        let kept = dictionary.find_key(&kept_key(&name, branch));
        let mut continued = Vec::new();
        // If nothing was kept, the metric has no points in earlier branches.
        if kept.is_some() {
            let line = line(&rewinds, branch);
            let last = line.last().map_or(i64::MAX, |(_, step_last)| *step_last);
            self.push_parts(run, &name, line.into_iter().skip(1), Lsn::MAX, &mut continued);
            if let Some(forked) = forked {
                self.push_parents(&name, forked, last, &mut continued)?;
            }
        }
        Ok(BranchSeries { run, own, continued, kept })
    }

    /// Adds the series of a metric in these branches of a run.
    fn push_parts(
        &self,
        run: RunId,
        metric: &str,
        branches: impl Iterator<Item = (u32, i64)>,
        up_to: Lsn,
        parts: &mut Vec<Part>,
    ) {
        let key = |branch| self.core.pipeline.dictionary.find_key(&own_key(metric, branch));
        parts
            .extend(branches.filter_map(|(branch, step_last)| Some(Part { run, key: key(branch)?, step_last, up_to })));
    }

    /// Adds what a forked run shares with its parent, and with the runs that the parent was forked from.
    fn push_parents(
        &self,
        metric: &str,
        mut forked: ForkedFrom,
        mut step_last: i64,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let mut before = Lsn::MAX;
        // A parent is older; damaged data must not cause an endless loop.
        while forked.up_to < before {
            before = forked.up_to;
            if self.core.pipeline.is_purged(forked.run, self.position) {
                return Err(Error::Purged { run: forked.run.to_string() });
            }
            let (rewinds, next) = self.lineage(forked.run, forked.up_to)?;
            let shared: Vec<(u32, i64)> = line(&rewinds, forked.branch)
                .into_iter()
                .map(|(branch, bound)| {
                    step_last = step_last.min(bound);
                    (branch, step_last)
                })
                .collect();
            self.push_parts(forked.run, metric, shared.into_iter(), forked.up_to, parts);
            match next {
                Some(next) => forked = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Stats of a metric of a branch.
    pub(crate) fn stats_of_series(&self, series: &BranchSeries) -> Result<Option<Stats>> {
        let stats = |key| self.physical_stats(SeriesId { run: series.run, key });
        let own = series.own.map(stats).transpose()?.flatten();
        let Some(mut all) = series.kept.map(stats).transpose()?.flatten() else { return Ok(own) };
        if let Some(own) = own {
            all.merge(&own);
        }
        Ok(Some(all))
    }

    /// Number of points of a metric of a branch.
    pub(crate) fn count_of_series(&self, series: &BranchSeries) -> Result<u64> {
        Ok(self.stats_of_series(series)?.map_or(0, |stats| stats.count_raw))
    }

    /// All points of a metric of a branch up to a position, which is at most this snapshot's.
    pub(crate) fn source_of(&self, series: &BranchSeries, up_to: Lsn) -> Result<SeriesSource> {
        self.source_with(series, up_to, Columns::default(), |hot, _, columns| hot.decode(columns))
    }

    /// The points that a page of a history needs.
    ///
    /// `room` is empty: memory for the points that are not in chunks.
    pub(super) fn source_of_page(
        &self,
        series: &BranchSeries,
        query: &HistoryQuery,
        room: Columns,
    ) -> Result<SeriesSource> {
        self.source_with(series, self.position, room, |hot, bound, columns| {
            let mut part = query.part();
            part.steps.1 = part.steps.1.min(bound);
            hot.decode_part(&part, columns)
        })
    }

    /// One series, without the branches that a metric may be put together from.
    pub(crate) fn source(&self, series: SeriesId, up_to: Lsn) -> Result<SeriesSource> {
        self.source_of(
            &BranchSeries { run: series.run, own: Some(series.key), continued: Vec::new(), kept: None },
            up_to,
        )
    }

    fn source_with(
        &self,
        series: &BranchSeries,
        up_to: Lsn,
        mut columns: Columns,
        decode: impl Fn(&HotPoints, i64, &mut Columns) -> Result<()>,
    ) -> Result<SeriesSource> {
        if self.core.pipeline.is_purged(series.run, self.position) {
            return Ok(SeriesSource { chunks: Arc::default(), hot: Columns::default(), up_to });
        }
        let chunks = match series.own {
            Some(key) if series.continued.is_empty() => self.chunks(SeriesId { run: series.run, key })?,
            _ => self.chunks_of_parts(series)?,
        };
        let sealed = self.index.sealed();
        let mut own = HotPoints::default();
        let mut continued: Vec<(HotPoints, i64)> = Vec::new();
        if let Some(run) = self.core.pipeline.runs.get(series.run) {
            own = series.own.map_or_else(HotPoints::default, |key| run.lock().points(key, sealed, up_to));
        }
        // What is continued changes no more, so each series may be read by itself.
        for part in &series.continued {
            if let Some(run) = self.core.pipeline.runs.get(part.run) {
                continued.push((run.lock().points(part.key, sealed, up_to.min(part.up_to)), part.step_last));
            }
        }
        self.check()?;
        // In the order of positions: the points that a branch continues were logged before it began.
        for (hot, bound) in continued.iter().rev().filter(|(hot, _)| !hot.is_empty()) {
            let mut part = Columns::default();
            decode(hot, *bound, &mut part)?;
            let keep: Vec<usize> = (0..part.len()).filter(|index| part.steps[*index] <= *bound).collect();
            part.keep(&keep);
            columns.append(&part);
        }
        decode(&own, i64::MAX, &mut columns)?;
        Ok(SeriesSource { chunks, hot: columns, up_to })
    }

    /// As [`Snapshot::source_of`], with rollups of the unsealed points. `None` if there are none, or if the metric is
    /// put together from several series.
    pub(super) fn rolled_source(
        &self,
        series: &BranchSeries,
        steps: (i64, i64),
    ) -> Result<Option<(SeriesSource, Unsealed)>> {
        let Some(key) = series.own.filter(|_| series.continued.is_empty()) else { return Ok(None) };
        if self.core.pipeline.is_purged(series.run, self.position) {
            return Ok(None);
        }
        let Some(run) = self.core.pipeline.runs.get(series.run) else { return Ok(None) };
        let positions = (self.index.sealed(), self.position);
        let rolled = run.lock().rolled(key, positions, steps);
        let Some(rolled) = rolled else { return Ok(None) };
        let mut hot = Columns::default();
        rolled.head.decode(&mut hot)?;
        let chunks = self.chunks(SeriesId { run: series.run, key })?;
        self.check()?;
        Ok(Some((SeriesSource { chunks, hot, up_to: self.position }, Unsealed::new(run, key, positions, rolled))))
    }

    /// The chunks of all parts. Cached under a number that no key has, because what a branch continues never changes.
    fn chunks_of_parts(&self, series: &BranchSeries) -> Result<Arc<ChunkList>> {
        let stamp = (self.index.sealed(), self.index.generation());
        let kept = series.kept.map(|key| SeriesId { run: series.run, key: KeyId(key.0 | 1 << 31) });
        if let Some(list) = kept.and_then(|kept| self.core.directories.get(kept, stamp)) {
            return Ok(list);
        }
        let mut refs = Vec::new();
        for part in series.parts() {
            let list = self.chunks(SeriesId { run: part.run, key: part.key })?;
            refs.extend(list.refs().iter().filter_map(|chunk| chunk.up_to(part.up_to, part.step_last)));
        }
        let list = Arc::new(ChunkList::new(refs));
        if let Some(kept) = kept {
            self.core.directories.put(kept, stamp, list.clone());
        }
        Ok(list)
    }

    /// The metrics of all branches of a run, sorted.
    pub(crate) fn metrics_of(&self, run: RunId) -> Result<Vec<Arc<str>>> {
        let dictionary = &self.core.pipeline.dictionary;
        let series = self.physical_stats_of(run)?;
        let metrics = series.into_iter().map(|(key, _)| (dictionary.metric_of(key), ()));
        let mut names: Vec<Arc<str>> = dictionary.key_names(metrics).into_iter().map(|(name, ())| name).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    // ---- dead branches -------------------------------------------------------------------------------------------

    /// The branches of a run, the live one last. There is one if the run was never rewound.
    ///
    /// # Errors
    /// `NotFound` if there is no such run.
    pub fn branches(&self, run: RunId) -> Result<Vec<Branch>> {
        let Some(state) = self.run(run)? else {
            return Err(Error::NotFound { entity: EntityKind::Run, id: run.to_string() });
        };
        let rewinds = &state.rewinds;
        let began = std::iter::once(None).chain(rewinds.iter().map(Some));
        let ended = rewinds.iter().map(Some).chain([None]);
        let branch = |(number, (began, ended)): (u32, (Option<&Rewind>, Option<&Rewind>))| Branch {
            number,
            from: began.map(|rewind| (rewind.from, rewind.to_step)),
            began: began.map(|rewind| (rewind.lsn, rewind.at_ms)),
            ended: ended.map(|rewind| (rewind.lsn, rewind.at_ms, rewind.to_step)),
        };
        Ok((0..).zip(began.zip(ended)).map(branch).collect())
    }

    fn series_of_branch(&self, run: RunId, branch: u32, key: &str) -> Result<Option<BranchSeries>> {
        let lineage = self.lineage(run, self.position)?;
        if branch as usize > lineage.0.len() {
            return Err(no_branch(run, branch));
        }
        self.metric(key).map(|metric| self.branch_series(run, metric, lineage, branch)).transpose()
    }

    /// As [`Snapshot::history`], for a branch, including the points of the branches that it continues.
    ///
    /// # Errors
    /// `NotFound` if the run has no such branch; `Corrupt` if a chunk or frame that is needed is damaged.
    pub fn branch_history(&self, run: RunId, branch: u32, key: &str, query: &HistoryQuery) -> Result<HistoryPage> {
        match self.series_of_branch(run, branch, key)? {
            Some(series) => history(&self.source_of_page(&series, query, Columns::default())?, query),
            None => Ok(HistoryPage::default()),
        }
    }

    /// As [`Snapshot::count_exact`], for a branch.
    ///
    /// # Errors
    /// As [`Snapshot::branch_history`].
    pub fn branch_count(&self, run: RunId, branch: u32, key: &str) -> Result<u64> {
        match self.series_of_branch(run, branch, key)? {
            Some(series) => self.count_of_series(&series),
            None => Ok(0),
        }
    }

    /// As [`Snapshot::latest`], for a branch.
    ///
    /// # Errors
    /// As [`Snapshot::branch_history`].
    pub fn branch_latest(&self, run: RunId, branch: u32) -> Result<Vec<(Arc<str>, Stats)>> {
        if branch as usize > self.rewinds(run, self.position)?.len() {
            return Err(no_branch(run, branch));
        }
        let dictionary = &self.core.pipeline.dictionary;
        let stats = dictionary.stats_of_branch(branch, self.physical_stats_of(run)?);
        let mut named = dictionary.key_names(stats.into_iter());
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(named)
    }
}

fn no_branch(run: RunId, branch: u32) -> Error {
    Error::NotFound { entity: EntityKind::Branch, id: format!("{branch} of run {run}") }
}
