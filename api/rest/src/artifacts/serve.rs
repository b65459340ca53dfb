//! Sends one file: headers, conditions and ranges; the body is read piece by piece as the client takes it.
//!
//! - `Range: bytes=a-b`, `a-`, `-n` (one): 206, or 416 with `Content-Range: bytes */LENGTH`. Several ranges, other
//!   units and nonsense are ignored, as HTTP allows: the whole file is sent.
//! - `If-None-Match`, `If-Modified-Since`: 304. `If-Range`: the whole file if it has changed.
//! - Artifacts are attachments, never shown as pages of this server: `nosniff`, and a sandbox for files that are opened
//!   anyway.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runlode::mlflow::ApiResult;

use super::content_type;
use super::local::LocalFile;
#[cfg(feature = "s3")]
use super::object::ObjectFile;
use crate::answer::error_response;
use crate::long::file_body;
use crate::memory::Reader;

/// Characters that RFC 5987 leaves unescaped.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A file that was found.
#[derive(Debug)]
pub(crate) enum Found {
    Local(LocalFile),
    #[cfg(feature = "s3")]
    Object(ObjectFile),
}

impl Found {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Local(file) => file.bytes,
            #[cfg(feature = "s3")]
            Self::Object(file) => file.bytes,
        }
    }

    fn modified(&self) -> SystemTime {
        match self {
            Self::Local(file) => file.modified,
            #[cfg(feature = "s3")]
            Self::Object(file) => file.modified,
        }
    }

    fn etag(&self) -> &str {
        match self {
            Self::Local(file) => &file.etag,
            #[cfg(feature = "s3")]
            Self::Object(file) => &file.etag,
        }
    }

    async fn body(self, start: u64, end: u64, reader: Reader) -> ApiResult<Body> {
        match self {
            Self::Local(file) => Ok(file_body(file.file, start, end, (reader, ()))),
            #[cfg(feature = "s3")]
            Self::Object(file) => file.body(start, end).await,
        }
    }
}

/// How a file is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// From the proxy: as an attachment.
    Artifact,
    /// The same by a page's path: revalidated each time.
    FreshArtifact,
    /// A page: shown, revalidated each time.
    Page,
    /// A file with its version in its name: cached for four weeks.
    PageFile,
}

/// Sends a file with this name.
pub(crate) async fn answer(
    found: Found,
    reader: Reader,
    name: &str,
    shown: As,
    (method, headers): (&Method, &HeaderMap),
) -> Response<Body> {
    let bytes = found.bytes();
    let modified = httpdate::fmt_http_date(found.modified().max(UNIX_EPOCH));
    let mut out = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            out.insert(name, value);
        }
    };
    put(header::ETAG, found.etag().to_owned());
    put(header::LAST_MODIFIED, modified);
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    match shown {
        As::Artifact | As::FreshArtifact => {
            put(header::CONTENT_TYPE, content_type::of_artifact(name).to_owned());
            put(header::CONTENT_DISPOSITION, attachment(name));
            put(header::CONTENT_SECURITY_POLICY, "sandbox".to_owned());
        }
        As::Page | As::PageFile => put(header::CONTENT_TYPE, content_type::of_page_file(name).to_owned()),
    }
    match shown {
        As::Artifact => {}
        As::FreshArtifact | As::Page => put(header::CACHE_CONTROL, "no-cache".to_owned()),
        As::PageFile => put(header::CACHE_CONTROL, "public, max-age=2419200".to_owned()),
    }
    let respond = |status: StatusCode, mut out: HeaderMap, length: u64, body: Body| {
        if status != StatusCode::NOT_MODIFIED {
            out.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut response = Response::new(if method == Method::HEAD { Body::empty() } else { body });
        *response.status_mut() = status;
        *response.headers_mut() = out;
        response
    };
    if !changed(headers, &found) {
        return respond(StatusCode::NOT_MODIFIED, out, 0, Body::empty());
    }
    let range = if range_applies(headers, &found) { wanted(headers, bytes) } else { Wanted::All };
    let (status, start, end) = match range {
        Wanted::All => (StatusCode::OK, 0, bytes),
        Wanted::Part(start, end) => {
            if let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{}/{bytes}", end - 1)) {
                out.insert(header::CONTENT_RANGE, value);
            }
            (StatusCode::PARTIAL_CONTENT, start, end)
        }
        Wanted::Nothing => {
            let mut none = HeaderMap::new();
            if let Ok(value) = HeaderValue::try_from(format!("bytes */{bytes}")) {
                none.insert(header::CONTENT_RANGE, value);
            }
            return respond(StatusCode::RANGE_NOT_SATISFIABLE, none, 0, Body::empty());
        }
    };
    if method == Method::HEAD {
        return respond(status, out, end - start, Body::empty());
    }
    match found.body(start, end, reader).await {
        Ok(body) => respond(status, out, end - start, body),
        Err(error) => error_response(&error),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether the client needs the file, given what it says it has.
fn changed(headers: &HeaderMap, found: &Found) -> bool {
    if let Some(known) = text(headers, header::IF_NONE_MATCH) {
        let same = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == found.etag();
        return !known.split(',').any(|tag| same(tag.trim()));
    }
    let since = text(headers, header::IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    since.is_none_or(|since| whole_seconds(found.modified()) > since)
}

/// Whether a range still belongs to the version that the client has.
fn range_applies(headers: &HeaderMap, found: &Found) -> bool {
    let Some(of) = text(headers, header::IF_RANGE) else { return true };
    match httpdate::parse_http_date(of) {
        Ok(date) => whole_seconds(found.modified()) == date,
        Err(_) => of == found.etag(),
    }
}

/// HTTP dates have whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// From, to before; never empty.
    Part(u64, u64),
    /// A range beyond the end.
    Nothing,
}

fn wanted(headers: &HeaderMap, bytes: u64) -> Wanted {
    text(headers, header::RANGE).and_then(|range| range_of(range, bytes)).unwrap_or(Wanted::All)
}

fn range_of(range: &str, bytes: u64) -> Option<Wanted> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => (bytes.saturating_sub(number(last)?), bytes),
        (false, true) => (number(first)?, bytes),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(bytes))
        }
    };
    Some(if start < end { Wanted::Part(start, end) } else { Wanted::Nothing })
}

