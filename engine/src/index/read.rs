//! Reads of one consistent view of the index.
//!
//! Lists are complete and in key order; a scan of everything hands rows to a function instead, so that it needs no
//! memory. All errors are as in [`super::store`].

use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::backend::Damage;
use super::change::{At, DictionaryEntry, IdempotencyEntry, OrError};
use super::keys;
use super::rows;
use super::stats_page;
use super::tables::*;
use crate::entity::{ArchivedRunState, EntityKey, EntityState, ForkedFrom, Rewind};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, Lsn, ModelId, Peer, RegisteredModelId, RunId, SeriesId};
use crate::point::Stats;
use crate::time::TimestampMs;

/// A table is scanned, not looked up, if more than one in this many of its keys are wanted.
const READ_THROUGH_PART: u64 = 8;
/// Number of rows of statistics read to estimate how many series there are.
const STATS_ROWS_SAMPLED: usize = 256;

/// The size of a table in `index.redb`.
#[derive(Debug, Clone, Copy)]
#[cfg(any(test, feature = "testing"))]
pub struct TableSize {
    /// The table's name.
    pub name: &'static str,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of keys and rows.
    pub stored_bytes: u64,
    /// Bytes that redb uses to find keys and rows in their pages.
    pub metadata_bytes: u64,
    /// Unused bytes in its pages.
    pub fragmented_bytes: u64,
}

/// One redb read transaction with its tables. `Send + Sync`; share it in an [`Arc`].
pub struct IndexRead {
    applied: Lsn,
    sealed: Lsn,
    generation: u64,
    entities: ReadOnlyTable<Any, Any>,
    runs: ReadOnlyTable<&'static [u8; 32], ()>,
    logged_models: ReadOnlyTable<&'static [u8; 32], ()>,
    stats: ReadOnlyTable<&'static [u8; 20], Any>,
    chunks: ReadOnlyTable<&'static [u8; 32], Any>,
    files: ReadOnlyTable<u64, Any>,
    events: ReadOnlyTable<Any, Any>,
    dictionary: ReadOnlyTable<&'static [u8; 5], Any>,
    idempotency: ReadOnlyTable<Any, &'static [u8; 24]>,
    writers: ReadOnlyTable<Any, Any>,
    #[cfg_attr(not(test), expect(dead_code, reason = "opened with the others, so that a missing table is noticed"))]
    unknown: ReadOnlyTable<u16, u64>,
    /// Why the database refuses, if it does.
    met: Damage,
    /// Last field: the database closes when its last holder is dropped.
    _database: Arc<Database>,
}

impl std::fmt::Debug for IndexRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexRead")
            .field("applied", &self.applied)
            .field("sealed", &self.sealed)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a IndexRead> for At<'a> {
    fn from(read: &'a IndexRead) -> Self {
        Self { op: "read", met: Some(&read.met) }
    }
}

fn malformed_stats() -> crate::error::Error {
    rows::malformed("stats", "another form")
}

/// Appends the series of a page of statistics.
fn put_page(first: KeyId, row: &[u8], list: &mut Vec<(KeyId, Stats)>) -> Result<()> {
    let read = stats_page::for_each(first, row, |key, stats| {
        list.push((key, stats));
        true
    });
    read.ok_or_else(malformed_stats)
}

/// Which statistics a scan of runs reads.
#[derive(Debug, Clone, Copy)]
pub enum WantedStats<'a> {
    /// Those of all series.
    All,
    /// Those of these keys, which ascend.
    Of(&'a [KeyId]),
}

impl WantedStats<'_> {
    fn is_none(self) -> bool {
        matches!(self, Self::Of([]))
    }

    /// Appends the wanted series of a page of statistics.
    fn put_page(self, first: KeyId, row: &[u8], list: &mut Vec<(KeyId, Stats)>) -> Result<()> {
        let keys = match self {
            Self::All => return put_page(first, row, list),
            Self::Of(keys) => &keys[keys.partition_point(|key| *key < first)..],
        };
        let Some(last) = keys.iter().take_while(|key| key.0 - first.0 < stats_page::KEYS_OF_PAGE).last() else {
            return Ok(());
        };
        let read = stats_page::for_each(first, row, |key, stats| {
            if keys.binary_search(&key).is_ok() {
                list.push((key, stats));
            }
            key < *last
        });
        read.ok_or_else(malformed_stats)
    }
}

