//! Requests to a server, over plain HTTP or, through [`crate::curl`], https.
//!
//! Answers are not trusted: they are bounded in size and time, and redirects are not followed, as the login is for this
//! server only.

use std::io::Read;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::curl;
use crate::error::Result;
use crate::remote::login;

/// Characters that are not escaped in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How long curl waits for a connection, and for bytes.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest wait that a server may ask for.
const RETRY_AFTER_S_MAX: u64 = 120;
/// Longest text of a refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;
/// Characters of it that are shown.
const REASON_CHARS_MAX: usize = 300;

/// A server.
pub(crate) struct Http {
    agent: Agent,
    /// Without a slash at its end.
    base: String,
    authorization: Option<String>,
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long it asks to wait.
    pub(crate) after: Option<Duration>,
    pub(crate) body: Box<dyn Read>,
}

/// A part of an address.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Parameters as the end of an address; nothing if there are none.
pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    if parameters.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    format!("?{}", pairs.join("&"))
}

impl Http {
    /// A server by its address, with the login of MLflow's clients.
    ///
    /// # Errors
    /// The login is no text.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: Agent::new_with_config(config), base, authorization: login()? })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Makes a call; a body is JSON. `patience` limits the whole call.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn send(
        &self,
        method: &str,
        url: &str,
        body: Option<&str>,
        patience: Duration,
        bytes_max: u64,
    ) -> Result<Answer, String> {
        let after = |seconds: u64| Duration::from_secs(seconds.min(RETRY_AFTER_S_MAX));
        if url.starts_with("https://") {
            let answer = curl::call(&curl::Call {
                method,
                url,
                authorization: self.authorization.as_deref(),
                body: body.map(|body| (body.as_bytes(), "application/json")),
                patience: SILENCE,
                answer_bytes_max: bytes_max,
            })?;
            let status = StatusCode::from_u16(answer.status).map_err(|error| error.to_string())?;
            return Ok(Answer { status, after: answer.retry_after_s.map(after), body: Box::new(answer.body) });
        }
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let built = |error: ureq::http::Error| error.to_string();
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_owned());
                let request = self.agent.configure_request(request.map_err(built)?);
                self.agent.run(request.timeout_global(Some(patience)).build())
            }
            None => {
                let request = self.agent.configure_request(request.body(()).map_err(built)?);
                self.agent.run(request.timeout_global(Some(patience)).build())
            }
        };
        let answer = answer.map_err(|error| error.to_string())?;
        let asked = answer.headers().get("Retry-After").and_then(|after| after.to_str().ok()?.trim().parse().ok());
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(bytes_max).reader();
        Ok(Answer { status, after: asked.map(after), body: Box::new(body) })
    }
}

impl Answer {
    /// What a refusal says.
    pub(crate) fn reason(self) -> String {
        let mut text = String::new();
        // What cannot be read of it is not shown.
        let _ = self.body.take(REFUSAL_BYTES_MAX).read_to_string(&mut text);
        let message = serde_json::from_str::<Value>(&text).ok();
        let message = message.as_ref().and_then(|message| message.get("message")?.as_str()).unwrap_or(&text);
        let short: String = message.trim().chars().take(REASON_CHARS_MAX).collect();
        let status = self.status;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "{status}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({short})"
            ),
            _ => format!("{status} {short}"),
        }
    }
}
