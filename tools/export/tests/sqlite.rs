//! What MLflow's tables can and cannot hold, and that the report says it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;

use runlode::{Batch, Durability, LocalStore, MetricContext, Point, RunSpec, TimestampMs};
use runlode_export::{Options, Report, Target, export};
use rusqlite::Connection;
use tempfile::TempDir;

fn write(store: &LocalStore, path: &Path) -> Report {
    export(store, &Target::Sqlite(path.into()), &Options::default(), &mut |_| {}).unwrap()
}

/// The tables and indexes, white space apart.
fn schema(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master WHERE name <> 'runlode_export'")
        .unwrap();
    let part = |row: &rusqlite::Row<'_>| {
        let texts: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok(texts.join("|"))
    };
    let normal = |text: String| text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut parts: Vec<String> = statement.query_map([], part).unwrap().map(|part| normal(part.unwrap())).collect();
    parts.sort();
    parts
}

#[test]
fn the_tables_are_those_of_a_database_that_mlflow_made() {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let back = dir.path().join("back.db");
    write(&store, &back);
    let mlflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mlflow.db");
    let (wanted, found) = (schema(&mlflow), schema(&back));
    assert!(wanted.len() > 200);
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!(wanted, found);
    }
    assert_eq!(wanted.len(), found.len());
    let version = |path: &Path| -> String {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT version_num FROM alembic_version", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(version(&mlflow), version(&back));
}

#[test]
fn the_report_counts_and_names_what_the_tables_cannot_hold() {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let digits = store.create_experiment("digits").unwrap();
    let run = store.create_run(digits, RunSpec::named("first").tag("kind", "x")).unwrap();
    run.log_params(&[("long", "x".repeat(9_000).as_str())]).unwrap();
    run.set_tags(&[("kind", "y")]).unwrap();
    let mut batch = Batch::new();
    // Of points that come at their own time, also those that repeat one are kept.
    let now_ms = store.now().0;
    let values = [f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::NAN, 1.0, 1.0];
    for (at, value) in (0..).zip(values) {
        let step = if at == 5 { 4 } else { at };
        batch.push_metric(run.id(), "loss", Point { step, time: TimestampMs(now_ms + step), value }, None);
    }
    let on = MetricContext {
        dataset_name: Some("train".into()),
        dataset_digest: Some("d".into()),
        ..MetricContext::default()
    };
    batch.push_metric(run.id(), "acc", Point { step: 0, time: TimestampMs(0), value: 0.5 }, Some(on));
    store.append(batch, Durability::Buffered).unwrap();
    let second = store.create_run(digits, RunSpec::named("second")).unwrap();
    for step in 0..5 {
        second.log_metrics(step, &[("loss", 1.0)]).unwrap();
    }
    store.rewind_run(second.id(), 1).unwrap();
    store.create_registered_model("gone").unwrap();
    store.delete_registered_model("gone").unwrap();

    let back = dir.path().join("back.db");
    let report = write(&store, &back);
    let lost = |what: &str| {
        let found = report.lost.iter().find(|(name, _)| name.starts_with(what));
        found.map(|(_, loss)| (loss.count, loss.examples.join(" "))).unwrap_or_else(|| panic!("{what}: {report:#?}"))
    };
    let id = run.id();
    assert_eq!(lost("infinities"), (2, format!("loss of run {id} at step 0 loss of run {id} at step 1")));
    assert_eq!(lost("values -0.0").0, 1);
    assert_eq!(lost("points that repeat"), (1, format!("loss of run {id} at step 4")));
    assert_eq!(lost("points of branches"), (3, format!("loss of run {}", second.id())));
    assert_eq!(lost("params over 8,000"), (1, format!("long of run {id}")));
    assert_eq!(lost("data sets of points"), (1, format!("acc of run {id} at step 0")));
    assert_eq!(lost("registered models that are deleted"), (1, "gone".to_owned()));
    assert!(lost("earlier values").0 >= 1);

    let connection = Connection::open(&back).unwrap();
    let mut statement = connection
        .prepare("SELECT value, is_nan FROM metrics WHERE key = 'loss' AND run_uuid = ?1 ORDER BY step")
        .unwrap();
    let rows: Vec<(f64, bool)> = statement
        .query_map([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows, [(f64::MAX, false), (f64::MIN, false), (0.0, false), (0.0, true), (1.0, false)]);
    let long: i64 = connection.query_row("SELECT length(value) FROM params", [], |row| row.get(0)).unwrap();
    assert_eq!(long, 9_000, "kept whole");
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let broken = connection.prepare("PRAGMA foreign_key_check").unwrap().query([]).unwrap().next().unwrap().is_some();
    assert!(!broken, "a row refers to one that is not there");
}
