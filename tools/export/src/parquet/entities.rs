//! The tables `experiments`, `datasets`, `runs` and `logged_models`: a row for each entity, with the fields of its state.
//!
//! Columns that end in `_ms` are Unix milliseconds; `created_position` and `last_position` are places in the store's one
//! order of changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use runlode::engine::ColumnSet;
use runlode::engine::entity::{LoggedModelState, RunState, SharedPoint};
use runlode::{
    DatasetState, ExperimentId, ExperimentState, HistoryQuery, Lifecycle, LoggedModelStatus, ModelId, RunId,
};

use super::columns::*;
use crate::error::Result;
use crate::moment::Moment;
use crate::report::Report;
use crate::select::Selected;

/// An experiment.
pub(super) struct Experiment(pub(super) ExperimentId, pub(super) Arc<ExperimentState>, pub(super) String);

pub(super) fn lifecycle_text(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Active => "active",
        Lifecycle::Deleted => "deleted",
        Lifecycle::Purged => "purged",
    }
}

fn position(lsn: runlode::Lsn) -> i64 {
    lsn.0.cast_signed()
}

pub(super) fn experiments(rows: &[Experiment]) -> Result<RecordBatch, ArrowError> {
    let states = || rows.iter().map(|row| &row.1);
    batch(vec![
        full("experiment_id", texts(rows.iter().map(|row| row.0.to_string()))),
        full("name", texts(states().map(|state| &state.name))),
        full("lifecycle", texts(states().map(|state| lifecycle_text(state.lifecycle)))),
        full("creation_time_ms", numbers(states().map(|state| state.creation_time_ms))),
        full("last_update_time_ms", numbers(states().map(|state| state.last_update_time_ms))),
        full("artifact_location", texts(rows.iter().map(|row| &row.2))),
        full("tags", text_maps(states().map(|state| state.tags.as_slice()))),
        full("created_position", numbers(states().map(|state| position(state.created)))),
        full("last_position", numbers(states().map(|state| position(state.last)))),
    ])
}

/// A data set of an experiment.
pub(super) struct Dataset {
    experiment: ExperimentId,
    name: String,
    digest: String,
    state: Arc<DatasetState>,
}

impl Dataset {
    /// About its bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.state.source.len() + text(&self.state.schema) + text(&self.state.profile) + 512
    }
}

pub(super) fn datasets(rows: &[Dataset]) -> Result<RecordBatch, ArrowError> {
    let states = || rows.iter().map(|row| &row.state);
    batch(vec![
        full("experiment_id", texts(rows.iter().map(|row| row.experiment.to_string()))),
        full("name", texts(rows.iter().map(|row| &row.name))),
        full("digest", texts(rows.iter().map(|row| &row.digest))),
        full("source_type", texts(states().map(|state| &state.source_type))),
        full("source", texts(states().map(|state| &state.source))),
        sparse("schema", maybe_texts(states().map(|state| state.schema.as_ref()))),
        sparse("profile", maybe_texts(states().map(|state| state.profile.as_ref()))),
    ])
}

/// The data sets that runs read, in the order of experiment, name and digest.
pub(super) fn datasets_of(moment: &Moment, names: &BTreeSet<(ExperimentId, String, String)>) -> Result<Vec<Dataset>> {
    let mut out = Vec::new();
    for (experiment, name, digest) in names {
        if let Some(state) = moment.dataset(*experiment, name, digest)? {
            out.push(Dataset { experiment: *experiment, name: name.clone(), digest: digest.clone(), state });
        }
    }
    Ok(out)
}

/// A run.
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) state: Arc<RunState>,
    lifecycle: Lifecycle,
    artifact_uri: String,
    metrics: Vec<(Arc<str>, f64)>,
    points: u64,
}

impl Run {
    pub(super) fn read(moment: &Moment, selected: &Selected, id: RunId) -> Result<Option<Self>> {
        let Some((state, lifecycle)) = moment.run(id)? else { return Ok(None) };
        let stats = moment.metrics(id)?;
        let explicit = selected.experiments.get(&state.experiment).and_then(|state| state.artifact_location.as_deref());
        let own = state.artifact_location.as_deref();
        let artifact_uri = moment.places.run(&state.experiment.to_string(), explicit, &id.to_string(), own);
        Ok(Some(Self {
            id,
            lifecycle,
            artifact_uri,
            points: stats.iter().map(|(_, stats)| stats.count_raw).sum(),
            metrics: stats.into_iter().map(|(key, stats)| (key, stats.last_value)).collect(),
            state,
        }))
    }

