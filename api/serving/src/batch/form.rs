//! The forms of files of rows.

use std::path::Path;

use crate::batch::error::BatchError;

/// The form of a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text with a line of names first, values between commas.
    Csv,
    /// An object of JSON on each line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC: a file or a stream.
    Arrow,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Csv, Self::JsonLines, Self::Parquet, Self::Arrow];

    /// The form that the ending of a file's name says, letters in either case.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "csv" => Self::Csv,
            "jsonl" | "ndjson" => Self::JsonLines,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            _ => return None,
        })
    }

    /// The form of a file, said or by its ending.
    ///
    /// # Errors
    /// Neither says it; `option` is what would.
    pub fn known(said: Option<Self>, path: &Path, option: &'static str) -> Result<Self, BatchError> {
        said.or_else(|| Self::of_path(path))
            .ok_or_else(|| BatchError::Form { path: path.display().to_string(), option })
    }

    /// The name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The form of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }
}
