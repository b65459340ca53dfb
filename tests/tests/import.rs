//! Imports real runs that MLflow wrote, and compares them with MLflow's own answers.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runlode::engine::search::{SearchQuery, View, filter};
use runlode::{EntityKey, HistoryQuery, Lifecycle, LocalRun, LocalStore, Snapshot};
use runlode_cli::import::{ImportOptions, Report, import_sqlite};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

fn open(path: &Path) -> LocalStore {
    LocalStore::options(path).default_experiment(false).open().unwrap()
}

fn import_with(database: &Path, store: &LocalStore, options: &ImportOptions) -> Report {
    import_sqlite(database, store, options, &mut |_| {}).unwrap()
}

fn import(database: &Path, store: &LocalStore) -> Report {
    import_with(database, store, &ImportOptions::default())
}

/// The shipped store, imported into a fresh folder.
fn imported() -> (TempDir, LocalStore, Report) {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&data().join("mlflow.db"), &store);
    (dir, store, report)
}

/// A copy of the shipped database, changed by some SQL.
fn changed(sql: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mlflow.db");
    std::fs::copy(data().join("mlflow.db"), &path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
    (dir, path)
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    value.as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn pairs(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// Everything that MLflow's answer says must be what the store says.
fn assert_as_expected(snapshot: &Snapshot) {
    let expected: Value = serde_json::from_slice(&std::fs::read(data().join("expected.json")).unwrap()).unwrap();
    let lifecycle = |lifecycle: Lifecycle| if lifecycle == Lifecycle::Active { "active" } else { "deleted" };

    let experiments = expected["experiments"].as_object().unwrap();
    assert_eq!(snapshot.experiments().unwrap().len(), experiments.len());
    for (id, wanted) in experiments {
        let state = snapshot.experiment(id.parse().unwrap()).unwrap().unwrap();
        assert_eq!(wanted["name"], state.name.as_str());
        assert_eq!(wanted["lifecycle"], lifecycle(state.lifecycle));
    }

    let runs = expected["runs"].as_object().unwrap();
    let mut points = 0;
    for (id, wanted) in runs {
        let id = id.parse().unwrap();
        let state = snapshot.run(id).unwrap().unwrap();
        assert_eq!(wanted["experiment_id"], state.experiment.to_string());
        assert_eq!(wanted["name"], state.name.as_str());
        let status: &str = state.status.into();
        assert_eq!(wanted["status"], status);
        assert_eq!(wanted["lifecycle"], lifecycle(snapshot.lifecycle(&state).unwrap()), "{id}");
        assert_eq!(texts(&wanted["params"]), pairs(&state.params), "{id}");
        let latest = snapshot.latest(id).unwrap();
        assert_eq!(latest.len(), wanted["metrics"].as_object().unwrap().len(), "{id}");
        for (key, stats) in &latest {
            let wanted_value: f64 = wanted["metrics"][&**key].as_str().unwrap().parse().unwrap();
            assert_eq!(stats.last_value.to_bits(), wanted_value.to_bits(), "{id} {key}");
            let length = wanted["history_lengths"][&**key].as_u64().unwrap();
            assert_eq!(snapshot.count_exact(id, key).unwrap(), length, "{id} {key}");
            let page = snapshot.history(id, key, &HistoryQuery::default()).unwrap();
            assert_eq!(page.columns.len() as u64, length, "{id} {key}");
            points += length;
        }
    }
    assert_eq!(points, expected["points"].as_u64().unwrap());
    let all: usize = snapshot.experiments().unwrap().iter().map(|(id, _)| snapshot.runs_of(*id).unwrap().len()).sum();
    assert_eq!(all, runs.len());

    let registry = expected["registry"].as_object().unwrap();
    assert_eq!(snapshot.registered_models().unwrap().len(), registry.len());
    for (name, wanted) in registry {
        let (model, state) = snapshot.registered_model(name).unwrap().unwrap();
        assert_eq!(wanted["description"].as_str(), state.description.as_deref());
        let aliases: BTreeMap<String, String> =
            state.aliases.iter().map(|(alias, version)| (alias.clone(), version.to_string())).collect();
        assert_eq!(texts(&wanted["aliases"]), aliases);
        assert_eq!(state.versions.len(), wanted["versions"].as_object().unwrap().len());
        for (version, wanted) in wanted["versions"].as_object().unwrap() {
            let state = snapshot.model_version(model, version.parse().unwrap()).unwrap().unwrap();
            let stage: &str = state.stage.into();
            assert_eq!(wanted["stage"], stage);
            assert_eq!(wanted["source"], state.source.as_str());
            assert_eq!(wanted["run_id"].as_str(), state.run_id.as_deref());
            assert_eq!(texts(&wanted["tags"]), pairs(&state.tags));
        }
    }
}

#[test]
fn what_mlflow_answers_is_what_the_store_answers() {
    let (dir, store, report) = imported();
    assert_as_expected(&store.snapshot().unwrap());
    assert_eq!(report.imported.runs, 25);
    assert_eq!(report.imported.points, 35_014);
    assert_eq!(report.imported.model_points, 12);
    assert_eq!(report.infinities, 2);
    assert_eq!(report.nan_points, 1);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert!(report.differences.is_empty(), "{:?}", report.differences);
    // The same from the disk, after sealing and after another open.
    store.engine().seal().unwrap();
    assert_as_expected(&store.snapshot().unwrap());
    store.close().unwrap();
    let store = LocalStore::options(dir.path().join("store")).read_only(true).open().unwrap();
    assert_as_expected(&store.snapshot().unwrap());
}

#[test]
fn mlflows_search_finds_the_same_runs() {
    let (_dir, store, _) = imported();
    let expected: Value = serde_json::from_slice(&std::fs::read(data().join("expected.json")).unwrap()).unwrap();
    let snapshot = store.snapshot().unwrap();
    let query = SearchQuery {
        experiments: snapshot.experiments().unwrap().into_iter().map(|(id, _)| id).collect(),
        filter: Some(filter::metric("val/acc").gt(0.9) & filter::param("lr").eq("0.1")),
        view: View::ActiveOnly,
        ..SearchQuery::new(runlode::ExperimentId(0))
    };
    let mut found: Vec<String> = snapshot.search(&query).unwrap().runs.iter().map(ToString::to_string).collect();
    let mut wanted: Vec<String> = expected["search_val_acc_gt_0.9_lr_0.1"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn artifacts_lie_where_the_store_keeps_them() {
    let (dir, store, report) = imported();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(report.imported.artifact_files, report.artifact_files_new);
    let mut noted = 0;
    for (experiment, state) in snapshot.experiments().unwrap() {
        assert_eq!(state.artifact_location, None);
        for id in snapshot.runs_of(experiment).unwrap() {
            let run = snapshot.run(id).unwrap().unwrap();
            assert_eq!(run.artifact_location, None);
            let home = dir.path().join(format!("store/artifacts/{experiment}/{id}/artifacts"));
            for (path, bytes) in &run.artifacts {
                assert_eq!(std::fs::metadata(home.join(path)).unwrap().len(), bytes.unwrap(), "{path}");
                noted += 1;
            }
        }
        for (model, state) in snapshot.logged_models_of(experiment).unwrap() {
            assert_eq!(state.artifact_location, None);
            let home = dir.path().join(format!("store/artifacts/{experiment}/models/{model}/artifacts"));
            assert!(home.join("MLmodel").is_file());
        }
    }
    assert!(noted > 0);
    // What a version says of its files is relative to the store: a moved store keeps working.
    let (model, _) = snapshot.registered_model("digits").unwrap().unwrap();
    let place = snapshot.model_version(model, 1).unwrap().unwrap().storage_location.clone().unwrap();
    assert!(!place.starts_with('/'), "{place}");
    assert!(dir.path().join("store").join(place).join("MLmodel").is_file());
}

#[test]
fn points_of_logged_models_carry_model_and_data_set() {
    let (_dir, store, _) = imported();
    let snapshot = store.snapshot().unwrap();
    let run = "49c31ae1e04742f792f6960afb2cb7e4".parse().unwrap();
    let query = HistoryQuery { columns: runlode::engine::ColumnSet::ALL, ..HistoryQuery::default() };
    let page = snapshot.history(run, "loss", &query).unwrap();
    let models: Vec<_> = (0..page.columns.len())
        .filter_map(|index| snapshot.metric_context(page.columns.context(index)))
        .filter_map(|context| context.model_id.clone())
        .collect();
    assert!(models.iter().any(|model| model == "m-60e2217458364e09b024f1a5bdfe3bdb"), "{models:?}");
}

#[test]
fn a_second_import_changes_nothing() {
    let (dir, store, _) = imported();
    let position = store.snapshot().unwrap().position();
    let report = import(&data().join("mlflow.db"), &store);
    assert_eq!((report.batches_new, report.artifact_files_new), (0, 0));
    assert_eq!(report.imported.points, 35_014);
    assert_eq!(store.snapshot().unwrap().position(), position);
    // Also in another process, and also when the points are in series files.
    store.engine().seal().unwrap();
    store.close().unwrap();
    let store = open(&dir.path().join("store"));
    let position = store.snapshot().unwrap().position();
    let report = import(&data().join("mlflow.db"), &store);
    assert_eq!(report.batches_new, 0);
    assert_eq!(store.snapshot().unwrap().position(), position);
}

#[test]
fn what_was_edited_in_the_store_stays_edited() {
    let (_dir, store, _) = imported();
    let id = "49c31ae1e04742f792f6960afb2cb7e4".parse().unwrap();
    let run: LocalRun = store.run(id).unwrap();
    run.set_tags(&[("mlflow.runName", "renamed"), ("mlflow.user", "somebody")]).unwrap();
    store.set_alias("digits", "champion", 3).unwrap();
    store.restore_run("5911133801f4422da42690a292fec66e".parse().unwrap()).unwrap();
    let before = store.snapshot().unwrap().position();
    let report = import(&data().join("mlflow.db"), &store);
    assert_eq!(report.batches_new, 0, "{report:?}");
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.position(), before);
    assert_eq!(snapshot.run(id).unwrap().unwrap().name, "renamed");
    // The database has nothing new: decisions made here are reported, and nothing is left out.
    assert_eq!(report.kept.get("values that were changed in the store since they were imported").copied(), Some(4));
    assert_eq!(report.kept.get("runs that are deleted in the database, not in the store").copied(), Some(1));
    assert!(report.complete, "{report:?}");
}

#[test]
fn an_interrupted_import_is_completed_by_running_it_again() {
    for stop in [0, 1, 2, 7, 20, 45, 60, 70] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("store");
        let options = ImportOptions { stop_after_batches: Some(stop), ..ImportOptions::default() };
        let store = open(&path);
        let stopped = import_sqlite(&data().join("mlflow.db"), &store, &options, &mut |_| {});
        assert!(stopped.is_err(), "{stop}");
        // Dropped, not closed: as if the process had been killed.
        drop(store);
        let store = open(&path);
        let report = import(&data().join("mlflow.db"), &store);
        assert!(report.differences.is_empty() && report.complete, "{stop}: {report:?}");
        assert_as_expected(&store.snapshot().unwrap());
        assert_eq!(import(&data().join("mlflow.db"), &store).batches_new, 0, "{stop}");
    }
}

#[test]
fn what_the_source_got_since_is_added() {
    let (_source, path) = changed("");
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    import(&path, &store);
    let run = "49c31ae1e04742f792f6960afb2cb7e4";
    let connection = Connection::open(&path).unwrap();
    let sql = format!(
        "INSERT INTO metrics(key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', 0.25, 1900000000000, '{run}', 40, 0);
         INSERT INTO params(key, value, run_uuid) VALUES ('late', 'yes', '{run}');
         UPDATE registered_model_aliases SET version = 3 WHERE alias = 'champion'"
    );
    connection.execute_batch(&sql).unwrap();
    connection.close().unwrap();
    let report = import(&path, &store);
    assert_eq!(report.batches_new, 3, "{report:?}");
    let snapshot = store.snapshot().unwrap();
    let id = run.parse().unwrap();
    assert_eq!(snapshot.count_exact(id, "loss").unwrap(), 41);
    assert_eq!(snapshot.stats(id, "loss").unwrap().unwrap().last_value, 0.25);
    assert!(snapshot.run(id).unwrap().unwrap().params.contains(&("late".to_owned(), "yes".to_owned())));
    let (_, model) = snapshot.registered_model("digits").unwrap().unwrap();
    assert!(model.aliases.contains(&("champion".to_owned(), 3)));
}

#[test]
fn infinities_come_back_when_asked_for() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let options = ImportOptions { restore_infinities: true, ..ImportOptions::default() };
    import_with(&data().join("mlflow.db"), &store, &options);
    let snapshot = store.snapshot().unwrap();
    let run = "cbd963453ea44567b9e9bf3262f849db".parse().unwrap();
    let page = snapshot.history(run, "weird", &HistoryQuery::default()).unwrap();
    let values: Vec<f64> = (0..3).map(|index| page.columns.point(index).value).collect();
    assert!(values.iter().any(|value| value.is_nan()), "{values:?}");
    assert!(values.contains(&f64::INFINITY) && values.contains(&f64::NEG_INFINITY), "{values:?}");
}

#[test]
fn old_schemas_are_read_by_the_columns_that_they_have() {
    // As 1.30 had it: no data sets, aliases, logged models, workspaces, no deleted_time, no names of runs.
    let (_source, path) = changed(
        "DROP TABLE inputs; DROP TABLE input_tags; DROP TABLE datasets; DROP TABLE registered_model_aliases;
         DROP TABLE logged_models; DROP TABLE logged_model_params; DROP TABLE logged_model_tags;
         DROP TABLE logged_model_metrics; DROP TABLE workspaces;
         ALTER TABLE runs DROP COLUMN deleted_time;
         UPDATE runs SET name = ''; UPDATE alembic_version SET version_num = '97727af70f4d'",
    );
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&path, &store);
    assert_eq!(report.imported.points, 35_014);
    assert_eq!(report.imported.dataset_inputs + report.imported.logged_models, 0);
    let run = store.snapshot().unwrap().run("49c31ae1e04742f792f6960afb2cb7e4".parse().unwrap()).unwrap().unwrap();
    assert_eq!(run.name, "mlp-16", "taken from the tag");
    assert!(!report.notes.iter().any(|note| note.contains("schema version")));

    let (_source, path) = changed("UPDATE alembic_version SET version_num = 'ffffffffffff'");
    let dir = TempDir::new().unwrap();
    let report = import(&path, &open(&dir.path().join("store")));
    assert_eq!(report.imported.runs, 25);
    assert!(report.notes.iter().any(|note| note.contains("ffffffffffff")), "{:?}", report.notes);
}

#[test]
fn numbers_of_deleted_versions_stay_used() {
    let (_source, path) = changed(
        "UPDATE model_versions SET current_stage = 'Deleted_Internal', source = 'REDACTED-SOURCE-PATH', run_id = NULL
         WHERE name = 'digits-onnx' AND version = 3",
    );
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&path, &store);
    assert_eq!((report.imported.model_versions, report.version_numbers_kept), (5, 1));
    let (_, model) = store.snapshot().unwrap().registered_model("digits-onnx").unwrap().unwrap();
    assert_eq!((model.versions.as_slice(), model.version_last), ([1, 2].as_slice(), 3));
    assert_eq!(store.create_version("digits-onnx", runlode::VersionSpec::from_source("x")).unwrap(), 4);
}

