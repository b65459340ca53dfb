//! Answers of MLflow's REST API, as far as they are imported. A field may be missing; numbers may come as texts.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A whole number, as a number or a text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whole(pub(super) Option<i64>);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }))
    }
}

/// A metric's value: a number, or the text of one that JSON lacks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Real(pub(super) f64);

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => match text.as_str() {
                "Infinity" => Ok(Self(f64::INFINITY)),
                "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
                text => text.parse().map(Self).map_err(serde::de::Error::custom),
            },
            other => Err(serde::de::Error::custom(format!("`{other}` is no number"))),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Experiments {
    pub(super) experiments: Vec<Experiment>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Experiment {
    pub(super) experiment_id: String,
    pub(super) name: String,
    pub(super) artifact_location: String,
    pub(super) lifecycle_stage: String,
    pub(super) creation_time: Whole,
    pub(super) last_update_time: Whole,
    pub(super) tags: Vec<Pair>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    pub(super) info: RunInfo,
    pub(super) data: RunData,
    pub(super) inputs: RunInputs,
    pub(super) outputs: RunOutputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunInfo {
    pub(super) run_id: String,
    pub(super) run_name: String,
    pub(super) user_id: String,
    pub(super) status: String,
    pub(super) start_time: Whole,
    pub(super) end_time: Whole,
    pub(super) artifact_uri: String,
    pub(super) lifecycle_stage: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunData {
    pub(super) metrics: Vec<Metric>,
    pub(super) params: Vec<Pair>,
    pub(super) tags: Vec<Pair>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metric {
    pub(super) key: String,
    pub(super) value: Real,
    pub(super) timestamp: Whole,
    pub(super) step: Whole,
    pub(super) run_id: String,
    pub(super) dataset_name: Option<String>,
    pub(super) dataset_digest: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) metrics: Vec<Metric>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunInputs {
    pub(super) dataset_inputs: Vec<DatasetInput>,
    pub(super) model_inputs: Vec<ModelLink>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunOutputs {
    pub(super) model_outputs: Vec<ModelLink>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelLink {
    pub(super) model_id: String,
    pub(super) step: Whole,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DatasetInput {
    pub(super) tags: Vec<Pair>,
    pub(super) dataset: Dataset,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dataset {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) source_type: String,
    pub(super) source: String,
    pub(super) schema: Option<String>,
    pub(super) profile: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModels {
    pub(super) models: Vec<LoggedModel>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModel {
    pub(super) info: LoggedModelInfo,
    pub(super) data: LoggedModelData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModelInfo {
    pub(super) model_id: String,
    pub(super) name: String,
    pub(super) creation_timestamp_ms: Whole,
    pub(super) last_updated_timestamp_ms: Whole,
    pub(super) artifact_uri: String,
    pub(super) status: String,
    pub(super) model_type: String,
    pub(super) source_run_id: String,
    pub(super) status_message: Option<String>,
    pub(super) tags: Vec<Pair>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModelData {
    pub(super) params: Vec<Pair>,
    pub(super) metrics: Vec<Metric>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredModels {
    pub(super) registered_models: Vec<RegisteredModel>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredModel {
    pub(super) name: String,
    pub(super) creation_timestamp: Whole,
    pub(super) last_updated_timestamp: Whole,
    pub(super) description: Option<String>,
    pub(super) tags: Vec<Pair>,
    pub(super) aliases: Vec<Alias>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alias {
    pub(super) alias: String,
    pub(super) version: Whole,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelVersions {
    pub(super) model_versions: Vec<ModelVersion>,
    pub(super) next_page_token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelVersion {
    pub(super) version: Whole,
    pub(super) creation_timestamp: Whole,
    pub(super) last_updated_timestamp: Whole,
    pub(super) user_id: Option<String>,
    pub(super) current_stage: String,
    pub(super) description: Option<String>,
    pub(super) source: String,
    pub(super) run_id: Option<String>,
    pub(super) status: String,
    pub(super) status_message: Option<String>,
    pub(super) run_link: Option<String>,
    pub(super) tags: Vec<Pair>,
}
