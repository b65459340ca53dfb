//! The JSON body of a scoring request: which of its fields holds the input.

use std::sync::Arc;

use super::error::{EnforceError, Refusal};
use super::inputs::{json_inputs, json_instances};
use super::nested::type_name;
use super::records::json_records;
use super::split::json_split;
use crate::data::{Input, Value};
use crate::schema::Signature;

/// What a body holds, after stage 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The input.
    pub data: Input,
    /// The parameters as they came.
    pub params: Option<Value>,
    /// Whether the body itself is the input (it has `messages`, `prompt` or `input`): then the answer is not wrapped in
    /// `predictions`.
    pub is_unwrapped: bool,
    /// Whether stage 2 leaves the input alone, since a type hint of the model checks it.
    pub is_checked_by_model: bool,
}

const FORMATS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];

/// Reads a body: exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`, perhaps `params`. Other
/// keys are ignored.
///
/// ```
/// use runlode_models::enforce::json_request;
/// use runlode_models::json;
/// use runlode_models::signature::Signature;
///
/// let body = json::from_str(r#"{"inputs": [1, 2], "params": {"t": 1}, "more": 0}"#)?;
/// let request = json_request(body, &Signature::default(), false)?;
/// assert!(request.params.is_some() && !request.is_unwrapped);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` for another body, and for what stage 1 refuses; `INVALID_PARAMETER_VALUE` where the model has a type hint
/// and the body no `inputs`.
pub fn json_request(body: Value, signature: &Signature, is_from_type_hint: bool) -> Result<Request, EnforceError> {
    let Value::Dict(entries) = body else {
        let reason = format!("the body is a map with exactly one of the keys {}", FORMATS.join(", "));
        return Err(EnforceError::bad_request(reason).with("dict", type_name(&body)));
    };
    if entries.iter().any(|(key, _)| matches!(&**key, "messages" | "prompt" | "input")) {
        return Ok(unwrapped(entries, signature, is_from_type_hint));
    }
    let (mut found, mut params) = (Vec::new(), None);
    let keys: Vec<Arc<str>> = entries.iter().map(|(key, _)| Arc::clone(key)).collect();
    for (key, value) in entries {
        match &*key {
            "params" => params = Some(value),
            format if FORMATS.contains(&format) => found.push((key, value)),
            _ => {}
        }
    }
    if is_from_type_hint {
        let Some((_, value)) = found.into_iter().find(|(key, _)| &**key == "inputs") else {
            let reason = format!("a model with a type hint takes `inputs`; the body has {keys:?}");
            return Err(EnforceError::new(Refusal::InvalidParameter, reason));
        };
        return Ok(Request { data: Input::Value(value), params, is_unwrapped: false, is_checked_by_model: true });
    }
    let one = if found.len() == 1 { found.pop() } else { None };
    let Some((format, value)) = one else {
        let reason = format!("the body has exactly one of the keys {}; it has {keys:?}", FORMATS.join(", "));
        return Err(EnforceError::bad_request(reason));
    };
    let schema = signature.inputs.as_ref();
    let data = match &*format {
        "dataframe_split" => json_split(value, schema),
        "dataframe_records" => json_records(value, schema),
        "instances" => json_instances(value, schema),
        _ => json_inputs(value, schema),
    }?;
    Ok(Request { data, params, is_unwrapped: false, is_checked_by_model: false })
}

/// The whole body is the input, without what the signature has as parameters.
fn unwrapped(entries: Vec<(Arc<str>, Value)>, signature: &Signature, is_checked_by_model: bool) -> Request {
    let is_param =
        |key: &str| signature.params.as_ref().is_some_and(|params| params.0.iter().any(|param| &*param.name == key));
    let (params, data): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| is_param(key));
    Request {
        data: Input::Value(Value::Dict(data)),
        params: Some(Value::Dict(params)),
        is_unwrapped: true,
        is_checked_by_model,
    }
}
