//! The points of a run, metric by metric, in step order, in blocks of bounded size.
//!
//! ```text
//! keys sorted:  acc   live curve by (step, time, value)
//!                     points of dead branches, branch by branch, each by (step, time, value)
//!               loss  ...
//! ```
//! The store keeps a history by (time, step, value). For a metric whose points were logged in step order, that is step
//! order too, and pages are passed on as they are read. Otherwise the steps are read window by window: a window that
//! holds more points than a block is halved, and a single step with more points is in order of time, which is step order
//! again.

use std::sync::Arc;

use runlode::engine::branch;
use runlode::engine::entity::Rewind;
use runlode::engine::point::Columns;
use runlode::engine::{ColumnSet, HistoryPage};
use runlode::{HistoryQuery, Lsn, RunId, Stats};

use crate::error::Result;
use crate::moment::Moment;

/// Most points of a block.
pub(crate) const BLOCK_POINTS: usize = 1 << 18;

/// What a block's points are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) key: Arc<str>,
    /// Whether they are part of the curve that the run shows.
    pub(crate) live: bool,
}

/// The rewinds of a run up to the moment.
pub(crate) fn rewinds(moment: &Moment, all: &[Rewind]) -> Vec<Rewind> {
    all.iter().filter(|rewind| rewind.lsn <= moment.position).copied().collect()
}

/// Which of a run's points are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub(crate) columns: ColumnSet,
    /// Whether points of dead branches are wanted too; positions are read for them.
    pub(crate) dead: bool,
    /// Keys before this one are left out.
    pub(crate) from: Option<&'w str>,
}

/// Reads blocks with memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    page: HistoryPage,
}

