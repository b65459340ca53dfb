//! Enforcement compared with MLflow's own, on cases generated from a seed: the same refusals, dtypes and values.
//!
//! `RUNLODE_MODELS_CASES` is how many cases are compared, `RUNLODE_MODELS_SEED` the seed. With
//! `RUNLODE_WITHOUT_MLFLOW=1` nothing is compared, and the test says so.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use runlode_models::enforce::{self, EnforceError, Refusal};
use runlode_models::signature::{ParamSchema, Schema, Signature};
use runlode_models::{Cells, Column, DType, Frame, Input, Tensor, Value, json};

#[path = "../../../tests/src/python.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a file of the suites' crate, which use all of it")]
mod python;

/// A key of a map of JSON.
fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let Value::Dict(entries) = value else { return None };
    entries.iter().find(|(name, _)| &**name == key).map(|(_, value)| value).filter(|value| **value != Value::None)
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

/// A value as the script in Python writes it.
fn cell(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(cell).collect::<Vec<_>>().join(", ");
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BigInt(digits) => digits.to_string(),
        Value::Float(number) if number.is_nan() => "nan".to_owned(),
        Value::Float(number) => match json::to_string(value).as_str() {
            "Infinity" => "f:inf".to_owned(),
            "-Infinity" => "f:-inf".to_owned(),
            _ => format!("f:{}", json::to_string(&Value::Float(*number))),
        },
        Value::Text(text) => format!("s:{text}"),
        Value::Bytes(bytes) => bytes.iter().fold("b:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        Value::Datetime(None) => "NaT".to_owned(),
        Value::Datetime(Some(nanos)) => format!("t:{nanos}"),
        Value::Date(_) => format!("d:{}", json::to_string(value).trim_matches('"')),
        Value::List(items) => format!("[{}]", list(items)),
        Value::Dict(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {}", cell(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Tensor(tensor) if tensor.shape.is_empty() => format!("array({})", cell(&tensor.elements.value(0))),
        Value::Numpy(dtype, value) => format!("{}({})", dtype.name(), cell(value)),
        Value::Tensor(tensor) => match tensor.to_value() {
            Value::List(items) if tensor.shape.len() == 1 => format!("array[{}]", list(&items)),
            nested => nested_array(&nested),
        },
    }
}

/// Arrays inside an array are arrays.
fn nested_array(value: &Value) -> String {
    match value {
        Value::List(items) => format!("array[{}]", items.iter().map(nested_array).collect::<Vec<_>>().join(", ")),
        other => cell(other),
    }
}

fn of_tensor(tensor: &Tensor) -> String {
    let cells: Vec<String> = tensor.elements.values().iter().map(cell).collect();
    format!("{} {:?} {cells:?}", tensor.elements.dtype_name(), tensor.shape)
}

/// What a model is handed, as a text.
fn shown(input: &Input) -> String {
    match input {
        Input::Frame(frame) => {
            let column = |column: &Column| {
                let cells: Vec<String> = column.cells.values().iter().map(cell).collect();
                format!("{}: {} {cells:?}", column.name, column.cells.dtype_name())
            };
            let columns: Vec<String> = frame.columns.iter().map(column).collect();
            let index = frame
                .index
                .as_ref()
                .filter(|labels| !labels.is_empty())
                .map(|labels| labels.values().iter().map(cell).collect::<Vec<_>>());
            format!("frame {} [{}] {index:?}", frame.rows_count, columns.join("; "))
        }
        Input::Tensor(tensor) => format!("tensor {}", of_tensor(tensor)),
        Input::Tensors(tensors) => {
            let all: Vec<String> =
                tensors.iter().map(|(name, tensor)| format!("{name}: {}", of_tensor(tensor))).collect();
            format!("tensors [{}]", all.join("; "))
        }
        Input::Value(value) => format!("value {}", cell(value)),
    }
}

/// The same text of MLflow's outcome.
fn expected(outcome: &Value) -> String {
    if let Some(code) = get(outcome, "refused") {
        return format!("refused {}", text(code));
    }
    let cells = |of: &Value| -> Vec<String> {
        let Some(Value::List(cells)) = get(of, "cells") else { panic!("no cells") };
        cells.iter().map(|cell| text(cell).to_owned()).collect()
    };
    let tensor = |of: &Value| {
        let Some(Value::List(shape)) = get(of, "shape") else { panic!("no shape") };
        let shape: Vec<String> = shape.iter().map(json::to_string).collect();
        format!("{} [{}] {:?}", text(get(of, "dtype").unwrap()), shape.join(", "), cells(of))
    };
    let mut out = if let Some(Value::List(columns)) = get(outcome, "frame") {
        let column = |of: &Value| {
            format!("{}: {} {:?}", text(get(of, "name").unwrap()), text(get(of, "dtype").unwrap()), cells(of))
        };
        let columns: Vec<String> = columns.iter().map(column).collect();
        let rows = json::to_string(get(outcome, "rows").unwrap());
        let labels = |labels: &Value| match labels {
            Value::List(labels) => labels.iter().map(|label| text(label).to_owned()).collect::<Vec<_>>(),
            other => panic!("{other:?} are no labels"),
        };
        let index = get(outcome, "index").map(labels);
        format!("frame {rows} [{}] {index:?}", columns.join("; "))
    } else if let Some(one) = get(outcome, "tensor") {
        format!("tensor {}", tensor(one))
    } else if let Some(Value::List(all)) = get(outcome, "tensors") {
        let one = |pair: &Value| {
            let Value::List(pair) = pair else { panic!("no pair") };
            format!("{}: {}", text(&pair[0]), tensor(&pair[1]))
        };
        format!("tensors [{}]", all.iter().map(one).collect::<Vec<_>>().join("; "))
    } else {
        format!("value {}", text(get(outcome, "value").unwrap()))
    };
    if let Some(Value::List(params)) = get(outcome, "params") {
        let one = |pair: &Value| {
            let Value::List(pair) = pair else { panic!("no pair") };
            format!("{}={}", text(&pair[0]), text(&pair[1]))
        };
        let _ = write!(out, " params {}", params.iter().map(one).collect::<Vec<_>>().join(" "));
    }
    out
}

fn refused(error: &EnforceError) -> String {
    let code = match error.refusal {
        Refusal::BadRequest => "BR",
        Refusal::InvalidParameter => "IP",
        Refusal::Enforcement => "SE",
    };
    format!("refused {code}")
}

/// A typed column of a library call.
fn typed(dtype: &str, cells: &[Value]) -> Cells {
    use arrow_array::types::{
        Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    };
    use arrow_array::{ArrayRef, BooleanArray, LargeStringArray, PrimitiveArray};
    let int = |value: &Value| match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::BigInt(digits) => digits.parse().ok(),
        _ => None,
    };
    let float = |value: &Value| match value {
        Value::Float(number) => *number,
        Value::Int(number) => *number as f64,
        _ => f64::NAN,
    };
    macro_rules! ints {
        ($type:ty, $native:ty) => {
            Arc::new(PrimitiveArray::<$type>::from_iter(cells.iter().map(|cell| int(cell).map(|int| int as $native))))
                as ArrayRef
        };
    }
    if dtype == "object" {
        return Cells::Objects(cells.to_vec());
    }
    let kind = DType::of_name(dtype).unwrap();
    let floats: Vec<f64> = cells.iter().map(float).collect();
    let array: ArrayRef = match kind {
        DType::Bool => Arc::new(BooleanArray::from_iter(cells.iter().map(|cell| Some(*cell == Value::Bool(true))))),
        DType::Int8 => ints!(Int8Type, i8),
        DType::Int16 => ints!(Int16Type, i16),
        DType::Int32 => ints!(Int32Type, i32),
        DType::Int64 => ints!(Int64Type, i64),
        DType::UInt8 => ints!(UInt8Type, u8),
        DType::UInt16 => ints!(UInt16Type, u16),
        DType::UInt32 => ints!(UInt32Type, u32),
        DType::UInt64 => ints!(UInt64Type, u64),
        DType::Datetime => ints!(TimestampNanosecondType, i64),
        DType::Float16 => {
            Arc::new(PrimitiveArray::<Float16Type>::from_iter_values(floats.iter().map(|f| half::f16::from_f64(*f))))
        }
        DType::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(floats.iter().map(|f| *f as f32))),
        DType::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(floats)),
        DType::Str | DType::Bytes => Arc::new(LargeStringArray::from_iter(
            cells.iter().map(|cell| if let Value::Text(text) = cell { Some(text.to_string()) } else { None }),
        )),
    };
    Cells::Array(kind, array)
}

