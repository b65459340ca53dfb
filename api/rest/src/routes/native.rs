//! `/api/runlode/v1`: calls that MLflow's API lacks.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET history?run_id=` (or `experiment_id`, `logged_model_id`, `registered_model` with or without `version`) | `position`, `changes[{position, time_ms, actor, event, changes[], fields[{field, version, from, to}]}]`: who, when, from what to what |
//! | `GET as-of/run?run_id=&position=` (or `time_ms=`) | `position`, `run` as it was, in MLflow's shape; `run` null where there was none |
//! | `GET as-of/metrics?run_id=&metric_key=&position=` (or `time_ms=`), `max_results`, `page_token` | `position`, `metrics[]`, `next_page_token` |
//! | `GET downsample?run_id=&metric_key=&buckets=`, `start_step`, `end_step` | `count`, `exact_edges`, `buckets[{step_first, step_last, count, min, max, mean, first, last, nan, inf}]`: true extremes, every point in exactly one bucket |
//! | `GET positions` | `published`, `durable`, `applied`, `sealed` |
//!
//! A position is a place in the store's one order of batches; each answer says the one it was read at.

use runlode::changes::FieldChange;
use runlode::mlflow::{ApiError, ApiResult, EntityName, names, page_offset, page_token};
use runlode::{AsOf, Lsn, TimestampMs};
use serde::Serialize;
use serde_json::{Value, json};

use super::metrics::MetricJson;
use crate::answer::{Answer, double, pairs};
use crate::door::Door;
use crate::request::{Fields, Request};
use crate::route::{Api, Route, Work};

/// Most buckets of a downsampled series.
const BUCKETS_MAX: i64 = 100_000;
/// Most points of a page of the past.
const POINTS_MAX: i64 = 100_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/runlode/v1/history", Work::Read, history).api(Api::Root),
        Route::get("/api/runlode/v1/as-of/run", Work::Read, run_as_of).api(Api::Root),
        Route::get("/api/runlode/v1/as-of/metrics", Work::Read, metrics_as_of).api(Api::Root),
        Route::get("/api/runlode/v1/downsample", Work::Read, downsample).api(Api::Root),
        Route::get("/api/runlode/v1/positions", Work::Quick, positions).api(Api::Root),
    ]
}

/// The entity whose history is requested.
fn entity(fields: &Fields<'_>) -> ApiResult<EntityName> {
    if fields.has("run_id") {
        return Ok(EntityName::Run(fields.required("run_id")?.to_owned()));
    }
    if let Some(id) = fields.int("experiment_id")? {
        return Ok(EntityName::Experiment(id));
    }
    if let Some(id) = fields.text("logged_model_id")? {
        return Ok(EntityName::LoggedModel(id.to_owned()));
    }
    if let Some(name) = fields.text("registered_model")? {
        return Ok(match fields.int("version")? {
            None => EntityName::RegisteredModel(name.to_owned()),
            Some(version) => EntityName::ModelVersion(name.to_owned(), version),
        });
    }
    Err(ApiError::invalid("Give one of run_id, experiment_id, logged_model_id, registered_model."))
}

fn history(door: &Door, request: &Request) -> ApiResult<Answer> {
    let found = door.mlflow.entity_changes(&entity(&request.fields()?)?)?;
    let changes: Vec<Value> = found
        .changes
        .into_iter()
        .map(|change| {
            json!({
                "position": change.position,
                "time_ms": change.time_ms,
                "actor": change.actor,
                "event": change.event,
                "changes": change.changes,
                "fields": change.fields.iter().map(field).collect::<Vec<_>>(),
            })
        })
        .collect();
    door.answer(&json!({ "position": found.position, "changes": changes }))
}

fn field(change: &FieldChange) -> Value {
    json!({ "field": change.field, "version": change.version, "from": change.from, "to": change.to })
}

/// The requested position or time.
fn at(fields: &Fields<'_>) -> ApiResult<AsOf> {
    match (fields.int("position")?, fields.int("time_ms")?) {
        (Some(position), None) => match u64::try_from(position) {
            Ok(position) => Ok(AsOf::Position(Lsn(position))),
            Err(_) => Err(ApiError::invalid("A position must not be negative.")),
        },
        (None, Some(time)) => Ok(AsOf::Time(TimestampMs(time))),
        _ => Err(ApiError::invalid("Give either position or time_ms.")),
    }
}

