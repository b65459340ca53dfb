//! Keys of metrics, params and tags: MLflow's rule for valid ones.

use std::fmt;

use runlode_engine::{Error, Result};

/// Longest key of a metric, param or tag.
pub const KEY_CHARS_MAX: usize = 250;

/// Why a text is not a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadKey {
    /// It has characters that a key may not have.
    Characters,
    /// Read as a path, it has another normal form, which is given here.
    Path(String),
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Characters => f.write_str(
                "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), \
                 colon(:) and slashes (/).",
            ),
            Self::Path(normal) => write!(
                f,
                "Names may be treated as files in certain cases, and must not resolve to other names when treated as \
                 such. This name would resolve to {}",
                python_text(normal)
            ),
        }
    }
}

fn is_key_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ' ' | ':')
}

/// Refuses characters and forms that no key may have; the caller checks the length.
pub(crate) fn check(key: &str) -> std::result::Result<(), BadKey> {
    // The common case first: letters, digits and single inner separators need no path arithmetic.
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Ok(());
    }
    if !key.chars().all(is_key_char) {
        return Err(BadKey::Characters);
    }
    let normal = posix_normal(key);
    if normal != key || normal == "." || normal.starts_with("..") || normal.starts_with('/') {
        return Err(BadKey::Path(normal));
    }
    Ok(())
}

/// Refuses a text that is not a valid `kind` (`metric key`, `param key`, `tag key`).
pub(crate) fn check_as(kind: &str, key: &str) -> Result<()> {
    check(key).map_err(|why| Error::invalid(kind, format!("`{key}`: {why}")))?;
    match key.chars().nth(KEY_CHARS_MAX) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(kind, format!("longer than {KEY_CHARS_MAX} characters"))),
    }
}

/// The POSIX-normal form of a path, as Python's `posixpath.normpath` makes it.
///
/// ```
/// assert_eq!(runlode::mlflow::names::posix_normal("a//b/../c"), "a/c");
/// ```
pub fn posix_normal(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let root = match path.bytes().take_while(|byte| *byte == b'/').count() {
        0 => "",
        // POSIX leaves the meaning of exactly two leading slashes open; keep them.
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let normal = format!("{root}{}", parts.join("/"));
    if normal.is_empty() { ".".to_owned() } else { normal }
}

/// A text as Python prints it: in single quotes, unless it contains single quotes and no double ones.
///
/// ```
/// assert_eq!(runlode::mlflow::names::python_text("it's"), "\"it's\"");
/// ```
pub fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
