//! Imports databases again, and several databases: entities are matched by their origin, decisions made in the store
//! stay, and every difference from the database is reported.
//!
//! Long, because each test changes the same small database, and what it holds is read beside them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use runlode::{ExperimentId, Lifecycle, LocalStore, Lsn, RunId, Snapshot, Stage};
use runlode_cli::import::{ImportOptions, Report, import_sqlite};
use rusqlite::Connection;
use tempfile::TempDir;

/// The tables that matter here, as MLflow makes them; all databases are made in the same millisecond.
const SCHEMA: &str = "
    CREATE TABLE alembic_version (version_num VARCHAR(32));
    INSERT INTO alembic_version VALUES ('dc11669786a5');
    CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, artifact_location TEXT,
        lifecycle_stage TEXT DEFAULT 'active', creation_time BIGINT DEFAULT 1000, last_update_time BIGINT DEFAULT 1000);
    CREATE TABLE experiment_tags (key TEXT, value TEXT, experiment_id INTEGER);
    CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, user_id TEXT DEFAULT 'ann', status TEXT DEFAULT 'RUNNING',
        start_time BIGINT DEFAULT 2000, end_time BIGINT, artifact_uri TEXT, experiment_id INTEGER,
        lifecycle_stage TEXT DEFAULT 'active', deleted_time BIGINT);
    CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN DEFAULT 0);
    CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
    CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
    CREATE TABLE registered_models (name TEXT PRIMARY KEY, creation_time BIGINT DEFAULT 3000,
        last_updated_time BIGINT DEFAULT 3000, description TEXT);
    CREATE TABLE registered_model_tags (key TEXT, value TEXT, name TEXT);
    CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT);
    CREATE TABLE model_versions (name TEXT, version INTEGER, creation_time BIGINT DEFAULT 4000,
        last_updated_time BIGINT DEFAULT 4000, description TEXT, user_id TEXT, current_stage TEXT DEFAULT 'None',
        source TEXT, run_id TEXT, status TEXT DEFAULT 'READY', status_message TEXT, run_link TEXT, storage_location TEXT);
    CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER);
    INSERT INTO experiments (experiment_id, name) VALUES (0, 'Default'), (1, 'mnist');
";

struct Database(PathBuf);

impl Database {
    /// With `Default` and `mnist`, which has a run of this number.
    fn new(dir: &TempDir, name: &str, run: u8) -> Self {
        let database = Self(dir.path().join(format!("{name}.db")));
        database.sql(SCHEMA);
        database.run(1, run);
        database
    }

    fn sql(&self, sql: &str) {
        let connection = Connection::open(&self.0).unwrap();
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
    }

    fn run(&self, experiment: u64, number: u8) {
        let run = id(number);
        self.sql(&format!(
            "INSERT INTO runs (run_uuid, name, experiment_id) VALUES ('{run}', 'run {number}', {experiment});
             INSERT INTO metrics (key, value, timestamp, run_uuid, step) VALUES ('loss', 0.5, 2001, '{run}', 0);
             INSERT INTO params VALUES ('number', '{number}', '{run}');"
        ));
    }

    /// A registered model `fraud` with a version of this run and source.
    fn fraud(&self, run: u8, source: &str) {
        self.sql(&format!(
            "INSERT INTO registered_models (name, description) VALUES ('fraud', 'of {source}');
             INSERT INTO registered_model_tags VALUES ('team', '{source}', 'fraud');
             INSERT INTO model_versions (name, version, source, run_id)
                VALUES ('fraud', 1, 's3://bucket/{source}/1', '{}');",
            id(run)
        ));
    }

    fn import(&self, store: &LocalStore) -> Report {
        import_sqlite(&self.0, store, &ImportOptions::default(), &mut |_| {}).unwrap()
    }

    /// Imports what the store has already.
    fn import_nothing_new(&self, store: &LocalStore) -> Report {
        let before = store.snapshot().unwrap().position();
        let report = self.import(store);
        assert_eq!(store.snapshot().unwrap().position(), before, "{report:?}");
        report
    }
}

fn id(number: u8) -> RunId {
    RunId([number; 16])
}

fn store(dir: &TempDir) -> LocalStore {
    LocalStore::options(dir.path().join("store")).default_experiment(false).open().unwrap()
}

