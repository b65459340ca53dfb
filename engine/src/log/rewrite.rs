//! Compaction's part of the log: rewritten segments, and the swap that puts them in place of others.
//!
//! Order, each step durable before the next; a crash may happen after any of them:
//! 1. [`SegmentRewriter`]: `<ordinal>-<G>.seg.tmp`, fsync, rename, fsync of the folder. After a crash, open deletes it,
//!    because another segment covers its range.
//! 2. [`Log::install`]: MANIFEST(G) is the swap; it is read back and compared. After a crash, open deletes the old
//!    files, because the new ones cover their ranges.
//! 3. The caller commits the index with G.
//! 4. [`Log::unlink`] removes the old files, once no snapshot needs them.

use std::sync::Arc;

use super::footer::{Footer, push_index};
use super::frame::{FrameBuf, FrameKind};
use super::ground::Ground;
use super::manifest::{ListedSegment, Manifest, SealedRange, TruthFile};
use super::mutant::{self, Rule};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentName, SegmentParts, encode_header};
use super::{LOG_DIR, Log, LogOptions};
use crate::checksum::Crc32;
use crate::error::{EntityKind, Error, Result};
use crate::id::{Lsn, SegmentId};
use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};
use crate::time::TimestampMs;

const BUFFER_BYTES: usize = 256 << 10;

/// A segment that compaction wrote: durable under its own name, not yet in MANIFEST.
#[derive(Debug, Clone)]
pub struct RewrittenSegment {
    name: SegmentName,
    len_bytes: u64,
    footer_crc: Crc32,
    content: Footer,
}

