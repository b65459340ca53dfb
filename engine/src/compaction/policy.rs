//! Which files are worth rewriting, and when: pure functions of sizes and times.
//!
//! Invariants: a choice is a list of whole runs of neighbours, in order. For a store that was just compacted nothing is
//! chosen, so a repeated compaction costs one look.

use std::ops::Range;

/// A finished segment, for the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSize {
    /// Length in bytes.
    pub bytes: u64,
    /// Whether it may hold points that are in series files, because compaction has not rewritten it yet.
    pub raw: bool,
    /// Whether it holds events of runs that were purged since.
    pub dirty: bool,
}

/// A series file, for the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileSize {
    /// Length in bytes.
    pub bytes: u64,
    /// Number of points, those of purged runs included.
    pub points: u64,
    /// Number of points that the index still names.
    pub live_points: u64,
    /// Points in chunks that merging would reduce in number: small chunks, and chunks that share steps with others.
    pub scattered_points: u64,
}

/// Runs of neighbours to rewrite: raw and dirty segments, and small ones next to them or to one another.
pub fn choose_segments(segments: &[SegmentSize], target_bytes: u64) -> Vec<Range<usize>> {
    let must = |segment: &SegmentSize| segment.raw || segment.dirty;
    let may = |segment: &SegmentSize| must(segment) || segment.bytes < target_bytes / 4;
    let mut runs = Vec::new();
    let mut start = 0;
    for run in segments.chunk_by(|a, b| may(a) && may(b)) {
        let range = start..start + run.len();
        start = range.end;
        if run.iter().any(must) || (run.len() > 1 && run.iter().all(may)) {
            runs.push(range);
        }
    }
    runs
}

/// The files to rewrite, as indexes in the list: those with points of purged runs, those whose chunks are scattered,
/// and small ones if there are several.
pub fn choose_files(files: &[FileSize], target_bytes: u64) -> Vec<usize> {
    let must = |file: &FileSize| {
        file.live_points < file.points || file.live_points == 0 || file.scattered_points * 5 >= file.points
    };
    let small = |file: &FileSize| is_small(file.bytes, target_bytes);
    let chosen: Vec<usize> =
        (0..files.len()).filter(|at| files.get(*at).is_some_and(|f| must(f) || small(f))).collect();
    match chosen.as_slice() {
        // A single file that is only small, or whose scattered chunks have nothing to merge with, is best left alone.
        [only] if files.get(*only).is_some_and(|f| f.live_points == f.points && f.live_points > 0) => Vec::new(),
        _ => chosen,
    }
}

/// A store without appends for this long is at rest.
const REST_MS: u64 = 60_000;
/// Log that is still raw, at which a compaction pays whatever the store holds.
const RAW_BYTES: u64 = 64 << 20;
/// The same if it is a quarter of the store.
const RAW_BYTES_MIN: u64 = 4 << 20;
/// As many small series files make reads slow.
const SMALL_FILES: usize = 16;

/// A store, for the choice of when to compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// For how long nothing was appended.
    pub idle_ms: u64,
    /// Bytes of finished segments that compaction has not rewritten yet.
    pub raw_bytes: u64,
    /// Bytes of log and series files.
    pub total_bytes: u64,
    /// Number of series files that a compaction would merge.
    pub small_files: usize,
    /// Number of runs purged since the last compaction, as far as this process knows.
    pub purged_runs: u64,
}

/// Why a compaction is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Due {
    /// Purged runs are still on the disk.
    Purged,
    /// Much of the log is raw: it holds points that are in series files too.
    Raw,
    /// There are many small series files.
    Small,
}

/// Whether to compact now; only at rest.
pub fn due(standing: &Standing) -> Option<Due> {
    if standing.idle_ms < REST_MS {
        return None;
    }
    let much = standing.raw_bytes >= RAW_BYTES
        || (standing.raw_bytes >= RAW_BYTES_MIN && standing.raw_bytes >= standing.total_bytes / 4);
    match () {
        () if standing.purged_runs > 0 => Some(Due::Purged),
        () if much => Some(Due::Raw),
        () if standing.small_files >= SMALL_FILES => Some(Due::Small),
        () => None,
    }
}