impl Blocks {
    /// Passes on all points of a run. `rewinds` are the run's up to the moment.
    pub(crate) fn of_run(
        &mut self,
        moment: &Moment,
        run: RunId,
        rewinds: &[Rewind],
        wanted: Wanted<'_>,
        take: &mut dyn FnMut(&Metric, &Columns) -> Result<()>,
    ) -> Result<()> {
        let live = moment.metrics(run)?;
        let dead = if wanted.dead { dead_metrics(moment, run, rewinds)? } else { Vec::new() };
        let mut keys: Vec<&Arc<str>> =
            live.iter().map(|(key, _)| key).chain(dead.iter().map(|dead| &dead.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys.into_iter().filter(|key| wanted.from.is_none_or(|from| &***key >= from)) {
            if let Ok(at) = live.binary_search_by(|(other, _)| other.cmp(key)) {
                let stats = &live[at].1;
                let metric = Metric { key: key.clone(), live: true };
                let mut read = |query: &HistoryQuery, page: &mut HistoryPage| moment.history(run, key, query, page);
                self.in_step_order(stats, wanted.columns, &mut read, &mut |points| take(&metric, points))?;
            }
            let metric = Metric { key: key.clone(), live: false };
            for dead in dead.iter().filter(|dead| dead.key == *key) {
                let columns = wanted.columns.with(ColumnSet::STEPS).with(ColumnSet::LSNS);
                let mut read = |query: &HistoryQuery, page: &mut HistoryPage| {
                    *page = moment.snapshot.branch_history(run, dead.branch, key, query)?;
                    Ok(())
                };
                self.in_step_order(&dead.stats, columns, &mut read, &mut |points| {
                    let own = dead.own(points);
                    if own.is_empty() { Ok(()) } else { take(&metric, &own) }
                })?;
            }
        }
        Ok(())
    }

    /// Passes on the points of one history in step order.
    fn in_step_order(
        &mut self,
        stats: &Stats,
        columns: ColumnSet,
        read: &mut dyn FnMut(&HistoryQuery, &mut HistoryPage) -> Result<()>,
        take: &mut dyn FnMut(&Columns) -> Result<()>,
    ) -> Result<()> {
        let all = HistoryQuery { columns, limit: BLOCK_POINTS, ..HistoryQuery::default() };
        if !stats.maybe_repeats && !stats.unordered {
            return self.pages(all, read, take);
        }
        // All that is needed to sort points, and to move them.
        let columns = columns.with(ColumnSet::POINTS).with(ColumnSet::LSNS);
        let (mut from, last) = (stats.first_step, stats.last_step);
        let steps = i128::from(last) - i128::from(from) + 1;
        let mut width = (steps * (BLOCK_POINTS as i128 / 2) / i128::from(stats.count_raw.max(1))).max(1);
        loop {
            let to = i64::try_from((i128::from(from) + width - 1).min(i128::from(last))).unwrap_or(last);
            let query = HistoryQuery { steps: (from, to), columns, ..all };
            read(&query, &mut self.page)?;
            if self.page.next.is_some() && to > from {
                width = ((i128::from(to) - i128::from(from) + 1) / 2).max(1);
                continue;
            }
            if self.page.next.is_some() {
                self.pages(query, read, take)?;
            } else {
                if self.page.columns.len() < BLOCK_POINTS / 4 {
                    width = width.saturating_mul(2);
                }
                sort_by_step(&mut self.page.columns);
                if !self.page.columns.is_empty() {
                    take(&self.page.columns)?;
                }
            }
            match to.checked_add(1).filter(|_| to < last) {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// Passes on a history page by page.
    fn pages(
        &mut self,
        mut query: HistoryQuery,
        read: &mut dyn FnMut(&HistoryQuery, &mut HistoryPage) -> Result<()>,
        take: &mut dyn FnMut(&Columns) -> Result<()>,
    ) -> Result<()> {
        // Without steps, columns would have no length.
        query.columns = query.columns.with(ColumnSet::STEPS);
        loop {
            read(&query, &mut self.page)?;
            if !self.page.columns.is_empty() {
                take(&self.page.columns)?;
            }
            match self.page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

fn sort_by_step(points: &mut Columns) {
    if points.steps.is_sorted() {
        // Within a step, history order is step order.
        return;
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points.point(*a).latest_order(&points.point(*b)));
    *points = points.gather(&order);
}

/// A metric of a branch that is not live, as a whole: with the points of the branches that it continues.
#[derive(Debug)]
struct Dead {
    key: Arc<str>,
    branch: u32,
    stats: Stats,
    /// Positions of the branch's own points: above the first, up to the last.
    lsns: (Lsn, Lsn),
    /// The last step of them that the live curve shows, if it continues this branch.
    live_up_to: Option<i64>,
}

impl Dead {
    /// The branch's own points that the live curve does not show.
    fn own(&self, points: &Columns) -> Columns {
        let is_own = |at: &usize| {
            let lsn = Lsn(points.lsns[*at]);
            self.lsns.0 < lsn && lsn <= self.lsns.1 && self.live_up_to.is_none_or(|bound| points.steps[*at] > bound)
        };
        let keep: Vec<usize> = (0..points.len()).filter(is_own).collect();
        if keep.len() == points.len() { points.clone() } else { points.gather(&keep) }
    }
}

fn dead_metrics(moment: &Moment, run: RunId, rewinds: &[Rewind]) -> Result<Vec<Dead>> {
    let live = rewinds.len() as u32;
    let line = branch::line(rewinds, live);
    let mut out = Vec::new();
    for (number, ended) in (0..live).zip(rewinds) {
        let began =
            (number as usize).checked_sub(1).and_then(|at| rewinds.get(at)).map_or(Lsn::ZERO, |rewind| rewind.lsn);
        let live_up_to = line.iter().find(|(branch, _)| *branch == number).map(|(_, bound)| *bound);
        for (key, stats) in moment.snapshot.branch_latest(run, number)? {
            out.push(Dead { key, branch: number, stats, lsns: (began, ended.lsn), live_up_to });
        }
    }
    Ok(out)
}

/// The branch in which a point was logged: the live one at its position.
pub(crate) fn branch_at(rewinds: &[Rewind], lsn: Lsn) -> u32 {
    rewinds.partition_point(|rewind| rewind.lsn < lsn) as u32
}
