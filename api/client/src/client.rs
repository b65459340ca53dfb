//! A server, and calls of it over plain http.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{Request, Response};
use ureq::{Agent, AsSendBody};

use crate::call::{Answer, Body, Call};
use crate::curl;
use crate::error::CallError;
use crate::login::login;

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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::Bounded;

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
}
