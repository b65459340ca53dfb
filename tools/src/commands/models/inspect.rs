//! `runlode models inspect URI`

use clap::Args;
use runlode_models::file::ModelFile;
use runlode_models::folder::{Entry, Folder};
use runlode_models::signature::{ParamSpec, Schema, Signature};
use runlode_models::uri::Located;
use serde_json::{Map, Value, json};

use super::source::StoreOption;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `models inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A folder, models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-..., runs:/RUN/PATH
    uri: String,
    #[command(flatten)]
    store: StoreOption,
}

/// A model's file and folder.
pub(crate) struct Read {
    pub(crate) located: Located,
    pub(crate) file: ModelFile,
    pub(crate) files: Vec<Entry>,
    pub(crate) requirements: Vec<String>,
    pub(crate) place: String,
    pub(crate) digest: Option<String>,
}

/// Longest file of an environment that is read.
const REQUIREMENTS_BYTES_MAX: u64 = 1 << 20;
/// Files that are listed one by one.
const FILES_MAX: usize = 30;

/// Reads a model, and runs nothing of it.
pub(crate) fn read(uri: &str, store: &StoreOption, output: &mut Output) -> Result<Read> {
    let source = store.to_read(output)?;
    let located = source.locate(uri)?;
    let fetched = source.fetch(&located)?;
    let wrong = |error: &dyn std::fmt::Display| Error::Source(format!("{uri}: {error}"));
    let folder = Folder::open(&fetched.folder).map_err(|error| wrong(&error))?;
    let file = ModelFile::of_folder(&folder).map_err(|error| wrong(&error))?;
    file.check(&folder).map_err(|error| wrong(&error))?;
    let files = folder.files().map_err(|error| wrong(&error))?;
    let requirements = match files.iter().any(|file| file.path == "requirements.txt") {
        true => folder.read_text("requirements.txt", REQUIREMENTS_BYTES_MAX).map_err(|error| wrong(&error))?,
        false => String::new(),
    };
    let lines = requirements.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Read {
        requirements: lines.map(ToOwned::to_owned).collect(),
        place: fetched.folder.display().to_string(),
        digest: fetched.digest,
        located,
        file,
        files,
    })
}

/// A value of YAML as JSON.
pub(crate) fn plain(value: &runlode_yaml::Value) -> Value {
    use runlode_yaml::Value as Yaml;
    match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(is) => json!(is),
        Yaml::Int(_) => {
            let text = value.to_string();
            text.parse::<i64>().map_or(Value::String(text), |number| json!(number))
        }
        Yaml::Float(number) => crate::json::number(*number),
        Yaml::List(items) => items.iter().map(|item| plain(&item.value)).collect(),
        Yaml::Map(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.value.to_string(), plain(&node.value))).collect())
        }
        other => Value::String(other.to_string()),
    }
}

pub(crate) fn schema_lines(schema: Option<&Schema>) -> Vec<String> {
    match schema {
        None => Vec::new(),
        Some(Schema::Columns(columns)) => columns.iter().map(ToString::to_string).collect(),
        Some(Schema::Tensors(tensors)) => tensors.iter().map(ToString::to_string).collect(),
    }
}

fn param_line(param: &ParamSpec) -> String {
    let list = if param.is_list { "[]" } else { "" };
    format!("{}: {}{list} = {}", param.name, param.kind, runlode_models::json::to_string(&param.default))
}

pub(crate) fn param_lines(signature: &Signature) -> Vec<String> {
    signature.params.iter().flat_map(|params| params.0.iter().map(param_line)).collect()
}

impl Read {
    /// Everything as JSON.
    pub(crate) fn document(&self) -> Value {
        let file = &self.file;
        let signature = file.signature.as_ref().map(|signature| {
            json!({
                "inputs": schema_lines(signature.inputs.as_ref()),
                "outputs": schema_lines(signature.outputs.as_ref()),
                "params": param_lines(signature),
            })
        });
        let flavors: Map<String, Value> =
            file.flavors.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        json!({
            "uri": self.located.uri,
            "folder": self.place,
            "digest": self.digest,
            "version": self.located.version.as_ref().map(|version| version.version.clone()),
            "model_id": file.model_id.clone().or_else(|| self.located.model_id.clone()),
            "run_id": file.run_id.clone().or_else(|| self.located.run_id.clone()),
            "created": file.utc_time_created,
            "mlflow_version": file.mlflow_version,
            "flavors": flavors,
            "signature": signature,
            "is_signature_from_type_hint": file.is_signature_from_type_hint,
            "input_example": file.example.as_ref().map(|example| json!({
                "path": example.path, "serving_path": example.serving_path, "type": example.kind,
                "has_params": example.has_params,
            })),
            "metadata": file.metadata.as_ref().map(plain),
            "requirements": self.requirements,
            "files": self.files.iter().map(|file| json!({ "path": file.path, "size_bytes": file.bytes })).collect::<Vec<_>>(),
        })
    }
}

impl Inspect {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let model = read(&self.uri, &self.store, output)?;
        if output.is_json() {
            output.document(&model.document())?;
        } else {
            print(&model, output)?;
        }
        Ok(Answer::Yes)
    }
}

fn print(model: &Read, output: &mut Output) -> Result<()> {
    let file = &model.file;
    output.line(&model.located.uri)?;
    let facts = [
        ("model", file.model_id.as_ref().or(model.located.model_id.as_ref())),
        ("run", file.run_id.as_ref().or(model.located.run_id.as_ref())),
        ("created", file.utc_time_created.as_ref()),
        ("mlflow", file.mlflow_version.as_ref()),
        ("folder", Some(&model.place)),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            output.line(format!("  {name:<9} {value}"))?;
        }
    }
    print_lines("flavors", file.flavors.iter().map(|(name, value)| flavor_line(name, value)), output)?;
    if let Some(signature) = &file.signature {
        print_lines("inputs", schema_lines(signature.inputs.as_ref()), output)?;
        print_lines("outputs", schema_lines(signature.outputs.as_ref()), output)?;
        print_lines("params", param_lines(signature), output)?;
        if file.is_signature_from_type_hint {
            output.line("  from a type hint: the model checks its input itself")?;
        }
    } else {
        output.line("no signature: every input is let through")?;
    }
    if let Some(example) = &file.example {
        print_lines("input example", [format!("{} ({})", example.path, example.kind)], output)?;
    }
    print_lines("requirements", model.requirements.iter().cloned(), output)?;
    let metadata = file.metadata.as_ref().map(plain);
    print_lines("metadata", metadata.iter().map(ToString::to_string), output)?;
    output.line("files")?;
    let rows = model.files.iter().take(FILES_MAX);
    output.table(&[], rows.map(|file| vec![format!("  {}", file.path), format::bytes(file.bytes)]).collect())?;
    if model.files.len() > FILES_MAX {
        output.line(format!("  and {} more; --json has all", model.files.len() - FILES_MAX))?;
    }
    Ok(())
}

fn flavor_line(name: &str, value: &runlode_yaml::Value) -> String {
    let runlode_yaml::Value::Map(entries) = value else { return name.to_owned() };
    let told = entries
        .iter()
        .filter(|(_, node)| !matches!(node.value, runlode_yaml::Value::Null | runlode_yaml::Value::Map(_)));
    let told: Vec<String> = told.map(|(key, node)| format!("{}={}", key.value, node.value)).collect();
    format!("{name}  {}", told.join(" "))
}

fn print_lines(title: &str, lines: impl IntoIterator<Item = String>, output: &mut Output) -> Result<()> {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        output.line(title)?;
    }
    for line in lines {
        output.line(format!("  {line}"))?;
    }
    Ok(())
}
