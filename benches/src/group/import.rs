//! Imports: an MLflow SQLite database beside a bare `SELECT` of the same rows, and TensorBoard's event files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runlode::{LocalStore, RawStore};
use runlode_cli::import::{ImportOptions, ImportSource, Report};
use rusqlite::{Connection, params};

use crate::Result;
use crate::bars::Context;
use crate::machine::status_kib;
use crate::report::Measured;

const RUNS: u64 = 1_000;
const POINTS_PER_RUN: u64 = 5_000;
const KEYS: u64 = 10;
const EVENT_FILES: u64 = 40;
const EVENTS_PER_FILE: u64 = 100_000;

/// The tables of MLflow that an import of points reads, with MLflow's key and index.
const TABLES: &str = "
    CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
    INSERT INTO alembic_version VALUES ('dc11669786a5');
    CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256), artifact_location VARCHAR(256),
        lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT);
    INSERT INTO experiments VALUES (0, 'Default', '', 'active', 1, 1), (1, 'digits', '', 'active', 2, 2);
    CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), user_id VARCHAR(256), status VARCHAR(9),
        start_time BIGINT, end_time BIGINT, lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200),
        experiment_id INTEGER);
    CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT,
        is_nan BOOLEAN, PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
    CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);";

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    sqlite(context)?;
    tensorboard(context)
}

fn sqlite(context: &Context<'_>) -> Result {
    context.progress("a database of 5 M points");
    let path = context.dir.join("mlflow.db");
    database(&path)?;
    context.progress("bare SELECT");
    let connection = Connection::open(&path)?;
    let begin = Instant::now();
    let sql = "SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics ORDER BY run_uuid, rowid";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut count, mut sum) = (0_u64, 0.0);
    while let Some(row) = rows.next()? {
        count += 1;
        sum +=
            row.get_ref(2)?.as_f64()? + row.get_ref(0)?.as_str()?.len() as f64 + row.get_ref(1)?.as_str()?.len() as f64;
        sum += (row.get_ref(3)?.as_i64()? + row.get_ref(4)?.as_i64()? + row.get_ref(5)?.as_i64()?) as f64;
    }
    let bare = count as f64 / begin.elapsed().as_secs_f64() / 1e6;
    std::hint::black_box(sum);
    drop(rows);
    drop(statement);
    drop(connection);

    context.progress("import of it");
    let before = status_kib("RssAnon");
    let (stop, greatest) = (AtomicBool::new(false), AtomicU64::new(0));
    let (ours, report) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                greatest.fetch_max(status_kib("RssAnon"), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let done = import(&ImportSource::Sqlite(path.clone()), &context.dir.join("store"));
        stop.store(true, Ordering::Release);
        done
    })?;
    if report.imported.points != RUNS * POINTS_PER_RUN || !report.complete {
        return Err(format!("the import is not complete: {report:?}").into());
    }
    let ours = report.imported.points as f64 / ours / 1e6;
    context.tell(Measured::new("import.sqlite", ours).note("1,000 runs, 10 keys each, into a new store, flushed"));
    context.tell(
        Measured::new("import.select", ours / bare)
            .own(format!("{ours:.2} Mpts/s"))
            .beside(format!("bare SELECT {bare:.2} Mrows/s")),
    );
    let peak = greatest.load(Ordering::Acquire) as f64 / 1024.0;
    context.tell(
        Measured::new("import.memory", peak)
            .note(format!("private memory, read every 5 ms; {:.0} MiB before", before as f64 / 1024.0)),
    );
    Ok(())
}

/// Seconds of an import into a new store, and what it did.
fn import(source: &ImportSource, store: &Path) -> Result<(f64, Report)> {
    let store = LocalStore::options(store).default_experiment(false).open()?;
    let options = ImportOptions::default();
    let begin = Instant::now();
    let opened = source.open(&options, &mut |_| {})?;
    let report = opened.import(&RawStore::from(store.clone()), &options, &mut |_| {})?;
    let took_s = begin.elapsed().as_secs_f64();
    store.close()?;
    Ok((took_s, report))
}

fn database(path: &Path) -> Result {
    let mut connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;")?;
    connection.execute_batch(TABLES)?;
    let transaction = connection.transaction()?;
    {
        let mut run =
            transaction.prepare("INSERT INTO runs VALUES (?1, ?2, 'me', 'FINISHED', 1, 9, 'active', '', 1)")?;
        let mut point = transaction.prepare("INSERT INTO metrics VALUES (?1, ?2, ?3, ?4, ?5, 0)")?;
        let keys: Vec<String> = (0..KEYS).map(|key| format!("metric_{key}")).collect();
        for number in 0..RUNS {
            // Random ids lie anywhere in the index, as MLflow's do.
            let id = format!("{:032x}", u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            run.execute(params![id, format!("run {number}")])?;
            for at in 0..POINTS_PER_RUN {
                let (step, key) = (at / KEYS, &keys[(at % KEYS) as usize]);
                let value = 1.0 / (1.0 + step as f64) + (at * 7919 % 1000) as f64 * 1e-6;
                point.execute(params![key, value, 1_700_000_000_000_i64 + step as i64 * 50, id, step as i64])?;
            }
        }
    }
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn tensorboard(context: &Context<'_>) -> Result {
    context.progress("4 M events");
    let root = context.dir.join("logs");
    for file in 0..EVENT_FILES {
        let folder = root.join(format!("run{file}"));
        fs::create_dir_all(&folder)?;
        let mut out = BufWriter::new(File::create(folder.join(format!("events.out.tfevents.{file}.host")))?);
        for at in 0..EVENTS_PER_FILE {
            out.write_all(&event(["loss", "acc", "lr", "grad/norm"][(at % 4) as usize], at / 4, at as f32 * 0.001))?;
        }
        out.flush()?;
    }
    context.progress("import of them");
    let (took_s, report) = import(&ImportSource::TensorBoard(root), &context.dir.join("logged"))?;
    if report.imported.points != EVENT_FILES * EVENTS_PER_FILE || !report.complete {
        return Err(format!("the import is not complete: {report:?}").into());
    }
    let rate = report.imported.points as f64 / took_s / 1e6;
    context.tell(
        Measured::new("import.tensorboard", rate).note("40 files of 100,000 scalars, 4 tags, each file read twice"),
    );
    Ok(())
}

/// A record with one scalar.
fn event(tag: &str, step: u64, value: f32) -> Vec<u8> {
    let varint = |mut number: u64| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    let value = [&[10, tag.len() as u8][..], tag.as_bytes(), &[21], &value.to_le_bytes()].concat();
    let summary = [&[10, value.len() as u8][..], &value].concat();
    let time_s = 1.7e9 + step as f64 * 0.05;
    let payload =
        [&[9][..], &time_s.to_le_bytes(), &[16], &varint(step), &[42, summary.len() as u8], &summary].concat();
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &payload, &masked(&payload)].concat()
}

/// CRC-32C, rotated and shifted as event files have it.
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
