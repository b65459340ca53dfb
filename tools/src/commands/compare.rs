//! `runlode compare STORE RUN RUN...`: what differs between runs comes first, what is equal is counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use runlode::{RunId, RunState, Stats};
use serde_json::{Value, json};

use super::liveness::{look, status};
use crate::error::{Error, Result};
use crate::json::number;
use crate::moment::{Moment, View};
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, format};

/// Characters of a value in a table.
const VALUE_MAX: usize = 28;

/// Arguments of `compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode compare ./store trial-17 trial-18
  runlode compare ./store trial-17 trial-18 trial-19 --all --json")]
pub struct Compare {
    #[command(flatten)]
    store: Source,
    /// Runs: name, id, or beginning of the id
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<String>,
    /// Show what is equal too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    moment: Moment,
}

/// A run with what is compared.
struct Side {
    id: RunId,
    state: Arc<RunState>,
    experiment: String,
    status: String,
    metrics: Vec<(Arc<str>, Stats)>,
}

/// A key with the value of each run; `None`: the run has none.
struct Row {
    key: String,
    values: Vec<Option<String>>,
    json: Vec<Value>,
}

impl Row {
    fn is_same(&self) -> bool {
        self.values.iter().all(|value| *value == self.values[0])
    }
}

impl Compare {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        let view = self.moment.of(&snapshot)?;
        let watch = runlode::mlflow::Watch::here(store.now().0);
        let mut sides: Vec<Side> = Vec::new();
        for text in &self.runs {
            let id = view.find_run(text)?;
            if sides.iter().any(|side| side.id == id) {
                return Err(Error::usage(format!("`{text}` is named twice")));
            }
            let state = view.run(id)?.ok_or_else(|| view.absent(text))?;
            let metrics = view.metrics(id)?;
            let liveness = (!view.is_past()).then(|| look(&watch, &state, &metrics));
            let experiment = view.experiment(state.experiment)?.map(|found| found.name.clone()).unwrap_or_default();
            sides.push(Side { id, experiment, status: status(&state, liveness.as_ref()), metrics, state });
        }
        let groups = [
            ("attributes", attributes(&sides)),
            ("params", pairs(&sides, |state| &state.params)),
            ("metrics", metrics(&sides)),
            ("tags", pairs(&sides, |state| &state.tags)),
        ];
        if output.is_json() {
            return document(&sides, &groups, &view, output);
        }
        view.say(output);
        print(&sides, &groups, self.all, output)
    }
}

