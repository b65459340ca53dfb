//! A real process on a real file system, killed with SIGKILL at a random moment, 200 times: everything that it
//! acknowledged is there, in order, and nothing that is damaged.
//!
//! The child is this test binary itself; it reports each acknowledgement on its standard output, a pipe.
//! `RUNLODE_KILL9_ROUNDS` sets how many rounds.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runlode_engine::event::RunTagsSet;
use runlode_engine::point::Point;
use runlode_engine::storage::sim::SimRng;
use runlode_engine::{Batch, Durability, ExperimentId, HistoryQuery, RunId, Store, TimestampMs, VerifyOptions};
use runlode_tests::{create, knob};

const DIR: &str = "RUNLODE_KILL9_DIR";
/// Rounds on one store.
const ROUNDS_OF_A_STORE: u64 = 20;
const RUNS: [(RunId, Durability); 2] = [(RunId([1; 16]), Durability::Buffered), (RunId([2; 16]), Durability::Sync)];

fn open(dir: &Path) -> Store {
    Store::options(dir).memory_bytes(16 << 20).segment_bytes(32 << 10, 128 << 10).open().unwrap()
}

/// How many batches of a run are there: steps 0, 1, 2, ... without a hole, each value its step.
fn count(store: &Store, run: RunId) -> u64 {
    let page = store.snapshot().unwrap().history(run, "n", &HistoryQuery::default()).unwrap();
    for (index, (step, value)) in page.columns.steps.iter().zip(&page.columns.values).enumerate() {
        assert_eq!((*step, *value), (index as i64, index as f64), "{run} has a hole");
    }
    page.columns.len() as u64
}

/// Logs to both runs until it is killed.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = open(Path::new(&dir));
    if store.snapshot().unwrap().experiments().unwrap().is_empty() {
        let experiment = ExperimentId(0);
        let mut batch = Batch::new().event(create::experiment(experiment, "Default"));
        for (run, _) in RUNS {
            batch.push_event(create::run(run, experiment));
        }
        store.append(batch, Durability::Sync).unwrap();
    }
    std::thread::scope(|scope| {
        for (index, (run, durability)) in RUNS.into_iter().enumerate() {
            let store = &store;
            scope.spawn(move || {
                let key = store.metric_key("n").unwrap();
                let handle = store.run(run).unwrap();
                let mut out = std::io::stdout();
                for number in count(store, run).. {
                    let point = Point { step: number as i64, time: TimestampMs(number as i64), value: number as f64 };
                    if number % 7 == 0 {
                        // A point and an entity event: both or none.
                        let tags = vec![("n".to_owned(), number.to_string())];
                        let batch = Batch::new().event(RunTagsSet { run, tags }).metric(run, "n", point, None);
                        store.append(batch, durability).unwrap();
                    } else {
                        handle.log_point(key, point, durability).unwrap();
                    }
                    out.write_all(format!("\nack {index} {number}\n").as_bytes()).unwrap();
                    if durability == Durability::Buffered && number % 16 == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        scope.spawn(|| {
            loop {
                store.seal().unwrap();
                store.checkpoint().unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
    });
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let rounds = knob("RUNLODE_KILL9_ROUNDS", 200);
    let start = Instant::now();
    let mut rng = SimRng::new(knob("RUNLODE_SIM_SEED", 9));
    let mut dir = tempfile::tempdir().unwrap();
    let mut kept = [0u64; 2];
    let mut acked_in_all = 0;
    for round in 0..rounds {
        if round % ROUNDS_OF_A_STORE == 0 {
            dir = tempfile::tempdir().unwrap();
            kept = [0; 2];
        }
        let path = dir.path().join("store");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(DIR, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let early = rng.below(8) == 0;
        let wait = Duration::from_micros(rng.below(30_000));
        // The reader lives as long as the pipe: acknowledgements that are in it when the child dies count.
        let (first_ack, acks) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut last = [None::<u64>; 2];
            let mut count = 0u64;
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { break };
                let mut words = line.split(' ');
                // Only whole lines count: the last one may have been cut by the kill.
                if let (Some("ack"), Some(run), Some(number), None) =
                    (words.next(), words.next(), words.next(), words.next())
                    && let (Ok(run), Ok(number)) = (run.parse::<usize>(), number.parse::<u64>())
                {
                    last[run] = Some(number).max(last[run]);
                    count += 1;
                    if count == 1 {
                        let _ = first_ack.send(());
                    }
                }
            }
            (last, count)
        });
        if !early {
            let _ = acks.recv_timeout(Duration::from_secs(20));
        }
        std::thread::sleep(wait);
        assert!(child.try_wait().unwrap().is_none(), "round {round}: the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let (last, count_acked) = reader.join().unwrap();
        acked_in_all += count_acked;

        let store = open(&path);
        for (index, (run, durability)) in RUNS.into_iter().enumerate() {
            let found = count(&store, run);
            let least = last[index].map_or(kept[index], |last| last + 1);
            assert!(found >= least, "round {round}: {durability:?}: {found} batches kept of {least} acknowledged");
            assert!(found <= least.max(kept[index]) + 1 || count_acked == 0, "round {round}: {found} of {least}");
            kept[index] = found;
            if let Some(run) = store.snapshot().unwrap().run(run).unwrap().filter(|_| found > 0) {
                let tag = run.tags.iter().find(|(key, _)| key == "n").map(|(_, value)| value.clone());
                assert_eq!(tag, Some(((found - 1) / 7 * 7).to_string()), "round {round}: half a batch");
            }
        }
        let report = store.verify(&VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "round {round}: {:?}", report.findings);
        if rng.below(2) == 0 {
            store.close().unwrap();
        }
    }
    println!("{rounds} kills, {acked_in_all} acknowledgements, {:.1} s", start.elapsed().as_secs_f64());
}
