//! `runlode run URI`
//!
//! ```text
//! mod          the options of `mlflow run`, and what is printed at the end
//!   recorder   in a store     serving  on loopback, for commands without our wheel     apart  for a container
//!   remote     in a server    http     its calls
//!   download   artifacts of runs, files over HTTP
//!   plugin     other backends: the installed mlflow
//! ```

mod apart;
mod artifacts;
mod download;
mod http;
mod plugin;
mod recorder;
mod remote;
mod serving;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use runlode::mlflow::EntityName;
use runlode::{LocalStore, Options, Store};
use runlode_projects::environment::Manager;
use runlode_projects::kubernetes::Config;
use runlode_projects::launch::Ended;
use runlode_projects::launcher::{Backend, Record, Request, dry_run, launch};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::output::{Output, note};
use crate::{Answer, find, open};
use download::Runs;
use recorder::Recorder;
use remote::Remote;

/// Memory of the store that a launch holds.
const MEMORY_BYTES: u64 = 128 << 20;
/// The folder of a run's artifacts that a launch writes to.
const LAUNCH_DIR: &str = "launch";

/// Arguments of `run`, named as in `mlflow run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Folder, zip file, git URL or runs:/RUN/PATH of the project; `#subfolder` names a folder in it
    uri: String,
    /// Entry point, or a script of the project that ends in .py or .sh
    #[arg(long, short, default_value = "main")]
    entry_point: String,
    /// Branch, tag or commit of a git project
    #[arg(long, short, value_name = "VERSION")]
    version: Option<String>,
    /// A parameter; repeatable
    #[arg(long = "param-list", short = 'P', value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// What makes the environment [default: by the project's file]
    #[arg(long, value_enum)]
    env_manager: Option<EnvManager>,
    #[command(flatten)]
    recording: Recording,
    /// Where the command runs: local, kubernetes, or a plugin of the installed MLflow
    #[arg(long, short, default_value = "local")]
    backend: String,
    /// Configuration of the backend: a file that ends in .json, or JSON
    #[arg(long, short = 'c', value_name = "FILE|JSON")]
    backend_config: Option<String>,
    /// An option of the container engine, without dashes; repeatable
    #[arg(long = "docker-args", short = 'A', value_name = "NAME[=VALUE]", value_parser = option)]
    docker_args: Vec<(String, Option<String>)>,
    /// Copy the project into a new image on that of docker_env
    #[arg(long)]
    build_image: bool,
    /// With --backend kubernetes: print the Job and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Where values of type `path` are downloaded to
    #[arg(long, value_name = "DIR")]
    storage_dir: Option<PathBuf>,
}

/// Where and as what a launch is recorded.
#[derive(Debug, Args)]
pub(super) struct Recording {
    /// Where the run is recorded: a store, or the URL of an MLflow server [default: MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "STORE|URL")]
    store: Option<String>,
    /// Experiment of the run, by name; made if there is none
    #[arg(long, conflicts_with = "experiment_id")]
    experiment_name: Option<String>,
    /// Experiment of the run, by id
    #[arg(long)]
    experiment_id: Option<String>,
    /// An existing run that is continued
    #[arg(long)]
    run_id: Option<String>,
    /// Name of the run
    #[arg(long)]
    run_name: Option<String>,
}

impl Recording {
    /// Records in this experiment, if no other is named.
    pub(super) fn or_in(mut self, experiment: String) -> Self {
        if self.experiment_name.is_none() && self.experiment_id.is_none() {
            self.experiment_id = Some(experiment);
        }
        self
    }

    /// The name of the experiment, or else its id: of the arguments, then of the environment.
    fn experiment(&self) -> Result<String, String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (&self.experiment_name, &self.experiment_id) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(id)) => Err(id.clone()),
            (None, None) => match (variable("MLFLOW_EXPERIMENT_NAME"), variable("MLFLOW_EXPERIMENT_ID")) {
                (Some(name), _) => Ok(name),
                (None, id) => Err(id.unwrap_or_else(|| "0".to_owned())),
            },
        }
    }

    /// Where it is recorded.
    pub(super) fn target(&self) -> Result<Target> {
        let hint = "give --store STORE, or set MLFLOW_TRACKING_URI to runlode:///path or to the URL of a server";
        match (&self.store, std::env::var("MLFLOW_TRACKING_URI").unwrap_or_default()) {
            (Some(text), _) => Target::parse(text).map_err(Error::usage),
            (None, uri) if uri.is_empty() => Err(Error::usage(format!("where should the run be recorded? {hint}"))),
            (None, uri) => match Target::parse(&uri) {
                // A path here is a store of MLflow's own.
                Ok(target) if uri.contains("://") => Ok(target),
                _ => Err(Error::usage(format!("MLFLOW_TRACKING_URI is {uri}, which is no Runlode store; {hint}"))),
            },
        }
    }
}

