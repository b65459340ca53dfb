//! Artifacts: listing, reading with ranges, uploading; the `mlflow-artifacts` proxy.
//!
//! - A path is refused before the entity is looked up, always as `Invalid path`.
//! - Files go both ways piece by piece: memory does not grow with them. A client that sends nothing, or takes nothing,
//!   for a minute is cut off.
//! - Multipart and presigned transfers are what clients use around a proxy; we answer 501, and they stream through us.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode, Uri, header};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use serde::Serialize;

use crate::answer::{Answer, error_response, no_endpoint};
use crate::artifacts::pieces::drain;
use crate::artifacts::serve::{self, As, Found};
use crate::artifacts::upload::receive;
use crate::artifacts::{ArtifactPath, Entry, Repository, Spot, joined};
use crate::door::Door;
use crate::request::{Fields, Request};
use crate::route::{Api, Route, Streaming, Work};

/// Prefix of the proxy's URLs.
const PROXY: &str = "/mlflow-artifacts/artifacts/";
/// Largest file that the pages upload.
const PAGE_UPLOAD_BYTES_MAX: usize = 10 << 20;

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("artifacts/list", Work::Read, list_of_run),
        Route::get("logged-models/{model_id}/artifacts/directories", Work::Read, list_of_logged_model),
        Route::post("artifacts/presigned-upload-url", Work::Quick, |_, _| Err(unsupported("Presigned upload"))),
        Route::post("artifacts/presigned-download-url", Work::Quick, |_, _| Err(unsupported("Presigned download"))),
        file("/get-artifact", |door, request| Box::pin(file_of_run(door, request))),
        file("/model-versions/get-artifact", |door, request| Box::pin(file_of_version(door, request))),
        file("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", |door, request| {
            Box::pin(file_of_logged_model(door, request))
        }),
        Route::streaming(Method::POST, "/ajax-api/2.0/mlflow/upload-artifact", |door, request| {
            Box::pin(upload_to_run(door, request))
        }),
    ];
    macro_rules! proxy {
        ($api:literal) => {
            let path = concat!($api, "/mlflow-artifacts/artifacts/{*path}");
            let presigned = concat!($api, "/mlflow-artifacts/presigned/{*path}");
            let multipart = concat!($api, "/mlflow-artifacts/mpu/{call}/{*path}");
            routes.extend([
                Route::get(concat!($api, "/mlflow-artifacts/artifacts"), Work::Read, list_of_proxy).api(Api::Root),
                file(path, |door, request| Box::pin(proxy_read(door, request))),
                Route::streaming(Method::PUT, path, |door, request| Box::pin(proxy_write(door, request))),
                Route::streaming(Method::DELETE, path, |door, request| Box::pin(proxy_remove(door, request))),
                file(presigned, |door, request| Box::pin(proxy_multipart(door, request))),
                Route::streaming(Method::POST, multipart, |door, request| Box::pin(proxy_multipart(door, request))),
            ]);
        };
    }
    proxy!("/api/2.0");
    proxy!("/ajax-api/2.0");
    routes
}

fn file(path: &'static str, handler: Streaming) -> Route {
    Route::streaming(Method::GET, path, handler)
}

fn unsupported(what: &str) -> ApiError {
    let message = format!("{what} is not supported for the current artifact repository");
    ApiError::new(ErrorCode::NotImplemented, message)
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<u64>,
}

#[derive(Serialize)]
struct ListJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    root_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileJson>,
}

/// The entries of the folder `below`, with names relative to its root.
fn list_json(door: &Door, root_uri: Option<&str>, below: &ArtifactPath, entries: Vec<Entry>) -> ApiResult<Answer> {
    let files = entries.into_iter().map(|entry| FileJson {
        path: if below.is_root() { entry.name } else { format!("{}/{}", below.as_str(), entry.name) },
        is_dir: entry.is_folder,
        // Protobuf omits zeros.
        file_size: Some(entry.bytes).filter(|bytes| *bytes > 0 && !entry.is_folder),
    });
    door.answer(&ListJson { root_uri, files: files.collect() })
}

fn list_of_run(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let run = match fields.text("run_id")?.filter(|run| !run.is_empty()) {
        Some(run) => run,
        None => fields.text("run_uuid")?.filter(|run| !run.is_empty()).ok_or_else(|| fields.missing("run_id"))?,
    };
    let path = ArtifactPath::new(fields.text("path")?.unwrap_or_default())?;
    list_at(door, &door.mlflow.run_artifacts(run)?, &path)
}

fn list_of_logged_model(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.query_fields();
    let path = ArtifactPath::new(fields.text("artifact_directory_path")?.unwrap_or_default())?;
    list_at(door, &door.mlflow.logged_model_artifacts(request.part("model_id"))?, &path)
}

