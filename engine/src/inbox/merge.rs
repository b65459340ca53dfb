//! Merges everything that inboxes have published into the store's log, exactly once.
//!
//! ```text
//! each inbox in turn:  frames ─► gather ─► one batch with (writer, first..=last) ─► sequencer: is `first` the number
//!                                                                                   after the last one? place, publish
//! ```
//!
//! After a crash between the batch and the removal of its source, the batch says which numbers it has, and they are
//! skipped. A power cut that takes the batch takes the numbers with it, and the segment still exists, because it is
//! removed only once the batch is durable.
//!
//! No merge waits for memory while it locks the inboxes, since every read needs that lock. The pass ends instead, and
//! its caller waits outside and starts again.
//!
//! Points of a run that was deleted meanwhile are kept with it; those of a purged run are dropped and counted. At a run
//! that the store does not know, the inbox waits: going on after the frame would mean that it could never be merged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use super::gather::{Gather, Pushed};
use super::inspect::{Inspection, inspect_all};
use super::mutant::{self, Rule};
use super::note::{self, NOTES_DIR, Standing};
use super::peek::Peek;
use super::reader::{Look, Reader, Stop, Window};
use super::report::{InboxProblem, InboxProblemKind, MergeReport};
use super::segment::{INBOX_DIR, LOCK_NAME, NEWS_BYTES, NEWS_PATH, dir_of, list_segments, path_of};
use crate::core::Core;
use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::id::{Lsn, Peer, RunId, WriterId};
use crate::ingest::prepared::Refused;
use crate::log::FrameKind;
use crate::storage::lock::LOCK_PATH;
use crate::storage::{Map, OpenMode, Storage};

/// A folder without a segment is a leftover of a dead writer after this time; a live one soon has a segment.
const EMPTY_FOR_MS: u64 = 60_000;
/// How often notes without an inbox are looked for, at most.
const SWEEP_EVERY_MS: u64 = 1_000;

/// A holder's view of its store's inboxes.
#[derive(Debug)]
struct Inboxes {
    use_map: bool,
    /// Goes on after what is missing or damaged.
    accepts_loss: bool,
    news: Option<Arc<dyn Map>>,
    seen: Option<u64>,
    open: BTreeMap<WriterId, Reader>,
    /// Folders without segments, and since when.
    empty: BTreeMap<WriterId, u64>,
    /// When notes without an inbox were looked for.
    swept_ms: Option<u64>,
    /// What that look found.
    missed: Vec<InboxProblem>,
    /// Inboxes of which nothing was left, accepted as lost since the last report.
    lost: u64,
    /// Merged but not removable, or a store of its own; not checked again.
    left: BTreeSet<WriterId>,
    problems: Vec<InboxProblem>,
    window: Window,
    gather: Gather,
    /// Unmerged points, while there is no space for them.
    peeks: BTreeMap<WriterId, Peek>,
}

/// Whether a folder of the inbox is a store rather than an inbox.
fn is_store(storage: &dyn Storage, dir: &str) -> io::Result<bool> {
    match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        entries => Ok(entries?.iter().any(|entry| entry.name == "FORMAT" || entry.name == LOCK_PATH)),
    }
}

impl Inboxes {
    /// `use_map`: whether segments are read through maps, where the storage allows it. `accepts_loss`: whether to go on
    /// after what is missing or damaged.
    fn new(use_map: bool, accepts_loss: bool) -> Self {
        Self {
            use_map,
            accepts_loss,
            news: None,
            seen: None,
            open: BTreeMap::new(),
            empty: BTreeMap::new(),
            swept_ms: None,
            missed: Vec::new(),
            lost: 0,
            left: BTreeSet::new(),
            problems: Vec::new(),
            window: Window::default(),
            gather: Gather::default(),
            peeks: BTreeMap::new(),
        }
    }

    /// Looks at published, unmerged frames; reads only those that the last look did not read.
    fn peek(&mut self, core: &Core) -> Result<()> {
        let storage = &*core.storage;
        for (writer, merged) in self.open.iter().filter(|(_, reader)| reader.stop == Stop::No) {
            let io = |error| Error::io("read", storage.display_path(&dir_of(*writer)), error);
            if self.peeks.get(writer).is_none_or(|peek| peek.reader.applied != merged.applied) {
                let Some(&first) = list_segments(storage, *writer).map_err(io)?.first() else { continue };
                let reader = Reader::new(core.store_id, *writer, first, merged.applied, self.use_map);
                self.peeks.insert(*writer, Peek { reader, runs: FxHashSet::default(), unknown: false });
            }
            if let Some(peek) = self.peeks.get_mut(writer) {
                self.window.clear();
                peek.look(storage, &mut self.window).map_err(io)?;
            }
        }
        self.window.clear();
        Ok(())
    }

