//! Experiment tracking on an event-sourced store: experiments, runs, metrics, logged models and the model registry,
//! embedded in the process that trains.
//!
//! ```
//! use runlode::{RunSpec, RunStatus, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("exp");
//! let store = Store::open(&path)?;
//! let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17").tag("kind", "ablation"))?;
//! run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
//! let mut row = run.row(&["loss", "acc"])?;
//! for step in 0..100 {
//!     row.log(step, &[1.0 / (step + 1) as f64, 0.5])?;
//! }
//! run.end(RunStatus::Finished)?;
//!
//! let best = store.search_runs("metrics.loss.min < 0.1 and params.lr = '0.01'").order_by("metrics.loss").find()?;
//! assert_eq!(best[0].id, run.id());
//! let last = run.history("loss")?.steps(99..).next().expect("logged above")?;
//! assert_eq!((last.step, last.value), (99, 0.01));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Store`] is the one handle. Any number of processes open the same store; the first holds its files, and the others
//! get the same answers from it ([`shared`] says how). From it come [`Experiment`], [`Run`] with [`Row`] and [`History`],
//! [`RegisteredModel`] and [`LoggedModel`]; reads answer the plain values of [`info`]. [`cookbook`] has ten recipes.
//!
//! | You want | Use |
//! |---|---|
//! | to log, read, search, register | [`Store`] |
//! | snapshots, time travel, tails, compaction: the engine in this process | [`Store::local`], or [`LocalStore::open`] |
//! | MLflow's calls, texts and codes | [`Store::mlflow`] |
//! | to bring stores together | [`sync`] |
//!
//! Metric points are acknowledged `Buffered`: they outlive the process at once, and the machine within about 100 ms.
//! Everything else is acknowledged `Sync`. See [`Durability`].
//!
//! Inside, each module imports only those before it: [`filter`] (filters as text), `local` and its like (every decision:
//! ids, names, times, made before the append, so that a replay invents nothing), [`mlflow`] (MLflow's rules), [`sync`],
//! [`shared`] (one store in several processes), `store` (the handle).

pub mod audit;
pub mod beneath;
pub mod changes;
pub mod cookbook;
mod experiment;
pub mod filter;
pub mod find;
mod gc;
mod imported;
pub mod info;
mod key;
mod lease;
mod local;
mod local_run;
mod logged_model;
pub mod mlflow;
mod os_user;
mod promote;
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
pub use gc::{GcItem, GcKept, GcKind, GcOptions, GcPlan, GcReport};
pub use imported::is_imported;
pub use lease::{Liveness, Process};
pub use local::cached::Cached;
pub use local::{Call, LocalOptions, LocalStore};
pub use local_run::LocalRun;
pub use logged_model::LoggedModelSpec;
pub use os_user::os_user;
pub use promote::{OnlyIf, PIN_TAG, Promotion, RegistryChange, Rollback};
pub use random::{new_model_id, new_registered_model_id, new_run_id};
pub use registry::{RegisteredModelSpec, VersionSpec};
pub use run::{Ended, FORK_TAG, RunSpec};
pub use run_name::{TAG_RUN_NAME, run_name};
pub use shared::raw::{RawEvent, RawStore, RawView};
pub use shared::{Follower, Status};
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
    ExperimentId, Forked, HistoryPage, HistoryQuery, KeyId, Lsn, MetricContext, Missing, MissingKind, ModelId,
    PastView, Positions, Receipt, RegisteredModelId, Result, Rewound, RunHandle, RunId, Snapshot, SystemClock,
    TimestampMs, VerifyReport,
};

/// The examples of README and guide, compiled.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
}
