//! Experiments: each is found by its origin (see [`super::origin`]), never by its name or number alone. A new one keeps
//! its number and name if they are free in the store; otherwise it gets others, and that is reported. `Default` is the
//! exception: every database and store has one, and they are one in the store.

use std::collections::BTreeMap;

use runlode::engine::event::{
    ExperimentCreated, ExperimentDeleted, ExperimentRenamed, ExperimentRestored, ExperimentTagDeleted,
    ExperimentTagsSet, KeyValue,
};
use runlode::{EntityKey, Event, ExperimentId, ExperimentState, Lifecycle, RawView};

use super::artifacts::Places;
use super::base::{Lazy, experiment_moved_by_import};
use super::decode::{integer, text_or_empty};
use super::key::Key;
use super::origin::{Entry, Origin};
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use super::{ImportOptions, decode};
use crate::error::Result;

/// First id that is random rather than counted.
const SEQUENTIAL_END: u64 = 100_000_000_000_000_000;

/// The experiment that every store and every database has.
const DEFAULT: (i64, &str) = (0, "Default");

/// An experiment of the source in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    pub(super) id: ExperimentId,
    pub(super) deleted: bool,
    deleted_at_ms: i64,
}

/// The source's experiments, by their ids there.
pub(super) type Experiments = BTreeMap<i64, Mapped>;

/// An experiment as the source has it.
struct Row {
    entry: Entry,
    number: i64,
    location: String,
    deleted: bool,
    creation_time_ms: i64,
    last_update_time_ms: i64,
    tags: Vec<KeyValue>,
}

pub(super) fn import(
    source: &Source,
    origin: &Origin,
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
    let mut tags = tags(source)?;
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
        let Some(number) = integer(row, 0)? else {
            report.skip("experiments without a number", 1);
            continue;
        };
        let created_ms = integer(row, 4)?;
        let row = Row {
            entry: Entry { id: Some(number), created_ms, name: text_or_empty(row, 1)? },
            number,
            location: text_or_empty(row, 2)?,
            deleted: decode::text(row, 3)?.as_deref() == Some("deleted"),
            creation_time_ms: created_ms.unwrap_or(0),
            last_update_time_ms: integer(row, 5)?.or(created_ms).unwrap_or(0),
            tags: tags.remove(&number).unwrap_or_default(),
        };
        let snapshot = sink.store().view()?;
        let (deleted, deleted_at_ms) = (row.deleted, row.last_update_time_ms);
        let id = match find(&row, origin, &snapshot)? {
            Some((id, state)) => {
                row.update(id, &state, origin, &snapshot, sink, report)?;
                id
            }
            None => match row.create(origin, places, &snapshot, sink, report)? {
                Some(id) => id,
                None => continue,
            },
        };
        report.imported.experiments += 1;
        experiments.insert(number, Mapped { id, deleted, deleted_at_ms });
    }
    Ok(experiments)
}

fn find(
    row: &Row,
    origin: &Origin,
    snapshot: &RawView,
) -> Result<Option<(ExperimentId, std::sync::Arc<ExperimentState>)>> {
    let mut found = origin.experiment(snapshot, &row.entry)?;
    if found.is_none() && (row.number, row.entry.name.as_str()) == DEFAULT {
        found = Some(ExperimentId(0));
    }
    let Some(id) = found else { return Ok(None) };
    Ok(snapshot.experiment(id)?.map(|state| (id, state)))
}

impl Row {
    fn key(&self, origin: &Origin) -> Key {
        let mut key = Key::new("experiment").text(origin.source()).number(self.number).text(&self.entry.name);
        key.add_number(self.creation_time_ms);
        key.add_pairs(&self.tags);
        key
    }

    fn create(
        self,
        origin: &Origin,
        places: &Places,
        snapshot: &RawView,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) -> Result<Option<ExperimentId>> {
        let key = self.key(origin);
        let name = match snapshot.experiment_by_name(&self.entry.name)? {
            None => self.entry.name.clone(),
            Some(_) => {
                let name = origin.other_name(&self.entry.name, |name| is_free(snapshot, name))?;
                report.problem(format!(
                    "experiment `{}` is now `{name}`: the store has another one of that name",
                    self.entry.name
                ));
                name
            }
        };
        let wanted = u64::try_from(self.number).ok().map(ExperimentId);
        let id = match wanted {
            Some(id) if snapshot.experiment(id)?.is_none() => id,
            _ => {
                let taken = snapshot.experiments()?;
                let last = taken.iter().map(|(id, _)| id.0).filter(|id| *id < SEQUENTIAL_END).max();
                let id = ExperimentId(last.map_or(1, |last| last + 1));
                report.note(format!("experiment `{name}` has id {id} in the store, as {} is taken there", self.number));
                id
            }
        };
        let mut tags = self.tags;
        tags.push(origin.new_tag(&self.entry));
        let event = ExperimentCreated {
            experiment: id,
            name,
            artifact_location: places.of_experiment(&self.location),
            creation_time_ms: self.creation_time_ms,
            last_update_time_ms: self.last_update_time_ms,
            tags,
        };
        let put = sink.put_events(&key, vec![event.into()], report)?;
        Ok((put != Put::Refused).then_some(id))
    }

