//! Experiments, the life of runs, and the model registry: plain calls with ids and names, answered by dicts. The methods that
//! users see are Python's (`runlode/_experiments.py`, `_registry.py`): they add defaults, names and checks.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use runlode::VersionStatus;
use runlode::mlflow::entity::{Experiment, ModelVersion, Paged, RegisteredModel, View};
use runlode::mlflow::{ApiResult, NewModelVersion};
use runlode::shared::MlflowCalls;

use super::handle::Handle;
use super::{dicts, pairs};

/// Items that one request for a page asks for.
const PAGE: i64 = 1000;

/// Below the methods of `runlode.Store` that are written in Python.
#[pyclass(frozen, module = "runlode", name = "_Calls")]
pub(crate) struct Calls {
    handle: Arc<Handle>,
}

impl Calls {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }
}

/// Pages until there are `limit` items, or no more.
fn all<T>(limit: usize, page: impl Fn(i64, Option<&str>) -> ApiResult<Paged<T>>) -> ApiResult<Vec<T>> {
    let mut items = Vec::new();
    let mut token: Option<String> = None;
    while items.len() < limit {
        let most = PAGE.min(i64::try_from(limit - items.len()).unwrap_or(PAGE));
        let found = page(most, token.as_deref())?;
        items.extend(found.items);
        token = found.next_page_token;
        if token.is_none() {
            break;
        }
    }
    Ok(items)
}

fn list<'py, T>(
    py: Python<'py>,
    items: &[T],
    of: impl Fn(Python<'py>, &T) -> PyResult<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for item in items {
        list.append(of(py, item)?)?;
    }
    Ok(list)
}

#[pymethods]
impl Calls {
    // ---- experiments -------------------------------------------------------------------------------------------------

