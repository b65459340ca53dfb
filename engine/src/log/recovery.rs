//! Open: what is found on disk, what it means, and what is done about it.
//!
//! `D`, the proven position: the largest Lsn that anything valid says was synced: `unsynced` of any valid frame header,
//! also behind a bad frame; footers; MANIFEST (ranges, and what its jumps say was kept); and what the caller vouches
//! for (index, series files, search.snap). All of these are written only after the sync that they speak of.
//!
//! All segments without a range in MANIFEST are one tail. It is scanned: a frame is good if both crcs are, and its Lsn
//! is one above the last (or the one that a jump behind the last notes). `g` is the last good Lsn, `b` the place behind.
//!
//! | found | means | read-write open |
//! |---|---|---|
//! | `D > g` | an acknowledged frame is gone | refuse: `Corrupt`; nothing is written |
//! | a close frame ends the tail, nothing behind it, no jump noted | closed | write again what lies above `D`; go on |
//! | else | a crash | rewrite > note > cut > finish, go on in the next segment |
//! | no MANIFEST, no frame; or frames complete from Lsn 1 | creation was cut | create; or write it |
//! | no MANIFEST otherwise, or a bad one | damage | refuse |
//! | a listed file missing, a sealed one of other length | damage | refuse `MissingFile` |
//! | a sealed header or footer not as listed; bad header over frames | damage, foreign file | refuse |
//! | unlisted, next ordinals, no frame / frames | preparing was cut / an older MANIFEST | delete / keep and list |
//! | other unlisted segment, range covered / not | before or after a swap / damage | delete / refuse |
//! | `*.tmp` | never the truth | delete |
//!
//! After a crash, each step durable before the next, each may be repeated: **rewrite** every good frame above `D` in
//! place (after a failed sync the page cache shows frames that the disk does not have); **note** in MANIFEST what is
//! kept and the number to go on with, above all that the tail could have held (somebody may have seen those numbers);
//! **cut** all behind `b`, and later segments to nothing (a dropped frame must not come back to life); **finish** what
//! keeps frames: footers, oldest first, then their ranges.
//!
//! A read-only open writes nothing. It serves what is good, and says what is missing.

use std::sync::Arc;

use super::frame::{FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use super::ground::{Ground, ZeroFill};
use super::manifest::{Jump, ListedSegment, MANIFEST_PATH, MANIFEST_TMP_PATH, Manifest};
use super::mutant::{self, Rule};
use super::segment::{
    Footer, HeaderFound, LOG_DIR, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, Segment, SegmentName, SegmentParts,
    check_header, push_index,
};
use super::writer::LogTail;
use super::{Log, room_bytes};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId};
use crate::storage::{OpenMode, StorageFile, read_exact_at, write_all_at};

const CHUNK_BYTES: usize = 256 << 10;
/// A reader beside a live writer may catch a half-copied frame, or a MANIFEST that was just replaced.
const READ_ONLY_TRIES: usize = 5;

/// What an open may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Recover on disk, then append. The caller holds the store's lock.
    ReadWrite,
    /// Write nothing.
    ReadOnly,
    /// As `ReadWrite`, but where acknowledged frames at the end are gone, note the loss in MANIFEST and go on above
    /// it. Only when a user says so.
    AcceptLoss,
}

/// What an open found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The log was made by this open.
    pub created: bool,
    /// It had been closed.
    pub closed_cleanly: bool,
    /// Bytes of good frames that were written again.
    pub rewritten_bytes: u64,
    /// The numbers that were skipped.
    pub jump: Option<Jump>,
    /// Files that were removed.
    pub removed: Vec<String>,
    /// Names that are none of ours; left alone.
    pub ignored: Vec<String>,
    /// Read-only: segments that are missing or unlike MANIFEST; the log is incomplete.
    pub missing: Vec<String>,
    /// Acknowledged frames that are gone from the end: served without them (read-only), or accepted.
    pub lost: Option<(Lsn, Lsn)>,
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
    /// The last durable Lsn; less than `end` only if read-only.
    pub durable: Lsn,
    /// What happened.
    pub report: OpenReport,
}

