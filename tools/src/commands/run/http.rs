//! Calls of an MLflow server that a launch is recorded in.

use std::io::Read as _;
use std::time::Duration;

use runlode_client::{Body, Call, Client};
use serde_json::Value;

use crate::error::{Error, Result};

/// Time for one call.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How much of a refusal is shown.
const REASON_CHARS_MAX: usize = 500;

pub(super) struct Http {
    client: Client,
}

impl Http {
    pub(super) fn new(base: &str) -> Result<Self> {
        Ok(Self { client: Client::new(base).map_err(|error| Error::usage(error.to_string()))? })
    }

    pub(super) fn base(&self) -> &str {
        self.client.base()
    }

    /// A call of MLflow's REST API by POST.
    pub(super) fn post(&self, call: &str, body: &Value) -> Result<Value> {
        self.json(call, "POST", Body::Bytes(body.to_string().as_bytes(), "application/json"))
    }

    /// One by GET; the query is encoded already.
    pub(super) fn get(&self, call: &str) -> Result<Value> {
        self.json(call, "GET", Body::None)
    }

    fn json(&self, call: &str, method: &str, body: Body<'_>) -> Result<Value> {
        let url = format!("{}/api/2.0/mlflow/{call}", self.base());
        let bytes = self.ask(method, &url, body).map_err(|(_, error)| error)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Source(format!("{url}: the answer is no JSON: {error}")))
    }

    /// Puts a file.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let answer = self.ask("PUT", &self.url(path), Body::Bytes(bytes, "application/octet-stream"));
        answer.map(drop).map_err(|(_, error)| error)
    }

    /// Gets a file; `None` if there is none.
    pub(super) fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.ask("GET", &self.url(path), Body::None) {
            Err((404, _)) => Ok(None),
            answer => answer.map(Some).map_err(|(_, error)| error),
        }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base()) }
    }

    /// The body of an answer, or why there is none with its status.
    fn ask(&self, method: &str, url: &str, body: Body<'_>) -> Result<Vec<u8>, (u16, Error)> {
        let failed = |why: String| Error::Source(format!("{url}: {why}"));
        let whole = Some(PATIENCE);
        let call = Call { method, url, body, patience: PATIENCE, whole, answer_bytes_max: ANSWER_BYTES_MAX };
        let mut answer = self.client.send(call).map_err(|error| (0, failed(error.to_string())))?;
        if !answer.is_success() {
            let status = answer.status;
            let reason = answer.reason(REASON_CHARS_MAX);
            return Err((status, Error::Source(format!("{url} answered {status}: {reason}"))));
        }
        let mut bytes = Vec::new();
        answer.body.read_to_end(&mut bytes).map_err(|error| (0, failed(error.to_string())))?;
        Ok(bytes)
    }
}
