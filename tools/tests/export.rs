//! `runlode export` as a user runs it, and docs/export.md: every command in it runs, as it stands there.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{commands, done, imported, json, refused};

#[test]
fn every_command_of_the_page_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/export.md");
    let commands = commands(&fs::read_to_string(page).unwrap());
    assert!(commands.len() > 8, "{commands:?}");
    let (dir, _) = imported();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_runlode"), bin.join("runlode")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for line in &commands {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(line).current_dir(dir.path()).env("PATH", &path).stdin(Stdio::null());
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for made in
        ["tables/points/part-00001.parquet", "then/runs", "part/registry", "back.db", "mlflow.db", "logs", "board"]
    {
        assert!(dir.path().join(made).exists(), "{made}");
    }
}

#[test]
fn reports_say_what_was_written_and_what_was_lost() {
    let (dir, store) = imported();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let tables = format!("parquet:{}", place("tables"));
    let report = json(&["export", &store, "--to", &tables, "--json"]);
    assert_eq!(report["written"]["points"], 35_014);
    assert_eq!(report["target"], tables);
    assert_eq!(report["unchanged"], false);
    assert_eq!(report["lost"], serde_json::json!({}));
    let again = json(&["export", &store, "--to", &tables, "--json"]);
    assert_eq!(again["unchanged"], true);
    let text = done(&["export", &store, "--to", &tables]);
    assert!(text.contains("nothing to do"), "{text}");
    assert!(text.contains("35,014  metric points"), "{text}");

    let text = done(&["export", &store, "--to", &format!("sqlite:///{}", place("back.db"))]);
    assert!(text.contains("metric points") && text.contains("cannot be held:"), "{text}");
    let text = done(&["replay", &store, "--into", &format!("tensorboard:{}", place("logs"))]);
    assert!(text.contains("cannot be held: ") && text.contains("tags of runs"), "{text}");

    let text = refused(&["export", &store, "--to", &place("plain")]);
    assert!(text.contains("parquet:DIR, sqlite:///back.db or tensorboard:DIR"), "{text}");
    let text = refused(&["export", &store, "--to", "sqlite:back.db"]);
    assert!(text.contains("three slashes"), "{text}");
    let text = refused(&["export", &store, "--to", &tables, "--only", "digits"]);
    assert!(text.contains("experiment:NAME"), "{text}");
    let text = refused(&["export", &store, "--to", &format!("parquet:{}", place("x")), "--only", "experiment:none"]);
    assert!(text.contains("no experiment `none`"), "{text}");
    let text = refused(&["export", &store, "--to", &format!("parquet:{store}")]);
    assert!(text.contains("no export wrote"), "{text}");
    let text = refused(&["replay", &store, "--into", &place("copy"), "--only", "experiment:digits-sgd"]);
    assert!(text.contains("replayed whole"), "{text}");
}
