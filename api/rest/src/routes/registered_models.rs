//! Registered models and their versions.

use runlode::mlflow::entity::{ModelVersion, RegisteredModel};
use serde::Serialize;

use super::Route;
use crate::answer::{PairJson, pairs};

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}

#[derive(Debug, Serialize)]
struct AliasJson<'a> {
    alias: &'a str,
    version: String,
}

/// A registered model on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct RegisteredModelJson<'a> {
    name: &'a str,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_versions: Vec<ModelVersionJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<AliasJson<'a>>,
}

impl<'a> From<&'a RegisteredModel> for RegisteredModelJson<'a> {
    fn from(model: &'a RegisteredModel) -> Self {
        let aliases = model.aliases.iter();
        Self {
            name: &model.name,
            creation_timestamp: model.creation_timestamp,
            last_updated_timestamp: model.last_updated_timestamp,
            description: model.description.as_deref(),
            latest_versions: model.latest_versions.iter().map(Into::into).collect(),
            tags: pairs(&model.tags),
            aliases: aliases.map(|(alias, version)| AliasJson { alias, version: version.to_string() }).collect(),
        }
    }
}

/// A version on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct ModelVersionJson<'a> {
    name: &'a str,
    version: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    current_stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_link: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aliases: &'a [String],
}

impl<'a> From<&'a ModelVersion> for ModelVersionJson<'a> {
    fn from(version: &'a ModelVersion) -> Self {
        use runlode::VersionStatus;
        Self {
            name: &version.name,
            version: version.version.to_string(),
            creation_timestamp: version.creation_timestamp,
            last_updated_timestamp: version.last_updated_timestamp,
            current_stage: version.current_stage.into(),
            description: version.description.as_deref(),
            source: &version.source,
            run_id: version.run_id.as_deref(),
            status: match version.status {
                VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
                VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
                VersionStatus::Ready => "READY",
            },
            run_link: version.run_link.as_deref(),
            tags: pairs(&version.tags),
            aliases: &version.aliases,
        }
    }
}
