//! The content type of a file, by its name, as in MLflow.
//!
//! Everything that MLflow treats as text is `text/plain`, so that browsers do not run it; otherwise the type depends on
//! the extension, else it is `application/octet-stream`. An encoding after the type (`a.tar.gz`) is ignored. Files of
//! the web pages use [`of_page_file`].

/// Extensions (or whole names without one) that MLflow serves as plain text.
const TEXT: &[&str] = &[
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "ipynb",
    "MLmodel",
    "MLproject",
    // As MLflow itself writes it.
    "mlproject",
];

const BINARY: &str = "application/octet-stream";

const TYPES: &[(&str, &str)] = &[
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eps", "application/postscript"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("h5", "application/x-hdf5"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpe", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("markdown", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("ps", "application/postscript"),
    ("rtf", "application/rtf"),
    ("sh", "application/x-sh"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tex", "text/x-tex"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ttf", "font/ttf"),
    ("wasm", "application/wasm"),
    ("wav", "audio/x-wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// Type of an artifact.
pub(crate) fn of_artifact(name: &str) -> &'static str {
    let extension = extension(name).unwrap_or(name);
    if TEXT.contains(&extension) { "text/plain" } else { guessed(name) }
}

/// Type of a file of the web pages; text is UTF-8.
pub(crate) fn of_page_file(name: &str) -> &'static str {
    match guessed(name) {
        "text/html" => "text/html; charset=utf-8",
        "text/css" => "text/css; charset=utf-8",
        "text/javascript" => "text/javascript; charset=utf-8",
        other => other,
    }
}

fn guessed(name: &str) -> &'static str {
    let lower = name.to_ascii_lowercase();
    let bare = ["gz", "bz2", "xz", "br", "z"].iter().find_map(|code| lower.strip_suffix(code)?.strip_suffix('.'));
    let Some(extension) = extension(bare.unwrap_or(&lower)) else { return BINARY };
    if matches!(extension, "tgz" | "taz" | "tz" | "tbz2" | "txz") {
        return "application/x-tar";
    }
    TYPES.binary_search_by_key(&extension, |(known, _)| known).map_or(BINARY, |at| TYPES[at].1)
}

/// The text after the last dot; a leading dot begins no extension.
fn extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.trim_start_matches('.').is_empty() && !extension.is_empty()).then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        assert!(TYPES.is_sorted_by_key(|(extension, _)| extension));
        for (name, kind) in [
            ("MLmodel", "text/plain"),
            ("MLproject", "text/plain"),
            ("mlproject", "text/plain"),
            ("a.json", "text/plain"),
            ("a.py", "text/plain"),
            ("a.JSON", "application/json"),
            ("page.html", "text/html"),
            ("p.PNG", "image/png"),
            ("a.tar.gz", "application/x-tar"),
            ("a.tgz", "application/x-tar"),
            ("a.gz", BINARY),
            ("model.pkl", BINARY),
            ("none", BINARY),
            (".gitignore", BINARY),
            ("txt", "text/plain"),
            ("", BINARY),
        ] {
            assert_eq!(of_artifact(name), kind, "{name}");
        }
        assert_eq!(of_page_file("main.a1.js"), "text/javascript; charset=utf-8");
    }
}
