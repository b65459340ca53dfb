//! Verification: reads everything, replays it, and compares the result with the store.
//!
//! 1. Every series file that the index or MANIFEST names: directory, every chunk, rollups, and the index's rows for
//!    them.
//! 2. Every frame: crcs, sections, events. Events are applied to an empty state and points are summed up (those of a
//!    compacted store from its series files). So the resulting states and statistics do not depend on the index.
//! 3. Every frame of inboxes: crcs and numbers; unmerged ones are counted.
//! 4. The result of 2 is compared with the store's answers at the same position: every entity, event list, number of
//!    the dictionary, list of runs, and statistics of a series.
//! 5. `search.snap`: every part, and that none is ahead of the index.
//!
//! A store that is open for reading uses an index of its own. Then the index on disk is checked too: every page that it
//! uses, and its rows as in 1 and 4 at its own position. If something seems wrong and another process changes the index
//! meanwhile, everything is read again.
//!
//! Damage never stops verification: it is a [`Finding`], and everything readable is still read. If frames are damaged
//! nothing can be compared (their content is unknown), which is a finding too.

mod answers;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use answers::Answers;
pub use report::{Finding, FindingKind, VerifyOptions, VerifyReport};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::branch::kept_key;
use crate::checksum::Crc32;
use crate::compaction::install::Summed;
use crate::core::{Core, IndexedChunk, for_each_chunk, series_path};
use crate::entity::{EntityKey, EntityState, Lifecycle, Nothing, States, Working, apply, touches};
use crate::error::{Error, Result};
use crate::event::KeptSeries;
use crate::event::batch::{Definition, NoteKind, Origin, SectionKind, definitions, read_clock, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::section::{RowSection, SeriesSection};
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, Peer, RunId, SeriesId};
use crate::inbox::StoreInboxes;
use crate::index::{Index, IndexRead, Judged};
use crate::ingest::encode::stats_of;
use crate::log::{FRAME_HEADER_BYTES, FrameKind, FrameReader, FrameRef};
use crate::point::{Columns, Point, Stats};
use crate::query::snapshot::Snapshot;
use crate::search::saved::{SNAP_PATH, SnapFile};
use crate::series::{ChunkEntry, ColumnSet, SeriesFile, Summary, forget_group};

/// Statistics of a series, computed from log and files.
#[derive(Debug, Default)]
struct Sums {
    /// Of all points.
    all: Option<Stats>,
    /// Of points in frames, up to the sealed position: derived files have these too.
    sealed: Option<Stats>,
    /// Of points in derived files.
    derived: Option<Summed>,
}

struct Verifier<'a> {
    core: &'a Core,
    snapshot: &'a Snapshot,
    /// The index whose directory of files is checked.
    index: &'a IndexRead,
    findings_max: usize,
    report: VerifyReport,
    /// Points up to here count in files that hold released points.
    released: Lsn,
    sums: FxHashMap<SeriesId, Sums>,
    events: FxHashMap<EntityKey, Vec<(Lsn, u16)>>,
    definitions: FxHashMap<(bool, u32), Vec<u8>>,
    columns: Columns,
}

/// How often everything is read again if the index on disk changes meanwhile; after that it is left out.
const TRIES: usize = 3;

/// States up to a position, as a base for later events.
struct Frozen(FxHashMap<EntityKey, Arc<EntityState>>);

impl States for Frozen {
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        Ok(self.0.get(key).cloned())
    }
}

pub(crate) fn verify(core: &Arc<Core>, inboxes: &StoreInboxes, options: &VerifyOptions) -> Result<VerifyReport> {
    if !core.read_only {
        return verify_once(core, inboxes, options, false);
    }
    for _ in 0..TRIES {
        let before = Index::first_page(&*core.storage);
        let report = verify_once(core, inboxes, options, true)?;
        if report.is_sound() || Index::first_page(&*core.storage) == before {
            return Ok(report);
        }
    }
    verify_once(core, inboxes, options, false)
}

