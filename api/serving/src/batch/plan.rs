//! Which columns of a file go into a model, and in what form.
//!
//! ```text
//! signature                      file
//! columns with names             the columns of these names, each cast to its type
//! columns without names          the columns by position
//! one tensor (-1, 64)            64 columns side by side, or one column of lists of 64
//! tensors with names             a column for each: values for (-1) and (-1, 1), else lists
//! none                           all columns as they are
//! ```
//! Columns that are only carried to the output are never part of a model's input unless they are named in its signature.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, LargeStringArray};
use arrow_schema::DataType as ArrowType;
use runlode_models::signature::{DataType, Scalar, Schema, TensorSpec, TensorType};
use runlode_models::{Cells, Column, DType, Frame, Input, Label, Tensor, Value};

use crate::batch::cast::{Cast, cast, decoded};
use crate::batch::chunk::{Chunk, Given};
use crate::batch::guess::guess;
use crate::batch::values::{arrow_type, free, values};
use crate::onnx::matrix::side_by_side;

/// How the columns of one file become a model's input.
#[derive(Debug)]
pub(crate) struct Plan {
    wanted: Vec<Wanted>,
    form: Form,
    /// Columns of the reader that go to the output as they are.
    pub(crate) carried: Vec<usize>,
}

#[derive(Debug)]
struct Wanted {
    /// The column of the reader; none is an optional one that the file lacks.
    at: Option<usize>,
    label: Label,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(Scalar),
    /// A column of lists, objects or maps: values as they are, which enforcement looks at.
    Nested,
    /// As the file has it.
    Free,
    /// A tensor with this many elements in a row.
    Rows {
        dtype: DType,
        shape: Vec<usize>,
        per_row: usize,
    },
}

#[derive(Debug)]
enum Form {
    Frame,
    /// The wanted columns side by side.
    Matrix {
        dtype: DType,
        shape: Vec<usize>,
    },
    Tensors,
    /// The one wanted column.
    Tensor,
}

/// A cell that keeps its row from being scored.
#[derive(Debug)]
pub(crate) struct BadCell {
    pub(crate) row: usize,
    pub(crate) column: String,
    pub(crate) why: String,
}

/// What a plan makes of rows.
#[derive(Debug)]
pub(crate) enum Made {
    Input(Input),
    /// Some rows are bad.
    Bad(Vec<BadCell>),
}

impl Plan {
    /// Plans for a file with columns of these names; `carried` are names of columns to carry to the output.
    ///
    /// # Errors
    /// Which columns are missing or too many, in a sentence.
    pub(crate) fn new(schema: Option<&Schema>, names: &[String], carried: &[String]) -> Result<Self, String> {
        let at = |name: &str| names.iter().position(|given| given == name);
        let carried: Result<Vec<usize>, String> = carried
            .iter()
            .map(|name| {
                at(name).ok_or_else(|| format!("there is no column '{name}' to carry to the output; {}", has(names)))
            })
            .collect();
        let carried = carried?;
        // Columns without a name in the signature are taken by position.
        let free: Vec<usize> = (0..names.len()).filter(|column| !carried.contains(column)).collect();
        let (wanted, form) = match schema {
            None => {
                let wanted = free.iter().map(|column| Wanted {
                    at: Some(*column),
                    label: Label::Text(names[*column].as_str().into()),
                    kind: Kind::Free,
                });
                (wanted.collect(), Form::Frame)
            }
            Some(Schema::Columns(columns)) => {
                let kind = |kind: &DataType| match kind {
                    DataType::Scalar(scalar) => Kind::Scalar(*scalar),
                    _ => Kind::Nested,
                };
                let mut missing = Vec::new();
                let mut wanted = Vec::with_capacity(columns.len());
                for (position, column) in columns.iter().enumerate() {
                    let label = column.name.clone().unwrap_or(Label::Position(position as i64));
                    let found = match &column.name {
                        Some(name) => at(&name.to_string()),
                        None => free.get(position).copied(),
                    };
                    if found.is_none() && column.is_required() {
                        missing.push(format!("'{label}' ({})", column.kind));
                    }
                    wanted.push(Wanted { at: found, label, kind: kind(&column.kind) });
                }
                if !missing.is_empty() {
                    return Err(format!(
                        "the model wants columns that are missing: {}; {}",
                        missing.join(", "),
                        has(names)
                    ));
                }
                wanted.retain(|wanted| wanted.at.is_some());
                (wanted, Form::Frame)
            }
            Some(Schema::Tensors(tensors)) => match &tensors[..] {
                [TensorSpec { name: None, kind, shape }] => of_one_tensor(kind, shape, names, &free)?,
                tensors => (of_tensors(tensors, names)?, Form::Tensors),
            },
        };
        Ok(Self { wanted, form, carried })
    }