/// The numbers of the runs of an experiment.
fn runs(snapshot: &Snapshot, experiment: &str) -> Vec<u8> {
    let (id, _) = snapshot.experiment_by_name(experiment).unwrap().unwrap_or_else(|| panic!("no {experiment}"));
    snapshot.runs_of(id).unwrap().into_iter().map(|run| run.0[0]).collect()
}

fn told(report: &Report, text: &str) -> bool {
    !report.complete && report.problems.iter().any(|problem| problem.contains(text))
}

#[test]
fn a_second_database_keeps_its_experiment_and_model_apart() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let (a, b) = (Database::new(&dir, "a", 1), Database::new(&dir, "b", 2));
    a.fraud(1, "a");
    b.fraud(2, "b");
    for (database, name) in [(&a, "a"), (&b, "b")] {
        database.sql(&format!(
            "INSERT INTO experiment_tags VALUES ('mlflow.note.content', 'of {name}', 1), ('team', '{name}', 0)"
        ));
    }
    b.sql("INSERT INTO model_versions (name, version, source, run_id, current_stage) VALUES ('fraud', 2, 's3://b/2', NULL, 'Production');
           INSERT INTO registered_model_aliases VALUES ('prod', 1, 'fraud')");
    let first = a.import(&store);
    assert!(first.complete, "{first:?}");
    let second = b.import(&store);
    assert_ne!(first.source_id, second.source_id);
    let other = |name: &str| format!("{name} ({})", &second.source_id[..8]);
    assert!(told(&second, &other("fraud")) && told(&second, &other("mnist")), "{second:?}");
    // `Default` is one for all; what it says is the first one's.
    assert!(told(&second, "tag team of experiment `Default`"), "{second:?}");

    let snapshot = store.snapshot().unwrap();
    assert_eq!((runs(&snapshot, "mnist"), runs(&snapshot, &other("mnist"))), (vec![1], vec![2]));
    for (name, of) in [("mnist".to_owned(), "of a"), (other("mnist"), "of b")] {
        let (_, state) = snapshot.experiment_by_name(&name).unwrap().unwrap();
        assert!(state.tags.contains(&("mlflow.note.content".to_owned(), of.to_owned())), "{state:?}");
    }
    let (model, state) = snapshot.registered_model("fraud").unwrap().unwrap();
    assert_eq!((state.versions.as_slice(), state.aliases.len()), ([1].as_slice(), 0));
    assert_eq!(snapshot.model_version(model, 1).unwrap().unwrap().source, "s3://bucket/a/1");
    let (model, state) = snapshot.registered_model(&other("fraud")).unwrap().unwrap();
    assert_eq!(state.versions, [1, 2]);
    assert_eq!(state.aliases, [("prod".to_owned(), 1)]);
    assert_eq!(state.description.as_deref(), Some("of b"));
    assert_eq!(snapshot.model_version(model, 1).unwrap().unwrap().source, "s3://bucket/b/1");
    assert_eq!(snapshot.model_version(model, 2).unwrap().unwrap().stage, Stage::Production);
    let seen = runlode::mlflow::Mlflow::new(store.clone(), runlode::mlflow::Settings::with_root("root:/", "/"));
    assert_eq!(seen.registered_model("fraud").unwrap().tags, [("team".to_owned(), "a".to_owned())]);

    assert!(a.import_nothing_new(&store).complete);
    b.import_nothing_new(&store);
    b.sql("DELETE FROM experiment_tags WHERE experiment_id = 0");
    assert!(b.import_nothing_new(&store).complete);
}

