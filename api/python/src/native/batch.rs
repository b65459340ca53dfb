//! Many points at once: columns cut into parts that fit a core's cache, each part one append.
//!
//! A batch of more than [`PART_POINTS`] points is several appends: when the disk fills up in between, the first parts
//! stay, and the rest is counted as dropped. The store's own bound on a batch is not met.

use runlode::engine::KeyedPoint;
use runlode::mlflow::{ApiError, ApiResult};
use runlode::shared::Logger;
use runlode::{Durability, KeyId, Point, TimestampMs};

use super::columns::View;

/// Points of a part: 256 KiB on their way, of which the caches hold every copy.
const PART_POINTS: usize = 8192;

/// Columns of one length.
pub(super) struct Columns<'a> {
    pub(super) keys: Vec<(KeyId, View<'a>)>,
    pub(super) steps: View<'a>,
    pub(super) times: View<'a>,
    /// Of each key.
    pub(super) count: usize,
}

/// Logs columns, all of one key before the next in each part.
///
/// # Errors
/// As the logger; with it how many points were not logged.
pub(super) fn log(logger: &Logger, columns: &Columns<'_>, durability: Durability) -> Result<(), (ApiError, u64)> {
    let rows_of_part = (PART_POINTS / columns.keys.len().max(1)).max(1);
    let mut part = Part::default();
    let mut start = 0;
    while start < columns.count {
        let end = columns.count.min(start.saturating_add(rows_of_part));
        // A sync covers what was appended before it: the last part's is the batch's.
        let durability = if end == columns.count { durability } else { Durability::Buffered };
        part.log(logger, columns, start, end, durability)
            .map_err(|error| (error, ((columns.count - start) * columns.keys.len()) as u64))?;
        start = end;
    }
    Ok(())
}

#[derive(Default)]
struct Part {
    steps: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
    points: Vec<KeyedPoint>,
}

impl Part {
    fn log(
        &mut self,
        logger: &Logger,
        columns: &Columns<'_>,
        start: usize,
        end: usize,
        durability: Durability,
    ) -> ApiResult<()> {
        let Self { steps, times, values, points } = self;
        columns.steps.whole(start, end, steps);
        columns.times.whole(start, end, times);
        points.clear();
        for (key, column) in &columns.keys {
            let values = column.floats(start, end, values);
            let rows = steps.iter().zip(times.iter()).zip(values);
            points.extend(rows.map(|((&step, &time), &value)| KeyedPoint {
                key: *key,
                point: Point { step, time: TimestampMs(time), value },
            }));
        }
        logger.log_points(points, durability)
    }
}
