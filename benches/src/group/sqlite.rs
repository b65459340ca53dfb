//! SQLite with the same points, beside each way of logging.

use std::time::Instant;

use runlode_engine::Durability;

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS, BATCH_POINTS};
use crate::group::sync;
use crate::peer::sqlite::{SqlitePoints, Synchronous};
use crate::report::Measured;
use crate::scratch::{breakdown, disk_bytes};
use crate::stream::{Stream, Values};
use crate::timing::median;

/// Points in both, for the comparison of sizes.
const POINTS: usize = 4_000_000;
const BUFFERED_POINTS: usize = 20_000_000;
const ROUNDS: usize = 3;
const FULL_TRANSACTIONS: usize = 500;
const SYNC_BATCHES: usize = 1_000;
const SYNC64_BATCHES: usize = 200;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let normal = sqlite_normal(context)?;
    size(context, normal.bytes)?;

    context.progress("Runlode, Buffered");
    let store = engine::create(&context.dir.join("store"), 100)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let run = store.run(engine::run_id(99))?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    let start = Instant::now();
    engine::log_stream(&run, &keys, &mut stream, BUFFERED_POINTS)?;
    store.flush()?;
    let buffered = BUFFERED_POINTS as f64 / start.elapsed().as_secs_f64() / 1e6;
    context.tell(
        Measured::new("sqlite.buffered", buffered / normal.mpts_per_s)
            .own(format!("{buffered:.1} Mpts/s"))
            .beside(format!("SQLite {:.3} Mpts/s", normal.mpts_per_s))
            .note("until all is on the disk; making the points is part of both sides"),
    );
    engine::seal_all(&store)?;

    let mut full = SqlitePoints::create(&context.dir.join("full.db"), Synchronous::Full)?;
    let mut full_stream = Stream::new(Values::Loss, BATCH_KEYS);
    let streams = sync::streams(sync::WRITERS);
    let (mut sqlite, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        context.progress(&format!("synced, round {} of {ROUNDS}", round + 1));
        let s = insert(&mut full, &mut full_stream, FULL_TRANSACTIONS)?;
        sqlite.push((FULL_TRANSACTIONS * BATCH_POINTS) as f64 / s / 1e6);

        let mut batch = Vec::new();
        let start = Instant::now();
        for _ in 0..SYNC_BATCHES {
            stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, &keys));
            run.log_points(&batch, Durability::Sync)?;
        }
        one.push((SYNC_BATCHES * BATCH_POINTS) as f64 / start.elapsed().as_secs_f64() / 1e6);

        let s = sync::sync_writers(&store, &streams, SYNC64_BATCHES)?;
        many.push((sync::WRITERS * SYNC64_BATCHES * BATCH_POINTS) as f64 / s / 1e6);
        engine::seal_all(&store)?;
    }
    full.close()?;
    store.close()?;
    let peer = median(sqlite);
    for (name, own) in [("sqlite.sync64", median(many)), ("sqlite.sync1", median(one))] {
        context.tell(
            Measured::new(name, own / peer)
                .own(format!("{own:.2} Mpts/s"))
                .beside(format!("SQLite {peer:.3} Mpts/s"))
                .note(format!("medians of {ROUNDS} alternating rounds; SQLite has one writer")),
        );
    }
    Ok(())
}

struct Normal {
    mpts_per_s: f64,
    bytes: u64,
}

fn insert(database: &mut SqlitePoints, stream: &mut Stream, transactions: usize) -> Result<f64> {
    let mut batch = Vec::new();
    let start = Instant::now();
    for _ in 0..transactions {
        stream.fill(&mut batch, BATCH_POINTS, |point| point);
        database.insert(&batch)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn sqlite_normal(context: &Context<'_>) -> Result<Normal> {
    context.progress("SQLite, synchronous=NORMAL");
    let path = context.dir.join("normal.db");
    let mut database = SqlitePoints::create(&path, Synchronous::Normal)?;
    let s = insert(&mut database, &mut Stream::new(Values::Loss, BATCH_KEYS), POINTS / BATCH_POINTS)?;
    database.close()?;
    Ok(Normal { mpts_per_s: POINTS as f64 / s / 1e6, bytes: disk_bytes(&path)? })
}

fn size(context: &Context<'_>, sqlite_bytes: u64) -> Result {
    context.progress("sizes");
    let path = context.dir.join("size");
    let store = engine::create(&path, 1)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let run = store.run(engine::run_id(0))?;
    engine::log_stream(&run, &keys, &mut Stream::new(Values::Loss, BATCH_KEYS), POINTS)?;
    drop(run);
    engine::compact_and_close(store)?;
    let bytes = disk_bytes(&path)?;
    let per_point = |bytes: u64| bytes as f64 / POINTS as f64;
    context.tell(
        Measured::new("sqlite.size", sqlite_bytes as f64 / bytes as f64)
            .own(format!("{:.2} B a point", per_point(bytes)))
            .beside(format!("SQLite {:.2} B a point", per_point(sqlite_bytes)))
            .note(format!(
                "blocks on the disk; the store after compact, the database after its checkpoint; {}",
                breakdown(&path)?
            )),
    );
    Ok(())
}