fn run_as_of(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let found = door.mlflow.run_as_of(fields.required("run_id")?, at(&fields)?)?;
    let run = match found.run {
        None => Value::Null,
        Some(run) => {
            let status: &str = run.info.status.into();
            let metrics = run.metrics.iter().map(|metric| {
                let metric = json_of(&metric.key, metric.value, metric.timestamp, metric.step);
                serde_json::to_value(metric).map_err(|error| ApiError::invalid(error.to_string()))
            });
            json!({
                "info": {
                    "run_id": run.info.run_id,
                    "experiment_id": run.info.experiment_id,
                    "run_name": run.info.run_name,
                    "user_id": run.info.user_id,
                    "status": status,
                    "start_time": run.info.start_time,
                    "end_time": run.info.end_time,
                    "lifecycle_stage": if run.info.deleted { "deleted" } else { "active" },
                },
                "data": {
                    "params": pairs(&run.params),
                    "tags": pairs(&run.tags),
                    "metrics": metrics.collect::<ApiResult<Vec<Value>>>()?,
                },
            })
        }
    };
    door.answer(&json!({ "position": found.position, "run": run }))
}

fn json_of(key: &str, value: f64, timestamp: i64, step: i64) -> MetricJson<'_> {
    MetricJson { key, value, timestamp, step, model_id: None, dataset_name: None, dataset_digest: None, run_id: None }
}

fn metrics_as_of(door: &Door, request: &Request) -> ApiResult<Answer> {
    #[derive(Serialize)]
    struct Response<'a> {
        position: u64,
        metrics: Vec<MetricJson<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    let fields = request.fields()?;
    let (id, key) = (fields.required("run_id")?, fields.required("metric_key")?);
    let limit = names::positive("max_results", fields.int("max_results")?.unwrap_or(25_000).min(POINTS_MAX))?;
    let offset = page_offset(fields.text("page_token")?)?;
    let found = door.mlflow.metric_history_as_of(id, key, at(&fields)?, offset as u64, limit as u64)?;
    let columns = &found.columns;
    let points = columns.steps.iter().zip(&columns.timestamps).zip(&columns.values);
    let metrics = points.map(|((step, time), value)| json_of(key, *value, *time, *step)).collect();
    let next_page_token = found.more.then(|| page_token(offset + limit));
    door.answer(&Response { position: found.position, metrics, next_page_token })
}

#[derive(Serialize)]
struct BucketJson {
    step_first: i64,
    step_last: i64,
    count: i64,
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
    nan: i64,
    #[serde(skip_serializing_if = "is_zero")]
    inf: i64,
}

fn is_zero(count: &i64) -> bool {
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
    let (id, key) = (fields.required("run_id")?, fields.required("metric_key")?);
    let buckets = names::positive("buckets", fields.int("buckets")?.unwrap_or(320).min(BUCKETS_MAX))?;
    let steps = match (fields.int("start_step")?, fields.int("end_step")?) {
        (None, None) => None,
        (start, end) => Some((start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX))),
    };
    let found = door.mlflow.downsampled(id, key, steps, buckets as u64)?;
    let buckets = (0..found.counts.len()).map(|i| BucketJson {
        step_first: found.step_first[i],
        step_last: found.step_last[i],
        count: found.counts[i],
        min: found.min[i],
        max: found.max[i],
        mean: found.mean[i],
        first: found.first[i],
        last: found.last[i],
        nan: found.nan[i],
        inf: found.inf[i],
    });
    door.answer(&Response {
        position: found.position,
        count: found.count,
        exact_edges: found.exact_edges,
        buckets: buckets.collect(),
    })
}

fn positions(door: &Door, _: &Request) -> ApiResult<Answer> {
    let positions = door.mlflow.positions()?;
    Answer::json(&json!({
        "published": positions.published.0,
        "durable": positions.durable.0,
        "applied": positions.applied.0,
        "sealed": positions.sealed.0,
    }))
}

#[cfg(test)]
mod tests {
    use runlode::LocalStore;
    use runlode::mlflow::{NewMetric, NewRun};

    use super::*;
    use crate::door::ServeOptions;

    fn ask(door: &Door, handler: crate::route::Plain, query: &str) -> ApiResult<Value> {
        let request = Request { query: query.to_owned(), ..Request::default() };
        match handler(door, &request)? {
            Answer::Json(body) => Ok(serde_json::from_slice(&body).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_past_and_its_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let door = Door::new(store, ServeOptions::default());
        let run = door.mlflow.create_run(&NewRun { run_name: Some("a"), ..NewRun::default() }).unwrap();
        let id = &run.info.run_id;
        let metric = |step, value| NewMetric { key: "loss", value, timestamp: 1, step, ..NewMetric::default() };
        door.mlflow.log_metric(id, &metric(0, 3.0)).unwrap();
        let before = door.mlflow.positions().unwrap().published.0;
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
