//! Filters and orders of MLflow's searches.
//!
//! [`crate::filter`] reads the texts, in MLflow's dialect; here their clauses get their meaning.
//!
//! ```text
//! clauses -> runs           an engine filter
//!         -> experiments    } typed clauses,
//!         -> registry       } tested against states in memory
//!         -> logged_models  }
//! ```
//! Texts and refusals are MLflow's; OR, NOT, parentheses, params as numbers and aggregates of metrics are ours, where
//! MLflow refuses the text.

pub(crate) mod clause;
pub(crate) mod experiments;
pub(crate) mod logged_models;
pub(crate) mod registry;
pub(crate) mod runs;

/// Reads a text as every kind of filter and order: for those who feed it arbitrary text. True if a filter of runs was
/// accepted.
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
