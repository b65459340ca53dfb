//! Values of the calls beyond MLflow's on the socket, encoded by the rules of [`super::wire`].

use super::wire::{Arg, Lend, Put, Take, columns, lent_as_copies, lent_whole, structs};
use crate::changes::{Change, FieldChange};
use crate::engine::varint::{Bytes, put_u64};
use crate::mlflow::{
    BranchMetric, Buckets, ColumnValues, CurveHead, Curves, CurvesQuery, EntityChanges, EntityName, Field,
    HistoriesQuery, Liveness, Made, MetricHistories, PastExperiments, PastHistory, PastLoggedModels, PastRegistry,
    PastRun, Process, Rewound, RunBranch, RunColumn, RunColumns, RunKeys, RunWindow, RunsQuery, TailEvent, TailPage,
    TailPoints, TextColumn, WindowQuery,
};
use crate::sync::{Disagreement, Problem, Report};
use crate::{AsOf, Lsn, Positions, TimestampMs};

structs! {
    Change { position, time_ms, actor, event, changes, fields }
    FieldChange { field, version, from, to }
    EntityChanges { position, changes }
    HistoriesQuery { runs, keys, steps, at }
    Buckets {
        position, count, exact_edges, step_first, step_last, counts, min, max, mean, first, last, nan, inf,
    }
    RunsQuery { experiments, filter, order_by, view, limit, columns }
    TextColumn { offsets, text, present }
    RunColumn { name, values }
    RunColumns { position, rows, columns }
    WindowQuery { table, offset, at }
    RunWindow { total, table }
    CurvesQuery { series, steps, buckets, points, at }
    CurveHead { count, rows, bucketed, step_first, step_last }
    Curves { position, heads, steps, times, values, step_first, step_last, counts, min, max, mean, last, non_finite }
    RunKeys { position, runs, complete, metrics, params, tags }
    PastRegistry { position, models, versions }
    PastExperiments { position, experiments }
    PastLoggedModels { position, total, models }
    PastRun { position, run }
    PastHistory { position, columns, more }
    TailEvent { position, time_ms, actor, event, fields }
    TailPage { next, events, points }
    Positions { published, durable, applied, sealed }
    Rewound { points_hidden, branch, position }
    RunBranch { branch, from, from_step, began_ms, ended_ms, ended_position, metrics }
    BranchMetric { key, points, last_step, last_value }
    Process { host, pid, start, boot_id }
    Report { batches_count, events_count, points_count, known_count, problems, problems_count, through }
    Problem { position, what, disagreement }
    Disagreement { entity, field, stays, stays_time_ms, given_up, given_up_time_ms, own_stays }
}

columns! {
    MetricHistories { position, keys, series } steps timestamps values
    TailPoints { position, time_ms, run_id, key } steps timestamps values
}

/// Implements [`Put`] and [`Take`] of enums whose variants hold values.
macro_rules! variants {
    ($($name:ident { $($number:literal $variant:ident $(($($value:ident),*))? $({$($field:ident),*})?),* $(,)? })*) => {
        $(
            impl Put for $name {
                fn put(&self, out: &mut Vec<u8>) {
                    match self {
                        $(Self::$variant $(($($value),*))? $({$($field),*})? => {
                            out.push($number);
                            $($($value.put(out);)*)?
                            $($($field.put(out);)*)?
                        })*
                    }
                }
            }

            impl<'a> Take<'a> for $name {
                fn take(from: &mut Bytes<'a>) -> Option<Self> {
                    Some(match from.u8()? {
                        $($number => {
                            $($(let $value = Take::take(from)?;)*)?
                            $($(let $field = Take::take(from)?;)*)?
                            Self::$variant $(($($value),*))? $({$($field),*})?
                        })*
                        _ => return None,
                    })
                }
            }
        )*
    };
}

variants! {
    AsOf { 0 Position(lsn), 1 Time(time) }
    EntityName {
        0 Run(id), 1 Experiment(id), 2 ExperimentNamed(name), 3 LoggedModel(id), 4 RegisteredModel(name),
        5 ModelVersion(name, version), 6 Named(text),
    }
    ColumnValues { 0 Text(texts), 1 Time(values, present), 2 Number(values, present), 3 Count(values, present) }
    Liveness { 0 Finished, 1 Alive { host, pid }, 2 Lost { since_ms }, 3 Silent { since_ms }, 4 Unknown }
    Field { 0 Nothing, 1 Text(text), 2 Int(int), 3 Pairs(pairs), 4 Texts(texts) }
    Made {
        0 Experiment(id), 1 Run(id), 2 RunUpdate(id), 3 LoggedModel(id), 4 RegisteredModel(name),
        5 ModelVersion(name, version),
    }
}

impl Put for Lsn {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.0);
    }
}

impl<'a> Take<'a> for Lsn {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        from.varint().map(Self)
    }
}

impl Put for TimestampMs {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl<'a> Take<'a> for TimestampMs {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Take::take(from).map(Self)
    }
}

lent_as_copies! { AsOf, Lsn, u64, u32 }
lent_whole! { HistoriesQuery, RunsQuery, EntityName, WindowQuery, CurvesQuery }
