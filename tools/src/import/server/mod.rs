//! A running MLflow server, over its REST API.
//!
//! ```text
//!  experiments -> runs, page by page -> for each run that is new or has changed: histories of its metrics -> stage
//!              -> logged models; registered models -> versions
//! ```
//!
//! - One request at a time unless the user allows more. The server stays usable meanwhile.
//! - A run is a part of the stage: a kept one (`--cache`) fetches only runs that are new, or differ in anything that the
//!   list of runs says, the latest values of their metrics among it.
//! - What the API does not show is not imported: deleted logged models and versions, deletion times. Artifacts are fetched
//!   by `super::fetched` where the server hands them out; other places stay as they are, or are found by `--artifacts`.

mod client;
mod entities;
mod files;
mod histories;

use rusqlite::types::Null;
use serde_json::json;

use self::client::Client;
use self::entities::{
    Experiment, Experiments, LoggedModel, LoggedModels, ModelVersions, RegisteredModel, RegisteredModels, Run, Runs,
};
pub(super) use self::files::{Download, Entry, Files, Listing};
use self::histories::Job;
use super::key::Key;
use super::report::{Report, without_login};
use super::source::{Nature, Source};
use super::stage::Stage;
use super::{ImportOptions, Progress};
use crate::error::{Error, Result};

const NATURE: Nature = Nature { kind: "an MLflow server", keeps_all_points: false };
/// Entities asked for at once.
const PAGE: u64 = 200;

/// Fetches everything.
pub(super) fn stage(url: &str, options: &ImportOptions, progress: &mut dyn FnMut(Progress)) -> Result<Source> {
    let client = Client::new(url)?;
    let stage = Stage::begin(options.cache.as_deref(), &without_login(url))?;
    let mut found = Report::default();
    let mut experiments = Vec::new();
    let mut token = String::new();
    stage.transaction()?;
    loop {
        let body = json!({ "max_results": PAGE, "view_type": "ALL", "page_token": token });
        let page: Experiments = client.post("experiments/search", &body)?;
        for experiment in page.experiments {
            experiments.extend(put_experiment(&stage, experiment, &mut found)?);
        }
        let Some(next) = next(&token, page.next_page_token, "experiments/search")? else { break };
        token = next;
    }
    stage.commit()?;
    let mut fetch = Fetch { client: &client, stage: &stage, workers: options.concurrency.max(1), runs: 0 };
    for experiment in &experiments {
        fetch.runs(*experiment, progress)?;
    }
    stage.transaction()?;
    for experiment in &experiments {
        logged_models(&client, &stage, *experiment)?;
    }
    registry(&client, &stage, progress)?;
    stage.commit()?;
    let mut source = stage.finish(&without_login(url), NATURE, None)?;
    source.found = found;
    Ok(source)
}

/// The token of the next page, if there is one. A server that gives the same token again would be asked forever.
fn next(token: &str, next: String, what: &str) -> Result<Option<String>> {
    match next {
        next if next.is_empty() => Ok(None),
        next if next == token => Err(Error::Source(format!("{what} gives the same page again and again"))),
        next => Ok(Some(next)),
    }
}

fn put_experiment(stage: &Stage, experiment: Experiment, found: &mut Report) -> Result<Option<i64>> {
    let Ok(id) = experiment.experiment_id.parse::<i64>() else {
        found.problem(format!(
            "experiment `{}` is left out: its id {} is no number",
            experiment.name, experiment.experiment_id
        ));
        found.skip("experiments whose id is no number", 1);
        return Ok(None);
    };
    let created_ms = experiment.creation_time.0;
    stage.remove("experiment_tags", "experiment_id", &id)?;
    stage.put(
        "experiments",
        &[
            &id,
            &experiment.name,
            &experiment.artifact_location,
            &experiment.lifecycle_stage,
            &created_ms,
            &experiment.last_update_time.0.or(created_ms),
        ],
    )?;
    for tag in experiment.tags {
        stage.put("experiment_tags", &[&id, &tag.key, &tag.value])?;
    }
    Ok(Some(id))
}

struct Fetch<'f> {
    client: &'f Client,
    stage: &'f Stage,
    workers: usize,
    /// Runs done.
    runs: u64,
}

