//! A Runlode or MLflow server as the store of models, over MLflow's REST API.
//!
//! Its answers are not trusted: bounded in size, redirects are not followed, names of files are checked by the cache.
//! The login comes from the variables of MLflow's clients: `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or
//! `MLFLOW_TRACKING_TOKEN`.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use ureq::Agent;
use ureq::http::StatusCode;

use super::store::{Listed, LocalOnly, LoggedModel, ModelStore, Owner, Place, Version, local_folder};
use super::{UriError, Which};
use crate::folder::{FILES_MAX, plain_path};

/// Characters that are not escaped in a URL.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest answer that is no file.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long a call may take before its answer begins.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of a refusal is shown.
const REASON_CHARS_MAX: usize = 500;

/// A server.
#[derive(Debug, Clone)]
pub struct HttpStore {
    agent: Agent,
    base: String,
    authorization: Option<String>,
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

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl HttpStore {
    /// A server by the URL before `/api/2.0/mlflow`.
    ///
    /// # Errors
    /// [`UriError::Store`] for https, which is not built in, and logins that are no text.
    pub fn new(url: &str) -> Result<Self, UriError> {
        if !url.starts_with("http://") {
            return Err(UriError::Store(format!(
                "{url} is no http:// URL; https is not built in: use a tunnel or a local proxy"
            )));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .http_status_as_error(false)
            // The login is for this server only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: Agent::new_with_config(config), base, authorization: login()? })
    }

    /// The URL that it was made with.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    fn call(&self, url: &str, body: Option<&serde_json::Value>) -> Result<ureq::http::Response<ureq::Body>, UriError> {
        let failed = |error: ureq::Error| UriError::Store(format!("{}: {error}", self.base));
        let answer = match body {
            None => {
                let mut request = self.agent.get(url);
                if let Some(authorization) = &self.authorization {
                    request = request.header("Authorization", authorization);
                }
                request.call().map_err(failed)?
            }
            Some(body) => {
                let mut request = self.agent.post(url).header("Content-Type", "application/json");
                if let Some(authorization) = &self.authorization {
                    request = request.header("Authorization", authorization);
                }
                request.send(body.to_string()).map_err(failed)?
            }
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let mut answer = answer;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
        let refused: Option<Refused> = serde_json::from_str(&text).ok();
        let reason: String = match &refused {
            Some(refused) if !refused.message.is_empty() => refused.message.chars().take(REASON_CHARS_MAX).collect(),
            _ => text.trim().chars().take(REASON_CHARS_MAX).collect(),
        };
        let is_absent = status == StatusCode::NOT_FOUND
            && refused.is_some_and(|refused| refused.error_code == "RESOURCE_DOES_NOT_EXIST");
        Err(if is_absent {
            UriError::Absent(reason)
        } else {
            UriError::Store(format!("{url} answered {status}: {reason}"))
        })
    }

    /// An answer of JSON.
    fn ask<T: DeserializeOwned>(&self, path: &str, body: Option<&serde_json::Value>) -> Result<T, UriError> {
        let url = format!("{}/api/2.0/{path}", self.base);
        let mut answer = self.call(&url, body)?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| UriError::Store(format!("{url}: {error}")))?;
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

fn login() -> Result<Option<String>, UriError> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(_) => Err(UriError::Store(format!("{name} is no UTF-8 text"))),
    };
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN")? {
        return Ok(Some(format!("Bearer {token}")));
    }
    let Some(user) = variable("MLFLOW_TRACKING_USERNAME")? else { return Ok(None) };
    let password = variable("MLFLOW_TRACKING_PASSWORD")?.unwrap_or_default();
    Ok(Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))))
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
        local_folder(&place.uri)?;
        LocalOnly.folder(place).filter(|folder| folder.is_dir())
    }

    fn list(&self, place: &Place) -> Result<Vec<Listed>, UriError> {
        let root = plain_path(&place.below).ok_or_else(|| unreadable(&place.below))?;
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        let mut seen = HashSet::new();
        while let Some(folder) = folders.pop() {
            let mut token = String::new();
            loop {
                let page = if token.is_empty() { String::new() } else { format!("&page_token={}", escaped(&token)) };
                let answer: FilesAnswer = self.ask(&format!("{}{page}", Self::list_path(place, &folder)?), None)?;
                for file in answer.files {
                    // The proxy names entries of the folder, the others paths below the root.
                    let name = file.path.rsplit('/').next().unwrap_or_default();
                    let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
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
        let base = &self.base;
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
        let answer = self.call(&url, None)?;
        Ok(Box::new(answer.into_body().into_reader()))
    }
}
