//! The typed calls in every seat: as holder, as a client of another one, offline. Processes that die are in the tests
//! crate.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Debug;
use std::path::Path;

use super::*;
use crate::info::View;
use crate::mlflow::NewRun;
use crate::{
    DatasetInput, Durability, Ended, LoggedModelSpec, LoggedModelStatus, Point, RunSpec, RunStatus, Stage, TimestampMs,
    VersionSpec,
};

fn apart(path: &Path) -> Store {
    Store::options(path).open_apart().unwrap()
}

fn offline(path: &Path) -> Store {
    Store::options(path).offline(true).open_apart().unwrap()
}

/// What calls answer, one after the other, ids and times left out.
#[derive(Default)]
struct Answers(Vec<String>);

impl Answers {
    fn note(&mut self, call: &str, answer: impl Debug) {
        self.0.push(format!("{call}: {answer:?}"));
    }
}

fn pairs(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, value)| (&**key, &**value)).collect()
}

fn dataset() -> DatasetInput {
    DatasetInput {
        name: "d".into(),
        digest: "1".into(),
        source_type: "local".into(),
        source: "d.csv".into(),
        schema: None,
        profile: None,
        tags: vec![("mlflow.data.context".into(), "training".into())],
    }
}

/// Every typed call on experiments, runs and logged models, refusals among them.
fn tracking(store: &Store) -> Vec<String> {
    let mut all = Answers::default();
    let digits = store.create_experiment(ExperimentSpec::named("digits").tag("a", "b")).unwrap();
    all.note("taken", store.create_experiment("digits").unwrap_err());
    assert_eq!(store.experiment("digits").unwrap().id(), digits.id());
    assert_eq!(store.experiment_by_id(digits.id()).unwrap().id(), digits.id());
    all.note("no name", store.create_experiment("").unwrap_err());
    digits.set_tags(&[("c", "d")]).unwrap();
    digits.delete_tag("a").unwrap();
    all.note("no tag", digits.delete_tag("a").unwrap_err());
    digits.rename("numbers").unwrap();
    let info = digits.info().unwrap();
    all.note("experiment", (&info.name, info.deleted, pairs(&info.tags), &info.artifact_location));
    assert_eq!(store.find_experiment("numbers").unwrap(), Some(info));
    all.note("nobody", store.find_experiment("nobody").unwrap());
    assert!(store.experiments().unwrap().iter().any(|found| found.name == "numbers"));

    let run = digits.create_run(RunSpec::named("trial").user("ann").start_time(TimestampMs(7)).tag("k", "v")).unwrap();
    run.log_params(&[("lr", "0.1"), ("depth", "3")]).unwrap();
    let refused = run.log_params(&[("lr", "0.2")]).unwrap_err();
    all.note("param", refused.to_string().replace(&run.id().to_string(), "RUN"));
    run.set_tags(&[("note", "1"), ("note", "2")]).unwrap();
    run.delete_tag("k").unwrap();
    all.note("no tag", run.delete_tag("k").unwrap_err());
    run.rename("renamed").unwrap();
    run.rename("").unwrap();
    run.log_inputs(&[dataset()], &[]).unwrap();
    run.log_artifact_reference("model.bin", Some(12)).unwrap();
    run.lease().unwrap();
    all.note("key", run.log_metrics(0, &[("a;b", 1.0)]).unwrap_err());

    for step in 0..3 {
        run.log_metrics_at(step, TimestampMs(step), &[("loss", 1.0 - step as f64 / 10.0)], Durability::Buffered)
            .unwrap();
    }
    let mut row = run.row(&["loss", "acc"]).unwrap();
    for step in 3..10 {
        row.log_at(step, TimestampMs(step), &[1.0 - step as f64 / 10.0, f64::NAN], Durability::Sync).unwrap();
    }
    all.note("row", row.log(10, &[1.0]).unwrap_err());
    let more: Vec<_> = (10..2000).map(|step| Point { step, time: TimestampMs(step), value: 0.0 }).collect();
    run.log_points("loss", &more, Durability::Buffered).unwrap();
    all.note("latest", run.latest("loss").unwrap());
    all.note("nan", run.latest("acc").unwrap());
    all.note("no metric", run.latest("none").unwrap());
    let steps = |history: History| history.map(|point| point.unwrap().step).collect::<Vec<_>>();
    assert_eq!(steps(run.history("loss").unwrap()), (0..2000).collect::<Vec<_>>());
    all.note("window", steps(run.history("loss").unwrap().steps(1995..)));
    all.note("inner", steps(run.history("loss").unwrap().steps(3..=4)));
    all.note("empty", steps(run.history("loss").unwrap().steps(4..4)));
    all.note("none", steps(run.history("none").unwrap()));
    let rewound = run.rewind(4).unwrap();
    all.note("rewound", (rewound.points_hidden, rewound.branch));
    run.log_metrics_at(5, TimestampMs(50), &[("loss", 0.25)], Durability::Buffered).unwrap();
    row.log_at(6, TimestampMs(60), &[0.125, 0.5], Durability::Buffered).unwrap();
    all.note("after", steps(run.history("loss").unwrap()));

    let info = run.info().unwrap();
    all.note("run", (&info.name, &info.user, info.status, info.started, info.ended, info.deleted));
    all.note("params", (pairs(&info.params), pairs(&info.tags), &info.datasets));
    all.note("metrics", &info.metrics);
    assert!(matches!(run.liveness().unwrap(), crate::Liveness::Alive { .. }));
    let place = run.artifact_place().unwrap();
    assert!(place.ends_with(&format!("{}/{}/artifacts", digits.id(), run.id())), "{place}");

    let named = |search: Search| search.find().unwrap().into_iter().map(|run| run.name).collect::<Vec<_>>();
    for number in 0..3 {
        let other = digits.create_run(RunSpec::named(format!("other-{number}"))).unwrap();
        other.log_metrics(0, &[("loss", f64::from(number))]).unwrap();
        all.note("end", matches!(other.end(RunStatus::Finished).unwrap(), Ended::Now(_)));
        all.note("ended", other.end(RunStatus::Failed).unwrap());
    }
    let by_loss = |filter: &str| digits.search_runs(filter).order_by("metrics.loss");
    all.note("search", named(by_loss("metrics.loss < 2 and attributes.status = 'FINISHED'")));
    all.note("limit", named(by_loss("").limit(2)));
    all.note("param", named(digits.search_runs("params.lr = '0.1'")));
    all.note("wrong filter", digits.search_runs("metrics.loss <").find().unwrap_err());
    let other = by_loss("").limit(2).find().unwrap().pop().unwrap();
    let other = store.run(other.id).unwrap();
    other.set_status(RunStatus::Running).unwrap();
    other.delete().unwrap();
    let refused = other.log_params(&[("x", "1")]).unwrap_err();
    assert!(matches!(refused, Error::Deleted { entity: crate::EntityKind::Run, .. }), "{refused:?}");
    let refused = other.row(&["loss"]).unwrap_err();
    assert!(matches!(refused, Error::Deleted { entity: crate::EntityKind::Run, .. }), "{refused:?}");
    all.note("deleted", named(digits.search_runs("").view(View::DeletedOnly)));
    other.restore().unwrap();
    all.note("status", other.info().unwrap().status);
    let absent = store.run(RunId([7; 16])).unwrap_err();
    all.note("no run", absent);

    let model =
        digits.create_logged_model(LoggedModelSpec::named("mlp").param("h", "16").source_run(run.id())).unwrap();
    model.set_tags(&[("t", "1")]).unwrap();
    model.log_params(&[("w", "2")]).unwrap();
    all.note("model param", model.log_params(&[("w", "2")]).unwrap_err());
    model.delete_tag("t").unwrap();
    model.finalize(LoggedModelStatus::Ready).unwrap();
    run.log_outputs(&[(model.id(), 3)]).unwrap();
    assert_eq!(run.info().unwrap().model_outputs, [(model.id().to_string(), 3)]);
    let info = store.logged_model(model.id()).unwrap().info().unwrap();
    all.note("model", (&info.name, info.status, info.deleted, pairs(&info.params), pairs(&info.tags)));
    assert_eq!(info.source_run, run.id().to_string());
    assert!(model.artifact_place().unwrap().ends_with(&format!("models/{}/artifacts", model.id())));
    model.delete().unwrap();
    all.note("model gone", model.info().unwrap().deleted);

    digits.delete().unwrap();
    all.note("gone", (digits.info().unwrap().deleted, run.info().unwrap().deleted));
    assert!(matches!(
        digits.create_run(RunSpec::new()).unwrap_err(),
        Error::Deleted { entity: crate::EntityKind::Experiment, .. }
    ));
    all.note("gone by name", store.experiment("numbers").unwrap_err());
    digits.restore().unwrap();
    all.note("back", digits.info().unwrap().deleted);
    store.flush().unwrap();
    all.0
}

