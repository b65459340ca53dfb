//! Runs: lifecycle, tags, params, inputs and outputs.

use runlode::RunStatus;
use runlode::mlflow::entity::{Dataset, DatasetInput, Metric, Run, RunInfo};
use runlode::mlflow::{ApiError, ApiResult, NewRun};
use serde::Serialize;
use serde_json::{Map, Value};

use super::experiments::lifecycle_stage;
use super::metrics::MetricJson;
use crate::answer::{Answer, Named, PairJson, pairs};
use crate::door::Door;
use crate::json::{self, Bad};
use crate::request::Request;
use crate::route::{Route, Work};

/// Largest body of log-inputs: a data set's profile alone may have 16 MiB.
const INPUTS_BYTES_MAX: usize = 64 << 20;
/// Most values in a body of log-inputs: a data set has about a dozen, and MLflow knows no limit of their number.
const INPUT_MEMBERS_MAX: usize = 400_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("runs/create", Work::Slow, create),
        Route::get("runs/get", Work::Quick, get),
        Route::post("runs/update", Work::Slow, update),
        Route::post("runs/delete", Work::Slow, delete),
        Route::post("runs/restore", Work::Slow, restore),
        Route::post("runs/log-parameter", Work::Slow, log_param),
        Route::post("runs/set-tag", Work::Slow, set_tag),
        Route::post("runs/delete-tag", Work::Slow, delete_tag),
        Route::post("runs/log-inputs", Work::Slow, log_inputs).body_bytes_max(INPUTS_BYTES_MAX),
        Route::post("runs/outputs", Work::Slow, log_outputs).body_bytes_max(INPUTS_BYTES_MAX),
        Route::post("runs/log-model", Work::Slow, log_model),
    ]
}

/// A run's info on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct RunInfoJson<'a> {
    run_uuid: &'a str,
    run_id: &'a str,
    experiment_id: &'a str,
    run_name: &'a str,
    user_id: &'a str,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: &'a str,
    lifecycle_stage: &'static str,
}

impl<'a> From<&'a RunInfo> for RunInfoJson<'a> {
    fn from(info: &'a RunInfo) -> Self {
        Self {
            run_uuid: &info.run_id,
            run_id: &info.run_id,
            experiment_id: &info.experiment_id,
            run_name: &info.run_name,
            user_id: &info.user_id,
            status: info.status.into(),
            start_time: info.start_time,
            end_time: info.end_time,
            artifact_uri: &info.artifact_uri,
            lifecycle_stage: lifecycle_stage(info.deleted),
        }
    }
}

#[derive(Debug, Serialize)]
struct RunDataJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<PairJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
}

#[derive(Debug, Serialize)]
struct DatasetJson<'a> {
    name: &'a str,
    digest: &'a str,
    source_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct DatasetInputJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
    dataset: DatasetJson<'a>,
}

#[derive(Debug, Serialize)]
struct ModelInputJson<'a> {
    model_id: &'a str,
}

#[derive(Debug, Serialize)]
struct ModelOutputJson<'a> {
    model_id: &'a str,
    step: i64,
}

#[derive(Debug, Default, Serialize)]
struct RunInputsJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_inputs: Vec<DatasetInputJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<ModelInputJson<'a>>,
}

#[derive(Debug, Default, Serialize)]
struct RunOutputsJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_outputs: Vec<ModelOutputJson<'a>>,
}

/// A run on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct RunJson<'a> {
    info: RunInfoJson<'a>,
    data: RunDataJson<'a>,
    inputs: RunInputsJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<RunOutputsJson<'a>>,
}

impl<'a> RunJson<'a> {
    /// As create answers it: without outputs.
    pub(crate) fn created(run: &'a Run) -> Self {
        Self {
            info: (&run.info).into(),
            data: RunDataJson {
                metrics: run.metrics.iter().map(MetricJson::from).collect(),
                params: pairs(&run.params),
                tags: pairs(&run.tags),
            },
            inputs: RunInputsJson::default(),
            outputs: None,
        }
    }

    /// As get answers it: with all inputs and outputs.
    pub(crate) fn whole(run: &'a Run) -> Self {
        let mut json = Self::found(run);
        json.inputs.model_inputs = run.model_inputs.iter().map(|model_id| ModelInputJson { model_id }).collect();
        json
    }

    /// As a search answers it: without model inputs.
    pub(crate) fn found(run: &'a Run) -> Self {
        let mut json = Self::created(run);
        json.inputs.dataset_inputs = run.dataset_inputs.iter().map(dataset_input).collect();
        let outputs = run.model_outputs.iter().map(|(model_id, step)| ModelOutputJson { model_id, step: *step });
        json.outputs = Some(RunOutputsJson { model_outputs: outputs.collect() });
        json
    }
}

fn dataset_input(input: &DatasetInput) -> DatasetInputJson<'_> {
    let Dataset { name, digest, source_type, source, schema, profile } = &input.dataset;
    DatasetInputJson {
        tags: pairs(&input.tags),
        dataset: DatasetJson {
            name,
            digest,
            source_type,
            source,
            schema: schema.as_deref(),
            profile: profile.as_deref(),
        },
    }
}

