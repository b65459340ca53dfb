//! Programs that a launch needs: found on the search path, run, and ended with the launch.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{ProjectError, Result};
use crate::launch::Stop;

/// How often a program that runs is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Time for a program to end after a signal.
const GRACE_LOOKS: u32 = 300;
/// Lines of a program's complaint that are shown.
const LINES_MAX: usize = 12;

pub(crate) fn io_error(path: &Path, source: io::Error) -> ProjectError {
    ProjectError::Io { path: path.to_owned(), source }
}

/// A program on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|program| is_program(program))
}

/// Whether a path is a file that may be run.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

/// Runs a program in a group of its own; its standard output, or an error with the end of what it said. A signal to
/// this process ends it.
pub(crate) fn call(command: &mut Command, stop: &mut Stop) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let io = |source| io_error(Path::new(&program), source);
    // Files, so that a program that writes much is not held up while this process only waits.
    let out = tempfile::NamedTempFile::new().map_err(io)?;
    let said = tempfile::NamedTempFile::new().map_err(io)?;
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(out.reopen().map_err(io)?).stderr(said.reopen().map_err(io)?);
    let mut child = command.spawn().map_err(io)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let mut signal_looks = 0;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            break status;
        }
        if let (Some(_), Some(group)) = (stop.came(), group) {
            let signal = if signal_looks < GRACE_LOOKS { Signal::TERM } else { Signal::KILL };
            if signal_looks % GRACE_LOOKS == 0 {
                // It may have ended meanwhile.
                let _gone = kill_process_group(group, signal);
            }
            signal_looks += 1;
        }
        std::thread::sleep(LOOK);
    };
    if let Some(signal) = stop.came() {
        return Err(ProjectError::Interrupted { signal });
    }
    let text = |file: &Path| fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(io);
    let out = text(out.path())?;
    if status.success() {
        return Ok(out);
    }
    let said = text(said.path())?;
    // Some complain on standard output.
    let complaint = if said.trim().is_empty() { &out } else { &said };
    let lines: Vec<_> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(LINES_MAX)..].join("\n  ");
    let what = if end.is_empty() { format!("nothing, and {status}") } else { end };
    Err(ProjectError::Environment(format!("the environment cannot be made: {program} says\n  {what}")))
}
