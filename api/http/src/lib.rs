//! The connections of Runlode's HTTP servers: that of MLflow's REST API, and that of models.
//!
//! ```text
//! connections   how many there are, which one makes room, how they end
//!   patience    a stream that fails if its client stops reading
//! ```

mod connections;
mod patience;

pub use connections::{Connection, Connections};
