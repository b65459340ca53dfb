//! A store served on loopback while a command runs, for commands whose environment lacks our wheel.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlode::Store;
use runlode_rest::{Door, ServeOptions, Server};

use crate::error::{Error, Result};

/// Threads for calls of the command.
const THREADS_MAX: usize = 16;

pub(super) struct Serving {
    address: SocketAddr,
    /// Dropped with the server in it.
    _runtime: tokio::runtime::Runtime,
}

impl Serving {
    pub(super) fn start(store: &Store) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(THREADS_MAX)
            .enable_all()
            .build()
            .map_err(|source| Error::io("cannot start the threads that serve the command", source))?;
        let options = ServeOptions {
            address: ([127, 0, 0, 1], 0).into(),
            serve_ui: false,
            // The command writes artifacts where the store has them, as it would in process.
            serve_artifacts: false,
            ..ServeOptions::default()
        };
        let door = Arc::new(Door::of(store, options)?);
        let server = runtime.block_on(Server::bind(door)).map_err(|error| Error::usage(error.to_string()))?;
        let address = server.address();
        runtime.spawn(server.run(std::future::pending()));
        Ok(Self { address, _runtime: runtime })
    }

    pub(super) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Whether the Python of an environment, or the first one of the search path, has our wheel installed.
pub(super) fn has_wheel(environment: Option<&Path>) -> bool {
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
    prefix.is_some_and(|prefix| holds_wheel(&prefix))
}

/// Whether the Python whose programs are in `prefix/bin` has our wheel installed.
pub(super) fn holds_wheel(prefix: &Path) -> bool {
    let names = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("runlode-") && name.ends_with(".dist-info")
    };
    names(prefix.join("lib")).any(|python| names(python.join("site-packages")).any(|path| is_ours(&path)))
}
