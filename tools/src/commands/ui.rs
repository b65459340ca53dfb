//! `runlode ui STORE`

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use runlode::Store;
use runlode_rest::{Door, ServeOptions};
use serde_json::json;

use super::serve::{serve_door_until_stopped, serve_until_stopped};
use crate::error::{Error, Result};
use crate::find::store_path;
use crate::output::{Output, note};
use crate::{Answer, open};

/// Memory of the store, and of requests: one person looks at it.
const STORE_BYTES: u64 = 160 << 20;
const REQUESTS_BYTES: u64 = 96 << 20;

/// Arguments of `ui`.
#[derive(Debug, Args)]
pub struct Ui {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Port to listen on, on this machine only; 0 takes a free one
    #[arg(long, short, default_value_t = 0)]
    port: u16,
    /// Only print the address
    #[arg(long)]
    no_browser: bool,
    /// Change nothing, in the store or its folder
    #[arg(long)]
    read_only: bool,
}

impl Ui {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        open::check_is_store(&self.store)?;
        runlode::engine::keep_little_freed_memory();
        let options = ServeOptions {
            address: ([127, 0, 0, 1], self.port).into(),
            memory_bytes: REQUESTS_BYTES,
            ..ServeOptions::default()
        };
        let opened = if self.read_only { None } else { self.open()? };
        match opened {
            Some(store) => serve_until_stopped(&store, options, |address| self.begun(address, false, output)),
            None => serve_door_until_stopped(
                || Ok(Door::to_read(&self.store, options)?),
                |address| self.begun(address, true, output),
            ),
        }
    }

    /// Opens the store as its holder, or as a client of the process that holds it. `None`, and a note, where that cannot
    /// be: then it is only read.
    fn open(&self) -> Result<Option<Store>> {
        match open::to_serve(&self.store, STORE_BYTES) {
            Ok(store) => Ok(Some(store)),
            Err(Error::Store(error)) if can_be_read(&error) => {
                note(format!("{error}; the pages show the store, and cannot change it"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn begun(&self, address: SocketAddr, read_only: bool, output: &mut Output) -> Result<()> {
        let page = format!("http://{address}/runlode/");
        if output.is_json() {
            let line = json!({ "address": address.to_string(), "page": page, "read_only": read_only });
            output.document_line(&line)?;
            output.flush()?;
        } else {
            let how = if read_only { ", only to read" } else { "" };
            output.line_now(format!("Pages of {}{how}: {page} (end with Ctrl-C)", self.store.display()))?;
        }
        if !self.no_browser && !open_browser(&page) {
            note(format!("no browser could be started; open {page} yourself"));
        }
        Ok(())
    }
}

/// Whether a store that cannot be opened like this may still be read: another process holds it and answers nobody, or its
/// folder cannot be written.
fn can_be_read(error: &runlode::Error) -> bool {
    match error {
        runlode::Error::Locked { .. } | runlode::Error::Unavailable { .. } => true,
        runlode::Error::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
        }
        _ => false,
    }
}

/// Starts the user's browser; whether one could be started.
fn open_browser(page: &str) -> bool {
    let chosen = std::env::var("BROWSER").ok().filter(|name| !name.is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let names = chosen.iter().map(String::as_str).chain([usual]);
    let mut started = names.filter_map(|name| {
        Command::new(name).arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
    });
    let Some(mut child) = started.next() else { return false };
    // It ends when it likes; nobody waits for it but the system.
    std::thread::spawn(move || drop(child.wait()));
    true
}
