//! Texts that are too long to be kept: searches of them, and of others beside, against an answer row by row.

use std::sync::Arc;

use super::*;
use crate::event::{ExperimentCreated, ParamsLogged, RunCreated, RunDeleted, RunStatus, RunTagDeleted, RunTagsSet};
use crate::ingest::batch::{Batch, Durability};
use crate::point::Point;
use crate::search::filter::{metric, param, tag, tag_number};
use crate::search::request::View;
use crate::search::saved::SnapFile;
use crate::search::{Filter, OrderKey};
use crate::storage::memory::Memory;
use crate::storage::sim::SimRng;
use crate::store::Store;
use crate::time::TimestampMs;

const EXPERIMENT: ExperimentId = ExperimentId(1);
const BYTES_MAX: u64 = 100_000;

fn run_id(number: u64) -> RunId {
    RunId([number as u8; 16])
}

fn long_text(rng: &mut SimRng) -> String {
    format!("{}{}", rng.below(30), "x".repeat(2_000 + rng.below(3_000) as usize))
}

fn change(store: &Store, rng: &mut SimRng, runs: &mut u64) {
    let some = run_id(rng.below((*runs).max(1)));
    let key = |rng: &mut SimRng| format!("long{}", rng.below(6));
    let batch = match if *runs == 0 { 0 } else { rng.below(12) } {
        0..4 => {
            let run = run_id(*runs);
            *runs += 1;
            let tags =
                (0..6).filter(|at| *at != run.0[0] % 7).map(|at| (format!("long{at}"), long_text(rng))).collect();
            let created = RunCreated {
                run,
                experiment: EXPERIMENT,
                name: format!("run{}", rng.below(5)),
                user_id: String::new(),
                status: RunStatus::Running,
                start_time_ms: rng.below(4) as i64,
                artifact_location: None,
                tags,
            };
            let params = vec![("p".into(), rng.below(5).to_string()), ("big".into(), long_text(rng))];
            Batch::new().event(created).event(ParamsLogged { run, params })
        }
        4..6 => Batch::new().event(RunTagsSet { run: some, tags: vec![(key(rng), long_text(rng))] }),
        6..8 => Batch::new().event(RunTagsSet { run: some, tags: vec![("short".into(), rng.below(4).to_string())] }),
        8 => Batch::new().event(RunTagDeleted { run: some, key: key(rng) }),
        9 => Batch::new().event(RunDeleted { run: some, at_ms: 5 }),
        _ => {
            let point = Point { step: 1, time: TimestampMs(1), value: rng.below(9) as f64 };
            Batch::new().metric(some, "loss", point, None)
        }
    };
    match store.append(batch, Durability::Buffered) {
        // Not every change is for a deleted run, and not every tag is there.
        Ok(_) | Err(Error::Deleted { .. } | Error::NotFound { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn queries(rng: &mut SimRng) -> Vec<SearchQuery> {
    let view = [View::All, View::ActiveOnly, View::DeletedOnly][rng.below(3) as usize];
    let by = |filter: Option<Filter>, order: OrderKey| SearchQuery {
        filter,
        order: vec![order],
        view,
        limit: 15,
        ..SearchQuery::new(EXPERIMENT)
    };
    let long = format!("long{}", rng.below(6));
    let like = tag(&*long).like(format!("{}xx%", rng.below(30)));
    vec![
        by(None, OrderKey::descending(tag(&*long))),
        by(Some(like.clone()), OrderKey::ascending(metric("loss"))),
        by(Some(like & tag("short").ne("1")), OrderKey::ascending(tag("short"))),
        by(Some(tag("short").eq("2")), OrderKey::descending(param("p"))),
        by(Some(param("big").ne("nothing")), OrderKey::descending(metric("loss"))),
        by(Some(tag_number(&*long).is_null()), OrderKey::ascending(param("big"))),
    ]
}

#[test]
fn searches_of_texts_that_are_not_kept_answer_the_same() {
    for seed in 0..6 {
        let mut rng = SimRng::new(seed);
        let storage = Arc::new(Memory::default());
        let options = Store::options("store").storage(storage.clone()).background(false).search_snap_runs_min(1);
        let store = options.open().unwrap();
        store.core().projections.set_bytes_max(BYTES_MAX);
        let created = ExperimentCreated {
            experiment: EXPERIMENT,
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 0,
            last_update_time_ms: 0,
            tags: Vec::new(),
        };
        store.append(Batch::new().event(created), Durability::Buffered).unwrap();
        let mut runs = 0;
        let mut held = None;
        for _ in 0..40 {
            for _ in 0..=rng.below(4) {
                change(&store, &mut rng, &mut runs);
            }
            match rng.below(6) {
                0 => drop(store.checkpoint().unwrap()),
                1 => drop(store.seal().unwrap()),
                2 => held = Some(store.snapshot().unwrap()),
                _ => {}
            }
            store.flush().unwrap();
            let snapshot = store.snapshot().unwrap();
            for query in queries(&mut rng) {
                for snapshot in [Some(&snapshot), held.as_ref()].into_iter().flatten() {
                    let (found, right) =
                        (snapshot.search(&query).unwrap(), snapshot.search_by_rows(&query, snapshot).unwrap());
                    let texts = |page: &SearchPage| (page.runs.clone(), page.next.is_some());
                    assert!(
                        found == right,
                        "seed {seed}, {runs} runs, {query:?}: {:?}, {:?}",
                        texts(&found),
                        texts(&right)
                    );
                }
            }
            let standing = store.core().projections.get(EXPERIMENT);
            let bytes = standing.read().projection.memory_bytes() as u64;
            assert!(bytes < 2 * BYTES_MAX, "seed {seed}: {bytes} bytes");
        }
        assert!(!store.core().projections.get(EXPERIMENT).read().projection.has_all_texts(), "seed {seed}");
        // What lacks columns must not be taken for whole by the next open.
        store.core().save_searches(true).unwrap();
        let file = SnapFile::open(&*store.core().storage, store.core().store_id).unwrap();
        assert!(file.is_none_or(|file| file.part(EXPERIMENT).is_none()), "seed {seed}");
    }
}
