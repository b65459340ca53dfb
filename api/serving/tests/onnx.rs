//! ONNX models answer what MLflow's ONNX flavor answers, by ONNX Runtime and, where it is built in, by tract.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, Float32Array};
use common::{Case, cases, model, number, project, search};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use runlode_models::{Cells, DType, Input, Label, Tensor, Value};
use runlode_serving::onnx::{LoadError, RuntimeModel, Search, Settings};
use runlode_serving::{Engine, Output, PredictError};
use serde_json::{Value as Json, json};

/// Numbers may differ by so much: the same operators, compiled for other processors.
const TOLERANCE: f64 = 1e-5;

const MODELS: [&str; 19] = [
    "regression_columns",
    "regression_double",
    "classifier_int64",
    "classifier_zipmap",
    "classifier_zipmap_text",
    "boosted_tensor",
    "isolation_forest",
    "kmeans",
    "several_upright",
    "several_outputs",
    "several_flat",
    "texts",
    "booleans",
    "image",
    "half",
    "numbers",
    "uneven",
    "scalar",
    "sequence",
];

/// An array's elements as JSON, NaN and infinities as texts.
fn plain(cells: &Cells) -> Vec<Json> {
    let float = |value: f64| if value.is_finite() { json!(value) } else { json!(format!("{value}").to_lowercase()) };
    let (dtype, values) = match cells {
        Cells::Objects(values) => return values.iter().map(value).collect(),
        Cells::Array(dtype, values) => (dtype, values),
    };
    macro_rules! all {
        ($type:ty, $make:expr) => {
            values.as_primitive::<$type>().values().iter().map(|value| $make(*value)).collect()
        };
    }
    assert_eq!(values.null_count(), 0);
    match dtype {
        DType::Bool => values.as_boolean().values().iter().map(|value| json!(value)).collect(),
        DType::Str => values.as_string::<i64>().iter().map(|value| json!(value.unwrap())).collect(),
        DType::Int8 => all!(Int8Type, |value| json!(value)),
        DType::Int16 => all!(Int16Type, |value| json!(value)),
        DType::Int32 => all!(Int32Type, |value| json!(value)),
        DType::Int64 => all!(Int64Type, |value| json!(value)),
        DType::UInt8 => all!(UInt8Type, |value| json!(value)),
        DType::UInt16 => all!(UInt16Type, |value| json!(value)),
        DType::UInt32 => all!(UInt32Type, |value| json!(value)),
        DType::UInt64 => all!(UInt64Type, |value| json!(value)),
        DType::Float16 => all!(Float16Type, |value| float(f64::from(value))),
        DType::Float32 => all!(Float32Type, |value| float(f64::from(value))),
        DType::Float64 => all!(Float64Type, float),
        DType::Bytes | DType::Datetime => panic!("no answer of ONNX is {dtype:?}"),
    }
}

