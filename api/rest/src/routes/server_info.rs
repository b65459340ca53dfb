//! Information about the server.

use axum::http::{HeaderMap, StatusCode};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use serde::Serialize;

use crate::answer::{Answer, text_response};
use crate::door::Door;
use crate::request::Request;
use crate::route::{Api, Route, Work};

/// The version of MLflow whose API this is. Clients read it to choose how to send.
pub(crate) const MLFLOW_VERSION: &str = "3.17.2";

/// The header by which clients choose a workspace.
const WORKSPACE_HEADER: &str = "x-mlflow-workspace";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("server-info", Work::Quick, server_info).api(Api::V3),
        Route::get("/health", Work::Quick, health).api(Api::Root),
        Route::get("/version", Work::Quick, version).api(Api::Root),
        Route::get("gateway-proxy", Work::Quick, gateway_proxy).api(Api::Pages),
        Route::post("gateway-proxy", Work::Quick, gateway_proxy).api(Api::Pages),
        Route::get("ui-telemetry", Work::Quick, telemetry).api(Api::Pages3),
        Route::post("ui-telemetry", Work::Quick, telemetry_sent).api(Api::Pages3),
    ]
}

/// There are no workspaces: a request for one must not read or write another's data.
pub(crate) fn refused_workspace(path: &str, headers: &HeaderMap) -> Option<ApiError> {
    let asked = headers.get(WORKSPACE_HEADER)?.as_bytes();
    let exempt = path.trim_end_matches('/').ends_with("/mlflow/server-info") || matches!(path, "/health" | "/version");
    if asked.trim_ascii().is_empty() || exempt {
        return None;
    }
    let message = "Workspace APIs are not available: workspaces are not enabled on this server";
    Some(ApiError::new(ErrorCode::FeatureDisabled, message))
}

fn server_info(_: &Door, _: &Request) -> ApiResult<Answer> {
    #[derive(Serialize)]
    struct Features {
        gateway: bool,
    }
    #[derive(Serialize)]
    struct ServerInfo {
        store_type: Option<&'static str>,
        workspaces_enabled: bool,
        trace_archival_enabled: bool,
        multipart_uploads_enabled: bool,
        multipart_downloads_enabled: bool,
        presigned_upload_run_id_supported: bool,
        presigned_upload_model_id_supported: bool,
        features_enabled: Features,
    }
    Answer::json(&ServerInfo {
        store_type: None,
        workspaces_enabled: false,
        trace_archival_enabled: false,
        multipart_uploads_enabled: false,
        multipart_downloads_enabled: false,
        presigned_upload_run_id_supported: false,
        presigned_upload_model_id_supported: false,
        features_enabled: Features { gateway: false },
    })
}

fn health(_: &Door, _: &Request) -> ApiResult<Answer> {
    Ok(Answer::Raw(text_response(StatusCode::OK, "OK")))
}

fn version(_: &Door, _: &Request) -> ApiResult<Answer> {
    Ok(Answer::Raw(text_response(StatusCode::OK, MLFLOW_VERSION)))
}

fn json(text: &str) -> ApiResult<Answer> {
    Ok(Answer::Json(text.as_bytes().to_vec()))
}

fn gateway_proxy(_: &Door, _: &Request) -> ApiResult<Answer> {
    json(r#"{"endpoints": []}"#)
}

fn telemetry(_: &Door, _: &Request) -> ApiResult<Answer> {
    json(r#"{"disable_ui_telemetry": true, "disable_ui_events": [], "ui_rollout_percentage": 0}"#)
}

fn telemetry_sent(_: &Door, _: &Request) -> ApiResult<Answer> {
    json(r#"{"status": "disabled"}"#)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_workspace_is_refused_where_it_would_matter() {
        let mut headers = HeaderMap::new();
        assert!(refused_workspace("/api/2.0/mlflow/runs/get", &headers).is_none());
        headers.insert(WORKSPACE_HEADER, HeaderValue::from_static(" "));
        assert!(refused_workspace("/api/2.0/mlflow/runs/get", &headers).is_none());
        headers.insert(WORKSPACE_HEADER, HeaderValue::from_static("w"));
        let error = refused_workspace("/api/2.0/mlflow/runs/get", &headers).unwrap();
        assert_eq!((error.status(), error.code), (501, ErrorCode::FeatureDisabled));
        for path in ["/health", "/version", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info/"] {
            assert!(refused_workspace(path, &headers).is_none(), "{path}");
        }
    }
}
