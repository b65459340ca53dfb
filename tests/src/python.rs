//! The Python for the suites in `tests/python`: an environment with MLflow's client, created once for each list of
//! requirements.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

/// How to run the tests without it.
pub const WITHOUT: &str = "set RUNLODE_WITHOUT_MLFLOW=1 to go without, or RUNLODE_MLFLOW_PYTHON to a Python that has \
                       what tests/python/requirements.txt lists";

/// Whether to skip tests that need MLflow's client.
pub fn is_left_out() -> bool {
    std::env::var("RUNLODE_WITHOUT_MLFLOW").is_ok_and(|value| value == "1")
}

/// A test binary with one test: says of it what cargo and its users expect of a test binary.
pub fn only_test(name: &str, test: impl FnOnce() -> Result<(), String>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    // As in other test binaries: free arguments say which tests are wanted.
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let chosen = wanted.peek().is_none() || wanted.any(|part| name.contains(part.as_str()));
    if !chosen || is_left_out() {
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    }
    println!("running 1 test");
    match test() {
        Ok(()) => {
            println!("test {name} ... ok\n");
            println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("test {name} ... FAILED\n\n{why}\n");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
            // As other test binaries do, so that cargo says which one it was.
            ExitCode::from(101)
        }
    }
}

/// The part of pytest's output after its rows of dots.
pub fn closing(text: &str) -> String {
    let dots = |line: &&str| line.ends_with("%]") || line.is_empty();
    text.lines().skip_while(dots).collect::<Vec<_>>().join("\n")
}

/// Runs a process for each group of arguments, all at once, and prints what they say: the closing lines of those that
/// pass, everything of those that fail. Answers whether all passed.
///
/// # Errors
/// A process cannot be started.
pub fn side_by_side<A: Sync>(groups: &[Vec<A>], command: impl Fn(&[A]) -> Command + Sync) -> Result<bool, String> {
    let run = |arguments: &[A]| -> Result<Output, String> {
        let mut command = command(arguments);
        let output = command.stdin(Stdio::null()).output();
        output.map_err(|error| format!("{} cannot be run: {error}; {WITHOUT}", command.get_program().display()))
    };
    // All are waited for, whatever the first one says.
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = groups.iter().map(|group| scope.spawn(|| run(group))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a waiter died".to_owned()))).collect()
    });
    let mut passed = true;
    for output in outputs {
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            println!("{}", closing(&text));
        } else {
            passed = false;
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(passed)
}

/// The files of tests of a folder as two groups, each second file in the other one.
///
/// # Errors
/// The folder cannot be read.
pub fn halves(folder: &Path) -> Result<Vec<Vec<OsString>>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut names: Vec<OsString> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.retain(|name| name.to_str().is_some_and(|name| name.starts_with("test_") && name.ends_with(".py")));
    names.sort();
    let mut halves = vec![Vec::new(), Vec::new()];
    for (number, name) in names.into_iter().enumerate() {
        halves[number % 2].push(name);
    }
    Ok(halves)
}

/// The Python that `RUNLODE_MLFLOW_PYTHON` names, else that of an environment in the folder of the suite, which is
/// created if it does not exist or has other requirements.
///
/// # Errors
/// What failed, and how to run without it.
pub fn environment(folder: &Path) -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("RUNLODE_MLFLOW_PYTHON") {
        return Ok(PathBuf::from(python));
    }
    let mut requirements = fs::read_to_string(folder.join("requirements.txt"))
        .map_err(|error| format!("tests/python/requirements.txt cannot be read: {error}"))?;
    let mut name = ".venv".to_owned();
    if let Ok(version) = std::env::var("RUNLODE_MLFLOW_VERSION") {
        name = format!(".venv-{version}");
        // Other versions than those pinned for our client.
        let names = requirements.lines().filter(|line| !line.starts_with('#'));
        let names = names.map(|line| line.split("==").next().unwrap_or(line)).filter(|name| *name != "mlflow");
        requirements = format!("mlflow=={version}\n{}\n", names.collect::<Vec<_>>().join("\n"));
    }
    let place = folder.join(&name);
    let python = place.join("bin/python");
    // Tests of one process, and of several, ask at once: one makes it, the others wait.
    let lock = folder.join(format!("{name}.lock"));
    let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("the lock of {} cannot be taken: {error}", place.display()))?;
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

/// A system Python that is new enough for the client.
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
