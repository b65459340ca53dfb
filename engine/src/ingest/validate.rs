//! Rules that an event must satisfy at the moment it gets its position in the log.
//!
//! The api checks the rules of its protocol first (characters of names, MLflow's limits and texts). The rules here are
//! those that a race could break, and quotas that keep a caller from hurting the store. A batch is validated event by
//! event: validate one, apply it, validate the next on the same [`Working`], which holds this one batch. The entities
//! read are in [`Working::reads`]; if none of them changed until the batch gets its position, the result still holds.
//!
//! | event | must hold |
//! |---|---|
//! | experiment created | id and name never used, or name given back |
//! | experiment renamed, tagged | it is active; the new name is free |
//! | experiment deleted, restored | it is in the other state, else `NotFound` |
//! | run, logged model created | id never used; the experiment is active |
//! | run changed | run and experiment are active, each by [`RunState::lifecycle_in`] |
//! | run deleted, restored | it is there: always succeeds, but see below |
//! | run purged | it is deleted |
//! | run rewound | it is active; the branch is its next one and continues one that is there |
//! | params logged | a key that is there has the same value |
//! | logged model changed | it is there; deleted ones take changes too; its params never come twice |
//! | registered model, version, alias | the model is there and not deleted; names free; version and alias target there |
//! | version created | its number is above every number that the model ever used |
//!
//! What was acknowledged elsewhere is kept although what it is about was deleted since: of runs and experiments it is
//! only asked then that they are there and not purged, and of tags that are deleted nothing. A version's number must be
//! unused, not the next one. A purged run may be one that never came here.
//!
//! A run's own delete or restore may not follow its experiment's creation, delete or restore in the same batch: the
//! two have one position, and which of them holds would be undecided. Use two batches.

use crate::entity::{Lifecycle, RegisteredModelState, RunState, Working};
use crate::error::{EntityKind, Error, Result};
use crate::event::{DatasetInput, Event, KeptSeries, KeyValue};
use crate::id::{ExperimentId, ModelId, RegisteredModelId, RunId};

/// Longest key, name, alias, path or id given as text.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Metric keys are at most this long; the api allows less.
const METRIC_KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value or description.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest schema or profile of a data set: MLflow allows 16,777,215 characters, and JSON is mostly ASCII.
pub const DATASET_TEXT_BYTES_MAX: usize = 32 << 20;
/// Most entries of a list in one event.
pub const LIST_COUNT_MAX: usize = 100_000;
/// Most metrics of a run that is rewound or forked: their statistics are in one frame.
pub const KEPT_SERIES_MAX: usize = 300_000;
/// Highest version of a model; MLflow stores it as an int32.
pub const VERSION_MAX: u32 = i32::MAX as u32;

/// Refuses a metric key that is empty or too long.
pub(crate) fn check_metric_key(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("metric key", "it is empty"));
    }
    if name.len() > METRIC_KEY_BYTES_MAX {
        let why = format!("{} bytes long; at most {METRIC_KEY_BYTES_MAX} are kept", name.len());
        return Err(Error::invalid("metric key", why));
    }
    if name.contains('\0') {
        return Err(Error::invalid("metric key", "it holds a NUL character"));
    }
    Ok(())
}

