//! The values of typed calls on the socket; by the rules of [`super::wire`].

use super::typed::{HistoryPart, RunsFound, RunsSearch};
use super::wire::{Arg, Lend, Put, Take, lent_as_copies, lent_whole, structs};
use crate::engine::varint::Bytes;
use crate::info::{DatasetUse, ExperimentInfo, LoggedModelInfo, MetricInfo, RegisteredModelInfo, RunInfo, VersionInfo};
use crate::run::RunChange;
use crate::{
    CompactOptions, CompactReport, DatasetInput, Ended, ExperimentId, ExperimentSpec, GcItem, GcKept, GcKind,
    GcOptions, GcPlan, GcReport, LoggedModelSpec, ModelId, Point, Promotion, RegisteredModelSpec, RegistryChange,
    Rollback, RunId, RunSpec, Stage, VersionSpec,
};

structs! {
    ExperimentSpec { name, artifact_location, tags }
    RunSpec { name, user, tags, id, status, start_time, artifact_location }
    RunChange { status, end_time_ms, name }
    LoggedModelSpec { name, model_type, source_run, artifact_location, params, tags }
    RegisteredModelSpec { name, description, tags }
    VersionSpec { source, run, run_link, model, user, description, storage_location, tags }
    DatasetInput { name, digest, source_type, source, schema, profile, tags }
    Point { step, time, value }
    ExperimentInfo { id, name, artifact_location, deleted, created, updated, tags }
    MetricInfo { key, count, last, min, max }
    DatasetUse { name, digest, tags }
    RunInfo {
        id, experiment, name, user, status, started, ended, deleted, artifact_location, metrics, params, tags, datasets,
        model_inputs, model_outputs,
    }
    LoggedModelInfo {
        id, experiment, name, model_type, source_run, artifact_location, status, deleted, created, updated, params, tags,
    }
    RegisteredModelInfo { name, description, created, updated, tags, aliases, versions }
    VersionInfo { version, stage, source, run, model, user, description, status, created, updated, tags }
    HistoryPart { points, next }
    RunsSearch { experiments, filter, order_by, view, limit, after }
    RunsFound { runs, next }
    Promotion { met, before, now }
    RegistryChange { what, from, to }
    Rollback { position, changes }
}

structs! {
    GcOptions { deleted_before_ms, with_models, artifact_root }
    GcItem { kind, id, name, experiment, deleted_ms, folder, file_bytes, series_bytes, left_at }
    GcKept { kind, id, name, why }
    GcPlan { options, position, items, kept }
    GcReport {
        removed_count, runs_count, file_bytes, bytes_before, bytes_after, pinned_bytes, receipts, skipped,
    }
}

impl Put for GcKind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Run => 1,
            Self::LoggedModel => 2,
            Self::Experiment => 3,
            Self::Orphan => 4,
            Self::File => 5,
        });
    }
}

impl<'a> Take<'a> for GcKind {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        match from.u8()? {
            1 => Some(Self::Run),
            2 => Some(Self::LoggedModel),
            3 => Some(Self::Experiment),
            4 => Some(Self::Orphan),
            5 => Some(Self::File),
            _ => None,
        }
    }
}

/// The first form of the options, of call 890; what came later is an argument of its own.
impl Put for CompactOptions {
    fn put(&self, out: &mut Vec<u8>) {
        self.segment_bytes.put(out);
        self.series_file_bytes.put(out);
    }
}

impl<'a> Take<'a> for CompactOptions {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let mut options = Self::default();
        options.segment_bytes = Take::take(from)?;
        options.series_file_bytes = Take::take(from)?;
        Some(options)
    }
}

lent_whole! { CompactOptions }

impl Put for CompactReport {
    fn put(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.freed_bytes,
            self.pinned_bytes,
            self.segments_before,
            self.segments_after,
            self.series_files_before,
            self.series_files_after,
            self.runs_purged,
            self.runs_pinned,
            self.points_purged,
            self.released.0,
        ];
        numbers[..].put(out);
    }
}

impl<'a> Take<'a> for CompactReport {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        let numbers = Vec::<u64>::take(from)?;
        let mut report = Self::default();
        let fields = [
            &mut report.freed_bytes,
            &mut report.pinned_bytes,
            &mut report.segments_before,
            &mut report.segments_after,
            &mut report.series_files_before,
            &mut report.series_files_after,
            &mut report.runs_purged,
            &mut report.runs_pinned,
            &mut report.points_purged,
            &mut report.released.0,
        ];
        (numbers.len() >= fields.len()).then_some(())?;
        fields.into_iter().zip(numbers).for_each(|(field, number)| *field = number);
        Some(report)
    }
}

/// Ids: 16 bytes, or a number.
macro_rules! ids {
    ($($name:ident($inner:ty))*) => {
        $(
            impl Put for $name {
                fn put(&self, out: &mut Vec<u8>) {
                    self.0.put(out);
                }
            }

            impl<'a> Take<'a> for $name {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    <$inner>::take(from).map(Self)
                }
            }
        )*
    };
}

ids! { ExperimentId(u64) RunId([u8; 16]) ModelId([u8; 16]) }

impl Put for Ended {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Now(lsn) => (0u8, *lsn).put(out),
            Self::Before(status) => (1u8, *status).put(out),
        }
    }
}

impl<'a> Take<'a> for Ended {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        match from.u8()? {
            0 => Take::take(from).map(Self::Now),
            1 => Take::take(from).map(Self::Before),
            _ => None,
        }
    }
}

lent_as_copies! { ExperimentId, RunId, ModelId, Stage, Option<u64> }
lent_whole! {
    ExperimentSpec, RunSpec, RunChange, LoggedModelSpec, RegisteredModelSpec, VersionSpec, RunsSearch, GcOptions, GcPlan
}
