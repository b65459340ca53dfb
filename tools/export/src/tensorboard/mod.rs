//! TensorBoard: a folder for each run, with one event file.
//!
//! ```text
//! logs/EXPERIMENT/RUN-01234567/events.out.tfevents.1795432065.runlode-0123...
//! ```
//! Points are scalars in the form of TensorBoard 2 (a tensor of one double, so no bit is lost), with their wall times.
//! Params are hyperparameters of the run, its status the end of the session. Metric by metric in step order: TensorBoard
//! wants no order between tags. Event files hold nothing else; what a run has beyond that is counted in the report.

mod message;
mod record;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use runlode::engine::ColumnSet;
use runlode::engine::entity::RunState;
use runlode::{EntityKey, RunId, RunStatus};

use self::message::{Ended, Message, Scalars, file_version, session_end, session_start};
use crate::error::{Error, Result};
use crate::folder::{Folder, UNFINISHED, create};
use crate::history;
use crate::manifest::Cursor;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::report::Report;
use crate::select::Selected;
use crate::series::{Blocks, Wanted, rewinds};
use crate::tags;

/// How often the manifest is saved.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Longest name of a folder, before the id.
const NAME_CHARS_MAX: usize = 80;
/// Digits of a run's id in the name of its folder.
const ID_DIGITS: usize = 8;

const DEAD: &str = "points of branches that a rewind left";
const TAGS: &str = "tags of runs";
const DATASETS: &str = "data sets that runs read";
const MODELS: &str = "logged models";
const REGISTRY: &str = "registered models";
const TAGS_OF_EXPERIMENTS: &str = "tags of experiments";
const LINKS: &str = "logged models and data sets that points name";
const KILLED: &str = "runs that were killed or scheduled: shown as failed or running";
const DELETED: &str = "runs that are deleted: left out";

/// Writes the files of all runs that are not done yet.
pub(crate) fn write(
    moment: &Moment,
    selected: &Selected,
    folder: &mut Folder,
    progress: &mut Progress<'_>,
) -> Result<()> {
    if !folder.manifest.is_done("others") {
        let report = &mut folder.manifest.report;
        for (id, state) in &selected.experiments {
            let tags = tags::own(&state.tags).count();
            report.lose_many(TAGS_OF_EXPERIMENTS, tags as u64, || state.name.clone());
            history::lose(moment, &EntityKey::Experiment(*id), report, || state.name.clone())?;
        }
        report.written.experiments = selected.experiments.len() as u64;
        let first = || selected.logged_models.first().map(ToString::to_string).unwrap_or_default();
        report.lose_many(MODELS, selected.logged_models.len() as u64, first);
        for (_, state) in &selected.registered_models {
            report.lose(REGISTRY, || state.name.clone());
        }
        folder.manifest.set_done("others");
    }
    let begin = folder.manifest.cursor.clone().unwrap_or_default();
    let total = selected.runs.len() as u64;
    let mut writer = RunWriter { moment, blocks: Blocks::default(), buffer: Vec::new() };
    let mut saved = Instant::now();
    for (done, (run, _)) in (0u64..).zip(&selected.runs) {
        progress.at("runs", done, total);
        let id = run.to_string();
        if id <= begin.run {
            continue;
        }
        let Some((state, lifecycle)) = moment.run(*run)? else { continue };
        if lifecycle != runlode::Lifecycle::Active {
            folder.manifest.report.lose(DELETED, || format!("{} ({id})", state.name));
        } else {
            let experiment = selected.experiments.get(&state.experiment).map_or("", |experiment| &experiment.name);
            writer.write(folder, experiment, *run, &state)?;
        }
        folder.manifest.cursor = Some(Cursor { run: id, ..Cursor::default() });
        if saved.elapsed() >= SAVE_EVERY {
            folder.save_after_sync()?;
            saved = Instant::now();
        }
    }
    Ok(())
}

struct RunWriter<'m> {
    moment: &'m Moment,
    blocks: Blocks,
    buffer: Vec<u8>,
}

