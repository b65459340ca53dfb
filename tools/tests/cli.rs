//! The command as a user runs it: arguments, output, exit status, closed pipes, kills.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn database() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/mlflow.db").canonicalize().unwrap()
}

fn runlode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runlode")).args(arguments).output().unwrap()
}

/// Runs a command that must succeed; its output.
fn done(arguments: &[&str]) -> String {
    let output = runlode(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).unwrap()
}

/// Runs a command that must fail with status 2 and one sentence.
fn refused(arguments: &[&str]) -> String {
    let output = runlode(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn imported() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("store").to_str().unwrap().to_owned();
    done(&["import", &format!("sqlite:///{}", database().display()), &store]);
    (dir, store)
}

/// What a terminal would act on, as somebody else stored it: C0, DEL, C1, a turn of direction, a line of its own.
const NASTY: &str = "\x1b[2J\x07\u{7f}\u{9b}31m\u{202e}\u{2028}x\ny\rz\u{85}";

#[test]
fn stored_text_cannot_control_the_terminal() {
    use runlode::mlflow::{Mlflow, NewMetric, NewModelVersion, NewRun, Settings};

    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let text = path.to_str().unwrap();
    let store = runlode::LocalStore::open(&path).unwrap();
    let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    let nasty = |what: &str| format!("{what}{NASTY}");
    let tags = [("mlflow.note".to_owned(), nasty("note")), ("t".to_owned(), nasty("tag"))];
    let experiment = mlflow.create_experiment(&nasty("experiment"), None, &tags).unwrap();
    let (user, name) = (nasty("user"), nasty("run"));
    let new = NewRun {
        experiment_id: Some(&experiment),
        run_name: Some(&name),
        user_id: &user,
        tags: &tags,
        ..NewRun::default()
    };
    let run = mlflow.create_run(&new).unwrap().info.run_id;
    let metric = NewMetric { key: "loss", value: 1.0, timestamp: 1, ..NewMetric::default() };
    mlflow.log_batch(&run, &[metric], &[("p".to_owned(), nasty("param"))], &[]).unwrap();
    mlflow.create_registered_model("model", &tags, Some(&nasty("description"))).unwrap();
    let source = nasty("source");
    let version = NewModelVersion { source: &source, description: Some(&source), ..NewModelVersion::default() };
    mlflow.create_model_version("model", &version).unwrap();
    drop(mlflow);
    store.close().unwrap();

    let named = format!("experiment:{}", nasty("experiment"));
    let filter = format!("params.{NASTY} = ");
    let hub = dir.path().join("hub");
    let inbox = hub.join("inbox").join(format!("node{}", NASTY.replace('/', "")));
    std::fs::create_dir_all(&inbox).unwrap();
    drop(runlode::LocalStore::open(&hub).unwrap());
    std::fs::create_dir(inbox.join("FORMAT")).unwrap();
    let commands: &[&[&str]] = &[
        &["runs", text],
        &["show", text, &run],
        &["show", text, &name],
        &["show", text, &named],
        &["show", text, "models:/model"],
        &["show", text, "models:/model/1"],
        &["history", text, &run],
        &["history", text, "models:/model/1"],
        &["plot", text, &run, "loss"],
        &["plot", text, &run, NASTY],
        &["tail", text],
        &["verify", text],
        &["merge", hub.to_str().unwrap()],
        // Refusals hold what they refuse.
        &["runs", text, "--filter", &filter],
        &["runs", text, &filter],
        &["show", text, NASTY],
        &["show", NASTY, &run],
        &["show", text, &run, "--as-of", NASTY],
        &["sync", text, &format!("http://127.0.0.1:9/{NASTY}")],
        &["import", NASTY, text],
        &["serve", text, "--port", NASTY],
        &[NASTY],
        &["runs", "--", text, NASTY, NASTY],
    ];
    let mut shown = 0;
    for command in commands {
        for json in [false, true] {
            let mut arguments: Vec<&str> = Vec::new();
            if json {
                arguments.push("--json");
            }
            arguments.extend(*command);
            let output = runlode(&arguments);
            for bytes in [output.stdout, output.stderr] {
                let text = String::from_utf8(bytes).unwrap();
                let acts = |c: char| {
                    c != '\n' && c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}')
                };
                assert!(!text.contains(acts), "{command:?}: {text:?}");
                assert!(!text.contains("panicked"), "{command:?}: {text}");
                // A name cannot forge a line.
                assert!(!text.lines().any(|line| line.starts_with('y')), "{command:?}: {text:?}");
                shown += usize::from(text.contains("\\x1b[2J") || text.contains("\\u001b[2J"));
            }
        }
    }
    assert!(shown >= 25, "{shown}");
}

