//! The main handle of a store, which works the same whichever process holds the files.

mod experiment;
mod history;
mod logged_model;
mod options;
mod place;
mod registry;
mod row;
mod run;
mod search;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use experiment::Experiment;
pub use history::History;
pub use logged_model::LoggedModel;
pub use options::Options;
pub use registry::RegisteredModel;
pub use row::Row;
pub use run::Run;
pub use search::{Found, Search};

use crate::info::{ExperimentInfo, Pair, RegisteredModelInfo};
use crate::shared::{Asks, MlflowCalls, Shared, Status};
use crate::{
    CompactOptions, CompactReport, Error, ExperimentId, ExperimentSpec, GcOptions, GcPlan, GcReport, LocalStore,
    ModelId, RegisteredModelSpec, Result, RunId,
};

/// An open store. Any number of processes may have the same one open: the first holds the files and answers the others.
/// Every call below works in each of them with the same answers, and with the same errors where a caller can do something
/// about them; damage and failures of the holder's disk reach other processes as [`Error::Refused`], with their text. When
/// the holder ends, one of the others takes over. Cloning is cheap; clones may be used from many threads.
///
/// ```
/// use runlode::{RunSpec, RunStatus, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
/// run.log_metrics(0, &[("loss", 2.3)])?;
/// run.end(RunStatus::Finished)?;
/// assert_eq!(store.run(run.id())?.latest("loss")?.expect("logged above").last.value, 2.3);
/// store.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Calls wait for a holder that does not answer for at most ten seconds, and then say [`Error::Unavailable`].
#[derive(Debug, Clone)]
pub struct Store {
    shared: Shared,
}

impl From<Store> for crate::RawStore {
    fn from(store: Store) -> Self {
        Self::somewhere(store.shared)
    }
}

/// Copies borrowed pairs into the form that calls take.
fn owned(pairs: &[(&str, &str)]) -> Vec<Pair> {
    crate::experiment::owned(pairs)
}

