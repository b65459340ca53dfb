//! Branches of a run: what a rewind leaves behind, and the keys under which the series of a branch are stored.
//!
//! A run begins as branch 0. Each rewind begins the next branch: it continues another one (`from`) up to and including
//! a step, and all points that are logged afterwards are its own. No point is copied or moved:
//!
//! ```text
//! branch 0   o--o--o--o--o--x--x--x        x: only in the dead branch
//! branch 1          to_step '--n--n--n--n  what branch 1 shows: o up to `to_step`, and n
//! ```
//!
//! A fork (`fork_run.rs`) is a run whose branch 1 continues a branch of another run: the same keys, with the parent's
//! series before its own. Its branch 0 is empty.
//!
//! A series is a run and a metric key. The points that branch `n > 0` adds to the metric `loss` are the series of the
//! key `loss NUL n`, in decimal. The statistics of the part that it continues are those of the key `loss NUL n <`,
//! which has no points. Users cannot give keys with a NUL. So code that works by run (purge, gates, lists of changes)
//! or by series (sealing, compaction, verification) need not know about branches; readers combine the series, and
//! appends choose that of the live branch.
//!
//! Invariants: `from < n`. Only the live branch gets points, so what a bound of steps shows of another branch never
//! changes. A fork's parent may get points, so a position bounds it as well. A key of branch `n` is defined in the
//! dictionary after its metric's own key, in the same frame at the latest.

use crate::entity::Rewind;

/// What separates a metric's key from the branch.
const SEPARATOR: char = '\0';
/// After the number: statistics of what the branch continues.
const KEPT: char = '<';

/// What a key of the dictionary stands for in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPart<'k> {
    /// The metric's key, as users know it.
    pub metric: &'k str,
    /// The branch that it belongs to.
    pub branch: u32,
    /// Whether it stands for what the branch continues, not for its own points.
    pub is_kept: bool,
}

/// The key of a branch's own points.
pub fn own_key(metric: &str, branch: u32) -> String {
    if branch == 0 { metric.to_owned() } else { format!("{metric}{SEPARATOR}{branch}") }
}

/// The key of the statistics of what a branch continues.
pub fn kept_key(metric: &str, branch: u32) -> String {
    format!("{metric}{SEPARATOR}{branch}{KEPT}")
}

/// Whether a user may have given this key.
pub fn is_plain(key: &str) -> bool {
    !key.contains(SEPARATOR)
}

/// What a key stands for; `None` for a malformed one.
pub fn parse(key: &str) -> Option<KeyPart<'_>> {
    let Some((metric, rest)) = key.split_once(SEPARATOR) else {
        return Some(KeyPart { metric: key, branch: 0, is_kept: false });
    };
    let (number, is_kept) = match rest.strip_suffix(KEPT) {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let branch = number.parse().ok().filter(|&branch: &u32| branch > 0 && branch.to_string() == number)?;
    Some(KeyPart { metric, branch, is_kept })
}

/// The branches that make up a branch, itself first, each with the last step that counts. `rewinds` are the run's, in
/// order. Empty if there is no such branch.
pub fn line(rewinds: &[Rewind], branch: u32) -> Vec<(u32, i64)> {
    let mut line = Vec::new();
    if branch as usize > rewinds.len() {
        return line;
    }
    line.push((branch, i64::MAX));
    let (mut at, mut bound) = (branch, i64::MAX);
    while let Some(rewind) = (at as usize).checked_sub(1).and_then(|index| rewinds.get(index)) {
        // A parent is older; damaged data must not cause an endless loop.
        if rewind.from >= at {
            break;
        }
        bound = bound.min(rewind.to_step);
        at = rewind.from;
        line.push((at, bound));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Lsn;

    #[test]
    fn keys_come_back_and_nothing_else_does() {
        assert_eq!(own_key("loss", 0), "loss");
        for metric in ["loss", "", "a/b c"] {
            for branch in [1, 7, u32::MAX] {
                let own = own_key(metric, branch);
                assert_eq!(parse(&own), Some(KeyPart { metric, branch, is_kept: false }));
                let kept = kept_key(metric, branch);
                assert_eq!(parse(&kept), Some(KeyPart { metric, branch, is_kept: true }));
                assert!(!is_plain(&own) && !is_plain(&kept));
            }
        }
        for odd in ["loss\0", "loss\0x", "loss\x000", "loss\x0001", "loss\x001<<", "loss\x001\0", "loss\0+1"] {
            assert_eq!(parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_line_goes_back_to_the_beginning_by_the_least_step() {
        let rewind = |from, to_step| Rewind { from, to_step, lsn: Lsn(1), at_ms: 0 };
        let rewinds = [rewind(0, 900), rewind(1, 1_200), rewind(0, 5)];
        assert_eq!(line(&rewinds, 0), [(0, i64::MAX)]);
        assert_eq!(line(&rewinds, 2), [(2, i64::MAX), (1, 1_200), (0, 900)]);
        assert_eq!(line(&rewinds, 3), [(3, i64::MAX), (0, 5)]);
        assert_eq!(line(&rewinds, 4), []);
        assert_eq!(line(&[rewind(1, 3)], 1), [(1, i64::MAX)]);
    }
}
