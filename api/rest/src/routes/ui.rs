//! Runlode's own web pages: the page at `/runlode/`, script and style below it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use runlode::mlflow::{ApiError, ErrorCode};
use runlode_ui::File;

use crate::answer::{error_response, no_endpoint, with_slash};
use crate::door::Door;
use crate::route::Route;

const ASSETS: &str = "/runlode/assets/";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::streaming(Method::GET, "/runlode", |door, _| Box::pin(index_without_slash(door))),
        Route::streaming(Method::GET, "/runlode/", |_, request| Box::pin(index(request))),
        Route::streaming(Method::GET, "/runlode/assets/{name}", |_, request| Box::pin(asset(request))),
    ]
}

async fn index_without_slash(door: Arc<Door>) -> Response<Body> {
    with_slash(&format!("{}/runlode", door.options.static_prefix))
}

async fn index(request: Request<Body>) -> Response<Body> {
    page("assets/", "../api/runlode/v1/", &request)
}

/// The page where MLflow's would be.
pub(super) fn at_root(request: &Request<Body>) -> Response<Body> {
    page("runlode/assets/", "api/runlode/v1/", request)
}

fn page(assets: &str, api: &str, request: &Request<Body>) -> Response<Body> {
    match runlode_ui::page(assets, api) {
        Ok(file) => answer(file, Some(runlode_ui::SECURITY_POLICY), request),
        Err(why) => error_response(&ApiError::new(ErrorCode::InternalError, why)),
    }
}

async fn asset(request: Request<Body>) -> Response<Body> {
    let path = request.uri().path();
    match runlode_ui::asset(path.strip_prefix(ASSETS).unwrap_or_default()) {
        Ok(Some(file)) => answer(file, Some(runlode_ui::SECURITY_POLICY), &request),
        Ok(None) => error_response(&no_endpoint(path)),
        Err(why) => error_response(&ApiError::new(ErrorCode::InternalError, why)),
    }
}

/// Whether a client takes gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.any(|codings| {
        codings.split(',').any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused =
                weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok()) == Some(0.0);
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

/// Sends a file, with a `Content-Security-Policy`.
pub(super) fn answer(file: File, policy: Option<&'static str>, request: &Request<Body>) -> Response<Body> {
    let (method, asked) = (request.method(), request.headers());
    let mut out = HeaderMap::new();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    if let Some(policy) = policy {
        out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    }
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    out.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let caching = if file.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(etag) = HeaderValue::try_from(&file.etag) {
        out.insert(header::ETAG, etag);
    }
    let known = asked.get(header::IF_NONE_MATCH).and_then(|etags| etags.to_str().ok());
    let is_known = known.is_some_and(|etags| etags.split(',').any(|etag| etag.trim() == file.etag));
    let body = if is_known {
        Body::empty()
    } else {
        let bytes = if takes_gzip(asked) && !file.gzip.is_empty() {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            file.gzip
        } else {
            file.bytes
        };
        out.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        if *method == Method::HEAD { Body::empty() } else { Body::from(bytes.into_owned()) }
    };
    let mut response = Response::new(body);
    *response.status_mut() = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    *response.headers_mut() = out;
    response
}
