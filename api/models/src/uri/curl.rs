//! https by the user's `curl`, with its certificates and proxies: no TLS is built in.
//!
//! The login and the URL go to curl over its standard input, so they never stand in the arguments of a process. The
//! answer is a temporary file, as long as curl may make it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::name::UriError;

/// Longest answer: a file of a model.
const ANSWER_BYTES_MAX: u64 = 64 << 30;

/// A call that curl makes.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) authorization: Option<&'a str>,
    /// JSON.
    pub(super) body: Option<&'a str>,
    /// How long curl waits for a connection, and for bytes.
    pub(super) patience: Duration,
}

/// Makes a call: the status of the answer, and a file of its body.
///
/// # Errors
/// There is no curl, or it reaches no server that it trusts.
pub(super) fn call(call: &Call<'_>) -> Result<(u16, File), UriError> {
    let url = call.url;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => UriError::Store(format!("{url}: https needs curl, which is not installed")),
        _ => UriError::Store(format!("{url}: curl cannot be called: {error}")),
    };
    let answer = tempfile::NamedTempFile::new().map_err(failed)?;
    let sent = tempfile::NamedTempFile::new().map_err(failed)?;
    let patience_s = call.patience.as_secs().to_string();
    let answer_bytes_max = ANSWER_BYTES_MAX.to_string();
    let output = answer.path().display().to_string();
    let mut lines = config(&[
        ("url", url),
        ("request", call.method),
        ("output", &output),
        ("connect-timeout", &patience_s),
        // Not a byte for so long; a large file may take its time.
        ("speed-limit", "1"),
        ("speed-time", &patience_s),
        ("max-filesize", &answer_bytes_max),
        ("write-out", "%{http_code}"),
    ]);
    if let Some(body) = call.body {
        sent.as_file().write_all(body.as_bytes()).map_err(failed)?;
        let data = format!("@{}", sent.path().display());
        lines += &config(&[("data-binary", &data), ("header", "Content-Type: application/json")]);
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
    // Redirects are not followed: the login is for this server only.
    command.args(["--disable", "--silent", "--show-error", "--proto", "=https", "--config", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(lines.as_bytes()));
    let said = child.wait_with_output().map_err(failed)?;
    if !said.status.success() {
        return Err(UriError::Store(format!("{url}: {}", String::from_utf8_lossy(&said.stderr).trim())));
    }
    written.map_err(failed)?;
    let status = String::from_utf8_lossy(&said.stdout);
    let status = status.trim().parse().map_err(|_| UriError::Store(format!("{url}: curl names no status")))?;
    Ok((status, answer.reopen().map_err(failed)?))
}

/// Lines of a configuration of curl.
fn config(options: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in options {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
        // A string takes everything.
        let _ = writeln!(out, "{name} = \"{value}\"");
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
}
