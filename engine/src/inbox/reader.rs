//! Reads one inbox for its holder: frames in the order of their numbers, each once it is complete.
//!
//! What to do where there is no good frame is decided in [`super::judge`].

use std::io;

use super::gather::Numbers;
use super::segment::{
    END_NOT_KEPT, FRAMES_AT, HEADER_BYTES, HeadFound, LOCK_NAME, Source, check_head, dir_of, encode_head, path_of,
};
use crate::checksum::Crc32;
use crate::id::{StoreId, WriterId};
use crate::log::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeadCrc};
use crate::storage::Storage;

/// Bytes that are copied out of a segment at a time.
const WINDOW_BYTES: usize = 128 << 10;
/// How often the lock of an inbox without news is tried.
pub(super) const LOCK_EVERY_MS: u64 = 1_000;

/// Bytes copied out of a segment; shared by all inboxes, one at a time.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    /// Forgets the copied bytes: for another inbox, or because the bytes have changed.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// `count` bytes at `at`, if they end at most at `bound`.
    #[inline]
    fn get(&mut self, source: &Source, at: u64, count: usize, bound: u64) -> io::Result<Option<&[u8]>> {
        if bound.checked_sub(at).is_none_or(|left| left < count as u64) {
            return Ok(None);
        }
        let have = self.start + self.bytes.len() as u64;
        if at < self.start || at + count as u64 > have {
            let wanted = (count.max(WINDOW_BYTES) as u64).min(bound - at) as usize;
            self.bytes.resize(wanted, 0);
            self.start = at;
            if let Err(error) = source.read(at, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let start = (at - self.start) as usize;
        Ok(self.bytes.get(start..start + count))
    }
}

/// What is at a place of a segment.
pub(super) enum Look<'a> {
    /// A whole frame, and its payload.
    Frame(FrameHeader, &'a [u8]),
    /// Nothing: the end of what is published, or zeros.
    Nothing,
    /// Something that is not a whole frame.
    Bad,
}

/// Looks at a place.
#[inline]
pub(super) fn look<'a>(
    window: &'a mut Window,
    source: &Source,
    crc: &HeadCrc,
    at: u64,
    bound: u64,
) -> io::Result<Look<'a>> {
    let Some(head) = window.get(source, at, FRAME_HEADER_BYTES, bound)? else { return Ok(Look::Nothing) };
    let Some(head) = head.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(Look::Nothing) };
    let Some(header) = FrameHeader::decode(head, crc) else {
        return Ok(if head.iter().all(|byte| *byte == 0) { Look::Nothing } else { Look::Bad });
    };
    match window.get(source, at, header.len_bytes as usize, bound)?.and_then(|frame| frame.get(FRAME_HEADER_BYTES..)) {
        Some(payload) if Crc32::of(payload).0 == header.payload_crc => Ok(Look::Frame(header, payload)),
        _ => Ok(Look::Bad),
    }
}

/// An open segment and a position in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) ordinal: u64,
    pub(super) source: Source,
    pub(super) len_bytes: u64,
    pub(super) at: u64,
}

/// Why reading stopped, for good or for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// Everything present was read; more may come.
    No,
    /// Nothing more will come.
    Ended,
    /// The inbox is left alone.
    Left(super::InboxProblemKind, String),
}

/// A position to return to, within one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    at: u64,
    next: Option<u64>,
}

