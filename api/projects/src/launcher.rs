//! A whole launch: source, file, command, record, environment, child, end.
//!
//! Order, and what a failure leaves:
//! 1. The source is found, the file read, the command made. A failure here makes no run.
//! 2. [`Record::begin`] records the launch before it starts.
//! 3. The environment is found or made, the child runs. A failure from here on ends the run as failed.
//!
//! A signal that comes before the child runs stops the launch between two steps.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::command::command;
use crate::environment::{self, Made, Manager, PythonEnv};
use crate::error::{ProjectError, Result};
use crate::file::{Environment, Project};
use crate::git::{self, Diff};
use crate::launch::{self, Ended, Stop};
use crate::source::Source;

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
}

/// The facts of a launch, known before it starts.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Tags of the run, as MLflow sets them.
    pub tags: Vec<(String, String)>,
    /// Parameters of the run, quoted for a shell as MLflow records them.
    pub params: Vec<(String, String)>,
    /// All of it as JSON, with the raw values, the command and the host.
    pub json: String,
    /// What differs from the commit, if the tree was changed.
    pub diff: Option<Diff>,
}

/// Where launches are recorded.
pub trait Record {
    /// A refusal.
    type Error: Display;

    /// Makes the run of the launch, or takes the one that was named.
    ///
    /// # Errors
    /// Those of the store.
    fn begin(&mut self, facts: &Facts) -> Result<(), Self::Error>;

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

