//! `runlode doctor STORE`: what is wrong with a store and its surroundings, and the next command.
//!
//! It looks at what is cheap to see: files, permissions, space, what an open says, lost runs. That every byte is sound is
//! the answer of `verify`. It writes nothing. Exit status: 0 nothing is wrong; 1 there is a problem.

use std::path::Path;

use clap::Args;
use runlode::mlflow::Watch;
use runlode::{LocalStore, Store};
use serde_json::json;

use super::liveness::{self, look};
use crate::error::{Error, Result};
use crate::find::store_path;
use crate::output::Output;
use crate::{Answer, disk, format};

/// Less free space than this is a problem.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Less than this is worth a note.
const FREE_BYTES_LOW: u64 = 2 << 30;
/// A log below this is not worth a compaction.
const LOG_BYTES_MIN: u64 = 64 << 20;
/// Most lost runs that are looked for.
const RUNS_MAX: usize = 10_000;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode doctor ./store
  runlode doctor ./store --json")]
pub struct Doctor {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: std::path::PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Fine,
    Note,
    Problem,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
struct Finding {
    level: Level,
    what: String,
    next: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, what: impl Into<String>, next: Option<String>) {
        self.0.push(Finding { level, what: what.into(), next });
    }

    fn fine(&mut self, what: impl Into<String>) {
        self.add(Level::Fine, what, None);
    }

    fn note(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Level::Note, what, Some(next.into()));
    }

    fn problem(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.add(Level::Problem, what, Some(next.into()));
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

impl Doctor {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let mut found = Findings::default();
        let store = quoted(&self.store);
        if is_there(&self.store, &store, &mut found) {
            surroundings(&self.store, &store, &mut found)?;
            inside(&self.store, &store, &mut found)?;
        }
        environment(&self.store, &mut found);
        let problems = found.0.iter().filter(|finding| finding.level == Level::Problem).count();
        if output.is_json() {
            let findings = found
                .0
                .iter()
                .map(|finding| json!({ "level": finding.level.name(), "what": finding.what, "next": finding.next }));
            output.document(&json!({ "ok": problems == 0, "findings": findings.collect::<Vec<_>>() }))?;
        } else {
            for finding in &found.0 {
                output.line(format!("{:8} {}", finding.level.name(), finding.what))?;
                if let Some(next) = &finding.next {
                    output.line(format!("{:8}   -> {next}", ""))?;
                }
            }
        }
        Ok(if problems == 0 { Answer::Yes } else { Answer::No })
    }
}

/// Whether there is a store, damaged or not.
fn is_there(path: &Path, store: &str, found: &mut Findings) -> bool {
    let has = |name: &str| path.join(name).exists();
    if !path.exists() {
        found.problem(format!("{store} does not exist"), format!("runlode serve {store} (makes a store there)"));
        return false;
    }
    if has("FORMAT") && has("MANIFEST") {
        return true;
    }
    if has("FORMAT") || has("MANIFEST") || has("log") {
        let gone = if has("FORMAT") { "MANIFEST" } else { "FORMAT" };
        found.problem(format!("{store} has no {gone}"), format!("runlode verify {store} --repair"));
        return false;
    }
    let next = match has("mlruns") || has("mlflow.db") {
        true => format!("runlode import sqlite:///{}/mlflow.db NEW-STORE", path.display()),
        false => "give the folder of a store: it has the files FORMAT and MANIFEST".to_owned(),
    };
    found.problem(format!("{store} is not a store"), next);
    false
}

/// Disk, file system and permissions.
fn surroundings(path: &Path, store: &str, found: &mut Findings) -> Result<()> {
    let io = |what: &str, error: rustix::io::Errno| Error::io(format!("cannot {what} {store}"), error.into());
    let space = rustix::fs::statvfs(path).map_err(|error| io("ask for the free space of", error))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let left = format!("{} are free on its disk", format::bytes(free));
    let next = format!("runlode compact {store}, or remove other files");
    match free {
        free if free < FREE_BYTES_MIN => found.problem(format!("{left}: writers will be refused soon"), next),
        free if free < FREE_BYTES_LOW => found.note(left, next),
        _ => found.fine(left),
    }
    let kind = rustix::fs::statfs(path).map_err(|error| io("ask for the file system of", error))?.f_type as u64;
    // Numbers of statfs(2).
    let network = match kind & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x4750_4653 => Some("GPFS"),
        _ => None,
    };
    if let Some(network) = network {
        let why = format!("it lies on {network}: processes of several machines must not hold it at once");
        found.note(why, "let one machine serve it, or let jobs log offline and sync (docs/processes.md)");
    }
    if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() {
        let why = "you may not write to it: commands that read work, with an index of their own if need be";
        found.note(why, format!("runlode runs {store} --cache DIR"));
    }
    Ok(())
}