    /// About its bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let pairs = self.state.params.iter().chain(&self.state.tags);
        let files = self.state.artifacts.iter().map(|(path, _)| path.len() + 32);
        pairs.map(|(key, value)| key.len() + value.len() + 48).sum::<usize>()
            + files.sum::<usize>()
            + self.metrics.len() * 64
            + 512
    }

    pub(super) fn count(&self, report: &mut Report) {
        report.written.runs += 1;
        report.written.params += self.state.params.len() as u64;
        report.written.tags += self.state.tags.len() as u64;
        report.written.dataset_inputs += self.state.datasets.len() as u64;
    }
}

pub(super) fn runs(rows: &[Run]) -> Result<RecordBatch, ArrowError> {
    let states = || rows.iter().map(|row| &*row.state);
    let datasets = || states().flat_map(|state| &state.datasets);
    let outputs = || states().flat_map(|state| &state.model_outputs);
    let artifacts = || states().flat_map(|state| &state.artifacts);
    let rewinds = || states().flat_map(|state| &state.rewinds);
    let leases = || states().flat_map(|state| &state.lease);
    batch(vec![
        full("run_id", texts(rows.iter().map(|row| row.id.to_string()))),
        full("experiment_id", texts(states().map(|state| state.experiment.to_string()))),
        full("name", texts(states().map(|state| &state.name))),
        full("user_id", texts(states().map(|state| &state.user_id))),
        full("status", texts(states().map(|state| <&str>::from(state.status)))),
        full("start_time_ms", numbers(states().map(|state| state.start_time_ms))),
        sparse("end_time_ms", maybe_numbers(states().map(|state| state.end_time_ms))),
        full("lifecycle", texts(rows.iter().map(|row| lifecycle_text(row.lifecycle)))),
        sparse("deleted_time_ms", maybe_numbers(states().map(|state| state.deleted_time_ms))),
        full("artifact_uri", texts(rows.iter().map(|row| &row.artifact_uri))),
        full("params", text_maps(states().map(|state| state.params.as_slice()))),
        full("tags", text_maps(states().map(|state| state.tags.as_slice()))),
        full("metrics", number_maps(rows.iter().map(|row| row.metrics.as_slice()))),
        full("points", numbers(rows.iter().map(|row| row.points.cast_signed()))),
        full(
            "datasets",
            lists(
                states().map(|state| state.datasets.len()),
                vec![
                    full("name", texts(datasets().map(|set| &set.name))),
                    full("digest", texts(datasets().map(|set| &set.digest))),
                    full("tags", text_maps(datasets().map(|set| set.tags.as_slice()))),
                ],
            ),
        ),
        full("model_inputs", text_lists(states().map(|state| state.model_inputs.as_slice()))),
        full(
            "model_outputs",
            lists(
                states().map(|state| state.model_outputs.len()),
                vec![
                    full("model_id", texts(outputs().map(|(model, _)| model))),
                    full("step", numbers(outputs().map(|(_, step)| *step))),
                ],
            ),
        ),
        full(
            "artifacts",
            lists(
                states().map(|state| state.artifacts.len()),
                vec![
                    full("path", texts(artifacts().map(|(path, _)| path))),
                    sparse("bytes", maybe_numbers(artifacts().map(|(_, bytes)| bytes.map(u64::cast_signed)))),
                ],
            ),
        ),
        full(
            "rewinds",
            lists(
                states().map(|state| state.rewinds.len()),
                vec![
                    full("from_branch", numbers(rewinds().map(|rewind| i64::from(rewind.from)))),
                    full("to_step", numbers(rewinds().map(|rewind| rewind.to_step))),
                    full("position", numbers(rewinds().map(|rewind| position(rewind.lsn)))),
                    full("time_ms", numbers(rewinds().map(|rewind| rewind.at_ms))),
                ],
            ),
        ),
        full(
            "processes",
            lists(
                states().map(|state| usize::from(state.lease.is_some())),
                vec![
                    full("host", texts(leases().map(|lease| &lease.host))),
                    full("pid", numbers(leases().map(|lease| i64::from(lease.pid)))),
                    full("process_start", numbers(leases().map(|lease| lease.process_start.cast_signed()))),
                    full("boot_id", texts(leases().map(|lease| &lease.boot_id))),
                    full("time_ms", numbers(leases().map(|lease| lease.at_ms))),
                ],
            ),
        ),
        full("launches", numbers(states().map(|state| i64::from(state.launches)))),
        full("created_position", numbers(states().map(|state| position(state.created)))),
        full("last_position", numbers(states().map(|state| position(state.last)))),
    ])
}

/// A logged model.
pub(super) struct LoggedModel {
    id: ModelId,
    state: Arc<LoggedModelState>,
    artifact_uri: String,
    more_points: Vec<SharedPoint>,
}

