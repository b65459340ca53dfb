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
pub mod commands;
pub mod demo;
mod disk;
mod error;
mod find;
mod format;
pub mod import;
mod interrupt;
mod json;
mod list;
mod measure;
mod open;
mod output;
mod picture;
mod progress;
mod remote;
mod sync_artifacts;
pub mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Draw a metric in the terminal
    Plot(commands::plot::Plot),
    /// Check every byte, and that the indexes match the log
    Verify(commands::verify::Verify),
    /// Build a second store by replaying the log, up to any position
    Replay(commands::replay::Replay),
    /// Copy what is new in one store into another, or into a server; repeat as often as you like
    Sync(commands::sync::Sync),
    /// Merge the stores of other machines from a store's inbox
    Merge(commands::sync::Merge),
    /// Bring a store into its smallest form and give disk space back
    Compact(commands::compact::Compact),
    /// Rewind a run to a step; later points stay readable as a dead branch
    Rewind(commands::rewind::Rewind),
    /// Print events from any position on, then follow new ones
    Tail(commands::tail::Tail),
    /// Measure ingestion and queries in a scratch folder
    Bench(commands::bench::Bench),
    #[command(name = "demo-writer", hide = true)]
    DemoWriter(demo::writer::DemoWriter),
}

/// Prints what is wrong with the arguments. An argument may be a name that another user stored, so the message is made
/// again from the harmless form of each argument.
fn wrong_call(error: clap::Error) -> clap::Error {
    let shown = std::env::args_os().map(|argument| format::shown(&argument.to_string_lossy()).into_owned());
    Cli::try_parse_from(shown).err().unwrap_or(error)
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
        Command::Sync(command) => command.run(output),
        Command::Merge(command) => command.run(output),
        Command::Compact(command) => command.run(output),
        Command::Rewind(command) => command.run(output),
        Command::Tail(command) => command.run(output),
        Command::Bench(command) => command.run(output),
        Command::DemoWriter(command) => command.run(output),
    }
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    runlode::engine::fork::ignore_size_limit_signal();
    let cli = match Cli::try_parse() {
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
        let Ok(cli) = Cli::try_parse() else { break };
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
