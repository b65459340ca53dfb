//! The search of runs, without a store: which runs match, and in which order.
//!
//! ```text
//!  RunRow (state, lifecycle, stats) --upsert--> Projection --+
//!                                                            +-- search --> SearchPage { runs, next: PageToken }
//!  SearchQuery { filter, order, view, limit, after } --------+
//! ```
//!
//! A `Projection` (`table`) holds the runs of one experiment as columns in memory; `scan` reads it. `live` keeps the
//! projections of an open store, and `saved` is their form in `search.snap`. Property tests compare the answers of a
//! projection with those of `reference`, which works row by row and also serves snapshots older than the projection.
//! `query::runs` reads the runs of a store into projections.

mod asked;
pub(crate) mod column;
mod datasets;
pub mod filter;
pub(crate) mod kept;
pub(crate) mod leaf;
pub mod like;
pub(crate) mod live;
mod long_texts;
pub(crate) mod number;
pub(crate) mod only;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod request;
pub(crate) mod row;
pub(crate) mod rows;
#[cfg(not(feature = "testing"))]
pub(crate) mod saved;
#[cfg(feature = "testing")]
pub mod saved;
pub(crate) mod scan;
pub(crate) mod sort;
pub(crate) mod table;
pub(crate) mod text;

#[cfg(test)]
mod tests;

pub use filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term, TextKey, TextTest};
pub use page::PageToken;
pub use request::{SearchPage, SearchQuery, View};
#[cfg(feature = "testing")]
pub use row::{RunRow, Source, lifecycle_text};
#[cfg(feature = "testing")]
pub use scan::search;
pub use sort::{Key, OrderKey};
#[cfg(feature = "testing")]
pub use table::Projection;
