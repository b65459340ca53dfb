//! Every call that changes something, by a client that loses the answer and asks the next holder.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use super::caller::OWN;
use super::wire::Put as _;
use super::*;
use crate::mlflow::entity::{LoggedModel, ModelVersion, RegisteredModel, Run, RunInfo};
use crate::mlflow::{ApiError, NewLoggedModel, NewMetric, NewModelVersion, NewRun, Rewound};
use crate::run::RunChange;
use crate::{
    DatasetInput, Ended, ExperimentId, ExperimentSpec, LoggedModelSpec, LoggedModelStatus, Lsn, ModelId,
    RegisteredModelSpec, RunSpec, RunStatus, Stage, Store, VersionSpec,
};

fn apart(path: &Path) -> MlflowCalls {
    Store::options(path).open_apart().unwrap().mlflow()
}

/// Asks the holder; then the holder ends, and the same request comes to the next one. Evaluates to the answer.
macro_rules! lost {
    ($dir:ident, $error:ty, $number:literal ($($arg:expr),*) -> $out:ty) => {{
        let (holder, client) = (apart($dir.path()), apart($dir.path()));
        let seat = client.shared.seat().unwrap();
        let count = seat.next_request();
        let request = || {
            #[allow(unused_mut)]
            let mut request = protocol::new_request(count, $number);
            $($arg.put(&mut request);)*
            request
        };
        let first = seat.ask::<$out, $error>(&OWN, request()).unwrap_or_else(|error| panic!("call {}: {error}", $number));
        holder.close().unwrap();
        // This process takes over, which may write to the log.
        let published = client.positions().unwrap().published;
        let again = seat.ask::<$out, $error>(&OWN, request()).unwrap_or_else(|error| panic!("call {}: {error}", $number));
        assert_eq!(format!("{again:?}"), format!("{first:?}"), "call {}", $number);
        assert!(client.holds().unwrap());
        assert_eq!(client.positions().unwrap().published, published, "call {} was done twice", $number);
        client.close().unwrap();
        first
    }};
}

fn tags(value: &str) -> Vec<(String, String)> {
    vec![("k".to_owned(), value.to_owned())]
}

#[test]
fn typed_calls_are_done_once_though_their_answers_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = lost!(dir, Error, 110(ExperimentSpec::named("e")) -> ExperimentId);
    lost!(dir, Error, 111("e") -> ExperimentId);
    lost!(dir, Error, 115(experiment, "renamed") -> Lsn);
    lost!(dir, Error, 116(experiment, tags("1")[..]) -> Lsn);
    lost!(dir, Error, 117(experiment, "k") -> Lsn);
    let run = lost!(dir, Error, 120(experiment, RunSpec::new()) -> RunId);
    let change = RunChange { status: None, end_time_ms: None, name: Some("n".into()) };
    lost!(dir, Error, 123(run, change) -> ());
    lost!(dir, Error, 125(run, tags("1")[..]) -> Lsn);
    lost!(dir, Error, 126(run, "k") -> Lsn);
    lost!(dir, Error, 127(run, tags("1")[..]) -> Lsn);
    let dataset = DatasetInput {
        name: "d".into(),
        digest: "1".into(),
        source_type: "local".into(),
        source: "s".into(),
        schema: None,
        profile: None,
        tags: vec![],
    };
    let no_models: &[String] = &[];
    let datasets = [dataset];
    lost!(dir, Error, 128(run, datasets[..], no_models) -> Lsn);
    lost!(dir, Error, 130(run, "model.bin", Some(7u64)) -> Lsn);
    lost!(dir, Error, 133(run) -> ());
    {
        let calls = apart(dir.path());
        let point = |step| NewMetric { key: "loss", value: 1.0, timestamp: 1, step, ..NewMetric::default() };
        calls.log_batch(&run.to_string(), &[1, 2, 3, 4].map(point), &[], &[]).unwrap();
        calls.close().unwrap();
    }
    let rewound = lost!(dir, Error, 134(run, 2i64) -> Rewound);
    assert_eq!((rewound.branch, rewound.points_hidden), (1, 2));
    lost!(dir, Error, 124(run, RunStatus::Finished, Some(9i64)) -> Ended);
    lost!(dir, Error, 131(run) -> Lsn);
    lost!(dir, Error, 132(run) -> Lsn);

    lost!(dir, Error, 140(RegisteredModelSpec::named("m")) -> ());
    lost!(dir, Error, 143("m", Some("text")) -> ());
    lost!(dir, Error, 146("m", tags("1")[..]) -> ());
    lost!(dir, Error, 147("m", "k") -> ());
    let version = lost!(dir, Error, 150("m", VersionSpec::from_source("s")) -> u32);
    assert_eq!(version, 1);
    lost!(dir, Error, 148("m", "prod", version) -> ());
    lost!(dir, Error, 149("m", "prod") -> ());
    lost!(dir, Error, 154("m", version, Some("text")) -> ());
    lost!(dir, Error, 155("m", version, Stage::Production, true) -> ());
    lost!(dir, Error, 156("m", version, tags("1")[..]) -> ());
    lost!(dir, Error, 157("m", version, "k") -> ());
    lost!(dir, Error, 158("m", version) -> ());
    lost!(dir, Error, 144("m", "m2") -> ());
    lost!(dir, Error, 145("m2") -> ());

    let model = lost!(dir, Error, 160(experiment, LoggedModelSpec::new()) -> ModelId);
    lost!(dir, Error, 129(run, [(model.to_string(), 3i64)][..]) -> Lsn);
    lost!(dir, Error, 162(model, LoggedModelStatus::Ready) -> Lsn);
    lost!(dir, Error, 163(model, tags("1")[..]) -> Lsn);
    lost!(dir, Error, 164(model, "k") -> Lsn);
    lost!(dir, Error, 165(model, tags("1")[..]) -> Lsn);
    lost!(dir, Error, 166(model) -> Lsn);
    lost!(dir, Error, 118(experiment) -> Lsn);
    lost!(dir, Error, 119(experiment) -> Lsn);
}