impl RewrittenSegment {
    /// Length of the file.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// The changes of a swap. They become true together.
#[derive(Debug, Clone, Default)]
pub struct SwapPlan {
    /// Sealed segments to remove: for each rewritten segment the run of neighbours that it replaces, and for a release
    /// the oldest ones.
    pub remove: Vec<SegmentName>,
    /// New segments, each with the whole range of those that it replaces.
    pub add: Vec<RewrittenSegment>,
    /// Series files, already durable, that will hold released points.
    pub series_add: Vec<TruthFile>,
    /// Names of series files that no longer do.
    pub series_remove: Vec<String>,
}

/// Writes one rewritten segment.
#[derive(Debug)]
pub struct SegmentRewriter {
    log: Arc<Log>,
    name: SegmentName,
    tmp_path: String,
    file: Arc<dyn StorageFile>,
    frame: FrameBuf,
    buffer: Vec<u8>,
    buffer_at: u64,
    content: Footer,
    pushed_last: Lsn,
}

impl SegmentRewriter {
    /// Begins a segment for `first..=last`, the ranges of the segments that it replaces; `id` is the ordinal of the
    /// first of them.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is changed.
    pub fn new(log: Arc<Log>, id: SegmentId, first: Lsn, last: Lsn) -> Result<Self> {
        log.check_writable()?;
        let name = SegmentName { id, generation: log.generation() + 1 };
        let tmp_path = format!("{}.tmp", name.path());
        let ground = &log.ground;
        match ground.storage.remove(&tmp_path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ground.io("remove", &tmp_path, error));
            }
            _ => {}
        }
        let file = ground
            .storage
            .open(&tmp_path, OpenMode::CreateNew)
            .map_err(|error| ground.io("create", &tmp_path, error))?;
        let buffer = encode_header(name, ground.options.store_id).to_vec();
        let content =
            Footer { first, last, frames_count: 0, frames_end_bytes: SEGMENT_HEADER_BYTES, index: Vec::new() };
        let frame = FrameBuf::new();
        Ok(Self { log, name, tmp_path, file, frame, buffer, buffer_at: 0, content, pushed_last: Lsn::ZERO })
    }

    /// Adds a frame; Lsns grow and lie within the range. Only durable frames may be rewritten.
    ///
    /// # Errors
    /// `Internal` if the Lsn does not fit; `Io`, `StorageFull`.
    pub fn push(&mut self, lsn: Lsn, time: TimestampMs, kind: FrameKind, payload: &[u8]) -> Result<()> {
        let in_order = lsn > self.pushed_last && lsn >= self.content.first && lsn <= self.content.last;
        if !in_order || lsn > self.log.durable() {
            return Err(Error::Internal(format!(
                "frame {lsn} does not belong behind {} of {}",
                self.pushed_last, self.name
            )));
        }
        self.frame.begin(kind);
        self.frame.payload_mut().extend_from_slice(payload);
        self.frame.seal()?;
        // All of it is durable at its source, so the frame vouches for itself.
        let bytes = self.frame.complete(lsn, time, lsn, &self.log.ground.crc);
        self.buffer.extend_from_slice(bytes);
        push_index(&mut self.content.index, lsn, self.content.frames_end_bytes);
        self.content.frames_end_bytes += bytes.len() as u64;
        self.content.frames_count += 1;
        self.pushed_last = lsn;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Extends its range up to `last`, the end of the next segment that it replaces.
    pub fn cover(&mut self, last: Lsn) {
        self.content.last = self.content.last.max(last);
    }

    /// Bytes of header and frames so far.
    pub fn bytes_count(&self) -> u64 {
        self.content.frames_end_bytes
    }

    fn flush(&mut self) -> Result<()> {
        write_all_at(self.file.as_ref(), &self.buffer, self.buffer_at)
            .map_err(|error| self.log.ground.io("write", &self.tmp_path, error))?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Footer, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is changed; the next open deletes what is left.
    pub fn finish(mut self) -> Result<RewrittenSegment> {
        let log = self.log.clone();
        let ground = &log.ground;
        let (footer, footer_crc) = self.content.encode(self.name.id, ground.options.store_id);
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        self.file.sync_all().map_err(|error| ground.io("fsync", &self.tmp_path, error))?;
        let path = self.name.path();
        ground.storage.rename(&self.tmp_path, &path).map_err(|error| ground.io("rename", &path, error))?;
        ground.sync_dir(LOG_DIR)?;
        Ok(RewrittenSegment { name: self.name, len_bytes: self.buffer_at, footer_crc, content: self.content })
    }
}

impl RewrittenSegment {
    fn listed(&self) -> ListedSegment {
        let sealed =
            Some(SealedRange { first: self.content.first, last: self.content.last, footer_crc: self.footer_crc });
        ListedSegment { name: self.name, len_bytes: self.len_bytes, sealed }
    }

    fn handle(&self, ground: &Ground) -> Arc<Segment> {
        Arc::new(Segment::new(SegmentParts {
            name: self.name,
            storage: ground.storage.clone(),
            file: None,
            write_map: None,
            use_map: ground.maps(),
            capacity_bytes: self.content.frames_end_bytes,
            content: self.content.clone(),
            finished: true,
        }))
    }
}

impl Log {
    /// Begins the log of a copy. [`SegmentRewriter`]s fill it up to `last`, and [`Log::install_copy`] completes it.
    /// Until then there is no MANIFEST, and so no log.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a log; `Io`, `StorageFull`.
    pub fn begin_copy(storage: Arc<dyn Storage>, options: LogOptions, last: Lsn) -> Result<Arc<Self>> {
        let ground = Ground::new(storage, options);
        if Manifest::load(ground.storage.as_ref(), ground.options.store_id)?.is_some() {
            let id = ground.storage.display_path(super::MANIFEST_PATH).display().to_string();
            return Err(Error::AlreadyExists { entity: EntityKind::Log, id });
        }
        ground.storage.create_dir(LOG_DIR).map_err(|error| ground.io("create", LOG_DIR, error))?;
        ground.sync_dir("")?;
        let manifest = Manifest::new(ground.options.store_id);
        Ok(Self::new(ground, manifest, Vec::new(), last, true))
    }

    /// Writes the MANIFEST of a copy: from now on the store can be opened.
    ///
    /// # Errors
    /// `Invalid` if the segments do not form a chain from position 1 on; `Io`, `StorageFull`.
    pub fn install_copy(&self, segments: &[RewrittenSegment], series: Vec<TruthFile>) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.generation += 1;
        segments.iter().for_each(|segment| next.list(segment.listed()));
        next.series_files = series;
        next.check().map_err(|why| Error::invalid("copy of a log", why))?;
        self.replace_manifest(&mut manifest, next)
    }

    /// Swaps files: replaces MANIFEST by the next generation, reads it back and compares. On success new readers see
    /// the new segments. Returns the replaced segments, whose files still exist: [`Log::unlink`] them once nothing
    /// refers to them.
    ///
    /// # Errors
    /// `Invalid` if the rest would not be one chain; `StorageFull`, `Io`. Unless the log is poisoned afterwards,
    /// nothing has changed.
    pub fn install(&self, plan: &SwapPlan) -> Result<Vec<Arc<Segment>>> {
        self.check_writable()?;
        self.check_poison()?;
        let mut manifest = self.manifest.lock();
        let next = plan.apply(&manifest)?;
        let expected = next.clone();
        let mut gone = Vec::new();
        if mutant::left_out(Rule::SwapBeforeUnlink) {
            for name in &plan.remove {
                let _ = self.ground.storage.remove(&name.path());
            }
            self.ground.sync_log_dir()?;
        }
        self.replace_manifest(&mut manifest, next)?;
        let found = Manifest::load(self.ground.storage.as_ref(), self.ground.options.store_id);
        if !matches!(&found, Ok(Some(found)) if *found == expected) {
            let cause = match found {
                Err(error) => error.to_string(),
                Ok(_) => "MANIFEST is not what was just written".to_owned(),
            };
            self.poison(&cause);
            return Err(Error::Poisoned { cause });
        }
        self.change_shape(|shape| {
            for segment in std::mem::take(&mut shape.segments) {
                let keep = !plan.remove.contains(&segment.name());
                if keep { shape.segments.push(segment) } else { gone.push(segment) }
            }
            shape.segments.extend(plan.add.iter().map(|added| added.handle(&self.ground)));
            shape.segments.sort_by_key(|segment| segment.id());
            shape.jumps.clone_from(&manifest.jumps);
            shape.first = manifest.first;
            shape.generation = manifest.generation;
        });
        Ok(gone)
    }

    /// Removes the files of segments that a swap took out; durable on return. Open handles and maps stay readable.
    ///
    /// # Errors
    /// `Invalid` for a segment that is still listed; `Io`: the next open removes what is left.
    pub fn unlink(&self, gone: &[Arc<Segment>]) -> Result<()> {
        self.check_writable()?;
        let mut manifest = self.manifest.lock();
        for segment in gone {
            let name = segment.name();
            if manifest.find_mut(name).is_some() {
                return Err(Error::invalid("segment", format!("{name} is still part of the log")));
            }
            // A reader that began before the swap may still get to it.
            segment.hold()?;
            let path = name.path();
            match self.ground.storage.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.ground.io("remove", &path, error));
                }
                _ => {}
            }
        }
        self.ground.sync_log_dir()
    }
}

