//! Decides what it means that an inbox has no good frame where one may be: nothing yet, the end, a loss, or damage.
//!
//! | found | lock held | lock free |
//! |---|---|---|
//! | zeros | not there yet | end |
//! | a mark, and no segment after it, or one without a header | gap where the inbox lies as it was made ([`super::note`]); else not there yet | the same; else end |
//! | a mark, the next segment is missing, and later ones are there | gap | gap; after a power cut as below |
//! | the same, but everything missing is already merged | reading goes on after them | the same |
//! | where the inbox lies as it was made: no whole frame below the published end | damage | damage |
//! | a bad frame below the published end | damage | as below |
//! | `end` not kept: a bad frame, followed by nothing good | not there yet | torn end |
//! | `end` not kept: a bad frame, followed by good ones that are still there at a second look | damage | as below |
//! | bad frames or zeros, followed by good frames which say that these were once synced, or where the inbox lies as it was made | - | damage |
//! | the same, but neither | - | a power cut took them: counted, and reading goes on after them |
//! | a first number that is more than one above the last merged one | gap: stop there, report | the same |
//! | good frames in a file without a good header | not there yet | read: their crcs say whose they are |
//!
//! Reading waits at a gap, and every look reports it. Damage, a gap before the first frame and files of others are left
//! alone and reported. Nothing of such an inbox is removed but what was merged before. A reader that accepts losses goes
//! on after them, once the writer is gone.

use std::io;

use super::note::{self, Standing};
use super::reader::{LOCK_EVERY_MS, Look, Reader, Stop, Window, look};
use super::report::InboxProblemKind;
use super::segment::{END_NOT_KEPT, FRAMES_AT, Source, bytes_min, list_segments, path_of};
use crate::log::{FRAME_HEADER_BYTES, FrameHeader, HeadCrc};
use crate::storage::Storage;

