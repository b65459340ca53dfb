//! Requests to an MLflow server. A refusal that passes (429, 5xx, a broken connection) is tried again, later each time.

use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::{Http, query, refusal};

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Slowest download that is waited for.
const DOWNLOAD_BYTES_S_MIN: u64 = 256 << 10;
/// Longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// How often a request is made in all.
const ATTEMPTS: u32 = 6;
/// The first wait; each further one is twice as long.
const WAIT_MS: u64 = 250;

/// A server.
pub(super) struct Client {
    http: Http,
}

/// Why a request has no answer that can be used.
pub(super) enum Refusal {
    /// The server does not have it.
    Absent,
    /// The server refuses it.
    No(Error),
    /// What answers is broken, or does not answer.
    Broken(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::Source("the server answered 404 Not Found".to_owned()),
            Refusal::No(error) | Refusal::Broken(error) => error,
        }
    }
}

impl Client {
    pub(super) fn new(url: &str) -> Result<Self> {
        Ok(Self { http: Http::new(url)? })
    }

    /// The host and port of its address.
    pub(super) fn host(&self) -> &str {
        let base = self.http.base();
        let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        host.rsplit_once('@').map_or(host, |(_, host)| host)
    }

    /// Asks MLflow's API with parameters in the address.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T> {
        Ok(self.get_of(&format!("mlflow/{path}"), parameters)?)
    }

    /// Asks any API of the server with parameters in the address.
    pub(super) fn get_of<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, &str)]) -> Result<T, Refusal> {
        self.json(&format!("{}/api/2.0/{path}{}", self.http.base(), query(parameters)), None)
    }

    /// Asks MLflow's API with a JSON body.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let url = format!("{}/api/2.0/mlflow/{path}", self.http.base());
        Ok(self.json(&url, Some(&body.to_string()))?)
    }

    /// Gets a file of about `bytes` bytes; `take` is called with it, again after each failure on the way.
    pub(super) fn download<T>(
        &self,
        path: &str,
        bytes: u64,
        bytes_max: u64,
        mut take: impl FnMut(&mut dyn Read) -> std::io::Result<T>,
    ) -> Result<T, Refusal> {
        let url = format!("{}/api/2.0/{path}", self.http.base());
        let patience = PATIENCE + Duration::from_secs(bytes / DOWNLOAD_BYTES_S_MIN);
        self.ask(&url, None, patience, bytes_max, |body| take(body).map_err(|error| error.to_string()))
    }

    fn json<T: DeserializeOwned>(&self, url: &str, body: Option<&str>) -> Result<T, Refusal> {
        let text = self.ask(url, body, PATIENCE, ANSWER_BYTES_MAX, |body| {
            let mut text = String::new();
            body.take(ANSWER_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok(text)
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Refusal::Broken(Error::Source(format!("{url} gave no answer of MLflow: {error}"))))
    }

    fn ask<T>(
        &self,
        url: &str,
        body: Option<&str>,
        patience: Duration,
        bytes_max: u64,
        mut take: impl FnMut(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, Refusal> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut wait = Duration::from_millis(WAIT_MS);
        let mut attempt = 1;
        loop {
            let (why, asked) = match self.http.send(method, url, body, patience, bytes_max) {
                Ok(mut answer) if answer.is_success() => match take(&mut answer.body) {
                    Ok(taken) => return Ok(taken),
                    Err(why) => (why, None),
                },
                Ok(answer) => {
                    let (status, after) = (answer.status, answer.retry_after.map(|after| after.min(RETRY_AFTER_MAX)));
                    let why = refusal(answer);
                    if status == 404 && body.is_none() {
                        return Err(Refusal::Absent);
                    }
                    if status != 429 && status < 500 {
                        return Err(Refusal::No(Error::Source(format!("{url}: {why}"))));
                    }
                    (why, after)
                }
                Err(why) => (why.to_string(), None),
            };
            if attempt == ATTEMPTS {
                return Err(Refusal::Broken(Error::Source(format!(
                    "{url}: {why}, {ATTEMPTS} times; run the import again once the server answers"
                ))));
            }
            sleep(asked.unwrap_or(wait));
            wait *= 2;
            attempt += 1;
        }
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
    }
}
