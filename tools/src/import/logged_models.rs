//! Logged models with their params, tags and files.

use runlode::engine::event::{
    KeyValue, LoggedModelCreated, LoggedModelDeleted, LoggedModelFinalized, LoggedModelTagsSet,
};
use runlode::{EntityKey, Event, Lifecycle, LoggedModelStatus};

use super::Progress;
use super::artifacts::Places;
use super::decode::{self, integer, text, text_or_empty};
use super::experiments::Experiments;
use super::key::Key;
use super::merge::Grouped;
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use crate::error::Result;

pub(super) fn import(
    source: &Source,
    experiments: &Experiments,
    places: &Places,
    sink: &mut Sink<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    if !source.has("logged_models") {
        return Ok(());
    }
    let pairs = |table: &str, kind: &str| {
        source.has(table).then(|| {
            source.prepare(&format!(
                "SELECT model_id, {kind}_key, {kind}_value FROM {table} ORDER BY model_id, {kind}_key"
            ))
        })
    };
    let mut params = pairs("logged_model_params", "param").transpose()?;
    let mut tags = pairs("logged_model_tags", "tag").transpose()?;
    let mut params = match &mut params {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };
    let mut tags = match &mut tags {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };
    let columns = source.list(
        "logged_models",
        &[
            "model_id",
            "experiment_id",
            "name",
            "artifact_location",
            "creation_timestamp_ms",
            "last_updated_timestamp_ms",
            "status",
            "lifecycle_stage",
            "model_type",
            "source_run_id",
            "status_message",
        ],
    );
    let mut statement = source.prepare(&format!("SELECT {columns} FROM logged_models ORDER BY model_id"))?;
    let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
    let total = source.count("logged_models")?;
    let mut done = 0;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        progress(Progress { phase: "logged models", done, total });
        done += 1;
        let text_id = text_or_empty(row, 0)?;
        let experiment = integer(row, 1)?.and_then(|number| experiments.get(&number)).map(|mapped| mapped.id);
        let Some(experiment) = experiment else {
            report.skip("logged models of experiments that are not imported", 1);
            continue;
        };
        let (model, kept) = decode::model_id(&text_id);
        if !kept {
            report.note(format!("model id `{text_id}` is not `m-` and 32 hex digits; it is {model} in the store"));
        }
        let read_pairs = |grouped: &mut Grouped<'_>| -> Result<Vec<KeyValue>> {
            let mut pairs = Vec::new();
            grouped.take(&text_id, |row| {
                pairs.push((text_or_empty(row, 1)?, text_or_empty(row, 2)?));
                Ok(())
            })?;
            Ok(pairs)
        };
        let (params, tags) = (read_pairs(&mut params)?, read_pairs(&mut tags)?);
        let status = match integer(row, 6)? {
            Some(1) => LoggedModelStatus::Pending,
            Some(2) => LoggedModelStatus::Ready,
            Some(3) => LoggedModelStatus::UploadFailed,
            _ => LoggedModelStatus::Unspecified,
        };
        let creation_time_ms = integer(row, 4)?.unwrap_or(0);
        let updated_ms = integer(row, 5)?.unwrap_or(creation_time_ms);
        let deleted = text(row, 7)?.as_deref() == Some("deleted");

        let mut key = Key::new("logged-model").text(&text_id).number(status as i64).number(updated_ms);
        key.add_number(i64::from(deleted));
        key.add_pairs(&params);
        key.add_pairs(&tags);
        let home = format!("artifacts/{experiment}/models/{model}/artifacts");
        let copied = places.copy(&text_or_empty(row, 3)?, sink.store().path(), &home, report)?;
        let mut events: Vec<Event> = Vec::new();
        let state = sink.store().snapshot()?.logged_model(model)?;
        let mut active = true;
        if let Some(state) = &state {
            active = state.lifecycle == Lifecycle::Active;
            let tags: Vec<KeyValue> = tags.into_iter().filter(|tag| !state.tags.contains(tag)).collect();
            if state.status != status {
                events.push(LoggedModelFinalized { model, status, at_ms: updated_ms }.into());
            }
            if !tags.is_empty() {
                events.push(LoggedModelTagsSet { model, tags }.into());
            }
        } else {
            let created = LoggedModelCreated {
                model,
                experiment,
                name: text_or_empty(row, 2)?,
                model_type: text_or_empty(row, 8)?,
                source_run: text_or_empty(row, 9)?,
                artifact_location: copied.location,
                status,
                status_message: text(row, 10)?,
                creation_time_ms,
                last_updated_time_ms: updated_ms,
                params,
                tags,
            };
            events.push(created.into());
        }
        if deleted && active {
            events.push(LoggedModelDeleted { model, at_ms: updated_ms }.into());
        }
        let put = match &state {
            Some(_) => sink.put_changes(&key, &EntityKey::LoggedModel(model), events, report)?,
            None => sink.put_events(&key, events, report)?,
        };
        if put != Put::Refused {
            report.imported.logged_models += 1;
        }
    }
    Ok(())
}
