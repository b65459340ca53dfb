//! What a record of a `.wandb` file says. The numbers are those of W&B's protocol buffers, version 0.31 and earlier.

use super::super::proto::{Content, Fields};

/// A record.
#[derive(Debug)]
pub(super) enum Record<'b> {
    Run(RunRecord<'b>),
    /// Changes of the configuration.
    Config(Vec<Item<'b>>),
    /// Values of one step.
    History {
        step: i64,
        items: Vec<Item<'b>>,
    },
    /// Changes of the summary.
    Summary(Vec<Item<'b>>),
    /// Measurements of the machine.
    Stats {
        time_ms: i64,
        items: Vec<Item<'b>>,
    },
    Exit {
        code: i64,
    },
    Environment {
        program: &'b str,
        user: &'b str,
    },
    /// Something that is not imported: what a report calls it.
    Other(&'static str),
    /// Nothing of the user's.
    Internal,
}

/// The beginning of a run, or of its continuation.
#[derive(Debug, Default)]
pub(super) struct RunRecord<'b> {
    pub(super) id: &'b str,
    pub(super) entity: &'b str,
    pub(super) project: &'b str,
    pub(super) config: Vec<Item<'b>>,
    pub(super) group: &'b str,
    pub(super) job_type: &'b str,
    pub(super) name: &'b str,
    pub(super) notes: &'b str,
    pub(super) tags: Vec<&'b str>,
    pub(super) sweep: &'b str,
    pub(super) host: &'b str,
    pub(super) start_ms: i64,
    /// Remote and commit of its git repository.
    pub(super) git: (&'b str, &'b str),
}

/// A key and its value as JSON. Nested keys are joined by dots, as W&B shows them.
#[derive(Debug)]
pub(super) struct Item<'b> {
    pub(super) key: String,
    pub(super) json: &'b str,
}

impl<'b> Record<'b> {
    /// Decodes a record; `None` if the bytes are none.
    pub(super) fn decode(bytes: &'b [u8]) -> Option<Self> {
        let mut record = Self::Internal;
        for field in Fields::new(bytes) {
            let (number, content) = field.ok()?;
            let message = content.bytes();
            record = match number {
                2 => history(message)?,
                3 => Self::Summary(items(message, 1, 16)?),
                5 => Self::Config(items(message, 1, 16)?),
                7 => Self::Stats { time_ms: time_ms(find(message, 2)), items: items(message, 3, 16)? },
                8 | 24 | 25 => Self::Other("links to artifacts of W&B"),
                10 => Self::Other("alerts"),
                17 => Self::Run(run(message)?),
                18 => Self::Exit { code: Fields::new(message).find(1).map_or(0, Content::integer) },
                26 => Self::Environment { program: text(message, 6), user: text(message, 13) },
                _ => continue,
            };
        }
        Some(record)
    }
}

fn find(message: &[u8], number: u32) -> &[u8] {
    Fields::new(message).find(number).map(Content::bytes).unwrap_or_default()
}

fn text(message: &[u8], number: u32) -> &str {
    Fields::new(message).find(number).map(Content::text).unwrap_or_default()
}

/// A `google.protobuf.Timestamp`.
fn time_ms(message: &[u8]) -> i64 {
    let part = |number| Fields::new(message).find(number).map_or(0, Content::integer);
    part(1).saturating_mul(1000).saturating_add(part(2) / 1_000_000)
}

/// The items in fields `number` of a message, with their values in field `value`.
fn items(message: &[u8], number: u32, value: u32) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    for field in Fields::new(message) {
        let (at, content) = field.ok()?;
        if at == number {
            items.push(item(content.bytes(), value)?);
        }
    }
    Some(items)
}

fn item(message: &[u8], value: u32) -> Option<Item<'_>> {
    let (mut key, mut nested, mut json) = ("", Vec::new(), "");
    for field in Fields::new(message) {
        let (number, content) = field.ok()?;
        match number {
            1 => key = std::str::from_utf8(content.bytes()).ok()?,
            2 => nested.push(std::str::from_utf8(content.bytes()).ok()?),
            number if number == value => json = std::str::from_utf8(content.bytes()).ok()?,
            _ => {}
        }
    }
    Some(Item { key: if nested.is_empty() { key.to_owned() } else { nested.join(".") }, json })
}

fn history(message: &[u8]) -> Option<Record<'_>> {
    let items = items(message, 1, 16)?;
    let step = Fields::new(message).find(2).map(|step| Fields::new(step.bytes()).find(1).map_or(0, Content::integer));
    // Old writers give the step only as an item.
    let named = || items.iter().find(|item| item.key == "_step").and_then(|item| item.json.parse().ok());
    let step = step.or_else(named).unwrap_or(0);
    Some(Record::History { step, items })
}

fn run(message: &[u8]) -> Option<RunRecord<'_>> {
    let mut run = RunRecord::default();
    for field in Fields::new(message) {
        let (number, content) = field.ok()?;
        match number {
            1 => run.id = content.text(),
            2 => run.entity = content.text(),
            3 => run.project = content.text(),
            4 => run.config = items(content.bytes(), 1, 16)?,
            6 => run.group = content.text(),
            7 => run.job_type = content.text(),
            8 => run.name = content.text(),
            9 => run.notes = content.text(),
            10 => run.tags.push(content.text()),
            12 => run.sweep = content.text(),
            13 => run.host = content.text(),
            17 => run.start_ms = time_ms(content.bytes()),
            21 => run.git = (text(content.bytes(), 1), text(content.bytes(), 2)),
            _ => {}
        }
    }
    Some(run)
}

/// A number of JSON as W&B writes it: with NaN, Infinity and booleans.
pub(super) fn number(json: &str) -> Option<f64> {
    match json {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "true" => Some(1.0),
        "false" => Some(0.0),
        // `f64::from_str` takes `inf` and `nan` as well, which are no JSON.
        _ if json.starts_with(|first: char| first.is_ascii_digit() || first == '-') => json.parse().ok(),
        _ => None,
    }
}