impl RunWriter<'_> {
    /// Writes the file of a run.
    fn write(&mut self, folder: &mut Folder, experiment: &str, run: RunId, state: &RunState) -> Result<()> {
        let id = run.to_string();
        let file_name = format!("events.out.tfevents.{:010}.runlode-{id}", state.start_time_ms.div_euclid(1000).max(0));
        let place = folder.make(&folder_name(folder, experiment, &state.name, &id)?)?;
        let path = place.join(&file_name);
        let unfinished = place.join(format!("{file_name}.{UNFINISHED}"));
        let cannot = |error| Error::io("write", &path, error);
        let mut file = create(&unfinished).map_err(cannot)?;
        let moment = self.moment;
        let buffer = &mut self.buffer;
        let report = &mut folder.manifest.report;
        buffer.clear();
        record::put(&file_version(state.start_time_ms).0, buffer);
        record::put(&session_start(&state.params, &state.name, state.start_time_ms).0, buffer);
        let rewinds = rewinds(moment, &state.rewinds);
        let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
        let wanted = Wanted { columns, dead: !rewinds.is_empty(), from: None };
        let mut scalars: Option<(std::sync::Arc<str>, Scalars)> = None;
        self.blocks.of_run(moment, run, &rewinds, wanted, &mut |metric, points| {
            if !metric.live {
                report.lose_many(DEAD, points.len() as u64, || format!("{} of run {id}", metric.key));
                return Ok(());
            }
            if scalars.as_ref().is_none_or(|(key, _)| *key != metric.key) {
                scalars = Some((metric.key.clone(), Scalars::new(&metric.key)));
            }
            let Some((_, scalars)) = &mut scalars else { return Ok(()) };
            for at in 0..points.len() {
                record::put(scalars.event(points.times[at], points.steps[at], points.values[at]), buffer);
                if buffer.len() >= BUFFER_BYTES {
                    file.write_all(buffer).map_err(cannot)?;
                    buffer.clear();
                }
            }
            report.written.points += points.len() as u64;
            let linked = points.contexts.iter().filter(|context| **context != 0).count();
            report.lose_many(LINKS, linked as u64, || format!("{} of run {id}", metric.key));
            Ok(())
        })?;
        if let Some(end) = end_of(state) {
            record::put(&end.0, buffer);
        }
        file.write_all(buffer).map_err(cannot)?;
        drop(file);
        fs::rename(&unfinished, &path).map_err(cannot)?;
        let bytes = fs::metadata(&path).map_err(cannot)?.len();
        self.count(folder, run, state, bytes)
    }

    fn count(&self, folder: &mut Folder, run: RunId, state: &RunState, bytes: u64) -> Result<()> {
        let report: &mut Report = &mut folder.manifest.report;
        let named = || format!("run {run}");
        report.files += 1;
        report.bytes += bytes;
        report.written.runs += 1;
        report.written.params += state.params.len() as u64;
        report.lose_many(TAGS, state.tags.len() as u64, named);
        report.lose_many(DATASETS, state.datasets.len() as u64, named);
        if matches!(state.status, RunStatus::Killed | RunStatus::Scheduled) {
            report.lose(KILLED, named);
        }
        history::lose(self.moment, &EntityKey::Run(run), report, named)
    }
}

/// The event that ends a run; `None` while it runs.
fn end_of(state: &RunState) -> Option<Message> {
    let ended = match state.status {
        RunStatus::Finished => Ended::Success,
        RunStatus::Failed | RunStatus::Killed => Ended::Failure,
        RunStatus::Running | RunStatus::Scheduled => Ended::Running,
    };
    Some(session_end(ended, state.end_time_ms?))
}

/// A text as a part of a path: characters that are none, or that TensorBoard or a shell would take otherwise, are `_`.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '+' | ',');
    let cut = text.chars().take(NAME_CHARS_MAX);
    let name: String = cut.map(|c| if is_plain(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "_".to_owned() } else { name.to_owned() }
}

/// The folder of a run. Its id is cut, unless another run of that name and cut id has the folder.
fn folder_name(folder: &Folder, experiment: &str, name: &str, id: &str) -> Result<String> {
    let (experiment, name) = (plain(experiment), plain(name));
    let short = format!("{experiment}/{name}-{}", id.get(..ID_DIGITS).unwrap_or(id));
    if is_of_another(&folder.path(&short), id)? { Ok(format!("{experiment}/{name}-{id}")) } else { Ok(short) }
}

/// Whether a folder has the file of another run.
fn is_of_another(place: &Path, id: &str) -> Result<bool> {
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::io("list", place, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("list", place, error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.contains("tfevents") && !name.contains(id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_folder() {
        assert_eq!(plain("lr0.1-a=1e-4,s+0"), "lr0.1-a=1e-4,s+0");
        assert_eq!(plain("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!((plain(".."), plain(""), plain("a b/ü")), ("_".into(), "_".into(), "a_b_ü".into()));
        assert_eq!(plain(&"x".repeat(300)).len(), NAME_CHARS_MAX);
    }
}
