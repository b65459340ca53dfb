//! `runlode lineage URI`: where a model comes from, link by link.
//!
//! ```text
//! version -> logged model -> run -> launch -> commit and changes
//!                             |-> data sets
//!                             `-> parent run -> ...
//! ```
//!
//! A link is *proven* if a digest says so: the model's own files name the model or the run and have the digest that is
//! shown, a commit is a digest of its tree and the tree had no unrecorded changes. Every other link is *claimed*: somebody
//! wrote it down, and nothing shows that it is false.

use std::fmt::Write as _;

use clap::Args;
use runlode::mlflow::entity::Run;
use runlode_models::file::ModelFile;
use runlode_models::folder::Folder;
use runlode_models::uri::Located;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::models::source::{Source, StoreOption};
use crate::artifacts::folder_of;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `lineage`.
#[derive(Debug, Args)]
pub struct Lineage {
    /// The model: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-..., runs:/RUN/PATH
    uri: String,
    #[command(flatten)]
    store: StoreOption,
}

/// Runs above one another that are followed.
const PARENTS_MAX: usize = 32;
/// Longest record of a launch that is read.
const LAUNCH_BYTES_MAX: u64 = 1 << 20;

/// One thing that a model comes from.
struct Link {
    depth: usize,
    kind: &'static str,
    name: String,
    /// Why it is proven; none if it is claimed.
    proof: Option<String>,
    /// What else is known of it.
    notes: Vec<String>,
}

impl Link {
    fn new(depth: usize, kind: &'static str, name: impl Into<String>) -> Self {
        Self { depth, kind, name: name.into(), proof: None, notes: Vec::new() }
    }

    fn document(&self) -> Value {
        json!({
            "depth": self.depth, "kind": self.kind, "name": self.name, "is_proven": self.proof.is_some(),
            "proof": self.proof, "notes": self.notes,
        })
    }
}

