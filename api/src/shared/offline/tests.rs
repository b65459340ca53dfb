//! Offline processes, as nodes of this one, and what a merge makes of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::PathBuf;

use super::*;
use crate::mlflow::entity::View;
use crate::mlflow::{ErrorCode, NewLoggedModel, NewMetric, NewRun};
use crate::shared::MlflowCalls;
use crate::sync::{Report, Source};
use crate::{RunStatus, Store};

fn offline(path: &Path) -> MlflowCalls {
    Store::options(path).offline(true).open_apart().unwrap().mlflow()
}

fn online(path: &Path) -> MlflowCalls {
    Store::options(path).offline(false).open_apart().unwrap().mlflow()
}

fn new_run(shared: &MlflowCalls, experiment: &str) -> String {
    let new = NewRun { experiment_id: Some(experiment), user_id: "ann", start_time: 7, ..NewRun::default() };
    shared.create_run(&new).unwrap().info.run_id
}

fn points(shared: &MlflowCalls, run: &str, steps: std::ops::Range<i64>) {
    let metrics: Vec<_> = steps
        .map(|step| NewMetric { key: "loss", value: 0.5, timestamp: step, step, ..NewMetric::default() })
        .collect();
    shared.log_batch(run, &metrics, &[], &[]).unwrap();
}

fn steps(shared: &MlflowCalls, run: &str) -> Vec<i64> {
    shared.metric_history(run, "loss", None, None).unwrap().0.steps
}

fn own_store(shared: &MlflowCalls) -> PathBuf {
    shared.status().unwrap().own_store.unwrap()
}

/// What `runlode merge` does.
fn merge(main: &MlflowCalls) -> Report {
    let mut report = Report::default();
    let mut folders: Vec<_> = std::fs::read_dir(main.status().unwrap().folder.join("inbox"))
        .unwrap()
        .map(|found| found.unwrap().path())
        .collect();
    folders.retain(|folder| folder.join("FORMAT").exists());
    folders.sort();
    for folder in folders {
        let store = LocalStore::options(&folder).create(false).read_only(true).open().unwrap();
        let applied = main.sync_position(&store.engine().id().to_string()).unwrap();
        let source = Source::new(&store, Lsn(applied), main.store_id().unwrap().parse().unwrap()).unwrap();
        let mut source = source.to_published();
        report.through = source.end().0;
        while let Some(chunk) = source.next_chunk().unwrap() {
            report.add(main.sync_apply(&chunk.encode()).unwrap());
        }
    }
    report
}

fn clean(report: &Report) {
    assert_eq!(report.problems, []);
}