/// Whether an event may be appended on top of `working`. `acknowledged`: another store or process acknowledged it.
///
/// # Errors
/// [`Error::Invalid`] (quotas, empty names), [`Error::NotFound`], [`Error::AlreadyExists`], [`Error::Deleted`],
/// [`Error::Purged`], [`Error::ParamChanged`], and the errors of the base's reads. Nothing changes in any case.
pub fn validate(event: &Event, acknowledged: bool, working: &mut Working<'_>) -> Result<()> {
    use Event as E;
    check_quotas(event)?;
    match event {
        E::ExperimentCreated(e) => {
            if working.experiment(e.experiment)?.is_some() {
                return Err(exists(EntityKind::Experiment, e.experiment));
            }
            free_experiment_name(&e.name, e.experiment, working)
        }
        E::ExperimentRenamed(e) => {
            active_experiment(e.experiment, acknowledged, working)?;
            free_experiment_name(&e.name, e.experiment, working)
        }
        E::ExperimentTagsSet(e) => active_experiment(e.experiment, acknowledged, working),
        E::ExperimentTagDeleted(e) => {
            active_experiment(e.experiment, acknowledged, working)?;
            let tagged = working.experiment(e.experiment)?.is_some_and(|state| has_key(&state.tags, &e.key));
            (tagged || acknowledged).then_some(()).ok_or_else(|| missing(EntityKind::Tag, &e.key))
        }
        E::ExperimentPurged(e) => {
            experiment_in(e.experiment, Lifecycle::Deleted, EntityKind::DeletedExperiment, working)
        }
        E::ExperimentDeleted(e) if acknowledged => active_experiment(e.experiment, true, working),
        E::ExperimentRestored(e) if acknowledged => active_experiment(e.experiment, true, working),
        E::ExperimentDeleted(e) => {
            experiment_in(e.experiment, Lifecycle::Active, EntityKind::ActiveExperiment, working)
        }
        E::ExperimentRestored(e) => {
            experiment_in(e.experiment, Lifecycle::Deleted, EntityKind::DeletedExperiment, working)
        }
        E::RunCreated(e) => match working.run(e.run)?.map(|run| run.lifecycle) {
            None => active_experiment(e.experiment, acknowledged, working),
            Some(Lifecycle::Purged) => Err(Error::Purged { run: e.run.to_string() }),
            Some(_) => Err(exists(EntityKind::Run, e.run)),
        },
        E::RunDeleted(e) => decided_lifecycle(e.run, working),
        E::RunRestored(e) => decided_lifecycle(e.run, working),
        // Another store purged it before it came here.
        E::RunPurged(e) if acknowledged && working.run(e.run)?.is_none() => Ok(()),
        E::RunPurged(e) => match run_lifecycle(e.run, working)? {
            Lifecycle::Active => Err(Error::invalid("run", format!("`{}` is active; delete it before a purge", e.run))),
            Lifecycle::Deleted | Lifecycle::Purged => Ok(()),
        },
        E::RunUpdated(e) => active_run(e.run, acknowledged, working).map(drop),
        E::ParamsLogged(e) => same_params(e.run, &e.params, active_run(e.run, acknowledged, working)?),
        E::RunTagsSet(e) => active_run(e.run, acknowledged, working).map(drop),
        E::RunTagDeleted(e) => {
            let tagged = has_key(&active_run(e.run, acknowledged, working)?.tags, &e.key);
            (tagged || acknowledged).then_some(()).ok_or_else(|| missing(EntityKind::Tag, &e.key))
        }
        E::RunInputsLogged(e) => active_run(e.run, acknowledged, working).map(drop),
        E::RunOutputsLogged(e) => active_run(e.run, acknowledged, working).map(drop),
        E::ArtifactLogged(e) => active_run(e.run, acknowledged, working).map(drop),
        E::ProjectLaunched(e) => active_run(e.run, acknowledged, working).map(drop),
        E::RunRewound(e) => {
            let live = active_run(e.run, acknowledged, working)?.branch();
            if e.branch != live + 1 || e.from > live {
                let why = format!("branch {} from {} cannot follow branch {live}", e.branch, e.from);
                return Err(Error::invalid("rewind", why));
            }
            Ok(())
        }
        E::RunForked(e) => {
            if active_run(e.run, acknowledged, working)?.branch() != 0 {
                return Err(Error::invalid("fork", format!("run `{}` was rewound or forked already", e.run)));
            }
            match working.run(e.parent)? {
                Some(parent) if e.parent_branch <= parent.branch() && e.parent != e.run => Ok(()),
                Some(_) => Err(Error::invalid("fork", format!("run `{}` has no such branch", e.parent))),
                None => Err(missing(EntityKind::Run, e.parent)),
            }
        }
        E::RunLeased(e) => active_run(e.run, acknowledged, working).map(drop),
        E::LoggedModelCreated(e) => {
            if working.logged_model(e.model)?.is_some() {
                return Err(exists(EntityKind::LoggedModel, e.model));
            }
            unique_params(&[], &e.params)?;
            active_experiment(e.experiment, acknowledged, working)
        }
        E::LoggedModelFinalized(e) => logged_model(e.model, working),
        E::LoggedModelTagsSet(e) => logged_model(e.model, working),
        E::LoggedModelTagDeleted(e) => {
            logged_model(e.model, working)?;
            let tagged = working.logged_model(e.model)?.is_some_and(|state| has_key(&state.tags, &e.key));
            (tagged || acknowledged).then_some(()).ok_or_else(|| missing(EntityKind::Tag, &e.key))
        }
        E::LoggedModelParamsLogged(e) => match working.logged_model(e.model)? {
            Some(state) => unique_params(&state.params, &e.params),
            None => Err(missing(EntityKind::LoggedModel, e.model)),
        },
        E::LoggedModelDeleted(e) => logged_model(e.model, working),
        E::LoggedModelMetricsLogged(e) => {
            logged_model(e.model, working)?;
            working.run(e.run)?.map(drop).ok_or_else(|| missing(EntityKind::Run, e.run))
        }
        E::LoggedModelPointShared(e) => {
            logged_model(e.model, working)?;
            working.run(e.run)?.map(drop).ok_or_else(|| missing(EntityKind::Run, e.run))
        }
        E::RegisteredModelCreated(e) => {
            if working.registered_model(e.model)?.is_some() {
                return Err(exists(EntityKind::RegisteredModel, format!("number {}", e.model.0)));
            }
            free_model_name(&e.name, e.model, working)
        }
        E::RegisteredModelUpdated(e) => registered_model(e.model, working).map(drop),
        E::RegisteredModelRenamed(e) => {
            registered_model(e.model, working)?;
            free_model_name(&e.name, e.model, working)
        }
        E::RegisteredModelTagsSet(e) => registered_model(e.model, working).map(drop),
        // As in MLflow, the registry accepts the deletion of something absent.
        E::RegisteredModelTagDeleted(e) => registered_model(e.model, working).map(drop),
        E::RegisteredModelDeleted(e) => registered_model(e.model, working).map(drop),
        E::AliasSet(e) => model_version(e.model, e.version, working),
        E::AliasDeleted(e) => registered_model(e.model, working).map(drop),
        E::ModelVersionCreated(e) => {
            let model = registered_model(e.model, working)?;
            if e.version == 0 || e.version > VERSION_MAX {
                return Err(Error::invalid("model version", format!("{} is not in 1..={VERSION_MAX}", e.version)));
            }
            if e.version <= model.version_last && !acknowledged {
                return Err(exists(EntityKind::ModelVersion, format!("{} of {}", e.version, model.name)));
            }
            // Read the version too, so that a racing creation of the same number is noticed.
            match working.model_version(e.model, e.version)? {
                Some(_) => Err(exists(EntityKind::ModelVersion, e.version)),
                None => Ok(()),
            }
        }
        E::ModelVersionUpdated(e) => model_version(e.model, e.version, working),
        E::ModelVersionStageChanged(e) => model_version(e.model, e.version, working),
        E::ModelVersionTagsSet(e) => model_version(e.model, e.version, working),
        E::ModelVersionTagDeleted(e) => model_version(e.model, e.version, working),
        E::ModelVersionDeleted(e) => model_version(e.model, e.version, working),
        E::LossAccepted(_) | E::StoreCopied(_) | E::SourceForgotten(_) | E::GarbageCollected(_) => Ok(()),
    }
}

