//! Which runs and metrics the bytes of series files belong to.
//!
//! A file's length is shared out among its chunks by their own bytes, so that directory, rollups and footer count too,
//! and the shares of a file add up to its length. What belongs to no chunk any more (purged runs, until the next
//! compaction) is left over.

use std::io::ErrorKind;

use rustc_hash::FxHashMap;

use crate::core::{IndexedChunk, for_each_chunk, series_path};
use crate::error::{Error, Result};
use crate::id::{KeyId, RunId};
use crate::query::snapshot::Snapshot;
use crate::series::ChunkEntry;
use crate::storage::OpenMode;

/// About the bytes of a chunk's entry in its file's directory.
const ENTRY_BYTES: u64 = 24;
/// About the bytes of a point that is stored in such an entry.
const POINT_BYTES: u64 = 16;

/// Bytes of one series: a metric of a run, in one branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesUsage {
    /// The run.
    pub run: RunId,
    /// Number of the metric's key: [`Snapshot::key_name`].
    pub key: KeyId,
    /// Points in series files.
    pub points: u64,
    /// Its share of the files, in bytes.
    pub bytes: u64,
}

/// A file whose bytes are shared out.
#[derive(Debug, Default)]
struct Shares {
    len_bytes: u64,
    /// Sum of the weights of all chunks that were ever written to it.
    weight: u64,
}

impl Snapshot {
    /// The bytes of every series in series files, by run and key. Points that are only in the log yet count nothing.
    ///
    /// # Errors
    /// `Io`, `Corrupt` of the index or a file. `IndexChanged` in a store that is only read, if the process that holds it
    /// replaced files meanwhile: open it again.
    pub fn series_usage(&self) -> Result<Vec<SeriesUsage>> {
        self.shared_out().map_err(|error| match error {
            Error::Io { source, .. } if self.core.from_index && source.kind() == ErrorKind::NotFound => {
                Error::IndexChanged
            }
            Error::MissingFile { .. } if self.core.from_index => Error::IndexChanged,
            error => error,
        })
    }

    fn shared_out(&self) -> Result<Vec<SeriesUsage>> {
        let read = &self.index;
        let mut files: FxHashMap<u64, Shares> = FxHashMap::default();
        for (number, _) in read.files()? {
            let path = series_path(number);
            let file = self.core.storage.open(&path, OpenMode::Read).and_then(|file| file.len());
            let len_bytes =
                file.map_err(|error| Error::io("read the length", self.core.storage.display_path(&path), error))?;
            files.insert(number, Shares { len_bytes, weight: 0 });
        }
        // Chunks of a group share its bytes.
        let mut groups: FxHashMap<(u64, u64), u64> = FxHashMap::default();
        for_each_chunk(read, |IndexedChunk { file, entry, .. }| {
            if entry.slot.is_some() {
                *groups.entry((file, entry.offset)).or_default() += 1;
            }
            Ok(())
        })?;
        let weight = |file: u64, entry: &ChunkEntry| {
            let members = groups.get(&(file, entry.offset)).filter(|_| entry.slot.is_some()).copied().unwrap_or(1);
            let own = if entry.len == 0 { POINT_BYTES * entry.count() } else { u64::from(entry.len).div_ceil(members) };
            own + u64::from(entry.rollup_len) + ENTRY_BYTES
        };
        let mut live_points: FxHashMap<u64, u64> = FxHashMap::default();
        for_each_chunk(read, |IndexedChunk { file, entry, .. }| {
            if let Some(shares) = files.get_mut(&file) {
                shares.weight += weight(file, &entry);
            }
            *live_points.entry(file).or_default() += entry.count();
            Ok(())
        })?;
        for (number, shares) in &mut files {
            // Points of purged runs keep their part.
            let points = self.core.files.get(*number, read)?.footer().points.max(1);
            let live = live_points.get(number).copied().unwrap_or(0).clamp(1, points);
            shares.weight = scaled(shares.weight, points, live);
        }
        let mut out: Vec<SeriesUsage> = Vec::new();
        for_each_chunk(read, |IndexedChunk { series, file, entry, .. }| {
            let bytes = files.get(&file).map_or(0, |of| scaled(of.len_bytes, weight(file, &entry), of.weight.max(1)));
            match out.last_mut().filter(|last| (last.run, last.key) == (series.run, series.key)) {
                Some(last) => {
                    last.points += entry.count();
                    last.bytes += bytes;
                }
                None => out.push(SeriesUsage { run: series.run, key: series.key, points: entry.count(), bytes }),
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// `value * by / of`, rounded down.
fn scaled(value: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ExperimentCreated, RunCreated, RunDeleted, RunPurged, RunStatus};
    use crate::id::ExperimentId;
    use crate::point::Point;
    use crate::time::TimestampMs;
    use crate::{Batch, Durability, Store};

    #[test]
    fn shares_add_up_to_the_files_and_purged_runs_leave_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options(dir.path()).background(false).open().unwrap();
        let mut batch = Batch::new().event(ExperimentCreated {
            experiment: ExperimentId(1),
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 0,
            last_update_time_ms: 0,
            tags: vec![],
        });
        for number in 1..=3 {
            batch = batch.event(RunCreated {
                run: RunId([number; 16]),
                experiment: ExperimentId(1),
                name: String::new(),
                user_id: String::new(),
                status: RunStatus::Running,
                start_time_ms: 0,
                artifact_location: None,
                tags: vec![],
            });
        }
        store.append(batch, Durability::Sync).unwrap();
        // Runs 1 and 2 log the same; run 3 a single point of each of 90 keys, which are stored in groups or entries.
        let mut batch = Batch::new();
        for number in 1..=2 {
            for step in 0..20_000 {
                let value = f64::from(step % 977) * 0.37;
                let point = Point { step: i64::from(step), time: TimestampMs(i64::from(step)), value };
                batch.push_metric(RunId([number; 16]), "loss", point, None);
            }
        }
        for key in 0..90 {
            let point = Point { step: 0, time: TimestampMs(0), value: f64::from(key) };
            batch.push_metric(RunId([3; 16]), &format!("m{key}"), point, None);
        }
        store.append(batch, Durability::Sync).unwrap();
        store.seal().unwrap();
        let of_files = || -> u64 {
            let files = std::fs::read_dir(dir.path().join("series")).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        let usage = store.snapshot().unwrap().series_usage().unwrap();
        let total: u64 = usage.iter().map(|of| of.bytes).sum();
        assert!(total <= of_files() && total + 92 >= of_files(), "{total} of {}", of_files());
        assert_eq!(usage.iter().map(|of| of.points).sum::<u64>(), 40_090);
        assert_eq!((usage.len(), usage[0].bytes), (92, usage[1].bytes));
        let run = RunId([1; 16]);
        store.append(Batch::new().event(RunDeleted { run, at_ms: 9 }), Durability::Sync).unwrap();
        store.append(Batch::new().event(RunPurged { run }), Durability::Sync).unwrap();
        store.checkpoint().unwrap();
        let left: u64 = store.snapshot().unwrap().series_usage().unwrap().iter().map(|of| of.bytes).sum();
        assert!(left * 10 < total * 6, "{left} of {total}");
    }
}
