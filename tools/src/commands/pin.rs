//! `runlode pin STORE RUN|MODEL --reason TEXT` and `runlode unpin STORE RUN|MODEL`: keeps a run or a version from being
//! collected. A pin is the tag `runlode.pin`, so every client sees it.

use std::path::{Path, PathBuf};

use clap::Args;
use runlode::find::Named;
use runlode::{PIN_TAG, RunId};
use serde_json::json;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::v1::{Named as NamedThere, Server, Where, place};
use crate::{Answer, open};

/// Arguments of `pin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode pin ./store trial-17 --reason \"paper, table 3\"
  runlode pin ./store models:/fraud/7 --reason \"kept for audit until 2030\"")]
pub struct Pin {
    /// Folder of the store, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_parser = place)]
    store: Where,
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
  runlode unpin http://tracking:5000 models:/fraud/7")]
pub struct Unpin {
    /// Folder of the store, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_parser = place)]
    store: Where,
    /// A run or a version
    target: String,
}

/// What can be pinned, and where it is.
enum Pinned {
    Run(PathBuf, RunId),
    Version(PathBuf, String, u32),
    There(Server, NamedThere),
}

const NOT_PINNED: &str = "is neither a run nor a version; only these can be pinned";

impl Pinned {
    /// What an argument names, and the reason of its pin.
    fn find(store: &Where, text: &str, output: &mut Output) -> Result<(Self, Option<String>)> {
        let path = match store {
            Where::Folder(path) => path,
            Where::Server(url) => return Self::find_there(Server::new(url)?, text),
        };
        Self::find_here(path, text, output)
    }

    fn find_here(path: &Path, text: &str, output: &mut Output) -> Result<(Self, Option<String>)> {
        let snapshot = open::open_to_read(path, output)?.snapshot()?;
        let pin =
            |tags: &[(String, String)]| tags.iter().find(|(key, _)| key == PIN_TAG).map(|(_, reason)| reason.clone());
        match runlode::find::entity(&snapshot, text)? {
            Named::Run(id) => {
                let state = snapshot.run(id)?;
                Ok((Self::Run(path.to_owned(), id), state.and_then(|state| pin(&state.tags))))
            }
            Named::Version(model, name, version) => {
                let state = snapshot.model_version(model, version)?;
                Ok((Self::Version(path.to_owned(), name, version), state.and_then(|state| pin(&state.tags))))
            }
            _ => Err(Error::usage(format!("`{text}` {NOT_PINNED}"))),
        }
    }

    fn find_there(server: Server, text: &str) -> Result<(Self, Option<String>)> {
        let named = server.find(text)?;
        if matches!(named, NamedThere::Model(_) | NamedThere::Other(..)) {
            return Err(Error::usage(format!("`{text}` {NOT_PINNED}")));
        }
        let pin = server.tag(&named, PIN_TAG)?;
        Ok((Self::There(server, named), pin))
    }

    fn set(&self, reason: &str) -> Result<()> {
        let tags = [(PIN_TAG, reason)];
        match self {
            Self::Run(path, id) => {
                let store = open::to_change(path)?;
                store.run(*id)?.set_tags(&tags)?;
                store.close()?;
            }
            Self::Version(path, name, version) => {
                let store = open::to_change(path)?;
                store.registered_model(name)?.set_version_tags(*version, &tags)?;
                store.close()?;
            }
            Self::There(server, named) => server.set_tag(named, PIN_TAG, Some(reason))?,
        }
        Ok(())
    }

    fn delete(&self) -> Result<()> {
        match self {
            Self::Run(path, id) => {
                let store = open::to_change(path)?;
                store.run(*id)?.delete_tag(PIN_TAG)?;
                store.close()?;
            }
            Self::Version(path, name, version) => {
                let store = open::to_change(path)?;
                store.registered_model(name)?.delete_version_tag(*version, PIN_TAG)?;
                store.close()?;
            }
            Self::There(server, named) => server.set_tag(named, PIN_TAG, None)?,
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Self::Run(_, id) => id.to_string(),
            Self::There(_, NamedThere::Run(id)) => id.clone(),
            Self::Version(_, name, version) | Self::There(_, NamedThere::Version(name, version)) => {
                format!("models:/{name}/{version}")
            }
            Self::There(_, NamedThere::Model(name) | NamedThere::Other(_, name)) => name.clone(),
        }
    }
}

impl Pin {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if self.reason.trim().is_empty() {
            return Err(Error::usage("--reason is empty; say why it must stay"));
        }
        let (pinned, before) = Pinned::find(&self.store, &self.target, output)?;
        pinned.set(&self.reason)?;
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
            pinned.delete()?;
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