fn verify_once(
    core: &Arc<Core>,
    inboxes: &StoreInboxes,
    options: &VerifyOptions,
    judge_disk: bool,
) -> Result<VerifyReport> {
    // Before the index: its parts are never ahead of the index that exists then.
    let snap = SnapFile::open(&*core.storage, core.store_id);
    let judged = if judge_disk { Some(Index::judge(&*core.storage, core.store_id)?) } else { None };
    let own = match &judged {
        // An index of another generation does not know the files yet; the next open brings them together.
        Some(Judged::Usable { read, .. }) if read.generation() == core.pipeline.log.generation() => Some(&**read),
        _ => None,
    };
    // Log, files and index of one generation; what is read afterwards outlives a compaction.
    let (snapshot, own, truth, files) = {
        let _upkeep = core.upkeep.lock();
        let mut snapshot = Snapshot::take(core)?;
        if core.read_only {
            // Points that an open for reading took from inboxes are above the log.
            snapshot.position = snapshot.position.min(core.pipeline.log.published());
        }
        // An index that is ahead of the log was reported by the open as missing frames.
        let own = own.filter(|own| own.applied() <= snapshot.position());
        let index = own.unwrap_or(&snapshot.index);
        let files: Vec<(u64, Result<Arc<SeriesFile>>)> =
            index.files()?.into_iter().map(|(number, _)| (number, core.files.get(number, index))).collect();
        (snapshot, own, core.pipeline.log.truth_files(), files)
    };
    let position = snapshot.position();
    let mut frames = Vec::new();
    let mut from = core.pipeline.log.first();
    if let Some(own) = own.filter(|own| own.applied() >= from) {
        frames.push((core.pipeline.log.read_from(from, own.applied())?, Some(own)));
        from = own.applied().next();
    }
    frames.push((core.pipeline.log.read_from(from, position)?, None));
    let mut verifier = Verifier {
        core,
        snapshot: &snapshot,
        index: own.unwrap_or(&snapshot.index),
        findings_max: options.findings_max,
        report: VerifyReport { position, ..VerifyReport::default() },
        released: truth.iter().map(|file| file.last).max().unwrap_or_default(),
        sums: FxHashMap::default(),
        events: FxHashMap::default(),
        definitions: FxHashMap::default(),
        columns: Columns::default(),
    };
    verifier.disk(judged.as_ref(), snap);
    let inboxes = inboxes.inspect(core)?;
    verifier.report.inboxes_count = inboxes.count;
    verifier.report.inbox_frames_unmerged = inboxes.frames_unmerged;
    for (path, what) in inboxes.problems {
        verifier.note(FindingKind::Inbox, core.storage.display_path(&path), 0, what, false);
    }
    verifier.files(files, &|path| truth.iter().any(|file| file.name == path))?;

    let mut states = Frozen(FxHashMap::default());
    let (mut sound, mut sound_up_to) = (true, Lsn::ZERO);
    for (mut frames, own) in frames {
        let changed = verifier.frames(&mut frames, &states, &mut sound, &mut sound_up_to)?;
        states.0.extend(changed);
        if !sound || !core.missing().is_empty() {
            break;
        }
        if options.compare {
            let answers = own.map_or(Answers::Store(&snapshot), Answers::Index);
            let up_to = own.map_or(position, IndexRead::applied);
            verifier.compare(&states.0, &answers, up_to)?;
        }
    }
    verifier.report.sound_up_to = if sound { verifier.report.position } else { sound_up_to };
    if !sound || !core.missing().is_empty() {
        let what = if sound { "parts of the store are missing" } else { "frames of the log are damaged" };
        let why = format!("{what}, so the index could not be compared with what the log says");
        verifier.note(FindingKind::NotCompared, "index.redb", 0, why, false);
    }
    verifier.report.unknown.sort_unstable();
    Ok(verifier.report)
}

