//! The keys of runs that were counted last. The pages ask for them together with a table whose columns depend on them, and
//! again with each page that is opened; counting reads thousands of runs.
//!
//! - What is kept is of one position: after any change of the store it is counted again.
//! - Two requests for the same keys at a time count once: the second waits for the first.
//! - At most [`KEPT_MAX`] lists are kept, each of at most [`KEYS_MAX`] keys: some megabytes.

use std::sync::Arc;

use parking_lot::Mutex;
use runlode::mlflow::{ApiResult, RunKeys};

/// Lists that are kept.
const KEPT_MAX: usize = 4;
/// Keys of a list that is kept: of longer ones the next request counts anew.
const KEYS_MAX: usize = 20_000;

/// The experiments of a list, and the most runs that were read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Of {
    experiments: Vec<String>,
    runs_max: u64,
}

/// A list, once it was counted.
type Slot = Arc<Mutex<Option<Arc<RunKeys>>>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeptKeys {
    /// The one that was asked for last is at the end.
    slots: Mutex<Vec<(Of, Slot)>>,
}

impl KeptKeys {
    /// The keys of the newest runs of some experiments at the newest `position`; `count` counts them if they are not
    /// kept.
    ///
    /// # Errors
    /// Those of `count`.
    pub(crate) fn get(
        &self,
        experiments: &[String],
        runs_max: u64,
        position: u64,
        count: impl FnOnce() -> ApiResult<RunKeys>,
    ) -> ApiResult<Arc<RunKeys>> {
        let slot = self.slot(Of { experiments: experiments.to_vec(), runs_max });
        let mut kept = slot.lock();
        if let Some(keys) = kept.as_ref().filter(|keys| keys.position == position) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(count()?);
        let is_short = keys.metrics.len() + keys.params.len() + keys.tags.len() <= KEYS_MAX;
        *kept = is_short.then(|| Arc::clone(&keys));
        Ok(keys)
    }

    fn slot(&self, of: Of) -> Slot {
        let mut slots = self.slots.lock();
        let found = slots.iter().position(|(other, _)| *other == of).map(|at| slots.remove(at));
        let (of, slot) = found.unwrap_or_else(|| (of, Slot::default()));
        if slots.len() >= KEPT_MAX {
            slots.remove(0);
        }
        slots.push((of, Arc::clone(&slot)));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> ApiResult<RunKeys> {
        Ok(RunKeys { position, ..RunKeys::default() })
    }

    #[test]
    fn keys_are_counted_once_for_each_position() {
        let kept = KeptKeys::default();
        let experiments = ["1".to_owned()];
        kept.get(&experiments, 10, 7, || at(7)).unwrap();
        kept.get(&experiments, 10, 7, || unreachable!()).unwrap();
        assert_eq!(kept.get(&experiments, 10, 8, || at(8)).unwrap().position, 8);
        assert_eq!(kept.get(&experiments, 11, 8, || at(9)).unwrap().position, 9);
        kept.get(&experiments, 10, 8, || unreachable!()).unwrap();
    }

    #[test]
    fn few_and_short_lists_are_kept() {
        let kept = KeptKeys::default();
        for runs_max in 0..=KEPT_MAX as u64 {
            kept.get(&[], runs_max, 1, || at(1)).unwrap();
        }
        assert_eq!(kept.slots.lock().len(), KEPT_MAX);
        kept.get(&[], 4, 1, || unreachable!()).unwrap();
        let mut counted = false;
        kept.get(&[], 0, 1, || at(1).inspect(|_| counted = true)).unwrap();
        assert!(counted);
        let long =
            || Ok(RunKeys { position: 1, metrics: vec![("a".to_owned(), 1); KEYS_MAX + 1], ..RunKeys::default() });
        kept.get(&["2".to_owned()], 1, 1, long).unwrap();
        assert_eq!(kept.get(&["2".to_owned()], 1, 1, || at(1)).unwrap().metrics.len(), 0);
    }
}
