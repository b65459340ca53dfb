//! Where serving is recorded: a store, or a tracking server by MLflow's REST calls.

use std::path::PathBuf;
use std::time::Duration;

use runlode::{ModelId, RunId, Store};
use runlode_models::uri::{HttpStore, Method};
use runlode_projects::local;
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
        let path = match uri.strip_prefix("runlode://") {
            Some(path) => Some(PathBuf::from(path)),
            None => local::folder(uri),
        };
        let path = path
            .or_else(|| Some(PathBuf::from(uri)).filter(|path| path.exists()))
            .ok_or_else(|| Error::usage(format!("{uri}: give the folder of a store, or the URL of a server")))?;
        Ok(Self::Store(open::to_change(&path)?))
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

    /// The last step of a run's metric; none if it has no such metric.
    pub(crate) fn last_step(&self, run: RunId, key: &str) -> Result<Option<i64>> {
        match self {
            Self::Store(store) => {
                let info = store.run(run)?.info()?;
                Ok(info.metrics.iter().find(|metric| *metric.key == *key).map(|metric| metric.last.step))
            }
            Self::Server(server) => {
                let answer = server.send(Method::Get, &format!("mlflow/runs/get?run_id={run}"), None);
                let answer = answer.map_err(|error| Error::Source(error.to_string()))?;
                let metrics = answer["run"]["data"]["metrics"].as_array().into_iter().flatten();
                let last = metrics.filter(|metric| metric["key"] == key).map(|metric| &metric["step"]);
                // Other servers write 64-bit integers as texts.
                let number = |step: &Json| step.as_i64().or_else(|| step.as_str()?.parse().ok());
                Ok(last.filter_map(number).max())
            }
        }
    }
}

fn call(server: &HttpStore, method: Method, path: &str, body: Option<&Json>) -> Result<()> {
    let answer = server.send(method, &format!("mlflow/{path}"), body);
    answer.map(drop).map_err(|error| Error::Source(error.to_string()))
}
