//! What MLflow hands to its stores, as plain values: entities by their attributes, texts that may be numbers, and what
//! is refused before a store sees it.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString, PyType};
use pyo3::{Borrowed, intern};
use runlode::mlflow::entity::{Tag, View};
use runlode::mlflow::{ApiError, ApiResult, ErrorCode, LongValues, NewMetric, names};
use runlode::{LoggedModelStatus, RunStatus};

use crate::errors::{Raise, raised};

/// Arguments that are texts, whatever they were made of.
macro_rules! texts_of_their_own {
    ($($name:ident),*) => {$(
        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

texts_of_their_own!(Text, ExperimentId, Version, Token);

/// A text, or what `str()` makes of a thing that is none: ids and versions may be numbers.
#[derive(Debug)]
pub(crate) struct Text(String);

impl<'a, 'py> FromPyObject<'a, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(match object.cast::<PyString>() {
            Ok(text) => text.to_str()?.to_owned(),
            Err(_) => object.str()?.to_str()?.to_owned(),
        }))
    }
}

/// An experiment's id; `None` and what else is empty is that of the first one.
#[derive(Debug)]
pub(crate) struct ExperimentId(String);

impl<'a, 'py> FromPyObject<'a, 'py> for ExperimentId {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if !object.is_truthy()? {
            return Ok(Self("0".to_owned()));
        }
        Ok(Self(object.extract::<Text>()?.0))
    }
}

/// A version's number: a text, or what Python makes an integer of.
#[derive(Debug)]
pub(crate) struct Version(String);

impl<'a, 'py> FromPyObject<'a, 'py> for Version {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(number) = object.extract::<i64>() {
            return Ok(Self(number.to_string()));
        }
        // What is no integer is refused with its own text.
        let number = object.py().get_type::<PyInt>().call1((object,)).and_then(|number| number.str());
        Ok(Self(number.or_else(|_| object.str())?.to_str()?.to_owned()))
    }
}

/// The token of a page, which MLflow's own stores hand out as bytes.
#[derive(Debug)]
pub(crate) struct Token(String);

impl<'a, 'py> FromPyObject<'a, 'py> for Token {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self(String::from_utf8_lossy(bytes.as_bytes()).into_owned()));
        }
        match object.cast::<PyString>() {
            Ok(text) => Ok(Self(text.to_str()?.to_owned())),
            Err(_) => Err(raised(object.py(), &ApiError::invalid("Invalid page token, could not base64-decode"))),
        }
    }
}

/// What becomes of overlong values, as the environment says now: it may have changed since the store was opened.
pub(crate) fn fit(path: &str, value: String, limit: usize) -> ApiResult<String> {
    if value.len() <= limit {
        return Ok(value);
    }
    names::value(path, &value, limit, LongValues::of_environment()).map(str::to_owned)
}

