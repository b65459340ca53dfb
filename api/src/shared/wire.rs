//! How arguments and results of calls become bytes on the socket between the processes of a store.
//!
//! They follow the rules of [`crate::wire`]. The order and kind of fields is version 1 of the protocol
//! ([`super::protocol`]): changing either makes another version.

use crate::engine::varint::{Bytes, put_i64};
use crate::mlflow::entity::{
    Dataset, DatasetInput, DatasetSummary, Experiment, LoggedModel, Metric, ModelVersion, Paged, RegisteredModel, Run,
    RunInfo, View,
};
use crate::mlflow::{ApiError, ErrorCode, LoggedModelOrder, LongValues, MetricColumns, VersionSource};
pub(super) use crate::wire::{Put, Take, columns, structs};
use crate::{Durability, LoggedModelStatus, RunStatus, Stage, VersionStatus};

/// An argument of a call, in the form that the answering process holds.
pub(crate) trait Arg {
    /// The form in which it is received.
    type Held<'a>: Take<'a> + Lend;
}

/// Lends a received argument to a call.
pub(crate) trait Lend {
    /// The form in which the call takes it.
    type Lent<'b>
    where
        Self: 'b;
    /// Lends the argument to the call.
    fn lend(&self) -> Self::Lent<'_>;
}

columns! {
    MetricColumns {} steps timestamps values
}

// ---- enums and structs -----------------------------------------------------------------------------------------------

macro_rules! enums {
    ($($name:ident { $($number:literal $variant:ident),* })*) => {
        $(
            impl Put for $name {
                fn put(&self, out: &mut Vec<u8>) {
                    out.push(match self { $(Self::$variant => $number),* });
                }
            }

            impl<'a> Take<'a> for $name {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    match from.u8()? {
                        $($number => Some(Self::$variant),)*
                        _ => None,
                    }
                }
            }
        )*
    };
}

enums! {
    RunStatus { 1 Running, 2 Scheduled, 3 Finished, 4 Failed, 5 Killed }
    LoggedModelStatus { 0 Unspecified, 1 Pending, 2 Ready, 3 UploadFailed }
    VersionStatus { 1 PendingRegistration, 2 FailedRegistration, 3 Ready }
    Stage { 0 None, 1 Staging, 2 Production, 3 Archived }
    View { 1 ActiveOnly, 2 DeletedOnly, 3 All }
    Durability { 0 Buffered, 1 Sync }
    LongValues { 0 Keep, 1 Cut, 2 Refuse }
}

structs! {
    Experiment { experiment_id, name, artifact_location, deleted, creation_time, last_update_time, tags }
    RunInfo {
        run_id, run_name, experiment_id, user_id, status, start_time, end_time, artifact_uri, deleted,
    }
    Run { info, metrics, params, tags, dataset_inputs, model_inputs, model_outputs }
    Metric { key, value, timestamp, step, model_id, dataset_name, dataset_digest, run_id }
    Dataset { name, digest, source_type, source, schema, profile }
    DatasetInput { tags, dataset }
    DatasetSummary { experiment_id, name, digest, context }
    LoggedModel {
        model_id, experiment_id, name, model_type, source_run_id, artifact_uri, status, status_message,
        creation_timestamp_ms, last_updated_timestamp_ms, tags, params, metrics,
    }
    RegisteredModel {
        name, creation_timestamp, last_updated_timestamp, description, latest_versions, tags, aliases,
    }
    ModelVersion {
        name, version, creation_timestamp, last_updated_timestamp, user_id, current_stage, description, source, run_id,
        run_link, model_id, status, status_message, tags, aliases,
    }
    LoggedModelOrder { field_name, ascending, dataset_name, dataset_digest }
    VersionSource { source, run_id, model_id }
}

impl<T: Put> Put for Paged<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.items.put(out);
        self.next_page_token.put(out);
    }
}

impl<'a, T: Take<'a>> Take<'a> for Paged<T> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Some(Self { items: Take::take(from)?, next_page_token: Take::take(from)? })
    }
}

impl Put for ApiError {
    fn put(&self, out: &mut Vec<u8>) {
        put_i64(out, self.code.number().into());
        self.message.put(out);
        self.status.put(out);
        self.store_failed.put(out);
    }
}

impl<'a> Take<'a> for ApiError {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let number = i32::try_from(i64::take(from)?).ok()?;
        // A code that only a newer version knows.
        let code = ErrorCode::from_number(number).unwrap_or(ErrorCode::InternalError);
        let message: String = Take::take(from)?;
        Some(Self { status: Take::take(from)?, store_failed: bool::take(from)?, ..Self::new(code, message) })
    }
}

// ---- arguments -------------------------------------------------------------------------------------------------------

