//! Experiment tracking and model registry with MLflow's semantics: every rule once, for every API.
//!
//! ```text
//!   REST server    Python plugin    runlode
//!        \              |             /
//!         v             v            v
//!   Mlflow: names and limits -> what MLflow answers -> batches of events        this module
//!         |                                                 |
//!         v                                                 v
//!   Places (artifacts), filter texts                   LocalStore (crate root), engine
//! ```
//!
//! - [`Mlflow`] has one method for each call of MLflow's stores; [`entity`] has their results, [`ApiError`] their
//!   refusals. Texts and codes are MLflow's, since clients and its tests depend on them.
//! - `None` and `Some("")` differ, as in MLflow: the wire passes empty texts where Python passes None.
//! - A batch is one append: all of it or nothing.
//! - Nothing here knows HTTP, JSON or Python.
//!
//! # Experiments and runs
//!
//! ```
//! use runlode::mlflow::{Mlflow, NewMetric, NewRun, Settings};
//! use runlode::{LocalStore, RunStatus};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = LocalStore::open(&path)?;
//! let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
//! let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
//!
//! let digits = mlflow.create_experiment("digits", None, &[tag("team", "vision")])?;
//! assert_eq!(mlflow.ensure_experiment("digits")?, digits);
//! mlflow.set_experiment_tag(&digits, "stage", "trial")?;
//! mlflow.delete_experiment_tag(&digits, "stage")?;
//! mlflow.rename_experiment(&digits, "mnist")?;
//! mlflow.delete_experiment(&digits)?;
//! mlflow.restore_experiment(&digits)?;
//! assert_eq!(mlflow.experiment_by_name("mnist")?.map(|found| found.experiment_id), Some(digits.clone()));
//! assert_eq!(mlflow.experiment(&digits)?.tags.len(), 1);
//!
//! let run = mlflow.create_run(&NewRun { experiment_id: Some(&digits), user_id: "ada", ..NewRun::default() })?;
//! let id = &run.info.run_id;
//! mlflow.log_param(id, "lr", "0.01")?;
//! mlflow.set_tag(id, "kind", "ablation")?;
//! mlflow.delete_tag(id, "kind")?;
//! let loss = NewMetric { key: "loss", value: 2.3, timestamp: 1_700_000_000_000, step: 0, ..NewMetric::default() };
//! mlflow.log_metric(id, &loss)?;
//! mlflow.log_batch(id, &[NewMetric { step: 1, ..loss }], &[tag("batch", "32")], &[tag("kind", "sweep")])?;
//! mlflow.log_inputs(id, &[], &[])?;
//! mlflow.log_outputs(id, &[])?;
//! mlflow.record_logged_model(id, r#"{"artifact_path": "model"}"#)?;
//! let info = mlflow.update_run(id, Some(RunStatus::Finished), Some(1_700_000_001_000), None)?;
//! assert_eq!(info.end_time, Some(1_700_000_001_000));
//! mlflow.delete_run(id)?;
//! mlflow.restore_run(id)?;
//! assert!(!mlflow.run_info(id)?.deleted);
//! assert_eq!(mlflow.run(id)?.params.len(), 2);
//! assert_eq!(mlflow.run_artifacts(id)?, info.artifact_uri);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Metric histories and searches
//!
//! ```
//! use runlode::mlflow::entity::View;
//! use runlode::mlflow::{HistoriesQuery, Mlflow, NewMetric, NewRun, RunsQuery, Settings};
//!
//! # let dir = tempfile::tempdir()?;
//! # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
//! # let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
//! let run = mlflow.create_run(&NewRun { experiment_id: Some("0"), ..NewRun::default() })?.info.run_id;
//! let point = |step| NewMetric { key: "loss", value: 0.5, timestamp: step, step, ..NewMetric::default() };
//! let points: Vec<_> = (0..100).map(point).collect();
//! mlflow.log_batch(&run, &points, &[], &[])?;
//!
//! let (page, more) = mlflow.metric_history(&run, "loss", Some(40), None)?;
//! assert_eq!((page.steps.len(), more.is_some()), (40, true));
//! let mut steps = 0;
//! mlflow.metric_history_each(&run, "loss", None, None, &mut |part| Ok(steps += part.steps.len()))?;
//! assert_eq!(steps, 100);
//! let runs = [run.clone()];
//! assert_eq!(mlflow.metric_history_bulk(&runs, "loss", None)?.len(), 100);
//! assert_eq!(mlflow.metric_history_interval(&runs, "loss", Some((0, 9)), None)?.len(), 10);
//! mlflow.metric_history_interval_each(&runs, "loss", None, None, &mut |_, part| Ok(assert!(!part.steps.is_empty())))?;
//! assert!(mlflow.metric_history_samples(&runs, "loss", None, 10)?.len() < 100);
//! assert_eq!(mlflow.downsampled(&run, "loss", None, 10)?.counts.iter().sum::<i64>(), 100);
//! let query = HistoriesQuery { runs: runs.to_vec(), keys: Some(vec!["loss".into()]), ..HistoriesQuery::default() };
//! assert_eq!(mlflow.histories(&query)?.values.len(), 100);
//!
//! let default = ["0".to_owned()];
//! let found = mlflow.search_runs(&default, "metrics.loss < 1", View::ActiveOnly, 10, &[], None)?;
//! assert_eq!((found.items.len(), found.next_page_token), (1, None));
//! let mut check = |found: runlode::mlflow::entity::Run| Ok(assert_eq!(found.info.run_id, run));
//! mlflow.search_runs_each(&default, "", View::All, 10, &[], None, &mut check)?;
//! assert_eq!(mlflow.search_experiments(View::ActiveOnly, 10, "", &[], None)?.items.len(), 1);
//! assert!(mlflow.search_datasets(&default)?.is_empty());
//! assert_eq!(mlflow.run_columns(&RunsQuery { limit: 10, ..RunsQuery::default() })?.rows, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Models and the registry
//!
//! ```
//! use runlode::LoggedModelStatus;
//! use runlode::mlflow::{LoggedModelOrder, Mlflow, NewLoggedModel, NewModelVersion, Settings, VersionSource};
//!
//! # let dir = tempfile::tempdir()?;
//! # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
//! # let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
//! # let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
//! let new = NewLoggedModel { experiment_id: "0", ..NewLoggedModel::default() };
//! let model = mlflow.create_logged_model(&new)?.model_id;
//! mlflow.log_logged_model_params(&model, &[tag("hidden", "16")])?;
//! mlflow.set_logged_model_tags(&model, &[tag("kind", "mlp")])?;
//! mlflow.delete_logged_model_tag(&model, "kind")?;
//! mlflow.finalize_logged_model(&model, LoggedModelStatus::Ready)?;
//! assert!(mlflow.logged_model_artifacts(&model)?.ends_with("/artifacts"));
//! let order = [LoggedModelOrder::ascending("creation_timestamp"), LoggedModelOrder::descending("model_id")];
//! let found = mlflow.search_logged_models(&["0".to_owned()], "", &[], 10, &order, None)?;
//! assert_eq!(found.items[0].params, [tag("hidden", "16")]);
//!
//! mlflow.create_registered_model("fraud", &[], Some("card payments"))?;
//! mlflow.set_registered_model_tag("fraud", "team", "risk")?;
//! mlflow.delete_registered_model_tag("fraud", "team")?;
//! mlflow.update_registered_model("fraud", Some("all payments"))?;
//! let source = VersionSource { source: "s3://models/a".into(), ..VersionSource::default() };
//! let source = mlflow.vet_source(source, false)?.source;
//! let new = NewModelVersion { source: &source, ..NewModelVersion::default() };
//! assert_eq!(mlflow.create_model_version("fraud", &new)?.version, 1);
//! mlflow.update_model_version("fraud", "1", Some("May's data"))?;
//! mlflow.set_model_version_tag("fraud", "1", "checked", "yes")?;
//! mlflow.delete_model_version_tag("fraud", "1", "checked")?;
//! mlflow.transition_model_version_stage("fraud", "1", "Production", true)?;
//! mlflow.set_registered_model_alias("fraud", "champion", "1")?;
//! assert_eq!(mlflow.model_version_by_alias("fraud", "champion")?.source, "s3://models/a");
//! assert_eq!(mlflow.latest_versions("fraud", &["Production"])?.len(), 1);
//! assert_eq!(mlflow.model_version_download_uri("fraud", "1")?, "s3://models/a");
//! assert_eq!(mlflow.search_registered_models("", 10, &[], None)?.items.len(), 1);
//! assert_eq!(mlflow.search_model_versions("name = 'fraud'", 10, &[], None)?.items.len(), 1);
//! mlflow.delete_registered_model_alias("fraud", "champion")?;
//! mlflow.rename_registered_model("fraud", "payments")?;
//! assert_eq!(mlflow.model_version("payments", "1")?.current_stage, runlode::Stage::Production);
//! mlflow.delete_model_version("payments", "1")?;
//! assert_eq!(mlflow.registered_model("payments")?.description.as_deref(), Some("all payments"));
//! mlflow.delete_registered_model("payments")?;
//! mlflow.delete_logged_model(&model)?;
//! assert!(mlflow.logged_model(&model, false).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Past states, and processes that still run
//!
//! ```
//! use runlode::AsOf;
//! use runlode::mlflow::{EntityName, Liveness, Made, Mlflow, NewMetric, NewRun, Process, Settings, Watch};
//!
//! # let dir = tempfile::tempdir()?;
//! # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
//! # let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
//! let run = mlflow.create_run(&NewRun { experiment_id: Some("0"), ..NewRun::default() })?.info.run_id;
//! let made = mlflow.positions()?.published;
//! assert_eq!(mlflow.made_at(made)?, [Made::Run(run.clone())]);
//! for step in 0..10 {
//!     mlflow.log_metric(&run, &NewMetric { key: "loss", timestamp: step, step, ..NewMetric::default() })?;
//! }
//! assert_eq!(mlflow.position_at(AsOf::Position(made))?, made.0);
//! assert!(mlflow.run_as_of(&run, AsOf::Position(made))?.run.expect("it was there").metrics.is_empty());
//! assert!(mlflow.metric_history_as_of(&run, "loss", AsOf::Position(made), 0, 10)?.columns.steps.is_empty());
//! assert_eq!(mlflow.entity_changes(&EntityName::parse(&run)?)?.changes[0].event, "RunCreated");
//! store.flush()?;
//! assert_eq!(mlflow.tail(made.0 + 1, 1, 0)?.points[0].key, "loss");
//!
//! let rewound = mlflow.rewind_run(&run, 4)?;
//! assert_eq!((rewound.points_hidden, mlflow.run_branches(&run)?.len()), (5, 2));
//! assert_eq!(mlflow.branch_history(&run, 0, "loss")?.steps.len(), 10);
//!
//! assert_eq!(mlflow.run_liveness(&run)?, Liveness::Unknown, "nobody took a lease");
//! mlflow.lease_run_for(run.parse()?, Process::current().expect("on Linux"))?;
//! mlflow.lease_run(&run)?; // the process of the settings; they name none here
//! assert!(matches!(mlflow.run_liveness_by(&run, &Watch::here(store.now().0))?, Liveness::Alive { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod artifacts;
mod careful;
mod creations;
pub mod entity;
mod error;
mod experiments;
pub(crate) mod filter;
mod leases;
mod logged_models;
mod lookup;
mod made;
mod metric_columns;
mod metric_history;
mod metrics;
mod model_uri;
mod model_versions;
pub mod names;
mod native;
mod page_token;
mod places;
mod registry;
mod rewind;
pub(crate) mod runs;
mod search;
mod sources;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