    /// Finds new inboxes.
    fn discover(&mut self, core: &Core, now_ms: u64) -> Result<()> {
        let storage = &*core.storage;
        let io = |op, path: &str, error| Error::io(op, storage.display_path(path), error);
        if self.news.is_none() && self.use_map && storage.can_map_writes() {
            match storage.open(NEWS_PATH, OpenMode::Read).and_then(|file| file.map(NEWS_BYTES, false)) {
                Ok(news) => self.news = news,
                // There is none yet, or it is just being created.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {}
                Err(error) => match io("map", NEWS_PATH, error) {
                    // Then every look lists the folder itself.
                    Error::NotAFile { .. } => {}
                    error => return Err(error),
                },
            }
        }
        // Read before the folder is listed: an inbox that is created later changes it again.
        let word = self.news.as_ref().map(|news| news.load_u64(0));
        let sweeps = self.swept_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= SWEEP_EVERY_MS);
        let is_quiet = word.is_some() && word == self.seen && self.empty.is_empty();
        if is_quiet && (self.missed.is_empty() || !sweeps) {
            return Ok(());
        }
        let entries = match storage.list(INBOX_DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.map_err(|error| io("list", INBOX_DIR, error))?,
        };
        self.problems.retain(|problem| problem.writer.is_some());
        let listed: BTreeSet<WriterId> = entries.iter().filter_map(|entry| entry.name.parse().ok()).collect();
        self.empty.retain(|writer, _| listed.contains(writer));
        for entry in entries {
            match entry.name.parse::<WriterId>() {
                Ok(writer) if entry.is_dir => {
                    if !self.open.contains_key(&writer) && !self.left.contains(&writer) {
                        self.meet(core, writer, now_ms)?;
                    }
                }
                _ if format!("{INBOX_DIR}/{}", entry.name) == NEWS_PATH => {}
                _ => {
                    let path = storage.display_path(&format!("{INBOX_DIR}/{}", entry.name));
                    let what = format!("{} is no inbox; it is left alone", path.display());
                    self.problems.push(InboxProblem { writer: None, kind: InboxProblemKind::Foreign, what });
                }
            }
        }
        self.seen = word;
        if sweeps {
            self.swept_ms = Some(now_ms);
            self.sweep(core);
        }
        Ok(())
    }

    /// Looks for inboxes that must have segments, and have none.
    fn sweep(&mut self, core: &Core) {
        let storage = &*core.storage;
        self.missed.clear();
        let notes = note::list(storage);
        for writer in notes.as_deref().unwrap_or_default().iter().copied() {
            if self.open.contains_key(&writer) || self.left.contains(&writer) {
                continue;
            }
            match self.settle_note(core, writer) {
                Ok(false) => {}
                Ok(true) => self.missed.push(note::missed(storage, writer)),
                Err(error) => {
                    let what = Error::io("read", storage.display_path(&dir_of(writer)), error).to_string();
                    self.missed.push(InboxProblem { writer: Some(writer), kind: InboxProblemKind::Unreadable, what });
                }
            }
        }
        if let Err(error) = notes {
            let what = Error::io("list", storage.display_path(NOTES_DIR), error).to_string();
            self.missed.push(InboxProblem { writer: None, kind: InboxProblemKind::Unreadable, what });
        }
    }

    /// Whether the inbox of a note is missing. If that is accepted, or it was lost in a power cut or never copied, the
    /// note is removed.
    fn settle_note(&mut self, core: &Core, writer: WriterId) -> io::Result<bool> {
        let storage = &*core.storage;
        let is_missed = note::misses_all(storage, writer)?;
        let is_absent = match storage.list(&dir_of(writer)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            entries => entries.map(|_| false)?,
        };
        if core.read_only || is_missed && !self.accepts_loss {
            return Ok(is_missed);
        }
        if is_absent && (is_missed || note::standing(storage, writer) != Standing::Here) {
            note::remove(storage, writer)?;
        } else if is_missed {
            let mut reader = Reader::new(core.store_id, writer, 1, 0, self.use_map);
            if !reader.owner_is_gone(storage) || !self.remove(storage, &reader) {
                return Ok(true);
            }
        }
        self.lost += u64::from(is_missed);
        Ok(false)
    }

    /// Starts with a new inbox.
    fn meet(&mut self, core: &Core, writer: WriterId, now_ms: u64) -> Result<()> {
        let storage = &*core.storage;
        let dir = dir_of(writer);
        let ordinals = match list_segments(storage, writer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            ordinals => ordinals.map_err(|error| Error::io("list", storage.display_path(&dir), error))?,
        };
        match ordinals.first() {
            Some(&first) => {
                self.empty.remove(&writer);
                let applied = core.pipeline.load_writer(Peer::Writer(writer))?;
                let mut reader = Reader::new(core.store_id, writer, first, applied, self.use_map);
                // What the log already holds may not be durable yet.
                reader.applied_at = if applied > 0 { core.pipeline.published() } else { Lsn::ZERO };
                (reader.accepts_loss, reader.is_guest) = (self.accepts_loss, core.read_only);
                self.open.insert(writer, reader);
            }
            // A store of a process that could not reach this one's holder; a sync merges it.
            None if is_store(storage, &dir)
                .map_err(|error| Error::io("list", storage.display_path(&dir), error))? =>
            {
                self.empty.remove(&writer);
                self.left.insert(writer);
            }
            None => {
                let since = *self.empty.entry(writer).or_insert(now_ms);
                let is_over = now_ms.saturating_sub(since) >= EMPTY_FOR_MS;
                if is_over && note::standing(storage, writer) != Standing::Here {
                    self.empty.remove(&writer);
                    let mut reader = Reader::new(core.store_id, writer, 1, 0, self.use_map);
                    if !core.read_only && reader.owner_is_gone(storage) {
                        self.remove(storage, &reader);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes an inbox, whose lock is held. Returns whether it is gone.
    fn remove(&mut self, storage: &dyn Storage, reader: &Reader) -> bool {
        let dir = dir_of(reader.writer);
        let removed: io::Result<()> = (|| {
            // First, or the next holder would miss the rest if this one died before all is gone.
            if !mutant::left_out(Rule::NoteGoesFirst) {
                note::remove(storage, reader.writer)?;
            }
            for ordinal in list_segments(storage, reader.writer)? {
                storage.remove(&path_of(reader.writer, ordinal))?;
            }
            storage.remove(&format!("{dir}/{LOCK_NAME}"))?;
            storage.remove_dir(&dir)?;
            if mutant::left_out(Rule::NoteGoesFirst) {
                note::remove(storage, reader.writer)?;
            }
            Ok(())
        })();
        if let Err(error) = removed {
            self.left.insert(reader.writer);
            self.problems.push(InboxProblem {
                writer: Some(reader.writer),
                kind: InboxProblemKind::NotRemoved,
                what: format!("{} is merged, but could not be removed: {error}", storage.display_path(&dir).display()),
            });
            return false;
        }
        true
    }

    /// `NoRoom`: memory currently has no room for the rest.
    fn merge(&mut self, core: &Core, report: &mut MergeReport) -> Result<Merged> {
        let now_ms = core.pipeline.clock.monotonic_ms();
        self.discover(core, now_ms)?;
        report.frames_lost += std::mem::take(&mut self.lost);
        let inbox_dir = core.storage.display_path(INBOX_DIR);
        let mut gone: Vec<WriterId> = Vec::new();
        let mut no_room = false;
        for (writer, reader) in &mut self.open {
            if !reader.is_due(now_ms) {
                continue;
            }
            let mut pass =
                Pass { core, reader, window: &mut self.window, gather: &mut self.gather, report, now_ms, stale: 0 };
            pass.window.clear();
            let lost = pass.reader.lost;
            match pass.run() {
                Ok(Merged::All) => pass.reader.unreadable = None,
                Ok(Merged::NoRoom) => {
                    report.frames_lost += reader.lost - lost;
                    no_room = true;
                    break;
                }
                // Nothing is wrong with the inbox: this process lacks a descriptor or memory to read it.
                Err(error) if is_short_of_means(&error) => return Err(error),
                // Only this inbox is affected: the others go on, and it is tried again.
                Err(Error::Io { op, path, source }) if path.starts_with(&inbox_dir) => {
                    pass.reader.unreadable = Some(Error::Io { op, path, source }.to_string());
                }
                Err(error @ Error::NotAFile { .. }) => pass.reader.unreadable = Some(error.to_string()),
                Err(error) => return Err(error),
            }
            report.frames_lost += reader.lost - lost;
            if reader.stop == Stop::Ended
                && !core.read_only
                && core.pipeline.log.durable() >= reader.applied_at
                && reader.owner_is_gone(&*core.storage)
            {
                gone.push(*writer);
            }
        }
        for writer in gone {
            if let Some(reader) = self.open.remove(&writer) {
                report.inboxes_removed += u64::from(self.remove(&*core.storage, &reader));
            }
        }
        Ok(if no_room { Merged::NoRoom } else { Merged::All })
    }

    fn problems(&self) -> Vec<InboxProblem> {
        let mut problems = self.problems.clone();
        problems.extend_from_slice(&self.missed);
        for reader in self.open.values() {
            let writer = Some(reader.writer);
            if let Some(what) = reader.unreadable.clone() {
                problems.push(InboxProblem { writer, kind: InboxProblemKind::Unreadable, what });
                continue;
            }
            if let (Stop::No, Some(what)) = (&reader.stop, reader.absent.clone()) {
                problems.push(InboxProblem { writer, kind: InboxProblemKind::Gap, what });
                continue;
            }
            match (&reader.stop, reader.waits_for) {
                (Stop::Left(kind, what), _) => problems.push(InboxProblem { writer, kind: *kind, what: what.clone() }),
                (_, Some((run, _))) => problems.push(InboxProblem {
                    writer,
                    kind: InboxProblemKind::UnknownRun,
                    what: format!(
                        "inbox {} waits at number {}: run {run} is not in this store",
                        reader.writer,
                        reader.applied + 1
                    ),
                }),
                _ => {}
            }
        }
        problems
    }
}

/// The result of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merged {
    /// Everything published was merged, except for inboxes with problems.
    All,
    /// The last gathered frames were not committed: memory has no room.
    NoRoom,
}

/// Whether a call failed because this process lacks a resource now.
fn is_short_of_means(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    let errno = source.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::NOMEM))
}

/// One inbox during a pass.
struct Pass<'a> {
    core: &'a Core,
    reader: &'a mut Reader,
    window: &'a mut Window,
    gather: &'a mut Gather,
    report: &'a mut MergeReport,
    now_ms: u64,
    /// How often in a row frames with late points were refused.
    stale: u32,
}