/// One inbox.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) writer: WriterId,
    store: StoreId,
    pub(super) crc: HeadCrc,
    pub(super) use_map: bool,
    pub(super) segment: Option<Segment>,
    /// Ordinal of the segment to open next, if none is open.
    pub(super) ordinal: u64,
    /// A segment that is read although its header is bad.
    pub(super) without_head: Option<u64>,
    /// The number that must come next; `None` before the first frame.
    pub(super) next: Option<u64>,
    pub(super) numbers: Numbers,
    pub(super) stop: Stop,
    /// Held once its writer is gone.
    pub(super) lock: Option<Lock>,
    pub(super) checked_ms: u64,
    pub(super) bad_since_ms: Option<u64>,
    /// Why the last pass failed, if it did.
    pub(super) unreadable: Option<String>,
    /// What must come next and is not there: reading waits for it.
    pub(super) absent: Option<String>,
    /// A holder merged and removed what was to be read next.
    pub(super) is_overtaken: bool,
    /// The segment to open next has something else in the place of its header.
    pub(super) is_head_bad: bool,
    /// Other processes may merge and remove what is read.
    pub(super) is_guest: bool,
    /// Goes on after what is missing or damaged.
    pub(super) accepts_loss: bool,
    /// Some frames are missing in what was read.
    pub(super) has_hole: bool,
    /// Number of frames that a power cut took, as the frames after them show.
    pub(super) lost: u64,
    /// The last number that is in the store's log.
    pub(super) applied: u64,
    /// The position that holds it.
    pub(super) applied_at: crate::id::Lsn,
    /// Segments that were read to their end, with the position that must be durable before they are removed.
    pub(super) finished: Vec<(u64, crate::id::Lsn)>,
    /// A run that the store does not know, and the position at which it did not.
    pub(super) waits_for: Option<(crate::id::RunId, crate::id::Lsn)>,
}