#[test]
fn a_database_is_known_after_a_move_growth_renames_a_migration_and_gc() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    a.run(1, 2);
    let first = a.import(&store);
    assert!(first.complete, "{first:?}");
    let moved = Database(dir.path().join("elsewhere/renamed.db"));
    std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
    std::fs::copy(&a.0, &moved.0).unwrap();
    // The first run and its points go, as `mlflow gc` does it; everything gets another name; more comes.
    moved.sql(&format!(
        "DELETE FROM runs WHERE run_uuid = '{0}'; DELETE FROM metrics WHERE run_uuid = '{0}';
         DELETE FROM params WHERE run_uuid = '{0}';
         UPDATE experiments SET name = 'digits' WHERE experiment_id = 1;
         UPDATE registered_models SET name = 'theft'; UPDATE model_versions SET name = 'theft';
         UPDATE registered_model_tags SET name = 'theft';
         INSERT INTO model_versions (name, version, source, creation_time) VALUES ('theft', 2, 's3://a/2', 5000);
         INSERT INTO experiments (experiment_id, name, creation_time) VALUES (2, 'later', 9000);
         UPDATE alembic_version SET version_num = 'ffffffffffff'",
        id(1)
    ));
    moved.run(1, 3);
    moved.run(2, 4);
    let second = moved.import(&store);
    assert_eq!(second.source_id, first.source_id);
    assert!(second.complete, "{second:?}");
    let snapshot = store.snapshot().unwrap();
    assert_eq!((runs(&snapshot, "digits"), runs(&snapshot, "later")), (vec![1, 2, 3], vec![4]));
    assert!(snapshot.experiment_by_name("mnist").unwrap().is_none());
    let (_, state) = snapshot.registered_model("theft").unwrap().unwrap();
    assert_eq!(state.versions, [1, 2]);
    assert!(snapshot.registered_model("fraud").unwrap().is_none());
    moved.import_nothing_new(&store);
    // Names that the database gives up and others take are not mixed up either.
    moved.sql(
        "INSERT INTO experiments (experiment_id, name, creation_time) VALUES (5, 'mnist', 9500);
         INSERT INTO registered_models (name, creation_time) VALUES ('fraud', 9500)",
    );
    assert!(moved.import(&store).complete);
    assert!(runs(&store.snapshot().unwrap(), "mnist").is_empty());
    moved.import_nothing_new(&store);
}

#[test]
fn runs_follow_an_experiment_that_got_another_name_in_the_store() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.import(&store);
    store.rename_experiment(ExperimentId(1), "mnist-2024").unwrap();
    a.run(1, 2);
    let report = a.import(&store);
    assert!(report.complete && report.notes.iter().any(|note| note.contains("mnist-2024")), "{report:?}");
    assert_eq!(runs(&store.snapshot().unwrap(), "mnist-2024"), [1, 2]);
    assert!(store.snapshot().unwrap().experiment_by_name("mnist").unwrap().is_none());
    assert!(a.import_nothing_new(&store).complete);
    // Both sides name it now.
    a.sql("UPDATE experiments SET name = 'mnist-2025' WHERE experiment_id = 1");
    for _ in 0..2 {
        assert!(told(&a.import_nothing_new(&store), "mnist-2025"));
    }
}

#[test]
fn what_was_deleted_in_the_store_stays_deleted_and_is_told() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    a.sql(
        "INSERT INTO experiments (experiment_id, name, creation_time) VALUES (2, 'second', 7000);
         INSERT INTO registered_models (name, creation_time) VALUES ('gone', 7000);
         INSERT INTO model_versions (name, version, source, creation_time) VALUES ('fraud', 2, 's3://a/2', 7000);
         INSERT INTO registered_model_aliases VALUES ('new', 2, 'fraud')",
    );
    a.run(2, 2);
    assert!(a.import(&store).complete);
    store.delete_experiment(ExperimentId(1)).unwrap();
    store.delete_version("fraud", 2).unwrap();
    store.delete_registered_model("gone").unwrap();
    store.delete_run(id(2)).unwrap();
    let report = a.import_nothing_new(&store);
    assert!(told(&report, "`mnist`") && told(&report, "`gone`"), "{report:?}");
    for reason in [
        "experiments that were deleted in the store",
        "model versions that were deleted in the store, and stay so",
        "registered models that were deleted in the store, and stay so",
    ] {
        assert_eq!(report.skipped.get(reason), Some(&1), "{reason}");
    }
    assert_eq!(report.skipped.get("runs that were deleted in the store, and stay so"), Some(&2));

    // New runs of a deleted experiment are left out and reported; new points of a deleted run are kept with it.
    a.run(1, 3);
    a.sql(&format!(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step) VALUES ('loss', 0.1, 2005, '{}', 9)",
        id(2)
    ));
    let report = a.import(&store);
    let reason = "runs that are new in experiments that are deleted in the store";
    assert_eq!(report.skipped.get(reason), Some(&1), "{report:?}");
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.run(id(3)).unwrap().is_none());
    assert_eq!(snapshot.count_exact(id(2), "loss").unwrap(), 2);
    assert_eq!(snapshot.run(id(2)).unwrap().unwrap().lifecycle, Lifecycle::Deleted);
    store.restore_experiment(ExperimentId(1)).unwrap();
    a.import(&store);
    assert_eq!(runs(&store.snapshot().unwrap(), "mnist"), [1, 3]);
}

