//! The search of runs at a snapshot.
//!
//! [`search`] brings the projections of the asked experiments up to the snapshot's position and searches them; [`base`]
//! says what a projection is made from when there is none yet, [`save`] when it is kept in `search.snap`.

mod base;
mod save;
mod search;

pub use search::RenderPlace;
