//! docs/time.md and docs/registry.md: every command in them runs, as it stands there.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use runlode::{LocalStore, RunSpec, RunStatus, VersionSpec};
use support::commands;
use tempfile::TempDir;

/// A store with everything that the commands name.
fn place() -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = LocalStore::open(dir.path().join("store")).unwrap();
    let digits = store.get_or_create_experiment("digits").unwrap();
    store.create_registered_model("fraud").unwrap();
    for version in 1..=7 {
        let source = VersionSpec::from_source(format!("s3://models/{version}"));
        assert_eq!(store.create_version("fraud", source).unwrap(), version);
    }
    store.set_alias("fraud", "champion", 5).unwrap();
    for name in ["trial-17", "trial-18"] {
        let run = store.create_run(digits, RunSpec::named(name)).unwrap();
        run.log_params(&[("max_steps", "100"), ("lr", name)]).unwrap();
        for step in 0..=100 {
            run.log_metrics(step, &[("loss", 1.0 / (step + 1) as f64), ("acc", 0.5)]).unwrap();
        }
        if name == "trial-17" {
            run.end(RunStatus::Finished).unwrap();
        }
    }
    store.set_alias("fraud", "champion", 6).unwrap();
    store.close().unwrap();
    dir
}

fn run_page(page: &str) {
    let dir = place();
    let bin = Path::new(env!("CARGO_BIN_EXE_runlode")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page)).unwrap();
    let commands = commands(&text);
    assert!(commands.len() >= 8, "{page}: {commands:?}");
    for line in commands {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(&line).current_dir(dir.path()).stdin(Stdio::null());
        bash.env("PATH", &path).env("TZ", "UTC").env_remove("MLFLOW_TRACKING_URI");
        let output = bash.output().unwrap();
        // Nothing is wrong with the store, whatever the machine is short of.
        let doctor = line.contains("doctor");
        let expected: &[i32] = if doctor { &[0, 1] } else { &[0] };
        let status = output.status.code().unwrap();
        assert!(expected.contains(&status), "{line}: {status}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn commands_of_the_page_about_time_run() {
    run_page("time.md");
}

#[test]
fn commands_of_the_page_about_the_registry_run() {
    run_page("registry.md");
}
