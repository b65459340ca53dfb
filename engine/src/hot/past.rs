//! Which points a series has above the sealed position: what a late point is compared with.
//!
//! The first looks read the points through. A series that is asked for again and again gets a set of them, which each
//! look brings up to date with what was logged since: so a store that gets a million old points out of order looks at
//! each point once, not at all points once a point. A set outlives sealing, as long as it is small and in use: what it
//! has need not be read from chunks then.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::id::{KeyId, Lsn};
use crate::point::PointId;

/// Looks at a series before it gets a set.
const LOOKS_BEFORE_SET: u32 = 3;
/// Sets of a run that are kept when its points are evicted, at most.
const KEPT_BYTES_MAX: usize = 4 << 20;

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
    pub(super) fn set_above(&mut self, sealed: Lsn) -> Option<&mut (Lsn, Lsn, FxHashSet<PointId>)> {
        self.used = true;
        if self.set.as_ref().is_some_and(|(from, ..)| *from > sealed) {
            // Of a reader that stood at a newer index than this one.
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
}

impl RunPast {
    /// Estimated bytes of private memory.
    pub(super) fn bytes(&self) -> usize {
        self.series.values().map(PastPoints::bytes).sum()
    }

    /// Forgets what is too much, or was not asked for since the last call.
    pub(super) fn forget(&mut self, tight: bool) {
        if tight || self.counted > KEPT_BYTES_MAX {
            self.series = FxHashMap::default();
        } else {
            self.series.retain(|_, past| std::mem::take(&mut past.used));
        }
    }
}
