//! MLflow's searches: filter, order, and one page at a time.
//!
//! The engine searches runs, over columns. Experiments, models and versions are few: their states are read and tested
//! one by one and sorted, and only those of the page become answers.
//!
//! In both directions missing values come last, with NaN before them; text sorts by code point.

mod datasets;
mod experiments;
mod logged_models;
mod registry;
mod runs;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

pub use logged_models::LoggedModelOrder;
pub(super) use runs::holds_metric;

use super::entity::Paged;
use super::error::{ApiError, ApiResult};
use super::page_token::{page_offset, page_token};

/// Maximum number of runs or experiments of a page.
pub const RUNS_PAGE_MAX: i64 = 50_000;
/// Maximum number of registered models of a page.
pub const MODELS_PAGE_MAX: i64 = 1_000;
/// Maximum number of versions of a page.
pub const VERSIONS_PAGE_MAX: i64 = 200_000;

/// Checks the limit of a page of runs, experiments or logged models.
fn limit(max_results: i64, most: i64) -> ApiResult<usize> {
    let wrong = |rule: &str| {
        ApiError::invalid(format!(
            "Invalid value {max_results} for parameter 'max_results' supplied. It must be {rule}"
        ))
    };
    match usize::try_from(max_results) {
        Ok(0) | Err(_) => Err(wrong("a positive integer")),
        Ok(_) if max_results > most => Err(wrong(&format!("at most {most}"))),
        Ok(limit) => Ok(limit),
    }
}

/// The page of sorted items for a token, and the token of the next page.
fn page<T, U>(
    items: Vec<T>,
    token: Option<&str>,
    limit: usize,
    make: impl FnMut(T) -> ApiResult<U>,
) -> ApiResult<Paged<U>> {
    let offset = page_offset(token)?;
    let end = offset.saturating_add(limit);
    let next_page_token = (items.len() > end).then(|| page_token(end));
    let items = items.into_iter().skip(offset).take(limit).map(make).collect::<ApiResult<_>>()?;
    Ok(Paged { items, next_page_token })
}

/// The items that pass a test. An error of the test ends the search.
fn passing<T>(items: Vec<T>, mut test: impl FnMut(&T) -> ApiResult<bool>) -> ApiResult<Vec<T>> {
    let mut passed = Vec::new();
    for item in items {
        if test(&item)? {
            passed.push(item);
        }
    }
    Ok(passed)
}

/// Reverses an order if it is descending.
fn directed(order: Ordering, ascending: bool) -> Ordering {
    if ascending { order } else { order.reverse() }
}
