//! `runlode sync FROM TO` and `runlode merge STORE`: copy what is new in one store into another.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use runlode::engine::StoreId;
use runlode::mlflow::ARTIFACTS_DIR;
use runlode::shared::{MlflowCalls, closed_position, is_offline_store};
use runlode::sync::{Problem, Report, Source};
use runlode::{LocalStore, Lsn, Store};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::store_path;
use crate::open::{check_is_store, open_read_only};
use crate::output::{Output, note};
use crate::progress::Bar;
use crate::remote::Remote;
use crate::sync_artifacts::{self, To};
use crate::{Answer, format};

/// Folder in which the stores of other machines wait.
const INBOX_DIR: &str = "inbox";
/// Most problems that are printed one by one.
const PROBLEMS_MAX: usize = 1_000;
/// Prefix of a folder that a merge is removing.
const MERGED_PREFIX: &str = ".merged-";
/// How long an answer of a server may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to treat artifacts.
#[derive(Debug, Args)]
struct Artifacts {
    /// Do not copy artifacts
    #[arg(long)]
    no_artifacts: bool,
    /// Largest artifact to copy; larger ones are reported
    #[arg(long, value_name = "GIB", default_value_t = 256)]
    max_artifact_gib: u32,
}

impl Artifacts {
    /// `None`: send none.
    fn file_bytes_max(&self) -> Option<u64> {
        (!self.no_artifacts).then_some(u64::from(self.max_artifact_gib) << 30)
    }
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Folder of the store to read; it may be in use. With --forget: the store that forgets
    #[arg(value_parser = store_path)]
    from: PathBuf,
    /// Folder of the store to write (created if it does not exist), or http://HOST:PORT of a `runlode serve`
    #[arg(required_unless_present = "forget", conflicts_with = "forget")]
    to: Option<String>,
    /// Forget what STORE has noted about the store with this id, so that the next sync sends everything again; existing
    /// data is recognised
    #[arg(long, value_name = "SOURCE_ID")]
    forget: Option<String>,
    #[command(flatten)]
    artifacts: Artifacts,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// Folder of the store whose inbox is merged
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Hold the store and go on merging until SIGINT or SIGTERM
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    artifacts: Artifacts,
    /// Remove stores of offline processes once they are merged completely and were closed
    #[arg(long)]
    remove: bool,
}

/// The target of a sync.
enum Taker {
    Local { shared: MlflowCalls, path: PathBuf },
    Remote(Remote),
}

impl Taker {
    fn open(to: &str) -> Result<Self> {
        if to.starts_with("http://") || to.starts_with("https://") {
            return Ok(Self::Remote(Remote::new(to, PATIENCE)?));
        }
        let path = store_path(to).map_err(Error::usage)?;
        Ok(Self::Local { shared: open_to_take(&path)?, path })
    }

    fn applied(&self, source: &str) -> Result<u64> {
        match self {
            Self::Local { shared, .. } => Ok(shared.sync_position(source)?),
            Self::Remote(remote) => remote.sync_position(source),
        }
    }

    fn store_id(&self, source: &str) -> Result<StoreId> {
        let id = match self {
            Self::Local { shared, .. } => shared.store_id()?,
            Self::Remote(remote) => remote.store_id(source)?,
        };
        id.parse().map_err(|_| Error::Source(format!("the target names itself `{id}`, which is not a store id")))
    }

    fn apply(&self, chunk: &[u8]) -> Result<Report> {
        match self {
            Self::Local { shared, .. } => Ok(shared.sync_apply(chunk)?),
            Self::Remote(remote) => remote.sync_apply(chunk),
        }
    }

    fn experiments(&self, source: &str) -> Result<Vec<(String, String)>> {
        match self {
            Self::Local { shared, .. } => Ok(shared.sync_experiments(source)?),
            Self::Remote(remote) => remote.sync_experiments(source),
        }
    }
}

/// Opens a target store: as its holder or a client, never offline.
fn open_to_take(path: &Path) -> Result<MlflowCalls> {
    Ok(Store::options(path).offline(false).open()?.mlflow())
}

/// The result of one sync.
#[derive(Debug, Default)]
struct Outcome {
    report: Report,
    source: String,
    artifact_files: u64,
    artifact_bytes: u64,
    /// The source was closed, and all of it was sent.
    is_whole: bool,
}

