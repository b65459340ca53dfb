//! MLflow's SQL store in PostgreSQL.
//!
//! - Everything is read in one read-only transaction, so that all tables are of one moment.
//! - All tables but `metrics` are copied to the stage. Points are read run by run, as they are imported, so many rows at a
//!   time: neither side keeps a result as a whole.
//! - There is no TLS: use a tunnel to a server that wants it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use postgres::{Client, NoTls, Row};
use runlode::{Point, TimestampMs};
use rusqlite::types::Value;

use super::report::{Report, without_login};
use super::source::{EachPoint, Nature, RunPoint, RunPoints, Source, TABLES_READ};
use super::stage::{self, Stage};
use super::{ImportOptions, Progress};
use crate::error::{Error, Result};

const NATURE: Nature = Nature { kind: "MLflow's PostgreSQL database", keeps_all_points: false };
/// Rows fetched at once.
const ROWS: i32 = 10_000;

/// Copies all but the points into tables.
pub(super) fn stage(url: &str, options: &ImportOptions, progress: &mut dyn FnMut(Progress)) -> Result<Source> {
    let name = without_login(url);
    // MLflow's addresses name a driver of Python: postgresql+psycopg2://.
    let plain = match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)),
        None => url.to_owned(),
    };
    let failed = |error: postgres::Error| failed(&name, &error);
    let mut client = Client::connect(&plain, NoTls).map_err(failed)?;
    client.batch_execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").map_err(failed)?;
    let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns \
               WHERE table_schema = current_schema()";
    for row in client.query(sql, &[]).map_err(failed)? {
        columns.entry(row.get(0)).or_default().insert(row.get(1));
    }
    for table in ["alembic_version", "experiments", "runs"] {
        if !columns.contains_key(table) {
            return Err(Error::usage(format!("{name} is no MLflow database: it has no table {table}")));
        }
    }
    let stage = Stage::temporary(&name)?;
    let mut found = Report::default();
    left_out(&mut client, &columns, options, &mut found).map_err(failed)?;
    stage.transaction()?;
    let staged: Vec<_> = stage::tables().filter(|(table, _)| *table != "metrics").collect();
    let total = staged.len() as u64;
    for (done, (table, names)) in staged.into_iter().enumerate() {
        progress(Progress { phase: "tables", done: done as u64, total });
        let Some(here) = columns.get(table) else { continue };
        copy(&mut client, &stage, table, &names, here, options, &name)?;
    }
    stage.commit()?;
    let metrics = columns.get("metrics").cloned().unwrap_or_default();
    let points = Metrics { client: RefCell::new(client), name: name.clone(), columns: metrics };
    let mut source = stage.finish(&name, NATURE, Some(Box::new(points)))?;
    source.found = found;
    Ok(source)
}

fn failed(name: &str, error: &postgres::Error) -> Error {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::Source(format!("{name}: {error}{cause}"))
}

