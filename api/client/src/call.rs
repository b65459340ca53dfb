//! A call and its answer.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use serde_json::Value;

/// Longest text of a refusal that is read.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;

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

    /// The message of a refusal, at most `chars_max` characters of it. An answer that is not MLflow's JSON is shown as it
    /// is.
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
    use super::reason;

    #[test]
    fn a_refusal_is_told_in_mlflow_words_or_in_its_own() {
        assert_eq!(reason(r#"{"error_code": "X", "message": " no such run "}"#, 100), "no such run");
        assert_eq!(reason(r#"{"detail": 1}"#, 100), r#"{"detail": 1}"#);
        assert_eq!(reason("<html> é", 6), "<html>");
        assert_eq!(reason("", 6), "");
    }
}