/// The reason why gathering ended.
enum End {
    Full,
    Nothing,
    Bad,
    Mark,
    Close,
    UnknownRun(RunId),
    /// The merge of this inbox has stopped.
    Left(InboxProblemKind, String),
}

impl Pass<'_> {
    fn io(&self, error: io::Error) -> Error {
        Error::io("read", self.core.storage.display_path(&dir_of(self.reader.writer)), error)
    }

    fn run(&mut self) -> Result<Merged> {
        let storage = &*self.core.storage;
        if let Some((run, at)) = self.reader.waits_for {
            let published = self.core.pipeline.published();
            if published == at {
                return Ok(Merged::All);
            }
            if self.core.pipeline.newest.get(&EntityKey::Run(run))?.is_none() {
                self.reader.waits_for = Some((run, published));
                return Ok(Merged::All);
            }
            self.reader.waits_for = None;
        }
        while self.reader.stop == Stop::No {
            let was_open = self.reader.is_open();
            if !self.reader.open(storage).map_err(|error| self.io(error))? {
                let more = self.reader.stop == Stop::No
                    && self.reader.judge(storage, self.window, self.now_ms, false).map_err(|error| self.io(error))?;
                if !more {
                    break;
                }
                continue;
            }
            if !was_open {
                self.window.clear();
            }
            let start = self.reader.place();
            self.gather.clear();
            let end = match self.gather() {
                Ok(end) => end,
                Err(error) => {
                    self.reader.go_back(start);
                    return Err(error);
                }
            };
            if self.gather.frames() > 0 && !self.core.read_only && !self.core.pipeline.has_room() {
                self.reader.go_back(start);
                return Ok(Merged::NoRoom);
            }
            if self.gather.frames() > 0 {
                match self.commit() {
                    Ok(true) => {}
                    // It changed since the last look: look again.
                    Ok(false) => {
                        self.reader.go_back(start);
                        self.reader.applied = self.core.pipeline.load_writer(Peer::Writer(self.reader.writer))?;
                        continue;
                    }
                    Err(error) => {
                        self.reader.go_back(start);
                        return Err(error);
                    }
                }
            }
            let more = match end {
                End::Full => true,
                End::Nothing | End::Bad => {
                    let is_bad = matches!(end, End::Bad);
                    let judged = self.reader.judge(storage, self.window, self.now_ms, is_bad);
                    judged.map_err(|error| self.io(error))?
                }
                End::Mark => {
                    self.reader.finish_segment();
                    true
                }
                End::Close => {
                    self.reader.finish_segment();
                    self.reader.stop = Stop::Ended;
                    false
                }
                End::UnknownRun(run) => {
                    self.reader.waits_for = Some((run, self.core.pipeline.published()));
                    false
                }
                End::Left(kind, what) => {
                    self.reader.leave(kind, what);
                    false
                }
            };
            if !more {
                break;
            }
        }
        self.remove_finished()?;
        Ok(Merged::All)
    }

    /// Gathers frames up to the end of what is published, up to the end of the segment, or until there are enough.
    fn gather(&mut self) -> Result<End> {
        let Self { core, reader, window, gather, .. } = self;
        let pipeline = &*core.pipeline;
        let io = |error| Error::io("read", core.storage.display_path(&dir_of(reader.writer)), error);
        let bound = reader.bound().map_err(io)?;
        let io = |writer, error| Error::io("read", core.storage.display_path(&dir_of(writer)), error);
        loop {
            let (header, payload) = match reader.look(window, bound).map_err(|error| io(reader.writer, error))? {
                Look::Frame(header, payload) => (header, payload),
                Look::Nothing => return Ok(End::Nothing),
                Look::Bad => return Ok(End::Bad),
            };
            if let Some((kind, what)) = reader.refuses(header.lsn.0) {
                return Ok(End::Left(kind, what));
            }
            reader.note_gap(header.lsn.0);
            match header.kind {
                FrameKind::Batch => {}
                FrameKind::Mark => {
                    reader.advance(&header);
                    return Ok(End::Mark);
                }
                FrameKind::Close => {
                    reader.advance(&header);
                    return Ok(End::Close);
                }
            }
            if header.lsn.0 <= reader.applied {
                // Merged before; but later frames may use its definitions.
                if reader.numbers.define(pipeline, payload)?.is_none() {
                    return Ok(End::Left(InboxProblemKind::Damage, format!("frame {} does not decode", header.lsn)));
                }
                reader.advance(&header);
                continue;
            }
            match gather.push(pipeline, &mut reader.numbers, (reader.writer, reader.applied + 1), &header, payload)? {
                Pushed::Taken => reader.advance(&header),
                Pushed::Full => return Ok(End::Full),
                Pushed::UnknownRun(run) => return Ok(End::UnknownRun(run)),
                // Its definitions were lost in a power cut, and neither frame was synced, since a sync covers
                // everything before it.
                Pushed::Undefined if reader.has_hole => {
                    reader.lost += 1;
                    reader.advance(&header);
                }
                Pushed::Undefined => {
                    let what = format!("frame {}: it uses a metric key or context that was not defined", header.lsn);
                    return Ok(End::Left(InboxProblemKind::Damage, what));
                }
                Pushed::Bad(what) => {
                    return Ok(End::Left(InboxProblemKind::Damage, format!("frame {}: {what}", header.lsn)));
                }
            }
        }
    }

    /// Commits the gathered frames. `false`: they must be gathered again.
    fn commit(&mut self) -> Result<bool> {
        let pipeline = &self.core.pipeline;
        let (frames, last, dropped) = (self.gather.frames(), self.gather.last_number(), self.gather.dropped);
        if self.core.read_only {
            let lsn = pipeline.published().next();
            self.gather.show(pipeline, lsn)?;
            self.merged(lsn, last, (frames, self.gather.points(), dropped));
            return Ok(true);
        }
        let has_late_points = self.gather.has_late_points();
        if has_late_points && self.stale > 0 {
            self.gather.look_up(pipeline, self.stale)?;
        }
        let points = self.gather.points();
        let prepared = self.gather.prepare(pipeline)?;
        let lsn = loop {
            match pipeline.commit_now(prepared) {
                Ok(lsn) => break lsn,
                Err(Refused::Bases(run, keys)) => drop(pipeline.read_bases(&run, &keys)?),
                // At the next gathering, late points are looked up. With each try, more of the points appended
                // meanwhile are compared.
                Err(Refused::Stale | Refused::LookUp | Refused::Repeated(_) | Refused::There(_)) => {
                    self.stale += u32::from(has_late_points);
                    return Ok(false);
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        };
        self.stale = 0;
        self.merged(lsn, last, (frames, points, dropped));
        Ok(true)
    }

    fn merged(&mut self, lsn: Lsn, last: Option<u64>, (frames, points, dropped): (u64, u64, u64)) {
        self.reader.applied = last.unwrap_or(self.reader.applied);
        self.reader.applied_at = lsn;
        self.report.frames_count += frames;
        self.report.points_count += points;
        self.report.points_dropped += dropped;
        self.report.batches_count += 1;
    }

    /// Removes segments that are merged and durable; the last one goes with the folder.
    fn remove_finished(&mut self) -> Result<()> {
        if self.reader.finished.is_empty() || self.reader.stop != Stop::No || self.core.read_only {
            return Ok(());
        }
        let durable = self.core.pipeline.log.durable();
        while let Some(&(ordinal, lsn)) = self.reader.finished.first() {
            if lsn > durable {
                break;
            }
            let path = path_of(self.reader.writer, ordinal);
            match self.core.storage.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", self.core.storage.display_path(&path), error));
                }
                _ => self.reader.finished.remove(0),
            };
        }
        Ok(())
    }
}

