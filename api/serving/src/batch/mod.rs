//! Files of rows through a model: CSV, JSON lines, Parquet and Arrow, in and out.
//!
//! ```text
//! read/ -> chunk -> plan, cast: the signature's types -> Engine::predict_rows -> answer: a cell for each row -> write/
//! '------------------------------ pipeline: several workers, order kept, memory bounded -----------------------------'
//! ```
//!
//! - Rows are numbered as the file has them, from 1. A row that cannot be read, cast or predicted is named with its
//!   number, and ends the job or is left out ([`OnError`]).
//! - A file of answers has one row for each row with an answer, in the order of the input, and has its name only once it
//!   is whole.
//! - Memory holds a few batches for each worker, whatever the file's length.
//!
//! Cells are cast to the signature's types, and keep their value or are refused. That is wider than what MLflow lets a
//! `DataFrame` do (integers may go into doubles), and stricter than its server is with JSON (nothing wraps).

mod answer;
mod cast;
mod chunk;
mod error;
mod folder;
mod form;
mod guess;
mod pipeline;
mod plan;
mod read;
mod values;
mod write;

use std::path::PathBuf;

pub use error::{BadRow, BatchError};
pub use folder::{Pair, claim, pairs};
pub use form::Form;
pub use pipeline::{Done, OnError, Scoring, Watch};
pub use write::Target;

use crate::batch::plan::Plan;
use crate::batch::write::Writer;

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// Scores the rows of one file.
///
/// # Errors
/// The first thing that went wrong; no file of answers is left then.
pub fn score(
    scoring: &Scoring<'_>,
    source: &Source,
    form: Form,
    target: &Target,
    target_form: Form,
    watch: &mut dyn Watch,
) -> Result<Done, BatchError> {
    let (path, mut reader) = match source {
        Source::File(path) => (path.display().to_string(), read::open(path, form, scoring.batch_rows)?),
        Source::Stdin => ("standard input".to_owned(), read::open_stdin(form, scoring.batch_rows)?),
    };
    let schema = scoring.signature.and_then(|signature| signature.inputs.as_ref());
    let refused = |why: String| BatchError::Columns { path: path.clone(), why };
    let plan = Plan::new(schema, reader.names(), scoring.carried).map_err(refused)?;
    reader.narrow(&plan.needed())?;
    let mut plan = plan.narrowed();
    let mut first = None;
    if schema.is_none() && matches!(form, Form::Csv | Form::JsonLines) {
        first = reader.next()?;
        if let Some(rows) = &first {
            plan.guess(&rows.chunk);
        }
    }
    let writer = Writer::new(target, target_form)?;
    pipeline::score(scoring, &path, reader, first, &plan, writer, watch)
}
