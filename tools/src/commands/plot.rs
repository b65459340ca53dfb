//! `runlode plot STORE RUN KEY`

use clap::Args;
use serde_json::json;

use crate::error::{Error, Result};
use crate::find;
use crate::json::number;
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, format, picture};

/// Arguments of `plot`.
#[derive(Debug, Args)]
pub struct Plot {
    #[command(flatten)]
    store: Source,
    /// The run: name, id, or beginning of the id
    run: String,
    /// The metric
    key: String,
    /// First step
    #[arg(long, allow_negative_numbers = true)]
    from: Option<i64>,
    /// Last step
    #[arg(long, allow_negative_numbers = true)]
    to: Option<i64>,
}

impl Plot {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        let run = find::run(&snapshot, &self.run)?;
        if snapshot.stats(run, &self.key)?.is_none() {
            let keys: Vec<String> = snapshot.latest(run)?.iter().map(|(key, _)| key.to_string()).collect();
            let near = runlode::find::near(&self.key, keys.iter().map(String::as_str));
            let meant = near.first().map_or_else(String::new, |key| format!("; did you mean `{key}`"));
            let there = match keys.len() {
                0 => "it has no metrics".to_owned(),
                1..=20 => format!("it has {}", keys.join(", ")),
                more => format!("it has {more} others, among them {}", keys[..20].join(", ")),
            };
            return Err(Error::usage(format!("the run has no metric `{}`{meant}; {there}", self.key)));
        }
        let steps = match (self.from, self.to) {
            (None, None) => None,
            (from, to) => Some((from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX))),
        };
        if steps.is_some_and(|(from, to)| from > to) {
            return Err(Error::usage("--from is greater than --to"));
        }
        let buckets = picture::buckets(output.columns());
        let series = snapshot.downsample(run, &self.key, steps, buckets)?;
        if output.is_json() {
            let list: Vec<_> = series
                .buckets
                .iter()
                .map(|bucket| {
                    let s = &bucket.summary;
                    json!({
                        "step_first": bucket.step_first, "step_last": bucket.step_last, "count": s.count,
                        "min": number(s.min), "max": number(s.max), "sum": number(s.sum),
                        "first": number(s.first), "last": number(s.last), "non_finite": s.nan + s.pos_inf + s.neg_inf,
                    })
                })
                .collect();
            let document =
                json!({ "run_id": run.to_string(), "key": self.key, "points": series.count, "buckets": list });
            output.document(&document)?;
            return Ok(Answer::Yes);
        }
        let name = snapshot.run(run)?.map(|state| state.name.clone()).unwrap_or_default();
        let how = if picture::is_band(&series, buckets) { "; light: min to max, line: mean" } else { "" };
        output.line(format!("{} of {name}: {} points{how}", self.key, format::count(series.count)))?;
        for line in picture::draw(&series, buckets) {
            output.line(line)?;
        }
        Ok(Answer::Yes)
    }
}
