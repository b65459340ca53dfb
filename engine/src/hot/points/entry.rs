//! An entry: points of one series that were logged together, and the place where they lie.

use std::sync::Arc;

use super::head::HeadPoint;
use super::narrow::NarrowRows;
use crate::hot::SectionSource;
use crate::id::{ContextId, Lsn};
use crate::point::Stats;

#[derive(Debug, Clone)]
pub(super) enum Place {
    Section {
        source: Arc<dyn SectionSource>,
        offset: u64,
        len: u32,
        flags: u8,
    },
    Block(Arc<Vec<HeadPoint>>),
    /// A column of a block that several series share.
    Rows(Arc<NarrowRows>, u32),
    Mark,
}

/// Points that were logged together, left in place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) context: ContextId,
    /// Position of the series' newest point when the entry was made: the last one of a block, or one of a wide row
    /// after it.
    pub(super) last_lsn: Lsn,
    /// Stats of the whole series up to `last_lsn`.
    pub(super) stats: Stats,
}

/// Reference to the body of a series section in the log.
#[derive(Debug, Clone)]
pub struct SectionRef {
    /// The segment that holds the section.
    pub source: Arc<dyn SectionSource>,
    /// Offset of the body in the segment, in bytes.
    pub offset: u64,
    /// Length of the body in bytes.
    pub len: u32,
    /// Flags of the section.
    pub flags: u8,
}
