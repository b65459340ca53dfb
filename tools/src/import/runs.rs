//! Runs with their params, tags, inputs, outputs and artifacts: four tables read side by side, ordered by run.

use std::collections::BTreeSet;

use runlode::engine::event::{
    ArtifactLogged, KeyValue, ParamsLogged, RunCreated, RunDeleted, RunInputsLogged, RunOutputsLogged, RunRestored,
    RunTagDeleted, RunTagsSet, RunUpdated,
};
use runlode::{
    DatasetInput, EntityKey, Event, ExperimentId, Lifecycle, Lsn, RawView, RunId, RunState, RunStatus, TAG_RUN_NAME,
};
use rusqlite::{Row, Rows, Statement};

use super::Progress;
use super::artifacts::{Copied, Places};
use super::base::{Lazy, run_moved_by_import, status_text};
use super::decode::{self, integer, text, text_or_empty};
use super::experiments::Experiments;
use super::key::Key;
use super::merge::Grouped;
use super::origin::is_same_run;
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use crate::error::Result;

/// Artifacts noted in one batch.
const ARTIFACTS_PER_BATCH: usize = 1000;

/// A run as the source has it.
pub(super) struct SourceRun {
    pub(super) uuid: String,
    pub(super) id: RunId,
    /// The source's number of its experiment.
    pub(super) number: Option<i64>,
    /// Its experiment in the store, set once that is known.
    experiment: ExperimentId,
    location: String,
    pub(super) name: String,
    pub(super) user_id: String,
    pub(super) status: RunStatus,
    pub(super) start_time_ms: i64,
    pub(super) end_time_ms: Option<i64>,
    pub(super) params: Vec<KeyValue>,
    pub(super) tags: Vec<KeyValue>,
    pub(super) datasets: Vec<DatasetInput>,
    pub(super) model_inputs: Vec<String>,
    pub(super) model_outputs: Vec<(String, i64)>,
    pub(super) deleted: bool,
}

/// Runs whose id belongs to another run in the store.
pub(super) type Foreign = BTreeSet<RunId>;

/// Queries over the tables that belong to runs, each ordered by the run; `None` where a table is not there.
struct Statements<'s> {
    params: Option<Statement<'s>>,
    tags: Option<Statement<'s>>,
    datasets: Option<Statement<'s>>,
    dataset_tags: Option<Statement<'s>>,
    models: Option<Statement<'s>>,
}

impl<'s> Statements<'s> {
    fn prepare(source: &'s Source) -> Result<Self> {
        let when = |tables: &[&str], sql: &str| {
            tables.iter().all(|table| source.has(table)).then(|| source.prepare(sql)).transpose()
        };
        let of_run = "i.source_type = 'DATASET' AND i.destination_type = 'RUN'";
        let step = if source.has_column("inputs", "step") { "step" } else { "NULL" };
        Ok(Self {
            params: when(&["params"], "SELECT run_uuid, key, value FROM params ORDER BY run_uuid, key")?,
            tags: when(&["tags"], "SELECT run_uuid, key, value FROM tags ORDER BY run_uuid, key")?,
            datasets: when(
                &["inputs", "datasets"],
                &format!(
                    "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, \
                     d.dataset_source, d.dataset_schema, d.dataset_profile \
                     FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id \
                     WHERE {of_run} ORDER BY i.destination_id, i.rowid"
                ),
            )?,
            dataset_tags: when(
                &["inputs", "input_tags"],
                &format!(
                    "SELECT i.destination_id, i.input_uuid, t.name, t.value \
                     FROM inputs i JOIN input_tags t ON t.input_uuid = i.input_uuid \
                     WHERE {of_run} ORDER BY i.destination_id, i.rowid, t.name"
                ),
            )?,
            models: when(
                &["inputs"],
                &format!(
                    "SELECT source_id, source_type, destination_id, {step} FROM inputs \
                     WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') ORDER BY source_id, rowid"
                ),
            )?,
        })
    }
}

fn grouped<'g>(statement: &'g mut Option<Statement<'_>>) -> Result<Grouped<'g>> {
    match statement {
        Some(statement) => Ok(Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?)),
        None => Ok(Grouped::empty()),
    }
}

