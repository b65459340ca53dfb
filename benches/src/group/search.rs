//! Searching a million runs, and a hundred thousand.

use std::time::{Duration, Instant};

use runlode_engine::event::ParamsLogged;
use runlode_engine::point::Point;
use runlode_engine::search::filter::{self, Filter, NumberKey, TextKey};
use runlode_engine::search::{OrderKey, SearchQuery};
use runlode_engine::{Batch, Durability, ExperimentId, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine;
use crate::floor::read as floor;
use crate::report::Measured;
use crate::rng::Rng;
use crate::timing::{Samples, median, repeat};

const MILLION: ExperimentId = ExperimentId(1);
const TENTH: ExperimentId = ExperimentId(2);
const RUNS_PER_BATCH: u64 = 100;
const METRICS: usize = 5;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    // Making the runs is not what is measured: room for them spares the checkpoints in between.
    let store = Store::options(&path).memory_bytes(2 << 30).open()?;
    store.append(Batch::new().event(engine::experiment_created(MILLION)), Durability::Sync)?;
    store.append(Batch::new().event(engine::experiment_created(TENTH)), Durability::Sync)?;
    let start = Instant::now();
    create_runs(&store, TENTH, 2_000_000, 100_000)?;
    create_runs(&store, MILLION, 0, 1_000_000)?;
    let created_s = start.elapsed().as_secs_f64();
    context.progress(&format!("1.1 M runs in {created_s:.0} s"));
    store.close()?;
    let start = Instant::now();
    let store = Store::open(&path)?;
    context.progress(&format!("closed and reopened in {:.1} s", start.elapsed().as_secs_f64()));

    let (mut tenth, _) = ask(&store, named(TENTH))?;
    let (mut million, first_ms) = ask(&store, named(MILLION))?;
    let tell = |name: &str, samples: &mut Samples, rows: usize, note: &str| {
        let bare_ms = floor::scan(rows).p50_ns() / 1e6;
        context.tell(
            Measured::new(name, samples.p50_ns() / 1e6 / bare_ms)
                .own(format!("{:.3} ms", samples.p50_ns() / 1e6))
                .beside(format!("bare scan of two such columns {bare_ms:.3} ms"))
                .note(format!("p99 {:.2} ms{note}", samples.quantile_ns(0.99) / 1e6)),
        );
    };
    let note =
        format!("; snapshot included; the first search took {first_ms:.0} ms; 1.1 M runs made in {created_s:.0} s");
    tell("search.million", &mut million, 1_000_000, &note);

    let mut times = Vec::new();
    for (name, query) in predicates() {
        let (mut samples, _) = ask(&store, query)?;
        times.push((name, samples.p50_ns() / 1e6));
    }
    let usual = median(times.iter().map(|(_, ms)| *ms).collect());
    let worst = times.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let each: Vec<String> = times.iter().map(|(name, ms)| format!("{name}: {ms:.2}")).collect();
    context.tell(
        Measured::new("search.worst", worst / usual)
            .own(format!("slowest {worst:.2} ms"))
            .beside(format!("median {usual:.2} ms"))
            .note(each.join(", ")),
    );
    tell("search.100k", &mut tenth, 100_000, "");
    store.close()?;
    Ok(())
}

/// Runs with 3 tags, 5 params and 5 metrics, numbered from `first`.
///
/// # Errors
/// Those of the store.
pub fn create_runs(store: &Store, experiment: ExperimentId, first: u64, count: u64) -> Result {
    let mut rng = Rng::new(first + 11);
    let keys = (0..METRICS).map(|index| store.metric_key(&format!("m{index}"))).collect::<Result<Vec<_>, _>>()?;
    for batch_first in (first..first + count).step_by(RUNS_PER_BATCH as usize) {
        let mut batch = Batch::new();
        for number in batch_first..batch_first + RUNS_PER_BATCH {
            let mut created = engine::run_created(number, experiment);
            created.tags = vec![
                ("team".into(), format!("team-{}", rng.below(20))),
                ("host".into(), format!("host-{}", rng.below(1_000))),
                ("note".into(), format!("note {}", rng.below(10_000_000))),
            ];
            let params = vec![
                ("p0".into(), format!("{:.4}", rng.unit())),
                ("p1".into(), rng.below(10).to_string()),
                ("p2".into(), ["sgd", "adam", "adamw", "lion"][rng.below(4) as usize].into()),
                ("p3".into(), (1 << rng.below(10)).to_string()),
                ("p4".into(), format!("model-{}", rng.below(100_000))),
            ];
            let run = created.run;
            batch.push_event(created);
            batch.push_event(ParamsLogged { run, params });
            for &key in &keys {
                let point = Point { step: 100, time: TimestampMs(1_700_000_000_000), value: rng.unit() };
                batch.push_point(run, key, point);
            }
        }
        store.append(batch, Durability::Buffered)?;
    }
    Ok(())
}

fn query(filter: Option<Filter>, order: Option<OrderKey>) -> SearchQuery {
    SearchQuery { filter, order: order.into_iter().collect(), limit: 100, ..SearchQuery::new(MILLION) }
}

/// `m0 > 0.9 and p1 = '3' order by m0 desc limit 100`.
pub fn named(experiment: ExperimentId) -> SearchQuery {
    let both = vec![filter::metric("m0").gt(0.9), filter::param("p1").eq("3")];
    let query = query(Some(Filter::And(both)), Some(OrderKey::descending(filter::metric("m0"))));
    SearchQuery { experiments: vec![experiment], ..query }
}

fn predicates() -> Vec<(&'static str, SearchQuery)> {
    let (m, p, t) = (filter::metric, filter::param, filter::tag);
    let by = |key: &str| Some(OrderKey::descending(filter::metric(key)));
    vec![
        ("the named one", named(MILLION)),
        ("half of all", query(Some(m("m1").gt(0.5)), by("m1"))),
        ("one in a thousand", query(Some(m("m2").lt(0.001)), by("m0"))),
        ("nothing", query(Some(m("m3").gt(2.0)), by("m0"))),
        ("no filter", query(None, by("m4"))),
        ("rare text", query(Some(p("p4").eq("model-77")), by("m0"))),
        ("like", query(Some(t("host").like("%7%")), by("m0"))),
        (
            "or, not",
            query(
                Some(Filter::Or(vec![t("team").eq("team-3"), Filter::Not(Box::new(p("p2").eq("adam")))])),
                Some(OrderKey::ascending(NumberKey::StartTime)),
            ),
        ),
        (
            "number in a param, status",
            query(
                Some(Filter::And(vec![filter::param_number("p3").ge(128.0), TextKey::Status.eq("RUNNING")])),
                by("m1"),
            ),
        ),
    ]
}

/// Samples of a search, and how long the first one took in ms.
fn ask(store: &Store, query: SearchQuery) -> Result<(Samples, f64)> {
    let start = Instant::now();
    store.snapshot()?.search(&query)?;
    let first_ms = start.elapsed().as_secs_f64() * 1e3;
    let samples = repeat(100, Duration::from_secs(1), || -> Result<_> { Ok(store.snapshot()?.search(&query)?) })?;
    Ok((samples, first_ms))
}
