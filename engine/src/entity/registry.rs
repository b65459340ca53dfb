//! Applies events of registered models and their versions; part of [`super::apply`].

use super::pairs::{put_pairs, remove_pair, sorted_pairs};
use super::state::*;
use super::working::{Applied, Working};
use crate::error::Result;
use crate::event::{Event, ModelVersionCreated};
use crate::id::{Lsn, RegisteredModelId};

pub(super) fn apply_registry(event: &Event, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    use Event as E;
    match event {
        E::RegisteredModelCreated(e) => {
            let key = EntityKey::RegisteredModel(e.model);
            let slot = working.slot(key.clone())?;
            if slot.state.is_some() {
                return Applied::ignored();
            }
            slot.put(EntityState::RegisteredModel(RegisteredModelState {
                name: e.name.clone(),
                description: e.description.clone(),
                creation_time_ms: e.creation_time_ms,
                last_updated_time_ms: e.last_updated_time_ms,
                tags: sorted_pairs(&e.tags, true),
                aliases: Vec::new(),
                version_last: 0,
                versions: Vec::new(),
                deleted: false,
                created: lsn,
                last: lsn,
            }));
            let mut touched = vec![key];
            working.take_name(EntityKey::ModelName(e.name.as_str().into()), e.model.0, lsn, &mut touched)?;
            Ok(Applied { touched, ignored: false })
        }
        E::RegisteredModelUpdated(e) => change_model(e.model, lsn, working, |model| {
            model.description.clone_from(&e.description);
            model.last_updated_time_ms = e.at_ms;
        }),
        E::RegisteredModelRenamed(e) => {
            let mut old = (String::new(), Vec::new());
            let mut applied = change_model(e.model, lsn, working, |model| {
                old = (std::mem::replace(&mut model.name, e.name.clone()), model.versions.clone());
                model.last_updated_time_ms = e.at_ms;
            })?;
            if applied.ignored {
                return Ok(applied);
            }
            let (name, versions) = old;
            let touched = &mut applied.touched;
            working.free_name(EntityKey::ModelName(name.as_str().into()), e.model.0, lsn, touched)?;
            working.take_name(EntityKey::ModelName(e.name.as_str().into()), e.model.0, lsn, touched)?;
            change_versions(e.model, &versions, lsn, working, touched, |version| {
                version.last_updated_time_ms = e.at_ms;
            })?;
            Ok(applied)
        }
        E::RegisteredModelTagsSet(e) => {
            change_model(e.model, lsn, working, |model| put_pairs(&mut model.tags, &e.tags, true))
        }
        E::RegisteredModelTagDeleted(e) => {
            change_model(e.model, lsn, working, |model| remove_pair(&mut model.tags, &e.key))
        }
        E::RegisteredModelDeleted(e) => {
            let mut old = (String::new(), Vec::new());
            let mut applied = change_model(e.model, lsn, working, |model| {
                old = (model.name.clone(), std::mem::take(&mut model.versions));
                model.aliases.clear();
                model.deleted = true;
            })?;
            if applied.ignored {
                return Ok(applied);
            }
            let (name, versions) = old;
            let touched = &mut applied.touched;
            working.free_name(EntityKey::ModelName(name.as_str().into()), e.model.0, lsn, touched)?;
            change_versions(e.model, &versions, lsn, working, touched, |version| version.deleted = true)?;
            Ok(applied)
        }
        E::AliasSet(e) => {
            if working.model_version(e.model, e.version)?.is_none_or(|version| version.deleted) {
                return Applied::ignored();
            }
            change_model(e.model, lsn, working, |model| {
                match model.aliases.binary_search_by(|(alias, _)| alias.cmp(&e.alias)) {
                    Ok(at) => model.aliases[at].1 = e.version,
                    Err(at) => model.aliases.insert(at, (e.alias.clone(), e.version)),
                }
            })
        }
        E::AliasDeleted(e) => {
            change_model(e.model, lsn, working, |model| model.aliases.retain(|(alias, _)| *alias != e.alias))
        }
        E::ModelVersionCreated(e) => create_version(e, lsn, working),
        E::ModelVersionUpdated(e) => change_version(e.model, e.version, None, lsn, working, |version| {
            version.description.clone_from(&e.description);
            version.last_updated_time_ms = e.at_ms;
        }),
        E::ModelVersionStageChanged(e) => change_version(e.model, e.version, Some(e.at_ms), lsn, working, |version| {
            version.stage = e.stage;
            version.last_updated_time_ms = e.at_ms;
        }),
        E::ModelVersionTagsSet(e) => change_version(e.model, e.version, None, lsn, working, |version| {
            put_pairs(&mut version.tags, &e.tags, true);
        }),
        E::ModelVersionTagDeleted(e) => change_version(e.model, e.version, None, lsn, working, |version| {
            remove_pair(&mut version.tags, &e.key);
        }),
        E::ModelVersionDeleted(e) => {
            let applied = change_version(e.model, e.version, Some(e.at_ms), lsn, working, |version| {
                version.deleted = true;
                version.last_updated_time_ms = e.at_ms;
            })?;
            if !applied.ignored {
                change_model(e.model, lsn, working, |model| {
                    model.versions.retain(|version| *version != e.version);
                    model.aliases.retain(|(_, version)| *version != e.version);
                })?;
            }
            Ok(applied)
        }
        _ => Applied::ignored(),
    }
}

