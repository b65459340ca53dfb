//! `runlode gc STORE [--older-than 90d] [--plan]`

use std::path::PathBuf;

use clap::Args;
use runlode::{Clock, GcItem, GcKept, GcOptions, GcPlan, GcReport, SystemClock};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::find::{folder_path, store_path};
use crate::output::Output;
use crate::{Answer, format, open};

/// Rows of a plan that a terminal shows; `--json` has all.
const ROWS_MAX: usize = 50;

/// Arguments of `gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  runlode gc ./store --older-than 90d --plan\n  runlode gc ./store --older-than 90d"
)]
pub struct Gc {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// What was deleted longer ago than this goes: 90d, 12h, 30m, 0
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age_ms)]
    older_than: i64,
    /// Only print what would go, how many bytes, and what stays and why
    #[arg(long)]
    plan: bool,
    /// Logged models of deleted runs go too, if nothing uses them; otherwise such a run stays
    #[arg(long)]
    with_models: bool,
    /// Folder of artifacts, if a server keeps them elsewhere than in STORE/artifacts
    #[arg(long, value_name = "DIR", value_parser = folder_path)]
    artifacts: Option<PathBuf>,
}

/// An age in ms from a number and a unit; 0 needs none.
fn age_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no age; give a number and s, m, h, d or w: 90d");
    if text == "0" {
        return Ok(0);
    }
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        "w" => 7 * 24 * 3_600,
        _ => return Err(wrong()),
    };
    let number: i64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds * 1_000).ok_or_else(wrong)
}

impl Gc {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let mut options = GcOptions::deleted_before(SystemClock::default().now().0.saturating_sub(self.older_than));
        options.with_models = self.with_models;
        if let Some(folder) = &self.artifacts {
            let absolute = std::path::absolute(folder)
                .map_err(|error| Error::io(format!("cannot find {}", folder.display()), error))?;
            options.artifact_root = Some(absolute.to_string_lossy().into_owned());
        }
        let store = open::to_change(&self.store)?;
        let plan = store.plan_gc(&options)?;
        let report = if self.plan { None } else { Some(store.gc(&plan)?) };
        store.close()?;
        if output.is_json() {
            output.document(&document(&plan, report.as_ref()))?;
        } else {
            print(&plan, report.as_ref(), output)?;
        }
        Ok(Answer::Yes)
    }
}

fn document(plan: &GcPlan, report: Option<&GcReport>) -> Value {
    let item = |item: &GcItem| {
        json!({
            "kind": item.kind.as_str(), "id": item.id, "name": item.name,
            "experiment_id": item.experiment.map(|id| id.to_string()), "deleted_ms": item.deleted_ms,
            "folder": item.folder, "file_bytes": item.file_bytes, "series_bytes": item.series_bytes,
            "left_at": item.left_at,
        })
    };
    let kept = |kept: &GcKept| json!({ "kind": kept.kind.as_str(), "id": kept.id, "name": kept.name, "why": kept.why });
    let report = report.map(|report| {
        json!({
            "removed": report.removed_count, "runs": report.runs_count, "file_bytes": report.file_bytes,
            "bytes_before": report.bytes_before, "bytes_after": report.bytes_after,
            "pinned_bytes": report.pinned_bytes,
            "receipts": report.receipts.iter().map(|lsn| lsn.0).collect::<Vec<_>>(),
            "skipped": report.skipped.iter().map(kept).collect::<Vec<_>>(),
        })
    });
    json!({
        "position": plan.position.0, "deleted_before_ms": plan.options.deleted_before_ms, "bytes": plan.bytes(),
        "items": plan.items.iter().map(item).collect::<Vec<_>>(),
        "kept": plan.kept.iter().map(kept).collect::<Vec<_>>(),
        "report": report,
    })
}

fn print(plan: &GcPlan, report: Option<&GcReport>, output: &mut Output) -> Result<()> {
    if report.is_none() && !plan.items.is_empty() {
        let row = |item: &GcItem| {
            let bytes = format::bytes(item.file_bytes + item.series_bytes);
            let deleted = item.deleted_ms.map_or_else(String::new, format::time);
            vec![item.kind.as_str().to_owned(), item.id.clone(), format::cut(&item.name, 30), deleted, bytes]
        };
        let rows = plan.items.iter().take(ROWS_MAX).map(row).collect();
        output.table(&["kind", "id", "name", "deleted", ">bytes"], rows)?;
        if plan.items.len() > ROWS_MAX {
            output.line(format!("... and {} more (--json has all)", plan.items.len() - ROWS_MAX))?;
        }
    }
    say_kept(&plan.kept, output)?;
    for item in plan.items.iter().filter(|item| item.left_at.is_some()).take(ROWS_MAX) {
        let place = item.left_at.as_deref().unwrap_or_default();
        output.line(format!("{} {}: its artifacts at {place} are not removed", item.kind.as_str(), item.id))?;
    }
    match report {
        None => {
            let (count, bytes) = (format::count(plan.items.len() as u64), format::bytes(plan.bytes()));
            output.line(format!("{count} would go, about {bytes}; {} stay.", format::count(plan.kept.len() as u64)))
        }
        Some(report) => {
            say_kept(&report.skipped, output)?;
            output.line(format!(
                "{} gone, {} of them runs. {} before, {} after.",
                format::count(report.removed_count),
                format::count(report.runs_count),
                format::bytes(report.bytes_before),
                format::bytes(report.bytes_after)
            ))?;
            if report.pinned_bytes > 0 {
                let bytes = format::bytes(report.pinned_bytes);
                output.line(format!("{bytes} of it are free once readers of the old files end."))?;
            }
            for lsn in &report.receipts {
                output.line(format!("The receipt is the event at position {lsn}."))?;
            }
            Ok(())
        }
    }
}

fn say_kept(kept: &[GcKept], output: &mut Output) -> Result<()> {
    for kept in kept.iter().take(ROWS_MAX) {
        let name = if kept.name.is_empty() { String::new() } else { format!(" ({})", format::cut(&kept.name, 30)) };
        output.line(format!("{} {}{name} stays: {}", kept.kind.as_str(), kept.id, kept.why.join("; ")))?;
    }
    if kept.len() > ROWS_MAX {
        output.line(format!("... and {} more that stay (--json has all)", kept.len() - ROWS_MAX))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::age_ms;

    #[test]
    fn ages() {
        let day = 24 * 3_600 * 1_000;
        for (text, ms) in
            [("0", 0), ("1s", 1_000), ("90d", 90 * day), ("2w", 14 * day), ("12h", day / 2), ("5m", 300_000)]
        {
            assert_eq!(age_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "d", "90", "-1d", "1y", "1.5d", "9999999999999999999d", "99999999999999w"] {
            assert!(age_ms(text).is_err(), "{text}");
        }
    }
}
