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

use runlode_tests::python::{environment, halves, side_by_side};

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("serving: test");
        return ExitCode::SUCCESS;
    }
    // As in other test binaries: free arguments say which tests are wanted.
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let chosen = wanted.peek().is_none() || wanted.any(|name| "serving".contains(name.as_str()));
    if !chosen || runlode_tests::python::is_left_out() {
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    println!("running 1 test");
    match suite() {
        Ok(()) => {
            println!("test serving ... ok\n");
            println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("test serving ... FAILED\n\n{why}\n");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
            // As other test binaries do, so that cargo says which one it was.
            ExitCode::from(101)
        }
    }
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