/// Changes a model that exists and is not deleted.
fn change_model(
    id: RegisteredModelId,
    lsn: Lsn,
    working: &mut Working<'_>,
    change: impl FnOnce(&mut RegisteredModelState),
) -> Result<Applied> {
    let key = EntityKey::RegisteredModel(id);
    let slot = working.slot(key.clone())?;
    if slot.registered_model().is_none_or(|model| model.deleted) {
        return Applied::ignored();
    }
    if let Some(model) = slot.registered_model_mut() {
        change(model);
        model.last = lsn;
    }
    Applied::one(key)
}

fn create_version(event: &ModelVersionCreated, lsn: Lsn, working: &mut Working<'_>) -> Result<Applied> {
    let key = EntityKey::ModelVersion(event.model, event.version);
    if working.slot(key.clone())?.state.is_some() {
        return Applied::ignored();
    }
    let mut applied = change_model(event.model, lsn, working, |model| {
        if let Err(at) = model.versions.binary_search(&event.version) {
            model.versions.insert(at, event.version);
        }
        model.version_last = model.version_last.max(event.version);
        model.last_updated_time_ms = event.creation_time_ms;
    })?;
    if applied.ignored {
        return Ok(applied);
    }
    working.slot(key.clone())?.put(EntityState::ModelVersion(ModelVersionState {
        source: event.source.clone(),
        storage_location: event.storage_location.clone(),
        run_id: event.run_id.clone(),
        run_link: event.run_link.clone(),
        model_id: event.model_id.clone(),
        user_id: event.user_id.clone(),
        description: event.description.clone(),
        stage: event.stage,
        status: event.status,
        status_message: event.status_message.clone(),
        creation_time_ms: event.creation_time_ms,
        last_updated_time_ms: event.last_updated_time_ms,
        tags: sorted_pairs(&event.tags, true),
        deleted: false,
        created: lsn,
        last: lsn,
    }));
    applied.touched.push(key);
    Ok(applied)
}

/// Changes a version that exists and is not deleted; the model gets the position, and the time if one is given.
fn change_version(
    model: RegisteredModelId,
    version: u32,
    model_time_ms: Option<i64>,
    lsn: Lsn,
    working: &mut Working<'_>,
    change: impl FnOnce(&mut ModelVersionState),
) -> Result<Applied> {
    let key = EntityKey::ModelVersion(model, version);
    let slot = working.slot(key.clone())?;
    if slot.model_version().is_none_or(|version| version.deleted) {
        return Applied::ignored();
    }
    if let Some(version) = slot.model_version_mut() {
        change(version);
        version.last = lsn;
    }
    let mut applied = change_model(model, lsn, working, |model| {
        model.last_updated_time_ms = model_time_ms.unwrap_or(model.last_updated_time_ms);
    })?;
    applied.touched.push(key);
    applied.ignored = false;
    Ok(applied)
}

fn change_versions(
    model: RegisteredModelId,
    versions: &[u32],
    lsn: Lsn,
    working: &mut Working<'_>,
    touched: &mut Vec<EntityKey>,
    mut change: impl FnMut(&mut ModelVersionState),
) -> Result<()> {
    for number in versions {
        let key = EntityKey::ModelVersion(model, *number);
        if let Some(version) = working.slot(key.clone())?.model_version_mut() {
            change(version);
            version.last = lsn;
            touched.push(key);
        }
    }
    Ok(())
}
