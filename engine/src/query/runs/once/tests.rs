//! A search by its own columns against one by all columns.

use super::*;
use crate::event::*;
use crate::id::RunId;
use crate::ingest::batch::{Batch, Durability};
use crate::point::Point;
use crate::search::filter::NumberKey;
use crate::search::filter::{metric, param, tag};
use crate::search::request::View;
use crate::search::{Filter, OrderKey, TextKey};
use crate::storage::memory::Memory;
use crate::store::Store;
use crate::time::TimestampMs;

const EXPERIMENTS: [ExperimentId; 2] = [ExperimentId(1), ExperimentId(2)];

fn run_id(number: u8) -> RunId {
    RunId([number.wrapping_mul(77); 16])
}

/// A run with a bit of everything that may be searched for.
fn create(store: &Store, number: u8) {
    let run = run_id(number);
    let created = RunCreated {
        run,
        experiment: EXPERIMENTS[usize::from(number.is_multiple_of(3))],
        name: format!("run-{}", number % 7),
        user_id: ["ann", "bob"][usize::from(number % 2)].into(),
        status: RunStatus::Running,
        start_time_ms: i64::from(number / 4),
        artifact_location: number.is_multiple_of(5).then(|| format!("s3://b/{number}")),
        tags: vec![("kind".into(), format!("{}", number % 4))],
    };
    let mut batch = Batch::new().event(created);
    if number.is_multiple_of(2) {
        batch = batch.event(ParamsLogged { run, params: vec![("lr".into(), format!("0.{number}"))] });
    }
    if number.is_multiple_of(6) {
        batch = batch.event(RunUpdated { run, status: Some(RunStatus::Finished), end_time_ms: Some(900), name: None });
    }
    for step in 0..3 {
        let value = f64::from(number % 9) - step as f64;
        let point = Point { step, time: TimestampMs(step), value };
        batch = batch.metric(run, if number.is_multiple_of(4) { "acc" } else { "loss" }, point, None);
        batch = batch.metric(run, "both", point, None);
    }
    store.append(batch, Durability::Sync).unwrap();
}

fn queries() -> Vec<SearchQuery> {
    let all = || SearchQuery {
        view: View::All,
        experiments: EXPERIMENTS.to_vec(),
        limit: 7,
        ..SearchQuery::new(EXPERIMENTS[0])
    };
    let by = |filter: Option<Filter>, order: OrderKey| SearchQuery { filter, order: vec![order], ..all() };
    vec![
        by(None, OrderKey::descending(metric("loss"))),
        by(Some(metric("acc").min().ge(0.0)), OrderKey::ascending(metric("both").max())),
        by(Some(tag("kind").eq("2")), OrderKey::ascending(param("lr"))),
        by(Some(TextKey::Name.like("%-1")), OrderKey::descending(NumberKey::Param("lr".into()))),
        by(Some(param("lr").is_null() | metric("loss").count().ge(3.0)), OrderKey::ascending(TextKey::UserId)),
        by(Some(TextKey::Status.eq("FINISHED")), OrderKey::descending(NumberKey::EndTime)),
        by(Some(TextKey::ArtifactUri.like("s3%")), OrderKey::ascending(TextKey::RunId)),
        by(Some(TextKey::DatasetName.eq("d")), OrderKey::ascending(TextKey::Name)),
        by(Some(tag("none").is_not_null()), OrderKey::ascending(tag("none"))),
        SearchQuery { view: View::DeletedOnly, ..by(None, OrderKey::ascending(tag("kind"))) },
    ]
}

#[test]
fn searches_by_their_own_columns_answer_as_those_by_all() {
    let storage: Arc<dyn crate::storage::Storage> = Arc::new(Memory::new());
    let options = || Store::options("unused").storage(storage.clone()).background(false);
    let store = options().open().unwrap();
    for experiment in EXPERIMENTS {
        let created = ExperimentCreated {
            experiment,
            name: format!("e{experiment}"),
            artifact_location: None,
            creation_time_ms: 0,
            last_update_time_ms: 0,
            tags: Vec::new(),
        };
        store.append(Batch::new().event(created), Durability::Sync).unwrap();
    }
    (0..60).for_each(|number| create(&store, number));
    store.checkpoint().unwrap();
    // Above the index: new runs, points and tags of old ones, a rewind, deletions, a data set.
    (60..80).for_each(|number| create(&store, number));
    let run = run_id(8);
    let dataset = DatasetInput {
        name: "d".into(),
        digest: "1".into(),
        source_type: String::new(),
        source: String::new(),
        schema: None,
        profile: None,
        tags: Vec::new(),
    };
    store.append(Batch::new().event(RunDeleted { run: run_id(9), at_ms: 1 }), Durability::Sync).unwrap();
    let late = Batch::new()
        .event(RunTagsSet { run: run_id(3), tags: vec![("kind".into(), "2".into())] })
        .event(RunDeleted { run: run_id(5), at_ms: 1 })
        .event(RunPurged { run: run_id(9) })
        .event(RunInputsLogged { run, datasets: vec![dataset], models: Vec::new() })
        .metric(run_id(1), "loss", Point { step: 9, time: TimestampMs(9), value: 55.0 }, None);
    store.append(late, Durability::Sync).unwrap();
    store.rewind(run_id(10), 1, None).unwrap();
    store.flush().unwrap();

    let all = store.snapshot().unwrap();
    let reader = || options().read_only(true).from_index(true).open().unwrap();
    for mut query in queries() {
        loop {
            let expected = all.search(&query).unwrap();
            let once = reader();
            assert!(once.open_notes().rebuilt.is_none());
            assert_eq!(once.snapshot().unwrap().search(&query).unwrap(), expected, "{query:?}");
            let built = |experiment| once.core().projections.is_built(experiment);
            assert!(!EXPERIMENTS.into_iter().any(built), "it made columns of its own");
            match expected.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    // Who goes on searching gets all columns.
    let reader = reader();
    let query = &queries()[0];
    for _ in 0..=SEARCHES {
        assert_eq!(reader.snapshot().unwrap().search(query).unwrap(), all.search(query).unwrap());
    }
    assert!(reader.core().projections.is_built(EXPERIMENTS[0]));
}
