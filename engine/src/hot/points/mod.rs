//! Metric points above the sealed position, and the running state of every series touched since.
//!
//! Per run one lock; per series a list of entries in the order of positions, and a tail:
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
//! A series of several entries has rollups of their points as well (`rolled`): a chart reads those.
//!
//! Invariants: entries and tail are in the order of Lsn; each entry keeps the stats of the series at its `last_lsn`
//! (all its points and wide rows up to there included), so "stats at P" is the last entry at most P plus a fold over
//! less than a block and so many wide rows as lie between two marks; `stats` covers all points ever logged to the
//! series, those in the index and in sealed files included; `base` is what was there at `base_lsn`.
//! The last rows are given to their series before anybody reads or changes these: [`RunHot::lock`] does it.
//! Whoever appends holds the sequencer from the lookup of a series to the push, and so does eviction, some thousand
//! series at a time: it cannot come between. Only upkeep evicts, one at a time.
//! The lock of a run is held for the work of some thousand series at most, and never while the log is read.

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
pub use run::{Changed, Gate, RunHot};
pub use runs::HotRuns;
pub use series::COPY_POINTS_MAX;
pub use slots::{Evict, RunSeries};
pub use stats::StatsAt;
