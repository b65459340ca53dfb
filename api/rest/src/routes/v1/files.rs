//! Files of runs, logged models and versions: their folders with times, and what an `MLmodel` says.
//!
//! ```text
//!   run_id | model_id | name, version   and a path below it -> list, file, page, model
//! ```
//!
//! Files are not in the log, so there is no list of the past: each has the time of its last change, and a page says which
//! are newer than the moment that it shows.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Request as HttpRequest, Response, header};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use runlode_models::file::{FILE_BYTES_MAX, FILE_NAME, ModelFile};
use runlode_models::signature::Signature;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::artifacts::{ArtifactPath, Spot};
use crate::door::Door;
use crate::request::{Fields, Request};
use crate::routes::artifacts::{give_fresh, spot_of_version};

/// What an HTML artifact may do: run its own scripts, in an origin of its own, without any network.
const ARTIFACT_POLICY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
                               style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; \
                               frame-ancestors 'self'";

/// The folder of files that a request names: of a run, a logged model, or a version.
fn spot(door: &Door, fields: &Fields<'_>) -> ApiResult<Spot> {
    let given = |name: &str| Ok::<_, ApiError>(fields.text(name)?.filter(|text| !text.is_empty()));
    if let Some(run) = given("run_id")? {
        return door.artifacts.resolve(&door.mlflow.run_artifacts(run)?);
    }
    if let Some(model) = given("model_id")? {
        return door.artifacts.resolve(&door.mlflow.logged_model_artifacts(model)?);
    }
    let (name, version) = (fields.required("name")?, fields.required("version")?);
    spot_of_version(door, &door.mlflow.model_version_download_uri(name, version)?)
}

pub(super) fn list(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let path = ArtifactPath::new(fields.text("path")?.unwrap_or_default())?;
    let spot = spot(door, &fields)?.join(&path);
    let files = spot.repository.list(&spot.path)?.into_iter().map(|entry| {
        json!({
            "path": if path.is_root() { entry.name } else { format!("{}/{}", path.as_str(), entry.name) },
            "folder": entry.is_folder,
            "bytes": entry.bytes,
            "modified_ms": entry.modified_ms,
        })
    });
    door.answer(&json!({ "files": files.collect::<Vec<_>>() }))
}

/// JSON of a schema; its text where that holds numbers that JSON has not (a default of NaN).
fn schema_json(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn signature_json(signature: &Signature) -> Value {
    json!({
        "inputs": signature.inputs.as_ref().map(|schema| schema_json(schema.to_json())),
        "outputs": signature.outputs.as_ref().map(|schema| schema_json(schema.to_json())),
        "params": signature.params.as_ref().map(|schema| schema_json(schema.to_json())),
    })
}

fn model_json(file: &ModelFile) -> Value {
    json!({
        "flavors": file.flavors.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "signature": file.signature.as_ref().map(signature_json),
        "mlflow_version": file.mlflow_version,
        "bytes": file.model_size_bytes,
        "created": file.utc_time_created,
        "example": file.example.as_ref().map(|example| &example.path),
    })
}

/// What the file `MLmodel` says; `problem` where there is none, or it cannot be read.
pub(super) fn model(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let path = ArtifactPath::new(fields.text("path")?.unwrap_or_default())?;
    // Where the files are may be a place that this server does not open: that is an answer too.
    let read = spot(door, &fields).and_then(|spot| {
        let spot = spot.join(&path).join(&ArtifactPath::new(FILE_NAME)?);
        spot.repository.read(&spot.path, FILE_BYTES_MAX)
    });
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.code, ErrorCode::ResourceDoesNotExist | ErrorCode::InvalidParameterValue) => {
            return door.answer(&json!({ "model": null, "problem": error.message }));
        }
        Err(error) => return Err(error),
    };
    let parsed = match String::from_utf8(bytes) {
        Ok(text) => ModelFile::from_yaml(&text).map_err(|error| error.to_string()),
        Err(_) => Err("it is no UTF-8".to_owned()),
    };
    match parsed {
        Ok(file) => door.answer(&json!({ "model": model_json(&file), "problem": null })),
        Err(why) => door.answer(&json!({ "model": null, "problem": format!("{FILE_NAME}: {why}") })),
    }
}

/// A file, as an attachment.
pub(super) async fn file(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let found = (|| {
        let asked = Request { query: request.uri().query().unwrap_or_default().to_owned(), ..Request::default() };
        let fields = asked.query_fields();
        let path = ArtifactPath::new(fields.present("path")?)?;
        Ok(spot(&door, &fields)?.join(&path))
    })();
    give_fresh(&door, found, (request.method(), request.headers())).await
}

/// An HTML file, alone in its sandbox.
pub(super) async fn page(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let mut response = file(door, request).await;
    let headers = response.headers_mut();
    let is_html = headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let value = value.trim_end_matches('"').to_ascii_lowercase();
        value.ends_with(".html") || value.ends_with(".htm")
    });
    // Anything else stays what it is: an attachment.
    if is_html {
        headers.remove(header::CONTENT_DISPOSITION);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(ARTIFACT_POLICY));
    }
    response
}