fn value(of: &Value) -> Json {
    match of {
        Value::None => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Text(text) => json!(**text),
        Value::List(values) => values.iter().map(value).collect(),
        Value::Dict(pairs) => {
            pairs.iter().map(|(key, of)| (key.to_string(), value(of))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Tensor(tensor) => shaped(&tensor.shape, &plain(&tensor.elements)),
        other => panic!("no answer of ONNX is {other:?}"),
    }
}

fn shaped(shape: &[usize], elements: &[Json]) -> Json {
    match shape {
        [] => elements[0].clone(),
        [_] => elements.iter().cloned().collect(),
        [_, rest @ ..] => elements.chunks(rest.iter().product()).map(|part| shaped(rest, part)).collect(),
    }
}

fn dtype_name(dtype: DType) -> String {
    match dtype {
        DType::Str => "object".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// An answer in the form of `cases.json`.
fn written(output: &Output) -> Json {
    let Output::Data(data) = output else { panic!("an ONNX engine writes no JSON") };
    match data {
        Input::Frame(frame) => {
            let columns = frame.columns.iter().map(|column| {
                let Label::Text(name) = &column.name else { panic!("{:?}", column.name) };
                json!({"name": **name, "values": plain(&column.cells)})
            });
            json!({"frame": columns.collect::<Vec<_>>()})
        }
        Input::Tensors(tensors) => {
            let arrays = tensors.iter().map(|(name, tensor)| {
                let Cells::Array(dtype, _) = &tensor.elements else { panic!("objects") };
                json!({"name": name, "dtype": dtype_name(*dtype), "shape": tensor.shape, "values": plain(&tensor.elements)})
            });
            json!({"arrays": arrays.collect::<Vec<_>>()})
        }
        Input::Value(values) => json!({"values": value(values)}),
        Input::Tensor(_) => panic!("the ONNX flavor names its arrays"),
    }
}

/// The first difference of two answers.
fn difference(found: &Json, expected: &Json, place: &str) -> Option<String> {
    match (found, expected) {
        (Json::Array(found), Json::Array(expected)) if found.len() == expected.len() => {
            let pairs = found.iter().zip(expected).enumerate();
            pairs.into_iter().find_map(|(at, (found, expected))| difference(found, expected, &format!("{place}[{at}]")))
        }
        (Json::Object(found), Json::Object(expected)) if found.len() == expected.len() => {
            expected.iter().find_map(|(key, expected)| difference(&found[key], expected, &format!("{place}.{key}")))
        }
        (Json::Number(_), Json::Number(_)) => {
            let (found, expected) = (number(found), number(expected));
            let is_near = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
            if is_near { None } else { Some(format!("{place}: {found}, expected {expected}")) }
        }
        _ if found == expected => None,
        _ => Some(format!("{place}: {found}, expected {expected}")),
    }
}

fn compare(engine: &dyn Engine, case: Case) -> Result<(), String> {
    let answer = engine.predict(case.input, None);
    match (answer, case.expected.get("answer")) {
        (Ok(output), Some(expected)) => difference(&written(&output), expected, "")
            .map_or(Ok(()), |difference| Err(format!("{}: {difference}", case.what))),
        (Err(error), Some(_)) => Err(format!("{}: refused ({error})", case.what)),
        (Ok(output), None) => Err(format!("{}: answered {}, MLflow refuses it", case.what, written(&output))),
        (Err(PredictError::Refused(_) | PredictError::Raised { status: 400, .. }), None) => Ok(()),
        // The one that MLflow raises as its own exception, which is an internal error there.
        (Err(PredictError::Raised { status: 500, .. }), None)
            if case.expected["error"].as_str().unwrap().starts_with("MlflowException: Unable to map") =>
        {
            Ok(())
        }
        (Err(error), None) => Err(format!("{}: {error:?}", case.what)),
    }
}

fn digits() -> (Input, Vec<i64>, Vec<f32>) {
    let read = |name: &str| {
        let file = File::open(model(name)).unwrap();
        let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(500).build().unwrap();
        batches.next().unwrap().unwrap()
    };
    let (pixels, answers) = (read("digits.parquet"), read("digits_answers.parquet"));
    let columns: Vec<&[f32]> =
        pixels.columns().iter().map(|column| &column.as_primitive::<Float32Type>().values()[..]).collect();
    let cells = (0..500).flat_map(|row| columns.iter().map(move |column| column[row]));
    let elements: ArrayRef = Arc::new(Float32Array::from_iter_values(cells));
    let tensor = Tensor { shape: vec![500, 64], elements: Cells::Array(DType::Float32, elements) };
    let labels = answers.column(0).as_primitive::<Int64Type>().values().to_vec();
    let probabilities = answers.column(1).as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    (Input::Tensor(tensor), labels, probabilities)
}

fn digits_model() -> std::path::PathBuf {
    project().join("tests/data/artifacts/2/models/m-b8d64ce3819f492fb8b680a969d1401d/artifacts/model.onnx")
}

fn compare_digits(engine: &dyn Engine) {
    let (input, labels, probabilities) = digits();
    let Ok(Output::Data(Input::Tensors(answers))) = engine.predict(input, None) else { panic!("no arrays") };
    let [(label, label_tensor), (name, tensor)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((label.as_str(), name.as_str()), ("label", "probabilities"));
    let Cells::Array(DType::Int64, found) = &label_tensor.elements else { panic!("{label_tensor:?}") };
    assert_eq!(found.as_primitive::<Int64Type>().values().to_vec(), labels);
    assert_eq!(tensor.shape, [500, 10]);
    let Cells::Array(DType::Float32, found) = &tensor.elements else { panic!("{tensor:?}") };
    for (found, expected) in found.as_primitive::<Float32Type>().values().iter().zip(&probabilities) {
        assert!((found - expected).abs() <= TOLERANCE as f32, "{found}, expected {expected}");
    }
}

#[test]
fn onnx_runtime_answers_as_mlflow_does() {
    let Some(search) = search() else { return };
    let mut failures = Vec::new();
    let mut cases_count = 0;
    for name in MODELS {
        let engine = RuntimeModel::load(&model(name).join("model.onnx"), &Settings::default(), &search).unwrap();
        for case in cases(name) {
            cases_count += 1;
            failures.extend(compare(&engine, case).err());
        }
    }
    assert!(failures.is_empty(), "{} of {cases_count} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(cases_count > 80);
    compare_digits(&RuntimeModel::load(&digits_model(), &Settings::default(), &search).unwrap());
}

#[test]
fn many_threads_run_one_model() {
    let Some(search) = search() else { return };
    let engine = RuntimeModel::load(&digits_model(), &Settings::default(), &search).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..4).for_each(|_| compare_digits(&engine)));
        }
    });
}

#[test]
fn rows_keep_a_matrix_that_mlflow_refuses() {
    let Some(search) = search() else { return };
    let engine = RuntimeModel::load(&model("uneven").join("model.onnx"), &Settings::default(), &search).unwrap();
    let case = cases("uneven").into_iter().find(|case| case.expected.get("error").is_some()).unwrap();
    assert!(engine.predict(case.input.clone(), None).is_err());
    let rows = engine.predict_rows(case.input, None).unwrap();
    let expected = json!({"arrays": [
        {"name": "y", "dtype": "float32", "shape": [2, 2], "values": [1.0, 3.0, 2.0, 4.0]},
        {"name": "s", "dtype": "float32", "shape": [], "values": [10.0]},
    ]});
    assert_eq!(difference(&written(&rows), &expected, ""), None);
}

#[test]
fn a_file_that_is_no_model_is_refused_with_its_name() {
    let Some(search) = search() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, b"no model").unwrap();
    let error = RuntimeModel::load(&path, &Settings::default(), &search).unwrap_err();
    assert!(matches!(error, LoadError::Model { .. }));
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(RuntimeModel::load(&path, &Settings::default(), &search), Err(LoadError::Model { .. })));
}

