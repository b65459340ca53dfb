//! First part: real runs, imported from an MLflow database.

use std::path::{Path, PathBuf};
use std::time::Instant;

use runlode::engine::search::SearchQuery;
use runlode::filter;
use runlode::mlflow::Watch;
use runlode::{LocalStore, RunId, Snapshot};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::import::{ImportOptions, import_sqlite};
use crate::list::Form;
use crate::output::Output;
use crate::{commands, format, picture};

/// The searches of the demo.
const SEARCHES: [(&str, &str); 4] = [
    ("metrics.`val/acc` > 0.9 and params.lr = '0.1'", "metrics.`val/acc` desc"),
    ("params.lr < 0.05 and metrics.`train/loss`.min < 0.3", "metrics.`train/loss`.min"),
    ("params.hidden is not null and not metrics.`val/acc`.max < 0.97", "metrics.`val/acc`.max desc"),
    ("status = 'FAILED' or metrics.loss > 1e100", "start_time"),
];

/// A part of the longest series: first and last step.
const NEAR: (i64, i64) = (12_000, 12_300);

/// Numbers of this part.
#[derive(Debug, Serialize)]
pub struct Real {
    runs: u64,
    points: u64,
    artifact_files: u64,
    import_s: f64,
    searches: Vec<Search>,
}

#[derive(Debug, Serialize)]
struct Search {
    filter: &'static str,
    found: usize,
    seconds: f64,
}

/// The folder with the runs that ship with the project.
pub fn data_folder(given: Option<PathBuf>) -> Result<PathBuf> {
    let beside = |path: &Path| path.ancestors().nth(3).map(|root| root.join("tests/data"));
    let candidates = match given {
        Some(given) => vec![given],
        None => {
            let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join("tests/data"));
            let installed = std::env::current_exe().ok().and_then(|exe| beside(&exe));
            built.into_iter().chain(installed).chain([PathBuf::from("tests/data")]).collect()
        }
    };
    let found = candidates.iter().find(|folder| folder.join("mlflow.db").is_file());
    found.cloned().ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        Error::usage(format!(
            "the runs that ship with the project are not there (looked in {}); run the demo from a clone, or give --data DIR",
            tried.join(", ")
        ))
    })
}

/// Runs this part.
pub fn run(data: &Path, folder: &Path, output: &mut Output) -> Result<Real> {
    let begin = Instant::now();
    let store = LocalStore::options(folder).default_experiment(false).open()?;
    let report = import_sqlite(&data.join("mlflow.db"), &store, &ImportOptions::default(), &mut |_| {})?;
    let import_s = begin.elapsed().as_secs_f64();
    let imported = &report.imported;
    let quiet = output.is_json();
    if !quiet {
        output.line_now(format!(
            "imported MLflow's own store: {} runs, {} points, {} params, {} logged models, {} model versions, {} files in {}",
            imported.runs,
            format::count(imported.points),
            imported.params,
            imported.logged_models,
            imported.model_versions,
            imported.artifact_files,
            format::seconds(import_s)
        ))?;
        output.line("")?;
    }
    let snapshot = store.snapshot()?;
    let experiments: Vec<_> = snapshot.experiments()?.into_iter().map(|(id, _)| id).collect();
    let all = SearchQuery { limit: 100, experiments, ..SearchQuery::new(runlode::ExperimentId(0)) };
    if !quiet {
        let watch = Watch::here(store.now().0);
        commands::runs::print(&(&snapshot).into(), &snapshot.search(&all)?.runs, &watch, &Form::default(), output)?;
    }
    let mut searches = Vec::new();
    for (text, order) in SEARCHES {
        let query =
            SearchQuery { filter: Some(filter::parse(text)?), order: vec![filter::parse_order(order)?], ..all.clone() };
        let begin = Instant::now();
        let found = snapshot.search(&query)?.runs;
        let seconds = begin.elapsed().as_secs_f64();
        if !quiet {
            output.line("")?;
            output.line(format!("{text}   (order by {order})"))?;
            let mut names = Vec::new();
            for run in found.iter().take(4) {
                names.extend(snapshot.run(*run)?.map(|state| state.name.clone()));
            }
            let more = if found.len() > names.len() { ", ..." } else { "" };
            output.line(format!(
                "  {} found in {}: {}{more}",
                found.len(),
                format::seconds(seconds),
                names.join(", ")
            ))?;
        }
        searches.push(Search { filter: text, found: found.len(), seconds });
    }
    if !quiet {
        curves(&snapshot, &snapshot.search(&all)?.runs, output)?;
        output.flush()?;
    }
    let real = Real {
        runs: imported.runs,
        points: imported.points,
        artifact_files: imported.artifact_files,
        import_s,
        searches,
    };
    drop(snapshot);
    store.close()?;
    Ok(real)
}

/// Draws the longest series, and a loss.
fn curves(snapshot: &Snapshot, runs: &[RunId], output: &mut Output) -> Result<()> {
    let mut longest: Option<(u64, RunId, String)> = None;
    let mut loss: Option<(RunId, String)> = None;
    for run in runs {
        for (key, stats) in snapshot.latest(*run)? {
            if longest.as_ref().is_none_or(|(count, ..)| stats.count_raw > *count) {
                longest = Some((stats.count_raw, *run, key.to_string()));
            }
            if &*key == "train/loss" && loss.is_none() && stats.last_value < 0.1 {
                loss = Some((*run, key.to_string()));
            }
        }
    }
    let (loss, longest) = (loss.map(|(run, key)| (run, key, None)), longest.map(|(_, run, key)| (run, key, None)));
    // Then a close look at the same series: every point of 300 steps.
    let near = longest.clone().map(|(run, key, _)| (run, key, Some(NEAR)));
    for (run, key, steps) in loss.into_iter().chain(longest).chain(near) {
        let name = snapshot.run(run)?.map(|state| state.name.clone()).unwrap_or_default();
        let buckets = picture::buckets(output.columns());
        let begin = Instant::now();
        let series = snapshot.downsample(run, &key, steps, buckets)?;
        let seconds = format::seconds(begin.elapsed().as_secs_f64());
        let range = steps.map_or_else(String::new, |(from, to)| format!(", steps {from} to {to}"));
        output.line("")?;
        output.line(format!("{key} of {name}{range}: {} points, read in {seconds}", format::count(series.count)))?;
        for line in picture::draw(&series, buckets) {
            output.line(line)?;
        }
    }
    Ok(())
}
