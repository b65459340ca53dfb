//! `runlode models serve` with models that MLflow saved, beside MLflow's scoring server: the Python suite in
//! `tests/serving`, in the environment of `tests/python`.
//!
//! ```text
//! cargo test -> serving -> pytest of tests/serving, two processes side by side -> serving as `runlode models serve ...`
//! ```
//! The server is this very binary, which is the command `runlode` when [`AS_COMMAND`] is set. The variables of
//! `mlflow_client` count here too; the suite's own knobs stand where they are read: `grep -r knob tests/serving`.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use runlode_tests::python::{environment, halves, only_test, side_by_side};

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    only_test("serving", suite)
}

fn suite() -> Result<(), String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = environment(&tests.join("python"))?;
    let me = std::env::current_exe().map_err(|error| format!("this binary cannot be found: {error}"))?;
    let begin = Instant::now();
    let folder = tests.join("serving");
    let groups: Vec<Vec<OsString>> = match std::env::var("RUNLODE_PYTEST") {
        Ok(arguments) => vec![arguments.split_whitespace().map(OsString::from).collect()],
        Err(_) => halves(&folder)?,
    };
    let passed = side_by_side(&groups, |arguments| {
        let mut command = Command::new(&python);
        command.args(["-m", "pytest"]).args(arguments).current_dir(&folder);
        command.env("RUNLODE_COMMAND", &me).env(AS_COMMAND, "1").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    })?;
    println!("{:.0} s", begin.elapsed().as_secs_f64());
    if passed { Ok(()) } else { Err("pytest failed; its output stands above".to_owned()) }
}
