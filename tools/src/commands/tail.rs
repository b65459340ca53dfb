//! `runlode tail STORE [--from POSITION]`: prints events from any position on, then follows new ones.
//!
//! One line for each event; points are one event for each series of a batch. JSON has the keys that Python's `tail` has.

use std::path::PathBuf;

use clap::Args;
use runlode::mlflow::{Field, Mlflow, Settings, TailEvent, TailPage, TailPoints};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::find::store_path;
use crate::json::number;
use crate::open::open_to_read;
use crate::output::Output;
use crate::{Answer, format};

/// Batches read at once.
const BATCHES: u64 = 1000;
/// How long one read waits for new events.
const WAIT_MS: u64 = 1000;
/// Characters of an id in a line for people.
const SHORT_ID: usize = 8;

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// First position
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Wait for more events after the last one
    #[arg(long, short)]
    follow: bool,
}

impl Tail {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = open_to_read(&self.store, output)?;
        let calls = Mlflow::new(store.clone(), Settings::in_process(&store));
        let mut from = self.from;
        loop {
            let page = calls.tail(from, BATCHES, if self.follow { WAIT_MS } else { 0 })?;
            if page.events.is_empty() && page.points.is_empty() && page.next <= from && !self.follow {
                return Ok(Answer::Yes);
            }
            from = page.next;
            print(page, output)?;
            output.flush()?;
        }
    }
}

/// An event, or the points of a series.
enum Line {
    Event(TailEvent),
    Points(TailPoints),
}

/// Prints a page in the order of the log; the series of a batch in the order of run and key.
pub(crate) fn print(page: TailPage, output: &mut Output) -> Result<()> {
    let mut points = page.points;
    points.sort_by(|a, b| (a.position, &a.run_id, &a.key).cmp(&(b.position, &b.run_id, &b.key)));
    let mut points = points.into_iter().peekable();
    for event in page.events {
        while let Some(before) = points.next_if(|points| points.position < event.position) {
            print_line(&Line::Points(before), output)?;
        }
        print_line(&Line::Event(event), output)?;
    }
    points.try_for_each(|points| print_line(&Line::Points(points), output))
}

fn print_line(line: &Line, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.document_line(&line.json());
    }
    let (position, time_ms, actor) = match line {
        Line::Event(event) => (event.position, event.time_ms, event.actor.as_deref()),
        Line::Points(points) => (points.position, points.time_ms, None),
    };
    let text = format!("{position:>8}  {}  {:12}  {}", format::time(time_ms), actor.unwrap_or("-"), line.text());
    output.line(format::cut(&text, output.line_columns()))
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

impl Line {
    /// As Python's `tail` gives it.
    fn json(&self) -> Value {
        match self {
            Self::Event(event) => {
                let mut line = Map::new();
                line.insert("position".to_owned(), json!(event.position));
                line.insert("time_ms".to_owned(), json!(event.time_ms));
                line.insert("actor".to_owned(), json!(event.actor));
                line.insert("event".to_owned(), json!(event.event));
                for (name, field) in &event.fields {
                    line.insert(name.clone(), field_json(field));
                }
                line.insert("points".to_owned(), json!(0));
                Value::Object(line)
            }
            Self::Points(points) => json!({
                "position": points.position, "time_ms": points.time_ms, "actor": null, "event": "PointsLogged",
                "run_id": points.run_id, "key": points.key, "points": points.steps.len(),
                "steps": points.steps, "timestamps_ms": points.timestamps,
                "values": points.values.iter().map(|value| number(*value)).collect::<Vec<_>>(),
            }),
        }
    }

    /// For a person: what happened to what.
    fn text(&self) -> String {
        match self {
            Self::Event(event) => {
                let fields = event.fields.iter().filter_map(|(name, field)| field_text(name, field));
                std::iter::once(event.event.clone()).chain(fields).collect::<Vec<_>>().join("  ")
            }
            Self::Points(points) => {
                let what = format!("PointsLogged  run {}  {}", short(&points.run_id), points.key);
                let value = |at: usize| points.values.get(at).map_or_else(String::new, |value| format::value(*value));
                match points.steps.as_slice() {
                    [step] => format!("{what}  step {step}  {}", value(0)),
                    [first, .., last] => format!(
                        "{what}  steps {first} to {last}  {} to {}  ({} points)",
                        value(0),
                        value(points.values.len().saturating_sub(1)),
                        format::count(points.steps.len() as u64)
                    ),
                    [] => what,
                }
            }
        }
    }
}

fn field_json(field: &Field) -> Value {
    match field {
        Field::Nothing => Value::Null,
        Field::Text(text) => json!(text),
        Field::Int(number) => json!(number),
        Field::Texts(texts) => json!(texts),
        Field::Pairs(pairs) => Value::Object(pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect()),
    }
}

/// A field for a person; `None`: it has no value.
fn field_text(name: &str, field: &Field) -> Option<String> {
    let what = name.strip_suffix("_id").unwrap_or(name);
    Some(match field {
        Field::Nothing => return None,
        Field::Text(id) if name == "run_id" => format!("run {}", short(id)),
        Field::Text(text) if text.is_empty() => return None,
        Field::Text(text) => format!("{what} {text}"),
        Field::Int(time_ms) if name.ends_with("_ms") => {
            format!("{} {}", name.trim_end_matches("_ms").replace('_', " "), format::time(*time_ms))
        }
        Field::Int(number) => format!("{what} {number}"),
        Field::Texts(texts) if texts.is_empty() => return None,
        Field::Texts(texts) => format!("{what} {}", texts.join(", ")),
        Field::Pairs(pairs) if pairs.is_empty() => return None,
        Field::Pairs(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{what} {}", pairs.join(", "))
        }
    })
}
