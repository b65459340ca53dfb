//! Opens a failed index again, beside the running store.
//!
//! After one io error redb refuses everything. The log has everything that the index has, and memory has what is above
//! it, so nothing is lost. Before the next checkpoint or seal, the file is opened again. What is found there decides:
//! - It is at the position that the store expects, or at that of the failed commit (which came through in spite of its
//!   error): go on with it.
//! - It is damaged, older, or does not open (on a failing disk: at the third try): fill a new index from log and series
//!   files, as an open does. The new one takes its place once it has everything that memory has dropped.
//!
//! Meanwhile appends go on, and so do reads of data in memory. Snapshots from before the failure keep the old database
//! with its errors; it writes nothing any more.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::compaction::install::adopt;
use crate::core::{Core, PastMemory, SeriesFiles, Upkeep, index_cache_bytes, series_path};
use crate::error::{Error, Result};
use crate::index::{Index, Opened};
use crate::ingest::pipeline::{Parts, Pipeline};
use crate::pins::Pins;
use crate::replay::Replayer;
use crate::search::saved;
use crate::series::Directories;
use crate::series::SeriesCache;

/// Attempts to open an index on a failing disk before it is rebuilt.
const REOPENS_MAX: u32 = 3;
/// Divisor of the memory budget: the share of a rebuild beside the running store.
const REBUILD_PART: u64 = 4;

impl Core {
    /// Opens the index again if it failed.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: try again later. Also the errors of replaying the log.
    pub(crate) fn heal_index(&self, upkeep: &mut Upkeep) -> Result<()> {
        self.heal_files(upkeep)?;
        if self.index.failed() {
            self.index.fence();
            if self.index.damage().is_some() {
                self.rebuild_index(upkeep)?;
                return self.remove_doubtful(upkeep);
            }
            match Index::try_open(&self.storage, self.store_id, index_cache_bytes(self.memory_bytes)) {
                Ok(Opened::Ready(index)) if self.goes_on_with(&index)? => self.take_index(upkeep, &index)?,
                // Only errors of the disk are passed on; redb's verdict that the file is no database is not.
                Err(Error::Io { op, path, source })
                    if upkeep.reopens_failed < REOPENS_MAX
                        && source.raw_os_error().is_some()
                        && source.kind() != std::io::ErrorKind::NotFound =>
                {
                    upkeep.reopens_failed += 1;
                    return Err(Error::Io { op, path, source });
                }
                Err(error) if error.is_full() => return Err(error),
                Ok(_) | Err(_) => self.rebuild_index(upkeep)?,
            }
            upkeep.reopens_failed = 0;
        }
        self.remove_doubtful(upkeep)
    }

    /// Rebuilds lost or damaged series files that are derived, together with the index, from the log and the other
    /// series files.
    fn heal_files(&self, upkeep: &mut Upkeep) -> Result<()> {
        if !self.files.alarmed() {
            return Ok(());
        }
        let bad = self.files.take_bad();
        let truth = self.pipeline.log.truth_files();
        let is_truth = |number: u64| truth.iter().any(|file| file.name == series_path(number));
        // A failed index cannot be asked; it is rebuilt anyway.
        let known = if self.index.failed() { Vec::new() } else { self.index.read()?.files()? };
        if !known.iter().any(|(number, _)| bad.contains(number) && !is_truth(*number)) {
            return Ok(());
        }
        self.directories.clear();
        let rebuilt = self.rebuild_index(upkeep);
        if rebuilt.as_ref().is_err_and(|error| error.is_full() || matches!(error, Error::Io { .. })) {
            self.files.add_bad(bad);
        }
        rebuilt
    }

    /// Rebuilds the index and the derived series files, whatever state they are in.
    ///
    /// # Errors
    /// As [`Core::heal_index`]; the old ones then stay in use.
    pub(crate) fn remake_derived(&self) -> Result<()> {
        let mut upkeep = self.upkeep.lock();
        self.files.take_bad();
        self.directories.clear();
        self.rebuild_index(&mut upkeep)
    }

    /// Whether an index has everything that memory has dropped, and knows the files of the last compaction.
    fn goes_on_with(&self, index: &Index) -> Result<bool> {
        let read = index.read()?;
        let generation = self.pipeline.log.generation();
        Ok(read.applied() >= self.applied() && read.sealed() >= self.sealed() && read.generation() == generation)
    }

