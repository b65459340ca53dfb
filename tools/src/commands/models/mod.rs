//! `runlode models`: what a store holds, and what is done with a model.

pub mod serve;

use clap::{Args, Subcommand};

use super::lists;
use crate::Answer;
use crate::error::{Error, Result};
use crate::output::Output;

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Models {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: Option<lists::Models>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer MLflow's scoring requests with a model
    Serve(serve::Serve),
}

impl Models {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        match (self.command, self.list) {
            (Some(Command::Serve(command)), _) => command.run(output),
            (None, Some(list)) => list.run(output),
            (None, None) => Err(Error::usage("name a store, or what to do: `runlode models --help`")),
        }
    }
}
