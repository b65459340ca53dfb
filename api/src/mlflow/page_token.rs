//! MLflow's paging tokens: base64 of `{"offset": n}`, bound to no query.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error::{ApiError, ApiResult};
use super::names::python_text;

/// The token of the page that begins after `offset` items.
pub fn page_token(offset: usize) -> String {
    text_token(&format!("{{\"offset\": {offset}}}"))
}

/// A token that contains a text.
pub fn text_token(text: &str) -> String {
    STANDARD.encode(text)
}

/// The offset in a token; 0 for a missing or empty token.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
///
/// ```
/// use runlode::mlflow::{page_offset, page_text, page_token, text_token};
///
/// assert_eq!(page_offset(Some(&page_token(40))).unwrap(), 40);
/// assert_eq!(page_offset(None).unwrap(), 0);
/// assert_eq!(page_text(&text_token("after run x")).unwrap(), "after run x");
/// ```
pub fn page_offset(token: Option<&str>) -> ApiResult<usize> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(0) };
    let bytes = page_bytes(token)?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|_| ApiError::invalid(format!("Invalid page token, decoded value={}", python_bytes(&bytes))))?;
    let parsed = || ApiError::invalid(format!("Invalid page token, parsed value={}", python_value(&value)));
    match value.get("offset") {
        Some(Value::String(text)) if !text.is_empty() => {
            text.trim().parse().map_err(|_| ApiError::invalid(format!("Invalid page token, not stringable {text}")))
        }
        Some(Value::Number(number)) => {
            // As Python's `int`: the fraction is dropped.
            let whole = number.as_u64().or_else(|| number.as_f64().filter(|number| *number > 0.0).map(|n| n as u64));
            let offset = whole.filter(|_| number.as_f64() != Some(0.0)).and_then(|offset| usize::try_from(offset).ok());
            offset.ok_or_else(parsed)
        }
        _ => Err(parsed()),
    }
}

/// A JSON value as Python prints it.
pub(super) fn python_value(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => python_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(python_value).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{}: {}", python_text(key), python_value(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

fn python_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("b'");
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\'' => out.push_str("\\'"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('\'');
    out
}

/// The text inside a token.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`: no base64, or no text in it.
pub fn page_text(token: &str) -> ApiResult<String> {
    String::from_utf8(page_bytes(token)?).map_err(|_| undecodable())
}

fn page_bytes(token: &str) -> ApiResult<Vec<u8>> {
    STANDARD.decode(token).map_err(|_| undecodable())
}

fn undecodable() -> ApiError {
    ApiError::invalid("Invalid page token, could not base64-decode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        assert_eq!(page_token(5), "eyJvZmZzZXQiOiA1fQ==");
        assert_eq!(page_offset(Some(&page_token(123))).unwrap(), 123);
        assert_eq!(page_offset(None).unwrap(), 0);
        assert_eq!(page_offset(Some("")).unwrap(), 0);
        assert_eq!(page_offset(Some(&text_token(r#"{"offset": 1.5}"#))).unwrap(), 1);
        let refused = |text: &str| page_offset(Some(&text_token(text))).unwrap_err().message;
        assert_eq!(refused(r#"{"offset": 0}"#), "Invalid page token, parsed value={'offset': 0}");
        assert_eq!(refused(r#"{"a": [null, "b'c"]}"#), "Invalid page token, parsed value={'a': [None, \"b'c\"]}");
        assert_eq!(refused("x\0'"), r"Invalid page token, decoded value=b'x\x00\''");
        assert!(refused(r#"{"offset": -1}"#).contains("parsed value={'offset': -1}"));
        assert!(page_offset(Some("e30=")).unwrap_err().message.contains("Invalid page token, parsed value={}"));
        let token = text_token("{\"offset\": \"x\"}");
        assert!(page_offset(Some(&token)).unwrap_err().message.contains("Invalid page token, not stringable x"));
        assert_eq!(page_offset(Some(&text_token("{\"offset\": \"7\"}"))).unwrap(), 7);
        assert!(page_offset(Some("!!")).unwrap_err().message.contains("could not base64-decode"));
    }
}
