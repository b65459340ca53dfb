//! Joins batches on the way: a loop that logs row by row makes a batch of every row; joined, each series is one part of
//! one batch.
//!
//! A target that has seen some of the joined positions must still be able to take the others, whatever they were joined
//! with. So only neighbours of equal shape are joined: the same series, the same number of points in each, later ones
//! after earlier ones. Then each position has an equal part of each series, in order, even after sealing.

use super::chunk::{SyncBatch, SyncPoints};

/// Most points of joined batches.
const JOINED_POINTS: usize = 100_000;

/// Whether points are in the order of series files: step, then time.
fn rises(points: &SyncPoints) -> bool {
    let at = |index: usize| (points.steps[index], points.times[index]);
    (1..points.steps.len()).all(|index| at(index - 1) < at(index))
}

/// The last batch of a chunk, and what may be joined to it.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// Points of each series in one of the batches; empty if none may be joined.
    shape: Vec<usize>,
    points_count: usize,
}

impl Joiner {
    /// Adds a batch, or joins its points to the last one.
    pub(super) fn push(&mut self, batches: &mut Vec<SyncBatch>, batch: SyncBatch) {
        let count = batch.points.iter().map(|points| points.steps.len()).sum::<usize>();
        if let Some(last) = batches.last_mut().filter(|last| self.joins(last, &batch, count)) {
            for (known, points) in last.points.iter_mut().zip(batch.points) {
                known.steps.extend(points.steps);
                known.times.extend(points.times);
                known.values.extend(points.values);
            }
            (last.last, last.time_ms) = (batch.last, batch.time_ms);
            self.points_count += count;
            return;
        }
        self.points_count = count;
        self.shape.clear();
        // Only a batch of a single position: how several were joined before is unknown.
        if batch.first == batch.last && batch.events.is_empty() && batch.points.iter().all(rises) {
            self.shape.extend(batch.points.iter().map(|points| points.steps.len()));
        }
        batches.push(batch);
    }

    fn joins(&self, last: &SyncBatch, batch: &SyncBatch, count: usize) -> bool {
        let behind = |(known, points): (&SyncPoints, &SyncPoints)| {
            let (from, to) = (points.steps.len(), known.steps.len());
            known.run == points.run
                && known.key == points.key
                && known.context == points.context
                && from > 0
                && to > 0
                && (known.steps[to - 1], known.times[to - 1]) < (points.steps[0], points.times[0])
                && rises(points)
        };
        !self.shape.is_empty()
            && batch.events.is_empty()
            && batch.store == last.store
            && batch.first == last.last + 1
            && batch.first == batch.last
            && batch.actor == last.actor
            && self.points_count + count <= JOINED_POINTS
            && self.shape.iter().copied().eq(batch.points.iter().map(|points| points.steps.len()))
            && last.points.iter().zip(&batch.points).all(behind)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn row(position: u64, keys: &[u32], time: i64) -> SyncBatch {
        let points = |key: &u32| SyncPoints {
            key: *key,
            steps: vec![time],
            times: vec![time],
            values: vec![f64::from(*key)],
            ..SyncPoints::default()
        };
        SyncBatch { first: position, last: position, points: keys.iter().map(points).collect(), ..SyncBatch::default() }
    }

    fn joined(rows: Vec<SyncBatch>) -> Vec<SyncBatch> {
        let (mut joiner, mut out) = (Joiner::default(), Vec::new());
        rows.into_iter().for_each(|row| joiner.push(&mut out, row));
        out
    }

    #[test]
    fn rows_of_one_shape_join_into_a_batch_that_can_be_cut_anywhere() {
        let out = joined((1..=9).map(|at| row(at, &[0, 1], at as i64)).collect());
        assert_eq!((out.len(), out[0].first, out[0].last), (1, 1, 9));
        for seen in 0..=9 {
            let mut rest = out[0].clone();
            rest.drop_seen(seen);
            let left = (if seen == 9 { 0 } else { seen }) as i64 + 1..=9;
            assert_eq!(rest.points[1].steps, left.collect::<Vec<_>>(), "seen {seen}");
        }
    }

    #[test]
    fn other_shapes_gaps_and_falling_times_are_not_joined() {
        let lengths =
            |rows: Vec<SyncBatch>| joined(rows).iter().map(|row| row.last - row.first + 1).collect::<Vec<_>>();
        assert_eq!(lengths(vec![row(1, &[0], 1), row(2, &[1], 2), row(3, &[1], 3)]), [1, 2]);
        assert_eq!(lengths(vec![row(1, &[0], 1), row(3, &[0], 3)]), [1, 1]);
        assert_eq!(lengths(vec![row(1, &[0], 2), row(2, &[0], 2), row(3, &[0], 3)]), [1, 2]);
        let other = SyncBatch { store: [1; 16], ..row(2, &[0], 2) };
        assert_eq!(lengths(vec![row(1, &[0], 1), other]), [1, 1]);
    }
}
