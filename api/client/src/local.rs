//! Which path of this machine a text names: a path, or a `file:` URI without a host or with `localhost`.
//!
//! | text | path |
//! |---|---|
//! | `/a%20b`, `a?b#c` | as it is |
//! | `file:/a`, `file:///a`, `file://localhost/a?x=1#y` | `/a` |
//! | `file://other/a`, `s3://b/a` | none |
//!
//! Percent signs are left to the caller: MLflow decodes those of values, and not those of project URIs.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// The scheme of a URI, as Python's `urlparse` finds it.
///
/// ```
/// use runlode_client::local::scheme;
///
/// assert_eq!((scheme("s3://b/a"), scheme("1:2"), scheme("/a")), (Some("s3"), None, None));
/// ```
#[must_use]
pub fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut bytes = scheme.bytes();
    let begins = bytes.next()?.is_ascii_alphabetic();
    (begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))).then_some(scheme)
}

/// The path that a text names, if it is one of this machine.
///
/// ```
/// use runlode_client::local::path;
///
/// assert_eq!(path("file://localhost/data/a"), Some("/data/a"));
/// assert_eq!(path("data/a"), Some("data/a"));
/// assert_eq!(path("file://other/a"), None);
/// ```
#[must_use]
pub fn path(text: &str) -> Option<&str> {
    let scheme = match scheme(text) {
        None => return Some(text),
        Some(scheme) if scheme.eq_ignore_ascii_case("file") => scheme,
        Some(_) => return None,
    };
    let rest = &text[scheme.len() + 1..];
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    match rest.strip_prefix("//") {
        None => Some(rest),
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/')?);
            (host.is_empty() || host.eq_ignore_ascii_case("localhost")).then_some(path)
        }
    }
}

/// The folder of this machine that a place of artifacts names; percent signs of a `file:` URI are decoded.
///
/// ```
/// use runlode_client::local::folder;
///
/// assert_eq!(folder("file:///data/a%20b"), Some("/data/a b".into()));
/// assert_eq!(folder("s3://bucket/a"), None);
/// ```
#[must_use]
pub fn folder(place: &str) -> Option<PathBuf> {
    let path = path(place)?;
    let path = if scheme(place).is_some() { percent_decode_str(path).decode_utf8_lossy() } else { path.into() };
    Some(PathBuf::from(path.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine() {
        for (text, found) in [
            ("/a%20b", Some("/a%20b")),
            ("a?b#c", Some("a?b#c")),
            ("file:a", Some("a")),
            ("FILE:/a", Some("/a")),
            ("file:///a%20b?x=1", Some("/a%20b")),
            ("file://LOCALHOST/a#sub", Some("/a")),
            ("file://host/a", None),
            ("file://host", None),
            ("s3://b/a", None),
            ("C:/a", None),
        ] {
            assert_eq!(path(text), found, "{text}");
        }
    }

    #[test]
    fn folders_of_this_machine() {
        for (text, found) in [
            ("/a/b", Some("/a/b")),
            ("rel", Some("rel")),
            ("file:///a%20b", Some("/a b")),
            ("/a%20b", Some("/a%20b")),
            ("file:/a", Some("/a")),
            ("file://localhost/a", Some("/a")),
            ("file://host/a", None),
            ("file:a", Some("a")),
            ("mlflow-artifacts:/0/r", None),
            ("s3://b/x", None),
            ("1:2", Some("1:2")),
        ] {
            assert_eq!(folder(text), found.map(PathBuf::from), "{text}");
        }
    }
}