fn list_at(door: &Door, place: &str, path: &ArtifactPath) -> ApiResult<Answer> {
    let spot = door.artifacts.resolve(place)?.join(path);
    list_json(door, Some(place), path, spot.repository.list(&spot.path)?)
}

fn list_of_proxy(door: &Door, request: &Request) -> ApiResult<Answer> {
    let Some(repository) = door.artifacts.destination() else {
        return Ok(Answer::Raw(not_served("/api/2.0/mlflow-artifacts/artifacts")));
    };
    let fields = request.query_fields();
    let path = ArtifactPath::new(fields.text("path")?.unwrap_or_default())?;
    list_json(door, None, &ArtifactPath::default(), repository.list(&path)?)
}

/// MLflow's answer with `--no-serve-artifacts`.
fn not_served(endpoint: &str) -> Response<Body> {
    let text = format!(
        "Endpoint: {endpoint} disabled due to the mlflow server running with `--no-serve-artifacts`. To enable \
         artifacts server functionality, run `mlflow server` with `--serve-artifacts`"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// The place in the proxy that a URL names, or the answer if there is no proxy.
fn proxy_spot(door: &Door, uri: &Uri, before: &str) -> Result<Spot, Box<Response<Body>>> {
    let Some(repository) = door.artifacts.destination().cloned() else {
        let (api, _) = uri.path().split_once(before).unwrap_or_default();
        return Err(Box::new(not_served(&format!("{api}{before}<path:artifact_path>"))));
    };
    let raw = uri.path().split_once(before).map_or("", |(_, path)| path);
    match ArtifactPath::from_url(raw) {
        Ok(path) => Ok(Spot { repository, path }),
        Err(error) => Err(Box::new(error_response(&error))),
    }
}

async fn proxy_read(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    match proxy_spot(&door, request.uri(), PROXY) {
        Ok(spot) => give(&door, Ok(spot), As::Artifact, (request.method(), request.headers())).await,
        Err(answer) => *answer,
    }
}

async fn proxy_write(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let spot = proxy_spot(&door, request.uri(), PROXY);
    let body = request.into_body();
    let answer = match spot.map(named) {
        Ok(Ok(spot)) => {
            let reader = door.memory.reader();
            return received(&door, receive(&spot, body, reader.piece_bytes()).await);
        }
        Ok(Err(error)) => error_response(&error),
        Err(answer) => *answer,
    };
    drain(body).await;
    answer
}

async fn proxy_remove(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let spot = match proxy_spot(&door, request.uri(), PROXY).map(named) {
        Ok(Ok(spot)) => spot,
        Ok(Err(error)) => return error_response(&error),
        Err(answer) => return *answer,
    };
    let removed = match spot.repository {
        Repository::Local(folder) => joined(tokio::task::spawn_blocking(move || folder.remove(&spot.path))).await,
        #[cfg(feature = "s3")]
        Repository::Object(folder) => folder.remove(&spot.path).await,
    };
    match removed {
        Ok(()) => Answer::Nothing.into_response(&door.memory),
        Err(error) => door.refused(&error),
    }
}

/// Multipart and presigned transfers: the path is checked, then refused.
async fn proxy_multipart(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    const CALLS: [(&str, &str); 4] = [
        ("/mlflow-artifacts/presigned/", "Multipart download"),
        ("/mlflow-artifacts/mpu/create/", "Multipart upload"),
        ("/mlflow-artifacts/mpu/complete/", "Multipart upload"),
        ("/mlflow-artifacts/mpu/abort/", "Multipart upload"),
    ];
    let path = request.uri().path();
    let Some((before, what)) = CALLS.into_iter().find(|(before, _)| path.contains(before)) else {
        return error_response(&no_endpoint(path));
    };
    match proxy_spot(&door, request.uri(), before) {
        Ok(_) => error_response(&unsupported(what)),
        Err(answer) => *answer,
    }
}

fn named(spot: Spot) -> ApiResult<Spot> {
    Ok(Spot { path: spot.path.named()?, ..spot })
}

async fn file_of_run(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let spot = (|| {
        let fields = fields(request.uri());
        let path = asked_path(&fields, "path")?;
        let run = fields.text("run_id")?.filter(|run| !run.is_empty()).or(fields.text("run_uuid")?);
        let place = door.mlflow.run_artifacts(run.unwrap_or_default())?;
        Ok(door.artifacts.resolve(&place)?.join(&path))
    })();
    give(&door, spot, As::FreshArtifact, (request.method(), request.headers())).await
}

async fn file_of_version(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let spot = (|| {
        let fields = fields(request.uri());
        let path = asked_path(&fields, "path")?;
        let place = door.mlflow.model_version_download_uri(fields.required("name")?, fields.required("version")?)?;
        Ok(spot_of_version(&door, &place)?.join(&path))
    })();
    give(&door, spot, As::FreshArtifact, (request.method(), request.headers())).await
}

/// The source of a version may be a run and a path below its artifacts.
pub(super) fn spot_of_version(door: &Door, place: &str) -> ApiResult<Spot> {
    let Some(rest) = place.strip_prefix("runs:/") else { return door.artifacts.resolve(place) };
    let (run, path) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest, ""));
    let path = ArtifactPath::new(path)?;
    Ok(door.artifacts.resolve(&door.mlflow.run_artifacts(run)?)?.join(&path))
}

