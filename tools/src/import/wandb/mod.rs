//! Offline runs of Weights & Biases: `.wandb` files.
//!
//! ```text
//!  ROOT/offline-run-DATE-ID/run-ID.wandb   the log of the run
//!  ROOT/offline-run-DATE-ID/files/         its files, which become artifacts
//! ```
//!
//! - A project becomes an experiment, the configuration params (nested keys joined by dots), a number in the history or
//!   the summary a metric, the machine's measurements metrics `system/...`.
//! - A run that was continued has several folders with one id: they are one run.
//! - Texts, tables and histograms in a history are counted; the files of media are among the artifacts.

mod log;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use runlode::{Point, TAG_RUN_NAME, TimestampMs};
use rusqlite::types::Null;
use serde_json::Value;

use self::log::{End, Records};
use self::record::{Item, Record, RunRecord, number};
use super::decode::{flatten_json, plain_key};
use super::key::Key;
use super::report::Report;
use super::source::{EachPoint, Nature, RunPoint, RunPoints, Source};
use super::stage::Stage;
use super::{ImportOptions, Progress};
use crate::error::{Error, Result};

const NATURE: Nature = Nature { kind: "offline runs of W&B", keeps_all_points: true };
/// First number of experiments that is drawn rather than counted.
const DRAWN_FROM: u64 = 100_000_000_000_000_000;
/// Longest text of a summary that becomes a tag.
const TAG_BYTES_MAX: usize = 5000;

/// The `.wandb` files of a folder: in it, in its folders, and in those of a folder `wandb` in it.
pub(super) fn files(root: &Path) -> Vec<PathBuf> {
    let is_log = |path: &Path| path.extension().is_some_and(|ending| ending == "wandb") && path.is_file();
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // `latest-run` is a link to one of the others.
        entries.map(|entry| entry.path()).filter(|path| !path.is_symlink()).collect()
    };
    if is_log(root) {
        return vec![root.to_owned()];
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in [root.to_owned(), root.join("wandb")] {
        for path in list(&folder) {
            match path.is_dir() {
                true => found.extend(list(&path).into_iter().filter(|path| is_log(path))),
                false => found.extend(Some(path).filter(|path| is_log(path))),
            }
        }
    }
    found.sort();
    found
}

/// What the logs of a run say, but for points.
#[derive(Default)]
struct Run {
    project: String,
    name: String,
    user: String,
    status: &'static str,
    start_ms: i64,
    last_ms: i64,
    has_ended: bool,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    summary: BTreeMap<String, String>,
    /// Numbers in the history, by key.
    keys: BTreeSet<String>,
    last_step: i64,
    logs: Vec<PathBuf>,
}

/// Brings all but the points into tables.
pub(super) fn stage(root: &Path, options: &ImportOptions, progress: &mut dyn FnMut(Progress)) -> Result<Source> {
    let logs = files(root);
    if logs.is_empty() {
        return Err(Error::usage(format!("{} has no .wandb files: W&B writes them in offline mode", root.display())));
    }
    let mut found = Report::default();
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let total = logs.len() as u64;
    for (done, log) in logs.iter().enumerate() {
        progress(Progress { phase: "logs", done: done as u64, total });
        scan(log, &mut runs, &mut found)?;
    }
    let stage = Stage::temporary(&root.display().to_string())?;
    stage.transaction()?;
    let mut projects: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for run in runs.values_mut() {
        if let Some(name) = &options.experiment {
            run.project.clone_from(name);
        }
        let drawn = DRAWN_FROM + Key::new("wandb-project").text(&run.project).fold() % DRAWN_FROM;
        let entry = projects.entry(run.project.clone()).or_insert((drawn.cast_signed(), i64::MAX));
        entry.1 = entry.1.min(run.start_ms);
    }
    for (name, (id, created_ms)) in &projects {
        stage.put("experiments", &[id, name, &"", &"active", created_ms, created_ms])?;
    }
    let mut points: HashMap<String, Logs> = HashMap::new();
    for (id, run) in runs {
        let experiment = projects.get(&run.project).map_or(0, |(id, _)| *id);
        let end = run.has_ended.then_some(run.last_ms);
        let files = run.logs.last().and_then(|log| log.parent()).map(|folder| folder.join("files"));
        let files = files.filter(|files| files.is_dir()).map(|files| files.display().to_string());
        let row: &[&dyn rusqlite::ToSql] = &[
            &id,
            &run.name,
            &run.user,
            &run.status,
            &run.start_ms,
            &end,
            &"active",
            &files.unwrap_or_default(),
            &experiment,
            &Null,
        ];
        stage.put("runs", row)?;
        for (key, value) in &run.params {
            stage.put("params", &[&id, key, value])?;
        }
        let mut last = Vec::new();
        let media = media_keys(run.summary.keys().map(String::as_str));
        let is_own = |key: &str| is_plain(key, &media) && !run.keys.contains(key);
        // What only the summary has.
        for (key, json) in run.summary.into_iter().filter(|(key, _)| is_own(key)) {
            match number(&json) {
                // Until the run ends, the time of its end is not known.
                Some(value) if run.has_ended => last.push((key, value)),
                Some(_) => {}
                None => text_of_summary(&stage, &id, &key, &json)?,
            }
        }
        for (key, value) in &run.tags {
            stage.put("tags", &[&id, key, value])?;
        }
        let at = (run.last_ms, run.last_step);
        points.insert(id, Logs { logs: run.logs, start_ms: run.start_ms, summary: last, at });
    }
    stage.commit()?;
    let mut source = stage.finish(&root.display().to_string(), NATURE, Some(Box::new(LogPoints { runs: points })))?;
    source.found = found;
    Ok(source)
}

