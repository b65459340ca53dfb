//! The fields of entities that can change: the winner is decided for each field separately.

use crate::engine::entity::{EntityKey, RUN_NAME_TAG, touches};
use crate::experiment::SOURCE_TAG;
use crate::{Event, Stage};

/// A field of an entity; fields of versions belong to their model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Field {
    Name,
    Description,
    Status,
    EndTime,
    /// Deleted or active: of experiments, runs and logged models.
    Lifecycle,
    Tag(String),
    /// The process that logs to a run.
    Lease,
    /// Size of an artifact.
    Artifact(String),
    /// Whether a registered model is deleted.
    Deletion,
    Alias(String),
    /// Stages of all versions of a model: one field, so that two versions never get a stage meant for one.
    Stages,
    VersionDescription(u32),
    VersionTag(u32, String),
    VersionDeletion(u32),
}

impl Field {
    /// Whether it is a decision of the registry, where a store keeps its own. For other fields the later change wins.
    pub(super) fn is_decision(&self) -> bool {
        matches!(self, Self::Deletion | Self::Alias(_) | Self::Stages | Self::VersionDeletion(_))
    }

    /// Whether a disagreement on it is worth reporting.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Self::Lease | Self::Artifact(_))
    }

    /// The name for users.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Name => "name".into(),
            Self::Description => "description".into(),
            Self::Status => "status".into(),
            Self::EndTime => "end time".into(),
            Self::Lifecycle | Self::Deletion => "deletion".into(),
            Self::Tag(key) => format!("tag `{key}`"),
            Self::Lease => "lease".into(),
            Self::Artifact(path) => format!("artifact `{path}`"),
            Self::Alias(alias) => format!("alias `{alias}`"),
            Self::Stages => "stages".into(),
            Self::VersionDescription(version) => format!("description of version {version}"),
            Self::VersionTag(version, key) => format!("tag `{key}` of version {version}"),
            Self::VersionDeletion(version) => format!("deletion of version {version}"),
        }
    }
}

/// The entity whose history has the event; a version's events are in that of its model.
pub(super) fn entity_of(event: &Event) -> Option<EntityKey> {
    touches(event).pop()
}

/// The field of a run's tag; the run's name is one.
fn run_tag(key: &str) -> Field {
    if key == RUN_NAME_TAG { Field::Name } else { Field::Tag(key.to_owned()) }
}

/// The fields that an event sets.
pub(super) fn fields_of(event: &Event) -> Vec<Field> {
    use Event as E;
    let own_tag = |key: &&String| !key.starts_with(SOURCE_TAG);
    let tags = |tags: &[(String, String)]| tags.iter().map(|(key, _)| Field::Tag(key.clone())).collect::<Vec<_>>();
    let run_tags = |tags: &[(String, String)]| tags.iter().map(|(key, _)| run_tag(key)).collect::<Vec<_>>();
    match event {
        E::ExperimentCreated(e) => {
            let mut fields = vec![Field::Name];
            fields.extend(e.tags.iter().map(|(key, _)| key).filter(own_tag).cloned().map(Field::Tag));
            fields
        }
        E::ExperimentRenamed(_) => vec![Field::Name],
        E::ExperimentTagsSet(e) => e.tags.iter().map(|(key, _)| key).filter(own_tag).cloned().map(Field::Tag).collect(),
        E::ExperimentTagDeleted(e) if e.key.starts_with(SOURCE_TAG) => Vec::new(),
        E::ExperimentTagDeleted(e) => vec![Field::Tag(e.key.clone())],
        E::ExperimentDeleted(_) | E::ExperimentRestored(_) => vec![Field::Lifecycle],
        E::RunCreated(e) => {
            let mut fields = run_tags(&e.tags);
            fields.extend([Field::Name, Field::Status]);
            fields
        }
        E::RunUpdated(e) => {
            let name = e.name.as_ref().filter(|name| !name.is_empty()).map(|_| Field::Name);
            let status = e.status.map(|_| Field::Status);
            name.into_iter().chain(status).chain(e.end_time_ms.map(|_| Field::EndTime)).collect()
        }
        E::RunDeleted(_) | E::RunRestored(_) => vec![Field::Lifecycle],
        E::RunTagsSet(e) => run_tags(&e.tags),
        E::RunTagDeleted(e) => vec![run_tag(&e.key)],
        E::RunLeased(_) => vec![Field::Lease],
        E::ArtifactLogged(e) => vec![Field::Artifact(e.path.clone())],
        E::LoggedModelCreated(e) => {
            let mut fields = tags(&e.tags);
            fields.push(Field::Status);
            fields
        }
        E::LoggedModelFinalized(_) => vec![Field::Status],
        E::LoggedModelTagsSet(e) => tags(&e.tags),
        E::LoggedModelTagDeleted(e) => vec![Field::Tag(e.key.clone())],
        E::LoggedModelDeleted(_) => vec![Field::Lifecycle],
        E::RegisteredModelCreated(e) => {
            let mut fields = tags(&e.tags);
            fields.push(Field::Name);
            fields.extend(e.description.as_ref().map(|_| Field::Description));
            fields
        }
        E::RegisteredModelUpdated(_) => vec![Field::Description],
        E::RegisteredModelRenamed(_) => vec![Field::Name],
        E::RegisteredModelTagsSet(e) => tags(&e.tags),
        E::RegisteredModelTagDeleted(e) => vec![Field::Tag(e.key.clone())],
        E::RegisteredModelDeleted(_) => vec![Field::Deletion],
        E::AliasSet(e) => vec![Field::Alias(e.alias.clone())],
        E::AliasDeleted(e) => vec![Field::Alias(e.alias.clone())],
        E::ModelVersionCreated(e) => {
            let mut fields: Vec<_> = e.tags.iter().map(|(key, _)| Field::VersionTag(e.version, key.clone())).collect();
            fields.extend(e.description.as_ref().map(|_| Field::VersionDescription(e.version)));
            fields.extend((e.stage != Stage::None).then_some(Field::Stages));
            fields
        }
        E::ModelVersionUpdated(e) => vec![Field::VersionDescription(e.version)],
        E::ModelVersionStageChanged(_) => vec![Field::Stages],
        E::ModelVersionTagsSet(e) => e.tags.iter().map(|(key, _)| Field::VersionTag(e.version, key.clone())).collect(),
        E::ModelVersionTagDeleted(e) => vec![Field::VersionTag(e.version, e.key.clone())],
        E::ModelVersionDeleted(e) => vec![Field::VersionDeletion(e.version)],
        _ => Vec::new(),
    }
}

/// The version of a model that an event concerns.
pub(super) fn version_of(event: &Event) -> Option<u32> {
    use Event as E;
    match event {
        E::AliasSet(e) => Some(e.version),
        E::ModelVersionCreated(e) => Some(e.version),
        E::ModelVersionUpdated(e) => Some(e.version),
        E::ModelVersionStageChanged(e) => Some(e.version),
        E::ModelVersionTagsSet(e) => Some(e.version),
        E::ModelVersionTagDeleted(e) => Some(e.version),
        E::ModelVersionDeleted(e) => Some(e.version),
        _ => None,
    }
}
