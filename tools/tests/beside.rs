//! Commands beside a process that holds the store, and on stores that are only read.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use runlode::{ExperimentId, LocalStore, RunSpec, Store};
use serde_json::{Value, json};
use support::{database, done, imported, json as json_of, runlode, said};
use tempfile::TempDir;

/// `runlode serve` on a free port.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(store: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_runlode"))
            .args(["serve", store, "--port", "0", "--no-ui", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the server did not start");
        Self { child, url: format!("http://{}", told["address"].as_str().unwrap()) }
    }

    fn get(&self, path: &str) -> Value {
        self.ask(ureq::get(format!("{}{path}", self.url)).call(), path)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(
            ureq::post(format!("{}{path}", self.url)).content_type("application/json").send(body.to_string()),
            path,
        )
    }

    fn ask(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, path: &str) -> Value {
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        read(&mut answer)
    }

    /// Ends it in good order.
    fn end(mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(answer: &mut ureq::http::Response<ureq::Body>) -> Value {
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

const SEARCH: &str = "/api/2.0/mlflow/runs/search";

fn steps(server: &Server, run: &str, key: &str) -> Vec<Value> {
    let found = server.get(&format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key={key}"));
    found["metrics"]
        .as_array()
        .map(|points| points.iter().map(|point| point["step"].clone()).collect())
        .unwrap_or_default()
}

#[test]
fn a_server_and_commands_work_beside_a_training_and_the_server_takes_over() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let training = Store::open(&path).unwrap();
    let run = training.experiment("e").unwrap().create_run(RunSpec::named("training")).unwrap();
    let id = run.id().to_string();
    run.log_metrics(0, &[("loss", 1.0)]).unwrap();

    let server = Server::start(text);
    assert!(training.holds().unwrap());
    let experiment = run.info().unwrap().experiment.to_string();
    let found = server.post(SEARCH, &json!({"experiment_ids": [experiment], "max_results": 10}));
    assert_eq!(found["runs"][0]["info"]["run_id"], json!(id));
    // Each sees at once what the other was acknowledged.
    run.log_metrics(1, &[("loss", 0.5)]).unwrap();
    let point = json!({"run_id": id, "key": "loss", "value": 0.25, "timestamp": 4_102_444_800_000_i64, "step": 2});
    server.post("/api/2.0/mlflow/runs/log-metric", &point);
    assert_eq!(steps(&server, &id, "loss"), [json!(0), json!(1), json!(2)]);
    assert_eq!(run.latest("loss").unwrap().unwrap().count, 3);
    let tag = json!({"run_id": id, "key": "k", "value": "v"});
    server.post("/api/2.0/mlflow/runs/set-tag", &tag);
    assert!(run.info().unwrap().tags.contains(&("k".to_owned(), "v".to_owned())));
    // Calls beyond MLflow's.
    let past = server.get(&format!("/api/runlode/v1/history?run_id={id}"));
    assert!(past["changes"].as_array().unwrap().len() >= 2, "{past}");
    let curve = server.get(&format!("/api/runlode/v1/downsample?run_id={id}&metric_key=loss&buckets=10"));
    assert_eq!(curve["count"], 3);
    let position = server.get("/api/runlode/v1/positions")["published"].clone();
    let then = server.get(&format!("/api/runlode/v1/as-of/metrics?run_id={id}&metric_key=loss&position={position}"));
    assert_eq!(then["metrics"].as_array().unwrap().len(), 3);
    // A call with a key is made once, and its author is kept.
    let create = || {
        let request = ureq::post(format!("{}/api/2.0/mlflow/runs/create", server.url));
        let request = request.header("Idempotency-Key", "k1").header("Authorization", "Basic YW5uOng=");
        let body = json!({"experiment_id": experiment, "run_name": "keyed"}).to_string();
        let mut answer = request.content_type("application/json").send(body).unwrap();
        read(&mut answer)["run"]["info"]["run_id"].clone()
    };
    let keyed = create();
    assert_eq!(create(), keyed);
    let by = server.get(&format!("/api/runlode/v1/history?run_id={}", keyed.as_str().unwrap()));
    assert_eq!(by["changes"][0]["actor"], "ann");

    // Commands ask the holder; what only reads reads beside it.
    assert_eq!(json_of(&["runs", text, "--json"]).as_array().unwrap().len(), 2);
    assert_eq!(json_of(&["show", text, &id, "--json"])["run_id"], json!(id));
    assert!(done(&["plot", text, &id, "loss"]).contains("3 points"));
    assert!(done(&["history", text, &id]).contains("training"));
    assert!(!done(&["tail", text]).is_empty());
    assert_eq!(json_of(&["rewind", text, &id, "--to-step", "1", "--json"])["points_hidden"], 1);
    assert_eq!(run.latest("loss").unwrap().unwrap().count, 2);
    assert!(json_of(&["compact", text, "--json"])["series_files"].as_u64().unwrap() >= 1);
    assert!(done(&["verify", text]).contains("Sound"));
    assert!(training.holds().unwrap());
    let refused = runlode(&["verify", text, "--repair"]);
    assert_eq!(refused.status.code(), Some(2), "only a repair needs the store for itself");

    // The training ends; the server is the holder now.
    drop(run);
    training.close().unwrap();
    server.post("/api/2.0/mlflow/runs/set-tag", &json!({"run_id": id, "key": "after", "value": "v"}));
    assert_eq!(steps(&server, &id, "loss"), [json!(0), json!(1)]);
    // And a training that starts beside it joins it.
    let second = Store::open(&path).unwrap();
    assert!(!second.holds().unwrap());
    let other = second.experiment("e").unwrap().create_run(RunSpec::named("second")).unwrap();
    other.log_metrics(7, &[("loss", 1.0)]).unwrap();
    assert_eq!(steps(&server, &other.id().to_string(), "loss"), [json!(7)]);
    drop(other);
    second.close().unwrap();
    server.end();
}

#[test]
fn requests_that_wait_are_answered_when_the_holder_is_killed() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let mut holder = Server::start(text);
    let run = holder.post("/api/2.0/mlflow/runs/create", &json!({"experiment_id": "0"}));
    let id = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let metrics: Vec<Value> =
        (0..1000).map(|step| json!({"key": "loss", "value": 1.0, "timestamp": step, "step": step})).collect();
    holder.post("/api/2.0/mlflow/runs/log-batch", &json!({"run_id": id, "metrics": metrics}));
    let server = Server::start(text);
    let (done, answered, tagged) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(steps(&server, &id, "loss").len(), 1000);
                    let found = server.post(SEARCH, &json!({"experiment_ids": ["0"], "max_results": 10}));
                    assert!(!found["runs"].as_array().unwrap().is_empty());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let number = tagged.load(Ordering::Relaxed);
                let tag = json!({"run_id": id, "key": "n", "value": number.to_string()});
                server.post("/api/2.0/mlflow/runs/set-tag", &tag);
                tagged.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wait_for = |more: usize| {
            let (answers, tags) = (answered.load(Ordering::Relaxed), tagged.load(Ordering::Relaxed));
            while answered.load(Ordering::Relaxed) < answers + more || tagged.load(Ordering::Relaxed) < tags + more {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait_for(3);
        holder.child.kill().unwrap();
        holder.child.wait().unwrap();
        wait_for(3);
        done.store(true, Ordering::Relaxed);
    });
    let run = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={id}"));
    let tags = run["run"]["data"]["tags"].as_array().unwrap();
    let last = tags.iter().find(|tag| tag["key"] == "n").unwrap()["value"].as_str().unwrap().to_owned();
    assert_eq!(last, (tagged.load(Ordering::Relaxed) - 1).to_string());
    server.end();
}

/// Every file below a folder, with its bytes and the time of its last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                folders.push(path.clone());
            }
            let bytes = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path, (bytes, meta.modified().unwrap()));
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
    // A socket is no file of the store.
    let _ = std::fs::remove_file(to.join("sock"));
}

