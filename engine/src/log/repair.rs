//! Rebuilds FORMAT and MANIFEST from the segments, at a user's request.
//!
//! A segment's header names store, ordinal and generation; its footer has its range. That gives all of MANIFEST except
//! three things:
//! - *Which series files hold released points*: the caller says, from the index or the files ([`Survey::finish`]).
//! - *Jumps*: a gap between segments with neighbouring ordinals can only be a jump, since no file is missing between
//!   them. If compaction wrote the segment before it, the first frame after the gap must say that everything before it
//!   was durable. Any other gap is a lost segment, and refused.
//! - *The number to go on with*, which a note may have held: `NUMBERS_SKIPPED` are left out.
//!
//! Of two files for one range (an interrupted compaction) the one of the higher generation counts: it is whole, and has
//! the same content.
//!
//! Order: folders > good frames of the tail rewritten > MANIFEST. Until the last step nothing is changed, so an
//! interrupted repair starts again. The damaged file is kept as `*.bad`.

use std::cmp::Reverse;
use std::sync::Arc;

use super::LogOptions;
use super::footer::Footer;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, HeadCrc, UNSYNCED_UNKNOWN};
use super::ground::Ground;
use super::manifest::{Jump, ListedSegment, MANIFEST_PATH, Manifest, SealedRange, TruthFile};
use super::recovery::rewrite_frames;
use super::scan::{CHUNK_BYTES, Tail};
use super::segment::{LOG_DIR, SEGMENT_HEADER_BYTES, SegmentName, decode_header};
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId, StoreId};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};
use crate::time::TimestampMs;

/// Positions that a rebuilt MANIFEST leaves out. The lost one may have noted a number to go on with, above all frames
/// that the tail of a crash had room for, once for each crash. 2^32 of the smallest frames are 128 GiB of tails.
const NUMBERS_SKIPPED: u64 = 1 << 32;

/// The store as described by its segments' headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedStore {
    /// The store that all of them name.
    pub id: StoreId,
    /// Number of such headers.
    pub segments_count: u64,
    /// When the first frame was placed.
    pub first_time: Option<TimestampMs>,
}

/// The store that the segments' headers name. `None`: no header can be read.
///
/// # Errors
/// `Corrupt` if they name several; `Io`.
pub fn named_store(storage: &dyn Storage) -> Result<Option<NamedStore>> {
    let mut found: Option<NamedStore> = None;
    for name in list(storage)?.0 {
        let path = name.path();
        let io = |op, error| Error::io(op, storage.display_path(&path), error);
        let file = storage.open(&path, OpenMode::Read).map_err(|error| io("open", error))?;
        let len_bytes = file.len().map_err(|error| io("read the length", error))?;
        if len_bytes < SEGMENT_HEADER_BYTES {
            continue;
        }
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(|error| io("read", error))?;
        let Some(Ok((id, named))) = decode_header(&bytes) else { continue };
        if named != name {
            continue;
        }
        match &mut found {
            Some(known) if known.id != id => {
                let expected = format!("a segment of store {}, as the others", known.id);
                let path = storage.display_path(&path);
                return Err(Error::corrupt(path, 0, "segments of several stores", expected, format!("store {id}")));
            }
            Some(known) => known.segments_count += 1,
            None => {
                let header = first_header(file.as_ref(), len_bytes, &HeadCrc::new(id)).map_err(|e| io("read", e))?;
                let first_time = header.map(|header| header.time);
                found = Some(NamedStore { id, segments_count: 1, first_time });
            }
        }
    }
    Ok(found)
}

/// Keeps a copy of a damaged file beside it. Returns its name; `None` if there is no such file.
///
/// # Errors
/// `Io`, `StorageFull`.
pub fn keep_bad(storage: &dyn Storage, path: &str) -> Result<Option<String>> {
    let io = |op, error| Error::io(op, storage.display_path(path), error);
    let file = match storage.open(path, OpenMode::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| io("open", error))?,
    };
    let kept = format!("{path}.bad");
    match storage.remove(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove the copy of", error)),
        _ => {}
    }
    let copy = storage.open(&kept, OpenMode::CreateNew).map_err(|error| io("create a copy of", error))?;
    let len_bytes = file.len().map_err(|error| io("read the length", error))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < len_bytes {
        let count = (len_bytes - at).min(CHUNK_BYTES as u64);
        let Some(chunk) = buffer.get_mut(..count as usize) else { break };
        read_exact_at(file.as_ref(), chunk, at).map_err(|error| io("read", error))?;
        write_all_at(copy.as_ref(), chunk, at).map_err(|error| io("write a copy of", error))?;
        at += count;
    }
    copy.sync_all().map_err(|error| io("fsync the copy of", error))?;
    Ok(Some(kept))
}

/// Segments by name, and files that are not segments.
fn list(storage: &dyn Storage) -> Result<(Vec<SegmentName>, Vec<String>)> {
    let entries = match storage.list(LOG_DIR) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|error| Error::io("list", storage.display_path(LOG_DIR), error))?,
    };
    let (mut found, mut other) = (Vec::new(), Vec::new());
    for entry in entries {
        match SegmentName::parse(&entry.name) {
            Some(name) if !entry.is_dir => found.push(name),
            _ => other.push(entry.name),
        }
    }
    found.sort();
    Ok((found, other))
}