impl Outcome {
    /// The outcome for a store that cannot be opened.
    fn refused(error: &runlode::Error) -> Self {
        let mut outcome = Self::default();
        outcome.problem(0, format!("it was left as it is: {error}"));
        outcome
    }

    fn problem(&mut self, position: u64, what: String) {
        self.report.problems_count += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem { position, what, disagreement: None });
        }
    }
}

/// Opens a source. Only data that is safely on its disk is sent, and only from its log. If its inboxes hold more, the
/// process that holds it is asked to merge them; if no process holds it (after a kill), this one merges them.
fn open_source(from: &Path) -> Result<LocalStore> {
    let store = open_read_only(from)?;
    let positions = store.engine().positions();
    if positions.durable >= positions.published {
        return Ok(store);
    }
    drop(store);
    let settle = || -> Result<()> {
        let shared = open_to_take(from)?;
        // A process that holds it merges before it answers anything.
        shared.store_id()?;
        if shared.holds()? {
            shared.local()?.engine().merge_inboxes()?;
        }
        Ok(shared.close()?)
    };
    if let Err(error) = settle() {
        note(format!("{}: its newest points come with a later sync: {error}", from.display()));
    }
    open_read_only(from)
}

/// Sends everything that the target does not have.
fn send(from: &Path, taker: &Taker, artifacts: &Artifacts) -> Result<Outcome> {
    // Read before the store is opened, so that the open sees everything that the mark vouches for.
    let closed = closed_position(from);
    let is_offline = is_offline_store(from);
    let store = if is_offline { open_read_only(from)? } else { open_source(from)? };
    let id = store.engine().id().to_string();
    let applied = taker.applied(&id)?;
    let mut outcome = Outcome { source: id.clone(), ..Outcome::default() };
    outcome.report.through = applied;
    let missing = &store.engine().open_notes().missing;
    for part in missing {
        outcome.problem(part.first.0, format!("{part}. Nothing after it is sent; sync again when it is back"));
    }
    let mut source = match Source::new(&store, Lsn(applied), taker.store_id(&id)?) {
        // Printed above.
        Err(runlode::Error::MissingFile { .. }) if !missing.is_empty() => return Ok(outcome),
        source => source?,
    };
    if is_offline {
        source = source.to_published();
    }
    outcome.is_whole = missing.is_empty() && closed.is_some_and(|end| end <= source.end());
    if let Some(closed) = closed.filter(|closed| is_offline && missing.is_empty() && *closed > source.end()) {
        let what = format!("it was closed at position {closed}, and ends at {}: its end is missing", source.end());
        outcome.problem(source.end().0, what);
    }
    if missing.is_empty() && applied > source.end().0 {
        let what = format!(
            "the target has this store up to position {applied}, but it ends at {}: an older copy took its place? What \
             is appended to it up to there is not sent, unless `runlode sync --forget {id} TARGET` makes the target take \
             all of it again",
            source.end()
        );
        outcome.problem(applied, what);
    }
    let bar = Bar::new("batches");
    while let Some(chunk) = source.next_chunk()? {
        outcome.report.add(taker.apply(&chunk.encode())?);
        bar.set("batches", source.position().0.saturating_sub(applied), source.end().0.saturating_sub(applied));
    }
    drop(bar);
    if let Some(file_bytes_max) = artifacts.file_bytes_max() {
        let to = match taker {
            Taker::Local { path, .. } => To::Store(path),
            Taker::Remote(remote) => To::Server(remote),
        };
        let experiments = taker.experiments(&id)?;
        let mut tell = |what| outcome.problem(0, what);
        let sent = sync_artifacts::send(from, &to, &experiments, file_bytes_max, &mut tell)?;
        (outcome.artifact_files, outcome.artifact_bytes) = (sent.files, sent.bytes);
    }
    Ok(outcome)
}

/// Copies everything that a store lacks, artifacts too. Returns what could not be copied.
pub(crate) fn copy(from: &Path, shared: &MlflowCalls, to: &Path) -> Result<Vec<String>> {
    let taker = Taker::Local { shared: shared.clone(), path: to.to_owned() };
    let outcome = send(from, &taker, &Artifacts { no_artifacts: false, max_artifact_gib: 256 })?;
    Ok(outcome.report.problems.into_iter().map(|problem| problem.what).collect())
}

