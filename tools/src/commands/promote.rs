//! `runlode promote STORE models:/NAME/VERSION --to ALIAS [--if-ALIAS VERSION]` and `runlode rollback STORE models:/NAME
//! --to-as-of MOMENT`: decided inside the store, each in one step. STORE is a folder, or the address of a Runlode server.
//!
//! Exit status of `promote`: 0 the alias names the version; 1 it is elsewhere than expected, and nothing changed.

use clap::Args;
use runlode::find::{Named, Wanted, Which};
use runlode::{AsOf, OnlyIf, Promotion, RegistryChange, Rollback as Done, Snapshot};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::output::Output;
use crate::v1::{Named as NamedThere, Server, Where, place};
use crate::{Answer, format, open};

/// Arguments of `promote`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode promote ./store models:/fraud/7 --to champion --if-champion 6 --reason CR-1182
  runlode promote http://tracking:5000 models:/fraud@challenger --to champion --if-champion none")]
pub struct Promote {
    /// Folder of the store, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_parser = place)]
    store: Where,
    /// The version: models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/latest
    #[arg(value_name = "MODEL")]
    model: String,
    /// The alias that names it from now on
    #[arg(long, value_name = "ALIAS")]
    to: String,
    /// Only if an alias is at a version now, or `none`: written --if-ALIAS VERSION, e.g. --if-champion 6
    #[arg(long = "if", value_name = "ALIAS=VERSION")]
    only_if: Option<String>,
    /// Why; becomes the tag runlode.promote.ALIAS of the version
    #[arg(long)]
    reason: Option<String>,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode rollback ./store models:/fraud --to-as-of \"2026-03-03 09:00\" --plan
  runlode rollback ./store models:/fraud --to-as-of 120034 --reason \"CR-1183: version 7 is slow\"")]
pub struct Rollback {
    /// Folder of the store, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_parser = place)]
    store: Where,
    /// The model: models:/NAME
    #[arg(value_name = "MODEL")]
    model: String,
    /// The position or time whose aliases and stages the model gets back
    #[arg(long, value_name = "POSITION|TIME")]
    to_as_of: String,
    /// Why; becomes part of the tag runlode.rollback of the model
    #[arg(long)]
    reason: Option<String>,
    /// Print what would change, and change nothing
    #[arg(long)]
    plan: bool,
}

/// The model and version that a text names.
fn version(snapshot: &Snapshot, text: &str) -> Result<(String, u32)> {
    match Wanted::parse(text)? {
        wanted @ Wanted::Version(..) => match wanted.find(snapshot)? {
            Named::Version(_, name, version) => Ok((name, version)),
            _ => Err(Error::usage(format!("`{text}` is a model; name a version: {text}/1"))),
        },
        Wanted::RegisteredModel(name) => {
            let latest = Wanted::Version(name.clone(), Which::Latest).find(snapshot);
            let example = match latest {
                Ok(Named::Version(_, _, latest)) => format!("models:/{name}/{latest}"),
                _ => format!("models:/{name}/1"),
            };
            Err(Error::usage(format!("name a version, for example {example}")))
        }
        _ => Err(Error::usage(format!("`{text}` names no version; write models:/NAME/VERSION or models:/NAME@ALIAS"))),
    }
}

/// The condition in `ALIAS=VERSION`, for the alias that is moved.
fn condition(text: Option<&str>, alias: &str) -> Result<OnlyIf> {
    let Some(text) = text else { return Ok(OnlyIf::Always) };
    let (of, version) = text.rsplit_once('=').unwrap_or((alias, text));
    if of != alias {
        return Err(Error::usage(format!("--to moves `{alias}`, so its condition is --if-{alias}, not --if-{of}")));
    }
    if version == "none" {
        return Ok(OnlyIf::Unset);
    }
    match version.parse() {
        Ok(version) if version > 0 => Ok(OnlyIf::At(version)),
        _ => Err(Error::usage(format!("`{version}` is no version; write --if-{alias} 6, or --if-{alias} none"))),
    }
}

/// Promotes on a server.
fn promote_there(
    server: &Server,
    model: &str,
    alias: &str,
    only_if: OnlyIf,
    reason: Option<&str>,
) -> Result<(String, u32, Promotion)> {
    let (name, version) = match server.find(model)? {
        NamedThere::Version(name, version) => (name, version),
        NamedThere::Model(name) => {
            return Err(Error::usage(format!("name a version, for example models:/{name}/1")));
        }
        _ => {
            let forms = "write models:/NAME/VERSION or models:/NAME@ALIAS";
            return Err(Error::usage(format!("`{model}` names no version; {forms}")));
        }
    };
    let expected = match only_if {
        OnlyIf::Always => Value::Null,
        OnlyIf::Unset => 0.into(),
        OnlyIf::At(version) => version.into(),
    };
    let mut body = json!({ "name": name, "version": version, "alias": alias, "reason": reason });
    if !expected.is_null() {
        body["expected"] = expected;
    }
    let done = server.post("promote", &body)?;
    let at = |field: &str| done[field].as_u64().and_then(|version| u32::try_from(version).ok());
    let met = done["done"].as_bool().ok_or_else(|| Error::Source("the server does not say what it did".into()))?;
    Ok((name, version, Promotion { met, before: at("before"), now: at("now") }))
}

