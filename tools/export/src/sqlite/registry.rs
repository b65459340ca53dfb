//! Registered models with their versions, tags and aliases.
//!
//! A version that was deleted is a row too, as MLflow keeps it: it takes its number, and says nothing else.

use runlode::{EntityKey, RegisteredModelId, VersionStatus};
use rusqlite::{Connection, params};

use super::database::Database;
use crate::error::Result;
use crate::history;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::select::Selected;
use crate::tags;

const DELETED_MODELS: &str = "registered models that are deleted";

/// Writes the models that exist, by name.
pub(super) fn write(moment: &Moment, selected: &Selected, database: &mut Database, _: &mut Progress<'_>) -> Result<()> {
    for (id, state) in &selected.registered_models {
        if state.deleted {
            database.manifest.report.lose(DELETED_MODELS, || state.name.clone());
            continue;
        }
        let insert = |connection: &Connection| -> rusqlite::Result<()> {
            connection.execute(
                "INSERT INTO registered_models(name, creation_time, last_updated_time, description, workspace) \
                 VALUES (?1,?2,?3,?4,'default')",
                params![state.name, state.creation_time_ms, state.last_updated_time_ms, state.description],
            )?;
            for (key, value) in tags::own(&state.tags) {
                connection.execute(
                    "INSERT INTO registered_model_tags(key, value, name, workspace) VALUES (?1,?2,?3,'default')",
                    [key, value, &state.name],
                )?;
            }
            for (alias, version) in &state.aliases {
                connection.execute(
                    "INSERT INTO registered_model_aliases(alias, version, name, workspace) VALUES (?1,?2,?3,'default')",
                    params![alias, version, state.name],
                )?;
            }
            Ok(())
        };
        insert(database.connection()).map_err(|error| database.failed(error))?;
        for number in 1..=state.version_last {
            insert_version(moment, *id, &state.name, number, database)?;
        }
        let report = &mut database.manifest.report;
        report.written.registered_models += 1;
        report.written.aliases += state.aliases.len() as u64;
        history::lose(moment, &EntityKey::RegisteredModel(*id), report, || state.name.clone())?;
    }
    Ok(())
}

/// A version; a deleted one is the row that keeps its number used.
fn insert_version(
    moment: &Moment,
    model: RegisteredModelId,
    name: &str,
    number: u32,
    database: &mut Database,
) -> Result<()> {
    let Some(state) = moment.version(model, number)? else { return Ok(()) };
    let row = |connection: &Connection| -> rusqlite::Result<()> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO model_versions(name, version, creation_time, last_updated_time, description, user_id, \
             current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) \
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,'default')",
        )?;
        let status = match state.status {
            VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
            VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
            VersionStatus::Ready => "READY",
        };
        let times = (state.creation_time_ms, state.last_updated_time_ms);
        let nothing = None::<&str>;
        if state.deleted {
            insert.execute(params![
                name,
                number,
                times.0,
                times.1,
                nothing,
                nothing,
                "Deleted_Internal",
                "REDACTED-SOURCE-PATH",
                "REDACTED-RUN-ID",
                status,
                nothing,
                "REDACTED-RUN-LINK",
                nothing
            ])?;
            return Ok(());
        }
        insert.execute(params![
            name,
            number,
            times.0,
            times.1,
            state.description,
            state.user_id,
            <&str>::from(state.stage),
            moment.place(&state.source),
            state.run_id,
            status,
            state.status_message,
            state.run_link,
            state.storage_location.as_deref().map(|location| moment.place(location))
        ])?;
        let mut tag = connection.prepare_cached(
            "INSERT INTO model_version_tags(key, value, name, version, workspace) VALUES (?1,?2,?3,?4,'default')",
        )?;
        for (key, value) in &state.tags {
            tag.execute(params![key, value, name, number])?;
        }
        Ok(())
    };
    row(database.connection()).map_err(|error| database.failed(error))?;
    if !state.deleted {
        database.manifest.report.written.model_versions += 1;
    }
    Ok(())
}
