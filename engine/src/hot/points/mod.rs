//! Metric points above the sealed position, and the running state of every series touched since.
//!
//! Each run has one lock. Each series has a list of entries in the order of positions, and a tail:
//!
//! ```text
//! series: base stats | entry entry entry ... | tail of packed points | running stats
//! entry = a section in a log frame (source, offset, length)   long sections: nothing is copied
//!       | a frozen block of packed points                     short sections, and narrow rows that were read at once
//!       | a column of a block of rows                         narrow rows: see `narrow`
//!       | a mark                                              no points: the stats after some wide rows
//! run:    wide rows, in the log ([`wide`])                    of these a series has nothing but its running stats
//!         last rows, narrow ones                              of these a series knows nothing yet
//! ```
//!
//! A series of several entries also has rollups of their points (`rolled`), which charts read.
//!
//! Invariants:
//!
//! - Entries and tail are in the order of Lsn.
//! - Each entry keeps the stats of the series at its `last_lsn`, including all points and wide rows up to there. So the
//!   stats at a position P are those of the last entry at or before P, plus a fold over less than a block of points and
//!   over the wide rows between two marks.
//! - `stats` covers all points ever logged to the series, including those in the index and in sealed files. `base` are
//!   the stats at `base_lsn`.
//! - [`RunHot::lock`] hands the last rows to their series before anybody reads or changes these.
//! - An append holds the sequencer from the lookup of a series to the push. Eviction holds it too, for some thousand
//!   series at a time, so it cannot come between the two. Only upkeep evicts, one eviction at a time.
//! - The lock of a run is held for the work of some thousand series at most, and never while the log is read.

mod entry;
mod head;
mod narrow;
mod past;
mod read;
mod rolled;
mod run;
mod runs;
mod series;
mod slots;
mod stats;
pub mod wide;

pub use entry::SectionRef;
pub use read::{HotPoints, Part};
pub use rolled::{RolledPoints, RollupList};
pub use run::{Gate, RunHot};
pub use runs::HotRuns;
pub use series::COPY_POINTS_MAX;
pub use slots::{Evict, RunSeries};
pub use stats::StatsAt;