pub(super) struct Lock(#[expect(dead_code, reason = "held, and released by dropping it")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Reader {
    pub(super) fn new(store: StoreId, writer: WriterId, first: u64, applied: u64, use_map: bool) -> Self {
        Self {
            writer,
            store,
            crc: HeadCrc::of_writer(store, writer),
            use_map,
            segment: None,
            ordinal: first,
            without_head: None,
            next: None,
            numbers: Numbers::default(),
            stop: Stop::No,
            lock: None,
            checked_ms: 0,
            bad_since_ms: None,
            unreadable: None,
            absent: None,
            is_overtaken: false,
            is_head_bad: false,
            is_guest: false,
            accepts_loss: false,
            has_hole: false,
            lost: 0,
            applied,
            applied_at: crate::id::Lsn::ZERO,
            finished: Vec::new(),
            waits_for: None,
        }
    }

    /// Whether a pass has work to do. One load if nothing is new.
    #[inline]
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        match (&self.stop, &self.segment) {
            (Stop::Left(..), _) => false,
            (Stop::No, Some(segment)) => {
                self.waits_for.is_some()
                    || !self.finished.is_empty()
                    || segment.source.end().map_or(true, |end| end != segment.at)
                    || self.checked_ms == 0
                    || now_ms.saturating_sub(self.checked_ms) >= LOCK_EVERY_MS
            }
            _ => true,
        }
    }

    /// Whether the writer is gone; its lock is then held here.
    pub(super) fn owner_is_gone(&mut self, storage: &dyn Storage) -> bool {
        if self.lock.is_none() {
            let path = format!("{}/{LOCK_NAME}", dir_of(self.writer));
            // An error (a read-only storage, too many open files) proves nothing: the lock counts as held.
            self.lock = storage.lock(&path, "a holder, to merge what a writer left").ok().flatten().map(Lock);
        }
        self.lock.is_some()
    }

    /// Makes the next look try the lock, even right after the last try.
    pub(super) fn try_lock_next(&mut self) {
        self.checked_ms = 0;
    }

    pub(super) fn release_lock(&mut self) {
        self.lock = None;
    }

    pub(super) fn place(&self) -> Place {
        Place { at: self.segment.as_ref().map_or(0, |segment| segment.at), next: self.next }
    }

    /// Returns to a position within the segment.
    pub(super) fn go_back(&mut self, place: Place) {
        if let Some(segment) = &mut self.segment {
            segment.at = place.at;
        }
        self.next = place.next;
    }

    /// Opens the segment to read, unless one is open. Returns whether there is one.
    pub(super) fn open(&mut self, storage: &dyn Storage) -> io::Result<bool> {
        if self.segment.is_some() {
            return Ok(true);
        }
        self.is_head_bad = false;
        let path = path_of(self.writer, self.ordinal);
        let (source, len_bytes) = match Source::open(storage, &path, self.use_map) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // It was shorter a moment ago.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            opened => opened?,
        };
        if len_bytes < FRAMES_AT {
            return Ok(false);
        }
        let mut head = [0; HEADER_BYTES];
        source.read(0, &mut head)?;
        match check_head(&head, self.store, self.writer, self.ordinal) {
            HeadFound::Good => {}
            HeadFound::Bad if self.without_head == Some(self.ordinal) => {}
            HeadFound::Bad => {
                // Of a header that was not written to its end there is a beginning, and then zeros.
                let written = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let whole = encode_head(self.store, self.writer, self.ordinal, 0);
                self.is_head_bad = head.get(..written) != whole.get(..written);
                return Ok(false);
            }
            HeadFound::Foreign(store, writer, ordinal) => {
                let why = format!("it is segment {ordinal} of writer {writer} of store {store}");
                self.leave(super::InboxProblemKind::Foreign, why);
                return Ok(false);
            }
            HeadFound::Newer(version) => {
                self.leave(super::InboxProblemKind::Foreign, format!("it has format {version}: use a newer Runlode"));
                return Ok(false);
            }
        }
        self.segment = Some(Segment { ordinal: self.ordinal, source, len_bytes, at: FRAMES_AT });
        self.absent = None;
        Ok(true)
    }

    pub(super) fn leave(&mut self, kind: super::InboxProblemKind, why: String) {
        let path = path_of(self.writer, self.ordinal);
        let at = self.segment.as_ref().map_or(0, |segment| segment.at);
        self.stop = Stop::Left(kind, format!("{path}, byte {at}: {why}"));
        self.release_lock();
        self.segment = None;
    }

    /// Up to where frames may be read now.
    pub(super) fn bound(&self) -> io::Result<u64> {
        let Some(segment) = &self.segment else { return Ok(0) };
        if self.lock.is_some() {
            // The writer is gone, and a power cut may have left any value in the word.
            return Ok(segment.len_bytes);
        }
        let end = segment.source.end()?;
        Ok(if end == END_NOT_KEPT { segment.len_bytes } else { end.min(segment.len_bytes) })
    }

    /// The frame at the present place.
    #[inline]
    pub(super) fn look<'a>(&self, window: &'a mut Window, bound: u64) -> io::Result<Look<'a>> {
        match &self.segment {
            Some(segment) => look(window, &segment.source, &self.crc, segment.at, bound),
            None => Ok(Look::Nothing),
        }
    }

    /// Checks that a frame with this number may be here; otherwise says what is wrong.
    #[inline]
    pub(super) fn refuses(&self, number: u64) -> Option<(super::InboxProblemKind, String)> {
        let (fits, kind, expected) = match self.next {
            Some(next) => (number == next, super::InboxProblemKind::Damage, next),
            None => (self.accepts_loss || number <= self.applied + 1, super::InboxProblemKind::Gap, self.applied + 1),
        };
        (!fits).then(|| (kind, format!("the frame has number {number}, but {expected} is the next one to merge")))
    }

    /// Counts what is missing before the first frame, which was accepted as lost.
    #[inline]
    pub(super) fn note_gap(&mut self, number: u64) {
        if self.next.is_none() && number > self.applied + 1 {
            // The frame may be gathered more than once.
            self.lost = self.lost.max(number - self.applied - 1);
            self.has_hole = true;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.segment.is_some()
    }

    /// Moves past a frame.
    #[inline]
    pub(super) fn advance(&mut self, header: &FrameHeader) {
        if let Some(segment) = &mut self.segment {
            segment.at += header.padded_bytes();
        }
        let number = header.lsn.0;
        self.next = Some(if header.kind == FrameKind::Batch { number + 1 } else { number });
        self.bad_since_ms = None;
    }

    /// Notes that the segment was read to its end.
    pub(super) fn finish_segment(&mut self) {
        if let Some(segment) = self.segment.take() {
            self.finished.push((segment.ordinal, self.applied_at));
            self.ordinal = segment.ordinal + 1;
        }
    }
}
