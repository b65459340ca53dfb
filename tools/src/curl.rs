//! https by the user's `curl`, with its certificates and proxies: the tool itself has no TLS.
//!
//! Each call is a process of curl, so each makes a connection of its own. The URL and the login go over its standard input
//! and never stand in the arguments of a process; redirects are not followed, because the login is for one server only.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A call.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) authorization: Option<&'a str>,
    /// With its type.
    pub(crate) body: Option<(&'a [u8], &'a str)>,
    /// How long a connection, and each byte after it, is waited for.
    pub(crate) patience: Duration,
    pub(crate) answer_bytes_max: u64,
}

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Retry-After`, if it says seconds and curl is new enough to tell.
    pub(crate) retry_after_s: Option<u64>,
    /// A temporary file.
    pub(crate) body: File,
}

/// Makes a call.
///
/// # Errors
/// A sentence: there is no curl, it reaches no server that it trusts, or the answer is too long.
pub(crate) fn call(call: &Call<'_>) -> Result<Answer, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "https needs curl, which is not installed".to_owned(),
        _ => format!("curl cannot be called: {error}"),
    };
    let answer = tempfile::NamedTempFile::new().map_err(failed)?;
    let sent = tempfile::NamedTempFile::new().map_err(failed)?;
    let patience_s = call.patience.as_secs().max(1).to_string();
    let mut lines = config(&[
        ("url", call.url),
        ("request", call.method),
        ("output", &answer.path().display().to_string()),
        ("connect-timeout", &patience_s),
        // Not a byte for so long; a large file may take its time.
        ("speed-limit", "1"),
        ("speed-time", &patience_s),
        ("max-filesize", &call.answer_bytes_max.to_string()),
        ("write-out", "%{http_code} %header{retry-after}"),
    ]);
    if let Some((body, kind)) = call.body {
        sent.as_file().write_all(body).map_err(failed)?;
        let data = format!("@{}", sent.path().display());
        lines += &config(&[("data-binary", &data), ("header", &format!("Content-Type: {kind}"))]);
    }
    if let Some(authorization) = call.authorization {
        lines += &config(&[("header", &format!("Authorization: {authorization}"))]);
    }
    if std::env::var("MLFLOW_TRACKING_INSECURE_TLS").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        lines += "insecure\n";
    }
    if let Ok(path) = std::env::var("MLFLOW_TRACKING_SERVER_CERT_PATH") {
        lines += &config(&[("cacert", &path)]);
    }
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--proto", "=https", "--config", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
    let said = child.wait_with_output().map_err(failed)?;
    if !said.status.success() {
        return Err(String::from_utf8_lossy(&said.stderr).trim().to_owned());
    }
    written.map_err(failed)?;
    let text = String::from_utf8_lossy(&said.stdout);
    let mut words = text.split_whitespace();
    let status = words.next().and_then(|status| status.parse().ok()).ok_or("curl names no status")?;
    let retry_after_s = words.next().and_then(|seconds| seconds.parse().ok());
    // An answer without a body leaves the file as it was: empty.
    Ok(Answer { status, retry_after_s, body: answer.reopen().map_err(failed)? })
}

/// Lines of a configuration of curl.
fn config(options: &[(&str, &str)]) -> String {
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
            authorization: None,
            body: None,
            patience: Duration::from_secs(5),
            answer_bytes_max: 100,
        };
        assert!(super::call(&call).is_err());
    }
}