/// Every typed call on the registry.
fn registry(store: &Store) -> Vec<String> {
    let mut all = Answers::default();
    let fraud = store.create_registered_model("fraud").unwrap();
    all.note("taken", store.create_registered_model("fraud").map(drop).unwrap_err());
    let first = fraud.create_version(VersionSpec::from_source("a").user("ann").tag("k", "v")).unwrap();
    let second = fraud.create_version(VersionSpec::from_source("b")).unwrap();
    fraud.transition_stage(first, Stage::Production, false).unwrap();
    fraud.transition_stage(second, Stage::Production, true).unwrap();
    all.note("archive", fraud.transition_stage(second, Stage::None, true).unwrap_err());
    fraud.set_alias("champion", first).unwrap();
    fraud.set_alias("champion", second).unwrap();
    fraud.delete_alias("nobody").unwrap();
    all.note("no alias", fraud.version_by_alias("nobody").unwrap_err());
    all.note("no version", fraud.version(9).unwrap_err());
    all.note("alias of none", fraud.set_alias("x", 9).unwrap_err());
    fraud.describe(Some("found")).unwrap();
    fraud.describe_version(first, Some("old")).unwrap();
    fraud.set_tags(&[("t", "1"), ("u", "2")]).unwrap();
    fraud.delete_tag("t").unwrap();
    fraud.delete_tag("t").unwrap();
    fraud.set_version_tags(first, &[("l", "w")]).unwrap();
    fraud.delete_version_tag(first, "k").unwrap();
    let frauds = fraud.rename("frauds").unwrap();
    all.note("old name", store.registered_model("fraud").map(drop).unwrap_err());
    let info = frauds.info().unwrap();
    all.note("model", (&info.name, &info.description, pairs(&info.tags), &info.aliases, &info.versions));
    assert_eq!(store.registered_models().unwrap(), [info]);
    for version in frauds.versions().unwrap() {
        let VersionInfo { version, stage, source, user, description, status, tags, .. } = version;
        all.note("version", (version, stage, source, user, description, status, tags));
    }
    assert_eq!(frauds.version_by_alias("champion").unwrap(), frauds.version(second).unwrap());
    frauds.delete_version(first).unwrap();
    all.note("third", frauds.create_version(VersionSpec::from_source("c")).unwrap());
    frauds.delete().unwrap();
    all.note("gone", store.registered_models().unwrap().len());
    all.0
}

