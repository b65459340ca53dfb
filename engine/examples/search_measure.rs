//! Measures search over a projection: time of an answer by kind of predicate and order, and memory a run.
//!
//! ```text
//! cargo run --release -p runlode-engine --example search_measure -- [runs = 1000000] [rounds = 21] [only cases with this text]
//! ```
//! Runs have 5 params (10 values, 3 values, 1,000 values, lr of 5,000 values, an absent one in 9 of 10), 5 metrics (random
//! f64; one f32, one rare), 3 tags, and a name of its own each.
//!
//! One thread; p50 and least of the rounds, in milliseconds: on a machine with other work the least is nearer to the truth.

use std::time::Instant;

use runlode_engine::entity::{Lifecycle, RunState};
use runlode_engine::event::RunStatus;
use runlode_engine::point::{Point, Stats};
use runlode_engine::search::filter::{metric, param, param_number, tag};
use runlode_engine::search::search;
use runlode_engine::search::{
    Filter, Key, NumberKey, OrderKey, PageToken, Projection, RunRow, SearchQuery, Source, TextKey,
};
use runlode_engine::{ExperimentId, KeyId, Lsn, Result, RunId, TimestampMs};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Keys are m0, m1, ...; aggregates and exact counts are made up from the run.
struct Keys;

impl Source for Keys {
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>> {
        Ok(name.strip_prefix('m').and_then(|number| number.parse().ok()).map(KeyId))
    }

    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>> {
        let value = f64::from(u32::from_le_bytes([run.0[0], run.0[1], run.0[2], key.0 as u8]));
        Ok(Some(Stats::of(point(value))))
    }

    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String {
        explicit.map_or_else(|| format!("mlflow-artifacts:/{experiment}/{run}/artifacts"), str::to_owned)
    }
}

fn point(value: f64) -> Point {
    Point { step: 1, time: TimestampMs(1), value }
}

