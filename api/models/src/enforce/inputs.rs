//! Stage 1 of `inputs` and `instances`: arrays as numpy makes them, cast to the schema.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::{EnforceError, Fault, Refusal};
use super::nested::{enforce_type, type_name};
use super::numpy::{array, array_as};
use super::scalar::is_scalar;
use crate::data::{Cells, Input, Label, Tensor, Value};
use crate::schema::{ColumnSpec, DataType, Schema, TensorSpec, TensorType};

/// What the schema says of one column or array.
#[derive(Clone, Copy)]
enum Spec<'s> {
    Column(&'s ColumnSpec),
    Tensor(&'s TensorSpec),
}

/// The specs by name; empty without a schema or names.
type Specs<'s> = HashMap<&'s str, Spec<'s>>;

fn specs(schema: Option<&Schema>) -> Specs<'_> {
    match schema {
        Some(Schema::Columns(columns)) => columns
            .iter()
            .filter_map(|column| match &column.name {
                Some(Label::Text(name)) => Some((&**name, Spec::Column(column))),
                _ => None,
            })
            .collect(),
        Some(Schema::Tensors(tensors)) => tensors
            .iter()
            .filter_map(|tensor| match &tensor.name {
                Some(Label::Text(name)) => Some((&**name, Spec::Tensor(tensor))),
                _ => None,
            })
            .collect(),
        None => HashMap::new(),
    }
}

fn first(schema: Option<&Schema>) -> Option<Spec<'_>> {
    match schema? {
        Schema::Columns(columns) => columns.first().map(Spec::Column),
        Schema::Tensors(tensors) => tensors.first().map(Spec::Tensor),
    }
}

impl Spec<'_> {
    fn expected(self) -> String {
        match self {
            Self::Column(column) => column.kind.to_string(),
            Self::Tensor(tensor) => tensor.kind.name().to_owned(),
        }
    }
}

fn refused(fault: Fault, name: Option<&str>, spec: Option<Spec<'_>>) -> EnforceError {
    let name = name.map(Label::text);
    let expected = spec.map_or_else(|| "an array".to_owned(), Spec::expected);
    fault.error(Refusal::BadRequest, name.as_ref(), expected)
}

/// A value as its spec asks for it: an array for a list, a scalar of numpy for a scalar.
fn convert(value: Value, spec: Option<Spec<'_>>) -> Result<Value, Fault> {
    let boxed = |tensor: Tensor| Value::Tensor(Box::new(tensor));
    match spec {
        None => array(value).map(boxed),
        Some(Spec::Tensor(spec)) => array_as(value, &spec.kind).map(boxed),
        Some(Spec::Column(spec)) => match &spec.kind {
            DataType::Scalar(kind) => array_as(value, &TensorType::Known(kind.dtype())).map(boxed),
            DataType::Array(_) | DataType::SparkVector => {
                array(enforce_type(value, &spec.kind, spec.is_required())?).map(boxed)
            }
            kind => enforce_type(value, kind, spec.is_required()),
        },
    }
}

/// The field `inputs`: arrays by name, one array, or a list of maps.
///
/// ```
/// use runlode_models::Input;
/// use runlode_models::enforce::json_inputs;
/// use runlode_models::json;
/// use runlode_models::signature::Schema;
///
/// let schema = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#;
/// let input = json_inputs(json::from_str("[[1, 2.5], [3, 4]]")?, Some(&Schema::from_json(schema)?))?;
/// let Input::Tensor(tensor) = input else { unreachable!() };
/// assert_eq!((&tensor.shape[..], tensor.elements.dtype_name()), (&[2, 2][..], "float32"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` if a value cannot be cast.
pub fn json_inputs(inputs: Value, schema: Option<&Schema>) -> Result<Input, EnforceError> {
    cast(inputs, schema).map(input_of)
}

fn input_of(value: Value) -> Input {
    match value {
        Value::Tensor(tensor) => Input::Tensor(*tensor),
        Value::Dict(entries) if !entries.is_empty() && entries.iter().all(|(_, value)| is_tensor(value)) => {
            let tensor = |(name, value): (Arc<str>, Value)| match value {
                Value::Tensor(tensor) => Some((name.to_string(), *tensor)),
                _ => None,
            };
            Input::Tensors(entries.into_iter().filter_map(tensor).collect())
        }
        other => Input::Value(other),
    }
}

fn is_tensor(value: &Value) -> bool {
    matches!(value, Value::Tensor(_))
}

fn cast(mut inputs: Value, schema: Option<&Schema>) -> Result<Value, EnforceError> {
    let specs = specs(schema);
    if let Some(schema) = schema {
        let has_maps = |items: &[Value]| items.iter().any(|item| matches!(item, Value::Dict(_)));
        let only = if specs.len() == 1 { specs.keys().next() } else { None };
        inputs = match (inputs, only) {
            (Value::List(items), Some(name)) if !has_maps(&items) => {
                Value::Dict(vec![(Arc::from(*name), Value::List(items))])
            }
            (inputs, _) => inputs,
        };
        if !schema.has_names() && !matches!(inputs, Value::List(_)) && !is_scalar(&inputs) {
            let reason = "the signature has no names, so the input is one array or one value";
            return Err(EnforceError::bad_request(reason).with("list", type_name(&inputs)));
        }
    }
    // `row`: which of several maps it is.
    let of_map = |row: Option<usize>, entries: Vec<(Arc<str>, Value)>| {
        let entry = |(name, value): (Arc<str>, Value)| {
            let spec = specs.get(&*name).copied();
            let in_row = |fault: Fault| Fault { row: row.or(fault.row), ..fault };
            let value = convert(value, spec).map_err(|fault| refused(in_row(fault), Some(&name), spec))?;
            Ok((name, value))
        };
        entries.into_iter().map(entry).collect::<Result<Vec<_>, EnforceError>>().map(Value::Dict)
    };
    match inputs {
        Value::Dict(entries) => of_map(None, entries),
        Value::List(items) if items.iter().all(|item| matches!(item, Value::Dict(_))) => {
            let item = |(row, item)| match item {
                Value::Dict(entries) => of_map(Some(row), entries),
                other => Ok(other),
            };
            items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::List)
        }
        other => {
            let spec = first(schema);
            convert(other, spec).map_err(|fault| refused(fault, None, spec))
        }
    }
}

