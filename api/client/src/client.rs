//! A server, a call, an answer.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, AsSendBody};

use crate::curl;
use crate::error::CallError;
use crate::login::login;

/// Longest text of a refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;

/// A server, with the login of MLflow's clients. Connections over plain http are kept.
///
/// ```no_run
/// use std::time::Duration;
/// use runlode_client::{Body, Call, Client};
///
/// let server = Client::new("http://127.0.0.1:5000")?;
/// let url = format!("{}/version", server.base());
/// let answer = server.send(Call {
///     method: "GET",
///     url: &url,
///     body: Body::None,
///     patience: Duration::from_secs(10),
///     whole: None,
///     answer_bytes_max: 1 << 20,
/// })?;
/// assert_eq!(answer.status, 200);
/// # Ok::<(), runlode_client::CallError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// A call.
#[derive(Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The whole address.
    pub url: &'a str,
    /// What is sent.
    pub body: Body<'a>,
    /// How long a connection is waited for, and how long the answer may take to begin; over https also how long no byte
    /// may come.
    pub patience: Duration,
    /// How long all of it may take. `None`: a file may take its time.
    pub whole: Option<Duration>,
    /// Longest answer; a longer one fails, perhaps only while it is read.
    pub answer_bytes_max: u64,
}

/// What is sent.
#[derive(Debug)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// Bytes of a content type.
    Bytes(&'a [u8], &'a str),
    /// A regular file from its beginning, of a content type.
    File(File, &'a str),
}

/// What a server answered.
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// How long it asks to wait: `Retry-After` in seconds.
    pub retry_after: Option<Duration>,
    /// As it comes.
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// A server by its address.
    ///
    /// # Errors
    /// [`CallError::Login`]: the login is no text.
    pub fn new(url: &str) -> Result<Self, CallError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: Agent::new_with_config(config), base, authorization: login()? })
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Makes a call. Any status is an answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn send(&self, call: Call<'_>) -> Result<Answer, CallError> {
        match call.url.starts_with("https://") {
            true => curl::send(call, self.authorization.as_deref()),
            false => self.send_plain(call),
        }
    }

    fn send_plain(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let mut request = Request::builder().method(call.method).uri(call.url);
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Body::Bytes(_, kind) | Body::File(_, kind) = &call.body {
            request = request.header("Content-Type", *kind);
        }
        let answer = match call.body {
            Body::None => self.run(request.body(()), call.patience, call.whole),
            // MLflow's calls that delete have bodies, which HTTP does not usually allow.
            Body::Bytes(bytes, kind) if call.method == "DELETE" => {
                let mut request = self.agent.delete(call.url).header("Content-Type", kind);
                if let Some(authorization) = &self.authorization {
                    request = request.header("Authorization", authorization);
                }
                let request = request.force_send_body().config().timeout_global(Some(call.patience)).build();
                request.send(bytes).map_err(CallError::no_answer)
            }
            Body::Bytes(bytes, _) => self.run(request.body(bytes), call.patience, call.whole),
            Body::File(file, _) => self.run(request.body(file), call.patience, call.whole),
        }?;
        let asked = answer.headers().get("Retry-After").and_then(|after| after.to_str().ok()?.trim().parse().ok());
        let status = answer.status().as_u16();
        let body = Bounded {
            body: answer.into_body().into_reader(),
            max_bytes: call.answer_bytes_max,
            left_bytes: call.answer_bytes_max,
        };
        Ok(Answer { status, retry_after: asked.map(Duration::from_secs), body: Box::new(body) })
    }

    fn run(
        &self,
        request: Result<Request<impl AsSendBody>, ureq::http::Error>,
        patience: Duration,
        whole: Option<Duration>,
    ) -> Result<Response<ureq::Body>, CallError> {
        let request = self
            .agent
            .configure_request(request.map_err(CallError::no_answer)?)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_global(whole)
            .build();
        self.agent.run(request).map_err(CallError::no_answer)
    }
}

/// A body that fails where it is longer than was asked for.
struct Bounded<R> {
    body: R,
    max_bytes: u64,
    left_bytes: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 && !out.is_empty() {
            return match self.body.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other(match self.max_bytes >> 20 {
                    0 => format!("the answer is larger than {} bytes", self.max_bytes),
                    mib => format!("the answer is larger than {mib} MiB"),
                })),
            };
        }
        let most = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(out.len());
        let read = self.body.read(&mut out[..most])?;
        self.left_bytes -= read as u64;
        Ok(read)
    }
}

impl Answer {
    /// Whether the server did what it was asked for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as a text.
    ///
    /// # Errors
    /// It breaks off, is no UTF-8, or is longer than was asked for.
    pub fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }

    /// What a refusal says, at most so many characters: MLflow's `message`, or the text as it is.
    #[must_use]
    pub fn reason(self, chars_max: usize) -> String {
        let mut text = Vec::new();
        // What cannot be read of it is not shown.
        let _ = self.body.take(REFUSAL_BYTES_MAX).read_to_end(&mut text);
        reason(&String::from_utf8_lossy(&text), chars_max)
    }
}

fn reason(text: &str, chars_max: usize) -> String {
    let message = serde_json::from_str::<Value>(text).ok();
    let message = message.as_ref().and_then(|message| message.get("message")?.as_str()).unwrap_or(text);
    message.trim().chars().take(chars_max).collect()
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{Bounded, reason};

    #[test]
    fn an_answer_that_is_too_long_fails_where_it_is() {
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            Bounded { body: bytes, max_bytes: 4, left_bytes: 4 }.read_to_end(&mut out).map(|_| out)
        };
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"1234").unwrap(), b"1234");
        assert_eq!(read(b"12345").unwrap_err().to_string(), "the answer is larger than 4 bytes");
    }

    #[test]
    fn a_refusal_is_told_in_mlflow_words_or_in_its_own() {
        assert_eq!(reason(r#"{"error_code": "X", "message": " no such run "}"#, 100), "no such run");
        assert_eq!(reason(r#"{"detail": 1}"#, 100), r#"{"detail": 1}"#);
        assert_eq!(reason("<html> é", 6), "<html>");
        assert_eq!(reason("", 6), "");
    }
}
