//! A model's folder as a loaded model: its file, its environment, its engine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runlode_models::file::{InputExample, ModelFile, PythonFunction};
use runlode_models::{Value, json};
use runlode_serving::{Model, PythonEngine, PythonOptions};
use runlode_yaml::Value as Yaml;
use serde_json::{Value as Json, json};

use super::environment::Environment;
use super::onnx;
use crate::error::{Error, Result};
use crate::output::note;

/// How a model is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) environment: Environment,
    pub(crate) processes_count: usize,
    /// Whether a process predicts on one request at a time.
    pub(crate) one_at_a_time: bool,
    pub(crate) ready_wait: Duration,
    /// Threads of an operator of an ONNX model that does not say it; none is one for each core.
    pub(crate) onnx_threads: Option<usize>,
}

/// Loads the model of a folder. It takes as long as the model's imports.
pub(crate) fn load(folder: &Path, name: &str, wanted: &Wanted) -> Result<Model> {
    let folder =
        folder.canonicalize().map_err(|source| Error::io(format!("cannot open {}", folder.display()), source))?;
    let file = ModelFile::read(&folder).map_err(|error| Error::usage(error.to_string()))?;
    if let Some(flavor) = &file.onnx
        && wanted.environment.takes_onnx()
    {
        let engine = onnx::engine(&folder, flavor, &wanted.environment, wanted.onnx_threads)?;
        return Ok(Model::new(name, file.signature, engine));
    }
    if !wanted.environment.takes_python() {
        return Err(Error::usage(format!("{} is no ONNX model; only --engine python runs it", folder.display())));
    }
    let Some(flavor) = &file.python_function else {
        return Err(Error::usage(format!(
            "{} has no flavor python_function, so nothing can serve it",
            folder.display()
        )));
    };
    let python = wanted.environment.python(&folder)?;
    let mut options = PythonOptions::new(&folder, described(flavor), python);
    options.processes_count = wanted.processes_count;
    options.one_at_a_time = wanted.one_at_a_time;
    options.ready_wait = wanted.ready_wait;
    if file.is_type_hint_from_example {
        options.example = file.example.as_ref().map(example);
    }
    let engine = PythonEngine::start(options).map_err(|error| {
        if !error.trace.is_empty() {
            error.trace.lines().for_each(note);
        }
        Error::usage(format!("the model {} cannot be loaded: {}", folder.display(), error.reason))
    })?;
    let mut model = Model::new(name, file.signature, Arc::new(engine));
    model.is_by_type_hint = file.is_signature_from_type_hint;
    Ok(model)
}

/// The flavor as the worker reads it: keys that the file lacks are absent.
fn described(flavor: &PythonFunction) -> Json {
    let mut out = json!({ "loader_module": flavor.loader_module, "predict_fn": flavor.predict_fn });
    for (key, value) in [("data", &flavor.data), ("code", &flavor.code)] {
        if let Some(value) = value {
            out[key] = json!(value);
        }
    }
    if let Some(config) = &flavor.config {
        // Bare NaN is no JSON for everybody; a configuration with it goes as text that Python reads.
        out["config_text"] = json!(json::to_string(&value(config)));
    }
    out
}

fn example(example: &InputExample) -> Json {
    json!({ "artifact_path": example.path, "type": example.kind, "params": example.has_params })
}

/// A value of YAML as Python's JSON can carry it; dates are texts.
fn value(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::None,
        Yaml::Bool(flag) => Value::Bool(*flag),
        Yaml::Float(number) => Value::Float(*number),
        Yaml::Int(_) => {
            let digits = yaml.to_string();
            digits.parse().map_or_else(|_| Value::BigInt(digits.into()), Value::Int)
        }
        Yaml::List(items) => Value::List(items.iter().map(|item| value(&item.value)).collect()),
        Yaml::Map(entries) => {
            let entry = |(key, item): &(runlode_yaml::Node, runlode_yaml::Node)| {
                (key.value.to_string().into(), value(&item.value))
            };
            Value::Dict(entries.iter().map(entry).collect())
        }
        other => Value::Text(other.to_string().into()),
    }
}