fn attributes(sides: &[Side]) -> Vec<Row> {
    let row = |key: &str, value: &dyn Fn(&Side) -> Option<String>| {
        let values: Vec<Option<String>> = sides.iter().map(value).collect();
        Row { key: key.to_owned(), json: values.iter().map(|value| json!(value)).collect(), values }
    };
    let took = |side: &Side| side.state.end_time_ms.map(|end| format::duration(side.state.start_time_ms, end));
    let datasets = |side: &Side| {
        let named = side.state.datasets.iter().map(|set| format!("{} ({})", set.name, set.digest));
        Some(named.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    vec![
        row("experiment", &|side| Some(side.experiment.clone())),
        row("status", &|side| Some(side.status.clone())),
        row("started", &|side| Some(format::time(side.state.start_time_ms))),
        row("took", &took),
        row("user", &|side| Some(side.state.user_id.clone()).filter(|user| !user.is_empty())),
        row("data sets", &datasets),
    ]
}

fn pairs(sides: &[Side], of: fn(&RunState) -> &[(String, String)]) -> Vec<Row> {
    let keys: BTreeSet<&str> =
        sides.iter().flat_map(|side| of(&side.state).iter().map(|(key, _)| key.as_str())).collect();
    let row = |key: &str| {
        let value =
            |side: &Side| of(&side.state).iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
        let values: Vec<Option<String>> = sides.iter().map(value).collect();
        Row { key: key.to_owned(), json: values.iter().map(|value| json!(value)).collect(), values }
    };
    keys.into_iter().map(row).collect()
}

/// The latest values; metrics are equal if all bits are.
fn metrics(sides: &[Side]) -> Vec<Row> {
    let keys: BTreeSet<&str> = sides.iter().flat_map(|side| side.metrics.iter().map(|(key, _)| &**key)).collect();
    let row = |key: &str| {
        let of = |side: &Side| side.metrics.iter().find(|(known, _)| **known == *key).map(|(_, stats)| *stats);
        let stats: Vec<Option<Stats>> = sides.iter().map(of).collect();
        let bits: Vec<_> = stats.iter().map(|stats| stats.map(|stats| stats.last_value.to_bits())).collect();
        let equal = bits.iter().all(|of| *of == bits[0]);
        // Values that differ are told apart, however little they do.
        let shown = |value: f64| {
            let alike = stats.iter().flatten().filter(|other| format::value(other.last_value) == format::value(value));
            if equal || alike.count() < 2 { format::value(value) } else { format!("{value}") }
        };
        Row {
            key: key.to_owned(),
            values: stats.iter().map(|stats| stats.map(|stats| shown(stats.last_value))).collect(),
            json: stats.iter().map(|stats| stats.map_or(Value::Null, |stats| number(stats.last_value))).collect(),
        }
    };
    keys.into_iter().map(row).collect()
}

fn document(sides: &[Side], groups: &[(&str, Vec<Row>)], view: &View<'_>, output: &mut Output) -> Result<Answer> {
    let runs = sides.iter().map(|side| json!({ "run_id": side.id.to_string(), "name": side.state.name }));
    let mut document = json!({ "runs": runs.collect::<Vec<_>>() });
    if let Some(fields) = document.as_object_mut() {
        for (name, rows) in groups {
            let rows = rows.iter().map(|row| json!({ "key": row.key, "same": row.is_same(), "values": row.json }));
            fields.insert((*name).to_owned(), rows.collect());
        }
    }
    view.mark(&mut document);
    output.document(&document)?;
    Ok(Answer::Yes)
}

fn print(sides: &[Side], groups: &[(&str, Vec<Row>)], all: bool, output: &mut Output) -> Result<Answer> {
    let id = |side: &Side| side.id.to_string().chars().take(8).collect::<String>();
    let names: Vec<String> =
        sides.iter().map(|side| format!("{} {}", id(side), format::cut(&side.state.name, 18))).collect();
    let mut heads = vec![""];
    heads.extend(names.iter().map(String::as_str));
    let mut rows = Vec::new();
    let mut same = Vec::new();
    for (name, group) in groups {
        let (equal, different): (Vec<&Row>, Vec<&Row>) = group.iter().partition(|row| row.is_same());
        if !different.is_empty() {
            rows.push(title(name, sides.len()));
            rows.extend(different.iter().map(|row| cells(row)));
        }
        if !equal.is_empty() {
            same.push((*name, equal));
        }
    }
    if rows.is_empty() {
        output.line("The runs do not differ.")?;
    }
    if all {
        for (name, equal) in &same {
            rows.push(title(&format!("{name}, equal"), sides.len()));
            rows.extend(equal.iter().map(|row| cells(row)));
        }
    }
    output.table(&heads, rows)?;
    if !all && !same.is_empty() {
        let counts: Vec<String> = same.iter().map(|(name, rows)| format!("{} {name}", rows.len())).collect();
        output.line(format!("Equal: {}; --all shows them.", counts.join(", ")))?;
    }
    Ok(Answer::Yes)
}

fn title(name: &str, sides: usize) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.resize(sides + 1, String::new());
    row
}

fn cells(row: &Row) -> Vec<String> {
    let values = row.values.iter().map(|value| format::cut(value.as_deref().unwrap_or("-"), VALUE_MAX));
    std::iter::once(format!("  {}", format::cut(&row.key, 32))).chain(values).collect()
}