fn missing(entity: EntityKind, id: impl ToString) -> Error {
    Error::NotFound { entity, id: id.to_string() }
}

fn exists(entity: EntityKind, id: impl ToString) -> Error {
    Error::AlreadyExists { entity, id: id.to_string() }
}

fn has_key(list: &[KeyValue], key: &str) -> bool {
    list.binary_search_by(|(have, _)| have.as_str().cmp(key)).is_ok()
}

fn active_experiment(id: ExperimentId, or_deleted: bool, working: &mut Working<'_>) -> Result<()> {
    match working.experiment(id)? {
        None => Err(missing(EntityKind::Experiment, id)),
        Some(state) if state.lifecycle == Lifecycle::Active || or_deleted => Ok(()),
        Some(_) => Err(Error::Deleted { entity: EntityKind::Experiment, id: id.to_string() }),
    }
}

fn experiment_in(id: ExperimentId, lifecycle: Lifecycle, entity: EntityKind, working: &mut Working<'_>) -> Result<()> {
    let there = working.experiment(id)?.is_some_and(|state| state.lifecycle == lifecycle && !state.is_purged());
    there.then_some(()).ok_or_else(|| missing(entity, id))
}

fn free_experiment_name(name: &str, taker: ExperimentId, working: &mut Working<'_>) -> Result<()> {
    match working.experiment_name_owner(name)? {
        Some(owner) if owner != taker => Err(exists(EntityKind::Experiment, name)),
        _ => Ok(()),
    }
}