#[test]
fn changes_of_the_database_come_in_and_decisions_of_the_store_stay() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    a.sql(&format!(
        "INSERT INTO model_versions (name, version, source, creation_time) VALUES ('fraud', 2, 's3://a/2', 5000);
         INSERT INTO registered_model_aliases VALUES ('prod', 1, 'fraud'), ('old', 1, 'fraud');
         INSERT INTO tags VALUES ('mine', '1', '{0}'), ('theirs', '1', '{0}'), ('both', '1', '{0}'), ('goes', '1', '{0}')",
        id(1)
    ));
    assert!(a.import(&store).complete);
    let run = store.run(id(1)).unwrap();
    run.set_tags(&[("mine", "2"), ("both", "2")]).unwrap();
    store.set_alias("fraud", "prod", 2).unwrap();
    store.describe_version("fraud", 1, Some("said here")).unwrap();
    store.transition_stage("fraud", 2, Stage::Archived, false).unwrap();
    a.sql(&format!(
        "UPDATE tags SET value = '3' WHERE key IN ('theirs', 'both'); DELETE FROM tags WHERE key = 'goes';
         UPDATE runs SET status = 'FINISHED', end_time = 2500;
         DELETE FROM registered_model_aliases WHERE alias = 'old';
         INSERT INTO registered_model_aliases VALUES ('late', 2, 'fraud');
         UPDATE registered_models SET description = 'better';
         UPDATE model_versions SET current_stage = 'Staging';
         INSERT INTO metrics (key, value, timestamp, run_uuid, step) VALUES ('loss', 0.1, 2005, '{}', 9)",
        id(1)
    ));
    let report = a.import(&store);
    assert!(told(&report, "tag both") && told(&report, "stage of version 2"), "{report:?}");
    assert_eq!(report.problems.len(), 2, "{report:?}");
    let snapshot = store.snapshot().unwrap();
    let state = snapshot.run(id(1)).unwrap().unwrap();
    let tag = |key: &str| state.tags.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    assert_eq!((tag("mine"), tag("theirs"), tag("both"), tag("goes")), (Some("2"), Some("3"), Some("2"), None));
    assert_eq!((state.status, state.end_time_ms), (runlode::RunStatus::Finished, Some(2500)));
    assert_eq!(snapshot.count_exact(id(1), "loss").unwrap(), 2);
    let (model, state) = snapshot.registered_model("fraud").unwrap().unwrap();
    assert_eq!(state.aliases, [("late".to_owned(), 2), ("prod".to_owned(), 2)]);
    assert_eq!(state.description.as_deref(), Some("better"));
    let version = |number| snapshot.model_version(model, number).unwrap().unwrap();
    assert_eq!((version(1).stage, version(2).stage), (Stage::Staging, Stage::Archived));
    assert_eq!(version(1).description.as_deref(), Some("said here"));
    a.import_nothing_new(&store);
    // A value that was there before comes in again, too.
    a.sql("UPDATE tags SET value = '1' WHERE key = 'theirs'");
    a.import(&store);
    let state = store.snapshot().unwrap().run(id(1)).unwrap().unwrap();
    assert!(state.tags.contains(&("theirs".to_owned(), "1".to_owned())));
}

