//! The history of what is exported: every event once, with the entity that it is about.
//!
//! The index lists an event under each entity that it touched: a run's inputs also under the data set, a version's
//! changes also under the model. So each event has one owner here, and is passed on with that one.

use runlode::changes::{self, Change};
use runlode::engine::event::payload::Decoded;
use runlode::{EntityKey, Event, EventRecord};

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
    use Event as E;
    let Decoded::Known(event) = event else { return true };
    match event {
        E::ExperimentCreated(_)
        | E::ExperimentRenamed(_)
        | E::ExperimentTagsSet(_)
        | E::ExperimentTagDeleted(_)
        | E::ExperimentDeleted(_)
        | E::ExperimentRestored(_)
        | E::ExperimentPurged(_) => matches!(entity, EntityKey::Experiment(_)),
        E::LoggedModelCreated(_)
        | E::LoggedModelFinalized(_)
        | E::LoggedModelTagsSet(_)
        | E::LoggedModelTagDeleted(_)
        | E::LoggedModelParamsLogged(_)
        | E::LoggedModelDeleted(_)
        | E::LoggedModelMetricsLogged(_)
        | E::LoggedModelPointShared(_) => matches!(entity, EntityKey::LoggedModel(_)),
        E::RegisteredModelCreated(_)
        | E::RegisteredModelUpdated(_)
        | E::RegisteredModelRenamed(_)
        | E::RegisteredModelTagsSet(_)
        | E::RegisteredModelTagDeleted(_)
        | E::RegisteredModelDeleted(_)
        | E::AliasSet(_)
        | E::AliasDeleted(_)
        | E::ModelVersionCreated(_)
        | E::ModelVersionUpdated(_)
        | E::ModelVersionStageChanged(_)
        | E::ModelVersionTagsSet(_)
        | E::ModelVersionTagDeleted(_)
        | E::ModelVersionDeleted(_) => matches!(entity, EntityKey::RegisteredModel(_)),
        // The kinds that are left are about runs, or of a newer version.
        _ => matches!(entity, EntityKey::Run(_)),
    }
}
