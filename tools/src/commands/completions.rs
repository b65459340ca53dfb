//! `runlode completions SHELL` and `runlode man DIR`: made from the same description of the arguments that `--help` shows.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::Answer;
use crate::error::{Error, Result};
use crate::find::folder_path;
use crate::output::Output;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode completions bash > ~/.local/share/bash-completion/completions/runlode
  runlode completions zsh > \"${fpath[1]}/_runlode\"")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode man ~/.local/share/man/man1 && man runlode-plot
  runlode man ./man --json")]
pub struct Man {
    /// The folder for a page of each command; made if it is not there
    #[arg(value_name = "DIR", value_parser = folder_path)]
    folder: PathBuf,
}

impl Completions {
    pub(crate) fn run(self, mut command: clap::Command, output: &mut Output) -> Result<Answer> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "runlode", &mut script);
        let script = String::from_utf8(script).map_err(|error| Error::Source(error.to_string()))?;
        if output.is_json() {
            output.document(&json!({ "shell": self.shell.to_string(), "script": script }))?;
        } else {
            // As it is: on a terminal too, since a shell reads it.
            script.lines().try_for_each(|line| output.own_line(line))?;
        }
        Ok(Answer::Yes)
    }
}

impl Man {
    pub(crate) fn run(self, command: clap::Command, output: &mut Output) -> Result<Answer> {
        let cannot = |error| Error::io(format!("cannot write to {}", self.folder.display()), error);
        std::fs::create_dir_all(&self.folder).map_err(cannot)?;
        clap_mangen::generate_to(command, &self.folder).map_err(cannot)?;
        let pages = std::fs::read_dir(&self.folder).map_err(cannot)?.count();
        if output.is_json() {
            output.document(&json!({ "folder": self.folder.display().to_string(), "pages": pages }))?;
        } else {
            output.line(format!("{pages} pages in {}", self.folder.display()))?;
        }
        Ok(Answer::Yes)
    }
}
