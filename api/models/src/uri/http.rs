//! A Runlode or MLflow server as the store of models, over MLflow's REST API.
//!
//! Its answers are not trusted: they are bounded in size, and names of files are checked by the cache.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use runlode_client::{Answer, Body, Call, Client, escaped, local};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::name::{UriError, Which};
use super::store::{Listed, LocalOnly, LoggedModel, ModelStore, Owner, Place, Version};
use crate::folder::{FILES_MAX, plain_path};

/// Largest file of a model.
const FILE_BYTES_MAX: u64 = 64 << 30;
/// Longest answer that is no file.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Most pages of a listing.
const PAGES_MAX: usize = 10_000;
/// Longest path of a file, as Linux has it.
const PATH_BYTES_MAX: usize = 4096;
/// How long a call may take before its answer begins.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of a refusal is shown.
const REASON_CHARS_MAX: usize = 500;

/// A server.
#[derive(Debug, Clone)]
pub struct HttpStore {
    client: Client,
    patience: Duration,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

#[derive(Deserialize)]
struct VersionAnswer {
    model_version: VersionJson,
}

#[derive(Deserialize)]
struct VersionsAnswer {
    #[serde(default)]
    model_versions: Vec<VersionJson>,
}

#[derive(Deserialize)]
struct VersionJson {
    name: String,
    version: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    source: String,
    run_id: Option<String>,
    model_id: Option<String>,
    current_stage: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
struct DownloadAnswer {
    artifact_uri: String,
}

#[derive(Deserialize)]
struct ModelAnswer {
    model: ModelJson,
}

#[derive(Deserialize)]
struct ModelsAnswer {
    #[serde(default)]
    models: Vec<ModelJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    info: ModelInfo,
}

#[derive(Deserialize)]
struct ModelInfo {
    model_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    artifact_uri: String,
    source_run_id: Option<String>,
    status: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RunAnswer {
    run: RunJson,
}

#[derive(Deserialize)]
struct RunJson {
    info: RunInfo,
}

#[derive(Deserialize)]
struct RunInfo {
    #[serde(default)]
    artifact_uri: String,
    experiment_id: String,
}

#[derive(Deserialize)]
struct FilesAnswer {
    #[serde(default)]
    files: Vec<FileJson>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct FileJson {
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default)]
    file_size: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    error_code: String,
    #[serde(default)]
    message: String,
}

fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl HttpStore {
    /// A server by the URL before `/api/2.0/mlflow`.
    ///
    /// # Errors
    /// [`UriError::Store`] for other URLs than those of http and https, and logins that are no text.
    pub fn new(url: &str) -> Result<Self, UriError> {
        Self::with_patience(url, PATIENCE)
    }

    /// A server that is waited for so long: for its connection, and for each answer to begin.
    ///
    /// # Errors
    /// As [`HttpStore::new`].
    pub fn with_patience(url: &str, patience: Duration) -> Result<Self, UriError> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(UriError::Store(format!(
                "{url} is the URL of no server: it begins with neither http:// nor https://"
            )));
        }
        let client = Client::new(url).map_err(|error| UriError::Store(error.to_string()))?;
        Ok(Self { client, patience })
    }

