//! Encodes row groups of the table `points`.
//!
//! | column | encoding |
//! |---|---|
//! | run_id, key, model_id, dataset_name, dataset_digest, branch, live | by stretches of equal values (`repeats`) |
//! | step, timestamp_ms, position | differences (DELTA_BINARY_PACKED), zstd |
//! | value | bytes of equal weight together (BYTE_STREAM_SPLIT), or a dictionary where few values repeat; zstd |

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::Int32Builder;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, StringArray};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Encoding;
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{DataType as PhysicalType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, ColumnPath, SchemaDescPtr, TypePtr};
use runlode::MetricContext;

use super::file::{properties, zstd};
use super::group::Group;
use super::repeats::{self, Ready, Stretch, joined};

/// Rows of a page. Each of the eight streams of a page of values is then one block of zstd (128 KiB), which has one code: in
/// a block that holds a part of a random stream beside one of few values, both take more room, up to half a byte a value.
const PAGE_ROWS: usize = 128 << 10;
/// Rows that are handed on at once.
const BATCH_ROWS: usize = PAGE_ROWS / 4;
/// Level of zstd for points.
const POINTS_LEVEL: i32 = 1;
/// Most bytes of a dictionary that is written as it is.
const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// Values that are looked at to choose an encoding.
const SAMPLE_VALUES: usize = 2048;

/// The columns of the table, and how they are written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    schema: SchemaRef,
    columns: SchemaDescPtr,
    pub(super) root: TypePtr,
    pub(super) properties: Arc<WriterProperties>,
    /// Those of groups whose values repeat.
    repeating: Arc<WriterProperties>,
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
            // Groups are what readers skip; there is nothing to say of their pages.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_write_batch_size(BATCH_ROWS)
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_data_page_size_limit(2 * 8 * PAGE_ROWS);
        for name in ["step", "timestamp_ms", "position"] {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let value = ColumnPath::from("value");
        let properties = properties
            .set_column_dictionary_enabled(value.clone(), false)
            .set_column_encoding(value.clone(), Encoding::BYTE_STREAM_SPLIT);
        let repeating = properties.clone().set_column_dictionary_enabled(value, true).build();
        let mut properties = properties.build();
        let columns = Arc::new(ArrowSchemaConverter::new().convert(&schema)?);
        let root = columns.root_schema_ptr();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        Ok(Self { schema, columns, root, properties: Arc::new(properties), repeating: Arc::new(repeating) })
    }
}

/// Makes the writers of groups of one kind.
struct Factory {
    properties: Arc<WriterProperties>,
    writers: ArrowRowGroupWriterFactory,
}

/// Encodes groups, one after the other.
pub(super) struct Encoder {
    layout: Layout,
    plain: Factory,
    /// Of groups whose values repeat.
    repeating: Factory,
}

/// An encoded column of a group.
enum Chunk {
    /// Of an array.
    Written(ArrowColumnChunk),
    /// Of numbers, or of stretches.
    Ready(Ready),
}

/// An encoded group.
pub(super) struct Encoded {
    chunks: Vec<Chunk>,
    pub(super) points: u64,
    /// For its end, and for its memory.
    pub(super) group: Group,
}

impl Encoded {
    /// Appends the group to a file; what is left of it is its memory.
    pub(super) fn append_to<W: Write + Send>(self, file: &mut SerializedFileWriter<W>) -> Result<Group, ParquetError> {
        let mut group = file.next_row_group()?;
        for chunk in self.chunks {
            match chunk {
                Chunk::Written(chunk) => chunk.append_to_row_group(&mut group)?,
                Chunk::Ready(ready) => group.append_column(&ready.bytes, ready.close)?,
            }
        }
        group.close()?;
        Ok(self.group)
    }
}

