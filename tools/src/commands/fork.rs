//! `runlode fork STORE RUN --at-step N`

use std::path::PathBuf;

use clap::Args;
use runlode::{RunSpec, RunStatus};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::{self, store_path};
use crate::output::Output;
use crate::{Answer, format, open};

/// Arguments of `fork`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode fork ./store trial-17 --at-step 8000 --name lower-lr
  MLFLOW_RUN_ID=$(runlode fork ./store trial-17 --at-step 8000 --json | jq -r .run_id) python train.py")]
pub struct Fork {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// The run: name, id, or beginning of the id
    run: String,
    /// Last step that the new run shares; later points of the run are not in it
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    at_step: i64,
    /// Name of the new run; without it, that of the run with `-fork`
    #[arg(long)]
    name: Option<String>,
}

impl Fork {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let parent = find::run(&open::open_to_read(&self.store, output)?.snapshot()?, &self.run)?;
        let store = open::to_change(&self.store)?;
        let spec = match &self.name {
            Some(name) if name.trim().is_empty() => {
                return Err(Error::usage("--name is empty; leave it out for a name made from the run's"));
            }
            Some(name) => RunSpec::named(name.as_str()),
            None => RunSpec::new(),
        };
        // The process that trains is another one: until it begins, the run is scheduled, not lost.
        let spec = spec.user(runlode::os_user()).status(RunStatus::Scheduled);
        let fork = store.run(parent)?.fork(self.at_step, spec)?;
        let info = fork.info()?;
        store.close()?;
        let points: u64 = info.metrics.iter().map(|metric| metric.count).sum();
        if output.is_json() {
            output.document(&json!({
                "run_id": info.id.to_string(), "name": info.name, "forked_from": parent.to_string(),
                "at_step": self.at_step, "points_shared": points,
            }))?;
        } else {
            let points = format::count(points);
            output.line(format!("{}  {}", info.id, info.name))?;
            output.line(format!("shares {points} points with {parent}, up to step {}", self.at_step))?;
        }
        Ok(Answer::Yes)
    }
}
