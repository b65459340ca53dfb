//! Stage 1 of CSV: `pandas.read_csv` with the dtypes of the schema.
//!
//! Types without a schema: int64 (uint64), float64, bool, else text; an empty field, `NA`, `null` and their like are
//! missing. Fields that rows have beyond the header are the labels of the rows, in front. With a schema, values may not
//! change: `1.0` is an integer, `1.5` is none.

mod table;

use arrow_array::types::UInt64Type;

use super::error::{EnforceError, Fault, Refusal};
use super::scalar::{float_of_field, is_space};
use super::series::{bools, bounds, datetimes, infer, of_floats, of_integers, primitive, texts};
use crate::data::{Cells, Column, DType, Frame, Input, Label, Value};
use crate::schema::{DataType, Scalar, Schema};
use table::{Name, Table};

/// Fields that are missing values.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Reads a CSV file with a header.
///
/// ```
/// use runlode_models::Input;
/// use runlode_models::enforce::csv;
/// use runlode_models::signature::Schema;
///
/// let schema = Schema::from_json(r#"[{"type": "integer", "name": "a"}]"#)?;
/// let Input::Frame(frame) = csv("a,b\n1.0,x\n", Some(&schema))? else { unreachable!() };
/// assert_eq!(frame.columns[0].cells.dtype_name(), "int32");
/// let error = csv("a,b\n1,x\n1.5,y\n", Some(&schema)).unwrap_err();
/// assert_eq!(error.row, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` for an empty file, rows longer than the header, values that do not have the type, and schemas that CSV
/// cannot carry: tensors, nested types, dates.
pub fn csv(text: &str, schema: Option<&Schema>) -> Result<Input, EnforceError> {
    if let Some(Schema::Tensors(_)) = schema {
        return Err(EnforceError::bad_request("CSV carries columns; the signature has tensors"));
    }
    if let Some(Schema::Columns(columns)) = schema
        && let Some(nested) = columns.iter().find(|column| !matches!(column.kind, DataType::Scalar(_)))
    {
        let name = nested.name.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(EnforceError::bad_request("CSV carries scalars only")
            .with(nested.kind.to_string(), "CSV")
            .in_column(name));
    }
    let table = Table::read(text).map_err(|reason| EnforceError::bad_request(format!("no CSV file: {reason}")))?;
    let (is_named, labels_count) = (schema.is_some_and(Schema::has_names), table.labels.len());
    let mut columns = Vec::with_capacity(table.names.len());
    for (at, (name, fields)) in table.names.into_iter().zip(table.columns).enumerate() {
        let kind = schema.and_then(|schema| scalar_of(schema, Some(&name), labels_count + at));
        let name = Label::Text(name.unique.into());
        let cells = match kind {
            None => Ok(inferred(&fields)),
            Some(kind) => typed(&fields, kind, is_named),
        };
        let expected = kind.map_or("text", Scalar::name);
        let cells = cells.map_err(|fault| fault.error(Refusal::BadRequest, Some(&name), expected))?;
        columns.push(Column { name, cells });
    }
    let mut levels = Vec::with_capacity(labels_count);
    for (at, fields) in table.labels.iter().enumerate() {
        let cells = match schema.and_then(|schema| scalar_of(schema, None, at)) {
            None => inferred(fields),
            Some(kind) => {
                typed(fields, kind, is_named).map_err(|fault| fault.error(Refusal::BadRequest, None, kind.name()))?
            }
        };
        levels.push(cells);
    }
    let index = labels(levels, table.rows_count);
    Ok(Input::Frame(Frame { columns, rows_count: table.rows_count, index }))
}

/// The labels of rows; of several levels they are lists.
fn labels(mut levels: Vec<Cells>, rows_count: usize) -> Option<Cells> {
    if levels.len() < 2 {
        return levels.pop();
    }
    let row = |row: usize| Value::List(levels.iter().map(|level| level.value(row)).collect());
    Some(Cells::Objects((0..rows_count).map(row).collect()))
}