#[test]
fn mlflows_calls_are_done_once_though_their_answers_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let none: &[(String, String)] = &[];
    let experiment = lost!(dir, ApiError, 1("e", None::<&str>, none) -> String);
    lost!(dir, ApiError, 80("e") -> String);
    lost!(dir, ApiError, 6(experiment, "renamed") -> ());
    lost!(dir, ApiError, 7(experiment, "k", "v") -> ());
    lost!(dir, ApiError, 8(experiment, "k") -> ());
    let id =
        lost!(dir, ApiError, 10(NewRun { experiment_id: Some(&experiment), ..NewRun::default() }) -> Run).info.run_id;
    lost!(dir, ApiError, 13(id, None::<RunStatus>, None::<i64>, Some("n")) -> RunInfo);
    lost!(dir, ApiError, 16(id, "k", "v") -> ());
    lost!(dir, ApiError, 17(id, "k") -> ());
    let points =
        [1, 2, 3, 4].map(|step| NewMetric { key: "m", value: 1.0, timestamp: 1 << 50, step, ..NewMetric::default() });
    lost!(dir, ApiError, 19(id, hidden::Metrics(&points), none, tags("1")[..]) -> ());
    lost!(dir, ApiError, 20(id, "p", "1") -> ());
    lost!(dir, ApiError, 23(id, None::<&str>, "[1]") -> bool);
    let dataset = crate::mlflow::entity::Dataset {
        name: "d".into(),
        digest: "1".into(),
        source_type: "local".into(),
        source: "s".into(),
        schema: None,
        profile: None,
    };
    let dataset = crate::mlflow::entity::DatasetInput { tags: vec![], dataset };
    let no_models: &[String] = &[];
    let datasets = [dataset];
    lost!(dir, ApiError, 24(id, datasets[..], no_models) -> ());
    let rewound = lost!(dir, ApiError, 90(id, 3i64) -> Rewound);
    assert_eq!((rewound.branch, rewound.points_hidden), (1, 1));
    lost!(dir, ApiError, 14(id) -> ());
    lost!(dir, ApiError, 15(id) -> ());
    let new = NewLoggedModel { experiment_id: &experiment, ..NewLoggedModel::default() };
    let model = lost!(dir, ApiError, 40(new) -> LoggedModel).model_id;
    lost!(dir, ApiError, 25(id, [(model.clone(), 3i64)][..]) -> ());
    lost!(dir, ApiError, 42(model, LoggedModelStatus::Ready) -> LoggedModel);
    lost!(dir, ApiError, 44(model, tags("1")[..]) -> ());
    lost!(dir, ApiError, 45(model, tags("1")[..]) -> ());
    lost!(dir, ApiError, 46(model, "k") -> ());
    lost!(dir, ApiError, 43(model) -> ());
    lost!(dir, ApiError, 50("m", none, None::<&str>) -> RegisteredModel);
    lost!(dir, ApiError, 52("m", Some("text")) -> RegisteredModel);
    lost!(dir, ApiError, 56("m", "k", "v") -> ());
    lost!(dir, ApiError, 57("m", "k") -> ());
    let new = NewModelVersion { source: "s", ..NewModelVersion::default() };
    assert_eq!(lost!(dir, ApiError, 70("m", new) -> ModelVersion).version, 1);
    lost!(dir, ApiError, 58("m", "prod", "1") -> ());
    lost!(dir, ApiError, 59("m", "prod") -> ());
    lost!(dir, ApiError, 72("m", "1", Some("text")) -> ModelVersion);
    lost!(dir, ApiError, 73("m", "1", "Production", true) -> ModelVersion);
    lost!(dir, ApiError, 76("m", "1", "k", "v") -> ());
    lost!(dir, ApiError, 77("m", "1", "k") -> ());
    lost!(dir, ApiError, 74("m", "1") -> ());
    lost!(dir, ApiError, 53("m", "m2") -> RegisteredModel);
    lost!(dir, ApiError, 54("m2") -> ());
    lost!(dir, ApiError, 4(experiment) -> ());
    lost!(dir, ApiError, 5(experiment) -> ());

    let other = tempfile::tempdir().unwrap();
    let from = LocalStore::open(other.path().join("s")).unwrap();
    from.create_experiment(ExperimentSpec::named("theirs")).unwrap();
    from.flush().unwrap();
    let source = from.engine().id().to_string();
    let mut chunks = {
        let own = apart(dir.path());
        let to = own.store_id().unwrap().parse().unwrap();
        own.close().unwrap();
        crate::sync::Source::new(&from, Lsn::ZERO, to).unwrap()
    };
    let chunk = chunks.next_chunk().unwrap().unwrap().encode();
    {
        let (holder, client) = (apart(dir.path()), apart(dir.path()));
        let first = client.sync_apply(&chunk).unwrap();
        assert!(first.events_count > 0);
        holder.close().unwrap();
        let published = client.positions().unwrap().published;
        assert_eq!(client.sync_apply(&chunk).unwrap(), first, "a repeat is told what the first time did");
        assert_eq!(client.positions().unwrap().published, published);
        client.close().unwrap();
    }
    let seen = lost!(dir, ApiError, 101(source) -> u64);
    assert_eq!(lost!(dir, ApiError, 104(source) -> u64), seen);
    assert!(seen > 0);
}