pub use creations::Creations;
pub use error::{ApiError, ApiResult, ErrorCode};
#[doc(hidden)]
pub use filter::probe as probe_filter;
pub use logged_models::NewLoggedModel;
pub use made::Made;
pub use metric_columns::MetricColumns;
pub use metric_history::{BULK_POINTS_MAX, BULK_RUNS_MAX, INTERVAL_POINTS_MAX};
pub use metrics::NewMetric;
pub(crate) use metrics::check_points;
pub use model_versions::NewModelVersion;
pub use names::LongValues;
pub use native::spare;
pub use native::{
    Buckets, ColumnValues, CurveHead, Curves, CurvesQuery, EntityChanges, EntityName, Field, HistoriesQuery,
    MetricHistories, PastExperiments, PastHistory, PastLoggedModels, PastRegistry, PastRun, RunColumn, RunColumns,
    RunKeys, RunWindow, RunsQuery, TailEvent, TailPage, TailPoints, TextColumn, WindowQuery,
};
pub use page_token::{page_offset, page_text, page_token, text_token};
pub use places::{Places, absolute_place, working_directory};
pub use registry::TAG_IS_PROMPT;
pub use rewind::{BranchMetric, Rewound, RunBranch};
pub use runs::NewRun;
pub use search::{LoggedModelOrder, MODELS_PAGE_MAX, RUNS_PAGE_MAX, VERSIONS_PAGE_MAX};
pub use sources::VersionSource;
pub use waiting::Waiting;
pub(crate) use waiting::client_gone;