fn free_model_name(name: &str, taker: RegisteredModelId, working: &mut Working<'_>) -> Result<()> {
    match working.model_name_owner(name)? {
        Some(owner) if owner != taker => Err(exists(EntityKind::RegisteredModel, name)),
        _ => Ok(()),
    }
}

/// The effective lifecycle of an existing run.
fn run_lifecycle(id: RunId, working: &mut Working<'_>) -> Result<Lifecycle> {
    let Some(run) = working.run(id)? else { return Err(missing(EntityKind::Run, id)) };
    let (own, lifecycle_lsn, experiment) = (run.lifecycle, run.lifecycle_lsn, run.experiment);
    if own == Lifecycle::Purged {
        return Ok(own);
    }
    // Same as `RunState::lifecycle_in`, without copying the run.
    Ok(match working.experiment(experiment)? {
        Some(experiment) if lifecycle_lsn <= experiment.lifecycle_lsn => experiment.lifecycle,
        _ => own,
    })
}

fn active_run<'w>(id: RunId, or_deleted: bool, working: &'w mut Working<'_>) -> Result<&'w RunState> {
    match run_lifecycle(id, working)? {
        Lifecycle::Deleted if or_deleted => working.run(id)?.ok_or_else(|| missing(EntityKind::Run, id)),
        Lifecycle::Active => working.run(id)?.ok_or_else(|| missing(EntityKind::Run, id)),
        Lifecycle::Deleted => Err(Error::Deleted { entity: EntityKind::Run, id: id.to_string() }),
        Lifecycle::Purged => Err(Error::Purged { run: id.to_string() }),
    }
}

/// A run's own delete or restore: refused only if its order against the experiment's would be undecided.
fn decided_lifecycle(id: RunId, working: &mut Working<'_>) -> Result<()> {
    if run_lifecycle(id, working)? == Lifecycle::Purged {
        return Err(Error::Purged { run: id.to_string() });
    }
    let Some(experiment) = working.run(id)?.map(|run| run.experiment) else { return Err(missing(EntityKind::Run, id)) };
    if working.lifecycle_moved(experiment)? {
        let why = format!(
            "it creates, deletes or restores experiment {experiment} and then deletes or restores run {id} of it; \
             use two batches"
        );
        return Err(Error::invalid("batch", why));
    }
    Ok(())
}

fn same_params(id: RunId, params: &[KeyValue], run: &RunState) -> Result<()> {
    let changed = |key: &str, old: &str, new: &str| {
        Err(Error::ParamChanged { run: id.to_string(), key: key.into(), old: old.into(), new: new.into() })
    };
    for (key, value) in params {
        if let Ok(at) = run.params.binary_search_by(|(have, _)| have.cmp(key))
            && run.params[at].1 != *value
        {
            return changed(key, &run.params[at].1, value);
        }
    }
    // The event must not contradict itself.
    let mut sorted: Vec<&KeyValue> = params.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in sorted.windows(2) {
        if let [(key, old), (next, new)] = pair
            && key == next
            && old != new
        {
            return changed(key, old, new);
        }
    }
    Ok(())
}

fn unique_params(have: &[KeyValue], params: &[KeyValue]) -> Result<()> {
    let mut keys: Vec<&str> = params.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let twice = keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    match twice.or_else(|| keys.into_iter().find(|key| has_key(have, key))) {
        Some(key) => Err(exists(EntityKind::LoggedModelParam, key)),
        None => Ok(()),
    }
}

fn logged_model(id: ModelId, working: &mut Working<'_>) -> Result<()> {
    working.logged_model(id)?.map(drop).ok_or_else(|| missing(EntityKind::LoggedModel, id))
}

