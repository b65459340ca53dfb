//! The history of what is exported: every event once, with the entity that it is about.
//!
//! The index lists an event under each entity that it touched: a run's inputs also under the data set, a version's
//! changes also under the model. So each event has one owner here, and is passed on with that one.

use runlode::changes::{self, Change};
use runlode::engine::entity::subject;
use runlode::engine::event::payload::Decoded;
use runlode::{EntityKey, EventRecord};

use crate::error::Result;
use crate::moment::Moment;
use crate::report::Report;

const HISTORY: &str = "earlier values (of tags, names, stages, aliases, ...), with who changed them and when";

/// An event of an entity.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) record: EventRecord,
    pub(crate) change: Change,
}

/// The events that an entity owns, oldest first.
pub(crate) fn of(moment: &Moment, entity: &EntityKey) -> Result<Vec<Happened>> {
    let records = moment.events(entity)?;
    let changes = changes::of(&records, |ms| ms.to_string());
    let all = records.into_iter().zip(changes).map(|(record, change)| Happened { record, change });
    Ok(all.filter(|happened| is_owner(entity, &happened.record.event)).collect())
}

/// Notes, for a target without history, how many values of an entity were replaced or removed.
pub(crate) fn lose(
    moment: &Moment,
    entity: &EntityKey,
    report: &mut Report,
    example: impl FnOnce() -> String,
) -> Result<()> {
    let events = of(moment, entity)?;
    let replaced = events.iter().flat_map(|event| &event.change.fields).filter(|field| field.from.is_some()).count();
    report.lose_many(HISTORY, replaced as u64, example);
    Ok(())
}

/// Whether an event is about this entity, not one that it touches by the way.
fn is_owner(entity: &EntityKey, event: &Decoded) -> bool {
    let Decoded::Known(event) = event else { return true };
    match subject(event) {
        Some(EntityKey::Experiment(_)) => matches!(entity, EntityKey::Experiment(_)),
        Some(EntityKey::LoggedModel(_)) => matches!(entity, EntityKey::LoggedModel(_)),
        Some(EntityKey::RegisteredModel(_) | EntityKey::ModelVersion(..)) => {
            matches!(entity, EntityKey::RegisteredModel(_))
        }
        // The others are about runs.
        _ => matches!(entity, EntityKey::Run(_)),
    }
}
