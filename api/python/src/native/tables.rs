//! Answers of the store as Arrow tables: columns are moved, not copied.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray,
    TimestampMillisecondArray,
};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use bytes::Bytes;
use pyo3::prelude::*;
use runlode::AsOf;
use runlode::mlflow::spare::{INDEXES, INTS, NUMBERS, Spare};
use runlode::mlflow::{Buckets, ColumnValues, HistoriesQuery, MetricColumns, MetricHistories, RunColumns};

use super::handle::Handle;
use super::{errors, runs_of, texts};
use crate::arrow::Table;

/// Columns that fit no table: the store's fault, and told as such.
fn unfit(error: &ArrowError) -> PyErr {
    errors::invalid(format!("the answer does not make a table: {error}"))
}

fn nulls(present: Vec<bool>) -> Option<NullBuffer> {
    (!present.is_empty()).then(|| NullBuffer::from(present))
}

fn times(values: Vec<i64>, present: Vec<bool>) -> ArrayRef {
    let array = TimestampMillisecondArray::new(kept(values, &INTS), nulls(present));
    Arc::new(array.with_timezone("UTC"))
}

/// A column that Arrow reads where it lies; its memory is used again when the last reader lets go.
struct Kept<T: 'static> {
    column: Vec<T>,
    spare: &'static Spare<T>,
}

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.column)
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.column));
    }
}

fn kept<T: ArrowNativeType + bytemuck::NoUninit>(column: Vec<T>, spare: &'static Spare<T>) -> ScalarBuffer<T> {
    let len = column.len();
    ScalarBuffer::new(Buffer::from(Bytes::from_owner(Kept { column, spare })), 0, len)
}

fn ints(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::new(kept(values, &INTS), None))
}

fn floats(values: Vec<f64>) -> ArrayRef {
    Arc::new(Float64Array::new(kept(values, &NUMBERS), None))
}

/// A range of steps, open at either end.
pub(super) fn range(steps: Option<(Option<i64>, Option<i64>)>) -> Option<(i64, i64)> {
    let (from, to) = steps?;
    Some((from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)))
}

/// Metric histories, now or at a position: what `Store.history` and `Past.history` are given and answer.
pub(super) fn histories(
    py: Python<'_>,
    handle: &Handle,
    runs: &Bound<'_, PyAny>,
    keys: Option<&Bound<'_, PyAny>>,
    steps: Option<(Option<i64>, Option<i64>)>,
    at: Option<AsOf>,
) -> PyResult<Table> {
    let keys = keys.filter(|keys| !keys.is_none()).map(texts).transpose()?;
    let query = HistoriesQuery { runs: runs_of(handle, runs)?, keys, steps: range(steps), at };
    let found = handle.read(py, |shared| shared.histories(&query))?;
    if found.values.is_empty()
        && let (Some(keys), [run]) = (&query.keys, query.runs.as_slice())
    {
        warn_of_keys(py, handle, run, keys)?;
    }
    of_histories(query.runs, found)
}

/// There are no points: maybe since a key is spelled wrong.
#[cold]
pub(super) fn warn_of_keys(py: Python<'_>, handle: &Handle, run: &str, keys: &[String]) -> PyResult<()> {
    let found = handle.read(py, |shared| shared.run(run))?;
    let names: Vec<&str> = found.metrics.iter().map(|metric| &*metric.key).collect();
    py.import("runlode._missing")?.call_method1("metric", (run, keys, names))?;
    Ok(())
}

/// `run_id`, `key`, `step`, `timestamp`, `value`: a row a point.
fn of_histories(runs: Vec<String>, found: MetricHistories) -> PyResult<Table> {
    let dictionary = |names: Vec<String>, number: fn(&(u32, u32, u64)) -> u32| -> Result<ArrayRef, ArrowError> {
        let mut numbers: Vec<i32> = INDEXES.take();
        numbers.reserve_exact(found.values.len());
        for series in &found.series {
            numbers.resize(numbers.len() + series.2 as usize, number(series) as i32);
        }
        let numbers = Int32Array::new(kept(numbers, &INDEXES), None);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, Arc::new(StringArray::from(names)))?))
    };
    let columns = (|| {
        Ok(vec![
            ("run_id".to_owned(), dictionary(runs, |series| series.0)?),
            ("key".to_owned(), dictionary(found.keys.clone(), |series| series.1)?),
        ])
    })();
    let mut columns = columns.map_err(|error| unfit(&error))?;
    columns.extend([
        ("step".to_owned(), ints(found.steps)),
        ("timestamp".to_owned(), times(found.timestamps, Vec::new())),
        ("value".to_owned(), floats(found.values)),
    ]);
    Table::new(columns).map_err(|error| unfit(&error))
}

/// A row a point of one series.
pub(super) fn of_branch(found: MetricColumns) -> PyResult<Table> {
    let columns = vec![
        ("step".to_owned(), ints(found.steps)),
        ("timestamp".to_owned(), times(found.timestamps, Vec::new())),
        ("value".to_owned(), floats(found.values)),
    ];
    Table::new(columns).map_err(|error| unfit(&error))
}

/// A row a bucket.
pub(super) fn of_buckets(found: Buckets) -> PyResult<Table> {
    let columns = [
        ("step_first", ints(found.step_first)),
        ("step_last", ints(found.step_last)),
        ("count", ints(found.counts)),
        ("min", floats(found.min)),
        ("max", floats(found.max)),
        ("mean", floats(found.mean)),
        ("first", floats(found.first)),
        ("last", floats(found.last)),
        ("nan", ints(found.nan)),
        ("inf", ints(found.inf)),
    ];
    let columns = columns.map(|(name, column)| (name.to_owned(), column)).to_vec();
    Table::new(columns).map_err(|error| unfit(&error))
}

/// A row a run.
pub(super) fn of_runs(found: RunColumns) -> PyResult<Table> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::with_capacity(found.columns.len());
    for column in found.columns {
        let array: ArrayRef = match column.values {
            ColumnValues::Text(text) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(text.offsets));
                let bytes = Buffer::from_vec(text.text.into_bytes());
                let array = LargeStringArray::try_new(offsets, bytes, nulls(text.present));
                Arc::new(array.map_err(|error| unfit(&error))?)
            }
            ColumnValues::Time(values, present) => times(values, present),
            ColumnValues::Number(values, present) => {
                Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls(present)))
            }
            ColumnValues::Count(values, present) => {
                Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls(present)))
            }
        };
        columns.push((column.name, array));
    }
    Table::new(columns).map_err(|error| unfit(&error))
}
