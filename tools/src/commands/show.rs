//! `runlode show STORE NAME [--as-of POSITION|TIME]`

use std::sync::Arc;

use clap::Args;
use runlode::find::{Named, Wanted};
use runlode::mlflow::{Liveness, Settings, Watch};
use runlode::{Lifecycle, ModelVersionState, RegisteredModelState, RunId, RunState, Stats};
use serde_json::Value;

use super::runs::{look, status};
use super::there::{self, There};
use crate::error::Result;
use crate::moment::{Moment, View};
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, artifacts, format, json};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    store: Source,
    /// A run, experiment or model: name, id, beginning of an id, models:/NAME, models:/NAME/VERSION, models:/NAME@ALIAS
    target: String,
    #[command(flatten)]
    moment: Moment,
}

impl Show {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        Wanted::parse(&self.target)?;
        if let Some(url) = self.store.server() {
            there::print(&There::new(url, &self.moment, output)?.document(&self.target)?, output)?;
            return Ok(Answer::Yes);
        }
        let store = self.store.open(output)?;
        let now = store.snapshot()?;
        let view = self.moment.of(&now)?;
        let places = Settings::in_process(&store).places;
        let text = self.target.as_str();
        match view.find(text)? {
            Named::Run(id) => {
                let Some(state) = view.run(id)? else { return Err(view.absent(text)) };
                let experiment = view.experiment(state.experiment)?;
                let lifecycle =
                    experiment.as_ref().map_or(state.lifecycle, |experiment| state.lifecycle_in(experiment));
                let metrics = view.metrics(id)?;
                // Whether a process is alive, and which files are there, is known for now only.
                let (liveness, files) = match view.is_past() {
                    false => {
                        let root = experiment.as_ref().and_then(|experiment| experiment.artifact_location.as_deref());
                        let own = state.artifact_location.as_deref();
                        let place = places.run(&state.experiment.to_string(), root, &id.to_string(), own);
                        let files = artifacts::list(store.path(), &place, &state.artifacts);
                        (Some(look(&Watch::here(store.now().0), &state, &metrics)), files)
                    }
                    true => (None, state.artifacts.iter().cloned().collect()),
                };
                if output.is_json() {
                    let metrics = metrics.iter().map(|(key, stats)| (&**key, stats));
                    let mut document = json::run(id, &state, lifecycle, liveness.as_ref(), metrics);
                    if let Some(fields) = document.as_object_mut() {
                        fields.insert("artifacts".to_owned(), json::files(&files));
                    }
                    view.mark(&mut document);
                    output.document(&document)?;
                } else {
                    view.say(output);
                    let experiment = experiment.map_or_else(String::new, |experiment| experiment.name.clone());
                    print_run(id, &state, &experiment, lifecycle, liveness.as_ref(), &metrics, output)?;
                    print_files(&files, output)?;
                }
            }
            Named::Experiment(id) => {
                let Some(state) = view.experiment(id)? else { return Err(view.absent(text)) };
                print_document(json::experiment(id, &state), &view, output)?;
            }
            Named::LoggedModel(id) => {
                let Some(state) = view.logged_model(id)? else { return Err(view.absent(text)) };
                let mut document = json::logged_model(id, &state);
                let mut files = artifacts::Files::new();
                if !view.is_past() {
                    let experiment = view.experiment(state.experiment)?;
                    let root = experiment.as_ref().and_then(|experiment| experiment.artifact_location.as_deref());
                    let own = state.artifact_location.as_deref();
                    let place = places.logged_model(&state.experiment.to_string(), root, &id.to_string(), own);
                    files = artifacts::list(store.path(), &place, &[]);
                }
                if output.is_json() {
                    if let Some(fields) = document.as_object_mut() {
                        fields.insert("artifacts".to_owned(), json::files(&files));
                    }
                    view.mark(&mut document);
                    output.document(&document)?;
                } else {
                    print_document(document, &view, output)?;
                    print_files(&files, output)?;
                }
            }
            Named::RegisteredModel(id, _) => {
                let Some(state) = view.registered_model(id)? else { return Err(view.absent(text)) };
                let mut versions = Vec::new();
                for version in &state.versions {
                    if let Some(state) = view.model_version(id, *version)? {
                        versions.push((*version, state));
                    }
                }
                if output.is_json() {
                    let versions = versions.iter().map(|(version, state)| json::model_version(*version, state));
                    let mut document = json::registered_model(&state, versions.collect());
                    view.mark(&mut document);
                    output.document(&document)?;
                } else {
                    view.say(output);
                    print_model(&state, &versions, output)?;
                }
            }
            Named::Version(id, _, version) => {
                let Some(state) = view.model_version(id, version)? else { return Err(view.absent(text)) };
                print_document(json::model_version(version, &state), &view, output)?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// Files that are listed one by one.
const FILES_MAX: usize = 100;

fn print_files(files: &artifacts::Files, output: &mut Output) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    output.line("artifacts")?;
    let row = |(path, bytes): (&String, &Option<u64>)| {
        vec![format!("  {path}"), bytes.map(format::bytes).unwrap_or_default()]
    };
    output.table(&["", ">"], files.iter().take(FILES_MAX).map(row).collect())?;
    if files.len() > FILES_MAX {
        output.line(format!("  and {} more; --json has all", format::count((files.len() - FILES_MAX) as u64)))?;
    }
    Ok(())
}

fn print_document(mut document: Value, view: &View<'_>, output: &mut Output) -> Result<()> {
    if output.is_json() {
        view.mark(&mut document);
        return output.document(&document);
    }
    view.say(output);
    print_value(&document, output)
}

fn print_run(
    id: RunId,
    state: &RunState,
    experiment: &str,
    lifecycle: Lifecycle,
    liveness: Option<&Liveness>,
    metrics: &[(Arc<str>, Stats)],
    output: &mut Output,
) -> Result<()> {
    let status = status(state, liveness);
    output.line(format!("{}  {id}", state.name))?;
    output.line(format!("  experiment  {} ({experiment})", state.experiment))?;
    output.line(format!("  status      {status}, {}", json::lifecycle(lifecycle)))?;
    output.line(format!("  started     {}", format::time_and_zone(state.start_time_ms)))?;
    if let Some(end) = state.end_time_ms {
        let took = format::duration(state.start_time_ms, end);
        output.line(format!("  ended       {} ({took})", format::time_and_zone(end)))?;
    }
    match liveness {
        Some(Liveness::Alive { host, pid }) => output.line(format!("  process     {pid} on {host}"))?,
        Some(Liveness::Lost { since_ms }) => {
            output.line(format!("  lost        its process is gone; last seen {}", format::time(*since_ms)))?;
        }
        Some(Liveness::Silent { since_ms }) => {
            output.line(format!("  silent      nothing was logged since {}", format::time(*since_ms)))?;
        }
        Some(Liveness::Finished | Liveness::Unknown) | None => {}
    }
    if !state.user_id.is_empty() {
        output.line(format!("  user        {}", state.user_id))?;
    }
    if !metrics.is_empty() {
        output.line("metrics")?;
        let rows = metrics.iter().map(|(key, stats)| {
            vec![
                format!("  {}", format::cut(key, 40)),
                format::value(stats.last_value),
                stats.last_step.to_string(),
                format::value(stats.min),
                format::value(stats.max),
                format::count(stats.count_raw),
            ]
        });
        output.table(&["  key", ">latest", ">step", ">min", ">max", ">points"], rows.collect())?;
    }
    if let (Some(forked), Some(first)) = (&state.forked, state.rewinds.first()) {
        output.line(format!("forked from  {} at step {}", forked.run, first.to_step))?;
    }
    // The branch that a fork begins with is no dead one: it is empty.
    let dead = (0..).zip(&state.rewinds).skip(usize::from(state.forked.is_some()));
    for (number, rewind) in dead {
        let until = format!("until {}", format::time(rewind.at_ms));
        output.line(format!(
            "branch {number}  dead, {until}; branch {} went on from its step {}",
            number + 1,
            rewind.to_step
        ))?;
    }
    print_pairs("params", &state.params, output)?;
    print_pairs("tags", &state.tags, output)?;
    for dataset in &state.datasets {
        output.line(format!("data set  {} ({})", dataset.name, dataset.digest))?;
    }
    for (model, step) in &state.model_outputs {
        output.line(format!("made model  {model} at step {step}"))?;
    }
    Ok(())
}

fn print_pairs(title: &str, pairs: &[(String, String)], output: &mut Output) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    output.line(title)?;
    let room = usize::from(output.columns()).saturating_sub(34).max(20);
    let rows = pairs.iter().map(|(key, value)| vec![format!("  {}", format::cut(key, 30)), format::cut(value, room)]);
    output.table(&[], rows.collect())
}

fn print_model(
    state: &RegisteredModelState,
    versions: &[(u32, Arc<ModelVersionState>)],
    output: &mut Output,
) -> Result<()> {
    output.line(&state.name)?;
    if let Some(description) = &state.description {
        output.line(format!("  {description}"))?;
    }
    for (alias, version) in &state.aliases {
        output.line(format!("  @{alias} -> version {version}"))?;
    }
    let tags: Vec<_> = state.tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key)).cloned().collect();
    print_pairs("tags", &tags, output)?;
    let rows = versions.iter().map(|(version, state)| {
        let stage: &str = state.stage.into();
        vec![
            version.to_string(),
            stage.to_owned(),
            format::time(state.creation_time_ms),
            state.run_id.as_deref().unwrap_or("-").chars().take(8).collect(),
            state.source.clone(),
        ]
    });
    output.table(&[">version", "stage", "created", "run", "source"], rows.collect())
}

/// A flat JSON object as lines.
fn print_value(value: &Value, output: &mut Output) -> Result<()> {
    for (key, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::Number(time_ms) if key.ends_with("_time_ms") => {
                time_ms.as_i64().map_or_else(String::new, format::time)
            }
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let key = key.strip_suffix("_ms").unwrap_or(key);
        if !value.is_null() {
            output.line(format!("{key:24}  {text}"))?;
        }
    }
    Ok(())
}