pub(super) fn import(
    source: &Source,
    experiments: &Experiments,
    places: &Places,
    sink: &mut Sink<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<Foreign> {
    let mut foreign = Foreign::new();
    let mut tables = RunTables::prepare(source)?;
    let mut reader = tables.read()?;
    let total = source.count("runs")?;
    // Schemas and profiles may be large, and the store keeps only those of the first run that logs the data set.
    let mut datasets_seen = BTreeSet::new();
    let mut done = 0;
    while let Some(mut run) = reader.next(report)? {
        progress(Progress { phase: "runs", done, total });
        done += 1;
        let Some(mapped) = run.number.and_then(|number| experiments.get(&number)) else {
            report.skip("runs of experiments that are not imported", 1);
            report.skip("params of runs that are not imported", run.params.len() as u64);
            report.skip("tags of runs that are not imported", run.tags.len() as u64);
            continue;
        };
        run.experiment = mapped.id;
        let key = run_key(&run);
        for dataset in &mut run.datasets {
            if !datasets_seen.insert((run.experiment, dataset.name.clone(), dataset.digest.clone())) {
                dataset.schema = None;
                dataset.profile = None;
            }
        }
        let id = run.id;
        if !put_run(&key, run, places, sink, report)? {
            foreign.insert(id);
        }
    }
    progress(Progress { phase: "runs", done: total, total });
    reader.finish(report)?;
    Ok(foreign)
}

/// The tables of runs, ready to be read.
pub(super) struct RunTables<'s> {
    of_runs: Statements<'s>,
    runs: Statement<'s>,
}

/// Reads runs with all that belongs to them but points, in the order of their ids.
pub(super) struct RunReader<'g> {
    params: Grouped<'g>,
    tags: Grouped<'g>,
    datasets: Grouped<'g>,
    dataset_tags: Grouped<'g>,
    models: Grouped<'g>,
    rows: Rows<'g>,
}

impl<'s> RunTables<'s> {
    pub(super) fn prepare(source: &'s Source) -> Result<Self> {
        let columns = source.list(
            "runs",
            &[
                "run_uuid",
                "name",
                "user_id",
                "status",
                "start_time",
                "end_time",
                "artifact_uri",
                "experiment_id",
                "lifecycle_stage",
            ],
        );
        let runs = source.prepare(&format!("SELECT {columns} FROM runs ORDER BY run_uuid"))?;
        Ok(Self { of_runs: Statements::prepare(source)?, runs })
    }

    pub(super) fn read(&mut self) -> Result<RunReader<'_>> {
        Ok(RunReader {
            params: grouped(&mut self.of_runs.params)?,
            tags: grouped(&mut self.of_runs.tags)?,
            datasets: grouped(&mut self.of_runs.datasets)?,
            dataset_tags: grouped(&mut self.of_runs.dataset_tags)?,
            models: grouped(&mut self.of_runs.models)?,
            rows: self.runs.query([]).map_err(|error| read_failed(&error))?,
        })
    }
}

impl RunReader<'_> {
    pub(super) fn next(&mut self, report: &mut Report) -> Result<Option<SourceRun>> {
        let Some(row) = self.rows.next().map_err(|error| read_failed(&error))? else { return Ok(None) };
        let mut run = read_run(row, report)?;
        let uuid = run.uuid.clone();
        self.params.take(&uuid, |row| {
            run.params.push((text_or_empty(row, 1)?, text_or_empty(row, 2)?));
            Ok(())
        })?;
        self.tags.take(&uuid, |row| {
            run.tags.push((text_or_empty(row, 1)?, text_or_empty(row, 2)?));
            Ok(())
        })?;
        let mut inputs: Vec<(String, DatasetInput)> = Vec::new();
        self.datasets.take(&uuid, |row| {
            inputs.push((text_or_empty(row, 1)?, read_dataset(row)?));
            Ok(())
        })?;
        self.dataset_tags.take(&uuid, |row| {
            let input = text_or_empty(row, 1)?;
            if let Some((_, dataset)) = inputs.iter_mut().find(|(id, _)| *id == input) {
                dataset.tags.push((text_or_empty(row, 2)?, text_or_empty(row, 3)?));
            }
            Ok(())
        })?;
        self.models.take(&uuid, |row| {
            let model = text_or_empty(row, 2)?;
            match text(row, 1)?.as_deref() {
                Some("RUN_OUTPUT") => run.model_outputs.push((model, integer(row, 3)?.unwrap_or(0))),
                _ if run.model_inputs.contains(&model) => {}
                _ => run.model_inputs.push(model),
            }
            Ok(())
        })?;
        run.datasets = inputs.into_iter().map(|(_, dataset)| dataset).collect();
        if run.name.is_empty() {
            let tag = run.tags.iter().find(|(key, _)| key == TAG_RUN_NAME);
            run.name = tag.map(|(_, name)| name.clone()).unwrap_or_default();
        }
        Ok(Some(run))
    }

    /// Counts the rows that belong to no run.
    fn finish(self, report: &mut Report) -> Result<()> {
        for (rows, what) in [(self.params.finish()?, "params"), (self.tags.finish()?, "tags")] {
            report.skip(&format!("{what} of runs that are not imported"), rows);
        }
        Ok(())
    }
}

