//! MLflow's REST API, its artifact proxy and its web pages, on a Runlode store.
//!
//! ```text
//! connection -> guard (Host, Origin) -> route table -> body, whole and bounded -> handler -> Mlflow (crate runlode)
//!   server                               routes/*         request                    answer
//! ```
//!
//! - [`serve`] runs until it is told to stop; [`Server::bind`] gives the address first.
//! - Handlers are plain functions: a request in, an answer or MLflow's error out. What waits for the disk gives its
//!   thread to others meanwhile.
//! - Every rule of MLflow's lives in `runlode::mlflow`; here is only HTTP and JSON.

mod again;
mod answer;
mod artifacts;
mod body;
mod client;
mod door;
mod guard;
mod json;
mod long;
mod memory;
mod pages;
mod patience;
mod request;
mod route;
mod routes;
mod server;

pub use door::{Door, ServeOptions};
/// These bytes as the body of every endpoint that reads one, and as its query: the test behind the fuzz target. The door
/// is of a store that may be written to.
#[doc(hidden)]
pub fn probe_body(door: &Door, bytes: &[u8]) {
    routes::probe(door, bytes);
}

pub use server::{Ended, ServeError, Server, serve};
