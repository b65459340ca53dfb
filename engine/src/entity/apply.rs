//! The pure step: (states, event, position) -> states.
//!
//! Invariants:
//! - No clock, no randomness, no I/O except reads of the base states. The same events in the same order always give the
//!   same states, so a replay equals the live store.
//! - Total: an event whose entity is unknown, purged or exists already changes nothing and sets `Applied::ignored`.
//!   Preconditions are checked before the append, by `ingest::validate`.
//! - For every key of [`touches`] that exists and was not ignored, `last` becomes the event's position. So it does for
//!   states that an event changes in passing (names, data sets, the versions of a renamed model).
//!
//! Consequences of events:
//!
//! | event | also |
//! |---|---|
//! | experiment deleted, restored | its runs follow by [`RunState::lifecycle_in`]; no run is touched |
//! | experiment purged | its name is free; no later event changes it |
//! | run created with a name | gets the tag `mlflow.runName`, if it came without |
//! | run tag `mlflow.runName` set | renames the run; an empty value does nothing |
//! | run updated with a name | sets that tag; an empty name does nothing |
//! | param logged again | the first value stays |
//! | data set logged again | the experiment's first stays; so do the tags of the run's first input of it |
//! | run purged | a stub stays: experiment, lifecycle, positions |
//! | run rewound | the branch becomes live, if it is the run's next one; else nothing happens |
//! | registered model renamed | all its versions get the time |
//! | version created, moved to a stage, deleted | the model's last update gets the time |
//! | version deleted | its aliases are removed, its number stays used |
//! | registered model deleted | its name is free; versions and aliases are removed; a new model of the name has a new number |
//!
//! The event list of a version's model also shows what happened to the version: renames and deletion of the model.

use rustc_hash::FxHashSet;

use super::pairs::{RUN_NAME_TAG, put_pairs, put_run_name, put_run_tags, remove_pair, sorted_pairs};
use super::registry::apply_registry;
use super::state::*;
use super::working::{Applied, Working};
use crate::error::Result;
use crate::event::{DatasetInput, Event, RunInputsLogged, RunStatus};
use crate::id::{Lsn, ModelId, RunId};

/// The state that a purged run keeps.
fn purged_stub(run: &RunState, lsn: Lsn) -> RunState {
    RunState {
        experiment: run.experiment,
        name: String::new(),
        user_id: String::new(),
        status: RunStatus::Killed,
        start_time_ms: 0,
        end_time_ms: None,
        artifact_location: None,
        lifecycle: Lifecycle::Purged,
        lifecycle_lsn: lsn,
        deleted_time_ms: None,
        params: Vec::new(),
        tags: Vec::new(),
        datasets: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
        artifacts: Vec::new(),
        launches: 0,
        rewinds: Vec::new(),
        forked: None,
        lease: None,
        created: run.created,
        last: lsn,
    }
}