pub(super) fn open(ground: Ground, vouched: Lsn, access: Access) -> Result<OpenedLog> {
    if access != Access::ReadOnly {
        return Opening { ground, access, report: OpenReport::default() }.open(vouched).map_err(|(_, error)| error);
    }
    let mut opening = Opening { ground, access, report: OpenReport::default() };
    for _ in 1..READ_ONLY_TRIES {
        match opening.open(vouched) {
            Ok(opened) if opened.report.lost.is_none() && opened.report.missing.is_empty() => return Ok(opened),
            Ok(opened) => {
                let log = &opened.log.ground;
                let ground = Ground::new(log.storage.clone(), log.options.clone());
                opening = Opening { ground, access, report: OpenReport::default() };
            }
            Err((ground, _)) => opening = Opening { ground: *ground, access, report: OpenReport::default() },
        }
    }
    opening.open(vouched).map_err(|(_, error)| error)
}

struct Opening {
    ground: Ground,
    access: Access,
    report: OpenReport,
}

/// A segment of the tail, scanned.
struct TailSegment {
    listed: ListedSegment,
    file: Arc<dyn StorageFile>,
    len_bytes: u64,
    header_good: bool,
    /// Its good frames.
    content: Footer,
    /// Kind of the last good one.
    last_kind: Option<FrameKind>,
}

/// The whole tail.
struct Tail {
    segments: Vec<TailSegment>,
    /// Index of the segment in which the good frames end; `None` if there are none.
    end_index: Option<usize>,
    /// `g`.
    last_good: Lsn,
    /// `D`.
    proven: Lsn,
    /// Nothing but zeros lies behind the last good frame.
    blank_behind: bool,
}

impl Opening {
    fn open(mut self, vouched: Lsn) -> Result<OpenedLog, (Box<Ground>, Error)> {
        match self.steps(vouched) {
            Ok(Steps { manifest, segments, next, durable, end, clean }) => {
                let writable = self.access != Access::ReadOnly;
                let log = Log::new(self.ground, manifest, segments, end, writable);
                log.durable.store(durable.0, std::sync::atomic::Ordering::Release);
                let tail = match (writable, log.shape().segments.last()) {
                    (true, Some(open)) => LogTail::new(log.clone(), open.clone(), next, clean).map(Some),
                    _ => Ok(None),
                };
                match tail {
                    Ok(tail) => Ok(OpenedLog { log, tail, end, durable, report: self.report }),
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
            // After the death of a process the names that this open sees need not be durable yet.
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
        let mut tail = self.scan(&manifest, vouched)?;
        if !self.writes() && tail.proven > tail.last_good {
            // Perhaps a writer went on while this open was looking: then what was vouched for is there now.
            let missed = tail.proven;
            tail = self.scan(&manifest, vouched)?;
            if tail.last_good >= missed {
                tail.proven = tail.proven.min(tail.last_good);
            }
        }
        self.recover(manifest, sealed, tail, unlisted)
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

    /// No MANIFEST: a creation that was cut, or damage.
    fn without_manifest(&mut self, found: Vec<SegmentName>, vouched: Lsn) -> Result<Steps> {
        let path = self.ground.storage.display_path(MANIFEST_PATH);
        let refuse = |why: &str| Err(Error::MissingFile { path: path.clone(), why: why.into() });
        let mut manifest = Manifest::new(self.ground.options.store_id);
        let mut frames = false;
        for (at, name) in found.iter().enumerate() {
            if name.generation != 0 || name.id.0 != at as u64 + 1 {
                return refuse("and the segments are not the first ones of a log");
            }
            let file = self.open_segment(*name, OpenMode::Read)?;
            let len_bytes = self.len_of(*name, file.as_ref())?;
            manifest.list(ListedSegment { name: *name, len_bytes, sealed: None });
            frames |= self.look_ahead(*name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any;
        }
        if !frames && vouched > Lsn::ZERO {
            return refuse("and so are the frames that the index speaks of");
        }
        if frames {
            let tail = self.scan(&manifest, vouched)?;
            let whole = tail.last_good > Lsn::ZERO && tail.proven <= tail.last_good && tail.blank_behind;
            if !whole {
                return refuse("and the log is not complete from its first frame on");
            }
            if self.writes() {
                manifest.replace(self.ground.storage.as_ref())?;
            }
            return self.recover(manifest, Vec::new(), tail, Vec::new());
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
            });
        }
        for name in found.iter().skip(1) {
            self.remove(&name.path())?;
        }
        let ground = Ground::new(self.ground.storage.clone(), self.ground.options.clone());
        let (log, open) = Log::create_on(ground)?;
        let manifest = log.manifest.lock().clone();
        let segments = vec![open];
        Ok(Steps { manifest, segments, next: Lsn(1), durable: Lsn::ZERO, end: Lsn::ZERO, clean: false })
    }

    fn open_segment(&self, name: SegmentName, mode: OpenMode) -> Result<Arc<dyn StorageFile>> {
        let path = name.path();
        self.ground.storage.open(&path, mode).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::MissingFile { path: self.ground.storage.display_path(&path), why: "MANIFEST lists it".into() }
            }
            _ => self.ground.io("open", &path, error),
        })
    }

