//! Imports of what other trackers wrote: MLflow's file store, server and PostgreSQL database, TensorBoard's event files,
//! W&B's offline runs. Each is compared with the store afterwards, changes nothing the second time, can be interrupted
//! anywhere, and is topped up when it has grown.
//!
//! Long, because its tests share the ways to import, to compare, and to start the servers that are imported from.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runlode::{HistoryQuery, LocalStore, RawStore, RunId, Snapshot};
use runlode_cli::import::diff::{Comparison, Kind, Side, compare};
use runlode_cli::import::{ImportOptions, ImportSource, Report};
use runlode_tests::python;
use serde_json::Value;
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn store(dir: &TempDir) -> LocalStore {
    LocalStore::options(dir.path().join("store")).default_experiment(false).open().unwrap()
}

fn try_import(source: &str, store: &LocalStore, options: &ImportOptions) -> Result<Report, runlode_cli::Error> {
    let source = ImportSource::parse(source)?.open(options, &mut |_| {})?;
    source.import(&RawStore::from(store.clone()), options, &mut |_| {})
}

fn import(source: &str, store: &LocalStore) -> Report {
    try_import(source, store, &ImportOptions::default()).unwrap()
}

fn difference(source: &str, store: &LocalStore) -> Comparison {
    let opened = ImportSource::parse(source).unwrap().open(&ImportOptions::default(), &mut |_| {}).unwrap();
    let source = Side::Source(Box::new(opened), "default".to_owned());
    compare(&source, &Side::Store(store.clone()), ["source", "store"], &mut |_| {}).unwrap()
}

#[track_caller]
fn assert_equal(source: &str, store: &LocalStore) -> Comparison {
    let found = difference(source, store);
    assert!(found.equal, "{:#?}", found.differences);
    found
}

/// Imports with an interruption after every batch, one more each time, until it is complete.
fn import_in_pieces(source: &str, store: &LocalStore) {
    let mut pieces = 0;
    loop {
        let options = ImportOptions { stop_after_batches: Some(1), ..ImportOptions::default() };
        match try_import(source, store, &options) {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("as asked"), "{error}"),
        }
        pieces += 1;
        assert!(pieces < 10_000, "an interrupted import goes on where it was");
    }
    assert!(pieces > 1, "there is more than one batch");
}

fn python() -> Option<PathBuf> {
    if python::is_left_out() {
        println!("skipped: RUNLODE_WITHOUT_MLFLOW=1");
        return None;
    }
    Some(python::environment(&Path::new(env!("CARGO_MANIFEST_DIR")).join("python")).unwrap())
}

