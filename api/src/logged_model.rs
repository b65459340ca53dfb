//! Logged models: models that a run produced, with their own params and tags.

use runlode_engine::event::{
    KeyValue, LoggedModelCreated, LoggedModelDeleted, LoggedModelFinalized, LoggedModelParamsLogged, LoggedModelStatus,
    LoggedModelTagDeleted, LoggedModelTagsSet,
};
use runlode_engine::{ExperimentId, Lsn, ModelId, Result, RunId};

use crate::experiment::owned;
use crate::{LocalStore, new_model_id, run_name};

/// Attributes of a new logged model.
///
/// ```
/// use runlode::{LoggedModelSpec, LoggedModelStatus, LocalStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let experiment = store.get_or_create_experiment("digits")?;
/// let model = store.create_logged_model(experiment, LoggedModelSpec::named("mlp").param("hidden", "16"))?;
/// store.finalize_logged_model(model, LoggedModelStatus::Ready)?;
/// assert_eq!(store.snapshot()?.logged_model(model)?.expect("made above").status, LoggedModelStatus::Ready);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct LoggedModelSpec {
    pub(crate) name: Option<String>,
    pub(crate) model_type: String,
    /// The id as given: the run need not exist.
    pub(crate) source_run: String,
    pub(crate) artifact_location: Option<String>,
    pub(crate) params: Vec<KeyValue>,
    pub(crate) tags: Vec<KeyValue>,
}

impl LoggedModelSpec {
    /// All defaults: a random name, status pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name; names need not be unique.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Type of the model, free text. Default: empty.
    pub fn model_type(mut self, model_type: impl Into<String>) -> Self {
        self.model_type = model_type.into();
        self
    }

    /// The run that produced it.
    pub fn source_run(mut self, run: RunId) -> Self {
        self.source_run = run.to_string();
        self
    }

    /// Location of its files. Default: below its experiment's.
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }

    /// Adds a param.
    pub fn param(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((key.into(), value.into()));
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}

impl LocalStore {
    /// Creates a logged model with status pending.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Deleted`] for the experiment; [`crate::Error::Invalid`].
    pub fn create_logged_model(&self, experiment: ExperimentId, spec: LoggedModelSpec) -> Result<ModelId> {
        let model = new_model_id()?;
        let now_ms = self.now().0;
        let artifact_location = match spec.artifact_location {
            None => self.lasting_place(experiment, &format!("models/{model}/artifacts"))?,
            given => given,
        };
        self.append_event(LoggedModelCreated {
            model,
            experiment,
            name: spec.name.map_or_else(run_name, Ok)?,
            model_type: spec.model_type,
            source_run: spec.source_run,
            artifact_location,
            status: LoggedModelStatus::Pending,
            status_message: None,
            creation_time_ms: now_ms,
            last_updated_time_ms: now_ms,
            params: spec.params,
            tags: spec.tags,
        })?;
        Ok(model)
    }

    /// Sets a logged model's status, once its files are uploaded or have failed to upload.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn finalize_logged_model(&self, model: ModelId, status: LoggedModelStatus) -> Result<Lsn> {
        self.append_event(LoggedModelFinalized { model, status, at_ms: self.now().0 })
    }

    /// Sets tags of a logged model.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Invalid`].
    pub fn set_logged_model_tags<K: AsRef<str>, V: AsRef<str>>(&self, model: ModelId, tags: &[(K, V)]) -> Result<Lsn> {
        self.append_event(LoggedModelTagsSet { model, tags: owned(tags) })
    }

    /// Deletes a tag of a logged model.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], also if there is no such tag.
    pub fn delete_logged_model_tag(&self, model: ModelId, key: &str) -> Result<Lsn> {
        self.append_event(LoggedModelTagDeleted { model, key: key.to_owned() })
    }

    /// Logs params of a logged model. A key that it already has is an error, even with the same value.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::AlreadyExists`], [`crate::Error::Invalid`].
    pub fn log_logged_model_params<K: AsRef<str>, V: AsRef<str>>(
        &self,
        model: ModelId,
        params: &[(K, V)],
    ) -> Result<Lsn> {
        self.append_event(LoggedModelParamsLogged { model, params: owned(params) })
    }

    /// Deletes a logged model: it is hidden, but its tags and status can still be set.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`].
    pub fn delete_logged_model(&self, model: ModelId) -> Result<Lsn> {
        self.append_event(LoggedModelDeleted { model, at_ms: self.now().0 })
    }
}
