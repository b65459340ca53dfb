//! Why a call has no answer.

use std::io;

/// Why a call has no answer. The text names no address: whoever calls knows it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// A variable of the environment that should hold a login.
    #[error("{0} is not UTF-8 text")]
    Login(&'static str),
    /// `curl` is not installed.
    #[error("https needs curl, which is not installed")]
    NoCurl,
    /// `curl` cannot be called, or its files cannot be written.
    #[error("curl cannot be called: {0}")]
    Curl(#[source] io::Error),
    /// The server cannot be reached, is not trusted, stops in the middle, or answers too much; or this is no address.
    #[error("{0}")]
    NoAnswer(String),
}

impl CallError {
    pub(crate) fn no_answer(error: impl std::fmt::Display) -> Self {
        Self::NoAnswer(error.to_string())
    }
}
