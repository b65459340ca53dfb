//! Children of launches: their ends, their output, and signals to the launcher alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runlode_projects::launch::{Stop, run};

/// The variable that makes this test's program a launcher of its own.
const COMMAND: &str = "RUNLODE_TEST_COMMAND";

fn launch(line: &str) -> runlode_projects::launch::Ended {
    run(line, &std::env::temp_dir(), &[("GREETING".to_owned(), "hello".to_owned())], Stop::catch().unwrap()).unwrap()
}

/// Not a test of its own: the launcher that other tests start and signal.
#[test]
fn a_launcher_for_other_tests() {
    if let Ok(line) = std::env::var(COMMAND) {
        let ended = launch(&line);
        println!("ended: {:?} {:?} {:?}", ended.code, ended.signal, ended.interrupted_by);
    }
}

#[test]
fn how_a_child_ended_is_known() {
    let ended = launch("echo $GREETING; echo oops >&2; exit 7");
    assert_eq!((ended.code, ended.signal, ended.interrupted_by), (Some(7), None, None));
    let output = String::from_utf8(ended.output.clone()).unwrap();
    assert!(output.contains("hello\n") && output.contains("oops\n"), "{output}");
    assert!(!ended.is_success());
    assert_eq!(launch("kill -9 $$").signal, Some(9));
    assert!(launch("true").is_success());
}

#[test]
fn long_output_keeps_its_head_and_its_tail() {
    let output = launch("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last").output;
    let text = String::from_utf8_lossy(&output);
    assert!(text.starts_with("first\n") && text.trim_end().ends_with("last"));
    assert!(text.contains("bytes left out") && output.len() < 3 << 20);
}

#[test]
fn a_process_that_holds_the_output_open_does_not_hold_the_launch() {
    let began = Instant::now();
    let ended = launch("sleep 30 & echo started");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(ended.is_success() && ended.output == b"started\n");
}

/// A signal to the launcher alone ends the child and what the child started.
#[test]
fn signals_end_the_whole_family() {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let mut launcher = Command::new(std::env::current_exe().unwrap())
            .args(["a_launcher_for_other_tests", "--exact", "--nocapture"])
            .env(COMMAND, "sleep 300 & echo started $! $$; python3 -c 'import time; time.sleep(300)'; wait")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(launcher.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let started =
            lines.by_ref().find_map(|line| line.split_once("started ").map(|(_, pids)| pids.to_owned())).unwrap();
        let status = Command::new("kill").args([format!("-{signal}"), launcher.id().to_string()]).status().unwrap();
        assert!(status.success());
        let ended = lines.find(|line| line.contains("ended: ")).unwrap();
        assert!(ended.ends_with(&format!("Some({number})")), "{ended}");
        launcher.wait().unwrap();
        for pid in started.split(' ') {
            let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A process that was killed needs a moment to go, and may then wait for its new parent.
            let deadline = Instant::now() + Duration::from_secs(60);
            while !stat().is_empty() && !stat().contains(") Z ") {
                assert!(Instant::now() < deadline, "{signal}: {pid} lives: {}", stat());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