impl IndexRead {
    pub(super) fn new(database: Arc<Database>, met: Damage) -> Result<Self> {
        let at = At { op: "read", met: Some(&met.clone()) };
        let transaction = database.begin_read().or_error(at)?;
        let meta = transaction.open_table(META).or_error(at)?;
        let row = meta.get(META_POSITIONS).or_error(at)?;
        let [applied, sealed, generation] =
            row.and_then(|row| rows::read_three(row.value())).ok_or_else(|| rows::malformed("meta", "no positions"))?;
        Ok(Self {
            applied: Lsn(applied),
            sealed: Lsn(sealed),
            generation,
            entities: transaction.open_table(ENTITIES).or_error(at)?,
            runs: transaction.open_table(RUNS).or_error(at)?,
            logged_models: transaction.open_table(LOGGED_MODELS).or_error(at)?,
            stats: transaction.open_table(STATS).or_error(at)?,
            chunks: transaction.open_table(CHUNKS).or_error(at)?,
            files: transaction.open_table(FILES).or_error(at)?,
            events: transaction.open_table(EVENTS).or_error(at)?,
            dictionary: transaction.open_table(DICTIONARY).or_error(at)?,
            idempotency: transaction.open_table(IDEMPOTENCY).or_error(at)?,
            writers: transaction.open_table(WRITERS).or_error(at)?,
            unknown: transaction.open_table(UNKNOWN).or_error(at)?,
            met,
            _database: database,
        })
    }

    /// Entities, stats, events and dictionary are complete up to here.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// Points up to here are in series files.
    pub fn sealed(&self) -> Lsn {
        self.sealed
    }

    /// Generation of MANIFEST that the files and chunks belong to.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The state of an entity; `None` if there never was one.
    pub fn entity(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        let row = self.entities.get(keys::entity(key).as_slice()).or_error(self)?;
        row.map(|row| rows::read_entity(key, row.value())).transpose()
    }

    /// The rewinds of a run, in order, and the run that it was forked from; nothing if there is no such run.
    pub fn lineage(&self, run: RunId) -> Result<(Vec<Rewind>, Option<ForkedFrom>)> {
        let row = self.entities.get(keys::entity(&EntityKey::Run(run)).as_slice()).or_error(self)?;
        let Some(row) = row else { return Ok((Vec::new(), None)) };
        let run = rows::access_run(row.value())?;
        let forked = run.forked.as_ref().map(ForkedFrom::from);
        Ok((run.rewinds.iter().map(Rewind::from).collect(), forked))
    }

