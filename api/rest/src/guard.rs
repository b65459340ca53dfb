//! Checks Host and Origin, against DNS rebinding and foreign pages.
//!
//! - The Host must be a loopback or private address or `localhost` (any port), unless `--allowed-hosts` says otherwise.
//!   It is parsed, never compared as text: `10.evil.com` is a name, despite its beginning. `/health` and `/version` are
//!   exempt.
//! - Two Host headers are refused, and so is none in HTTP/1.1: two readers of such a request may disagree about its
//!   host. If the request line names a host too (`GET http://host/path`), that one must be allowed as well.
//! - A request from a page of another origin is refused if it changes something (under `/api`, `/ajax-api` and
//!   `/graphql`) or is an expensive read: a page may send any GET without a preflight, even if it cannot see the
//!   answer. Pages of loopback origins pass and get CORS headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header};

use crate::answer::text_response;

/// Longest name of a host, and longest part of one.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The host that a request or an origin names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

impl Host {
    /// `None`: it is neither an address nor a name. IPv6 addresses are in brackets.
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        // A final dot makes a name absolute; browsers accept it after addresses too.
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // A name that ends in a number is an unusual form of an address, or invalid; browsers send addresses in the
        // usual form.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_name = text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label) && !is_number;
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    /// Whether it is accepted without `--allowed-hosts`.
    fn is_near(&self) -> bool {
        match self {
            Self::Address(IpAddr::V4(address)) => {
                address.is_loopback() || address.is_private() || address.is_unspecified()
            }
            Self::Address(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
            Self::Name(_) => self.is_loopback(),
        }
    }
}

/// `HOST` or `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text);
        let port = match port {
            // `localhost:` means the default port.
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// The host as it is written, and the text after its colon.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let from = text.rfind(']').map_or(0, |at| at + 1);
    match text[from..].find(':') {
        Some(at) => (&text[..from + at], Some(&text[from + at + 1..])),
        None => (text, None),
    }
}

/// The origin of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host,
    port: u16,
}

impl Origin {
    /// Parses `http://HOST[:PORT]`; `None` for any other scheme, and for anything more.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default = default_port(&scheme)?;
        let Authority { host, port } = Authority::parse(authority)?;
        Some(Self { scheme, host, port: port.unwrap_or(default) })
    }

    /// The origin of the page with this address.
    fn of_page(address: &str) -> Option<Self> {
        let (scheme, rest) = address.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Self::parse(&format!("{scheme}://{authority}"))
    }

    fn is_of(&self, server: &Authority) -> bool {
        self.host == server.host && Some(self.port) == server.port.or_else(|| default_port(&self.scheme))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// One entry of `--allowed-hosts`, with MLflow's meaning: an address, a name, or either with `*` for any text; a port,
/// or `*`, may follow. An entry without a port allows all ports.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    One(Authority),
    /// Matches addresses only: `10.*`, `fd00:*`.
    Addresses(String),
    /// Matches names only: `*.example.com`.
    Names(String, Option<u16>),
    /// Matches nothing, because it cannot be a host.
    Nothing,
}

impl Pattern {
    fn parse(entry: &str) -> Self {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Self::Any;
        }
        if let Ok(address) = entry.parse::<Ipv6Addr>() {
            return Self::One(Authority { host: Host::Address(IpAddr::V6(address).to_canonical()), port: None });
        }
        let bare = entry.trim_matches(['[', ']']);
        // The group before the star must be complete, or `fd00:*` could also be a name with any port; then it is both.
        let v6 = bare.matches(':').count() > 0
            && bare.contains('*')
            && bare.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'*'));
        if v6 {
            return Self::Addresses(bare.to_owned());
        }
        let (host, port) = split_port(&entry);
        let port = match port {
            None | Some("*" | "") => None,
            Some(digits) => match digits.parse() {
                Ok(port) => Some(port),
                Err(_) => return Self::Nothing,
            },
        };
        if !host.contains(['*', '?']) {
            return Host::parse(host).map_or(Self::Nothing, |host| Self::One(Authority { host, port }));
        }
        if port.is_none() && host.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'*' | b'?')) {
            return Self::Addresses(host.to_owned());
        }
        Self::Names(host.strip_suffix('.').unwrap_or(host).to_owned(), port)
    }

    fn allows(&self, asked: &Authority) -> bool {
        match (self, &asked.host) {
            (Self::Any, _) => true,
            (Self::One(one), host) => one.host == *host && (one.port.is_none() || one.port == asked.port),
            (Self::Addresses(pattern), Host::Address(address)) => matches(pattern, &address.to_string()),
            // `cafe:*`
            (Self::Addresses(pattern), Host::Name(name)) => pattern.strip_suffix(":*") == Some(name),
            (Self::Names(pattern, port), Host::Name(name)) => {
                (port.is_none() || *port == asked.port) && matches(pattern, name)
            }
            (Self::Names(..), Host::Address(_)) | (Self::Nothing, _) => false,
        }
    }
}

