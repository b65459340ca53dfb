//! Logged models: models that a run produced, with their own params and tags.

use super::{owned, place};
use crate::info::LoggedModelInfo;
use crate::shared::{Asks, Shared};
use crate::{LoggedModelStatus, ModelId, Result};

/// A logged model of a store. Cloning is cheap.
///
/// ```
/// use runlode::{LoggedModelSpec, LoggedModelStatus, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let model = store.experiment("digits")?.create_logged_model(LoggedModelSpec::named("mlp").param("hidden", "16"))?;
/// model.set_tags(&[("kind", "mlp")])?;
/// model.finalize(LoggedModelStatus::Ready)?;
/// assert_eq!(store.logged_model(model.id())?.info()?.status, LoggedModelStatus::Ready);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoggedModel {
    shared: Shared,
    id: ModelId,
}

impl LoggedModel {
    pub(super) fn new(shared: Shared, id: ModelId) -> Self {
        Self { shared, id }
    }

    /// Id of the logged model.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// assert_eq!(store.logged_model(model.id())?.info()?.name, "mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// Reads its current state.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// use runlode::LoggedModelStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// let info = model.info()?;
    /// assert_eq!((info.name.as_str(), info.status), ("mlp", LoggedModelStatus::Pending));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> Result<LoggedModelInfo> {
        self.shared.logged_model_info(self.id)
    }

    /// Sets its status, once its files are uploaded or have failed to upload.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// use runlode::LoggedModelStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// model.finalize(LoggedModelStatus::Ready)?;
    /// assert_eq!(model.info()?.status, LoggedModelStatus::Ready);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn finalize(&self, status: LoggedModelStatus) -> Result<()> {
        self.shared.finalize_logged_model(self.id, status).map(drop)
    }

    /// Logs params. A key that it already has is an error, even with the same value.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists), [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// model.log_params(&[("hidden", "16")])?;
    /// assert!(model.log_params(&[("hidden", "16")]).is_err(), "it has this key");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_params(&self, params: &[(&str, &str)]) -> Result<()> {
        self.shared.log_logged_model_params(self.id, &owned(params)).map(drop)
    }

    /// Sets tags.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// model.set_tags(&[("kind", "mlp")])?;
    /// assert_eq!(model.info()?.tags, [("kind".to_owned(), "mlp".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<()> {
        self.shared.set_logged_model_tags(self.id, &owned(tags)).map(drop)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), also if there is no such tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// model.set_tags(&[("kind", "mlp")])?;
    /// model.delete_tag("kind")?;
    /// assert!(model.info()?.tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_tag(&self, key: &str) -> Result<()> {
        self.shared.delete_logged_model_tag(self.id, key).map(drop)
    }

    /// Deletes the model: it is hidden, but its tags and status can still be set. Its files stay.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// model.delete()?;
    /// assert!(model.info()?.deleted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.shared.delete_logged_model(self.id).map(drop)
    }

    /// Location of its files: a path, or a URI.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// assert!(model.artifact_place()?.ends_with(&format!("artifacts/1/models/{}/artifacts", model.id())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_place(&self) -> Result<String> {
        let info = self.info()?;
        match info.artifact_location {
            Some(own) => Ok(self.shared.settings().places.rendered(&own)),
            None => place::below_experiment(&self.shared, info.experiment, &format!("models/{}/artifacts", self.id)),
        }
    }
}
