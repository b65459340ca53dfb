//! `runlode verify STORE`: reads and compares everything; with `--repair` it rebuilds what an open refuses.
//!
//! Exit status: 0 sound, or sound again; 1 damage remains; 2 an error. Without `--repair` nothing is written.

use std::path::{Path, PathBuf};

use clap::Args;
use runlode::engine::{Lsn, Missing, MissingKind, RepairReport, Store, VerifyOptions, VerifyReport};
use serde_json::json as document;

use crate::error::{Error, Result};
use crate::find::store_path;
use crate::output::Output;
use crate::{Answer, format, json};

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Folder of the store
    #[arg(value_parser = store_path)]
    store: PathBuf,
    /// Rebuild what can be rebuilt (FORMAT, MANIFEST, the index); the store must not be in use
    #[arg(long)]
    repair: bool,
    /// With --repair: go on without acknowledged batches that are lost for good
    #[arg(long, requires = "repair")]
    accept_loss: bool,
}

impl Verify {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        check_folder(&self.store)?;
        match self.check(output) {
            // If an open refuses the store, that is the answer.
            Err(Error::Store(error @ (runlode::Error::Corrupt(_) | runlode::Error::MissingFile { .. }))) => {
                refused(output, &error)?;
                Ok(Answer::No)
            }
            checked => checked,
        }
    }

    fn check(&self, output: &mut Output) -> Result<Answer> {
        let options = Store::options(&self.store);
        if self.repair {
            let report = options.accept_loss(self.accept_loss).repair()?;
            return tell(output, &report.verified, &[], None, Some(&report));
        }
        let store = options.create(false).read_only(true).open()?;
        // A store that is opened for reading is served without what is missing.
        let notes = store.open_notes();
        // Inboxes are left out: what is found in them is reported below.
        let missing: Vec<Missing> =
            notes.missing.iter().filter(|missing| missing.kind != MissingKind::Inbox).cloned().collect();
        let report = store.verify(&VerifyOptions::default())?;
        tell(output, &report, &missing, notes.log.torn, None)
    }
}

/// Checks that there is a store, damaged or not.
fn check_folder(path: &Path) -> Result<()> {
    if ["FORMAT", "MANIFEST", "log"].iter().any(|name| path.join(name).exists()) {
        return Ok(());
    }
    Err(Error::usage(format!("{} is not a store", path.display())))
}

fn refused(output: &mut Output, error: &runlode::Error) -> Result<()> {
    if output.is_json() {
        return output.document(&document!({ "ok": false, "problems": [error.to_string()] }));
    }
    output.line(error.to_string())
}

/// Prints what was rebuilt, what is lost, what a copy lacks because it was made too early, and what is damaged.
fn tell(
    output: &mut Output,
    report: &VerifyReport,
    missing: &[Missing],
    torn: Option<(Lsn, Lsn)>,
    repair: Option<&RepairReport>,
) -> Result<Answer> {
    let sound = report.is_sound() && missing.is_empty();
    let findings = report.findings.iter().map(|finding| format!("{finding}; {}", finding.help()));
    let problems: Vec<String> = missing.iter().map(ToString::to_string).chain(findings).collect();
    if let Some(repair) = repair.filter(|_| !output.is_json()) {
        for made in &repair.rebuilt {
            output.line(format!("{} was made again from {}, because {}.", made.file, made.from, made.why))?;
            if let Some(kept) = &made.kept {
                output.line(format!("  What was there is kept as {kept}, if there was anything."))?;
            }
        }
        for (first, last) in &repair.lost {
            output.line(format!("Lost for good: acknowledged positions {first} to {last}."))?;
        }
        if repair.inbox_batches_lost > 0 {
            let count = format::count(repair.inbox_batches_lost);
            output.line(format!("Lost for good: at least {count} acknowledged batches of other processes."))?;
        }
        if repair.rebuilt.is_empty() && repair.lost.is_empty() && repair.inbox_batches_lost == 0 {
            output.line("Nothing had to be made again.")?;
        }
    }
    if let Some((first, last)) = torn.filter(|_| !output.is_json()) {
        output.line(format!(
            "A copy that was made while the store was in use: positions {first} to {last} were written meanwhile, and are \
             not in it."
        ))?;
    }
    if output.is_json() {
        let repaired: Vec<_> = repair
            .map_or(&[][..], |repair| &repair.rebuilt)
            .iter()
            .map(|made| document!({ "file": made.file, "why": made.why, "from": made.from, "kept": made.kept }))
            .collect();
        let lost: Vec<_> =
            repair.map_or(&[][..], |repair| &repair.lost).iter().map(|(first, last)| [first.0, last.0]).collect();
        output.document(&document!({
            "repaired": repaired,
            "lost": lost,
            "inbox_batches_lost": repair.map_or(0, |repair| repair.inbox_batches_lost),
            "not_in_copy": torn.map(|(first, last)| [first.0, last.0]),
            "ok": sound,
            "position": report.position.0,
            "sound_up_to": report.sound_up_to.0,
            "frames": report.frames_count,
            "events": report.events_count,
            "points_in_log": report.frame_points_count,
            "points_in_series_files": report.chunk_points_count,
            "entities_compared": report.entities_count,
            "series_compared": report.series_count,
            "problems": problems,
            "missing": missing.iter().map(json::missing).collect::<Vec<_>>(),
            "not_there": report.not_there,
            "problems_left_out": report.findings_left_out,
        }))?;
    } else if sound {
        output.line(format!(
            "Sound up to position {}: {} frames, {} events, {} points in the log and {} in series files read; \
                 {} entities and {} series compared with what the log says.",
            format::count(report.position.0),
            format::count(report.frames_count),
            format::count(report.events_count),
            format::count(report.frame_points_count),
            format::count(report.chunk_points_count),
            format::count(report.entities_count),
            format::count(report.series_count)
        ))?;
    } else {
        for problem in &problems {
            output.line(problem)?;
        }
        let count = problems.len() as u64 + report.findings_left_out;
        output.line(format!(
            "{} problems. The log is sound up to position {}{}.",
            format::count(count),
            format::count(report.sound_up_to.0),
            if missing.is_empty() && report.is_repairable() {
                ": `runlode verify --repair` makes the rest again"
            } else {
                ""
            }
        ))?;
    }
    for file in &report.not_there {
        if !output.is_json() {
            output.line(format!("note: there is no {file}; the next command that writes makes it again"))?;
        }
    }
    for (tag, count) in &report.unknown {
        if !output.is_json() {
            output.line(format!("note: {count} events of kind {tag}, which this version does not know"))?;
        }
    }
    Ok(if sound { Answer::Yes } else { Answer::No })
}
