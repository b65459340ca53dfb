//! Calls on experiments.

use runlode_engine::entity::Lifecycle;
use runlode_engine::event::{
    ExperimentDeleted, ExperimentRenamed, ExperimentRestored, ExperimentTagDeleted, ExperimentTagsSet,
};
use runlode_engine::{EntityKind, Error, ExperimentId, Lsn, Result};

use super::LocalStore;
use crate::experiment::{ExperimentSpec, owned};

impl LocalStore {
    /// Creates an experiment from its name, or from an [`ExperimentSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the name is taken, even by a deleted experiment; [`Error::Invalid`] for a bad name
    /// or tag.
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
                // Another thread took the name or the number meanwhile: check which.
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The experiment with this name; created if there is none. However many threads race for a name, all get the same
    /// id.
    ///
    /// # Errors
    /// [`Error::Deleted`] if the experiment with this name is deleted; otherwise those of
    /// [`LocalStore::create_experiment`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let id = store.get_or_create_experiment("digits")?;
    /// assert_eq!(store.get_or_create_experiment("digits")?, id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Renames an experiment.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the name is taken, [`Error::Deleted`], [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// store.rename_experiment(digits, "mnist")?;
    /// assert_eq!(store.snapshot()?.experiment(digits)?.expect("made above").name, "mnist");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename_experiment(&self, experiment: ExperimentId, name: &str) -> Result<Lsn> {
        self.append_event(ExperimentRenamed { experiment, name: name.to_owned(), at_ms: self.now().0 })
    }

    /// Sets tags of an experiment; of equal keys the last one wins.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::NotFound`], [`Error::Invalid`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// store.set_experiment_tags(digits, &[("team", "vision")])?;
    /// assert_eq!(store.snapshot()?.experiment(digits)?.expect("made above").tags[0].1, "vision");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// [`Error::NotFound`], also if there is no such tag; [`Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// store.set_experiment_tags(digits, &[("team", "vision")])?;
    /// store.delete_experiment_tag(digits, "team")?;
    /// assert!(store.snapshot()?.experiment(digits)?.expect("made above").tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_experiment_tag(&self, experiment: ExperimentId, key: &str) -> Result<Lsn> {
        self.append_event(ExperimentTagDeleted { experiment, key: key.to_owned() })
    }

    /// Deletes an experiment and all its runs. [`LocalStore::restore_experiment`] undoes it.
    ///
    /// # Errors
    /// [`Error::NotFound`], also if it is deleted already.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// store.delete_experiment(digits)?;
    /// assert!(store.get_or_create_experiment("digits").is_err(), "its name stays taken");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_experiment(&self, experiment: ExperimentId) -> Result<Lsn> {
        self.append_event(ExperimentDeleted { experiment, at_ms: self.now().0 })
    }

    /// Restores an experiment and **all** its runs, including those deleted one by one before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// store.delete_experiment(digits)?;
    /// store.restore_experiment(digits)?;
    /// assert_eq!(store.get_or_create_experiment("digits")?, digits);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore_experiment(&self, experiment: ExperimentId) -> Result<Lsn> {
        self.append_event(ExperimentRestored { experiment, at_ms: self.now().0 })
    }
}
