//! docs/projects.md: every command in it runs, as it stands there.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{command, commands};
use tempfile::TempDir;

const PROJECT: &str = "entry_points:\n  main: {command: echo main}\n  train:\n    parameters: {lr: {default: 0.1}}\n    command: echo train {lr}\n";
const CONTAINER: &str = "name: demo\ndocker_env: {image: base}\nentry_points: {main: {command: python x.py}}\n";
const JOB: &str =
    "apiVersion: batch/v1\nkind: Job\nmetadata: {namespace: n}\nspec: {template: {spec: {containers: [{name: x}]}}}\n";

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let mut command = Command::new("git");
    assert!(
        command.args(identity).args(arguments).current_dir(folder).stdout(Stdio::null()).status().unwrap().success()
    );
}

/// Everything that the commands name.
fn place() -> TempDir {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["project/sub", "container", "bin", "home"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for (name, text) in [
        ("project/MLproject", PROJECT),
        ("project/sub/MLproject", PROJECT),
        ("container/MLproject", CONTAINER),
        ("job.yaml", JOB),
        ("backend.json", &json!({"kube-job-template-path": "job.yaml", "repository-uri": "r/demo"}).to_string()),
    ] {
        fs::write(at(name), text).unwrap();
    }
    git(&at("project"), &["init", "-q"]);
    git(&at("project"), &["add", "."]);
    git(&at("project"), &["commit", "-q", "-m", "one"]);
    git(&at("project"), &["tag", "v1.2"]);
    git(dir.path(), &["clone", "-q", "--bare", "project", "project.git"]);
    let zip = "import shutil; shutil.make_archive('project', 'zip', 'project')";
    assert!(Command::new("python3").args(["-c", zip]).current_dir(dir.path()).status().unwrap().success());
    symlink(env!("CARGO_BIN_EXE_runlode"), at("bin/runlode")).unwrap();
    let kubectl = "#!/bin/sh\ncase \"$*\" in *get*) echo '{\"status\": {\"conditions\": [{\"type\": \"Complete\", \"status\": \"True\"}]}}';; esac\n";
    for (name, text) in [("docker", "#!/bin/sh\necho sha256:0\n"), ("kubectl", kubectl)] {
        fs::write(at("bin").join(name), text).unwrap();
        fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

#[test]
fn every_command_of_the_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/projects.md");
    let commands = commands(&fs::read_to_string(page).unwrap());
    assert!(commands.len() > 8, "{commands:?}");
    let dir = place();
    let served = dir.path().join("served");
    let mut server = command(&["serve", served.to_str().unwrap(), "--port", "0", "--json", "--no-ui"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let line = BufReader::new(server.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
    let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut failed = Vec::new();
    for line in &commands {
        // Names of the page that stand for what the reader has: a server, a run.
        let mut line = line.replace("127.0.0.1:5000", &address);
        if line.contains("rerun RUN") {
            let call = command(&[
                "runs",
                dir.path().join("store").to_str().unwrap(),
                "--launch",
                "--json",
                "tags.`mlflow.project.entryPoint` = 'train'",
            ]);
            let found: Value = serde_json::from_slice(&{ call }.output().unwrap().stdout).unwrap();
            line = line.replace("RUN", found[0]["run_id"].as_str().unwrap());
        }
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(&line).current_dir(dir.path()).stdin(Stdio::null());
        bash.env("PATH", &path).env("HOME", dir.path().join("home")).env("RUNLODE_ENV_ROOT", dir.path().join("envs"));
        bash.env("KUBE_MLFLOW_TRACKING_URI", "http://tracking").env("GIT_CONFIG_COUNT", "2");
        bash.env("GIT_CONFIG_KEY_0", format!("url.{}/.insteadOf", dir.path().display()));
        bash.env("GIT_CONFIG_VALUE_0", "https://example.com/team/");
        bash.env("GIT_CONFIG_KEY_1", "protocol.file.allow").env("GIT_CONFIG_VALUE_1", "always");
        for name in ["MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"] {
            bash.env_remove(name);
        }
        let output = bash.output().unwrap();
        // A check says that the folder of today was not what ran then: that is its answer.
        let expected: &[i32] = if line.contains("--check") { &[0, 1] } else { &[0] };
        if !expected.contains(&output.status.code().unwrap()) {
            failed.push(format!("{line}\n{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
