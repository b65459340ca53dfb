//! Many curves in one answer, for charts: every point where there are few, else buckets with the true extremes.
//!
//! ```text
//!   points in the range   now                              at a moment of the past
//!   few                   all of them                      all of them
//!   many, points wanted   thinned: first, last, extremes   the extremes of each bucket
//!   many                  buckets from rollups             buckets, by reading every point
//! ```
//!
//! A range is one of steps. Charts over time ask for points, which carry both.

use crate::engine::HistoryQuery;
use crate::engine::point::Columns;
use crate::mlflow::Mlflow;
use crate::mlflow::error::ApiResult;
use crate::{AsOf, PastView, Point, RunId, Snapshot};

/// The curves to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CurvesQuery {
    /// Run and key of each curve, in the order of the answer.
    pub series: Vec<(String, String)>,
    /// Least and greatest step; `None`: all.
    pub steps: Option<(i64, i64)>,
    /// Most buckets of a curve, at least 1. A curve of up to twice as many points is answered whole.
    pub buckets: u64,
    /// Answer points instead of buckets, at most twice as many as `buckets`.
    pub points: bool,
    /// Moment of the past to read; `None`: now.
    pub at: Option<AsOf>,
}

/// One curve of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CurveHead {
    /// Number of points in the range. With `points`, of the whole series.
    pub count: u64,
    /// Its rows in the columns of points or of buckets.
    pub rows: u64,
    /// Whether it is in the columns of buckets.
    pub bucketed: bool,
    /// First step of the whole series; 0 if there is none.
    pub step_first: i64,
    /// Last step of the whole series.
    pub step_last: i64,
}

/// Curves, one after the other in two groups of columns: points, and buckets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// The position that was read.
    pub position: u64,
    /// One for each series of the query. A curve without points has no rows.
    pub heads: Vec<CurveHead>,
    /// Points: steps.
    pub steps: Vec<i64>,
    /// Points: times, Unix ms.
    pub times: Vec<i64>,
    /// Points: values, bit for bit.
    pub values: Vec<f64>,
    /// Buckets: step of the first point.
    pub step_first: Vec<i64>,
    /// Buckets: step of the last point.
    pub step_last: Vec<i64>,
    /// Buckets: number of points.
    pub counts: Vec<i64>,
    /// Buckets: least value, NaN skipped.
    pub min: Vec<f64>,
    /// Buckets: greatest value, NaN skipped.
    pub max: Vec<f64>,
    /// Buckets: mean of the finite values; NaN if there is none.
    pub mean: Vec<f64>,
    /// Buckets: value of the last point.
    pub last: Vec<f64>,
    /// Buckets: number of values that are NaN or infinite.
    pub non_finite: Vec<i64>,
}

/// Points of the past that are read at a time.
const PAGE_POINTS: usize = 1 << 16;
const ALL: (i64, i64) = (i64::MIN, i64::MAX);

/// A bucket that is being filled.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    step_first: i64,
    step_last: i64,
    count: i64,
    min: f64,
    max: f64,
    sum: f64,
    last: f64,
    non_finite: i64,
}

impl Bucket {
    fn of(step: i64) -> Self {
        let (min, max) = (f64::NAN, f64::NAN);
        Self { step_first: step, step_last: step, count: 0, min, max, sum: 0.0, last: f64::NAN, non_finite: 0 }
    }

    fn add(&mut self, step: i64, value: f64) {
        self.step_first = self.step_first.min(step);
        self.step_last = self.step_last.max(step);
        self.count += 1;
        // `min` and `max` skip NaN.
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        if value.is_finite() { self.sum += value } else { self.non_finite += 1 }
    }
}

impl Curves {
    /// Bytes that it holds.
    fn bytes(&self) -> usize {
        let (points, buckets) = (self.values.len(), self.counts.len());
        8 * (3 * points + 8 * buckets) + size_of::<CurveHead>() * self.heads.len()
    }

    fn put_points(&mut self, head: &mut CurveHead, columns: &Columns) {
        head.rows = columns.len() as u64;
        self.steps.extend_from_slice(&columns.steps);
        self.times.extend_from_slice(&columns.times);
        self.values.extend_from_slice(&columns.values);
    }

    fn put_bucket(&mut self, bucket: &Bucket) {
        self.step_first.push(bucket.step_first);
        self.step_last.push(bucket.step_last);
        self.counts.push(bucket.count);
        self.min.push(bucket.min);
        self.max.push(bucket.max);
        self.mean.push(bucket.sum / (bucket.count - bucket.non_finite) as f64);
        self.last.push(bucket.last);
        self.non_finite.push(bucket.non_finite);
    }
}

impl Mlflow {
    /// Curves for a chart: of each series all points in the range where they are few, else buckets.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an id that cannot be. A run or key without points is an empty curve.
    ///
    /// ```
    /// use runlode::mlflow::CurvesQuery;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let run = store.experiment("digits")?.create_run(runlode::RunSpec::named("a"))?;
    /// for step in 0..1_000 {
    ///     run.log_metrics(step, &[("loss", if step == 500 { 9.0 } else { 1.0 })])?;
    /// }
    /// let series = vec![(run.id().to_string(), "loss".to_owned())];
    /// let query = CurvesQuery { series, buckets: 10, ..CurvesQuery::default() };
    /// let all = store.mlflow().curves(&query)?;
    /// assert_eq!((all.heads[0].count, all.counts.len(), all.max.contains(&9.0)), (1_000, 10, true));
    /// let few = store.mlflow().curves(&CurvesQuery { steps: Some((495, 505)), ..query })?;
    /// assert_eq!((few.heads[0].bucketed, few.steps.len(), few.values[5]), (false, 11, 9.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn curves(&self, query: &CurvesQuery) -> ApiResult<Curves> {
        let snapshot = self.snapshot()?;
        let past = query.at.map(|at| snapshot.as_of(at)).transpose()?;
        let position = past.as_ref().map_or(snapshot.position(), |past| past.position());
        let mut out = Curves { position: position.0, ..Curves::default() };
        for (id, key) in &query.series {
            self.check_waiting()?;
            let run = self.run_id(id)?;
            let head = match &past {
                Some(past) => past_curve(past, run, key, query, &mut out)?,
                None => curve(&snapshot, run, key, query, &mut out)?,
            };
            out.heads.push(head);
            self.check_room(out.bytes())?;
        }
        Ok(out)
    }
}