#[test]
fn a_merge_follows_no_links_in_its_inbox() {
    use rustix::fs::{CWD, FileType, Mode};
    use std::os::unix::fs::symlink;

    let dir = TempDir::new().unwrap();
    let (hub, elsewhere) = (dir.path().join("hub"), dir.path().join("elsewhere"));
    let pipe = |path: &Path| rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let make = |path: &Path, run: &str| {
        let store = runlode::LocalStore::open(path).unwrap();
        store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named(run)).unwrap();
        store.close().unwrap();
    };
    make(&hub, "hub's");
    make(&elsewhere, "operator's");
    let inbox = hub.join("inbox");
    let good = inbox.join("good");
    make(&good, "good");
    symlink(&elsewhere, inbox.join("link")).unwrap();
    std::fs::create_dir(inbox.join("pipe")).unwrap();
    pipe(&inbox.join("pipe/FORMAT"));
    std::fs::create_dir(inbox.join("linked")).unwrap();
    symlink(elsewhere.join("FORMAT"), inbox.join("linked/FORMAT")).unwrap();
    // The mark of an offline process, and artifacts, of a store that is one.
    pipe(&good.join("OFFLINE"));
    std::fs::create_dir_all(good.join("artifacts/0")).unwrap();
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    symlink(dir.path().join("secret"), good.join("artifacts/0/file")).unwrap();
    symlink(dir.path(), good.join("artifacts/0/folder")).unwrap();
    pipe(&good.join("artifacts/0/pipe"));
    std::fs::write(good.join("artifacts/0/kept"), "k").unwrap();

    let output = runlode(&["merge", hub.to_str().unwrap(), "--json", "--remove"]);
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{out}{error}");
    for name in ["link", "pipe", "linked"] {
        assert!(error.contains(&format!("inbox/{name}")) && error.contains("not merged"), "{error}");
    }
    for name in ["file", "folder", "pipe"] {
        assert!(out.contains(&format!("artifacts/0/{name} was left out")), "{out}");
    }
    let runs = done(&["runs", hub.to_str().unwrap()]);
    assert!(runs.contains("good") && !runs.contains("operator's"), "{runs}");
    let copied: Vec<_> =
        std::fs::read_dir(hub.join("artifacts/0")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(copied, ["kept"]);
    assert!(good.exists() && elsewhere.join("FORMAT").exists(), "nothing of it was removed");
}

