//! MLflow's web pages: `index.html` at `/`, everything else below `/static-files/`. Without them Runlode's own are at `/`.
//!
//! `index.html` gets one script of ours, which links to the same entity on Runlode's pages; everything else is sent as it is.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, header};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};

use crate::answer::{error_response, no_endpoint};
use crate::artifacts::serve::{self, As, Found};
use crate::artifacts::{ArtifactPath, LocalFile};
use crate::door::Door;
use crate::route::Route;

/// Longest `index.html` that gets a link to Runlode's pages.
const PAGE_BYTES_MAX: u64 = 1 << 20;
const STATIC: &str = "/static-files/";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::streaming(Method::GET, "/", |door, request| Box::pin(index(door, request))),
        Route::streaming(Method::GET, "/static-files/{*path}", |door, request| Box::pin(static_file(door, request))),
    ]
}

async fn index(door: Arc<Door>, request: Request<Body>) -> Response<Body> {
    let folder = match door.pages.folder().await {
        Ok(folder) => folder,
        Err(_) => return super::ui::at_root(&request),
    };
    match open(folder.join("index.html")).await {
        Ok(found) => {
            let page = (found.bytes() <= PAGE_BYTES_MAX).then(|| std::fs::read_to_string(folder.join("index.html")));
            if let Some(Ok(page)) = page
                && let Some(linked) = runlode_ui::linked(&page, "runlode/assets/")
            {
                // Their page says itself what it may load.
                return super::ui::answer(linked, None, &request);
            }
            serve::answer(found, door.memory.reader(), "index.html", As::Page, (request.method(), request.headers()))
                .await
        }
        Err(error) => {
            // mlflow was removed, or moved by an upgrade: search again.
            door.pages.forget().await;
            let why = "the web pages can no longer be read";
            without_pages(&format!("{why} ({}); reload this page to search again", error.message))
        }
    }
}

async fn static_file(door: Arc<Door>, request: Request<Body>) -> Response<Body> {
    let raw = request.uri().path();
    let path = match ArtifactPath::from_url(raw.strip_prefix(STATIC).unwrap_or_default()) {
        Ok(path) => path,
        Err(error) => return error_response(&error),
    };
    // The index page says why there are no pages.
    let Ok(folder) = door.pages.folder().await else { return error_response(&no_endpoint(raw)) };
    match open(folder.join(path.as_str())).await {
        Ok(found) => {
            serve::answer(found, door.memory.reader(), path.name(), As::PageFile, (request.method(), request.headers()))
                .await
        }
        Err(error) if error.code == ErrorCode::EndpointNotFound => error_response(&no_endpoint(raw)),
        Err(error) => error_response(&error),
    }
}

/// Opens a file of the pages. They are the operator's own, so links among them are followed: environments consist of
/// links.
async fn open(path: PathBuf) -> ApiResult<Found> {
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        let modified = metadata.modified()?;
        let nanos = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let etag = format!("\"{nanos:x}-{:x}-{:x}\"", metadata.len(), metadata.ino());
        Ok::<_, std::io::Error>(Found::Local(LocalFile { file, bytes: metadata.len(), modified, etag }))
    });
    match opened.await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if is_no_page(error.kind()) => {
            Err(ApiError::new(ErrorCode::EndpointNotFound, error.to_string()))
        }
        Ok(Err(error)) => Err(ApiError::new(ErrorCode::InternalError, format!("cannot read a page: {error}"))),
        Err(error) => Err(ApiError::new(ErrorCode::InternalError, error.to_string())),
    }
}

/// Whether an error means that the page does not exist, rather than that it cannot be read.
fn is_no_page(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(kind, NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

/// The page that says why there are no pages.
fn without_pages(why: &str) -> Response<Body> {
    let why = why.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Runlode</title>\n<style>\nbody {{ \
         font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em; }}\n</style>\n\
         <h1>Runlode is running</h1>\n<p>It answers MLflow's clients. To see runs and models here it shows MLflow's \
         own web pages, and {why}.</p>\n<p>Runlode's own pages are at <a href=\"runlode/\">runlode/</a>.</p>\n</html>\n"
    );
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
