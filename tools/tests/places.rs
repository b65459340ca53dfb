//! Launches in other places than a shell: environments of conda, containers, clusters, plugins of MLflow. The programs
//! are fakes on the search path that record how they are called, but for kubectl, which talks to a server of ours.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{command, json as answer};
use tempfile::TempDir;

/// A project, a store, and a folder of programs that stands first on the search path.
struct Fixture {
    dir: TempDir,
}

struct Said {
    status: i32,
    out: String,
    error: String,
}

impl Fixture {
    fn new(file: &str) -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["project", "bin", "home"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("project/MLproject"), file).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `runlode run` of the project, with only the system's programs and ours.
    fn run(&self, arguments: &[&str]) -> Command {
        let (project, store) = (self.path("project"), self.path("store"));
        let mut command = command(&[&["run", &project, "--store", &store], arguments].concat());
        command.env("PATH", format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap()));
        command.env("HOME", self.path("home")).env("RUNLODE_ENV_ROOT", self.path("envs")).env("LOG", self.path("log"));
        for name in ["MLFLOW_CONDA_HOME", "CONDA_EXE", "MAMBA_EXE", "MLFLOW_CONDA_CREATE_ENV_CMD", "MLFLOW_RUN_ID"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    fn said(&self, arguments: &[&str]) -> Said {
        said(&mut self.run(arguments))
    }

    fn runs(&self) -> Vec<Value> {
        match Path::new(&self.path("store")).exists() {
            true => answer(&["runs", &self.path("store"), "--json"]).as_array().unwrap().clone(),
            false => Vec::new(),
        }
    }

    fn only_run(&self) -> Value {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        answer(&["show", &self.path("store"), runs[0]["run_id"].as_str().unwrap(), "--json"])
    }

    fn kept(&self, run: &Value, name: &str) -> String {
        let id = run["run_id"].as_str().unwrap();
        let experiment = run["experiment_id"].as_str().unwrap();
        let path = format!("{}/artifacts/{experiment}/{id}/artifacts/launch/{name}", self.path("store"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Calls that a fake program noted, each a list of its arguments.
    fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path("log")).unwrap_or_default();
        let calls = text.split('\u{1e}').filter(|call| !call.trim().is_empty());
        calls.map(|call| call.trim_start_matches('\n').split('\u{1f}').map(str::to_owned).collect()).collect()
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

/// Notes the call.
const NOTE: &str = "(IFS=$'\\x1f'; printf '%s' \"${0##*/}\" \"${@/#/$'\\x1f'}\"; printf '\\x1e') >> \"$LOG\"\n";

/// A conda that makes virtual environments.
const CONDA: &str = r#"
prefix=; for ((i = 1; i <= $#; i++)); do [[ ${!i} == --prefix ]] && { j=$((i + 1)); prefix=${!j}; }; done
case "$1 $2" in
  "env create") python3 -m venv --without-pip "$prefix" ;;
  "list --explicit") echo "@EXPLICIT"; echo "https://host/noarch/x.conda#0123" ;;
  "shell.posix activate") echo "export CONDA_PREFIX='$3'; PATH='$3/bin':\$PATH" ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"#;

const CONDA_PROJECT: &str = "name: demo\nconda_env: environment.yml\nentry_points:\n  main:\n    command: echo in $CONDA_PREFIX; python -c 'import sys; print(sys.prefix)'\n";

#[test]
fn an_environment_of_conda_is_made_once_and_entered() {
    let fixture = Fixture::new(CONDA_PROJECT);
    fs::write(fixture.path("project/environment.yml"), "dependencies: [python=3.11, numpy]\n").unwrap();
    fixture.program("conda", &format!("{NOTE}{CONDA}"));
    let first = fixture.said(&[]);
    assert_eq!(first.status, 0, "{}", first.error);
    let prefix = first.out.lines().next().unwrap().strip_prefix("in ").unwrap().to_owned();
    assert!(prefix.starts_with(&fixture.path("envs")) && first.out.lines().nth(1) == Some(&prefix), "{}", first.out);
    let run = fixture.only_run();
    assert_eq!(run["tags"]["mlflow.project.env"], "conda");
    assert!(fixture.kept(&run, "environment.txt").contains("https://host/noarch/x.conda#0123"));
    assert_eq!(fixture.said(&[]).status, 0);
    let made = fixture.calls().iter().filter(|call| call[1..3] == ["env", "create"]).count();
    assert_eq!(made, 1);
    // Another file is another environment.
    fs::write(fixture.path("project/environment.yml"), "dependencies: [python=3.11]\n").unwrap();
    let other = fixture.said(&[]);
    assert!(other.status == 0 && !other.out.contains(&prefix), "{}", other.out);
}

#[test]
fn without_conda_a_launch_says_what_to_do() {
    let fixture = Fixture::new(CONDA_PROJECT);
    fs::write(fixture.path("project/environment.yml"), "dependencies: [numpy]\n").unwrap();
    let mut command = fixture.run(&[]);
    // This machine may have one.
    command.env("MLFLOW_CONDA_HOME", fixture.path("nowhere"));
    let refused = said(&mut command);
    assert_eq!(refused.status, 1);
    for says in ["environment.yml", "no conda, mamba or micromamba in", "--env-manager virtualenv"] {
        assert!(refused.error.contains(says), "{}", refused.error);
    }
    // And so it goes.
    let done = fixture.said(&["--env-manager", "virtualenv"]);
    assert_eq!(done.status, 0, "{}", done.error);
    assert!(done.error.contains("only conda understands them: numpy"), "{}", done.error);
    assert_eq!(fixture.only_run()["tags"]["mlflow.project.env"], "virtualenv");
}

const DOCKER_PROJECT: &str = "name: demo\ndocker_env:\n  image: host:5000/base:1\n  volumes: ['/data:/data']\n  environment: [COPIED, [SET, 'a b']]\nentry_points:\n  main:\n    parameters: {x: {default: \"it's\"}}\n    command: python train.py {x}\n  shell: {command: 'echo $HOME && true'}\n";

/// A docker that has an image once it was pulled or built, and runs nothing.
const DOCKER: &str = r#"
case "$1 $2" in
  "info "*) ;;
  "image inspect")
    [[ -e "$LOG.image" ]] || exit 1
    [[ $4 == *RepoDigests* ]] && echo "registry/demo@sha256:beef" || echo "sha256:cafe" ;;
  "pull "*|"build "*|"push "*) touch "$LOG.image" ;;
  "run "*) echo "ran"; if [[ -n $FAKE_RUN ]]; then eval "$FAKE_RUN"; fi ;;
