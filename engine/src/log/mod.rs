//! The log: one total order of frames, in segments. It knows bytes and positions, never what they mean.
//!
//! ```text
//!            place (memory copy)        sync (fdatasync)         maintain (background)
//! FrameBuf ---------------------> open --------------> durable --------------------------> footer, MANIFEST
//!             LogTail            segment    Log            the next segment is prepared before it is needed
//! ```
//!
//! - [`frame`]: one batch as bytes. [`segment`]: one file of frames. [`manifest`]: the list of files that count.
//! - [`writer`]: [`LogTail`], the only appender. [`reader`]: frames in order, or one by its Lsn; `marks` helps it to
//!   find that one.
//! - [`recovery`]: what an open finds and does: torn tail, damage, clean close. `scan` looks, `ground` makes and
//!   finishes files. [`rewrite`]: compaction's swap. [`format_file`]: which store this is. [`repair`]: rebuilds
//!   MANIFEST.
//!
//! Two positions: *published* (in the file, visible, survives the process) and *durable* (covered by an fdatasync). A
//! Lsn is never given out twice, not even after a power cut took the frame that had it.

mod beside;
mod footer;
pub mod format_file;
pub mod frame;
pub(crate) mod frozen;
mod ground;
mod layout;
pub mod manifest;
mod marks;
mod mutant;
pub mod reader;
pub mod recovery;
pub mod repair;
pub mod rewrite;
mod scan;
pub mod segment;
pub mod writer;

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod sim_tests;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

pub use frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameBuf, FrameHeader, FrameKind, HeadCrc};
pub use manifest::{Jump, Manifest, TruthFile};
pub use reader::{FrameReader, FrameRef};
pub use recovery::{Access, OpenReport, OpenedLog, UnsettledLog};
pub use rewrite::{RewrittenSegment, SegmentRewriter, SwapPlan};
pub use segment::{Segment, SegmentName};
pub use writer::{LogTail, Placed};

use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId, StoreId};
use crate::storage::Storage;
use crate::time::TimestampMs;
use ground::{Ground, ZeroFill};
use manifest::{ListedSegment, MANIFEST_PATH, ReplaceError};
use marks::Marks;
use mutant::Rule;
use segment::{LOG_DIR, SEGMENT_HEADER_BYTES};

/// How a log is laid out. Only `store_id` is part of the format; the rest may change from open to open.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The store, as FORMAT names it.
    pub store_id: StoreId,
    /// Size of the first segment; each next one doubles, or is eight times as large if an append waited for one.
    pub segment_bytes_first: u64,
    /// Where doubling ends. A frame that does not fit makes its segment larger.
    pub segment_bytes_max: u64,
    /// Whether segments are mapped, for reads and (where that cannot fault) for appends.
    pub mmap: bool,
    /// Segments up to this size are filled with zeros before use, even if an append waits for that; it makes appends
    /// and syncs cheaper. Larger ones are filled in the background as far as time allows, and otherwise only allocated.
    /// 0: never fill.
    pub zero_fill_bytes_max: u64,
    /// Whether the files are copies, possibly made during appends; then the end may be torn.
    pub copied: bool,
}

impl LogOptions {
    /// The defaults: 256 KiB doubling to 64 MiB, mapped, zeros up to 4 MiB.
    pub fn new(store_id: StoreId) -> Self {
        Self {
            store_id,
            segment_bytes_first: 256 << 10,
            segment_bytes_max: 64 << 20,
            mmap: true,
            zero_fill_bytes_max: 4 << 20,
            copied: false,
        }
    }
}

/// A segment of this size or more has its next one prepared at once, to leave time for filling it with zeros. Smaller
/// ones prepare it when half full, because a small store should stay small.
const PREPARE_EARLY_BYTES: u64 = 16 << 20;

/// How often the next segment's size is doubled once more if an append waited for the one before.
const OUTRUN_DOUBLINGS: u32 = 2;

/// How full a segment is when its next one is prepared.
fn prepare_at_bytes(capacity_bytes: u64) -> u64 {
    if capacity_bytes >= PREPARE_EARLY_BYTES { 0 } else { capacity_bytes / 2 }
}