/// Counts what is not imported: other tables, and other workspaces.
fn left_out(
    client: &mut Client,
    columns: &BTreeMap<String, BTreeSet<String>>,
    options: &ImportOptions,
    found: &mut Report,
) -> Result<(), postgres::Error> {
    for table in columns.keys().filter(|table| !TABLES_READ.contains(&table.as_str())) {
        let sql = format!("SELECT count(*) FROM {}", quoted(table));
        let rows: i64 = client.query_one(&sql, &[])?.get(0);
        found.leave_out(&format!("rows of table {table}"), rows.unsigned_abs());
    }
    if columns.get("experiments").is_some_and(|columns| columns.contains("workspace")) {
        let sql = "SELECT workspace::text, count(*) FROM experiments WHERE workspace <> $1 GROUP BY workspace";
        for row in client.query(sql, &[&options.workspace])? {
            let experiments: i64 = row.get(1);
            found.workspaces_left_out.insert(row.get(0), experiments.unsigned_abs());
        }
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Copies a table. Values come as texts: the stage's columns have types, and turn them back.
fn copy(
    client: &mut Client,
    stage: &Stage,
    table: &str,
    names: &[&str],
    here: &BTreeSet<String>,
    options: &ImportOptions,
    name: &str,
) -> Result<()> {
    let failed = |error: postgres::Error| failed(name, &error);
    let list: Vec<String> = names
        .iter()
        .map(|column| match here.contains(*column) {
            true => format!("{}::text", quoted(column)),
            false => "NULL::text".to_owned(),
        })
        .collect();
    let mut sql = format!("SELECT {} FROM {table}", list.join(", "));
    if here.contains("workspace") {
        sql.push_str(&format!(" WHERE workspace = '{}'", options.workspace.replace('\'', "''")));
    }
    each_row(client, &sql, &mut |row| {
        let mut values = Vec::with_capacity(names.len());
        for (at, column) in names.iter().enumerate() {
            let text: Option<String> = row.try_get(at).map_err(failed)?;
            values.push(match text {
                None => Value::Null,
                // The one column that has no type.
                Some(text) if *column == "metric_value" => text.parse().map_or(Value::Null, Value::Real),
                Some(text) => Value::Text(text),
            });
        }
        let values: Vec<&dyn rusqlite::ToSql> = values.iter().map(|value| value as &dyn rusqlite::ToSql).collect();
        stage.put(table, &values)
    })
    .map_err(|error| match error {
        Failure::Server(error) => failed(error),
        Failure::Ours(error) => error,
    })
}

enum Failure {
    Server(postgres::Error),
    Ours(Error),
}

/// Calls `each` with the rows of a query, fetched through a cursor.
fn each_row(client: &mut Client, sql: &str, each: &mut dyn FnMut(&Row) -> Result<()>) -> Result<(), Failure> {
    client.batch_execute(&format!("DECLARE runlode NO SCROLL CURSOR FOR {sql}")).map_err(Failure::Server)?;
    let fetch = format!("FETCH {ROWS} FROM runlode");
    loop {
        let rows = client.query(&fetch, &[]).map_err(Failure::Server)?;
        rows.iter().try_for_each(&mut *each).map_err(Failure::Ours)?;
        if rows.is_empty() {
            return client.batch_execute("CLOSE runlode").map_err(Failure::Server);
        }
    }
}

/// Table `metrics`, read run by run.
struct Metrics {
    client: RefCell<Client>,
    name: String,
    columns: BTreeSet<String>,
}

impl RunPoints for Metrics {
    fn read(&self, run: &str, found: &mut Report, each: &mut EachPoint<'_>) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let or =
            |column: &str, other: &str| if self.columns.contains(column) { column.to_owned() } else { other.into() };
        let (step, is_nan) = (or("step", "0::bigint"), or("is_nan", "false"));
        let run_text = run.replace('\'', "''");
        let sql = format!(
            "SELECT key::text, value::float8, timestamp::bigint, {step}, {is_nan} FROM metrics \
             WHERE run_uuid = '{run_text}' ORDER BY timestamp, step"
        );
        let failed = |error: postgres::Error| failed(&self.name, &error);
        let mut without_value = 0;
        let result = each_row(&mut self.client.borrow_mut(), &sql, &mut |row| {
            let key: &str = row.try_get(0).map_err(failed)?;
            let value: Option<f64> = row.try_get(1).map_err(failed)?;
            let time_ms: Option<i64> = row.try_get(2).map_err(failed)?;
            let step: Option<i64> = row.try_get(3).map_err(failed)?;
            let is_nan: Option<bool> = row.try_get(4).map_err(failed)?;
            let (Some(value), Some(time_ms)) = (value, time_ms) else {
                without_value += 1;
                return Ok(());
            };
            let value = if is_nan == Some(true) { f64::NAN } else { value };
            let point = Point { step: step.unwrap_or(0), time: TimestampMs(time_ms), value };
            each(&RunPoint { key, point, dataset: None })
        });
        found.skip("points without a value or time", without_value);
        result.map_err(|error| match error {
            Failure::Server(error) => failed(error),
            Failure::Ours(error) => error,
        })
    }
}
