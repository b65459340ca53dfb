//! Reads one inbox for its holder: frames in the order of their numbers, each once it is complete.
//!
//! Cases after the last good frame:
//!
//! | found | lock held | lock free |
//! |---|---|---|
//! | zeros, or the next segment is missing | not there yet | end |
//! | a bad frame below the published end | damage | as below |
//! | `end` not kept: a bad frame, followed by nothing good | not there yet | torn end |
//! | `end` not kept: a bad frame, followed by good ones that are still there at a second look | damage | as below |
//! | bad frames or zeros, followed by good frames which say that these were once synced | - | damage |
//! | the same, but they do not say so | - | a power cut took them: counted, and reading goes on after them |
//! | the same, but everything missing is already merged | - | reading goes on after them |
//! | a first number that is more than one above the last merged one | gap: stop there, report | the same |
//! | good frames in a file without a good header | not there yet | read: their crcs say whose they are |
//!
//! Damage, gaps and files of others are left alone and reported; the inbox is then never removed.

use std::io;

use super::segment::{
    END_NOT_KEPT, FRAMES_AT, HEADER_BYTES, HeadFound, LOCK_NAME, Source, check_head, dir_of, ordinal_of, path_of,
};
use crate::checksum::Crc32;
use crate::id::{StoreId, WriterId};
use crate::log::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeadCrc};
use crate::storage::Storage;

use super::gather::Numbers;

