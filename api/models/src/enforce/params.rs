//! Parameters of a request: each of the type that the signature has, defaults for the others.

use std::sync::Arc;

use super::error::{EnforceError, Refusal};
use super::moment;
use super::nested::{enforce_object, type_name};
use super::numpy;
use super::scalar::{is_scalar, to_float};
use crate::data::Value;
use crate::schema::{ParamSchema, ParamSpec, ParamType, Scalar};

/// The parameters that `predict` is handed: those given, in their order, then the defaults of the others. None if the
/// signature has no parameters; then those given are ignored.
///
/// ```
/// use runlode_models::Value;
/// use runlode_models::enforce::params;
/// use runlode_models::json;
/// use runlode_models::signature::ParamSchema;
///
/// let schema = ParamSchema::from_json(r#"[{"name": "t", "type": "double", "default": 0.5, "shape": null}]"#)?;
/// let given = params(Some(json::from_str(r#"{"t": 1}"#)?), Some(&schema))?;
/// assert_eq!(given, Some(vec![("t".into(), Value::Float(1.0))]));
/// let error = params(Some(json::from_str(r#"{"t": "1"}"#)?), Some(&schema)).unwrap_err();
/// assert_eq!(error.refusal.code(), "INVALID_PARAMETER_VALUE");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` names the parameter.
pub fn params(
    given: Option<Value>,
    schema: Option<&ParamSchema>,
) -> Result<Option<Vec<(String, Value)>>, EnforceError> {
    let Some(schema) = schema else { return Ok(None) };
    let given = match given {
        None | Some(Value::None) => Vec::new(),
        Some(Value::Dict(entries)) => entries,
        Some(other) => {
            let reason = "parameters are a map of values by name";
            return Err(EnforceError::new(Refusal::InvalidParameter, reason).with("dict", type_name(&other)));
        }
    };
    let mut params = Vec::with_capacity(schema.0.len());
    for (name, value) in given {
        let Some(spec) = schema.0.iter().find(|spec| spec.name == name) else { continue };
        params.push((name.to_string(), check_param(value, spec)?));
    }
    for spec in &schema.0 {
        if !params.iter().any(|(name, _)| **name == *spec.name) {
            params.push((spec.name.to_string(), spec.default.clone()));
        }
    }
    Ok(Some(params))
}

/// The value of a parameter, of its type. An integer widens to `float` and `double`; nothing else is converted but texts
/// of dates.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` for another type.
pub fn check_param(value: Value, spec: &ParamSpec) -> Result<Value, EnforceError> {
    let refused = |reason: String, found: &Value| {
        let expected = if spec.is_list { format!("a list of {}", spec.kind) } else { spec.kind.to_string() };
        EnforceError::new(Refusal::InvalidParameter, reason).with(expected, type_name(found)).in_column(&*spec.name)
    };
    let scalar = match &spec.kind {
        ParamType::Object(_) if spec.is_list => {
            return Err(refused("a parameter cannot be a list of objects".to_owned(), &value));
        }
        ParamType::Object(properties) => {
            // The value goes on as it came.
            enforce_object(value.clone(), properties, true).map_err(|fault| refused(fault.reason, &value))?;
            return Ok(value);
        }
        ParamType::Scalar(scalar) => *scalar,
    };
    if !spec.is_list {
        return check(&value, scalar).map_err(|reason| refused(reason.to_owned(), &value));
    }
    let Value::List(items) = &value else { return Err(refused("a list is expected".to_owned(), &value)) };
    match numpy::array(value.clone()) {
        // Lists of different lengths are an error of numpy, not one of parameters.
        Err(fault) => return Err(EnforceError::bad_request(fault.reason).in_column(&*spec.name)),
        Ok(array) if array.shape.len() != 1 => {
            return Err(refused("a list without lists in it is expected".to_owned(), &value));
        }
        Ok(_) => {}
    }
    let items = items.iter().map(|item| check(item, scalar).map_err(|reason| refused(reason.to_owned(), item)));
    items.collect::<Result<_, _>>().map(Value::List)
}

fn check(value: &Value, kind: Scalar) -> Result<Value, &'static str> {
    match (value, kind) {
        (Value::None, _) => Ok(Value::None),
        (_, Scalar::Datetime) => datetime(value),
        (other, _) if !is_scalar(other) => Err("a scalar is expected"),
        (Value::Bool(_), Scalar::Boolean)
        | (Value::Int(_) | Value::BigInt(_), Scalar::Integer | Scalar::Long)
        | (Value::Float(_), Scalar::Float | Scalar::Double)
        | (Value::Text(_), Scalar::String) => Ok(value.clone()),
        (Value::Int(_) | Value::BigInt(_), Scalar::Float | Scalar::Double) => to_float(value).map(Value::Float),
        _ => Err("the value cannot safely become the type"),
    }
}

/// `numpy.datetime64(value).item()`: a day is a date, a finer text a time down to microseconds, `NaT` is none.
fn datetime(value: &Value) -> Result<Value, &'static str> {
    let text: &Arc<str> = match value {
        Value::Text(text) => text,
        Value::Datetime(_) | Value::Date(_) => return Ok(value.clone()),
        _ => return Err("a date is a text in ISO 8601"),
    };
    let iso = moment::iso(text)?;
    let Some(nanos) = iso.nanos else { return Ok(Value::None) };
    if !(1..=9999).contains(&iso.year) {
        return Err("Python's dates have the years 1 to 9999");
    }
    if iso.is_date {
        return i32::try_from(iso.days).map(Value::Date).map_err(|_| "out of bounds");
    }
    if iso.fraction_digits > 6 {
        return Err("Python's times end at microseconds");
    }
    if !(1678..=2261).contains(&iso.year) {
        return Err("times reach from 1678 to 2261");
    }
    Ok(Value::Datetime(Some(nanos)))
}
