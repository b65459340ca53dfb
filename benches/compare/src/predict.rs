//! `runlode models predict` beside a bare loop in Python: the same Parquet file, the same model, batches of the same size.
//!
//! ```text
//! compare predict --runlode BINARY --python PYTHON --predict predict.py [--points ROWS] [--only onnx|sklearn|onnx-layers|sklearn-layers]
//! ```
//! - The loop predicts batches that are in memory already, and throws the answers away; ours reads the file, casts each
//!   cell to the signature's type and writes a Parquet file. A second loop that reads the file stands beside it.
//! - Both sides are the best of [`TRIES`] turns, taken in turn. Memory is the peak of all processes of ours (`VmHWM`).
//! - The loop's time has neither the start of Python nor the imports. Ours is the whole command; the same command on one
//!   batch says what its start takes. An ONNX model is held to its bar with the start. scikit-learn is held to it without:
//!   the imports of a pickled model take longer than the loop.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::servers;

const TRIES: usize = 3;
const BATCH_ROWS: usize = 65_536;
const MEMORY_MIB_BAR: f64 = 512.0;
/// Between two looks at a process's memory.
const LOOK: Duration = Duration::from_millis(20);

/// Measures all; whether every bar is reached.
pub(crate) fn measure(options: &Options) -> Result<bool, String> {
    let work = servers::work_dir()?;
    let folder = work.path().to_path_buf();
    let rows = options.points;
    python(options, &["make".into(), folder.display().to_string(), rows.to_string()])?;
    let mut all_ok = true;
    let mut document = Vec::new();
    for (kind, bar) in [("onnx", 0.8), ("sklearn", 0.9), ("onnx-layers", 0.8), ("sklearn-layers", 0.9)] {
        if options.only.as_ref().is_some_and(|only| only != kind) {
            continue;
        }
        let mut best = [f64::INFINITY; 4];
        let mut memory_mib: f64 = 0.0;
        for _ in 0..TRIES {
            let (seconds, mib) = ours(options, &folder, kind, "rows.parquet")?;
            memory_mib = memory_mib.max(mib);
            let (start, _) = ours(options, &folder, kind, "batch.parquet")?;
            let loops = [bare(options, &folder, kind, false)?, bare(options, &folder, kind, true)?];
            for (best, seconds) in best.iter_mut().zip([seconds, start, loops[0], loops[1]]) {
                *best = best.min(seconds);
            }
        }
        let start_s = best[1];
        let net_rate = rows.saturating_sub(BATCH_ROWS as u64) as f64 / (best[0] - start_s) / 1e6;
        let [whole_rate, _, theirs, reading] = best.map(|seconds| rows as f64 / seconds / 1e6);
        let own = if kind.starts_with("onnx") { whole_rate } else { net_rate };
        let (ratio, ok) = (own / theirs, own / theirs >= bar && memory_mib <= MEMORY_MIB_BAR);
        all_ok &= ok;
        println!(
            "predict.{kind:14} {:5.1}%  bar {:.0}%  {}   {whole_rate:.2} M rows/s, {net_rate:.2} without the start of \
             {start_s:.2} s   bare loop {theirs:.2} M rows/s, with the reading {reading:.2}   peak {memory_mib:.0} MiB, bar \
             {MEMORY_MIB_BAR:.0}",
            ratio * 100.0,
            bar * 100.0,
            if ok { "ok   " } else { "short" },
        );
        document.push(json!({
            "name": format!("predict.{kind}"), "rows": rows, "ratio": ratio, "bar": bar,
            "rows_per_s": whole_rate * 1e6, "rows_per_s_without_start": net_rate * 1e6, "start_s": start_s,
            "bare_rows_per_s": theirs * 1e6, "bare_reading_rows_per_s": reading * 1e6, "memory_mib": memory_mib,
        }));
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(all_ok)
}

fn python(options: &Options, arguments: &[String]) -> Result<String, String> {
    let output = Command::new(&options.python)
        .arg(&options.predict)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", options.python.display()))?;
    if !output.status.success() {
        return Err(format!("{} {} failed", options.predict.display(), arguments.join(" ")));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn bare(options: &Options, folder: &Path, kind: &str, reads: bool) -> Result<f64, String> {
    let mut arguments = vec!["bare".into(), folder.display().to_string(), kind.to_owned(), BATCH_ROWS.to_string()];
    if reads {
        arguments.push("--read".into());
    }
    let said = python(options, &arguments)?;
    said.trim().parse().map_err(|_| format!("the bare loop said {said:?}"))
}

/// Seconds of one turn of ours, from its start to its end, and the peak of its memory in MiB.
fn ours(options: &Options, folder: &Path, kind: &str, rows: &str) -> Result<(f64, f64), String> {
    let output = folder.join("answers.parquet");
    let started = Instant::now();
    let mut child = Command::new(&options.runlode)
        .args(["models", "predict"])
        .arg(folder.join(kind))
        .arg("-i")
        .arg(folder.join(rows))
        .arg("-o")
        .arg(&output)
        .args(["--batch-rows", &BATCH_ROWS.to_string(), "--env-manager", "local"])
        .env("PATH", path_with(&options.python))
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", options.runlode.display()))?;
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        peak_kib = peak_kib.max(family(child.id()).into_iter().filter_map(peak_of).sum());
        std::thread::sleep(LOOK);
    };
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("runlode models predict ended with {status}"));
    }
    Ok((seconds, peak_kib as f64 / 1024.0))
}

/// The search path with the Python's own folder first, so that `python3` is that one.
fn path_with(python: &Path) -> std::ffi::OsString {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = python.parent().map(PathBuf::from).into_iter().chain(std::env::split_paths(&before));
    std::env::join_paths(folders).unwrap_or(before)
}

/// A process and those that it started.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: std::collections::BTreeSet<u32> = of_threads
        .chain([children])
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect();
    all.extend(children.into_iter().flat_map(family));
    all
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
