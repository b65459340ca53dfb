//! Random moments of a random history: whatever is asked as of a moment is answered as a naive model says, which applies
//! the same changes from the first one up to that moment.
//!
//! `RUNLODE_MOMENT_EVENTS` sets how many changes there are (default 1,200), `RUNLODE_MOMENTS` how many moments are looked
//! at (default 60), `RUNLODE_MOMENT_SEED` the seed. The test prints what one entity takes; it does not judge it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runlode_engine::entity::Lifecycle;
use runlode_engine::event::*;
use runlode_engine::point::Point;
use runlode_engine::search::filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term};
use runlode_engine::search::{SearchQuery, View};
use runlode_engine::storage::sim::SimRng;
use runlode_engine::{
    AsOf, Batch, CompactOptions, Durability, ExperimentId, HistoryQuery, Lsn, ManualClock, PastView, RegisteredModelId,
    RunId, Store, TimestampMs,
};
use runlode_tests::knob;

const EXPERIMENT: ExperimentId = ExperimentId(1);
const MODELS: u64 = 4;
const KEYS: [&str; 3] = ["loss", "acc", "lr"];
const ALIASES: [&str; 2] = ["champion", "challenger"];
/// What questions took.
#[derive(Debug, Default)]
struct Took {
    /// The first one at each moment.
    first: Vec<Duration>,
    /// Further ones, each about one run.
    run: Vec<Duration>,
    /// All models and versions at a moment.
    registry: Vec<Duration>,
}

impl Took {
    fn print(mut self) {
        for (what, took) in
            [("first run", &mut self.first), ("one run", &mut self.run), ("whole registry", &mut self.registry)]
        {
            took.sort_unstable();
            let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1e3;
            println!("{what}: p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms", at(50), at(90), at(99));
        }
    }
}

/// Searches read every run, so only some of the moments are searched.
const SEARCH_EVERY: usize = 10;

#[derive(Debug, Clone, Default, PartialEq)]
struct Run {
    status: Option<RunStatus>,
    tags: BTreeMap<String, String>,
    params: BTreeMap<String, String>,
    deleted: bool,
    points: BTreeMap<&'static str, Vec<(i64, f64)>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Registered {
    deleted: bool,
    aliases: BTreeMap<String, u32>,
    stages: BTreeMap<u32, Stage>,
}

/// Everything by plain maps.
#[derive(Debug, Clone, Default)]
struct Model {
    runs: BTreeMap<RunId, Run>,
    registry: BTreeMap<RegisteredModelId, Registered>,
}