#[test]
fn a_version_whose_number_the_store_used_gets_the_next_one() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    a.import(&store);
    store.create_version("fraud", runlode::VersionSpec::from_source("s3://here/2")).unwrap();
    store.rename_registered_model("fraud", "fraud-eu").unwrap();
    a.sql(
        "INSERT INTO model_versions (name, version, source, creation_time) VALUES ('fraud', 2, 's3://a/2', 5000);
         INSERT INTO registered_model_aliases VALUES ('prod', 2, 'fraud')",
    );
    let report = a.import(&store);
    assert!(told(&report, "version 2 of `fraud` in the database is version 3 of `fraud-eu`"), "{report:?}");
    let snapshot = store.snapshot().unwrap();
    let (model, state) = snapshot.registered_model("fraud-eu").unwrap().unwrap();
    assert_eq!(
        (state.versions.as_slice(), state.aliases.as_slice()),
        ([1, 2, 3].as_slice(), [("prod".to_owned(), 3)].as_slice())
    );
    assert_eq!(snapshot.model_version(model, 3).unwrap().unwrap().source, "s3://a/2");
    assert!(snapshot.registered_model("fraud").unwrap().is_none());
    assert!(a.import_nothing_new(&store).complete);
    // Deleted there since, so deleted here; its number is found again.
    a.sql("UPDATE model_versions SET current_stage = 'Deleted_Internal', run_id = NULL, source = 'REDACTED' WHERE version = 2;
           DELETE FROM registered_model_aliases");
    a.import(&store);
    let (_, state) = store.snapshot().unwrap().registered_model("fraud-eu").unwrap().unwrap();
    assert_eq!((state.versions.as_slice(), state.aliases.len()), ([1, 2].as_slice(), 0));
    assert!(a.import_nothing_new(&store).complete);
}

#[test]
fn without_its_tags_a_database_is_known_by_its_runs() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    let tag = format!("{}{}", runlode::IMPORT_TAG, a.import(&store).source_id);
    store.delete_experiment_tag(ExperimentId(0), &tag).unwrap();
    store.delete_experiment_tag(ExperimentId(1), &tag).unwrap();
    store.delete_registered_model_tag("fraud", &tag).unwrap();
    // As another one that counts itself a copy would: it says nothing that can be read.
    store.set_experiment_tags(ExperimentId(1), &[("runlode.import.x", "no JSON")]).unwrap();
    a.run(1, 2);
    assert!(a.import(&store).complete);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.experiments().unwrap().len(), snapshot.registered_models().unwrap().len()), (2, 1));
    assert_eq!(runs(&snapshot, "mnist"), [1, 2]);
    let (_, state) = snapshot.registered_model("fraud").unwrap().unwrap();
    assert!(state.tags.iter().any(|(key, _)| *key == tag));
    assert!(a.import_nothing_new(&store).complete);
}

#[test]
fn databases_made_of_one_template_are_two() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let template = Database(dir.path().join("template.db"));
    template.sql(&SCHEMA.replace(", (1, 'mnist')", ""));
    let of_template = |name: &str, created_ms: u32| {
        let copy = Database(dir.path().join(name));
        std::fs::copy(&template.0, &copy.0).unwrap();
        let sql = "INSERT INTO experiments (experiment_id, name, creation_time) VALUES";
        copy.sql(&format!("{sql} (1, 'mnist', {created_ms})"));
        copy
    };
    let (a, b) = (of_template("a.db", 5000), of_template("b.db", 5001));
    let first = a.import(&store);
    let second = b.import(&store);
    assert_ne!(first.source_id, second.source_id);
    assert!(first.complete && told(&second, "`mnist` is now"), "{second:?}");
    // Neither had a run yet.
    a.run(1, 1);
    b.run(1, 2);
    assert!(a.import(&store).complete && b.import(&store).complete);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(runs(&snapshot, "mnist"), [1]);
    assert_eq!(runs(&snapshot, &format!("mnist ({})", &second.source_id[..8])), [2]);
    for database in [&a, &b] {
        assert!(database.import_nothing_new(&store).complete);
    }
}

