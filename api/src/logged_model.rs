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
    ///
    /// ```
    /// use runlode::{LoggedModelSpec, LoggedModelStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::new())?;
    /// assert_eq!(model.info()?.status, LoggedModelStatus::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name; names need not be unique.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// assert_eq!(digits.create_logged_model(LoggedModelSpec::named("mlp"))?.info()?.name, "mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Type of the model, free text. Default: empty.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::named("mlp").model_type("classifier"))?;
    /// assert_eq!(model.info()?.model_type, "classifier");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn model_type(mut self, model_type: impl Into<String>) -> Self {
        self.model_type = model_type.into();
        self
    }

    /// The run that produced it.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let spec = LoggedModelSpec::named("mlp").source_run(run.id());
    /// let model = store.experiment("digits")?.create_logged_model(spec)?;
    /// assert_eq!(model.info()?.source_run, run.id().to_string());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn source_run(mut self, run: RunId) -> Self {
        self.source_run = run.to_string();
        self
    }

    /// Location of its files. Default: below its experiment's.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::named("mlp").artifact_location("s3://models/mlp"))?;
    /// assert_eq!(model.artifact_place()?, "s3://models/mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }

    /// Adds a param.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::named("mlp").param("hidden", "16"))?;
    /// assert_eq!(model.info()?.params, [("hidden".to_owned(), "16".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn param(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((key.into(), value.into()));
        self
    }

    /// Adds a tag.
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::named("mlp").tag("kind", "mlp"))?;
    /// assert_eq!(model.info()?.tags, [("kind".to_owned(), "mlp".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// let model = store.create_logged_model(digits, LoggedModelSpec::named("mlp"))?;
    /// assert_eq!(store.snapshot()?.logged_model(model)?.expect("made above").name, "mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use runlode::LoggedModelStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// # let model = store.create_logged_model(digits, runlode::LoggedModelSpec::named("mlp"))?;
    /// store.finalize_logged_model(model, LoggedModelStatus::Ready)?;
    /// assert_eq!(store.snapshot()?.logged_model(model)?.expect("made above").status, LoggedModelStatus::Ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finalize_logged_model(&self, model: ModelId, status: LoggedModelStatus) -> Result<Lsn> {
        self.append_event(LoggedModelFinalized { model, status, at_ms: self.now().0 })
    }

    /// Sets tags of a logged model.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// # let model = store.create_logged_model(digits, runlode::LoggedModelSpec::named("mlp"))?;
    /// store.set_logged_model_tags(model, &[("kind", "mlp")])?;
    /// assert_eq!(store.snapshot()?.logged_model(model)?.expect("made above").tags[0].1, "mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_logged_model_tags<K: AsRef<str>, V: AsRef<str>>(&self, model: ModelId, tags: &[(K, V)]) -> Result<Lsn> {
        self.append_event(LoggedModelTagsSet { model, tags: owned(tags) })
    }

    /// Deletes a tag of a logged model.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], also if there is no such tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// # let model = store.create_logged_model(digits, runlode::LoggedModelSpec::named("mlp"))?;
    /// store.set_logged_model_tags(model, &[("kind", "mlp")])?;
    /// store.delete_logged_model_tag(model, "kind")?;
    /// assert!(store.delete_logged_model_tag(model, "kind").is_err(), "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_logged_model_tag(&self, model: ModelId, key: &str) -> Result<Lsn> {
        self.append_event(LoggedModelTagDeleted { model, key: key.to_owned() })
    }

    /// Logs params of a logged model. A key that it already has is an error, even with the same value.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], [`crate::Error::AlreadyExists`], [`crate::Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// # let model = store.create_logged_model(digits, runlode::LoggedModelSpec::named("mlp"))?;
    /// store.log_logged_model_params(model, &[("hidden", "16")])?;
    /// assert!(store.log_logged_model_params(model, &[("hidden", "16")]).is_err(), "it has this key");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use runlode::Lifecycle;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// # let model = store.create_logged_model(digits, runlode::LoggedModelSpec::named("mlp"))?;
    /// store.delete_logged_model(model)?;
    /// assert_eq!(store.snapshot()?.logged_model(model)?.expect("made above").lifecycle, Lifecycle::Deleted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_logged_model(&self, model: ModelId) -> Result<Lsn> {
        self.append_event(LoggedModelDeleted { model, at_ms: self.now().0 })
    }
}
