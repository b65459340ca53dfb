//! A request, read as MLflow's server does.
//!
//! - A body is one JSON object. An empty body and `null` count as an empty object, so that the answer names the first
//!   missing field; calls without a required field refuse them ([`Request::object`]), since they would create
//!   something. A JSON text that contains JSON is read again; bare `NaN` and `Infinity` have their meaning. In a body
//!   that is not JSON every required field is missing, and no field is absent: so calls without required fields refuse
//!   it too.
//! - Fields are read in snake_case and camelCase. Numbers may come as text. Unknown fields are ignored. If a name comes
//!   twice, the last one counts.
//! - In a query a repeated name is a list, and everything is text. A GET without a query may have its fields in a JSON
//!   body instead; a body that is not JSON counts as empty there, because a GET changes nothing.
//!
//! [`Fields`] checks types and names the field in its errors; `path` is the place of a nested object (`metrics[0]`). It
//! borrows from the body: see [`crate::json`] for its memory and its limits.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use percent_encoding::percent_decode;
use runlode::mlflow::{ApiError, ApiResult};
use serde_json::{Map, Number, Value};

use crate::json::{self, Bad, DEPTH_MAX, Found, Kind, MEMBERS_MAX};

const SEE_DOCS: &str = "See the API docs for more information about request parameters.";

/// One complete request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The body as received; empty if the fields are in the query.
    pub(crate) body: Bytes,
    /// Query, still encoded.
    pub(crate) query: String,
    /// Named parts of the path, decoded.
    pub(crate) path: Vec<(String, String)>,
    /// The client: address, and user if known. For creation credits.
    pub(crate) client: String,
    /// Whether fields are in the body (else in the query).
    pub(crate) fields_in_body: bool,
    /// Whether the request only reads.
    pub(crate) is_read: bool,
    /// The JSON inside a JSON text.
    pub(crate) inner: OnceLock<String>,
}

impl Request {
    /// A named part of the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(part, _)| part == name).map_or("", |(_, value)| value)
    }

    /// The fields of the request.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` when the body is JSON but no object, or holds too much.
    pub(crate) fn fields(&self) -> ApiResult<Fields<'_>> {
        self.fields_of(MEMBERS_MAX)
    }

    /// The fields of a request whose body may hold this many values.
    ///
    /// # Errors
    /// As [`Request::fields`].
    pub(crate) fn fields_of(&self, members_max: usize) -> ApiResult<Fields<'_>> {
        if !self.fields_in_body {
            return Ok(self.query_fields());
        }
        let fields = self.body_fields(members_max)?;
        Ok(if self.is_read && fields.is_broken { Fields::default() } else { fields })
    }

    fn body_fields(&self, members_max: usize) -> ApiResult<Fields<'_>> {
        let Some(mut found) = find(std::str::from_utf8(&self.body).ok(), members_max)? else {
            return Ok(Fields::broken());
        };
        if matches!(found.kind, Kind::Text { .. } | Kind::Bare) {
            let inner = self.inner.get_or_init(|| found.unquoted().into_owned());
            found = match find(Some(inner), members_max)? {
                Some(found) => found,
                None => return Ok(Fields::broken()),
            };
        }
        match found.kind {
            Kind::Object => Ok(Fields::of(found, String::new())),
            Kind::Null => Ok(Fields::default()),
            _ => Err(ApiError::invalid(format!(
                "The request body must be a JSON object, got a value of type '{}'. {SEE_DOCS}",
                Item::of(found).python_type()
            ))),
        }
    }

    /// The fields of a request that creates something even without any field: the body must be given, at least as `{}`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` when the body is no JSON object.
    pub(crate) fn object(&self) -> ApiResult<Fields<'_>> {
        let fields = self.body_fields(MEMBERS_MAX)?;
        if fields.is_broken {
            return Err(no_json());
        }
        if fields.json.is_empty() {
            return Err(ApiError::invalid(format!("The request body must be a JSON object; it is empty. {SEE_DOCS}")));
        }
        Ok(fields)
    }

    /// The fields of the query, whatever the method.
    pub(crate) fn query_fields(&self) -> Fields<'static> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let members = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (Cow::Owned(decoded(name)), Item::Text(Cow::Owned(decoded(value))))
        });
        Fields { members: members.collect(), from_query: true, ..Fields::default() }
    }
}

fn no_json() -> ApiError {
    ApiError::invalid(format!("The request body is not valid JSON: send one JSON object. {SEE_DOCS}"))
}

