//! What a client sent, as MLflow's server reads it.
//!
//! - A body is one JSON object. Broken JSON, `null` and nothing are an empty one, so that the answer names the first
//!   missing field; where no field is required they are refused ([`Request::object`]), or they would make something; a JSON text that holds JSON is read again; bare `NaN` and `Infinity` mean what they say.
//! - Fields are read in snake_case and camelCase. Numbers may come as text. Unknown fields are passed over.
//! - In a query a repeated name is a list, and everything is text.
//!
//! [`Fields`] checks types and names the field in its errors; `path` is where a nested object stands (`metrics[0]`).

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode;
use runlode::mlflow::{ApiError, ApiResult};
use serde_json::{Map, Value};

const SEE_DOCS: &str = "See the API docs for more information about request parameters.";

/// One request, read whole.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Body, as it came; empty for GET.
    pub(crate) body: Bytes,
    /// Query, still encoded.
    pub(crate) query: String,
    /// Named parts of the path, decoded.
    pub(crate) path: Vec<(String, String)>,
    /// Who asks: address, and user where one is known. For creation credits.
    pub(crate) client: String,
    /// Whether fields stand in the body (else in the query).
    pub(crate) fields_in_body: bool,
}

impl Request {
    /// A named part of the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(part, _)| part == name).map_or("", |(_, value)| value)
    }

    /// The fields of the request.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` when the body is JSON but no object.
    pub(crate) fn fields(&self) -> ApiResult<Fields> {
        if self.fields_in_body { Fields::from_body(&self.body) } else { Ok(self.query_fields()) }
    }

    /// The fields of a request that would make something even if none were given: they must be said, if only as `{}`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` when the body is no JSON object.
    pub(crate) fn object(&self) -> ApiResult<Fields> {
        let no_object = || {
            let what = if self.body.is_empty() { "it is empty" } else { "it is not JSON" };
            ApiError::invalid(format!("The request body must be a JSON object; {what}. {SEE_DOCS}"))
        };
        Fields::read_body(&self.body)?.ok_or_else(no_object)
    }

    /// The fields of the query, whatever the method.
    pub(crate) fn query_fields(&self) -> Fields {
        let mut map: Map<String, Value> = Map::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = Value::String(decoded(value));
            match map.entry(decoded(name)).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(values) => values.push(value),
                other => *other = Value::Array(vec![value]),
            }
        }
        Fields { map, path: String::new(), from_query: true }
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
}

/// The fields of an object, or of a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    path: String,
    /// Every value is a list of texts.
    from_query: bool,
}

impl Fields {
    /// Of a body.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` when it is JSON but no object.
    pub(crate) fn from_body(body: &[u8]) -> ApiResult<Self> {
        Ok(Self::read_body(body)?.unwrap_or_default())
    }

    /// As [`Fields::from_body`]; `None` for what is read as an empty object without being one.
    fn read_body(body: &[u8]) -> ApiResult<Option<Self>> {
        let mut value = parse_json(body);
        if let Some(Value::String(inner)) = &value {
            value = parse_json(inner.as_bytes());
        }
        match value {
            Some(Value::Object(map)) => Ok(Some(Self { map, path: String::new(), from_query: false })),
            None | Some(Value::Null) => Ok(None),
            Some(other) => Err(ApiError::invalid(format!(
                "The request body must be a JSON object, got a value of type '{}'. {SEE_DOCS}",
                python_type(&other)
            ))),
        }
    }

    /// All of them, as JSON.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Where a field stands, for messages.
    pub(crate) fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The value of a field, under either spelling; null is absent. In a query the last one counts.
    fn value(&self, name: &str) -> ApiResult<Option<&Value>> {
        let camel = camel_case(name);
        let value = match (self.map.get(name), camel.as_ref().filter(|camel| *camel != name)) {
            (Some(value), Some(camel)) if self.map.contains_key(camel.as_ref() as &str) => {
                let _ = value;
                return Err(ApiError::invalid(format!(
                    "Request specifies both '{name}' and '{camel}'; provide only one of them."
                )));
            }
            (Some(value), _) => Some(value),
            (None, Some(camel)) => self.map.get(camel.as_ref() as &str),
            (None, None) => None,
        };
        Ok(match value {
            Some(Value::Array(values)) if self.from_query => values.last(),
            Some(Value::Null) => None,
            value => value,
        })
    }