#[test]
fn a_rewound_run_shows_its_branches_and_one_whose_process_is_gone_is_lost() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = runlode::LocalStore::open(&path).unwrap();
    let run = store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named("crashed")).unwrap();
    for step in 0..10 {
        run.log_metrics(step, &[("loss", f64::from(step as i32))]).unwrap();
    }
    let state = store.snapshot().unwrap().run(run.id()).unwrap().unwrap();
    let lease = state.lease.clone().unwrap();
    drop(run);
    store.close().unwrap();
    let path = path.to_str().unwrap();
    // This process is the one that logs: it lives.
    let shown = json(&["show", path, "crashed", "--json"]);
    assert_eq!((&shown["status"], &shown["lost"]), (&Value::from("RUNNING"), &Value::Null));
    assert!(done(&["show", path, "crashed"]).contains(&format!("{} on {}", lease.pid, lease.host)));

    let rewound = json(&["rewind", path, "crashed", "--to-step", "6", "--json"]);
    assert_eq!((&rewound["points_hidden"], &rewound["branch"]), (&Value::from(3), &Value::from(1)));
    assert!(done(&["rewind", path, "crashed", "--to-step", "-1"]).contains("7 points are hidden"));
    refused(&["rewind", path, "nobody", "--to-step", "1"]);
    let shown = json(&["show", path, "crashed", "--json"]);
    assert_eq!(shown["branches"][0]["from_step"], 6);
    assert_eq!(shown["branches"][1]["from_branch"], 1);
    assert!(shown["metrics"].as_object().unwrap().is_empty());
    let then = json(&["show", path, "crashed", "--as-of", &rewound["position"].to_string(), "--json"]);
    assert_eq!(then["metrics"]["loss"]["points"], 7);
    let before = (rewound["position"].as_u64().unwrap() - 1).to_string();
    assert_eq!(json(&["show", path, "crashed", "--as-of", &before, "--json"])["metrics"]["loss"]["points"], 10);
    assert!(done(&["show", path, "crashed"]).contains("branch 0"));
    assert!(done(&["history", path, "crashed"]).contains("branch: 0 -> 1, from step 6"));
    done(&["verify", path]);

    // As if another process had logged to it, one that is gone: its id is used again.
    let store = runlode::LocalStore::open(path).unwrap();
    let gone = runlode::engine::event::RunLeased {
        run: shown["run_id"].as_str().unwrap().parse().unwrap(),
        host: lease.host,
        pid: lease.pid,
        process_start: lease.process_start + 1,
        boot_id: lease.boot_id,
        at_ms: 1_700_000_000_000,
    };
    store.append(runlode::Batch::new().event(gone), runlode::Durability::Sync).unwrap();
    store.close().unwrap();
    assert!(done(&["runs", path]).contains("lost"));
    assert!(done(&["show", path, "crashed"]).contains("lost"));
    let listed = json(&["runs", path, "--json"]);
    assert_eq!((&listed[0]["status"], &listed[0]["lost"]), (&Value::from("RUNNING"), &Value::from(true)));
}

#[test]
fn the_commands_of_the_readme_work_on_an_imported_store() {
    let (dir, store) = imported();
    let again = json(&["import", &format!("sqlite:///{}", database().display()), &store, "--json"]);
    assert_eq!(again["batches_new"], 0);
    assert_eq!(again["imported"]["points"], 35_014);

    let filter = "metrics.`val/acc` > 0.9 and params.lr = '0.1'";
    let runs = json(&["runs", &store, filter, "--order", "metrics.`val/acc` desc", "--json"]);
    let names: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0]), (6, "lr0.1-a0.0001-s1"));
    assert!(done(&["runs", &store]).contains("mlp-16"));
    assert_eq!(json(&["runs", &store, "--view", "deleted", "--json"])[0]["name"], "mistake");
    assert_eq!(json(&["runs", &store, "-n", "3", "-e", "digits-sgd", "--json"]).as_array().unwrap().len(), 3);

    let run = json(&["show", &store, "mlp-16", "--json"]);
    assert_eq!(run["run_id"], "49c31ae1e04742f792f6960afb2cb7e4");
    assert_eq!(run["metrics"]["loss"]["points"], 40);
    let by_prefix = json(&["show", &store, "49c31ae1", "--json"]);
    assert_eq!(run, by_prefix);
    let created = run["created_at_position"].as_u64().unwrap();
    let then = json(&["show", &store, "mlp-16", "--as-of", &created.to_string(), "--json"]);
    assert_eq!(then["name"], "mlp-16");
    assert!(then["metrics"].as_object().unwrap().is_empty(), "its points came later");
    refused(&["show", &store, "mlp-16", "--as-of", &(created - 1).to_string()]);
    refused(&["show", &store, "mlp-16", "--as-of", "1999-01-01"]);
    let model = json(&["show", &store, "models:/digits", "--json"]);
    assert_eq!(model["aliases"]["champion"], 2);
    assert_eq!(json(&["show", &store, "models:/digits/2", "--json"])["stage"], "Production");
    assert_eq!(json(&["show", &store, "experiment:digits-sgd", "--json"])["tags"]["team"], "vision");

    let history = json(&["history", &store, "models:/digits", "--json"]);
    assert_eq!(history[0]["event"], "RegisteredModelCreated");
    assert_eq!(history[0]["actor"], "import");
    assert!(done(&["history", &store, "mlp-16"]).contains("RunCreated"));

    let plot = json(&["plot", &store, "long", "sq_err", "--from", "12000", "--to", "12009", "--json"]);
    assert_eq!(plot["points"], 10);
    assert!(done(&["plot", &store, "long", "sq_err"]).lines().count() > 10);
    assert!(done(&["plot", &store, "long", "weird"]).contains('┤'), "NaN and infinities beside numbers");
    // Positions without a batch (idle marks) are not printed.
    let tail = done(&["tail", &store, "--json"]);
    let last: Value = serde_json::from_str(tail.lines().last().unwrap()).unwrap();
    assert!(last["position"].as_u64() <= json(&["verify", &store, "--json"])["position"].as_u64());
    assert_eq!(tail.lines().filter(|line| line.contains("RunCreated")).count(), 25);

    let then = dir.path().join("then");
    let then = then.to_str().unwrap();
    done(&["replay", &store, "--until", &created.to_string(), "--into", then]);
    assert_eq!(json(&["show", then, "mlp-16", "--json"])["name"], "mlp-16");
    refused(&["replay", &store, "--into", then]);

    done(&["compact", &store]);
    assert_eq!(json(&["show", &store, "mlp-16", "--json"]), run);
    assert_eq!(json(&["verify", &store, "--json"])["ok"], true);
}