/// Bytes that are copied out of a segment at a time.
const WINDOW_BYTES: usize = 128 << 10;
/// If a frame stays bad this long while its writer lives, the cause is examined.
const BAD_FOR_MS: u64 = 1_000;
/// How often the lock of an inbox without news is tried.
const LOCK_EVERY_MS: u64 = 1_000;

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
fn look<'a>(window: &'a mut Window, source: &Source, crc: &HeadCrc, at: u64, bound: u64) -> io::Result<Look<'a>> {
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
struct Segment {
    ordinal: u64,
    source: Source,
    len_bytes: u64,
    at: u64,
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
    crc: HeadCrc,
    use_map: bool,
    segment: Option<Segment>,
    /// Ordinal of the segment to open next, if none is open.
    ordinal: u64,
    /// A segment that is read although its header is bad.
    without_head: Option<u64>,
    /// The number that must come next; `None` before the first frame.
    next: Option<u64>,
    pub(super) numbers: Numbers,
    pub(super) stop: Stop,
    /// Held once its writer is gone.
    lock: Option<Lock>,
    checked_ms: u64,
    bad_since_ms: Option<u64>,
    /// Why the last pass failed, if it did.
    pub(super) unreadable: Option<String>,
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

struct Lock(#[expect(dead_code, reason = "held, and released by dropping it")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// The ordinals of the segments in an inbox's folder, ascending.
pub(super) fn list_segments(storage: &dyn Storage, writer: WriterId) -> io::Result<Vec<u64>> {
    let entries = storage.list(&dir_of(writer))?;
    let mut ordinals: Vec<u64> = entries.iter().filter_map(|entry| ordinal_of(&entry.name)).collect();
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// The result of judging a place.
enum Verdict {
    NotYet,
    /// Reading goes on with this number, at this place of a segment.
    GoOn {
        ordinal: u64,
        at: u64,
        number: u64,
    },
    End,
    Damage,
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
            HeadFound::Bad => return Ok(false),
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
            None => (number <= self.applied + 1, super::InboxProblemKind::Gap, self.applied + 1),
        };
        (!fits).then(|| (kind, format!("the frame has number {number}, but {expected} is the next one to merge")))
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

    /// Decides what to do where there is no good frame: wait, go on elsewhere, or stop. `is_bad`: there is something.
    /// Returns whether there may be more to read.
    pub(super) fn judge(
        &mut self,
        storage: &dyn Storage,
        window: &mut Window,
        now_ms: u64,
        is_bad: bool,
    ) -> io::Result<bool> {
        let gone_before = self.lock.is_some();
        if !gone_before && !is_bad && now_ms.saturating_sub(self.checked_ms) < LOCK_EVERY_MS && self.checked_ms != 0 {
            return Ok(false);
        }
        self.checked_ms = now_ms.max(1);
        let gone = self.owner_is_gone(storage);
        if gone && !gone_before {
            // Now everything counts that the writer wrote before it ended.
            window.clear();
            return Ok(true);
        }
        let kept = match &self.segment {
            Some(segment) => segment.source.end()? != END_NOT_KEPT,
            None => false,
        };
        if !gone {
            if !is_bad {
                return Ok(false);
            }
            let since = *self.bad_since_ms.get_or_insert(now_ms);
            if !kept && now_ms.saturating_sub(since) < BAD_FOR_MS {
                return Ok(false);
            }
        }
        match self.verdict(storage, window, gone, kept)? {
            Verdict::NotYet => Ok(false),
            Verdict::GoOn { ordinal, at, number } => {
                let lost_from = self.next.unwrap_or(0).max(self.applied + 1);
                self.lost += number.saturating_sub(lost_from);
                self.has_hole = true;
                self.next = Some(number);
                match &mut self.segment {
                    Some(segment) if segment.ordinal == ordinal => segment.at = at,
                    _ => {
                        self.finish_segment();
                        self.ordinal = ordinal;
                        // Whatever its header is, it has good frames.
                        self.without_head = Some(ordinal);
                    }
                }
                Ok(true)
            }
            Verdict::End => {
                self.finish_segment();
                self.stop = Stop::Ended;
                Ok(false)
            }
            Verdict::Damage => {
                let expected = self.next.unwrap_or(self.applied + 1);
                self.leave(super::InboxProblemKind::Damage, format!("the frame with number {expected} is damaged"));
                Ok(false)
            }
        }
    }

    fn verdict(&self, storage: &dyn Storage, window: &mut Window, gone: bool, kept: bool) -> io::Result<Verdict> {
        let here = self.segment.as_ref().map_or(self.ordinal, |segment| segment.ordinal);
        // Good frames after this place: the first one, and what they say was synced.
        let (mut first, mut vouched) = (None, 0);
        let mut note = |ordinal: u64, at: u64, header: &FrameHeader| {
            vouched = vouched.max(header.vouched().0);
            first.get_or_insert((ordinal, at, header.lsn.0));
        };
        if let Some(segment) = &self.segment {
            let bound = if gone { segment.len_bytes } else { self.bound()? };
            scan(window, &segment.source, &self.crc, segment.at, bound, |at, header| note(here, at, header))?;
        }
        for ordinal in list_segments(storage, self.writer)? {
            if ordinal < here || ordinal == here && self.segment.is_some() {
                continue;
            }
            let (source, len_bytes) = Source::open(storage, &path_of(self.writer, ordinal), self.use_map)?;
            window.clear();
            scan(window, &source, &self.crc, FRAMES_AT, len_bytes, |at, header| note(ordinal, at, header))?;
        }
        window.clear();
        if !gone {
            if kept {
                return Ok(Verdict::Damage);
            }
            // It may have been completed, with others, between the two looks.
            let bound = self.bound()?;
            let whole = matches!(self.look(window, bound)?, Look::Frame(..));
            window.clear();
            return Ok(if whole || first.is_none() { Verdict::NotYet } else { Verdict::Damage });
        }
        let lost_from = self.next.unwrap_or(0).max(self.applied + 1);
        Ok(match first {
            None => Verdict::End,
            Some((.., number)) if number > lost_from && vouched >= lost_from => Verdict::Damage,
            Some((ordinal, at, number)) => Verdict::GoOn { ordinal, at, number },
        })
    }

    /// Handles the case that the announced next segment is missing or has no header.
    pub(super) fn judge_missing(
        &mut self,
        storage: &dyn Storage,
        window: &mut Window,
        now_ms: u64,
    ) -> io::Result<bool> {
        self.judge(storage, window, now_ms, false)
    }
}

/// Calls `each` with every good frame from a place on; one might begin at each 16 bytes.
fn scan(
    window: &mut Window,
    source: &Source,
    crc: &HeadCrc,
    from: u64,
    bound: u64,
    mut each: impl FnMut(u64, &FrameHeader),
) -> io::Result<()> {
    let mut at = from;
    while at + FRAME_HEADER_BYTES as u64 <= bound {
        match look(window, source, crc, at, bound)? {
            Look::Frame(header, _) => {
                each(at, &header);
                at += header.padded_bytes();
            }
            Look::Nothing | Look::Bad => at += 16,
        }
    }
    Ok(())
}
