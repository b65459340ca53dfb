use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::entity::apply::tests::{Map, created_experiment, created_model, created_run, created_version};
use crate::entity::{Nothing, apply};
use crate::event::payload::tests::event;
use crate::event::*;
use crate::id::Lsn;

const RUN: RunId = RunId([1; 16]);
const EXPERIMENT: ExperimentId = ExperimentId(1);
const MODEL: RegisteredModelId = RegisteredModelId(5);

/// Validates and applies each event at a position of its own; the last one's answer, the others must succeed.
fn after(events: Vec<Event>) -> Result<()> {
    let mut base = Map::default();
    let count = events.len();
    for (at, event) in events.into_iter().enumerate() {
        let mut working = Working::new(&base);
        let answer = validate(&event, false, &mut working);
        if at + 1 == count {
            return answer;
        }
        answer.unwrap_or_else(|error| panic!("{event:?}: {error}"));
        apply(&event, Lsn(at as u64 + 1), &mut working).unwrap();
        let changed = working.changed();
        base.absorb(changed);
    }
    Ok(())
}

fn after_run(events: Vec<Event>) -> Result<()> {
    let start = [created_experiment(EXPERIMENT, "exp"), created_run(RUN, "r")];
    after(start.into_iter().chain(events).collect())
}

fn params(list: &[(&str, &str)]) -> Event {
    let params = list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    ParamsLogged { run: RUN, params }.into()
}

fn tags(list: &[(&str, &str)]) -> Event {
    let tags = list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    RunTagsSet { run: RUN, tags }.into()
}

fn deleted() -> Event {
    RunDeleted { run: RUN, at_ms: 1 }.into()
}

fn restored() -> Event {
    RunRestored { run: RUN }.into()
}

fn purged() -> Event {
    RunPurged { run: RUN }.into()
}

fn experiment_deleted() -> Event {
    ExperimentDeleted { experiment: EXPERIMENT, at_ms: 1 }.into()
}

fn experiment_restored() -> Event {
    ExperimentRestored { experiment: EXPERIMENT, at_ms: 1 }.into()
}

#[test]
fn names_and_ids_are_taken_once() {
    let rename = |id, name: &str| Event::from(ExperimentRenamed { experiment: id, name: name.into(), at_ms: 1 });
    let other = ExperimentId(2);
    let taken = |result| assert!(matches!(result, Err(Error::AlreadyExists { .. })), "{result:?}");
    taken(after_run(vec![created_experiment(EXPERIMENT, "x")]));
    taken(after_run(vec![created_experiment(other, "exp")]));
    taken(after_run(vec![experiment_deleted(), created_experiment(other, "exp")]));
    taken(after_run(vec![created_experiment(other, "x"), rename(other, "exp")]));
    taken(after_run(vec![created_run(RUN, "again")]));
    after_run(vec![rename(EXPERIMENT, "exp")]).unwrap();
    after_run(vec![rename(EXPERIMENT, "y"), created_experiment(other, "exp")]).unwrap();
    taken(after(vec![created_model(MODEL, "m"), created_model(RegisteredModelId(6), "m")]));
    let gone = Event::from(RegisteredModelDeleted { model: MODEL });
    after(vec![created_model(MODEL, "m"), gone.clone(), created_model(RegisteredModelId(6), "m")]).unwrap();
    taken(after(vec![created_model(MODEL, "m"), gone, created_model(MODEL, "m")]));
}

#[test]
fn deleted_and_purged_runs_take_no_changes() {
    let is_deleted =
        |result| assert!(matches!(result, Err(Error::Deleted { entity: EntityKind::Run, .. })), "{result:?}");
    let is_purged = |result| assert!(matches!(result, Err(Error::Purged { .. })), "{result:?}");
    is_deleted(after_run(vec![deleted(), params(&[])]));
    is_deleted(after_run(vec![experiment_deleted(), tags(&[("a", "b")])]));
    after_run(vec![deleted(), restored(), tags(&[("a", "b")])]).unwrap();
    after_run(vec![deleted(), deleted(), deleted()]).unwrap();
    after_run(vec![restored()]).unwrap();
    after_run(vec![deleted(), experiment_deleted(), experiment_restored(), params(&[("a", "b")])]).unwrap();
    assert!(matches!(after_run(vec![purged()]), Err(Error::Invalid { .. })));
    after_run(vec![deleted(), purged(), purged()]).unwrap_or_else(|error| panic!("{error}"));
    is_purged(after_run(vec![deleted(), purged(), restored()]));
    is_purged(after_run(vec![deleted(), purged(), created_run(RUN, "x")]));
    is_purged(after_run(vec![deleted(), purged(), params(&[])]));
    let unknown = Event::from(RunDeleted { run: RunId([9; 16]), at_ms: 0 });
    assert!(matches!(after_run(vec![unknown]), Err(Error::NotFound { entity: EntityKind::Run, .. })));
}

