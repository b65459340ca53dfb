//! MANIFEST: the list of the log's segments, and of the series files that hold released points.
//!
//! ```text
//! MANIFEST, little endian
//!   0  magic "RLMANIF\n"
//!   8  version u32
//!  12  length of the file u32
//!  16  store id [16]
//!  32  generation u64
//!  40  first lsn u64: where the log begins
//!  48  counts, u32 each: segments, jumps, series files, losses
//!  64  segments:      ordinal u64, generation u64, first lsn u64, last lsn u64, length u64, footer crc u32, zeros [4]
//!      jumps:         kept lsn u64, next lsn u64
//!      series files:  first lsn u64, last lsn u64, length u64, footer crc u32, length of the name u32, name
//!      losses:        first lsn u64, last lsn u64
//!      crc32 of all bytes before it
//! ```
//!
//! MANIFEST is replaced as a whole: `MANIFEST.tmp` > fsync > rename > fsync of the store's folder. A segment is listed
//! before it is needed, the prepared next one too, so that starting a new segment does not wait for MANIFEST.
//!
//! - `generation` grows when compaction replaces files, not when a segment is added or finished.
//! - A segment with a range (`first..=last`) is *sealed*: its length and footer crc are those of the finished file. A
//!   segment without a range (both 0) belongs to the *tail*, which recovery scans; its length is the size it was
//!   prepared with. Sealed segments come first, in the order of ordinals. Their ranges touch, or a jump lies between
//!   them.
//! - A *jump* says that everything up to `kept` is kept, and that numbering went on with `next`. It is noted after a
//!   crash that may have taken frames whose numbers a reader had seen.
//! - A *loss* is a range of positions that an operator accepted to lose.
//! - Everything before `first lsn` is released.

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId, StoreId};
use crate::storage::{OpenMode, Storage, read_exact_at, write_all_at};
use crate::varint::Bytes;

use super::mutant::{self, Rule};
use super::segment::SegmentName;

/// Path of the MANIFEST.
pub const MANIFEST_PATH: &str = "MANIFEST";
pub(super) const MANIFEST_TMP_PATH: &str = "MANIFEST.tmp";
/// Version that this build writes, and the newest that it reads.
pub const MANIFEST_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RLMANIF\n";
const HEADER_BYTES: usize = 64;
/// Far above any real store; a longer file is damage.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// The range of a sealed segment, and the crc of its footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedRange {
    /// First Lsn.
    pub first: Lsn,
    /// Last Lsn.
    pub last: Lsn,
    /// crc of the footer.
    pub footer_crc: Crc32,
}

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedSegment {
    /// Which file.
    pub name: SegmentName,
    /// Sealed: its length; else the size it was prepared with.
    pub len_bytes: u64,
    /// `None`: part of the tail.
    pub sealed: Option<SealedRange>,
}

/// Numbers that were skipped after an unclean end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Everything up to here is kept.
    pub kept: Lsn,
    /// The number to go on with.
    pub next: Lsn,
}

/// A series file that holds points whose raw frames are released. Opaque to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthFile {
    /// Path in the store.
    pub name: String,
    /// Length of the file.
    pub len_bytes: u64,
    /// crc of its footer.
    pub footer_crc: Crc32,
    /// First Lsn that it covers.
    pub first: Lsn,
    /// Last Lsn that it covers.
    pub last: Lsn,
}

/// MANIFEST, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The store.
    pub store: StoreId,
    /// Grows when files are replaced.
    pub generation: u64,
    /// Where the log begins.
    pub first: Lsn,
    /// Live segments in order.
    pub segments: Vec<ListedSegment>,
    /// Jumps in order.
    pub jumps: Vec<Jump>,
    /// Series files that hold released points.
    pub series_files: Vec<TruthFile>,
    /// Ranges that were accepted as lost.
    pub losses: Vec<(Lsn, Lsn)>,
}

