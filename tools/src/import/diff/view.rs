//! What can be compared: entities as facts, and points.

use std::collections::BTreeMap;

use runlode::{Point, RunId, TAG_RUN_NAME};
use serde::Serialize;

use crate::error::Result;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Experiments: name, times, lifecycle.
    Experiments,
    /// Runs: experiment, name, user, status, times, lifecycle.
    Runs,
    /// Params of runs and of logged models.
    Params,
    /// Tags of anything.
    Tags,
    /// Data sets and models that runs used or made.
    Inputs,
    /// Metric points.
    Points,
    /// Logged models.
    LoggedModels,
    /// Registered models.
    RegisteredModels,
    /// Their versions.
    ModelVersions,
    /// Their aliases.
    Aliases,
}

impl Kind {
    /// As a table names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Experiments => "experiments",
            Self::Runs => "runs",
            Self::Params => "params",
            Self::Tags => "tags",
            Self::Inputs => "inputs and outputs",
            Self::Points => "points",
            Self::LoggedModels => "logged models",
            Self::RegisteredModels => "registered models",
            Self::ModelVersions => "model versions",
            Self::Aliases => "aliases",
        }
    }
}

/// An entity and all that it says, each fact under the kind that it is counted as.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// What a difference is said to be of: `run 4f3a...`.
    pub(super) label: String,
    pub(super) facts: BTreeMap<(Kind, String), String>,
    /// It says nothing that somebody decided: the `Default` experiment of a store without runs in it.
    pub(super) is_untouched: bool,
}

impl Record {
    pub(super) fn new(kind: Kind, label: String) -> Self {
        Self { kind, label, facts: BTreeMap::new(), is_untouched: false }
    }

    /// Adds something that the entity itself is.
    pub(super) fn own(&mut self, name: &str, value: impl ToString) {
        self.facts.insert((self.kind, name.to_owned()), value.to_string());
    }

    /// Adds something that may be missing.
    pub(super) fn optional(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.own(name, value);
        }
    }

    /// Adds facts that are counted one by one.
    pub(super) fn each(&mut self, kind: Kind, word: &str, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.facts.insert((kind, format!("{word} {key}")), value.clone());
        }
    }

    /// Adds the tags of a run. The one that repeats its name is left out: a store sets it by itself, and a name that differs is
    /// told as such.
    pub(super) fn run_tags(&mut self, name: &str, tags: &[(String, String)]) {
        let repeats = |(key, value): &&(String, String)| key == TAG_RUN_NAME && (value == name || !name.is_empty());
        let tags: Vec<_> = tags.iter().filter(|tag| !repeats(tag)).cloned().collect();
        self.each(Kind::Tags, "tag", &tags);
    }

    /// Adds a data set that a run used.
    pub(super) fn data_set(&mut self, name: &str, digest: &str, tags: &[(String, String)]) {
        let tags: BTreeMap<&str, &str> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.facts.insert((Kind::Inputs, format!("data set {name} {digest}")), format!("{tags:?}"));
    }

    /// Adds the models that a run used and made.
    pub(super) fn models(&mut self, inputs: &[String], outputs: &[(String, i64)]) {
        for model in inputs {
            self.facts.insert((Kind::Inputs, format!("input model {model}")), String::new());
        }
        for (model, step) in outputs {
            self.facts.insert((Kind::Inputs, format!("output model {model}")), step.to_string());
        }
    }
}

/// What a side can hold of points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds {
    /// Infinities and the sign of zero.
    pub(super) values: bool,
    /// Equal points that were logged twice.
    pub(super) repeats: bool,
}

/// Entities by their keys, which are the same on both sides.
pub(super) type Records = BTreeMap<String, Record>;

/// A run without its points.
pub(super) struct Run {
    pub(super) id: RunId,
    /// The id as the source writes it.
    pub(super) text: String,
    pub(super) record: Record,
}

/// Runs in ascending order of their ids.
pub(super) trait Runs {
    fn next(&mut self) -> Result<Option<Run>>;
}

/// A point, or a row that is none.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) key: String,
    /// `None`: what stands there is no point.
    pub(super) point: Option<Point>,
}

/// Points of a run in ascending order of key, time and step.
pub(super) trait Points {
    fn next(&mut self) -> Result<Option<Row>>;
}

/// One side of a comparison. Streams are handed to a function, as they borrow from statements of their own.
pub(super) trait View {
    /// What it can hold of points.
    fn holds(&self) -> Holds;
    /// Everything but runs, which are few.
    fn entities(&self) -> Result<Records>;
    fn runs(&self, with: &mut dyn FnMut(&mut dyn Runs) -> Result<()>) -> Result<()>;
    fn points(&self, run: &Run, with: &mut dyn FnMut(&mut dyn Points) -> Result<()>) -> Result<()>;
}

/// A version's source, if it means the same on every machine. Files move with a store.
pub(super) fn lasting(source: &str) -> &str {
    let remote = source.contains("://") && !source.starts_with("file:");
    if remote || source.starts_with("models:/") || source.starts_with("runs:/") { source } else { "files" }
}

/// How a lifecycle is written.
pub(super) fn lifecycle(is_deleted: bool) -> &'static str {
    if is_deleted { "deleted" } else { "active" }
}
