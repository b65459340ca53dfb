//! Experiments: by name, then by id. An experiment of the same name in the store takes the source's runs; else the
//! source's id is kept if it is free, and a new one is given (and reported) if it is not.

use std::collections::BTreeMap;

use runlode::engine::event::{ExperimentCreated, ExperimentDeleted, ExperimentTagsSet};
use runlode::{EntityKey, ExperimentId, Lifecycle};

use super::artifacts::Places;
use super::decode::{integer, text_or_empty};
use super::key::Key;
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use super::{ImportOptions, decode};
use crate::error::Result;

/// First id that is not given by counting.
const SEQUENTIAL_END: u64 = 100_000_000_000_000_000;

/// An experiment of the source in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    pub(super) id: ExperimentId,
    pub(super) deleted: bool,
    deleted_at_ms: i64,
}

/// The source's experiments, by their ids there.
pub(super) type Experiments = BTreeMap<i64, Mapped>;

pub(super) fn import(
    source: &Source,
    places: &Places,
    options: &ImportOptions,
    sink: &mut Sink<'_>,
    report: &mut Report,
) -> Result<Experiments> {
    if source.has_column("experiments", "workspace") {
        let mut statement = source.prepare("SELECT workspace, count(*) FROM experiments GROUP BY workspace")?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let workspace = text_or_empty(row, 0)?;
            if workspace != options.workspace {
                report.workspaces_left_out.insert(workspace, integer(row, 1)?.unwrap_or(0).unsigned_abs());
            }
        }
    }
    let tags = tags(source)?;
    let columns = source.list(
        "experiments",
        &["experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"],
    );
    let here = source.in_workspace("experiments");
    let mut statement =
        source.prepare(&format!("SELECT {columns} FROM experiments WHERE {here} ORDER BY experiment_id"))?;
    let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
    let mut experiments = Experiments::new();
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        let name = text_or_empty(row, 1)?;
        let Some(number) = integer(row, 0)? else {
            report.skip("experiments without a number", 1);
            continue;
        };
        let location = text_or_empty(row, 2)?;
        let deleted = decode::text(row, 3)?.as_deref() == Some("deleted");
        let creation_time_ms = integer(row, 4)?.unwrap_or(0);
        let last_update_time_ms = integer(row, 5)?.unwrap_or(creation_time_ms);
        let tags = tags.get(&number).cloned().unwrap_or_default();

        let mut key = Key::new("experiment").number(number).text(&name).number(creation_time_ms);
        key.add_pairs(&tags);
        let snapshot = sink.store().snapshot()?;
        let id = if let Some((id, state)) = snapshot.experiment_by_name(&name)? {
            let missing: Vec<_> = tags.into_iter().filter(|tag| !state.tags.contains(tag)).collect();
            if !missing.is_empty() && state.lifecycle == Lifecycle::Active {
                let events = vec![ExperimentTagsSet { experiment: id, tags: missing }.into()];
                sink.put_changes(&key, &EntityKey::Experiment(id), events, report)?;
            }
            id
        } else {
            let wanted = u64::try_from(number).ok().map(ExperimentId);
            let id = match wanted {
                Some(id) if snapshot.experiment(id)?.is_none() => id,
                _ => {
                    let taken = snapshot.experiments()?;
                    let last = taken.iter().map(|(id, _)| id.0).filter(|id| *id < SEQUENTIAL_END).max();
                    let id = ExperimentId(last.map_or(1, |last| last + 1));
                    report.note(format!("experiment `{name}` has id {id} in the store, as {number} is taken there"));
                    id
                }
            };
            let event = ExperimentCreated {
                experiment: id,
                name,
                artifact_location: places.of_experiment(&location),
                creation_time_ms,
                last_update_time_ms,
                tags,
            };
            if sink.put_events(&key, vec![event.into()], report)? == Put::Refused {
                continue;
            }
            id
        };
        report.imported.experiments += 1;
        experiments.insert(number, Mapped { id, deleted, deleted_at_ms: last_update_time_ms });
    }
    Ok(experiments)
}

/// Deletes what is deleted in the source.
pub(super) fn delete(experiments: &Experiments, sink: &mut Sink<'_>, report: &mut Report) -> Result<()> {
    for (number, mapped) in experiments.iter().filter(|(_, mapped)| mapped.deleted) {
        let state = sink.store().snapshot()?.experiment(mapped.id)?;
        if state.is_some_and(|state| state.lifecycle == Lifecycle::Active) {
            let key = Key::new("experiment-deleted").number(*number).number(mapped.deleted_at_ms);
            let event = ExperimentDeleted { experiment: mapped.id, at_ms: mapped.deleted_at_ms };
            sink.put_changes(&key, &EntityKey::Experiment(mapped.id), vec![event.into()], report)?;
        }
    }
    Ok(())
}

fn tags(source: &Source) -> Result<BTreeMap<i64, Vec<(String, String)>>> {
    let mut tags: BTreeMap<i64, Vec<(String, String)>> = BTreeMap::new();
    if !source.has("experiment_tags") {
        return Ok(tags);
    }
    let mut statement =
        source.prepare("SELECT experiment_id, key, value FROM experiment_tags ORDER BY experiment_id, key")?;
    let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        if let Some(number) = integer(row, 0)? {
            tags.entry(number).or_default().push((text_or_empty(row, 1)?, text_or_empty(row, 2)?));
        }
    }
    Ok(tags)
}
