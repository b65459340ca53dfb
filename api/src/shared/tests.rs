//! Holder and client in one process, with everything sent between them. The tests crate covers processes that die.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use super::caller::OWN;
use super::*;
use crate::mlflow::entity::{Run, View};
use crate::mlflow::{ApiError, ErrorCode, NewLoggedModel, NewMetric, NewModelVersion, NewRun};
use crate::{KeyId, RunStatus, Store, TimestampMs};

fn apart(path: &Path) -> MlflowCalls {
    Store::options(path).open_apart().unwrap().mlflow()
}

fn new_run(shared: &MlflowCalls) -> String {
    shared.create_run(&NewRun { user_id: "ann", start_time: 7, ..NewRun::default() }).unwrap().info.run_id
}

fn metric(step: i64, value: f64) -> NewMetric<'static> {
    NewMetric { key: "loss", value, timestamp: 1, step, ..NewMetric::default() }
}

fn steps(shared: &MlflowCalls, run: &str, key: &str) -> Vec<i64> {
    shared.metric_history(run, key, None, None).unwrap().0.steps
}

#[test]
fn a_process_has_one_store_however_often_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let first = Store::options(&path).open().unwrap().mlflow();
    let other = Store::options(dir.path().join(".").join("store")).artifact_root("s3://b/x");
    let second = other.open().unwrap().mlflow();
    assert!(first.holds().unwrap() && second.holds().unwrap());
    assert!(Arc::ptr_eq(&first.shared.seat().unwrap().node, &second.shared.seat().unwrap().node));
    let run = new_run(&first);
    assert!(second.run_info(&run).unwrap().artifact_uri.starts_with("s3://b/x/0/"));
    assert!(first.run_info(&run).unwrap().artifact_uri.starts_with(&*path.to_string_lossy()));
    first.close().unwrap();
    assert_eq!(second.run(&run).unwrap().info.run_id, run);
    assert!(path.join("sock").exists());
    second.close().unwrap();
    assert!(!path.join("sock").exists());
    LocalStore::open(&path).unwrap().close().unwrap();
}

#[test]
fn what_a_client_logs_is_durable_soon_whatever_its_holder_does() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    let run = new_run(&client);
    for step in 0..3 {
        client.log_metric(&run, &metric(step, 0.5)).unwrap();
        let numbers = || match &*client.shared.seat().unwrap().node.role.read() {
            Role::Client(client) => client.made_inbox().map(|inbox| (inbox.synced_number(), inbox.last_number())),
            _ => None,
        };
        let begun = Instant::now();
        while numbers() != Some((step as u64 + 1, step as u64 + 1)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", numbers());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    client.close().unwrap();
    holder.close().unwrap();
}

#[test]
fn a_client_does_all_that_a_holder_does() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let client = apart(dir.path());
    assert!(holder.holds().unwrap() && !client.holds().unwrap());
    let experiment = client.create_experiment("digits", None, &[("a".into(), "b".into())]).unwrap();
    assert_eq!(holder.experiment(&experiment).unwrap(), client.experiment(&experiment).unwrap());
    let error = client.create_experiment("digits", None, &[]).unwrap_err();
    assert_eq!((error.code, error), {
        let same = holder.create_experiment("digits", None, &[]).unwrap_err();
        (same.code, same)
    });
    let run = new_run(&client);
    client.set_tag(&run, "t", "1").unwrap();
    client.log_param(&run, "p", "1").unwrap();
    assert!(client.log_param(&run, "p", "2").unwrap_err().message.contains("Changing param values"));
    client.update_run(&run, Some(RunStatus::Finished), Some(99), Some("renamed")).unwrap();
    let with_model = [NewMetric { dataset_name: Some("d"), dataset_digest: Some("1"), ..metric(1, 0.25) }];
    client.log_batch(&run, &with_model, &[("q".into(), "1".into())], &[("u".into(), "2".into())]).unwrap();
    client.record_logged_model(&run, "1").unwrap();
    client.record_logged_model(&run, "2").unwrap();
    let (at_client, at_holder) = (client.run(&run).unwrap(), holder.run(&run).unwrap());
    assert_eq!(at_client, at_holder);
    assert_eq!(at_client.info.run_name, "renamed");
    assert!(at_client.tags.contains(&("mlflow.log-model.history".to_owned(), "[1, 2]".to_owned())));
    let found = client.search_runs(&["0".to_owned()], "params.p = '1'", View::ActiveOnly, 10, &[], None).unwrap();
    assert_eq!(found.items.len(), 1);
    client.create_registered_model("m", &[], None).unwrap();
    let version = client.create_model_version("m", &NewModelVersion { source: "s", ..NewModelVersion::default() });
    assert_eq!(version.unwrap().version, 1);
    let model = NewLoggedModel { experiment_id: &experiment, name: Some("lm"), ..NewLoggedModel::default() };
    let model = client.create_logged_model(&model).unwrap();
    assert_eq!(holder.logged_model(&model.model_id, false).unwrap(), model);
    let status = holder.status().unwrap();
    assert!(status.serving && status.connections_count >= 2);
}

