//! Values of fields, for comparing and reporting.

use std::collections::BTreeMap;

use super::fields::Field;
use crate::engine::entity::{EntityKey, EntityState, RUN_NAME_TAG};
use crate::{Event, Lifecycle, Lsn, RegisteredModelId, Result, Snapshot, Stage};

/// Longest value in a report; comparisons use the whole value.
const TOLD_BYTES_MAX: usize = 200;

fn tag(tags: &[(String, String)], key: &str) -> Option<String> {
    tags.iter().find(|(have, _)| have == key).map(|(_, value)| value.clone())
}

fn last_tag(tags: &[(String, String)], key: &str) -> Option<String> {
    tags.iter().rev().find(|(have, _)| have == key).map(|(_, value)| value.clone())
}

fn lifecycle(lifecycle: Lifecycle) -> Option<String> {
    Some(if lifecycle == Lifecycle::Active { "active" } else { "deleted" }.into())
}

/// The position of an entity's last change; zero if it does not exist.
pub(super) fn last_of(snapshot: &Snapshot, key: &EntityKey) -> Result<Lsn> {
    Ok(snapshot.entity(key)?.map_or(Lsn::ZERO, |state| state.last()))
}

/// This store's value of a field; `None` if it has none.
pub(super) fn value_of(snapshot: &Snapshot, key: &EntityKey, field: &Field) -> Result<Option<String>> {
    let Some(state) = snapshot.entity(key)? else { return Ok(None) };
    let version = |number: u32| match key {
        EntityKey::RegisteredModel(model) => snapshot.model_version(*model, number),
        _ => Ok(None),
    };
    Ok(match (&*state, field) {
        (EntityState::Experiment(state), Field::Name) => Some(state.name.clone()),
        (EntityState::Experiment(state), Field::Tag(key)) => tag(&state.tags, key),
        (EntityState::Experiment(state), Field::Lifecycle) => lifecycle(state.lifecycle),
        (EntityState::Run(state), Field::Name) => Some(state.name.clone()),
        (EntityState::Run(state), Field::Tag(key)) => tag(&state.tags, key),
        (EntityState::Run(state), Field::Status) => Some(<&str>::from(state.status).into()),
        (EntityState::Run(state), Field::EndTime) => state.end_time_ms.map(|time| time.to_string()),
        (EntityState::Run(state), Field::Lifecycle) => lifecycle(state.lifecycle),
        (EntityState::Run(state), Field::Lease) => state.lease.as_ref().map(|lease| format!("{lease:?}")),
        (EntityState::Run(state), Field::Artifact(path)) => {
            state.artifacts.iter().find(|(have, _)| have == path).map(|(_, size)| format!("{size:?}"))
        }
        (EntityState::LoggedModel(state), Field::Tag(key)) => tag(&state.tags, key),
        (EntityState::LoggedModel(state), Field::Status) => Some(format!("{:?}", state.status)),
        (EntityState::LoggedModel(state), Field::Lifecycle) => lifecycle(state.lifecycle),
        (EntityState::RegisteredModel(state), Field::Name) => Some(state.name.clone()),
        (EntityState::RegisteredModel(state), Field::Description) => state.description.clone(),
        (EntityState::RegisteredModel(state), Field::Tag(key)) => tag(&state.tags, key),
        (EntityState::RegisteredModel(state), Field::Deletion) => {
            lifecycle(if state.deleted { Lifecycle::Deleted } else { Lifecycle::Active })
        }
        (EntityState::RegisteredModel(state), Field::Alias(alias)) => {
            state.aliases.iter().find(|(have, _)| have == alias).map(|(_, version)| format!("version {version}"))
        }
        (EntityState::RegisteredModel(_), Field::Stages) => match key {
            EntityKey::RegisteredModel(model) => Some(changed_stages(snapshot, *model, &[])?),
            _ => None,
        },
        (_, Field::VersionDescription(number)) => version(*number)?.and_then(|state| state.description.clone()),
        (_, Field::VersionTag(number, key)) => version(*number)?.and_then(|state| tag(&state.tags, key)),
        (_, Field::VersionDeletion(number)) => version(*number)?
            .and_then(|state| lifecycle(if state.deleted { Lifecycle::Deleted } else { Lifecycle::Active })),
        _ => None,
    })
}