#[test]
fn copies_that_went_on_by_themselves_share_what_they_had() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    let b = Database(dir.path().join("b.db"));
    std::fs::copy(&a.0, &b.0).unwrap();
    for (database, number) in [(&a, 2), (&b, 3)] {
        database.run(1, number);
        database.sql(&format!(
            "INSERT INTO experiments (experiment_id, name, creation_time) VALUES (2, 'later', 700{number});
             INSERT INTO model_versions (name, version, source, creation_time)
                VALUES ('fraud', 2, 's3://{number}', 800{number})"
        ));
        database.run(2, number + 10);
    }
    let first = a.import(&store);
    let second = b.import(&store);
    assert_eq!(first.source_id, second.source_id);
    assert!(told(&second, "`later` is now") && told(&second, "version 2 of `fraud` in the database is version 3"));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(runs(&snapshot, "mnist"), [1, 2, 3]);
    assert_eq!(runs(&snapshot, "later"), [12]);
    assert_eq!(runs(&snapshot, &format!("later ({})", &first.source_id[..8])), [13]);
    let (model, state) = snapshot.registered_model("fraud").unwrap().unwrap();
    let sources = state.versions.iter().map(|version| snapshot.model_version(model, *version).unwrap().unwrap());
    assert_eq!(sources.map(|state| state.source.clone()).collect::<Vec<_>>(), ["s3://bucket/a/1", "s3://2", "s3://3"]);
    for database in [&a, &b] {
        assert!(database.import_nothing_new(&store).complete);
    }
}

#[test]
fn a_run_of_the_same_id_and_another_start_is_another_run() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let (a, b) = (Database::new(&dir, "a", 1), Database::new(&dir, "b", 1));
    b.sql("UPDATE runs SET start_time = 9999, name = 'forged'; UPDATE metrics SET value = 9, step = 5");
    a.import(&store);
    let report = b.import(&store);
    assert!(told(&report, "forged"), "{report:?}");
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.run(id(1)).unwrap().unwrap().name, "run 1");
    assert_eq!(snapshot.count_exact(id(1), "loss").unwrap(), 1);
    assert_eq!(report.skipped.get("points of runs that are not imported"), Some(&1));
}

#[test]
fn points_that_a_rewind_hid_do_not_come_back() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    let point = |step: u8| {
        let run = id(1);
        let sql = "INSERT INTO metrics (key, value, timestamp, run_uuid, step) VALUES";
        a.sql(&format!("{sql} ('loss', 0.25, 300{step}, '{run}', {step})"));
    };
    (1..5).for_each(point);
    a.import(&store);
    store.engine().rewind(id(1), 2, None).unwrap();
    let report = a.import_nothing_new(&store);
    assert_eq!(report.skipped.get("points after the step to which their run was rewound in the store"), Some(&2));
    assert_eq!(store.snapshot().unwrap().count_exact(id(1), "loss").unwrap(), 3);
}

#[test]
fn what_came_by_sync_is_met_by_an_import_of_the_same_database() {
    let dir = TempDir::new().unwrap();
    let (first, hub) = (store(&dir), LocalStore::open(dir.path().join("hub")).unwrap());
    let mine = hub.create_experiment("mine").unwrap();
    let a = Database::new(&dir, "a", 1);
    a.fraud(1, "a");
    a.import(&first);
    let mut target = runlode::sync::Target::new(&hub, first.engine().id()).unwrap();
    let mut source = runlode::sync::Source::new(&first, Lsn::ZERO, hub.engine().id()).unwrap();
    while let Some(chunk) = source.next_chunk().unwrap() {
        target.apply(&chunk).unwrap();
    }
    a.run(1, 2);
    let report = a.import(&hub);
    assert!(report.complete, "{report:?}");
    let snapshot = hub.snapshot().unwrap();
    assert_eq!(runs(&snapshot, "mnist"), [1, 2]);
    assert!(snapshot.runs_of(mine).unwrap().is_empty());
    assert_eq!(snapshot.registered_models().unwrap().len(), 1);
    assert!(a.import_nothing_new(&hub).complete);
}

/// Syncs one store into another; returns what is reported.
fn sync(from: &LocalStore, to: &LocalStore) -> Vec<String> {
    from.flush().unwrap();
    let mut target = runlode::sync::Target::new(to, from.engine().id()).unwrap();
    let mut source = runlode::sync::Source::new(from, target.applied().unwrap(), to.engine().id()).unwrap();
    let mut told = Vec::new();
    while let Some(chunk) = source.next_chunk().unwrap() {
        told.extend(target.apply(&chunk).unwrap().problems.into_iter().map(|problem| problem.what));
    }
    told
}