#[test]
fn what_is_logged_offline_comes_in_once_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (one, two) = (offline(&path), offline(&path));
    assert!(!one.holds().unwrap() && one.status().unwrap().offline);
    assert_eq!(one.status().unwrap().own_store, None);
    assert!(one.experiment_by_name("digits").unwrap().is_none());
    let (x, y) = (one.ensure_experiment("digits").unwrap(), two.create_experiment("digits", None, &[]).unwrap());
    assert!(x != y && [&x, &y].iter().all(|id| id.len() == 18));
    let (a, b) = (new_run(&one, &x), new_run(&two, &y));
    points(&one, &a, 0..10);
    let logger = two.logger(&b).unwrap();
    let key = logger.key("loss").unwrap();
    for step in 0..10 {
        logger.log_row_now(step, &[(key, 0.5)], Durability::Buffered).unwrap();
    }
    two.log_param(&b, "lr", "1").unwrap();
    assert_eq!(steps(&two, &b).len(), 10);
    assert!(!path.join("FORMAT").exists());

    let main = online(&path);
    clean(&merge(&main));
    let place = |shared: &MlflowCalls, run: &str| shared.run_info(run).unwrap().artifact_uri;
    for (from, run) in [(&one, &a), (&two, &b)] {
        assert_eq!(steps(&main, run), (0..10).collect::<Vec<_>>());
        // Files are where they were put.
        assert_eq!(place(&main, run), place(from, run));
        assert!(place(from, run).starts_with(path.to_str().unwrap()) && !place(from, run).contains("inbox"));
    }
    let both = main.experiment_by_name("digits").unwrap().unwrap().experiment_id;
    // Either id is the experiment's, for ever.
    for (id, runs_count) in [(&x, 2), (&y, 3)] {
        assert_eq!(main.experiment(id).unwrap().experiment_id, both);
        let found = main.search_runs(std::slice::from_ref(id), "", View::ActiveOnly, 10, &[], None).unwrap();
        assert_eq!(found.items.len(), runs_count);
        new_run(&main, id);
    }
    assert_eq!(main.search_runs(&[both], "", View::ActiveOnly, 10, &[], None).unwrap().items.len(), 4);
    assert!(main.experiment("999999999999999999").is_err());

    let again = merge(&main);
    assert_eq!((again.batches_count, again.points_count, again.problems_count), (0, 0, 0));
    points(&one, &a, 10..20);
    one.update_run(&a, Some(RunStatus::Finished), Some(9), None).unwrap();
    let own = own_store(&one);
    assert!(is_offline_store(&own));
    assert_eq!(closed_position(&own), None);
    one.close().unwrap();
    let report = merge(&main);
    clean(&report);
    assert_eq!((report.points_count, steps(&main, &a).len()), (10, 20));
    assert_eq!(main.run_info(&a).unwrap().status, RunStatus::Finished);
    // All of it is in: the folder may go.
    let store = LocalStore::options(&own).read_only(true).open().unwrap();
    let source = Source::new(&store, Lsn::ZERO, main.store_id().unwrap().parse().unwrap()).unwrap().to_published();
    assert!(closed_position(&own).is_some_and(|end| end > Lsn::ZERO && end <= source.end()));
}

#[test]
fn what_the_main_store_has_is_seen_and_experiments_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let main = online(dir.path());
    let place = Some("/elsewhere/files");
    let experiment = main.create_experiment("digits", place, &[]).unwrap();
    let gone = main.create_experiment("gone", None, &[]).unwrap();
    main.delete_experiment(&gone).unwrap();
    let run = new_run(&main, &experiment);
    points(&main, &run, 0..5);
    main.create_registered_model("net", &[], None).unwrap();
    main.flush().unwrap();

    let away = offline(dir.path());
    // A reader has no store of its own.
    assert_eq!(away.experiment_by_name("digits").unwrap().unwrap().experiment_id, experiment);
    assert_eq!(
        away.search_runs(std::slice::from_ref(&experiment), "", View::ActiveOnly, 9, &[], None).unwrap().items.len(),
        1
    );
    assert_eq!(steps(&away, &run).len(), 5);
    assert_eq!(away.status().unwrap().own_store, None);

    let mine = new_run(&away, &experiment);
    assert!(away.status().unwrap().own_store.is_some());
    assert_eq!(away.run_info(&mine).unwrap().artifact_uri, format!("/elsewhere/files/{mine}/artifacts"));
    assert_eq!((away.run(&run).unwrap().info.run_id, steps(&away, &run).len()), (run.clone(), 5));
    away.set_experiment_tag(&experiment, "by", "away").unwrap();
    assert_eq!(away.ensure_experiment("digits").unwrap(), experiment);
    let model = NewLoggedModel { experiment_id: &experiment, name: Some("m"), ..NewLoggedModel::default() };
    let model = away.create_logged_model(&model).unwrap().model_id;

    // What belongs to the main store is not changed from here.
    let error = away.set_tag(&run, "a", "b").unwrap_err();
    assert_eq!(error.code, ErrorCode::ResourceDoesNotExist);
    assert!(error.message.contains("offline"), "{}", error.message);
    assert!(away.log_metric(&run, &NewMetric { key: "x", ..NewMetric::default() }).is_err());
    assert!(away.logger(&run).unwrap_err().message.contains("offline"));
    let error = away.create_registered_model("other", &[], None).unwrap_err();
    assert_eq!(error.code, ErrorCode::FeatureDisabled);
    assert_eq!(away.registered_model("net").unwrap().name, "net");
    assert_eq!(away.search_registered_models("", 10, &[], None).unwrap().items.len(), 1);
    assert_eq!(away.create_experiment("gone", None, &[]).unwrap_err().code, ErrorCode::ResourceAlreadyExists);
    assert!(away.ensure_experiment("gone").is_err() && away.create_experiment("digits", None, &[]).is_err());

    // Renamed meanwhile: it is the same one.
    main.rename_experiment(&experiment, "numbers").unwrap();
    clean(&merge(&main));
    assert_eq!(main.run_info(&mine).unwrap().experiment_id, experiment);
    assert_eq!(main.logged_model(&model, false).unwrap().experiment_id, experiment);
    assert!(main.experiment_by_name("digits").unwrap().is_none());
    assert!(main.experiment(&experiment).unwrap().tags.contains(&("by".to_owned(), "away".to_owned())));
}

