//! How a server is set up.

use std::net::SocketAddr;
use std::time::Duration;

/// How a server is set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// What `/version` answers: the version of MLflow whose protocol is spoken.
    pub version: String,
    /// Longest time from a request's head to its answer.
    pub timeout: Duration,
    /// Requests that the model has at a time.
    pub threads_count: usize,
    /// Requests that may wait for the model.
    pub waiting_max: usize,
    /// Most rows of waiting requests that are predicted together; none: each request alone.
    pub batch_rows_max: Option<usize>,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Longest body.
    pub body_bytes_max: usize,
    /// Memory of all bodies together.
    pub bodies_bytes_max: usize,
    /// Whether inputs are looked at for [`Handle::take_window`](super::Handle::take_window).
    pub samples_inputs: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 5000)),
            version: "3.17.2".to_owned(),
            timeout: Duration::from_secs(60),
            threads_count: std::thread::available_parallelism().map_or(4, |count| count.get() + 4),
            waiting_max: 1000,
            batch_rows_max: None,
            connections_max: 4096,
            body_bytes_max: 64 << 20,
            bodies_bytes_max: 256 << 20,
            samples_inputs: false,
        }
    }
}