    /// The reader's columns that are needed at all, in the reader's order.
    pub(crate) fn needed(&self) -> Vec<usize> {
        let mut needed: Vec<usize> =
            self.wanted.iter().filter_map(|wanted| wanted.at).chain(self.carried.iter().copied()).collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// The same plan for a reader that gives only the needed columns.
    pub(crate) fn narrowed(mut self) -> Self {
        let needed = self.needed();
        let moved = |at: usize| needed.binary_search(&at).unwrap_or_default();
        self.wanted.iter_mut().for_each(|wanted| wanted.at = wanted.at.map(moved));
        self.carried.iter_mut().for_each(|at| *at = moved(*at));
        self
    }

    /// Gives types to columns that have none, from the first rows.
    pub(crate) fn guess(&mut self, chunk: &Chunk) {
        for wanted in &mut self.wanted {
            let given = wanted.at.and_then(|at| chunk.columns.get(at));
            if let (Kind::Free, Some(scalar)) = (&wanted.kind, given.and_then(guess)) {
                wanted.kind = Kind::Scalar(scalar);
            }
        }
    }

    /// Whether nested columns are left to enforcement by the signature.
    pub(crate) fn has_nested(&self) -> bool {
        self.wanted.iter().any(|wanted| matches!(wanted.kind, Kind::Nested))
    }

    /// Makes the model's input of rows.
    ///
    /// # Errors
    /// A column that no cast helps, in a sentence.
    pub(crate) fn make(&self, chunk: &Chunk) -> Result<Made, String> {
        let mut bad = Vec::new();
        let rows_count = chunk.rows_count;
        let mut labels = Vec::with_capacity(self.wanted.len());
        let mut columns = Vec::with_capacity(self.wanted.len());
        let mut shapes = Vec::new();
        for wanted in &self.wanted {
            let Some(given) = wanted.at.and_then(|at| chunk.columns.get(at)) else { continue };
            debug_assert_eq!(given.len(), rows_count);
            let name = wanted.label.to_string();
            let in_column = |why: String| format!("column '{name}': {why}");
            let cells = match &wanted.kind {
                Kind::Scalar(scalar) => {
                    let cast = if let (Scalar::Binary, Given::Values(values)) = (scalar, given) {
                        let values = values.iter().map(|value| decoded(value).unwrap_or_else(|| value.clone()));
                        cast(&Given::Values(values.collect()), *scalar)
                    } else {
                        self.cast_for(given, *scalar)
                    };
                    let cast = cast.map_err(in_column)?;
                    bad.extend(cast.bad.into_iter().map(|(row, why)| BadCell { row, column: name.clone(), why }));
                    Cells::Array(scalar.dtype(), cast.array)
                }
                Kind::Nested => Cells::Objects(values(given).map_err(in_column)?),
                Kind::Free => free(given).map_err(in_column)?,
                Kind::Rows { dtype, shape, per_row } => {
                    let array = rows(given, *dtype, *per_row, rows_count, &name, &mut bad).map_err(in_column)?;
                    shapes.push(std::iter::once(rows_count).chain(shape.iter().copied()).collect::<Vec<_>>());
                    Cells::Array(*dtype, array)
                }
            };
            labels.push(wanted.label.clone());
            columns.push(cells);
        }
        if !bad.is_empty() {
            bad.sort_by_key(|cell| cell.row);
            return Ok(Made::Bad(bad));
        }
        Ok(Made::Input(match &self.form {
            Form::Frame => {
                let columns = labels.into_iter().zip(columns).map(|(name, cells)| Column { name, cells });
                Input::Frame(Frame { columns: columns.collect(), rows_count, index: None })
            }
            Form::Matrix { dtype, shape } => {
                let arrays: Vec<ArrayRef> = columns
                    .into_iter()
                    .filter_map(|cells| match cells {
                        Cells::Array(_, array) => Some(array),
                        Cells::Objects(_) => None,
                    })
                    .collect();
                let elements = side_by_side(&arrays, rows_count, *dtype)
                    .ok_or_else(|| format!("these columns cannot stand side by side as {}", dtype.name()))?;
                let shape = std::iter::once(rows_count).chain(shape.iter().copied()).collect();
                Input::Tensor(Tensor { shape, elements: Cells::Array(*dtype, elements) })
            }
            Form::Tensors => {
                let tensors = labels.into_iter().zip(columns).zip(shapes);
                let tensors = tensors.map(|((label, elements), shape)| (label.to_string(), Tensor { shape, elements }));
                Input::Tensors(tensors.collect())
            }
            Form::Tensor => match (columns.pop(), shapes.pop()) {
                (Some(elements), Some(shape)) => Input::Tensor(Tensor { shape, elements }),
                _ => return Err("there is no column for the model's array".into()),
            },
        }))
    }

    /// A column's cast; what will stand side by side as floats is cast on the way there.
    fn cast_for(&self, given: &Given, scalar: Scalar) -> Result<Cast, String> {
        if let (Form::Matrix { .. }, Scalar::Float | Scalar::Double, Given::Array(array)) = (&self.form, scalar, given)
            && matches!(
                array.data_type(),
                ArrowType::Float64
                    | ArrowType::Float32
                    | ArrowType::Int64
                    | ArrowType::Int32
                    | ArrowType::Int16
                    | ArrowType::Int8
                    | ArrowType::UInt8
                    | ArrowType::UInt16
                    | ArrowType::UInt32
                    | ArrowType::UInt64
            )
        {
            return Ok(Cast { array: Arc::clone(array), bad: Vec::new() });
        }
        cast(given, scalar)
    }
}

fn has(names: &[String]) -> String {
    const NAMES_MAX: usize = 20;
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("'{name}'")).collect();
    let more = if names.len() > NAMES_MAX { format!(" and {} more", names.len() - NAMES_MAX) } else { String::new() };
    format!("the file has {}{more}", shown.join(", "))
}

