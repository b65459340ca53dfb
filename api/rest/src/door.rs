//! What every handler gets: the store with MLflow's rules, and the server's settings.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use runlode::mlflow::{
    ARTIFACTS_DIR, ApiError, ApiResult, Call, Creations, Settings, Waiting, absolute_place, working_directory,
};
use runlode::shared::MlflowCalls;
use runlode::{Durability, LocalStore, Store};
use serde::Serialize;
use tokio::sync::watch;

use crate::answer::{Answer, error_response};
use crate::artifacts::Artifacts;
use crate::body::Bodies;
use crate::guard::Guard;
use crate::kept_keys::KeptKeys;
use crate::long::{LongAnswers, Writer};
use crate::memory::{Memory, Reading};
use crate::pages::Pages;
use crate::reader::{StoreReader, met_a_change};
use crate::request::Request;

/// How often a call is made again whose answer was cut short.
const ANSWERS_CUT_SHORT_MAX: usize = 4;

/// How to serve a store. Options are named as in MLflow if it has them.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to listen on. Default: 127.0.0.1:5000.
    pub address: SocketAddr,
    /// Whether to listen on other than loopback addresses, without users and passwords. Default: false.
    pub allow_unauthenticated: bool,
    /// Prefix of default artifact locations, before `/EXPERIMENT`. Default: `mlflow-artifacts:/`, or the destination
    /// itself if artifacts are not served.
    pub default_artifact_root: Option<String>,
    /// Where the artifact proxy keeps files: a folder, a `file:` or an object store URI. Default: `artifacts` in the
    /// store.
    pub artifacts_destination: Option<String>,
    /// More folders and buckets in which artifacts may be listed and read, besides the destination, the default root
    /// and the store's own folder: for experiments with an `artifact_location` of their own. Default: none.
    pub artifact_roots: Vec<String>,
    /// Whether this server proxies artifacts. Default: true.
    pub serve_artifacts: bool,
    /// Prefix of every path, e.g. `/mlflow`. Default: none.
    pub static_prefix: String,
    /// Hosts to accept: names and addresses, with `*` for any part of either. Default: loopback and private addresses.
    pub allowed_hosts: Option<Vec<String>>,
    /// Origins whose pages may write and search, besides loopback ones. Default: none.
    pub cors_allowed_origins: Vec<String>,
    /// Folder of MLflow's web pages (`.../mlflow/server/js/build`). Default: found in an installed mlflow.
    pub ui: Option<PathBuf>,
    /// Whether to serve web pages. Default: true.
    pub serve_ui: bool,
    /// Durability of calls with only metric points. Default: buffered.
    pub metric_durability: Durability,
    /// Whether other stores may send their data (`POST sync`) and ask for their position. Default: false.
    pub allow_sync: bool,
    /// Whether the store was opened only to be read: pages then offer no changes. The store itself refuses them. Default:
    /// false.
    pub read_only: bool,
    /// Memory for requests, in addition to the store's: their bodies, the values parsed from them, and answers. Default:
    /// 96 MiB; at least 48 MiB.
    pub memory_bytes: u64,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 5000)),
            allow_unauthenticated: false,
            default_artifact_root: None,
            artifacts_destination: None,
            artifact_roots: Vec::new(),
            serve_artifacts: true,
            static_prefix: String::new(),
            allowed_hosts: None,
            cors_allowed_origins: Vec::new(),
            ui: None,
            serve_ui: true,
            metric_durability: Durability::Buffered,
            allow_sync: false,
            read_only: false,
            memory_bytes: 96 << 20,
        }
    }
}

/// A served store as seen by one call. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    /// MLflow's calls, whichever process holds the store.
    pub mlflow: MlflowCalls,
    served: Arc<Served>,
}