fn foreign(python: &Path, what: &str, uri: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/foreign.py");
    let output = Command::new(python).arg(script).args([what, uri]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that MLflow answers about a store must be what ours says.
fn assert_as_mlflow(answers: &str, snapshot: &Snapshot) {
    let answers: Value = serde_json::from_str(answers.lines().last().unwrap()).unwrap();
    let runs = answers["runs"].as_object().unwrap();
    assert!(!runs.is_empty());
    for (id, wanted) in runs {
        let id: RunId = id.parse().unwrap();
        let state = snapshot.run(id).unwrap().unwrap();
        let experiment = snapshot.experiment(state.experiment).unwrap().unwrap();
        assert_eq!(wanted["experiment"], experiment.name.as_str());
        assert_eq!(wanted["name"], state.name.as_str());
        let status: &str = state.status.into();
        assert_eq!(wanted["status"], status);
        let active = snapshot.lifecycle(&state).unwrap() == runlode::Lifecycle::Active;
        assert_eq!(wanted["lifecycle"], if active { "active" } else { "deleted" });
        let pairs = |pairs: &[(String, String)]| -> Value {
            pairs
                .iter()
                .map(|(key, value)| (key.clone(), Value::from(value.clone())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert_eq!(wanted["params"], pairs(&state.params), "{id}");
        assert_eq!(wanted["tags"], pairs(&state.tags), "{id}");
        let histories = wanted["history"].as_object().unwrap();
        assert_eq!(histories.len(), snapshot.latest(id).unwrap().len());
        for (key, wanted) in histories {
            let columns = snapshot.history(id, key, &HistoryQuery::default()).unwrap().columns;
            let mut ours: Vec<(i64, i64, u64)> = (0..columns.len())
                .map(|at| columns.point(at))
                .map(|point| (point.time.0, if key == "acc" { 0 } else { point.step }, bits(point.value)))
                .collect();
            ours.sort_unstable();
            let mut theirs: Vec<(i64, i64, u64)> = wanted
                .as_array()
                .unwrap()
                .iter()
                .map(|point| {
                    let value: f64 = point[2].as_str().unwrap().parse().unwrap();
                    (point[0].as_i64().unwrap(), point[1].as_i64().unwrap(), bits(value))
                })
                .collect();
            theirs.sort_unstable();
            // A store has a point once, however often it was logged.
            theirs.dedup();
            assert_eq!(ours, theirs, "{id} {key}");
        }
    }
    let versions = answers["versions"].as_object().unwrap();
    for (name, wanted) in versions {
        let (model, version) = name.split_once('/').unwrap();
        let (id, state) = snapshot.registered_model(model).unwrap().unwrap();
        let version: u32 = version.parse().unwrap();
        let of = snapshot.model_version(id, version).unwrap().unwrap();
        let stage: &str = of.stage.into();
        assert_eq!(wanted[0], stage);
        let mut aliases: Vec<&str> =
            state.aliases.iter().filter(|(_, of)| *of == version).map(|(alias, _)| alias.as_str()).collect();
        aliases.sort_unstable();
        assert_eq!(wanted[2], serde_json::json!(aliases));
    }
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

#[test]
fn a_file_store_of_mlflow_is_imported_whole_and_topped_up() {
    let Some(python) = python() else { return };
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("mlruns");
    let uri = format!("file://{}", root.display());
    foreign(&python, "make", &uri);
    let (source, store) = (root.to_str().unwrap(), store(&dir));

    let report = import(source, &store);
    assert!(report.complete, "{report:#?}");
    assert_eq!(report.version_numbers_kept, 1);
    assert_eq!((report.imported.artifact_files, report.imported.model_points), (3, 3));
    let found = assert_equal(source, &store);
    assert_eq!((found.counts[&Kind::Runs].equal, found.counts[&Kind::ModelVersions].equal), (4, 2));
    assert_as_mlflow(&foreign(&python, "answers", &uri), &store.snapshot().unwrap());
    assert_eq!(import(source, &store).batches_new, 0);

    foreign(&python, "more", &uri);
    assert!(!difference(source, &store).equal);
    let more = import(source, &store);
    assert!(more.complete && more.batches_new > 0, "{more:#?}");
    assert_equal(source, &store);
    assert_as_mlflow(&foreign(&python, "answers", &uri), &store.snapshot().unwrap());
    assert_eq!(import(source, &store).batches_new, 0);

    let other = TempDir::new().unwrap();
    let other = LocalStore::options(other.path().join("pieces")).default_experiment(false).open().unwrap();
    import_in_pieces(source, &other);
    assert_equal(source, &other);
}

#[test]
fn what_a_crash_left_in_a_file_store_is_told_and_the_rest_imported() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("mlruns");
    let run = "0123456789abcdef0123456789abcdef";
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("7/meta.yaml", "experiment_id: '7'\nname: old\nartifact_location: mlruns/7\nlifecycle_stage: active\n");
    // The oldest form: other names, no steps, an id that YAML reads as an octal number.
    let meta = format!("run_uuid: {run}\nexperiment_id: 07\nname: first\nstatus: 3\nstart_time: 5\nend_time: 9\n");
    write(&format!("7/{run}/meta.yaml"), &meta);
    write(&format!("7/{run}/metrics/loss"), "10 0.5\n11 nan\n\n12\n13 0.25 4 iris d1\n14 0.1");
    write(&format!("7/{run}/metrics/deep/er"), "10 1\r\n");
    write(&format!("7/{run}/metrics/none"), "");
    write(&format!("7/{run}/params/p"), "");
    write("7/00000000000000000000000000000001/meta.yaml", "run_id: [");
    write("7/00000000000000000000000000000002/params/p", "1");
    write("7/00000000000000000000000000000003/meta.yaml", "run_id: x\nexperiment_id: '8'\n");
    std::os::unix::fs::symlink("/etc/passwd", root.join(format!("7/{run}/params/link"))).unwrap();

    let store = store(&dir);
    let report = import(root.to_str().unwrap(), &store);
    assert!(!report.complete);
    for (reason, count) in [
        ("metric lines that are no points", 2),
        ("metric lines that were cut off", 1),
        ("runs without a readable meta.yaml", 2),
        ("runs that name another experiment as their own", 1),
        ("links and special files in the file store", 1),
    ] {
        assert_eq!(report.skipped.get(reason), Some(&count), "{reason}: {report:#?}");
    }
    assert_eq!((report.imported.runs, report.imported.points, report.imported.params), (1, 4, 1));
    let snapshot = store.snapshot().unwrap();
    let state = snapshot.run(run.parse().unwrap()).unwrap().unwrap();
    assert_eq!((state.name.as_str(), state.params.as_slice()), ("first", &[("p".to_owned(), String::new())][..]));
    let loss = snapshot.history(run.parse().unwrap(), "loss", &HistoryQuery::default()).unwrap().columns;
    let loss: Vec<_> = (0..loss.len()).map(|at| loss.point(at)).map(|point| (point.step, point.time.0)).collect();
    assert_eq!(loss, [(0, 10), (0, 11), (4, 13)]);
    assert_eq!(import(root.to_str().unwrap(), &store).batches_new, 0);
}

/// Appends a record to an event file.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), payload, &masked(payload)].concat()
}

/// As the format says, one bit after another.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// An event with a scalar.
fn scalar(tag: &str, seconds: f64, step: u8, value: f32) -> Vec<u8> {
    let value = [&[10, tag.len() as u8][..], tag.as_bytes(), &[21], &value.to_le_bytes()].concat();
    let summary = [&[10, value.len() as u8][..], &value].concat();
    record(&[&[9][..], &seconds.to_le_bytes(), &[16, step, 42, summary.len() as u8], &summary].concat())
}

/// An event with which a writer begins again at a step.
fn start(seconds: f64, step: u8) -> Vec<u8> {
    record(&[&[9][..], &seconds.to_le_bytes(), &[16, step, 58, 2, 8, 1]].concat())
}

#[test]
fn event_files_of_real_trainings_are_imported_whole() {
    let dir = TempDir::new().unwrap();
    let (source, store) = (data("tensorboard"), store(&dir));
    let source = source.to_str().unwrap();
    let report = import(source, &store);
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.imported.runs, report.imported.experiments, report.imported.points), (3, 1, 792));
    assert_equal(source, &store);
    assert_eq!(import(source, &store).batches_new, 0);
    let other = TempDir::new().unwrap();
    let other = LocalStore::options(other.path().join("pieces")).default_experiment(false).open().unwrap();
    import_in_pieces(source, &other);
    assert_equal(source, &other);
}

#[test]
fn event_files_that_grow_restart_and_break_are_followed() {
    let dir = TempDir::new().unwrap();
    let logs = dir.path().join("logs");
    let run = logs.join("a/b");
    fs::create_dir_all(&run).unwrap();
    let file = run.join("events.out.tfevents.100.host");
    let mut bytes: Vec<u8> = (0..10).flat_map(|step| scalar("lo ss?", 100.0 + f64::from(step), step, 0.1)).collect();
    // A record that is being written.
    let next = scalar("lo ss?", 110.0, 10, 0.5);
    bytes.extend(&next[..20]);
    fs::write(&file, &bytes).unwrap();
    let (source, store) = (logs.to_str().unwrap().to_owned(), store(&dir));
    let report = import(&source, &store);
    assert_eq!(report.skipped.get("event files that end within a record"), Some(&1), "{report:#?}");
    assert_eq!(report.imported.points, 10);

    // It is completed, and another file goes on.
    bytes.extend(&next[20..]);
    fs::write(&file, &bytes).unwrap();
    fs::write(run.join("events.out.tfevents.200.host"), scalar("lo ss?", 200.0, 11, -0.0)).unwrap();
    let report = import(&source, &store);
    assert!(report.complete, "{report:#?}");
    assert_eq!(report.imported.points, 12);
    assert_equal(&source, &store);
    let snapshot = store.snapshot().unwrap();
    let experiment = snapshot.experiment_by_name("logs").unwrap().unwrap().0;
    let runs = snapshot.runs_of(experiment).unwrap();
    let [id] = runs[..] else { panic!("one run: {runs:?}") };
    assert_eq!(snapshot.run(id).unwrap().unwrap().name, "a/b");
    let columns = snapshot.history(id, "lo ss_", &HistoryQuery::default()).unwrap().columns;
    assert_eq!(columns.point(0).value, f64::from(0.1_f32));
    assert_eq!((columns.point(11).time.0, columns.point(11).value.to_bits()), (200_000, (-0.0_f64).to_bits()));

    // The folder moves: it is the same run.
    let moved = dir.path().join("moved");
    fs::rename(&logs, &moved).unwrap();
    assert_eq!(import(moved.to_str().unwrap(), &store).imported.runs, 1);
    assert_eq!(store.snapshot().unwrap().runs_of(experiment).unwrap(), [id]);

    // A damaged file ends where it is damaged.
    bytes[30] ^= 1;
    let broken = dir.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("events.out.tfevents.1"), &bytes).unwrap();
    let report = import(broken.to_str().unwrap(), &store);
    assert_eq!(report.skipped.get("event files that are damaged"), Some(&1), "{report:#?}");
}

#[test]
fn points_that_a_restart_superseded_are_left_out_as_tensorboard_does() {
    let dir = TempDir::new().unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir_all(&logs).unwrap();
    let before: Vec<u8> = (0..5).flat_map(|step| scalar("loss", f64::from(step), step, 1.0)).collect();
    let after: Vec<u8> = (3..6).flat_map(|step| scalar("loss", 10.0 + f64::from(step), step, 2.0)).collect();
    fs::write(logs.join("events.out.tfevents.1"), before).unwrap();
    fs::write(logs.join("events.out.tfevents.2"), [start(10.0, 3), after].concat()).unwrap();
    let store = store(&dir);
    let report = import(logs.to_str().unwrap(), &store);
    assert!(report.complete && report.notes.iter().any(|note| note.contains("2 points")), "{report:#?}");
    let snapshot = store.snapshot().unwrap();
    let experiment = snapshot.experiment_by_name("logs").unwrap().unwrap().0;
    let id = snapshot.runs_of(experiment).unwrap()[0];
    let columns = snapshot.history(id, "loss", &HistoryQuery::default()).unwrap().columns;
    let values: Vec<_> =
        (0..columns.len()).map(|at| columns.point(at)).map(|point| (point.step, point.value)).collect();
    assert_eq!(values, [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]);
    assert_equal(logs.to_str().unwrap(), &store);
}

#[test]
fn offline_runs_of_wandb_are_imported() {
    let dir = TempDir::new().unwrap();
    let (source, store) = (data("wandb"), store(&dir));
    let source = source.to_str().unwrap();
    let report = import(source, &store);
    // Texts and media in histories are told.
    assert!(!report.complete && report.problems.is_empty() && report.skipped.is_empty(), "{report:#?}");
    assert_equal(source, &store);
    assert_eq!(import(source, &store).batches_new, 0);

    let snapshot = store.snapshot().unwrap();
    let experiment = snapshot.experiment_by_name("digits").unwrap().unwrap().0;
    let runs: Vec<_> = snapshot.runs_of(experiment).unwrap();
    let of = |name: &str| {
        let named = |id: &&RunId| snapshot.run(**id).unwrap().unwrap().name == name;
        let id = *runs.iter().find(named).unwrap();
        (id, snapshot.run(id).unwrap().unwrap())
    };
    let (id, first) = of("first");
    let status: &str = first.status.into();
    assert_eq!(status, "FINISHED");
    let param = |key: &str| first.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!((param("lr"), param("net.act"), param("late")), (Some("0.1"), Some("relu"), Some("x")));
    let tag = |key: &str| first.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!((tag("wandb.tags"), tag("mlflow.note.content")), (Some("a, b"), Some("a note")));
    let values = |key: &str| {
        let columns = snapshot.history(id, key, &HistoryQuery::default()).unwrap().columns;
        (0..columns.len()).map(|at| columns.point(at)).map(|point| (point.step, point.value)).collect::<Vec<_>>()
    };
    let loss = values("loss");
    assert_eq!((loss.len(), loss[0], loss[99]), (100, (0, 1.0), (99, 0.01)));
    let acc = values("acc");
    assert!(acc[1].1.is_nan() && acc[2].1 == f64::INFINITY);
    assert_eq!((values("nested.x").len(), values("best").len(), values("img.width").len()), (100, 1, 0));
    assert!(!values("system/memory_percent").is_empty());
    let status: &str = of("second").1.status.into();
    assert_eq!(status, "FAILED");
    assert!(first.artifacts.iter().any(|(path, _)| path.starts_with("media/images/")), "{:?}", first.artifacts);
}

#[test]
fn a_store_is_compared_with_its_database() {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("mlflow.db");
    fs::copy(data("mlflow.db"), &database).unwrap();
    let source = format!("sqlite:///{}", database.display());
    let store = store(&dir);
    import(&source, &store);
    let found = assert_equal(&source, &store);
    assert_eq!(found.counts[&Kind::Points].equal, 35_014);

    let connection = rusqlite::Connection::open(&database).unwrap();
    let sql = "UPDATE metrics SET value = value + 1 WHERE rowid = 7;
               DELETE FROM metrics WHERE rowid = 9;
               UPDATE runs SET name = 'other' WHERE rowid = 2;
               DELETE FROM params WHERE rowid = 3;
               INSERT INTO tags SELECT 'new', '1', run_uuid FROM runs WHERE rowid = 4;
               UPDATE model_versions SET description = 'new' WHERE current_stage <> 'Deleted_Internal';
               DELETE FROM registered_model_aliases;";
    connection.execute_batch(sql).unwrap();
    let found = difference(&source, &store);
    assert!(!found.equal);
    let of = |kind: Kind| {
        let counts = found.counts[&kind];
        (counts.different, counts.only_a, counts.only_b)
    };
    assert_eq!((of(Kind::Points), of(Kind::Runs), of(Kind::Params)), ((1, 0, 1), (1, 0, 0), (0, 0, 1)));
    assert_eq!((of(Kind::Tags), of(Kind::ModelVersions)), ((0, 1, 0), (6, 0, 0)));
    assert_eq!((of(Kind::Aliases), of(Kind::Experiments)), ((0, 0, 2), (0, 0, 0)));
    assert!(found.differences[&Kind::Runs][0].what.starts_with("name of run "), "{:?}", found.differences);
}

/// A process that is ended with the test, with all that it started.
struct Server(std::process::Child);

impl Server {
    fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let null = || Stdio::null();
        Self(command.process_group(0).stdin(null()).stdout(null()).stderr(null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let ended = Command::new("kill").args(["-TERM", "--", &group]).status();
        drop((ended, self.0.wait()));
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Tries until it works; a machine that is busy may need long.
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(done) = attempt() {
            return done;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{what} did not start within two minutes");
}

/// All files below a folder.
fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(all_files(&path)) } else { files.push(path) }
    }
    files
}

/// Copies a folder; returns how many files it has.
fn copy_tree(from: &Path, to: &Path) -> u64 {
    let files = all_files(from);
    for file in &files {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
    files.len() as u64
}

/// Whether a store has these artifacts, byte for byte, and a right digest of each.
fn assert_artifacts(store: &LocalStore, expected: &Path, count: u64) {
    let root = store.path().join("artifacts");
    let list = fs::read_to_string(root.join("imported.sha256")).unwrap();
    assert_eq!(list.lines().count() as u64, count);
    let mut check = Command::new("sha256sum");
    let checked =
        check.args(["--check", "--strict", "--quiet", "imported.sha256"]).current_dir(&root).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let mut found: Vec<Vec<u8>> = all_files(&root)
        .iter()
        .filter(|path| !path.ends_with("imported.sha256"))
        .map(|path| fs::read(path).unwrap())
        .collect();
    let mut wanted: Vec<Vec<u8>> = all_files(expected).iter().map(|path| fs::read(path).unwrap()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert!(found == wanted, "the same files");
}

#[test]
fn a_running_server_of_mlflow_is_imported_whole_and_topped_up() {
    use std::io::{Read, Write};
    let Some(python) = python() else { return };
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("mlflow.db");
    fs::copy(data("mlflow.db"), &database).unwrap();
    let sql = "UPDATE runs SET artifact_uri = replace(artifact_uri, '/srv/mlflow/artifacts', 'mlflow-artifacts:');
               UPDATE logged_models SET
                 artifact_location = replace(artifact_location, '/srv/mlflow/artifacts', 'mlflow-artifacts:');";
    rusqlite::Connection::open(&database).unwrap().execute_batch(sql).unwrap();
    let artifacts = dir.path().join("artifacts");
    let files = copy_tree(&data("artifacts"), &artifacts);
    let database = format!("sqlite:///{}", database.display());
    let port = free_port();
    let mut command = Command::new(&python);
    command.args(["-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--backend-store-uri", &database, "--artifacts-destination"]).arg(&artifacts);
    let _server = Server::start(command.env("MLFLOW_DISABLE_TELEMETRY", "true"));
    wait_for("the server", || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("200 OK").then_some(())
    });

    let url = format!("http://127.0.0.1:{port}");
    let store = store(&dir);
    let options =
        ImportOptions { cache: Some(dir.path().join("cache.db")), concurrency: 2, ..ImportOptions::default() };
    let report = try_import(&url, &store, &options).unwrap();
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.imported.artifact_files, report.artifact_files_new), (files, files));
    assert_equal(&database, &store);
    assert_equal(&url, &store);
    assert_artifacts(&store, &artifacts, files);
    assert_eq!(try_import(&url, &store, &options).unwrap().batches_new, 0);

    // Files that are not whole come again, and only these.
    let broken = all_files(&store.path().join("artifacts")).into_iter().find(|path| path.ends_with("MLmodel")).unwrap();
    fs::write(&broken, "cut off").unwrap();
    let report = try_import(&url, &store, &options).unwrap();
    assert_eq!((report.imported.artifact_files, report.artifact_files_new, report.batches_new), (files, 1, 0));
    assert_artifacts(&store, &artifacts, files);

    // Without files, places go on naming the server; a later import that takes files does not change that.
    let bare = LocalStore::options(dir.path().join("bare")).default_experiment(false).open().unwrap();
    let without = ImportOptions { without_artifacts: true, cache: options.cache.clone(), ..ImportOptions::default() };
    for options in [&without, &options] {
        assert_eq!(try_import(&url, &bare, options).unwrap().imported.artifact_files, 0);
    }
    assert!(!bare.path().join("artifacts").exists());
    let other = try_import("http://127.0.0.1:1", &store, &options).unwrap_err().to_string();
    assert!(other.contains("belongs to"), "{other}");

    // It grows; what the cache has is not fetched again, and what is new is.
    let connection = rusqlite::Connection::open(database.strip_prefix("sqlite:///").unwrap()).unwrap();
    let sql = "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
                 SELECT key, 0.125, timestamp + 1000, run_uuid, step + 1, 0 FROM latest_metrics LIMIT 5;
               INSERT OR REPLACE INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
                 SELECT key, 0.125, timestamp + 1000, step + 1, 0, run_uuid FROM latest_metrics LIMIT 5;";
    connection.execute_batch(sql).unwrap();
    let report = try_import(&url, &store, &options).unwrap();
    assert!(report.complete && report.batches_new > 0, "{report:#?}");
    assert_equal(&database, &store);
}

