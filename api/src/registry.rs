//! The model registry: registered models, their versions, stages and aliases.
//!
//! Calls take names. A decision that depends on the current state (the next version number, the versions in a stage) is
//! made on a snapshot and appended with the position it was read at; if another change came first, it is made again.

use std::sync::Arc;

use runlode_engine::entity::{EntityKey, ModelVersionState, RegisteredModelState};
use runlode_engine::event::{
    AliasDeleted, AliasSet, KeyValue, ModelVersionCreated, ModelVersionDeleted, ModelVersionStageChanged,
    ModelVersionTagDeleted, ModelVersionTagsSet, ModelVersionUpdated, RegisteredModelCreated, RegisteredModelDeleted,
    RegisteredModelRenamed, RegisteredModelTagDeleted, RegisteredModelTagsSet, RegisteredModelUpdated, Stage,
    VersionStatus,
};
use runlode_engine::{Batch, Durability, EntityKind, Error, ModelId, RegisteredModelId, Result, RunId, Snapshot};

use crate::experiment::owned;
use crate::{LocalStore, new_registered_model_id};

/// Attributes of a new registered model.
///
/// ```
/// use runlode::RegisteredModelSpec;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let spec = RegisteredModelSpec::named("fraud").description("card payments").tag("team", "risk");
/// assert_eq!(store.create_registered_model(spec)?.info()?.tags, [("team".to_owned(), "risk".to_owned())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RegisteredModelSpec {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<KeyValue>,
}

impl From<&str> for RegisteredModelSpec {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl RegisteredModelSpec {
    /// Sets the name, which is unique in the store.
    ///
    /// ```
    /// use runlode::RegisteredModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert_eq!(store.create_registered_model(RegisteredModelSpec::named("fraud"))?.name(), "fraud");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets the description.
    ///
    /// ```
    /// use runlode::RegisteredModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let fraud = store.create_registered_model(RegisteredModelSpec::named("fraud").description("card payments"))?;
    /// assert_eq!(fraud.info()?.description.as_deref(), Some("card payments"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a tag.
    ///
    /// ```
    /// use runlode::RegisteredModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let fraud = store.create_registered_model(RegisteredModelSpec::named("fraud").tag("team", "risk"))?;
    /// assert_eq!(fraud.info()?.tags, [("team".to_owned(), "risk".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}

/// Attributes of a new version.
///
/// ```
/// use runlode::{Stage, LocalStore, VersionSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// store.create_registered_model("fraud")?;
/// let first = store.create_version("fraud", VersionSpec::from_source("s3://models/a"))?;
/// let second = store.create_version("fraud", VersionSpec::from_source("s3://models/b"))?;
/// store.transition_stage("fraud", first, Stage::Production, false)?;
/// store.transition_stage("fraud", second, Stage::Production, true)?;
/// store.set_alias("fraud", "champion", second)?;
///
/// let snapshot = store.snapshot()?;
/// let (id, model) = snapshot.registered_model("fraud")?.expect("made above");
/// assert_eq!(model.aliases, [("champion".to_owned(), 2)]);
/// assert_eq!(snapshot.model_version(id, first)?.expect("made above").stage, Stage::Archived);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct VersionSpec {
    pub(crate) source: String,
    /// Ids as given: run and model need not exist.
    pub(crate) run: Option<String>,
    pub(crate) run_link: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) storage_location: Option<String>,
    pub(crate) tags: Vec<KeyValue>,
}

