//! A whole launch: source, file, command, record, environment, child, end.
//!
//! Order, and what a failure leaves:
//! 1. The source is found, the file read, the command made, and what the place needs is looked for (conda, a container
//!    engine, kubectl). A failure here makes no run.
//! 2. [`Record::begin`] records the launch before it starts.
//! 3. The environment is found or made, the command runs. A failure from here on ends the run as failed.
//!
//! A signal that comes before the command runs stops the launch between two steps.

mod clustered;
mod contained;
mod facts;
mod place;
mod storage;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::command::{Command, command};
use crate::container::Mounts;
use crate::environment::{Manager, Recipe};
use crate::error::{ProjectError, Result};
use crate::file::Project;
use crate::git::{self, Diff};
use crate::kubernetes::Config;
use crate::launch::{Ended, Stop};
use crate::source::Source;
use place::Place;
use storage::Storage;

pub use facts::Facts;
pub(crate) use facts::input;

/// The largest patch of a changed tree that is kept.
const PATCH_BYTES_MAX: usize = 4 << 20;

/// What to launch.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `URI[#subfolder]` of the project.
    pub uri: String,
    /// Entry point, or a script of the project.
    pub entry_point: String,
    /// Parameters, in the order given.
    pub parameters: Vec<(String, String)>,
    /// Branch, tag or commit.
    pub version: Option<String>,
    /// What makes the environment; by the project's file if it is not given.
    pub manager: Option<Manager>,
    /// Where values of type `path` are downloaded to.
    pub storage_dir: Option<PathBuf>,
    /// The run that this launch belongs to.
    pub parent: Option<String>,
    /// Name of the user.
    pub user: String,
    /// Where the command runs.
    pub backend: Backend,
    /// Options of the container engine, without dashes: a name, and its value if it takes one.
    pub container_options: Vec<(String, Option<String>)>,
    /// Whether the project is copied into a new image.
    pub builds_image: bool,
    /// The launch that this one repeats.
    pub again: Option<Again>,
}

impl Request {
    /// Whether a container of this launch is in the host's network.
    fn is_in_host_network(&self) -> bool {
        let is_network = |name: &str| matches!(name, "network" | "net");
        self.container_options.iter().any(|(name, value)| is_network(name) && value.as_deref() == Some("host"))
    }

    /// The URI that is recorded: of the launch that is repeated, if this one repeats it from elsewhere.
    pub(crate) fn recorded_uri(&self) -> String {
        self.again.as_ref().map_or_else(|| self.uri.clone(), |again| again.uri.clone())
    }
}

/// Where a command runs.
#[derive(Debug, Clone, Default)]
pub enum Backend {
    /// On this machine, in a container if the project asks for one.
    #[default]
    Local,
    /// As a Job of a Kubernetes cluster.
    Kubernetes(Config),
}

impl Backend {
    /// The tag `mlflow.project.backend`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kubernetes(_) => "kubernetes",
        }
    }
}

/// A launch that repeats an earlier one.
#[derive(Debug, Clone)]
pub struct Again {
    /// Id of the run that is repeated.
    pub of: String,
    /// Its project, as it was given.
    pub uri: String,
    /// 2 for the first repetition.
    pub attempt: u64,
    /// What was installed in its environment.
    pub lock: Option<String>,
    /// What differed from its commit.
    pub patch: Option<Vec<u8>>,
}

/// Who reaches the record of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A process of this machine.
    Process,
    /// A container of this machine; in the host's network it reaches servers of this process.
    Container {
        /// Whether it is in the host's network.
        in_host_network: bool,
    },
    /// Pods of a cluster.
    Cluster,
}

/// A data set that a run read.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Digest of its content, as MLflow computes it.
    pub digest: String,
    /// Where it came from, as JSON.
    pub source: String,
}

/// Where launches are recorded.
pub trait Record {
    /// A refusal.
    type Error: Display;

    /// The URI under which other machines reach it; a store of this machine has none.
    fn address(&self) -> Option<String>;

    /// Makes the run of the launch, or takes the one that was named.
    ///
    /// # Errors
    /// Those of the store.
    fn begin(&mut self, facts: &Facts, reach: Reach) -> Result<(), Self::Error>;

    /// Sets a tag of the run.
    ///
    /// # Errors
    /// Those of the store.
    fn tag(&mut self, key: &str, value: &str) -> Result<(), Self::Error>;

    /// Keeps a file of the launch with the run.
    ///
    /// # Errors
    /// Those of the store.
    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The variables by which a child of this machine finds its run; `environment` is its Python environment, none is
    /// the launcher's.
    ///
    /// # Errors
    /// Those of the store.
    fn variables(&mut self, environment: Option<&Path>) -> Result<Vec<(String, String)>, Self::Error>;

    /// Ids of the run and of its experiment.
    ///
    /// # Errors
    /// Those of the store.
    fn ids(&self) -> Result<(String, String), Self::Error>;

    /// What a container needs to find its run.
    ///
    /// # Errors
    /// Those of the store.
    fn container(&mut self, in_host_network: bool) -> Result<Mounts, Self::Error>;

    /// The data sets that the run read.
    ///
    /// # Errors
    /// Those of the store.
    fn datasets(&self) -> Result<Vec<Dataset>, Self::Error>;

    /// Ends the run.
    ///
    /// # Errors
    /// Those of the store.
    fn end(&mut self, is_success: bool) -> Result<(), Self::Error>;
}

/// What a launch says while it goes on.
pub type Say<'a> = &'a dyn Fn(&str);

/// Fetches a URL into a file or folder.
pub type Download<'a> = &'a dyn Fn(&str, &Path) -> std::result::Result<(), String>;