/// The inboxes of an open store; one merge at a time.
#[derive(Debug)]
pub(crate) struct StoreInboxes {
    /// Taken before [`Core::upkeep`], never after.
    inboxes: Mutex<Inboxes>,
}

impl StoreInboxes {
    /// `use_map`: whether segments are read through maps, where the storage allows it. `accepts_loss`: whether merges go
    /// on after what is missing or damaged.
    pub(crate) fn new(use_map: bool, accepts_loss: bool) -> Self {
        Self { inboxes: Mutex::new(Inboxes::new(use_map, accepts_loss)) }
    }

    /// Reads all inboxes and changes nothing.
    pub(crate) fn inspect(&self, core: &Core) -> Result<Inspection> {
        // No merge removes what is read here.
        let inboxes = self.inboxes.lock();
        let known: Vec<_> = inboxes.problems().into_iter().map(|problem| problem.writer).collect();
        inspect_all(core, inboxes.use_map, &known)
    }

    /// As [`StoreInboxes::merge`], for a store that is open for reading: into memory.
    pub(crate) fn show(&self, core: &Core) -> Result<MergeReport> {
        self.merge_any(core)
    }

    /// Everything that inboxes have published; see [`crate::Store::merge_inboxes`].
    pub(crate) fn merge(&self, core: &Core) -> Result<MergeReport> {
        core.check_writable()?;
        self.merge_any(core)
    }

