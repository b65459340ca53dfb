//! What goes wrong while files are scored.

use std::fmt;
use std::path::PathBuf;

use crate::engine::PredictError;

/// A row that cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadRow {
    /// Its number: the first row of data is 1.
    pub row: u64,
    /// Its line in a file of text, where that is not the row: the first line of the file is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column, where one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column '{column}'")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Why a file is not scored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchError {
    /// The input cannot be read.
    #[error("{path} cannot be read: {why}")]
    Read {
        /// The file, or `standard input`.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The output cannot be written.
    #[error("{path} cannot be written: {why}")]
    Write {
        /// The file, or `standard output`.
        path: String,
        /// What the system says.
        why: String,
    },
    /// Nobody reads the output any more.
    #[error("nobody reads the output any more")]
    ClosedPipe,
    /// The columns are not those that the model takes.
    #[error("{path}: {why}")]
    Columns {
        /// The file, or `standard input`.
        path: String,
        /// Which columns, what is expected and what is found.
        why: String,
    },
    /// A row cannot be scored, and rows are not to be skipped.
    #[error("{path}: {bad}; `--on-error skip` leaves such rows out")]
    Row {
        /// The file, or `standard input`.
        path: String,
        /// The row.
        bad: BadRow,
    },
    /// The model failed on rows.
    #[error("{path}: rows {first} to {last}: {source}")]
    Predict {
        /// The file, or `standard input`.
        path: String,
        /// The first of the rows.
        first: u64,
        /// The last of them.
        last: u64,
        /// What it said.
        source: PredictError,
    },
    /// The model's answer is no answer to each row.
    #[error("{path}: {why}")]
    Answer {
        /// The file, or `standard input`.
        path: String,
        /// What it answered.
        why: String,
    },
    /// The names of files decide their form, and this one says nothing.
    #[error(
        "{path} has no ending that says its form; the endings are .csv, .jsonl, .ndjson, .parquet, .arrow, .feather and \
         .ipc, or say it with `{option} csv|jsonl|parquet|arrow`"
    )]
    Form {
        /// The file.
        path: String,
        /// The option that says it.
        option: &'static str,
    },
    /// An output folder belongs to another job.
    #[error(
        "{}: this folder has the predictions of another job ({difference}); choose an empty folder, or `--overwrite` to \
         make all of them anew", path.display()
    )]
    OtherJob {
        /// The folder.
        path: PathBuf,
        /// What is not the same.
        difference: String,
    },
}
