//! The keys that runs have, and the columns that are made of the most common ones.

use std::sync::Arc;

use runlode::mlflow::{ApiError, ApiResult, RunKeys};

use super::at::as_of;
use super::json::JsonWriter;
use super::limit::{ROWS_MAX, positive};
use crate::answer::Answer;
use crate::door::Door;
use crate::request::{Fields, Request};

/// Runs whose keys are read, unless a request says otherwise.
const KEYS_OF_RUNS: i64 = 5_000;
/// Most runs whose keys of the past are read: each is read from its events.
const PAST_KEYS_OF_RUNS: u64 = 500;
/// Most common keys of a kind that a request asks for.
const COMMON_MAX: u64 = 100;
/// Metrics that the machine logs by itself: they are common, and nobody compares runs by them first.
const SYSTEM: &str = "system/";

/// The keys of the newest runs of the experiments that a request names.
fn keys_of(door: &Door, fields: &Fields<'_>, runs_max: u64) -> ApiResult<Arc<RunKeys>> {
    let experiments = fields.texts("experiment_id")?;
    match as_of(fields)? {
        None => {
            let position = door.mlflow.positions()?.published.0;
            door.kept_keys.get(&experiments, runs_max, position, || door.mlflow.run_keys(&experiments, runs_max))
        }
        Some(at) => door.mlflow.run_keys_as_of(&experiments, runs_max.min(PAST_KEYS_OF_RUNS), at).map(Arc::new),
    }
}

pub(super) fn keys(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let most = positive(&fields, "runs_max", KEYS_OF_RUNS, ROWS_MAX)?;
    let keys = keys_of(door, &fields, most)?;
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    out.field("position", &keys.position)?;
    out.field("runs", &keys.runs)?;
    out.field("complete", &keys.complete)?;
    out.field("metrics", &keys.metrics)?;
    out.field("params", &keys.params)?;
    out.field("tags", &keys.tags)?;
    out.end(b"}")?;
    out.finish()
}

/// The names of the keys that most runs have, the most common first, and of equally common ones by name.
fn most_common(keys: &[(String, u64)], count: usize) -> Vec<&str> {
    let mut list: Vec<_> = keys.iter().filter(|(key, _)| !key.starts_with(SYSTEM)).collect();
    let order = |a: &&(String, u64), b: &&(String, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
    if count < list.len() {
        list.select_nth_unstable_by(count, order);
        list.truncate(count);
    }
    list.sort_unstable_by(order);
    list.into_iter().map(|(key, _)| key.as_str()).collect()
}

/// The columns of the `common_metrics` metrics and `common_params` params that most of the newest runs have; `None` if a
/// request asks for none.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` for a number, `RESOURCE_DOES_NOT_EXIST` for an experiment.
pub(super) fn common_columns(door: &Door, fields: &Fields<'_>) -> ApiResult<Option<Vec<String>>> {
    let number = |name: &str| -> ApiResult<usize> {
        let given = u64::try_from(fields.int(name)?.unwrap_or(0)).ok().filter(|number| *number <= COMMON_MAX);
        let given = given.and_then(|number| usize::try_from(number).ok());
        given.ok_or_else(|| ApiError::invalid(format!("{name} must be at least 0 and at most {COMMON_MAX}.")))
    };
    let (metrics, params) = (number("common_metrics")?, number("common_params")?);
    if metrics + params == 0 {
        return Ok(None);
    }
    let keys = keys_of(door, fields, KEYS_OF_RUNS.unsigned_abs())?;
    let named = |kind: &str, list: Vec<&str>| list.into_iter().map(|key| format!("{kind}.{key}")).collect::<Vec<_>>();
    let mut columns = named("metrics", most_common(&keys.metrics, metrics));
    columns.extend(named("params", most_common(&keys.params, params)));
    Ok(Some(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_keys_come_first_and_those_of_the_machine_never() {
        let keys = [("a", 1), ("b", 3), ("c", 3), ("d", 2), ("system/cpu", 9)];
        let keys: Vec<(String, u64)> = keys.into_iter().map(|(key, count)| (key.to_owned(), count)).collect();
        assert_eq!(most_common(&keys, 3), ["b", "c", "d"]);
        assert_eq!(most_common(&keys, 9), ["b", "c", "d", "a"]);
        assert!(most_common(&[], 2).is_empty());
    }
}
