//! The model registry: registered models, their versions, stages and aliases.
//!
//! Calls take names, as people know them. What depends on the present state (the next version number, what is in a
//! stage) is decided on a snapshot and appended with the position it was read at; when somebody was faster, it is
//! decided again.

use std::sync::Arc;

use runlode_engine::entity::{EntityKey, RegisteredModelState};
use runlode_engine::event::{
    AliasDeleted, AliasSet, KeyValue, ModelVersionCreated, ModelVersionDeleted, ModelVersionStageChanged,
    ModelVersionTagDeleted, ModelVersionTagsSet, ModelVersionUpdated, RegisteredModelCreated, RegisteredModelDeleted,
    RegisteredModelRenamed, RegisteredModelTagDeleted, RegisteredModelTagsSet, RegisteredModelUpdated, Stage,
    VersionStatus,
};
use runlode_engine::{Batch, Durability, Error, Lsn, ModelId, RegisteredModelId, Result, RunId, Snapshot};

use crate::experiment::owned;
use crate::{LocalStore, new_registered_model_id};

/// What a new registered model is given.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RegisteredModelSpec {
    name: String,
    description: Option<String>,
    tags: Vec<KeyValue>,
}

impl From<&str> for RegisteredModelSpec {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl RegisteredModelSpec {
    /// With a name, unique in the store.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// With a description.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}

/// What a new version is given.
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
    source: String,
    run: Option<RunId>,
    model: Option<ModelId>,
    user: Option<String>,
    description: Option<String>,
    storage_location: Option<String>,
    tags: Vec<KeyValue>,
}

impl VersionSpec {
    /// From a place: a path, a URI, `models:/m-...`.
    pub fn from_source(source: impl Into<String>) -> Self {
        Self { source: source.into(), ..Self::default() }
    }

    /// From a logged model.
    pub fn from_model(model: ModelId) -> Self {
        Self { source: format!("models:/{model}"), model: Some(model), ..Self::default() }
    }

    /// The run that made it.
    pub fn run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Who made it.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// With a description.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Where its files are, when the source does not say it.
    pub fn storage_location(mut self, location: impl Into<String>) -> Self {
        self.storage_location = Some(location.into());
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }
}

impl LocalStore {
    /// Creates a registered model: by its name alone, or by a [`RegisteredModelSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Invalid`].
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
    pub fn create_version(&self, name: &str, spec: VersionSpec) -> Result<u32> {
        self.decide(name, |_, model, state| {
            let version = state
                .version_last
                .checked_add(1)
                .ok_or_else(|| Error::invalid("model version", format!("`{name}` has used every version number")))?;
            let now_ms = self.now().0;
            let spec = spec.clone();
            let batch = Batch::new().event(ModelVersionCreated {
                model,
                version,
                source: spec.source,
                storage_location: spec.storage_location,
                run_id: spec.run.map(|run| run.to_string()),
                run_link: None,
                model_id: spec.model.map(|model| model.to_string()),
                user_id: spec.user,
                description: spec.description,
                stage: Stage::None,
                status: VersionStatus::Ready,
                status_message: None,
                creation_time_ms: now_ms,
                last_updated_time_ms: now_ms,
                tags: spec.tags,
            });
            Ok((batch, version))
        })
    }

    /// Moves a version to a stage. With `archive_existing`, every other version of that stage is archived in the same
    /// step.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when asked to archive what is in no active stage.
    pub fn transition_stage(&self, name: &str, version: u32, stage: Stage, archive_existing: bool) -> Result<()> {
        if archive_existing && !matches!(stage, Stage::Staging | Stage::Production) {
            let stage: &str = stage.into();
            let why = format!("cannot archive existing versions of `{stage}`: give Staging or Production");
            return Err(Error::invalid("archive_existing", why));
        }
        self.decide(name, |snapshot, model, state| {
            let at_ms = self.now().0;
            let mut batch = Batch::new().event(ModelVersionStageChanged { model, version, stage, at_ms });
            if archive_existing {
                for other in state.versions.iter().copied().filter(|other| *other != version) {
                    if snapshot.model_version(model, other)?.is_some_and(|state| state.stage == stage) {
                        let stage = Stage::Archived;
                        batch = batch.event(ModelVersionStageChanged { model, version: other, stage, at_ms });
                    }
                }
            }
            Ok((batch, ()))
        })
    }

    /// Sets an alias, or moves it to another version.
    ///
    /// # Errors
    /// [`Error::NotFound`] for model or version, [`Error::Invalid`] for the alias.
    pub fn set_alias(&self, name: &str, alias: &str, version: u32) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(AliasSet { model, alias: alias.to_owned(), version })
    }

    /// Deletes an alias.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_alias(&self, name: &str, alias: &str) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(AliasDeleted { model, alias: alias.to_owned() })
    }

    /// Sets tags of a registered model.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn set_registered_model_tags(&self, name: &str, tags: &[(&str, &str)]) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(RegisteredModelTagsSet { model, tags: owned(tags) })
    }

    /// Deletes a tag of a registered model.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(RegisteredModelTagDeleted { model, key: key.to_owned() })
    }

    /// Sets tags of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`].
    pub fn set_version_tags(&self, name: &str, version: u32, tags: &[(&str, &str)]) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(ModelVersionTagsSet { model, version, tags: owned(tags) })
    }

    /// Deletes a tag of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_version_tag(&self, name: &str, version: u32, key: &str) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(ModelVersionTagDeleted { model, version, key: key.to_owned() })
    }

    /// Sets a registered model's description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn describe_registered_model(&self, name: &str, description: Option<&str>) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        let description = description.map(str::to_owned);
        self.append_event(RegisteredModelUpdated { model, description, at_ms: self.now().0 })
    }

    /// Sets a version's description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn describe_version(&self, name: &str, version: u32, description: Option<&str>) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        let description = description.map(str::to_owned);
        self.append_event(ModelVersionUpdated { model, version, description, at_ms: self.now().0 })
    }

    /// Gives a registered model another name; versions, tags and aliases follow.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::AlreadyExists`].
    pub fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(RegisteredModelRenamed { model, name: new_name.to_owned(), at_ms: self.now().0 })
    }

    /// Deletes a version and its aliases. Its number stays used.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_version(&self, name: &str, version: u32) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(ModelVersionDeleted { model, version, at_ms: self.now().0 })
    }

    /// Deletes a registered model with its versions. Its name is free again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_registered_model(&self, name: &str) -> Result<Lsn> {
        let model = self.registered_model_id(name)?;
        self.append_event(RegisteredModelDeleted { model })
    }

    fn registered_model_id(&self, name: &str) -> Result<RegisteredModelId> {
        Ok(find(&self.snapshot()?, name)?.0)
    }

    /// Decides on a snapshot and appends, as often as the model changes in between.
    fn decide<T>(
        &self,
        name: &str,
        decide: impl Fn(&Snapshot, RegisteredModelId, &RegisteredModelState) -> Result<(Batch, T)>,
    ) -> Result<T> {
        loop {
            let snapshot = self.snapshot()?;
            let (model, state) = find(&snapshot, name)?;
            let (batch, answer) = decide(&snapshot, model, &state)?;
            match self.append(batch.expect(EntityKey::RegisteredModel(model), state.last), Durability::Sync) {
                Ok(_) => return Ok(answer),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn find(snapshot: &Snapshot, name: &str) -> Result<(RegisteredModelId, Arc<RegisteredModelState>)> {
    let found = snapshot.registered_model(name)?;
    found.ok_or_else(|| Error::NotFound { entity: "registered model", id: name.to_owned() })
}
