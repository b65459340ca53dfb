//! What an export wrote, and what its target cannot hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Examples that a report names of each loss.
const EXAMPLES_MAX: usize = 5;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Written {
    /// Experiments, deleted ones included, as in all these numbers.
    pub experiments: u64,
    /// Runs.
    pub runs: u64,
    /// Params of runs.
    pub params: u64,
    /// Tags of runs.
    pub tags: u64,
    /// Metric points of runs.
    pub points: u64,
    /// Data sets that runs read; one counts once for each run.
    pub dataset_inputs: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Registered models.
    pub registered_models: u64,
    /// Versions of registered models.
    pub model_versions: u64,
    /// Aliases.
    pub aliases: u64,
    /// Events of the history.
    pub events: u64,
}

/// Something that the target cannot hold as the store does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<String>,
}

/// What an export did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The position that the target shows.
    pub position: u64,
    /// The position of the store when the export began. Run the export again to get what was logged since `position`.
    #[serde(default)]
    pub store_position: u64,
    /// Whether the target was complete at this position already: nothing was written.
    #[serde(default)]
    pub unchanged: bool,
    /// Whether an export that was cut was completed.
    #[serde(default)]
    pub resumed: bool,
    /// What was written.
    pub written: Written,
    /// What the target holds in another form, and what it cannot hold: how many, and the first of them.
    pub lost: BTreeMap<String, Loss>,
    /// Files of the target.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Report {
    /// Notes a loss.
    pub(crate) fn lose(&mut self, what: &str, example: impl FnOnce() -> String) {
        self.lose_many(what, 1, example);
    }

    /// Notes several losses of one kind, with an example of them.
    pub(crate) fn lose_many(&mut self, what: &str, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        let loss = match self.lost.get_mut(what) {
            Some(loss) => loss,
            None => self.lost.entry(what.to_owned()).or_default(),
        };
        loss.count += count;
        if loss.examples.len() < EXAMPLES_MAX {
            loss.examples.push(example());
        }
    }
}
