//! Which points a series has above the sealed position: what a late point is compared with.
//!
//! The first looks read the points through. A series that is asked for again and again gets a set of them, which each
//! look brings up to date with what was logged since: so a store that gets a million old points out of order looks at
//! each point once, not at all points once a point. A set outlives sealing, as long as it is in use and memory is not
//! short: what it has need not be read from chunks then.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::id::{KeyId, Lsn};
use crate::point::PointId;

/// Looks at a series before it gets a set.
const LOOKS_BEFORE_SET: u32 = 3;

/// One series.
#[derive(Debug, Default)]
pub(super) struct PastPoints {
    looks: u32,
    used: bool,
    /// The points above the first position, at most the second.
    set: Option<(Lsn, Lsn, FxHashSet<PointId>)>,
}

impl PastPoints {
    /// The set, if it has all points above `sealed`; made if the series was asked for often enough.
    /// `evicted`: points above this are in memory.
    pub(super) fn set_above(&mut self, sealed: Lsn, evicted: Lsn) -> Option<&mut (Lsn, Lsn, FxHashSet<PointId>)> {
        self.used = true;
        // Of a reader that stood at a newer index than this one; or points left memory that it has not seen.
        if self.set.as_ref().is_some_and(|(from, to, _)| *from > sealed || *to < evicted) {
            self.set = None;
        }
        self.looks = self.looks.saturating_add(1);
        if self.set.is_none() && self.looks > LOOKS_BEFORE_SET {
            self.set = Some((sealed, sealed, FxHashSet::default()));
        }
        self.set.as_mut()
    }

    /// Estimated bytes of private memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.set.as_ref().map_or(0, |(.., set)| set.capacity() * (size_of::<PointId>() + 1))
    }
}

/// All series of a run that were asked for.
#[derive(Debug, Default)]
pub(super) struct RunPast {
    pub(super) series: FxHashMap<KeyId, PastPoints>,
    /// Bytes that were counted.
    pub(super) counted: usize,
    /// Points up to here may have left memory.
    pub(super) evicted: Lsn,
}

impl RunPast {
    /// Estimated bytes of private memory.
    pub(super) fn bytes(&self) -> usize {
        self.series.values().map(PastPoints::bytes).sum()
    }

    /// Forgets what was not asked for since the last call, or all of it where memory is short. Points are about to leave memory: `newer` adds
    /// those of a series above a position, or fails, and the set is forgotten.
    pub(super) fn forget(&mut self, tight: bool, newer: impl Fn(KeyId, &mut Lsn, &mut FxHashSet<PointId>) -> bool) {
        if tight {
            self.series = FxHashMap::default();
            return;
        }
        self.series.retain(|key, past| {
            let set = past.set.as_mut();
            std::mem::take(&mut past.used) && set.is_none_or(|(_, to, set)| newer(*key, to, set))
        });
    }
}
