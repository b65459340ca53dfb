//! `runlode verify STORE`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::Result;
use crate::find::{open_to_read, store_path};
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
}

impl Verify {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store)?;
        let report = store.verify()?;
        let problems: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        let position = store.positions().durable;
        if output.is_json() {
            let document = json!({
                "ok": problems.is_empty(), "position": position.0, "sound_up_to": report.sound_up_to.0, "problems": problems,
            });
            output.document(&document)?;
        } else if problems.is_empty() {
            output.line(format!("Sound up to position {}.", format::count(position.0)))?;
        } else {
            for problem in &problems {
                output.line(problem)?;
            }
            output.line(format!("{} problems; restore the files named above from a copy.", problems.len()))?;
        }
        Ok(if problems.is_empty() { Answer::Yes } else { Answer::No })
    }
}
