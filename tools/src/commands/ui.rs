//! `runlode ui STORE`

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use runlode_rest::ServeOptions;
use serde_json::json;

use super::serve::serve_until_stopped;
use crate::error::Result;
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
}

impl Ui {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        open::check_is_store(&self.store)?;
        runlode::engine::keep_little_freed_memory();
        let store = open::to_serve(&self.store, STORE_BYTES)?;
        let options = ServeOptions {
            address: ([127, 0, 0, 1], self.port).into(),
            memory_bytes: REQUESTS_BYTES,
            ..ServeOptions::default()
        };
        serve_until_stopped(&store, options, |address| {
            let page = format!("http://{address}/runlode/");
            if output.is_json() {
                output.document_line(&json!({ "address": address.to_string(), "page": page }))?;
                output.flush()?;
            } else {
                output.line_now(format!("Pages of {}: {page} (end with Ctrl-C)", self.store.display()))?;
            }
            if !self.no_browser && !open_browser(&page) {
                note(format!("no browser could be started; open {page} yourself"));
            }
            Ok(())
        })
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
