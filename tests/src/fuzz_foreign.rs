//! Targets for readers of other trackers' files: whatever the bytes are, a reader answers, and answers the same twice.

use std::fs;
use std::path::Path;

use runlode::{LocalStore, RawStore};
use runlode_cli::import::diff::{Side, compare};
use runlode_cli::import::{ImportOptions, ImportSource, Opened};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

fn open(source: &ImportSource) -> Option<Opened> {
    source.open(&ImportOptions::default(), &mut |_| {}).ok()
}

/// Reads a source twice. It is refused both times, or says the same.
fn same_twice(source: &ImportSource) {
    let (one, two) = (open(source), open(source));
    assert_eq!(one.is_some(), two.is_some());
    let (Some(one), Some(two)) = (one, two) else { return };
    let side = |opened| Side::Source(Box::new(opened), "default".to_owned());
    let found = compare(&side(one), &side(two), ["one", "two"], &mut |_| {}).unwrap();
    assert!(found.equal, "{:?}", found.differences);
}

/// An event file of TensorBoard.
pub fn event_file(bytes: &[u8]) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("events.out.tfevents.1"), bytes).unwrap();
    same_twice(&ImportSource::TensorBoard(dir.path().to_owned()));
}

/// A log of W&B.
pub fn wandb_log(bytes: &[u8]) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("run.wandb");
    fs::write(&path, bytes).unwrap();
    same_twice(&ImportSource::Wandb(path));
}

const RUN: &str = "7/0123456789abcdef0123456789abcdef";

/// The files of a small file store.
fn file_store_files() -> Vec<(String, &'static str)> {
    let of_run = |path: &str, text| (format!("{RUN}/{path}"), text);
    vec![
        ("7/meta.yaml".to_owned(), "experiment_id: '7'\nname: a\nartifact_location: x\ncreation_time: 5\n"),
        ("7/datasets/d/meta.yaml".to_owned(), "name: iris\ndigest: d1\nsource: s\nsource_type: local\n"),
        of_run("meta.yaml", "run_id: x\nexperiment_id: '7'\nstatus: 3\nstart_time: 5\nend_time: 6\nrun_name: r\n"),
        of_run("metrics/loss", "1 0.5\n2 0.25 1\n3 nan 2 iris d1\n"),
        of_run("params/lr", "0.1"),
        of_run("inputs/i/meta.yaml", "source_type: DATASET\nsource_id: d\ntags: {context: train}\n"),
        of_run("outputs/m-1/meta.yaml", "source_id: m-1\nstep: 3\n"),
        ("7/models/m-1/meta.yaml".to_owned(), "name: m\nstatus: 2\ncreation_timestamp: 7\n"),
        ("7/models/m-1/metrics/loss".to_owned(), "2 0.25 1 0123456789abcdef0123456789abcdef iris d1\n"),
        ("models/fraud/meta.yaml".to_owned(), "name: fraud\ncreation_timestamp: 1\n"),
        ("models/fraud/aliases/best".to_owned(), "1"),
        ("models/fraud/version-1/meta.yaml".to_owned(), "version: 1\nsource: s\ncurrent_stage: None\n"),
    ]
}

/// A file of MLflow's file store: the first byte chooses which.
pub fn file_store(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let dir = TempDir::new().unwrap();
    let files = file_store_files();
    let chosen = usize::from(*first) % files.len();
    for (at, (path, content)) in files.iter().enumerate() {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if at == chosen { text } else { content.as_bytes() }).unwrap();
    }
    same_twice(&ImportSource::FileStore(dir.path().to_owned()));
}

/// Good contents for [`file_store`]: one for each of its files.
pub fn file_store_inputs() -> Vec<Vec<u8>> {
    let files = file_store_files();
    files.iter().enumerate().map(|(at, (_, text))| [&[at as u8], text.as_bytes()].concat()).collect()
}

/// Cells of an MLflow database made of bytes.
struct Cells<'b>(std::slice::Iter<'b, u8>);

impl Cells<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// A cell; mostly one that fits to its column.
    fn cell(&mut self, column: &str) -> Value {
        let texts = [
            "",
            "a",
            "0123456789abcdef0123456789abcdef",
            "RUNNING",
            "deleted",
            "m-1",
            "7",
            "1.5",
            "None",
            "DATASET",
            "RUN",
        ];
        match self.byte() {
            kind @ 0..160 if column.ends_with("_id") || column.contains("time") || column == "step" => {
                Value::Integer(i64::from(kind % 4))
            }
            0..160 => Value::Text(texts[usize::from(self.byte()) % texts.len()].to_owned()),
            160..180 => Value::Null,
            180..200 => Value::Integer(i64::MIN.wrapping_add(i64::from(self.byte()) << 56)),
            200..220 => Value::Real(f64::from_bits(u64::from_le_bytes(std::array::from_fn(|_| self.byte())))),
            220..240 => Value::Blob((0..self.byte() % 8).map(|_| self.byte()).collect()),
            _ => Value::Text((0..self.byte() % 40).map(|_| char::from(self.byte())).collect()),
        }
    }
}

/// Rows of an MLflow database: any values in any column. A second import changes nothing.
pub fn sqlite_rows(bytes: &[u8]) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mlflow.db");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mlflow.db");
    let sample = Connection::open(sample).unwrap();
    let connection = Connection::open(&path).unwrap();
    let mut cells = Cells(bytes.iter());
    let tables = [
        "alembic_version",
        "experiments",
        "experiment_tags",
        "runs",
        "metrics",
        "latest_metrics",
        "params",
        "tags",
        "datasets",
        "inputs",
        "input_tags",
        "logged_models",
        "logged_model_metrics",
        "logged_model_tags",
        "registered_models",
        "model_versions",
        "registered_model_aliases",
        "model_version_tags",
    ];
    for table in tables {
        let mut statement = sample.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let columns: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        // Without types and keys: databases made by hand hold anything.
        connection.execute_batch(&format!("CREATE TABLE {table} ({})", columns.join(", "))).unwrap();
        let marks = vec!["?"; columns.len()].join(", ");
        for _ in 0..1 + cells.byte() % 3 {
            let row: Vec<Value> = columns.iter().map(|column| cells.cell(column)).collect();
            let sql = format!("INSERT INTO {table} VALUES ({marks})");
            connection.execute(&sql, rusqlite::params_from_iter(row)).unwrap();
        }
    }
    connection.close().unwrap();
    let store = LocalStore::options(dir.path().join("store")).default_experiment(false).open().unwrap();
    let import = || {
        let options = ImportOptions::default();
        let opened = ImportSource::Sqlite(path.clone()).open(&options, &mut |_| {});
        opened.and_then(|opened| opened.import(&RawStore::from(store.clone()), &options, &mut |_| {}))
    };
    if import().is_ok() {
        let second = import().unwrap();
        assert_eq!(second.batches_new, 0, "{second:#?}");
    }
}
