//! Registered models and their versions at a snapshot, by the names that clients use.

use std::sync::Arc;

use super::error::{ApiError, ApiResult};
use super::names;
use crate::engine::entity::{ModelVersionState, RegisteredModelState};
use crate::{RegisteredModelId, Snapshot, Stage};

/// Number of stages.
const STAGES_COUNT: usize = 4;

/// A registered model found at a snapshot.
pub(super) type Found = (RegisteredModelId, Arc<RegisteredModelState>);

/// A registered model by name.
pub(super) fn find(snapshot: &Snapshot, name: &str) -> ApiResult<Found> {
    names::registered_model_name("name", name)?;
    let found = snapshot.registered_model(name)?.filter(|(_, state)| !state.deleted);
    found.ok_or_else(|| absent(name))
}

/// The error for a name without a registered model.
pub(super) fn absent(name: &str) -> ApiError {
    ApiError::absent(format!("Registered Model with name={name} not found"))
}

/// The number that an alias names.
pub(super) fn aliased(state: &RegisteredModelState, alias: &str) -> ApiResult<u32> {
    if alias.eq_ignore_ascii_case("latest") {
        let latest = state.versions.last().copied();
        return latest.ok_or_else(|| ApiError::absent(format!("Latest version not found for model {}.", state.name)));
    }
    let found = state.aliases.iter().find(|(known, _)| known == alias);
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| ApiError::invalid(format!("Registered model alias {alias} not found.")))
}

/// The highest version of each stage, by version.
pub(super) fn highest_versions(
    snapshot: &Snapshot,
    id: RegisteredModelId,
    state: &RegisteredModelState,
) -> ApiResult<Vec<(u32, Arc<ModelVersionState>)>> {
    let mut stages: Vec<Stage> = Vec::with_capacity(STAGES_COUNT);
    let mut highest = Vec::new();
    for number in state.versions.iter().rev() {
        let Some(version) = snapshot.model_version(id, *number)?.filter(|found| !found.deleted) else { continue };
        if !stages.contains(&version.stage) {
            stages.push(version.stage);
            highest.push((*number, version));
            if stages.len() == STAGES_COUNT {
                break;
            }
        }
    }
    highest.reverse();
    Ok(highest)
}

/// An existing version of a registered model.
pub(super) fn find_version(
    snapshot: &Snapshot,
    model: RegisteredModelId,
    state: &RegisteredModelState,
    number: i64,
) -> ApiResult<(u32, Arc<ModelVersionState>)> {
    let version = u32::try_from(number).map_err(|_| version_absent(&state.name, number))?;
    let found = snapshot.model_version(model, version)?.filter(|found| !found.deleted);
    Ok((version, found.ok_or_else(|| version_absent(&state.name, number))?))
}

pub(super) fn version_absent(name: &str, number: i64) -> ApiError {
    ApiError::absent(format!("Model Version (name={name}, version={number}) not found"))
}
