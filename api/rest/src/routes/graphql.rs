//! `/graphql`, as far as the pages ask it.

use super::Route;

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}