#[test]
fn odd_values_are_reported_and_the_rest_comes_in() {
    let run = "49c31ae1e04742f792f6960afb2cb7e4";
    let (_source, path) = changed(&format!(
        "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; CREATE TABLE m AS SELECT * FROM metrics; DROP TABLE metrics; ALTER TABLE m RENAME TO metrics;
         INSERT INTO metrics(key, value, timestamp, run_uuid, step, is_nan) VALUES
           ('typed', 7, 1, '{run}', 0, 0), ('typed', 'seven', 2, '{run}', 1, 0), ('typed', NULL, 3, '{run}', 2, 0),
           ('typed', 1.5, -5, '{run}', 3, 0), ('loss', 1.0, 1, 'no-such-run', 0, 0);
         INSERT INTO tags(key, value, run_uuid) VALUES ('empty', NULL, '{run}'), ('lost', 'x', 'no-such-run');
         UPDATE runs SET status = 'BROKEN' WHERE run_uuid = '{run}';
         UPDATE latest_metrics SET value = 99 WHERE run_uuid = '{run}' AND key = 'loss'"
    ));
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&path, &store);
    let snapshot = store.snapshot().unwrap();
    let id = run.parse().unwrap();
    assert_eq!(snapshot.stats(id, "typed").unwrap().unwrap().last_value, 7.0);
    assert_eq!(snapshot.count_exact(id, "typed").unwrap(), 1);
    assert_eq!(snapshot.count_exact(id, "loss").unwrap(), 40, "neighbours of a refused point come in");
    assert_eq!(report.imported.points, 35_014 + 1);
    assert_eq!(report.skipped["points whose value is no number"], 2);
    assert_eq!(report.skipped["points refused by the store"], 1);
    assert_eq!(report.skipped["points of runs that are not imported"], 1);
    assert_eq!(report.skipped["tags of runs that are not imported"], 1);
    assert!(snapshot.run(id).unwrap().unwrap().tags.contains(&("empty".to_owned(), String::new())));
    assert!(report.notes.iter().any(|note| note.contains("BROKEN")), "{:?}", report.notes);
    assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
}