    /// Whether an inbox holds points of a run that the log does not have yet, as far as it has no problem.
    pub(crate) fn has_unmerged(&self, core: &Core, run: RunId) -> Result<bool> {
        let mut inboxes = self.inboxes.lock();
        inboxes.peek(core)?;
        Ok(inboxes.peeks.values().any(|peek| peek.unknown || peek.runs.contains(&run)))
    }

    /// Merges, and removes what is merged as far as its writer has ended: that needs what was merged to be durable. What
    /// this leaves undone stays in the inboxes, for whoever holds the store next.
    pub(crate) fn empty(&self, core: &Core) -> Result<()> {
        self.inboxes.lock().open.values_mut().for_each(Reader::try_lock_next);
        if self.merge(core)?.inboxes_open > 0 {
            core.pipeline.sync()?;
            self.merge(core)?;
        }
        Ok(())
    }

    fn merge_any(&self, core: &Core) -> Result<MergeReport> {
        let mut report = MergeReport::default();
        loop {
            let mut inboxes = self.inboxes.lock();
            let merged = inboxes.merge(core, &mut report)?;
            report.inboxes_open = inboxes.open.len() as u64;
            report.problems = inboxes.problems();
            if merged == Merged::All && !inboxes.peeks.is_empty() {
                inboxes.peeks.clear();
            }
            drop(inboxes);
            match merged {
                Merged::All => return Ok(report),
                Merged::NoRoom => core.pipeline.wait_for_room()?,
            }
        }
    }
}
