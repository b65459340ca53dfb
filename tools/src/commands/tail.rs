//! `runlode tail STORE [--from POSITION]`: prints events from any position on, then follows new ones.
//!
//! One line for each event; points are one event for each series of a batch. JSON has the keys that Python's `tail` has,
//! CSV a row for each event and each point.

use std::time::Duration;

use clap::Args;
use runlode::Follower;
use runlode::mlflow::{Field, Mlflow, Settings, TailEvent, TailPage, TailPoints};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::json::number;
use crate::list::{Cell, csv_line};
use crate::open::Source;
use crate::output::Output;
use crate::v1::{Server, double};
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
    #[command(flatten)]
    store: Source,
    /// First position
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Wait for more events after the last one
    #[arg(long, short)]
    follow: bool,
    /// Print CSV, a row for each event and each point: times in UTC, numbers in full
    #[arg(long)]
    csv: bool,
}

/// Columns of CSV. `details` has the other fields of an event, as JSON.
const COLUMNS: [&str; 10] =
    ["position", "time", "actor", "event", "run_id", "key", "step", "timestamp", "value", "details"];

impl Tail {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if self.csv && output.is_json() {
            return Err(Error::usage("--csv and --json exclude each other; give one of them"));
        }
        let mut reader = Reader::open(&self, output)?;
        if self.csv {
            output.raw_line(&COLUMNS.join(","))?;
        }
        let mut from = self.from;
        loop {
            let page = reader.next(from)?;
            if page.events.is_empty() && page.points.is_empty() && page.next <= from && !self.follow {
                return Ok(Answer::Yes);
            }
            from = page.next;
            print(page, self.csv, output)?;
            output.flush()?;
        }
    }
}

/// What is read: the log as it is, or as it grows; or that of a server.
enum Reader {
    Once(Mlflow),
    Follow(Follower),
    There { server: Server, follow: bool },
}

impl Reader {
    fn open(tail: &Tail, output: &mut Output) -> Result<Self> {
        if let Some(url) = tail.store.server() {
            return Ok(Self::There { server: Server::new(url)?, follow: tail.follow });
        }
        if tail.follow {
            return Ok(Self::Follow(tail.store.follow(output)?));
        }
        let store = tail.store.open(output)?;
        Ok(Self::Once(Mlflow::new(store.clone(), Settings::in_process(&store))))
    }

    fn next(&mut self, from: u64) -> Result<TailPage> {
        Ok(match self {
            Self::Once(calls) => calls.tail(from, BATCHES, 0)?,
            Self::Follow(follower) => follower.next(from, BATCHES, WAIT_MS)?,
            Self::There { server, follow } => {
                let answer = server.get("tail", &[("from", &from.to_string())])?;
                let unclear = || Error::Source("the server's log is not that of this version of Runlode".to_owned());
                let page = page(&answer).ok_or_else(unclear)?;
                if *follow && page.next <= from {
                    std::thread::sleep(Duration::from_millis(WAIT_MS));
                }
                page
            }
        })
    }
}

