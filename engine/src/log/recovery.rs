//! What an open finds on disk, what it means, and what it does about it.
//!
//! `D`, the proven position, is the largest Lsn that anything valid says was synced. These count: `unsynced` of any
//! valid frame header, even after a bad frame; footers; MANIFEST (ranges, and what its jumps say was kept); and what
//! the caller vouches for (index, series files, search.snap). All of these are written only after the sync that they
//! refer to.
//!
//! All segments without a range in MANIFEST form one tail, which is scanned. A frame is good if both crcs are right and
//! its Lsn is one above the last good one (or the one noted by a jump there). `g` is the last good Lsn, `b` the place
//! after it.
//!
//! | found | means | read-write open |
//! |---|---|---|
//! | `D > g` | an acknowledged frame is gone | refuse: `Corrupt`; nothing is written |
//! | a close frame ends the tail, nothing behind it, no jump noted | closed | write again what lies above `D`; go on |
//! | else | a crash | rewrite > note > cut > finish, go on in the next segment |
//! | no MANIFEST, no frame; or frames complete from Lsn 1 | creation was cut | create; or write it |
//! | no MANIFEST otherwise, or a bad one | damage | refuse |
//! | the last listed file missing, the one before it was not left | prepared, never used | take it from the list |
//! | a listed file missing otherwise, a sealed one of other length | damage | refuse `MissingFile` |
//! | a sealed header or footer not as listed; bad header over frames | damage, foreign file | refuse |
//! | unlisted, next ordinals, no frame / frames | preparing was cut / an older MANIFEST | delete / keep and list |
//! | other unlisted segment, range covered / not | before or after a swap / damage | delete / refuse |
//! | `*.tmp` | never the truth | delete |
//!
//! After a crash, each step is durable before the next, and each may be repeated:
//! - **Rewrite** every good frame above `D` in place, because after a failed sync the page cache shows frames that the
//!   disk does not have.
//! - **Note** in MANIFEST what is kept, and a number to go on with above everything that the tail could have held,
//!   because a reader may have seen those numbers.
//! - **Cut** everything after `b`, and later segments to nothing, so that a dropped frame can never reappear.
//! - **Finish** the segments that keep frames: footers, oldest first, then their ranges.
//!
//! A read-only open writes nothing. It serves what is good, and says what is missing.
//!
//! A copy that was made during appends (see [`crate::storage::lock`]) may have places that were read before they were
//! written, followed by frames that were read later and vouch for frames that the copy lacks. In a copy, whatever
//! follows such a place vouches for nothing. So the copy ends there as after a crash, at a moment after its beginning.
//! Index, series files and MANIFEST vouch as always, because they are copied before the log.

use std::sync::Arc;

use super::Log;
use super::beside;
use super::footer::Footer;
use super::frame::{FRAME_ALIGN_BYTES, FrameKind};
use super::ground::{Ground, ZeroFill};
use super::manifest::{Jump, ListedSegment, MANIFEST_PATH, MANIFEST_TMP_PATH, Manifest};
use super::mutant::{self, Rule};
use super::scan::{CHUNK_BYTES, Tail, TailSegment, number_behind};
use super::segment::{LOG_DIR, Segment, SegmentName, SegmentParts};
use super::writer::LogTail;
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId};
use crate::missing::{Missing, MissingKind};
use crate::storage::{OpenMode, StorageFile, read_exact_at, write_all_at};

/// A reader beside a live writer may see a half-copied frame, or a MANIFEST that was just replaced.
const READ_ONLY_TRIES: usize = 5;

/// Size of a segment if the disk is too full for a normal one; it grows later.
const SEGMENT_BYTES_LEAST: u64 = 4 << 10;

/// What an open may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Recover on disk, then append. The caller holds the store's lock.
    ReadWrite,
    /// Write nothing.
    ReadOnly,
    /// As `ReadWrite`, but if acknowledged frames are missing at the end, note the loss in MANIFEST and go on above it.
    /// Only at a user's request.
    AcceptLoss,
}

