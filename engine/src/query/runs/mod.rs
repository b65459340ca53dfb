//! The search of runs at a snapshot.
//!
//! [`search`] brings the projections of the asked experiments up to the snapshot's position and searches them; [`base`]
//! says what a projection is made from when there is none yet, [`save`] when it is kept in `search.snap`, [`walk`] how
//! lists of the newest runs are answered without one, and [`once`] how a process that searches once does without.

mod base;
mod once;
mod save;
mod search;
mod walk;

pub use search::RenderPlace;