/// The dtype of a tensor of numbers, texts or booleans, and the lengths behind the rows.
fn tensor_of(kind: &TensorType, shape: &[i64], what: &str) -> Result<(DType, Vec<usize>), String> {
    let TensorType::Known(dtype) = kind else {
        return Err(format!("{what} is of {}; rows of a file cannot be that", kind.name()));
    };
    let [-1, rest @ ..] = shape else {
        return Err(format!("{what} has the shape {shape:?}; only a first dimension of -1 takes any number of rows"));
    };
    let rest: Option<Vec<usize>> = rest.iter().map(|length| usize::try_from(*length).ok()).collect();
    let rest = rest.ok_or_else(|| {
        format!("{what} has the shape {shape:?}; the rows of a file need fixed lengths behind the first")
    })?;
    Ok((*dtype, rest))
}

fn of_one_tensor(
    kind: &TensorType,
    shape: &[i64],
    names: &[String],
    free: &[usize],
) -> Result<(Vec<Wanted>, Form), String> {
    let (dtype, rest) = tensor_of(kind, shape, "the model's array")?;
    let per_row: usize = rest.iter().product();
    let label = |column: usize| Label::Text(names[column].as_str().into());
    // One column of lists, or of values where a row has one.
    if let [column] = free {
        let kind = Kind::Rows { dtype, shape: rest, per_row };
        return Ok((vec![Wanted { at: Some(*column), label: label(*column), kind }], Form::Tensor));
    }
    if free.len() != per_row {
        return Err(format!(
            "the model takes an array of {per_row} elements in a row, and the file has {} columns for it (`--keep` carries \
             columns past the model); {}",
            free.len(),
            has(names)
        ));
    }
    let scalar = scalar_of(dtype)
        .ok_or_else(|| format!("the model's array is of {}, which columns cannot be cast to", dtype.name()))?;
    let wanted =
        free.iter().map(|column| Wanted { at: Some(*column), label: label(*column), kind: Kind::Scalar(scalar) });
    Ok((wanted.collect(), Form::Matrix { dtype, shape: rest }))
}

fn of_tensors(tensors: &[TensorSpec], names: &[String]) -> Result<Vec<Wanted>, String> {
    let mut missing = Vec::new();
    let mut wanted = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let label = tensor.name.clone().unwrap_or(Label::Position(0));
        let (dtype, shape) = tensor_of(&tensor.kind, &tensor.shape, &format!("the model's array '{label}'"))?;
        let at = names.iter().position(|name| *name == label.to_string());
        if at.is_none() {
            missing.push(format!("'{label}'"));
        }
        let per_row = shape.iter().product();
        wanted.push(Wanted { at, label, kind: Kind::Rows { dtype, shape, per_row } });
    }
    if missing.is_empty() {
        return Ok(wanted);
    }
    Err(format!("the model wants columns that are missing: {}; {}", missing.join(", "), has(names)))
}