/// What an open found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// This open created the log.
    pub created: bool,
    /// It had been closed.
    pub closed_cleanly: bool,
    /// Bytes of good frames that were written again.
    pub rewritten_bytes: u64,
    /// The numbers that were skipped.
    pub jump: Option<Jump>,
    /// Files that were removed.
    pub removed: Vec<String>,
    /// Names that are not ours; left alone.
    pub ignored: Vec<String>,
    /// Read-only: segments that are missing or differ from MANIFEST; the log is incomplete.
    pub missing: Vec<Missing>,
    /// Acknowledged frames that are missing at the end: served without them (read-only), or accepted as lost.
    pub lost: Option<(Lsn, Lsn)>,
    /// A copy's end: frames of these numbers were written while it was made, and are not in it.
    pub torn: Option<(Lsn, Lsn)>,
}

/// An open log.
#[derive(Debug)]
pub struct OpenedLog {
    /// For reads and syncs.
    pub log: Arc<Log>,
    /// For appends; `None` if read-only.
    pub tail: Option<LogTail>,
    /// The last Lsn.
    pub end: Lsn,
    /// What happened.
    pub report: OpenReport,
}

/// A log that was examined and can be served, but whose recovery on disk is still to be done after a crash. Until then
/// its frames may be read, but nothing that refers to them may be written.
#[derive(Debug)]
pub struct UnsettledLog {
    opened: OpenedLog,
    crash: Option<Crash>,
}

/// What is known of a log after a crash.
#[derive(Debug)]
struct Crash {
    access: Access,
    manifest: Manifest,
    tail: Tail,
}

impl UnsettledLog {
    /// For reads.
    pub fn log(&self) -> &Arc<Log> {
        &self.opened.log
    }

    /// The last Lsn.
    pub fn end(&self) -> Lsn {
        self.opened.end
    }

    /// Whether so much has to be written again that doing something else meanwhile pays off.
    pub fn takes_long(&self) -> bool {
        let bytes = |crash: &Crash| -> u64 {
            let above = |segment: &&TailSegment| segment.content.last > crash.tail.proven;
            crash.tail.segments.iter().filter(above).map(|segment| segment.content.frames_end_bytes).sum()
        };
        self.crash.as_ref().is_some_and(|crash| bytes(crash) >= beside::THREADS_FROM_BYTES)
    }

    /// Does the rest of the recovery on disk.
    ///
    /// # Errors
    /// As [`Log::open`]. The steps may be repeated: the next open begins again.
    pub fn settle(self) -> Result<OpenedLog> {
        let Some(Crash { access, manifest, tail }) = self.crash else { return Ok(self.opened) };
        let OpenedLog { log, end, report, .. } = self.opened;
        let ground = Ground::new(log.ground.storage.clone(), log.ground.options.clone());
        let mut opening = Opening { ground, access, report };
        let kept = log.shape().segments.clone();
        let (manifest, open, next) = opening.after_crash(manifest, &kept, &tail)?;
        log.change_shape(|shape| {
            shape.jumps.clone_from(&manifest.jumps);
            shape.segments.push(open.clone());
        });
        *log.manifest.lock() = manifest;
        log.durable.store(end.0, std::sync::atomic::Ordering::Release);
        let tail = Some(LogTail::new(log.clone(), open, next, false)?);
        Ok(OpenedLog { log, tail, end, report: opening.report })
    }
}

pub(super) fn open(ground: Ground, vouched: Lsn, access: Access) -> Result<UnsettledLog> {
    if access != Access::ReadOnly {
        return Opening { ground, access, report: OpenReport::default() }.open(vouched).map_err(|(_, error)| error);
    }
    let mut opening = Opening { ground, access, report: OpenReport::default() };
    for _ in 1..READ_ONLY_TRIES {
        match opening.open(vouched) {
            Ok(UnsettledLog { opened, crash }) if opened.report.lost.is_none() && opened.report.missing.is_empty() => {
                return Ok(UnsettledLog { opened, crash });
            }
            Ok(unsettled) => {
                let log = &unsettled.log().ground;
                let ground = Ground::new(log.storage.clone(), log.options.clone());
                opening = Opening { ground, access, report: OpenReport::default() };
            }
            Err((ground, _)) => opening = Opening { ground: *ground, access, report: OpenReport::default() },
        }
    }
    opening.open(vouched).map_err(|(_, error)| error)
}

