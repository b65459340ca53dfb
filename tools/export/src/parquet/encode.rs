//! Encodes row groups of the table `points`.
//!
//! | column | encoding |
//! |---|---|
//! | run_id, key, model_id, dataset_name, dataset_digest | dictionary |
//! | step, timestamp_ms, position | differences (DELTA_BINARY_PACKED) |
//! | value | bytes of equal weight together (BYTE_STREAM_SPLIT) |
//!
//! All of them are then compressed by zstd.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};
use runlode::MetricContext;

use super::file::{properties, zstd};
use super::group::Group;

/// Level of zstd for points.
const POINTS_LEVEL: i32 = 1;

/// The columns of the table, and how they are written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    schema: SchemaRef,
    pub(super) root: TypePtr,
    pub(super) properties: Arc<WriterProperties>,
}

impl Layout {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let dictionary = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let schema = Arc::new(Schema::new(vec![
            Field::new("run_id", dictionary(), false),
            Field::new("key", dictionary(), false),
            Field::new("step", DataType::Int64, false),
            Field::new("timestamp_ms", DataType::Int64, false),
            Field::new("value", DataType::Float64, false),
            Field::new("model_id", dictionary(), true),
            Field::new("dataset_name", dictionary(), true),
            Field::new("dataset_digest", dictionary(), true),
            Field::new("branch", DataType::Int32, false),
            Field::new("live", DataType::Boolean, false),
            Field::new("position", DataType::Int64, false),
        ]));
        let mut properties = properties()
            .set_compression(zstd(POINTS_LEVEL)?)
            .set_statistics_enabled(EnabledStatistics::Chunk);
        for name in ["step", "timestamp_ms", "position"] {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let value = ColumnPath::from("value");
        let mut properties = properties
            .set_column_dictionary_enabled(value.clone(), false)
            .set_column_encoding(value, Encoding::BYTE_STREAM_SPLIT)
            .build();
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        Ok(Self { schema, root, properties: Arc::new(properties) })
    }
}

/// Encodes groups, one after the other.
pub(super) struct Encoder {
    layout: Layout,
    factory: ArrowRowGroupWriterFactory,
}

/// An encoded group.
pub(super) struct Encoded {
    pub(super) chunks: Vec<ArrowColumnChunk>,
    pub(super) points: u64,
    /// For its end, and for its memory.
    pub(super) group: Group,
}

impl Encoder {
    pub(super) fn new(layout: Layout) -> Result<Self, ParquetError> {
        let nowhere = SerializedFileWriter::new(std::io::sink(), layout.root.clone(), layout.properties.clone())?;
        let factory = ArrowRowGroupWriterFactory::new(&nowhere, layout.schema.clone());
        Ok(Self { layout, factory })
    }

    /// Encodes a group. `contexts` are the contexts that its points name.
    pub(super) fn encode(
        &self,
        mut group: Group,
        contexts: &HashMap<u32, Arc<MetricContext>>,
    ) -> Result<Encoded, ParquetError> {
        let points = group.columns.len() as u64;
        let columns = &mut group.columns;
        let steps = Buffer::from_vec(std::mem::take(&mut columns.steps));
        let times = Buffer::from_vec(std::mem::take(&mut columns.times));
        let values = Buffer::from_vec(std::mem::take(&mut columns.values));
        let lsns = Buffer::from_vec(std::mem::take(&mut columns.lsns));
        let integers = |buffer: &Buffer| -> ArrayRef {
            Arc::new(Int64Array::new(ScalarBuffer::<i64>::from(buffer.clone()), None))
        };
        let stretches = || group.stretches.iter();
        let context = |text: fn(&MetricContext) -> Option<&str>| of_contexts(&group, contexts, text);
        let branches = stretches().flat_map(|s| std::iter::repeat_n(s.branch.cast_signed(), s.points));
        let live = stretches().flat_map(|s| std::iter::repeat_n(Some(s.live), s.points));
        let arrays: Vec<ArrayRef> = vec![
            of_stretches(stretches().map(|s| (s.run.to_string(), s.points))),
            of_stretches(stretches().map(|s| (s.key.to_string(), s.points))),
            integers(&steps),
            integers(&times),
            Arc::new(Float64Array::new(ScalarBuffer::<f64>::from(values.clone()), None)),
            context(|context| context.model_id.as_deref()),
            context(|context| context.dataset_name.as_deref()),
            context(|context| context.dataset_digest.as_deref()),
            Arc::new(Int32Array::from_iter_values(branches)),
            Arc::new(BooleanArray::from_iter(live)),
            integers(&lsns),
        ];
        let mut chunks = Vec::with_capacity(arrays.len());
        let mut writers = self.factory.create_column_writers(0)?.into_iter();
        for (field, array) in self.layout.schema.fields().iter().zip(&arrays) {
            for leaf in compute_leaves(field, array)? {
                let mut writer = writers.next().ok_or_else(|| ParquetError::General("a column has no writer".into()))?;
                writer.write(&leaf)?;
                chunks.push(writer.close()?);
            }
        }
        drop(arrays);
        // Fresh memory costs more than encoding it; a buffer that something still holds is left.
        group.columns.steps = steps.into_vec().unwrap_or_default();
        group.columns.times = times.into_vec().unwrap_or_default();
        group.columns.values = values.into_vec().unwrap_or_default();
        group.columns.lsns = lsns.into_vec().unwrap_or_default();
        Ok(Encoded { chunks, points, group })
    }
}

/// A column of texts that repeat for many rows.
fn of_stretches(stretches: impl Iterator<Item = (String, usize)>) -> ArrayRef {
    let mut texts: Vec<String> = Vec::new();
    let mut keys: Vec<i32> = Vec::new();
    for (text, points) in stretches {
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        keys.resize(keys.len() + points, texts.len() as i32 - 1);
    }
    let values = Arc::new(StringArray::from_iter_values(texts));
    Arc::new(DictionaryArray::<Int32Type>::new(keys.into(), values))
}

/// A column of what the contexts of points say.
fn of_contexts(
    group: &Group,
    contexts: &HashMap<u32, Arc<MetricContext>>,
    text: fn(&MetricContext) -> Option<&str>,
) -> ArrayRef {
    let rows = group.columns.steps.len().max(group.stretches.iter().map(|s| s.points).sum());
    let mut texts: Vec<&str> = Vec::new();
    let mut known: HashMap<u32, Option<i32>> = HashMap::new();
    let mut key_of = |context: u32| {
        *known.entry(context).or_insert_with(|| {
            let text = contexts.get(&context).and_then(|context| text(context))?;
            texts.push(text);
            Some(texts.len() as i32 - 1)
        })
    };
    let keys: Int32Array = if group.columns.contexts.is_empty() {
        Int32Array::new_null(rows)
    } else {
        group.columns.contexts.iter().map(|context| key_of(*context)).collect()
    };
    Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(StringArray::from_iter_values(texts))))
}