    /// Entities whose keys lie in a range, in key order.
    fn for_each_entity(
        &self,
        from: &[u8],
        to: &[u8],
        mut each: impl FnMut(EntityKey, Arc<EntityState>) -> Result<()>,
    ) -> Result<()> {
        for entry in self.entities.range::<&[u8]>(from..to).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            let key = keys::read_entity(key.value()).ok_or_else(|| rows::malformed("entities", "an unknown key"))?;
            let state = rows::read_entity(&key, row.value())?;
            each(key, state)?;
        }
        Ok(())
    }

    /// All experiments, by id.
    pub fn experiments(&self) -> Result<Vec<(ExperimentId, Arc<EntityState>)>> {
        let mut list = Vec::new();
        self.for_each_entity(&[keys::EXPERIMENT], &[keys::EXPERIMENT + 1], |key, state| {
            if let EntityKey::Experiment(id) = key {
                list.push((id, state));
            }
            Ok(())
        })?;
        Ok(list)
    }

    /// All registered models by number, deleted ones as well.
    pub fn registered_models(&self) -> Result<Vec<(RegisteredModelId, Arc<EntityState>)>> {
        let mut list = Vec::new();
        self.for_each_entity(&[keys::REGISTERED_MODEL], &[keys::REGISTERED_MODEL + 1], |key, state| {
            if let EntityKey::RegisteredModel(id) = key {
                list.push((id, state));
            }
            Ok(())
        })?;
        Ok(list)
    }

    /// All versions of a model by number, deleted ones as well.
    #[cfg(test)]
    pub fn versions(&self, model: RegisteredModelId) -> Result<Vec<(u32, Arc<EntityState>)>> {
        let from = keys::entity(&EntityKey::ModelVersion(model, 0));
        let mut to = keys::entity(&EntityKey::ModelVersion(model, u32::MAX));
        to.push(0);
        let mut list = Vec::new();
        self.for_each_entity(&from, &to, |key, state| {
            if let EntityKey::ModelVersion(_, version) = key {
                list.push((version, state));
            }
            Ok(())
        })?;
        Ok(list)
    }

    /// Every run by id, purged stubs included, to rebuild a projection.
    pub fn for_each_run(&self, mut each: impl FnMut(RunId, Arc<EntityState>) -> Result<()>) -> Result<()> {
        self.for_each_entity(&[keys::RUN], &[keys::RUN + 1], |key, state| match key {
            EntityKey::Run(id) => each(id, state),
            _ => Ok(()),
        })
    }

    /// Every entity, in key order: to compare one index with another.
    pub fn for_each(&self, each: impl FnMut(EntityKey, Arc<EntityState>) -> Result<()>) -> Result<()> {
        self.for_each_entity(&[0], &[u8::MAX], each)
    }

    fn members(
        table: &ReadOnlyTable<&'static [u8; 32], ()>,
        experiment: ExperimentId,
        met: Damage,
    ) -> Result<impl Iterator<Item = Result<[u8; 16]>> + use<>> {
        let from = keys::member(experiment, Lsn::ZERO, [0; 16]);
        let to = keys::member(experiment, Lsn::MAX, [u8::MAX; 16]);
        let range = table.range::<&[u8; 32]>(&from..=&to).or_error(At { op: "read", met: Some(&met) })?;
        Ok(range.map(move |entry| {
            let entry = entry.or_error(At { op: "read", met: Some(&met) });
            entry.map(|(key, _)| keys::read_member(key.value()))
        }))
    }

    /// Runs of an experiment, oldest first, deleted ones as well, purged ones not.
    pub fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        let mut runs = self.runs_newest_first(experiment, None)?.map(|run| run.map(|(_, run)| run));
        let mut list = runs.by_ref().collect::<Result<Vec<_>>>()?;
        list.reverse();
        Ok(list)
    }

    /// Start time and id of an experiment's runs in the order of searches: newest first, then by id; deleted ones as well,
    /// purged ones not. `after`: only those that follow this one.
    pub fn runs_newest_first(
        &self,
        experiment: ExperimentId,
        after: Option<(i64, RunId)>,
    ) -> Result<impl Iterator<Item = Result<(i64, RunId)>> + use<>> {
        let first = keys::run_of(experiment, i64::MIN, RunId([u8::MAX; 16]));
        let range = match after {
            Some((start_time_ms, run)) => {
                let end = keys::run_of(experiment, start_time_ms, run);
                self.runs.range::<&[u8; 32]>(&first..&end)
            }
            None => {
                let last = keys::run_of(experiment, i64::MAX, RunId([0; 16]));
                self.runs.range::<&[u8; 32]>(&first..=&last)
            }
        };
        let met = self.met.clone();
        Ok(range.or_error(self)?.rev().map(move |entry| {
            let entry = entry.or_error(At { op: "read", met: Some(&met) });
            entry.map(|(key, _)| keys::read_run_of(key.value()))
        }))
    }

    /// Logged models of an experiment in the order of creation, deleted ones as well.
    pub fn logged_models_of(&self, experiment: ExperimentId) -> Result<Vec<ModelId>> {
        Self::members(&self.logged_models, experiment, self.met.clone())?.map(|id| id.map(ModelId)).collect()
    }

    /// Statistics of a series; `None` if the index has none.
    pub fn stats(&self, series: SeriesId) -> Result<Option<Stats>> {
        let page = keys::page_of(series);
        let Some(row) = self.stats.get(&keys::series(page)).or_error(self)? else { return Ok(None) };
        let mut found = None;
        let read = stats_page::for_each(page.key, row.value(), |key, stats| {
            found = (key == series.key).then_some(stats);
            key < series.key
        });
        read.ok_or_else(malformed_stats)?;
        Ok(found)
    }

    /// Whether a run has statistics of any series.
    pub fn has_stats_of(&self, run: RunId) -> Result<bool> {
        let from = keys::series(SeriesId { run, key: KeyId(0) });
        let to = keys::series(SeriesId { run, key: KeyId(u32::MAX) });
        let first = self.stats.range::<&[u8; 20]>(&from..=&to).or_error("read")?.next();
        Ok(first.transpose().or_error("read")?.is_some())
    }

    /// Statistics of all series of a run, by key id.
    pub fn stats_of(&self, run: RunId) -> Result<Vec<(KeyId, Stats)>> {
        let from = keys::series(SeriesId { run, key: KeyId(0) });
        let to = keys::series(SeriesId { run, key: KeyId(u32::MAX) });
        let mut list = Vec::new();
        for entry in self.stats.range::<&[u8; 20]>(&from..=&to).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            put_page(keys::read_series(key.value()).key, row.value(), &mut list)?;
        }
        Ok(list)
    }

    /// Statistics of some series of a run, by key id; the keys ascend.
    fn stats_of_keys(&self, run: RunId, keys: &[KeyId]) -> Result<Vec<(KeyId, Stats)>> {
        let mut list = Vec::new();
        for key in keys {
            list.extend(self.stats(SeriesId { run, key: *key })?.map(|stats| (*key, stats)));
        }
        Ok(list)
    }

    /// The rows of these runs, whose ids ascend, with the statistics of the wanted series by key id. `each` gets the index
    /// in `runs`; a run without a row is skipped.
    ///
    /// # Complexity
    /// If they are a large part of all runs, both tables are scanned once, page by page.
    pub fn for_each_run_in(
        &self,
        runs: &[RunId],
        wanted: WantedStats<'_>,
        mut each: impl FnMut(usize, &ArchivedRunState, &[(KeyId, Stats)]) -> Result<()>,
    ) -> Result<()> {
        if (runs.len() as u64).saturating_mul(READ_THROUGH_PART) < self.entities.len().or_error(self)? {
            for (at, run) in runs.iter().enumerate() {
                if let Some(row) = self.entities.get(keys::entity(&EntityKey::Run(*run)).as_slice()).or_error(self)? {
                    let stats = match wanted {
                        WantedStats::All => self.stats_of(*run)?,
                        WantedStats::Of(keys) => self.stats_of_keys(*run, keys)?,
                    };
                    each(at, rows::access_run(row.value())?, &stats)?;
                }
            }
            return Ok(());
        }
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let (from, to) = (keys::entity(&EntityKey::Run(*first)), keys::entity(&EntityKey::Run(*last)));
        let entities = self.entities.range::<&[u8]>(from.as_slice()..=to.as_slice()).or_error(self)?;
        let from = keys::series(SeriesId { run: *first, key: KeyId(0) });
        let to = keys::series(SeriesId { run: *last, key: KeyId(u32::MAX) });
        let mut all_stats = self.stats.range::<&[u8; 20]>(&from..=&to).or_error(self)?;
        let mut next = if wanted.is_none() { None } else { all_stats.next().transpose().or_error(self)? };
        let mut stats = Vec::new();
        let mut asked = runs.iter().enumerate().peekable();
        for entry in entities {
            let (key, row) = entry.or_error(self)?;
            let Some(EntityKey::Run(run)) = keys::read_entity(key.value()) else {
                return Err(rows::malformed("entities", "an unknown key"));
            };
            while asked.next_if(|(_, other)| **other < run).is_some() {}
            let Some((at, _)) = asked.next_if(|(_, other)| **other == run) else { continue };
            stats.clear();
            while let Some((key, row)) = &next {
                let series = keys::read_series(key.value());
                if series.run > run {
                    break;
                }
                if series.run == run {
                    wanted.put_page(series.key, row.value(), &mut stats)?;
                }
                next = all_stats.next().transpose().or_error(self)?;
            }
            each(at, rows::access_run(row.value())?, &stats)?;
        }
        Ok(())
    }

    /// Statistics of every series, by (run, key id).
    pub fn for_each_stats(&self, mut each: impl FnMut(SeriesId, Stats) -> Result<()>) -> Result<()> {
        let mut list = Vec::new();
        for entry in self.stats.range::<&[u8; 20]>(..).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            let page = keys::read_series(key.value());
            list.clear();
            put_page(page.key, row.value(), &mut list)?;
            list.iter().try_for_each(|(key, stats)| each(SeriesId { run: page.run, key: *key }, *stats))?;
        }
        Ok(())
    }

    /// Number of runs, without purged ones.
    pub fn runs_count(&self) -> Result<u64> {
        self.runs.len().or_error(self)
    }

    /// An estimate of the number of series with statistics: the number of rows, times the series per row in the first
    /// rows.
    pub fn stats_count_estimate(&self) -> Result<u64> {
        let (mut rows, mut series) = (0u64, Vec::new());
        for entry in self.stats.range::<&[u8; 20]>(..).or_error(self)?.take(STATS_ROWS_SAMPLED) {
            let (key, row) = entry.or_error(self)?;
            put_page(keys::read_series(key.value()).key, row.value(), &mut series)?;
            rows += 1;
        }
        Ok((self.stats.len().or_error(self)? * series.len() as u64).checked_div(rows).unwrap_or(0))
    }

    /// Rows of chunks that may contain those of a series, by first series, file and number.
    pub fn for_each_chunk_of(
        &self,
        series: SeriesId,
        mut each: impl FnMut(SeriesId, u64, u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (from, to) = (keys::chunk(keys::page_of(series), 0, 0), keys::chunk(series, u64::MAX, u32::MAX));
        for entry in self.chunks.range::<&[u8; 32]>(&from..=&to).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            let (first, file, chunk) = keys::read_chunk(key.value());
            each(first, file, chunk, row.value())?;
        }
        Ok(())
    }

    /// Every row of chunks: its first series, file, number, and content.
    pub fn for_each_chunk_row(&self, mut each: impl FnMut(SeriesId, u64, u32, &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.chunks.range::<&[u8; 32]>(..).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            let (series, file, chunk) = keys::read_chunk(key.value());
            each(series, file, chunk, row.value())?;
        }
        Ok(())
    }

    /// All series files with their rows, by number.
    pub fn files(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut list = Vec::new();
        for entry in self.files.range::<u64>(..).or_error(self)? {
            let (file, row) = entry.or_error(self)?;
            list.push((file.value(), row.value().to_vec()));
        }
        Ok(list)
    }

    /// The row of a series file; `None` if the index does not name it.
    pub fn file(&self, file: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.files.get(file).or_error(self)?.map(|row| row.value().to_vec()))
    }

    /// Events of an entity whose positions lie in a range: (position, index in the batch), ascending.
    pub fn events(&self, key: &EntityKey, range: RangeInclusive<Lsn>) -> Result<Vec<(Lsn, u16)>> {
        let entity = keys::entity(key);
        let bounds = |from, to| (keys::event_list(&entity, from), keys::event_list(&entity, to));
        // A list that begins before the range may extend into it; lists of one entity do not overlap.
        let (from, to) = bounds(Lsn::ZERO, *range.start());
        let first = match self.events.range::<&[u8]>(from.as_slice()..=to.as_slice()).or_error(self)?.next_back() {
            Some(entry) => entry.or_error(self)?.0.value().to_vec(),
            None => from,
        };
        let (_, to) = bounds(Lsn::ZERO, *range.end());
        let mut list = Vec::new();
        if first > to {
            return Ok(list);
        }
        for entry in self.events.range::<&[u8]>(first.as_slice()..=to.as_slice()).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            // A name may be a prefix of another: such keys have another length.
            let Some((head, lsn)) = key.value().split_last_chunk::<8>() else { continue };
            if head != entity.as_slice() {
                continue;
            }
            let part = rows::read_event_list(Lsn(u64::from_be_bytes(*lsn)), row.value())
                .ok_or_else(|| rows::malformed("events", "a list that is cut or grows beyond 2^64"))?;
            list.extend(part.into_iter().filter(|(lsn, _)| range.contains(lsn)));
        }
        Ok(list)
    }

    /// All definitions, by kind and id.
    pub fn dictionary(&self) -> Result<Vec<DictionaryEntry>> {
        let mut list = Vec::new();
        for entry in self.dictionary.range::<&[u8; 5]>(..).or_error(self)? {
            let (key, row) = entry.or_error(self)?;
            let (kind, id) = keys::read_dictionary(key.value());
            list.push(DictionaryEntry { kind, id, bytes: row.value().to_vec() });
        }
        Ok(list)
    }

    /// The use of an idempotency key; `None` if it was not used or is forgotten.
    pub fn idempotency(&self, key: &[u8]) -> Result<Option<IdempotencyEntry>> {
        let row = self.idempotency.get(key).or_error(self)?;
        let numbers = row.and_then(|row| rows::read_three(row.value()));
        Ok(numbers.map(|[request, lsn, time]| IdempotencyEntry {
            key: key.to_vec(),
            request,
            lsn: Lsn(lsn),
            time: TimestampMs(time as i64),
        }))
    }

    /// The last number of another writer's log that is in this one, and the position of the batch that holds it.
    pub fn writer(&self, id: &[u8]) -> Result<Option<(u64, Lsn)>> {
        Ok(self.writers.get(id).or_error(self)?.and_then(|row| rows::read_writer(row.value())))
    }

    /// The last number of every other log.
    pub(crate) fn numbers(&self) -> Result<Vec<(Peer, u64)>> {
        let rows = self.writers()?;
        let number = |(key, row): (Vec<u8>, Vec<u8>)| Some((Peer::of_key(&key)?, rows::read_writer(&row)?.0));
        Ok(rows.into_iter().filter_map(number).collect())
    }

    /// The rows of all other logs, by id.
    pub fn writers(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut list = Vec::new();
        for entry in self.writers.range::<&[u8]>(..).or_error(self)? {
            let (id, row) = entry.or_error(self)?;
            list.push((id.value().to_vec(), row.value().to_vec()));
        }
        Ok(list)
    }

    /// The size of each table. Reads every page.
    #[cfg(any(test, feature = "testing"))]
    pub fn sizes(&self) -> Result<Vec<TableSize>> {
        fn of(name: &'static str, table: &impl ReadableTableMetadata) -> Result<TableSize> {
            let stats = table.stats().or_error("read")?;
            Ok(TableSize {
                name,
                rows: table.len().or_error("read")?,
                stored_bytes: stats.stored_bytes(),
                metadata_bytes: stats.metadata_bytes(),
                fragmented_bytes: stats.fragmented_bytes(),
            })
        }
        Ok(vec![
            of("entities", &self.entities)?,
            of("runs", &self.runs)?,
            of("logged_models", &self.logged_models)?,
            of("stats", &self.stats)?,
            of("chunks", &self.chunks)?,
            of("files", &self.files)?,
            of("events", &self.events)?,
            of("dictionary", &self.dictionary)?,
            of("idempotency", &self.idempotency)?,
            of("writers", &self.writers)?,
        ])
    }

    /// Events of tags that no build so far knows: tag and count.
    #[cfg(test)]
    pub fn unknown_events(&self) -> Result<Vec<(u16, u64)>> {
        let mut list = Vec::new();
        for entry in self.unknown.range::<u16>(..).or_error(self)? {
            let (tag, count) = entry.or_error(self)?;
            list.push((tag.value(), count.value()));
        }
        Ok(list)
    }
}
