//! A Runlode server, for commands that work on it as on a folder: its own API, and MLflow's.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::find::store_path;
use crate::http::{Http, query, refusal};

/// How long an answer is waited for. An audit reads the whole log.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Where {
    /// In a folder.
    Folder(PathBuf),
    /// Behind a server with this address.
    Server(String),
}

/// Reads where a store is: the address of a server, or a folder as [`store_path`] takes it.
pub(crate) fn place(text: &str) -> Result<Where, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(Where::Server(text.to_owned())),
        _ => store_path(text).map(Where::Folder),
    }
}

/// A number of a server's JSON, where NaN and infinities are texts.
pub(crate) fn double(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// A server.
pub(crate) struct Server {
    http: Http,
}

/// A run or a version, as the server names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A run by its id.
    Run(String),
    /// A registered model.
    Model(String),
    /// A version of one.
    Version(String, u32),
    /// Anything else: what it is, and its id or name.
    Other(String, String),
}

impl Server {
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self { http: Http::new(url)? })
    }

    /// Asks Runlode's own API.
    ///
    /// # Errors
    /// The server refuses, does not answer, or is none of Runlode.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        self.call("GET", &format!("/api/runlode/v1/{path}{}", query(parameters)), None)
    }

    /// The same with a JSON body.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("/api/runlode/v1/{path}"), Some(body))
    }

    /// Asks Runlode's own API for a table, with the parameters as a JSON body.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub(crate) fn table(&self, path: &str, body: &Value) -> Result<Columns> {
        self.read_columns(path, body, Columns::table)
    }

    /// The same for columns that may differ in length.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub(crate) fn columns(&self, path: &str, body: &Value) -> Result<Columns> {
        self.read_columns(path, body, Columns::read)
    }

    fn read_columns(&self, path: &str, body: &Value, read: fn(&[u8]) -> Option<Columns>) -> Result<Columns> {
        let path = format!("/api/runlode/v1/{path}");
        let bytes = self.ask("POST", &path, Some(body))?;
        let unclear = || Error::Source(format!("{}{path}: no answer of a Runlode server", self.http.base()));
        read(&bytes).ok_or_else(unclear)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = self.ask(method, path, body)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::Source(format!("{}{path}: no answer of a Runlode server: {error}", self.http.base()))
        })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.http.base());
        let failed = |why: String| Error::Source(format!("{url}: {why}"));
        let body = body.map(ToString::to_string);
        let answer = self.http.send(method, &url, body.as_deref(), PATIENCE, ANSWER_BYTES_MAX);
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if !answer.is_success() {
            let is_absent = answer.status == 404;
            let why = refusal(answer);
            return Err(match is_absent && !why.contains("RESOURCE_DOES_NOT_EXIST") && why.len() < 40 {
                true => failed(format!("{why}; is this a Runlode server of this version?")),
                false => failed(why),
            });
        }
        let mut bytes = Vec::new();
        answer.body.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        Ok(bytes)
    }

    /// What a text names: a run, a model, a version.
    ///
    /// # Errors
    /// There is no such thing; the error has the nearest names.
    pub(crate) fn find(&self, text: &str) -> Result<Named> {
        let found = self.get("find", &[("text", text)])?;
        let name = found["name"].as_str().map(str::to_owned);
        let id = found["id"].as_str().map(str::to_owned);
        let version = found["version"].as_i64().and_then(|version| u32::try_from(version).ok());
        Ok(match (found["kind"].as_str().unwrap_or_default(), id, name, version) {
            ("run", Some(id), ..) => Named::Run(id),
            ("model", _, Some(name), Some(version)) => Named::Version(name, version),
            ("model", _, Some(name), None) => Named::Model(name),
            (kind, id, name, _) => Named::Other(kind.to_owned(), id.or(name).unwrap_or_default()),
        })
    }

    /// A tag of a run or a version.
    ///
    /// # Errors
    /// As [`Server::get`]; there is no such thing.
    pub(crate) fn tag(&self, of: &Named, key: &str) -> Result<Option<String>> {
        let mlflow = "/api/2.0/mlflow";
        let found = match of {
            Named::Run(id) => {
                let path = format!("{mlflow}/runs/get{}", query(&[("run_id", id)]));
                self.call("GET", &path, None)?["run"]["data"]["tags"].clone()
            }
            Named::Version(name, version) => {
                let version = version.to_string();
                let path = format!("{mlflow}/model-versions/get{}", query(&[("name", name), ("version", &version)]));
                self.call("GET", &path, None)?["model_version"]["tags"].clone()
            }
            Named::Model(_) | Named::Other(..) => Value::Null,
        };
        let tags = found.as_array().map(Vec::as_slice).unwrap_or_default();
        let tag = tags.iter().find(|tag| tag["key"] == key);
        Ok(tag.and_then(|tag| tag["value"].as_str()).map(str::to_owned))
    }

    /// Sets a tag of a run or a version, or deletes it.
    ///
    /// # Errors
    /// As [`Server::get`].
    pub(crate) fn set_tag(&self, of: &Named, key: &str, value: Option<&str>) -> Result<()> {
        let verb = if value.is_some() { "set-tag" } else { "delete-tag" };
        let (method, path, mut body) = match of {
            Named::Run(id) => ("POST", format!("runs/{verb}"), json!({ "run_id": id, "key": key })),
            Named::Version(name, version) => {
                let method = if value.is_some() { "POST" } else { "DELETE" };
                let body = json!({ "name": name, "version": version.to_string(), "key": key });
                (method, format!("model-versions/{verb}"), body)
            }
            Named::Model(_) | Named::Other(..) => return Err(Error::usage("only runs and versions have such a tag")),
        };
        if let Some(value) = value {
            body["value"] = value.into();
        }
        self.call(method, &format!("/api/2.0/mlflow/{path}"), Some(&body)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_server() {
        assert_eq!(place("./exp"), Ok(Where::Folder("./exp".into())));
        assert_eq!(place("runlode:///srv/exp"), Ok(Where::Folder("/srv/exp".into())));
        assert_eq!(place("https://tracking"), Ok(Where::Server("https://tracking".into())));
        for wrong in ["http://", "s3://bucket/exp", ""] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