impl Sync {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if let Some(source) = &self.forget {
            return forget(&self.from, source, output);
        }
        let taker = Taker::open(self.to.as_deref().unwrap_or_default())?;
        let outcome = send(&self.from, &taker, &self.artifacts)?;
        print(&self.from, &outcome, output)?;
        if let Taker::Local { shared, .. } = taker {
            shared.close()?;
        }
        Ok(if outcome.report.problems_count == 0 { Answer::Yes } else { Answer::No })
    }
}

/// Makes a store forget what it noted about another one.
fn forget(store: &Path, source: &str, output: &mut Output) -> Result<Answer> {
    check_is_store(store)?;
    let shared = open_to_take(store)?;
    let seen = shared.sync_forget(source)?;
    shared.close()?;
    if output.is_json() {
        output.document_line(&json!({ "store": store, "source": source, "forgotten": seen }))?;
    } else if seen == 0 {
        output.line(format!("{}: nothing is noted of store {source}.", store.display()))?;
    } else {
        output.line(format!(
            "{}: forgot that store {source} is in up to position {seen}; the next sync sends all of it again.",
            store.display()
        ))?;
    }
    Ok(Answer::Yes)
}

impl Merge {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        // A store that is not there is made: offline processes may log into its inbox before anybody else opens it.
        let shared = open_to_take(&self.store)?;
        let taker = Taker::Local { shared: shared.clone(), path: self.store.clone() };
        let mut clean = true;
        let mut told = BTreeSet::new();
        loop {
            // The holder merges the logs of processes on this machine before it answers.
            shared.flush()?;
            let mut left_out = Vec::new();
            let stores = stores_in(&self.store.join(INBOX_DIR), &mut left_out)?;
            if stores.is_empty() && !self.hold {
                print_none(&self.store, output)?;
            }
            // With --hold this runs every second: report each only once.
            for what in left_out {
                clean = false;
                if told.insert(what.clone()) {
                    note(what);
                }
            }
            for store in stores {
                let outcome = match send(&store, &taker, &self.artifacts) {
                    // Other stores are merged all the same.
                    Err(Error::Store(error)) if is_of_the_source(&error) => Outcome::refused(&error),
                    outcome => outcome?,
                };
                clean &= outcome.report.problems_count == 0;
                let removed = self.remove && remove_merged(&self.store, &store, &outcome)?;
                if !self.hold || outcome.report.batches_count > 0 || removed {
                    print(&store, &outcome, output)?;
                    if removed && !output.is_json() {
                        output.line(format!("{}: removed.", store.display()))?;
                    }
                    output.flush()?;
                }
            }
            if !self.hold {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        drop(taker);
        shared.close()?;
        Ok(if clean { Answer::Yes } else { Answer::No })
    }
}

/// Whether an error is damage of the files that are read.
fn is_of_the_source(error: &runlode::Error) -> bool {
    use runlode::Error as E;
    matches!(error, E::Corrupt(_) | E::MissingFile { .. } | E::NotAFile { .. } | E::UnsupportedFormat { .. })
}

/// Removes the store of an offline process, if all of it is merged and nothing more can come. Returns whether it did.
fn remove_merged(main: &Path, store: &Path, outcome: &Outcome) -> Result<bool> {
    // If something was not taken as it was, a person should look at it first. A later merge removes the store.
    if !outcome.is_whole || outcome.report.problems_count > 0 || holds_files(&store.join(ARTIFACTS_DIR))? {
        return Ok(false);
    }
    let Some(name) = store.file_name() else { return Ok(false) };
    // Moved out of the inbox in one step: half a store would be refused by every later merge.
    let mut aside = std::ffi::OsString::from(MERGED_PREFIX);
    aside.push(name);
    let aside = main.join(aside);
    std::fs::rename(store, &aside).map_err(|error| Error::io(format!("rename {}", store.display()), error))?;
    std::fs::remove_dir_all(&aside).map_err(|error| Error::io(format!("remove {}", aside.display()), error))?;
    Ok(true)
}

/// Whether a folder holds files. A missing folder holds none. An unreadable one is an error, since its content would be
/// removed.
fn holds_files(folder: &Path) -> Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("list {}", folder.display()), error)),
    }
}

