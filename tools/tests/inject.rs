//! Faults from outside, on a real file system: one system call of an import fails (EIO, ENOSPC), injected by `strace`.
//! The import must say so in a sentence, nothing may be wrong afterwards, and running it again must complete it.
//!
//! Skipped where there is no `strace` that may trace. `RUNLODE_INJECTIONS` says how many faults are tried (default 10).

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const CALLS: [&str; 6] = ["pwrite64", "fsync", "fdatasync", "rename,renameat,renameat2", "openat", "write"];

fn runlode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runlode")).args(arguments).output().unwrap()
}

#[test]
fn an_import_that_meets_a_fault_is_completed_by_running_it_again() {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no strace here that may trace");
        return;
    }
    let count: usize = std::env::var("RUNLODE_INJECTIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
    let database = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/mlflow.db").canonicalize().unwrap();
    let source = format!("sqlite:///{}", database.display());
    for fault in 0..count {
        let call = CALLS[fault % CALLS.len()];
        let error = if fault / CALLS.len() % 2 == 0 { "EIO" } else { "ENOSPC" };
        // Spread over the first 60 calls, another one each time.
        let when = 1 + fault * 7 % 60;
        let about = format!("{call} number {when} fails with {error}");
        let dir = TempDir::new().unwrap();
        let store = dir.path().join("store").to_str().unwrap().to_owned();
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error={error}:when={when}")])
            .args([env!("CARGO_BIN_EXE_runlode"), "import", &source, &store])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{about}: {:?} {said}", output.status);
        assert!(!said.contains("panicked"), "{about}: {said}");
        let again = runlode(&["import", &source, &store, "--json"]);
        let report = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success(), "{about}: {}", String::from_utf8_lossy(&again.stderr));
        assert!(report.contains("\"points\":35014"), "{about}: {report}");
        let sound = runlode(&["verify", &store]);
        assert!(sound.status.success(), "{about}: {}", String::from_utf8_lossy(&sound.stdout));
    }
}
