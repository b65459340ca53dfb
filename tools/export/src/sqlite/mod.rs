//! SQLite: a database that MLflow opens as its own, with the schema that it would make itself.
//!
//! Ids, names and times are those of the store. Deleted experiments and runs, and versions whose numbers stay used, are
//! there as MLflow keeps them. Artifacts stay where they are: the database names their places.
//!
//! Rows are inserted run by run; the secondary indexes are made at the end, which is cheaper than keeping them.

mod database;
mod points;
mod registry;

use runlode::engine::entity::{LoggedModelState, RunState};
use runlode::{EntityKey, ExperimentId, Lifecycle, RunId};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

pub(crate) use self::database::{Begun, Database};
use self::points::{ModelPoint, RunPoints};
use crate::error::{Error, Result};
use crate::history;
use crate::manifest::Cursor;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::report::Report;
use crate::select::Selected;
use crate::series::{Blocks, rewinds};
use crate::tags;

/// Rows after which a transaction ends, at the end of a run.
const COMMIT_ROWS: u64 = 200_000;
/// MLflow's limit for values of params and tags of runs.
const VALUE_CHARS_MAX: usize = 8_000;

const LONG_PARAMS: &str = "params over 8,000 characters: kept, though MLflow would refuse or cut them";
const LONG_TAGS: &str = "tags over 8,000 characters: kept, though MLflow would refuse or cut them";
const OUTPUTS: &str = "models that a run logged again: kept at the first step";

/// Writes all tables that are not done yet.
pub(crate) fn write(
    moment: &Moment,
    selected: &Selected,
    database: &mut Database,
    progress: &mut Progress<'_>,
) -> Result<()> {
    if let Some(id) = selected.experiments.keys().find(|id| i64::try_from(id.0).is_err()) {
        return Err(Error::Target(format!("experiment {id} has a number that MLflow's tables cannot hold")));
    }
    type Write = fn(&Moment, &Selected, &mut Database, &mut Progress<'_>) -> Result<()>;
    let steps: [(&str, Write); 5] = [
        ("experiments", experiments),
        ("logged_models", logged_models),
        ("runs", runs),
        ("registry", registry::write),
        ("indexes", |_, _, database, progress| {
            progress.at("indexes", 0, 0);
            database.make_indexes()
        }),
    ];
    for (name, write) in steps {
        if !database.manifest.is_done(name) {
            write(moment, selected, database, progress)?;
            database.manifest.set_done(name);
            database.commit()?;
        }
    }
    Ok(())
}

fn lifecycle_text(lifecycle: Lifecycle) -> &'static str {
    if lifecycle == Lifecycle::Active { "active" } else { "deleted" }
}