/// A segment as `Log::segments` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Which file.
    pub name: SegmentName,
    /// First Lsn of its range; 0 if it has no frame yet.
    pub first: Lsn,
    /// Last Lsn.
    pub last: Lsn,
    /// Frames in it.
    pub frames_count: u64,
    /// Bytes of header and frames.
    pub end_bytes: u64,
    /// Sealed: it has a footer and a range in MANIFEST, and never changes.
    pub finished: bool,
}

/// The state that readers need: replaced as a whole, never changed.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Segments in order: sealed, rolled, and last the open one.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) jumps: Vec<Jump>,
    pub(super) first: Lsn,
    pub(super) generation: u64,
}

/// A log, shared: reads, syncs and background work. Appends go through its [`LogTail`].
#[derive(Debug)]
pub struct Log {
    ground: Ground,
    writable: bool,
    /// Last Lsn in the file.
    placed: AtomicU64,
    durable: AtomicU64,
    /// Bytes placed and bytes synced since the log was opened.
    placed_bytes: AtomicU64,
    synced_bytes: AtomicU64,
    poisoned: AtomicBool,
    poison: OnceLock<String>,
    shape: RwLock<Arc<Shape>>,
    /// Held while files are made, finished or swapped. Taken before `next`.
    manifest: Mutex<Manifest>,
    /// The prepared next segment.
    next: Mutex<Option<Arc<Segment>>>,
    /// Held by the one thread that syncs.
    syncing: Mutex<()>,
    /// `maintain` has work: the open segment is half full, or a segment is full.
    upkeep_due: AtomicBool,
    /// An append waited for a segment that was being prepared.
    outrun: AtomicBool,
    /// For reads of single frames.
    marks: Marks,
}

impl Log {
    fn new(ground: Ground, manifest: Manifest, segments: Vec<Arc<Segment>>, end: Lsn, writable: bool) -> Arc<Self> {
        let shape =
            Shape { segments, jumps: manifest.jumps.clone(), first: manifest.first, generation: manifest.generation };
        Arc::new(Self {
            ground,
            writable,
            placed: AtomicU64::new(end.0),
            durable: AtomicU64::new(end.0),
            placed_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            poison: OnceLock::new(),
            shape: RwLock::new(Arc::new(shape)),
            manifest: Mutex::new(manifest),
            next: Mutex::new(None),
            syncing: Mutex::new(()),
            upkeep_due: AtomicBool::new(true),
            outrun: AtomicBool::new(false),
            marks: Marks::default(),
        })
    }

    /// Creates an empty log: `log/`, the first segment, then MANIFEST; each durable before the next.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a MANIFEST.
    #[cfg(any(test, feature = "testing"))]
    pub fn create(storage: Arc<dyn Storage>, options: LogOptions) -> Result<(Arc<Self>, LogTail)> {
        let ground = Ground::new(storage, options);
        if Manifest::load(ground.storage.as_ref(), ground.options.store_id)?.is_some() {
            let id = ground.storage.display_path(MANIFEST_PATH).display().to_string();
            return Err(Error::AlreadyExists { entity: crate::error::EntityKind::Log, id });
        }
        let (log, open) = Self::create_on(ground)?;
        let tail = LogTail::new(log.clone(), open, Lsn(1), false)?;
        Ok((log, tail))
    }

    fn create_on(ground: Ground) -> Result<(Arc<Self>, Arc<Segment>)> {
        ground.storage.create_dir(LOG_DIR).map_err(|error| ground.io("create", LOG_DIR, error))?;
        ground.sync_dir("")?;
        let name = SegmentName::appended(SegmentId(1));
        let capacity_bytes = ground.options.segment_bytes_first;
        let open = Arc::new(ground.make_segment(name, capacity_bytes, ZeroFill::Waiting)?);
        ground.sync_log_dir()?;
        let mut manifest = Manifest::new(ground.options.store_id);
        manifest.list(ListedSegment { name, len_bytes: capacity_bytes, sealed: None });
        manifest.replace(ground.storage.as_ref())?;
        let log = Self::new(ground, manifest, vec![open.clone()], Lsn::ZERO, true);
        Ok((log, open))
    }

