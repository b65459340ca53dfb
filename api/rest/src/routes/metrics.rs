//! Metrics: log-metric, log-batch, and histories.
//!
//! The two writes come a thousand times a second, so their bodies are parsed straight into borrowed structs. A body
//! that does not fit these is read again field by field, which finds the mistake (or accepts one of MLflow's other
//! spellings).

use std::borrow::Cow;
use std::marker::PhantomData;

use runlode::mlflow::entity::Metric;
use runlode::mlflow::{ApiError, ApiResult, BULK_RUNS_MAX, MetricColumns, NewMetric, names};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Named, double};
use crate::door::Door;
use crate::json;
use crate::long::Writer;
use crate::request::{Fields, Request};
use crate::route::{Api, Route, Work};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("runs/log-metric", Work::Quick, log_metric),
        Route::post("runs/log-batch", Work::Slow, log_batch),
        Route::get("metrics/get-history", Work::Read, history),
        Route::get("metrics/get-history-bulk", Work::Read, history_bulk).api(Api::Pages),
        Route::get("metrics/get-history-bulk-interval", Work::Read, history_interval),
    ]
}

/// A metric point on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct MetricJson<'a> {
    pub(crate) key: &'a str,
    #[serde(serialize_with = "double")]
    pub(crate) value: f64,
    pub(crate) timestamp: i64,
    pub(crate) step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dataset_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<&'a str>,
}

/// A text that borrows from the body if possible.
#[derive(Debug, Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A double or an integer, as a number or as text.
#[derive(Debug, Clone, Copy)]
struct Number<T>(T);

impl<'de> Deserialize<'de> for Number<f64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Number<f64>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Number(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Number(value as f64))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Number(f64::from(value)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                crate::request::double(text).map(Number).ok_or_else(|| E::custom("no number"))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Number<i64> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Number<i64>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Number(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                value.try_into().map(Number).map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

// The usual form of bodies. Both spellings are read; a field that comes twice is an error here, so the body is read
// field by field too.

/// A required field that is `""` or null is refused here; reading field by field makes the message.
fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text<'de>, D::Error> {
    let text = Text::deserialize(deserializer)?;
    if text.0.is_empty() { Err(D::Error::custom("empty")) } else { Ok(text) }
}

#[derive(Deserialize)]
struct MetricBody<'a> {
    /// Only where a metric comes alone.
    #[serde(borrow, default, alias = "runId")]
    run_id: Text<'a>,
    #[serde(borrow, deserialize_with = "filled")]
    key: Text<'a>,
    value: Number<f64>,
    timestamp: Number<i64>,
    step: Option<Number<i64>>,
    #[serde(borrow, alias = "modelId")]
    model_id: Option<Text<'a>>,
    #[serde(borrow, alias = "datasetName")]
    dataset_name: Option<Text<'a>>,
    #[serde(borrow, alias = "datasetDigest")]
    dataset_digest: Option<Text<'a>>,
}

impl MetricBody<'_> {
    fn metric(&self) -> NewMetric<'_> {
        NewMetric {
            key: &self.key.0,
            value: self.value.0,
            timestamp: self.timestamp.0,
            step: self.step.map_or(0, |step| step.0),
            model_id: self.model_id.as_ref().map(|text| &*text.0),
            dataset_name: self.dataset_name.as_ref().map(|text| &*text.0),
            dataset_digest: self.dataset_digest.as_ref().map(|text| &*text.0),
        }
    }
}

#[derive(Deserialize)]
struct PairBody<'a> {
    #[serde(borrow, deserialize_with = "filled")]
    key: Text<'a>,
    #[serde(borrow, default)]
    value: Text<'a>,
}

#[derive(Deserialize)]
struct LogBatchBody<'a> {
    #[serde(borrow, deserialize_with = "filled", alias = "runId")]
    run_id: Text<'a>,
    #[serde(borrow, default)]
    metrics: Few<MetricBody<'a>>,
    #[serde(borrow, default)]
    params: Few<PairBody<'a>>,
    #[serde(borrow, default)]
    tags: Few<PairBody<'a>>,
}

/// At most as many as a batch may have. Longer lists are read field by field, which counts them.
struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while let Some(one) = list.next_element()? {
                    if few.len() == names::BATCH_ITEMS_MAX {
                        return Err(A::Error::custom("too many"));
                    }
                    few.push(one);
                }
                Ok(Few(few))
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

fn log_metric(door: &Door, request: &Request) -> ApiResult<Answer> {
    if let Ok(body) = serde_json::from_slice::<MetricBody<'_>>(&request.body)
        && !body.run_id.0.is_empty()
    {
        door.mlflow.log_metric(&body.run_id.0, &body.metric())?;
        return Ok(Answer::Nothing);
    }
    let fields = request.fields()?;
    let id = fields.run_id()?;
    door.mlflow.log_metric(id, &metric_of(&fields)?)?;
    Ok(Answer::Nothing)
}