impl VersionSpec {
    /// A version made from a path, a URI, or `models:/m-...`.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
    /// assert_eq!(fraud.version(version)?.source, "s3://models/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_source(source: impl Into<String>) -> Self {
        Self { source: source.into(), ..Self::default() }
    }

    /// A version made from a logged model.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
    /// let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_model(model.id()))?;
    /// assert_eq!(fraud.version(version)?.model, Some(model.id().to_string()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_model(model: ModelId) -> Self {
        Self { source: format!("models:/{model}"), model: Some(model.to_string()), ..Self::default() }
    }

    /// The run that produced it.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_source("s3://models/a").run(run.id()))?;
    /// assert_eq!(fraud.version(version)?.run, Some(run.id().to_string()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(mut self, run: RunId) -> Self {
        self.run = Some(run.to_string());
        self
    }

    /// The user who created it.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_source("s3://models/a").user("ada"))?;
    /// assert_eq!(fraud.version(version)?.user.as_deref(), Some("ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the description.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_source("s3://models/a").description("May's data"))?;
    /// assert_eq!(fraud.version(version)?.description.as_deref(), Some("May's data"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Location of its files, if the source does not name it.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let spec = VersionSpec::from_source("models:/m-5f2c").storage_location("s3://models/mlp");
    /// fraud.create_version(spec)?;
    /// assert_eq!(store.mlflow().model_version_download_uri("fraud", "1")?, "s3://models/mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn storage_location(mut self, location: impl Into<String>) -> Self {
        self.storage_location = Some(location.into());
        self
    }

    /// Adds a tag.
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let version = fraud.create_version(VersionSpec::from_source("s3://models/a").tag("checked", "yes"))?;
    /// assert_eq!(fraud.version(version)?.tags, [("checked".to_owned(), "yes".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}