use crate::info::VersionInfo;

#[test]
fn every_typed_call_has_the_same_answer_in_every_seat() {
    let (one, two, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let holder = apart(one.path());
    let expected = (tracking(&holder), registry(&holder));

    let (other, client) = (apart(two.path()), apart(two.path()));
    assert!(other.holds().unwrap() && !client.holds().unwrap());
    assert_eq!(tracking(&client), expected.0);
    assert_eq!(registry(&client), expected.1);
    // The holder sees what the client made.
    let numbers = other.find_experiment("numbers").unwrap().unwrap();
    assert_eq!(other.search_runs("").experiment(numbers.id).find().unwrap().len(), 4);

    let away = offline(three.path());
    assert_eq!(tracking(&away), expected.0);
    let refused = away.create_registered_model("fraud").map(drop).unwrap_err();
    assert!(matches!(&refused, Error::Unsupported { why } if why.contains("runlode merge")), "{refused}");
}

#[test]
fn what_needs_the_engine_here_names_the_process_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    assert!(holder.local().unwrap().verify().unwrap().is_sound());
    match client.local() {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, format!("process {}", std::process::id())),
        other => panic!("{other:?}"),
    }
    let refused = Store::options(dir.path()).hold();
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    drop(client);
    let away = tempfile::tempdir().unwrap();
    assert!(matches!(offline(away.path()).local(), Err(Error::Unsupported { .. })));
}