#[test]
fn points_that_two_stores_imported_are_one_when_they_meet() {
    let dir = TempDir::new().unwrap();
    let (first, hub) = (store(&dir), LocalStore::open(dir.path().join("hub")).unwrap());
    let a = Database::new(&dir, "a", 1);
    a.import(&first);
    // So both have one run, of one origin.
    sync(&first, &hub);
    let run = id(1);
    a.sql(&format!(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step)
            VALUES ('loss', 0.25, 2002, '{run}', 1), ('loss', 0.125, 2003, '{run}', 2)"
    ));
    for store in [&first, &hub] {
        a.import(store);
    }
    // Logged in a store: a point of its own.
    first
        .run(run)
        .unwrap()
        .log_metric_at("loss", runlode::Point { step: 3, time: first.now(), value: 1.0 }, runlode::Durability::Buffered)
        .unwrap();
    sync(&first, &hub);
    sync(&hub, &first);
    for store in [&first, &hub] {
        assert_eq!(store.snapshot().unwrap().count_exact(run, "loss").unwrap(), 4);
        a.import_nothing_new(store);
    }
}

/// MLflow's table holds 1.797e308 for an infinity. One import turns it back, another of the same database does not.
#[test]
fn an_infinity_that_one_of_two_imports_turned_back_is_one_point() {
    for first_restores in [false, true] {
        let dir = TempDir::new().unwrap();
        let (first, hub) = (store(&dir), LocalStore::open(dir.path().join("hub")).unwrap());
        let a = Database::new(&dir, "a", 1);
        let run = id(1);
        a.sql(&format!(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step)
                VALUES ('loss', 1.7976931348623157e308, 2002, '{run}', 1), ('loss', -1.7976931348623157e308, 2003, '{run}', 2)"
        ));
        let options = |restore_infinities| ImportOptions { restore_infinities, ..ImportOptions::default() };
        let import = |store: &LocalStore, restore: bool| {
            import_sqlite(&a.0, store, &options(restore), &mut |_| {}).unwrap();
        };
        import(&first, first_restores);
        import(&first, !first_restores);
        import(&hub, !first_restores);
        sync(&first, &hub);
        sync(&hub, &first);
        for (store, restored) in [(&first, first_restores), (&hub, !first_restores)] {
            let page = store.snapshot().unwrap().history(run, "loss", &runlode::HistoryQuery::default()).unwrap();
            assert_eq!(page.columns.steps, [0, 1, 2], "restored first: {first_restores}");
            assert_eq!(page.columns.values[1].is_infinite(), restored);
        }
    }
}

#[test]
fn experiments_of_two_databases_stay_two_when_their_stores_meet() {
    let dir = TempDir::new().unwrap();
    let (first, hub) = (store(&dir), LocalStore::open(dir.path().join("hub")).unwrap());
    let (a, b) = (Database::new(&dir, "a", 1), Database::new(&dir, "b", 2));
    b.sql("UPDATE experiments SET creation_time = 1001 WHERE experiment_id = 1");
    a.import(&first);
    b.import(&hub);
    let told = sync(&first, &hub);
    let other = format!("mnist ({})", &first.engine().id().to_string()[..8]);
    assert!(told.iter().any(|what| what.contains(&other)), "{told:?}");
    let experiments = |store: &LocalStore, a: &str, b: &str| {
        let snapshot = store.snapshot().unwrap();
        assert_eq!((runs(&snapshot, a), runs(&snapshot, b)), (vec![1], vec![2]));
    };
    experiments(&hub, &other, "mnist");
    a.import_nothing_new(&hub);
    // Where the second one got another name by an import, they are known by where they come from.
    b.import(&first);
    assert!(sync(&hub, &first).is_empty());
    let snapshot = first.snapshot().unwrap();
    assert_eq!(snapshot.experiments().unwrap().len(), 3);
    assert_eq!(runs(&snapshot, "mnist"), [1]);
    for (database, store) in [(&a, &first), (&b, &first), (&a, &hub), (&b, &hub)] {
        database.import_nothing_new(store);
    }
}