impl Fetch<'_> {
    /// The runs of an experiment. Each page of them is completed before the next one.
    fn runs(&mut self, experiment: i64, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let mut token = String::new();
        loop {
            let body = json!({
                "experiment_ids": [experiment.to_string()],
                "run_view_type": "ALL",
                "max_results": PAGE,
                "page_token": token,
            });
            let page: Runs = self.client.post("runs/search", &body)?;
            let mut jobs = Vec::new();
            for run in page.runs {
                self.runs += 1;
                let stamp = stamp(&run);
                if self.stage.has_part(&run.info.run_id, &stamp)? {
                    continue;
                }
                jobs.push(Job { run, stamp, experiment });
            }
            let done = self.runs;
            histories::fetch(self.client, self.stage, self.workers, jobs, &mut |points| {
                progress(Progress { phase: "points of runs", done: points, total: 0 });
            })?;
            progress(Progress { phase: "runs", done, total: 0 });
            let Some(next) = next(&token, page.next_page_token, "runs/search")? else { return Ok(()) };
            token = next;
        }
    }
}

/// Changes when anything does that the list of runs says.
fn stamp(run: &Run) -> String {
    let info = &run.info;
    let mut key = Key::new("server-run").text(&info.run_name).text(&info.user_id).text(&info.status);
    key.add_number(info.start_time.0.unwrap_or(-1));
    key.add_number(info.end_time.0.unwrap_or(-1));
    key.add_text(&info.lifecycle_stage);
    key.add_text(&info.artifact_uri);
    for pair in run.data.params.iter().chain(&run.data.tags) {
        key.add_text(&pair.key);
        key.add_text(&pair.value);
    }
    for metric in &run.data.metrics {
        key.add_text(&metric.key);
        key.add_number(metric.value.0.to_bits().cast_signed());
        key.add_number(metric.timestamp.0.unwrap_or(0));
        key.add_number(metric.step.0.unwrap_or(0));
    }
    key.add_number((run.inputs.dataset_inputs.len() + run.inputs.model_inputs.len()) as i64);
    key.add_number(run.outputs.model_outputs.len() as i64);
    format!("{:016x}", key.fold())
}

/// Puts a run without its points.
fn put_run(stage: &Stage, run: &Run, experiment: i64) -> Result<()> {
    let info = &run.info;
    let id = &info.run_id;
    for table in ["params", "tags", "metrics"] {
        stage.remove(table, "run_uuid", id)?;
    }
    stage.put(
        "runs",
        &[
            id,
            &info.run_name,
            &info.user_id,
            &info.status,
            &info.start_time.0,
            &info.end_time.0,
            &info.lifecycle_stage,
            &info.artifact_uri,
            &experiment,
            &Null,
        ],
    )?;
    for param in &run.data.params {
        stage.put("params", &[id, &param.key, &param.value])?;
    }
    for tag in &run.data.tags {
        stage.put("tags", &[id, &tag.key, &tag.value])?;
    }
    for input in &run.inputs.dataset_inputs {
        let dataset = &input.dataset;
        let uuid = format!("{experiment}/{}/{}", dataset.name, dataset.digest);
        stage.put(
            "datasets",
            &[
                &uuid,
                &experiment,
                &dataset.name,
                &dataset.digest,
                &dataset.source_type,
                &dataset.source,
                &dataset.schema,
                &dataset.profile,
            ],
        )?;
        let input_id = format!("{id}/{uuid}");
        stage.put("inputs", &[&input_id, &"DATASET", &uuid, &"RUN", id, &Null])?;
        for tag in &input.tags {
            stage.put("input_tags", &[&input_id, &tag.key, &tag.value])?;
        }
    }
    for link in &run.inputs.model_inputs {
        let input_id = format!("{id}/in/{}", link.model_id);
        stage.put("inputs", &[&input_id, &"RUN_INPUT", id, &"MODEL_INPUT", &link.model_id, &Null])?;
    }
    for link in &run.outputs.model_outputs {
        let input_id = format!("{id}/out/{}", link.model_id);
        let step = link.step.0.unwrap_or(0);
        stage.put("inputs", &[&input_id, &"RUN_OUTPUT", id, &"MODEL_OUTPUT", &link.model_id, &step])?;
    }
    Ok(())
}