/// The stores among the writers of an inbox, sorted by name. Other users may write there: a link could lead to any
/// store of this machine, and a pipe in place of a file would block. Both are reported instead, and so is a store whose
/// FORMAT is gone.
fn stores_in(inbox: &Path, told: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(inbox) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("list {}", inbox.display()), error)),
    };
    let mut stores = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(format!("list {}", inbox.display()), error))?.path();
        let is_link = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
        match path.join("FORMAT").symlink_metadata() {
            Err(_) if !is_link && path.join("MANIFEST").symlink_metadata().is_ok() => told.push(format!(
                "{}: a store without its file FORMAT: not merged; `runlode verify --repair` of it makes FORMAT again",
                path.display()
            )),
            // The log of a process, or none of our files.
            Err(_) if !is_link => {}
            Ok(about) if !is_link && about.is_file() => stores.push(path),
            _ if is_link => told.push(format!("{} is a link, and links are not followed: not merged", path.display())),
            _ => told.push(format!("{}: its FORMAT is not a regular file: not merged", path.display())),
        }
    }
    stores.sort();
    Ok(stores)
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    let mut said = json!({ "position": problem.position, "what": problem.what });
    if let Some(about) = &problem.disagreement {
        said["disagreement"] = json!({
            "entity": about.entity, "field": about.field,
            "stays": about.stays, "stays_time_ms": about.stays_time_ms,
            "given_up": about.given_up, "given_up_time_ms": about.given_up_time_ms,
            "of": if about.own_stays { "target" } else { "source" },
        });
    }
    said
}

/// Says that no store waits in an inbox; in JSON as a merge of nothing from nowhere.
fn print_none(store: &Path, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return print_json(None, &Outcome::default(), output);
    }
    output.line(format!("{}: no store waits in its inbox.", store.display()))
}

fn print_json(from: Option<&Path>, outcome: &Outcome, output: &mut Output) -> Result<()> {
    let Report { batches_count, events_count, points_count, known_count, problems_count, through, .. } = outcome.report;
    let problems: Vec<_> = outcome.report.problems.iter().map(problem_json).collect();
    let source = Some(&outcome.source).filter(|source| !source.is_empty());
    output.document_line(&json!({
        "from": from, "source": source, "through": through, "batches": batches_count,
        "events": events_count, "points": points_count, "known": known_count,
        "artifact_files": outcome.artifact_files, "artifact_bytes": outcome.artifact_bytes,
        "problems_count": problems_count, "problems": problems,
    }))
}

fn print(from: &Path, outcome: &Outcome, output: &mut Output) -> Result<()> {
    let Report { batches_count, events_count, points_count, problems_count, through, .. } = outcome.report;
    if output.is_json() {
        return print_json(Some(from), outcome, output);
    }
    if batches_count == 0 && outcome.artifact_files == 0 && problems_count > 0 {
        output.line(format!("{}: nothing was sent; the target has it up to position {through}.", from.display()))?;
    } else if batches_count == 0 && outcome.artifact_files == 0 {
        output.line(format!("{}: everything was there already, up to position {through}.", from.display()))?;
    } else {
        output.line(format!(
            "{}: {} batches, {} events, {} points, {} artifact files ({} bytes); up to position {through}.",
            from.display(),
            format::count(batches_count),
            format::count(events_count),
            format::count(points_count),
            format::count(outcome.artifact_files),
            format::count(outcome.artifact_bytes),
        ))?;
    }
    for problem in &outcome.report.problems {
        output.line(format!("  at {}: {}", problem.position, problem.what))?;
    }
    let more = problems_count.saturating_sub(outcome.report.problems.len() as u64);
    if more > 0 {
        output.line(format!("  and {more} more"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_store_and_is_not_merged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = dir.path();
        for (name, files) in [
            ("whole", &["FORMAT", "MANIFEST"][..]),
            ("no-format", &["MANIFEST"]),
            ("process", &["lock", "00000001.seg"]),
        ] {
            std::fs::create_dir(inbox.join(name)).unwrap();
            files.iter().for_each(|file| std::fs::write(inbox.join(name).join(file), b"x").unwrap());
        }
        std::os::unix::fs::symlink(inbox.join("whole"), inbox.join("link")).unwrap();
        let mut told = Vec::new();
        assert_eq!(stores_in(inbox, &mut told).unwrap(), [inbox.join("whole")]);
        told.sort();
        let [link, format] = &told[..] else { panic!("{told:?}") };
        assert!(link.contains("link is a link") && format.contains("no-format: a store without"), "{told:?}");
    }
}
