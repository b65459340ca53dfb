//! The points of a series above the sealed position, with which late points are compared.
//!
//! The first lookups read the points. A series that is asked for again and again gets a set of them, and each lookup
//! adds the points logged since. So a store that receives a million old points out of order reads each point once, not
//! all points for each point. A set outlives sealing while it is in use and memory is not short: its points then need
//! not be read from chunks.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::id::{KeyId, Lsn};
use crate::point::PointId;

/// Number of lookups before a series gets a set.
const LOOKS_BEFORE_SET: u32 = 3;

/// The known points of one series.
#[derive(Debug, Default)]
pub(super) struct PastPoints {
    looks: u32,
    used: bool,
    /// The points above the first position and at most the second.
    set: Option<(Lsn, Lsn, FxHashSet<PointId>)>,
}

impl PastPoints {
    /// The set, if it has all points above `sealed`; made once the series was asked for often enough. Points above
    /// `evicted` are in memory.
    pub(super) fn set_above(&mut self, sealed: Lsn, evicted: Lsn) -> Option<&mut (Lsn, Lsn, FxHashSet<PointId>)> {
        self.used = true;
        // The set was made for a newer index than this reader has, or points left memory before it saw them.
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

/// The known points of all series of a run that were asked for.
#[derive(Debug, Default)]
pub(super) struct RunPast {
    pub(super) series: FxHashMap<KeyId, PastPoints>,
    /// Bytes that were last counted for this run.
    pub(super) counted: usize,
    /// Points up to here may have left memory.
    pub(super) evicted: Lsn,
}

impl RunPast {
    /// Estimated bytes of private memory.
    pub(super) fn bytes(&self) -> usize {
        self.series.values().map(PastPoints::bytes).sum()
    }

    /// Called before points leave memory. Forgets the series not asked for since the last call, or all of them if
    /// memory is short. `newer` adds to a set the points of its series above a position; if that fails, the set is
    /// forgotten.
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
