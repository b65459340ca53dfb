//! Points that were logged together, where they lie.

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
    /// A column of a block that other series share.
    Rows(Arc<NarrowRows>, u32),
    Mark,
}

/// Points that were logged together, in place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) context: ContextId,
    /// Of the series' newest point when the entry was made: of a block's last one, or of a wide row behind it.
    pub(super) last_lsn: Lsn,
    /// Of the whole series up to `last_lsn`.
    pub(super) stats: Stats,
}

/// Where a series section lies: its body in a source.
#[derive(Debug, Clone)]
pub struct SectionRef {
    /// The segment.
    pub source: Arc<dyn SectionSource>,
    /// Offset of the body in it.
    pub offset: u64,
    /// Length of the body in bytes.
    pub len: u32,
    /// Flags of the section.
    pub flags: u8,
}
