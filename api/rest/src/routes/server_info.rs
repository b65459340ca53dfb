//! What the server says of itself, and the answers that keep clients and pages working where Runlode has nothing.

use super::Route;

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}
