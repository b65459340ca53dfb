//! A row group of the table `points` before it is encoded: points by columns, and what stretches of them are of.

use std::ops::Range;
use std::sync::Arc;

use runlode::Lsn;
use runlode::RunId;
use runlode::engine::entity::Rewind;
use runlode::engine::point::Columns;

use crate::manifest::Cursor;
use crate::series::{Metric, branch_at};

/// Most points of a row group.
pub(super) const GROUP_POINTS: usize = 1 << 19;

/// Points that follow one another and are of one metric and branch.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) run: RunId,
    pub(super) key: Arc<str>,
    pub(super) branch: u32,
    pub(super) live: bool,
    pub(super) points: usize,
}

/// Points of a row group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) stretches: Vec<Stretch>,
    pub(super) columns: Columns,
    /// The place behind the last point.
    pub(super) end: Cursor,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Adds points of one metric.
    pub(super) fn push(
        &mut self,
        run: RunId,
        metric: &Metric,
        points: &Columns,
        range: Range<usize>,
        rewinds: &[Rewind],
    ) {
        self.columns.append_range(points, range.start, range.end, true);
        if rewinds.is_empty() {
            return self.stretch(run, metric, 0, range.len());
        }
        for at in range {
            self.stretch(run, metric, branch_at(rewinds, Lsn(points.lsns[at])), 1);
        }
    }

    fn stretch(&mut self, run: RunId, metric: &Metric, branch: u32, points: usize) {
        match self.stretches.last_mut() {
            Some(last)
                if last.run == run && last.key == metric.key && last.branch == branch && last.live == metric.live =>
            {
                last.points += points;
            }
            _ => self.stretches.push(Stretch { run, key: metric.key.clone(), branch, live: metric.live, points }),
        }
    }

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.columns.clear();
    }
}
