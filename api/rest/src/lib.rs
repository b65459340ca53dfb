//! MLflow's REST API, its artifact proxy and its web pages, on a Runlode store.
//!
//! ```text
//! connection -> guard (Host, Origin) -> route table -> body, complete and bounded -> handler -> Mlflow (crate runlode)
//!   server                               routes/*         request                    answer
//! ```
//!
//! - [`serve`] runs until it is stopped; [`Server::bind`] returns the address first.
//! - Handlers are plain functions from a request to an answer or MLflow's error. While one waits for the disk, its
//!   thread serves others.
//! - All of MLflow's rules are in `runlode::mlflow`; this crate is HTTP and JSON only.

mod again;
mod answer;
mod artifacts;
mod body;
mod client;
mod door;
mod guard;
mod json;
mod kept_keys;
mod long;
mod memory;
mod pages;
mod reader;
mod request;
mod route;
mod routes;
mod server;

pub use door::{Door, ServeOptions};
pub use pages::check_pages;
/// Sends these bytes as body and as query to every endpoint: the test behind the fuzz target. The door must belong to a
/// store that may be written to.
#[doc(hidden)]
pub fn probe_body(door: &Door, bytes: &[u8]) {
    routes::probe(door, bytes);
}

pub use server::{Ended, ServeError, Server, serve};
