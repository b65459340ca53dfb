//! Cleans up when the user interrupts a command: removes its scratch folder and ends its child process.
//!
//! The command goes on in its own thread, and would make its folder anew. So a file takes the folder's place until the
//! command has failed on it and waits in [`wait_if_interrupted`]; what it says about that is held back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::Builder;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::output::note;

/// Exit status after SIGINT, and after SIGTERM: 128 and the number of the signal, as shells have it.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;
/// How often a folder is removed again if the command makes new files in it meanwhile.
const REMOVE_TRIES: usize = 200;

/// How long the command's thread is waited for.
const WAIT_TRIES: usize = 200;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

static CLEANING: AtomicBool = AtomicBool::new(false);
/// The command's thread makes no files any more.
static WAITING: AtomicBool = AtomicBool::new(false);
/// Process id of the child; 0: none.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// Removes a folder at SIGINT or SIGTERM, and ends this process.
pub(crate) fn remove_at_interrupt(folder: &Path) -> Result<()> {
    let cannot = |error| Error::io("cannot wait for signals", error);
    let folder = folder.to_path_buf();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let _in_runtime = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    drop(_in_runtime);
    let clean = move || {
        let status = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => INTERRUPTED,
                _ = terminate.recv() => TERMINATED,
            }
        });
        CLEANING.store(true, Ordering::SeqCst);
        if let Some(child) = Pid::from_raw(CHILD.load(Ordering::SeqCst)) {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        for _ in 0..REMOVE_TRIES {
            let gone = match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => false,
                // Fails if the command was quicker.
                _ => std::fs::File::create_new(&folder).is_ok(),
            };
            if gone {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        for _ in 0..WAIT_TRIES {
            if WAITING.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        // If a folder is left there, this fails, and the message says so.
        let _ = std::fs::remove_file(&folder);
        if folder.exists() {
            note(format!("interrupted; remove {} yourself", folder.display()));
        } else {
            note(format!("interrupted; {} is removed", folder.display()));
        }
        std::process::exit(status);
    };
    Builder::new().name("runlode-interrupt".into()).spawn(clean).map_err(cannot)?;
    Ok(())
}

/// Notes the child process that is to end with this one; 0: there is none any more.
pub(crate) fn child_is(pid: u32) {
    CHILD.store(pid.cast_signed(), Ordering::SeqCst);
}

/// Waits for the end of the process if it was interrupted.
pub(crate) fn wait_if_interrupted() {
    while CLEANING.load(Ordering::SeqCst) {
        WAITING.store(true, Ordering::SeqCst);
        std::thread::park();
    }
}