fn logged_models(client: &Client, stage: &Stage, experiment: i64) -> Result<()> {
    let mut token = String::new();
    loop {
        let mut body = json!({ "experiment_ids": [experiment.to_string()], "max_results": 50 });
        if !token.is_empty() {
            body["page_token"] = token.clone().into();
        }
        let page: LoggedModels = match client.post("logged-models/search", &body) {
            // Servers before 3.0 have none.
            Err(Error::Source(text)) if text.contains("404") => return Ok(()),
            page => page?,
        };
        for model in page.models {
            put_logged_model(stage, &model, experiment)?;
        }
        let Some(next) = next(&token, page.next_page_token, "logged-models/search")? else { return Ok(()) };
        token = next;
    }
}

fn put_logged_model(stage: &Stage, model: &LoggedModel, experiment: i64) -> Result<()> {
    let info = &model.info;
    let id = &info.model_id;
    for table in ["logged_model_params", "logged_model_tags", "logged_model_metrics"] {
        stage.remove(table, "model_id", id)?;
    }
    let status = match info.status.as_str() {
        "LOGGED_MODEL_PENDING" => 1,
        "LOGGED_MODEL_READY" => 2,
        "LOGGED_MODEL_UPLOAD_FAILED" => 3,
        _ => 0,
    };
    stage.put(
        "logged_models",
        &[
            id,
            &experiment,
            &info.name,
            &info.artifact_uri,
            &info.creation_timestamp_ms.0,
            &info.last_updated_timestamp_ms.0,
            &status,
            &"active",
            &info.model_type,
            &info.source_run_id,
            &info.status_message,
        ],
    )?;
    for param in &model.data.params {
        stage.put("logged_model_params", &[id, &param.key, &param.value])?;
    }
    for tag in &info.tags {
        stage.put("logged_model_tags", &[id, &tag.key, &tag.value])?;
    }
    for metric in &model.data.metrics {
        let stored = if metric.value.0.is_nan() { 0.0 } else { metric.value.0 };
        let (time, step) = (metric.timestamp.0.unwrap_or(0), metric.step.0.unwrap_or(0));
        stage.put(
            "logged_model_metrics",
            &[id, &metric.key, &time, &step, &stored, &metric.run_id, &metric.dataset_name, &metric.dataset_digest],
        )?;
    }
    Ok(())
}

fn registry(client: &Client, stage: &Stage, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    for table in ["registered_models", "registered_model_tags", "registered_model_aliases", "model_versions"] {
        stage.clear(table)?;
    }
    stage.clear("model_version_tags")?;
    let (mut token, mut done) = (String::new(), 0);
    loop {
        let page: RegisteredModels = client
            .get("registered-models/search", &[("max_results", &PAGE.to_string()), ("page_token", token.as_str())])?;
        for model in page.registered_models {
            progress(Progress { phase: "registered models", done, total: 0 });
            done += 1;
            registered_model(client, stage, &model)?;
        }
        let Some(next) = next(&token, page.next_page_token, "registered-models/search")? else { return Ok(()) };
        token = next;
    }
}

fn registered_model(client: &Client, stage: &Stage, model: &RegisteredModel) -> Result<()> {
    let name = &model.name;
    stage.put(
        "registered_models",
        &[name, &model.creation_timestamp.0, &model.last_updated_timestamp.0, &model.description],
    )?;
    for tag in &model.tags {
        stage.put("registered_model_tags", &[name, &tag.key, &tag.value])?;
    }
    for alias in &model.aliases {
        stage.put("registered_model_aliases", &[name, &alias.alias, &alias.version.0])?;
    }
    let quote = if name.contains('\'') { '"' } else { '\'' };
    let filter = format!("name = {quote}{name}{quote}");
    let mut token = String::new();
    loop {
        let query = [("filter", filter.as_str()), ("max_results", &PAGE.to_string()), ("page_token", token.as_str())];
        let page: ModelVersions = client.get("model-versions/search", &query)?;
        for version in page.model_versions {
            let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let number = version.version.0;
            stage.put(
                "model_versions",
                &[
                    name,
                    &number,
                    &version.creation_timestamp.0,
                    &version.last_updated_timestamp.0,
                    &given(&version.description),
                    &given(&version.user_id),
                    &version.current_stage,
                    &version.source,
                    &given(&version.run_id),
                    &version.status,
                    &given(&version.status_message),
                    &given(&version.run_link),
                    &Null,
                ],
            )?;
            for tag in &version.tags {
                stage.put("model_version_tags", &[name, &number, &tag.key, &tag.value])?;
            }
        }
        let Some(next) = next(&token, page.next_page_token, "model-versions/search")? else { return Ok(()) };
        token = next;
    }
}
