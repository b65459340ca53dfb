//! `runlode top STORE`: the runs that are running, again and again in the terminal.
//!
//! A screen is one reading of the store, which writes nothing to it. Rates are points since the screen before; the first
//! one, and `--once`, show the average since each run began to log.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runlode::mlflow::{Liveness, Watch};
use runlode::{LocalStore, RunId, RunState, Stats};
use serde_json::{Value, json};

use super::liveness::{self, look, status};
use crate::error::{Error, Result};
use crate::json::number;
use crate::open::Source;
use crate::output::Output;
use crate::{Answer, format};

/// Most runs of a screen.
const RUNS_MAX: usize = 200;
/// Metrics whose last values are shown.
const METRICS_MAX: usize = 4;
/// Params and tags that say how many steps a run will have.
const STEPS_KEYS: [&str; 8] =
    ["runlode.steps", "max_steps", "total_steps", "num_steps", "num_train_steps", "max_iters", "n_steps", "steps"];
/// Params that say how many epochs it will have, if its steps are epochs.
const EPOCHS_KEYS: [&str; 4] = ["max_epochs", "num_train_epochs", "n_epochs", "epochs"];

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlode top ./store
  runlode top ./store --once --json")]
pub struct Top {
    #[command(flatten)]
    store: Source,
    /// Seconds between two screens
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    every: f64,
    /// Print one screen and end
    #[arg(long)]
    once: bool,
}

/// A run as a screen shows it.
struct Live {
    id: RunId,
    state: Arc<RunState>,
    experiment: String,
    liveness: Liveness,
    metrics: Vec<(Arc<str>, Stats)>,
}

impl Live {
    fn points(&self) -> u64 {
        self.metrics.iter().map(|(_, stats)| stats.count_raw).sum()
    }

    fn step(&self) -> Option<i64> {
        self.metrics.iter().map(|(_, stats)| stats.last_step).max()
    }

    fn last_ms(&self) -> Option<i64> {
        self.metrics.iter().map(|(_, stats)| stats.time_max_ms).max()
    }

    /// The steps that the run will have, if a param or tag says so.
    fn steps_total(&self) -> Option<i64> {
        let pairs = || self.state.params.iter().chain(&self.state.tags);
        let said = |keys: &[&str]| {
            let named = keys.iter().find_map(|key| pairs().find(|(known, _)| known == key));
            named.and_then(|(_, value)| value.trim().parse::<i64>().ok()).filter(|steps| *steps > 0)
        };
        said(&STEPS_KEYS)
            .or_else(|| said(&EPOCHS_KEYS).filter(|epochs| self.step().is_some_and(|step| step <= *epochs)))
    }

    /// The share of its steps that it has done, from 0 to 1.
    fn progress(&self) -> Option<f64> {
        let (step, total) = (self.step()?, self.steps_total()?);
        Some((step as f64 / total as f64).clamp(0.0, 1.0))
    }

    /// Points a second: since the screen before, or since the run began.
    fn rate(&self, before: Option<&(u64, i64)>, now_ms: i64) -> f64 {
        let (points, from_ms, to_ms) = match before {
            Some((points, at_ms)) => (self.points().saturating_sub(*points), *at_ms, now_ms),
            None => {
                let began = self.metrics.iter().map(|(_, stats)| stats.first_time_ms).min();
                (self.points(), began.unwrap_or(now_ms).min(self.state.start_time_ms), self.last_ms().unwrap_or(now_ms))
            }
        };
        let seconds = (to_ms.saturating_sub(from_ms)) as f64 / 1e3;
        if seconds > 0.0 { points as f64 / seconds } else { 0.0 }
    }