    /// The variables by which the child finds its run; `environment` is its Python environment, none is the launcher's.
    ///
    /// # Errors
    /// Those of the store.
    fn variables(&mut self, environment: Option<&Path>) -> Result<Vec<(String, String)>, Self::Error>;

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

/// Launches a project and waits for its end.
///
/// # Errors
/// Whatever hinders the child from being started; a child that fails is no error. [`ProjectError::Record`] if the store
/// refuses.
pub fn launch<R: Record>(request: &Request, record: &mut R, download: Download<'_>, say: Say<'_>) -> Result<Ended> {
    let mut stop = Stop::catch().map_err(|source| io_error(Path::new("signals"), source))?;
    let source = Source::find(&request.uri, request.version.as_deref(), download)?;
    let project = Project::load(&source.folder)?;
    project.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let entry = project.entry_point(&request.entry_point)?;
    let manager = manager(request.manager, &project)?;
    let python = python_env(manager, &project)?;
    python.iter().flat_map(|env| &env.warnings).for_each(|warning| say(&format!("warning: {warning}")));
    let storage = storage(request.storage_dir.as_deref())?;
    let fetch = |uri: &str, position: usize| {
        let folder = storage.path().join(format!("param_{position}"));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let name = uri.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("value");
        let path = folder.join(name);
        download(uri, &path).map(|()| path)
    };
    let command = command(&project, &entry, &request.parameters, &fetch)?;
    let diff = match &source.checkout {
        Some(checkout) if checkout.is_dirty => {
            let reason = |reason| ProjectError::Source { uri: request.uri.clone(), reason };
            Some(git::diff(&checkout.root, PATCH_BYTES_MAX).map_err(reason)?)
        }
        _ => None,
    };
    let facts = facts(request, &source, manager, &command, diff);
    interrupted(&mut stop)?;
    record.begin(&facts).map_err(refused)?;
    let ended = run(request, &facts, &project, manager, python.as_ref(), &command.line, record, stop, say);
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

/// From the recorded launch to the end of the child.
#[expect(clippy::too_many_arguments, reason = "the steps of one launch, called once")]
fn run<R: Record>(
    request: &Request,
    facts: &Facts,
    project: &Project,
    manager: Manager,
    python: Option<&PythonEnv>,
    line: &str,
    record: &mut R,
    mut stop: Stop,
    say: Say<'_>,
) -> Result<Ended> {
    record.keep("launch.json", facts.json.as_bytes()).map_err(refused)?;
    if let Some(diff) = &facts.diff {
        record.keep("changes.patch", &diff.patch).map_err(refused)?;
    }
    if let Some(tag) = manager.tag() {
        record.tag("mlflow.project.env", tag).map_err(refused)?;
    }
    let made: Option<Made> = match python {
        None => None,
        Some(env) => {
            let made = environment::make(manager, env, &project.root, &environment::root())?;
            if made.is_new {
                say(&format!("made the environment {}", made.folder.display()));
            }
            record.keep("environment.txt", made.lock.as_bytes()).map_err(refused)?;
            Some(made)
        }
    };
    record.tag("mlflow.project.backend", "local").map_err(refused)?;
    let mut variables = record.variables(made.as_ref().map(|made| made.folder.as_path())).map_err(refused)?;
    if std::env::var_os("PYTHONUNBUFFERED").is_none() {
        // Otherwise Python keeps lines back, since its output is no terminal.
        variables.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
    }
    let line = match &made {
        Some(made) => format!("{} && {line}", made.activate),
        None => line.to_owned(),
    };
    interrupted(&mut stop)?;
    let ended =
        launch::run(&line, &project.root, &variables, stop).map_err(|source| io_error(Path::new("bash"), source))?;
    record.keep("output.txt", &ended.output).map_err(refused)?;
    record.keep("end.json", end_json(request, &ended).as_bytes()).map_err(refused)?;
    Ok(ended)
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

fn manager(asked: Option<Manager>, project: &Project) -> Result<Manager> {
    match (&project.environment, asked) {
        (Environment::Docker(_), _) => Err(ProjectError::Environment(
            "the project runs in a container (docker_env), and runlode run does not start containers yet; launch it with mlflow run"
                .to_owned(),
        )),
        (Environment::Python(Some(file)), Some(Manager::Conda)) => Err(ProjectError::Environment(format!(
            "{} is no environment of conda; launch with --env-manager virtualenv, uv or local",
            file.display()
        ))),
        (Environment::Conda(_), None) => Ok(Manager::Conda),
        (Environment::Python(_), None) => Ok(Manager::Virtualenv),
        (_, Some(manager)) => Ok(manager),
    }
}

fn python_env(manager: Manager, project: &Project) -> Result<Option<PythonEnv>> {
    match (manager, &project.environment) {
        (Manager::Local, _) => Ok(None),
        (Manager::Conda, _) => Err(ProjectError::Environment(
            "runlode run makes no environments of conda yet; launch with --env-manager virtualenv, uv or local"
                .to_owned(),
        )),
        (_, Environment::Python(Some(file))) => PythonEnv::read(file).map(Some),
        (_, Environment::Conda(file)) => PythonEnv::of_conda(file).map(Some),
        (_, Environment::Python(None) | Environment::Docker(_)) => Ok(Some(PythonEnv::default())),
    }
}

/// The folder for downloads; the temporary one goes when the launch has ended.
enum Storage {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Storage {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}

fn storage(asked: Option<&Path>) -> Result<Storage> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("runlode-launch-");
        builder
    };
    match asked {
        None => {
            let folder = builder().tempdir().map_err(|source| io_error(&std::env::temp_dir(), source))?;
            Ok(Storage::Temporary(folder))
        }
        Some(path) => {
            std::fs::create_dir_all(path).map_err(|source| io_error(path, source))?;
            let folder = builder().tempdir_in(path).map_err(|source| io_error(path, source))?;
            Ok(Storage::Kept(folder.keep()))
        }
    }
}

fn facts(
    request: &Request,
    source: &Source,
    manager: Manager,
    command: &crate::command::Command,
    diff: Option<Diff>,
) -> Facts {
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut tag = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            tags.push((key.to_owned(), value));
        }
    };
    let checkout = source.checkout.as_ref();
    tag("mlflow.user", Some(request.user.clone()));
    tag("mlflow.source.name", Some(source.name.clone()));
    tag("mlflow.source.type", Some("PROJECT".to_owned()));
    tag("mlflow.project.entryPoint", Some(request.entry_point.clone()));
    tag("mlflow.source.git.commit", checkout.map(git::Checkout::recorded_commit));
    tag("mlflow.parentRunId", request.parent.clone());
    tag("mlflow.source.git.repoURL", checkout.and_then(|checkout| checkout.url.clone()));
    tag("mlflow.source.git.branch", source.branch.clone());
    let as_map = |pairs: &[(String, String)]| {
        let entries = pairs.iter().map(|(key, value)| (key.clone(), serde_json::Value::from(value.as_str())));
        serde_json::Value::Object(entries.collect())
    };
    let json = serde_json::json!({
        "uri": git::without_login(&request.uri),
        "version": request.version,
        "entry_point": request.entry_point,
        "command": command.line,
        "parameters": as_map(&command.raw),
        "environment": manager.tag().unwrap_or("local"),
        "commit": checkout.map(|checkout| checkout.commit.clone()),
        "is_dirty": checkout.is_some_and(|checkout| checkout.is_dirty),
        "left_out": diff.as_ref().map(|diff| diff.left_out.clone()),
        "untracked": diff.as_ref().map(|diff| diff.untracked.clone()),
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "user": request.user,
        "parent": request.parent,
        "started_ms": now_ms(),
    });
    Facts { tags, params: command.recorded.clone(), json: format!("{json:#}\n"), diff }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn end_json(request: &Request, ended: &Ended) -> String {
    let json = serde_json::json!({
        "entry_point": request.entry_point,
        "exit_code": ended.code,
        "signal": ended.signal,
        "interrupted_by": ended.interrupted_by,
        "duration_ms": ended.duration_ms,
        "peak_memory_bytes": ended.peak_memory_bytes,
        "ended_ms": now_ms(),
    });
    format!("{json:#}\n")
}