/// The entities whose history shows this event, the main one first.
///
/// Runs for run events, logged models for theirs, experiments, registered models; for events of a version, the version
/// and its model. Names and data sets have no history; events of the store itself belong to no entity.
pub fn touches(event: &Event) -> Vec<EntityKey> {
    use EntityKey as K;
    use Event as E;
    let version = |model, version| vec![K::ModelVersion(model, version), K::RegisteredModel(model)];
    match event {
        E::ExperimentCreated(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentRenamed(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentTagsSet(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentTagDeleted(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentDeleted(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentRestored(e) => vec![K::Experiment(e.experiment)],
        E::ExperimentPurged(e) => vec![K::Experiment(e.experiment)],
        E::RunCreated(e) => vec![K::Run(e.run)],
        E::RunUpdated(e) => vec![K::Run(e.run)],
        E::RunDeleted(e) => vec![K::Run(e.run)],
        E::RunRestored(e) => vec![K::Run(e.run)],
        E::RunPurged(e) => vec![K::Run(e.run)],
        E::ParamsLogged(e) => vec![K::Run(e.run)],
        E::RunTagsSet(e) => vec![K::Run(e.run)],
        E::RunTagDeleted(e) => vec![K::Run(e.run)],
        E::RunInputsLogged(e) => vec![K::Run(e.run)],
        E::RunOutputsLogged(e) => vec![K::Run(e.run)],
        E::ArtifactLogged(e) => vec![K::Run(e.run)],
        E::ProjectLaunched(e) => vec![K::Run(e.run)],
        E::RunRewound(e) => vec![K::Run(e.run)],
        E::RunForked(e) => vec![K::Run(e.run)],
        E::RunLeased(e) => vec![K::Run(e.run)],
        E::LoggedModelCreated(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelFinalized(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelTagsSet(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelTagDeleted(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelParamsLogged(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelDeleted(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelMetricsLogged(e) => vec![K::LoggedModel(e.model)],
        E::LoggedModelPointShared(e) => vec![K::LoggedModel(e.model)],
        E::RegisteredModelCreated(e) => vec![K::RegisteredModel(e.model)],
        E::RegisteredModelUpdated(e) => vec![K::RegisteredModel(e.model)],
        E::RegisteredModelRenamed(e) => vec![K::RegisteredModel(e.model)],
        E::RegisteredModelTagsSet(e) => vec![K::RegisteredModel(e.model)],
        E::RegisteredModelTagDeleted(e) => vec![K::RegisteredModel(e.model)],
        E::RegisteredModelDeleted(e) => vec![K::RegisteredModel(e.model)],
        E::AliasSet(e) => vec![K::RegisteredModel(e.model)],
        E::AliasDeleted(e) => vec![K::RegisteredModel(e.model)],
        E::ModelVersionCreated(e) => version(e.model, e.version),
        E::ModelVersionUpdated(e) => version(e.model, e.version),
        E::ModelVersionStageChanged(e) => version(e.model, e.version),
        E::ModelVersionTagsSet(e) => version(e.model, e.version),
        E::ModelVersionTagDeleted(e) => version(e.model, e.version),
        E::ModelVersionDeleted(e) => version(e.model, e.version),
        E::LossAccepted(_) | E::StoreCopied(_) | E::SourceForgotten(_) | E::GarbageCollected(_) => Vec::new(),
    }
}

/// Applies one event at its position.
///
/// # Errors
/// Only those of reading the base. `working` may then hold part of the event's changes: drop it.
pub fn apply(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
    match event {
        E::ExperimentCreated(_)
        | E::ExperimentRenamed(_)
        | E::ExperimentTagsSet(_)
        | E::ExperimentTagDeleted(_)
        | E::ExperimentDeleted(_)
        | E::ExperimentRestored(_)
        | E::ExperimentPurged(_) => apply_experiment(event, lsn, working),
        E::RunCreated(event) => {
            if working.experiment(event.experiment)?.is_none() {
                return Applied::ignored();
            }
            let key = EntityKey::Run(event.run);
            let slot = working.slot(key.clone())?;
            if slot.state.is_some() {
                return Applied::ignored();
            }
            let mut state = RunState {
                experiment: event.experiment,
                name: event.name.clone(),
                user_id: event.user_id.clone(),
                status: event.status,
                start_time_ms: event.start_time_ms,
                end_time_ms: None,
                artifact_location: event.artifact_location.clone(),
                lifecycle: Lifecycle::Active,
                lifecycle_lsn: lsn,
                deleted_time_ms: None,
                params: Vec::new(),
                tags: Vec::with_capacity(event.tags.len() + 1),
                datasets: Vec::new(),
                model_inputs: Vec::new(),
                model_outputs: Vec::new(),
                artifacts: Vec::new(),
                launches: 0,
                rewinds: Vec::new(),
                forked: None,
                lease: None,
                created: lsn,
                last: lsn,
            };
            put_run_tags(&mut state.name, &mut state.tags, &event.tags);
            if !state.tags.iter().any(|(key, _)| key == RUN_NAME_TAG) {
                put_run_name(&mut state, &event.name);
            }
            slot.put(EntityState::Run(state));
            Applied::one(key)
        }
        E::RunInputsLogged(event) => apply_inputs(event, lsn, working),
        E::RunUpdated(e) => change_run(e.run, lsn, working, |run| {
            run.status = e.status.unwrap_or(run.status);
            run.end_time_ms = e.end_time_ms.or(run.end_time_ms);
            if let Some(name) = &e.name {
                put_run_name(run, name);
            }
        }),
        E::RunDeleted(e) => change_run(e.run, lsn, working, |run| {
            run.lifecycle = Lifecycle::Deleted;
            run.lifecycle_lsn = lsn;
            run.deleted_time_ms = Some(e.at_ms);
        }),
        E::RunRestored(e) => change_run(e.run, lsn, working, |run| {
            run.lifecycle = Lifecycle::Active;
            run.lifecycle_lsn = lsn;
            run.deleted_time_ms = None;
        }),
        E::RunPurged(e) => change_run(e.run, lsn, working, |run| *run = purged_stub(run, lsn)),
        E::ParamsLogged(e) => change_run(e.run, lsn, working, |run| put_pairs(&mut run.params, &e.params, false)),
        E::RunTagsSet(e) => change_run(e.run, lsn, working, |run| put_run_tags(&mut run.name, &mut run.tags, &e.tags)),
        E::RunTagDeleted(e) => change_run(e.run, lsn, working, |run| remove_pair(&mut run.tags, &e.key)),
        E::RunOutputsLogged(e) => {
            change_run(e.run, lsn, working, |run| run.model_outputs.extend(e.models.iter().cloned()))
        }
        E::ArtifactLogged(e) => {
            change_run(e.run, lsn, working, |run| match run.artifacts.binary_search_by(|(path, _)| path.cmp(&e.path)) {
                Ok(at) => run.artifacts[at].1 = e.size_bytes,
                Err(at) => run.artifacts.insert(at, (e.path.clone(), e.size_bytes)),
            })
        }
        E::ProjectLaunched(e) => change_run(e.run, lsn, working, |run| run.launches = run.launches.saturating_add(1)),
        E::RunRewound(e) => {
            // It must be the next branch, and continue an existing one.
            let fits = |run: &RunState| e.branch == run.branch() + 1 && e.from < e.branch;
            if !working.run(e.run)?.is_some_and(fits) {
                return Applied::ignored();
            }
            let rewind = Rewind { from: e.from, to_step: e.to_step, lsn, at_ms: e.at_ms };
            change_run(e.run, lsn, working, |run| run.rewinds.push(rewind))
        }
        E::RunForked(e) => {
            if working.run(e.run)?.is_none_or(|run| run.branch() != 0) {
                return Applied::ignored();
            }
            let rewind = Rewind { from: 0, to_step: e.to_step, lsn, at_ms: e.at_ms };
            change_run(e.run, lsn, working, |run| {
                run.rewinds.push(rewind);
                run.forked = Some(ForkedFrom { run: e.parent, branch: e.parent_branch, up_to: Lsn(e.up_to) });
            })
        }
        E::RunLeased(e) => change_run(e.run, lsn, working, |run| {
            run.lease = Some(Lease {
                host: e.host.clone(),
                pid: e.pid,
                process_start: e.process_start,
                boot_id: e.boot_id.clone(),
                at_ms: e.at_ms,
            });
        }),
        E::LoggedModelCreated(_)
        | E::LoggedModelFinalized(_)
        | E::LoggedModelTagsSet(_)
        | E::LoggedModelTagDeleted(_)
        | E::LoggedModelParamsLogged(_)
        | E::LoggedModelDeleted(_)
        | E::LoggedModelMetricsLogged(_)
        | E::LoggedModelPointShared(_) => apply_logged_model(event, lsn, working),
        E::LossAccepted(_) | E::StoreCopied(_) | E::SourceForgotten(_) | E::GarbageCollected(_) => {
            Ok(Applied::default())
        }
        E::RegisteredModelCreated(_)
        | E::RegisteredModelUpdated(_)
        | E::RegisteredModelRenamed(_)
        | E::RegisteredModelTagsSet(_)
        | E::RegisteredModelTagDeleted(_)
        | E::RegisteredModelDeleted(_)
        | E::AliasSet(_)
        | E::AliasDeleted(_)
        | E::ModelVersionCreated(_)
        | E::ModelVersionUpdated(_)
        | E::ModelVersionStageChanged(_)
        | E::ModelVersionTagsSet(_)
        | E::ModelVersionTagDeleted(_)
        | E::ModelVersionDeleted(_) => apply_registry(event, lsn, working),
    }
}

/// Changes a run that exists and is not purged.
fn change_run(id: RunId, lsn: Lsn, working: &mut Working<'_>, change: impl FnOnce(&mut RunState)) -> Result<Applied> {
    let key = EntityKey::Run(id);
    let slot = working.slot(key.clone())?;
    if slot.run().is_none_or(|run| run.lifecycle == Lifecycle::Purged) {
        return Applied::ignored();
    }
    if let Some(run) = slot.run_mut() {
        change(run);
        run.last = lsn;
    }
    Applied::one(key)
}

fn apply_experiment(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
    let (id, name) = match event {
        E::ExperimentCreated(e) => (e.experiment, Some(&e.name)),
        E::ExperimentRenamed(e) => (e.experiment, Some(&e.name)),
        E::ExperimentTagsSet(e) => (e.experiment, None),
        E::ExperimentTagDeleted(e) => (e.experiment, None),
        E::ExperimentDeleted(e) => (e.experiment, None),
        E::ExperimentRestored(e) => (e.experiment, None),
        E::ExperimentPurged(e) => (e.experiment, None),
        _ => return Applied::ignored(),
    };
    let key = EntityKey::Experiment(id);
    let slot = working.slot(key.clone())?;
    let mut touched = vec![key];
    if let E::ExperimentCreated(e) = event {
        if slot.state.is_some() {
            return Applied::ignored();
        }
        slot.put(EntityState::Experiment(ExperimentState {
            name: e.name.clone(),
            artifact_location: e.artifact_location.clone(),
            lifecycle: Lifecycle::Active,
            lifecycle_lsn: lsn,
            creation_time_ms: e.creation_time_ms,
            last_update_time_ms: e.last_update_time_ms,
            tags: sorted_pairs(&e.tags, true),
            created: lsn,
            last: lsn,
        }));
        working.take_name(EntityKey::ExperimentName(e.name.as_str().into()), id.0, lsn, &mut touched)?;
        return Ok(Applied { touched, ignored: false });
    }
    if slot.experiment().is_none_or(ExperimentState::is_purged) {
        return Applied::ignored();
    }
    let Some(state) = slot.experiment_mut() else { return Applied::ignored() };
    state.last = lsn;
    let mut old_name = None;
    match event {
        E::ExperimentRenamed(e) => {
            old_name = Some(std::mem::replace(&mut state.name, e.name.clone()));
            state.last_update_time_ms = e.at_ms;
        }
        E::ExperimentTagsSet(e) => put_pairs(&mut state.tags, &e.tags, true),
        E::ExperimentTagDeleted(e) => remove_pair(&mut state.tags, &e.key),
        E::ExperimentDeleted(e) => {
            state.lifecycle = Lifecycle::Deleted;
            state.lifecycle_lsn = lsn;
            state.last_update_time_ms = e.at_ms;
        }
        E::ExperimentRestored(e) => {
            state.lifecycle = Lifecycle::Active;
            state.lifecycle_lsn = lsn;
            state.last_update_time_ms = e.at_ms;
        }
        E::ExperimentPurged(e) => {
            // Runs that another process logged meanwhile follow as those of a deleted one: their data is not gone.
            state.lifecycle = Lifecycle::Deleted;
            state.last_update_time_ms = e.at_ms;
            old_name = Some(std::mem::take(&mut state.name));
        }
        _ => {}
    }
    if let Some(old) = old_name {
        working.free_name(EntityKey::ExperimentName(old.as_str().into()), id.0, lsn, &mut touched)?;
        if let Some(name) = name {
            working.take_name(EntityKey::ExperimentName(name.as_str().into()), id.0, lsn, &mut touched)?;
        }
    }
    Ok(Applied { touched, ignored: false })
}

fn apply_inputs(event: &RunInputsLogged, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    let mut experiment = None;
    let mut applied = change_run(event.run, lsn, working, |run| {
        experiment = Some(run.experiment);
        // A set instead of a search, because a list may be long.
        let mut seen: FxHashSet<(&str, &str)> = run.datasets.iter().map(|d| (&*d.name, &*d.digest)).collect();
        let fresh: Vec<&DatasetInput> = event.datasets.iter().filter(|d| seen.insert((&d.name, &d.digest))).collect();
        drop(seen);
        run.datasets.extend(fresh.into_iter().map(DatasetRef::from));
        let mut seen: FxHashSet<&str> = run.model_inputs.iter().map(String::as_str).collect();
        let fresh: Vec<&String> = event.models.iter().filter(|model| seen.insert(model)).collect();
        drop(seen);
        run.model_inputs.extend(fresh.into_iter().cloned());
    })?;
    let Some(experiment) = experiment else { return Ok(applied) };
    for input in &event.datasets {
        let key = EntityKey::Dataset(experiment, input.name.as_str().into(), input.digest.as_str().into());
        let slot = working.slot(key.clone())?;
        if slot.state.is_none() {
            slot.put(EntityState::Dataset(DatasetState {
                source_type: input.source_type.clone(),
                source: input.source.clone(),
                schema: input.schema.clone(),
                profile: input.profile.clone(),
                last: lsn,
            }));
            applied.touched.push(key);
        }
    }
    Ok(applied)
}

fn apply_logged_model(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
    match event {
        E::LoggedModelCreated(e) => {
            if working.experiment(e.experiment)?.is_none() {
                return Applied::ignored();
            }
            let key = EntityKey::LoggedModel(e.model);
            let slot = working.slot(key.clone())?;
            if slot.state.is_some() {
                return Applied::ignored();
            }
            slot.put(EntityState::LoggedModel(LoggedModelState {
                experiment: e.experiment,
                name: e.name.clone(),
                model_type: e.model_type.clone(),
                source_run: e.source_run.clone(),
                artifact_location: e.artifact_location.clone(),
                status: e.status,
                status_message: e.status_message.clone(),
                lifecycle: Lifecycle::Active,
                creation_time_ms: e.creation_time_ms,
                last_updated_time_ms: e.last_updated_time_ms,
                params: sorted_pairs(&e.params, false),
                tags: sorted_pairs(&e.tags, true),
                metric_series: Vec::new(),
                shared_points: Vec::new(),
                created: lsn,
                last: lsn,
            }));
            Applied::one(key)
        }
        E::LoggedModelFinalized(e) => change_logged_model(e.model, lsn, working, |model| {
            model.status = e.status;
            model.last_updated_time_ms = e.at_ms;
        }),
        E::LoggedModelTagsSet(e) => {
            change_logged_model(e.model, lsn, working, |model| put_pairs(&mut model.tags, &e.tags, true))
        }
        E::LoggedModelTagDeleted(e) => {
            change_logged_model(e.model, lsn, working, |model| remove_pair(&mut model.tags, &e.key))
        }
        E::LoggedModelParamsLogged(e) => {
            change_logged_model(e.model, lsn, working, |model| put_pairs(&mut model.params, &e.params, false))
        }
        E::LoggedModelDeleted(e) => change_logged_model(e.model, lsn, working, |model| {
            model.lifecycle = Lifecycle::Deleted;
            model.last_updated_time_ms = e.at_ms;
        }),
        E::LoggedModelMetricsLogged(e) => change_logged_model(e.model, lsn, working, |model| {
            for key in &e.keys {
                let series = (e.run, key.clone());
                if let Err(at) = model.metric_series.binary_search(&series) {
                    model.metric_series.insert(at, series);
                }
            }
        }),
        E::LoggedModelPointShared(e) => change_logged_model(e.model, lsn, working, |model| {
            let point = SharedPoint {
                run: e.run,
                key: e.key.clone(),
                step: e.step,
                time_ms: e.time_ms,
                value_bits: e.value_bits,
                dataset_name: e.dataset_name.clone(),
                dataset_digest: e.dataset_digest.clone(),
            };
            if let Err(at) = model.shared_points.binary_search(&point) {
                model.shared_points.insert(at, point);
            }
        }),
        _ => Applied::ignored(),
    }
}

/// Changes an existing logged model; deleted ones accept changes too, as in MLflow.
fn change_logged_model(
    id: ModelId,
    lsn: Lsn,
    working: &mut Working<'_>,
    change: impl FnOnce(&mut LoggedModelState),
) -> Result<Applied> {
    let key = EntityKey::LoggedModel(id);
    let Some(model) = working.slot(key.clone())?.logged_model_mut() else { return Applied::ignored() };
    change(model);
    model.last = lsn;
    Applied::one(key)
}

#[cfg(test)]
pub(crate) mod tests;
