//! Keys of metrics, params and tags that no run has: most likely they are mistyped.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::near::near;
use super::{NAMES_MAX, or, runs_by};
use crate::engine::search::filter::{Filter, NumberKey, NumberTest, Term, TextKey, TextTest};
use crate::engine::search::{Key, OrderKey};
use crate::{Error, KeyId, Result, Snapshot};

/// Numbers of keys are given in turn, but for a few that are free: after this many there is no other.
const FREE_MAX: u32 = 4_096;

/// A key that no run has.
///
/// ```
/// use runlode::{filter, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// let filter = filter::parse("params.lr = '0.1'")?;
/// let unknown = find::unknown_keys(&store.snapshot()?, Some(&filter), &[])?;
/// assert_eq!((unknown[0].kind, unknown[0].key.as_str(), unknown[0].near.len()), ("param", "lr", 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// `metric`, `param` or `tag`.
    pub kind: &'static str,
    /// The key.
    pub key: String,
    /// The nearest keys that runs have, best first.
    pub near: Vec<String>,
}

impl std::fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no run has a {} `{}`", self.kind, self.key)?;
        if self.near.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", or(&self.near)) }
    }
}

/// All keys of metrics that were ever logged.
///
/// ```
/// use runlode::{ExperimentId, LocalStore, RunSpec, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let run = store.create_run(ExperimentId(0), RunSpec::named("r"))?;
/// run.log_metrics(0, &[("loss", 1.0), ("acc", 0.5)])?;
/// let keys = find::metric_keys(&store.snapshot()?);
/// assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["acc", "loss"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn metric_keys(snapshot: &Snapshot) -> Vec<Arc<str>> {
    let (mut keys, mut free) = (Vec::new(), 0);
    for number in 0.. {
        match snapshot.key_name(KeyId(number)) {
            Some(name) => {
                free = 0;
                // Keys of dead branches are the engine's own.
                if !name.contains(char::is_control) {
                    keys.push(name);
                }
            }
            None if free < FREE_MAX => free += 1,
            None => break,
        }
    }
    keys.sort_unstable();
    keys
}

/// The keys of a filter and an order that no run of the store has. A filter that asks whether a key is missing does not
/// count.
///
/// # Errors
/// Those of reading.
///
/// ```
/// use runlode::{ExperimentId, LocalStore, RunSpec, filter, find};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// store.create_run(ExperimentId(0), RunSpec::named("r"))?.log_metrics(0, &[("loss", 1.0)])?;
/// let unknown = find::unknown_keys(&store.snapshot()?, Some(&filter::parse("metrics.los < 1")?), &[])?;
/// assert_eq!(unknown[0].to_string(), "no run has a metric `los`; did you mean `loss`?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn unknown_keys(snapshot: &Snapshot, filter: Option<&Filter>, order: &[OrderKey]) -> Result<Vec<UnknownKey>> {
    // Ordered, and each once.
    let mut asked: BTreeSet<(&'static str, &str)> = BTreeSet::new();
    if let Some(filter) = filter {
        filter.terms(&mut |term| match term {
            Term::Number { test: NumberTest::IsNull, .. } | Term::Text { test: TextTest::IsNull, .. } => {}
            Term::Number { key, .. } => asked.extend(number(key)),
            Term::Text { key, .. } => asked.extend(text(key)),
        });
    }
    for OrderKey { key, .. } in order {
        match key {
            Key::Number(key) => asked.extend(number(key)),
            Key::Text(key) => asked.extend(text(key)),
        }
    }
    let metrics = if asked.iter().any(|(kind, _)| *kind == "metric") { metric_keys(snapshot) } else { Vec::new() };
    let mut unknown = Vec::new();
    for (kind, key) in asked {
        let near = if kind == "metric" {
            if metrics.iter().any(|known| **known == *key) {
                continue;
            }
            near(key, metrics.iter().map(|known| &**known))
        } else {
            let known = if kind == "param" { TextKey::Param(key.to_owned()) } else { TextKey::Tag(key.to_owned()) };
            if !runs_by(snapshot, Some(known.is_not_null()), 1).map_err(store_error)?.is_empty() {
                continue;
            }
            let keys = keys_of(snapshot, kind)?;
            near(key, keys.iter().map(String::as_str))
        };
        unknown.push(UnknownKey { kind, key: key.to_owned(), near });
    }
    Ok(unknown)
}

/// The keys of params or tags of the newest runs.
fn keys_of(snapshot: &Snapshot, kind: &str) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for id in runs_by(snapshot, None, NAMES_MAX).map_err(store_error)? {
        if let Some(state) = snapshot.run(id)? {
            let pairs = if kind == "param" { &state.params } else { &state.tags };
            keys.extend(pairs.iter().map(|(key, _)| key.clone()));
        }
    }
    Ok(keys)
}

fn store_error(error: super::FindError) -> Error {
    match error {
        super::FindError::Store(error) => error,
        other => Error::invalid("name", other.to_string()),
    }
}

/// Kind and name of a key that users choose.
fn number(key: &NumberKey) -> Option<(&'static str, &str)> {
    match key {
        NumberKey::Metric { name, .. } => Some(("metric", name)),
        NumberKey::Param(key) => Some(("param", key)),
        NumberKey::Tag(key) => Some(("tag", key)),
        _ => None,
    }
}

/// As [`number`].
fn text(key: &TextKey) -> Option<(&'static str, &str)> {
    match key {
        TextKey::Param(key) => Some(("param", key)),
        TextKey::Tag(key) => Some(("tag", key)),
        _ => None,
    }
}
