//! Versions of registered models. Searches are in `search`, a version's files in `artifacts`.

use std::sync::LazyLock;

use regex::Regex;
use runlode::mlflow::entity::ModelVersion;
use runlode::mlflow::{ApiError, ApiResult, NewModelVersion, TAG_IS_PROMPT, VersionSource};
use serde::Serialize;

use crate::answer::{Answer, Named, PairJson, pairs};
use crate::door::Door;
use crate::request::{Fields, Request};
use crate::route::{Route, Work};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("model-versions/create", Work::Slow, create),
        Route::patch("model-versions/update", Work::Slow, update),
        Route::post("model-versions/transition-stage", Work::Slow, transition_stage),
        Route::delete("model-versions/delete", Work::Slow, delete),
        Route::get("model-versions/get", Work::Quick, get),
        Route::get("model-versions/get-download-uri", Work::Quick, download_uri),
        Route::post("model-versions/set-tag", Work::Slow, set_tag),
        Route::delete("model-versions/delete-tag", Work::Slow, delete_tag),
    ]
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

pub(crate) fn answer(door: &Door, version: &ModelVersion) -> ApiResult<Answer> {
    door.answer(&Named("model_version", ModelVersionJson::from(version)))
}

/// Which sources the server takes (`MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX`).
enum Sources {
    All,
    Matching(Regex),
    /// None: the pattern is no regular expression.
    Unreadable,
}

impl Sources {
    fn of(pattern: &str) -> Self {
        match pattern {
            "" => Self::All,
            pattern => Regex::new(pattern).map_or(Self::Unreadable, Self::Matching),
        }
    }
}

static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    Sources::of(&std::env::var("MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX").unwrap_or_default())
});

fn check_source(source: &str, sources: &Sources) -> ApiResult<()> {
    match sources {
        Sources::All => Ok(()),
        Sources::Matching(pattern) if pattern.is_match(source) => Ok(()),
        Sources::Matching(_) => Err(ApiError::invalid(format!("Invalid model version source: '{source}'."))),
        Sources::Unreadable => Err(ApiError::invalid(format!(
            "Invalid model version source: '{source}'. The server's pattern for sources, \
             MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX, is no regular expression that it can read."
        ))),
    }
}

fn create(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, source) = (fields.required("name")?, fields.required("source")?);
    let owned = |name: &str| Ok::<_, ApiError>(fields.text(name)?.map(str::to_owned));
    let (run_id, tags) = (owned("run_id")?, fields.pairs_of_new("tags")?);
    let (run_link, description) = (fields.text("run_link")?, fields.text("description")?);
    let model_id = owned("model_id")?;
    check_source(source, &SOURCES)?;
    // If keys are equal, the last one counts.
    let is_prompt = tags.iter().rev().find(|(key, _)| key == TAG_IS_PROMPT);
    let is_prompt = is_prompt.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let given = VersionSource { source: source.to_owned(), run_id, model_id };
    let vetted = door.mlflow.vet_source(given, is_prompt)?;
    answer(
        door,
        &door.mlflow.create_model_version(
            name,
            &NewModelVersion {
                source: &vetted.source,
                run_id: Some(vetted.run_id.as_deref().unwrap_or_default()),
                run_link: Some(run_link.unwrap_or_default()),
                description: Some(description.unwrap_or_default()),
                model_id: vetted.model_id.as_deref(),
                storage_location: None,
                tags: &tags,
                note_on_model: !is_prompt,
            },
        )?,
    )
}

/// Name and version, in this order.
fn name_and_version<'f>(fields: &'f Fields<'_>) -> ApiResult<(&'f str, &'f str)> {
    Ok((fields.required("name")?, fields.required("version")?))
}

fn get(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    answer(door, &door.mlflow.model_version(name, version)?)
}

fn update(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    answer(door, &door.mlflow.update_model_version(name, version, fields.text("description")?)?)
}

fn transition_stage(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    let stage = fields.required("stage")?;
    let archive = fields.truth("archive_existing_versions")?.unwrap_or(false);
    answer(door, &door.mlflow.transition_model_version_stage(name, version, stage, archive)?)
}

fn delete(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    door.mlflow.delete_model_version(name, version)?;
    Ok(Answer::Nothing)
}

fn download_uri(door: &Door, request: &Request) -> ApiResult<Answer> {
    // MLflow does not require them here; a missing one is refused a step later.
    let fields = request.fields()?;
    let (name, version) = (fields.text("name")?.unwrap_or_default(), fields.text("version")?.unwrap_or_default());
    Answer::json(&Named("artifact_uri", door.mlflow.model_version_download_uri(name, version)?))
}

fn set_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    let key = fields.required("key")?;
    door.mlflow.set_model_version_tag(name, version, key, fields.text("value")?.unwrap_or_default())?;
    Ok(Answer::Nothing)
}

fn delete_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, version) = name_and_version(&fields)?;
    door.mlflow.delete_model_version_tag(name, version, fields.required("key")?)?;
    Ok(Answer::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_match_the_pattern_somewhere() {
        let check = |source, pattern| check_source(source, &Sources::of(pattern));
        check("anything", "").unwrap();
        check("mlflow-artifacts:/1", "^mlflow-artifacts:/").unwrap();
        check("s3://b/models/x", "models").unwrap();
        let text = check("s3://b/x", "^mlflow-artifacts:/").unwrap_err().message;
        assert_eq!(text, "Invalid model version source: 's3://b/x'.");
        assert!(check("s3://b/x", "(?=lookahead)").is_err());
    }
}
