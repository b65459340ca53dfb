//! `runlode models register|describe|tag|alias|stage|wait`: the life of a version.
//!
//! Each command asks the store, or the tracking server, by MLflow's call of the same meaning.

use std::time::{Duration, Instant};

use clap::Args;
use runlode::mlflow::NewModelVersion;
use runlode_models::uri::{Located, Method, ModelUri, Which};
use serde_json::{Value, json};

use super::source::{Source, StoreOption, refused};
use crate::error::{Error, Result};
use crate::output::{Output, note};
use crate::{Answer, json as as_json};

/// How long a version is waited for between two looks.
const LOOK_MS: u64 = 200;

/// Arguments of `models register`.
#[derive(Debug, Args)]
pub struct Register {
    /// Name of the registered model; it is made if there is none
    name: String,
    /// What it is made of: models:/m-..., runs:/RUN/PATH, or a folder
    uri: String,
    /// Describe the version
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Tag the version; repeatable
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    store: StoreOption,
}

/// Arguments of `models describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// NAME, NAME/VERSION or models:/NAME/VERSION
    target: String,
    /// The description; an empty text clears it
    text: String,
    #[command(flatten)]
    store: StoreOption,
}

/// Arguments of `models tag`.
#[derive(Debug, Args)]
pub struct Tag {
    /// NAME, NAME/VERSION or models:/NAME/VERSION
    target: String,
    /// Tags to set
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Delete a tag; repeatable
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    #[command(flatten)]
    store: StoreOption,
}

/// Arguments of `models alias`.
#[derive(Debug, Args)]
pub struct Alias {
    /// Name of the registered model
    name: String,
    /// The alias
    alias: String,
    /// The version that it names from now on
    #[arg(required_unless_present = "delete")]
    version: Option<u32>,
    /// Delete the alias
    #[arg(long, conflicts_with = "version")]
    delete: bool,
    #[command(flatten)]
    store: StoreOption,
}

/// Arguments of `models stage`.
#[derive(Debug, Args)]
pub struct StageOf {
    /// NAME/VERSION or models:/NAME/VERSION
    target: String,
    /// None, Staging, Production or Archived
    stage: String,
    /// Archive the versions that are in that stage
    #[arg(long)]
    archive_existing: bool,
    #[command(flatten)]
    store: StoreOption,
}

/// Arguments of `models wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// NAME/VERSION or models:/NAME/VERSION
    target: String,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    store: StoreOption,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// A registered model, or one of its versions.
struct Target {
    name: String,
    version: Option<String>,
}

impl Target {
    fn of(text: &str, source: &Source) -> Result<Self> {
        let uri = if text.starts_with("models:") { text.to_owned() } else { format!("models:/{text}") };
        match uri.parse::<ModelUri>().map_err(refused)? {
            ModelUri::LoggedModel(name) => Ok(Self { name, version: None }),
            ModelUri::Version { name, which: Which::Number(number) } => Ok(Self { name, version: Some(number) }),
            // An alias, a stage or the latest is what it is now.
            ModelUri::Version { .. } => match source.locate(&uri)?.version {
                Some(version) => Ok(Self { name: version.name, version: Some(version.version) }),
                None => Err(Error::usage(format!("{text} is no version of a registered model"))),
            },
            _ => Err(Error::usage(format!("{text}: write NAME, NAME/VERSION or models:/NAME/VERSION"))),
        }
    }

    fn of_version(text: &str, source: &Source) -> Result<(String, String)> {
        let Self { name, version } = Self::of(text, source)?;
        version
            .map(|version| (name, version))
            .ok_or_else(|| Error::usage(format!("{text}: which version? Write NAME/VERSION")))
    }
}

/// A version, for the answer.
struct Shown {
    name: String,
    version: String,
    status: String,
    stage: String,
    source: String,
    run_id: Option<String>,
    model_id: Option<String>,
}

impl Shown {
    fn of(version: &runlode::mlflow::entity::ModelVersion) -> Self {
        let stage: &str = version.current_stage.into();
        Self {
            name: version.name.clone(),
            version: version.version.to_string(),
            status: as_json::version_status(version.status).to_owned(),
            stage: stage.to_owned(),
            source: version.source.clone(),
            run_id: version.run_id.clone().filter(|id| !id.is_empty()),
            model_id: version.model_id.clone().filter(|id| !id.is_empty()),
        }
    }

