//! The command `runlode`. Each command is a few lines over the library.
//!
//! - The answer goes to standard output, everything else to standard error. `--json` prints one JSON document, or one
//!   line of JSON for each event (`tail`). Numbers that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`.
//! - If a store that is read lacks a file that it should have, commands show the rest. Standard error names what is
//!   missing, JSON names it too (an object in `missing`, a list in a last element `{"missing": [..]}`, lines in a last
//!   line of that form), and the exit status is 1.
//! - Exit status: 0 done; 1 the answer is no; 2 wrong usage or an error, with one sentence on standard error.
//! - If the reader of the output goes away (`| head`), the command ends quietly.

mod artifacts;
mod chart;
mod columns;
pub mod commands;
pub mod demo;
mod disk;
mod error;
mod examples;
mod find;
mod format;
mod http;
pub mod import;
mod interrupt;
mod json;
mod keeper;
mod list;
mod measure;
mod moment;
mod open;
mod output;
mod picture;
mod progress;
mod remote;
mod sync_artifacts;
mod v1;
pub mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use error::{Error, Result};
pub use output::Answer;
use output::Output;

/// Runlode stores machine-learning experiments (runs, metrics, models) in a folder that any number of processes share,
/// and keeps every point and every change.
#[derive(Debug, Parser)]
#[command(name = "runlode", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: real runs, searches, a curve, 10 million points, kill -9, verification
    Demo(commands::demo::Demo),
    /// Import from MLflow (database, mlruns, server), TensorBoard and others; run it again to resume or top up
    Import(commands::import::Import),
    /// Compare two stores, or a store with what it was imported from; exit status 1 if they differ
    Diff(commands::diff::Diff),
    /// Serve MLflow's REST API, artifacts and web pages
    Serve(commands::serve::Serve),
    /// Open Runlode's web pages of a store in the browser
    Ui(commands::ui::Ui),
    /// Run an MLflow project: a folder, zip file or git URL with an MLproject file
    Run(commands::run::Run),
    /// Repeat a launch: the same commit, changes, packages and parameters
    Rerun(commands::rerun::Rerun),
    /// List runs that match a filter
    Runs(commands::runs::Runs),
    /// List experiments
    Experiments(commands::lists::Experiments),
    /// List registered models; inspect, compare, register and serve models, score files with them
    Models(commands::models::Models),
    /// Show where a model comes from: run, launch, commit, data sets; each link proven or claimed
    Lineage(commands::lineage::Lineage),
    /// List logged models
    LoggedModels(commands::lists::LoggedModels),
    /// Show a run, an experiment or a model, now or as of a position or time
    Show(commands::show::Show),
    /// List the changes of an entity: who changed what, when, old and new value
    History(commands::history::History),
    /// Draw metrics of runs, in the terminal or as SVG or PNG
    Plot(commands::plot::Plot),
    /// Compare runs: what differs comes first
    Compare(commands::compare::Compare),
    /// Watch the runs that are running: progress, rates, last values
    Top(commands::top::Top),
    /// Print what a file of a store contains
    Inspect(commands::inspect::Inspect),
    /// Look for what is wrong, and say the next command
    Doctor(commands::doctor::Doctor),
    /// Check every byte, and that the indexes match the log
    Verify(commands::verify::Verify),
    /// Build a second store by replaying the log, up to any position; or an export
    Replay(commands::replay::Replay),
    /// Export to Parquet files, to MLflow's SQLite database, or to TensorBoard; run it again to resume
    Export(commands::export::Export),
    /// Copy what is new in one store into another, or into a server; repeat as often as you like
    Sync(commands::sync::Sync),
    /// Merge the stores of other machines from a store's inbox
    Merge(commands::sync::Merge),
    /// Bring a store into its smallest form and give disk space back
    Compact(commands::compact::Compact),
    /// Remove what was deleted long ago, with its artifacts; --plan shows what would go, and what stays and why
    Gc(commands::gc::Gc),
    /// Show what takes the space of a store
    Du(commands::du::Du),
    /// Back a store up while it is in use; list, check and restore backups
    Backup(commands::backup::Backup),
    /// Rewind a run to a step; later points stay readable as a dead branch
    Rewind(commands::rewind::Rewind),
    /// Make a run that continues another one's curves from a step, without a copy
    Fork(commands::fork::Fork),
    /// Move an alias to a version, only if it is where you expect it
    Promote(commands::promote::Promote),
    /// Give a registered model the aliases and stages of an earlier moment
    Rollback(commands::promote::Rollback),
    /// Keep a run or a version from being collected
    Pin(commands::pin::Pin),
    /// Undo a pin
    Unpin(commands::pin::Unpin),
    /// Prove that the registry and deletions were not changed behind your back
    Audit(commands::audit::Audit),
    /// Print events from any position on, then follow new ones
    Tail(commands::tail::Tail),
    /// Measure ingestion and queries in a scratch folder
    Bench(commands::bench::Bench),
    /// Print the completion script of a shell
    Completions(commands::completions::Completions),
    /// Write a manual page for each command
    Man(commands::completions::Man),
    #[command(name = "demo-writer", hide = true)]
    DemoWriter(demo::writer::DemoWriter),
}

