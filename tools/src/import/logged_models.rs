//! Logged models with their params, tags and files.

use runlode::engine::event::{
    KeyValue, LoggedModelCreated, LoggedModelDeleted, LoggedModelFinalized, LoggedModelMetricsLogged,
    LoggedModelParamsLogged, LoggedModelTagDeleted, LoggedModelTagsSet,
};
use runlode::{EntityKey, Event, Lifecycle, LoggedModelStatus};

use super::Progress;
use super::artifacts::{Copied, Places};
use super::base::Lazy;
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
    let mut series = source
        .has("logged_model_metrics")
        .then(|| {
            source.prepare(
                "SELECT DISTINCT model_id, run_id, metric_name FROM logged_model_metrics ORDER BY model_id, run_id",
            )
        })
        .transpose()?;
    let mut series = match &mut series {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
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
        let series = read_pairs(&mut series)?;
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
        key.add_pairs(&series);
        let snapshot = sink.store().view()?;
        let state = snapshot.logged_model(model)?;
        if let Some(state) = &state
            && state.creation_time_ms != creation_time_ms
        {
            report.skip("logged models whose ids are those of other ones in the store", 1);
            report.problem(format!(
                "logged model {model} is another one in the store, created at {}; the database's, created at \
                 {creation_time_ms}, is left out",
                state.creation_time_ms
            ));
            continue;
        }
        // Where its files are in the store.
        let experiment = state.as_ref().map_or(experiment, |state| state.experiment);
        let is_new = state.is_none();
        if is_new && snapshot.experiment(experiment)?.is_none_or(|state| state.lifecycle != Lifecycle::Active) {
            report.skip("logged models that are new in experiments that are deleted in the store", 1);
            continue;
        }
        let home = format!("artifacts/{experiment}/models/{model}/artifacts");
        let location = text_or_empty(row, 3)?;
        let place = state.as_ref().and_then(|state| state.artifact_location.as_deref());
        // Imported without its files before: it goes on naming the server.
        let copied = match place == Some(location.as_str()) && places.is_served(&location) {
            true => Copied { location: None, files: Vec::new() },
            false => places.copy(&location, sink.store().path(), &home, report)?,
        };
        let mut events: Vec<Event> = Vec::new();
        let mut active = true;
        if let Some(state) = &state {
            active = state.lifecycle == Lifecycle::Active;
            let entity = EntityKey::LoggedModel(model);
            if !active && !deleted {
                report.skip("logged models that were deleted in the store, and stay so", 1);
            }
            let mut history = Lazy::new(&snapshot, entity, format!("logged model {model}"));
            let (tags, removed) = history.tags(tags, &state.tags, report)?;
            let number = |status: LoggedModelStatus| (status as u8).to_string();
            if history.takes("status", Some(&number(status)), Some(&number(state.status)), report)? {
                events.push(LoggedModelFinalized { model, status, at_ms: updated_ms }.into());
            }
            if !tags.is_empty() {
                events.push(LoggedModelTagsSet { model, tags }.into());
            }
            events.extend(removed.into_iter().map(|key| LoggedModelTagDeleted { model, key }.into()));
            let late = params.into_iter().filter(|(key, _)| !state.params.iter().any(|(known, _)| known == key));
            let late: Vec<KeyValue> = late.collect();
            if !late.is_empty() {
                events.push(LoggedModelParamsLogged { model, params: late }.into());
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
        let known = state.as_ref().map_or(&[][..], |state| &state.metric_series);
        for (run_text, metrics) in by_run(series) {
            let run = decode::run_id(&run_text).0;
            let keys: Vec<String> =
                metrics.into_iter().filter(|metric| !known.contains(&(run, metric.clone()))).collect();
            // A run that is not imported has no points either.
            if !keys.is_empty() && sink.store().view()?.run(run)?.is_some() {
                events.push(LoggedModelMetricsLogged { model, run, keys }.into());
            }
        }
        if deleted && active {
            events.push(LoggedModelDeleted { model, at_ms: updated_ms }.into());
        }
        let put = match &state {
            Some(state) => sink.put_changes(&key, state.last, events, report)?,
            None => sink.put_events(&key, events, report)?,
        };
        if put != Put::Refused {
            report.imported.logged_models += 1;
        }
    }
    Ok(())
}

/// Pairs of run and metric, sorted by run, as one list of metrics a run.
fn by_run(series: Vec<KeyValue>) -> Vec<(String, Vec<String>)> {
    let mut runs: Vec<(String, Vec<String>)> = Vec::new();
    for (run, metric) in series {
        match runs.last_mut() {
            Some((last, metrics)) if *last == run => metrics.push(metric),
            _ => runs.push((run, vec![metric])),
        }
    }
    runs
}
