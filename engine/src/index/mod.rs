//! State derived from the log: entities, names, latest values, chunk directory, event lists, positions.
//!
//! One redb file, `index.redb`, that may be deleted at any time: the next open rebuilds it from the log and the series
//! files. [`tables`] says what each table holds, [`keys`] and [`rows`] give the bytes of keys and rows, [`store`] opens
//! the file, [`change`] describes a write, `write` performs it, and [`read`] reads.
//!
//! Invariants:
//! - One [`IndexChange`] is one redb transaction: rows and the positions they belong to (applied, sealed, generation)
//!   change together or not at all.
//! - It never knows more than the durable log: the caller of a write ensures `applied` <= durable.
//! - It knows no event and no frame: it stores the states, statistics and lists of positions that it is given.

pub mod backend;
pub mod change;
pub mod keys;
pub mod read;
pub mod rows;
mod stats_page;
pub mod store;
pub mod tables;
mod write;

pub use change::{ChunkRows, DictionaryEntry, IdempotencyEntry, IndexChange, Rows};
pub use read::{IndexRead, WantedStats};
pub(crate) use stats_page::KEYS_OF_PAGE;
pub use store::{Index, Judged, Opened};