fn curve(snapshot: &Snapshot, run: RunId, key: &str, query: &CurvesQuery, out: &mut Curves) -> ApiResult<CurveHead> {
    let Some(stats) = snapshot.stats(run, key)? else { return Ok(CurveHead::default()) };
    let (step_first, step_last, count) = (stats.first_step, stats.last_step, stats.count_raw);
    let mut head = CurveHead { count, step_first, step_last, ..CurveHead::default() };
    let buckets = usize::try_from(query.buckets).unwrap_or(usize::MAX).max(1);
    let whole_max = buckets.saturating_mul(2);
    let steps = query.steps.unwrap_or(ALL);
    let read = |out: &mut Curves, head: &mut CurveHead| -> ApiResult<()> {
        let page = snapshot.history(run, key, &HistoryQuery { steps, ..HistoryQuery::default() })?;
        head.count = page.columns.len() as u64;
        out.put_points(head, &page.columns);
        Ok(())
    };
    if count <= whole_max as u64 {
        read(out, &mut head)?;
        return Ok(head);
    }
    if query.points {
        for point in snapshot.thinned(run, key, query.steps, whole_max)? {
            out.steps.push(point.step);
            out.times.push(point.time.0);
            out.values.push(point.value);
            head.rows += 1;
        }
        return Ok(head);
    }
    let found = snapshot.downsample(run, key, query.steps, buckets)?;
    if found.count <= whole_max as u64 {
        read(out, &mut head)?;
        return Ok(head);
    }
    head.count = found.count;
    head.bucketed = true;
    head.rows = found.buckets.len() as u64;
    for bucket in &found.buckets {
        let summary = &bucket.summary;
        out.put_bucket(&Bucket {
            step_first: bucket.step_first,
            step_last: bucket.step_last,
            count: summary.count as i64,
            min: summary.min,
            max: summary.max,
            sum: summary.sum,
            last: summary.last,
            non_finite: (summary.nan + summary.pos_inf + summary.neg_inf) as i64,
        });
    }
    Ok(head)
}

/// As [`curve`], from the points themselves.
fn past_curve(
    past: &PastView<'_>,
    run: RunId,
    key: &str,
    query: &CurvesQuery,
    out: &mut Curves,
) -> ApiResult<CurveHead> {
    let Some(stats) = past.stats(run, key)? else { return Ok(CurveHead::default()) };
    let mut head =
        CurveHead { count: 0, step_first: stats.first_step, step_last: stats.last_step, ..CurveHead::default() };
    let buckets = i128::from(query.buckets.max(1));
    let whole_max = usize::try_from(query.buckets.max(1).saturating_mul(2)).unwrap_or(usize::MAX);
    let steps = query.steps.unwrap_or(ALL);
    let mut page_of = HistoryQuery { steps, limit: whole_max.saturating_add(1), ..HistoryQuery::default() };
    let mut page = past.history(run, key, &page_of)?;
    if page.columns.len() <= whole_max {
        head.count = page.columns.len() as u64;
        out.put_points(&mut head, &page.columns);
        return Ok(head);
    }
    let (least, greatest) = (steps.0.max(stats.first_step), steps.1.min(stats.last_step));
    let width = (i128::from(greatest) - i128::from(least) + 1).max(1);
    let mut filled: Vec<Option<Bucket>> = vec![None; usize::try_from(buckets).unwrap_or(usize::MAX)];
    let mut extremes: Vec<Option<(Point, Point)>> = vec![None; if query.points { filled.len() } else { 0 }];
    loop {
        for at in 0..page.columns.len() {
            let point = page.columns.point(at);
            let place = ((i128::from(point.step) - i128::from(least)) * buckets / width).clamp(0, buckets - 1) as usize;
            if let Some(slot) = filled.get_mut(place) {
                slot.get_or_insert_with(|| Bucket::of(point.step)).add(point.step, point.value);
            }
            if let Some(slot) = extremes.get_mut(place) {
                let (low, high) = slot.get_or_insert((point, point));
                if point.value < low.value || low.value.is_nan() {
                    *low = point;
                }
                if point.value > high.value || high.value.is_nan() {
                    *high = point;
                }
            }
            head.count += 1;
        }
        let Some(next) = page.next else { break };
        page_of = HistoryQuery { limit: PAGE_POINTS, after: Some(next), ..page_of };
        page = past.history(run, key, &page_of)?;
    }
    if query.points {
        for (low, high) in extremes.into_iter().flatten() {
            let (first, second) =
                if (low.time, low.step) <= (high.time, high.step) { (low, high) } else { (high, low) };
            let both = [Some(first), Some(second).filter(|second| !second.repeats(&first))];
            for point in both.into_iter().flatten() {
                out.steps.push(point.step);
                out.times.push(point.time.0);
                out.values.push(point.value);
                head.rows += 1;
            }
        }
        return Ok(head);
    }
    head.bucketed = true;
    for bucket in filled.iter().flatten() {
        out.put_bucket(bucket);
        head.rows += 1;
    }
    Ok(head)
}
