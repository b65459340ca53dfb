//! A model's answer as columns with a cell for each row.
//!
//! ```text
//! DataFrame             its columns
//! array (n), (n, k)     a column `predictions`: values, or lists of k
//! dict of arrays        a column each
//! list of n             a column `predictions`; of objects with values: a column for each key
//! JSON of a worker      the same, as read from the text
//! ```

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, LargeStringBuilder, PrimitiveBuilder};
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray};
use arrow_schema::Field;
use runlode_models::{Cells, Input, Tensor, Value, json};

use crate::engine::Output;

/// The column of an answer that has no names.
const UNNAMED: &str = "predictions";

/// A column of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) name: String,
    pub(crate) cells: ArrayRef,
    /// Whether the texts are JSON: cells of lists and objects.
    pub(crate) is_json: bool,
}

/// The columns of an answer to so many rows.
///
/// # Errors
/// The answer has not one cell for each row, in a sentence.
pub(crate) fn columns(output: Output, rows_count: usize) -> Result<Vec<Answered>, String> {
    match output {
        Output::Data(data) => of_data(data, rows_count),
        Output::Encoded(text) => {
            let value = json::from_slice(&text).map_err(|error| format!("the model's answer is no JSON: {error}"))?;
            of_value(value, rows_count)
        }
    }
}

fn of_data(data: Input, rows_count: usize) -> Result<Vec<Answered>, String> {
    match data {
        Input::Frame(frame) => {
            if frame.rows_count != rows_count {
                return Err(unequal(UNNAMED, frame.rows_count, rows_count));
            }
            frame.columns.into_iter().map(|column| of_cells(column.name.to_string(), column.cells)).collect()
        }
        Input::Tensor(tensor) => Ok(vec![of_tensor(UNNAMED.to_owned(), tensor, rows_count)?]),
        Input::Tensors(tensors) => {
            tensors.into_iter().map(|(name, tensor)| of_tensor(name, tensor, rows_count)).collect()
        }
        Input::Value(value) => of_value(value, rows_count),
    }
}

fn unequal(name: &str, found: usize, rows_count: usize) -> String {
    format!("the model gave {found} answers '{name}' to {rows_count} rows; a file has one answer for each row")
}

fn of_cells(name: String, cells: Cells) -> Result<Answered, String> {
    match cells {
        Cells::Array(_, cells) => Ok(Answered { name, cells, is_json: false }),
        Cells::Objects(values) => Ok(of_values(name, &values)),
    }
}

fn of_tensor(name: String, tensor: Tensor, rows_count: usize) -> Result<Answered, String> {
    let found = tensor.shape.first().copied().unwrap_or(1);
    if tensor.shape.is_empty() && rows_count != 1 || found != rows_count {
        return Err(unequal(&name, found, rows_count));
    }
    let column = of_cells(name, tensor.elements)?;
    let per_row: usize = tensor.shape.iter().skip(1).product();
    // A matrix of one column is a column.
    if per_row == 1 {
        return Ok(column);
    }
    if column.is_json {
        return Err(format!("the model's answer '{}' is a matrix of objects, which no column can hold", column.name));
    }
    let length = i32::try_from(per_row).map_err(|_| format!("the model's answer '{}' is too wide", column.name))?;
    let field = Arc::new(Field::new_list_field(column.cells.data_type().clone(), true));
    let cells = FixedSizeListArray::try_new_with_length(field, length, column.cells, None, rows_count)
        .map_err(|error| error.to_string())?;
    Ok(Answered { name: column.name, cells: Arc::new(cells), is_json: false })
}

fn of_value(value: Value, rows_count: usize) -> Result<Vec<Answered>, String> {
    match value {
        Value::Tensor(tensor) => Ok(vec![of_tensor(UNNAMED.to_owned(), *tensor, rows_count)?]),
        Value::Dict(pairs) => pairs
            .into_iter()
            .map(|(name, value)| match value {
                Value::List(values) if values.len() == rows_count => Ok(of_values(name.to_string(), &values)),
                Value::List(values) => Err(unequal(&name, values.len(), rows_count)),
                Value::Tensor(tensor) => of_tensor(name.to_string(), *tensor, rows_count),
                _ => Err(unequal(&name, 1, rows_count)),
            })
            .collect(),
        Value::List(values) if values.len() == rows_count => Ok(of_list(values)),
        Value::List(values) => Err(unequal(UNNAMED, values.len(), rows_count)),
        value if rows_count == 1 => Ok(of_list(vec![value])),
        _ => Err(unequal(UNNAMED, 1, rows_count)),
    }
}

/// Objects that all have the keys of the first one, and values only, are rows of a table.
fn of_list(values: Vec<Value>) -> Vec<Answered> {
    let is_plain = |value: &Value| !matches!(value, Value::List(_) | Value::Dict(_) | Value::Tensor(_));
    let keys: Option<Vec<Arc<str>>> = match values.first() {
        Some(Value::Dict(pairs)) => Some(pairs.iter().map(|(key, _)| Arc::clone(key)).collect()),
        _ => None,
    };
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return vec![of_values(UNNAMED.to_owned(), &values)] };
    let mut columns: Vec<Vec<Value>> = keys.iter().map(|_| Vec::with_capacity(values.len())).collect();
    for value in &values {
        let Value::Dict(pairs) = value else { return vec![of_values(UNNAMED.to_owned(), &values)] };
        let is_row = pairs.len() == keys.len()
            && pairs.iter().zip(&keys).all(|((key, value), expected)| key == expected && is_plain(value));
        if !is_row {
            return vec![of_values(UNNAMED.to_owned(), &values)];
        }
        columns.iter_mut().zip(pairs).for_each(|(column, (_, value))| column.push(value.clone()));
    }
    keys.iter().zip(columns).map(|(key, values)| of_values(key.to_string(), &values)).collect()
}

/// Values as a column of the narrowest type that holds them, else as JSON.
pub(crate) fn of_values(name: String, values: &[Value]) -> Answered {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| *value == Value::None || is(value));
    let mut is_json = false;
    let cells: ArrayRef =
        if all(|value| matches!(value, Value::Bool(_))) && values.iter().any(|value| *value != Value::None) {
            let mut builder = BooleanBuilder::new();
            values.iter().for_each(|value| match value {
                Value::Bool(value) => builder.append_value(*value),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        } else if all(|value| matches!(value, Value::Int(_))) && values.iter().any(|value| *value != Value::None) {
            let mut builder = PrimitiveBuilder::<Int64Type>::new();
            values.iter().for_each(|value| match value {
                Value::Int(value) => builder.append_value(*value),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        } else if all(|value| matches!(value, Value::Int(_) | Value::Float(_))) {
            let mut builder = PrimitiveBuilder::<Float64Type>::new();
            values.iter().for_each(|value| match value {
                Value::Int(value) => builder.append_value(*value as f64),
                Value::Float(value) => builder.append_value(*value),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        } else if all(|value| matches!(value, Value::Text(_))) {
            let mut builder = LargeStringBuilder::new();
            values.iter().for_each(|value| match value {
                Value::Text(value) => builder.append_value(value),
                _ => builder.append_null(),
            });
            Arc::new(builder.finish())
        } else {
            is_json = true;
            let mut builder = LargeStringBuilder::new();
            values.iter().for_each(|value| match value {
                Value::None => builder.append_null(),
                value => builder.append_value(json::to_string(value)),
            });
            Arc::new(builder.finish())
        };
    Answered { name, cells, is_json }
}
