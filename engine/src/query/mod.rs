//! Reading: snapshots, the points of a series, which runs match, and the past.
//!
//! ```text
//!  RunRow (state, lifecycle, stats) --upsert--> Projection --+
//!                                                            +-- search --> SearchPage { runs, next: PageToken }
//!  SearchQuery { filter, order, view, limit, after } --------+
//! ```
//!
//! A [`projection::Projection`] holds the runs of one experiment as columns in memory, and [`projections`] keeps it up
//! to date; [`base`] says what it is made from, [`saved`] when it is kept in `search.snap`. What it answers is, by
//! property test, what [`reference`](mod@reference) answers row by row; the latter also serves snapshots older than the
//! projection.

pub(crate) mod base;
pub mod branches;
pub mod column;
pub mod dictionary;
pub mod filter;
pub(crate) mod history;
pub(crate) mod late;
pub mod like;
pub mod number;
pub mod page;
pub(crate) mod past;
pub mod plan;
pub mod points;
pub mod projection;
pub(crate) mod projections;
pub mod reference;
pub mod row;
pub(crate) mod saved;
pub mod search;
pub mod snap;
pub mod snap_file;
pub(crate) mod snapshot;
pub mod sort;

#[cfg(test)]
mod tests;

pub use filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term, TextKey, TextTest};
pub use page::PageToken;
pub use projection::Projection;
pub use projections::RenderPlace;
pub use row::{RunRow, Source};
pub use search::{SearchPage, SearchQuery, View};
pub use sort::{Key, OrderKey};
