//! A store of a hundred million points: how fast it comes to rest, how large it is, how it comes back.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use runlode_engine::point::Stats;
use runlode_engine::{Durability, HistoryQuery, KeyedPoint, RunId, Store};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS};
use crate::floor;
use crate::report::Measured;
use crate::scratch::{Scratch, breakdown, disk_bytes};
use crate::stream::{Stream, Values};

const POINTS: usize = 100_000_000;
const UNSEALED_BYTES: u64 = 64 << 20;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    let run = engine::run_id(0);
    let store = engine::create(&path, 2)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;

    context.progress("100 M points until all are sealed");
    let start = Instant::now();
    engine::log_stream(&store.run(run)?, &keys, &mut Stream::new(Values::Loss, BATCH_KEYS), POINTS)?;
    let logged_s = start.elapsed().as_secs_f64();
    engine::seal_all(&store)?;
    let sealed_s = start.elapsed().as_secs_f64();
    context.tell(
        Measured::new("ingest.sustained", POINTS as f64 / sealed_s / 1e6)
            .note(format!("all logged after {logged_s:.1} s, all sealed after {sealed_s:.1} s")),
    );
    let (frames, bytes) = engine::log_frames(&path)?;
    context.tell(
        Measured::new("size.log", bytes as f64 / POINTS as f64)
            .note(format!("{frames} frames, {bytes} bytes with headers")),
    );
    let latest = store.snapshot()?.latest(run)?;
    store.close()?;

    rebuild(context, &path, run, &latest)?;

    context.progress("compact");
    engine::compact_and_close(Store::open(&path)?)?;
    let bytes = disk_bytes(&path)?;
    context.tell(
        Measured::new("size.loss", bytes as f64 / POINTS as f64)
            .note(format!("{POINTS} points, {BATCH_KEYS} keys, blocks on the disk, closed; {}", breakdown(&path)?)),
    );

    for (name, frame_points) in [("reopen.frames_1000", 1_000), ("reopen.frames_1", 1)] {
        reopen(context, &path, name, frame_points)?;
    }
    Ok(())
}

fn rebuild(context: &Context<'_>, path: &Path, run: RunId, expected: &[(Arc<str>, Stats)]) -> Result {
    context.progress("rebuild from the log alone");
    let copy = Scratch::new(context.dir, "rebuild")?;
    engine::copy_log(path, copy.path())?;
    let start = Instant::now();
    let store = Store::open(copy.path())?;
    let opened_s = start.elapsed().as_secs_f64();
    engine::seal_all(&store)?;
    store.checkpoint()?;
    let done_s = start.elapsed().as_secs_f64();
    if store.snapshot()?.latest(run)? != expected {
        return Err("latest values differ after the rebuild".into());
    }
    store.close()?;
    context.tell(
        Measured::new("rebuild.points_100m", done_s)
            .note(format!("open returned after {opened_s:.1} s; until all points are in new series files")),
    );
    Ok(())
}

fn reopen(context: &Context<'_>, path: &Path, name: &str, frame_points: usize) -> Result {
    context.progress(&format!("kill -9 with 64 MiB unsealed, frames of {frame_points}"));
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run-child", "unsealed"])
        .arg(path)
        .arg(frame_points.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    child.kill()?;
    child.wait()?;
    said.ok_or("no pipe to the writer")??;
    let points: u64 = line.trim().parse().map_err(|_| "the writer ended before it had logged 64 MiB")?;

    let run = engine::run_id(1);
    let start = Instant::now();
    let store = Store::open(path)?;
    let opened_ms = start.elapsed().as_secs_f64() * 1e3;
    let snapshot = store.snapshot()?;
    let latest = snapshot.latest(run)?;
    let page =
        snapshot.history(run, &engine::key_name(0), &HistoryQuery { limit: 1_000, ..HistoryQuery::default() })?;
    let answered_ms = start.elapsed().as_secs_f64() * 1e3;
    let found: u64 = latest.iter().map(|(_, stats)| stats.count_raw).sum();
    if found < points || page.columns.is_empty() {
        return Err(format!("{found} points found where at least {points} were logged").into());
    }
    let notes = format!("{:?}", store.open_notes().replay);
    // The bytes of a frame: see `log_until_killed`.
    let frame_bytes = if frame_points == 1 { 80 } else { frame_points * 63 / 10 };
    let bare_ms = floor::read::check_and_write(path.parent().unwrap_or(path), UNSEALED_BYTES as usize, frame_bytes)?
        .p50_ns()
        / 1e6;
    context.tell(
        Measured::new(name, answered_ms / bare_ms)
            .own(format!("{answered_ms:.1} ms"))
            .beside(format!("64 MiB read, each frame checked, all written again and synced {bare_ms:.1} ms"))
            .note(format!("open {opened_ms:.0} ms; answers: latest of the run, a page of 1,000 points; {notes}")),
    );
    drop(snapshot);
    // The next round begins with nothing unsealed.
    engine::seal_all(&store)?;
    store.checkpoint()?;
    store.close()?;
    Ok(())
}

/// Logs 64 MiB that nothing checkpoints, tells how many points run 1 has, and waits for its end.
pub(crate) fn log_until_killed(path: &Path, frame_points: usize) -> Result {
    let store = Store::options(path).background(false).open()?;
    let id = engine::run_id(1);
    let run = store.run(id)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    // Steps go on where the round before ended.
    let first = store.snapshot()?.stats(id, &engine::key_name(0))?.map_or(0, |stats| stats.last_step + 1);
    let mut batch: Vec<KeyedPoint> = Vec::new();
    let keyed = |point| {
        let mut keyed = engine::keyed(point, &keys);
        keyed.point.step += first;
        keyed
    };
    let mut logged = 0u64;
    if frame_points == 1 {
        // A frame: header 32, section 8, run 16, key, step, time, value.
        const FRAME_BYTES: u64 = 80;
        while logged < UNSEALED_BYTES / FRAME_BYTES {
            stream.fill(&mut batch, BATCH_KEYS, keyed);
            for point in &batch {
                run.log_point(point.key, point.point, Durability::Buffered)?;
            }
            logged += batch.len() as u64;
        }
    } else {
        // 6.3 bytes a point.
        while logged * 63 / 10 < UNSEALED_BYTES {
            stream.fill(&mut batch, frame_points, keyed);
            run.log_points(&batch, Durability::Buffered)?;
            logged += batch.len() as u64;
        }
    }
    store.flush()?;
    let total: u64 = store.snapshot()?.latest(id)?.iter().map(|(_, stats)| stats.count_raw).sum();
    println!("{total}");
    // Killed while it waits; if the parent is gone, standard input ends.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
