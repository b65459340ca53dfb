//! Bringing a store into its final, smallest form.

use crate::error::Result;
use crate::wiring::Core;

/// How to compact.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CompactOptions {}

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Bytes given back to the disk.
    pub freed_bytes: u64,
}

impl Core {
    /// Puts all points into series files.
    pub(crate) fn compact(&self, _options: &CompactOptions) -> Result<CompactReport> {
        self.pipeline.sync()?;
        self.seal()?;
        Ok(CompactReport::default())
    }
}
