//! Stage 1 of CSV: `pandas.read_csv` with the dtypes of the schema.
//!
//! Types without a schema: int64 (uint64), float64, bool, else text; an empty field, `NA`, `null` and their like are
//! missing. If rows have one field more than the header, the first ones are the labels of the rows. With a schema, values
//! may not change: `1.0` is an integer, `1.5` is none.

use arrow_array::types::UInt64Type;

use super::error::{EnforceError, Fault, Refusal};
use super::scalar::float_of_field;
use super::series::{bools, bounds, infer, of_floats, of_integers, primitive, texts};
use crate::data::{Cells, Column, DType, Frame, Input, Label, Value};
use crate::schema::{DataType, Scalar, Schema};

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
    let table = read(text).map_err(|reason| EnforceError::bad_request(format!("no CSV file: {reason}")))?;
    let mut columns = Vec::with_capacity(table.names.len());
    for (at, (name, fields)) in table.names.into_iter().zip(table.columns).enumerate() {
        let name = Label::Text(name.into());
        let kind = schema.and_then(|schema| scalar_of(schema, &name, at));
        let cells = match kind {
            None => Ok(inferred(&fields)),
            Some(kind) => typed(&fields, kind, schema.is_some_and(Schema::has_names)),
        };
        let expected = kind.map_or("text", Scalar::name);
        let cells = cells.map_err(|fault| fault.error(Refusal::BadRequest, Some(&name), expected))?;
        columns.push(Column { name, cells });
    }
    let index = table.index.map(|labels| inferred(&labels));
    Ok(Input::Frame(Frame { columns, rows_count: table.rows_count, index }))
}

fn scalar_of(schema: &Schema, name: &Label, at: usize) -> Option<Scalar> {
    let Schema::Columns(columns) = schema else { return None };
    let column = if schema.has_names() {
        columns.iter().find(|column| column.name.as_ref() == Some(name))
    } else {
        columns.get(at)
    };
    match column?.kind {
        DataType::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

/// The fields of a file by column.
struct Table {
    names: Vec<String>,
    columns: Vec<Vec<String>>,
    index: Option<Vec<String>>,
    rows_count: usize,
}

fn read(text: &str) -> Result<Table, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(header) => header.map_err(|error| error.to_string())?,
        None => return Err("it has no columns".to_owned()),
    };
    let names = unique_names(header.iter());
    let width = names.len();
    let mut table = Table { columns: vec![Vec::new(); width], names, index: None, rows_count: 0 };
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        // The first row decides whether rows have labels.
        if table.rows_count == 0 && record.len() == width + 1 {
            table.index = Some(Vec::new());
        }
        let labels = usize::from(table.index.is_some());
        if record.len() > width + labels {
            let (found, row) = (record.len(), table.rows_count);
            return Err(format!("row {row} has {found} fields, but there are {} columns", width + labels));
        }
        let mut fields = record.iter();
        if let Some(index) = &mut table.index {
            index.push(fields.next().unwrap_or_default().to_owned());
        }
        for column in &mut table.columns {
            column.push(fields.next().unwrap_or_default().to_owned());
        }
        table.rows_count += 1;
    }
    Ok(table)
}

/// `a`, `a.1` for a repeated name, `Unnamed: 0` for an empty one.
fn unique_names<'n>(header: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (at, name) in header.enumerate() {
        let name = if name.is_empty() { format!("Unnamed: {at}") } else { name.to_owned() };
        let mut unique = name.clone();
        let mut repeat = 0;
        while names.contains(&unique) {
            repeat += 1;
            unique = format!("{name}.{repeat}");
        }
        names.push(unique);
    }
    names
}

fn is_missing(field: &str) -> bool {
    MISSING.contains(&field)
}

/// An integer as pandas' reader takes it: spaces around, a sign.
fn int_of(field: &str) -> Option<i128> {
    let field = field.trim_matches(' ');
    let digits = field.strip_prefix(['+', '-']).unwrap_or(field);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| field.parse().ok()).flatten()
}

fn bool_of(field: &str) -> Option<bool> {
    match field {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    }
}

/// A column whose type nobody says.
fn inferred(fields: &[String]) -> Cells {
    if fields.is_empty() {
        return Cells::Objects(Vec::new());
    }
    let present = || fields.iter().filter(|field| !is_missing(field));
    let lacks = present().count() < fields.len();
    if present().all(|field| int_of(field).is_some()) && !(lacks && present().next().is_none()) {
        let ints: Vec<i128> = present().filter_map(|field| int_of(field)).collect();
        let fits = |(min, max): (i128, i128)| ints.iter().all(|int| (min..=max).contains(int));
        if !lacks && fits((i64::MIN.into(), i64::MAX.into())) {
            return of_integers(DType::Int64, ints.into_iter().map(|int| int as i64).collect());
        }
        if !lacks && fits((0, u64::MAX.into())) {
            return primitive::<UInt64Type>(DType::UInt64, ints.into_iter().map(|int| int as u64).collect());
        }
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
    texts(fields.iter().map(|field| (!is_missing(field)).then_some(field)))
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
