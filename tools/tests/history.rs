//! Who changed what: authors in every way into a store, changes as fields, and the tail of events.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runlode::{ExperimentId, LocalStore, RunSpec, RunStatus, Stage, Store, VersionSpec};
use serde_json::{Value, json};
use support::{command, done, json, said};
use tempfile::TempDir;

/// A process that is ended with the test.
struct Process(Child);

impl Process {
    /// Starts a command, and waits for its first line.
    fn start(arguments: &[&str], user: &str) -> (Self, String) {
        let mut child = command(arguments).env("LOGNAME", user).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn authors(history: &Value) -> Vec<(String, Value)> {
    let changes = history.as_array().unwrap().iter();
    changes.map(|change| (change["event"].as_str().unwrap().to_owned(), change["actor"].clone())).collect()
}

#[test]
fn the_user_of_a_process_is_its_author() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let store = LocalStore::options(&path).author(Some("ann")).open().unwrap();
    let run = store.create_run(ExperimentId(0), RunSpec::named("r")).unwrap();
    run.log_metrics(0, &[("loss", 1.0)]).unwrap();
    run.log_metrics(1, &[("loss", 0.5)]).unwrap();
    drop(run);
    store.close().unwrap();
    let rewind = command(&["rewind", text, "r", "--to-step", "0"]).env("LOGNAME", "bob").output().unwrap();
    assert_eq!(rewind.status.code(), Some(0), "{rewind:?}");
    // Without any of the variables it is the name of the user id.
    let nameless = command(&["rewind", text, "r", "--to-step", "-1"])
        .env_remove("LOGNAME")
        .env_remove("USER")
        .env_remove("LNAME")
        .env_remove("USERNAME")
        .output()
        .unwrap();
    assert_eq!(nameless.status.code(), Some(0), "{nameless:?}");
    let history = json(&["history", text, "r", "--json"]);
    let who = authors(&history);
    let of =
        |event: &str| who.iter().filter(|(kind, _)| kind == event).map(|(_, actor)| actor.clone()).collect::<Vec<_>>();
    assert_eq!(of("RunCreated"), ["ann"]);
    let rewinds = of("RunRewound");
    assert_eq!(rewinds[0], "bob");
    let id = String::from_utf8(std::process::Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    assert_eq!(rewinds[1], id.trim());
    let shown = done(&["history", text, "r"]);
    assert!(shown.contains("  ann") && shown.contains("  bob"), "{shown}");
}

#[test]
fn a_client_of_a_holder_is_the_author_of_its_changes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    LocalStore::open(&path).unwrap().close().unwrap();
    // Holds the store while this process writes.
    let (server, line) = Process::start(&["serve", text, "--port", "0", "--no-ui"], "daemon");
    assert!(line.contains("http://"), "{line}");
    let store = Store::open(&path).unwrap();
    assert!(!store.holds().unwrap());
    let experiment = store.experiment("mine").unwrap();
    let run = experiment.create_run(RunSpec::named("r")).unwrap();
    run.end(RunStatus::Finished).unwrap();
    store.close().unwrap();
    drop(server);
    let me = LocalStore::options(dir.path().join("other")).open().unwrap().author().unwrap().to_owned();
    assert_ne!(me, "daemon");
    for entity in ["experiment:mine", "r"] {
        let history = json(&["history", text, entity, "--json"]);
        assert!(authors(&history).iter().all(|(_, actor)| *actor == me.as_str()), "{history}");
    }
}

/// Calls a server; with a login if one is given.
fn post(address: &str, path: &str, body: &Value, login: Option<&str>) -> Value {
    use base64::Engine;
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.post(format!("{address}/api/2.0/mlflow/{path}")).content_type("application/json");
    if let Some(login) = login {
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{login}:secret"));
        request = request.header("authorization", format!("Basic {encoded}"));
    }
    let text = request.send(body.to_string()).unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_server_names_the_login_or_else_the_user_of_mlflow_and_never_itself() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let (server, line) = Process::start(&["serve", text, "--port", "0", "--no-ui"], "daemon");
    let address = line.split(' ').find(|word| word.starts_with("http://")).unwrap().trim_end_matches(':').to_owned();
    let eve = json!([{ "key": "mlflow.user", "value": "eve" }]);
    let created = post(&address, "runs/create", &json!({ "experiment_id": "0", "run_name": "r", "tags": eve }), None);
    let id = created["run"]["info"]["run_id"].as_str().unwrap();
    let tag = |key: &str, value: &str, login| {
        post(&address, "runs/set-tag", &json!({ "run_id": id, "key": key, "value": value }), login);
    };
    tag("kind", "a", None);
    tag("kind", "b", Some("bob"));
    tag("mlflow.user", "fred", None);
    tag("mlflow.user", "gus", Some("bob"));
    post(&address, "runs/create", &json!({ "experiment_id": "0", "run_name": "s", "user_id": "ida" }), None);
    post(&address, "runs/create", &json!({ "experiment_id": "0", "run_name": "t" }), Some("bob"));
    drop(server);
    let history = json(&["history", text, "r", "--json"]);
    let actors: Vec<Value> = authors(&history).into_iter().map(|(_, actor)| actor).collect();
    assert_eq!(actors, [json!("eve"), Value::Null, json!("bob"), json!("fred"), json!("bob")]);
    assert_eq!(json(&["history", text, "s", "--json"])[0]["actor"], "ida");
    assert_eq!(json(&["history", text, "t", "--json"])[0]["actor"], "bob");
}

#[test]
fn what_is_synced_keeps_its_authors() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for (author, name) in [(Some("ann"), "by-ann"), (None, "by-nobody")] {
        let store = LocalStore::options(&from).author(author).open().unwrap();
        store.create_run(ExperimentId(0), RunSpec::named(name).tag("k", "v")).unwrap();
        store.close().unwrap();
    }
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let sync = command(&["sync", from, to]).env("LOGNAME", "carrier").output().unwrap();
    assert_eq!(said(&sync).0, Some(0), "{sync:?}");
    assert_eq!(json(&["history", to, "by-ann", "--json"])[0]["actor"], "ann");
    assert_eq!(json(&["history", to, "by-nobody", "--json"])[0]["actor"], Value::Null);
}