/// The value of a body; `None`: it is not JSON. An empty body is null.
fn find(body: Option<&str>, members_max: usize) -> ApiResult<Option<Found<'_>>> {
    let Some(body) = body else { return Ok(None) };
    if body.trim_ascii().is_empty() {
        return Ok(Some(Found { text: "null", kind: Kind::Null }));
    }
    match json::find_within(body, members_max) {
        Ok(found) => Ok(Some(found)),
        Err(Bad::Syntax) => Ok(None),
        Err(Bad::Deep) => {
            Err(ApiError::invalid(format!("The request body nests deeper than {DEPTH_MAX} levels. {SEE_DOCS}")))
        }
        Err(Bad::Large) => Err(ApiError::invalid(format!(
            "The request body holds more than {members_max} values; split it into several requests."
        ))),
    }
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
}

/// A value; nested values are not parsed yet.
#[derive(Debug, Clone)]
enum Item<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    /// A list or an object.
    Nested(Found<'a>),
}

impl<'a> Item<'a> {
    fn of(found: Found<'a>) -> Self {
        match found.kind {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(found.text == "true"),
            Kind::Number => Self::Number(found.text),
            Kind::Text { .. } | Kind::Bare => Self::Text(found.unquoted()),
            Kind::List { .. } | Kind::Object => Self::Nested(found),
        }
    }

    /// The name of its type in Python.
    fn python_type(&self) -> &'static str {
        match self {
            Self::Null => "NoneType",
            Self::Bool(_) => "bool",
            Self::Number(text) => match text.parse::<Number>() {
                Ok(number) if !number.is_f64() => "int",
                _ => "float",
            },
            Self::Text(_) => "str",
            Self::Nested(found) if found.kind == Kind::Object => "dict",
            Self::Nested(_) => "list",
        }
    }

    /// The form in MLflow's messages: compact, sorted keys, cut if long.
    fn compact(&self) -> String {
        const MOST: usize = 1000;
        /// Longer text is not sorted, because only its beginning is visible anyway.
        const SORTED_BYTES_MAX: usize = 16 << 10;
        let text = match self {
            Self::Null => "null".to_owned(),
            Self::Bool(truth) => truth.to_string(),
            Self::Text(text) => Value::from(cut(text, MOST)).to_string(),
            Self::Number(text) => text.parse::<Number>().map_or_else(|_| (*text).to_owned(), |n| n.to_string()),
            Self::Nested(found) if found.text.len() <= SORTED_BYTES_MAX => {
                let sorted = serde_json::from_str::<Value>(found.text);
                sorted.map_or_else(|_| found.text.to_owned(), |value| value.to_string())
            }
            Self::Nested(found) => cut(found.text, MOST + 1).to_owned(),
        };
        match text.char_indices().nth(MOST) {
            Some((at, _)) => format!("{}...", &text[..at]),
            None => text,
        }
    }
}

/// The first `most` characters of a text.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at])
}

/// The fields of an object, or of a query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields<'a> {
    members: Vec<(Cow<'a, str>, Item<'a>)>,
    /// The object, if it is one.
    json: &'a str,
    path: String,
    /// Every value is a text, and all values of one name are a list.
    from_query: bool,
    /// The body is not JSON.
    is_broken: bool,
}

impl<'a> Fields<'a> {
    /// For an object that was checked before.
    fn of(object: Found<'a>, path: String) -> Self {
        let mut members = Vec::new();
        let read = json::members(object, |name, value| members.push((name.unquoted(), Item::of(value))));
        Self { members, json: object.text, path, from_query: false, is_broken: read.is_err() }
    }

    fn broken() -> Self {
        Self { is_broken: true, ..Self::default() }
    }

    /// All fields as a tree: only if they are bounded otherwise.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a number that is beyond the range of a double.
    pub(crate) fn into_map(self) -> ApiResult<Map<String, Value>> {
        if self.json.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_str(self.json)
            .map_err(|error| ApiError::invalid(format!("Invalid value in '{}': {error}. {SEE_DOCS}", self.path)))
    }