impl<'a> From<&'a Metric> for MetricJson<'a> {
    fn from(metric: &'a Metric) -> Self {
        Self {
            key: &metric.key,
            value: metric.value,
            timestamp: metric.timestamp,
            step: metric.step,
            model_id: metric.model_id.as_deref(),
            dataset_name: metric.dataset_name.as_deref(),
            dataset_digest: metric.dataset_digest.as_deref(),
            run_id: metric.run_id.as_deref(),
        }
    }
}

const STATUSES: &[(&str, i64, RunStatus)] = &[
    ("RUNNING", 1, RunStatus::Running),
    ("SCHEDULED", 2, RunStatus::Scheduled),
    ("FINISHED", 3, RunStatus::Finished),
    ("FAILED", 4, RunStatus::Failed),
    ("KILLED", 5, RunStatus::Killed),
];

fn create(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.object()?;
    let run = door.mlflow.create_run(&NewRun {
        experiment_id: fields.text("experiment_id")?,
        user_id: fields.text("user_id")?.unwrap_or_default(),
        start_time: fields.int("start_time")?.unwrap_or_default(),
        run_name: fields.text("run_name")?,
        tags: &fields.pairs("tags")?,
    })?;
    door.answer(&Named("run", RunJson::created(&run)))
}

fn get(door: &Door, request: &Request) -> ApiResult<Answer> {
    let run = door.mlflow.run(request.fields()?.run_id()?)?;
    door.answer(&Named("run", RunJson::whole(&run)))
}

/// What an update of a run answers.
pub(crate) fn info_answer(info: &RunInfo) -> ApiResult<Answer> {
    Answer::json(&Named("run_info", RunInfoJson::from(info)))
}

fn update(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let status = fields.one_of("status", STATUSES)?;
    let info = door.mlflow.update_run(fields.run_id()?, status, fields.int("end_time")?, fields.text("run_name")?)?;
    info_answer(&info)
}

fn delete(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.delete_run(request.fields()?.required("run_id")?)?;
    Ok(Answer::Nothing)
}

fn restore(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.restore_run(request.fields()?.required("run_id")?)?;
    Ok(Answer::Nothing)
}

fn log_param(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.run_id()?;
    door.mlflow.log_param(id, fields.required("key")?, fields.text("value")?.unwrap_or_default())?;
    Ok(Answer::Nothing)
}

fn set_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.run_id()?;
    door.mlflow.set_tag(id, fields.required("key")?, fields.text("value")?.unwrap_or_default())?;
    Ok(Answer::Nothing)
}

fn delete_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    door.mlflow.delete_tag(fields.required("run_id")?, fields.required("key")?)?;
    Ok(Answer::Nothing)
}

fn log_inputs(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields_of(INPUT_MEMBERS_MAX)?;
    let id = fields.required("run_id")?;
    let mut datasets = Vec::new();
    for input in fields.objects("datasets")? {
        let dataset = input.object("dataset")?;
        datasets.push(DatasetInput {
            tags: input.pairs("tags")?,
            dataset: Dataset {
                name: dataset.required("name")?.to_owned(),
                digest: dataset.required("digest")?.to_owned(),
                source_type: dataset.text("source_type")?.unwrap_or_default().to_owned(),
                source: dataset.text("source")?.unwrap_or_default().to_owned(),
                schema: dataset.text("schema")?.map(str::to_owned),
                profile: dataset.text("profile")?.map(str::to_owned),
            },
        });
    }
    let models: Vec<String> = fields
        .objects("models")?
        .iter()
        .map(|model| Ok(model.required("model_id")?.to_owned()))
        .collect::<ApiResult<_>>()?;
    door.mlflow.log_inputs(id, &datasets, &models)?;
    Ok(Answer::Nothing)
}

fn log_outputs(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields_of(INPUT_MEMBERS_MAX)?;
    let id = fields.required("run_id")?;
    let models = fields.objects("models")?;
    if models.is_empty() {
        return Err(fields.missing("models"));
    }
    let models: Vec<(String, i64)> = models
        .iter()
        .map(|model| Ok((model.required("model_id")?.to_owned(), model.int("step")?.unwrap_or_default())))
        .collect::<ApiResult<_>>()?;
    door.mlflow.log_outputs(id, &models)?;
    Ok(Answer::Nothing)
}

fn log_model(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.required("run_id")?;
    let text = fields.required("model_json")?;
    // It becomes a tree, so it must not be large.
    let text = match json::find(text) {
        Err(Bad::Deep | Bad::Large) => return Err(ApiError::invalid("The model's description holds too much.")),
        _ => text,
    };
    let malformed =
        |why: String| ApiError::invalid(format!("Malformed model info. \n {text} \n failed to parse: {why}"));
    let mut model: Map<String, Value> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let missing: Vec<String> = ["artifact_path", "flavors", "run_id", "utc_time_created"]
        .into_iter()
        .filter(|name| !model.contains_key(*name))
        .map(|name| format!("'{name}'"))
        .collect();
    if !missing.is_empty() {
        return Err(ApiError::invalid(format!("Model json is missing mandatory fields: {{{}}}", missing.join(", "))));
    }
    // MLflow leaves the options of flavors out of the tag: they may be long, and nobody reads them there.
    if let Some(Value::Object(flavors)) = model.get_mut("flavors") {
        for options in flavors.values_mut() {
            if let Value::Object(options) = options {
                options.remove("config");
            }
        }
    }
    door.mlflow.record_logged_model(id, &Value::Object(model).to_string())?;
    Ok(Answer::Nothing)
}