#[test]
fn a_row_goes_on_when_its_process_becomes_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let (holder, client) = (apart(dir.path()), apart(dir.path()));
    let run = client.experiment("digits").unwrap().create_run(RunSpec::new()).unwrap();
    let mut row = run.row(&["loss", "acc"]).unwrap();
    for step in 0..100 {
        row.log(step, &[step as f64, 0.5]).unwrap();
    }
    assert!(!client.holds().unwrap());
    holder.close().unwrap();
    for step in 100..300 {
        row.log(step, &[step as f64, 0.5]).unwrap();
    }
    let values: Vec<_> = run.history("loss").unwrap().map(|point| point.unwrap()).collect();
    assert_eq!(values.len(), 300);
    assert!(values.iter().enumerate().all(|(step, point)| (point.step, point.value) == (step as i64, step as f64)));
    assert!(client.holds().unwrap());
    for step in 300..310 {
        row.log(step, &[step as f64, 0.5]).unwrap();
    }
    assert_eq!(run.latest("acc").unwrap().unwrap().count, 310);
    // Rows of a deleted run are refused, before and after.
    run.delete().unwrap();
    assert!(matches!(row.log(310, &[1.0, 2.0]).unwrap_err(), Error::Deleted { .. }));
}

#[test]
fn names_of_runs_follow_one_rule_at_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let store = apart(dir.path());
    let name = |tags: &[(&str, &str)], name: Option<&str>| {
        let tags = owned(tags);
        let new = NewRun { run_name: name, tags: &tags, ..NewRun::default() };
        let by_mlflow = store.mlflow().create_run(&new).map(|run| run.info.run_name);
        let mut spec = name.map_or_else(RunSpec::new, RunSpec::named);
        for (key, value) in tags {
            spec = spec.tag(key, value);
        }
        let by_name = store.experiment("Default").unwrap().create_run(spec).map(|run| run.info().unwrap().name);
        (by_mlflow.ok(), by_name.ok())
    };
    let given = || Some("x".to_owned());
    assert_eq!(name(&[], Some("x")), (given(), given()));
    assert_eq!(name(&[("mlflow.runName", "x")], None), (given(), given()));
    assert_eq!(name(&[("mlflow.runName", "")], Some("x")), (given(), given()));
    assert_eq!(name(&[("mlflow.runName", "y")], Some("x")), (None, None));
    for (tags, given) in [(&[("mlflow.runName", "")][..], None), (&[], Some("")), (&[], None)] {
        let (by_mlflow, by_name) = name(tags, given);
        assert_eq!((by_mlflow.unwrap().split('-').count(), by_name.unwrap().split('-').count()), (3, 3));
    }
}

#[test]
fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = apart(dir.path());
    let run = store.experiment("digits").unwrap().create_run(RunSpec::new()).unwrap();
    let other = store.clone();
    store.shared.close_seat().unwrap();
    assert!(matches!(other.experiment("digits"), Err(Error::Closed)));
    assert!(matches!(run.log_metrics(0, &[("loss", 1.0)]), Err(Error::Closed)));
    assert!(matches!(other.local(), Err(Error::Closed)));
}

#[test]
fn keys_are_checked_through_every_handle() {
    let dir = tempfile::tempdir().unwrap();
    let holder = apart(dir.path());
    let client = apart(dir.path());
    let run = holder.experiment("digits").unwrap().create_run(RunSpec::new()).unwrap();
    let in_client = client.run(run.id()).unwrap();
    let local = holder.local().unwrap().run(run.id()).unwrap();
    for key in ["", "a//b", "../a", "a\tb", &"k".repeat(251)] {
        for run in [&run, &in_client] {
            assert!(matches!(run.log_params(&[("lr", "1"), (key, "1")]), Err(Error::Invalid { .. })), "{key}");
            assert!(matches!(run.set_tags(&[("note", "1"), (key, "1")]), Err(Error::Invalid { .. })), "{key}");
        }
        assert!(matches!(local.log_params(&[("lr", "1"), (key, "1")]), Err(Error::Invalid { .. })), "{key}");
        assert!(matches!(local.log_param(key, "1"), Err(Error::Invalid { .. })), "{key}");
        assert!(matches!(local.set_tags(&[("note", "1"), (key, "1")]), Err(Error::Invalid { .. })), "{key}");
        assert!(matches!(local.set_tag(key, "1"), Err(Error::Invalid { .. })), "{key}");
    }
    let info = run.info().unwrap();
    assert!(
        info.params.is_empty() && info.tags.iter().all(|(key, _)| key != "note"),
        "nothing of a refused call stays"
    );
}
