//! `runlode sync FROM TO`, `runlode merge STORE`: what one store has comes into another, any number of times.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use runlode::engine::StoreId;
use runlode::mlflow::ARTIFACTS_DIR;
use runlode::shared::{Shared, SharedOptions, closed_position, is_offline_store};
use runlode::sync::{Problem, Report, Source};
use runlode::{Lsn, Store};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::{open_to_read, store_path};
use crate::output::Output;
use crate::progress::Bar;
use crate::remote::Remote;
use crate::{Answer, format};

/// Where the stores of other machines wait.
const INBOX_DIR: &str = "inbox";
/// Most problems that are named one by one.
const PROBLEMS_MAX: usize = 1_000;
/// How folders begin that a merge is just removing.
const MERGED_PREFIX: &str = ".merged-";
/// How long an answer of a server may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Folder of the store that is read; runs in it may go on. With --forget: of the store that forgets
    #[arg(value_parser = store_path)]
    from: PathBuf,
    /// Folder of the store that takes it (created when it is not there), or http://HOST:PORT of a `runlode serve`
    #[arg(required_unless_present = "forget", conflicts_with = "forget")]
    to: Option<String>,
    /// Forget what STORE has noted of the store with this id, so that the next sync sends all of it again; what is there
    /// already is recognised
    #[arg(long, value_name = "SOURCE_ID")]
    forget: Option<String>,
    /// Leave artifacts where they are
    #[arg(long)]
    no_artifacts: bool,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// Folder of the store whose inbox is merged
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Hold the store and go on merging what comes, until it is ended (SIGINT, SIGTERM)
    #[arg(long)]
    hold: bool,
    /// Leave artifacts where they are
    #[arg(long)]
    no_artifacts: bool,
    /// Remove stores of offline processes that are merged whole and were closed in good order
    #[arg(long)]
    remove: bool,
}

/// What takes what is sent.
enum Taker {
    Local { shared: Shared, path: PathBuf },
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
        id.parse().map_err(|_| Error::Source(format!("the target names itself `{id}`, which is no store id")))
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

/// Opens a store that takes what others have: as its holder or a client, never offline.
fn open_to_take(path: &Path) -> Result<Shared> {
    Ok(Shared::open(path, &SharedOptions { offline: Some(false), ..SharedOptions::default() })?)
}

/// What came over.
#[derive(Debug, Default)]
struct Outcome {
    report: Report,
    source: String,
    artifact_files: u64,
    artifact_bytes: u64,
    /// It was closed in good order, and all of it was sent.
    is_whole: bool,
}

impl Outcome {
    fn problem(&mut self, position: u64, what: String) {
        self.report.problems_count += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem { position, what, disagreement: None });
        }
    }
}

/// Opens a source. Only what is on its disk for sure is sent, and only from its log: where there is more, the process
/// that holds it is asked to merge its inboxes, or, where nobody holds it since a kill, this one does it.
fn open_source(from: &Path) -> Result<Store> {
    let store = open_to_read(from)?;
    let positions = store.engine().positions();
    if positions.durable >= positions.published {
        return Ok(store);
    }
    drop(store);
    let settle = || -> Result<()> {
        let shared = open_to_take(from)?;
        // Another process that holds it merges before it answers anything.
        shared.store_id()?;
        if let Some(store) = shared.store()? {
            store.engine().merge_inboxes()?;
        }
        Ok(shared.close()?)
    };
    if let Err(error) = settle() {
        eprintln!("runlode: {}: its newest points come with a later sync: {error}", from.display());
    }
    open_to_read(from)
}

/// Sends everything that the taker does not have.
fn send(from: &Path, taker: &Taker, artifacts: bool) -> Result<Outcome> {
    // Before the store is opened, so that this sees all that the mark speaks of.
    let closed = closed_position(from);
    let is_offline = is_offline_store(from);
    let store = if is_offline { open_to_read(from)? } else { open_source(from)? };
    let id = store.engine().id().to_string();
    let applied = taker.applied(&id)?;
    let mut source = Source::new(&store, Lsn(applied), taker.store_id(&id)?)?;
    if is_offline {
        source = source.to_published();
    }
    let is_whole = closed.is_some_and(|end| end <= source.end());
    let mut outcome = Outcome { source: id.clone(), is_whole, ..Outcome::default() };
    outcome.report.through = applied;
    if applied > source.end().0 {
        let what = format!(
            "the target has this store up to position {applied}, but it ends at {}: an older copy took its place? What \
             is appended to it up to there is not sent; `runlode replay` makes a store of it that is all sent",
            source.end()
        );
        outcome.problem(applied, what);
    }
    let bar = Bar::new("batches");
    while let Some(chunk) = source.next_chunk()? {
        outcome.report.add(taker.apply(&chunk.encode()?)?);
        bar.set("batches", source.position().0.saturating_sub(applied), source.end().0.saturating_sub(applied));
    }
    drop(bar);
    if artifacts {
        send_artifacts(&from.join(ARTIFACTS_DIR), taker, &id, &mut outcome)?;
    }
    Ok(outcome)
}

