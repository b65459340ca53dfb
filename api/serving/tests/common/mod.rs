//! What the tests of this crate share: ONNX Runtime, and the inputs and answers of `tests/data/onnx/*/cases.json`.

#![allow(unreachable_pub, dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeStringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use half::f16;
use runlode_models::{Cells, Column, DType, Frame, Input, Label, Tensor, Value};
use runlode_serving::onnx::Search;
use serde_json::Value as Json;

#[path = "../../../../tests/src/python.rs"]
pub mod python;

/// The folder of a model that the tests have.
pub fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx").join(name)
}

/// The folder of the whole project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Python whose packages the tests use, or none if they are to go without.
pub fn python() -> Option<PathBuf> {
    if python::is_left_out() {
        println!("skipped: RUNLODE_WITHOUT_MLFLOW is set");
        return None;
    }
    Some(python::environment(&project().join("tests/python")).unwrap_or_else(|error| panic!("{error}")))
}

/// ONNX Runtime of that Python.
pub fn search() -> Option<Search> {
    Some(Search { library: None, pythons: vec![python()?] })
}

/// A case of `cases.json`: what it is, the input, and MLflow's answer or error.
pub struct Case {
    pub what: String,
    pub input: Input,
    pub expected: Json,
}

/// The cases of a model.
pub fn cases(name: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(model(name).join("cases.json")).unwrap();
    let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
    let case = |case: Json| Case {
        what: format!("{name}, {}", case["what"].as_str().unwrap()),
        input: input(&case["input"]),
        expected: case,
    };
    cases.into_iter().map(case).collect()
}

fn input(json: &Json) -> Input {
    if let Some(columns) = json["frame"].as_array() {
        let columns: Vec<Column> = columns
            .iter()
            .map(|column| Column {
                name: Label::Text(column["name"].as_str().unwrap().into()),
                cells: cells(column["dtype"].as_str().unwrap(), column["values"].as_array().unwrap()),
            })
            .collect();
        let rows_count = match &columns[0].cells {
            Cells::Array(_, values) => values.len(),
            Cells::Objects(values) => values.len(),
        };
        return Input::Frame(Frame { columns, rows_count, index: None });
    }
    if let Some(tensors) = json["tensors"].as_array() {
        return Input::Tensors(
            tensors.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), tensor(one))).collect(),
        );
    }
    Input::Tensor(tensor(&json["tensor"]))
}

fn tensor(json: &Json) -> Tensor {
    Tensor {
        shape: json["shape"].as_array().unwrap().iter().map(|length| length.as_u64().unwrap() as usize).collect(),
        elements: cells(json["dtype"].as_str().unwrap(), json["values"].as_array().unwrap()),
    }
}

/// A number as Python wrote it; what JSON lacks stands there as a text.
pub fn number(json: &Json) -> f64 {
    match json {
        Json::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap(),
    }
}

fn cells(dtype: &str, values: &[Json]) -> Cells {
    macro_rules! integers {
        ($array:ty, $native:ty) => {
            Arc::new(<$array>::from_iter_values(values.iter().map(|value| -> $native {
                value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).unwrap().try_into().unwrap()
            })))
        };
    }
    let (dtype, array): (DType, ArrayRef) = match dtype {
        "object" => return Cells::Objects(values.iter().map(object).collect()),
        "str" => (DType::Str, Arc::new(values.iter().map(Json::as_str).collect::<LargeStringArray>())),
        "bool" => (DType::Bool, Arc::new(values.iter().map(Json::as_bool).collect::<BooleanArray>())),
        "int8" => (DType::Int8, integers!(Int8Array, i8)),
        "int16" => (DType::Int16, integers!(Int16Array, i16)),
        "int32" => (DType::Int32, integers!(Int32Array, i32)),
        "int64" => (DType::Int64, integers!(Int64Array, i64)),
        "uint8" => (DType::UInt8, integers!(UInt8Array, u8)),
        "uint16" => (DType::UInt16, integers!(UInt16Array, u16)),
        "uint32" => (DType::UInt32, integers!(UInt32Array, u32)),
        "uint64" => (DType::UInt64, integers!(UInt64Array, u64)),
        "float16" => (
            DType::Float16,
            Arc::new(Float16Array::from_iter_values(values.iter().map(|value| f16::from_f64(number(value))))),
        ),
        "float32" => {
            (DType::Float32, Arc::new(Float32Array::from_iter_values(values.iter().map(|value| number(value) as f32))))
        }
        // A NaN stands as a missing value where signatures let one in.
        "float64" => (
            DType::Float64,
            Arc::new(
                values
                    .iter()
                    .map(|value| Some(number(value)).filter(|value| !value.is_nan()))
                    .collect::<Float64Array>(),
            ),
        ),
        other => panic!("no dtype {other}"),
    };
    Cells::Array(dtype, array)
}

fn object(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap()), Value::Int),
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Array(values) => Value::List(values.iter().map(object).collect()),
        Json::Object(map) => Value::Dict(map.iter().map(|(key, value)| (key.as_str().into(), object(value))).collect()),
    }
}