/// The rules of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None`: this machine and private addresses.
    hosts: Option<Vec<Pattern>>,
    origins: Vec<Origin>,
    any_origin: bool,
}

/// The request's target (Host) and sender (Origin).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    pub(crate) uri: &'a Uri,
    /// Below the static prefix.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl Guard {
    pub(crate) fn new(hosts: Option<&[String]>, origins: &[String]) -> Self {
        Self {
            hosts: hosts.map(|hosts| hosts.iter().map(|host| Pattern::parse(host)).collect()),
            origins: origins.iter().filter_map(|origin| Origin::parse(origin.trim().trim_end_matches('/'))).collect(),
            any_origin: origins.iter().any(|origin| origin == "*"),
        }
    }

    /// The refusal, or the answer to a preflight; `None` if the request goes on.
    pub(crate) fn check(&self, asked: Asked<'_>) -> Option<Response<Body>> {
        let headers = asked.headers;
        let host = match only(headers, &header::HOST) {
            Only::Several => return Some(bad_request("Bad Request: more than one Host header")),
            // HTTP/1.0 has none; browsers always send it.
            Only::None if asked.version >= Version::HTTP_11 => {
                return Some(bad_request("Bad Request: the Host header is missing"));
            }
            Only::None => None,
            Only::One(host) => Some(host.to_str().ok().and_then(Authority::parse)),
        };
        if matches!(asked.path, "/health" | "/version") {
            return None;
        }
        let named = asked.uri.authority().map(|authority| Authority::parse(authority.as_str()));
        let allowed = |host: &Option<Authority>| host.as_ref().is_some_and(|host| self.host_allowed(host));
        if !host.iter().chain(&named).all(allowed) {
            let text = "Invalid Host header - possible DNS rebinding attack detected";
            return Some(text_response(StatusCode::FORBIDDEN, text));
        }
        let host = named.or(host).flatten();
        let origin = match only(headers, &header::ORIGIN) {
            Only::None => None,
            Only::One(origin) => Some(origin),
            Only::Several => return Some(bad_request("Bad Request: more than one Origin header")),
        };
        if asked.method == Method::OPTIONS
            && let Some(origin) = origin
        {
            return Some(self.preflight(origin, host.as_ref(), headers));
        }
        let path = asked.path;
        let writes = matches!(*asked.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
        let api = path.starts_with("/api/") || path.starts_with("/ajax-api/") || path == "/graphql";
        (writes && api && self.is_foreign(origin, host.as_ref(), headers)).then(cross_origin)
    }

    /// The refusal of an expensive read by a page of another origin. The request has passed [`Guard::check`].
    pub(crate) fn check_costly(&self, uri: &Uri, headers: &HeaderMap) -> Option<Response<Body>> {
        let named = uri.authority().map(|authority| authority.as_str());
        let host = named.or_else(|| headers.get(header::HOST)?.to_str().ok()).and_then(Authority::parse);
        self.is_foreign(headers.get(header::ORIGIN), host.as_ref(), headers).then(cross_origin)
    }

    /// Whether a page of another origin sends the request. A page's plain reads (images, scripts, links) carry no
    /// Origin; browsers send how foreign the page is, and usually its address.
    fn is_foreign(&self, origin: Option<&HeaderValue>, host: Option<&Authority>, headers: &HeaderMap) -> bool {
        if let Some(origin) = origin {
            let origin = origin.to_str().ok().and_then(Origin::parse);
            return !self.origin_allowed(origin.as_ref(), host);
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if matches!(site, None | Some(b"same-origin" | b"none")) {
            return false;
        }
        let page = headers.get(header::REFERER).and_then(|page| page.to_str().ok()).and_then(Origin::of_page);
        !page.is_some_and(|page| self.origin_allowed(Some(&page), host))
    }

    fn preflight(&self, origin: &HeaderValue, host: Option<&Authority>, headers: &HeaderMap) -> Response<Body> {
        if !self.origin_allowed(origin.to_str().ok().and_then(Origin::parse).as_ref(), host) {
            return text_response(StatusCode::BAD_REQUEST, "Disallowed CORS origin");
        }
        let mut response = text_response(StatusCode::OK, "OK");
        cors(response.headers_mut(), origin);
        let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let asked = asked.unwrap_or_else(|| HeaderValue::from_static("*"));
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        response
    }

    /// Adds the headers of every answer.
    pub(crate) fn finish(&self, request: &HeaderParts, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        if let Some(origin) = &request.origin {
            let host = request.host.as_ref().and_then(|host| Authority::parse(host.to_str().ok()?));
            let parsed = origin.to_str().ok().and_then(Origin::parse);
            if self.origin_allowed(parsed.as_ref(), host.as_ref()) {
                cors(headers, origin);
            }
        }
    }

    fn host_allowed(&self, host: &Authority) -> bool {
        match &self.hosts {
            None => host.host.is_near(),
            Some(patterns) => patterns.iter().any(|pattern| pattern.allows(host)),
        }
    }

    /// `None`: an unknown origin (`null`, a file, a sandbox).
    fn origin_allowed(&self, origin: Option<&Origin>, host: Option<&Authority>) -> bool {
        if self.any_origin {
            return true;
        }
        let Some(origin) = origin else { return false };
        // A page from this server itself has our host.
        self.origins.contains(origin) || host.is_some_and(|host| origin.is_of(host)) || origin.host.is_loopback()
    }
}

/// A header that may appear only once.
enum Only<'a> {
    None,
    One(&'a HeaderValue),
    Several,
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Only<'a> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Only::None,
        (Some(one), None) => Only::One(one),
        (Some(_), Some(_)) => Only::Several,
    }
}