#[test]
fn experiments_are_deleted_and_restored_from_the_other_state() {
    let absent = |result| assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    absent(after_run(vec![experiment_restored()]));
    absent(after_run(vec![experiment_deleted(), experiment_deleted()]));
    after_run(vec![experiment_deleted(), experiment_restored(), experiment_deleted()]).unwrap();
    let run = Event::from(RunId([2; 16]));
    assert!(matches!(
        after_run(vec![experiment_deleted(), run]),
        Err(Error::Deleted { entity: EntityKind::Experiment, .. })
    ));
    let rename = ExperimentRenamed { experiment: EXPERIMENT, name: "y".into(), at_ms: 1 };
    assert!(matches!(after_run(vec![experiment_deleted(), rename.into()]), Err(Error::Deleted { .. })));
}

impl From<RunId> for Event {
    fn from(run: RunId) -> Self {
        created_run(run, "other")
    }
}

#[test]
fn params_never_change() {
    let changed = |result| assert!(matches!(result, Err(Error::ParamChanged { .. })), "{result:?}");
    changed(after_run(vec![params(&[("a", "1")]), params(&[("b", "1"), ("a", "2")])]));
    changed(after_run(vec![params(&[("a", "1"), ("b", "1"), ("a", "2")])]));
    after_run(vec![params(&[("a", "1")]), params(&[("a", "1"), ("a", "1")])]).unwrap();
}

#[test]
fn version_numbers_only_grow_and_aliases_need_their_version() {
    let version = |number| created_version(MODEL, number, 1);
    let model = created_model(MODEL, "m");
    let alias = |version| Event::from(AliasSet { model: MODEL, alias: "a".into(), version });
    let gone = |version| Event::from(ModelVersionDeleted { model: MODEL, version, at_ms: 1 });
    after(vec![model.clone(), version(1), version(2), version(9), version(10)]).unwrap();
    for (first, second) in [(1, 1), (5, 4), (1, 0), (1, u32::MAX)] {
        assert!(after(vec![model.clone(), version(first), version(second)]).is_err(), "{first} {second}");
    }
    assert!(after(vec![model.clone(), version(1), gone(1), version(1)]).is_err());
    after(vec![model.clone(), version(1), alias(1)]).unwrap();
    assert!(after(vec![model.clone(), version(1), alias(2)]).is_err());
    assert!(after(vec![model.clone(), version(1), gone(1), alias(1)]).is_err());
    assert!(after(vec![model, version(1), gone(1), gone(1)]).is_err());
}

#[test]
fn a_batch_cannot_leave_the_lifecycle_of_a_run_undecided() {
    let mut base = Map::default();
    let mut working = Working::new(&Nothing);
    apply(&created_experiment(EXPERIMENT, "exp"), Lsn(1), &mut working).unwrap();
    apply(&created_run(RUN, "r"), Lsn(2), &mut working).unwrap();
    base.absorb(working.changed());
    let batch = |events: &[Event]| -> Result<()> {
        let mut working = Working::new(&base);
        events.iter().try_for_each(|event| {
            validate(event, false, &mut working)?;
            apply(event, Lsn(3), &mut working).map(drop)
        })
    };
    batch(&[deleted(), experiment_deleted()]).unwrap();
    batch(&[deleted(), restored(), deleted()]).unwrap();
    assert!(matches!(batch(&[experiment_deleted(), restored()]), Err(Error::Invalid { .. })));
    assert!(matches!(batch(&[experiment_deleted(), experiment_restored(), deleted()]), Err(Error::Invalid { .. })));
}

#[test]
fn quotas_name_the_place() {
    let refused = |event, place: &str| match after_run(vec![event]) {
        Err(Error::Invalid { what, .. }) => assert_eq!(what, place),
        other => panic!("{place}: {other:?}"),
    };
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    refused(params(&[("a", ""), ("", "1")]), "params[1].key");
    refused(tags(&[(long.as_str(), "1")]), "tags[0].key");
    refused(tags(&[("a\0b", "1")]), "tags[0].key");
    refused(tags(&[("a", &"x".repeat(VALUE_BYTES_MAX + 1))]), "tags[0].value");
    refused(RunTagsSet { run: RUN, tags: vec![("a".into(), "".into()); LIST_COUNT_MAX + 1] }.into(), "tags");
    refused(created_experiment(ExperimentId(2), ""), "experiment name");
    after_run(vec![tags(&[(&long[1..], &"x".repeat(VALUE_BYTES_MAX)), ("nul in a value", "\0")])]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What passes validation is never ignored by the step, whatever came before.
    #[test]
    fn valid_events_act(events in vec(event(), 1..150)) {
        let mut working = Working::new(&Nothing);
        for (at, event) in events.iter().enumerate() {
            let valid = validate(event, false, &mut working);
            // A purge of what is purged is the one repeat that is fine and does nothing.
            let purged = matches!(event, Event::RunPurged(e)
                if working.run(e.run)?.is_some_and(|run| run.lifecycle == Lifecycle::Purged));
            if valid.is_ok() && !purged {
                prop_assert!(!apply(event, Lsn(at as u64 + 1), &mut working)?.ignored, "{:?}", event);
            }
        }
    }
}