/// Sends the files of default artifact places that are not there, or not as large.
fn send_artifacts(from: &Path, taker: &Taker, source: &str, outcome: &mut Outcome) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    let bar = Bar::new("artifacts");
    for (theirs, ours) in taker.experiments(source)? {
        let mut folders = vec![PathBuf::new()];
        let top = from.join(&theirs);
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(top.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(format!("list {}", top.join(&folder).display()), error)),
            };
            let there = match taker {
                Taker::Remote(remote) => remote.artifact_sizes(&Path::new(&ours).join(&folder))?,
                Taker::Local { .. } => Vec::new(),
            };
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(format!("list {}", top.join(&folder).display()), error))?;
                let path = folder.join(entry.file_name());
                let file = entry.path();
                let about = entry.metadata().map_err(|error| Error::io(format!("stat {}", &file.display()), error))?;
                if about.is_dir() {
                    folders.push(path);
                    continue;
                }
                if !about.is_file() {
                    continue;
                }
                let sent = match taker {
                    Taker::Local { path: store, .. } => {
                        copy_file(&file, &about, &store.join(ARTIFACTS_DIR).join(&ours).join(&path))?
                    }
                    Taker::Remote(remote) => {
                        let name = entry.file_name();
                        let same = there.iter().any(|(other, size)| name == other.as_str() && *size == about.len());
                        let refused =
                            if same { None } else { remote.put_artifact(&file, &Path::new(&ours).join(&path))? };
                        if let Some(why) = &refused {
                            outcome.problem(0, format!("the server does not take {}: {why}", file.display()));
                        }
                        !same && refused.is_none()
                    }
                };
                if sent {
                    outcome.artifact_files += 1;
                    outcome.artifact_bytes += about.len();
                    bar.set("artifacts", outcome.artifact_files, outcome.artifact_files);
                }
            }
        }
    }
    Ok(())
}

/// Copies a file unless it is there, as large and as old; whole or not at all. What cannot be looked at is copied: the
/// copy says what is wrong.
fn copy_file(from: &Path, about: &std::fs::Metadata, to: &Path) -> Result<bool> {
    if let Ok(there) = std::fs::metadata(to)
        && there.len() == about.len()
        && there.modified().ok() >= about.modified().ok()
    {
        return Ok(false);
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("create {}", folder.display()), error))?;
    }
    let mut name = std::ffi::OsString::from(".sync-");
    name.push(to.file_name().unwrap_or_default());
    let beside = to.with_file_name(name);
    std::fs::copy(from, &beside).map_err(|error| Error::io(format!("copy {}", from.display()), error))?;
    std::fs::rename(&beside, to).map_err(|error| Error::io(format!("rename {}", to.display()), error))?;
    Ok(true)
}

impl Sync {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if let Some(source) = &self.forget {
            return forget(&self.from, source, output);
        }
        let taker = Taker::open(self.to.as_deref().unwrap_or_default())?;
        let outcome = send(&self.from, &taker, !self.no_artifacts)?;
        print(&self.from, &outcome, output)?;
        if let Taker::Local { shared, .. } = taker {
            shared.close()?;
        }
        Ok(if outcome.report.problems_count == 0 { Answer::Yes } else { Answer::No })
    }
}

/// Makes a store forget what it noted of another one.
fn forget(store: &Path, source: &str, output: &mut Output) -> Result<Answer> {
    let shared = Shared::open(store, &SharedOptions { offline: Some(false), create: false, ..SharedOptions::default() })?;
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
        let shared = open_to_take(&self.store)?;
        let taker = Taker::Local { shared: shared.clone(), path: self.store.clone() };
        let mut clean = true;
        loop {
            // The logs of processes of this machine: the holder merges them before it answers.
            shared.flush()?;
            for store in stores_in(&self.store.join(INBOX_DIR))? {
                let outcome = send(&store, &taker, !self.no_artifacts)?;
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

/// Removes the store of an offline process, of which nothing is missing and nothing comes any more. Whether it did.
fn remove_merged(main: &Path, store: &Path, outcome: &Outcome) -> Result<bool> {
    // What was not taken as it was is looked at by somebody first: the next merge removes.
    if !outcome.is_whole || outcome.report.problems_count > 0 || holds_files(&store.join(ARTIFACTS_DIR))? {
        return Ok(false);
    }
    let Some(name) = store.file_name() else { return Ok(false) };
    // Out of the inbox in one step: half of a store is none, and would be in everybody's way.
    let mut aside = std::ffi::OsString::from(MERGED_PREFIX);
    aside.push(name);
    let aside = main.join(aside);
    std::fs::rename(store, &aside).map_err(|error| Error::io(format!("rename {}", store.display()), error))?;
    std::fs::remove_dir_all(&aside).map_err(|error| Error::io(format!("remove {}", aside.display()), error))?;
    Ok(true)
}

/// Whether something is in a folder, which may not be there. One that cannot be read is an error: what it holds would
/// be removed.
fn holds_files(folder: &Path) -> Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("list {}", folder.display()), error)),
    }
}

/// The stores among the writers of an inbox, in the order of their names.
fn stores_in(inbox: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(inbox) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("list {}", inbox.display()), error)),
    };
    let mut stores = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io(format!("list {}", inbox.display()), error))?.path();
        if path.join("FORMAT").exists() {
            stores.push(path);
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

fn print(from: &Path, outcome: &Outcome, output: &mut Output) -> Result<()> {
    let Report { batches_count, events_count, points_count, known_count, problems_count, through, .. } = outcome.report;
    if output.is_json() {
        let problems = outcome.report.problems.iter();
        let problems: Vec<_> = problems.map(problem_json).collect();
        return output.document_line(&json!({
            "from": from, "source": outcome.source, "through": through, "batches": batches_count,
            "events": events_count, "points": points_count, "known": known_count,
            "artifact_files": outcome.artifact_files, "artifact_bytes": outcome.artifact_bytes,
            "problems_count": problems_count, "problems": problems,
        }));
    }
    if batches_count == 0 && outcome.artifact_files == 0 {
        output.line(format!("{}: all of it was there already, up to position {through}.", from.display()))?;
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
    let more = problems_count - outcome.report.problems.len() as u64;
    if more > 0 {
        output.line(format!("  and {more} more"))?;
    }
    Ok(())
}