fn read_run(row: &Row<'_>, report: &mut Report) -> Result<SourceRun> {
    let uuid = text_or_empty(row, 0)?;
    let (id, kept) = decode::run_id(&uuid);
    if !kept {
        report.note(format!("run id `{uuid}` is not 32 hex digits; the run is {id} in the store"));
    }
    let status_text = text_or_empty(row, 3)?;
    let status = decode::run_status(&status_text).unwrap_or_else(|| {
        report.note(format!("run {uuid} has status `{status_text}`, which is none; imported as RUNNING"));
        RunStatus::Running
    });
    Ok(SourceRun {
        uuid,
        id,
        number: integer(row, 7)?,
        experiment: ExperimentId(0),
        location: text_or_empty(row, 6)?,
        name: text_or_empty(row, 1)?,
        user_id: text_or_empty(row, 2)?,
        status,
        start_time_ms: integer(row, 4)?.unwrap_or(0),
        end_time_ms: integer(row, 5)?,
        params: Vec::new(),
        tags: Vec::new(),
        datasets: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
        deleted: text(row, 8)?.as_deref() == Some("deleted"),
    })
}

fn read_dataset(row: &Row<'_>) -> Result<DatasetInput> {
    Ok(DatasetInput {
        name: text_or_empty(row, 2)?,
        digest: text_or_empty(row, 3)?,
        source_type: text_or_empty(row, 4)?,
        source: text_or_empty(row, 5)?,
        schema: text(row, 6)?,
        profile: text(row, 7)?,
        tags: Vec::new(),
    })
}

fn run_key(run: &SourceRun) -> Key {
    let mut key = Key::new("run").text(&run.uuid).text(&run.name).text(&run.user_id).text(run.status.into());
    key.add_number(run.start_time_ms);
    key.add_number(run.end_time_ms.unwrap_or(-1));
    key.add_pairs(&run.params);
    key.add_pairs(&run.tags);
    for dataset in &run.datasets {
        key.add_text(&dataset.name);
        key.add_text(&dataset.digest);
        key.add_pairs(&dataset.tags);
    }
    run.model_inputs.iter().for_each(|model| key.add_text(model));
    for (model, step) in &run.model_outputs {
        key.add_text(model);
        key.add_number(*step);
    }
    key
}

