//! `runlode du STORE --by experiment|run|metric|artifact`: what takes the space of a store.
//!
//! The rows, and the lines after them for what belongs to no row, add up to the bytes on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, ValueEnum};
use runlode::{ExperimentId, RunId, Snapshot};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, disk, format};

/// Arguments of `du`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  runlode du ./store\n  runlode du ./store --by run --top 10")]
pub struct Du {
    #[command(flatten)]
    store: Source,
    /// What to share the bytes out among
    #[arg(long, value_enum, default_value_t = By::Experiment)]
    by: By,
    /// Only the largest ones
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Experiment,
    Run,
    Metric,
    Artifact,
}

/// Bytes of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// More about the key: a name.
    pub(crate) name: String,
    /// Points in series files.
    pub(crate) points: u64,
    /// Bytes of these points.
    pub(crate) series_bytes: u64,
    /// Bytes of artifacts.
    pub(crate) artifact_bytes: u64,
}

impl Row {
    pub(crate) fn bytes(&self) -> u64 {
        self.series_bytes + self.artifact_bytes
    }
}

/// Rows by their key, and what belongs to none.
struct Usage {
    rows: BTreeMap<String, Row>,
    others: Vec<(&'static str, u64)>,
    total: u64,
}

impl Du {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let store = self.store.open(output)?;
        let usage = usage(&store.snapshot()?, store.path(), self.by)?;
        let mut rows: Vec<(String, Row)> = usage.rows.into_iter().collect();
        rows.sort_by(|a, b| b.1.bytes().cmp(&a.1.bytes()).then_with(|| a.0.cmp(&b.0)));
        let all = rows.len();
        rows.truncate(self.top.unwrap_or(usize::MAX));
        let key = match self.by {
            By::Experiment => "experiment_id",
            By::Run => "run_id",
            By::Metric => "key",
            By::Artifact => "path",
        };
        if output.is_json() {
            let row = |(id, row): &(String, Row)| {
                json!({
                    key: id, "name": row.name, "points": row.points, "series_bytes": row.series_bytes,
                    "artifact_bytes": row.artifact_bytes, "bytes": row.bytes(),
                })
            };
            let others: Map<String, Value> =
                usage.others.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes))).collect();
            output.document(&json!({
                "by": key, "bytes": usage.total, "rows": rows.iter().map(row).collect::<Vec<_>>(), "rows_count": all,
                "others": others,
            }))?;
            return Ok(Answer::Yes);
        }
        let cells = |(id, row): &(String, Row)| {
            let (series, artifacts) = (format::bytes(row.series_bytes), format::bytes(row.artifact_bytes));
            vec![
                id.clone(),
                format::cut(&row.name, 40),
                format::count(row.points),
                series,
                artifacts,
                format::bytes(row.bytes()),
            ]
        };
        let heads = [key, "name", ">points", ">metrics", ">artifacts", ">bytes"];
        output.table(&heads, rows.iter().map(cells).collect())?;
        if rows.len() < all {
            output.line(format!("... and {} more (--top)", all - rows.len()))?;
        }
        for (name, bytes) in usage.others.iter().filter(|(_, bytes)| *bytes > 0) {
            output.line(format!("{name}: {}", format::bytes(*bytes)))?;
        }
        output.line(format!("total: {}", format::bytes(usage.total)))?;
        Ok(Answer::Yes)
    }
}

/// Bytes of experiments: series files and artifacts.
pub(crate) fn by_experiment(snapshot: &Snapshot, store: &Path) -> Result<BTreeMap<String, Row>> {
    Ok(usage(snapshot, store, By::Experiment)?.rows)
}

fn usage(snapshot: &Snapshot, store: &Path, by: By) -> Result<Usage> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut experiments: BTreeMap<RunId, ExperimentId> = BTreeMap::new();
    for (id, state) in snapshot.experiments()? {
        if by == By::Experiment {
            rows.entry(id.to_string()).or_default().name.clone_from(&state.name);
        }
        for run in snapshot.runs_of(id)? {
            experiments.insert(run, id);
            if by == By::Run {
                let name = snapshot.run(run)?.map_or_else(String::new, |state| state.name.clone());
                rows.entry(run.to_string()).or_default().name = name;
            }
        }
    }
    let mut shared_out = 0;
    for series in snapshot.series_usage()? {
        shared_out += series.bytes;
        let key = match by {
            By::Experiment => experiments.get(&series.run).map(ToString::to_string).unwrap_or_default(),
            By::Run => series.run.to_string(),
            // Points of a branch are stored under a key that ends in a zero byte and the branch.
            By::Metric => {
                let name = snapshot.key_name(series.key);
                name.map_or_else(String::new, |name| name.split('\0').next().unwrap_or_default().to_owned())
            }
            By::Artifact => continue,
        };
        let row = rows.entry(key).or_default();
        row.points += series.points;
        row.series_bytes += series.bytes;
    }
    let artifacts = artifacts(&store.join("artifacts"))?;
    let mut artifact_bytes = 0;
    let mut of_no_row = 0;
    for (place, bytes) in artifacts {
        artifact_bytes += bytes;
        let (experiment, id) = place.split_once('/').unwrap_or((&place, ""));
        let key = match by {
            By::Experiment => experiment.to_owned(),
            By::Run => id.to_owned(),
            By::Artifact => place.clone(),
            By::Metric => String::new(),
        };
        let is_row = match by {
            By::Artifact => true,
            By::Metric => false,
            By::Experiment | By::Run => rows.contains_key(&key),
        };
        match is_row {
            true => rows.entry(key).or_default().artifact_bytes += bytes,
            false => of_no_row += bytes,
        }
    }
    let total = disk::bytes_of(store)?;
    let part = |name: &str| disk::bytes_of(&store.join(name));
    let (log, series) = (part("log")?, part("series")?);
    let index = disk::bytes_of_file(&store.join("index.redb"))? + disk::bytes_of_file(&store.join("search.snap"))?;
    let series_rest = if by == By::Artifact { series } else { series.saturating_sub(shared_out) };
    let inbox = part("inbox")?;
    let known = log + series + index + inbox + artifact_bytes;
    let others = vec![
        ("log", log),
        ("index", index),
        ("metrics of no row", series_rest),
        ("artifacts of no row", of_no_row),
        ("inboxes", inbox),
        ("other files", total.saturating_sub(known)),
    ];
    Ok(Usage { rows, others, total })
}

/// Bytes of artifacts by `EXPERIMENT/RUN` or `EXPERIMENT/models/MODEL`; what lies elsewhere by its first two names.
fn artifacts(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut places = BTreeMap::new();
    for (experiment, path) in entries(root)? {
        let mut add = |place: String, path: &Path| -> Result<()> {
            let bytes = disk::bytes_of_file(path)?;
            *places.entry(place).or_default() += bytes;
            Ok(())
        };
        if !path.is_dir() || path.is_symlink() {
            add(experiment, &path)?;
            continue;
        }
        for (name, path) in entries(&path)? {
            if name == "models" && path.is_dir() && !path.is_symlink() {
                for (model, path) in entries(&path)? {
                    add(format!("{experiment}/models/{model}"), &path)?;
                }
            } else {
                add(format!("{experiment}/{name}"), &path)?;
            }
        }
    }
    Ok(places)
}

fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let cannot = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let listed = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(cannot)?,
    };
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.map_err(cannot)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    listed.map(entry).collect()
}
