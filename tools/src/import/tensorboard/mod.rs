//! Folders of TensorBoard's event files.
//!
//! ```text
//!  ROOT/a/b/events.out.tfevents.*   a run named a/b: its event files in the order of their names
//!   first pass:  params, texts, images, start, end  -> tables
//!   second pass: scalars and histograms             -> points
//! ```
//!
//! - All runs belong to one experiment, which has the root's name. A run is known again by its first event file, so a
//!   folder that was moved or grew is the same one.
//! - A value that is a 32-bit float is widened exactly.
//! - The writer that begins again at a step says so (`SessionLog` START). As in TensorBoard, earlier points from that
//!   step on are superseded: they are left out, and counted in a note.
//! - Histograms become the metrics TAG/min, TAG/max, TAG/mean and TAG/count. Texts and images become artifacts; the last
//!   short text of a tag is a tag of the run as well.

mod event;
mod record;
mod scan;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::Null;

use self::event::{Event, Tags, Value};
use self::record::{End, Records};
use self::scan::Scan;
use super::decode::plain_key;
use super::key::Key;
use super::report::Report;
use super::source::{EachPoint, Nature, RunPoint, RunPoints, Source};
use super::stage::Stage;
use super::{ImportOptions, Progress};
use crate::error::{Error, Result};
use runlode::{Point, TAG_RUN_NAME, TimestampMs};

const NATURE: Nature = Nature { kind: "TensorBoard's event files", keeps_all_points: true };
/// Folders within folders.
const DEPTH_MAX: usize = 32;
/// First number of experiments that is drawn rather than counted.
const DRAWN_FROM: u64 = 100_000_000_000_000_000;

/// Whether a folder has event files.
pub(super) fn is_here(root: &Path) -> bool {
    let mut runs = BTreeMap::new();
    find(root, "", 0, &mut runs, &mut Report::default()).is_ok() && !runs.is_empty()
}

/// Brings all but the points into tables, and texts and images into files. Returns the source and the folder that the
/// places of its artifacts lie in.
pub(super) fn stage(
    root: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Source, PathBuf)> {
    let mut found = Report::default();
    let mut runs = BTreeMap::new();
    find(root, "", 0, &mut runs, &mut found)?;
    if runs.is_empty() {
        return Err(Error::usage(format!("{} has no event files of TensorBoard", root.display())));
    }
    let stage = Stage::temporary(&root.display().to_string())?;
    let artifacts = stage.folder().join("artifacts");
    stage.transaction()?;
    let mut files: HashMap<String, Run> = HashMap::new();
    let (mut first_ms, mut last_ms) = (i64::MAX, 0);
    let total = runs.len() as u64;
    let mut scans = Vec::new();
    for (done, (name, paths)) in runs.into_iter().enumerate() {
        progress(Progress { phase: "event files", done: done as u64, total });
        let Some(first) = paths.first() else { continue };
        let mut id = first_event(first)?;
        if files.contains_key(&id) {
            // A copy of another run's folder.
            id = hex(&Key::new("tensorboard-copy").text(&id).text(&name));
        }
        let scan = Scan::read(&paths, &artifacts.join(&id), &mut found)?;
        first_ms = first_ms.min(scan.start_ms);
        last_ms = last_ms.max(scan.end_ms);
        scans.push((name, id.clone(), scan.facts()));
        files.insert(id, Run { paths, starts: scan.starts });
    }
    let name = options.experiment.clone().unwrap_or_else(|| root_name(root));
    let number = DRAWN_FROM + Key::new("tensorboard-experiment").text(&name).number(first_ms).fold() % DRAWN_FROM;
    let number = number.cast_signed();
    stage.put("experiments", &[&number, &name, &"", &"active", &first_ms, &first_ms])?;
    for (name, id, facts) in scans {
        let name = if name.is_empty() { root_name(root) } else { name };
        let place = artifacts.join(&id);
        let place = if place.is_dir() { place.display().to_string() } else { String::new() };
        stage.put(
            "runs",
            &[&id, &name, &"", &facts.status, &facts.start_ms, &facts.end_ms, &"active", &place, &number, &Null],
        )?;
        stage.put("tags", &[&id, &TAG_RUN_NAME, &name])?;
        for (key, value) in &facts.params {
            stage.put("params", &[&id, key, value])?;
        }
        for (key, value) in &facts.tags {
            stage.put("tags", &[&id, key, value])?;
        }
    }
    stage.commit()?;
    let mut source = stage.finish(&root.display().to_string(), NATURE, Some(Box::new(EventPoints { runs: files })))?;
    source.found = found;
    Ok((source, artifacts))
}