impl SwapPlan {
    /// The list after the swap, or why it is impossible.
    fn apply(&self, manifest: &Manifest) -> Result<Manifest> {
        let refuse = |why: String| Err(Error::invalid("swap of segments", why));
        let mut next = manifest.clone();
        next.generation += 1;
        for name in &self.remove {
            match next.segments.iter().position(|segment| segment.name == *name) {
                Some(at) if next.segments.get(at).is_some_and(|segment| segment.sealed.is_some()) => {
                    next.segments.remove(at);
                }
                Some(_) => return refuse(format!("{name} is not finished")),
                None => return refuse(format!("{name} is not listed")),
            }
        }
        for added in &self.add {
            if added.name.generation != next.generation {
                return refuse(format!("{} was written for another generation", added.name));
            }
            if next.segments.iter().any(|segment| segment.name.id == added.name.id) {
                return refuse(format!("the ordinal of {} is in use", added.name));
            }
            next.list(added.listed());
        }
        for name in &self.series_remove {
            next.series_files.retain(|file| file.name != *name);
        }
        next.series_files.extend(self.series_add.iter().cloned());
        // Releasing the oldest segments moves the begin of the log.
        let old_end = manifest.sealed_last();
        next.first = match next.segments.iter().find_map(|segment| segment.sealed) {
            Some(range) if range.first == manifest.after(Lsn(manifest.first.0.saturating_sub(1))) => manifest.first,
            Some(range) => range.first,
            None => old_end.next().max(manifest.first),
        };
        next.prune_jumps();
        if next.sealed_last() != old_end {
            return refuse(format!("the end of what is sealed would move from {old_end} to {}", next.sealed_last()));
        }
        match next.check() {
            Ok(()) => Ok(next),
            Err(why) => refuse(why),
        }
    }
}
