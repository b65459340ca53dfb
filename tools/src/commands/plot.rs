//! `runlode plot STORE RUN... KEY...`: in the terminal, or in a file.

use std::path::{Path, PathBuf};

use clap::Args;
use runlode::RunId;
use runlode::engine::Bucket;
use serde_json::{Value, json};

use super::curves::{Curve, Curves, OfServer};
use super::there::There;
use crate::chart::{self, Format};
use crate::error::{Error, Result};
use crate::json::number;
use crate::moment::Moment;
use crate::open::Source;
use crate::output::{Output, note};
use crate::{Answer, format, picture};

/// Arguments of `plot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode plot ./store trial-17 loss --from 1204200 --to 1204400
  runlode plot ./store trial-17 trial-18 loss val_loss --out loss.svg")]
pub struct Plot {
    #[command(flatten)]
    store: Source,
    /// Runs (name, id, or beginning of the id), then metrics
    #[arg(value_name = "RUN... KEY", required = true, num_args = 2..)]
    names: Vec<String>,
    /// First step
    #[arg(long, allow_negative_numbers = true)]
    from: Option<i64>,
    /// Last step
    #[arg(long, allow_negative_numbers = true)]
    to: Option<i64>,
    /// Write a file instead: its name ends in .svg or .png
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    moment: Moment,
}

/// A metric of a run.
struct Series {
    run: RunId,
    run_name: String,
    key: String,
    curve: Curve,
}

impl Series {
    fn document(&self) -> Value {
        let Curve { points, has_first } = &self.curve;
        let bucket = |bucket: &Bucket| {
            let s = &bucket.summary;
            let mut document = json!({
                "step_first": bucket.step_first, "step_last": bucket.step_last, "count": s.count,
                "min": number(s.min), "max": number(s.max), "sum": number(s.sum),
                "last": number(s.last), "non_finite": s.nan + s.pos_inf + s.neg_inf,
            });
            if *has_first {
                document["first"] = number(s.first);
            }
            document
        };
        let list: Vec<_> = points.buckets.iter().map(bucket).collect();
        json!({ "run_id": self.run.to_string(), "key": self.key, "points": points.count, "buckets": list })
    }
}

/// The runs and the metrics that the names are. The first name is a run; from the first name on that is a metric of one of
/// the runs, all are metrics, and the last name is one in any case.
fn parted(of: &dyn Curves, names: &[String]) -> Result<(Vec<RunId>, Vec<String>)> {
    let mut runs = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let mut is_key = at > 0 && at + 1 == names.len();
        for run in runs.iter().filter(|_| !is_key) {
            if of.has(*run, name)? {
                is_key = true;
                break;
            }
        }
        if is_key {
            return Ok((runs, names[at..].to_vec()));
        }
        let run = of.find(name)?;
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    Err(Error::usage("name runs, then metrics: `runlode plot STORE RUN KEY`"))
}

/// Why a metric cannot be drawn.
fn no_metric(of: &dyn Curves, run: RunId, key: &str) -> Result<Error> {
    let keys = of.keys(run)?;
    let near = runlode::find::near(key, keys.iter().map(String::as_str));
    let meant = near.first().map_or_else(String::new, |key| format!("; did you mean `{key}`"));
    let there = match keys.len() {
        0 => "it has no metrics".to_owned(),
        1..=20 => format!("it has {}", keys.join(", ")),
        more => format!("it has {more} others, among them {}", keys[..20].join(", ")),
    };
    let when = of.position().map_or_else(String::new, |position| format!(" at position {position}"));
    Ok(Error::usage(format!("the run has no metric `{key}`{when}{meant}; {there}")))
}