/// The programs of PostgreSQL, if it is installed.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists()).max()
}

/// A command that is not run as root: PostgreSQL refuses that.
fn without_root(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Copies the tables of an SQLite database with MLflow's types.
fn copy_tables(database: &Path, client: &mut postgres::Client) {
    use rusqlite::types::ValueRef;
    use std::io::Write;
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(sql).unwrap();
    let tables: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for table in tables {
        let mut statement =
            connection.prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')")).unwrap();
        let columns: Vec<(String, String)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        let column = |(name, kind): &(String, String)| {
            let kind = match kind.split('(').next().unwrap() {
                "BIGINT" => "bigint",
                "INTEGER" => "integer",
                "FLOAT" => "double precision",
                "BOOLEAN" => "boolean",
                _ => "text",
            };
            format!("\"{name}\" {kind}")
        };
        let list: Vec<String> = columns.iter().map(column).collect();
        client.batch_execute(&format!("CREATE TABLE \"{table}\" ({})", list.join(", "))).unwrap();
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut writer = client.copy_in(&format!("COPY \"{table}\" FROM STDIN")).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<String> = (0..columns.len())
                .map(|at| match row.get_ref(at).unwrap() {
                    ValueRef::Null => "\\N".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => format!("{number:e}"),
                    ValueRef::Text(text) | ValueRef::Blob(text) => {
                        let text = String::from_utf8_lossy(text).replace('\\', "\\\\").replace('\t', "\\t");
                        text.replace('\n', "\\n").replace('\r', "\\r")
                    }
                })
                .collect();
            writeln!(writer, "{}", cells.join("\t")).unwrap();
        }
        writer.finish().unwrap();
    }
}

