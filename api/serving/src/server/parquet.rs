//! A Parquet file as a frame, with what pandas wrote beside its columns.
//!
//! A file may be a bomb: a few bytes that are a billion rows. What comes out is bounded by [`FRAME_BYTES_MAX`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use runlode_models::enforce::{EnforceError, frame_of_batches};
use runlode_models::signature::Schema;
use runlode_models::{Frame, Label};
use serde_json::Value as Json;

use super::answer::Fault;

/// Memory of all columns of a file.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// What pandas notes of a column whose dtype numpy lacks, each beginning of its name.
const OTHER_DTYPES: [&str; 6] = ["Int", "UInt", "Float", "boolean", "category", "period"];

/// Reads a file as `pandas.read_parquet` does.
///
/// Columns of the schema in a dtype that only pandas has (nullable integers, categories) are refused, as MLflow's
/// enforcement refuses them.
pub(super) fn read(body: Bytes, schema: Option<&Schema>) -> Result<Frame, Fault> {
    let cannot = |error: &dyn std::fmt::Display| {
        Fault::bad_request(format!("Failed to parse input as a Pandas DataFrame: it is no Parquet file: {error}"))
    };
    // The reader may panic on a file that is damaged cleverly enough.
    let read = catch_unwind(AssertUnwindSafe(|| batches(body)));
    let (batches, pandas) = read.unwrap_or_else(|_| Err("it is damaged".into())).map_err(|error| cannot(&error))?;
    if let Some(name) = pandas["columns"].as_array().into_iter().flatten().find_map(|column| refused(column, schema)) {
        let reason = "pandas keeps this column in a dtype of its own, which no type of a signature takes";
        return Err(EnforceError::enforcement(reason).in_column(name).into());
    }
    let mut frame = frame_of_batches(&batches)?;
    let mut labels = pandas["index_columns"].as_array().into_iter().flatten().filter_map(Json::as_str);
    if let Some(label) = labels.next()
        && let Some(place) = frame.columns.iter().position(|column| column.name == Label::text(label))
    {
        frame.index = Some(frame.columns.remove(place).cells);
    }
    // Only the first level of an index with several is kept.
    for label in labels {
        frame.columns.retain(|column| column.name != Label::text(label));
    }
    Ok(frame)
}

/// The rows of a file, and the notes of pandas.
fn batches(body: Bytes) -> Result<(Vec<RecordBatch>, Json), Box<dyn std::error::Error>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(body)?;
    let pandas = builder.schema().metadata().get("pandas").map(|text| serde_json::from_str::<Json>(text));
    let pandas = pandas.and_then(Result::ok).unwrap_or_default();
    let (mut batches, mut bytes_count) = (Vec::new(), 0);
    for batch in builder.build()? {
        let batch = batch?;
        bytes_count += batch.get_array_memory_size();
        if bytes_count > FRAME_BYTES_MAX {
            return Err(format!("its rows take more than {} MiB", FRAME_BYTES_MAX >> 20).into());
        }
        batches.push(batch);
    }
    Ok((batches, pandas))
}

/// The name of a column that the schema has, and that has a dtype of pandas alone.
fn refused<'j>(column: &'j Json, schema: Option<&Schema>) -> Option<&'j str> {
    let name = column["name"].as_str()?;
    let dtype = column["numpy_type"].as_str().unwrap_or_default();
    let is_category = column["pandas_type"].as_str() == Some("categorical");
    let is_other = is_category || OTHER_DTYPES.iter().any(|other| dtype.starts_with(other));
    let Some(Schema::Columns(columns)) = schema else { return None };
    let is_wanted = columns.iter().any(|wanted| match &wanted.name {
        Some(label) => *label == Label::text(name),
        None => true,
    });
    (is_other && is_wanted).then_some(name)
}