esac
"#;

fn value_of<'a>(call: &'a [String], name: &str) -> Option<&'a str> {
    let begin = format!("{name}=");
    call.windows(2).find_map(|pair| pair[1].strip_prefix(&begin).filter(|_| pair[0] == "-e"))
}

#[test]
fn a_container_is_called_as_mlflow_calls_it() {
    let fixture = Fixture::new(DOCKER_PROJECT);
    fixture.program("docker", &format!("{NOTE}{DOCKER}"));
    let mut command = fixture.run(&["-A", "gpus=all", "-A", "t", "-A", "network=host"]);
    let done = said(command.env("COPIED", "c"));
    assert_eq!((done.status, done.out.as_str()), (0, "ran\n"), "{}", done.error);
    let calls = fixture.calls();
    assert!(calls.contains(&["docker", "pull", "host:5000/base:1"].map(str::to_owned).to_vec()), "{calls:?}");
    let call = calls.iter().find(|call| call[1] == "run").unwrap();
    let all = call.join(" ");
    assert!(
        all.starts_with("docker run --rm --cidfile ") && all.contains(" --gpus all -t --network host -v "),
        "{all}"
    );
    assert!(all.contains(" -v /data:/data -e "), "{all}");
    assert!(all.ends_with(" host:5000/base:1 python train.py it's"), "{all}");
    let run = fixture.only_run();
    assert_eq!(value_of(call, "MLFLOW_RUN_ID"), run["run_id"].as_str());
    assert_eq!((value_of(call, "SET"), value_of(call, "COPIED")), (Some("a b"), Some("c")));
    assert!(value_of(call, "MLFLOW_TRACKING_URI").unwrap().starts_with("http://127.0.0.1:"), "{all}");
    for (key, value) in [
        ("mlflow.project.env", "docker"),
        ("mlflow.project.backend", "local"),
        ("mlflow.docker.image.uri", "host:5000/base:1"),
        ("mlflow.docker.image.id", "sha256:cafe"),
    ] {
        assert_eq!(run["tags"][key], value, "{key}");
    }
    assert_eq!(run["params"], json!({"x": "'it'\"'\"'s'"}));
}

