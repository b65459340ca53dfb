//! Who may ask: Host and Origin, as MLflow checks them against DNS rebinding and foreign pages.
//!
//! - A Host header must be loopback or a private address (any port), unless `--allowed-hosts` says otherwise.
//!   `/health` and `/version` are exempt.
//! - A request that changes something (POST, PUT, PATCH, DELETE under `/api` and `/ajax-api`) from a page of another
//!   origin is refused; loopback origins pass and get CORS headers.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::answer::text_response;

const HOSTS: &[&str] = &["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "192.168.*", "10.*", "fc00:*", "fd00:*"];

/// The rules of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub(crate) fn new(hosts: Option<&[String]>, origins: &[String]) -> Self {
        let mut defaults: Vec<String> = HOSTS.iter().map(ToString::to_string).collect();
        defaults.extend((16..=31).map(|part| format!("172.{part}.*")));
        let hosts = hosts.map_or(defaults, |hosts| hosts.iter().map(|host| host.to_ascii_lowercase()).collect());
        Self { hosts, origins: origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect() }
    }

    /// The refusal, or the answer to a preflight; `None` if the request goes on.
    pub(crate) fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        if matches!(path, "/health" | "/version") {
            return None;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        // HTTP/1.0 has no Host; nothing that a browser sends lacks it.
        if headers.contains_key(header::HOST) && !host.is_some_and(|host| self.host_allowed(host)) {
            let text = "Invalid Host header - possible DNS rebinding attack detected";
            return Some(text_response(StatusCode::FORBIDDEN, text));
        }
        let origin = headers.get(header::ORIGIN)?;
        let allowed = origin.to_str().is_ok_and(|origin| self.origin_allowed(origin, host));
        if method == Method::OPTIONS {
            let status = if allowed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            let mut response = text_response(status, if allowed { "OK" } else { "Disallowed CORS origin" });
            if allowed {
                cors(response.headers_mut(), origin);
                let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
                let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
                let asked = asked.unwrap_or_else(|| HeaderValue::from_static("*"));
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
            }
            return Some(response);
        }
        let writes = matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
        let api = path.starts_with("/api/") || path.starts_with("/ajax-api/") || path == "/graphql";
        if writes && api && !allowed {
            return Some(text_response(StatusCode::FORBIDDEN, "Cross-origin request blocked"));
        }
        None
    }

    /// Headers that every answer carries.
    pub(crate) fn finish(&self, request: &HeaderParts, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        if let Some(origin) = &request.origin {
            let host = request.host.as_ref().and_then(|host| host.to_str().ok());
            if origin.to_str().is_ok_and(|text| self.origin_allowed(text, host)) {
                cors(headers, origin);
            }
        }
    }

    fn host_allowed(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let bare = without_port(&host);
        // Ranges of IPv6 addresses are written without the brackets that a Host has.
        let inner = bare.trim_matches(['[', ']']);
        self.hosts.iter().any(|pattern| [&host, bare, inner].iter().any(|text| matches(pattern, text)))
    }

    fn origin_allowed(&self, origin: &str, host: Option<&str>) -> bool {
        if self.origins.iter().any(|allowed| allowed == "*" || allowed == origin) {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else { return false };
        // The page that this server itself gave out.
        if host == Some(authority) {
            return true;
        }
        matches!(without_port(authority), "localhost" | "127.0.0.1" | "[::1]")
    }
}

/// What the answer's headers depend on, kept while the request is consumed.
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

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last colon of `[::1]` or `fd00::1` begins no port.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !bare_ipv6(host) => name,
        _ => host,
    }
}

fn bare_ipv6(host: &str) -> bool {
    !host.starts_with('[') && host.matches(':').count() > 1 || host.ends_with(']')
}

/// A pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            tail.is_empty() || (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn status(guard: &Guard, method: Method, path: &str, pairs: &[(&'static str, &'static str)]) -> Option<u16> {
        guard.check(&method, path, &headers(pairs)).map(|response| response.status().as_u16())
    }

    #[test]
    fn hosts() {
        let guard = Guard::new(None, &[]);
        for good in
            ["localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000", "[::1]", "192.168.1.2:5", "[fd00::1]:5"]
        {
            assert_eq!(status(&guard, Method::GET, "/api/x", &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.com", "localhost.evil.com", "172.15.0.1", "127.0.0.1.evil.com", ""] {
            assert_eq!(status(&guard, Method::GET, "/api/x", &[("host", bad)]), Some(403), "{bad}");
        }
        assert_eq!(status(&guard, Method::GET, "/health", &[("host", "evil.com")]), None);
        let named = Guard::new(Some(&["*.example.com".to_owned()]), &[]);
        assert_eq!(status(&named, Method::GET, "/", &[("host", "a.example.com:443")]), None);
        assert_eq!(status(&named, Method::GET, "/", &[("host", "localhost")]), Some(403));
    }

    #[test]
    fn origins() {
        let guard = Guard::new(None, &["https://ok.example".to_owned()]);
        let ask = |method, origin| {
            status(&guard, method, "/api/2.0/mlflow/runs/create", &[("host", "localhost:5000"), ("origin", origin)])
        };
        assert_eq!(ask(Method::POST, "http://localhost:3000"), None);
        assert_eq!(ask(Method::POST, "https://ok.example"), None);
        assert_eq!(ask(Method::POST, "https://evil.example"), Some(403));
        assert_eq!(ask(Method::POST, "http://localhost.evil.example"), Some(403));
        assert_eq!(ask(Method::POST, "null"), Some(403));
        assert_eq!(ask(Method::GET, "https://evil.example"), None);
        assert_eq!(ask(Method::OPTIONS, "https://evil.example"), Some(400));
        assert_eq!(ask(Method::OPTIONS, "http://127.0.0.1:9"), Some(200));
    }
}
