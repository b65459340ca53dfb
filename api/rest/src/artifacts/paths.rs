//! Paths of artifacts from clients: relative, below a folder, without tricks.
//!
//! A path is decoded once if it comes in a URL. Further decodings are checked too, since something behind us might
//! decode again: a path that becomes a trick in any of these forms is refused with MLflow's text `Invalid path`, before
//! anything is looked up. Names are kept as they came (`a%20b` stays that).
//!
//! Refused: `..` as a part, absolute paths, drive letters, `file:`, backslashes, NUL and `#` in any form; other control
//! characters; more parts or bytes than file systems take. Empty parts and `.` are dropped.

use percent_encoding::percent_decode;
use runlode::beneath::plain_path;
use runlode::mlflow::{ApiError, ApiResult};

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_folder: bool,
    /// 0 for folders.
    pub(crate) bytes: u64,
    /// Time of the last change, Unix ms; of folders in object stores nobody knows it.
    pub(crate) modified_ms: Option<i64>,
}

/// A path below some folder: parts without tricks, joined by `/`. Empty is the folder itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ArtifactPath {
    text: String,
}

impl ArtifactPath {
    /// From the still encoded part of a URL's path.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `Invalid path`.
    pub(crate) fn from_url(raw: &str) -> ApiResult<Self> {
        let decoded = percent_decode(raw.as_bytes()).decode_utf8().map_err(|_| invalid())?;
        Self::new(&decoded)
    }

    /// From a decoded text.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `Invalid path`.
    pub(crate) fn new(text: &str) -> ApiResult<Self> {
        plain_path(text).map(|text| Self { text }).ok_or_else(invalid)
    }

    /// The path of a file or folder to write or remove; not the folder itself.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `Invalid path`.
    pub(crate) fn named(self) -> ApiResult<Self> {
        if self.is_root() { Err(invalid()) } else { Ok(self) }
    }

    /// Whether it is the folder itself.
    pub(crate) fn is_root(&self) -> bool {
        self.text.is_empty()
    }

    /// Its text: `a/b`.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Its last part.
    pub(crate) fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// All but its last part.
    pub(crate) fn parent(&self) -> &str {
        self.text.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// Its first part.
    pub(crate) fn first(&self) -> &str {
        self.text.split('/').next().unwrap_or_default()
    }

    /// `below`, relative to this path.
    pub(crate) fn join(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self { text: format!("{}/{}", self.text, below.text) },
        }
    }
}

/// MLflow's text for all refused paths.
pub(crate) fn invalid() -> ApiError {
    ApiError::invalid("Invalid path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_refused_however_encoded() {
        let plain = [
            "..",
            "../x",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "//etc",
            "C:",
            "C:/x",
            "c:\\x",
            "a\\b",
            "\\\\host\\x",
            "a\0b",
            "a#b",
            "file:/etc/passwd",
            "FILE:///etc",
            "..\\x",
        ];
        for trick in plain {
            let mut form = trick.to_owned();
            for _ in 0..4 {
                let refused = ArtifactPath::new(&form).unwrap_err();
                assert_eq!(refused.message, "Invalid path", "{form:?}");
                assert_eq!(refused.code.name(), "INVALID_PARAMETER_VALUE");
                form = form.bytes().fold(String::new(), |mut out, byte| {
                    if byte.is_ascii_alphanumeric() {
                        out.push(char::from(byte));
                    } else {
                        out.push_str(&format!("%{byte:02x}"));
                    }
                    out
                });
                assert_eq!(ArtifactPath::from_url(&form).unwrap_err().message, "Invalid path", "{form:?}");
            }
        }
        for bad in ["a\nb", "a\u{7f}", &"x".repeat(256), &"a/".repeat(129)] {
            assert!(ArtifactPath::new(bad).is_err(), "{bad:?}");
        }
        let mut deep = "%2e%2e".to_owned();
        for _ in 0..12 {
            assert!(ArtifactPath::new(&deep).is_err());
            deep = deep.replace('%', "%25");
        }
        assert!(ArtifactPath::from_url("%ff").is_err());
    }

    #[test]
    fn honest_names_stay_as_they_are() {
        for (given, kept) in [
            ("a/b.txt", "a/b.txt"),
            ("a%20b", "a%20b"),
            ("100%", "100%"),
            ("images/dog~x+step+0+timestamp+1+u.png", "images/dog~x+step+0+timestamp+1+u.png"),
            ("é/日本.html", "é/日本.html"),
            ("./a//b/.", "a/b"),
            ("", ""),
            (".", ""),
            ("...", "..."),
            ("a..b", "a..b"),
            ("x:y", "x:y"),
            ("c:x", "c:x"),
            ("a?b;c", "a?b;c"),
        ] {
            assert_eq!(ArtifactPath::new(given).unwrap().as_str(), kept, "{given}");
        }
        let path = ArtifactPath::from_url("a%20b/c%2520d").unwrap();
        assert_eq!((path.parent(), path.name(), path.first()), ("a b", "c%20d", "a b"));
        assert!(ArtifactPath::new(".").unwrap().named().is_err());
        let root = ArtifactPath::default();
        assert_eq!(root.join(&path), path);
        assert_eq!(path.join(&root), path);
        assert_eq!(path.join(&path).as_str(), "a b/c%20d/a b/c%20d");
    }
}