use crate::experiment::{SEQUENTIAL_END, experiment_of_alias};
pub use crate::lease::{Liveness, Process, SILENT_AFTER_MS, Watch, last_point_ms};
pub use crate::local::Call;
pub use crate::uri::{ARTIFACTS_DIR, below, scheme};
use crate::{Durability, ExperimentId, ExperimentState, LocalStore, Lsn, RunHandle, RunId, RunState, Snapshot};

/// Settings of one API on a store.
///
/// ```
/// use runlode::mlflow::{Mlflow, Settings};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// let rest = Mlflow::new(store.clone(), Settings::with_root("mlflow-artifacts:", "/srv"));
/// assert_eq!(rest.experiment("0")?.artifact_location, "mlflow-artifacts:/0");
/// let here = Mlflow::new(store.clone(), Settings::in_process(&store));
/// assert!(here.experiment("0")?.artifact_location.ends_with("artifacts/0"));
/// assert_eq!((here.store().path(), here.places().root()), (store.path(), here.settings().places.root()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    /// How artifact locations are rendered.
    pub places: Places,
    /// Treatment of overlong param and tag values: kept, cut or refused.
    pub long_values: LongValues,
    /// Durability of metric points in calls with nothing else. Everything else is `Sync`.
    pub metric_durability: Durability,
    /// The process that creates and continues runs: they are not lost as long as it exists. `None` if the clients are
    /// elsewhere.
    pub process: Option<Process>,
    /// The author of changes whose call names nobody: see [`Mlflow::for_call`].
    pub author: Option<String>,
}

