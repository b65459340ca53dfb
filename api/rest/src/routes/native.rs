//! `/api/runlode/v1`: what MLflow's API has no words for.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET history?run_id=` (or `experiment_id`, `logged_model_id`, `registered_model` with or without `version`) | `position`, `changes[{position, time_ms, actor, event, changes[]}]`: who, when, from what to what |
//! | `GET as-of/run?run_id=&position=` (or `time_ms=`) | `position`, `run` as it was, in MLflow's shape; `run` null where there was none |
//! | `GET as-of/metrics?run_id=&metric_key=&position=` (or `time_ms=`), `max_results`, `page_token` | `position`, `metrics[]`, `next_page_token` |
//! | `GET downsample?run_id=&metric_key=&buckets=`, `start_step`, `end_step` | `count`, `exact_edges`, `buckets[{step_first, step_last, count, min, max, mean, first, last, nan, inf}]`: true extremes, every point in exactly one bucket |
//! | `GET positions` | `published`, `durable`, `applied`, `sealed` |
//!
//! A position is a place in the store's one order of batches; each answer says the one it was read at.

use runlode::engine::query::points::HistoryQuery;
use runlode::mlflow::{ApiError, ApiResult, names, page_offset, page_token};
use runlode::{
    AsOf, EntityKey, ExperimentId, Lifecycle, Lsn, RegisteredModelId, RunId, Snapshot, TimestampMs, changes,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::metrics::MetricJson;
use super::{Api, Route, Work};
use crate::answer::{Answer, double, pairs};
use crate::door::Door;
use crate::request::{Fields, Request};

/// Most buckets of a downsampled series.
const BUCKETS_MAX: i64 = 100_000;
/// Most points of a page of the past.
const POINTS_MAX: i64 = 1_000_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/runlode/v1/history", Work::Slow, history).api(Api::Root),
        Route::get("/api/runlode/v1/as-of/run", Work::Slow, run_as_of).api(Api::Root),
        Route::get("/api/runlode/v1/as-of/metrics", Work::Slow, metrics_as_of).api(Api::Root),
        Route::get("/api/runlode/v1/downsample", Work::Slow, downsample).api(Api::Root),
        Route::get("/api/runlode/v1/positions", Work::Quick, positions).api(Api::Root),
    ]
}

fn run_id(fields: &Fields) -> ApiResult<RunId> {
    let text = fields.required("run_id")?;
    text.parse().map_err(|_| ApiError::absent(format!("Run with id={text} not found")))
}

/// The entity that a history is asked of.
fn entity(fields: &Fields, snapshot: &Snapshot) -> ApiResult<EntityKey> {
    if fields.has("run_id") {
        return Ok(EntityKey::Run(run_id(fields)?));
    }
    if let Some(id) = fields.int("experiment_id")? {
        let id = u64::try_from(id).map_err(|_| ApiError::absent(format!("No Experiment with id={id} exists")))?;
        return Ok(EntityKey::Experiment(ExperimentId(id)));
    }
    if let Some(text) = fields.text("logged_model_id")? {
        let absent = |_| ApiError::absent(format!("Logged model with ID '{text}' not found."));
        return Ok(EntityKey::LoggedModel(text.parse().map_err(absent)?));
    }
    if let Some(name) = fields.text("registered_model")? {
        let (model, _): (RegisteredModelId, _) = snapshot
            .registered_model(name)?
            .ok_or_else(|| ApiError::absent(format!("Registered Model with name={name} not found")))?;
        return Ok(match fields.int("version")? {
            None => EntityKey::RegisteredModel(model),
            Some(version) => {
                let absent = |_| ApiError::absent(format!("Model Version (name={name}, version={version}) not found"));
                EntityKey::ModelVersion(model, u32::try_from(version).map_err(absent)?)
            }
        });
    }
    Err(ApiError::invalid("Give one of run_id, experiment_id, logged_model_id, registered_model."))
}