/// Where a launch is recorded.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A store of this machine.
    Store(PathBuf),
    /// An MLflow server.
    Server(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        match text.starts_with("http://") || text.starts_with("https://") {
            true => Ok(Self::Server(text.to_owned())),
            false => find::store_path(text).map(Self::Store),
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EnvManager {
    /// A virtual environment by `python -m venv` and pip
    Virtualenv,
    /// A virtual environment by uv
    Uv,
    /// An environment by conda, mamba or micromamba
    Conda,
    /// None: the environment of this shell
    Local,
}

impl EnvManager {
    fn name(self) -> &'static str {
        match self {
            Self::Virtualenv => "virtualenv",
            Self::Uv => "uv",
            Self::Conda => "conda",
            Self::Local => "local",
        }
    }
}

/// Splits `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("write NAME=VALUE".to_owned()),
    }
}

fn option(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
    match name.is_empty() || name.starts_with('-') {
        true => Err("write NAME or NAME=VALUE, without dashes".to_owned()),
        false => Ok((name.to_owned(), value)),
    }
}

/// Refuses a name that is given twice.
pub(super) fn check_once<T>(letter: char, given: &[(String, T)]) -> Result<()> {
    let mut names: Vec<_> = given.iter().map(|(name, _)| name).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(Error::usage(format!("-{letter} {} is given twice", twice[0]))),
        None => Ok(()),
    }
}

/// The variables by which a command finds its run.
fn variables(run: String, uri: String, experiment: String) -> Vec<(String, String)> {
    vec![
        ("MLFLOW_RUN_ID".to_owned(), run),
        ("MLFLOW_TRACKING_URI".to_owned(), uri),
        ("MLFLOW_EXPERIMENT_ID".to_owned(), experiment),
    ]
}

impl Run {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        check_once('P', &self.parameters)?;
        check_once('A', &self.docker_args)?;
        let config = self.config()?;
        let backend = match self.backend.as_str() {
            "local" => Backend::Local,
            "kubernetes" => match config {
                Some(config) => {
                    Backend::Kubernetes(Config::parse(&config).map_err(|error| Error::usage(error.to_string()))?)
                }
                None => return Err(Error::usage("--backend kubernetes needs --backend-config")),
            },
            plugin => {
                let status = plugin::run(plugin, &self.recording.target()?, &self.as_arguments())?;
                return Ok(if status.success() { Answer::Yes } else { Answer::No });
            }
        };
        let request = Request {
            uri: self.uri.clone(),
            entry_point: self.entry_point.clone(),
            parameters: self.parameters.clone(),
            version: self.version.clone(),
            manager: self.env_manager.map(|manager| match manager {
                EnvManager::Virtualenv => Manager::Virtualenv,
                EnvManager::Uv => Manager::Uv,
                EnvManager::Conda => Manager::Conda,
                EnvManager::Local => Manager::Local,
            }),
            storage_dir: self.storage_dir.clone(),
            parent: parent(&self.recording),
            user: runlode::os_user(),
            backend,
            container_options: self.docker_args.clone(),
            builds_image: self.build_image,
            again: None,
        };
        if self.dry_run {
            return show(&request, self.recording.target().ok(), output);
        }
        execute(&request, &self.recording, output)
    }

    fn config(&self) -> Result<Option<Value>> {
        let Some(given) = &self.backend_config else { return Ok(None) };
        let wrong = |error: serde_json::Error| Error::usage(format!("--backend-config {given}: no JSON: {error}"));
        if Path::new(given).extension().is_none_or(|extension| extension != "json") {
            return serde_json::from_str(given).map(Some).map_err(wrong);
        }
        let text =
            std::fs::read_to_string(given).map_err(|source| Error::io(format!("cannot read {given}"), source))?;
        serde_json::from_str(&text).map(Some).map_err(wrong)
    }

    /// The arguments of `mlflow run` that mean the same.
    fn as_arguments(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut push = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                out.extend([format!("--{name}"), value.to_owned()]);
            }
        };
        push("entry-point", Some(&self.entry_point));
        push("version", self.version.as_deref());
        push("env-manager", self.env_manager.map(EnvManager::name));
        push("backend", Some(&self.backend));
        push("backend-config", self.backend_config.as_deref());
        push("experiment-name", self.recording.experiment_name.as_deref());
        push("experiment-id", self.recording.experiment_id.as_deref());
        push("run-id", self.recording.run_id.as_deref());
        push("run-name", self.recording.run_name.as_deref());
        push("storage-dir", self.storage_dir.as_ref().and_then(|path| path.to_str()));
        for (name, value) in &self.parameters {
            push("param-list", Some(&format!("{name}={value}")));
        }
        for (name, value) in &self.docker_args {
            push("docker-args", Some(&value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))));
        }
        if self.build_image {
            out.push("--build-image".to_owned());
        }
        // After all options: a URI may begin with a dash.
        out.extend(["--".to_owned(), self.uri.clone()]);
        out
    }
}

/// The run that this process belongs to, if it is the command of another launch.
pub(super) fn parent(recording: &Recording) -> Option<String> {
    let variable = || std::env::var("MLFLOW_RUN_ID").ok().filter(|id| !id.is_empty());
    recording.run_id.is_none().then(variable).flatten()
}

