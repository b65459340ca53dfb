//! What a store costs that processes share: points and calls of its holder and of a client, and a change of holders.
//!
//! `cargo run --release -p runlode --example shared_measure [FOLDER]`: the client is another node in this process, so
//! what is between the two is the same as between processes.

use std::time::{Duration, Instant};

use runlode::Store;
use runlode::mlflow::{NewMetric, NewRun};
use runlode::shared::MlflowCalls;
use runlode::{Durability, TimestampMs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Nanoseconds of one call: the best of five rounds.
fn best(count: u32, mut call: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        for i in 0..count {
            call(i)?;
        }
        best = best.min(begun.elapsed());
    }
    Ok(best.as_nanos() as f64 / f64::from(count))
}

fn points(name: &str, shared: &MlflowCalls, run: &str) -> Result<()> {
    let metric =
        |step: u32| NewMetric { key: "loss", value: 0.5, timestamp: 1, step: step.into(), ..Default::default() };
    shared.log_metric(run, &metric(0))?;
    let one = best(100_000, |step| Ok(shared.log_metric(run, &metric(step))?))?;
    println!("{name}: log_metric                {one:9.0} ns");
    let logger = shared.logger(run)?;
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(logger.key(&format!("k{number}"))?);
    }
    let row: Vec<_> = keys.iter().map(|key| (*key, 0.5)).collect();
    let five = best(100_000, |step| Ok(logger.log_row(step.into(), TimestampMs(1), &row, Durability::Buffered)?))?;
    println!("{name}: logger row of 5           {five:9.0} ns");
    let batch: Vec<_> = (0..1000).map(metric).collect();
    let thousand = best(100, |_| Ok(shared.log_batch(run, &batch, &[], &[])?))?;
    println!("{name}: log_batch of 1,000        {:9.1} us", thousand / 1e3);
    Ok(())
}

fn calls(name: &str, shared: &MlflowCalls, run: &str) -> Result<()> {
    let info = best(2_000, |_| shared.run_info(run).map(drop).map_err(Into::into))?;
    println!("{name}: run_info                  {:9.1} us", info / 1e3);
    let tag = best(200, |i| Ok(shared.set_tag(run, "t", &i.to_string())?))?;
    println!("{name}: set_tag (synced)          {:9.1} us", tag / 1e3);
    let history = best(5, |_| {
        let (columns, _) = shared.metric_history(run, "long", None, None)?;
        if columns.steps.len() == 100_000 { Ok(()) } else { Err("points are missing".into()) }
    })?;
    println!("{name}: history of 100,000        {:9.1} us", history / 1e3);
    Ok(())
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let path = folder.join(format!("runlode-shared-{}", std::process::id()));
    let holder = Store::options(&path).open()?.mlflow();
    let client = Store::options(&path).open_apart()?.mlflow();
    let run = holder.create_run(&NewRun::default())?.info.run_id;
    let new = |step| NewMetric { key: "long", value: 0.5, timestamp: 1, step, ..Default::default() };
    for block in 0..100 {
        holder.log_batch(&run, &(0..1000).map(|i| new(block * 1000 + i)).collect::<Vec<_>>(), &[], &[])?;
    }
    points("holder", &holder, &run)?;
    points("client", &client, &run)?;
    calls("holder", &holder, &run)?;
    calls("client", &client, &run)?;
    let begun = Instant::now();
    holder.close()?;
    let closed = begun.elapsed();
    client.set_tag(&run, "a", "b")?;
    let followed = begun.elapsed() - closed;
    println!(
        "close {:.1} ms, then a client's next decision {:.1} ms",
        closed.as_secs_f64() * 1e3,
        followed.as_secs_f64() * 1e3
    );
    client.close()?;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}