fn build(runs: u64, random: &mut Random) -> (Projection, f64) {
    let mut projection = Projection::new(ExperimentId(1));
    let mut spent = 0.0;
    let text = str::to_owned;
    for i in 0..runs {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next().to_be_bytes());
        id[8..].copy_from_slice(&random.next().to_be_bytes());
        let mut params = vec![
            (text("lr"), format!("{:.6}", random.below(5000) as f64 / 250_000.0)),
            (text("p1"), random.below(10).to_string()),
            (text("p2"), format!("value {}", random.below(3))),
            (text("p3"), format!("{}", random.below(1000))),
        ];
        if random.below(10) == 0 {
            params.push((text("p4"), random.below(4).to_string()));
        }
        let mut stats: Vec<(KeyId, Stats)> = (0..3).map(|key| (KeyId(key), Stats::of(point(random.unit())))).collect();
        stats.push((KeyId(3), Stats::of(point(f64::from(random.unit() as f32)))));
        if random.below(1000) == 0 {
            stats.push((KeyId(4), Stats::of(point(random.unit()))));
        } else {
            stats.push((KeyId(5), Stats::of(point(random.unit()))));
        }
        let state = RunState {
            name: format!("adjective-noun-{}", random.below(1 << 30)),
            user_id: format!("user{}", random.below(8)),
            status: [RunStatus::Finished, RunStatus::Finished, RunStatus::Running, RunStatus::Failed]
                [random.below(4) as usize],
            start_time_ms: 1_700_000_000_000 + (i * 977) as i64 + random.below(5000) as i64,
            end_time_ms: (random.below(5) > 0).then(|| 1_700_000_500_000 + (i * 977) as i64),
            params,
            tags: vec![
                (text("kind"), format!("kind {}", random.below(20))),
                (text("mlflow.source.git.commit"), format!("{:040x}", random.below(2000))),
                (text("mlflow.user"), format!("user{}", random.below(8))),
            ],
            ..RunState::new(ExperimentId(1), Lsn(1))
        };
        let lifecycle = if random.below(50) == 0 { Lifecycle::Deleted } else { Lifecycle::Active };
        let start = Instant::now();
        projection.upsert(RunRow { run: RunId(id), state: &state, lifecycle, stats: &stats }).expect("upsert");
        spent += start.elapsed().as_secs_f64();
    }
    (projection, spent)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (runs, rounds) = (number(1_000_000) as u64, number(21));
    let only = arguments.next().unwrap_or_default();
    let mut random = Random(1);
    let (mut projection, spent) = build(runs, &mut random);
    println!("{runs} runs; upsert {:.2} us a run", spent * 1e6 / runs as f64);
    println!("memory {:.1} B a run", projection.memory_bytes() as f64 / runs as f64);
    for (what, bytes) in projection.memory_report() {
        println!("    {what:28} {:6.1}", bytes as f64 / runs as f64);
    }
    let start = Instant::now();
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    projection.save(Lsn(1), &mut sink).expect("save");
    let saved = start.elapsed().as_secs_f64() * 1e3;
    let path = std::path::Path::new("search.snap");
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let loaded = Projection::load(path, &bytes).expect("load");
            let time = start.elapsed().as_secs_f64() * 1e3;
            projection = loaded.0;
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let size = bytes.len() as f64 / runs as f64;
    println!("search.snap {size:.1} B a run; save {saved:.1} ms, load p50 {:.1} ms, least {:.1}", times[2], times[0]);
    drop(bytes);
    let by = |key: Key| vec![OrderKey::descending(key)];
    let up = |key: Key| vec![OrderKey::ascending(key)];
    let m0 = || by(metric("m0").into());
    let cases: Vec<(&str, Option<Filter>, Vec<OrderKey>)> = vec![
        ("THE BAR: m0 > 0.9 and p1 = '3', m0 desc", Some(metric("m0").gt(0.9) & param("p1").eq("3")), m0()),
        ("no filter, default order", None, vec![]),
        ("no filter, m0 desc", None, m0()),
        ("m0 > 0.9, default order", Some(metric("m0").gt(0.9)), vec![]),
        ("m0 > 0.5, m0 asc", Some(metric("m0").gt(0.5)), up(metric("m0").into())),
        ("m2 < 0.001 (1 in a thousand), m0 desc", Some(metric("m2").lt(0.001)), m0()),
        ("m0 > 2 (none)", Some(metric("m0").gt(2.0)), vec![]),
        ("m0 > 0.999999 (1 in a million)", Some(metric("m0").gt(0.999999)), vec![]),
        (
            "m0 > 0.1 and m1 > 0.1 and m2 > 0.99999",
            Some(metric("m0").gt(0.1) & metric("m1").gt(0.1) & metric("m2").gt(0.99999)),
            m0(),
        ),
        ("m0 != 0.5, m1 desc", Some(metric("m0").ne(0.5)), by(metric("m1").into())),
        ("m3 (f32) < 0.001, m3 asc", Some(metric("m3").lt(0.001)), up(metric("m3").into())),
        ("m4 (rare) > 0.5, m4 asc", Some(metric("m4").gt(0.5)), up(metric("m4").into())),
        ("m4 (rare) is null, m0 desc", Some(metric("m4").is_null()), m0()),
        ("p1 = '3', m0 desc", Some(param("p1").eq("3")), m0()),
        ("p1 != '3', m0 desc", Some(param("p1").ne("3")), m0()),
        ("p1 in ('3','5'), m1 desc", Some(param("p1").is_in(["3", "5"])), by(metric("m1").into())),
        ("p4 is null, m0 desc", Some(param("p4").is_null()), m0()),
        ("p3 = '77' and m0 > 0.5, m0 desc", Some(param("p3").eq("77") & metric("m0").gt(0.5)), m0()),
        ("p2 LIKE '%1', m0 desc", Some(param("p2").like("%1")), m0()),
        ("commit LIKE '%7ff', m0 desc", Some(tag("mlflow.source.git.commit").like("%7ff")), m0()),
        ("commit ILIKE '%AB%', default", Some(tag("mlflow.source.git.commit").ilike("%AB%")), vec![]),
        ("name LIKE 'adjective-noun-99%', m0 desc", Some(TextKey::Name.like("adjective-noun-99%")), m0()),
        ("name LIKE '%1234%' , default", Some(TextKey::Name.like("%1234%")), vec![]),
        ("name ILIKE '%Noun-77%', m0 desc", Some(TextKey::Name.ilike("%Noun-77%")), m0()),
        ("name LIKE '%zz%' (none)", Some(TextKey::Name.like("%zz%")), vec![]),
        ("name = '..' (none)", Some(TextKey::Name.eq("zz")), vec![]),
        ("number lr < 0.0001, m0 desc", Some(param_number("lr").lt(0.0001)), m0()),
        (
            "number lr < 0.01 and p1 = '3', lr asc",
            Some(param_number("lr").lt(0.01) & param("p1").eq("3")),
            up(param_number("lr").into()),
        ),
        ("NOT p1 = '3', m0 desc", Some(!param("p1").eq("3")), m0()),
        (
            "NOT (m0 < 0.999 OR p1 != '3'), m1",
            Some(!(metric("m0").lt(0.999) | param("p1").ne("3"))),
            by(metric("m1").into()),
        ),
        ("m0 > 0.9999 OR m1 > 0.9999, m0 desc", Some(metric("m0").gt(0.9999) | metric("m1").gt(0.9999)), m0()),
        (
            "p1 = '3' OR p1 = '5' OR kind = 'kind 7', m0",
            Some(param("p1").eq("3") | param("p1").eq("5") | tag("kind").eq("kind 7")),
            m0(),
        ),
        (
            "status = 'FAILED' and user = 'user3', m0",
            Some(TextKey::Status.eq("FAILED") & TextKey::UserId.eq("user3")),
            m0(),
        ),
        ("start_time > middle, m0 desc", Some(NumberKey::StartTime.gt(1.7e12 + runs as f64 * 488.0)), m0()),
        ("m0.max > 1e9 (aggregate), m0.max desc", Some(metric("m0").max().gt(1e9)), by(metric("m0").max().into())),
        ("no filter, m4 (rare) desc", None, by(metric("m4").into())),
        ("no filter, p1 asc (10 values)", None, up(param("p1").into())),
        ("no filter, p3 desc (1,000 values)", None, by(param("p3").into())),
        ("no filter, lr number asc", None, up(param_number("lr").into())),
        ("no filter, name asc (all distinct)", None, up(TextKey::Name.into())),
        ("no filter, end_time desc", None, by(NumberKey::EndTime.into())),
        ("no filter, run_id asc", None, up(TextKey::RunId.into())),
        ("no filter, start_time asc", None, up(NumberKey::StartTime.into())),
    ];
    let mut medians = Vec::new();
    println!("{:52} {:>8} {:>8} {:>8} {:>8} {:>6}", "limit 100", "p50 ms", "least", "page 50", "prepare", "rows");
    for (what, filter, order) in cases.into_iter().filter(|(what, ..)| what.contains(&only)) {
        let mut query = SearchQuery { filter, order, limit: 100, ..SearchQuery::new(ExperimentId(1)) };
        let start = Instant::now();
        projection.prepare(&query, &Keys).expect("prepare");
        let prepare = start.elapsed().as_secs_f64() * 1e3;
        let measure = |query: &SearchQuery| {
            let mut page = None;
            let mut times: Vec<f64> = (0..rounds)
                .map(|_| {
                    let start = Instant::now();
                    page = Some(search(query, &[&projection], &Keys).expect("search"));
                    start.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            (times[rounds / 2], times[0], page.expect("a round"))
        };
        let (p50, least, page) = measure(&query);
        // A token as page 50 would have given it.
        let deep = SearchQuery { after: Some(PageToken::from_offset(4800)), ..query.clone() };
        query.after = search(&deep, &[&projection], &Keys).expect("search").next;
        let deep = query.after.is_some().then(|| measure(&query).0);
        let deep = deep.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
        println!("{what:52} {p50:8.3} {least:8.3} {deep:>8} {prepare:8.1} {:6}", page.runs.len());
        medians.push((p50, least, what));
    }
    medians.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = medians[medians.len() / 2].0;
    let mut least: Vec<f64> = medians.iter().map(|(_, least, _)| *least).collect();
    least.sort_by(f64::total_cmp);
    let least_middle = least[least.len() / 2];
    println!("median {middle:.3} ms, of the least {least_middle:.3}; slowest:");
    for (p50, least, what) in medians.iter().rev().take(8) {
        println!("    {what:52} {p50:8.3}  {:.1} x the median; least {:.1} x", p50 / middle, least / least_middle);
    }
    println!("memory after all that {:.1} B a run", projection.memory_bytes() as f64 / runs as f64);
}
