//! A folder of files: each is scored on its own, those that are finished are not scored again.
//!
//! - A file of answers has its name only when it is whole, so a run that was killed goes on where it ended.
//! - The folder of answers says in `.runlode-predict.json` which job they belong to (model, parameters, columns): another
//!   job does not mix its answers with them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::batch::error::BatchError;
use crate::batch::form::Form;

/// Name of the file that says which job the answers of a folder belong to.
const JOB_FILE: &str = ".runlode-predict.json";

/// A file to score, and where its answers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The file of rows.
    pub input: PathBuf,
    /// Its form.
    pub form: Form,
    /// The file of answers.
    pub output: PathBuf,
    /// Whether the answers are there already.
    pub is_finished: bool,
}

/// The files of a folder and of its subfolders, in the order of their paths. Names that begin with `.` or `_` are passed
/// over, as what writes such folders marks its own files.
///
/// # Errors
/// A folder cannot be read, or the form of a file is not known.
pub fn pairs(input: &Path, said: Option<Form>, output: &Path, output_form: Form) -> Result<Vec<Pair>, BatchError> {
    let mut files = Vec::new();
    gather(input, &mut files)?;
    files.sort();
    let mut pairs: Vec<Pair> = Vec::with_capacity(files.len());
    for file in files {
        let form = Form::known(said, &file, "--from")?;
        let below = file.strip_prefix(input).unwrap_or(&file);
        let target = output.join(below).with_extension(output_form.name());
        if let Some(other) = pairs.iter().find(|pair| pair.output == target) {
            let why = format!("the answers of {} and {} would be one file", other.input.display(), file.display());
            return Err(BatchError::Write { path: target.display().to_string(), why });
        }
        pairs.push(Pair { is_finished: target.exists(), input: file, form, output: target });
    }
    Ok(pairs)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BatchError> {
    let cannot =
        |error: std::io::Error| BatchError::Read { path: folder.display().to_string(), why: error.to_string() };
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_')) {
            continue;
        }
        // A link to a folder could lead back to this one.
        if entry.file_type().map_err(cannot)?.is_dir() {
            gather(&entry.path(), files)?;
        } else if entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Makes the folder of answers, or checks that it belongs to this job.
///
/// # Errors
/// It has the answers of another job, and `overwrite` is false.
pub fn claim(output: &Path, job: &Value, overwrite: bool) -> Result<(), BatchError> {
    let file = output.join(JOB_FILE);
    let cannot = |error: std::io::Error| BatchError::Write { path: file.display().to_string(), why: error.to_string() };
    std::fs::create_dir_all(output).map_err(cannot)?;
    match std::fs::read(&file) {
        Ok(text) if !overwrite => {
            let before: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
            if before == *job {
                return Ok(());
            }
            let empty = serde_json::Map::new();
            let keys = job.as_object().unwrap_or(&empty).keys();
            let other: Vec<String> = keys
                .filter(|key| before[key.as_str()] != job[key.as_str()])
                .map(|key| format!("{key} was {}, is {}", before[key.as_str()], job[key.as_str()]))
                .collect();
            Err(BatchError::OtherJob { path: output.to_path_buf(), difference: other.join("; ") })
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot(error)),
        _ => {
            let text = serde_json::to_vec_pretty(job).unwrap_or_default();
            std::fs::write(&file, text).map_err(cannot)
        }
    }
}
