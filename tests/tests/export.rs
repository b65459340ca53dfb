//! Exports of real runs, read by the tools that people read them with; and exports that are killed.
//!
//! The database that MLflow wrote is imported, exported in each form, and read by MLflow's client, DuckDB and
//! TensorBoard (`tests/python/exports.py`); without them, the database is imported again.
//!
//! Exports are killed with SIGKILL at random moments until one is complete: it must be what an export is that nobody
//! cut. The child is this test binary itself. `RUNLODE_EXPORT_KILLS` sets how often each is killed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runlode::engine::event::RunStatus;
use runlode::{HistoryQuery, LocalStore, RunSpec};
use runlode_cli::import::{ImportOptions, import_sqlite};
use runlode_engine::storage::sim::SimRng;
use runlode_export::{Options, Report, Target, export};
use runlode_tests::{knob, python};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

fn write(store: &LocalStore, target: &Target) -> Report {
    export(store, target, &Options::default(), &mut |_| {}).unwrap()
}

fn imported(dir: &Path, database: &Path) -> LocalStore {
    let store = LocalStore::options(dir).default_experiment(false).open().unwrap();
    import_sqlite(database, &store, &ImportOptions::default(), &mut |_| {}).unwrap();
    store
}

/// Everything but what an import makes anew: entities with their points, as text.
fn facts(store: &LocalStore) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let mut out = Vec::new();
    for (id, state) in snapshot.experiments().unwrap() {
        let times = (state.creation_time_ms, state.last_update_time_ms);
        let tags: Vec<_> = state.tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key)).collect();
        out.push(format!("experiment {id} {:?} {:?} {times:?} {tags:?}", state.name, state.lifecycle));
        for id in snapshot.runs_of(id).unwrap() {
            let run = snapshot.run(id).unwrap().unwrap();
            let lifecycle = snapshot.lifecycle(&run).unwrap();
            let times = (run.start_time_ms, run.end_time_ms);
            out.push(format!("run {id} {:?} {:?} {lifecycle:?} {times:?} {}", run.name, run.status, run.user_id));
            out.push(format!("  {:?} {:?}", run.params, run.tags));
            out.push(format!("  {:?} {:?} {:?}", run.datasets, run.model_inputs, run.model_outputs));
            for (key, stats) in snapshot.latest(id).unwrap() {
                let points = snapshot.history(id, &key, &HistoryQuery::default()).unwrap().columns;
                let bits: Vec<u64> = points.values.iter().map(|value| value.to_bits()).collect();
                out.push(format!("  {key} {} {:?} {:?} {bits:?}", stats.count_raw, points.steps, points.times));
            }
        }
        for (id, model) in snapshot.logged_models_of(id).unwrap() {
            let times = (model.creation_time_ms, model.last_updated_time_ms);
            out.push(format!("logged model {id} {:?} {:?} {times:?}", model.name, model.status));
            out.push(format!("  {:?} {:?} {:?}", model.params, model.tags, model.metric_series));
        }
    }
    for (id, model) in snapshot.registered_models().unwrap() {
        let tags: Vec<_> = model.tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key)).collect();
        out.push(format!("model {:?} {:?} {tags:?} {:?}", model.name, model.description, model.aliases));
        for number in 1..=model.version_last {
            let version = snapshot.model_version(id, number).unwrap().unwrap();
            let times = (version.creation_time_ms, version.last_updated_time_ms);
            out.push(format!("  {number} {:?} {times:?} {:?} {:?}", version.stage, version.source, version.run_id));
            out.push(format!("    {:?} {:?} {:?}", version.tags, version.description, version.deleted));
        }
    }
    out
}

/// Others may write to the folder that a target is in.
#[test]
fn no_link_is_followed_where_an_export_is_built() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = LocalStore::open(at("store")).unwrap();
    let experiment = store.get_or_create_experiment("e").unwrap();
    store.create_run(experiment, RunSpec::named("r")).unwrap().log_metrics(1, &[("loss", 0.5)]).unwrap();
    std::fs::create_dir_all(at("theirs/empty")).unwrap();
    std::fs::write(at("theirs/precious"), "p").unwrap();
    std::fs::write(at("theirs/empty.db"), "").unwrap();
    symlink(at("theirs/empty"), at(".out.unfinished")).unwrap();
    symlink(at("theirs/empty.db"), at(".back.db.unfinished")).unwrap();
    let try_to = |target: &Target| export(&store, target, &Options::default(), &mut |_| {});
    let targets = [Target::Parquet(at("out")), Target::TensorBoard(at("out")), Target::Sqlite(at("back.db"))];
    for target in &targets {
        let refused = try_to(target).unwrap_err().to_string();
        assert!(refused.contains("is a link"), "{target}: {refused}");
    }
    assert_eq!(std::fs::read_dir(at("theirs/empty")).unwrap().count(), 0);
    assert_eq!(std::fs::metadata(at("theirs/empty.db")).unwrap().len(), 0);
    std::fs::remove_file(at(".out.unfinished")).unwrap();
    // What an export writes first.
    std::fs::create_dir(at(".out.unfinished")).unwrap();
    symlink(at("theirs/precious"), at(".out.unfinished/runlode-export.json.new")).unwrap();
    try_to(&targets[0]).unwrap();
    assert!(at("out/runlode-export.json").is_file());
    assert_eq!(std::fs::read_to_string(at("theirs/precious")).unwrap(), "p");
}

