//! Parts of MLflow that Runlode lacks: tools for language models, webhooks, jobs, workspaces.
//!
//! MLflow's pages ask for them everywhere. A list is answered empty, as by an MLflow server where nobody has made
//! anything; one thing that is asked for by its id is not there (404); what would make or change something is answered
//! 501, which clients do not repeat and pages show.

use std::collections::BTreeSet;

use axum::http::Method;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;
use crate::route::{Api, Plain, Route, Work};

/// A path, and everything below it.
macro_rules! whole {
    ($api:ident, $path:literal) => {
        (Api::$api, [$path, concat!($path, "/{*rest}")])
    };
}

/// What is not there.
const ABSENT: &[(Api, [&str; 2])] = &[
    whole!(V2, "traces"),
    whole!(V2, "unified-traces"),
    whole!(V2, "get-online-trace-details"),
    whole!(V2, "webhooks"),
    whole!(Pages, "runs/create-promptlab-run"),
    whole!(Pages, "get-trace-artifact"),
    whole!(Pages3, "get-trace-artifact"),
    whole!(V3, "traces"),
    whole!(V3, "datasets"),
    whole!(V3, "scorers"),
    whole!(V3, "scorer"),
    whole!(V3, "genai"),
    whole!(V3, "gateway"),
    whole!(V3, "issues"),
    whole!(V3, "label-schemas"),
    whole!(V3, "review-queues"),
    whole!(V3, "prompt-optimization"),
    whole!(V3, "jobs"),
    whole!(Root, "/ajax-api/3.0/jobs"),
    whole!(V3, "demo"),
    whole!(V3, "mcp"),
    whole!(V3, "mcp-servers"),
    whole!(Pages3, "assistant"),
    whole!(Root, "/v1/traces"),
    whole!(Root, "/gateway"),
];

/// Workspaces are off, which is also the default of `mlflow server`.
const SWITCHED_OFF: &[(Api, [&str; 2])] = &[whole!(V3, "workspaces")];

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A handler that always gives the same JSON.
macro_rules! always {
    ($json:literal) => {
        |_: &Door, _: &Request| Ok(Answer::Json($json.as_bytes().to_vec()))
    };
}

/// Empty answers.
const EMPTY: &[(Method, Api, &str, Plain)] = &[
    (Method::GET, Api::V2, "webhooks", always!("{}")),
    (Method::GET, Api::V2, "traces", always!("{}")),
    (Method::POST, Api::V3, "traces/search", always!("{}")),
    (Method::POST, Api::V3, "traces/metrics", always!(r#"{"data_points": []}"#)),
    (Method::GET, Api::V3, "traces/batchGet", always!("{}")),
    (Method::POST, Api::V3, "traces/batchGetInfos", always!("{}")),
    (Method::GET, Api::V3, "datasets/search", always!("{}")),
    (Method::POST, Api::V3, "datasets/search", always!("{}")),
    (Method::GET, Api::V3, "scorers/list", always!("{}")),
    (Method::GET, Api::V3, "scorers/online-configs", always!(r#"{"configs": []}"#)),
    (Method::GET, Api::V3, "gateway/endpoints/list", always!("{}")),
    (Method::GET, Api::V3, "gateway/endpoints/bindings/list", always!("{}")),
    (Method::GET, Api::V3, "gateway/secrets/list", always!("{}")),
    (
        Method::GET,
        Api::V3,
        "gateway/secrets/config",
        always!(r#"{"secrets_available": false, "using_default_passphrase": false}"#),
    ),
    (Method::GET, Api::V3, "gateway/model-definitions/list", always!("{}")),
    (Method::GET, Api::V3, "gateway/guardrails/list", always!("{}")),
    (Method::GET, Api::V3, "gateway/budgets/list", always!("{}")),
    (Method::GET, Api::V3, "gateway/budgets/windows", always!("{}")),
    (Method::GET, Api::V3, "gateway/supported-providers", always!(r#"{"providers": []}"#)),
    (Method::GET, Api::V3, "gateway/supported-models", always!(r#"{"models": []}"#)),
    (Method::GET, Api::V3, "gateway/provider-config", always!(r#"{"auth_modes": []}"#)),
    (Method::POST, Api::V3, "issues/search", always!(r#"{"next_page_token": ""}"#)),
    (Method::GET, Api::V3, "label-schemas/list", always!("{}")),
    (Method::GET, Api::V3, "review-queues/list", always!("{}")),
    (Method::GET, Api::V3, "review-queues/items/list", always!("{}")),
    // The page of queues asks for its user's at each visit and reads nothing of the answer. Clients, who would, are told
    // that there is none.
    (Method::POST, Api::Pages3, "review-queues/get-or-create-user", always!("{}")),
    (Method::GET, Api::V3, "mcp-servers", always!(r#"{"mcp_servers": [], "next_page_token": null}"#)),
    (Method::GET, Api::V3, "prompt-optimization/jobs/search", always!("{}")),
    (Method::POST, Api::V3, "prompt-optimization/jobs/search", always!("{}")),
    (Method::POST, Api::Root, "/ajax-api/3.0/jobs/search", always!(r#"{"jobs": []}"#)),
    (Method::GET, Api::Pages3, "assistant/providers", always!(r#"{"providers": []}"#)),
    (
        Method::GET,
        Api::Pages3,
        "assistant/config",
        always!(r#"{"providers": {}, "projects": {}, "remote_access_allowed": false}"#),
    ),
];

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    let mut add = |method: &Method, api, path, handler| {
        let mut route = Route::new(method.clone(), path, Work::Quick, handler).api(api);
        // Whatever is sent, the answer is the same; spans come as protobuf.
        route.json_only = false;
        routes.push(route);
    };
    let is_list = |method: &Method, api: Api, path: &str| {
        EMPTY.iter().any(|(known, area, list, _)| (known, *area, *list) == (method, api, path))
    };
    for (method, api, path, handler) in EMPTY {
        add(method, *api, path, *handler);
    }
    let whole = ABSENT.iter().flat_map(|(api, paths)| paths.map(|path| (*api, path)));
    // What else may be done to the path of a list.
    let of_lists: BTreeSet<(Api, &str)> = EMPTY.iter().map(|(_, api, path, _)| (*api, *path)).collect();
    let paths: BTreeSet<(Api, &str)> = whole.chain(of_lists).collect();
    for (api, path) in paths {
        for method in METHODS.iter().filter(|method| !is_list(method, api, path)) {
            add(method, api, path, if method == Method::GET { nothing_of_it } else { not_there });
        }
    }
    for (api, paths) in SWITCHED_OFF {
        for path in paths {
            METHODS.iter().for_each(|method| add(method, *api, path, not_there));
        }
    }
    routes
}

/// What a client asks for by its id.
fn nothing_of_it(_: &Door, request: &Request) -> ApiResult<Answer> {
    let what = match request.part("rest") {
        "" => "What you ask for".to_owned(),
        rest => format!("'{rest}'"),
    };
    Err(ApiError::absent(format!(
        "{what} does not exist: Runlode does not have this part of MLflow (traces, evaluation, gateway, webhooks, jobs, \
         assistant)."
    )))
}

fn not_there(_: &Door, _: &Request) -> ApiResult<Answer> {
    Err(ApiError::new(
        ErrorCode::NotImplemented,
        "Runlode does not have this part of MLflow yet (traces, evaluation, gateway, webhooks, workspaces, jobs, \
         assistant).",
    ))
}
