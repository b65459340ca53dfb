//! Experiment tracking on an event-sourced store: experiments, runs, metrics, logged models and the model registry,
//! embedded in the process that trains.
//!
//! ```
//! use runlode::{RunSpec, RunStatus, LocalStore};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = LocalStore::open(&path)?;
//! let experiment = store.get_or_create_experiment("digits")?;
//! let run = store.create_run(experiment, RunSpec::named("trial-17").tag("kind", "ablation"))?;
//! run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
//! for step in 0..100 {
//!     run.log_metrics(step, &[("loss", 1.0 / (step + 1) as f64), ("acc", 0.5)])?;
//! }
//! run.end(RunStatus::Finished)?;
//!
//! let snapshot = store.snapshot()?;
//! let last = snapshot.stats(run.id(), "loss")?.expect("it was logged above").last();
//! assert_eq!((last.step, last.value), (99, 0.01));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Writes go through [`LocalStore`] and [`LocalRun`]; what they decide (ids, names, times) is decided here, before the append,
//! and stored in the event, so a replay never invents anything. Reads go through the engine's [`Snapshot`].
//!
//! Modules, each above those before it: [`beneath`], files that others name; what decides on entities ([`ExperimentSpec`], [`RunSpec`] and their like, and
//! [`LocalStore`]); [`filter`], filters and orders as text; [`mlflow`], MLflow's rules on it; [`sync`], stores that come together; [`shared`], one store in several
//! processes.
//!
//! Metric points are acknowledged `Buffered` (they outlive the process at once, the machine within about 100 ms);
//! everything else is acknowledged `Sync`. See [`Durability`].

pub mod beneath;
pub mod changes;
mod experiment;
pub mod filter;
pub mod info;
mod key;
mod lease;
mod local;
mod logged_model;
pub mod mlflow;
mod random;
mod registry;
mod run;
mod run_name;
pub mod shared;
mod store;
pub mod sync;
mod uri;
mod wire;

pub use experiment::{ExperimentSpec, IMPORT_ACTOR, IMPORT_TAG, is_origin_tag};
pub use lease::{Liveness, Process};
pub use local::{Call, LocalOptions, LocalStore};
pub use logged_model::LoggedModelSpec;
pub use random::{new_model_id, new_registered_model_id, new_run_id};
pub use registry::{RegisteredModelSpec, VersionSpec};
pub use run::{Ended, LocalRun, RunSpec};
pub use run_name::{TAG_RUN_NAME, run_name};
pub use shared::Status;
pub use store::{Experiment, Found, History, LoggedModel, Options, RegisteredModel, Row, Run, Search, Store};

/// The engine below, whole: batches, hot-path handles, search expressions, storage.
pub use runlode_engine as engine;

pub use runlode_engine::entity::{
    DatasetState, EntityKey, ExperimentState, Lease, Lifecycle, LoggedModelState, ModelVersionState,
    RegisteredModelState, RunState,
};
pub use runlode_engine::event::{DatasetInput, Event, LoggedModelStatus, RunStatus, Stage, VersionStatus};
pub use runlode_engine::point::{Point, Stats};
pub use runlode_engine::{
    AsOf, Batch, Branch, Clock, CompactOptions, CompactReport, Durability, EntityKind, Error, EventRecord,
    ExperimentId, HistoryPage, HistoryQuery, KeyId, Lsn, MetricContext, Missing, MissingKind, ModelId, PastView,
    Positions, Receipt, RegisteredModelId, Result, Rewound, RunHandle, RunId, Snapshot, SystemClock, TimestampMs,
    VerifyReport,
};

/// The examples of README and guide, compiled.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
}