#[test]
fn every_process_reads_every_acknowledged_point() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let (one, two) = (apart(dir.path()), apart(dir.path()));
    let run = new_run(&one);
    for step in 0..50 {
        one.log_metric(&run, &metric(step, 0.5)).unwrap();
        assert_eq!(steps(&two, &run, "loss").len() as i64, step + 1);
        assert_eq!(steps(&holder, &run, "loss").len() as i64, step + 1);
    }
    let batch: Vec<_> = (50..60).map(|step| metric(step, 0.5)).collect();
    two.log_batch(&run, &batch, &[], &[]).unwrap();
    assert_eq!(steps(&one, &run, "loss"), (0..60).collect::<Vec<_>>());
    assert!(one.status().unwrap().writer.is_some());
    let logger = two.logger(&run).unwrap();
    let (a, b) = (logger.key("a").unwrap(), logger.key("b").unwrap());
    logger.log_row(1, TimestampMs(5), &[(b, 2.0), (a, 1.0)], Durability::Buffered).unwrap();
    let latest = one.run(&run).unwrap().metrics;
    let latest: Vec<_> = latest.iter().map(|metric| (&*metric.key, metric.value)).collect();
    assert_eq!(latest, [("a", 1.0), ("b", 2.0), ("loss", 0.5)]);
    let wrong = logger.log_row(1, TimestampMs(5), &[(KeyId(9), 2.0)], Durability::Buffered).unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidParameterValue);
}

#[test]
fn a_client_does_not_log_to_a_run_that_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let client = apart(dir.path());
    let run = new_run(&holder);
    let logger = client.logger(&run).unwrap();
    let key = logger.key("k").unwrap();
    client.log_metric(&run, &metric(0, 1.0)).unwrap();
    logger.log_row(0, TimestampMs(1), &[(key, 1.0)], Durability::Buffered).unwrap();
    holder.delete_run(&run).unwrap();
    let refused = client.log_metric(&run, &metric(1, 1.0)).unwrap_err();
    assert!(refused.message.contains("must be in the 'active' state"), "{refused}");
    assert!(logger.log_row(1, TimestampMs(1), &[(key, 1.0)], Durability::Buffered).is_err());
    holder.restore_run(&run).unwrap();
    client.log_metric(&run, &metric(2, 1.0)).unwrap();
    logger.log_row(2, TimestampMs(1), &[(key, 1.0)], Durability::Buffered).unwrap();
    assert_eq!((steps(&holder, &run, "loss"), steps(&holder, &run, "k")), (vec![0, 2], vec![0, 2]));
    let absent = client.log_metric(&"0".repeat(32), &metric(0, 1.0)).unwrap_err();
    assert_eq!(absent.code, ErrorCode::ResourceDoesNotExist);
}