impl Manifest {
    /// MANIFEST of an empty store.
    pub(super) fn new(store: StoreId) -> Self {
        Self {
            store,
            generation: 1,
            first: Lsn(1),
            segments: Vec::new(),
            jumps: Vec::new(),
            series_files: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// The number that follows a kept one: the noted one, or the next.
    pub(super) fn after(&self, lsn: Lsn) -> Lsn {
        self.jump_behind(lsn).map_or(lsn.next(), |jump| jump.next)
    }

    pub(super) fn jump_behind(&self, lsn: Lsn) -> Option<Jump> {
        self.jumps.iter().rev().find(|jump| jump.kept == lsn).copied()
    }

    /// The last Lsn of the sealed segments; if there are none, the one before the log's first.
    pub(super) fn sealed_last(&self) -> Lsn {
        let last = self.segments.iter().rev().find_map(|segment| segment.sealed);
        last.map_or(Lsn(self.first.0.saturating_sub(1)), |range| range.last)
    }

    pub(super) fn find_mut(&mut self, name: SegmentName) -> Option<&mut ListedSegment> {
        self.segments.iter_mut().find(|segment| segment.name == name)
    }

    /// Inserts a segment at its place in the order.
    pub(super) fn list(&mut self, segment: ListedSegment) {
        let at = self.segments.partition_point(|other| other.name.id < segment.name.id);
        self.segments.insert(at, segment);
    }

    /// Checks that this engine could have written the list: order, touching ranges, fitting jumps. The error says what
    /// does not fit.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut ordinals = self.segments.iter().map(|segment| segment.name.id);
        if !ordinals.clone().zip(ordinals.by_ref().skip(1)).all(|(left, right)| left < right) {
            return Err("segments are not in the order of their ordinals".into());
        }
        let mut last = Lsn(self.first.0.saturating_sub(1));
        // The log may begin after a jump.
        let mut expected = Some(self.after(last));
        for segment in &self.segments {
            match (segment.sealed, expected) {
                (None, _) => expected = None,
                (Some(range), None) => {
                    return Err(format!(
                        "{} has the range {}..={} behind a segment without one",
                        segment.name, range.first, range.last
                    ));
                }
                (Some(range), Some(first)) => {
                    if range.first != first {
                        return Err(format!("{} begins at {}, not at {first}", segment.name, range.first));
                    }
                    if range.last < range.first {
                        return Err(format!("{} has the range {}..={}", segment.name, range.first, range.last));
                    }
                    last = range.last;
                    expected = Some(self.after(last));
                }
            }
        }
        if self.jumps.iter().any(|jump| jump.next <= jump.kept) {
            return Err("a jump goes backwards".into());
        }
        Ok(())
    }

    /// Removes jumps that a range, or the begin of the log, now covers.
    pub(super) fn prune_jumps(&mut self) {
        let ranges: Vec<_> = self.segments.iter().filter_map(|segment| segment.sealed).collect();
        let first = self.first;
        let swallowed = |jump: &Jump| ranges.iter().any(|range| range.first <= jump.kept && jump.next <= range.last);
        self.jumps.retain(|jump| jump.next > first && !swallowed(jump));
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.segments.len() * 48 + 64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&MANIFEST_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.first.0.to_le_bytes());
        for count in [self.segments.len(), self.jumps.len(), self.series_files.len(), self.losses.len()] {
            out.extend_from_slice(&(count as u32).to_le_bytes());
        }
        for segment in &self.segments {
            let none = SealedRange { first: Lsn::ZERO, last: Lsn::ZERO, footer_crc: Crc32(0) };
            let range = segment.sealed.unwrap_or(none);
            for number in [segment.name.id.0, segment.name.generation, range.first.0, range.last.0, segment.len_bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&range.footer_crc.0.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        for jump in &self.jumps {
            out.extend_from_slice(&jump.kept.0.to_le_bytes());
            out.extend_from_slice(&jump.next.0.to_le_bytes());
        }
        for file in &self.series_files {
            for number in [file.first.0, file.last.0, file.len_bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&file.footer_crc.0.to_le_bytes());
            out.extend_from_slice(&(file.name.len() as u32).to_le_bytes());
            out.extend_from_slice(file.name.as_bytes());
        }
        for (first, last) in &self.losses {
            out.extend_from_slice(&first.0.to_le_bytes());
            out.extend_from_slice(&last.0.to_le_bytes());
        }
        let len_bytes = (out.len() + 4) as u32;
        out[12..16].copy_from_slice(&len_bytes.to_le_bytes());
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        out
    }

    /// Decodes the file's bytes: the crc first, then the fields.
    fn decode(bytes: &[u8]) -> Decoded {
        let Some((covered, crc)) = bytes.split_last_chunk::<4>() else { return Decoded::Bad("too short") };
        if covered.len() < HEADER_BYTES || covered[..8] != MAGIC {
            return Decoded::Bad("no MANIFEST's magic");
        }
        if Crc32::of(covered).0 != u32::from_le_bytes(*crc) {
            return Decoded::Bad("a bad crc");
        }
        let mut rest = Bytes::new(&covered[8..]);
        match rest.u32() {
            Some(version) if version > MANIFEST_VERSION => return Decoded::Newer(version),
            Some(_) => {}
            None => return Decoded::Bad("too short"),
        }
        match Self::decode_fields(rest, bytes.len()) {
            Some(manifest) => Decoded::Good(manifest),
            None => Decoded::Bad("fields that do not fit its length"),
        }
    }

    fn decode_fields(mut rest: Bytes<'_>, len_bytes: usize) -> Option<Self> {
        if rest.u32()? as usize != len_bytes {
            return None;
        }
        let mut manifest = Self::new(StoreId(rest.array()?));
        manifest.generation = rest.u64()?;
        manifest.first = Lsn(rest.u64()?);
        let [segments, jumps, series_files, losses] = [rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?];
        for _ in 0..segments {
            let name = SegmentName { id: SegmentId(rest.u64()?), generation: rest.u64()? };
            let (first, last, len_bytes) = (Lsn(rest.u64()?), Lsn(rest.u64()?), rest.u64()?);
            let (footer_crc, _zeros) = (Crc32(rest.u32()?), rest.u32()?);
            let sealed = (last != Lsn::ZERO).then_some(SealedRange { first, last, footer_crc });
            manifest.segments.push(ListedSegment { name, len_bytes, sealed });
        }
        for _ in 0..jumps {
            manifest.jumps.push(Jump { kept: Lsn(rest.u64()?), next: Lsn(rest.u64()?) });
        }
        for _ in 0..series_files {
            let (first, last, len_bytes) = (Lsn(rest.u64()?), Lsn(rest.u64()?), rest.u64()?);
            let footer_crc = Crc32(rest.u32()?);
            let name_bytes = rest.u32()? as usize;
            let name = std::str::from_utf8(rest.take(name_bytes)?).ok()?.to_owned();
            manifest.series_files.push(TruthFile { name, len_bytes, footer_crc, first, last });
        }
        for _ in 0..losses {
            manifest.losses.push((Lsn(rest.u64()?), Lsn(rest.u64()?)));
        }
        rest.is_empty().then_some(manifest)
    }

    /// Reads MANIFEST. `None`: there is no such file.
    ///
    /// # Errors
    /// `Corrupt` if it is not whole, of another store, or lists impossible things; `UnsupportedFormat` if it is newer.
    pub fn load(storage: &dyn Storage, store: StoreId) -> Result<Option<Self>> {
        let path = storage.display_path(MANIFEST_PATH);
        let io = |op, error| Error::io(op, &path, error);
        let file = match storage.open(MANIFEST_PATH, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open", error)),
        };
        let len_bytes = file.len().map_err(|error| io("read the length", error))?;
        let bad = |found: &str| Error::corrupt(&path, 0, "MANIFEST", "the list of segments of this store", found);
        if len_bytes > MANIFEST_BYTES_MAX {
            return Err(bad(&format!("{len_bytes} bytes")));
        }
        let mut bytes = vec![0; len_bytes as usize];
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(|error| io("read", error))?;
        let manifest = match Self::decode(&bytes) {
            Decoded::Good(manifest) => manifest,
            Decoded::Bad(found) => return Err(bad(found)),
            Decoded::Newer(found) => {
                return Err(Error::UnsupportedFormat { path, found, supported: MANIFEST_VERSION });
            }
        };
        if manifest.store != store {
            return Err(bad(&format!("the list of store {}", manifest.store)));
        }
        manifest.check().map_err(|found| Error::corrupt(&path, 0, "chain of segments", "ranges that touch", found))?;
        Ok(Some(manifest))
    }

    /// Replaces the file; durable on return.
    ///
    /// # Errors
    /// `NotReplaced` while the old list certainly still counts, `Unknown` from the rename on.
    pub(super) fn replace(&self, storage: &dyn Storage) -> Result<(), ReplaceError> {
        let tmp = storage.display_path(MANIFEST_TMP_PATH);
        let before = |op| {
            let tmp = &tmp;
            move |error| ReplaceError::NotReplaced(Error::io(op, tmp, error))
        };
        let file = match storage.open(MANIFEST_TMP_PATH, OpenMode::CreateNew) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = storage.open(MANIFEST_TMP_PATH, OpenMode::ReadWrite).map_err(before("open"))?;
                file.set_len(0).map_err(before("cut"))?;
                file
            }
            opened => opened.map_err(before("create"))?,
        };
        write_all_at(file.as_ref(), &self.encode(), 0).map_err(before("write"))?;
        file.sync_all().map_err(before("fsync"))?;
        let path = storage.display_path(MANIFEST_PATH);
        let after = |op| {
            let path = &path;
            move |error| ReplaceError::Unknown(Error::io(op, path, error))
        };
        storage.rename(MANIFEST_TMP_PATH, MANIFEST_PATH).map_err(|error| match error.kind() {
            // A full disk refuses the rename as a whole.
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => before("rename")(error),
            _ => after("rename")(error),
        })?;
        if !mutant::left_out(Rule::ManifestFolder) {
            storage.sync_dir("").map_err(after("fsync of the folder of"))?;
        }
        Ok(())
    }
}

