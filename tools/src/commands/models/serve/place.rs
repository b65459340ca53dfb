//! Where serving is recorded: a store, or a tracking server by MLflow's REST calls.

use std::path::Path;
use std::time::Duration;

use runlode::{ModelId, RunId, Store};
use runlode_models::uri::{HttpStore, Method};
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};
use crate::open;

/// How long a server may take for a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a served model is called in the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A version of a registered model.
    Version {
        /// The model's name.
        name: String,
        /// The version's number.
        version: u32,
    },
    /// A logged model, by its id.
    Logged(String),
}

/// A store or a server.
#[derive(Debug)]
pub(crate) enum Place {
    Store(Store),
    Server(HttpStore),
}

impl Place {
    /// A store that exists, or the server of an address.
    pub(crate) fn open(uri: &str) -> Result<Self> {
        if uri.starts_with("http://") || uri.starts_with("https://") {
            let server = HttpStore::with_patience(uri, PATIENCE);
            return Ok(Self::Server(server.map_err(|error| Error::usage(error.to_string()))?));
        }
        if uri.contains("://") && !uri.starts_with("runlode://") && !uri.starts_with("file://") {
            return Err(Error::usage(format!("{uri}: give the folder of a store, or the URL of a server")));
        }
        let path = uri.strip_prefix("runlode://").or_else(|| uri.strip_prefix("file://")).unwrap_or(uri);
        Ok(Self::Store(open::to_change(Path::new(path))?))
    }

    /// Sets a tag of a model.
    pub(crate) fn tag(&self, identity: &Identity, key: &str, value: &str) -> Result<()> {
        match (self, identity) {
            (Self::Store(store), Identity::Version { name, version }) => {
                Ok(store.registered_model(name)?.set_version_tags(*version, &[(key, value)])?)
            }
            (Self::Store(store), Identity::Logged(id)) => {
                let parsed = id.parse::<ModelId>().map_err(|_| Error::usage(format!("{id} is no id of a model")))?;
                Ok(store.logged_model(parsed)?.set_tags(&[(key, value)])?)
            }
            (Self::Server(server), Identity::Version { name, version }) => {
                let body = json!({ "name": name, "version": version.to_string(), "key": key, "value": value });
                call(server, Method::Post, "model-versions/set-tag", Some(&body))
            }
            (Self::Server(server), Identity::Logged(id)) => {
                let body = json!({ "tags": [{ "key": key, "value": value }] });
                call(server, Method::Patch, &format!("logged-models/{id}/tags"), Some(&body))
            }
        }
    }

    /// Logs metrics of one step of a run, at the time of the call.
    pub(crate) fn log(&self, run: RunId, step: i64, time_ms: i64, metrics: &[(String, f64)]) -> Result<()> {
        match self {
            Self::Store(store) => {
                let named: Vec<(&str, f64)> = metrics.iter().map(|(key, value)| (key.as_str(), *value)).collect();
                Ok(store.run(run)?.log_metrics(step, &named)?)
            }
            Self::Server(server) => {
                let metric = |(key, value): &(String, f64)| json!({ "key": key, "value": value, "timestamp": time_ms, "step": step });
                for some in metrics.chunks(1000) {
                    let metrics: Vec<Json> = some.iter().map(metric).collect();
                    let body = json!({ "run_id": run.to_string(), "metrics": metrics });
                    call(server, Method::Post, "runs/log-batch", Some(&body))?;
                }
                Ok(())
            }
        }
    }

    /// Whether there is such a run.
    pub(crate) fn check_run(&self, run: RunId) -> Result<()> {
        match self {
            Self::Store(store) => Ok(store.run(run)?.info().map(drop)?),
            Self::Server(server) => call(server, Method::Get, &format!("runs/get?run_id={run}"), None),
        }
    }
}

fn call(server: &HttpStore, method: Method, path: &str, body: Option<&Json>) -> Result<()> {
    let answer = server.send(method, &format!("mlflow/{path}"), body);
    answer.map(drop).map_err(|error| Error::Source(error.to_string()))
}
