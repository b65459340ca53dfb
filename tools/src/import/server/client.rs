//! Requests to an MLflow server.
//!
//! Its answers are not trusted: they are bounded in size and time, and redirects are not followed, as the login is for
//! this server only. A refusal that passes (429, 5xx, a broken connection) is tried again, later each time.

use std::thread::sleep;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Response, StatusCode};

use crate::error::{Error, Result};
use crate::remote::login;

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a request is made in all.
const ATTEMPTS: u32 = 6;
/// The first wait; each further one is twice as long.
const WAIT_MS: u64 = 250;
/// Longest wait that a server may ask for.
const RETRY_AFTER_S_MAX: u64 = 120;
/// Characters of a refusal that are shown.
const REASON_CHARS_MAX: usize = 300;

/// A server.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self> {
        if url.starts_with("https://") {
            return Err(Error::usage("https is not built in: use a tunnel or a local proxy, and give http://"));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let base = format!("{}/api/2.0/mlflow", url.trim_end_matches('/'));
        Ok(Self { agent: Agent::new_with_config(config), base, authorization: login()? })
    }

    /// Asks with parameters in the address.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let url = format!("{}/{path}", self.base);
        self.ask(&url, || {
            let mut request = self.agent.get(&url);
            for (key, value) in query {
                request = request.query(key, value);
            }
            if let Some(authorization) = &self.authorization {
                request = request.header("Authorization", authorization);
            }
            request.call()
        })
    }

    /// Asks with a JSON body.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let url = format!("{}/{path}", self.base);
        let body = body.to_string();
        self.ask(&url, || {
            let mut request = self.agent.post(&url).header("Content-Type", "application/json");
            if let Some(authorization) = &self.authorization {
                request = request.header("Authorization", authorization);
            }
            request.send(&body)
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        url: &str,
        request: impl Fn() -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T> {
        let mut wait = Duration::from_millis(WAIT_MS);
        let mut attempt = 1;
        loop {
            let (why, asked) = match once(request()) {
                Ok((status, _, text)) if status.is_success() => {
                    return serde_json::from_str(&text)
                        .map_err(|error| Error::Source(format!("{url} gave no answer of MLflow: {error}")));
                }
                Ok((status, after, text)) => {
                    let why = reason(status, &text);
                    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                        return Err(Error::Source(format!("{url}: {why}")));
                    }
                    (why, after)
                }
                Err(error) => (error.to_string(), None),
            };
            if attempt == ATTEMPTS {
                return Err(Error::Source(format!(
                    "{url}: {why}, {ATTEMPTS} times; run the import again once the server answers"
                )));
            }
            sleep(asked.unwrap_or(wait));
            wait *= 2;
            attempt += 1;
        }
    }
}

/// Status, the wait that is asked for, and text of an answer.
fn once(
    answer: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<(StatusCode, Option<Duration>, String), ureq::Error> {
    let mut answer = answer?;
    let after = answer.headers().get("Retry-After").and_then(|after| after.to_str().ok()?.trim().parse().ok());
    let after = after.map(|seconds: u64| Duration::from_secs(seconds.min(RETRY_AFTER_S_MAX)));
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok((answer.status(), after, text))
}

/// What a refusal says.
fn reason(status: StatusCode, text: &str) -> String {
    let message = serde_json::from_str::<Value>(text).ok();
    let message = message.as_ref().and_then(|message| message.get("message")?.as_str()).unwrap_or(text);
    let short: String = message.trim().chars().take(REASON_CHARS_MAX).collect();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "{status}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({short})"
        ),
        _ => format!("{status} {short}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives these answers, one to each connection. Returns its address, and what it was asked.
    fn serve(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                asked.push(lines.next().unwrap().unwrap());
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let (status, text) = answer.split_once('|').unwrap();
                let bytes = text.len();
                let head =
                    format!("HTTP/1.1 {status}\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: {bytes}");
                write!(stream, "{head}\r\n\r\n{text}").unwrap();
            }
            asked
        });
        (url, asked)
    }

    #[test]
    fn refusals_that_pass_are_tried_again() {
        let (url, asked) = serve(vec!["503 Busy|", "429 Slow|{}", "200 OK|{\"a\": 1}"]);
        let answer: Value = Client::new(&url).unwrap().get("x", &[("key", "a b/c")]).unwrap();
        assert_eq!(answer["a"], 1);
        let asked = asked.join().unwrap();
        assert!(asked.len() == 3 && asked[2].starts_with("GET /api/2.0/mlflow/x?key=a%20b"), "{asked:?}");
    }

    #[test]
    fn other_refusals_are_told_at_once() {
        let (url, asked) = serve(vec!["401 Unauthorized|no"]);
        let error = Client::new(&url).unwrap().get::<Value>("x", &[]).unwrap_err().to_string();
        assert!(error.contains("MLFLOW_TRACKING_USERNAME"), "{error}");
        assert_eq!(asked.join().unwrap().len(), 1);
        assert!(Client::new("https://tracking").is_err());
    }
}
