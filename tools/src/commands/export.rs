//! `runlode export STORE --to TARGET [--until POSITION|TIME] [--only PART]...`

use std::path::{Path, PathBuf};

use clap::Args;
use runlode_export::{Only, Options, Report, Target};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::store_path;
use crate::open::open_to_read;
use crate::output::Output;
use crate::progress::Bar;
use crate::{Answer, format};

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// parquet:DIR, sqlite:///back.db (sqlite:////srv/back.db for an absolute path), or tensorboard:DIR
    #[arg(long, value_name = "TARGET", value_parser = target)]
    to: Target,
    /// As the store was at a position, or at a time ("2026-03-03 09:00"); default: now
    #[arg(long, value_name = "POSITION|TIME")]
    until: Option<String>,
    /// Only this part: experiment:NAME, run:ID or models:/NAME; may be repeated
    #[arg(long, value_name = "PART", value_parser = part)]
    only: Vec<Only>,
}

/// A target from an argument.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    text.parse().map_err(|error: runlode_export::Error| error.to_string())
}

/// A part of a store from an argument.
pub(crate) fn part(text: &str) -> Result<Only, String> {
    text.parse().map_err(|error: runlode_export::Error| error.to_string())
}

impl From<runlode_export::Error> for Error {
    fn from(error: runlode_export::Error) -> Self {
        use runlode_export::Error as E;
        match error {
            E::Store(error) => Self::Store(error),
            E::Io { what, source } => Self::Io { what, source },
            E::Target(text) | E::Absent(text) => Self::Usage(text),
            other => Self::Source(other.to_string()),
        }
    }
}

impl Export {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        write(&self.store, &self.to, self.until.as_deref(), self.only, output)
    }
}

/// Exports a store, and prints what that did.
pub(crate) fn write(
    store: &Path,
    target: &Target,
    until: Option<&str>,
    only: Vec<Only>,
    output: &mut Output,
) -> Result<Answer> {
    let mut options = only.into_iter().fold(Options::default(), Options::only);
    if let Some(until) = until.map(format::as_of).transpose()? {
        options = options.until(until);
    }
    let opened = open_to_read(store, output)?;
    let bar = Bar::new("exporting");
    let report =
        runlode_export::export(&opened, target, &options, &mut |step| bar.set(step.what, step.done, step.total))?;
    drop(bar);
    print(&report, target, output)?;
    Ok(Answer::Yes)
}

/// Prints what an export did.
fn print(report: &Report, target: &Target, output: &mut Output) -> Result<()> {
    if output.is_json() {
        let mut document = serde_json::to_value(report)?;
        document["target"] = json!(target.to_string());
        return output.document(&document);
    }
    let position = format::count(report.position);
    if report.unchanged {
        output.line(format!("{target} shows position {position} already: nothing to do."))?;
    } else {
        let resumed = if report.resumed { ", an export that had been cut" } else { "" };
        output.line(format!("Exported position {position} to {target}{resumed}"))?;
    }
    let written = &report.written;
    let counts = [
        ("experiments", written.experiments),
        ("runs", written.runs),
        ("params", written.params),
        ("tags", written.tags),
        ("metric points", written.points),
        ("data set inputs", written.dataset_inputs),
        ("logged models", written.logged_models),
        ("registered models", written.registered_models),
        ("model versions", written.model_versions),
        ("aliases", written.aliases),
        ("events of the history", written.events),
        ("files", report.files),
    ];
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        output.line(format!("  {:>12}  {what}", format::count(count)))?;
    }
    output.line(format!("  {:>12}  in all", format::bytes(report.bytes)))?;
    for (what, loss) in &report.lost {
        let more = if loss.count > loss.examples.len() as u64 { ", ..." } else { "" };
        let examples = loss.examples.join(", ");
        output.line(format!("  cannot be held: {} {what} ({examples}{more})", format::count(loss.count)))?;
    }
    if report.store_position > report.position && report.resumed {
        let now = format::count(report.store_position);
        output.line(format!("  note: the store has gone on to position {now}; export again to get that too"))?;
    }
    Ok(())
}