#[test]
fn a_killed_store_is_read_without_writing_and_as_from_its_log_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let mut server = Server::start(text);
    let mut ids = Vec::new();
    for number in 0..20 {
        let name = format!("run-{number}");
        let run = server.post("/api/2.0/mlflow/runs/create", &json!({"experiment_id": "0", "run_name": name}));
        let id = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let metrics: Vec<Value> = (0..500)
            .map(|step| json!({"key": "loss", "value": f64::from(step * number), "timestamp": step, "step": step}))
            .collect();
        server.post("/api/2.0/mlflow/runs/log-batch", &json!({"run_id": id, "metrics": metrics}));
        ids.push(id);
        if number == 9 {
            // Half of it is in files and index, the other half only in the log.
            done(&["compact", text]);
        }
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let (copied, bare) = (dir.path().join("copied"), dir.path().join("bare"));
    copy(&path, &copied);
    copy(&path, &bare);
    std::fs::remove_file(bare.join("index.redb")).unwrap();
    let _ = std::fs::remove_file(bare.join("search.snap"));
    assert!(Command::new("chmod").args(["-R", "a-w"]).arg(&copied).status().unwrap().success());
    let before = files(&copied);
    let commands: Vec<Vec<&str>> = vec![
        vec!["runs", "--json"],
        vec!["runs", "metrics.loss.max > 4000", "--order", "metrics.loss desc", "--json"],
        vec!["show", &ids[3], "--json"],
        vec!["show", &ids[15], "--json"],
        vec!["show", "run-17", "--json"],
        vec!["plot", &ids[3], "loss", "--json"],
        vec!["plot", &ids[15], "loss", "--json"],
        vec!["history", &ids[15], "--json"],
        vec!["tail", "--json"],
    ];
    for command in &commands {
        let on = |store: &Path| {
            let mut arguments = command.clone();
            arguments.insert(1, store.to_str().unwrap());
            done(&arguments)
        };
        assert_eq!(on(&copied), on(&bare), "{command:?}");
    }
    done(&["verify", copied.to_str().unwrap()]);
    assert!(files(&copied) == before, "a command that reads has written");
    assert!(Command::new("chmod").args(["-R", "u+w"]).arg(&copied).status().unwrap().success());
}

