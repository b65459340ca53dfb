//! A Runlode server as the target of a sync, over HTTP.
//!
//! Login as MLflow's clients have it: `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or
//! `MLFLOW_TRACKING_TOKEN`.

use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runlode::sync::Report;
use serde::Deserialize;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use crate::error::{Error, Result};

/// What stays as it is in a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A server.
pub(crate) struct Remote {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Position {
    store_id: String,
    position: u64,
    experiments: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
    file_size: Option<u64>,
}

impl Remote {
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Self> {
        if url.starts_with("https://") {
            return Err(Error::usage("https is not built in: go through a tunnel or a local proxy, and give http://"));
        }
        let config = Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false).build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            base: url.trim_end_matches('/').to_owned(),
            authorization: login()?,
        })
    }

    fn position(&self, source: &str) -> Result<Position> {
        let url = format!("{}/api/runlode/v1/sync?source={source}", self.base);
        self.read(&url, self.get(&url))
    }

    pub(crate) fn store_id(&self, source: &str) -> Result<String> {
        Ok(self.position(source)?.store_id)
    }

    pub(crate) fn sync_position(&self, source: &str) -> Result<u64> {
        Ok(self.position(source)?.position)
    }

    pub(crate) fn sync_experiments(&self, source: &str) -> Result<Vec<(String, String)>> {
        Ok(self.position(source)?.experiments)
    }

    pub(crate) fn sync_apply(&self, chunk: &[u8]) -> Result<Report> {
        let url = format!("{}/api/runlode/v1/sync", self.base);
        let mut request = self.agent.post(&url).header("Content-Type", "application/octet-stream");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        self.read(&url, request.send(chunk))
    }

    /// Names and sizes of the files in a folder of default artifact places.
    pub(crate) fn artifact_sizes(&self, folder: &Path) -> Result<Vec<(String, u64)>> {
        let path = utf8_percent_encode(&folder.to_string_lossy(), PLAIN).to_string();
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts?path={path}", self.base);
        let listing: Listing = self.read(&url, self.get(&url))?;
        let files = listing.files.into_iter().filter(|file| !file.is_dir);
        let name = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
        // Of an empty file no size is said.
        Ok(files.map(|file| (name(file.path), file.file_size.unwrap_or(0))).collect())
    }

    /// Uploads a file to its place among the default artifact places; answers why the server refuses it, if it does.
    pub(crate) fn put_artifact(&self, file: &Path, place: &Path) -> Result<Option<String>> {
        let parts = place.iter().map(|part| utf8_percent_encode(&part.to_string_lossy(), PLAIN).to_string());
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", self.base, parts.collect::<Vec<_>>().join("/"));
        let content =
            std::fs::File::open(file).map_err(|error| Error::io(format!("open {}", file.display()), error))?;
        let mut request = self.agent.put(&url).header("Content-Type", "application/octet-stream");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let (status, text) = text(&url, request.send(content))?;
        match status {
            // The answer may be empty, or `{}`.
            _ if status.is_success() => Ok(None),
            // Names that MLflow takes for tricks, and files larger than a server takes.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(Some(text)),
            _ => Err(refused(&url, status, &text)),
        }
    }

    fn get(&self, url: &str) -> Result<Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        request.call()
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T> {
        let (status, text) = text(url, answer)?;
        if !status.is_success() {
            return Err(refused(url, status, &text));
        }
        serde_json::from_str(&text)
            .map_err(|error| Error::Source(format!("{url} is no Runlode server of this version: {error}")))
    }
}

/// What a server answered.
fn text(url: &str, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<(StatusCode, String)> {
    let failed = |error: ureq::Error| Error::Source(format!("{url}: {error}; the sync may be started again"));
    let mut answer = answer.map_err(failed)?;
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
    Ok((answer.status(), text.trim().to_owned()))
}

fn refused(url: &str, status: StatusCode, text: &str) -> Error {
    Error::Source(format!("{url} answered {status}: {text}"))
}

fn login() -> Result<Option<String>> {
    let variable = |name: &str| match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Error::usage(format!("{name} is no UTF-8 text"))),
    };
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN")? {
        return Ok(Some(format!("Bearer {token}")));
    }
    let Some(user) = variable("MLFLOW_TRACKING_USERNAME")? else { return Ok(None) };
    let password = variable("MLFLOW_TRACKING_PASSWORD")?.unwrap_or_default();
    use base64::Engine;
    Ok(Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))))
}