    fn len_of(&self, name: SegmentName, file: &dyn StorageFile) -> Result<u64> {
        file.len().map_err(|error| self.ground.io("read the length", &name.path(), error))
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

    fn chain(&self, name: SegmentName, expected: &str, found: &str) -> Error {
        let path = self.ground.storage.display_path(&name.path());
        Error::corrupt(path, 0, "chain of segments", expected, found)
    }

    /// Segments that MANIFEST does not list: those to delete. Those with frames, next in order, are listed.
    fn sort_out(&mut self, manifest: &mut Manifest, found: &[SegmentName]) -> Result<Vec<String>> {
        let mut delete = Vec::new();
        let newest = manifest.segments.last().map_or(SegmentId(0), |segment| segment.name.id);
        let mut next = newest.0 + 1;
        for name in found {
            if manifest.segments.iter().any(|segment| segment.name == *name) {
                continue;
            }
            let file = self.open_segment(*name, OpenMode::Read)?;
            let len_bytes = self.len_of(*name, file.as_ref())?;
            if name.generation == 0 && name.id > newest {
                let frames = self.look_ahead(*name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any;
                if !frames {
                    delete.push(name.path());
                } else if name.id.0 == next {
                    // MANIFEST is older than the copy.
                    manifest.list(ListedSegment { name: *name, len_bytes, sealed: None });
                    next += 1;
                } else {
                    return Err(self.chain(*name, &format!("segment {next} before it"), "a gap"));
                }
                continue;
            }
            let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.ground.options.store_id)
                .map_err(|error| self.ground.io("read", &name.path(), error))?;
            let covered = footer.is_some_and(|(footer, _)| footer.last <= manifest.sealed_last());
            if !covered {
                let expected = "a segment that MANIFEST lists, or whose range it covers";
                return Err(self.chain(*name, expected, "neither"));
            }
            delete.push(name.path());
        }
        Ok(delete)
    }

    /// Sealed segments, as MANIFEST says they are.
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
                Err(_) if !self.writes() => self.report.missing.push(listed.name.path()),
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
        let file = self.open_segment(name, OpenMode::Read)?;
        let len_bytes = self.len_of(name, file.as_ref())?;
        if len_bytes != listed.len_bytes {
            let path = self.ground.storage.display_path(&name.path());
            return Err(Error::MissingFile { path, why: format!("{len_bytes} bytes, not {}", listed.len_bytes) });
        }
        if !self.header_of(name, file.as_ref(), len_bytes)? {
            return Err(self.chain(name, "a segment header", "other bytes"));
        }
        let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.ground.options.store_id)
            .map_err(|error| self.ground.io("read", &name.path(), error))?;
        let Some((content, footer_crc)) = footer else {
            return Err(self.chain(name, "a footer", "other bytes"));
        };
        if (content.first, content.last, footer_crc) != (range.first, range.last, range.footer_crc) {
            let expected = format!("{}..={}", range.first, range.last);
            return Err(self.chain(name, &expected, &format!("{}..={}", content.first, content.last)));
        }
        Ok(Arc::new(Segment::new(SegmentParts {
            name,
            storage: self.ground.storage.clone(),
            file: None,
            write_map: None,
            use_map: self.ground.maps(),
            capacity_bytes: content.frames_end_bytes,
            content,
            finished: true,
        })))
    }

    /// Whether a segment has its header. Foreign and newer ones are errors.
    fn header_of(&self, name: SegmentName, file: &dyn StorageFile, len_bytes: u64) -> Result<bool> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        if len_bytes < SEGMENT_HEADER_BYTES {
            return Ok(false);
        }
        read_exact_at(file, &mut bytes, 0).map_err(|error| self.ground.io("read", &name.path(), error))?;
        match check_header(&bytes, name, self.ground.options.store_id) {
            HeaderFound::Good => Ok(true),
            HeaderFound::Bad => Ok(false),
            HeaderFound::Foreign { store, name: other } => {
                Err(self.chain(name, "the header of this segment", &format!("{other} of store {store}")))
            }
            HeaderFound::Newer(found) => Err(Error::UnsupportedFormat {
                path: self.ground.storage.display_path(&name.path()),
                found,
                supported: SEGMENT_VERSION,
            }),
        }
    }

    /// Scans the tail: good frames, the proven position, what lies behind.
    fn scan(&self, manifest: &Manifest, vouched: Lsn) -> Result<Tail> {
        let mut last_good = manifest.sealed_last();
        let mut proven = vouched.max(last_good);
        let kept = manifest.jumps.iter().map(|jump| jump.kept);
        let released = manifest.series_files.iter().map(|file| file.last);
        proven = kept.chain(released).fold(proven, Lsn::max);
        let (mut segments, mut end_index, mut broken) = (Vec::new(), None, false);
        for listed in manifest.segments.iter().filter(|listed| listed.sealed.is_none()) {
            let name = listed.name;
            let file = match self.open_segment(name, OpenMode::Read) {
                Err(Error::MissingFile { .. }) if !self.writes() => break,
                opened => opened?,
            };
            let len_bytes = self.len_of(name, file.as_ref())?;
            let header_good = self.header_of(name, file.as_ref(), len_bytes)?;
            if !header_good && self.look_ahead(name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any {
                return Err(self.chain(name, "a segment header over frames", "other bytes"));
            }
            let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.ground.options.store_id)
                .map_err(|error| self.ground.io("read", &name.path(), error))?;
            // Written only after the frames were synced.
            proven = footer.map_or(proven, |(footer, _)| proven.max(footer.last));
            let content = Footer::none();
            let mut segment = TailSegment { listed: *listed, file, len_bytes, header_good, content, last_kind: None };
            if header_good && !broken {
                self.scan_frames(manifest, &mut segment, &mut last_good, &mut proven)?;
            }
            if segment.content.frames_count == 0 {
                broken = true;
            } else {
                end_index = Some(segments.len());
            }
            segments.push(segment);
        }
        let mut tail = Tail { segments, end_index, last_good, proven, blank_behind: true };
        self.look_behind(&mut tail)?;
        Ok(tail)
    }

    fn scan_frames(
        &self,
        manifest: &Manifest,
        segment: &mut TailSegment,
        last_good: &mut Lsn,
        proven: &mut Lsn,
    ) -> Result<()> {
        let path = segment.listed.name.path();
        let mut chunks = Chunks::new(segment.file.as_ref(), segment.len_bytes);
        let mut at = SEGMENT_HEADER_BYTES;
        while segment.len_bytes.saturating_sub(at) >= FRAME_HEADER_BYTES as u64 {
            let bytes = chunks.read(at, FRAME_HEADER_BYTES).map_err(|error| self.ground.io("read", &path, error))?;
            let header = bytes.first_chunk().and_then(|bytes| FrameHeader::decode(bytes, &self.ground.crc));
            let Some(header) = header else { break };
            if header.padded_bytes() > segment.len_bytes - at || header.lsn != manifest.after(*last_good) {
                break;
            }
            let frame =
                chunks.read(at, header.len_bytes as usize).map_err(|error| self.ground.io("read", &path, error))?;
            let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            if Crc32::of(payload).0 != header.payload_crc {
                break;
            }
            *proven = (*proven).max(header.vouched());
            if mutant::left_out(Rule::CloseVouchesForNothing) && header.kind == FrameKind::Close {
                *proven = (*proven).max(header.lsn);
            }
            *last_good = header.lsn;
            let content = &mut segment.content;
            if content.frames_count == 0 {
                content.first = header.lsn;
            }
            push_index(&mut content.index, header.lsn, at);
            content.last = header.lsn;
            content.frames_count += 1;
            at += header.padded_bytes();
            content.frames_end_bytes = at;
            segment.last_kind = Some(header.kind);
        }
        Ok(())
    }

    /// Looks for valid headers behind the good frames, and whether anything at all is there.
    fn look_behind(&self, tail: &mut Tail) -> Result<()> {
        let first = tail.end_index.unwrap_or(0);
        for segment in tail.segments.iter().skip(first) {
            let ends_here = segment.content.frames_count > 0;
            let from = match (ends_here, segment.header_good) {
                (true, _) => segment.content.frames_end_bytes,
                (false, true) => SEGMENT_HEADER_BYTES,
                (false, false) => 0,
            };
            let name = segment.listed.name;
            let seen = self.look_ahead(name, segment.file.as_ref(), from, segment.len_bytes, tail.last_good)?;
            tail.blank_behind &= seen.blank;
            if !mutant::left_out(Rule::LookAhead) {
                tail.proven = tail.proven.max(seen.vouched);
            }
        }
        Ok(())
    }

    /// Tests each place where a frame could begin. Frames up to `last_good` say nothing.
    fn look_ahead(
        &self,
        name: SegmentName,
        file: &dyn StorageFile,
        from: u64,
        len_bytes: u64,
        last_good: Lsn,
    ) -> Result<Seen> {
        let mut seen = Seen { blank: true, any: false, vouched: Lsn::ZERO };
        let mut buffer = vec![0; CHUNK_BYTES + FRAME_HEADER_BYTES];
        let mut at = from;
        while at < len_bytes {
            let count = (len_bytes - at).min(buffer.len() as u64) as usize;
            let Some(chunk) = buffer.get_mut(..count) else { break };
            read_exact_at(file, chunk, at).map_err(|error| self.ground.io("read", &name.path(), error))?;
            let step = CHUNK_BYTES.min(count);
            if chunk.iter().any(|byte| *byte != 0) {
                seen.blank = false;
                for place in (0..step).step_by(FRAME_ALIGN_BYTES) {
                    let Some(bytes) = chunk.get(place..).and_then(|rest| rest.first_chunk()) else { break };
                    let Some(header) = FrameHeader::decode(bytes, &self.ground.crc) else { continue };
                    if header.lsn > last_good {
                        seen.any = true;
                        seen.vouched = seen.vouched.max(header.vouched());
                    }
                }
            }
            at += step as u64;
        }
        Ok(seen)
    }

    /// Acts on what was found.
    fn recover(
        &mut self,
        manifest: Manifest,
        sealed: Vec<Arc<Segment>>,
        tail: Tail,
        unlisted: Vec<String>,
    ) -> Result<Steps> {
        let (end, proven) = (tail.last_good, tail.proven);
        if proven > end {
            let lost = (end.next(), proven);
            if self.access == Access::ReadWrite {
                return Err(self.lost(&tail, lost));
            }
            self.report.lost = Some(lost);
        }
        let closing = tail.end_index.and_then(|at| tail.segments.get(at)).and_then(|segment| segment.last_kind);
        let jump_behind = manifest.jump_behind(end).is_some();
        let clean = closing == Some(FrameKind::Close) && tail.blank_behind && !jump_behind && proven <= end;
        self.report.closed_cleanly = clean;
        if !self.writes() {
            let mut segments = sealed;
            for segment in tail.segments {
                if segment.content.frames_count > 0 {
                    segments.push(Arc::new(self.handle(segment, false, None)?));
                }
            }
            let (next, durable) = (manifest.after(end), proven.min(end));
            return Ok(Steps { manifest, segments, next, durable, end, clean });
        }
        self.remove_leftovers(&unlisted)?;
        if clean { self.go_on(manifest, sealed, tail) } else { self.after_crash(manifest, sealed, tail) }
    }

    fn lost(&self, tail: &Tail, (first, last): (Lsn, Lsn)) -> Error {
        let (name, at) = match tail.end_index.and_then(|at| tail.segments.get(at)) {
            Some(segment) => (segment.listed.name.path(), segment.content.frames_end_bytes),
            None => {
                let name = tail.segments.first().map_or(MANIFEST_PATH.to_owned(), |first| first.listed.name.path());
                (name, SEGMENT_HEADER_BYTES)
            }
        };
        let path = self.ground.storage.display_path(&name);
        let expected = format!("the acknowledged positions {first} to {last}");
        Error::corrupt(path, at, "end of the log", expected, "no valid frame")
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
        for segment in &tail.segments {
            // Where a loss is accepted, what seemed proven is not.
            let proven = if self.report.lost.is_some() { Lsn::ZERO } else { tail.proven };
            if segment.content.frames_count == 0 || segment.content.last <= proven {
                continue;
            }
            let name = segment.listed.name;
            let path = name.path();
            let io = |op, error| self.ground.io(op, &path, error);
            let from = self.first_above(segment, proven)?;
            let file = self.open_segment(name, OpenMode::ReadWrite)?;
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut at = from;
            while at < segment.content.frames_end_bytes {
                let count = (segment.content.frames_end_bytes - at).min(CHUNK_BYTES as u64);
                let Some(chunk) = buffer.get_mut(..count as usize) else { break };
                read_exact_at(file.as_ref(), chunk, at).map_err(|error| io("read", error))?;
                write_all_at(file.as_ref(), chunk, at).map_err(|error| io("write", error))?;
                at += count;
            }
            // The length too: nothing says that it is durable.
            file.sync_all().map_err(|error| io("fsync", error))?;
            self.report.rewritten_bytes += segment.content.frames_end_bytes - from;
        }
        Ok(())
    }

    /// Where the first good frame above a Lsn begins.
    fn first_above(&self, segment: &TailSegment, lsn: Lsn) -> Result<u64> {
        let index = &segment.content.index;
        let behind = index.partition_point(|entry| entry.lsn <= lsn);
        let entry = behind.checked_sub(1).and_then(|at| index.get(at));
        let mut at = entry.map_or(SEGMENT_HEADER_BYTES, |entry| entry.offset_bytes);
        while at < segment.content.frames_end_bytes {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            read_exact_at(segment.file.as_ref(), &mut bytes, at)
                .map_err(|error| self.ground.io("read", &segment.listed.name.path(), error))?;
            match FrameHeader::decode(&bytes, &self.ground.crc) {
                Some(header) if header.lsn <= lsn => at += header.padded_bytes(),
                _ => break,
            }
        }
        Ok(at)
    }

    /// After a clean close: on in the same segment.
    fn go_on(&mut self, manifest: Manifest, sealed: Vec<Arc<Segment>>, tail: Tail) -> Result<Steps> {
        self.rewrite(&tail)?;
        let end = tail.last_good;
        let mut segments = sealed;
        let last = tail.end_index.unwrap_or(0);
        for (at, segment) in tail.segments.into_iter().enumerate().take(last + 1) {
            let write = at == last;
            let name = segment.listed.name;
            let mut write_map = None;
            if write && self.ground.options.mmap && self.ground.storage.can_map_writes() {
                let path = name.path();
                let file = self.open_segment(name, OpenMode::ReadWrite)?;
                // A copy of the store may have holes where the original had blocks.
                match file.allocate(segment.len_bytes) {
                    Ok(()) => write_map = self.ground.write_map(file.as_ref(), &path, segment.len_bytes)?,
                    Err(error) if Error::io("allocate", &path, std::io::Error::from(error.kind())).is_full() => {}
                    Err(error) => return Err(self.ground.io("allocate", &path, error)),
                }
            }
            segments.push(Arc::new(self.handle(segment, write, write_map)?));
        }
        Ok(Steps { next: manifest.after(end), manifest, segments, durable: end, end, clean: true })
    }

    /// A handle to a segment of the tail, to read, or to go on writing.
    fn handle(
        &self,
        segment: TailSegment,
        write: bool,
        write_map: Option<Arc<dyn crate::storage::Map>>,
    ) -> Result<Segment> {
        let name = segment.listed.name;
        let file = if write { self.open_segment(name, OpenMode::ReadWrite)? } else { segment.file };
        Ok(Segment::new(SegmentParts {
            name,
            storage: self.ground.storage.clone(),
            file: Some(file),
            write_map,
            use_map: self.ground.maps(),
            capacity_bytes: segment.len_bytes / FRAME_ALIGN_BYTES as u64 * FRAME_ALIGN_BYTES as u64,
            content: segment.content,
            finished: false,
        }))
    }

    /// After a crash: rewrite > note > cut > finish.
    fn after_crash(&mut self, mut manifest: Manifest, sealed: Vec<Arc<Segment>>, tail: Tail) -> Result<Steps> {
        let end = tail.last_good;
        let storage = self.ground.storage.clone();
        let note_first = mutant::left_out(Rule::NoteAfterRewrite);
        if !note_first {
            self.rewrite(&tail)?;
        }
        // Note.
        let next = number_behind(&manifest, &tail);
        let jump = Jump { kept: end, next };
        if let Some((first, last)) = self.report.lost {
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
            self.rewrite(&tail)?;
        }
        // Cut.
        let kept_count = tail.end_index.map_or(0, |at| at + 1);
        let mut log_bytes: u64 =
            manifest.segments.iter().filter(|listed| listed.sealed.is_some()).map(|s| s.len_bytes).sum();
        for (at, segment) in tail.segments.iter().enumerate().skip(kept_count.saturating_sub(1)) {
            if at >= kept_count && mutant::left_out(Rule::EmptiedAgain) {
                break;
            }
            // Also where the length already looks right: an earlier open's sync may have failed.
            let len_bytes = if at < kept_count { segment.content.frames_end_bytes } else { 0 };
            let path = segment.listed.name.path();
            let file = self.open_segment(segment.listed.name, OpenMode::ReadWrite)?;
            file.set_len(len_bytes).map_err(|error| self.ground.io("cut", &path, error))?;
            file.sync_all().map_err(|error| self.ground.io("fsync", &path, error))?;
        }
        // Finish, oldest first.
        let mut segments = sealed;
        let mut emptied = Vec::new();
        let mut looks_right = None;
        for (at, segment) in tail.segments.into_iter().enumerate() {
            if at >= kept_count {
                if segment.header_good && emptied.is_empty() {
                    looks_right = Some(segment.file.clone());
                }
                emptied.push(segment.listed.name);
                continue;
            }
            let handle = self.handle(segment, false, None)?;
            let listed = self.ground.write_footer(&handle)?;
            log_bytes += listed.len_bytes;
            if let Some(entry) = manifest.find_mut(listed.name) {
                *entry = listed;
            }
            handle.set_finished();
            segments.push(Arc::new(handle));
        }
        // Go on in an emptied one, else in a new one.
        let newest = manifest.segments.last().map_or(0, |segment| segment.name.id.0);
        let name = emptied.first().copied().unwrap_or(SegmentName::appended(SegmentId(newest + 1)));
        let capacity_bytes = self.ground.capacity_for(log_bytes);
        let open = match looks_right {
            Some(file) if mutant::left_out(Rule::EmptiedAgain) => {
                let capacity_bytes = self.len_of(name, file.as_ref())?;
                self.ground.empty_segment(name, self.open_segment(name, OpenMode::ReadWrite)?, capacity_bytes)?
            }
            _ => self.ground.make_segment(name, capacity_bytes, ZeroFill::Waiting)?,
        };
        if emptied.is_empty() {
            self.ground.sync_log_dir()?;
            manifest.list(ListedSegment { name, len_bytes: capacity_bytes, sealed: None });
        }
        if kept_count > 0 || emptied.is_empty() {
            manifest.prune_jumps();
            manifest.replace(storage.as_ref())?;
        }
        segments.push(Arc::new(open));
        let next = if mutant::left_out(Rule::Jump) { end.next() } else { next };
        Ok(Steps { manifest, segments, next, durable: end, end, clean: false })
    }
}