/// `attachment`, with the name in ASCII and, if that loses anything, also in the form of RFC 5987.
fn attachment(name: &str) -> String {
    if name.is_ascii() {
        return format!("attachment; filename={}", quoted(name));
    }
    let plain: String = name.chars().filter_map(ascii_of).collect();
    let plain = if plain.is_empty() { "download" } else { &plain };
    format!("attachment; filename={}; filename*=UTF-8''{}", quoted(plain), utf8_percent_encode(name, ATTR_CHAR))
}

/// Quotes a name that is not a token.
fn quoted(name: &str) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.bytes().all(token) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A letter without its accent; `None` for other characters beyond ASCII.
fn ascii_of(c: char) -> Option<char> {
    const LETTERS: &[(&str, char)] = &[
        ("àáâãäåāăą", 'a'),
        ("ÀÁÂÃÄÅĀĂĄ", 'A'),
        ("çćĉċč", 'c'),
        ("ÇĆĈĊČ", 'C'),
        ("ď", 'd'),
        ("Ď", 'D'),
        ("èéêëēĕėęě", 'e'),
        ("ÈÉÊËĒĔĖĘĚ", 'E'),
        ("ĝğġģ", 'g'),
        ("ĜĞĠĢ", 'G'),
        ("ĥ", 'h'),
        ("Ĥ", 'H'),
        ("ìíîïĩīĭį", 'i'),
        ("ÌÍÎÏĨĪĬĮİ", 'I'),
        ("ĵ", 'j'),
        ("Ĵ", 'J'),
        ("ķ", 'k'),
        ("Ķ", 'K'),
        ("ĺļľ", 'l'),
        ("ĹĻĽ", 'L'),
        ("ñńņň", 'n'),
        ("ÑŃŅŇ", 'N'),
        ("òóôõöōŏő", 'o'),
        ("ÒÓÔÕÖŌŎŐ", 'O'),
        ("ŕŗř", 'r'),
        ("ŔŖŘ", 'R'),
        ("śŝşšș", 's'),
        ("ŚŜŞŠȘ", 'S'),
        ("ţťț", 't'),
        ("ŢŤȚ", 'T'),
        ("ùúûüũūŭůűų", 'u'),
        ("ÙÚÛÜŨŪŬŮŰŲ", 'U'),
        ("ŵ", 'w'),
        ("Ŵ", 'W'),
        ("ýÿŷ", 'y'),
        ("ÝŶŸ", 'Y'),
        ("źżž", 'z'),
        ("ŹŻŽ", 'Z'),
    ];
    if c.is_ascii() {
        return Some(c);
    }
    LETTERS.iter().find(|(accented, _)| accented.contains(c)).map(|(_, plain)| *plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn ranges() {
        for (range, wanted) in [
            ("bytes=0-4", Some(Wanted::Part(0, 5))),
            ("bytes=4-", Some(Wanted::Part(4, 11))),
            ("bytes=-3", Some(Wanted::Part(8, 11))),
            ("bytes=-30", Some(Wanted::Part(0, 11))),
            ("bytes=0-100", Some(Wanted::Part(0, 11))),
            ("Bytes = 10-10", Some(Wanted::Part(10, 11))),
            ("bytes=0-99999999999999999999999", Some(Wanted::Part(0, 11))),
            ("bytes=11-", Some(Wanted::Nothing)),
            ("bytes=20-30", Some(Wanted::Nothing)),
            ("bytes=-0", Some(Wanted::Nothing)),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=x", None),
            ("bytes=+1-2", None),
            ("bytes=0-1,3-4", None),
            ("chars=0-1", None),
            ("", None),
        ] {
            assert_eq!(range_of(range, 11), wanted, "{range}");
        }
        assert_eq!(range_of("bytes=0-", 0), Some(Wanted::Nothing));
    }

    #[test]
    fn names_of_attachments() {
        assert_eq!(attachment("a.txt"), "attachment; filename=a.txt");
        assert_eq!(attachment("a b\";.bin"), "attachment; filename=\"a b\\\";.bin\"");
        assert_eq!(attachment("é.html"), "attachment; filename=e.html; filename*=UTF-8''%C3%A9.html");
        assert_eq!(attachment("日本"), "attachment; filename=download; filename*=UTF-8''%E6%97%A5%E6%9C%AC");
        assert_eq!(attachment("日 '.x"), "attachment; filename=\" '.x\"; filename*=UTF-8''%E6%97%A5%20%27.x");
    }

    fn found() -> Found {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"hello world").unwrap();
        let modified = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        Found::Local(LocalFile { file, bytes: 11, modified, etag: "\"e\"".to_owned() })
    }

    fn ask(shown: As, method: Method, with: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, bytes::Bytes) {
        use http_body_util::BodyExt;
        let mut headers = HeaderMap::new();
        for (name, value) in with {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let reader = Memory::new(0).reader();
            let (head, body) = answer(found(), reader, "a.txt", shown, (&method, &headers)).await.into_parts();
            (head.status, head.headers, body.collect().await.unwrap().to_bytes())
        })
    }

    #[test]
    fn a_file_with_its_headers() {
        let (status, headers, body) = ask(As::FreshArtifact, Method::GET, &[]);
        assert_eq!((status.as_u16(), &body[..]), (200, &b"hello world"[..]));
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-disposition", "attachment; filename=a.txt"),
            ("content-length", "11"),
            ("etag", "\"e\""),
            ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("accept-ranges", "bytes"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let (status, headers, body) = ask(As::Artifact, Method::HEAD, &[]);
        assert_eq!((status.as_u16(), body.len()), (200, 0));
        assert_eq!(headers["content-length"], "11");
        assert!(!headers.contains_key("cache-control"));
        let (_, headers, _) = ask(As::PageFile, Method::GET, &[]);
        assert_eq!(headers["cache-control"], "public, max-age=2419200");
        assert!(!headers.contains_key("content-disposition"));
    }

    #[test]
    fn parts_and_conditions() {
        let (status, headers, body) = ask(As::Artifact, Method::GET, &[(header::RANGE, "bytes=6-")]);
        assert_eq!((status.as_u16(), &body[..]), (206, &b"world"[..]));
        assert_eq!(
            (&headers["content-range"], &headers["content-length"]),
            (&"bytes 6-10/11".parse().unwrap(), &"5".parse().unwrap())
        );
        let (status, headers, body) = ask(As::Artifact, Method::GET, &[(header::RANGE, "bytes=20-30")]);
        assert_eq!((status.as_u16(), body.len()), (416, 0));
        assert_eq!(headers["content-range"], "bytes */11");
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        for (name, value, status) in [
            (header::IF_NONE_MATCH, "\"x\", W/\"e\"", 304),
            (header::IF_NONE_MATCH, "\"x\"", 200),
            (header::IF_NONE_MATCH, "*", 304),
            (header::IF_MODIFIED_SINCE, date, 304),
            (header::IF_MODIFIED_SINCE, "Tue, 14 Nov 2023 22:13:19 GMT", 200),
            (header::IF_MODIFIED_SINCE, "nonsense", 200),
        ] {
            assert_eq!(ask(As::Artifact, Method::GET, &[(name, value)]).0.as_u16(), status, "{value}");
        }
        for (of, status) in [("\"e\"", 206), ("\"x\"", 200), (date, 206), ("Tue, 14 Nov 2023 22:13:21 GMT", 200)] {
            let with = [(header::RANGE, "bytes=0-0"), (header::IF_RANGE, of)];
            assert_eq!(ask(As::Artifact, Method::GET, &with).0.as_u16(), status, "{of}");
        }
    }
}