/// A launch whose project, command and place are known.
struct Prepared {
    source: Source,
    project: Project,
    place: Place,
    command: Command,
    /// Holds what the command's parameters name.
    _storage: Storage,
}

fn prepare(request: &Request, download: Download<'_>, say: Say<'_>) -> Result<Prepared> {
    let mut source = Source::find(&request.uri, request.version.as_deref(), download)?;
    if let Some(patch) = request.again.as_ref().and_then(|again| again.patch.as_deref()) {
        let root = source.checkout.as_ref().map_or(&source.folder, |checkout| &checkout.root);
        let reason = |reason| ProjectError::Source { uri: request.uri.clone(), reason };
        git::apply(root, patch).map_err(reason)?;
        if let Some(checkout) = &mut source.checkout {
            checkout.is_dirty = true;
        }
    }
    let project = Project::load(&source.folder)?;
    project.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let entry = project.entry_point(&request.entry_point)?;
    let place = Place::of(request, &project)?;
    if let Place::Shell { recipe: Some(recipe), .. } = &place {
        recipe.warnings().iter().for_each(|warning| say(&format!("warning: {warning}")));
    }
    let storage = Storage::new(request.storage_dir.as_deref())?;
    let fetch = |uri: &str, position: usize| storage.fetch(download, uri, position);
    let command = command(&project, &entry, &request.parameters, &fetch)?;
    Ok(Prepared { source, project, place, command, _storage: storage })
}

/// The Kubernetes Job that a launch would submit, as JSON; nothing is recorded, built or pushed.
///
/// # Errors
/// Whatever would hinder the launch from being started.
pub fn dry_run(request: &Request, download: Download<'_>, say: Say<'_>) -> Result<serde_json::Value> {
    let prepared = prepare(request, download, say)?;
    match &prepared.place {
        Place::Cluster(cluster) => cluster.shown(request, &prepared.project, &prepared.source, &prepared.command.line),
        _ => Err(ProjectError::Environment("only a launch with --backend kubernetes has a Job to show".to_owned())),
    }
}

/// Launches a project and waits for its end.
///
/// # Errors
/// Whatever hinders the command from being started; a command that fails is no error. [`ProjectError::Record`] if the
/// store refuses.
pub fn launch<R: Record>(request: &Request, record: &mut R, download: Download<'_>, say: Say<'_>) -> Result<Ended> {
    let mut stop = Stop::catch().map_err(|source| io_error(Path::new("signals"), source))?;
    let prepared = prepare(request, download, say)?;
    prepared.place.check_reach(record.address().as_deref())?;
    let source = &prepared.source;
    let diff = match &source.checkout {
        Some(checkout) => {
            let reason = |reason| ProjectError::Source { uri: request.uri.clone(), reason };
            Some(git::diff(checkout, PATCH_BYTES_MAX).map_err(reason)?)
        }
        None => None,
    };
    let facts = Facts::new(request, source, prepared.place.kind(), &prepared.command, diff);
    interrupted(&mut stop)?;
    record.begin(&facts, prepared.place.reach(request)).map_err(refused)?;
    let ended = run(request, &facts, &prepared, record, stop, say);
    let is_success = ended.as_ref().is_ok_and(Ended::is_success);
    let closed = record.end(is_success).map_err(refused);
    match (ended, closed) {
        (Ok(ended), Ok(())) => Ok(ended),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), closed) => {
            if let Err(also) = closed {
                say(&also.to_string());
            }
            Err(error)
        }
    }
}

/// From the recorded launch to the end of the command.
fn run<R: Record>(
    request: &Request,
    facts: &Facts,
    prepared: &Prepared,
    record: &mut R,
    stop: Stop,
    say: Say<'_>,
) -> Result<Ended> {
    keep(record, "launch.json", facts.json.as_bytes())?;
    if let Some(Diff { patch, left_out, .. }) = &facts.diff
        && (!patch.is_empty() || !left_out.is_empty())
    {
        keep(record, "changes.patch", patch)?;
    }
    if let Some(tag) = prepared.place.tag() {
        record.tag("mlflow.project.env", tag).map_err(refused)?;
    }
    let ended = match &prepared.place {
        Place::Shell { recipe, .. } => place::shell(request, prepared, recipe.as_ref(), record, stop, say)?,
        Place::Container(container) => container.run(request, prepared, record, stop, say)?,
        Place::Cluster(cluster) => cluster.run(request, prepared, record, stop, say)?,
    };
    keep(record, "output.txt", &ended.output)?;
    let datasets = record.datasets().map_err(refused)?;
    keep(record, "end.json", facts::end_json(request, &ended, &datasets).as_bytes())?;
    Ok(ended)
}

/// What makes the environment of this launch: what was installed before, if it repeats a launch, else the project's file.
fn recipe(request: &Request, manager: Manager, project: &Project) -> Result<Option<Recipe>> {
    match request.again.as_ref().and_then(|again| again.lock.as_deref()) {
        Some(lock) if matches!(manager, Manager::Virtualenv | Manager::Uv) => {
            Recipe::of_list(manager == Manager::Uv, lock).map(Some)
        }
        _ => Recipe::of(manager, project),
    }
}

fn keep<R: Record>(record: &mut R, name: &str, bytes: &[u8]) -> Result<()> {
    record.keep(name, bytes).map_err(refused)
}

fn io_error(path: &Path, source: std::io::Error) -> ProjectError {
    ProjectError::Io { path: path.to_owned(), source }
}

fn refused(error: impl Display) -> ProjectError {
    ProjectError::Record(error.to_string())
}

fn interrupted(stop: &mut Stop) -> Result<()> {
    match stop.came() {
        Some(signal) => Err(ProjectError::Interrupted { signal }),
        None => Ok(()),
    }
}