#[test]
fn an_image_is_built_of_the_project() {
    let fixture = Fixture::new(DOCKER_PROJECT);
    // The Dockerfile is gone when the launch has ended.
    let keep = r#"[[ $1 == build ]] && cp "$5" "$LOG.dockerfile""#;
    fixture.program("docker", &format!("{NOTE}{keep}{DOCKER}"));
    let mut command = fixture.run(&["--build-image", "-A", "network=host", "-e", "shell"]);
    let done = said(command.env("COPIED", ""));
    assert_eq!(done.status, 0, "{}", done.error);
    let calls = fixture.calls();
    let build = calls.iter().find(|call| call[1] == "build").unwrap();
    let project = fs::canonicalize(fixture.path("project")).unwrap();
    assert_eq!(build[2..4], ["-t", "demo"]);
    assert_eq!(build.last().unwrap(), project.to_str().unwrap());
    let file = fs::read_to_string(fixture.path("log.dockerfile")).unwrap();
    assert_eq!(file, "FROM host:5000/base:1\nCOPY . /mlflow/projects/code/\nWORKDIR /mlflow/projects/code/\n");
    let run = calls.iter().find(|call| call[1] == "run").unwrap();
    assert_eq!(run.last().unwrap(), "echo $HOME && true");
    assert_eq!(run[run.len() - 5..run.len() - 2], ["demo", "sh", "-c"]);
    assert_eq!(fixture.only_run()["tags"]["mlflow.docker.image.uri"], "demo");
}

/// What runs in the container of [`a_container_logs_into_a_store_of_its_own`]: not a test of its own.
#[test]
fn in_the_container() {
    let (Ok(store), Ok(run)) = (std::env::var("IN_CONTAINER"), std::env::var("MLFLOW_RUN_ID")) else { return };
    let store = runlode::Store::open(&store).unwrap();
    let experiment = std::env::var("MLFLOW_EXPERIMENT_ID").unwrap().parse().unwrap();
    store.experiment_by_id(runlode::ExperimentId(experiment)).unwrap().info().unwrap();
    let run = store.run(run.parse().unwrap()).unwrap();
    run.log_metrics(3, &[("loss", 0.5)]).unwrap();
    run.end(runlode::RunStatus::Finished).unwrap();
    let place = PathBuf::from(run.artifact_place().unwrap());
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("model.txt"), "weights").unwrap();
    store.close().unwrap();
}

#[test]
fn a_container_logs_into_a_store_of_its_own() {
    let fixture = Fixture::new(DOCKER_PROJECT);
    fixture.program("docker", &format!("{NOTE}{DOCKER}"));
    let mut command = fixture.run(&["--experiment-name", "digits"]);
    // The fake container sees the folder that is mounted, and the variables that it is given.
    let inside = r#"while (( $# )); do
        [[ $1 == -e ]] && export "$2"; [[ $1 == -v && $2 == *:/mlflow/tmp/store ]] && export IN_CONTAINER="${2%:*}"; shift
    done; "$TEST" --exact in_the_container --nocapture >&2"#;
    command.env("COPIED", "").env("FAKE_RUN", inside).env("TEST", std::env::current_exe().unwrap());
    let done = said(&mut command);
    assert_eq!(done.status, 0, "{}", done.error);
    let run = fixture.only_run();
    assert_eq!(run["status"], "FINISHED", "{}", done.error);
    assert!(run["metrics"].to_string().contains("0.5"), "{run}");
    assert_eq!(run["params"]["x"], "'it'\"'\"'s'");
    let experiments = answer(&["experiments", &fixture.path("store"), "--json"]).to_string();
    assert!(experiments.contains("digits"), "{experiments}");
    assert!(fixture.kept(&run, "../model.txt").contains("weights"));
    let call = fixture.calls().into_iter().find(|call| call[1] == "run").unwrap();
    assert_eq!(value_of(&call, "MLFLOW_TRACKING_URI"), Some("runlode:///mlflow/tmp/store"));
    // Nothing is left to be merged.
    assert_eq!(fs::read_dir(fixture.path("store/inbox")).unwrap().count(), 0);
}

