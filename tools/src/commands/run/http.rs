//! Calls of an MLflow server.
//!
//! https goes through the user's `curl`, with its certificates and proxies: the tool itself has no TLS. The login comes
//! from the variables of MLflow's clients, and never stands in the arguments of a process.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::remote::login;

/// Time for one call.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest answer that is read into memory.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// The largest file that is downloaded.
const DOWNLOAD_BYTES_MAX: u64 = 16 << 30;
/// How much of a refusal is shown.
const REASON_CHARS_MAX: usize = 500;

pub(super) struct Http {
    /// Without a slash at its end.
    base: String,
    authorization: Option<String>,
    agent: ureq::Agent,
}

/// What a server answered.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Http {
    pub(super) fn new(base: &str) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // The login is for this server only.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let agent = ureq::Agent::new_with_config(config);
        Ok(Self { base: base.trim_end_matches('/').to_owned(), authorization: login()?, agent })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// A call of MLflow's REST API by POST.
    pub(super) fn post(&self, call: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/api/2.0/mlflow/{call}", self.base);
        self.json(&url, self.send("POST", &url, Some(body.to_string().as_bytes()), "application/json")?)
    }

    /// One by GET; the query is encoded already.
    pub(super) fn get(&self, call: &str) -> Result<Value> {
        let url = format!("{}/api/2.0/mlflow/{call}", self.base);
        self.json(&url, self.send("GET", &url, None, "")?)
    }

    fn json(&self, url: &str, answer: Answer) -> Result<Value> {
        let body = self.content(url, answer)?;
        serde_json::from_slice(&body).map_err(|error| Error::Source(format!("{url}: the answer is no JSON: {error}")))
    }

    /// Puts a file.
    pub(super) fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let url = self.url(path);
        let answer = self.send("PUT", &url, Some(bytes), "application/octet-stream")?;
        self.content(&url, answer).map(drop)
    }

    /// Gets a file; `None` if there is none.
    pub(super) fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let url = self.url(path);
        let answer = self.send("GET", &url, None, "")?;
        match answer.status {
            404 => Ok(None),
            _ => self.content(&url, answer).map(Some),
        }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    fn content(&self, url: &str, answer: Answer) -> Result<Vec<u8>> {
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body);
        let message = serde_json::from_str::<Value>(&text).ok();
        let message = message.as_ref().and_then(|body| body["message"].as_str()).unwrap_or(&text).to_owned();
        let message: String = message.trim().chars().take(REASON_CHARS_MAX).collect();
        Err(Error::Source(format!("{url} answered {}: {message}", answer.status)))
    }

    fn send(&self, method: &str, url: &str, body: Option<&[u8]>, kind: &str) -> Result<Answer> {
        match url.starts_with("https://") {
            true => self.send_by_curl(method, url, body, kind),
            false => self.send_plain(method, url, body, kind),
        }
    }

    fn send_plain(&self, method: &str, url: &str, body: Option<&[u8]>, kind: &str) -> Result<Answer> {
        let failed = |error: ureq::Error| Error::Source(format!("{url}: {error}"));
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let built = |error: ureq::http::Error| Error::usage(format!("{url}: {error}"));
        let mut answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", kind).body(body).map_err(built)?;
                self.agent.run(request).map_err(failed)?
            }
            None => self.agent.run(request.body(()).map_err(built)?).map_err(failed)?,
        };
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
        Ok(Answer { status: answer.status().as_u16(), body })
    }

    fn send_by_curl(&self, method: &str, url: &str, body: Option<&[u8]>, kind: &str) -> Result<Answer> {
        let io = |source| Error::io("cannot call curl", source);
        let out = tempfile::NamedTempFile::new().map_err(io)?;
        let sent = tempfile::NamedTempFile::new().map_err(io)?;
        let mut lines = curl_lines(&[
            ("url", url),
            ("request", method),
            ("output", &out.path().display().to_string()),
            ("max-time", &PATIENCE.as_secs().to_string()),
            ("max-filesize", &ANSWER_BYTES_MAX.to_string()),
            ("write-out", "%{http_code}"),
        ]);
        if let Some(body) = body {
            std::fs::write(sent.path(), body).map_err(io)?;
            let data = format!("@{}", sent.path().display());
            lines.push_str(&curl_lines(&[("data-binary", &data), ("header", &format!("Content-Type: {kind}"))]));
        }
        if let Some(authorization) = &self.authorization {
            lines.push_str(&curl_lines(&[("header", &format!("Authorization: {authorization}"))]));
        }
        if std::env::var("MLFLOW_TRACKING_INSECURE_TLS").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            lines.push_str("insecure\n");
        }
        if let Ok(path) = std::env::var("MLFLOW_TRACKING_SERVER_CERT_PATH") {
            lines.push_str(&curl_lines(&[("cacert", &path)]));
        }
        let status = curl(url, &lines)?;
        let status = status.trim().parse().map_err(|_| Error::Source(format!("{url}: curl names no status")))?;
        Ok(Answer { status, body: std::fs::read(out.path()).map_err(io)? })
    }
}

/// Lines of a configuration of curl.
fn curl_lines(options: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in options {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
        let _infallible = writeln!(out, "{name} = \"{value}\"");
    }
    out
}

/// Runs curl; its standard output.
fn curl(url: &str, lines: &str) -> Result<String> {
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--proto", "=https", "--config", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Source(format!("{url}: https needs curl, which is not installed")),
        _ => Error::io("cannot call curl", error),
    };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Source(format!("{url}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Downloads a file, without a login.
pub(super) fn download(url: &str, path: &Path) -> Result<(), String> {
    if url.starts_with("https://") {
        let lines = curl_lines(&[
            ("url", url),
            ("output", &path.display().to_string()),
            ("max-filesize", &DOWNLOAD_BYTES_MAX.to_string()),
        ]);
        return curl(url, &format!("{lines}fail\nlocation\n")).map(drop).map_err(|error| error.to_string());
    }
    let mut answer = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    let mut file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut body = answer.body_mut().with_config().limit(DOWNLOAD_BYTES_MAX).reader();
    std::io::copy(&mut body, &mut file).map(drop).map_err(|error| format!("{url}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_curl_is_one_line() {
        assert_eq!(curl_lines(&[("header", "A: \"b\\\"\nurl = x")]), "header = \"A: \\\"b\\\\\\\"\\nurl = x\"\n");
    }
}