#[test]
fn a_postgresql_database_of_mlflow_is_imported_whole() {
    let Some(bin) = postgres_programs() else {
        println!("skipped: PostgreSQL is not installed (apt-get install postgresql)");
        return;
    };
    let cluster = TempDir::new().unwrap();
    if is_root() {
        std::os::unix::fs::chown(cluster.path(), Some(65534), Some(65534)).unwrap();
    }
    let folder = cluster.path().join("data");
    let mut initdb = without_root(&bin.join("initdb"));
    initdb.arg("-D").arg(&folder).args(["-U", "mlflow", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
    let made = initdb.current_dir(cluster.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let mut server = without_root(&bin.join("postgres"));
    server.arg("-D").arg(&folder).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
    let _server = Server::start(server.current_dir(cluster.path()));
    let url = format!("postgresql://mlflow@127.0.0.1:{port}/postgres");
    let mut client = wait_for("PostgreSQL", || postgres::Client::connect(&url, postgres::NoTls).ok());

    let empty = ImportSource::parse(&url).unwrap().open(&ImportOptions::default(), &mut |_| {}).err().unwrap();
    assert!(empty.to_string().contains("no MLflow database"), "{empty}");
    copy_tables(&data("mlflow.db"), &mut client);
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    let source = url.replace("postgresql://", "postgresql+psycopg2://");
    let report = import(&source, &store);
    assert!(report.complete, "{report:#?}");
    assert_eq!(report.imported.points, 35_014);
    assert!(!report.source.contains("mlflow@"), "{}", report.source);
    assert_equal(&source, &store);
    assert_equal(&format!("sqlite:///{}", data("mlflow.db").display()), &store);
    assert_eq!(import(&source, &store).batches_new, 0);

    // A point that is new is brought in, and infinities are turned back on demand.
    let more = "INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics LIMIT 1";
    client.batch_execute(more).unwrap();
    assert!(!difference(&source, &store).equal);
    assert_eq!(import(&source, &store).batches_new, 1);
    assert_equal(&source, &store);
    let restored = TempDir::new().unwrap();
    let restored = LocalStore::options(restored.path().join("s")).default_experiment(false).open().unwrap();
    let options = ImportOptions { restore_infinities: true, ..ImportOptions::default() };
    let report = try_import(&source, &restored, &options).unwrap();
    assert!(report.infinities > 0, "{report:#?}");
    let found = difference(&source, &restored);
    assert!(found.equal && found.counts[&Kind::Points].cannot_be_equal == report.infinities, "{found:#?}");
}

#[test]
fn a_project_of_trackio_is_imported() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("digits.db");
    // The tables as trackio 0.43 makes them, with a row each as it writes them.
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = r#"
        CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT NULL,
            run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, log_id TEXT, space_id TEXT);
        CREATE TABLE configs (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, run_name TEXT NOT NULL,
            config TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE(run_id));
        CREATE TABLE system_metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,
            timestamp TEXT NOT NULL, run_name TEXT NOT NULL, metrics TEXT NOT NULL);
        INSERT INTO configs (run_id, run_name, config, created_at) VALUES ('7a970171e2224a498f482ad6a4b14d29', 'first',
            x'7b226c72223a302e312c226e6574223a7b2261223a317d2c225f557365726e616d65223a6e756c6c7d',
            '2026-11-30T22:03:33.925186+00:00');
        INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES
            ('7a970171e2224a498f482ad6a4b14d29', '2026-11-30T22:03:33.926384+00:00', 'first', 0,
                '{"loss":1.0,"nested/acc":0.5,"bad":"Infinity"}'),
            ('7a970171e2224a498f482ad6a4b14d29', '2026-11-30T22:03:34.926384+00:00', 'first', 1, '{"loss":"NaN"}');
        INSERT INTO system_metrics (run_id, timestamp, run_name, metrics) VALUES
            ('7a970171e2224a498f482ad6a4b14d29', '2026-11-30T22:03:34+00:00', 'first', '{"cpu":12.5}');"#;
    connection.execute_batch(sql).unwrap();
    let (source, store) = (path.to_str().unwrap(), store(&dir));
    let report = import(source, &store);
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.imported.runs, report.imported.params, report.imported.points), (1, 2, 5));
    assert_equal(source, &store);
    assert_eq!(import(source, &store).batches_new, 0);
    let snapshot = store.snapshot().unwrap();
    let id: RunId = "7a970171e2224a498f482ad6a4b14d29".parse().unwrap();
    let of = |key: &str| snapshot.history(id, key, &HistoryQuery::default()).unwrap().columns;
    assert_eq!((of("bad").point(0).value, of("system/cpu").point(0).value), (f64::INFINITY, 12.5));
    assert_eq!((of("loss").point(0).time.0, of("loss").len()), (1_796_076_213_926, 2));

    connection.execute("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) SELECT run_id, timestamp, run_name, 2, '{\"loss\":3,\"text\":\"x\",\"val\":{\"acc\":{\"top 5\":0.75},\"note\":\"y\"},\"rows\":{\"_type\":\"trackio.table\",\"n\":3}}' FROM metrics LIMIT 1", []).unwrap();
    let more = import(source, &store);
    assert!(!more.complete && more.batches_new == 1, "{more:#?}");
    // Numbers of nested objects come along; two texts and a table do not.
    assert_eq!(more.tables_left_out.values().collect::<Vec<_>>(), [&3], "{more:#?}");
    let nested = store.snapshot().unwrap().history(id, "val.acc.top 5", &HistoryQuery::default()).unwrap().columns;
    assert_eq!((nested.len(), nested.point(0).value, nested.point(0).step), (1, 0.75, 2));
    assert!(store.snapshot().unwrap().stats(id, "rows.n").unwrap().is_none());
    assert_equal(source, &store);
}
