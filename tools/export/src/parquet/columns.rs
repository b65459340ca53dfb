//! Arrow columns from plain values: texts, numbers, maps of texts, lists of structs.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, Field, Fields};

/// A named column.
pub(super) struct Column {
    name: &'static str,
    array: ArrayRef,
    nullable: bool,
}

/// A column that always has a value.
pub(super) fn full(name: &'static str, array: impl Array + 'static) -> Column {
    Column { name, array: Arc::new(array), nullable: false }
}

/// A column with values that may be missing.
pub(super) fn sparse(name: &'static str, array: impl Array + 'static) -> Column {
    Column { name, array: Arc::new(array), nullable: true }
}

pub(super) fn batch(columns: Vec<Column>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|column| (column.name, column.array, column.nullable)),
    )
}

pub(super) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> StringArray {
    StringArray::from_iter_values(values)
}

pub(super) fn maybe_texts<T: AsRef<str>>(values: impl IntoIterator<Item = Option<T>>) -> StringArray {
    StringArray::from_iter(values)
}

pub(super) fn numbers(values: impl IntoIterator<Item = i64>) -> Int64Array {
    Int64Array::from_iter_values(values)
}

pub(super) fn maybe_numbers(values: impl IntoIterator<Item = Option<i64>>) -> Int64Array {
    Int64Array::from_iter(values)
}

pub(super) fn flags(values: impl IntoIterator<Item = bool>) -> BooleanArray {
    BooleanArray::from_iter(values.into_iter().map(Some))
}

pub(super) fn doubles(values: impl IntoIterator<Item = f64>) -> Float64Array {
    Float64Array::from_iter_values(values)
}

fn structs(columns: Vec<Column>, len: usize) -> StructArray {
    let fields: Fields = columns
        .iter()
        .map(|column| Field::new(column.name, column.array.data_type().clone(), column.nullable))
        .collect();
    let arrays = columns.into_iter().map(|column| column.array).collect();
    if fields.is_empty() { StructArray::new_empty_fields(len, None) } else { StructArray::new(fields, arrays, None) }
}

/// A list of structs for each row. `lengths` are those of the rows; the columns hold the elements of all rows.
pub(super) fn lists(lengths: impl IntoIterator<Item = usize>, columns: Vec<Column>) -> ListArray {
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let len = usize::try_from(offsets.last()).unwrap_or_default();
    let values = structs(columns, len);
    ListArray::new(Arc::new(Field::new("element", values.data_type().clone(), false)), offsets, Arc::new(values), None)
}

/// A list of texts for each row.
pub(super) fn text_lists<'a>(rows: impl Iterator<Item = &'a [String]> + Clone) -> ListArray {
    let values = texts(rows.clone().flatten());
    let offsets = OffsetBuffer::from_lengths(rows.map(<[String]>::len));
    ListArray::new(Arc::new(Field::new("element", values.data_type().clone(), false)), offsets, Arc::new(values), None)
}

fn maps(lengths: impl IntoIterator<Item = usize>, key: StringArray, value: impl Array + 'static) -> MapArray {
    let len = key.len();
    let entries = structs(vec![full("key", key), sparse("value", value)], len);
    let field = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    MapArray::new(field, OffsetBuffer::from_lengths(lengths), entries, None, false)
}

/// A map of texts for each row.
pub(super) fn text_maps<'a>(rows: impl Iterator<Item = &'a [(String, String)]> + Clone) -> MapArray {
    let pairs = rows.clone().flatten();
    let (keys, values) = (texts(pairs.clone().map(|(key, _)| key)), texts(pairs.map(|(_, value)| value)));
    maps(rows.map(<[_]>::len), keys, values)
}

/// A map from texts to numbers for each row.
pub(super) fn number_maps<'a>(rows: impl Iterator<Item = &'a [(Arc<str>, f64)]> + Clone) -> MapArray {
    let pairs = rows.clone().flatten();
    let (keys, values) = (texts(pairs.clone().map(|(key, _)| key)), doubles(pairs.map(|(_, value)| *value)));
    maps(rows.map(<[_]>::len), keys, values)
}
