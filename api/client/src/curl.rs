//! Calls by the user's `curl`.
//!
//! Each call is a process of curl, so each makes a connection of its own. The address and the login go over its standard
//! input: they never stand in the arguments of a process.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::call::{Answer, Body, Call};
use crate::error::CallError;

/// Makes a call.
///
/// # Errors
/// There is no curl, it reaches no server that it trusts, or the answer is too long.
pub(crate) fn send(call: Call<'_>, authorization: Option<&str>) -> Result<Answer, CallError> {
    let answer = tempfile::NamedTempFile::new().map_err(CallError::Curl)?;
    let patience_s = seconds(call.patience);
    let mut lines = config(&[
        ("url", call.url),
        ("request", call.method),
        ("output", &answer.path().display().to_string()),
        ("connect-timeout", &patience_s),
        // Not a byte for so long.
        ("speed-limit", "1"),
        ("speed-time", &patience_s),
        ("max-filesize", &call.answer_bytes_max.to_string()),
        ("write-out", "%{http_code} %header{retry-after}"),
    ]);
    if let Some(whole) = call.whole {
        lines += &config(&[("max-time", &seconds(whole))]);
    }
    // Open until curl has ended.
    let sent = match call.body {
        Body::None => None,
        Body::Bytes(bytes, kind) => {
            let mut file = tempfile::tempfile().map_err(CallError::Curl)?;
            file.write_all(bytes).map_err(CallError::Curl)?;
            Some((file, kind))
        }
        Body::File(file, kind) => Some((file, kind)),
    };
    if let Some((file, kind)) = &sent {
        // Read as it is sent; data options would be read into memory. Curl must not wait for a "100 Continue".
        lines += &config(&[
            ("upload-file", &place(file)),
            ("header", &format!("Content-Type: {kind}")),
            ("header", "Expect:"),
        ]);
    }
    if let Some(authorization) = authorization {
        lines += &config(&[("header", &format!("Authorization: {authorization}"))]);
    }
    if std::env::var("MLFLOW_TRACKING_INSECURE_TLS").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        lines += "insecure\n";
    }
    if let Ok(path) = std::env::var("MLFLOW_TRACKING_SERVER_CERT_PATH") {
        lines += &config(&[("cacert", &path)]);
    }
    let said = run(&lines)?;
    let mut words = said.split_whitespace();
    let status = words.next().and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| CallError::no_answer("curl names no status"))?;
    let retry_after = words.next().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    // An answer without a body leaves the file as it was: empty.
    let body = answer.reopen().map_err(CallError::Curl)?;
    Ok(Answer { status, retry_after, body: Box::new(body) })
}

/// Runs curl with a configuration; its standard output.
pub(crate) fn run(lines: &str) -> Result<String, CallError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CallError::NoCurl,
        _ => CallError::Curl(error),
    };
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--proto", "=https", "--config", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
    let said = child.wait_with_output().map_err(failed)?;
    if !said.status.success() {
        return Err(CallError::NoAnswer(String::from_utf8_lossy(&said.stderr).trim().to_owned()));
    }
    written.map_err(failed)?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Where another process of this user finds an open file.
fn place(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

fn seconds(duration: Duration) -> String {
    duration.as_secs().max(1).to_string()
}

/// Lines of a configuration of curl.
pub(crate) fn config(options: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in options {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
        let _infallible = writeln!(out, "{name} = \"{value}\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_line() {
        assert_eq!(config(&[("header", "A: \"b\\\"\nurl = x")]), "header = \"A: \\\"b\\\\\\\"\\nurl = x\"\n");
    }

    #[test]
    fn only_https_is_called() {
        let call = Call {
            method: "GET",
            url: "file:///etc/hostname",
            body: Body::None,
            patience: Duration::from_secs(5),
            whole: None,
            answer_bytes_max: 100,
        };
        assert!(send(call, None).is_err());
    }
}
