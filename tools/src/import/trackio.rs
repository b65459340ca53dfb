//! Databases of trackio: one SQLite file for each project.
//!
//! ```text
//!  configs        run_id, run_name, config (JSON), created_at          -> params
//!  metrics        run_id, run_name, step, timestamp, metrics (JSON)    -> points
//!  system_metrics run_id, timestamp, metrics (JSON)                    -> points of metrics system/...
//! ```
//!
//! Numbers of nested objects are metrics, their keys joined by dots. Texts, media and tables among the metrics are counted,
//! as are rows of the other tables. Numbers that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use runlode::{Point, TAG_RUN_NAME, TimestampMs};
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::{Map, Value};

use super::Progress;
use super::decode::{flatten_json, plain_key, text_or_empty, value};
use super::key::Key;
use super::report::Report;
use super::source::{EachPoint, Nature, RunPoint, RunPoints, Source, read_failed};
use super::stage::Stage;
use crate::error::{Error, Result};

const NATURE: Nature = Nature { kind: "a database of trackio", keeps_all_points: true };
/// First number of experiments that is drawn rather than counted.
const DRAWN_FROM: u64 = 100_000_000_000_000_000;
/// Tables whose rows are counted.
const LEFT_OUT: &[&str] = &["alerts", "traces", "artifact_versions"];

fn open(path: &Path) -> Result<Connection> {
    let cannot = |error| Error::Source(format!("cannot read {}: {error}", path.display()));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(cannot)?;
    connection.busy_timeout(Duration::from_secs(30)).map_err(cannot)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = FILE; BEGIN").map_err(cannot)?;
    Ok(connection)
}

/// Whether a table has a column.
fn has(connection: &Connection, table: &str, column: &str) -> bool {
    let sql = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
    connection.query_row(sql, [table, column], |row| row.get::<_, i64>(0)).is_ok_and(|count| count > 0)
}

/// Whether a file is such a database.
pub(super) fn is_here(path: &Path) -> bool {
    let is = |connection: Connection| has(&connection, "metrics", "metrics") && has(&connection, "configs", "config");
    path.is_file() && open(path).is_ok_and(is)
}

/// What is known of a run.
#[derive(Default)]
struct Run {
    name: String,
    user: String,
    group: String,
    start_ms: Option<i64>,
    end_ms: i64,
    params: BTreeMap<String, String>,
}

impl Run {
    fn sees(&mut self, time_ms: i64) {
        self.start_ms = Some(self.start_ms.map_or(time_ms, |start| start.min(time_ms)));
        self.end_ms = self.end_ms.max(time_ms);
    }
}

/// Brings all but the points into tables.
pub(super) fn stage(path: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Source> {
    progress(Progress { phase: "runs", done: 0, total: 0 });
    let connection = open(path)?;
    if !has(&connection, "metrics", "metrics") || !has(&connection, "configs", "config") {
        return Err(Error::usage(format!("{} is no database of trackio", path.display())));
    }
    let mut found = Report::default();
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    each(&connection, "SELECT run_id, run_name, config, created_at FROM configs", &[], &mut |row| {
        let run = runs.entry(text_or_empty(row, 0)?).or_default();
        run.name = text_or_empty(row, 1)?;
        if let Some(time_ms) = time_ms(&text_or_empty(row, 3)?) {
            run.sees(time_ms);
        }
        for (key, value) in object(row, 2)?.unwrap_or_default() {
            let text = || value.as_str().unwrap_or_default().to_owned();
            match key.as_str() {
                "_Username" => run.user = text(),
                "_Group" => run.group = text(),
                key if key.starts_with('_') => {}
                key => flatten_json(&plain_key(key), &value, &mut run.params),
            }
        }
        Ok(())
    })?;
    let sql = "SELECT run_id, max(run_name), min(timestamp), max(timestamp) FROM metrics GROUP BY run_id";
    each(&connection, sql, &[], &mut |row| {
        let run = runs.entry(text_or_empty(row, 0)?).or_default();
        if run.name.is_empty() {
            run.name = text_or_empty(row, 1)?;
        }
        for column in [2, 3] {
            if let Some(time_ms) = time_ms(&text_or_empty(row, column)?) {
                run.sees(time_ms);
            }
        }
        Ok(())
    })?;
    for table in LEFT_OUT.iter().filter(|table| has(&connection, table, "run_id") || has(&connection, table, "id")) {
        let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        found.leave_out(table, count.map_err(|error| read_failed(&error))?.unsigned_abs());
    }
    drop(connection);

    let project = path.file_stem().map_or_else(|| "trackio".to_owned(), |name| name.to_string_lossy().into_owned());
    let stage = Stage::temporary(&path.display().to_string())?;
    stage.transaction()?;
    let number = DRAWN_FROM + Key::new("trackio-project").text(&project).fold() % DRAWN_FROM;
    let number = number.cast_signed();
    let created_ms = runs.values().filter_map(|run| run.start_ms).min();
    stage.put("experiments", &[&number, &project, &"", &"active", &created_ms, &created_ms])?;
    for (id, run) in &runs {
        let (start, end) = (run.start_ms.unwrap_or(0), run.end_ms);
        stage.put("runs", &[id, &run.name, &run.user, &"FINISHED", &start, &end, &"active", &"", &number, &Null])?;
        stage.put("tags", &[id, &TAG_RUN_NAME, &run.name])?;
        if !run.group.is_empty() {
            stage.put("tags", &[id, &"trackio.group", &run.group])?;
        }
        for (key, value) in &run.params {
            stage.put("params", &[id, key, value])?;
        }
    }
    stage.commit()?;
    let rows = Box::new(TrackioPoints { path: path.to_owned() });
    let mut source = stage.finish(&path.display().to_string(), NATURE, Some(rows))?;
    source.found = found;
    Ok(source)
}

/// Calls `each` with the rows of a query.
fn each(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
    each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare(sql).map_err(|error| read_failed(&error))?;
    let mut rows = statement.query(values).map_err(|error| read_failed(&error))?;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        each(row)?;
    }
    Ok(())
}

