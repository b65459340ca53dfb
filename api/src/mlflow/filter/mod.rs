//! Filters and orders of MLflow's searches.
//!
//! [`crate::filter`] parses the texts in MLflow's dialect; this module gives the clauses their meaning.
//!
//! ```text
//! clauses -> runs           an engine filter
//!         -> experiments    } typed clauses,
//!         -> registry       } tested against states in memory
//!         -> logged_models  }
//! ```
//! Texts and refusals are MLflow's. OR, NOT, parentheses, params as numbers and aggregates of metrics are our
//! extensions, where MLflow refuses the text.

pub(crate) mod clause;
pub(crate) mod experiments;
pub(crate) mod logged_models;
pub(crate) mod registry;
pub(crate) mod runs;

/// Parses a text as every kind of filter and order, for fuzzing with arbitrary text. True if it is a valid filter of
/// runs.
#[doc(hidden)]
pub fn probe(text: &str) -> bool {
    let _ = experiments::parse(text);
    let _ = registry::parse_models(text);
    let _ = registry::parse_versions(text);
    let _ = logged_models::parse(text);
    let _ = clause::order(text);
    let entries = [text.to_owned()];
    let _ = runs::order(&entries, &mut |_| Ok(false));
    runs::parse(text, &mut |key| Ok(key.len() % 2 == 0)).is_ok()
}

#[cfg(test)]
mod tests;
