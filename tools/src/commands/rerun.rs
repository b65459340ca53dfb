//! `runlode rerun RUN`

use clap::Args;

use super::run::{self, Recording};
use crate::Answer;
use crate::error::Result;
use crate::output::{Output, note};

/// Arguments of `rerun`.
#[derive(Debug, Args)]
pub struct Rerun {
    /// The run of a launch: name, id, or beginning of an id
    run: String,
    /// Another value for a parameter; repeatable
    #[arg(long = "param-list", short = 'P', value_name = "NAME=VALUE", value_parser = run::pair)]
    parameters: Vec<(String, String)>,
    #[command(flatten)]
    recording: Recording,
    /// Start nothing unless everything can be repeated
    #[arg(long)]
    strict: bool,
    /// Only say what cannot be repeated
    #[arg(long)]
    check: bool,
}

impl Rerun {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        run::check_once('P', &self.parameters)?;
        let run::Recorded { run: id, experiment, launch: earlier } =
            run::earlier(&self.recording.target()?, &self.run)?;
        let mut request =
            earlier.request(&id, &self.parameters).map_err(|error| crate::error::Error::Source(error.to_string()))?;
        request.parent = run::parent(&self.recording);
        request.user = runlode::os_user();
        let doubts = earlier.doubts(&self.parameters);
        if self.check && output.is_json() {
            output.document(&serde_json::json!({ "run_id": id, "not_repeated": doubts }))?;
        } else {
            for doubt in &doubts {
                note(format!("not as in run {id}: {doubt}"));
            }
        }
        if self.check || self.strict && !doubts.is_empty() {
            return Ok(if doubts.is_empty() { Answer::Yes } else { Answer::No });
        }
        run::execute(&request, &self.recording.or_in(experiment), output)
    }
}