#[test]
fn an_import_that_leaves_something_out_says_so_and_ends_with_1() {
    let (_dir, store) = imported();
    let source = format!("sqlite:///{}", database().display());
    done(&["import", &source, &store]);
    let opened = runlode::LocalStore::open(&store).unwrap();
    opened.delete_version("digits", 3).unwrap();
    opened.close().unwrap();
    let output = runlode(&["import", &source, &store]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("left out: 1 model versions that were deleted in the store"), "{text}");
    let output = runlode(&["import", &source, &store, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["complete"]), (Some(1), &Value::from(false)));
    assert!(report["skipped"].as_object().unwrap().keys().any(|reason| reason.contains("model versions")));
}

#[test]
fn wrong_usage_says_in_one_sentence_what_would_be_right() {
    let (dir, store) = imported();
    let nowhere = dir.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    assert!(refused(&["runs", nowhere]).contains("import"));
    assert!(!Path::new(nowhere).exists(), "a command that reads makes nothing");
    assert!(refused(&["show", &store, "nobody"]).contains("runlode runs"));
    assert!(refused(&["show", &store, "lr0"]).contains("no run"));
    assert!(refused(&["show", &store, "models:/nobody"]).contains("nobody"));
    assert!(refused(&["show", &store, "mlp-16", "--as-of", "yesterday"]).contains("2026-03-03"));
    assert!(refused(&["plot", &store, "mlp-16", "lost"]).contains("val/acc"));
    assert!(refused(&["runs", &store, "metrics.acc >"]).contains("a number"));
    assert!(refused(&["runs", &store, "-e", "nobody"]).contains("digits-sgd"));
    assert!(refused(&["import", "oracle://db/mlflow", nowhere]).contains("sqlite:///"));
    assert!(refused(&["import", "sqlite:///absent.db", nowhere]).contains("absent.db"));
    assert!(!Path::new(nowhere).exists(), "a failed import makes no store");
    assert!(refused(&["demo", "--data", nowhere]).contains("--data"));
    refused(&["runs"]);
    refused(&["import", "sqlite:///x.db", &store, "--artifacts", "nonsense"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let (_dir, store) = imported();
    for arguments in [vec!["tail", &store, "--json"], vec!["runs", &store, "--json"], vec!["history", &store, "long"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_runlode"))
            .args(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn verify_exits_with_1_if_a_byte_of_the_log_changed() {
    let (_dir, store) = imported();
    let segment = Path::new(&store).join("log/00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    let output = runlode(&["verify", &store]);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
    assert!(text.contains("00000001.seg"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn the_demo_keeps_its_promises() {
    let numbers = json(&["demo", "--points", "200000", "--json"]);
    assert_eq!(numbers["real"]["runs"], 25);
    assert_eq!(numbers["crash"]["lost"], 0);
    assert_eq!(numbers["crash"]["wrong"], 0);
    assert!(numbers["crash"]["acknowledged"].as_u64().unwrap() > 0);

    // The first line comes at once, before the load.
    let mut child = Command::new(env!("CARGO_BIN_EXE_runlode"))
        .args(["demo", "--points", "50000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("Runlode demo"));
    assert!(lines.map(Result::unwrap).any(|line| line.contains("0 acknowledged ones lost, 0 wrong")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn verify_repair_says_what_it_rebuilt_from_what() {
    let (dir, store) = imported();
    let before = json(&["runs", &store, "--json"]);
    let file = |name: &str| Path::new(&store).join(name);
    assert!(done(&["verify", &store, "--repair"]).contains("Nothing had to be made again"));
    std::fs::remove_file(file("FORMAT")).unwrap();
    let mut manifest = std::fs::read(file("MANIFEST")).unwrap();
    manifest[70] ^= 1;
    std::fs::write(file("MANIFEST"), &manifest).unwrap();

    // Without `--repair` it only says so.
    let output = runlode(&["verify", &store]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("FORMAT") && text.contains("`runlode verify --repair`"), "{text}");
    assert!(!file("FORMAT").exists() && std::fs::read(file("MANIFEST")).unwrap() == manifest);

    let report = json(&["verify", &store, "--repair", "--json"]);
    assert_eq!(report["ok"], true);
    let files: Vec<&str> =
        report["repaired"].as_array().unwrap().iter().map(|made| made["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["FORMAT", "MANIFEST"]);
    assert_eq!(std::fs::read(file("MANIFEST.bad")).unwrap(), manifest);
    assert_eq!(json(&["runs", &store, "--json"]), before);
    assert_eq!(json(&["verify", &store, "--json"])["ok"], true);

    // What cannot be made again is told: damage remains.
    std::fs::remove_file(file("MANIFEST")).unwrap();
    std::fs::remove_dir_all(file("log")).unwrap();
    let output = runlode(&["verify", &store, "--repair"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains("MANIFEST"));
    // No store at all is an error.
    refused(&["verify", dir.path().to_str().unwrap(), "--repair"]);
    refused(&["verify", &store, "--accept-loss"]);
}

/// A store with a series file that is the truth.
fn compacted() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = runlode::LocalStore::open(&path).unwrap();
    let run = store.create_run(runlode::ExperimentId(0), runlode::RunSpec::named("train")).unwrap();
    for step in 0..100 {
        run.log_metrics(step, &[("loss", 0.5)]).unwrap();
    }
    store.compact(&runlode::CompactOptions::default()).unwrap();
    store.close().unwrap();
    (dir, path)
}

#[test]
fn a_store_that_lacks_a_file_is_read_and_says_so() {
    let (dir, path) = compacted();
    let store = path.to_str().unwrap();
    let away = dir.path().join("away.ser");
    let (file, name) = (path.join("series/00000001.ser"), "series/00000001.ser");
    std::fs::rename(&file, &away).unwrap();
    let commands: [&[&str]; 6] = [
        &["runs", store],
        &["show", store, "train"],
        &["history", store, "train"],
        &["plot", store, "train", "loss"],
        &["tail", store],
        &["verify", store],
    ];
    for arguments in commands {
        let output = runlode(arguments);
        let said = [output.stderr.as_slice(), &output.stdout].concat();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8(said).unwrap().contains(name), "{arguments:?}");
        let output = runlode(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let out = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        let named = match &last {
            Value::Array(list) => &list.last().unwrap()["missing"],
            document => &document["missing"],
        };
        assert!(named[0]["file"].as_str().unwrap().ends_with(name), "{arguments:?}: {out}");
        assert_eq!((named[0]["kind"].as_str(), named[0]["first"].as_u64()), (Some("series file"), Some(1)));
    }
    // What would be a whole store to everybody is not made of it.
    let copy = dir.path().join("copy");
    assert_eq!(runlode(&["replay", store, "--into", copy.to_str().unwrap()]).status.code(), Some(1));
    assert!(!copy.join("FORMAT").exists());

    let target = dir.path().join("target");
    let target = target.to_str().unwrap();
    let output = runlode(&["sync", store, target, "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!((&said["through"], &said["points"]), (&Value::from(0), &Value::from(0)));
    assert!(said["problems"][0]["what"].as_str().unwrap().contains(name), "{said}");
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(json(&["sync", store, target, "--json"])["points"], 100);
}