    fn document(&self, rate: f64, now_ms: i64) -> Value {
        let metrics = self.metrics.iter().map(|(key, stats)| {
            (key.to_string(), json!({ "latest": number(stats.last_value), "step": stats.last_step }))
        });
        json!({
            "run_id": self.id.to_string(),
            "name": self.state.name,
            "experiment": self.experiment,
            "status": status(&self.state, Some(&self.liveness)),
            "started_ms": self.state.start_time_ms,
            "step": self.step(),
            "steps_total": self.steps_total(),
            "progress": self.progress(),
            "points": self.points(),
            "points_per_second": rate,
            "last_point_ms": self.last_ms(),
            "silent_for_ms": self.last_ms().map(|last| now_ms.saturating_sub(last).max(0)),
            "metrics": metrics.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn row(&self, rate: f64, now_ms: i64) -> Vec<String> {
        let short: String = self.id.to_string().chars().take(8).collect();
        let progress = match (self.step(), self.steps_total(), self.progress()) {
            (Some(step), Some(total), Some(share)) => format!("{step}/{total} {:.0}%", share * 100.0),
            (Some(step), ..) => step.to_string(),
            _ => "-".to_owned(),
        };
        let values = self.metrics.iter().take(METRICS_MAX);
        let values: Vec<String> = values
            .map(|(key, stats)| format!("{} {}", format::cut(key, 18), format::value(stats.last_value)))
            .collect();
        let more = self.metrics.len().saturating_sub(METRICS_MAX);
        let more = if more > 0 { format!("  +{more}") } else { String::new() };
        vec![
            short,
            format::cut(&self.state.name, 24),
            format::cut(&self.experiment, 16),
            status(&self.state, Some(&self.liveness)),
            format::duration(self.state.start_time_ms, now_ms),
            progress,
            format!("{}/s", format::value(rate)),
            self.last_ms().map_or_else(|| "-".to_owned(), |last| format::duration(last, now_ms.max(last))),
            format!("{}{more}", values.join("  ")),
        ]
    }
}

/// The runs with status RUNNING, those without a live process last.
fn running(store: &LocalStore) -> Result<Vec<Live>> {
    let snapshot = store.snapshot()?;
    let watch = Watch::here(store.now().0);
    let mut live = Vec::new();
    for id in liveness::running(&snapshot, RUNS_MAX)? {
        let Some(state) = snapshot.run(id)? else { continue };
        let metrics = snapshot.latest(id)?;
        let experiment = snapshot.experiment(state.experiment)?.map(|found| found.name.clone()).unwrap_or_default();
        live.push(Live { id, experiment, liveness: look(&watch, &state, &metrics), metrics, state });
    }
    live.sort_by_key(|run| matches!(run.liveness, Liveness::Lost { .. } | Liveness::Silent { .. }));
    Ok(live)
}

impl Top {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        if !(self.every.is_finite() && self.every >= 0.1) {
            return Err(Error::usage("--every takes at least 0.1 seconds"));
        }
        let terminal = std::io::stdout().is_terminal();
        if !self.once && !terminal && !output.is_json() {
            return Err(Error::usage("`top` redraws a terminal; use --once, or --json for a line for each screen"));
        }
        let mut before: HashMap<RunId, (u64, i64)> = HashMap::new();
        loop {
            let store = self.store.open(output)?;
            let now_ms = store.now().0;
            let live = running(&store)?;
            drop(store);
            let rates: Vec<f64> = live.iter().map(|run| run.rate(before.get(&run.id), now_ms)).collect();
            if output.is_json() {
                let runs: Vec<_> = live.iter().zip(&rates).map(|(run, rate)| run.document(*rate, now_ms)).collect();
                let screen = json!({ "time_ms": now_ms, "runs": runs });
                if self.once { output.document(&screen)? } else { output.document_line(&screen)? }
            } else {
                if !self.once {
                    // To the upper left corner, and everything below is cleared: nothing flickers.
                    output.flush()?;
                    print!("\x1b[H\x1b[J");
                    std::io::stdout().flush()?;
                }
                screen(&live, &rates, now_ms, output)?;
            }
            if self.once {
                return Ok(Answer::Yes);
            }
            output.flush()?;
            before = live.iter().map(|run| (run.id, (run.points(), now_ms))).collect();
            std::thread::sleep(Duration::from_secs_f64(self.every));
        }
    }
}

fn screen(live: &[Live], rates: &[f64], now_ms: i64, output: &mut Output) -> Result<()> {
    let lost = live.iter().filter(|run| run.liveness.is_lost()).count();
    let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
    // A sum of nothing is -0.0.
    let rate = rates.iter().sum::<f64>() + 0.0;
    let head = format!("{}  {} running{lost}  {} points/s", format::time(now_ms), live.len(), format::value(rate));
    output.line(head)?;
    if live.is_empty() {
        return Ok(());
    }
    let heads = ["run", "name", "experiment", "status", ">for", ">step", ">rate", ">last point", "last values"];
    output.table(&heads, live.iter().zip(rates).map(|(run, rate)| run.row(*rate, now_ms)).collect())
}

#[cfg(test)]
mod tests {
    use runlode::ExperimentId;

    use super::*;

    #[test]
    fn progress_and_rates_come_from_params_and_points() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(ExperimentId(0), runlode::RunSpec::named("r")).unwrap();
        run.log_params(&[("max_steps", "200")]).unwrap();
        for step in 0..=50 {
            run.log_metrics(step, &[("loss", 1.0)]).unwrap();
        }
        let live = running(&store).unwrap();
        let only = &live[0];
        assert_eq!((only.step(), only.steps_total(), only.progress()), (Some(50), Some(200), Some(0.25)));
        assert_eq!(only.points(), 51);
        assert_eq!(only.rate(Some(&(41, 1_000)), 3_000), 5.0);
        run.end(runlode::RunStatus::Finished).unwrap();
        assert!(running(&store).unwrap().is_empty());
    }
}
