//! Answers: JSON, `{}`, or an error in MLflow's shape.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use runlode::mlflow::entity::Paged;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::long::{Long, Written};
use crate::memory::Memory;

/// Longest message of an error; longer ones are cut.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// The body of a successful answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `{}`.
    Nothing,
    /// JSON, already encoded.
    Json(Vec<u8>),
    /// JSON that may be long.
    Long(Long),
    /// Status 200 without a body.
    Empty,
    /// Anything else: files, pages.
    Raw(Response<Body>),
}

impl From<Written> for Answer {
    fn from(written: Written) -> Self {
        match written {
            Written::Short(bytes) => Self::Json(bytes),
            Written::Long(long) => Self::Long(long),
        }
    }
}

impl Answer {
    /// The JSON of a value.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` if it has no JSON; none of our answers has not.
    pub(crate) fn json(value: &impl Serialize) -> ApiResult<Self> {
        let mut out = Vec::with_capacity(512);
        json_into(&mut out, value)?;
        Ok(Self::Json(out))
    }

    /// Its JSON; `None` if it is something else.
    ///
    /// # Errors
    /// Those of [`Long::into_bytes`].
    pub(crate) fn into_json(self) -> ApiResult<Option<Vec<u8>>> {
        match self {
            Self::Json(body) => Ok(Some(body)),
            Self::Long(long) => long.into_bytes().map(Some),
            Self::Nothing | Self::Empty | Self::Raw(_) => Ok(None),
        }
    }

    /// The answer with another `Content-Type`.
    pub(crate) fn with_type(self, content_type: &'static str, memory: &Memory) -> Self {
        let mut response = self.into_response(memory);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::Raw(response)
    }

    /// The answer as an HTTP response.
    pub(crate) fn into_response(self, memory: &Memory) -> Response<Body> {
        match self {
            Self::Nothing => json_response(StatusCode::OK, Bytes::from_static(b"{}")),
            Self::Json(body) => json_response(StatusCode::OK, body.into()),
            Self::Long(long) => {
                let (body, length) = long.into_body(memory.reader());
                let mut response = json_response(StatusCode::OK, Bytes::new());
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                *response.body_mut() = body;
                response
            }
            Self::Empty => Response::new(Body::empty()),
            Self::Raw(response) => response,
        }
    }
}

/// An object with one field: its name and its value.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) &'static str, pub(crate) T);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(1))?;
        object.serialize_entry(self.0, &self.1)?;
        object.end()
    }
}

/// A list under a name, and the token of the next page. As in MLflow's answers, an empty list is left out, and so is
/// the token after the last page.
#[derive(Debug)]
pub(crate) struct ListJson<'a, T> {
    name: &'static str,
    items: Vec<T>,
    next_page_token: Option<&'a str>,
}

impl<'a, T> ListJson<'a, T> {
    /// A list that has no pages.
    pub(crate) fn whole<E>(name: &'static str, items: &'a [E]) -> Self
    where
        T: From<&'a E>,
    {
        Self { name, items: items.iter().map(T::from).collect(), next_page_token: None }
    }

    /// One page of a search.
    pub(crate) fn page<E>(name: &'static str, page: &'a Paged<E>) -> Self
    where
        T: From<&'a E>,
    {
        Self { next_page_token: page.next_page_token.as_deref(), ..Self::whole(name, &page.items) }
    }
}

impl<T: Serialize> Serialize for ListJson<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        if !self.items.is_empty() {
            object.serialize_entry(self.name, &self.items)?;
        }
        if let Some(token) = self.next_page_token.filter(|token| !token.is_empty()) {
            object.serialize_entry("next_page_token", token)?;
        }
        object.end()
    }
}

/// Appends the JSON of a value to an answer.
///
/// # Errors
/// `INTERNAL_ERROR` if it has no JSON; none of our answers has not.
pub(crate) fn json_into(out: &mut Vec<u8>, value: &impl Serialize) -> ApiResult<()> {
    let written = serde_json::to_writer(out, value);
    written.map_err(|error| {
        ApiError::new(ErrorCode::InternalError, format!("the answer cannot be encoded as JSON: {error}"))
    })
}

/// A value as a response of this status.
pub(crate) fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    json_response(status, value.to_string().into())
}

/// A number as JSON; those that JSON lacks are the texts `NaN`, `Infinity` and `-Infinity`.
pub(crate) fn double_value(value: f64) -> serde_json::Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => number.into(),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn json_response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error as MLflow's clients expect it: exactly `error_code` and `message`.
pub(crate) fn error_response(error: &ApiError) -> Response<Body> {
    #[derive(Serialize)]
    struct ErrorJson<'a> {
        error_code: &'a str,
        message: &'a str,
    }
    // Messages quote the request, which may be megabytes.
    let message = &error.message;
    let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    let message = if message.len() > MESSAGE_BYTES_MAX { &message[..end] } else { message };
    let body = ErrorJson { error_code: error.code.name(), message };
    // Error codes have valid statuses, and two texts always have JSON.
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_response(status, serde_json::to_vec(&body).unwrap_or_default().into())
}

/// The answer for the path of pages without its final slash: their links are relative to a path that ends in one.
pub(crate) fn with_slash(path: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(place) = HeaderValue::try_from(format!("{path}/")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// No route has this path, or none with this method.
pub(crate) fn no_endpoint(path: &str) -> ApiError {
    let message = format!("no endpoint answers {path} with this method; see Runlode's documentation of its REST API");
    ApiError::new(ErrorCode::EndpointNotFound, message)
}

/// Text with a status: what MLflow answers outside its API.
pub(crate) fn text_response(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A double as protobuf's JSON has it: a number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value.is_infinite() {
        serializer.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        serializer.serialize_f64(*value)
    }
}

/// One pair as `{"key": ..., "value": ...}`.
#[derive(Debug, Serialize)]
pub(crate) struct PairJson<'a> {
    key: &'a str,
    value: &'a str,
}

/// Pairs as MLflow lists them.
pub(crate) fn pairs(pairs: &[(String, String)]) -> Vec<PairJson<'_>> {
    pairs.iter().map(|(key, value)| PairJson { key, value }).collect()
}