    /// The URL that it was made with.
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.base()
    }

    fn call_as(
        &self,
        method: Method,
        url: &str,
        body: Option<&serde_json::Value>,
        answer_bytes_max: u64,
    ) -> Result<Answer, UriError> {
        let text = body.map(ToString::to_string);
        let body = text.as_ref().map_or(Body::None, |text| Body::Bytes(text.as_bytes(), "application/json"));
        let call = Call { method: method.name(), url, body, patience: self.patience, whole: None, answer_bytes_max };
        let answer = self.client.send(call);
        let answer = answer.map_err(|error| UriError::Store(format!("{}: {error}", self.client.base())))?;
        if answer.is_success() {
            return Ok(answer);
        }
        let status = answer.status;
        let text = answer.text().unwrap_or_default();
        let refused: Option<Refused> = serde_json::from_str(&text).ok();
        let reason: String = match &refused {
            Some(refused) if !refused.message.is_empty() => refused.message.chars().take(REASON_CHARS_MAX).collect(),
            _ => text.trim().chars().take(REASON_CHARS_MAX).collect(),
        };
        let is_absent = status == 404 && refused.is_some_and(|refused| refused.error_code == "RESOURCE_DOES_NOT_EXIST");
        Err(if is_absent {
            UriError::Absent(reason)
        } else {
            UriError::Store(format!("{url} answered {status}: {reason}"))
        })
    }

    /// An answer of text.
    fn text(&self, method: Method, url: &str, body: Option<&serde_json::Value>) -> Result<String, UriError> {
        let text = self.call_as(method, url, body, ANSWER_BYTES_MAX)?.text();
        text.map_err(|error| UriError::Store(format!("{url}: {error}")))
    }

    /// An answer of JSON.
    fn ask<T: DeserializeOwned>(&self, path: &str, body: Option<&serde_json::Value>) -> Result<T, UriError> {
        let url = format!("{}/api/2.0/{path}", self.client.base());
        let method = if body.is_some() { Method::Post } else { Method::Get };
        let text = self.text(method, &url, body)?;
        serde_json::from_str(&text)
            .map_err(|error| UriError::Store(format!("{url} is no answer of an MLflow server: {error}")))
    }

    /// Makes a call of MLflow's REST API that changes something, or reads what has no function here: `path` is what
    /// follows `/api/2.0/`.
    ///
    /// # Errors
    /// [`UriError::Absent`] if the server does not have what it names, [`UriError::Store`] for every other refusal.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<serde_json::Value, UriError> {
        let url = format!("{}/api/2.0/{path}", self.client.base());
        let text = self.text(method, &url, body)?;
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|error| UriError::Store(format!("{url} is no answer of an MLflow server: {error}")))
    }

    fn of_json(&self, json: VersionJson) -> Result<Version, UriError> {
        let (name, version) = (escaped(&json.name), escaped(&json.version));
        let path = format!("mlflow/model-versions/get-download-uri?name={name}&version={version}");
        let place = self.ask::<DownloadAnswer>(&path, None)?.artifact_uri;
        let mut version = Version {
            name: json.name,
            version: json.version,
            status: json.status,
            model_id: some(json.model_id).or_else(|| {
                json.source.strip_prefix("models:/").filter(|id| id.starts_with("m-")).map(ToOwned::to_owned)
            }),
            source: json.source,
            place,
            run_id: some(json.run_id),
            stage: some(json.current_stage),
            aliases: json.aliases,
        };
        // A version of a logged model has that one's files.
        if version.place.starts_with("models:/")
            && let Some(id) = &version.model_id
        {
            version.place = self.logged_model(id)?.place;
        }
        Ok(version)
    }

    fn of_model(info: ModelInfo) -> LoggedModel {
        let status = match info.status {
            Some(serde_json::Value::String(status)) => status.replace("LOGGED_MODEL_", ""),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        LoggedModel {
            id: info.model_id,
            name: info.name,
            run_id: some(info.source_run_id),
            place: info.artifact_uri,
            status,
        }
    }

    /// The URL of one folder's listing.
    fn list_path(place: &Place, folder: &str) -> Result<String, UriError> {
        let path = escaped(folder);
        match &place.owner {
            Owner::Run(id) => Ok(format!("mlflow/artifacts/list?run_id={}&path={path}", escaped(id))),
            Owner::LoggedModel(id) => {
                let id = escaped(id);
                Ok(format!("mlflow/logged-models/{id}/artifacts/directories?artifact_directory_path={path}"))
            }
            Owner::Version(..) | Owner::Nobody => {
                let root = proxied(&place.uri).ok_or_else(|| unreadable(&place.uri))?;
                let folder = if folder.is_empty() { root } else { format!("{root}/{folder}") };
                Ok(format!("mlflow-artifacts/artifacts?path={}", escaped(folder.trim_matches('/'))))
            }
        }
    }
}

fn unreadable(place: &str) -> UriError {
    UriError::Unreadable(format!(
        "{place} is not read from here: download it with `mlflow artifacts download -u {place}`, and give its folder"
    ))
}

/// The path of a place behind the server's proxy.
fn proxied(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        Some(host) => host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    plain_path(path.trim_start_matches('/'))
}

impl ModelStore for HttpStore {
    fn version(&self, name: &str, which: &Which) -> Result<Version, UriError> {
        let escaped_name = escaped(name);
        let json = match which {
            Which::Number(number) => {
                let path = format!("mlflow/model-versions/get?name={escaped_name}&version={}", escaped(number));
                self.ask::<VersionAnswer>(&path, None)?.model_version
            }
            Which::Alias(alias) => {
                let path = format!("mlflow/registered-models/alias?name={escaped_name}&alias={}", escaped(alias));
                self.ask::<VersionAnswer>(&path, None)?.model_version
            }
            Which::Latest | Which::Stage(_) => {
                let body = match which {
                    Which::Stage(stage) => json!({ "name": name, "stages": [stage] }),
                    _ => json!({ "name": name }),
                };
                let answer: VersionsAnswer = self.ask("mlflow/registered-models/get-latest-versions", Some(&body))?;
                let number = |json: &VersionJson| json.version.parse::<u64>().unwrap_or(0);
                answer.model_versions.into_iter().max_by_key(number).ok_or_else(|| {
                    UriError::Absent(match which {
                        Which::Stage(stage) => format!("{name} has no version in the stage {stage}"),
                        _ => format!("{name} has no version"),
                    })
                })?
            }
        };
        self.of_json(json)
    }

