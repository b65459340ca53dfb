//! Metric files: a line for each point, in the order of logging.
//!
//! ```text
//!  run:    TIME VALUE                      oldest releases; the step is 0
//!          TIME VALUE STEP
//!          TIME VALUE STEP DATASET DIGEST  3.x; MLflow itself reads step 0 here, the written step is imported
//!  model:  TIME VALUE STEP RUN [DATASET DIGEST]
//! ```
//!
//! The name of a data set may have spaces. A last line without its newline was cut off by a crash, or is being written.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use runlode::{Point, TimestampMs};

use super::super::report::Report;
use super::super::source::{EachPoint, RunPoint, RunPoints};
use super::folder::Dir;
use crate::error::{Error, Result};

/// Longest line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The metric files of all runs.
pub(super) struct FilePoints {
    root: PathBuf,
    /// Folders below the root, by run.
    runs: HashMap<String, String>,
}

impl FilePoints {
    pub(super) fn new(root: PathBuf, runs: HashMap<String, String>) -> Self {
        Self { root, runs }
    }
}

impl RunPoints for FilePoints {
    fn read(&self, run: &str, found: &mut Report, each: &mut EachPoint<'_>) -> Result<()> {
        let Some(place) = self.runs.get(run) else { return Ok(()) };
        let dir = Dir::open(&self.root)?.folder(place)?;
        read(&dir, "metrics", found, &mut |key, line| {
            let Some(line) = Line::of_run(line) else { return Ok(false) };
            each(&RunPoint { key, point: line.point, dataset: line.dataset })?;
            Ok(true)
        })
    }
}

/// Calls `each` with the points of a logged model and their runs.
pub(super) fn of_model(
    dir: &Dir,
    model: &str,
    found: &mut Report,
    each: &mut dyn FnMut(&RunPoint<'_>, &str) -> Result<()>,
) -> Result<()> {
    debug_assert!(dir.path().ends_with(model), "{model} lies in {}", dir.path().display());
    read(dir, "metrics", found, &mut |key, line| {
        let Some((line, run)) = Line::of_model(line) else { return Ok(false) };
        each(&RunPoint { key, point: line.point, dataset: line.dataset }, run)?;
        Ok(true)
    })
}

/// Calls `each` with every line; `false` means that the line makes no sense.
fn read(dir: &Dir, folder: &str, found: &mut Report, each: &mut dyn FnMut(&str, &str) -> Result<bool>) -> Result<()> {
    for key in dir.keys(folder, found)? {
        let name = format!("{folder}/{key}");
        let Some(file) = dir.file(&name)? else { continue };
        let path = dir.path().join(&name);
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            number += 1;
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))? == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                let why = if line.len() as u64 == LINE_BYTES_MAX { "is too long" } else { "lacks its end" };
                found.problem(format!("line {number} of {} {why}; it is left out, and what follows", path.display()));
                found.skip("metric lines that were cut off", 1);
                break;
            }
            line.pop();
            let text = std::str::from_utf8(&line).map(|text| text.trim_end_matches('\r'));
            let taken = match text {
                Ok(text) => each(&key, text)?,
                Err(_) => false,
            };
            if !taken {
                found.problem(format!("line {number} of {} is no point; it is left out", path.display()));
                found.skip("metric lines that are no points", 1);
            }
        }
    }
    Ok(())
}

/// A line of a metric file.
#[derive(Debug)]
struct Line<'l> {
    point: Point,
    dataset: Option<(&'l str, &'l str)>,
}

impl<'l> Line<'l> {
    fn of_run(text: &'l str) -> Option<Self> {
        let (point, rest) = point(text)?;
        Some(Self { point, dataset: dataset(rest)? })
    }

    fn of_model(text: &'l str) -> Option<(Self, &'l str)> {
        let (point, rest) = point(text)?;
        let rest = rest?;
        let (run, rest) = match rest.split_once(' ') {
            Some((run, rest)) => (run, Some(rest)),
            None => (rest, None),
        };
        Some((Self { point, dataset: dataset(rest)? }, run))
    }
}

/// The point at the beginning of a line, and what follows it.
fn point(text: &str) -> Option<(Point, Option<&str>)> {
    let mut fields = text.splitn(4, ' ');
    let time_ms = fields.next()?.parse().ok()?;
    let value = fields.next()?.parse().ok()?;
    let step = match fields.next() {
        Some(step) => step.parse().ok()?,
        None => 0,
    };
    Some((Point { step, time: TimestampMs(time_ms), value }, fields.next()))
}

/// Name and digest; the inner `None` if there are none, the outer one if they make no sense.
fn dataset(rest: Option<&str>) -> Option<Option<(&str, &str)>> {
    match rest {
        None => Some(None),
        Some(rest) => rest.rsplit_once(' ').map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time_ms: i64, value: f64, step: i64) -> Point {
        Point { step, time: TimestampMs(time_ms), value }
    }

    #[test]
    fn lines_of_every_release_are_read() {
        for (text, point, dataset) in [
            ("1700 0.5", at(1700, 0.5, 0), None),
            ("1700 -0.0 3", at(1700, -0.0, 3), None),
            ("1700 inf -3", at(1700, f64::INFINITY, -3), None),
            ("1700 1e-300 3 iris train 8f2a", at(1700, 1e-300, 3), Some(("iris train", "8f2a"))),
        ] {
            let line = Line::of_run(text).unwrap();
            assert_eq!(line.dataset, dataset, "{text}");
            let facts = |point: Point| (point.time.0, point.step, point.value.to_bits());
            assert_eq!(facts(line.point), facts(point), "{text}");
        }
        let (line, run) = Line::of_model("1700 nan 3 abc iris 8f2a").unwrap();
        assert!(line.point.value.is_nan());
        assert_eq!((line.dataset, run), (Some(("iris", "8f2a")), "abc"));
    }

    #[test]
    fn what_a_crash_leaves_is_no_point() {
        for text in ["", "1700", "x 0.5 1", "1700 0.5 1.5", "1700 y 1", "1700 0.5 1 iris", " 1700 0.5 1"] {
            assert!(Line::of_run(text).is_none(), "{text:?}");
        }
        assert!(Line::of_model("1700 0.5 1").is_none());
    }
}
