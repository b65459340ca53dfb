//! What surprises a user if it is missing: clean ends, honest refusals, lists that fit and lists for programs.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use runlode::{ExperimentId, LocalStore, RunSpec};
use serde_json::Value;
use support::{command, done, imported, json, refused, said};
use tempfile::TempDir;

/// Interrupts a command once it has printed a line that contains a text; its exit status, and what it said to users.
fn interrupted(arguments: &[&str], at: &str, signal: &str, tmp: &Path) -> (Option<i32>, String) {
    let mut child =
        command(arguments).env("TMPDIR", tmp).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains(at)), "{arguments:?} never said {at}");
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    drop(lines.map(|line| line.map(drop)).collect::<Vec<_>>());
    let (code, _, error) = said(&child.wait_with_output().unwrap());
    (code, error)
}

#[test]
fn an_interrupted_demo_or_bench_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let left = || std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let folder = dir.path().to_str().unwrap();
    for (arguments, at, signal, status) in [
        (vec!["demo", "--points", "100000000"], "Runlode demo", "-INT", 130),
        (vec!["demo", "--points", "100000000"], "imported MLflow's own store", "-TERM", 143),
        (vec!["bench", folder, "--points", "1000000"], "append, Buffered, batches", "-INT", 130),
    ] {
        let (code, error) = interrupted(&arguments, at, signal, dir.path());
        assert_eq!(code, Some(status), "{arguments:?}: {error}");
        assert!(error.contains("interrupted") && error.lines().count() == 1, "{arguments:?}: {error}");
        assert_eq!(left(), Vec::<std::path::PathBuf>::new(), "{arguments:?}");
    }
}

#[test]
fn what_looks_like_a_uri_becomes_no_folder() {
    let (dir, store) = imported();
    for arguments in [
        ["replay", &store, "--into", "arrow:x"].as_slice(),
        &["runs", "sqlite:///mlflow.db"],
        &["serve", "sqlite:///mlflow.db"],
        &["sync", &store, "s3://bucket/store"],
        &["merge", "file:store"],
        &["bench", "tmp:x"],
        &["demo", "--keep", "tmp:x"],
    ] {
        let output = command(arguments).current_dir(dir.path()).output().unwrap();
        let (code, out, error) = said(&output);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {error}");
        assert!(error.contains("folder"), "{arguments:?}: {error}");
    }
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"]);
    // With a path it is a name like any other.
    let output = command(&["replay", &store, "--into", "./parquet:x"]).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(dir.path().join("parquet:x/FORMAT").exists());
}

#[test]
fn a_store_that_is_not_there_is_named_by_every_command() {
    let dir = TempDir::new().unwrap();
    let nowhere = dir.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    for arguments in [
        ["runs", nowhere].as_slice(),
        &["show", nowhere, "run"],
        &["history", nowhere, "run"],
        &["plot", nowhere, "run", "loss"],
        &["tail", nowhere],
        &["verify", nowhere],
        &["compact", nowhere],
        &["rewind", nowhere, "run", "--to-step", "1"],
        &["replay", nowhere, "--into", "x"],
    ] {
        let error = refused(arguments);
        assert!(error.contains(nowhere) && !error.contains("LOCK"), "{arguments:?}: {error}");
        assert!(!Path::new(nowhere).exists(), "{arguments:?}");
    }
    for read_only in [false, true] {
        let open = LocalStore::options(nowhere).create(false).read_only(read_only).open();
        assert_eq!(open.unwrap_err().to_string(), format!("store `{nowhere}` does not exist"));
    }
    // A folder that is none of ours stays as it is.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "mine").unwrap();
    assert!(LocalStore::options(&other).create(false).open().is_err());
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "no lock file is left");
}

#[test]
fn a_merge_always_prints() {
    let (_dir, store) = imported();
    let none = json(&["merge", &store, "--json"]);
    assert_eq!((&none["from"], &none["batches"], &none["problems_count"]), (&Value::Null, &0.into(), &0.into()));
    assert!(done(&["merge", &store]).contains("no store waits"));
    let waiting = Path::new(&store).join("inbox/node");
    LocalStore::open(&waiting).unwrap().close().unwrap();
    let merged = json(&["merge", &store, "--json"]);
    assert!(merged["from"].as_str().unwrap().ends_with("inbox/node"), "{merged}");
    // A store that is not there is made, for processes that then log into its inbox.
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent");
    assert!(done(&["merge", absent.to_str().unwrap()]).contains("no store waits"));
    assert!(absent.join("FORMAT").is_file());
}

#[test]
fn pages_that_are_not_there_are_an_error() {
    let (dir, store) = imported();
    let nowhere = dir.path().join("nowhere");
    let error = refused(&["serve", &store, "--port", "0", "--ui", nowhere.to_str().unwrap()]);
    assert!(error.contains("--ui") && error.contains("does not exist"), "{error}");
    let error = refused(&["serve", &store, "--port", "0", "--ui", dir.path().to_str().unwrap()]);
    assert!(error.contains("--ui") && error.contains("has no pages"), "{error}");
}

#[test]
fn help_begins_with_what_it_is() {
    let help = done(&["--help"]);
    let first = help.lines().next().unwrap();
    assert!(first.starts_with("Runlode stores machine-learning experiments"), "{help}");
    assert!(!help.contains('\x1b'), "no colours off a terminal");
}

