//! The runs and curves that `plot` draws: of a store, or of a server.

use std::cell::RefCell;
use std::collections::HashMap;

use runlode::RunId;
use runlode::engine::{Bucket, Downsampled};
use serde_json::{Value, json};

use super::there::There;
use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::list::Cell;
use crate::moment::View;
use crate::output::Output;

/// A curve in buckets.
pub(super) struct Curve {
    pub(super) points: Downsampled,
    /// Whether buckets know their first value. Those of a server do not.
    pub(super) has_first: bool,
}

/// Where runs and curves are read, now or as of a moment.
pub(super) trait Curves {
    /// The run that a text names.
    fn find(&self, text: &str) -> Result<RunId>;
    /// Whether a run has a metric.
    fn has(&self, run: RunId, key: &str) -> Result<bool>;
    /// The metrics of a run.
    fn keys(&self, run: RunId) -> Result<Vec<String>>;
    fn name(&self, run: RunId) -> Result<String>;
    /// The curves of metrics, in their order.
    fn read(&self, wanted: &[(RunId, String)], steps: Option<(i64, i64)>, buckets: usize) -> Result<Vec<Curve>>;
    /// The position that is shown, if a moment was asked for.
    fn position(&self) -> Option<u64>;
    /// Says on standard error which position is shown, unless that was said or JSON says it.
    fn say(&self, output: &Output);
}

impl Curves for View<'_> {
    fn find(&self, text: &str) -> Result<RunId> {
        self.find_run(text)
    }

    fn has(&self, run: RunId, key: &str) -> Result<bool> {
        Ok(self.stats(run, key)?.is_some())
    }

    fn keys(&self, run: RunId) -> Result<Vec<String>> {
        Ok(self.metrics(run)?.iter().map(|(key, _)| key.to_string()).collect())
    }

    fn name(&self, run: RunId) -> Result<String> {
        Ok(self.run(run)?.map(|state| state.name.clone()).unwrap_or_default())
    }

    fn read(&self, wanted: &[(RunId, String)], steps: Option<(i64, i64)>, buckets: usize) -> Result<Vec<Curve>> {
        let curve = |(run, key): &(RunId, String)| {
            Ok(Curve { points: self.downsample(*run, key, steps, buckets)?, has_first: true })
        };
        wanted.iter().map(curve).collect()
    }

    fn position(&self) -> Option<u64> {
        self.is_past().then(|| View::position(self).0)
    }

    fn say(&self, output: &Output) {
        View::say(self, output);
    }
}

/// A server, with the runs that were asked for.
pub(super) struct OfServer<'t> {
    there: &'t There,
    runs: RefCell<HashMap<RunId, Value>>,
}

impl<'t> OfServer<'t> {
    pub(super) fn new(there: &'t There) -> Self {
        Self { there, runs: RefCell::default() }
    }

    fn run<T>(&self, run: RunId, look: impl FnOnce(&Value) -> T) -> Result<T> {
        if let Some(known) = self.runs.borrow().get(&run) {
            return Ok(look(known));
        }
        let document = self.there.run(&run.to_string())?;
        let found = look(&document);
        self.runs.borrow_mut().insert(run, document);
        Ok(found)
    }
}

fn keys_of(run: &Value) -> impl Iterator<Item = &str> {
    run["metrics"].as_array().into_iter().flatten().filter_map(|metric| metric["key"].as_str())
}

impl Curves for OfServer<'_> {
    fn find(&self, text: &str) -> Result<RunId> {
        let id = self.there.find_run(text)?;
        id.parse()
            .map_err(|_| Error::Source(format!("the server names run `{text}` by `{id}`, which is no id of a run")))
    }

    fn has(&self, run: RunId, key: &str) -> Result<bool> {
        self.run(run, |document| keys_of(document).any(|known| known == key))
    }

    fn keys(&self, run: RunId) -> Result<Vec<String>> {
        self.run(run, |document| keys_of(document).map(str::to_owned).collect())
    }

    fn name(&self, run: RunId) -> Result<String> {
        self.run(run, |document| document["name"].as_str().unwrap_or_default().to_owned())
    }

    fn read(&self, wanted: &[(RunId, String)], steps: Option<(i64, i64)>, buckets: usize) -> Result<Vec<Curve>> {
        let series = wanted.iter().map(|(run, key)| json!({ "run_id": run.to_string(), "key": key }));
        let mut body = json!({ "series": series.collect::<Vec<_>>(), "buckets": buckets });
        if let Some((first, last)) = steps {
            body["start_step"] = first.into();
            body["end_step"] = last.into();
        }
        let answer = self.there.curves(body)?;
        let broken = || Error::Source("the server's curves are not those of this version of Runlode".to_owned());
        curves(&answer, buckets).filter(|curves| curves.len() == wanted.len()).ok_or_else(broken)
    }

    fn position(&self) -> Option<u64> {
        self.there.position()
    }

    /// [`There::new`] has said it.
    fn say(&self, _: &Output) {}
}