impl Settings {
    /// Settings of a process that opened the store itself: artifacts below the store's folder, by absolute path.
    pub fn in_process(store: &LocalStore) -> Self {
        Self { author: store.author().map(str::to_owned), ..Self::in_folder(store.path()) }
    }

    /// The same, for a store that another process may hold.
    pub(crate) fn in_folder(store: &Path) -> Self {
        let directory = working_directory();
        let root = directory.join(store).join(ARTIFACTS_DIR);
        Self::with_root(root.to_string_lossy(), directory)
    }

    /// Settings with another artifact root; relative local locations refer to `directory`.
    pub fn with_root(root: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            places: Places::new(root, directory),
            long_values: LongValues::of_environment(),
            metric_durability: Durability::Buffered,
            process: None,
            author: None,
        }
    }
}

/// MLflow's stores, both of them, on a [`LocalStore`]. Cloning is cheap.
///
/// ```
/// use runlode::LocalStore;
/// use runlode::mlflow::{Mlflow, Settings};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
/// let id = mlflow.create_experiment("digits", None, &[])?;
/// assert_eq!(mlflow.experiment(&id)?.name, "digits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mlflow {
    inner: Arc<Inner>,
    /// The store, with the call that is made through this value.
    store: LocalStore,
    /// The client that waits for reads through this value; `None`: never give up.
    waiting: Option<Arc<dyn Waiting>>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// Handles of runs that are logged to: finding a run costs more than logging a point.
    handles: RwLock<FxHashMap<RunId, RunHandle>>,
}

/// Number of handles kept; others are made again.
const HANDLES_MAX: usize = 4096;

impl Mlflow {
    /// MLflow's calls on a store.
    pub fn new(store: LocalStore, settings: Settings) -> Self {
        let store = store.written_by(settings.author.as_deref());
        Self { inner: Arc::new(Inner { settings, handles: RwLock::default() }), store, waiting: None }
    }

    /// The store below.
    pub fn store(&self) -> &LocalStore {
        &self.store
    }

    /// Settings of this API.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// How artifact locations are rendered.
    pub fn places(&self) -> &Places {
        &self.inner.settings.places
    }

    fn now_ms(&self) -> i64 {
        self.store().now().0
    }

    fn snapshot(&self) -> ApiResult<Snapshot> {
        Ok(self.store().snapshot()?)
    }

    /// A snapshot for answers that show points of this run only.
    fn snapshot_of(&self, run: RunId) -> ApiResult<Snapshot> {
        Ok(self.store().snapshot_of_run(run)?)
    }

    /// A snapshot for answers without points: a full disk does not refuse them.
    fn entities(&self) -> ApiResult<Snapshot> {
        Ok(self.store().snapshot_of_entities()?)
    }