async fn file_of_logged_model(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let spot = (|| {
        let fields = fields(request.uri());
        let file = fields.text("artifact_file_path")?.filter(|path| !path.is_empty()).ok_or_else(|| {
            let message = "Request must include the \"artifact_file_path\" query parameter.";
            ApiError::new(ErrorCode::BadRequest, message)
        })?;
        let path = ArtifactPath::new(file)?;
        let model = request.uri().path().split('/').nth(5).unwrap_or_default();
        Ok(door.artifacts.resolve(&door.mlflow.logged_model_artifacts(model)?)?.join(&path))
    })();
    give(&door, spot, As::FreshArtifact, (request.method(), request.headers())).await
}

async fn upload_to_run(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let fields = fields(&head.uri);
    let asked = (|| {
        let needed = |name: &str| {
            let value = fields.text(name)?.filter(|value| !value.is_empty());
            value.ok_or_else(|| ApiError::invalid(format!("Request must specify {name}.")))
        };
        let run = needed("run_uuid")?;
        Ok((run, ArtifactPath::new(needed("path")?)?.named()?))
    })();
    let (run, path) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            drain(body).await;
            return error_response(&error);
        }
    };
    // It shares the memory of bodies; the server reads a refused one to its end.
    let whole = match door.bodies.read(body, &head.headers, PAGE_UPLOAD_BYTES_MAX).await {
        Ok(whole) if whole.bytes.is_empty() => return error_response(&ApiError::invalid("Request must specify data.")),
        Ok(whole) => whole,
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE.as_u16() => {
            return error_response(&ApiError::invalid("Artifact size is too large. Max size is 10MB."));
        }
        Err(error) => return error_response(&error),
    };
    let stored = async {
        let spot = door.artifacts.resolve(&door.mlflow.run_artifacts(run)?)?.join(&path);
        receive(&spot, Body::from(whole.bytes.clone()), door.memory.reader().piece_bytes()).await
    };
    received(&door, stored.await)
}

fn received(door: &Door, received: ApiResult<()>) -> Response<Body> {
    match received {
        Ok(()) => Answer::Empty.into_response(&door.memory),
        Err(error) => door.refused(&error),
    }
}

/// Sends the file at a place as an artifact that may change.
pub(super) async fn give_fresh(door: &Door, spot: ApiResult<Spot>, asked: (&Method, &HeaderMap)) -> Response<Body> {
    give(door, spot, As::FreshArtifact, asked).await
}

/// Sends the file at a place.
async fn give(
    door: &Door,
    spot: ApiResult<Spot>,
    shown: As,
    (method, headers): (&Method, &HeaderMap),
) -> Response<Body> {
    let opened = match spot {
        Ok(spot) => open(&spot).await.map(|found| (found, spot)),
        Err(error) => Err(error),
    };
    match opened {
        Ok((found, spot)) => {
            serve::answer(found, door.memory.reader(), spot.path.name(), shown, (method, headers)).await
        }
        Err(error) => door.refused(&error),
    }
}

async fn open(spot: &Spot) -> ApiResult<Found> {
    match &spot.repository {
        Repository::Local(folder) => {
            let (folder, path) = (folder.clone(), spot.path.clone());
            joined(tokio::task::spawn_blocking(move || folder.open(&path).map(Found::Local))).await
        }
        #[cfg(feature = "s3")]
        Repository::Object(folder) => folder.open(&spot.path).await.map(Found::Object),
    }
}

fn fields(uri: &Uri) -> Fields<'static> {
    Request { query: uri.query().unwrap_or_default().to_owned(), ..Request::default() }.query_fields()
}

fn asked_path(fields: &Fields<'_>, name: &str) -> ApiResult<ArtifactPath> {
    ArtifactPath::new(fields.present(name)?)
}

#[cfg(test)]
mod tests;