/// Imports a run, or its changes. `false`: the store has another run with this id.
fn put_run(key: &Key, mut run: SourceRun, places: &Places, sink: &mut Sink<'_>, report: &mut Report) -> Result<bool> {
    let id = run.id;
    let snapshot = sink.store().view()?;
    let state = snapshot.run(id)?;
    let mut deleted_here = false;
    if let Some(state) = &state {
        if state.lifecycle == Lifecycle::Purged {
            report.skip("runs that were purged from the store", 1);
            return Ok(true);
        }
        if !is_same_run(run.start_time_ms, state) {
            report.skip("runs whose ids are those of other runs in the store", 1);
            report.problem(format!(
                "run {id} is another one in the store (`{}`, which started at {}); the database's `{}`, which started \
                 at {}, is left out",
                state.name, state.start_time_ms, run.name, run.start_time_ms
            ));
            return Ok(false);
        }
        deleted_here = snapshot.lifecycle(state)? == Lifecycle::Deleted;
        run.experiment = state.experiment;
    }
    let experiment = snapshot.experiment(run.experiment)?;
    if state.is_none() && experiment.as_ref().is_none_or(|experiment| experiment.lifecycle != Lifecycle::Active) {
        report.skip("runs that are new in experiments that are deleted in the store", 1);
        return Ok(true);
    }
    let by_us = match (&state, &experiment) {
        (Some(state), Some(experiment)) if deleted_here => run_moved_by_import(&snapshot, id, state, experiment)?,
        _ => true,
    };
    if deleted_here && !run.deleted {
        if by_us {
            // Restored in the source since; its other changes come after that.
            let last = state.as_ref().map_or(Lsn::ZERO, |state| state.last);
            sink.put_changes(
                &Key::new("run-restored").text(&id.to_string()),
                last,
                vec![RunRestored { run: id }.into()],
                report,
            )?;
            deleted_here = false;
        } else {
            report.skip("runs that were deleted in the store, and stay so", 1);
        }
    }
    // Files first: an event must not name a file that does not exist.
    let home = format!("artifacts/{}/{id}/artifacts", run.experiment);
    let place = state.as_ref().and_then(|state| state.artifact_location.as_deref());
    // Imported without its files before: it goes on naming the server.
    let copied = match place == Some(run.location.as_str()) && places.is_served(&run.location) {
        true => Copied { location: None, files: Vec::new() },
        false => places.copy(&run.location, sink.store().path(), &home, report)?,
    };
    let imported = &mut report.imported;
    imported.runs += 1;
    imported.params += run.params.len() as u64;
    imported.tags += run.tags.len() as u64;
    imported.dataset_inputs += run.datasets.len() as u64;
    imported.model_links += (run.model_inputs.len() + run.model_outputs.len()) as u64;

    if let Some(place) = place.filter(|_| !copied.files.is_empty()) {
        report
            .note(format!("artifacts of run {id} lie in {home}, but it keeps its place {place}, which cannot change"));
    }
    let known: BTreeSet<&str> =
        state.iter().flat_map(|state| &state.artifacts).map(|(path, _)| path.as_str()).collect();
    let artifacts: Vec<Event> = copied
        .files
        .into_iter()
        .filter(|(path, _)| !known.contains(path.as_str()))
        .map(|(path, bytes)| ArtifactLogged { run: id, path, size_bytes: Some(bytes) }.into())
        .collect();
    drop(known);
    if let Some(state) = &state {
        let events = changes(run, state, &snapshot, report)?;
        if deleted_here && !(events.is_empty() && artifacts.is_empty()) {
            report.skip("changes of runs that are deleted in the store", (events.len() + artifacts.len()) as u64);
            return Ok(true);
        }
        sink.put_changes(key, state.last, events, report)?;
    } else if sink.put_events(key, creation(run, copied.location), report)? == Put::Refused {
        report.imported.runs -= 1;
        return Ok(true);
    }
    for chunk in artifacts.chunks(ARTIFACTS_PER_BATCH) {
        let mut key = Key::new("artifacts").text(&id.to_string());
        for event in chunk {
            if let Event::ArtifactLogged(artifact) = event {
                key.add_text(&artifact.path);
                key.add_number(artifact.size_bytes.unwrap_or(0).cast_signed());
            }
        }
        sink.put_events(&key, chunk.to_vec(), report)?;
    }
    Ok(true)
}

/// The events that create a run as the source has it.
fn creation(run: SourceRun, artifact_location: Option<String>) -> Vec<Event> {
    let id = run.id;
    let mut events = vec![
        RunCreated {
            run: id,
            experiment: run.experiment,
            name: run.name,
            user_id: run.user_id,
            status: run.status,
            start_time_ms: run.start_time_ms,
            artifact_location,
            tags: run.tags,
        }
        .into(),
    ];
    if run.end_time_ms.is_some() {
        events.push(RunUpdated { run: id, status: None, end_time_ms: run.end_time_ms, name: None }.into());
    }
    if !run.params.is_empty() {
        events.push(ParamsLogged { run: id, params: run.params }.into());
    }
    if !run.datasets.is_empty() || !run.model_inputs.is_empty() {
        events.push(RunInputsLogged { run: id, datasets: run.datasets, models: run.model_inputs }.into());
    }
    if !run.model_outputs.is_empty() {
        events.push(RunOutputsLogged { run: id, models: run.model_outputs }.into());
    }
    events
}