fn history(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let snapshot = door.mlflow.store().snapshot()?;
    let key = entity(&fields, &snapshot)?;
    let events = snapshot.events(&key)?;
    if events.is_empty() && snapshot.entity(&key)?.is_none() {
        return Err(ApiError::absent("There is no such entity, and never was."));
    }
    let changes: Vec<Value> = changes::of(&events, |ms| format!("{ms} ms"))
        .into_iter()
        .map(|change| {
            json!({
                "position": change.position,
                "time_ms": change.time_ms,
                "actor": change.actor,
                "event": change.event,
                "changes": change.changes,
            })
        })
        .collect();
    Answer::json(&json!({ "position": snapshot.position().0, "changes": changes }))
}

/// The position or time that is asked for.
fn at(fields: &Fields) -> ApiResult<AsOf> {
    match (fields.int("position")?, fields.int("time_ms")?) {
        (Some(position), None) => match u64::try_from(position) {
            Ok(position) => Ok(AsOf::Position(Lsn(position))),
            Err(_) => Err(ApiError::invalid("A position is not negative.")),
        },
        (None, Some(time)) => Ok(AsOf::Time(TimestampMs(time))),
        _ => Err(ApiError::invalid("Give either position or time_ms.")),
    }
}

fn run_as_of(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = run_id(&fields)?;
    let snapshot = door.mlflow.store().snapshot()?;
    let past = snapshot.as_of(at(&fields)?)?;
    let run = match past.run(id)? {
        None => Value::Null,
        Some((run, lifecycle)) => {
            let status: &str = run.status.into();
            let lifecycle = if lifecycle == Lifecycle::Active { "active" } else { "deleted" };
            json!({
                "info": {
                    "run_id": id.to_string(),
                    "experiment_id": run.experiment.to_string(),
                    "run_name": run.name,
                    "user_id": run.user_id,
                    "status": status,
                    "start_time": run.start_time_ms,
                    "end_time": run.end_time_ms,
                    "lifecycle_stage": lifecycle,
                },
                "data": {
                    "params": pairs(&run.params),
                    "tags": pairs(&run.tags),
                    "metrics": past_latest(&past, id)?,
                },
            })
        }
    };
    Answer::json(&json!({ "position": past.position().0, "run": run }))
}

/// The latest value of each metric, as it was.
fn past_latest(past: &runlode::PastView<'_>, run: RunId) -> ApiResult<Vec<Value>> {
    let mut out = Vec::new();
    for (key, stats) in past.latest(run)? {
        let last = stats.last();
        let metric = MetricJson {
            key: &key,
            value: last.value,
            timestamp: last.time.0,
            step: last.step,
            model_id: None,
            dataset_name: None,
            dataset_digest: None,
            run_id: None,
        };
        out.push(serde_json::to_value(metric).map_err(|error| ApiError::invalid(error.to_string()))?);
    }
    Ok(out)
}

fn metrics_as_of(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (id, key) = (run_id(&fields)?, fields.required("metric_key")?);
    let limit = names::positive("max_results", fields.int("max_results")?.unwrap_or(25_000).min(POINTS_MAX))?;
    let offset = page_offset(fields.text("page_token")?)?;
    let snapshot = door.mlflow.store().snapshot()?;
    let past = snapshot.as_of(at(&fields)?)?;
    let query = HistoryQuery { offset: offset as u64, limit: limit + 1, ..HistoryQuery::default() };
    let page = past.history(id, key, &query)?;
    let count = page.columns.len();
    let metrics: Vec<MetricJson<'_>> = (0..count.min(limit))
        .map(|i| {
            let point = page.columns.point(i);
            MetricJson {
                key,
                value: point.value,
                timestamp: point.time.0,
                step: point.step,
                model_id: None,
                dataset_name: None,
                dataset_digest: None,
                run_id: None,
            }
        })
        .collect();
    #[derive(Serialize)]
    struct Response<'a> {
        position: u64,
        metrics: Vec<MetricJson<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    let next_page_token = (count > limit).then(|| page_token(offset + limit));
    Answer::json(&Response { position: past.position().0, metrics, next_page_token })
}

