//! Imports that are killed: whatever the source is, and whenever it happens, a rerun completes them.
//!
//! `RUNLODE_IMPORT_KILLS` sets how often the import of each source is killed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{command, database, done, said};
use tempfile::TempDir;

/// Kills in one store before the import may end.
const KILLS_OF_A_STORE: u64 = 3;

fn kills() -> u64 {
    std::env::var("RUNLODE_IMPORT_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

fn data(name: &str) -> String {
    let path = database().parent().unwrap().join(name);
    path.to_str().unwrap().to_owned()
}

/// A file store with a model in the registry.
fn file_store(root: &Path) -> String {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("5/meta.yaml", "experiment_id: '5'\nname: trained\nartifact_location: ''\ncreation_time: 4\n");
    for number in 0..12 {
        let run = format!("{number:032x}");
        let meta = format!("run_id: {run}\nexperiment_id: '5'\nrun_name: r{number}\nstatus: 3\nstart_time: 7\n");
        write(&format!("5/{run}/meta.yaml"), &meta);
        write(&format!("5/{run}/params/lr"), "0.1");
        write(&format!("5/{run}/artifacts/deep/model.bin"), &"x".repeat(20_000));
        for metric in ["loss", "acc"] {
            let mut lines = String::new();
            for step in 0..2_500 {
                writeln!(lines, "{} {} {step}", 1_000 + step, f64::from(step) * 0.1 + f64::from(number)).unwrap();
            }
            write(&format!("5/{run}/metrics/{metric}"), &lines);
        }
    }
    write("models/fraud/meta.yaml", "name: fraud\ncreation_timestamp: 1\n");
    write("models/fraud/aliases/best", "1");
    write("models/fraud/version-1/meta.yaml", "version: 1\nsource: s\ncurrent_stage: None\n");
    root.to_str().unwrap().to_owned()
}

/// Runs an import; its report. 1 is the answer if the source has something that no store holds.
fn import(source: &str, store: &Path) -> Value {
    let (code, out, error) = said(&command(&["import", source, store.to_str().unwrap(), "--json"]).output().unwrap());
    assert!(matches!(code, Some(0 | 1)), "{source}: {out}{error}");
    serde_json::from_str(&out).unwrap()
}

/// Kills an import after some time, unless it has ended by then; whether it was killed.
fn killed(source: &str, store: &Path, after: Duration) -> bool {
    let mut importing = command(&["import", source, store.to_str().unwrap()]);
    let mut child = importing.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    ended.is_none()
}

#[test]
fn imports_that_are_killed_are_completed_by_a_rerun() {
    let dir = TempDir::new().unwrap();
    let sources = [
        format!("sqlite:///{}", database().display()),
        file_store(&dir.path().join("mlruns")),
        data("tensorboard"),
        data("wandb"),
    ];
    let mut interrupted = 0;
    for source in &sources {
        let place = |name: String| -> PathBuf { dir.path().join(name) };
        let whole = place("whole".into());
        let begun = Instant::now();
        import(source, &whole);
        let took = begun.elapsed();
        let mut store = place("killed-0".into());
        for number in 0..kills() {
            if number % KILLS_OF_A_STORE == 0 {
                store = place(format!("killed-{number}"));
            }
            let share = (number as f64 + 0.5) / kills() as f64;
            interrupted += u32::from(killed(source, &store, took.mul_f64(share)));
            if number % KILLS_OF_A_STORE < KILLS_OF_A_STORE - 1 && number + 1 < kills() {
                continue;
            }
            import(source, &store);
            let text = store.to_str().unwrap();
            assert_eq!(import(source, &store)["batches_new"], 0, "{source}, kill {number}");
            let (code, out, error) = said(&support::runlode(&["diff", source, text]));
            assert_eq!((code, error.as_str()), (Some(0), ""), "{source}, kill {number}: {out}");
            done(&["verify", text]);
            std::fs::remove_dir_all(&store).unwrap();
        }
        std::fs::remove_dir_all(&whole).unwrap();
    }
    println!("{interrupted} imports were killed");
    assert!(interrupted > 0, "no import was killed in time");
}