/// The parts that all calls share.
#[derive(Debug)]
pub struct Served {
    /// How the store is served.
    pub options: ServeOptions,
    pub(crate) creations: Creations,
    pub(crate) guard: Guard,
    pub(crate) artifacts: Artifacts,
    /// Why the artifacts cannot be opened as the options say; then the server does not start.
    pub(crate) artifacts_problem: Option<String>,
    pub(crate) pages: Pages,
    /// The memory that requests share.
    pub(crate) memory: Memory,
    /// The part for request bodies.
    pub(crate) bodies: Bodies,
    /// The part for answers that clients have not taken yet.
    pub(crate) answers: Arc<LongAnswers>,
    /// The store, where it is only read.
    pub(crate) reader: Option<StoreReader>,
    /// Set once the store refuses all writes: the process ends, so that its supervisor restarts it.
    pub(crate) failed: watch::Sender<Option<String>>,
    /// Set once the server stops: streams end.
    pub(crate) stopping: watch::Sender<bool>,
    /// Keys of runs, as they were counted last.
    pub(crate) kept_keys: KeptKeys,
}

impl Door {
    /// Prepares a store for serving, whether this process holds it or another one.
    ///
    /// # Errors
    /// Those of opening the store in a forked child.
    pub fn of(store: &Store, options: ServeOptions) -> runlode::Result<Self> {
        Self::prepare(store.path(), options, |settings| store.serving(settings))
    }

    /// Prepares an engine that this process opened for serving. Other processes cannot open the store meanwhile.
    pub fn new(store: LocalStore, options: ServeOptions) -> Self {
        let path = store.path().to_path_buf();
        match Self::prepare(&path, options, |settings| Ok::<_, Infallible>(MlflowCalls::alone(store, settings))) {
            Ok(door) => door,
            Err(never) => match never {},
        }
    }