/// A JSON object in a column, which trackio writes as text or as bytes.
fn object(row: &Row<'_>, column: usize) -> Result<Option<Map<String, Value>>> {
    let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = value(row, column)? else { return Ok(None) };
    Ok(match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    })
}

fn time_ms(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(is) => Some(f64::from(u8::from(*is))),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Calls `put` for a number, or for each number of an object, nested keys joined by dots as W&B joins them. An object with
/// a `_type` is media or a table. Returns how many values are no numbers.
fn each_number(key: &str, of: &Value, put: &mut dyn FnMut(&str, f64) -> Result<()>) -> Result<u64> {
    match of {
        Value::Object(fields) if !fields.is_empty() && !fields.contains_key("_type") => {
            let mut others = 0;
            for (name, value) in fields {
                others += each_number(&format!("{key}.{}", plain_key(name)), value, put)?;
            }
            Ok(others)
        }
        value => match number(value) {
            Some(value) => put(key, value).map(|()| 0),
            None => Ok(1),
        },
    }
}

struct TrackioPoints {
    path: PathBuf,
}

impl RunPoints for TrackioPoints {
    fn read(&self, run: &str, found: &mut Report, put: &mut EachPoint<'_>) -> Result<()> {
        let connection = open(&self.path)?;
        let (mut others, mut unreadable, mut measured) = (0, 0, 0);
        let mut row = |row: &Row<'_>, prefix: &str, step: i64| -> Result<()> {
            let (Some(fields), Some(time_ms)) = (object(row, 0)?, time_ms(&text_or_empty(row, 1)?)) else {
                unreadable += 1;
                return Ok(());
            };
            for (key, value) in &fields {
                others += each_number(&format!("{prefix}{}", plain_key(key)), value, &mut |key, value| {
                    let point = Point { step, time: TimestampMs(time_ms), value };
                    put(&RunPoint { key, point, dataset: None })
                })?;
            }
            Ok(())
        };
        let sql = "SELECT metrics, timestamp, step FROM metrics WHERE run_id = ?1 ORDER BY id";
        each(&connection, sql, &[&run], &mut |of| {
            let step = super::decode::integer(of, 2)?.unwrap_or(0);
            row(of, "", step)
        })?;
        if has(&connection, "system_metrics", "run_id") {
            let sql = "SELECT metrics, timestamp FROM system_metrics WHERE run_id = ?1 ORDER BY id";
            each(&connection, sql, &[&run], &mut |of| {
                row(of, "system/", measured)?;
                measured += 1;
                Ok(())
            })?;
        }
        found.leave_out("texts, media and tables among metrics", others);
        found.skip("rows of metrics that make no sense", unreadable);
        Ok(())
    }
}