fn root_name(root: &Path) -> String {
    let full = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    full.file_name().map_or_else(|| "tensorboard".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn hex(key: &Key) -> String {
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_event_file(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.contains("tfevents"))
}

/// The folders with event files, by their path below the root.
fn find(
    dir: &Path,
    below: &str,
    depth: usize,
    runs: &mut BTreeMap<String, Vec<PathBuf>>,
    found: &mut Report,
) -> Result<()> {
    let cannot = |error| Error::io(format!("cannot read {}", dir.display()), error);
    let mut names: Vec<_> = fs::read_dir(dir).map_err(cannot)?.collect::<Result<_, _>>().map_err(cannot)?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let kind = entry.file_type().map_err(cannot)?;
        let name = entry.file_name();
        if kind.is_file() && is_event_file(&name) {
            runs.entry(below.to_owned()).or_default().push(entry.path());
        } else if kind.is_dir() && depth < DEPTH_MAX {
            let name = name.to_string_lossy();
            let path = if below.is_empty() { name.into_owned() } else { format!("{below}/{name}") };
            find(&entry.path(), &path, depth + 1, runs, found)?;
        } else if kind.is_dir() || (kind.is_symlink() && is_event_file(&name)) {
            found.problem(format!("{} is left out: it is a link, or too deep", entry.path().display()));
            found.skip("event files that are links, or too deep", 1);
        }
    }
    Ok(())
}

/// An id made of what never changes: the first file's name and first event.
fn first_event(path: &Path) -> Result<String> {
    let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    let mut key = Key::new("tensorboard-run").text(&name);
    let mut records = Records::open(path)?;
    for byte in records.next()?.unwrap_or_default() {
        key.add_number(i64::from(*byte));
    }
    Ok(hex(&key))
}

/// The event files of a run.
struct Run {
    paths: Vec<PathBuf>,
    /// Where the writer began again: number of the event, and the step.
    starts: Vec<(u64, i64)>,
}

struct EventPoints {
    runs: HashMap<String, Run>,
}

impl RunPoints for EventPoints {
    fn read(&self, run: &str, found: &mut Report, each: &mut EachPoint<'_>) -> Result<()> {
        let Some(Run { paths, starts }) = self.runs.get(run) else { return Ok(()) };
        let mut tags = Tags::default();
        let mut keys = Keys::default();
        let mut starts = starts.as_slice();
        let (mut number, mut superseded) = (0_u64, 0_u64);
        for path in paths {
            let mut records = Records::open(path)?;
            while let Some(payload) = records.next()? {
                number += 1;
                while starts.first().is_some_and(|(at, _)| *at <= number) {
                    starts = &starts[1..];
                }
                let Some(event) = Event::decode(payload) else { continue };
                let dead_from = starts.iter().map(|(_, step)| *step).min();
                let (step, time) = (event.step, TimestampMs(event.time_ms()));
                let is_dead = dead_from.is_some_and(|from| step >= from);
                let mut result = Ok(());
                let mut put = |key: &str, value: f64| {
                    if is_dead {
                        superseded += 1;
                    } else if result.is_ok() {
                        result = each(&RunPoint { key, point: Point { step, time, value }, dataset: None });
                    }
                };
                let _whole = event.values(&mut tags, |tag, value| match value {
                    Value::Scalar(value) => put(keys.get(tag, found), value),
                    Value::Histogram { min, max, mean, count } => {
                        let parts = [("min", Some(min)), ("max", Some(max)), ("mean", mean), ("count", Some(count))];
                        for (part, value) in parts {
                            if let Some(value) = value {
                                put(&format!("{}/{part}", keys.get(tag, found)), value);
                            }
                        }
                    }
                    _ => {}
                });
                result?;
            }
        }
        if superseded > 0 {
            found.note(format!(
                "run {run}: {superseded} points were superseded when the writer began again at an earlier step; they are \
                 left out, as TensorBoard does"
            ));
        }
        Ok(())
    }
}

/// Keys of metrics, by tag: characters that MLflow refuses become `_`.
#[derive(Default)]
struct Keys(HashMap<String, String>);

impl Keys {
    fn get(&mut self, tag: &str, found: &mut Report) -> &str {
        if !self.0.contains_key(tag) {
            let key = plain_key(tag);
            if key != tag {
                found.note(format!("tag `{tag}` is metric `{key}`: other characters are not allowed in keys"));
            }
            self.0.insert(tag.to_owned(), key);
        }
        self.0.get(tag).map_or("", String::as_str)
    }
}

/// Tells how a file ends, if not after a whole record.
fn tell_end(path: &Path, records: &Records, found: &mut Report) {
    let (offset, path) = (records.offset, path.display());
    match records.end {
        Some(End::Cut) => {
            found
                .problem(format!("{path} ends within a record, at byte {offset}: it is still written, or was cut off"));
            found.skip("event files that end within a record", 1);
        }
        Some(End::Damaged) => {
            found.problem(format!("{path} has a wrong checksum at byte {offset}; what follows is left out"));
            found.skip("event files that are damaged", 1);
        }
        Some(End::Whole) | None => {}
    }
}
