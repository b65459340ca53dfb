//! MLflow's scoring protocol over HTTP: `/invocations`, `/ping`, `/health`, `/version`, and `/metrics`.
//!
//! ```text
//!                                              content_type   which bodies are read
//! body         bodies within a bounded memory  input          a body, by the model's schema
//! route        paths and methods               queue          bounded; threads that predict; batches
//! answer       predictions and errors, as MLflow writes them
//! metrics      counters for Prometheus         sample         latencies and statistics for a run
//! ```
//!
//! - Clients of MLflow's server see the same bytes: paths, statuses, content types, error codes.
//! - Nothing grows without a bound: connections, bodies, waiting requests. What is too much is refused with 429 and
//!   Retry-After.
//! - A model can be replaced between two requests: each request is answered by the model that it met.
//! - When the server stops it takes no more connections, and answers the requests that it has.

mod answer;
mod body;
mod content_type;
mod input;
mod metrics;
mod model;
mod once;
mod options;
mod parquet;
mod queue;
mod route;
mod sample;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runlode_http::Connections;
use tokio::net::TcpListener;

pub use model::Model;
pub use once::answer_once;
pub use options::ServerOptions;
pub use sample::{ColumnWindow, Window};

use body::Bodies;
use metrics::Metrics;
use queue::Queue;
use route::Door;

/// How often a replaced model is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {address}: {source}; choose another --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// No threads for predictions.
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    door: Arc<Door>,
    listener: TcpListener,
    address: SocketAddr,
    connections_max: usize,
}

/// Changes a running server.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Door>);

impl Server {
    /// Listens for requests to a model.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(model: Model, options: ServerOptions) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen { address: options.address, source };
        let listener = TcpListener::bind(options.address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let metrics = Arc::new(Metrics::default());
        let queue = Queue::start(options.threads_count, options.waiting_max, options.batch_rows_max, metrics.clone())
            .map_err(ServeError::Threads)?;
        let bodies = Bodies::of(options.bodies_bytes_max, options.body_bytes_max);
        let connections_max = options.connections_max;
        let door = Arc::new(Door::new(model, options, queue, bodies, metrics));
        Ok(Self { door, listener, address, connections_max })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the server while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.door.clone())
    }

    /// Answers until `stop` is ready, then finishes the requests that it has.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let connections = Connections::of(self.connections_max);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Answers are small and urgent. If the peer has gone, the first read will show it.
                        let _ = stream.set_nodelay(true);
                        let door = self.door.clone();
                        tokio::spawn(connections.open().serve(stream, move |request| door.clone().answer(request)));
                    }
                    // Out of file handles, or the peer has gone: neither is a reason to stop.
                    Err(_) => {
                        connections.give_up_one();
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
            }
        }
        drop(self.listener);
        connections.drain(self.door.timeout() + Duration::from_secs(1)).await;
    }
}

impl Handle {
    /// Serves another model from the next request on. Requests that the earlier one has are answered by it; it ends
    /// when this returns.
    ///
    /// This waits for those requests, so it is no call for a thread of the runtime.
    pub fn replace(&self, model: Model) {
        let earlier = self.0.replace(model);
        // The end of a model's processes takes time, which no request should spend.
        let until = Instant::now() + self.0.timeout();
        while Arc::strong_count(&earlier) + Arc::strong_count(&earlier.engine) > 2 && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What was served since the last call.
    #[must_use]
    pub fn take_window(&self) -> Window {
        self.0.take_window()
    }
}