#[derive(Debug, Clone)]
enum Change {
    Create(RunId),
    Tag(RunId, String, String),
    Untag(RunId, String),
    Param(RunId, String, String),
    Log(RunId, &'static str, i64, f64),
    End(RunId, RunStatus),
    Delete(RunId),
    Restore(RunId),
    Register(RegisteredModelId, u64),
    Version(RegisteredModelId, u32),
    Stage(RegisteredModelId, u32, Stage),
    Alias(RegisteredModelId, &'static str, u32),
    Unalias(RegisteredModelId, &'static str),
    Unregister(RegisteredModelId),
}

impl Model {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Create(run) => {
                drop(self.runs.insert(run, Run { status: Some(RunStatus::Running), ..Run::default() }))
            }
            Change::Tag(run, key, value) => drop(self.run(run).tags.insert(key, value)),
            Change::Untag(run, key) => drop(self.run(run).tags.remove(&key)),
            Change::Param(run, key, value) => drop(self.run(run).params.insert(key, value)),
            Change::Log(run, key, step, value) => self.run(run).points.entry(key).or_default().push((step, value)),
            Change::End(run, status) => self.run(run).status = Some(status),
            Change::Delete(run) => self.run(run).deleted = true,
            Change::Restore(run) => self.run(run).deleted = false,
            Change::Register(model, _) => drop(self.registry.insert(model, Registered::default())),
            Change::Version(model, version) => drop(self.model(model).stages.insert(version, Stage::None)),
            Change::Stage(model, version, stage) => drop(self.model(model).stages.insert(version, stage)),
            Change::Alias(model, alias, version) => drop(self.model(model).aliases.insert(alias.into(), version)),
            Change::Unalias(model, alias) => drop(self.model(model).aliases.remove(alias)),
            Change::Unregister(model) => self.model(model).deleted = true,
        }
    }

    fn run(&mut self, run: RunId) -> &mut Run {
        self.runs.get_mut(&run).unwrap()
    }

    fn model(&mut self, model: RegisteredModelId) -> &mut Registered {
        self.registry.get_mut(&model).unwrap()
    }

    /// A change that is allowed now.
    fn next(&self, rng: &mut SimRng, number: u64, runs_max: u64) -> Change {
        if self.runs.is_empty() || (rng.below(20) == 0 && (self.runs.len() as u64) < runs_max) {
            return Change::Create(run_id(self.runs.len() as u64));
        }
        if rng.below(8) == 0 {
            return self.next_of_registry(rng, number);
        }
        let run = run_id(rng.below(self.runs.len() as u64));
        let state = &self.runs[&run];
        if state.deleted {
            return Change::Restore(run);
        }
        let tag = format!("t{}", rng.below(4));
        match rng.below(40) {
            0 => Change::Delete(run),
            1..=3 => {
                Change::End(run, [RunStatus::Finished, RunStatus::Failed, RunStatus::Running][rng.below(3) as usize])
            }
            4..=6 if state.tags.contains_key(&tag) => Change::Untag(run, tag),
            4..=14 => Change::Tag(run, tag, number.to_string()),
            15 | 16 if state.params.len() < 30 => Change::Param(run, format!("p{number}"), number.to_string()),
            _ => {
                let key = KEYS[rng.below(3) as usize];
                Change::Log(run, key, rng.below(50) as i64, (rng.below(1_000) as f64) / 8.0 + number as f64)
            }
        }
    }

    fn next_of_registry(&self, rng: &mut SimRng, number: u64) -> Change {
        let alive: Vec<_> = self.registry.iter().filter(|(_, state)| !state.deleted).map(|(id, _)| *id).collect();
        if (alive.len() as u64) < MODELS {
            return Change::Register(RegisteredModelId(number + 1), number);
        }
        let model = alive[rng.below(alive.len() as u64) as usize];
        let state = &self.registry[&model];
        let alias = ALIASES[rng.below(2) as usize];
        let version = |rng: &mut SimRng| 1 + rng.below(state.stages.len() as u64) as u32;
        match rng.below(12) {
            0 if number.is_multiple_of(5) => Change::Unregister(model),
            1 if state.aliases.contains_key(alias) => Change::Unalias(model, alias),
            2..=4 if state.stages.len() < 20 => Change::Version(model, state.stages.len() as u32 + 1),
            _ if state.stages.is_empty() => Change::Version(model, 1),
            5..=8 => Change::Alias(model, alias, version(rng)),
            _ => {
                let stage = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived][rng.below(4) as usize];
                Change::Stage(model, version(rng), stage)
            }
        }
    }
}

fn run_id(number: u64) -> RunId {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    RunId(id)
}

