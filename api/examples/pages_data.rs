//! Fills a store for looking at its web pages: many runs, many keys, or one long curve with a spike.
//!
//! ```sh
//! cargo run --release -p runlode --example pages_data -- ./store runs 100000
//! cargo run --release -p runlode --example pages_data -- ./store keys 10000
//! cargo run --release -p runlode --example pages_data -- ./store points 100000000
//! cargo run --release -p runlode --example pages_data -- ./store live 50
//! ```

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use runlode::{RunSpec, RunStatus, Store};

/// Points that are logged at a time.
const BATCH: i64 = 10_000;
/// Where the spike is, as a part of the curve.
const SPIKE: f64 = 0.637;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, what, count] = arguments.as_slice() else {
        return Err("give a store, one of runs, keys, points and live, and a number".into());
    };
    let count: i64 = count.parse()?;
    let store = Store::open(path)?;
    let mut numbers = Numbers(7);
    match what.as_str() {
        "runs" => {
            let experiment = store.experiment("many runs")?;
            for number in 0..count {
                let rate = format!("{:.4}", 10_f64.powf(-4.0 * numbers.next()));
                let spec =
                    RunSpec::named(format!("trial-{number}")).tag("team", ["vision", "speech"][(number % 2) as usize]);
                let run = experiment.create_run(spec)?;
                run.log_params(&[("lr", rate.as_str()), ("optimizer", ["adam", "sgd"][(number % 2) as usize])])?;
                run.log_metrics(0, &[("loss", numbers.next()), ("acc", numbers.next())])?;
                run.end(if number % 50 == 0 { RunStatus::Failed } else { RunStatus::Finished })?;
            }
        }
        "keys" => {
            let experiment = store.experiment("many keys")?;
            let names: Vec<String> = (0..count).map(|key| format!("layer{}/gradient_{key}", key % 40)).collect();
            for number in 0..20 {
                let run = experiment.create_run(RunSpec::named(format!("run {number}")))?;
                for step in 0..20 {
                    let row: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), numbers.next())).collect();
                    for part in row.chunks(1_000) {
                        run.log_metrics(step, part)?;
                    }
                }
                run.end(RunStatus::Finished)?;
            }
        }
        "points" => {
            let run = store.experiment("long")?.create_run(RunSpec::named(format!("{count} points")))?;
            let mut row = run.row(&["loss"])?;
            let spike = (count as f64 * SPIKE) as i64;
            for step in 0..count {
                let value = 1.0 / (1.0 + step as f64 / 1e6) + 0.02 * numbers.next();
                row.log(step, &[if step == spike { 9.0 } else { value }])?;
                if step % (BATCH * 1_000) == 0 {
                    println!("{step}");
                }
            }
            println!("the spike is at step {spike}");
            run.end(RunStatus::Finished)?;
        }
        "live" => {
            let experiment = store.experiment("live")?;
            let mut runs = Vec::new();
            for number in 0..count {
                let run = experiment.create_run(RunSpec::named(format!("live {number}")))?;
                for step in 0..2_000 {
                    run.log_metrics(step, &[("loss", 1.0 / (1.0 + step as f64) + 0.1 * numbers.next())])?;
                }
                runs.push(run);
            }
            println!("{count} runs log a point a second; end with Ctrl-C");
            for step in 2_000.. {
                for run in &runs {
                    run.log_metrics(step, &[("loss", 0.1 * numbers.next())])?;
                }
                sleep(Duration::from_secs(1));
            }
        }
        other => return Err(format!("{other} is none of runs, keys, points and live").into()),
    }
    store.close()?;
    Ok(())
}