#[test]
fn a_holder_does_not_take_the_stores_for_inboxes() {
    let dir = tempfile::tempdir().unwrap();
    let main = online(dir.path());
    let client = online(dir.path());
    let away = offline(dir.path());
    let (here, there) = (new_run(&client, "0"), new_run(&away, "0"));
    points(&client, &here, 0..5);
    points(&away, &there, 0..5);
    assert_eq!(steps(&main, &here).len(), 5);
    assert!(main.run(&there).is_err());
    let store = main.local().unwrap();
    let report = store.verify().unwrap();
    assert!(report.is_sound() && report.inboxes_count == 1, "{report:?}");
    clean(&merge(&client));
    assert_eq!((steps(&main, &there).len(), steps(&client, &there).len()), (5, 5));
    assert!(store.engine().merge_inboxes().unwrap().problems.is_empty());
    let own = own_store(&away);
    away.close().unwrap();
    client.close().unwrap();
    drop(store);
    main.close().unwrap();
    assert!(own.join("FORMAT").exists() && own.join("LOCK").exists() && !own.join("lock").exists());
    assert!(LocalStore::open(&own).unwrap().verify().unwrap().is_sound());
}

#[test]
fn where_another_host_holds_the_store_a_process_is_offline() {
    let dir = tempfile::tempdir().unwrap();
    drop(LocalStore::open(dir.path()).unwrap());
    let disk = Disk::new(dir.path());
    use crate::engine::storage::Storage as _;
    let lock = disk.lock(LOCK_PATH, "pid 7 on a-host-far-away").unwrap().unwrap();
    let away = Store::options(dir.path()).open_apart().unwrap().mlflow();
    assert!(away.status().unwrap().offline);
    let run = new_run(&away, "0");
    drop(lock);
    points(&away, &run, 0..3);
    assert!(away.status().unwrap().offline);
    let main = Store::options(dir.path()).open_apart().unwrap().mlflow();
    assert!(main.holds().unwrap());
    clean(&merge(&main));
    assert_eq!(steps(&main, &run).len(), 3);
}

#[test]
fn decided_by_settings_and_file_system() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(decide(dir.path(), Some(false)).unwrap(), Some(false));
    assert_eq!(decide(&dir.path().join("not/there"), Some(true)).unwrap(), Some(true));
    #[cfg(target_os = "linux")]
    {
        assert_eq!(named_file_system(0x6969), Some("NFS"));
        assert_eq!(named_file_system(0xff53_4d42), Some("CIFS"));
        assert_eq!(named_file_system(0xef53), None);
    }
    // Nothing is made where nothing may be made.
    assert!(Store::options(dir.path()).create(false).offline(true).open().is_err());
}

#[test]
fn a_closed_handle_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let away = offline(dir.path());
    let run = new_run(&away, "0");
    let other = away.clone();
    away.shared.seat().unwrap().leave().unwrap();
    assert!(other.log_metric(&run, &NewMetric { key: "x", ..NewMetric::default() }).is_err());
    assert!(other.run(&run).is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("inbox")).unwrap().count(), 1);
}
