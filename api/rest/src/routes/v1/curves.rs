//! Curves of many runs in one answer of columns, and the curve of a dead branch.

use runlode::mlflow::{ApiError, ApiResult, CurvesQuery};
use serde_json::{Map, Value, json};

use super::at::as_of;
use super::columns::ColumnsAnswer;
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// Most curves of a request.
const SERIES_MAX: usize = 10_000;
/// Most buckets of a curve, and buckets without `buckets`.
const BUCKETS_MAX: i64 = 10_000;
const BUCKETS: i64 = 500;
/// Most buckets of all curves together.
const ALL_BUCKETS_MAX: u64 = 5_000_000;

pub(super) fn many(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let mut series = Vec::new();
    for one in fields.objects("series")? {
        series.push((one.required("run_id")?.to_owned(), one.required("key")?.to_owned()));
    }
    if series.len() > SERIES_MAX {
        return Err(ApiError::invalid(format!("A request names at most {SERIES_MAX} curves.")));
    }
    let buckets = fields.int("buckets")?.unwrap_or(BUCKETS).min(BUCKETS_MAX);
    let buckets = u64::try_from(buckets).ok().filter(|buckets| *buckets > 0);
    let buckets = buckets.ok_or_else(|| ApiError::invalid("buckets must be at least 1."))?;
    if buckets.saturating_mul(series.len() as u64) > ALL_BUCKETS_MAX {
        return Err(ApiError::invalid(format!("All curves together have at most {ALL_BUCKETS_MAX} buckets.")));
    }
    let steps = match (fields.int("start_step")?, fields.int("end_step")?) {
        (None, None) => None,
        (start, end) => Some((start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX))),
    };
    let points = fields.truth("points")?.unwrap_or_default();
    let found = door.mlflow.curves(&CurvesQuery { series, steps, buckets, points, at: as_of(&fields)? })?;
    let heads = found.heads.iter().map(|head| {
        json!({
            "count": head.count, "rows": head.rows, "bucketed": head.bucketed,
            "step_first": head.step_first, "step_last": head.step_last,
        })
    });
    let mut header = Map::new();
    header.insert("position".to_owned(), found.position.into());
    header.insert("series".to_owned(), Value::Array(heads.collect()));
    let mut answer = ColumnsAnswer::new(header);
    answer.integers("step", &found.steps);
    answer.integers("time_ms", &found.times);
    answer.doubles("value", &found.values);
    answer.integers("bucket.step_first", &found.step_first);
    answer.integers("bucket.step_last", &found.step_last);
    answer.integers("bucket.count", &found.counts);
    answer.doubles("bucket.min", &found.min);
    answer.doubles("bucket.max", &found.max);
    answer.doubles("bucket.mean", &found.mean);
    answer.doubles("bucket.last", &found.last);
    answer.integers("bucket.non_finite", &found.non_finite);
    answer.finish(door)
}

pub(super) fn of_branch(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let branch = u32::try_from(fields.required_int("branch")?);
    let branch = branch.map_err(|_| ApiError::invalid("branch is the number of a branch, from 0."))?;
    let columns = door.mlflow.branch_history(fields.required("run_id")?, branch, fields.required("key")?)?;
    let mut answer = ColumnsAnswer::new(Map::new());
    answer.integers("step", &columns.steps);
    answer.integers("time_ms", &columns.timestamps);
    answer.doubles("value", &columns.values);
    answer.finish(door)
}
