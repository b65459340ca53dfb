//! `plot --out`, `compare`, `top`, `doctor`, `inspect`, `completions`, `man`, and what every `--help` has.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;

use runlode::{LocalStore, RunSpec, RunStatus};
use serde_json::{Value, json};
use support::{command, done, json, refused, runlode, said};
use tempfile::TempDir;

/// Two runs of which one still runs, and one that ended.
fn fixture() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let store = LocalStore::open(&path).unwrap();
    for (name, lr) in [("trial-17", "0.1"), ("trial-18", "0.2"), ("running", "0.1")] {
        let run = store.create_run(runlode::ExperimentId(0), RunSpec::named(name).tag("kind", "x")).unwrap();
        run.log_params(&[("lr", lr), ("batch", "32"), ("max_steps", "4000")]).unwrap();
        let last = if name == "trial-17" { 0.25 } else { 0.125 };
        for step in 0..2_000 {
            let value = if step == 1_999 { last } else { f64::from(step % 7) };
            run.log_metrics(step.into(), &[("loss", value)]).unwrap();
        }
        run.log_metrics(0, &[("acc", 0.5)]).unwrap();
        if name != "running" {
            run.end(RunStatus::Finished).unwrap();
        }
    }
    store.close().unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn plots_go_to_files_with_several_curves() {
    let (dir, store) = &fixture();
    let out = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (svg, png) = (out("a.svg"), out("b.PNG"));
    let said_ = done(&["plot", store, "trial-17", "trial-18", "loss", "acc", "--out", &svg]);
    assert!(said_.contains("4 series, 4,002 points"), "{said_}");
    let text = std::fs::read_to_string(&svg).unwrap();
    for name in ["loss of trial-17", "acc of trial-18"] {
        assert!(text.contains(name), "{name}");
    }
    let told = json(&["plot", store, "trial-17", "loss", "--out", &png, "--json"]);
    let bytes = std::fs::read(&png).unwrap();
    assert_eq!((&told["bytes"], &told["series"][0]["points"]), (&json!(bytes.len()), &json!(2000)));
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    // In the terminal one picture for each, in JSON a list of series.
    let both = done(&["plot", store, "trial-17", "trial-18", "loss"]);
    assert!(both.contains("loss of trial-17") && both.contains("loss of trial-18"));
    assert_eq!(json(&["plot", store, "trial-17", "trial-18", "loss", "--json"])["series"].as_array().unwrap().len(), 2);
    assert!(refused(&["plot", store, "trial-17", "loss", "--out", &out("a.gif")]).contains(".svg and .png"));
    assert!(refused(&["plot", store, "trial-17", "trail-18", "loss"]).contains("`trial-18`"));
    assert!(refused(&["plot", store, "trial-17", "los"]).contains("did you mean `loss`"));
}

#[test]
fn a_comparison_begins_with_what_differs() {
    let (_dir, store) = &fixture();
    let text = done(&["compare", store, "trial-17", "trial-18"]);
    let at = |what: &str| text.find(what).unwrap_or(usize::MAX);
    assert!(at("lr") < at("loss") && at("loss") < usize::MAX && at("batch") == usize::MAX, "{text}");
    assert!(text.contains("2 params") && text.contains("--all"), "{text}");
    assert!(done(&["compare", store, "trial-17", "trial-18", "--all"]).contains("batch"));
    let document = json(&["compare", store, "trial-17", "trial-18", "running", "--json"]);
    let row = |group: &str, key: &str| {
        let rows = document[group].as_array().unwrap().iter();
        rows.clone().find(|row| row["key"] == key).unwrap().clone()
    };
    assert_eq!(row("params", "lr")["values"], json!(["0.1", "0.2", "0.1"]));
    assert_eq!(row("metrics", "loss"), json!({"key": "loss", "same": false, "values": [0.25, 0.125, 0.125]}));
    assert_eq!(row("metrics", "acc")["same"], true);
    assert_eq!(document["runs"][2]["name"], "running");
    assert!(refused(&["compare", store, "trial-17", "trial-71"]).contains("`trial-17`"));
    assert!(refused(&["compare", store, "trial-17", "trial-17"]).contains("twice"));
}