/// What an open for reading says.
fn inside(path: &Path, store: &str, found: &mut Findings) -> Result<()> {
    let opened = match Store::options(path).open_to_read() {
        Ok(opened) => opened,
        Err(error @ (runlode::Error::Corrupt(_) | runlode::Error::MissingFile { .. })) => {
            found.problem(error.to_string(), format!("runlode verify {store} (then --repair, or a copy)"));
            return Ok(());
        }
        Err(error) => {
            found.problem(error.to_string(), format!("runlode verify {store}"));
            return Ok(());
        }
    };
    let notes = opened.engine().open_notes();
    for missing in &notes.missing {
        found.problem(missing.to_string(), format!("runlode verify {store}"));
    }
    if let Some(why) = &notes.rebuilt {
        let frames = format::count(notes.replay.frames_count);
        let why = format!("{why}: each command that reads goes through all {frames} batches of the log");
        found.note(why, format!("runlode compact {store} (or any command that writes: it makes an index)"));
    } else {
        found.fine("its index is there");
    }
    for problem in &notes.inboxes.problems {
        found.problem(format!("an inbox: {}", problem.what), format!("runlode verify {store}"));
    }
    let log = disk::bytes_of(&path.join("log"))?;
    let series = disk::bytes_of(&path.join("series"))?;
    let sizes = format!("its log takes {}, its series files {}", format::bytes(log), format::bytes(series));
    if log > LOG_BYTES_MIN && log > series / 2 {
        found.note(format!("{sizes}: most of it is there twice"), format!("runlode compact {store}"));
    } else {
        found.fine(sizes);
    }
    lost(&opened, store, found)
}

/// Runs whose process is gone.
fn lost(opened: &LocalStore, store: &str, found: &mut Findings) -> Result<()> {
    let snapshot = opened.snapshot()?;
    let watch = Watch::here(opened.now().0);
    let (mut running, mut gone) = (0u64, Vec::new());
    for id in liveness::running(&snapshot, RUNS_MAX)? {
        let Some(state) = snapshot.run(id)? else { continue };
        running += 1;
        if look(&watch, &state, &snapshot.latest(id)?).is_lost() {
            gone.push(state.name.clone());
        }
    }
    let running = format!("{} runs are running", format::count(running));
    match gone.as_slice() {
        [] => found.fine(running),
        [first, ..] => {
            let names = if gone.len() == 1 { format!("`{first}`") } else { format!("`{first}` and others") };
            let why = format!("{} of them are lost: their processes are gone ({names})", gone.len());
            found.note(format!("{running}, {why}"), format!("runlode runs {store} \"attributes.status = 'RUNNING'\""));
        }
    }
    Ok(())
}

/// Whether MLflow's scripts of this shell log to the store.
fn environment(path: &Path, found: &mut Findings) {
    let Ok(uri) = std::env::var("MLFLOW_TRACKING_URI") else { return };
    let here = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let there = uri.strip_prefix("runlode://").map(Path::new);
    let same = there.is_some_and(|there| there.canonicalize().is_ok_and(|there| there == here));
    if same {
        found.fine("MLflow's scripts of this shell log to it");
    } else if !uri.starts_with("http") {
        let next = format!("export MLFLOW_TRACKING_URI=runlode://{}", here.display());
        found.note(format!("MLFLOW_TRACKING_URI is {uri}: MLflow's scripts of this shell log elsewhere"), next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_as_a_shell_needs_it() {
        assert_eq!(quoted(Path::new("./store-1")), "./store-1");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
