//! The log as it grows: batches from a position on, then new ones as they come.
//!
//! A call returns one page. The caller keeps the position of the next one, so that another process may continue.

use std::time::Duration;

use crate::engine::event::payload::Decoded;
use crate::mlflow::Mlflow;
use crate::mlflow::error::ApiResult;
use crate::{Event, Lsn};

/// A value of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// No value.
    Nothing,
    /// Text.
    Text(String),
    /// Number.
    Int(i64),
    /// Keys and values.
    Pairs(Vec<(String, String)>),
    /// Texts.
    Texts(Vec<String>),
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct TailEvent {
    /// Position of its batch.
    pub position: u64,
    /// When the batch was appended, Unix ms.
    pub time_ms: i64,
    /// Author, if the batch named one.
    pub actor: Option<String>,
    /// Kind of the event: `RunCreated`, ...
    pub event: String,
    /// Its fields, by name.
    pub fields: Vec<(String, Field)>,
}

/// Points of one series in one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct TailPoints {
    /// Position of their batch.
    pub position: u64,
    /// When the batch was appended, Unix ms.
    pub time_ms: i64,
    /// Id of the run.
    pub run_id: String,
    /// Key of the metric.
    pub key: String,
    /// Steps, in the order of logging.
    pub steps: Vec<i64>,
    /// Times, Unix ms.
    pub timestamps: Vec<i64>,
    /// Values.
    pub values: Vec<f64>,
}

/// A page of the log. Both lists ascend by position; the events of a batch come before its points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TailPage {
    /// Position of the next page.
    pub next: u64,
    /// Events of entities.
    pub events: Vec<TailEvent>,
    /// Points, including those that compaction removed from the log.
    pub points: Vec<TailPoints>,
}

impl Mlflow {
    /// Batches from a position on, at most `batches`; waits up to `wait_ms` for the first. Only durable batches are
    /// shown.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a position that the log no longer holds.
    pub fn tail(&self, from: u64, batches: u64, wait_ms: u64) -> ApiResult<TailPage> {
        let mut tail = self.store().engine().tail(Lsn(from))?;
        let limit = usize::try_from(batches).unwrap_or(usize::MAX).max(1);
        let found = tail.next(limit, Duration::from_millis(wait_ms))?;
        let mut page = TailPage { next: tail.position().0, ..TailPage::default() };
        if found.is_empty() {
            return Ok(page);
        }
        let snapshot = self.snapshot()?;
        for batch in found {
            let (position, time_ms) = (batch.lsn.0, batch.time.0);
            for decoded in batch.events {
                let (event, fields) = match decoded {
                    Decoded::Known(event) => (event.name().to_owned(), fields(event)),
                    Decoded::Unknown { tag, .. } => (format!("unknown event {tag}"), Vec::new()),
                };
                page.events.push(TailEvent { position, time_ms, actor: batch.actor.clone(), event, fields });
            }
            for (series, columns) in batch.points {
                let key = snapshot.key_name(series.key).map_or_else(String::new, |name| name.to_string());
                page.points.push(TailPoints {
                    position,
                    time_ms,
                    run_id: series.run.to_string(),
                    key,
                    steps: columns.steps,
                    timestamps: columns.times,
                    values: columns.values,
                });
            }
        }
        Ok(page)
    }
}

trait IntoField {
    fn into_field(self) -> Field;
}

impl IntoField for String {
    fn into_field(self) -> Field {
        Field::Text(self)
    }
}

impl<T: IntoField> IntoField for Option<T> {
    fn into_field(self) -> Field {
        self.map_or(Field::Nothing, IntoField::into_field)
    }
}

impl IntoField for Vec<(String, String)> {
    fn into_field(self) -> Field {
        Field::Pairs(self)
    }
}

impl IntoField for Vec<(String, i64)> {
    fn into_field(self) -> Field {
        Field::Pairs(self.into_iter().map(|(key, value)| (key, value.to_string())).collect())
    }
}

impl IntoField for Vec<String> {
    fn into_field(self) -> Field {
        Field::Texts(self)
    }
}

impl IntoField for Vec<crate::DatasetInput> {
    fn into_field(self) -> Field {
        Field::Pairs(self.into_iter().map(|dataset| (dataset.name, dataset.digest)).collect())
    }
}

impl IntoField for Vec<crate::engine::event::Removed> {
    fn into_field(self) -> Field {
        let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = |removed: crate::engine::event::Removed| {
            let (kind, id, bytes, points) = (removed.kind, removed.id, removed.artifact_bytes, removed.points_count);
            let (artifacts, content) = (hex(removed.artifacts_sha256), hex(removed.content_sha256));
            format!("{kind} {id}: {points} points, {bytes} B of files, sha256 {content} and {artifacts}")
        };
        Field::Texts(self.into_iter().map(text).collect())
    }
}