/// The keys that stand for media: W&B writes these as several nested items, of which `_type` is one.
fn media_keys<'k>(keys: impl Iterator<Item = &'k str>) -> BTreeSet<String> {
    keys.filter_map(|key| key.strip_suffix("._type")).map(str::to_owned).collect()
}

/// Whether a key is the user's, and no part of media.
fn is_plain(key: &str, media: &BTreeSet<String>) -> bool {
    let mut parts = key.match_indices('.').map(|(at, _)| key.get(..at).unwrap_or_default());
    !key.starts_with('_') && !parts.any(|part| media.contains(part))
}

/// Puts a text that only the summary has.
fn text_of_summary(stage: &Stage, run: &str, key: &str, json: &str) -> Result<()> {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) if text.len() <= TAG_BYTES_MAX => {
            stage.put("tags", &[&run, &format!("wandb.summary.{}", plain_key(key)), &text])
        }
        _ => Ok(()),
    }
}

/// The first pass over a log.
fn scan(log: &Path, runs: &mut BTreeMap<String, Run>, found: &mut Report) -> Result<()> {
    let mut records = Records::open(log)?;
    let (mut current, mut malformed) = (None, 0);
    while let Some(bytes) = records.next()? {
        let Some(record) = Record::decode(bytes) else {
            malformed += 1;
            continue;
        };
        if let Record::Run(record) = &record {
            let id = run_id(record);
            let run = runs.entry(id.clone()).or_default();
            begin(run, record);
            if !run.logs.iter().any(|known| known == log) {
                run.logs.push(log.to_owned());
            }
            current = Some(id);
            continue;
        }
        let Some(run) = current.as_ref().and_then(|id| runs.get_mut(id)) else { continue };
        match record {
            Record::Config(items) => put_config(run, &items),
            Record::Summary(items) => {
                run.summary.extend(items.iter().map(|item| (item.key.clone(), item.json.to_owned())));
            }
            Record::History { step, items } => {
                run.last_step = run.last_step.max(step);
                run.last_ms = run.last_ms.max(time_ms(&items).unwrap_or(0));
                let media = media_keys(items.iter().map(|item| item.key.as_str()));
                found.leave_out("texts, tables, media and histograms in histories", media.len() as u64);
                for item in items.iter().filter(|item| is_plain(&item.key, &media)) {
                    if number(item.json).is_none() {
                        found.leave_out("texts, tables, media and histograms in histories", 1);
                    } else if !run.keys.contains(&item.key) {
                        run.keys.insert(item.key.clone());
                    }
                }
            }
            Record::Stats { time_ms, .. } => run.last_ms = run.last_ms.max(time_ms),
            Record::Exit { code } => {
                run.status = if code == 0 { "FINISHED" } else { "FAILED" };
                run.has_ended = true;
            }
            Record::Environment { program, user } => {
                if !program.is_empty() {
                    run.tags.insert("mlflow.source.name".to_owned(), program.to_owned());
                }
                if run.user.is_empty() {
                    run.user = user.to_owned();
                }
            }
            Record::Other(what) => found.leave_out(what, 1),
            Record::Run(_) | Record::Internal => {}
        }
    }
    let (path, offset) = (log.display(), records.offset);
    match records.end {
        Some(End::Cut) => {
            found
                .problem(format!("{path} ends within a record, at byte {offset}: it is still written, or was cut off"));
            found.skip("logs that end within a record", 1);
        }
        Some(End::Damaged) => {
            found.problem(format!("{path} is damaged before byte {offset}; what follows is left out"));
            found.skip("logs that are damaged", 1);
        }
        Some(End::Foreign) => {
            found.problem(format!("{path} is left out: it is no log of W&B, or of a version that is not known"));
            found.skip("files that are no logs of W&B", 1);
        }
        Some(End::Whole) | None => {}
    }
    if malformed > 0 {
        found.problem(format!("{path} has {malformed} records that make no sense"));
        found.skip("records that make no sense", malformed);
    }
    Ok(())
}

