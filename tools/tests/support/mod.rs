//! Runs the command as a user does, and makes stores for it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
#![allow(dead_code, reason = "each file of tests uses some of these")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The commands of a page's shell blocks.
pub(crate) fn commands(page: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => out.push(line.to_owned()),
            _ => {}
        }
    }
    out
}

/// MLflow's database that ships with the project.
pub(crate) fn database() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/mlflow.db").canonicalize().unwrap()
}

/// The command, with nothing of this process's environment that changes what it prints.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runlode"));
    command.args(arguments).env("TZ", "UTC").env_remove("COLUMNS");
    command
}

/// Runs a command.
pub(crate) fn runlode(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Exit status, standard output and standard error.
pub(crate) fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must succeed without a note; its output.
pub(crate) fn done(arguments: &[&str]) -> String {
    let (code, out, error) = said(&runlode(arguments));
    assert_eq!((code, error.as_str()), (Some(0), ""), "{arguments:?}");
    out
}

/// As [`done`], for a JSON document.
pub(crate) fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).unwrap()
}

/// Runs a command that must fail with status 2 and print nothing but one sentence; the sentence.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let (code, out, error) = said(&runlode(arguments));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// A store with the runs of the database.
pub(crate) fn imported() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("store").to_str().unwrap().to_owned();
    done(&["import", &format!("sqlite:///{}", database().display()), &store]);
    (dir, store)
}
