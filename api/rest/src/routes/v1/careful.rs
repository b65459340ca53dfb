//! Registry changes that the store itself decides in one step, and the registry's audit.
//!
//! | Call | Answer |
//! |---|---|
//! | `POST promote` `{name, version, alias, expected, reason}` | `done`, `before`, `now`: the alias's versions |
//! | `POST rollback` `{name, as_of, reason, plan}` | `position`, `changes[{what, from, to}]`, `done` |
//! | `GET audit` | `head` |
//! | `GET audit?head=` | `verdict` (`unchanged`, `behind`, `other_store`, `changed`) and its fields |
//! | `GET audit/events` | `events[{position, index, time_ms, actor, event, hash}]` |

use runlode::audit::{Head, Verdict};
use runlode::mlflow::{ApiError, ApiResult};
use runlode::{LocalStore, Store};
use serde_json::{Value, json};

use super::at::as_of;
use super::json::JsonWriter;
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn promote(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.object()?;
    let (name, version) = (fields.required("name")?, fields.required_int("version")?.to_string());
    let alias = fields.required("alias")?;
    let expected = match fields.int("expected")? {
        None => None,
        Some(version) => Some(u64::try_from(version).map_err(|_| {
            ApiError::invalid(format!("'{version}' is no version: `expected` is a version, or 0 for an alias not set"))
        })?),
    };
    let done = door.mlflow.promote(name, &version, alias, expected, fields.text("reason")?)?;
    Answer::json(&json!({ "done": done.met, "before": done.before, "now": done.now }))
}

pub(super) fn rollback(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.object()?;
    let Some(to) = as_of(&fields)? else {
        return Err(ApiError::invalid(
            "Give `as_of`: the position or time whose aliases and stages the model gets back.",
        ));
    };
    let plan = fields.truth("plan")?.unwrap_or(false);
    let done = door.mlflow.roll_back(fields.required("name")?, to, fields.text("reason")?, plan)?;
    let changes = done.changes.iter();
    let changes: Vec<Value> =
        changes.map(|change| json!({ "what": change.what, "from": change.from, "to": change.to })).collect();
    Answer::json(&json!({ "position": done.position, "changes": changes, "done": !plan }))
}

/// The store, to read all of its log: the process that holds it is not asked for that.
fn log_of(door: &Door) -> ApiResult<LocalStore> {
    match door.mlflow.local() {
        Ok(store) => Ok(store),
        Err(_) => Ok(Store::options(door.mlflow.status()?.folder).open_to_read()?),
    }
}

pub(super) fn audit(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let store = log_of(door)?;
    let Some(head) = fields.text("head")?.filter(|head| !head.is_empty()) else {
        return Answer::json(&json!({ "head": store.audit_head()?.to_string() }));
    };
    let head: Head = head.parse()?;
    Answer::json(&match store.audit_verify(&head)? {
        Verdict::Unchanged { events_since } => json!({ "verdict": "unchanged", "events_since": events_since }),
        Verdict::Behind { position } => json!({ "verdict": "behind", "position": position }),
        Verdict::OtherStore { store } => json!({ "verdict": "other_store", "store": hex(&store) }),
        Verdict::Changed { events, hash } => json!({ "verdict": "changed", "events": events, "hash": hex(&hash) }),
        _ => json!({ "verdict": "unknown" }),
    })
}

pub(super) fn events(door: &Door, _: &Request) -> ApiResult<Answer> {
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    out.name("events")?;
    out.begin(b"[")?;
    let mut written = Ok(());
    log_of(door)?.audit_each(|entry| {
        if written.is_ok() {
            written = out.value(&json!({
                "position": entry.position, "index": entry.index, "time_ms": entry.time_ms, "actor": entry.actor,
                "event": entry.event, "hash": hex(&entry.hash),
            }));
        }
    })?;
    written?;
    out.end(b"]")?;
    out.end(b"}")?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use runlode::{LocalStore, VersionSpec};

    use super::*;
    use crate::door::ServeOptions;

    fn ask(
        handler: fn(&Door, &Request) -> ApiResult<Answer>,
        door: &Door,
        body: &Value,
        query: &str,
    ) -> Result<Value, ApiError> {
        let fields_in_body = !body.is_null();
        let body = if fields_in_body { body.to_string().into_bytes().into() } else { Vec::new().into() };
        let request = Request { body, query: query.to_owned(), fields_in_body, ..Request::default() };
        let json = handler(door, &request)?.into_json()?.unwrap();
        Ok(serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn of_two_who_saw_the_same_version_one_moves_the_alias() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("exp")).unwrap();
        store.create_registered_model("fraud").unwrap();
        for _ in 0..3 {
            store.create_version("fraud", VersionSpec::from_source("s3://models/a")).unwrap();
        }
        let before = store.positions().published.0;
        let door = Door::new(store, ServeOptions::default());
        let body = |version: u32, expected: Value| json!({ "name": "fraud", "version": version, "alias": "champion", "expected": expected, "reason": "CR-1" });
        let head = ask(audit, &door, &Value::Null, "").unwrap()["head"].as_str().unwrap().to_owned();
        assert_eq!(
            ask(promote, &door, &body(1, json!(0)), "").unwrap(),
            json!({"done": true, "before": null, "now": 1})
        );
        assert_eq!(ask(promote, &door, &body(2, json!("1")), "").unwrap()["done"], true);
        let second = ask(promote, &door, &body(3, json!(1)), "").unwrap();
        assert_eq!(second, json!({ "done": false, "before": 2, "now": 2 }));
        assert_eq!(ask(promote, &door, &body(9, Value::Null), "").unwrap_err().status(), 404);
        assert_eq!(ask(promote, &door, &body(1, json!(-1)), "").unwrap_err().status(), 400);

        let back = |plan: bool| json!({ "name": "fraud", "as_of": before, "plan": plan });
        for plan in [true, false] {
            let done = ask(rollback, &door, &back(plan), "").unwrap();
            assert_eq!(done["changes"], json!([{ "what": "alias champion", "from": "2", "to": null }]));
            assert_eq!((&done["position"], &done["done"]), (&json!(before), &json!(!plan)));
        }
        assert_eq!(ask(rollback, &door, &json!({ "name": "fraud" }), "").unwrap_err().status(), 400);

        let verdict = ask(audit, &door, &Value::Null, &format!("head={head}")).unwrap();
        assert_eq!(verdict["verdict"], "unchanged");
        let events = ask(events, &door, &Value::Null, "").unwrap()["events"].as_array().unwrap().clone();
        assert!(events.iter().any(|event| event["event"] == "AliasSet"), "{events:?}");
        let now = ask(audit, &door, &Value::Null, "").unwrap()["head"].as_str().unwrap().to_owned();
        assert!(now.ends_with(events.last().unwrap()["hash"].as_str().unwrap()));
        assert_eq!(ask(audit, &door, &Value::Null, "head=none").unwrap_err().status(), 400);
    }
}
