//! `runlode show STORE RUN|models:/NAME[/VERSION]|experiment:NAME [--as-of POSITION|TIME]`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use runlode::mlflow::{Liveness, Watch};
use runlode::{
    AsOf, ExperimentId, ExperimentState, Lifecycle, Lsn, ModelVersionState, PastView, RegisteredModelId,
    RegisteredModelState, RunId, RunState, Snapshot, Stats,
};
use serde_json::Value;

use super::runs::{look, status};
use crate::error::{Error, Result};
use crate::find::{self, Target, store_path};
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format, json};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// A run (id, prefix of the id, or name), models:/NAME, models:/NAME/VERSION or experiment:NAME
    target: String,
    /// Show it as of a position or a time ("2026-03-03 09:00", UTC)
    #[arg(long, value_name = "POSITION|TIME")]
    as_of: Option<String>,
}

/// The store now, or as it was.
enum View<'s> {
    Now(&'s Snapshot),
    Then(PastView<'s>, &'s Snapshot),
}

impl View<'_> {
    fn position(&self) -> Lsn {
        match self {
            Self::Now(now) => now.position(),
            Self::Then(then, _) => then.position(),
        }
    }

    fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>> {
        Ok(match self {
            Self::Now(now) => now.run(id)?,
            Self::Then(then, _) => then.run(id)?.map(|(state, _)| Arc::new(state)),
        })
    }

    fn experiment(&self, id: ExperimentId) -> Result<Option<Arc<ExperimentState>>> {
        Ok(match self {
            Self::Now(now) => now.experiment(id)?,
            Self::Then(then, _) => then.experiment(id)?.map(Arc::new),
        })
    }

    /// The metrics of a run, with their stats.
    fn metrics(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        match self {
            Self::Now(now) => Ok(now.latest(id)?),
            Self::Then(then, _) => Ok(then.latest(id)?),
        }
    }

    fn registered_model(&self, name: &str) -> Result<Option<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        Ok(match self {
            Self::Now(now) => now.registered_model(name)?,
            Self::Then(then, now) => match now.registered_model(name)? {
                Some((id, _)) => then.registered_model(id)?.map(|state| (id, Arc::new(state))),
                None => None,
            },
        })
    }

    fn model_version(&self, model: RegisteredModelId, version: u32) -> Result<Option<Arc<ModelVersionState>>> {
        Ok(match self {
            Self::Now(now) => now.model_version(model, version)?,
            Self::Then(then, _) => then.model_version(model, version)?.map(Arc::new),
        })
    }
}

impl Show {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let as_of: Option<AsOf> = self.as_of.as_deref().map(format::as_of).transpose()?;
        let target = Target::parse(&self.target)?;
        let store = open_to_read(&self.store, output)?;
        let now = store.snapshot()?;
        let view = match as_of {
            Some(as_of) => View::Then(now.as_of(as_of)?, &now),
            None => View::Now(&now),
        };
        match &target {
            Target::Run(text) => {
                let id = find::run(&now, text)?;
                let Some(state) = view.run(id)? else { return Err(not_then(text, &view)) };
                let lifecycle = match view.experiment(state.experiment)? {
                    Some(experiment) => state.lifecycle_in(&experiment),
                    None => state.lifecycle,
                };
                let metrics = view.metrics(id)?;
                // Whether a process is alive is known for now only.
                let liveness = match view {
                    View::Now(_) => Some(look(&Watch::here(store.now().0), &state, &metrics)),
                    View::Then(..) => None,
                };
                if output.is_json() {
                    let metrics = metrics.iter().map(|(key, stats)| (&**key, stats));
                    output.document(&json::run(id, &state, lifecycle, liveness.as_ref(), metrics))?;
                } else {
                    print_run(id, &state, lifecycle, liveness.as_ref(), &metrics, output)?;
                }
            }
            Target::Experiment(text) => {
                let id = find::experiment(&now, text)?;
                let Some(state) = view.experiment(id)? else { return Err(not_then(text, &view)) };
                let value = json::experiment(id, &state);
                if output.is_json() { output.document(&value)? } else { print_value(&value, output)? }
            }
            Target::Model(name) => {
                let Some((id, state)) = view.registered_model(name)? else { return Err(not_then(name, &view)) };
                let mut versions = Vec::new();
                for version in &state.versions {
                    if let Some(state) = view.model_version(id, *version)? {
                        versions.push((*version, state));
                    }
                }
                if output.is_json() {
                    let versions = versions.iter().map(|(version, state)| json::model_version(*version, state));
                    output.document(&json::registered_model(&state, versions.collect()))?;
                } else {
                    print_model(&state, &versions, output)?;
                }
            }
            Target::Version(name, version) => {
                let Some((id, _)) = view.registered_model(name)? else { return Err(not_then(name, &view)) };
                let Some(state) = view.model_version(id, *version)? else {
                    return Err(not_then(&format!("{name}/{version}"), &view));
                };
                let value = json::model_version(*version, &state);
                if output.is_json() { output.document(&value)? } else { print_value(&value, output)? }
            }
        }
        Ok(Answer::Yes)
    }
}

fn not_then(what: &str, view: &View<'_>) -> Error {
    Error::usage(match view {
        View::Now(_) => format!("there is no `{what}` in this store"),
        View::Then(..) => format!("there was no `{what}` at position {}", view.position()),
    })
}

fn print_run(
    id: RunId,
    state: &RunState,
    lifecycle: Lifecycle,
    liveness: Option<&Liveness>,
    metrics: &[(Arc<str>, Stats)],
    output: &mut Output,
) -> Result<()> {
    let status = status(state, liveness);
    output.line(format!("{}  {id}", state.name))?;
    output.line(format!("  experiment  {}", state.experiment))?;
    output.line(format!("  status      {status}, {}", json::lifecycle(lifecycle)))?;
    output.line(format!("  started     {}", format::time(state.start_time_ms)))?;
    if let Some(end) = state.end_time_ms {
        let took = format::duration(state.start_time_ms, end);
        output.line(format!("  ended       {} ({took})", format::time(end)))?;
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
    for (number, rewind) in (0..).zip(&state.rewinds) {
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
    for (path, bytes) in &state.artifacts {
        output.line(format!("artifact  {path} {}", bytes.map(format::bytes).unwrap_or_default()))?;
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
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() {
            output.line(format!("{key:24}  {text}"))?;
        }
    }
    Ok(())
}
