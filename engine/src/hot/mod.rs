//! The state above the index: what was appended and is not yet applied or sealed.
//!
//! Three parts: [`entities`] (versions of entities since the applied position), [`points`] (metric points since the
//! sealed position, as references into log frames or packed heads) and [`dictionary`] (numbers of metric keys).
//! All of it comes back by replaying the log; nothing here is ever written to disk.
//!
//! Visibility: every item carries the Lsn it came with; a snapshot at P reads what is at most P. Nothing that a pinned
//! snapshot may still need is evicted ([`crate::pins`]).

pub mod dictionary;
pub mod entities;
pub mod points;
pub mod writers;

use crate::error::Result;

/// Bytes that a hot reference points into, such as a log segment.
pub trait SectionSource: Send + Sync + std::fmt::Debug {
    /// Fills `out` with the bytes from `offset` on.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}
