//! `runlode demo`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use crate::demo::{crash, load, real};
use crate::error::{Error, Result};
use crate::find::folder_path;
use crate::output::Output;
use crate::{Answer, format, interrupt};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the stores in this folder; default: a temporary one that is removed at the end
    #[arg(long, value_name = "DIR", value_parser = folder_path)]
    keep: Option<PathBuf>,
    /// Folder of the runs that ship with the project
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Points of the load
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    points: u64,
}

impl Demo {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let begin = Instant::now();
        let data = real::data_folder(self.data)?;
        let temporary;
        let folder = match &self.keep {
            Some(folder) => {
                std::fs::create_dir_all(folder)
                    .map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
                if folder.join("load").exists() || folder.join("runs").exists() {
                    return Err(Error::usage(format!("{} holds a demo already; give a new folder", folder.display())));
                }
                folder.clone()
            }
            None => {
                temporary = TempDir::new().map_err(|error| Error::io("cannot make a temporary folder", error))?;
                interrupt::remove_at_interrupt(temporary.path())?;
                temporary.path().to_path_buf()
            }
        };
        if !output.is_json() {
            output.line_now(format!("Runlode demo in {}; all numbers are measured now.", folder.display()))?;
            output.line("")?;
        }
        let real = real::run(&data, &folder.join("runs"), output)?;
        let load = load::run(self.points, &folder.join("load"), output)?;
        let crash = crash::run(&folder.join("load"), output)?;
        let seconds = begin.elapsed().as_secs_f64();
        let sound = crash.is_sound();
        if output.is_json() {
            output.document(&json!({ "real": real, "load": load, "crash": crash, "seconds": seconds }))?;
        } else {
            output.line("")?;
            output.line(format!("Done in {}.", format::seconds(seconds)))?;
            if self.keep.is_some() {
                output.line(format!("Look around: runlode runs {}", folder.join("runs").display()))?;
            }
        }
        Ok(if sound { Answer::Yes } else { Answer::No })
    }
}