/// The curves in an answer of `POST curves`. `None`: it is none.
fn curves(answer: &Columns, buckets: usize) -> Option<Vec<Curve>> {
    let cells = |name: &str| answer.columns.iter().find(|(known, _)| known == name).map(|(_, cells)| cells.as_slice());
    let integers = |name: &str| -> Option<Vec<i64>> {
        let number = |cell: &Cell| if let Cell::Integer(number) = cell { Some(*number) } else { None };
        cells(name)?.iter().map(number).collect()
    };
    let doubles = |name: &str| -> Option<Vec<f64>> {
        let number = |cell: &Cell| if let Cell::Number(number) = cell { Some(*number) } else { None };
        cells(name)?.iter().map(number).collect()
    };
    let (steps, values) = (integers("step")?, doubles("value")?);
    let (first, last) = (integers("bucket.step_first")?, integers("bucket.step_last")?);
    let (counts, odd) = (integers("bucket.count")?, integers("bucket.non_finite")?);
    let (min, max) = (doubles("bucket.min")?, doubles("bucket.max")?);
    let (mean, end) = (doubles("bucket.mean")?, doubles("bucket.last")?);
    let (mut point, mut bucket) = (0_usize, 0_usize);
    let mut out = Vec::new();
    for head in answer.header["series"].as_array()? {
        let rows = usize::try_from(head["rows"].as_u64()?).ok()?;
        let mut points = Downsampled { count: head["count"].as_u64()?, exact_edges: true, ..Downsampled::default() };
        let bucketed = head["bucketed"].as_bool()?;
        if bucketed {
            for at in bucket..bucket.checked_add(rows)? {
                let (count, odd) = (u64::try_from(*counts.get(at)?).ok()?, u64::try_from(*odd.get(at)?).ok()?);
                let mut of =
                    Bucket { step_first: *first.get(at)?, step_last: *last.get(at)?, summary: Default::default() };
                let finite = count.checked_sub(odd)?;
                (of.summary.count, of.summary.nan) = (count, odd);
                (of.summary.min, of.summary.max, of.summary.last) = (*min.get(at)?, *max.get(at)?, *end.get(at)?);
                of.summary.sum = if finite > 0 { *mean.get(at)? * finite as f64 } else { 0.0 };
                points.buckets.push(of);
            }
            bucket += rows;
        } else {
            let range = point..point.checked_add(rows)?;
            let pairs = steps.get(range.clone())?.iter().copied().zip(values.get(range)?.iter().copied());
            points.buckets = in_buckets(pairs.collect(), buckets);
            point += rows;
        }
        out.push(Curve { points, has_first: !bucketed });
    }
    Some(out)
}

/// The points of a curve, reduced to buckets of equal width, as the store reduces them.
fn in_buckets(mut points: Vec<(i64, f64)>, buckets: usize) -> Vec<Bucket> {
    // They come in order of time; points of one step stay in it.
    points.sort_by_key(|(step, _)| *step);
    let (Some((first, _)), Some((last, _))) = (points.first().copied(), points.last().copied()) else {
        return Vec::new();
    };
    let span = i128::from(last) - i128::from(first) + 1;
    let place = |step: i64| (i128::from(step) - i128::from(first)) * buckets.max(1) as i128 / span;
    let mut out: Vec<Bucket> = Vec::new();
    for of_one in points.chunk_by(|a, b| place(a.0) == place(b.0)) {
        let (Some((step_first, _)), Some((step_last, _))) = (of_one.first(), of_one.last()) else { continue };
        let (step_first, step_last) = (*step_first, *step_last);
        let mut bucket = Bucket { step_first, step_last, summary: Default::default() };
        of_one.iter().for_each(|(_, value)| bucket.summary.push(*value));
        out.push(bucket);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_fall_into_the_buckets_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = runlode::LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named("r")).unwrap();
        let values = [0.5, f64::NAN, 2.0, -1.0, f64::INFINITY, 7.0, 0.1];
        let points: Vec<(i64, f64)> = (0..).zip(values).map(|(at, value)| (at * at - 5, value)).collect();
        for (step, value) in &points {
            run.log_metrics(*step, &[("v", *value)]).unwrap();
        }
        let snapshot = store.snapshot().unwrap();
        for buckets in [1, 2, 3, 5, 100] {
            let expected = snapshot.downsample(run.id(), "v", None, buckets).unwrap().buckets;
            let shown = |buckets: &[Bucket]| format!("{buckets:?}");
            assert_eq!(shown(&in_buckets(points.clone(), buckets)), shown(&expected), "{buckets}");
        }
        assert!(in_buckets(Vec::new(), 3).is_empty());
    }
}
