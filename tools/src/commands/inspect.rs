//! `runlode inspect FILE`: what a file of a store contains, by a reader that was written from the description of the
//! format alone.
//!
//! One line for each structure of the file; with `--json` one JSON object. Exit status: 0 sound, 1 something is damaged.

use std::path::PathBuf;

use clap::Args;
use runlode_inspect::Detail;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::{Answer, format};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode inspect ./store/log/00000001.seg
  runlode inspect ./store/series/00000001.ser --points --json | jq 'select(.key == 3)'")]
pub struct Inspect {
    /// A file of a store: FORMAT, MANIFEST, LOCK, *.seg, *.ser, search.snap
    file: PathBuf,
    /// Show the points too, not only how many there are
    #[arg(long)]
    points: bool,
}

impl Inspect {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let mut failed = None;
        let detail = Detail { points: self.points };
        let read = runlode_inspect::inspect(&self.file, detail, &mut |fact| {
            let printed = if output.is_json() { output.document_row(&fact) } else { output.line(line(&fact)) };
            printed.map_err(|error| {
                let stopped = std::io::Error::other("output");
                failed = Some(error);
                stopped
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        match read {
            Ok(true) => Ok(Answer::Yes),
            Ok(false) => Ok(Answer::No),
            Err(runlode_inspect::Error::Io(error)) => {
                Err(Error::io(format!("cannot read {}", self.file.display()), error))
            }
            Err(error) => Err(Error::usage(error.to_string())),
        }
    }
}

/// A fact in one line: place, name, then its fields.
fn line(fact: &Value) -> String {
    let fields = fact.as_object();
    let text = |name: &str| fact.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = fact.get("at").map_or_else(String::new, Value::to_string);
    let mut line = format!("{at:>10}  {}", text("what"));
    for (name, value) in fields.into_iter().flatten() {
        if ["what", "at", "damaged"].contains(&name.as_str()) {
            continue;
        }
        line.push_str(&format!("  {}", field(name, value)));
    }
    if fact.get("damaged").is_some() {
        line.push_str(&format!("  DAMAGED: {}", text("damaged")));
    }
    line
}

fn field(name: &str, value: &Value) -> String {
    match value {
        Value::Number(number) if name.ends_with("time_ms") || name.ends_with("created_ms") => {
            let time = number.as_i64().map_or_else(|| number.to_string(), format::time_utc);
            format!("{} {time}", name.trim_end_matches("_ms"))
        }
        Value::String(text) => format!("{name} {text}"),
        Value::Array(list) if name == "sections" => {
            let sections = list.iter().map(|section| {
                let fields = section.as_object().into_iter().flatten();
                let rest = fields.filter(|(name, _)| *name != "section").map(|(name, value)| field(name, value));
                let head = section.get("section").map_or_else(String::new, |head| match head {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                std::iter::once(head).chain(rest).collect::<Vec<_>>().join(" ")
            });
            sections.map(|section| format!("[{section}]")).collect::<Vec<_>>().join(" ")
        }
        value => format!("{name} {value}"),
    }
}