fn frame(columns: &Value) -> Input {
    let Value::List(columns) = columns else { panic!("no columns") };
    let column = |column: &Value| {
        let Value::List(parts) = column else { panic!("no column") };
        let Value::List(cells) = &parts[2] else { panic!("no cells") };
        Column::new(text(&parts[0]), typed(text(&parts[1]), cells))
    };
    Input::Frame(Frame::new(columns.iter().map(column).collect()))
}

/// What comes out here.
fn ours(case: &Value) -> String {
    let inputs = get(case, "inputs").map(|inputs| Schema::from_json(&json::to_string(inputs)).unwrap());
    let params = get(case, "params").map(|params| ParamSchema::from_json(&json::to_string(params)).unwrap());
    let signature = Signature { inputs, outputs: None, params };
    let run = || -> Result<String, EnforceError> {
        let (data, params) = if let Some(columns) = get(case, "frame") {
            (frame(columns), None)
        } else if let Some(csv) = get(case, "csv") {
            (enforce::csv(text(csv), signature.inputs.as_ref())?, None)
        } else {
            let request = enforce::json_request(get(case, "body").unwrap().clone(), &signature, false)?;
            (request.data, request.params)
        };
        let data = enforce::enforce(data, &signature)?;
        let params = enforce::params(params, signature.params.as_ref())?;
        let mut out = shown(&data);
        if let Some(params) = params.filter(|params| !params.is_empty()) {
            let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect();
            let _ = write!(out, " params {}", params.join(" "));
        }
        Ok(out)
    };
    run().unwrap_or_else(|error| refused(&error))
}

