//! The model registry: registered models, their versions, stages and aliases.

use super::owned;
use crate::info::{RegisteredModelInfo, VersionInfo};
use crate::shared::{Asks, Shared};
use crate::{AsOf, OnlyIf, Promotion, Result, Rollback, Stage, VersionSpec};

/// A registered model of a store, by its name. Cloning is cheap. Changes are refused in an offline process, with
/// [`Error::Unsupported`](crate::Error::Unsupported).
///
/// ```
/// use runlode::{Stage, Store, VersionSpec};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let fraud = store.create_registered_model("fraud")?;
/// let first = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
/// let second = fraud.create_version(VersionSpec::from_source("s3://models/b"))?;
/// fraud.transition_stage(first, Stage::Production, false)?;
/// fraud.transition_stage(second, Stage::Production, true)?;
/// fraud.set_alias("champion", second)?;
///
/// assert_eq!(store.registered_model("fraud")?.version_by_alias("champion")?.source, "s3://models/b");
/// assert_eq!(fraud.version(first)?.stage, Stage::Archived);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RegisteredModel {
    shared: Shared,
    name: String,
}

impl RegisteredModel {
    pub(super) fn new(shared: Shared, name: &str) -> Self {
        Self { shared, name: name.to_owned() }
    }

    /// The name under which this handle was opened.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// assert_eq!(fraud.name(), "fraud");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its current state.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// let info = fraud.info()?;
    /// assert_eq!((info.name.as_str(), info.versions), ("fraud", vec![version]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> Result<RegisteredModelInfo> {
        self.shared.registered_model_info(&self.name)
    }

    /// Creates the next version, the highest number ever used plus 1, and returns its number.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// assert_eq!(fraud.create_version(VersionSpec::from_source("s3://models/a").user("ada"))?, 1);
    /// assert_eq!(fraud.create_version(VersionSpec::from_source("s3://models/b"))?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_version(&self, spec: VersionSpec) -> Result<u32> {
        self.shared.make_version(&self.name, &spec)
    }

    /// Reads a version.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// assert_eq!(fraud.version(version)?.source, "s3://models/a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn version(&self, version: u32) -> Result<VersionInfo> {
        self.shared.version_info(&self.name, version)
    }

    /// All versions, by number.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// let numbers: Vec<u32> = fraud.versions()?.iter().map(|version| version.version).collect();
    /// assert_eq!(numbers, [version]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn versions(&self) -> Result<Vec<VersionInfo>> {
        self.shared.version_infos(&self.name)
    }

    /// The version that an alias names.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for the model or the alias.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.set_alias("champion", version)?;
    /// assert_eq!(fraud.version_by_alias("champion")?.version, version);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn version_by_alias(&self, alias: &str) -> Result<VersionInfo> {
        self.shared.version_by_alias(&self.name, alias)
    }

    /// Sets an alias, or moves it to another version.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid) for the alias.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.set_alias("champion", version)?;
    /// assert_eq!(fraud.info()?.aliases, [("champion".to_owned(), version)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_alias(&self, alias: &str, version: u32) -> Result<()> {
        self.shared.set_alias(&self.name, alias, version)
    }

    /// Moves an alias to a version, if the alias is where `only_if` says; the reason becomes a tag of the version,
    /// `runlode.promote.ALIAS`. One atomic step: of two callers who expect the same version, one succeeds.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid);
    /// [`Error::Unsupported`](crate::Error::Unsupported) in an offline process.
    ///
    /// ```
    /// use runlode::{OnlyIf, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
    /// assert!(fraud.promote(version, "champion", OnlyIf::Unset, Some("CR-1182"))?.met);
    /// assert_eq!(fraud.version(version)?.tags, [("runlode.promote.champion".to_owned(), "CR-1182".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn promote(&self, version: u32, alias: &str, only_if: OnlyIf, reason: Option<&str>) -> Result<Promotion> {
        self.shared.promote_if(&self.name, version, alias, only_if.number(), reason)
    }

    /// Gives the model the aliases and the stages of its versions that it had at a moment; the reason becomes its tag
    /// `runlode.rollback`. Descriptions, other tags and versions stay: versions made since are archived if they were in
    /// use. One atomic step.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if the model did not exist then; [`Error::Invalid`](crate::Error::Invalid)
    /// if an alias named a version that was deleted since.
    ///
    /// ```
    /// use runlode::{AsOf, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
    /// let before = store.mlflow().positions()?.published;
    /// fraud.set_alias("champion", version)?;
    /// fraud.roll_back(AsOf::Position(before), Some("it was slow"))?;
    /// assert!(fraud.info()?.aliases.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roll_back(&self, to: AsOf, reason: Option<&str>) -> Result<Rollback> {
        self.shared.roll_back(&self.name, to, reason, false)
    }

    /// What [`RegisteredModel::roll_back`] would do; changes nothing.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// let now = store.mlflow().positions()?.published;
    /// assert!(fraud.plan_roll_back(runlode::AsOf::Position(now))?.changes.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plan_roll_back(&self, to: AsOf) -> Result<Rollback> {
        self.shared.roll_back(&self.name, to, None, true)
    }

    /// Deletes an alias; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for the model.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.set_alias("champion", version)?;
    /// fraud.delete_alias("champion")?;
    /// assert!(fraud.version_by_alias("champion").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_alias(&self, alias: &str) -> Result<()> {
        self.shared.delete_alias(&self.name, alias)
    }

    /// Moves a version to a stage. With `archive_existing`, every other version of that stage is archived in the same
    /// step.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Error::Invalid`](crate::Error::Invalid) for `archive_existing`
    /// with a stage other than Staging and Production.
    ///
    /// ```
    /// use runlode::{Stage, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.transition_stage(version, Stage::Production, false)?;
    /// let next = fraud.create_version(VersionSpec::from_source("s3://models/b"))?;
    /// fraud.transition_stage(next, Stage::Production, true)?;
    /// assert_eq!(fraud.version(version)?.stage, Stage::Archived);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transition_stage(&self, version: u32, stage: Stage, archive_existing: bool) -> Result<()> {
        self.shared.transition_stage(&self.name, version, stage, archive_existing)
    }

    /// Sets its description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// fraud.describe(Some("card payments"))?;
    /// assert_eq!(fraud.info()?.description.as_deref(), Some("card payments"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe(&self, description: Option<&str>) -> Result<()> {
        self.shared.describe_registered_model(&self.name, description)
    }

    /// Sets a version's description; `None` clears it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.describe_version(version, Some("trained on May's data"))?;
    /// assert_eq!(fraud.version(version)?.description.as_deref(), Some("trained on May's data"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe_version(&self, version: u32, description: Option<&str>) -> Result<()> {
        self.shared.describe_version(&self.name, version, description)
    }

    /// Sets tags.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// fraud.set_tags(&[("team", "risk")])?;
    /// assert_eq!(fraud.info()?.tags, [("team".to_owned(), "risk".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<()> {
        self.shared.set_registered_model_tags(&self.name, &owned(tags))
    }

    /// Deletes a tag; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for the model.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// fraud.set_tags(&[("team", "risk")])?;
    /// fraud.delete_tag("team")?;
    /// assert!(fraud.info()?.tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_tag(&self, key: &str) -> Result<()> {
        self.shared.delete_registered_model_tag(&self.name, key)
    }

    /// Sets tags of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.set_version_tags(version, &[("checked", "yes")])?;
    /// assert_eq!(fraud.version(version)?.tags, [("checked".to_owned(), "yes".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_version_tags(&self, version: u32, tags: &[(&str, &str)]) -> Result<()> {
        self.shared.set_version_tags(&self.name, version, &owned(tags))
    }

    /// Deletes a tag of a version; a missing one is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for model or version.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.set_version_tags(version, &[("checked", "yes")])?;
    /// fraud.delete_version_tag(version, "checked")?;
    /// assert!(fraud.version(version)?.tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_version_tag(&self, version: u32, key: &str) -> Result<()> {
        self.shared.delete_version_tag(&self.name, version, key)
    }

    /// Renames the model; versions, tags and aliases follow. Returns the model under its new name.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::AlreadyExists`](crate::Error::AlreadyExists).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// let payments = fraud.rename("payments")?;
    /// assert_eq!(payments.version(version)?.source, "s3://models/a");
    /// assert!(store.registered_model("fraud").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename(&self, name: &str) -> Result<Self> {
        self.shared.rename_registered_model(&self.name, name)?;
        Ok(Self::new(self.shared.clone(), name))
    }

    /// Deletes a version and its aliases. Its number stays used.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// use runlode::VersionSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.delete_version(version)?;
    /// assert_eq!(fraud.create_version(VersionSpec::from_source("s3://models/b"))?, version + 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_version(&self, version: u32) -> Result<()> {
        self.shared.delete_version(&self.name, version)
    }

    /// Deletes the model with its versions. Its name is then free again.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let fraud = store.create_registered_model("fraud")?;
    /// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
    /// fraud.delete()?;
    /// store.create_registered_model("fraud")?; // a new one, without versions
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.shared.delete_registered_model(&self.name)
    }
}