#[test]
fn running_runs_are_listed_with_their_progress() {
    let (_dir, store) = &fixture();
    let screen = json(&["top", store, "--once", "--json"]);
    let runs = screen["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    // The process that logged it is this one, so it is alive.
    let run = &runs[0];
    assert_eq!((&run["name"], &run["status"], &run["step"]), (&json!("running"), &json!("RUNNING"), &json!(1999)));
    assert_eq!((&run["steps_total"], &run["points"]), (&json!(4000), &json!(2001)));
    assert!((run["progress"].as_f64().unwrap() - 0.49975).abs() < 1e-9);
    assert!(run["points_per_second"].as_f64().unwrap() > 0.0);
    let text = done(&["top", store, "--once"]);
    assert!(text.contains("1 running") && text.contains("1999/4000 50%"), "{text}");
    assert!(refused(&["top", store]).contains("--once"));
}

#[test]
fn a_doctor_names_what_is_wrong_and_the_next_command() {
    let (dir, store) = &fixture();
    let findings = |path: &str| {
        let (code, out, error) =
            said(&command(&["doctor", path, "--json"]).env_remove("MLFLOW_TRACKING_URI").output().unwrap());
        let document: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
        (code, document)
    };
    let has = |document: &Value, level: &str, part: &str| {
        let all = document["findings"].as_array().unwrap();
        all.iter().any(|finding| finding["level"] == level && finding["what"].as_str().unwrap().contains(part))
    };
    let (_, fine) = findings(store);
    assert!(has(&fine, "fine", "its index is there") && has(&fine, "fine", "1 runs are running"), "{fine}");
    std::fs::remove_file(Path::new(store).join("index.redb")).unwrap();
    assert!(has(&findings(store).1, "note", "reads goes through all"));
    std::fs::remove_file(Path::new(store).join("MANIFEST")).unwrap();
    let (code, broken) = findings(store);
    assert_eq!((code, has(&broken, "problem", "no MANIFEST")), (Some(1), true), "{broken}");
    assert!(broken["findings"][0]["next"].as_str().unwrap().contains("--repair"));
    let (code, none) = findings(dir.path().join("none").to_str().unwrap());
    assert_eq!((code, &none["ok"]), (Some(1), &json!(false)));
    let text = said(&command(&["doctor", dir.path().to_str().unwrap()]).output().unwrap()).1;
    assert!(text.contains("is not a store"), "{text}");
}

/// The facts of a file, and the exit status.
fn inspected(path: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let arguments = [&["inspect", path.to_str().unwrap(), "--json"], more].concat();
    let (code, out, error) = said(&runlode(&arguments));
    let facts = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}{error}")));
    (code, facts.collect())
}

/// All files of a folder that a store may have.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.metadata().unwrap().is_file() {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn every_file_of_a_store_is_read_by_the_description_of_its_format() {
    let (_dir, store) = &fixture();
    let points_of = |facts: &[Value]| -> u64 {
        let chunk = |fact: &&Value| fact["what"] == "chunk" || fact["what"] == "slot of a group";
        facts.iter().filter(chunk).map(|fact| fact["points"].as_u64().unwrap()).sum()
    };
    for compacted in [false, true] {
        if compacted {
            done(&["compact", store]);
        }
        let (mut frames, mut sealed) = (0, 0);
        for path in files(Path::new(store)) {
            let (code, facts) = inspected(&path, &["--points"]);
            assert_eq!(code, Some(0), "{}: {facts:?}", path.display());
            assert!(!facts.is_empty(), "{}", path.display());
            frames += facts.iter().filter(|fact| fact["what"] == "frame").count();
            sealed += points_of(&facts);
        }
        assert!(frames > 10, "{frames}");
        if compacted {
            assert_eq!(sealed, 3 * 2_001, "every point is in a series file");
        }
    }
    // Values, as the engine has them.
    let series = files(&Path::new(store).join("series"));
    let (_, facts) = inspected(&series[0], &["--points"]);
    let chunk = facts.iter().find(|fact| fact["points"] == 2000).unwrap();
    assert_eq!(chunk["values"].as_array().unwrap()[5..9], [json!(5.0), json!(6.0), json!(0.0), json!(1.0)]);
    assert_eq!(chunk["steps"].as_array().unwrap().last(), Some(&json!(1999)));
    assert!(done(&["inspect", Path::new(store).join("FORMAT").to_str().unwrap()]).contains("version 1"));
    assert!(refused(&["inspect", env!("CARGO_BIN_EXE_runlode")]).contains("none of a store's files"));
}

#[test]
fn a_flipped_bit_is_found_wherever_a_crc_covers_it() {
    let (_dir, store) = &fixture();
    done(&["compact", store]);
    let folder = TempDir::new().unwrap();
    for (path, every) in
        [("FORMAT", 1), ("MANIFEST", 3)].into_iter().map(|(name, every)| (Path::new(store).join(name), every))
    {
        let bytes = std::fs::read(&path).unwrap();
        let target = folder.path().join(path.file_name().unwrap());
        for at in (0..bytes.len()).step_by(every) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&target, &flipped).unwrap();
            let (code, facts) = inspected(&target, &[]);
            assert_eq!(code, Some(1), "{} at {at}: {facts:?}", path.display());
        }
    }
}

/// The commands that the help of a command lists.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = done(&[path, &["--help"]].concat());
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.strip_prefix("  ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_two_examples() {
    let commands = subcommands(&[]);
    assert!(commands.len() > 30, "{commands:?}");
    let mut paths: Vec<Vec<String>> = commands.into_iter().map(|name| vec![name]).collect();
    let mut without = Vec::new();
    while let Some(path) = paths.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = done(&[&words[..], &["--help"]].concat());
        let name = format!("runlode {}", words[0]);
        let examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        if examples.filter(|line| line.contains(&name)).count() < 2 {
            without.push(path.join(" "));
        }
        paths.extend(subcommands(&words).into_iter().map(|name| [path.clone(), vec![name]].concat()));
    }
    assert!(without.is_empty(), "no two examples: {without:?}; add them to tools/src/examples.rs");
}

#[test]
fn completions_and_manual_pages_know_all_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = done(&["completions", shell]);
        for word in ["promote", "as-of", "plot"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // A shell takes it.
    let script = done(&["completions", "bash"]);
    let status = std::process::Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(status.success());
    let folder = TempDir::new().unwrap();
    let man = folder.path().join("man1");
    let told = json(&["man", man.to_str().unwrap(), "--json"]);
    assert!(told["pages"].as_u64().unwrap() > 30, "{told}");
    let page = std::fs::read_to_string(man.join("runlode-promote.1")).unwrap();
    assert!(page.contains("champion") && page.starts_with(".ie"), "{}", &page[..200]);
}