/// If a frame stays bad this long while its writer lives, the cause is examined.
const BAD_FOR_MS: u64 = 1_000;

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
    /// Decides what to do where there is no good frame, or no segment: wait, go on elsewhere, or stop. `is_bad`: there
    /// is something. Returns whether there may be more to read.
    pub(super) fn judge(
        &mut self,
        storage: &dyn Storage,
        window: &mut Window,
        now_ms: u64,
        is_bad: bool,
    ) -> io::Result<bool> {
        let gone_before = self.lock.is_some();
        let may_wait = self.absent.is_some() || !gone_before && !is_bad;
        if may_wait && now_ms.saturating_sub(self.checked_ms) < LOCK_EVERY_MS && self.checked_ms != 0 {
            return Ok(false);
        }
        self.checked_ms = now_ms.max(1);
        let gone = self.owner_is_gone(storage);
        if gone && !gone_before {
            // Now everything counts that the writer wrote before it ended.
            window.clear();
            return Ok(true);
        }
        let missed = match self.segment {
            Some(_) => self.miss_frames(storage, window, gone)?,
            None => self.miss_segment(storage, window, gone)?,
        };
        match missed {
            Missed::Nothing => self.absent = None,
            Missed::GoOn => {
                // What comes next is judged at once too.
                self.checked_ms = 0;
                return Ok(true);
            }
            Missed::Stop => return Ok(false),
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
                // A mark said that there is more. Nobody knows how much.
                self.lost += u64::from(self.accepts_loss && self.segment.is_none());
                self.finish_segment();
                self.stop = Stop::Ended;
                Ok(false)
            }
            Verdict::Damage => {
                let expected = self.next.unwrap_or(self.applied + 1);
                self.leave(InboxProblemKind::Damage, format!("the frame with number {expected} is damaged"));
                Ok(false)
            }
        }
    }

    /// Whether published frames are not in the open segment.
    fn miss_frames(&mut self, storage: &dyn Storage, window: &mut Window, gone: bool) -> io::Result<Missed> {
        let Some(segment) = &self.segment else { return Ok(Missed::Nothing) };
        let (end, least) = (segment.source.end()?, bytes_min(segment.ordinal));
        let why = if end == END_NOT_KEPT {
            if segment.len_bytes >= least {
                return Ok(Missed::Nothing);
            }
            format!("the file has {} bytes, but was made with at least {least}", segment.len_bytes)
        } else {
            if segment.at >= end {
                return Ok(Missed::Nothing);
            }
            // More may have been published since the last look.
            window.clear();
            let whole = matches!(self.look(window, end.min(segment.len_bytes))?, Look::Frame(..));
            window.clear();
            if whole {
                return Ok(Missed::GoOn);
            }
            let number = self.next.unwrap_or(self.applied + 1);
            let cut = match segment.len_bytes {
                len if len < end => format!("; the file ends at {len}"),
                _ => String::new(),
            };
            format!("frames up to byte {end} were written, but the one with number {number} is not whole{cut}")
        };
        if gone && self.accepts_loss || note::standing(storage, self.writer) != Standing::Here {
            return Ok(Missed::Nothing);
        }
        self.leave(InboxProblemKind::Damage, why);
        Ok(Missed::Stop)
    }

    /// Whether the segment that comes next was there, and is not.
    fn miss_segment(&mut self, storage: &dyn Storage, window: &mut Window, gone: bool) -> io::Result<Missed> {
        let path = path_of(self.writer, self.ordinal);
        let len_bytes = match Source::open(storage, &path, false) {
            Ok((_, len_bytes)) => Some(len_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // After the look at the segment: a holder removes earlier ones first.
        let there = match list_segments(storage, self.writer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            there => there?,
        };
        let later = there.iter().copied().find(|ordinal| *ordinal > self.ordinal).filter(|_| len_bytes.is_none());
        if let Some(later) = later
            && self.is_merged_before(storage, window, later)?
        {
            self.ordinal = later;
            self.next = None;
            return Ok(Missed::GoOn);
        }
        if gone && (self.accepts_loss || len_bytes.is_some_and(|len_bytes| len_bytes >= FRAMES_AT)) {
            // If there is a file: it may have whole frames, though no header.
            return Ok(Missed::Nothing);
        }
        let was_there = match note::standing(storage, self.writer) {
            Standing::Here => true,
            Standing::Copied => later.is_some() || self.is_head_bad,
            // After a power cut, whoever holds the store decides.
            Standing::Unknown => !gone && (later.is_some() || self.is_head_bad),
        };
        if !was_there {
            return Ok(Missed::Nothing);
        }
        let expected = self.next.unwrap_or(self.applied + 1);
        let lost = format!("its writer made it, and what it logged from number {expected} on was in it and after it");
        self.absent = Some(match len_bytes {
            Some(len_bytes) => {
                // Its header may have been written since the last look.
                if self.open(storage)? {
                    return Ok(Missed::GoOn);
                }
                if self.stop != Stop::No {
                    return Ok(Missed::Stop);
                }
                format!("{path} has {len_bytes} bytes and no header that can be read: {lost}")
            }
            None => {
                let before = self.finished.last().map(|(ordinal, _)| *ordinal);
                self.is_overtaken = self.is_guest && before.is_none_or(|before| !there.contains(&before));
                if self.is_overtaken {
                    format!("{path} was merged by another process while it was read here: read again")
                } else {
                    format!("{path} is missing: {lost}")
                }
            }
        });
        Ok(Missed::Stop)
    }

    /// Whether everything before a segment is merged: a holder removed segments while the store was copied or read.
    fn is_merged_before(&self, storage: &dyn Storage, window: &mut Window, ordinal: u64) -> io::Result<bool> {
        let (source, len_bytes) = Source::open(storage, &path_of(self.writer, ordinal), false)?;
        window.clear();
        let first = match look(window, &source, &self.crc, FRAMES_AT, len_bytes)? {
            Look::Frame(header, _) => Some(header.lsn.0),
            Look::Nothing | Look::Bad => None,
        };
        window.clear();
        Ok(first.is_some_and(|number| number <= self.applied + 1))
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
        // No power cut can be the cause.
        let is_whole = || note::standing(storage, self.writer) == Standing::Here;
        Ok(match first {
            None if self.segment.is_none() && !self.accepts_loss && (self.is_head_bad || is_whole()) => Verdict::Damage,
            None => Verdict::End,
            Some((ordinal, _, number))
                if number > lost_from
                    && !self.accepts_loss
                    && (vouched >= lost_from || self.is_head_bad && ordinal != here || is_whole()) =>
            {
                Verdict::Damage
            }
            Some((ordinal, at, number)) => Verdict::GoOn { ordinal, at, number },
        })
    }
}

/// What a look at a place without a frame shows.
enum Missed {
    /// Nothing shows that something is missing.
    Nothing,
    /// There is more to read after all.
    GoOn,
    /// Something is missing.
    Stop,
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