    fn take_index(&self, upkeep: &mut Upkeep, index: &Index) -> Result<()> {
        let read = index.read()?;
        let landed = (read.applied(), read.sealed()) != (self.applied(), self.sealed());
        // The next commit counts them, unless the failed one came through.
        let unknown = if landed { Vec::new() } else { std::mem::take(&mut upkeep.unknown) };
        self.index.replace(index);
        self.committed(upkeep, read)?;
        upkeep.unknown = unknown;
        self.directories.clear();
        Ok(())
    }

    /// Fills a new index from log and series files, and puts it in place.
    fn rebuild_index(&self, upkeep: &mut Upkeep) -> Result<()> {
        match self.storage.rename("index.redb", "index.bad") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("rename", self.storage.display_path("index.redb"), error));
            }
            _ => {}
        }
        // A compaction that began with the old one must not go on.
        upkeep.rebuilds += 1;
        // Made of the index that is gone.
        saved::forget(&*self.storage)?;
        let index = Index::create(&self.storage, self.store_id, index_cache_bytes(self.memory_bytes))?;
        let beside = self.beside(index.clone(), upkeep.next_file)?;
        let filled = (|| {
            adopt(&beside)?;
            Replayer::new(&beside).run(self.pipeline.settled(), true)?;
            // Memory may have dropped points that are in no file yet.
            beside.seal()?;
            beside.checkpoint()
        })();
        // Even if it failed: numbers are never used twice.
        {
            let mut of_beside = beside.upkeep.lock();
            upkeep.next_file = of_beside.next_file;
            upkeep.doubtful.append(&mut of_beside.doubtful);
        }
        if let Err(error) = filled {
            if !self.index.failed() {
                // The old one is still in use; the next open must find it.
                let io = |error| Error::io("rename", self.storage.display_path("index.bad"), error);
                self.storage.rename("index.bad", "index.redb").map_err(io)?;
            }
            return Err(error);
        }
        if !self.goes_on_with(&index)? {
            return Err(Error::Internal("an index that was made anew does not reach as far as the old one".into()));
        }
        let files = index.read()?.files()?;
        let mark = self.pins.mark();
        let gone = upkeep.retired.len();
        for number in self.series_numbers()? {
            let retired = upkeep.retired.iter().take(gone).any(|(retired, _)| *retired == number);
            if !retired && !files.iter().any(|(known, _)| *known == number) {
                upkeep.retired.push((number, mark));
            }
        }
        self.take_index(upkeep, &index)?;
        upkeep.unknown.clear();
        Ok(())
    }

    fn series_numbers(&self) -> Result<Vec<u64>> {
        let listed = self.storage.list("series");
        let entries = listed.map_err(|error| Error::io("list", self.storage.display_path("series"), error))?;
        let number = |name: &str| name.strip_suffix(".ser").and_then(|number| number.parse().ok());
        Ok(entries.iter().filter_map(|entry| number(&entry.name)).collect())
    }

    /// The parts of a store that only replays: the same log and files, an empty index, no appends.
    fn beside(&self, index: Index, next_file: u64) -> Result<Arc<Self>> {
        let memory_bytes = self.memory_bytes / REBUILD_PART;
        let pipeline = Arc::new(Pipeline::new(Parts {
            log: self.pipeline.log.clone(),
            clock: self.pipeline.clock.clone(),
            index: index.read()?,
            published: crate::id::Lsn::ZERO,
            background: false,
            memory_bytes,
        }));
        let generation = index.read()?.generation();
        Ok(Arc::new(Self {
            storage: self.storage.clone(),
            store_id: self.store_id,
            pipeline,
            index,
            pins: Arc::new(Pins::default()),
            files: SeriesFiles::new(self.storage.clone(), self.store_id),
            cache: SeriesCache::new(0),
            directories: Directories::new(memory_bytes),
            projections: Default::default(),
            times: Default::default(),
            past: PastMemory::new(0),
            upkeep: Mutex::new(Upkeep { generation, next_file, ..Upkeep::default() }),
            keeping: Default::default(),
            applied: 0.into(),
            sealed: 0.into(),
            memory_bytes,
            search_snap_runs_min: self.search_snap_runs_min,
            read_only: false,
            from_index: false,
            missing: Default::default(),
        }))
    }

    /// Removes series files of failed seals, so that retries do not fill the disk.
    fn remove_doubtful(&self, upkeep: &mut Upkeep) -> Result<()> {
        if upkeep.doubtful.is_empty() {
            return Ok(());
        }
        let files = self.index.read()?.files()?;
        for number in std::mem::take(&mut upkeep.doubtful) {
            if !files.iter().any(|(known, _)| *known == number) {
                let path = series_path(number);
                // If this fails, the next open removes the rest.
                let _ = self.storage.remove(&path);
                let _ = self.storage.remove(&format!("{path}.tmp"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