fn registered_model<'w>(id: RegisteredModelId, working: &'w mut Working<'_>) -> Result<&'w RegisteredModelState> {
    match working.registered_model(id)? {
        Some(model) if !model.deleted => Ok(model),
        _ => Err(missing(EntityKind::RegisteredModel, format!("number {}", id.0))),
    }
}

fn model_version(model: RegisteredModelId, version: u32, working: &mut Working<'_>) -> Result<()> {
    registered_model(model, working)?;
    match working.model_version(model, version)? {
        Some(state) if !state.deleted => Ok(()),
        _ => Err(missing(EntityKind::ModelVersion, version)),
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(what, "it is empty"));
    }
    if name.len() > KEY_BYTES_MAX {
        return Err(Error::invalid(what, format!("it has {} bytes; at most {KEY_BYTES_MAX} fit", name.len())));
    }
    if name.contains('\0') {
        return Err(Error::invalid(what, "it contains a NUL"));
    }
    Ok(())
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        return Err(Error::invalid(what, format!("it has {} bytes; at most {bytes_max} fit", text.len())));
    }
    Ok(())
}

fn check_count(what: &str, count: usize) -> Result<()> {
    if count > LIST_COUNT_MAX {
        return Err(Error::invalid(what, format!("{count} entries; at most {LIST_COUNT_MAX} fit in one event")));
    }
    Ok(())
}

fn check_kept(what: &str, kept: &[KeptSeries]) -> Result<()> {
    if kept.len() > KEPT_SERIES_MAX {
        let why = format!("{} metrics; a run of at most {KEPT_SERIES_MAX} can be {what}", kept.len());
        return Err(Error::invalid("run", why));
    }
    Ok(())
}

fn check_pairs(what: &str, pairs: &[KeyValue]) -> Result<()> {
    check_count(what, pairs.len())?;
    for (at, (key, value)) in pairs.iter().enumerate() {
        // Name the place only for an error.
        check_name("", key).map_err(|error| placed(error, || format!("{what}[{at}].key")))?;
        check_text("", value, VALUE_BYTES_MAX).map_err(|error| placed(error, || format!("{what}[{at}].value")))?;
    }
    Ok(())
}

fn placed(error: Error, place: impl FnOnce() -> String) -> Error {
    match error {
        Error::Invalid { why, .. } => Error::Invalid { what: place(), why },
        other => other,
    }
}

fn check_texts<'e>(texts: impl IntoIterator<Item = (&'static str, &'e str)>) -> Result<()> {
    texts.into_iter().try_for_each(|(what, text)| check_text(what, text, VALUE_BYTES_MAX))
}

fn optional<'e>(what: &'static str, text: &'e Option<String>) -> (&'static str, &'e str) {
    (what, text.as_deref().unwrap_or(""))
}

fn check_dataset(input: &DatasetInput) -> Result<()> {
    check_name("dataset name", &input.name)?;
    check_name("dataset digest", &input.digest)?;
    check_text("dataset source type", &input.source_type, KEY_BYTES_MAX)?;
    check_text("dataset source", &input.source, VALUE_BYTES_MAX)?;
    check_text("dataset schema", input.schema.as_deref().unwrap_or(""), DATASET_TEXT_BYTES_MAX)?;
    check_text("dataset profile", input.profile.as_deref().unwrap_or(""), DATASET_TEXT_BYTES_MAX)?;
    check_pairs("dataset tags", &input.tags)
}

