//! A Runlode server as the target of a sync.

use std::fs::File;
use std::time::Duration;

use runlode::sync::Report;
use runlode_client::{Answer, Body, Call, CallError, Client, escaped};
use serde::Deserialize;

use crate::error::{Error, Result};

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How much of a refusal's text is shown.
const REASON_CHARS_MAX: usize = 500;
/// Slowest upload that is waited for.
const UPLOAD_BYTES_S_MIN: u64 = 256 << 10;
/// No chunk has more of anything: counts are added up, and must not overflow.
const COUNT_MAX: u64 = 1 << 40;

/// A server. Its answers are not trusted: counts are checked before they are used.
pub(crate) struct Remote {
    client: Client,
    patience: Duration,
}

#[derive(Deserialize)]
struct Position {
    store_id: String,
    position: u64,
    experiments: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
    file_size: Option<u64>,
}

impl Remote {
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Self> {
        Ok(Self { client: Client::new(url).map_err(|error| Error::usage(error.to_string()))?, patience })
    }

    fn position(&self, source: &str) -> Result<Position> {
        let url = format!("{}/api/runlode/v1/sync?source={source}", self.client.base());
        self.read(&url, self.send("GET", &url, Body::None, self.patience))
    }

    pub(crate) fn store_id(&self, source: &str) -> Result<String> {
        Ok(reason(&self.position(source)?.store_id))
    }

    pub(crate) fn sync_position(&self, source: &str) -> Result<u64> {
        Ok(self.position(source)?.position)
    }

    pub(crate) fn sync_experiments(&self, source: &str) -> Result<Vec<(String, String)>> {
        Ok(self.position(source)?.experiments)
    }

    pub(crate) fn sync_apply(&self, chunk: &[u8]) -> Result<Report> {
        let url = format!("{}/api/runlode/v1/sync", self.client.base());
        let body = Body::Bytes(chunk, "application/octet-stream");
        let report: Report = self.read(&url, self.send("POST", &url, body, self.patience))?;
        let counts = [report.batches_count, report.events_count, report.points_count, report.known_count];
        if counts.into_iter().chain([report.problems_count]).any(|count| count > COUNT_MAX)
            || report.problems_count < report.problems.len() as u64
        {
            return Err(Error::Source(format!("{url} answered with impossible counts")));
        }
        Ok(report)
    }

    /// Names and sizes of the files in a folder of default artifact places.
    pub(crate) fn artifact_sizes(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts?path={}", self.client.base(), escaped(folder));
        let listing: Listing = self.read(&url, self.send("GET", &url, Body::None, self.patience))?;
        let files = listing.files.into_iter().filter(|file| !file.is_dir);
        let name = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
        // An empty file comes without a size.
        Ok(files.map(|file| (name(file.path), file.file_size.unwrap_or(0))).collect())
    }

    /// Uploads a file to its default artifact location. Returns why the server refuses it, if it does.
    pub(crate) fn put_artifact(&self, content: File, bytes: u64, place: &str) -> Result<Option<String>> {
        let parts: Vec<String> = place.split('/').map(escaped).collect();
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{}", self.client.base(), parts.join("/"));
        let whole = self.patience + Duration::from_secs(bytes / UPLOAD_BYTES_S_MIN);
        let body = Body::File(content, "application/octet-stream");
        let (status, text) = text(&url, self.send("PUT", &url, body, whole))?;
        match status {
            // The answer may be empty, or `{}`.
            200..300 => Ok(None),
            // MLflow refuses some names as attempts to escape the folder; servers refuse too large files.
            400 | 413 => Ok(Some(reason(&text))),
            _ => Err(refused(&url, status, &text)),
        }
    }

    fn send(&self, method: &str, url: &str, body: Body<'_>, whole: Duration) -> Result<Answer, CallError> {
        let (patience, whole) = (self.patience, Some(whole));
        self.client.send(Call { method, url, body, patience, whole, answer_bytes_max: ANSWER_BYTES_MAX })
    }

    fn read<T: serde::de::DeserializeOwned>(&self, url: &str, answer: Result<Answer, CallError>) -> Result<T> {
        let (status, text) = text(url, answer)?;
        if !(200..300).contains(&status) {
            return Err(refused(url, status, &text));
        }
        serde_json::from_str(&text)
            .map_err(|error| reason(&error.to_string()))
            .map_err(|error| Error::Source(format!("{url} is no Runlode server of this version: {error}")))
    }
}