/// The inverse of what a server makes of a page. `None`: it is none.
fn page(answer: &Value) -> Option<TailPage> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let field = |value: &Value| {
        Some(match value {
            Value::Null => Field::Nothing,
            Value::String(text) => Field::Text(text.clone()),
            Value::Number(number) => Field::Int(number.as_i64()?),
            Value::Array(texts) => Field::Texts(texts.iter().map(text).collect::<Option<_>>()?),
            Value::Object(_) => {
                let pair = |pair: &Value| Some((text(&pair[0])?, text(&pair[1])?));
                Field::Pairs(value["pairs"].as_array()?.iter().map(pair).collect::<Option<_>>()?)
            }
            Value::Bool(_) => return None,
        })
    };
    let event = |event: &Value| {
        let named = |named: &Value| Some((text(&named[0])?, field(&named[1])?));
        Some(TailEvent {
            position: event["position"].as_u64()?,
            time_ms: event["time_ms"].as_i64()?,
            actor: text(&event["actor"]),
            event: text(&event["event"])?,
            fields: event["fields"].as_array()?.iter().map(named).collect::<Option<_>>()?,
        })
    };
    let points = |points: &Value| {
        let integers = |name: &str| points[name].as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<_>>>();
        let points = TailPoints {
            position: points["position"].as_u64()?,
            time_ms: points["time_ms"].as_i64()?,
            run_id: text(&points["run_id"])?,
            key: text(&points["key"])?,
            steps: integers("steps")?,
            timestamps: integers("timestamps_ms")?,
            values: points["values"].as_array()?.iter().map(double).collect::<Option<_>>()?,
        };
        Some(points)
    };
    Some(TailPage {
        next: answer["next"].as_u64()?,
        events: answer["events"].as_array()?.iter().map(event).collect::<Option<_>>()?,
        points: answer["points"].as_array()?.iter().map(points).collect::<Option<_>>()?,
    })
}

/// An event, or the points of a series.
enum Line {
    Event(TailEvent),
    Points(TailPoints),
}

/// Prints a page in the order of the log; the series of a batch in the order of run and key.
fn print(page: TailPage, csv: bool, output: &mut Output) -> Result<()> {
    let mut points = page.points;
    points.sort_by(|a, b| (a.position, &a.run_id, &a.key).cmp(&(b.position, &b.run_id, &b.key)));
    let mut points = points.into_iter().peekable();
    for event in page.events {
        while let Some(before) = points.next_if(|points| points.position < event.position) {
            print_line(&Line::Points(before), csv, output)?;
        }
        print_line(&Line::Event(event), csv, output)?;
    }
    points.try_for_each(|points| print_line(&Line::Points(points), csv, output))
}

fn print_line(line: &Line, csv: bool, output: &mut Output) -> Result<()> {
    if csv {
        return line.rows().iter().try_for_each(|row| output.raw_line(&csv_line(row)));
    }
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

    /// The rows of [`COLUMNS`].
    fn rows(&self) -> Vec<[Cell; 10]> {
        let count = Cell::Count;
        let row = |position, time_ms, actor: Option<&str>, event: &str, run: Option<&str>| {
            let rest = [Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing];
            let [key, step, timestamp, value, details] = rest;
            let (actor, event, run) = (Cell::text(actor), Cell::text(Some(event)), Cell::text(run));
            [count(position), Cell::Time(time_ms), actor, event, run, key, step, timestamp, value, details]
        };
        match self {
            Self::Event(event) => {
                let of = |name: &str| event.fields.iter().find(|(field, _)| field == name).map(|(_, field)| field);
                let text = |name| {
                    of(name).and_then(|field| if let Field::Text(text) = field { Some(text.as_str()) } else { None })
                };
                let mut cells =
                    row(event.position, event.time_ms, event.actor.as_deref(), &event.event, text("run_id"));
                cells[5] = Cell::text(text("key"));
                let others = event.fields.iter().filter(|(name, _)| name != "run_id" && name != "key");
                let others: Map<String, Value> =
                    others.map(|(name, field)| (name.clone(), field_json(field))).collect();
                if !others.is_empty() {
                    cells[9] = Cell::Text(Value::Object(others).to_string());
                }
                vec![cells]
            }
            Self::Points(points) => {
                let columns = points.steps.iter().zip(&points.timestamps).zip(&points.values);
                let cells = columns.map(|((step, time_ms), value)| {
                    let mut cells = row(points.position, points.time_ms, None, "PointsLogged", Some(&points.run_id));
                    cells[5] = Cell::text(Some(&points.key));
                    (cells[6], cells[7], cells[8]) = (Cell::Integer(*step), Cell::Time(*time_ms), Cell::Number(*value));
                    cells
                });
                cells.collect()
            }
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