/// Prints the Job of a launch.
fn show(request: &Request, target: Option<Target>, output: &mut Output) -> Result<Answer> {
    let no_run = |uri: &str, path: &Path| match &target {
        Some(Target::Server(server)) => download::download(&Runs::Server(server), uri, path),
        Some(Target::Store(folder)) => {
            let store = open::to_serve(folder, MEMORY_BYTES).map_err(|error| error.to_string())?;
            let done = download::download(&Runs::Store(&store), uri, path);
            store.close().map_err(|error| error.to_string())?;
            done
        }
        None => Err(format!("{uri} is in no store that is named")),
    };
    match dry_run(request, &no_run, &|what| note(what)) {
        Ok(job) => {
            output.document(&job)?;
            Ok(Answer::Yes)
        }
        Err(error) => {
            note(&error);
            Ok(Answer::No)
        }
    }
}

/// Launches, and prints how it ended.
pub(super) fn execute(request: &Request, recording: &Recording, output: &mut Output) -> Result<Answer> {
    match recording.target()? {
        Target::Store(path) => {
            // A process of its own, which leases its run: that of a killed launcher is lost.
            let options = LocalStore::options(&path).memory_bytes(MEMORY_BYTES);
            let store = Options::from(options).offline(false).open()?;
            let mut recorder = Recorder::new(&store, &path, recording)?;
            let ended = launched(request, &mut recorder, &Runs::Store(&store));
            let run = recorder.run_id();
            drop(recorder);
            store.close()?;
            print(ended, run, output)
        }
        Target::Server(uri) => {
            let mut remote = Remote::new(&uri, recording)?;
            let ended = launched(request, &mut remote, &Runs::Server(&uri));
            print(ended, remote.run_id(), output)
        }
    }
}

fn launched<R: Record>(request: &Request, record: &mut R, runs: &Runs<'_>) -> runlode_projects::Result<Ended> {
    launch(request, record, &|uri, path| download::download(runs, uri, path), &|what| note(what))
}

fn print(ended: runlode_projects::Result<Ended>, run: Option<String>, output: &mut Output) -> Result<Answer> {
    let ended = match ended {
        Ok(ended) => ended,
        // As `mlflow run`: a launch that is refused or fails is the answer no.
        Err(error) => {
            note(&error);
            if let Some(run) = run {
                note(format!("run {run} failed"));
            }
            return Ok(Answer::No);
        }
    };
    let run = run.unwrap_or_default();
    if output.is_json() {
        output.document(&json!({
            "run_id": run,
            "status": if ended.is_success() { "FINISHED" } else { "FAILED" },
            "exit_code": ended.code,
            "signal": ended.signal,
            "duration_ms": ended.duration_ms,
            "peak_memory_bytes": ended.peak_memory_bytes,
        }))?;
    } else {
        let how = match (ended.is_success(), ended.code, ended.signal.or(ended.interrupted_by)) {
            (true, ..) => "succeeded".to_owned(),
            (false, Some(code), None) => format!("failed: the command exited with {code}"),
            (false, _, Some(signal)) => format!("failed: it was ended by signal {signal}"),
            (false, None, None) => "failed".to_owned(),
        };
        note(format!("run {run} {how}"));
    }
    Ok(if ended.is_success() { Answer::Yes } else { Answer::No })
}

/// A launch that was recorded.
pub(super) struct Recorded {
    /// Id of its run.
    pub(super) run: String,
    /// Id of the run's experiment.
    pub(super) experiment: String,
    pub(super) launch: runlode_projects::rerun::Earlier,
}

/// The launch that a run recorded, as far as it is kept. `run` is a name, an id, or the beginning of an id.
pub(super) fn earlier(target: &Target, run: &str) -> Result<Recorded> {
    let of = |runs: &Runs<'_>, id: String| {
        let kept = |name: &str| -> Result<Option<Vec<u8>>> { runs.kept(&id, name) };
        let text = |name: &str| -> Result<Option<String>> {
            Ok(kept(name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let Some(launch) = text("launch.json")? else {
            return Err(Error::usage(format!("run {id} was not launched by runlode: it has no launch/launch.json")));
        };
        let (end, lock, patch) = (text("end.json")?, text("environment.txt")?, kept("changes.patch")?);
        let launch = runlode_projects::rerun::Earlier::read(&launch, end.as_deref(), lock, patch)
            .map_err(|error| Error::Source(error.to_string()))?;
        let experiment = runs.experiment(&id)?;
        Ok(Recorded { run: id, experiment, launch })
    };
    match target {
        Target::Server(uri) => of(&Runs::Server(uri), run.to_owned()),
        Target::Store(path) => {
            let store: Store = open::to_change(path)?;
            let found = match store.mlflow().find(run)? {
                EntityName::Run(id) => of(&Runs::Store(&store), id),
                _ => Err(Error::usage(format!("{run} is no run; `runlode runs STORE --launch` lists launches"))),
            };
            store.close()?;
            found
        }
    }
}
