//! Parquet exports, read back: every point bit for bit, in the promised order, at any position, of any part.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs::File;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use runlode::engine::event::RunStatus;
use runlode::{
    AsOf, Batch, Durability, HistoryQuery, LocalStore, Lsn, MetricContext, Point, RunId, RunSpec, TimestampMs,
};
use runlode_export::{Error, Only, Options, Report, Target, export};
use tempfile::TempDir;

/// Run, key, live, branch, step, time, bits, position, model.
type Row = (String, String, bool, i32, i64, i64, u64, i64, Option<String>);

fn batches(folder: &Path, table: &str) -> Vec<RecordBatch> {
    let mut names: Vec<_> = std::fs::read_dir(folder.join(table)).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let read = |path| ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    names.iter().flat_map(read).map(Result::unwrap).collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let array = batch.column_by_name(column).unwrap();
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
        let values = dictionary.values().as_string::<i32>();
        return dictionary.keys().iter().map(|key| key.map(|key| values.value(key as usize).to_owned())).collect();
    }
    array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn points(folder: &Path) -> Vec<Row> {
    let mut out = Vec::new();
    for batch in batches(folder, "points") {
        let (runs, keys, models) = (texts(&batch, "run_id"), texts(&batch, "key"), texts(&batch, "model_id"));
        let live = batch.column_by_name("live").unwrap().as_boolean();
        let branches = batch.column_by_name("branch").unwrap().as_primitive::<Int32Type>();
        let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
        let (steps, times) = (numbers(&batch, "step"), numbers(&batch, "timestamp_ms"));
        let positions = numbers(&batch, "position");
        for at in 0..batch.num_rows() {
            out.push((
                runs[at].clone().unwrap(),
                keys[at].clone().unwrap(),
                live.value(at),
                branches.value(at),
                steps[at],
                times[at],
                values.value(at).to_bits(),
                positions[at],
                models[at].clone(),
            ));
        }
    }
    out
}

fn write(store: &LocalStore, folder: &Path, options: &Options) -> Report {
    export(store, &Target::Parquet(folder.into()), options, &mut |_| {}).unwrap()
}

fn log(store: &LocalStore, run: RunId, key: &str, points: &[(i64, i64, f64)]) -> Lsn {
    let mut batch = Batch::new();
    for (step, time_ms, value) in points {
        batch.push_metric(run, key, Point { step: *step, time: TimestampMs(*time_ms), value: *value }, None);
    }
    store.append(batch, Durability::Buffered).unwrap().lsn
}

/// A store with everything that makes points awkward; the second run was rewound.
fn awkward(dir: &Path) -> (LocalStore, RunId, RunId) {
    let store = LocalStore::open(dir).unwrap();
    let digits = store.create_experiment("digits").unwrap();
    let first = store.create_run(digits, RunSpec::named("first").tag("kind", "x")).unwrap();
    let run = first.id();
    first.log_params(&[("lr", "0.1")]).unwrap();
    // Steps that go back, and come twice; values that no number compares with.
    log(&store, run, "loss", &[(5, 10, 1.0), (6, 11, f64::NAN), (3, 12, 2.0), (5, 13, -0.0), (5, 13, -0.0)]);
    log(&store, run, "loss", &[(i64::MIN, 14, f64::INFINITY), (i64::MAX, 9, f64::NEG_INFINITY)]);
    log(&store, run, "a/b c", &(0..700).map(|step| (step, 1_000 + step, step as f64)).collect::<Vec<_>>());
    log(&store, run, "back", &(0..700).map(|at| (700 - at, 1_000 + at, at as f64)).collect::<Vec<_>>());
    let model = "m-00000000000000000000000000000001".to_owned();
    let of = |model: &str| MetricContext { model_id: Some(model.to_owned()), ..MetricContext::default() };
    let point = Point { step: 1, time: TimestampMs(5), value: 0.5 };
    let mut batch = Batch::new();
    batch.push_metric(run, "acc", point, Some(of(&model)));
    batch.push_metric(run, "acc", Point { step: 2, ..point }, None);
    store.append(batch, Durability::Buffered).unwrap();

    let second = store.create_run(digits, RunSpec::named("second")).unwrap().id();
    log(&store, second, "loss", &(0..10).map(|step| (step, step, step as f64)).collect::<Vec<_>>());
    store.rewind_run(second, 5).unwrap();
    log(&store, second, "loss", &(6..9).map(|step| (step, 100 + step, -step as f64)).collect::<Vec<_>>());
    store.rewind_run(second, 7).unwrap();
    log(&store, second, "loss", &[(8, 200, 0.25)]);
    (store, run, second)
}