/// The number to go on with: above every Lsn that the tail could have held, and above every earlier jump's.
fn number_behind(manifest: &Manifest, tail: &Tail) -> Lsn {
    if mutant::left_out(Rule::Jump) {
        return tail.last_good.next().next();
    }
    let held: u64 = tail
        .segments
        .iter()
        .enumerate()
        .skip(tail.end_index.unwrap_or(0))
        .map(|(at, segment)| {
            let len_bytes = segment.len_bytes.max(segment.listed.len_bytes);
            let ends_here = tail.end_index == Some(at);
            if ends_here { len_bytes.saturating_sub(segment.content.frames_end_bytes) } else { room_bytes(len_bytes) }
        })
        .fold(0, u64::saturating_add);
    let frames_count = held / FRAME_HEADER_BYTES as u64;
    let noted = manifest.jumps.iter().map(|jump| jump.next).max().unwrap_or_default();
    let base = manifest.after(tail.last_good).max(noted).max(tail.proven);
    Lsn(base.0.saturating_add(frames_count).saturating_add(1))
}

/// What a look behind the good frames saw.
struct Seen {
    /// Only zeros.
    blank: bool,
    /// A valid header above the last good Lsn.
    any: bool,
    /// What those vouch for.
    vouched: Lsn,
}

/// Where an open ends up.
struct Steps {
    manifest: Manifest,
    segments: Vec<Arc<Segment>>,
    next: Lsn,
    durable: Lsn,
    end: Lsn,
    clean: bool,
}

/// Reads a file forwards in large pieces.
struct Chunks<'a> {
    file: &'a dyn StorageFile,
    len_bytes: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Chunks<'a> {
    fn new(file: &'a dyn StorageFile, len_bytes: u64) -> Self {
        Self { file, len_bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// `count` bytes at `at`, which must lie within the file's length.
    fn read(&mut self, at: u64, count: usize) -> std::io::Result<&[u8]> {
        let have_end = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at + count as u64 > have_end {
            let left_bytes = self.len_bytes.saturating_sub(at);
            let read_bytes = (count.max(CHUNK_BYTES) as u64).min(left_bytes) as usize;
            self.buffer.resize(read_bytes.max(count), 0);
            self.buffer_at = at;
            read_exact_at(self.file, &mut self.buffer, at)?;
        }
        let start = (at - self.buffer_at) as usize;
        Ok(self.buffer.get(start..start + count).unwrap_or_default())
    }
}
