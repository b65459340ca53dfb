//! A store that is only read: nothing is written to its folder, whoever holds it. It shows what others write within about a
//! second, by opening the store again once its log has changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use pyo3::prelude::*;
use runlode::mlflow::entity::{Experiment, ModelVersion, Paged, RegisteredModel, Run, View};
use runlode::mlflow::{
    ApiError, ApiResult, Buckets, EntityChanges, EntityName, ErrorCode, HistoriesQuery, Liveness, MetricHistories,
    Mlflow, PastRun, RunColumns, RunsQuery, Settings, TailPage,
};
use runlode::shared::MlflowCalls;
use runlode::{AsOf, LocalStore, Options, Positions};

use crate::exit::detached;

/// How long a view of the store is shown although the store has changed.
const KEPT: Duration = Duration::from_secs(1);
/// How often a call is made again because another process changed the files that it was reading.
const AGAIN_MAX: usize = 5;

macro_rules! reads {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// The calls that read, on a store that is shared with other processes and on one that is only read.
        pub(super) trait Reads {
            $(fn $name(&self, $($arg: $type),*) -> ApiResult<$out>;)*
        }

        impl Reads for MlflowCalls {
            $(fn $name(&self, $($arg: $type),*) -> ApiResult<$out> { MlflowCalls::$name(self, $($arg),*) })*
        }

        impl Reads for Mlflow {
            $(fn $name(&self, $($arg: $type),*) -> ApiResult<$out> { Mlflow::$name(self, $($arg),*) })*
        }
    };
}

reads! {
    run(id: &str) -> Run;
    run_liveness(id: &str) -> Liveness;
    run_columns(query: &RunsQuery) -> RunColumns;
    run_as_of(id: &str, at: AsOf) -> PastRun;
    histories(query: &HistoriesQuery) -> MetricHistories;
    downsampled(id: &str, key: &str, steps: Option<(i64, i64)>, buckets: u64) -> Buckets;
    entity_changes(entity: &EntityName) -> EntityChanges;
    position_at(at: AsOf) -> u64;
    positions() -> Positions;
    tail(from: u64, batches: u64, wait_ms: u64) -> TailPage;
    experiment(id: &str) -> Experiment;
    experiment_by_name(name: &str) -> Option<Experiment>;
    search_experiments(view: View, max_results: i64, filter: &str, order_by: &[String], page_token: Option<&str>) -> Paged<Experiment>;
    registered_model(name: &str) -> RegisteredModel;
    search_registered_models(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<RegisteredModel>;
    latest_versions(name: &str, stages: &[String]) -> Vec<ModelVersion>;
    model_version(name: &str, version: &str) -> ModelVersion;
    model_version_by_alias(name: &str, alias: &str) -> ModelVersion;
    model_version_download_uri(name: &str, version: &str) -> String;
    search_model_versions(filter: &str, max_results: i64, order_by: &[String], page_token: Option<&str>) -> Paged<ModelVersion>;
}

/// A store that is open for reading.
pub(crate) struct Reader {
    path: PathBuf,
    artifacts: Option<String>,
    view: Mutex<Seen>,
}

/// The store as it was when it was opened.
#[derive(Clone)]
struct Seen {
    mlflow: Mlflow,
    log: Vec<(PathBuf, u64, Option<SystemTime>)>,
    opened: Instant,
    /// A forked child opens the store itself.
    process: u32,
}

impl Reader {
    /// Opens a store that exists.
    pub(super) fn open(path: &Path, artifacts: Option<&str>) -> ApiResult<Self> {
        let view = Seen::open(path, artifacts)?;
        Ok(Self { path: path.to_path_buf(), artifacts: artifacts.map(str::to_owned), view: Mutex::new(view) })
    }

    /// Calls the store as it is now, or was up to a second ago.
    pub(super) fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Fn(&dyn Reads) -> ApiResult<T> + Send + Sync,
    ) -> ApiResult<T> {
        let view = self.view.lock().clone();
        let is_old =
            view.process != std::process::id() || view.opened.elapsed() > KEPT && view.log != log_of(&self.path);
        let mut view = if is_old { self.again(py)? } else { view };
        let mut left = AGAIN_MAX;
        loop {
            match detached(py, || call(&view.mlflow)) {
                // Another process changed the files below this view.
                Err(error) if left > 0 && is_of_the_view(&error) => {
                    view = self.again(py)?;
                    left -= 1;
                }
                answer => return answer,
            }
        }
    }

    fn again(&self, py: Python<'_>) -> ApiResult<Seen> {
        let view = detached(py, || Seen::open(&self.path, self.artifacts.as_deref()))?;
        let before = std::mem::replace(&mut *self.view.lock(), view.clone());
        detached(py, || drop(before));
        Ok(view)
    }
}

impl Seen {
    fn open(path: &Path, artifacts: Option<&str>) -> ApiResult<Self> {
        // Before the open: what comes meanwhile is seen as a change.
        let log = log_of(path);
        let store = Options::from(LocalStore::options(path).create(false).background(false)).open_to_read()?;
        let root = artifacts.map_or_else(|| path.join("artifacts").to_string_lossy().into_owned(), str::to_owned);
        let mlflow = Mlflow::new(store, Settings::with_root(root, path));
        Ok(Self { mlflow, log, opened: Instant::now(), process: std::process::id() })
    }
}

fn is_of_the_view(error: &ApiError) -> bool {
    matches!(error.code, ErrorCode::InternalError | ErrorCode::TemporarilyUnavailable | ErrorCode::ResourceConflict)
}

/// The files of the log with sizes and times of change.
fn log_of(path: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.join("log")).into_iter().flatten().flatten() {
        if let Ok(about) = entry.metadata() {
            found.push((entry.path(), about.len(), about.modified().ok()));
        }
    }
    found.sort();
    found
}