/// Whether a series file of this length is small.
pub fn is_small(bytes: u64, target_bytes: u64) -> bool {
    bytes < target_bytes / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compaction_is_due_at_rest_only_and_if_it_pays() {
        let rest = Standing { idle_ms: REST_MS, total_bytes: 1 << 30, ..Standing::default() };
        let table = [
            (rest, None),
            (Standing { purged_runs: 1, ..rest }, Some(Due::Purged)),
            (Standing { purged_runs: 1, raw_bytes: RAW_BYTES, small_files: 99, ..rest }, Some(Due::Purged)),
            (Standing { purged_runs: 1, idle_ms: REST_MS - 1, ..rest }, None),
            (Standing { raw_bytes: RAW_BYTES, small_files: 99, ..rest }, Some(Due::Raw)),
            (Standing { raw_bytes: RAW_BYTES, idle_ms: 0, ..rest }, None),
            (Standing { raw_bytes: RAW_BYTES - 1, ..rest }, None),
            (Standing { raw_bytes: RAW_BYTES_MIN, total_bytes: 4 * RAW_BYTES_MIN, ..rest }, Some(Due::Raw)),
            (Standing { raw_bytes: RAW_BYTES_MIN, total_bytes: 5 * RAW_BYTES_MIN, ..rest }, None),
            (Standing { raw_bytes: RAW_BYTES_MIN - 1, total_bytes: RAW_BYTES_MIN, ..rest }, None),
            (Standing { small_files: SMALL_FILES, ..rest }, Some(Due::Small)),
            (Standing { small_files: SMALL_FILES - 1, ..rest }, None),
        ];
        for (standing, expected) in table {
            assert_eq!(due(&standing), expected, "{standing:?}");
        }
    }

    const MIB: u64 = 1 << 20;

    fn segment(bytes: u64, raw: bool, dirty: bool) -> SegmentSize {
        SegmentSize { bytes, raw, dirty }
    }

    #[test]
    fn raw_segments_go_with_their_small_neighbours_and_nothing_is_done_twice() {
        let compacted = |bytes| segment(bytes, false, false);
        let raw = segment(64 * MIB, true, false);
        let one = |range: Range<usize>| vec![range];
        assert_eq!(choose_segments(&[compacted(60 * MIB), raw, raw], 64 * MIB), one(1..3));
        assert_eq!(choose_segments(&[compacted(MIB), raw, compacted(50 * MIB)], 64 * MIB), one(0..2));
        assert_eq!(choose_segments(&[compacted(MIB), compacted(40 * MIB), raw], 64 * MIB), one(2..3));
        assert_eq!(choose_segments(&[compacted(MIB), compacted(MIB)], 64 * MIB), one(0..2));
        assert!(choose_segments(&[compacted(MIB)], 64 * MIB).is_empty());
        assert!(choose_segments(&[compacted(30 * MIB), compacted(MIB), compacted(30 * MIB)], 64 * MIB).is_empty());
        assert_eq!(choose_segments(&[segment(60 * MIB, false, true)], 64 * MIB), one(0..1));
        assert!(choose_segments(&[], 64 * MIB).is_empty());
    }

    #[test]
    fn files_with_dead_or_scattered_points_go_and_a_lone_small_one_stays() {
        let file = |bytes, dead: u64, scattered_points| FileSize {
            bytes,
            points: 100,
            live_points: 100 - dead,
            scattered_points,
        };
        let good = file(200 * MIB, 0, 0);
        assert!(choose_files(&[good, good], 256 * MIB).is_empty());
        assert!(choose_files(&[good, file(MIB, 0, 0)], 256 * MIB).is_empty());
        assert_eq!(choose_files(&[file(MIB, 0, 0), good, file(MIB, 0, 0)], 256 * MIB), [0, 2]);
        assert_eq!(choose_files(&[good, file(200 * MIB, 1, 0)], 256 * MIB), [1]);
        assert_eq!(choose_files(&[file(MIB, 100, 0)], 256 * MIB), [0]);
        assert_eq!(choose_files(&[file(200 * MIB, 0, 20), good, file(200 * MIB, 0, 30)], 256 * MIB), [0, 2]);
    }
}
