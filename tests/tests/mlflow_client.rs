//! MLflow's own client, unmodified, and plain HTTP against `runlode serve`: the Python suite in `tests/python`.
//!
//! ```text
//! cargo test -> mlflow_client -> makes tests/python/.venv with pip, once for each requirements.txt
//!                    |
//!                    +-> pytest (a process for each of GROUPS, side by side) -> mlflow_client as `runlode serve ...`
//! ```
//! The server is this very binary, which is the command `runlode` when [`AS_COMMAND`] is set: of the same build as the
//! tests, and never a stale one.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `RUNLODE_MLFLOW_PYTHON` | a Python that has everything, instead of an environment of our own |
//! | `RUNLODE_MLFLOW_VERSION` | another client, e.g. 3.11.1, in an environment of its own |
//! | `RUNLODE_WITHOUT_MLFLOW` | 1: leave all of it out |
//! | `RUNLODE_PYTEST` | arguments for pytest, e.g. `-k kill_9`: then one process runs all |
//!
//! The suite's own knobs stand where they are read: `grep -r knob tests/python`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use runlode_tests::python::{environment, only_test, side_by_side};

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";
/// What the first process runs; the second one runs every other file. They take about equally long.
const FIRST_GROUP: &[&str] =
    &["test_artifacts.py", "test_client.py", "test_pages.py", "test_security.py", "test_ui.py"];
fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    only_test("mlflow_client", suite)
}

fn suite() -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = environment(&folder)?;
    let groups: Vec<Vec<OsString>> = match std::env::var("RUNLODE_PYTEST") {
        Ok(arguments) => vec![arguments.split_whitespace().map(OsString::from).collect()],
        Err(_) => groups(&folder)?,
    };
    let me = std::env::current_exe().map_err(|error| format!("this binary cannot be found: {error}"))?;
    let begin = Instant::now();
    let failed = !side_by_side(&groups, |arguments| {
        let mut command = Command::new(&python);
        command.args(["-m", "pytest"]).args(arguments).current_dir(&folder);
        command.env("RUNLODE_COMMAND", &me).env(AS_COMMAND, "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    })?;
    println!("{:.0} s", begin.elapsed().as_secs_f64());
    if failed { Err("pytest failed; its output stands above".to_owned()) } else { Ok(()) }
}

/// The files of the suite, for two processes.
fn groups(folder: &Path) -> Result<Vec<Vec<OsString>>, String> {
    let mut rest: Vec<OsString> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
        .map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    rest.retain(|name| name.to_str().is_some_and(|name| name.starts_with("test_") && name.ends_with(".py")));
    rest.sort();
    let (first, rest) = rest.into_iter().partition(|name| FIRST_GROUP.iter().any(|first| name == *first));
    Ok(vec![first, rest])
}
