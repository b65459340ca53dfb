//! The floor of log-metric: an axum handler that parses the same JSON and answers `{}`.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::post;
use serde::Deserialize;

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed like the real ones, and not used")]
struct Body<'a> {
    run_id: &'a str,
    key: &'a str,
    value: f64,
    timestamp: i64,
    step: i64,
}

async fn log_metric(body: Bytes) -> ([(header::HeaderName, &'static str); 1], &'static str) {
    let answer = if serde_json::from_slice::<Body<'_>>(&body).is_ok() { "{}" } else { "bad" };
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

/// Serves until it is killed; prints its address.
pub(crate) fn serve() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = Router::new().route("/api/2.0/mlflow/runs/log-metric", post(log_metric));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{{\"address\":\"{}\"}}", listener.local_addr()?);
        axum::serve(listener, router).await
    })
}