/// What the store itself says, in the order of the table.
fn wanted(store: &LocalStore, runs: &[RunId]) -> Vec<(String, String, i64, i64, u64)> {
    let snapshot = store.snapshot().unwrap();
    let mut out = Vec::new();
    for run in runs {
        for (key, _) in snapshot.latest(*run).unwrap() {
            let columns = snapshot.history(*run, &key, &HistoryQuery::default()).unwrap().columns;
            let mut points: Vec<Point> = (0..columns.len()).map(|at| columns.point(at)).collect();
            points.sort_by(|a, b| a.latest_order(b));
            out.extend(points.iter().map(|p| (run.to_string(), key.to_string(), p.step, p.time.0, p.value.to_bits())));
        }
    }
    out
}

fn live(rows: &[Row]) -> Vec<(String, String, i64, i64, u64)> {
    let row = |row: &Row| (row.0.clone(), row.1.clone(), row.4, row.5, row.6);
    rows.iter().filter(|row| row.2).map(row).collect()
}

#[test]
fn every_point_comes_back_bit_for_bit_and_in_order() {
    let dir = TempDir::new().unwrap();
    let (store, first, second) = awkward(&dir.path().join("store"));
    let mut runs = [first, second];
    runs.sort();
    for sealed in [false, true] {
        if sealed {
            store.engine().seal().unwrap();
        }
        for part_points in [7, 100, 1 << 20] {
            let out = dir.path().join(format!("out-{sealed}-{part_points}"));
            let report = write(&store, &out, &Options::default().part_points(part_points).threads(3));
            let rows = points(&out);
            assert_eq!(live(&rows), wanted(&store, &runs), "{sealed} {part_points}");
            assert_eq!(report.written.points, rows.len() as u64);

            // Points 6..9 of branch 0 and 8 of branch 1 are in no curve that is shown.
            let dead: Vec<_> = rows.iter().filter(|row| !row.2).map(|row| (row.3, row.4)).collect();
            assert_eq!(dead, [(0, 6), (0, 7), (0, 8), (0, 9), (1, 8)]);
            let branches: Vec<_> =
                rows.iter().filter(|row| row.2 && row.0 == second.to_string()).map(|row| (row.3, row.4)).collect();
            let shown = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (2, 8)];
            assert_eq!(branches, shown);
            let models: Vec<_> = rows.iter().filter(|row| row.1 == "acc").map(|row| row.8.is_some()).collect();
            assert_eq!(models, [true, false]);
        }
    }
}

#[test]
fn row_groups_tell_readers_what_to_skip() {
    let dir = TempDir::new().unwrap();
    let (store, first, _) = awkward(&dir.path().join("store"));
    let out = dir.path().join("out");
    write(&store, &out, &Options::default().part_points(100));
    let mut groups = 0;
    for entry in std::fs::read_dir(out.join("points")).unwrap() {
        let reader = SerializedFileReader::new(File::open(entry.unwrap().path()).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            for (column, name) in [(0, "run_id"), (1, "key"), (2, "step"), (3, "timestamp_ms")] {
                let statistics = group.column(column).statistics().unwrap();
                assert!(statistics.min_bytes_opt().is_some() && statistics.max_bytes_opt().is_some(), "{name}");
                assert_eq!(statistics.null_count_opt().unwrap_or(0), 0, "{name}");
            }
            assert!(group.num_rows() <= 100);
            groups += 1;
        }
    }
    assert!(groups > 10, "{groups}");
    let _ = first;
}