    fn of_json(answer: &Value) -> Self {
        let version = &answer["model_version"];
        let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
        let some = |key: &str| Some(text(key)).filter(|text| !text.is_empty());
        Self {
            name: text("name"),
            version: text("version"),
            status: text("status"),
            stage: some("current_stage").unwrap_or_else(|| "None".to_owned()),
            source: text("source"),
            run_id: some("run_id"),
            model_id: some("model_id"),
        }
    }

    fn print(&self, output: &mut Output) -> Result<()> {
        if output.is_json() {
            return output.document(&json!({
                "name": self.name, "version": self.version, "status": self.status, "stage": self.stage,
                "source": self.source, "run_id": self.run_id, "model_id": self.model_id,
            }));
        }
        output.line(format!("models:/{}/{}  {}  stage {}", self.name, self.version, self.status, self.stage))
    }
}

fn no_store<T>() -> Result<T> {
    Err(Error::usage("which store? Give --store, or set MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI"))
}

fn version_of(source: &Source, name: &str, version: &str) -> Result<Shown> {
    match source {
        Source::Store { calls, .. } => Ok(Shown::of(&calls.model_version(name, version)?)),
        Source::Server(server) => {
            let path = format!("mlflow/model-versions/get?name={}&version={}", escaped(name), escaped(version));
            Ok(Shown::of_json(&server.send(Method::Get, &path, None).map_err(refused)?))
        }
        Source::Nothing => no_store(),
    }
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The source of a version of what was found, as MLflow's clients write it.
fn source_of(uri: &str, located: &Located) -> String {
    let place = located.places.last();
    match (&located.model_id, place) {
        (Some(id), _) if located.version.is_none() => format!("models:/{id}"),
        (_, Some(place)) if !place.below.is_empty() => format!("{}/{}", place.uri.trim_end_matches('/'), place.below),
        (_, Some(place)) => place.uri.clone(),
        (_, None) => uri.to_owned(),
    }
}

impl Register {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_change()?;
        let located = source.locate(&self.uri)?;
        // A version without a model would be found out by whoever loads it.
        let fetched = source.fetch(&located)?;
        runlode_models::file::ModelFile::read(&fetched.folder)
            .map_err(|error| Error::Source(format!("{}: {error}", self.uri)))?;
        let mut from = source_of(&self.uri, &located);
        if located.model_id.is_none() && located.run_id.is_none() && !from.contains(':') {
            from = std::path::absolute(&from).map_err(|error| Error::io(from.clone(), error))?.display().to_string();
        }
        let (run_id, model_id) = (located.run_id.as_deref(), located.model_id.as_deref());
        let shown = match &source {
            Source::Nothing => return no_store(),
            Source::Store { calls, .. } => {
                if let Err(error) = calls.registered_model(&self.name) {
                    if error.code != runlode::mlflow::ErrorCode::ResourceDoesNotExist {
                        return Err(error.into());
                    }
                    calls.create_registered_model(&self.name, &[], None)?;
                    note(format!("made the registered model {}", self.name));
                }
                let new = NewModelVersion {
                    source: &from,
                    run_id,
                    run_link: None,
                    description: self.description.as_deref(),
                    model_id,
                    storage_location: None,
                    tags: &self.tags,
                    note_on_model: true,
                };
                Shown::of(&calls.create_model_version(&self.name, &new)?)
            }
            Source::Server(server) => {
                let made =
                    server.send(Method::Post, "mlflow/registered-models/create", Some(&json!({ "name": self.name })));
                match made {
                    Ok(_) => note(format!("made the registered model {}", self.name)),
                    Err(error) if error.to_string().contains("already exists") => {}
                    Err(error) => return Err(refused(error)),
                }
                let tags: Vec<Value> =
                    self.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
                let body = json!({
                    "name": self.name, "source": from, "run_id": run_id, "model_id": model_id,
                    "description": self.description, "tags": tags,
                });
                Shown::of_json(
                    &server.send(Method::Post, "mlflow/model-versions/create", Some(&body)).map_err(refused)?,
                )
            }
        };
        shown.print(output)?;
        Ok(Answer::Yes)
    }
}

impl Describe {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_change()?;
        let Target { name, version } = Target::of(&self.target, &source)?;
        match (&source, &version) {
            (Source::Nothing, _) => return no_store(),
            (Source::Store { calls, .. }, None) => {
                calls.update_registered_model(&name, Some(&self.text))?;
            }
            (Source::Store { calls, .. }, Some(version)) => {
                calls.update_model_version(&name, version, Some(&self.text))?;
            }
            (Source::Server(server), version) => {
                let (what, mut body) = match version {
                    None => ("registered-models", json!({ "name": name })),
                    Some(version) => ("model-versions", json!({ "name": name, "version": version })),
                };
                body["description"] = json!(self.text);
                server.send(Method::Patch, &format!("mlflow/{what}/update"), Some(&body)).map_err(refused)?;
            }
        }
        done(output, &json!({ "name": name, "version": version, "description": self.text }))
    }
}

