//! Experiments: named groups of runs.
//!
//! Ids count up from 1 (0 is `Default`): the next one is the highest below [`SEQUENTIAL_END`] + 1. Ids from there on
//! are random ones of writers that did not hold the store.

use runlode_engine::entity::Lifecycle;
use runlode_engine::event::{
    ExperimentCreated, ExperimentDeleted, ExperimentRenamed, ExperimentRestored, ExperimentTagDeleted,
    ExperimentTagsSet, KeyValue,
};
use runlode_engine::{EntityKind, Error, ExperimentId, Lsn, Result, Snapshot, StoreId, TimestampMs};

use crate::LocalStore;
use crate::random::random_bytes;

/// First id that is not given by counting: random ids have 18 digits.
pub(crate) const SEQUENTIAL_END: u64 = 100_000_000_000_000_000;

/// Where ids of 18 digits end.
const RANDOM_END: u64 = 10 * SEQUENTIAL_END;

/// How the tags begin that say which experiment of another store this one is: see [`crate::sync`].
pub(crate) const SOURCE_TAG: &str = "runlode.source.";

/// How the tags begin in which an import notes which experiment or registered model of a database this one is.
pub const IMPORT_TAG: &str = "runlode.import.";

/// The actor of what an import of another tracking store brings.
pub const IMPORT_ACTOR: &str = "import";

/// Whether a tag only says where an entity came from. MLflow's clients never set such tags and do not see them.
pub fn is_origin_tag(key: &str) -> bool {
    key.starts_with(SOURCE_TAG) || key.starts_with(IMPORT_TAG)
}

/// Tags without those of [`is_origin_tag`].
pub(crate) fn own_tags(tags: &[KeyValue]) -> Vec<KeyValue> {
    tags.iter().filter(|(key, _)| !is_origin_tag(key)).cloned().collect()
}

/// Tag of an experiment: the ids that it has in another store, with commas between.
pub(crate) fn source_tag(source: StoreId) -> String {
    format!("{SOURCE_TAG}{source}")
}

/// The experiment that another store knows by this random id: its name was taken here when it came. Such ids are given
/// once, so which store it was does not matter.
pub(crate) fn experiment_of_alias(snapshot: &Snapshot, alias: ExperimentId) -> Result<Option<ExperimentId>> {
    let alias = alias.to_string();
    let is_it = |(key, ids): &(String, String)| key.starts_with(SOURCE_TAG) && ids.split(',').any(|id| id == alias);
    Ok(snapshot.experiments()?.into_iter().find(|(_, state)| state.tags.iter().any(is_it)).map(|(id, _)| id))
}

/// What a new experiment is given.
///
/// ```
/// use runlode::{ExperimentSpec, LocalStore};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let id = store.create_experiment(ExperimentSpec::named("digits").tag("team", "vision"))?;
/// assert_eq!(store.snapshot()?.experiment(id)?.expect("just made").tags.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ExperimentSpec {
    pub(crate) name: String,
    pub(crate) artifact_location: Option<String>,
    pub(crate) tags: Vec<KeyValue>,
}

impl From<&str> for ExperimentSpec {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl ExperimentSpec {
    /// With a name, unique among active and deleted experiments.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Where its runs keep their artifacts. Default: below the store's own folder.
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }

    /// The number of the next experiment.
    pub(crate) fn next_id(snapshot: &Snapshot) -> Result<ExperimentId> {
        let ids = snapshot.experiments()?.into_iter().map(|(id, _)| id.0);
        Ok(ExperimentId(ids.filter(|id| *id < SEQUENTIAL_END).max().unwrap_or(0) + 1))
    }

    /// A number that nobody else gives.
    pub(crate) fn random_id() -> Result<ExperimentId> {
        let random = u64::from_le_bytes(random_bytes()?);
        Ok(ExperimentId(SEQUENTIAL_END + random % (RANDOM_END - SEQUENTIAL_END)))
    }

    pub(crate) fn into_event(self, experiment: ExperimentId, now: TimestampMs) -> ExperimentCreated {
        ExperimentCreated {
            experiment,
            name: self.name,
            artifact_location: self.artifact_location,
            creation_time_ms: now.0,
            last_update_time_ms: now.0,
            tags: self.tags,
        }
    }
}

impl LocalStore {
    /// Creates an experiment: by its name alone, or by an [`ExperimentSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the name is taken, also by a deleted experiment; [`Error::Invalid`] for a bad
    /// name or tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::open(&path)?;
    /// assert_eq!(store.create_experiment("digits")?.0, 1);
    /// assert!(store.create_experiment("digits").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_experiment(&self, spec: impl Into<ExperimentSpec>) -> Result<ExperimentId> {
        let spec = spec.into();
        loop {
            let snapshot = self.snapshot_of_entities()?;
            if snapshot.experiment_by_name(&spec.name)?.is_some() {
                return Err(Error::AlreadyExists { entity: EntityKind::Experiment, id: spec.name });
            }
            let id = self.next_experiment_id(&snapshot)?;
            match self.append_event(spec.clone().into_event(id, self.now())) {
                Ok(_) => return Ok(id),
                // Another thread took the name or the number in between: look again which.
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The experiment of this name; it is created when there is none. However many threads race for a name, all get
    /// the same id.
    ///
    /// # Errors
    /// [`Error::Deleted`] when the experiment of this name is deleted; else as [`LocalStore::create_experiment`].
    pub fn get_or_create_experiment(&self, name: &str) -> Result<ExperimentId> {
        loop {
            if let Some((id, state)) = self.snapshot_of_entities()?.experiment_by_name(name)? {
                return match state.lifecycle {
                    Lifecycle::Active => Ok(id),
                    _ => Err(Error::Deleted { entity: EntityKind::Experiment, id: name.to_owned() }),
                };
            }
            match self.create_experiment(name) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
    }

    /// Gives an experiment another name.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when the name is taken, [`Error::Deleted`], [`Error::NotFound`].
    pub fn rename_experiment(&self, experiment: ExperimentId, name: &str) -> Result<Lsn> {
        self.append_event(ExperimentRenamed { experiment, name: name.to_owned(), at_ms: self.now().0 })
    }

    /// Sets tags of an experiment; of equal keys the last one wins.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::NotFound`], [`Error::Invalid`].
    pub fn set_experiment_tags<K: AsRef<str>, V: AsRef<str>>(
        &self,
        experiment: ExperimentId,
        tags: &[(K, V)],
    ) -> Result<Lsn> {
        self.append_event(ExperimentTagsSet { experiment, tags: owned(tags) })
    }

    /// Deletes a tag of an experiment.
    ///
    /// # Errors
    /// [`Error::NotFound`] also when there is no such tag; [`Error::Deleted`].
    pub fn delete_experiment_tag(&self, experiment: ExperimentId, key: &str) -> Result<Lsn> {
        self.append_event(ExperimentTagDeleted { experiment, key: key.to_owned() })
    }

    /// Deletes an experiment and all its runs. [`LocalStore::restore_experiment`] takes it back.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`].
    pub fn delete_experiment(&self, experiment: ExperimentId) -> Result<Lsn> {
        self.append_event(ExperimentDeleted { experiment, at_ms: self.now().0 })
    }

    /// Restores an experiment and **all** its runs, also those deleted one by one before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn restore_experiment(&self, experiment: ExperimentId) -> Result<Lsn> {
        self.append_event(ExperimentRestored { experiment, at_ms: self.now().0 })
    }
}

/// Borrowed pairs as events hold them.
pub(crate) fn owned<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned())).collect()
}
