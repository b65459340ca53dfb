//! A model's folder as a loaded model: its file, its environment, its engine.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runlode_models::signature::Signature;
use runlode_serving::{Model, PythonEngine, PythonOptions};
use runlode_yaml::{Node, Value as Yaml};
use serde_json::{Value as Json, json};

use super::environment::Environment;
use crate::error::{Error, Result};
use crate::output::note;

/// How a model is to be run.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) environment: Environment,
    pub(super) processes_count: usize,
    pub(super) ready_wait: Duration,
}

/// Loads the model of a folder. It takes as long as the model's imports.
pub(super) fn load(folder: &Path, name: &str, wanted: &Wanted) -> Result<Model> {
    let folder =
        folder.canonicalize().map_err(|source| Error::io(format!("cannot open {}", folder.display()), source))?;
    let path = folder.join("MLmodel");
    let text =
        fs::read_to_string(&path).map_err(|source| Error::io(format!("cannot read {}", path.display()), source))?;
    let file = runlode_yaml::load(&text)
        .map_err(|error| Error::usage(format!("{}:{}: {}", path.display(), error.line, error.reason)))?;
    let flavor = file.get("flavors").and_then(|flavors| flavors.get("python_function")).map(to_json);
    let Some(flavor) = flavor else {
        return Err(Error::usage(format!("{} has no flavor python_function, so nothing can serve it", path.display())));
    };
    let signature = file.get("signature").map(|signature| signature_of(signature, &path)).transpose()?;
    let is = |key: &str| file.get(key).is_some_and(|node| node.value == Yaml::Bool(true));
    let mut options = PythonOptions::new(&folder, flavor, wanted.environment.python(&folder)?);
    options.processes_count = wanted.processes_count;
    options.ready_wait = wanted.ready_wait;
    if is("type_hint_from_example") {
        options.example = file.get("saved_input_example_info").map(to_json);
    }
    let engine = PythonEngine::start(options).map_err(|error| {
        if !error.trace.is_empty() {
            note(error.trace.trim_end());
        }
        Error::usage(format!("the model {} cannot be loaded: {}", folder.display(), error.reason))
    })?;
    let mut model = Model::new(name, signature, Arc::new(engine));
    model.is_by_type_hint = is("is_signature_from_type_hint");
    Ok(model)
}

fn signature_of(node: &Node, path: &Path) -> Result<Signature> {
    let part = |key: &str| node.get(key).and_then(Node::as_text);
    let wrong = |error: &dyn std::fmt::Display| Error::usage(format!("{}: signature: {error}", path.display()));
    let schema = |key: &str| {
        part(key).map(runlode_models::signature::Schema::from_json).transpose().map_err(|error| wrong(&error))
    };
    let params = part("params").map(runlode_models::signature::ParamSchema::from_json).transpose();
    Ok(Signature {
        inputs: schema("inputs")?,
        outputs: schema("outputs")?,
        params: params.map_err(|error| wrong(&error))?,
    })
}

fn to_json(node: &Node) -> Json {
    match &node.value {
        Yaml::Null => Json::Null,
        Yaml::Bool(flag) => json!(flag),
        Yaml::Text(text) => json!(text),
        Yaml::Float(number) => json!(number),
        Yaml::List(items) => items.iter().map(to_json).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.value.to_string(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => serde_json::from_str(&other.to_string()).unwrap_or_else(|_| json!(other.to_string())),
    }
}