    /// Applies what has changed in the source since.
    fn update(
        self,
        id: ExperimentId,
        state: &ExperimentState,
        origin: &Origin,
        snapshot: &RawView,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let key = self.key(origin);
        if state.lifecycle != Lifecycle::Active {
            if self.deleted {
                return Ok(());
            }
            if !experiment_moved_by_import(snapshot, id)? {
                report.skip("experiments that were deleted in the store", 1);
                report.problem(format!(
                    "experiment `{}` (id {id}) was deleted in the store and stays so; what is new in the database's \
                     `{}` is left out until it is restored there",
                    state.name, self.entry.name
                ));
                return Ok(());
            }
            let event = ExperimentRestored { experiment: id, at_ms: self.last_update_time_ms };
            sink.put_changes(&key.clone().text("restored"), state.last, vec![event.into()], report)?;
        }
        let mut events: Vec<Event> = Vec::new();
        let shared = origin.is_shared(state);
        let entity = EntityKey::Experiment(id);
        let mut history = Lazy::new(snapshot, entity.clone(), format!("experiment `{}`", state.name)).shared(shared);
        let mut entry = self.entry;
        // All databases share `Default` and its name; another experiment follows its name in the database.
        let last_name = origin.last_name(&state.tags, &entry);
        if let Some(last) = last_name.filter(|_| state.name != entry.name && !shared) {
            let given = history.base()?.get("name").map(str::to_owned);
            let ours = given.as_deref() != Some(state.name.as_str());
            if last == entry.name {
                if ours {
                    report.keep("names that were given in the store", 1);
                    report.note(format!("experiment `{last}` is `{}` in the store since, and stays so", state.name));
                }
            } else if !ours {
                let mut name = entry.name.clone();
                if !is_free(snapshot, &name)? {
                    name = origin.other_name(&name, |name| is_free(snapshot, name))?;
                    report.problem(format!(
                        "experiment `{last}`, now `{}` in the database, is `{name}`: the store has another one of that \
                         name",
                        entry.name
                    ));
                }
                events.push(ExperimentRenamed { experiment: id, name, at_ms: self.last_update_time_ms }.into());
            } else {
                report.problem(format!(
                    "experiment `{last}` is `{}` in the store and stays so; in the database it is `{}` since",
                    state.name, entry.name
                ));
                entry.name = last;
            }
        }
        let (mut set, removed) = history.tags(self.tags, &state.tags, report)?;
        set.extend(origin.missing_tag(&state.tags, &entry));
        if !set.is_empty() {
            events.push(ExperimentTagsSet { experiment: id, tags: set }.into());
        }
        events.extend(removed.into_iter().map(|key| ExperimentTagDeleted { experiment: id, key }.into()));
        sink.put_changes(&key, state.last, events, report)?;
        Ok(())
    }
}

fn is_free(snapshot: &RawView, name: &str) -> Result<bool> {
    Ok(snapshot.experiment_by_name(name)?.is_none())
}

/// Deletes what is deleted in the source.
pub(super) fn delete(
    experiments: &Experiments,
    origin: &Origin,
    sink: &mut Sink<'_>,
    report: &mut Report,
) -> Result<()> {
    for (number, mapped) in experiments.iter().filter(|(_, mapped)| mapped.deleted) {
        let snapshot = sink.store().view()?;
        let Some(state) = snapshot.experiment(mapped.id)?.filter(|state| state.lifecycle == Lifecycle::Active) else {
            continue;
        };
        if origin.is_shared(&state) || !experiment_moved_by_import(&snapshot, mapped.id)? {
            report.keep("experiments that are deleted in the database, not in the store", 1);
            report.note(format!("experiment `{}` is deleted in the database; the store keeps it", state.name));
            continue;
        }
        let key = Key::new("experiment-deleted").number(*number).number(mapped.deleted_at_ms);
        let event = ExperimentDeleted { experiment: mapped.id, at_ms: mapped.deleted_at_ms };
        sink.put_changes(&key, state.last, vec![event.into()], report)?;
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