#[test]
fn generated_cases_end_as_in_mlflow() {
    if python::is_left_out() {
        println!("skipped: {}", python::WITHOUT);
        return;
    }
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python");
    let cases = match std::env::var("RUNLODE_MODELS_FILE") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => {
            let python = python::environment(&folder).unwrap();
            let output = Command::new(python)
                .arg(folder.join("models/enforcement.py"))
                .args([variable("RUNLODE_MODELS_SEED", "1"), variable("RUNLODE_MODELS_CASES", "500")])
                .stderr(Stdio::inherit())
                .output()
                .unwrap();
            assert!(output.status.success(), "the script failed: {:?}", output.status);
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let (mut count, mut wrong) = (0, 0);
    for line in cases.lines() {
        let case = json::from_str(line).unwrap();
        let outcome = get(&case, "mlflow").unwrap();
        let (theirs, ours) = (expected(outcome), ours(&case));
        count += 1;
        if theirs != ours {
            wrong += 1;
            println!("{}\n    MLflow {theirs}\n    ours   {ours}", line.split(", \"mlflow\"").next().unwrap_or(line));
            if let Some(why) = get(outcome, "why") {
                println!("    why    {}", text(why).replace('\n', " "));
            }
        }
    }
    assert!(count > 0, "no cases");
    assert_eq!(wrong, 0, "{wrong} of {count} cases differ");
}