impl Store {
    /// Opens the store in a folder, or makes one there. A process has one seat at a store, however often it opens it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when another process holds the store and does not answer; [`Error::Corrupt`],
    /// [`Error::MissingFile`] when its files are damaged; [`Error::Io`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// assert_eq!(store.experiment("Default")?.id().0, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options(path).open()
    }

    /// Options for opening the store in a folder.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).memory_bytes(64 << 20).open()?;
    /// assert!(store.holds()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options(path: impl AsRef<Path>) -> Options {
        Options::new(path.as_ref())
    }

    /// The experiment with this name; created if there is none. However many threads and processes race for a name, all
    /// get the same one.
    ///
    /// # Errors
    /// [`Error::Deleted`] if the experiment with this name is deleted; [`Error::Invalid`] for an invalid name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// assert_eq!(store.experiment("digits")?.id(), store.experiment("digits")?.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiment(&self, name: &str) -> Result<Experiment> {
        let id = self.shared.get_or_create_experiment(name)?;
        Ok(Experiment::new(self.shared.clone(), id))
    }

    /// Creates an experiment from its name, or from an [`ExperimentSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if the name is taken, even by a deleted experiment; [`Error::Invalid`].
    ///
    /// ```
    /// use runlode::{ExperimentSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let digits = store.create_experiment(ExperimentSpec::named("digits").tag("team", "vision"))?;
    /// assert_eq!(digits.info()?.tags, [("team".to_owned(), "vision".to_owned())]);
    /// assert!(store.create_experiment("digits").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_experiment(&self, spec: impl Into<ExperimentSpec>) -> Result<Experiment> {
        let id = self.shared.make_experiment(&spec.into())?;
        Ok(Experiment::new(self.shared.clone(), id))
    }

    /// The experiment with this name, deleted ones included; `None` if there is none.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.experiment("digits")?;
    /// assert_eq!(store.find_experiment("digits")?.expect("made above").name, "digits");
    /// assert_eq!(store.find_experiment("letters")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_experiment(&self, name: &str) -> Result<Option<ExperimentInfo>> {
        match self.shared.experiment_named(name) {
            Err(Error::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// The experiment with this id, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let id = store.experiment("digits")?.id();
    /// assert_eq!(store.experiment_by_id(id)?.info()?.name, "digits");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiment_by_id(&self, id: ExperimentId) -> Result<Experiment> {
        self.shared.experiment_info(id)?;
        Ok(Experiment::new(self.shared.clone(), id))
    }

    /// All experiments by id, deleted ones included.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.experiment("digits")?;
    /// let names: Vec<_> = store.experiments()?.into_iter().map(|experiment| experiment.name).collect();
    /// assert_eq!(names, ["Default", "digits"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiments(&self) -> Result<Vec<ExperimentInfo>> {
        self.shared.experiment_infos()
    }

    /// The run with this id, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let id = store.experiment("digits")?.create_run(RunSpec::new())?.id();
    /// store.run(id)?.log_params(&[("lr", "0.1")])?;
    /// assert!(store.run(runlode::new_run_id()?).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&self, id: RunId) -> Result<Run> {
        self.shared.run_info(id)?;
        Ok(Run::new(self.shared.clone(), id))
    }

    /// Searches runs by a [filter](crate::filter); an empty one finds all.
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::new())?;
    /// run.log_params(&[("lr", "0.1")])?;
    /// run.log_metrics(0, &[("loss", 0.05)])?;
    /// let found = store.search_runs("metrics.loss < 0.1 and params.lr = '0.1'").order_by("metrics.loss").find()?;
    /// assert_eq!(found[0].id, run.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn search_runs(&self, filter: &str) -> Search {
        Search::new(self.shared.clone(), filter)
    }

    /// A registered model by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// assert_eq!(store.registered_model("fraud")?.name(), "fraud");
    /// assert!(store.registered_model("spam").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registered_model(&self, name: &str) -> Result<RegisteredModel> {
        self.shared.registered_model_info(name)?;
        Ok(RegisteredModel::new(self.shared.clone(), name))
    }

    /// Creates a registered model from its name, or from a [`RegisteredModelSpec`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Invalid`]; [`Error::Unsupported`] in an offline process.
    ///
    /// ```
    /// use runlode::RegisteredModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.create_registered_model("spam")?;
    /// let fraud = store.create_registered_model(RegisteredModelSpec::named("fraud").description("card payments"))?;
    /// assert_eq!(fraud.info()?.description.as_deref(), Some("card payments"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_registered_model(&self, spec: impl Into<RegisteredModelSpec>) -> Result<RegisteredModel> {
        let spec = spec.into();
        self.shared.make_registered_model(&spec)?;
        Ok(RegisteredModel::new(self.shared.clone(), &spec.name))
    }

    /// All registered models.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.create_registered_model("fraud")?;
    /// assert_eq!(store.registered_models()?[0].name, "fraud");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registered_models(&self) -> Result<Vec<RegisteredModelInfo>> {
        self.shared.registered_model_infos()
    }

    /// The logged model with this id, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let id = store.experiment("digits")?.create_logged_model(LoggedModelSpec::named("mlp"))?.id();
    /// assert_eq!(store.logged_model(id)?.info()?.name, "mlp");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logged_model(&self, id: ModelId) -> Result<LoggedModel> {
        self.shared.logged_model_info(id)?;
        Ok(LoggedModel::new(self.shared.clone(), id))
    }

    /// MLflow's calls, with its texts, codes and limits, whether this process is holder, client or offline.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// let id = store.mlflow().create_experiment("digits", None, &[])?;
    /// assert_eq!(store.experiment("digits")?.id().to_string(), id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mlflow(&self) -> MlflowCalls {
        MlflowCalls::of(self.shared.clone())
    }

    /// MLflow's calls as a server makes them for its clients, with settings of its own: it takes no leases of runs, and
    /// a client whose name was taken by another one gets an error.
    ///
    /// # Errors
    /// Those of opening the store in a forked child.
    ///
    /// ```
    /// use runlode::mlflow::Settings;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let calls = store.serving(Settings::with_root("mlflow-artifacts:", "/srv"))?;
    /// assert_eq!(calls.experiment("0")?.artifact_location, "mlflow-artifacts:/0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serving(&self, settings: crate::mlflow::Settings) -> Result<MlflowCalls> {
        Ok(MlflowCalls::of(self.shared.serving(settings)?))
    }

    /// The store's folder.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert_eq!(store.path(), dir.path().join("exp"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.shared.path()
    }

    /// Brings points into their final compressed form and frees the space of deleted and purged data, in the process
    /// that holds the store.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::StorageFull`]; the store is then as it was before. [`Error::Unavailable`] if the holder
    /// does not answer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let report = runlode::Store::open(&path)?.compact(&runlode::CompactOptions::default())?;
    /// assert_eq!(report.runs_purged, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        match options.bytes_per_second {
            None => self.shared.compact_store(options),
            rate => self.shared.compact_at(options, rate),
        }
    }

    /// How far the compaction that runs now, in the process that holds the store, has got: bytes read, and bytes to read;
    /// `None` if none runs.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the holder does not answer.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert_eq!(store.compaction_progress()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compaction_progress(&self) -> Result<Option<(u64, u64)>> {
        self.shared.compaction_progress()
    }

    /// What a garbage collection would remove now, and what would stay and why. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read; [`Error::Invalid`] for a relative or missing folder of artifacts;
    /// [`Error::Unavailable`] if the holder does not answer.
    ///
    /// ```
    /// use runlode::{GcOptions, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let digits = store.experiment("digits")?;
    /// let (parent, child) = (digits.create_run(RunSpec::new())?, digits.create_run(RunSpec::new())?);
    /// child.set_tags(&[("mlflow.parentRunId", &parent.id().to_string())])?;
    /// parent.delete()?;
    /// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
    /// assert!(plan.items.is_empty());
    /// assert_eq!(plan.kept[0].why[0], format!("run {} is a child of it", child.id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan> {
        self.shared.plan_gc(options)
    }

    /// Removes what a plan says, for good: purges runs, removes files, compacts. What is needed since the plan, or was
    /// restored, stays and is reported. Each batch of purges has a receipt, [`GarbageCollected`], with hashes of what went.
    /// Interrupted at any moment, the next collection does the rest.
    ///
    /// [`GarbageCollected`]: crate::engine::event::GarbageCollected
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be removed; [`Error::Conflict`] if a run was changed at this very moment; those of a
    /// compaction. What went before has its receipt.
    ///
    /// ```
    /// use runlode::{GcOptions, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::open(&path)?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::new())?;
    /// run.delete()?;
    /// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
    /// assert_eq!(store.gc(&plan)?.runs_count, 1);
    /// assert!(store.run(run.id()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gc(&self, plan: &GcPlan) -> Result<GcReport> {
        self.shared.gc(plan)
    }

    /// The engine in this process, for calls that need it: snapshots and time travel, tails, compaction, checks.
    ///
    /// # Errors
    /// [`Error::Locked`], which names the process that holds the store: do it there, or open the store for reading by
    /// [`LocalStore::options`]; [`Error::Unsupported`] in an offline process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// assert!(store.local()?.verify()?.is_sound());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local(&self) -> Result<LocalStore> {
        self.shared.local()
    }

    /// Whether this process currently holds the store.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert!(store.holds()?, "no other process has this store open");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn holds(&self) -> Result<bool> {
        self.shared.holds()
    }

    /// The role of this process: holder, client or offline.
    ///
    /// # Errors
    /// Those of opening it in a forked child.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let status = runlode::Store::open(&path)?.status()?;
    /// assert!(status.holds && !status.offline);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self) -> Result<Status> {
        self.shared.status()
    }

    /// Waits until everything that this process logged would survive a power cut.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`] if a write or sync failed.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// store.flush()?; // the point now survives a power cut
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.shared.flush()
    }

    /// Closes this handle cleanly; closing the last one of a process passes the store to another process. Clones, and
    /// experiments, runs and rows of this handle, keep it open.
    ///
    /// # Errors
    /// The last writes did not reach the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// store.experiment("digits")?;
    /// store.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> Result<()> {
        self.shared.close()
    }

    /// Closes every store that this process has open, even if there are other handles: those then answer
    /// [`Error::Closed`]. For the end of a process that cannot wait for its handles to be dropped.
    ///
    /// # Errors
    /// The first error of the closes; all are tried.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// runlode::Store::close_all()?;
    /// assert!(store.experiments().is_err(), "closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_all() -> Result<()> {
        Shared::close_all()
    }
}