    #[pyo3(signature = (name, artifact_location, tags))]
    fn create_experiment<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        artifact_location: Option<&str>,
        tags: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let tags = pairs(tags)?;
        let made = self.handle.call(py, |calls| {
            let id = calls.create_experiment(name, artifact_location, &tags)?;
            calls.experiment(&id)
        })?;
        of_experiment(py, &made)
    }

    fn experiment<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyDict>> {
        of_experiment(py, &self.handle.read(py, |calls| calls.experiment(id))?)
    }

    fn experiment_by_name<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        let found = self.handle.read(py, |calls| calls.experiment_by_name(name))?;
        found.map(|found| of_experiment(py, &found)).transpose()
    }

    fn search_experiments<'py>(
        &self,
        py: Python<'py>,
        filter: &str,
        order_by: Vec<String>,
        deleted: bool,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let view = if deleted { View::DeletedOnly } else { View::ActiveOnly };
        let found = self.handle.read(py, |calls| {
            all(limit, |most, token| calls.search_experiments(view, most, filter, &order_by, token))
        })?;
        list(py, &found, of_experiment)
    }

    fn delete_experiment(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_experiment(id))
    }

    fn restore_experiment(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.restore_experiment(id))
    }

    fn rename_experiment(&self, py: Python<'_>, id: &str, name: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.rename_experiment(id, name))
    }

    fn set_experiment_tags(&self, py: Python<'_>, id: &str, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let tags = pairs(Some(tags))?;
        self.each(py, &tags, |calls, key, value| calls.set_experiment_tag(id, key, value))
    }

    fn delete_experiment_tag(&self, py: Python<'_>, id: &str, key: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_experiment_tag(id, key))
    }

    // ---- runs --------------------------------------------------------------------------------------------------------

    fn delete_run(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_run(id))
    }

    fn restore_run(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.restore_run(id))
    }

    fn rename_run(&self, py: Python<'_>, id: &str, name: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.update_run(id, None, None, Some(name)))?;
        Ok(())
    }

    fn set_run_tags(&self, py: Python<'_>, id: &str, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let tags = pairs(Some(tags))?;
        self.handle.call(py, |calls| tags.chunks(100).try_for_each(|part| calls.log_batch(id, &[], &[], part)))
    }

    fn delete_run_tag(&self, py: Python<'_>, id: &str, key: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_tag(id, key))
    }

    // ---- registered models -------------------------------------------------------------------------------------------

    #[pyo3(signature = (name, tags, description))]
    fn create_model<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        tags: Option<&Bound<'py, PyAny>>,
        description: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let tags = pairs(tags)?;
        of_model(py, &self.handle.call(py, |calls| calls.create_registered_model(name, &tags, description))?)
    }

    fn model<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        of_model(py, &self.handle.read(py, |calls| calls.registered_model(name))?)
    }

    fn search_models<'py>(
        &self,
        py: Python<'py>,
        filter: &str,
        order_by: Vec<String>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = self.handle.read(py, |calls| {
            all(limit, |most, token| calls.search_registered_models(filter, most, &order_by, token))
        })?;
        list(py, &found, of_model)
    }

    fn describe_model(&self, py: Python<'_>, name: &str, description: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.update_registered_model(name, Some(description)))?;
        Ok(())
    }

    fn rename_model(&self, py: Python<'_>, name: &str, new_name: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.rename_registered_model(name, new_name))?;
        Ok(())
    }

    fn delete_model(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_registered_model(name))
    }

    fn set_model_tags(&self, py: Python<'_>, name: &str, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let tags = pairs(Some(tags))?;
        self.each(py, &tags, |calls, key, value| calls.set_registered_model_tag(name, key, value))
    }

    fn delete_model_tag(&self, py: Python<'_>, name: &str, key: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_registered_model_tag(name, key))
    }

    fn set_alias(&self, py: Python<'_>, name: &str, alias: &str, version: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.set_registered_model_alias(name, alias, version))
    }

    fn delete_alias(&self, py: Python<'_>, name: &str, alias: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_registered_model_alias(name, alias))
    }

    // ---- versions ----------------------------------------------------------------------------------------------------

    #[pyo3(signature = (name, source, run_id, tags, description))]
    fn create_version<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        source: &str,
        run_id: Option<&str>,
        tags: Option<&Bound<'py, PyAny>>,
        description: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let tags = pairs(tags)?;
        let new = NewModelVersion {
            source,
            run_id,
            run_link: None,
            description,
            model_id: None,
            storage_location: None,
            tags: &tags,
            note_on_model: true,
        };
        of_version(py, &self.handle.call(py, |calls| calls.create_model_version(name, &new))?)
    }

    fn version<'py>(&self, py: Python<'py>, name: &str, version: &str) -> PyResult<Bound<'py, PyDict>> {
        of_version(py, &self.handle.read(py, |calls| calls.model_version(name, version))?)
    }

    fn version_by_alias<'py>(&self, py: Python<'py>, name: &str, alias: &str) -> PyResult<Bound<'py, PyDict>> {
        of_version(py, &self.handle.read(py, |calls| calls.model_version_by_alias(name, alias))?)
    }

    fn latest_versions<'py>(&self, py: Python<'py>, name: &str, stages: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        list(py, &self.handle.read(py, |calls| calls.latest_versions(name, &stages))?, of_version)
    }

    fn search_versions<'py>(
        &self,
        py: Python<'py>,
        filter: &str,
        order_by: Vec<String>,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = self.handle.read(py, |calls| {
            let found = all(limit, |most, token| calls.search_model_versions(filter, most, &order_by, token))?;
            // Searches leave the aliases out, as MLflow's do.
            let mut models: Vec<RegisteredModel> = Vec::new();
            let mut whole = Vec::with_capacity(found.len());
            for mut version in found {
                if models.last().is_none_or(|model| model.name != version.name) {
                    models.push(calls.registered_model(&version.name)?);
                }
                let aliases = models.last().map(|model| model.aliases.as_slice()).unwrap_or_default();
                version.aliases =
                    aliases.iter().filter(|(_, of)| *of == version.version).map(|(alias, _)| alias.clone()).collect();
                whole.push(version);
            }
            Ok(whole)
        })?;
        list(py, &found, of_version)
    }

    fn download_uri(&self, py: Python<'_>, name: &str, version: &str) -> PyResult<String> {
        self.handle.read(py, |calls| calls.model_version_download_uri(name, version))
    }

    fn describe_version(&self, py: Python<'_>, name: &str, version: &str, description: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.update_model_version(name, version, Some(description)))?;
        Ok(())
    }

    fn set_stage<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        version: &str,
        stage: &str,
        archive_existing: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let changed = self
            .handle
            .call(py, |calls| calls.transition_model_version_stage(name, version, stage, archive_existing))?;
        of_version(py, &changed)
    }

    fn delete_version(&self, py: Python<'_>, name: &str, version: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_model_version(name, version))
    }

    fn set_version_tags(&self, py: Python<'_>, name: &str, version: &str, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let tags = pairs(Some(tags))?;
        self.each(py, &tags, |calls, key, value| calls.set_model_version_tag(name, version, key, value))
    }

    fn delete_version_tag(&self, py: Python<'_>, name: &str, version: &str, key: &str) -> PyResult<()> {
        self.handle.call(py, |calls| calls.delete_model_version_tag(name, version, key))
    }
}

