//! `runlode pin STORE RUN|MODEL --reason TEXT` and `runlode unpin STORE RUN|MODEL`: keeps a run or a version from being
//! collected. A pin is the tag `runlode.pin`, so every client sees it.

use std::path::PathBuf;

use clap::Args;
use runlode::find::Named;
use runlode::{PIN_TAG, RunId, Store};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::store_path;
use crate::output::Output;
use crate::{Answer, open};

/// Arguments of `pin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode pin ./store trial-17 --reason \"paper, table 3\"
  runlode pin ./store models:/fraud/7 --reason \"kept for audit until 2030\"")]
pub struct Pin {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// A run (name, id, beginning of the id) or a version (models:/NAME/VERSION, models:/NAME@ALIAS)
    target: String,
    /// Why it must stay
    #[arg(long)]
    reason: String,
}

/// Arguments of `unpin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode unpin ./store trial-17
  runlode unpin ./store models:/fraud/7")]
pub struct Unpin {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// A run or a version
    target: String,
}

/// What can be pinned.
enum Pinned {
    Run(RunId),
    Version(String, u32),
}

impl Pinned {
    /// What an argument names, and the reason of its pin.
    fn find(path: &std::path::Path, text: &str, output: &mut Output) -> Result<(Self, Option<String>)> {
        let snapshot = open::open_to_read(path, output)?.snapshot()?;
        let pin =
            |tags: &[(String, String)]| tags.iter().find(|(key, _)| key == PIN_TAG).map(|(_, reason)| reason.clone());
        match runlode::find::entity(&snapshot, text)? {
            Named::Run(id) => {
                let state = snapshot.run(id)?;
                Ok((Self::Run(id), state.and_then(|state| pin(&state.tags))))
            }
            Named::Version(model, name, version) => {
                let state = snapshot.model_version(model, version)?;
                Ok((Self::Version(name, version), state.and_then(|state| pin(&state.tags))))
            }
            _ => Err(Error::usage(format!("`{text}` is neither a run nor a version; only these can be pinned"))),
        }
    }

    fn set(&self, store: &Store, reason: &str) -> Result<()> {
        let tags = [(PIN_TAG, reason)];
        match self {
            Self::Run(id) => store.run(*id)?.set_tags(&tags)?,
            Self::Version(name, version) => store.registered_model(name)?.set_version_tags(*version, &tags)?,
        }
        Ok(())
    }

    fn delete(&self, store: &Store) -> Result<()> {
        match self {
            Self::Run(id) => store.run(*id)?.delete_tag(PIN_TAG)?,
            Self::Version(name, version) => store.registered_model(name)?.delete_version_tag(*version, PIN_TAG)?,
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Self::Run(id) => id.to_string(),
            Self::Version(name, version) => format!("models:/{name}/{version}"),
        }
    }
}

impl Pin {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if self.reason.trim().is_empty() {
            return Err(Error::usage("--reason is empty; say why it must stay"));
        }
        let (pinned, before) = Pinned::find(&self.store, &self.target, output)?;
        let store = open::to_change(&self.store)?;
        pinned.set(&store, &self.reason)?;
        store.close()?;
        if output.is_json() {
            let document = json!({ "pinned": pinned.name(), "reason": self.reason, "reason_before": before });
            output.document(&document)?;
        } else {
            let before = before.map_or_else(String::new, |before| format!(" (before: {before})"));
            output.line(format!("{} is pinned: {}{before}", pinned.name(), self.reason))?;
        }
        Ok(Answer::Yes)
    }
}

impl Unpin {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let (pinned, before) = Pinned::find(&self.store, &self.target, output)?;
        if before.is_some() {
            let store = open::to_change(&self.store)?;
            pinned.delete(&store)?;
            store.close()?;
        }
        if output.is_json() {
            output.document(&json!({ "unpinned": pinned.name(), "reason_before": before }))?;
        } else {
            output.line(match &before {
                Some(reason) => format!("{} is no longer pinned (it was: {reason})", pinned.name()),
                None => format!("{} was not pinned", pinned.name()),
            })?;
        }
        Ok(if before.is_some() { Answer::Yes } else { Answer::No })
    }
}
