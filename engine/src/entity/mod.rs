//! Entities (experiments, runs, models, versions, data sets): their states, and the pure step from one to the next.

pub mod apply;
mod pairs;
mod registry;
pub mod state;
pub mod working;

pub use apply::{apply, touches};
pub use pairs::RUN_NAME_TAG;
pub use state::*;
pub use working::{Applied, Nothing, States, Working};