    /// Whether the field is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_ok_and(|value| value.is_some())
    }

    /// A required field is not there.
    pub(crate) fn missing(&self, name: &str) -> ApiError {
        ApiError::invalid(format!("Missing value for required parameter '{}'. {SEE_DOCS}", self.place(name)))
    }

    fn wrong(&self, name: &str, value: &Value) -> ApiError {
        ApiError::invalid(format!(
            "Invalid value {} for parameter '{}' supplied:  Hint: Value was of type '{}'. {SEE_DOCS}",
            compact(value),
            self.place(name),
            python_type(value)
        ))
    }

    /// A text, if it is there.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for another type.
    pub(crate) fn text(&self, name: &str) -> ApiResult<Option<&str>> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A text that must be there, and not be empty.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required(&self, name: &str) -> ApiResult<&str> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// A text that must be there, and may be empty.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn present(&self, name: &str) -> ApiResult<&str> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A 64-bit integer, if it is there: a number or numeric text.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn int(&self, name: &str) -> ApiResult<Option<i64>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let int = match value {
            // 2.0 is an integer, as protobuf reads it; 2.5 is none.
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        int.map(Some).ok_or_else(|| self.wrong(name, value))
    }

    /// A 64-bit integer that must be there.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required_int(&self, name: &str) -> ApiResult<i64> {
        self.int(name)?.ok_or_else(|| self.missing(name))
    }

    /// A double that must be there: a number, numeric text, `"NaN"`, `"Infinity"`, or a truth value.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required_double(&self, name: &str) -> ApiResult<f64> {
        let value = self.value(name)?.ok_or_else(|| self.missing(name))?;
        let double = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => double(text),
            Value::Bool(truth) => Some(f64::from(*truth)),
            _ => None,
        };
        double.ok_or_else(|| self.wrong(name, value))
    }

    /// A truth value, if it is there; in a query in any case.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn truth(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::String(text)) if self.from_query && text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if self.from_query && text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of texts; empty if absent. In a query: every value of the name.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn texts(&self, name: &str) -> ApiResult<Vec<String>> {
        let list = if self.from_query { self.map.get(name) } else { self.value(name)? };
        match list {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(list @ Value::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text.clone()),
                    // MLflow's clients send experiment ids as numbers now and then.
                    Value::Number(number) => Ok(number.to_string()),
                    _ => Err(self.wrong(name, list)),
                })
                .collect(),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of objects; empty if absent.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn objects(&self, name: &str) -> ApiResult<Vec<Self>> {
        match self.value(name)? {
            None => Ok(Vec::new()),
            Some(list @ Value::Array(values)) => values
                .iter()
                .enumerate()
                .map(|(i, value)| match value {
                    Value::Object(map) => {
                        let path = self.place(&format!("{name}[{i}]"));
                        Ok(Self { map: map.clone(), path, from_query: false })
                    }
                    _ => Err(self.wrong(name, list)),
                })
                .collect(),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// An object; an empty one if absent.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn object(&self, name: &str) -> ApiResult<Self> {
        match self.value(name)? {
            None => Ok(Self { path: self.place(name), ..Self::default() }),
            Some(Value::Object(map)) => Ok(Self { map: map.clone(), path: self.place(name), from_query: false }),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of objects with key and value, both texts; the value may be absent and is then empty.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`; a missing key is named by its place (`tags[0].key`).
    pub(crate) fn pairs(&self, name: &str) -> ApiResult<Vec<(String, String)>> {
        let pair = |fields: Self| {
            let value = fields.text("value")?.unwrap_or_default().to_owned();
            Ok((fields.required("key")?.to_owned(), value))
        };
        self.objects(name)?.into_iter().map(pair).collect()
    }

    /// An enum's number: by name or number. An unknown name counts as absent, an unknown number is refused.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn one_of<T: Copy>(&self, name: &str, all: &[(&str, i64, T)]) -> ApiResult<Option<T>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let number = match value {
            Value::String(text) => match text.parse::<i64>() {
                Ok(number) => number,
                Err(_) => return Ok(all.iter().find(|(known, ..)| known == text).map(|(.., item)| *item)),
            },
            Value::Number(number) => number.as_i64().ok_or_else(|| self.wrong(name, value))?,
            other => return Err(self.wrong(name, other)),
        };
        let found = all.iter().find(|(_, known, _)| *known == number);
        found.map(|(.., item)| Some(*item)).ok_or_else(|| self.wrong(name, value))
    }
}

fn whole(number: f64) -> Option<i64> {
    // The limits themselves come as integers; as doubles they are what was beyond them.
    let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
    fits.then_some(number as i64)
}

/// A double in text, as protobuf's JSON has it.
pub(crate) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" => Some(f64::NAN),
        "Infinity" | "inf" | "infinity" => Some(f64::INFINITY),
        "-Infinity" | "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        text if text.bytes().any(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// `artifact_location` as `artifactLocation`; `None` for names of one word.
fn camel_case(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains('_') {
        return None;
    }
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    Some(Cow::Owned(camel))
}

/// The JSON of a body; `None` if there is none that can be read.
fn parse_json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().or_else(|| serde_json::from_slice(&quote_bare_numbers(body)?).ok())
}

/// Puts bare `NaN`, `Infinity` and `-Infinity` (Python's `json` writes them) into quotes; `None` if there are none.
fn quote_bare_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() + 16);
    let (mut at, mut in_text, mut found) = (0, false, false);
    while at < body.len() {
        let byte = body[at];
        if in_text {
            out.push(byte);
            if byte == b'\\' && at + 1 < body.len() {
                at += 1;
                out.push(body[at]);
            } else if byte == b'"' {
                in_text = false;
            }
            at += 1;
            continue;
        }
        let word = [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|word| body[at..].starts_with(word));
        if let Some(word) = word {
            out.push(b'"');
            out.extend_from_slice(word);
            out.push(b'"');
            at += word.len();
            found = true;
            continue;
        }
        in_text = byte == b'"';
        out.push(byte);
        at += 1;
    }
    found.then_some(out)
}

/// A value as MLflow's messages print it: compact, sorted keys, cut where it is long.
fn compact(value: &Value) -> String {
    const MOST: usize = 1000;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// The name of a value's type in Python.
fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::from_body(body.as_bytes()).unwrap()
    }

    #[test]
    fn bodies() {
        for empty in ["", "null", "{bad", "{}", "NaN}"] {
            let text = fields(empty).required("name").unwrap_err().message;
            assert!(text.starts_with("Missing value for required parameter 'name'. See the API docs"), "{text}");
        }
        assert_eq!(fields(r#""{\"name\": \"x\"}""#).required("name").unwrap(), "x");
        assert!(Fields::from_body(b"[1]").is_err());
        assert!(fields(r#"{"value": NaN, "t": "NaN"}"#).required_double("value").unwrap().is_nan());
        assert_eq!(fields(r#"{"value": -Infinity}"#).required_double("value").unwrap(), f64::NEG_INFINITY);
        let deep = "[".repeat(100_000);
        assert!(fields(&deep).required("name").is_err());
    }

    #[test]
    fn types() {
        let text = fields(r#"{"name": 123}"#).required("name").unwrap_err().message;
        assert!(text.starts_with(
            "Invalid value 123 for parameter 'name' supplied:  Hint: Value was of type 'int'. See the API docs"
        ));
        let body = fields(r#"{"a": "12", "b": 2.0, "c": 2.5, "d": "x", "e": true, "f": "2.5"}"#);
        assert_eq!((body.int("a").unwrap(), body.int("b").unwrap()), (Some(12), Some(2)));
        assert!(body.int("c").is_err() && body.int("d").is_err() && body.int("e").is_err());
        assert_eq!((body.required_double("e").unwrap(), body.required_double("f").unwrap()), (1.0, 2.5));
        assert!(body.required_double("d").is_err());
    }

    #[test]
    fn spellings() {
        assert_eq!(fields(r#"{"artifactLocation": "x"}"#).text("artifact_location").unwrap(), Some("x"));
        let both = fields(r#"{"artifactLocation": "x", "artifact_location": "y"}"#);
        let text = both.text("artifact_location").unwrap_err().message;
        assert_eq!(
            text,
            "Request specifies both 'artifact_location' and 'artifactLocation'; provide only one of them."
        );
    }

    #[test]
    fn nested() {
        let body = fields(r#"{"metrics": [{"key": "m"}, {"value": "v"}], "tags": "foo"}"#);
        let metrics = body.objects("metrics").unwrap();
        assert!(metrics[0].required_double("value").unwrap_err().message.contains("parameter 'metrics[0].value'"));
        assert!(metrics[1].required("key").unwrap_err().message.contains("parameter 'metrics[1].key'"));
        assert!(body.objects("tags").unwrap_err().message.contains("Invalid value \"foo\" for parameter 'tags'"));
    }

    #[test]
    fn queries() {
        let request =
            Request { query: "run_ids=a&run_ids=b&max_results=5&x=%C3%A9+y".to_owned(), ..Request::default() };
        let query = request.fields().unwrap();
        assert_eq!(query.texts("run_ids").unwrap(), ["a", "b"]);
        assert_eq!((query.int("max_results").unwrap(), query.text("x").unwrap()), (Some(5), Some("é y")));
    }
}