/// The scalar type whose casts end in a dtype, or in one that [`side_by_side`] narrows.
fn scalar_of(dtype: DType) -> Option<Scalar> {
    Some(match dtype {
        DType::Bool => Scalar::Boolean,
        DType::Int32 => Scalar::Integer,
        DType::Int64 => Scalar::Long,
        DType::Float32 | DType::Float16 => Scalar::Float,
        DType::Float64 => Scalar::Double,
        _ => return None,
    })
}

/// The elements of a tensor, `per_row` for each row.
fn rows(
    given: &Given,
    dtype: DType,
    per_row: usize,
    rows_count: usize,
    name: &str,
    bad: &mut Vec<BadCell>,
) -> Result<ArrayRef, String> {
    let (flat, lengths) = flat(given, per_row)?;
    for (row, length) in lengths.into_iter().enumerate() {
        if length != per_row {
            let why = format!("{length} elements, expected {per_row}");
            bad.push(BadCell { row, column: name.to_owned(), why });
        }
    }
    if !bad.is_empty() {
        return Ok(Arc::new(LargeStringArray::new_null(0)));
    }
    let array = match dtype {
        DType::Str => {
            let cast = cast(&flat, Scalar::String)?;
            note(cast.bad, per_row, name, bad);
            cast.array
        }
        dtype => {
            let wide = match dtype {
                DType::Float64 => Scalar::Double,
                DType::Float32 | DType::Float16 => Scalar::Float,
                DType::Bool => Scalar::Boolean,
                DType::Bytes | DType::Datetime => return Err(format!("no file has elements of {}", dtype.name())),
                _ => Scalar::Long,
            };
            let made = cast(&flat, wide)?;
            note(made.bad, per_row, name, bad);
            if !bad.is_empty() {
                return Ok(made.array);
            }
            let arrow = arrow_type(dtype);
            let options = arrow_cast::CastOptions { safe: true, ..Default::default() };
            let array =
                arrow_cast::cast_with_options(&made.array, &arrow, &options).map_err(|error| error.to_string())?;
            for element in (0..array.len()).filter(|at| array.is_null(*at) && !made.array.is_null(*at)) {
                let why = format!("an element is out of the range of {}", dtype.name());
                bad.push(BadCell { row: element / per_row.max(1), column: name.to_owned(), why });
            }
            array
        }
    };
    debug_assert!(!bad.is_empty() || array.len() == rows_count * per_row);
    Ok(array)
}

fn note(cells: Vec<(usize, String)>, per_row: usize, name: &str, bad: &mut Vec<BadCell>) {
    bad.extend(cells.into_iter().map(|(element, why)| BadCell {
        row: element / per_row.max(1),
        column: name.to_owned(),
        why,
    }));
}

/// All elements of a column of lists (of lists), and how many each row has. A column of values has one in a row.
fn flat(given: &Given, per_row: usize) -> Result<(Given, Vec<usize>), String> {
    match given {
        Given::Values(values) => {
            let mut all = Vec::with_capacity(values.len() * per_row);
            let mut lengths = Vec::with_capacity(values.len());
            for value in values {
                let before = all.len();
                gather(value, &mut all);
                lengths.push(all.len() - before);
            }
            Ok((Given::Values(all), lengths))
        }
        Given::Array(array) => {
            let mut array = Arc::clone(array);
            let mut lengths = vec![1; array.len()];
            loop {
                array = match array.data_type() {
                    ArrowType::List(_) => {
                        let list = array.as_list::<i32>();
                        let offsets = list.value_offsets();
                        lengths = regrouped(&lengths, offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize));
                        let (start, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
                        list.values().slice(start, end - start)
                    }
                    ArrowType::LargeList(_) => {
                        let list = array.as_list::<i64>();
                        let offsets = list.value_offsets();
                        lengths = regrouped(&lengths, offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize));
                        let (start, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
                        list.values().slice(start, end - start)
                    }
                    ArrowType::FixedSizeList(_, _) => {
                        let list: &FixedSizeListArray = array.as_fixed_size_list();
                        let length = list.value_length() as usize;
                        lengths = regrouped(&lengths, std::iter::repeat(length));
                        list.values().slice(list.value_offset_at(0), list.len() * length)
                    }
                    _ => return Ok((Given::Array(array), lengths)),
                };
            }
        }
    }
}

/// Elements of each row one level deeper.
fn regrouped(lengths: &[usize], mut inner: impl Iterator<Item = usize>) -> Vec<usize> {
    lengths.iter().map(|length| inner.by_ref().take(*length).sum()).collect()
}

fn gather(value: &Value, all: &mut Vec<Value>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| gather(value, all)),
        value => all.push(value.clone()),
    }
}