fn metric_of<'f>(fields: &'f Fields<'_>) -> ApiResult<NewMetric<'f>> {
    Ok(NewMetric {
        key: fields.required("key")?,
        value: fields.required_double("value")?,
        timestamp: fields.required_int("timestamp")?,
        step: fields.int("step")?.unwrap_or_default(),
        model_id: fields.text("model_id")?,
        dataset_name: fields.text("dataset_name")?,
        dataset_digest: fields.text("dataset_digest")?,
    })
}

fn log_batch(door: &Door, request: &Request) -> ApiResult<Answer> {
    let owned = |pairs: &[PairBody<'_>]| -> Vec<(String, String)> {
        pairs.iter().map(|pair| (pair.key.0.clone().into_owned(), pair.value.0.clone().into_owned())).collect()
    };
    if let Ok(body) = serde_json::from_slice::<LogBatchBody<'_>>(&request.body) {
        let metrics: Vec<NewMetric<'_>> = body.metrics.0.iter().map(MetricBody::metric).collect();
        door.mlflow.log_batch(&body.run_id.0, &metrics, &owned(&body.params.0), &owned(&body.tags.0))?;
        return Ok(Answer::Nothing);
    }
    let fields = match request.fields() {
        Ok(fields) => fields,
        Err(refused) => {
            // Values in an oversized batch are counted, as in MLflow.
            if let Some([metrics, params, tags]) = json::list_lengths(&request.body, ["metrics", "params", "tags"]) {
                names::batch_sizes(metrics, params, tags)?;
            }
            return Err(refused);
        }
    };
    let id = fields.required("run_id")?;
    let metrics = fields.objects("metrics")?;
    let metrics: Vec<NewMetric<'_>> = metrics.iter().map(metric_of).collect::<ApiResult<_>>()?;
    door.mlflow.log_batch(id, &metrics, &fields.pairs("params")?, &fields.pairs("tags")?)?;
    Ok(Answer::Nothing)
}

/// Points being written to an answer, `{"metrics": [...]`.
struct Points<'a> {
    out: Writer,
    key: &'a str,
}

impl Points<'_> {
    fn put(&mut self, run: Option<&str>, columns: &MetricColumns) -> ApiResult<()> {
        for i in 0..columns.steps.len() {
            self.out.put(if self.out.is_empty() { b"{\"metrics\":[" } else { b"," })?;
            self.out.json(&MetricJson {
                key: self.key,
                value: columns.values[i],
                timestamp: columns.timestamps[i],
                step: columns.steps[i],
                model_id: None,
                dataset_name: None,
                dataset_digest: None,
                run_id: run,
            })?;
        }
        Ok(())
    }

    fn finish(mut self, next_page_token: Option<&str>) -> ApiResult<Answer> {
        if self.out.is_empty() {
            return Ok(Answer::Nothing);
        }
        self.out.put(b"]")?;
        if let Some(token) = next_page_token {
            self.out.put(b",\"next_page_token\":")?;
            self.out.json(&token)?;
        }
        self.out.put(b"}")?;
        self.out.finish().map(Answer::from)
    }
}

fn history(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (id, key) = (fields.run_id()?, fields.required("metric_key")?);
    let mut points = Points { out: door.writer(), key };
    let max_results = match fields.text("max_results") {
        Ok(Some("")) => None,
        _ => fields.int("max_results")?,
    };
    if let Some(limit) = max_results {
        names::positive("max_results", limit)?;
    }
    let token = fields.text("page_token")?;
    let next =
        door.mlflow.metric_history_each(id, key, max_results, token, &mut |columns| points.put(None, columns))?;
    points.finish(next.as_deref())
}

fn metrics_answer(door: &Door, metrics: &[Metric]) -> ApiResult<Answer> {
    door.answer(&Named("metrics", metrics.iter().map(MetricJson::from).collect::<Vec<_>>()))
}

fn history_bulk(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let ids = fields.texts("run_id")?;
    if ids.is_empty() {
        return Err(ApiError::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if ids.len() > BULK_RUNS_MAX {
        return Err(ApiError::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {BULK_RUNS_MAX} run_ids. Received {} run_ids.",
            ids.len()
        )));
    }
    let key = fields.text("metric_key")?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| ApiError::invalid("GetMetricHistoryBulk request must specify a metric_key."))?;
    metrics_answer(door, &door.mlflow.metric_history_bulk(&ids, key, fields.int("max_results")?)?)
}

fn history_interval(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let ids = fields.texts("run_ids")?;
    if ids.is_empty() {
        return Err(fields.missing("run_ids"));
    }
    let key = fields.required("metric_key")?;
    let steps = match (fields.int("start_step")?, fields.int("end_step")?) {
        (None, None) => None,
        (Some(start), Some(end)) => Some((start, end)),
        _ => {
            let message = "If either start step or end step are specified, both must be specified.";
            return Err(ApiError::invalid(message));
        }
    };
    let mut points = Points { out: door.writer(), key };
    let max_results = fields.int("max_results")?;
    door.mlflow.metric_history_interval_each(&ids, key, steps, max_results, &mut |run, columns| {
        points.put(Some(run), columns)
    })?;
    points.finish(None)
}