/// Params, their values as long as they may be.
pub(crate) fn params(objects: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Tag>> {
    let mut params = Vec::new();
    if let Some(objects) = objects.filter(|objects| !objects.is_none()) {
        for (i, object) in objects.try_iter()?.enumerate() {
            params.push(param(&object?, || format!("params[{i}].key"))?);
        }
    }
    Ok(params)
}

/// A param. Unlike a tag, it needs a value.
pub(crate) fn param(object: &Bound<'_, PyAny>, parameter: impl Fn() -> String) -> PyResult<Tag> {
    let py = object.py();
    if object.getattr(intern!(py, "key"))?.is_none() {
        let error = names::invalid_value(&parameter(), "", "A key name must be provided.");
        return Err(raised(py, &error));
    }
    if object.getattr(intern!(py, "value"))?.is_none() {
        return Err(raised(py, &ApiError::new(ErrorCode::BadRequest, names::missing("value").message)));
    }
    let (key, value) = tag(object, &parameter)?;
    if value.len() > names::PARAM_VALUE_CHARS_MAX {
        names::param_key(&parameter(), &key).or_raise(py)?;
    }
    let value = fit("Param value", value, names::PARAM_VALUE_CHARS_MAX).or_raise(py)?;
    Ok((key, value))
}

/// Run tags, their values as long as they may be.
pub(crate) fn run_tags(objects: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Tag>> {
    let mut made = tags(objects, "tags")?;
    for (i, (key, value)) in made.iter_mut().enumerate() {
        if let Err(error) = fit_tag(key, value, || format!("tags[{i}]."))
            && let Some(objects) = objects
        {
            return Err(raised(objects.py(), &error));
        }
    }
    Ok(made)
}

/// Makes a run tag's value as long as it may be; `at` is how its place is called.
pub(crate) fn fit_tag(key: &str, value: &mut String, at: impl Fn() -> String) -> ApiResult<()> {
    if value.len() <= names::TAG_VALUE_CHARS_MAX {
        return Ok(());
    }
    let at = at();
    names::tag_key(&format!("{at}key"), key)?;
    *value = fit(&format!("{at}value"), std::mem::take(value), names::TAG_VALUE_CHARS_MAX)?;
    Ok(())
}

/// The text in an object that is known to be one; `parameter` is what it is called when it is not.
pub(crate) fn text<'a>(object: &'a Bound<'_, PyAny>, parameter: &str) -> PyResult<&'a str> {
    if let Ok(text) = object.cast::<PyString>() {
        return text.to_str();
    }
    let py = object.py();
    let error = if object.is_none() {
        names::missing(parameter)
    } else {
        ApiError::invalid(format!("Invalid value {} for parameter '{parameter}' supplied.", json(object)))
    };
    Err(raised(py, &error))
}

/// A text that may be absent; what is neither is made one.
fn optional_text<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Option<Cow<'a, str>>> {
    if object.is_none() {
        return Ok(None);
    }
    Ok(Some(match object.cast::<PyString>() {
        Ok(text) => Cow::Borrowed(text.to_str()?),
        Err(_) => Cow::Owned(object.str()?.to_str()?.to_owned()),
    }))
}

/// How MLflow's messages show a value; empty if it cannot be shown, as it is part of an error already.
fn json(object: &Bound<'_, PyAny>) -> String {
    let options = PyDict::new(object.py());
    let dumped = options.set_item("separators", (",", ":")).and_then(|()| options.set_item("sort_keys", true));
    let shown = dumped
        .and_then(|()| object.py().import("json"))
        .and_then(|json| json.call_method("dumps", (object,), Some(&options)));
    let shown = shown.or_else(|_| object.repr().map(Bound::into_any));
    shown.map(|shown| shown.to_string()).unwrap_or_default()
}

/// Entities with a key and a value. A value that is no text becomes one.
pub(crate) fn tags(objects: Option<&Bound<'_, PyAny>>, parameter: &str) -> PyResult<Vec<Tag>> {
    let Some(objects) = objects.filter(|objects| !objects.is_none()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (i, object) in objects.try_iter()?.enumerate() {
        out.push(tag(&object?, || format!("{parameter}[{i}].key"))?);
    }
    Ok(out)
}

/// An entity with a key and a value.
pub(crate) fn tag(object: &Bound<'_, PyAny>, parameter: impl Fn() -> String) -> PyResult<Tag> {
    let py = object.py();
    let key = object.getattr(intern!(py, "key"))?;
    let value = object.getattr(intern!(py, "value"))?;
    let key = match key.cast::<PyString>() {
        Ok(key) => key.to_str()?.to_owned(),
        Err(_) => text(&key, &parameter())?.to_owned(),
    };
    Ok((key, optional_text(&value)?.unwrap_or_default().into_owned()))
}

/// A list of texts, or of what becomes one. `None` is empty.
pub(crate) fn texts(objects: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(objects) = objects.filter(|objects| !objects.is_none()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for object in objects.try_iter()? {
        out.push(object?.extract::<Text>()?.0);
    }
    Ok(out)
}

/// The objects of a metric's attributes; [`MetricParts::metric`] reads them without a copy.
pub(crate) struct MetricParts<'py> {
    key: Bound<'py, PyAny>,
    value: f64,
    timestamp: i64,
    step: i64,
    model_id: Option<Bound<'py, PyAny>>,
    dataset_name: Option<Bound<'py, PyAny>>,
    dataset_digest: Option<Bound<'py, PyAny>>,
}

impl<'py> MetricParts<'py> {
    /// The attributes of `mlflow.entities.Metric`. `private`: the class is known to keep them with an underscore before.
    /// `path` is how a batch calls the metric in messages.
    pub(crate) fn of(object: &Bound<'py, PyAny>, private: bool, path: impl Fn() -> String) -> PyResult<Self> {
        let py = object.py();
        macro_rules! attribute {
            ($public:literal, $private:literal) => {
                if private { intern!(py, $private) } else { intern!(py, $public) }
            };
        }
        let key = object.getattr(attribute!("key", "_key"))?;
        let value = object.getattr(attribute!("value", "_value"))?;
        let timestamp = object.getattr(attribute!("timestamp", "_timestamp"))?;
        let step = object.getattr(attribute!("step", "_step"))?;
        // Older classes have not all of these.
        let given = |name| Ok::<_, PyErr>(object.getattr_opt(name)?.filter(|found| !found.is_none()));
        let model_id = given(attribute!("model_id", "_model_id"))?;
        let dataset_name = given(attribute!("dataset_name", "_dataset_name"))?;
        let dataset_digest = given(attribute!("dataset_digest", "_dataset_digest"))?;
        let number = match value.cast_exact::<PyFloat>() {
            Ok(value) => value.value(),
            Err(_) => metric_value(&key, &value, &timestamp, &path)?,
        };
        let timestamp_ms = match timestamp.extract::<i64>() {
            Ok(number) => number,
            Err(_) => metric_integer(&key, &value, &timestamp, &path, "timestamp")?,
        };
        let step_number = match step.extract::<i64>() {
            Ok(number) => number,
            Err(_) => metric_integer(&key, &value, &step, &path, "step")?,
        };
        if key.cast::<PyString>().is_err() {
            metric_name(&key, &path)?;
        }
        if timestamp_ms < 0 && value.cast_exact::<PyFloat>().is_err() {
            // Said here, where it is known how the value was given.
            return Err(refused_integer(&key, &value, &timestamp, &path, "timestamp")?);
        }
        Ok(Self {
            key,
            value: number,
            timestamp: timestamp_ms,
            step: step_number,
            model_id,
            dataset_name,
            dataset_digest,
        })
    }

    /// As a store takes it.
    pub(crate) fn metric(&self) -> PyResult<NewMetric<'_>> {
        fn given<'a>(object: &'a Option<Bound<'_, PyAny>>, parameter: &str) -> PyResult<Option<&'a str>> {
            object.as_ref().map(|object| text(object, parameter)).transpose()
        }
        Ok(NewMetric {
            key: text(&self.key, "name")?,
            value: self.value,
            timestamp: self.timestamp,
            step: self.step,
            model_id: given(&self.model_id, "model_id")?,
            dataset_name: given(&self.dataset_name, "dataset_name")?,
            dataset_digest: given(&self.dataset_digest, "dataset_digest")?,
        })
    }
}

fn at(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

static NUMBER: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// What Python calls a number; a truth value is none here.
fn is_number(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(!object.is_instance_of::<PyBool>() && object.is_instance(NUMBER.import(object.py(), "numbers", "Number")?)?)
}

#[cold]
fn metric_value(
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    timestamp: &Bound<'_, PyAny>,
    path: impl Fn() -> String,
) -> PyResult<f64> {
    // The name is looked at first, as MLflow does.
    metric_name(key, &path)?;
    let parameter = at(&path(), "value");
    if value.is_none() {
        return Err(raised(value.py(), &names::missing(&parameter)));
    }
    if is_number(value)?
        && let Ok(number) = value.extract()
    {
        return Ok(number);
    }
    let error = ApiError::invalid(format!(
        "Invalid value {} for parameter '{parameter}' supplied: (timestamp={timestamp}). Please specify value as a valid \
         double (64-bit floating point)",
        json(value)
    ));
    Err(raised(value.py(), &error))
}

/// A time or a step that is no integer: other numbers lose their fraction.
#[cold]
fn metric_integer(
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    given: &Bound<'_, PyAny>,
    path: impl Fn() -> String,
    field: &str,
) -> PyResult<i64> {
    metric_name(key, &path)?;
    if (given.is_instance_of::<PyBool>() || is_number(given)?)
        && let Ok(number) = given.call_method0("__int__").and_then(|number| number.extract())
    {
        return Ok(number);
    }
    Err(refused_integer(key, value, given, path, field)?)
}

/// A time or a step that cannot be.
fn refused_integer(
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    given: &Bound<'_, PyAny>,
    path: impl Fn() -> String,
    field: &str,
) -> PyResult<PyErr> {
    let name = text(key, &at(&path(), "name"))?;
    names::key(&at(&path(), "name"), name).or_raise(key.py())?;
    let rule = if field == "step" {
        "Step must be a valid long (64-bit integer)."
    } else {
        "Timestamp must be a nonnegative long (64-bit integer) "
    };
    let parameter = at(&path(), field);
    let error = ApiError::invalid(format!(
        "Invalid value {} for parameter '{parameter}' supplied: metric '{key}' (value={value}). {rule}",
        json(given)
    ));
    Ok(raised(given.py(), &error))
}

/// Refuses what is no name of a metric.
fn metric_name(key: &Bound<'_, PyAny>, path: impl Fn() -> String) -> PyResult<()> {
    let parameter = at(&path(), "name");
    if key.is_none() {
        let error = ApiError::invalid(format!(
            "Invalid value null for parameter '{parameter}' supplied: Metric name cannot be None. A key name must be \
             provided."
        ));
        return Err(raised(key.py(), &error));
    }
    text(key, &parameter).map(drop)
}

/// Which lifecycle stages are shown, of MLflow's number.
pub(crate) fn view(number: i32) -> ApiResult<View> {
    match number {
        1 => Ok(View::ActiveOnly),
        2 => Ok(View::DeletedOnly),
        3 => Ok(View::All),
        other => Err(ApiError::invalid(format!("Invalid view type {other}: it is 1, 2 or 3"))),
    }
}

/// A run's status, of MLflow's number or name.
pub(crate) fn run_status(object: &Bound<'_, PyAny>) -> PyResult<RunStatus> {
    let shown = object.str()?;
    Ok(match shown.to_str()? {
        "1" | "RUNNING" => RunStatus::Running,
        "2" | "SCHEDULED" => RunStatus::Scheduled,
        "3" | "FINISHED" => RunStatus::Finished,
        "4" | "FAILED" => RunStatus::Failed,
        "5" | "KILLED" => RunStatus::Killed,
        other => {
            let error = ApiError::invalid(format!(
                "Could not get string corresponding to run status {other}. Valid run statuses: [1, 2, 3, 4, 5]"
            ));
            return Err(raised(object.py(), &error));
        }
    })
}

/// A logged model's status: MLflow's enum, or its number.
pub(crate) fn logged_model_status(object: &Bound<'_, PyAny>) -> PyResult<LoggedModelStatus> {
    let number: i64 = match object.getattr("to_int") {
        Ok(to_int) => to_int.call0()?.extract()?,
        Err(_) => object.extract()?,
    };
    match number {
        0 => Ok(LoggedModelStatus::Unspecified),
        1 => Ok(LoggedModelStatus::Pending),
        2 => Ok(LoggedModelStatus::Ready),
        3 => Ok(LoggedModelStatus::UploadFailed),
        other => Err(ApiError::invalid(format!("Unknown model status: {other}"))).or_raise(object.py()),
    }
}