#[test]
fn what_mlflow_wrote_comes_back() {
    let dir = TempDir::new().unwrap();
    let store = imported(&dir.path().join("store"), &data().join("mlflow.db"));
    store.engine().seal().unwrap();
    let (back, tables, logs) = (dir.path().join("back.db"), dir.path().join("tables"), dir.path().join("logs"));
    let report = write(&store, &Target::Sqlite(back.clone()));
    assert_eq!((report.written.runs, report.written.points, report.written.logged_models), (25, 35_014, 6));
    assert_eq!((report.written.model_versions, report.written.aliases), (6, 2));
    let report = write(&store, &Target::Parquet(tables.clone()));
    assert_eq!((report.written.runs, report.written.points, report.lost.len()), (25, 35_014, 0), "{report:?}");
    write(&store, &Target::TensorBoard(logs.clone()));

    let again = imported(&dir.path().join("again"), &back);
    let (wanted, found) = (facts(&store), facts(&again));
    assert!(wanted.len() > 100);
    if let Some(difference) = runlode_tests::difference(&wanted, &found) {
        panic!("{}", difference.chars().take(4000).collect::<String>());
    }

    if python::is_left_out() {
        println!("not read by MLflow, DuckDB and TensorBoard: RUNLODE_WITHOUT_MLFLOW is 1");
        return;
    }
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = python::environment(&suite).unwrap_or_else(|why| panic!("{why}"));
    let mut command = Command::new(python);
    command.arg(suite.join("exports.py")).arg(data()).args([&back, &tables, &logs]);
    let output = command.current_dir(dir.path()).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("ok\n"), "{text}");
}

// ---- kill -9 --------------------------------------------------------------------------------------------------------

const STORE: &str = "RUNLODE_EXPORT_STORE";
const TARGET: &str = "RUNLODE_EXPORT_TARGET";

fn small_parts() -> Options {
    Options::default().part_points(10_000)
}

fn open_to_read(path: &Path) -> LocalStore {
    LocalStore::options(path).read_only(true).open().unwrap()
}

/// Exports, until it is killed.
#[test]
fn child() {
    let (Ok(store), Ok(target)) = (std::env::var(STORE), std::env::var(TARGET)) else { return };
    let target: Target = target.parse().unwrap();
    export(&open_to_read(Path::new(&store)), &target, &small_parts(), &mut |_| {}).unwrap();
}

/// Files below a folder with their bytes; the manifest counts how it was made, so only its end counts.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn below(root: &Path, folder: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(root, &path, out);
            } else {
                out.insert(path.strip_prefix(root).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    below(root, root, &mut out);
    out
}

/// All rows of a database, sorted.
fn rows(path: &Path) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(path).unwrap();
    let mut tables = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let rows = |name: &String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>| {
            let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|at| row.get(at)).collect();
            values.map(|values| format!("{values:?}"))
        };
        let mut rows: Vec<String> = statement.query_map([], text).unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    names.iter().map(|name| (name.clone(), rows(name))).collect()
}

#[test]
fn killed_exports_are_completed_by_running_them_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    let experiment = store.create_experiment("digits").unwrap();
    for number in 0..24 {
        let run = store.create_run(experiment, RunSpec::named(format!("trial-{number}")).tag("kind", "x")).unwrap();
        run.log_params(&[("lr", "0.1")]).unwrap();
        for step in 0..1_000 {
            let value = f64::from(step * (number + 1)).sin();
            run.log_metrics(step.into(), &[("loss", value), ("acc", -value), ("noise", value / 3.0), ("lr", 0.1)])
                .unwrap();
        }
        run.end(RunStatus::Finished).unwrap();
    }
    store.close().unwrap();

    let kills = knob("RUNLODE_EXPORT_KILLS", 8);
    let mut rng = SimRng::new(42);
    for name in ["parquet:", "sqlite:///", "tensorboard:"] {
        let place = |which: &str| format!("{name}{}", dir.path().join(format!("{which}-{}", &name[..6])).display());
        let whole: Target = place("whole").parse().unwrap();
        let begun = Instant::now();
        export(&open_to_read(&path), &whole, &small_parts(), &mut |_| {}).unwrap();
        let whole_ms = begun.elapsed().as_millis() as u64 + 20;

        let cut = place("cut");
        let run = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["child", "--exact", "--nocapture"]).env(STORE, &path).env(TARGET, &cut);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let target: Target = cut.parse().unwrap();
        let mut killed = 0;
        while killed < kills && !target.path().exists() {
            let mut child = run();
            std::thread::sleep(Duration::from_millis(rng.below(whole_ms)));
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
        }
        let output = run().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report = export(&open_to_read(&path), &target, &small_parts(), &mut |_| {}).unwrap();
        assert!(report.unchanged, "{name} {killed}: {report:?}");
        assert_eq!((report.written.runs, report.written.points), (24, 96_000), "{name}");

        if name == "sqlite:///" {
            let (mut wanted, mut found) = (rows(whole.path()), rows(target.path()));
            // The change counter is that of the file.
            wanted.remove("runlode_export");
            found.remove("runlode_export");
            assert!(wanted == found, "{name}: other rows after {killed} kills");
        } else {
            let (wanted, found) = (files(whole.path()), files(target.path()));
            assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{name}");
            for (file, bytes) in &wanted {
                assert!(found[file] == *bytes, "{name}: {} differs after {killed} kills", file.display());
            }
        }
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("unfinished")), "{left:?}");
    }
}
