//! `runlode compare STORE RUN RUN...`: what differs between runs comes first, what is equal is counted.

use std::collections::BTreeSet;

use clap::Args;
use runlode::mlflow::Watch;
use serde_json::{Value, json};

use super::liveness::{look, status};
use super::there::There;
use crate::error::{Error, Result};
use crate::json::number;
use crate::moment::{Moment, View};
use crate::open::Source;
use crate::output::Output;
use crate::v1::double;
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
    id: String,
    name: String,
    experiment: String,
    status: String,
    started_ms: i64,
    ended_ms: Option<i64>,
    user: String,
    datasets: Vec<(String, String)>,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    /// The latest values.
    metrics: Vec<(String, f64)>,
}

impl Side {
    fn of_store(text: &str, view: &View<'_>, watch: &Watch) -> Result<Self> {
        let id = view.find_run(text)?;
        let state = view.run(id)?.ok_or_else(|| view.absent(text))?;
        let metrics = view.metrics(id)?;
        let liveness = (!view.is_past()).then(|| look(watch, &state, &metrics));
        let experiment = view.experiment(state.experiment)?.map(|found| found.name.clone()).unwrap_or_default();
        Ok(Self {
            id: id.to_string(),
            name: state.name.clone(),
            experiment,
            status: status(&state, liveness.as_ref()),
            started_ms: state.start_time_ms,
            ended_ms: state.end_time_ms,
            user: state.user_id.clone(),
            datasets: state.datasets.iter().map(|set| (set.name.clone(), set.digest.clone())).collect(),
            params: state.params.clone(),
            tags: state.tags.clone(),
            metrics: metrics.iter().map(|(key, stats)| (key.to_string(), stats.last_value)).collect(),
        })
    }

    fn of_server(text: &str, there: &There) -> Result<Self> {
        let id = there.find_run(text)?;
        let run = there.run(&id)?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = |field: &str| {
            let pairs = run[field].as_array().into_iter().flatten();
            pairs.map(|pair| (word(&pair[0]), word(&pair[1]))).collect()
        };
        let all = |field: &str| run[field].as_array().into_iter().flatten();
        let status = match run["liveness"]["state"].as_str() {
            Some(state @ ("lost" | "silent")) => state.to_owned(),
            _ => word(&run["status"]),
        };
        let value = |metric: &Value| Some((word(&metric["key"]), double(&metric["value"])?));
        let metrics: Option<Vec<(String, f64)>> = all("metrics").map(value).collect();
        Ok(Self {
            id,
            name: word(&run["name"]),
            experiment: word(&run["experiment"]),
            status,
            started_ms: run["start_ms"].as_i64().unwrap_or(0),
            ended_ms: run["end_ms"].as_i64(),
            user: word(&run["user_id"]),
            datasets: all("datasets").map(|set| (word(&set["name"]), word(&set["digest"]))).collect(),
            params: pairs("params"),
            tags: pairs("tags"),
            metrics: metrics
                .ok_or_else(|| Error::Source(format!("the server's run `{text}` has a metric without a value")))?,
        })
    }
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
        if let Some(url) = self.store.server() {
            let there = There::new(url, &self.moment, output)?;
            let sides = self.sides(|text| Side::of_server(text, &there))?;
            return self.print(&sides, there.position(), output);
        }
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        let view = self.moment.of(&snapshot)?;
        let watch = Watch::here(store.now().0);
        let sides = self.sides(|text| Side::of_store(text, &view, &watch))?;
        view.say(output);
        self.print(&sides, view.is_past().then(|| view.position().0), output)
    }

    fn sides(&self, read: impl Fn(&str) -> Result<Side>) -> Result<Vec<Side>> {
        let mut sides: Vec<Side> = Vec::new();
        for text in &self.runs {
            let side = read(text)?;
            if sides.iter().any(|other| other.id == side.id) {
                return Err(Error::usage(format!("`{text}` is named twice")));
            }
            sides.push(side);
        }
        Ok(sides)
    }

    /// `position`: the moment that was asked for.
    fn print(&self, sides: &[Side], position: Option<u64>, output: &mut Output) -> Result<Answer> {
        let groups = [
            ("attributes", attributes(sides)),
            ("params", pairs(sides, |side| &side.params)),
            ("metrics", metrics(sides)),
            ("tags", pairs(sides, |side| &side.tags)),
        ];
        match output.is_json() {
            true => document(sides, &groups, position, output),
            false => print(sides, &groups, self.all, output),
        }
    }
}

