//! The past: one run as it was, and the first search of a moment.

use std::time::Instant;

use runlode_engine::event::{RunStatus, RunTagsSet, RunUpdated};
use runlode_engine::point::Point;
use runlode_engine::search::filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term};
use runlode_engine::search::{OrderKey, SearchQuery};
use runlode_engine::{AsOf, Batch, Durability, Lsn, RunId, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, EXPERIMENT};
use crate::floor::frames::Frames;
use crate::report::Measured;
use crate::rng::Rng;
use crate::timing::{Samples, median};

/// Their changes come in turns, so those of one run lie far from each other.
const RUNS: u64 = 2_000;
const CHANGES_OF_RUN: u64 = 500;
const QUESTIONS: usize = 2_000;
const SEARCHED_RUNS: u64 = 60_000;
const SEARCHES: usize = 3;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    one(context)?;
    search(context)
}

fn one(context: &Context<'_>) -> Result {
    context.progress("1 M changes of 2,000 runs");
    let path = context.dir.join("one");
    let store = engine::create(&path, RUNS)?;
    let begun = store.positions().published;
    let key = engine::keys(&store, 1)?[0];
    for change in 0..CHANGES_OF_RUN {
        for number in 0..RUNS {
            let run = engine::run_id(number);
            if change % 2 == 0 {
                let tags = vec![(format!("tag_{}", change % 8), change.to_string())];
                store.append(Batch::new().event(RunTagsSet { run, tags }), Durability::Buffered)?;
            } else {
                let time = TimestampMs(1_700_000_000_000 + change as i64);
                let point = Point { step: change as i64, time, value: change as f64 };
                store.run(run)?.log_point(key, point, Durability::Buffered)?;
            }
        }
    }
    engine::seal_all(&store)?;
    store.checkpoint()?;
    store.close()?;

    let store = Store::open(&path)?;
    let snapshot = store.snapshot()?;
    let mut rng = Rng::new(5);
    let span = snapshot.position().0 - begun.0;
    let (mut own, mut asked) = (Samples::with_capacity(QUESTIONS), Vec::new());
    for _ in 0..QUESTIONS {
        let (run, at) = (engine::run_id(rng.below(RUNS)), Lsn(begun.0 + 1 + rng.below(span)));
        let found = own.time(|| snapshot.as_of(AsOf::Position(at))?.run(run))?;
        if found.is_none() {
            return Err("the run is not there".into());
        }
        asked.push((run, at));
    }
    let frames = Frames::of(&path)?;
    let (mut bare, mut room, mut read) = (Samples::with_capacity(QUESTIONS), Vec::new(), 0);
    for (run, at) in asked {
        let lsns = positions_of(&snapshot, run, at)?;
        read += lsns.len();
        bare.time(|| lsns.iter().try_for_each(|lsn| frames.read(*lsn, &mut room).map(drop)))?;
    }
    let p50_ms = own.p50_ns() / 1e6;
    context.tell(
        Measured::new("asof.one", p50_ms)
            .beside(format!("bare reads of these frames {:.3} ms", bare.p50_ns() / 1e6))
            .note(format!("p99 {:.2} ms; {} frames a question", own.quantile_ns(0.99) / 1e6, read / QUESTIONS)),
    );
    Ok(())
}

fn positions_of(snapshot: &runlode_engine::Snapshot, run: RunId, at: Lsn) -> Result<Vec<Lsn>> {
    let key = runlode_engine::entity::EntityKey::Run(run);
    let events = snapshot.as_of(AsOf::Position(at))?.events(&key)?;
    let mut lsns: Vec<Lsn> = events.into_iter().map(|event| event.lsn).collect();
    lsns.dedup();
    Ok(lsns)
}

fn search(context: &Context<'_>) -> Result {
    context.progress("60,000 runs that all change later");
    let path = context.dir.join("search");
    let store = engine::create(&path, SEARCHED_RUNS)?;
    let key = engine::keys(&store, 1)?[0];
    let tag = |number: u64, tag: &str| RunTagsSet {
        run: engine::run_id(number),
        tags: vec![(tag.to_owned(), (number % 10).to_string())],
    };
    for number in 0..SEARCHED_RUNS {
        store.append(Batch::new().event(tag(number, "kind")), Durability::Buffered)?;
        let run = store.run(engine::run_id(number))?;
        for step in 0..3 {
            let value = ((number * 7 + step) % 1_000) as f64;
            let point = Point { step: step as i64, time: TimestampMs(1_700_000_000_000), value };
            run.log_point(key, point, Durability::Buffered)?;
        }
    }
    let middle = store.positions().published;
    for number in 0..SEARCHED_RUNS {
        let ended = RunUpdated {
            run: engine::run_id(number),
            status: Some(RunStatus::Finished),
            end_time_ms: Some(1_700_000_100_000),
            name: None,
        };
        store.append(Batch::new().event(tag(number, "later")).event(ended), Durability::Buffered)?;
    }
    engine::seal_all(&store)?;
    store.checkpoint()?;
    store.close()?;

    let store = Store::open(&path)?;
    let snapshot = store.snapshot()?;
    let loss = NumberKey::Metric { name: engine::key_name(0), aggregate: Aggregate::Latest };
    let query = SearchQuery {
        filter: Some(Filter::Term(Term::Number { key: loss, test: NumberTest::Compare(Comparison::Lt, 500.0) })),
        order: vec![OrderKey::descending(NumberKey::StartTime)],
        limit: 100,
        ..SearchQuery::new(EXPERIMENT)
    };
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for number in 0..SEARCHES {
        // Each moment is a new one, and all runs changed since.
        let past = snapshot.as_of(AsOf::Position(Lsn(middle.0 - number as u64)))?;
        let begin = Instant::now();
        let found = past.search(&query)?.runs.len();
        first.push(begin.elapsed().as_secs_f64());
        if found != 100 {
            return Err(format!("{found} runs were found").into());
        }
        let other = SearchQuery { limit: 101, ..query.clone() };
        let begin = Instant::now();
        past.search(&other)?;
        again.push(begin.elapsed().as_secs_f64());
    }
    context.tell(
        Measured::new("asof.search", median(first))
            .note(format!("another search of the same moment {:.2} s", median(again))),
    );
    Ok(())
}