#[test]
fn a_client_follows_a_holder_that_closes_and_its_loggers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let clients = [apart(dir.path()), apart(dir.path())];
    let run = new_run(&holder);
    let loggers = clients.each_ref().map(|client| client.logger(&run).unwrap());
    let per_thread = 3_000;
    std::thread::scope(|scope| {
        for (number, logger) in loggers.iter().enumerate() {
            scope.spawn(move || {
                let keys = [logger.key("shared").unwrap(), logger.key(&format!("own-{number}")).unwrap()];
                for step in 0..per_thread {
                    let row = keys.map(|key| (key, step as f64));
                    logger.log_row(step * 2 + number as i64, TimestampMs(1), &row, Durability::Buffered).unwrap();
                    if step == 1_000 {
                        logger.key("later").unwrap();
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(5));
        holder.close().unwrap();
    });
    let reader = &clients[0];
    assert_eq!(steps(reader, &run, "shared"), (0..per_thread * 2).collect::<Vec<_>>());
    assert_eq!(steps(reader, &run, "own-0").len() as i64, per_thread);
    assert_eq!(steps(&clients[1], &run, "own-1").len() as i64, per_thread);
    let holds = clients.each_ref().map(|client| client.holds().unwrap());
    assert!(holds[0] != holds[1], "{holds:?}");
    // The process that took over has ended its inbox and merged it.
    let ended = if holds[0] { &clients[0] } else { &clients[1] };
    assert_eq!(ended.status().unwrap().writer, None);
    let id = ended.create_experiment("after", None, &[]).unwrap();
    assert_eq!(clients[0].experiment(&id).unwrap(), clients[1].experiment(&id).unwrap());
}

#[test]
fn a_request_that_comes_again_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let client = apart(dir.path());
    let seat = client.shared.seat().unwrap();
    let new = NewRun { start_time: 5, ..NewRun::default() };
    let request = |count| {
        use super::wire::Put as _;
        let mut request = protocol::new_request(count, 10);
        new.put(&mut request);
        request
    };
    let first = seat.ask::<Run, ApiError>(&OWN, request(77)).unwrap();
    let second = seat.ask::<Run, ApiError>(&OWN, request(77)).unwrap();
    assert_eq!(first, second);
    // This works even if another process holds the store by then.
    holder.close().unwrap();
    let third = seat.ask::<Run, ApiError>(&OWN, request(77)).unwrap();
    assert_eq!(first, third);
    assert!(client.holds().unwrap());
    let other = seat.ask::<Run, ApiError>(&OWN, request(78)).unwrap();
    assert_ne!(first.info.run_id, other.info.run_id);
    let runs = client.search_runs(&["0".to_owned()], "", View::All, 10, &[], None).unwrap();
    assert_eq!(runs.items.len(), 2);
}

#[test]
fn who_was_told_that_a_name_is_free_gets_the_winners_experiment() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = [apart(dir.path()), apart(dir.path()), apart(dir.path())];
    for node in &nodes {
        assert!(node.experiment_by_name("new").unwrap().is_none());
    }
    let ids = nodes.each_ref().map(|node| node.create_experiment("new", None, &[]).unwrap());
    assert!(ids[0] == ids[1] && ids[1] == ids[2]);
    for node in &nodes {
        assert_eq!(node.create_experiment("new", None, &[]).unwrap_err().code, ErrorCode::ResourceAlreadyExists);
    }
}

#[test]
fn a_path_may_be_longer_than_a_sockets_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a".repeat(120)).join("b".repeat(120));
    let holder = apart(&path);
    assert!(holder.status().unwrap().serving);
    let client = apart(&path);
    let run = new_run(&client);
    client.log_metric(&run, &metric(0, 1.0)).unwrap();
    assert_eq!(steps(&holder, &run, "loss"), [0]);
}

#[test]
fn a_socket_that_was_left_is_replaced_and_closed_handles_say_so() {
    let dir = tempfile::tempdir().unwrap();
    apart(dir.path()).close().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("sock")).unwrap());
    let holder = apart(dir.path());
    new_run(&apart(dir.path()));
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("sock.old")).unwrap());
    std::fs::rename(dir.path().join("sock.old"), dir.path().join("sock")).unwrap();
    holder.close().unwrap();
    assert!(dir.path().join("sock").exists(), "a name that is not ours stays");
    let holder = apart(dir.path());
    let client = apart(dir.path());
    assert!(!client.holds().unwrap());
    holder.shared.seat().unwrap().node.close().unwrap();
    assert!(holder.run("x").unwrap_err().store_failed);
    assert!(holder.holds().is_ok_and(|holds| !holds));
    new_run(&client);
    assert!(client.holds().unwrap());
}

