//! The storage engine of Runlode: an append-only log of run events is the truth; indexes and compressed metric series
//! are derived from it.
//!
//! ```text
//!             append                        checkpoint            seal
//! Batch ──► validate, encode ──► log ──────► index.redb    log ──────► series/*.ser
//!                                 │            (entities, stats,         (steps, times, values, positions
//!                                 ▼             directory, events)        by columns; rollups)
//!                               hot state ◄──────────┴──────────────────────┘
//!                                 │        everything above what index and files have
//!                                 ▼
//!                              Snapshot: entities, history, downsample, latest, search, the past
//! ```
//!
//! A write is followed from [`Store::append`] through `ingest::pipeline` to `log::writer`; a read from
//! [`Store::snapshot`] through `query::snapshot` to `query::points`. Imports only point down these levels:
//!
//! ```text
//! copy freeze repair | open | store | options     a store: opened, handed out
//! inbox checkpoint seal replay compaction rewind tail usage heal verify | background   verbs, on the parts of a store
//! query                                           snapshots, histories, the past, search at a snapshot
//! core                                            the parts of one open store
//! ingest                                          batches on their way into the log
//! search                                          which runs match; no store needed
//! log  index  pins  series  hot                   nouns: none imports another one
//! storage  event  entity  branch  point  summary  bytes; facts; what facts make
//! error  id  time  checksum  varint  fork         ground
//! ```
//!
//! What a crate above may use; everything else is private:
//!
//! | for | names |
//! |---|---|
//! | a store: open it, write, read, maintain it | those below, at the root |
//! | facts, and what facts make | [`event`], [`entity`], [`branch`], [`point`], [`summary`] |
//! | which runs match | [`search`] |
//! | where a store's bytes are, and who holds them | [`storage`] |
//! | ids, times, errors | [`id`], [`time`], [`error`] |
//! | encodings and processes, for crates that store or send bytes of their own | [`varint`], [`checksum`], [`fork`] |
//!
//! The cargo feature `testing` publishes more, without a promise: `index`, `log`, `query`, `series`, `event::section`,
//! `search::saved`, the parts of a search, the simulated disk `storage::sim`, and the options `seed` and
//! `search_snap_runs_min`. It is for the tests, fuzz targets, benchmarks and examples of this repository.
//!
//! ```
//! use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
//! use runlode_engine::point::Point;
//! use runlode_engine::{Batch, Durability, ExperimentId, RunId, Store, TimestampMs};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let store = Store::open(dir.path().join("store"))?;
//! let (experiment, run) = (ExperimentId(1), RunId([7; 16]));
//! let batch = Batch::new()
//!     .event(ExperimentCreated {
//!         experiment,
//!         name: "digits".into(),
//!         artifact_location: None,
//!         creation_time_ms: 0,
//!         last_update_time_ms: 0,
//!         tags: vec![],
//!     })
//!     .event(RunCreated {
//!         run,
//!         experiment,
//!         name: "trial-17".into(),
//!         user_id: "ann".into(),
//!         status: RunStatus::Running,
//!         start_time_ms: 0,
//!         artifact_location: None,
//!         tags: vec![],
//!     })
//!     .metric(run, "loss", Point { step: 0, time: TimestampMs(0), value: 0.7 }, None);
//! store.append(batch, Durability::Sync)?;
//! let latest = store.snapshot()?.latest(run)?;
//! assert_eq!((&*latest[0].0, latest[0].1.last_value), ("loss", 0.7));
//! store.close()?;
//! # Ok::<(), runlode_engine::Error>(())
//! ```

#![allow(unreachable_pub, reason = "`pub` in a private module: what the module offers to the rest of the crate")]

mod background;
pub mod branch;
mod checkpoint;
pub mod checksum;
mod compaction;
mod copy;
mod core;
pub mod entity;
pub mod error;
pub mod event;
pub mod fork;
mod fork_run;
mod freeze;
mod heal;
mod hot;
pub mod id;
mod inbox;
#[cfg(not(feature = "testing"))]
mod index;
#[cfg(feature = "testing")]
pub mod index;
mod ingest;
#[cfg(not(feature = "testing"))]
mod log;
#[cfg(feature = "testing")]
pub mod log;
mod missing;
mod open;
mod options;
mod pins;
pub mod point;
#[cfg(not(feature = "testing"))]
mod query;
#[cfg(feature = "testing")]
pub mod query;
mod repair;
mod replay;
mod rewind;
mod seal;
pub mod search;
#[cfg(not(feature = "testing"))]
mod series;
#[cfg(feature = "testing")]
pub mod series;
pub mod storage;
mod store;
pub mod summary;
mod tail;
pub mod time;
mod usage;
pub mod varint;
mod verify;

pub use compaction::export::ReplayIntoReport;
pub use compaction::policy::Due;
pub use compaction::{CompactOptions, CompactReport};
pub use error::{Corruption, EntityKind, Error, Result};
pub use event::Event;
pub use event::batch::MetricContext;
pub use fork_run::Forked;
pub use freeze::Frozen;
pub use id::*;
#[cfg(feature = "testing")]
pub use inbox::note_again;
pub use inbox::{InboxProblem, InboxProblemKind, InboxWriter, MergeReport};
pub use ingest::batch::{Batch, Durability, Receipt};
pub use ingest::encode::KeyedPoint;
pub use ingest::look_up::{LATE_AFTER_MS, LookUp};
pub use ingest::run::{RowScratch, RunHandle};
pub use log::frozen::FrozenFile;
pub use missing::{Missing, MissingKind};
pub use options::Options;
pub use query::branches::Branch;
pub use query::history::EventRecord;
pub use query::logged::LoggedEvent;
pub use query::past::{AsOf, PastView};
pub use query::points::{Bucket, Downsampled, HistoryPage, HistoryPosition, HistoryQuery};
pub use query::runs::RenderPlace;
pub use query::snapshot::Snapshot;
pub use repair::{Rebuilt, RepairReport};
pub use replay::ReplayReport;
pub use rewind::Rewound;
pub use search::{PageToken, SearchPage, SearchQuery};
pub use series::ColumnSet;
pub use storage::map::{give_back_freed_memory, keep_little_freed_memory};
pub use store::{OpenNotes, Positions, ReservedKeys, Store};
pub use tail::{Tail, TailBatch};
pub use time::*;
pub use usage::SeriesUsage;
pub use verify::{Finding, FindingKind, VerifyOptions, VerifyReport};