/// What became of segments of the tail that are listed and not there.
#[derive(Debug, Clone, Copy, Default)]
struct SettledGone {
    /// One was never used; it is taken from the list.
    unlisted: bool,
    /// One may have been used, and is accepted as lost.
    accepted: bool,
}

struct Opening {
    ground: Ground,
    access: Access,
    report: OpenReport,
}

impl Opening {
    fn open(mut self, vouched: Lsn) -> Result<UnsettledLog, (Box<Ground>, Error)> {
        match self.steps(vouched) {
            Ok(Steps { manifest, segments, next, durable, end, clean, crash }) => {
                let writable = self.access != Access::ReadOnly;
                let log = Log::new(self.ground, manifest, segments, end, writable);
                log.durable.store(durable.0, std::sync::atomic::Ordering::Release);
                let tail = match (writable && crash.is_none(), log.shape().segments.last()) {
                    (true, Some(open)) => LogTail::new(log.clone(), open.clone(), next, clean).map(Some),
                    _ => Ok(None),
                };
                match tail {
                    Ok(tail) => {
                        let opened = OpenedLog { log, tail, end, report: self.report };
                        Ok(UnsettledLog { opened, crash })
                    }
                    Err(error) => {
                        let ground = Ground::new(log.ground.storage.clone(), log.ground.options.clone());
                        Err((Box::new(ground), error))
                    }
                }
            }
            Err(error) => Err((Box::new(self.ground), error)),
        }
    }

    fn writes(&self) -> bool {
        self.access != Access::ReadOnly
    }

