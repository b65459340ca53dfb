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

mod artifacts;
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
mod step_set;
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
    Buckets, ColumnValues, EntityChanges, EntityName, Field, HistoriesQuery, MetricHistories, PastHistory, PastRun,
    RunColumn, RunColumns, RunsQuery, TailEvent, TailPage, TailPoints, TextColumn,
};
pub use page_token::{page_offset, page_text, page_token, text_token};
pub use places::{Places, working_directory};
pub use registry::TAG_IS_PROMPT;
pub use rewind::{BranchMetric, Rewound, RunBranch};
pub use runs::NewRun;
pub use search::{LoggedModelOrder, MODELS_PAGE_MAX, RUNS_PAGE_MAX, VERSIONS_PAGE_MAX};
pub use sources::VersionSource;
pub use waiting::Waiting;

use crate::experiment::{SEQUENTIAL_END, experiment_of_alias};
pub use crate::lease::{Liveness, Process, SILENT_AFTER_MS, Watch, last_point_ms};
pub use crate::local::Call;
pub use crate::uri::{ARTIFACTS_DIR, below, scheme};
use crate::{Durability, ExperimentId, ExperimentState, LocalStore, RunHandle, RunId, RunState, Snapshot};

/// Settings of one API on a store.
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
    pub fn for_call(&self, call: Call) -> ApiResult<Self> {
        Ok(Self { inner: self.inner.clone(), store: self.store.for_call(call)?, waiting: self.waiting.clone() })
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
        snapshot.experiment(id)?.ok_or_else(|| experiment_absent(&id.to_string()))
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