/// The type that the schema has for a column, which a repeated name shares. Without names, types go by position, and
/// labels of rows come first.
fn scalar_of(schema: &Schema, name: Option<&Name>, at: usize) -> Option<Scalar> {
    let Schema::Columns(columns) = schema else { return None };
    let column = if schema.has_names() {
        let named = |text: &str| {
            let is = |label: &Label| matches!(label, Label::Text(label) if **label == *text);
            columns.iter().find(|column| column.name.as_ref().is_some_and(is))
        };
        let name = name?;
        named(&name.unique).or_else(|| named(name.repeats.as_deref()?))
    } else {
        columns.get(at)
    };
    match column?.kind {
        DataType::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

fn is_missing(field: &str) -> bool {
    MISSING.contains(&field)
}

/// Whether pandas' reader counts the field as an integer: spaces around, a sign, digits.
fn is_int(field: &str) -> bool {
    let field = field.trim_matches(is_space);
    let digits = field.strip_prefix(['+', '-']).unwrap_or(field);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The integer of a field, if it is one within 127 bits.
fn int_of(field: &str) -> Option<i128> {
    is_int(field).then(|| field.trim_matches(is_space).parse().ok()).flatten()
}

/// `true` and `false` in any case.
fn bool_of(field: &str) -> Option<bool> {
    let is_true = field.eq_ignore_ascii_case("true");
    (is_true || field.eq_ignore_ascii_case("false")).then_some(is_true)
}

/// A column whose type nobody says.
fn inferred(fields: &[String]) -> Cells {
    if fields.is_empty() {
        return Cells::Objects(Vec::new());
    }
    let present = || fields.iter().filter(|field| !is_missing(field));
    let lacks = present().count() < fields.len();
    let text = || texts(fields.iter().map(|field| (!is_missing(field)).then_some(field)));
    let is_long = |field: &&String| int_of(field).is_none_or(|int| i64::try_from(int).is_err());
    match present().find(is_long) {
        None if !lacks => {
            return of_integers(
                DType::Int64,
                present().filter_map(|field| int_of(field)).map(|int| int as i64).collect(),
            );
        }
        // The first field that does not fit decides: an integer too large leaves only unsigned ones, or text.
        Some(field) if is_int(field) => {
            let unsigned = |field: &String| u64::try_from(int_of(field)?).ok();
            return match present().map(unsigned).collect::<Option<Vec<u64>>>() {
                Some(ints) if !lacks => primitive::<UInt64Type>(DType::UInt64, ints),
                _ => text(),
            };
        }
        _ => {}
    }
    let float = |field: &String| if is_missing(field) { Some(f64::NAN) } else { float_of_field(field) };
    if let Some(floats) = fields.iter().map(float).collect::<Option<Vec<f64>>>() {
        return of_floats(DType::Float64, floats);
    }
    if let Some(all) = present().map(|field| bool_of(field)).collect::<Option<Vec<bool>>>() {
        if !lacks {
            return bools(all);
        }
        let value = |field: &String| bool_of(field).map_or(Value::Float(f64::NAN), Value::Bool);
        return infer(fields.iter().map(value).collect());
    }
    text()
}

/// A column in the type of the schema.
fn typed(fields: &[String], kind: Scalar, is_named: bool) -> Result<Cells, Fault> {
    let fault = |row: usize, why: &str| Fault::at(row, &Value::Text(fields[row].as_str().into()), why);
    match kind {
        // pandas gives a dtype by position to what is no text only.
        Scalar::String | Scalar::Binary if !is_named && !fields.iter().all(|field| is_missing(field)) => {
            Ok(texts(fields.iter().map(|field| (!is_missing(field)).then_some(field))))
        }
        Scalar::String | Scalar::Binary => {
            let value = |field: &String| {
                if is_missing(field) { Value::Float(f64::NAN) } else { Value::Text(field.as_str().into()) }
            };
            Ok(Cells::Objects(fields.iter().map(value).collect()))
        }
        Scalar::Datetime if fields.is_empty() => Ok(datetimes(Vec::new())),
        Scalar::Datetime => Err(Fault::new("CSV carries no dates for a signature")),
        Scalar::Float | Scalar::Double => {
            // A column of booleans only is one of numbers too.
            let mut present = fields.iter().filter(|field| !is_missing(field));
            let are_bools = present.all(|field| bool_of(field).is_some());
            let float = |(row, field): (usize, &String)| match bool_of(field) {
                Some(is) if are_bools => Ok(f64::from(u8::from(is))),
                _ if is_missing(field) => Ok(f64::NAN),
                _ => float_of_field(field).ok_or_else(|| fault(row, "the field is no number")),
            };
            let floats = fields.iter().enumerate().map(float).collect::<Result<_, _>>()?;
            Ok(of_floats(kind.dtype(), floats))
        }
        Scalar::Integer | Scalar::Long => {
            let range = bounds(kind.dtype()).unwrap_or((0, 0));
            let are_bools = fields.iter().all(|field| bool_of(field).is_some());
            // One float among them makes all of them floats, which hold 53 bits.
            let are_ints = fields.iter().all(|field| int_of(field).is_some());
            let int = |(row, field): (usize, &String)| {
                if is_missing(field) {
                    return Err(fault(row, "the field is missing, and integers cannot be"));
                }
                let int = match (bool_of(field), int_of(field), float_of_field(field)) {
                    (Some(is), ..) if are_bools => i128::from(is),
                    (_, Some(int), _) if are_ints => int,
                    (_, _, Some(float)) if float.fract() == 0.0 => float as i128,
                    _ => return Err(fault(row, "the field is no integer")),
                };
                if int < range.0 || int > range.1 {
                    return Err(fault(row, "out of the type's bounds"));
                }
                Ok(int as i64)
            };
            Ok(of_integers(kind.dtype(), fields.iter().enumerate().map(int).collect::<Result<_, _>>()?))
        }
        Scalar::Boolean => {
            let are_bools = fields.iter().all(|field| bool_of(field).is_some());
            let truth = |(row, field): (usize, &String)| match bool_of(field) {
                Some(is) if are_bools => Ok(is),
                _ => match float_of_field(field) {
                    Some(float) if float == 0.0 || float == 1.0 => Ok(float == 1.0),
                    _ => Err(fault(row, "the field is neither true nor false")),
                },
            };
            Ok(bools(fields.iter().enumerate().map(truth).collect::<Result<_, _>>()?))
        }
    }
}
