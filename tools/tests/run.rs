//! Launches of MLflow projects: what runs, what is recorded, and what a launch that fails leaves.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{command, json as answer};
use tempfile::TempDir;

struct Fixture {
    _dir: TempDir,
    project: String,
    store: String,
}

fn fixture(file: &str) -> Fixture {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (project, store) = (path("project"), path("store"));
    fs::create_dir(&project).unwrap();
    fs::write(Path::new(&project).join("MLproject"), file).unwrap();
    Fixture { project, store, _dir: dir }
}

impl Fixture {
    /// Exit status, standard output and standard error of a launch in this environment.
    fn launch(&self, arguments: &[&str]) -> (i32, String, String) {
        let local = ["run", &self.project, "--store", &self.store, "--env-manager", "local"];
        let output = command(&[&local, arguments].concat()).env("LOGNAME", "ada").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn runs(&self) -> Vec<Value> {
        match Path::new(&self.store).exists() {
            true => answer(&["runs", &self.store, "--json"]).as_array().unwrap().clone(),
            false => Vec::new(),
        }
    }

    fn kept(&self, run: &Value, name: &str) -> String {
        let id = run["run_id"].as_str().unwrap();
        fs::read_to_string(format!("{}/artifacts/0/{id}/artifacts/launch/{name}", self.store)).unwrap()
    }
}

const ECHO: &str = "name: demo\nentry_points:\n  main:\n    parameters:\n      note: string\n      lr: {type: float, default: 0.10}\n    command: echo {note} {lr} $MLFLOW_EXPERIMENT_ID\n  bad: {command: 'exit 7'}\n  long: {command: 'echo started; sleep 300 & sleep 300'}\n";

#[test]
fn a_launch_is_recorded_as_mlflow_does_and_its_output_is_kept() {
    let fixture = fixture(ECHO);
    let (status, stdout, stderr) = fixture.launch(&["-P", "note=it's", "-P", "n=3", "--run-name", "try", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let (first, rest) = stdout.split_once('\n').unwrap();
    assert_eq!(first, "it's 0.1 0 --n 3");
    let summary: Value = serde_json::from_str(rest).unwrap();
    assert_eq!((&summary["status"], &summary["exit_code"]), (&json!("FINISHED"), &json!(0)));

    let runs = fixture.runs();
    assert_eq!((runs.len(), &runs[0]["run_id"]), (1, &summary["run_id"]));
    let shown = answer(&["show", &fixture.store, summary["run_id"].as_str().unwrap(), "--json"]);
    assert_eq!((&shown["name"], &shown["status"]), (&json!("try"), &json!("FINISHED")));
    assert_eq!(shown["params"], json!({"note": "'it'\"'\"'s'", "lr": "0.1", "n": "3"}));
    let root = fs::canonicalize(&fixture.project).unwrap();
    for (key, value) in [
        ("mlflow.user", "ada"),
        ("mlflow.source.type", "PROJECT"),
        ("mlflow.source.name", root.to_str().unwrap()),
        ("mlflow.project.entryPoint", "main"),
        ("mlflow.project.backend", "local"),
    ] {
        assert_eq!(shown["tags"][key], value, "{key}");
    }
    assert_eq!(shown["tags"].get("mlflow.project.env"), None);
    assert_eq!(fixture.kept(&runs[0], "output.txt"), "it's 0.1 0 --n 3\n");
    let launch: Value = serde_json::from_str(&fixture.kept(&runs[0], "launch.json")).unwrap();
    assert_eq!(launch["parameters"], json!({"note": "it's", "lr": "0.1", "n": "3"}));
    let end: Value = serde_json::from_str(&fixture.kept(&runs[0], "end.json")).unwrap();
    assert_eq!(end["exit_code"], 0);
}

#[test]
fn the_peak_of_memory_is_the_command_s() {
    let file =
        "name: demo\nentry_points:\n  main:\n    command: python3 -c 'x = bytearray(90 << 20); print(x.count(1))'\n";
    let fixture = fixture(file);
    assert_eq!(fixture.launch(&[]).0, 0);
    let end: Value = serde_json::from_str(&fixture.kept(&fixture.runs()[0], "end.json")).unwrap();
    let mib = end["peak_memory_bytes"].as_u64().unwrap() >> 20;
    assert!((90..200).contains(&mib), "{mib} MiB");
}

#[test]
fn a_command_that_fails_fails_its_run() {
    let fixture = fixture(ECHO);
    let (status, _, stderr) = fixture.launch(&["-e", "bad"]);
    assert_eq!(status, 1);
    assert!(stderr.contains("failed: the command exited with 7"), "{stderr}");
    assert_eq!(fixture.runs()[0]["status"], "FAILED");
}

#[test]
fn what_is_known_to_be_wrong_makes_no_run() {
    let fixture = fixture(ECHO);
    for (arguments, says, status) in [
        (&[][..], "needs a value for note", 1),
        (&["-e", "gone"], "no entry point \"gone\"", 1),
        (&["-P", "note"], "write NAME=VALUE", 2),
        (&["-P", "note=1", "-P", "note=2"], "-P note is given twice", 2),
        (&["-P", "note=1", "-v", "v1"], "git repository only", 1),
    ] {
        let (found, _, stderr) = fixture.launch(arguments);
        assert!(found == status && stderr.contains(says), "{arguments:?}: {found}, {stderr}");
    }
    fs::write(Path::new(&fixture.project).join("MLproject"), "entry_points:\n  main:\n").unwrap();
    let (status, _, stderr) = fixture.launch(&[]);
    assert!(status == 1 && stderr.contains("MLproject:2: entry_points.main: nothing"), "{stderr}");
    assert_eq!(fixture.runs(), Vec::<Value>::new());
}

#[test]
fn a_launch_that_fails_after_its_run_was_made_leaves_it_failed() {
    let fixture = fixture(ECHO);
    // No name of a parameter that a run can have.
    let (status, _, stderr) = fixture.launch(&["-P", "note=1", "-P", "a*b=2"]);
    assert_eq!(status, 1, "{stderr}");
    let runs = fixture.runs();
    assert_eq!((runs.len(), &runs[0]["status"]), (1, &json!("FAILED")), "{stderr}");
}

#[test]
fn a_signal_to_the_launcher_alone_ends_the_command_and_the_run() {
    let fixture = fixture(ECHO);
    let arguments = ["run", &fixture.project, "--store", &fixture.store, "--env-manager", "local", "-e", "long"];
    let mut launcher =
        command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(launcher.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    assert!(std::process::Command::new("kill").arg(launcher.id().to_string()).status().unwrap().success());
    assert_eq!(launcher.wait().unwrap().code(), Some(1));
    assert_eq!(fixture.runs()[0]["status"], "FAILED");
}

/// A child whose environment has no wheel of ours logs over loopback HTTP, here without MLflow.
#[test]
fn a_child_reaches_its_run_over_http() {
    let fixture = fixture("name: demo\n");
    let script = "import json, os, urllib.request\n\
        uri = os.environ['MLFLOW_TRACKING_URI']\n\
        assert uri.startswith('http://127.0.0.1:'), uri\n\
        point = {'run_id': os.environ['MLFLOW_RUN_ID'], 'key': 'loss', 'value': 0.5, 'timestamp': 1, 'step': 3}\n\
        call = urllib.request.Request(uri + '/api/2.0/mlflow/runs/log-metric', json.dumps(point).encode(), {'Content-Type': 'application/json'})\n\
        urllib.request.urlopen(call).read()\n";
    fs::write(Path::new(&fixture.project).join("log.py"), script).unwrap();
    let shim = Path::new(&fixture.project).join("python");
    fs::write(&shim, "#!/bin/sh\nexec python3 \"$@\"\n").unwrap();
    fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let local = ["run", &fixture.project, "--store", &fixture.store, "--env-manager", "local", "-e", "log.py"];
    // `python`, which scripts are run by, may be missing here; and this environment has no packages.
    let path = format!("{}:{}", fixture.project, std::env::var("PATH").unwrap());
    let output = command(&local).env("PATH", path).env("VIRTUAL_ENV", &fixture.project).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let run = fixture.runs()[0]["run_id"].as_str().unwrap().to_owned();
    let shown = answer(&["show", &fixture.store, &run, "--json"]);
    assert!(shown["metrics"].to_string().contains("0.5"), "{shown}");
}