/// The value that an event gives a field; for stages see [`changed_stages`].
pub(super) fn new_value(event: &Event, field: &Field) -> Option<String> {
    use Event as E;
    match (event, field) {
        (E::ExperimentRenamed(e), Field::Name) => Some(e.name.clone()),
        (E::ExperimentDeleted(_) | E::RunDeleted(_) | E::LoggedModelDeleted(_), Field::Lifecycle) => {
            lifecycle(Lifecycle::Deleted)
        }
        (E::ExperimentRestored(_) | E::RunRestored(_), Field::Lifecycle) => lifecycle(Lifecycle::Active),
        (E::RunUpdated(e), Field::Name) => e.name.clone(),
        (E::RunUpdated(e), Field::Status) => e.status.map(|status| <&str>::from(status).into()),
        (E::RunUpdated(e), Field::EndTime) => e.end_time_ms.map(|time| time.to_string()),
        (E::RunTagsSet(e), Field::Name) => last_tag(&e.tags, RUN_NAME_TAG),
        (E::RunTagsSet(e), Field::Tag(key)) => last_tag(&e.tags, key),
        (E::ArtifactLogged(e), Field::Artifact(_)) => Some(format!("{:?}", e.size_bytes)),
        (E::LoggedModelFinalized(e), Field::Status) => Some(format!("{:?}", e.status)),
        (E::RegisteredModelUpdated(e), Field::Description) => e.description.clone(),
        (E::RegisteredModelRenamed(e), Field::Name) => Some(e.name.clone()),
        (E::RegisteredModelDeleted(_), Field::Deletion) => lifecycle(Lifecycle::Deleted),
        (E::AliasSet(e), Field::Alias(_)) => Some(format!("version {}", e.version)),
        (E::ModelVersionUpdated(e), Field::VersionDescription(_)) => e.description.clone(),
        (E::ModelVersionDeleted(_), Field::VersionDeletion(_)) => lifecycle(Lifecycle::Deleted),
        // A deleted field has none.
        _ => None,
    }
}

/// The stages of a model's versions, with some of them changed.
pub(super) fn changed_stages(
    snapshot: &Snapshot,
    model: RegisteredModelId,
    changes: &[(u32, Stage)],
) -> Result<String> {
    let mut stages = BTreeMap::new();
    if let Some(EntityState::RegisteredModel(state)) = snapshot.entity(&EntityKey::RegisteredModel(model))?.as_deref() {
        for number in &state.versions {
            if let Some(version) = snapshot.model_version(model, *number)? {
                stages.insert(*number, version.stage);
            }
        }
    }
    stages.extend(changes.iter().copied());
    let staged = stages.into_iter().filter(|(_, stage)| *stage != Stage::None);
    let staged: Vec<_> = staged.map(|(number, stage)| format!("version {number} {}", <&str>::from(stage))).collect();
    Ok(if staged.is_empty() { "none".into() } else { staged.join(", ") })
}

/// The entity's name for users.
pub(super) fn entity_text(snapshot: &Snapshot, key: &EntityKey) -> Result<String> {
    let state = snapshot.entity(key)?;
    Ok(match (key, state.as_deref()) {
        (EntityKey::Experiment(_), Some(EntityState::Experiment(state))) => format!("experiment `{}`", state.name),
        (EntityKey::Experiment(id), _) => format!("experiment {id}"),
        (EntityKey::Run(id), _) => format!("run {id}"),
        (EntityKey::LoggedModel(id), _) => format!("logged model {id}"),
        (EntityKey::RegisteredModel(_), Some(EntityState::RegisteredModel(state))) => {
            format!("registered model `{}`", state.name)
        }
        (EntityKey::RegisteredModel(id), _) => format!("registered model number {}", id.0),
        (key, _) => format!("{key:?}"),
    })
}

/// A value for a report: its beginning, if it is long.
pub(super) fn told(value: Option<String>) -> Option<String> {
    value.map(|mut value| {
        if value.len() > TOLD_BYTES_MAX {
            let end = (0..=TOLD_BYTES_MAX).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
            value.truncate(end);
            value.push_str("...");
        }
        value
    })
}
