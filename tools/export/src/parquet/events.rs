//! The table `events`: what changed, when, by whom, from which value to which, in the order of entities.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use runlode::EntityKey;
use runlode::engine::event::payload::Decoded;

use super::columns::*;
use crate::history::Happened;

/// An event of an entity.
pub(super) struct Row {
    entity_kind: &'static str,
    entity: String,
    name: String,
    happened: Happened,
}

impl Row {
    /// An event of the entity `key`, which is called `name`.
    pub(super) fn new(key: &EntityKey, name: &str, happened: Happened) -> Self {
        let (entity_kind, entity) = match key {
            EntityKey::Experiment(id) => ("experiment", id.to_string()),
            EntityKey::Run(id) => ("run", id.to_string()),
            EntityKey::LoggedModel(id) => ("logged_model", id.to_string()),
            EntityKey::RegisteredModel(id) => ("registered_model", id.0.to_string()),
            // Their events belong to the entities above.
            EntityKey::ExperimentName(name) | EntityKey::ModelName(name) => ("name", name.to_string()),
            EntityKey::ModelVersion(id, version) => ("model_version", format!("{}/{version}", id.0)),
            EntityKey::Dataset(_, name, _) => ("dataset", name.to_string()),
        };
        Self { entity_kind, entity, name: name.to_owned(), happened }
    }

    /// About its bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let fields = self.happened.change.fields.iter();
        fields.map(|field| field.field.len() + text(&field.from) + text(&field.to) + 96).sum::<usize>() + 400
    }

    fn kind(&self) -> String {
        match &self.happened.record.event {
            Decoded::Known(event) => event.name().to_owned(),
            Decoded::Unknown { tag, .. } => format!("unknown:{tag}"),
        }
    }
}

pub(super) fn events(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let records = || rows.iter().map(|row| &row.happened.record);
    let fields = || rows.iter().flat_map(|row| &row.happened.change.fields);
    batch(vec![
        full("position", numbers(records().map(|record| record.lsn.0.cast_signed()))),
        full("place", numbers(records().map(|record| i64::from(record.index)))),
        full("time_ms", numbers(records().map(|record| record.time.0))),
        sparse("actor", maybe_texts(records().map(|record| record.actor.as_ref()))),
        full("kind", texts(rows.iter().map(Row::kind))),
        full("entity_kind", texts(rows.iter().map(|row| row.entity_kind))),
        full("entity", texts(rows.iter().map(|row| &row.entity))),
        full("entity_name", texts(rows.iter().map(|row| &row.name))),
        full(
            "fields",
            lists(
                rows.iter().map(|row| row.happened.change.fields.len()),
                vec![
                    full("field", texts(fields().map(|field| &field.field))),
                    sparse("version", maybe_numbers(fields().map(|field| field.version.map(i64::from)))),
                    sparse("from", maybe_texts(fields().map(|field| field.from.as_ref()))),
                    sparse("to", maybe_texts(fields().map(|field| field.to.as_ref()))),
                ],
            ),
        ),
    ])
}
