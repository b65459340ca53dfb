//! The searches of registered models and of versions.

use std::cmp::Ordering;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::{MODELS_PAGE_MAX, VERSIONS_PAGE_MAX, directed, page, passing};
use crate::engine::entity::RegisteredModelState;
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{ModelVersion, Paged, RegisteredModel};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::filter::clause::value_of;
use crate::mlflow::filter::registry::{
    Field, RegistryFilter, TAG_IS_PROMPT, order_models, order_versions, parse_models, parse_versions,
};
use crate::{ModelVersionState, RegisteredModelId, Snapshot};

type Models = Vec<(RegisteredModelId, Arc<RegisteredModelState>)>;
/// Models, numbers and states.
type Versions = Vec<(Arc<RegisteredModelState>, u32, Arc<ModelVersionState>)>;

impl Mlflow {
    /// Registered models that match a filter, in an order, a page at a time; by default by name. Prompts are left out
    /// unless the filter asks for them.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn search_registered_models(
        &self,
        filter: &str,
        max_results: i64,
        order_by: &[String],
        page_token: Option<&str>,
    ) -> ApiResult<Paged<RegisteredModel>> {
        // A page of nothing, and the token of the next one, as in MLflow.
        let limit = usize::try_from(max_results).map_err(|_| {
            let rule = "It must be a positive integer, but got value";
            ApiError::invalid(format!("Invalid value for request parameter max_results. {rule} {max_results}"))
        })?;
        if max_results > MODELS_PAGE_MAX {
            return Err(too_many(max_results, MODELS_PAGE_MAX));
        }
        let filter = parse_models(filter)?;
        let keys = order_models(order_by)?;
        let snapshot = self.entities()?;
        let mut found = passing(models(&snapshot, filter.only_name())?, |(_, state)| {
            self.check_waiting()?;
            Ok((filter.prompts || !is_prompt(&state.tags)) && filter.matches_model(state))
        })?;
        found.sort_by(|(_, a), (_, b)| {
            let by_key = keys.iter().map(|(field, ascending)| {
                let order = match field {
                    Field::LastUpdated => a.last_updated_time_ms.cmp(&b.last_updated_time_ms),
                    _ => a.name.cmp(&b.name),
                };
                directed(order, *ascending)
            });
            by_key.fold(Ordering::Equal, Ordering::then).then_with(|| a.name.cmp(&b.name))
        });
        page(found, page_token, limit, |(id, state)| {
            self.check_waiting()?;
            self.registered_model_entity(&snapshot, id, &state)
        })
    }

    /// Versions that match a filter, in an order, a page at a time; by default the last updated first. Prompts are left
    /// out unless the filter asks for them.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn search_model_versions(
        &self,
        filter: &str,
        max_results: i64,
        order_by: &[String],
        page_token: Option<&str>,
    ) -> ApiResult<Paged<ModelVersion>> {
        let limit = usize::try_from(max_results).ok().filter(|limit| *limit > 0).ok_or_else(|| {
            ApiError::invalid(format!(
                "Invalid value for max_results. It must be a positive integer, but got {max_results}"
            ))
        })?;
        if max_results > VERSIONS_PAGE_MAX {
            return Err(too_many(max_results, VERSIONS_PAGE_MAX));
        }
        let found = self.versions(&parse_versions(filter)?, order_versions(order_by)?, |_| true)?;
        page(
            found,
            page_token,
            limit,
            |(model, version, state)| Ok(self.version_entity(&model, version, &state, false)),
        )
    }

    /// The versions of each of these runs, as `search_model_versions` finds them by `run_id = '...'`, with one scan of
    /// the registry for all runs.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// use runlode::mlflow::{Mlflow, Settings};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let local = store.local()?;
    /// let mlflow = Mlflow::new(local.clone(), Settings::in_process(&local));
    /// assert!(mlflow.model_versions_of_runs(&["0123456789abcdef0123456789abcdef".to_owned()])?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn model_versions_of_runs(&self, runs: &[String]) -> ApiResult<Vec<ModelVersion>> {
        let runs: FxHashSet<&str> = runs.iter().map(String::as_str).collect();
        let of_these = |state: &ModelVersionState| state.run_id.as_deref().is_some_and(|run| runs.contains(run));
        let found = self.versions(&parse_versions("")?, Vec::new(), of_these)?;
        Ok(found.iter().map(|(model, version, state)| self.version_entity(model, *version, state, false)).collect())
    }

    /// Versions that match, in an order; by default the last updated first.
    fn versions(
        &self,
        filter: &RegistryFilter,
        mut keys: Vec<(Field, bool)>,
        wanted: impl Fn(&ModelVersionState) -> bool,
    ) -> ApiResult<Versions> {
        if keys.is_empty() {
            keys.push((Field::LastUpdated, false));
        }
        let snapshot = self.entities()?;
        let mut found = Versions::new();
        for (id, model) in models(&snapshot, filter.only_name())? {
            self.check_waiting()?;
            let mut versions = Vec::with_capacity(model.versions.len());
            for version in &model.versions {
                let state = snapshot.model_version(id, *version)?.filter(|state| !state.deleted);
                versions.extend(state.map(|state| (*version, state)));
            }
            // As in MLflow, one prompt version makes all versions of its name prompts.
            if !filter.prompts && versions.iter().any(|(_, state)| is_prompt(&state.tags)) {
                continue;
            }
            let versions = passing(versions, |(version, state)| {
                self.check_waiting()?;
                Ok(wanted(state) && filter.matches_version(&model.name, *version, state))
            })?;
            found.extend(versions.into_iter().map(|(version, state)| (model.clone(), version, state)));
        }
        found.sort_by(|(a_model, a_version, a), (b_model, b_version, b)| {
            let by_key = keys.iter().map(|(field, ascending)| {
                let order = match field {
                    Field::Version => a_version.cmp(b_version),
                    Field::Created => a.creation_time_ms.cmp(&b.creation_time_ms),
                    Field::LastUpdated => a.last_updated_time_ms.cmp(&b.last_updated_time_ms),
                    _ => a_model.name.cmp(&b_model.name),
                };
                directed(order, *ascending)
            });
            let by_key = by_key.fold(Ordering::Equal, Ordering::then);
            by_key.then_with(|| a_model.name.cmp(&b_model.name)).then(b_version.cmp(a_version))
        });
        Ok(found)
    }
}

/// All models, or only the one with this name.
fn models(snapshot: &Snapshot, only_name: Option<&str>) -> ApiResult<Models> {
    Ok(match only_name {
        Some(name) => snapshot.registered_model(name)?.filter(|(_, state)| !state.deleted).into_iter().collect(),
        None => snapshot.registered_models()?,
    })
}

fn is_prompt(tags: &[(String, String)]) -> bool {
    value_of(tags, TAG_IS_PROMPT) == Some("true")
}

fn too_many(max_results: i64, most: i64) -> ApiError {
    ApiError::invalid(format!(
        "Invalid value for request parameter max_results. It must be at most {most}, but got value {max_results}"
    ))
}