/// Values of one call each, without a step, within microseconds: at a client, at the holder, and by either's logger.
#[test]
fn equal_points_are_as_many_as_the_calls_at_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    let run = new_run(&holder);
    let value = |call: usize| if call.is_multiple_of(5) { 0.0 } else { 1.0 };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for (shared, name) in [(&holder, "holder"), (&client, "client")] {
        let single = format!("{name} single");
        let logged = format!("{name} logger");
        let batch = format!("{name} batch");
        let logger = shared.logger(&run).unwrap();
        let key = logger.key(&logged).unwrap();
        let mut metrics = Vec::new();
        for call in 0..1000 {
            let metric = NewMetric { timestamp: now(), value: value(call), ..NewMetric::default() };
            shared.log_metric(&run, &NewMetric { key: &single, ..metric }).unwrap();
            logger.log_row_now(0, &[(key, value(call))], Durability::Buffered).unwrap();
            metrics.push(NewMetric { key: &batch, ..metric });
        }
        // A little ahead, so that a slow machine is in time too.
        let time = now() + 60_000;
        metrics.iter_mut().for_each(|metric| metric.timestamp = time);
        shared.log_batch(&run, &metrics, &[], &[]).unwrap();
        // Later than its own time it is looked up: what is sent again is there.
        let old = NewMetric { key: "old", value: 1.0, timestamp: 1, step: 3, ..NewMetric::default() };
        for _ in 0..3 {
            shared.log_metric(&run, &old).unwrap();
            shared.log_batch(&run, &[old, NewMetric { step: 2, ..old }, old], &[], &[]).unwrap();
        }
    }
    for name in ["holder", "client"] {
        for door in ["single", "logger", "batch"] {
            let found = client.metric_history(&run, &format!("{name} {door}"), None, None).unwrap().0.values;
            assert_eq!((found.len(), found.iter().sum::<f64>()), (1000, 800.0), "{name} {door}");
        }
    }
    assert_eq!(steps(&holder, &run, "old"), [2, 3]);
}

#[test]
fn a_run_that_cannot_be_given_its_params_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    for shared in [&holder, &client] {
        for params in
            [vec![("a|b".to_owned(), "1".to_owned())], vec![("a".into(), "1".into()), ("a".into(), "2".into())]]
        {
            let error = shared.create_run_with(&NewRun::default(), &params).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidParameterValue, "{error}");
        }
        let run = shared.create_run_with(&NewRun::default(), &[("a".into(), "1".into())]).unwrap().info.run_id;
        assert_eq!(shared.end_run(&run, RunStatus::Finished, 5).unwrap(), RunStatus::Finished);
        assert_eq!(shared.end_run(&run, RunStatus::Failed, 6).unwrap(), RunStatus::Finished);
        let info = shared.run_info(&run).unwrap();
        assert_eq!((info.status, info.end_time), (RunStatus::Finished, Some(5)));
        // MLflow's own way changes it.
        shared.update_run(&run, Some(RunStatus::Failed), Some(7), None).unwrap();
        assert_eq!(shared.run_info(&run).unwrap().status, RunStatus::Failed);
    }
    let found = holder.search_runs(&["0".to_owned()], "", View::All, 10, &[], None).unwrap();
    assert_eq!(found.items.len(), 2);
}

#[test]
fn metric_names_have_one_rule_at_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    let run = new_run(&holder);
    for shared in [&holder, &client] {
        let logger = shared.logger(&run).unwrap();
        for name in ["", "a|b", "a//b", "../a", "/a", "a/", &"x".repeat(251)] {
            assert!(logger.key(name).is_err(), "{name}");
            let metric = NewMetric { key: name, ..metric(1, 1.0) };
            assert!(shared.log_metric(&run, &metric).is_err(), "{name}");
            assert!(shared.log_batch(&run, &[metric], &[], &[]).is_err(), "{name}");
        }
        logger.key("a b/c.d-e_f:g").unwrap();
    }
    let store = LocalStore::open(dir.path().join("other")).unwrap();
    let run = store.create_run(store.get_or_create_experiment("e").unwrap(), crate::RunSpec::new()).unwrap();
    for name in ["", "a|b", "a//b", "../a", "/a", "a/", &"x".repeat(251)] {
        let point = crate::Point { step: 0, time: TimestampMs(1), value: 1.0 };
        assert!(run.log_metrics(0, &[("ok", 1.0), (name, 1.0)]).is_err(), "{name}");
        assert!(run.log_metric_at(name, point, Durability::Buffered).is_err(), "{name}");
        assert!(run.log_metric_of(name, point, crate::MetricContext::default()).is_err(), "{name}");
    }
    assert!(store.snapshot().unwrap().latest(run.id()).unwrap().is_empty());
    // The first end stays.
    assert!(matches!(run.end(RunStatus::Finished).unwrap(), crate::Ended::Now(_)));
    assert_eq!(run.end(RunStatus::Failed).unwrap(), crate::Ended::Before(RunStatus::Finished));
    assert_eq!(store.snapshot().unwrap().run(run.id()).unwrap().unwrap().status, RunStatus::Finished);
}
