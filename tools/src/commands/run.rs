//! `runlode run URI`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runlode::{Experiment, RunSpec, RunStatus, Store};
use runlode_projects::environment::Manager;
use runlode_projects::launcher::{Facts, Record, Request, launch};
use runlode_rest::{Door, ServeOptions, Server};
use serde_json::json;

use crate::error::{Error, Result};
use crate::output::{Output, note};
use crate::{Answer, find, open};

/// Memory of the store that a launch holds.
const MEMORY_BYTES: u64 = 128 << 20;
/// Threads for calls of the child.
const THREADS_MAX: usize = 16;
/// The largest file that is downloaded.
const DOWNLOAD_BYTES_MAX: u64 = 16 << 30;

/// Arguments of `run`, named as in `mlflow run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Folder, zip file or git URL of the project; `#subfolder` names a folder in it
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
    /// Where the run is recorded [default: MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "STORE", value_parser = find::store_path)]
    store: Option<PathBuf>,
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
    /// Where values of type `path` are downloaded to
    #[arg(long, value_name = "DIR")]
    storage_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EnvManager {
    /// A virtual environment by `python -m venv` and pip
    Virtualenv,
    /// A virtual environment by uv
    Uv,
    /// None: the environment of this shell
    Local,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err("write NAME=VALUE".to_owned()),
    }
}

impl Run {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let mut names: Vec<_> = self.parameters.iter().map(|(name, _)| name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::usage(format!("-P {} is given twice", twice[0])));
        }
        let path = match &self.store {
            Some(path) => path.clone(),
            None => store_of_environment()?,
        };
        let store = open::to_serve(&path, MEMORY_BYTES)?;
        let mut recorder = Recorder::new(&store, &path, &self)?;
        let request = Request {
            uri: self.uri.clone(),
            entry_point: self.entry_point.clone(),
            parameters: self.parameters.clone(),
            version: self.version.clone(),
            manager: self.env_manager.map(|manager| match manager {
                EnvManager::Virtualenv => Manager::Virtualenv,
                EnvManager::Uv => Manager::Uv,
                EnvManager::Local => Manager::Local,
            }),
            storage_dir: self.storage_dir.clone(),
            parent: self.run_id.is_none().then(|| std::env::var("MLFLOW_RUN_ID").ok()).flatten(),
            user: runlode::os_user(),
        };
        let launched = launch(&request, &mut recorder, &download, &|what| note(what));
        let run_id = recorder.run.as_ref().map(|run| run.id().to_string());
        drop(recorder);
        let closed = store.close();
        let ended = match launched {
            Ok(ended) => ended,
            // As `mlflow run`: a launch that is refused or fails is the answer no.
            Err(error) => {
                note(&error);
                if let Some(run_id) = run_id {
                    note(format!("run {run_id} failed"));
                }
                closed?;
                return Ok(Answer::No);
            }
        };
        closed?;
        let run_id = run_id.unwrap_or_default();
        if output.is_json() {
            output.document(&json!({
                "run_id": run_id,
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
            note(format!("run {run_id} {how}"));
        }
        Ok(if ended.is_success() { Answer::Yes } else { Answer::No })
    }
}

fn store_of_environment() -> Result<PathBuf> {
    let uri = std::env::var("MLFLOW_TRACKING_URI").unwrap_or_default();
    let hint = "give --store STORE, or set MLFLOW_TRACKING_URI to runlode:///path";
    if uri.is_empty() {
        return Err(Error::usage(format!("where should the run be recorded? {hint}")));
    }
    match uri.starts_with("runlode:") {
        true => find::store_path(&uri).map_err(Error::usage),
        false => Err(Error::usage(format!("MLFLOW_TRACKING_URI is {uri}, which is no Runlode store; {hint}"))),
    }
}

fn download(url: &str, path: &Path) -> Result<(), String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("{url}: only http and https URLs are downloaded"));
    }
    let mut answer = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    let mut file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut body = answer.body_mut().with_config().limit(DOWNLOAD_BYTES_MAX).reader();
    std::io::copy(&mut body, &mut file).map(drop).map_err(|error| format!("{url}: {error}"))
}

/// Records a launch in a store, and lets the child reach it.
struct Recorder<'a> {
    store: &'a Store,
    /// Absolute.
    path: PathBuf,
    experiment: Experiment,
    run: Option<runlode::Run>,
    name: Option<String>,
    /// Serves the store to a child that has no wheel of ours.
    server: Option<Serving>,
}

struct Serving {
    address: std::net::SocketAddr,
    /// Dropped with the server in it.
    _runtime: tokio::runtime::Runtime,
}