enum Decoded {
    Good(Manifest),
    Bad(&'static str),
    Newer(u32),
}

/// How a replacement of MANIFEST failed.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The old list stands.
    NotReplaced(Error),
    /// A crash could leave either list.
    Unknown(Error),
}

impl ReplaceError {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotReplaced(error) | Self::Unknown(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let mut manifest = Manifest::new(StoreId([5; 16]));
        manifest.generation = 3;
        let sealed = |first, last| Some(SealedRange { first: Lsn(first), last: Lsn(last), footer_crc: Crc32(0xabcd) });
        let named = |id, generation| SegmentName { id: SegmentId(id), generation };
        manifest.segments = vec![
            ListedSegment { name: named(1, 3), len_bytes: 5_000, sealed: sealed(1, 40) },
            ListedSegment { name: named(4, 0), len_bytes: 9_000, sealed: sealed(100, 140) },
            ListedSegment { name: named(5, 0), len_bytes: 262_144, sealed: None },
        ];
        manifest.jumps = vec![Jump { kept: Lsn(40), next: Lsn(100) }];
        manifest.series_files = vec![TruthFile {
            name: "series/3-1.ser".into(),
            len_bytes: 777,
            footer_crc: Crc32(1),
            first: Lsn(1),
            last: Lsn(40),
        }];
        manifest.losses = vec![(Lsn(41), Lsn(43))];
        manifest
    }

