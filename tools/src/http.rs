//! Requests of JSON to a tracking server.

use std::time::Duration;

pub(crate) use runlode_client::{Answer, escaped, query};
use runlode_client::{Body, Call, CallError, Client};

use crate::error::{Error, Result};

/// How long a connection and the begin of an answer are waited for.
const SILENCE: Duration = Duration::from_secs(120);
/// Characters of a refusal that are shown.
const REASON_CHARS_MAX: usize = 300;

/// A server.
pub(crate) struct Http {
    client: Client,
}

impl Http {
    /// A server by its address, with the login of MLflow's clients.
    ///
    /// # Errors
    /// The login is no text.
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self { client: Client::new(url).map_err(|error| Error::usage(error.to_string()))? })
    }

    pub(crate) fn base(&self) -> &str {
        self.client.base()
    }

    /// Makes a call; a body is JSON. `patience` limits the whole call.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) fn send(
        &self,
        method: &str,
        url: &str,
        body: Option<&str>,
        patience: Duration,
        bytes_max: u64,
    ) -> Result<Answer, CallError> {
        let body = body.map_or(Body::None, |body| Body::Bytes(body.as_bytes(), "application/json"));
        let whole = Some(patience);
        self.client.send(Call { method, url, body, patience: SILENCE, whole, answer_bytes_max: bytes_max })
    }
}

/// What a refusal says, with its status.
pub(crate) fn refusal(answer: Answer) -> String {
    let status = answer.status;
    let said = answer.reason(REASON_CHARS_MAX);
    match status {
        401 | 403 => {
            format!(
                "{status}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({said})"
            )
        }
        _ => format!("{status} {said}"),
    }
}