/// Rolls a model back on a server. The server reads no times of another zone, so the moment is sent in UTC.
fn roll_back_there(server: &Server, model: &str, to: AsOf, reason: Option<&str>, plan: bool) -> Result<(String, Done)> {
    let NamedThere::Model(name) = server.find(model)? else {
        return Err(Error::usage(format!("`{model}` is no registered model; write models:/NAME")));
    };
    let body = json!({ "name": name, "as_of": format::moment_text(to), "reason": reason, "plan": plan });
    let done = server.post("rollback", &body)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let change = |change: &Value| RegistryChange {
        what: text(&change["what"]).unwrap_or_default(),
        from: text(&change["from"]),
        to: text(&change["to"]),
    };
    let position = done["position"].as_u64();
    let position = position.ok_or_else(|| Error::Source("the server does not say what it did".into()))?;
    let changes = done["changes"].as_array().map(|changes| changes.iter().map(change).collect());
    Ok((name, Done { position, changes: changes.unwrap_or_default() }))
}

impl Promote {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let only_if = condition(self.only_if.as_deref(), &self.to)?;
        if ["none", "staging", "production", "archived"].contains(&self.to.to_ascii_lowercase().as_str()) {
            let why = "is a stage; --to takes an alias, and `runlode models stage` moves a version to a stage";
            return Err(Error::usage(format!("`{}` {why}", self.to)));
        }
        let reason = self.reason.as_deref();
        let (name, version, done) = match &self.store {
            Where::Folder(folder) => {
                let (name, version) = version(&open::open_to_read(folder, output)?.snapshot()?, &self.model)?;
                let store = open::to_change(folder)?;
                let done = store.registered_model(&name)?.promote(version, &self.to, only_if, reason)?;
                store.close()?;
                (name, version, done)
            }
            Where::Server(url) => promote_there(&Server::new(url)?, &self.model, &self.to, only_if, reason)?,
        };
        if output.is_json() {
            output.document(&json!({
                "model": name, "version": version, "alias": self.to, "done": done.met,
                "before": done.before, "now": done.now, "reason": self.reason,
            }))?;
        } else {
            let at =
                |version: Option<u32>| version.map_or_else(|| "not set".to_owned(), |at| format!("at version {at}"));
            let alias = format!("{name}@{}", self.to);
            output.line(match (done.met, done.before == done.now) {
                (false, _) => format!("{alias} is {}: nothing changed", at(done.before)),
                (true, true) => format!("{alias} is {} already", at(done.now)),
                (true, false) => format!("{alias} is {} now; it was {}", at(done.now), at(done.before)),
            })?;
        }
        Ok(if done.met { Answer::Yes } else { Answer::No })
    }
}

impl Rollback {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let to: AsOf = format::as_of(&self.to_as_of)?;
        let reason = self.reason.as_deref();
        let (name, done) = match &self.store {
            Where::Folder(folder) => {
                let read = open::open_to_read(folder, output)?;
                let name = match runlode::find::entity(&read.snapshot()?, &self.model)? {
                    Named::RegisteredModel(_, name) => name,
                    _ => {
                        return Err(Error::usage(format!(
                            "`{}` is no registered model; write models:/NAME",
                            self.model
                        )));
                    }
                };
                drop(read);
                let store = open::to_change(folder)?;
                let model = store.registered_model(&name)?;
                let done = if self.plan { model.plan_roll_back(to)? } else { model.roll_back(to, reason)? };
                store.close()?;
                (name, done)
            }
            Where::Server(url) => roll_back_there(&Server::new(url)?, &self.model, to, reason, self.plan)?,
        };
        if output.is_json() {
            let changes = done.changes.iter();
            let changes: Vec<Value> =
                changes.map(|change| json!({ "what": change.what, "from": change.from, "to": change.to })).collect();
            output.document(&json!({
                "model": name, "as_of_position": done.position, "changes": changes, "done": !self.plan,
            }))?;
            return Ok(Answer::Yes);
        }
        let (is, verb) = if self.plan { ("would be", "would change") } else { ("is", "changed") };
        if done.changes.is_empty() {
            output.line(format!("{name} is as it was at position {}: nothing {verb}", done.position))?;
            return Ok(Answer::Yes);
        }
        output.line(format!("{name} {is} as it was at position {}", done.position))?;
        for change in &done.changes {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
            output.line(format!("  {}: {} -> {}", change.what, text(&change.from), text(&change.to)))?;
        }
        Ok(Answer::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_the_alias_that_moves() {
        assert_eq!(condition(None, "champion").unwrap(), OnlyIf::Always);
        assert_eq!(condition(Some("champion=6"), "champion").unwrap(), OnlyIf::At(6));
        assert_eq!(condition(Some("6"), "champion").unwrap(), OnlyIf::At(6));
        assert_eq!(condition(Some("champion=none"), "champion").unwrap(), OnlyIf::Unset);
        for wrong in ["challenger=6", "champion=0", "champion=x", "champion="] {
            assert!(condition(Some(wrong), "champion").is_err(), "{wrong}");
        }
    }
}
