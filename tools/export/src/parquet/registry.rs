//! The table `registry`: for each registered model a row without a version, then a row for each version that ever was.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use runlode::engine::entity::{ModelVersionState, RegisteredModelState};
use runlode::{RegisteredModelId, VersionStatus};

use super::columns::*;
use crate::error::Result;
use crate::moment::Moment;
use crate::report::Report;

/// A registered model, or one of its versions.
pub(super) struct Row {
    id: RegisteredModelId,
    model: Arc<RegisteredModelState>,
    version: Option<(u32, Arc<ModelVersionState>)>,
    /// Of a version: those that name it.
    aliases: Vec<String>,
    source: Option<String>,
    storage_location: Option<String>,
}

pub(super) fn status_text(status: VersionStatus) -> &'static str {
    match status {
        VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
        VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
        VersionStatus::Ready => "READY",
    }
}

impl Row {
    /// The rows of a model.
    pub(super) fn of(
        moment: &Moment,
        id: RegisteredModelId,
        model: &Arc<RegisteredModelState>,
        report: &mut Report,
    ) -> Result<Vec<Self>> {
        let row = |version, aliases| Self {
            id,
            model: model.clone(),
            version,
            aliases,
            source: None,
            storage_location: None,
        };
        let mut rows = vec![row(None, Vec::new())];
        report.written.registered_models += 1;
        report.written.aliases += model.aliases.len() as u64;
        for number in 1..=model.version_last {
            // Numbers may have been left out.
            let Some(state) = moment.version(id, number)? else { continue };
            let named = model.aliases.iter().filter(|(_, version)| *version == number);
            report.written.model_versions += 1;
            rows.push(Self {
                source: Some(moment.place(&state.source)),
                storage_location: state.storage_location.as_deref().map(|location| moment.place(location)),
                ..row(Some((number, state)), named.map(|(alias, _)| alias.clone()).collect())
            });
        }
        Ok(rows)
    }

    fn state(&self) -> Option<&ModelVersionState> {
        self.version.as_ref().map(|(_, state)| &**state)
    }
}

pub(super) fn registry(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let state = || rows.iter().map(Row::state);
    fn of<'a, T>(
        rows: &'a [Row],
        of_model: impl Fn(&'a RegisteredModelState) -> T + 'a,
        of_version: impl Fn(&'a ModelVersionState) -> T + 'a,
    ) -> impl Iterator<Item = T> + Clone + 'a
    where
        T: Clone + 'a,
    {
        let values: Vec<T> = rows
            .iter()
            .map(|row| row.version.as_ref().map_or_else(|| of_model(&row.model), |(_, state)| of_version(state)))
            .collect();
        values.into_iter()
    }
    batch(vec![
        full("name", texts(rows.iter().map(|row| &row.model.name))),
        sparse(
            "version",
            maybe_numbers(rows.iter().map(|row| row.version.as_ref().map(|(number, _)| i64::from(*number)))),
        ),
        sparse(
            "description",
            maybe_texts(of(rows, |model| model.description.as_ref(), |state| state.description.as_ref())),
        ),
        full("deleted", flags(of(rows, |model| model.deleted, |state| state.deleted))),
        full("creation_time_ms", numbers(of(rows, |model| model.creation_time_ms, |state| state.creation_time_ms))),
        full(
            "last_update_time_ms",
            numbers(of(rows, |model| model.last_updated_time_ms, |state| state.last_updated_time_ms)),
        ),
        full("tags", text_maps(of(rows, |model| model.tags.as_slice(), |state| state.tags.as_slice()))),
        full("aliases", text_lists(rows.iter().map(|row| row.aliases.as_slice()))),
        sparse("stage", maybe_texts(state().map(|state| state.map(|state| <&str>::from(state.stage))))),
        sparse("status", maybe_texts(state().map(|state| state.map(|state| status_text(state.status))))),
        sparse(
            "status_message",
            maybe_texts(state().map(|state| state.and_then(|state| state.status_message.as_ref()))),
        ),
        sparse("source", maybe_texts(rows.iter().map(|row| row.source.as_ref()))),
        sparse("storage_location", maybe_texts(rows.iter().map(|row| row.storage_location.as_ref()))),
        sparse("run_id", maybe_texts(state().map(|state| state.and_then(|state| state.run_id.as_ref())))),
        sparse("run_link", maybe_texts(state().map(|state| state.and_then(|state| state.run_link.as_ref())))),
        sparse("model_id", maybe_texts(state().map(|state| state.and_then(|state| state.model_id.as_ref())))),
        sparse("user_id", maybe_texts(state().map(|state| state.and_then(|state| state.user_id.as_ref())))),
        full("registered_model", texts(rows.iter().map(|row| row.id.0.to_string()))),
        full(
            "created_position",
            numbers(of(rows, |model| model.created.0.cast_signed(), |state| state.created.0.cast_signed())),
        ),
        full(
            "last_position",
            numbers(of(rows, |model| model.last.0.cast_signed(), |state| state.last.0.cast_signed())),
        ),
    ])
}
