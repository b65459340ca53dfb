//! Third part: a process is killed while it writes. What was acknowledged to it is compared with what is in the store.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runlode::{HistoryQuery, LocalStore, RunId, RunSpec};
use serde::Serialize;

use super::writer::value_at;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::{format, interrupt, open};

/// How long the child writes before it is killed, at least.
const WRITE_MS: u64 = 700;

/// Numbers of this part.
#[derive(Debug, Serialize)]
pub struct Crash {
    acknowledged: u64,
    acknowledged_sync: u64,
    kept: u64,
    lost: u64,
    wrong: u64,
    reopen_s: f64,
    verify_s: f64,
    problems: Vec<String>,
}

impl Crash {
    /// Whether every promise was kept.
    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.problems.is_empty()
    }
}

/// Runs this part on the store of the second one.
pub fn run(folder: &Path, output: &mut Output) -> Result<Crash> {
    let store = LocalStore::options(folder).create(false).open()?;
    let experiment = store.get_or_create_experiment("crash")?;
    let id = store.create_run(experiment, RunSpec::named("killed"))?.id();
    store.close()?;
    let acknowledged = write_and_kill(folder, id)?;
    let begin = Instant::now();
    let store = LocalStore::options(folder).create(false).open()?;
    let snapshot = store.snapshot()?;
    let kept = snapshot.stats(id, "loss")?.map_or(0, |stats| stats.count_raw);
    let reopen_s = begin.elapsed().as_secs_f64();

    let page = snapshot.history(id, "loss", &HistoryQuery::default())?;
    let wrong = (0..page.columns.len())
        .map(|index| page.columns.point(index))
        .zip(0..)
        .filter(|(point, step)| point.step != *step || point.value.to_bits() != value_at(*step).to_bits())
        .count() as u64;
    drop(snapshot);
    store.close()?;
    let begin = Instant::now();
    let report = open::open_read_only(folder)?.verify()?;
    let problems = report.findings.iter().map(ToString::to_string).collect();
    let verify_s = begin.elapsed().as_secs_f64();
    let crash = Crash {
        acknowledged: acknowledged.all,
        acknowledged_sync: acknowledged.sync,
        kept,
        lost: acknowledged.all.saturating_sub(kept),
        wrong,
        reopen_s,
        verify_s,
        problems,
    };
    if !output.is_json() {
        output.line("")?;
        output.line(format!(
            "a second process wrote and was killed (SIGKILL) in the middle: {} points were acknowledged, {} of them on the disk",
            format::count(crash.acknowledged),
            format::count(crash.acknowledged_sync)
        ))?;
        output.line(format!(
            "reopened in {}: {} points kept, {} acknowledged ones lost, {} wrong",
            format::seconds(reopen_s),
            format::count(kept),
            crash.lost,
            crash.wrong
        ))?;
        let sound = if crash.problems.is_empty() { "sound".to_owned() } else { crash.problems.join("; ") };
        output.line_now(format!("verified the whole store in {}: {sound}", format::seconds(verify_s)))?;
    }
    Ok(crash)
}

#[derive(Default)]
struct Acknowledged {
    all: u64,
    sync: u64,
}

fn write_and_kill(folder: &Path, run: RunId) -> Result<Acknowledged> {
    let cannot = |error| Error::io("cannot start a second process of this program", error);
    let program = std::env::current_exe().map_err(cannot)?;
    let mut child = Command::new(program)
        .arg("demo-writer")
        .arg(folder)
        .arg(run.to_string())
        .stdout(Stdio::piped())
        // Ctrl-C in a terminal reaches this process only, which then ends the child.
        .process_group(0)
        .spawn()
        .map_err(cannot)?;
    interrupt::child_is(child.id());
    let Some(pipe) = child.stdout.take() else {
        return Err(Error::usage("the second process has no output to read"));
    };
    let mut acknowledged = Acknowledged::default();
    let mut first: Option<Instant> = None;
    let mut killed = false;
    for line in BufReader::new(pipe).lines() {
        let line = line.map_err(|error| Error::io("cannot read from the second process", error))?;
        // The kill may cut the last line; a line without its number is ignored.
        let told = line.split_once(' ').and_then(|(kind, step)| Some((kind, step.parse::<u64>().ok()?)));
        if let Some((kind, step)) = told.filter(|(_, step)| *step > acknowledged.all) {
            acknowledged.all = step;
            if kind == "S" {
                acknowledged.sync = step;
            }
        }
        let since = first.get_or_insert_with(Instant::now).elapsed();
        if !killed && since >= Duration::from_millis(WRITE_MS) && acknowledged.sync > 0 {
            child.kill().map_err(|error| Error::io("cannot kill the second process", error))?;
            killed = true;
        }
    }
    // Its id may be given to another process once it was waited for.
    interrupt::child_is(0);
    let status = child.wait().map_err(|error| Error::io("cannot wait for the second process", error))?;
    if killed {
        Ok(acknowledged)
    } else {
        Err(Error::usage(format!("the second process ended by itself ({status}) before it was killed")))
    }
}