    /// Opens a log: recovery, as [`recovery`] describes it. `vouched` is the highest Lsn that anything outside the log
    /// calls durable: the index, series files, search.snap.
    ///
    /// # Errors
    /// `Corrupt` if durable frames are missing or unreadable, or the files do not fit together (nothing was written
    /// then), `MissingFile`, `UnsupportedFormat`, `Io`.
    #[cfg(any(test, feature = "testing"))]
    pub fn open(storage: Arc<dyn Storage>, options: LogOptions, vouched: Lsn, access: Access) -> Result<OpenedLog> {
        Self::open_unsettled(storage, options, vouched, access)?.settle()
    }

    /// As [`Log::open`], but returns once the content of the log is known: its frames can be read while the rest is
    /// done.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_unsettled(
        storage: Arc<dyn Storage>,
        options: LogOptions,
        vouched: Lsn,
        access: Access,
    ) -> Result<UnsettledLog> {
        recovery::open(Ground::new(storage, options), vouched, access)
    }

    /// Everything up to here is durable.
    #[inline]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Everything up to here is in the file and visible.
    #[inline]
    pub fn published(&self) -> Lsn {
        Lsn(self.placed.load(Ordering::Acquire))
    }

    /// Bytes placed that no sync covers yet (idle marks do not count).
    #[inline]
    pub fn unsynced_bytes(&self) -> u64 {
        let synced = self.synced_bytes.load(Ordering::Acquire);
        self.placed_bytes.load(Ordering::Acquire).saturating_sub(synced)
    }

    /// Bytes placed since the log was opened.
    #[inline]
    pub fn placed_bytes(&self) -> u64 {
        self.placed_bytes.load(Ordering::Acquire)
    }

    /// Whether [`Log::maintain`] has work. If called soon after the open segment is half full, it has time to fill the
    /// next one with zeros. One load, because every append asks.
    #[inline]
    pub fn wants_maintenance(&self) -> bool {
        self.upkeep_due.load(Ordering::Relaxed)
    }

    #[inline]
    fn note_placed(&self, lsn: Lsn, bytes_count: u64) {
        self.placed.store(lsn.0, Ordering::Release);
        let bytes = self.placed_bytes.load(Ordering::Relaxed);
        self.placed_bytes.store(bytes + bytes_count, Ordering::Release);
    }

    fn forgive_bytes(&self, bytes_count: u64) {
        let bytes = self.placed_bytes.load(Ordering::Relaxed);
        self.placed_bytes.store(bytes.saturating_sub(bytes_count), Ordering::Release);
    }

    fn shape(&self) -> Arc<Shape> {
        self.shape.read().clone()
    }

    fn change_shape(&self, change: impl FnOnce(&mut Shape)) {
        let mut shape = self.shape.write();
        let mut next = Shape::clone(&shape);
        change(&mut next);
        *shape = Arc::new(next);
    }

    /// Makes everything durable that was placed before the call began, older segments first. Concurrent calls share a
    /// sync.
    ///
    /// # Errors
    /// `Io` at the first failure, which poisons the log; `Poisoned` afterwards. The outcome of waiting batches is then
    /// unknown.
    pub fn sync(&self) -> Result<Lsn> {
        let asked = self.published();
        if self.durable() >= asked {
            return Ok(self.durable());
        }
        let _syncing = self.syncing.lock();
        self.check_poison()?;
        if self.durable() >= asked {
            return Ok(self.durable());
        }
        // Bytes first: a frame's bytes are counted after its Lsn is set, so the Lsn read below covers them.
        let bytes = self.placed_bytes.load(Ordering::Acquire);
        let goal = self.published();
        let shape = self.shape();
        let rolled = shape.segments.iter().rposition(|segment| segment.is_finished()).map_or(0, |at| at + 1);
        let unfinished = shape.segments.get(rolled..).unwrap_or_default();
        let skip = if mutant::left_out(Rule::OlderSegmentsFirst) { unfinished.len().saturating_sub(1) } else { 0 };
        for segment in unfinished.iter().skip(skip) {
            let Some(end_bytes) = segment.unsynced_end() else { continue };
            segment.end_stores(end_bytes);
            let synced =
                segment.file().and_then(|file| file.sync_data().map_err(|error| segment.io("fdatasync", error)));
            if let Err(error) = synced {
                self.poison(&error.to_string());
                return Err(error);
            }
            segment.set_synced(end_bytes);
        }
        self.durable.fetch_max(goal.0, Ordering::AcqRel);
        self.synced_bytes.fetch_max(bytes, Ordering::AcqRel);
        Ok(self.durable())
    }

    /// Drops what reads of single frames noted, because no more of them are expected soon.
    pub fn forget_marks(&self) {
        self.marks.forget();
    }

    /// Unmaps the log's pages from this process's memory, because no read is expected soon.
    pub fn leave_memory(&self) {
        self.shape().segments.iter().for_each(|segment| segment.leave_memory());
    }

    /// A step of background work: prepares the next segment (at once for a large one, at half for a small one); then
    /// writes the footers of full ones, oldest first, and their ranges into MANIFEST.
    ///
    /// # Errors
    /// `StorageFull` may go away; the next call repeats the step. Other failures of writes poison.
    pub fn maintain(&self) -> Result<()> {
        self.check_writable()?;
        self.check_poison()?;
        self.upkeep_due.store(false, Ordering::Release);
        let prepared = self.prepare_next();
        let finished = self.finish_rolled();
        prepared.and(finished)
    }

    fn prepare_next(&self) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let (open, capacity_bytes) = {
            // The appender takes the next segment and opens it while it holds `next`.
            let next = self.next.lock();
            let shape = self.shape();
            let Some(open) = shape.segments.last() else { return Ok(()) };
            if next.is_some() || open.end_bytes() < prepare_at_bytes(open.capacity_bytes) {
                return Ok(());
            }
            let mut capacity_bytes = self.ground.next_capacity(open.capacity_bytes);
            if self.outrun.swap(false, Ordering::AcqRel) {
                // Segments of this size are filled faster than they are prepared: each would be waited for.
                for _ in 0..OUTRUN_DOUBLINGS {
                    capacity_bytes = self.ground.next_capacity(capacity_bytes);
                }
            }
            (open.clone(), capacity_bytes)
        };
        let needed_soon = || open.end_bytes() > open.capacity_bytes / 4 * 3;
        let id = SegmentId(open.id().0 + 1);
        let segment = self.prepare(&mut manifest, id, capacity_bytes, ZeroFill::Until(&needed_soon))?;
        *self.next.lock() = Some(segment);
        Ok(())
    }

    /// Prepares a next segment of the smallest size, in place of a prepared one; [`LogTail::leave_segment`] continues
    /// in it. False if the open segment has no batch.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; [`Log::maintain`] then prepares the next segment.
    pub fn prepare_small(&self) -> Result<bool> {
        self.check_writable()?;
        self.check_poison()?;
        let mut manifest = self.manifest.lock();
        let Some(open) = self.shape().segments.last().cloned() else { return Ok(false) };
        if !self.has_batch(&open)? {
            return Ok(false);
        }
        // It is not in use yet, so it can be made again.
        drop(self.next.lock().take());
        let id = SegmentId(open.id().0 + 1);
        let segment = self.prepare(&mut manifest, id, self.ground.options.segment_bytes_first, ZeroFill::Waiting)?;
        *self.next.lock() = Some(segment);
        Ok(true)
    }

    fn has_batch(&self, segment: &Segment) -> Result<bool> {
        if segment.frames_count() == 0 {
            return Ok(false);
        }
        let mut frames = self.read_from(segment.first(), segment.last())?;
        while let Some(frame) = frames.next_frame()? {
            if frame.kind == FrameKind::Batch {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A new segment, listed in MANIFEST and durable. If the file exists, nothing refers to it.
    fn prepare(
        &self,
        manifest: &mut Manifest,
        id: SegmentId,
        capacity_bytes: u64,
        zeros: ZeroFill<'_>,
    ) -> Result<Arc<Segment>> {
        let name = SegmentName::appended(id);
        let made = self.ground.make_segment(name, capacity_bytes, zeros);
        let segment = Arc::new(made.map_err(|error| self.note_failure(error))?);
        let mut next = manifest.clone();
        match next.find_mut(name) {
            Some(listed) if listed.len_bytes == capacity_bytes => return Ok(segment),
            // Made again in another size. Recovery concludes from the listed one where there was room for a mark.
            Some(listed) => listed.len_bytes = capacity_bytes,
            None => {
                self.ground.sync_log_dir().map_err(|error| self.note_failure(error))?;
                next.list(ListedSegment { name, len_bytes: capacity_bytes, sealed: None });
            }
        }
        self.replace_manifest(manifest, next)?;
        Ok(segment)
    }

    fn replace_manifest(&self, manifest: &mut Manifest, next: Manifest) -> Result<()> {
        match next.replace(self.ground.storage.as_ref()) {
            Ok(()) => {
                *manifest = next;
                Ok(())
            }
            Err(ReplaceError::NotReplaced(error)) => Err(self.note_failure(error)),
            Err(ReplaceError::Unknown(error)) => {
                self.poison(&error.to_string());
                Err(error)
            }
        }
    }

    /// The appender needs the segment after `capacity_bytes`; opens it.
    fn take_next(&self, id: SegmentId, capacity_bytes: u64, needed_bytes: u64) -> Result<Arc<Segment>> {
        if let Some(segment) = self.switch_to_next(needed_bytes) {
            return Ok(segment);
        }
        let mut manifest = self.manifest.lock();
        // It may have been prepared while this thread waited.
        if let Some(segment) = self.switch_to_next(needed_bytes) {
            self.outrun.store(true, Ordering::Release);
            return Ok(segment);
        }
        // Too small or missing. It is not in use yet, so it can be made again.
        drop(self.next.lock().take());
        let least_bytes = self.ground.options.segment_bytes_first.max(needed_bytes);
        let mut capacity_bytes = self.ground.next_capacity(capacity_bytes).max(needed_bytes);
        let segment = loop {
            match self.prepare(&mut manifest, id, capacity_bytes, ZeroFill::Waiting) {
                // A disk without room for twice the last segment may have room for less.
                Err(error) if error.is_full() && capacity_bytes > least_bytes => {
                    capacity_bytes = self.smaller_capacity(capacity_bytes, least_bytes);
                }
                made => break made?,
            }
        };
        self.change_shape(|shape| shape.segments.push(segment.clone()));
        Ok(segment)
    }

    /// The next smaller size to try for a segment. It leaves space for footers, index and series files.
    fn smaller_capacity(&self, capacity_bytes: u64, least_bytes: u64) -> u64 {
        let free = self.ground.storage.free_bytes().ok().flatten().unwrap_or(u64::MAX);
        let mut smaller = capacity_bytes / 2;
        while smaller > least_bytes && free < smaller.saturating_mul(2) {
            smaller /= 2;
        }
        smaller.max(least_bytes)
    }

    fn switch_to_next(&self, needed_bytes: u64) -> Option<Arc<Segment>> {
        let mut next = self.next.lock();
        let segment = next.take_if(|segment| segment.capacity_bytes >= needed_bytes)?;
        self.change_shape(|shape| shape.segments.push(segment.clone()));
        Some(segment)
    }

    /// Makes the open segment, still empty, longer for a frame that does not fit. After an error it is unchanged.
    fn grow_open(&self, open: &Arc<Segment>, needed_bytes: u64) -> Result<Arc<Segment>> {
        let _manifest = self.manifest.lock();
        let segment = self.ground.grow_segment(open, needed_bytes).map_err(|error| self.note_failure(error))?;
        let segment = Arc::new(segment);
        self.change_shape(|shape| {
            shape.segments.pop();
            shape.segments.push(segment.clone());
        });
        Ok(segment)
    }

    /// Gives back the space of the prepared next segment, so that footers, MANIFEST and tombstones can be written. It
    /// stays listed. Returns whether there was one.
    fn give_up_next(&self) -> bool {
        let Some(segment) = self.next.lock().take() else { return false };
        segment.file().is_ok_and(|file| file.set_len(0).is_ok())
    }

    /// Writes footers of full segments, then their ranges into MANIFEST.
    fn finish_rolled(&self) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let shape = self.shape();
        let Some((_open, before)) = shape.segments.split_last() else { return Ok(()) };
        let rolled: Vec<_> = before.iter().filter(|segment| !segment.is_finished()).cloned().collect();
        if rolled.is_empty() {
            return Ok(());
        }
        let mut next = manifest.clone();
        for segment in &rolled {
            // A footer vouches for everything before it, in older segments too.
            if self.durable() < segment.last() {
                self.sync()?;
            }
            let listed = self.ground.write_footer(segment).or_else(|error| {
                if error.is_full() && self.give_up_next() { self.ground.write_footer(segment) } else { Err(error) }
            });
            let listed = listed.map_err(|error| self.note_failure(error))?;
            if let Some(entry) = next.find_mut(segment.name()) {
                *entry = listed;
            }
        }
        let replaced = self.replace_manifest(&mut manifest, next.clone()).or_else(|error| {
            if error.is_full() && self.give_up_next() { self.replace_manifest(&mut manifest, next) } else { Err(error) }
        });
        replaced?;
        rolled.iter().for_each(|segment| segment.set_finished());
        Ok(())
    }

    /// Closes the log cleanly: syncs, then writes and syncs the close frame. The caller writes the checkpoint that
    /// vouches for it. A poisoned log gets no close frame.
    ///
    /// # Errors
    /// As `sync`. Whatever the error, the log is then as after a crash, and nothing durable is lost.
    pub fn close(&self, mut tail: LogTail, time: TimestampMs) -> Result<()> {
        if !std::ptr::eq(self, Arc::as_ptr(tail.log())) {
            return Err(Error::Internal("a log was closed with the tail of another".into()));
        }
        self.check_poison()?;
        self.sync()?;
        match self.finish_rolled() {
            // The next open finishes them.
            Err(error) if error.is_full() => {}
            finished => finished?,
        }
        tail.place_close(time)?;
        self.sync()?;
        Ok(())
    }

    /// The segments in order, without the prepared next one.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let shape = self.shape();
        let info = |segment: &Arc<Segment>| SegmentInfo {
            name: segment.name(),
            first: segment.first(),
            last: segment.last(),
            frames_count: segment.frames_count(),
            end_bytes: segment.end_bytes(),
            finished: segment.is_finished(),
        };
        shape.segments.iter().map(info).collect()
    }

    /// A live segment, by its ordinal.
    pub fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        let shape = self.shape();
        let at = shape.segments.binary_search_by_key(&id, |segment| segment.id()).ok()?;
        shape.segments.get(at).cloned()
    }

    /// The first Lsn that is kept; everything before is released.
    pub fn first(&self) -> Lsn {
        self.shape().first
    }

    /// Grows with each swap of files; the index must not be ahead of it.
    pub fn generation(&self) -> u64 {
        self.shape().generation
    }

    /// Series files that hold released points.
    pub fn truth_files(&self) -> Vec<TruthFile> {
        self.manifest.lock().series_files.clone()
    }

    /// Ranges of acknowledged positions that an operator accepted to lose.
    pub fn losses(&self) -> Vec<(Lsn, Lsn)> {
        self.manifest.lock().losses.clone()
    }

    /// Numbers that crashes made the log skip.
    #[cfg(test)]
    pub fn jumps(&self) -> Vec<Jump> {
        self.shape().jumps.clone()
    }

    /// Makes the log refuse all writes from now on. Keeps the first cause.
    pub fn poison(&self, cause: &str) {
        // A thread that sees the flag must find the cause.
        let _ = self.poison.set(cause.to_owned());
        self.poisoned.store(true, Ordering::Release);
    }

    /// Why the log refuses writes, if it does.
    pub fn poisoned(&self) -> Option<String> {
        self.poison.get().cloned()
    }

    #[inline]
    fn check_poison(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            let cause = self.poisoned().unwrap_or_default();
            return Err(Error::Poisoned { cause });
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        if self.writable { Ok(()) } else { Err(Error::ReadOnly) }
    }

    /// Poisons the log if a write or sync failed, unless the disk is full. Failing to open a file is harmless.
    fn note_failure(&self, error: Error) -> Error {
        if let Error::Io { op, .. } = &error
            && !matches!(*op, "open" | "create" | "map" | "ask for the free space")
        {
            self.poison(&error.to_string());
        }
        error
    }
}

/// Bytes that frames could take in a segment of this size.
pub(super) fn room_bytes(len_bytes: u64) -> u64 {
    len_bytes.saturating_sub(SEGMENT_HEADER_BYTES)
}