#[test]
fn a_missing_library_is_told_with_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("bin/python");
    let message = Search { library: Some(nowhere.clone()), pythons: Vec::new() }.find().unwrap_err().to_string();
    assert!(message.contains("pip install onnxruntime") && message.contains(nowhere.to_str().unwrap()), "{message}");
}

/// Models that tract refuses, and the operators that it says it lacks.
#[cfg(feature = "tract")]
const LACKING: [(&str, &[&str]); 6] = [
    ("classifier_zipmap", &["ai.onnx.ml.ZipMap"]),
    ("classifier_zipmap_text", &["ai.onnx.ml.ZipMap"]),
    ("isolation_forest", &["ai.onnx.ml.LabelEncoder", "ai.onnx.ml.TreeEnsembleRegressor"]),
    ("several_upright", &["ai.onnx.ml.OneHotEncoder", "ai.onnx.ml.Scaler"]),
    ("several_outputs", &["ai.onnx.ml.OneHotEncoder", "ai.onnx.ml.Scaler"]),
    ("sequence", &["SplitToSequence"]),
];

#[cfg(feature = "tract")]
#[test]
fn tract_answers_as_mlflow_does_or_names_what_it_lacks() {
    use runlode_serving::onnx::TractModel;

    let mut failures = Vec::new();
    let mut cases_count = 0;
    for name in MODELS {
        let lacking = LACKING.iter().find(|(model, _)| *model == name).map(|(_, operators)| *operators);
        match (TractModel::load(&model(name).join("model.onnx")), lacking) {
            (Ok(engine), None) => {
                for case in cases(name) {
                    cases_count += 1;
                    failures.extend(compare(&engine, case).err());
                }
            }
            (Err(LoadError::Operators { operators, .. }), Some(lacking)) => assert_eq!(operators, lacking, "{name}"),
            (loaded, lacking) => failures.push(format!("{name}: {:?}, lacking {lacking:?}", loaded.map(|_| "loaded"))),
        }
    }
    assert!(failures.is_empty(), "{} of {cases_count} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(cases_count > 40);
    compare_digits(&TractModel::load(&digits_model()).unwrap());
}