impl LoggedModel {
    pub(super) fn read(moment: &Moment, selected: &Selected, id: ModelId) -> Result<Option<Self>> {
        let Some(state) = moment.logged_model(id)? else { return Ok(None) };
        let explicit = selected.experiments.get(&state.experiment).and_then(|state| state.artifact_location.as_deref());
        let own = state.artifact_location.as_deref();
        let artifact_uri = moment.places.logged_model(&state.experiment.to_string(), explicit, &id.to_string(), own);
        let more_points = more_points(moment, id, &state)?;
        Ok(Some(Self { id, state, artifact_uri, more_points }))
    }
}

impl LoggedModel {
    /// About its bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let pairs = self.state.params.iter().chain(&self.state.tags);
        pairs.map(|(key, value)| key.len() + value.len() + 48).sum::<usize>() + self.more_points.len() * 256 + 512
    }
}

/// Points that are metrics of a model although the table `points` names another model, or none.
fn more_points(moment: &Moment, id: ModelId, state: &LoggedModelState) -> Result<Vec<SharedPoint>> {
    let mut more = state.shared_points.clone();
    let model = id.to_string();
    let mut page = runlode::HistoryPage::default();
    for (run, key) in &state.metric_series {
        if moment.run(*run)?.is_none() {
            continue;
        }
        let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
        let mut query = HistoryQuery { columns, limit: crate::series::BLOCK_POINTS, ..HistoryQuery::default() };
        loop {
            moment.history(*run, key, &query, &mut page)?;
            for at in 0..page.columns.contexts.len() {
                let Some(context) = moment.context(page.columns.context(at)) else { continue };
                let point = page.columns.point(at);
                more.extend(context.also.iter().filter(|part| part.model_id.as_ref() == Some(&model)).map(|part| {
                    SharedPoint {
                        run: *run,
                        key: key.clone(),
                        step: point.step,
                        time_ms: point.time.0,
                        value_bits: point.value.to_bits(),
                        dataset_name: part.dataset_name.clone(),
                        dataset_digest: part.dataset_digest.clone(),
                    }
                }));
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    Ok(more)
}

pub(super) fn status_text(status: LoggedModelStatus) -> &'static str {
    match status {
        LoggedModelStatus::Unspecified => "UNSPECIFIED",
        LoggedModelStatus::Pending => "PENDING",
        LoggedModelStatus::Ready => "READY",
        LoggedModelStatus::UploadFailed => "FAILED",
    }
}

pub(super) fn logged_models(rows: &[LoggedModel]) -> Result<RecordBatch, ArrowError> {
    let states = || rows.iter().map(|row| &*row.state);
    let more = || rows.iter().flat_map(|row| &row.more_points);
    batch(vec![
        full("model_id", texts(rows.iter().map(|row| row.id.to_string()))),
        full("experiment_id", texts(states().map(|state| state.experiment.to_string()))),
        full("name", texts(states().map(|state| &state.name))),
        full("model_type", texts(states().map(|state| &state.model_type))),
        full("source_run_id", texts(states().map(|state| &state.source_run))),
        full("artifact_uri", texts(rows.iter().map(|row| &row.artifact_uri))),
        full("status", texts(states().map(|state| status_text(state.status)))),
        sparse("status_message", maybe_texts(states().map(|state| state.status_message.as_ref()))),
        full("lifecycle", texts(states().map(|state| lifecycle_text(state.lifecycle)))),
        full("creation_time_ms", numbers(states().map(|state| state.creation_time_ms))),
        full("last_update_time_ms", numbers(states().map(|state| state.last_updated_time_ms))),
        full("params", text_maps(states().map(|state| state.params.as_slice()))),
        full("tags", text_maps(states().map(|state| state.tags.as_slice()))),
        full(
            "more_points",
            lists(
                rows.iter().map(|row| row.more_points.len()),
                vec![
                    full("run_id", texts(more().map(|point| point.run.to_string()))),
                    full("key", texts(more().map(|point| &point.key))),
                    full("step", numbers(more().map(|point| point.step))),
                    full("timestamp_ms", numbers(more().map(|point| point.time_ms))),
                    full("value", doubles(more().map(|point| f64::from_bits(point.value_bits)))),
                    sparse("dataset_name", maybe_texts(more().map(|point| point.dataset_name.as_ref()))),
                    sparse("dataset_digest", maybe_texts(more().map(|point| point.dataset_digest.as_ref()))),
                ],
            ),
        ),
        full("created_position", numbers(states().map(|state| position(state.created)))),
        full("last_position", numbers(states().map(|state| position(state.last)))),
    ])
}