    fn logged_model(&self, id: &str) -> Result<LoggedModel, UriError> {
        let answer: ModelAnswer = self.ask(&format!("mlflow/logged-models/{}", escaped(id)), None)?;
        Ok(Self::of_model(answer.model.info))
    }

    fn run_place(&self, run_id: &str) -> Result<String, UriError> {
        let answer: RunAnswer = self.ask(&format!("mlflow/runs/get?run_id={}", escaped(run_id)), None)?;
        Ok(answer.run.info.artifact_uri)
    }

    fn logged_model_of_run(&self, run_id: &str, name: &str) -> Result<Option<LoggedModel>, UriError> {
        if name.contains('\'') {
            return Ok(None);
        }
        let run: RunAnswer = self.ask(&format!("mlflow/runs/get?run_id={}", escaped(run_id)), None)?;
        let body = json!({
            "experiment_ids": [run.run.info.experiment_id],
            "filter": format!("name = '{name}' AND source_run_id = '{run_id}'"),
            "max_results": 1,
            "order_by": [{ "field_name": "creation_timestamp", "ascending": false }],
        });
        let answer: ModelsAnswer = self.ask("mlflow/logged-models/search", Some(&body))?;
        Ok(answer.models.into_iter().next().map(|model| Self::of_model(model.info)))
    }

    fn folder(&self, place: &Place) -> Option<PathBuf> {
        // A server of this machine may keep its files where they can be read at once.
        local::folder(&place.uri)?;
        LocalOnly.folder(place).filter(|folder| folder.is_dir())
    }

    fn list(&self, place: &Place) -> Result<Vec<Listed>, UriError> {
        let root = plain_path(&place.below).ok_or_else(|| unreadable(&place.below))?;
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        let mut seen = HashSet::new();
        let mut pages: usize = 0;
        while let Some(folder) = folders.pop() {
            let mut token = String::new();
            loop {
                pages += 1;
                // Pages without files would go on forever.
                if pages > PAGES_MAX {
                    return Err(UriError::Unreadable(format!(
                        "{} has more than {PAGES_MAX} pages of files",
                        place.uri
                    )));
                }
                let page = if token.is_empty() { String::new() } else { format!("&page_token={}", escaped(&token)) };
                let answer: FilesAnswer = self.ask(&format!("{}{page}", Self::list_path(place, &folder)?), None)?;
                for file in answer.files {
                    // The proxy names entries of the folder, the others paths below the root.
                    let name = file.path.rsplit('/').next().unwrap_or_default();
                    let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                    if path.len() > PATH_BYTES_MAX {
                        return Err(UriError::Unreadable(format!("{} has folders in folders without end", place.uri)));
                    }
                    if !seen.insert(path.clone()) {
                        continue;
                    }
                    if seen.len() > FILES_MAX {
                        return Err(UriError::Unreadable(format!("{} has more than {FILES_MAX} files", place.uri)));
                    }
                    if file.is_dir {
                        folders.push(path);
                    } else {
                        let below = path.strip_prefix(&root).unwrap_or(&path).trim_start_matches('/').to_owned();
                        files.push(Listed { path: below, bytes: file.file_size.unwrap_or(0) });
                    }
                }
                match some(answer.next_page_token) {
                    Some(next) if next != token => token = next,
                    _ => break,
                }
            }
        }
        Ok(files)
    }

    fn open(&self, place: &Place, path: &str) -> Result<Box<dyn Read + Send>, UriError> {
        let below = if place.below.is_empty() { path.to_owned() } else { format!("{}/{path}", place.below) };
        let base = self.client.base();
        let url = match (&place.owner, proxied(&place.uri)) {
            (_, Some(root)) => {
                let full = format!("{root}/{below}");
                let parts: Vec<String> = full.split('/').filter(|part| !part.is_empty()).map(escaped).collect();
                format!("{base}/api/2.0/mlflow-artifacts/artifacts/{}", parts.join("/"))
            }
            (Owner::Run(id), None) => format!("{base}/get-artifact?run_uuid={}&path={}", escaped(id), escaped(&below)),
            (Owner::LoggedModel(id), None) => {
                let (id, path) = (escaped(id), escaped(&below));
                format!("{base}/ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files?artifact_file_path={path}")
            }
            (Owner::Version(..) | Owner::Nobody, None) => return Err(unreadable(&place.uri)),
        };
        Ok(self.call_as(Method::Get, &url, None, FILE_BYTES_MAX)?.body)
    }
}