impl Arg for &str {
    type Held<'a> = &'a str;
}

impl Lend for &str {
    type Lent<'b>
        = &'b str
    where
        Self: 'b;

    fn lend(&self) -> &str {
        self
    }
}

impl Arg for Option<&str> {
    type Held<'a> = Option<&'a str>;
}

impl Lend for Option<&str> {
    type Lent<'b>
        = Option<&'b str>
    where
        Self: 'b;

    fn lend(&self) -> Option<&str> {
        *self
    }
}

impl<T: for<'a> Take<'a>> Arg for &[T] {
    type Held<'a> = Vec<T>;
}

impl<T> Lend for Vec<T> {
    type Lent<'b>
        = &'b [T]
    where
        Self: 'b;

    fn lend(&self) -> &[T] {
        self
    }
}

macro_rules! lent_as_copies {
    ($($type:ty),*) => {
        $(
            impl Arg for $type {
                type Held<'a> = $type;
            }

            impl Lend for $type {
                type Lent<'b> = $type;

                fn lend(&self) -> $type {
                    self.clone()
                }
            }
        )*
    };
}

pub(super) use lent_as_copies;

/// Arguments that a call takes by reference.
macro_rules! lent_whole {
    ($($type:ty),*) => {
        $(
            impl Arg for &$type {
                type Held<'a> = $type;
            }

            impl Lend for $type {
                type Lent<'b> = &'b $type;

                fn lend(&self) -> &$type {
                    self
                }
            }
        )*
    };
}
pub(super) use lent_whole;

lent_as_copies! {
    i64, bool, Option<i64>, Option<(i64, i64)>, View, RunStatus, Option<RunStatus>, LoggedModelStatus, VersionSource
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::varint::put_u64;

    fn there_and_back<T: Put + for<'a> Take<'a>>(value: &T) -> T {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut from = Bytes::new(&bytes);
        let back = T::take(&mut from).unwrap();
        assert!(from.is_empty());
        // Any truncation is refused or gives a shorter value; it never panics.
        for end in 0..bytes.len() {
            let _ = T::take(&mut Bytes::new(&bytes[..end]));
        }
        back
    }

    #[test]
    fn entities_come_back_as_they_were() {
        let info = RunInfo {
            run_id: "ab".repeat(16),
            run_name: "große-Läufe".into(),
            experiment_id: "3".into(),
            user_id: String::new(),
            status: RunStatus::Killed,
            start_time: -1,
            end_time: Some(i64::MAX),
            artifact_uri: "/x".into(),
            deleted: true,
        };
        let metric = Metric {
            key: "loss".into(),
            value: f64::from_bits(0x7ff8_0000_0000_0001),
            timestamp: 1_700_000_000_000,
            step: i64::MIN,
            model_id: None,
            dataset_name: Some(String::new()),
            dataset_digest: None,
            run_id: None,
        };
        let back = there_and_back(&metric);
        assert_eq!((back.value.to_bits(), back.step), (metric.value.to_bits(), metric.step));
        let run = Run {
            info,
            metrics: vec![Metric { value: 0.5, ..metric }],
            params: vec![("a".into(), "b".into())],
            tags: vec![],
            dataset_inputs: vec![DatasetInput::default()],
            model_inputs: vec!["m-1".into()],
            model_outputs: vec![("m-2".into(), -4)],
        };
        let page = Paged { items: vec![run.clone(), run], next_page_token: Some("t".into()) };
        assert_eq!(there_and_back(&page), page);
    }

    #[test]
    fn columns_keep_every_bit() {
        let columns = MetricColumns {
            steps: vec![i64::MIN, -1, 0, i64::MAX],
            timestamps: vec![0, 1, 2, 3],
            values: vec![f64::NAN, -0.0, f64::INFINITY, 1e-300],
        };
        let back = there_and_back(&columns);
        assert_eq!((&back.steps, &back.timestamps), (&columns.steps, &columns.timestamps));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.values), bits(&columns.values));
    }

    #[test]
    fn errors_keep_code_text_and_status() {
        let error = ApiError::new(ErrorCode::ResourceExhausted, "full").with_status(429);
        assert_eq!(there_and_back(&error), error);
        for code in ErrorCode::ALL {
            assert_eq!(there_and_back(&ApiError::new(*code, "")).code, *code);
        }
    }

    #[test]
    fn lengths_that_lie_take_no_memory() {
        let mut bytes = Vec::new();
        put_u64(&mut bytes, u64::MAX >> 1);
        assert!(Vec::<String>::take(&mut Bytes::new(&bytes)).is_none());
        assert!(String::take(&mut Bytes::new(&bytes)).is_none());
        assert!(MetricColumns::take(&mut Bytes::new(&bytes)).is_none());
    }
}
