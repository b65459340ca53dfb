//! Where serving is recorded: a store, or a tracking server by MLflow's REST calls.

use std::path::Path;
use std::time::Duration;

use runlode::{ModelId, RunId, Store};
use serde_json::{Value as Json, json};
use ureq::Agent;

use crate::error::{Error, Result};
use crate::open;

/// How long a server may take for a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a refusal's text is shown.
const REASON_CHARS_MAX: usize = 300;

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
    Server { agent: Agent, base: String, authorization: Option<String> },
}

impl Place {
    /// A store that exists, or the server of an address.
    pub(crate) fn open(uri: &str) -> Result<Self> {
        if uri.starts_with("http://") {
            let config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
            let agent = Agent::new_with_config(config);
            let base = uri.trim_end_matches('/').to_owned();
            return Ok(Self::Server { agent, base, authorization: crate::remote::login()? });
        }
        if uri.contains("://") && !uri.starts_with("runlode://") && !uri.starts_with("file://") {
            return Err(Error::usage(format!("{uri}: give the folder of a store, or http:// and a server")));
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
            (Self::Server { .. }, Identity::Version { name, version }) => {
                let body = json!({ "name": name, "version": version.to_string(), "key": key, "value": value });
                self.call("POST", "model-versions/set-tag", &body)
            }
            (Self::Server { .. }, Identity::Logged(id)) => {
                let body = json!({ "tags": [{ "key": key, "value": value }] });
                self.call("PATCH", &format!("logged-models/{id}/tags"), &body)
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
            Self::Server { .. } => {
                let metric = |(key, value): &(String, f64)| json!({ "key": key, "value": value, "timestamp": time_ms, "step": step });
                for some in metrics.chunks(1000) {
                    let metrics: Vec<Json> = some.iter().map(metric).collect();
                    self.call("POST", "runs/log-batch", &json!({ "run_id": run.to_string(), "metrics": metrics }))?;
                }
                Ok(())
            }
        }
    }

    /// Whether there is such a run.
    pub(crate) fn check_run(&self, run: RunId) -> Result<()> {
        match self {
            Self::Store(store) => Ok(store.run(run)?.info().map(drop)?),
            Self::Server { .. } => self.call("GET", &format!("runs/get?run_id={run}"), &Json::Null),
        }
    }

    fn call(&self, method: &str, path: &str, body: &Json) -> Result<()> {
        let Self::Server { agent, base, authorization } = self else { return Ok(()) };
        let url = format!("{base}/api/2.0/mlflow/{path}");
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        request = request.header("Content-Type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(text).map_err(|error| Error::usage(format!("{url}: {error}")))?;
        let mut answer = agent.run(request).map_err(|error| Error::Source(format!("{url}: {error}")))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let said = answer.body_mut().read_to_string().unwrap_or_default();
        let said: String = said.chars().take(REASON_CHARS_MAX).collect();
        Err(Error::Source(format!("{url} answered {}: {said}", answer.status().as_u16())))
    }
}
