//! Metric points: millions of rows, streamed in the order (run, row), in batches of one run.
//!
//! Points of files (MLflow's file store, event files) never become rows: they are read from the files, run by run.
//!
//! - A batch holds up to 5,000 points of one run; its key is derived from the run, its number and its
//!   content. If the store already has points of the run, those of a batch that exist are left out.
//! - A logged model's own metrics (`logged_model_metrics`) repeat rows of `metrics`: the model and data set are
//!   attached to the point of the same run, name, time, step and value. A point that belongs to several models is
//!   logged once for each, and is still one point.
//! - `is_nan` says whether a point is NaN, never the value.

use super::appender::{self, Appender};
use super::current::Current;
use super::decode::text_or_empty;
use super::merge::Grouped;
use super::report::Report;
use super::runs::Foreign;
use super::sink::Sink;
use super::source::{RunPoints, Source, read_failed};
use super::{ImportOptions, Progress};
use crate::error::Result;

/// Rows between two calls of the progress function.
const ROWS_PER_PROGRESS: u64 = 8_192;

pub(super) fn import(
    source: &Source,
    options: &ImportOptions,
    foreign: &Foreign,
    sink: &mut Sink<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    appender::beside(sink, report, |appender, report| read(source, options, foreign, appender, report, progress))
}

fn read(
    source: &Source,
    options: &ImportOptions,
    foreign: &Foreign,
    appender: &Appender<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    report.infinities_restored = options.restore_infinities;
    if !source.has("metrics") {
        return Ok(());
    }
    let mut model_statement = source
        .has("logged_model_metrics")
        .then(|| {
            let columns = source.list(
                "logged_model_metrics",
                &[
                    "run_id",
                    "metric_name",
                    "metric_timestamp_ms",
                    "metric_step",
                    "metric_value",
                    "model_id",
                    "dataset_name",
                    "dataset_digest",
                ],
            );
            source.prepare(&format!("SELECT {columns} FROM logged_model_metrics ORDER BY run_id, model_id"))
        })
        .transpose()?;
    let mut models = match &mut model_statement {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };
    let mut latest_statement = source
        .has("latest_metrics")
        .then(|| {
            let columns = source.list("latest_metrics", &["run_uuid", "key", "value", "timestamp", "step"]);
            source.prepare(&format!("SELECT {columns} FROM latest_metrics ORDER BY run_uuid"))
        })
        .transpose()?;
    let mut latest = match &mut latest_statement {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };

    if let Some(files) = source.files() {
        let restore_infinities = options.restore_infinities && !source.keeps_all_points();
        let from = Files { source, files, restore_infinities, foreign };
        from.import(&mut models, appender, report, progress)?;
        report.skip("metric rows of logged models whose run has no points", models.finish()?);
        return Ok(());
    }
    let columns = source.list("metrics", &["run_uuid", "key", "value", "timestamp", "step", "is_nan"]);
    let mut statement = source.prepare(&format!("SELECT {columns} FROM metrics ORDER BY run_uuid, rowid"))?;
    let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
    let total = source.count_about("metrics");
    let mut done = 0;
    let mut current: Option<Current> = None;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        if done % ROWS_PER_PROGRESS == 0 {
            progress(Progress { phase: "points", done, total });
        }
        done += 1;
        if !current.as_ref().map_or(Ok(false), |current| current.is_of(row))? {
            if let Some(finished) = current.take() {
                finished.finish(&mut latest, appender, report)?;
            }
            current = Some(Current::begin(text_or_empty(row, 0)?, foreign, &mut models, appender)?);
        }
        if let Some(current) = &mut current {
            current.add(row, options, report)?;
            if current.is_full() {
                current.put(appender, report)?;
            }
        }
    }
    if let Some(finished) = current.take() {
        finished.finish(&mut latest, appender, report)?;
    }
    report.skip("metric rows of logged models whose run has no points", models.finish()?);
    progress(Progress { phase: "points", done, total: done });
    Ok(())
}

/// A source that has its points in files.
struct Files<'s> {
    source: &'s Source,
    files: &'s dyn RunPoints,
    restore_infinities: bool,
    foreign: &'s Foreign,
}

impl Files<'_> {
    fn import(
        &self,
        models: &mut Grouped<'_>,
        appender: &Appender<'_>,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let total = self.source.count("runs")?;
        let mut statement = self.source.prepare("SELECT run_uuid FROM runs ORDER BY run_uuid")?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        let mut done = 0;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            progress(Progress { phase: "runs with points", done, total });
            done += 1;
            let uuid = text_or_empty(row, 0)?;
            let mut current = Current::begin(uuid.clone(), self.foreign, models, appender)?;
            let mut found = Report::default();
            self.files.read(&uuid, &mut found, &mut |point| {
                current.add_point(point, self.restore_infinities, report);
                if current.is_full() {
                    current.put(appender, report)?;
                }
                Ok(())
            })?;
            current.put(appender, report)?;
            current.count_lost(report);
            report.absorb(found);
        }
        progress(Progress { phase: "runs with points", done, total });
        Ok(())
    }
}
