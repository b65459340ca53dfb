//! Experiments: named groups of runs.

use super::{LoggedModel, Run, Search, owned, place};
use crate::info::ExperimentInfo;
use crate::shared::{Asks, Shared};
use crate::{ExperimentId, LoggedModelSpec, Result, RunSpec};

/// An experiment of a store. Cloning is cheap.
///
/// ```
/// use runlode::{RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let digits = store.experiment("digits")?;
/// digits.create_run(RunSpec::named("trial-17"))?;
/// digits.set_tags(&[("team", "vision")])?;
/// digits.rename("numbers")?;
/// assert_eq!(digits.info()?.name, "numbers");
/// assert_eq!(digits.search_runs("attributes.name = 'trial-17'").find()?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Experiment {
    shared: Shared,
    id: ExperimentId,
}

impl Experiment {
    pub(super) fn new(shared: Shared, id: ExperimentId) -> Self {
        Self { shared, id }
    }

    /// Id of the experiment.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// assert_eq!(store.experiment_by_id(digits.id())?.info()?.name, "digits");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> ExperimentId {
        self.id
    }

    /// Reads its current state.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let info = digits.info()?;
    /// assert_eq!((info.name.as_str(), info.deleted), ("digits", false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> Result<ExperimentInfo> {
        self.shared.experiment_info(self.id)
    }

    /// Creates a run that this process logs to: if the process goes away without ending it, the run counts as lost.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted) for the experiment; [`Error::Invalid`](crate::Error::Invalid) for bad
    /// tags, or if the name and the tag `mlflow.runName` differ; [`Error::AlreadyExists`](crate::Error::AlreadyExists)
    /// for a given id.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::named("trial-17").user("ada"))?;
    /// assert_eq!(run.info()?.name, "trial-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_run(&self, spec: RunSpec) -> Result<Run> {
        let id = self.shared.make_run(self.id, &spec)?;
        Ok(Run::new(self.shared.clone(), id))
    }

    /// Creates a logged model with status pending.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted) for the experiment; [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let model = digits.create_logged_model(LoggedModelSpec::named("mlp").param("hidden", "16"))?;
    /// assert_eq!(model.info()?.experiment, digits.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_logged_model(&self, spec: LoggedModelSpec) -> Result<LoggedModel> {
        let id = self.shared.make_logged_model(self.id, &spec)?;
        Ok(LoggedModel::new(self.shared.clone(), id))
    }

    /// Searches its runs: see [`Store::search_runs`](crate::Store::search_runs).
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::named("trial-17"))?;
    /// store.experiment("letters")?.create_run(RunSpec::named("trial-17"))?;
    /// let found = digits.search_runs("name = 'trial-17'").find()?;
    /// assert_eq!((found.len(), found[0].id), (1, run.id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn search_runs(&self, filter: &str) -> Search {
        Search::new(self.shared.clone(), filter).experiment(self.id)
    }

    /// Renames the experiment.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.rename("mnist")?;
    /// assert_eq!(store.experiment("mnist")?.id(), digits.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename(&self, name: &str) -> Result<()> {
        self.shared.rename_experiment(self.id, name).map(drop)
    }

    /// Sets tags; of equal keys the last one wins.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted), [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.set_tags(&[("team", "vision")])?;
    /// assert_eq!(digits.info()?.tags, [("team".to_owned(), "vision".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<()> {
        self.shared.set_experiment_tags(self.id, &owned(tags)).map(drop)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), also if there is no such tag.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.set_tags(&[("team", "vision")])?;
    /// digits.delete_tag("team")?;
    /// assert!(digits.info()?.tags.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_tag(&self, key: &str) -> Result<()> {
        self.shared.delete_experiment_tag(self.id, key).map(drop)
    }

    /// Deletes the experiment and all its runs; [`Experiment::restore`] undoes it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), also if it is deleted already.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.delete()?;
    /// assert!(digits.info()?.deleted);
    /// assert!(store.experiment("digits").is_err(), "its name stays taken");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.shared.delete_experiment(self.id).map(drop)
    }

    /// Restores the experiment and **all** its runs, including those deleted one by one before.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.delete()?;
    /// digits.restore()?;
    /// assert!(!digits.info()?.deleted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(&self) -> Result<()> {
        self.shared.restore_experiment(self.id).map(drop)
    }

    /// Location of its artifacts; each run has its own location below it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// assert!(digits.artifact_place()?.ends_with("artifacts/1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_place(&self) -> Result<String> {
        place::of_experiment(&self.shared, self.id)
    }
}