impl<'a> Recorder<'a> {
    fn new(store: &'a Store, path: &Path, arguments: &Run) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|source| Error::io(path.display().to_string(), source))?;
        let named = arguments.experiment_name.clone().or_else(|| match arguments.experiment_id {
            None => std::env::var("MLFLOW_EXPERIMENT_NAME").ok().filter(|name| !name.is_empty()),
            Some(_) => None,
        });
        let id = arguments.experiment_id.clone().or_else(|| std::env::var("MLFLOW_EXPERIMENT_ID").ok());
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| "0".to_owned());
        let run = match &arguments.run_id {
            None => None,
            Some(run_id) => {
                let id = run_id.parse().map_err(|_| Error::usage(format!("{run_id:?} is no id of a run")))?;
                let run = store.run(id)?;
                run.info()?;
                Some(run)
            }
        };
        let experiment = match (&run, named) {
            (Some(run), _) => store.experiment_by_id(run.info()?.experiment)?,
            (None, Some(name)) => store.experiment(&name)?,
            (None, None) => {
                let id = id.parse().map_err(|_| Error::usage(format!("{id:?} is no id of an experiment")))?;
                let experiment = store.experiment_by_id(runlode::ExperimentId(id))?;
                experiment.info()?;
                experiment
            }
        };
        Ok(Self { store, path, experiment, run, name: arguments.run_name.clone(), server: None })
    }

    fn run(&self) -> Result<&runlode::Run> {
        self.run.as_ref().ok_or_else(|| Error::usage("no run was begun"))
    }

    fn serve(&mut self) -> Result<std::net::SocketAddr> {
        if let Some(server) = &self.server {
            return Ok(server.address);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(THREADS_MAX)
            .enable_all()
            .build()
            .map_err(|source| Error::io("cannot start the threads that serve the child", source))?;
        let options = ServeOptions {
            address: ([127, 0, 0, 1], 0).into(),
            serve_ui: false,
            // The child writes artifacts where the store has them, as it would in process.
            serve_artifacts: false,
            ..ServeOptions::default()
        };
        let door = Arc::new(Door::of(self.store, options)?);
        let server = runtime.block_on(Server::bind(door)).map_err(|error| Error::usage(error.to_string()))?;
        let address = server.address();
        runtime.spawn(server.run(std::future::pending()));
        self.server = Some(Serving { address, _runtime: runtime });
        Ok(address)
    }
}

impl Record for Recorder<'_> {
    type Error = Error;

    fn begin(&mut self, facts: &Facts) -> Result<()> {
        if self.run.is_some() {
            let run = self.run()?;
            run.set_status(RunStatus::Running)?;
            return Ok(());
        }
        let mut spec = self.name.as_deref().map_or_else(RunSpec::new, RunSpec::named);
        for (key, value) in &facts.tags {
            spec = spec.tag(key, value);
        }
        if let Some((_, user)) = facts.tags.iter().find(|(key, _)| key == "mlflow.user") {
            spec = spec.user(user);
        }
        let run = self.run.insert(self.experiment.create_run(spec)?);
        let params: Vec<_> = facts.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if !params.is_empty()
            && let Err(error) = run.log_params(&params)
        {
            run.end(RunStatus::Failed)?;
            return Err(error.into());
        }
        Ok(())
    }

    fn tag(&mut self, key: &str, value: &str) -> Result<()> {
        Ok(self.run()?.set_tags(&[(key, value)])?)
    }

    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.run()?.artifact_place()?;
        let folder = match place.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None if Path::new(&place).is_absolute() => PathBuf::from(&place),
            // A place that this process cannot write to as files.
            None => {
                note(format!("{name} is not kept: artifacts of the run are at {place}"));
                return Ok(());
            }
        };
        let folder = folder.join("launch");
        let path = folder.join(name);
        let io = |source| Error::io(format!("cannot write {}", path.display()), source);
        std::fs::create_dir_all(&folder).map_err(io)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.persist(&path).map_err(|error| io(error.error))?;
        Ok(())
    }

    fn variables(&mut self, environment: Option<&Path>) -> Result<Vec<(String, String)>> {
        let uri = match has_wheel(environment) {
            true => format!("runlode://{}", self.path.display()),
            false => format!("http://{}", self.serve()?),
        };
        Ok(vec![
            ("MLFLOW_RUN_ID".to_owned(), self.run()?.id().to_string()),
            ("MLFLOW_TRACKING_URI".to_owned(), uri),
            ("MLFLOW_EXPERIMENT_ID".to_owned(), self.experiment.id().0.to_string()),
        ])
    }

    fn end(&mut self, is_success: bool) -> Result<()> {
        let status = if is_success { RunStatus::Finished } else { RunStatus::Failed };
        let run = self.run()?;
        // The child may have ended the run itself. How its process ended counts more, as with `mlflow run`.
        match run.end(status)? {
            runlode::Ended::Before(before) if before != status => run.set_status(status)?,
            _ => {}
        }
        Ok(())
    }
}

/// Whether the Python of an environment, or the first one of the search path, has our wheel installed.
fn has_wheel(environment: Option<&Path>) -> bool {
    let prefix = match environment {
        Some(folder) => Some(folder.to_owned()),
        None => std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).or_else(|| {
            let path = std::env::var_os("PATH")?;
            let python =
                std::env::split_paths(&path).map(|folder| folder.join("python")).find(|python| python.is_file())?;
            // A link of a virtual environment is not followed: its packages lie beside it.
            Some(python.parent()?.parent()?.to_owned())
        }),
    };
    let names = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(lib) = prefix.map(|prefix| prefix.join("lib")) else { return false };
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("runlode-") && name.ends_with(".dist-info")
    };
    names(lib).any(|python| names(python.join("site-packages")).any(|path| is_ours(&path)))
}
