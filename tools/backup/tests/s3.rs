//! Backups in a bucket of a real S3-compatible server: moto, from `RUNLODE_MOTO_PYTHON`, a Python that has `moto[server]`.
//! Without it the test says that it was skipped.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runlode::{RunSpec, Store};
use runlode_backup::{At, Backups, MakeOptions};

struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server; its port.
fn moto(python: &str) -> (Moto, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(python)
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let moto = Moto(child);
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (moto, port);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("moto did not start");
}

/// Makes a bucket, with the little HTTP that this takes.
fn make_bucket(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head =
        format!("PUT /vault HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The test runs itself in a process with the environment that the client reads.
#[test]
fn backups_in_a_bucket() {
    let Ok(python) = std::env::var("RUNLODE_MOTO_PYTHON") else {
        println!("skipped: RUNLODE_MOTO_PYTHON names no Python with moto[server]");
        return;
    };
    let (_moto, port) = moto(&python);
    make_bucket(port);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--nocapture"])
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("RUNLODE_BACKUP_S3_INSIDE", "1")
        .status()
        .unwrap();
    assert!(status.success());
}

fn open() -> Backups {
    Backups::open("s3://vault/team/exp").unwrap()
}

#[test]
fn inside() {
    if std::env::var("RUNLODE_BACKUP_S3_INSIDE").is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("exp");
    let store = Store::open(&path).unwrap();
    let run = store.experiment("digits").unwrap().create_run(RunSpec::named("trial")).unwrap();
    (0..100).for_each(|step| run.log_metrics(step, &[("loss", step as f64)]).unwrap());
    let folder = path.join("artifacts/1/x");
    std::fs::create_dir_all(&folder).unwrap();
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.join("weights with spaces+and#signs.bin"), &content).unwrap();
    assert!(open().list().unwrap().is_empty());
    let first = open().make(&path, &MakeOptions::default(), &mut |_| {}).unwrap();
    assert!(first.copied_bytes > 1_000_000, "{first:?}");
    run.log_metrics(100, &[("loss", 100.0)]).unwrap();
    let mut options = MakeOptions::default();
    options.name = Some("second".into());
    let second = open().make(&path, &options, &mut |_| {}).unwrap();
    assert!(second.copied_bytes < 1_100_000 && second.position > first.position, "{second:?}");
    let names: Vec<String> = open().list().unwrap().into_iter().map(|backup| backup.name).collect();
    assert_eq!(names, [first.name.clone(), "second".into()]);
    let report = open().check(&[], &mut |_| {}).unwrap();
    assert_eq!((report.backups_count, report.problems.len(), report.unnamed_count), (2, 0, 0), "{report:?}");
    let restored = |at: At, to: &Path| {
        open().restore(&at, to, &mut |_| {}).unwrap();
        let copy = Store::open(to).unwrap();
        let last = copy.run(run.id()).unwrap().latest("loss").unwrap().unwrap().last.value;
        assert_eq!(std::fs::read(to.join("artifacts/1/x/weights with spaces+and#signs.bin")).unwrap(), content);
        last
    };
    assert_eq!(restored(At::Name(first.name), &dir.path().join("a")), 99.0);
    assert_eq!(restored(At::Newest, &dir.path().join("b")), 100.0);
    assert!(
        Backups::open("s3://no-such-bucket/x").is_err_and(|error| error.to_string().contains("s3://no-such-bucket"))
    );
    println!("backups in a bucket: done");
}