#[test]
fn runs_in_default_do_not_say_whose_they_are() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let databases = [1, 2].map(|number| {
        let database = Database(dir.path().join(format!("{number}.db")));
        database.sql(SCHEMA);
        database.sql(&format!("UPDATE experiments SET creation_time = 500{number} WHERE experiment_id = 1"));
        database.run(0, number);
        database
    });
    let sources = databases.each_ref().map(|database| database.import(&store).source_id);
    assert_ne!(sources[0], sources[1]);
    for (database, source) in databases.iter().zip(&sources) {
        assert_eq!(database.import_nothing_new(&store).source_id, *source);
    }
    assert_eq!(store.snapshot().unwrap().experiments().unwrap().len(), 3);
}

#[test]
fn files_come_only_from_the_databases_folder_and_through_no_link() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    let outside = TempDir::new().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let put = |path: &str| {
        let folder = dir.path().join(path);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.bin"), path).unwrap();
        folder
    };
    let relative = put("mlruns/1/a/artifacts");
    symlink(outside.path(), relative.join("link")).unwrap();
    symlink(outside.path().join("secret"), relative.join("file-link")).unwrap();
    put("mlruns/1/b/artifacts");
    std::fs::create_dir_all(dir.path().join("mlruns/1/c")).unwrap();
    symlink(outside.path(), dir.path().join("mlruns/1/c/artifacts")).unwrap();
    let places = [
        "./mlruns/1/a/artifacts".to_owned(),
        format!("file://{}/mlruns/1/b/artifacts", dir.path().display()),
        dir.path().join("mlruns/1/c/artifacts").display().to_string(),
        outside.path().display().to_string(),
        format!("{}/mlruns/../../../../etc", dir.path().display()),
        "s3://bucket/1".to_owned(),
    ];
    for (number, place) in (1..).zip(&places) {
        if number > 1 {
            a.run(1, number);
        }
        a.sql(&format!("UPDATE runs SET artifact_uri = '{place}' WHERE run_uuid = '{}'", id(number)));
    }
    let report = a.import(&store);
    let files = |number: u8| -> Vec<String> {
        let state = store.snapshot().unwrap().run(id(number)).unwrap().unwrap();
        state.artifacts.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!((files(1), files(2)), (vec!["model.bin".to_owned()], vec!["model.bin".to_owned()]));
    assert!((3..=6).all(|number| files(number).is_empty()), "{report:?}");
    assert_eq!(report.skipped.get("artifacts that are links or special files"), Some(&2));
    assert_eq!(report.skipped.get("artifact places that are links, or lie behind one"), Some(&1));
    assert!(report.skipped.get("artifact places outside the database's folder").is_some_and(|count| *count >= 1));
    assert_eq!(report.artifact_places_elsewhere + report.skipped["artifact places outside the database's folder"], 3);
    assert!(told(&report, &places[2]) && told(&report, &places[3]), "{report:?}");
    let home = dir.path().join(format!("store/artifacts/1/{}/artifacts", id(1)));
    assert_eq!(names(&home), ["model.bin"]);

    // What the user names is taken, as deep as there are no links.
    let artifacts = [(places[2].clone(), outside.path().display().to_string()), (places[3].clone(), places[3].clone())];
    let options = ImportOptions { artifacts: artifacts.to_vec(), ..ImportOptions::default() };
    import_sqlite(&a.0, &store, &options, &mut |_| {}).unwrap();
    assert_eq!((files(3), files(4)), (vec!["secret".to_owned()], vec!["secret".to_owned()]));
}

#[test]
fn a_place_that_holds_the_store_is_not_copied_into_it_without_end() {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let a = Database::new(&dir, "a", 1);
    std::fs::write(dir.path().join("note.txt"), "n").unwrap();
    a.run(1, 2);
    a.run(1, 3);
    for (number, place) in [(1, "."), (2, "./store/artifacts"), (3, "./' || char(0) || 'x")] {
        a.sql(&format!("UPDATE runs SET artifact_uri = '{place}' WHERE run_uuid = '{}'", id(number)));
    }
    let report = a.import(&store);
    assert_eq!(report.skipped.get("artifact folders that are the store itself"), Some(&1), "{report:?}");
    assert_eq!(report.skipped.get("artifact places in the store itself"), Some(&1), "{report:?}");
    let mut there = names(&dir.path().join(format!("store/artifacts/1/{}/artifacts", id(1))));
    there.sort();
    assert_eq!(there, ["a.db", "note.txt"]);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