    fn good(bytes: &[u8]) -> Option<Manifest> {
        match Manifest::decode(bytes) {
            Decoded::Good(manifest) => Some(manifest),
            _ => None,
        }
    }

    #[test]
    fn it_comes_back_and_every_flip_and_cut_is_found() {
        let manifest = example();
        let bytes = manifest.encode();
        assert_eq!(good(&bytes), Some(manifest.clone()));
        manifest.check().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(good(&flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(good(&bytes[..len]), None, "cut to {len}");
        }
    }

    #[test]
    fn counts_that_lie_are_refused_without_allocating() {
        let mut bytes = example().encode();
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        let end = bytes.len() - 4;
        let crc = Crc32::of(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.0.to_le_bytes());
        assert_eq!(good(&bytes), None);
    }

    #[test]
    fn ranges_must_touch() {
        let mut manifest = example();
        manifest.jumps.clear();
        assert!(manifest.check().is_err());
        let mut manifest = example();
        manifest.segments[0].sealed = None;
        assert!(manifest.check().is_err());
        let mut manifest = example();
        manifest.segments.swap(0, 1);
        assert!(manifest.check().is_err());
    }

    #[test]
    fn jumps_within_a_range_are_forgotten() {
        let mut manifest = example();
        manifest.prune_jumps();
        assert_eq!(manifest.jumps.len(), 1);
        manifest.segments.remove(1);
        manifest.segments[0].sealed.as_mut().unwrap().last = Lsn(140);
        manifest.prune_jumps();
        assert!(manifest.jumps.is_empty());
    }
}