/// Status and text of a server's answer.
fn text(url: &str, answer: Result<Answer, CallError>) -> Result<(u16, String)> {
    let failed = |why: String| Error::Source(format!("{url}: {why}; the sync may be started again"));
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let status = answer.status;
    let text = answer.text().map_err(|error| failed(error.to_string()))?;
    Ok((status, text.trim().to_owned()))
}

fn refused(url: &str, status: u16, text: &str) -> Error {
    Error::Source(format!("{url} answered {status}: {}", reason(text)))
}

/// The part of an answer that is shown.
fn reason(text: &str) -> String {
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that answers every request with these bytes, followed by `filler` until the client stops reading.
    /// Returns its address and how often it was asked.
    fn serve(answer: String, filler: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        // Ends with the process, because it waits for requests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let (answer, mut length) = (answer.clone(), 0);
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 2 {
                    if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = bytes.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let _ = std::io::copy(&mut reader.take(length), &mut std::io::sink());
                let _ = stream.write_all(answer.as_bytes());
                while !filler.is_empty() && stream.write_all(filler).is_ok() {}
            }
        });
        (url, asked)
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    fn refusal<T>(result: Result<T>) -> String {
        match result {
            Err(Error::Source(text)) => text,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was taken"),
        }
    }

    const SOURCE: &str = "0192f0c1-0000-7000-8000-000000000001";

    #[test]
    fn impossible_answers_are_refused() {
        let patience = Duration::from_secs(30);
        for body in [
            "",
            "{",
            "[]",
            "null",
            r#"{"store_id": 1, "position": 1, "experiments": []}"#,
            r#"{"store_id": "x", "position": -1, "experiments": []}"#,
            r#"{"store_id": "x", "position": 99999999999999999999, "experiments": []}"#,
            r#"{"store_id": "x", "position": 1, "experiments": [["1"]]}"#,
            r#"{"store_id": "x", "position": 1, "experiments": [[1, 2]]}"#,
            &format!(r#"{{"store_id": "x", "position": "{}", "experiments": []}}"#, "x".repeat(100_000)),
            &"[".repeat(100_000),
        ] {
            let (url, _) = serve(ok(body), b"");
            let text = refusal(Remote::new(&url, patience).unwrap().sync_position(SOURCE));
            assert!(text.contains("is no Runlode server of this version") && text.len() < 1000, "{text}");
        }
        let max = u64::MAX;
        let counts = |batches: u64, problems: u64| {
            format!(
                r#"{{"batches_count": {batches}, "events_count": 0, "points_count": 0, "known_count": 0,
                    "problems_count": {problems}, "problems": [{{"position": 1, "what": "x"}}], "through": {max}}}"#
            )
        };
        for (batches, problems) in [(max, 1), (0, 0), (0, max)] {
            let (url, _) = serve(ok(&counts(batches, problems)), b"");
            refusal(Remote::new(&url, patience).unwrap().sync_apply(b"chunk"));
        }
        let (url, _) = serve(ok(&"x".repeat(100_000)).replace("200 OK", "500 No"), b"");
        let text = refusal(Remote::new(&url, patience).unwrap().sync_position(SOURCE));
        assert!(text.chars().count() < 1000, "{}", text.len());
    }

    #[test]
    fn endless_answers_are_cut_off() {
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned();
        let (url, _) = serve(head, &[b' '; 1 << 20]);
        refusal(Remote::new(&url, Duration::from_secs(60)).unwrap().sync_position(SOURCE));
        let (url, _) = serve("HTTP/1.1 200 OK\r\n".to_owned(), b"X-More: more\r\n");
        refusal(Remote::new(&url, Duration::from_secs(60)).unwrap().sync_position(SOURCE));
    }

    #[test]
    fn redirects_are_not_followed() {
        let (other, asked) = serve(ok("{}"), b"");
        for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let head = format!("HTTP/1.1 {status}\r\nLocation: {other}/x\r\nContent-Length: 0\r\n\r\n");
            let (url, _) = serve(head, b"");
            let remote = Remote::new(&url, Duration::from_secs(30)).unwrap();
            assert!(refusal(remote.sync_position(SOURCE)).contains("answered 30"));
            refusal(remote.sync_apply(b"chunk"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