/// The header of a segment's first frame, if it is valid.
fn first_header(file: &dyn StorageFile, len_bytes: u64, crc: &HeadCrc) -> std::io::Result<Option<FrameHeader>> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    if len_bytes < SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES as u64 {
        return Ok(None);
    }
    read_exact_at(file, &mut bytes, SEGMENT_HEADER_BYTES)?;
    Ok(FrameHeader::decode(&bytes, crc))
}

/// A segment file and its own description.
struct Found {
    name: SegmentName,
    len_bytes: u64,
    /// Its range, if it has a footer.
    sealed: Option<SealedRange>,
    /// The header of its first frame.
    first: Option<FrameHeader>,
    /// Whether it has frames, or a footer.
    used: bool,
}

/// The end of the chain of segments so far.
struct End {
    id: SegmentId,
    generation: u64,
    last: Lsn,
}

/// A MANIFEST made from segments, not written yet.
pub struct Survey {
    ground: Ground,
    manifest: Manifest,
    accept_loss: bool,
    /// Compacted segments reach up to here: points there are in series files only.
    pub released: Lsn,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Survey").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

/// A rebuilt MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltManifest {
    /// Segments listed.
    pub segments_count: u64,
    /// Those with a footer.
    pub sealed_count: u64,
    /// The last position that is kept.
    pub end: Lsn,
    /// Positions that no segment has any more; accepted as lost.
    pub lost: Vec<(Lsn, Lsn)>,
    /// Name of the kept damaged file.
    pub kept: Option<String>,
}