fn files_of(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.metadata().unwrap() {
            of if of.is_dir() => found.extend(files_of(&entry.path())),
            of => found.push((entry.path(), of.len(), of.modified().unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_store_without_an_index_is_read_by_one_that_is_kept_elsewhere() {
    let (dir, store) = imported();
    let cache = dir.path().join("cache");
    let cached = |arguments: &[&str]| said(&runlode(&[arguments, &["--cache", cache.to_str().unwrap()]].concat()));
    let questions = [
        vec!["runs", &store, "--csv", "--view", "all"],
        vec!["experiments", &store, "--json"],
        vec!["tail", &store, "--json"],
        vec!["show", &store, "models:/fraud", "--json"],
    ];
    let asked: Vec<(Option<i32>, String, String)> = questions.iter().map(|question| said(&runlode(question))).collect();
    // An index of its own is used.
    assert_eq!(cached(&questions[0]), asked[0]);
    assert!(!cache.exists());
    for name in ["index.redb", "search.snap"] {
        let _ = std::fs::remove_file(Path::new(&store).join(name));
    }
    let before = files_of(Path::new(&store));
    let (code, out, error) = cached(&questions[0]);
    assert_eq!((code, &out), (asked[0].0, &asked[0].1));
    assert!(error.contains("index.redb is missing; read all") && error.contains("made an index in"), "{error}");
    for (question, answer) in questions.iter().zip(&asked) {
        assert_eq!(&cached(question), answer, "{question:?}");
    }
    assert!(files_of(Path::new(&store)) == before, "a reader writes nothing");
    // When the store has changed, it is made again.
    let changed = LocalStore::open(&store).unwrap();
    changed.create_run(ExperimentId(0), RunSpec::named("later")).unwrap();
    changed.close().unwrap();
    std::fs::remove_file(Path::new(&store).join("index.redb")).unwrap();
    let (code, out, error) = cached(&questions[0]);
    assert!(code == Some(0) && out.contains(",later,") && error.contains("made an index"), "{out} {error}");
    assert_eq!(cached(&questions[0]), (Some(0), out, String::new()));
    // What is missing is told as without it.
    let log = Path::new(&store).join("log");
    let segment = std::fs::read_dir(&log).unwrap().flatten().map(|entry| entry.path()).min().unwrap();
    std::fs::remove_file(segment).unwrap();
    let plain = said(&runlode(&questions[0]));
    let (code, out, error) = cached(&questions[0]);
    assert!(code == Some(1) && out == plain.1 && error.contains("no index is kept"), "{out} {error}");
}

#[test]
fn an_import_goes_through_the_process_that_holds_the_store() {
    let (_alone, plain) = imported();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = path.to_str().unwrap();
    let holder = Store::open(&path).unwrap();
    let digits = holder.experiment("digits").unwrap();
    let training = digits.create_run(RunSpec::named("training")).unwrap();
    let source = format!("sqlite:///{}", database().display());
    let report = json_of(&["import", &source, store, "--json"]);
    training.log_metrics(1, &[("loss", 0.5)]).unwrap();
    assert_eq!((&report["complete"], report["batches_new"].as_u64() > Some(0)), (&json!(true), true), "{report}");
    // Everything is there as an import without a holder makes it, beside what the training has.
    let rows = |store: &str| {
        let csv =
            done(&["runs", store, "--view", "all", "-n", "100000", "--columns", "run_id,run_name,status", "--csv"]);
        csv.lines()
            .filter(|line| !line.contains("training"))
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (here, there) = (rows(store), rows(&plain));
    assert!(there.len() > 2);
    assert_eq!(here, there);
    for list in ["models", "logged-models"] {
        let names = |store: &str| done(&[list, store, "--columns", "name", "--csv"]);
        assert_eq!(names(store), names(&plain));
    }
    let again = json_of(&["import", &source, store, "--json"]);
    assert_eq!((&again["batches_new"], &again["complete"]), (&json!(0), &json!(true)), "{again}");
    assert!(holder.status().unwrap().holds);
    assert_eq!(training.history("loss").unwrap().count(), 1);
    drop((training, digits));
    holder.close().unwrap();
    done(&["verify", store]);
}