#[test]
fn what_a_container_lacks_makes_no_run() {
    let fixture = Fixture::new(DOCKER_PROJECT);
    fixture.program("docker", "echo no daemon >&2; exit 1");
    let mut command = fixture.run(&[]);
    let refused = said(command.env("COPIED", "").env("RUNLODE_CONTAINER_ENGINE", "docker"));
    assert!(refused.status == 1 && refused.error.contains("docker says: no daemon"), "{}", refused.error);
    fixture.program("docker", DOCKER);
    let mut command = fixture.run(&[]);
    let refused = said(command.env_remove("COPIED"));
    assert!(refused.status == 1 && refused.error.contains("not set: COPIED"), "{}", refused.error);
    assert_eq!(fixture.runs(), Vec::<Value>::new());
}

const TEMPLATE: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x, namespace: mlflow}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      containers: [{name: x, image: x, command: [x], env: [{name: FIRST, value: '1'}]}]\n      restartPolicy: Never\n";

/// A server that plays a cluster.
struct Cluster {
    server: std::process::Child,
    folder: TempDir,
}

impl Cluster {
    fn start(outcome: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/server.py");
        let server = Command::new("python3").arg(script).arg(folder.path()).arg(outcome).spawn().unwrap();
        let cluster = Self { server, folder };
        let begun = Instant::now();
        while !cluster.config().exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("requests")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _gone = self.server.wait();
    }
}

/// Whether kubectl and openssl are here; says so if not.
fn can_play_a_cluster() -> bool {
    let has = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let can = has("kubectl", "options") && has("openssl", "version") && has("python3", "--version");
    if !can {
        println!("skipped: kubectl, openssl and python3 are needed");
    }
    can
}

fn clustered(fixture: &Fixture, cluster: &Cluster, more: &[&str]) -> Command {
    fs::write(fixture.path("job.yaml"), TEMPLATE).unwrap();
    let config = json!({"kube-job-template-path": fixture.path("job.yaml"), "repository-uri": "registry/demo", "kube-context": "recorded"});
    let config = config.to_string();
    let mut command = fixture.run(&[&["-b", "kubernetes", "-c", &config], more].concat());
    command
        .env("KUBECONFIG", cluster.config())
        .env("COPIED", "c")
        .env("KUBE_MLFLOW_TRACKING_URI", "http://tracking:5000");
    command
}

