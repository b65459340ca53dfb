//! Calls of tracking servers: Runlode's and MLflow's.
//!
//! A server is not trusted: answers are bounded in size and time, and redirects are not followed, because the login is
//! for one server only. http is spoken here; https is spoken by the user's `curl`, with its certificates and proxies, so
//! that no program that links this needs TLS of its own.
//!
//! ```text
//! client       a server, and http
//! download     a file of the web
//!   curl       https by curl
//!     call     a call and its answer
//!   address    parts of an address
//!   local      the path of this machine that an address is
//!   login      who calls
//!     error    why there is no answer
//! ```

mod address;
mod call;
mod client;
mod curl;
mod download;
mod error;
pub mod local;
mod login;

pub use address::{escaped, query};
pub use call::{Answer, Body, Call};
pub use client::Client;
pub use download::download;
pub use error::CallError;
