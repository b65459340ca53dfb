use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::entity::{Nothing, States};
use crate::event::payload::tests::event;
use crate::event::*;
use crate::id::{ExperimentId, RegisteredModelId};

const RUN: RunId = RunId([1; 16]);
const EXPERIMENT: ExperimentId = ExperimentId(1);
const MODEL: RegisteredModelId = RegisteredModelId(77);

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Map(pub(crate) BTreeMap<EntityKey, Arc<EntityState>>);

impl States for Map {
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        Ok(self.0.get(key).cloned())
    }
}

impl Map {
    pub(crate) fn absorb(&mut self, changed: Vec<(EntityKey, Arc<EntityState>)>) {
        self.0.extend(changed);
    }

    /// The experiment and run that most tests start from, at positions 1 and 2.
    fn with_run() -> Self {
        let mut map = Self::default();
        map.run_events(1, &[created_experiment(EXPERIMENT, "exp")]);
        map.run_events(2, &[created_run(RUN, "quiet-fox-1")]);
        map
    }

    /// Applies events at one position; whether each was ignored.
    fn run_events(&mut self, lsn: u64, events: &[Event]) -> Vec<bool> {
        let base = self.clone();
        let mut working = Working::new(&base);
        let ignored = events.iter().map(|e| apply(e, Lsn(lsn), &mut working).unwrap().ignored).collect();
        self.absorb(working.changed());
        ignored
    }

