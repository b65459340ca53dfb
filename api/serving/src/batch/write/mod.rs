//! Files of answers. The first rows say the columns and their types; later rows have the same.

mod columnar;
mod csv;
mod json_lines;
mod rows;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::batch::answer::Answered;
use crate::batch::error::BatchError;
use crate::batch::form::Form;
use crate::batch::write::rows::{JSON, Rows, cannot_write};

/// Where answers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file. It has its name once it is whole.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// A file of answers that is being written.
pub(crate) struct Writer {
    form: Form,
    target: Target,
    /// The file under its other name, or standard output. It goes to `rows` with the first rows.
    output: Option<Box<dyn Write + Send>>,
    part: Option<PathBuf>,
    rows: Option<(Box<dyn Rows>, SchemaRef)>,
}

impl Writer {
    pub(crate) fn new(target: &Target, form: Form) -> Result<Self, BatchError> {
        let (output, part): (Box<dyn Write + Send>, _) = match target {
            Target::Stdout => (Box::new(std::io::stdout()), None),
            Target::File(path) => {
                let part = part_of(path);
                let file = File::create(&part).map_err(|error| cannot_write(&part.display().to_string(), error))?;
                (Box::new(file), Some(part))
            }
        };
        Ok(Self { form, target: target.clone(), output: Some(output), part, rows: None })
    }

    fn name(&self) -> String {
        match &self.target {
            Target::File(path) => path.display().to_string(),
            Target::Stdout => "standard output".into(),
        }
    }

    /// Writes rows.
    pub(crate) fn write(&mut self, columns: Vec<Answered>) -> Result<(), BatchError> {
        let batch = self.batch(columns)?;
        if self.rows.is_none() {
            let Some(output) = self.output.take() else { return Ok(()) };
            let schema = batch.schema();
            let rows: Box<dyn Rows> = match self.form {
                Form::Csv => Box::new(csv::CsvRows::new(output, self.name(), &schema)?),
                Form::JsonLines => Box::new(json_lines::JsonRows::new(output, self.name())),
                Form::Parquet => Box::new(columnar::ParquetRows::new(output, self.name(), &schema)?),
                Form::Arrow if self.part.is_some() => {
                    Box::new(columnar::ArrowRows::file(output, self.name(), &schema)?)
                }
                Form::Arrow => Box::new(columnar::ArrowRows::stream(output, self.name(), &schema)?),
            };
            self.rows = Some((rows, schema));
        }
        match &mut self.rows {
            Some((rows, _)) => rows.write(&batch),
            None => Ok(()),
        }
    }

    /// The columns as a batch of the types that the first rows had.
    fn batch(&self, columns: Vec<Answered>) -> Result<RecordBatch, BatchError> {
        let answer = |why: String| BatchError::Answer { path: self.name(), why };
        let Some((_, schema)) = &self.rows else {
            let mut fields: Vec<Field> = Vec::with_capacity(columns.len());
            for column in &columns {
                if fields.iter().any(|field| *field.name() == column.name) {
                    return Err(answer(format!("two columns would have the name '{}'", column.name)));
                }
                // A column that is missing in all first rows may have numbers later.
                let kind = match column.cells.data_type() {
                    DataType::Null => DataType::Float64,
                    kind => kind.clone(),
                };
                let mut field = Field::new(&column.name, kind, true);
                if column.is_json {
                    field = field.with_metadata(HashMap::from([(JSON.to_owned(), "true".to_owned())]));
                }
                fields.push(field);
            }
            return build(Arc::new(Schema::new(fields)), columns).map_err(answer);
        };
        let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
        if columns.len() != schema.fields().len()
            || columns.iter().zip(schema.fields()).any(|(column, field)| column.name != *field.name())
        {
            let found: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            return Err(answer(format!(
                "the first answers have the columns {}, later ones {}",
                names(),
                found.join(", ")
            )));
        }
        build(Arc::clone(schema), columns).map_err(answer)
    }

    /// Ends the file, and gives it its name.
    pub(crate) fn finish(mut self) -> Result<(), BatchError> {
        let name = self.name();
        match self.rows.take() {
            Some((rows, _)) => rows.finish()?,
            // Without rows nobody knows the columns: a table without any.
            None => {
                if let Some(output) = self.output.take() {
                    let schema = Arc::new(Schema::empty());
                    match self.form {
                        Form::Csv | Form::JsonLines => drop(output),
                        Form::Parquet => {
                            Box::new(columnar::ParquetRows::new(output, name.clone(), &schema)?).finish()?;
                        }
                        Form::Arrow if self.part.is_some() => {
                            Box::new(columnar::ArrowRows::file(output, name.clone(), &schema)?).finish()?;
                        }
                        Form::Arrow => {
                            Box::new(columnar::ArrowRows::stream(output, name.clone(), &schema)?).finish()?
                        }
                    }
                }
            }
        }
        if let (Some(part), Target::File(path)) = (self.part.take(), &self.target) {
            let done = File::open(&part).and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&part, path));
            done.map_err(|error| cannot_write(&name, error))?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// What was not finished is not left behind.
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            let _ = std::fs::remove_file(part);
        }
    }
}

/// The name of a file while it is written.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.part"))
}

fn build(schema: SchemaRef, columns: Vec<Answered>) -> Result<RecordBatch, String> {
    let rows_count = columns.first().map_or(0, |column| column.cells.len());
    let cells = columns.into_iter().zip(schema.fields()).map(|(column, field)| {
        if column.cells.data_type() == field.data_type() {
            return Ok(column.cells);
        }
        // Values of JSON have a type only if there are any, and a whole number there may stand for a float.
        if column.cells.null_count() == column.cells.len() {
            return Ok(new_null_array(field.data_type(), column.cells.len()));
        }
        if column.cells.data_type().is_integer() && *field.data_type() == DataType::Float64 {
            return arrow_cast::cast(&column.cells, field.data_type()).map_err(|error| error.to_string());
        }
        Err(format!(
            "the first answers '{}' are {}, later ones {}, which cannot stand in one column",
            column.name,
            field.data_type(),
            column.cells.data_type()
        ))
    });
    let cells = cells.collect::<Result<Vec<_>, String>>()?;
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows_count));
    RecordBatch::try_new_with_options(schema, cells, &options).map_err(|error| error.to_string())
}