#[test]
fn a_past_position_is_exported_as_it_was() {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let digits = store.create_experiment("digits").unwrap();
    let run = store.create_run(digits, RunSpec::named("first")).unwrap();
    run.set_tags(&[("kind", "old")]).unwrap();
    log(&store, run.id(), "loss", &[(0, 0, 1.0), (1, 1, 2.0), (2, 2, 3.0)]);
    let then = store.snapshot().unwrap().position();
    run.set_tags(&[("kind", "new")]).unwrap();
    store.rewind_run(run.id(), 0).unwrap();
    log(&store, run.id(), "loss", &[(1, 3, 4.0)]);
    store.create_run(digits, RunSpec::named("later")).unwrap();
    store.create_registered_model("fraud").unwrap();

    for sealed in [false, true] {
        let out = dir.path().join(format!("then-{sealed}"));
        let report = write(&store, &out, &Options::default().until(AsOf::Position(then)));
        assert_eq!((report.position, report.written.runs, report.written.points), (then.0, 1, 3));
        assert_eq!(report.written.registered_models, 0);
        assert!(report.store_position > report.position);
        let values: Vec<_> = points(&out).iter().map(|row| (row.2, f64::from_bits(row.6))).collect();
        assert_eq!(values, [(true, 1.0), (true, 2.0), (true, 3.0)]);
        let events: Vec<_> = batches(&out, "events").iter().flat_map(|batch| numbers(batch, "position")).collect();
        assert!(!events.is_empty() && events.iter().all(|position| *position <= then.0 as i64), "{events:?}");
        store.engine().seal().unwrap();
    }
    let now = dir.path().join("now");
    assert_eq!(write(&store, &now, &Options::default()).written.registered_models, 1);
    let values: Vec<_> = points(&now).iter().map(|row| (row.2, f64::from_bits(row.6))).collect();
    assert_eq!(values, [(true, 1.0), (true, 4.0), (false, 2.0), (false, 3.0)]);
}

#[test]
fn a_complete_target_is_left_alone_and_an_older_one_is_replaced() {
    let dir = TempDir::new().unwrap();
    let (store, first, _) = awkward(&dir.path().join("store"));
    let out = dir.path().join("out");
    let report = write(&store, &out, &Options::default());
    assert!(!report.unchanged && !report.resumed);
    let made = std::fs::metadata(out.join("points/part-00001.parquet")).unwrap().modified().unwrap();
    let again = write(&store, &out, &Options::default());
    assert!(again.unchanged && again.written == report.written);
    let still = std::fs::metadata(out.join("points/part-00001.parquet")).unwrap().modified().unwrap();
    assert_eq!(made, still);

    log(&store, first, "new", &[(0, 0, 1.0)]);
    let newer = write(&store, &out, &Options::default());
    assert!(!newer.unchanged && newer.position > report.position);
    assert_eq!(newer.written.points, report.written.points + 1);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_no_export_wrote_is_refused() {
    let dir = TempDir::new().unwrap();
    let (store, ..) = awkward(&dir.path().join("store"));
    let refused = |store: &LocalStore, target: Target| match export(store, &target, &Options::default(), &mut |_| {}) {
        Err(Error::Target(text)) => text,
        other => panic!("{other:?}"),
    };
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.tex"), "x").unwrap();
    let text = refused(&store, Target::Parquet(foreign.clone()));
    assert!(text.contains("no export wrote"), "{text}");
    refused(&store, Target::TensorBoard(foreign.clone()));
    refused(&store, Target::Sqlite(foreign.join("thesis.tex")));
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);

    let out = dir.path().join("out");
    write(&store, &out, &Options::default());
    let text = refused(&store, Target::TensorBoard(out.clone()));
    assert!(text.contains("an export to parquet"), "{text}");
    let other = LocalStore::open(dir.path().join("other")).unwrap();
    let text = refused(&other, Target::Parquet(out));
    assert!(text.contains("another store"), "{text}");

    let database = dir.path().join("back.db");
    export(&store, &Target::Sqlite(database.clone()), &Options::default(), &mut |_| {}).unwrap();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute("UPDATE runs SET name = 'mine'", []).unwrap();
    connection.close().unwrap();
    let text = refused(&store, Target::Sqlite(database));
    assert!(text.contains("was changed since"), "{text}");
}

#[test]
fn an_export_that_was_killed_at_its_first_write_is_done_again() {
    let dir = TempDir::new().unwrap();
    let (store, ..) = awkward(&dir.path().join("store"));
    let work = dir.path().join(".out.unfinished");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("runlode-export.json.new"), "{").unwrap();
    let out = dir.path().join("out");
    write(&store, &out, &Options::default());
    assert!(!out.join("runlode-export.json.new").exists() && !work.exists());
}