macro_rules! as_text {
    ($($type:ty),*) => { $(
        impl IntoField for $type {
            fn into_field(self) -> Field { Field::Text(self.to_string()) }
        }
    )* };
}
as_text!(crate::RunId, crate::ExperimentId, crate::ModelId, crate::engine::StoreId);

impl IntoField for crate::RegisteredModelId {
    fn into_field(self) -> Field {
        Field::Text(self.0.to_string())
    }
}

macro_rules! as_word {
    ($($type:ty),*) => { $(
        impl IntoField for $type {
            fn into_field(self) -> Field {
                let word: &'static str = self.into();
                Field::Text(word.to_owned())
            }
        }
    )* };
}
as_word!(crate::RunStatus, crate::Stage);

macro_rules! as_debug {
    ($($type:ty),*) => { $(
        impl IntoField for $type {
            fn into_field(self) -> Field { Field::Text(format!("{self:?}")) }
        }
    )* };
}
as_debug!(crate::LoggedModelStatus, crate::VersionStatus);

macro_rules! as_int {
    ($($type:ty),*) => { $(
        impl IntoField for $type {
            fn into_field(self) -> Field { Field::Int(i64::try_from(self).unwrap_or(i64::MAX)) }
        }
    )* };
}
as_int!(i64, u64, u32);

macro_rules! fields {
    ($event:expr, $($name:ident { $($field:ident),* })*) => {
        match $event {
            $(Event::$name(event) => vec![$((named(stringify!($name), stringify!($field)), event.$field.into_field())),*],)*
            // A kind newer than this table: only its name is shown.
            _ => Vec::new(),
        }
    };
}

/// A field's name for callers. A registered model has a number that only events use: `model_number`.
fn named(event: &str, field: &str) -> String {
    match field {
        "run" => "run_id",
        "experiment" => "experiment_id",
        "model" if event.starts_with("LoggedModel") => "model_id",
        "model" => "model_number",
        other => other,
    }
    .to_owned()
}

/// The fields of an event.
#[rustfmt::skip]
fn fields(event: Event) -> Vec<(String, Field)> {
    fields! { event,
        ExperimentCreated { experiment, name, artifact_location, creation_time_ms, last_update_time_ms, tags }
        ExperimentRenamed { experiment, name, at_ms }
        ExperimentTagsSet { experiment, tags }
        ExperimentTagDeleted { experiment, key }
        ExperimentDeleted { experiment, at_ms }
        ExperimentRestored { experiment, at_ms }
        ExperimentPurged { experiment, at_ms }
        RunCreated { run, experiment, name, user_id, status, start_time_ms, artifact_location, tags }
        RunUpdated { run, status, end_time_ms, name }
        RunDeleted { run, at_ms }
        RunRestored { run }
        RunPurged { run }
        ParamsLogged { run, params }
        RunTagsSet { run, tags }
        RunTagDeleted { run, key }
        RunInputsLogged { run, datasets, models }
        RunOutputsLogged { run, models }
        ArtifactLogged { run, path, size_bytes }
        LoggedModelCreated { model, experiment, name, model_type, source_run, artifact_location, status, status_message, creation_time_ms, last_updated_time_ms, params, tags }
        LoggedModelFinalized { model, status, at_ms }
        LoggedModelTagsSet { model, tags }
        LoggedModelTagDeleted { model, key }
        LoggedModelParamsLogged { model, params }
        LoggedModelDeleted { model, at_ms }
        LoggedModelMetricsLogged { model, run, keys }
        LoggedModelPointShared { model, run, key, step, time_ms, value_bits, dataset_name, dataset_digest }
        RegisteredModelCreated { model, name, description, creation_time_ms, last_updated_time_ms, tags }
        RegisteredModelUpdated { model, description, at_ms }
        RegisteredModelRenamed { model, name, at_ms }
        RegisteredModelTagsSet { model, tags }
        RegisteredModelTagDeleted { model, key }
        RegisteredModelDeleted { model }
        AliasSet { model, alias, version }
        AliasDeleted { model, alias }
        ModelVersionCreated { model, version, source, storage_location, run_id, run_link, model_id, user_id, description, stage, status, status_message, creation_time_ms, last_updated_time_ms, tags }
        ModelVersionUpdated { model, version, description, at_ms }
        ModelVersionStageChanged { model, version, stage, at_ms }
        ModelVersionTagsSet { model, version, tags }
        ModelVersionTagDeleted { model, version, key }
        ModelVersionDeleted { model, version, at_ms }
        ProjectLaunched { run, uri, version, entry_point, parameters, environment, backend, attempt }
        LossAccepted { from, to }
        StoreCopied { store, from, to }
        SourceForgotten { store, seen }
        GarbageCollected { at_ms, deleted_before_ms, removed }
    }
}