#[test]
fn one_workspace_is_imported_and_the_others_named() {
    let (_source, path) = changed(
        "INSERT INTO experiments(experiment_id, name, lifecycle_stage, workspace) VALUES (9, 'digits-sgd', 'active', 'other');
         INSERT INTO registered_models(name, workspace) VALUES ('digits', 'other')",
    );
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&path, &store);
    assert_as_expected(&store.snapshot().unwrap());
    assert_eq!(report.workspaces_left_out, BTreeMap::from([("other".to_owned(), 1)]));
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let options = ImportOptions { workspace: "other".to_owned(), ..ImportOptions::default() };
    let report = import_with(&path, &store, &options);
    assert_eq!((report.imported.experiments, report.imported.runs, report.imported.registered_models), (1, 0, 1));
}

#[test]
fn a_write_ahead_log_belongs_to_the_database() {
    let (source, path) = changed("PRAGMA journal_mode = WAL");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA wal_autocheckpoint = 0; INSERT INTO experiments(experiment_id, name, lifecycle_stage, workspace) VALUES (77, 'in-the-wal', 'active', 'default')")
        .unwrap();
    // A writer is still there, and nothing of its last transaction is in the database file.
    assert!(source.path().join("mlflow.db-wal").metadata().unwrap().len() > 0);
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let report = import(&path, &store);
    assert_eq!(report.imported.experiments, 6);
    assert!(store.snapshot().unwrap().experiment_by_name("in-the-wal").unwrap().is_some());
    drop(connection);
}