fn attributes(sides: &[Side]) -> Vec<Row> {
    let row = |key: &str, value: &dyn Fn(&Side) -> Option<String>| {
        let values: Vec<Option<String>> = sides.iter().map(value).collect();
        Row { key: key.to_owned(), json: values.iter().map(|value| json!(value)).collect(), values }
    };
    let datasets = |side: &Side| {
        let named = side.datasets.iter().map(|(name, digest)| format!("{name} ({digest})"));
        Some(named.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    vec![
        row("experiment", &|side| Some(side.experiment.clone())),
        row("status", &|side| Some(side.status.clone())),
        row("started", &|side| Some(format::time(side.started_ms))),
        row("took", &|side| side.ended_ms.map(|end| format::duration(side.started_ms, end))),
        row("user", &|side| Some(side.user.clone()).filter(|user| !user.is_empty())),
        row("data sets", &datasets),
    ]
}

fn pairs(sides: &[Side], of: fn(&Side) -> &[(String, String)]) -> Vec<Row> {
    let keys: BTreeSet<&str> = sides.iter().flat_map(|side| of(side).iter().map(|(key, _)| key.as_str())).collect();
    let row = |key: &str| {
        let value = |side: &Side| of(side).iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
        let values: Vec<Option<String>> = sides.iter().map(value).collect();
        Row { key: key.to_owned(), json: values.iter().map(|value| json!(value)).collect(), values }
    };
    keys.into_iter().map(row).collect()
}

/// The latest values; metrics are equal if all bits are.
fn metrics(sides: &[Side]) -> Vec<Row> {
    let keys: BTreeSet<&str> = sides.iter().flat_map(|side| side.metrics.iter().map(|(key, _)| key.as_str())).collect();
    let row = |key: &str| {
        let of = |side: &Side| side.metrics.iter().find(|(known, _)| known == key).map(|(_, last)| *last);
        let lasts: Vec<Option<f64>> = sides.iter().map(of).collect();
        let bits: Vec<_> = lasts.iter().map(|last| last.map(f64::to_bits)).collect();
        let equal = bits.iter().all(|of| *of == bits[0]);
        // Values that differ are told apart, however little they do.
        let shown = |value: f64| {
            let alike = lasts.iter().flatten().filter(|other| format::value(**other) == format::value(value));
            if equal || alike.count() < 2 { format::value(value) } else { format!("{value}") }
        };
        Row {
            key: key.to_owned(),
            values: lasts.iter().map(|last| last.map(shown)).collect(),
            json: lasts.iter().map(|last| last.map_or(Value::Null, number)).collect(),
        }
    };
    keys.into_iter().map(row).collect()
}

fn document(sides: &[Side], groups: &[(&str, Vec<Row>)], position: Option<u64>, output: &mut Output) -> Result<Answer> {
    let runs = sides.iter().map(|side| json!({ "run_id": side.id, "name": side.name }));
    let mut document = json!({ "runs": runs.collect::<Vec<_>>() });
    if let Some(fields) = document.as_object_mut() {
        for (name, rows) in groups {
            let rows = rows.iter().map(|row| json!({ "key": row.key, "same": row.is_same(), "values": row.json }));
            fields.insert((*name).to_owned(), rows.collect());
        }
    }
    if let Some(position) = position {
        document["as_of_position"] = position.into();
    }
    output.document(&document)?;
    Ok(Answer::Yes)
}

fn print(sides: &[Side], groups: &[(&str, Vec<Row>)], all: bool, output: &mut Output) -> Result<Answer> {
    let id = |side: &Side| side.id.chars().take(8).collect::<String>();
    let names: Vec<String> = sides.iter().map(|side| format!("{} {}", id(side), format::cut(&side.name, 18))).collect();
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
