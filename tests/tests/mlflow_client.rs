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
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";
/// What the first process runs; the second one runs every other file. They take about equally long.
const FIRST_GROUP: &[&str] = &["test_client.py", "test_security.py", "test_artifacts.py", "test_pages.py"];
/// How to do without.
const WITHOUT: &str = "set RUNLODE_WITHOUT_MLFLOW=1 to go without, or RUNLODE_MLFLOW_PYTHON to a Python that has \
                       what tests/python/requirements.txt lists";

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("mlflow_client: test");
        return ExitCode::SUCCESS;
    }
    // As in other test binaries: free arguments say which tests are wanted.
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let chosen = wanted.peek().is_none() || wanted.any(|name| "mlflow_client".contains(name.as_str()));
    let without = std::env::var("RUNLODE_WITHOUT_MLFLOW").is_ok_and(|value| value == "1");
    if !chosen || without {
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    println!("running 1 test");
    match suite() {
        Ok(()) => {
            println!("test mlflow_client ... ok\n");
            println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("test mlflow_client ... FAILED\n\n{why}\n");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
            // As other test binaries do, so that cargo says which one it was.
            ExitCode::from(101)
        }
    }
}

fn suite() -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = match std::env::var_os("RUNLODE_MLFLOW_PYTHON") {
        Some(python) => PathBuf::from(python),
        None => environment(&folder)?,
    };
    let groups = match std::env::var("RUNLODE_PYTEST") {
        Ok(arguments) => vec![arguments.split_whitespace().map(OsString::from).collect()],
        Err(_) => groups(&folder)?,
    };
    let me = std::env::current_exe().map_err(|error| format!("this binary cannot be found: {error}"))?;
    let begin = Instant::now();
    let running: Vec<_> = groups
        .into_iter()
        .map(|arguments: Vec<OsString>| {
            let mut command = Command::new(&python);
            command.args(["-m", "pytest"]).args(arguments).current_dir(&folder);
            command.env("RUNLODE_COMMAND", &me).env(AS_COMMAND, "1").env("PYTHONDONTWRITEBYTECODE", "1");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().map_err(|error| format!("{} cannot be run: {error}; {WITHOUT}", python.display()))
        })
        .collect();
    let mut failed = false;
    // All are waited for, whatever the first one says; pipes are drained side by side.
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let waiting: Vec<_> = running
            .into_iter()
            .map(|child| scope.spawn(|| child.and_then(|child| child.wait_with_output().map_err(|e| e.to_string()))))
            .collect();
        waiting.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a waiter died".to_owned()))).collect()
    });
    for output in outputs {
        let output: Output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            println!("{}", closing(&text));
        } else {
            failed = true;
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    println!("{:.0} s", begin.elapsed().as_secs_f64());
    if failed { Err("pytest failed; its output stands above".to_owned()) } else { Ok(()) }
}

/// What pytest says after its rows of dots.
fn closing(text: &str) -> String {
    let dots = |line: &&str| line.ends_with("%]") || line.is_empty();
    text.lines().skip_while(dots).collect::<Vec<_>>().join("\n")
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

/// The Python of an environment with the client; made if it is not there, or of another list.
fn environment(folder: &Path) -> Result<PathBuf, String> {
    let mut requirements = fs::read_to_string(folder.join("requirements.txt"))
        .map_err(|error| format!("tests/python/requirements.txt cannot be read: {error}"))?;
    let mut name = ".venv".to_owned();
    if let Ok(version) = std::env::var("RUNLODE_MLFLOW_VERSION") {
        name = format!(".venv-{version}");
        // What suits that client, not the versions pinned for ours.
        let names = requirements.lines().filter(|line| !line.starts_with('#'));
        let names = names.map(|line| line.split("==").next().unwrap_or(line)).filter(|name| *name != "mlflow");
        requirements = format!("mlflow=={version}\n{}\n", names.collect::<Vec<_>>().join("\n"));
    }
    let place = folder.join(name);
    let python = place.join("bin/python");
    let stamp = place.join("requirements.txt");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == requirements) {
        return Ok(python);
    }
    let base = base_python()?;
    println!("making {} for the client; this takes a minute or two, once", place.display());
    let cannot = |what: String| format!("the environment of MLflow's client cannot be made ({what}); {WITHOUT}");
    let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| cannot(format!("{}: {error}", program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let said = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word why");
        Err(cannot(format!("{} {}: {said}", program.display(), arguments.join(" "))))
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    run(&base, &["-m", "venv", "--clear", &text(&place)])?;
    let list = place.join("wanted.txt");
    fs::write(&list, &requirements).map_err(|error| cannot(error.to_string()))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
    let mut install = install.to_vec();
    let list = text(&list);
    install.push(&list);
    run(&python, &install)?;
    fs::write(stamp, requirements).map_err(|error| cannot(error.to_string()))?;
    Ok(python)
}

/// A Python of the system that is new enough for the client.
fn base_python() -> Result<PathBuf, String> {
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    ["python3", "python3.13", "python3.12", "python3.11", "python3.10"]
        .into_iter()
        .find(|name| {
            let output = Command::new(name).args(["-I", "-c", check]).stdin(Stdio::null()).output();
            output.is_ok_and(|output| output.status.success())
        })
        .map(PathBuf::from)
        .ok_or_else(|| format!("there is no Python 3.10 or newer with venv and ensurepip; {WITHOUT}"))
}
