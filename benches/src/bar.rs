//! What a bar is, and what is measured for it.

use std::path::Path;

use serde_json::{Value, json};

use crate::Result;

/// Which side of the number is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The measured number must be at least this.
    AtLeast(f64),
    /// The measured number must be at most this.
    AtMost(f64),
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// Name, as `--only` takes it. The part before the dot need not be the name of a group.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Unit of the measured number and of the bar; `x` is a ratio.
    pub unit: &'static str,
    /// The number to reach.
    pub bound: Bound,
}

/// Where a group works and how it tells its results.
#[derive(Debug)]
pub struct Context<'a> {
    /// A folder on a real disk; everything in it goes afterwards.
    pub dir: &'a Path,
}

impl Context<'_> {
    /// Tells a result, at once: what comes later may fail.
    pub fn tell(&self, measured: Measured) {
        println!("{}", measured.to_line());
    }

    /// Says what is going on, for whoever watches.
    pub fn progress(&self, text: &str) {
        eprintln!("  . {text}");
    }
}

/// Bars that are measured together, in one process.
pub struct Group {
    /// Name, as `--only` takes it.
    pub name: &'static str,
    /// Seconds after which it is given up.
    pub seconds_max: u64,
    /// Measures; tells each result as soon as it is known.
    pub run: fn(&Context<'_>) -> Result,
    /// Its bars, in the order in which they are shown.
    pub bars: &'static [Bar],
}

/// What was measured for one bar.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Name of the bar.
    pub name: String,
    /// The number that is compared, in the bar's unit.
    pub value: f64,
    /// Runlode's number behind a ratio, with its unit; empty if the value is not a ratio.
    pub own: String,
    /// The floor or peer of the same run.
    pub beside: String,
    /// How it was measured, where that is not obvious; or why it was not.
    pub note: String,
}

impl Measured {
    /// A number alone.
    pub fn new(name: &str, value: f64) -> Self {
        Self { name: name.into(), value, ..Self::default() }
    }

    /// Names Runlode's side of a ratio.
    #[must_use]
    pub fn own(mut self, text: impl Into<String>) -> Self {
        self.own = text.into();
        self
    }

    /// Names the floor or peer.
    #[must_use]
    pub fn beside(mut self, text: impl Into<String>) -> Self {
        self.beside = text.into();
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = text.into();
        self
    }

    /// One line of JSON: how a group's process tells its parent.
    pub fn to_line(&self) -> String {
        json!({
            "name": self.name, "value": self.value, "own": self.own, "beside": self.beside, "note": self.note,
        })
        .to_string()
    }

    /// Reads [`Measured::to_line`]; `None` for any other line.
    pub fn from_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            name: value.get("name")?.as_str()?.to_owned(),
            // Not a number is written as null.
            value: value.get("value")?.as_f64().unwrap_or(f64::NAN),
            own: text("own"),
            beside: text("beside"),
            note: text("note"),
        })
    }
}