/// An id that depends on these texts alone, so that an export run again makes the same one.
fn uuid(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn experiments(moment: &Moment, selected: &Selected, database: &mut Database, _: &mut Progress<'_>) -> Result<()> {
    let insert = |connection: &Connection| -> rusqlite::Result<()> {
        connection.execute(
            "INSERT INTO workspaces(name, description) VALUES ('default', 'Default workspace for legacy resources')",
            [],
        )?;
        for (id, state) in &selected.experiments {
            let place = moment.places.experiment(&id.to_string(), state.artifact_location.as_deref());
            connection.execute(
                "INSERT INTO experiments(experiment_id, name, artifact_location, lifecycle_stage, creation_time, \
                 last_update_time, workspace) VALUES (?1,?2,?3,?4,?5,?6,'default')",
                params![
                    id.0.cast_signed(),
                    state.name,
                    place,
                    lifecycle_text(state.lifecycle),
                    state.creation_time_ms,
                    state.last_update_time_ms
                ],
            )?;
            let mut tag = connection
                .prepare_cached("INSERT INTO experiment_tags(key, value, experiment_id) VALUES (?1,?2,?3)")?;
            for (key, value) in tags::own(&state.tags) {
                tag.execute(params![key, value, id.0.cast_signed()])?;
            }
        }
        Ok(())
    };
    insert(database.connection()).map_err(|error| database.failed(error))?;
    for (id, state) in &selected.experiments {
        history::lose(moment, &EntityKey::Experiment(*id), &mut database.manifest.report, || state.name.clone())?;
    }
    database.manifest.report.written.experiments = selected.experiments.len() as u64;
    Ok(())
}

fn runs(moment: &Moment, selected: &Selected, database: &mut Database, progress: &mut Progress<'_>) -> Result<()> {
    let begin = database.manifest.cursor.clone().unwrap_or_default();
    let total = selected.runs.len() as u64;
    let mut blocks = Blocks::default();
    let mut rows = 0;
    for (done, (run, experiment)) in (0u64..).zip(&selected.runs) {
        progress.at("runs", done, total);
        let id = run.to_string();
        if id <= begin.run {
            continue;
        }
        let Some((state, lifecycle)) = moment.run(*run)? else { continue };
        let mut report = std::mem::take(&mut database.manifest.report);
        let failed = |error| database.failed(error);
        let connection = database.connection();
        insert_run(moment, selected, (*run, &id), &state, lifecycle, connection, &mut report).map_err(failed)?;
        insert_inputs(moment, *experiment, &id, &state, connection, &mut report, &failed)?;
        history::lose(moment, &EntityKey::Run(*run), &mut report, || format!("run {id}"))?;
        let rewinds = rewinds(moment, &state.rewinds);
        let models = &selected.logged_models;
        let points = RunPoints { moment, run: *run, experiment: *experiment, rewinds: &rewinds, models };
        let written = points.write(&mut blocks, connection, &mut report, &failed)?;
        report.written.runs += 1;
        report.written.points += written;
        rows += written + 8 + (state.params.len() + state.tags.len()) as u64;
        database.manifest.report = report;
        if rows >= COMMIT_ROWS {
            rows = 0;
            database.manifest.cursor = Some(Cursor { run: id, ..Cursor::default() });
            database.commit()?;
        }
    }
    Ok(())
}

fn insert_run(
    moment: &Moment,
    selected: &Selected,
    (_, id): (RunId, &str),
    state: &RunState,
    lifecycle: Lifecycle,
    connection: &Connection,
    report: &mut Report,
) -> rusqlite::Result<()> {
    let experiment = selected.experiments.get(&state.experiment);
    let explicit = experiment.and_then(|experiment| experiment.artifact_location.as_deref());
    let own = state.artifact_location.as_deref();
    let place = moment.places.run(&state.experiment.to_string(), explicit, id, own);
    // Deleted with its experiment, it has no time of its own.
    let deleted_ms = || state.deleted_time_ms.or(experiment.map(|experiment| experiment.last_update_time_ms));
    connection
        .prepare_cached(
            "INSERT INTO runs(run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, \
             end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) \
             VALUES (?1,?2,'UNKNOWN','','',?3,?4,?5,?6,'',?7,?8,?9,?10)",
        )?
        .execute(params![
            id,
            state.name,
            state.user_id,
            <&str>::from(state.status),
            state.start_time_ms,
            state.end_time_ms,
            lifecycle_text(lifecycle),
            place,
            state.experiment.0.cast_signed(),
            (lifecycle == Lifecycle::Deleted).then(deleted_ms).flatten(),
        ])?;
    let mut param = connection.prepare_cached("INSERT INTO params(key, value, run_uuid) VALUES (?1,?2,?3)")?;
    for (key, value) in &state.params {
        param.execute([key, value, id])?;
        if value.chars().count() > VALUE_CHARS_MAX {
            report.lose(LONG_PARAMS, || format!("{key} of run {id}"));
        }
    }
    let mut tag = connection.prepare_cached("INSERT INTO tags(key, value, run_uuid) VALUES (?1,?2,?3)")?;
    for (key, value) in &state.tags {
        tag.execute([key, value, id])?;
        if value.chars().count() > VALUE_CHARS_MAX {
            report.lose(LONG_TAGS, || format!("{key} of run {id}"));
        }
    }
    report.written.params += state.params.len() as u64;
    report.written.tags += state.tags.len() as u64;
    Ok(())
}

/// Data sets and models that a run read or made.
fn insert_inputs(
    moment: &Moment,
    experiment: ExperimentId,
    id: &str,
    state: &RunState,
    connection: &Connection,
    report: &mut Report,
    failed: &dyn Fn(rusqlite::Error) -> Error,
) -> Result<()> {
    let link = |kinds: [&str; 2], from: &str, to: &str, step: i64| -> rusqlite::Result<Option<String>> {
        let input = uuid(&[kinds[0], from, kinds[1], to]);
        let rows = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO inputs(input_uuid, source_type, source_id, destination_type, destination_id, step) \
                 VALUES (?1,?2,?3,?4,?5,?6)",
            )?
            .execute(params![input, kinds[0], from, kinds[1], to, step])?;
        Ok((rows > 0).then_some(input))
    };
    for set in &state.datasets {
        let dataset = uuid(&[&experiment.to_string(), &set.name, &set.digest]);
        let known = moment.dataset(experiment, &set.name, &set.digest)?;
        let insert = || -> rusqlite::Result<()> {
            if let Some(known) = &known {
                connection
                    .prepare_cached(
                        "INSERT OR IGNORE INTO datasets(dataset_uuid, experiment_id, name, digest, dataset_source_type, \
                         dataset_source, dataset_schema, dataset_profile) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
                    )?
                    .execute(params![
                        dataset,
                        experiment.0.cast_signed(),
                        set.name,
                        set.digest,
                        known.source_type,
                        known.source,
                        known.schema,
                        known.profile
                    ])?;
            }
            let Some(input) = link(["DATASET", "RUN"], &dataset, id, 0)? else { return Ok(()) };
            let mut tag =
                connection.prepare_cached("INSERT INTO input_tags(input_uuid, name, value) VALUES (?1,?2,?3)")?;
            for (name, value) in &set.tags {
                tag.execute([&input, name, value])?;
            }
            Ok(())
        };
        insert().map_err(failed)?;
        report.written.dataset_inputs += 1;
    }
    for model in &state.model_inputs {
        link(["RUN_INPUT", "MODEL_INPUT"], id, model, 0).map_err(failed)?;
    }
    for (model, step) in &state.model_outputs {
        if link(["RUN_OUTPUT", "MODEL_OUTPUT"], id, model, *step).map_err(failed)?.is_none() {
            report.lose(OUTPUTS, || format!("{model} of run {id} at step {step}"));
        }
    }
    Ok(())
}