    /// The same stores for one call, with its author and idempotency key.
    ///
    /// # Errors
    /// [`ApiError::repeated`] if the call was made before under its key: nothing needs to be done.
    ///
    /// ```
    /// use runlode::Call;
    /// use runlode::mlflow::{EntityName, Mlflow, Settings};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    /// let call = Call { actor: "ada".into(), ..Call::default() };
    /// mlflow.for_call(call)?.rename_experiment("0", "digits")?;
    /// let changes = mlflow.entity_changes(&EntityName::Experiment(0))?.changes;
    /// assert_eq!(changes[1].actor.as_deref(), Some("ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_call(&self, call: Call) -> ApiResult<Self> {
        Ok(Self { inner: self.inner.clone(), store: self.store.for_call(call)?, waiting: self.waiting.clone() })
    }

    /// As [`Mlflow::for_call`], without looking whether the call was made before: its append finds out.
    pub(crate) fn in_call(&self, call: Arc<Call>) -> Self {
        self.on(self.store.in_call(call))
    }

    /// The position of a call that was made before under this key; `None`: it was not.
    ///
    /// # Errors
    /// `RESOURCE_CONFLICT` if another request was made under the key; those of reading.
    ///
    /// ```
    /// use runlode::Call;
    /// use runlode::mlflow::{Mlflow, Settings};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    /// assert_eq!(mlflow.call_made_before(b"rename-1", 7)?, None);
    /// let call = Call { actor: "ada".into(), idempotency_key: b"rename-1".to_vec(), request_hash: 7 };
    /// mlflow.for_call(call)?.rename_experiment("0", "digits")?;
    /// assert!(mlflow.call_made_before(b"rename-1", 7)?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call_made_before(&self, key: &[u8], request_hash: u64) -> ApiResult<Option<Lsn>> {
        Ok(self.store.engine().find_idempotency_key(key, request_hash)?)
    }

    /// The same calls on the store of one call.
    pub(crate) fn on(&self, store: LocalStore) -> Self {
        Self { store, ..self.clone() }
    }

    /// Parses a run id given by a client.
    fn run_id(&self, text: &str) -> ApiResult<RunId> {
        text.parse().map_err(|_| run_absent(text))
    }

    fn run_state(&self, snapshot: &Snapshot, id: RunId) -> ApiResult<Arc<RunState>> {
        let found = snapshot.run(id)?.filter(|run| run.lifecycle != crate::Lifecycle::Purged);
        found.ok_or_else(|| run_absent(&id.to_string()))
    }

    /// A run that may be written to.
    fn active_run(&self, snapshot: &Snapshot, id: RunId) -> ApiResult<Arc<RunState>> {
        let run = self.run_state(snapshot, id)?;
        if snapshot.lifecycle(&run)? == crate::Lifecycle::Active {
            return Ok(run);
        }
        Err(ApiError::invalid(format!("The run {id} must be in the 'active' state. Current state is deleted.")))
    }

    /// Parses an experiment id given by a client.
    fn experiment_id(&self, text: &str) -> ApiResult<ExperimentId> {
        let id: i64 = text.parse().map_err(|_| {
            ApiError::invalid(format!("Invalid experiment ID '{text}'. Experiment ID must be a valid integer."))
        })?;
        let id = u64::try_from(id).map(ExperimentId).map_err(|_| experiment_absent(text))?;
        if id.0 < SEQUENTIAL_END {
            return Ok(id);
        }
        // Ids given while this store was out of reach: the name may have been taken here.
        let snapshot = self.entities()?;
        let known = snapshot.experiment(id)?.is_some();
        Ok(if known { id } else { experiment_of_alias(&snapshot, id)?.unwrap_or(id) })
    }

    fn experiment_state(&self, snapshot: &Snapshot, id: ExperimentId) -> ApiResult<Arc<ExperimentState>> {
        let state = snapshot.experiment(id)?.filter(|state| !state.is_purged());
        state.ok_or_else(|| experiment_absent(&id.to_string()))
    }

    /// An experiment that may be written to.
    fn active_experiment(&self, snapshot: &Snapshot, id: ExperimentId) -> ApiResult<Arc<ExperimentState>> {
        let state = self.experiment_state(snapshot, id)?;
        if state.lifecycle == crate::Lifecycle::Active {
            return Ok(state);
        }
        Err(ApiError::invalid(format!("The experiment {id} must be in the 'active' state. Current state is deleted.")))
    }

    /// A handle for logging points. The engine still refuses points of a run that was deleted meanwhile.
    fn handle(&self, id: RunId) -> ApiResult<RunHandle> {
        if let Some(handle) = self.inner.handles.read().get(&id) {
            return Ok(handle.clone());
        }
        let handle = self.store().engine().run(id)?;
        let mut handles = self.inner.handles.write();
        if handles.len() >= HANDLES_MAX {
            handles.clear();
        }
        handles.insert(id, handle.clone());
        Ok(handle)
    }
}

fn run_absent(id: &str) -> ApiError {
    ApiError::absent(format!("Run with id={id} not found"))
}

fn experiment_absent(id: &str) -> ApiError {
    ApiError::absent(format!("No Experiment with id={id} exists"))
}
