//! `runlode models diff A B`

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::inspect::{Read, param_lines, plain, read, schema_lines};
use super::source::{Source, StoreOption};
use crate::Answer;
use crate::error::Result;
use crate::output::Output;

/// Arguments of `models diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// A model: a folder, models:/NAME/VERSION, runs:/RUN/PATH...
    a: String,
    /// Another one
    b: String,
    #[command(flatten)]
    store: StoreOption,
}

/// Keys of a model's file that differ between any two models.
const OWN: [&str; 9] = [
    "artifact_path",
    "flavors",
    "metadata",
    "model_id",
    "model_uuid",
    "run_id",
    "saved_input_example_info",
    "signature",
    "utc_time_created",
];

/// What is compared, by section and name.
type Facts = BTreeMap<(&'static str, String), String>;

fn facts(model: &Read, source: &Source) -> Result<Facts> {
    let mut facts = Facts::new();
    let mut put = |section, name: String, value: String| {
        facts.insert((section, name), value);
    };
    if let Some(signature) = &model.file.signature {
        let sides = [("inputs", &signature.inputs), ("outputs", &signature.outputs)];
        for (section, schema) in sides {
            let lines = schema_lines(schema.as_ref());
            for (at, line) in lines.into_iter().enumerate() {
                let (name, kind) = line.split_once(": ").map_or_else(
                    || (format!("#{at}"), line.clone()),
                    |(name, kind)| (name.to_owned(), kind.to_owned()),
                );
                put(section, name, kind);
            }
        }
        for line in param_lines(signature) {
            let (name, kind) = line.split_once(": ").unwrap_or((&line, ""));
            put("parameters", name.to_owned(), kind.to_owned());
        }
    }
    for (name, value) in &model.file.flavors {
        flatten(name, &plain(value), &mut |name, value| put("flavors", name, value));
    }
    if let Some(metadata) = &model.file.metadata {
        flatten("", &plain(metadata), &mut |name, value| put("metadata", name, value));
    }
    for line in &model.requirements {
        let end = line.find(['=', '<', '>', '!', '~', ' ', ';', '[']).unwrap_or(line.len());
        let (name, version) = line.split_at(end);
        put("requirements", name.to_lowercase(), version.trim().to_owned());
    }
    for key in model.file.keys().filter(|key| !OWN.contains(&key.as_str())) {
        if let Some(value) = model.file.get(&key) {
            flatten(&key, &plain(value), &mut |name, value| put("file", name, value));
        }
    }
    let run_id = model.file.run_id.as_deref().or(model.located.run_id.as_deref());
    for (section, name, value) in run_facts(source, run_id)? {
        facts.insert((section, name), value);
    }
    Ok(facts)
}

fn flatten(name: &str, value: &Value, put: &mut dyn FnMut(String, String)) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(&name, value, put);
            }
        }
        Value::Null => {}
        Value::String(text) => put(name.to_owned(), text.clone()),
        other => put(name.to_owned(), other.to_string()),
    }
}

/// Params and last metrics of the run, where the store has it.
fn run_facts(source: &Source, run_id: Option<&str>) -> Result<Vec<(&'static str, String, String)>> {
    let Some(run_id) = run_id else { return Ok(Vec::new()) };
    match source {
        Source::Nothing => Ok(Vec::new()),
        Source::Store { calls, .. } => {
            // A model of another store names a run that is not here.
            let Ok(run) = calls.run(run_id) else { return Ok(Vec::new()) };
            let params = run.params.into_iter().map(|(key, value)| ("params", key, value));
            let metric = |metric: runlode::mlflow::entity::Metric| {
                ("metrics", metric.key.to_string(), crate::format::value(metric.value))
            };
            Ok(params.chain(run.metrics.into_iter().map(metric)).collect())
        }
        Source::Server(server) => {
            let path = format!("mlflow/runs/get?run_id={run_id}");
            let Ok(answer) = server.send(runlode_models::uri::Method::Get, &path, None) else { return Ok(Vec::new()) };
            let list = |key: &str| answer["run"]["data"][key].as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let params = list("params").into_iter().map(|pair| ("params", text(&pair["key"]), text(&pair["value"])));
            let metrics = list("metrics").into_iter().map(|pair| ("metrics", text(&pair["key"]), text(&pair["value"])));
            Ok(params.chain(metrics).collect())
        }
    }
}

impl Diff {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_read(output)?;
        let (a, b) = (read(&self.a, &self.store, output)?, read(&self.b, &self.store, output)?);
        let (one, two) = (facts(&a, &source)?, facts(&b, &source)?);
        let keys: std::collections::BTreeSet<_> = one.keys().chain(two.keys()).collect();
        let changed: Vec<_> = keys.into_iter().filter(|key| one.get(*key) != two.get(*key)).collect();
        if output.is_json() {
            let row = |key: &&(&'static str, String)| json!({ "section": key.0, "name": key.1, "a": one.get(*key), "b": two.get(*key) });
            output.document(&json!({
                "a": a.located.uri, "b": b.located.uri, "differences": changed.iter().map(row).collect::<Vec<_>>(),
            }))?;
        } else {
            let mut section = "";
            for key in &changed {
                if key.0 != section {
                    section = key.0;
                    output.line(section)?;
                }
                let line = match (one.get(*key), two.get(*key)) {
                    (Some(one), Some(two)) => format!("  {}: {one} -> {two}", key.1),
                    (Some(one), None) => format!("- {}: {one}", key.1),
                    (None, Some(two)) => format!("+ {}: {two}", key.1),
                    (None, None) => continue,
                };
                output.line(line)?;
            }
            if changed.is_empty() {
                output.line("no difference")?;
            }
        }
        // As `diff`: a difference is the answer no.
        Ok(if changed.is_empty() { Answer::Yes } else { Answer::No })
    }
}