#[test]
fn an_experiment_of_the_same_name_is_another_one_and_a_taken_id_moves() {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    // Takes id 1, which is digits-sgd in the source; digits-mlp is there by name, under another id.
    let mine = store.create_experiment("mine").unwrap();
    let mlp = store.create_experiment("digits-mlp").unwrap();
    assert_eq!((mine.0, mlp.0), (1, 2));
    let report = import(&data().join("mlflow.db"), &store);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.runs_of(mine).unwrap().len(), 0);
    assert_eq!(snapshot.runs_of(mlp).unwrap().len(), 0);
    let (moved, _) = snapshot.experiment_by_name("digits-sgd").unwrap().unwrap();
    assert!(moved.0 > 2);
    assert!(report.notes.iter().any(|note| note.contains("digits-sgd")), "{:?}", report.notes);
    let name = format!("digits-mlp ({})", &report.source_id[..8]);
    let (theirs, _) = snapshot.experiment_by_name(&name).unwrap().unwrap();
    assert!(!snapshot.runs_of(theirs).unwrap().is_empty());
    assert!(!report.complete && report.problems.iter().any(|problem| problem.contains(&name)), "{:?}", report.problems);
    assert_eq!(report.imported.points, 35_014);
    let again = import(&data().join("mlflow.db"), &store);
    assert_eq!((again.batches_new, again.complete), (0, true), "{:?}", again.problems);
}

#[test]
fn the_history_says_who_imported() {
    let (_dir, store, _) = imported();
    let run = "49c31ae1e04742f792f6960afb2cb7e4".parse().unwrap();
    let events = store.snapshot().unwrap().events(&EntityKey::Run(run)).unwrap();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event.actor.as_deref() == Some("import")));
}

#[test]
fn what_is_no_mlflow_store_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("store"));
    let attempt = |path: &Path| import_sqlite(path, &store, &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert!(attempt(&dir.path().join("absent.db")).to_string().contains("absent.db"));
    let text = dir.path().join("text.db");
    std::fs::write(&text, "hello, I am no database at all").unwrap();
    assert!(attempt(&text).to_string().contains("not an SQLite database"));
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    assert!(attempt(&other).to_string().contains("not an MLflow store"));
    assert_eq!(store.snapshot().unwrap().position(), runlode::Lsn::ZERO);
    // A database that is cut in the middle: an error, no panic, and the rest can be imported later.
    let whole = std::fs::read(data().join("mlflow.db")).unwrap();
    let cut = dir.path().join("cut.db");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let _ = attempt(&cut);
    import(&data().join("mlflow.db"), &store);
    assert_as_expected(&store.snapshot().unwrap());
}