/// Checks lengths, counts and empty names, which need no state.
fn check_quotas(event: &Event) -> Result<()> {
    use Event as E;
    match event {
        E::ExperimentCreated(e) => {
            check_name("experiment name", &e.name)?;
            check_texts([optional("artifact location", &e.artifact_location)])?;
            check_pairs("tags", &e.tags)
        }
        E::ExperimentRenamed(e) => check_name("experiment name", &e.name),
        E::ExperimentTagsSet(e) => check_pairs("tags", &e.tags),
        E::RunCreated(e) => {
            check_texts([
                ("run name", &*e.name),
                ("user id", &*e.user_id),
                optional("artifact location", &e.artifact_location),
            ])?;
            check_pairs("tags", &e.tags)
        }
        E::RunUpdated(e) => check_texts([optional("run name", &e.name)]),
        E::ParamsLogged(e) => check_pairs("params", &e.params),
        E::RunTagsSet(e) => check_pairs("tags", &e.tags),
        E::RunInputsLogged(e) => {
            check_count("datasets", e.datasets.len())?;
            e.datasets.iter().try_for_each(check_dataset)?;
            check_count("models", e.models.len())?;
            e.models.iter().try_for_each(|model| check_name("model id", model))
        }
        E::RunOutputsLogged(e) => {
            check_count("models", e.models.len())?;
            e.models.iter().try_for_each(|(model, _)| check_name("model id", model))
        }
        E::ArtifactLogged(e) => check_name("artifact path", &e.path),
        E::ProjectLaunched(e) => {
            check_texts([
                ("project uri", &*e.uri),
                optional("project version", &e.version),
                ("entry point", &*e.entry_point),
                ("environment", &*e.environment),
                ("backend", &*e.backend),
            ])?;
            check_pairs("parameters", &e.parameters)
        }
        E::RunRewound(e) => check_kept("rewound", &e.kept),
        E::RunForked(e) => check_kept("forked", &e.kept),
        E::RunLeased(e) => check_texts([("host", &*e.host), ("boot id", &*e.boot_id)]),
        E::LoggedModelCreated(e) => {
            check_name("logged model name", &e.name)?;
            check_texts([
                ("model type", &*e.model_type),
                ("source run", &*e.source_run),
                optional("artifact location", &e.artifact_location),
                optional("status message", &e.status_message),
            ])?;
            check_pairs("params", &e.params)?;
            check_pairs("tags", &e.tags)
        }
        E::LoggedModelTagsSet(e) => check_pairs("tags", &e.tags),
        E::LoggedModelParamsLogged(e) => check_pairs("params", &e.params),
        E::LoggedModelMetricsLogged(e) => e.keys.iter().try_for_each(|key| check_name("metric key", key)),
        E::LoggedModelPointShared(e) => {
            check_name("metric key", &e.key)?;
            check_texts([
                optional("data set's name", &e.dataset_name),
                optional("data set's digest", &e.dataset_digest),
            ])
        }
        E::RegisteredModelCreated(e) => {
            check_name("registered model name", &e.name)?;
            check_texts([optional("description", &e.description)])?;
            check_pairs("tags", &e.tags)
        }
        E::RegisteredModelUpdated(e) => check_texts([optional("description", &e.description)]),
        E::RegisteredModelRenamed(e) => check_name("registered model name", &e.name),
        E::RegisteredModelTagsSet(e) => check_pairs("tags", &e.tags),
        E::AliasSet(e) => check_name("alias", &e.alias),
        E::ModelVersionCreated(e) => {
            check_texts([
                ("source", &*e.source),
                optional("storage location", &e.storage_location),
                optional("run id", &e.run_id),
                optional("run link", &e.run_link),
                optional("model id", &e.model_id),
                optional("user id", &e.user_id),
                optional("description", &e.description),
                optional("status message", &e.status_message),
            ])?;
            check_pairs("tags", &e.tags)
        }
        E::ModelVersionUpdated(e) => check_texts([optional("description", &e.description)]),
        E::ModelVersionTagsSet(e) => check_pairs("tags", &e.tags),
        // Keys to look up, ids, times and numbers: a key that is too long is not found.
        E::ExperimentTagDeleted(_)
        | E::ExperimentDeleted(_)
        | E::ExperimentRestored(_)
        | E::ExperimentPurged(_)
        | E::RunDeleted(_)
        | E::RunRestored(_)
        | E::RunPurged(_)
        | E::RunTagDeleted(_)
        | E::LoggedModelFinalized(_)
        | E::LoggedModelTagDeleted(_)
        | E::LoggedModelDeleted(_)
        | E::RegisteredModelDeleted(_)
        | E::ModelVersionStageChanged(_)
        | E::ModelVersionDeleted(_)
        | E::LossAccepted(_)
        | E::StoreCopied(_)
        | E::SourceForgotten(_)
        | E::GarbageCollected(_) => Ok(()),
        // These events are written even if the thing to delete is not found.
        E::RegisteredModelTagDeleted(e) => check_name("key", &e.key),
        E::AliasDeleted(e) => check_name("alias", &e.alias),
        E::ModelVersionTagDeleted(e) => check_name("key", &e.key),
    }
}

#[cfg(test)]
mod tests;