#[test]
fn only_one_export_writes_to_a_place() {
    let dir = TempDir::new().unwrap();
    let (store, ..) = awkward(&dir.path().join("store"));
    let refused = |target: Target| match export(&store, &target, &Options::default(), &mut |_| {}) {
        Err(Error::Target(text)) => assert!(text.contains("another export is writing"), "{text}"),
        other => panic!("{other:?}"),
    };
    let work = dir.path().join(".out.unfinished");
    std::fs::create_dir(&work).unwrap();
    let lock = File::open(&work).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    refused(Target::Parquet(dir.path().join("out")));
    refused(Target::TensorBoard(dir.path().join("out")));
    drop(lock);
    write(&store, &dir.path().join("out"), &Options::default());

    let other = rusqlite::Connection::open(dir.path().join(".back.db.unfinished")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    refused(Target::Sqlite(dir.path().join("back.db")));
    other.execute_batch("ROLLBACK").unwrap();
    other.close().unwrap();
    export(&store, &Target::Sqlite(dir.path().join("back.db")), &Options::default(), &mut |_| {}).unwrap();
}

#[test]
fn parts_of_a_store_take_what_they_refer_to() {
    let dir = TempDir::new().unwrap();
    let (store, first, second) = awkward(&dir.path().join("store"));
    let other = store.create_experiment("other").unwrap();
    let third = store.create_run(other, RunSpec::named("third")).unwrap();
    third.log_metrics(0, &[("loss", 1.0)]).unwrap();
    third.end(RunStatus::Finished).unwrap();
    store.create_registered_model("fraud").unwrap();
    store.create_registered_model("spam").unwrap();
    store.create_version("fraud", runlode::VersionSpec::from_source("s3://bucket/model").run(third.id())).unwrap();

    let counts = |name: &str, only: &[Only]| {
        let options = only.iter().cloned().fold(Options::default(), Options::only);
        let out = dir.path().join(name);
        let written = write(&store, &out, &options).written;
        let mut runs: Vec<String> = points(&out).into_iter().map(|row| row.0).collect();
        runs.dedup();
        (written.experiments, written.runs, written.registered_models, runs)
    };
    let ids = |runs: &[RunId]| {
        let mut runs: Vec<String> = runs.iter().map(ToString::to_string).collect();
        runs.sort();
        runs
    };
    assert_eq!(counts("a", &[Only::Experiment("digits".into())]), (1, 2, 0, ids(&[first, second])));
    assert_eq!(counts("b", &[Only::Run(second)]), (1, 1, 0, ids(&[second])));
    assert_eq!(counts("c", &[Only::RegisteredModel("fraud".into())]), (1, 1, 1, ids(&[third.id()])));
    let both = [Only::Run(first), Only::Experiment("other".into())];
    assert_eq!(counts("d", &both), (2, 2, 0, ids(&[first, third.id()])));
    let absent = Options::default().only(Only::Experiment("none".into()));
    let error = export(&store, &Target::Parquet(dir.path().join("e")), &absent, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, Error::Absent(text) if text.contains("`none`")), "{error}");
}

#[test]
fn the_history_has_each_event_once() {
    let dir = TempDir::new().unwrap();
    let (store, first, _) = awkward(&dir.path().join("store"));
    let run = store.run(first).unwrap();
    run.set_tags(&[("kind", "y")]).unwrap();
    store.create_registered_model("fraud").unwrap();
    store.create_version("fraud", runlode::VersionSpec::from_source("x")).unwrap();
    store.set_alias("fraud", "champion", 1).unwrap();
    store.delete_registered_model("fraud").unwrap();
    let out = dir.path().join("out");
    write(&store, &out, &Options::default());
    let mut places = Vec::new();
    let mut kinds = Vec::new();
    for batch in batches(&out, "events") {
        places.extend(numbers(&batch, "position").into_iter().zip(numbers(&batch, "place")));
        kinds.extend(texts(&batch, "kind").into_iter().flatten());
    }
    let all = places.len();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), all, "an event is there twice");
    for kind in ["ExperimentCreated", "RunRewound", "AliasSet", "RegisteredModelDeleted", "ModelVersionCreated"] {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
    let mut tail = store.engine().tail(Lsn(1)).unwrap();
    let in_log: usize =
        tail.next(usize::MAX, std::time::Duration::ZERO).unwrap().iter().map(|batch| batch.events.len()).sum();
    assert_eq!(all, in_log, "an event of the log is missing: {kinds:?}");
}