impl Survey {
    /// Reads the headers and footers of all segments. `None`: there is no frame, so nothing to list.
    ///
    /// # Errors
    /// `Corrupt`, `MissingFile` if the segments do not form a chain; `UnsupportedFormat`, `Io`. Nothing is written.
    pub fn take(storage: Arc<dyn Storage>, options: LogOptions, accept_loss: bool) -> Result<Option<Self>> {
        let ground = Ground::new(storage, options);
        let names = list(ground.storage.as_ref())?.0;
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(look(&ground, name)?);
        }
        if !found.iter().any(|segment| segment.used) {
            return Ok(None);
        }
        let manifest = Manifest::new(ground.options.store_id);
        let mut survey = Self { ground, manifest, accept_loss, released: Lsn::ZERO };
        survey.chain(&found)?;
        survey.manifest.generation =
            found.iter().map(|segment| segment.name.generation).max().unwrap_or_default().max(1);
        survey.manifest.check().map_err(|why| {
            let path = survey.ground.storage.display_path(LOG_DIR);
            Error::corrupt(path, 0, "chain of segments", "ranges that touch", why)
        })?;
        Ok(Some(survey))
    }

    /// Lists the segments that make one chain.
    fn chain(&mut self, found: &[Found]) -> Result<()> {
        // From the first segment with frames but without a footer on, nothing is sealed.
        let unsealed = |segment: &&Found| segment.used && segment.sealed.is_none();
        let tail_from = found.iter().filter(unsealed).map(|segment| segment.name.id).min();
        let in_tail = |segment: &Found| tail_from.is_some_and(|from| segment.name.id >= from);
        if let Some(segment) = found.iter().find(|segment| segment.name.generation > 0 && in_tail(segment)) {
            let expected = "a footer in this segment and in those before it";
            return Err(self.ground.chain(segment.name, expected, "none that can be read"));
        }
        let mut end = End { id: SegmentId(0), generation: 0, last: Lsn::ZERO };
        let mut sealed: Vec<(&Found, SealedRange)> =
            found.iter().filter(|s| !in_tail(s)).filter_map(|s| Some((s, s.sealed?))).collect();
        sealed.sort_by_key(|(segment, range)| (range.first, Reverse(segment.name.generation)));
        for (segment, range) in sealed {
            if range.last <= end.last {
                // Covered by another one: the next open deletes it.
                continue;
            }
            if range.first <= end.last {
                let expected = format!("a range behind {}", end.last);
                return Err(self.ground.chain(segment.name, &expected, &format!("{}..={}", range.first, range.last)));
            }
            self.join(&end, segment, range.first)?;
            let (name, len_bytes) = (segment.name, segment.len_bytes);
            self.manifest.list(ListedSegment { name, len_bytes, sealed: Some(range) });
            if name.generation > 0 {
                self.released = range.last;
            }
            end = End { id: name.id, generation: name.generation, last: range.last };
        }
        // Without a footer, only its frames show where it ends.
        let mut end = Some(end);
        for segment in
            found.iter().filter(|segment| segment.name.generation == 0 && segment.sealed.is_none() || in_tail(segment))
        {
            let behind = self.manifest.segments.last().is_none_or(|last| last.name.id < segment.name.id);
            if !behind {
                if segment.used {
                    return Err(self.ground.chain(segment.name, "a segment behind those with a footer", "one between"));
                }
                // Prepared, and never used.
                continue;
            }
            if let (Some(end), Some(first)) = (&end, segment.first) {
                self.join(end, segment, first.lsn)?;
            }
            let (name, len_bytes) = (segment.name, segment.len_bytes);
            self.manifest.list(ListedSegment { name, len_bytes, sealed: None });
            if segment.used {
                end = segment.sealed.map(|range| End { id: name.id, generation: 0, last: range.last });
            }
        }
        Ok(())
    }

    /// Whether a segment that begins with `first` follows the chain directly, or after a jump.
    fn join(&mut self, end: &End, segment: &Found, first: Lsn) -> Result<()> {
        if segment.name.id <= end.id {
            let expected = format!("an ordinal above {}", end.id.0);
            return Err(self.ground.chain(segment.name, &expected, &format!("positions behind {}", end.last)));
        }
        if first <= end.last.next() {
            // Not after it at all: the scan will find that it fits nowhere.
            return Ok(());
        }
        let neighbours = segment.name.id.0 == end.id.0 + 1;
        // Compaction keeps the ordinal of the first of several segments.
        let says_so = end.generation > 0
            && segment.first.is_some_and(|header| {
                header.lsn == first && (header.unsynced >= UNSYNCED_UNKNOWN || header.vouched() == end.last)
            });
        if !neighbours && !says_so {
            if !self.accept_loss {
                let missing = SegmentName::appended(SegmentId(end.id.0 + 1));
                let path = self.ground.storage.display_path(&missing.path());
                let why = format!(
                    "positions {} to {} are in no segment; `--accept-loss` goes on without them",
                    end.last.next(),
                    first.0 - 1
                );
                return Err(Error::MissingFile { path, why });
            }
            self.manifest.losses.push((end.last.next(), Lsn(first.0 - 1)));
        }
        self.manifest.jumps.push(Jump { kept: end.last, next: first });
        Ok(())
    }

    /// Writes MANIFEST. `vouched`: the highest position that anything outside the log calls durable; `generation`: that
    /// of the index. The log is then as after a crash: the next open recovers it.
    ///
    /// # Errors
    /// `Corrupt` if acknowledged frames are missing at the end and that is not accepted; `Io`, `StorageFull`. MANIFEST
    /// is then unchanged.
    pub fn finish(mut self, series_files: Vec<TruthFile>, vouched: Lsn, generation: u64) -> Result<RebuiltManifest> {
        let storage = self.ground.storage.clone();
        self.ground.sync_dir("")?;
        self.ground.sync_log_dir()?;
        let manifest = &mut self.manifest;
        manifest.generation = manifest.generation.max(generation);
        manifest.series_files = series_files;
        let tail = self.ground.scan(manifest, vouched)?;
        if tail.proven > tail.last_good && !self.accept_loss {
            return Err(self.ground.lost(&tail, (tail.last_good.next(), tail.proven)));
        }
        rewrite(&self.ground, &tail)?;
        let noted = manifest.jumps.iter().map(|jump| jump.next).max().unwrap_or_default();
        let known = tail.last_good.max(tail.proven).max(noted);
        manifest.jumps.retain(|jump| jump.kept != tail.last_good);
        manifest.jumps.push(Jump { kept: tail.last_good, next: Lsn(known.0.saturating_add(NUMBERS_SKIPPED)) });
        let kept = keep_bad(storage.as_ref(), MANIFEST_PATH)?;
        manifest.replace(storage.as_ref()).map_err(super::manifest::ReplaceError::into_error)?;
        Ok(RebuiltManifest {
            segments_count: manifest.segments.len() as u64,
            sealed_count: manifest.segments.iter().filter(|segment| segment.sealed.is_some()).count() as u64,
            end: tail.last_good,
            lost: manifest.losses.clone(),
            kept,
        })
    }
}

fn look(ground: &Ground, name: SegmentName) -> Result<Found> {
    let file = ground.open_segment(name, OpenMode::Read)?;
    let file = file.as_ref();
    let io = |error| ground.io("read", &name.path(), error);
    let len_bytes = ground.len_of(name, file)?;
    let header_good = ground.header_of(name, file, len_bytes)?.is_some();
    let footer = Footer::read(file, len_bytes, name.id, ground.options.store_id).map_err(io)?;
    let sealed = footer.map(|(footer, footer_crc)| SealedRange { first: footer.first, last: footer.last, footer_crc });
    let used = sealed.is_some() || ground.look_ahead(name, file, 0, len_bytes, Lsn::ZERO)?.any;
    if used && !header_good {
        return Err(ground.chain(name, "a segment header", "other bytes"));
    }
    let first = first_header(file, len_bytes, &ground.crc).map_err(io)?;
    Ok(Found { name, len_bytes, sealed, first, used })
}

/// Writes the good frames of the tail again, since what MANIFEST calls kept must survive a power cut.
fn rewrite(ground: &Ground, tail: &Tail) -> Result<()> {
    for segment in tail.segments.iter().filter(|segment| segment.content.frames_count > 0) {
        rewrite_frames(ground, segment, 0)?;
    }
    Ok(())
}