/// The answer of a change: JSON if it is asked for, else nothing.
fn done(output: &mut Output, document: &Value) -> Result<Answer> {
    if output.is_json() {
        output.document(document)?;
    }
    Ok(Answer::Yes)
}

impl Tag {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if self.tags.is_empty() && self.delete.is_empty() {
            return Err(Error::usage("which tags? Write KEY=VALUE, or --delete KEY"));
        }
        let source = self.store.to_change()?;
        let Target { name, version } = Target::of(&self.target, &source)?;
        let body = |key: &str, value: Option<&str>| match &version {
            None => json!({ "name": name, "key": key, "value": value }),
            Some(version) => json!({ "name": name, "version": version, "key": key, "value": value }),
        };
        let what = if version.is_some() { "model-versions" } else { "registered-models" };
        for (key, value) in &self.tags {
            match (&source, &version) {
                (Source::Nothing, _) => return no_store(),
                (Source::Store { calls, .. }, None) => calls.set_registered_model_tag(&name, key, value)?,
                (Source::Store { calls, .. }, Some(version)) => {
                    calls.set_model_version_tag(&name, version, key, value)?
                }
                (Source::Server(server), _) => {
                    let path = format!("mlflow/{what}/set-tag");
                    server.send(Method::Post, &path, Some(&body(key, Some(value)))).map_err(refused)?;
                }
            }
        }
        for key in &self.delete {
            match (&source, &version) {
                (Source::Nothing, _) => return no_store(),
                (Source::Store { calls, .. }, None) => calls.delete_registered_model_tag(&name, key)?,
                (Source::Store { calls, .. }, Some(version)) => calls.delete_model_version_tag(&name, version, key)?,
                (Source::Server(server), _) => {
                    let path = format!("mlflow/{what}/delete-tag");
                    server.send(Method::Delete, &path, Some(&body(key, None))).map_err(refused)?;
                }
            }
        }
        done(
            output,
            &json!({ "name": name, "version": version, "set": as_json::pairs(&self.tags), "deleted": self.delete }),
        )
    }
}

impl Alias {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_change()?;
        let (name, alias) = (&self.name, &self.alias);
        let version = self.version.map(|version| version.to_string());
        match (&source, &version) {
            (Source::Nothing, _) => return no_store(),
            (Source::Store { calls, .. }, Some(version)) => calls.set_registered_model_alias(name, alias, version)?,
            (Source::Store { calls, .. }, None) => calls.delete_registered_model_alias(name, alias)?,
            (Source::Server(server), version) => {
                let (method, body) = match version {
                    Some(version) => (Method::Post, json!({ "name": name, "alias": alias, "version": version })),
                    None => (Method::Delete, json!({ "name": name, "alias": alias })),
                };
                server.send(method, "mlflow/registered-models/alias", Some(&body)).map_err(refused)?;
            }
        }
        done(output, &json!({ "name": name, "alias": alias, "version": version }))
    }
}

impl StageOf {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_change()?;
        let (name, version) = Target::of_version(&self.target, &source)?;
        let shown = match &source {
            Source::Nothing => return no_store(),
            Source::Store { calls, .. } => {
                Shown::of(&calls.transition_model_version_stage(&name, &version, &self.stage, self.archive_existing)?)
            }
            Source::Server(server) => {
                let body = json!({
                    "name": name, "version": version, "stage": self.stage,
                    "archive_existing_versions": self.archive_existing,
                });
                let path = "mlflow/model-versions/transition-stage";
                Shown::of_json(&server.send(Method::Post, path, Some(&body)).map_err(refused)?)
            }
        };
        shown.print(output)?;
        Ok(Answer::Yes)
    }
}

impl Wait {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let source = self.store.to_read(output)?;
        let (name, version) = Target::of_version(&self.target, &source)?;
        let begin = Instant::now();
        loop {
            // A store that is open for reading shows the moment of its opening, so it is opened anew.
            let source = self.store.to_read(output)?;
            let shown = version_of(&source, &name, &version)?;
            let is_over = begin.elapsed() >= Duration::from_secs(self.timeout);
            if shown.status == "READY" || shown.status == "FAILED_REGISTRATION" || is_over {
                shown.print(output)?;
                return Ok(if shown.status == "READY" { Answer::Yes } else { Answer::No });
            }
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }
}
