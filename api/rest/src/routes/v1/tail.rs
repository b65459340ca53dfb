//! The log itself, page by page: every change and every point, for programs that read or follow all of it.

use runlode::mlflow::{ApiError, ApiResult, Field};
use serde_json::{Value, json};

use super::limit::positive;
use crate::answer::{Answer, double_value};
use crate::door::Door;
use crate::request::Request;

/// Most batches of a page, and batches without `batches`: one may hold megabytes.
const BATCHES_MAX: i64 = 64;

/// Kinds differ in JSON too: texts are a list, pairs stand in an object.
fn field_json(field: &Field) -> Value {
    match field {
        Field::Nothing => Value::Null,
        Field::Text(text) => json!(text),
        Field::Int(number) => json!(number),
        Field::Texts(texts) => json!(texts),
        Field::Pairs(pairs) => json!({ "pairs": pairs }),
    }
}

pub(super) fn page(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let from = u64::try_from(fields.int("from")?.unwrap_or(0));
    let from = from.map_err(|_| ApiError::invalid("from is a position, from 0."))?;
    let batches = positive(&fields, "batches", BATCHES_MAX, BATCHES_MAX)?;
    let page = door.mlflow.tail(from, batches, 0)?;
    let events = page.events.iter().map(|event| {
        let fields: Vec<Value> = event.fields.iter().map(|(name, field)| json!([name, field_json(field)])).collect();
        json!({
            "position": event.position, "time_ms": event.time_ms, "actor": event.actor, "event": event.event,
            "fields": fields,
        })
    });
    let points = page.points.iter().map(|points| {
        json!({
            "position": points.position, "time_ms": points.time_ms, "run_id": points.run_id, "key": points.key,
            "steps": points.steps, "timestamps_ms": points.timestamps,
            "values": points.values.iter().map(|value| double_value(*value)).collect::<Vec<_>>(),
        })
    });
    door.answer(&json!({
        "next": page.next, "events": events.collect::<Vec<_>>(), "points": points.collect::<Vec<_>>(),
    }))
}