    /// The place of a field, for messages.
    pub(crate) fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The last value of a field, in either spelling; null counts as absent.
    fn value(&self, name: &str) -> ApiResult<Option<&Item<'a>>> {
        if self.is_broken {
            return Err(no_json());
        }
        let (mut snake, mut camel) = (None, None);
        for (known, item) in &self.members {
            if known == name {
                snake = Some(item);
            } else if is_camel_of(known, name) {
                camel = Some((known, item));
            }
        }
        let item = match (snake, camel) {
            (Some(_), Some((camel, _))) => {
                return Err(ApiError::invalid(format!(
                    "Request specifies both '{name}' and '{camel}'; provide only one of them."
                )));
            }
            (item, camel) => item.or(camel.map(|(_, item)| item)),
        };
        Ok(item.filter(|item| !matches!(item, Item::Null)))
    }

    /// As [`Fields::value`], but in a body that is not JSON every field is missing.
    fn needed(&self, name: &str) -> ApiResult<Option<&Item<'a>>> {
        if self.is_broken { Err(self.missing(name)) } else { self.value(name) }
    }

    /// Whether the field is present.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_ok_and(|value| value.is_some())
    }

    /// The error for a missing required field.
    pub(crate) fn missing(&self, name: &str) -> ApiError {
        ApiError::invalid(format!("Missing value for required parameter '{}'. {SEE_DOCS}", self.place(name)))
    }

    fn wrong(&self, name: &str, item: &Item<'_>) -> ApiError {
        ApiError::invalid(format!(
            "Invalid value {} for parameter '{}' supplied:  Hint: Value was of type '{}'. {SEE_DOCS}",
            item.compact(),
            self.place(name),
            item.python_type()
        ))
    }

    fn beyond_doubles(&self, name: &str, item: &Item<'_>) -> ApiError {
        ApiError::invalid(format!(
            "Invalid value {} for parameter '{}' supplied: it is beyond the range of a double, which ends at about \
             1.8e308. Send \"Infinity\" or \"-Infinity\" if that is meant. {SEE_DOCS}",
            item.compact(),
            self.place(name)
        ))
    }

    fn text_in<'i>(&self, name: &str, item: Option<&'i Item<'a>>) -> ApiResult<Option<&'i str>> {
        match item {
            None => Ok(None),
            Some(Item::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A text, if present.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for another type.
    pub(crate) fn text(&self, name: &str) -> ApiResult<Option<&str>> {
        self.text_in(name, self.value(name)?)
    }

    /// A required text that is not empty.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required(&self, name: &str) -> ApiResult<&str> {
        self.required_as(&[name])
    }

    /// As [`Fields::required`], under the first of several names that is present; if none is, the first one is reported
    /// missing.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required_as(&self, names: &[&str]) -> ApiResult<&str> {
        for name in names {
            let item = if self.is_broken { None } else { self.value(name)? };
            if let Some(text) = self.text_in(name, item)?.filter(|text| !text.is_empty()) {
                return Ok(text);
            }
        }
        Err(self.missing(names.first().copied().unwrap_or_default()))
    }

    /// A run: `run_id`, or `run_uuid`, which old clients send.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn run_id(&self) -> ApiResult<&str> {
        self.required_as(&["run_id", "run_uuid"])
    }

    /// A required text that may be empty.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn present(&self, name: &str) -> ApiResult<&str> {
        self.text_in(name, self.needed(name)?)?.ok_or_else(|| self.missing(name))
    }

    fn int_in(&self, name: &str, item: Option<&Item<'a>>) -> ApiResult<Option<i64>> {
        let Some(item) = item else { return Ok(None) };
        let int = match item {
            // 2.0 is an integer, as for protobuf; 2.5 is not.
            Item::Number(text) => text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
            Item::Text(text) => text.parse().ok(),
            _ => None,
        };
        int.map(Some).ok_or_else(|| self.wrong(name, item))
    }

    /// A 64-bit integer, if present: a number or numeric text.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn int(&self, name: &str) -> ApiResult<Option<i64>> {
        self.int_in(name, self.value(name)?)
    }

    /// A required 64-bit integer.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required_int(&self, name: &str) -> ApiResult<i64> {
        self.int_in(name, self.needed(name)?)?.ok_or_else(|| self.missing(name))
    }

    /// A required double: a number, numeric text, `"NaN"`, `"Infinity"`, or a boolean.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn required_double(&self, name: &str) -> ApiResult<f64> {
        let item = self.needed(name)?.ok_or_else(|| self.missing(name))?;
        let double = match item {
            // JSON has no infinity: a number that would become one is a mistake of the sender.
            Item::Number(text) => match text.parse().ok() {
                Some(value) if f64::is_infinite(value) => return Err(self.beyond_doubles(name, item)),
                value => value,
            },
            Item::Text(text) => double(text),
            Item::Bool(truth) => Some(f64::from(*truth)),
            _ => None,
        };
        double.ok_or_else(|| self.wrong(name, item))
    }

    /// A boolean, if present; in a query in any case.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn truth(&self, name: &str) -> ApiResult<Option<bool>> {
        match self.value(name)? {
            None => Ok(None),
            Some(Item::Bool(truth)) => Ok(Some(*truth)),
            Some(Item::Text(text)) if self.from_query && text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Item::Text(text)) if self.from_query && text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of texts; empty if absent. In a query: every value of the name.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn texts(&self, name: &str) -> ApiResult<Vec<String>> {
        if self.from_query {
            let values = self.members.iter().filter(|(known, _)| known == name);
            return values
                .map(|(_, item)| Ok(self.text_in(name, Some(item))?.unwrap_or_default().to_owned()))
                .collect();
        }
        let Some(list) = self.list(name)? else { return Ok(Vec::new()) };
        let (mut out, mut others) = (Vec::new(), false);
        let read = json::elements(list, |value| match value.kind {
            Kind::Text { .. } | Kind::Bare => out.push(value.unquoted().into_owned()),
            // MLflow's clients send experiment ids as numbers now and then.
            Kind::Number => out.push(Item::of(value).compact()),
            _ => others = true,
        });
        if others || read.is_err() { Err(self.wrong(name, &Item::Nested(list))) } else { Ok(out) }
    }

    /// The list in a field.
    fn list(&self, name: &str) -> ApiResult<Option<Found<'a>>> {
        match self.value(name)? {
            None => Ok(None),
            Some(Item::Nested(list)) if list.kind != Kind::Object => Ok(Some(*list)),
            Some(other) => Err(self.wrong(name, other)),
        }
    }

    /// A list of objects; empty if absent.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn objects(&self, name: &str) -> ApiResult<Vec<Self>> {
        let Some(list) = self.list(name)? else { return Ok(Vec::new()) };
        if list.kind != (Kind::List { objects_only: true }) {
            return Err(self.wrong(name, &Item::Nested(list)));
        }
        let mut out = Vec::new();
        let read = json::elements(list, |value| {
            let path = self.place(&format!("{name}[{}]", out.len()));
            out.push(Self::of(value, path));
        });
        if read.is_err() { Err(self.wrong(name, &Item::Nested(list))) } else { Ok(out) }
    }

    /// An object; an empty one if absent.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn object(&self, name: &str) -> ApiResult<Self> {
        match self.value(name)? {
            None => Ok(Self { path: self.place(name), ..Self::default() }),
            Some(Item::Nested(found)) if found.kind == Kind::Object => Ok(Self::of(*found, self.place(name))),
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

    /// As [`Fields::pairs`]; keys may be empty or absent. MLflow checks the tags of what is created as names only.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn pairs_of_new(&self, name: &str) -> ApiResult<Vec<(String, String)>> {
        let text = |fields: &Self, name: &str| Ok::<_, ApiError>(fields.text(name)?.unwrap_or_default().to_owned());
        self.objects(name)?.iter().map(|fields| Ok((text(fields, "key")?, text(fields, "value")?))).collect()
    }

    /// The error for a field whose value is refused, quoted as it was sent.
    pub(crate) fn refused(&self, name: &str) -> ApiError {
        match self.value(name) {
            Ok(Some(item)) => self.wrong(name, item),
            Ok(None) => self.missing(name),
            Err(error) => error,
        }
    }

    /// An enum's number: by name or number. An unknown name counts as absent, an unknown number is refused.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub(crate) fn one_of<T: Copy>(&self, name: &str, all: &[(&str, i64, T)]) -> ApiResult<Option<T>> {
        let Some(item) = self.value(name)? else { return Ok(None) };
        let number = match item {
            Item::Text(text) => match text.parse::<i64>() {
                Ok(number) => number,
                Err(_) => return Ok(all.iter().find(|(known, ..)| known == text).map(|(.., item)| *item)),
            },
            Item::Number(text) => text.parse().map_err(|_| self.wrong(name, item))?,
            other => return Err(self.wrong(name, other)),
        };
        let found = all.iter().find(|(_, known, _)| *known == number);
        found.map(|(.., item)| Some(*item)).ok_or_else(|| self.wrong(name, item))
    }
}

