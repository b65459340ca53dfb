//! From a request's body to what the model is handed.
//!
//! ```text
//!                         schema of inputs                     none, or type hints
//! JSON, CSV, Parquet  ->  read, cast, enforce (Rust)       ->  typed by pandas and numpy in the model's process,
//!                                                              or as these would (Rust) where there is none
//! ```

use bytes::Bytes;
use runlode_models::enforce::{self, EnforceError};
use runlode_models::signature::{DataType, Scalar, Schema, Signature};
use runlode_models::{Input, Value, json};

use super::answer::Fault;
use super::content_type::Format;
use super::model::Model;
use super::parquet;
use super::queue::Work;
use crate::engine::{Untyped, UntypedForm};

/// The keys that hold a request's input.
const FORMATS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];
/// Keys that make the whole body the input.
const UNWRAPPED: [&str; 3] = ["messages", "prompt", "input"];

/// A request that the model can be asked.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) work: Work,
    pub(super) params: Option<Vec<(String, Value)>>,
    /// Whether the answer has no `predictions` around.
    pub(super) is_unwrapped: bool,
    /// What is answered if the input can be read: the params are refused.
    pub(super) fault: Option<Fault>,
}

impl From<EnforceError> for Fault {
    fn from(error: EnforceError) -> Self {
        Self::coded(400, error.refusal.code(), &error.to_string(), Some(error.refusal.class()))
    }
}

/// Reads a body as the model's signature says.
pub(super) fn prepare(model: &Model, format: Format, body: &Bytes) -> Result<Prepared, Fault> {
    let none = Signature::default();
    let signature = model.signature.as_ref().unwrap_or(&none);
    // Whether pandas and numpy, in the model's process, give types to the input.
    let is_untyped = model.engine.reads_untyped() && (signature.inputs.is_none() || model.is_by_type_hint);
    let untyped = |form| Work::Untyped(Untyped { form, body: body.clone(), is_only_read: false });
    let (work, given, is_unwrapped) = match format {
        Format::Json => return from_json(model, signature, is_untyped, body),
        Format::Csv if is_untyped => {
            std::str::from_utf8(body).map_err(not_utf8)?;
            (untyped(UntypedForm::Csv { dtypes: signature.inputs.as_ref().and_then(dtypes) }), None, false)
        }
        Format::Parquet if is_untyped => (untyped(UntypedForm::Parquet), None, false),
        Format::Csv => {
            let text = std::str::from_utf8(body).map_err(not_utf8)?;
            (Work::Typed(enforced(model, enforce::csv(text, signature.inputs.as_ref())?, signature)?), None, false)
        }
        Format::Parquet => {
            let frame = parquet::read(body.clone(), signature.inputs.as_ref())?;
            (Work::Typed(enforced(model, Input::Frame(frame), signature)?), None, false)
        }
    };
    let params = params(given, signature)?;
    Ok(Prepared { work, params, is_unwrapped, fault: None })
}

/// The parameters that the model is handed. A model without any is handed an empty dict if the request has some.
fn params(given: Option<Value>, signature: &Signature) -> Result<Option<Vec<(String, Value)>>, Fault> {
    let is_given = !matches!(given, None | Some(Value::None));
    let params = enforce::params(given, signature.params.as_ref())?;
    Ok(params.or_else(|| is_given.then(Vec::new)))
}

fn not_utf8(error: std::str::Utf8Error) -> Fault {
    Fault::bad_request(format!("Invalid input. Ensure that input is a valid UTF-8 encoded string. Error: {error}"))
}

fn enforced(model: &Model, input: Input, signature: &Signature) -> Result<Input, Fault> {
    // Without a schema nothing is enforced; with type hints the model does it.
    if model.is_by_type_hint || signature.inputs.is_none() {
        return Ok(input);
    }
    Ok(enforce::enforce(input, signature)?)
}

fn from_json(model: &Model, signature: &Signature, is_untyped: bool, body: &Bytes) -> Result<Prepared, Fault> {
    let read = json::from_slice(body).map_err(|error| {
        Fault::bad_request(format!("Invalid input. Ensure that input is a valid JSON formatted string. Error: {error}"))
    })?;
    if is_untyped
        && let Value::Dict(entries) = &read
        && let Some(form) = untyped_form(entries, model.is_by_type_hint)
    {
        let given = entries.iter().find(|(key, _)| &**key == "params").map(|(_, value)| value.clone());
        let (params, fault) = match params(given, signature) {
            Ok(params) => (params, None),
            // MLflow reports an unreadable input before refused params.
            Err(fault) => (None, Some(fault)),
        };
        let work = Work::Untyped(Untyped { form, body: body.clone(), is_only_read: fault.is_some() });
        return Ok(Prepared { work, params, is_unwrapped: false, fault });
    }
    let request = enforce::json_request(read, signature, model.is_by_type_hint)?;
    let input = if request.is_checked_by_model { request.data } else { enforced(model, request.data, signature)? };
    let params = params(request.params, signature)?;
    Ok(Prepared { work: Work::Typed(input), params, is_unwrapped: request.is_unwrapped, fault: None })
}

/// What the model's process reads the body as; none if it is refused, or needs no types.
fn untyped_form(entries: &[(std::sync::Arc<str>, Value)], is_by_type_hint: bool) -> Option<UntypedForm> {
    let has = |keys: &[&str]| entries.iter().filter(|(key, _)| keys.contains(&&**key)).count();
    if has(&UNWRAPPED) > 0 {
        return None;
    }
    if is_by_type_hint {
        return (has(&["inputs"]) > 0).then_some(UntypedForm::JsonByTypeHint);
    }
    (has(&FORMATS) == 1).then_some(UntypedForm::Json)
}

/// The dtypes that pandas reads a CSV file with, by the schema's names.
fn dtypes(schema: &Schema) -> Option<Vec<(String, String)>> {
    let Schema::Columns(columns) = schema else { return None };
    let dtype = |kind: &DataType| match kind {
        DataType::Scalar(Scalar::Datetime) => "datetime64[ns]",
        DataType::Scalar(Scalar::String | Scalar::Binary) => "object",
        DataType::Scalar(scalar) => scalar.dtype().name(),
        _ => "object",
    };
    let named = columns.iter().filter_map(|column| {
        let name = column.name.as_ref()?.to_string();
        Some((name, dtype(&column.kind).to_owned()))
    });
    Some(named.collect())
}
