//! What fields of events hold: statuses, stages, data sets, and the statistics that a branch begins with.

use rkyv::{Archive, Deserialize, Serialize};

use crate::point::Stats;

/// A key and a value: a tag or a param.
pub type KeyValue = (String, String);

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum RunStatus {
    /// In progress.
    Running = 1,
    /// Scheduled to start.
    Scheduled = 2,
    /// Ended well.
    Finished = 3,
    /// Ended badly.
    Failed = 4,
    /// Ended by a user.
    Killed = 5,
}

/// State of a logged model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum LoggedModelStatus {
    /// Not given.
    Unspecified = 0,
    /// Its files are being uploaded.
    Pending = 1,
    /// Usable.
    Ready = 2,
    /// Its files did not arrive.
    UploadFailed = 3,
}

/// State of a model version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum VersionStatus {
    /// Being registered.
    PendingRegistration = 1,
    /// Could not be registered.
    FailedRegistration = 2,
    /// Usable.
    Ready = 3,
}

/// Stage of a model version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Stage {
    /// No stage.
    None = 0,
    /// Being tried.
    Staging = 1,
    /// In use.
    Production = 2,
    /// No longer in use.
    Archived = 3,
}

/// A data set as a run's input.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DatasetInput {
    /// Name; with the digest and the experiment its identity.
    pub name: String,
    /// Digest of its content.
    pub digest: String,
    /// Kind of source: `local`, `code`, ...
    pub source_type: String,
    /// Where it comes from.
    pub source: String,
    /// Schema, as JSON text.
    pub schema: Option<String>,
    /// Profile, as JSON text.
    pub profile: Option<String>,
    /// Tags of this input, `mlflow.data.context` among them.
    pub tags: Vec<KeyValue>,
}

/// A thing that a garbage collection removed.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Removed {
    /// `run`, `logged_model`, `experiment`, `orphan` or `file`.
    pub kind: String,
    /// Its id; of orphans and files the path below the store.
    pub id: String,
    /// Bytes of its artifacts on the disk, or of the file.
    pub artifact_bytes: u64,
    /// SHA-256 over its artifacts, by path; zeros if there were none.
    pub artifacts_sha256: [u8; 32],
    /// Points of a run.
    pub points_count: u64,
    /// SHA-256 over a run's events and points; zeros for other kinds.
    pub content_sha256: [u8; 32],
}

/// Statistics of the points of one metric at some moment. The same fields as [`Stats`], but in an event: its archive is
/// readable forever, while rows of the index may change with [`Stats`].
#[derive(Debug, Clone, Archive, Serialize, Deserialize)]
pub struct KeptSeries {
    /// The metric's key.
    pub key: String,
    /// Points.
    pub count: u64,
    /// Whether two of them may share a step.
    pub maybe_repeats: bool,
    /// Whether latest order and history order differ.
    pub unordered: bool,
    /// Least value, NaN skipped; NaN if all are.
    pub min: f64,
    /// Greatest value, likewise.
    pub max: f64,
    /// Step of the first point in latest order.
    pub first_step: i64,
    /// Its time, Unix ms.
    pub first_time_ms: i64,
    /// Its value.
    pub first_value: f64,
    /// Step of the last one.
    pub last_step: i64,
    /// Its time, Unix ms.
    pub last_time_ms: i64,
    /// Its value.
    pub last_value: f64,
    /// Greatest time of any point, Unix ms.
    pub time_max_ms: i64,
}

impl KeptSeries {
    /// Of a metric.
    pub fn new(key: &str, stats: &Stats) -> Self {
        Self {
            key: key.to_owned(),
            count: stats.count_raw,
            maybe_repeats: stats.maybe_repeats,
            unordered: stats.unordered,
            min: stats.min,
            max: stats.max,
            first_step: stats.first_step,
            first_time_ms: stats.first_time_ms,
            first_value: stats.first_value,
            last_step: stats.last_step,
            last_time_ms: stats.last_time_ms,
            last_value: stats.last_value,
            time_max_ms: stats.time_max_ms,
        }
    }

    /// The statistics.
    pub fn stats(&self) -> Stats {
        Stats {
            count_raw: self.count,
            maybe_repeats: self.maybe_repeats,
            unordered: self.unordered,
            min: self.min,
            max: self.max,
            first_step: self.first_step,
            first_time_ms: self.first_time_ms,
            first_value: self.first_value,
            last_step: self.last_step,
            last_time_ms: self.last_time_ms,
            last_value: self.last_value,
            time_max_ms: self.time_max_ms,
        }
    }
}

impl PartialEq for KeptSeries {
    /// Bit by bit: NaN equals NaN.
    fn eq(&self, other: &Self) -> bool {
        let key = |it: &Self| {
            let numbers = [it.first_step, it.first_time_ms, it.last_step, it.last_time_ms, it.time_max_ms];
            let values = [it.min, it.max, it.first_value, it.last_value].map(f64::to_bits);
            (it.count, it.maybe_repeats, it.unordered, numbers, values)
        };
        self.key == other.key && key(self) == key(other)
    }
}

impl From<Stage> for &'static str {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::None => "None",
            Stage::Staging => "Staging",
            Stage::Production => "Production",
            Stage::Archived => "Archived",
        }
    }
}

impl From<RunStatus> for &'static str {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => "RUNNING",
            RunStatus::Scheduled => "SCHEDULED",
            RunStatus::Finished => "FINISHED",
            RunStatus::Failed => "FAILED",
            RunStatus::Killed => "KILLED",
        }
    }
}