impl Encoder {
    pub(super) fn new(layout: Layout) -> Result<Self, ParquetError> {
        let factory = |properties: &Arc<WriterProperties>| {
            let nowhere = SerializedFileWriter::new(std::io::sink(), layout.root.clone(), properties.clone())?;
            let writers = ArrowRowGroupWriterFactory::new(&nowhere, layout.schema.clone());
            Ok::<_, ParquetError>(Factory { properties: properties.clone(), writers })
        };
        let (plain, repeating) = (factory(&layout.properties)?, factory(&layout.repeating)?);
        Ok(Self { plain, repeating, layout })
    }

    /// Encodes a group. `contexts` are the contexts that its points name.
    pub(super) fn encode(
        &self,
        mut group: Group,
        contexts: &HashMap<u32, Arc<MetricContext>>,
    ) -> Result<Encoded, ParquetError> {
        let points = group.columns.len() as u64;
        let factory = if repeat(&group.columns.values) { &self.repeating } else { &self.plain };
        let mut writers = Writers {
            layout: &self.layout,
            properties: &factory.properties,
            writers: factory.writers.create_column_writers(0)?.into_iter(),
        };
        // As signed numbers.
        let positions = Buffer::from_vec(std::mem::take(&mut group.columns.lsns));
        let columns = &group.columns;
        let of = &group.stretches;
        let mut branches: Vec<i32> = of.iter().map(|stretch| stretch.branch.cast_signed()).collect();
        branches.sort_unstable();
        branches.dedup();
        let branch_at = |branch: u32| branches.binary_search(&branch.cast_signed()).ok().map(|at| at as u32);
        let in_branches = joined(of.iter().map(|stretch| (branch_at(stretch.branch), stretch.points)));
        let live = joined(of.iter().map(|stretch| (Some(u32::from(stretch.live)), stretch.points)));
        let context = Contexts { group: &group, rows: points as usize, contexts };
        let chunks = vec![
            writers.texts(&Texts::of(of.iter().map(|stretch| (stretch.run.to_string(), stretch.points))), false)?,
            writers.texts(&Texts::of(of.iter().map(|stretch| (stretch.key.to_string(), stretch.points))), false)?,
            writers.numbers::<Int64Type>(&columns.steps)?,
            writers.numbers::<Int64Type>(&columns.times)?,
            writers.numbers::<DoubleType>(&columns.values)?,
            writers.texts(&context.texts(|context| context.model_id.as_deref()), true)?,
            writers.texts(&context.texts(|context| context.dataset_name.as_deref()), true)?,
            writers.texts(&context.texts(|context| context.dataset_digest.as_deref()), true)?,
            Chunk::Ready(repeats::numbers(writers.skip()?, &branches, &in_branches)?),
            Chunk::Ready(repeats::flags(writers.skip()?, &live)?),
            writers.numbers::<Int64Type>(positions.typed_data::<i64>())?,
        ];
        // Fresh memory costs more than encoding it.
        group.columns.lsns = positions.into_vec().unwrap_or_default();
        Ok(Encoded { chunks, points, group })
    }
}

/// Whether values repeat so often that a dictionary is shorter: constants, decimals of few digits.
fn repeat(values: &[f64]) -> bool {
    let sample = values.iter().step_by((values.len() / SAMPLE_VALUES).max(1));
    let (mut count, mut distinct) = (0, HashSet::new());
    for value in sample {
        count += 1;
        distinct.insert(value.to_bits());
    }
    distinct.len() * 2 <= count
}

/// The columns of a group, one after the other.
struct Writers<'l> {
    layout: &'l Layout,
    properties: &'l Arc<WriterProperties>,
    writers: std::vec::IntoIter<ArrowColumnWriter>,
}