    fn run(&self) -> &RunState {
        match &*self.0[&EntityKey::Run(RUN)] {
            EntityState::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn experiment(&self) -> &ExperimentState {
        match &*self.0[&EntityKey::Experiment(EXPERIMENT)] {
            EntityState::Experiment(experiment) => experiment,
            other => panic!("{other:?}"),
        }
    }

    fn model(&self) -> &RegisteredModelState {
        match &*self.0[&EntityKey::RegisteredModel(MODEL)] {
            EntityState::RegisteredModel(model) => model,
            other => panic!("{other:?}"),
        }
    }

    fn version(&self, number: u32) -> &ModelVersionState {
        match &*self.0[&EntityKey::ModelVersion(MODEL, number)] {
            EntityState::ModelVersion(version) => version,
            other => panic!("{other:?}"),
        }
    }

    fn name_owner(&self, key: EntityKey) -> Option<u64> {
        match self.0.get(&key).map(|state| &**state) {
            Some(EntityState::ExperimentName(name) | EntityState::ModelName(name)) => name.owner,
            _ => None,
        }
    }
}

pub(crate) fn created_experiment(experiment: ExperimentId, name: &str) -> Event {
    ExperimentCreated {
        experiment,
        name: name.into(),
        artifact_location: None,
        creation_time_ms: 10,
        last_update_time_ms: 10,
        tags: vec![],
    }
    .into()
}

pub(crate) fn created_run(run: RunId, name: &str) -> Event {
    RunCreated {
        run,
        experiment: EXPERIMENT,
        name: name.into(),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 20,
        artifact_location: None,
        tags: vec![],
    }
    .into()
}

pub(crate) fn created_model(model: RegisteredModelId, name: &str) -> Event {
    RegisteredModelCreated {
        model,
        name: name.into(),
        description: None,
        creation_time_ms: 30,
        last_updated_time_ms: 30,
        tags: vec![],
    }
    .into()
}

pub(crate) fn created_version(model: RegisteredModelId, version: u32, at: i64) -> Event {
    ModelVersionCreated {
        model,
        version,
        source: "s".into(),
        storage_location: None,
        run_id: None,
        run_link: None,
        model_id: None,
        user_id: None,
        description: None,
        stage: Stage::None,
        status: VersionStatus::Ready,
        status_message: None,
        creation_time_ms: at,
        last_updated_time_ms: at,
        tags: vec![],
    }
    .into()
}

fn pairs(list: &[(&str, &str)]) -> Vec<KeyValue> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn tags_set(list: &[(&str, &str)]) -> Event {
    RunTagsSet { run: RUN, tags: pairs(list) }.into()
}

#[test]
fn the_run_name_and_its_tag_are_one() {
    let mut map = Map::with_run();
    assert_eq!(map.run().tags, pairs(&[(RUN_NAME_TAG, "quiet-fox-1")]));
    map.run_events(3, &[tags_set(&[("z", "1"), (RUN_NAME_TAG, "two"), ("a", "2"), ("z", "3")])]);
    assert_eq!(map.run().name, "two");
    assert_eq!(map.run().tags, pairs(&[("a", "2"), (RUN_NAME_TAG, "two"), ("z", "3")]));
    map.run_events(4, &[tags_set(&[(RUN_NAME_TAG, "")])]);
    assert_eq!((map.run().name.as_str(), map.run().last), ("two", Lsn(4)));
    assert_eq!(map.run().tags[1].1, "two");
    let update = |name: &str| RunUpdated { run: RUN, status: None, end_time_ms: Some(9), name: Some(name.into()) };
    map.run_events(5, &[update("three").into(), update("").into()]);
    assert_eq!((map.run().name.as_str(), map.run().tags[1].1.as_str()), ("three", "three"));
    assert_eq!((map.run().status, map.run().end_time_ms), (RunStatus::Running, Some(9)));
    map.run_events(6, &[RunTagDeleted { run: RUN, key: RUN_NAME_TAG.into() }.into()]);
    assert_eq!((map.run().name.as_str(), map.run().tags.len()), ("three", 2));
}

#[test]
fn the_first_value_of_a_param_stays() {
    let mut map = Map::with_run();
    map.run_events(3, &[ParamsLogged { run: RUN, params: pairs(&[("b", "1"), ("a", "2"), ("b", "3")]) }.into()]);
    map.run_events(4, &[ParamsLogged { run: RUN, params: pairs(&[("a", "9"), ("c", "")]) }.into()]);
    assert_eq!(map.run().params, pairs(&[("a", "2"), ("b", "1"), ("c", "")]));
}

#[test]
fn the_first_data_set_stays_and_model_inputs_come_once() {
    let mut map = Map::with_run();
    let input = |source: &str, tag: &str| DatasetInput {
        name: "mnist".into(),
        digest: "d1".into(),
        source_type: "local".into(),
        source: source.into(),
        schema: None,
        profile: None,
        tags: pairs(&[("ctx", tag)]),
    };
    let logged = |datasets, models: &[&str]| -> Event {
        RunInputsLogged { run: RUN, datasets, models: models.iter().map(|m| (*m).to_owned()).collect() }.into()
    };
    map.run_events(3, &[logged(vec![input("one", "train"), input("two", "test")], &["m-1", "m-1"])]);
    map.run_events(4, &[logged(vec![input("three", "x")], &["m-2", "m-1"])]);
    assert_eq!(map.run().datasets.len(), 1);
    assert_eq!(map.run().datasets[0].tags, pairs(&[("ctx", "train")]));
    assert_eq!(map.run().model_inputs, ["m-1", "m-2"]);
    let key = EntityKey::Dataset(EXPERIMENT, "mnist".into(), "d1".into());
    assert!(matches!(&*map.0[&key], EntityState::Dataset(d) if d.source == "one" && d.last == Lsn(3)));
    let outputs = Event::from(RunOutputsLogged { run: RUN, models: vec![("m-1".into(), 3), ("m-1".into(), 3)] });
    map.run_events(5, &[outputs]);
    assert_eq!(map.run().model_outputs.len(), 2);
}

#[test]
fn runs_follow_their_experiment_without_being_touched() {
    let mut map = Map::with_run();
    let lifecycle = |map: &Map| map.run().lifecycle_in(map.experiment());
    map.run_events(3, &[ExperimentDeleted { experiment: EXPERIMENT, at_ms: 50 }.into()]);
    assert_eq!((lifecycle(&map), map.run().last), (Lifecycle::Deleted, Lsn(2)));
    assert_eq!(map.experiment().last_update_time_ms, 50);
    map.run_events(4, &[RunRestored { run: RUN }.into()]);
    assert_eq!(lifecycle(&map), Lifecycle::Active);
    map.run_events(5, &[RunDeleted { run: RUN, at_ms: 60 }.into()]);
    assert_eq!((lifecycle(&map), map.run().deleted_time_ms), (Lifecycle::Deleted, Some(60)));
    map.run_events(6, &[ExperimentRestored { experiment: EXPERIMENT, at_ms: 70 }.into()]);
    assert_eq!(lifecycle(&map), Lifecycle::Active);
}

#[test]
fn a_purged_run_is_a_stub_that_never_changes() {
    let mut map = Map::with_run();
    map.run_events(3, &[ParamsLogged { run: RUN, params: pairs(&[("a", "1")]) }.into()]);
    assert_eq!(map.run_events(4, &[RunPurged { run: RUN }.into()]), [false]);
    let stub = map.run().clone();
    assert_eq!((stub.lifecycle, stub.last, stub.created), (Lifecycle::Purged, Lsn(4), Lsn(2)));
    assert!(stub.params.is_empty() && stub.tags.is_empty() && stub.name.is_empty() && stub.user_id.is_empty());
    let after = [
        tags_set(&[("a", "1")]),
        RunRestored { run: RUN }.into(),
        created_run(RUN, "again"),
        RunInputsLogged { run: RUN, datasets: vec![], models: vec!["m".into()] }.into(),
        RunPurged { run: RUN }.into(),
    ];
    assert_eq!(map.run_events(5, &after), [true; 5]);
    assert_eq!(*map.run(), stub);
}

#[test]
fn a_rewind_begins_the_next_branch_and_no_other() {
    let mut map = Map::with_run();
    let rewound =
        |branch, from| Event::from(RunRewound { run: RUN, branch, from, to_step: 9, at_ms: 50, kept: vec![] });
    assert_eq!(map.run_events(3, &[rewound(2, 0), rewound(1, 1), rewound(0, 0)]), [true; 3]);
    assert_eq!((map.run().branch(), map.run().last), (0, Lsn(2)));
    assert_eq!(map.run_events(4, &[rewound(1, 0), rewound(1, 0), rewound(2, 0)]), [false, true, false]);
    let rewind = |from| Rewind { from, to_step: 9, lsn: Lsn(4), at_ms: 50 };
    assert_eq!((map.run().rewinds.as_slice(), map.run().branch()), (&[rewind(0), rewind(0)][..], 2));
    let leased = RunLeased { run: RUN, host: "h".into(), pid: 7, process_start: 8, boot_id: "b".into(), at_ms: 60 };
    map.run_events(5, &[leased.into()]);
    let lease = Lease { host: "h".into(), pid: 7, process_start: 8, boot_id: "b".into(), at_ms: 60 };
    assert_eq!((map.run().lease.as_ref(), map.run().last), (Some(&lease), Lsn(5)));
}

#[test]
fn names_move_with_their_owners() {
    let mut map = Map::with_run();
    let name = |name: &str| EntityKey::ExperimentName(name.into());
    map.run_events(3, &[ExperimentRenamed { experiment: EXPERIMENT, name: "new".into(), at_ms: 80 }.into()]);
    assert_eq!((map.name_owner(name("exp")), map.name_owner(name("new"))), (None, Some(1)));
    assert_eq!(map.experiment().last_update_time_ms, 80);
    // What never passes validation is harmless: the name stays with who had it.
    map.run_events(4, &[created_experiment(ExperimentId(2), "new")]);
    assert_eq!(map.name_owner(name("new")), Some(1));
    map.run_events(5, &[ExperimentRenamed { experiment: ExperimentId(2), name: "other".into(), at_ms: 1 }.into()]);
    assert_eq!((map.name_owner(name("new")), map.name_owner(name("other"))), (Some(1), Some(2)));
}

#[test]
fn versions_touch_their_model_as_mlflow_says() {
    let mut map = Map::default();
    map.run_events(1, &[created_model(MODEL, "m")]);
    map.run_events(2, &[created_version(MODEL, 1, 100)]);
    map.run_events(3, &[created_version(MODEL, 2, 200)]);
    assert_eq!((map.model().last_updated_time_ms, map.model().versions.as_slice()), (200, &[1, 2][..]));
    let alias = |alias: &str, version| Event::from(AliasSet { model: MODEL, alias: alias.into(), version });
    assert_eq!(
        map.run_events(4, &[alias("b", 1), alias("a", 1), alias("b", 2), alias("c", 9)]),
        [false, false, false, true]
    );
    assert_eq!(map.model().aliases, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(map.model().last_updated_time_ms, 200);
    let update = ModelVersionUpdated { model: MODEL, version: 1, description: Some("d".into()), at_ms: 300 };
    map.run_events(5, &[update.into()]);
    assert_eq!((map.version(1).last_updated_time_ms, map.model().last_updated_time_ms), (300, 200));
    assert_eq!((map.version(1).last, map.model().last), (Lsn(5), Lsn(5)));
    let stage = ModelVersionStageChanged { model: MODEL, version: 2, stage: Stage::Staging, at_ms: 400 };
    map.run_events(6, &[stage.into()]);
    assert_eq!((map.version(2).stage, map.model().last_updated_time_ms), (Stage::Staging, 400));
    map.run_events(7, &[ModelVersionDeleted { model: MODEL, version: 2, at_ms: 500 }.into()]);
    assert_eq!((map.model().aliases.len(), map.model().versions.as_slice()), (1, &[1][..]));
    assert_eq!((map.model().version_last, map.model().last_updated_time_ms), (2, 500));
    // A number is never used twice.
    assert_eq!(map.run_events(8, &[created_version(MODEL, 2, 600)]), [true]);
    map.run_events(9, &[RegisteredModelRenamed { model: MODEL, name: "n".into(), at_ms: 700 }.into()]);
    assert_eq!((map.version(1).last_updated_time_ms, map.version(2).last_updated_time_ms), (700, 500));
    assert_eq!(map.name_owner(EntityKey::ModelName("m".into())), None);
    map.run_events(10, &[RegisteredModelDeleted { model: MODEL }.into()]);
    assert!(map.model().deleted && map.version(1).deleted && map.model().aliases.is_empty());
    assert_eq!(map.name_owner(EntityKey::ModelName("n".into())), None);
    // The name again is another model, which starts at 1.
    let again = RegisteredModelId(78);
    assert_eq!(map.run_events(11, &[created_model(again, "n"), created_version(again, 1, 1)]), [false, false]);
    assert_eq!(map.name_owner(EntityKey::ModelName("n".into())), Some(78));
    assert_eq!(map.run_events(12, &[alias("x", 1)]), [true]);
}

#[test]
fn long_lists_are_merged_like_short_ones() {
    let long: Vec<KeyValue> = (0..100).map(|n| (format!("k{}", (n * 37) % 60), n.to_string())).collect();
    for replace in [false, true] {
        let start = pairs(&[("a", "x"), ("k5", "x"), ("z", "x")]);
        let (mut merged, mut inserted) = (start.clone(), start);
        put_pairs(&mut merged, &long, replace);
        long.iter().for_each(|pair| put_pairs(&mut inserted, std::slice::from_ref(pair), replace));
        assert_eq!(merged, inserted);
        assert!(merged.is_sorted_by(|a, b| a.0 < b.0));
    }
}

fn check_invariants(state: &EntityState) {
    let sorted = |list: &[KeyValue]| assert!(list.is_sorted_by(|a, b| a.0 < b.0), "{list:?}");
    match state {
        EntityState::Run(run) => {
            sorted(&run.params);
            sorted(&run.tags);
            assert!(run.artifacts.is_sorted_by(|a, b| a.0 < b.0));
            if let Some((_, name)) = run.tags.iter().find(|(key, _)| key == RUN_NAME_TAG) {
                assert_eq!(*name, run.name);
            }
        }
        EntityState::Experiment(state) => sorted(&state.tags),
        EntityState::LoggedModel(state) => {
            sorted(&state.params);
            sorted(&state.tags);
        }
        EntityState::RegisteredModel(model) => {
            sorted(&model.tags);
            assert!(model.aliases.is_sorted_by(|a, b| a.0 < b.0));
            assert!(model.versions.is_sorted_by(|a, b| a < b));
            assert!(model.aliases.iter().all(|(_, version)| model.versions.contains(version)));
            assert!(model.versions.last().is_none_or(|last| *last <= model.version_last));
        }
        EntityState::ModelVersion(state) => sorted(&state.tags),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any events in any order: no panic, the invariants hold, what changed is what was said to, ignored ones change
    /// nothing, and a replay in one go equals one in parts over a base.
    #[test]
    fn any_sequence_is_applied_and_replays_alike(events in vec(event(), 1..150), part in 1usize..40) {
        let mut whole = Working::new(&Nothing);
        let mut parts = Map::default();
        for (chunk_at, chunk) in events.chunks(part).enumerate() {
            let base = parts.clone();
            let mut working = Working::new(&base);
            for (at, event) in chunk.iter().enumerate() {
                let lsn = Lsn((chunk_at * part + at + 1) as u64);
                let applied = apply(event, lsn, &mut whole).unwrap();
                prop_assert_eq!(&applied, &apply(event, lsn, &mut working).unwrap());
                prop_assert!(!applied.ignored || applied.touched.is_empty());
                for key in &applied.touched {
                    let state = working.get(key).unwrap().unwrap();
                    prop_assert_eq!(state.last(), lsn);
                    check_invariants(state);
                }
                if !applied.ignored {
                    for key in touches(event) {
                        prop_assert!(applied.touched.contains(&key), "{:?} {:?}", event, key);
                    }
                }
            }
            for (key, last) in working.reads() {
                prop_assert_eq!(last, base.get(&key).unwrap().map(|state| state.last()));
            }
            parts.absorb(working.take_changed());
        }
        let mut at_once = Map::default();
        at_once.absorb(whole.changed());
        prop_assert_eq!(at_once, parts);
    }
}

/// `cargo test --release -p runlode-engine --lib -- --ignored --nocapture entity::apply::tests::measure`
#[test]
#[ignore = "a measurement"]
fn measure() {
    use std::time::Instant;

    use crate::event::payload;
    let runs = 200_000u64;
    let id = |n: u64| {
        let mut run = [0; 16];
        run[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        RunId(run)
    };
    let small = |n: u64, round: u64| -> Event {
        let pair = vec![(format!("key{round}"), "0.001".to_owned())];
        match round {
            0 => created_run(id(n), "quiet-fox-1"),
            round if round % 2 == 0 => RunTagsSet { run: id(n), tags: pair }.into(),
            _ => ParamsLogged { run: id(n), params: pair }.into(),
        }
    };
    // By run (as runs are logged) and round-robin over all runs (the worst for caches).
    for by_run in [true, false] {
        let mut working = Working::new(&Nothing);
        apply(&created_experiment(EXPERIMENT, "e"), Lsn(1), &mut working).unwrap();
        let encoded: Vec<Vec<u8>> = (0..runs * 8)
            .map(|at| {
                let (n, round) = if by_run { (at / 8, at % 8) } else { (at % runs, at / runs) };
                let mut out = Vec::new();
                payload::encode(&small(n, round), &mut out).unwrap();
                out
            })
            .collect();
        let start = Instant::now();
        let events: Vec<Event> = encoded.iter().map(|bytes| payload::decode(bytes).unwrap().known().unwrap()).collect();
        let decoded = start.elapsed();
        let start = Instant::now();
        for (at, event) in events.iter().enumerate() {
            assert!(!apply(event, Lsn(at as u64 + 2), &mut working).unwrap().ignored);
        }
        let applied = start.elapsed();
        let start = Instant::now();
        let changed = working.take_changed();
        let count = events.len() as f64;
        println!(
            "by run {by_run}: decode {:.0} ns, apply {:.0} ns an event; {} states taken in {:.0} ms",
            decoded.as_nanos() as f64 / count,
            applied.as_nanos() as f64 / count,
            changed.len(),
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}