/// Two processes end a run at once: one of them does, and both are told the same.
#[test]
fn a_run_is_ended_once_whoever_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let clients = [apart(dir.path()), apart(dir.path()), apart(dir.path())];
    for _ in 0..20 {
        let id = holder.create_run(&NewRun::default()).unwrap().info.run_id;
        let statuses = [RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];
        let told: Vec<RunStatus> = std::thread::scope(|scope| {
            let ends = clients.iter().zip(statuses).map(|(client, status)| {
                let id = &id;
                scope.spawn(move || client.end_run(id, status, 5).unwrap())
            });
            let ends: Vec<_> = ends.collect();
            ends.into_iter().map(|end| end.join().unwrap()).collect()
        });
        assert!(told.iter().all(|status| *status == told[0]), "{told:?}");
        assert_eq!(holder.run_info(&id).unwrap().status, told[0]);
    }
    for calls in [&holder, &clients[0]] {
        let absent = calls.end_run(&"0".repeat(32), RunStatus::Finished, 5).unwrap_err();
        assert!(absent.message.contains("not found"), "{absent}");
        let id = calls.create_run(&NewRun::default()).unwrap().info.run_id;
        calls.delete_run(&id).unwrap();
        let deleted = calls.end_run(&id, RunStatus::Finished, 5).unwrap_err();
        assert!(deleted.message.contains("must be in the 'active' state"), "{deleted}");
    }
}