impl LocalStore {
    /// Creates a registered model from its name, or from a [`RegisteredModelSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// assert!(store.create_registered_model("fraud").is_err(), "the name is taken");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_registered_model(&self, spec: impl Into<RegisteredModelSpec>) -> Result<RegisteredModelId> {
        let RegisteredModelSpec { name, description, tags } = spec.into();
        let model = new_registered_model_id()?;
        let now_ms = self.now().0;
        self.append_event(RegisteredModelCreated {
            model,
            name,
            description,
            creation_time_ms: now_ms,
            last_updated_time_ms: now_ms,
            tags,
        })?;
        Ok(model)
    }

    /// Creates the next version of a registered model: the highest number ever used in it, plus 1.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the model, [`Error::Invalid`].
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// assert_eq!(store.create_version("fraud", VersionSpec::from_source("s3://models/a"))?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_version(&self, name: &str, spec: VersionSpec) -> Result<u32> {
        self.decide(name, |_, model, state| {
            let (batch, version) = self.next_version(model, state, spec.clone())?;
            Ok((batch, version))
        })
    }

    /// The batch that creates the next version of a model, and its number. It is refused if the model changes
    /// meanwhile.
    pub(crate) fn next_version(
        &self,
        model: RegisteredModelId,
        state: &RegisteredModelState,
        spec: VersionSpec,
    ) -> Result<(Batch, u32)> {
        let version = state.version_last.checked_add(1).ok_or_else(|| {
            Error::invalid("model version", format!("`{}` has used every version number", state.name))
        })?;
        let now_ms = self.now().0;
        let batch = Batch::new().event(ModelVersionCreated {
            model,
            version,
            source: spec.source,
            storage_location: spec.storage_location,
            run_id: spec.run,
            run_link: spec.run_link,
            model_id: spec.model,
            user_id: spec.user,
            description: spec.description,
            stage: Stage::None,
            status: VersionStatus::Ready,
            status_message: None,
            creation_time_ms: now_ms,
            last_updated_time_ms: now_ms,
            tags: spec.tags,
        });
        Ok((batch.expect(EntityKey::RegisteredModel(model), state.last), version))
    }

    /// Moves a version to a stage. With `archive_existing`, every other version of that stage is archived in the same
    /// step.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for `archive_existing` with a stage other than Staging and Production.
    ///
    /// ```
    /// use runlode::Stage;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.transition_stage("fraud", version, Stage::Production, true)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transition_stage(&self, name: &str, version: u32, stage: Stage, archive_existing: bool) -> Result<()> {
        if archive_existing && !matches!(stage, Stage::Staging | Stage::Production) {
            let stage: &str = stage.into();
            let why = format!("cannot archive existing versions of `{stage}`: give Staging or Production");
            return Err(Error::invalid("archive_existing", why));
        }
        self.decide_on_version(name, version, |snapshot, model, state, _| {
            let at_ms = self.now().0;
            let mut batch = Batch::new().event(ModelVersionStageChanged { model, version, stage, at_ms });
            if archive_existing {
                for other in state.versions.iter().copied().filter(|other| *other != version) {
                    let found = snapshot.model_version(model, other)?;
                    if found.is_some_and(|other| !other.deleted && other.stage == stage) {
                        let stage = Stage::Archived;
                        batch.push_event(ModelVersionStageChanged { model, version: other, stage, at_ms });
                    }
                }
                batch = batch.expect(EntityKey::RegisteredModel(model), state.last);
            }
            Ok(batch)
        })
    }

    /// Sets an alias, or moves it to another version.
    ///
    /// # Errors
    /// [`Error::NotFound`] for model or version, [`Error::Invalid`] for the alias.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.set_alias("fraud", "champion", version)?;
    /// let (_, fraud) = store.snapshot()?.registered_model("fraud")?.expect("made above");
    /// assert_eq!(fraud.aliases, [("champion".to_owned(), version)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_alias(&self, name: &str, alias: &str, version: u32) -> Result<()> {
        self.decide_on_version(name, version, |_, model, _, _| {
            Ok(Batch::new().event(AliasSet { model, alias: alias.to_owned(), version }))
        })
    }

    /// Deletes an alias; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the model.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.set_alias("fraud", "champion", version)?;
    /// store.delete_alias("fraud", "champion")?;
    /// assert!(store.snapshot()?.registered_model("fraud")?.expect("made above").1.aliases.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_alias(&self, name: &str, alias: &str) -> Result<()> {
        self.decide(name, |_, model, state| {
            let mut batch = Batch::new();
            if state.aliases.iter().any(|(known, _)| known == alias) {
                batch.push_event(AliasDeleted { model, alias: alias.to_owned() });
            }
            Ok((batch, ()))
        })
    }

    /// Sets tags of a registered model.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// store.set_registered_model_tags("fraud", &[("team", "risk")])?;
    /// assert_eq!(store.snapshot()?.registered_model("fraud")?.expect("made above").1.tags.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_registered_model_tags<K: AsRef<str>, V: AsRef<str>>(&self, name: &str, tags: &[(K, V)]) -> Result<()> {
        self.decide(name, |_, model, _| {
            Ok((Batch::new().event(RegisteredModelTagsSet { model, tags: owned(tags) }), ()))
        })
    }

    /// Deletes a tag of a registered model; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the model.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// store.set_registered_model_tags("fraud", &[("team", "risk")])?;
    /// store.delete_registered_model_tag("fraud", "team")?;
    /// assert!(store.snapshot()?.registered_model("fraud")?.expect("made above").1.tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<()> {
        self.decide(name, |_, model, state| {
            let mut batch = Batch::new();
            if state.tags.iter().any(|(known, _)| known == key) {
                batch.push_event(RegisteredModelTagDeleted { model, key: key.to_owned() });
            }
            Ok((batch, ()))
        })
    }

    /// Sets tags of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.set_version_tags("fraud", version, &[("checked", "yes")])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_version_tags<K: AsRef<str>, V: AsRef<str>>(
        &self,
        name: &str,
        version: u32,
        tags: &[(K, V)],
    ) -> Result<()> {
        self.decide_on_version(name, version, |_, model, _, _| {
            Ok(Batch::new().event(ModelVersionTagsSet { model, version, tags: owned(tags) }))
        })
    }

    /// Deletes a tag of a version; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for model or version.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.set_version_tags("fraud", version, &[("checked", "yes")])?;
    /// store.delete_version_tag("fraud", version, "checked")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_version_tag(&self, name: &str, version: u32, key: &str) -> Result<()> {
        self.decide_on_version(name, version, |_, model, _, found| {
            let mut batch = Batch::new();
            if found.tags.iter().any(|(known, _)| known == key) {
                batch.push_event(ModelVersionTagDeleted { model, version, key: key.to_owned() });
            }
            Ok(batch)
        })
    }

    /// Sets a registered model's description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// store.describe_registered_model("fraud", Some("card payments"))?;
    /// let (_, fraud) = store.snapshot()?.registered_model("fraud")?.expect("made above");
    /// assert_eq!(fraud.description.as_deref(), Some("card payments"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe_registered_model(&self, name: &str, description: Option<&str>) -> Result<()> {
        self.decide(name, |_, model, _| {
            let description = description.map(str::to_owned);
            Ok((Batch::new().event(RegisteredModelUpdated { model, description, at_ms: self.now().0 }), ()))
        })
    }

    /// Sets a version's description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.describe_version("fraud", version, Some("trained on May's data"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe_version(&self, name: &str, version: u32, description: Option<&str>) -> Result<()> {
        self.decide_on_version(name, version, |_, model, _, _| {
            let description = description.map(str::to_owned);
            Ok(Batch::new().event(ModelVersionUpdated { model, version, description, at_ms: self.now().0 }))
        })
    }

    /// Renames a registered model; versions, tags and aliases follow.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlreadyExists`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// store.rename_registered_model("fraud", "payments")?;
    /// assert!(store.snapshot()?.registered_model("payments")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<()> {
        self.decide(name, |_, model, _| {
            let event = RegisteredModelRenamed { model, name: new_name.to_owned(), at_ms: self.now().0 };
            Ok((Batch::new().event(event), ()))
        })
    }

    /// Deletes a version and its aliases. Its number stays used.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// # let version = store.create_version("fraud", runlode::VersionSpec::from_source("s3://models/a"))?;
    /// store.delete_version("fraud", version)?;
    /// assert_eq!(store.create_version("fraud", VersionSpec::from_source("s3://models/b"))?, version + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_version(&self, name: &str, version: u32) -> Result<()> {
        self.decide_on_version(name, version, |_, model, _, _| {
            Ok(Batch::new().event(ModelVersionDeleted { model, version, at_ms: self.now().0 }))
        })
    }

    /// Deletes a registered model with its versions. Its name is then free again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # store.create_registered_model("fraud")?;
    /// store.delete_registered_model("fraud")?;
    /// store.create_registered_model("fraud")?; // the name is free again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_registered_model(&self, name: &str) -> Result<()> {
        self.decide(name, |_, model, _| Ok((Batch::new().event(RegisteredModelDeleted { model }), ())))
    }

    /// Decides on a snapshot and appends; repeats both if the state behind the decision changed meanwhile. An empty
    /// batch is not appended.
    pub(crate) fn decide<T, E: From<Error>>(
        &self,
        name: &str,
        decide: impl Fn(&Snapshot, RegisteredModelId, &RegisteredModelState) -> Result<(Batch, T), E>,
    ) -> Result<T, E> {
        let mut vanished = false;
        loop {
            let snapshot = self.snapshot_of_entities()?;
            let (model, state) = find(&snapshot, name)?;
            let (batch, answer) = decide(&snapshot, model, &state)?;
            if batch.events_count() == 0 {
                return Ok(answer);
            }
            match self.append(batch, Durability::Sync) {
                Ok(_) => return Ok(answer),
                Err(Error::Conflict { .. }) => {}
                // Deleted meanwhile: the next try finds nothing, and reports it by name.
                Err(Error::NotFound { .. }) if !vanished => vanished = true,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As [`LocalStore::decide`], for an existing version.
    fn decide_on_version(
        &self,
        name: &str,
        version: u32,
        decide: impl Fn(&Snapshot, RegisteredModelId, &RegisteredModelState, &ModelVersionState) -> Result<Batch>,
    ) -> Result<()> {
        self.decide(name, |snapshot, model, state| {
            let found = snapshot.model_version(model, version)?.filter(|found| !found.deleted);
            let found = found.ok_or_else(|| version_absent(name, version))?;
            Ok((decide(snapshot, model, state, &found)?, ()))
        })
    }
}

/// The error for a version that does not exist.
pub(crate) fn version_absent(name: &str, version: u32) -> Error {
    Error::NotFound { entity: EntityKind::ModelVersion, id: format!("{name}/{version}") }
}

/// A registered model by name.
pub(crate) fn find(snapshot: &Snapshot, name: &str) -> Result<(RegisteredModelId, Arc<RegisteredModelState>)> {
    let found = snapshot.registered_model(name)?.filter(|(_, state)| !state.deleted);
    found.ok_or_else(|| Error::NotFound { entity: EntityKind::RegisteredModel, id: name.to_owned() })
}