/// The arguments of this process. `--if-ALIAS VERSION` of `promote` is `--if ALIAS=VERSION`: an alias may have any name.
fn arguments() -> Vec<OsString> {
    rewritten(std::env::args_os())
}

fn rewritten(mut given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = given.by_ref().take(1).collect();
    let mut promotes = false;
    while let Some(argument) = given.next() {
        let text = argument.to_string_lossy().into_owned();
        match text.strip_prefix("--if-").filter(|alias| promotes && !alias.is_empty()) {
            Some(condition) => {
                let (alias, version) = match condition.split_once('=') {
                    Some((alias, version)) => (alias.to_owned(), version.to_owned()),
                    None => (condition.to_owned(), given.next().unwrap_or_default().to_string_lossy().into_owned()),
                };
                out.extend(["--if".into(), format!("{alias}={version}").into()]);
            }
            None => {
                promotes |= text == "promote";
                out.push(argument);
            }
        }
    }
    out
}

/// The arguments that the tool takes, with examples.
fn described() -> clap::Command {
    examples::added_to(Cli::command())
}

fn parsed(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&described().try_get_matches_from(arguments)?)
}

/// Prints what is wrong with the arguments. An argument may be a name that another user stored, so the message is made
/// again from the harmless form of each argument.
fn wrong_call(error: clap::Error) -> clap::Error {
    let shown = arguments().into_iter().map(|argument| format::shown(&argument.to_string_lossy()).into_owned());
    parsed(shown).err().unwrap_or(error)
}

/// How often a command that reads begins again.
const AGAIN_MAX: usize = 5;

fn run_command(command: Command, output: &mut Output) -> Result<Answer> {
    match command {
        Command::Demo(command) => command.run(output),
        Command::Import(command) => command.run(output),
        Command::Diff(command) => command.run(output),
        Command::Serve(command) => command.run(output),
        Command::Ui(command) => command.run(output),
        Command::Run(command) => command.run(output),
        Command::Rerun(command) => command.run(output),
        Command::Runs(command) => command.run(output),
        Command::Experiments(command) => command.run(output),
        Command::Models(command) => command.run(output),
        Command::Lineage(command) => command.run(output),
        Command::LoggedModels(command) => command.run(output),
        Command::Show(command) => command.run(output),
        Command::History(command) => command.run(output),
        Command::Plot(command) => command.run(output),
        Command::Verify(command) => command.run(output),
        Command::Replay(command) => command.run(output),
        Command::Export(command) => command.run(output),
        Command::Sync(command) => command.run(output),
        Command::Merge(command) => command.run(output),
        Command::Compact(command) => command.run(output),
        Command::Gc(command) => command.run(output),
        Command::Du(command) => command.run(output),
        Command::Backup(command) => command.run(output),
        Command::Rewind(command) => command.run(output),
        Command::Tail(command) => command.run(output),
        Command::Bench(command) => command.run(output),
        Command::Compare(command) => command.run(output),
        Command::Top(command) => command.run(output),
        Command::Inspect(command) => command.run(output),
        Command::Doctor(command) => command.run(output),
        Command::Fork(command) => command.run(output),
        Command::Promote(command) => command.run(output),
        Command::Rollback(command) => command.run(output),
        Command::Pin(command) => command.run(output),
        Command::Unpin(command) => command.run(output),
        Command::Audit(command) => command.run(output),
        Command::Completions(command) => command.run(described(), output),
        Command::Man(command) => command.run(described(), output),
        Command::DemoWriter(command) => command.run(output),
    }
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    runlode::engine::fork::ignore_size_limit_signal();
    let cli = match parsed(arguments()) {
        Ok(cli) => cli,
        // Help and version texts contain only our own text.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            for line in wrong_call(error).render().to_string().lines() {
                eprintln!("{}", format::shown(line));
            }
            return ExitCode::from(2);
        }
    };
    let mut output = Output::stdout(cli.json);
    let mut result = run_command(cli.command, &mut output);
    for _ in 0..AGAIN_MAX {
        // A process began to write the store that was open for reading.
        if !matches!(result, Err(Error::Store(runlode::Error::IndexChanged))) || !output.forget() {
            break;
        }
        let Ok(cli) = parsed(arguments()) else { break };
        result = run_command(cli.command, &mut output);
    }
    interrupt::wait_if_interrupted();
    let result = result.and_then(|answer| {
        output.flush()?;
        Ok(answer)
    });
    // If the store lacks a file, "not found" is no wrong usage.
    let lacks_something = output.lacks_something();
    let status = match result {
        Ok(Answer::Yes) if !lacks_something => 0,
        Ok(_) => 1,
        Err(error) if error.is_closed_pipe() => return ExitCode::SUCCESS,
        Err(error) => {
            output::note(error);
            if lacks_something { 1 } else { 2 }
        }
    };
    match output.finish() {
        Err(error) if !error.is_closed_pipe() => {
            output::note(error);
            ExitCode::from(2)
        }
        _ => ExitCode::from(status),
    }
}