#[test]
fn changes_are_fields_beside_their_sentences() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let store = LocalStore::open(&path).unwrap();
    let run = store.create_run(ExperimentId(0), RunSpec::named("r").tag("k", "1")).unwrap();
    run.set_tags(&[("k", "2")]).unwrap();
    run.log_params(&[("lr", "0.1")]).unwrap();
    run.end(RunStatus::Finished).unwrap();
    store.create_registered_model("fraud").unwrap();
    let version = store.create_version("fraud", VersionSpec::from_source("s3://b/m")).unwrap();
    store.transition_stage("fraud", version, Stage::Production, false).unwrap();
    store.set_alias("fraud", "champion", version).unwrap();
    store.delete_alias("fraud", "champion").unwrap();
    drop(run);
    store.close().unwrap();

    let history = json(&["history", text, "r", "--json"]);
    let find = |history: &Value, event: &str, field: &str| -> Value {
        let changes = history.as_array().unwrap().iter().filter(|change| change["event"] == event);
        let mut fields = changes.flat_map(|change| change["fields"].as_array().unwrap().clone());
        fields.find(|change| change["field"] == field).unwrap_or_else(|| panic!("no {field} in {event}: {history}"))
    };
    let field = |name: &str, version: Value, from: Value, to: Value| json!({ "field": name, "version": version, "from": from, "to": to });
    assert_eq!(find(&history, "RunTagsSet", "tags.k"), field("tags.k", Value::Null, json!("1"), json!("2")));
    assert_eq!(find(&history, "ParamsLogged", "params.lr"), field("params.lr", Value::Null, Value::Null, json!("0.1")));
    assert_eq!(find(&history, "RunUpdated", "status")["from"], "RUNNING");
    let end = find(&history, "RunUpdated", "end_time_ms");
    assert!(end["to"].as_str().unwrap().parse::<i64>().unwrap() > 0, "{end}");
    assert!(history.to_string().contains("tag k: 1 -> 2"), "{history}");

    let history = json(&["history", text, "models:/fraud", "--json"]);
    assert_eq!(
        find(&history, "ModelVersionStageChanged", "stage"),
        field("stage", json!(version), json!("None"), json!("Production"))
    );
    assert_eq!(find(&history, "AliasSet", "aliases.champion")["to"], version.to_string());
    assert_eq!(
        find(&history, "AliasDeleted", "aliases.champion"),
        field("aliases.champion", Value::Null, json!(version.to_string()), Value::Null)
    );
    let shown = done(&["history", text, "models:/fraud"]);
    for line in
        ["version 1 stage: None -> Production", "alias champion: version 1", "alias champion: version 1 -> (deleted)"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn a_tail_says_what_happened() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let store = LocalStore::options(&path).author(Some("ann")).open().unwrap();
    let run = store.create_run(ExperimentId(0), RunSpec::named("trial")).unwrap();
    let id = run.id().to_string();
    run.log_params(&[("lr", "0.1")]).unwrap();
    run.log_metrics(7, &[("loss", 0.25), ("bad", f64::INFINITY)]).unwrap();
    drop(run);
    store.close().unwrap();

    let lines: Vec<Value> =
        done(&["tail", text, "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let created = find("RunCreated")[0];
    assert_eq!((&created["run_id"], &created["name"], &created["actor"]), (&json!(id), &json!("trial"), &json!("ann")));
    assert_eq!(find("ParamsLogged")[0]["params"], json!({ "lr": "0.1" }));
    let points = find("PointsLogged");
    assert_eq!(points.len(), 2, "{lines:?}");
    assert_eq!((&points[0]["key"], &points[0]["values"]), (&json!("bad"), &json!(["Infinity"])));
    assert_eq!(
        (&points[1]["run_id"], &points[1]["key"], &points[1]["steps"], &points[1]["values"], &points[1]["points"]),
        (&json!(id), &json!("loss"), &json!([7]), &json!([0.25]), &json!(1))
    );
    assert!(points[1]["timestamps_ms"][0].is_i64());
    let shown = done(&["tail", text]);
    let line = |what: &str| shown.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {shown}"));
    assert!(line("loss").contains(&id[..8]) && line("loss").contains("step 7  0.25"), "{shown}");
    assert!(line("RunCreated").contains("name trial") && line("RunCreated").contains("ann"), "{shown}");
    assert!(line("ParamsLogged").contains("lr=0.1"), "{shown}");
    // From a position on.
    let from = points[0]["position"].to_string();
    assert!(!done(&["tail", text, "--from", &from]).contains("RunCreated"));
}

/// The lines of `tail --follow`, as they come. The command is ended when this is dropped, and after a minute: a line that
/// does not come then ends the iteration.
struct Following {
    child: Arc<Mutex<Child>>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn begin(store: &str) -> Self {
        let mut child = command(&["tail", store, "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::downgrade(&child);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(60));
            if let Some(child) = watched.upgrade() {
                let _ = child.lock().unwrap().kill();
            }
        });
        Self { child, lines }
    }

    /// The next line of this kind of event.
    fn next(&mut self, event: &str) -> Value {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("no {event} came")).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn a_tail_follows_whoever_holds_the_store() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let hold = || Store::options(&path).open_apart().unwrap();
    let log = |store: &Store, name: &str, key: &str| {
        let run = store.experiment("e").unwrap().create_run(RunSpec::named(name)).unwrap();
        run.log_metrics(1, &[(key, 0.5)]).unwrap();
        run.id().to_string()
    };
    let first = hold();
    log(&first, "before", "loss");
    let mut following = Following::begin(text);
    assert_eq!(following.next("RunCreated")["name"], "before");
    assert_eq!(following.next("PointsLogged")["key"], "loss");
    // A key that no file knew when the command began.
    let id = log(&first, "beside", "made later");
    assert_eq!(following.next("RunCreated")["run_id"], *id);
    let points = following.next("PointsLogged");
    assert_eq!((&points["run_id"], &points["key"]), (&json!(id), &json!("made later")));
    // Its last words may not have been asked for.
    log(&first, "last", "last key");
    first.close().unwrap();
    assert_eq!(following.next("RunCreated")["name"], "last");
    assert_eq!(following.next("PointsLogged")["key"], "last key");
    // Another holder, which may be gone before anybody looks.
    for name in ["second", "third"] {
        let store = hold();
        log(&store, name, name);
        store.close().unwrap();
        assert_eq!(following.next("RunCreated")["name"], name);
        assert_eq!(following.next("PointsLogged")["key"], name);
    }
    // It took no part in the store.
    let store = hold();
    assert!(store.status().unwrap().holds);
}

#[test]
fn history_and_tail_print_csv() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let store = LocalStore::options(&path).author(Some("ann")).open().unwrap();
    let run = store.create_run(ExperimentId(0), RunSpec::named("trial, the first")).unwrap();
    let id = run.id().to_string();
    run.log_params(&[("lr", "0.1")]).unwrap();
    run.log_metrics(-7, &[("loss", 0.25), ("bad", f64::INFINITY)]).unwrap();
    drop(run);
    store.close().unwrap();

    let csv = done(&["tail", text, "--csv"]);
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("position,time,actor,event,run_id,key,step,timestamp,value,details"));
    let of = |event: &str| csv.lines().filter(|line| line.contains(event)).collect::<Vec<_>>();
    let points = of("PointsLogged");
    assert!(points[0].contains(&format!(",,PointsLogged,{id},bad,-7,")) && points[0].ends_with(",Infinity,"), "{csv}");
    assert!(points[1].contains(&format!("{id},loss,-7,")) && points[1].ends_with(",0.25,"), "{csv}");
    assert!(of("ParamsLogged")[0].ends_with("\"{\"\"params\"\":{\"\"lr\"\":\"\"0.1\"\"}}\""), "{csv}");

    let csv = done(&["history", text, &id, "--csv"]);
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("position,time,actor,event,field,version,from,to"));
    let named = lines.find(|line| line.contains(",name,")).unwrap_or_else(|| panic!("{csv}"));
    assert!(named.contains("Z,ann,RunCreated,name,,,") && named.ends_with("\"trial, the first\""), "{csv}");
    assert!(csv.lines().any(|line| line.ends_with("ParamsLogged,params.lr,,,0.1")), "{csv}");
    for arguments in [&["tail", text, "--csv", "--json"][..], &["history", text, &id, "--csv", "--json"]] {
        let output = command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
