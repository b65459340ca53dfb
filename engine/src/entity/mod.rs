//! Entities (experiments, runs, models, versions, data sets): their states, and the pure step from one to the next.

pub(crate) mod apply;
mod pairs;
mod registry;
mod state;
mod working;

pub(crate) use apply::apply;
pub use apply::{subject, touches};
pub use pairs::RUN_NAME_TAG;
pub use state::*;
pub(crate) use working::{Nothing, States, Working};
