//! Registered models, their tags and aliases. Searches are in `search`.

use runlode::mlflow::ApiResult;
use runlode::mlflow::entity::{ModelVersion, RegisteredModel};
use serde::Serialize;

use super::model_versions::{self, ModelVersionJson};
use crate::answer::{Answer, ListJson, Named, PairJson, pairs};
use crate::door::Door;
use crate::request::Request;
use crate::route::{Route, Work};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("registered-models/create", Work::Slow, create),
        Route::post("registered-models/rename", Work::Slow, rename),
        Route::patch("registered-models/update", Work::Slow, update),
        Route::delete("registered-models/delete", Work::Slow, delete),
        // Reads every version: there may be thousands.
        Route::get("registered-models/get", Work::Read, get),
        Route::post("registered-models/get-latest-versions", Work::Read, latest_versions),
        Route::get("registered-models/get-latest-versions", Work::Read, latest_versions),
        Route::post("registered-models/set-tag", Work::Slow, set_tag),
        Route::delete("registered-models/delete-tag", Work::Slow, delete_tag),
        Route::post("registered-models/alias", Work::Slow, set_alias),
        Route::get("registered-models/alias", Work::Quick, get_alias),
        Route::delete("registered-models/alias", Work::Slow, delete_alias),
    ]
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
            // MLflow's versions distinguish an empty description from none, its models do not.
            description: model.description.as_deref().filter(|description| !description.is_empty()),
            latest_versions: model.latest_versions.iter().map(Into::into).collect(),
            tags: pairs(&model.tags),
            aliases: aliases.map(|(alias, version)| AliasJson { alias, version: version.to_string() }).collect(),
        }
    }
}

fn answer(door: &Door, model: &RegisteredModel) -> ApiResult<Answer> {
    door.answer(&Named("registered_model", RegisteredModelJson::from(model)))
}

fn create(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    let tags = fields.pairs_of_new("tags")?;
    let description = fields.text("description")?.unwrap_or_default();
    answer(door, &door.mlflow.create_registered_model(name, &tags, Some(description))?)
}

fn get(door: &Door, request: &Request) -> ApiResult<Answer> {
    answer(door, &door.mlflow.registered_model(request.fields()?.required("name")?)?)
}

fn update(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    answer(door, &door.mlflow.update_registered_model(name, Some(fields.text("description")?.unwrap_or_default()))?)
}

fn rename(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    answer(door, &door.mlflow.rename_registered_model(name, fields.required("new_name")?)?)
}

fn delete(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.delete_registered_model(request.fields()?.required("name")?)?;
    Ok(Answer::Nothing)
}

fn latest_versions(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    let versions: Vec<ModelVersion> = door.mlflow.latest_versions(name, &fields.texts("stages")?)?;
    door.answer(&ListJson::<ModelVersionJson<'_>>::whole("model_versions", &versions))
}

fn set_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, key) = (fields.required("name")?, fields.required("key")?);
    door.mlflow.set_registered_model_tag(name, key, fields.text("value")?.unwrap_or_default())?;
    Ok(Answer::Nothing)
}

fn delete_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    door.mlflow.delete_registered_model_tag(fields.required("name")?, fields.required("key")?)?;
    Ok(Answer::Nothing)
}

fn set_alias(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (name, alias) = (fields.required("name")?, fields.required("alias")?);
    door.mlflow.set_registered_model_alias(name, alias, fields.required("version")?)?;
    Ok(Answer::Nothing)
}

fn get_alias(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    model_versions::answer(door, &door.mlflow.model_version_by_alias(name, fields.required("alias")?)?)
}

fn delete_alias(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    door.mlflow.delete_registered_model_alias(fields.required("name")?, fields.required("alias")?)?;
    Ok(Answer::Nothing)
}
