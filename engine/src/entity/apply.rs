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
use crate::id::{ExperimentId, Lsn, ModelId, RunId};

/// The state that a purged run keeps.
fn purged_stub(run: &RunState, lsn: Lsn) -> RunState {
    RunState {
        status: RunStatus::Killed,
        lifecycle: Lifecycle::Purged,
        lifecycle_lsn: lsn,
        last: lsn,
        ..RunState::new(run.experiment, run.created)
    }
}

/// The entity that this event is about; `None` for events of the store itself.
pub fn subject(event: &Event) -> Option<EntityKey> {
    use EntityKey as K;
    use Event as E;
    Some(match event {
        E::ExperimentCreated(e) => K::Experiment(e.experiment),
        E::ExperimentRenamed(e) => K::Experiment(e.experiment),
        E::ExperimentTagsSet(e) => K::Experiment(e.experiment),
        E::ExperimentTagDeleted(e) => K::Experiment(e.experiment),
        E::ExperimentDeleted(e) => K::Experiment(e.experiment),
        E::ExperimentRestored(e) => K::Experiment(e.experiment),
        E::ExperimentPurged(e) => K::Experiment(e.experiment),
        E::RunCreated(e) => K::Run(e.run),
        E::RunUpdated(e) => K::Run(e.run),
        E::RunDeleted(e) => K::Run(e.run),
        E::RunRestored(e) => K::Run(e.run),
        E::RunPurged(e) => K::Run(e.run),
        E::ParamsLogged(e) => K::Run(e.run),
        E::RunTagsSet(e) => K::Run(e.run),
        E::RunTagDeleted(e) => K::Run(e.run),
        E::RunInputsLogged(e) => K::Run(e.run),
        E::RunOutputsLogged(e) => K::Run(e.run),
        E::ArtifactLogged(e) => K::Run(e.run),
        E::ProjectLaunched(e) => K::Run(e.run),
        E::RunRewound(e) => K::Run(e.run),
        E::RunForked(e) => K::Run(e.run),
        E::RunLeased(e) => K::Run(e.run),
        E::LoggedModelCreated(e) => K::LoggedModel(e.model),
        E::LoggedModelFinalized(e) => K::LoggedModel(e.model),
        E::LoggedModelTagsSet(e) => K::LoggedModel(e.model),
        E::LoggedModelTagDeleted(e) => K::LoggedModel(e.model),
        E::LoggedModelParamsLogged(e) => K::LoggedModel(e.model),
        E::LoggedModelDeleted(e) => K::LoggedModel(e.model),
        E::LoggedModelMetricsLogged(e) => K::LoggedModel(e.model),
        E::LoggedModelPointShared(e) => K::LoggedModel(e.model),
        E::RegisteredModelCreated(e) => K::RegisteredModel(e.model),
        E::RegisteredModelUpdated(e) => K::RegisteredModel(e.model),
        E::RegisteredModelRenamed(e) => K::RegisteredModel(e.model),
        E::RegisteredModelTagsSet(e) => K::RegisteredModel(e.model),
        E::RegisteredModelTagDeleted(e) => K::RegisteredModel(e.model),
        E::RegisteredModelDeleted(e) => K::RegisteredModel(e.model),
        E::AliasSet(e) => K::RegisteredModel(e.model),
        E::AliasDeleted(e) => K::RegisteredModel(e.model),
        E::ModelVersionCreated(e) => K::ModelVersion(e.model, e.version),
        E::ModelVersionUpdated(e) => K::ModelVersion(e.model, e.version),
        E::ModelVersionStageChanged(e) => K::ModelVersion(e.model, e.version),
        E::ModelVersionTagsSet(e) => K::ModelVersion(e.model, e.version),
        E::ModelVersionTagDeleted(e) => K::ModelVersion(e.model, e.version),
        E::ModelVersionDeleted(e) => K::ModelVersion(e.model, e.version),
        E::LossAccepted(_) | E::StoreCopied(_) | E::SourceForgotten(_) | E::GarbageCollected(_) => return None,
    })
}

/// The entities whose history shows this event, the main one first: its subject, and for events of a version also the
/// model. Names and data sets have no history.
pub fn touches(event: &Event) -> Vec<EntityKey> {
    match subject(event) {
        Some(EntityKey::ModelVersion(model, version)) => {
            vec![EntityKey::ModelVersion(model, version), EntityKey::RegisteredModel(model)]
        }
        subject => subject.into_iter().collect(),
    }
}

/// Applies one event at its position.
///
/// # Errors
/// Only those of reading the base. `working` may then hold part of the event's changes: drop it.
pub fn apply(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    match subject(event) {
        Some(EntityKey::Experiment(id)) => apply_experiment(event, id, lsn, working),
        Some(EntityKey::Run(_)) => apply_run(event, lsn, working),
        Some(EntityKey::LoggedModel(_)) => apply_logged_model(event, lsn, working),
        Some(EntityKey::RegisteredModel(_) | EntityKey::ModelVersion(..)) => apply_registry(event, lsn, working),
        // Events of the store itself change no entity.
        _ => Ok(Applied::default()),
    }
}

fn apply_run(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
    match event {
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
                name: event.name.clone(),
                user_id: event.user_id.clone(),
                status: event.status,
                start_time_ms: event.start_time_ms,
                artifact_location: event.artifact_location.clone(),
                tags: Vec::with_capacity(event.tags.len() + 1),
                ..RunState::new(event.experiment, lsn)
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
        // Every event whose subject is a run stands above.
        _ => {
            debug_assert!(false, "{} is about a run, and nobody applies it", event.name());
            Applied::ignored()
        }
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

fn apply_experiment(event: &Event, id: ExperimentId, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
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
        if let E::ExperimentRenamed(e) = event {
            working.take_name(EntityKey::ExperimentName(e.name.as_str().into()), id.0, lsn, &mut touched)?;
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
