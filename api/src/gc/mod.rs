//! Garbage collection: what was deleted long ago leaves the disk, with its artifacts.
//!
//! ```text
//! plan_gc ──► GcPlan, a value: what goes, what stays and why ──► gc: plan again, keep what both plans say
//!    uses (who still needs it), folders (where its files are)        │  for some runs at a time:
//!                                                                    ├─ hash what goes
//!                                                                    ├─ append purges and receipt, one batch, Sync,
//!                                                                    │  unless a use began since the last look
//!                                                                    ├─ remove the files
//!                                                                    └─ at the end: compact
//! ```
//! Invariants:
//! - Nothing active goes, and nothing that something needs which stays: see [`uses`].
//! - Only folders whose path ends in the thing's own id are removed, below the root of artifacts; links are never followed.
//! - The receipt comes first. A crash after it leaves files of a purged run, which the next collection removes as orphans;
//!   a crash before it leaves everything.

mod carry_out;
mod folders;
mod plan;
mod receipt;
#[cfg(test)]
mod tests;
mod uses;

use crate::{ExperimentId, Lsn};

/// What to collect.
///
/// ```
/// use runlode::GcOptions;
///
/// let options = GcOptions::deleted_before(1_700_000_000_000);
/// assert!(!options.with_models && options.artifact_root.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOptions {
    /// Things deleted before this time go, Unix ms.
    pub deleted_before_ms: i64,
    /// Whether logged models that deleted runs made, and that nothing uses, go with their run. If not, such a run stays.
    /// Default: false.
    pub with_models: bool,
    /// The folder of artifacts, if a server keeps them elsewhere than in `STORE/artifacts`.
    pub artifact_root: Option<String>,
}

impl GcOptions {
    /// Collects what was deleted before a time, Unix ms.
    ///
    /// ```
    /// assert_eq!(runlode::GcOptions::deleted_before(5).deleted_before_ms, 5);
    /// ```
    pub fn deleted_before(deleted_before_ms: i64) -> Self {
        Self { deleted_before_ms, with_models: false, artifact_root: None }
    }
}

/// What a thing is.
///
/// ```
/// assert!(runlode::GcKind::Run < runlode::GcKind::Orphan);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GcKind {
    /// A deleted run: its events, points and artifacts go. That it existed stays known.
    Run,
    /// A logged model: its files go.
    LoggedModel,
    /// A deleted experiment whose runs and models are all gone: it leaves all lists, its name is free, and its folder of
    /// artifacts goes.
    Experiment,
    /// A folder of artifacts whose run or model is gone, or never was.
    Orphan,
    /// A file of the store that another one replaced.
    File,
}

impl GcKind {
    /// Its name in receipts and JSON.
    ///
    /// ```
    /// assert_eq!(runlode::GcKind::LoggedModel.as_str(), "logged_model");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::LoggedModel => "logged_model",
            Self::Experiment => "experiment",
            Self::Orphan => "orphan",
            Self::File => "file",
        }
    }
}

/// A thing that goes.
///
/// ```
/// use runlode::{GcKind, GcOptions, RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial"))?;
/// run.delete()?;
/// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
/// let item = &plan.items[0];
/// assert_eq!((item.kind, item.name.as_str(), &item.folder), (GcKind::Run, "trial", &None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcItem {
    /// What it is.
    pub kind: GcKind,
    /// Its id; of orphans and files the path, below the folder of artifacts or the store.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its experiment.
    pub experiment: Option<ExperimentId>,
    /// When it was deleted, Unix ms.
    pub deleted_ms: Option<i64>,
    /// The folder or file that goes; `None` if it has none.
    pub folder: Option<String>,
    /// Bytes of it on the disk.
    pub file_bytes: u64,
    /// Bytes of its points in series files; freed when the store is compacted.
    pub series_bytes: u64,
    /// Where it has artifacts that are not removed: an object store, or a folder elsewhere.
    pub left_at: Option<String>,
}

/// A thing that was deleted long enough ago, and stays.
///
/// ```
/// use runlode::{GcKind, GcOptions, RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial"))?;
/// run.set_tags(&[("runlode.pin", "for the paper")])?;
/// run.delete()?;
/// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
/// let kept = &plan.kept[0];
/// assert_eq!((kept.kind, kept.why[0].as_str()), (GcKind::Run, "it is pinned: for the paper"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcKept {
    /// What it is.
    pub kind: GcKind,
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub name: String,
    /// Who needs it.
    pub why: Vec<String>,
}

/// What a collection would do. A plain value: look at it, then give it to [`Store::gc`](crate::Store::gc).
///
/// ```
/// use runlode::{GcOptions, RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// store.experiment("digits")?.create_run(RunSpec::named("trial"))?;
/// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
/// assert!(plan.items.is_empty() && plan.kept.is_empty(), "the run is not deleted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPlan {
    /// How it was asked for.
    pub options: GcOptions,
    /// The position at which it was made.
    pub position: Lsn,
    /// What goes.
    pub items: Vec<GcItem>,
    /// What was deleted too, and stays.
    pub kept: Vec<GcKept>,
}

impl GcPlan {
    /// Bytes of files that go. Those in series files are an estimate.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert_eq!(store.plan_gc(&runlode::GcOptions::deleted_before(i64::MAX))?.bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.file_bytes + item.series_bytes).sum()
    }
}

/// What a collection did.
///
/// ```
/// use runlode::{GcOptions, RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial"))?;
/// run.delete()?;
/// let report = store.gc(&store.plan_gc(&GcOptions::deleted_before(i64::MAX))?)?;
/// assert_eq!((report.removed_count, report.skipped.len()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Things that went.
    pub removed_count: u64,
    /// Of them, runs.
    pub runs_count: u64,
    /// Bytes of files that were removed.
    pub file_bytes: u64,
    /// Bytes on the disk before, artifacts included.
    pub bytes_before: u64,
    /// Bytes on the disk after.
    pub bytes_after: u64,
    /// Bytes that are free once older snapshots are dropped.
    pub pinned_bytes: u64,
    /// Positions of the receipts.
    pub receipts: Vec<Lsn>,
    /// Things of the plan that are needed since, or changed, and stay.
    pub skipped: Vec<GcKept>,
}