fn batch(change: &Change, at_ms: i64) -> Batch {
    let pair = |key: &String, value: &String| vec![(key.clone(), value.clone())];
    let empty = Batch::new();
    match change {
        Change::Create(run) => empty.event(RunCreated {
            run: *run,
            experiment: EXPERIMENT,
            name: String::new(),
            user_id: "u".into(),
            status: RunStatus::Running,
            start_time_ms: at_ms,
            artifact_location: None,
            tags: vec![],
        }),
        Change::Tag(run, key, value) => empty.event(RunTagsSet { run: *run, tags: pair(key, value) }),
        Change::Untag(run, key) => empty.event(RunTagDeleted { run: *run, key: key.clone() }),
        Change::Param(run, key, value) => empty.event(ParamsLogged { run: *run, params: pair(key, value) }),
        Change::Log(run, key, step, value) => {
            let point = Point { step: *step, time: TimestampMs(at_ms), value: *value };
            empty.metric(*run, key, point, None)
        }
        Change::End(run, status) => {
            empty.event(RunUpdated { run: *run, status: Some(*status), end_time_ms: None, name: None })
        }
        Change::Delete(run) => empty.event(RunDeleted { run: *run, at_ms }),
        Change::Restore(run) => empty.event(RunRestored { run: *run }),
        Change::Register(model, number) => empty.event(RegisteredModelCreated {
            model: *model,
            name: format!("m{number}"),
            description: None,
            creation_time_ms: at_ms,
            last_updated_time_ms: at_ms,
            tags: vec![],
        }),
        Change::Version(model, version) => empty.event(ModelVersionCreated {
            model: *model,
            version: *version,
            source: "s3://a".into(),
            storage_location: None,
            run_id: None,
            run_link: None,
            model_id: None,
            user_id: None,
            description: None,
            stage: Stage::None,
            status: VersionStatus::Ready,
            status_message: None,
            creation_time_ms: at_ms,
            last_updated_time_ms: at_ms,
            tags: vec![],
        }),
        Change::Stage(model, version, stage) => {
            empty.event(ModelVersionStageChanged { model: *model, version: *version, stage: *stage, at_ms })
        }
        Change::Alias(model, alias, version) => {
            empty.event(AliasSet { model: *model, alias: (*alias).into(), version: *version })
        }
        Change::Unalias(model, alias) => empty.event(AliasDeleted { model: *model, alias: (*alias).into() }),
        Change::Unregister(model) => empty.event(RegisteredModelDeleted { model: *model }),
    }
}

/// What the store says of a run at a moment.
fn run_then(past: &PastView<'_>, id: RunId) -> Option<Run> {
    let (state, lifecycle) = past.run(id).unwrap()?;
    let mut points = BTreeMap::new();
    for key in KEYS {
        let columns = past.history(id, key, &HistoryQuery::default()).unwrap().columns;
        let mut list: Vec<(i64, f64)> = columns.steps.into_iter().zip(columns.values).collect();
        sort(&mut list);
        if !list.is_empty() {
            points.insert(key, list);
        }
    }
    Some(Run {
        status: Some(state.status),
        tags: state.tags.into_iter().collect(),
        params: state.params.into_iter().collect(),
        deleted: lifecycle != Lifecycle::Active,
        points,
    })
}

fn sort(points: &mut [(i64, f64)]) {
    points.sort_by(|a, b| a.partial_cmp(b).unwrap());
}

fn sorted(mut run: Run) -> Run {
    run.points.values_mut().for_each(|points| sort(points));
    run
}

fn registry_then(past: &PastView<'_>) -> BTreeMap<RegisteredModelId, Registered> {
    let models = past.registered_models().unwrap().into_iter().map(|(id, state)| {
        let stage = |version: &u32| (*version, past.model_version(id, *version).unwrap().unwrap().stage);
        let stages = state.versions.iter().map(stage).collect();
        (id, Registered { deleted: false, aliases: state.aliases.into_iter().collect(), stages })
    });
    models.collect()
}

