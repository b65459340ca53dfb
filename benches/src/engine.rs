//! The store under measurement: opening, filling, and what can be read off its files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, ExperimentId, KeyId, KeyedPoint, RunHandle, RunId, Store, TimestampMs};

use crate::Result;
use crate::rng::Rng;
use crate::stream::{Stream, StreamPoint};

/// Points of a batch, where nothing else is said.
pub const BATCH_POINTS: usize = 1_000;
/// Keys of a batch, likewise.
pub const BATCH_KEYS: usize = 10;
/// The experiment of all runs, where there is only one.
pub const EXPERIMENT: ExperimentId = ExperimentId(1);

/// The id of a run by its number.
pub fn run_id(number: u64) -> RunId {
    RunId(Rng::new(number).id())
}

/// The event that creates a run by its number.
pub fn run_created(number: u64, experiment: ExperimentId) -> RunCreated {
    RunCreated {
        run: run_id(number),
        experiment,
        name: format!("run-{number}"),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 1_700_000_000_000 + number as i64,
        artifact_location: None,
        tags: Vec::new(),
    }
}

/// The event that creates an experiment.
pub fn experiment_created(experiment: ExperimentId) -> ExperimentCreated {
    ExperimentCreated {
        experiment,
        name: format!("experiment-{experiment}"),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: Vec::new(),
    }
}

/// Makes a store with one experiment and `runs` runs, numbered from 0.
///
/// # Errors
/// Those of the store.
pub fn create(path: &Path, runs: u64) -> Result<Store> {
    let store = Store::open(path)?;
    let mut batch = Batch::new().event(experiment_created(EXPERIMENT));
    for number in 0..runs {
        batch.push_event(run_created(number, EXPERIMENT));
        if batch.events_count() >= 1_000 {
            store.append(std::mem::take(&mut batch), Durability::Buffered)?;
        }
    }
    if !batch.is_empty() {
        store.append(batch, Durability::Sync)?;
    }
    Ok(store)
}

/// Name of a key by its index.
pub fn key_name(index: usize) -> String {
    format!("metric_{index}")
}

/// Numbers of keys in this store.
///
/// # Errors
/// Those of the store.
pub fn keys(store: &Store, count: usize) -> Result<Vec<KeyId>> {
    (0..count).map(|index| Ok(store.metric_key(&key_name(index))?)).collect()
}

/// A point of the stream as the engine takes it.
#[inline]
pub fn keyed(point: StreamPoint, keys: &[KeyId]) -> KeyedPoint {
    let StreamPoint { key, step, time_ms, value } = point;
    KeyedPoint { key: keys[key], point: Point { step, time: TimestampMs(time_ms), value } }
}

/// Logs `points` points in batches of 1,000, `Buffered`.
///
/// # Errors
/// Those of the store.
pub fn log_stream(run: &RunHandle, keys: &[KeyId], stream: &mut Stream, points: usize) -> Result {
    let mut batch = Vec::with_capacity(BATCH_POINTS);
    for _ in 0..points / BATCH_POINTS {
        stream.fill(&mut batch, BATCH_POINTS, |point| keyed(point, keys));
        run.log_points(&batch, Durability::Buffered)?;
    }
    Ok(())
}

/// Syncs and seals until every point is in its final form.
///
/// # Errors
/// Those of the store; also if it does not come to an end.
pub fn seal_all(store: &Store) -> Result {
    let start = Instant::now();
    while store.positions().sealed < store.positions().published {
        store.flush()?;
        store.seal()?;
        if start.elapsed() > Duration::from_secs(120) {
            return Err(format!("not sealed after 120 s: {:?}", store.positions()).into());
        }
    }
    Ok(())
}

/// Frames of a log and the bytes that they take, read off the files: `len u32` at 0, position at 8, each frame padded
/// to a multiple of 16 bytes, the first one behind a header of 64.
///
/// # Errors
/// Those of the file system.
pub fn log_frames(store: &Path) -> Result<(u64, u64)> {
    let mut names: Vec<_> = fs::read_dir(store.join("log"))?.collect::<std::io::Result<Vec<_>>>()?;
    names.sort_by_key(fs::DirEntry::path);
    let (mut frames, mut bytes) = (0, 0);
    for name in names {
        let segment = fs::read(name.path())?;
        let (mut at, mut last) = (64, None);
        while let Some(header) = segment.get(at..at + 32) {
            let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let lsn = u64::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
            if len < 32 || last.is_some_and(|last: u64| lsn != last + 1) || at + len > segment.len() {
                break;
            }
            last = Some(lsn);
            let padded = len.next_multiple_of(16);
            at += padded;
            bytes += padded as u64;
            frames += 1;
        }
    }
    Ok((frames, bytes))
}

/// Copies what is no derived state: the log and the small files beside it.
///
/// # Errors
/// Those of the file system.
pub fn copy_log(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to.join("log"))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && name != "index.redb" && name != "search.snap" {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    for entry in fs::read_dir(from.join("log"))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join("log").join(entry.file_name()))?;
    }
    Ok(())
}

/// Compacts, so that what is sealed no longer lies in the log as well, and closes.
///
/// # Errors
/// Those of the store.
pub fn compact_and_close(store: Store) -> Result {
    seal_all(&store)?;
    store.checkpoint()?;
    store.compact(&runlode_engine::CompactOptions::default())?;
    store.close()?;
    Ok(())
}