    fn steps(&mut self, vouched: Lsn) -> Result<Steps> {
        if self.writes() && !mutant::left_out(Rule::FoldersAtOpen) {
            // After the death of a process, the names that this open sees need not be durable yet.
            self.ground.sync_dir("")?;
            match self.ground.storage.sync_dir(LOG_DIR) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| self.ground.io("fsync", LOG_DIR, error))?,
            }
        }
        let found = self.list_segments()?;
        let Some(mut manifest) = Manifest::load(self.ground.storage.as_ref(), self.ground.options.store_id)? else {
            return self.without_manifest(found, vouched);
        };
        let unlisted = self.sort_out(&mut manifest, &found)?;
        let sealed = self.check_sealed(&manifest)?;
        let mut tail = self.ground.scan(&manifest, vouched)?;
        if !self.writes() && tail.proven > tail.last_good {
            // A writer may have gone on during this open: then what was vouched for is there now.
            let missed = tail.proven;
            tail = self.ground.scan(&manifest, vouched)?;
            if tail.last_good >= missed {
                tail.proven = tail.proven.min(tail.last_good);
            }
        }
        let gone = self.settle_gone(&mut manifest, &tail)?;
        self.recover(manifest, sealed, tail, unlisted, gone)
    }

    /// Handles segments of the tail that are listed but missing. One that was prepared and never used held nothing: it
    /// is removed from the list, and prepared again when needed. Nothing says what any other one held, but it may be
    /// accepted as lost.
    fn settle_gone(&mut self, manifest: &mut Manifest, tail: &Tail) -> Result<SettledGone> {
        let jumps = manifest.jump_behind(tail.last_good).is_some();
        let mut settled = SettledGone::default();
        for gone in &tail.gone {
            let name = gone.listed.name;
            let unused = tail.was_unused(gone, jumps);
            if !self.writes() {
                if !unused {
                    let before = tail.segments.iter().take(gone.behind).map(|segment| segment.content.last);
                    let before = before.fold(manifest.sealed_last(), Lsn::max);
                    let path = self.ground.storage.display_path(&name.path());
                    let why = "there is no such file, and MANIFEST lists it";
                    let missing = Missing::new(path, MissingKind::TailSegment, why, before.next(), None);
                    self.report.missing.push(missing);
                }
                continue;
            }
            let is_accepted = self.access == Access::AcceptLoss && tail.is_at_end(gone);
            if !unused && !is_accepted {
                let path = self.ground.storage.display_path(&name.path());
                return Err(Error::MissingFile {
                    path,
                    why: "there is no such file; MANIFEST lists it, and it may have held frames".into(),
                });
            }
            manifest.segments.retain(|listed| listed.name != name);
            settled.unlisted |= unused;
            settled.accepted |= !unused;
        }
        Ok(settled)
    }

    /// Segment files by name; the rest is reported.
    fn list_segments(&mut self) -> Result<Vec<SegmentName>> {
        let entries = match self.ground.storage.list(LOG_DIR) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|error| self.ground.io("list", LOG_DIR, error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            match SegmentName::parse(&entry.name) {
                Some(name) if !entry.is_dir => found.push(name),
                _ if entry.name.ends_with(".tmp") && !entry.is_dir => {}
                _ => self.report.ignored.push(format!("{LOG_DIR}/{}", entry.name)),
            }
        }
        found.sort();
        Ok(found)
    }

    /// No MANIFEST: an interrupted creation, or damage.
    fn without_manifest(&mut self, found: Vec<SegmentName>, vouched: Lsn) -> Result<Steps> {
        let path = self.ground.storage.display_path(MANIFEST_PATH);
        let refuse = |why: &str| Err(Error::MissingFile { path: path.clone(), why: why.into() });
        let mut manifest = Manifest::new(self.ground.options.store_id);
        let mut frames = false;
        for (at, name) in found.iter().enumerate() {
            if name.generation != 0 || name.id.0 != at as u64 + 1 {
                return refuse("and the segments are not the first ones of a log");
            }
            let file = self.ground.open_segment(*name, OpenMode::Read)?;
            let len_bytes = self.ground.len_of(*name, file.as_ref())?;
            manifest.list(ListedSegment { name: *name, len_bytes, sealed: None });
            frames |= self.ground.look_ahead(*name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any;
        }
        if !frames && vouched > Lsn::ZERO {
            return refuse("and so are the frames that the index speaks of");
        }
        if frames {
            let tail = self.ground.scan(&manifest, vouched)?;
            let whole = tail.last_good > Lsn::ZERO && tail.proven <= tail.last_good && tail.blank_behind;
            if !whole {
                return refuse("and the log is not complete from its first frame on");
            }
            if self.writes() {
                manifest.replace(self.ground.storage.as_ref())?;
            }
            return self.recover(manifest, Vec::new(), tail, Vec::new(), SettledGone::default());
        }
        self.report.created = true;
        if !self.writes() {
            return Ok(Steps {
                manifest: Manifest::new(self.ground.options.store_id),
                segments: Vec::new(),
                next: Lsn(1),
                durable: Lsn::ZERO,
                end: Lsn::ZERO,
                clean: false,
                crash: None,
            });
        }
        for name in found.iter().skip(1) {
            self.remove(&name.path())?;
        }
        let ground = Ground::new(self.ground.storage.clone(), self.ground.options.clone());
        let (log, open) = Log::create_on(ground)?;
        let manifest = log.manifest.lock().clone();
        let segments = vec![open];
        Ok(Steps { manifest, segments, next: Lsn(1), durable: Lsn::ZERO, end: Lsn::ZERO, clean: false, crash: None })
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        match self.ground.storage.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(self.ground.io("remove", path, error)),
            _ => {
                self.report.removed.push(path.to_owned());
                Ok(())
            }
        }
    }

    /// Segments that MANIFEST does not list. Returns those to delete; those with frames that come next in order are
    /// listed.
    fn sort_out(&mut self, manifest: &mut Manifest, found: &[SegmentName]) -> Result<Vec<String>> {
        let mut delete = Vec::new();
        let newest = manifest.segments.last().map_or(SegmentId(0), |segment| segment.name.id);
        let mut next = newest.0 + 1;
        for name in found {
            if manifest.segments.iter().any(|segment| segment.name == *name) {
                continue;
            }
            let file = self.ground.open_segment(*name, OpenMode::Read)?;
            let len_bytes = self.ground.len_of(*name, file.as_ref())?;
            if name.generation == 0 && name.id > newest {
                let frames = self.ground.look_ahead(*name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any;
                if !frames {
                    delete.push(name.path());
                } else if name.id.0 == next {
                    // MANIFEST is older than the copy.
                    manifest.list(ListedSegment { name: *name, len_bytes, sealed: None });
                    next += 1;
                } else {
                    return Err(self.ground.chain(*name, &format!("segment {next} before it"), "a gap"));
                }
                continue;
            }
            let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.ground.options.store_id)
                .map_err(|error| self.ground.io("read", &name.path(), error))?;
            let covered = footer.is_some_and(|(footer, _)| footer.last <= manifest.sealed_last());
            if !covered {
                let expected = "a segment that MANIFEST lists, or whose range it covers";
                return Err(self.ground.chain(*name, expected, "neither"));
            }
            delete.push(name.path());
        }
        Ok(delete)
    }

    /// Checks that sealed segments match MANIFEST.
    fn check_sealed(&mut self, manifest: &Manifest) -> Result<Vec<Arc<Segment>>> {
        let mut sealed = Vec::new();
        for listed in &manifest.segments {
            if listed.sealed.is_none() {
                continue;
            }
            match self.check_one_sealed(listed) {
                Ok(segment) => sealed.push(segment),
                Err(Error::UnsupportedFormat { path, found, supported }) => {
                    return Err(Error::UnsupportedFormat { path, found, supported });
                }
                Err(error) if !self.writes() => {
                    let path = self.ground.storage.display_path(&listed.name.path());
                    let why = match error {
                        Error::MissingFile { why, .. } => why,
                        Error::NotAFile { found, .. } => format!("it is {found}"),
                        error => error.to_string(),
                    };
                    let range = listed.sealed.map(|range| (range.first, range.last));
                    let (first, last) = range.unzip();
                    let first = first.unwrap_or_default();
                    self.report.missing.push(Missing::new(path, MissingKind::Segment, why, first, last));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sealed)
    }

    fn check_one_sealed(&self, listed: &ListedSegment) -> Result<Arc<Segment>> {
        let name = listed.name;
        let Some(range) = listed.sealed else {
            return Err(Error::Internal(format!("{name} is not sealed")));
        };
        let file = self.ground.open_segment(name, OpenMode::Read)?;
        let len_bytes = self.ground.len_of(name, file.as_ref())?;
        if len_bytes != listed.len_bytes {
            let path = self.ground.storage.display_path(&name.path());
            return Err(Error::MissingFile { path, why: format!("{len_bytes} bytes, not {}", listed.len_bytes) });
        }
        if self.ground.header_of(name, file.as_ref(), len_bytes)?.is_none() {
            return Err(self.ground.chain(name, "a segment header", "other bytes"));
        }
        let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.ground.options.store_id)
            .map_err(|error| self.ground.io("read", &name.path(), error))?;
        let Some((content, footer_crc)) = footer else {
            return Err(self.ground.chain(name, "a footer", "other bytes"));
        };
        if (content.first, content.last, footer_crc) != (range.first, range.last, range.footer_crc) {
            let expected = format!("{}..={}", range.first, range.last);
            return Err(self.ground.chain(name, &expected, &format!("{}..={}", content.first, content.last)));
        }
        // A read-only open cannot keep files from being removed, so it holds them open.
        let held = !self.writes();
        let segment = Segment::new(SegmentParts {
            name,
            storage: self.ground.storage.clone(),
            file: held.then_some(file),
            write_map: None,
            use_map: self.ground.maps(),
            capacity_bytes: content.frames_end_bytes,
            content,
            finished: true,
        });
        if held {
            segment.hold()?;
        }
        Ok(Arc::new(segment))
    }

    /// Acts on the result of the scan.
    fn recover(
        &mut self,
        manifest: Manifest,
        sealed: Vec<Arc<Segment>>,
        tail: Tail,
        unlisted: Vec<String>,
        gone: SettledGone,
    ) -> Result<Steps> {
        let (end, proven) = (tail.last_good, tail.proven);
        self.report.torn = tail.torn;
        if gone.accepted {
            // Nothing says what the missing segment held: everything that it can have held is lost.
            self.report.lost = Some((end.next(), Lsn(number_behind(&manifest, &tail).0 - 1)));
        } else if proven > end {
            let lost = (end.next(), proven);
            if self.access == Access::ReadWrite {
                return Err(self.ground.lost(&tail, lost));
            }
            self.report.lost = Some(lost);
        }
        let closing = tail.end_index.and_then(|at| tail.segments.get(at)).and_then(|segment| segment.last_kind);
        let jump_behind = manifest.jump_behind(end).is_some();
        let clean =
            closing == Some(FrameKind::Close) && tail.blank_behind && !jump_behind && proven <= end && !gone.accepted;
        self.report.closed_cleanly = clean;
        if !self.writes() {
            let mut segments = sealed;
            for segment in &tail.segments {
                if segment.content.frames_count > 0 {
                    segments.push(Arc::new(self.handle(segment, segment.len_bytes)));
                }
            }
            let (next, durable) = (manifest.after(end), proven.min(end));
            return Ok(Steps { manifest, segments, next, durable, end, clean, crash: None });
        }
        self.remove_leftovers(&unlisted)?;
        if clean {
            if gone.unlisted {
                // Before anything is appended: then nothing could tell any more that it was not used. After a crash the
                // note does it: the numbers that the segment could have held must be noted with it.
                manifest.replace(self.ground.storage.as_ref())?;
            }
            return self.go_on(manifest, sealed, tail);
        }
        let mut segments = sealed;
        for segment in tail.segments.iter().take(tail.end_index.map_or(0, |at| at + 1)) {
            // It gets no more appends.
            segments.push(Arc::new(self.handle(segment, segment.content.frames_end_bytes)));
        }
        let (next, durable) = (manifest.after(end), proven.min(end));
        let crash = Some(Crash { access: self.access, manifest: manifest.clone(), tail });
        Ok(Steps { manifest, segments, next, durable, end, clean, crash })
    }

    fn remove_leftovers(&mut self, unlisted: &[String]) -> Result<()> {
        let mut in_log = unlisted.to_vec();
        let entries = self.ground.storage.list(LOG_DIR).map_err(|error| self.ground.io("list", LOG_DIR, error))?;
        let tmp = entries.iter().filter(|entry| !entry.is_dir && entry.name.ends_with(".tmp"));
        in_log.extend(tmp.map(|entry| format!("{LOG_DIR}/{}", entry.name)));
        for path in &in_log {
            self.remove(path)?;
        }
        if !in_log.is_empty() {
            self.ground.sync_log_dir()?;
        }
        match self.ground.storage.remove(MANIFEST_TMP_PATH) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| self.ground.io("remove", MANIFEST_TMP_PATH, error)),
        }
    }

    /// Writes every good frame above `D` again, in place, and syncs it.
    fn rewrite(&mut self, tail: &Tail) -> Result<()> {
        if mutant::left_out(Rule::Rewrite) {
            return Ok(());
        }
        // If a loss is accepted, nothing counts as proven.
        let proven = if self.report.lost.is_some() { Lsn::ZERO } else { tail.proven };
        let mut pieces = Vec::new();
        for segment in &tail.segments {
            if segment.content.frames_count > 0 && segment.content.last > proven {
                pieces.push((segment, self.ground.first_above(segment, proven)?));
            }
        }
        let bytes = pieces.iter().map(|(segment, from)| segment.content.frames_end_bytes - from).sum();
        // In any order, because nothing is noted before all of it is durable.
        beside::each(&pieces, bytes, |(segment, from)| rewrite_frames(&self.ground, segment, *from))?;
        self.report.rewritten_bytes += bytes;
        Ok(())
    }

    /// After a clean close: continues in the same segment.
    fn go_on(&mut self, manifest: Manifest, sealed: Vec<Arc<Segment>>, tail: Tail) -> Result<Steps> {
        self.rewrite(&tail)?;
        let end = tail.last_good;
        let mut segments = sealed;
        let last = tail.end_index.unwrap_or(0);
        for (at, segment) in tail.segments.iter().enumerate().take(last + 1) {
            if at < last {
                segments.push(Arc::new(self.handle(segment, segment.len_bytes)));
                continue;
            }
            let name = segment.listed.name;
            let mut write_map = None;
            if self.ground.options.mmap && self.ground.storage.can_map_writes() {
                let path = name.path();
                let file = self.ground.open_segment(name, OpenMode::ReadWrite)?;
                // A copy of the store may have holes where the original had blocks.
                match file.allocate(segment.len_bytes) {
                    Ok(()) => write_map = self.ground.write_map(file.as_ref(), &path, segment.len_bytes)?,
                    Err(error) if Error::io("allocate", &path, std::io::Error::from(error.kind())).is_full() => {}
                    Err(error) => return Err(self.ground.io("allocate", &path, error)),
                }
            }
            let file = self.ground.open_segment(name, OpenMode::ReadWrite)?;
            segments.push(Arc::new(self.handle_with(segment, segment.len_bytes, file, write_map)));
        }
        Ok(Steps { next: manifest.after(end), manifest, segments, durable: end, end, clean: true, crash: None })
    }

    /// A handle for reading a segment of the tail.
    fn handle(&self, segment: &TailSegment, capacity_bytes: u64) -> Segment {
        self.handle_with(segment, capacity_bytes, segment.file.clone(), None)
    }

    /// A handle for reading and appending to a segment of the tail.
    fn handle_with(
        &self,
        segment: &TailSegment,
        capacity_bytes: u64,
        file: Arc<dyn StorageFile>,
        write_map: Option<Arc<dyn crate::storage::Map>>,
    ) -> Segment {
        Segment::new(SegmentParts {
            name: segment.listed.name,
            storage: self.ground.storage.clone(),
            file: Some(file),
            write_map,
            use_map: self.ground.maps(),
            capacity_bytes: capacity_bytes / FRAME_ALIGN_BYTES as u64 * FRAME_ALIGN_BYTES as u64,
            content: segment.content.clone(),
            finished: false,
        })
    }

    /// After a crash: rewrite > note > cut > finish. `segments` are the log's handles; the last ones belong to what the
    /// tail keeps. Returns the new MANIFEST, the segment to append to, and the next Lsn.
    fn after_crash(
        &mut self,
        mut manifest: Manifest,
        segments: &[Arc<Segment>],
        tail: &Tail,
    ) -> Result<(Manifest, Arc<Segment>, Lsn)> {
        let end = tail.last_good;
        let storage = self.ground.storage.clone();
        let note_first = mutant::left_out(Rule::NoteAfterRewrite);
        if !note_first {
            self.rewrite(tail)?;
        }
        // Note.
        let next = number_behind(&manifest, tail);
        let jump = Jump { kept: end, next };
        if let Some((first, last)) = self.report.lost {
            // Noted before, if an earlier open was interrupted here.
            manifest.losses.retain(|loss| *loss != (first, last));
            manifest.losses.push((first, last));
            manifest.jumps.retain(|jump| jump.kept < end);
        }
        manifest.jumps.retain(|jump| jump.kept != end);
        manifest.jumps.push(jump);
        if !mutant::left_out(Rule::Note) {
            manifest.replace(storage.as_ref())?;
        }
        self.report.jump = Some(jump);
        if note_first {
            self.rewrite(tail)?;
        }
        // Cut.
        let kept_count = tail.end_index.map_or(0, |at| at + 1);
        let mut log_bytes: u64 =
            manifest.segments.iter().filter(|listed| listed.sealed.is_some()).map(|s| s.len_bytes).sum();
        for (at, segment) in tail.segments.iter().enumerate().skip(kept_count.saturating_sub(1)) {
            // Even if the length looks right already: an earlier open's sync may have failed.
            let len_bytes = if at < kept_count { segment.content.frames_end_bytes } else { 0 };
            let path = segment.listed.name.path();
            let file = self.ground.open_segment(segment.listed.name, OpenMode::ReadWrite)?;
            file.set_len(len_bytes).map_err(|error| self.ground.io("cut", &path, error))?;
            file.sync_all().map_err(|error| self.ground.io("fsync", &path, error))?;
        }
        // Finish, oldest first.
        let kept = segments.get(segments.len().saturating_sub(kept_count)..).unwrap_or_default();
        for handle in kept {
            let listed = self.ground.write_footer(handle)?;
            log_bytes += listed.len_bytes;
            if let Some(entry) = manifest.find_mut(listed.name) {
                *entry = listed;
            }
            handle.set_finished();
        }
        let emptied = tail.segments.get(kept_count).map(|segment| segment.listed.name);
        // Continue in an emptied segment, else in a new one.
        let newest = manifest.segments.last().map_or(0, |segment| segment.name.id.0);
        let name = emptied.unwrap_or(SegmentName::appended(SegmentId(newest + 1)));
        let capacity_bytes = self.ground.capacity_for(log_bytes);
        let open = self.ground.make_segment(name, capacity_bytes, ZeroFill::Waiting).or_else(|error| {
            // On a full disk deletes and compaction must work, because they free space.
            let least = SEGMENT_BYTES_LEAST.min(capacity_bytes);
            if error.is_full() { self.ground.make_segment(name, least, ZeroFill::Waiting) } else { Err(error) }
        })?;
        if emptied.is_none() {
            self.ground.sync_log_dir()?;
            manifest.list(ListedSegment { name, len_bytes: capacity_bytes, sealed: None });
        }
        if kept_count > 0 || emptied.is_none() {
            manifest.prune_jumps();
            manifest.replace(storage.as_ref())?;
        }
        let next = if mutant::left_out(Rule::Jump) { end.next() } else { next };
        Ok((manifest, Arc::new(open), next))
    }
}

/// The result of an open.
struct Steps {
    manifest: Manifest,
    segments: Vec<Arc<Segment>>,
    next: Lsn,
    durable: Lsn,
    end: Lsn,
    clean: bool,
    /// What is still to be done on disk; then the last segment is not open.
    crash: Option<Crash>,
}

/// Writes the good frames of a segment again, in place, from an offset on, and syncs them.
pub(super) fn rewrite_frames(ground: &Ground, segment: &TailSegment, from: u64) -> Result<()> {
    let name = segment.listed.name;
    let path = name.path();
    let io = |op, error| ground.io(op, &path, error);
    let file = ground.open_segment(name, OpenMode::ReadWrite)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < segment.content.frames_end_bytes {
        let count = (segment.content.frames_end_bytes - at).min(CHUNK_BYTES as u64);
        let Some(chunk) = buffer.get_mut(..count as usize) else { break };
        read_exact_at(file.as_ref(), chunk, at).map_err(|error| io("read", error))?;
        write_all_at(file.as_ref(), chunk, at).map_err(|error| io("write", error))?;
        at += count;
    }
    // The length too, because nothing says that it is durable.
    file.sync_all().map_err(|error| io("fsync", error))
}
