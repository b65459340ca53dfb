//! `runlode models`: what a store holds, and what is done with a model.

pub mod build;
pub mod diff;
mod image;
pub mod inspect;
pub mod predict;
pub mod register;
pub mod serve;
pub(crate) mod source;

use clap::{Args, Subcommand};

use super::lists;
use crate::Answer;
use crate::error::{Error, Result};
use crate::list::Form;
use crate::moment::Moment;
use crate::open::{Cache, Source};
use crate::output::Output;
use crate::v1::{Where, place};

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Models {
    #[command(subcommand)]
    command: Option<Command>,
    /// Folder of a store whose registered models are listed, or http(s)://HOST:PORT of a Runlode server
    #[arg(value_parser = place)]
    store: Option<Where>,
    #[command(flatten)]
    cache: Cache,
    /// Show deleted ones too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    moment: Moment,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Score files: CSV, JSON lines, Parquet, Arrow
    Predict(predict::Predict),
    /// Write the folder that an image of a model is built from
    GenerateDockerfile(build::GenerateDockerfile),
    /// Build an image that serves a model
    BuildDocker(build::BuildDocker),
    /// Answer MLflow's scoring requests with a model
    Serve(serve::Serve),
    /// Show what a model is: flavors, signature, environment, files. Nothing of it is run
    Inspect(inspect::Inspect),
    /// Compare two models: signature, flavors, environment, params, metrics
    Diff(diff::Diff),
    /// Make a version of a registered model
    Register(register::Register),
    /// Describe a registered model or a version
    Describe(register::Describe),
    /// Tag a registered model or a version
    Tag(register::Tag),
    /// Let an alias name a version, or delete it
    Alias(register::Alias),
    /// Move a version to a stage
    Stage(register::StageOf),
    /// Wait until a version is ready
    Wait(register::Wait),
}

impl Models {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        match (self.command, self.store) {
            (Some(Command::Predict(command)), _) => command.run(output),
            (Some(Command::GenerateDockerfile(command)), _) => command.run(output),
            (Some(Command::BuildDocker(command)), _) => command.run(output),
            (Some(Command::Serve(command)), _) => command.run(output),
            (Some(Command::Inspect(command)), _) => command.run(output),
            (Some(Command::Diff(command)), _) => command.run(output),
            (Some(Command::Register(command)), _) => command.run(output),
            (Some(Command::Describe(command)), _) => command.run(output),
            (Some(Command::Tag(command)), _) => command.run(output),
            (Some(Command::Alias(command)), _) => command.run(output),
            (Some(Command::Stage(command)), _) => command.run(output),
            (Some(Command::Wait(command)), _) => command.run(output),
            (None, Some(store)) => {
                lists::Models::of(Source::at(store, self.cache), self.all, self.form, self.moment).run(output)
            }
            (None, None) => Err(Error::usage("name a store, or what to do: `runlode models --help`")),
        }
    }
}