/// The same in every log of a run, wherever it lies.
fn run_id(run: &RunRecord<'_>) -> String {
    let key = Key::new("wandb-run").text(run.id).text(run.entity).text(run.project);
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn begin(run: &mut Run, record: &RunRecord<'_>) {
    if run.start_ms == 0 {
        run.start_ms = record.start_ms;
        run.last_ms = record.start_ms;
    }
    run.status = "RUNNING";
    run.has_ended = false;
    run.project = if record.project.is_empty() { "uncategorized".to_owned() } else { record.project.to_owned() };
    run.name = if record.name.is_empty() { record.id.to_owned() } else { record.name.to_owned() };
    run.user = record.entity.to_owned();
    let tags = [
        (TAG_RUN_NAME, run.name.clone()),
        ("wandb.run_id", record.id.to_owned()),
        ("wandb.group", record.group.to_owned()),
        ("wandb.job_type", record.job_type.to_owned()),
        ("wandb.sweep", record.sweep.to_owned()),
        ("wandb.host", record.host.to_owned()),
        ("wandb.tags", record.tags.join(", ")),
        ("mlflow.note.content", record.notes.to_owned()),
        ("mlflow.source.git.repoURL", record.git.0.to_owned()),
        ("mlflow.source.git.commit", record.git.1.to_owned()),
    ];
    run.tags
        .extend(tags.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)));
    put_config(run, &record.config);
}

fn put_config(run: &mut Run, items: &[Item<'_>]) {
    for item in items.iter().filter(|item| !item.key.starts_with("_wandb")) {
        match serde_json::from_str(item.json) {
            Ok(value) => flatten_json(&plain_key(&item.key), &value, &mut run.params),
            // NaN and Infinity are no JSON for everybody.
            Err(_) => drop(run.params.insert(plain_key(&item.key), item.json.to_owned())),
        }
    }
}

fn time_ms(items: &[Item<'_>]) -> Option<i64> {
    let seconds = items.iter().find(|item| item.key == "_timestamp").and_then(|item| number(item.json))?;
    Some((seconds * 1000.0).round() as i64)
}

struct Logs {
    logs: Vec<PathBuf>,
    start_ms: i64,
    /// Numbers that only the summary has, and the time and step that they get.
    summary: Vec<(String, f64)>,
    at: (i64, i64),
}

struct LogPoints {
    runs: HashMap<String, Logs>,
}

impl RunPoints for LogPoints {
    fn read(&self, run: &str, _found: &mut Report, each: &mut EachPoint<'_>) -> Result<()> {
        let Some(of) = self.runs.get(run) else { return Ok(()) };
        let (mut measured, mut last_ms) = (0, of.start_ms);
        let mut put = |key: &str, value: f64, time_ms: i64, step: i64| {
            each(&RunPoint { key, point: Point { step, time: TimestampMs(time_ms), value }, dataset: None })
        };
        for log in &of.logs {
            let mut records = Records::open(log)?;
            while let Some(bytes) = records.next()? {
                match Record::decode(bytes) {
                    Some(Record::History { step, items }) => {
                        last_ms = time_ms(&items).unwrap_or(last_ms);
                        let media = media_keys(items.iter().map(|item| item.key.as_str()));
                        for item in items.iter().filter(|item| is_plain(&item.key, &media)) {
                            if let Some(value) = number(item.json) {
                                put(&plain_key(&item.key), value, last_ms, step)?;
                            }
                        }
                    }
                    Some(Record::Stats { time_ms, items }) => {
                        for item in &items {
                            if let Some(value) = number(item.json) {
                                put(&format!("system/{}", plain_key(&item.key)), value, time_ms, measured)?;
                            }
                        }
                        measured += 1;
                    }
                    _ => {}
                }
            }
        }
        for (key, value) in &of.summary {
            put(&plain_key(key), *value, of.at.0, of.at.1)?;
        }
        Ok(())
    }
}