impl Calls {
    /// One call for each tag.
    fn each(
        &self,
        py: Python<'_>,
        tags: &[(String, String)],
        set: impl Fn(&MlflowCalls, &str, &str) -> ApiResult<()> + Sync,
    ) -> PyResult<()> {
        self.handle.call(py, |calls| tags.iter().try_for_each(|(key, value)| set(calls, key, value)))
    }
}

fn of_experiment<'py>(py: Python<'py>, experiment: &Experiment) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("experiment_id", &experiment.experiment_id)?;
    dict.set_item("name", &experiment.name)?;
    dict.set_item("artifact_location", &experiment.artifact_location)?;
    dict.set_item("lifecycle", if experiment.deleted { "deleted" } else { "active" })?;
    dict.set_item("creation_time_ms", experiment.creation_time)?;
    dict.set_item("last_update_time_ms", experiment.last_update_time)?;
    dict.set_item("tags", dicts::of_pairs(py, &experiment.tags)?)?;
    Ok(dict)
}

fn of_model<'py>(py: Python<'py>, model: &RegisteredModel) -> PyResult<Bound<'py, PyDict>> {
    let aliases = PyDict::new(py);
    for (alias, version) in &model.aliases {
        aliases.set_item(alias, version)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &model.name)?;
    dict.set_item("description", &model.description)?;
    dict.set_item("creation_time_ms", model.creation_timestamp)?;
    dict.set_item("last_update_time_ms", model.last_updated_timestamp)?;
    dict.set_item("tags", dicts::of_pairs(py, &model.tags)?)?;
    dict.set_item("aliases", aliases)?;
    dict.set_item("latest_versions", list(py, &model.latest_versions, of_version)?)?;
    Ok(dict)
}

fn of_version<'py>(py: Python<'py>, version: &ModelVersion) -> PyResult<Bound<'py, PyDict>> {
    let stage: &str = version.current_stage.into();
    let status = match version.status {
        VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
        VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
        VersionStatus::Ready => "READY",
    };
    let dict = PyDict::new(py);
    dict.set_item("name", &version.name)?;
    dict.set_item("version", version.version)?;
    dict.set_item("stage", stage)?;
    dict.set_item("aliases", &version.aliases)?;
    dict.set_item("description", &version.description)?;
    dict.set_item("source", &version.source)?;
    dict.set_item("run_id", version.run_id.as_deref().filter(|id| !id.is_empty()))?;
    dict.set_item("status", status)?;
    dict.set_item("creation_time_ms", version.creation_timestamp)?;
    dict.set_item("last_update_time_ms", version.last_updated_timestamp)?;
    dict.set_item("tags", dicts::of_pairs(py, &version.tags)?)?;
    Ok(dict)
}