impl Plot {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let steps = match (self.from, self.to) {
            (None, None) => None,
            (from, to) => Some((from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX))),
        };
        if steps.is_some_and(|(from, to)| from > to) {
            return Err(Error::usage("--from is greater than --to"));
        }
        let file = match &self.out {
            Some(path) => Some((path.as_path(), Format::of(path).ok_or_else(|| not_a_format(path))?)),
            None => None,
        };
        if let Some(url) = self.store.server() {
            let there = There::new(url, &self.moment, output)?;
            return self.draw(&OfServer::new(&there), steps, file, output);
        }
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        self.draw(&self.moment.of(&snapshot)?, steps, file, output)
    }

    fn draw(
        &self,
        of: &dyn Curves,
        steps: Option<(i64, i64)>,
        file: Option<(&Path, Format)>,
        output: &mut Output,
    ) -> Result<Answer> {
        let (runs, keys) = parted(of, &self.names)?;
        let terminal = picture::buckets(output.columns());
        let buckets = if file.is_some() { chart::BUCKETS } else { terminal };
        let mut wanted = Vec::new();
        let mut missing = None;
        for &run in &runs {
            for key in &keys {
                if of.has(run, key)? {
                    wanted.push((run, key.clone()));
                    continue;
                }
                let error = no_metric(of, run, key)?;
                if runs.len() > 1 {
                    note(format!("run {run} is left out: {error}"));
                }
                missing = Some(error);
            }
        }
        match missing {
            Some(error) if wanted.is_empty() || runs.len() == 1 => return Err(error),
            _ => {}
        }
        let mut all = Vec::new();
        for (curve, (run, key)) in of.read(&wanted, steps, buckets)?.into_iter().zip(wanted) {
            all.push(Series { run, run_name: of.name(run)?, key, curve });
        }
        of.say(output);
        if let Some((path, format)) = file {
            return write(&all, &runs, &keys, path, format, output);
        }
        if output.is_json() {
            let mut document = match all.as_slice() {
                [only] => only.document(),
                all => json!({ "series": all.iter().map(Series::document).collect::<Vec<_>>() }),
            };
            if let Some(position) = of.position() {
                document["as_of_position"] = position.into();
            }
            output.document(&document)?;
            return Ok(Answer::Yes);
        }
        for Series { run_name, key, curve, .. } in &all {
            let points = &curve.points;
            let how = if picture::is_band(points, buckets) { "; light: min to max, line: mean" } else { "" };
            output.line(format!("{key} of {run_name}: {} points{how}", format::count(points.count)))?;
            for line in picture::draw(points, buckets) {
                output.line(line)?;
            }
        }
        Ok(Answer::Yes)
    }
}

fn not_a_format(path: &Path) -> Error {
    Error::usage(format!("{}: --out writes .svg and .png", path.display()))
}

/// Writes all series into one chart.
fn write(
    all: &[Series],
    runs: &[RunId],
    keys: &[String],
    path: &Path,
    format: Format,
    output: &mut Output,
) -> Result<Answer> {
    let title = match (runs, keys, all) {
        ([_], [key], [only]) => format!("{key} of {}", only.run_name),
        (_, [key], _) => key.clone(),
        ([_], _, [first, ..]) => first.run_name.clone(),
        _ => format!("{} metrics of {} runs", keys.len(), runs.len()),
    };
    let named = |series: &Series| match (runs.len(), keys.len()) {
        (_, 1) => series.run_name.clone(),
        (1, _) => series.key.clone(),
        _ => format!("{} of {}", series.key, series.run_name),
    };
    let curve = |series: &Series| chart::Curve { name: named(series), series: series.curve.points.clone() };
    let curves: Vec<chart::Curve> = all.iter().map(curve).collect();
    let bytes = chart::file(&title, &curves, format)
        .ok_or_else(|| Error::usage(format!("{} cannot be drawn: there is no memory for it", path.display())))?;
    std::fs::write(path, &bytes).map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
    let points: u64 = all.iter().map(|series| series.curve.points.count).sum();
    if output.is_json() {
        let series: Vec<_> = all
            .iter()
            .map(|series| json!({ "run_id": series.run.to_string(), "key": series.key, "points": series.curve.points.count }))
            .collect();
        output.document(&json!({ "file": path.display().to_string(), "bytes": bytes.len(), "series": series }))?;
    } else {
        let (series, points) = (all.len(), format::count(points));
        output.line(format!("{}: {series} series, {points} points", path.display()))?;
    }
    Ok(Answer::Yes)
}
