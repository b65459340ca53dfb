//! `runlode rewind STORE RUN --to-step N`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::Result;
use crate::find::{self, store_path};
use crate::output::Output;
use crate::{Answer, format, open};

/// Arguments of `rewind`.
#[derive(Debug, Args)]
pub struct Rewind {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// The run: name, id, or beginning of the id
    run: String,
    /// Last step to keep; points with a greater step are hidden
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    to_step: i64,
}

impl Rewind {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let id = find::run(&open::open_to_read(&self.store, output)?.snapshot()?, &self.run)?;
        let store = open::to_change(&self.store)?;
        let rewound = store.run(id)?.rewind(self.to_step)?;
        store.close()?;
        if output.is_json() {
            output.document(&json!({
                "run_id": id.to_string(),
                "branch": rewound.branch,
                "to_step": self.to_step,
                "points_hidden": rewound.points_hidden,
                "position": rewound.position,
            }))?;
        } else {
            let hidden = format::count(rewound.points_hidden);
            let dead = rewound.branch - 1;
            output.line(format!("{id} is at step {}: {hidden} points are hidden, in branch {dead}", self.to_step))?;
        }
        Ok(Answer::Yes)
    }
}