fn whole(number: f64) -> Option<i64> {
    // The limits themselves come as integers; a double of that size was beyond them.
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

/// Whether a name is the camelCase form of another: `artifactLocation` of `artifact_location`.
fn is_camel_of(camel: &str, name: &str) -> bool {
    // Names of one word are the same in both.
    let words = name.bytes().filter(|byte| *byte == b'_').count();
    if words == 0 || camel.len() + words != name.len() {
        return false;
    }
    let mut signs = camel.bytes();
    let mut begins = false;
    name.bytes().all(|byte| {
        let is_underscore = byte == b'_';
        let wanted = if begins { byte.to_ascii_uppercase() } else { byte };
        begins = is_underscore;
        is_underscore || signs.next() == Some(wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Request {
        Request { body: body.to_owned().into(), fields_in_body: true, ..Request::default() }
    }

    /// For as long as the test runs.
    fn fields(body: &str) -> Fields<'static> {
        Box::leak(Box::new(request(body))).fields().unwrap()
    }

    #[test]
    fn bodies() {
        for empty in ["", "null", "{bad", "{}", "NaN}"] {
            let text = fields(empty).required("name").unwrap_err().message;
            assert!(text.starts_with("Missing value for required parameter 'name'. See the API docs"), "{text}");
        }
        assert_eq!(fields(r#""{\"name\": \"x\"}""#).required("name").unwrap(), "x");
        assert!(request("[1]").fields().is_err());
        assert!(fields(r#"{"value": NaN, "t": "NaN"}"#).required_double("value").unwrap().is_nan());
        assert_eq!(fields(r#"{"value": -Infinity}"#).required_double("value").unwrap(), f64::NEG_INFINITY);
        for excess in ["[".repeat(100_000), format!("[{}1]", "1,".repeat(100_000))] {
            assert!(request(&excess).fields().is_err());
        }
    }

    #[test]
    fn a_call_that_needs_nothing_is_refused_too_if_its_body_is_no_json() {
        for broken in ["{bad", "{\"experiment_id\": \"1\"", "\u{1f}\u{8b}\u{8}", "\"{bad\""] {
            let fields = fields(broken);
            assert!(fields.text("experiment_id").unwrap_err().message.contains("not valid JSON"), "{broken}");
            assert!(fields.pairs("tags").is_err() && fields.int("start_time").is_err());
        }
        for empty in ["", "null", "{}", " \n"] {
            assert_eq!(fields(empty).text("experiment_id").unwrap(), None);
        }
    }

    #[test]
    fn of_equal_names_the_last_one_counts() {
        let body = fields(r#"{"a": [], "a": "x", "b": {"c": 1, "c": "2"}, "runId": "r", "runId": "s"}"#);
        assert_eq!(body.text("a").unwrap(), Some("x"));
        assert_eq!(body.object("b").unwrap().int("c").unwrap(), Some(2));
        assert_eq!(body.text("run_id").unwrap(), Some("s"));
    }

    #[test]
    fn a_wrong_value_is_shown_to_a_thousand_letters() {
        let long = format!(r#"{{"name": [{}"x"]}}"#, r#"{"b": "é"}, "#.repeat(20_000));
        let text = fields(&long).text("name").unwrap_err().message;
        assert!(text.starts_with("Invalid value [{\"b\"") && text.len() < 2_500, "{text}");
        let text = fields(r#"{"name": {"b": 1.50, "a": NaN}}"#).text("name").unwrap_err().message;
        assert!(text.contains("for parameter 'name' supplied:  Hint: Value was of type 'dict'."), "{text}");
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
        for beyond in ["1e400", "-1e309", "1797693134862315800000e300"] {
            let body = format!(r#"{{"metrics": [{{"value": {beyond}, "timestamp": {beyond}}}]}}"#);
            let metric = &fields(&body).objects("metrics").unwrap()[0];
            let text = metric.required_double("value").unwrap_err().message;
            let wanted = format!("Invalid value {beyond} for parameter 'metrics[0].value' supplied: it is beyond");
            assert!(text.starts_with(&wanted), "{text}");
            let text = metric.required_int("timestamp").unwrap_err().message;
            assert!(
                text.starts_with(&format!("Invalid value {beyond} for parameter 'metrics[0].timestamp'")),
                "{text}"
            );
        }
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
    fn a_read_may_have_its_fields_in_a_body() {
        let read = |body: &str| Request { is_read: true, ..request(body) };
        let asked = read(r#"{"run_ids": ["a"], "max_results": "5", "deep": true}"#);
        let fields = asked.fields().unwrap();
        assert_eq!((fields.texts("run_ids").unwrap(), fields.int("max_results").unwrap()), (vec!["a".into()], Some(5)));
        assert_eq!(fields.truth("deep").unwrap(), Some(true));
        for broken in ["{bad", "a=b", "null", "\"x\""] {
            let asked = read(broken);
            let fields = asked.fields().unwrap();
            assert_eq!(fields.text("filter").unwrap(), None, "{broken}");
            assert!(fields.required("name").unwrap_err().message.starts_with("Missing value"), "{broken}");
        }
        assert!(read("[1]").fields().is_err());
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
