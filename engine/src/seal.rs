//! Log to series: the points between the sealed and a durable position go into one compressed series file.
//!
//! Order of writes: log up to the last point, file (sync, rename, folder), then one redb transaction with the directory
//! rows and the new sealed position. A file without rows was left by a crash, and the next open deletes it.

use std::time::Duration;

use crate::core::{Core, chunk_rows, file_row, series_path};
use crate::entity::{EntityKey, EntityState, Lifecycle};
use crate::error::Result;
use crate::hot::points::Gate;
use crate::id::{Lsn, RunId, SeriesId};
use crate::index::Rows;
use crate::point::Columns;
use crate::series::{SeriesFileWriter, ValueHint};

/// Most remembered encodings; beyond this all are forgotten and chosen again.
const HINTS_MAX: usize = 100_000;
/// Shorter series are packed plainly; there is nothing to remember.
const HINT_POINTS_MIN: usize = 256;

impl Core {
    /// Seals everything durable. Returns the position sealed up to.
    pub(crate) fn seal(&self) -> Result<Lsn> {
        self.check_writable()?;
        let mut upkeep = self.upkeep.lock();
        self.heal_index(&mut upkeep)?;
        let up_to = self.pipeline.settled();
        let sealed = self.sealed();
        if up_to <= sealed {
            self.evict(sealed)?;
            return Ok(sealed);
        }
        let (hot_bytes, began_ms) = (self.pipeline.hot_bytes(), self.pipeline.clock.monotonic_ms());
        let number = upkeep.next_file;
        upkeep.next_file += 1;
        // Not a leftover until the commit.
        upkeep.doubtful.push(number);
        let path = series_path(number);
        let mut writer: Option<SeriesFileWriter> = None;
        let mut columns = Columns::default();
        if upkeep.hints.len() > HINTS_MAX {
            upkeep.hints.clear();
        }
        for run in self.pipeline.runs.all() {
            if run.gate() == Gate::Purged && self.is_purged_at(run.id, up_to)? {
                // A purged run's points are dropped; older snapshots have them in hot memory.
                continue;
            }
            let keys = run.keys_above(sealed);
            let rows = run.lock().rows(sealed, up_to);
            // Points in wide rows are read for many series at once.
            let blocks = keys.chunks(rows.block_keys()).map(|keys| rows.block(keys).map(|block| (keys, block)));
            for block in blocks {
                let (keys, block) = block?;
                for (index, key) in keys.iter().copied().enumerate() {
                    let points = run.lock().points_but_rows(key, sealed, up_to);
                    columns.clear();
                    points.decode(&mut columns)?;
                    block.decode(index, &mut columns, 0);
                    if columns.is_empty() {
                        continue;
                    }
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        None => writer.insert(SeriesFileWriter::create(
                            &*self.storage,
                            &path,
                            self.store_id,
                            number,
                            (sealed, up_to),
                        )?),
                    };
                    let series = SeriesId { run: run.id, key };
                    if columns.len() >= HINT_POINTS_MIN {
                        writer.push(series, &columns, upkeep.hints.entry(series).or_default())?;
                    } else {
                        writer.push(series, &columns, &mut ValueHint::default())?;
                    }
                }
            }
        }
        let mut change = self.change(&upkeep, up_to);
        change.sealed = up_to;
        let info = writer.map(SeriesFileWriter::finish).transpose()?;
        if let Some(info) = &info {
            change.files_added.push((number, file_row(&info.path, info.footer_crc)));
        }
        let rows = Rows { stats: Some(self.stats_rows(up_to)), chunks: info.iter().map(chunk_rows).collect() };
        self.commit(&mut upkeep, change, rows)?;
        upkeep.doubtful.retain(|doubtful| *doubtful != number);
        let took_ms = self.pipeline.clock.monotonic_ms().saturating_sub(began_ms);
        self.pipeline.room.sealed_in(hot_bytes, Duration::from_millis(took_ms));
        Ok(up_to)
    }

    /// Whether the purge of a run is durable; otherwise a power cut may still undo it.
    pub(crate) fn is_purged_at(&self, run: RunId, up_to: Lsn) -> Result<bool> {
        let key = EntityKey::Run(run);
        let state = match self.pipeline.newest.hot.at(&key, up_to) {
            Some(state) => Some(state),
            None => self.pipeline.newest.index().entity(&key)?,
        };
        Ok(matches!(state.as_deref(), Some(EntityState::Run(run)) if run.lifecycle == Lifecycle::Purged))
    }
}
