//! Launches again: what is repeated, what is said not to be, and how launches are listed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{command, json as answer};
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
}

const FILE: &str = "name: demo\nentry_points:\n  main:\n    parameters:\n      a: {default: 1}\n      data: path\n    command: cat said.txt; echo {a} $(cat {data})\n  long: {command: 'echo started; exec sleep 300'}\n";

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: TempDir::new().unwrap() };
        fs::create_dir(fixture.path("project")).unwrap();
        for (name, text) in [("project/MLproject", FILE), ("project/said.txt", "one\n"), ("data.txt", "data")] {
            fs::write(fixture.path(name), text).unwrap();
        }
        fixture
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-C"];
        let project = self.path("project");
        let mut command = Command::new("git");
        assert!(command.args(identity).arg(project).args(arguments).stdout(Stdio::null()).status().unwrap().success());
    }

    fn repository(&self) {
        self.git(&["init", "-q"]);
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", "one"]);
    }

    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = command(&[arguments, &["--store", &self.path("store")]].concat()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn launch(&self, more: &[&str]) -> (i32, String, String) {
        let (project, data) = (self.path("project"), format!("data={}", self.path("data.txt")));
        self.call(&[&["run", &project, "--env-manager", "local", "-P", &data], more].concat())
    }

    /// Ids of the runs, the newest first.
    fn runs(&self) -> Vec<String> {
        let runs = answer(&["runs", &self.path("store"), "--json"]);
        runs.as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    }

    fn kept(&self, run: &str) -> Value {
        let path = format!("{}/artifacts/0/{run}/artifacts/launch/launch.json", self.path("store"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }
}

#[test]
fn a_rerun_takes_the_commit_its_changes_and_the_values() {
    let fixture = Fixture::new();
    fixture.repository();
    fs::write(fixture.path("project/said.txt"), "changed\n").unwrap();
    let (status, out, error) = fixture.launch(&["-P", "a=it's"]);
    assert_eq!((status, out.as_str()), (0, "changed\nit's data\n"), "{error}");
    let first = fixture.runs().remove(0);

    // The folder goes on, the rerun does not.
    fs::write(fixture.path("project/said.txt"), "later\n").unwrap();
    fixture.git(&["commit", "-q", "-a", "-m", "two"]);
    let (status, out, error) = fixture.call(&["rerun", &first[..12]]);
    assert_eq!((status, out.as_str()), (0, "changed\nit's data\n"), "{error}");
    let second = fixture.runs().into_iter().find(|run| *run != first).unwrap();
    let (then, now) = (fixture.kept(&first), fixture.kept(&second));
    assert_eq!((&now["rerun_of"], &now["attempt"]), (&Value::from(first.as_str()), &Value::from(2)));
    for key in ["uri", "commit", "parameters", "entry_point", "command", "is_dirty"] {
        assert_eq!(then[key], now[key], "{key}");
    }
    let (status, out, error) = fixture.call(&["rerun", &second, "-P", "a=2", "--strict"]);
    assert_eq!(status, 1, "the environment is a shell's: {error}");
    assert_eq!(out, "");
    let (status, out, error) = fixture.call(&["rerun", &second, "-P", "a=2"]);
    assert_eq!((status, out.as_str()), (0, "changed\n2 data\n"), "{error}");
    assert!(error.contains("in the environment of a shell"), "{error}");
}

#[test]
fn what_cannot_be_repeated_is_said_first() {
    let fixture = Fixture::new();
    fixture.repository();
    fs::write(fixture.path("project/.env"), "SECRET=1\n").unwrap();
    fixture.git(&["add", "-f", ".env"]);
    fs::write(fixture.path("project/notes.txt"), "x").unwrap();
    assert_eq!(fixture.launch(&[]).0, 0);
    let run = fixture.runs().remove(0);
    fs::write(fixture.path("data.txt"), "more data").unwrap();
    let (status, out, error) = fixture.call(&["rerun", &run, "--check", "--json"]);
    assert_eq!(status, 1, "{error}");
    let doubts = serde_json::from_str::<Value>(&out).unwrap()["not_repeated"].to_string();
    for says in
        ["were not kept: .env", "were not in git, and are missing: notes.txt", "the value of data", "has changed since"]
    {
        assert!(doubts.contains(says), "{says}: {doubts}");
    }
    assert_eq!(fixture.runs().len(), 1);
    // Another value is no doubt about the old one.
    let (_, out, _) = fixture.call(&["rerun", &run, "--check", "--json", "-P", "data=/dev/null"]);
    assert!(!out.contains("the value of data"), "{out}");
    fs::rename(fixture.path("project"), fixture.path("moved")).unwrap();
    let (_, out, _) = fixture.call(&["rerun", &run, "--check", "--json"]);
    assert!(out.contains("no longer at") && out.contains("has no remote"), "{out}");
    let (status, _, error) = fixture.call(&["rerun", "gone"]);
    assert_eq!(status, 2, "{error}");
}

#[test]
fn launches_are_listed_and_lost_ones_shown() {
    let fixture = Fixture::new();
    assert_eq!(fixture.launch(&["--run-name", "whole"]).0, 0);
    let (project, store) = (fixture.path("project"), fixture.path("store"));
    let arguments =
        ["run", &project, "--store", &store, "--env-manager", "local", "-e", "long", "--run-name", "killed"];
    let mut launcher =
        command(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(launcher.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "started");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    // A run that no launch made.
    let other = runlode::Store::open(&store).unwrap();
    other.experiment("other").unwrap().create_run(runlode::RunSpec::named("no launch")).unwrap();
    other.close().unwrap();

    let shown = answer(&["runs", &store, "--launch", "--json"]);
    let found: Vec<_> = shown.as_array().unwrap().iter().map(|run| (run["name"].as_str().unwrap(), run)).collect();
    assert_eq!(found.len(), 2, "{shown}");
    let of = |name: &str| found.iter().find(|(of, _)| *of == name).unwrap().1;
    assert_eq!(
        (&of("whole")["launch_end"]["exit_code"], &of("whole")["launch"]["entry_point"]),
        (&0.into(), &"main".into())
    );
    assert_eq!((&of("killed")["status"], &of("killed")["lost"]), (&"RUNNING".into(), &true.into()));
    let table = support::done(&["runs", &store, "--launch", "--columns", "run_name,status,exit_code,entry_point"]);
    let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("killed").contains("lost") && row("whole").contains("FINISHED"), "{table}");
    let refused = support::refused(&["runs", &store, "--launch", "--columns", "nothing"]);
    assert!(refused.contains("run_name"), "{refused}");
}

#[test]
fn a_project_of_a_run_s_artifacts_is_launched() {
    let fixture = Fixture::new();
    assert_eq!(fixture.launch(&[]).0, 0);
    let run = fixture.runs().remove(0);
    let folder = format!("{}/artifacts/0/{run}/artifacts/kept", fixture.path("store"));
    fs::create_dir_all(Path::new(&folder).join("sub")).unwrap();
    fs::write(format!("{folder}/sub/MLproject"), "entry_points: {main: {command: echo kept}}\n").unwrap();
    let uri = format!("runs:/{run}/kept#sub");
    let (status, out, error) = fixture.call(&["run", &uri, "--env-manager", "local"]);
    assert_eq!((status, out.as_str()), (0, "kept\n"), "{error}");
    // The same artifacts as the value of a path.
    let data = format!("data=runs:/{run}/kept/sub/MLproject");
    let (project, here) = (fixture.path("project"), ["--env-manager", "local", "-P"]);
    let (status, out, error) = fixture.call(&[&["run", &project][..], &here, &[&data]].concat());
    assert!(status == 0 && out.contains("entry_points"), "{error}");
    std::os::unix::fs::symlink("/etc/passwd", format!("{folder}/link")).unwrap();
    for uri in [format!("runs:/{run}/kept"), format!("runs:/{run}/../x"), format!("runs:/{run}/gone")] {
        let (status, _, error) = fixture.call(&["run", &uri, "--env-manager", "local"]);
        assert!(status == 1 && error.contains(&uri), "{error}");
    }
}