#[test]
fn a_job_is_submitted_followed_and_recorded() {
    if !can_play_a_cluster() {
        return;
    }
    for (outcome, status, state) in [("Complete", 0, "FINISHED"), ("Failed", 1, "FAILED")] {
        let (fixture, cluster) = (Fixture::new(DOCKER_PROJECT), Cluster::start(outcome));
        fixture.program("docker", &format!("{NOTE}{DOCKER}"));
        let done = said(&mut clustered(&fixture, &cluster, &["--build-image"]));
        assert_eq!((done.status, done.out.as_str()), (status, "hello from a pod\n"), "{}", done.error);
        let run = fixture.only_run();
        assert_eq!(run["status"], state);
        for (key, value) in [
            ("mlflow.project.env", "docker"),
            ("mlflow.project.backend", "kubernetes"),
            ("mlflow.docker.image.uri", "registry/demo"),
            ("mlflow.docker.image.id", "sha256:beef"),
        ] {
            assert_eq!(run["tags"][key], value, "{key}");
        }
        let posted = cluster.requests().into_iter().find(|request| request["method"] == "POST").unwrap();
        assert_eq!(posted["path"], "/apis/batch/v1/namespaces/mlflow/jobs");
        let job: Value = serde_json::from_str(posted["body"].as_str().unwrap()).unwrap();
        assert!(job["metadata"]["name"].as_str().unwrap().starts_with("demo-20"), "{job}");
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "registry/demo@sha256:beef");
        assert_eq!(container["command"], json!(["python", "train.py", "it's"]));
        let variables: Vec<_> = container["env"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["name"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        assert_eq!(
            variables,
            [
                ("FIRST", "1"),
                ("MLFLOW_RUN_ID", run["run_id"].as_str().unwrap()),
                ("MLFLOW_TRACKING_URI", "http://tracking:5000"),
                ("MLFLOW_EXPERIMENT_ID", "0"),
                ("COPIED", "c"),
                ("SET", "a b"),
            ]
        );
        assert_eq!(fixture.kept(&run, "output.txt"), "hello from a pod\n");
        assert_eq!(serde_json::from_str::<Value>(&fixture.kept(&run, "job.json")).unwrap(), job);
    }
}

#[test]
fn a_signal_deletes_the_job() {
    if !can_play_a_cluster() {
        return;
    }
    let (fixture, cluster) = (Fixture::new(DOCKER_PROJECT), Cluster::start("Never"));
    fixture.program("docker", DOCKER);
    let mut command = clustered(&fixture, &cluster, &[]);
    let mut launcher = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(launcher.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("the Job has started") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it never started");
    }
    assert!(Command::new("kill").args(["-INT", &launcher.id().to_string()]).status().unwrap().success());
    assert_eq!(launcher.wait().unwrap().code(), Some(1));
    assert_eq!(fixture.only_run()["status"], "FAILED");
    assert!(cluster.requests().iter().any(|request| request["method"] == "DELETE"));
}

#[test]
fn a_dry_run_prints_the_job_and_records_nothing() {
    let fixture = Fixture::new(DOCKER_PROJECT);
    fixture.program("kubectl", "exit 1");
    fixture.program("docker", DOCKER);
    fs::write(fixture.path("job.yaml"), TEMPLATE).unwrap();
    fs::write(
        fixture.path("backend.json"),
        json!({"kube-job-template-path": fixture.path("job.yaml"), "repository-uri": "registry/demo"}).to_string(),
    )
    .unwrap();
    let config = fixture.path("backend.json");
    let call = |more: &[&str], variables: &[(&str, &str)]| {
        let mut command = fixture.run(&[&["-b", "kubernetes", "-c", &config], more].concat());
        said(command.env("COPIED", "").env_remove("KUBE_MLFLOW_TRACKING_URI").envs(variables.iter().copied()))
    };
    let shown = call(&["--dry-run"], &[]);
    assert_eq!(shown.status, 0, "{}", shown.error);
    let job: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["image"], "host:5000/base:1");
    // No pod could reach the store.
    let refused = call(&[], &[]);
    assert!(refused.status == 1 && refused.error.contains("KUBE_MLFLOW_TRACKING_URI"), "{}", refused.error);
    fs::write(fixture.path("job.yaml"), TEMPLATE.replace(", namespace: mlflow", "")).unwrap();
    let refused = call(&[], &[("KUBE_MLFLOW_TRACKING_URI", "http://x")]);
    assert!(
        refused.status == 1 && refused.error.contains("job.yaml:3: metadata.namespace: missing"),
        "{}",
        refused.error
    );
    assert_eq!(fixture.runs(), Vec::<Value>::new());
    for (arguments, says) in [
        (&["-b", "kubernetes"][..], "needs --backend-config"),
        (&["-b", "kubernetes", "-c", "{}"], "lacks kube-job-template-path"),
        (&["-b", "kubernetes", "-c", "{"], "no JSON"),
        (&["--docker-args=--gpus=all"], "without dashes"),
        (&["-A", "gpus=1", "-A", "gpus=2"], "-A gpus is given twice"),
    ] {
        let refused = fixture.said(arguments);
        assert!(refused.status == 2 && refused.error.contains(says), "{arguments:?}: {}", refused.error);
    }
}

#[test]
fn other_backends_are_handed_to_mlflow() {
    let fixture = Fixture::new("name: demo\n");
    fixture.program("mlflow", &format!("{NOTE}echo uri $MLFLOW_TRACKING_URI; exit 3"));
    fixture.program("python", "echo my-cluster other");
    let refused = fixture.said(&["-b", "gone"]);
    assert!(refused.status == 2 && refused.error.contains("are: my-cluster, other"), "{}", refused.error);
    let done = fixture.said(&["-b", "my-cluster", "-P", "a=b c", "-e", "go", "-c", "{\"x\": 1}", "--run-name", "n"]);
    assert_eq!(done.status, 1, "{}", done.error);
    assert!(done.out.starts_with("uri http://127.0.0.1:"), "{}", done.out);
    let call = fixture.calls().pop().unwrap();
    let project = fixture.path("project");
    assert_eq!(
        call,
        [
            "mlflow",
            "run",
            "--entry-point",
            "go",
            "--backend",
            "my-cluster",
            "--backend-config",
            "{\"x\": 1}",
            "--run-name",
            "n",
            "--param-list",
            "a=b c",
            "--",
            &project
        ]
    );
}
