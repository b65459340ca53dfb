//! Experiments: named groups of runs.
//!
//! Ids count up from 1 (0 is `Default`): the next one is the highest below [`SEQUENTIAL_END`] + 1. Ids from there on
//! are random ones, given by writers that did not hold the store.

use runlode_engine::event::{ExperimentCreated, KeyValue};
use runlode_engine::{ExperimentId, Result, Snapshot, StoreId, TimestampMs};

pub(crate) use crate::random::SEQUENTIAL_END;
use crate::random::random_bytes;

/// End of the ids of 18 digits (exclusive).
const RANDOM_END: u64 = 10 * SEQUENTIAL_END;

/// Prefix of the tags that name the experiment of another store that this one is: see [`crate::sync`].
pub(crate) const SOURCE_TAG: &str = "runlode.source.";

/// Prefix of the tags by which an import records the experiment or registered model of a database that this one is.
pub const IMPORT_TAG: &str = "runlode.import.";

/// The actor of everything imported from another tracking store.
pub const IMPORT_ACTOR: &str = crate::engine::event::batch::IMPORT_ACTOR;

/// Whether a tag only says where an entity came from. MLflow's clients never set such tags and do not see them.
///
/// ```
/// assert!(runlode::is_origin_tag("runlode.import.database"));
/// assert!(!runlode::is_origin_tag("team"));
/// ```
pub fn is_origin_tag(key: &str) -> bool {
    key.starts_with(SOURCE_TAG) || key.starts_with(IMPORT_TAG)
}

/// Tags without those of [`is_origin_tag`].
pub(crate) fn own_tags(tags: &[KeyValue]) -> Vec<KeyValue> {
    tags.iter().filter(|(key, _)| !is_origin_tag(key)).cloned().collect()
}

/// Tag of an experiment that lists its ids in another store, separated by commas.
pub(crate) fn source_tag(source: StoreId) -> String {
    format!("{SOURCE_TAG}{source}")
}

/// The experiment that another store knows by this random id, because its name was taken here when it was synced. A
/// random id is given only once, so the other store need not be named.
pub(crate) fn experiment_of_alias(snapshot: &Snapshot, alias: ExperimentId) -> Result<Option<ExperimentId>> {
    let alias = alias.to_string();
    let is_it = |(key, ids): &(String, String)| key.starts_with(SOURCE_TAG) && ids.split(',').any(|id| id == alias);
    Ok(snapshot.experiments()?.into_iter().find(|(_, state)| state.tags.iter().any(is_it)).map(|(id, _)| id))
}

/// Attributes of a new experiment.
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
    /// Sets the name, which is unique among active and deleted experiments.
    ///
    /// ```
    /// use runlode::ExperimentSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let digits = store.create_experiment(ExperimentSpec::named("digits"))?;
    /// assert_eq!(digits.info()?.name, "digits");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a tag.
    ///
    /// ```
    /// use runlode::ExperimentSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let digits = store.create_experiment(ExperimentSpec::named("digits").tag("team", "vision"))?;
    /// assert_eq!(digits.info()?.tags, [("team".to_owned(), "vision".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Location of its runs' artifacts. Default: below the store's own folder.
    ///
    /// ```
    /// use runlode::ExperimentSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let digits = store.create_experiment(ExperimentSpec::named("digits").artifact_location("s3://team/digits"))?;
    /// assert_eq!(digits.artifact_place()?, "s3://team/digits");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }

    /// The id of the next experiment.
    pub(crate) fn next_id(snapshot: &Snapshot) -> Result<ExperimentId> {
        // A purged one's id is not given again.
        let ids = snapshot.experiments_ever()?.into_iter().map(|(id, _)| id.0);
        Ok(ExperimentId(ids.filter(|id| *id < SEQUENTIAL_END).max().unwrap_or(0) + 1))
    }

    /// A random id that no other writer gives.
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

/// Copies borrowed pairs into the form that events hold.
pub(crate) fn owned<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned())).collect()
}