/// A store with one run whose texts need quotes.
fn quoted() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    let spec = RunSpec::named("a, \"b\"\nc").tag("note", "x,y").tag("a,b", "z");
    let run = store.create_run(ExperimentId(0), spec).unwrap();
    run.log_params(&[("lr", "0.1"), ("long", "\"\"")]).unwrap();
    run.log_metrics(3, &[("loss", 0.1), ("bad", f64::NAN), ("big", 1e300)]).unwrap();
    run.log_metrics(4, &[("loss", 0.25)]).unwrap();
    drop(run);
    store.close().unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn csv_and_columns_of_runs() {
    let (_dir, store) = quoted();
    let columns = "run_name,metrics.loss,metrics.loss.min,metrics.loss.count,metrics.bad,metrics.big,tags.`a,b`,params.lr,\
                   params.long,tags.note,metrics.loss.first,status";
    let csv = done(&["runs", &store, "--csv", "--columns", columns]);
    assert_eq!(
        csv,
        "run_name,metrics.loss,metrics.loss.min,metrics.loss.count,metrics.bad,metrics.big,\"tags.a,b\",params.lr,\
         params.long,tags.note,metrics.loss.first,status\n\
         \"a, \"\"b\"\"\nc\",0.25,0.1,2,NaN,1e+300,z,0.1,\"\"\"\"\"\",\"x,y\",0.1,RUNNING\n"
    );
    let all = done(&["runs", &store, "--csv"]);
    assert!(all.starts_with("run_id,run_name,experiment,status,user_id,start_time,end_time,lifecycle,"), "{all}");
    for column in ["metrics.bad", "metrics.loss", "params.lr", "tags.note"] {
        assert!(all.lines().next().unwrap().contains(column), "{all}");
    }
    let json = json(&["runs", &store, "--json", "--columns", "name,metrics.loss,metrics.bad,started,ended"]);
    assert_eq!(json[0]["metrics.loss"], 0.25);
    assert_eq!(json[0]["metrics.bad"], "NaN");
    assert!(json[0]["start_time"].is_i64() && json[0]["end_time"].is_null(), "{json}");
    let table = done(&["runs", &store, "--columns", "name,params.lr"]);
    assert!(table.contains("params.lr") && !table.contains("status") && !table.contains("left out"), "{table}");
    // No run: still a head.
    assert_eq!(done(&["runs", &store, "--csv", "--columns", "name", "run_name = 'x'"]), "run_name\n");
    assert!(refused(&["runs", &store, "--columns", "nmae"]).contains("run_name"));
    assert!(refused(&["runs", &store, "--csv", "--json"]).contains("--csv"));
}

#[test]
fn a_narrow_terminal_is_told_which_columns_it_lacks() {
    let (_dir, store) = imported();
    let narrow = said(&command(&["runs", &store]).env("COLUMNS", "60").output().unwrap()).1;
    assert!(narrow.contains("(columns left out: ") && narrow.contains("metrics.loss"), "{narrow}");
    assert!(narrow.lines().all(|line| line.starts_with('(') || line.chars().count() <= 60), "{narrow}");
    let wide =
        said(&command(&["runs", &store, "--columns", "run_id,start_time"]).env("COLUMNS", "20").output().unwrap()).1;
    assert!(!wide.contains("left out"), "{wide}");
}

#[test]
fn times_are_those_of_the_reader() {
    let (_dir, store) = imported();
    let shown = |zone: &str| {
        let output = command(&["show", &store, "mlp-16"]).env("TZ", zone).output().unwrap();
        let text = said(&output).1;
        text.lines().find(|line| line.contains("started")).unwrap().split_once("started").unwrap().1.trim().to_owned()
    };
    let utc = shown("UTC");
    assert!(utc.ends_with("UTC"), "{utc}");
    // A zone by name, and one by rule.
    let tokyo = shown("Asia/Tokyo");
    assert!(tokyo.ends_with("JST") && tokyo != utc.replace("UTC", "JST"), "{tokyo} {utc}");
    assert_eq!(shown("JST-9"), tokyo);
    let history =
        |zone: &str| command(&["history", &store, "mlp-16", "--json"]).env("TZ", zone).output().unwrap().stdout;
    assert_eq!(history("Asia/Tokyo"), history("UTC"), "JSON is the same everywhere");
    // A time that was typed is of the reader's zone too: the import was now, which is later in UTC than in Tokyo's words.
    let import = json(&["history", &store, "mlp-16", "--json"])[0]["time_ms"].as_i64().unwrap();
    let in_utc =
        Command::new("date").args(["-u", "-d", &format!("@{}", import / 1000 + 60), "+%F %T"]).output().unwrap();
    let typed = String::from_utf8(in_utc.stdout).unwrap().trim().to_owned();
    for (zone, batches) in [("UTC", true), ("JST-9", false)] {
        let into = Path::new(&store).with_file_name(zone);
        let output = command(&["replay", &store, "--until", &typed, "--into", into.to_str().unwrap(), "--json"])
            .env("TZ", zone)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["frames"].as_u64().unwrap() > 0, batches, "{zone} {typed}: {report}");
    }
}