/// The events for what has changed in the source since.
fn changes(run: SourceRun, state: &RunState, snapshot: &RawView, report: &mut Report) -> Result<Vec<Event>> {
    let id = run.id;
    let mut events = Vec::new();
    let mut history = Lazy::new(snapshot, EntityKey::Run(id), format!("run {id}"));
    let (theirs, ours) = (status_text(run.status), status_text(state.status));
    let status = history.takes("status", Some(theirs), Some(ours), report)?.then_some(run.status);
    let mut end_time_ms = None;
    if let Some(end) = run.end_time_ms {
        let known = state.end_time_ms.map(|end| end.to_string());
        if history.takes("end", Some(&end.to_string()), known.as_deref(), report)? {
            end_time_ms = Some(end);
        }
    }
    let mut name = None;
    if !run.name.is_empty() && history.takes("name", Some(&run.name), Some(&state.name), report)? {
        name = Some(run.name);
    }
    if status.is_some() || end_time_ms.is_some() || name.is_some() {
        events.push(RunUpdated { run: id, status, end_time_ms, name }.into());
    }
    let mut params = run.params;
    params.retain(|(key, value)| match state.params.iter().find(|(known, _)| known == key) {
        Some((_, known)) if known != value => {
            report.problem(format!("param {key} of run {id} is `{known}` in the store, `{value}` in the database"));
            false
        }
        Some(_) => false,
        None => true,
    });
    if !params.is_empty() {
        events.push(ParamsLogged { run: id, params }.into());
    }
    let (tags, removed) = history.tags(run.tags, &state.tags, report)?;
    if !tags.is_empty() {
        events.push(RunTagsSet { run: id, tags }.into());
    }
    events.extend(removed.into_iter().map(|key| RunTagDeleted { run: id, key }.into()));
    let known = |dataset: &DatasetInput| {
        state.datasets.iter().any(|known| known.name == dataset.name && known.digest == dataset.digest)
    };
    let datasets: Vec<DatasetInput> = run.datasets.into_iter().filter(|dataset| !known(dataset)).collect();
    let models: Vec<String> =
        run.model_inputs.into_iter().filter(|model| !state.model_inputs.contains(model)).collect();
    if !datasets.is_empty() || !models.is_empty() {
        events.push(RunInputsLogged { run: id, datasets, models }.into());
    }
    let models: Vec<_> = run.model_outputs.into_iter().filter(|model| !state.model_outputs.contains(model)).collect();
    if !models.is_empty() {
        events.push(RunOutputsLogged { run: id, models }.into());
    }
    Ok(events)
}

/// Deletes the runs that are deleted in the source.
pub(super) fn delete(
    source: &Source,
    experiments: &Experiments,
    foreign: &Foreign,
    sink: &mut Sink<'_>,
    report: &mut Report,
) -> Result<()> {
    each_run(source, "deleted", experiments, |uuid, deleted_time| {
        let Some(run) = moved(&uuid, Lifecycle::Active, foreign, sink, report)? else { return Ok(()) };
        let at_ms = deleted_time.unwrap_or(0);
        let key = Key::new("run-deleted").text(&uuid).number(at_ms);
        sink.put_changes(&key, run.last, vec![RunDeleted { run: run.id, at_ms }.into()], report)?;
        Ok(())
    })
}

/// Restores the runs that are active in the source: those of an experiment that was deleted as a whole, and those that
/// were restored there.
pub(super) fn restore(
    source: &Source,
    experiments: &Experiments,
    foreign: &Foreign,
    sink: &mut Sink<'_>,
    report: &mut Report,
) -> Result<()> {
    each_run(source, "active", experiments, |uuid, _| {
        let Some(run) = moved(&uuid, Lifecycle::Deleted, foreign, sink, report)? else { return Ok(()) };
        let key = Key::new("run-restored").text(&uuid);
        sink.put_changes(&key, run.last, vec![RunRestored { run: run.id }.into()], report)?;
        Ok(())
    })
}

/// A run that is to be moved out of a lifecycle.
struct Moved {
    id: RunId,
    last: Lsn,
}

/// The run, if it has this lifecycle in the store because of an import. Decisions of others stay.
fn moved(
    uuid: &str,
    from: Lifecycle,
    foreign: &Foreign,
    sink: &Sink<'_>,
    report: &mut Report,
) -> Result<Option<Moved>> {
    let (id, _) = decode::run_id(uuid);
    let snapshot = sink.store().view()?;
    let Some(state) = snapshot.run(id)? else { return Ok(None) };
    if foreign.contains(&id) || snapshot.lifecycle(&state)? != from {
        return Ok(None);
    }
    let Some(experiment) = snapshot.experiment(state.experiment)? else { return Ok(None) };
    if !run_moved_by_import(&snapshot, id, &state, &experiment)? {
        if from == Lifecycle::Active {
            report.keep("runs that are deleted in the database, not in the store", 1);
            report.note(format!("run {id} is deleted in the database; the store keeps it"));
        }
        return Ok(None);
    }
    Ok(Some(Moved { id, last: state.last }))
}

fn each_run(
    source: &Source,
    lifecycle: &str,
    experiments: &Experiments,
    mut each: impl FnMut(String, Option<i64>) -> Result<()>,
) -> Result<()> {
    let columns = source.list("runs", &["run_uuid", "experiment_id", "deleted_time"]);
    let mut statement =
        source.prepare(&format!("SELECT {columns} FROM runs WHERE lifecycle_stage = ?1 ORDER BY run_uuid"))?;
    let mut rows = statement.query([lifecycle]).map_err(|error| read_failed(&error))?;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        if experiments.contains_key(&integer(row, 1)?.unwrap_or(-1)) {
            each(text_or_empty(row, 0)?, integer(row, 2)?)?;
        }
    }
    Ok(())
}