fn cross_origin() -> Response<Body> {
    text_response(StatusCode::FORBIDDEN, "Cross-origin request blocked")
}

fn bad_request(text: &'static str) -> Response<Body> {
    text_response(StatusCode::BAD_REQUEST, text)
}

/// The parts of the request that the answer's headers depend on, kept while the request is consumed.
#[derive(Debug, Default)]
pub(crate) struct HeaderParts {
    origin: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl HeaderParts {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN).cloned();
        let host = origin.as_ref().and_then(|_| headers.get(header::HOST).cloned());
        Self { origin, host }
    }
}

fn cors(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(HeaderName::from_static("access-control-allow-credentials"), HeaderValue::from_static("true"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

/// A pattern in which `*` stands for any text and `?` for one character. Both are ASCII.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => (at, from) = (at + 1, from + 1),
            // The last star takes one more.
            _ => match &mut star {
                Some((begin, taken)) => {
                    *taken += 1;
                    (at, from) = (*begin + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of a refusal. Pairs named `:version` or `:uri` set parts of the request line.
    fn status(guard: &Guard, method: Method, path: &str, pairs: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut headers = HeaderMap::new();
        let (mut version, mut uri) = (Version::HTTP_11, path.parse::<Uri>().unwrap());
        for (name, value) in pairs {
            match *name {
                ":version" => version = Version::HTTP_10,
                ":uri" => uri = value.parse().unwrap(),
                name => drop(headers.append(HeaderName::from_static(name), HeaderValue::from_static(value))),
            }
        }
        let asked = Asked { method: &method, version, uri: &uri, path, headers: &headers };
        guard.check(asked).map(|response| response.status().as_u16())
    }

    fn of_host(guard: &Guard, host: &'static str) -> Option<u16> {
        status(guard, Method::GET, "/api/x", &[("host", host)])
    }

    #[test]
    fn hosts() {
        let guard = Guard::new(None, &[]);
        for good in [
            "localhost",
            "localhost:5000",
            "LOCALHOST:5000",
            "localhost.",
            "localhost.:5000",
            "localhost:",
            "127.0.0.1:80",
            "127.0.0.1.:80",
            "127.8.0.1",
            "0.0.0.0:1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255:5",
            "192.168.1.2:5",
            "[::1]:5000",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:5000",
            "[fd00::1]:5",
            "[FD12:3456::1]",
        ] {
            assert_eq!(of_host(&guard, good), None, "{good}");
        }
        for bad in [
            "evil.com",
            "10.evil.com",
            "10.evil.com:80",
            "192.168.evil.com",
            "172.16.evil.com",
            "172.20.x",
            "fc00:evil",
            "fd00:x.com",
            "fd00.evil.com",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "10.0.0.1.evil.com:5000",
            "localhost:80.evil.com",
            "localhost:80@evil.com",
            "evil.com@localhost",
            "localhost@evil.com",
            "user:pw@localhost",
            "localhost/evil.com",
            "localhost#evil.com",
            "localhost, evil.com",
            "localhost evil.com",
            "localhost..",
            ".localhost",
            "localhost:99999",
            "localhost:-1",
            "localhost:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[fd00::1%25eth0]",
            "[10.0.0.1]",
            "[2001:db8::1]",
            "[::ffff:8.8.8.8]",
            "172.15.0.1",
            "172.32.0.1",
            "8.8.8.8",
            "10.1",
            "10.0.0.0x1",
            "010.0.0.1",
            "10.0.0.256",
            "2130706433",
            "0x7f000001",
            "127.1",
            ":5000",
            ".",
            "*",
            "10.*",
            "",
        ] {
            assert_eq!(of_host(&guard, bad), Some(403), "{bad}");
        }
        assert_eq!(status(&guard, Method::GET, "/health", &[("host", "evil.com")]), None);
    }

    #[test]
    fn a_request_names_one_host() {
        let guard = Guard::new(None, &[]);
        let of = |path, pairs: &[(&'static str, &'static str)]| status(&guard, Method::GET, path, pairs);
        for path in ["/api/x", "/", "/health"] {
            assert_eq!(of(path, &[]), Some(400), "{path}");
            assert_eq!(of(path, &[(":version", "1.0")]), None, "{path}");
            assert_eq!(of(path, &[("host", "localhost"), ("host", "localhost")]), Some(400), "{path}");
            assert_eq!(of(path, &[("host", "localhost"), ("host", "evil.com"), (":version", "1.0")]), Some(400));
        }
        let target = |uri, host| of("/api/x", &[(":uri", uri), ("host", host)]);
        assert_eq!(target("http://localhost:5000/api/x", "localhost:5000"), None);
        assert_eq!(target("http://evil.com/api/x", "localhost"), Some(403));
        assert_eq!(target("http://localhost/api/x", "evil.com"), Some(403));
        assert_eq!(target("http://evil.com@localhost/api/x", "localhost"), Some(403));
        assert_eq!(of("/api/x", &[(":uri", "http://evil.com/api/x"), (":version", "1.0")]), Some(403));
    }

    #[test]
    fn lists_of_hosts_have_the_meaning_of_mlflow() {
        let allowed = |entry: &str, host| of_host(&Guard::new(Some(&[entry.to_owned()]), &[]), host).is_none();
        for (entry, good, bad) in [
            ("*.example.com", &["a.example.com:443", "a.b.EXAMPLE.com."][..], &["example.com", "aexample.com"][..]),
            ("*.example.com:443", &["a.example.com:443"], &["a.example.com", "a.example.com:80"]),
            ("Example.com", &["example.com", "EXAMPLE.COM:5"], &["a.example.com", "example.com.evil.com", "localhost"]),
            ("example.com:*", &["example.com", "example.com:5"], &["example.comx"]),
            ("example.com:5", &["example.com:5"], &["example.com", "example.com:6"]),
            ("10.*", &["10.1.2.3", "10.0.0.1:5"], &["10.evil.com", "100.1.2.3", "10.1.2.3.evil.com"]),
            ("172.1?.*", &["172.16.0.1"], &["172.1.0.1", "172.16.evil.com"]),
            ("fd00:*", &["[fd00::1]", "[FD00:0::7]:5"], &["fd00.evil.com", "[fd01::1]", "fd00:x"]),
            ("[::1]:*", &["[::1]:5", "[0::1]"], &["[::2]", "localhost"]),
            ("::1", &["[::1]:5"], &["[::2]"]),
            ("cafe:*", &["cafe:80", "[cafe::1]"], &["cafe.evil.com"]),
            ("web-*", &["web-1", "web-1.lan:80"], &["aweb-1", "10.0.0.1"]),
            ("*", &["anything.example", "8.8.8.8"], &["a@b", "", "a b"]),
            ("http://x", &[], &["x", "http"]),
        ] {
            good.iter().for_each(|host| assert!(allowed(entry, host), "{entry} {host}"));
            bad.iter().for_each(|host| assert!(!allowed(entry, host), "{entry} {host}"));
        }
    }

    #[test]
    fn origins() {
        let guard = Guard::new(None, &["https://ok.example/".to_owned()]);
        let path = "/api/2.0/mlflow/runs/create";
        let ask = |method, origin| status(&guard, method, path, &[("host", "localhost:5000"), ("origin", origin)]);
        for origin in [
            "http://localhost:3000",
            "https://LOCALHOST",
            "http://127.0.0.1:9",
            "http://[::1]:9",
            "https://ok.example",
            "https://OK.example:443",
        ] {
            assert_eq!(ask(Method::POST, origin), None, "{origin}");
            assert_eq!(ask(Method::GET, origin), None, "{origin}");
            assert_eq!(ask(Method::OPTIONS, origin), Some(200), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost:80.evil.example",
            "http://localhost@evil.example",
            "http://evil.example/localhost",
            "http://ok.example",
            "https://ok.example:444",
            "https://ok.example.evil.example",
            "file://localhost",
            "ext://localhost",
            "localhost",
            "null",
            "",
        ] {
            assert_eq!(ask(Method::POST, origin), Some(403), "{origin}");
            assert_eq!(ask(Method::GET, origin), None, "{origin}");
            assert_eq!(ask(Method::OPTIONS, origin), Some(400), "{origin}");
        }
        let own = |host, origin| status(&guard, Method::POST, path, &[("host", host), ("origin", origin)]);
        assert_eq!(own("10.0.0.1:5000", "http://10.0.0.1:5000"), None);
        assert_eq!(own("10.0.0.1", "http://10.0.0.1"), None);
        assert_eq!(own("10.0.0.1", "https://10.0.0.1:443"), None);
        assert_eq!(own("10.0.0.1:5000", "http://10.0.0.1"), Some(403));
        assert_eq!(own("10.0.0.1:5000", "http://10.0.0.2:5000"), Some(403));
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
        assert_eq!(status(&guard, Method::POST, path, &two), Some(400));
        let any = Guard::new(None, &["*".to_owned()]);
        assert_eq!(status(&any, Method::POST, path, &[("host", "localhost"), ("origin", "null")]), None);
    }

    #[test]
    fn costly_reads_of_foreign_pages_are_refused() {
        let guard = Guard::new(None, &["https://ok.example".to_owned()]);
        let ask = |pairs: &[(&'static str, &'static str)]| {
            let all = [&[("host", "10.0.0.1:5000")], pairs].concat();
            let headers: HeaderMap = all
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let refused = guard.check_costly(&Uri::from_static("/graphql"), &headers);
            // Writes are judged in the same way, other reads are not.
            assert_eq!(status(&guard, Method::POST, "/graphql", &all).is_some(), refused.is_some(), "{pairs:?}");
            assert_eq!(status(&guard, Method::GET, "/graphql", &all), None);
            refused.map(|response| response.status().as_u16())
        };
        assert_eq!(ask(&[]), None);
        for near in ["same-origin", "none"] {
            assert_eq!(ask(&[("sec-fetch-site", near)]), None, "{near}");
        }
        for far in ["cross-site", "same-site", "new-word"] {
            let of = |referer| ask(&[("sec-fetch-site", far), ("referer", referer)]);
            assert_eq!(ask(&[("sec-fetch-site", far)]), Some(403), "{far}");
            assert_eq!(of("https://evil.example/10.0.0.1"), Some(403), "{far}");
            assert_eq!(of("https://ok.example/page?x"), None, "{far}");
            assert_eq!(of("http://10.0.0.1:5000/#/experiments"), None, "{far}");
        }
        assert_eq!(ask(&[("origin", "http://evil.example")]), Some(403));
        assert_eq!(ask(&[("origin", "null")]), Some(403));
        assert_eq!(ask(&[("origin", "http://10.0.0.1:5000")]), None);
    }
}
