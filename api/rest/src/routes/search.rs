//! Searches: experiments, runs, data sets, logged models, registered models, versions.

use super::Route;

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}