#[derive(Serialize)]
struct BucketJson {
    step_first: i64,
    step_last: i64,
    count: u64,
    #[serde(serialize_with = "double")]
    min: f64,
    #[serde(serialize_with = "double")]
    max: f64,
    #[serde(serialize_with = "double")]
    mean: f64,
    #[serde(serialize_with = "double")]
    first: f64,
    #[serde(serialize_with = "double")]
    last: f64,
    #[serde(skip_serializing_if = "is_zero")]
    nan: u64,
    #[serde(skip_serializing_if = "is_zero")]
    inf: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn downsample(door: &Door, request: &Request) -> ApiResult<Answer> {
    #[derive(Serialize)]
    struct Response {
        position: u64,
        count: u64,
        exact_edges: bool,
        buckets: Vec<BucketJson>,
    }
    let fields = request.fields()?;
    let (id, key) = (run_id(&fields)?, fields.required("metric_key")?);
    let buckets = names::positive("buckets", fields.int("buckets")?.unwrap_or(320).min(BUCKETS_MAX))?;
    let steps = match (fields.int("start_step")?, fields.int("end_step")?) {
        (None, None) => None,
        (start, end) => Some((start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX))),
    };
    let snapshot = door.mlflow.store().snapshot()?;
    let found = snapshot.downsample(id, key, steps, buckets)?;
    let buckets = found.buckets.iter().map(|bucket| {
        let summary = &bucket.summary;
        let inf = summary.pos_inf + summary.neg_inf;
        let finite = summary.count - summary.nan - inf;
        BucketJson {
            step_first: bucket.step_first,
            step_last: bucket.step_last,
            count: summary.count,
            min: summary.min,
            max: summary.max,
            mean: summary.sum / finite as f64,
            first: summary.first,
            last: summary.last,
            nan: summary.nan,
            inf,
        }
    });
    Answer::json(&Response {
        position: snapshot.position().0,
        count: found.count,
        exact_edges: found.exact_edges,
        buckets: buckets.collect(),
    })
}

fn positions(door: &Door, _: &Request) -> ApiResult<Answer> {
    let positions = door.mlflow.store().positions();
    Answer::json(&json!({
        "published": positions.published.0,
        "durable": positions.durable.0,
        "applied": positions.applied.0,
        "sealed": positions.sealed.0,
    }))
}

#[cfg(test)]
mod tests {
    use runlode::Store;
    use runlode::mlflow::{NewMetric, NewRun};

    use super::*;
    use crate::door::ServeOptions;

    fn ask(door: &Door, handler: super::super::Handler, query: &str) -> ApiResult<Value> {
        let request = Request { query: query.to_owned(), ..Request::default() };
        match handler(door, &request)? {
            Answer::Json(body) => Ok(serde_json::from_slice(&body).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_past_and_its_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let door = Door::new(store, ServeOptions::default());
        let run = door.mlflow.create_run(&NewRun { run_name: Some("a"), ..NewRun::default() }).unwrap();
        let id = &run.info.run_id;
        let metric = |step, value| NewMetric { key: "loss", value, timestamp: 1, step, ..NewMetric::default() };
        door.mlflow.log_metric(id, &metric(0, 3.0)).unwrap();
        let before = door.mlflow.store().positions().published.0;
        door.mlflow.log_metric(id, &metric(1, 5.0)).unwrap();
        door.mlflow.set_tag(id, "mlflow.runName", "b").unwrap();

        let past = ask(&door, run_as_of, &format!("run_id={id}&position={before}")).unwrap();
        assert_eq!(past["run"]["info"]["run_name"], "a");
        assert_eq!(past["run"]["data"]["metrics"][0]["value"], 3.0);
        let none = ask(&door, run_as_of, &format!("run_id={id}&position=1")).unwrap();
        assert_eq!(none["run"], Value::Null);
        let points = ask(&door, metrics_as_of, &format!("run_id={id}&metric_key=loss&position={before}")).unwrap();
        assert_eq!(points["metrics"].as_array().unwrap().len(), 1);
        let changes = ask(&door, history, &format!("run_id={id}")).unwrap();
        let text = changes["changes"].to_string();
        assert!(text.contains("name: a -> b"), "{text}");
        let buckets = ask(&door, downsample, &format!("run_id={id}&metric_key=loss&buckets=1")).unwrap();
        let bucket = &buckets["buckets"][0];
        assert_eq!((&bucket["min"], &bucket["max"], &bucket["mean"]), (&json!(3.0), &json!(5.0), &json!(4.0)));
        assert!(ask(&door, history, "registered_model=nope").is_err());
        assert!(ask(&door, history, "").is_err());
        assert!(ask(&door, run_as_of, &format!("run_id={id}")).is_err());
    }
}
