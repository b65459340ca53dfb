//! `runlode backup STORE TARGET`, `backup list`, `backup check`, `backup restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runlode_backup::{At, Backups, MakeOptions, Progress};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::{folder_path, store_path};
use crate::output::{Output, note};
use crate::progress::Bar;
use crate::{Answer, format, open};

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  runlode backup ./store /mnt/backups\n  runlode backup restore /mnt/backups ./copy"
)]
pub struct Backup {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    make: Option<Make>,
}

/// A new backup.
#[derive(Debug, Args)]
struct Make {
    /// Folder of the store, which may be in use
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Folder of backups, or s3://BUCKET/PREFIX
    target: String,
    /// Name of the backup [default: the time in UTC and the position]
    #[arg(long)]
    name: Option<String>,
    /// Folder of artifacts, if a server keeps them elsewhere than in STORE/artifacts
    #[arg(long, value_name = "DIR", value_parser = folder_path)]
    artifacts: Option<PathBuf>,
    /// Read every file, also those that look as they did at the last backup
    #[arg(long)]
    reread: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the backups of a target
    List {
        /// Folder of backups, or s3://BUCKET/PREFIX
        target: String,
    },
    /// Check every byte of backups, without their store
    Check {
        /// Folder of backups, or s3://BUCKET/PREFIX
        target: String,
        /// Names of backups [default: all]
        names: Vec<String>,
    },
    /// Write a backup into a new folder
    Restore {
        /// Folder of backups, or s3://BUCKET/PREFIX
        target: String,
        /// Folder of the restored store; it must not exist, or be empty
        #[arg(value_parser = folder_path)]
        dir: PathBuf,
        /// Position or name of the backup [default: the newest]
        #[arg(long, value_name = "POSITION|NAME")]
        at: Option<At>,
    },
}

fn failed(error: runlode_backup::Error) -> Error {
    match error {
        runlode_backup::Error::Store(error) => Error::Store(error),
        error => Error::Source(error.to_string()),
    }
}

/// Moves a bar.
fn telling<'a>(bar: &'a Bar, label: &'static str) -> impl FnMut(Progress) + 'a {
    move |progress| bar.set(label, progress.done_bytes, progress.total_bytes)
}

impl Backup {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        match (self.verb, self.make) {
            (Some(Verb::List { target }), _) => list(&target, output),
            (Some(Verb::Check { target, names }), _) => check(&target, &names, output),
            (Some(Verb::Restore { target, dir, at }), _) => restore(&target, &dir, at, output),
            (None, Some(make)) => make.run(output),
            (None, None) => Err(Error::usage("give a store and a target: runlode backup ./store /mnt/backups")),
        }
    }
}

impl Make {
    fn run(self, output: &mut Output) -> Result<Answer> {
        open::check_is_store(&self.store)?;
        let backups = Backups::open(&self.target).map_err(failed)?;
        let mut options = MakeOptions::default();
        (options.name, options.artifacts, options.reread) = (self.name, self.artifacts, self.reread);
        let made = {
            let bar = Bar::new("backup");
            backups.make(&self.store, &options, &mut telling(&bar, "backup")).map_err(failed)?
        };
        if !made.inboxes_merged {
            note("no process could bring the points of inboxes into the log; those are not in this backup");
        }
        for skipped in &made.skipped {
            note(skipped);
        }
        if output.is_json() {
            output.document(&json!({
                "name": made.name, "position": made.position, "files": made.files_count, "bytes": made.bytes,
                "copied_bytes": made.copied_bytes, "unread_bytes": made.unread_bytes,
                "inboxes_merged": made.inboxes_merged, "skipped": made.skipped,
            }))?;
        } else {
            output.line(format!(
                "Backup {} at position {}: {} files, {}, of which {} were new.",
                made.name,
                made.position,
                format::count(made.files_count),
                format::bytes(made.bytes),
                format::bytes(made.copied_bytes)
            ))?;
        }
        Ok(if made.skipped.is_empty() { Answer::Yes } else { Answer::No })
    }
}

fn list(target: &str, output: &mut Output) -> Result<Answer> {
    let all = Backups::open(target).and_then(|backups| backups.list()).map_err(failed)?;
    if output.is_json() {
        let rows = all.iter().map(|backup| {
            json!({
                "name": backup.name, "position": backup.position, "made_ms": backup.made_ms, "store": backup.store,
                "files": backup.files.len(), "bytes": backup.bytes,
            })
        });
        output.document(&rows.collect::<Vec<_>>())?;
    } else if all.is_empty() {
        output.line("There are no backups.")?;
    } else {
        let row = |backup: &runlode_backup::Manifest| {
            let store = backup.store.get(..8).unwrap_or(&backup.store).to_owned();
            let files = format::count(backup.files.len() as u64);
            let (made, bytes) = (format::time(backup.made_ms), format::bytes(backup.bytes));
            vec![backup.name.clone(), made, backup.position.to_string(), store, files, bytes]
        };
        let heads = ["name", "made", ">position", "store", ">files", ">bytes"];
        output.table(&heads, all.iter().map(row).collect())?;
    }
    Ok(Answer::Yes)
}

fn check(target: &str, names: &[String], output: &mut Output) -> Result<Answer> {
    let backups = Backups::open(target).map_err(failed)?;
    let report = {
        let bar = Bar::new("check");
        backups.check(names, &mut telling(&bar, "check")).map_err(failed)?
    };
    if output.is_json() {
        let problems = report.problems.iter();
        let problem = |p: &runlode_backup::Problem| json!({ "path": p.path, "why": p.why, "backups": p.backups });
        output.document(&json!({
            "backups": report.backups_count, "blobs": report.blobs_count, "bytes": report.bytes,
            "unnamed_blobs": report.unnamed_count, "problems": problems.map(problem).collect::<Vec<_>>(),
        }))?;
    } else {
        for problem in &report.problems {
            let needed = match problem.backups.is_empty() {
                true => "no backup needs it".to_owned(),
                false => format!("needed by {}", problem.backups.join(", ")),
            };
            output.line(format!("{}: {}; {needed}", problem.path, problem.why))?;
        }
        let (backups, bytes) = (format::count(report.backups_count), format::bytes(report.bytes));
        let found = match report.problems.len() {
            0 => "all sound".to_owned(),
            count => format!("{count} problems"),
        };
        output.line(format!("{backups} backups, {bytes} read: {found}."))?;
        if report.unnamed_count > 0 {
            let count = format::count(report.unnamed_count);
            output.line(format!("{count} blobs are named by no backup: an interrupted one left them."))?;
        }
    }
    Ok(if report.problems.is_empty() { Answer::Yes } else { Answer::No })
}

fn restore(target: &str, dir: &std::path::Path, at: Option<At>, output: &mut Output) -> Result<Answer> {
    let backups = Backups::open(target).map_err(failed)?;
    let restored = {
        let bar = Bar::new("restore");
        backups.restore(&at.unwrap_or(At::Newest), dir, &mut telling(&bar, "restore")).map_err(failed)?
    };
    if output.is_json() {
        output.document(&json!({
            "name": restored.name, "position": restored.position, "files": restored.files_count,
            "bytes": restored.bytes,
        }))?;
    } else {
        output.line(format!(
            "Restored {} at position {} into {}: {} files, {}.",
            restored.name,
            restored.position,
            dir.display(),
            format::count(restored.files_count),
            format::bytes(restored.bytes)
        ))?;
    }
    Ok(Answer::Yes)
}
