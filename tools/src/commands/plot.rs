//! `runlode plot STORE RUN KEY`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::{self, store_path};
use crate::json::number;
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format, picture};

/// Arguments of `plot`.
#[derive(Debug, Args)]
pub struct Plot {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// The run: id, prefix of the id, or name
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
        let store = open_to_read(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let run = find::run(&snapshot, &self.run)?;
        if snapshot.stats(run, &self.key)?.is_none() {
            let keys: Vec<String> = snapshot.latest(run)?.iter().take(20).map(|(key, _)| key.to_string()).collect();
            let there =
                if keys.is_empty() { "it has no metrics".to_owned() } else { format!("it has {}", keys.join(", ")) };
            return Err(Error::usage(format!("the run has no metric `{}`; {there}", self.key)));
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
        output.line(format!("{} of {name}: {} points", self.key, format::count(series.count)))?;
        for line in picture::draw(&series, buckets) {
            output.line(line)?;
        }
        Ok(Answer::Yes)
    }
}
