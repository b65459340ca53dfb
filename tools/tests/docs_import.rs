//! docs/import.md: every command in it runs as it stands there. And an import that is killed at any moment is completed by
//! running it again.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{command, database, done, said};
use tempfile::TempDir;

/// A file store with runs of 3 metrics.
fn file_store(root: &Path, runs: u64, points: u64) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("5/meta.yaml", "experiment_id: '5'\nname: trained\nartifact_location: ''\ncreation_time: 4\n");
    for number in 0..runs {
        let run = format!("{:032x}", u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let meta =
            format!("run_id: {run}\nexperiment_id: '5'\nrun_name: r{number}\nstatus: 3\nstart_time: 7\nend_time: 9\n");
        write(&format!("5/{run}/meta.yaml"), &meta);
        write(&format!("5/{run}/params/lr"), "0.1");
        for metric in ["loss", "acc", "deep/er"] {
            let line = |step: u64| format!("{} {} {step}\n", 1000 + step, step as f64 * 0.1 + number as f64);
            write(&format!("5/{run}/metrics/{metric}"), &(0..points).map(line).collect::<String>());
        }
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// `runlode serve` on a free port.
struct Server(Child, String);

impl Server {
    fn start(store: &Path) -> Self {
        let mut command = command(&["serve", store.to_str().unwrap(), "--port", "0", "--no-ui", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the server did not start");
        Self(child, format!("http://{}", told["address"].as_str().unwrap()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[test]
fn every_command_of_the_page_runs() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::copy(database(), at("mlflow.db")).unwrap();
    copy(&database().with_file_name("artifacts"), &at("artifacts"));
    copy(&database().with_file_name("tensorboard"), &at("logs"));
    file_store(&at("mlruns"), 3, 10);
    let source = format!("sqlite:///{}", at("mlflow.db").display());
    done(&["import", &source, at("served").to_str().unwrap()]);
    let server = Server::start(&at("served"));

    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/import.md")).unwrap();
    let mut inside = false;
    let mut count = 0;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            // Needs a database, as the test of PostgreSQL makes one.
            line if line.contains("postgresql://") => {}
            line if inside && line.starts_with("runlode ") => {
                count += 1;
                let line = line.replace("http://tracking:5000", &server.1);
                let words: Vec<&str> = line.split_whitespace().skip(1).collect();
                if words[0] == "diff" && words.contains(&"./other") {
                    done(&["import", &source, at("other").to_str().unwrap()]);
                }
                let output = command(&words).current_dir(dir.path()).output().unwrap();
                let (code, out, error) = said(&output);
                // By then the store has more than the one source that is compared.
                let wanted: &[i32] = if words[0] == "diff" { &[0, 1] } else { &[0] };
                assert!(wanted.contains(&code.unwrap()), "{line}: {code:?} {out} {error}");
                assert!(!out.is_empty() && error.is_empty(), "{line}: {error}");
            }
            line => assert!(!inside || line.starts_with("export "), "{line}"),
        }
    }
    assert!(count >= 7, "only {count} commands were found");
}

#[test]
fn a_comparison_answers_by_its_status() {
    let dir = TempDir::new().unwrap();
    let (root, store) = (dir.path().join("mlruns"), dir.path().join("store"));
    let (root, store) = (root.to_str().unwrap(), store.to_str().unwrap());
    file_store(Path::new(root), 2, 5);
    done(&["import", root, store]);
    assert!(done(&["diff", root, store]).ends_with("Equal.\n"));
    let run = fs::read_dir(dir.path().join("mlruns/5")).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap();
    fs::write(run.path().join("params/lr"), "0.2").unwrap();
    let (code, out, error) = said(&support::runlode(&["diff", store, root]));
    assert_eq!((code, error.as_str()), (Some(1), ""));
    assert!(out.contains("param lr of run ") && out.contains("A 0.1, B 0.2"), "{out}");
    let (code, out, _) = said(&support::runlode(&["diff", store, root, "--json"]));
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found["equal"], &found["counts"]["params"]["different"]), (Some(1), &false.into(), &1.into()));
    assert!(support::refused(&["diff", store, "/nowhere"]).contains("/nowhere"));
}

#[test]
fn an_import_that_is_killed_again_and_again_is_completed() {
    let dir = TempDir::new().unwrap();
    let (root, store) = (dir.path().join("mlruns"), dir.path().join("store"));
    file_store(&root, 20, 400);
    let (root, store) = (root.to_str().unwrap(), store.to_str().unwrap());
    let (mut killed, mut wait_ms) = (0, 1);
    loop {
        let mut child = command(&["import", root, store]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        wait_ms += wait_ms / 3 + 1;
    }
    assert!(killed > 2, "it was too fast to be killed: {killed}");
    assert!(done(&["diff", root, store]).ends_with("Equal.\n"));
    assert!(done(&["import", root, store]).contains("nothing changed"));
    done(&["verify", store]);
}
