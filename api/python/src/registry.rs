//! MLflow's model registry store: the calls of its abstract class, by the same names and argument names.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};
use runlode::mlflow::entity::Tag;
use runlode::mlflow::{ApiError, ApiResult, NewModelVersion, names};
use runlode::shared::MlflowCalls;

use crate::arguments::{self, Text, Token, Version, texts};
use crate::entities::Maker;
use crate::errors::{Raise, raised};
use crate::exit::detached;
use crate::open::{Opened, open};

/// Registered models of a page when a call does not say.
const MODELS_PAGE: i64 = 100;
/// Versions of a page when a call does not say.
const VERSIONS_PAGE: i64 = 10_000;

/// The model registry store of a folder. Arguments are those of `Tracking`.
#[pyclass(subclass, frozen, module = "runlode._runlode")]
pub(crate) struct Registry {
    opened: Opened,
}

impl Registry {
    /// A call without the GIL.
    fn free<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&MlflowCalls) -> ApiResult<T> + Send) -> PyResult<T> {
        let shared = &self.opened.shared;
        detached(py, || call(shared)).or_raise(py)
    }

    #[expect(clippy::too_many_arguments, reason = "those of create_model_version")]
    fn add_version<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        source: Option<Text>,
        run_id: Option<Text>,
        tags: Option<&Bound<'py, PyAny>>,
        run_link: Option<Text>,
        description: Option<Text>,
        model_id: Option<Text>,
        storage_location: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tags = tags_of(tags)?;
        let new = NewModelVersion {
            source: given(&source),
            run_id: run_id.as_deref(),
            run_link: run_link.as_deref(),
            description: description.as_deref(),
            model_id: model_id.as_deref(),
            storage_location,
            tags: &tags,
            // In process the client notes it.
            note_on_model: false,
        };
        let version = self.free(py, |s| s.create_model_version(given(&name), &new))?;
        Maker::new(py)?.model_version(&version)
    }
}

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(signature = (path, durability=None, artifacts=None))]
    fn new(py: Python<'_>, path: PathBuf, durability: Option<&str>, artifacts: Option<String>) -> PyResult<Self> {
        Ok(Self { opened: open(py, path, durability, artifacts, true)? })
    }

    #[pyo3(signature = (name, tags=None, description=None, deployment_job_id=None))]
    fn create_registered_model<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        tags: Option<&Bound<'py, PyAny>>,
        description: Option<&str>,
        deployment_job_id: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Of a service that is not ours.
        let _ = deployment_job_id;
        let tags = tags_of(tags)?;
        let model = self.free(py, |s| s.create_registered_model(given(&name), &tags, description))?;
        Maker::new(py)?.registered_model(&model)
    }

    #[pyo3(signature = (name, description=None, deployment_job_id=None))]
    fn update_registered_model<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        description: Option<&str>,
        deployment_job_id: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = deployment_job_id;
        let model = self.free(py, |s| s.update_registered_model(given(&name), description))?;
        Maker::new(py)?.registered_model(&model)
    }

    fn rename_registered_model<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        new_name: Option<Text>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let model = self.free(py, |s| s.rename_registered_model(given(&name), given(&new_name)))?;
        Maker::new(py)?.registered_model(&model)
    }

    fn delete_registered_model(&self, py: Python<'_>, name: Option<Text>) -> PyResult<()> {
        self.free(py, |s| s.delete_registered_model(given(&name)))
    }

    #[pyo3(signature = (filter_string=None, max_results=None, order_by=None, page_token=None))]
    fn search_registered_models<'py>(
        &self,
        py: Python<'py>,
        filter_string: Option<&str>,
        max_results: Option<&Bound<'py, PyAny>>,
        order_by: Option<&Bound<'py, PyAny>>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (filter, order) = (filter_string.unwrap_or_default(), texts(order_by)?);
        let most = page_size(max_results, MODELS_PAGE, "request parameter max_results")?;
        let page = self.free(py, |s| s.search_registered_models(filter, most, &order, page_token.as_deref()))?;
        Maker::new(py)?.page(&page, |make, model| make.registered_model(model))
    }

    fn get_registered_model<'py>(&self, py: Python<'py>, name: Option<Text>) -> PyResult<Bound<'py, PyAny>> {
        let model = self.free(py, |s| s.registered_model(given(&name)))?;
        Maker::new(py)?.registered_model(&model)
    }

    #[pyo3(signature = (name, stages=None))]
    fn get_latest_versions<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        stages: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let stages = texts(stages)?;
        let found = self.free(py, |s| s.latest_versions(given(&name), &stages))?;
        let mut make = Maker::new(py)?;
        PyList::new(py, found.iter().map(|version| make.model_version(version)).collect::<PyResult<Vec<_>>>()?)
    }

    fn set_registered_model_tag(&self, py: Python<'_>, name: Option<Text>, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, value) = arguments::tag(tag, || "key".to_owned())?;
        self.free(py, |s| s.set_registered_model_tag(given(&name), &key, &value))
    }

    fn delete_registered_model_tag(&self, py: Python<'_>, name: Option<Text>, key: Option<Text>) -> PyResult<()> {
        let Some(key) = key else { return no_key(py, given(&name)) };
        self.free(py, |s| s.delete_registered_model_tag(given(&name), &key))
    }

    #[pyo3(signature = (
        name, source, run_id=None, tags=None, run_link=None, description=None, local_model_path=None, model_id=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "those of MLflow")]
    fn create_model_version<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        source: Option<Text>,
        run_id: Option<Text>,
        tags: Option<&Bound<'py, PyAny>>,
        run_link: Option<Text>,
        description: Option<Text>,
        local_model_path: Option<&Bound<'py, PyAny>>,
        model_id: Option<Text>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = local_model_path;
        self.add_version(py, name, source, run_id, tags, run_link, description, model_id, None)
    }

    /// A version of a logged model that another store keeps: `storage_location` is where its files are.
    #[expect(clippy::too_many_arguments, reason = "those of create_model_version")]
    fn _create_model_version_of_another_store<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        source: Option<Text>,
        run_id: Option<Text>,
        tags: Option<&Bound<'py, PyAny>>,
        run_link: Option<Text>,
        description: Option<Text>,
        model_id: Option<Text>,
        storage_location: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.add_version(py, name, source, run_id, tags, run_link, description, model_id, Some(storage_location))
    }

    #[pyo3(signature = (name, version, description=None))]
    fn update_model_version<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        version: Version,
        description: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = self.free(py, |s| s.update_model_version(given(&name), &version, description))?;
        Maker::new(py)?.model_version(&version)
    }

    fn transition_model_version_stage<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        version: Version,
        stage: Text,
        archive_existing_versions: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let archive = archive_existing_versions.unwrap_or(false);
        let version = self.free(py, |s| s.transition_model_version_stage(given(&name), &version, &stage, archive))?;
        Maker::new(py)?.model_version(&version)
    }

    fn delete_model_version(&self, py: Python<'_>, name: Option<Text>, version: Version) -> PyResult<()> {
        self.free(py, |s| s.delete_model_version(given(&name), &version))
    }

    fn get_model_version<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        version: Version,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = self.free(py, |s| s.model_version(given(&name), &version))?;
        Maker::new(py)?.model_version(&version)
    }

    fn get_model_version_download_uri(&self, py: Python<'_>, name: Option<Text>, version: Version) -> PyResult<String> {
        self.free(py, |s| s.model_version_download_uri(given(&name), &version))
    }

    #[pyo3(signature = (filter_string=None, max_results=None, order_by=None, page_token=None))]
    fn search_model_versions<'py>(
        &self,
        py: Python<'py>,
        filter_string: Option<&str>,
        max_results: Option<&Bound<'py, PyAny>>,
        order_by: Option<&Bound<'py, PyAny>>,
        page_token: Option<Token>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (filter, order) = (filter_string.unwrap_or_default(), texts(order_by)?);
        let most = page_size(max_results, VERSIONS_PAGE, "max_results")?;
        let page = self.free(py, |s| s.search_model_versions(filter, most, &order, page_token.as_deref()))?;
        Maker::new(py)?.page(&page, |make, version| make.model_version(version))
    }

    fn set_model_version_tag(
        &self,
        py: Python<'_>,
        name: Option<Text>,
        version: Version,
        tag: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (key, value) = arguments::tag(tag, || "key".to_owned())?;
        self.free(py, |s| s.set_model_version_tag(given(&name), &version, &key, &value))
    }

    fn delete_model_version_tag(
        &self,
        py: Python<'_>,
        name: Option<Text>,
        version: Version,
        key: Option<Text>,
    ) -> PyResult<()> {
        let Some(key) = key else { return no_key(py, given(&name)) };
        self.free(py, |s| s.delete_model_version_tag(given(&name), &version, &key))
    }

    fn set_registered_model_alias(
        &self,
        py: Python<'_>,
        name: Option<Text>,
        alias: Option<Text>,
        version: Version,
    ) -> PyResult<()> {
        self.free(py, |s| s.set_registered_model_alias(given(&name), given(&alias), &version))
    }

    fn delete_registered_model_alias(&self, py: Python<'_>, name: Option<Text>, alias: Option<Text>) -> PyResult<()> {
        self.free(py, |s| s.delete_registered_model_alias(given(&name), given(&alias)))
    }

    fn get_model_version_by_alias<'py>(
        &self,
        py: Python<'py>,
        name: Option<Text>,
        alias: Option<Text>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let version = self.free(py, |s| s.model_version_by_alias(given(&name), given(&alias)))?;
        Maker::new(py)?.model_version(&version)
    }
}

/// How many entries a page has at most; `None` is the default.
fn page_size(given: Option<&Bound<'_, PyAny>>, default: i64, parameter: &str) -> PyResult<i64> {
    let Some(given) = given else { return Ok(default) };
    if let Ok(number) = given.extract::<i64>() {
        return Ok(number);
    }
    if given.is_instance_of::<PyInt>() {
        return Ok(if given.gt(0)? { i64::MAX } else { i64::MIN });
    }
    let error =
        ApiError::invalid(format!("Invalid value for {parameter}. It must be a positive integer, but got {given}"));
    Err(raised(given.py(), &error))
}

/// Tags; a key that is none is refused without saying whose.
fn tags_of(objects: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Tag>> {
    let Some(objects) = objects else { return Ok(Vec::new()) };
    objects.try_iter()?.map(|object| arguments::tag(&object?, || "key".to_owned())).collect()
}

/// Refuses a tag without a key, of a model whose name may be.
fn no_key(py: Python<'_>, name: &str) -> PyResult<()> {
    names::registered_model_name("name", name).and_then(|()| Err(names::missing("key"))).or_raise(py)
}

/// None is refused as an empty text is.
fn given(text: &Option<Text>) -> &str {
    text.as_deref().unwrap_or_default()
}