impl Lineage {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_read(output)?;
        let located = source.locate(&self.uri)?;
        let mut links = Vec::new();
        let model = files(&source, &located);
        let mut depth = 0;
        if let Some(version) = &located.version {
            let mut link = Link::new(depth, "version", located.uri.clone());
            link.notes.extend(version.aliases.iter().map(|alias| format!("@{alias}")));
            link.notes.extend(version.stage.iter().filter(|stage| *stage != "None").cloned());
            link.notes.extend(served(&source, &version.name, &version.version)?);
            links.push(link);
            depth += 1;
        }
        if let Some(id) = &located.model_id {
            let mut link = Link::new(depth, "logged model", id.clone());
            match &model {
                Ok((file, digest)) if file.model_id.as_ref() == Some(id) => {
                    link.proof = Some(format!("its files name it; sha256 {digest}"));
                }
                Ok((file, _)) => link.notes.push(match &file.model_id {
                    Some(other) => format!("its files name another one: {other}"),
                    None => "its files do not name it".to_owned(),
                }),
                Err(error) => link.notes.push(format!("its files cannot be read: {error}")),
            }
            links.push(link);
            depth += 1;
        }
        let run_id = located.run_id.clone().or_else(|| model.as_ref().ok().and_then(|(file, _)| file.run_id.clone()));
        if let Some(run_id) = run_id {
            let proof = match &model {
                Ok((file, digest)) if file.run_id.as_deref() == Some(&run_id) => {
                    Some(format!("the model's files name it; sha256 {digest}"))
                }
                _ => None,
            };
            runs(&source, &run_id, depth, proof, &mut links)?;
        }
        if links.is_empty() {
            return Err(Error::usage(format!(
                "{} names no model, run or version; nothing is known of its origin",
                self.uri
            )));
        }
        if output.is_json() {
            output.document(&json!({
                "uri": located.uri, "links": links.iter().map(Link::document).collect::<Vec<_>>(),
            }))?;
            return Ok(Answer::Yes);
        }
        for link in &links {
            let indent = "  ".repeat(link.depth);
            let proof = match &link.proof {
                // The version itself is what was asked for.
                _ if link.kind == "version" => String::new(),
                Some(proof) => format!("  (proven: {proof})"),
                None => "  (claimed)".to_owned(),
            };
            output.line(format!("{indent}{} {}{proof}", link.kind, link.name))?;
            for note in &link.notes {
                output.line(format!("{indent}    {note}"))?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// The model's file, and the digest of all of its files.
fn files(source: &Source, located: &Located) -> Result<(ModelFile, String)> {
    let fetched = source.fetch(located)?;
    let wrong = |error: &dyn std::fmt::Display| Error::Source(error.to_string());
    let folder = Folder::open(&fetched.folder).map_err(|error| wrong(&error))?;
    let file = ModelFile::of_folder(&folder).map_err(|error| wrong(&error))?;
    let digest = match fetched.digest {
        Some(digest) => digest,
        None => folder.digest().map_err(|error| wrong(&error))?,
    };
    Ok((file, digest))
}

/// Who serves a version, as the servers noted it.
fn served(source: &Source, name: &str, version: &str) -> Result<Vec<String>> {
    let Source::Store { calls, .. } = source else { return Ok(Vec::new()) };
    let version = calls.model_version(name, version)?;
    let tags = version.tags.iter().filter(|(key, _)| key.starts_with("runlode.serv"));
    Ok(tags.map(|(key, value)| format!("{key} {value}")).collect())
}

/// A run, what it was launched from, what it read, and the runs above it.
fn runs(source: &Source, run_id: &str, depth: usize, proof: Option<String>, links: &mut Vec<Link>) -> Result<()> {
    let mut next = Some((run_id.to_owned(), proof));
    for level in 0..PARENTS_MAX {
        let Some((id, proof)) = next.take() else { return Ok(()) };
        let depth = depth + level;
        let mut link = Link::new(depth, if level == 0 { "run" } else { "parent run" }, id.clone());
        link.proof = proof;
        let run = match source {
            Source::Store { calls, .. } => calls.run(&id).map_err(|error| error.message),
            Source::Server(server) => of_server(server, &id),
            Source::Nothing => Err("no store was named".to_owned()),
        };
        let run = match run {
            Ok(run) => run,
            Err(why) => {
                link.notes.push(format!("it is not known here: {why}"));
                links.push(link);
                return Ok(());
            }
        };
        link.notes
            .push(format!("{} in experiment {}, by {}", run.info.run_name, run.info.experiment_id, run.info.user_id));
        link.notes.push(format!("started {}", format::time(run.info.start_time)));
        links.push(link);
        origin(source, &run, depth + 1, links)?;
        for input in &run.dataset_inputs {
            let dataset = &input.dataset;
            let mut link = Link::new(depth + 1, "data set", format!("{} ({})", dataset.name, dataset.digest));
            link.notes.push(format!("from {} {}", dataset.source_type, dataset.source));
            links.push(link);
        }
        for model in &run.model_inputs {
            links.push(Link::new(depth + 1, "model that it read", model.clone()));
        }
        next = tag(&run, "mlflow.parentRunId").map(|parent| (parent.to_owned(), None));
    }
    Ok(())
}

fn tag<'r>(run: &'r Run, key: &str) -> Option<&'r str> {
    run.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// The launch and the commit of a run.
fn origin(source: &Source, run: &Run, depth: usize, links: &mut Vec<Link>) -> Result<()> {
    let record = match source {
        Source::Store { path, .. } => folder_of(path, &run.info.artifact_uri).and_then(|folder| launch_record(&folder)),
        _ => None,
    };
    if let Some(record) = &record {
        let text = |key: &str| record[key].as_str().unwrap_or("?").to_owned();
        let mut link = Link::new(depth, "launch", text("uri"));
        link.notes.push(format!("{} on {} by {}", text("command"), text("host"), text("user")));
        links.push(link);
    }
    let Some(commit) = tag(run, "mlflow.source.git.commit") else {
        if let Some(name) = tag(run, "mlflow.source.name") {
            links.push(Link::new(depth, "source", name));
        }
        return Ok(());
    };
    let mut link = Link::new(depth, "commit", commit);
    if let Some(url) = tag(run, "mlflow.source.git.repoURL") {
        link.notes.push(url.to_owned());
    }
    match record.as_ref().filter(|record| record["commit"].as_str().is_some_and(|own| commit.starts_with(own))) {
        // MLflow notes a commit also where the tree was changed.
        None => link.notes.push("whether the tree was changed is not recorded".to_owned()),
        Some(record) => {
            let left_out = record["left_out"].as_array().is_some_and(|files| !files.is_empty());
            let untracked = record["untracked"].as_array().is_some_and(|files| !files.is_empty());
            let patch = record["patch_sha256"].as_str();
            match (record["is_dirty"].as_bool(), patch) {
                (Some(false), _) if !untracked => {
                    link.proof = Some("the tree was clean when it was launched".to_owned())
                }
                (Some(true), Some(patch)) if !left_out && !untracked => {
                    link.proof = Some(format!("with changes.patch, sha256 {patch}"));
                }
                _ => link.notes.push("the tree had changes that are not recorded whole".to_owned()),
            }
        }
    }
    links.push(link);
    Ok(())
}

/// The record that a launch left among the run's artifacts, with the digest of its patch.
fn launch_record(artifacts: &std::path::Path) -> Option<Value> {
    let folder = Folder::open(artifacts).ok()?;
    let text = folder.read_text("launch/launch.json", LAUNCH_BYTES_MAX).ok()?;
    let mut record: Value = serde_json::from_str(&text).ok()?;
    if let Ok(mut patch) = folder.open_file("launch/changes.patch") {
        let mut hash = Sha256::new();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut patch, &mut bytes).ok()?;
        hash.update(&bytes);
        let digest = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        record["patch_sha256"] = json!(digest);
    }
    Some(record)
}

/// A run of a server, in the form of the store's.
fn of_server(server: &runlode_models::uri::HttpStore, id: &str) -> Result<Run, String> {
    use runlode::mlflow::entity::{Dataset, DatasetInput, RunInfo};
    let path = format!("mlflow/runs/get?run_id={id}");
    let answer = server.send(runlode_models::uri::Method::Get, &path, None).map_err(|error| error.to_string())?;
    let run = &answer["run"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0);
    let pairs = |value: &Value| {
        let list = value.as_array().cloned().unwrap_or_default();
        list.iter().map(|pair| (text(&pair["key"]), text(&pair["value"]))).collect::<Vec<_>>()
    };
    let inputs = run["inputs"]["dataset_inputs"].as_array().cloned().unwrap_or_default();
    let input = |input: &Value| {
        let dataset = &input["dataset"];
        DatasetInput {
            tags: pairs(&input["tags"]),
            dataset: Dataset {
                name: text(&dataset["name"]),
                digest: text(&dataset["digest"]),
                source_type: text(&dataset["source_type"]),
                source: text(&dataset["source"]),
                ..Dataset::default()
            },
        }
    };
    let models = run["inputs"]["model_inputs"].as_array().cloned().unwrap_or_default();
    Ok(Run {
        info: RunInfo {
            run_id: text(&run["info"]["run_id"]),
            run_name: text(&run["info"]["run_name"]),
            experiment_id: text(&run["info"]["experiment_id"]),
            user_id: text(&run["info"]["user_id"]),
            status: runlode::RunStatus::Finished,
            start_time: number(&run["info"]["start_time"]),
            end_time: None,
            artifact_uri: text(&run["info"]["artifact_uri"]),
            deleted: false,
        },
        metrics: Vec::new(),
        params: Vec::new(),
        tags: pairs(&run["data"]["tags"]),
        dataset_inputs: inputs.iter().map(input).collect(),
        model_inputs: models.iter().map(|model| text(&model["model_id"])).collect(),
        model_outputs: Vec::new(),
    })
}