impl Writers<'_> {
    fn next(&mut self) -> Result<(usize, ArrowColumnWriter), ParquetError> {
        let at = self.layout.schema.fields().len() - self.writers.len();
        let none = || ParquetError::General("a column has no writer".to_owned());
        Ok((at, self.writers.next().ok_or_else(none)?))
    }

    /// The description of the next column, which is not written here.
    fn skip(&mut self) -> Result<ColumnDescPtr, ParquetError> {
        let (at, _) = self.next()?;
        Ok(self.layout.columns.column(at))
    }

    /// A column of numbers, without the detour over an array: that would note the place of every row, and copy all values.
    fn numbers<T: PhysicalType>(&mut self, values: &[T::T]) -> Result<Chunk, ParquetError> {
        let column = self.skip()?;
        let mut out = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut out));
        let mut writer = ColumnWriterImpl::<T>::new(column, self.properties.clone(), pages);
        writer.write_batch(values, None, None)?;
        let close = writer.close()?;
        Ok(Chunk::Ready(Ready { bytes: out.into_inner()?.into(), close }))
    }

    fn array(&mut self, array: &ArrayRef) -> Result<Chunk, ParquetError> {
        let (at, mut writer) = self.next()?;
        for leaf in compute_leaves(self.layout.schema.field(at), array)? {
            writer.write(&leaf)?;
        }
        writer.close().map(Chunk::Written)
    }

    /// A column of texts: by stretches, unless there are so many texts that they had better be compressed.
    fn texts(&mut self, texts: &Texts, sparse: bool) -> Result<Chunk, ParquetError> {
        if texts.bytes > DICTIONARY_BYTES_MAX {
            return self.array(&texts.array());
        }
        let values: Vec<&str> = texts.values.iter().map(String::as_str).collect();
        repeats::texts(self.skip()?, &values, &texts.stretches, sparse).map(Chunk::Ready)
    }
}

/// Texts that repeat for many rows.
#[derive(Default)]
struct Texts {
    values: Vec<String>,
    bytes: usize,
    /// Indexes into the values.
    stretches: Vec<Stretch>,
}

impl Texts {
    fn of(stretches: impl Iterator<Item = (String, usize)>) -> Self {
        let mut texts = Self::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut indexes = Vec::new();
        for (text, rows) in stretches {
            let index = match known.get(&text) {
                Some(index) => *index,
                None => {
                    let index = texts.push(&text);
                    known.insert(text, index);
                    index
                }
            };
            indexes.push((Some(index), rows));
        }
        texts.stretches = joined(indexes.into_iter());
        texts
    }

    fn push(&mut self, text: &str) -> u32 {
        self.bytes += text.len() + 4;
        self.values.push(text.to_owned());
        self.values.len() as u32 - 1
    }

    /// The same, row by row.
    fn array(&self) -> ArrayRef {
        let rows = self.stretches.iter().map(|(_, rows)| rows).sum();
        let mut keys = Int32Builder::with_capacity(rows);
        for (index, rows) in &self.stretches {
            match index {
                Some(index) => keys.append_value_n(index.cast_signed(), *rows),
                None => keys.append_nulls(*rows),
            }
        }
        let values = Arc::new(StringArray::from_iter_values(&self.values));
        Arc::new(DictionaryArray::<Int32Type>::new(keys.finish(), values))
    }
}

/// The contexts of a group's points.
struct Contexts<'g> {
    group: &'g Group,
    rows: usize,
    contexts: &'g HashMap<u32, Arc<MetricContext>>,
}

impl Contexts<'_> {
    /// What they say of one thing.
    fn texts(&self, text: fn(&MetricContext) -> Option<&str>) -> Texts {
        let mut texts = Texts::default();
        let mut known: HashMap<u32, Option<u32>> = HashMap::new();
        let ids = &self.group.columns.contexts;
        let all = [(None, if ids.is_empty() { self.rows } else { 0 })];
        let of_ids: Vec<Stretch> = ids
            .chunk_by(|a, b| a == b)
            .filter_map(|equal| Some((*equal.first()?, equal.len())))
            .map(|(id, rows)| {
                let index = *known.entry(id).or_insert_with(|| {
                    let context = self.contexts.get(&id)?;
                    text(context).map(|text| texts.push(text))
                });
                (index, rows)
            })
            .collect();
        texts.stretches = joined(all.into_iter().chain(of_ids));
        texts
    }
}