    /// Prepares a store that is only read, whoever writes it: nothing of it is changed, and changes are refused.
    ///
    /// # Errors
    /// Those of [`runlode::Options::open_to_read`].
    ///
    /// ```
    /// use runlode_rest::{Door, ServeOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// let door = Door::to_read(&path, ServeOptions::default())?;
    /// assert!(door.mlflow.create_experiment("digits", None, &[]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_read(path: &Path, options: ServeOptions) -> runlode::Result<Self> {
        let options = ServeOptions { read_only: true, ..options };
        let mut reader = None;
        let mut door = Self::prepare(path, options, |settings| {
            let opened = StoreReader::open(path, settings)?;
            let calls = opened.calls();
            reader = Some(opened);
            Ok::<_, runlode::Error>(calls)
        })?;
        if let Some(served) = Arc::get_mut(&mut door.served) {
            served.reader = reader;
        }
        Ok(door)
    }

    /// This door on the store as it is now: another one only where the store is opened to be read.
    pub(crate) fn newest(&self) -> Option<Self> {
        let reader = self.served.reader.as_ref()?;
        Some(Self { mlflow: reader.calls(), served: self.served.clone() })
    }

    fn prepare<E>(
        path: &Path,
        options: ServeOptions,
        calls: impl FnOnce(Settings) -> Result<MlflowCalls, E>,
    ) -> Result<Self, E> {
        let directory = working_directory();
        let own = directory.join(path).join(ARTIFACTS_DIR).to_string_lossy().into_owned();
        let root = match (&options.default_artifact_root, options.serve_artifacts) {
            (Some(root), _) => absolute_place(root, &directory),
            (None, true) => "mlflow-artifacts:/".to_owned(),
            (None, false) => match &options.artifacts_destination {
                Some(destination) => absolute_place(destination, &directory),
                None => own.clone(),
            },
        };
        let destination = options.artifacts_destination.as_deref().unwrap_or(&own);
        let mut roots = vec![own.as_str()];
        roots.extend(options.artifact_roots.iter().map(String::as_str));
        // Otherwise it is the default root already.
        if options.serve_artifacts || options.default_artifact_root.is_some() {
            roots.push(destination);
        }
        let opened = Artifacts::new(options.serve_artifacts.then_some(destination), &root, &roots, &directory);
        let (artifacts, artifacts_problem) = match opened {
            Ok(artifacts) => (artifacts, None),
            Err(problem) => (Artifacts::none(&directory), Some(problem)),
        };
        let mut settings = Settings::with_root(root, directory);
        settings.metric_durability = options.metric_durability;
        let guard = Guard::new(options.allowed_hosts.as_deref(), &options.cors_allowed_origins);
        let memory = Memory::new(options.memory_bytes);
        let served = Served {
            pages: Pages::new(options.ui.clone()),
            bodies: Bodies::of(memory.bodies_bytes()),
            answers: Arc::new(LongAnswers::new(path, memory.answers_bytes())),
            memory,
            options,
            creations: Creations::default(),
            guard,
            artifacts,
            artifacts_problem,
            reader: None,
            failed: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            kept_keys: KeptKeys::default(),
        };
        Ok(Self { mlflow: calls(settings)?, served: Arc::new(served) })
    }

    /// An answer that may be long.
    pub(crate) fn writer(&self) -> Writer {
        Writer::new(&self.answers)
    }

    /// JSON of a value that may be long.
    ///
    /// # Errors
    /// 429 `RESOURCE_EXHAUSTED` where there is no room for it.
    pub(crate) fn answer(&self, value: &impl Serialize) -> ApiResult<Answer> {
        let mut writer = self.writer();
        writer.json(value)?;
        writer.finish().map(Answer::from)
    }

    /// What a handler answers. If the holder of the store went away in the middle, the call is made again: only reads
    /// are cut short.
    ///
    /// # Errors
    /// Those of the handler.
    pub(crate) fn answered(
        &self,
        handler: fn(&Self, &Request) -> ApiResult<Answer>,
        request: &Request,
    ) -> ApiResult<Answer> {
        let mut left = ANSWERS_CUT_SHORT_MAX;
        loop {
            match handler(self, request) {
                Err(error) if error.cut_short && left > 0 => left -= 1,
                Err(error) if left > 0 && met_a_change(&error) => {
                    let Some(reader) = &self.served.reader else { return Err(error) };
                    let door = Self { mlflow: reader.again()?, served: self.served.clone() };
                    match handler(&door, request) {
                        Err(error) if met_a_change(&error) => left -= 1,
                        answered => return answered,
                    }
                }
                answered => return answered,
            }
        }
    }

    /// Whether calls may wait for another process: for the holder of the store.
    pub(crate) fn asks_another(&self) -> bool {
        // If that cannot be told, the call will say why.
        !self.mlflow.holds().unwrap_or(false)
    }

    /// An error as an answer. If the store refuses all writes, the server ends; but not where another process holds the
    /// store, because a new server would have the same holder.
    pub(crate) fn refused(&self, error: &ApiError) -> Response<Body> {
        if error.store_failed && !self.asks_another() {
            // Set once; later failures have the same cause.
            self.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                if first {
                    *failed = Some(error.message.clone());
                }
                first
            });
        }
        error_response(error)
    }

    /// The door for one call, with its actor and idempotency key.
    ///
    /// # Errors
    /// [`runlode::mlflow::ApiError::repeated`] when the call was made before.
    pub(crate) fn for_call(&self, call: Call) -> ApiResult<Self> {
        Ok(Self { mlflow: self.mlflow.for_call(call)?, served: self.served.clone() })
    }

    /// The door for a call that stops once its client has gone, and whose answer takes its share of memory. `of_body`:
    /// the steps that the call has for its body.
    pub(crate) fn for_waiting(&self, client: Arc<dyn Waiting>, of_body: usize) -> Self {
        let reading = Reading::new(SharedMemory(self.served.clone()), client, of_body);
        Self { mlflow: self.mlflow.for_waiting(Arc::new(reading)), served: self.served.clone() }
    }
}

/// The memory of a door that is still open.
#[derive(Debug)]
struct SharedMemory(Arc<Served>);

impl AsRef<Memory> for SharedMemory {
    fn as_ref(&self) -> &Memory {
        &self.0.memory
    }
}

impl Deref for Door {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}
