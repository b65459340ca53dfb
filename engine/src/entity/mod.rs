//! Entities (experiments, runs, models, versions, data sets): their states, and the pure step from one to the next.

pub mod state;

pub use state::*;