fn check(past: &PastView<'_>, then: &Model, rng: &mut SimRng, search: bool, took: &mut Took) {
    let place = format!("position {}", past.position());
    let created = then.runs.len() as u64;
    for number in 0..4 {
        // One run that may not exist yet.
        let id = run_id(rng.below(created + 1));
        let begun = Instant::now();
        let _read = past.run(id).unwrap();
        let of = if number == 0 { &mut took.first } else { &mut took.run };
        of.push(begun.elapsed());
        assert_eq!(run_then(past, id), then.runs.get(&id).cloned().map(sorted), "run {id} at {place}");
        let stats: BTreeMap<_, _> = past.latest(id).unwrap().into_iter().collect();
        for (key, points) in then.runs.get(&id).map(|run| run.points.clone()).unwrap_or_default() {
            let least = points.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
            assert_eq!(
                (stats[key].min, stats[key].count_raw),
                (least, points.len() as u64),
                "{key} of {id} at {place}"
            );
        }
    }
    let alive = then.registry.iter().filter(|(_, state)| !state.deleted).map(|(id, state)| (*id, state.clone()));
    let begun = Instant::now();
    let registry = registry_then(past);
    took.registry.push(begun.elapsed());
    assert_eq!(registry, alive.collect(), "registry at {place}");
    if search {
        let bound = rng.below(400) as f64;
        let key = NumberKey::Metric { name: "loss".into(), aggregate: Aggregate::Min };
        let filter = Filter::Term(Term::Number { key, test: NumberTest::Compare(Comparison::Lt, bound) });
        let query =
            SearchQuery { filter: Some(filter), view: View::ActiveOnly, limit: 10_000, ..SearchQuery::new(EXPERIMENT) };
        let mut found = past.search(&query).unwrap().runs;
        found.sort_unstable();
        let matches = |run: &Run| {
            let least =
                run.points.get("loss").map(|points| points.iter().map(|(_, value)| *value).fold(f64::MAX, f64::min));
            !run.deleted && least.is_some_and(|least| least < bound)
        };
        let expected: Vec<RunId> = then.runs.iter().filter(|(_, run)| matches(run)).map(|(id, _)| *id).collect();
        assert_eq!(found, expected, "search at {place}");
        assert_eq!(past.search(&query).unwrap().runs.len(), expected.len(), "the second search reads what was kept");
    }
}

#[test]
fn any_moment_of_a_random_history_is_answered_as_a_replay_from_zero_does() {
    let events = knob("RUNLODE_MOMENT_EVENTS", 1_200);
    let moments = knob("RUNLODE_MOMENTS", 60) as usize;
    let mut rng = SimRng::new(knob("RUNLODE_MOMENT_SEED", 1));
    let runs_max = (events / 100).clamp(20, 2_000);
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    let options = || Store::options(dir.path().join("store")).clock(clock.clone()).background(false);
    let store = options().open().unwrap();
    let experiment = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    store.append(Batch::new().event(experiment), Durability::Sync).unwrap();
    let mut model = Model::default();
    let mut history: Vec<(Lsn, TimestampMs, Change)> = Vec::new();
    let mut now_ms = 1_700_000_000_000;
    let begun = Instant::now();
    for number in 0..events {
        let change = model.next(&mut rng, number, runs_max);
        // Clocks stand still, run, and jump back now and then.
        now_ms += if rng.below(500) == 0 { -(rng.below(5_000) as i64) } else { rng.below(40) as i64 };
        clock.set(TimestampMs(now_ms));
        let lsn = store.append(batch(&change, now_ms), Durability::Buffered).unwrap().lsn;
        model.apply(&change);
        history.push((lsn, TimestampMs(now_ms), change));
        match rng.below(events / 4) {
            0 => drop(store.checkpoint().unwrap()),
            1 => drop(store.seal().unwrap()),
            2 => drop(store.compact(&CompactOptions::default()).unwrap()),
            _ => {}
        }
    }
    store.flush().unwrap();
    println!("{events} events in {:.1} s", begun.elapsed().as_secs_f64());
    let mut picked: Vec<usize> = (0..moments).map(|_| rng.below(events) as usize).collect();
    picked.sort_unstable();
    let snapshot = store.snapshot().unwrap();
    let mut took = Took::default();
    let mut then = Model::default();
    let mut applied = 0;
    for (number, at) in picked.into_iter().enumerate() {
        while applied <= at {
            then.apply(&history[applied].2);
            applied += 1;
        }
        let past = snapshot.as_of(AsOf::Position(history[at].0)).unwrap();
        check(&past, &then, &mut rng, number % SEARCH_EVERY == 0, &mut took);
        // A time means the last change at or before it.
        let time = TimestampMs(history[at].1.0 + rng.below(60) as i64 - 30);
        let expected = history.iter().rev().find(|(_, of, _)| *of <= time).map_or(Lsn::ZERO, |(lsn, ..)| *lsn);
        let found = snapshot.as_of(AsOf::Time(time)).unwrap().position();
        // The creation of the experiment is older than all of them.
        assert_eq!(found.max(Lsn(1)), expected.max(Lsn(1)), "time {} ", time.0);
    }
    took.print();
}
