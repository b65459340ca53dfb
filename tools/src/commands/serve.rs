//! `runlode serve STORE`

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use runlode::Store;
use runlode_rest::{Door, Ended, ServeOptions, Server};
use serde_json::json;

use crate::error::{Error, Result};
use crate::find::{address, store_path};
use crate::keeper::Keeper;
use crate::output::{Output, note};
use crate::{Answer, open};

/// Threads for calls that wait for the disk, and for file transfers.
const THREADS_MAX: usize = 96;

/// Arguments of `serve`, named as in `mlflow server` if it has the option.
#[derive(Debug, Args)]
pub struct Serve {
    /// Folder of the store; created if it does not exist
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, short, default_value_t = 5000)]
    port: u16,
    /// Allow a --host beyond this machine, although there are no users and passwords yet
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Artifact root of new runs [default: mlflow-artifacts:/]
    #[arg(long, value_name = "URI")]
    default_artifact_root: Option<String>,
    /// Where the server keeps artifacts that come through it [default: STORE/artifacts]
    #[arg(long, value_name = "URI")]
    artifacts_destination: Option<String>,
    /// More folders or buckets in which artifacts may be listed and read: for experiments with a location of their own
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    artifact_roots: Vec<String>,
    /// Do not proxy artifacts; clients reach the artifact locations themselves
    #[arg(long)]
    no_serve_artifacts: bool,
    /// Prefix of every path, e.g. /mlflow
    #[arg(long, default_value = "", value_parser = static_prefix)]
    static_prefix: String,
    /// Host headers to accept, e.g. mlflow.example.com or *.example.com [default: loopback and private addresses]
    #[arg(long, value_delimiter = ',')]
    allowed_hosts: Option<Vec<String>>,
    /// Origins whose pages may write and search, e.g. `https://example.com`
    #[arg(long, value_delimiter = ',')]
    cors_allowed_origins: Vec<String>,
    /// Folder of MLflow's web pages [default: that of the newest installed mlflow]
    #[arg(long, value_name = "PATH")]
    ui: Option<PathBuf>,
    /// Serve no web pages
    #[arg(long, conflicts_with = "ui")]
    no_ui: bool,
    /// Accept what other stores send (`runlode sync STORE http://...`): history of any run, in anybody's name
    #[arg(long)]
    allow_sync: bool,
    /// When to answer a call with only metric points
    #[arg(long, value_enum, default_value_t = Level::Buffered)]
    durability: Level,
    /// Whether to compact the store by itself, after a minute without writes and if it pays
    #[arg(long, value_enum, default_value_t = Compaction::Auto)]
    compact: Compaction,
    /// Memory the server may use; from 128 on its peak stays within one and a half times this
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory_mib: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    /// Once it survives the death of this process
    Buffered,
    /// Once it survives a power cut
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compaction {
    /// At rest
    Auto,
    /// Only when `runlode compact` asks for it
    Never,
}

fn static_prefix(text: &str) -> Result<String, String> {
    if !text.is_empty() && (!text.starts_with('/') || text.ends_with('/')) {
        return Err("begin it with / and do not end it with one".to_owned());
    }
    Ok(text.to_owned())
}

impl Serve {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let address = address(&self.host, self.port)?;
        if let Some(folder) = &self.ui {
            runlode_rest::check_pages(folder).map_err(Error::usage)?;
        }
        runlode::engine::keep_little_freed_memory();
        // Five eighths are for the store: data not yet on disk, and caches. The rest is for requests. The half on top
        // covers the program itself and what both may use beyond their share.
        let eighth = (self.memory_mib << 20) / 8;
        let store = open::to_serve(&self.store, 5 * eighth)?;
        let options = ServeOptions {
            address,
            allow_unauthenticated: self.allow_unauthenticated,
            default_artifact_root: self.default_artifact_root,
            artifacts_destination: self.artifacts_destination,
            artifact_roots: self.artifact_roots,
            serve_artifacts: !self.no_serve_artifacts,
            static_prefix: self.static_prefix,
            allowed_hosts: self.allowed_hosts,
            cors_allowed_origins: self.cors_allowed_origins,
            ui: self.ui,
            serve_ui: !self.no_ui,
            memory_bytes: 3 * eighth,
            metric_durability: match self.durability {
                Level::Buffered => runlode::Durability::Buffered,
                Level::Sync => runlode::Durability::Sync,
            },
            allow_sync: self.allow_sync,
            read_only: false,
        };
        let keeper = Keeper::start(&store, self.compact == Compaction::Auto)?;
        let answer = serve_until_stopped(&store, options, |address| {
            if !address.ip().is_loopback() {
                note(format!("everybody who reaches {address} can read and change this store"));
            }
            if output.is_json() {
                output.document_line(&json!({ "address": address.to_string() }))?;
                output.flush()?;
            } else {
                let store = self.store.display();
                output.line(format!("Serving {store} on http://{address}: point MLflow clients at it with"))?;
                output.line_now(format!("  export MLFLOW_TRACKING_URI=http://{address}"))?;
            }
            Ok(())
        });
        // The store is closed, which ends a compaction.
        drop(keeper);
        answer
    }
}

/// Serves a store until it is told to stop, and closes it. `begun` is called once the server listens.
pub(crate) fn serve_until_stopped(
    store: &Store,
    options: ServeOptions,
    begun: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<Answer> {
    let answer = serve_door_until_stopped(|| Ok(Door::of(store, options)?), begun)?;
    // With everything sealed the next start has nothing to replay. A failure here loses nothing: the log has it.
    if let Ok(local) = store.local() {
        let _sealed = local.engine().flush().and_then(|_| local.engine().seal());
    }
    // Handles of open connections keep the store open; this ends it for all of them.
    match Store::close_all() {
        Err(error) if error.is_full() => {
            note(format!("{error}. The index was not brought up to date; the next start does it"))
        }
        closed => closed?,
    }
    Ok(answer)
}

/// Serves a door until it is told to stop. `begun` is called once the server listens.
pub(crate) fn serve_door_until_stopped(
    door: impl FnOnce() -> Result<Door>,
    begun: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|source| Error::io("cannot start the server's threads", source))?;
    let ended = runtime.block_on(async {
        let server = Server::bind(Arc::new(door()?)).await.map_err(|error| Error::usage(error.to_string()))?;
        let stop = stop_signal()?;
        begun(server.address())?;
        Ok::<_, Error>(server.run(stop).await)
    });
    // A client that keeps its connection open does not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match ended? {
        Ended::Stopped => Ok(Answer::Yes),
        Ended::StoreFailed(cause) => Err(Error::Store(runlode::Error::Poisoned { cause })),
    }
}

/// Completes at SIGTERM or SIGINT. Signals are caught from this call on, not only once the future is awaited.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let caught = |kind| signal(kind).map_err(|source| Error::io("cannot wait for signals", source));
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