fn logged_models(moment: &Moment, selected: &Selected, database: &mut Database, _: &mut Progress<'_>) -> Result<()> {
    for id in &selected.logged_models {
        let Some(state) = moment.logged_model(*id)? else { continue };
        let model = id.to_string();
        let mut report = std::mem::take(&mut database.manifest.report);
        let explicit = selected.experiments.get(&state.experiment).and_then(|state| state.artifact_location.as_deref());
        let own = state.artifact_location.as_deref();
        let place = moment.places.logged_model(&state.experiment.to_string(), explicit, &model, own);
        let insert = insert_logged_model(&model, &state, &place, database.connection());
        insert.map_err(|error| database.failed(error))?;
        for point in &state.shared_points {
            // The metric is gone with its run.
            if selected.runs.binary_search_by_key(&point.run, |(run, _)| *run).is_err() {
                continue;
            }
            let run = point.run.to_string();
            let row = ModelPoint::shared(&model, state.experiment.0.cast_signed(), &run, point);
            row.insert(database.connection(), &mut report).map_err(|error| database.failed(error))?;
        }
        history::lose(moment, &EntityKey::LoggedModel(*id), &mut report, || model.clone())?;
        report.written.logged_models += 1;
        database.manifest.report = report;
    }
    Ok(())
}

fn insert_logged_model(
    model: &str,
    state: &LoggedModelState,
    place: &str,
    connection: &Connection,
) -> rusqlite::Result<()> {
    let experiment = state.experiment.0.cast_signed();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    connection
        .prepare_cached(
            "INSERT INTO logged_models(model_id, experiment_id, name, artifact_location, creation_timestamp_ms, \
             last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message) \
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
        )?
        .execute(params![
            model,
            experiment,
            state.name,
            place,
            state.creation_time_ms,
            state.last_updated_time_ms,
            state.status as u8,
            lifecycle_text(state.lifecycle),
            text(&state.model_type),
            text(&state.source_run),
            state.status_message
        ])?;
    let tables = [("params", "param", &state.params), ("tags", "tag", &state.tags)];
    for (table, column, pairs) in tables {
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO logged_model_{table}(model_id, experiment_id, {column}_key, {column}_value) VALUES (?1,?2,?3,?4)"
        ))?;
        for (key, value) in pairs {
            insert.execute(params![model, experiment, key, value])?;
        }
    }
    Ok(())
}