/// The field `instances`: a list of maps becomes arrays by name; all else is as for `inputs`. All arrays have one length.
///
/// # Errors
/// `BAD_REQUEST` if a value cannot be cast, or lengths differ.
pub fn json_instances(instances: Value, schema: Option<&Schema>) -> Result<Input, EnforceError> {
    let value = match instances {
        Value::List(items) if matches!(items.first(), Some(Value::Dict(_))) => of_rows(items, schema)?,
        other => cast(other, schema)?,
    };
    if let Value::Dict(entries) = &value {
        check_lengths(entries, schema)?;
    }
    Ok(input_of(value))
}

fn of_rows(rows: Vec<Value>, schema: Option<&Schema>) -> Result<Value, EnforceError> {
    let specs = specs(schema);
    let mut columns: Vec<(Arc<str>, Vec<Value>)> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for (row, item) in rows.into_iter().enumerate() {
        let Value::Dict(entries) = item else {
            let mut error = EnforceError::bad_request("an instance is a map of values by name, as the first one is");
            (error.row, error.found) = (Some(row), Some(type_name(&item).to_owned()));
            return Err(error);
        };
        for (name, value) in entries {
            let spec = specs.get(&*name).copied();
            // Numbers of one type are converted together.
            let value = match spec {
                Some(Spec::Column(column)) if !matches!(column.kind, DataType::Scalar(_)) => convert(value, spec)
                    .map_err(|fault| refused(Fault { row: Some(row), ..fault }, Some(&name), spec))?,
                _ => value,
            };
            let place = *places.entry(Arc::clone(&name)).or_insert_with(|| {
                columns.push((Arc::clone(&name), Vec::new()));
                columns.len() - 1
            });
            columns[place].1.push(value);
        }
    }
    let column = |(name, values): (Arc<str>, Vec<Value>)| {
        let spec = match specs.get(&*name).copied() {
            Some(Spec::Column(column)) if !matches!(column.kind, DataType::Scalar(_)) => None,
            spec => spec,
        };
        let have_lists = values.iter().any(|value| matches!(value, Value::List(_)));
        let singles = if !specs.contains_key(&*name) && !have_lists { values.clone() } else { Vec::new() };
        let mut tensor = convert(Value::List(values), spec).map_err(|fault| refused(fault, Some(&name), spec))?;
        if let Value::Tensor(tensor) = &mut tensor
            && let Cells::Objects(cells) = &mut tensor.elements
            && singles.len() == cells.len()
        {
            // numpy keeps the array that each value became.
            let single = |value| convert(value, None).map_err(|fault| refused(fault, Some(&name), None));
            *cells = singles.into_iter().map(single).collect::<Result<_, _>>()?;
        }
        Ok((name, tensor))
    };
    columns.into_iter().map(column).collect::<Result<_, EnforceError>>().map(Value::Dict)
}

fn check_lengths(entries: &[(Arc<str>, Value)], schema: Option<&Schema>) -> Result<(), EnforceError> {
    let specs = specs(schema);
    let is_checked = |name: &str, value: &Value| {
        let counts = match value {
            Value::List(_) => true,
            // A scalar of numpy is no array.
            Value::Tensor(tensor) => !(tensor.shape.is_empty() && matches!(specs.get(name), Some(Spec::Column(_)))),
            _ => false,
        };
        counts
            && match specs.get(name) {
                _ if specs.is_empty() => true,
                Some(Spec::Column(column)) => {
                    column.is_required() && !matches!(column.kind, DataType::Array(_) | DataType::SparkVector)
                }
                Some(Spec::Tensor(_)) => true,
                None => false,
            }
    };
    let mut lengths = entries.iter().filter(|(name, value)| is_checked(name, value)).map(|(name, value)| {
        let length = match value {
            Value::List(items) => Some(items.len()),
            Value::Tensor(tensor) => tensor.shape.first().copied(),
            _ => None,
        };
        (name, length)
    });
    let Some((_, expected)) = lengths.next() else { return Ok(()) };
    let Some(expected) = expected else {
        return Err(EnforceError::bad_request("instances is a list of values for each name, not one value"));
    };
    for (name, length) in lengths {
        if length != Some(expected) {
            let found = length.map_or_else(|| "one value".to_owned(), |length| format!("{length} values"));
            let reason = "all inputs have one number of instances";
            return Err(EnforceError::bad_request(reason)
                .with(format!("{expected} values"), found)
                .in_column(name.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_refused_map_of_several_is_named_by_its_row() {
        let schema = Schema::from_json(r#"[{"type": "double", "name": "x", "required": true}]"#).unwrap();
        for (text, row) in [
            (r#"[{"x": "a"}, {"x": 1}]"#, 0),
            (r#"[{"x": 1}, {"x": 2}, {"x": "a"}]"#, 2),
            (r#"[{"x": [1]}, {"x": [1, "a"]}]"#, 1),
        ] {
            let error = json_inputs(json::from_str(text).unwrap(), Some(&schema)).unwrap_err();
            assert_eq!((error.row, error.column.as_deref()), (Some(row), Some("x")), "{text}: {error}");
        }
    }
}