impl Verifier<'_> {
    fn note(&mut self, kind: FindingKind, path: impl Into<PathBuf>, offset_bytes: u64, what: String, derived: bool) {
        if self.report.findings.len() < self.findings_max {
            self.report.findings.push(Finding { kind, path: path.into(), offset_bytes, what, derived });
        } else {
            self.report.findings_left_out += 1;
        }
    }

    fn find(&mut self, kind: FindingKind, error: &Error, derived: bool) {
        let what = error.to_string();
        match error {
            Error::Corrupt(damage) => self.note(kind, damage.path.clone(), damage.offset_bytes, what, derived),
            Error::UnsupportedFormat { path, .. } => self.note(FindingKind::File, path.clone(), 0, what, false),
            Error::MissingFile { path, .. } | Error::NotAFile { path, .. } | Error::Io { path, .. } => {
                self.note(FindingKind::File, path.clone(), 0, what, derived);
            }
            _ => self.note(kind, "", 0, what, derived),
        }
    }

    fn row(&mut self, kind: FindingKind, what: String) {
        self.note(kind, "index.redb", 0, what, true);
    }

    // ---- the index on disk and what is made of it ---------------------------------------------------------------

    fn disk(&mut self, judged: Option<&Judged>, snap: Result<Option<SnapFile>>) {
        // The position of the index, if known.
        let mut applied = (!self.core.read_only).then(|| self.index.applied());
        match judged {
            None => {}
            Some(Judged::Missing) => self.report.not_there.push("index.redb"),
            Some(Judged::Unusable { why }) => {
                self.note(FindingKind::Index, "index.redb", 0, format!("the index cannot be used: {why}"), true);
            }
            // Unused pages may hold anything, for example after a commit that was cut off.
            Some(Judged::Usable { read }) => applied = Some(read.applied()),
        }
        match snap {
            Ok(None) => {}
            Ok(Some(snap)) => {
                for part in snap.parts() {
                    if let Err(error) = snap.load(part) {
                        self.find(FindingKind::SearchSnap, &error, true);
                    } else if applied.is_some_and(|applied| part.position > applied) {
                        let what = format!("experiment {} is saved at {}", part.experiment, part.position);
                        let what = format!("{what}, and the index does not reach so far");
                        self.note(FindingKind::SearchSnap, SNAP_PATH, part.offset_bytes, what, true);
                    }
                }
            }
            Err(error) => self.find(FindingKind::SearchSnap, &error, true),
        }
    }

    // ---- files ---------------------------------------------------------------------------------------------------

    fn files(&mut self, files: Vec<(u64, Result<Arc<SeriesFile>>)>, is_truth: &dyn Fn(&str) -> bool) -> Result<()> {
        // By file: a checksum of each chunk's series and entry, and whether the index has a row for it.
        let mut chunks: FxHashMap<u64, Vec<(u32, bool, RunId)>> = FxHashMap::default();
        for (number, file) in files {
            match file {
                Ok(file) => {
                    let truth = is_truth(file.path());
                    let list = self.file(&file, truth);
                    chunks.insert(number, list);
                }
                Err(_) if self.is_known_missing(number) => {}
                Err(error) => {
                    self.find(FindingKind::File, &error, !is_truth(&series_path(number)));
                }
            }
        }
        let mut wrong = Vec::new();
        for_each_chunk(self.index, |IndexedChunk { series, file: number, chunk, entry }| {
            // A file that cannot be opened was found above.
            let Some(list) = chunks.get_mut(&number) else { return Ok(()) };
            match list.get_mut(chunk as usize) {
                Some((crc, seen, _)) if !*seen && *crc == checksum(series, &entry) => *seen = true,
                _ => wrong.push(format!("the row of chunk {chunk} of series file {number} is not what the file says")),
            }
            Ok(())
        })?;
        wrong.into_iter().for_each(|what| self.row(FindingKind::ChunkRow, what));
        for (number, list) in chunks {
            for (chunk, (.., run)) in list.iter().enumerate().filter(|(_, (_, seen, _))| !seen) {
                if !self.is_purged(*run)? {
                    let what = format!("chunk {chunk} of series file {number} has no row");
                    self.row(FindingKind::ChunkRow, what);
                }
            }
        }
        Ok(())
    }

    /// Whether the open has reported it.
    fn is_known_missing(&self, number: u64) -> bool {
        let path = self.core.storage.display_path(&series_path(number));
        self.core.missing().iter().any(|missing| missing.path == path)
    }

    fn is_purged(&self, run: RunId) -> Result<bool> {
        Ok(self.snapshot.run(run)?.is_some_and(|run| run.lifecycle == Lifecycle::Purged))
    }

    /// Reads one file; returns its chunks.
    fn file(&mut self, file: &SeriesFile, truth: bool) -> Vec<(u32, bool, RunId)> {
        self.report.files_count += 1;
        forget_group();
        let mut chunks = Vec::new();
        let mut sound = true;
        for item in file.directory() {
            let (series, entry) = match item {
                Ok(item) => item,
                Err(error) => {
                    self.find(FindingKind::Chunk, &error, !truth);
                    return chunks;
                }
            };
            chunks.push((checksum(series, &entry), false, series.run));
            self.report.chunks_count += 1;
            self.columns.clear();
            match file.read_chunk(&entry, ColumnSet::ALL, &mut self.columns) {
                Ok(()) => {
                    self.report.chunk_points_count += self.columns.len() as u64;
                    let summary = entry.summary.unwrap_or_else(|| Summary::of(&self.columns.values));
                    self.sum_chunk(series, entry.stats(&summary), truth);
                }
                Err(error) => {
                    self.find(FindingKind::Chunk, &error, !truth);
                    sound = false;
                    if let Some(summary) = &entry.summary {
                        self.sum_chunk(series, entry.stats(summary), truth);
                    }
                }
            }
        }
        // Rollups, order, and whether directory and chunks agree; stops at the first disagreement.
        if sound && let Err(error) = file.verify() {
            self.find(FindingKind::Chunk, &error, !truth);
        }
        chunks
    }

    fn sum_chunk(&mut self, series: SeriesId, stats: Stats, truth: bool) {
        let sums = self.sums.entry(series).or_default();
        if truth {
            let mut all = Summed { stats: sums.all.unwrap_or(stats) };
            if sums.all.is_some() {
                all.add(stats);
            }
            sums.all = Some(all.stats);
        } else {
            match &mut sums.derived {
                Some(derived) => derived.add(stats),
                None => sums.derived = Some(Summed { stats }),
            }
        }
    }

    /// The part that a branch continues has statistics but no points.
    fn keep(&mut self, run: RunId, branch: u32, of_series: &[KeptSeries]) {
        for kept in of_series {
            // A key that the log does not define is noticed when the dictionary is compared.
            if let Some(key) = self.core.pipeline.dictionary.find_key(&kept_key(&kept.key, branch)) {
                self.sums.entry(SeriesId { run, key }).or_default().all = Some(kept.stats());
            }
        }
    }

    // ---- log -----------------------------------------------------------------------------------------------------

    /// Reads frames to their end and applies them to these states. `sound_up_to` stays at the first damage.
    fn frames(
        &mut self,
        frames: &mut FrameReader,
        states: &Frozen,
        sound: &mut bool,
        sound_up_to: &mut Lsn,
    ) -> Result<Vec<(EntityKey, Arc<EntityState>)>> {
        let mut working = if states.0.is_empty() { Working::new(&Nothing) } else { Working::new(states) };
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    self.report.frames_count += 1;
                    let (lsn, batch) = (frame.lsn, frame.kind == FrameKind::Batch);
                    if batch && let Err(error) = self.frame(&frame, &mut working) {
                        self.find(FindingKind::Frame, &error, false);
                        *sound = false;
                    }
                    *sound_up_to = if *sound { lsn } else { *sound_up_to };
                }
                Ok(None) => return Ok(working.take_changed()),
                Err(error) => {
                    self.find(FindingKind::Frame, &error, false);
                    frames.skip_damage();
                    *sound = false;
                }
            }
        }
    }

    fn frame(&mut self, frame: &FrameRef<'_>, working: &mut Working<'_>) -> Result<()> {
        let lsn = frame.lsn;
        let mut index = 0u16;
        for section in sections(frame.payload) {
            let damaged = |offset: usize, structure| {
                let at = frame.offset_bytes + (FRAME_HEADER_BYTES + offset) as u64;
                let found = format!("bytes that do not decode, in the frame at position {lsn}");
                Error::corrupt(frame.segment.path(), at, structure, "what was written", found)
            };
            let section = section.map_err(|bad| damaged(bad.offset, "section"))?;
            let bad = |structure| damaged(section.offset, structure);
            match section.kind {
                kind if kind == SectionKind::Origin as u8 => {
                    let origin = Origin::read(section.flags, section.body).ok_or_else(|| bad("origin section"))?;
                    self.key(&origin, lsn)?;
                }
                kind if kind == SectionKind::Dictionary as u8 => {
                    for definition in definitions(section.body).ok_or_else(|| bad("dictionary section"))? {
                        self.definition(&definition);
                    }
                }
                kind if kind == SectionKind::Event as u8 => {
                    match decode(section.body).map_err(|_| bad("event"))? {
                        Decoded::Known(event) => {
                            let applied = apply(&event, lsn, working)?;
                            self.report.events_count += 1;
                            if let (Some((run, branch, kept)), false) = (event.begun_branch(), applied.ignored) {
                                self.keep(run, branch, kept);
                            }
                            for key in touches(&event) {
                                self.events.entry(key).or_default().push((lsn, index));
                            }
                        }
                        Decoded::Unknown { tag, .. } => self.unknown(tag),
                    }
                    index = index.saturating_add(1);
                }
                kind if kind == SectionKind::Gone as u8 => index = index.saturating_add(1),
                kind if kind == SectionKind::Clock as u8 => {
                    read_clock(section.body).ok_or_else(|| bad("clock section"))?;
                }
                kind if kind == SectionKind::Series as u8 => {
                    let read = SeriesSection::read(section.flags, section.body).ok_or_else(|| bad("series section"))?;
                    self.columns.clear();
                    read.extend(lsn, &mut self.columns);
                    let of = stats_of(&self.columns.steps, &self.columns.times, &self.columns.values);
                    self.sum_points(read.series, of, lsn);
                }
                kind if kind == SectionKind::Row as u8 => {
                    let read = RowSection::read(section.flags, section.body).ok_or_else(|| bad("row section"))?;
                    read.for_each(|key, point: Point| {
                        self.sum_points(SeriesId { run: read.run, key }, Stats::of(point), lsn);
                    });
                }
                kind => self.unknown(u16::from(kind)),
            }
        }
        Ok(())
    }

    fn unknown(&mut self, tag: u16) {
        match self.report.unknown.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, count)) => *count += 1,
            None => self.report.unknown.push((tag, 1)),
        }
    }

    fn key(&mut self, origin: &Origin, lsn: Lsn) -> Result<()> {
        if let Some(merged) = origin.merged
            && self.core.pipeline.applied_number(merged.writer)? < merged.last
        {
            let what = format!("number {} of writer {} is at position {lsn}", merged.last, merged.writer);
            self.row(FindingKind::Dictionary, what);
        }
        if let Some(note) = origin.store.as_ref().filter(|note| note.kind != NoteKind::Again) {
            let (seen, forgotten) = (Peer::Store(note.store), Peer::Forgotten(note.store));
            let pipeline = &self.core.pipeline;
            if pipeline.number_of(seen)?.max(pipeline.number_of(forgotten)?) < note.last {
                let what = format!("position {} of store {} is at position {lsn}", note.last, note.store);
                self.row(FindingKind::Dictionary, what);
            }
        }
        if origin.key.is_empty() {
            return Ok(());
        }
        let used = match self.core.pipeline.newest.hot.key_use(&origin.key) {
            Some(used) => Some(used.lsn),
            None => self.snapshot.index.idempotency(&origin.key)?.map(|entry| entry.lsn),
        };
        // The later use of an expired key counts.
        if used.is_some_and(|used| used < lsn) {
            let key = String::from_utf8_lossy(&origin.key).into_owned();
            self.row(FindingKind::Dictionary, format!("idempotency key `{key}` was used at position {lsn}"));
        }
        Ok(())
    }

    fn definition(&mut self, definition: &Definition<'_>) {
        let (key, bytes) = match definition {
            Definition::Key(id, name) => ((true, id.0), name.as_bytes()),
            Definition::Context(id, bytes) => ((false, id.0), *bytes),
        };
        let first = self.definitions.entry(key).or_insert_with(|| bytes.to_vec());
        if first.as_slice() != bytes {
            let what = format!("number {} of the dictionary stands for two things", key.1);
            self.row(FindingKind::Dictionary, what);
        }
    }

    fn sum_points(&mut self, series: SeriesId, of: Stats, lsn: Lsn) {
        self.report.frame_points_count += of.count_raw;
        if lsn <= self.released {
            return;
        }
        let add = |stats: &mut Option<Stats>| match stats {
            Some(stats) => stats.merge(&of),
            None => *stats = Some(of),
        };
        let sums = self.sums.entry(series).or_default();
        add(&mut sums.all);
        if lsn <= self.index.sealed() {
            add(&mut sums.sealed);
        }
    }

    // ---- comparison ----------------------------------------------------------------------------------------------

    fn compare(
        &mut self,
        states: &FxHashMap<EntityKey, Arc<EntityState>>,
        answers: &Answers<'_>,
        up_to: Lsn,
    ) -> Result<()> {
        let mut purged: FxHashSet<RunId> = FxHashSet::default();
        let mut runs: FxHashMap<ExperimentId, Vec<RunId>> = FxHashMap::default();
        let mut alive: FxHashSet<RunId> = FxHashSet::default();
        let counts = matches!(answers, Answers::Store(_));
        for (key, state) in states {
            self.report.entities_count += u64::from(counts);
            if let EntityKey::Experiment(id) = key {
                runs.entry(*id).or_default();
            }
            if let (EntityKey::Run(id), EntityState::Run(run)) = (key, &**state) {
                if run.lifecycle == Lifecycle::Purged {
                    purged.insert(*id);
                } else {
                    alive.insert(*id);
                    runs.entry(run.experiment).or_default().push(*id);
                }
            }
            if answers.entity(key)?.as_ref() != Some(state) {
                self.row(FindingKind::Entity, format!("{key:?} is not what the log says"));
            }
        }
        let mut wrong = Vec::new();
        answers.index().for_each(|key, _| {
            if !states.contains_key(&key) {
                wrong.push(format!("{key:?} is not in the log"));
            }
            Ok(())
        })?;
        wrong.drain(..).for_each(|what| self.row(FindingKind::Entity, what));
        for (experiment, mut expected) in runs {
            expected.sort_unstable();
            if answers.runs_of(experiment)? != expected {
                self.row(FindingKind::List, format!("the runs of experiment {experiment} are not those of the log"));
            }
        }
        self.compare_events(&purged, answers, up_to)?;
        self.compare_dictionary(answers)?;
        self.compare_stats(&alive, answers)
    }

    fn compare_events(&mut self, purged: &FxHashSet<RunId>, answers: &Answers<'_>, up_to: Lsn) -> Result<()> {
        let applied = answers.index().applied();
        let events = std::mem::take(&mut self.events);
        for (key, expected) in &events {
            let mut live = answers.index().events(key, Lsn::ZERO..=up_to)?;
            if let Answers::Store(_) = answers {
                let hot = self.core.pipeline.newest.hot.events(key, up_to);
                live.extend(hot.into_iter().filter(|(lsn, _)| *lsn > applied));
            }
            // Of a purged run the purge must be there, and nothing that never existed.
            let fits = match key {
                EntityKey::Run(run) if purged.contains(run) => {
                    live.last() == expected.last() && live.iter().all(|at| expected.binary_search(at).is_ok())
                }
                _ => live == *expected,
            };
            if !fits {
                self.row(FindingKind::List, format!("the events of {key:?} are not those of the log"));
            }
        }
        self.events = events;
        Ok(())
    }

    fn compare_dictionary(&mut self, answers: &Answers<'_>) -> Result<()> {
        for entry in answers.index().dictionary()? {
            if self.definitions.get(&(entry.kind == 0, entry.id)) != Some(&entry.bytes) {
                let what = format!("number {} of the dictionary is not what the log says", entry.id);
                self.row(FindingKind::Dictionary, what);
            }
        }
        if let Answers::Index(index) = answers {
            let there = index.dictionary()?;
            let there: FxHashSet<_> = there.iter().map(|entry| (entry.kind == 0, entry.id)).collect();
            let missing: Vec<u32> =
                self.definitions.keys().filter(|key| !there.contains(key)).map(|(_, id)| *id).collect();
            for id in missing {
                self.row(FindingKind::Dictionary, format!("number {id} of the dictionary is not in the index"));
            }
            return Ok(());
        }
        let dictionary = &self.core.pipeline.dictionary;
        let differs = |((is_key, id), bytes): (&(bool, u32), &Vec<u8>)| {
            let same = match is_key {
                true => dictionary.key_name(KeyId(*id)).is_some_and(|name| name.as_bytes() == bytes),
                false => dictionary.context_of(ContextId(*id)).is_some_and(|context| context.encode() == *bytes),
            };
            (!same).then_some(*id)
        };
        let wrong: Vec<u32> = self.definitions.iter().filter_map(differs).collect();
        for id in wrong {
            self.row(FindingKind::Dictionary, format!("number {id} of the dictionary is not in use as the log says"));
        }
        Ok(())
    }

    fn compare_stats(&mut self, alive: &FxHashSet<RunId>, answers: &Answers<'_>) -> Result<()> {
        let last = matches!(answers, Answers::Store(_));
        let sums = std::mem::take(&mut self.sums);
        for (series, sums) in sums.iter().filter(|(series, _)| alive.contains(&series.run)) {
            self.report.series_count += u64::from(last);
            let live = answers.stats(*series)?;
            let fits = match (&live, &sums.all) {
                (Some(live), Some(all)) => agree(live, all),
                (live, all) => live.is_none() && all.is_none(),
            };
            if !fits {
                let what =
                    format!("statistics of metric {} of run {} are not those of its points", series.key.0, series.run);
                self.row(FindingKind::Stats, what);
            }
            // Once, after all frames are read.
            let fits = match (&sums.derived, &sums.sealed) {
                _ if !last => true,
                (Some(derived), Some(sealed)) => agree(sealed, &derived.stats),
                (derived, sealed) => derived.is_none() && sealed.is_none(),
            };
            if !fits {
                let what = format!(
                    "points of metric {} of run {} in files are not those in the log",
                    series.key.0, series.run
                );
                self.row(FindingKind::Chunk, what);
            }
        }
        let mut wrong = Vec::new();
        answers.index().for_each_stats(|series, _| {
            if alive.contains(&series.run) && !sums.contains_key(&series) {
                wrong.push(format!("metric {} of run {} has statistics but no points", series.key.0, series.run));
            }
            Ok(())
        })?;
        wrong.into_iter().for_each(|what| self.row(FindingKind::Stats, what));
        self.sums = sums;
        Ok(())
    }
}

fn checksum(series: SeriesId, entry: &ChunkEntry) -> u32 {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    Crc32::of_parts(&[&series.run.0, &series.key.0.to_le_bytes(), &bytes]).0
}

/// Whether two statistics agree, apart from the hints.
pub(crate) fn agree(kept: &Stats, other: &Stats) -> bool {
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
    kept.count_raw == other.count_raw
        && same(kept.min, other.min)
        && same(kept.max, other.max)
        && kept.first().repeats(&other.first())
        && kept.last().repeats(&other.last())
        && kept.time_max_ms == other.time_max_ms
}
